"""Example calls of sketched least squares. The reference repeats the draws of the sketch, and
transforms a level at a time."""

import numpy as np

from .. import Example
from .hadamard import butterflies


def _sketched(a, b, sketch_size, rng):
    rng, (n, d), m = np.random.default_rng(rng), a.shape, sketch_size
    size = 1 << (n - 1).bit_length()
    signs = 2.0 * rng.integers(0, 2, n) - 1
    places = np.sort(rng.choice(size, n, replace=False, shuffle=False))
    rows = rng.choice(size, m, replace=False)
    padded = np.zeros((d + (1 if b.ndim == 1 else b.shape[1]), size))
    padded[:, places] = signs * np.column_stack([a, b]).T
    sketch = butterflies(padded)[:, rows].T
    sa, sb = sketch[:, :d], sketch[:, d:].reshape(m, *b.shape[1:])
    x = np.linalg.pinv(sa) @ sb
    noise = np.sqrt(((sa @ x - sb) ** 2).sum(axis=0) / m / (1 - d / m * (1 - m / size)))
    spread = np.sqrt(np.diagonal(np.linalg.inv(sa.T @ sa)) * m * (1 - m / size) / (m - d))
    return x, np.multiply.outer(spread, noise), noise


def _call(rng, dtype, n=50, d=5, c=2):
    return {
        "a": rng.standard_normal((n, d)).astype(dtype),
        "b": rng.standard_normal((n, c)).astype(dtype),
    }


def _photograph(dtype):
    """Patches of 8 × 8 pixels of a photograph; the last pixel is predicted from the others."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg").mean(axis=2)
    patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::2, ::2].reshape(-1, 64)
    return {
        "a": (patches[:, :63] / 255).astype(dtype),
        "b": (patches[:, 63] / 255).astype(dtype),
        "rng": 1,
    }


def _exact(a, b, rng):
    return np.linalg.lstsq(a.astype(np.float64), b.astype(np.float64))[0]


def _lstsq(a, b, **options):
    return np.linalg.lstsq(a, b)[0]


BOUND = {"float32": 2e-5, "float64": 1e-13}

EXAMPLES = {
    "sketched_lstsq": Example(
        lambda rng, dtype: _call(rng, dtype) | {"sketch_size": 20, "rng": 1},
        ("a", "b"),
        _sketched,
        BOUND,
        nan="raise",
        result=lambda r: (r.x, r.stderr, r.residual_norm),
        data="patches of a photograph",
        real=lambda dtype: _photograph(dtype) | {"sketch_size": 2000},
        peer=("numpy.linalg.lstsq", _lstsq),
    ),
    "preconditioned_lstsq": Example(
        lambda rng, dtype: _call(rng, dtype) | {"rng": 1},
        ("a", "b"),
        _exact,
        {"float32": 1e-5, "float64": 1e-12},
        nan="raise",
        result=lambda r: r.x,
        sizes=lambda rng, dtype, n: _call(rng, dtype, max(n, 1), min(max(n, 1), 5)) | {"rng": 1},
        data="patches of a photograph",
        real=_photograph,
        peer=("numpy.linalg.lstsq", _lstsq),
    ),
}
