"""Kernels of layers that normalize: rows and columns moved and scaled, sums over blocks of rows."""

import math

import numpy as np

from ...kernel import kernel
from ...simd import add

ROWS = 32  # rows whose sums are taken in the arrays' own precision


@kernel(
    "in T x[n, d]; in T weight[d]; in T bias[d]; T eps; int64 centred; out T y[n, d]; "
    "out T mean[n]; out T scale[n]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def norm_rows(x, weight, bias, eps, centred, y, mean, scale, start, stop):
    """y = weight (x - mean) scale + bias, row by row; with centred = 0, mean is 0 and scale is of
    the mean square."""
    zero, one, d = x.dtype.type(0), x.dtype.type(1), x.dtype.type(x.shape[1])
    for i in range(start, stop):
        row, to = x[i], y[i]
        m = zero
        if centred:
            for j in range(row.size):
                m = add(m, row[j])
            m /= d
        first, second = zero, zero
        for j in range(row.size):
            difference = row[j] - m
            first = add(first, difference)
            second = add(second, difference * difference)
        if centred:  # the first mean was rounded
            m += first / d
            second -= first * (first / d)
            if second < 0:
                second = zero
        s = one / math.sqrt(second / d + eps)
        mean[i], scale[i] = m, s
        for j in range(row.size):
            to[j] = weight[j] * ((row[j] - m) * s) + bias[j]


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T weight[d]; in T mean[n]; in T scale[n]; int64 centred; "
    "out T grad_x[n, d]; "
    "out T parts[m, 2, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def norm_rows_backward(grad_y, x, weight, mean, scale, centred, grad_x, parts, start, stop):
    """grad_x of block b's rows, and their sums of grad_y z and of grad_y in parts[b]."""
    zero, d = x.dtype.type(0), x.dtype.type(x.shape[1])
    for b in range(start, stop):
        products, totals = parts[b, 0], parts[b, 1]
        products[:] = zero
        totals[:] = zero
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            g, row, to = grad_y[i], x[i], grad_x[i]
            m, s = mean[i] if centred else zero, scale[i]
            first, second = zero, zero
            for j in range(row.size):
                product = g[j] * ((row[j] - m) * s)
                products[j] += product
                totals[j] += g[j]
                first = add(first, weight[j] * g[j])
                second = add(second, weight[j] * product)
            first, second = first / d if centred else zero, second / d
            for j in range(row.size):
                to[j] = (weight[j] * g[j] - first - (row[j] - m) * s * second) * s


@kernel("in T parts[m, d]; out float64 sums[d]", constants=("ROWS",), split="d")
def sum_blocks(parts, sums, start, stop):
    """sums[j] = sum over blocks of parts[b, j]."""
    totals = sums[start:stop]
    totals[:] = 0
    for b in range(parts.shape[0]):
        part = parts[b, start:stop]
        for j in range(totals.size):
            totals[j] += part[j]


@kernel(
    "in T x[n, d]; in T row_scale[n, k]; in T centre[d]; in T factor[d]; in T shift[d]; "
    "out T y[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def scale_columns(x, row_scale, centre, factor, shift, y, start, stop):
    """y = (x - centre) factor + shift for every column; before that, each of k groups of columns
    times its row_scale (none for k = 0)."""
    k = row_scale.shape[1]
    size = x.shape[1] // max(k, 1)
    one = x.dtype.type(1)
    for i in range(start, stop):
        for group in range(max(k, 1)):
            s = row_scale[i, group] if k else one
            low, high = group * size, group * size + size
            row, to, c = x[i, low:high], y[i, low:high], centre[low:high]
            f, t = factor[low:high], shift[low:high]
            for j in range(size):
                to[j] = (row[j] * s - c[j]) * f[j] + t[j]


@kernel("in T x[n, d]; out T parts[m, 3, d]", constants=("ROWS",), split="m", gpu="block")
def column_moments(x, parts, start, stop):
    """Of block b's rows: a mean p, the sum of x - p and the sum of (x - p)²."""
    for b in range(start, stop):
        low, high = b * ROWS, min(b * ROWS + ROWS, x.shape[0])
        count = x.dtype.type(max(high - low, 1))
        pivot, first, second = parts[b, 0], parts[b, 1], parts[b, 2]
        pivot[:] = 0
        first[:] = 0
        second[:] = 0
        for i in range(low, high):
            row = x[i]
            for j in range(row.size):
                pivot[j] += row[j]
        for j in range(pivot.size):
            pivot[j] /= count
        for i in range(low, high):
            row = x[i]
            for j in range(row.size):
                difference = row[j] - pivot[j]
                first[j] += difference
                second[j] += difference * difference


@kernel(
    "in T parts[m, 3, d]; int64 rows; out float64 mean[d]; out float64 spread[d]",
    constants=("ROWS",),
    split="d",
)
def join_moments(parts, rows, mean, spread, start, stop):
    """Mean, and sum of squared differences from it, of all rows, from the moments of blocks."""
    middle, squares = mean[start:stop], spread[start:stop]
    middle[:] = 0
    squares[:] = 0
    for b in range(parts.shape[0]):
        pivot, first = parts[b, 0, start:stop], parts[b, 1, start:stop]
        count = np.float64(min(ROWS, rows - b * ROWS))
        for j in range(middle.size):
            middle[j] += count * pivot[j] + first[j]
    for j in range(middle.size):
        middle[j] /= max(rows, 1)
    for b in range(parts.shape[0]):
        pivot, first = parts[b, 0, start:stop], parts[b, 1, start:stop]
        count = np.float64(min(ROWS, rows - b * ROWS))
        second = parts[b, 2, start:stop]
        for j in range(middle.size):
            distance = pivot[j] - middle[j]
            squares[j] += second[j] + distance * (2 * first[j] + count * distance)
    for j in range(middle.size):
        if squares[j] < 0:
            squares[j] = 0


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T centre[d]; out T parts[m, 2, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def column_products(grad_y, x, centre, parts, start, stop):
    """Of block b's rows: the sums of grad_y (x - centre) and of grad_y."""
    for b in range(start, stop):
        products, totals = parts[b, 0], parts[b, 1]
        products[:] = 0
        totals[:] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            g, row = grad_y[i], x[i]
            for j in range(row.size):
                products[j] += g[j] * (row[j] - centre[j])
                totals[j] += g[j]


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T centre[d]; in T factor[d]; in T slope[d]; "
    "in T shift[d]; out T grad_x[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def combine_columns(grad_y, x, centre, factor, slope, shift, grad_x, start, stop):
    """grad_x = factor grad_y + slope (x - centre) + shift for every column."""
    for i in range(start, stop):
        g, row, to = grad_y[i], x[i], grad_x[i]
        for j in range(row.size):
            to[j] = factor[j] * g[j] + slope[j] * (row[j] - centre[j]) + shift[j]
