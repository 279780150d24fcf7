"""Kernels of ranking losses: of single candidates, and of all pairs of a list."""

import math

import numpy as np

from ...kernel import kernel
from ...simd import PAD, map_in_place
from ...special import exp, log1p
from .._metrics.kernels import sort_descending

LANES = 8  # sums that run side by side
ARRAYS = 9  # of pair_losses, each as long as the longest list
HINGE, RANKNET, LAMBDARANK = 0, 1, 2
POINTWISE, LISTNET = 0, 1


@kernel(
    "in T scores[n]; in T relevance[n]; in int64 offsets[q+1]; in float64 discounts[d]; "
    "float64 scale; int64 kind; "
    "out float64 loss[q]; out T grad[n]; scratch float64 work[d+PAD]",
    constants=("PAD", "POINTWISE", "LISTNET"),
    split="q",
    gpu="block",
    threads=128,
)
def item_losses(scores, relevance, offsets, discounts, scale, kind, loss, grad, work, start, stop):
    """POINTWISE or LISTNET."""
    for q in range(start, stop):
        s, y = scores[offsets[q] : offsets[q + 1]], relevance[offsets[q] : offsets[q + 1]]
        g = grad[offsets[q] : offsets[q + 1]]
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
            map_in_place(exp, work, m)
            mass = lane_sum(work[:m])
            for i in range(m):
                p, t = work[i] / mass, float(y[i]) / all_y
                total -= t * (float(s[i]) - top)
                g[i] = scale * (p - t)
            total += math.log(mass)
        else:
            for i in range(m):
                work[i] = -abs(float(s[i]))
            map_in_place(exp, work, m)
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
    "scratch int64 orders[2*d]; scratch float64 work[ARRAYS*d+3*PAD]",
    constants=("ARRAYS", "PAD", "HINGE", "RANKNET", "LAMBDARANK"),
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
    label, x, gain = work[:d], work[d : 2 * d], work[2 * d : 3 * d]
    at, g, h = work[3 * d : 4 * d], work[4 * d : 5 * d], work[5 * d : 6 * d]
    e, slopes = work[6 * d : 7 * d + PAD], work[7 * d + PAD : 8 * d + 2 * PAD]
    bends = work[8 * d + 2 * PAD :]
    for q in range(start, stop):
        first = offsets[q]
        s, y = scores[first : offsets[q + 1]], relevance[first : offsets[q + 1]]
        rank = ranks[first : offsets[q + 1]]
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
    map_in_place(exp, e, size)
    for j in range(size):
        bends[j] = e[j]
    map_in_place(log1p, bends, size)
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
