"""SOR, conjugate gradients with symmetric SOR, the best omega: known counts of iterations, loops
over dense matrices, limits, errors."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.linalg import relaxation as naive
from numcore.examples.linalg.relaxation import positive_definite
from numcore.examples.linalg.sparse import five_points
from numcore.linalg import (
    CSR,
    Coloring,
    color_graph,
    optimal_omega,
    sor,
    spmv,
    ssor_cg,
    ssor_preconditioner,
)
from numcore.linalg._relaxation import iterations as module
from numcore.testing import simulated_gpu

PATH = CSR.from_dense(np.array([[4.0, -1, 0], [-1, 4, -1], [0, -1, 4]]))
BEST_10, BEST_32 = (2 / (1 + np.sin(np.pi / (s + 1))) for s in (10, 32))


def grid(side, dtype=np.float64):
    return five_points(side, dtype), np.ones(side * side, dtype)


# --- known answers --------------------------------------------------------------------------------


# A count may be off by one where a norm lies within rounding of the tolerance.
@pytest.mark.parametrize(
    "side, omega, count",
    [
        (10, 1, 223),
        (10, 1.2, 145),
        (10, 1.4, 88),
        (10, BEST_10, 41),
        (10, 1.6, 43),
        (10, 1.8, 89),
        (10, 1.9, 187),
        (32, 1, 2011),
        (32, 1.5, 661),
        (32, 1.82639054, 124),
        (32, 1.9, 198),
    ],
)
def test_sweeps_of_sor(side, omega, count):
    found = sor(*grid(side), omega=omega)
    assert abs(found.n_iter - count) <= 1 and found.converged and found.reason == "converged"
    assert found.residual_norms.shape == (found.n_iter + 1,)


@pytest.mark.parametrize("omega, count", [(1, 226), (BEST_10, 41), (1.8, 89)])
def test_sweeps_of_sor_by_colors(omega, count):
    a, b = grid(10)
    coloring = color_graph(a)
    assert coloring.n_colors == 2
    assert abs(sor(a, b, omega=omega, coloring=coloring).n_iter - count) <= 1


@pytest.mark.parametrize(
    "side, omega, count",
    [
        (10, 1, 13),
        (10, 1.2, 12),
        (10, 1.5, 13),
        (10, 1.7, 14),
        (10, 1.9, 16),
        (32, 1, 34),
        (32, 1.2, 29),
        (32, 1.5, 23),
        (32, 1.7, 22),
        (32, 1.9, 27),
    ],
)
def test_iterations_of_ssor_cg(side, omega, count):
    found = ssor_cg(*grid(side), omega=omega)
    assert abs(found.n_iter - count) <= 1 and found.converged


@pytest.mark.parametrize("side, count", [(10, 15), (32, 59)])
def test_iterations_of_plain_conjugate_gradients(side, count):
    a, b = grid(side)
    assert (
        abs(naive.conjugate_gradients(a.toarray(), b, 0 * b, np.eye(len(b)), 1e-8, 1000)[1] - count)
        <= 1
    )


@pytest.mark.parametrize(
    "omega, r, z, atol",
    [  # atol: half a unit of the last digit that is given
        (1.0, [1, 0, 0], [0.26660156, 0.06640625, 0.015625], 5e-9),
        (1.2, [1, 2, 3], [0.485304, 0.81768, 0.8856], 5e-7),
    ],
)
def test_preconditioner_of_three_rows(omega, r, z, atol):
    np.testing.assert_allclose(
        ssor_preconditioner(PATH, omega=omega)(np.array(r, float)), z, rtol=0, atol=atol
    )


@pytest.mark.parametrize(
    "side, radius, omega", [(10, 0.9594929736, 1.5603879213), (32, np.cos(np.pi / 33), 1.82639054)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_best_omega_of_a_grid(side, radius, omega, dtype):
    found = optimal_omega(five_points(side, dtype))
    assert (
        abs(found.jacobi_radius - radius) <= min(found.error_bound, 1e-6) + 1e-10
    )  # what is given has ten digits
    assert abs(found.omega - omega) < 1e-8


@pytest.mark.parametrize("omega, radius", [(BEST_10, 0.5603879), (1.2, 0.8802615), (1.8, 0.8)])
def test_spectral_radius_of_sor(omega, radius):
    a = grid(10)[0].toarray()
    d, lower = np.diag(np.diag(a)), np.tril(a, -1)
    iteration = np.eye(100) - np.linalg.solve(d / omega + lower, a)
    # at the best omega eigenvalues of a Jordan block: rounding moves them by the root of the unit
    # roundoff
    assert abs(np.abs(np.linalg.eigvals(iteration)).max() - radius) < 1e-4
    norms = sor(CSR.from_dense(a), np.ones(100), omega=omega, tol=1e-13).residual_norms
    assert abs((norms[-1] / norms[-11]) ** 0.1 - radius) < 0.07


def test_best_omega_takes_fewest_sweeps():
    a, b = grid(20)
    best = optimal_omega(a).omega
    counts = [sor(a, b, omega=omega).n_iter for omega in (best - 0.04, best, best + 0.04)]
    assert counts[1] < min(counts[0], counts[2])


def test_best_omega_without_consistent_order():
    dense = np.full((6, 6), 0.9) + 0.1 * np.eye(
        6
    )  # λ_max of D⁻¹ A is 4.6: Jacobi diverges, the slowest mode decides
    found = optimal_omega(CSR.from_dense(dense))
    assert (
        abs(found.jacobi_radius - 4.5) < 1e-9
        and abs(found.omega - (1 + (0.9 / (1 + np.sqrt(1 - 0.81))) ** 2)) < 1e-9
    )
    singular = CSR.from_dense(2 * np.eye(5) - np.roll(np.eye(5), 1, 0) - np.roll(np.eye(5), -1, 0))
    assert optimal_omega(singular).omega == 1.999
    assert optimal_omega(five_points(40, np.float64), max_iter=5).error_bound > 1e-3


# --- against dense loops --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tol, rtol", [("float32", 1e-4, 1e-4), ("float64", 1e-12, 1e-10)])
@pytest.mark.parametrize("n", [1, 2, 31, 64])
@pytest.mark.parametrize("start, colored", [(False, False), (True, False), (True, True)])
def test_sor_follows_the_loop(dtype, tol, rtol, n, start, colored):
    rng = np.random.default_rng(n)
    a = positive_definite(rng, np.dtype(dtype), n)
    b, x0 = rng.standard_normal((2, n)).astype(dtype)
    coloring = color_graph(a) if colored else None
    found = sor(a, b, omega=1.3, x0=x0 if start else None, tol=tol, coloring=coloring)
    x, count, norms = naive.sor(
        a.toarray().astype(float),
        b.astype(float),
        x0 if start else 0 * b,
        1.3,
        tol,
        10_000,
        coloring.order if colored else None,
    )
    assert found.x.dtype == dtype and found.n_iter == count
    # x and b are rounded to dtype: roundings weigh the more the smaller the residual
    np.testing.assert_allclose(
        found.residual_norms, norms, rtol=0, atol=20 * np.finfo(dtype).eps * norms[0]
    )
    np.testing.assert_allclose(found.x, x, rtol=0, atol=rtol * np.abs(x).max())
    residual = np.linalg.norm(b - a.toarray().astype(float) @ found.x)
    assert abs(residual - found.residual_norms[-1]) <= 1e-14 * norms[0]  # sums in float64


@pytest.mark.parametrize("dtype, tol, rtol", [("float32", 1e-4, 1e-3), ("float64", 1e-10, 1e-6)])
@pytest.mark.parametrize("n", [1, 2, 31, 64])
@pytest.mark.parametrize("start, colored", [(False, False), (True, False), (True, True)])
def test_ssor_cg_follows_the_textbook(dtype, tol, rtol, n, start, colored):
    rng = np.random.default_rng(n)
    a = positive_definite(rng, np.dtype(dtype), n)
    b, x0 = rng.standard_normal((2, n)).astype(dtype)
    coloring = color_graph(a) if colored else None
    order = coloring.order if colored else np.arange(n)
    found = ssor_cg(a, b, omega=1.3, x0=x0 if start else None, tol=tol, coloring=coloring)
    dense = a.toarray().astype(float)[np.ix_(order, order)]
    x, count, norms = naive.conjugate_gradients(
        dense,
        b[order].astype(float),
        (x0 if start else 0 * b)[order].astype(float),
        naive.ssor_solve(dense, 1.3, np.eye(n)).astype(float),
        tol,
        100,
    )
    assert found.x.dtype == dtype and found.n_iter == count and found.converged
    # conjugate gradients amplify roundings: compared relative to the first norm
    np.testing.assert_allclose(found.residual_norms, norms, rtol=0, atol=rtol * norms[0])
    np.testing.assert_allclose(found.x[order], x, rtol=0, atol=rtol * np.abs(x).max())
    residual = np.linalg.norm(b - a.toarray().astype(float) @ found.x)
    # b - A x itself is rounded to dtype before its norm is taken
    assert abs(residual - found.residual_norms[-1]) <= 2 * np.finfo(dtype).eps * np.linalg.norm(b)
    assert found.residual_norms[-1] <= tol * np.linalg.norm(b)


@pytest.mark.parametrize("columns", [None, 1, 4])
@pytest.mark.parametrize("colored", [False, True])
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), ("float64", 1e-13)])
def test_preconditioner_is_the_inverse(columns, colored, dtype, rtol):
    rng = np.random.default_rng(0)
    a = positive_definite(rng, np.dtype(dtype), 40)
    coloring = color_graph(a) if colored else Coloring(np.arange(40), tuple(range(41)), 40)
    r = rng.standard_normal((40,) if columns is None else (40, columns)).astype(dtype)
    inverse = naive.ssor_solve(a.toarray()[np.ix_(coloring.order, coloring.order)], 0.8, np.eye(40))
    z = ssor_preconditioner(a, omega=0.8, coloring=coloring if colored else None)(r)
    assert z.dtype == dtype and z.flags.c_contiguous
    expected = inverse @ r[coloring.order]
    np.testing.assert_allclose(
        z[coloring.order], expected, rtol=0, atol=rtol * np.abs(expected).max()
    )


@pytest.mark.parametrize("omega", [0.05, 1.0, 1.95])
def test_preconditioner_is_positive_definite(omega):
    inverse = ssor_preconditioner(five_points(6, np.float64), omega=omega)(np.eye(36))
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-14 * np.abs(inverse).max())
    assert np.linalg.eigvalsh(inverse).min() > 0


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_a_large_colored_system_is_solved_as_a_small_one(solver, monkeypatch):
    """Two ways to one result: a kernel that solves, and a kernel for each color."""
    a, b = grid(30)
    coloring = color_graph(a)
    x0 = np.cos(np.arange(900.0))
    whole = solver(a, b, omega=1.5, x0=x0, coloring=coloring)
    monkeypatch.setattr(module, "FEW_ROWS", 100)
    by_colors = solver(a, b, omega=1.5, x0=x0, coloring=coloring)
    assert by_colors.n_iter == whole.n_iter and by_colors.reason == "converged"
    np.testing.assert_allclose(
        by_colors.residual_norms,
        whole.residual_norms,
        rtol=1e-6,
        atol=1e-13 * whole.residual_norms[0],
    )
    np.testing.assert_allclose(by_colors.x, whole.x, rtol=0, atol=1e-12 * np.abs(whole.x).max())
    with simulated_gpu() as xp:
        on_gpu = solver(
            CSR(xp.asarray(a.indptr), xp.asarray(a.indices), xp.asarray(a.data), a.shape),
            xp.asarray(b),
            omega=1.5,
            x0=xp.asarray(x0),
        )
    assert on_gpu.n_iter == whole.n_iter
    np.testing.assert_allclose(on_gpu.x.get(), whole.x, rtol=0, atol=1e-12 * np.abs(whole.x).max())


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_bits_do_not_depend_on_threads(solver, monkeypatch):
    monkeypatch.setattr(module, "FEW_ROWS", 100)
    a, b = grid(60)
    coloring, found = color_graph(a), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            found.append(solver(a, b, omega=1.5, coloring=coloring, tol=1e-4))
    finally:
        numcore.set_num_threads(None)
    assert all(
        np.array_equal(found[0].x, other.x)
        and np.array_equal(found[0].residual_norms, other.residual_norms)
        for other in found
    )


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_calls_of_kernels_do_not_show(solver, monkeypatch):
    """Kernels are called again and again for long solves, at points that leave no trace in the
    result."""
    a, b = grid(12)
    whole = solver(a, b, omega=1.3)
    monkeypatch.setattr(module, "MAX_SWEEPS", 3)
    parts = solver(a, b, omega=1.3)
    assert np.array_equal(whole.x, parts.x) and np.array_equal(
        whole.residual_norms, parts.residual_norms
    )


# --- ends of a solve ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_limits_of_iterations(solver):
    a, b = grid(10)
    whole = solver(a, b)
    for most in (0, 1, 5, whole.n_iter - 1):
        found = solver(a, b, max_iter=most)
        assert not found.converged and found.reason == "max_iter" and found.n_iter == most
        np.testing.assert_allclose(
            found.residual_norms, whole.residual_norms[: most + 1], rtol=1e-9
        )
        assert abs(np.linalg.norm(b - spmv(a, found.x)) - found.residual_norms[-1]) < 1e-12
        assert found.relative_residual == found.residual_norms[-1] / found.residual_norms[0]
    assert solver(a, b, max_iter=whole.n_iter).converged


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_zero_right_hand_side(solver):
    a, b = grid(4)
    found = solver(a, 0 * b)
    assert (
        found.converged
        and found.n_iter == 0
        and not found.x.any()
        and found.residual_norms.tolist() == [0]
    )
    exact = solver(PATH, np.array([3.0, 2, 3]), x0=np.ones(3))
    assert exact.converged and exact.n_iter == 0 and exact.x.tolist() == [1, 1, 1]
    assert solver(a, 0 * b, x0=b).converged


@pytest.mark.parametrize("solver", [sor, ssor_cg])
@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-600, 2.0**600, 2.0**1000])
def test_numbers_whose_squares_leave_the_range(solver, scale):
    a, b = grid(6)
    x0 = np.cos(np.arange(36.0))
    plain, scaled = (solver(a, factor * b, omega=1.3, x0=factor * x0) for factor in (1.0, scale))
    assert scaled.converged and scaled.n_iter == plain.n_iter
    np.testing.assert_allclose(scaled.x / scale, plain.x, rtol=1e-12)
    np.testing.assert_allclose(scaled.residual_norms / scale, plain.residual_norms, rtol=1e-6)


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-6), ("float64", 1e-15)])
@pytest.mark.parametrize("tol", [1e-40, 0])
@pytest.mark.parametrize("few", [10, 1000])
def test_what_rounding_does_not_allow_is_said(dtype, limit, tol, few, monkeypatch):
    monkeypatch.setattr(module, "FEW_ROWS", few)
    a, b = grid(10, dtype)
    found = ssor_cg(a, b, tol=tol, coloring=color_graph(a) if few == 10 else None)
    assert found.reason == "stagnated" and not found.converged and found.n_iter < 200
    assert found.relative_residual < 4 * limit


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("few", [1, 1000])
def test_matrices_that_are_not_positive_definite(few, monkeypatch):
    monkeypatch.setattr(module, "FEW_ROWS", few)
    a = CSR.from_dense(np.array([[1.0, 3.0], [3.0, 1.0]]))
    coloring = color_graph(a)
    assert ssor_cg(a, np.array([1.0, -1.0]), coloring=coloring).reason == "breakdown"
    found = sor(a, np.array([1.0, 0.0]), coloring=coloring)
    assert found.reason == "diverged" and not found.converged and found.n_iter < 10_000


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_callback_sees_every_iteration_and_may_end_it(solver):
    a, b = grid(10)
    seen, whole = [], solver(a, b)
    watched = solver(a, b, callback=lambda k, norm: seen.append((k, norm)))
    assert [k for k, _ in seen] == list(
        range(1, whole.n_iter + 1)
    ) and watched.reason == "converged"
    assert np.array_equal(watched.x, whole.x) and np.array_equal(
        watched.residual_norms, whole.residual_norms
    )
    stopped = solver(a, b, callback=lambda k, norm: k == 7)
    assert stopped.reason == "callback" and stopped.n_iter == 7 and not stopped.converged
    np.testing.assert_array_equal(stopped.residual_norms[:7], whole.residual_norms[:7])
    assert abs(np.linalg.norm(b - spmv(a, stopped.x)) - stopped.residual_norms[-1]) < 1e-12


def test_interrupts_and_errors_of_a_callback_pass_through():
    def interrupt(k, norm):
        raise KeyboardInterrupt

    b = np.ones(100)
    with pytest.raises(KeyboardInterrupt):
        sor(grid(10)[0], b, callback=interrupt, progress=True)
    assert (b == 1).all()


def test_progress_is_shown_when_asked_for(capsys):
    pytest.importorskip("tqdm")
    sor(*grid(10), progress=True)
    assert "223" in capsys.readouterr().err.replace("224", "223")  # passes are one more than sweeps


def test_memory_is_five_vectors_besides_the_matrix():
    a, b = grid(200)
    a.inverse_diagonal  # noqa: B018  kept with the matrix
    for solver in (sor, ssor_cg):
        solver(a, b, max_iter=2)
        tracemalloc.start()
        solver(a, b, max_iter=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # five vectors at work, one with the result, one for the last residual
        assert peak < 7.5 * b.nbytes, solver


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [sor, ssor_cg])
@pytest.mark.parametrize(
    "change, kind, message",
    [
        (dict(a=CSR.from_dense(np.ones((2, 3)))), ValueError, r"a must have shape \(n, n\)"),
        (
            dict(a=CSR.from_dense(np.diag([1.0, -1, 1]))),
            ValueError,
            r"positive diagonal \(got -1.0 in row 1\)",
        ),
        (
            dict(a=CSR.from_dense(np.eye(3, k=1))),
            ValueError,
            r"positive diagonal \(got 0.0 in row 0\)",
        ),
        (
            dict(a=CSR.from_dense(np.array([[1, np.inf, 0], [np.inf, 1, 0], [0, 0, 1]]))),
            ValueError,
            r"a must be finite \(got inf at \[0, 1\]\)",
        ),
        (dict(b=np.array([1, np.nan, 1])), ValueError, r"b must be finite \(got nan at \[1\]\)"),
        (dict(coloring=1), TypeError, "coloring must be a Coloring"),
        (
            dict(coloring=Coloring(np.arange(2), (0, 2), 1)),
            ValueError,
            r"coloring.order must have shape \(n,\) with n = 3",
        ),
        (dict(coloring=Coloring(np.zeros(3, int), (0, 3), 1)), ValueError, "permutation of 3 rows"),
    ],
)
def test_errors_of_the_solvers(solver, change, kind, message):
    with pytest.raises(kind, match=message):
        solver(**{"a": PATH, "b": np.ones(3)} | change)


def test_a_start_so_large_that_its_residual_overflows():
    x0 = np.full(3, 1e308)
    with pytest.raises(ValueError, match="x0 must have a finite residual"):
        sor(PATH, np.ones(3), x0=x0)
    assert ssor_cg(PATH, np.ones(3), x0=x0).reason == "diverged"


def test_errors_of_the_preconditioner_and_of_the_best_omega():
    with pytest.raises(ValueError, match=r"r must have shape \(n,\) with n = 3 \(got \(4,\)\)"):
        ssor_preconditioner(PATH)(np.ones(4))
    with pytest.raises(TypeError, match="r must have dtype float64 like a"):
        ssor_preconditioner(PATH)(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="positive diagonal"):
        ssor_preconditioner(CSR.from_dense(-np.eye(2)))
    with pytest.raises(ValueError, match="positive diagonal"):
        optimal_omega(CSR.from_dense(-np.eye(2)))
    with pytest.raises(ValueError, match="a must be finite"):
        optimal_omega(CSR.from_dense(np.array([[1.0, np.inf], [np.inf, 1.0]])))


@pytest.mark.parametrize("solver", [sor, ssor_cg])
def test_matrices_of_scipy(solver):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    a, b = grid(8)
    for make in (scipy_sparse.csr_array, scipy_sparse.csc_matrix, scipy_sparse.coo_array):
        assert np.array_equal(solver(make(a.toarray()), b).x, solver(a, b).x)


def test_matrices_of_one_pattern():
    a = five_points(7, np.float64)
    b = a.with_data(2 * a.data)
    assert (
        b.indices is a.indices
        and np.array_equal(b.toarray(), 2 * a.toarray())
        and b.has_positive_diagonal
    )
    assert (
        np.array_equal(b.inverse_diagonal, a.inverse_diagonal / 2)
        and a.with_data(a.data.astype(np.float32)).dtype == np.float32
    )
    assert not a.with_data(-a.data).has_positive_diagonal
    with pytest.raises(ValueError, match="data must have shape"):
        a.with_data(a.data[1:])
    with pytest.raises(TypeError, match="data must have dtype"):
        a.with_data(a.data.astype(int))
