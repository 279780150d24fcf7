"""Learning to rank: losses on lists of scores with their gradients, and the metrics by which
rankings are judged.

A list holds the candidates of one query. RankNet (C. Burges et al., "Learning to rank using
gradient descent", ICML 2005) and LambdaRank (C. Burges, "From RankNet to LambdaRank to LambdaMART:
an overview", MSR-TR-2010-82) compare pairs of candidates, ListNet (Z. Cao et al., "Learning to
rank: from pairwise approach to listwise approach", ICML 2007) the whole list. No pair is ever
stored.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import device_of, float_dtype, on_device, routine
from ..kernel import kernel
from ..special import exp, log1p

__all__ = ["ListMetrics", "RankingLoss", "list_metrics", "ranking_loss"]

LOSSES = ("pointwise", "hinge", "ranknet", "listnet", "lambdarank")
MOST_RELEVANT = 31  # gains are 2^relevance - 1
PAD = 16  # exponentials are made in pieces of so many, a multiple of every vector's length
LANES = 8  # sums that run side by side
HINGE, RANKNET, LAMBDARANK = 0, 1, 2
POINTWISE, LISTNET = 0, 1


class RankingLoss(NamedTuple):
    """A mean loss over queries; its gradient in the scores; second derivatives (diagonal) of
    "ranknet" and "lambdarank", else None."""

    loss: Any
    grad: Any
    hess: Any


class ListMetrics(NamedTuple):
    """One row for each query: ndcg, precision, hit of every cut-off k; reciprocal_rank,
    average_precision of the whole list."""

    ndcg: Any
    precision: Any
    hit: Any
    reciprocal_rank: Any
    average_precision: Any


class Lists(NamedTuple):
    """Lists one after the other: list q is ``scores[offsets[q]:offsets[q + 1]]``; `place` puts flat
    results where scores came from."""

    xp: Any
    scores: Any
    relevance: Any
    offsets: Any
    longest: int
    place: Any


# --- routines -------------------------------------------------------------------------------------


@routine
def ranking_loss(
    scores,
    relevance,
    groups=None,
    *,
    loss="listnet",
    sigma=1.0,
    margin=1.0,
    k=None,
    mask=None,
    return_grad=True,
):
    """Loss of scores against graded relevance, averaged over the queries that have a relevant
    candidate, and its gradient.

    Parameters
    ----------
    scores : (Q, D) array, float32 or float64; or (n,) array with `groups`
    relevance : array of the shape of `scores`, of its dtype or integers
        Integers may be a NumPy array beside scores on a GPU.
        At least 0, and at most 31 for "lambdarank", 1 for "pointwise".
    groups : (Q,) array of integers, optional
        Lengths of the lists that follow each other in `scores`; they sum to n.
    loss : {"pointwise", "hinge", "ranknet", "listnet", "lambdarank"}, optional
        With P the pairs i, j of a list with ``y_i > y_j``: the mean of ``log(1 + e^s) - y s``; the
        means over P of ``max(0, margin - (s_i - s_j))`` and of
        ``log(1 + exp(-sigma (s_i - s_j)))``; the cross entropy of softmax(s) with ``y / sum y``;
        the sum over P of RankNet's terms, each times the change of NDCG if i and j changed places.
    sigma, margin : float, optional
        Above 0.
    k : int, optional
        "lambdarank" counts ranks below k only; all by default.
    mask : (Q, D) array of bool, optional
        Which candidates there are; the others' gradient is 0.
    return_grad : bool, optional
        False gives None for the derivatives.

    Returns
    -------
    RankingLoss
        loss, a scalar; grad and hess of the shape and dtype of `scores`.

    Raises
    ------
    TypeError
        Arrays of other dtypes or devices, group sizes that are no integers, options of another
        type.
    ValueError
        Shapes that do not fit, scores or relevance that are not finite, relevance out of range,
        groups that hold 0 or do not sum to n, no query with a relevant candidate, an option out of
        range.

    Notes
    -----
    Ranks are those of the scores given, ties by position, and LambdaRank's weights count as
    constants. All is computed in float64 and rounded once: errors are about 1e-14 of the largest
    derivative, or half a unit in the last place of float32. Time is O(sum D²) for losses of pairs,
    memory O(n).

    References
    ----------
    C. Burges, "From RankNet to LambdaRank to LambdaMART: an overview", Microsoft Research
    MSR-TR-2010-82, 2010.

    Examples
    --------
    >>> result = ranking_loss(np.array([[2.0, 1.0, 0.0, 0.5]]), np.array([[0, 2, 1, 0]]))
    >>> result.loss.round(6), result.grad.round(4)
    (np.float64(1.87934), array([[ 0.5793, -0.4536, -0.2549,  0.1293]]))
    """
    checked_choice("loss", loss, LOSSES)
    sigma, margin = (
        checked_number("sigma", sigma, above=0),
        checked_number("margin", margin, above=0),
    )
    k = None if k is None else checked_count("k", k, least=1)
    return_grad = checked_bool("return_grad", return_grad)
    lists = checked_lists(
        scores,
        relevance,
        groups,
        mask,
        MOST_RELEVANT if loss == "lambdarank" else 1 if loss == "pointwise" else None,
    )
    if not bool(lists.xp.isfinite(lists.scores).all()):
        raise ValueError("scores must be finite (got inf)")
    counted = count_relevant(lists)
    if not counted:
        raise ValueError(
            f"relevance must be above 0 somewhere (got no relevant candidate in "
            f"{len(lists.offsets) - 1} queries)"
        )
    total, grad, hess = list_losses(lists, loss, 1 / counted, sigma=sigma, margin=margin, k=k)
    value = lists.scores.dtype.type(total / counted)
    if not return_grad:
        return RankingLoss(value, None, None)
    return RankingLoss(value, lists.place(grad), None if hess is None else lists.place(hess))


@routine
def list_metrics(scores, relevance, groups=None, *, k=(1, 3, 5), mask=None):
    """NDCG, precision and hits among the first k, reciprocal rank and average precision of every
    query.

    Parameters
    ----------
    scores : (Q, D) array, float32 or float64; or (n,) array with `groups`
        Higher is better; infinities are allowed. Ties keep the order of the candidates.
    relevance : array of the shape of `scores`, of its dtype or integers
        Integers may be a NumPy array beside scores on a GPU.
        From 0 to 31; above 0 is relevant.
    groups : (Q,) array of integers, optional
        Lengths of the lists that follow each other in `scores`; they sum to n.
    k : int or tuple of ints, optional
        Cut-offs, at least 1.
    mask : (Q, D) array of bool, optional
        Which candidates there are.

    Returns
    -------
    ListMetrics
        Arrays of the dtype of `scores`: ndcg, precision and hit of shape (Q, K) for K cut-offs,
        (Q,) if `k` is an int; reciprocal_rank and average_precision of shape (Q,). NaN for a query
        without a relevant candidate: ``np.nanmean`` skips it, as the losses do.

    Raises
    ------
    TypeError
        Arrays of other dtypes or devices, group sizes or cut-offs that are no integers.
    ValueError
        Shapes that do not fit, NaN in `scores`, relevance out of range, groups that hold 0 or do
        not sum to n, ``k < 1``.

    Notes
    -----
    For scores of a model with graded labels, as a dense matrix or as lists one after the other. The
    gain is ``2^y - 1``, the discount ``1 / log2(rank + 2)``; precision divides by k even where the
    list is shorter. Computed in float64; errors are about 1e-15 D for lists of D. Time is O(D log
    D) on the CPU, O(D²) on a GPU.

    References
    ----------
    K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20,
    2002.

    Examples
    --------
    >>> metrics = list_metrics(np.array([[2.0, 1.0, 0.0, 0.5]]), np.array([[0, 2, 1, 0]]), k=4)
    >>> metrics.ndcg.round(6), metrics.reciprocal_rank
    (array([0.639909]), array([0.5]))
    """
    several = isinstance(k, (tuple, list))
    if several and not k:
        raise ValueError("k must hold at least one cut-off (got none)")
    cuts = np.array(
        [min(checked_count("k", value, least=1), 2**62) for value in (k if several else (k,))],
        np.int64,
    )
    lists = checked_lists(scores, relevance, groups, mask, MOST_RELEVANT)
    xp, queries, dtype = lists.xp, len(lists.offsets) - 1, lists.scores.dtype
    ndcg, precision, hit = (xp.empty((queries, len(cuts)), dtype) for _ in range(3))
    reciprocal, average = (xp.empty(queries, dtype) for _ in range(2))
    list_metrics_of(
        lists.scores,
        lists.relevance,
        lists.offsets,
        xp.asarray(discounts(lists.longest)),
        xp.asarray(cuts),
        ndcg,
        precision,
        hit,
        reciprocal,
        average,
    )
    if not several:
        ndcg, precision, hit = ndcg[:, 0], precision[:, 0], hit[:, 0]
    return ListMetrics(ndcg, precision, hit, reciprocal, average)


# --- what they share ------------------------------------------------------------------------------


def checked_lists(scores, relevance, groups, mask, most):
    """The arguments as :class:`Lists`."""
    for name, array in (("scores", scores), ("relevance", relevance)):
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    xp, (scores,) = on_device(scores=scores)
    dtype = float_dtype(scores=scores)
    if isinstance(relevance, np.ndarray) and relevance.dtype.kind in "iub" and xp is not np:
        relevance = xp.asarray(relevance)
    _, (_, relevance) = on_device(scores=scores, relevance=relevance)
    if relevance.dtype.kind in "iub":
        relevance = relevance.astype(dtype)
    float_dtype(scores=scores, relevance=relevance)
    if relevance.shape != scores.shape:
        raise ValueError(
            f"relevance must have the shape of scores, {scores.shape} (got {relevance.shape})"
        )
    if scores.ndim != (2 if groups is None else 1):
        raise ValueError(f"scores must have shape (Q, D), or (n,) with groups (got {scores.shape})")
    if mask is not None:
        mask = _checked_mask(xp, mask, scores, groups)
    shape = scores.shape
    if mask is not None:
        scores, relevance = scores[mask], relevance[mask]
        lengths = mask.sum(1)
    elif groups is not None:
        lengths = _checked_groups(xp, groups, scores)
    else:
        lengths = xp.full(shape[0], shape[1], np.int64)
    scores, relevance = (xp.ascontiguousarray(a).reshape(-1) for a in (scores, relevance))
    if bool(xp.isnan(scores).any()):
        raise ValueError("scores must not be NaN (got one)")
    if not bool(xp.isfinite(relevance).all()) or bool((relevance < 0).any()):
        raise ValueError("relevance must be finite and >= 0 (got another value)")
    if most is not None and bool((relevance > most).any()):
        raise ValueError(
            f"relevance must satisfy relevance <= {most} (got {float(relevance.max())})"
        )
    offsets = xp.zeros(len(lengths) + 1, np.int64)
    offsets[1:] = xp.cumsum(lengths)

    def place(flat):
        if mask is None:
            return flat.reshape(shape)
        full = xp.zeros(shape, flat.dtype)
        full[mask] = flat
        return full

    return Lists(xp, scores, relevance, offsets, int(lengths.max()) if len(lengths) else 0, place)


def _checked_mask(xp, mask, scores, groups):
    if groups is not None:
        raise ValueError("mask must be None where groups are given (got both)")
    _, (mask, _) = on_device(mask=mask, scores=scores)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask must have dtype bool (got {mask.dtype})")
    if mask.shape != scores.shape:
        raise ValueError(f"mask must have the shape of scores, {scores.shape} (got {mask.shape})")
    return mask


def _checked_groups(xp, groups, scores):
    _, (groups,) = on_device(groups=groups)
    if groups.dtype.kind not in "iu":
        raise TypeError(f"groups must be integers (got dtype {groups.dtype})")
    if groups.ndim != 1:
        raise ValueError(f"groups must have shape (Q,) (got {groups.shape})")
    if device_of(groups) is not device_of(scores):
        if not isinstance(groups, np.ndarray):
            on_device(groups=groups, scores=scores)  # a TypeError
        groups = xp.asarray(groups)
    if bool((groups < 1).any()) or bool((groups > len(scores)).any()):
        raise ValueError(f"groups must satisfy 1 <= size <= n={len(scores)} (got sizes outside)")
    groups = groups.astype(np.int64)
    # sizes are at most n each: more than n of them cannot sum to n, and fewer cannot overflow
    if len(groups) > len(scores) or int(groups.sum()) != len(scores):
        raise ValueError(
            f"groups must sum to n={len(scores)}, the number of scores (got {len(groups)} sizes of "
            f"another sum)"
        )
    return groups


def count_relevant(lists):
    """How many lists have a relevant candidate."""
    kind = np.int32 if len(lists.relevance) < 2**31 else np.int64
    seen = lists.xp.zeros(len(lists.relevance) + 1, kind)
    seen[1:] = lists.xp.cumsum(lists.relevance > 0, dtype=kind)
    return int((seen[lists.offsets[1:]] > seen[lists.offsets[:-1]]).sum())


def discounts(longest, k=None):
    """1 / log2(rank + 2) in float64, 0 from rank k on; made by NumPy, so that all devices have the
    same."""
    discount = 1 / np.log2(np.arange(longest) + 2.0)
    if k is not None:
        discount[k:] = 0
    return discount


def list_losses(lists, loss, scale, *, sigma=1.0, margin=1.0, k=None):
    """The sum of the lists' losses; `scale` times their gradients and second derivatives, flat, the
    latter None where there are none."""
    xp, (n, queries) = lists.xp, (len(lists.scores), len(lists.offsets) - 1)
    losses, grad = xp.empty(queries, np.float64), xp.empty(n, lists.scores.dtype)
    table = xp.asarray(discounts(lists.longest, k))
    if loss in ("pointwise", "listnet"):
        item_losses(
            lists.scores,
            lists.relevance,
            lists.offsets,
            table,
            scale,
            LISTNET if loss == "listnet" else POINTWISE,
            losses,
            grad,
        )
        return float(losses.sum()), grad, None
    kind = {"hinge": HINGE, "ranknet": RANKNET, "lambdarank": LAMBDARANK}[loss]
    hess = xp.empty(n, lists.scores.dtype)
    pair_losses(
        lists.scores,
        lists.relevance,
        lists.offsets,
        table,
        margin if kind == HINGE else sigma,
        scale,
        kind,
        losses,
        grad,
        hess,
        xp.empty(n, np.int32),
    )
    return float(losses.sum()), grad, None if kind == HINGE else hess


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T scores[n]; in T relevance[n]; in int64 offsets[q+1]; in float64 discounts[d]; "
    "float64 scale; int64 kind; "
    "out float64 loss[q]; out T grad[n]; scratch float64 work[d+16]",
    constants=("POINTWISE", "LISTNET"),
    split="q",
    gpu="block",
    threads=128,
)
def item_losses(scores, relevance, offsets, discounts, scale, kind, loss, grad, work, start, stop):
    """POINTWISE or LISTNET."""
    for q in range(start, stop):
        s, y, g = (
            scores[offsets[q] : offsets[q + 1]],
            relevance[offsets[q] : offsets[q + 1]],
            grad[offsets[q] : offsets[q + 1]],
        )
        m, all_y, top = s.size, 0.0, -np.inf
        for i in range(m):
            all_y += y[i]
            top = max(top, float(s[i]))
        total = 0.0
        if all_y == 0:
            for i in range(m):
                g[i] = 0
        elif kind == LISTNET:
            for i in range(m):
                work[i] = float(s[i]) - top
            exp_in_place(work, m)
            mass = lane_sum(work[:m])
            for i in range(m):
                p, t = work[i] / mass, float(y[i]) / all_y
                total -= t * (float(s[i]) - top)
                g[i] = scale * (p - t)
            total += math.log(mass)
        else:
            for i in range(m):
                work[i] = -abs(float(s[i]))
            exp_in_place(work, m)
            for i in range(m):
                x, e = float(s[i]), work[i]
                total += max(x, 0.0) + math.log1p(e) - float(y[i]) * x
                g[i] = scale / m * ((1.0 if x > 0 else e) / (1 + e) - float(y[i]))
            total /= m
        loss[q] = total


@kernel(
    "in T scores[n]; in T relevance[n]; in int64 offsets[q+1]; in float64 discounts[d]; "
    "float64 width; float64 scale; int64 kind; "
    "out float64 loss[q]; out T grad[n]; out T hess[n]; out int32 ranks[n]; "
    "scratch int64 orders[2*d]; scratch float64 work[9*d+48]",
    constants=("HINGE", "RANKNET", "LAMBDARANK"),
    split="q",
    gpu="block",
    threads=128,
    grain="1",
)
def pair_losses(
    scores,
    relevance,
    offsets,
    discounts,
    width,
    scale,
    kind,
    loss,
    grad,
    hess,
    ranks,
    orders,
    work,
    start,
    stop,
):
    """HINGE with margin `width`, or RANKNET or LAMBDARANK with sigma `width`; candidates are worked
    on in the order of their relevance."""
    d = discounts.size
    order, spare = orders[:d], orders[d:]
    label, x, gain, at, g, h = (
        work[:d],
        work[d : 2 * d],
        work[2 * d : 3 * d],
        work[3 * d : 4 * d],
        work[4 * d : 5 * d],
        work[5 * d : 6 * d],
    )
    e, slopes, bends = work[6 * d : 7 * d + 16], work[7 * d + 16 : 8 * d + 32], work[8 * d + 32 :]
    for q in range(start, stop):
        first = offsets[q]
        s, y, rank = (
            scores[first : offsets[q + 1]],
            relevance[first : offsets[q + 1]],
            ranks[first : offsets[q + 1]],
        )
        m = s.size
        sort_descending(s, order, spare)
        for r in range(m):
            rank[order[r]] = r
        sort_descending(y, order, spare)
        ideal = 0.0
        for i in range(m):
            item = order[i]
            label[i], x[i], at[i], g[i], h[i] = y[item], s[item], discounts[rank[item]], 0, 0
            gain[i] = math.exp2(label[i]) if kind == LAMBDARANK else 0.0
            ideal += (gain[i] - 1) * discounts[i]
        total, below, pairs = 0.0, 0, 0
        for i in range(m):
            while below < m and label[below] >= label[i]:
                below += 1
            size = m - below
            pairs += size
            if size and kind == HINGE:
                total += hinge_pairs(width, x[i], x[below:m], i, g, g[below:m])
            elif size:
                total += logistic_pairs(
                    width,
                    1 / ideal if kind == LAMBDARANK else 0.0,
                    i,
                    x,
                    gain,
                    at,
                    g,
                    h,
                    below,
                    m,
                    e,
                    slopes,
                    bends,
                )
        share = 1.0 if kind == LAMBDARANK or not pairs else 1.0 / pairs
        loss[q] = share * total
        for i in range(m):
            grad[first + order[i]] = scale * share * g[i]
            hess[first + order[i]] = scale * share * h[i]


def hinge_pairs(margin, high, lows, i, g, g_lows):
    """The pairs of candidate i with all below it."""
    total, active = 0.0, 0
    for j in range(lows.size):
        gap = margin - (high - lows[j])
        if gap > 0:
            total += gap
            active += 1
            g_lows[j] += 1
    g[i] -= active
    return total


def logistic_pairs(sigma, per_ideal, i, x, gain, at, g, h, below, m, e, slopes, bends):
    """The pairs of candidate i with all below it; weights are 1 where `per_ideal` is 0. Each loop
    by itself is made of vectors."""
    size, high, gain_i, at_i = m - below, x[i], gain[i], at[i]
    x, gain, at, g_low, h_low = x[below:m], gain[below:m], at[below:m], g[below:m], h[below:m]
    for j in range(size):
        e[j] = -abs(sigma * (high - x[j]))
    exp_in_place(e, size)
    for j in range(size):
        bends[j] = e[j]
    log1p_in_place(bends, size)
    for j in range(size):
        z = sigma * (high - x[j])
        weight = abs(gain_i - gain[j]) * abs(at_i - at[j]) * per_ideal if per_ideal > 0 else 1.0
        rho = (e[j] if z > 0 else 1.0) / (1 + e[j])
        bends[j] = weight * (max(-z, 0.0) + bends[j])
        slopes[j] = weight * sigma * rho
        e[j] = slopes[j] * sigma * ((1.0 if z > 0 else e[j]) / (1 + e[j]))
    for j in range(size):
        g_low[j] += slopes[j]
        h_low[j] += e[j]
    g[i] -= lane_sum(slopes[:size])
    h[i] += lane_sum(e[:size])
    return lane_sum(bends[:size])


@kernel(
    "in T scores[n]; in T relevance[n]; in int64 offsets[q+1]; in float64 discounts[d]; "
    "in int64 cuts[c]; out T ndcg[q, c]; "
    "out T precision[q, c]; out T hit[q, c]; out T reciprocal[q]; out T average[q]; "
    "scratch int64 orders[3*d]",
    split="q",
    gpu="block",
    threads=128,
)
def list_metrics_of(
    scores,
    relevance,
    offsets,
    discounts,
    cuts,
    ndcg,
    precision,
    hit,
    reciprocal,
    average,
    orders,
    start,
    stop,
):
    d = discounts.size
    order, best, spare = orders[:d], orders[d : 2 * d], orders[2 * d :]
    for q in range(start, stop):
        s, y = scores[offsets[q] : offsets[q + 1]], relevance[offsets[q] : offsets[q + 1]]
        sort_descending(s, order, spare)
        sort_descending(y, best, spare)
        m = s.size
        if m == 0 or y[best[0]] <= 0:
            ndcg[q, :], precision[q, :], hit[q, :], reciprocal[q], average[q] = (
                np.nan,
                np.nan,
                np.nan,
                np.nan,
                np.nan,
            )
            continue
        found, first, precisions = 0, m, 0.0
        for r in range(m):
            if y[order[r]] > 0:
                found += 1
                first = min(first, r)
                precisions += found / (r + 1)
        reciprocal[q], average[q] = 1 / (first + 1), precisions / found
        for c in range(cuts.size):
            gained, ideal, inside = 0.0, 0.0, 0
            for r in range(min(m, cuts[c])):
                gained += (math.exp2(float(y[order[r]])) - 1) * discounts[r]
                ideal += (math.exp2(float(y[best[r]])) - 1) * discounts[r]
                inside += y[order[r]] > 0
            ndcg[q, c], precision[q, c], hit[q, c] = (
                gained / ideal,
                inside / cuts[c],
                1 if inside else 0,
            )


def sort_descending(key, order, spare):
    """The first entries of `order` become those of a stable descending order, by merging runs."""
    m, run = key.size, 1
    for i in range(m):
        order[i] = i
    source, target, swapped = order, spare, False
    while run < m:
        low = 0
        while low < m:
            middle, high = min(low + run, m), min(low + 2 * run, m)
            left, right = low, middle
            for k in range(low, high):
                if right >= high or left < middle and key[source[left]] >= key[source[right]]:
                    target[k] = source[left]
                    left += 1
                else:
                    target[k] = source[right]
                    right += 1
            low = high
        source, target, swapped, run = target, source, not swapped, 2 * run
    if swapped:
        for i in range(m):
            order[i] = spare[i]


def exp_in_place(row, size):
    """exp of the first entries; up to a whole vector of those behind them is overwritten."""
    whole = (size + PAD - 1) // PAD * PAD
    row[size:whole] = 0
    for j in range(0, whole, PAD):
        part = row[j : j + PAD]
        for lane in range(PAD):
            part[lane] = exp(part[lane])


def log1p_in_place(row, size):
    """log1p of the first entries; as `exp_in_place`."""
    whole = (size + PAD - 1) // PAD * PAD
    row[size:whole] = 0
    for j in range(0, whole, PAD):
        part = row[j : j + PAD]
        for lane in range(PAD):
            part[lane] = log1p(part[lane])


def lane_sum(row):
    """The sum of a row in LANES partial sums."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = row.size // LANES * LANES
    for j in range(0, whole, LANES):
        part = row[j : j + LANES]
        s0, s1, s2, s3 = s0 + part[0], s1 + part[1], s2 + part[2], s3 + part[3]
        s4, s5, s6, s7 = s4 + part[4], s5 + part[5], s6 + part[6], s7 + part[7]
    total = ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))
    for j in range(whole, row.size):
        total += row[j]
    return total
