"""Kernels of matrix completion: the least-squares problems of all rows of a sparse matrix, by three
methods, and entries of a product of two thin matrices."""

import math

import numpy as np

from ...kernel import kernel
from .._sparse import INDICES
from .gradients import VECTORS, conjugate_gradients
from .gram import (
    MARGIN,
    MISSING,
    PANEL,
    SKETCHES,
    STRIP,
    SUSPICIOUS,
    clear,
    factorize,
    fill_sketched_gram,
    pitch_of,
    solve_row,
)

CONSTANTS = {
    "MARGIN": MARGIN,
    "MISSING": MISSING,
    "PANEL": PANEL,
    "SKETCHES": SKETCHES,
    "STRIP": STRIP,
    "SUSPICIOUS": SUSPICIOUS,
    "VECTORS": VECTORS,
}
# Shared memory, in doubles: the Gram matrix, a basis and a panel, rows with entries of the
# right-hand side behind them; then vectors.
TABLES = "2*k*(k+1)+PANEL*(k+1)"


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, k]; in int64 rows[r]; "
    "inout T x[m, k];"
    " inout int32 found[m]; float64 weight; scratch float64 gram[(k+MARGIN)*(k+MARGIN)]; "
    "scratch float64 panel[PANEL*(k+MARGIN)];"
    " scratch float64 negative[STRIP*(k+MARGIN)]; scratch float64 vectors[3*k]; "
    "scratch float64 basis[k*(k+1)]",
    constants=CONSTANTS,
    split="r",
    gpu="block",
    threads=128,
    shared=f"8*({TABLES}+2*k)",
    types=INDICES,
)
def solve_directly(
    indptr,
    indices,
    data,
    factor,
    rows,
    x,
    found,
    weight,
    gram,
    panel,
    negative,
    vectors,
    basis,
    start,
    stop,
):
    """Rows of the least-squares solution by L D Lᵀ of the Gram matrix, where it is singular by a
    factorization that reveals its rank."""
    k = factor.shape[1]
    pitch = pitch_of(k, panel)
    clear(panel, PANEL * pitch)
    clear(negative, STRIP * pitch)
    for at in range(start, stop):
        i = rows[at]
        ids, values = indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]
        ridge = weight * len(ids)
        found[i] = solve_row(
            ids, values, factor, ridge, gram, panel, negative, vectors, basis, pitch
        )
        for c in range(k):
            x[i, c] = vectors[c]


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, w]; in int64 rows[r]; "
    "inout T x[m, w];"
    " inout int32 found[m]; float64 weight; float64 tolerance; int64 k; int64 most; float64 worst; "
    "scratch float64 vectors[VECTORS*w]",
    constants=CONSTANTS,
    split="r",
    gpu="block",
    threads=128,
    shared="8*(VECTORS*w+PANEL)",
    types=INDICES,
)
def solve_by_gradients(
    indptr,
    indices,
    data,
    factor,
    rows,
    x,
    found,
    weight,
    tolerance,
    k,
    most,
    worst,
    vectors,
    start,
    stop,
):
    """Rows of the least-squares solution by conjugate gradients from x, found = -1 where it takes
    too long; columns behind k are zero."""
    for at in range(start, stop):
        i = rows[at]
        ids, values = indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]
        row, ridge = x[i], weight * len(ids)
        if ridge == 0 and len(ids) < k:
            for c in range(len(row)):
                row[c] = 0
        good = conjugate_gradients(
            ids, values, factor, ridge, tolerance, most, worst, row, vectors, vectors, 0
        )
        found[i] = -1 if not good else k if ridge > 0 else min(k, len(ids))


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, k]; "
    "in int32 places[n, SKETCHES]; in int64 rows[r];"
    " inout T x[m, k]; inout int32 found[m]; float64 weight; float64 tolerance; int64 most; "
    "scratch float64 gram[(k+MARGIN)*(k+MARGIN)];"
    " scratch float64 sketch[(k+PANEL)*(k+MARGIN)]; scratch float64 negative[STRIP*(k+MARGIN)]; "
    "scratch float64 vectors[VECTORS*k];"
    " scratch float64 basis[k*(k+1)]",
    constants=CONSTANTS,
    split="r",
    gpu="block",
    threads=128,
    shared=f"8*({TABLES}+VECTORS*k)",
    types=INDICES,
)
def solve_by_sketch(
    indptr,
    indices,
    data,
    factor,
    places,
    rows,
    x,
    found,
    weight,
    tolerance,
    most,
    gram,
    sketch,
    negative,
    vectors,
    basis,
    start,
    stop,
):
    """Conjugate gradients preconditioned by the Gram matrix of sketches: sums of rows with random
    signs, of SKETCHES k entries or more."""
    k = factor.shape[1]
    pitch = pitch_of(k, sketch)
    clear(negative, STRIP * pitch)
    for at in range(start, stop):
        i = rows[at]
        ids, values = indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]
        ridge = weight * len(ids)
        good = len(ids) >= k or ridge > 0 and len(ids) > 0
        if good:
            fill_sketched_gram(ids, values, factor, places, ridge, gram, sketch, pitch)
            good = factorize(gram, negative, vectors, pitch, k, sketch)
        if good:
            conjugate_gradients(
                ids, values, factor, ridge, tolerance, most, math.inf, x[i], vectors, gram, pitch
            )
            found[i] = k
        else:
            clear(sketch, PANEL * pitch)
            found[i] = solve_row(
                ids, values, factor, ridge, gram, sketch, negative, vectors, basis, pitch
            )
            for c in range(k):
                x[i, c] = vectors[c]


@kernel(
    "in T u[m, k]; in T v[n, k]; in INDEX rows[z]; in INDEX cols[z]; out T y[z]",
    split="z",
    types=INDICES,
)
def entry_products(u, v, rows, cols, y, start, stop):
    """Inner products of rows of u and v, in float64."""
    for e in range(start, stop):
        left, right = u[np.uintp(rows[e])], v[np.uintp(cols[e])]
        total = 0.0
        for c in range(len(left)):
            total += float(left[c]) * float(right[c])
        y[e] = total
