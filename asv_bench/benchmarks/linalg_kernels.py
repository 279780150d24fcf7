"""Shared kernels of numcore.linalg at the sizes that solvers have, beside SciPy, scikit-learn and
torch."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.examples.linalg.sparse import as_scipy, five_points
from numcore.linalg import CSR, fwht, leverage_scores, randomized_svd, spmv, triangular_sweep

SECONDS = 2


class Hadamard:
    """float32; the baseline takes the butterflies of a level at once in torch."""

    def setup(self):
        self.x = np.random.default_rng(0).standard_normal((1 << 16, 64)).astype(np.float32)
        self.long = np.random.default_rng(0).standard_normal(1 << 22).astype(np.float32)
        fwht(self.x, axis=0)

    def time_64_columns_of_65536(self):
        fwht(self.x, axis=0)

    def peakmem_64_columns_of_65536(self):
        fwht(self.x, axis=0)

    def track_ratio_to_torch_butterflies(self):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        x = torch.from_numpy(self.x)

        def peer():
            y, h = x, 1
            while h < len(x):
                pairs = y.reshape(len(x) // (2 * h), 2, h, 64)
                y = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], dim=1)
                h *= 2
            return y

        ours, theirs = median_seconds([lambda: fwht(self.x, axis=0), peer], SECONDS)
        return theirs / ours

    def track_scaling_to_four_million(self):
        """Time of 2^22 numbers by that of 2^12, over N log2 N: 1 where the cost is as counted."""
        short = self.long[: 1 << 12]
        small, large = median_seconds([lambda: fwht(short), lambda: fwht(self.long)], SECONDS)
        return large / small / (22 / 12 * 2**10)


class Sparse:
    """float64, the five-point Laplacian of 1400 × 1400 points with 10^7 entries."""

    def setup(self):
        self.a = five_points(1400, np.float64)
        self.scipy = as_scipy(self.a)
        self.x, self.b = np.random.default_rng(0).standard_normal((2, self.a.shape[0]))
        triangular_sweep(self.a, self.b, self.x)
        spmv(self.a, self.x)

    def time_product(self):
        spmv(self.a, self.x)

    def time_sweep(self):
        triangular_sweep(self.a, self.b, self.x)

    def peakmem_sweep(self):
        triangular_sweep(self.a, self.b, self.x)

    def track_ratio_to_scipy_product(self):
        ours, theirs = median_seconds(
            [lambda: spmv(self.a, self.x), lambda: self.scipy @ self.x], SECONDS
        )
        return theirs / ours

    def track_ratio_of_a_product_with_a_scipy_array_to_one_with_a_csr(self):
        ours, theirs = median_seconds(
            [lambda: spmv(self.scipy, self.x), lambda: spmv(self.a, self.x)], SECONDS
        )
        return theirs / ours

    def track_ratio_of_a_sweep_of_a_scipy_array_to_one_of_a_csr(self):
        ours, theirs = median_seconds(
            [
                lambda: triangular_sweep(self.scipy, self.b, self.x),
                lambda: triangular_sweep(self.a, self.b, self.x),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_of_sweep_to_scipy_product(self):
        ours, theirs = median_seconds(
            [lambda: triangular_sweep(self.a, self.b, self.x), lambda: self.scipy @ self.x], SECONDS
        )
        return theirs / ours

    def track_ratio_of_sweep_to_spsolve_triangular(self):
        from scipy.sparse import tril
        from scipy.sparse.linalg import spsolve_triangular

        lower = tril(self.scipy).tocsr()
        ours, theirs = median_seconds(
            [
                lambda: triangular_sweep(self.a, self.b, self.x),
                lambda: spsolve_triangular(lower, self.b),
            ],
            SECONDS,
        )
        return theirs / ours


class Factorizations:
    def setup(self):
        rng = np.random.default_rng(0)
        self.a = (rng.standard_normal((4000, 40)) * 0.8 ** np.arange(40)) @ rng.standard_normal(
            (40, 2000)
        )
        self.tall = rng.standard_normal((1 << 17, 256))

    def time_svd(self):
        randomized_svd(self.a, 20, rng=0)

    def peakmem_svd(self):
        randomized_svd(self.a, 20, rng=0)

    def track_ratio_to_sklearn_svd(self):
        from sklearn.utils.extmath import randomized_svd as sklearn_svd

        ours, theirs = median_seconds(
            [
                lambda: randomized_svd(self.a, 20, rng=0),
                lambda: sklearn_svd(
                    self.a,
                    20,
                    n_oversamples=8,
                    n_iter=2,
                    power_iteration_normalizer="QR",
                    random_state=0,
                ),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_of_sketched_leverage_to_qr(self):
        ours, theirs = median_seconds(
            [
                lambda: leverage_scores(self.tall, method="sketch", rng=0),
                lambda: np.linalg.qr(self.tall),
            ],
            SECONDS,
        )
        return theirs / ours

    track_ratio_of_sketched_leverage_to_qr.timeout = 300


class Containers:
    def setup(self):
        rng = np.random.default_rng(0)
        self.rows, self.cols = rng.integers(0, 20000, (2, 2_000_000))
        self.values = rng.standard_normal(2_000_000)

    def time_from_two_million_entries(self):
        CSR.from_coo(self.rows, self.cols, self.values, (20000, 20000))


class SmallSparse:
    """100 unknowns: what a call costs."""

    def setup(self):
        self.a = five_points(10, np.float64)
        self.scipy = as_scipy(self.a)
        self.x, self.b = np.random.default_rng(0).standard_normal((2, 100))

    def time_product(self):
        spmv(self.a, self.x)

    def time_product_with_a_scipy_array(self):
        spmv(self.scipy, self.x)

    def time_sweep_of_a_scipy_array(self):
        triangular_sweep(self.scipy, self.b, self.x)
