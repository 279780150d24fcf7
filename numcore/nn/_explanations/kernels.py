"""Kernels of the explanations: coalitions as bits, the points that they stand for, and sums over
their rows.

Bit j of row i of `removed`, in word j // 64, says that sample i has feature j removed, that is set
to the baseline. With J = `samples` samples to each row of x, sample i belongs to row i // J of x.
"""

import math

import numpy as np

from ...kernel import kernel
from ...random import philox4x32
from ...simd import fma, popcount
from ...special import log

ONE, WORD = np.uint64(1), 64
FIVE, SIX, TO_53, TWO_26 = np.uint32(5), np.uint32(6), 2.0**-53, 2.0**26
TO_32, ONE_32, MINUS_TWO = np.float32(2.0**-32), np.float32(1), np.float32(-2)
BIT, TWO, THIRTY, EIGHTH = np.uint32(1), np.uint32(2), np.uint32(30), np.uint32(2**29)
NEIGHBORS = 4  # features that are copied at a time
PATTERNS = 1 << NEIGHBORS
NORMALS = 128  # features whose noise is made at a time: a multiple of 4, at most 4 for each lane
FEW_BITS = 2.0**-24  # a fraction that is known no finer than this gets new random bits


S0, S1, S2, S3, S4 = (
    np.float32((-1) ** k * (math.pi / 2) ** (2 * k + 1) / math.factorial(2 * k + 1))
    for k in range(5)
)
C0, C1, C2, C3, C4, C5 = (
    np.float32((-1) ** k * (math.pi / 2) ** (2 * k) / math.factorial(2 * k)) for k in range(6)
)


def cos_sin_turn(word):
    """Cosine and sine of word / 2**32 turns in float32: Taylor's series of a part of a quarter turn
    around the nearest multiple of it."""
    t = np.float32(np.int32(word << TWO)) * TO_32
    quarter = (word + EIGHTH) >> THIRTY
    x = t * t
    s = t * fma(fma(fma(fma(S4, x, S3), x, S2), x, S1), x, S0)
    c = fma(fma(fma(fma(fma(C5, x, C4), x, C3), x, C2), x, C1), x, C0)
    cosine, sine = s if quarter & BIT else c, c if quarter & BIT else s
    return -cosine if (quarter + BIT) & TWO else cosine, -sine if quarter & TWO else sine


def uniform53(high, low):
    return ((high >> FIVE) * TWO_26 + (low >> SIX)) * TO_53


@kernel(
    "in int64 size[k]; in float64 low[k]; in float64 width[k]; out uint64 removed[m, w]; "
    "int64 features; int64 first; "
    "uint32 k0; uint32 k1",
    constants=("FEW_BITS",),
    split="m",
)
def draw_coalitions(size, low, width, removed, features, first, k0, k1, start, stop):
    """removed[i] = the subset of size[i % k] features that lies at a random place of [low, low +
    width) of all, in the order of the bits.

    The place v, a number in [0, 1), decides feature by feature: with s members still to choose
    among l features, v < s / l takes the feature, and v is spread over [0, 1) again.
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
                spread = left / s
                v, grain = v * spread, grain * spread
                s -= 1
            else:
                spread = 1.0 / (left - s)
                v, grain = (v * left - s) * spread, grain * left * spread
            if grain > FEW_BITS:
                draw += 1
                high, lower, _, _ = philox4x32(counter, np.uint64(draw), k0, k1)
                v, grain = v + grain * uniform53(high, lower), TO_53


@kernel(
    "in uint64 removed[m, w]; in T x[n, d]; in T baseline[n, d]; out T points[m, d]; "
    "scratch T table[PATTERNS*(d+NEIGHBORS)]; int64 samples; "
    "uint64 flip",
    constants=("NEIGHBORS", "PATTERNS"),
    split="m",
    gpu="warp",
)
def mask_points(removed, x, baseline, points, table, samples, flip, start, stop):
    """points[i, j] = baseline where feature j is removed, else x; all bits count the other way
    round where `flip` has all bits set.

    Neighbors are copied from a table of what their patterns of bits give.
    """
    d, tabled, low_bits = x.shape[1], -1, np.uint64(PATTERNS - 1)
    for i in range(start, stop):
        row = i // samples
        if row != tabled:
            tabled = row
            for j in range(d):
                group, bit = j // NEIGHBORS, j % NEIGHBORS
                for pattern in range(PATTERNS):
                    table[(group * PATTERNS + pattern) * NEIGHBORS + bit] = (
                        baseline[row, j] if pattern >> bit & 1 else x[row, j]
                    )
        for a in range(removed.shape[1]):
            word, begin = removed[i, a] ^ flip, a * WORD
            count = min(WORD, d - begin)
            for j in range(0, count - NEIGHBORS + 1, NEIGHBORS):
                pattern = np.int64(word >> np.uint64(j) & low_bits)
                at = PATTERNS * (begin + j) + NEIGHBORS * pattern
                for t in range(NEIGHBORS):
                    points[i, begin + j + t] = table[at + t]
            for j in range(count - count % NEIGHBORS, count):
                points[i, begin + j] = (
                    baseline[row, begin + j] if word >> np.uint64(j) & ONE else x[row, begin + j]
                )


@kernel(
    "in uint64 removed[m, w]; in float64 terms[n, d]; out float64 sums[m]; int64 samples",
    split="m",
    gpu="warp",
)
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


@kernel(
    "in T x[n, d]; out T points[m, d]; out float64 offsets[m, d]; "
    "scratch uint32 words[NORMALS]; scratch float32 noise[NORMALS]; "
    "float64 scale; int64 samples; int64 first; uint32 k0; uint32 k1",
    constants=("NORMALS",),
    split="m",
    gpu="warp",
)
def gaussian_points(x, points, offsets, words, noise, scale, samples, first, k0, k1, start, stop):
    """points[i] = x + normal numbers of standard deviation `scale`, by the Box–Muller transform;
    offsets = points - x as it is rounded.

    Of NORMALS features at a time, a counter makes the noise of one in each quarter, in float32,
    from two radii and two angles: none is beyond 6.7 standard deviations.
    """
    d = x.shape[1]
    for i in range(start, stop):
        row = i // samples
        for begin in range(0, d, NORMALS):
            count = min(d - begin, NORMALS)
            quarter = (count + 3) // 4
            for q in range(quarter):
                a, b, c, e = philox4x32(np.uint64(first + i), np.uint64(begin // 4 + q), k0, k1)
                words[q], words[quarter + q] = a, b
                words[2 * quarter + q], words[3 * quarter + q] = c, e
            for p in range(2 * quarter):
                r = math.sqrt(MINUS_TWO * log((np.float32(words[p]) + ONE_32) * TO_32))
                cosine, sine = cos_sin_turn(words[2 * quarter + p])
                noise[p], noise[2 * quarter + p] = r * cosine, r * sine
            for j in range(count):
                points[i, begin + j] = x[row, begin + j] + scale * np.float64(noise[j])
                offsets[i, begin + j] = np.float64(points[i, begin + j]) - np.float64(
                    x[row, begin + j]
                )
