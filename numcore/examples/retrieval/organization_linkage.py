"""Example calls of linking by vectors, and arguments of the kernels of linking names."""

import numpy as np

from ...linalg import CSR
from ...retrieval._organization_linkage import _Grams
from ...retrieval._strings import pack_strings
from .. import Example
from .strings import random_strings

__all__ = ["EXAMPLES", "KERNELS"]


def _vectors(rng, dtype, n=60):
    return {
        "left_vectors": rng.standard_normal((n, 5)).astype(dtype),
        "right_vectors": rng.standard_normal((47, 5)).astype(dtype),
        "max_distance": 1.25,
    }


def _near(left_vectors, right_vectors, max_distance):
    """Every pair by itself."""
    left, right = left_vectors.astype(np.longdouble), right_vectors.astype(np.longdouble)
    distance = np.array([[np.sqrt(((x - y) ** 2).sum()) for y in right] for x in left]).reshape(
        len(left), len(right)
    )
    found = sorted(
        (distance[i, j], i, j) for i, j in np.argwhere(distance <= max_distance).tolist()
    )
    return (
        np.array([i for _, i, _ in found], np.int64),
        np.array([j for _, _, j in found], np.int64),
        np.array([d for d, _, _ in found], np.longdouble),
    )


def _digits(dtype):
    from sklearn.datasets import load_digits

    images = load_digits().data.astype(dtype)
    return {"left_vectors": images[:900], "right_vectors": images[900:], "max_distance": 20.0}


def _cdist(left_vectors, right_vectors, max_distance):
    from scipy.spatial.distance import cdist

    distance = cdist(left_vectors, right_vectors)
    return *np.nonzero(distance <= max_distance), distance[distance <= max_distance]


EXAMPLES = {
    "embedding_link": Example(
        _vectors,
        ("left_vectors", "right_vectors"),
        _near,
        {"float32": 1e-6, "float64": 1e-14},
        sizes=_vectors,
        nan="ignore",
        data="two halves of the digits images",
        real=_digits,
        peer=("scipy.spatial.distance.cdist and a threshold", _cdist),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _names(rng, size):
    return random_strings(rng, size, 14, "abcé"), random_strings(rng, 70, 9, "abcé")


def _shared(rng, variant, size):
    sets = _Grams(*_names(rng, size), 3)
    strings, postings = sets.postings()
    return [
        sets.offsets,
        sets.grams,
        postings,
        strings,
        np.full((size, 70), 9, np.uint16),
        sets.sizes,
    ]


def _rare(rng, variant, size):
    left, right = _names(rng, max(size, 1))
    sets = _Grams(left, right, 2, shared_lack=True)
    similarity = float(rng.choice([0.3, 0.5]))
    rare, right_rare = (
        1 + sizes - np.ceil(similarity * sizes).astype(int)
        for sizes in (sets.sizes, sets.right_sizes)
    )
    strings, postings = sets.postings(right_rare)
    signatures, right_signatures = sets.signatures()
    return [
        rng.permutation(max(size, 1))[:size],
        sets.offsets,
        sets.grams.astype(np.int32),
        rare,
        signatures,
        postings,
        strings.astype(np.int32),
        sets.right_sizes[strings].astype(np.int32),
        right_signatures[strings],
        sets.right_offsets,
        sets.right_grams.astype(np.int32),
        np.full((size, 2), -7, np.int32),
        np.full(size, -7, np.int64),
        similarity,
    ]


def _enough(rng, variant, size):
    shared, common = rng.integers(0, 9, (2, size, 70)).astype(np.uint16)
    return [
        shared,
        rng.integers(1, 4, size).astype(np.uint16),
        common,
        *(rng.integers(3, 12, n).astype(np.float32) for n in (size, 70)),
        np.full(size, -7, np.int64),
        0.25,
    ]


def _list(rng, variant, size):
    shared, need = (
        rng.integers(0, 4, (size, 150)).astype(np.uint16),
        rng.integers(1, 5, size).astype(np.uint16),
    )
    starts = np.concatenate([[0], np.cumsum((shared >= need[:, None]).sum(axis=1))])
    return [shared, need, starts, np.full(starts[-1], -7, np.int64)]


def _pairs(rng, size):
    left, right = _names(rng, 20)
    return left, right, rng.integers(0, 20, size), rng.integers(0, 70, size), np.full(size, np.nan)


def _grams(rng, variant, size):
    left, right, rows, cols, _ = _pairs(rng, size)
    sets = _Grams(left, right, 2)
    return [
        sets.offsets,
        sets.grams,
        sets.right_offsets,
        sets.right_grams,
        rows,
        cols,
        np.full(size, -7, np.int64),
    ]


def _letters(rng, variant, size):
    left, right, rows, cols, distance = _pairs(rng, size)
    return [
        *pack_strings(left),
        *pack_strings(right),
        rows,
        cols,
        np.zeros((size, 45), np.int32),
        distance,
    ]


def _stochastic(rng, variant, size):
    n = 29
    a, b = (
        CSR.from_coo(rng.integers(0, n, 90), rng.integers(0, n, 90), rng.random(90), (n, n))
        for _ in range(2)
    )
    inputs = [
        part.astype(kind)
        for m in (a, b)
        for part, kind in zip((m.indptr, m.indices, m.data), (int, int, float), strict=True)
    ]
    return [
        rng.integers(0, n, size),
        *inputs,
        np.full((size, 9), -7, np.int64),
        np.full((size, 9), np.nan),
        np.full(size, -7, np.int64),
        np.full(size, np.nan),
        float(rng.choice([1.0, 2.0, 1.4])),
        1e-2,
    ]


KERNELS = {
    "count_shared_grams": _shared,
    "count_candidates": _enough,
    "list_candidates": _list,
    "near_by_rare_grams": _rare,
    "pair_common_grams": _grams,
    "pair_osa": _letters,
    "pair_jaro_winkler": _letters,
    "stochastic_product": _stochastic,
}
