"""Pairs of sentences that translate each other, from the embeddings of two collections.

A cosine alone misleads: some sentences are near to everything. Each cosine is therefore weighed
against the mean cosine of the nearest neighbours of both sides (a margin). One product of the
embeddings, made in blocks, gives the neighbours in both directions. Method: Artetxe and Schwenk
2019; documents and pivots as in Samanantar (Ramesh et al. 2022).
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import Array, Float, Int64, at_least, finite, nonempty, within
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ._inverted_file import closeness
from ._topk import (
    BLOCK_ROWS,
    GROUP,
    QUERY_ROWS,
    best_first,
    empty_heaps,
    replace_worst,
    scan_rows,
    unit,
)

FREE = 2**63 - 1  # no pair has taken a row
MIN_MEAN = 1e-6  # what a ratio is divided by at least
NUMBERS = 31  # bits of a sentence's number: two of them make one key
# of keys that are sorted: the ends of three times 256 streams stay in the caches, of pages too
DIGIT_BITS = 8
RECORDS, MAX_BLOCKS = 1 << 15, 64  # fewest records of a range moved on its own, most ranges

Margin: TypeAlias = Literal["absolute", "ratio", "distance"]
Search: TypeAlias = Callable[[Array, int], tuple[Any, Array]]


class MinedPairs(NamedTuple):
    """Pairs by descending score: row numbers of both sides, scores, cosines; `n_floored` ratios had
    a mean of 1e-6 or less to divide by."""

    source_index: Int64[Array, "n_pairs"]
    target_index: Int64[Array, "n_pairs"]
    score: Float[Array, "n_pairs"]
    cosine: Float[Array, "n_pairs"]
    n_floored: int


class NeighborStatistics(NamedTuple):
    """Cosines and row numbers of the nearest targets of each source (forward) and sources of each
    target, and their mean cosines."""

    forward_scores: Float[Array, "n k"]
    forward_ids: Int64[Array, "n k"]
    backward_scores: Float[Array, "m l"]
    backward_ids: Int64[Array, "m l"]
    source_mean: Float[Array, "n"]
    target_mean: Float[Array, "m"]


class PivotPairs(NamedTuple):
    """Pairs through a third language, by first and then second index; the sentence they go through,
    and their scores."""

    first_index: Int64[Array, "n_pairs"]
    second_index: Int64[Array, "n_pairs"]
    pivot: Int64[Array, "n_pairs"]
    score: Float[Array, "n_pairs"]


# --- neighbours -----------------------------------------------------------------------------------


@routine
def neighbor_statistics(
    source: Float[Array, "n d", nonempty],
    target: Float[Array, "m d", nonempty],
    *,
    k: Annotated[int, at_least(1)] = 4,
    search: tuple[Search, Search] | None = None,
    block: Annotated[int, at_least(1)] | None = None,
) -> NeighborStatistics:
    """The nearest neighbours of two collections in each other, and the means of their cosines.

    Parameters
    ----------
    source : (n, d) array of float32 or float64, without an axis of length zero
        Rows of any length but zero.
    target : (m, d) array of float32 or float64, without an axis of length zero
    k : int >= 1, default 4
        Neighbours of a row, at least 1; a side with fewer rows gives all of them.
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


# --- margins and pairs ----------------------------------------------------------------------------


def weighed(xp, cosine, mean, margin):
    """The margin of cosines, given the means of the neighbours of both sides."""
    if margin == "ratio":
        return cosine / xp.maximum(mean, cosine.dtype.type(MIN_MEAN))
    return cosine - mean if margin == "distance" else cosine


@routine
def margin_scores(
    source: Float[Array, "n d", nonempty],
    target: Float[Array, "m d", nonempty],
    pairs: Int64[Array, "p 2"],
    source_neighbor_mean: Float[Array, "n", finite],
    target_neighbor_mean: Float[Array, "m", finite],
    *,
    margin: Margin = "ratio",
) -> Array:
    """Scores of given pairs: their cosines, weighed against those of the neighbours of both sides.

    Parameters
    ----------
    source : (n, d) array of float32 or float64, without an axis of length zero
        Rows of any length but zero.
    target : (m, d) array of float32 or float64, without an axis of length zero
    pairs : (p, 2) array of int64
        Rows of source and target.
    source_neighbor_mean : (n,) array of float32 or float64, finite
        a(x), from :func:`neighbor_statistics`.
    target_neighbor_mean : (m,) array of float32 or float64, finite
        b(y).
    margin : {"absolute", "ratio", "distance"}, default "ratio"
        cos, cos / ((a + b) / 2), where the mean is taken to be at least 1e-6, or cos - (a + b) / 2.

    Returns
    -------
    (p,) array
        Cosines are summed in float64 and rounded once.

    Raises
    ------
    ValueError
        An index lies outside of its side, shapes do not fit, a row is zero or not finite, means are
        not finite, or the margin is unknown.
    TypeError
        Other dtypes or mixed devices.

    References
    ----------
    M. Artetxe, H. Schwenk, "Margin-based parallel corpus mining with multilingual sentence
    embeddings", ACL 2019.

    Examples
    --------
    >>> margin_scores(
    ...     np.eye(2),
    ...     np.array([[0.6, 0.8]]),
    ...     np.array([[1, 0]]),
    ...     np.array([0.3, 0.2]),
    ...     np.array([0.6]),
    ... ).round(6)
    array([2.])
    """
    check_pairs("pairs", pairs, len(source), len(target))
    xp, source, target = checked_sides(source, target)
    x, y = pairs[:, 0], pairs[:, 1]
    mean = source_neighbor_mean[x] / 2 + target_neighbor_mean[y] / 2
    return weighed(xp, cosines(xp, source, target, x, y), mean, margin)


def check_pairs(name, pairs, *limits):
    """Each column of pairs must be from 0 to below its limit."""
    for column, limit in enumerate(limits if len(pairs) else ()):
        low, high = int(pairs[:, column].min()), int(pairs[:, column].max())
        if low < 0 or high >= limit:
            got = low if low < 0 else high
            raise ValueError(f"{name}[:, {column}] must be in [0, {limit}) (got {got})")


@routine
def mine_pairs(
    source: Float[Array, "n d", nonempty],
    target: Float[Array, "m d", nonempty],
    *,
    k: Annotated[int, at_least(1)] = 4,
    margin: Margin = "ratio",
    retrieval: Literal["forward", "backward", "intersect", "max"] = "max",
    threshold: float | None = None,
    search: tuple[Search, Search] | None = None,
    block: Annotated[int, at_least(1)] | None = None,
) -> MinedPairs:
    """Pairs of rows of two collections that belong together.

    Parameters
    ----------
    source : (n, d) array of float32 or float64, without an axis of length zero
        Embeddings of sentences, rows of any length but zero.
    target : (m, d) array of float32 or float64, without an axis of length zero
    k : int >= 1, default 4
        Neighbours among which a partner is sought, and over whose cosines a margin takes means.
    margin : {"absolute", "ratio", "distance"}, default "ratio"
        The score of a pair, see :func:`margin_scores`.
    retrieval : {"forward", "backward", "intersect", "max"}, default "max"
        For each source the best target of its neighbours; for each target the best source; pairs
        that are both; or the best of all these pairs, each row used once.
    threshold : float, optional
        Pairs of lower score are left out. For cosines of LaBSE embeddings 0.75 to 0.8 is usual, for
        ratios 1.04 to 1.1.
    search : (callable, callable), optional
        As for :func:`neighbor_statistics`.
    block : int >= 1, optional
        As for :func:`neighbor_statistics`.

    Returns
    -------
    MinedPairs
        By descending score, ties by the smaller source, then target.

    Raises
    ------
    ValueError
        As for :func:`neighbor_statistics`.
    TypeError
        As for :func:`neighbor_statistics`.

    Notes
    -----
    Repeated sentences are near to each other's partners and count as neighbours, which lowers their
    ratios: leave them out before.

    References
    ----------
    M. Artetxe, H. Schwenk, "Margin-based parallel corpus mining with multilingual sentence
    embeddings", ACL 2019; G. Ramesh et al., "Samanantar: the largest publicly available parallel
    corpora collection for 11 Indic languages", TACL 10, 2022.

    Examples
    --------
    >>> found = mine_pairs(np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]), k=2)
    >>> found.source_index, found.target_index, found.score.round(3)
    (array([1, 0]), array([2, 0]), array([1.429, 1.143]))
    """
    near = neighbor_statistics(source, target, k=k, search=search, block=block)
    xp = namespace_of(source)
    forward = best_of_neighbors(
        xp, near.forward_scores, near.forward_ids, near.source_mean, near.target_mean, margin
    )
    backward = best_of_neighbors(
        xp, near.backward_scores, near.backward_ids, near.target_mean, near.source_mean, margin
    )
    backward = (backward[1], backward[0], *backward[2:])
    if retrieval == "intersect":
        mutual = xp.zeros(len(near.target_mean), np.int64) - 1
        mutual[backward[1]] = backward[0]
        both = mutual[forward[1]] == forward[0]
        pairs = tuple(part[both] for part in forward)
    else:
        pairs = {"forward": forward, "backward": backward}.get(retrieval) or tuple(
            map(xp.concatenate, zip(forward, backward, strict=True))
        )
    x, y, score, cosine = ranked(xp, *pairs, len(near.target_mean))
    if threshold is not None:
        kept = score >= threshold
        x, y, score, cosine = x[kept], y[kept], score[kept], cosine[kept]
    if retrieval == "max":
        kept = one_to_one_of(xp, x, y, len(near.source_mean), len(near.target_mean))
        x, y, score, cosine = x[kept], y[kept], score[kept], cosine[kept]
    floored = (
        int((near.source_mean[x] / 2 + near.target_mean[y] / 2 <= MIN_MEAN).sum())
        if margin == "ratio"
        else 0
    )
    return MinedPairs(x, y, score, cosine, floored)


def best_of_neighbors(xp, scores, ids, mean, other_mean, margin):
    """(row, neighbour of the best margin, margin, cosine) of all rows that have neighbours."""
    found = ids >= 0
    margins = weighed(
        xp,
        xp.where(found, scores, 0),
        mean[:, None] / 2 + other_mean[xp.maximum(ids, 0)] / 2,
        margin,
    )
    best = xp.where(found, margins, -np.inf).argmax(axis=1)[:, None]
    rows = xp.arange(len(ids))
    chosen = [xp.take_along_axis(array, best, 1)[:, 0] for array in (ids, margins, scores)]
    some = chosen[0] >= 0
    return tuple(part[some] for part in (rows, *chosen))


def ranked(xp, x, y, score, cosine, m):
    """By descending score, then x, then y."""
    order = xp.argsort(x * m + y)
    order = order[xp.argsort(-score[order], kind="stable")]
    return x[order], y[order], score[order], cosine[order]


def one_to_one_of(xp, x, y, n, m):
    """Which of ranked pairs to take: those whose ends no pair before them has taken."""
    taken, rows, columns = (
        xp.full((1, size), value, kind)
        for size, value, kind in ((len(x), 0, np.uint8), (n, FREE, np.int64), (m, FREE, np.int64))
    )
    take_greedily(x[None], y[None], rows, columns, taken)
    return taken[0] != 0


@routine
def align_documents(
    source: Float[Array, "n d", nonempty],
    target: Float[Array, "m d", nonempty],
    source_offsets: Int64[Array, "g+1"],
    target_offsets: Int64[Array, "g+1"],
    *,
    threshold: float,
) -> MinedPairs:
    """Pairs of sentences within documents that are known to belong together.

    Parameters
    ----------
    source : (n, d) array of float32 or float64, without an axis of length zero
        Embeddings of the sentences of all documents, one document after the other; rows of any
        length but zero.
    target : (m, d) array of float32 or float64, without an axis of length zero
    source_offsets, target_offsets : (g+1,) array of int64
        Document i of the sources has the rows source_offsets[i] to source_offsets[i + 1]; its
        partner is document i of the targets.
    threshold : float
        The smallest cosine of a pair.

    Returns
    -------
    MinedPairs
        Pairs that are each other's nearest of their documents, with the cosine as score, by
        descending score.

    Raises
    ------
    ValueError
        As for :func:`neighbor_statistics`, or offsets do not ascend from 0 to the number of rows,
        or are not of one length.
    TypeError
        Other dtypes or mixed devices.

    Notes
    -----
    4 d operations for each pair of sentences of a document and its partner; cosines are summed in
    the dtype of the embeddings.

    References
    ----------
    G. Ramesh et al., "Samanantar: the largest publicly available parallel corpora collection for 11
    Indic languages", TACL 10, 2022.

    Examples
    --------
    >>> found = align_documents(
    ...     np.eye(2), np.eye(2)[::-1], np.array([0, 2]), np.array([0, 2]), threshold=0.8
    ... )
    >>> found.source_index, found.target_index
    (array([0, 1]), array([1, 0]))
    """
    a, b = source_offsets, target_offsets
    for name, offsets, rows in (
        ("source_offsets", a, len(source)),
        ("target_offsets", b, len(target)),
    ):
        if int(offsets[0]) or int(offsets[-1]) != rows or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(
                f"{name} must ascend from 0 to {rows} (got {int(offsets[0])} … {int(offsets[-1])})"
            )
    xp, source, target = checked_sides(source, target)
    source, target = unit(xp, source)[0], unit(xp, target)[0]
    partner, cosine = nearest_within(xp, source, target, a, b)
    back, _ = nearest_within(xp, target, source, b, a)
    x = xp.arange(len(source))
    kept = (partner >= 0) & (back[xp.maximum(partner, 0)] == x) & (cosine >= threshold)
    x, y, cosine, _ = ranked(xp, x[kept], partner[kept], cosine[kept], cosine[kept], len(target))
    return MinedPairs(x, y, cosine, cosine.copy(), 0)


def nearest_within(xp, rows, others, row_offsets, other_offsets):
    """For each row the nearest of the other side's rows of its document, -1 if there are none, and
    the cosine."""
    document = xp.searchsorted(row_offsets, xp.arange(len(rows)), side="right") - 1
    nearest, cosine = xp.empty(len(rows), np.int64), xp.empty(len(rows), rows.dtype)
    nearest_of_range(
        rows, others, other_offsets[document], other_offsets[document + 1], nearest, cosine
    )
    return nearest, cosine


# --- pivots ---------------------------------------------------------------------------------------


@routine
def pivot_pairs(
    first: Int64[Array, "p 2"],
    second: Int64[Array, "q 2"],
    *,
    n_pivot: Annotated[int, within(0, 1 << NUMBERS)] | None = None,
    one_to_one: bool = True,
    first_score: Float[Array, "p"] | None = None,
    second_score: Float[Array, "q"] | None = None,
) -> PivotPairs:
    """Pairs of two languages, through sentences of a third that are paired with both.

    Parameters
    ----------
    first : (p, 2) array of int64
        Numbers of a sentence of the first language and of one of the third, the pivot, from 0 to
        below 2³¹.
    second : (q, 2) array of int64
        Likewise for the second language.
    n_pivot : int in [0, 2**31], optional
        How many sentences the third language has; the pivots must be less.
    one_to_one : bool, default True
        For each pivot only the best pair of each side (the first one of equal ones), else all of
        them with each other.
    first_score : (p,) array of float32 or float64, optional
        The scores of the pairs.
    second_score : (q,) array of float32 or float64, optional

    Returns
    -------
    PivotPairs
        Each pair of sentences once, with the best score that a pivot gives it, the smallest pivot
        of equal ones; the score is the smaller one of both pairs, that of one if only one side has
        scores, and 1 if none has.

    Raises
    ------
    ValueError
        A number is outside of its range, shapes do not fit, or a score is NaN.
    TypeError
        Other dtypes or mixed devices.

    Notes
    -----
    The work is that of sorting the pairs and the result, whose number without `one_to_one` is the
    sum of products of the groups' sizes.

    References
    ----------
    G. Ramesh et al., "Samanantar: the largest publicly available parallel corpora collection for 11
    Indic languages", TACL 10, 2022.

    Examples
    --------
    >>> found = pivot_pairs([[0, 5], [1, 5], [2, 6]], [[7, 5], [8, 6], [9, 6]], one_to_one=False)
    >>> np.stack(found[:3]).T.tolist()
    [[0, 7, 5], [1, 7, 5], [2, 8, 6], [2, 9, 6]]
    """
    xp, scores = namespace_of(first), [first_score, second_score]
    max_pivot = 1 << NUMBERS if n_pivot is None else n_pivot
    check_pairs("first", first, 1 << NUMBERS, max_pivot)
    check_pairs("second", second, 1 << NUMBERS, max_pivot)
    dtype = next((s.dtype for s in scores if s is not None), np.dtype(np.float64))
    for i, (name, pairs) in enumerate((("first_score", first), ("second_score", second))):
        if scores[i] is None:
            scores[i] = xp.full(len(pairs), 1.0 if scores[1 - i] is None else np.inf, dtype)
        elif bool(xp.isnan(scores[i]).any()):
            raise ValueError(f"{name} must not be nan")
        scores[i] = xp.ascontiguousarray(scores[i])
    left, right = (
        by_key(
            xp, xp.ascontiguousarray(pairs[:, 1]), xp.ascontiguousarray(pairs[:, 0]), side_scores
        )
        for pairs, side_scores in zip((first, second), scores, strict=True)
    )
    if one_to_one:
        left, right = best_of_each(xp, *left), best_of_each(xp, *right)
    begins, counts = xp.empty(len(left.keys), np.int64), xp.empty(len(left.keys), np.int64)
    partners(left.keys, right.keys, begins, counts)
    ends = xp.cumsum(counts)
    size, bits = (
        int(ends[-1]) if len(ends) else 0,
        int(right.values.max()).bit_length() if len(right.values) else 0,
    )
    both = Sorted(xp.empty(size, np.int64), xp.empty(size, np.int64), xp.empty(size, dtype))
    join_sides(*left, begins, counts, ends, *right[1:], *both, bits)
    pairs, pivot, score = best_of_each(xp, *by_key(xp, *both))
    return PivotPairs(pairs >> bits, pairs & ((1 << bits) - 1), pivot, score)


class Sorted(NamedTuple):
    """By ascending key; equal keys in the order in which they came."""

    keys: Any
    values: Any
    scores: Any


def by_key(xp, keys, values, scores):
    """Keys that are not negative in ascending order, and with each its value and score.

    A few bits at a time, the lowest first. All three move together, in a few streams: to fetch
    values and scores from the places of sorted keys would take several times as long, as each lies
    elsewhere in memory.
    """
    n = len(keys)
    bits = int(keys.max()).bit_length() if n else 0
    passes = -(-bits // DIGIT_BITS)
    digits = 1 << -(-bits // max(passes, 1))
    blocks = min(-(-n // RECORDS), MAX_BLOCKS)
    here, spare = Sorted(keys, values, scores), None
    for step in range(passes):
        counts = xp.zeros((blocks, digits), np.int64)
        shift = step * (digits.bit_length() - 1)
        count_digits(here.keys, counts, shift)
        places = xp.cumsum(counts.T.reshape(-1)).reshape(digits, blocks).T - counts
        moved = spare or Sorted(*map(xp.empty_like, here))
        move_by_digit(*here, xp.ascontiguousarray(places), *moved, shift)
        here, spare = moved, here if step else None  # what was passed in is not written to
    return here


def best_of_each(xp, keys, values, scores):
    """Each key once, with the value of its best score, the first one of equal ones."""
    best = xp.empty(len(keys), np.int64)
    best_of_equal(keys, scores, best)
    best = best[best >= 0]
    return Sorted(keys[best], values[best], scores[best])


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T scores[n, b]; inout T best[b, k]; inout int64 at[b, k]; int64 first; scratch T least[64]",
    split="b",
)
def scan_columns(scores, best, at, first, least, start, stop):
    """As `scan_rows` down the columns; the rows of scores are those of the other side from `first`
    on."""
    for g in range((stop - start + GROUP - 1) // GROUP):
        low = np.uintp(start + GROUP * g)
        width = min(np.uintp(GROUP), np.uintp(stop) - low)
        for c in range(width):
            least[c] = best[low + c, 0]
        for i in range(scores.shape[0]):
            row = scores[i]
            found = False
            if width == np.uintp(GROUP):
                for c in range(np.uintp(GROUP)):
                    found |= row[low + c] > least[c]
            else:
                for c in range(width):
                    found |= row[low + c] > least[c]
            if found:
                for c in range(width):
                    if row[low + c] > least[c]:
                        replace_worst(best[low + c], at[low + c], row[low + c], first + i)
                        least[c] = best[low + c, 0]


def cosine(x, y, scale_x, scale_y):
    """Of the rows divided by their scales; NaN where squares leave the range of float64."""
    xx, yy, xy = 0.0, 0.0, 0.0
    for j in range(np.uintp(x.size)):
        a, b = np.float64(x[j]) / scale_x, np.float64(y[j]) / scale_y
        xx += a * a
        yy += b * b
        xy += a * b
    inside = 1e-280 < xx < 1e280 and 1e-280 < yy < 1e280
    return xy / (math.sqrt(xx) * math.sqrt(yy)) if inside else math.nan


def largest(row):
    most = 0.0
    for j in range(row.size):
        most = max(most, abs(np.float64(row[j])))
    return most


@kernel(
    "in T source[n, d]; in T target[m, d]; in int64 rows[p]; in int64 columns[p]; out T result[p]",
    split="p",
    gpu="warp",
)
def cosines_of(source, target, rows, columns, result, start, stop):
    """Of pairs of rows that are not zero."""
    for p in range(start, stop):
        x, y = source[np.uintp(rows[p])], target[np.uintp(columns[p])]
        value = cosine(x, y, 1.0, 1.0)
        if value != value:
            value = cosine(x, y, largest(x), largest(y))
        result[p] = value


@kernel(
    "in int64 rows[g, p]; in int64 columns[g, p]; inout int64 row_taken[g, n]; "
    "inout int64 column_taken[g, m]; out uint8 taken[g, p]",
    split="g",
    gpu="block",
    threads=1024,
)
def take_greedily(rows, columns, row_taken, column_taken, taken, start, stop):
    """Pairs in their order, each whose ends are still FREE; these then hold its place."""
    for g in range(start, stop):
        for p in range(rows.shape[1]):
            i, j = np.uintp(rows[g, p]), np.uintp(columns[g, p])
            taken[g, p] = row_taken[g, i] == FREE and column_taken[g, j] == FREE
            if taken[g, p]:
                row_taken[g, i] = column_taken[g, j] = p


@kernel(
    "in T rows[n, d]; in T others[m, d]; in int64 begins[n]; in int64 ends[n]; "
    "out int64 nearest[n]; out T score[n]; "
    "scratch T lanes[16]",
    split="n",
    gpu="warp",
)
def nearest_of_range(rows, others, begins, ends, nearest, score, lanes, start, stop):
    """The largest product with one of the rows begins[i] to ends[i] of the others; -1 and minus
    infinity if there are none."""
    for i in range(start, stop):
        nearest[i], score[i] = -1, -np.inf
        for j in range(np.uintp(begins[i]), np.uintp(ends[i])):
            product = closeness(rows[i], others[j], lanes, 0)
            if product > score[i]:
                nearest[i], score[i] = j, product


@kernel("in int64 keys[n]; inout int64 counts[g, d]; int64 shift", split="g", gpu="warp")
def count_digits(keys, counts, shift, start, stop):
    """How often each digit, of d = 2^bits, occurs in each of g ranges of the keys."""
    size, mask = -(-keys.size // counts.shape[0]), np.int64(counts.shape[1] - 1)
    for g in range(start, stop):
        for i in range(np.uintp(g * size), np.uintp(min((g + 1) * size, keys.size))):
            counts[g, np.uintp(keys[i] >> shift & mask)] += 1


@kernel(
    "in int64 keys[n]; in int64 values[n]; in T scores[n]; inout int64 places[g, d]; "
    "inout int64 new_keys[n]; "
    "inout int64 new_values[n]; inout T new_scores[n]; int64 shift",
    split="g",
    gpu="warp",
)
def move_by_digit(
    keys, values, scores, places, new_keys, new_values, new_scores, shift, start, stop
):
    """Each to the next place of its digit and range, in the order of the keys."""
    size, mask = -(-keys.size // places.shape[0]), np.int64(places.shape[1] - 1)
    for g in range(start, stop):
        for i in range(np.uintp(g * size), np.uintp(min((g + 1) * size, keys.size))):
            digit = np.uintp(keys[i] >> shift & mask)
            at = np.uintp(places[g, digit])
            places[g, digit] += 1
            new_keys[at], new_values[at], new_scores[at] = keys[i], values[i], scores[i]


@kernel("in int64 keys[n]; in T scores[n]; out int64 best[n]", split="n")
def best_of_equal(keys, scores, best, start, stop):
    """At the first of equal keys, which stand together, the place of the best score, the first one
    of equal ones; -1 elsewhere."""
    for i in range(start, stop):
        mine = i
        if i and keys[i] == keys[i - 1]:
            mine = -1
        else:
            for e in range(i + 1, keys.size):
                if keys[e] != keys[i]:
                    break
                mine = e if scores[e] > scores[mine] else mine
        best[i] = mine


@kernel("in int64 keys[p]; in int64 others[q]; out int64 begins[p]; out int64 counts[p]", split="p")
def partners(keys, others, begins, counts, start, stop):
    """Where the other side has each key, and how often; both sides ascend."""
    low, high = np.uintp(0), np.uintp(others.size)
    while low < high:
        middle = (low + high) // np.uintp(2)
        if others[middle] < keys[start]:
            low = middle + np.uintp(1)
        else:
            high = middle
    for i in range(start, stop):
        if i > start and keys[i] == keys[i - 1]:
            begins[i], counts[i] = begins[i - 1], counts[i - 1]
            continue
        while low < others.size and others[low] < keys[i]:
            low += np.uintp(1)
        begins[i] = low
        while low < others.size and others[low] == keys[i]:
            low += np.uintp(1)
        counts[i] = np.int64(low) - begins[i]


@kernel(
    "in int64 keys[p]; in int64 first[p]; in T first_score[p]; in int64 begins[p]; "
    "in int64 counts[p]; in int64 ends[p]; "
    "in int64 second[q]; in T second_score[q]; inout int64 pairs[z]; inout int64 pivot[z]; "
    "inout T score[z]; int64 bits",
    split="p",
)
def join_sides(
    keys,
    first,
    first_score,
    begins,
    counts,
    ends,
    second,
    second_score,
    pairs,
    pivot,
    score,
    bits,
    start,
    stop,
):
    """Each sentence of the first side with its partners, up to place ends[i]; both become one
    number."""
    for i in range(start, stop):
        if counts[i]:
            at = np.uintp(ends[i] - counts[i])
            for e in range(np.uintp(begins[i]), np.uintp(begins[i] + counts[i])):
                pairs[at], pivot[at] = first[i] << bits | second[e], keys[i]
                score[at] = min(first_score[i], second_score[e])
                at += np.uintp(1)
