"""Steps of kernels in vectors of a fixed length: 16 or 32 sums at once; blocks of 8 x 8 numbers
transposed."""

import numpy as np

from ._intrinsic import LANES, flat_arguments, intrinsic

WIDE = 32  # sums that signed_sums makes at once: points side by side


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

    real = context.get_value_type(signature.args[0].dtype)
    align = signature.args[0].dtype.bitwidth // 8
    vector, i64, i32 = ir.VectorType(real, WIDE), ir.IntType(64), ir.IntType(32)
    y, x, order, signs, count = flat_arguments(context, builder, signature, arguments)
    zero = ir.Constant(vector, [0.0] * WIDE)
    entry, loop = builder.block, builder.append_basic_block("sums.loop")
    done = builder.append_basic_block("sums.done")
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

    real = context.get_value_type(signature.args[0].dtype)
    align = signature.args[0].dtype.bitwidth // 8
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
