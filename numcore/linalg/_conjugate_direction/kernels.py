"""Kernels of conjugate directions: adding a multiple of a vector, inner products by blocks, and a
sparse product fused with them."""

import numpy as np

from ...kernel import kernel
from .._sparse import INDICES, row_product

BLOCK = 2048  # rows per partial sum


@kernel("in T x[n]; inout T y[n]; float64 factor", split="n")
def add_multiple(x, y, factor, start, stop):
    """y ← y + factor x."""
    source, target, factor = x[start:stop], y[start:stop], x.dtype.type(factor)
    for i in range(len(source)):
        target[i] += factor * source[i]


@kernel(
    "in T x[n]; in T y[n]; out float64 parts[g, 3]", constants=("BLOCK",), split="g", gpu="block"
)
def sums_of_products(x, y, parts, start, stop):
    """Σ x², Σ x y and Σ y² over each block of entries."""
    for g in range(start, stop):
        own, both, squares = 0.0, 0.0, 0.0
        for i in range(np.uintp(g * BLOCK), np.uintp(min((g + 1) * BLOCK, x.size))):
            one, other = np.float64(x[i]), np.float64(y[i])
            own, both, squares = own + one * one, both + one * other, squares + other * other
        parts[g, 0], parts[g, 1], parts[g, 2] = own, both, squares


@kernel(
    "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in T x[n]; in T b[q]; float64 sign; "
    "out T y[n]; out float64 parts[g, 3]",
    constants=("BLOCK",),
    split="g",
    gpu="block",
    types=INDICES,
)
def rows_and_sums(indptr, indices, data, x, b, sign, y, parts, start, stop):
    """y = b + sign A x (b = 0 if it is empty), with Σ x², Σ x y and Σ y² over each block of
    rows."""
    for g in range(start, stop):
        own, both, squares = 0.0, 0.0, 0.0
        for i in range(np.uintp(g * BLOCK), np.uintp(min((g + 1) * BLOCK, x.size))):
            total = sign * row_product(indptr[i], indptr[i + np.uintp(1)], indices, data, x)
            if b.size > 0:
                total += b[i]
            y[i] = total
            one, other = np.float64(x[i]), np.float64(y[i])
            own, both, squares = own + one * one, both + one * other, squares + other * other
        parts[g, 0], parts[g, 1], parts[g, 2] = own, both, squares
