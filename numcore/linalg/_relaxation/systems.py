"""Preparation of systems for the solvers: rows ordered by color, and scaling so that squares
neither underflow nor overflow."""

import math
from typing import NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from .._csr import CSR
from .._sparse import Coloring, check_coloring, color_graph, spmv

SAFE_NORMS = (1e-140, 1e140)  # squares of these neither underflow nor overflow
NATURAL = np.array([0, 0])  # placeholder: the CPU goes row by row and does not read it


class OrderedMatrix(NamedTuple):
    """A matrix whose rows and columns are ordered by color.

    Attributes
    ----------
    a : CSR
    coloring : Coloring or None
        None for the natural order.
    starts : (n_colors + 1,) array of int64
        First row of each color, on the device of the matrix.
    """

    a: CSR
    coloring: Coloring | None
    starts: Array

    def arranged(self, x):
        """The rows of an array ordered by color; None stays None."""
        return x if x is None or self.coloring is None else x[self.coloring.order]

    def restored(self, x):
        """The rows in their original order."""
        if self.coloring is None:
            return x
        result = namespace_of(x).empty(x.shape, x.dtype)
        result[self.coloring.order] = x
        return result


def ordered(a, coloring):
    """The matrix ordered by a coloring; by default natural order on the CPU, `color_graph` on a
    GPU."""
    xp, n = namespace_of(a.data), a.shape[0]
    if coloring is not None:
        check_coloring(coloring, n)
    elif xp is np:
        return OrderedMatrix(a, None, NATURAL)
    else:
        coloring = color_graph(a)
    place = xp.empty(n, a.indices.dtype)
    place[coloring.order] = xp.arange(n, dtype=place.dtype)
    arranged = CSR.from_coo(place[a.rows], place[a.indices], a.data, a.shape)
    return OrderedMatrix(arranged, coloring, xp.asarray(np.array(coloring.starts, np.int64)))


def check_diagonal(a):
    """Raise ValueError if an entry of the diagonal is not positive."""
    if not a.has_positive_diagonal:
        diagonal = a.diagonal()
        i = int((~(diagonal > 0)).argmax())
        raise ValueError(f"a must have a positive diagonal (got {float(diagonal[i])} in row {i})")


def parts_of(a):
    """The arrays of a matrix in the order of the kernels' arguments."""
    return a.indptr, a.indices, a.data, a.diagonal_at, a.inverse_diagonal


class Start(NamedTuple):
    """The start of a solve, with all vectors multiplied by `factor`.

    Attributes
    ----------
    b, r : (n,) arrays
        The right-hand side and the residual b - A x0.
    x0 : (n,) array or None
        None means zero.
    reference : float
        The norm that the tolerance refers to; 0 if there is nothing to solve.
    factor : float
        A power of two.
    """

    b: Array
    r: Array
    x0: Array | None
    reference: float
    factor: float


def start_of(a, b, x0, relative_to_b):
    """The `Start` of a system."""
    b = namespace_of(b).ascontiguousarray(b)
    r = b if x0 is None else difference(b, spmv(a, x0))
    measure = b if relative_to_b else r
    reference = norm_of(measure)
    if SAFE_NORMS[0] < reference < SAFE_NORMS[1]:
        return Start(b, r, x0, reference, 1.0)
    factor = _factor(a, measure)
    x0 = x0 if x0 is None else x0 * factor
    return Start(b * factor, r * factor, x0, norm_of(measure * factor), factor)


def _factor(a, measure):
    """A power of two that scales the values of `measure` to about 1."""
    a.check_finite()
    top = float(namespace_of(measure).abs(measure).max()) if len(measure) else 0.0
    if not math.isfinite(top):
        raise ValueError("x0 must have a finite residual b - a x0 (got inf)")
    return 2.0 ** -max(-1000, min(1000, math.frexp(top)[1])) if top else 1.0


def norm_of(v):
    """The Euclidean norm, summed in float64."""
    v = v.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(float(v @ v))


def difference(a, b):
    """a - b without overflow warnings."""
    with np.errstate(over="ignore", invalid="ignore"):
        return a - b
