"""Example calls of linking, and arguments of its kernels. The references are loops over all pairs,
dense matrices for Markov clustering, and modularity by its definition."""

import math
import string

import numpy as np

from ...linalg import CSR
from ...retrieval import LinkedPairs, pack_strings
from ...retrieval._organization_linkage.candidates import Grams
from .. import Example
from .strings import character_names, edit_distance, gram_distance, jaro, random_strings

# --- references -----------------------------------------------------------------------------------


def trigrams(name):
    return {name[i : i + 3] for i in range(max(len(name) - 2, 1))} if name else set()


def distance(a, b, measure, q=2):
    return {
        "qgram_jaccard": lambda: gram_distance(a, b, q),
        "osa": lambda: edit_distance(a, b, swaps=True),
        "jaro_winkler": lambda: 1 - jaro(a, b, 0.1),
    }[measure]()


def links(left, right, measure, max_distance, least_share, q=2):
    """(left, right) → distance for candidates that are near; names are normalized already."""
    found = {}
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            shared = len(trigrams(a) & trigrams(b))
            if (
                shared >= max(1, math.ceil(least_share * len(trigrams(a))))
                and distance(a, b, measure, q) <= max_distance
            ):
                found[i, j] = distance(a, b, measure, q)
    return found


def markov(a, inflation, rounds=60):
    """Labels of Markov clustering without pruning, of a dense symmetric matrix."""
    a = a.copy()
    np.fill_diagonal(a, 0)
    np.fill_diagonal(a, np.where(a.max(axis=0) > 0, a.max(axis=0), 1))
    m = a / a.sum(axis=0)
    for _ in range(rounds):
        m = (m @ m) ** inflation
        m /= m.sum(axis=0)
    reach = np.linalg.matrix_power(((m + m.T) > 1e-6).astype(float) + np.eye(len(a)), len(a)) > 0
    return [int(np.flatnonzero(row)[0]) for row in reach]


def modularity(a, labels):
    total, result = a.sum(), 0.0
    for label in set(labels):
        these = [i for i, other in enumerate(labels) if other == label]
        result += a[np.ix_(these, these)].sum() / total - (a[these].sum() / total) ** 2
    return result


def _normalized(names):
    lower = [name.lower() for name in names]
    kept = ["".join(c for c in name if c not in string.punctuation) for name in lower]
    return [" ".join(name.split()) for name in kept]


def _links(left, right, max_distance):
    """Of names that are normalized and differ."""
    found = links(left, right, "qgram_jaccard", max_distance, 0.05)
    rows = sorted((d, i, j) for (i, j), d in found.items())
    left, right = (np.array([row[at] for row in rows], np.int64) for at in (1, 2))
    return left, right, np.array([row[0] for row in rows])


def _through(left, right, directory_names, canonical_ids, max_distance):
    """All pairs of steps into the directory, and the direct links."""
    legs = [
        links(side, directory_names, "qgram_jaccard", max_distance, 0.05) for side in (left, right)
    ]
    found = {
        pair: (d, -1) for pair, d in links(left, right, "qgram_jaccard", max_distance, 0.05).items()
    }
    for (i, k), d in legs[0].items():
        for (j, m), e in legs[1].items():
            if canonical_ids[k] == canonical_ids[m]:
                link = 1.5 * max(d, e), int(canonical_ids[k])
                found[i, j] = min(found.get((i, j), link), link)
    rows = sorted((d, i, j, via) for (i, j), (d, via) in found.items())
    left, right, via = (np.array([row[at] for row in rows], np.int64) for at in (1, 2, 3))
    return left, right, np.array([row[0] for row in rows]), via


def _quantile(left, right, average_matches, distance):
    """Of the sorted distances of all pairs."""
    found = np.sort(distance(left, right).ravel())
    level = min(1.0, max(1e-6, average_matches / math.sqrt(len(left) * len(right))))
    return float(found[max(0, math.ceil(level * len(found)) - 1)])


def _walk(alias_ids, profile_ids, counts):
    """Dense matrices."""
    uses = np.zeros((alias_ids.max(initial=-1) + 1, profile_ids.max(initial=-1) + 1))
    np.add.at(uses, (alias_ids, profile_ids), counts)
    rows, columns = (np.maximum(uses.sum(axis=a, keepdims=True), 1e-300) for a in (1, 0))
    return CSR.from_dense((uses / rows) @ (uses / columns).T)


def _clusters(network):
    return np.unique(markov(network.toarray(), 2.0), return_inverse=True)[1]


def _counted(pairs, true_pairs, n_left, n_right):
    found, true = (set(zip(*map(list, p[:2]), strict=True)) for p in (pairs, true_pairs))
    tp, fp, fn = len(found & true), len(found - true), len(true - found)
    tn = n_left * n_right - tp - fp - fn
    return tp, fp, fn, tn, tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fn + fp)


# --- calls ----------------------------------------------------------------------------------------


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


def _distinct(rng, n, longest=10):
    names = _normalized(random_strings(rng, n, longest, "abcd e"))
    return [name for name in dict.fromkeys(names) if name]


def _two_lists(rng, dtype, n=40):
    return {"left": _distinct(rng, n), "right": _distinct(rng, 35), "max_distance": 0.5}


def _characters(dtype):
    left, right = (_normalized(character_names(at, 300)) for at in (0x1F300, 0x2600))
    return {"left": left, "right": right, "max_distance": 0.5}


def _directory(rng, dtype, n=20):
    names = _distinct(rng, 50, 8)
    return {
        "left": _distinct(rng, n, 8),
        "right": _distinct(rng, 25, 8),
        "directory_names": names,
        "canonical_ids": rng.integers(0, 9, len(names)),
        "max_distance": 0.5,
    }


def _apart(a, b):
    return np.abs(a[:, None] - b)


def _uses(rng, dtype, n=60):
    return {
        "alias_ids": rng.integers(0, 20, n),
        "profile_ids": rng.integers(0, 15, n),
        "counts": rng.integers(1, 9, n),
    }


def _groups(rng, dtype, n=4):
    """Groups of five nodes that are all linked, and a chain through all of them."""
    a = np.kron(np.eye(n), np.ones((5, 5))) * rng.uniform(5, 6, (5 * n, 5 * n))
    a += np.eye(5 * n, k=1) * 0.5
    return {"network": CSR.from_dense(np.triu(a, 1) + np.triu(a, 1).T)}


def _some_pairs(rng, dtype, n=30):
    pairs = [rng.integers(0, 9, m) for m in (n, n, n + 5, n + 5)]
    return {
        "pairs": LinkedPairs(*pairs[:2], np.zeros(n)),
        "true_pairs": tuple(pairs[2:]),
        "n_left": 9,
        "n_right": 9,
    }


HOST = {"nan": "ignore", "dtypes": ("float64",)}

EXAMPLES = {
    "normalize_names": Example(
        lambda rng, dtype: {"names": random_strings(rng, 20, 15, "aB c.&-")},
        (),
        _normalized,
        {"float64": 0.0},
        error="equal",
        sizes=lambda rng, dtype, n: {"names": random_strings(rng, n, 15, "aB c.&-")},
        **HOST,
    ),
    "fuzzy_link": Example(
        _two_lists,
        (),
        _links,
        {"float64": 1e-15},
        error="absolute",
        sizes=_two_lists,
        data="names of characters",
        real=_characters,
        **HOST,
    ),
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
    "calibrate_distance": Example(
        lambda rng, dtype: {
            "left": rng.random(40),
            "right": rng.random(30),
            "average_matches": 3,
            "distance": _apart,
        },
        (),
        _quantile,
        {"float64": 0.0},
        **HOST,
    ),
    "name_network": Example(
        _uses,
        ("alias_ids", "profile_ids", "counts"),
        _walk,
        {"float64": 1e-14},
        also=("int64",),
        sizes=_uses,
        **HOST,
    ),
    "network_clusters": Example(_groups, (), _clusters, {"float64": 0.0}, error="equal", **HOST),
    "link_through_directory": Example(
        _directory,
        ("canonical_ids",),
        _through,
        {"float64": 1e-15},
        error="absolute",
        also=("int64",),
        sizes=_directory,
        **HOST,
    ),
    "linkage_quality": Example(
        _some_pairs, (), _counted, {"float64": 1e-15}, error="absolute", **HOST
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _names(rng, size):
    return random_strings(rng, size, 14, "abcé"), random_strings(rng, 70, 9, "abcé")


def _shared(rng, variant, size):
    sets = Grams(*_names(rng, size), 3)
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
    sets = Grams(left, right, 2, shared_lack=True)
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
    shared = rng.integers(0, 4, (size, 150)).astype(np.uint16)
    need = rng.integers(1, 5, size).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum((shared >= need[:, None]).sum(axis=1))])
    return [shared, need, starts, np.full(starts[-1], -7, np.int64)]


def _pairs(rng, size):
    left, right = _names(rng, 20)
    return left, right, rng.integers(0, 20, size), rng.integers(0, 70, size), np.full(size, np.nan)


def _grams(rng, variant, size):
    left, right, rows, cols, _ = _pairs(rng, size)
    sets = Grams(left, right, 2)
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
