"""Example calls of the kernels of infinitely wide networks. The references integrate over angles,
or take arc tangents, in long double."""

import importlib.util

import numpy as np

from ...nn import _permutation_learning as method
from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None


def _angles(x1, x2):
    """Products of lengths, and angles from their tangent's half: exact for all angles (W.
    Kahan)."""
    u, v = x1.astype(np.longdouble)[:, None], x2.astype(np.longdouble)[None]
    a, b = (np.sqrt((x * x).sum(axis=-1)) for x in (u, v))
    with np.errstate(all="ignore"):
        apart = u / a[..., None] - v / b[..., None]
        together = u / a[..., None] + v / b[..., None]
    return a * b, 2 * np.arctan2(
        np.sqrt((apart**2).sum(axis=-1)), np.sqrt((together**2).sum(axis=-1))
    )


def _reference(weight):
    """E relu(u w) relu(v w), and weight - 1 times the product of u v and how often both are
    positive."""

    def reference(x1, x2, sigma_w):
        lengths, angle = _angles(x1, x2)
        apart = np.pi - angle
        covariance = lengths * (np.sin(angle) + apart * np.cos(angle)) / (2 * np.pi)
        both_positive = lengths * np.cos(angle) * apart / (2 * np.pi)
        return sigma_w**4 * (covariance + (weight - 1) * both_positive) / x1.shape[1]

    return reference


def _call(rng, dtype, n=40):
    """Some rows of almost the same and of almost the opposite direction."""
    x1, x2 = rng.standard_normal((n, 17)), rng.standard_normal((n + 3, 17))
    x2[: n // 2] = (
        x1[: n // 2] * (1 + rng.standard_normal((n // 2, 1)) * 1e-3)
        + rng.standard_normal((n // 2, 17)) * 1e-3
    )
    x2[: n // 4] *= -1
    return {"x1": x1.astype(dtype), "x2": x2.astype(dtype), "sigma_w": 1.5}


def _real(dtype):
    if not HAVE_SKLEARN:
        return _call(np.random.default_rng(0), dtype, 1000)
    from sklearn.datasets import load_digits

    x = np.ascontiguousarray(load_digits().data / 16, dtype)
    return {"x1": x[:1000], "x2": x[1000:], "sigma_w": 1.0}


def _sample(result, x1, x2, sigma_w):
    return result[::20, ::20], {"x1": x1[::20], "x2": x2[::20], "sigma_w": sigma_w}


def _numpy(weight):
    def expression(x1, x2, sigma_w):
        lengths = np.linalg.norm(x1, axis=1)[:, None] * np.linalg.norm(x2, axis=1)
        c = np.clip(x1 @ x2.T / lengths, -1, 1)
        apart = np.pi - np.arccos(c)
        return (
            sigma_w**4
            * lengths
            * (np.sqrt(1 - c * c) + weight * c * apart)
            / (2 * np.pi * x1.shape[1])
        )

    return expression


BOUND = {"float32": 2e-6, "float64": 1e-14}

EXAMPLES = {
    name: Example(
        _call,
        ("x1", "x2"),
        _reference(weight),
        BOUND,
        data="digits images" if HAVE_SKLEARN else "random",
        real=_real,
        sample=_sample,
        peer=("NumPy expression with arccos", _numpy(weight)),
        nan="raise",
        sizes=_call,
    )
    for name, weight in (("ntk", 2), ("nngp", 1))
}


# --- arguments of kernels -------------------------------------------------------------------------


def _gram_arguments(rng, variant, size):
    call = (
        _call(rng, variant["T"], size)
        if size
        else {"x1": np.empty((0, 5), variant["T"]), "x2": np.ones((7, 5), variant["T"])}
    )
    u, v = (x / np.linalg.norm(x, axis=1)[:, None] for x in (call["x1"], call["x2"]))
    left, right = (rng.random(len(x)).astype(variant["T"]) for x in (u, v))
    return [u, v, left, right, 2.0, 0.3, np.ascontiguousarray(u @ v.T)]


def _descend_arguments(rng, variant, size):
    """`size` networks of at most two parts; the basis as training inputs where size is even."""
    dtype, n, q = variant["T"], 5, 3
    h, d = (0, n) if size % 2 == 0 else (n, 4)
    m = int(rng.integers(1, 40)) if size > 10 else method.UNITS + int(rng.integers(1, 300))
    parts = -(-m // method.UNITS)
    x, residual, w1, w2 = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((h, d), (size, n, q), (size, d, m), (size, q, m))
    )
    z = np.ascontiguousarray(x @ w1)
    return [
        x,
        residual,
        w1,
        w2,
        np.full_like(w2, np.nan),
        z,
        np.full((size * parts, n, q), np.nan, dtype),
        0.03,
        0.01,
    ]


KERNELS = {method.arc_cosine_gram.name: _gram_arguments, method.descend.name: _descend_arguments}
