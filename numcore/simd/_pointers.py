"""Arithmetic of pointers, for loops with strides in bytes."""

from ._intrinsic import intrinsic


def _pointer_and_integer(pointer, offset):
    return pointer


def _emit_offset(context, builder, signature, arguments):
    from llvmlite import ir

    pointer, offset = arguments
    as_bytes = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(as_bytes, [offset]), pointer.type)


@intrinsic(_pointer_and_integer, _emit_offset)
def at_byte(pointer, offset):
    """The pointer `offset` bytes further on; compiled code only."""
    raise NotImplementedError


def _two_pointers(p, q):
    from numba import types

    return types.boolean


def _emit_same(context, builder, signature, arguments):
    from llvmlite import ir

    p, q = (builder.ptrtoint(a, ir.IntType(64)) for a in arguments)
    return builder.icmp_unsigned("==", p, q)


@intrinsic(_two_pointers, _emit_same)
def same_address(p, q):
    """Whether two pointers are one; compiled code only."""
    raise NotImplementedError
