"""Covariance and tangent kernel of infinitely wide networks with one hidden layer of ReLUs."""

import math
from typing import Annotated

import numpy as np

from ...arguments import Array, Float, positive
from ...dispatch import namespace_of, routine
from .kernels import arc_cosine_gram


@routine
def ntk(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], *, sigma_w: Annotated[float, positive] = 1.0
) -> Array:
    """Neural tangent kernel of an infinitely wide network with one hidden layer of ReLUs and no
    biases.

    Parameters
    ----------
    x1 : (n1, d) array of float32 or float64
        Inputs, d >= 1.
    x2 : (n2, d) array of float32 or float64
        Inputs, of the same dtype.
    sigma_w : float > 0, default 1.0
        Weights are normal with standard deviation sigma_w / sqrt(inputs of their layer); > 0.

    Returns
    -------
    (n1, n2) array
        Θ(u, v) for every row u of `x1` and v of `x2`, in the parameterization where every weight is
        sigma_w / sqrt(inputs) times a trained standard normal number. 0 where u or v is 0.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `sigma_w` is not a number.
    ValueError
        Shapes that do not fit, entries or lengths of rows that are not finite, `sigma_w` not
        positive and finite.

    Notes
    -----
    With θ the angle between u and v,
    ``Θ = sigma_w**4 |u| |v| (sin θ + 2 (π - θ) cos θ) / (2 π d)``. Where abs(cos θ) > 0.999, θ
    comes from the difference of the directions, θ = 2 arcsin(|u/|u| - v/|v|| / 2), since the arc
    cosine is of no use there. The error is below 2e-6 of the largest entry in float32 and 1e-14 in
    float64. One product of 2 n1 n2 d operations, then about 40 for each entry, in place; memory:
    the result, and the directions of the rows.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel: Convergence and Generalization in
    Neural Networks", NeurIPS 2018.

    Examples
    --------
    >>> 3 * ntk(np.eye(3), np.eye(3)).round(4)
    array([[0.9999, 0.1593, 0.1593],
           [0.1593, 0.9999, 0.1593],
           [0.1593, 0.1593, 0.9999]])
    """
    return _arc_cosine_kernel(x1, x2, sigma_w, weight=2)


@routine
def nngp(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], *, sigma_w: Annotated[float, positive] = 1.0
) -> Array:
    """Covariance of the outputs of an infinitely wide network with one hidden layer of ReLUs and no
    biases, before training.

    Parameters
    ----------
    x1 : (n1, d) array of float32 or float64
        Inputs, d >= 1.
    x2 : (n2, d) array of float32 or float64
        Inputs, of the same dtype.
    sigma_w : float > 0, default 1.0
        Weights are normal with standard deviation sigma_w / sqrt(inputs of their layer); > 0.

    Returns
    -------
    (n1, n2) array
        K(u, v) for every row u of `x1` and v of `x2`. 0 where u or v is 0.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `sigma_w` is not a number.
    ValueError
        Shapes that do not fit, entries or lengths of rows that are not finite, `sigma_w` not
        positive and finite.

    Notes
    -----
    With θ the angle between u and v, ``K = sigma_w**4 |u| |v| (sin θ + (π - θ) cos θ) / (2 π d)``.
    Errors and cost as for :func:`ntk`.

    References
    ----------
    Y. Cho, L. K. Saul, "Kernel Methods for Deep Learning", NeurIPS 2009.

    Examples
    --------
    >>> nngp(np.array([[2.0]]), np.array([[3.0], [-3.0]]))
    array([[3., 0.]])
    """
    return _arc_cosine_kernel(x1, x2, sigma_w, weight=1)


def _arc_cosine_kernel(x1, x2, sigma_w, weight):
    xp, d = namespace_of(x1), x1.shape[1]
    if not d:
        raise ValueError(f"x1 must have d >= 1 columns (got shape {x1.shape})")
    with np.errstate(all="ignore"):
        u, left = directions("x1", x1)
        v, right = (u, left) if x2 is x1 else directions("x2", x2)
        c = xp.matmul(u, v.T)
        arc_cosine_gram(u, v, left, right, weight, sigma_w**4 / (2 * math.pi * d), c)
    return c


def directions(name, x):
    """Rows divided by their lengths, and the lengths; a row of zeros stays one. Through the largest
    entry, so that no square overflows."""
    xp, one = namespace_of(x), x.dtype.type(1)
    top = xp.abs(x).max(axis=1)
    u = xp.ascontiguousarray(x / xp.where(top > 0, top, one)[:, None])
    length = xp.sqrt(xp.einsum("ij,ij->i", u, u, dtype=np.float64)).astype(x.dtype)
    u /= xp.where(top > 0, length, one)[:, None]
    length = length * top
    if not bool(xp.isfinite(length).all()):
        raise ValueError(
            f"{name} must have finite entries, and rows of finite length (got a length of "
            f"{float(length[~xp.isfinite(length)][0])})"
        )
    return u, length
