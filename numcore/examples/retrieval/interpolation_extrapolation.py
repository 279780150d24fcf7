"""Example calls of splits and metrics. The references are loops over queries and documents."""

import math

import numpy as np

from ...linalg import CSR
from ...retrieval import BucketSplit
from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]

EXACT = {"float32": 0.0, "float64": 0.0}
ROUNDED = {"float32": 1e-6, "float64": 1e-14}
METRICS = (
    "mrr@10",
    "recall@5",
    "precision@3",
    "hit@1",
    "map",
    "map@7",
    "dcg@10",
    "ndcg",
    "ndcg@10",
)


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


def _scored(rng, dtype, n=20, k=23):
    scores = rng.integers(-6, 7, (n, k)) / 4  # with ties
    relevance = np.maximum(rng.integers(-6, 4, (n, k)), 0)
    return {
        "scores_or_ranks": scores.astype(dtype),
        "relevance": relevance.astype(dtype),
        "metrics": METRICS,
    }


def metric_of_list(relevance, judged, metric, exponential=False):
    """A metric of one list of relevance in ranked order, `judged` being those of all judged
    documents."""

    def gain(r):
        return 2.0**r - 1 if exponential else max(float(r), 0.0)

    def dcg(rels, k):
        return math.fsum(gain(r) / math.log2(j + 2) for j, r in enumerate(rels[:k]))

    name, _, cut = metric.partition("@")
    k, total = int(cut or max(len(relevance), 1)), sum(r >= 1 for r in judged)
    hits = [r >= 1 for r in relevance[:k]]
    best = dcg(sorted(judged, reverse=True), int(cut) if cut else len(judged))
    if not best if "dcg" in name else not total:
        return math.nan
    precisions = [sum(hits[: j + 1]) / (j + 1) for j, h in enumerate(hits) if h]
    return {
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        "recall": sum(hits) / max(total, 1),
        "precision": sum(hits) / k,
        "hit": float(any(hits)),
        "map": sum(precisions) / max(total, 1),
        "dcg": dcg(relevance, k),
        "ndcg": dcg(relevance, k) / best if best else math.nan,
    }[name]


def _metrics(scores_or_ranks, relevance, metrics):
    rows = []
    for s, r in zip(scores_or_ranks, relevance, strict=True):
        order = sorted(range(len(s)), key=lambda i: (-s[i], i))
        rows.append([metric_of_list([r[i] for i in order], r, m) for m in metrics])
    return list(np.array(rows).reshape(-1, len(metrics)).T)


def _classes_of_digits(dtype):
    """Each image of half of the digits searches the other half by cosine; relevant is what shows
    the same digit."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.data / np.linalg.norm(digits.data, axis=1, keepdims=True)
    return {
        "scores_or_ranks": (x[::2] @ x[1::2].T).astype(dtype),
        "relevance": (digits.target[::2, None] == digits.target[1::2]).astype(dtype),
        "metrics": ("ndcg@10",),
    }


def _first_queries(result, scores_or_ranks, relevance, metrics):
    return result[:30], {
        "scores_or_ranks": scores_or_ranks[:30],
        "relevance": relevance[:30],
        "metrics": metrics,
    }


def _ndcg_score(scores_or_ranks, relevance, metrics):
    from sklearn.metrics import ndcg_score

    return ndcg_score(relevance, scores_or_ranks, k=10)


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
    "ranking_metrics": Example(
        _scored,
        ("scores_or_ranks", "relevance"),
        _metrics,
        ROUNDED,
        nan="raise",
        also=("int64", "bool"),
        sizes=lambda rng, dtype, n: _scored(rng, dtype, n, 7),
        result=lambda found: list(found.values()),
        data="similarity of the images of digits",
        real=_classes_of_digits,
        sample=_first_queries,
        peer=("scikit-learn ndcg_score", _ndcg_score),
    ),
    "split_report": Example(
        _folds,
        ("metric_values",),
        _report,
        {"float64": 1e-13},
        nan="ignore",
        dtypes=("float64",),
        result=lambda r: [r[0], r[1], r[2], *r.standard_error, r.num_skipped],
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _ragged(rng, size, most):
    return np.concatenate([[0], np.cumsum(rng.integers(0, most, size))]).astype(np.int64)


def _lists(rng, variant, size):
    offsets = _ragged(rng, size, 9)
    documents = [np.sort(rng.choice(60, n, replace=False)) for n in np.diff(offsets)]
    return [
        rng.integers(-1, 60, (size, 37)),
        offsets,
        np.concatenate([np.zeros(0, int), *documents]).astype(np.int64),
        np.full(offsets[-1], 37, np.int64),
    ]


def _counted(rng, variant, size):
    offsets, starts = _ragged(rng, size, 9), np.arange(size + 1, dtype=np.int64) * 40
    entries = [
        40 * i + np.sort(rng.choice(40, n, replace=False)) for i, n in enumerate(np.diff(offsets))
    ]
    entries = np.concatenate([np.zeros(0, int), *entries]).astype(np.int64)
    return [
        (rng.integers(0, 9, 40 * size) / 4).astype(variant["T"]),
        starts[:-1].copy(),
        starts[1:].copy(),
        offsets,
        entries,
        np.full(len(entries), -7, np.int64),
        int(rng.integers(2)),
    ]


def _places(rng, variant, size):
    offsets = _ragged(rng, size, 9)
    z, m = offsets[-1], len(METRICS)
    return [
        rng.integers(0, 40, z),
        rng.integers(0, 2, z).astype(np.uint8),
        rng.random(z),
        rng.random(z),
        offsets,
        np.full(size, 40, np.int64),
        1 / np.log2(np.arange(2.0, 42)),
        rng.integers(0, 7, m),
        rng.integers(1, 41, m),
        rng.integers(0, 50, m),
        np.full((size, m), np.inf),
        int(rng.integers(2)),
    ]


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
    "places_in_lists": _lists,
    "places_by_counting": _counted,
    "metrics_of_lists": _places,
    "assign_evenly": _distances,
}
