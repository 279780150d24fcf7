"""A dense, sparse or callable matrix as its products with vectors, with their inner products."""

import math

import numpy as np

from ...dispatch import namespace_of
from .._csr import CSR
from .._sparse import spmv
from .kernels import BLOCK, rows_and_sums, sums_of_products


def is_function(a):
    """Whether a matrix is given only by its products."""
    return callable(a) and not isinstance(a, CSR)


def product_of(a):
    """The map v → A v for (n,) arrays; if `a` is a matrix, also for (n, k) arrays."""
    if isinstance(a, CSR):
        return lambda v: spmv(a, v)
    if not callable(a):
        return lambda v: a @ v

    def product(v):
        w = a(v)
        if type(w) is not type(v) or w.shape != v.shape:
            got = getattr(w, "shape", type(w).__name__)
            raise ValueError(f"a must return an array like its argument, {v.shape} (got {got})")
        return w

    return product


def products_of_rows(a, v):
    """A v for every row v of a (B, n) array."""
    xp, product = namespace_of(v), product_of(a)
    if is_function(a):
        return xp.stack([product(row) for row in v]) if len(v) else v
    return xp.ascontiguousarray(product(xp.ascontiguousarray(v.T)).T)


class Operator:
    """Products with A and residuals b - A x, with their inner products; one kernel if A is
    sparse."""

    def __init__(self, a, b):
        self.xp = namespace_of(b)
        self.b, self.multiply = self.xp.ascontiguousarray(b), product_of(a)
        self.matrix = a if isinstance(a, CSR) else None

    def product(self, x):
        """A x, x·A x, and ‖x‖ ‖A x‖."""
        if self.matrix is not None:
            y, (own, both, squares) = self._rows(x, self.b[:0], 1.0)
        else:
            y = self.xp.ascontiguousarray(self.multiply(x))
            own, both, squares = sums(x, y)
        return y, both, math.sqrt(own) * math.sqrt(squares)

    def residual(self, x):
        """b - A x and its norm; x = None means 0."""
        if x is None:
            return self.b.copy(), math.sqrt(sums(self.b, self.b)[0])
        if self.matrix is not None:
            r, (_, _, squares) = self._rows(x, self.b, -1.0)
        else:
            r = self.b - self.multiply(x)
            _, _, squares = sums(r, r)
        return r, math.sqrt(squares)

    def _rows(self, x, b, sign):
        a, y, parts = self.matrix, self.xp.empty_like(x), self.xp.empty((-(-len(x) // BLOCK), 3))
        rows_and_sums(a.indptr, a.indices, a.data, x, b, sign, y, parts)
        return y, parts.sum(axis=0).tolist()


def sums(x, y):
    """x·x, x·y and y·y in float64."""
    parts = namespace_of(x).empty((-(-len(x) // BLOCK), 3), np.float64)
    sums_of_products(x, y, parts)
    return parts.sum(axis=0).tolist()
