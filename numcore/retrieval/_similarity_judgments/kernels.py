"""Kernels of similarity judgments: common tags, random halves, permutations, descent."""

import math

import numpy as np

from ...kernel import kernel
from ...random import philox4x32


@kernel(
    "in int64 indptr[n+1]; in int64 ids[z]; in float64 a[z]; in int64 list_indptr[q]; "
    "in int64 list_rows[z]; in float64 list_b[z]; "
    "out float64 s[n, n]; int64 least",
    split="n",
    gpu="block",
    threads=128,
)
def tag_overlaps(indptr, ids, a, list_indptr, list_rows, list_b, s, least, start, stop):
    """s_ij = Σ_t a_it b_jt, or Σ_t min(a_it, b_jt), over the tags t of both i and j; b is listed by
    tags."""
    for i in range(start, stop):
        row = s[i]
        for j in range(row.size):
            row[j] = 0
        for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
            value, t = a[e], np.uintp(ids[e])
            for p in range(np.uintp(list_indptr[t]), np.uintp(list_indptr[t + np.uintp(1)])):
                row[np.uintp(list_rows[p])] += min(value, list_b[p]) if least else value * list_b[p]


WORD, HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)


def _below(word, count):
    """Two results: the integer part of count times the fraction word / 2⁶⁴, and the fractional part
    that is left for the next draw."""
    high = (word >> HIGH) * count + (((word & WORD) * count) >> HIGH)
    return high >> HIGH, word * count


@kernel(
    "in float64 values[z]; in int64 indptr[p+1]; out float64 halves[s, 2, p]; uint32 k0; "
    "uint32 k1; int64 first",
    split="s",
    gpu="block",
    threads=128,
)
def half_means(values, indptr, halves, k0, k1, first, start, stop):
    """halves[s, :, p]: means of two random halves of values[indptr[p]:indptr[p + 1]], which has two
    or more; an odd one is left out.

    Ratings are gone through once; one is taken for the first half if a draw below the number of
    those left is below the number still wanted. Draws share a word of 64 bits while the product of
    their bounds is below 2³²: their bias is below 2⁻³².
    """
    for s in range(start, stop):
        split = np.uint64(first + s)
        for p in range(halves.shape[2]):
            begin, end = np.uintp(indptr[p]), np.uintp(indptr[p + 1])
            count = np.uint64(end - begin)
            half = count >> np.uint64(1)
            out, spent, used = count, count, np.uint64(0)
            a, b, c, d = philox4x32(np.uint64(p), split, k0, k1)
            word, spare = np.uint64(a) | np.uint64(b) << HIGH, np.uint64(c) | np.uint64(d) << HIGH
            if count & np.uint64(1):
                out, word = _below(word, count)
            wanted, left, one, two = half, half + half, 0.0, 0.0
            for e in range(begin, end):
                if np.uint64(e - begin) == out:
                    continue
                if spent * left > WORD:  # few bits are left in the word
                    used += np.uint64(1)
                    if used & np.uint64(1):
                        word = spare
                    else:
                        a, b, c, d = philox4x32(np.uint64(p), split | (used << HIGH), k0, k1)
                        word = np.uint64(a) | np.uint64(b) << HIGH
                        spare = np.uint64(c) | np.uint64(d) << HIGH
                    spent = np.uint64(1)
                spent *= left
                draw, word = _below(word, left)
                if draw < wanted:
                    one += values[e]
                    wanted -= np.uint64(1)
                else:
                    two += values[e]
                left -= np.uint64(1)
            halves[s, 0, p], halves[s, 1, p] = one / half, two / half


@kernel(
    "in float64 x[n, n]; in float64 y[n, n]; in int32 orders[b, n]; out float64 products[b]",
    split="b",
    gpu="block",
    threads=256,
)
def permuted_products(x, y, orders, products, start, stop):
    """products_b = Σ_{i < j} x_ij y[o_i, o_j] with the permutation o = orders[b]."""
    n = np.uintp(x.shape[0])
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for b in range(start, stop):
        products[b] = 0
    i = np.uintp(0)
    while i + four <= n:
        # rows of x stay in the cache for all permutations; four at once share the reading of the
        # order
        x0, x1, x2, x3 = x[i], x[i + one], x[i + two], x[i + three]
        for b in range(start, stop):
            order = orders[b]
            o1, o2 = np.uintp(order[i + one]), np.uintp(order[i + two])
            o3 = np.uintp(order[i + three])
            y0, y1, y2, y3 = y[np.uintp(order[i])], y[o1], y[o2], y[o3]
            s0 = x0[i + one] * y0[o1] + x0[i + two] * y0[o2] + x0[i + three] * y0[o3]
            s1 = x1[i + two] * y1[o2] + x1[i + three] * y1[o3]
            s2, s3 = x2[i + three] * y2[o3], 0.0
            for j in range(i + four, n):
                o = np.uintp(order[j])
                s0 += x0[j] * y0[o]
                s1 += x1[j] * y1[o]
                s2 += x2[j] * y2[o]
                s3 += x3[j] * y3[o]
            products[b] += (s0 + s1) + (s2 + s3)
        i += four
    while i < n:
        for b in range(start, stop):
            other = y[np.uintp(orders[b, i])]
            for j in range(i + one, n):
                products[b] += x[i, j] * other[np.uintp(orders[b, j])]
        i += one


@kernel(
    "in float64 gram[d, d]; in float64 right[d]; in float64 alphas[a]; out float64 w[a, d]; "
    "out float64 gradient[a, d]; "
    "out int64 converged[a]; float64 tol; int64 max_sweeps",
    split="a",
    gpu="block",
    threads=128,
    grain="1",
    twin_tolerance={"float32": 1e-5, "float64": 1e-7},
)
def nonnegative_descent(gram, right, alphas, w, gradient, converged, tol, max_sweeps, start, stop):
    """w[a] >= 0 minimizes ½ w (G + α I) w - h w, one coordinate after the other; gradient = G w -
    h.

    A sweep ends the descent when no step exceeds tol times the largest weight, both in units in
    which the curvature is 1.
    """
    d = gram.shape[0]
    for a in range(start, stop):
        alpha, weights, slope = alphas[a], w[a], gradient[a]
        for k in range(d):
            weights[k], slope[k] = 0, -right[k]
        converged[a] = 0
        for _ in range(max_sweeps):
            moved = largest = 0.0
            for k in range(d):
                curvature = gram[k, k] + alpha
                if curvature <= 0:
                    continue
                new = max(weights[k] - (slope[k] + alpha * weights[k]) / curvature, 0.0)
                step = new - weights[k]
                if step != 0:
                    row = gram[k]
                    for m in range(d):
                        slope[m] += step * row[m]
                    weights[k] = new
                scale = math.sqrt(curvature)
                moved, largest = max(moved, abs(step) * scale), max(largest, new * scale)
            if moved <= tol * largest:
                converged[a] = 1
                break
