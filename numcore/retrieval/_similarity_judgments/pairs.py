"""The pairs of stimuli as vectors, their correlations and ranks.

The P = n (n - 1) / 2 pairs of n stimuli are in the order of ``numpy.triu_indices(n, 1)``.
"""

import math

import numpy as np

from ...dispatch import namespace_of

ASYMMETRY = {"float32": 1e-5, "float64": 1e-8}
CONSTANT = 1e-14  # relative deviations that are rounding errors


def largest(xp, x, axis=None):
    """The largest absolute value, 1 where all are zero: a divisor that keeps squares within
    range."""
    top = xp.abs(x).max(axis=axis, keepdims=axis is not None)
    return xp.where(top > 0, top, top.dtype.type(1))


def checked_pairs(name, s):
    """The pairs of a similarity matrix of either form as a vector of float64, and the number of
    stimuli."""
    xp = namespace_of(s)
    n = len(s) if s.ndim == 2 else (1 + math.isqrt(1 + 8 * len(s))) // 2
    if s.ndim == 1 and n * (n - 1) // 2 != len(s):
        raise ValueError(f"{name} must have n (n - 1) / 2 entries for some n (got {len(s)})")
    if n < 3:
        raise ValueError(f"{name} must have n >= 3 stimuli (got {n})")
    if s.ndim == 1:
        return s.astype(np.float64), n
    with np.errstate(over="ignore"):
        wrong = float(xp.abs(s - s.T).max())
    if wrong > ASYMMETRY[s.dtype.name] * float(xp.abs(s).max()):
        raise ValueError(f"{name} must be symmetric (got entries that differ by {wrong:.3g})")
    return condensed_pairs(xp, s).astype(np.float64), n


def condensed_pairs(xp, s):
    return s[xp.triu_indices(len(s), 1)]


def square(xp, pairs, n):
    """The symmetric matrix of the pairs, with zeros on its diagonal."""
    s = xp.zeros((n, n))
    i, j = xp.triu_indices(n, 1)
    s[i, j] = s[j, i] = pairs
    return s


def standardized(xp, name, x):
    """x with mean 0 and variance 1."""
    x = x / largest(xp, x)
    x = x - x.mean()
    deviation = float(xp.sqrt((x * x).mean()))
    if deviation <= CONSTANT:
        raise ValueError(
            f"{name} must not be constant (got a vector whose correlation is undefined)"
        )
    return x / deviation


def correlation_of(xp, ab, aa, bb):
    with np.errstate(divide="ignore", invalid="ignore"):
        return xp.clip(ab / (xp.sqrt(aa) * xp.sqrt(bb)), -1, 1)


def row_correlations(xp, a, b):
    """Correlations of the rows of a with those of b; NaN where one is constant but for rounding."""

    def centered(x):
        least = (CONSTANT * largest(xp, x, 1)[:, 0]) ** 2 * x.shape[1]
        x = x - x.mean(axis=1, keepdims=True)
        square = xp.einsum("ij,ij->i", x, x)
        return x, xp.where(square > least, square, np.nan)

    (a, aa), (b, bb) = centered(a), centered(b)
    return correlation_of(xp, xp.einsum("ij,ij->i", a, b), aa, bb)


def ranks(xp, x):
    """Ranks from 1 of a vector, ties by their mean."""
    _, which, counts = xp.unique(x, return_inverse=True, return_counts=True)
    return (xp.cumsum(counts) - (counts - 1) / 2)[which]


def row_ranks(xp, x):
    return xp.stack([ranks(xp, row) for row in x])


def percentiles(xp, x, dtype):
    return tuple(dtype.type(value) for value in xp.percentile(x, (2.5, 97.5)).tolist())
