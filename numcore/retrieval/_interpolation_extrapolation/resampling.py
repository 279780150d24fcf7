"""Training queries that are near to the test queries, or far from them.

J. Zhan, X. Xie, J. Mao, Y. Liu, J. Guo, M. Zhang, S. Ma, "Evaluating Interpolation and
Extrapolation Performance of Neural Retrieval Models", CIKM 2022.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np

from ...arguments import RNG, Array, Float, at_least, at_most, finite, nonempty
from ...dispatch import namespace_of, routine
from ...random import generator_from_rng
from .._topk import topk_inner_product


@routine
def resample_training(
    train_queries: Float[Array, "n d", finite, nonempty],
    test_queries: Float[Array, "nt d", finite, nonempty],
    *,
    n_per_query: Annotated[int, at_least(1), at_most("n")],
    mode: Literal["interpolate", "extrapolate"],
    metric: Literal["cosine", "ip", "l2"] = "cosine",
    search: Callable[[Array, Array, int], Array] | None = None,
    rng: RNG = None,
) -> Array:
    """Training queries near to the test queries, or as many that are far from them (ReSTrain).

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64, finite, without an axis of length zero
    test_queries : (nt, d) array of float32 or float64, finite, without an axis of length zero
        Embeddings.
    n_per_query : int >= 1 and <= n
        How many of the nearest training queries each test query has.
    mode : {"interpolate", "extrapolate"}
        The union of the nearest ones, or as many others.
    metric : {"cosine", "ip", "l2"}, default "cosine"
        Cosine, inner product, or Euclidean distance.
    search : callable, optional
        ``search(train_queries, test_queries, n_per_query)`` → (nt, n_per_query) int array of
        training indices, in place of the exact search.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Extrapolation takes the training queries whose nearest test query is farthest (ties by the
        smaller index), or, with `rng`, a uniform sample of those outside of the union.

    Returns
    -------
    (m,) array of int64
        Ascending training indices. m is the same for both modes, and the two sets share none, so
        that size is no cause of a difference.

    Raises
    ------
    ValueError
        `n_per_query` exceeds n, fewer training queries are outside of the union than in it, no test
        queries, shapes that do not fit, embeddings that are not finite or of length 0, or indices
        of `search` out of range.
    TypeError
        Other or mixed dtypes or devices, `search` not callable.

    Notes
    -----
    One exact search of cost nt n d, for extrapolation without `rng` a second one.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> train = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> test = np.array([[1.0, 0.05]])
    >>> (
    ...     resample_training(train, test, n_per_query=1, mode="interpolate"),
    ...     resample_training(train, test, n_per_query=1, mode="extrapolate"),
    ... )
    (array([0]), array([3]))
    """
    check_rows(train_queries=train_queries, test_queries=test_queries)
    xp, train, test = namespace_of(train_queries), train_queries, test_queries
    n, k = len(train), n_per_query
    near = xp.zeros(n, bool)
    if search:
        near[_checked_indices(xp, search(train, test, k), (len(test), k), n)] = True
    else:
        near[topk_inner_product(test, train, k, metric=metric).indices] = True
    m = int(near.sum())
    if 2 * m > n:
        raise ValueError(
            f"n_per_query must leave as many training queries outside of the union as in it (got "
            f"{m} of {n} in it)"
        )
    if mode == "interpolate":
        return xp.flatnonzero(near).astype(np.int64)
    if rng is not None:
        others = xp.flatnonzero(~near)
        return xp.sort(
            others[xp.asarray(generator_from_rng(rng).choice(n - m, m, replace=False))]
        ).astype(np.int64)
    closest = topk_inner_product(train, test, 1, metric=metric).scores[:, 0]
    order = xp.argsort(-closest if metric == "l2" else closest, kind="stable")
    return xp.sort(order[~near[order]][:m]).astype(np.int64)


@routine
def nearest_training_similarity(
    train_queries: Float[Array, "n d", finite, nonempty],
    test_queries: Float[Array, "nt d", finite],
    *,
    k: Annotated[int, at_least(1), at_most("n")] = 1,
) -> Array:
    """How similar each test query is to the training queries: the mean cosine of the k nearest.

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64, finite, without an axis of length zero
    test_queries : (nt, d) array of float32 or float64, finite
    k : int >= 1 and <= n, default 1

    Returns
    -------
    (nt,) array of the same dtype

    Raises
    ------
    ValueError
        `k` is outside of its range, shapes do not fit, embeddings are not finite or of length 0.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    An exact search of cost nt n d.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> nearest_training_similarity(np.eye(2), np.array([[3.0, 4.0]]), k=2)
    array([0.7])
    """
    check_rows(train_queries=train_queries, test_queries=test_queries)
    return topk_inner_product(test_queries, train_queries, k, metric="cosine").scores.mean(axis=1)


def check_rows(**queries):
    """ValueError for a row of zeros, whose direction is undefined."""
    for name, array in queries.items():
        zero = ~(array != 0).any(axis=1)
        if bool(zero.any()):
            row = int(zero.argmax())
            raise ValueError(f"{name} must have no row of zeros (got one in row {row})")


def _checked_indices(xp, indices, shape, n):
    indices = xp.asarray(indices)
    whole = indices.shape == shape and indices.dtype.kind in "iu"
    if not whole or indices.size and not (0 <= int(indices.min()) and int(indices.max()) < n):
        raise ValueError(
            f"search must return integers of shape {shape} in [0, {n}) (got shape {indices.shape}, "
            f"dtype {indices.dtype})"
        )
    return indices
