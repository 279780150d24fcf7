"""Windows that slide over images, for convolutions and pooling: the checks of their sizes, and how
many there are."""

import operator

MOST = 2**31  # sizes below this are exact in all index arithmetic of kernels


def pair(name, value, least):
    """`value`, an int or a pair of ints of at least `least`, as a pair (vertical, horizontal)."""
    parts = value if isinstance(value, (tuple, list)) else (value, value)
    if len(parts) != 2:
        raise ValueError(f"{name} must be an int or a pair (vertical, horizontal) (got {value!r})")
    return tuple(integer(name, part, least) for part in parts)


def integer(name, value, least):
    """`value` as an int of at least `least`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be made of integers (got {value!r})")
    if not least <= number < MOST:
        raise ValueError(f"{name} must satisfy {least} <= {name} < 2**31 (got {name}={number})")
    return number


def output_sizes(shape, kernel, stride, padding, dilation=(1, 1)):
    """How many windows fit vertically and horizontally; ValueError if none does."""
    sizes = []
    for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True):
        if (span := d * (k - 1) + 1) > n + 2 * p:
            raise ValueError(
                f"kernel must not be larger than the padded image (got kernel {tuple(kernel)}, "
                f"dilation {tuple(dilation)}, "
                f"image {tuple(shape)}, padding {tuple(padding)})"
            )
        sizes.append((n + 2 * p - span) // s + 1)
    return tuple(sizes)
