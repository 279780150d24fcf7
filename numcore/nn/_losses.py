"""Losses: regression and classification losses with their gradients, the starting points of
backpropagation.

Every function returns ``(loss, grad)``, grad being the gradient of the loss in its first argument,
made in the same pass. Softmax cross entropy is -log of the probability that softmax gives to the
right class: per row of logits z, ``log sum exp(z - max z) + max z - z_label``. J. S. Bridle,
"Probabilistic interpretation of feedforward classification network outputs", Neurocomputing, 1990;
label smoothing of C. Szegedy et al., "Rethinking the Inception architecture", CVPR 2016; P. J.
Huber, "Robust estimation of a location parameter", 1964.
"""

import math
from typing import Annotated, Any, Literal

import numpy as np

from ..arguments import Array, Float, Integer, any_device, positive, within
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ..simd import PAD, from_ordered, map_in_place, ordered
from ..special import exp, log, sigmoid, softplus

Reduction = Literal["mean", "sum", "none"]
GROUP = 512  # entries of short rows that are worked on at once
LANES = 32  # sums that run side by side
BLOCK = 4096  # entries that are summed in the arrays' own precision
IGNORED = -1


# --- routines -------------------------------------------------------------------------------------


@routine
def softmax_cross_entropy(
    logits: Float[Array, "*batch K"],
    labels: Integer[Array, "*batch", any_device] | Float[Array, "*batch K"],
    *,
    label_smoothing: Annotated[float, within(0, 1)] = 0.0,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
) -> tuple[Any, Array]:
    """Cross entropy of the softmax of logits with labels, and its gradient.

    Parameters
    ----------
    logits : (..., K) array of float32 or float64
        Scores of K >= 1 classes.
    labels : (...) array of integers or (..., K) array of float32 or float64
        The right classes, in 0 ... K-1, or a distribution over the classes in each row. Integers
        may be a NumPy array although the logits are on a GPU.
    label_smoothing : float in [0, 1], default 0.0
        A label stands for ``(1 - label_smoothing) label + label_smoothing / K`` of each class; from
        0 to 1.
    reduction : {"mean", "sum", "none"}, default "mean"
        Mean over all rows that are not ignored, sum, or the loss of each row.
    ignore_index : int, optional
        Rows with this label count for nothing: their loss and gradient are 0.

    Returns
    -------
    loss : scalar, or (...) array if `reduction` is "none"
        The mean over no rows is NaN.
    grad : (..., K) array
        Gradient in `logits` of the mean or the sum; for "none" each row's is that of its own loss.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options of another type.
    ValueError
        Shapes that do not fit, no classes, labels outside of 0 ... K-1 that are not `ignore_index`,
        `ignore_index` with distributions, `label_smoothing` outside of [0, 1], an unknown
        `reduction`.

    Notes
    -----
    With p = softmax(z) and the target t, the loss is ``log sum exp z - t·z`` and the gradient
    ``p - t``. The errors of a row are a few roundings of the largest ``|z - max z|`` that has a
    weight. A NaN in a row makes its loss and gradient NaN. One pass over memory.

    References
    ----------
    C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception architecture
    for computer vision", CVPR 2016.

    Examples
    --------
    >>> loss, grad = softmax_cross_entropy(np.array([1.0, 2.0, 3.0]), 2)
    >>> loss.round(6), grad.round(6)
    (np.float64(0.407606), array([ 0.090031,  0.244728, -0.334759]))
    """
    xp, dtype, classes, shape = namespace_of(logits), logits.dtype, logits.shape[-1], labels.shape
    if not classes:
        raise ValueError(f"logits must have K >= 1 classes (got shape {logits.shape})")
    if labels.dtype == dtype:
        if ignore_index is not None:
            raise ValueError(
                f"ignore_index must be None if labels are distributions (got {ignore_index})"
            )
        shape, counted = shape[:-1], math.prod(shape[:-1])
    else:
        labels, counted = _labels(xp, logits, labels, ignore_index)
    rows, scale = math.prod(shape), _scale(reduction, counted)
    losses, grad = xp.empty(rows, dtype), xp.empty(logits.shape, dtype)
    flat = xp.ascontiguousarray(logits).reshape(rows, classes), grad.reshape(rows, classes)
    if labels.dtype == dtype:
        distribution_cross_entropy(
            flat[0],
            xp.ascontiguousarray(labels).reshape(rows, classes),
            label_smoothing,
            scale,
            losses,
            flat[1],
        )
    else:
        label_cross_entropy(flat[0], labels.reshape(rows), label_smoothing, scale, losses, flat[1])
    return _reduced(losses.reshape(shape), reduction, scale), grad


@routine
def mse(
    y: Float[Array, "*shape"], t: Float[Array, "*shape"], *, reduction: Reduction = "mean"
) -> tuple[Any, Array]:
    """Squared differences, and their gradient in y.

    Parameters
    ----------
    y, t : (...) array of float32 or float64
        Predictions and targets.
    reduction : {"mean", "sum", "none"}, default "mean"
        Mean or sum over all entries, or the loss of each.

    Returns
    -------
    loss : scalar, or an array of the shape of `y` if `reduction` is "none"
        ``(y - t)²``; the mean over no entries is NaN.
    grad : array of the shape of `y`
        ``2 (y - t)``, divided by the number of entries for a mean.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Different shapes, an unknown `reduction`.

    References
    ----------
    C. F. Gauss, "Theoria motus corporum coelestium", 1809, book II, section 3.

    Examples
    --------
    >>> mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    (np.float64(2.0), array([ 0., -2.]))
    """
    return _pointwise(mse_pointwise, y, t, reduction)


@routine
def huber(
    y: Float[Array, "*shape"],
    t: Float[Array, "*shape"],
    *,
    delta: Annotated[float, positive] = 1.0,
    reduction: Reduction = "mean",
) -> tuple[Any, Array]:
    """Huber's loss, squared for small differences and linear for large ones, and its gradient in y.

    Parameters
    ----------
    y, t : (...) array of float32 or float64
        Predictions and targets.
    delta : float > 0, default 1.0
        Where the loss becomes linear, above 0.
    reduction : {"mean", "sum", "none"}, default "mean"
        Mean or sum over all entries, or the loss of each.

    Returns
    -------
    loss : scalar, or an array of the shape of `y` if `reduction` is "none"
        ``d²/2`` for d = y - t with ``|d| <= delta``, else ``delta (|d| - delta/2)``; the mean over
        no entries is NaN.
    grad : array of the shape of `y`
        d, but at most delta in size; divided by the number of entries for a mean.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a `delta` that is no number.
    ValueError
        Different shapes, ``delta <= 0``, an unknown `reduction`.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35,
    1964.

    Examples
    --------
    >>> huber(np.array([0.5, 4.0]), np.array([0.0, 0.0]), reduction="none")
    (array([0.125, 3.5  ]), array([0.5, 1. ]))
    """
    return _pointwise(huber_pointwise, y, t, reduction, delta)


@routine
def binary_cross_entropy_with_logits(
    logits: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    reduction: Reduction = "mean",
) -> tuple[Any, Array]:
    """Cross entropy of probabilities sigmoid(logits) with targets, and its gradient in the logits.

    Parameters
    ----------
    logits, targets : (...) array of float32 or float64
        Scores, and the probabilities that they should have: 0, 1 or between.
    reduction : {"mean", "sum", "none"}, default "mean"
        Mean or sum over all entries, or the loss of each.

    Returns
    -------
    loss : scalar, or an array of the shape of `logits` if `reduction` is "none"
        ``-t log p - (1 - t) log(1 - p)`` for p = sigmoid(logit); the mean over no entries is NaN.
    grad : array of the shape of `logits`
        ``p - t``, divided by the number of entries for a mean.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Different shapes, an unknown `reduction`.

    Notes
    -----
    Computed as ``softplus(-|z|) + |z| |step(z) - t|``, whose two terms are not negative: nothing
    cancels, and nothing overflows.

    References
    ----------
    D. R. Cox, "The regression analysis of binary sequences", Journal of the Royal Statistical
    Society B 20, 1958.

    Examples
    --------
    >>> loss, grad = binary_cross_entropy_with_logits(
    ...     np.array([0.0, 2.0]), np.array([1.0, 0.0]), reduction="sum"
    ... )
    >>> loss.round(6), grad.round(6)
    (np.float64(2.820075), array([-0.5     ,  0.880797]))
    """
    return _pointwise(binary_pointwise, logits, targets, reduction)


# --- what they share ------------------------------------------------------------------------------


def _scale(reduction, count):
    """What the gradient of each loss is multiplied with."""
    if reduction != "mean":
        return 1.0
    return 1 / count if count else math.nan


def _reduced(losses, reduction, scale):
    return losses if reduction == "none" else losses.sum() * losses.dtype.type(scale)


def _pointwise(body, y, t, reduction, *parameters):
    xp, dtype, scale = namespace_of(y), y.dtype, _scale(reduction, y.size)
    losses, grad = xp.empty(y.shape, dtype), xp.empty(y.shape, dtype)
    body(
        *(xp.ascontiguousarray(a).reshape(-1) for a in (y, t)),
        *parameters,
        scale,
        losses.reshape(-1),
        grad.reshape(-1),
    )
    return _reduced(losses, reduction, scale), grad


def _labels(xp, logits, labels, ignore_index):
    """Labels in range as int64 where the logits are, those that are ignored as IGNORED; and how
    many are not ignored."""
    if device_of(labels) is not device_of(logits):
        if not isinstance(labels, np.ndarray):
            raise TypeError(
                f"labels must live on the device of logits, or be a NumPy array (got "
                f"{type(labels).__name__})"
            )
        labels = xp.asarray(labels)
    n_classes, counted = logits.shape[-1], labels.size
    outside = (labels < 0) | (labels >= n_classes)
    if ignore_index is not None:
        ignored = labels == ignore_index
        outside, counted = outside & ~ignored, labels.size - int(ignored.sum())
    if bool(outside.any()):
        raise ValueError(
            f"labels must be in [0, K) with K = {n_classes} (got {int(labels[outside][0])})"
        )
    labels = labels.astype(np.int64)
    if ignore_index is not None:
        labels = xp.where(ignored, np.int64(IGNORED), labels)
    return labels, counted


# --- kernels of single entries --------------------------------------------------------------------


@kernel("in T y[n]; in T t[n]; T scale; out T loss[n]; out T grad[n]", split="n")
def mse_pointwise(y, t, scale, loss, grad, start, stop):
    y, t, loss, grad = y[start:stop], t[start:stop], loss[start:stop], grad[start:stop]
    for i in range(y.size):
        d = y[i] - t[i]
        loss[i] = d * d
        grad[i] = scale * (d + d)


@kernel("in T y[n]; in T t[n]; T delta; T scale; out T loss[n]; out T grad[n]", split="n")
def huber_pointwise(y, t, delta, scale, loss, grad, start, stop):
    y, t, loss, grad = y[start:stop], t[start:stop], loss[start:stop], grad[start:stop]
    half = y.dtype.type(0.5)
    for i in range(y.size):
        d = y[i] - t[i]
        slope = delta if d > delta else d
        slope = -delta if d < -delta else slope
        loss[i] = slope * (d - half * slope)
        grad[i] = scale * slope


@kernel("in T z[n]; in T t[n]; T scale; out T loss[n]; out T grad[n]", split="n")
def binary_pointwise(z, t, scale, loss, grad, start, stop):
    z, t, loss, grad = z[start:stop], t[start:stop], loss[start:stop], grad[start:stop]
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.size):
        x = z[i]
        loss[i] = softplus(-abs(x)) + x * ((one if x > zero else zero) - t[i])
    for i in range(z.size):
        grad[i] = scale * (sigmoid(z[i]) - t[i])


# --- kernels of rows ------------------------------------------------------------------------------
#
# A row is brought into the cache and read from memory only once. A compiler may reorder neither
# maxima nor sums of floats, so maxima are taken of integers and sums in LANES.


@kernel(
    "in T logits[n, k]; in int64 labels[n]; T smoothing; T scale; out T loss[n]; out T grad[n, k]; "
    "scratch T work[k+GROUP+LANES+PAD]",
    constants={"GROUP": GROUP, "LANES": LANES, "PAD": PAD},
    split="n",
    gpu="block",
    threads=128,
)
def label_cross_entropy(logits, labels, smoothing, scale, loss, grad, work, start, stop):
    """Short rows come in groups, so that their exponentials fill vectors."""
    k, real = logits.shape[1], logits.dtype.type
    lanes, rows, group = work[:LANES], work[LANES:], max(1, GROUP // k)
    keep, share = real(1) - smoothing, smoothing / real(k)
    for first in range(start, stop, group):
        last = min(stop, first + group)
        for i in range(first, last):
            row = rows[(i - first) * k : (i - first + 1) * k]
            shift_row(logits[i], row)
            loss[i] = -keep * row[max(labels[i], 0)]
            if smoothing > 0:
                loss[i] -= share * real(sum_row(row, lanes))
        map_in_place(exp, rows, (last - first) * k)
        for i in range(first, last):
            row, out, counts = rows[(i - first) * k : (i - first + 1) * k], grad[i], labels[i] >= 0
            total = real(sum_row(row, lanes))
            loss[i] = loss[i] + log(total) if counts else real(0)
            if counts:
                p, less = scale / total, scale * share
                for j in range(k):
                    out[j] = p * row[j] - less
                out[labels[i]] -= scale * keep
            else:
                for j in range(k):
                    out[j] = 0


@kernel(
    "in T logits[n, k]; in T targets[n, k]; T smoothing; T scale; out T loss[n]; out T grad[n, k]; "
    "scratch T work[2*k+LANES+PAD]",
    constants={"LANES": LANES, "PAD": PAD},
    split="n",
    gpu="block",
    threads=128,
)
def distribution_cross_entropy(logits, targets, smoothing, scale, loss, grad, work, start, stop):
    k, real = logits.shape[1], logits.dtype.type
    lanes, products, row = work[:LANES], work[LANES : LANES + k], work[LANES + k :]
    keep, share = real(1) - smoothing, smoothing / real(k)
    for i in range(start, stop):
        target, out = targets[i], grad[i]
        shift_row(logits[i], row)
        for j in range(k):
            products[j] = (keep * target[j] + share) * row[j]
        linear = real(sum_row(products, lanes))
        for j in range(k):
            products[j] = keep * target[j] + share
        weight = real(sum_row(products, lanes))
        map_in_place(exp, row, k)
        total = real(sum_row(row[:k], lanes))
        loss[i] = weight * log(total) - linear
        p = weight / total
        for j in range(k):
            out[j] = scale * (p * row[j] - products[j])


def shift_row(z, row):
    """row = z - max z."""
    highest = ordered(z[0])
    for j in range(z.size):
        highest = max(highest, ordered(z[j]))
    top = from_ordered(highest)
    for j in range(z.size):
        row[j] = z[j] - top


def sum_row(row, lanes):
    """The sum of a row."""
    total = 0.0
    for first in range(0, row.size, BLOCK):
        block = row[first : first + BLOCK]
        whole = block.size // LANES * LANES
        if whole:
            for lane in range(LANES):
                lanes[lane] = block[lane]
            for j in range(LANES, whole, LANES):
                part = block[j : j + LANES]
                for lane in range(LANES):
                    lanes[lane] += part[lane]
            for lane in range(LANES):
                total += lanes[lane]
        for j in range(whole, block.size):
            total += block[j]
    return total
