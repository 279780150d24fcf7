"""ℓp sensitivities, Lewis weights and ℓ1 regression compared with loops over SciPy's minimizers and
with quantile regression."""

import functools
import time

import numpy as np

from numcore._measure import median_seconds
from numcore.linalg import lewis_weights, lp_regression, lp_sensitivities, sampling_scores


@functools.cache
def gaussian(n, d):
    return np.random.default_rng(0).standard_normal((n, d))


@functools.cache
def response(n, d):
    return gaussian(n, d) @ np.ones(d) + np.random.default_rng(1).laplace(size=n)


class Sensitivities:
    """500 rows, 8 columns: all rows, compared with a loop over some of them."""

    timeout = 300

    def setup(self):
        self.a = gaussian(500, 8)
        lp_sensitivities(self.a, 1.5)

    def time_p_1_5(self):
        lp_sensitivities(self.a, 1.5)

    def time_p_1(self):
        lp_sensitivities(self.a, 1, tol=1e-3)

    def peakmem_p_1_5(self):
        lp_sensitivities(self.a, 1.5)

    def track_ratio_to_minimize(self):
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise NotImplementedError("SciPy is not installed") from error

        def solve(i):
            null, start = (
                np.linalg.svd(self.a[i : i + 1])[2][1:].T,
                self.a[i] / (self.a[i] @ self.a[i]),
            )
            fixed, free = self.a @ start, self.a @ null

            def power(z):
                r = fixed + free @ z
                return (np.abs(r) ** 1.5).sum(), 1.5 * free.T @ (np.sign(r) * np.abs(r) ** 0.5)

            minimize(power, np.zeros(7), jac=True)

        ours, theirs = median_seconds(
            [lambda: lp_sensitivities(self.a, 1.5), lambda: [solve(i) for i in range(0, 500, 10)]],
            2,
        )
        return 10 * theirs / ours

    def track_ratio_to_linprog(self):
        try:
            from scipy.optimize import linprog
        except ImportError as error:
            raise NotImplementedError("SciPy is not installed") from error
        n, d = self.a.shape
        cost, rows = (
            np.r_[np.zeros(d), np.ones(n)],
            np.block([[self.a, -np.eye(n)], [-self.a, -np.eye(n)]]),
        )

        def solve(i):
            linprog(
                cost,
                A_ub=rows,
                b_ub=np.zeros(2 * n),
                A_eq=np.r_[self.a[i], np.zeros(n)][None],
                b_eq=[1],
                bounds=(None, None),
                method="highs",
            )

        ours, theirs = median_seconds(
            [
                lambda: lp_sensitivities(self.a, 1, tol=1e-3),
                lambda: [solve(i) for i in range(0, 500, 100)],
            ],
            2,
        )
        return 100 * theirs / ours


class LewisWeights:
    params, param_names = [1, 1.5, 3], ["p"]

    def setup(self, p):
        lewis_weights(gaussian(10**6, 20)[:1000], p)

    def time_a_million_rows(self, p):
        lewis_weights(gaussian(10**6, 20), p, tol=1e-6)

    def peakmem_a_million_rows(self, p):
        lewis_weights(gaussian(10**6, 20), p, tol=1e-6)

    def track_scaling_with_rows(self, p):
        """Time for 10⁶ rows divided by ten times that for 10⁵: 1 if the cost is linear."""
        small, large = median_seconds(
            [
                lambda: lewis_weights(gaussian(10**6, 20)[: 10**5], p, tol=1e-6, max_iter=5),
                lambda: lewis_weights(gaussian(10**6, 20), p, tol=1e-6, max_iter=5),
            ],
            3,
        )
        return large / small / 10


class Scores:
    params, param_names = ["root_leverage", "lewis"], ["kind"]

    def track_scaling_with_rows(self, kind):
        small, large = median_seconds(
            [
                lambda: sampling_scores(gaussian(10**6, 20)[: 10**5], 1, kind=kind),
                lambda: sampling_scores(gaussian(10**6, 20), 1, kind=kind),
            ],
            3,
        )
        return large / small / 10


class Regression:
    """p = 1, a million rows and 20 columns, 1000 of them sampled."""

    timeout = 1800

    def setup(self):
        self.a, self.b = gaussian(10**6, 20), response(10**6, 20)
        lp_regression(self.a[:2000], self.b[:2000], 1, sample_size=1000, rng=0)

    def time_sample(self):
        lp_regression(self.a, self.b, 1, sample_size=1000, rng=0)

    def time_all_rows(self):
        lp_regression(self.a, self.b, 1)

    def peakmem_sample(self):
        lp_regression(self.a, self.b, 1, sample_size=1000, rng=0)

    def track_largest_objective_by_optimum(self):
        least = lp_regression(self.a, self.b, 1).objective
        return (
            max(
                lp_regression(self.a, self.b, 1, sample_size=1000, rng=seed).objective
                for seed in range(10)
            )
            / least
        )

    def track_ratio_to_quantile_regression(self):
        """statsmodels, if installed, once on all rows; else scikit-learn on 20000 rows, with its
        time extrapolated linearly."""
        start = time.perf_counter()
        lp_regression(self.a, self.b, 1, sample_size=1000, rng=0)
        ours, start = time.perf_counter() - start, time.perf_counter()
        try:
            from statsmodels.api import QuantReg

            QuantReg(self.b, self.a).fit(0.5)
            return (time.perf_counter() - start) / ours
        except ImportError:
            pass
        try:
            from sklearn.linear_model import QuantileRegressor
        except ImportError as error:
            raise NotImplementedError(
                "neither statsmodels nor scikit-learn is installed"
            ) from error
        QuantileRegressor(quantile=0.5, alpha=0, fit_intercept=False).fit(
            self.a[:20000], self.b[:20000]
        )
        return 50 * (time.perf_counter() - start) / ours
