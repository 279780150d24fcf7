"""Example calls of splits and reports. The references are loops over queries and documents."""

import math

import numpy as np

from ...linalg import CSR
from ...retrieval import BucketSplit
from .. import Example

EXACT = {"float32": 0.0, "float64": 0.0}
ROUNDED = {"float32": 1e-6, "float64": 1e-14}


def _cosines(a, b):
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    return (a / np.sqrt((a * a).sum(1, keepdims=True))) @ (
        b / np.sqrt((b * b).sum(1, keepdims=True))
    ).T


def _queries(rng, dtype, n=60, nt=4):
    return {
        "train_queries": rng.standard_normal((n, 6)).astype(dtype),
        "test_queries": rng.standard_normal((nt, 6)).astype(dtype),
    }


def _digits(dtype):
    """Images of digits: half of them for training."""
    from sklearn.datasets import load_digits

    x = load_digits().data.astype(dtype)
    return {"train_queries": x[::2], "test_queries": x[1::2]}


def _nearest(train_queries, test_queries, n_per_query, mode):
    similarity = _cosines(test_queries, train_queries)
    near = {int(j) for row in similarity for j in np.argsort(-row)[:n_per_query]}
    if mode == "interpolate":
        return np.array(sorted(near))
    others = sorted((similarity[:, j].max(), j) for j in range(len(train_queries)) if j not in near)
    return np.array(sorted(j for _, j in others[: len(near)]))


def _similarity(train_queries, test_queries, k=1):
    return np.array(
        [np.sort(row)[::-1][:k].mean() for row in _cosines(test_queries, train_queries)],
        np.longdouble,
    )


def _scikit_learn(train_queries, test_queries, k=1):
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(train_queries)
    return 1 - index.kneighbors(test_queries)[0].mean(axis=1)


def _two_clusters(rng, dtype, n=20):
    """Two far clusters of training and of test queries, so that the buckets are known."""
    return {
        "train_queries": _clusters(rng, dtype, n),
        "test_queries": _clusters(rng, dtype, n + 2),
        "n_buckets": 2,
        "rng": 3,
    }


def _clusters(rng, dtype, n):
    side = np.where(np.arange(n) % 2, 50.0, 0.0)
    return (rng.standard_normal((n, 3)) + side[:, None]).astype(dtype)


def _cluster_means(train_queries, test_queries, n_buckets, rng):
    x = np.concatenate([train_queries, test_queries]).astype(np.longdouble)
    first = np.random.default_rng(rng).integers(len(x))
    side = (x[:, 0] > 25) != (x[first, 0] > 25)
    return BucketSplit(
        side[: len(train_queries)].astype(np.int64),
        side[len(train_queries) :].astype(np.int64),
        np.stack([x[~side].mean(0), x[side].mean(0)]),
    )


def _qrels(rng, n):
    places = rng.choice(10 * n, 3 * n, replace=False)
    return CSR.from_coo(
        places // 10,
        places % 10 + 50 * rng.integers(0, 2, 3 * n),
        rng.integers(0, 3, 3 * n).astype(float),
        (n, 60),
    )


def _overlap(train_qrels, test_qrels):
    known = np.flatnonzero((train_qrels.toarray() >= 1).any(axis=0))
    shared = np.array([any(row[j] >= 1 for j in known) for row in test_qrels.toarray()], bool)
    return shared.mean() if len(shared) else math.nan, shared


def _folds(rng, dtype):
    buckets = rng.integers(0, 3, 40)
    return {
        "metric_values": rng.random((3, 40)).astype(dtype),
        "split": BucketSplit(buckets, buckets, np.zeros((3, 1))),
    }


def _report(metric_values, split):
    folds = [
        [
            [v[q] for q in range(len(v)) if (split.test_bucket[q] == i) == far]
            for i, v in enumerate(metric_values)
        ]
        for far in (0, 1)
    ]
    near, far = (np.mean([np.mean(values) for values in part]) for part in folds)
    queries = [
        [
            np.mean([v[q] for i, v in enumerate(metric_values) if (b == i) == far])
            for q, b in enumerate(split.test_bucket)
        ]
        for far in (0, 1)
    ]
    return [
        near,
        far,
        far / near,
        *(np.std(values, ddof=1) / np.sqrt(len(values)) for values in queries),
        0,
    ]


EXAMPLES = {
    "resample_training": Example(
        lambda rng, dtype: {**_queries(rng, dtype), "n_per_query": 3, "mode": "extrapolate"},
        ("train_queries", "test_queries"),
        _nearest,
        EXACT,
        error="equal",
        nan="raise",
        data="half of the images of digits for a tenth of the others",
        real=lambda dtype: {
            "train_queries": _digits(dtype)["train_queries"],
            "test_queries": _digits(dtype)["test_queries"][::10],
            "n_per_query": 3,
            "mode": "extrapolate",
        },
    ),
    "nearest_training_similarity": Example(
        lambda rng, dtype: {**_queries(rng, dtype), "k": 3},
        ("train_queries", "test_queries"),
        _similarity,
        ROUNDED,
        nan="raise",
        sizes=lambda rng, dtype, n: _queries(rng, dtype, n + 1, n),
        data="half of the images of digits for the others",
        real=_digits,
        peer=("scikit-learn NearestNeighbors", _scikit_learn),
    ),
    "resample_train_test": Example(
        _two_clusters,
        ("train_queries", "test_queries"),
        _cluster_means,
        {"float32": 1e-5, "float64": 1e-13},
        nan="raise",
    ),
    "label_overlap": Example(
        lambda rng, dtype: {"train_qrels": _qrels(rng, 4), "test_qrels": _qrels(rng, 15)},
        (),
        _overlap,
        {"float64": 1e-15},
        dtypes=("float64",),
        sizes=lambda rng, dtype, n: {"train_qrels": _qrels(rng, 2), "test_qrels": _qrels(rng, n)},
    ),
    "split_report": Example(
        _folds,
        ("metric_values",),
        _report,
        {"float64": 1e-13},
        nan="ignore",
        dtypes=("float64",),
        result=lambda r: [r[0], r[1], r[2], *r.standard_error, r.n_skipped],
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def assign_evenly(distances, order, buckets):
    """Each item in turn to its nearest bucket with room."""
    n = len(distances)
    counts, result = [0] * buckets, [None] * n
    for i in order:
        larger = sum(c > n // buckets for c in counts)
        open_ones = [
            b
            for b in range(buckets)
            if counts[b] < n // buckets or counts[b] == n // buckets and larger < n % buckets
        ]
        result[i] = min(open_ones, key=lambda b: (distances[i][b], b))
        counts[result[i]] += 1
    return result


def _distances(rng, variant, size):
    b = int(rng.integers(1, 40))
    order = np.array([rng.permutation(50) for _ in range(size)], np.int64).reshape(size, 50)
    return [
        rng.integers(0, 9, (size, 50, b)).astype(variant["T"]),
        order,
        np.full((size, 50), -7, np.int64),
        np.zeros((size, b), np.int64),
    ]


KERNELS = {
    "assign_evenly": _distances,
}
