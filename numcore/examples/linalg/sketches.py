"""Example calls of sketches. Random results are compared through quantities that are not random (a
full sketch preserves all inner products), or with sketching matrices built entry by entry from the
same draws."""

import numpy as np

from .. import Example
from .hadamard import hadamard


def _gram(a, sketch_size, rng):
    return a.astype(np.float64).T @ a.astype(np.float64)


def _of_factors(factors, sketch_size, rng):
    """A factor of one row has a transform of one row, so that only the signs are random."""
    product = np.ones((1, 1))
    for a in factors:
        product = np.kron(product, a.astype(np.float64))
    return product.T @ product


def _product(s):
    return s.swapaxes(-1, -2) @ s


def padded_signs(rng, n):
    """The matrix E D: signs, in random places where n is not a power of two."""
    size = 1
    while size < n:
        size *= 2
    signs = 2 * rng.integers(0, 2, n) - 1
    places = sorted(rng.choice(size, n, replace=False, shuffle=False)) if n < size else range(n)
    ed = np.zeros((size, n))
    for i in range(n):
        ed[places[i], i] = signs[i]
    return ed


def srht_matrix(n, m, rng):
    rng = np.random.default_rng(rng)
    ed = padded_signs(rng, n)
    rows = rng.choice(len(ed), m, replace=False)
    return hadamard(len(ed))[rows] @ ed / np.sqrt(m)


def src_matrix(n, m, rng):
    rng = np.random.default_rng(rng)
    signs, c = 2 * rng.integers(0, 2, (2, n)) - 1
    s, j = np.zeros((m, n)), np.arange(n)
    for t, i in enumerate(rng.choice(n, m, replace=False)):
        s[t] = c[(i - j) % n] * signs / np.sqrt(m)
    return s


def tensor_srht_matrix(lengths, m, rng):
    rng, s = np.random.default_rng(rng), []
    padded = [padded_signs(rng, n) for n in lengths]
    rows = [rng.integers(0, len(ed), m) for ed in padded]
    for t in range(m):
        row = np.ones(1)
        for ed, i in zip(padded, rows, strict=True):
            row = np.kron(row, hadamard(len(ed))[i[t]] @ ed)
        s.append(row / np.sqrt(m))
    return np.array(s)


def _src(a, sketch_size, rng):
    return src_matrix(len(a), sketch_size, rng) @ a.astype(np.float64)


def _sampled_hadamard(rng, variant, size):
    dtype, h = variant["T"], 2 ** int(rng.integers(0, 4))
    length, m = 2 ** int(rng.integers(0, 9)), int(rng.integers(1, 50))
    # more groups than blocks are allowed
    panels, groups = (max(size, 1), int(rng.integers(1, h + 1))) if size < 10 else (1, size)
    w = int(rng.choice([1, 8]))
    d = max(1, panels * w - int(rng.integers(0, w)))
    n = h * length - int(rng.integers(0, length))
    slots = np.zeros(h * length, np.int64)
    slots[np.sort(rng.choice(h * length, n, replace=False))] = (
        2 * rng.integers(0, 2, n) - 1
    ) * np.arange(1, n + 1)
    return [
        rng.standard_normal((n, d)).astype(dtype),
        slots.reshape(h, length),
        rng.integers(0, h * length, m),
        panels,
        np.full((groups * panels, m, w), np.nan, dtype),
    ]


def _full(rng, dtype, n):
    n = max(n, 1)
    return {
        "a": rng.standard_normal((n, 5)).astype(dtype),
        "sketch_size": 1 << (n - 1).bit_length(),
        "rng": 1,
    }


def _circulant(rng, dtype, n):
    n = max(n, 1)
    return {"a": rng.standard_normal((n, 5)).astype(dtype), "sketch_size": (n + 1) // 2, "rng": 1}


def _photograph(dtype):
    """Patches of 8 × 8 pixels."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg").mean(axis=2)
    patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::2, ::2].reshape(-1, 64)
    return {"a": (patches / 255).astype(dtype), "sketch_size": 512, "rng": 1}


def _all_of_a_part(dtype):
    """A sketch of as many rows as there are."""
    return _photograph(dtype) | {"a": _photograph(dtype)["a"][: 1 << 13], "sketch_size": 1 << 13}


def _sparse(a, sketch_size, rng):
    from scipy.linalg import clarkson_woodruff_transform

    return clarkson_woodruff_transform(a, sketch_size, seed=rng)


SCIPY = "scipy clarkson_woodruff_transform"
BOUND = {"float32": 1e-5, "float64": 1e-13}

EXAMPLES = {
    "srht": Example(
        lambda rng, dtype: {
            "a": rng.standard_normal((64, 5)).astype(dtype),
            "sketch_size": 64,
            "rng": 1,
        },
        ("a",),
        _gram,
        BOUND,
        result=_product,
        sizes=_full,
        data="patches of a photograph",
        real=_all_of_a_part,
        peer=(SCIPY, _sparse),
    ),
    "src": Example(
        lambda rng, dtype: {
            "a": rng.standard_normal((61, 5)).astype(dtype),
            "sketch_size": 30,
            "rng": 1,
        },
        ("a",),
        _src,
        BOUND,
        sizes=_circulant,
        data="patches of a photograph",
        real=_photograph,
        peer=(SCIPY, _sparse),
    ),
    "tensor_srht": Example(
        lambda rng, dtype: {
            "factors": [
                rng.standard_normal((1, 3)).astype(dtype),
                rng.standard_normal((1, 4)).astype(dtype),
            ],
            "sketch_size": 7,
            "rng": 1,
        },
        (),
        _of_factors,
        BOUND,
        result=_product,
    ),
}

KERNELS = {"sampled_hadamard": _sampled_hadamard}
