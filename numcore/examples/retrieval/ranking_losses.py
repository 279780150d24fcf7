"""Example calls of the losses and metrics of rankings."""

import numpy as np

from .. import Example


def _call(rng, dtype, queries=20, size=13):
    relevance = rng.integers(0, 4, (queries, size))
    relevance[:1, :1] = 3  # a list that counts
    return {"scores": rng.standard_normal((queries, size)).astype(dtype), "relevance": relevance}


def _loss_call(rng, dtype, queries=20, size=13):
    return _call(rng, dtype, queries, size) | {"loss": "lambdarank"}


def _lambdarank(scores, relevance, loss):
    """Of each list: all pairs as matrices, in long double."""
    total, gradients, bends, counted = (
        np.longdouble(0),
        np.zeros(scores.shape),
        np.zeros(scores.shape),
        (relevance > 0).any(1).sum(),
    )
    for q in range(len(scores)):
        s, y = scores[q].astype(np.longdouble), relevance[q]
        if not (y > 0).any():
            continue
        places = np.empty(len(s), int)
        places[np.argsort(-s, kind="stable")] = np.arange(len(s))
        discount = 1 / np.log2(places + np.longdouble(2))
        ideal = (
            (2.0 ** np.sort(y)[::-1] - 1) / np.log2(np.arange(len(y)) + np.longdouble(2))
        ).sum()
        weight = (
            np.abs((2.0**y)[:, None] - 2.0**y)
            * np.abs(discount[:, None] - discount)
            / ideal
            * (y[:, None] > y)
        )
        gap = s[:, None] - s
        slope = weight / (1 + np.exp(gap))
        bend = slope / (1 + np.exp(-gap))
        total += (weight * np.logaddexp(0, -gap)).sum()
        gradients[q] = slope.sum(0) - slope.sum(1)
        bends[q] = bend.sum(0) + bend.sum(1)
    return total / counted, gradients / counted, bends / counted


def _metrics(scores, relevance, k=(1, 3, 5)):
    """From sorted rows, in long double."""
    queries = len(scores)
    ndcg, precision, hit = (np.full((queries, len(k)), np.nan) for _ in range(3))
    reciprocal, average = np.full(queries, np.nan), np.full(queries, np.nan)
    for q in range(queries):
        y = relevance[q][np.argsort(-scores[q], kind="stable")]
        if not (y > 0).any():
            continue
        best, discount = np.sort(y)[::-1], np.log2(np.arange(len(y)) + np.longdouble(2))
        for c, cut in enumerate(k):
            ndcg[q, c] = ((2.0**y - 1) / discount)[:cut].sum() / ((2.0**best - 1) / discount)[
                :cut
            ].sum()
            precision[q, c], hit[q, c] = (y[:cut] > 0).sum() / cut, (y[:cut] > 0).any()
        places = np.flatnonzero(y > 0) + 1
        reciprocal[q], average[q] = 1 / places[0], (np.arange(1, len(places) + 1) / places).mean()
    return ndcg, precision, hit, reciprocal, average


def _digits(dtype):
    """Every image is a query, all images are candidates, those of its class are relevant; scores
    are inner products."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = digits.data[:400] / np.linalg.norm(digits.data[:400], axis=1, keepdims=True)
    return {
        "scores": (20 * pixels[:100] @ pixels.T).astype(dtype),
        "relevance": (digits.target[:100, None] == digits.target[:400]).astype(int),
    }


def _sklearn_ndcg(scores, relevance, k=(1, 3, 5)):
    from sklearn.metrics import ndcg_score

    return [
        [ndcg_score(y[None], s[None], k=cut) for cut in k]
        for s, y in zip(scores, relevance, strict=True)
    ]


def broadcast_lambdarank(scores, relevance, loss="lambdarank"):
    """All pairs of all queries as arrays (Q, D, D)."""
    places = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    discount, gain = 1 / np.log2(places + 2), 2.0**relevance
    ideal = (
        (2.0 ** np.sort(relevance, axis=1)[:, ::-1] - 1) / np.log2(np.arange(scores.shape[1]) + 2)
    ).sum(1)
    weight = (
        np.abs(gain[:, :, None] - gain[:, None])
        * np.abs(discount[:, :, None] - discount[:, None])
        / ideal[:, None, None]
    )
    weight = weight * (relevance[:, :, None] > relevance[:, None])
    gap = scores[:, :, None] - scores[:, None]
    rho = 1 / (1 + np.exp(gap))
    slope = weight * rho
    bend = slope * (1 - rho)
    return (
        (weight * np.logaddexp(0, -gap)).sum() / len(scores),
        slope.sum(1) - slope.sum(2),
        bend.sum(1) + bend.sum(2),
    )


BOUND = {"float32": 3e-7, "float64": 2e-14}

EXAMPLES = {
    "ranking_loss": Example(
        _loss_call,
        ("scores",),
        _lambdarank,
        BOUND,
        nan="raise",
        sizes=lambda rng, dtype, n: _loss_call(rng, dtype, n + 1, 7),
        data="inner products of the digits images, relevant are those of one class",
        real=lambda dtype: _digits(dtype) | {"loss": "lambdarank"},
        peer=(
            "NumPy broadcasting",
            lambda scores, relevance, loss: broadcast_lambdarank(scores, relevance),
        ),
    ),
    "list_metrics": Example(
        _call,
        ("scores",),
        _metrics,
        BOUND,
        nan="raise",
        sizes=lambda rng, dtype, n: _call(rng, dtype, n, 7),
        data="inner products of the digits images, relevant are those of one class",
        real=_digits,
        sample=lambda result, scores, relevance: (
            [part[:5] for part in result],
            {"scores": scores[:5], "relevance": relevance[:5]},
        ),
        peer=("sklearn.metrics.ndcg_score", _sklearn_ndcg),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _lists(rng, variant, size):
    """Lists of different lengths, with ties; some are empty, some without a relevant candidate."""
    lengths = rng.integers(0, 12, size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n, longest = int(offsets[-1]), int(lengths.max()) if size else 0
    scores = (rng.integers(-4, 5, n) / 2).astype(variant["T"])
    relevance = rng.integers(0, 3, n).astype(variant["T"])
    for q in range(0, size, 3):
        relevance[offsets[q] : offsets[q + 1]] = 0
    return [scores, relevance, offsets, 1 / np.log2(np.arange(longest) + 2.0)]


def _items(rng, variant, size):
    made = _lists(rng, variant, size)
    return [*made, 0.5, int(rng.integers(2)), np.full(size, np.nan), np.full_like(made[0], np.nan)]


def _pairs(rng, variant, size):
    made = _lists(rng, variant, size)
    return [
        *made,
        1.5,
        0.5,
        int(rng.integers(3)),
        np.full(size, np.nan),
        np.full_like(made[0], np.nan),
        np.full_like(made[0], np.nan),
        np.full(len(made[0]), -1, np.int32),
    ]


def _cuts(rng, variant, size):
    return [
        *_lists(rng, variant, size),
        np.array([1, 3, 20]),
        *(np.full((size, 3), -1, variant["T"]) for _ in range(3)),
        *(np.full(size, -1, variant["T"]) for _ in range(2)),
    ]


KERNELS = {"item_losses": _items, "pair_losses": _pairs, "list_metrics_of": _cuts}
