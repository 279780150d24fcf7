"""Ragged lists of ids: how they are declared, and what all steps need of them."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Kind
from ...dispatch import device_of, namespace_of
from ...linalg import CSR, CSRLike
from .._offsets import check_offsets, list_of_entry

INT64 = np.dtype(np.int64)


class TermLists(NamedTuple):
    """Lists of ids, one after the other: list i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Array
    offsets: Array


class ListsKind(Kind):
    """Lists of integers, which the body gets as `TermLists` of int64; their number may be a size
    of the call."""

    sized, judges, sizes, text = True, True, (), "sequence of arrays of integers, or TermLists"
    noun = "a list of integer arrays or TermLists"

    def __init__(self, count=None):
        self.count = count

    def fits(self, value):
        return isinstance(value, (list, tuple))

    def convert(self, name, value, call):
        if isinstance(value, TermLists):
            values = self.integers(f"{name}.values", value.values, call)
            offsets = self.integers(f"{name}.offsets", value.offsets, call)
            same = values is value.values and offsets is value.offsets
            lists = value if same else TermLists(values, offsets)
        else:
            lists = self.joined(name, value, call)
        if len(lists.values):
            call.devices[name] = device_of(lists.values)
        n = len(lists.offsets) - 1
        if self.count and call.size(self.count, n) != n:
            raise ValueError(f"{name} must have {call.sizes[self.count]} lists (got {n})")
        return lists

    def entries(self, name, value, sizes):
        check_offsets(f"{name}.offsets", value.offsets, len(value.values))

    def joined(self, name, value, call):
        rows = [self.integers(f"{name}[{i}]", row, call) for i, row in enumerate(value)]
        if len({device_of(row) for row in rows if len(row)}) > 1:
            raise TypeError(f"{name} must have all arrays on one device")
        rows = [row for row in rows if len(row)] or rows
        xp = namespace_of(*rows)
        values = xp.concatenate(rows) if rows else np.zeros(0, np.int64)
        return TermLists(values, xp.asarray(np.cumsum([0, *map(len, value)], dtype=np.int64)))

    def integers(self, name, value, call):
        if value.__class__ is np.ndarray and value.dtype is INT64 and value.ndim == 1:
            if value.flags.aligned:  # as they mostly are
                return value
        if not isinstance(value, (list, tuple)) and device_of(value) is None:
            raise TypeError(f"{name} must be a 1-d array of integers (got {value!r:.80})")
        array = call.as_array(name, value, anywhere=True)
        if array.ndim != 1 or array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"{name} must be a 1-d array of integers (got {value!r:.80})")
        return array.astype(np.int64, copy=False)

    def key(self):
        return _key

    def unfit(self):
        wrong = ("text", object(), np.ones(3), [["a"]], [0.5], [[0.5]])
        return [(value, TypeError) for value in wrong]


def _key(value):
    """What lists are remembered by; None if they are not `TermLists` of NumPy arrays."""
    if value.__class__ is not TermLists:
        return value.__class__ if value is None else None
    v, o = value
    if not v.__class__ is o.__class__ is np.ndarray:
        return None
    return v.dtype, v.shape, v.flags.num, o.dtype, o.shape, o.flags.num


class CountedLists(NamedTuple):
    """Lists of ids with the number of times that each counts."""

    values: Array
    offsets: Array
    counts: Array


class CountsKind(ListsKind):
    """Lists of integers, or a sparse matrix of counts with one list in each row."""

    text = f"{ListsKind.text}, or CSR or sparse array"
    noun = f"{ListsKind.noun}, or a sparse matrix"

    def fits(self, value):
        return super().fits(value) or isinstance(value, CSR) or hasattr(value, "tocsr")

    def convert(self, name, value, call):
        if isinstance(value, (list, tuple)):
            return super().convert(name, value, call)
        a = value if isinstance(value, CSR) else value.tocsr()
        ids = call.as_array(name, a.indices).astype(np.int64)
        return CountedLists(ids, a.indptr.astype(np.int64), whole_counts(name, a.data))


def whole_counts(name, data):
    """The entries of a sparse matrix as int64."""
    if data.dtype.kind not in "iuf":
        raise TypeError(f"{name} must have counts of a real dtype (got {data.dtype})")
    low, high = (float(data.min()), float(data.max())) if data.size else (0.0, 0.0)
    if not 0 <= low <= high < 2**53 / max(data.size, 1):  # so that sums in float64 are exact
        raise ValueError(
            f"{name} must have counts >= 0 with a sum below 2**53 (got {low} … {high})"
        )
    counts = data.astype(np.int64)
    if bool((counts != data).any()):
        raise ValueError(f"{name} must have counts that are whole numbers (got fractions)")
    return counts


IdLists: TypeAlias = Annotated[Sequence[Array] | TermLists, ListsKind()]
ListsOfTerms: TypeAlias = Annotated[Sequence[Array] | TermLists, ListsKind("n_terms")]
Documents: TypeAlias = Annotated[Sequence[Array] | TermLists | CSRLike, CountsKind()]


def moved_to(xp, lists):
    """Lists as arrays of `xp`; what is empty may have been on the host."""
    return TermLists(*(xp.asarray(array) for array in lists))


def check_ids(name, ids, n):
    low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, -1)
    if low < 0 or high >= n:
        raise ValueError(f"{name} must have ids in [0, {n}) (got {low} … {high})")


def check_terms(words, offsets, n_words=2**31):
    empty = offsets[1:] == offsets[:-1]
    if bool(empty.any()):
        term = int(empty.argmax())
        raise ValueError(f"term_words must have words for every term (got none for term {term})")
    check_ids("term_words", words, n_words)


def numbered(xp, keys):
    """The distinct keys, ascending, and the number of each key among them."""
    distinct = xp.unique(keys)
    return distinct, xp.searchsorted(distinct, keys)


def expanded(xp, counts):
    """0 ... counts[i] - 1 for each i: the i and the places."""
    ends = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(counts)])
    row = list_of_entry(xp, ends)
    return row, xp.arange(len(row)) - ends[row]


def segment_sums(xp, values, offsets):
    """Sums of the values of each list, in float64."""
    n = len(offsets) - 1
    if not len(values):
        return xp.zeros(n)
    return xp.bincount(list_of_entry(xp, offsets), weights=values, minlength=n)
