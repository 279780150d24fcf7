"""Least-squares problems of one row by their Gram matrix: exact solutions, the smallest one where
the matrix is singular, and Gram matrices of sketches.

Compiled into the kernels: a Gram matrix is in the upper triangle, each of its rows of `pitch`
numbers followed by its entry of the right-hand side.
"""

import math

import numpy as np

from ...simd import WIDEST, gemm_row, gemm_tile, tile_cols, tile_rows

PANEL = 32  # entries of a row, with their rows of the factor, that are gathered at once
STRIP = 8  # rows of a Gram matrix that are factorized before the others lose what these explain
SKETCHES = 4  # of k rows each
MARGIN = (
    WIDEST // 2
)  # by how much a row of float64 grows to a multiple of the widest tile's columns

SUSPICIOUS = 1e-8  # a pivot smaller than this, relative to its diagonal entry, asks for pivoting
# a pivot smaller than this, relative to the largest one, is a direction that the data do not
# determine
MISSING = 1e-12


def pitch_of(k, panel):
    """The length of a row of a Gram matrix and its right-hand side, a multiple of the register
    tile's columns."""
    return (k + tile_cols(panel[0])) // tile_cols(panel[0]) * tile_cols(panel[0])


def clear(x, n):
    for c in range(n):
        x[c] = 0


def solve_row(ids, values, factor, ridge, gram, panel, negative, vectors, basis, pitch):
    """The solution of one row with the entries `values` in the columns `ids` into vectors[:k]; how
    many directions its entries determine."""
    k = factor.shape[1]
    if not len(ids):
        clear(vectors, k)
        return 0
    if len(ids) >= k or ridge > 0:
        fill_gram(ids, values, factor, ridge, gram, panel, pitch)
        if factorize(gram, negative, vectors, pitch, k, panel):
            back_substitute(gram, vectors, pitch, k)
            return k
    fill_gram(ids, values, factor, ridge, gram, panel, pitch)
    return smallest_solution(gram, basis, vectors, pitch, k)


def fill_gram(ids, values, factor, ridge, gram, panel, pitch):
    """The upper triangle of [A b]ᵀ [A b] + ridge I without its last row, A the rows of the factor
    that belong to the entries b."""
    k = factor.shape[1]
    for begin in range(0, len(ids), PANEL):
        depth = min(PANEL, len(ids) - begin)
        for e in range(depth):
            source = factor[np.uintp(ids[begin + e])]
            target = panel[e * pitch : (e + 1) * pitch]
            for c in range(k):
                target[c] = source[c]
            target[k] = values[begin + e]
        add_products(panel, panel, 0, gram, pitch, 0, k, depth, begin, panel)
    for c in range(k):
        gram[c * pitch + c] += ridge


def add_products(left, right, place, gram, pitch, low, k, depth, accumulate, panel):
    """The upper triangle of gram from row `low` on, (plus) leftᵀ right for `depth` rows of left,
    and of right from `place` on."""
    i = low
    while i < k:
        j = i // tile_cols(panel[0]) * tile_cols(panel[0])
        while j <= k:
            at, to = place + j, i * pitch + j
            gemm_tile(left, i, 1, pitch, right, at, pitch, gram, to, pitch, depth, accumulate)
            j += tile_cols(panel[0])
        i += tile_rows(panel[0])


def factorize(gram, negative, diagonal, pitch, k, panel):
    """G = L D Lᵀ in place: row i of the upper triangle becomes d_i times column i of L. False where
    a pivot is suspiciously small.

    STRIP rows at a time, the others then lose what these explain; `negative` has these rows divided
    by -d.
    """
    width = tile_cols(panel[0])
    for i in range(k):
        diagonal[i] = gram[i * pitch + i]
    for low in range(0, k, STRIP):
        high = min(low + STRIP, k)
        for i in range(low, high):
            if i > low:
                j = i // width * width
                while j <= k:
                    at, to = low * pitch + j, i * pitch + j
                    gemm_row(negative, i, 1, pitch, gram, at, pitch, gram, to, pitch, i - low, 1)
                    j += width
            row = gram[i * pitch : (i + 1) * pitch]
            scaled = negative[(i - low) * pitch : (i - low + 1) * pitch]
            if not row[i] > SUSPICIOUS * diagonal[i]:
                return False
            inverse = -1 / row[i]
            for c in range(i, k + 1):
                scaled[c] = row[c] * inverse
        add_products(negative, gram, low * pitch, gram, pitch, high, k, high - low, 1, panel)
    return True


def back_substitute(gram, solution, pitch, k):
    """From the last unknown to the first, each taken out of all equations before it."""
    for i in range(k):
        solution[i] = gram[i * pitch + k]
    for step in range(k):
        i = k - 1 - step
        value = solution[i] / gram[i * pitch + i]
        solution[i] = value
        for j in range(i):
            solution[j] -= gram[j * pitch + i] * value


def smallest_solution(gram, basis, vectors, pitch, k):
    """The smallest solution of G x = c by G ≈ Rᵀ R with R of full row rank: x = Rᵀ (R Rᵀ)⁻¹ y, c =
    Rᵀ y. The rank.

    Cholesky's factorization by rows, each time for the largest diagonal entry that is left; G in
    the upper triangle, c behind it.
    """
    solution, left, order, wide = vectors[:k], vectors[k : 2 * k], vectors[2 * k : 3 * k], k + 1
    most = 0.0
    for c in range(k):
        left[c] = gram[c * pitch + c]
        most = max(most, left[c])
    rank = 0
    while rank < k:
        q = 0
        for c in range(k):
            if left[c] > left[q]:
                q = c
        if not left[q] > MISSING * most:
            break
        row, root = basis[rank * wide : (rank + 1) * wide], math.sqrt(left[q])
        for c in range(wide):
            row[c] = gram[min(q, c) * pitch + max(q, c)]
        for t in range(rank):
            above = basis[t * wide : (t + 1) * wide]
            share = above[q]
            for c in range(wide):
                row[c] -= share * above[c]
        for c in range(wide):
            row[c] /= root
        for t in range(rank):
            row[np.int64(order[t])] = 0
        for c in range(k):
            left[c] -= row[c] * row[c]
        row[q], left[q], order[rank] = root, -1, q
        rank += 1
    from_basis(gram, basis, solution, left, pitch, k, rank)
    return rank


def from_basis(gram, basis, solution, z, pitch, k, rank):
    """solution = Rᵀ (R Rᵀ)⁻¹ y for the rows of R, with y behind them; the factorization of R Rᵀ
    takes the place of G."""
    wide = k + 1
    for s in range(rank):
        for t in range(s + 1):
            total = 0.0
            for c in range(k):
                total += basis[s * wide + c] * basis[t * wide + c]
            for c in range(t):
                total -= gram[s * pitch + c] * gram[t * pitch + c]
            gram[s * pitch + t] = (
                total / gram[t * pitch + t] if t < s else math.sqrt(max(total, 0.0))
            )
    for s in range(rank):
        total = basis[s * wide + k]
        for t in range(s):
            total -= gram[s * pitch + t] * z[t]
        z[s] = total / gram[s * pitch + s]
    for step in range(rank):
        s = rank - 1 - step
        for t in range(s + 1, rank):
            z[s] -= gram[t * pitch + s] * z[t]
        z[s] /= gram[s * pitch + s]
    clear(solution, k)
    for s in range(rank):
        for c in range(k):
            solution[c] += z[s] * basis[s * wide + c]


def fill_sketched_gram(ids, values, factor, places, ridge, gram, sketch, pitch):
    """(S A)ᵀ (S A) + ridge I for SKETCHES sketches S of k rows; of A itself where that is not
    longer."""
    k = factor.shape[1]
    if len(ids) <= SKETCHES * k:
        clear(sketch, PANEL * pitch)
        fill_gram(ids, values, factor, ridge, gram, sketch, pitch)
        return
    for part in range(SKETCHES):
        clear(sketch, k * pitch)
        for i in ids:
            row, place = factor[np.uintp(i)], np.int64(places[np.uintp(i), part])
            target = sketch[(place >> 1) * pitch : ((place >> 1) + 1) * pitch]
            sign = 1.0 - 2.0 * (place & 1)
            for c in range(k):
                target[c] += sign * row[c]
        add_products(sketch, sketch, 0, gram, pitch, 0, k, k, part, sketch)
    for c in range(k):
        gram[c * pitch + c] += ridge
