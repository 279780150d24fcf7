"""LambdaMART: known answers, the first split by trying all, order of rows, missing entries,
stopping, devices, bad input."""

import pickle
import re

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import ranking_losses as naive
from numcore.model import NotFittedError
from numcore.retrieval import LambdaMART, ranking_metrics
from numcore.retrieval._lambdamart.bins import bin_edges, binned, row_order
from numcore.retrieval._ranking_losses.lists import lists_of
from numcore.testing import simulated_gpu


def data(rng, queries=30, size=20, features=4, dtype=np.float64):
    x = rng.standard_normal((queries * size, features)).astype(dtype)
    hidden = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * rng.standard_normal(len(x))
    return x, np.digitize(hidden, np.quantile(hidden, [0.6, 0.85])), np.full(queries, size)


def mean_ndcg(scores, relevance, groups, k):
    found = ranking_metrics(
        scores, relevance, groups, metrics=("ndcg",), cutoffs=(k,), gain="exponential"
    )
    return np.nanmean(found[f"ndcg@{k}"])


def small(**options):
    return LambdaMART(**{"n_estimators": 8, "max_leaves": 6, "min_child_samples": 5} | options)


# --- known answers --------------------------------------------------------------------------------


def test_a_feature_that_is_the_relevance():
    rng = np.random.default_rng(0)
    relevance = rng.integers(0, 3, 200)
    ranker = small(n_estimators=1).fit(relevance[:, None].astype(float), relevance, np.full(10, 20))
    assert ranker.train_ndcg_ == [1.0]
    assert ranker.trees_[0].threshold[ranker.trees_[0].left >= 0].tolist() in (
        [0.5, 1.5],
        [1.5, 0.5],
    )


def test_constant_features():
    ranker = small().fit(np.ones((40, 3)), np.arange(40) % 3, np.array([20, 20]))
    assert not ranker.predict(np.ones((5, 3))).any()
    assert all(len(tree.value) == 1 for tree in ranker.trees_)
    assert ranker.feature_importances_.tolist() == [0, 0, 0]


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(1)
    x, relevance, groups = data(rng)
    order = np.concatenate([20 * q + rng.permutation(20) for q in range(30)])
    a, b = small().fit(x, relevance, groups), small().fit(x[order], relevance[order], groups)
    np.testing.assert_array_equal(a.predict(x), b.predict(x))


# --- the first tree by trying all splits ----------------------------------------------------------


@pytest.mark.parametrize("l2, missing", [(0.0, False), (0.3, False), (0.0, True)])
def test_the_first_split(l2, missing):
    rng = np.random.default_rng(2)
    x, relevance, groups = data(rng, 5, 12)
    if missing:
        x[rng.random(x.shape) < 0.3] = np.nan
    ranker = small(n_estimators=1, max_leaves=2, l2=l2, learning_rate=1.0).fit(x, relevance, groups)
    codes = binned(np, x, [bin_edges(np, column, 255) for column in x.T])
    order = row_order(np, codes, lists_of(np.zeros(60), relevance, groups))
    # all scores are tied in the first round, so that ranks are given by this order
    assert (order // 12 == np.arange(60) // 12).all()
    g, h = np.zeros(60), np.zeros(60)
    for rows in order.reshape(5, 12):
        g[rows], h[rows] = naive.list_gradient([0.0] * 12, relevance[rows].tolist(), "lambdarank")
    best = max(
        (
            (
                g[left].sum() ** 2 / (h[left].sum() + l2)
                + g[~left].sum() ** 2 / (h[~left].sum() + l2)
                - g.sum() ** 2 / (h.sum() + l2),
                f,
                left,
            )
            for f in range(4)
            for cut in np.unique(x[~np.isnan(x[:, f]), f])
            for nan_left in (False, True)
            for left in [(x[:, f] <= cut) | (np.isnan(x[:, f]) & nan_left)]
            if 5 <= left.sum() <= 55
        ),
        key=lambda found: found[0],
    )
    expected = np.where(
        best[2],
        -g[best[2]].sum() / (h[best[2]].sum() + l2),
        -g[~best[2]].sum() / (h[~best[2]].sum() + l2),
    )
    assert ranker.trees_[0].feature[0] == best[1]
    np.testing.assert_allclose(
        ranker.predict(x), expected, rtol=1e-9
    )  # gradients were rounded to about 1e-15 of the largest
    np.testing.assert_allclose(ranker.feature_importances_[best[1]], best[0], rtol=1e-9)


def test_bins_are_quantiles():
    x = np.random.default_rng(3).standard_normal((1000, 1)) ** 3
    counts = np.bincount(binned(np, x, [bin_edges(np, x[:, 0], 10)])[0])
    assert counts.tolist() == [100] * 10
    few = np.array([[1.0], [1.0], [2.0], [np.nan], [4.0]])
    edges = bin_edges(np, few[:, 0], 10)
    assert edges.tolist() == [1.5, 3.0]
    assert binned(np, few, [edges])[0].tolist() == [0, 0, 1, 255, 2]
    close = np.array([1.0, np.nextafter(1.0, 2)])
    assert bin_edges(np, close, 10).tolist() == [
        1.0
    ]  # the middle would round to one of them: the lower is the end


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_learns(dtype):
    rng = np.random.default_rng(4)
    train, held_out = data(rng, 60, dtype=dtype), data(rng, 60, dtype=dtype)
    ranker = small(n_estimators=30).fit(*train)
    scores = ranker.predict(held_out[0])
    assert scores.dtype == dtype
    learned, chance = (
        mean_ndcg(s, *held_out[1:], k=10) for s in (scores, rng.standard_normal(1200).astype(dtype))
    )
    assert learned > 0.85 > 0.6 > chance
    assert ranker.train_ndcg_[-1] > ranker.train_ndcg_[0]
    assert ranker.feature_importances_.argmax() == 0
    assert ranker.feature_importances_[3] < 0.2 * ranker.feature_importances_[0]
    assert all((tree.left < 0).sum() <= 6 for tree in ranker.trees_)
    np.testing.assert_allclose(
        mean_ndcg(ranker.predict(train[0]), *train[1:], k=20),
        ranker.train_ndcg_[-1],
        rtol=1e-6,
    )


def test_missing_entries_go_to_the_better_side():
    rng = np.random.default_rng(5)
    relevance = np.tile([1] + [0] * 9, 40)
    x = np.where(relevance == 1, np.nan, rng.standard_normal(400))[:, None]
    ranker = small(n_estimators=1).fit(x, relevance, np.full(40, 10))
    assert ranker.train_ndcg_[0] > 0.95  # a split by value comes with NaN on one side


def test_early_stopping():
    rng = np.random.default_rng(6)
    train, held_out = data(rng), data(rng)
    ranker = small(n_estimators=200, early_stopping=3, learning_rate=0.5).fit(
        *train, eval_set=held_out
    )
    assert len(ranker.trees_) == np.argmax(ranker.eval_ndcg_) + 1 == len(ranker.eval_ndcg_) - 3
    scores = ranker.predict(held_out[0])
    np.testing.assert_allclose(
        mean_ndcg(scores, *held_out[1:], k=20),
        max(ranker.eval_ndcg_),
        rtol=1e-9,
    )


def test_callbacks_end_training_and_interruptions_leave_it():
    x, relevance, groups = data(np.random.default_rng(7))
    ranker = small().fit(x, relevance, groups, callback=lambda done, ndcg: done == 2)
    assert len(ranker.trees_) == 3

    def interrupt(done, ndcg):
        raise KeyboardInterrupt

    trees = ranker.trees_
    with pytest.raises(KeyboardInterrupt):
        ranker.fit(x, relevance, groups, callback=interrupt)
    assert ranker.trees_ is trees


# --- devices and threads --------------------------------------------------------------------------


def test_on_the_simulated_gpu():
    x, relevance, groups = data(np.random.default_rng(8), 6, 15)
    x[::7, 1] = np.nan
    expected = small(n_estimators=3).fit(x, relevance, groups, eval_set=(x, relevance, groups))
    with simulated_gpu() as xp:
        on_gpu = [xp.asarray(a) for a in (x, relevance, groups)]
        ranker = small(n_estimators=3).fit(*on_gpu, eval_set=tuple(on_gpu))
        scores = ranker.predict(on_gpu[0]).get()
        with pytest.raises(TypeError, match="one device"):
            ranker.predict(x)
    np.testing.assert_allclose(scores, expected.predict(x), rtol=1e-9)
    np.testing.assert_allclose(ranker.eval_ndcg_, expected.eval_ndcg_, rtol=1e-12)


def test_the_same_at_any_number_of_threads_and_in_any_memory_layout():
    x, relevance, groups = data(np.random.default_rng(9))
    before, results = numcore.get_num_threads(), []
    x.flags.writeable = False
    try:
        for n, rows in ((1, x), (3, x), (1, np.asfortranarray(x))):
            numcore.set_num_threads(n)
            results.append(small().fit(rows, relevance, groups).predict(rows))
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


# --- bad input ------------------------------------------------------------------------------------


X, Y, GROUPS = np.arange(6.0).reshape(3, 2), np.array([0, 1, 2]), np.array([3])


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"X": X[0]}, ValueError, "X must have shape (n, n_features)"),
        ({"X": X.astype(int)}, TypeError, "X must have dtype float32 or float64"),
        ({"X": X + np.inf}, ValueError, "X must be finite"),
        ({"relevance": -Y}, ValueError, "relevance must be >= 0"),
        ({"relevance": 20 * Y}, ValueError, "relevance must be <= 31 (got 40.0)"),
        ({"relevance": 0 * Y}, ValueError, "relevance must be above 0 somewhere"),
        ({"relevance": Y[:2]}, ValueError, "relevance must have shape (n,) with n = 3"),
        (
            {"groups": np.array([2])},
            ValueError,
            "groups must be >= 1 and sum to the number of scores, 3",
        ),
        ({"groups": np.array([3, 0])}, ValueError, "groups must be >= 1"),
        ({"groups": np.array([3.0])}, TypeError, "groups must have dtype integers"),
        ({"eval_set": X}, TypeError, "eval_set must be a list or tuple"),
        (
            {"eval_set": (X[:, :1], Y, GROUPS)},
            ValueError,
            "eval_set[0] must have shape (n_held, n_features) with n_features = 2",
        ),
    ],
)
def test_bad_data(change, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        LambdaMART(n_estimators=1).fit(**{"X": X, "relevance": Y, "groups": GROUPS} | change)


def test_bad_calls():
    with pytest.raises(NotFittedError, match="LambdaMART must be fitted first"):
        LambdaMART().predict(X)
    with pytest.raises(ValueError, match="eval_set must be given"):
        LambdaMART(early_stopping=2).fit(X, Y, GROUPS)
    ranker = LambdaMART(n_estimators=1).fit(X, Y, GROUPS)
    with pytest.raises(ValueError, match="X must have shape .n, n_features. with n_features = 2"):
        ranker.predict(X[:, :1])
    with pytest.raises(TypeError, match="X must have dtype float64 as in fit"):
        ranker.predict(X.astype(np.float32))
    assert ranker.predict(X[:0]).shape == (0,)


def test_copies_and_parameters():
    base = pytest.importorskip("sklearn.base")
    x, relevance, groups = data(np.random.default_rng(10))
    ranker = small().fit(x, relevance, groups)
    again = pickle.loads(pickle.dumps(ranker))
    np.testing.assert_array_equal(again.predict(x), ranker.predict(x))
    twin = base.clone(ranker).set_params(n_estimators=2)
    assert len(twin.fit(x, relevance, groups).trees_) == 2 and len(ranker.trees_) == 8
    assert repr(LambdaMART(k=5)) == "LambdaMART(k=5)"
