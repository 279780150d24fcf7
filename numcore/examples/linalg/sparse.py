"""Example calls with sparse matrices. The references are loops over the rows of dense matrices in
extended precision."""

import functools

import numpy as np

from ...linalg import CSR, color_graph
from .. import Example

GRID = 200


def random_csr(rng, dtype, m, n, per_row=4):
    """Rows with 0 to 2 per_row entries."""
    if not m or not n:
        return CSR.from_coo(np.zeros(0, int), np.zeros(0, int), np.zeros(0, dtype), (m, n))
    count = per_row * m
    return CSR.from_coo(
        rng.integers(0, m, count),
        rng.integers(0, n, count),
        rng.standard_normal(count).astype(dtype),
        (m, n),
    )


def diagonally_dominant(rng, dtype, n):
    a = random_csr(rng, dtype, n, n)
    rows, cols = np.concatenate([a.rows, np.arange(n)]), np.concatenate([a.indices, np.arange(n)])
    return CSR.from_coo(rows, cols, np.concatenate([a.data, np.full(n, 30, dtype)]), (n, n))


def five_points(side, dtype):
    """The five-point Laplacian on a grid of side × side points."""
    at = np.arange(side * side).reshape(side, side)
    pairs = np.concatenate(
        [
            np.stack([at[1:].ravel(), at[:-1].ravel()]),
            np.stack([at[:, 1:].ravel(), at[:, :-1].ravel()]),
        ],
        axis=1,
    )
    rows = np.concatenate([pairs[0], pairs[1], at.ravel()])
    cols = np.concatenate([pairs[1], pairs[0], at.ravel()])
    values = np.concatenate([np.full(2 * pairs.shape[1], -1.0), np.full(side * side, 4.0)]).astype(
        dtype
    )
    return CSR.from_coo(rows, cols, values, (side * side, side * side))


def _product(a, x):
    return a.toarray().astype(np.longdouble) @ x.astype(np.longdouble)


def sweep(a, b, x, omega, rows):
    """A sweep over the rows of a dense matrix in this order, in extended precision."""
    a, x = a.astype(np.longdouble), x.astype(np.longdouble)
    for i in rows:
        x[i] += omega * (b[i] - a[i] @ x) / a[i, i]
    return x


def _sweep(a, b, x, omega, coloring=None):
    return sweep(a.toarray(), b, x, omega, range(len(x)) if coloring is None else coloring.order)


def _colors(a):
    near, color = a.toarray() != 0, {}
    for i in range(a.shape[0]):
        taken = {color[j] for j in range(i) if near[i, j] or near[j, i]}
        color[i] = min(set(range(len(taken) + 1)) - taken)
    order = sorted(color, key=lambda i: (color[i], i))
    counts = np.bincount(list(color.values()), minlength=0).astype(np.int64)
    return np.array(order, np.int64), (0, *np.cumsum(counts).tolist()), len(counts)


def _grid(dtype):
    """A function on the grid from measured data: the pixels of digits, tiled."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data.ravel()[: GRID * GRID]
    return five_points(GRID, dtype), pixels.astype(dtype)


def _real_product(dtype):
    a, x = _grid(dtype)
    return {"a": a, "x": x}


def _real_sweep(dtype):
    a, b = _grid(dtype)
    return {"a": a, "b": b, "x": np.zeros_like(b), "omega": 1.5}


def _stencil(result, a, x):
    """The interior rows of the grid, directly from the five-point formula."""
    middle = slice(GRID * (GRID // 2), GRID * (GRID // 2) + GRID)
    part = CSR.from_coo(
        a.rows[a.indptr[middle.start] : a.indptr[middle.stop]] - middle.start,
        a.indices[a.indptr[middle.start] : a.indptr[middle.stop]],
        a.data[a.indptr[middle.start] : a.indptr[middle.stop]],
        (GRID, GRID * GRID),
    )
    return result[middle], {"a": part, "x": x}


def _first_rows(result, a, b, x, omega):
    """The first rows of a forward sweep, which depend on these rows alone since x starts at
    zero."""
    n = 2 * GRID
    last = int(a.indptr[n])
    inside = a.indices[:last] < n
    part = CSR.from_coo(
        a.rows[:last][inside], a.indices[:last][inside], a.data[:last][inside], (n, n)
    )
    return result[:n], {"a": part, "b": b[:n], "x": x[:n], "omega": omega}


def _colored_call(rng, dtype):
    a = diagonally_dominant(rng, dtype, 37)
    b, x = rng.standard_normal((2, 37, 2)).astype(dtype)
    return {"a": a, "b": b, "x": x, "omega": 1.0, "coloring": color_graph(a)}


def _one_column(rng, dtype, n):
    b, x = rng.standard_normal((2, n)).astype(dtype)
    return {"a": diagonally_dominant(rng, dtype, n), "b": b, "x": x, "omega": 1.2}


@functools.lru_cache(maxsize=4)
def as_scipy(a):
    from scipy.sparse import csr_array

    return csr_array((a.data, a.indices, a.indptr), a.shape)


def _scipy(a, x):
    return as_scipy(a) @ x


def _scipy_sweep(a, b, x, omega):
    """(D / ω + L) y = b - (U + (1 - 1 / ω) D) x."""
    from scipy.sparse import tril
    from scipy.sparse.linalg import spsolve_triangular

    a = as_scipy(a)
    lower = (tril(a, -1) + tril(a).multiply(1 / omega) - tril(a, -1).multiply(1 / omega)).tocsr()
    return x + spsolve_triangular(lower, b - a @ x)


BOUND = {"float32": 1e-6, "float64": 1e-14}

EXAMPLES = {
    "spmv": Example(
        lambda rng, dtype: {
            "a": random_csr(rng, dtype, 41, 29),
            "x": rng.standard_normal((29, 3)).astype(dtype),
        },
        ("x",),
        _product,
        BOUND,
        sizes=lambda rng, dtype, n: {
            "a": random_csr(rng, dtype, n, n),
            "x": rng.standard_normal(n).astype(dtype),
        },
        data="pixels of the digits images on a grid of five-point stencils",
        real=_real_product,
        sample=_stencil,
        peer=("scipy.sparse product", _scipy),
    ),
    "triangular_sweep": Example(
        _colored_call,
        ("b", "x"),
        _sweep,
        BOUND,
        data="pixels of the digits images on a grid of five-point stencils",
        real=_real_sweep,
        sample=_first_rows,
        peer=("scipy.sparse spsolve_triangular", _scipy_sweep),
        sizes=_one_column,
    ),
    "color_graph": Example(
        lambda rng, dtype: {"a": random_csr(rng, dtype, 50, 50)},
        (),
        _colors,
        {"float32": 0.0, "float64": 0.0},
        error="equal",
        sizes=lambda rng, dtype, n: {"a": random_csr(rng, dtype, n, n)},
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _matrix(rng, variant, m, n):
    a = random_csr(rng, variant["T"], m, n)
    return a.indptr.astype(variant["INDEX"]), a.indices.astype(variant["INDEX"]), a.data


def _times_vector(rng, variant, size):
    return [
        *_matrix(rng, variant, size, 23),
        rng.standard_normal(23).astype(variant["T"]),
        np.full(size, np.nan, variant["T"]),
    ]


def _times_matrix(rng, variant, size):
    k = int(rng.integers(1, 40))
    return [
        *_matrix(rng, variant, size, 23),
        rng.standard_normal((23, k)).astype(variant["T"]),
        np.full((size, k), np.nan, variant["T"]),
    ]


def _system(rng, variant, n, k):
    a = diagonally_dominant(rng, variant["T"], n)
    b, x = rng.standard_normal((2, k, n)).astype(variant["T"])
    return (
        a,
        [
            a.indptr.astype(variant["INDEX"]),
            a.indices.astype(variant["INDEX"]),
            a.data,
            a.diagonal_at.astype(variant["INDEX"]),
            a.inverse_diagonal,
        ],
        b,
        x,
    )


def _sweep_rows(rng, variant, size):
    _, matrix, b, x = _system(rng, variant, 19, size)
    return [*matrix, b, x, 1.3, int(rng.integers(2))]


def _sweep_color(rng, variant, size):
    a, matrix, b, x = _system(rng, variant, 4 * size + 1, 2)
    coloring = color_graph(a)
    rows = coloring.order[: coloring.starts[1]][:size]
    return [*matrix, rows, b, x, 1.3]


def _color_rows(rng, variant, size):
    a = diagonally_dominant(rng, np.dtype(np.float64), 30)
    return [
        np.tile(a.indptr.astype(np.int64), (size, 1)),
        np.tile(a.indices.astype(np.int64), (size, 1)),
        np.full((size, 30), -7, np.int64),
    ]


KERNELS = {
    "csr_times_vector": _times_vector,
    "csr_times_matrix": _times_matrix,
    "sweep_rows": _sweep_rows,
    "sweep_color": _sweep_color,
    "color_rows": _color_rows,
}
