"""Sampling points in proportion to their masses, separately in each class."""

import math

import numpy as np

from .kernels import BLOCK, block_masses, draw_in_blocks

ROWS = 1 << 14  # rows whose norms are computed at once


def wide(xp, weights):
    """Weights in float64; a single 1 for all points if `weights` is None."""
    return (
        xp.ones(1)
        if weights is None
        else xp.ascontiguousarray(weights.astype(np.float64, copy=False))
    )


def draw(xp, n, norms, w, strata, rng):
    """Indices and float64 weights of points drawn in each class in proportion to w ‖f‖, or to w if
    norms is None."""
    shares = np.array(strata.shares)
    norms = xp.ones(1) if norms is None else norms
    masses = xp.empty((-(-n // BLOCK), len(shares)))
    block_masses(norms, w, strata.labels, n, masses)
    table = _on_host(masses)
    if not np.isfinite(table.sum()):
        raise ValueError("weights and losses must have finite sums (got inf)")
    empty = table.sum(axis=0) == 0
    if empty.any():  # all losses of a class are zero: draw its points by weight
        in_empty_class = xp.asarray(empty)[strata.labels] & xp.ones(n, bool)
        norms = xp.where(in_empty_class, 1.0, norms)
        block_masses(norms, w, strata.labels, n, masses)
        table = _on_host(masses)
    chosen = xp.empty(int(shares.sum()), np.int64)
    thresholds, firsts, counts = thresholds_of(table, shares, rng)
    draw_in_blocks(
        norms,
        w,
        strata.labels,
        n,
        xp.asarray(thresholds),
        xp.asarray(firsts),
        xp.asarray(counts),
        chosen,
    )
    indices, times = xp.unique(chosen, return_counts=True)
    each = xp.asarray(table.sum(axis=0) / shares)
    labels, drawn_norms = (a if len(a) == 1 else a[indices] for a in (strata.labels, norms))
    return indices, times * each[labels] / drawn_norms


def _on_host(array):
    return array if isinstance(array, np.ndarray) else np.array(array.tolist())


def thresholds_of(table, shares, rng):
    """Uniform random thresholds below the masses of blocks (b, c), ascending and sorted by block
    and class, with the start and the count of each pair."""
    b, c = table.shape
    ends, keys, thresholds = np.cumsum(table, axis=0), [], []
    for column in range(c):
        u = np.sort(rng.random(shares[column])) * ends[-1, column]
        block = np.minimum(
            np.searchsorted(ends[:, column], u, side="right"), np.flatnonzero(table[:, column])[-1]
        )
        keys.append(block * c + column)
        thresholds.append(u - (ends[block, column] - table[block, column]))
    keys = np.concatenate(keys)
    counts = np.bincount(keys, minlength=b * c).reshape(b, c)
    firsts = (np.cumsum(counts) - counts.ravel()).reshape(b, c)
    return np.concatenate(thresholds)[np.argsort(keys, kind="stable")], firsts, counts


def best_sample(xp, f, w, members, size, n_trials, rng):
    """The best of several samples of the members, drawn in proportion to w: the one whose mean of f
    is nearest to that of all members."""
    n = len(f)
    members = xp.arange(n) if members is None else members
    w = w[members] if len(w) == n else xp.ones(len(members)) * w
    ends = xp.cumsum(w)
    rows, mass = f[members], float(ends[-1])
    # scaled so that no square overflows
    rows = rows / max(float(xp.abs(rows).max()) if rows.size else 1.0, np.finfo(f.dtype).tiny)
    mean = (w / mass) @ rows
    best, min_distance = None, math.inf
    for _ in range(n_trials):
        drawn = xp.searchsorted(ends, xp.asarray(rng.random(size) * mass), side="right")
        drawn = xp.minimum(drawn, xp.searchsorted(ends, ends[-1:]))
        distance = float(xp.linalg.norm(rows[drawn].mean(axis=0) - mean))
        if best is None or distance < min_distance:
            best, min_distance = drawn, distance
    indices, times = xp.unique(members[best], return_counts=True)
    return indices, times * (mass / size)


def lengths(xp, f):
    """The norms of the rows in float64, scaled to avoid overflow."""
    result = xp.empty(len(f))
    for first in range(0, len(f), ROWS):
        rows = f[first : first + ROWS].astype(np.float64)
        largest = (float(xp.abs(rows).max()) if rows.size else 0.0) or 1.0
        rows = rows / largest
        result[first : first + ROWS] = largest * xp.sqrt(xp.einsum("ij,ij->i", rows, rows))
    return result
