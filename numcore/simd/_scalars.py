"""Functions of one number that only LLVM has: fused multiply-add, bit casts, population count,
scaling by powers of two, floats as integers of the same order, short polynomials."""

import math

import numpy as np

from ._intrinsic import call_llvm, emit_vector_bits, intrinsic, same_floats


def _width(llvm_type):
    return 32 if str(llvm_type) in ("float", "i32") else 64


@intrinsic(same_floats, lambda context, builder, signature, arguments: builder.fma(*arguments))
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
        "==", emit_vector_bits(context, builder, None, ()), ir.Constant(i32, 512)
    )
    with builder.if_else(native) as (then, otherwise):
        with then:
            scaled_at_once = call_llvm(builder, f"llvm.ldexp.f{width}.i32", x.type, [x, k])
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


# --- floats as integers of the same order ---------------------------------------------------------
#
# A compiler may put the maximum of integers into vectors, but not that of floats. The bits of
# positive floats are integers in their order; those of negative ones are so once all bits but the
# sign are flipped. NaN comes last if its sign is positive, and first if it is negative.


def _ordered_type(x):
    from numba import types

    return {types.float32: types.int32, types.float64: types.int64}.get(x)


def _from_ordered_type(i):
    from numba import types

    return {types.int32: types.float32, types.int64: types.float64}.get(i)


def _flipped(builder, bits):
    sign = builder.ashr(bits, bits.type(bits.type.width - 1))
    return builder.xor(bits, builder.lshr(sign, bits.type(1)))


def _emit_ordered(context, builder, signature, arguments):
    return _flipped(
        builder, builder.bitcast(arguments[0], context.get_value_type(signature.return_type))
    )


def _emit_from_ordered(context, builder, signature, arguments):
    return builder.bitcast(
        _flipped(builder, arguments[0]), context.get_value_type(signature.return_type)
    )


@intrinsic(_ordered_type, _emit_ordered)
def ordered(x):
    """The place of a float among all floats, an integer as long as the float."""
    bits = float_bits(x)
    return bits if bits >= 0 else bits ^ np.iinfo(bits).max


@intrinsic(_from_ordered_type, _emit_from_ordered)
def from_ordered(i):
    """The float with this place."""
    return float_from_bits(i if i >= 0 else i ^ np.iinfo(i).max)


# --- sums and polynomials -------------------------------------------------------------------------


@intrinsic(
    same_floats,
    lambda context, builder, signature, arguments: builder.fadd(
        *arguments, flags=("reassoc", "nsz")
    ),
)
def add(total, x):
    """``total + x`` of a sum whose terms may be added in any order, so that a loop over them
    becomes vector instructions."""
    return total + x


def _emit_add_product(context, builder, signature, arguments):
    a, b, total = arguments
    flags = ("reassoc", "contract")
    return builder.fadd(builder.fmul(a, b, flags=flags), total, flags=flags)


@intrinsic(same_floats, _emit_add_product)
def add_product(a, b, total):
    """``total + a * b`` for a loop that sums: LLVM may take the sum in the order that suits the
    vectors of the CPU."""
    return total + a * b


# (asin(r)/r - 1)/r² as a polynomial of r², r <= 1/2: minimax, errors of asin 5.8e-9 and 1.7e-17
# (docs/derivations/minimax.py)
ASIN_FLOAT32 = (0.16666752, 0.074952975, 0.045470376, 0.024179524, 0.04216629)
ASIN_FLOAT64 = (
    0.16666666666665408,
    0.07500000000336994,
    0.0446428568283422,
    0.03038195913646122,
    0.022371758061468072,
    0.017359704607956408,
    0.013885236933147657,
    0.01216920227569633,
    0.006528014964315211,
    0.019528158480225946,
    -0.01622408818201368,
    0.03191215889254635,
)


def _emit_asin_tail(context, builder, signature, arguments):
    from llvmlite import ir

    (z,) = arguments
    coefficients = ASIN_FLOAT32 if isinstance(z.type, ir.FloatType) else ASIN_FLOAT64
    result = ir.Constant(
        z.type,
        float(np.float32(coefficients[-1]))
        if isinstance(z.type, ir.FloatType)
        else coefficients[-1],
    )
    for c in coefficients[-2::-1]:  # "contract": one fused instruction where the CPU has it
        c = float(np.float32(c)) if isinstance(z.type, ir.FloatType) else c
        result = builder.fadd(
            builder.fmul(result, z, flags=("contract",)),
            ir.Constant(z.type, c),
            flags=("contract",),
        )
    return result


@intrinsic(same_floats, _emit_asin_tail)
def asin_tail(z):
    """(asin(r)/r - 1)/r² for r² = z <= 1/4, by a polynomial for each float type."""
    return np.polyval(
        np.array((ASIN_FLOAT32 if z.itemsize == 4 else ASIN_FLOAT64)[::-1], z.dtype), z
    )


# 2**f on [-1/2, 1/2]: minimax in relative error, 7.5e-8 and 3.1e-18 (Remez in 40 digits); ends of
# the exponent; 1.5 units of 2**precision.
EXP2_FLOAT = (
    1.00000007165,
    0.693146967065,
    0.240221197237,
    0.0555071327186,
    0.00967554134312,
    0.0013276472632,
)
EXP2_DOUBLE = (
    1.0,
    0.6931471805599453,
    0.24022650695910155,
    0.055504108664819925,
    0.009618129107588335,
    0.0013333558146789923,
    0.00015403530462514432,
    1.5252733489988525e-05,
    1.32154330896764e-06,
    1.0178198021671931e-07,
    7.074105613508143e-09,
    4.435282706957277e-10,
)
FORMATS = {32: (EXP2_FLOAT, 127, 23), 64: (EXP2_DOUBLE, 1023, 52)}


def emit_exp2(builder, t):
    """2**t of a scalar or a vector, for t below the largest exponent; exactly 0 from -127 (float32)
    or -1023 (float64) down; NaN stays.

    Adding 1.5 · 2**precision + bias leaves the rounded t, biased, in the low bits: shifted up they
    are the power of two.
    """
    from llvmlite import ir

    real = t.type.element if isinstance(t.type, ir.VectorType) else t.type
    width = 32 if isinstance(real, ir.FloatType) else 64
    bits = ir.IntType(width)
    if isinstance(t.type, ir.VectorType):
        bits = ir.VectorType(bits, t.type.count)

    def constant(kind, value):
        return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)

    coefficients, bias, precision = FORMATS[width]
    low, magic = constant(t.type, float(-bias)), constant(t.type, 1.5 * 2.0**precision + bias)
    t = builder.select(builder.fcmp_ordered("<", t, low), low, t)
    shifted = builder.fadd(t, magic)
    power = builder.bitcast(
        builder.shl(builder.bitcast(shifted, bits), constant(bits, precision)), t.type
    )
    fraction = builder.fsub(t, builder.fsub(shifted, magic))
    result = constant(t.type, coefficients[-1])
    for c in coefficients[-2::-1]:  # "contract": one fused instruction where the CPU has it
        product = builder.fmul(result, fraction, flags=("contract",))
        result = builder.fadd(product, constant(t.type, c), flags=("contract",))
    return builder.fmul(result, power)


@intrinsic(
    same_floats, lambda context, builder, signature, arguments: emit_exp2(builder, arguments[0])
)
def exp2(t):
    """2**t for t below the largest exponent."""
    return type(t)(math.exp2(t))
