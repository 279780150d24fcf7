"""Arguments of the kernels of boosted trees."""

import numpy as np

from ...retrieval._lambdamart import kernels

EXAMPLES = {}


def _histograms(rng, variant, size):
    n, r = 40, int(rng.integers(0, 100))
    return [
        rng.integers(0, 256, (size, n)).astype(np.uint8),
        rng.integers(0, n, r),
        *rng.integers(-(2**50), 2**50, (2, r)),
        np.full((size, kernels.CELLS), -1),
    ]


def _splits(rng, variant, size):
    cells = rng.integers(0, 2**20, (size, 256, 3))
    cells[:, :, 0] -= 2**19
    cells[:, :, 2] %= 50
    cells[::2, 255] = 0  # nothing missing
    return [
        cells.reshape(size, kernels.CELLS),
        2.0**-20,
        2.0**-20,
        0.5,
        200,
        np.full(size, np.nan),
        *np.full((2, size), -1, np.int32),
    ]


def _tree(rng, variant, size):
    """A complete tree of three levels, on columns with NaN."""
    x = rng.standard_normal((size, 5)).astype(variant["T"])
    x[rng.random(x.shape) < 0.2] = np.nan
    node = np.arange(7, dtype=np.int32)
    left = np.where(node < 3, 2 * node + 1, -1).astype(np.int32)
    return [
        x,
        rng.integers(0, 5, 7).astype(np.int32),
        rng.standard_normal(7).astype(variant["T"]),
        rng.integers(0, 2, 7).astype(np.int32),
        left,
        np.where(node < 3, 2 * node + 2, -1).astype(np.int32),
        rng.standard_normal(7),
        rng.standard_normal(size),
    ]


KERNELS = {"gradient_histograms": _histograms, "best_splits": _splits, "add_tree": _tree}
