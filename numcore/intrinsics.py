"""Building blocks of kernels that only LLVM has: fused multiply-add, bit casts, population count,
scaling by powers of two.

Each is an :class:`Intrinsic`: a Python function that says what it computes (and computes it,
slowly, on NumPy scalars) together with the LLVM instructions that a compiled body gets instead.
They work in Numba bodies of kernels and in a user's own ``@njit`` code alike; numba itself is
imported only when something is compiled.
"""

import numpy as np

__all__ = [
    "Intrinsic",
    "dot",
    "fma",
    "float_bits",
    "float_from_bits",
    "gemm_row",
    "gemm_tile",
    "ldexp",
    "popcount",
    "tile_cols",
    "tile_rows",
    "vector_bits",
]


class Intrinsic:
    """A function with two bodies: Python for reading and testing, LLVM for running.

    Parameters
    ----------
    body : function
        What it computes, on NumPy scalars.
    typing : function
        Numba types of the arguments to the Numba type of the result, or None where the arguments do
        not fit.
    emit : function
        ``emit(context, builder, signature, arguments)`` writes the LLVM instructions and returns
        their value.
    """

    def __init__(self, body, typing, emit):
        self.body, self.typing, self.emit = body, typing, emit
        self.__name__, self.__doc__, self.__module__ = body.__name__, body.__doc__, body.__module__

    def __call__(self, *arguments):
        return self.body(*arguments)

    def __repr__(self):
        return f"<intrinsic {self.__module__}.{self.__name__}>"


def intrinsic(typing, emit):
    """Turn a Python function into an :class:`Intrinsic`."""
    return lambda body: Intrinsic(body, typing, emit)


def _same_floats(*arguments):
    from numba import types

    first = arguments[0]
    return first if isinstance(first, types.Float) and all(a == first for a in arguments) else None


def _call_llvm(builder, name, result, arguments):
    from llvmlite import ir
    from numba.core import cgutils

    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _width(llvm_type):
    return 32 if str(llvm_type) in ("float", "i32") else 64


@intrinsic(_same_floats, lambda context, builder, signature, arguments: builder.fma(*arguments))
def fma(a, b, c):
    """``a * b + c`` with one rounding; the three arguments have one float type."""
    if not np.isfinite([a, b, c]).all():
        return a * b + c
    from fractions import Fraction

    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = type(a)(float(exact))  # may have been rounded twice: one of its neighbours may be nearer
    return min(
        (
            near,
            np.nextafter(near, -np.inf, dtype=near.dtype),
            np.nextafter(near, np.inf, dtype=near.dtype),
        ),
        key=lambda candidate: (
            abs(Fraction(float(candidate)) - exact) if np.isfinite(candidate) else np.inf
        ),
    )


def _bits_type(x):
    from numba import types

    return {types.float32: types.int32, types.float64: types.int64}.get(x)


def _from_bits_type(i):
    from numba import types

    return {
        types.int32: types.float32,
        types.uint32: types.float32,
        types.int64: types.float64,
        types.uint64: types.float64,
    }.get(i)


def _emit_bitcast(context, builder, signature, arguments):
    return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))


@intrinsic(_bits_type, _emit_bitcast)
def float_bits(x):
    """The bits of a float32 as int32, of a float64 as int64."""
    return x.view({4: np.int32, 8: np.int64}[x.itemsize])


@intrinsic(_from_bits_type, _emit_bitcast)
def float_from_bits(i):
    """The float32 with the bits of an (u)int32, the float64 with the bits of an (u)int64."""
    return i.view({4: np.float32, 8: np.float64}[i.itemsize])


def _integer(i):
    from numba import types

    return i if isinstance(i, types.Integer) else None


def _emit_popcount(context, builder, signature, arguments):
    return builder.ctpop(arguments[0])


@intrinsic(_integer, _emit_popcount)
def popcount(i):
    """The number of one bits of an integer."""
    return type(i)((int(i) & (2 ** (8 * i.itemsize) - 1)).bit_count())


def _vector_bits_type():
    from numba import types

    return types.int32


def host_vector_bits():
    """Bits of the widest float vector of this CPU: 512 with AVX-512, 256 with AVX2 and FMA, else
    128."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"):
        return 512
    return 256 if features.get("avx2") and features.get("fma") else 128


VECTOR_BITS_SYMBOL = "numcore_vector_bits"


def _emit_vector_bits(context, builder, signature, arguments):
    from llvmlite import ir

    if getattr(
        context, "is_portable", False
    ):  # bitcode asks; the loader answers for the CPU it finds
        return _call_llvm(builder, VECTOR_BITS_SYMBOL, ir.IntType(32), [])
    return ir.Constant(ir.IntType(32), host_vector_bits())


@intrinsic(_vector_bits_type, _emit_vector_bits)
def vector_bits():
    """Bits of the widest float vector of the CPU that runs the code: a constant there, so that
    branches on it fold away."""
    return np.int32(host_vector_bits())


def _ldexp_type(x, k):
    from numba import types

    return x if isinstance(x, types.Float) and k == types.int32 else None


def _emit_ldexp(context, builder, signature, arguments):
    """One ``vscalef`` where AVX-512 has it; else two exact multiplications by powers of two, since
    ``llvm.ldexp`` would call libm."""
    from llvmlite import ir

    x, k = arguments
    width, i32 = _width(x.type), ir.IntType(32)
    bits, mantissa, bias = (i32, 23, 127) if width == 32 else (ir.IntType(64), 52, 1023)

    def power_of_two(exponent):
        biased = builder.add(exponent, ir.Constant(i32, bias))
        biased = builder.zext(biased, bits) if width == 64 else biased
        return builder.bitcast(builder.shl(biased, ir.Constant(bits, mantissa)), x.type)

    native = builder.icmp_signed(
        "==", _emit_vector_bits(context, builder, None, ()), ir.Constant(i32, 512)
    )
    with builder.if_else(native) as (then, otherwise):
        with then:
            scaled_at_once = _call_llvm(builder, f"llvm.ldexp.f{width}.i32", x.type, [x, k])
            then_block = builder.block
        with otherwise:
            half = builder.ashr(k, ir.Constant(i32, 1))
            scaled_twice = builder.fmul(
                builder.fmul(x, power_of_two(half)), power_of_two(builder.sub(k, half))
            )
            otherwise_block = builder.block
    result = builder.phi(x.type)
    result.add_incoming(scaled_at_once, then_block)
    result.add_incoming(scaled_twice, otherwise_block)
    return result


@intrinsic(_ldexp_type, _emit_ldexp)
def ldexp(x, k):
    """``x * 2**k`` rounded once, k an int32 with |k| <= 2 * 126 for float32 and 2 * 1022 for
    float64, |x| within [0.5, 2]."""
    return type(x)(np.ldexp(x, k))


# --- the register tile of matrix products ---------------------------------------------------------
#
# c[rows, cols] (+)= a · b held in registers over the whole depth, in the manner of BLIS: the one
# piece of a product that is written for the machine. Rows and columns follow the CPU's vectors; the
# loops around it are portable and belong to the kernels, which do their own step (an exponential, a
# maximum) on c while it is in the cache.

TILE_VECTORS = {
    512: (8, 3),
    256: (4, 3),
    128: (4, 2),
}  # vector bits → rows, vectors in a row: 24, 12, 8 accumulators


def tile_shape(bits, itemsize):
    """(rows, cols) of the tile on a CPU with vectors of `bits` bits, for elements of `itemsize`
    bytes."""
    rows, vectors = TILE_VECTORS[bits]
    return rows, vectors * bits // (8 * itemsize)


def _tile_size_type(x):
    from numba import types

    return types.int64 if isinstance(x, types.Float) else None


def _emit_tile_size(which):
    def emit(context, builder, signature, arguments):
        from llvmlite import ir

        itemsize, i64 = signature.args[0].bitwidth // 8, ir.IntType(64)
        bits = _emit_vector_bits(context, builder, None, ())
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


def by_vector_width(context, builder, name, real, values, body):
    """Call an LLVM function that has one body for each vector width; a module holds it once, and
    the loader leaves one body of it.

    Parameters
    ----------
    name : str
        Of the function, for elements of the LLVM type `real`.
    values : list of LLVM values
        Its arguments.
    body : function
        ``body(builder, width, arguments)`` emits the instructions for vectors of `width` bits.
    """
    from llvmlite import ir
    from numba.core import cgutils

    signature = ir.FunctionType(ir.VoidType(), [v.type for v in values])
    function = cgutils.get_or_insert_function(builder.module, signature, f"numcore_{name}_{real}")
    if function.is_declaration:
        function.linkage = "linkonce_odr"
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        bits = _emit_vector_bits(context, inner, None, ())
        for width in TILE_VECTORS:
            here, after = (function.append_basic_block(f"{width}{part}") for part in ("", ".not"))
            inner.cbranch(inner.icmp_signed("==", bits, ir.Constant(bits.type, width)), here, after)
            inner.position_at_end(here)
            body(inner, width, function.args)
            inner.ret_void()
            inner.position_at_end(after)
        inner.ret_void()
    builder.call(function, values)
    return context.get_dummy_value()


def flat_arguments(context, builder, signature, arguments):
    """LLVM values of a call on flat arrays: pairs (array, place of its first element) as one
    pointer, other integers as i64."""
    from numba import types

    values, pending = [], None
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            pending = context.make_array(kind)(context, builder, value).data
            continue
        value = context.cast(builder, value, kind, types.int64)
        values.append(value if pending is None else builder.gep(pending, [value]))
        pending = None
    return values


def _emit_tile(one_row):
    def emit(context, builder, signature, arguments):
        real, itemsize = (
            context.get_value_type(signature.args[0].dtype),
            signature.args[0].dtype.bitwidth // 8,
        )

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
            _call_llvm(builder, f"llvm.fma.v{lanes}f{8 * itemsize}", vector, [x, y, z])
            if fused
            else builder.fadd(builder.fmul(x, y), z)
        )

    c_rows = [at(c, builder.mul(c_row, ir.Constant(i64, i))) for i in range(rows)]
    a_rows = [at(a, builder.mul(a_row, ir.Constant(i64, i))) for i in range(rows)]
    zero = ir.Constant(vector, [0.0] * lanes)

    # accumulators start at c, or at zero without c being read
    adds, fresh, loop, done = (
        builder.append_basic_block(f"tile.{part}") for part in ("add", "fresh", "loop", "done")
    )
    builder.cbranch(builder.icmp_signed("!=", accumulate, ir.Constant(i64, 0)), adds, fresh)
    builder.position_at_end(adds)
    loaded = [[load(at(row, j * lanes)) for j in range(vectors)] for row in c_rows]
    positive = builder.icmp_signed(">", depth, ir.Constant(i64, 0))
    builder.cbranch(positive, loop, done)
    builder.position_at_end(fresh)
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
    for block, count in ((adds, 0), (fresh, 0), (loop, None)):
        p.add_incoming(following if count is None else ir.Constant(i64, 0), block)

    builder.position_at_end(done)
    for i in range(rows):
        for j in range(vectors):
            for block, value in ((adds, loaded[i][j]), (fresh, zero), (loop, new[i][j])):
                sums[i][j].add_incoming(value, block)
    results = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    for i in range(rows):
        for j in range(vectors):
            for block, value in ((adds, loaded[i][j]), (fresh, zero), (loop, new[i][j])):
                results[i][j].add_incoming(value, block)
    for i in range(rows):
        for j in range(vectors):
            store = builder.store(
                results[i][j], builder.bitcast(at(c_rows[i], j * lanes), vector.as_pointer())
            )
            store.align = itemsize


def _reference_tile(
    rows, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate
):
    a, b, c = (x.reshape(-1) for x in (a, b, c))
    for i in range(rows):
        for j in range(tile_cols(a[0])):
            total = c[c_at + i * c_row + j] if accumulate else a.dtype.type(0)
            for p in range(depth):
                total = fma(a[a_at + i * a_row + p * a_depth], b[b_at + p * b_depth + j], total)
            c[c_at + i * c_row + j] = total


@intrinsic(_tile_type, _emit_tile(one_row=False))
def gemm_tile(a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    """One register tile of a product:
    ``c[i, j] = (c[i, j] if accumulate) + sum over p < depth of a[i, p] * b[p, j]``.

    The three operands are C-contiguous arrays of one float type, each with the place of its first
    element and its strides in elements: a's rows and depth may have any strides (a row-major
    operand has ``a_depth = 1``, a packed or transposed one ``a_row = 1``), the columns of b and c
    are contiguous. i runs over `tile_rows`, j over `tile_cols`: the caller pads or takes
    `gemm_row`.
    """
    _reference_tile(
        tile_rows(a.flat[0]),
        a,
        a_at,
        a_row,
        a_depth,
        b,
        b_at,
        b_depth,
        c,
        c_at,
        c_row,
        depth,
        accumulate,
    )


@intrinsic(_tile_type, _emit_tile(one_row=True))
def gemm_row(a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate):
    """`gemm_tile` with one row, for the rows that are left over."""
    _reference_tile(1, a, a_at, a_row, a_depth, b, b_at, b_depth, c, c_at, c_row, depth, accumulate)


# --- inner products -------------------------------------------------------------------------------

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
        return _call_llvm(
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
    value, after = (
        multiply_add(load(x, double, one), load(y, double, one), total),
        builder.add(one, ir.Constant(i64, 1)),
    )
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
