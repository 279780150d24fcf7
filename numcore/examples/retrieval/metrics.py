"""Example calls of metrics of ranked lists. The reference goes document by document."""

import math

import numpy as np

from .. import Example

ROUNDED = {"float32": 1e-6, "float64": 1e-14}
METRICS = (
    "mrr@10",
    "recall@5",
    "precision@3",
    "hit@1",
    "map",
    "map@7",
    "r_precision",
    "dcg@10",
    "ndcg",
    "ndcg@10",
)


def run_metrics(lists, qrels, metric, *, exponential=False, by_cut=False):
    """A metric of lists of documents, by a dict of judgments for each query."""
    judged = {}
    for query, document, relevance in qrels:
        judged.setdefault(query, {})[document] = relevance
    name, _, cut = metric.partition("@")
    results = []
    for query, documents in enumerate(lists):
        rel = judged.get(query, {})
        k = int(cut) if cut else len(documents)
        found, seen = [], set()
        for document in documents:
            found.append(0 if document in seen or document < 0 else rel.get(document, 0))
            seen.add(document)
        relevant = [j for j, r in enumerate(found[:k], 1) if r >= 1]
        total = sum(r >= 1 for r in rel.values())

        def dcg(rels):
            return sum(
                (2**r - 1 if exponential else max(r, 0)) / math.log2(j + 1)
                for j, r in enumerate(rels, 1)
            )

        best = dcg(sorted(rel.values(), reverse=True)[: int(cut) if cut else None])
        if name in ("dcg", "ndcg"):
            results.append(
                math.nan if not best else dcg(found[:k]) / (best if name == "ndcg" else 1)
            )
        elif not total:
            results.append(math.nan)
        elif name == "r_precision":
            results.append(sum(r >= 1 for r in found[:total]) / total)
        elif name == "map":
            precisions = [sum(i <= j for i in relevant) / j for j in relevant]
            results.append(sum(precisions) / (min(total, k) if by_cut else total))
        else:
            results.append(
                {
                    "mrr": 1 / relevant[0] if relevant else 0,
                    "recall": len(relevant) / total,
                    "precision": len(relevant) / k,
                    "hit": float(bool(relevant)),
                }[name]
            )
    return results


def _scored(rng, dtype, n=20, k=23):
    scores = rng.integers(-6, 7, (n, k)) / 4  # with ties
    relevance = np.maximum(rng.integers(-6, 4, (n, k)), 0)
    return {
        "scores_or_ranks": scores.astype(dtype),
        "relevance": relevance.astype(dtype),
        "metrics": METRICS,
    }


def lists_and_judgments(scores, relevance):
    """Scores as lists of documents, the highest first, and their relevance as judgments."""
    lists = np.argsort(-scores, axis=1, kind="stable")
    qrels = [(q, d, r) for q, row in enumerate(relevance.tolist()) for d, r in enumerate(row)]
    return lists.tolist(), qrels


def _metrics(scores_or_ranks, relevance, metrics):
    lists, qrels = lists_and_judgments(scores_or_ranks, relevance)
    return [np.array(run_metrics(lists, qrels, metric), float) for metric in metrics]


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


EXAMPLES = {
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
        rng.integers(0, 8, m),
        rng.integers(1, 41, m),
        rng.integers(0, 50, m),
        np.full((size, m), np.inf),
        int(rng.integers(2)),
    ]


def _scored_lists(rng, variant, size):
    """Lists of different lengths, with ties; some are empty, some without relevant candidates."""
    offsets, m = _ragged(rng, size, 30), len(METRICS)
    n = int(offsets[-1])
    relevance = np.maximum(rng.integers(-3, 4, n), 0).astype(float)
    for q in range(0, size, 3):
        relevance[offsets[q] : offsets[q + 1]] = 0
    return [
        (rng.integers(-4, 5, n) / 2).astype(variant["T"]),
        relevance,
        offsets,
        1 / np.log2(np.arange(int(np.diff(offsets).max()) if size else 0) + 2.0),
        rng.integers(0, 8, m),
        rng.integers(0, 12, m),
        1.0,
        *(int(flag) for flag in rng.integers(0, 2, 3)),
        np.full((size, m), np.inf),
        *np.full((2, n), -7),
    ]


KERNELS = {
    "metrics_of_scores": _scored_lists,
    "places_in_lists": _lists,
    "places_by_counting": _counted,
    "metrics_of_lists": _places,
}
