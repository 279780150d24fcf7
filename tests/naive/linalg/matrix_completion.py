"""Alternating minimisation as it is defined: dense matrices, one column after the other, normal
equations by their pseudo-inverse."""

import numpy as np


def half_step(known, mask, factor, ridge=0.0):
    """Row i minimises Σ_j mask_ij (known_ij - x · factor_j)² + ridge |Ω_i| / n |x|²."""
    n, k = factor.shape
    x = np.zeros((len(known), k))
    for i in range(len(known)):
        gram, right = np.zeros((k, k)), np.zeros(k)
        for j in range(n):
            if mask[i, j]:
                gram += np.outer(factor[j], factor[j])
                right += known[i, j] * factor[j]
        gram += ridge * mask[i].sum() / n * np.eye(k)
        x[i] = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ right
    return x


def complete(known, mask, rank, rounds):
    """The models after each round, from the leading singular vectors of the matrix with zeros."""
    u, models = np.linalg.svd(np.where(mask, known, 0))[0][:, :rank], []
    for _ in range(rounds):
        v = np.linalg.qr(half_step(known.T, mask.T, u))[0]
        x = half_step(known, mask, v)
        u = np.linalg.qr(x)[0]
        models.append(x @ v.T)
    return models
