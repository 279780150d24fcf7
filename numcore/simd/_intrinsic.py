"""What the building blocks are made of: their class, calls of LLVM's own functions, and one body
for each vector width."""

import numpy as np

from .. import _cpu

VECTOR_WIDTHS = (512, 256, 128)  # bits
LANES = 16  # numbers that blocks of fixed length take at once: queries or matrices side by side


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


def same_floats(*arguments):
    from numba import types

    first = arguments[0]
    return first if isinstance(first, types.Float) and all(a == first for a in arguments) else None


def call_llvm(builder, name, result, arguments):
    from llvmlite import ir
    from numba.core import cgutils

    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _vector_bits_type():
    from numba import types

    return types.int32


def host_vector_bits():
    """Bits of the widest float vector of this CPU: 512 with AVX-512, 256 with AVX2 and FMA, else
    128."""
    return _cpu.vector_bits()


VECTOR_BITS_SYMBOL = "numcore_vector_bits"


def emit_vector_bits(context, builder, signature, arguments):
    from llvmlite import ir

    # bitcode asks; the loader answers for the CPU it finds
    if getattr(context, "is_portable", False):
        return call_llvm(builder, VECTOR_BITS_SYMBOL, ir.IntType(32), [])
    return ir.Constant(ir.IntType(32), host_vector_bits())


@intrinsic(_vector_bits_type, emit_vector_bits)
def vector_bits():
    """Bits of the widest float vector of the CPU that runs the code: a constant there, so that
    branches on it fold away."""
    return np.int32(host_vector_bits())


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
        bits = emit_vector_bits(context, inner, None, ())
        for width in VECTOR_WIDTHS:
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
