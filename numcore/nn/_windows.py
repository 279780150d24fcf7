"""Windows that slide over images, for convolutions and pooling: their options, and how many there
are."""

from typing import Annotated, TypeAlias

from ..arguments import interval

MAX_SIZE = 2**31  # sizes below this are exact in all index arithmetic of kernels
_Size: TypeAlias = Annotated[int, interval("[1, 2147483648)")]
_Padding: TypeAlias = Annotated[int, interval("[0, 2147483648)")]
# a number, or one vertically and one horizontally
Size: TypeAlias = _Size | tuple[_Size, _Size]
Padding: TypeAlias = _Padding | tuple[_Padding, _Padding]


def pair(value):
    """An option as (vertical, horizontal)."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def output_sizes(shape, kernel, stride, padding, dilation=(1, 1)):
    """How many windows fit vertically and horizontally; ValueError if none does."""
    sizes = []
    for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True):
        if (span := d * (k - 1) + 1) > n + 2 * p:
            raise ValueError(
                f"kernel must not be larger than the padded image, {n + 2 * p} pixels along an "
                f"axis (got {span})"
            )
        sizes.append((n + 2 * p - span) // s + 1)
    return tuple(sizes)
