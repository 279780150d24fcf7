"""Sparse products and sweeps: matrix–vector products, Gauss–Seidel and SOR sweeps, and the graph
coloring that lets rows of a sweep be updated in parallel."""

import itertools
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from ..arguments import Array, Float, Int64, between
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import popcount
from ._csr import CSR, CSRLike, Sparse

# --- products -------------------------------------------------------------------------------------


@routine
def spmv(a: Sparse[CSRLike, "m n"], x: Float[Array, "n"] | Float[Array, "n k"]) -> Array:
    """Product of a sparse matrix with one or several vectors.

    Parameters
    ----------
    a : (m, n) CSR or sparse array
    x : (n,) array of float32 or float64 or (n, k) array of float32 or float64

    Returns
    -------
    (m,) or (m, k) array
        Sums are in float64, also for float32, so that residuals of long rows are accurate; the
        error of a row is at most its number of entries times the unit roundoff of float64 times the
        sum of the absolute products, before the result is rounded.

    Raises
    ------
    ValueError
        The shapes do not match.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    One read of the matrix; rows are distributed over the threads, and each is summed in a fixed
    order. From the second call on, a SciPy sparse array costs about a microsecond more than a
    `CSR`: its pattern is checked on the first call, and its entries are not copied.

    References
    ----------
    Y. Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, SIAM 2003, section 3.4.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> spmv(CSR.from_dense(np.array([[0.0, 2.0], [3.0, 4.0]])), np.array([1.0, 10.0]))
    array([20., 43.])
    """
    xp = namespace_of(x)
    y = xp.empty((a.shape[0], *x.shape[1:]), x.dtype)
    if y.size:
        product = csr_times_vector if x.ndim == 1 else csr_times_matrix
        product(a.indptr, a.indices, a.data, xp.ascontiguousarray(x), y)
    return y


INDICES = {"INDEX": ("int32", "int64")}


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T x[n]; out T y[m]",
    split="m",
    gpu="warp",
    types=INDICES,
)
def csr_times_vector(indptr, indices, data, x, y, start, stop):
    for i in range(start, stop):
        y[i] = row_product(indptr[i], indptr[i + 1], indices, data, x)


def row_product(first, last, indices, data, x):
    """Σ data[e] x[indices[e]] in float64. Unsigned indices avoid Numba's test for negative ones.

    np.float64 instead of float, because float leaves a float32 unchanged in Numba.
    """
    total = 0.0
    for e in range(np.uintp(first), np.uintp(last)):
        total += np.float64(data[e]) * np.float64(x[np.uintp(indices[e])])
    return total


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T x[n, k]; out T y[m, k]; "
    "scratch float64 total[k]",
    split="m",
    gpu="warp",
    types=INDICES,
)
def csr_times_matrix(indptr, indices, data, x, y, total, start, stop):
    k = x.shape[1]
    for i in range(start, stop):
        for c in range(k):
            total[c] = 0
        for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
            value, row = np.float64(data[e]), x[np.uintp(indices[e])]
            for c in range(k):
                total[c] += value * row[c]
        for c in range(k):
            y[i, c] = total[c]


# --- sweeps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coloring:
    """Groups of uncoupled rows: rows ``order[starts[c]:starts[c + 1]]`` have color c.

    Attributes
    ----------
    order : (n,) array of int64
    starts : tuple of n_colors + 1 ints
    n_colors : int
    """

    order: Int64[Array, "n"]
    starts: tuple[int, ...]
    n_colors: int


@routine
def color_graph(a: Sparse[CSRLike, "n n"]) -> Coloring:
    """Greedy first-fit coloring of the graph of a square matrix, such that rows of one color are
    not coupled.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        The union of its pattern and that of its transpose is colored; the diagonal is ignored.

    Returns
    -------
    Coloring
        Two colors (red and black) for a five-point grid; in general, at most the largest number of
        neighbors plus one.

    Raises
    ------
    ValueError
        `a` is not square.
    TypeError
        `a` is not a sparse matrix.

    Notes
    -----
    In natural order, each row gets the lowest color that none of its neighbors has: O(nnz) on one
    thread.

    References
    ----------
    Y. Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, SIAM 2003, section 3.3.3.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> path = CSR.from_dense(np.eye(4) * 2 - np.eye(4, k=1) - np.eye(4, k=-1))
    >>> color_graph(path).order
    array([0, 2, 1, 3])
    """
    n, xp = a.shape[0], namespace_of(a.data)
    edges = a.rows != a.indices
    rows, cols = a.rows[edges], a.indices[edges]
    both = CSR.from_coo(
        xp.concatenate([rows, cols]),
        xp.concatenate([cols, rows]),
        xp.ones(2 * len(rows), np.float32),
        a.shape,
    )
    colors = xp.empty((1, n), np.int64)
    if n:
        color_rows(both.indptr[None].astype(np.int64), both.indices[None].astype(np.int64), colors)
    colors = colors[0]
    counts = xp.bincount(colors) if n else xp.zeros(0, np.int64)
    order = xp.argsort(colors * n + xp.arange(n))
    return Coloring(order, tuple(itertools.accumulate(counts.tolist(), initial=0)), len(counts))


@kernel(
    "in int64 indptr[g, n+1]; in int64 indices[g, z]; out int64 colors[g, n]",
    split="g",
    gpu="thread",
    threads=32,
    grain="1",
)
def color_rows(indptr, indices, colors, start, stop):
    """First-fit colors of the rows of g graphs of equal size, in natural order."""
    for g in range(start, stop):
        for i in range(colors.shape[1]):
            color, base = np.int64(-1), np.int64(0)
            while color < 0:  # 64 colors at a time: a bit is set if a neighbor has the color
                used = np.uint64(0)
                for e in range(indptr[g, i], indptr[g, i + 1]):
                    j = indices[g, e]
                    if j < i and base <= colors[g, j] < base + 64:
                        used |= np.uint64(1) << np.uint64(colors[g, j] - base)
                if used != ~np.uint64(0):
                    color = base + popcount(used & ~(used + np.uint64(1)))  # trailing ones
                base += 64
            colors[g, i] = color


@routine
def triangular_sweep(
    a: Sparse[CSRLike, "n n"],
    b: Float[Array, "n *k"],
    x: Float[Array, "n *k"],
    *,
    omega: Annotated[float, between(0, 2)] = 1.0,
    direction: Literal["forward", "backward", "symmetric"] = "forward",
    coloring: Coloring | None = None,
) -> Array:
    """One sweep of Gauss–Seidel or successive over-relaxation (SOR).

    Row by row, ``x_i ← x_i + ω (b_i - Σ_j a_ij x_j) / a_ii``, using the entries of x already
    updated in this sweep.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        Without zeros on its diagonal.
    b, x : (n, ...) array of float32 or float64
        Right-hand sides and current approximations.
    omega : float in (0, 2), default 1.0
        1 is Gauss–Seidel.
    direction : {"forward", "backward", "symmetric"}, default "forward"
        Rows from first to last, from last to first, or a forward followed by a backward sweep.
    coloring : Coloring, optional
        Update rows color by color, those of one color in parallel. None: natural order on the CPU,
        the coloring of `color_graph` on a GPU. The two orders give different results; for symmetric
        positive definite matrices both converge.

    Returns
    -------
    array like `x`
        A new array; sums are in float64.

    Raises
    ------
    ValueError
        The matrix is not square, its diagonal has a zero, `omega` is out of range, or shapes do not
        match.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    One read of the matrix. In natural order a sweep is sequential: only right-hand sides are
    distributed over the threads. A `CSR` caches its inverted diagonal; for a SciPy sparse array it
    is computed on every call, since the entries may have changed.

    References
    ----------
    Y. Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, SIAM 2003, section 4.1.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> a = CSR.from_dense(np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 4.0]]))
    >>> triangular_sweep(a, np.array([1.0, 2.0, 3.0]), np.zeros(3), omega=1.5)
    array([0.375     , 0.890625  , 1.45898438])
    """
    xp, n = namespace_of(x), len(x)
    if coloring is None and xp is not np:
        coloring = color_graph(a)
    elif coloring is not None:
        check_coloring(coloring, n)
    columns = xp.ascontiguousarray(b.T if b.ndim == 2 else b[None])
    y = xp.array(x.T if x.ndim == 2 else x[None], order="C")
    if y.size:
        for forward in {"forward": (1,), "backward": (0,), "symmetric": (1, 0)}[direction]:
            _sweep(a, columns, y, omega, forward, coloring)
    return xp.ascontiguousarray(y.T) if x.ndim == 2 else y[0]


def _sweep(a, b, x, omega, forward, coloring):
    matrix = a.indptr, a.indices, a.data, a.diagonal_at, a.inverse_diagonal
    if coloring is None:
        sweep_rows(*matrix, b, x, omega, forward)
        return
    colors = range(coloring.n_colors)
    for c in colors if forward else reversed(colors):
        rows = coloring.order[coloring.starts[c] : coloring.starts[c + 1]]
        sweep_color(*matrix, rows, b, x, omega)


def check_coloring(coloring, n):
    if n and not (int(coloring.order.min()) == 0 and int(coloring.order.max()) == n - 1):
        raise ValueError(f"coloring.order must be a permutation of {n} rows")
    if list(coloring.starts) != sorted(coloring.starts) or (
        coloring.starts[0],
        coloring.starts[-1],
    ) != (0, n):
        raise ValueError(f"coloring.starts must ascend from 0 to {n} (got {coloring.starts})")


@kernel(
    "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in INDEX at[n]; in T inverse[n]; "
    "in T b[k, n];"
    " inout T x[k, n]; T omega; int64 forward",
    split="k",
    gpu=None,
    host_only="on the GPU a sweep goes color by color",
    grain="1",
    types=INDICES,
)
def sweep_rows(indptr, indices, data, at, inverse, b, x, omega, forward, start, stop):
    """A sweep in natural order for each right-hand side. The last x is kept in a register: the next
    row depends on nothing else."""
    n = b.shape[1]
    for c in range(start, stop):
        right, y, last = b[c], x[c], 0.0
        for step in range(n):
            i = step if forward else n - 1 - step
            middle, first, end = at[i], indptr[i], indptr[i + 1]
            if forward:
                adjacent, low = left_neighbor(i, first, middle, indices, data)
                rest = (
                    right[i]
                    - row_product(middle, end, indices, data, y)
                    - row_product(first, low, indices, data, y)
                )
            else:
                adjacent, high = right_neighbor(i, middle, end, indices, data)
                rest = (
                    right[i]
                    - row_product(high, end, indices, data, y)
                    - row_product(first, middle + 1, indices, data, y)
                )
            scale = np.float64(omega) * inverse[i]
            y[i] = (y[i] + scale * rest) - (scale * adjacent) * last
            last = np.float64(y[i])


def left_neighbor(i, first, middle, indices, data):
    """The entry (i, i - 1), or 0, and the end of the entries further left."""
    if middle > first and indices[np.uintp(middle - 1)] == i - 1:
        return np.float64(data[np.uintp(middle - 1)]), middle - 1
    return 0.0, middle


def right_neighbor(i, middle, last, indices, data):
    """The entry (i, i + 1), or 0, and the start of the entries further right."""
    if middle + 1 < last and indices[np.uintp(middle + 1)] == i + 1:
        return np.float64(data[np.uintp(middle + 1)]), middle + 2
    return 0.0, middle + 1


@kernel(
    "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in INDEX at[n]; in T inverse[n]; "
    "in int64 rows[r];"
    " in T b[k, n]; inout T x[k, n]; T omega",
    split="r",
    gpu="thread",
    types=INDICES,
)
def sweep_color(indptr, indices, data, at, inverse, rows, b, x, omega, start, stop):
    """Update the rows of one color for all right-hand sides; no row reads what another writes."""
    for r in range(start, stop):
        i = rows[r]
        for c in range(b.shape[0]):
            x[c, i] += (
                omega
                * inverse[i]
                * (b[c, i] - row_product(indptr[i], indptr[i + 1], indices, data, x[c]))
            )
