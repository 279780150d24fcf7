"""PageRank as the solution of its linear system."""

import numpy as np


def pagerank(a, seeds, damping=0.85, uniform=False):
    """Scores for a dense matrix of weights and one seed vector."""
    n, v, out = len(a), seeds / seeds.sum(), a.sum(axis=1)
    walk = np.empty((n, n))
    for i in range(n):
        walk[i] = a[i] / out[i] if out[i] else np.full(n, 1 / n) if uniform else v
    return np.linalg.solve(np.eye(n) - damping * walk.T, (1 - damping) * v)
