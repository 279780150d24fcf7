"""Exact distances by the method of one's choice."""

import numpy as np

from .convolutions import subtract_convolutions
from .costs import cheapest, counts_of, heavy_letters
from .kernels import BLOCK, GPU_BLOCK, direct_distances, distances_by_pairs


def distances_of(symbols, method):
    if method == "auto":
        method = cheapest(symbols)
    distances = symbols.xp.full(
        (len(symbols.text), symbols.windows), len(symbols.pattern), np.int32
    )
    if not distances.size:
        return distances
    if method == "direct":
        direct_distances(
            symbols.text, symbols.pattern, jobs_of(symbols, BLOCK, GPU_BLOCK), distances
        )
        return distances
    n_counts, m_counts = counts_of(symbols, symbols.text)
    shared = (n_counts > 0) & (m_counts > 0)
    heavy = {"fft": shared, "pairs": shared & False}.get(method)
    if heavy is None:
        heavy = shared & heavy_letters(symbols, n_counts, m_counts)
    if heavy.any():
        subtract_convolutions(symbols, np.flatnonzero(heavy), distances)
    if (shared & ~heavy).any():
        subtract_pairs(symbols, shared & ~heavy, m_counts, distances)
    return distances


def subtract_pairs(symbols, chosen, m_counts, distances):
    """Subtract the matches of the chosen letters, pair by pair: the places of each letter in the
    pattern are listed."""
    xp, m = symbols.xp, len(symbols.pattern)
    ends = np.cumsum(m_counts)
    # the last code may be that of symbols that the pattern lacks
    bounds = np.zeros((len(chosen) + 1, 2), np.int64)
    bounds[:-1, 0], bounds[:-1, 1] = np.where(chosen, ends - m_counts, 0), np.where(chosen, ends, 0)
    places = xp.argsort(symbols.pattern, kind="stable").astype(np.int64)
    block = max(BLOCK, m)
    distances_by_pairs(
        symbols.text.astype(np.uint32),
        xp.asarray(bounds),
        places,
        jobs_of(symbols, block, BLOCK),
        distances,
    )


def jobs_of(symbols, block, gpu_block):
    """(jobs, 3) array: row, first window and the one behind the last, at most `block` windows in a
    job."""
    xp, rows, windows = symbols.xp, len(symbols.text), symbols.windows
    block = block if xp is np else gpu_block
    in_row = -(-windows // block)
    job = xp.arange(rows * in_row)
    first = job % in_row * block
    return xp.ascontiguousarray(
        xp.stack([job // in_row, first, xp.minimum(first + block, windows)], axis=1).astype(
            np.int64
        )
    )
