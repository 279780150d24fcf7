"""Slow versions of the shared kernels of numcore.linalg, element by element."""

import numpy as np


def hadamard(n):
    """H_2N = [[H, H], [H, -H]]."""
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h


def sign_changes(row):
    return int((row[1:] != row[:-1]).sum())


def sweep(a, b, x, omega, rows):
    x = x.astype(float).copy()
    for i in rows:
        total = 0.0
        for j in range(len(a)):
            total += a[i, j] * x[j]
        x[i] += omega * (b[i] - total) / a[i, i]
    return x
