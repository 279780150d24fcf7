"""Example calls of gradient matching. The references loop over pairs and filters in long double,
and over all groupings."""

import itertools

import numpy as np

from ...nn import _gradient_matching as method
from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]


# --- distances ------------------------------------------------------------------------------------


def _distance(a, b):
    """Sum of 1 - cosine over the rows of two arrays; a flat one is a row."""
    total = np.longdouble(0)
    a, b = (
        x.astype(np.longdouble)[None] if x.ndim == 1 else x.astype(np.longdouble) for x in (a, b)
    )
    for x, y in zip(a, b, strict=True) if a.size else ():
        x, y = x.reshape(-1), y.reshape(-1)
        total += 1 - sum(x * y) / (np.sqrt(sum(x * x)) * np.sqrt(sum(y * y)) + np.longdouble(1e-6))
    return total


def _matrix(grads):
    return np.array([[_distance(a, b) for b in grads] for a in grads]).astype(np.float64)


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


def _best_halves(distances):
    """By trial of all sets that hold operation 0."""
    d, k = distances.astype(np.float64), len(distances)
    best = None
    for size in {k // 2, k - k // 2}:
        for others in itertools.combinations(range(1, k), size - 1):
            groups = ((0, *others), tuple(i for i in range(1, k) if i not in others))
            within = sum(d[i, j] for group in groups for i, j in itertools.combinations(group, 2))
            if best is None or within < best[1]:
                best = (groups, within)
    groups, within = best
    between = sum(d[i, j] for i in groups[0] for j in groups[1])
    return method.Partition(
        np.array([int(i in groups[1]) for i in range(k)]), within, between, groups
    )


def _best_edge(distances):
    partitions = [_best_halves(d) for d in distances]
    edge = int(np.argmin([p.within for p in partitions]))
    return edge, partitions[edge]


def _networkx(distances):
    import networkx

    graph = networkx.from_numpy_array(distances.max() - distances)
    return networkx.algorithms.community.kernighan_lin_bisection(graph, weight="weight", seed=0)


def _real_distances(dtype):
    return {"distances": method.gradient_distance_matrix(_digits_gradients(dtype)["grads"])}


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
        lambda grads_a, grads_b: np.float64(_distance(grads_a, grads_b)),
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
    method.gradient_pairs.name: _pairs_arguments,
    method.all_bisections.name: _bisection_arguments,
    method.smallest_cut.name: _cut_arguments,
}
