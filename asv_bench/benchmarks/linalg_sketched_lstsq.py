"""Sketched least squares compared with NumPy's and SciPy's solvers, the normal equations and
SciPy's sparse sketch, float64."""

import tracemalloc

import numpy as np

from numcore._measure import median_seconds
from numcore.linalg import preconditioned_lstsq, sketched_lstsq, srht

SECONDS = 3


def call(n, d):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, d))
    return a, a @ rng.standard_normal(d) + rng.standard_normal(n)


class Solvers:
    param_names, params, timeout = ("n", "d"), ([65536], [64, 256, 512]), 600

    def setup(self, n, d):
        self.a, self.b = call(n, d)
        self.sketched()
        self.preconditioned()

    def sketched(self):
        return sketched_lstsq(self.a, self.b, sketch_size=8 * self.a.shape[1], rng=0)

    def preconditioned(self):
        return preconditioned_lstsq(self.a, self.b, rng=0)

    def numpy(self):
        return np.linalg.lstsq(self.a, self.b)

    def ratio(self, peer, ours):
        ours, theirs = median_seconds([ours, peer], SECONDS)
        return theirs / ours

    def time_sketched_lstsq(self, n, d):
        self.sketched()

    def time_preconditioned_lstsq(self, n, d):
        self.preconditioned()

    def peakmem_sketched_lstsq(self, n, d):
        self.sketched()

    def peakmem_preconditioned_lstsq(self, n, d):
        self.preconditioned()

    def track_ratio_of_sketched_to_numpy(self, n, d):
        return self.ratio(self.numpy, self.sketched)

    def track_ratio_of_preconditioned_to_numpy(self, n, d):
        return self.ratio(self.numpy, self.preconditioned)

    def track_ratio_of_sketched_to_normal_equations(self, n, d):
        return self.ratio(
            lambda: np.linalg.solve(self.a.T @ self.a, self.a.T @ self.b), self.sketched
        )

    def track_ratio_of_sketched_to_gelsy(self, n, d):
        try:
            from scipy.linalg import lstsq
        except ImportError as error:
            raise NotImplementedError("scipy is not installed") from error
        return self.ratio(lambda: lstsq(self.a, self.b, lapack_driver="gelsy"), self.sketched)

    def track_ratio_of_sketched_to_clarkson_woodruff(self, n, d):
        try:
            from scipy.linalg import clarkson_woodruff_transform
        except ImportError as error:
            raise NotImplementedError("scipy is not installed") from error

        def peer():
            s = clarkson_woodruff_transform(np.column_stack([self.a, self.b]), 8 * d, seed=0)
            return np.linalg.lstsq(s[:, :d], s[:, d])

        return self.ratio(peer, self.sketched)


class Growth:
    """Ratio of the times of a sketch at n = 2^19 and 2^15, divided by that of n log n: 1 if the
    cost is as predicted."""

    def track_scaling_with_n(self):
        small, large = call(1 << 15, 64)[0], call(1 << 19, 64)[0]
        first, last = median_seconds(
            [lambda: srht(small, 512, rng=0), lambda: srht(large, 512, rng=0)], SECONDS
        )
        return last / first / (16 * 19 / 15)


class Peak:
    """Memory of a call beyond its arguments, divided by that of A: a copy of A would be 1."""

    def track_memory_by_that_of_a(self):
        a, b = call(65536, 256)
        tracemalloc.start()
        sketched_lstsq(a, b, sketch_size=512, rng=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / a.nbytes
