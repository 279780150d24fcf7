"""Coresets: exact summaries, draws that are right on average, the search on real data, what must be
refused.

That of k-means on real data takes a quarter of a minute: pytest -m slow
tests/linalg/test_coreset.py
"""

import itertools
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest

import numcore
from numcore.examples.linalg.coreset import draws, eliminate_one_by_one
from numcore.linalg import (
    CoresetResult,
    WeightedSubset,
    auto_coreset,
    caratheodory,
    coreset_loss,
    kmeans_loss,
    logistic_loss,
    squared_loss,
    vector_sum_coreset,
)
from numcore.linalg._coreset.draws import thresholds_of
from numcore.linalg._coreset.strata import numbered, shares_of
from numcore.testing import simulated_gpu

# --- Carathéodory ---------------------------------------------------------------------------------


def wrong_by(p, u, result):
    """The norm of the difference of the weighted sums and of the total weights, in extended
    precision."""
    u = np.ones(len(p)) if u is None else u
    p = np.column_stack([p, np.ones(len(p))]).astype(np.longdouble)
    difference = (
        result.weights.astype(np.longdouble) @ p[result.indices] - u.astype(np.longdouble) @ p
    )
    largest = np.abs(difference).max(initial=0)
    return float(largest * np.sqrt(((difference / largest) ** 2).sum())) if largest else 0.0


def test_four_points_on_a_line():
    p = np.array([[0.0], [1.0], [2.0], [3.0]])
    result = caratheodory(p, np.ones(4))
    assert (
        isinstance(result, WeightedSubset)
        and len(result.indices) <= 2
        and (result.weights > 0).all()
    )
    assert (
        abs(result.weights @ p[result.indices, 0] - 6) < 1e-14
        and abs(result.weights.sum() - 4) < 1e-14
    )
    assert result.error <= result.error_bound


@pytest.mark.parametrize("n_chunks", [2, 3, 8, 1000])
def test_five_thousand_points(n_chunks):
    rng = np.random.default_rng(0)
    p, u = rng.standard_normal((5000, 4)), rng.random(5000)
    result = caratheodory(p, u, n_chunks=n_chunks)
    assert (
        len(result.indices) == 5
        and (result.weights > 0).all()
        and (np.diff(result.indices) > 0).all()
    )
    scale = u.sum()  # 2471: the sums can be as near as the roundoff of numbers of this size
    assert np.abs(result.weights @ p[result.indices] - u @ p).max() < 1e-12
    assert abs(result.weights.sum() - u.sum()) < 1e-12 + 4 * np.finfo(float).eps * scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_enough_points_stay_as_they_are(dtype):
    rng = np.random.default_rng(1)
    p, u = rng.standard_normal((30, 4)).astype(dtype), rng.random(30).astype(dtype)
    for n, size in ((30, 30), (5, None), (3, None), (1, 1), (5, 2)):
        result = caratheodory(p[:n], u[:n], size=size)
        assert result.indices.tolist() == list(range(n)) and result.weights.dtype == dtype
        np.testing.assert_array_equal(result.weights, u[:n])
    u[:20] = 0
    assert caratheodory(p, u, size=12).indices.tolist() == list(range(20, 30))


def family(kind, rng):
    n, t = int(rng.integers(1, 400)), int(rng.integers(0, 12))
    p, u = rng.standard_normal((n, t)), rng.random(n)
    if kind == "far from the origin":
        p += 1e6
    elif kind == "columns of other scales":
        p *= 10.0 ** rng.integers(-200, 200, t)
    elif kind == "rank deficient" and t:
        p[:, t // 2 :] = p[:, :1]
    elif kind == "integers":
        p = np.round(p)
    elif kind == "one point":
        p[:] = 1.5
    elif kind == "heavy tails":
        p *= np.exp(4 * rng.standard_normal((n, 1)))
    elif kind == "weights of other scales":
        u = 10.0 ** rng.integers(-12, 12, n)
    elif kind == "the largest numbers":
        p, u = p * 1e307, u * 1e-9
    elif kind == "the smallest numbers":
        p, u = p * 1e-310, u * 1e-310
    u[rng.random(n) < 0.1] = 0
    u[0] = 1e-300 if kind == "the smallest numbers" else 1
    return p, u


@pytest.mark.parametrize(
    "kind",
    [
        "normal",
        "far from the origin",
        "columns of other scales",
        "rank deficient",
        "integers",
        "one point",
        "heavy tails",
        "weights of other scales",
        "the largest numbers",
        "the smallest numbers",
    ],
)
def test_any_points(kind):
    rng = np.random.default_rng(2)
    for trial in range(60):
        p, u = family(kind, rng)
        with np.errstate(all="raise"):
            result = caratheodory(p, u, n_chunks=2 + trial % 7)
        assert (
            len(result.indices) <= p.shape[1] + 1
            and (result.weights > 0).all()
            and (np.diff(result.indices) > 0).all()
        )
        assert (u[result.indices] > 0).all()
        smallest = (
            np.finfo(float).smallest_subnormal * len(p) * (p.shape[1] + 1)
        )  # subnormal products lose up to one unit each
        assert (
            result.error <= result.error_bound + smallest
            and wrong_by(p, u, result) <= result.error_bound + smallest
        )


def test_as_exact_as_the_proof_of_the_theorem():
    rng = np.random.default_rng(3)
    p, u = rng.standard_normal((60, 5)), rng.random(60)
    rows, w = eliminate_one_by_one(p, u)
    assert (
        wrong_by(p, u, caratheodory(p, u))
        < 2 * wrong_by(p, u, WeightedSubset(rows, w, 0.0, 0.0)) + 1e-14
    )


@pytest.mark.parametrize("size", [11, 12, 50, 997, 9000, 9999])
def test_as_many_points_as_asked_for(size):
    rng = np.random.default_rng(4)
    p = rng.standard_normal((10000, 10)).astype(np.float32)
    result = caratheodory(p, size=size)
    assert (
        0.7 * size <= len(result.indices) <= size
        and wrong_by(p, None, result) <= result.error_bound
    )
    assert result.error_bound < 1e-3 * len(p)


def test_single_precision_keeps_the_sums_of_double():
    rng = np.random.default_rng(5)
    p = (rng.standard_normal((100_000, 3)) + 5).astype(np.float32)
    result = caratheodory(p)
    assert wrong_by(p, None, result) < 1e-6 * 100_000 * 10  # the rounding of four weights only


def test_no_copy_of_the_points():
    p = np.random.default_rng(6).standard_normal((200_000, 10))
    caratheodory(p)
    tracemalloc.start()
    caratheodory(p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < 0.3 * p.nbytes
    )  # an eighth of the points, their weights and indices, with some temporaries


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(p=np.full((3, 1), np.nan)), "p and its weighted sums must be finite"),
        (dict(p=np.full((3, 1), 1e308)), "finite"),
        (dict(weights=np.zeros(3)), "not all be zero"),
        (dict(size=4), r"size must be <= n with n = 3 \(got 4\)"),
    ],
)
def test_errors_of_caratheodory(options, message):
    with pytest.raises(ValueError, match=message):
        caratheodory(**{"p": np.ones((3, 1))} | options)


# --- sums of rows ---------------------------------------------------------------------------------


def test_constant_rows_are_exact_with_any_point():
    for method in ("norm", "uniform", "mean_of_samples"):
        for size in (1, 3):
            result = vector_sum_coreset(np.full((50, 2), 3.0), size, method=method, rng=0)
            np.testing.assert_allclose(result.weights.sum(), 50, rtol=1e-14)
            assert result.error < 1e-12 and result.error_bound < 1e-5
    assert len(caratheodory(np.full((50, 2), 3.0), size=1).indices) <= 3


def test_norms_that_are_equal_draw_uniformly():
    f = np.random.default_rng(7).choice([-1.0, 1.0], (3000, 4))
    one, other = (vector_sum_coreset(f, 40, method=method, rng=3) for method in ("norm", "uniform"))
    assert one.indices.tolist() == other.indices.tolist()
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-12)


def test_one_column_without_negative_entries_is_exact():
    rng = np.random.default_rng(8)
    f, w = rng.gamma(0.3, size=(4000, 1)), rng.random(4000)
    for seed in range(20):
        assert vector_sum_coreset(f, 25, weights=w, rng=seed).error < 1e-12 * (w @ f)[0]


@pytest.mark.parametrize("method", ["norm", "uniform"])
def test_draws_are_right_on_average_and_as_wrong_as_the_formula_says(method):
    rng = np.random.default_rng(9)
    f, w = (
        rng.standard_normal((700, 3)) * np.exp(rng.standard_normal((700, 1))) + 0.5,
        rng.random(700),
    )
    results = [vector_sum_coreset(f, 30, weights=w, method=method, rng=rng) for _ in range(5000)]
    sums = np.array([r.weights @ f[r.indices] for r in results])
    assert (np.abs(sums.mean(axis=0) - w @ f) < 4 * sums.std(axis=0) / np.sqrt(len(sums))).all()
    square = np.mean([r.error**2 for r in results])
    assert abs(square / results[0].error_bound ** 2 - 1) < 0.1
    np.testing.assert_allclose(
        [r.error for r in results], np.linalg.norm(sums - w @ f, axis=1), rtol=1e-9
    )
    if method == "norm":
        norms = np.linalg.norm(f, axis=1)
        expected = ((w @ norms) ** 2 - ((w @ f) ** 2).sum()) / 30
    else:
        expected = (w.sum() * (w * (f**2).sum(axis=1)).sum() - ((w @ f) ** 2).sum()) / 30
    assert abs(results[0].error_bound ** 2 / expected - 1) < 1e-10


def test_rows_are_drawn_as_often_as_their_masses_say():
    """Several blocks of 256 rows, the last one incomplete, and rows that must never be drawn."""
    rng = np.random.default_rng(10)
    n, draws = 1000, 200_000
    f, w = rng.random((n, 1)), rng.random(n)
    f[300:310], w[700:720] = 0, 0
    seen, mass = np.zeros(n), w * f[:, 0]
    for _ in range(draws // 1000):
        result = vector_sum_coreset(f, 1000, weights=w, rng=rng)
        seen[result.indices] += np.round(result.weights * 1000 * f[result.indices, 0] / mass.sum())
    expected = draws * mass / mass.sum()
    assert not seen[expected == 0].any() and seen.sum() == draws
    chi = ((seen - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    freedom = (expected > 0).sum() - 1
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)


def test_thresholds_find_the_points_that_one_pass_over_all_finds():
    rng = np.random.default_rng(11)
    mass = rng.random(700) * (rng.random(700) < 0.5)
    table = np.array([[mass[first : first + 256].sum()] for first in range(0, 700, 256)])
    thresholds, firsts, counts = thresholds_of(table, np.array([40]), np.random.default_rng(5))
    expected = draws(mass, np.sort(np.random.default_rng(5).random(40)) * mass.sum())
    found = []
    for b in range(3):
        part = thresholds[firsts[b, 0] : firsts[b, 0] + counts[b, 0]]
        found += [256 * b + i for i in draws(mass[256 * b : 256 * b + 256], part)]
    assert found == expected


def test_the_best_of_many_samples():
    f = np.random.default_rng(12).standard_normal((2000, 5))
    errors = {
        method: np.mean(
            [vector_sum_coreset(f, 50, method=method, rng=seed).error for seed in range(30)]
        )
        for method in ("uniform", "mean_of_samples")
    }
    assert errors["mean_of_samples"] < 0.6 * errors["uniform"]
    one = vector_sum_coreset(f, 50, method="mean_of_samples", n_trials=1, rng=4)
    np.testing.assert_allclose(one.weights.sum(), 2000, rtol=1e-12)


@pytest.mark.parametrize("shape", [(5, 0), (300, 2)])
def test_rows_of_zeros_are_drawn_uniformly(shape):
    result = vector_sum_coreset(np.zeros(shape), 4, rng=0)
    np.testing.assert_allclose(result.weights.sum(), shape[0], rtol=1e-12)
    assert result.error == 0


def test_huge_and_tiny_rows():
    for scale in (1e300, 1e-300):
        f = np.random.default_rng(13).standard_normal((20, 2)) * scale
        with np.errstate(all="raise"):
            for method in ("norm", "uniform", "mean_of_samples", "caratheodory"):
                result = vector_sum_coreset(f, 5, method=method, rng=0)
                assert (
                    np.isfinite(result.weights).all()
                    and np.isfinite(result.error_bound)
                    and result.error < 100 * scale
                )


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(f=np.ones((0, 2))), r"size must be <= n with n = 0 \(got 3\)"),
        (dict(size=7), "size must be <= n with n = 6"),
        (dict(f=np.full((6, 2), np.inf)), "f and its weighted sums must be finite"),
        (dict(weights=np.zeros(6)), "not all be zero"),
        (dict(method="caratheodory", size=2), r"size must be > t with t = 2, the columns of f"),
    ],
)
def test_errors_of_sums(options, message):
    with pytest.raises(ValueError, match=message):
        vector_sum_coreset(**{"f": np.ones((6, 2)), "size": 3} | options)


def test_the_loss_of_a_coreset():
    subset = WeightedSubset(np.array([1, 3]), np.array([2.0, 0.5]), 0.0, 0.0)
    assert (
        coreset_loss(subset, np.array([9.0, 1, 9, 4]))
        == coreset_loss(subset, np.array([1.0, 4]))
        == 4
    )
    with pytest.raises(ValueError, match=r"losses must have shape \(2,\) or \(n >= 4,\)"):
        coreset_loss(subset, np.ones(3))
    result = CoresetResult(
        *(subset.indices, subset.weights, None, True, 1, "patience"),
        *(0.0, np.zeros(2), np.ones((5, 2))),
    )
    assert coreset_loss(result, np.ones(5)) == 2.5
    with pytest.raises(ValueError, match=r"\(2,\) or \(5,\)"):
        coreset_loss(result, np.ones(4))
    with pytest.raises(TypeError, match="result must be a CoresetResult or a WeightedSubset"):
        coreset_loss((subset.indices, subset.weights), np.ones(2))


# --- the search -----------------------------------------------------------------------------------


def mean(x, y, weights):
    return weights @ x / weights.sum()


def distances(x, y, center):
    return ((x - center) ** 2).sum(axis=1)


def spread(n=3000, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.exp(rng.standard_normal((n, 1)))


def same(a, b):
    return (a.indices.tolist(), a.weights.tolist(), a.total_loss, a.reason) == (
        b.indices.tolist(),
        b.weights.tolist(),
        b.total_loss,
        b.reason,
    )


@pytest.mark.parametrize("method", ["norm", "uniform", "mean_of_samples", "caratheodory"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reported_losses_are_those_of_the_models(method, weighted):
    x, y = spread(), np.arange(3000) % 3
    w = np.random.default_rng(1).random(3000) if weighted else None
    result = auto_coreset(x, mean, distances, size=60, y=y, weights=w, method=method, rng=2)
    w = np.ones(3000) if w is None else w
    best = result.loss_history.argmin()
    np.testing.assert_allclose(result.total_loss, result.loss_history[best], rtol=1e-15)
    np.testing.assert_allclose(w @ distances(x, y, result.model), result.total_loss, rtol=1e-12)
    np.testing.assert_allclose(
        result.model, mean(x[result.indices], None, result.weights), rtol=1e-12
    )
    np.testing.assert_allclose(w @ result.loss_matrix, result.loss_history, rtol=1e-12)
    assert result.loss_matrix.shape == (3000, len(result.loss_history)) == (3000, 3 + result.n_iter)
    np.testing.assert_array_equal(result.loss_matrix[:, best], distances(x, y, result.model))
    assert (
        (np.diff(result.indices) > 0).all()
        and len(result.indices) <= 60
        and (result.weights > 0).all()
    )
    assert set(y[result.indices]) == {0, 1, 2}


def test_exact_summaries_keep_the_losses_of_all_models_so_far():
    x, seen, newest = spread(), [], 0
    auto_coreset(
        x,
        mean,
        distances,
        size=30,
        method="caratheodory",
        max_iter=9,
        patience=9,
        rng=0,
        callback=seen.append,
    )
    for before, after in itertools.pairwise(seen[2:]):
        if (
            after.total_loss == after.loss_history[-1]
        ):  # the newest coreset is the best: it knew all columns but its own
            known, newest = before.loss_matrix, newest + 1
            np.testing.assert_allclose(
                after.weights @ known[after.indices], known.sum(axis=0), rtol=1e-10
            )
    assert newest


def test_exact_summaries_end_where_there_are_as_many_models_as_draws():
    result = auto_coreset(
        spread(), mean, distances, size=6, method="caratheodory", patience=50, rng=0
    )
    assert result.reason == "queries_exceed_size" and len(result.loss_history) == 6
    assert (
        len(
            auto_coreset(
                spread(), mean, distances, size=3, method="caratheodory", rng=0
            ).loss_history
        )
        == 3
    )


def test_reasons_for_the_end():
    x = spread()
    assert auto_coreset(x, mean, distances, size=40, rng=0).reason == "patience"
    limited = auto_coreset(x, mean, distances, size=40, rng=0, max_iter=2)
    assert limited.reason == "max_iter" and limited.n_iter == 2
    none = auto_coreset(x, mean, distances, size=40, rng=0, max_iter=0, n_initial=2)
    assert none.n_iter == 0 and len(none.loss_history) == 2


def test_patience_counts_from_the_worst_initial_model():
    """A model that is always as bad as the first: no round improves."""
    result = auto_coreset(
        spread(50),
        lambda *_: None,
        lambda x, y, m: np.ones(50),
        size=5,
        patience=4,
        n_initial=2,
        rng=0,
    )
    assert result.n_iter == 4 and result.reason == "patience"


def test_many_models_outgrow_the_matrix():
    x = spread(300)
    result = auto_coreset(x, mean, distances, size=20, max_iter=90, patience=90, rng=0)
    np.testing.assert_allclose(result.loss_matrix.sum(axis=0), result.loss_history, rtol=1e-12)


def test_calls_are_independent():
    x = spread()
    alone = auto_coreset(x, mean, distances, size=40, rng=5)
    inside = []

    def fit(x, y, weights):
        if not inside:
            inside.append(None)
            inside[0] = auto_coreset(spread(), mean, distances, size=40, rng=5)
        return mean(x, y, weights)

    assert same(auto_coreset(x, fit, distances, size=40, rng=5), alone) and same(inside[0], alone)
    assert same(
        auto_coreset(x, mean, distances, size=40, rng=np.random.default_rng(5)),
        auto_coreset(x, mean, distances, size=40, rng=np.random.default_rng(5)),
    )


def test_the_number_of_threads_changes_nothing():
    x, before, results = spread(50_000), numcore.get_num_threads(), []
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(
                auto_coreset(x, mean, distances, size=200, y=np.arange(50_000) % 4, rng=0)
            )
    finally:
        numcore.set_num_threads(before)
    assert same(*results)


def test_callback_ends_the_search():
    seen = []
    result = auto_coreset(
        spread(),
        mean,
        distances,
        size=40,
        rng=0,
        callback=lambda r: seen.append(r) or len(seen) == 5,
    )
    assert (
        result.reason == "callback"
        and result.n_iter == 2
        and [len(r.loss_history) for r in seen] == [1, 2, 3, 4, 5]
    )
    first = auto_coreset(spread(), mean, distances, size=40, rng=0, callback=lambda r: True)
    assert first.n_iter == 0 and len(first.loss_history) == 1
    assert (
        auto_coreset(spread(), mean, distances, size=40, rng=0, callback=lambda r: 1).reason
        == "patience"
    )  # True only


def test_interrupts_return_the_best_coreset_so_far():
    calls = []

    def fit(x, y, weights):
        calls.append(None)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return mean(x, y, weights)

    stop = 6
    result = auto_coreset(spread(), fit, distances, size=40, rng=0)
    assert result.reason == "interrupt" and len(result.loss_history) == 5 and result.n_iter == 2
    calls, stop = [], 1
    with pytest.raises(KeyboardInterrupt):
        auto_coreset(spread(), fit, distances, size=40, rng=0)


def test_progress(capsys):
    pytest.importorskip("tqdm")
    auto_coreset(spread(), mean, distances, size=40, rng=0, progress=True)
    assert "models" in capsys.readouterr().err


def test_losses_that_come_in_one_buffer():
    """A loss function may return the same array every time."""
    x, buffer = spread(), np.empty(3000)

    def reused(x, y, center):
        buffer[:] = distances(x, y, center)
        return buffer

    assert same(
        auto_coreset(x, mean, reused, size=40, rng=0),
        auto_coreset(x, mean, distances, size=40, rng=0),
    )


def test_losses_of_zero():
    x = np.zeros((500, 2))
    result = auto_coreset(x, mean, distances, size=10, y=np.repeat([0, 1], 250), rng=0)
    assert result.total_loss == 0
    np.testing.assert_allclose(result.weights.sum(), 500, rtol=1e-12)


def test_one_class_without_loss():
    """Points of a class with losses are drawn by losses, those of a class without by weights."""
    x = np.concatenate([np.zeros((300, 1)), np.random.default_rng(0).gamma(0.3, size=(300, 1))])
    y, seen = np.repeat([0, 1], 300), []

    def fit(x, y, weights):
        seen.append((y, weights))

    auto_coreset(x, fit, lambda x, y, m: x[:, 0].copy(), size=40, y=y, rng=0)
    for classes, weights in seen:
        np.testing.assert_allclose(weights[classes == 0].sum(), 300, rtol=1e-12)


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mass, size, shares",
    [
        ([100, 100], 10, (5, 5)),
        ([900, 99, 1], 10, (8, 1, 1)),
        ([1, 1, 1], 3, (1, 1, 1)),
        ([1000, 1, 1, 1, 1], 5, (1, 1, 1, 1, 1)),
        ([50, 30, 20], 11, (6, 3, 2)),
        ([1e-300, 1], 2, (1, 1)),
    ],
)
def test_shares_of(mass, size, shares):
    assert shares_of(np.array(mass, float), size) == shares


def drawn(y, **options):
    """The classes in every training set."""
    seen = []

    def fit(x, y, weights):
        seen.append((np.asarray(y), weights))

    auto_coreset(
        spread(len(y)),
        fit,
        lambda x, y, m: np.ones(len(y)),
        y=y,
        rng=0,
        max_iter=20,
        patience=20,
        **options,
    )
    return seen


def test_every_class_is_sampled():
    y = np.zeros(1000, int)
    y[7] = 1
    for labels in (y, y.astype(bool), 2.0 * y - 1):
        for classes, weights in drawn(labels, size=5):
            assert len(np.unique(classes)) == 2
            np.testing.assert_allclose(weights[classes == labels[7]], 1, rtol=1e-12)
            np.testing.assert_allclose(weights.sum(), 1000, rtol=1e-12)
    assert not all(len(np.unique(classes)) == 2 for classes, _ in drawn(y, size=5, stratify=False))


def test_what_counts_as_classes():
    many = np.arange(1000) % 51
    with pytest.raises(ValueError, match="size must be >= 50, the number of classes"):
        drawn(many % 50, size=20)
    drawn(many, size=20)  # 51 values do not count as classes
    drawn(many % 50 + 0.0, size=20)  # nor do floats other than -1 and 1
    drawn(np.array(["a", "b"] * 500), size=1)
    with pytest.raises(ValueError, match="size must be >= 51, the number of classes"):
        drawn(many, size=20, stratify=True)
    with pytest.raises(ValueError, match="size must be >= 2, the number of classes"):
        drawn(np.array(["a", "b"] * 500), size=1, stratify=True)
    drawn(np.ones((1000, 2), int), size=20)  # several targets


@pytest.mark.parametrize(
    "y",
    [
        [3, 5, 3, -2],
        [True, False, True],
        np.array([2**63 + 5, 2**63 + 7], np.uint64),
        [-(2**63), 2**63 - 1],
        ["b", "a", "b"],
        np.array([-128, 127], np.int8),
        [0, 1 << 40, 0],
    ],
)
def test_numbers_of_classes(y):
    values, labels = numbered(np, np.asarray(y))
    expected = np.unique(y, return_inverse=True)
    assert values == expected[0].tolist() and labels.tolist() == expected[1].tolist()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (ValueError, dict(x=np.ones((0, 2))), "size must be <= n with n = 0"),
        (ValueError, dict(size=7), "size must be <= n with n = 6"),
        (ValueError, dict(stratify="yes"), 'stratify must be one of "auto", True, False'),
        (ValueError, dict(stratify=True), r"y must have shape \(n,\) with n = 6 where stratify"),
        (ValueError, dict(y=np.ones(5)), r"y must have shape \(n, ...\) with n = 6 \(got \(5,\)"),
        (
            ValueError,
            dict(y=[0, 1, 0, 1, 0, 1], size=1),
            "size must be >= 2, the number of classes",
        ),
        (
            ValueError,
            dict(y=np.arange(6) == 5, weights=np.array([1.0, 1, 1, 1, 1, 0])),
            "all be zero in a class .got class True",
        ),
        (ValueError, dict(weights=np.zeros(6)), "not all be zero"),
        (
            ValueError,
            dict(loss=lambda x, y, m: np.ones(5)),
            r"shape \(6,\) .got \(5,\) in initial model 1",
        ),
        (ValueError, dict(loss=lambda x, y, m: -np.ones(6)), "finite and >= 0 .*initial model 1"),
        (ValueError, dict(loss=lambda x, y, m: np.full(6, np.nan)), "finite and >= 0"),
        (ValueError, dict(loss=lambda x, y, m: np.full(6, np.inf)), "finite and >= 0"),
        (TypeError, dict(loss=lambda x, y, m: np.ones(6, complex)), "real numbers"),
        (TypeError, dict(loss=lambda x, y, m: None), "real numbers .got NoneType in initial"),
    ],
)
def test_errors_of_the_search(kind, options, message):
    with pytest.raises(kind, match=message):
        auto_coreset(
            **{"x": spread(6, 2), "fit": mean, "loss": distances, "size": 3, "rng": 0} | options
        )


def test_errors_name_the_round():
    def late(x, y, m):
        calls.append(None)
        return np.full(len(x), np.nan if len(calls) == 6 else 1.0)

    calls = []
    with pytest.raises(ValueError, match="round 3"):
        auto_coreset(spread(50), mean, late, size=5, rng=0)


def test_integers_and_single_precision():
    x = spread(500).astype(np.float32)
    result = auto_coreset(x, mean, distances, size=40, weights=np.ones(500, np.float32), rng=0)
    assert result.weights.dtype == result.loss_matrix.dtype == np.float32
    np.testing.assert_allclose(
        result.total_loss, distances(x, None, result.model).astype(float).sum(), rtol=1e-6
    )
    assert (
        auto_coreset(x, mean, lambda x, y, m: x[:, 0] > 0, size=40, rng=0).loss_matrix.dtype
        == np.float32
    )


def test_on_the_gpu():
    x, y = spread(700), np.arange(700) % 3
    expected = auto_coreset(x, mean, distances, size=50, y=y, rng=1)
    with simulated_gpu(checked=True) as xp:
        result = auto_coreset(xp.asarray(x), mean, distances, size=50, y=xp.asarray(y), rng=1)
        assert result.indices.get().tolist() == expected.indices.tolist()
        np.testing.assert_allclose(result.weights.get(), expected.weights, rtol=1e-12)
        np.testing.assert_allclose(result.loss_history, expected.loss_history, rtol=1e-12)
        for method in ("mean_of_samples", "caratheodory"):
            there = auto_coreset(
                xp.asarray(x),
                mean,
                distances,
                size=50,
                y=xp.asarray(y),
                method=method,
                max_iter=2,
                rng=1,
            )
            here = auto_coreset(x, mean, distances, size=50, y=y, method=method, max_iter=2, rng=1)
            np.testing.assert_allclose(there.loss_history, here.loss_history, rtol=1e-6)
        with pytest.raises(TypeError, match="x on .*simulated GPU.*, y on .*cpu"):
            auto_coreset(xp.asarray(x), mean, distances, size=50, y=y)


# --- real data ------------------------------------------------------------------------------------


def uniform(rng, x, y, fit, size):
    """A model trained on a uniform sample that contains every class."""
    while True:
        rows, times = np.unique(rng.integers(0, len(x), size), return_counts=True)
        if y is None or y.dtype.kind == "f" or len(np.unique(y[rows])) == len(np.unique(y)):
            return fit(x[rows], None if y is None else y[rows], times * (len(x) / size))


def excesses(x, y, fit, loss, size, seeds):
    """Excess of the total loss over that of training on all points, in its units: uniform, best of
    eleven, auto_coreset."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's solvers warn on separable samples
        least = loss(x, y, fit(x, y, np.ones(len(x)))).sum()
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            tried = [loss(x, y, uniform(rng, x, y, fit, size)).sum() for _ in range(11)]
            found.append(
                (
                    np.mean(tried),
                    min(tried),
                    auto_coreset(x, fit, loss, size=size, y=y, rng=seed).total_loss,
                )
            )
    return np.mean(found, axis=0) / least - 1


def test_logistic_regression_on_breast_cancer():
    sklearn = pytest.importorskip("sklearn.linear_model")
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), 2 * y - 1

    def fit(x, y, weights):
        return sklearn.LogisticRegression(C=569 / weights.sum(), solver="newton-cholesky").fit(
            x, y, sample_weight=weights
        )

    once, best, auto = excesses(x, y, fit, partial(logistic_loss, penalty=1.0), 60, 10)
    assert auto < 0.25 and auto < once / 3 and auto < best / 3


@pytest.mark.slow
def test_k_means_on_digits():
    cluster = pytest.importorskip("sklearn.cluster")
    from sklearn.datasets import load_digits

    x = load_digits().data / 16

    def fit(x, y, weights):
        return cluster.KMeans(10, n_init=3, random_state=0).fit(x, sample_weight=weights)

    once, best, auto = excesses(x, None, fit, kmeans_loss, 100, 5)
    assert auto < 0.14 and auto < once


def test_linear_regression_with_leverage():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5000, 8))
    x[:50] *= 20
    y = x @ rng.standard_normal(8) + rng.standard_t(2, 5000)

    def fit(x, y, weights):
        design, root = np.column_stack([x, np.ones(len(x))]), np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], y * root)[0]
        return solution[:-1], solution[-1]

    once, best, auto = excesses(x, y, fit, squared_loss, 50, 10)
    assert auto < 0.06 and auto < best / 3 and auto < once / 5
