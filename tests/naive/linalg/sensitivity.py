"""Slow versions of scores and fits: linear programs, general minimisers, leverage scores by the
pseudo-inverse."""

import numpy as np


def l1_sensitivity(a, i):
    """1 / min Σt where -t <= Ax <= t and a_iᵀx = 1, by linear programming."""
    from scipy.optimize import linprog

    n, d = a.shape
    cost = np.r_[np.zeros(d), np.ones(n)]
    rows = np.block([[a, -np.eye(n)], [-a, -np.eye(n)]])
    fit = linprog(
        cost,
        A_ub=rows,
        b_ub=np.zeros(2 * n),
        A_eq=np.r_[a[i], np.zeros(n)][None],
        b_eq=[1],
        bounds=(None, None),
        method="highs",
    )
    return 1 / fit.fun


def l1_minimum(a, b):
    """min ‖Ax - b‖_1, by linear programming."""
    from scipy.optimize import linprog

    n, d = a.shape
    rows = np.block([[a, -np.eye(n)], [-a, -np.eye(n)]])
    return linprog(
        np.r_[np.zeros(d), np.ones(n)],
        A_ub=rows,
        b_ub=np.r_[b, -b],
        bounds=(None, None),
        method="highs",
    ).fun


def share(a, i, x, p):
    """What row i has of ‖Ax‖_p^p."""
    return abs(a[i] @ x) ** p / (np.abs(a @ x) ** p).sum()


def leverage(a):
    return np.diag(a @ np.linalg.pinv(a))
