"""Example calls of clarification questions. Hashing with Python's own integers."""

import itertools

import numpy as np

from .. import Example


def _texts(rng, dtype, n=40):
    lengths = rng.integers(0, 8, n)
    return {
        "values": rng.integers(0, 1000, int(lengths.sum())),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "n_buckets": 1009,
        "salt": 7,
    }


def hashed(texts, n_buckets, ngrams, salt):
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
                h = salt
                for word in text[first : first + n]:
                    h = mixed(h ^ (word + 1) * 0x9E3779B9 % 2**32)
                buckets.append(h % n_buckets)
        results.append(buckets)
    return results


def _hashed(values, offsets, n_buckets, salt):
    words = [values[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]
    buckets = hashed(words, n_buckets, (1, 2), salt)
    flat = [bucket for text in buckets for bucket in text]
    return np.array(flat, np.int64), np.cumsum([0, *map(len, buckets)])


EXAMPLES = {
    "hash_features": Example(
        _texts,
        ("values", "offsets"),
        _hashed,
        {"float32": 0.0, "float64": 0.0},
        error="equal",
        nan="ignore",
        also=("int64",),
        sizes=lambda rng, dtype, n: _texts(rng, dtype, n),
    ),
}


def _bags(rng, variant, size):
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 5, size))]).astype(np.int64)
    d = int(rng.integers(1, 40))
    return [
        rng.standard_normal((23, d)).astype(variant["T"]),
        rng.integers(0, 23, int(offsets[-1])),
        offsets,
        np.full((size, d), np.nan, variant["T"]),
    ]


def _rows(rng, variant, size):
    ends = np.concatenate([[0], np.cumsum(rng.integers(1, 4, size))]).astype(np.int64)
    v, d, real = size + 3, int(rng.integers(1, 40)), variant["T"]
    return [
        rng.permutation(v)[:size].astype(np.int64),
        ends,
        rng.integers(0, 5, int(ends[-1])),
        rng.random(5).astype(real),
        rng.standard_normal((5, d)).astype(real),
        *rng.standard_normal((2, v, d)).astype(real),
        rng.random((v, d)).astype(real),
        0.9,
        0.99,
        0.01,
        1e-3,
    ]


KERNELS = {"bag_means": _bags, "lazy_adam_rows": _rows}
