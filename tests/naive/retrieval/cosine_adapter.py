"""The maps of the cosine adapter and their loss, result by result."""

import math


def softplus(g):
    return math.log1p(math.exp(g))


def score(mapping, raw, x):
    x = min(max(x, -1.0), 1.0)
    u = (1 + x) / 2
    a, b = softplus(raw[0]), raw[1]
    z = {
        "linear": lambda: a * x + b,
        "sqrt": lambda: a * u**0.5 + b,
        "power": lambda: a * u ** (softplus(raw[2]) + 0.05) + b,
        "quadratic": lambda: a * u * u + softplus(raw[2]) * u + b,
    }[mapping]()
    return 1 / (1 + math.exp(-z))


def loss(mapping, raw, cosines, relevance, pos_weight=1.0):
    terms = []
    for x, y in zip(cosines, relevance, strict=True):
        s = score(mapping, raw, x)
        terms.append(-pos_weight * y * math.log(s) - (1 - y) * math.log1p(-s))
    return math.fsum(terms) / len(terms)


def precision_at_recall(scores, relevance, recall):
    """The precision where lists of all scores above a threshold first reach a recall; no scores are
    equal."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    total, found = sum(relevance), 0
    for kept, i in enumerate(order, 1):
        found += relevance[i]
        if found >= recall * total:
            return found / kept
    return math.nan
