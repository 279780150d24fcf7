"""Example calls of the kernels of infinitely wide networks. The references integrate over angles,
or take arc tangents, in long double."""

import importlib.util
import math

import numpy as np

from ...nn._permutation_learning import kernels
from .. import Example

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


def float_gram(x1, x2, which):
    """NNGP (0) or NTK (1) in float64, for small cases."""
    return _reference(which + 1)(x1, x2, 1.0).astype(float)


def gradient_flow(x, X, Y, time, steps, ridge=0.0):
    """Mean and covariance at x after small steps of the linear dynamics: outputs are linear in Y
    and in the initial outputs."""
    theta, across = float_gram(X, X, 1), float_gram(x, X, 1)
    rate = time / steps
    n = len(X)
    # dual weights and residuals as maps of Y - f_0(X)
    a, residual = np.zeros((len(x), n)), np.eye(n)
    dual = np.zeros((n, n))
    for _ in range(steps):  # midpoint rule
        half = dual + rate / 2 * (np.eye(n) - (theta + ridge * np.eye(n)) @ dual)
        residual = np.eye(n) - (theta + ridge * np.eye(n)) @ half
        dual = dual + rate * residual
    a = across @ dual
    k_xx, k_xX, k_XX = float_gram(x, x, 0), float_gram(x, X, 0), float_gram(X, X, 0)
    return a @ Y, k_xx + a @ k_XX @ a.T - a @ k_xX.T - k_xX @ a.T


def descend(hidden, output, X, Y, rate, sigma_w, steps):
    """Gradient descent of one network, W1 (m, d) and W2 (q, m), on sum((f(X) - Y)**2) / 2, by its
    definition."""
    (m, d), W1, W2 = hidden.shape, hidden.copy(), output.copy()
    for _ in range(steps):
        grad_1, grad_2 = np.zeros_like(W1), np.zeros_like(W2)
        for x, y in zip(X, Y, strict=True):
            before = W1 @ x
            after = np.where(before > 0, before, 0)
            residual = W2 @ after - y
            grad_2 += np.outer(residual, after)
            grad_1 += np.outer((W2.T @ residual) * (before > 0), x)
        # weights are sigma_w / sqrt(inputs) times trained standard normal numbers
        W1 -= rate * sigma_w**2 / d * grad_1
        W2 -= rate * sigma_w**2 / m * grad_2
    return W1, W2


def outputs(hidden, output, x):
    return np.maximum(x @ hidden.T, 0) @ output.T


def permutation_moments(n, k):
    """Mean of ones and zeros, and variance, from the kernels and a linear system."""
    basis, x = np.eye(k), np.zeros((1, k))
    x[0, :n] = 1 / math.sqrt(n)
    a = np.linalg.solve(float_gram(basis, basis, 1), float_gram(basis, x, 1))[:, 0]
    variance = (
        float_gram(x, x, 0)[0, 0]
        + a @ float_gram(basis, basis, 0) @ a
        - 2 * a @ float_gram(basis, x, 0)[:, 0]
    )
    return a[0], a[-1], variance


def permutation_mean(n_ones, k):
    """One input after the other."""
    return [_each(n_ones, k, part) for part in (0, 1)]


def permutation_variance(n_ones, k):
    return _each(n_ones, k, 2)


def _each(n_ones, k, part):
    return np.array([permutation_moments(n, k)[part] for n in n_ones], float)


def ensemble_size(k, delta):
    """For all inputs and the threshold 0, from the worst of them."""
    worst = 0.0
    for n in range(2, k + 1):
        mu_one, mu_zero, variance = permutation_moments(n, k)
        worst = max(worst, variance / min(mu_one, -mu_zero if n < k else mu_one) ** 2)
    return math.ceil(2 * worst * (math.log(k / delta) + k * math.log(2)))


# --- data -----------------------------------------------------------------------------------------


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
} | {
    "permutation_mean": Example(
        lambda rng, dtype: {"n_ones": rng.integers(1, 9, 4), "k": 9},
        ("n_ones",),
        permutation_mean,
        {"float64": 1e-13},
        nan="ignore",
        dtypes=("float64",),
        also=("int64",),
        sizes=lambda rng, dtype, n: {"n_ones": rng.integers(1, 6, min(n, 31)), "k": 6},
    ),
    "permutation_variance": Example(
        lambda rng, dtype: {"n_ones": rng.integers(1, 9, 4), "k": 9},
        ("n_ones",),
        permutation_variance,
        {"float64": 1e-13},
        nan="ignore",
        dtypes=("float64",),
        also=("int64",),
        sizes=lambda rng, dtype, n: {"n_ones": rng.integers(1, 6, min(n, 31)), "k": 6},
    ),
    "ensemble_size": Example(
        lambda rng, dtype: {"k": 7, "delta": 0.05},
        (),
        ensemble_size,
        {"float64": 0},
        error="equal",
        nan="ignore",
        dtypes=("float64",),
    ),
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
    m = int(rng.integers(1, 40)) if size > 10 else kernels.UNITS + int(rng.integers(1, 300))
    parts = -(-m // kernels.UNITS)
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


KERNELS = {kernels.arc_cosine_gram.name: _gram_arguments, kernels.descend.name: _descend_arguments}
