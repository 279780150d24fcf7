"""Wide ReLU networks in plain NumPy: kernels by numerical integration, regression by small steps,
training with explicit gradients."""

import math

import numpy as np


def kernels(u, v):
    """NNGP and NTK of two vectors in float64: E relu(a) relu(b) and E 1[a > 0] 1[b > 0] for the
    angle of u and v, by integration.

    In the plane of u and v a normal vector has the direction φ, uniform, and a squared length of
    mean 2.
    """
    lengths = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(x * x for x in v))
    cosine = max(-1.0, min(1.0, sum(x * y for x, y in zip(u, v, strict=True)) / lengths))
    angle = math.acos(cosine)
    low, high = angle - math.pi / 2, math.pi / 2  # both are positive between
    nodes, weights = np.polynomial.legendre.leggauss(60)
    phi = (low + high) / 2 + (high - low) / 2 * nodes
    both = (
        float(np.sum(weights * np.cos(phi) * np.cos(phi - angle)))
        * (high - low)
        / 2
        * 2
        / (2 * math.pi)
    )
    positive = (high - low) / (2 * math.pi)
    nngp = lengths * both / len(u)
    return nngp, nngp + lengths * cosine * positive / len(u)


def gram(x1, x2, which):
    return np.array([[kernels(u, v)[which] for v in x2] for u in x1])


def gradient_flow(x, X, Y, time, steps, ridge=0.0):
    """Mean and covariance at x after small steps of the linear dynamics: outputs are linear in Y
    and in the initial outputs."""
    theta, across = gram(X, X, 1), gram(x, X, 1)
    rate = time / steps
    n = len(X)
    a, residual = (
        np.zeros((len(x), n)),
        np.eye(n),
    )  # dual weights and residuals as maps of Y - f_0(X)
    dual = np.zeros((n, n))
    for _ in range(steps):  # midpoint rule
        half = dual + rate / 2 * (np.eye(n) - (theta + ridge * np.eye(n)) @ dual)
        residual = np.eye(n) - (theta + ridge * np.eye(n)) @ half
        dual = dual + rate * residual
    a = across @ dual
    k_xx, k_xX, k_XX = gram(x, x, 0), gram(x, X, 0), gram(X, X, 0)
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
        W1 -= (
            rate * sigma_w**2 / d * grad_1
        )  # weights are sigma_w / sqrt(inputs) times trained standard normal numbers
        W2 -= rate * sigma_w**2 / m * grad_2
    return W1, W2


def outputs(hidden, output, x):
    return np.maximum(x @ hidden.T, 0) @ output.T


def permutation_moments(n, k):
    """Mean of ones and zeros, and variance, from the kernels and a linear system."""
    basis, x = np.eye(k), np.zeros((1, k))
    x[0, :n] = 1 / math.sqrt(n)
    a = np.linalg.solve(gram(basis, basis, 1), gram(basis, x, 1))[:, 0]
    variance = gram(x, x, 0)[0, 0] + a @ gram(basis, basis, 0) @ a - 2 * a @ gram(basis, x, 0)[:, 0]
    return a[0], a[-1], variance
