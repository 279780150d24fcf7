"""Margins of pairs, and the pairs that belong together."""

from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, Int64, at_least, finite, nonempty
from ...dispatch import namespace_of, routine
from .._offsets import checked_offsets
from .._topk import unit
from .kernels import FREE, nearest_of_range, take_greedily
from .neighbors import Search, checked_sides, cosines, neighbor_statistics
from .pivots import check_pairs

MIN_MEAN = 1e-6  # what a ratio is divided by at least
Margin: TypeAlias = Literal["absolute", "ratio", "distance"]


class MinedPairs(NamedTuple):
    """Pairs by descending score: row numbers of both sides, scores, cosines; `n_floored` ratios had
    a mean of 1e-6 or less to divide by."""

    source_index: Int64[Array, "n_pairs"]
    target_index: Int64[Array, "n_pairs"]
    score: Float[Array, "n_pairs"]
    cosine: Float[Array, "n_pairs"]
    n_floored: int


# --- margins --------------------------------------------------------------------------------------


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
    """Scores of given pairs: their cosines, weighed against those of the neighbors of both sides.

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


def weighed(xp, cosine, mean, margin):
    """The margin of cosines, given the means of the neighbors of both sides."""
    if margin == "ratio":
        return cosine / xp.maximum(mean, cosine.dtype.type(MIN_MEAN))
    return cosine - mean if margin == "distance" else cosine


# --- pairs ----------------------------------------------------------------------------------------


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
        Neighbors among which a partner is sought, and over whose cosines a margin takes means.
    margin : {"absolute", "ratio", "distance"}, default "ratio"
        The score of a pair, see :func:`margin_scores`.
    retrieval : {"forward", "backward", "intersect", "max"}, default "max"
        For each source the best target of its neighbors; for each target the best source; pairs
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
    Repeated sentences are near to each other's partners and count as neighbors, which lowers their
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
    """(row, neighbor of the best margin, margin, cosine) of all rows that have neighbors."""
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


# --- documents ------------------------------------------------------------------------------------


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
    a = checked_offsets("source_offsets", source_offsets, len(source))
    b = checked_offsets("target_offsets", target_offsets, len(target))
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
