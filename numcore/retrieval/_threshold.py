"""Relevance filtering: score thresholds that cut lists of search results at a given recall or
precision, and a query-independent calibration.

A threshold on the scores of all queries decides how many results each query keeps. Precision and
recall at all thresholds follow from one sort. `isotonic_adapter` is the best non-decreasing map
from cosines to relevance that is the same for all queries. R. E. Barlow et al., "Statistical
Inference under Order Restrictions", Wiley 1972.
"""

from typing import Annotated, NamedTuple

import numpy as np

from ..arguments import Array, Bool, Bound, Float, Integer, Real, checked, nonempty, within
from ..dispatch import check_one_device, namespace_of, routine
from ..kernel import kernel
from ._offsets import checked_offsets

COSINES = Bound(-1.001, 1.001)  # rounding may lead out of [-1, 1]


class FilterResult(NamedTuple):
    """`keep`: bool of the shape of the scores; `n_kept`: (nq,) int64."""

    keep: Array
    n_kept: Array


class ThresholdChoice(NamedTuple):
    """A threshold and what it gives when scores from it on are kept; all floats."""

    threshold: float
    precision: float
    recall: float
    f1: float


class FilteringCurve(NamedTuple):
    """At each of the distinct scores as threshold, descending: (m,) arrays of the dtype of the
    scores."""

    thresholds: Array
    precision: Array
    recall: Array
    mean_kept: Array


class IsotonicMap(NamedTuple):
    """A non-decreasing map from cosines to relevance: linear between `cosines`, where it has the
    values `scores`, and constant outside."""

    cosines: Array
    scores: Array

    @checked
    def transform(self, cosines: Float[Array, "...", COSINES]) -> Array:
        """The scores of an array of cosines, of its shape and dtype.

        Parameters
        ----------
        cosines : (...) array of float32 or float64, in [-1.001, 1.001]
        """
        x, knots = cosines, self.cosines
        check_one_device(cosines=x, knots=knots)
        if x.dtype != knots.dtype:
            raise TypeError(f"cosines must have dtype {knots.dtype} as in the fit (got {x.dtype})")
        xp = namespace_of(x)
        return xp.interp(x.reshape(-1), knots, self.scores).astype(x.dtype).reshape(x.shape)


# --- routines -------------------------------------------------------------------------------------


@routine
def filter_by_score(
    scores: Float[Array, "..."],
    threshold: Annotated[float, within(0, 1)],
    *,
    offsets: Integer[Array, "nq+1"] | None = None,
) -> FilterResult:
    """Keep the results whose score is at least a threshold.

    Parameters
    ----------
    scores : (...) array of float32 or float64
    threshold : float in [0, 1]
        In [0, 1].
    offsets : (nq+1,) array of integers, optional
        The results of query i are ``scores[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    FilterResult
        ``keep``, of the shape of the scores, and ``n_kept``, one number for each query.

    Raises
    ------
    ValueError
        `threshold` outside [0, 1], NaN, offsets that do not ascend from 0 to n.
    TypeError
        Other dtypes, mixed devices.

    References
    ----------
    N. Rossi et al., "Relevance Filtering for Embedding-based Retrieval", CIKM 2024.

    Examples
    --------
    >>> filter_by_score(np.array([[0.9, 0.4], [0.3, 0.2]]), 0.4).n_kept
    array([2, 0])
    """
    xp, offsets = namespace_of(scores), dense_offsets("scores", scores, offsets)
    _check_scores(scores)
    keep = scores >= scores.dtype.type(threshold)
    counts = xp.zeros(scores.size + 1, np.int64)
    counts[1:] = xp.cumsum(keep.reshape(-1))
    return FilterResult(keep, xp.diff(counts[offsets]))


@routine
def choose_threshold(
    scores: Float[Array, "*shape"],
    relevance: Real[Array, "*shape", within(0, 1)] | Bool[Array, "*shape"],
    *,
    min_recall: Annotated[float, within(0, 1)] | None = None,
    min_precision: Annotated[float, within(0, 1)] | None = None,
) -> ThresholdChoice:
    """The largest threshold that keeps a recall, or the smallest that keeps a precision.

    Parameters
    ----------
    scores : (...) array of float32 or float64
        Of any shape.
    relevance : (...) array of float32, float64 or integers, in [0, 1] or (...) array of bool
        In [0, 1].
    min_recall, min_precision : float in [0, 1], optional
        In [0, 1]; one of the two.

    Returns
    -------
    ThresholdChoice
        ``threshold``, one of the scores, and ``precision``, ``recall`` and ``f1`` of what is kept
        with it.

    Raises
    ------
    ValueError
        Both or none of the two limits, no threshold reaches `min_precision`, no scores or no
        relevance above 0, relevance outside [0, 1], shapes that differ, NaN.
    TypeError
        Other dtypes, mixed devices.

    Notes
    -----
    One sort of all scores; equal ones are kept or cut together.

    References
    ----------
    N. Rossi et al., "Relevance Filtering for Embedding-based Retrieval", CIKM 2024.

    Examples
    --------
    >>> choose_threshold(np.array([0.9, 0.7, 0.6, 0.1]), np.array([1, 1, 0, 1]), min_recall=0.6)
    ThresholdChoice(threshold=0.7, precision=1.0, recall=0.6666666666666666, f1=0.8)
    """
    if (min_recall is None) == (min_precision is None):
        raise ValueError(
            f"one of min_recall and min_precision must be given (got {min_recall!r:.80} and "
            f"{min_precision!r:.80})"
        )
    name, least = (
        ("min_recall", min_recall) if min_precision is None else ("min_precision", min_precision)
    )
    _check_scores(scores)
    xp, relevance = namespace_of(scores), relevance.astype(np.float64, copy=False)
    if not bool((relevance > 0).any()):
        raise ValueError("relevance must be above 0 for some score (got none)")
    order, ends = _steps(xp, scores.reshape(-1))
    found, kept = xp.cumsum(relevance.reshape(-1)[order])[ends], ends + 1.0
    precision, recall = found / kept, found / found[-1]
    reached = xp.flatnonzero((recall if name == "min_recall" else precision) >= least)
    if not len(reached):
        raise ValueError(
            f"min_precision must be reached at some threshold (got {least}, the best is "
            f"{float(precision.max())})"
        )
    i = int(reached[0] if name == "min_recall" else reached[-1])
    p, r = float(precision[i]), float(recall[i])
    return ThresholdChoice(
        float(scores.reshape(-1)[order[ends[i]]]), p, r, 2 * p * r / (p + r) if p + r else 0.0
    )


@routine
def filtering_curve(
    scores: Float[Array, "*shape"],
    relevance: Real[Array, "*shape", within(0, 1)] | Bool[Array, "*shape"],
    *,
    offsets: Integer[Array, "nq+1"] | None = None,
) -> FilteringCurve:
    """Precision, recall and length of the lists at every threshold.

    Parameters
    ----------
    scores : (...) array of float32 or float64
    relevance : (...) array of float32, float64 or integers, in [0, 1] or (...) array of bool
        In [0, 1].
    offsets : (nq+1,) array of integers, optional
        The results of query i are ``scores[offsets[i]:offsets[i + 1]]``. With them precision and
        recall are means over queries: precision over those that keep something, recall over those
        that have something relevant. Without, all results are counted together.

    Returns
    -------
    FilteringCurve
        ``thresholds``, the distinct scores, descending; ``precision``, ``recall`` and
        ``mean_kept``, the results kept for a query, of which scores (n,) without `offsets` are one.

    Raises
    ------
    ValueError
        No relevance above 0, relevance outside [0, 1], shapes that differ, NaN, offsets that do not
        ascend from 0 to n.
    TypeError
        Other dtypes, mixed devices.

    Notes
    -----
    One sort of all scores, with `offsets` two; sums in float64.

    References
    ----------
    N. Rossi et al., "Relevance Filtering for Embedding-based Retrieval", CIKM 2024.

    Examples
    --------
    >>> filtering_curve(
    ...     np.array([[0.9, 0.7], [0.7, 0.1]]), np.array([[1, 1], [0, 1]])
    ... ).precision.round(3)
    array([1.   , 0.667, 0.75 ])
    """
    macro = offsets is not None
    if macro:
        offsets = dense_offsets("scores", scores, offsets)
    elif scores.ndim not in (1, 2):
        raise ValueError(f"scores must have shape (nq, c) or (n,) (got {scores.shape})")
    _check_scores(scores)
    xp, relevance = namespace_of(scores), relevance.reshape(-1).astype(np.float64, copy=False)
    if not bool((relevance > 0).any()):
        raise ValueError("relevance must be above 0 for some score (got none)")
    nq = len(offsets) - 1 if macro else len(scores) if scores.ndim == 2 else 1
    flat = scores.reshape(-1)
    order, ends = _steps(xp, flat)
    if macro:
        precision, recall = _macro(xp, relevance, offsets, order)
        precision, recall = precision[ends], recall[ends]
    else:
        found = xp.cumsum(relevance[order])[ends]
        precision, recall = found / (ends + 1), found / found[-1]
    return FilteringCurve(
        flat[order[ends]],
        *(part.astype(scores.dtype) for part in (precision, recall, (ends + 1) / nq)),
    )


def _macro(xp, relevance, offsets, order):
    """Means over queries after each of the results in order: a result changes its own query's share
    only."""
    n, query = len(order), xp.searchsorted(offsets[1:], order, side="right")
    by_query = xp.argsort(query, kind="stable")
    rank = xp.empty(n, np.int64)
    rank[by_query] = xp.arange(n) - offsets[query[by_query]]  # how many of its query came before
    sums = xp.zeros(n + 1)
    sums[1:] = xp.cumsum(relevance[order][by_query])
    starts = sums[offsets]  # as lists follow each other by query
    found = xp.empty(n)
    found[by_query] = sums[1:] - starts[query[by_query]]
    before = found - relevance[order]
    precision = xp.cumsum(found / (rank + 1) - before / xp.maximum(rank, 1))
    total = xp.diff(starts)[query]
    recall = xp.cumsum(xp.where(total > 0, relevance[order] / xp.where(total > 0, total, 1), 0))
    return precision / xp.cumsum(rank == 0), recall / float((xp.diff(starts) > 0).sum())


def _steps(xp, scores):
    """The order of descending scores, and in it the last place of each distinct score."""
    order = xp.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = xp.ones(len(order), bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return order, xp.flatnonzero(last)


@routine
def isotonic_adapter(
    cosines: Float[Array, "*shape", COSINES, nonempty],
    relevance: Real[Array, "*shape", within(0, 1)] | Bool[Array, "*shape"],
) -> IsotonicMap:
    """The non-decreasing map from cosines to relevance that is best in least squares, the same for
    all queries.

    Parameters
    ----------
    cosines : (...) array of float32 or float64, in [-1.001, 1.001], without an axis of length zero
        Of any shape, in [-1, 1] up to 1e-3.
    relevance : (...) array of float32, float64 or integers, in [0, 1] or (...) array of bool
        In [0, 1].

    Returns
    -------
    IsotonicMap
        ``cosines`` and ``scores``, between which it is linear, and ``transform(cosines)``.

    Raises
    ------
    ValueError
        No cosines, cosines or relevance out of range, shapes that differ, NaN.
    TypeError
        Other dtypes, mixed devices.

    Notes
    -----
    Pool adjacent violators: equal cosines are averaged first, then neighbors are averaged as long
    as they descend. One sort and O(n) steps, sums in float64.

    References
    ----------
    R. E. Barlow, D. J. Bartholomew, J. M. Bremner, H. D. Brunk, "Statistical Inference under Order
    Restrictions", Wiley 1972.

    Examples
    --------
    >>> fit = isotonic_adapter(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1]))
    >>> fit.transform(np.array([0.1, 0.25, 0.35]))
    array([0.  , 0.5 , 0.75])
    """
    xp, x = namespace_of(cosines), cosines
    y = relevance.reshape(-1).astype(np.float64, copy=False)
    order, ends = _steps(xp, -x.reshape(-1))
    sums = xp.cumsum(y[order])[ends]
    sums[1:] = sums[1:] - sums[:-1].copy()
    weights = xp.diff(ends, prepend=xp.asarray([-1])).astype(np.float64)
    blocks, sizes = xp.zeros(1, np.int64), xp.ones((1, len(ends)), np.int64)
    sums, weights = sums[None].copy(), weights[None].copy()
    pool_adjacent_violators(sums, weights, sizes, blocks)
    m = int(blocks[0])
    value, last = sums[0, :m] / weights[0, :m], xp.cumsum(sizes[0, :m]) - 1
    knots = xp.sort(xp.concatenate([last, last - sizes[0, :m] + 1]))  # both ends of each block
    block = xp.searchsorted(last, knots)
    distinct = xp.ones(len(knots), bool)
    distinct[1:] = knots[1:] != knots[:-1]
    return IsotonicMap(
        x.reshape(-1)[order[ends]][knots[distinct]], value[block[distinct]].astype(x.dtype)
    )


@kernel(
    "inout float64 sums[g, n]; inout float64 weights[g, n]; inout int64 sizes[g, n]; "
    "out int64 blocks[g]",
    split="g",
    gpu="thread",
    threads=32,
    grain="1",
)
def pool_adjacent_violators(sums, weights, sizes, blocks, start, stop):
    """Join neighbors whose means descend; the first `blocks` entries are then the sums, weights
    and sizes of what was joined."""
    for g in range(start, stop):
        s, w, size, top = sums[g], weights[g], sizes[g], np.uintp(0)
        one = np.uintp(1)
        for i in range(np.uintp(s.size)):
            s[top], w[top], size[top] = s[i], w[i], size[i]
            while top > np.uintp(0) and s[top - one] * w[top] >= s[top] * w[top - one]:
                s[top - one] += s[top]
                w[top - one] += w[top]
                size[top - one] += size[top]
                top -= one
            top += one
        blocks[g] = top


# --- checks ---------------------------------------------------------------------------------------


def _check_scores(scores):
    if bool(namespace_of(scores).isnan(scores).any()):
        raise ValueError("scores must not be NaN (got nan)")


def dense_offsets(name, scores, offsets):
    """(nq + 1,) offsets in int64, also of lists of one length (nq, c)."""
    if offsets is not None:
        if scores.ndim != 1:
            raise ValueError(f"{name} must have shape (n,) with offsets (got {scores.shape})")
        return checked_offsets("offsets", offsets, len(scores))
    if scores.ndim != 2:
        raise ValueError(
            f"{name} must have shape (nq, c), or (n,) with offsets (got {scores.shape})"
        )
    return namespace_of(scores).arange(len(scores) + 1, dtype=np.int64) * scores.shape[1]


@checked
def checked_cosines(cosines: Float[Array, "...", COSINES]):
    """ValueError for what is not a cosine."""
