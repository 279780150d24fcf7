"""Orthonormal bases, Gram matrices and norms, in float64."""

import math

import numpy as np

from ...simd import tile_cols
from ...special import exp, log
from .kernels import quadratic_forms, weighted_grams

# rows per partial Gram matrix, so that the sum does not depend on the number of threads
ROWS = 1 << 13
WORST_SQUARED_CONDITION = 1e6  # of a Gram matrix; beyond it the SVD is used
MAX_SCALE_RATIO = 1e3  # columns whose magnitudes differ by more are rescaled
LOWEST, HIGHEST = 1e-100, 1e100  # magnitudes whose squares neither underflow nor overflow
EPS = float(np.finfo(np.float64).eps)


def check_rows(a):
    if not len(a):
        raise ValueError(f"a must have shape (n, d) with n >= 1 (got {a.shape})")


def basis_of(xp, a):
    """Q = A t with orthonormal columns that span those of A, and t, in float64."""
    (n, d), eps = a.shape, np.finfo(a.dtype).eps
    scale = xp.abs(a).max(axis=0).astype(np.float64) if a.size else xp.zeros(1)
    top, low = float(scale.max()), float(scale.min())
    if top == 0:
        return xp.zeros((n, 0)), xp.zeros((d, 0))
    a = xp.ascontiguousarray(a.astype(np.float64, copy=False))
    if LOWEST < low and top < HIGHEST and top < MAX_SCALE_RATIO * low:
        scale = xp.ones(d)
    else:  # the rank is determined for columns of equal scale
        scale = xp.where(scale > 0, scale, 1.0)
        a = a / scale
    values, vectors = xp.linalg.eigh(gram_of(xp, a))
    if float(values[-1]) < WORST_SQUARED_CONDITION * float(values[0]):
        t = vectors / xp.sqrt(values)
        return a @ t, t / scale[:, None]
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    rank = int((s > max(n, d) * eps * s[0]).sum())
    return u[:, :rank], vh[:rank].T / s[:rank] / scale[:, None]


def padded_columns(xp, d):
    """Number of columns after padding d columns to complete register tiles (on the CPU)."""
    tile = tile_cols(np.float64(0)) if xp is np else 1
    return max(-(-d // tile), 1) * tile


def gram_of(xp, q, h=None):
    """Qᵀ diag(h) Q."""
    (n, d), size = q.shape, padded_columns(xp, q.shape[1])
    parts = xp.zeros((max(-(-n // ROWS), 1), size, size))
    weighted_grams(xp.ascontiguousarray(q), xp.ones(n) if h is None else h, parts)
    lower = xp.tril(parts.sum(axis=0)[:d, :d])
    return lower + xp.tril(lower, -1).T


def quadratic_forms_of(xp, q, t):
    """‖tᵀ q_i‖² for every row."""
    wide, y = xp.zeros((t.shape[0], padded_columns(xp, t.shape[1]))), xp.empty(len(q))
    wide[:, : t.shape[1]] = t
    quadratic_forms(xp.ascontiguousarray(q), wide, y)
    return y


def norm_of(xp, x, p):
    """‖x‖_p, also for p = ∞."""
    top = float(xp.abs(x).max()) if x.size else 0.0
    if top == 0 or p == math.inf:
        return top
    return top * float(exp(p * log(xp.maximum(xp.abs(x) / top, LOWEST))).sum()) ** (1 / p)
