"""Spectral convolution: the lowest Fourier modes of a signal, multiplied by learned matrices, and
back; and the gradients.

Only the modes that are kept are transformed along the second axis. Forward and inverse transforms
are each other's adjoint but for the factor that counts a mode of a real signal twice, once for its
conjugate. Z. Li, N. Kovachki, K. Azizzadenesheli, B. Liu, K. Bhattacharya, A. Stuart, A.
Anandkumar, "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np

from ..arguments import Array, Complex, Float, interval
from ..dispatch import namespace_of, routine
from ._windows import Size, pair

COMPLEX = {
    np.dtype(np.float32): np.dtype(np.complex64),
    np.dtype(np.float64): np.dtype(np.complex128),
}


class SpectralConv1dCache(NamedTuple):
    """What :func:`spectral_conv1d` keeps for its gradients: the modes of x, and the weights."""

    modes: Complex[Array, "batch n_in m"]
    w: Complex[Array, "n_in n_out m"] | Float[Array, "n_in n_out m 2"]
    shape: tuple
    n_modes: tuple


class SpectralConv2dCache(NamedTuple):
    """What :func:`spectral_conv2d` keeps for its gradients: the modes of x, and the weights."""

    modes: Complex[Array, "batch n_in rows m"]
    w: Complex[Array, "n_in n_out rows m"] | Float[Array, "n_in n_out rows m 2"]
    shape: tuple
    n_modes: tuple


class SpectralConvGrads(NamedTuple):
    """Gradients of the array arguments of a spectral convolution; that of a complex w is the
    derivative by its real part plus i times that by its imaginary part."""

    x: Array
    w: Array


# --- routines -------------------------------------------------------------------------------------


@routine
def spectral_conv1d(
    x: Float[Array, "batch n_in n"],
    w: Complex[Array, "n_in n_out m"] | Float[Array, "n_in n_out m 2"],
    *,
    n_modes: Annotated[int, interval("[1, 2147483648)")],
) -> tuple[Array, SpectralConv1dCache]:
    """Multiply the lowest Fourier modes of signals by learned matrices; all other modes of the
    output are zero.

    Parameters
    ----------
    x : (batch, n_in, n) array of float32 or float64
        Signals of n samples with `in` channels.
    w : (n_in, n_out, m) array of complex64 or complex128 or (n_in, n_out, m, 2) array of float32 or float64
        A matrix for each mode: complex64 for float32 signals, complex128 for float64, or pairs of
        real and imaginary parts.
    n_modes : int in [1, 2**31)
        How many modes are kept, the mean included; at most n // 2 + 1.

    Returns
    -------
    y : (batch, out, n) array
        Real, of the dtype of `x`.
    cache : SpectralConv1dCache
        For :func:`spectral_conv1d_vjp`; holds the modes of `x`, and `w` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `n_modes` that is not an integer.
    ValueError
        Shapes that do not fit, `n_modes` below 1 or above n // 2 + 1.

    Notes
    -----
    ``y = irfft(Y, n)`` with ``Y[:, o, k] = Σ_i X[:, i, k] w[i, o, k]`` for k < n_modes, else 0, and
    ``X = rfft(x)``. The imaginary part of Y[0], and of Y[n / 2] for even n, has no effect. Errors
    relative to the largest entry are a few eps log2(n).

    References
    ----------
    Z. Li, N. Kovachki, K. Azizzadenesheli, B. Liu, K. Bhattacharya, A. Stuart, A. Anandkumar,
    "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021.

    Examples
    --------
    >>> j = np.arange(8)
    >>> x = 0.5 + np.cos(2 * np.pi * j / 8) + np.cos(6 * np.pi * j / 8)
    >>> y, cache = spectral_conv1d(x[None, None], np.ones((1, 1, 2), complex), n_modes=2)
    >>> y[0, 0, :4].round(4)
    array([ 1.5   ,  1.2071,  0.5   , -0.2071])
    """  # noqa: E501
    n = x.shape[2]
    if not n:
        raise ValueError(f"x must have n >= 1 samples (got shape {x.shape})")
    if n_modes > n // 2 + 1:
        raise ValueError(f"n_modes must be <= n // 2 + 1 with n = {n} (got {n_modes})")
    return _forward(x, w, (n_modes,), SpectralConv1dCache)


@routine
def spectral_conv1d_vjp(
    grad_y: Float[Array, "batch n_out n"], cache: SpectralConv1dCache
) -> SpectralConvGrads:
    """Gradients of :func:`spectral_conv1d`.

    Parameters
    ----------
    grad_y : (batch, n_out, n) array of float32 or float64
        Gradient of a loss in the output.
    cache : SpectralConv1dCache
        What :func:`spectral_conv1d` returned with it.

    Returns
    -------
    SpectralConvGrads
        x and w, of the shapes and dtypes of these arguments; for a complex `w` the derivative by
        its real part plus i times that by its imaginary part.

    Raises
    ------
    TypeError
        `cache` is not of :func:`spectral_conv1d`, another dtype than that of the layer, arrays on
        different devices.
    ValueError
        `grad_y` does not have the shape of the output.

    Notes
    -----
    With G = rfft(grad_y) c / n, c = 1 for the mean and for k = n / 2, else 2:
    ``grad_w[i, o, k] = Σ conj(X[:, i, k]) G[:, o, k]`` and
    ``grad_x = irfft(n / c Σ_o G[:, o, k] conj(w[i, o, k]))``.

    References
    ----------
    Z. Li, N. Kovachki, K. Azizzadenesheli, B. Liu, K. Bhattacharya, A. Stuart, A. Anandkumar,
    "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021.

    Examples
    --------
    >>> from numcore.nn import spectral_conv1d
    >>> y, cache = spectral_conv1d(np.eye(4)[:1, None], np.ones((1, 1, 2), complex), n_modes=2)
    >>> grad_x, grad_w = spectral_conv1d_vjp(np.ones_like(y), cache)
    >>> grad_x, grad_w
    (array([[[1., 1., 1., 1.]]]), array([[[1.+0.j, 0.+0.j]]]))
    """
    return _backward(grad_y, cache)


@routine
def spectral_conv2d(
    x: Float[Array, "batch n_in height width"],
    w: Complex[Array, "n_in n_out rows m"] | Float[Array, "n_in n_out rows m 2"],
    *,
    n_modes: Size,
) -> tuple[Array, SpectralConv2dCache]:
    """Multiply the lowest Fourier modes of images by learned matrices; all other modes of the
    output are zero.

    Parameters
    ----------
    x : (batch, n_in, height, width) array of float32 or float64
        Images with `in` channels.
    w : (n_in, n_out, rows, m) array of complex64 or complex128 or (n_in, n_out, rows, m, 2) array of float32 or float64
        A matrix for each mode. Rows 0 to m1 - 1 are the vertical frequencies 0 to m1 - 1, rows m1
        to 2 m1 - 1 the frequencies -m1 to -1: the two corners of the spectrum, as ``numpy.fft``
        orders them. Complex64 for float32 images, complex128 for float64, or pairs of real and
        imaginary parts.
    n_modes : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31))
        (m1, m2); m1 at most h // 2, m2 at most w // 2 + 1.

    Returns
    -------
    y : (batch, out, h, w) array
        Real, of the dtype of `x`.
    cache : SpectralConv2dCache
        For :func:`spectral_conv2d_vjp`; holds the modes of `x`, and `w` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `n_modes` that are not integers.
    ValueError
        Shapes that do not fit, m1 below 1 or above h // 2, m2 below 1 or above w // 2 + 1.

    Notes
    -----
    ``y = irfft2(Y, (h, w))`` with ``Y[:, o, k, l] = Σ_i X[:, i, k, l] w[i, o, k, l]`` for the modes
    that are kept, else 0, and ``X = rfft2(x)``. The part of Y[..., 0], and of Y[..., w / 2] for
    even w, that no real image has is left out by taking real parts after the vertical transform.
    Errors relative to the largest entry are a few eps log2(h w).

    References
    ----------
    Z. Li, N. Kovachki, K. Azizzadenesheli, B. Liu, K. Bhattacharya, A. Stuart, A. Anandkumar,
    "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021.

    Examples
    --------
    >>> x = np.zeros((1, 1, 4, 4))
    >>> x[0, 0] = 3 + np.cos(np.pi * np.arange(4))  # a mean, and columns of the highest frequency
    >>> y, cache = spectral_conv2d(x, np.ones((1, 1, 2, 2), complex), n_modes=(1, 2))
    >>> y[0, 0, 0]
    array([3., 3., 3., 3.])
    """  # noqa: E501
    n_modes, (height, width) = pair(n_modes), x.shape[2:]
    if not height or not width:
        raise ValueError(f"x must have height, width >= 1 (got shape {x.shape})")
    if n_modes[0] > height // 2 or n_modes[1] > width // 2 + 1:
        raise ValueError(
            f"n_modes must be <= (height // 2, width // 2 + 1) with height = {height}, width = "
            f"{width} (got {n_modes})"
        )
    return _forward(x, w, n_modes, SpectralConv2dCache)


@routine
def spectral_conv2d_vjp(
    grad_y: Float[Array, "batch n_out height width"], cache: SpectralConv2dCache
) -> SpectralConvGrads:
    """Gradients of :func:`spectral_conv2d`.

    Parameters
    ----------
    grad_y : (batch, n_out, height, width) array of float32 or float64
        Gradient of a loss in the output.
    cache : SpectralConv2dCache
        What :func:`spectral_conv2d` returned with it.

    Returns
    -------
    SpectralConvGrads
        x and w, of the shapes and dtypes of these arguments; for a complex `w` the derivative by
        its real part plus i times that by its imaginary part.

    Raises
    ------
    TypeError
        `cache` is not of :func:`spectral_conv2d`, another dtype than that of the layer, arrays on
        different devices.
    ValueError
        `grad_y` does not have the shape of the output.

    Notes
    -----
    As for :func:`spectral_conv1d_vjp`, with G = rfft2(grad_y) c / (h w), c = 1 for the columns 0
    and w / 2, else 2.

    References
    ----------
    Z. Li, N. Kovachki, K. Azizzadenesheli, B. Liu, K. Bhattacharya, A. Stuart, A. Anandkumar,
    "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021.

    Examples
    --------
    >>> from numcore.nn import spectral_conv2d
    >>> y, cache = spectral_conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 1), complex), n_modes=1)
    >>> grad_x, grad_w = spectral_conv2d_vjp(np.ones_like(y), cache)
    >>> grad_x, grad_w
    (array([[[[1., 1.],
             [1., 1.]]]]), array([[[[4.+0.j],
             [0.+0.j]]]]))
    """
    return _backward(grad_y, cache)


def _weights(xp, w, axes):
    """The weights as complex numbers."""
    if w.ndim == axes + 2:
        return w
    return xp.ascontiguousarray(w).view(COMPLEX[w.dtype])[..., 0]


def _forward(x, w, n_modes, kind):
    xp, axes = namespace_of(x), len(n_modes)
    rows = (2 * n_modes[0],) if axes == 2 else ()
    wanted = (*rows, n_modes[-1])
    if w.dtype not in (x.dtype, COMPLEX[x.dtype]):
        raise TypeError(f"w must have dtype {COMPLEX[x.dtype]} or {x.dtype} (got {w.dtype})")
    if w.shape[2 : axes + 2] != wanted:
        raise ValueError(f"w must have {wanted} modes after (n_in, n_out) (got shape {w.shape})")
    with np.errstate(all="ignore"):
        modes = _modes(xp, x, n_modes)
        y = _signal(xp, _multiplied(xp, modes, _weights(xp, w, axes)), x.shape[2:], n_modes)
    return y, kind(modes, w, x.shape, n_modes)


def _backward(grad_y, cache):
    xp, modes, w, sizes = namespace_of(grad_y), cache.modes, cache.w, cache.shape[2:]
    weights, pairs = _weights(xp, w, len(sizes)), w.dtype != modes.dtype
    if grad_y.shape[2:] != sizes:
        wanted = (cache.shape[0], w.shape[1], *sizes)
        raise ValueError(f"grad_y must have shape {wanted} (got {grad_y.shape})")
    if COMPLEX[grad_y.dtype] != modes.dtype:
        raise TypeError(f"grad_y must have the dtype of x (got {grad_y.dtype})")
    # a mode and its conjugate, where these are two
    factor = np.full(cache.n_modes[-1], 2 / math.prod(sizes))
    factor[0] /= 2
    if 2 * (len(factor) - 1) == sizes[-1]:
        factor[-1] = factor[0]
    with np.errstate(all="ignore"):
        grad_modes = _modes(xp, grad_y, cache.n_modes) * xp.asarray(factor.astype(grad_y.dtype))
        grad_w = _multiplied(xp, xp.moveaxis(modes.conj(), 0, 1), grad_modes)
        back = _multiplied(
            xp,
            grad_modes * xp.asarray((1 / factor).astype(grad_y.dtype)),
            xp.moveaxis(weights.conj(), 0, 1),
        )
        grad_x = _signal(xp, back, sizes, cache.n_modes)
    if pairs:
        grad_w = xp.ascontiguousarray(grad_w)[..., None].view(grad_y.dtype)
    return SpectralConvGrads(grad_x, grad_w)


# --- transforms -----------------------------------------------------------------------------------


def _multiplied(xp, a, b):
    """Σ_j a[i, j, modes] b[j, o, modes], one product of matrices for each mode."""
    shape = (a.shape[0], b.shape[1], *a.shape[2:])
    a, b = (xp.moveaxis(z.reshape(*z.shape[:2], math.prod(shape[2:])), 2, 0) for z in (a, b))
    return xp.moveaxis(xp.matmul(xp.ascontiguousarray(a), xp.ascontiguousarray(b)), 0, 2).reshape(
        shape
    )


def _modes(xp, x, n_modes):
    """The modes of real x that are kept."""
    modes = xp.fft.rfft(x, axis=-1)[..., : n_modes[-1]]
    if len(n_modes) == 1:
        return modes
    modes = xp.fft.fft(modes, axis=-2)
    return xp.concatenate((modes[..., : n_modes[0], :], modes[..., -n_modes[0] :, :]), axis=-2)


def _signal(xp, modes, sizes, n_modes):
    """The real signal that has these modes and no others."""
    if len(n_modes) == 2:
        rows = xp.zeros((*modes.shape[:2], sizes[0] - 2 * n_modes[0], n_modes[1]), modes.dtype)
        modes = xp.fft.ifft(
            xp.concatenate(
                (modes[..., : n_modes[0], :], rows, modes[..., n_modes[0] :, :]), axis=-2
            ),
            axis=-2,
        )
    alone = modes.copy()  # a transform may, or may not, ignore these imaginary parts
    alone[..., 0] = xp.real(modes[..., 0])
    if 2 * (n_modes[-1] - 1) == sizes[-1]:
        alone[..., -1] = xp.real(modes[..., -1])
    return xp.fft.irfft(alone, sizes[-1], axis=-1)
