"""Codes of sets by a loop over repetitions, cells and points, and Chamfer similarity by a loop over
queries."""

from itertools import pairwise

import numpy as np


def cell_of(bits):
    """The place of a bit pattern in Gray's order, by going through that order: each cell is its
    reflection put behind what is there."""
    order = [()]
    for _ in bits:
        order = [(0, *code) for code in order] + [(1, *code) for code in reversed(order)]
    return order.index(tuple(int(b) for b in bits))


def encode(points, hyperplanes, projections, documents, fill=True):
    """One set: (R 2^k d',) in float64."""
    blocks = []
    for r in range(len(hyperplanes)):
        bits = points @ hyperplanes[r] > 0
        shorter = points if projections is None else points @ projections[r]
        k = hyperplanes.shape[2]
        cells = {}
        for pattern in np.ndindex(*(2,) * k):
            mine = [p for p in range(len(points)) if tuple(bits[p].astype(int)) == pattern]
            if mine:
                value = sum(shorter[p] for p in mine) / (len(mine) if documents else 1)
            elif documents and fill:
                value = shorter[
                    min(range(len(points)), key=lambda p: (sum(bits[p].astype(int) != pattern), p))
                ]
            else:
                value = np.zeros(shorter.shape[1])
            cells[cell_of(pattern)] = value
        blocks += [cells[c] for c in range(2**k)]
    return np.concatenate(blocks)


def chamfer(query, document):
    return sum(max(float(np.dot(q, p)) for p in document) for q in query) if len(query) else 0.0


def sets(vectors, offsets):
    return [vectors[a:b] for a, b in pairwise(offsets)]
