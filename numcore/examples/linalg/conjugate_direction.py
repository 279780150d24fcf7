"""Example calls of conjugate directions. The references solve by elimination and compute losses row
by row."""

import numpy as np

from ...linalg import CSR
from .. import Example
from .sparse import random_csr


def identity(r):
    return r


def _spd(rng, dtype, n):
    q = rng.standard_normal((n, n))
    return CSR.from_dense((q @ q.T / max(n, 1) + 2 * np.eye(n)).astype(dtype))


def _solve_call(rng, dtype, n):
    return {
        "a": _spd(rng, dtype, n),
        "b": rng.standard_normal(n).astype(dtype),
        "direction": identity,
        "tol": 1e-6 if dtype == np.float32 else 1e-14,
        "max_iter": 60,
    }


def _solution(a, b, direction, tol, max_iter):
    return np.linalg.solve(a.toarray().astype(np.float64), b.astype(np.float64))


def _loss_call(rng, dtype, n):
    return {
        "a": _spd(rng, dtype, 9),
        "prediction": rng.standard_normal((n, 9)).astype(dtype),
        "target": rng.standard_normal((n, 9)).astype(dtype),
    }


def _loss(a, prediction, target):
    """The loss in extended precision, and its gradient from the projector form: the derivative of e
    = b - (z·b / z·A z) A z."""
    a, total = a.toarray().astype(np.longdouble), np.longdouble(0)
    grads = np.zeros(prediction.shape, np.longdouble)
    for i, (z, b) in enumerate(
        zip(prediction.astype(np.longdouble), target.astype(np.longdouble), strict=True)
    ):
        s, t = z @ b, z @ a @ z
        e = b - s / t * (a @ z)
        total += e @ e
        jacobian = -s / t * a - np.outer(a @ z, b / t - s / t**2 * 2 * (a @ z))
        grads[i] = 2 * jacobian.T @ e
    return total / max(len(prediction), 1), grads / max(len(prediction), 1)


EXAMPLES = {
    "conjugate_direction_solve": Example(
        lambda rng, dtype: _solve_call(rng, dtype, 30),
        ("b",),
        _solution,
        {"float32": 1e-5, "float64": 1e-12},
        nan="raise",
        result=lambda r: r.x,
        sizes=lambda rng, dtype, n: _solve_call(rng, dtype, min(n, 60)),
    ),
    "direction_loss": Example(
        lambda rng, dtype: _loss_call(rng, dtype, 7),
        ("prediction", "target"),
        _loss,
        {"float32": 1e-4, "float64": 1e-12},
        sizes=_loss_call,
    ),
    "ritz_training_set": Example(
        lambda rng, dtype: {
            "a": CSR.from_dense(np.diag(np.arange(1.0, 9.0))),
            "n_vectors": 8,
            "n_samples": 5,
            "rng": 0,
        },
        (),
        lambda **call: np.ones(5),
        {"float64": 1e-6},
        result=lambda samples: (samples.astype(np.float64) ** 2).sum(axis=1),
        dtypes=("float64",),
    ),
}


def _rows_and_sums(rng, variant, size):
    n = 9 * size  # the largest size has two blocks
    a = random_csr(rng, variant["T"], n, n)
    x, b = rng.standard_normal((2, n)).astype(variant["T"])
    b = b[: n * int(rng.integers(0, 2))]
    return [
        a.indptr.astype(variant["INDEX"]),
        a.indices.astype(variant["INDEX"]),
        a.data,
        x,
        b,
        -1.0,
        np.full(n, np.nan, variant["T"]),
        np.full((-(-n // 2048), 3), np.nan),
    ]


def _sums_of_products(rng, variant, size):
    x, y = rng.standard_normal((2, 9 * size)).astype(variant["T"])
    return [x, y, np.full((-(-len(x) // 2048), 3), np.nan)]


KERNELS = {"rows_and_sums": _rows_and_sums, "sums_of_products": _sums_of_products}
