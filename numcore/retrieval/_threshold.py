"""Where to cut lists of search results: scores against a threshold, thresholds by recall or
precision, and a map that no query changes.

A threshold on the scores of all queries decides how many results each query keeps. Precision and
recall at all thresholds follow from one sort. `isotonic_adapter` is the best non-decreasing map
from cosines to relevance that is the same for all queries. R. E. Barlow et al., "Statistical
Inference under Order Restrictions", Wiley 1972.
"""

from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel

TOLERANCE = 1e-3  # by which a cosine may leave [-1, 1]


class FilterResult(NamedTuple):
    """`keep`: bool of the shape of the scores; `n_kept`: (nq,) int64."""

    keep: Any
    n_kept: Any


class ThresholdChoice(NamedTuple):
    """A threshold and what it gives when scores from it on are kept; all floats."""

    threshold: float
    precision: float
    recall: float
    f1: float


class FilteringCurve(NamedTuple):
    """At each of the distinct scores as threshold, descending: (m,) arrays of the dtype of the
    scores."""

    thresholds: Any
    precision: Any
    recall: Any
    mean_kept: Any


class IsotonicMap(NamedTuple):
    """A non-decreasing map from cosines to relevance: linear between `cosines`, where it has the
    values `scores`, and constant outside."""

    cosines: Any
    scores: Any

    def transform(self, cosines):
        """The scores of an array of cosines, of its shape and dtype."""
        xp, (x, knots) = on_device(cosines=cosines, knots=self.cosines)
        float_dtype(cosines=x, knots=knots)
        checked_cosines(xp, x)
        return xp.interp(x.reshape(-1), knots, self.scores).astype(x.dtype).reshape(x.shape)


# --- routines -------------------------------------------------------------------------------------


@routine
def filter_by_score(scores, threshold, *, offsets=None):
    """Keep the results whose score is at least a threshold.

    Parameters
    ----------
    scores : (nq, c) array of float32 or float64, or (n,) with `offsets`
    threshold : float
        In [0, 1].
    offsets : (nq + 1,) array of int, optional
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
    xp, scores, offsets = checked_lists("scores", scores, offsets)
    threshold = checked_number("threshold", threshold, least=0, most=1)
    keep = scores >= scores.dtype.type(threshold)
    counts = xp.zeros(scores.size + 1, np.int64)
    counts[1:] = xp.cumsum(keep.reshape(-1))
    return FilterResult(keep, xp.diff(counts[offsets]))


@routine
def choose_threshold(scores, relevance, *, min_recall=None, min_precision=None):
    """The largest threshold that keeps a recall, or the smallest that keeps a precision.

    Parameters
    ----------
    scores : array of float32 or float64
        Of any shape.
    relevance : array of the shape of the scores, bool, int or float
        In [0, 1].
    min_recall, min_precision : float
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
    least = checked_number(name, least, least=0, most=1)
    xp, scores = _checked_scores("scores", scores)
    relevance = checked_relevance(xp, scores, relevance)
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
def filtering_curve(scores, relevance, *, offsets=None):
    """Precision, recall and length of the lists at every threshold.

    Parameters
    ----------
    scores : (nq, c) array of float32 or float64, or (n,)
    relevance : array of the shape of the scores, bool, int or float
        In [0, 1].
    offsets : (nq + 1,) array of int, optional
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
        xp, scores, offsets = checked_lists("scores", scores, offsets)
    else:
        xp, scores = _checked_scores("scores", scores)
    relevance = checked_relevance(xp, scores, relevance).reshape(-1)
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
def isotonic_adapter(cosines, relevance):
    """The non-decreasing map from cosines to relevance that is best in least squares, the same for
    all queries.

    Parameters
    ----------
    cosines : array of float32 or float64
        Of any shape, in [-1, 1] up to 1e-3.
    relevance : array of the shape of the cosines, bool, int or float
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
    Pool adjacent violators: equal cosines are averaged first, then neighbours are averaged as long
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
    xp, x = _checked_scores("cosines", cosines)
    checked_cosines(xp, x)
    y = checked_relevance(xp, x, relevance, "cosines").reshape(-1)
    if not x.size:
        raise ValueError(f"cosines must not be empty (got shape {x.shape})")
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
    """Join neighbours whose means descend; the first `blocks` entries are then the sums, weights
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


def _checked_scores(name, scores, nan=False):
    xp, (scores,) = on_device(**{name: scores})
    if scores is None:
        raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    float_dtype(**{name: scores})
    if not nan and bool(xp.isnan(scores).any()):
        raise ValueError(f"{name} must not be nan")
    return xp, scores


def checked_lists(name, scores, offsets, nan=False):
    """The array namespace, the scores, and (nq + 1,) offsets in int64, also for dense ones. `nan`
    says that NaN is found later."""
    xp, scores = _checked_scores(name, scores, nan)
    if offsets is None:
        if scores.ndim != 2:
            raise ValueError(
                f"{name} must have shape (nq, c), or (n,) with offsets (got {scores.shape})"
            )
        return xp, scores, xp.arange(len(scores) + 1, dtype=np.int64) * scores.shape[1]
    _, (offsets, _) = on_device(offsets=offsets, **{name: scores})
    if offsets.dtype.kind not in "iu":
        raise TypeError(f"offsets must hold integers (got dtype {offsets.dtype})")
    if scores.ndim != 1 or offsets.ndim != 1 or not len(offsets):
        raise ValueError(
            f"{name} (n,) and offsets (nq + 1,) must have one dimension (got shapes "
            f"{scores.shape}, {offsets.shape})"
        )
    if (
        int(offsets[0]) != 0
        or int(offsets[-1]) != len(scores)
        or bool((offsets[1:] < offsets[:-1]).any())
    ):
        raise ValueError(f"offsets must ascend from 0 to the number of {name}, {len(scores)}")
    return xp, scores, offsets.astype(np.int64)


def checked_relevance(xp, scores, relevance, name="scores"):
    """Relevance in float64, of the shape of the scores."""
    _, (relevance, _) = on_device(relevance=relevance, **{name: scores})
    if (
        relevance is None
        or relevance.dtype.kind not in "biuf"
        or relevance.dtype.itemsize == 2
        and relevance.dtype.kind == "f"
    ):
        raise TypeError(
            f"relevance must hold bool, integers, float32 or float64 (got "
            f"{getattr(relevance, 'dtype', None)})"
        )
    if relevance.shape != scores.shape:
        raise ValueError(
            f"relevance must have the shape of {name}, {scores.shape} (got {relevance.shape})"
        )
    if relevance.size and not (0 <= float(relevance.min()) and float(relevance.max()) <= 1):
        raise ValueError(
            f"relevance must satisfy 0 <= relevance <= 1 (got {float(relevance.min())} … "
            f"{float(relevance.max())})"
        )
    return relevance.astype(np.float64, copy=False)


def checked_cosines(xp, cosines):
    """ValueError for what is no cosine."""
    if cosines.size and not (
        -1 - TOLERANCE <= float(cosines.min()) and float(cosines.max()) <= 1 + TOLERANCE
    ):
        raise ValueError(
            f"cosines must satisfy -1 <= cosine <= 1 up to {TOLERANCE} (got {float(cosines.min())} "
            f"… {float(cosines.max())})"
        )
