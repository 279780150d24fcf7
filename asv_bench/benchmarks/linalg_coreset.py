"""Coresets: exact summaries compared with the authors' NumPy code, the overhead of a search over
its fits and losses, and its quality."""

import functools
import time
import warnings

import numpy as np

from numcore._measure import median_seconds
from numcore.examples.linalg.coreset import reference_cara
from numcore.linalg import (
    auto_coreset,
    caratheodory,
    kmeans_loss,
    logistic_loss,
    squared_loss,
    vector_sum_coreset,
)

SECONDS = 2


class Caratheodory:
    """float64, a million points of ten numbers."""

    timeout = 300

    def setup(self):
        rng = np.random.default_rng(0)
        self.p, self.weights = rng.standard_normal((10**6, 10)), rng.random(10**6)
        caratheodory(self.p, self.weights)

    def time_million_points(self):
        caratheodory(self.p, self.weights)

    def peakmem_million_points(self):
        caratheodory(self.p, self.weights)

    def track_ratio_to_authors_method(self):
        ours, theirs = median_seconds(
            [
                lambda: caratheodory(self.p, self.weights),
                lambda: reference_cara(self.p, self.weights),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_scaling_from_a_quarter(self):
        """Time divided by 4 times that of a quarter of the points: 1 if it is linear."""
        quarter = self.p[:250_000], self.weights[:250_000]
        small, large = median_seconds(
            [lambda: caratheodory(*quarter), lambda: caratheodory(self.p, self.weights)], SECONDS
        )
        return large / small / 4


class Sums:
    param_names, params = ("method",), (["norm", "mean_of_samples", "uniform"],)

    def setup(self, method):
        self.f = np.random.default_rng(0).gamma(0.5, size=(10**6, 10))
        vector_sum_coreset(self.f, 1000, method=method, rng=0)

    def time_thousand_of_a_million(self, method):
        vector_sum_coreset(self.f, 1000, method=method, rng=0)


class Losses:
    """float64, a million points of twenty numbers."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.x, self.w = rng.standard_normal((10**6, 20)), rng.standard_normal(20)
        self.y = np.where(self.x @ self.w + rng.standard_normal(10**6) > 0, 1.0, -1.0)
        logistic_loss(self.x, self.y, (self.w, 0.3))

    def time_logistic(self):
        logistic_loss(self.x, self.y, (self.w, 0.3))

    def track_ratio_of_logistic_to_numpy(self):
        ours, theirs = median_seconds(
            [
                lambda: logistic_loss(self.x, self.y, (self.w, 0.3)),
                lambda: np.logaddexp(0, -self.y * (self.x @ self.w + 0.3)),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_of_squared_to_numpy(self):
        ours, theirs = median_seconds(
            [
                lambda: squared_loss(self.x, self.y, (self.w, 0.3)),
                lambda: (self.x @ self.w + 0.3 - self.y) ** 2,
            ],
            SECONDS,
        )
        return theirs / ours


class Search:
    """Twenty models of a million points of twenty numbers."""

    timeout = 300

    def setup(self):
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((10**6, 20))
        self.y = np.where(self.x @ rng.standard_normal(20) + rng.standard_normal(10**6) > 0, 1, -1)
        self.spent = 0.0
        self.fit = self.timed(
            lambda x, y, weights: LogisticRegression(C=10**6 / weights.sum()).fit(
                x, y, sample_weight=weights
            )
        )
        self.loss = self.timed(
            lambda x, y, m: np.logaddexp(0, -y * (x @ m.coef_[0] + m.intercept_[0]))
        )
        self.search(2)

    def timed(self, function):
        def call(*arguments):
            start = time.perf_counter()
            result = function(*arguments)
            self.spent += time.perf_counter() - start
            return result

        return call

    def search(self, max_iter, x=slice(None)):
        return auto_coreset(
            self.x[x],
            self.fit,
            self.loss,
            size=1000,
            y=self.y[x],
            max_iter=max_iter,
            patience=max_iter + 1,
            rng=0,
        )

    def peakmem_twenty_models(self):
        self.search(17)

    def track_overhead_beside_fits_and_losses(self):
        """Overhead divided by the time of fit and loss, the minimum of five searches."""
        overheads = []
        for _ in range(5):
            self.spent, start = 0.0, time.perf_counter()
            self.search(17)
            overheads.append((time.perf_counter() - start - self.spent) / self.spent)
        return min(overheads)

    def track_scaling_from_a_quarter(self):
        """Overhead divided by 4 times that of a quarter of the points."""
        rest = []
        for part in (slice(250_000), slice(None)):
            took = []
            for _ in range(5):
                self.spent, start = 0.0, time.perf_counter()
                self.search(7, part)
                took.append(time.perf_counter() - start - self.spent)
            rest.append(min(took))
        return rest[1] / rest[0] / 4


class Quality:
    """Excess of the total loss over training on all points: that of the best of as many uniform
    samples as there were fits, divided by ours."""

    timeout = 600
    param_names, params = ("problem",), (["logistic regression", "linear regression", "k-means"],)

    def setup(self, problem):
        try:
            from sklearn.cluster import KMeans
            from sklearn.datasets import load_breast_cancer, load_digits
            from sklearn.linear_model import LinearRegression, LogisticRegression
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error
        self.y, self.seeds = None, 10
        if problem == "logistic regression":
            x, y = load_breast_cancer(return_X_y=True)
            self.x, self.y, self.size, self.loss = (
                (x - x.mean(axis=0)) / x.std(axis=0),
                2 * y - 1,
                60,
                functools.partial(logistic_loss, penalty=1.0),
            )
            self.fit = lambda x, y, weights: LogisticRegression(
                C=569 / weights.sum(), solver="newton-cholesky"
            ).fit(x, y, sample_weight=weights)
        elif problem == "linear regression":
            rng = np.random.default_rng(1)
            self.x, self.size, self.loss = rng.standard_normal((5000, 8)), 50, squared_loss
            self.x[:50] *= 20
            self.y = self.x @ rng.standard_normal(8) + rng.standard_t(2, 5000)
            self.fit = lambda x, y, weights: LinearRegression().fit(x, y, sample_weight=weights)
        else:
            self.x, self.size, self.loss, self.seeds = load_digits().data / 16, 100, kmeans_loss, 5
            self.fit = lambda x, y, weights: KMeans(10, n_init=3, random_state=0).fit(
                x, sample_weight=weights
            )

    def sample(self, rng):
        while True:
            rows, times = np.unique(rng.integers(0, len(self.x), self.size), return_counts=True)
            y = None if self.y is None else self.y[rows]
            if self.y is None or self.y.dtype.kind == "f" or len(np.unique(y)) == 2:
                model = self.fit(self.x[rows], y, times * (len(self.x) / self.size))
                return self.loss(self.x, self.y, model).sum()

    def track_ratio_of_excess_to_best_uniform(self, problem):
        ours, theirs = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            least = self.loss(self.x, self.y, self.fit(self.x, self.y, np.ones(len(self.x)))).sum()
            for seed in range(self.seeds):
                result = auto_coreset(
                    self.x, self.fit, self.loss, size=self.size, y=self.y, rng=seed
                )
                rng = np.random.default_rng(seed)
                ours.append(result.total_loss - least)
                theirs.append(min(self.sample(rng) for _ in result.loss_history) - least)
        return np.mean(theirs) / np.mean(ours)
