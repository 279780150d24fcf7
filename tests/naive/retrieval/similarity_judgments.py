"""Similarity judgments, slow and obviously right: loops over pairs, explicit designs."""

import itertools
import math
from collections import Counter

import numpy as np


def similarity(x, y, metric):
    """Of two vectors."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    if metric == "dot":
        return np.dot(x, y)
    if metric == "neg_euclidean":
        return -np.sqrt(np.sum((x - y) ** 2))
    if metric == "correlation":
        x, y = x - x.mean(), y - y.mean()
    length = np.sqrt(np.dot(x, x)) * np.sqrt(np.dot(y, y))
    return np.dot(x, y) / length if length else 0 * length


def similarity_matrix(features, metric="cosine"):
    return np.array([[similarity(x, y, metric) for y in features] for x in features]).reshape(
        len(features), len(features)
    )


def bags(indptr, ids, weights=None):
    """A Counter of weights for each stimulus."""
    found = []
    for first, last in itertools.pairwise(indptr):
        bag = Counter()
        for e in range(first, last):
            weight = 1.0 if weights is None else float(weights[e])
            if weight:
                bag[int(ids[e])] += weight
        found.append(bag)
    return found


def tag_similarity(
    indptr, ids, weights=None, method="embedding", embeddings=None, idf=True, k1=1.2, b=0.75
):
    stimuli = bags(indptr, ids, weights)
    n, counts = len(stimuli), Counter(t for bag in stimuli for t in bag)
    rarity = {t: math.log(n / count) if idf else 1.0 for t, count in counts.items()}

    def bm25(query, text):
        mean = sum(bag.total() for bag in stimuli) / n
        total = 0.0
        for t in query:
            weight = math.log(1 + (n - counts[t] + 0.5) / (counts[t] + 0.5)) if idf else 1.0
            total += (
                weight * text[t] * (k1 + 1) / (text[t] + k1 * (1 - b + b * text.total() / mean))
                if t in text
                else 0.0
            )
        return total

    def pair(one, two):
        if not one or not two:
            return 0.0
        if method == "jaccard":
            return len(one.keys() & two.keys()) / len(one.keys() | two.keys())
        if method == "rouge1":
            return (
                2
                * sum(min(one[t], two[t]) for t in one.keys() & two.keys())
                / (one.total() + two.total())
            )
        if method == "bm25":
            return (bm25(one, two) + bm25(two, one)) / 2
        tags = sorted(counts)
        if method == "cosine":
            return similarity(
                *(np.array([bag[t] * rarity[t] for t in tags]) for bag in (one, two)), "cosine"
            )
        means = [
            sum(bag[t] * rarity[t] * embeddings[t].astype(np.float64) for t in bag)
            / max(sum(bag[t] * rarity[t] for t in bag), 1e-300)
            for bag in (one, two)
        ]
        return similarity(*means, "cosine")

    return np.array([[pair(one, two) for two in stimuli] for one in stimuli], float).reshape(n, n)


def design(f):
    """One row for each pair i < j: products of the features."""
    i, j = np.triu_indices(len(f), 1)
    return f[i] * f[j]


def mantel(x, y, count, rng):
    """The loop that users write: correlation of the pairs of permuted square matrices."""
    pairs = np.triu_indices(len(x), 1)
    r = np.corrcoef(x[pairs], y[pairs])[0, 1]
    extreme = 0
    for _ in range(count):
        p = rng.permutation(len(y))
        extreme += abs(np.corrcoef(x[pairs], y[p][:, p][pairs])[0, 1]) >= abs(r) - 1e-12
    return r, (1 + extreme) / (1 + count)


def split_half(ratings, count, rng):
    """The loop that users write, for ratings of which none is missing."""
    half = ratings.shape[1] // 2
    found = []
    for _ in range(count):
        order = rng.permutation(ratings.shape[1])
        found.append(
            np.corrcoef(
                ratings[:, order[:half]].mean(1), ratings[:, order[half : 2 * half]].mean(1)
            )[0, 1]
        )
    return np.array(found)


def split_half_missing(ratings, count, rng):
    """The same for each pair's own ratings."""
    found = []
    for _ in range(count):
        halves = []
        for row in ratings:
            known = rng.permutation(row[~np.isnan(row)])
            half = len(known) // 2
            halves.append((known[:half].mean(), known[half : 2 * half].mean()))
        found.append(np.corrcoef(np.array(halves).T)[0, 1])
    return np.array(found)
