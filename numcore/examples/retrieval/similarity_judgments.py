"""Example calls of similarity judgments. The references are loops over pairs and explicit
designs."""

import itertools
import math
from collections import Counter

import numpy as np

from .. import Example

BOUND = {"float32": 1e-6, "float64": 1e-14}


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


def bags(ids, offsets, weights=None):
    """A Counter of weights for each stimulus."""
    found = []
    for first, last in itertools.pairwise(offsets):
        bag = Counter()
        for e in range(first, last):
            weight = 1.0 if weights is None else float(weights[e])
            if weight:
                bag[int(ids[e])] += weight
        found.append(bag)
    return found


def tag_similarity(
    ids,
    offsets,
    weights=None,
    method="embedding",
    embeddings=None,
    idf=True,
    k1=1.2,
    b=0.75,
    first=None,
):
    """Of the `first` stimuli; how rare a tag is, all of them say."""
    stimuli = bags(ids, offsets, weights)
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

    stimuli = stimuli[:first]
    rows = [[pair(one, two) for two in stimuli] for one in stimuli]
    return np.array(rows, float).reshape(len(stimuli), len(stimuli))


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


def _digits(count=600):
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data[:count], digits.target[:count]


# --- similarities ---------------------------------------------------------------------------------


def _features(rng, dtype, n=40):
    return {"features": rng.standard_normal((n, 9)).astype(dtype), "metric": "cosine"}


def _scipy_cosines(features, metric):
    from scipy.spatial.distance import pdist, squareform

    return 1 - squareform(pdist(features, "cosine"))


def _real_features(dtype):
    return {"features": _digits()[0].astype(dtype), "metric": "cosine"}


def _tags(rng, dtype, n=30):
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n))]).astype(np.int64)
    return {
        "tag_values": rng.integers(0, 12, offsets[-1]),
        "tag_offsets": offsets,
        "tag_weights": rng.random(offsets[-1]).astype(dtype),
        "method": "embedding",
        "tag_embeddings": rng.standard_normal((12, 8)).astype(dtype),
        "idf": True,
        "k1": 1.2,
        "b": 0.75,
    }


def _tag_loop(tag_values, tag_offsets, tag_weights, tag_embeddings, **options):
    embeddings = tag_embeddings.astype(np.float64)
    return tag_similarity(tag_values, tag_offsets, tag_weights, embeddings=embeddings, **options)


def _real_tags(dtype):
    """Images tagged by their dark pixels, pixels embedded by their places."""
    images, _ = _digits()
    rows, ids = np.nonzero(images > 8)
    place = np.arange(64)[:, None] * np.pi / 8
    waves = np.concatenate(
        [np.cos(place * k) for k in range(1, 9)] + [np.sin(place / 8 * k) for k in range(1, 9)],
        axis=1,
    )
    return {
        "tag_values": ids,
        "tag_offsets": np.searchsorted(rows, np.arange(len(images) + 1)),
        "tag_weights": images[rows, ids].astype(dtype),
        "method": "embedding",
        "tag_embeddings": waves.astype(dtype),
        "idf": True,
        "k1": 1.2,
        "b": 0.75,
    }


def _numpy_tags(tag_values, tag_offsets, tag_weights, tag_embeddings, **options):
    n = len(tag_offsets) - 1
    idf = np.log(n / np.maximum(np.bincount(tag_values, minlength=len(tag_embeddings)), 1)).astype(
        tag_weights.dtype
    )
    means = np.stack(
        [
            (tag_weights[a:b] * idf[tag_values[a:b]]) @ tag_embeddings[tag_values[a:b]]
            for a, b in itertools.pairwise(tag_offsets)
        ]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means @ means.T


def _stack(rng, dtype, n=20):
    return {
        "features_list": [rng.standard_normal((n, d)).astype(dtype) for d in (3, 5)],
        "scaling": "zscore",
    }


def _zscores(features_list, scaling):
    from scipy.stats import zscore

    return np.concatenate([zscore(block.astype(np.float64)) for block in features_list], axis=1)


# --- agreement ------------------------------------------------------------------------------------


def _ratings(rng, dtype, count=50):
    """Of two raters, who can be split in one way only."""
    return {
        "ratings": (rng.standard_normal((count, 1)) + rng.standard_normal((count, 2))).astype(
            dtype
        ),
        "n_splits": 20,
        "method": "pearson",
        "missing": "raise",
        "rng": 0,
    }


def _two_raters(ratings, **options):
    r = np.corrcoef(ratings.astype(np.float64).T)[0, 1]
    return r, 2 * r / (1 + r), (r, r)


def _real_ratings(dtype):
    """Two noisy raters of whether images show one digit: every split gives the same."""
    rng = np.random.default_rng(0)
    _, digits = _digits(100)
    i, j = np.triu_indices(100, 1)
    return {
        "ratings": ((digits[i] == digits[j])[:, None] + rng.standard_normal((len(i), 2))).astype(
            dtype
        ),
        "n_splits": 1000,
        "method": "pearson",
        "missing": "raise",
        "rng": 0,
    }


def _loop_of_splits(ratings, n_splits, rng, **options):
    found = split_half(ratings, n_splits, np.random.default_rng(rng))
    r = np.mean(found)
    return r, 2 * r / (1 + r), tuple(np.percentile(found, [2.5, 97.5]))


def _symmetric(rng, dtype, n=12):
    x = rng.standard_normal((n, n))
    x = x + x.T
    return {
        "predicted": x.astype(dtype),
        "target": (x[np.triu_indices(n, 1)] + rng.standard_normal(n * (n - 1) // 2)).astype(dtype),
        "method": "pearson",
        "n_permutations": 0,
        "n_bootstrap": 0,
        "rng": 0,
    }


def _pair_correlation(predicted, target, **options):
    x = predicted[np.triu_indices(len(predicted), 1)].astype(np.float64)
    return np.corrcoef(x, target.astype(np.float64))[0, 1]


def _real_matrices(dtype):
    """Cosines of images against whether they show one digit."""
    from ...retrieval import similarity_matrix

    images, digits = _digits(300)
    return {
        "predicted": similarity_matrix(images.astype(dtype)),
        "target": (digits[:, None] == digits).astype(dtype),
        "method": "pearson",
        "n_permutations": 300,
        "n_bootstrap": 0,
        "rng": 0,
    }


def _loop_of_permutations(predicted, target, n_permutations, rng, **options):
    return mantel(predicted, target, n_permutations, np.random.default_rng(rng))


EXAMPLES = {
    "similarity_matrix": Example(
        _features,
        ("features",),
        similarity_matrix,
        {"float32": 2e-6, "float64": 5e-15},
        nan="raise",
        sizes=_features,
        data="600 digits images",
        real=_real_features,
        sample=lambda s, features, metric: (
            s[:50, :50],
            {"features": features[:50], "metric": metric},
        ),
        peer=("scipy.spatial.distance.pdist", _scipy_cosines),
    ),
    "tag_similarity": Example(
        _tags,
        ("tag_values", "tag_offsets", "tag_weights", "tag_embeddings"),
        _tag_loop,
        BOUND,
        nan="ignore",
        also=("int64",),
        sizes=_tags,
        data="pixels of 600 digits images",
        real=_real_tags,
        sample=lambda s, **call: (s[:50, :50], call | {"first": 50}),
        peer=("NumPy row by row", _numpy_tags),
    ),
    "stack_features": Example(_stack, (), _zscores, BOUND),
    "rating_reliability": Example(
        _ratings,
        ("ratings",),
        _two_raters,
        {"float32": 1e-6, "float64": 1e-13},
        nan="raise",
        data="4950 pairs of digits, 2 raters",
        real=_real_ratings,
        peer=("NumPy split by split", _loop_of_splits),
    ),
    "representational_similarity": Example(
        _symmetric,
        ("predicted", "target"),
        _pair_correlation,
        {"float32": 1e-6, "float64": 1e-14},
        nan="raise",
        result=lambda r: r.correlation,
        data="300 digits images, 300 permutations",
        real=_real_matrices,
        sample=lambda r, predicted, target, **options: (
            r,
            {"predicted": predicted, "target": target[np.triu_indices(len(target), 1)]},
        ),
        peer=("NumPy permutation by permutation", _loop_of_permutations),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _lists(rng, variant, size):
    """Distinct tags of each stimulus, in order, and the stimuli of each tag."""
    there = rng.random((size, 15)) < 0.3
    (rows, tags), (by_tag, of_tag) = (
        [places.copy() for places in np.nonzero(m)] for m in (there, there.T)
    )
    indptr = np.searchsorted(rows, np.arange(size + 1))
    list_indptr = np.searchsorted(by_tag, np.arange(16))
    return [
        indptr,
        tags,
        rng.random(len(tags)),
        list_indptr,
        of_tag,
        rng.random(len(tags)),
        np.full((size, size), np.nan),
        int(rng.integers(0, 2)),
    ]


def _halves(rng, variant, size):
    """Few to many ratings of each pair, so that words of random bits run out."""
    indptr = np.concatenate([[0], np.cumsum(rng.integers(2, 60, 23))]).astype(np.int64)
    return [
        rng.standard_normal(indptr[-1]),
        indptr,
        np.full((size, 2, 23), np.nan),
        17,
        2**32 - 1,
        int(rng.integers(0, 1000)),
    ]


def _permutations(rng, variant, size):
    n = int(rng.integers(0, 40))
    return [
        rng.standard_normal((n, n)),
        rng.standard_normal((n, n)),
        rng.permuted(np.tile(np.arange(n, dtype=np.int32), (size, 1)), axis=1),
        np.full(size, np.nan),
    ]


def _descent(rng, variant, size):
    d = int(rng.integers(1, 20))
    x = rng.standard_normal((40, d))
    w, gradient = np.full((2, size, d), np.nan)
    return [
        x.T @ x,
        x.T @ rng.standard_normal(40),
        10.0 ** rng.uniform(-3, 3, size),
        w,
        gradient,
        np.full(size, -7),
        1e-12,
        1000,
    ]


KERNELS = {
    "tag_overlaps": _lists,
    "half_means": _halves,
    "permuted_products": _permutations,
    "nonnegative_descent": _descent,
}
