"""Inner products and squared distances in vector registers: of two arrays, and of rows that lie
anywhere in memory, eight at a time."""

import numpy as np

from ._intrinsic import by_vector_width, call_llvm, intrinsic

DOT_STEP = 16  # elements in a step of the loop, in as many vectors as that takes


def _dot_type(x, y):
    from numba import types

    def flat(a):
        return (
            isinstance(a, types.Array)
            and a.layout == "C"
            and a.ndim == 1
            and isinstance(a.dtype, types.Float)
        )

    return types.float64 if flat(x) and flat(y) and y.dtype == types.float64 else None


def _emit_dot(context, builder, signature, arguments):
    from llvmlite import ir
    from numba.core import cgutils

    x, y = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
    )
    real = context.get_value_type(signature.args[0].dtype)
    result = cgutils.alloca_once(builder, ir.DoubleType())
    by_vector_width(
        context,
        builder,
        "dot",
        real,
        [x.data, y.data, cgutils.unpack_tuple(builder, y.shape)[0], result],
        _dot_loop,
    )
    return builder.load(result)


def _dot_loop(builder, width, arguments):
    """Vectors of sixteen elements, added up at the end; then what is left, one by one."""
    from llvmlite import ir

    x, y, n, result = arguments
    i64, double, lanes = ir.IntType(64), ir.DoubleType(), width // 64
    vector, zero = ir.VectorType(double, lanes), ir.Constant(i64, 0)
    step = ir.Constant(i64, DOT_STEP)
    entry, blocks = builder.block, ("whole", "sum", "rest", "done")
    whole, summed, rest, done = (builder.append_basic_block(f"dot.{part}") for part in blocks)

    def load(pointer, kind, at):
        pointer = builder.gep(pointer, [at])
        if isinstance(kind, ir.VectorType):
            pointer = builder.bitcast(
                pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer()
            )
        value = builder.load(pointer)
        value.align = (
            4
            if pointer.type
            in (ir.FloatType().as_pointer(), ir.VectorType(ir.FloatType(), lanes).as_pointer())
            else 8
        )
        return value if value.type == kind else builder.fpext(value, kind)

    def multiply_add(a, b, c):
        if width < 256:  # without the instruction, llvm.fma would call libm
            return builder.fadd(builder.fmul(a, b), c)
        return call_llvm(
            builder, f"llvm.fma.{f'v{lanes}f64' if a.type == vector else 'f64'}", a.type, [a, b, c]
        )

    end = builder.mul(builder.udiv(n, step), step)
    builder.cbranch(builder.icmp_unsigned(">", end, zero), whole, summed)
    builder.position_at_end(whole)
    at = builder.phi(i64)
    sums = [builder.phi(vector) for _ in range(DOT_STEP // lanes)]
    places = [builder.add(at, ir.Constant(i64, i * lanes)) for i in range(len(sums))]
    new = [
        multiply_add(load(x, vector, p), load(y, vector, p), s)
        for p, s in zip(places, sums, strict=True)
    ]
    following = builder.add(at, step)
    for phi, first, value in [
        (at, zero, following),
        *((s, ir.Constant(vector, [0.0] * lanes), v) for s, v in zip(sums, new, strict=True)),
    ]:
        phi.add_incoming(first, entry)
        phi.add_incoming(value, whole)
    builder.cbranch(builder.icmp_unsigned("<", following, end), whole, summed)

    builder.position_at_end(summed)
    totals = [builder.phi(vector) for _ in sums]
    for total, value in zip(totals, new, strict=True):
        total.add_incoming(ir.Constant(vector, [0.0] * lanes), entry)
        total.add_incoming(value, whole)
    while len(totals) > 1:
        totals = [builder.fadd(a, b) for a, b in zip(totals[::2], totals[1::2], strict=True)]
    parts = [
        builder.extract_element(totals[0], ir.Constant(ir.IntType(32), i)) for i in range(lanes)
    ]
    while len(parts) > 1:
        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    builder.cbranch(builder.icmp_unsigned("<", end, n), rest, done)

    builder.position_at_end(rest)
    one, total = builder.phi(i64), builder.phi(double)
    value = multiply_add(load(x, double, one), load(y, double, one), total)
    after = builder.add(one, ir.Constant(i64, 1))
    for phi, first, last in ((one, end, after), (total, parts[0], value)):
        phi.add_incoming(first, summed)
        phi.add_incoming(last, rest)
    builder.cbranch(builder.icmp_unsigned("<", after, n), rest, done)
    builder.position_at_end(done)
    final = builder.phi(double)
    final.add_incoming(parts[0], summed)
    final.add_incoming(value, rest)
    builder.store(final, result)


@intrinsic(_dot_type, _emit_dot)
def dot(x, y):
    """The inner product, in float64, of a contiguous float32 or float64 array with a contiguous
    float64 array as long or shorter.

    A loop over a sum keeps its order and is not vectorised; this takes sixteen elements at a time,
    the same way for any alignment.
    """
    total = 0.0
    for i in range(len(y)):
        total += float(x[i]) * float(y[i])
    return total


# --- eight sums at once ---------------------------------------------------------------------------

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
