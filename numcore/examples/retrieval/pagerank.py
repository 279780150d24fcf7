"""Example calls of PageRank. The reference solves the dense linear system."""

import numpy as np

from ...linalg import CSR
from .. import Example


def random_graph(rng, dtype, n, per_node=4):
    """A graph with random weights, in which some nodes have no outgoing edge and some edges no
    weight."""
    count = per_node * n
    rows = rng.integers(0, max(n - n // 5, 1), count)
    weights = (rng.random(count) * (rng.random(count) < 0.8)).astype(dtype)
    return CSR.from_coo(rows, rng.integers(0, max(n, 1), count), weights, (n, n))


def _arguments(rng, dtype, n, seeds):
    return {"graph": random_graph(rng, dtype, n), "seeds": seeds(rng, n).astype(dtype)}


def _call(rng, dtype):
    return _arguments(
        rng, dtype, 300, lambda rng, n: rng.random((3, n)) * (rng.random((3, n)) < 0.1)
    ) | {"tol": 1e-14, "max_iter": 400}


def _sizes(rng, dtype, n):
    return _arguments(rng, dtype, n, lambda rng, n: rng.random(n) + 0.1) | {
        "tol": 1e-14,
        "max_iter": 400,
    }


def pagerank(a, seeds, damping=0.85, uniform=False):
    """Scores for a dense matrix of weights and one seed vector."""
    n, v, out = len(a), seeds / seeds.sum(), a.sum(axis=1)
    walk = np.empty((n, n))
    for i in range(n):
        walk[i] = a[i] / out[i] if out[i] else np.full(n, 1 / n) if uniform else v
    return np.linalg.solve(np.eye(n) - damping * walk.T, (1 - damping) * v)


def _solution(graph, seeds, tol, max_iter):
    a = graph.toarray().astype(np.float64)
    rows = np.atleast_2d(seeds).astype(np.float64) if len(a) else ()
    return np.array([pagerank(a, row) for row in rows]).reshape(seeds.shape)


def _step(rng, variant, size):
    """The last block of nodes is not full."""
    n = 256 * size - int(rng.integers(1, 256)) if size else 0
    # the simulated GPU is slow
    k, most = (int(rng.choice([1, 8])), int(rng.choice([6, 40]))) if size < 10 else (1, 2)
    counts = rng.integers(0, most, n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(variant["INDEX"])
    z = int(indptr[-1])
    probabilities = rng.random(z if rng.integers(2) else 0)
    stuck = (rng.random(n) < 0.2).astype(np.uint8)
    return [
        indptr,
        rng.integers(0, max(n, 1), z).astype(variant["INDEX"]),
        probabilities,
        rng.random(n),
        stuck,
        *rng.random((4, n, k)),
        rng.random(k),
        *np.full((2, n, k), np.nan),
        np.full((size, 2, k), np.nan),
        0.85,
    ]


EXAMPLES = {
    "personalized_pagerank": Example(
        _call,
        ("seeds",),
        _solution,
        {"float32": 1e-6, "float64": 1e-12},
        result=lambda r: r[0],
        sizes=_sizes,
        nan="raise",
    ),
}

KERNELS = {"pagerank_step": _step}
