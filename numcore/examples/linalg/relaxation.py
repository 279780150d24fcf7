"""Example calls of the relaxation solvers. The references are dense solves and dense triangular
matrices in extended precision, and literal implementations of both iterations."""

import math

import numpy as np

from ...dispatch import namespace_of
from ...linalg import CSR, color_graph
from ...linalg._relaxation.kernels import CONVERGED, FRESH
from .. import Example
from .sparse import as_scipy, five_points

# of the grids of real data; on larger ones float32 cannot hold the solution
SIDES = {"float32": 40, "float64": 100}


def positive_definite(rng, dtype, n):
    """Symmetric, with a few random entries in each row and a larger diagonal."""
    if not n:
        return CSR.from_dense(np.zeros((0, 0), dtype))
    i, j = rng.integers(0, n, (2, 2 * n))
    values = rng.uniform(-1, 1, 2 * n)
    rows, cols = np.concatenate([i, j, np.arange(n)]), np.concatenate([j, i, np.arange(n)])
    row_sums = np.bincount(i, np.abs(values), n) + np.bincount(j, np.abs(values), n)
    return CSR.from_coo(
        rows, cols, np.concatenate([values, values, 1.2 * row_sums + 1]).astype(dtype), (n, n)
    )


def _system(rng, dtype, n=37):
    b, x0 = rng.standard_normal((2, n)).astype(dtype)
    return {
        "a": positive_definite(rng, dtype, n),
        "b": b,
        "x0": x0,
        "omega": 1.2,
        "tol": 1e-6 if dtype == np.float32 else 1e-14,
    }


def _sized(rng, dtype, n):
    call = _system(rng, dtype, n)
    return call | {"coloring": color_graph(call["a"])}


def _dense(a):
    return a.toarray().astype(np.longdouble)


def solution(a, b, x0=None, omega=1.0, tol=0.0, coloring=None):
    """Gauss–Jordan elimination; no pivots are needed."""
    m = np.concatenate([_dense(a), b[:, None].astype(np.longdouble)], axis=1)
    for i in range(len(m)):
        m[i] /= m[i, i]
        others = np.arange(len(m)) != i
        m[others] -= m[others, i, None] * m[i]
    return m[:, -1]


def _on_grid(b):
    """The solution of the real call by the sine transform, which diagonalizes the matrix."""
    side = math.isqrt(len(b))
    i = np.arange(1, side + 1, dtype=np.longdouble)
    angle = np.longdouble("3.14159265358979323846264338327950288") / (side + 1)
    sines = np.sqrt(np.longdouble(2) / (side + 1)) * np.sin(np.outer(i, i) * angle)
    eigenvalues = 4 - 2 * np.cos(i * angle)[:, None] - 2 * np.cos(i * angle)
    return (
        sines
        @ ((sines @ b.astype(np.longdouble).reshape(side, side) @ sines) / eigenvalues)
        @ sines
    ).reshape(-1)


def _reference(a, b, **options):
    return (
        _on_grid(b)
        if len(b) in {side * side for side in SIDES.values()}
        else solution(a, b, **options)
    )


def _grid(dtype, omega):
    """Heat sources from measured data: the pixels of digits, tiled."""
    from sklearn.datasets import load_digits

    side = SIDES[dtype]
    return {
        "a": five_points(side, dtype),
        "b": load_digits().data.ravel()[: side * side].astype(dtype),
        "omega": omega,
        "tol": 1e-5 if dtype == "float32" else 3e-13,
    }


def pyamg(a, b, omega, tol):
    """Sweeps until the residual is small, or for a hundred sweeps not smaller: its sums are not in
    float64 for float32."""
    from pyamg.relaxation.relaxation import sor

    a, x, least, since = as_scipy(a), np.zeros_like(b), np.inf, 0
    while (norm := np.linalg.norm(b - a @ x)) >= tol * np.linalg.norm(b) and since < 100:
        least, since = min(norm, least), 0 if norm < least else since + 1
        sor(a, x, b, omega)
    return x


def _scipy_cg(a, b, omega, tol):
    from scipy.sparse.linalg import cg

    return cg(as_scipy(a), b, rtol=tol)[0]


def _preconditioner(rng, dtype, n=37):
    a = positive_definite(rng, dtype, n)
    return {"a": a, "omega": 1.3, "coloring": color_graph(a)}


def sor(a, b, x, omega, tol, max_iter, order=None):
    """x, the number of sweeps, residual norms: (D / ω + L) δ = b - A x, row by row of a dense
    matrix."""
    order = range(len(b)) if order is None else order
    x, norms = x.astype(float), [np.linalg.norm(b - a @ x)]
    while norms[-1] >= tol * norms[0] and len(norms) <= max_iter:
        for i in order:
            x[i] += omega * (b[i] - a[i] @ x) / a[i, i]
        norms.append(np.linalg.norm(b - a @ x))
    return x, len(norms) - 1, np.array(norms)


def conjugate_gradients(a, b, x, inverse, tol, max_iter):
    """Textbook preconditioned conjugate gradients for dense matrices: x, the number of steps,
    residual norms."""
    r = b - a @ x
    z = inverse @ r
    p, rho, norms = z.copy(), r @ z, [np.linalg.norm(r)]
    while norms[-1] > tol * np.linalg.norm(b) and len(norms) <= max_iter:
        q = a @ p
        alpha = rho / (p @ q)
        x, r = x + alpha * p, r - alpha * q
        z = inverse @ r
        rho, before = r @ z, rho
        p = z + rho / before * p
        norms.append(np.linalg.norm(r))
    return x, len(norms) - 1, np.array(norms)


def ssor_solve(a, omega, r):
    """ω (2 - ω) (D + ω U)⁻¹ D (D + ω L)⁻¹ r for a dense matrix, (n,) or (n, k) r, in extended
    precision."""
    a, y = a.astype(np.longdouble), np.zeros(r.shape, np.longdouble)
    d = np.diag(a)
    lower, upper = np.diag(d) + omega * np.tril(a, -1), np.diag(d) + omega * np.triu(a, 1)
    for i in range(len(a)):
        y[i] = (r[i] - lower[i, :i] @ y[:i]) / lower[i, i]
    y = (y.T * d).T
    for i in reversed(range(len(a))):
        y[i] = (y[i] - upper[i, i + 1 :] @ y[i + 1 :]) / upper[i, i]
    return omega * (2 - omega) * y


def _preconditioned(a, omega, coloring):
    """The preconditioner of a colored matrix, applied to a fixed vector."""
    r, order = np.cos(np.arange(a.shape[0])), coloring.order
    z = np.empty(len(r), np.longdouble)
    z[order] = ssor_solve(_dense(a)[np.ix_(order, order)], omega, r[order])
    return z


def _apply(preconditioner):
    """The result of the callable for that vector, on the device of the matrix."""
    r = np.cos(np.arange(preconditioner.a.shape[0])).astype(preconditioner.a.dtype)
    return preconditioner(namespace_of(preconditioner.a.data).asarray(r))


def _best(rng, dtype, n=37):
    return {"a": positive_definite(rng, dtype, n), "tol": 1e-9}


def _omega(a, tol):
    a = _dense(a).astype(float)
    if not len(a):
        return 1.0, 0.0
    root = 1 / np.sqrt(np.diag(a))
    radius = np.abs(1 - np.linalg.eigvalsh(root[:, None] * a * root)).max()
    return 2 / (1 + np.sqrt(1 - radius**2)), radius


SOLUTION = {"float32": 1e-5, "float64": 1e-12}

EXAMPLES = {
    "sor": Example(
        _system,
        ("b", "x0"),
        _reference,
        SOLUTION,
        nan="raise",
        sizes=_sized,
        result=lambda found: found.x,
        data="pixels of the digits images on a grid of five-point stencils",
        real=lambda dtype: _grid(dtype, 1.9),
        peer=("pyamg sweeps and residual norms", pyamg),
    ),
    "ssor_cg": Example(
        _system,
        ("b", "x0"),
        _reference,
        SOLUTION,
        nan="raise",
        sizes=_sized,
        result=lambda found: found.x,
        data="pixels of the digits images on a grid of five-point stencils",
        real=lambda dtype: _grid(dtype, 1.8),
        peer=("scipy.sparse cg", _scipy_cg),
    ),
    "ssor_preconditioner": Example(
        _preconditioner,
        (),
        _preconditioned,
        {"float32": 1e-6, "float64": 1e-14},
        sizes=_preconditioner,
        result=_apply,
    ),
    "optimal_omega": Example(
        _best,
        (),
        _omega,
        {"float64": 1e-8},
        error="absolute",
        dtypes=("float64",),
        sizes=_best,
        result=lambda found: found[:2],
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _by_colors(rng, variant, n):
    """A matrix ordered by color, and the first row of each color."""
    from ...linalg._relaxation.systems import ordered

    a = positive_definite(rng, variant["T"], n)
    a, _, starts = ordered(a, color_graph(a))
    return a, starts


def _pattern(a, variant):
    return [a.indptr.astype(variant["INDEX"]), a.indices.astype(variant["INDEX"])]


def _one_matrix(a, variant):
    return [
        *_pattern(a, variant),
        a.data,
        a.diagonal_at.astype(variant["INDEX"]),
        a.inverse_diagonal,
    ]


def _matrices(a, starts, variant, size):
    """Copies of a matrix, scaled by increasing factors."""
    scales = np.arange(1, size + 1, dtype=variant["T"])[:, None]
    return [
        *_pattern(a, variant),
        scales * a.data,
        a.diagonal_at.astype(variant["INDEX"]),
        a.inverse_diagonal / scales,
        starts,
    ]


def _limits(rng, size):
    """Omegas, and norms that some systems reach at once, some in the call, some not."""
    return np.stack([rng.uniform(0.5, 1.5, size), 10.0 ** rng.uniform(-3, 3, size)], axis=1)


def _sor_rows(rng, variant, size):
    a, starts = _by_colors(rng, variant, 23)
    b = rng.standard_normal((size, 23)).astype(variant["T"])
    x = rng.standard_normal((size, 2, 23)).astype(variant["T"])
    state = np.stack(
        [
            np.zeros(size, np.int64),
            np.where(np.arange(size) % 3 == 2, CONVERGED, 0),
            rng.integers(0, 2, size),
        ],
        axis=1,
    )
    return [
        *_matrices(a, starts, variant, size),
        b,
        x,
        _limits(rng, size),
        np.zeros((size, 5)),
        state,
    ]


def _ssor_cg_rows(rng, variant, size):
    a, starts = _by_colors(rng, variant, 23)
    vectors = rng.standard_normal((size, 5, 23)).astype(variant["T"])
    vectors[:, 2] = 0
    state = np.stack(
        [np.zeros(size, np.int64), np.where(np.arange(size) % 3 == 2, CONVERGED, FRESH)], axis=1
    )
    return [
        *_matrices(a, starts, variant, size),
        vectors,
        _limits(rng, size),
        np.ones((size, 3)),
        np.zeros((size, 5)),
        state,
    ]


def _ssor_rows(rng, variant, size):
    a, starts = _by_colors(rng, variant, 23)
    r, y = rng.standard_normal((2, size, 23)).astype(variant["T"])
    return [*_one_matrix(a, variant), starts, r, y, 1.3]


def _colored(rng, variant, size):
    """A matrix with a color that has about `size` rows, the vectors, and the rows of this
    color."""
    a, starts = _by_colors(rng, variant, 3 * size + 1)
    first = int(starts[1]) if len(starts) > 2 else 0
    last = min(first + size, int(starts[2] if len(starts) > 2 else starts[1]))
    return a, rng.standard_normal((4, 3 * size + 1)).astype(variant["T"]), slice(first, last)


def _sor_color(rng, variant, size):
    a, (b, residual, old, x), rows = _colored(rng, variant, size)
    return [*_one_matrix(a, variant), b[rows], residual[rows], old, x, 1.3, rows.start]


def _backward_color(rng, variant, size):
    a, (r, p, t, _), rows = _colored(rng, variant, size)
    return [*_one_matrix(a, variant), r[rows], p[rows], t, 1.3, 0.4, rows.start]


def _forward_color(rng, variant, size):
    a, (r, p, t, w), rows = _colored(rng, variant, size)
    return [
        *_one_matrix(a, variant),
        r,
        p[rows],
        t[rows],
        w,
        np.empty_like(p[rows]),
        1.3,
        rows.start,
    ]


KERNELS = {
    "sor_rows": _sor_rows,
    "ssor_cg_rows": _ssor_cg_rows,
    "ssor_rows": _ssor_rows,
    "sor_color": _sor_color,
    "backward_color": _backward_color,
    "forward_color": _forward_color,
}
