"""Sensitivities, Lewis weights, row sampling and ℓp regression: known answers, certificates that
hold, the claim of the method, errors."""

import itertools
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.linalg import sensitivity as reference
from numcore.linalg import (
    leverage_scores,
    lewis_weights,
    lp_regression,
    lp_sensitivities,
    sample_rows,
    sampling_scores,
)

A4 = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
GAUSSIAN = np.random.default_rng(0).standard_normal((30, 3))
POWERS = (1, 1.1, 1.5, 2, 3, 4, 6)


def heavy_tailed(seed=1, n=200, d=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.exp(2 * rng.standard_normal((n, 1)))


# --- sensitivities --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, expected",
    [
        (1, [1 / 3, 1 / 3, 1 / 2, 1 / 2]),
        (1.5, [0.369398, 0.369398, 5 - 2 * 5**0.5, 5 - 2 * 5**0.5]),
        (2, [0.4, 0.4, 0.6, 0.6]),
        (3, [0.444444, 0.444444, 0.744521, 0.744521]),
        (4, [0.470588, 0.470588, 0.852311, 0.852311]),
    ],
)
def test_four_rows(p, expected):
    lower, upper, _ = lp_sensitivities(A4, p, tol=1e-8)
    np.testing.assert_allclose(lower, expected, atol=6e-7)  # the answers have six digits
    np.testing.assert_allclose(upper, expected, atol=6e-7)


@pytest.mark.parametrize(
    "p, total",
    [(1, 2.058971), (1.5, 2.526684), (2, 3), (3, 3.934028), (4, 4.814084), (6, 6.241473)],
)
def test_gaussian_rows(p, total):
    lower, upper, n_iter = lp_sensitivities(GAUSSIAN, p, tol=1e-9)
    assert abs(lower.sum() - total) < 1e-6 and abs(upper.sum() - total) < 1e-6
    assert ((upper - lower) <= 1e-9 * upper).all() and n_iter.max() <= 40


def test_p_1_equals_the_linear_program():
    lower, upper, _ = lp_sensitivities(GAUSSIAN, 1)
    expected = [reference.l1_sensitivity(GAUSSIAN, i) for i in range(30)]
    np.testing.assert_allclose(lower, expected, rtol=1e-6)  # the tolerance of the steps
    np.testing.assert_allclose(upper, expected, rtol=1e-6)


@pytest.mark.parametrize("p", POWERS)
def test_simple_matrices(p):
    column = np.random.default_rng(1).standard_normal((50, 1))
    for a, expected in (
        (column, np.abs(column[:, 0]) ** p / (np.abs(column) ** p).sum()),
        (np.eye(5), np.ones(5)),
        (np.tile(np.eye(4), (5, 1)), np.full(20, 0.2)),
    ):
        for bound in lp_sensitivities(a, p, tol=1e-9)[:2]:
            np.testing.assert_allclose(bound, expected, rtol=1e-8)


@pytest.mark.parametrize("p", POWERS)
def test_rows_that_are_zero_or_equal(p):
    a = np.r_[GAUSSIAN, GAUSSIAN[:1], np.zeros((1, 3))]
    _, upper, _ = lp_sensitivities(a, p)
    assert upper[-1] == 0 and abs(upper[0] - upper[-2]) < 1e-12  # sums of other rounding
    np.testing.assert_array_equal(lp_sensitivities(np.zeros((3, 2)), p).upper, 0)
    assert lp_sensitivities(np.zeros((3, 0)), p).upper.tolist() == [0, 0, 0]


@pytest.mark.parametrize("method", ["exact", "bound"])
@pytest.mark.parametrize("p", POWERS)
def test_bounds_hold_for_any_x(p, method):
    a = heavy_tailed(d=3)
    lower, upper, _ = lp_sensitivities(a, p, method=method)
    exact = lp_sensitivities(a, p, tol=1e-9)
    assert (lower <= exact.upper * (1 + 1e-12)).all() and (upper >= exact.lower * (1 - 1e-12)).all()
    rng = np.random.default_rng(2)
    for _ in range(300):
        x = rng.standard_normal(3) * np.exp(rng.standard_normal(3))
        shares = np.abs(a @ x) ** p / (np.abs(a @ x) ** p).sum()
        assert (shares <= upper * (1 + 1e-12)).all()


def test_few_steps_still_give_true_bounds():
    for p in (1, 1.5, 3, 10, 50):
        exact = lp_sensitivities(GAUSSIAN, p, tol=1e-8)
        for steps in (1, 2, 5):
            lower, upper, n_iter = lp_sensitivities(GAUSSIAN, p, tol=1e-8, max_iter=steps)
            assert (
                n_iter.max() <= steps
                and (lower <= exact.upper).all()
                and (upper >= exact.lower).all()
            )


@pytest.mark.parametrize("p", POWERS)
def test_facts_of_the_theory(p):
    """Scores bound each other, and totals are bounded by d, for heavy-tailed rows."""
    a = heavy_tailed()
    (n, d), slack = a.shape, 1 + 1e-9
    lower = lp_sensitivities(a, p, tol=1e-8).lower
    tau, w = leverage_scores(a), lewis_weights(a, p)
    if p <= 2:
        assert (
            (lower <= tau ** (p / 2) * slack).all()
            and (lower <= w * slack).all()
            and lower.sum() <= d * slack
        )
    if p >= 2:
        assert (lower <= n ** (p / 2 - 1) * tau ** (p / 2) * slack).all() and (
            lower <= d ** (p / 2 - 1) * w * slack
        ).all()
        assert lower.sum() <= d ** (p / 2) * slack


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_invariance(p):
    """Under invertible maps of the columns, also badly scaled ones, and added dependent columns."""
    rng = np.random.default_rng(3)
    expected = lp_sensitivities(GAUSSIAN, p, tol=1e-9).upper
    mixed = GAUSSIAN @ rng.standard_normal((3, 3))
    for a in (
        mixed,
        mixed * [1e-9, 1, 1e9],
        1e250 * mixed,
        np.c_[mixed, mixed[:, :1] - mixed[:, 2:]],
    ):
        np.testing.assert_allclose(
            lp_sensitivities(a, p, tol=1e-9).upper, expected, rtol=1e-6
        )  # 1e-9 of the columns' scale, 1e-16 of it


def test_a_choice_of_rows():
    every = lp_sensitivities(GAUSSIAN, 1.5)
    for rows in ([3, 0, 3], np.array([7], np.uint8), []):
        some = lp_sensitivities(GAUSSIAN, 1.5, rows=rows)
        for part, whole in zip(some, every, strict=True):
            np.testing.assert_array_equal(part, whole[np.array(rows, int)])


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_sketch(p):
    """Estimates within the error of a sample of about 600 rows, on 3000; a sketch of all rows is
    exact."""
    a = np.random.default_rng(4).standard_normal((3000, 6))
    rows = list(range(0, 3000, 150))
    exact = lp_sensitivities(a, p, rows=rows).upper
    ratio = lp_sensitivities(a, p, method="sketch", rows=rows, sketch_size=600, rng=0).upper / exact
    assert 0.5 < ratio.min() and ratio.max() < 2
    np.testing.assert_array_equal(
        lp_sensitivities(a[:100], p, method="sketch", sketch_size=100).upper,
        lp_sensitivities(a[:100], p).upper,
    )


def test_many_steps_of_a_long_loop_are_parts(monkeypatch):
    expected = lp_sensitivities(GAUSSIAN, 1.5).upper
    monkeypatch.setattr("numcore.linalg._sensitivity.scores.CALL_SIZE", 1)
    np.testing.assert_array_equal(lp_sensitivities(GAUSSIAN, 1.5).upper, expected)


def test_real_data():
    datasets = pytest.importorskip("sklearn.datasets")
    for a in (datasets.load_diabetes().data, datasets.load_breast_cancer().data[:200]):
        lower, upper, _ = lp_sensitivities(a, 1)
        assert ((upper - lower) <= 1e-6 * upper).all() and upper.sum() < 0.5 * a.shape[1]
        np.testing.assert_allclose(reference.l1_sensitivity(a, 7), upper[7], rtol=1e-5)


# --- Lewis weights --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, first, last",
    [
        (1, 0.42264973, 0.57735027),
        (1.5, 0.40941377, 0.59058623),
        (3, 0.38719372, 0.61280628),
        (4, 0.37873219, 0.62126781),
        (6, 0.36806404, 0.63193596),
    ],
)
def test_lewis_weights_of_four_rows(p, first, last):
    w = lewis_weights(A4, p)
    np.testing.assert_allclose(w[[0, 3]], [first, last], atol=5e-9)  # eight digits
    np.testing.assert_allclose(w, w[[1, 0, 3, 2]], atol=1e-9)


@pytest.mark.parametrize("p", [0.3, 1, 1.5, 2, 3, 4, 8])
def test_lewis_weights_are_leverage_scores_of_weighted_rows(p):
    a = np.random.default_rng(5).standard_normal((200, 4)) * np.exp(
        np.random.default_rng(6).standard_normal((200, 1))
    )
    w = lewis_weights(a, p, tol=1e-13)
    assert abs(w.sum() - 4) < 1e-12
    np.testing.assert_allclose(reference.leverage((w ** (0.5 - 1 / p))[:, None] * a), w, atol=1e-12)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_fifty_steps_are_enough(p):
    a = heavy_tailed()
    w = lewis_weights(a, p, tol=1e-15, max_iter=50)
    assert abs(w.sum() - 4) < 1e-12
    assert np.abs(leverage_scores((w ** (0.5 - 1 / p))[:, None] * a) - w).max() < 1e-12


def test_lewis_weights_of_special_matrices():
    a = np.c_[GAUSSIAN, GAUSSIAN @ [1, 2, 3]]
    np.testing.assert_allclose(lewis_weights(a, 1), lewis_weights(GAUSSIAN, 1), rtol=1e-8)
    assert lewis_weights(np.r_[GAUSSIAN, np.zeros((2, 3))], 1)[-2:].tolist() == [0, 0]
    assert lewis_weights(np.zeros((2, 3)), 1).tolist() == [0, 0] and lewis_weights(
        np.zeros((2, 0)), 1
    ).tolist() == [0, 0]
    np.testing.assert_allclose(
        lewis_weights(1e-200 * GAUSSIAN, 3), lewis_weights(GAUSSIAN, 3), rtol=1e-9
    )


def test_lewis_weights_take_memory_of_the_matrix():
    a = np.random.default_rng(7).standard_normal((50000, 20))
    lewis_weights(a, 1)
    tracemalloc.start()
    lewis_weights(a, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * a.nbytes  # an orthonormal copy, another while it is made, and a few vectors


# --- scores and samples ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3])
def test_kinds_of_scores(p):
    tau, w, sigma = (
        leverage_scores(GAUSSIAN),
        lewis_weights(GAUSSIAN, p),
        lp_sensitivities(GAUSSIAN, p).upper,
    )
    expected = {
        "leverage": tau,
        "root_leverage": tau ** (p / 2),
        "lewis": w,
        "sensitivity": sigma,
        "leverage+sensitivity": tau + sigma,
        "uniform": np.ones(30),
        "auto": {1: tau**0.5, 2: tau, 3: tau + sigma}[p],
    }
    for kind, scores in expected.items():
        np.testing.assert_allclose(
            sampling_scores(GAUSSIAN, p, kind=kind),
            scores,
            rtol=2e-3 if "sens" in kind or p == 3 else 1e-9,
        )
    many = np.random.default_rng(8).standard_normal((5001, 2))
    np.testing.assert_allclose(
        sampling_scores(many, p, kind="sensitivity"),
        lp_sensitivities(many, p, method="bound").upper,
    )


def test_probabilities_are_capped_and_sum_up():
    s = np.random.default_rng(9).standard_cauchy(1000) ** 2
    for size in (1, 10, 400, 999):
        q = sample_rows(s, size, rng=0).probabilities
        free = q < 1
        np.testing.assert_allclose(q.sum(), size, rtol=1e-12)
        assert (
            np.ptp(q[free] / s[free]) < 1e-12 * (q[free] / s[free]).max()
            and (s[~free] >= s[free].max()).all()
        )
    q = sample_rows(np.array([3.0, 0, 2, 0, 1]), 4, rng=0).probabilities
    assert q.tolist() == [1, 0, 1, 0, 1]
    everything = sample_rows(np.array([1.0, 0.0]), 5, replace=True)
    assert everything.indices.tolist() == [0, 1] and everything.weights.tolist() == [1, 1]


@pytest.mark.parametrize("replace", [False, True])
def test_the_sample_is_unbiased(replace):
    rng = np.random.default_rng(10)
    a, x = (
        rng.standard_normal((300, 3)) * np.exp(rng.standard_normal((300, 1))),
        rng.standard_normal(3),
    )
    values, scores = np.abs(a @ x), sampling_scores(a, 1)
    estimates, counts = [], []
    for seed in range(2000):
        indices, weights, _ = sample_rows(scores, 40, replace=replace, rng=seed)
        assert (np.diff(indices) > 0).all()
        estimates.append(weights @ values[indices])
        counts.append(len(indices))
    assert abs(np.mean(estimates) - values.sum()) < 4 * np.std(estimates) / 2000**0.5
    assert replace or abs(np.mean(counts) - 40) < 4 * np.std(counts) / 2000**0.5


def test_draws_with_replacement():
    indices, weights, q = sample_rows(
        np.array([0.0, 1.0, 3.0, 0.0, 0.0, 0.0]), 5, replace=True, rng=1
    )
    assert q.tolist() == [0, 0.25, 0.75, 0, 0, 0] and set(indices) <= {1, 2}
    np.testing.assert_allclose((weights * 5 * q[indices]).sum(), 5)


def outliers(p):
    rng = np.random.default_rng(11)
    a = rng.standard_normal((20000, 5))
    a[:20] *= 100
    b = a @ np.arange(1.0, 6) + rng.laplace(size=20000)
    b[:20] += 1000 * rng.standard_normal(20)
    return a, b


@pytest.mark.parametrize("p", [1, 1.5])
def test_a_few_hundred_rows_do_and_uniform_ones_do_not(p):
    """Rows of large leverage with huge residuals: the relative excess of the objective over its
    optimum, for 30 samples of 400 rows."""
    a, b = outliers(p)
    least, stacked, excess = lp_regression(a, b, p).objective, np.c_[a, b], {}
    for kind in ("uniform", "root_leverage", "lewis"):
        scores = sampling_scores(stacked, p, kind=kind)
        excess[kind] = []
        for seed in range(30):
            indices, weights, _ = sample_rows(scores, 400, rng=seed)
            x = lp_regression(a[indices], b[indices], p, weights=weights).x
            excess[kind].append((np.linalg.norm(a @ x - b, p) / least) ** p - 1)
    for kind in ("root_leverage", "lewis"):
        assert max(excess[kind]) <= 0.04 and 8 * np.mean(excess[kind]) <= np.mean(excess["uniform"])
    assert min(excess["lewis"]) >= -1e-7  # none is better than the optimum


# --- regression -----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.01, 1.2, 1.5, 2, 3, 6, 20])
def test_regression_certifies_its_optimum(p):
    a, b = outliers(p)
    fit = lp_regression(a[:2000], b[:2000], p)
    assert (
        fit.converged
        and fit.objective - fit.lower_bound <= 1e-8 * fit.objective
        and fit.n_iter <= 60
    )
    np.testing.assert_allclose(
        fit.objective, np.linalg.norm(a[:2000] @ fit.x - b[:2000], p), rtol=1e-11
    )


def test_p_1_regression_equals_the_linear_program():
    rng = np.random.default_rng(12)
    a, b = rng.standard_normal((80, 4)), rng.standard_cauchy(80)
    np.testing.assert_allclose(
        lp_regression(a, b, 1).objective, reference.l1_minimum(a, b), rtol=1e-7
    )


def test_p_1_regression_on_real_data():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import QuantileRegressor

    a, b = load_diabetes(return_X_y=True)
    peer = QuantileRegressor(quantile=0.5, alpha=0).fit(a, b)
    least = np.abs(a @ peer.coef_ + peer.intercept_ - b).sum()
    np.testing.assert_allclose(
        lp_regression(np.c_[a, np.ones(len(a))], b, 1).objective, least, rtol=1e-7
    )


def test_p_2_is_least_squares():
    rng = np.random.default_rng(13)
    a, b, w = rng.standard_normal((50, 4)), rng.standard_normal(50), rng.random(50)
    np.testing.assert_allclose(lp_regression(a, b, 2).x, np.linalg.lstsq(a, b)[0], rtol=1e-11)
    root = w**0.5
    np.testing.assert_allclose(
        lp_regression(a, b, 2, weights=w).x,
        np.linalg.lstsq(root[:, None] * a, root * b)[0],
        rtol=1e-11,
    )


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_a_weight_of_2_is_a_row_twice(p):
    rng = np.random.default_rng(14)
    a, b, w = (
        rng.standard_normal((40, 3)),
        rng.standard_normal(40),
        rng.integers(0, 3, 40).astype(float),
    )
    once, twice = (
        lp_regression(a, b, p, weights=w),
        lp_regression(np.repeat(a, w.astype(int), 0), np.repeat(b, w.astype(int)), p),
    )
    np.testing.assert_allclose(
        once.objective, twice.objective, rtol=2e-8
    )  # both are within the tolerance


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_exact_fits_and_dependent_columns(p):
    a = np.c_[GAUSSIAN, GAUSSIAN[:, :1]]
    b = GAUSSIAN @ [1.0, 2, 3]
    fit = lp_regression(a, b, p)
    assert fit.converged and fit.objective < 1e-12
    np.testing.assert_allclose(fit.x, [0.5, 2, 3, 0.5], atol=1e-12)
    assert lp_regression(np.zeros((3, 2)), np.ones(3), p).objective == pytest.approx(3 ** (1 / p))
    assert lp_regression(GAUSSIAN, np.zeros(30), p).x.tolist() == [0, 0, 0]
    scaled = lp_regression(1e150 * a, 1e-150 * b, p)
    np.testing.assert_allclose(scaled.x * 1e300, [0.5, 2, 3, 0.5], atol=1e-11)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_regression_on_a_sample(p):
    a, b = outliers(p)
    best = lp_regression(a, b, p)
    fit = lp_regression(a, b, p, sample_size=600, rng=0)
    assert best.objective * (1 - 1e-8) <= fit.objective <= 1.03 * best.objective
    assert 0.9 * best.objective <= fit.lower_bound <= best.objective * (1 + 1e-12) and fit.converged
    np.testing.assert_allclose(fit.objective, np.linalg.norm(a @ fit.x - b, p), rtol=1e-11)
    again = lp_regression(a, b, p, sample_size=600, rng=0)
    np.testing.assert_array_equal(fit.x, again.x)
    assert (
        lp_regression(a, b, p, sample_size=1, rng=0).lower_bound <= best.objective
    )  # a row or none
    np.testing.assert_array_equal(
        lp_regression(a[:50], b[:50], p, sample_size=50).x, lp_regression(a[:50], b[:50], p).x
    )


def test_callback_and_progress():
    a, b = outliers(1)
    seen = []
    fit = lp_regression(a[:500], b[:500], 1, callback=lambda *state: seen.append(state))
    assert [s[0] for s in seen] == list(range(1, fit.n_iter + 1)) and seen[-1][1:] == (
        fit.objective,
        fit.lower_bound,
    )
    assert all(s[1] >= t[1] and s[2] <= t[2] for s, t in itertools.pairwise(seen))
    stopped = lp_regression(a[:500], b[:500], 1, callback=lambda *state: state[0] == 2)
    assert (
        stopped.n_iter == 2
        and stopped.reason == "callback"
        and not stopped.converged
        and stopped.lower_bound <= fit.objective <= stopped.objective
    )
    pytest.importorskip("tqdm")
    lp_regression(a[:500], b[:500], 1, progress=True)


def test_an_interrupt_passes():
    def interrupt(*state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lp_regression(GAUSSIAN, np.ones(30), 1, callback=interrupt)
    assert lp_regression(GAUSSIAN, np.ones(30), 1).converged


# --- what holds for all ---------------------------------------------------------------------------


def test_results_do_not_depend_on_threads():
    a, b = outliers(1)
    results = []
    for threads in (1, 3):
        numcore.set_num_threads(threads)
        results.append(
            (
                lewis_weights(a, 1),
                lp_sensitivities(a[:200], 1).upper,
                lp_regression(a, b, 1).x,
                lp_regression(a, b, 1, sample_size=99, rng=0).x,
            )
        )
    numcore.set_num_threads(None)
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "function",
    [
        lp_sensitivities,
        lewis_weights,
        sampling_scores,
        lambda a, p: lp_regression(a, np.ones(len(a)), p),
    ],
)
@pytest.mark.parametrize(
    "a, p, message",
    [
        (np.ones((2, 2)), np.inf, "p must be finite"),
        (np.array([[1.0, np.nan]]), 1, r"a must be finite \(got nan at \[0, 1\]\)"),
        (np.ones((0, 2)), 1, "n >= 1"),
    ],
)
def test_matrix_errors(function, a, p, message):
    with pytest.raises(ValueError, match=message):
        function(a, p)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: lp_sensitivities(A4, 1, rows=[4]), r"rows must be < n with n = 4 \(got 4 at"),
        (lambda: lp_sensitivities(A4, 1, rows=[-1]), "rows must be >= 0"),
        (
            lambda: lp_sensitivities(GAUSSIAN, 1, method="sketch", sketch_size=1, rng=0),
            "sketch_size must keep the rank 3",
        ),
        (lambda: sample_rows(np.array([1.0, -1]), 1), r"scores must be >= 0 \(got -1.0 at \[1\]"),
        (lambda: sample_rows(np.zeros(3), 1), "not all be zero"),
        (lambda: lp_regression(A4, np.ones(3), 1), r"b must have shape \(n,\) with n = 4"),
    ],
)
def test_values_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_gpu_takes_ranks_up_to_64():
    from numcore.testing import simulated_gpu

    a = np.random.default_rng(15).standard_normal((66, 65))
    with simulated_gpu() as xp, pytest.raises(ValueError, match="rank <= 64"):
        lp_sensitivities(xp.asarray(a), 1)
    with simulated_gpu() as xp:
        upper = lp_sensitivities(xp.asarray(a[:, :64]), 1.5, rows=[0], tol=1e-3).upper.get()
    np.testing.assert_allclose(
        upper, lp_sensitivities(a[:, :64], 1.5, rows=[0], tol=1e-3).upper, rtol=1e-9
    )
