"""Relaxation with dense matrices, as the formulas read."""

import numpy as np


def sor(a, b, x, omega, tol, max_iter, order=None):
    """x, number of sweeps, residual norms: (D / ω + L) δ = b - A x, row by row."""
    order = range(len(b)) if order is None else order
    x, norms = x.astype(float), [np.linalg.norm(b - a @ x)]
    while norms[-1] >= tol * norms[0] and len(norms) <= max_iter:
        for i in order:
            x[i] += omega * (b[i] - a[i] @ x) / a[i, i]
        norms.append(np.linalg.norm(b - a @ x))
    return x, len(norms) - 1, np.array(norms)


def ssor_inverse(a, omega):
    """ω (2 - ω) (D + ω U)⁻¹ D (D + ω L)⁻¹."""
    d = np.diag(np.diag(a))
    lower, upper = d + omega * np.tril(a, -1), d + omega * np.triu(a, 1)
    return omega * (2 - omega) * np.linalg.inv(upper) @ d @ np.linalg.inv(lower)


def cg(a, b, x, inverse, tol, max_iter):
    """Preconditioned conjugate gradients of the textbook."""
    r = b - a @ x
    z = inverse @ r
    p, rho, norms = z.copy(), r @ z, [np.linalg.norm(r)]
    while norms[-1] > tol * np.linalg.norm(b) and len(norms) <= max_iter:
        q = a @ p
        alpha = rho / (p @ q)
        x, r = x + alpha * p, r - alpha * q
        z = inverse @ r
        rho, before = r @ z, rho
        p = z + rho / before * p
        norms.append(np.linalg.norm(r))
    return x, len(norms) - 1, np.array(norms)


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


def chebyshev_rounds(contexts, arms, costs, num_arms, degree, interval):
    """What ChebCB predicts after these rounds, from all of them at once, with SciPy's bounded least
    squares where bounds are broken."""
    from scipy.optimize import lsq_linear

    low, high = interval
    features = np.stack(
        [np.cos(j * np.arccos(2 * (contexts - low) / (high - low) - 1)) for j in range(degree)],
        axis=1,
    )
    spread = costs.max() - costs.min()
    box = np.array([costs.max(), *(2 * spread / j for j in range(1, degree))])
    theta = np.zeros((num_arms, degree))
    for k in range(num_arms):
        f, y = features[arms == k], costs[arms == k] - 1
        if len(f):
            theta[k] = np.linalg.lstsq(f, y, rcond=1e-7)[0]
            if (np.abs(theta[k]) > box).any():
                theta[k] = lsq_linear(f, y, (-box, box), tol=1e-14).x
    return theta
