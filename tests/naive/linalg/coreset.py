"""Slow versions of coresets, one point at a time."""

import numpy as np


def eliminate_one_by_one(p, u):
    """Carathéodory's theorem as its proof goes: while there are more than t + 1 points, a null
    vector takes one away."""
    rows, u = np.flatnonzero(u), np.array(u, float)
    while True:
        a = np.column_stack([np.ones(len(rows)), p[rows]]).T
        if len(rows) <= len(a):
            return rows, u[rows]
        v = np.linalg.svd(a)[2][-1]
        up = v > 1e-12
        alpha = (u[rows][up] / v[up]).min()
        gone = rows[up][(u[rows][up] / v[up]).argmin()]
        u[rows] -= alpha * v
        u[gone] = 0
        rows = np.array([i for i in rows if u[i] > 0])


def draws(mass, thresholds):
    """The first point of each threshold at which the sum of the masses is above it."""
    found = []
    for threshold in thresholds:
        total = 0.0
        for i, m in enumerate(mass):
            total += m
            if threshold < total:
                found.append(i)
                break
    return found
