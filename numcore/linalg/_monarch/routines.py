"""Products with Monarch matrices, their gradients, and their dense form."""

import math
from typing import NamedTuple

import numpy as np

from ...arguments import Array, Inexact
from ...dispatch import namespace_of, routine
from .kernels import block_outer, block_product

FEW = 8  # up to this many rows of x, NumPy's matmul is as fast as the kernel


class MonarchGrads(NamedTuple):
    """Gradients of a loss with respect to x, right and left."""

    x: Array
    right: Array
    left: Array


@routine
def monarch_matmul(
    x: Inexact[Array, "*batch n"], right: Inexact[Array, "k q p"], left: Inexact[Array, "l s r"]
) -> Array:
    """Product of a Monarch matrix with vectors.

    Parameters
    ----------
    x : (..., n) array of float32, float64, complex64 or complex128
        n = k p.
    right : (k, q, p) array of float32, float64, complex64 or complex128
    left : (l, s, r) array of float32, float64, complex64 or complex128
        l r = k q.

    Returns
    -------
    (..., m) array, m = l s
        Error at most (p + r) units of roundoff times the same product of absolute values.

    Raises
    ------
    ValueError
        The shapes do not match.
    TypeError
        Unsupported dtypes, or mixed dtypes or devices.

    Notes
    -----
    2 (k q p + l s r) operations per vector, 4 n^1.5 if all blocks are √n × √n. Memory: the result,
    and n numbers per vector.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> right = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    >>> left = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, -1.0]]])
    >>> monarch_matmul(np.ones(4), right, left)
    array([ 3., 22., 11., -8.])
    """
    _check_sizes(x, right, left)
    xp = namespace_of(x)
    rows = xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    right, left = xp.ascontiguousarray(right), xp.ascontiguousarray(left)
    y = _blocks(xp, _blocks(xp, rows, right, False, False), left, True, False)
    return y.reshape(*x.shape[:-1], y.shape[-1])


@routine
def monarch_matmul_vjp(
    x: Inexact[Array, "*batch n"],
    right: Inexact[Array, "k q p"],
    left: Inexact[Array, "l s r"],
    grad_out: Inexact[Array, "*batch m"],
) -> MonarchGrads:
    """Gradients of a loss with respect to the arguments of `monarch_matmul`, given the gradient
    with respect to its result.

    Parameters
    ----------
    x : (..., n) array of float32, float64, complex64 or complex128
    right : (k, q, p) array of float32, float64, complex64 or complex128
    left : (l, s, r) array of float32, float64, complex64 or complex128
        As for `monarch_matmul`.
    grad_out : (..., m) array of float32, float64, complex64 or complex128
        m = l s. Complex gradients follow the real inner product Re ⟨g, y⟩.

    Returns
    -------
    MonarchGrads
        Of the shapes of `x`, `right` and `left`.

    Raises
    ------
    ValueError
        The shapes do not match.
    TypeError
        Unsupported dtypes, or mixed dtypes or devices.

    Notes
    -----
    Costs five block-diagonal products, against two in the forward pass: the intermediate result is
    recomputed.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> grads = monarch_matmul_vjp(
    ...     np.ones(2), np.ones((1, 1, 2)), np.ones((1, 2, 1)), np.array([1.0, 2.0])
    ... )
    >>> grads.x, grads.left.ravel()
    (array([3., 3.]), array([2., 4.]))
    """
    m = _check_sizes(x, right, left)
    if grad_out.shape[-1] != m:
        raise ValueError(
            f"grad_out must have shape (..., m) with m = l s = {m} (got {grad_out.shape})"
        )
    xp = namespace_of(x)
    rows = xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    grad = xp.ascontiguousarray(grad_out).reshape(len(rows), m)
    right, left = (
        xp.ascontiguousarray(factor.conj() if factor.dtype.kind == "c" else factor)
        for factor in (right, left)
    )
    o = _blocks(xp, rows, right.conj(), False, False)
    grad_left = _outer_blocks(xp, grad, o, left.shape, True)
    grad_o = _blocks(xp, grad, left, True, True)
    grad_right = _outer_blocks(xp, grad_o, rows, right.shape, False)
    return MonarchGrads(
        _blocks(xp, grad_o, right, False, True).reshape(x.shape), grad_right, grad_left
    )


@routine
def monarch_to_dense(
    right: Inexact[Array, "*batch k q p"], left: Inexact[Array, "*batch l s r"]
) -> Array:
    """Dense matrix of given Monarch factors.

    Parameters
    ----------
    right : (..., k, q, p) array of float32, float64, complex64 or complex128
    left : (..., l, s, r) array of float32, float64, complex64 or complex128
        l r = k q.

    Returns
    -------
    (..., l s, k p) array

    Raises
    ------
    ValueError
        The shapes do not match.
    TypeError
        Unsupported dtypes, or mixed dtypes or devices.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> monarch_to_dense(np.array([[[1.0, 2.0]]]), np.array([[[3.0], [4.0]]]))
    array([[3., 6.],
           [4., 8.]])
    """
    _check_inner(right, left)
    xp = namespace_of(right)
    lead, (k, q, p), (count, s, _) = right.shape[:-3], right.shape[-3:], left.shape[-3:]
    result = xp.empty((*lead, s, count, k, p), right.dtype)
    f = np.arange(k * q)
    for kappa in range(k):
        for lam in range(count):  # the rows i of block κ whose outputs ρ l + λ go to block λ
            i = [int(g) - kappa * q for g in f[kappa * q : (kappa + 1) * q] if g % count == lam]
            rho = [(kappa * q + g) // count for g in i]
            with np.errstate(all="ignore"):
                result[..., lam, kappa, :] = (
                    left[..., lam, :, :][..., rho] @ right[..., kappa, :, :][..., i, :]
                )
    return result.reshape(*lead, s * count, k * p)


def _check_sizes(x, right, left):
    """Check that the sizes of the arguments match, and return the length m of the result."""
    n = right.shape[0] * right.shape[2]
    if x.shape[-1] != n:
        raise ValueError(f"x must have shape (..., n) with n = k p = {n} (got {x.shape})")
    _check_inner(right, left)
    return left.shape[0] * left.shape[1]


def _check_inner(right, left):
    k, q, _ = right.shape[-3:]
    count, _, r = left.shape[-3:]
    if count * r != k * q:
        raise ValueError(f"left must have l r = k q = {k * q} (got l = {count}, r = {r})")


def _blocks(xp, x, w, interleaved, transposed):
    """y = blockdiag(w) x for every row of x, optionally with transposed blocks.

    Block g maps the entries g J + j of a row to g I + i, or, if interleaved, j G + g to i G + g.
    """
    (count, i, j), b = w.shape, len(x)
    i, j = (j, i) if transposed else (i, j)
    y = xp.empty((b, count * i), x.dtype)
    if not y.size or not j:
        y[...] = 0
    elif x.dtype.kind == "c" or xp is np and b <= FEW:
        with np.errstate(all="ignore"):
            _by_block(y, count, interleaved)[...] = xp.matmul(
                w.swapaxes(1, 2) if transposed else w, _by_block(x, count, interleaved)
            )
    else:
        block_product(x, w, y, interleaved, transposed)
    return y


def _outer_blocks(xp, y, x, shape, interleaved):
    """w[g] = Σ over rows of (block g of y) (block g of x)ᴴ."""
    w = xp.zeros(shape, x.dtype)
    if not w.size or not len(x):
        return w
    if x.dtype.kind == "c":
        with np.errstate(all="ignore"):
            return xp.matmul(
                _by_block(y, shape[0], interleaved),
                _by_block(x, shape[0], interleaved).conj().swapaxes(1, 2),
            )
    block_outer(y, x, w, interleaved)
    return w


def _by_block(x, count, interleaved):
    """(count, size, b) view of the rows of x."""
    return (
        x.reshape(len(x), -1, count).transpose(2, 1, 0)
        if interleaved
        else x.reshape(len(x), count, -1).transpose(1, 2, 0)
    )
