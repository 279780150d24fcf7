"""NSGA-II: parents are chosen for few operations and small errors at once."""

import math

import numpy as np


def survivors(pool, count):
    """The best `count` individuals: by non-dominated fronts of (n_ops, error), and within the last
    front by crowding distance."""
    chosen, rest = [], sorted(pool, key=lambda ind: (ind.n_ops, ind.error))
    while rest and len(chosen) < count:
        layer, others, least = [], [], math.inf
        for (
            individual
        ) in rest:  # sorted: one is dominated exactly if an earlier one has no larger error
            (layer if individual.error < least else others).append(individual)
            least = min(least, individual.error)
        room = count - len(chosen)
        chosen += layer if len(layer) <= room else least_crowded(layer, room)
        rest = others
    return chosen


def least_crowded(layer, count):
    """Of a non-dominated front sorted by n_ops, the `count` individuals whose neighbors are
    farthest; its ends first."""
    n_ops = np.array([ind.n_ops for ind in layer], np.float64)
    quality = np.array([math.log10(max(ind.error, 1e-300)) for ind in layer])
    distance = np.full(len(layer), np.inf)
    for values in (n_ops, quality):
        spread = abs(values[-1] - values[0]) or 1.0
        distance[1:-1] = (
            np.where(np.isinf(distance[1:-1]), 0, distance[1:-1])
            + np.abs(values[2:] - values[:-2]) / spread
        )
    return [layer[i] for i in np.argsort(-distance, kind="stable")[:count]]
