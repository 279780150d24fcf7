"""Scalar products and squared distances of rows that lie anywhere in memory, eight at a time in
vector registers."""

import numpy as np

from ..intrinsics import by_vector_width, intrinsic

__all__ = ["dots_2_by_4", "squares_2_by_4"]

ROWS, COLS = 2, 4


def _dots_type(a0, a1, b0, b1, b2, b3, size, sums):
    from numba import types

    fits = (
        isinstance(sums, types.Array)
        and sums.ndim == 1
        and sums.layout == "C"
        and isinstance(sums.dtype, types.Float)
    )
    return (
        types.void
        if fits and all(isinstance(x, types.Integer) for x in (a0, a1, b0, b1, b2, b3, size))
        else None
    )


def _emit(name, term):
    """`term` gives the factors of what two elements add."""

    def emit(context, builder, signature, arguments):
        from numba import types

        sums = signature.args[-1]
        values = [
            context.cast(builder, value, kind, types.int64)
            for kind, value in zip(signature.args[:-1], arguments[:-1], strict=True)
        ]
        values.append(context.make_array(sums)(context, builder, arguments[-1]).data)
        real, itemsize = context.get_value_type(sums.dtype), sums.dtype.bitwidth // 8

        def body(builder, width, values):
            _sums_loop(
                builder,
                real,
                itemsize,
                width // (8 * itemsize),
                term,
                values[:ROWS],
                values[ROWS : ROWS + COLS],
                *values[-2:],
            )

        return by_vector_width(context, builder, name, real, values, body)

    return emit


def _sums_loop(builder, real, itemsize, lanes, term, a, b, size, sums):
    """Whole vectors first, then single elements; the accumulators of both live in phi nodes."""
    from llvmlite import ir

    i64, vector = ir.IntType(64), ir.VectorType(real, lanes)
    rows = [builder.inttoptr(address, real.as_pointer()) for address in (*a, *b)]
    whole = builder.and_(size, ir.Constant(i64, -lanes))

    def load(row, e, kind):
        value = builder.load(builder.bitcast(builder.gep(row, [e]), kind.as_pointer()))
        value.align = itemsize
        return value

    def add_term(x, y, total):  # "contract": one fused instruction where the CPU has it
        return builder.fadd(
            builder.fmul(*term(builder, x, y), flags=("contract",)), total, flags=("contract",)
        )

    def loop(first, last, step, kind, zeros):
        before, head, done = (
            builder.block,
            *(builder.append_basic_block(f"sums.{part}") for part in ("loop", "done")),
        )
        builder.cbranch(builder.icmp_signed("<", first, last), head, done)
        builder.position_at_end(head)
        e = builder.phi(i64)
        totals = [builder.phi(kind) for _ in range(ROWS * COLS)]
        x = [load(row, e, kind) for row in rows]
        new = [
            add_term(x[i], x[ROWS + j], totals[i * COLS + j])
            for i in range(ROWS)
            for j in range(COLS)
        ]
        following = builder.add(e, ir.Constant(i64, step))
        builder.cbranch(builder.icmp_signed("<", following, last), head, done)
        e.add_incoming(first, before)
        e.add_incoming(following, head)
        builder.position_at_end(done)
        results = [builder.phi(kind) for _ in totals]
        for total, result, zero, value in zip(totals, results, zeros, new, strict=True):
            for phi, at_end in ((total, head), (result, head)):
                phi.add_incoming(zero, before)
                phi.add_incoming(value, at_end)
        return results

    zero = ir.Constant(vector, [0.0] * lanes)
    totals = loop(ir.Constant(i64, 0), whole, lanes, vector, [zero] * (ROWS * COLS))
    totals = [_across(builder, total, lanes) for total in totals]
    for i, total in enumerate(loop(whole, size, 1, real, totals)):
        builder.store(total, builder.gep(sums, [ir.Constant(i64, i)]))


def _across(builder, total, lanes):
    """The sum of a vector's lanes, by halves."""
    from llvmlite import ir

    while lanes > 1:
        lanes //= 2
        parts = [
            builder.shuffle_vector(
                total,
                total,
                ir.Constant(
                    ir.VectorType(ir.IntType(32), lanes), [first + i for i in range(lanes)]
                ),
            )
            for first in (0, lanes)
        ]
        total = builder.fadd(*parts)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def _difference_twice(builder, x, y):
    difference = builder.fsub(x, y)
    return difference, difference


def _rows(addresses, size, dtype):
    kind = np.ctypeslib.as_ctypes_type(dtype)
    return [
        np.array((kind * int(size)).from_address(int(address))) if size else np.empty(0, dtype)
        for address in addresses
    ]


@intrinsic(_dots_type, _emit("dots_2_by_4", lambda builder, x, y: (x, y)))
def dots_2_by_4(a0, a1, b0, b1, b2, b3, size, sums):
    """``sums[4 * i + j] = sum over e < size of a_i[e] b_j[e]`` for rows of sums' dtype, of which
    the addresses are given."""
    rows = _rows((a0, a1, b0, b1, b2, b3), size, sums.dtype)
    for s in range(ROWS * COLS):
        sums[s] = rows[s // COLS] @ rows[ROWS + s % COLS]


@intrinsic(_dots_type, _emit("squares_2_by_4", _difference_twice))
def squares_2_by_4(a0, a1, b0, b1, b2, b3, size, sums):
    """``sums[4 * i + j] = sum over e < size of (a_i[e] - b_j[e])²``, as `dots_2_by_4`."""
    rows = _rows((a0, a1, b0, b1, b2, b3), size, sums.dtype)
    for s in range(ROWS * COLS):
        sums[s] = ((rows[s // COLS] - rows[ROWS + s % COLS]) ** 2).sum()
