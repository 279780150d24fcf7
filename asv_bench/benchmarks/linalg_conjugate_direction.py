"""Conjugate directions compared with SciPy's conjugate gradients on the Poisson problem with 512 ×
512 points, and training."""

import numpy as np

from numcore._measure import median_seconds
from numcore.examples.linalg.sparse import as_scipy, five_points
from numcore.linalg import DirectionNetwork, conjugate_direction_solve, ritz_training_set

SECONDS, ITERATIONS = 4, 50


def identity(r):
    return r


def stencil(v):
    grid = v.reshape(512, 512)
    out = 4 * grid
    out[1:] -= grid[:-1]
    out[:-1] -= grid[1:]
    out[:, 1:] -= grid[:, :-1]
    out[:, :-1] -= grid[:, 1:]
    return out.ravel()


class Solver:
    """Fifty iterations with the identity as direction, and fifty of SciPy's cg."""

    def setup(self):
        self.a, self.b = (
            five_points(512, np.float64),
            np.random.default_rng(0).standard_normal(512 * 512),
        )
        self.solve(self.a)

    def solve(self, a):
        return conjugate_direction_solve(
            a, self.b, identity, tol=1e-30, max_iter=ITERATIONS, n_orthogonal=1
        )

    def time_iterations(self):
        self.solve(self.a)

    def peakmem_iterations(self):
        self.solve(self.a)

    def _ratio(self, a):
        from scipy.sparse.linalg import cg

        ours, theirs = median_seconds(
            [
                lambda: self.solve(a),
                lambda: cg(as_scipy(self.a), self.b, rtol=1e-30, maxiter=ITERATIONS),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_to_scipy_cg(self):
        return self._ratio(self.a)

    def track_ratio_to_scipy_cg_by_a_stencil(self):
        return self._ratio(stencil)


class Training:
    timeout = 300

    def setup(self):
        self.a = five_points(32, np.float64)
        self.samples = ritz_training_set(self.a, 300, 500, theta=15, rng=0)
        self.time_twenty_steps()

    def time_twenty_steps(self):
        DirectionNetwork((32, 32), n_filters=8, max_iter=20, rng=0).fit(self.a, self.samples)

    def peakmem_twenty_steps(self):
        self.time_twenty_steps()
