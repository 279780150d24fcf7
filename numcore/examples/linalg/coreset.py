"""Example calls of coresets and of losses.

The points selected depend on rounding; their weighted sums do not. Some columns of the points are
waves of the row number, so that their sums over the result can be computed from its indices alone.
"""

import numpy as np

from ...linalg import WeightedSubset
from .. import Example

DIGITS = 10  # columns of the digits images in the timed call, with the most variance
TIMES = 20  # copies of them, with noise


def waves(rows):
    return np.stack(
        [rows * 0.0 + 1, np.cos(0.1 * rows), np.cos(1.7 * rows), np.sin(0.4 * rows)], axis=1
    )


def _sums(result):
    """The total weight and the sums of the waves over a subset."""
    w = result.weights.astype(np.float64)
    return (w @ waves(1.0 * result.indices)).astype(result.weights.dtype)


def _all_sums(p, weights, **_):
    return weights.astype(np.float64) @ waves(np.arange(len(p)))


def _points(rng, dtype, n=400):
    p = np.concatenate([rng.standard_normal((n, 3)), waves(np.arange(n))[:, 1:]], axis=1)
    return {"p": p.astype(dtype), "weights": rng.random(n).astype(dtype) + dtype.type(0.1)}


def _digits(times):
    from sklearn.datasets import load_digits

    x, rng = load_digits().data, np.random.default_rng(0)
    x = np.tile(x[:, np.argsort(-x.var(axis=0))[:DIGITS]], (times, 1))
    return x + 0.5 * rng.standard_normal(x.shape)


def _real_points(dtype):
    pixels = _digits(TIMES)
    p = np.concatenate([pixels, waves(np.arange(len(pixels)))[:, 1:]], axis=1)
    return {"p": p.astype(dtype), "weights": np.random.default_rng(1).random(len(p)).astype(dtype)}


def reference_cara(p, weights, size=None):
    """The NumPy method of the authors of AutoCoreset: groups, their means, and a singular value
    decomposition for every point that is removed."""
    p, u, rows, t = p.astype(np.float64), weights.astype(np.float64), np.arange(len(p)), p.shape[1]
    while len(p) > (size or t + 1):
        k = min(2 * t + 2, len(p))
        length = -(-len(p) // k)
        k = -(-len(p) // length)
        missing = k * length - len(p)
        p = np.concatenate([p, np.zeros((missing, t))]).reshape(k, length, t)
        u, rows = (
            np.concatenate([x, np.zeros(missing, x.dtype)]).reshape(k, length) for x in (u, rows)
        )
        mass = u.sum(axis=1)
        means, left = np.einsum("kst,ks->kt", p, u) / mass[:, None], mass.copy()
        while (support := np.flatnonzero(left)).size > t + 1:
            v = np.linalg.svd((means[support[1:]] - means[support[0]]).T)[2][-1]
            v = np.append(-v.sum(), v)
            ratio = np.where(v > 0, left[support] / np.where(v > 0, v, 1), np.inf)
            left[support] = np.maximum(left[support] - ratio.min() * v, 0)
            left[support[ratio.argmin()]] = 0
        u *= (left / mass)[:, None]
        remaining = np.flatnonzero(left)
        p, u, rows = p[remaining].reshape(-1, t), u[remaining].ravel(), rows[remaining].ravel()
        p, u, rows = p[u > 0], u[u > 0], rows[u > 0]
    return rows, u


def eliminate_one_by_one(p, u):
    """The constructive proof of Carathéodory's theorem: while there are more than t + 1 points, a
    null vector eliminates one."""
    rows, u = np.flatnonzero(u), np.array(u, float)
    while True:
        a = np.column_stack([np.ones(len(rows)), p[rows]]).T
        if len(rows) <= len(a):
            return rows, u[rows]
        v = np.linalg.svd(a)[2][-1]
        up = v > 1e-12
        alpha = (u[rows][up] / v[up]).min()
        removed = rows[up][(u[rows][up] / v[up]).argmin()]
        u[rows] -= alpha * v
        u[removed] = 0
        rows = np.array([i for i in rows if u[i] > 0])


def draws(mass, thresholds):
    """For each threshold, the first point at which the running sum of masses exceeds it."""
    found = []
    for threshold in thresholds:
        total = 0.0
        for i, m in enumerate(mass):
            total += m
            if threshold < total:
                found.append(i)
                break
    return found


def _vectors(rng, dtype):
    p = _points(rng, dtype)
    return {"f": p["p"], "size": 20, "weights": p["weights"], "method": "caratheodory", "rng": 1}


def _real_vectors(dtype):
    p = _real_points(dtype)
    return {"f": p["p"], "size": 100, "weights": p["weights"], "method": "caratheodory", "rng": 1}


def _mean(x, y, weights):
    return weights @ x / weights.sum()


def _distances(x, y, mean):
    return ((x - mean) ** 2).sum(axis=1)


def _all_points(rng, dtype):
    """`size` equal to the number of points: the exact summary contains all of them, and their mean
    has the smallest loss."""
    n = 200
    return {
        "x": rng.standard_normal((n, 3)).astype(dtype),
        "fit": _mean,
        "loss": _distances,
        "size": n,
        "weights": (rng.random(n) + 0.1).astype(dtype),
        "method": "caratheodory",
        "n_initial": 1,
        "max_iter": 1,
        "rng": 1,
    }


def _real_search(dtype):
    """The mean of the digits: the reported loss must be that of the model."""
    x = _digits(TIMES).astype(dtype)
    return _all_points(np.random.default_rng(0), dtype) | {
        "x": x,
        "size": len(x),
        "weights": np.random.default_rng(1).random(len(x)).astype(dtype),
    }


def _weighted_mean(x, weights, **_):
    weights = weights.astype(np.float64)
    return (weights[:, None] * x).sum(axis=0) / weights.sum()


def _subset(rng, dtype):
    indices = np.flatnonzero(rng.random(300) < 0.1)
    return {
        "result": WeightedSubset(indices, rng.random(len(indices)).astype(dtype), 0.0, 0.0),
        "losses": rng.random(300).astype(dtype),
    }


def _subset_loss(result, losses):
    return sum(
        float(w) * float(losses[i]) for i, w in zip(result.indices, result.weights, strict=True)
    )


# --- losses ---------------------------------------------------------------------------------------


def _margins(x, model):
    w, b = model
    return x.astype(np.longdouble) @ w.astype(np.longdouble) + b


def _logistic(x, y, model, penalty=0.0):
    z = np.where(y > 0, -1, 1) * _margins(x, model)
    return (
        np.log1p(np.exp(-np.abs(z)))
        + np.maximum(z, 0)
        + penalty * (model[0].astype(np.longdouble) ** 2).sum() / 2 / max(len(x), 1)
    )


def _hinge(x, y, model, penalty=0.0):
    each = penalty * (model[0].astype(np.longdouble) ** 2).sum() / 2 / max(len(x), 1)
    return np.maximum(0, 1 - np.where(y > 0, 1, -1) * _margins(x, model)) + each


def _squared(x, y, model, penalty=0.0):
    return (y - _margins(x, model)) ** 2 + penalty * (
        model[0].astype(np.longdouble) ** 2
    ).sum() / max(len(x), 1)


def _kmeans(x, y, model):
    x, model = x.astype(np.longdouble), model.astype(np.longdouble)
    return ((x[:, None] - model) ** 2).sum(axis=2).min(axis=1)


def _linear(rng, dtype, n=300):
    return {
        "x": rng.standard_normal((n, 19)).astype(dtype),
        "y": np.sign(rng.standard_normal(n)).astype(dtype),
        "model": [rng.standard_normal(19).astype(dtype), 0.5],
        "penalty": 2.0,
    }


def _real_linear(dtype):
    x = _digits(TIMES).astype(dtype)
    return {
        "x": x,
        "y": np.where(np.arange(len(x)) % 3, 1, -1).astype(dtype),
        "model": [np.linspace(-0.2, 0.2, DIGITS).astype(dtype), 0.5],
        "penalty": 2.0,
    }


def _numpy_logistic(x, y, model, penalty):
    return np.logaddexp(0, -y * (x @ model[0] + model[1])) + penalty * (model[0] @ model[0]) / (
        2 * len(x)
    )


def _numpy_hinge(x, y, model, penalty):
    return np.maximum(0, 1 - y * (x @ model[0] + model[1])) + penalty * (model[0] @ model[0]) / (
        2 * len(x)
    )


def _numpy_squared(x, y, model, penalty):
    return (y - x @ model[0] - model[1]) ** 2 + penalty * (model[0] @ model[0]) / len(x)


def _centers(rng, dtype, n=300):
    return {
        "x": rng.standard_normal((n, 7)).astype(dtype),
        "y": None,
        "model": rng.standard_normal((5, 7)).astype(dtype),
    }


def _real_centers(dtype):
    from sklearn.datasets import load_digits

    x = np.tile(load_digits().data, (10, 1)).astype(dtype) / 16
    return {"x": x, "y": None, "model": x[::180][:10].copy()}


def _sklearn_distances(x, y, model):
    from sklearn.metrics import pairwise_distances_argmin_min

    return pairwise_distances_argmin_min(x, model)[1] ** 2


EXACT = {"float32": 1e-5, "float64": 1e-13}
ALSO = ("int64", "bool")  # labels and centers
LOSS = {"float32": 1e-6, "float64": 2e-15}
IMAGES = "digits images with noise, ten pixels"

EXAMPLES = {
    "caratheodory": Example(
        _points,
        ("p", "weights"),
        _all_sums,
        EXACT,
        result=_sums,
        sizes=_points,
        nan="raise",
        data=IMAGES,
        real=_real_points,
        peer=("the authors' method in NumPy", reference_cara),
    ),
    "vector_sum_coreset": Example(
        _vectors,
        ("f", "weights"),
        lambda f, weights, **_: _all_sums(f, weights),
        EXACT,
        result=_sums,
        nan="raise",
        data=IMAGES,
        real=_real_vectors,
        peer=(
            "the authors' method in NumPy",
            lambda f, weights, size, **_: reference_cara(f, weights, size),
        ),
    ),
    "auto_coreset": Example(
        _all_points,
        ("x", "weights"),
        _weighted_mean,
        EXACT,
        result=lambda r: r.model,
        nan="ignore",
        data=IMAGES,
        real=_real_search,
    ),
    "coreset_loss": Example(
        _subset,
        ("losses",),
        _subset_loss,
        {"float64": 1e-14},
        dtypes=("float64",),
        also=("float32",),
    ),
    "logistic_loss": Example(
        _linear,
        ("x", "y"),
        _logistic,
        LOSS,
        sizes=_linear,
        data=IMAGES,
        real=_real_linear,
        peer=("numpy.logaddexp", _numpy_logistic),
        also=ALSO,
    ),
    "hinge_loss": Example(
        _linear,
        ("x", "y"),
        _hinge,
        LOSS,
        sizes=_linear,
        data=IMAGES,
        real=_real_linear,
        peer=("numpy expression", _numpy_hinge),
        also=ALSO,
    ),
    "squared_loss": Example(
        _linear,
        ("x", "y"),
        _squared,
        LOSS,
        sizes=_linear,
        data=IMAGES,
        real=_real_linear,
        peer=("numpy expression", _numpy_squared),
        also=ALSO,
    ),
    "kmeans_loss": Example(
        _centers,
        ("x", "model"),
        _kmeans,
        LOSS,
        sizes=_centers,
        data="digits images, ten times",
        real=_real_centers,
        peer=("sklearn pairwise_distances_argmin_min", _sklearn_distances),
        also=ALSO,
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _group_sums(rng, variant, size):
    n, t = int(rng.integers(1, 700)) + size, int(rng.choice([0, 1, 10, 300]))
    return [
        rng.standard_normal((n, t)).astype(variant["T"]),
        rng.random(int(rng.choice([1, n]))),
        np.full((size, 2 * t + 1), np.nan),
    ]


def _eliminate(rng, variant, size):
    g, k, m = min(size, 3), int(rng.integers(1, 60)), int(rng.integers(1, 9))
    a = np.concatenate([np.ones((g, k, 1)), rng.uniform(-1, 1, (g, k, m - 1))], axis=2)
    return [
        a,
        rng.random((g, k)) * (rng.random((g, k)) < 0.9),
        np.zeros((g, 2 * m, 2 * m)),
        np.zeros((g, 2 * m), np.int64),
        m + int(rng.integers(0, 4)),
    ]


def _margin_losses(rng, variant, size):
    return [
        *(4 * rng.standard_normal((2, size))).astype(variant["T"]),
        0.3,
        0.1,
        int(rng.integers(3)),
    ]


def _add_losses(rng, variant, size):
    n = 256 * size - int(rng.integers(250)) * (size > 0)
    losses = rng.standard_normal(n).astype(variant["T"])
    return [
        losses,
        rng.random(int(rng.choice([1, n]))),
        rng.random(n) * (rng.random(n) < 0.5),
        np.full_like(losses, np.nan),
        np.full((size, 2), np.nan),
    ]


def _masses(rng, size):
    n, c = 256 * size - int(rng.integers(250)) * (size > 0), int(rng.integers(1, 12))
    c = 1 if rng.random() < 0.3 or not n else c
    return [
        rng.random(int(rng.choice([1, n]))),
        rng.random(int(rng.choice([1, n]))) + 0.1,
        rng.integers(0, c, n).astype(np.int32) if c > 1 else np.zeros(1, np.int32),
        n,
    ], c


def _block_masses(rng, variant, size):
    arguments, c = _masses(rng, size)
    return [*arguments, np.full((size, c), np.nan)]


def _draw_in_blocks(rng, variant, size):
    (norms, w, labels, n), c = _masses(rng, size)
    mass, label = np.ones(n) * norms * w, np.zeros(n, int) + labels
    counts, thresholds = np.zeros((size, c), np.int64), []
    for b in range(size):
        for k in range(c):
            total = mass[256 * b : 256 * (b + 1)][label[256 * b : 256 * (b + 1)] == k].sum()
            counts[b, k] = rng.integers(0, 5) if total > 0 else 0
            thresholds += sorted(rng.random(counts[b, k]) * total * 1.0001)
    firsts = (np.cumsum(counts) - counts.ravel()).reshape(size, c)
    return [norms, w, labels, n, np.array(thresholds), firsts, counts, np.full(len(thresholds), -1)]


KERNELS = {
    "group_sums": _group_sums,
    "eliminate": _eliminate,
    "margin_losses": _margin_losses,
    "add_losses": _add_losses,
    "block_masses": _block_masses,
    "draw_in_blocks": _draw_in_blocks,
}
