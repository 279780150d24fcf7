"""Known entries of a matrix, sorted, without duplicates and centered; and entries of a model."""

from typing import NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from .._csr import CSR
from .kernels import entry_products


class Entries(NamedTuple):
    """Entries ``values`` at the positions (rows, cols) of a matrix."""

    rows: Array
    cols: Array
    values: Array
    shape: tuple[int, int]

    def part(self, chosen):
        """The entries selected by a mask."""
        rows, cols, values = (a[chosen] for a in self[:3])
        return Entries(rows, cols, values, self.shape)

    def with_values(self, values):
        """Other values at these positions."""
        return self._replace(values=values)

    def as_csr(self):
        """A CSR of these entries, which must be sorted."""
        xp = namespace_of(self.values)
        indptr = xp.zeros(self.shape[0] + 1, np.int64)
        indptr[1:] = xp.cumsum(xp.bincount(self.rows, minlength=self.shape[0]))
        return CSR(indptr, self.cols, self.values, self.shape)


def entries_of(csr):
    """The entries of a CSR."""
    return Entries(csr.rows, csr.indices, csr.data, csr.shape)


def check_places(name, places, limit):
    """Raise ValueError if an index is out of range."""
    good = (places >= 0) & (places < limit)
    if not bool(good.all()):
        at = int((~good).argmax())
        raise ValueError(f"{name} must be in [0, {limit}) (got {int(places[at])} at [{at}])")


def sorted_once(entries):
    """The entries sorted by row and column without duplicates; ValueError if a position has two
    different values."""
    rows, cols, values, shape = entries
    xp = namespace_of(values)
    rows, cols = rows.astype(np.int64, copy=False), cols.astype(np.int64, copy=False)
    order = (
        xp.argsort(rows * shape[1] + cols)
        if shape[0] * shape[1] < 2**63
        else xp.lexsort(xp.stack([cols, rows]))
    )
    rows, cols, values = rows[order], cols[order], values[order]
    again = (rows[1:] == rows[:-1]) & (cols[1:] == cols[:-1])
    if not bool(again.any()):
        return Entries(rows, cols, values, shape)
    differ = again & (values[1:] != values[:-1])
    if bool(differ.any()):
        e = int(differ.argmax())
        raise ValueError(
            f"values must be the same where entries are repeated (got {float(values[e])} and "
            f"{float(values[e + 1])} at "
            f"({int(rows[e])}, {int(cols[e])}))"
        )
    first = xp.ones(len(values), bool)
    first[1:] = ~again
    return Entries(rows, cols, values, shape).part(first)


def means_of(entries, center):
    """The means to subtract: a (1, 1), (m, 1) or (1, n) array."""
    rows, cols, values, shape = entries
    xp = namespace_of(values)
    mean = values.mean(dtype=np.float64) if center else xp.zeros((), np.float64)
    if center not in ("rows", "columns"):
        return xp.full((1, 1), float(mean), values.dtype)
    groups, count = (rows, shape[0]) if center == "rows" else (cols, shape[1])
    sizes = xp.bincount(groups, minlength=count)
    means = xp.where(
        sizes > 0,
        xp.bincount(groups, weights=values, minlength=count) / xp.maximum(sizes, 1),
        float(mean),
    )
    return means.astype(values.dtype).reshape((-1, 1) if center == "rows" else (1, -1))


def offset_at(offset, rows, cols):
    """The values of an offset of shape (1, 1), (m, 1) or (1, n) at these positions."""
    if offset.shape[0] > 1:
        return offset[rows, 0]
    return offset[0, cols] if offset.shape[1] > 1 else offset[0, 0]


def model_entries(left, right, rows, cols):
    """Σ_c left[rows, c] right[cols, c]."""
    xp = namespace_of(left)
    kind = np.int32 if rows.dtype == cols.dtype == np.int32 else np.int64
    rows, cols = (xp.ascontiguousarray(places.astype(kind, copy=False)) for places in (rows, cols))
    y = xp.empty(len(rows), left.dtype)
    entry_products(xp.ascontiguousarray(left), xp.ascontiguousarray(right), rows, cols, y)
    return y


def rmse(left, right, entries):
    """The root mean square error of the model left rightᵀ, or None if there are no entries."""
    if not len(entries.values):
        return None
    xp = namespace_of(left)
    error = model_entries(left, right, entries.rows, entries.cols) - entries.values
    return float(xp.sqrt(xp.mean(error**2, dtype=np.float64)))
