"""Matrix completion against its definition, known rates of convergence, real data, what must be
refused.

The test of the linear growth of the time is slow:
``pytest -m slow tests/linalg/test_matrix_completion.py``.
"""

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import numcore
from numcore.examples.linalg import matrix_completion as naive
from numcore.kernel import Kernel
from numcore.linalg import (
    CSR,
    CompletionResult,
    alternating_step,
    complete_masked,
    complete_matrix,
    predict_entries,
)
from numcore.testing import simulated_gpu

SOLVERS = ["cholesky", "cg", "sketch"]


def low_rank(rng, m, n, k, fraction):
    x = rng.standard_normal((m, k)) @ rng.standard_normal((k, n))
    return x, rng.random((m, n)) < fraction


def dense(result):
    return result.offset + (result.u * result.s) @ result.vh


def error(result, x):
    return np.linalg.norm(dense(result) - x) / np.linalg.norm(x)


def sparse(x, mask):
    rows, cols = np.nonzero(mask)
    return CSR.from_coo(rows, cols, x[mask], x.shape)


def rmse(result, x, mask):
    rows, cols = np.nonzero(mask)
    return np.sqrt(np.mean((predict_entries(result, rows, cols) - x[mask]) ** 2))


# --- known answers --------------------------------------------------------------------------------


def test_the_published_rate_of_convergence():
    x, mask = low_rank(np.random.default_rng(0), 300, 200, 3, 0.2)
    assert mask.sum() == 12022
    expected = {
        1: 1.1e-1,
        5: 5.0e-4,
        9: 4.9e-6,
        13: 6.3e-8,
        17: 9.2e-10,
        21: 1.5e-11,
        25: 2.3e-13,
        29: 3.9e-15,
    }
    for rounds, relative in expected.items():
        found = error(complete_masked(x, mask, rank=3, max_iter=rounds, tol=0, rng=0), x)
        assert abs(found / relative - 1) < 0.1, (
            rounds
        )  # the figures have two digits; at 4e-15 rounding matters
    assert error(complete_masked(x, mask, rank=3, max_iter=40, tol=0, rng=0), x) < 1e-15


@pytest.mark.parametrize(
    "m, n, k, fraction, expected",
    [
        (300, 200, 3, 0.08, {1: 6.9e-1, 5: 9.4e-2, 10: 1.0e-2, 20: 1.9e-4, 30: 3.7e-6}),
        (500, 400, 5, 0.2, {1: 8e-2, 5: 1.7e-4, 10: 1.8e-7}),
    ],
)
def test_rates_of_other_problems(m, n, k, fraction, expected):
    x, mask = low_rank(np.random.default_rng(0), m, n, k, fraction)
    for rounds, relative in expected.items():
        found = error(complete_masked(x, mask, rank=k, max_iter=rounds, tol=0, rng=0), x)
        assert relative / 10 < found < 10 * relative, (
            rounds
        )  # another sample of the entries: the rate differs a little, its power more


def test_the_missing_entry_of_a_rank_one_matrix():
    result = complete_matrix(
        [0, 0, 1],
        [0, 1, 0],
        np.array([1.0, 2.0, 3.0]),
        (2, 2),
        rank=1,
        tol=1e-12,
        max_iter=200,
        rng=0,
    )
    assert abs(predict_entries(result, [1], [1])[0] - 6) < 1e-9
    assert result.converged and result.reason == "converged" and result.observed_rmse < 1e-9


def test_a_matrix_that_is_all_known_gets_its_best_approximation():
    x = np.random.default_rng(1).standard_normal((40, 30))
    result = complete_masked(x, np.ones(x.shape, bool), rank=4, tol=0, max_iter=400, rng=0)
    u, s, vh = np.linalg.svd(x)
    np.testing.assert_allclose(result.s, s[:4], rtol=1e-10)
    np.testing.assert_allclose(dense(result), (u[:, :4] * s[:4]) @ vh[:4], atol=1e-10)
    np.testing.assert_allclose(result.u.T @ result.u, np.eye(4), atol=1e-13)
    np.testing.assert_allclose(result.vh @ result.vh.T, np.eye(4), atol=1e-13)


@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_errors_of_half_steps_do_not_add_up(size):
    rng = np.random.default_rng(2)
    x, mask = low_rank(rng, 300, 200, 3, 0.2)
    by_rows, by_columns = sparse(x, mask), sparse(x.T, mask.T)
    u = complete_masked(x, mask, rank=3, max_iter=1, rng=0).u

    def disturbed(factor):
        return factor + size * np.sqrt(np.mean(factor**2)) * rng.standard_normal(factor.shape)

    errors = []
    for _ in range(30):
        v = np.linalg.qr(disturbed(alternating_step(by_columns, u)))[0]
        left = disturbed(alternating_step(by_rows, v))
        u = np.linalg.qr(left)[0]
        errors.append(np.linalg.norm(left @ v.T - x) / np.linalg.norm(x))
    assert all(size <= e <= 2 * size for e in errors[-10:])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_averaged_as_well_as_an_oracle_does(seed):
    rng = np.random.default_rng(seed)
    x, mask = low_rank(rng, 300, 200, 3, 0.3)
    result = complete_masked(x + 0.1 * rng.standard_normal(x.shape), mask, rank=3, rng=0)
    assert np.sqrt(np.mean((dense(result) - x) ** 2)) <= 1.1 * 0.1 * np.sqrt(
        3 * (300 + 200 - 3) / mask.sum()
    )


# --- against the definition -----------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 17, 33])
def test_half_steps(solver, ridge, k):
    """Rows without entries, with fewer than k entries, and with many more than 4 k."""
    rng = np.random.default_rng(k)
    x, mask = rng.standard_normal((25, 200)), rng.random((25, 200)) < rng.random((25, 1)) ** 2
    mask[0], mask[1], mask[2, 1:] = False, True, False
    factor = rng.standard_normal((200, k))
    found = alternating_step(
        sparse(x, mask), factor, ridge=ridge, solver=solver, inner_tol=1e-14, rng=0
    )
    expected = naive.least_squares(x, mask, factor, ridge)
    # the Gram matrices of rows with about k entries have conditions up to 1e6
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert not found[0].any()


@pytest.mark.parametrize("solver", ["cholesky", "sketch"])
def test_directions_that_are_not_determined_stay_zero(solver):
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((50, 12))
    factor[:, 5], factor[:, 11] = factor[:, 2], 0
    x = rng.standard_normal((6, 50))
    mask = np.ones(x.shape, bool)
    found = alternating_step(sparse(x, mask), factor, solver=solver, inner_tol=1e-14)
    np.testing.assert_allclose(found, x @ np.linalg.pinv(factor).T, atol=1e-12)
    assert not found[:, 11].any()


@pytest.mark.parametrize("exponent", [-160, 0, 160])
def test_badly_scaled_and_badly_conditioned_factors(exponent):
    rng = np.random.default_rng(4)
    factor = rng.standard_normal((80, 9)) * 10.0 ** (-np.arange(9) / 2)
    truth = rng.standard_normal((5, 9)) * 2.0**exponent
    found = alternating_step(
        sparse(truth @ factor.T, np.ones((5, 80), bool)), factor, solver="cholesky"
    )
    assert (
        np.abs(found - truth).max() < 1e-6 * 2.0**exponent
    )  # the Gram matrix has condition 1e8 to 1e9


def test_an_ill_conditioned_row_leaves_plain_conjugate_gradients():
    rng = np.random.default_rng(5)
    factor = rng.standard_normal((700, 50)) * 10.0 ** (-np.arange(50) / 12)
    csr = sparse(rng.standard_normal((3, 700)), np.ones((3, 700), bool))
    exact = alternating_step(csr, factor, solver="cholesky")
    np.testing.assert_allclose(
        alternating_step(csr, factor, solver="auto", inner_tol=1e-14, rng=0), exact, rtol=1e-6
    )
    few = alternating_step(csr, factor, solver="cg", inner_tol=1e-3)
    assert (
        np.abs(few - exact).max() > 1e-3 * np.abs(exact).max()
    )  # small gradients alone are not enough


def test_a_warm_start_is_used():
    rng = np.random.default_rng(6)
    x, mask = low_rank(rng, 40, 60, 4, 0.6)
    factor = np.linalg.qr(rng.standard_normal((60, 4)))[0]
    exact = alternating_step(sparse(x, mask), factor)
    np.testing.assert_array_equal(
        alternating_step(sparse(x, mask), factor, x0=exact, solver="cg", inner_tol=1e-3), exact
    )


def test_models_are_those_of_the_definition():
    x, mask = low_rank(np.random.default_rng(7), 30, 25, 2, 0.6)
    models = list(naive.models(x, mask, 2, 3))
    first = np.linalg.svd(np.where(mask, x, 0))[0][:, :2]
    for rounds, model in enumerate(models, 1):
        result = complete_masked(x, mask, rank=2, max_iter=rounds, init=first, tol=0)
        np.testing.assert_allclose(dense(result), model, atol=1e-12)
    changes = [
        np.linalg.norm(b - a) / np.linalg.norm(b)
        for a, b in zip([0 * models[0], *models], models)  # noqa: B905
    ]
    np.testing.assert_allclose(result.relative_changes, changes, rtol=1e-10)


def test_solvers_agree():
    x, mask = low_rank(np.random.default_rng(8), 200, 150, 4, 0.3)
    models = [
        dense(
            complete_masked(
                x, mask, rank=4, max_iter=5, tol=0, solver=solver, inner_tol=1e-13, rng=0
            )
        )
        for solver in SOLVERS
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model, models[0], atol=1e-9 * np.abs(x).max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_adaptive_accuracy_still_converges(solver):
    x, mask = low_rank(np.random.default_rng(9), 200, 150, 4, 0.3)
    result = complete_masked(x, mask, rank=4, solver=solver, tol=1e-12, rng=0)
    assert result.converged and error(result, x) < 1e-11
    assert len(result.relative_changes) == result.n_iter <= 30


def test_coarse_half_steps_do_not_pass_for_convergence():
    rng = np.random.default_rng(27)
    x, mask = low_rank(rng, 300, 300, 20, 0.95)
    noisy = x + 0.1 * rng.standard_normal(x.shape)
    for tol in (
        0.01,
        1e-4,
    ):  # a tenth is what all gradients are below in the second round, so that no solution changes
        result, exact = (
            complete_masked(noisy, mask, rank=20, tol=tol, solver=solver, rng=0)
            for solver in ("cg", "cholesky")
        )
        assert result.converged and np.linalg.norm(
            dense(result) - dense(exact)
        ) < 10 * tol * np.linalg.norm(x)


def test_a_rank_above_the_limit_of_the_direct_solver():
    x, mask = low_rank(np.random.default_rng(10), 400, 350, 50, 0.7)
    result = complete_masked(x, mask, rank=50, tol=1e-8, rng=0)
    assert result.converged and error(result, x) < 1e-6


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "factor, exact", [(2.0**40, True), (1e-200, False), (1e200, False), (-3.0, False)]
)
def test_scaled_values_scale_the_singular_values(factor, exact):
    x, mask = low_rank(np.random.default_rng(11), 60, 50, 2, 0.5)
    one, other = (complete_masked(v, mask, rank=2, rng=0) for v in (x, factor * x))
    np.testing.assert_allclose(other.s, abs(factor) * one.s, rtol=0 if exact else 1e-7)
    np.testing.assert_allclose(
        other.observed_rmse, abs(factor) * one.observed_rmse, rtol=0 if exact else 10
    )  # rounding errors, here
    if exact:
        np.testing.assert_array_equal(other.u, one.u)


def test_permuted_rows_permute_u():
    x, mask = low_rank(np.random.default_rng(12), 60, 50, 2, 0.5)
    order = np.random.default_rng(13).permutation(60)
    one, other = (
        complete_masked(x[p], mask[p], rank=2, tol=1e-12, rng=0) for p in (np.arange(60), order)
    )
    np.testing.assert_allclose(dense(other), dense(one)[order], atol=1e-9)
    np.testing.assert_allclose(np.abs(other.u), np.abs(one.u[order]), atol=1e-9)


def test_order_and_repetition_of_entries_do_not_matter():
    x, mask = low_rank(np.random.default_rng(14), 30, 20, 2, 0.6)
    rows, cols = np.nonzero(mask)
    order = np.random.default_rng(15).permutation(
        np.concatenate([np.arange(len(rows)), np.arange(30)])
    )
    one = complete_matrix(rows, cols, x[mask], x.shape, rank=2, rng=0)
    other = complete_matrix(
        rows[order], cols[order].astype(np.uint64), x[mask][order], x.shape, rank=2, rng=0
    )
    np.testing.assert_array_equal(other.u, one.u)
    assert other.observed_rmse == one.observed_rmse


@pytest.mark.parametrize(
    "center, shape", [(False, (1, 1)), (True, (1, 1)), ("rows", (40, 1)), ("columns", (1, 30))]
)
def test_centering(center, shape):
    rng = np.random.default_rng(16)
    x, mask = low_rank(rng, 40, 30, 2, 0.6)
    x += 7
    mask[3], mask[:, 4] = False, False
    result = complete_masked(x, mask, rank=3, center=center, rng=0)
    assert result.offset.shape == shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of rows without entries
        mean = {
            False: 0,
            True: x[mask].mean(),
            "rows": np.nanmean(np.where(mask, x, np.nan), axis=1)[:, None],
            "columns": np.nanmean(np.where(mask, x, np.nan), axis=0),
        }[center]
    np.testing.assert_allclose(
        result.offset,
        np.broadcast_to(np.where(np.isnan(mean), x[mask].mean(), mean), shape),
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        result.observed_rmse, np.sqrt(np.mean((dense(result) - x)[mask] ** 2)), rtol=1e-6
    )
    assert result.rank_deficient  # row 3, column 4
    np.testing.assert_allclose(
        dense(result)[3], np.broadcast_to(result.offset, x.shape)[3], atol=1e-9
    )
    np.testing.assert_allclose(rmse(result, x, mask), result.observed_rmse, rtol=1e-6)


def test_the_held_out_error_is_that_of_entries_not_fitted():
    rng = np.random.default_rng(17)
    x, mask = low_rank(rng, 200, 150, 3, 0.4)
    noisy = x + 0.5 * rng.standard_normal(x.shape)
    result = complete_masked(noisy, mask, rank=3, holdout=0.2, rng=0)
    honest = rmse(result, noisy, ~mask)
    assert abs(result.holdout_rmse / honest - 1) < 0.1 and result.observed_rmse < 0.95 * honest
    assert complete_masked(noisy, mask, rank=3, rng=0).holdout_rmse is None


def test_split_samples():
    x, mask = low_rank(np.random.default_rng(18), 300, 250, 1, 0.9)
    result = complete_masked(x, mask, rank=1, split_samples=True, max_iter=4, tol=0, rng=0)
    # a ninth of the entries in each half-step: the error falls tenfold in a round
    assert result.n_iter == 4 and all(
        b < a / 4
        for a, b in zip(result.relative_changes, result.relative_changes[1:], strict=False)
    )
    assert error(result, x) < 1e-3
    longer = complete_masked(x, mask, rank=1, split_samples=True, max_iter=8, tol=0, rng=0)
    assert error(longer, x) < error(result, x) / 10
    whole = complete_masked(x, mask, rank=1, max_iter=4, tol=0, rng=0)
    assert (
        error(whole, x) < error(result, x) / 100
    )  # all entries in all half-steps are better in practice


def test_clipping_removes_a_heavy_row():
    rng = np.random.default_rng(19)
    x, mask = low_rank(rng, 200, 100, 2, 0.3)
    x[7] *= 1000
    unclipped, clipped = (
        complete_masked(x, mask, rank=2, max_iter=1, tol=0, clip=clip, rng=0, init=init)
        for clip, init in ((None, "spectral"), (5.0, "spectral"))
    )
    without = np.delete(np.arange(200), 7)
    wrong = [np.linalg.norm((dense(r) - x)[without]) for r in (unclipped, clipped)]
    assert wrong[1] < wrong[0]
    with pytest.raises(ValueError, match="clip"):
        complete_masked(x, mask, rank=2, clip=-1.0)


def test_results_say_what_was_not_determined():
    x, mask = low_rank(np.random.default_rng(20), 30, 20, 3, 1.0)
    assert complete_masked(x, mask, rank=3, rng=0).reason == "converged"
    assert complete_masked(x, mask, rank=3, max_iter=1, rng=0).reason == "max_iter"
    few = complete_matrix([0, 1, 2], [0, 1, 2], np.ones(3), (30, 20), rank=3, rng=0)
    assert few.underdetermined and few.rank_deficient and np.isfinite(dense(few)).all()
    seen = []
    stopped = complete_masked(
        x, mask, rank=1, tol=0, rng=0, callback=lambda n, change: seen.append((n, change)) or n == 3
    )
    assert (
        stopped.reason == "callback" and stopped.n_iter == 3 and [n for n, _ in seen] == [1, 2, 3]
    )
    assert tuple(change for _, change in seen) == stopped.relative_changes


def test_an_interrupt_returns_the_current_model():
    def interrupt(n, change):
        if n == 2:
            raise KeyboardInterrupt

    x, mask = low_rank(np.random.default_rng(21), 30, 20, 2, 0.7)
    result = complete_masked(x, mask, rank=2, rng=0, tol=0, callback=interrupt)
    assert result.reason == "interrupt" and not result.converged and result.n_iter == 2
    np.testing.assert_array_equal(
        result.u, complete_masked(x, mask, rank=2, rng=0, tol=0, max_iter=2).u
    )


def test_constant_and_zero_values():
    zero = complete_matrix([0, 1], [1, 0], np.zeros(2), (3, 3), rank=1, rng=0)
    assert zero.converged and not dense(zero).any() and zero.observed_rmse == 0
    constant = complete_matrix(
        [0, 1, 2], [1, 0, 2], np.full(3, 5.0), (3, 3), rank=1, center=True, rng=0
    )
    np.testing.assert_allclose(dense(constant), 5)


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_dtypes_on_both_devices(dtype, bound, solver):
    x, mask = low_rank(np.random.default_rng(22), 40, 30, 2, 0.7)
    x = x.astype(dtype)
    options = dict(
        rank=2,
        solver=solver,
        inner_tol=1e-13,
        tol=0,
        max_iter=25,
        center="rows",
        holdout=0.1,
        rng=0,
    )
    on_cpu = complete_masked(x, mask, **options)
    assert {part.dtype.name for part in on_cpu[:4]} == {dtype}
    with simulated_gpu() as xp:
        on_gpu = complete_masked(xp.asarray(x), xp.asarray(mask), **options)
        at = predict_entries(on_gpu, xp.asarray([0, 3]), xp.asarray([1, 2])).get()
    u, s, vh, offset = (part.get() for part in on_gpu[:4])
    scale = np.abs(x).max()
    np.testing.assert_allclose(offset + (u * s) @ vh, dense(on_cpu), atol=20 * bound * scale)
    np.testing.assert_allclose(at, dense(on_cpu)[[0, 3], [1, 2]], atol=20 * bound * scale)
    np.testing.assert_allclose(on_gpu.holdout_rmse, on_cpu.holdout_rmse, atol=20 * bound * scale)


def test_a_large_rank_on_a_gpu_uses_conjugate_gradients():
    rng = np.random.default_rng(23)
    csr, factor = (
        sparse(rng.standard_normal((3, 120)), np.ones((3, 120), bool)),
        rng.standard_normal((120, 50)),
    )
    with simulated_gpu() as xp:
        on_gpu = CSR(*(xp.asarray(a) for a in (csr.indptr, csr.indices, csr.data)), csr.shape)
        for solver in ("cholesky", "sketch"):
            found = alternating_step(
                on_gpu, xp.asarray(factor), solver=solver, inner_tol=1e-14
            ).get()
            np.testing.assert_allclose(
                found, alternating_step(csr, factor, solver="cholesky"), atol=1e-11
            )


def test_the_same_seed_gives_the_same_model_at_any_number_of_threads():
    x, mask = low_rank(np.random.default_rng(24), 200, 1000, 3, 0.3)
    before, models = numcore.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            models.append(
                [
                    complete_masked(
                        x,
                        mask,
                        rank=3,
                        max_iter=3,
                        solver=solver,
                        holdout=0.1,
                        rng=np.random.default_rng(1),
                    )
                    for solver in SOLVERS
                ]
            )
    finally:
        numcore.set_num_threads(before)
    for results in models[1:]:
        for result, first in zip(results, models[0], strict=True):
            np.testing.assert_array_equal(dense(result), dense(first))


def test_scipy_matrices():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    x, mask = low_rank(np.random.default_rng(25), 20, 30, 2, 0.6)
    factor = np.random.default_rng(26).standard_normal((30, 2))
    found = alternating_step(scipy_sparse.csr_array(np.where(mask, x, 0)), factor)
    np.testing.assert_array_equal(found, alternating_step(sparse(x, mask), factor))


# --- real data ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    x = pytest.importorskip("sklearn.datasets").load_digits().data
    return x, np.random.default_rng(0).random(x.shape) < 0.5


def test_hidden_pixels_of_digits(digits):
    x, mask = digits
    assert (
        abs(
            np.sqrt(np.mean((x - np.nanmean(np.where(mask, x, np.nan), axis=0))[~mask] ** 2))
            - 4.336
        )
        < 0.005
    )
    # the published figures are of another sample of pixels: they agree to 0.01, but where the model
    # is not determined
    for rank, ridge, expected, within in (
        (3, 0.0, 3.81, 0.01),
        (5, 0.0, 3.72, 0.01),
        (5, 0.3, 3.51, 0.01),
        (8, 0.3, 3.35, 0.01),
        (10, 0.0, 4.55, 0.1),
    ):
        result = complete_masked(
            x, mask, rank=rank, ridge=ridge, center="columns", max_iter=20, rng=0
        )
        assert abs(rmse(result, x, ~mask) - expected) < within, (rank, ridge)


def test_a_ridge_is_relative_to_the_data(digits):
    """Hundredfold ridges shrink the model to the mean; an absolute ridge of 1 would already do so
    at 3.51."""
    x, mask = digits
    errors = [
        rmse(
            complete_masked(x, mask, rank=5, ridge=ridge, center="columns", max_iter=10, rng=0),
            x,
            ~mask,
        )
        for ridge in (0.3, 30.0)
    ]
    assert errors[0] < 3.6 and 4.1 < errors[1] < 4.4


def test_hidden_pixels_of_a_photograph():
    image = (
        pytest.importorskip("sklearn.datasets")
        .load_sample_image("china.jpg")
        .mean(axis=2)[::2, ::2]
    )
    mask = np.random.default_rng(0).random(image.shape) < 0.4
    assert abs(image.std() - 84.8) < 0.1
    for rank, expected in ((5, 33.1), (20, 38.6)):
        result = complete_masked(
            image, mask, rank=rank, ridge=0.05, center=True, max_iter=30, rng=0
        )
        assert abs(rmse(result, image, ~mask) - expected) < 1.5, rank  # another sample of pixels


# --- cost -----------------------------------------------------------------------------------------

MEMORY = """
import resource, threading, tracemalloc
import numpy as np
from numcore.linalg import complete_matrix
rng = np.random.default_rng(0)
complete_matrix([0, 0, 1], [0, 1, 0], np.array([1.0, 2.0, 3.0]), (2, 2), rank=1, rng=0)
rows, cols = rng.integers(0, 200_000, (2, 2_000_000), dtype=np.int32)
places = np.unique(rows.astype(np.int64) * 200_000 + cols)
rows, cols = map(np.ascontiguousarray, np.unravel_index(places, (200_000, 200_000)))
del places
values = rng.standard_normal(len(rows))
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, most, done = resident(), [0], threading.Event()
def watch():
    while not done.wait(0.002):
        most[0] = max(most[0], resident())
watcher = threading.Thread(target=watch)
watcher.start()
tracemalloc.start()
shape, options = (200_000, 200_000), dict(ridge=0.1, max_iter=2, holdout=0.1, rng=0)
result = complete_matrix(rows, cols, values, shape, rank=5, **options)
done.set()
watcher.join()
print((most[0] - before) / 1e6, tracemalloc.get_traced_memory()[1] / 1e6)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_dense_matrix_is_ever_formed():
    """200 000 × 200 000 would be 320 GB; what a process has, and allocates, beyond the entries
    themselves, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    resident, allocated = map(float, done.stdout.split())
    assert 50 < resident < 400 and 50 < allocated < 400


@pytest.mark.slow
def test_time_is_linear_in_the_number_of_entries():
    rng = np.random.default_rng(0)
    factor, times = rng.standard_normal((4000, 16)), []
    for count in (500_000, 2_000_000):
        csr = CSR.from_coo(
            rng.integers(0, 2000, count),
            rng.integers(0, 4000, count),
            rng.standard_normal(count),
            (2000, 4000),
        )
        taken = []
        for _ in range(7):
            start = time.process_time()
            alternating_step(csr, factor, solver="cholesky")
            taken.append(time.process_time() - start)
        times.append(min(taken) / csr.nnz)
    assert 0.75 < times[1] / times[0] < 1.25  # per entry; on a machine that does other work as well


# --- bad input ------------------------------------------------------------------------------------

GOOD = dict(rows=[0, 0, 1], cols=[0, 1, 0], values=np.array([1.0, 2.0, 3.0]), shape=(2, 2), rank=1)


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (dict(rows=[0, 0, 2]), ValueError, r"rows must be in \[0, 2\) \(got 2 at \[2\]\)"),
        (dict(cols=[0, -1, 0]), ValueError, r"cols must be in \[0, 2\) \(got -1 at \[1\]\)"),
        (dict(rows=[0, 0]), ValueError, "cols must have shape"),
        (dict(rows=[], cols=[], values=np.zeros(0)), ValueError, "at least one known entry"),
        (
            dict(rows=[0, 0, 0], cols=[1, 0, 1]),
            ValueError,
            r"values must be the same where entries are repeated \(got 1.0 and 3.0 at \(0, 1\)\)",
        ),
        (dict(rank=3), ValueError, r"rank must be <= min\(m, n\) with .* \(got 3\)"),
        (dict(rank=1.5), TypeError, "rank must be an integer"),
        (dict(ridge="0.1"), TypeError, r"ridge must be a number \(got '0.1'\)"),
        (dict(ridge=True), TypeError, r"ridge must be a number \(got True\)"),
        (dict(clip=-1), ValueError, "clip must be >= 0"),
        (dict(inner_tol="often"), ValueError, "inner_tol must be"),
        (dict(center=1), TypeError, "center must be"),
        (dict(init="random"), ValueError, "init must be"),
        (dict(init=np.ones((3, 1))), ValueError, r"init must have shape \(2, 1\)"),
        (dict(init=np.ones((2, 1), np.float32)), TypeError, "init must have dtype float64"),
        (dict(init=np.full((2, 1), np.nan)), ValueError, "init must be finite"),
    ],
)
def test_errors(change, kind, message, monkeypatch):
    monkeypatch.setattr(Kernel, "__call__", None)  # rejected before any kernel runs
    with pytest.raises(kind, match=message):
        complete_matrix(**GOOD | change)


def test_errors_of_masked_matrices():
    x, mask = np.ones((3, 2)), np.ones((3, 2), bool)
    for arguments, message in (
        ((x * np.nan, mask), r"x must be finite where mask is True \(got nan at \[0, 0\]\)"),
        ((x, ~mask), "at least one known entry"),
    ):
        with pytest.raises(ValueError, match=message):
            complete_masked(*arguments, rank=1)


def test_errors_of_predictions_and_half_steps():
    result = complete_matrix(**GOOD, rng=0)
    wrong_vh, wrong_offset = (
        result._replace(vh=np.ones((2, 2))),
        result._replace(offset=np.ones((2, 2))),
    )
    for arguments, kind, message in (
        (((1, 2), [0], [0]), TypeError, "result must be a CompletionResult"),
        ((result, [2], [0]), ValueError, r"rows must be in \[0, m\) with m = 2 \(got 2 at \[0\]\)"),
        ((wrong_vh, [0], [0]), ValueError, "result.vh must have shape"),
        ((wrong_offset, [0], [0]), ValueError, "result.offset must have shape"),
    ):
        with pytest.raises(kind, match=message):
            predict_entries(*arguments)
    csr = CSR.from_dense(np.ones((3, 2)))
    with pytest.raises(ValueError, match="k > 0"):
        alternating_step(csr, np.ones((2, 0)))
    with pytest.raises(ValueError, match=r"csr must be finite \(got inf at \[0, 0\]\)"):
        alternating_step(csr.with_data(csr.data * np.inf), np.ones((2, 1)))


def test_empty_and_single():
    assert alternating_step(CSR.from_coo([], [], np.zeros(0), (0, 3)), np.ones((3, 2))).shape == (
        0,
        2,
    )
    assert not alternating_step(CSR.from_coo([], [], np.zeros(0), (4, 0)), np.ones((0, 2))).any()
    result = complete_matrix([0], [0], np.array([-3.0]), (1, 1), rank=1, rng=0)
    assert isinstance(result, CompletionResult) and abs(dense(result)[0, 0] + 3) < 1e-14
    assert predict_entries(result, [], []).shape == (0,)
