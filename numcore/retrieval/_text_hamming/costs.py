"""Estimated costs of the ways to compute distances, from how often each letter occurs."""

import functools

import numpy as np

from ...simd import host_vector_bits
from .convolutions import transform_plan

SAMPLE_RUNS, SAMPLE_RUN = 64, 1024  # symbols of a long text that the choice of a method looks at
# by the bits of a vector; costs are seconds on one thread
COMPARES_PER_SECOND = {512: 1.6e11, 256: 1e11, 128: 5e10}
# for an equal pair, a symbol read, a symbol transformed in float32
PAIR, SCAN, TRANSFORM = 2e-9, 2e-8, 3.3e-9
CALL = 3e-5  # of the functions that a transform takes
GPU_COMPARES_PER_SECOND, GPU_PAIR, GPU_SCAN, GPU_TRANSFORM = 1e12, 2e-11, 1e-11, 1e-10


def cheapest(symbols):
    """The method of the least estimated cost; counting letters is spared where nothing can be
    cheaper than comparing all symbols."""
    none = np.zeros(len(symbols.letters))
    least = costs_of(symbols, none, none)
    if least["direct"] <= min(least["pairs"], 2 * convolution_cost(symbols)):
        return "direct"
    costs = costs_of(symbols, *sampled_counts(symbols))
    return min(costs, key=costs.get)


def costs_of(symbols, n_counts, m_counts):
    """Estimated seconds of each method on one thread, or on the GPU."""
    if symbols.xp is np:
        compares, pair, scan = COMPARES_PER_SECOND[vector_bits()], PAIR, SCAN
    else:
        compares, pair, scan = GPU_COMPARES_PER_SECOND, GPU_PAIR, GPU_SCAN
    n, m, width = symbols.text.size, len(symbols.pattern), symbols.text.dtype.itemsize
    by_pairs, letter = pair * n_counts * m_counts, convolution_cost(symbols)
    shared = (n_counts > 0) & (m_counts > 0)
    heavy = shared & (by_pairs > letter)
    mixed = (
        by_pairs[shared & ~heavy].sum()
        + letter * (heavy.sum() + heavy.any())
        + scan * n * (shared & ~heavy).any()
    )
    return {
        "direct": len(symbols.text) * symbols.windows * m * width / compares,
        "fft": letter * (int(shared.sum()) + 1),
        "pairs": scan * n + float(by_pairs.sum()),
        "mixed": float(mixed),
    }


def counts_of(symbols, text):
    """How often each letter occurs in `text` and in the pattern, on the host."""
    size = len(symbols.letters) + 1
    counts = (
        symbols.xp.bincount(a.reshape(-1).astype(np.intp), minlength=size)[: len(symbols.letters)]
        for a in (text, symbols.pattern)
    )
    return tuple(c if symbols.xp is np else symbols.xp.asnumpy(c) for c in counts)


def sampled_counts(symbols):
    """`counts_of`, for a long text estimated from runs of symbols all over it."""
    flat = symbols.text.reshape(-1)
    if flat.size <= 2 * SAMPLE_RUNS * SAMPLE_RUN:
        return counts_of(symbols, flat)
    apart = flat.size // SAMPLE_RUNS
    n_counts, m_counts = counts_of(
        symbols, flat[: SAMPLE_RUNS * apart].reshape(SAMPLE_RUNS, apart)[:, :SAMPLE_RUN]
    )
    return n_counts * (flat.size / (SAMPLE_RUNS * SAMPLE_RUN)), m_counts


@functools.cache
def vector_bits():
    return host_vector_bits()


def convolution_cost(symbols):
    """Seconds for the transform of all blocks of the text."""
    length, step, dtype = transform_plan(symbols)
    blocks = len(symbols.text) * -(-symbols.windows // step)
    return CALL + (TRANSFORM if symbols.xp is np else GPU_TRANSFORM) * blocks * length * (
        1 if dtype == np.float32 else 3.5
    )


def heavy_letters(symbols, n_counts, m_counts):
    """Letters with more equal pairs than a convolution is worth."""
    pair = PAIR if symbols.xp is np else GPU_PAIR
    return pair * n_counts * m_counts > convolution_cost(symbols)
