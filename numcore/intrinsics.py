"""Building blocks of kernels that only LLVM has: fused multiply-add, bit casts, population count, scaling by powers of two.

Each is an :class:`Intrinsic`: a Python function that says what it computes (and computes it, slowly, on NumPy scalars) together
with the LLVM instructions that a compiled body gets instead. They work in Numba bodies of kernels and in a user's own ``@njit``
code alike; numba itself is imported only when something is compiled.
"""

import numpy as np

__all__ = ["Intrinsic", "fma", "float_bits", "float_from_bits", "ldexp", "popcount", "vector_bits"]


class Intrinsic:
    """A function with two bodies: Python for reading and testing, LLVM for running.

    Parameters
    ----------
    body : function
        What it computes, on NumPy scalars.
    typing : function
        Numba types of the arguments to the Numba type of the result, or None where the arguments do not fit.
    emit : function
        ``emit(context, builder, signature, arguments)`` writes the LLVM instructions and returns their value.
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
    return min((near, np.nextafter(near, -np.inf, dtype=near.dtype), np.nextafter(near, np.inf, dtype=near.dtype)),
               key=lambda candidate: abs(Fraction(float(candidate)) - exact) if np.isfinite(candidate) else np.inf)


def _bits_type(x):
    from numba import types

    return {types.float32: types.int32, types.float64: types.int64}.get(x)


def _from_bits_type(i):
    from numba import types

    return {types.int32: types.float32, types.uint32: types.float32, types.int64: types.float64, types.uint64: types.float64}.get(i)


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
    """Bits of the widest float vector of this CPU: 512 with AVX-512, 256 with AVX2 and FMA, else 128."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"):
        return 512
    return 256 if features.get("avx2") and features.get("fma") else 128


VECTOR_BITS_SYMBOL = "numcore_vector_bits"


def _emit_vector_bits(context, builder, signature, arguments):
    from llvmlite import ir

    if getattr(context, "is_portable", False):  # bitcode asks; the loader answers for the CPU it finds
        return _call_llvm(builder, VECTOR_BITS_SYMBOL, ir.IntType(32), [])
    return ir.Constant(ir.IntType(32), host_vector_bits())


@intrinsic(_vector_bits_type, _emit_vector_bits)
def vector_bits():
    """Bits of the widest float vector of the CPU that runs the code: a constant there, so that branches on it fold away."""
    return np.int32(host_vector_bits())


def _ldexp_type(x, k):
    from numba import types

    return x if isinstance(x, types.Float) and k == types.int32 else None


def _emit_ldexp(context, builder, signature, arguments):
    """One ``vscalef`` where AVX-512 has it; else two exact multiplications by powers of two, since ``llvm.ldexp`` would call libm."""
    from llvmlite import ir

    x, k = arguments
    width, i32 = _width(x.type), ir.IntType(32)
    bits, mantissa, bias = (i32, 23, 127) if width == 32 else (ir.IntType(64), 52, 1023)

    def power_of_two(exponent):
        biased = builder.add(exponent, ir.Constant(i32, bias))
        biased = builder.zext(biased, bits) if width == 64 else biased
        return builder.bitcast(builder.shl(biased, ir.Constant(bits, mantissa)), x.type)

    native = builder.icmp_signed("==", _emit_vector_bits(context, builder, None, ()), ir.Constant(i32, 512))
    with builder.if_else(native) as (then, otherwise):
        with then:
            scaled_at_once = _call_llvm(builder, f"llvm.ldexp.f{width}.i32", x.type, [x, k])
            then_block = builder.block
        with otherwise:
            half = builder.ashr(k, ir.Constant(i32, 1))
            scaled_twice = builder.fmul(builder.fmul(x, power_of_two(half)), power_of_two(builder.sub(k, half)))
            otherwise_block = builder.block
    result = builder.phi(x.type)
    result.add_incoming(scaled_at_once, then_block)
    result.add_incoming(scaled_twice, otherwise_block)
    return result


@intrinsic(_ldexp_type, _emit_ldexp)
def ldexp(x, k):
    """``x * 2**k`` rounded once, k an int32 with |k| <= 2 * 126 for float32 and 2 * 1022 for float64, |x| within [0.5, 2]."""
    return type(x)(np.ldexp(x, k))
