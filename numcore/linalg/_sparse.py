"""Sparse matrices by rows: products, Gauss–Seidel and SOR sweeps, and the colouring that lets rows
of a sweep be updated at once.

`CSR` is a small container for NumPy and CuPy arrays alike; matrices of ``scipy.sparse`` and
``cupyx.scipy.sparse`` are taken wherever a `CSR` is, without a copy where their rows are sorted.
"""

import itertools
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import checked_choice, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..simd import popcount

INT32_MOST = 2**31 - 1


# --- the container --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CSR:
    """A sparse matrix in compressed rows: row i has the entries ``data[indptr[i]:indptr[i + 1]]``
    in the columns ``indices`` there.

    Parameters
    ----------
    indptr : (m + 1,) array of int
    indices : (nnz,) array of int
        Columns, ascending in each row, without repetitions; else they are sorted and repeated ones
        summed, in copies.
    data : (nnz,) array of float32 or float64
    shape : (int, int)

    The arrays must not be changed afterwards. Indices are kept as int32 where the entries and
    columns can be counted so, else as int64.

    Raises
    ------
    ValueError
        `indptr` does not ascend from 0 to nnz, or an index lies outside of the matrix.
    TypeError
        Other dtypes, or arrays on different devices.

    Examples
    --------
    >>> a = CSR([0, 1, 3], [1, 0, 1], np.array([2.0, 3.0, 4.0]), (2, 2))
    >>> a.to_dense()
    array([[0., 2.],
           [3., 4.]])
    """

    indptr: Any
    indices: Any
    data: Any
    shape: tuple

    def __post_init__(self):
        xp, (indptr, indices, data) = on_device(
            indptr=self.indptr, indices=self.indices, data=self.data
        )
        float_dtype(data=data)
        m, n = checked_shape(self.shape)
        for name, array in (("indptr", indptr), ("indices", indices)):
            if array is None or array.dtype.kind not in "iu" and array.size:
                raise TypeError(
                    f"{name} must be an array of integers (got {getattr(array, 'dtype', None)})"
                )
        if indptr.shape != (m + 1,) or indices.ndim != 1 or indices.shape != data.shape:
            raise ValueError(
                f"indptr, indices and data must have shapes ({m + 1},), (nnz,), (nnz,) (got "
                f"{indptr.shape}, {indices.shape}, "
                f"{data.shape})"
            )
        nnz = len(data)
        if int(indptr[0]) != 0 or int(indptr[-1]) != nnz or bool((indptr[1:] < indptr[:-1]).any()):
            raise ValueError(f"indptr must ascend from 0 to nnz={nnz}")
        if nnz and not (0 <= int(indices.min()) and int(indices.max()) < n):
            raise ValueError(
                f"indices must satisfy 0 <= index < {n} (got {int(indices.min())} … "
                f"{int(indices.max())})"
            )
        kind = np.int32 if max(nnz, n, m) <= INT32_MOST else np.int64
        indptr, indices = (
            xp.ascontiguousarray(array.astype(kind, copy=False)) for array in (indptr, indices)
        )
        data = xp.ascontiguousarray(data)
        if nnz > 1:
            same_row = xp.ones(nnz - 1, bool)
            starts = indptr[1:-1]
            same_row[starts[(starts > 0) & (starts < nnz)] - 1] = False
            if bool((same_row & (indices[1:] <= indices[:-1])).any()):
                rows = xp.repeat(
                    xp.arange(m), xp.diff(indptr).tolist() if xp is not np else xp.diff(indptr)
                )
                indptr, indices, data = _by_rows(xp, rows, indices, data, m, n, kind)
        for name, value in (
            ("indptr", indptr),
            ("indices", indices),
            ("data", data),
            ("shape", (m, n)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_coo(cls, rows, cols, values, shape):
        """From entries in any order; entries of one place are summed.

        Parameters
        ----------
        rows, cols : (nnz,) array of int
        values : (nnz,) array of float32 or float64
        shape : (int, int)
        """
        xp, (rows, cols, values) = on_device(rows=rows, cols=cols, values=values)
        float_dtype(values=values)
        m, n = checked_shape(shape)
        for name, array, limit in (("rows", rows, m), ("cols", cols, n)):
            if array is None or array.dtype.kind not in "iu" and array.size:
                raise TypeError(
                    f"{name} must be an array of integers (got {getattr(array, 'dtype', None)})"
                )
            if array.ndim != 1 or array.shape != values.shape:
                raise ValueError(
                    f"{name} and values must have one length (got shapes {array.shape}, "
                    f"{values.shape})"
                )
            if array.size and not (0 <= int(array.min()) and int(array.max()) < limit):
                raise ValueError(
                    f"{name} must satisfy 0 <= index < {limit} (got {int(array.min())} … "
                    f"{int(array.max())})"
                )
        kind = np.int32 if max(len(values), m, n) <= INT32_MOST else np.int64
        return cls(*_by_rows(xp, rows, cols, values, m, n, kind), (m, n))

    @classmethod
    def from_dense(cls, a):
        """From a matrix of float32 or float64; zeros are left out."""
        xp, (a,) = on_device(a=a)
        float_dtype(a=a)
        if a.ndim != 2:
            raise ValueError(f"a must have 2 dimensions (got shape {a.shape})")
        rows, cols = xp.nonzero(a)
        return cls.from_coo(rows, cols, a[rows, cols], a.shape)

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def nnz(self):
        return len(self.data)

    @cached_property
    def rows(self):
        """(nnz,) array: the row of every entry."""
        xp, _ = on_device(indptr=self.indptr)
        ends = (
            xp.bincount(self.indptr[1:-1], minlength=self.nnz + 1)
            if len(self.indptr) > 2
            else xp.zeros(self.nnz + 1, np.int64)
        )
        return xp.cumsum(ends[: self.nnz]).astype(self.indptr.dtype)

    def transpose(self):
        """The transpose, a CSR too."""
        return CSR.from_coo(self.indices, self.rows, self.data, self.shape[::-1])

    def diagonal(self):
        """(min(m, n),) array, zero where there is no entry."""
        xp, _ = on_device(indptr=self.indptr)
        result = xp.zeros(min(self.shape), self.dtype)
        result[self.indices[self._diagonal_at]] = self.data[self._diagonal_at]
        return result

    @cached_property
    def _diagonal_at(self):
        """The places of the diagonal's entries among all entries."""
        xp, _ = on_device(indptr=self.indptr)
        return xp.nonzero(self.rows == self.indices)[0].astype(self.indptr.dtype)

    @cached_property
    def inverse_diagonal(self):
        """(n,) array of the inverses of the diagonal; ValueError where it has a zero or lacks an
        entry."""
        diagonal = self.diagonal()
        if len(self._diagonal_at) < len(diagonal) or bool((diagonal == 0).any()):
            raise ValueError(
                f"a must have no zero on its diagonal (got one in row "
                f"{int((diagonal == 0).argmax())})"
            )
        return 1 / diagonal

    @cached_property
    def has_positive_diagonal(self):
        """Whether every entry of the diagonal is there and positive."""
        return len(self._diagonal_at) == min(self.shape) and bool(
            (self.data[self._diagonal_at] > 0).all()
        )

    def with_data(self, data):
        """A matrix of the same pattern, for sequences of systems: what is known of the pattern is
        kept.

        Parameters
        ----------
        data : (nnz,) array of float32 or float64
            In the order of `data`.
        """
        xp, (_, data) = on_device(indices=self.indices, data=data)
        float_dtype(data=data)
        if data.shape != self.data.shape:
            raise ValueError(f"data must have shape {self.data.shape} (got {data.shape})")
        other = object.__new__(CSR)
        pattern = {name: self.__dict__[name] for name in ("indptr", "indices", "shape")}
        other.__dict__.update(
            pattern, data=xp.ascontiguousarray(data), rows=self.rows, _diagonal_at=self._diagonal_at
        )
        return other

    def to_dense(self):
        """(m, n) array."""
        xp, _ = on_device(indptr=self.indptr)
        result = xp.zeros(self.shape, self.dtype)
        result[self.rows, self.indices] = self.data
        return result

    def matmat(self, x):
        """The product with (n,) or (n, k) arrays, see :func:`spmv`."""
        return spmv(self, x)

    def rmatmat(self, x):
        """The product of the transpose with (m,) or (m, k) arrays."""
        return spmv(self._transposed, x)

    @cached_property
    def _transposed(self):
        return self.transpose()


def checked_shape(shape):
    """(m, n), both at least 0."""
    try:
        m, n = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise TypeError(f"shape must be a pair of integers (got {shape!r})") from None
    if m < 0 or n < 0:
        raise ValueError(f"shape must be >= 0 (got {shape})")
    return m, n


def _by_rows(xp, rows, cols, values, m, n, kind):
    """indptr, indices and data of entries in any order, in memory of a few arrays of their
    number."""
    order = (
        xp.argsort(rows.astype(np.int64) * n + cols)
        if m * n < 2**63
        else xp.lexsort(xp.stack([cols, rows]))
    )
    rows, cols, values = rows[order], cols[order], values[order]
    first = xp.ones(len(values), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (cols[1:] != cols[:-1])
    if not bool(first.all()):
        summed = xp.bincount(xp.cumsum(first) - 1, weights=values)  # in float64
        rows, cols, values = rows[first], cols[first], summed.astype(values.dtype)
    indptr = xp.zeros(m + 1, kind)
    indptr[1:] = xp.cumsum(
        xp.bincount(rows.astype(np.int64), minlength=m) if len(rows) else xp.zeros(m, np.int64)
    )
    return indptr, cols.astype(kind), values


def as_csr(a, name="a"):
    """`a`, a `CSR` or a sparse matrix of SciPy or CuPy, as a `CSR`; TypeError for anything else."""
    if isinstance(a, CSR):
        return a
    if type(a).__module__.partition(".")[0] in ("scipy", "cupyx") and hasattr(a, "tocsr"):
        a = a.tocsr()
        return CSR(a.indptr, a.indices, a.data, a.shape)
    raise TypeError(
        f"{name} must be a CSR or a sparse matrix of SciPy or CuPy (got {type(a).__name__})"
    )


# --- products -------------------------------------------------------------------------------------


@routine
def spmv(a, x):
    """Product of a sparse matrix with a vector or with several.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (m, n)
    x : (n,) or (n, k) array of the dtype of `a`

    Returns
    -------
    (m,) or (m, k) array
        Products of float32 are summed in float64, so that long rows keep residuals honest; the
        error of a row is at most its number of entries times the unit roundoff times the sum of the
        absolute products, in float64.

    Raises
    ------
    ValueError
        The shapes do not fit.
    TypeError
        `a` is no sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    One read of the matrix; rows are shared out among the threads, and each is summed in one order.

    References
    ----------
    Y. Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, SIAM 2003, section 3.4.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> spmv(CSR.from_dense(np.array([[0.0, 2.0], [3.0, 4.0]])), np.array([1.0, 10.0]))
    array([20., 43.])
    """
    a = as_csr(a)
    xp, (_, x) = on_device(a=a.data, x=x)
    dtype = float_dtype(a=a.data, x=x)
    if x.ndim not in (1, 2) or x.shape[0] != a.shape[1]:
        raise ValueError(f"x must have shape ({a.shape[1]},) or ({a.shape[1]}, k) (got {x.shape})")
    y = xp.empty((a.shape[0], *x.shape[1:]), dtype)
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
    """The sum of data[e] x[indices[e]] in float64. Unsigned indices need no test whether they count
    from the end.

    np.float64 and not float, which in Numba leaves a float32 as it is.
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
    """Rows in groups that share no edge: rows ``order[starts[c]:starts[c + 1]]`` have colour c.

    Attributes
    ----------
    order : (n,) array of int64
    starts : tuple of num_colors + 1 ints
    num_colors : int
    """

    order: Any
    starts: tuple
    num_colors: int


@routine
def color_graph(a):
    """Greedy first-fit colouring of the graph of a square matrix: rows of one colour have no entry
    in each other's columns.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n); its pattern and that of its transpose are joined, the diagonal is ignored.

    Returns
    -------
    Coloring
        Two colours for a grid with five points, red and black; at most the largest number of
        neighbours plus one.

    Raises
    ------
    ValueError
        `a` is not square.
    TypeError
        `a` is no sparse matrix.

    Notes
    -----
    Rows are taken in their natural order, each gets the least colour that no neighbour has: O(nnz)
    on one thread.

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
    a = as_csr(a)
    n = _checked_square(a)
    xp, _ = on_device(a=a.data)
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


def _checked_square(a):
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"a must be square (got shape {a.shape})")
    return a.shape[0]


@kernel(
    "in int64 indptr[g, n+1]; in int64 indices[g, z]; out int64 colors[g, n]",
    split="g",
    gpu="thread",
    threads=32,
    grain="1",
)
def color_rows(indptr, indices, colors, start, stop):
    """The rows of g graphs of one size, each graph in its natural order."""
    for g in range(start, stop):
        for i in range(colors.shape[1]):
            color, base = np.int64(-1), np.int64(0)
            while color < 0:  # 64 colours at a time: a bit for each that a neighbour has
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
def triangular_sweep(a, b, x, *, omega=1.0, direction="forward", coloring=None):
    """One sweep of Gauss–Seidel or successive over-relaxation (SOR).

    Row after row, ``x_i ← x_i + ω (b_i - Σ_j a_ij x_j) / a_ii`` with the entries of x that the
    sweep has already changed.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n) without zeros on its diagonal.
    b, x : (n,) or (n, k) array of the dtype of `a`
        Right-hand sides and what is to be improved.
    omega : float
        0 < omega < 2; 1 is Gauss–Seidel.
    direction : {"forward", "backward", "symmetric"}
        Rows from first to last, from last to first, or both, one after the other.
    coloring : Coloring, optional
        Rows of one colour are changed at once, colour after colour. None: rows in their natural
        order on the CPU, the colouring of `color_graph` on a GPU. The two orders give different
        results; for symmetric positive definite matrices both converge.

    Returns
    -------
    array like `x`
        A new array; a row's sum is taken in float64.

    Raises
    ------
    ValueError
        The matrix is not square, its diagonal has a zero, `omega` is not between 0 and 2, or shapes
        do not fit.
    TypeError
        `a` is no sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    One read of the matrix. In natural order a sweep is sequential: only right-hand sides are shared
    out among the threads.

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
    a = as_csr(a)
    n = _checked_square(a)
    xp, (_, b, x) = on_device(a=a.data, b=b, x=x)
    dtype = float_dtype(a=a.data, b=b, x=x)
    if x.ndim not in (1, 2) or x.shape[0] != n or b.shape != x.shape:
        raise ValueError(
            f"b and x must have one shape, ({n},) or ({n}, k) (got {b.shape} and {x.shape})"
        )
    omega = checked_number("omega", omega, above=0, below=2)
    checked_choice("direction", direction, ("forward", "backward", "symmetric"))
    if coloring is None and xp is not np:
        coloring = color_graph(a)
    elif coloring is not None:
        _checked_coloring(coloring, n)
    columns = xp.ascontiguousarray(b.T if b.ndim == 2 else b[None])
    y = xp.array(x.T if x.ndim == 2 else x[None], dtype, order="C")
    if y.size:
        for forward in {"forward": (1,), "backward": (0,), "symmetric": (1, 0)}[direction]:
            _sweep(a, columns, y, omega, forward, coloring)
    return xp.ascontiguousarray(y.T) if x.ndim == 2 else y[0]


def _sweep(a, b, x, omega, forward, coloring):
    matrix = a.indptr, a.indices, a.data, a._diagonal_at, a.inverse_diagonal
    if coloring is None:
        sweep_rows(*matrix, b, x, omega, forward)
        return
    colors = range(coloring.num_colors)
    for c in colors if forward else reversed(colors):
        rows = coloring.order[coloring.starts[c] : coloring.starts[c + 1]]
        sweep_color(*matrix, rows, b, x, omega)


def _checked_coloring(coloring, n):
    if not isinstance(coloring, Coloring):
        raise TypeError(f"coloring must be a Coloring (got {type(coloring).__name__})")
    if coloring.order.shape != (n,):
        raise ValueError(f"coloring must be one of {n} rows (got {coloring.order.shape})")
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
    gpu="thread",
    threads=32,
    grain="1",
    types=INDICES,
)
def sweep_rows(indptr, indices, data, at, inverse, b, x, omega, forward, start, stop):
    """A sweep in natural order for each right-hand side. The last x is kept at hand: the next row
    waits for nothing else."""
    n = b.shape[1]
    for c in range(start, stop):
        right, y, last = b[c], x[c], 0.0
        for step in range(n):
            i = step if forward else n - 1 - step
            middle, first, end = at[i], indptr[i], indptr[i + 1]
            if forward:
                beside, low = left_neighbour(i, first, middle, indices, data)
                rest = (
                    right[i]
                    - row_product(middle, end, indices, data, y)
                    - row_product(first, low, indices, data, y)
                )
            else:
                beside, high = right_neighbour(i, middle, end, indices, data)
                rest = (
                    right[i]
                    - row_product(high, end, indices, data, y)
                    - row_product(first, middle + 1, indices, data, y)
                )
            scale = np.float64(omega) * inverse[i]
            y[i] = (y[i] + scale * rest) - (scale * beside) * last
            last = np.float64(y[i])


def left_neighbour(i, first, middle, indices, data):
    """The entry (i, i - 1), or 0, and where the entries further left end."""
    if middle > first and indices[np.uintp(middle - 1)] == i - 1:
        return np.float64(data[np.uintp(middle - 1)]), middle - 1
    return 0.0, middle


def right_neighbour(i, middle, last, indices, data):
    """The entry (i, i + 1), or 0, and where the entries further right start."""
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
    """The rows of one colour, for all right-hand sides: no row reads what another writes."""
    for r in range(start, stop):
        i = rows[r]
        for c in range(b.shape[0]):
            x[c, i] += (
                omega
                * inverse[i]
                * (b[c, i] - row_product(indptr[i], indptr[i + 1], indices, data, x[c]))
            )
