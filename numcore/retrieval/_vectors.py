"""Steps of kernels in vectors: products of rows with a panel of columns of which only the largest
leave the registers; 16 or 32 sums at once; blocks of 8 x 8 numbers transposed."""

import numpy as np

from ..intrinsics import (
    by_vector_width,
    flat_arguments,
    fma,
    host_vector_bits,
    intrinsic,
    vector_bits,
)

__all__ = [
    "LANES",
    "WIDE",
    "add_scaled",
    "max_tile",
    "panel_cols",
    "panel_rows",
    "signed_sums",
    "transpose8",
]

LANES = 16  # numbers that add_scaled takes at once: queries whose tables lie side by side
WIDE = 32  # sums that signed_sums makes at once: points side by side
ROWS = {512: 12, 256: 6, 128: 4}  # vector bits → rows of two vectors each: 24, 12, 8 accumulators


def panel_cols(x):
    """Columns of a panel for an array like x: two vectors."""
    return vector_bits() // (4 * x.itemsize)


def panel_rows():
    """Rows that a tile takes at once."""
    return 12 if vector_bits() == 512 else 6 if vector_bits() == 256 else 4


def _tile_type(a, a_at, a_row, count, b, b_at, best, best_at, depth):
    from numba import types

    arrays = all(
        isinstance(x, types.Array) and x.layout == "C" and x.dtype == a.dtype for x in (a, b, best)
    )
    return types.void if arrays and isinstance(a.dtype, types.Float) else None


def _emit(context, builder, signature, arguments):
    real, itemsize = (
        context.get_value_type(signature.args[0].dtype),
        signature.args[0].dtype.bitwidth // 8,
    )
    values = flat_arguments(context, builder, signature, arguments)
    return by_vector_width(
        context,
        builder,
        "max_tile",
        real,
        values,
        lambda builder, width, arguments: _tile(
            builder, real, width // (8 * itemsize), width, *arguments
        ),
    )


def _tile(builder, real, lanes, width, a, a_row, count, b, best, depth):
    """The sums live in phi nodes of one loop over the depth; rows from `count` on are the last one
    once more, which changes no maximum."""
    from llvmlite import ir

    i64, vector, rows = ir.IntType(64), ir.VectorType(real, lanes), ROWS[width]
    itemsize = 4 if isinstance(real, ir.FloatType) else 8
    last = builder.sub(count, ir.Constant(i64, 1))
    zero = ir.Constant(vector, [0.0] * lanes)

    def pointer(base, j):
        return builder.bitcast(
            builder.gep(base, [ir.Constant(i64, j * lanes)]), vector.as_pointer()
        )

    def load(base, j):
        value = builder.load(pointer(base, j))
        value.align = itemsize
        return value

    def broadcast(at):
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.load(at), ir.Constant(ir.IntType(32), 0)
        )
        return builder.shuffle_vector(
            one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        )

    def multiply_add(x, y, z):  # "contract": one fused instruction where the CPU has it
        return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

    starts = []
    for i in range(rows):
        row = ir.Constant(i64, i)
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        starts.append(builder.gep(a, [builder.mul(row, a_row)]))
    _fetch_ahead(
        builder,
        builder.gep(a, [builder.mul(a_row, ir.Constant(i64, rows))]),
        builder.mul(a_row, ir.Constant(i64, rows)),
        64 // itemsize,
    )
    entry, loop, done = (
        builder.block,
        builder.append_basic_block("max.loop"),
        builder.append_basic_block("max.done"),
    )
    builder.cbranch(builder.icmp_signed(">", depth, ir.Constant(i64, 0)), loop, done)

    builder.position_at_end(loop)
    p = builder.phi(i64)
    sums = [[builder.phi(vector) for _ in range(2)] for _ in range(rows)]
    here = builder.gep(b, [builder.mul(p, ir.Constant(i64, 2 * lanes))])
    columns = [load(here, j) for j in range(2)]
    new = []
    for start, row in zip(starts, sums, strict=True):
        x = broadcast(builder.gep(start, [p]))
        new.append([multiply_add(x, column, s) for column, s in zip(columns, row, strict=True)])
    following = builder.add(p, ir.Constant(i64, 1))
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    p.add_incoming(ir.Constant(i64, 0), entry)
    p.add_incoming(following, loop)

    builder.position_at_end(done)
    results = [[builder.phi(vector) for _ in range(2)] for _ in range(rows)]
    for i in range(rows):
        for j in range(2):
            for node in (sums[i][j], results[i][j]):
                node.add_incoming(zero, entry)
                node.add_incoming(new[i][j], loop)
    for j in range(2):
        largest = load(best, j)
        for row in results:
            largest = builder.select(builder.fcmp_ordered(">", row[j], largest), row[j], largest)
        builder.store(largest, pointer(best, j)).align = itemsize
        mark = load(best, 2 + j)
        for row in results:
            mark = builder.fadd(mark, builder.fmul(row[j], zero))
        builder.store(mark, pointer(best, 2 + j)).align = itemsize


def _fetch_ahead(builder, start, count, line):
    """Ask for the elements that the next tile will read, a cache line after the other."""
    from llvmlite import ir
    from numba.core import cgutils

    i64, i32, i8p = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
    fetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [i8p, i32, i32, i32]), "llvm.prefetch.p0i8"
    )
    entry, loop, done = (
        builder.block,
        builder.append_basic_block("fetch.loop"),
        builder.append_basic_block("fetch.done"),
    )
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(i64, 0)), loop, done)
    builder.position_at_end(loop)
    at = builder.phi(i64)
    builder.call(
        fetch,
        [builder.bitcast(builder.gep(start, [at]), i8p), *(ir.Constant(i32, c) for c in (0, 3, 1))],
    )  # to read, keep, data
    following = builder.add(at, ir.Constant(i64, line))
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    at.add_incoming(ir.Constant(i64, 0), entry)
    at.add_incoming(following, loop)
    builder.position_at_end(done)


@intrinsic(_tile_type, _emit)
def max_tile(a, a_at, a_row, count, b, b_at, best, best_at, depth):
    """``best[j] = max(best[j], sum over p < depth of a[i, p] * b[p, j])`` over the rows i <
    min(count, `panel_rows`), 1 <= count.

    Behind these `panel_cols` maxima, best has as many marks: zeros that become NaN where a sum is
    not finite, as it is not wherever an entry of its row of a is not.

    The three operands are C-contiguous arrays of one float type, each with the place of its first
    element. Rows of a are `a_row` elements apart, b is a panel of `panel_cols` columns.
    """
    cols = 2 * host_vector_bits() // (8 * a.itemsize)
    a, b, best = (x.reshape(-1) for x in (a, b, best))
    for i in range(min(count, ROWS[host_vector_bits()])):
        for j in range(cols):
            total = a.dtype.type(0)
            for p in range(depth):
                total = fma(a[a_at + i * a_row + p], b[b_at + p * cols + j], total)
            best[best_at + j] = total if total > best[best_at + j] else best[best_at + j]
            best[best_at + cols + j] += 0 * total


def _scaled_type(y, y_at, factor, x, x_at):
    from numba import types

    arrays = all(
        isinstance(a, types.Array) and a.layout == "C" and a.dtype == factor for a in (y, x)
    )
    return types.void if arrays and isinstance(factor, types.Float) else None


def _emit_scaled(context, builder, signature, arguments):
    from llvmlite import ir

    y, y_at, factor, x, x_at = arguments
    real = context.get_value_type(signature.args[2])
    vector = ir.VectorType(real, LANES)

    def place(kind, array, at):
        data = context.make_array(kind)(context, builder, array).data
        return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())

    def load(pointer):
        value = builder.load(pointer)
        value.align = signature.args[2].bitwidth // 8
        return value

    into = place(signature.args[0], y, y_at)
    lane = builder.insert_element(
        ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0)
    )
    factors = builder.shuffle_vector(
        lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )
    product = builder.fmul(load(place(signature.args[3], x, x_at)), factors)
    builder.store(builder.fadd(load(into), product), into).align = signature.args[2].bitwidth // 8
    return context.get_dummy_value()


@intrinsic(_scaled_type, _emit_scaled)
def add_scaled(y, y_at, factor, x, x_at):
    """``y[y_at + i] += factor * x[x_at + i]`` for i < LANES, of C-contiguous arrays; all x are read
    before y is written."""
    y.reshape(-1)[y_at : y_at + LANES] += factor * x.reshape(-1)[x_at : x_at + LANES]


def _sums_type(y, y_at, x, x_at, order, order_at, signs, signs_at, count):
    from numba import types

    arrays = all(isinstance(a, types.Array) and a.layout == "C" for a in (y, x, order, signs))
    same = arrays and y.dtype == x.dtype == signs.dtype and order.dtype == types.int32
    return types.void if same and isinstance(y.dtype, types.Float) else None


def _emit_sums(context, builder, signature, arguments):
    """The sums live in a phi node of one loop; a product with a sign is exact."""
    from llvmlite import ir

    real, align = (
        context.get_value_type(signature.args[0].dtype),
        signature.args[0].dtype.bitwidth // 8,
    )
    vector, i64, i32 = ir.VectorType(real, WIDE), ir.IntType(64), ir.IntType(32)
    y, x, order, signs, count = flat_arguments(context, builder, signature, arguments)
    zero = ir.Constant(vector, [0.0] * WIDE)
    entry, loop, done = (
        builder.block,
        builder.append_basic_block("sums.loop"),
        builder.append_basic_block("sums.done"),
    )
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(i64, 0)), loop, done)

    builder.position_at_end(loop)
    at, sums = builder.phi(i64), builder.phi(vector)
    row = builder.mul(
        builder.zext(builder.load(builder.gep(order, [at])), i64), ir.Constant(i64, WIDE)
    )
    column = builder.load(builder.bitcast(builder.gep(x, [row]), vector.as_pointer()))
    column.align = align
    sign = builder.insert_element(
        ir.Constant(vector, ir.Undefined),
        builder.load(builder.gep(signs, [at])),
        ir.Constant(i32, 0),
    )
    sign = builder.shuffle_vector(sign, sign, ir.Constant(ir.VectorType(i32, WIDE), [0] * WIDE))
    added = builder.fadd(sums, builder.fmul(column, sign, flags=("contract",)), flags=("contract",))
    following = builder.add(at, ir.Constant(i64, 1))
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    at.add_incoming(ir.Constant(i64, 0), entry)
    at.add_incoming(following, loop)
    sums.add_incoming(zero, entry)
    sums.add_incoming(added, loop)

    builder.position_at_end(done)
    total = builder.phi(vector)
    total.add_incoming(zero, entry)
    total.add_incoming(added, loop)
    builder.store(total, builder.bitcast(y, vector.as_pointer())).align = align
    return context.get_dummy_value()


@intrinsic(_sums_type, _emit_sums)
def signed_sums(y, y_at, x, x_at, order, order_at, signs, signs_at, count):
    """``y[y_at + i] = sum over e < count of signs[signs_at + e] * x[x_at + WIDE order[order_at + e] + i]``
    for i < WIDE, e ascending.

    C-contiguous arrays of one float type, `order` of int32; signs are ±1.
    """  # noqa: E501
    total = np.zeros(WIDE, y.dtype)
    for e in range(count):
        row = x_at + WIDE * int(order.reshape(-1)[order_at + e])
        total += signs.reshape(-1)[signs_at + e] * x.reshape(-1)[row : row + WIDE]
    y.reshape(-1)[y_at : y_at + WIDE] = total


def _transpose_type(x, x_at, x_row, y, y_at, y_row):
    from numba import types

    arrays = all(
        isinstance(a, types.Array) and a.layout == "C" and a.dtype == x.dtype for a in (x, y)
    )
    return types.void if arrays and isinstance(x.dtype, types.Float) else None


def _emit_transpose(context, builder, signature, arguments):
    """Pairs, fours and eights of rows are interleaved; each step is one instruction of CPUs with
    vectors of eight."""
    from llvmlite import ir

    real, align = (
        context.get_value_type(signature.args[0].dtype),
        signature.args[0].dtype.bitwidth // 8,
    )
    vector, i64, i32 = ir.VectorType(real, 8), ir.IntType(64), ir.IntType(32)
    x, x_row, y, y_row = flat_arguments(context, builder, signature, arguments)

    def place(base, row, i):
        return builder.bitcast(
            builder.gep(base, [builder.mul(row, ir.Constant(i64, i))]), vector.as_pointer()
        )

    def interleave(rows, distance, masks):
        result = [None] * 8
        for i in range(8):
            if result[i] is None:
                pair = rows[i], rows[i + distance]
                for j, mask in zip((i, i + distance), masks, strict=True):
                    result[j] = builder.shuffle_vector(
                        *pair, ir.Constant(ir.VectorType(i32, 8), mask)
                    )
        return result

    rows = []
    for i in range(8):
        rows.append(builder.load(place(x, x_row, i)))
        rows[-1].align = align
    rows = interleave(rows, 1, ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]))
    rows = interleave(rows, 2, ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]))
    rows = interleave(rows, 4, ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]))
    for i, column in enumerate((0, 2, 1, 3, 4, 6, 5, 7)):
        builder.store(rows[i], place(y, y_row, column)).align = align
    return context.get_dummy_value()


@intrinsic(_transpose_type, _emit_transpose)
def transpose8(x, x_at, x_row, y, y_at, y_row):
    """``y[y_at + j y_row + i] = x[x_at + i x_row + j]`` for i, j < 8, of C-contiguous arrays of one
    float type; all x are read before y is written."""
    block = [x.reshape(-1)[x_at + i * x_row :][:8].copy() for i in range(8)]
    for j in range(8):
        y.reshape(-1)[y_at + j * y_row :][:8] = [row[j] for row in block]
