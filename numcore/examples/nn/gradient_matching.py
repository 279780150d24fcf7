"""Example calls of gradient matching. The references loop over pairs and filters in long double,
and over all groupings."""

import itertools
import math

import numpy as np

from ...nn import Partition, gradient_distance_matrix
from ...nn._gradient_matching import kernels
from .. import Example

# --- distances ------------------------------------------------------------------------------------


def filters(tensor):
    """Rows of a tensor of two axes or more; none of others."""
    return (
        [row.astype(np.longdouble).reshape(-1) for row in tensor]
        if tensor.ndim > 1 and tensor.size
        else []
    )


def distance(a, b, metric="per_filter_cosine", eps=1e-6):
    """Of two gradients, which are lists of tensors."""
    if metric == "per_filter_cosine":
        pairs = [
            (x, y)
            for s, t in zip(a, b, strict=True)
            for x, y in zip(filters(s), filters(t), strict=True)
        ]
        return float(sum(1 - cosine(x, y, eps) for x, y in pairs))
    x, y = (
        np.concatenate([t.astype(np.longdouble).reshape(-1) for t in gradient])
        for gradient in (a, b)
    )
    return float(1 - cosine(x, y, eps)) if metric == "cosine" else float(sum((x - y) ** 2))


def cosine(x, y, eps):
    below = np.sqrt(x @ x) * np.sqrt(y @ y) + np.longdouble(eps)
    return np.longdouble(0) if below == 0 else x @ y / below


def _distance(grads_a, grads_b):
    """Of gradients of one tensor; a flat one is a row."""
    a, b = (x[None] if x.ndim == 1 else x for x in (grads_a, grads_b))
    return np.float64(distance([a], [b]))


def _matrix(grads):
    return np.array([[_distance(a, b) for b in grads] for a in grads])


def _pair(rng, dtype, n=70):
    return {name: rng.standard_normal((3, n)).astype(dtype) for name in ("grads_a", "grads_b")}


def _several(rng, dtype, n=70):
    return {"grads": rng.standard_normal((5, 3, n)).astype(dtype)}


def _digits_gradients(dtype):
    """Gradients of a linear classifier's loss on the images of each digit: ten tasks that share a
    weight of ten filters."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return {"grads": np.random.default_rng(0).standard_normal((10, 10, 64)).astype(dtype)}
    x, y = load_digits(return_X_y=True)
    x = x / 16
    residual = np.full((len(x), 10), 0.1) - np.eye(10)[y]
    return {
        "grads": np.stack(
            [residual[y == digit].T @ x[y == digit] / (y == digit).sum() for digit in range(10)]
        ).astype(dtype)
    }


def _digits_pair(dtype):
    grads = _digits_gradients(dtype)["grads"]
    return {"grads_a": grads[3], "grads_b": grads[8]}


def _numpy_pairs(grads):
    distances = np.zeros((len(grads), len(grads)))
    for i, j in itertools.combinations(range(len(grads)), 2):
        distances[i, j] = distances[j, i] = _numpy_pair(grads[i], grads[j])
    return distances


def _numpy_pair(grads_a, grads_b):
    return (
        1
        - (grads_a * grads_b).sum(axis=1)
        / (np.linalg.norm(grads_a, axis=1) * np.linalg.norm(grads_b, axis=1) + 1e-6)
    ).sum()


# --- groupings ------------------------------------------------------------------------------------


def _symmetric(rng, dtype, *shape):
    d = rng.random(shape)
    return ((d + d.swapaxes(-1, -2)) / 2 * (1 - np.eye(shape[-1]))).astype(dtype)


def within(d, labels):
    """Sum of the distances of all pairs with the same label."""
    return sum(
        d[i, j] for i, j in itertools.combinations(range(len(d)), 2) if labels[i] == labels[j]
    )


def best_labels(d, n_groups, sizes):
    """The first labels with the smallest sum within groups of allowed sizes, of all labels there
    are, and that sum."""
    best, least = None, math.inf
    for labels in itertools.product(range(n_groups), repeat=len(d)):
        if all(labels.count(g) in sizes for g in range(n_groups)):
            total = within(d, labels)
            if best is None or total < least:
                best, least = labels, total
    return best, least


def smallest_cut(w):
    """By trial of all sets of vertices."""
    k = len(w)
    return min(
        sum(w[i, j] for i in side for j in range(k) if j not in side)
        for size in range(1, k)
        for side in map(set, itertools.combinations(range(k), size))
    )


def _best_halves(distances):
    d, k = distances.astype(np.float64), len(distances)
    labels, least = best_labels(d, 2, {k // 2, k - k // 2})
    groups = tuple(tuple(i for i in range(k) if labels[i] == g) for g in (0, 1))
    between = sum(d[i, j] for i in groups[0] for j in groups[1])
    return Partition(np.array(labels), least, between, groups)


def _best_edge(distances):
    partitions = [_best_halves(d) for d in distances]
    edge = int(np.argmin([p.within for p in partitions]))
    return edge, partitions[edge]


def _networkx(distances):
    import networkx

    graph = networkx.from_numpy_array(distances.max() - distances)
    return networkx.algorithms.community.kernighan_lin_bisection(graph, weight="weight", seed=0)


def _real_distances(dtype):
    return {"distances": gradient_distance_matrix(_digits_gradients(dtype)["grads"])}


def _real_edges(dtype):
    d = _real_distances(dtype)["distances"]
    return {"distances": np.stack([d[:8, :8], d[2:, 2:]])}


DIRECTIONS = np.array([[[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]], [[1, 0], [0, 1], [1, 0.1], [0, -1]]])


def _directions(mask, edge, op, rng):
    """Gradients with little noise: those of edge 0 part clearly."""
    return [DIRECTIONS[edge, op][None] + 1e-3 * rng.standard_normal((1, 2))]


def _splitting(rng, dtype):
    return {
        "gradient_fn": _directions,
        "masks": np.ones((2, 4), bool),
        "n_splits": 1,
        "n_repeats": 3,
        "rng": 0,
    }


def _split(gradient_fn, masks, n_splits, n_repeats, rng):
    """Groups 0, 1 and 2, 3 of edge 0."""
    children = np.ones((2, 2, 4), bool)
    children[0, 0, 2:] = children[1, 0, :2] = False
    return list(children)


GRADIENTS = "gradients of a linear classifier, one for each digit"

EXAMPLES = {
    "gradient_distance": Example(
        _pair,
        ("grads_a", "grads_b"),
        _distance,
        {"float32": 1e-5, "float64": 1e-13},
        data=GRADIENTS,
        real=_digits_pair,
        peer=("NumPy expression", _numpy_pair),
        sizes=_pair,
        error="absolute",
    ),
    "gradient_distance_matrix": Example(
        _several,
        ("grads",),
        _matrix,
        {"float32": 2e-6, "float64": 1e-14},
        data=GRADIENTS,
        real=_digits_gradients,
        peer=("NumPy loop over pairs", _numpy_pairs),
        sizes=lambda rng, dtype, n: {"grads": rng.standard_normal((4, n, 7)).astype(dtype)},
    ),
    "min_cut_partition": Example(
        lambda rng, dtype: {"distances": _symmetric(rng, dtype, 9, 9)},
        ("distances",),
        _best_halves,
        {"float32": 1e-6, "float64": 1e-14},
        data=GRADIENTS,
        real=_real_distances,
        peer=("networkx kernighan_lin_bisection", _networkx),
        nan="raise",
    ),
    "split_supernet": Example(
        arguments=_splitting,
        arrays=(),
        reference=_split,
        bound={"float32": 0, "float64": 0},
        error="equal",
        nan="ignore",
        dtypes=("float64",),
    ),
    "select_split": Example(
        lambda rng, dtype: {"distances": _symmetric(rng, dtype, 4, 5, 5)},
        ("distances",),
        _best_edge,
        {"float32": 1e-6, "float64": 1e-14},
        data=GRADIENTS,
        real=_real_edges,
        nan="raise",
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------

_kept = []  # kernels get addresses: the arrays behind them must stay


def _pairs_arguments(rng, variant, size):
    """Items of two tensors and a flat piece, for five gradients."""
    dtype, k, shapes = variant["T"], 5, ((3, 40), (4, 7))
    grads = [[rng.standard_normal(shape).astype(dtype) for shape in shapes] for _ in range(k)]
    _kept.append(grads)
    del _kept[:-8]
    items = [
        [(0, 0, 3, 40), (1, 7, 2, 7), (0, 5, 1, 100), (1, 0, 4, 7)][i % 4] for i in range(size)
    ]
    at = np.array([[g[t].ctypes.data for g in grads] for t in range(2)], np.uint64)
    return [
        at,
        np.array(items, np.int64).reshape(-1, 4),
        np.empty(1, dtype),
        1e-6,
        int(size % 3),
        np.full((size, k, k), np.nan),
    ]


def _bisection_arguments(rng, variant, size):
    """As many edges as there are items, of seven operations; or one of ten, whose segments are
    two."""
    k, edges = (10, size // 2) if size == 2 * (size // 2) else (7, size)
    d = rng.random((edges, k, k))
    allowed = np.array([abs(2 * s - k) < 2 for s in range(k + 1)], np.uint8)
    return [d + d.swapaxes(1, 2), allowed, np.full(size, np.nan), np.full(size, -7, np.int64)]


def _cut_arguments(rng, variant, size):
    k = 6
    w = rng.random((size, k, k))
    w = (w + w.swapaxes(1, 2)) * (1 - np.eye(k))
    return [
        w,
        np.full((size, k), np.nan),
        np.full((size, k), 9, np.uint8),
        np.full((size, k), -1, np.int64),
        np.full(size, np.nan),
        np.full((size, k), 9, np.uint8),
    ]


KERNELS = {
    kernels.gradient_pairs.name: _pairs_arguments,
    kernels.all_bisections.name: _bisection_arguments,
    kernels.smallest_cut.name: _cut_arguments,
}
