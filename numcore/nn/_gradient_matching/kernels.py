"""Kernels of gradient matching: sums over pairs of gradients, all groupings in two, and the
smallest cut of a graph."""

import math

import numpy as np

from ...kernel import kernel
from ...simd import dots_2_by_4, squares_2_by_4

PIECE = 1024  # elements that are summed in the gradients' own type
PER_FILTER, COSINE, SQUARES = range(3)  # as in METRICS


@kernel(
    "in uint64 at[t, k]; in int64 items[b, 4]; in T like[one]; float64 eps; int64 metric; "
    "out float64 parts[b, k, k]; "
    "scratch T sums[2*4]; scratch float64 gram[k, k]",
    constants=("PER_FILTER", "COSINE", "SQUARES"),
    split="b",
    gpu="warp",
    threads=128,
    grain="1",
    twin_tolerance={"float64": 1e-6},
)  # parts are float64, but sums of what may be float32
def gradient_pairs(at, items, like, eps, metric, parts, sums, gram, start, stop):
    """What each item's rows add to the distances (or scalar products, or squared differences) of k
    gradients of type T.

    at[t] are the addresses of tensor t of all gradients; an item is (tensor, first element, rows,
    elements of a row).
    """
    k = at.shape[1]
    for b in range(start, stop):
        tensor, first, rows, length = items[b]
        for i in range(k):
            for j in range(k):
                parts[b, i, j] = 0
        for r in range(rows):
            for i in range(k):
                for j in range(k):
                    gram[i, j] = 0
            for e in range(0, length, PIECE):
                add_piece(
                    at[tensor],
                    (first + r * length + e) * like.itemsize,
                    min(PIECE, length - e),
                    metric == SQUARES,
                    sums,
                    gram,
                )
            for i in range(k):
                for j in range(i, k):
                    value = gram[i, j]
                    if metric == PER_FILTER:
                        below = math.sqrt(gram[i, i]) * math.sqrt(gram[j, j]) + eps
                        value = 1.0 if below == 0 else 1.0 - value / below
                        if value < 0:  # rounding
                            value = 0.0
                    parts[b, i, j] += value
        for i in range(k):
            for j in range(i):
                parts[b, i, j] = parts[b, j, i]


def add_piece(at, offset, size, squares, sums, gram):
    """Add the sums over a piece of a row to the upper triangle of gram, two rows with four at once;
    a missing row is another one again."""
    k = at.size
    shift = np.uint64(offset)
    for i in range(0, k, 2):
        for j in range(i // 4 * 4, k, 4):
            a0, a1 = at[i] + shift, at[min(i + 1, k - 1)] + shift
            b0, b1 = at[j] + shift, at[min(j + 1, k - 1)] + shift
            b2, b3 = at[min(j + 2, k - 1)] + shift, at[min(j + 3, k - 1)] + shift
            if squares:
                squares_2_by_4(a0, a1, b0, b1, b2, b3, size, sums)
            else:
                dots_2_by_4(a0, a1, b0, b1, b2, b3, size, sums)
            for s in range(2 * 4):
                if i + s // 4 < k and j + s % 4 < k:
                    gram[i + s // 4, j + s % 4] += sums[s]


# groupings that are walked through by one change each; every segment starts afresh, so that no
# error builds up
SEGMENT = 256


@kernel(
    "in float64 d[e, k, k]; in uint8 allowed[k+1]; out float64 within[b]; out int64 code[b]",
    constants=("SEGMENT",),
    split="b",
    grain="16",
)
def all_bisections(d, allowed, within, code, start, stop):
    """The least sum of distances within two groups, and its grouping, in each segment of the Gray
    code of all groupings.

    Bit i of a code is the group of operation i; the last one's is 0. allowed[s] tells whether group
    1 may have s operations.
    """
    k = d.shape[1]
    codes = 1 << (k - 1)
    segments = (codes + SEGMENT - 1) // SEGMENT
    for b in range(start, stop):
        edge, first = b // segments, b % segments * SEGMENT
        gray = first ^ (first >> 1)
        total, size = 0.0, 0
        for i in range(k):
            size += gray >> i & 1
            for j in range(i):
                if (gray >> i & 1) == (gray >> j & 1):
                    total += d[edge, i, j]
        within[b], code[b] = math.inf, -1
        for step in range(first, min(first + SEGMENT, codes)):
            if step > first:
                moved = 0
                while not step >> moved & 1:
                    moved += 1
                gray ^= 1 << moved
                size += 2 * (gray >> moved & 1) - 1
                for j in range(k):
                    if j != moved:
                        total += (
                            d[edge, moved, j]
                            if (gray >> moved & 1) == (gray >> j & 1)
                            else -d[edge, moved, j]
                        )
            if allowed[size] and total < within[b]:
                within[b], code[b] = total, gray


FREE, ADDED, MERGED = 0, 1, 2


@kernel(
    "inout float64 w[g, k, k]; out float64 tied[g, k]; out uint8 state[g, k]; "
    "out int64 merged_into[g, k]; out float64 cut[g]; "
    "out uint8 side[g, k]",
    constants=("FREE", "ADDED", "MERGED"),
    split="g",
    gpu="block",
    threads=128,
)
def smallest_cut(w, tied, state, merged_into, cut, side, start, stop):
    """Stoer and Wagner: add the vertex most tied to those added, again and again; the last one's
    ties are a cut; merge the last two."""
    k = w.shape[1]
    for g in range(start, stop):
        cut[g] = math.inf
        for v in range(k):
            state[g, v], merged_into[g, v], side[g, v], tied[g, v] = FREE, v, 0, 0
        for left in range(k, 1, -1):
            before, last = 0, 0
            for v in range(k):
                if state[g, v] != MERGED:
                    state[g, v], tied[g, v] = FREE, 0
            for _ in range(left):
                before, most = last, -1.0
                for v in range(k):
                    if state[g, v] == FREE and tied[g, v] > most:
                        last, most = v, tied[g, v]
                state[g, last] = ADDED
                for v in range(k):
                    tied[g, v] += w[g, last, v] if v != last else 0.0
            if tied[g, last] < cut[g]:
                cut[g] = tied[g, last]
                for v in range(k):
                    side[g, v] = merged_into[g, v] == last
            state[g, last] = MERGED
            for v in range(k):
                if merged_into[g, v] == last:
                    merged_into[g, v] = before
                w[g, before, v] += w[g, last, v]
                w[g, v, before] = w[g, before, v]
            w[g, before, before] = 0
