"""Example calls of ranking losses. The reference goes pair by pair, in Python's own floats."""

import math

import numpy as np

from .. import Example


def _call(rng, dtype, queries=20, size=13):
    relevance = rng.integers(0, 4, (queries, size))
    relevance[:1, :1] = 3  # a list that counts
    return {"scores": rng.standard_normal((queries, size)).astype(dtype), "relevance": relevance}


def _loss_call(rng, dtype, queries=20, size=13):
    return _call(rng, dtype, queries, size) | {"loss": "lambdarank"}


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def pairs(y):
    return [(i, j) for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]]


def ranks(key):
    order = sorted(range(len(key)), key=lambda i: -key[i])
    return np.argsort(order).tolist()


def changes_of_ndcg(s, y, k=None):
    """{(i, j): how much NDCG changes if i and j change places}, from their two terms."""
    rank, best = ranks(s), ranks(y)

    def term(label, place):
        return (2.0**label - 1) / math.log2(2 + place) if k is None or place < k else 0.0

    ideal = math.fsum(
        (2.0**label - 1) / math.log2(2 + place)
        for label, place in zip(y, best, strict=True)
        if k is None or place < k
    )
    changes = {}
    for i, j in pairs(y):
        before = term(y[i], rank[i]) + term(y[j], rank[j])
        after = term(y[i], rank[j]) + term(y[j], rank[i])
        changes[i, j] = abs(after - before) / ideal
    return changes


def list_loss(s, y, loss, sigma=1.0, margin=1.0, k=None, weights=None):
    """Loss of one list of floats; `weights` holds LambdaRank's fixed, if they are not to follow the
    scores."""
    if loss == "pointwise":
        return sum(softplus(a) - b * a for a, b in zip(s, y, strict=True)) / len(s)
    if loss == "listnet":
        top = max(s)
        mass = math.log(sum(math.exp(a - top) for a in s)) + top
        return sum(b * (mass - a) for a, b in zip(s, y, strict=True)) / sum(y)
    if loss == "lambdarank":
        weights = changes_of_ndcg(s, y, k) if weights is None else weights
        return math.fsum(
            weight * softplus(-sigma * (s[i] - s[j])) for (i, j), weight in weights.items()
        )
    terms = [
        max(0.0, margin - (s[i] - s[j])) if loss == "hinge" else softplus(-sigma * (s[i] - s[j]))
        for i, j in pairs(y)
    ]
    return sum(terms) / max(len(terms), 1)


def list_gradient(s, y, loss, sigma=1.0, margin=1.0, k=None, weights=None):
    """Gradient and second derivatives of one list by the chain rule, one term after the other."""
    n = len(s)
    g, h = [0.0] * n, [0.0] * n
    if loss == "pointwise":
        return [(1 / (1 + math.exp(-a)) - b) / n for a, b in zip(s, y, strict=True)], h
    if loss == "listnet":
        mass = sum(math.exp(a - max(s)) for a in s)
        return [math.exp(a - max(s)) / mass - b / sum(y) for a, b in zip(s, y, strict=True)], h
    if weights is None:
        chosen = pairs(y)
        weights = (
            changes_of_ndcg(s, y, k)
            if loss == "lambdarank"
            else dict.fromkeys(chosen, 1 / max(len(chosen), 1))
        )
    for (i, j), weight in weights.items():
        if loss == "hinge":
            slope = weight if margin - (s[i] - s[j]) > 0 else 0.0
            bend = 0.0
        else:
            rho = 1 / (1 + math.exp(sigma * (s[i] - s[j])))
            slope, bend = weight * sigma * rho, weight * sigma**2 * rho * (1 - rho)
        g[i] -= slope
        g[j] += slope
        h[i] += bend
        h[j] += bend
    return g, h


def _lambdarank(scores, relevance, loss):
    """Means over the lists with a relevant candidate."""
    kept = [q for q in range(len(scores)) if (relevance[q] > 0).any()]
    grad, hess, losses = np.zeros(scores.shape), np.zeros(scores.shape), []
    for q in kept:
        s, y = scores[q].tolist(), relevance[q].tolist()
        weights = changes_of_ndcg(s, y)
        grad[q], hess[q] = list_gradient(s, y, loss, weights=weights)
        losses.append(list_loss(s, y, loss, weights=weights))
    return math.fsum(losses) / len(kept), grad / len(kept), hess / len(kept)


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


KERNELS = {"item_losses": _items, "pair_losses": _pairs}
