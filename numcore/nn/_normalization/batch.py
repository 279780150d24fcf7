"""Batch normalization: every column moved to mean 0 and scaled to variance 1."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Float, Float64, positive, within
from ...dispatch import namespace_of, routine
from .kernels import column_moments, column_products, combine_columns, join_moments, scale_columns
from .rows import NormGrads, as_rows, blocks, check_eps, column, summed


class RunningStatistics(NamedTuple):
    """Mean and variance of every feature over the batches seen so far."""

    mean: Float[Array, "d"]
    var: Float[Array, "d"]


class BatchNormCache(NamedTuple):
    """What :func:`batch_norm` keeps for its gradients, and the new running statistics."""

    x: Float[Array, "*batch d"]
    weight: Float[Array, "d"] | None
    bias: Float[Array, "d"] | None
    mean: Float64[Array, "d"]
    scale: Float64[Array, "d"]
    training: bool
    running: RunningStatistics | None


@routine
def batch_norm(
    x: Float[Array, "*batch d"],
    weight: Float[Array, "d"] | None,
    bias: Float[Array, "d"] | None,
    running: RunningStatistics | tuple[Float[Array, "d"], Float[Array, "d"]] | None,
    *,
    momentum: Annotated[float, within(0, 1)] = 0.1,
    eps: Annotated[float, positive] = 1e-5,
    training: bool = True,
) -> tuple[Array, BatchNormCache]:
    """Every feature moved to mean 0 and scaled to variance 1 over the batch, then multiplied by
    `weight`, plus `bias`.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
        All leading axes are the batch, n positions altogether.
    weight, bias : (d,) array of float32 or float64 or None
        None means ones and zeros.
    running : RunningStatistics or ((d,) array of float32 or float64, (d,) array of float32 or float64) or None
        Running statistics (mean, var) of the batches before. They are not modified; the new ones
        are ``cache.running``, for the next call. None, where none are kept, is for training only.
    momentum : float in [0, 1], default 0.1
        Share of this batch in the new running statistics, from 0 to 1.
    eps : float > 0, default 1e-05
        Added to the variance.
    training : bool, default True
        Normalize by the statistics of this batch; else by `running`, which then stays as it is.

    Returns
    -------
    y : (..., d) array
    cache : BatchNormCache
        For :func:`batch_norm_vjp`; holds `x` by reference. ``cache.running`` is the new (mean,
        var), or None where `running` is None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are not numbers, a
        `running` that is not a pair.
    ValueError
        `weight`, `bias` or a running statistic does not have length d, `x` has no axis, `eps` is
        not positive, `momentum` is outside [0, 1], `running` is None without training.

    Notes
    -----
    ``y = weight (x - m) / sqrt(v + eps) + bias`` with m and v over the batch, v biased (divided by
    n). New running statistics are ``(1 - momentum) mean + momentum m`` and
    ``(1 - momentum) var + momentum v n/(n - 1)``, the variance unbiased. A batch of one position
    says nothing about variance and an empty one nothing at all: what they do not tell stays as it
    is. Sums of differences from the mean of 32 rows are joined in float64, which keeps the
    precision of two passes with one reading of `x`; then one more to write y.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML 2015. T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for
    Computing the Sample Variance", The American Statistician 37, 1983.

    Examples
    --------
    >>> running = np.zeros(2), np.ones(2)
    >>> y, cache = batch_norm(np.array([[1.0, 2], [3, -4]]), np.ones(2), np.zeros(2), running)
    >>> y.round(4)
    array([[-1.,  1.],
           [ 1., -1.]])
    >>> cache.running.mean, cache.running.var
    (array([ 0.2, -0.1]), array([1.1, 2.7]))
    """  # noqa: E501
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    check_eps(eps, dtype)
    if not training and running is None:
        raise ValueError("running must be (mean, var) unless training (got None)")
    rows = as_rows(xp, x)
    with np.errstate(all="ignore"):
        if training:
            batch_mean, batch_var, running = _batch_statistics(xp, rows, running, momentum)
        else:
            running = RunningStatistics(*running)
            batch_mean, batch_var = (a.astype(np.float64) for a in running)
        scale = 1 / xp.sqrt(batch_var + eps)
        factor, center = column(xp, weight, d, 1, dtype) * scale, batch_mean.astype(dtype)
        # what rounding the mean has moved
        shift = column(xp, bias, d, 0, dtype) + (center - batch_mean) * factor
    y = xp.empty(x.shape, dtype)
    scale_columns(
        rows,
        xp.empty((len(rows), 0), dtype),
        center,
        factor.astype(dtype),
        shift.astype(dtype),
        as_rows(xp, y),
    )
    return y, BatchNormCache(x, weight, bias, batch_mean, scale, training, running)


@routine
def batch_norm_vjp(grad_y: Float[Array, "*batch d"], cache: BatchNormCache) -> NormGrads:
    """Gradients of :func:`batch_norm`.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in y.
    cache : BatchNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    NormGrads
        x (..., d), weight and bias (d,), which are None where the argument was None. Running
        statistics have no gradient.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    With z = (x - m) s and s = 1/sqrt(v + eps): ``grad_x = w s (g - mean(g) - z mean(g z))`` in
    training, means over the batch, else ``grad_x = w s g``; ``grad_weight = sum g z``,
    ``grad_bias = sum g``. Two passes over `grad_y` and `x`.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML 2015.

    Examples
    --------
    >>> from numcore.nn import batch_norm
    >>> y, cache = batch_norm(np.array([[1.0], [2.0], [4.0]]), np.ones(1), np.zeros(1), None)
    >>> batch_norm_vjp(np.array([[1.0], [0.0], [0.0]]), cache)[0].round(6).ravel()
    array([ 0.229082, -0.34362 ,  0.114538])
    """
    x, weight, bias, mean, scale, training, _ = cache
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    grad_y, rows, grad_x = as_rows(xp, grad_y), as_rows(xp, x), xp.empty(x.shape, dtype)
    n, center, zero = len(rows), mean.astype(dtype), xp.zeros(d, dtype)
    parts = xp.empty((blocks(n), 2, d), dtype)
    column_products(grad_y, rows, center, parts)
    products, totals = summed(xp, parts)
    with np.errstate(all="ignore"):
        products = products + (center - mean) * totals
        factor = column(xp, weight, d, 1, dtype) * scale
        if training and n > 1:
            slope = -factor * scale * scale * products / n
            shift = (center - mean) * slope - factor * totals / n
            combine_columns(
                grad_y,
                rows,
                center,
                *(c.astype(dtype) for c in (factor, slope, shift)),
                as_rows(xp, grad_x),
            )
        else:  # a single position is moved to 0 wherever it is
            factor = zero if training else factor.astype(dtype)
            scale_columns(grad_y, xp.empty((n, 0), dtype), zero, factor, zero, as_rows(xp, grad_x))
        grad_weight, grad_bias = (products * scale).astype(dtype), totals.astype(dtype)
    return NormGrads(
        grad_x, None if weight is None else grad_weight, None if bias is None else grad_bias
    )


def _batch_statistics(xp, rows, running, momentum):
    """Mean and biased variance of the columns in float64, and the running statistics after this
    batch."""
    n, d = rows.shape
    parts, mean = xp.empty((blocks(n), 3, d), rows.dtype), xp.empty(d, np.float64)
    spread = xp.empty(d, np.float64)
    column_moments(rows, parts)
    join_moments(parts, n, mean, spread)
    if running is not None:
        old_mean, old_var = running
        new_mean = old_mean + momentum * (mean - old_mean) if n else old_mean
        new_var = old_var + momentum * (spread / (n - 1) - old_var) if n > 1 else old_var
        running = RunningStatistics(new_mean.astype(rows.dtype), new_var.astype(rows.dtype))
    return mean, spread / max(n, 1), running
