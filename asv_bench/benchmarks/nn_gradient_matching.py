"""Gradient matching beside loops over pairs and networkx, at the sizes that supernets have."""

import itertools

import numpy as np

from numcore._measure import median_seconds
from numcore.nn import gradient_distance_matrix, min_cut_partition
from numcore.nn._gradient_matching import bisections

SECONDS = 2


def pair_loop(grads, eps=1e-6):
    """Each pair by itself, as one writes it in NumPy."""
    distances = np.zeros((len(grads), len(grads)))
    for i, j in itertools.combinations(range(len(grads)), 2):
        for a, b in zip(grads[i], grads[j], strict=True):
            a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
            cosines = (a * b).sum(axis=1) / (
                np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + eps
            )
            distances[i, j] += (1 - cosines).sum()
        distances[j, i] = distances[i, j]
    return distances


class Distances:
    """Eight operations, 60 convolutions, 5.0 million weights, float32."""

    unit = "× (NumPy's time / numcore's)"

    def setup(self):
        rng = np.random.default_rng(0)
        self.grads = [
            [rng.standard_normal((96, 96, 3, 3), dtype=np.float32) for _ in range(60)]
            for _ in range(8)
        ]

    def time_matrix(self):
        gradient_distance_matrix(self.grads)

    def peakmem_matrix(self):
        gradient_distance_matrix(self.grads)

    def track_ratio_pair_loop(self):
        ours, loop = median_seconds(
            [lambda: gradient_distance_matrix(self.grads), lambda: pair_loop(self.grads)], SECONDS
        )
        return loop / ours


class Groupings:
    """The best of all groupings of k = 16, a local optimum for k = 200."""

    param_names = ("k",)
    params = ([8, 16, 200],)

    def setup(self, k):
        d = np.random.default_rng(0).random((k, k))
        self.distances = d + d.T

    def time_partition(self, k):
        min_cut_partition(self.distances)


class SmallestCut:
    """Stoer and Wagner's algorithm on 200 vertices."""

    unit = "× (networkx's time / numcore's)"
    timeout = 600

    def setup(self):
        try:
            import networkx
        except ImportError as error:
            raise NotImplementedError("networkx is not installed") from error
        w = np.random.default_rng(0).random((200, 200))
        self.weights = w + w.T
        np.fill_diagonal(self.weights, 0)
        graph = networkx.from_numpy_array(self.weights)
        self.peer = lambda: networkx.stoer_wagner(graph)

    def track_ratio_networkx(self):
        ours, peers = median_seconds(
            [lambda: bisections.stoer_wagner(np, self.weights), self.peer], SECONDS
        )
        return peers / ours
