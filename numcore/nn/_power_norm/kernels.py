"""Kernels of power normalization: one pass over the rows, in blocks of ROWS."""

import math

from ...kernel import kernel
from ...simd import add
from .._normalization.kernels import ROWS

#
# Columns come in k groups of equal size, each times its row_scale; k = 0 is one group that is left
# as it is.


def scale_of_group(row, eps):
    """1/sqrt(mean square + eps)."""
    squares = row.dtype.type(0)
    for j in range(row.size):
        squares = add(squares, row[j] * row[j])
    return row.dtype.type(1) / math.sqrt(squares / row.dtype.type(row.size) + eps)


@kernel(
    "in T x[n, d]; in T scale[d]; in T weight[d]; in T bias[d]; out T z[n, d]; out T y[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def power_columns(x, scale, weight, bias, z, y, start, stop):
    """z = scale x and y = weight z + bias for every column."""
    for i in range(start, stop):
        row, to_z, to_y = x[i], z[i], y[i]
        for j in range(row.size):
            to_z[j] = row[j] * scale[j]
        for j in range(row.size):
            to_y[j] = to_z[j] * weight[j] + bias[j]


@kernel(
    "in T x[n, d]; in uint8 live[n]; T eps; out T row_scale[n, k]; out T parts[m, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_sums(x, live, eps, row_scale, parts, start, stop):
    """The scales of groups of block b's rows, and the sums of squares of the scaled live ones."""
    k, one = row_scale.shape[1], x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                row, squares, s = x[i, low : low + size], parts[b, low : low + size], one
                if k:
                    row_scale[i, low // size] = s = scale_of_group(row, eps)
                if live[i]:
                    for j in range(size):
                        squares[j] += row[j] * s * (row[j] * s)


@kernel(
    "in T x[n, d]; in uint8 live[n]; in T factor[d]; in T bias[d]; T eps; out T row_scale[n, k]; "
    "out T y[n, d]; out T parts[m, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_rows(x, live, factor, bias, eps, row_scale, y, parts, start, stop):
    """`power_sums`, and y = factor x + bias with x scaled, in the same pass."""
    k, one = row_scale.shape[1], x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                row, squares, s = x[i, low : low + size], parts[b, low : low + size], one
                to, f, t = y[i, low : low + size], factor[low : low + size], bias[low : low + size]
                if k:
                    row_scale[i, low // size] = s = scale_of_group(row, eps)
                for j in range(size):
                    to[j] = row[j] * s * f[j] + t[j]
                if live[i]:
                    for j in range(size):
                        squares[j] += row[j] * s * (row[j] * s)


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T row_scale[n, k]; in uint8 live[n]; in T factor[d]; "
    "in T slope[d]; "
    "out T grad_x[n, d]; out T parts[m, sums, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_rows_backward(grad_y, x, row_scale, live, factor, slope, grad_x, parts, start, stop):
    """With v the scaled x: grad_x = factor grad_y - slope v, through the scaling of groups.

    Of block b's rows the sums of grad_y v and of grad_y, and, if parts has room, of grad_y v over
    those that are not live and of v² over the others.
    """
    k, zero, one = row_scale.shape[1], x.dtype.type(0), x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :, :] = zero
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                high = low + size
                g, row, to = grad_y[i, low:high], x[i, low:high], grad_x[i, low:high]
                f, q = factor[low:high], slope[low:high]
                products, totals = parts[b, 0, low:high], parts[b, 1, low:high]
                s = row_scale[i, low // size] if k else one
                for j in range(size):
                    to[j] = f[j] * g[j] - q[j] * (row[j] * s)
                for j in range(size):
                    products[j] += g[j] * (row[j] * s)
                    totals[j] += g[j]
                if parts.shape[1] > 2:
                    hidden, squares = parts[b, 2, low:high], parts[b, 3, low:high]
                    if live[i]:
                        for j in range(size):
                            squares[j] += row[j] * s * (row[j] * s)
                    else:
                        for j in range(size):
                            hidden[j] += g[j] * (row[j] * s)
                if k:
                    along = zero
                    for j in range(size):
                        along = add(along, to[j] * row[j])
                    along *= s * s / x.dtype.type(size)
                    for j in range(size):
                        to[j] = s * (to[j] - row[j] * along)
