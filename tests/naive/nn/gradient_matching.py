"""Gradient matching by its definitions: loops over pairs, filters and groupings."""

import itertools
import math

import numpy as np


def filters(tensor):
    """Rows of a tensor of two axes or more; none of others."""
    return (
        [row.astype(np.longdouble).reshape(-1) for row in tensor]
        if tensor.ndim > 1 and tensor.size
        else []
    )


def distance(a, b, metric="per_filter_cosine", eps=1e-6):
    if metric == "per_filter_cosine":
        pairs = [
            (x, y)
            for s, t in zip(a, b, strict=True)
            for x, y in zip(filters(s), filters(t), strict=True)
        ]
        return float(sum(1 - cosine(x, y, eps) for x, y in pairs))
    x, y = (
        np.concatenate([t.astype(np.longdouble).reshape(-1) for t in gradient])
        for gradient in (a, b)
    )
    return float(1 - cosine(x, y, eps)) if metric == "cosine" else float(sum((x - y) ** 2))


def cosine(x, y, eps):
    below = np.sqrt(x @ x) * np.sqrt(y @ y) + np.longdouble(eps)
    return np.longdouble(0) if below == 0 else x @ y / below


def within(d, labels):
    return sum(
        d[i, j] for i, j in itertools.combinations(range(len(d)), 2) if labels[i] == labels[j]
    )


def best_labels(d, n_groups, sizes):
    """The smallest sum within groups of allowed sizes, over all labellings."""
    best = math.inf
    for labels in itertools.product(range(n_groups), repeat=len(d)):
        if all(labels.count(g) in sizes for g in range(n_groups)):
            best = min(best, within(d, labels))
    return best


def smallest_cut(w):
    k = len(w)
    return min(
        sum(w[i, j] for i in side for j in range(k) if j not in side)
        for size in range(1, k)
        for side in map(set, itertools.combinations(range(k), size))
    )
