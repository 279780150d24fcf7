"""Floats as integers of the same order: a compiler may put the maximum of integers into vectors,
but not that of floats.

The bits of positive floats are integers in their order; those of negative ones are so once all bits
but the sign are flipped. NaN comes last if its sign is positive, and first if it is negative.
"""

import numpy as np

from ..intrinsics import float_bits, float_from_bits, intrinsic

__all__ = ["from_ordered", "ordered"]


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
