"""Kernels of boosted trees: histograms of gradients, splits, sums of trees."""

import numpy as np

from ...kernel import kernel

MISSING = 255  # the bin of NaN
BINS = 256
CELLS = 3 * BINS  # sums of gradients, of second derivatives, and counts
LEAST_HESSIAN = 1e-12  # of a child; below, a Newton step means nothing
LEAST_GAIN = 1e-12  # of a split, as a share of what it compares: below, it is rounding
CONSTANTS = ("BINS", "CELLS", "MISSING", "LEAST_HESSIAN", "LEAST_GAIN")


@kernel(
    "in uint8 codes[f, n]; in int64 rows[r]; in int64 slopes[r]; in int64 bends[r]; "
    "out int64 histogram[f, CELLS]",
    constants=CONSTANTS,
    split="f",
    gpu="block",
)
def gradient_histograms(codes, rows, slopes, bends, histogram, start, stop):
    """Sums over rows for each bin of each feature: of gradients, of second derivatives, and
    counts."""
    for f in range(start, stop):
        code, cells = codes[f], histogram[f]
        cells[:] = 0
        for i in range(rows.size):
            at = np.uintp(3) * np.uintp(code[np.uintp(rows[i])])
            cells[at] += slopes[i]
            cells[at + np.uintp(1)] += bends[i]
            cells[at + np.uintp(2)] += 1


@kernel(
    "in int64 histogram[f, CELLS]; float64 slope_unit; float64 bend_unit; float64 l2; int64 least; "
    "out float64 gain[f]; "
    "out int32 cut[f]; out int32 nan_left[f]",
    constants=CONSTANTS,
    split="f",
)
def best_splits(histogram, slope_unit, bend_unit, l2, least, gain, cut, nan_left, start, stop):
    """The best cut of each feature, NaN tried on both sides; gain 0 where there is none."""
    for f in range(start, stop):
        cells = histogram[f]
        g = h = n = np.int64(0)
        for b in range(BINS):
            g += cells[3 * b]
            h += cells[3 * b + 1]
            n += cells[3 * b + 2]
        whole = score(g * slope_unit, h * bend_unit + l2)
        gain[f], cut[f], nan_left[f] = 0, 0, 0
        for side in range(2 if cells[3 * MISSING + 2] > 0 else 1):
            gl = cells[3 * MISSING] if side else np.int64(0)
            hl = cells[3 * MISSING + 1] if side else np.int64(0)
            nl = cells[3 * MISSING + 2] if side else np.int64(0)
            for b in range(MISSING):
                gl += cells[3 * b]
                hl += cells[3 * b + 1]
                nl += cells[3 * b + 2]
                left, right = hl * bend_unit + l2, (h - hl) * bend_unit + l2
                if (
                    nl >= least
                    and n - nl >= least
                    and left > LEAST_HESSIAN
                    and right > LEAST_HESSIAN
                ):
                    parts = score(gl * slope_unit, left) + score((g - gl) * slope_unit, right)
                    if parts - whole > gain[f] and parts - whole > LEAST_GAIN * parts:
                        gain[f], cut[f], nan_left[f] = parts - whole, b, side


def score(g, h):
    return g * g / h if h > 0 else 0.0


@kernel(
    "in T x[n, f]; in int32 feature[m]; in T threshold[m]; in int32 nan_left[m]; in int32 left[m]; "
    "in int32 right[m]; "
    "in float64 value[m]; inout float64 total[n]",
    split="n",
)
def add_tree(x, feature, threshold, nan_left, left, right, value, total, start, stop):
    """Rows walk down a tree; children have larger numbers than their parents."""
    for i in range(start, stop):
        node = np.int64(0)
        while left[node] >= 0:
            entry = x[i, feature[node]]
            goes_left = entry <= threshold[node] or entry != entry and nan_left[node] != 0
            node = np.int64(left[node] if goes_left else right[node])
        total[i] += value[node]
