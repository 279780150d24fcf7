"""Kernels of the explanations: coalitions as bits, the points that they stand for, and sums over their rows.

Bit j of row i of `removed`, in word j // 64, says that sample i has feature j removed, that is set to the baseline. With J = `samples`
samples to each row of x, sample i belongs to row i // J of x.
"""

import math

import numpy as np

from ..intrinsics import popcount
from ..kernel import kernel
from ..random import philox4x32
from ..special import cos, log, sin

ONE, WORD = np.uint64(1), 64
FIVE, SIX, TO_53, TWO_26 = np.uint32(5), np.uint32(6), 2.0**-53, 2.0**26
FEW_BITS = 2.0**-24  # a fraction that is known no finer than this gets new random bits


def uniform53(high, low):
    return ((high >> FIVE) * TWO_26 + (low >> SIX)) * TO_53


@kernel("in int64 size[k]; in float64 low[k]; in float64 width[k]; out uint64 removed[m, w]; int64 features; int64 first; "
        "uint32 k0; uint32 k1", split="m")
def draw_coalitions(size, low, width, removed, features, first, k0, k1, start, stop):
    """removed[i] = the subset of size[i % k] features that lies at a random place of [low, low + width) of all, in the order of the bits.

    The place v, a number in [0, 1), decides feature by feature: with s members still to choose among l features, v < s / l takes the
    feature, and v is spread over [0, 1) again.
    """
    for i in range(start, stop):
        for a in range(removed.shape[1]):
            removed[i, a] = 0
        item, counter, draw = i % size.size, np.uint64(first + i), 0
        s = size[item]
        high, lower, _, _ = philox4x32(counter, np.uint64(0), k0, k1)
        v, grain = low[item] + width[item] * uniform53(high, lower), width[item] * TO_53
        for j in range(features):
            if s == 0:
                break
            left = features - j
            if s == left or v * left < s:
                removed[i, j // WORD] |= ONE << np.uint64(j % WORD)
                v, grain = v * left / s, grain * left / s
                s -= 1
            else:
                v, grain = (v * left - s) / (left - s), grain * left / (left - s)
            if grain > FEW_BITS:
                draw += 1
                high, lower, _, _ = philox4x32(counter, np.uint64(draw), k0, k1)
                v, grain = v + grain * uniform53(high, lower), TO_53


@kernel("in uint64 removed[m, w]; in T x[n, d]; in T baseline[n, d]; out T points[m, d]; int64 samples; uint64 flip", split="m", gpu="warp")
def mask_points(removed, x, baseline, points, samples, flip, start, stop):
    """points[i, j] = baseline where feature j is removed, else x; all bits count the other way round where `flip` has all bits set."""
    d = x.shape[1]
    for i in range(start, stop):
        row = i // samples
        for a in range(removed.shape[1]):
            word, begin = removed[i, a] ^ flip, a * WORD
            for j in range(min(WORD, d - begin)):
                points[i, begin + j] = baseline[row, begin + j] if (word >> np.uint64(j)) & ONE else x[row, begin + j]


@kernel("in uint64 removed[m, w]; in float64 terms[n, d]; out float64 sums[m]; int64 samples", split="m", gpu="warp")
def mask_sums(removed, terms, sums, samples, start, stop):
    """sums[i] = the sum of terms[i // samples] over the features that are removed."""
    for i in range(start, stop):
        row, total = i // samples, 0.0
        for a in range(removed.shape[1]):
            word = removed[i, a]
            while word:
                rest = word & (word - ONE)
                total += terms[row, a * WORD + popcount((word ^ rest) - ONE)]
                word = rest
        sums[i] = total


@kernel("in T x[n, d]; out T points[m, d]; out float64 offsets[m, d]; float64 scale; int64 samples; int64 first; uint32 k0; uint32 k1",
        split="m", gpu="warp")
def gaussian_points(x, points, offsets, scale, samples, first, k0, k1, start, stop):
    """points[i] = x + normal numbers of standard deviation `scale`, by the Box–Muller transform; offsets = points - x as it is rounded."""
    d = x.shape[1]
    for i in range(start, stop):
        row = i // samples
        for j in range(0, d - 1, 2):
            a, b, c, e = philox4x32(np.uint64(first + i), np.uint64(j), k0, k1)
            offsets[i, j], offsets[i, j + 1] = uniform53(a, b) + TO_53, uniform53(c, e)
        if d % 2:
            a, b, c, e = philox4x32(np.uint64(first + i), np.uint64(d - 1), k0, k1)
            offsets[i, d - 1] = scale * math.sqrt(-2.0 * log(uniform53(a, b) + TO_53)) * cos(TWO_PI * uniform53(c, e))
        for j in range(0, d - 1, 2):
            radius, angle = scale * math.sqrt(-2.0 * log(offsets[i, j])), TWO_PI * offsets[i, j + 1]
            offsets[i, j], offsets[i, j + 1] = radius * cos(angle), radius * sin(angle)
        for j in range(d):
            points[i, j] = x[row, j] + offsets[i, j]
            offsets[i, j] = np.float64(points[i, j]) - np.float64(x[row, j])


TWO_PI = 2 * math.pi
