"""Kernels of the ranker of questions: means of rows of a table, and Adam on some of its rows."""

import math

import numpy as np

from ...kernel import kernel


@kernel(
    "in T table[v, d]; in int64 indices[z]; in int64 offsets[b+1]; out T mean[b, d]",
    split="b",
    gpu="warp",
)
def bag_means(table, indices, offsets, mean, start, stop):
    """Means of rows of a table, 0 of none."""
    for i in range(start, stop):
        row = mean[i]
        row[:] = 0
        for p in range(np.uintp(offsets[i]), np.uintp(offsets[i + 1])):
            source = table[np.uintp(indices[p])]
            for j in range(row.size):
                row[j] += source[j]
        scale = table.dtype.type(1 / max(offsets[i + 1] - offsets[i], 1))
        for j in range(row.size):
            row[j] *= scale


@kernel(
    "in int64 rows[r]; in int64 ends[r+1]; in int64 bags[z]; in T weights[b]; in T grad[b, d]; "
    "inout T table[v, d]; inout T m[v, d]; "
    "inout T s[v, d]; T beta1; T beta2; T lr; T eps; scratch T slope[d]",
    split="r",
    gpu="warp",
)
def lazy_adam_rows(
    rows, ends, bags, weights, grad, table, m, s, beta1, beta2, lr, eps, slope, start, stop
):
    """A step of Adam on different rows, from the gradients of the bags' means; place p of row i
    lies in ``bags[p]``."""
    one = table.dtype.type(1)
    for i in range(start, stop):
        slope[:] = 0
        for p in range(np.uintp(ends[i]), np.uintp(ends[i + 1])):
            bag = np.uintp(bags[p])
            source, weight = grad[bag], weights[bag]
            for j in range(slope.size):
                slope[j] += weight * source[j]
        w, mean, square = table[np.uintp(rows[i])], m[np.uintp(rows[i])], s[np.uintp(rows[i])]
        for j in range(slope.size):
            mean[j] = beta1 * mean[j] + (one - beta1) * slope[j]
        for j in range(slope.size):
            square[j] = beta2 * square[j] + (one - beta2) * (slope[j] * slope[j])
        for j in range(slope.size):
            w[j] -= lr * mean[j] / (math.sqrt(square[j]) + eps)
