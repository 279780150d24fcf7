"""Example calls of ℓp sensitivities, Lewis weights, row sampling and ℓp regression. The references
minimize with SciPy, row by row."""

import numpy as np

from ...simd import tile_cols
from .. import Example


def _norm_power(x, a, b, p):
    r = a @ x - b
    return (np.abs(r) ** p).sum(), p * a.T @ (np.sign(r) * np.abs(r) ** (p - 1))


def _minimum(a, b, p, gtol=1e-11):
    """The x that minimizes Σ |Ax - b|^p, of minimum norm if there are several."""
    from scipy.optimize import minimize

    scale = np.abs(b).max() or 1.0
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    kept = s > 1e-6 * s.max(initial=0)
    u, back = u[:, kept], vh[kept].T / s[kept]
    start = u.T @ b / scale
    if len(start) in (0, len(b)):
        return back @ start * scale
    return (
        back
        @ minimize(
            _norm_power, start, (u, b / scale, p), jac=True, method="BFGS", options={"gtol": gtol}
        ).x
        * scale
    )


def sensitivities(a, p, rows=None, tol=1e-9, gtol=1e-11):
    """σ_i = 1 / min ‖u - N z‖_p^p over z, where x = x_0 - N z runs over a_iᵀx = 1."""
    a = a.astype(np.float64)
    result = np.zeros(len(a))
    for i in range(len(a)) if rows is None else rows:
        null = np.linalg.svd(a[i : i + 1])[2][1:].T
        start, free = a @ (a[i] / (a[i] @ a[i])), a @ null
        free[np.abs(free) < 1e-12] = 0
        result[i] = 1 / (np.abs(start - free @ _minimum(free, start, p, gtol)) ** p).sum()
    result = result if rows is None else result[rows]
    return result, result


def _loop(a, p):
    """The usual solution: SciPy with its default accuracy."""
    return sensitivities(a, p, gtol=1e-5)[0]


def l1_sensitivity(a, i):
    """1 / min Σt where -t <= Ax <= t and a_iᵀx = 1, by linear programming."""
    from scipy.optimize import linprog

    n, d = a.shape
    cost = np.r_[np.zeros(d), np.ones(n)]
    rows = np.block([[a, -np.eye(n)], [-a, -np.eye(n)]])
    fit = linprog(
        cost,
        A_ub=rows,
        b_ub=np.zeros(2 * n),
        A_eq=np.r_[a[i], np.zeros(n)][None],
        b_eq=[1],
        bounds=(None, None),
        method="highs",
    )
    return 1 / fit.fun


def l1_minimum(a, b):
    """min ‖Ax - b‖_1, by linear programming."""
    from scipy.optimize import linprog

    n, d = a.shape
    rows = np.block([[a, -np.eye(n)], [-a, -np.eye(n)]])
    return linprog(
        np.r_[np.zeros(d), np.ones(n)],
        A_ub=rows,
        b_ub=np.r_[b, -b],
        bounds=(None, None),
        method="highs",
    ).fun


def leverage(a):
    return np.diag(a @ np.linalg.pinv(a))


def _lewis(a, p):
    """The fixed point, from its definition."""
    a = a.astype(np.float64)
    w = np.full(len(a), a.shape[1] / len(a))
    for _ in range(150):
        inverse = np.linalg.pinv(a.T @ np.diag(w ** (1 - 2 / p)) @ a, hermitian=True, rcond=1e-12)
        w = np.diag(a @ inverse @ a.T) ** (p / 2)
    return w


def _root_leverage(a, p):
    a = a.astype(np.float64)
    return leverage(a) ** (p / 2)


def _probabilities(scores, size, rng):
    """c by bisection."""
    s = scores.astype(np.float64)
    if size >= len(s):
        return np.ones(len(s))
    low, high = 0.0, 1e6
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if np.minimum(1, c * s).sum() < size else (low, c)
    return np.minimum(1, low * s)


def _regression(a, b, p, tol):
    return _minimum(a.astype(np.float64), b.astype(np.float64), p)


def _matrix(rng, dtype, n, d=3):
    return rng.standard_normal((max(n, 1), d)).astype(dtype)


def _rows(rng, dtype, n):
    return {"a": _matrix(rng, dtype, n), "p": 1.5, "tol": 1e-9}


def _scored(rng, dtype, n):
    return {"scores": rng.exponential(size=max(n, 1)).astype(dtype) ** 3, "size": 5, "rng": 3}


def _fitted(rng, dtype, n):
    return {
        "a": _matrix(rng, dtype, n),
        "b": rng.standard_normal(max(n, 1)).astype(dtype),
        "p": 1.5,
        "tol": 1e-12,
    }


def _diabetes(dtype):
    from sklearn.datasets import load_diabetes

    return load_diabetes().data.astype(dtype), load_diabetes().target.astype(dtype)


def _real_rows(dtype):
    return {"a": _diabetes(dtype)[0], "p": 1.5}


def _first_rows(result, a, p):
    return [part[:20] for part in result], {"a": a, "p": p, "rows": list(range(20))}


def _real_regression(dtype):
    a, b = _diabetes(dtype)
    return {"a": np.column_stack([a, np.ones_like(b)]), "b": b, "p": 1.5, "tol": 1e-12}


def _minimize(a, b, p, tol):
    from scipy.optimize import minimize

    return minimize(
        _norm_power, np.zeros(a.shape[1]), (a.astype(np.float64), b.astype(np.float64), p), jac=True
    ).x


def _bounds(result):
    return result[:2]


# the objective is flat near its minimum, for the reference too
FIT = {"float32": 2e-5, "float64": 2e-5}

EXAMPLES = {
    "lp_sensitivities": Example(
        lambda rng, dtype: _rows(rng, dtype, 20),
        ("a",),
        sensitivities,
        {"float32": 2e-6, "float64": 2e-6},
        result=_bounds,
        nan="raise",
        sizes=_rows,
        data="diabetes patients",
        real=_real_rows,
        sample=_first_rows,
        peer=("scipy.optimize.minimize for each row", _loop),
    ),
    "lewis_weights": Example(
        lambda rng, dtype: {"a": _matrix(rng, dtype, 40), "p": 1.0},
        ("a",),
        _lewis,
        {"float32": 1e-5, "float64": 1e-9},
        nan="raise",
        sizes=lambda rng, dtype, n: {"a": _matrix(rng, dtype, n), "p": 3.0},
        data="diabetes patients",
        real=_real_rows,
    ),
    "sampling_scores": Example(
        lambda rng, dtype: {"a": _matrix(rng, dtype, 40), "p": 1.0},
        ("a",),
        _root_leverage,
        {"float32": 1e-4, "float64": 1e-11},
        nan="raise",
        sizes=lambda rng, dtype, n: {"a": _matrix(rng, dtype, n), "p": 1.5},
        data="diabetes patients",
        real=_real_rows,
    ),
    "sample_rows": Example(
        lambda rng, dtype: _scored(rng, dtype, 60),
        ("scores",),
        _probabilities,
        {"float32": 1e-6, "float64": 1e-12},
        nan="raise",
        sizes=_scored,
        result=lambda sample: sample.probabilities,
    ),
    "lp_regression": Example(
        lambda rng, dtype: _fitted(rng, dtype, 40),
        ("a", "b"),
        _regression,
        FIT,
        result=lambda fit: fit.x,
        nan="raise",
        sizes=_fitted,
        data="diabetes patients",
        real=_real_regression,
        peer=("scipy.optimize.minimize", _minimize),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _constrained_norms(rng, variant, size):
    """A few steps of zero-padded problems like those of the routine, one of them without a
    solution."""
    n, d, cols = int(rng.integers(8, 90)), int(rng.integers(1, 8)), tile_cols(np.float64(0))
    q = np.zeros((-(-n // 32) * 32, -(-d // cols) * cols))
    q[:n, :d] = np.linalg.qr(rng.standard_normal((n, d)))[0]
    c = np.zeros((size, q.shape[1]))
    c[:, :d] = rng.standard_normal((size, d))
    c[:1] *= rng.integers(0, 2)
    empty = [np.full(size, np.nan), np.full(size, np.nan), np.full(size, -7)]
    return [q, q.T.copy(), c, *empty, d, float(rng.choice([1, 1.3, 2.5, 4])), 0.0, 4]


def _weighted_grams(rng, variant, size):
    d, cols = int(rng.integers(1, 30)), tile_cols(np.float64(0))
    n, e = int(rng.integers(0, 300 * size + 1)), -(-d // cols) * cols
    return [rng.standard_normal((n, d)), rng.standard_normal(n), np.full((size, e, e), np.nan)]


def _quadratic_forms(rng, variant, size):
    d, e = int(rng.integers(1, 30)), tile_cols(np.float64(0)) * int(rng.integers(1, 3))
    return [rng.standard_normal((size, d)), rng.standard_normal((d, e)), np.full(size, np.nan)]


KERNELS = {
    "constrained_norms": _constrained_norms,
    "weighted_grams": _weighted_grams,
    "quadratic_forms": _quadratic_forms,
}
