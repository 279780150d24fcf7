"""Kernels of contextual sparsity: gates, the largest of them, sums over the rows that are kept, and
probabilities of drafted tokens.

All wait for memory. Eight rows are read at once, since one alone does not keep the memory busy;
columns are taken in the order in which they lie. Sums run over fixed parts of the kept rows, so
that they do not depend on the number of threads.
"""

import math

import numpy as np

from ...kernel import kernel
from ...simd import add_product, float_bits
from ...special import exp
from .._activation import (
    CONSTANTS,
    gelu_derivatives,
    gelu_tanh_derivatives,
    relu_derivatives,
    silu_derivatives,
)

SILU, RELU, GELU, GELU_TANH = range(4)
ACTIVATIONS = {"silu": SILU, "relu": RELU, "gelu": GELU, "gelu_tanh": GELU_TANH}
DIGIT_BITS = 11
BINS = 1 << DIGIT_BITS  # of the sizes of gates
CHUNK = 64  # kept rows whose factors are computed before they are added
LANES = 16  # maxima that run side by side
THREADS = 256  # of a block
CONSTANTS = CONSTANTS | {
    "SILU": SILU,
    "RELU": RELU,
    "GELU": GELU,
    "GELU_TANH": GELU_TANH,
    "DIGIT_BITS": DIGIT_BITS,
    "BINS": BINS,
    "CHUNK": CHUNK,
    "LANES": LANES,
    "THREADS": THREADS,
}


@kernel(
    "in T w[m, d]; in T x[b, d]; out T g[b, m]; int64 activation",
    constants=CONSTANTS,
    split="m",
    gpu="warp",
)
def gate_rows(w, x, g, activation, start, stop):
    """g[t, j] = activation(w[j]·x[t]) for the rows j of w and the tokens t; activations are
    numbered as in ACTIVATIONS."""
    last = stop - 1
    # of the last row again where there are no eight: each sum has the same order in any chunk
    for first in range(start, stop, 8):
        j0, j1, j2, j3 = first, min(first + 1, last), min(first + 2, last), min(first + 3, last)
        j4, j5 = min(first + 4, last), min(first + 5, last)
        j6, j7 = min(first + 6, last), min(first + 7, last)
        for t in range(x.shape[0]):
            dots = dot_eight(w[j0], w[j1], w[j2], w[j3], w[j4], w[j5], w[j6], w[j7], x[t])
            g[t, j0], g[t, j1], g[t, j2], g[t, j3], g[t, j4], g[t, j5], g[t, j6], g[t, j7] = dots
    for t in range(x.shape[0]):
        activate_all(g[t, start:stop], activation)


def dot_eight(a0, a1, a2, a3, a4, a5, a6, a7, x):
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = x.dtype.type(0)
    for c in range(x.size):
        s0, s1 = add_product(a0[c], x[c], s0), add_product(a1[c], x[c], s1)
        s2, s3 = add_product(a2[c], x[c], s2), add_product(a3[c], x[c], s3)
        s4, s5 = add_product(a4[c], x[c], s4), add_product(a5[c], x[c], s5)
        s6, s7 = add_product(a6[c], x[c], s6), add_product(a7[c], x[c], s7)
    return s0, s1, s2, s3, s4, s5, s6, s7


def activate_all(z, activation):
    real = z.dtype.type
    if activation == SILU:
        for j in range(z.size):
            z[j] = silu_derivatives(z[j], real)[0]
    elif activation == RELU:
        for j in range(z.size):
            z[j] = relu_derivatives(z[j], real)[0]
    elif activation == GELU:
        for j in range(z.size):
            z[j] = gelu_derivatives(z[j], real)[0]
    else:
        for j in range(z.size):
            z[j] = gelu_tanh_derivatives(z[j], real)[0]


@kernel(
    "in T g[b, m]; out int64 kept[b, k]; scratch int64 counts[BINS]",
    constants=CONSTANTS,
    split="b",
    gpu="block",
    threads=THREADS,
    grain="1",
)
def select_largest(g, kept, counts, start, stop):
    """The indices of the k <= m largest |g| of each row, increasing, without sorting.

    Non-negative floats are ordered as their bits are. Counting DIGIT_BITS at a time, from the
    top, finds the bits of the k-th largest; all larger ones are kept, and as many of the equal ones
    as there is room for.
    """
    m, k = g.shape[1], kept.shape[1]
    for t in range(start, stop):
        # undecided bits; those decided of the k-th largest; its rank among all that share them
        low, bound, room = 8 * g.itemsize - 1, 0, k
        while low > 0:
            width = min(DIGIT_BITS, low)
            shift, mask = low - width, (1 << width) - 1
            counts[: mask + 1] = 0
            for j in range(m):
                key = np.int64(float_bits(abs(g[t, j])))
                if key >> low == bound:
                    counts[key >> shift & mask] += 1
            digit = mask
            while counts[digit] < room:
                room -= counts[digit]
                digit -= 1
            low, bound = shift, bound << width | digit
        found = j = 0
        while found < k:
            key = np.int64(float_bits(abs(g[t, j])))
            equal = key == bound and room > 0
            kept[t, found] = j
            room -= equal
            found += key > bound or equal
            j += 1


@kernel(
    "in T w_up[m, d]; in T w_down_t[m, d]; in T x[b, d]; in T g[b, m]; in int64 kept[b, k]; "
    "out T parts[p, b, d]; "
    "scratch T factors[CHUNK]",
    constants=CONSTANTS,
    split="p",
    gpu="block",
    threads=THREADS,
)
def sum_kept_rows(w_up, w_down_t, x, g, kept, parts, factors, start, stop):
    """parts[p, t] = the sum of g[t, j] (w_up[j]·x[t]) w_down_t[j] over the p-th part of the kept
    rows j of token t, in their order."""
    for p in range(start, stop):
        first, last = p * kept.shape[1] // parts.shape[0], (p + 1) * kept.shape[1] // parts.shape[0]
        for t in range(x.shape[0]):
            y = parts[p, t]
            for c in range(y.size):
                y[c] = y.dtype.type(0)
            for low in range(first, last, CHUNK):
                rows = kept[t, low : min(low + CHUNK, last)]
                row_factors(w_up, rows, x[t], g[t], factors)
                for c in range(0, y.size, 2048):  # columns whose sums stay in the first cache
                    add_rows(w_down_t, rows, factors, c, y[c : c + 2048])


def row_factors(w, rows, x, g, factors):
    """factors[i] = g[j] (w[j]·x) for j = rows[i]"""
    last = rows.size - 1
    for i in range(0, rows.size, 8):
        j0, j1 = rows[i], rows[min(i + 1, last)]
        j2, j3 = rows[min(i + 2, last)], rows[min(i + 3, last)]
        j4, j5 = rows[min(i + 4, last)], rows[min(i + 5, last)]
        j6, j7 = rows[min(i + 6, last)], rows[min(i + 7, last)]
        f = factors[i : i + 8]
        dots = dot_eight(w[j0], w[j1], w[j2], w[j3], w[j4], w[j5], w[j6], w[j7], x)
        f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7] = dots
    for i in range(rows.size):
        factors[i] *= g[rows[i]]


def add_rows(w, rows, factors, c, y):
    """y += the sum of factors[i] w[rows[i], c:c + y.size]"""
    whole = rows.size // 8 * 8
    for i in range(0, whole, 8):
        f, j = factors[i : i + 8], rows[i : i + 8]
        f0, f1, f2, f3, f4, f5, f6, f7 = f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]
        a0, a1, a2, a3 = w[j[0], c:], w[j[1], c:], w[j[2], c:], w[j[3], c:]
        a4, a5, a6, a7 = w[j[4], c:], w[j[5], c:], w[j[6], c:], w[j[7], c:]
        for e in range(y.size):
            y[e] += (f0 * a0[e] + f1 * a1[e] + (f2 * a2[e] + f3 * a3[e])) + (
                f4 * a4[e] + f5 * a5[e] + (f6 * a6[e] + f7 * a7[e])
            )
    for i in range(whole, rows.size):
        f, a = factors[i], w[rows[i], c:]
        for e in range(y.size):
            y[e] += f * a[e]


@kernel(
    "in T logits[n, v]; in int64 tokens[n]; out T log_q[n]; T temperature; scratch T tops[LANES]",
    constants=CONSTANTS,
    split="n",
    gpu="block",
    threads=THREADS,
)
def log_probabilities(logits, tokens, log_q, temperature, tops, start, stop):
    """log_q[i] = log softmax(logits[i] / temperature)[tokens[i]]; NaN where a logit is not
    finite."""
    v, real, inverse = logits.shape[1], logits.dtype.type, logits.dtype.type(1) / temperature
    for i in range(start, stop):
        row = logits[i]
        for lane in range(LANES):
            tops[lane] = row[0]
        for c in range(0, v // LANES * LANES, LANES):
            for lane in range(LANES):
                tops[lane] = row[c + lane] if row[c + lane] > tops[lane] else tops[lane]
        top = row[0]
        for lane in range(LANES):
            top = max(top, tops[lane])
        for c in range(v // LANES * LANES, v):
            top = max(top, row[c])
        total = wrong = real(0)
        for c in range(v):
            wrong = add_product(row[c], real(0), wrong)  # infinity times 0 is NaN
            total = add_product(exp((row[c] - top) * inverse), real(1), total)
        log_q[i] = (row[tokens[i]] - top) * inverse - math.log(total) + wrong
