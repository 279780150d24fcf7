"""The places of relevant documents in ranked lists, from which all metrics follow.

Where lists hold documents, the places are found by looking up the list's documents among the judged
ones; where scores are given, by counting the better scores, or by sorting them where many documents
are relevant.
"""

from typing import NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from ...linalg import CSR
from .judgments import sorted_judgments
from .kernels import places_by_counting, places_in_lists

LARGEST_EXPONENT = 31
# relevant documents per query up to which counting the better ones is quicker than sorting all
MAX_COUNTED = 256


class Places(NamedTuple):
    """The documents with relevance above 0, query by query.

    `offsets` (nq + 1) says which are a query's; `lengths` (nq) are those of the lists, `longest`
    the largest of them.
    """

    queries: Array
    places: Array
    relevance: Array
    offsets: Array
    lengths: Array
    longest: int


def places_of_documents(lists, relevance, gain, deepest):
    """Places in lists of documents (nq, k), up to the place `deepest`."""
    if lists.ndim != 2:
        raise ValueError(f"scores_or_ranks must have shape (nq, k) (got {lists.shape})")
    (nq, k), xp = lists.shape, namespace_of(lists)
    judged = sorted_judgments("relevance", _judged(xp, relevance))
    _check_queries(judged, nq)
    _check_gains(judged.relevance, gain)
    above = judged.relevance > 0
    queries, documents, value = (
        judged[:3] if bool(above.all()) else (part[above] for part in judged[:3])
    )
    value = value.astype(np.float64)
    offsets, places = _offsets(xp, queries, nq), xp.full(len(queries), k, np.int64)
    upper = xp.ascontiguousarray(lists[:, :deepest], dtype=np.int64)
    if upper.size and len(queries):
        places_in_lists(upper, offsets, documents, places)
    return Places(queries, places, value, offsets, xp.full(nq, k, np.int64), k)


def _judged(xp, relevance):
    """Judgments (r, 3) of integers, a bool matrix or a CSR."""
    if isinstance(relevance, CSR) or relevance.dtype == bool and relevance.ndim == 2:
        return relevance
    if relevance.dtype.kind not in "iu" and relevance.size:
        raise TypeError(
            f"relevance must have dtype integers or bool for lists of documents (got "
            f"{relevance.dtype})"
        )
    if not relevance.size and relevance.ndim == 1:
        return xp.zeros((0, 3), np.int64)
    if relevance.ndim != 2 or relevance.shape[1] != 3:
        raise ValueError(
            f"relevance must have shape (r, 3) for lists of documents (got {relevance.shape})"
        )
    return relevance


def _check_queries(judged, nq):
    if judged.n_queries not in (None, nq):
        raise ValueError(
            f"relevance must have a row for each of the {nq} lists (got {judged.n_queries})"
        )
    if len(judged.queries):
        low, high = int(judged.queries.min()), int(judged.queries.max())
        if not 0 <= low <= high < nq:
            raise ValueError(f"relevance must have queries in [0, {nq}) (got {low} … {high})")


class Scored(NamedTuple):
    """Scores of lists one after the other, what may be relevant among them, by place in `scores`,
    and where the lists begin; `dense` is the relevance of all of them, if it was given so."""

    scores: Array
    relevance: Array
    entries: Array
    starts: Array
    dense: Array | None


def scored_lists(scores, relevance, groups, mask, gain):
    """Scores (nq, k), or (n,) in lists of the lengths `groups`, and their relevance."""
    xp = namespace_of(scores)
    _check_shapes(scores, relevance, groups, mask)
    value, entries = _relevant_entries(xp, relevance)
    flat, starts = xp.ascontiguousarray(scores).reshape(-1), _starts(xp, scores, groups, mask)
    dense = None if isinstance(relevance, CSR) else relevance.reshape(-1)
    if mask is not None:
        there = mask.reshape(-1)
        flat, kept = flat[there], there[entries]
        value, entries = value[kept], (xp.cumsum(there) - 1)[entries[kept]]
        dense = None if dense is None else dense[there]
    if bool(xp.isnan(flat).any()):
        raise ValueError("scores_or_ranks must not be NaN (got nan)")
    if value.dtype.kind == "f" and not bool(xp.isfinite(value).all()):
        raise ValueError("relevance must be finite (got nan or inf)")
    _check_gains(value, gain)
    return Scored(flat, value, entries, starts, dense)


def places_of_scores(scored, tie):
    """The places of what is relevant among the scores of its list."""
    flat, value, entries, starts, _ = scored
    xp, above = namespace_of(flat), value > 0
    entries, value = xp.ascontiguousarray(entries[above]), value[above].astype(np.float64)
    queries = xp.searchsorted(starts[1:], entries, side="right").astype(np.int64)
    nq, lengths = len(starts) - 1, xp.diff(starts)
    offsets, places = _offsets(xp, queries, nq), xp.empty(len(entries), np.int64)
    if len(entries) <= MAX_COUNTED * nq:
        if len(entries):
            places_by_counting(
                flat, starts[:-1], starts[1:], offsets, entries, places, int(tie == "trec")
            )
    else:
        places = _places_by_sorting(xp, flat, starts, tie)[entries]
    return Places(queries, places, value, offsets, lengths, int(lengths.max()) if nq else 0)


def _check_shapes(scores, relevance, groups, mask):
    if scores.ndim != (2 if groups is None else 1):
        raise ValueError(
            f"scores_or_ranks must have shape (nq, k), or (n,) with groups (got {scores.shape})"
        )
    for name, array in (("relevance", relevance), ("mask", mask)):
        if array is not None and array.shape != scores.shape:
            raise ValueError(
                f"{name} must have the shape of the scores, {scores.shape} (got {array.shape})"
            )
    if mask is not None and groups is not None:
        raise ValueError(f"mask must be None with groups (got shape {mask.shape})")


def _relevant_entries(xp, relevance):
    """Relevance and the places in scores.ravel() of what may be relevant, ascending."""
    if isinstance(relevance, CSR):
        entries = relevance.rows.astype(np.int64) * relevance.shape[1] + relevance.indices
        return relevance.data, entries
    value = relevance.reshape(-1)
    entries = xp.flatnonzero(value).astype(np.int64)
    return value[entries], entries


def _starts(xp, scores, groups, mask):
    """(nq + 1,) where the lists begin among all scores that count."""
    if mask is not None:
        lengths = mask.sum(axis=1)
    elif groups is not None:
        lengths = checked_groups(groups, len(scores))
    else:
        return xp.arange(len(scores) + 1, dtype=np.int64) * scores.shape[1]
    starts = xp.zeros(len(lengths) + 1, np.int64)
    starts[1:] = xp.cumsum(lengths)
    return starts


def checked_groups(groups, n):
    """Lengths of lists, which must be at least 1 and sum to n."""
    low, high = (int(groups.min()), int(groups.max())) if groups.size else (1, 1)
    total = float(groups.astype(np.float64).sum())
    if not 1 <= low <= high <= max(n, 1) or total != n:
        got = f"got sizes {low} … {high} with the sum {total:.0f}"
        raise ValueError(f"groups must be >= 1 and sum to the number of scores, {n} ({got})")
    return groups.astype(np.int64)


def _places_by_sorting(xp, flat, starts, tie):
    at = xp.arange(len(flat), dtype=np.int64)
    query = xp.searchsorted(starts[1:], at, side="right")
    first = xp.lexsort(
        xp.stack(
            [
                (-at if tie == "trec" else at).astype(np.float64),
                -flat.astype(np.float64),
                query.astype(np.float64),
            ]
        )
    )
    places = xp.empty(len(flat), np.int64)
    # as lists follow each other in the order as they do in the scores
    places[first] = at - starts[query]
    return places


def _check_gains(relevance, gain):
    if gain != "exponential" or not relevance.size:
        return
    if not (0 <= float(relevance.min()) and float(relevance.max()) <= LARGEST_EXPONENT):
        raise ValueError(
            f"relevance must be in [0, {LARGEST_EXPONENT}] with exponential gain "
            f"(got {float(relevance.min())} … {float(relevance.max())})"
        )


def _offsets(xp, queries, nq):
    offsets = xp.zeros(nq + 1, np.int64)
    if len(queries):
        offsets[1:] = xp.cumsum(xp.bincount(queries, minlength=nq))
    return offsets
