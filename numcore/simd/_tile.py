"""The register tile of matrix products.

c[rows, cols] (+)= a · b held in registers over the whole depth, in the manner of BLIS: the one
piece of a product that is written for the machine. Rows and columns follow the CPU's vectors; the
loops around it are portable and belong to the kernels, which do their own step (an exponential, a
maximum) on c while it is in the cache.
"""

from ._intrinsic import (
    by_vector_width,
    call_llvm,
    emit_vector_bits,
    flat_arguments,
    host_vector_bits,
    intrinsic,
)
from ._scalars import fma

# vector bits → rows, vectors in a row: 24, 12, 8 accumulators
TILE_VECTORS = {512: (8, 3), 256: (4, 3), 128: (4, 2)}


def tile_shape(bits, itemsize):
    """(rows, cols) of the tile on a CPU with vectors of `bits` bits, for elements of `itemsize`
    bytes."""
    rows, vectors = TILE_VECTORS[bits]
    return rows, vectors * bits // (8 * itemsize)


# Rows and columns of the largest tile, for scratch extents; float64 has half the columns.
TALLEST, WIDEST = (max(tile_shape(bits, 4)[axis] for bits in TILE_VECTORS) for axis in (0, 1))


def _tile_size_type(x):
    from numba import types

    return types.int64 if isinstance(x, types.Float) else None


def _emit_tile_size(which):
    def emit(context, builder, signature, arguments):
        from llvmlite import ir

        itemsize, i64 = signature.args[0].bitwidth // 8, ir.IntType(64)
        bits = emit_vector_bits(context, builder, None, ())
        size = ir.Constant(i64, tile_shape(128, itemsize)[which])
        for width in (256, 512):
            fits = builder.icmp_signed(">=", bits, ir.Constant(bits.type, width))
            size = builder.select(fits, ir.Constant(i64, tile_shape(width, itemsize)[which]), size)
        return size

    return emit


@intrinsic(_tile_size_type, _emit_tile_size(0))
def tile_rows(x):
    """Rows of the register tile for elements like the float x."""
    return tile_shape(host_vector_bits(), x.itemsize)[0]


@intrinsic(_tile_size_type, _emit_tile_size(1))
def tile_cols(x):
    """Columns of the register tile for elements like the float x."""
    return tile_shape(host_vector_bits(), x.itemsize)[1]


def _tile_type(a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    from numba import types

    arrays = all(
        isinstance(x, types.Array) and x.layout == "C" and x.dtype == a.dtype for x in (a, b, c)
    )
    return types.void if arrays and isinstance(a.dtype, types.Float) else None


def _emit_tile(one_row):
    def emit(context, builder, signature, arguments):
        real = context.get_value_type(signature.args[0].dtype)
        itemsize = signature.args[0].dtype.bitwidth // 8

        def body(builder, width, arguments):
            a, a_row, a_depth, b, b_depth, c, c_row, depth, accumulate = arguments
            rows, cols = tile_shape(width, itemsize)
            lanes = width // (8 * itemsize)
            _tile_loop(
                builder,
                real,
                lanes,
                1 if one_row else rows,
                cols // lanes,
                width >= 256,
                (a, a_row, a_depth),
                (b, b_depth),
                (c, c_row),
                depth,
                accumulate,
            )

        values = flat_arguments(context, builder, signature, arguments)
        return by_vector_width(context, builder, "row" if one_row else "tile", real, values, body)

    return emit


def _tile_loop(builder, real, lanes, rows, vectors, fused, a, b, c, depth, accumulate):
    """The accumulators of a tile live in phi nodes of one loop over the depth."""
    from llvmlite import ir

    i64 = ir.IntType(64)
    (a, a_row, a_depth), (b, b_depth), (c, c_row) = a, b, c
    vector = ir.VectorType(real, lanes)
    itemsize = 4 if isinstance(real, ir.FloatType) else 8

    def at(pointer, *offsets):
        for offset in offsets:
            pointer = builder.gep(
                pointer, [offset if isinstance(offset, ir.Value) else ir.Constant(i64, offset)]
            )
        return pointer

    def load(pointer):
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = itemsize
        return value

    def broadcast(pointer):
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.load(pointer), ir.Constant(ir.IntType(32), 0)
        )
        return builder.shuffle_vector(
            one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        )

    def multiply_add(x, y, z):  # without the instruction, llvm.fma would call libm
        return (
            call_llvm(builder, f"llvm.fma.v{lanes}f{8 * itemsize}", vector, [x, y, z])
            if fused
            else builder.fadd(builder.fmul(x, y), z)
        )

    c_rows = [at(c, builder.mul(c_row, ir.Constant(i64, i))) for i in range(rows)]
    a_rows = [at(a, builder.mul(a_row, ir.Constant(i64, i))) for i in range(rows)]
    zero = ir.Constant(vector, [0.0] * lanes)

    # Accumulators start at zero even where c is added to: a sum over many tiles would otherwise be
    # one chain of additions to a large number, whose rounding errors grow with its length.
    before = builder.block
    loop, done, adds, fresh, end = (
        builder.append_basic_block(f"tile.{part}")
        for part in ("loop", "done", "add", "fresh", "end")
    )
    builder.cbranch(builder.icmp_signed(">", depth, ir.Constant(i64, 0)), loop, done)

    builder.position_at_end(loop)
    p = builder.phi(i64)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    b_now = at(b, builder.mul(p, b_depth))
    b_vectors = [load(at(b_now, j * lanes)) for j in range(vectors)]
    step = builder.mul(p, a_depth)
    new = []
    for i in range(rows):
        x = broadcast(at(a_rows[i], step))
        new.append([multiply_add(x, v, s) for v, s in zip(b_vectors, sums[i], strict=True)])
    following = builder.add(p, ir.Constant(i64, 1))
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    p.add_incoming(ir.Constant(i64, 0), before)
    p.add_incoming(following, loop)

    builder.position_at_end(done)
    results = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    for i in range(rows):
        for j in range(vectors):
            for phi in (sums[i][j], results[i][j]):
                phi.add_incoming(zero, before)
                phi.add_incoming(new[i][j], loop)
    builder.cbranch(builder.icmp_signed("!=", accumulate, ir.Constant(i64, 0)), adds, fresh)
    for block in (adds, fresh):
        builder.position_at_end(block)
        for i in range(rows):
            for j in range(vectors):
                place, value = at(c_rows[i], j * lanes), results[i][j]
                value = builder.fadd(load(place), value) if block is adds else value
                store = builder.store(value, builder.bitcast(place, vector.as_pointer()))
                store.align = itemsize
        builder.branch(end)
    builder.position_at_end(end)


def _reference_tile(
    rows, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate
):
    a, b, c = (x.reshape(-1) for x in (a, b, c))
    for i in range(rows):
        for j in range(tile_cols(a[0])):
            total, at = a.dtype.type(0), c_at + i * c_row + j
            for p in range(depth):
                total = fma(a[a_at + i * a_row + p * a_depth], b[b_at + p * b_depth + j], total)
            c[at] = c[at] + total if accumulate else total


@intrinsic(_tile_type, _emit_tile(one_row=False))
def gemm_tile(a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    """One register tile of a product:
    ``c[i, j] = (c[i, j] if accumulate) + sum over p < depth of a[i, p] * b[p, j]``.

    The three operands are C-contiguous arrays of one float type, each with the place of its first
    element and its strides in elements: a's rows and depth may have any strides (a row-major
    operand has ``a_depth = 1``, a packed or transposed one ``a_row = 1``), the columns of b and c
    are contiguous. i runs over `tile_rows`, j over `tile_cols`: the caller pads or takes
    `gemm_rows`.
    """
    rows = tile_rows(a.flat[0])
    _reference_tile(
        rows, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate
    )


@intrinsic(_tile_type, _emit_tile(one_row=True))
def gemm_row(a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    """`gemm_tile` with one row, for the rows that are left over."""
    _reference_tile(1, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate)


def gemm_rows(rows, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    """`gemm_tile` for any number of rows: as many as fill tiles, then one by one."""
    height = tile_rows(c.dtype.type(0))
    whole = rows // height * height
    for i in range(0, whole, height):
        x, y = a_at + i * a_row, c_at + i * c_row
        gemm_tile(a, x, a_row, a_depth, b, b_at, b_depth, c, y, c_row, depth, accumulate)
    for i in range(whole, rows):
        x, y = a_at + i * a_row, c_at + i * c_row
        gemm_row(a, x, a_row, a_depth, b, b_at, b_depth, c, y, c_row, depth, accumulate)
