"""Example calls of clarification questions."""

import numpy as np

from .. import Example


def _texts(rng, dtype, n=40):
    lengths = rng.integers(0, 8, n)
    return {
        "token_ids": rng.integers(0, 1000, int(lengths.sum())),
        "lengths": lengths,
        "n_buckets": 1009,
        "seed": 7,
    }


def _hashed(token_ids, lengths, n_buckets, seed):
    """One text and one sequence of words after the other, with Python's own integers."""

    def mixed(h):
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        return h ^ (h >> 16)

    words, indices, offsets = [int(word) for word in token_ids], [], [0]
    for length in lengths:
        text, words = words[: int(length)], words[int(length) :]
        for size in (1, 2):
            for first in range(len(text) - size + 1):
                h = seed
                for word in text[first : first + size]:
                    h = mixed(h ^ (word + 1) * 0x9E3779B9 % 2**32)
                indices.append(h % n_buckets)
        offsets.append(len(indices))
    return np.array(indices, np.int64), np.array(offsets)


EXAMPLES = {
    "hash_features": Example(
        _texts,
        ("token_ids", "lengths"),
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
