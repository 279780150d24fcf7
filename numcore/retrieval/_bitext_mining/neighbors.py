"""The nearest neighbors of two collections in each other."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, Int64, at_least, nonempty
from ...dispatch import device_of, namespace_of, routine
from .._topk import BLOCK_ROWS, QUERY_ROWS, best_first, empty_heaps, scan_rows, unit
from .kernels import cosines_of, scan_columns

Search: TypeAlias = Callable[[Array, int], tuple[Any, Array]]


class NeighborStatistics(NamedTuple):
    """Cosines and row numbers of the nearest targets of each source (forward) and sources of each
    target, and their mean cosines."""

    forward_scores: Float[Array, "n k"]
    forward_ids: Int64[Array, "n k"]
    backward_scores: Float[Array, "m l"]
    backward_ids: Int64[Array, "m l"]
    source_mean: Float[Array, "n"]
    target_mean: Float[Array, "m"]


@routine
def neighbor_statistics(
    source: Float[Array, "n d", nonempty],
    target: Float[Array, "m d", nonempty],
    *,
    k: Annotated[int, at_least(1)] = 4,
    search: tuple[Search, Search] | None = None,
    block: Annotated[int, at_least(1)] | None = None,
) -> NeighborStatistics:
    """The nearest neighbors of two collections in each other, and the means of their cosines.

    Parameters
    ----------
    source : (n, d) array of float32 or float64, without an axis of length zero
        Rows of any length but zero.
    target : (m, d) array of float32 or float64, without an axis of length zero
    k : int >= 1, default 4
        Neighbors of a row, at least 1; a side with fewer rows gives all of them.
    search : (callable, callable), optional
        ``search[0](source, k)`` gives (scores, indices) of targets, ``search[1](target, k)`` of
        sources, instead of exact search; as from ``InvertedFileIndex.search``, with indices of -1
        where nothing was found. The scores are not used: cosines are computed anew.
    block : int >= 1, optional
        Rows of `target` in a block of the product.

    Returns
    -------
    NeighborStatistics
        forward_scores and forward_ids (n, min(k, m)), backward_scores and backward_ids (m, min(k,
        n)), nearest first, ties by the smaller index; source_mean (n,) and target_mean (m,). Where
        a search found nothing the score is -inf, and the mean is that of the others, or 0.

    Raises
    ------
    ValueError
        A side is empty, the widths differ, a row is zero or not finite, a number is outside of its
        range.
    TypeError
        Other dtypes, mixed devices, a `search` that is no pair of functions.

    Notes
    -----
    2 n m d operations: one product serves both directions. Memory of one block and O((n + m) k).
    Cosines carry the rounding of the BLAS, at most d units roundoff.

    References
    ----------
    M. Artetxe, H. Schwenk, "Margin-based parallel corpus mining with multilingual sentence
    embeddings", ACL 2019.

    Examples
    --------
    >>> found = neighbor_statistics(np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]), k=2)
    >>> found.forward_ids.tolist(), found.source_mean.round(3).tolist()
    ([[0, 1], [2, 1]], [0.7, 0.9])
    """
    xp, source, target = checked_sides(source, target)
    if search is None:
        forward, backward = both_ways(xp, source, target, k, block or BLOCK_ROWS)
    else:
        forward = searched(xp, source, target, search[0], k)
        backward = searched(xp, target, source, search[1], k)
    return NeighborStatistics(
        *forward, *backward, mean_of_found(xp, *forward), mean_of_found(xp, *backward)
    )


def checked_sides(source, target):
    """The namespace and both sides, contiguous; their rows have finite lengths that are not
    zero."""
    xp = namespace_of(source)
    for name, side in (("source", source), ("target", target)):
        for first in range(0, len(side), BLOCK_ROWS):
            _, norms = unit(xp, side[first : first + BLOCK_ROWS])
            bad = ~(xp.isfinite(norms) & (norms > 0))
            if bool(bad.any()):
                row = int(bad.argmax())
                raise ValueError(
                    f"{name} must have rows of finite length > 0 (got {float(norms[row])} in row "
                    f"{first + row})"
                )
    return xp, xp.ascontiguousarray(source), xp.ascontiguousarray(target)


def both_ways(xp, source, target, k, rows):
    """Scores and indices of the nearest targets of each source and of the nearest sources of each
    target, of one product."""
    forward = empty_heaps(xp, len(source), min(k, len(target)), source.dtype)
    backward = empty_heaps(xp, len(target), min(k, len(source)), source.dtype)
    buffer = xp.empty(min(len(source), QUERY_ROWS) * min(rows, len(target)), source.dtype)
    for first in range(0, len(target), rows):
        right = unit(xp, target[first : first + rows])[0]
        columns = slice(first, first + len(right))
        for start in range(0, len(source), QUERY_ROWS):
            part = slice(start, min(start + QUERY_ROWS, len(source)))
            left = unit(xp, source[part])[0]
            scores = buffer[: len(left) * len(right)].reshape(len(left), len(right))
            xp.matmul(left, right.T, out=scores)
            scan_rows(scores, *(array[part] for array in forward), -np.inf, first)
            scan_columns(scores, *(array[columns] for array in backward[:2]), start)
    return best_first(xp, *forward[:2]), best_first(xp, *backward[:2])


def searched(xp, queries, database, search, k):
    """As from `both_ways`, for indices that a function finds."""
    _, indices = search(queries, min(k, len(database)))
    if device_of(indices) is not device_of(queries) or indices.dtype.kind not in "iu":
        got = getattr(indices, "dtype", type(indices).__name__)
        raise TypeError(
            f"search must give indices that are integers on the device of source (got {got})"
        )
    if indices.ndim != 2 or len(indices) != len(queries) or not indices.shape[1]:
        raise ValueError(
            f"search must give indices of shape ({len(queries)}, k) (got {indices.shape})"
        )
    indices = indices.astype(np.int64)
    if not -1 <= int(indices.min()) <= int(indices.max()) < len(database):
        low, high = int(indices.min()), int(indices.max())
        raise ValueError(f"search must give indices in [-1, {len(database)}) (got {low} … {high})")
    rows = xp.zeros_like(indices) + xp.arange(len(queries))[:, None]
    scores = cosines(xp, queries, database, rows, xp.maximum(indices, 0))
    return best_first(
        xp, xp.where(indices >= 0, scores, -np.inf).astype(queries.dtype, copy=False), indices
    )


def mean_of_found(xp, scores, indices):
    found = indices >= 0
    return (xp.where(found, scores, 0).sum(axis=1) / xp.maximum(found.sum(axis=1), 1)).astype(
        scores.dtype
    )


def cosines(xp, source, target, rows, columns):
    """The cosines of pairs of rows, each summed in float64."""
    result = xp.empty(rows.shape, source.dtype)
    cosines_of(
        source,
        target,
        xp.ascontiguousarray(rows).reshape(-1),
        xp.ascontiguousarray(columns).reshape(-1),
        result.reshape(-1),
    )
    return result
