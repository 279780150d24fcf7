"""Dense layers: y = x w + b, forward and backward, as matrix products on all rows at once."""

import math
from typing import NamedTuple

import numpy as np

from ..arguments import Array, Float
from ..dispatch import namespace_of, routine

SUMMED = 4096  # rows whose gradients BLAS adds up in their own precision


class DenseCache(NamedTuple):
    """What :func:`dense` keeps for its gradients."""

    x: Float[Array, "*batch n_in"]
    w: Float[Array, "n_in n_out"]
    has_bias: bool


class DenseGrads(NamedTuple):
    """Gradients of the arguments of :func:`dense`."""

    x: Array
    w: Array
    b: Array | None


@routine
def dense(
    x: Float[Array, "*batch n_in"],
    w: Float[Array, "n_in n_out"],
    b: Float[Array, "n_out"] | None = None,
) -> tuple[Array, DenseCache]:
    """Affine map of every row, x w + b.

    Parameters
    ----------
    x : (..., n_in) array of float32 or float64
    w : (n_in, n_out) array of float32 or float64
    b : (n_out,) array of float32 or float64, optional

    Returns
    -------
    y : (..., n_out) array
    cache : DenseCache
        For :func:`dense_vjp`; it holds x and w by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    2 n n_in n_out operations for n rows. Errors are those of a matrix product: at most about n_in
    eps Σ abs(x_i w_ij).

    References
    ----------
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating
    errors", Nature 323, 1986.

    Examples
    --------
    >>> y, cache = dense(
    ...     np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.5, 3.0]]), np.array([10.0, 20.0])
    ... )
    >>> y
    array([[12., 26.]])
    """
    y = x.reshape(math.prod(x.shape[:-1]), w.shape[0]) @ w
    if b is not None:
        y += b
    return y.reshape(*x.shape[:-1], w.shape[1]), DenseCache(x, w, b is not None)


@routine
def dense_vjp(grad_y: Float[Array, "*batch n_out"], cache: DenseCache) -> DenseGrads:
    """Gradients of :func:`dense`.

    Parameters
    ----------
    grad_y : (..., n_out) array of float32 or float64
        Gradient of a loss in y.
    cache : DenseCache
        What :func:`dense` returned beside y.

    Returns
    -------
    grad_x : (..., n_in) array
    grad_w : (n_in, n_out) array
    grad_b : (n_out,) array, or None if there was no b

    Raises
    ------
    TypeError
        `cache` is another object, or `grad_y` has another dtype or device than x.
    ValueError
        `grad_y` has not the shape of y.

    Notes
    -----
    grad_x = G wᵀ, grad_w = xᵀ G, grad_b = Σ G over the rows, with G = grad_y; 4 n n_in n_out
    operations.

    References
    ----------
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating
    errors", Nature 323, 1986.

    Examples
    --------
    >>> from numcore.nn import dense
    >>> y, cache = dense(
    ...     np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.5, 3.0]]), np.array([10.0, 20.0])
    ... )
    >>> grad_x, grad_w, grad_b = dense_vjp(np.array([[1.0, 1.0]]), cache)
    >>> grad_x, grad_w, grad_b
    (array([[1. , 3.5]]), array([[1., 1.],
           [2., 2.]]), array([1., 1.]))
    """
    x, w, has_bias = cache
    n_in, n_out = w.shape
    n = math.prod(x.shape[:-1])
    g, rows = grad_y.reshape(n, n_out), x.reshape(n, n_in)
    grad_b = column_sums(namespace_of(g), g) if has_bias else None
    return DenseGrads((g @ w.T).reshape(x.shape), rows.T @ g, grad_b)


def column_sums(xp, g):
    """The sums over the rows, as products of blocks of rows with a row of ones: quicker than a sum,
    and partial sums stay short."""
    whole = len(g) - len(g) % SUMMED
    rest = xp.ones(len(g) - whole, g.dtype) @ g[whole:]
    if not whole:
        return rest
    blocks = xp.ones(SUMMED, g.dtype) @ g[:whole].reshape(-1, SUMMED, g.shape[1])
    return (blocks.sum(axis=0, dtype=np.float64) + rest).astype(g.dtype)
