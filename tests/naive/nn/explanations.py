"""Explanations in slow, obviously right versions: one row at a time, all orders of features, whole
designs."""

import itertools
import math

import numpy as np


def shapley_by_orders(f, x, baseline):
    """The mean, over all orders of the features, of what f gains when a feature comes in."""
    d, total = len(x), np.zeros(len(x))
    for order in itertools.permutations(range(d)):
        u, before = baseline.copy(), f(baseline[None])[0]
        for i in order:
            u[i] = x[i]
            after = f(u[None])[0]
            total[i] += after - before
            before = after
    return total / math.factorial(d)


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
