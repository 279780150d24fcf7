"""How good ranked lists are: reciprocal rank, recall, precision, average precision and discounted
gains of many queries at once.

All metrics follow from the places that a query's relevant documents have in its list. Where lists
hold documents, the places are found by looking up the list's documents among the judged ones; where
scores are given, by counting the better scores, or by sorting them where many documents are
relevant. K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS,
2002.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_choice, checked_number
from ..dispatch import device_of, float_dtype, on_device, routine
from ..kernel import kernel
from ..linalg import as_csr

KINDS = ("mrr", "recall", "precision", "hit", "map", "dcg", "ndcg")
MRR, RECALL, PRECISION, HIT, MAP, DCG, NDCG = range(len(KINDS))
METRIC = re.compile(rf"({'|'.join(KINDS)})(?:@([1-9]\d{{0,8}}))?")
LARGEST_EXPONENT = 31
# relevant documents per query up to which counting the better ones is quicker than sorting all
COUNTED_MOST = 256


@routine
def ranking_metrics(
    scores_or_ranks,
    relevance,
    groups=None,
    *,
    metrics=("mrr@10", "ndcg@10", "recall@100"),
    gain="linear",
    min_relevance=1,
    normalize_map="relevant",
    tie="stable",
    mask=None,
):
    """Metrics of ranked lists, one number for each query and metric.

    Parameters
    ----------
    scores_or_ranks : (nq, k) array
        Integers: the documents of each query's list, best first; negative ones fill up short lists,
        and of a repeated document the first place counts. float32 or float64: scores of k
        documents, the highest first. Scores of lists of different lengths are one (n,) array with
        `groups`.
    relevance : array of the shape of the scores, (r, 3) array of int, CSR, or sparse matrix of SciPy or CuPy
        Higher is better. For documents: judgements (query, document, relevance), the query being a
        row of the lists, or a matrix of relevance. For scores: bool, integers or floats beside
        them, or a matrix of relevance.
    groups : (nq,) array of int, optional
        The lengths of lists, at least 1, which follow each other in `scores_or_ranks` and
        `relevance` of shape (n,).
    metrics : sequence of str
        "mrr", "recall", "precision", "hit", "map", "dcg" or "ndcg", with "@k" behind it for the
        first k places, else for all.
    gain : {"linear", "exponential"}
        Relevance itself, negative ones being 0, or 2^relevance - 1, for relevance from 0 to 31.
    min_relevance : float
        From where a document is relevant, above 0; gains take all above 0.
    normalize_map : {"relevant", "cut"}
        Average precision divides by the number R of relevant documents, or by min(R, k).
    tie : {"stable", "trec"}
        Documents of equal scores come in their order, or in the reverse order, as trec_eval has it.
    mask : (nq, k) array of bool, optional
        Where scores count.

    Returns
    -------
    dict of str to (nq,) array
        By the names in `metrics`; of the dtype of scores, else float64. NaN for queries without
        relevant documents, and for "dcg" and "ndcg" without gains: take means by ``nanmean``.

    Raises
    ------
    ValueError
        An unknown metric, shapes that do not fit, scores or relevance that are not finite (where
        the mask has them), a document judged twice, a judged query without a list, relevance below
        0 or above 31 with exponential gain.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    With places j = 1, 2, …: mrr is 1 / j of the first relevant document; map sums the precisions at
    the places of relevant ones; dcg = Σ gain_j / log2(1 + j), ndcg divides it by the dcg of all
    judged documents in their best order. Sums in float64. For nq lists of k documents: nq k steps
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
    """  # noqa: E501
    kinds, cuts = _parsed(metrics)
    checked_choice("gain", gain, ("linear", "exponential"))
    checked_choice("normalize_map", normalize_map, ("relevant", "cut"))
    checked_choice("tie", tie, ("stable", "trec"))
    min_relevance = checked_number("min_relevance", min_relevance, above=0)
    _, (lists,) = on_device(scores_or_ranks=scores_or_ranks)
    if lists is None or lists.dtype.kind not in "iuf" or lists.dtype == np.uint64:
        raise TypeError(
            f"scores_or_ranks must hold int64 documents, or float32 or float64 scores (got "
            f"{getattr(lists, 'dtype', None)})"
        )
    if lists.dtype.kind == "f":
        dtype = float_dtype(scores_or_ranks=lists)
        found = _of_scores(lists, relevance, groups, mask, tie, gain)
    else:
        for name, value in (("groups", groups), ("mask", mask)):
            if value is not None:
                raise ValueError(
                    f"{name} must be None for lists of documents (got {type(value).__name__})"
                )
        deepest = (
            max(cuts, default=0) if None not in cuts else None
        )  # what stands below all cuts need not be looked up
        dtype, found = np.dtype(np.float64), _of_documents(lists, relevance, gain, deepest)
    xp, (places,) = on_device(places=found.places)
    gains = xp.exp2(found.relevance) - 1 if gain == "exponential" else found.relevance
    ideal = (
        gains[_order(xp, found.queries, -found.relevance)]
        if NDCG in kinds or DCG in kinds
        else gains
    )
    counted = (found.relevance >= min_relevance).astype(np.uint8)
    if MAP in kinds:  # which goes along the list
        order = _order(xp, found.queries, places)
        places, gains, counted = places[order], gains[order], counted[order]
    nq, longest = (
        len(found.offsets) - 1,
        max(found.longest, int(xp.diff(found.offsets).max()) if len(found.offsets) > 1 else 0, 1),
    )
    values = xp.empty((nq, len(kinds)))
    if nq and kinds:
        discounts = xp.asarray(1 / np.log2(np.arange(2.0, longest + 2)))
        every = [
            min(cut or found.longest, found.longest) for cut in cuts
        ]  # documents that were not found stand at the place `longest`
        size = xp.asarray([cut or 0 for cut in cuts], dtype=np.int64)
        metrics_of_lists(
            places,
            counted,
            gains,
            ideal,
            found.offsets,
            found.lengths,
            discounts,
            xp.asarray(kinds, dtype=np.int64),
            xp.asarray(every, dtype=np.int64),
            size,
            values,
            int(normalize_map == "cut"),
        )
    return {name: values[:, i].astype(dtype) for i, name in enumerate(metrics)}


def _parsed(metrics):
    if not isinstance(metrics, (tuple, list)) or not all(isinstance(name, str) for name in metrics):
        raise TypeError(f"metrics must be a sequence of str (got {metrics!r:.80})")
    parsed = []
    for name in metrics:
        match = METRIC.fullmatch(name)
        if not match:
            raise ValueError(
                f"metrics must be {', '.join(KINDS)}, with @k behind it or not, k from 1 to "
                f"999999999 (got {name!r:.80})"
            )
        parsed.append((KINDS.index(match[1]), int(match[2]) if match[2] else None))
    return [kind for kind, _ in parsed], [cut for _, cut in parsed]


# --- places of the relevant documents -------------------------------------------------------------


class Places(NamedTuple):
    """What metrics are computed from: the documents with relevance above 0, query by query.

    `offsets` (nq + 1) says which are a query's; `lengths` (nq) are those of the lists, `longest`
    the largest of them.
    """

    queries: Any
    places: Any
    relevance: Any
    offsets: Any
    lengths: Any
    longest: int


def _of_documents(lists, relevance, gain, deepest):
    if lists.ndim != 2:
        raise ValueError(f"scores_or_ranks must have shape (nq, k) (got {lists.shape})")
    xp, judged = judgements("relevance", relevance)
    on_device(scores_or_ranks=lists, relevance=judged.relevance)
    nq, k = lists.shape
    if judged.count not in (None, nq):
        raise ValueError(
            f"relevance must have a row for each of the {nq} lists (got {judged.count})"
        )
    if len(judged.queries) and not (
        0 <= int(judged.queries.min()) and int(judged.queries.max()) < nq
    ):
        raise ValueError(
            f"relevance must have queries in [0, {nq}) (got {int(judged.queries.min())} … "
            f"{int(judged.queries.max())})"
        )
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


def _of_scores(scores, relevance, groups, mask, tie, gain):
    shape = scores.shape
    if scores.ndim != (2 if groups is None else 1):
        raise ValueError(
            f"scores_or_ranks must have shape (nq, k), or (n,) with groups (got {shape})"
        )
    xp, relevance, entries = _relevant_entries(scores, relevance, groups, mask)
    starts = _starts(xp, scores, groups)
    if mask is None:
        if not bool(xp.isfinite(scores).all()):
            raise ValueError("scores_or_ranks must be finite (got nan or inf)")
        lengths = xp.diff(starts)
    else:
        xp, (scores, mask) = on_device(scores_or_ranks=scores, mask=mask)
        if mask.dtype != bool or mask.shape != shape or groups is not None:
            raise ValueError(
                f"mask must be a bool array of shape {shape}, without groups (got {mask.dtype} of "
                f"shape {mask.shape})"
            )
        if not bool(xp.isfinite(scores[mask]).all()):
            raise ValueError("scores_or_ranks must be finite where mask is True (got nan or inf)")
        lengths = mask.sum(axis=1).astype(np.int64)
        scores = xp.where(mask, scores, scores.dtype.type(-np.inf))
        kept = mask.reshape(-1)[entries]
        relevance, entries = relevance[kept], entries[kept]
    _check_gains(relevance, gain)
    above = relevance > 0
    entries, value = xp.ascontiguousarray(entries[above]), relevance[above].astype(np.float64)
    queries = xp.searchsorted(starts[1:], entries, side="right").astype(np.int64)
    nq = len(starts) - 1
    offsets, places = _offsets(xp, queries, nq), xp.empty(len(entries), np.int64)
    flat = xp.ascontiguousarray(scores).reshape(-1)
    if len(entries) <= COUNTED_MOST * nq:
        if len(entries):
            places_by_counting(
                flat, starts[:-1], starts[1:], offsets, entries, places, int(tie == "trec")
            )
    else:
        places = _places_by_sorting(xp, flat, starts, tie)[entries]
    return Places(queries, places, value, offsets, lengths, int(lengths.max()) if nq else 0)


def _relevant_entries(scores, relevance, groups, mask):
    """Relevance and the places in scores.ravel() of what may be relevant, ascending."""
    if (
        device_of(relevance) is None
        and not isinstance(relevance, (list, tuple))
        and hasattr(relevance, "indptr")
    ):
        if groups is not None:
            raise ValueError(
                "relevance must have the shape of the scores with groups (got a matrix)"
            )
        a = as_csr(relevance, "relevance")
        xp, _ = on_device(scores_or_ranks=scores, relevance=a.data)
        if a.shape != scores.shape:
            raise ValueError(
                f"relevance must have the shape of the scores, {scores.shape} (got {a.shape})"
            )
        value, entries = a.data, a.rows.astype(np.int64) * scores.shape[1] + a.indices
    else:
        xp, (scores, relevance, _) = on_device(
            scores_or_ranks=scores, relevance=relevance, mask=mask
        )
        if relevance is None or relevance.dtype.kind not in "biuf" or relevance.dtype == np.float16:
            raise TypeError(
                f"relevance must hold bool, integers, float32 or float64 (got "
                f"{getattr(relevance, 'dtype', None)})"
            )
        if relevance.shape != scores.shape:
            raise ValueError(
                f"relevance must have the shape of the scores, {scores.shape} (got "
                f"{relevance.shape})"
            )
        value, entries = relevance.reshape(-1), None
    if value.dtype.kind == "f" and not bool(xp.isfinite(value).all()):
        raise ValueError("relevance must be finite (got nan or inf)")
    if entries is None:
        entries = xp.flatnonzero(value).astype(np.int64)
        value = value[entries]
    return xp, value, entries


def _starts(xp, scores, groups):
    if groups is None:
        return xp.arange(len(scores) + 1, dtype=np.int64) * scores.shape[1]
    _, (groups, _) = on_device(groups=groups, scores_or_ranks=scores)
    if groups.ndim != 1 or groups.dtype.kind not in "iu":
        raise TypeError(
            f"groups must be a (nq,) array of integers (got {groups.dtype} of shape {groups.shape})"
        )
    n = len(scores)
    if (
        groups.size
        and not (1 <= int(groups.min()) and int(groups.max()) <= n)
        or int(groups.astype(np.float64).sum()) != n
    ):
        raise ValueError(f"groups must be at least 1 and sum to the number of scores, {n}")
    starts = xp.zeros(len(groups) + 1, np.int64)
    starts[1:] = xp.cumsum(groups)
    return starts


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
    places[first] = (
        at - starts[query]
    )  # as lists follow each other in the order as they do in the scores
    return places


def _check_gains(relevance, gain):
    if gain != "exponential" or not relevance.size:
        return
    if not (0 <= float(relevance.min()) and float(relevance.max()) <= LARGEST_EXPONENT):
        raise ValueError(
            f"relevance must satisfy 0 <= relevance <= {LARGEST_EXPONENT} with exponential gain "
            f"(got {float(relevance.min())} … {float(relevance.max())})"
        )


def _order(xp, queries, values):
    """The order by query, then value: where both fit into one integer, by that, as it is far
    quicker."""
    whole = values if values.dtype.kind == "i" else values.astype(np.int64)
    if len(whole) and (whole is values or bool((whole == values).all())):
        low, first = int(whole.min()), int(queries.min())
        span = int(whole.max()) - low + 1
        keys, bits = (int(queries.max()) - first + 1) * span, len(whole).bit_length()
        if keys < 1 << (
            63 - bits
        ):  # and the place besides: sorting numbers is quicker than sorting places
            both = queries - first
            both *= span << bits
            both += (whole - low) << bits
            both += xp.arange(len(whole), dtype=np.int64)
            both.sort()
            both &= (1 << bits) - 1
            return both
        if keys < 2**63:
            return xp.argsort((queries - first) * span + (whole - low))
    return xp.lexsort(xp.stack([values, queries.astype(values.dtype)]))


def _offsets(xp, queries, nq):
    offsets = xp.zeros(nq + 1, np.int64)
    if len(queries):
        offsets[1:] = xp.cumsum(xp.bincount(queries, minlength=nq))
    return offsets


class Judgements(NamedTuple):
    """Sorted by query, then document; `count` is the number of queries of a matrix."""

    queries: Any
    documents: Any
    relevance: Any
    count: Any


def judgements(name, qrels):
    """The array namespace, and the judgements of an (r, 3) array or a sparse matrix."""
    if device_of(qrels) is None and not isinstance(qrels, (list, tuple)):
        a = as_csr(qrels, name)
        xp, _ = on_device(**{name: a.data})
        if not bool(xp.isfinite(a.data).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
        return xp, Judgements(
            a.rows.astype(np.int64),
            a.indices.astype(np.int64),
            a.data.astype(np.float64),
            a.shape[0],
        )
    xp, (qrels,) = on_device(**{name: qrels})
    if qrels.dtype.kind not in "iu" and qrels.size:
        raise TypeError(f"{name} must hold integers (got dtype {qrels.dtype})")
    if qrels.ndim != 2 or qrels.shape[1] != 3:
        if qrels.size or qrels.ndim != 1:
            raise ValueError(f"{name} must have shape (r, 3) (got {qrels.shape})")
        qrels = qrels.reshape(0, 3)
    if qrels.dtype == np.uint64 and qrels.size and int(qrels.max()) >= 2**63:
        raise ValueError(f"{name} must be below 2**63 (got {int(qrels.max())})")
    queries, documents, relevance = (
        xp.ascontiguousarray(qrels[:, c], dtype=np.int64) for c in range(3)
    )
    after = (queries[1:] > queries[:-1]) | (
        (queries[1:] == queries[:-1]) & (documents[1:] > documents[:-1])
    )
    if not bool(after.all()):
        order = _order(xp, queries, documents)
        queries, documents, relevance = queries[order], documents[order], relevance[order]
        twice = (queries[1:] == queries[:-1]) & (documents[1:] == documents[:-1])
        if bool(twice.any()):
            i = int(twice.argmax())
            raise ValueError(
                f"{name} must judge a document once for a query (got query {int(queries[i])}, "
                f"document "
                f"{int(documents[i])} twice)"
            )
    return xp, Judgements(queries, documents, relevance, None)


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in int64 lists[q, k]; in int64 offsets[q+1]; in int64 documents[z]; inout int64 places[z]; "
    "scratch uint64 seen[64]",
    split="q",
    gpu="warp",
)
def places_in_lists(lists, offsets, documents, places, seen, start, stop):
    """Where each query's documents, ascending, stand in its list; k stays elsewhere. A table of
    4096 bits turns away most of the others."""
    one = np.uint64(1)
    for q in range(start, stop):
        first, last = np.uintp(offsets[q]), np.uintp(offsets[q + 1])
        if first == last:
            continue
        for w in range(64):
            seen[w] = 0
        for e in range(first, last):
            h = hashed(documents[e])
            seen[h >> np.uint64(6)] |= one << (h & np.uint64(63))
        row = lists[q]
        for j in range(row.size):
            document = row[j]
            h = hashed(document)
            if seen[h >> np.uint64(6)] >> (h & np.uint64(63)) & one:
                low, high = first, last
                while low < high:
                    middle = (low + high) // np.uintp(2)
                    if documents[middle] < document:
                        low = middle + np.uintp(1)
                    else:
                        high = middle
                if low < last and documents[low] == document and places[low] > j and document >= 0:
                    places[low] = j


def hashed(document):
    """12 bits."""
    return np.uint64(document) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(52)


@kernel(
    "in T scores[n]; in int64 begins[q]; in int64 ends[q]; in int64 offsets[q+1]; "
    "in int64 entries[z]; out int64 places[z]; "
    "int64 later_first",
    split="q",
    gpu="warp",
)
def places_by_counting(scores, begins, ends, offsets, entries, places, later_first, start, stop):
    """How many scores of its query come before each entry: the higher ones, and the equal ones on
    one side of it."""
    for q in range(start, stop):
        for e in range(np.uintp(offsets[q]), np.uintp(offsets[q + 1])):
            score, count = scores[np.uintp(entries[e])], 0
            before, after = scores[begins[q] : entries[e]], scores[entries[e] + 1 : ends[q]]
            if later_first:
                before, after = after, before
            for x in before:
                count += x >= score
            for x in after:
                count += x > score
            places[e] = count


@kernel(
    "in int64 places[z]; in uint8 relevant[z]; in float64 gains[z]; in float64 ideal[z]; "
    "in int64 offsets[q+1]; in int64 lengths[q]; "
    "in float64 discounts[c]; in int64 kinds[m]; in int64 cuts[m]; in int64 size[m]; "
    "out float64 values[q, m]; int64 by_cut",
    split="q",
    gpu="thread",
    threads=64,
)
def metrics_of_lists(
    places,
    relevant,
    gains,
    ideal,
    offsets,
    lengths,
    discounts,
    kinds,
    cuts,
    size,
    values,
    by_cut,
    start,
    stop,
):
    """`cuts` are at most the longest list, for places; `size` are those asked for, by which
    precision divides, 0 for all of a list."""
    for q in range(start, stop):
        first, last = np.uintp(offsets[q]), np.uintp(offsets[q + 1])
        total = 0
        for e in range(first, last):
            total += np.int64(relevant[e])
        for i in range(kinds.size):
            kind, cut, best, hits = kinds[i], cuts[i], lengths[q], 0
            precisions, gained, most = 0.0, 0.0, 0.0
            for e in range(first, last):
                inside = places[e] < cut
                if inside and relevant[e]:
                    hits += 1
                    best = min(best, places[e])
                    precisions += hits / (places[e] + 1)
                if inside and kind >= DCG:
                    gained += gains[e] * discounts[np.uintp(places[e])]
                if kind >= DCG and np.int64(e - first) < cut_of(size[i], discounts.size):
                    most += ideal[e] * discounts[e - first]
            asked = size[i] if size[i] else lengths[q]
            if kind >= DCG:
                value = np.nan if most == 0 else gained if kind == DCG else gained / most
            elif total == 0:
                value = np.nan
            elif kind == MRR:
                value = 1.0 / (best + 1) if hits else 0.0
            elif kind == RECALL:
                value = hits / total
            elif kind == PRECISION:
                value = hits / max(asked, 1)
            elif kind == HIT:
                value = 1.0 if hits else 0.0
            else:
                value = precisions / max(min(total, asked) if by_cut else total, 1)
            values[q, i] = value


def cut_of(size, most):
    """The cut for the ideal list, which may be longer than the ranked one."""
    return min(size, most) if size else most
