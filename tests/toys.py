"""Small kernels for the tests of the machinery; their CUDA bodies are in toys.cu."""

import math

import numpy as np

from numcore.elementwise import elementwise
from numcore.kernel import kernel
from numcore.simd import fma, ldexp, popcount
from numcore.special import tanh

HALF = np.float32(0.5)


def low_high(row):
    low = high = row[0]
    for x in row:
        low, high = min(low, x), max(high, x)
    return low, high


REPEATS = 2  # of every entry


@kernel(
    "in T a[n, d]; out T y[n]; T scale; scratch T row[REPEATS*d]",
    split="n",
    grain="1",
    constants=("REPEATS",),
)
def row_statistic(a, y, scale, row, start, stop):
    """Views, tuples, nested functions, libm and scratch memory: what a body may use."""
    d = a.shape[1]
    for i in range(start, stop):
        low, high = low_high(a[i])
        for j in range(d):
            for k in range(REPEATS):
                row[REPEATS * j + k] = a[i, j]
        total = a[i, 0] * 0
        for x in row[1 : REPEATS * d - 1]:
            total += x * x
        y[i] = scale * total + math.exp(low) / (1 + high * high)


@kernel("in I words[n]; out int64 ones[n]", split="n", types={"I": ("uint32", "uint64")})
def count_ones(words, ones, start, stop):
    """Another type variable than T."""
    for i in range(start, stop):
        ones[i] = popcount(words[i])


@kernel("inout T x[n]; in int64 at[m]", split="n")
def add_at_unchecked(x, at, start, stop):
    for i in range(start, stop):
        x[i] += at.size


@kernel("in T x[n]; out T y[n]; T scale", split="n")
def scaled_tanh(x, y, scale, start, stop):
    """Elementary functions under their public names."""
    for i in range(start, stop):
        y[i] = scale * tanh(x[i])


def halve_float32(x):
    return x * HALF


def halve_float64(x):
    return fma(x, 0.5, 0.0)


@elementwise(float32=halve_float32, float64=halve_float64)
def halve(x, *, out=None):
    """Half of x."""


def is_large(x):
    return abs(x) > 100


def slow_root(x):
    return math.sqrt(abs(x))


def double(x):
    return x + x


@elementwise(
    float32=double,
    float64=double,
    rare_float32=(is_large, slow_root),
    rare_float64=(is_large, slow_root),
)
def double_or_root(x, *, out=None):
    """2x, but the root of \\|x\\| where that exceeds 100."""


def scaled(x):
    return ldexp(x, np.int32(3))


@elementwise(float32=scaled, float64=scaled)
def eightfold(x, *, out=None):
    """8x by adding to the exponent."""


# --- bodies that break the contract ---------------------------------------------------------------


@kernel("in T a[n, d]; out T y[n]", split="n")
def allocating(a, y, start, stop):
    for i in range(start, stop):
        row = np.empty(a.shape[1], a.dtype)
        row[:] = a[i]
        y[i] = row.sum()


@kernel("in T a[n]; out T y[n]", split="n")
def raising(a, y, start, stop):
    for i in range(start, stop):
        if a[i] < 0:
            raise ValueError("negative")
        y[i] = a[i]


@kernel("in T a[n]; out T y[n]", split="n")
def printing(a, y, start, stop):
    for i in range(start, stop):
        print(a[i])
        y[i] = a[i]


@kernel("in T a[n]; out T y[n]", split="n")
def misspelled(a, y, start, stop):
    y[0] = row_sum(a)
