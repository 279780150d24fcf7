"""How good ranked lists are: reciprocal rank, recall, precision, average precision and discounted
gains of many queries at once. K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR
techniques", ACM TOIS, 2002.
"""

import functools
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from ...arguments import Array, Bool, Integer, Real, positive, within
from ...dispatch import namespace_of, routine
from ...linalg import CSRLike, Sparse
from .judgments import order_by_query
from .kernels import DCG, KINDS, MAP, NDCG, R_PRECISION, metrics_of_lists, metrics_of_scores
from .places import places_of_documents, places_of_scores, scored_lists

METRIC = re.compile(rf"({'|'.join(KINDS)})(?:@([1-9]\d{{0,8}}))?")
SMALL = 1 << 12  # scores
Cutoff = Annotated[int, within(1, 2**53)]


@routine
def ranking_metrics(
    scores_or_ranks: Real[Array, "..."],
    relevance: Sparse[CSRLike, "_ _"] | Real[Array, "..."] | Bool[Array, "..."],
    groups: Integer[Array, "nq"] | None = None,
    *,
    metrics: Sequence[str] = ("mrr@10", "ndcg@10", "recall@100"),
    cutoffs: Sequence[Cutoff] | None = None,
    gain: Literal["linear", "exponential"] = "linear",
    min_relevance: Annotated[float, positive] = 1.0,
    normalize_map: Literal["relevant", "cut"] = "relevant",
    tie: Literal["stable", "trec"] = "stable",
    mask: Bool[Array, "_ _"] | None = None,
) -> dict[str, Array]:
    """Metrics of ranked lists, one number for each query and metric.

    Parameters
    ----------
    scores_or_ranks : (...) array of float32, float64 or integers
        Integers (nq, k): the documents of each query's list, best first; negative ones fill up
        short lists, and of a repeated document the first place counts. Floats (nq, k): scores of k
        documents, the highest first, infinities included. Scores of lists of different lengths are
        one (n,) array with `groups`.
    relevance : (_, _) CSR or sparse array or (...) array of float32, float64 or integers or (...) array of bool
        Higher is better. For documents: judgments (r, 3) of integers (query, document, relevance),
        the query being a row of the lists; a bool matrix (nq, number of documents); or a sparse
        matrix of relevance. For scores: an array of their shape, or a sparse matrix.
    groups : (nq,) array of integers, optional
        The lengths of lists, at least 1, which follow each other in `scores_or_ranks` and
        `relevance` of shape (n,).
    metrics : sequence of str, default ('mrr@10', 'ndcg@10', 'recall@100')
        "mrr", "recall", "precision", "hit", "map", "dcg" or "ndcg", for all of a list or followed
        by "@k" for its first k places; "r_precision", the precision of the first R places for R
        relevant documents, where precision, recall and F1 are one number.
    cutoffs : sequence of int in [1, 2**53], optional
        Where to cut the metrics without "@": "ndcg" with (1, 5) gives "ndcg@1" and "ndcg@5".
    gain : {"linear", "exponential"}, default "linear"
        Relevance itself, negative ones being 0, or 2^relevance - 1, for relevance from 0 to 31.
    min_relevance : float > 0, default 1.0
        From where a document is relevant; gains use all above 0.
    normalize_map : {"relevant", "cut"}, default "relevant"
        Average precision divides by the number R of relevant documents, or by min(R, k).
    tie : {"stable", "trec"}, default "stable"
        Documents of equal scores come in their order, or in the reverse order, as in trec_eval.
    mask : (_, _) array of bool, optional
        Which scores count.

    Returns
    -------
    dict of str to (nq,) array
        By metric, such as "map" or "ndcg@10"; of the dtype of scores, else float64. NaN for queries
        without relevant documents, and for "dcg" and "ndcg" without gains: take means by
        ``nanmean``.

    Raises
    ------
    ValueError
        An unknown metric, shapes that do not fit, scores that are NaN or relevance that is not
        finite (where the mask is True), a document judged twice, a judged query without a list,
        relevance below 0 or above 31 with exponential gain.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    With places j = 1, 2, …: mrr is 1 / j of the first relevant document; map sums the precisions at
    the places of relevant ones; dcg = Σ gain_j / log2(1 + j), ndcg divides it by the dcg of all
    judged documents in their best order; precision divides by k even where a list is shorter. Sums
    in float64. For nq lists of k documents: nq k steps
    and a binary search for each judged one among them; for scores: k comparisons for each relevant
    document, or a sort.

    References
    ----------
    K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4),
    2002.

    Examples
    --------
    >>> found = ranking_metrics(
    ...     [[7, 2, 9, 4]],
    ...     [[0, 7, 3], [0, 2, 2], [0, 9, 0], [0, 4, 1]],
    ...     metrics=("mrr", "map", "ndcg@10"),
    ... )
    >>> {name: float(values[0].round(6)) for name, values in found.items()}
    {'mrr': 1.0, 'map': 0.916667, 'ndcg@10': 0.985442}
    >>> scored = ranking_metrics(
    ...     np.array([[2.0, 1.0, 0.0, 0.5]]),
    ...     np.array([[0, 2, 1, 0]]),
    ...     metrics=("ndcg", "hit"),
    ...     cutoffs=(1, 4),
    ...     gain="exponential",
    ... )
    >>> {name: float(values[0].round(6)) for name, values in scored.items()}
    {'ndcg@1': 0.0, 'ndcg@4': 0.639909, 'hit@1': 0.0, 'hit@4': 1.0}
    """  # noqa: E501
    wanted = parsed_metrics(tuple(metrics), cutoffs and tuple(cutoffs))
    kinds, cuts = ([part[i] for part in wanted.values()] for i in (0, 1))
    if scores_or_ranks.dtype.kind == "f":
        dtype = scores_or_ranks.dtype
        scored = scored_lists(scores_or_ranks, relevance, groups, mask, gain)
        if worth_sorting(scored):
            values = values_of_scores(scored, kinds, cuts, gain, min_relevance, normalize_map, tie)
            return by_name(wanted, values, dtype)
        found = places_of_scores(scored, tie)
    else:
        _check_documents(scores_or_ranks, groups, mask)
        # what comes after all cuts need not be looked up
        deepest = max(cuts, default=0) if None not in cuts and R_PRECISION not in kinds else None
        dtype = np.dtype(np.float64)
        found = places_of_documents(scores_or_ranks, relevance, gain, deepest)
    values = values_of(found, kinds, cuts, gain, min_relevance, normalize_map)
    return by_name(wanted, values, dtype)


def by_name(wanted, values, dtype):
    """The columns of values (nq, m) as arrays of their own by the names of the metrics."""
    return dict(zip(wanted, values.T.astype(dtype, order="C"), strict=True))


@functools.lru_cache(64)
def parsed_metrics(metrics, cutoffs):
    """Kind and cut of each metric by its name; None for the whole list."""
    parsed = {}
    for name in metrics:
        match = METRIC.fullmatch(name)
        if not match or match[1] == "r_precision" and match[2]:
            raise ValueError(
                f"metrics must be {', '.join(KINDS)}, all but r_precision also with @k, k from 1 "
                f"to 999999999 (got {name!r:.80})"
            )
        kind = KINDS.index(match[1])
        if match[2] or cutoffs is None or kind == R_PRECISION:
            parsed[name] = kind, int(match[2]) if match[2] else None
        else:
            parsed.update({f"{name}@{cut}": (kind, cut) for cut in cutoffs})
    return parsed


def _check_documents(lists, groups, mask):
    if lists.dtype == np.uint64:
        raise TypeError("scores_or_ranks must have dtype int64 or floats (got uint64)")
    for name, value in (("groups", groups), ("mask", mask)):
        if value is not None:
            raise ValueError(f"{name} must be None for lists of documents (got an array)")


def worth_sorting(scored):
    """Whether lists are small, or dense in relevant candidates: one kernel that sorts each list is
    then quicker than arrays of the relevant ones."""
    few = len(scored.scores) <= SMALL
    return scored.dense is not None and (few or 4 * len(scored.entries) > len(scored.scores))


def values_of_scores(scored, kinds, cuts, gain, min_relevance, normalize_map, tie):
    """(nq, m) metrics of lists of scores with dense relevance."""
    scores, starts, xp = scored.scores, scored.starts, namespace_of(scored.scores)
    nq, lengths = len(starts) - 1, xp.diff(starts)
    longest = int(lengths.max()) if nq else 0
    values = xp.empty((nq, len(kinds)))
    places, ideal = xp.empty((2, len(scores)), np.int64)
    if values.size:
        metrics_of_scores(
            scores,
            scored.dense.astype(np.float64),
            starts,
            xp.asarray(1 / np.log2(np.arange(2.0, longest + 2))),
            xp.asarray(kinds, dtype=np.int64),
            xp.asarray([cut or 0 for cut in cuts], dtype=np.int64),
            min_relevance,
            int(tie == "trec"),
            int(gain == "exponential"),
            int(normalize_map == "cut"),
            values,
            places,
            ideal,
        )
    return values


def values_of(found, kinds, cuts, gain, min_relevance, normalize_map):
    """(nq, m) metrics from the places of relevant documents."""
    xp, places = namespace_of(found.places), found.places
    gains = xp.exp2(found.relevance) - 1 if gain == "exponential" else found.relevance
    ideal, discounts = gains, xp.ones(1)
    if NDCG in kinds or DCG in kinds:
        ideal = gains[order_by_query(xp, found.queries, -found.relevance)]
        judged = int(xp.diff(found.offsets).max()) if len(found.lengths) else 0
        discounts = xp.asarray(1 / np.log2(np.arange(2.0, max(found.longest, judged, 1) + 2)))
    counted = (found.relevance >= min_relevance).astype(np.uint8)
    if MAP in kinds:  # which goes along the list
        order = order_by_query(xp, found.queries, places)
        places, gains, counted = places[order], gains[order], counted[order]
    nq = len(found.offsets) - 1
    values = xp.empty((nq, len(kinds)))
    # documents that were not found have the place `longest`
    every = [min(cut or found.longest, found.longest) for cut in cuts]
    kinds, every, size = (
        xp.asarray(a, dtype=np.int64) for a in (kinds, every, [cut or 0 for cut in cuts])
    )
    if values.size:
        metrics_of_lists(
            places,
            counted,
            gains,
            ideal,
            found.offsets,
            found.lengths,
            discounts,
            kinds,
            every,
            size,
            values,
            int(normalize_map == "cut"),
        )
    return values
