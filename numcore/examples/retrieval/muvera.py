"""Example calls with sets of vectors. The references go through the pairs of sets one by one, in
extended precision, and through repetitions, cells and points."""

from itertools import pairwise

import numpy as np

from ...retrieval import FixedDimensionalEncoder
from .. import Example


def offsets_of(rng, sets, least, most):
    """Offsets of sets of `least` to `most` vectors."""
    return np.concatenate([[0], np.cumsum(rng.integers(least, most + 1, sets))]).astype(np.int64)


def _sets(rng, dtype, queries, documents, width, least=0):
    query_offsets = offsets_of(rng, queries, least, 7)
    document_offsets = offsets_of(rng, documents, 1, 9)
    return {
        "query_vectors": rng.standard_normal((query_offsets[-1], width)).astype(dtype),
        "document_vectors": rng.standard_normal((document_offsets[-1], width)).astype(dtype),
        "document_offsets": document_offsets,
        "query_offsets": query_offsets,
    }


def chamfer(query_vectors, document_vectors, document_offsets, query_offsets=None):
    """Loops over pairs of sets."""
    queries, documents = query_vectors.astype(np.longdouble), document_vectors.astype(np.longdouble)
    whole = [0, len(queries)] if query_offsets is None else query_offsets
    scores = np.zeros((len(whole) - 1, len(document_offsets) - 1), np.longdouble)
    for i, (start, stop) in enumerate(pairwise(whole)):
        for j, (first, last) in enumerate(pairwise(document_offsets)):
            scores[i, j] = sum(
                max((q * p).sum() for p in documents[first:last]) for q in queries[start:stop]
            )
    return scores[0] if query_offsets is None else scores


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


def sets(vectors, offsets):
    return [vectors[a:b] for a, b in pairwise(offsets)]


def digits(dtype, queries=16):
    """Each image as the set of its rows; the first images ask."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    rows = (
        (images / np.maximum(np.linalg.norm(images, axis=2, keepdims=True), 1))
        .reshape(-1, 8)
        .astype(dtype)
    )
    return {
        "query_vectors": rows[: 8 * queries],
        "document_vectors": rows,
        "document_offsets": np.arange(0, len(rows) + 1, 8),
        "query_offsets": np.arange(0, 8 * queries + 1, 8),
    }


def einsum(query_vectors, document_vectors, document_offsets, query_offsets):
    """What one writes for sets of one size."""
    queries = query_vectors.reshape(len(query_offsets) - 1, -1, query_vectors.shape[1])
    documents = document_vectors.reshape(len(document_offsets) - 1, -1, queries.shape[2])
    return np.array(
        [
            np.einsum("id,njd->nij", query, documents, optimize=True).max(axis=2).sum(axis=1)
            for query in queries
        ]
    )


def _one_query(rng, dtype, n):
    sets = _sets(rng, dtype, 1, n, 5)
    del sets["query_offsets"]
    return sets


def _first_query(result, query_vectors, document_vectors, document_offsets, query_offsets):
    return result[:1, :50], {
        "query_vectors": query_vectors[:8],
        "document_vectors": document_vectors[:400],
        "document_offsets": document_offsets[:51],
        "query_offsets": query_offsets[:2],
    }


def _search(query_vectors, query_offsets, document_vectors, document_offsets, k, encoder=None):
    """All pairs: where a result is compared, all documents are candidates."""
    scores = chamfer(query_vectors, document_vectors, document_offsets, query_offsets)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def _search_arguments(rng, dtype, n=4):
    # at most 10 documents are wanted, so that all are candidates: the result is the exact one
    sets = _sets(rng, dtype, n, 10, 6, least=1)
    return sets | {"k": 3}


def _search_digits(dtype):
    return digits(dtype, queries=64) | {
        "k": 10,
        "encoder": FixedDimensionalEncoder(8, n_repetitions=10, n_bits=2, rng=0),
    }


def _found_for_first(
    result, query_vectors, document_vectors, document_offsets, query_offsets, k, encoder
):
    """The documents found for the first query alone: in their order, with their exact scores."""
    scores, indices = result[0][:1], result[1][:1]
    found = np.sort(indices[0])
    rows = np.concatenate(
        [document_vectors[document_offsets[i] : document_offsets[i + 1]] for i in found]
    )
    return [scores, np.searchsorted(found, indices)], {
        "query_vectors": query_vectors[:8],
        "query_offsets": query_offsets[:2],
        "document_vectors": rows,
        "document_offsets": np.arange(0, len(rows) + 1, 8),
        "k": k,
    }


def _search_einsum(k, encoder, **sets):
    scores = einsum(**sets)
    order = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), order


EXAMPLES = {
    "chamfer_similarity": Example(
        lambda rng, dtype: _sets(rng, dtype, 4, 11, 13),
        ("query_vectors", "document_vectors"),
        chamfer,
        {"float32": 1e-6, "float64": 1e-15},
        nan="raise",
        sizes=_one_query,
        data="digits images as sets of their rows",
        real=digits,
        sample=_first_query,
        peer=("numpy.einsum", einsum),
    ),
    "multi_vector_search": Example(
        _search_arguments,
        ("query_vectors", "document_vectors"),
        _search,
        {"float32": 1e-6, "float64": 1e-15},
        nan="raise",
        sizes=_search_arguments,
        data="digits images as sets of their rows",
        real=_search_digits,
        sample=_found_for_first,
        result=lambda found: found[:2],
        peer=("numpy.einsum, argsort", _search_einsum),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _gray_cells(rng, variant, size):
    """Small integers, so that no product is near zero by rounding; some points are not finite, some
    normals only fill up."""
    repetitions, bits = int(rng.integers(1, 5)), int(rng.choice([0, 1, 3, 5, 20]))
    width = int(rng.choice([1, 8, 35]))
    points = rng.integers(-3, 4, (size, width)).astype(variant["T"])
    points[rng.random(points.shape) < 0.01] = rng.choice([np.nan, np.inf, -np.inf])
    normals = np.zeros((-(-repetitions * bits // 8) * 8, width), variant["T"])
    normals[: repetitions * bits] = rng.integers(-3, 4, (repetitions * bits, width)) + 0.5
    return [points, normals, np.full((repetitions, size), -7, np.int32), bits]


def _encode_cells(rng, variant, size):
    repetitions, bits, width, shorter = 2, int(rng.integers(0, 4)), 11, 5
    sets = -(-size // repetitions)
    offsets, sketched = offsets_of(rng, sets, 0, 6), int(rng.integers(2))
    fill = int(rng.integers(2))
    if fill:
        offsets = offsets_of(rng, sets, 1, 6)
    cells = rng.integers(0, 2**bits, (repetitions, offsets[-1])).astype(np.int32)
    return [
        rng.standard_normal((offsets[-1], width)).astype(variant["T"]),
        offsets,
        cells,
        np.sort(
            np.insert(
                rng.integers(0, width + 1, (repetitions, shorter - 1)), [0, 0], [0, width], axis=1
            )
        ).astype(np.int32),
        rng.permuted(np.tile(np.arange(width, dtype=np.int32), (repetitions, 1)), axis=1),
        rng.choice([-1, 1], (repetitions, width)).astype(variant["T"]),
        np.full((size, 2**bits, shorter if sketched else width), np.nan, variant["T"]),
        sketched,
        int(rng.integers(2)),
        fill,
    ]


def _max_sim(rng, variant, size):
    queries = 1 if size < 2 or size % 2 == 0 else int(rng.integers(1, 3))
    width = int(rng.integers(1, 40))
    queries = queries if size % queries == 0 else 1
    query_offsets, document_offsets = offsets_of(rng, queries, 0, 70), offsets_of(rng, 9, 1, 40)
    return [
        rng.standard_normal((query_offsets[-1], width)).astype(variant["T"]),
        query_offsets,
        rng.standard_normal((document_offsets[-1], width)).astype(variant["T"]),
        document_offsets,
        rng.integers(0, 9, (queries, size // queries)),
        np.full(size, np.nan, variant["T"]),
    ]


def _look_up_sums(rng, variant, size):
    groups, lanes = int(rng.integers(1, 6)), int(rng.choice([1, 3, 16]))
    return [
        rng.standard_normal((groups, 7, lanes)).astype(variant["T"]),
        rng.integers(0, 7, (size, groups)).astype(np.uint8),
        np.full((size, lanes), np.nan, variant["T"]),
    ]


KERNELS = {
    "gray_cells": _gray_cells,
    "encode_cells": _encode_cells,
    "max_sim": _max_sim,
    "look_up_sums": _look_up_sums,
}
