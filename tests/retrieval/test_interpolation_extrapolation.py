"""Splits by similarity and reports, against loops, known answers and what must be
refused."""

import math

import numpy as np
import pytest

from numcore.examples.retrieval import interpolation_extrapolation as naive
from numcore.retrieval import (
    BucketSplit,
    label_overlap,
    nearest_training_similarity,
    ranking_metrics,
    resample_train_test,
    resample_training,
    split_report,
)
from numcore.retrieval._interpolation_extrapolation.kernels import assign_evenly
from numcore.testing import simulated_gpu


def run(rng, nq=40, k=30, judged=12):
    """Lists of documents with repetitions and padding, and judgments of some of them."""
    lists = rng.integers(-1, 50, (nq, k))
    documents = rng.permuted(np.tile(np.arange(60), (nq, 1)), axis=1)[:, :judged]
    qrels = np.stack(
        [np.repeat(np.arange(nq), judged), documents.ravel(), rng.integers(-1, 4, nq * judged)],
        axis=1,
    )
    return lists, rng.permutation(qrels)


# --- overlap of labels ----------------------------------------------------------------------------


def test_known_overlap():
    train, test = [[0, 7, 1]], [[0, 7, 1], [0, 8, 1], [1, 9, 1]]
    assert label_overlap(train, test).fraction == 0.5
    assert label_overlap(train, test).overlapped.tolist() == [True, False]
    assert label_overlap(train, test, min_shared=2).fraction == 0
    assert label_overlap(train, test, min_relevance=2).fraction == 0
    assert math.isnan(label_overlap(train, np.zeros((0, 3), int)).fraction)
    assert label_overlap(np.zeros((0, 3), int), test).fraction == 0


def test_overlap_against_sets():
    rng = np.random.default_rng(0)
    _, train = run(rng, nq=3)
    _, test = run(rng, nq=30)
    known = {d for _, d, r in train.tolist() if r >= 2}
    expected = [
        sum(d in known and r >= 2 for q, d, r in test.tolist() if q == i) >= 2 for i in range(30)
    ]
    found = label_overlap(train, test, min_relevance=2, min_shared=2)
    assert found.overlapped.tolist() == expected
    assert found.fraction == np.mean(expected)
    with simulated_gpu() as xp:
        assert (
            label_overlap(xp.asarray(train), xp.asarray(test), min_relevance=2, min_shared=2)
            .overlapped.get()
            .tolist()
            == expected
        )
        with pytest.raises(TypeError, match="train_qrels on simulated GPU, test_qrels on cpu"):
            label_overlap(xp.asarray(train), test)


# --- resampled training ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_test_queries_among_the_training_queries_find_themselves(dtype):
    train = np.random.default_rng(0).standard_normal((50, 8)).astype(dtype)
    chosen = np.array([3, 11, 12, 40])
    near = resample_training(train, train[chosen], n_per_query=1, mode="interpolate")
    assert near.tolist() == chosen.tolist()
    for rng in (None, 0):
        far = resample_training(train, train[chosen], n_per_query=1, mode="extrapolate", rng=rng)
        assert len(far) == len(near) == len(set(far.tolist()))
        assert not set(far.tolist()) & set(near.tolist())


def test_extrapolation_is_less_similar_and_a_sample_depends_on_its_seed_alone():
    rng = np.random.default_rng(1)
    train, test = rng.standard_normal((200, 5)), rng.standard_normal((6, 5))
    near, far = (
        train[resample_training(train, test, n_per_query=5, mode=mode)]
        for mode in ("interpolate", "extrapolate")
    )
    assert (
        nearest_training_similarity(far, test).mean()
        < nearest_training_similarity(near, test).mean() - 0.3
    )
    first, again, other = (
        resample_training(train, test, n_per_query=5, mode="extrapolate", rng=seed)
        for seed in (1, 1, 2)
    )
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_another_search_gives_the_same(metric):
    rng = np.random.default_rng(2)
    train, test = rng.standard_normal((80, 5)), rng.standard_normal((4, 5))

    def search(train, test, k):
        key = {
            "cosine": -(test @ train.T) / np.linalg.norm(train, axis=1),
            "ip": -(test @ train.T),
            "l2": ((test[:, None] - train) ** 2).sum(2),
        }[metric]
        return np.argsort(key, axis=1)[:, :k]

    ours, theirs = (
        resample_training(train, test, n_per_query=4, mode="interpolate", metric=metric, search=s)
        for s in (None, search)
    )
    assert ours.tolist() == theirs.tolist()
    far = resample_training(train, test, n_per_query=4, mode="extrapolate", metric=metric)
    assert len(far) == len(ours)
    assert not set(far.tolist()) & set(ours.tolist())


# --- buckets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", [True, False])
def test_folds_are_partitions(balance):
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((103, 4)), rng.standard_normal((31, 4))
    split = resample_train_test(train, test, balance=balance, rng=0)
    times = np.zeros(31, int)
    for i in range(5):
        kept, near, far = split.fold(i)
        assert sorted([*near, *far]) == list(range(31))
        times[far] += 1
        if balance:
            assert abs(len(kept) - 103 * 4 / 5) < 1
            assert abs(len(far) - 31 / 5) < 1
    assert (times == 1).all()
    members = np.concatenate([train, test]), np.concatenate([split.train_bucket, split.test_bucket])
    for i, center in enumerate(split.centers):
        np.testing.assert_allclose(center, members[0][members[1] == i].mean(axis=0), atol=1e-14)


def test_plain_buckets_are_nearest_and_as_tight_as_those_of_scikit_learn():
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    x = load_digits().data
    split = resample_train_test(x[::2], x[1::2], balance=False, rng=0)
    x = np.concatenate([x[::2], x[1::2]])
    distances = ((x[:, None] - split.centers) ** 2).sum(2)
    bucket = np.concatenate([split.train_bucket, split.test_bucket])
    assert (
        np.mean(distances.argmin(axis=1) == bucket) > 0.99
    )  # it ends when the distances hardly decrease, some may still move
    best = KMeans(5, n_init=5, random_state=0).fit(x).inertia_
    assert (
        distances[np.arange(len(x)), bucket].sum() < 1.05 * best
    )  # one start against the best of five
    again = [resample_train_test(x[:900], x[900:], rng=4).train_bucket for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.parametrize("n, b", [(1, 1), (7, 3), (50, 7), (12, 4), (5, 9)])
def test_even_assignment_against_a_loop(n, b):
    rng = np.random.default_rng(n)
    distances, order = rng.integers(0, 4, (n, b)).astype(float), rng.permutation(n)
    bucket = np.empty((1, n), np.int64)
    assign_evenly(distances[None], order[None], bucket, np.zeros((1, b), np.int64))
    assert bucket[0].tolist() == naive.assign_evenly(distances.tolist(), order.tolist(), b)


def test_equal_queries_still_fill_all_buckets():
    split = resample_train_test(np.ones((10, 3)), np.ones((5, 3)), rng=0)
    assert np.bincount(split.train_bucket).tolist() == [2] * 5
    assert np.bincount(split.test_bucket).tolist() == [1] * 5


# --- the claim ------------------------------------------------------------------------------------


def test_a_memory_of_queries_extrapolates_worse_than_a_linear_map():
    rng = np.random.default_rng(0)
    centers, true_map = 3 * rng.standard_normal((40, 16)), rng.standard_normal((16, 16))
    kind = rng.integers(0, 40, 1200)
    queries = centers[kind] + 0.5 * rng.standard_normal((1200, 16))
    documents = centers @ true_map
    train, test, answers = queries[:800], queries[800:], kind[800:]
    split = resample_train_test(train, test, rng=0)
    memory, linear = np.empty((2, 5, 400))
    qrels = np.stack([np.arange(400), answers, np.ones(400, int)], axis=1)
    for i in range(5):
        kept = split.fold(i)[0]
        nearest = (train[kept] ** 2).sum(1) - 2 * test @ train[kept].T
        memory[i] = ranking_metrics(
            kind[kept][nearest.argsort(axis=1)[:, :50]], qrels, metrics=("mrr@10",)
        )["mrr@10"]
        w = np.linalg.solve(
            train[kept].T @ train[kept] + np.eye(16), train[kept].T @ documents[kind[kept]]
        )
        scores = 2 * (test @ w) @ documents.T - (documents**2).sum(1)
        linear[i] = ranking_metrics(scores, np.eye(40)[answers], metrics=("mrr@10",))["mrr@10"]
    memory, linear = (split_report(values, split) for values in (memory, linear))
    assert memory.interpolation > 0.9
    assert memory.ratio < linear.ratio - 0.2


def test_a_report_of_one_run_skips_nan():
    report = split_report(
        np.array([1.0, 0.5, np.nan, 0.25, np.nan]), [True, True, True, False, False]
    )
    assert report[:3] == (0.75, 0.25, 0.25 / 0.75)
    assert report.n_skipped == 2
    assert report.standard_error[0] == 0.25
    assert math.isnan(report.standard_error[1])
    assert math.isnan(split_report(np.zeros(0), np.zeros(0, bool)).ratio)


# --- bad input ------------------------------------------------------------------------------------

X, Y = np.eye(6), np.eye(6)[:2]
BUCKETS = BucketSplit(np.array([0, 1]), np.array([0, 1]), np.zeros((2, 1)))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: resample_training(X, Y, n_per_query=7, mode="interpolate"),
            "n_per_query must be <= n with n = 6 .got 7",
        ),
        (
            lambda: resample_training(X, Y, n_per_query=4, mode="extrapolate"),
            "n_per_query must leave",
        ),
        (
            lambda: resample_training(X, Y, n_per_query=1, mode="both"),
            'mode must be one of "interpolate", "extrapolate"',
        ),
        (
            lambda: resample_training(
                X, Y, n_per_query=1, mode="interpolate", search=lambda a, b, k: np.array([[6], [0]])
            ),
            "search must return",
        ),
        (
            lambda: resample_training(X, Y[:0], n_per_query=1, mode="interpolate"),
            "test_queries must have no axis of length zero",
        ),
        (lambda: resample_train_test(X, Y), "n_buckets must be <= nt with nt = 2 .got 5"),
        (lambda: resample_train_test(X, Y, n_buckets=1), "n_buckets must be >= 2 .got 1"),
        (
            lambda: resample_train_test(X, 0 * Y, n_buckets=2),
            "test_queries must have no row of zeros",
        ),
        (
            lambda: nearest_training_similarity(np.full((2, 2), np.nan), np.eye(2)),
            "train_queries must be finite",
        ),
        (
            lambda: nearest_training_similarity(X, np.eye(5)),
            "test_queries must have shape .nt, d. with",
        ),
        (lambda: nearest_training_similarity(X, Y, k=7), "k must be <= n with n = 6 .got 7"),
        (
            lambda: label_overlap([[0, 1, 1], [0, 1, 2]], [[0, 1, 1]]),
            "train_qrels must judge a document once",
        ),
        (lambda: label_overlap([[0, 1]], [[0, 1, 1]]), "train_qrels must have shape .n_train"),
        (lambda: label_overlap([[0, 1, 1]], [[0, 1, 1]], min_shared=0), "min_shared must be >= 1"),
        (lambda: split_report(np.zeros(3), np.ones(2, bool)), "metric_values must have shape"),
        (
            lambda: split_report(np.zeros((1, 2)), BUCKETS),
            "metric_values must have a row for each bucket",
        ),
        (
            lambda: split_report(np.array([np.inf]), np.ones(1, bool)),
            "metric_values must be finite or nan",
        ),
        (lambda: BUCKETS.fold(2), "i must be < 2"),
    ],
)
def test_errors_of_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: resample_training(X, Y, n_per_query=1, mode="interpolate", search=3),
            "search must be callable",
        ),
        (lambda: label_overlap("text", [[0, 1, 1]]), "train_qrels must be"),
        (lambda: label_overlap([[0.5, 1, 1]], [[0, 1, 1]]), "train_qrels must have dtype integers"),
        (
            lambda: split_report(np.zeros(2), np.zeros(2)),
            "split must have dtype bool",
        ),
    ],
)
def test_errors_of_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
