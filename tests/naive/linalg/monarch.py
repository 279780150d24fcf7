"""Monarch products entry by entry, as their definition reads."""

import numpy as np


def product(x, right, left):
    (k, q, p), (count, s, r) = right.shape, left.shape
    o, y = np.zeros(k * q, x.dtype), np.zeros(count * s, x.dtype)
    for kappa in range(k):
        for i in range(q):
            for j in range(p):
                o[kappa * q + i] += right[kappa, i, j] * x[kappa * p + j]
    for lam in range(count):
        for sigma in range(s):
            for rho in range(r):
                y[sigma * count + lam] += left[lam, sigma, rho] * o[rho * count + lam]
    return y


def dense(right, left):
    n = right.shape[0] * right.shape[2]
    return np.stack([product(e, right, left) for e in np.eye(n, dtype=right.dtype)], axis=1)
