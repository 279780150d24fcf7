"""Least squares in extended precision."""

import numpy as np


def exact_solution(a, b):
    """Least squares by orthogonalising column after column, twice, in extended precision."""
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    d = a.shape[1]
    q, r = a.copy(), np.zeros((d, d), np.longdouble)
    for j in range(d):
        for _ in range(2):
            inner = q[:, :j].T @ q[:, j]
            r[:j, j] += inner
            q[:, j] -= q[:, :j] @ inner
        r[j, j] = np.sqrt(q[:, j] @ q[:, j])
        q[:, j] /= r[j, j]
    x = q.T @ b
    for j in range(d)[::-1]:
        x[j] = (x[j] - r[j, j + 1 :] @ x[j + 1 :]) / r[j, j]
    return x
