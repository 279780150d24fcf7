"""Sparse matrices in CSR format: one class for NumPy and CuPy, and its use in the signatures of
routines.

A routine declares ``a: Sparse[CSRLike, "n n"]`` and receives a `CSR`; callers pass a `CSR` or a
SciPy or CuPy sparse array, whose pattern is checked once per object and not in every call.
"""

import weakref
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import numpy as np

from .. import dispatch
from ..arguments import Array, Float, Integer, Kind, checked, nonnegative, own_dtype
from ..dispatch import namespace_of

MAX_INT32 = 2**31 - 1
Extent: TypeAlias = Annotated[int, nonnegative]


class CSR:
    """Sparse matrix in compressed sparse row (CSR) format: row i has the entries
    ``data[indptr[i]:indptr[i + 1]]`` in the columns ``indices[indptr[i]:indptr[i + 1]]``.

    Parameters
    ----------
    indptr : (m+1,) array of integers
    indices : (nnz,) array of integers
        Columns, in any order; duplicate entries are summed.
    data : (nnz,) array of float32 or float64
    shape : (int >= 0, int >= 0)

    Attributes
    ----------
    indptr, indices, data : arrays
        Private copies, with columns ascending in each row. Indices are int32 if the numbers of
        entries, rows and columns permit it, else int64.
    shape : (int, int)

    Raises
    ------
    ValueError
        `indptr` does not ascend from 0 to nnz, or an index is out of range.
    TypeError
        Other dtypes, or arrays on different devices.

    Examples
    --------
    >>> a = CSR([0, 1, 3], [1, 0, 1], np.array([2.0, 3.0, 4.0]), (2, 2))
    >>> a.toarray()
    array([[0., 2.],
           [3., 4.]])
    >>> a @ np.array([1.0, 10.0])
    array([20., 43.])
    """

    __array_ufunc__ = None  # so that NumPy leaves x @ a to __rmatmul__

    @checked
    def __init__(
        self,
        indptr: Integer[Array, "m+1"],
        indices: Integer[Array, "nnz"],
        data: Float[Array, "nnz"],
        shape: tuple[Extent, Extent],
    ):
        xp, (m, n), nnz = namespace_of(data), shape, len(data)
        if len(indptr) != m + 1:
            raise ValueError(
                f"indptr must have shape ({m + 1},), one more than rows (got {indptr.shape})"
            )
        if int(indptr[0]) != 0 or int(indptr[-1]) != nnz or bool((indptr[1:] < indptr[:-1]).any()):
            raise ValueError(f"indptr must ascend from 0 to nnz = {nnz}")
        _check_range("indices", indices, n)
        kind = _index_dtype(nnz, m, n)
        indptr, indices, data = indptr.astype(kind), indices.astype(kind), data.copy()
        if nnz > 1:
            same_row = xp.ones(nnz - 1, bool)
            starts = indptr[1:-1]
            same_row[starts[(starts > 0) & (starts < nnz)] - 1] = False
            if bool((same_row & (indices[1:] <= indices[:-1])).any()):
                counts = xp.diff(indptr)
                rows = xp.repeat(xp.arange(m), counts if xp is np else counts.tolist())
                indptr, indices, data = _by_rows(xp, rows, indices, data, m, n)
        self._own(indptr, indices, data, (m, n))

    def _own(self, indptr, indices, data, shape):
        """Adopt arrays that are checked and not shared; returns the matrix."""
        self.indptr, self.indices, self.data, self.shape = indptr, indices, data, shape
        for array in (indptr, indices):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False  # kernels trust these indices
        return self

    @classmethod
    @checked
    def from_coo(
        cls,
        rows: Integer[Array, "nnz"],
        cols: Integer[Array, "nnz"],
        values: Float[Array, "nnz"],
        shape: tuple[Extent, Extent],
    ) -> "CSR":
        """Build a matrix from entries in any order; duplicate entries are summed.

        Parameters
        ----------
        rows, cols : (nnz,) array of integers
        values : (nnz,) array of float32 or float64
        shape : (int >= 0, int >= 0)
        """
        _check_range("rows", rows, shape[0])
        _check_range("cols", cols, shape[1])
        arrays = _by_rows(namespace_of(values), rows, cols, values, *shape)
        return object.__new__(cls)._own(*arrays, tuple(shape))

    @classmethod
    @checked
    def from_dense(cls, a: Float[Array, "m n"]) -> "CSR":
        """Build a matrix from a dense one; zeros are dropped.

        Parameters
        ----------
        a : (m, n) array of float32 or float64
        """
        rows, cols = namespace_of(a).nonzero(a)
        return cls.from_coo(rows, cols, a[rows, cols], a.shape)

    def __repr__(self) -> str:
        return f"<CSR of shape {self.shape}, {self.nnz} entries, {self.dtype}>"

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def nnz(self) -> int:
        return len(self.data)

    @cached_property
    def rows(self) -> Array:
        """(nnz,) array: the row of every entry."""
        xp = namespace_of(self.data)
        ends = (
            xp.bincount(self.indptr[1:-1], minlength=self.nnz + 1)
            if len(self.indptr) > 2
            else xp.zeros(self.nnz + 1, np.int64)
        )
        return xp.cumsum(ends[: self.nnz]).astype(self.indptr.dtype)

    @cached_property
    def T(self) -> "CSR":
        """The transpose."""
        return CSR.from_coo(self.indices, self.rows, self.data, self.shape[::-1])

    def diagonal(self) -> Array:
        """The diagonal, a (min(m, n),) array, with zeros for missing entries."""
        if len(self.diagonal_at) == min(self.shape):
            return self.data.take(self.diagonal_at)
        result = namespace_of(self.data).zeros(min(self.shape), self.dtype)
        result[self.indices[self.diagonal_at]] = self.data[self.diagonal_at]
        return result

    @cached_property
    def diagonal_at(self) -> Array:
        """The positions of the diagonal entries in `data`."""
        same = namespace_of(self.data).nonzero(self.rows == self.indices)[0]
        return same.astype(self.indptr.dtype)

    @cached_property
    def inverse_diagonal(self) -> Array:
        """(n,) array of the inverses of the diagonal.

        Raises
        ------
        ValueError
            The diagonal has a zero or lacks an entry.
        """
        diagonal = self.diagonal()
        if not bool(diagonal.all()):
            row = int((diagonal == 0).argmax())
            raise ValueError(f"a must have no zero on its diagonal (got one in row {row})")
        return 1 / diagonal

    @cached_property
    def has_positive_diagonal(self) -> bool:
        """Whether every diagonal entry is present and positive."""
        return len(self.diagonal_at) == min(self.shape) and bool(
            (self.data[self.diagonal_at] > 0).all()
        )

    def check_finite(self, name: str = "a") -> None:
        """Raise a ValueError that names the first entry that is not finite.

        Parameters
        ----------
        name : str, default "a"
            The name of the matrix in the message.
        """
        good = namespace_of(self.data).isfinite(self.data)
        if not bool(good.all()):
            e = int((~good).argmax())
            place = [int(self.rows[e]), int(self.indices[e])]
            raise ValueError(f"{name} must be finite (got {float(self.data[e])} at {place})")

    @checked
    def with_data(self, data: Float[Array, "nnz"]) -> "CSR":
        """A matrix with the same pattern and other entries, which are not copied. Cached properties
        of the pattern are kept, which is useful for sequences of systems.

        Parameters
        ----------
        data : (nnz,) array of float32 or float64
            In the order of the attribute `data`.
        """
        if data.shape != self.data.shape:
            raise ValueError(f"data must have shape {self.data.shape} (got {data.shape})")
        other = object.__new__(CSR)
        pattern = ("indptr", "indices", "shape", "rows", "diagonal_at")
        other.__dict__.update({name: getattr(self, name) for name in pattern})
        other.data = namespace_of(data).ascontiguousarray(data)
        return other

    def _anew(self):
        """This matrix without cached properties of its entries, which may have been changed from
        outside."""
        for name in OF_ENTRIES:
            self.__dict__.pop(name, None)
        return self

    def map(self, function: Callable[[Array], Array]) -> "CSR":
        """Apply `function`, for example ``cupy.asarray``, to the three arrays, and build a matrix
        from the results.

        Parameters
        ----------
        function : callable
        """
        arrays = (function(a) for a in (self.indptr, self.indices, self.data))
        return CSR(*arrays, self.shape)

    def toarray(self) -> Array:
        """The dense matrix, an (m, n) array."""
        result = namespace_of(self.data).zeros(self.shape, self.dtype)
        result[self.rows, self.indices] = self.data
        return result

    def __matmul__(self, x: Array) -> Array:
        """The product with (n,) or (n, k) arrays, see :func:`spmv`."""
        if dispatch.device_of(x) is None:
            return NotImplemented
        from ._sparse import spmv

        return spmv(self, x)

    def __rmatmul__(self, x: Array) -> Array:
        """The product x A of (m,) or (k, m) arrays with the matrix."""
        return (self.T @ x.T).T if dispatch.device_of(x) is not None else NotImplemented

    matvec = matmat = __matmul__  # the names of SciPy's LinearOperator

    def rmatvec(self, x: Array) -> Array:
        """The product of the transpose with (m,) or (m, k) arrays."""
        return self.T @ x

    rmatmat = rmatvec


def _index_dtype(*counts):
    return np.int32 if max(counts) <= MAX_INT32 else np.int64


def _check_range(name, indices, n):
    if indices.size and not (0 <= int(indices.min()) and int(indices.max()) < n):
        low, high = int(indices.min()), int(indices.max())
        raise ValueError(f"{name} must be in [0, {n}) (got {low if low < 0 else high})")


def _by_rows(xp, rows, cols, values, m, n):
    """indptr, indices and data of entries in any order; memory: a few arrays of length nnz."""
    kind = _index_dtype(len(values), m, n)
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


# --- sparse arrays of other libraries -------------------------------------------------------------


class SparseArray(Protocol):
    """A sparse array of SciPy or CuPy, in any format."""

    tocsr: Callable[..., Any]


CSRLike: TypeAlias = CSR | SparseArray
_patterns: dict = {}  # id of a sparse array → weak reference, its index arrays, its CSR
UNKNOWN = None, None, None, None
OF_ENTRIES = "T", "inverse_diagonal", "has_positive_diagonal"  # cached properties of the entries


def as_csr(a: CSRLike, name: str = "a") -> CSR:
    """Convert a SciPy or CuPy sparse array to a `CSR`; a `CSR` is returned unchanged.

    The pattern of a sparse array in CSR format is checked and copied when the array is first seen,
    and again when one of its index arrays is replaced; its entries are read on every call.
    """
    a = _known(a)
    if isinstance(a, CSR):
        return a
    if not is_sparse(a):
        raise TypeError(f"{name} must be a CSR or a sparse array (got {type(a).__name__})")
    b = a.tocsr()
    matrix = CSR(b.indptr, b.indices, b.data, b.shape)
    if b is a and matrix.nnz == len(a.data) and bool((matrix.indices == a.indices).all()):
        key = id(a)  # the columns were in order: entry e of `a` is entry e of the CSR
        matrix = matrix.with_data(a.data)
        ref = weakref.ref(a, lambda _: _patterns.pop(key, None))
        _patterns[key] = ref, a.indptr, a.indices, matrix
    return matrix


def _known(a):
    """The cached CSR of a sparse array with its current entries, or `a` itself if its pattern is
    not cached."""
    if a.__class__ is CSR:
        return a
    ref, indptr, indices, matrix = _patterns.get(id(a), UNKNOWN)
    if ref is None or ref() is not a or a.indptr is not indptr or a.indices is not indices:
        return a
    return matrix._anew() if a.data is matrix.data else matrix.with_data(a.data)


def is_sparse(a: object) -> bool:
    """Whether `a` is a SciPy or CuPy sparse array."""
    return type(a).__module__.partition(".")[0] in ("scipy", "cupyx") and hasattr(a, "tocsr")


class SparseKind(Kind):
    """A sparse matrix with named sizes."""

    sized, noun = True, "a CSR or a sparse array"
    stand_in = staticmethod(_known)

    def __init__(self, sizes, notes=()):
        self.shared = own_dtype not in notes
        self.axes = self.sizes = tuple(sizes.split())
        self.batch = None
        self.form = f"({', '.join(self.sizes)})"
        self.text = f"{self.form} CSR or sparse array"

    def fits(self, value):
        return isinstance(value, CSR) or is_sparse(value)

    def convert(self, name, value, call):
        a = as_csr(value, name)
        call.as_array(name, a.data)
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} must have dtype float32 or float64 (got {a.dtype})")
        if self.shared:
            if call.dtype is not None and call.dtype != a.dtype:
                like = f"{call.dtype} like {call.dtype_of}"
                raise TypeError(f"{name} must have dtype {like} (got {a.dtype})")
            call.dtype, call.dtype_of = a.dtype, call.dtype_of or name
        call.match(name, self, a.shape)
        return a

    def key(self):
        def key(value):
            known = value.__class__ is CSR and value.data.__class__ is np.ndarray
            return (CSR, value.data.dtype, value.shape) if known else None

        return key

    def unfit(self):
        return [("text", TypeError), (np.eye(2), TypeError), (object(), TypeError)]


if TYPE_CHECKING:
    from typing import Annotated as Sparse
else:

    class Sparse:
        """``Sparse[CSRLike, "m n"]``: a sparse matrix with named sizes; with `own_dtype` where it
        does not share the dtype of the call."""

        def __class_getitem__(cls, item):
            kind, sizes, *notes = item
            return Annotated[kind, SparseKind(sizes, notes)]
