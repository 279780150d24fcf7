"""Half-steps of matrix completion beside loops and solvers that users have, float64; whole ones
beside soft thresholding of the SVD."""

import time

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.examples.linalg.matrix_completion import solve_loop
from numcore.linalg import CSR, alternating_step, complete_matrix, predict_entries

SECONDS = 2


def problem(m, n, count, k, seed=0):
    """Entries of a noisy matrix of rank k, by columns, factors that are near to its own, and those
    themselves."""
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.standard_normal((m, k)))[0], rng.standard_normal((n, k))
    rows, cols = np.divmod(np.unique(rng.integers(0, m * n, count)), n)
    values = np.einsum("ij,ij->i", u[rows], v[cols]) + 0.01 * rng.standard_normal(len(rows))
    return CSR.from_coo(cols, rows, values, (n, m)), u, v + 0.01 * rng.standard_normal(v.shape)


class HalfStep:
    """4000 × 2000, 400 000 entries, rank 10."""

    def setup(self):
        self.csr, self.factor, _ = problem(4000, 2000, 400_000, 10)
        alternating_step(self.csr, self.factor)

    def time_half_step(self):
        alternating_step(self.csr, self.factor)

    def track_ratio_to_numpy_solve(self):
        ours, theirs = median_seconds(
            [
                lambda: alternating_step(self.csr, self.factor),
                lambda: solve_loop(self.csr, self.factor, 0.0),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_to_implicit_als(self):
        """A whole round of both: the same Gram matrices for another objective."""
        try:
            from implicit.als import AlternatingLeastSquares
        except ImportError as error:
            raise NotImplementedError("implicit is not installed") from error
        from scipy.sparse import csr_array, csr_matrix

        by_rows = self.csr.T
        other = np.random.default_rng(1).standard_normal((2000, 10))
        user_items = csr_matrix(
            csr_array((np.abs(by_rows.data), by_rows.indices, by_rows.indptr), by_rows.shape)
        )
        threads = numcore.get_num_threads()

        def rounds(count):
            model = AlternatingLeastSquares(
                factors=10,
                use_cg=False,
                iterations=count,
                dtype=np.float64,
                num_threads=threads,
                use_gpu=False,
                random_state=0,
            )
            start = time.perf_counter()
            model.fit(user_items, show_progress=False)
            return time.perf_counter() - start

        theirs = min(rounds(11) - rounds(1) for _ in range(3)) / 10
        (ours,) = median_seconds(
            [lambda: (alternating_step(self.csr, self.factor), alternating_step(by_rows, other))],
            SECONDS,
        )
        return theirs / ours


class Large:
    """20 000 × 10 000, four million entries, rank 16."""

    timeout = 300

    def setup(self):
        self.csr, self.factor, _ = problem(20_000, 10_000, 4_000_000, 16)
        alternating_step(self.csr, self.factor)

    def time_half_step(self):
        alternating_step(self.csr, self.factor)

    def track_growth_with_entries(self):
        """Time per entry, by that of a quarter of them: 1 where it is linear."""
        part, factor, _ = problem(20_000, 10_000, 1_000_000, 16)
        few, many = median_seconds(
            [
                lambda: alternating_step(part, factor),
                lambda: alternating_step(self.csr, self.factor),
            ],
            SECONDS,
        )
        return (many / self.csr.nnz) / (few / part.nnz)


class Solvers:
    """4000 × 1000, 300 entries in a column, a tenth of the error of the warm start wanted."""

    param_names, params = ("k",), ([32, 64, 128],)

    def setup(self, k):
        self.csr, self.factor, self.start = problem(4000, 1000, 300_000, k)
        for solver in ("cholesky", "cg", "sketch"):
            self.step(solver)

    def step(self, solver):
        return alternating_step(
            self.csr, self.factor, x0=self.start, solver=solver, inner_tol=1e-3, rng=0
        )

    def time_cholesky(self, k):
        self.step("cholesky")

    def time_cg(self, k):
        self.step("cg")

    def time_sketch(self, k):
        self.step("sketch")

    def track_ratio_of_cg_to_cholesky(self, k):
        ours, theirs = median_seconds(
            [lambda: self.step("cg"), lambda: self.step("cholesky")], SECONDS
        )
        return theirs / ours

    def track_growth_of_cg_from_32(self, k):
        """Time by that of rank 32, over the ranks: 1 where it is linear."""
        csr, factor, start = problem(4000, 1000, 300_000, 32)
        first, here = median_seconds(
            [
                lambda: alternating_step(csr, factor, x0=start, solver="cg", inner_tol=1e-3),
                lambda: self.step("cg"),
            ],
            SECONDS,
        )
        return here / first / (k / 32)


class Completion:
    """2000 × 2000 of rank 10 with noise, 20 % known: the time to the held-out error that soft
    thresholding of the SVD reaches."""

    timeout = 900

    def setup(self):
        rng = np.random.default_rng(0)
        self.truth = rng.standard_normal((2000, 10)) @ rng.standard_normal((10, 2000))
        self.mask = rng.random(self.truth.shape) < 0.2
        self.rows, self.cols = np.nonzero(self.mask)
        self.values = self.truth[self.mask] + 0.5 * rng.standard_normal(len(self.rows))

    def complete(self, max_iter=50):
        return complete_matrix(
            self.rows,
            self.cols,
            self.values,
            (2000, 2000),
            rank=10,
            tol=1e-4,
            max_iter=max_iter,
            rng=0,
        )

    def time_complete(self):
        self.complete()

    def track_ratio_to_soft_impute(self):
        """The baseline takes ten steps, a dense SVD in each, and does not reach our error after one
        round."""
        known = np.zeros_like(self.truth)
        known[self.mask] = self.values
        rows, cols = np.nonzero(~self.mask)
        start, model = time.perf_counter(), np.zeros_like(known)
        for _ in range(10):
            u, s, vh = np.linalg.svd(np.where(self.mask, known, model), full_matrices=False)
            model = (u * np.maximum(s - 50, 0)) @ vh
        theirs, error = (
            time.perf_counter() - start,
            np.sqrt(np.mean((model - self.truth)[~self.mask] ** 2)),
        )
        for max_iter in range(1, 20):
            start = time.perf_counter()
            result = self.complete(max_iter)
            ours = time.perf_counter() - start
            if (
                np.sqrt(
                    np.mean((predict_entries(result, rows, cols) - self.truth[~self.mask]) ** 2)
                )
                <= error
            ):
                return theirs / ours
        return float("nan")

    track_ratio_to_soft_impute.timeout = 900


class Huge:
    """200 000 × 200 000, two million entries, rank 5: 320 GB if it were dense."""

    timeout = 300

    def setup(self):
        rng = np.random.default_rng(0)
        self.rows, self.cols = np.divmod(np.unique(rng.integers(0, 200_000**2, 2_000_000)), 200_000)
        self.values = rng.standard_normal(len(self.rows))

    def peakmem_complete(self):
        complete_matrix(
            self.rows,
            self.cols,
            self.values,
            (200_000, 200_000),
            rank=5,
            ridge=0.1,
            max_iter=2,
            rng=0,
        )
