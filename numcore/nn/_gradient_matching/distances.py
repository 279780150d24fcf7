"""How far gradients point apart."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, get_args

import numpy as np

from ...arguments import Array, Float, nonnegative
from ...dispatch import CPU, device_of, namespace_of, routine
from ...kernel import pointer
from .kernels import gradient_pairs

Metric: TypeAlias = Literal["per_filter_cosine", "cosine", "mse"]
METRICS = get_args(Metric)  # the numbers that the kernel gives them are in this order
Gradient: TypeAlias = Sequence[Float[Array, "..."]] | Float[Array, "..."]
ITEM = 1 << 15  # elements of a gradient that are worth an item of work


@routine
def gradient_distance(
    grads_a: Gradient,
    grads_b: Gradient,
    *,
    metric: Metric = "per_filter_cosine",
    eps: Annotated[float, nonnegative] = 1e-6,
) -> Any:
    """How far two gradients point apart.

    Parameters
    ----------
    grads_a : sequence of (...) array of float32 or float64 or (...) array of float32 or float64
        A gradient, one array for each tensor of weights. Convolutions are (out, in, ...), dense
        weights (out, in): the first axis counts filters. One array by itself stands for a list of
        it, but a flat one is then a single filter.
    grads_b : sequence of (...) array of float32 or float64 or (...) array of float32 or float64
        Another gradient of the same shapes and dtype.
    metric : {"per_filter_cosine", "cosine", "mse"}, default "per_filter_cosine"
        Sum over all filters of 1 - cosine, where tensors with fewer than two axes add nothing; 1 -
        cosine of all entries together; or the sum of all squared differences.
    eps : float >= 0, default 1e-06
        Added to the product of lengths under a cosine; >= 0. With 0, too, a filter of zeros has the
        cosine 0.

    Returns
    -------
    scalar of the dtype

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a list that holds something else than
        arrays.
    ValueError
        Shapes that differ, another metric, `eps` negative or not finite.

    Notes
    -----
    ``D = sum over filters r of 1 - <a_r, b_r> / (|a_r| |b_r| + eps)``. Products are summed in
    pieces of at most 1024 entries in the arrays' dtype, the rest in float64: the error is below
    2e-6 (float32) and 1e-14 (float64) for each filter. A filter without entries adds nothing.
    Squares must not overflow.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> round(float(gradient_distance([np.eye(2)], [np.array([[1.0, 1], [0, 2]])])), 6)
    0.292894
    """
    gradients = {"grads_a": _tensors(grads_a), "grads_b": _tensors(grads_b)}
    distances = _distances(gradients, metric, eps)
    return distances.dtype.type(float(distances[0, 1]))


@routine
def gradient_distance_matrix(
    grads: Sequence[Gradient] | Float[Array, "k ..."],
    *,
    metric: Metric = "per_filter_cosine",
    eps: Annotated[float, nonnegative] = 1e-6,
) -> Array:
    """Distances of all pairs of k gradients, each of which is read once from memory and never
    copied.

    Parameters
    ----------
    grads : sequence of sequence of (...) array of float32 or float64 or (...) array of float32 or float64 or (k, ...) array of float32 or float64
        Gradients as for :func:`gradient_distance`, k >= 2.
    metric : {"per_filter_cosine", "cosine", "mse"}, default "per_filter_cosine"
    eps : float >= 0, default 1e-06
        As for :func:`gradient_distance`.

    Returns
    -------
    (k, k) array
        Symmetric, >= 0; the diagonal is 0 but for what `eps` adds.

    Raises
    ------
    TypeError, ValueError
        As for :func:`gradient_distance`; fewer than two gradients.

    Notes
    -----
    k (k + 1) P operations for P weights. Arrays that are not C-contiguous are copied.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> gradient_distance_matrix([[np.eye(2)], [np.array([[1.0, 1], [0, 2]])], [-np.eye(2)]]).round(
    ...     4
    ... )
    array([[0.    , 0.2929, 4.    ],
           [0.2929, 0.    , 3.7071],
           [4.    , 3.7071, 0.    ]])
    """  # noqa: E501
    if len(grads) < 2:
        raise ValueError(f"grads must hold k >= 2 gradients (got {len(grads)})")
    gradients = {f"grads[{i}]": _tensors(gradient) for i, gradient in enumerate(grads)}
    return _distances(gradients, metric, eps)


def _tensors(gradient):
    """A gradient as a list of arrays. A single flat array becomes one filter."""
    if isinstance(gradient, (list, tuple)):
        return gradient
    return [gradient if gradient.ndim > 1 else gradient.reshape(1, -1)]


def _distances(gradients, metric, eps):
    name, first = next(iter(gradients.items()))
    if not first:
        raise ValueError(f"{name} must hold at least one array (got 0)")
    xp, dtype, shapes = namespace_of(*first), first[0].dtype, [array.shape for array in first]
    for name, gradient in gradients.items():
        if (found := [array.shape for array in gradient]) != shapes:
            raise ValueError(
                f"{name} must have the shapes of the first gradient, {shapes} (got {found})"
            )
    # alive while addresses are used
    kept = [[_plain(xp, array) for array in gradient] for gradient in gradients.values()]
    k = len(kept)
    items = np.array(
        [item for t, shape in enumerate(shapes) for item in _items(t, shape, metric)], np.int64
    ).reshape(-1, 4)
    addresses = np.array(
        [[_address(tensors[t]) for tensors in kept] for t in range(len(shapes))], np.uint64
    )
    parts = xp.empty((len(items), k, k), np.float64)
    with np.errstate(all="ignore"):
        gradient_pairs(
            xp.asarray(addresses),
            xp.asarray(items),
            xp.empty((1,), dtype),
            eps,
            METRICS.index(metric),
            parts,
        )
        total = parts.sum(axis=0)
        if metric == "cosine":
            lengths = xp.sqrt(total.diagonal())
            total = _one_less_cosine(xp, total, lengths[:, None] * lengths, eps)
        return total.astype(dtype)


def _plain(xp, array):
    array = xp.ascontiguousarray(array)
    return array if xp is not np or array.flags.aligned else array.copy()


def _address(array):
    return pointer(array) if device_of(array) is CPU else array.data.ptr


def _items(tensor, shape, metric):
    """(tensor, first element, rows, elements of a row): rows are filters, or any pieces where
    filters do not matter."""
    size = math.prod(shape)
    if metric != "per_filter_cosine":
        return [(tensor, first, 1, min(ITEM, size - first)) for first in range(0, size, ITEM)]
    if len(shape) < 2 or not size:
        return []
    length = size // shape[0]
    step = max(1, ITEM // length)
    return [
        (tensor, first * length, min(step, shape[0] - first), length)
        for first in range(0, shape[0], step)
    ]


def _one_less_cosine(xp, products, lengths, eps):
    below = lengths + eps
    distance = 1 - products / xp.where(below == 0, 1.0, below)
    return xp.where(distance < 0, 0.0, distance)  # rounding; NaN stays
