"""Two convolutions that replace one."""

import math
from typing import Annotated, NamedTuple, TypeAlias

from ...arguments import Array, Float, at_least, nonnegative
from ...dispatch import namespace_of, routine
from .decompositions import Scheme
from .kernels import mix_channels

Step: TypeAlias = Annotated[int, at_least(1)]

Margin: TypeAlias = Annotated[int, nonnegative]


class ConvFactors(NamedTuple):
    """Two layers that replace one, for `apply_factors`; `n_params` counts the parameters of
    both."""

    first: Float[Array, "..."]
    second: Float[Array, "..."]
    rank: int
    scheme: Scheme
    relative_error: float
    n_params: int


@routine
def apply_factors(
    x: Float[Array, "b c h w"] | Float[Array, "b c"],
    factors: ConvFactors,
    *,
    stride: Step | tuple[Step, Step] = 1,
    padding: Margin | tuple[Margin, Margin] = 0,
) -> Array:
    """Apply a factorized convolution: the two layers of `decompose_kernel`, one after the other.

    Parameters
    ----------
    x : (b, c, h, w) array of float32 or float64 or (b, c) array of float32 or float64
        Images, or vectors, which are treated as images of one pixel.
    factors : ConvFactors
        From `decompose_kernel`, of the dtype of `x`.
    stride : int >= 1 or (int >= 1, int >= 1), default 1
    padding : int >= 0 or (int >= 0, int >= 0), default 0
        Stride and padding of the convolution that is replaced, see :func:`numcore.nn.conv2d`.

    Returns
    -------
    (b, n, h', w') or (b, n) array
        The convolution with the truncated kernel, up to rounding errors; at full rank, the original
        convolution.

    Raises
    ------
    ValueError
        Shapes do not match, `stride` is below 1, `padding` is below 0, or the kernel is larger than
        the padded image.
    TypeError
        `factors` is not a ConvFactors, dtypes or devices are unsupported or mixed, or options are
        not integers.

    Notes
    -----
    Multiplications per output pixel: r (c kh kw + n) for "channel", about r (c kh + n kw) for
    "spatial", r n (c + kh kw) for "decouple", instead of n c kh kw.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020.

    Examples
    --------
    >>> from numcore.linalg import decompose_kernel
    >>> factors = decompose_kernel(np.array([[1.0, 2.0], [2.0, 4.0]]), rank=1)
    >>> apply_factors(np.array([[1.0, 1.0]]), factors).round(12)
    array([[3., 6.]])
    """
    from ...nn import conv2d  # only this function needs the subpackage

    xp, first, second, padding = namespace_of(x), factors.first, factors.second, _pair(padding)
    kernel_size = _check_layers(x, first, second, factors.scheme)
    images = x if x.ndim == 4 else x[:, :, None, None]
    size = tuple(n + 2 * zeros for n, zeros in zip(images.shape[2:], padding, strict=True))
    if size[0] < kernel_size[0] or size[1] < kernel_size[1]:
        raise ValueError(f"x must be >= {kernel_size}, the kernel, with its padding (got {size})")
    y = _LAYERS[factors.scheme](xp, conv2d, images, first, second, _pair(stride), padding)
    return y if x.ndim == 4 else y[:, :, 0, 0]


def _check_layers(x, first, second, scheme):
    """Check the shapes of two layers and of images, and return the size of the kernel that the
    layers represent."""
    a, b = first.shape, second.shape
    if scheme == "decouple":
        fits, channels = len(a) == 3 and len(b) == 4 and a[:2] == b[:2], a[-1:]
    else:
        fits, channels = len(a) == len(b) == 4 and a[0] == b[1], a[1:2]
        fits = fits and (b[2:] == (1, 1) if scheme == "channel" else a[3] == b[2] == 1)
    if not fits:
        raise ValueError(f"factors must be two layers of the scheme {scheme} (got {a} and {b})")
    if x.shape[1:2] != channels:
        c = channels[0]
        raise ValueError(f"x must have c = {c} channels like the factors (got shape {x.shape})")
    return {"channel": a[2:], "spatial": (a[2], b[3]), "decouple": b[2:]}[scheme]


def _pair(value):
    """(vertical, horizontal)"""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _channel(xp, conv2d, x, first, second, stride, padding):
    y, _ = conv2d(x, first, stride=stride, padding=padding)
    return _mixed(xp, second[:, :, 0, 0], y)


def _spatial(xp, conv2d, x, first, second, stride, padding):
    (down, right), (above, left) = stride, padding
    y, _ = conv2d(x, first, stride=(down, 1), padding=(above, 0))
    return conv2d(y, second, stride=(1, right), padding=(0, left))[0]


def _decouple(xp, conv2d, x, first, second, stride, padding):
    """All paths at once: output channel n reads its group of r channels."""
    r, n, c = first.shape
    paths = _mixed(xp, first.swapaxes(0, 1).reshape(n * r, c), x)
    return conv2d(paths, second.swapaxes(0, 1), stride=stride, padding=padding, groups=n)[0]


def _mixed(xp, w, x):
    """A 1 × 1 convolution. One BLAS call per image would cost more than it saves."""
    b, c, *size = x.shape
    y = xp.empty((b, len(w), math.prod(size)), x.dtype)
    mix_channels(xp.ascontiguousarray(w), xp.ascontiguousarray(x).reshape(b, c, math.prod(size)), y)
    return y.reshape(b, len(w), *size)


_LAYERS = {"channel": _channel, "spatial": _spatial, "decouple": _decouple}
