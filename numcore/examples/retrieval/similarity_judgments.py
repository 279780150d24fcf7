"""Example calls of similarity judgments. The references are SciPy's distances, loops over pairs,
and NumPy's correlations."""

import itertools
import math

import numpy as np

from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]

BOUND = {"float32": 1e-6, "float64": 1e-14}


def _digits(count=600):
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data[:count], digits.target[:count]


# --- similarities ---------------------------------------------------------------------------------


def _features(rng, dtype, n=40):
    return {"features": rng.standard_normal((n, 9)).astype(dtype), "metric": "cosine"}


def _cosines(features, metric):
    """Pair by pair in extended precision."""
    x = features.astype(np.longdouble)
    norms = [math.sqrt(math.fsum(float(v) ** 2 for v in row)) for row in x]
    rows = list(zip(x, norms, strict=True))
    return np.array(
        [np.dot(a, b) / (p * q) if p * q else 0 for a, p in rows for b, q in rows], np.longdouble
    ).reshape(len(x), len(x))


def _scipy_cosines(features, metric):
    from scipy.spatial.distance import pdist, squareform

    return 1 - squareform(pdist(features, "cosine"))


def _real_features(dtype):
    return {"features": _digits()[0].astype(dtype), "metric": "cosine"}


def _tags(rng, dtype, n=30):
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n))]).astype(np.int64)
    return {
        "tag_indptr": indptr,
        "tag_ids": rng.integers(0, 12, indptr[-1]),
        "tag_weights": rng.random(indptr[-1]).astype(dtype),
        "method": "embedding",
        "tag_embeddings": rng.standard_normal((12, 8)).astype(dtype),
        "idf": True,
        "k1": 1.2,
        "b": 0.75,
    }


def _weighted_means(tag_indptr, tag_ids, tag_weights, tag_embeddings, **options):
    """A dense matrix of weights."""
    n, m = len(tag_indptr) - 1, len(tag_embeddings)
    weights = np.zeros((n, m))
    for i in range(n):
        for e in range(tag_indptr[i], tag_indptr[i + 1]):
            weights[i, tag_ids[e]] += tag_weights[e]
    counts = (weights > 0).sum(axis=0)
    weights = weights * np.log(max(n, 1) / np.maximum(counts, 1))
    return _cosines(weights @ tag_embeddings.astype(np.float64), "cosine")


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
        "tag_indptr": np.searchsorted(rows, np.arange(len(images) + 1)),
        "tag_ids": ids,
        "tag_weights": images[rows, ids].astype(dtype),
        "method": "embedding",
        "tag_embeddings": waves.astype(dtype),
        "idf": True,
        "k1": 1.2,
        "b": 0.75,
    }


def _numpy_tags(tag_indptr, tag_ids, tag_weights, tag_embeddings, **options):
    n = len(tag_indptr) - 1
    idf = np.log(n / np.maximum(np.bincount(tag_ids, minlength=len(tag_embeddings)), 1)).astype(
        tag_weights.dtype
    )
    means = np.stack(
        [
            (tag_weights[a:b] * idf[tag_ids[a:b]]) @ tag_embeddings[tag_ids[a:b]]
            for a, b in itertools.pairwise(tag_indptr)
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
    rng, half, found = np.random.default_rng(rng), ratings.shape[1] // 2, []
    for _ in range(n_splits):
        order = rng.permutation(ratings.shape[1])
        found.append(
            np.corrcoef(
                ratings[:, order[:half]].mean(1), ratings[:, order[half : 2 * half]].mean(1)
            )[0, 1]
        )
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
    rng, pairs = np.random.default_rng(rng), np.triu_indices(len(predicted), 1)
    x, y = predicted[pairs], target[pairs]
    r = np.corrcoef(x, y)[0, 1]
    found = []
    for _ in range(n_permutations):
        p = rng.permutation(len(target))
        found.append(abs(np.corrcoef(x, target[p][:, p][pairs])[0, 1]) >= abs(r))
    return r, (1 + sum(found)) / (1 + n_permutations)


EXAMPLES = {
    "similarity_matrix": Example(
        _features,
        ("features",),
        _cosines,
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
        ("tag_indptr", "tag_ids", "tag_weights", "tag_embeddings"),
        _weighted_means,
        BOUND,
        nan="ignore",
        also=("int64",),
        sizes=_tags,
        data="pixels of 600 digits images",
        real=_real_tags,
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
    indptr, list_indptr = (
        np.searchsorted(rows, np.arange(size + 1)),
        np.searchsorted(by_tag, np.arange(16)),
    )
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
