"""Layers that normalise: layer, root-mean-square and batch normalisation, forward and backward.

Every row (layer norm, RMS norm) or every column (batch norm) is moved to mean 0 and scaled to
variance 1, then scaled and shifted by parameters. Variances are those of differences from the mean,
never differences of moments. Sums over rows are taken in blocks of `ROWS` rows, and over blocks in
float64, so that no result depends on the number of threads. J. L. Ba, J. R. Kiros, G. E. Hinton,
"Layer Normalization", 2016; B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS
2019; S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..simd import add
from ._cache import checked_cache, checked_gradient

__all__ = [
    "BatchNormCache",
    "LayerNormCache",
    "RMSNormCache",
    "RunningStatistics",
    "batch_norm",
    "batch_norm_vjp",
    "layer_norm",
    "layer_norm_vjp",
    "rms_norm",
    "rms_norm_vjp",
]

ROWS = 32  # rows whose sums are taken in the arrays' own precision


class LayerNormCache(NamedTuple):
    """What :func:`layer_norm_vjp` needs: the inputs, and of every row the mean and 1/sqrt(variance
    + eps)."""

    x: Any
    weight: Any
    bias: Any
    mean: Any
    scale: Any


class RMSNormCache(NamedTuple):
    """What :func:`rms_norm_vjp` needs: the inputs, and of every row 1/sqrt(mean square + eps)."""

    x: Any
    weight: Any
    scale: Any


class RunningStatistics(NamedTuple):
    """Mean and variance of every feature over the batches seen so far."""

    mean: Any
    var: Any


class BatchNormCache(NamedTuple):
    """What :func:`batch_norm_vjp` needs, and the new running statistics."""

    x: Any
    weight: Any
    bias: Any
    mean: Any
    scale: Any
    training: bool
    running: Any


# --- routines -------------------------------------------------------------------------------------


@routine
def layer_norm(x, weight, bias, *, eps=1e-5):
    """Every row moved to mean 0 and scaled to variance 1, then multiplied by `weight`, plus `bias`.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
    weight, bias : (d,) array or None
        None stands for ones and for zeros.
    eps : float
        Added to the variance.

    Returns
    -------
    y : (..., d) array
    cache : LayerNormCache
        For :func:`layer_norm_vjp`; holds `x` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, an `eps` that is no number.
    ValueError
        `weight` or `bias` has not the length d, `x` has no axis, `eps` is not positive.

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
    xp, (x, weight, bias) = on_device(x=x, weight=weight, bias=bias)
    dtype, d = checked_features(x, weight=weight, bias=bias)
    y, mean, scale = (
        xp.empty(x.shape, dtype),
        xp.empty(x.shape[:-1], dtype),
        xp.empty(x.shape[:-1], dtype),
    )
    norm_rows(
        as_rows(xp, x),
        column(xp, weight, d, 1, dtype),
        column(xp, bias, d, 0, dtype),
        checked_eps(eps, dtype),
        1,
        as_rows(xp, y),
        mean.reshape(-1),
        scale.reshape(-1),
    )
    return y, LayerNormCache(x, weight, bias, mean, scale)


@routine
def layer_norm_vjp(grad_y, cache):
    """Gradients of :func:`layer_norm`.

    Parameters
    ----------
    grad_y : (..., d) array
        Gradient of a loss in y.
    cache : LayerNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    grad_x : (..., d) array
    grad_weight, grad_bias : (d,) array or None
        None where the argument was None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` has not the shape of y.

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
    checked_cache(cache, LayerNormCache)
    x, weight, bias, mean, scale = cache
    grad_x, sums = _rows_backward(grad_y, x, weight, mean, scale, centred=1)
    return grad_x, None if weight is None else sums[0], None if bias is None else sums[1]


@routine
def rms_norm(x, weight, *, eps=1e-6):
    """Every row divided by the root of its mean square, then multiplied by `weight`: layer norm
    without a mean.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
    weight : (d,) array or None
        None stands for ones.
    eps : float
        Added to the mean square.

    Returns
    -------
    y : (..., d) array
    cache : RMSNormCache
        For :func:`rms_norm_vjp`; holds `x` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, an `eps` that is no number.
    ValueError
        `weight` has not the length d, `x` has no axis, `eps` is not positive.

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
    xp, (x, weight) = on_device(x=x, weight=weight)
    dtype, d = checked_features(x, weight=weight)
    y, mean, scale = (
        xp.empty(x.shape, dtype),
        xp.empty(x.shape[:-1], dtype),
        xp.empty(x.shape[:-1], dtype),
    )
    norm_rows(
        as_rows(xp, x),
        column(xp, weight, d, 1, dtype),
        xp.zeros(d, dtype),
        checked_eps(eps, dtype),
        0,
        as_rows(xp, y),
        mean.reshape(-1),
        scale.reshape(-1),
    )
    return y, RMSNormCache(x, weight, scale)


@routine
def rms_norm_vjp(grad_y, cache):
    """Gradients of :func:`rms_norm`.

    Parameters
    ----------
    grad_y : (..., d) array
        Gradient of a loss in y.
    cache : RMSNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    grad_x : (..., d) array
    grad_weight : (d,) array or None
        None where `weight` was None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` has not the shape of y.

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
    checked_cache(cache, RMSNormCache)
    x, weight, scale = cache
    grad_x, sums = _rows_backward(grad_y, x, weight, scale, scale, centred=0)
    return grad_x, None if weight is None else sums[0]


@routine
def batch_norm(x, weight, bias, running, *, momentum=0.1, eps=1e-5, training=True):
    """Every feature moved to mean 0 and scaled to variance 1 over the batch, then multiplied by
    `weight`, plus `bias`.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
        All leading axes are the batch, n positions altogether.
    weight, bias : (d,) array or None
        None stands for ones and for zeros.
    running : (mean, var), two (d,) arrays, or None
        Running statistics of the batches before. They are not modified; the new ones are
        ``cache.running``, for the next call. None, where none are kept, is for training only.
    momentum : float
        Share of this batch in the new running statistics, from 0 to 1.
    eps : float
        Added to the variance.
    training : bool
        Normalise by the statistics of this batch; else by `running`, which then stays as it is.

    Returns
    -------
    y : (..., d) array
    cache : BatchNormCache
        For :func:`batch_norm_vjp`; holds `x` by reference. ``cache.running`` is the new (mean,
        var), or None where `running` is None.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are no numbers, a `running`
        that is no pair.
    ValueError
        `weight`, `bias` or a running statistic has not the length d, `x` has no axis, `eps` is not
        positive, `momentum` is outside [0, 1], `running` is None without training.

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
    """
    mean, var = _checked_running(running)
    xp, (x, weight, bias, mean, var) = on_device(
        x=x, weight=weight, bias=bias, running_mean=mean, running_var=var
    )
    dtype, d = checked_features(x, weight=weight, bias=bias, running_mean=mean, running_var=var)
    eps, momentum = checked_eps(eps, dtype), checked_number("momentum", momentum, least=0, most=1)
    if not checked_bool("training", training) and mean is None:
        raise ValueError("running must be (mean, var) unless training (got None)")
    rows, running = as_rows(xp, x), None if mean is None else RunningStatistics(mean, var)
    with np.errstate(all="ignore"):
        if training:
            batch_mean, batch_var, running = _batch_statistics(xp, rows, running, momentum)
        else:
            batch_mean, batch_var = mean.astype(np.float64), var.astype(np.float64)
        scale = 1 / xp.sqrt(batch_var + eps)
        factor, centre = column(xp, weight, d, 1, dtype) * scale, batch_mean.astype(dtype)
        shift = (
            column(xp, bias, d, 0, dtype) + (centre - batch_mean) * factor
        )  # what rounding the mean has moved
    y = xp.empty(x.shape, dtype)
    scale_columns(
        rows,
        xp.empty((len(rows), 0), dtype),
        centre,
        factor.astype(dtype),
        shift.astype(dtype),
        as_rows(xp, y),
    )
    return y, BatchNormCache(x, weight, bias, batch_mean, scale, bool(training), running)


@routine
def batch_norm_vjp(grad_y, cache):
    """Gradients of :func:`batch_norm`.

    Parameters
    ----------
    grad_y : (..., d) array
        Gradient of a loss in y.
    cache : BatchNormCache
        Of the forward pass; it may be used again.

    Returns
    -------
    grad_x : (..., d) array
    grad_weight, grad_bias : (d,) array or None
        None where the argument was None. Running statistics have no gradient.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad_y` has not the shape of y.

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
    checked_cache(cache, BatchNormCache)
    x, weight, bias, mean, scale, training, _ = cache
    xp, (grad_y, x) = on_device(grad_y=grad_y, x=x)
    checked_gradient(grad_y, x.shape)
    dtype, d = float_dtype(grad_y=grad_y, x=x), x.shape[-1]
    grad_y, rows, grad_x = as_rows(xp, grad_y), as_rows(xp, x), xp.empty(x.shape, dtype)
    n, centre, zero = len(rows), mean.astype(dtype), xp.zeros(d, dtype)
    parts = xp.empty((blocks(n), 2, d), dtype)
    column_products(grad_y, rows, centre, parts)
    products, totals = summed(xp, parts)
    with np.errstate(all="ignore"):
        products = products + (centre - mean) * totals
        factor = column(xp, weight, d, 1, dtype) * scale
        if training and n > 1:
            slope = -factor * scale * scale * products / n
            shift = (centre - mean) * slope - factor * totals / n
            combine_columns(
                grad_y,
                rows,
                centre,
                *(c.astype(dtype) for c in (factor, slope, shift)),
                as_rows(xp, grad_x),
            )
        else:  # a single position is moved to 0 wherever it is
            factor = zero if training else factor.astype(dtype)
            scale_columns(grad_y, xp.empty((n, 0), dtype), zero, factor, zero, as_rows(xp, grad_x))
        grad_weight, grad_bias = (products * scale).astype(dtype), totals.astype(dtype)
    return grad_x, None if weight is None else grad_weight, None if bias is None else grad_bias


# --- what the routines share ----------------------------------------------------------------------


def checked_features(x, **parameters):
    """The common dtype of all arrays and the length of x's last axis, which is that of every
    parameter that is not None."""
    if x is None:
        raise TypeError("x must be a NumPy or CuPy array (got None)")
    dtype = float_dtype(x=x, **parameters)
    if not x.ndim:
        raise ValueError("x must have at least one axis (got shape ())")
    for name, array in parameters.items():
        if array is not None and array.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} must have shape (d,) with d={x.shape[-1]}, the last axis of x (got "
                f"{array.shape})"
            )
    return dtype, x.shape[-1]


def checked_eps(eps, dtype):
    """eps as a float; ValueError if it is not positive and finite in the arrays' dtype."""
    value = checked_number("eps", eps, above=0)
    with np.errstate(all="ignore"):
        rounded = dtype.type(value)
    if not 0 < rounded < math.inf:
        raise ValueError(f"eps must be > 0 and finite in {dtype} (got {value})")
    return value


def _checked_running(running):
    if running is None:
        return None, None
    if not isinstance(running, (tuple, list)):
        raise TypeError(f"running must be (mean, var) or None (got {type(running).__name__})")
    if len(running) != 2:
        raise ValueError(f"running must hold 2 arrays, (mean, var) (got {len(running)})")
    for name, array in zip(("mean", "var"), running, strict=True):
        if array is None:
            raise TypeError(f"running {name} must be a NumPy or CuPy array (got None)")
    return running


def as_rows(xp, x):
    """x as a C-contiguous matrix: a view where it is contiguous."""
    return xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def column(xp, parameter, d, default, dtype):
    """A parameter as a contiguous array, `default` everywhere where it is None."""
    return xp.full(d, default, dtype) if parameter is None else xp.ascontiguousarray(parameter)


def blocks(n):
    return -(-n // ROWS)


def summed(xp, parts):
    """The sum over blocks, in float64."""
    sums = xp.empty(parts.shape[1:], np.float64)
    sum_blocks(parts.reshape(len(parts), sums.size), sums.reshape(-1))
    return sums


def _rows_backward(grad_y, x, weight, mean, scale, centred):
    """grad_x, and (grad_weight, grad_bias) as the rows of one array."""
    xp, (grad_y, x) = on_device(grad_y=grad_y, x=x)
    checked_gradient(grad_y, x.shape)
    dtype, d = float_dtype(grad_y=grad_y, x=x), x.shape[-1]
    rows, grad_x = as_rows(xp, x), xp.empty(x.shape, dtype)
    parts = xp.empty((blocks(len(rows)), 2, d), dtype)
    norm_rows_backward(
        as_rows(xp, grad_y),
        rows,
        column(xp, weight, d, 1, dtype),
        mean.reshape(-1),
        scale.reshape(-1),
        centred,
        as_rows(xp, grad_x),
        parts,
    )
    with np.errstate(all="ignore"):
        return grad_x, summed(xp, parts).astype(dtype)


def _batch_statistics(xp, rows, running, momentum):
    """Mean and biased variance of the columns in float64, and the running statistics after this
    batch."""
    n, d = rows.shape
    parts, mean, spread = (
        xp.empty((blocks(n), 3, d), rows.dtype),
        xp.empty(d, np.float64),
        xp.empty(d, np.float64),
    )
    column_moments(rows, parts)
    join_moments(parts, n, mean, spread)
    if running is not None:
        old_mean, old_var = running
        new_mean = old_mean + momentum * (mean - old_mean) if n else old_mean
        new_var = old_var + momentum * (spread / (n - 1) - old_var) if n > 1 else old_var
        running = RunningStatistics(new_mean.astype(rows.dtype), new_var.astype(rows.dtype))
    return mean, spread / max(n, 1), running


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T x[n, d]; in T weight[d]; in T bias[d]; T eps; int64 centred; out T y[n, d]; "
    "out T mean[n]; out T scale[n]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def norm_rows(x, weight, bias, eps, centred, y, mean, scale, start, stop):
    """y = weight (x - mean) scale + bias, row by row; with centred = 0, mean is 0 and scale is of
    the mean square."""
    zero, one, d = x.dtype.type(0), x.dtype.type(1), x.dtype.type(x.shape[1])
    for i in range(start, stop):
        row, to = x[i], y[i]
        m = zero
        if centred:
            for j in range(row.size):
                m = add(m, row[j])
            m /= d
        first, second = zero, zero
        for j in range(row.size):
            difference = row[j] - m
            first = add(first, difference)
            second = add(second, difference * difference)
        if centred:  # the first mean was rounded
            m += first / d
            second -= first * (first / d)
            if second < 0:
                second = zero
        s = one / math.sqrt(second / d + eps)
        mean[i], scale[i] = m, s
        for j in range(row.size):
            to[j] = weight[j] * ((row[j] - m) * s) + bias[j]


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T weight[d]; in T mean[n]; in T scale[n]; int64 centred; "
    "out T grad_x[n, d]; "
    "out T parts[m, 2, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def norm_rows_backward(grad_y, x, weight, mean, scale, centred, grad_x, parts, start, stop):
    """grad_x of block b's rows, and their sums of grad_y z and of grad_y in parts[b]."""
    zero, d = x.dtype.type(0), x.dtype.type(x.shape[1])
    for b in range(start, stop):
        products, totals = parts[b, 0], parts[b, 1]
        products[:] = zero
        totals[:] = zero
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            g, row, to = grad_y[i], x[i], grad_x[i]
            m, s = mean[i] if centred else zero, scale[i]
            first, second = zero, zero
            for j in range(row.size):
                product = g[j] * ((row[j] - m) * s)
                products[j] += product
                totals[j] += g[j]
                first = add(first, weight[j] * g[j])
                second = add(second, weight[j] * product)
            first, second = first / d if centred else zero, second / d
            for j in range(row.size):
                to[j] = (weight[j] * g[j] - first - (row[j] - m) * s * second) * s


@kernel("in T parts[m, d]; out float64 sums[d]", constants=("ROWS",), split="d")
def sum_blocks(parts, sums, start, stop):
    """sums[j] = sum over blocks of parts[b, j]."""
    totals = sums[start:stop]
    totals[:] = 0
    for b in range(parts.shape[0]):
        part = parts[b, start:stop]
        for j in range(totals.size):
            totals[j] += part[j]


@kernel(
    "in T x[n, d]; in T row_scale[n, k]; in T centre[d]; in T factor[d]; in T shift[d]; "
    "out T y[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def scale_columns(x, row_scale, centre, factor, shift, y, start, stop):
    """y = (x - centre) factor + shift for every column; before that, each of k groups of columns
    times its row_scale (none for k = 0)."""
    k = row_scale.shape[1]
    size = x.shape[1] // max(k, 1)
    one = x.dtype.type(1)
    for i in range(start, stop):
        for group in range(max(k, 1)):
            s = row_scale[i, group] if k else one
            low, high = group * size, group * size + size
            row, to, c, f, t = (
                x[i, low:high],
                y[i, low:high],
                centre[low:high],
                factor[low:high],
                shift[low:high],
            )
            for j in range(size):
                to[j] = (row[j] * s - c[j]) * f[j] + t[j]


@kernel("in T x[n, d]; out T parts[m, 3, d]", constants=("ROWS",), split="m", gpu="block")
def column_moments(x, parts, start, stop):
    """Of block b's rows: a mean p, the sum of x - p and the sum of (x - p)²."""
    for b in range(start, stop):
        low, high = b * ROWS, min(b * ROWS + ROWS, x.shape[0])
        count = x.dtype.type(max(high - low, 1))
        pivot, first, second = parts[b, 0], parts[b, 1], parts[b, 2]
        pivot[:] = 0
        first[:] = 0
        second[:] = 0
        for i in range(low, high):
            row = x[i]
            for j in range(row.size):
                pivot[j] += row[j]
        for j in range(pivot.size):
            pivot[j] /= count
        for i in range(low, high):
            row = x[i]
            for j in range(row.size):
                difference = row[j] - pivot[j]
                first[j] += difference
                second[j] += difference * difference


@kernel(
    "in T parts[m, 3, d]; int64 rows; out float64 mean[d]; out float64 spread[d]",
    constants=("ROWS",),
    split="d",
)
def join_moments(parts, rows, mean, spread, start, stop):
    """Mean, and sum of squared differences from it, of all rows, from the moments of blocks."""
    middle, squares = mean[start:stop], spread[start:stop]
    middle[:] = 0
    squares[:] = 0
    for b in range(parts.shape[0]):
        pivot, first, count = (
            parts[b, 0, start:stop],
            parts[b, 1, start:stop],
            np.float64(min(ROWS, rows - b * ROWS)),
        )
        for j in range(middle.size):
            middle[j] += count * pivot[j] + first[j]
    for j in range(middle.size):
        middle[j] /= max(rows, 1)
    for b in range(parts.shape[0]):
        pivot, first, count = (
            parts[b, 0, start:stop],
            parts[b, 1, start:stop],
            np.float64(min(ROWS, rows - b * ROWS)),
        )
        second = parts[b, 2, start:stop]
        for j in range(middle.size):
            distance = pivot[j] - middle[j]
            squares[j] += second[j] + distance * (2 * first[j] + count * distance)
    for j in range(middle.size):
        if squares[j] < 0:
            squares[j] = 0


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T centre[d]; out T parts[m, 2, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def column_products(grad_y, x, centre, parts, start, stop):
    """Of block b's rows: the sums of grad_y (x - centre) and of grad_y."""
    for b in range(start, stop):
        products, totals = parts[b, 0], parts[b, 1]
        products[:] = 0
        totals[:] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            g, row = grad_y[i], x[i]
            for j in range(row.size):
                products[j] += g[j] * (row[j] - centre[j])
                totals[j] += g[j]


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T centre[d]; in T factor[d]; in T slope[d]; "
    "in T shift[d]; out T grad_x[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def combine_columns(grad_y, x, centre, factor, slope, shift, grad_x, start, stop):
    """grad_x = factor grad_y + slope (x - centre) + shift for every column."""
    for i in range(start, stop):
        g, row, to = grad_y[i], x[i], grad_x[i]
        for j in range(row.size):
            to[j] = factor[j] * g[j] + slope[j] * (row[j] - centre[j]) + shift[j]
