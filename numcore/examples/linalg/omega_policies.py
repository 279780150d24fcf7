"""Example calls of solving a sequence with one omega: the last solution, against a dense solve in
extended precision; and the formulas of the policies for a complete history at once."""

import numpy as np

from .. import Example
from .relaxation import SOLUTION, positive_definite, pyamg, solution
from .sparse import five_points


def _sequence(rng, dtype, n=23):
    a = positive_definite(rng, dtype, n)
    return {
        "systems": [[a, b] for b in rng.standard_normal((3, n)).astype(dtype)],
        "policy": 1.1,
        "tol": 1e-6 if dtype == np.float32 else 1e-14,
    }


def _last(systems, policy, tol):
    return solution(*systems[-1]) if len(systems[-1][1]) else systems[-1][1]


def tsallis(kappa, t):
    """The probabilities by bisection in extended precision."""
    kappa, eta = np.asarray(kappa, np.longdouble), 2 / np.sqrt(np.longdouble(t))
    low, high = kappa.min() - 2 * np.sqrt(np.longdouble(len(kappa))) / eta, kappa.min() - 2 / eta
    for _ in range(200):
        x = (low + high) / 2
        if (4 / (eta * (kappa - x)) ** 2).sum() > 1:
            high = x
        else:
            low = x
    return (4 / (eta * (kappa - x)) ** 2).astype(float)


def chebyshev_rounds(contexts, arms, costs, n_arms, degree, interval):
    """Predictions of ChebCB after these rounds, computed from all of them at once, with SciPy's
    bounded least squares where bounds are violated."""
    from scipy.optimize import lsq_linear

    low, high = interval
    features = np.stack(
        [np.cos(j * np.arccos(2 * (contexts - low) / (high - low) - 1)) for j in range(degree)],
        axis=1,
    )
    spread = costs.max() - costs.min()
    box = np.array([costs.max(), *(2 * spread / j for j in range(1, degree))])
    theta = np.zeros((n_arms, degree))
    for k in range(n_arms):
        f, y = features[arms == k], costs[arms == k] - 1
        if len(f):
            theta[k] = np.linalg.lstsq(f, y, rcond=1e-7)[0]
            if (np.abs(theta[k]) > box).any():
                theta[k] = lsq_linear(f, y, (-box, box), tol=1e-14).x
    return theta


def _shifted(dtype):
    """Rows of digits as right-hand sides, on a grid of 10 × 10 points whose diagonal varies."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data.ravel()[:20_000].reshape(200, 100).astype(dtype)
    a = five_points(10, dtype)
    shifts = 0.2 * (1 + np.sin(np.arange(200.0)))
    return {
        "systems": [[_with_shift(a, shift), b] for shift, b in zip(shifts, pixels, strict=True)],
        "policy": 1.5,
        "tol": 1e-6 if dtype == "float32" else 1e-13,
    }


def _with_shift(a, shift):
    data = a.data.copy()
    data[a.diagonal_at] += shift
    return a.with_data(data)


def _pyamg(systems, policy, tol):
    return [pyamg(a, b, policy, tol) for a, b in systems]


EXAMPLES = {
    "solve_sequence": Example(
        _sequence,
        (),
        _last,
        SOLUTION,
        sizes=_sequence,
        result=lambda found: found.solutions[-1],
        data="200 rows of pixels of the digits images on a grid of 10 × 10 points",
        real=_shifted,
        peer=("pyamg sweeps and residual norms", _pyamg),
    ),
}


def _tsallis_rows(rng, variant, size):
    return [
        rng.exponential(300, (size, 20)),
        np.full((size, 20), np.nan),
        np.full(size, -1),
        40.0,
        5.0,
        rng.random(),
    ]


def _bounded_least_squares(rng, variant, size):
    """Fits of four polynomials to nine points, some of them limited by their bounds."""
    features = np.cos(np.arccos(rng.uniform(-1, 1, (size, 9, 1))) * np.arange(4))
    y = 10 * rng.standard_normal((size, 9)) + 20
    return [
        features.swapaxes(1, 2) @ features,
        (y[:, None] @ features)[:, 0],
        (y * y).sum(axis=1),
        rng.uniform(5, 25, 4),
        np.zeros((size, 4)),
        np.zeros(size),
        np.zeros((size, 6, 4)),
    ]


KERNELS = {"tsallis_rows": _tsallis_rows, "bounded_least_squares": _bounded_least_squares}
