"""Embedding: rows of a table by their numbers, and the gradient of the table.

The gradient of a row is the sum of the gradients of all positions that use the row. Positions are
sorted by row first, so that every row is one ordered sum, the same at any number of threads. Y.
Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model", Journal of
Machine Learning Research 3, 2003.
"""

from typing import NamedTuple

import numpy as np

from ..arguments import Array, Float, Int64, Integer, any_device, interval
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel


class EmbeddingCache(NamedTuple):
    """What :func:`embedding` keeps for its gradient: indices that were checked, and the table."""

    idx: Int64[Array, "*batch"]
    table: Float[Array, "n d"]


# --- routines -------------------------------------------------------------------------------------


@routine
def embedding(
    idx: Integer[Array, "*batch", any_device, interval("[0, n)")], table: Float[Array, "n d"]
) -> tuple[Array, EmbeddingCache]:
    """Rows of a table: ``y = table[idx]``, for indices that are in range.

    Parameters
    ----------
    idx : (...) array of integers, in [0, n)
        Numbers of rows. It may be a NumPy array although the table is on a GPU.
    table : (n, d) array of float32 or float64

    Returns
    -------
    y : (..., d) array
    cache : EmbeddingCache
        For :func:`embedding_vjp`.

    Raises
    ------
    TypeError
        Indices that are not integers, a table of another dtype, arrays on different devices.
    ValueError
        A table that is not a matrix, an index out of range.

    Notes
    -----
    Rows are copied: there is no error.

    References
    ----------
    Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model", Journal
    of Machine Learning Research 3, 2003.

    Examples
    --------
    >>> y, cache = embedding(np.array([2, 0]), np.array([[1.0, 2], [3, 4], [5, 6]]))
    >>> y
    array([[5., 6.],
           [1., 2.]])
    """
    xp = namespace_of(table)
    if device_of(idx) is not device_of(table):
        if not isinstance(idx, np.ndarray):
            raise TypeError(
                f"idx must live on the device of table, or be a NumPy array (got "
                f"{type(idx).__name__})"
            )
        idx = xp.asarray(idx)
    idx = idx.astype(np.int64)
    return xp.take(table, idx, axis=0), EmbeddingCache(idx, table)


@routine
def embedding_vjp(grad_y: Float[Array, "*batch d"], cache: EmbeddingCache) -> Array:
    """Gradient of :func:`embedding` in its table.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in the output.
    cache : EmbeddingCache
        What :func:`embedding` returned.

    Returns
    -------
    grad_table : (n, d) array
        0 in rows that do not occur.

    Raises
    ------
    TypeError
        Another dtype or device than that of the table, a cache of another layer.
    ValueError
        `grad_y` does not have the shape of the output.

    Notes
    -----
    Sums are made in float64, one place after the other: a float32 result has the error of one
    rounding, a float64 result one that grows with the number of places of a row. O(N log N + (N +
    n) d) for N indices.

    References
    ----------
    Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model", Journal
    of Machine Learning Research 3, 2003.

    Examples
    --------
    >>> from numcore.nn import embedding
    >>> _, cache = embedding(np.array([2, 0, 2]), np.zeros((3, 2)))
    >>> embedding_vjp(np.array([[1.0, 2], [3, 4], [5, 6]]), cache)
    array([[3., 4.],
           [0., 0.],
           [6., 8.]])
    """
    (idx, table), xp = cache, namespace_of(grad_y)
    flat = idx.reshape(-1)
    # NumPy sorts short integers by their digits, which is faster
    short = flat.astype(np.uint16) if len(table) <= 1 << 16 else flat
    places = xp.argsort(short, kind="stable")
    ends = xp.zeros(len(table) + 1, np.int64)
    ends[1:] = xp.cumsum(xp.bincount(flat, minlength=len(table)))
    grad_table = xp.empty(table.shape, table.dtype)
    sum_places(
        xp.ascontiguousarray(grad_y).reshape(flat.size, table.shape[1]),
        places.astype(np.int64),
        ends,
        grad_table,
    )
    return grad_table


# --- kernel ---------------------------------------------------------------------------------------


@kernel(
    "in T grad_y[m, d]; in int64 places[m]; in int64 ends[n+1]; out T grad_table[n, d]; "
    "scratch float64 total[d]",
    split="n",
    gpu="warp",
)
def sum_places(grad_y, places, ends, grad_table, total, start, stop):
    """Row i of the table stands at ``places[ends[i]:ends[i + 1]]``."""
    for i in range(start, stop):
        row = grad_table[i]
        total[:] = 0
        for p in range(ends[i], ends[i + 1]):
            grad = grad_y[places[p]]
            for j in range(total.size):
                total[j] += grad[j]
        for j in range(total.size):
            row[j] = total[j]
