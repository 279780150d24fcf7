"""Example calls of exact search, of Hamming distances and of their kernels."""

import numpy as np

from .. import Example


def _sizes(rng, dtype, n):
    return {
        "queries": rng.standard_normal((n, 19)).astype(dtype),
        "database": rng.standard_normal((max(n, 1), 19)).astype(dtype),
        "k": max(1, n // 20),
    }


def _real(dtype):
    """Each image's nearest images, its own among them."""
    from sklearn.datasets import load_digits

    images = load_digits().data / 16
    # no two products are equal
    images = (images + 1e-3 * np.random.default_rng(0).standard_normal(images.shape)).astype(dtype)
    return {"queries": images, "database": images, "k": 10}


def scores(queries, database, metric="ip"):
    """Query by query in extended precision."""
    queries, database = queries.astype(np.longdouble), database.astype(np.longdouble)
    result = np.zeros((len(queries), len(database)), np.longdouble)
    lengths = np.sqrt((database * database).sum(axis=1))
    for row, q in zip(result, queries, strict=True):
        if metric == "l2":
            row[:] = ((q - database) ** 2).sum(axis=1)
            continue
        row[:] = (q * database).sum(axis=1)
        if metric == "cosine":
            both = np.sqrt((q * q).sum()) * lengths
            row[:] = np.where(both > 0, row / np.where(both > 0, both, 1), 0)
    return result


def topk(queries, database, k, metric="ip"):
    """Python's own sort of all scores."""
    found = scores(queries, database, metric)
    sign = 1 if metric == "l2" else -1
    indices = np.array(
        [sorted(range(len(row)), key=lambda j: (sign * row[j], j))[:k] for row in found], np.int64
    ).reshape(len(queries), k)
    return np.take_along_axis(found, indices, 1), indices


def _first_queries(result, queries, database, k):
    return [part[:20] for part in result], {"queries": queries[:20], "database": database, "k": k}


def _argpartition(queries, database, k):
    scores = queries @ database.T
    some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    best = np.take_along_axis(scores, some, 1)
    order = np.argsort(-best, axis=1)
    return np.take_along_axis(best, order, 1), np.take_along_axis(some, order, 1)


def _words(rng, n, m=23, w=3):
    return {
        "a": rng.integers(0, 2**64, (n, w), np.uint64),
        "b": rng.integers(0, 2**64, (m, w), np.uint64),
    }


def hamming(a, b):
    return np.array(
        [
            [
                sum((int(x) ^ int(y)).bit_count() for x, y in zip(row, other, strict=True))
                for other in b
            ]
            for row in a
        ],
        np.int32,
    ).reshape(len(a), len(b))


def _unpacked(a, b):
    return np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.int32)


EXAMPLES = {
    "topk_inner_product": Example(
        lambda rng, dtype: _sizes(rng, dtype, 140) | {"k": 7},
        ("queries", "database"),
        topk,
        {"float32": 1e-5, "float64": 1e-13},
        nan="raise",
        sizes=_sizes,
        data="images of digits among themselves",
        real=_real,
        sample=_first_queries,
        peer=("numpy.argpartition", _argpartition),
    ),
    "packed_hamming": Example(
        lambda rng, dtype: _words(rng, 31),
        ("a", "b"),
        hamming,
        {"float32": 0.0, "float64": 0.0},
        error="equal",
        nan="ignore",
        sizes=lambda rng, dtype, n: _words(rng, n),
        peer=("numpy.bitwise_count", _unpacked),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def heaps(rng, size, k, dtype):
    return (
        np.full((size, k), -np.inf, dtype),
        np.full((size, k), -1, np.int64),
        np.zeros(size, np.uint8),
    )


def _scan_rows(rng, variant, size):
    """Whole numbers, so that many are equal; one that is not finite."""
    scores = rng.integers(-30, 30, (size, int(rng.integers(1, 300)))).astype(variant["T"])
    if size > 3:
        scores[rng.integers(size), -1] = rng.choice([np.nan, np.inf, -np.inf])
    return [scores, *heaps(rng, size, int(rng.integers(1, 20)), variant["T"]), -np.inf, 1000]


def _distances_of(rng, variant, size):
    d, k = rng.integers(1, 70, 2)
    queries = rng.standard_normal((size, d)).astype(variant["T"])
    database = rng.standard_normal((29, d)).astype(variant["T"])
    return [
        queries,
        database,
        rng.integers(0, 29, (size, k)),
        np.full((size, k), np.nan, variant["T"]),
    ]


def _scan_lists(rng, variant, size):
    """Whole numbers, whose products are exact in any order."""
    d, rows, p = int(rng.integers(1, 40)), 60, int(rng.integers(1, 5))
    queries, stored = (rng.integers(-9, 9, (n, d)).astype(variant["T"]) for n in (size, rows))
    offsets = np.array([0, 7, 7, 25, 40, 60])
    probes = np.array([rng.choice(5, p, replace=False) for _ in range(size)], np.int64).reshape(
        size, p
    )
    return [
        queries,
        stored,
        offsets[:-1].copy(),
        offsets[1:].copy(),
        rng.permutation(rows),
        probes,
        *heaps(rng, size, int(rng.integers(1, 30)), variant["T"]),
        int(rng.integers(2)),
    ]


KERNELS = {"scan_rows": _scan_rows, "distances_of": _distances_of, "scan_lists": _scan_lists}
