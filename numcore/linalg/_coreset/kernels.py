"""Kernels of one round over n points: norms of the losses of each point, masses by block and class,
and draws in proportion to the mass. Arrays of extents q, r, s have n entries, or one entry that
applies to all points."""

import math

import numpy as np

from ...kernel import kernel

BLOCK = 256  # points per block: a draw only searches one block


@kernel(
    "in T losses[n]; in float64 w[q]; inout float64 norms[n]; out T column[n]; "
    "out float64 parts[b, 2]",
    split="b",
    gpu="block",
)
def add_losses(losses, w, norms, column, parts, start, stop):
    """norms ← √(norms² + losses²) and column ← losses; for each block Σ w loss and the number of
    losses that are negative or not finite."""
    for b in range(start, stop):
        first, last = b * BLOCK, min((b + 1) * BLOCK, losses.size)
        new, norm, copy = losses[first:last], norms[first:last], column[first:last]
        for i in range(new.size):
            value = abs(float(new[i]))
            larger = max(value, norm[i])
            ratio = min(value, norm[i]) / max(larger, TINY)
            norm[i] = larger * math.sqrt(1 + ratio * ratio)
            copy[i] = new[i]
        parts[b, 0] = weighted_sum(new, w[first:last] if w.size > 1 else w)
        parts[b, 1] = count_invalid(new)


def weighted_sum(values, w):
    """Σ w value; w may hold a single weight for all values."""
    s0 = s1 = s2 = s3 = 0.0
    n, step = values.size // 4 * 4, 1 if w.size > 1 else 0
    for i in range(0, n, 4):
        at = i * step
        s0, s1 = s0 + w[at] * values[i], s1 + w[at + step] * values[i + 1]
        s2, s3 = s2 + w[at + 2 * step] * values[i + 2], s3 + w[at + 3 * step] * values[i + 3]
    for i in range(n, values.size):
        s0 += w[i * step] * values[i]
    return (s0 + s1) + (s2 + s3)


def count_invalid(values):
    bad = 0
    for i in range(values.size):
        bad += not 0 <= values[i] < math.inf
    return bad


TINY = 2.0**-1022


@kernel(
    "in float64 norms[q]; in float64 w[r]; in int32 labels[s]; int64 n; out float64 masses[b, c]; "
    "scratch float64 sums[4*c]",
    constants=("BLOCK",),
    split="b",
    gpu="block",
)
def block_masses(norms, w, labels, n, masses, sums, start, stop):
    """Σ w norm of each class in each block of n points; four interleaved sums hide the latency of
    additions."""
    classes = np.uintp(masses.shape[1])
    per_norm, per_w = np.uintp(norms.size > 1), np.uintp(w.size > 1)
    per_label = np.uintp(labels.size > 1)
    for b in range(start, stop):
        sums[:] = 0
        for i in range(np.uintp(b * BLOCK), np.uintp(min((b + 1) * BLOCK, n))):
            sums[(i & np.uintp(3)) * classes + np.uintp(labels[i * per_label])] += (
                w[i * per_w] * norms[i * per_norm]
            )
        for c in range(masses.shape[1]):
            masses[b, c] = (sums[c] + sums[classes + c]) + (
                sums[2 * classes + c] + sums[3 * classes + c]
            )


@kernel(
    "in float64 norms[q]; in float64 w[r]; in int32 labels[s]; int64 n; in float64 thresholds[m]; "
    "in int64 firsts[b, c];"
    " in int64 counts[b, c]; out int64 chosen[m]; scratch float64 sums[c]; scratch int64 done[c];"
    " scratch int64 last[c]",
    constants=("BLOCK",),
    split="b",
    gpu="block",
)
def draw_in_blocks(
    norms, w, labels, n, thresholds, firsts, counts, chosen, sums, done, last, start, stop
):
    """For each threshold of a block and class, the point at which the running sum of masses exceeds
    it, or the last point with positive mass."""
    classes = np.uintp(sums.size)
    per_norm, per_w = np.uintp(norms.size > 1), np.uintp(w.size > 1)
    per_label = np.uintp(labels.size > 1)
    for b in range(start, stop):
        missing = 0
        for c in range(classes):
            sums[c], done[c], last[c] = 0, firsts[b, c], b * BLOCK
            missing += counts[b, c]
        for i in range(np.uintp(b * BLOCK), np.uintp(min((b + 1) * BLOCK, n))):
            if missing == 0:
                break
            mass, c = w[i * per_w] * norms[i * per_norm], np.uintp(labels[i * per_label])
            if mass > 0:
                sums[c] += mass
                last[c] = i
                while done[c] < firsts[b, c] + counts[b, c] and thresholds[done[c]] < sums[c]:
                    chosen[done[c]] = i
                    done[c] += 1
                    missing -= 1
        for c in range(classes):
            for left in range(done[c], firsts[b, c] + counts[b, c]):
                chosen[left] = last[c]
