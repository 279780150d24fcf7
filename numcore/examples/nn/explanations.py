"""Example calls of the explanations. The references go over all coalitions of features one by
one."""

import functools
import importlib.util
import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ...nn import Explanation
from ...nn._explanations import kernels
from .. import Example

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = "breast cancer, ten features" if HAVE_SKLEARN else "random tables of ten features"
WIDTH, RIDGE = 2.0, 0.5


def model(u):
    """A function that is not additive, of any number of features, for arrays of any device."""
    with np.errstate(all="ignore"):
        return (u * u).sum(axis=1) * (1 + u[:, 0]) + u[:, 0] * u[:, -1]


# --- references -----------------------------------------------------------------------------------


def _coalitions(d):
    """All (2^d, d) masks, True where a feature is present."""
    return np.array(list(itertools.product((False, True), repeat=d)))


def _values(f, x, baseline):
    """f of all coalitions (n, 2^d) and the coalitions."""
    present = _coalitions(x.shape[1])
    pairs = zip(x.astype(float), np.broadcast_to(baseline, x.shape).astype(float), strict=True)
    values = [f(np.where(present, row, base)) for row, base in pairs]
    return np.array(values).reshape(len(x), len(present)), present


def shapley(f, x, baseline, method="kernel_shap"):
    """Shapley values by their formula, and the weighted residual of the linear model that they
    make."""
    (values, present), d = _values(f, x, baseline), x.shape[1]
    size, place = present.sum(axis=1), 2 ** np.arange(d)[::-1]
    w = np.zeros(x.shape)
    for i in range(d):
        without = np.flatnonzero(~present[:, i])
        weight = [
            math.factorial(s) * math.factorial(d - s - 1) / math.factorial(d) for s in size[without]
        ]
        w[:, i] = (values[:, without + place[i]] - values[:, without]) @ np.array(weight)
    inner = (size > 0) & (size < d)
    weight = np.array([1 / (math.comb(d, s) * s * (d - s)) for s in size[inner]])
    residual = values[:, inner] - values[:, :1] - w @ present[inner].T
    return Explanation(
        w,
        values[:, 0],
        residual**2 @ weight / (weight.sum() or 1),
        np.zeros(x.shape),
        len(x) * 2**d,
        "multiplier",
    )


def least_squares(coordinates, y, weight=None, intercept=True, ridge=0.0):
    """w, b, the weighted mean squared residual, and the sandwich estimate of the standard error of
    w."""
    m, d = coordinates.shape
    weight = np.ones(m) if weight is None else weight
    design = np.column_stack([coordinates, np.ones(m)]) if intercept else coordinates
    penalty = np.zeros((design.shape[1],) * 2)
    penalty[np.arange(d), np.arange(d)] = ridge
    bread = np.linalg.inv(design.T @ np.diag(weight) @ design + penalty)
    theta = bread @ (design.T @ (weight * y))
    r = y - design @ theta
    covariance = bread @ (design.T @ np.diag((weight * r) ** 2) @ design) @ bread
    return (
        theta[:d],
        theta[d] if intercept else 0.0,
        np.average(r**2, weights=weight),
        np.sqrt(np.diag(covariance)[:d]),
    )


def kernel_shap(present, y, at_baseline, at_x, weight):
    """Weighted least squares with both constraints, the last attribution being eliminated."""
    z = present.astype(float)
    gain = at_x - at_baseline
    reduced = z[:, :-1] - z[:, -1:]
    target = y - at_baseline - z[:, -1] * gain
    root = np.sqrt(weight)[:, None]
    first = np.linalg.lstsq(reduced * root, target * root[:, 0])[0]
    return np.append(first, gain - first.sum())


def ridge_regression(f, x, baseline, neighborhood, kernel, ridge, n_samples):
    """Weighted least squares over all coalitions."""
    (values, present), d = _values(f, x, baseline), x.shape[1]
    w, b, loss = np.zeros(x.shape), np.zeros(len(x)), np.zeros(len(x))
    pairs = zip(x.astype(float), np.broadcast_to(baseline, x.shape).astype(float), strict=True)
    for i, (row, base) in enumerate(pairs):
        weight = np.exp(-(~present @ (row - base) ** 2) / kernel**2)
        design = present.astype(float)
        w[i], b[i], loss[i], _ = least_squares(design, values[i], weight, True, ridge)
    return Explanation(w, b, loss, np.zeros(x.shape), len(x) * 2**d, "multiplier")


def _scores(f, x, baseline, explanations, neighborhood, n_samples):
    values, present = _values(f, x, baseline)
    scores = []
    for e in explanations:
        w, b = e.attributions.astype(float), e.intercept.astype(float)
        if e.coordinates == "offset":
            w, b = w * (x - baseline), b + (w * (baseline - x)).sum(axis=1)
        scores.append(((values - w @ present.T - b[:, None]) ** 2).mean(axis=1))
    return np.array(scores)


def _weights_of_sizes(n_features):
    d = n_features
    inner = [float(Fraction(d - 1, math.comb(d, s) * s * (d - s))) for s in range(1, d)]
    return np.array([np.inf, *inner, np.inf])


# --- data -----------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Two explanations: a sequence whose arrays the tests can move to a device."""

    slopes: Explanation
    contributions: Explanation


@functools.cache
def _table():
    """(100, 10), standardized."""
    if HAVE_SKLEARN:
        from sklearn.datasets import load_breast_cancer

        table = load_breast_cancer().data[:, :10]
    else:
        table = np.random.default_rng(0).gamma(2, size=(569, 10))
    return ((table - table.mean(axis=0)) / table.std(axis=0))[:100]


def _rows(rng, dtype, n=7, d=4):
    return {
        "f": model,
        "x": rng.standard_normal((n, d)).astype(dtype),
        "baseline": rng.standard_normal(d).astype(dtype),
    }


def _real(dtype):
    x = _table().astype(dtype)
    return {"f": model, "x": x, "baseline": np.zeros(x.shape[1], dtype)}


def _explained(call):
    return call | {"method": "kernel_shap"}


def _approximated(call):
    return call | {
        "neighborhood": "binary",
        "kernel": WIDTH,
        "ridge": RIDGE,
        "n_samples": 2 ** call["x"].shape[1],
    }


def _scored(call):
    x, rng = call["x"], np.random.default_rng(1)

    def parts():
        return [
            rng.standard_normal(shape).astype(x.dtype)
            for shape in (x.shape, len(x), len(x), x.shape)
        ]

    pair = Pair(Explanation(*parts(), 0, "offset"), Explanation(*parts(), 0, "multiplier"))
    return call | {"explanations": pair, "neighborhood": "binary", "n_samples": 2 ** x.shape[1]}


def _shap(f, x, baseline, method):
    import shap

    return shap.KernelExplainer(f, baseline[None]).shap_values(
        x, nsamples=2 ** x.shape[1], l1_reg=False, silent=True
    )


def _lime(f, x, baseline, neighborhood, kernel, ridge, n_samples):
    from lime.lime_tabular import LimeTabularExplainer

    explainer = LimeTabularExplainer(
        _table(), mode="regression", discretize_continuous=False, kernel_width=kernel
    )
    return [
        explainer.explain_instance(row, f, num_features=x.shape[1], num_samples=n_samples)
        for row in x
    ]


def _example(call, reference, peer=None):
    return Example(
        lambda rng, dtype: call(_rows(rng, dtype)),
        ("x", "baseline"),
        reference,
        {"float32": 1e-4, "float64": 1e-11},
        data=DATA,
        real=lambda dtype: call(_real(dtype)),
        nan="raise",
        sizes=lambda rng, dtype, n: call(_rows(rng, dtype, n)),
        peer=peer,
    )


EXAMPLES = {
    "explain": _example(_explained, shapley, ("shap.KernelExplainer", _shap)),
    "local_approximation": _example(
        _approximated, ridge_regression, ("lime.LimeTabularExplainer", _lime)
    ),
    "faithfulness": _example(_scored, _scores),
    "shapley_kernel_weights": Example(
        lambda rng, dtype: {"n_features": 9},
        (),
        _weights_of_sizes,
        {"float64": 1e-14},
        dtypes=("float64",),
    ),
}


# --- kernels --------------------------------------------------------------------------------------


def _shape(rng, size):
    """(rows of x, samples of each, features); size samples in all."""
    samples = next((k for k in (7, 5, 3, 2) if size % k == 0), 1)
    return size // samples, samples, int(rng.choice([1, 5, 30, 64, 70, 130]))


def _bits(rng, count, d):
    bits = rng.integers(0, 2**64, (count, -(-d // 64)), np.uint64)
    bits[:, -1] >>= np.uint64(-d % 64)
    return bits


def _draw_arguments(rng, variant, size):
    n, samples, d = _shape(rng, size)
    count = max(samples, 1)
    width = np.where(rng.random(count) < 0.3, 0.0, 1 / count)
    return [
        rng.integers(0, d + 1, count),
        np.arange(count) / count,
        width,
        np.full((size, -(-d // 64)), 7, np.uint64),
        d,
        3,
        11,
        12,
    ]


def _points_arguments(rng, variant, size):
    n, samples, d = _shape(rng, size)
    x, baseline = rng.standard_normal((2, n, d)).astype(variant["T"])
    return [
        _bits(rng, size, d),
        x,
        baseline,
        np.full((size, d), 7, variant["T"]),
        samples,
        (0, 2**64 - 1)[rng.integers(2)],
    ]


def _sums_arguments(rng, variant, size):
    n, samples, d = _shape(rng, size)
    return [_bits(rng, size, d), rng.standard_normal((n, d)), np.full(size, 7.0), samples]


def _gaussian_arguments(rng, variant, size):
    n, samples, d = _shape(rng, size)
    x = rng.standard_normal((n, d)).astype(variant["T"])
    return [
        x,
        np.full((size, d), 7, variant["T"]),
        np.full((size, d), 7.0),
        0.3,
        samples,
        5,
        11,
        12,
    ]


KERNELS = {
    kernels.draw_coalitions.name: _draw_arguments,
    kernels.mask_points.name: _points_arguments,
    kernels.mask_sums.name: _sums_arguments,
    kernels.gaussian_points.name: _gaussian_arguments,
}
