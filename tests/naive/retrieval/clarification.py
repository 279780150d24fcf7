"""Losses and metrics of one list, pair by pair and term by term, in Python's own floats; hashing
with Python's own integers."""

import math


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def pairs(y):
    return [(i, j) for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]]


def ranks(key):
    order = sorted(range(len(key)), key=lambda i: -key[i])
    return [order.index(i) for i in range(len(key))]


def changes_of_ndcg(s, y, k=None):
    """{(i, j): how much NDCG changes if i and j change places}, by making the change."""
    rank = ranks(s)

    def gain(places):
        return sum(
            (2.0**label - 1) / math.log2(2 + place)
            for label, place in zip(y, places, strict=True)
            if k is None or place < k
        )

    ideal = gain(ranks(y))
    changes = {}
    for i, j in pairs(y):
        swapped = list(rank)
        swapped[i], swapped[j] = rank[j], rank[i]
        changes[i, j] = abs(gain(swapped) - gain(rank)) / ideal
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
        return sum(weight * softplus(-sigma * (s[i] - s[j])) for (i, j), weight in weights.items())
    terms = [
        max(0.0, margin - (s[i] - s[j])) if loss == "hinge" else softplus(-sigma * (s[i] - s[j]))
        for i, j in pairs(y)
    ]
    return sum(terms) / max(len(terms), 1)


def list_gradient(s, y, loss, sigma=1.0, margin=1.0, k=None):
    """Gradient and second derivatives of one list by the chain rule, one term after the other."""
    n, chosen = len(s), pairs(y)
    g, h = [0.0] * n, [0.0] * n
    if loss == "pointwise":
        return [(1 / (1 + math.exp(-a)) - b) / n for a, b in zip(s, y, strict=True)], h
    if loss == "listnet":
        mass = sum(math.exp(a - max(s)) for a in s)
        return [math.exp(a - max(s)) / mass - b / sum(y) for a, b in zip(s, y, strict=True)], h
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


def list_metrics(s, y, cuts):
    """(ndcg, precision, hit) for each cut, reciprocal rank, average precision; None without a
    relevant item."""
    if not any(b > 0 for b in y):
        return None
    ranked = [y[i] for i in sorted(range(len(s)), key=lambda i: -s[i])]
    ideal = sorted(y, reverse=True)

    def gain(labels):
        return math.fsum((2.0**b - 1) / math.log2(2 + r) for r, b in enumerate(labels))

    at_cuts = [
        (
            gain(ranked[:k]) / gain(ideal[:k]),
            sum(b > 0 for b in ranked[:k]) / k,
            float(any(b > 0 for b in ranked[:k])),
        )
        for k in cuts
    ]
    places = [r + 1 for r, b in enumerate(ranked) if b > 0]
    return (
        at_cuts,
        1 / places[0],
        math.fsum((i + 1) / place for i, place in enumerate(places)) / len(places),
    )


def hashed(texts, n_buckets, ngrams, seed):
    """Buckets of every text, from lists of word numbers."""

    def mixed(h):
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        return h ^ (h >> 16)

    results = []
    for text in texts:
        buckets = []
        for n in ngrams:
            for first in range(len(text) - n + 1):
                h = seed
                for word in text[first : first + n]:
                    h = mixed(h ^ (word + 1) * 0x9E3779B9 % 2**32)
                buckets.append(h % n_buckets)
        results.append(buckets)
    return results
