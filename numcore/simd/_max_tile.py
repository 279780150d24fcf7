"""Products of rows with a panel of columns of which only the largest leave the registers."""

from ._intrinsic import by_vector_width, flat_arguments, host_vector_bits, intrinsic, vector_bits
from ._scalars import fma

ROWS = {512: 12, 256: 6, 128: 4}  # vector bits → rows of two vectors each: 24, 12, 8 accumulators
WIDEST_PANEL = 2 * max(ROWS) // 32  # columns of the widest panel, for scratch extents


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
    real = context.get_value_type(signature.args[0].dtype)
    itemsize = signature.args[0].dtype.bitwidth // 8
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
    entry, loop = builder.block, builder.append_basic_block("max.loop")
    done = builder.append_basic_block("max.done")
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
    entry, loop = builder.block, builder.append_basic_block("fetch.loop")
    done = builder.append_basic_block("fetch.done")
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
