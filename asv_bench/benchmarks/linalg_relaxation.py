"""SOR and conjugate gradients with symmetric SOR compared with pyamg and SciPy: five-point
Laplacians of 400² and of 10² points, float64."""

import numpy as np

from numcore._measure import median_seconds
from numcore.examples.linalg.sparse import as_scipy, five_points
from numcore.linalg import ChebCB, TsallisINF, optimal_omega, solve_sequence, sor, ssor_cg

SECONDS = 2
GRID = np.linspace(1, 1.95, 20)


def system(side):
    a = five_points(side, np.float64)
    return a, as_scipy(a), np.random.default_rng(0).standard_normal(side * side)


def pyamg_sweeps(a, b, omega, count):
    """`count` sweeps, each followed by the residual norm, as in a solver."""
    try:
        from pyamg.relaxation.relaxation import sor as pyamg_sor
    except ImportError as error:
        raise NotImplementedError("pyamg is not installed") from error

    def peer():
        x = np.zeros_like(b)
        for _ in range(count):
            pyamg_sor(a, x, b, omega)
            np.linalg.norm(b - a @ x)
        return x

    return peer


class Large:
    """Cost of an iteration on one thread, since natural order is sequential."""

    timeout, sweeps, steps = 300, 10, 20

    def setup(self):
        self.a, self.scipy, self.b = system(400)
        self.sor()
        self.cg()

    def sor(self):
        return sor(self.a, self.b, omega=1.9, tol=0, max_iter=self.sweeps)

    def cg(self, steps=20):
        return ssor_cg(self.a, self.b, omega=1.9, tol=0, max_iter=steps)

    def time_10_sweeps(self):
        self.sor()

    def time_20_steps_of_ssor_cg(self):
        self.cg()

    def time_optimal_omega(self):
        optimal_omega(self.a, tol=1e-3)

    def peakmem_sor(self):
        self.sor()

    def track_ratio_of_a_sweep_to_pyamg(self):
        ours, theirs = median_seconds(
            [self.sor, pyamg_sweeps(self.scipy, self.b, 1.9, self.sweeps)], SECONDS
        )
        return theirs / ours

    def track_time_of_a_ssor_cg_step_by_one_of_scipy_cg(self):
        from scipy.sparse.linalg import cg

        ours, theirs = median_seconds(
            [self.cg, lambda: cg(self.scipy, self.b, rtol=0, maxiter=self.steps)], SECONDS
        )
        return ours / theirs

    def track_ratio_of_ssor_cg_to_scipy_with_triangular_solves(self):
        from scipy.sparse import diags_array, tril, triu
        from scipy.sparse.linalg import LinearOperator, cg, spsolve_triangular

        omega, d = 1.9, self.scipy.diagonal()
        lower = (tril(self.scipy, -1) * omega + diags_array(d)).tocsr()
        upper = (triu(self.scipy, 1) * omega + diags_array(d)).tocsr()

        def apply(r):
            return (
                omega
                * (2 - omega)
                * spsolve_triangular(upper, d * spsolve_triangular(lower, r), lower=False)
            )

        operator = LinearOperator(self.scipy.shape, apply)
        ours, theirs = median_seconds(
            [self.cg, lambda: cg(self.scipy, self.b, M=operator, rtol=0, maxiter=self.steps)],
            SECONDS,
        )
        return theirs / ours


class Small:
    """Complete solves with 100 unknowns."""

    def setup(self):
        self.a, self.scipy, self.b = system(10)

    def time_sor(self):
        sor(self.a, self.b, omega=1.5)

    def time_ssor_cg(self):
        ssor_cg(self.a, self.b, omega=1.5)

    def ratio(self, omega):
        count = sor(self.a, self.b, omega=omega).n_iter
        ours, theirs = median_seconds(
            [
                lambda: sor(self.a, self.b, omega=omega),
                pyamg_sweeps(self.scipy, self.b, omega, count),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_of_gauss_seidel_to_pyamg(self):
        return self.ratio(1.0)

    def track_ratio_at_the_best_omega_to_pyamg(self):
        return self.ratio(2 / (1 + np.sin(np.pi / 11)))


class Growth:
    """Ratio of the times for 10^7 and 10^5 entries, divided by 100: 1 if the cost is linear."""

    timeout = 300

    def track_scaling_of_sor(self):
        (small, _, b), (large, _, c) = system(142), system(1415)
        few, many = median_seconds(
            [lambda: sor(small, b, tol=0, max_iter=20), lambda: sor(large, c, tol=0, max_iter=2)],
            SECONDS,
        )
        return many / few * (21 * small.nnz) / (3 * large.nnz)


class Policies:
    """A sequence of 300 systems of 100 unknowns with random shifts."""

    def setup(self):
        a, _, _ = system(10)
        rng, self.systems = np.random.default_rng(0), []
        self.shifts = -0.15 + 0.6 * rng.beta(0.5, 1.5, 300)
        for shift in self.shifts:
            data = a.data.copy()
            data[a.diagonal_at] += shift
            self.systems.append((a.with_data(data), rng.standard_normal(100)))

    def learners(self):
        return [
            (TsallisINF(GRID, rng=0), None),
            (ChebCB(GRID, interval=(-0.15, 0.45), rng=0), self.shifts),
        ]

    def time_tsallis(self):
        solve_sequence(self.systems, self.learners()[0][0])

    def time_chebyshev(self):
        solve_sequence(self.systems, self.learners()[1][0], contexts=self.shifts)

    def overhead(self, which):
        """Time of a round of the policy divided by that of a solve with omega = 1.5."""
        policy, contexts = self.learners()[which]
        places = iter(range(10**9))

        def rounds():
            for _ in range(100):
                k = next(places) % 300
                policy.sample(None if contexts is None else float(contexts[k]))
                policy.update(60 + k % 50)

        def solves():
            for a, b in self.systems[:100]:
                sor(a, b, omega=1.5)

        learning, solving = median_seconds([rounds, solves], SECONDS)
        return learning / solving

    def track_overhead_of_tsallis(self):
        return self.overhead(0)

    def track_overhead_of_chebyshev(self):
        return self.overhead(1)
