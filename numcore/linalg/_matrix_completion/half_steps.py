"""Half a round of alternating minimization: one least-squares problem for every row of a sparse
matrix."""

import math

import numpy as np

from ...dispatch import namespace_of
from ...random import philox_uint32
from .gram import SKETCHES
from .kernels import solve_by_gradients, solve_by_sketch, solve_directly

# up to this rank, factorizing Gram matrices is as fast as conjugate gradients, over all rounds
MAX_DIRECT = 32
MAX_IN_BLOCK = 48  # largest rank whose matrices fit in the shared memory of any GPU
LANES = 16  # conjugate gradients pad rows to a multiple of this length
STEPS, WORST_CONDITION = 100, 1e4  # beyond these, "auto" switches from conjugate gradients
EXACT = 1e-15  # best relative accuracy attainable by conjugate gradients


class HalfStep:
    """One least-squares problem for every row of a sparse matrix; chooses the method."""

    def __init__(self, name, ridge, key):
        self.name, self.ridge, self.key = name, ridge, key

    def __call__(self, csr, factor, x0, accuracy):
        """The solutions, (m, k), and whether any of them is a minimum-norm solution of a
        rank-deficient problem."""
        xp, (m, n), k = namespace_of(factor), csr.shape, factor.shape[1]
        weight, factor = self.ridge / max(n, 1), xp.ascontiguousarray(factor)
        matrix, all_rows = (csr.indptr, csr.indices, csr.data), _spread(xp, m)
        found = xp.zeros(m, np.int32)
        exact = xp is np or k <= MAX_IN_BLOCK
        if exact and (self.name == "cholesky" or self.name == "auto" and k <= MAX_DIRECT):
            x = xp.zeros((m, k), factor.dtype)
            solve_directly(*matrix, factor, all_rows, x, found, weight)
            return x, bool((found < k).any())
        # rows padded to whole SIMD vectors: the added entries are zero and stay zero
        width = -(-k // LANES) * LANES
        wide, x = (_widened(xp, a, width, factor.dtype, rows) for a, rows in ((factor, n), (x0, m)))
        if self.name != "sketch" or not exact:
            automatic = self.name == "auto" and exact
            limits = (STEPS, WORST_CONDITION) if automatic else (10 * k + STEPS, math.inf)
            reached = EXACT if self.name == "cholesky" else max(accuracy, EXACT)
            solve_by_gradients(*matrix, wide, all_rows, x, found, weight, reached, k, *limits)
            all_rows = xp.nonzero(found < 0)[0] if automatic else all_rows[:0]
        if len(all_rows):
            x = xp.ascontiguousarray(x[:, :k])
            solve_by_sketch(
                *matrix,
                factor,
                _signed_places(xp, n, k, self.key),
                all_rows,
                x,
                found,
                weight,
                max(accuracy, EXACT),
                10 * k + STEPS,
            )
        return x[:, :k], bool((found < k).any())


def _spread(xp, n):
    """0 … n - 1 in the order of multiples of about 0.618 n, so that every chunk mixes long and
    short rows."""
    step = int(0.618 * n) | 1
    while math.gcd(step, n) > 1:
        step += 1
    return xp.arange(n) * step % max(n, 1)


def _widened(xp, a, width, dtype, rows):
    wide = xp.zeros((rows, width), dtype)
    if a is not None:
        wide[:, : a.shape[1]] = a
    return wide


def _signed_places(xp, n, k, key):
    """(n, SKETCHES) array: for each row of the factor and each sketch, twice the row of the sketch
    (of k) that it is added to, plus one for a negative sign."""
    return (philox_uint32((n, SKETCHES), key=key, xp=xp) % np.uint32(2 * k)).astype(np.int32)
