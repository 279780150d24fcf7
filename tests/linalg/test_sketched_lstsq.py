"""Sketched least squares: exact cases, calibrated error bars, the sketch without the guarantee;
full precision on ill-conditioned data."""

import statistics
import tracemalloc

import numpy as np
import pytest

from numcore.examples.linalg.sketches import srht_matrix, tensor_srht_matrix
from numcore.linalg import preconditioned_lstsq, sketched_lstsq
from numcore.linalg._sketched_lstsq import _exact_product
from numcore.linalg._sketches import gaussian_sketch
from numcore.testing import simulated_gpu
from tests.naive.linalg.sketches import exact_solution

SKETCHES = ("srht", "src", "gaussian", "countsketch")
extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision on this platform"
)


def problem(rng, n, d, c=None):
    a = rng.standard_normal((n, d))
    shape = (n,) if c is None else (n, c)
    return a, a @ rng.standard_normal((d,) + shape[1:]) + rng.standard_normal(shape)


# --- exact cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d", [(64, 5), (50, 5), (8, 8), (1, 1), (3, 2)])
def test_a_full_sketch_gives_the_exact_solution(n, d):
    a, b = problem(np.random.default_rng(0), n, d)
    m = 1 << (n - 1).bit_length()
    result, (x, *_) = sketched_lstsq(a, b, sketch_size=m, rng=0), np.linalg.lstsq(a, b)
    np.testing.assert_allclose(result.x, x, rtol=0, atol=1e-12 * max(1, np.linalg.cond(a)))
    assert result.stderr.tolist() == [0] * d and result.linf_bound == 0
    assert (result.sketch_size, result.rank) == (m, d)
    np.testing.assert_allclose(
        result.residual_norm, np.linalg.norm(a @ x - b), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("sketch", SKETCHES)
def test_a_consistent_system_is_solved(sketch):
    rng = np.random.default_rng(1)
    a, x = rng.standard_normal((300, 6)), rng.standard_normal((6, 2))
    result = sketched_lstsq(a, a @ x, sketch=sketch, sketch_size=60, rng=2)
    assert result.rank == 6
    np.testing.assert_allclose(result.x, x, rtol=0, atol=1e-10)
    assert result.residual_norm.max() < 1e-12 and result.linf_bound.max() < 1e-12


def test_a_consistent_kronecker_system_is_solved():
    rng = np.random.default_rng(1)
    factors, x = (
        tuple(rng.standard_normal(shape) for shape in ((20, 3), (9, 2), (4, 1))),
        rng.standard_normal(6),
    )
    a = np.kron(np.kron(*factors[:2]), factors[2])
    for rhs, expected in ((a @ x, x), (np.outer(a @ x, [1.0, -2.0]), np.outer(x, [1.0, -2.0]))):
        result = sketched_lstsq(factors, rhs, sketch_size=60, rng=2)
        np.testing.assert_allclose(result.x, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "sketch, matrix",
    [
        ("srht", lambda: srht_matrix(50, 30, 4)),
        ("tensor", lambda: tensor_srht_matrix([10, 5], 30, 4)),
    ],
)
def test_the_formulas_by_the_sketch_as_a_matrix(sketch, matrix):
    rng = np.random.default_rng(3)
    factors = (rng.standard_normal((10, 2)), rng.standard_normal((5, 2)))
    a, b, m, d = np.kron(*factors), rng.standard_normal(50), 30, 4
    left = 1 - m / 64 if sketch == "srht" else 1
    s = matrix()
    x, (rest,), *_ = np.linalg.lstsq(s @ a, s @ b)
    noise = np.sqrt(rest / (1 - left * d / m))
    stderr = np.sqrt(left / (m - d)) * noise * np.linalg.norm(np.linalg.pinv(s @ a), axis=1)
    result = sketched_lstsq(a if sketch == "srht" else factors, b, sketch_size=m, delta=0.1, rng=4)
    np.testing.assert_allclose(result.x, x, rtol=1e-11)
    np.testing.assert_allclose(result.stderr, stderr, rtol=1e-11)
    np.testing.assert_allclose(result.residual_norm, noise, rtol=1e-11)
    np.testing.assert_allclose(
        result.linf_bound, statistics.NormalDist().inv_cdf(1 - 0.1 / 8) * stderr.max(), rtol=1e-11
    )


def test_several_right_hand_sides_are_solved_as_each():
    a, b = problem(np.random.default_rng(4), 500, 7, 3)
    for solve in (sketched_lstsq, preconditioned_lstsq):
        together = solve(a, b, rng=1)
        for column in range(3):
            alone = solve(a, b[:, column], rng=1)
            for name in (
                "x",
                "residual_norm",
                *(("stderr", "linf_bound") if solve is sketched_lstsq else ()),
            ):
                np.testing.assert_allclose(
                    getattr(together, name)[..., column], getattr(alone, name), rtol=0, atol=1e-12
                )


def test_a_gaussian_sketch_is_one_matrix_for_a_and_b():
    numbers = gaussian_sketch(np, 2500, 7, np.dtype(float), np.random.default_rng(0))(np.eye(2500))[
        0
    ] * np.sqrt(7)
    assert abs(numbers.mean()) < 4.5 / np.sqrt(numbers.size) and abs(
        numbers.var() - 1
    ) < 4.5 * np.sqrt(2 / numbers.size)
    a, b = problem(np.random.default_rng(1), 2500, 3)
    s = gaussian_sketch(np, 2500, 30, np.dtype(float), np.random.default_rng(5))(np.eye(2500))[0]
    expected = np.linalg.lstsq(s @ a, s @ b)[0]
    np.testing.assert_allclose(
        sketched_lstsq(a, b, sketch="gaussian", sketch_size=30, rng=5).x,
        expected,
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "dtype, scales", [("float32", (1e-30, 1e30)), ("float64", (1e-290, 1e290))]
)
def test_units_of_any_size(dtype, scales):
    a, b = (array.astype(dtype) for array in problem(np.random.default_rng(0), 2000, 10))
    tol = 1e-5 if dtype == "float32" else 1e-13
    for solve in (sketched_lstsq, preconditioned_lstsq):
        plain = solve(a, b, rng=1)
        for of_a in (1, *scales):
            for of_b in (1, *scales):
                if of_b / of_a > max(scales) or of_b / of_a < min(scales):
                    continue  # the solution is no number of this dtype
                scaled = solve(
                    a * np.dtype(dtype).type(of_a), b * np.dtype(dtype).type(of_b), rng=1
                )
                np.testing.assert_allclose(
                    scaled.x / of_b * of_a, plain.x, rtol=0, atol=tol * np.abs(plain.x).max()
                )
                assert abs(scaled.residual_norm / of_b / plain.residual_norm - 1) < tol
                if solve is sketched_lstsq:
                    np.testing.assert_allclose(scaled.stderr / of_b * of_a, plain.stderr, rtol=tol)
                    assert abs(scaled.linf_bound / of_b * of_a / plain.linf_bound - 1) < tol


# --- the error bars -------------------------------------------------------------------------------


@pytest.mark.parametrize("sketch", ["srht", "src"])
def test_error_bars_are_calibrated(sketch):
    rng, n, d = np.random.default_rng(0), 4096, 20
    a = rng.standard_normal((n, d)) * np.exp(rng.standard_normal((n, 1)))
    a[:, 0] *= 10
    b = a @ rng.standard_normal(d) + rng.standard_normal(n)
    x, residual = np.linalg.lstsq(a, b)[0], np.linalg.norm(b - a @ np.linalg.lstsq(a, b)[0])
    results = [
        sketched_lstsq(a, b, sketch=sketch, sketch_size=400, rng=seed) for seed in range(300)
    ]
    z = np.array([(r.x - x) / r.stderr for r in results])
    assert 0.90 < z.std() < 1.10  # 0.98 measured
    assert 0.93 < (np.abs(z) < 1.96).mean() < 0.97
    assert np.mean([np.abs(r.x - x).max() <= r.linf_bound for r in results]) >= 0.95
    ratio = np.array([r.residual_norm for r in results]) / residual
    assert abs(ratio.mean() - 1) < 0.01 and ratio.std() < 1.3 / np.sqrt(
        2 * 380
    )  # as documented; rows of unequal weight spread it a little


def test_error_bars_of_a_kronecker_problem():
    rng = np.random.default_rng(0)
    factors = (rng.standard_normal((64, 4)), rng.standard_normal((50, 3)))
    a = np.kron(*factors)
    b = a @ rng.standard_normal(12) + rng.standard_normal(3200)
    x = np.linalg.lstsq(a, b)[0]
    z = np.array(
        [
            (r.x - x) / r.stderr
            for r in (sketched_lstsq(factors, b, sketch_size=300, rng=seed) for seed in range(200))
        ]
    )
    assert 0.88 < z.std() < 1.12 and 0.92 < (np.abs(z) < 1.96).mean() < 0.98


@pytest.mark.parametrize(
    "m, most", [(25, 1.0), (40, 1.0), (160, 1.1)]
)  # few rows: bars wider than errors, for heavy tails
def test_error_bars_with_few_rows(m, most):
    a, b = problem(np.random.default_rng(0), 4096, 20)
    x = np.linalg.lstsq(a, b)[0]
    results = [sketched_lstsq(a, b, sketch_size=m, rng=seed) for seed in range(300)]
    z = np.array([(r.x - x) / r.stderr for r in results])
    assert 0.5 < z.std() < most and (np.abs(z) < 1.96).mean() > 0.94
    assert np.mean([np.abs(r.x - x).max() <= r.linf_bound for r in results]) >= 0.96
    if m > 25:
        assert 0.9 < z.std() * np.sqrt(m / (m - 20)) < 1.1  # the documented factor


@pytest.mark.parametrize(
    "sketch, n", [("srht", 4096), ("src", 4096), ("gaussian", 1024), ("countsketch", 4096)]
)
def test_only_dense_sketches_keep_single_coefficients(sketch, n):
    a, b = np.eye(n, 64), np.zeros(n)  # further rows of zeros would not change a Gaussian sketch
    b[64:72] = 8**-0.5  # x* = 0
    largest = np.array(
        [
            np.abs(sketched_lstsq(a, b, sketch=sketch, sketch_size=1024, rng=seed).x).max()
            for seed in range(200)
        ]
    )
    if sketch == "countsketch":
        assert (largest > 0.2).mean() >= 0.2 and abs(
            largest.max() - 8**-0.5
        ) < 1e-12  # an entry of b on a column of a
    else:
        assert largest.max() < 0.2


def test_a_sparse_sketch_is_worse_though_its_mean_error_is_smaller():
    a, b = np.eye(4096, 64), np.zeros(4096)
    b[64:80] = 0.25
    x = {
        s: np.array(
            [sketched_lstsq(a, b, sketch=s, sketch_size=1024, rng=seed).x for seed in range(100)]
        )
        for s in ("srht", "countsketch")
    }
    length = {s: np.linalg.norm(x[s], axis=1).mean() for s in x}
    assert length["countsketch"] < length["srht"]  # 0.17 and 0.23
    assert (np.abs(x["countsketch"]).max(axis=1) >= 0.24).mean() > 0.4 and np.abs(
        x["srht"]
    ).max() < 0.16


def test_four_times_the_rows_halve_the_error():
    a, b = problem(np.random.default_rng(0), 1 << 14, 20)
    x = np.linalg.lstsq(a, b)[0]
    small, large = (
        np.median(
            [
                np.abs(sketched_lstsq(a, b, sketch_size=m, rng=seed).x - x).max()
                for seed in range(100)
            ]
        )
        for m in (200, 800)
    )
    assert 1.8 < small / large < 2.3


def test_real_data_with_rows_to_spare_and_without():
    datasets = pytest.importorskip("sklearn.datasets")
    a, b = datasets.load_diabetes(return_X_y=True)
    x = np.linalg.lstsq(a, b)[0]
    results = [sketched_lstsq(a, b, sketch_size=200, rng=seed) for seed in range(100)]
    assert (
        np.mean([np.abs(r.x - x).max() <= r.linf_bound for r in results]) >= 0.93
    )  # 0.95, and the chance of 100 draws
    a, b = datasets.load_breast_cancer(return_X_y=True)
    a = (a - a.mean(axis=0)) / a.std(axis=0)
    a = np.column_stack(
        [np.ones(len(a)), a, *(a[:, i] * a[:, j] for i in range(30) for j in range(i, 30))]
    )[:, :496]
    a /= np.linalg.norm(a, axis=0)
    narrow, wide = (sketched_lstsq(a, b.astype(float), sketch_size=m, rng=0) for m in (900, 520))
    assert wide.rank == 496 and wide.linf_bound > 3 * narrow.linf_bound


# --- options --------------------------------------------------------------------------------------


def test_default_sizes():
    a, b = problem(np.random.default_rng(0), 5000, 4)
    assert sketched_lstsq(a, b, rng=0).sketch_size == 47  # ⌈4 log(5000 / 0.05)⌉ > 8 · 4
    assert sketched_lstsq(a, b, delta=0.9, rng=0).sketch_size == 35
    assert sketched_lstsq(a[:4], b[:4], rng=0).sketch_size == 4
    assert (
        sketched_lstsq(a, b, epsilon=0.5, rng=0).sketch_size == 185
    )  # four times as many before rounding
    assert sketched_lstsq(a, b, epsilon=10, rng=0).sketch_size == 4
    assert sketched_lstsq(a, b, epsilon=1e-300, rng=0).sketch_size == 8192
    assert sketched_lstsq(a, b, sketch="src", epsilon=1e-300, rng=0).sketch_size == 5000
    assert sketched_lstsq((a[:6], a[:5]), b[:30], rng=0).sketch_size == 64  # N = 8 · 8 < 8 · 16
    assert sketched_lstsq(a[:4], b[:4], sketch="countsketch", rng=0).sketch_size == 4


def test_nothing_is_left_to_measure_the_residual_by():
    a, b = problem(np.random.default_rng(0), 100, 5)
    result = sketched_lstsq(a, b, sketch_size=5, rng=0)
    assert np.isfinite(result.x).all() and np.isnan(result.stderr).all()
    assert np.isnan(result.linf_bound) and np.isnan(result.residual_norm)


@pytest.mark.parametrize("dtype, tol", [("float32", 1e-4), ("float64", 1e-11)])
def test_rank_deficiency(dtype, tol):
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((400, 3)) @ rng.standard_normal((3, 6))).astype(dtype)
    b = (a @ np.ones(6) + (rng.standard_normal(400) if dtype == "float64" else 0)).astype(dtype)
    result = sketched_lstsq(a, b, sketch_size=512, rng=1)
    x = np.linalg.lstsq(a, b, rcond=1e-5)[0]
    assert result.rank == 3 and np.isnan(result.stderr).all() and np.isnan(result.linf_bound)
    np.testing.assert_allclose(result.x, x, rtol=0, atol=tol)
    np.testing.assert_allclose(preconditioned_lstsq(a, b, rng=1).x, x, rtol=0, atol=tol)
    zero = sketched_lstsq(0 * a, b, rng=1)
    assert zero.rank == 0 and not zero.x.any()
    assert not preconditioned_lstsq(0 * a, b, rng=1).x.any()


def test_memory_is_that_of_a_panel_and_the_sketch():
    n, d, m = 1 << 16, 128, 1024
    a, b = problem(np.random.default_rng(0), n, d)
    sketched_lstsq(a[:200], b[:200], rng=0)
    tracemalloc.start()
    sketched_lstsq(a, b, sketch_size=m, rng=0)
    sketched = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    preconditioned_lstsq(a, b, rng=0)
    preconditioned = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    preconditioned_lstsq(np.asfortranarray(a), b, rng=0)
    copied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    panel, draws = 8 * n * 64, 8 * 8 * n
    assert (
        sketched < panel + 8 * 8 * m * d + draws
    )  # of the sketch: parts of two groups, copies for LAPACK
    assert preconditioned < panel + 8 * 8 * m * d + draws
    assert (
        copied < 8 * n * d + 2 * panel + 8 * 8 * m * d + draws
    )  # with the copy that the test makes


# --- full precision -------------------------------------------------------------------------------


@extended
@pytest.mark.parametrize("factor", [4, 8])
def test_ill_conditioned_problems_are_solved_as_by_lapack(factor):
    for draw in range(3):
        rng = np.random.default_rng(draw)
        u, v = (
            np.linalg.qr(rng.standard_normal((8192, 40)))[0],
            np.linalg.qr(rng.standard_normal((40, 40)))[0],
        )
        a = (u * np.logspace(0, -8, 40)) @ v.T
        b = a @ rng.standard_normal(40) + 1e-3 * rng.standard_normal(8192)
        x = exact_solution(a, b)
        result = preconditioned_lstsq(a, b, sketch_size=factor * 40, rng=draw)
        error = np.linalg.norm((result.x - x).astype(float)) / np.linalg.norm(x.astype(float))
        lapack = np.linalg.norm((np.linalg.lstsq(a, b)[0] - x).astype(float)) / np.linalg.norm(
            x.astype(float)
        )
        assert result.converged and result.n_iter == len(result.gradient_norms) <= (
            60 if factor == 4 else 36
        )
        assert error < lapack  # 5e-11 and 1e-9 … 4e-9; without the exact gradient 1e-8


def test_longley():
    """Sixteen years of an economy; coefficients as certified by NIST, condition 5e9."""
    data = np.array(
        [
            [83.0, 234289, 2356, 1590, 107608, 1947, 60323],
            [88.5, 259426, 2325, 1456, 108632, 1948, 61122],
            [88.2, 258054, 3682, 1616, 109773, 1949, 60171],
            [89.5, 284599, 3351, 1650, 110929, 1950, 61187],
            [96.2, 328975, 2099, 3099, 112075, 1951, 63221],
            [98.1, 346999, 1932, 3594, 113270, 1952, 63639],
            [99.0, 365385, 1870, 3547, 115094, 1953, 64989],
            [100.0, 363112, 3578, 3350, 116219, 1954, 63761],
            [101.2, 397469, 2904, 3048, 117388, 1955, 66019],
            [104.6, 419180, 2822, 2857, 118734, 1956, 67857],
            [108.4, 442769, 2936, 2798, 120445, 1957, 68169],
            [110.8, 444546, 4681, 2637, 121950, 1958, 66513],
            [112.6, 482704, 3813, 2552, 123366, 1959, 68655],
            [114.2, 502601, 3931, 2514, 125368, 1960, 69564],
            [115.7, 518173, 4806, 2572, 127852, 1961, 69331],
            [116.9, 554894, 4007, 2827, 130081, 1962, 70551],
        ]
    )
    certified = [
        -3482258.63459582,
        15.0618722713733,
        -0.0358191792925910,
        -2.02022980381683,
        -1.03322686717359,
        -0.0511041056535807,
        1829.15146461355,
    ]
    a, b = np.column_stack([np.ones(16), data[:, :6]]), data[:, 6]
    np.testing.assert_allclose(preconditioned_lstsq(a, b, rng=0).x, certified, rtol=1e-8)


@pytest.mark.parametrize("dtype, tol", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("n, d", [(1, 1), (2, 1), (5, 5), (31, 4), (1000, 30)])
def test_any_size_to_full_precision(n, d, dtype, tol):
    a, b = (array.astype(dtype) for array in problem(np.random.default_rng(n), n, d))
    result, x = (
        preconditioned_lstsq(a, b, rng=0),
        np.linalg.lstsq(a.astype(float), b.astype(float))[0],
    )
    assert result.x.dtype == dtype and result.converged and result.n_iter <= 60
    np.testing.assert_allclose(
        result.x, x, rtol=0, atol=tol * np.linalg.cond(a.astype(float)) * np.abs(x).max()
    )
    np.testing.assert_allclose(
        result.residual_norm,
        np.linalg.norm(a.astype(float) @ x - b),
        rtol=1e-5,
        atol=tol * np.linalg.norm(b),
    )


def test_exact_data_are_solved_at_once():
    a = np.random.default_rng(0).standard_normal((3000, 20))
    result = preconditioned_lstsq(a, a @ np.arange(20.0), rng=0)
    np.testing.assert_allclose(result.x, np.arange(20.0), rtol=0, atol=1e-12)
    assert (
        result.converged and result.n_iter <= 3
    )  # none is needed, but rounding errors are no worse with some
    assert preconditioned_lstsq(a, np.zeros(3000), rng=0).x.tolist() == [0] * 20


def test_the_end_of_the_iterations():
    a, b = problem(np.random.default_rng(0), 2000, 30)
    calls = []
    result = preconditioned_lstsq(a, b, rng=0, callback=lambda *arguments: calls.append(arguments))
    assert (
        calls == list(enumerate(result.gradient_norms, 1))
        and result.converged
        and result.gradient_norms[-1] <= 1e-12
    )
    stopped = preconditioned_lstsq(a, b, rng=0, callback=lambda k, g: k == 3)
    assert stopped.n_iter == 3 and not stopped.converged and stopped.reason == "callback"
    assert (
        np.abs(stopped.x - result.x).max()
        < 0.05 * np.abs(sketched_lstsq(a, b, sketch_size=120, rng=0).x - result.x).max() * 10
    )
    few = preconditioned_lstsq(a, b, rng=0, max_iter=3)
    assert few.n_iter == 3 and not few.converged and few.x.tolist() == stopped.x.tolist()
    none = preconditioned_lstsq(a, b, rng=0, max_iter=0)
    assert none.n_iter == 0 and none.gradient_norms == () and none.reason == "max_iter"
    loose = preconditioned_lstsq(a, b, rng=0, tol=1e-3)
    assert loose.converged and loose.gradient_norms[-1] <= 1e-3 and loose.n_iter < result.n_iter / 2

    def interrupt(k, g):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preconditioned_lstsq(a, b, rng=0, callback=interrupt)


def test_progress(capsys):
    pytest.importorskip("tqdm")
    a, b = problem(np.random.default_rng(0), 200, 3)
    result = preconditioned_lstsq(a, b, rng=0, progress=True)
    assert f"{result.n_iter:.2f}/60" in capsys.readouterr().err


def test_a_product_whose_terms_cancel():
    u = np.array([1e16, 1.0, -1e16, 3.0, 1e-20])
    a = np.column_stack([np.ones(5), [1.0, 1e-10, 1.0, 1e-10, 1e10]])
    for k in range(1, 200, 50):  # in one group of rows, and across groups
        tall, numbers = np.repeat(a, k, axis=0), np.repeat(u, k)[:, None]
        for layout in (tall, np.asfortranarray(tall)):
            np.testing.assert_allclose(
                _exact_product(np, layout, numbers)[:, 0], [4 * k, k * (4e-10 + 1e-10)], rtol=1e-9
            )


# --- devices and errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("sketch", SKETCHES)
def test_the_simulated_gpu_gives_the_same_solutions(sketch):
    a, b = problem(np.random.default_rng(0), 300, 4)
    with simulated_gpu() as xp:
        gpu, cpu = (
            sketched_lstsq(x(a), x(b), sketch=sketch, sketch_size=40, rng=1)
            for x in (xp.asarray, np.asarray)
        )
        np.testing.assert_allclose(gpu.x.get(), cpu.x, rtol=1e-10)
        np.testing.assert_allclose(gpu.stderr.get(), cpu.stderr, rtol=1e-10)
        np.testing.assert_allclose(
            [gpu.linf_bound, gpu.residual_norm], [cpu.linf_bound, cpu.residual_norm], rtol=1e-10
        )
        factors, b = (a[:20], a[20:30, :2]), b[:200]
        gpu, cpu = (
            sketched_lstsq(tuple(map(x, factors)), x(b), sketch_size=40, rng=1)
            for x in (xp.asarray, np.asarray)
        )
        np.testing.assert_allclose(gpu.x.get(), cpu.x, rtol=1e-10)
        a = a[:, [0, 1, 1]]  # rank 2
        gpu, cpu = (preconditioned_lstsq(x(a[:200]), x(b), rng=1) for x in (xp.asarray, np.asarray))
        np.testing.assert_allclose(gpu.x.get(), cpu.x, rtol=1e-10)


@pytest.mark.parametrize("solve", [sketched_lstsq, preconditioned_lstsq])
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(a=np.ones((2, 3)), b=np.ones(2)), r"underdetermined \(got n = 2, d = 3\)"),
        (dict(b=np.ones(5)), r"b must have shape \(n,\) with n = 6 \(got \(5,\)\)"),
        (dict(b=np.ones((6, 0))), "b must have"),
        (dict(a=np.ones((0, 0)), b=np.ones(0)), "a must have no axis of length zero"),
        (dict(sketch_size=1), r"sketch_size must be in \[2, 8\] \(got 1\)"),
        (dict(sketch_size=9), r"sketch_size must be in \[2, 8\]"),
        (dict(a=np.full((6, 2), np.nan)), "a must be finite"),
        (dict(b=np.full(6, np.inf)), "b must be finite"),
        (dict(a=np.full((6, 2), 1e308)), "a must be finite, and so must sums of its entries"),
    ],
)
def test_errors(solve, options, message):
    with pytest.raises(ValueError, match=message):
        solve(**dict(a=np.random.default_rng(0).standard_normal((6, 2)), b=np.ones(6)) | options)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(epsilon=0.5, sketch_size=3), "must not both be given"),
        (dict(a=()), "a must have at least one factor"),
        (dict(a=(np.ones((3, 1)), np.ones((2, 2))), sketch="src"), 'sketch must be "srht" for'),
        (dict(a=(np.ones((3, 1)), np.ones(2))), r"a\[1\] must have shape"),
        (dict(a=(np.ones((3, 1)), np.ones((2, 7)))), "underdetermined"),
        (dict(a=(np.ones((3, 1)), np.ones((3, 1)))), r"b must have .* with n = 9 \(got \(6,\)"),
        (dict(sketch="src", sketch_size=7), r"sketch_size must be in \[2, 6\]"),
    ],
)
def test_errors_of_sketches(options, message):
    with pytest.raises(ValueError, match=message):
        sketched_lstsq(
            **dict(a=np.random.default_rng(0).standard_normal((6, 2)), b=np.ones(6)) | options
        )


def test_arrays_on_two_devices():
    with simulated_gpu() as xp:
        for a, b in (
            (xp.ones((6, 2)), np.ones(6)),
            ((np.ones((3, 1)), xp.ones((2, 2))), np.ones(6)),
            ((xp.ones((3, 1)), xp.ones((2, 2))), np.ones(6)),
        ):
            with pytest.raises(TypeError, match="one device"):
                sketched_lstsq(a, b)
