"""Example calls of matrix completion. The references solve every least-squares problem of dense
matrices by NumPy's SVD."""

import numpy as np

from ...linalg import CSR, CompletionResult
from ...linalg._matrix_completion.gram import SKETCHES
from .. import Example
from .sparse import random_csr


def known_entries(rng, dtype, m, n, k, fraction):
    """A matrix of rank k, and which of its entries are known."""
    x = rng.standard_normal((m, k)) @ rng.standard_normal((k, n))
    return x.astype(dtype), rng.random((m, n)) < fraction


def _masked(rng, dtype):
    x, mask = known_entries(rng, dtype, 30, 20, 2, 0.7)
    x[~mask] = np.nan
    return {
        "x": x,
        "mask": mask,
        "rank": 2,
        "ridge": 0.0,
        "center": False,
        "init": "spectral",
        "clip": None,
        "solver": "auto",
        "inner_tol": "adaptive",
        "split_samples": False,
        "holdout": 0.0,
        "tol": 0.0,
        "max_iter": 60,
        "rng": 1,
        "callback": None,
    }


def _triplets(rng, dtype):
    x, mask = known_entries(rng, dtype, 30, 20, 2, 0.7)
    rows, cols = np.nonzero(mask)
    return {
        "rows": rows,
        "cols": cols,
        "values": x[mask],
        "shape": (30, 20),
        "rank": 2,
        "tol": 0.0,
        "max_iter": 60,
        "rng": 1,
    }


def least_squares(known, weights, factor, ridge):
    """X that minimizes |weights * (known - X factorᵀ)|² with a ridge proportional to the number of
    entries of a row."""
    result = np.zeros((len(known), factor.shape[1]))
    for i, (values, mask) in enumerate(zip(known, weights, strict=True)):
        count = mask.sum()
        a = np.vstack(
            [factor[mask], np.sqrt(ridge * count / max(len(factor), 1)) * np.eye(factor.shape[1])]
        )
        b = np.concatenate([values[mask], np.zeros(factor.shape[1])])
        result[i] = np.linalg.lstsq(a, b, rcond=1e-7)[0]
    return result


def models(known, weights, rank, rounds):
    """The whole matrix after each round in float64, from the leading singular vectors of the matrix
    with zeros."""
    known = np.where(weights, known, 0).astype(np.float64)
    u = np.linalg.svd(known)[0][:, :rank]
    for _ in range(rounds):
        v = np.linalg.qr(least_squares(known.T, weights.T, u, 0.0))[0]
        x = least_squares(known, weights, v, 0.0)
        u = np.linalg.qr(x)[0]
        yield x @ v.T


def completed(known, weights, rank, rounds=60):
    """The last of these models."""
    *_, last = models(known, weights, rank, rounds)
    return last


def _complete_masked(x, mask, rank, **options):
    return completed(x, mask, rank)


def _complete_matrix(rows, cols, values, shape, rank, tol, max_iter, rng):
    known, weights = np.zeros(shape), np.zeros(shape, bool)
    known[rows, cols], weights[rows, cols] = values, True
    return completed(known, weights, rank)


def dense(result):
    return result.offset + (result.u * result.s) @ result.vh


def _prediction(rng, dtype, z=50):
    m, n, k = 23, 31, 4
    result = CompletionResult(
        rng.standard_normal((m, k)).astype(dtype),
        np.arange(k, 0, -1).astype(dtype),
        rng.standard_normal((k, n)).astype(dtype),
        rng.standard_normal((m, 1)).astype(dtype),
        converged=True,
        n_iter=0,
        reason="converged",
        observed_rmse=0.0,
        holdout_rmse=None,
        relative_changes=(),
        underdetermined=False,
        rank_deficient=False,
    )
    return {"result": result, "rows": rng.integers(0, m, z), "cols": rng.integers(0, n, z)}


def _predict(result, rows, cols):
    return np.array(
        [
            (result.u[i].astype(np.longdouble) * result.s) @ result.vh[:, j] + result.offset[i, 0]
            for i, j in zip(rows, cols, strict=True)
        ]
    ).reshape(-1)


def _step_call(rng, dtype, m=40, n=30, k=3):
    return {
        "csr": random_csr(rng, dtype, m, n, 8),
        "factor": rng.standard_normal((n, k)).astype(dtype),
        "ridge": 0.1,
        "x0": None,
        "solver": "cholesky",
        "inner_tol": 1e-10,
        "rng": 0,
    }


def _step_of_size(rng, dtype, n):
    call = _step_call(rng, dtype, n, n)
    return {"csr": call["csr"], "factor": call["factor"], "ridge": 0.1}


def _step(csr, factor, ridge, **options):
    known, weights = np.zeros(csr.shape), np.zeros(csr.shape, bool)
    known[csr.rows, csr.indices], weights[csr.rows, csr.indices] = csr.data, True
    return least_squares(known, weights, factor.astype(np.float64), ridge)


def _digits(dtype):
    """Half of the pixels of the digits images, and ten leading directions."""
    from sklearn.datasets import load_digits

    x = load_digits().data
    mask = np.random.default_rng(0).random(x.shape) < 0.5
    rows, cols = np.nonzero(mask)
    v = np.linalg.svd(x, full_matrices=False)[2][:10].T
    return {
        "csr": CSR.from_coo(rows, cols, x[mask].astype(dtype), x.shape),
        "factor": np.ascontiguousarray(v).astype(dtype),
        "ridge": 0.3,
    }


def solve_loop(csr, factor, ridge):
    """np.linalg.solve for every row."""
    indptr, indices, data = csr.indptr.tolist(), csr.indices, csr.data
    result = np.empty((csr.shape[0], factor.shape[1]), factor.dtype)
    identity = np.eye(factor.shape[1], dtype=factor.dtype)
    for i in range(csr.shape[0]):
        first, last = indptr[i], indptr[i + 1]
        a = factor[indices[first:last]]
        result[i] = np.linalg.solve(
            a.T @ a + ridge * (last - first) / len(factor) * identity, a.T @ data[first:last]
        )
    return result


def _predict_dense(result, rows, cols):
    return dense(result)[rows, cols]


EXAMPLES = {
    "complete_matrix": Example(
        _triplets,
        ("rows", "cols", "values"),
        _complete_matrix,
        {"float32": 1e-4, "float64": 1e-11},
        result=dense,
        also=("int64",),
        nan="ignore",
    ),
    "complete_masked": Example(
        _masked,
        ("x", "mask"),
        _complete_masked,
        {"float32": 1e-4, "float64": 1e-11},
        result=dense,
        also=("bool",),
        nan="raise",
    ),
    "predict_entries": Example(
        _prediction,
        ("rows", "cols"),
        _predict,
        {"float32": 1e-6, "float64": 1e-14},
        also=("int64",),
        nan="ignore",
        sizes=_prediction,
        data="100000 entries of a 23 × 31 matrix",
        real=lambda dtype: _prediction(np.random.default_rng(0), dtype, 100000),
        peer=("the dense matrix, indexed", _predict_dense),
    ),
    "alternating_step": Example(
        _step_call,
        ("factor",),
        _step,
        {"float32": 1e-5, "float64": 1e-11},
        nan="raise",
        sizes=_step_of_size,
        data="half of the pixels of the digits images",
        real=_digits,
        peer=("np.linalg.solve row by row", solve_loop),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _problem(rng, variant, size, width=None):
    """Rows with no, few or many entries; for rank 3, two columns of the factor are equal."""
    k, n = int(rng.integers(1, 20)), 60
    a = random_csr(rng, variant["T"], size, n, int(rng.integers(1, 50)))
    factor = rng.standard_normal((n, k)).astype(variant["T"])
    if k == 3:
        factor[:, 2] = factor[:, 0]
    rows = rng.permutation(size)[: max(size - 1, 1) if size else 0]
    if width:
        factor = np.pad(factor, ((0, 0), (0, width - k)))
    x, found = (
        np.pad(rng.standard_normal((size, k)), ((0, 0), (0, factor.shape[1] - k))).astype(
            variant["T"]
        ),
        np.full(size, -7, np.int32),
    )
    return (
        k,
        [a.indptr.astype(variant["INDEX"]), a.indices.astype(variant["INDEX"]), a.data, factor],
        [rows, x, found],
    )


def _directly(rng, variant, size):
    _, problem, results = _problem(rng, variant, size)
    return [*problem, *results, float(rng.choice([0.0, 0.01]))]


def _by_gradients(rng, variant, size):
    k, problem, results = _problem(rng, variant, size, 32)
    return [*problem, *results, float(rng.choice([0.0, 0.01])), 1e-14, k, 1000, np.inf]


def _by_sketch(rng, variant, size):
    k, problem, results = _problem(rng, variant, size)
    places = rng.integers(0, 2 * k, (60, SKETCHES)).astype(np.int32)
    return [*problem, places, *results, float(rng.choice([0.0, 0.01])), 1e-14, 1000]


def _entry_products(rng, variant, size):
    u, v = (rng.standard_normal((23, 7)).astype(variant["T"]) for _ in range(2))
    rows, cols = (rng.integers(0, 23, size).astype(variant["INDEX"]) for _ in range(2))
    return [u, v, rows, cols, np.full(size, np.nan, variant["T"])]


KERNELS = {
    "solve_directly": _directly,
    "solve_by_gradients": _by_gradients,
    "solve_by_sketch": _by_sketch,
    "entry_products": _entry_products,
}
