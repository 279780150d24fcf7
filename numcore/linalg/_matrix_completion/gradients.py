"""Least-squares problem of one row by conjugate gradients. Compiled into the kernels."""

import math

import numpy as np

from ...simd import dot

VECTORS = 5  # of conjugate gradients: p, the gradient, A p, z and the best solution


def conjugate_gradients(
    ids, values, factor, ridge, tolerance, most, worst, x, vectors, gram, pitch
):
    """Conjugate gradients for (AᵀA + ridge I) x = Aᵀb starting from x, preconditioned by the L D Lᵀ
    in gram unless pitch is 0; A has the rows `ids` of the factor, b the entries `values`.

    Each step reads A once, for A p and Aᵀ (A p). Returns False if `most` steps are not enough, or
    if the Rayleigh quotients of the steps, which lie between the extreme eigenvalues, show a
    condition number above `worst`.
    """
    k = len(x)
    p, gradient, product = vectors[:k], vectors[k : 2 * k], vectors[2 * k : 3 * k]
    z, best = vectors[3 * k : 4 * k], vectors[4 * k : 5 * k]
    for c in range(k):
        best[c] = x[c]
    limit = tolerance * math.sqrt(gradient_of(ids, values, factor, ridge, best, gradient, product))
    for c in range(k):
        z[c] = gradient[c]
    if pitch:
        precondition(gram, z, pitch, k)
    for c in range(k):
        p[c] = z[c]
    size, descent, step = math.sqrt(dot(gradient, gradient)), dot(gradient, z), 0
    largest, least, good = 0.0, math.inf, True
    while size > limit and descent > 0:
        if step == most or largest > worst * least:
            good = False
            break
        normal_product(ids, factor, ridge, p, product)
        curvature = dot(p, product)
        if not curvature > 0:
            break
        length = descent / curvature
        quotient = curvature / dot(p, p)
        largest, least = max(largest, quotient), min(least, quotient)
        for c in range(k):
            best[c] += length * p[c]
            gradient[c] -= length * product[c]
            z[c] = gradient[c]
        if pitch:
            precondition(gram, z, pitch, k)
        following = dot(gradient, z)
        for c in range(k):
            p[c] = z[c] + following / descent * p[c]
        size, descent = math.sqrt(dot(gradient, gradient)), following
        step += 1
    for c in range(k):
        x[c] = best[c]
    return good


def gradient_of(ids, values, factor, ridge, x, gradient, right):
    """gradient = Aᵀ (b - A x) - ridge x and right = Aᵀ b, four rows of A at a time; returns
    ‖right‖²."""
    k = len(x)
    for c in range(k):
        gradient[c], right[c] = -ridge * x[c], 0
    e = 0
    while e + 4 <= len(ids):
        r0, r1 = factor[np.uintp(ids[e])], factor[np.uintp(ids[e + 1])]
        r2, r3 = factor[np.uintp(ids[e + 2])], factor[np.uintp(ids[e + 3])]
        b0, b1 = float(values[e]), float(values[e + 1])
        b2, b3 = float(values[e + 2]), float(values[e + 3])
        t0, t1, t2, t3 = b0 - dot(r0, x), b1 - dot(r1, x), b2 - dot(r2, x), b3 - dot(r3, x)
        for c in range(k):
            gradient[c] += (t0 * r0[c] + t1 * r1[c]) + (t2 * r2[c] + t3 * r3[c])
            right[c] += (b0 * r0[c] + b1 * r1[c]) + (b2 * r2[c] + b3 * r3[c])
        e += 4
    while e < len(ids):
        row, value = factor[np.uintp(ids[e])], float(values[e])
        residual = value - dot(row, x)
        for c in range(k):
            gradient[c] += residual * row[c]
            right[c] += value * row[c]
        e += 1
    return dot(right, right)


def normal_product(ids, factor, ridge, p, product):
    """product = (AᵀA + ridge I) p, four rows of A at a time."""
    k = len(p)
    for c in range(k):
        product[c] = ridge * p[c]
    e = 0
    while e + 4 <= len(ids):
        r0, r1 = factor[np.uintp(ids[e])], factor[np.uintp(ids[e + 1])]
        r2, r3 = factor[np.uintp(ids[e + 2])], factor[np.uintp(ids[e + 3])]
        t0, t1, t2, t3 = dot(r0, p), dot(r1, p), dot(r2, p), dot(r3, p)
        for c in range(k):
            product[c] += (t0 * r0[c] + t1 * r1[c]) + (t2 * r2[c] + t3 * r3[c])
        e += 4
    while e < len(ids):
        row = factor[np.uintp(ids[e])]
        t = dot(row, p)
        for c in range(k):
            product[c] += t * row[c]
        e += 1


def precondition(gram, z, pitch, k):
    """z ← (L D Lᵀ)⁻¹ z."""
    for i in range(k):
        row = gram[i * pitch : (i + 1) * pitch]
        z[i] /= row[i]
        share = z[i]
        for c in range(i + 1, k):
            z[c] -= share * row[c]
    for step in range(k):
        i = k - 1 - step
        z[i] -= dot(gram[i * pitch + i + 1 : i * pitch + k], z[i + 1 : k]) / gram[i * pitch + i]
