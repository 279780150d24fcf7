"""Layer and root-mean-square normalization: every row scaled to variance 1."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Float, positive
from ...dispatch import namespace_of, routine
from .kernels import norm_rows, norm_rows_backward
from .rows import NormGrads, as_rows, blocks, check_eps, column, summed


class LayerNormCache(NamedTuple):
    """What :func:`layer_norm` keeps for its gradients: the inputs, and of every row the mean and
    1/sqrt(variance + eps)."""

    x: Float[Array, "*batch d"]
    weight: Float[Array, "d"] | None
    bias: Float[Array, "d"] | None
    mean: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


class RMSNormCache(NamedTuple):
    """What :func:`rms_norm` keeps for its gradients: the inputs, and of every row 1/sqrt(mean
    square + eps)."""

    x: Float[Array, "*batch d"]
    weight: Float[Array, "d"] | None
    scale: Float[Array, "*batch"]


class RMSNormGrads(NamedTuple):
    """Gradients of the arguments of :func:`rms_norm`; None where the argument was None."""

    x: Array
    weight: Array | None


# --- routines -------------------------------------------------------------------------------------


@routine
def layer_norm(
    x: Float[Array, "*batch d"],
    weight: Float[Array, "d"] | None,
    bias: Float[Array, "d"] | None,
    *,
    eps: Annotated[float, positive] = 1e-5,
) -> tuple[Array, LayerNormCache]:
    """Every row moved to mean 0 and scaled to variance 1, then multiplied by `weight`, plus `bias`.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
    weight, bias : (d,) array of float32 or float64 or None
        None means ones and zeros.
    eps : float > 0, default 1e-05
        Added to the variance.

    Returns
    -------
    y : (..., d) array
    cache : LayerNormCache
        For :func:`layer_norm_vjp`; holds `x` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, an `eps` that is not a number.
    ValueError
        `weight` or `bias` does not have length d, `x` has no axis, `eps` is not positive.

    Notes
    -----
    ``y = weight (x - m) / sqrt(v + eps) + bias`` with the mean m and the biased variance v over the
    last axis. The variance is that of differences from a first mean, corrected for what rounding
    that mean has done: errors relative to the largest entry of y stay below a few units of rounding
    times ``1 + |m| / sqrt(v + eps)``. 4 n d operations for n rows; memory: y and two numbers for
    each row.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv 1607.06450, 2016. T. F. Chan,
    G. H. Golub, R. J. LeVeque, "Algorithms for Computing the Sample Variance", The American
    Statistician 37, 1983.

    Examples
    --------
    >>> y, cache = layer_norm(np.array([1.0, 2.0, 4.0]), np.ones(3), np.zeros(3))
    >>> y.round(8)
    array([-1.06904153, -0.26726038,  1.33630191])
    """
    y, mean, scale = _rows_forward(x, weight, bias, eps, centered=1)
    return y, LayerNormCache(x, weight, bias, mean, scale)


@routine
def layer_norm_vjp(grad_y: Float[Array, "*batch d"], cache: LayerNormCache) -> NormGrads:
    """Gradients of :func:`layer_norm`.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in y.
    cache : LayerNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    NormGrads
        x (..., d), weight and bias (d,), which are None where the argument was None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    With z = (x - m) s and s = 1/sqrt(v + eps): ``grad_x = s (w g - mean(w g) - z mean(w g z))``,
    means over a row; ``grad_weight = sum g z``, ``grad_bias = sum g`` over all rows, in float64
    from blocks of 32 rows. One pass over `grad_y` and `x`.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv 1607.06450, 2016.

    Examples
    --------
    >>> from numcore.nn import layer_norm
    >>> y, cache = layer_norm(np.array([1.0, 2.0, 4.0]), np.ones(3), np.zeros(3))
    >>> layer_norm_vjp(np.array([1.0, 0.0, 0.0]), cache)[0].round(6)
    array([ 0.229082, -0.34362 ,  0.114538])
    """
    x, weight, bias, mean, scale = cache
    grad_x, (grad_weight, grad_bias) = _rows_backward(grad_y, x, weight, mean, scale, centered=1)
    return NormGrads(
        grad_x, None if weight is None else grad_weight, None if bias is None else grad_bias
    )


@routine
def rms_norm(
    x: Float[Array, "*batch d"],
    weight: Float[Array, "d"] | None,
    *,
    eps: Annotated[float, positive] = 1e-6,
) -> tuple[Array, RMSNormCache]:
    """Every row divided by the root of its mean square, then multiplied by `weight`: layer norm
    without a mean.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
    weight : (d,) array of float32 or float64 or None
        None means ones.
    eps : float > 0, default 1e-06
        Added to the mean square.

    Returns
    -------
    y : (..., d) array
    cache : RMSNormCache
        For :func:`rms_norm_vjp`; holds `x` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, an `eps` that is not a number.
    ValueError
        `weight` does not have length d, `x` has no axis, `eps` is not positive.

    Notes
    -----
    ``y = weight x / sqrt(mean(x²) + eps)``, within a few units of rounding. 3 n d operations for n
    rows.

    References
    ----------
    B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.

    Examples
    --------
    >>> y, cache = rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]))
    >>> y.round(6)
    array([ 0.848528, 11.313708])
    """
    y, _, scale = _rows_forward(x, weight, None, eps, centered=0)
    return y, RMSNormCache(x, weight, scale)


@routine
def rms_norm_vjp(grad_y: Float[Array, "*batch d"], cache: RMSNormCache) -> RMSNormGrads:
    """Gradients of :func:`rms_norm`.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in y.
    cache : RMSNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    RMSNormGrads
        x (..., d) and weight (d,), which is None where the argument was None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    With s = 1/sqrt(mean(x²) + eps): ``grad_x = s (w g - x s² mean(w g x))``,
    ``grad_weight = sum g x s``.

    References
    ----------
    B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.

    Examples
    --------
    >>> from numcore.nn import rms_norm
    >>> y, cache = rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]))
    >>> grad_x, grad_weight = rms_norm_vjp(np.array([1.0, 0.0]), cache)
    >>> grad_x.round(6), grad_weight.round(6)
    (array([ 0.181019, -0.135764]), array([0.848528, 0.      ]))
    """
    x, weight, scale = cache
    grad_x, (grad_weight, _) = _rows_backward(grad_y, x, weight, scale, scale, centered=0)
    return RMSNormGrads(grad_x, None if weight is None else grad_weight)


# --- what the routines share ----------------------------------------------------------------------


def _rows_forward(x, weight, bias, eps, centered):
    """The normalized rows, their means (if they are centered) and their scales."""
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    check_eps(eps, dtype)
    y, mean = xp.empty(x.shape, dtype), xp.empty(x.shape[:-1], dtype)
    weight, bias = column(xp, weight, d, 1, dtype), column(xp, bias, d, 0, dtype)
    scale, rows = xp.empty(x.shape[:-1], dtype), as_rows(xp, y)
    norm_rows(
        as_rows(xp, x), weight, bias, eps, centered, rows, mean.reshape(-1), scale.reshape(-1)
    )
    return y, mean, scale


def _rows_backward(grad_y, x, weight, mean, scale, centered):
    """grad_x, and (grad_weight, grad_bias) as the rows of one array."""
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    rows, grad_x = as_rows(xp, x), xp.empty(x.shape, dtype)
    parts, weight = xp.empty((blocks(len(rows)), 2, d), dtype), column(xp, weight, d, 1, dtype)
    mean, scale, grad_rows = mean.reshape(-1), scale.reshape(-1), as_rows(xp, grad_x)
    norm_rows_backward(as_rows(xp, grad_y), rows, weight, mean, scale, centered, grad_rows, parts)
    with np.errstate(all="ignore"):
        return grad_x, summed(xp, parts).astype(dtype)
