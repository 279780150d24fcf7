"""Losses of every point under a model, for `auto_coreset`: logistic, hinge and squared ones of linear models, and that of k-means.

The losses of linear models take one read of x: a row's product with the coefficients and its loss are computed together.
"""

import numpy as np

from ..checks import checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..special import softplus

__all__ = ["hinge_loss", "kmeans_loss", "logistic_loss", "squared_loss"]

LOGISTIC, HINGE, SQUARED = range(3)
ROWS = 1 << 12  # points whose distances to all centres are held at once


@routine
def logistic_loss(x, y, model, *, penalty=0.0):
    """Logistic loss log(1 + exp(-s_i (x_i·w + b))) of every point, with the sign s_i of its label.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array
        Labels; those above 0 are of the positive class, all others of the negative one.
    model : (w, b), or an object with `coef_` and `intercept_`
        w has d numbers, b is one.
    penalty : float
        λ: each point also carries λ ‖w‖² / (2 n), so that the sum over all points is the regularised loss. It is 1 / C in scikit-learn.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 2 d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|.

    Raises
    ------
    ValueError
        Shapes do not fit, or `penalty` is negative.
    TypeError
        Other dtypes or mixed devices, or a model of another form.

    Notes
    -----
    O(n d); one read of `x`.

    References
    ----------
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd edition, Springer 2009, section 4.4.

    Examples
    --------
    >>> logistic_loss(np.array([[0.0], [2.0]]), np.array([1, -1]), (np.array([1.0]), 0.0)).round(6)
    array([0.693147, 2.126928])
    """
    return _linear_loss(LOGISTIC, x, y, model, penalty, 0.5)


@routine
def hinge_loss(x, y, model, *, penalty=0.0):
    """Hinge loss max(0, 1 - s_i (x_i·w + b)) of every point, with the sign s_i of its label.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array
        Labels; those above 0 are of the positive class, all others of the negative one.
    model : (w, b), or an object with `coef_` and `intercept_`
        w has d numbers, b is one.
    penalty : float
        λ: each point also carries λ ‖w‖² / (2 n), so that the sum over all points is the regularised loss. It is 1 / C in scikit-learn.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 2 d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|.

    Raises
    ------
    ValueError
        Shapes do not fit, or `penalty` is negative.
    TypeError
        Other dtypes or mixed devices, or a model of another form.

    Notes
    -----
    O(n d); one read of `x`.

    References
    ----------
    C. Cortes, V. Vapnik, "Support-vector networks", Machine Learning, 1995.

    Examples
    --------
    >>> hinge_loss(np.array([[0.5], [2.0]]), np.array([1, -1]), (np.array([1.0]), 0.0))
    array([0.5, 3. ])
    """
    return _linear_loss(HINGE, x, y, model, penalty, 0.5)


@routine
def squared_loss(x, y, model, *, penalty=0.0):
    """Squared residual (x_i·w + b - y_i)² of every point.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array
        Targets.
    model : (w, b), or an object with `coef_` and `intercept_`
        w has d numbers, b is one.
    penalty : float
        λ: each point also carries λ ‖w‖² / n, so that the sum over all points is the loss of ridge regression with alpha = λ.

    Returns
    -------
    (n,) array of the dtype of `x`
        The residual's error is at most about d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\| + \\|y_i\\|.

    Raises
    ------
    ValueError
        Shapes do not fit, or `penalty` is negative.
    TypeError
        Other dtypes or mixed devices, or a model of another form.

    Notes
    -----
    O(n d); one read of `x`.

    References
    ----------
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd edition, Springer 2009, section 3.4.

    Examples
    --------
    >>> squared_loss(np.array([[0.5], [2.0]]), np.array([1.0, 0.0]), (np.array([1.0]), 0.0))
    array([0.25, 4.  ])
    """
    return _linear_loss(SQUARED, x, y, model, penalty, 1.0)


@routine
def kmeans_loss(x, y, model):
    """Squared distance of every point to its nearest centre.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : None
        Not used: it stands here so that all losses are called alike.
    model : (k, d) array, or an object with `cluster_centers_`
        The centres.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 4 d units of roundoff times the largest squared distance of the point and of a centre from the mean of
        the centres.

    Raises
    ------
    ValueError
        Shapes do not fit, or there is no centre.
    TypeError
        Other dtypes or mixed devices, or a model of another form.

    Notes
    -----
    O(n k d): ‖x‖² - 2 x·c + ‖c‖² by matrix products, after the mean of the centres has been taken off.

    References
    ----------
    S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.

    Examples
    --------
    >>> kmeans_loss(np.array([[0.0, 0.0], [3.0, 4.0]]), None, np.array([[0.0, 1.0], [3.0, 5.0]]))
    array([1., 1.])
    """
    xp, (x, centers) = on_device(x=x, model=getattr(model, "cluster_centers_", model))
    dtype = _checked_points(x)
    if centers is None or centers.dtype.kind not in "iuf":
        raise TypeError(f"model must be an array of centres, or have cluster_centers_ (got {type(model).__name__})")
    if centers.ndim != 2 or centers.shape[1] != x.shape[1] or not len(centers):
        raise ValueError(f"model must hold centres of shape (k, {x.shape[1]}) with k > 0 (got {centers.shape})")
    centers, losses = centers.astype(dtype, copy=False), xp.empty(len(x), dtype)
    with np.errstate(all="ignore"):
        middle = centers.mean(axis=0)
        centers = centers - middle
        squares = xp.einsum("kd,kd->k", centers, centers)
        for first in range(0, len(x), ROWS):
            points = x[first:first + ROWS] - middle
            nearest = (squares - 2 * (points @ centers.T)).min(axis=1)
            losses[first:first + ROWS] = xp.maximum(nearest + xp.einsum("nd,nd->n", points, points), 0)
    return losses


def _checked_points(x):
    dtype = float_dtype(x=x)
    if x.ndim != 2:
        raise ValueError(f"x must have 2 dimensions (got shape {x.shape})")
    return dtype


def _linear_loss(kind, x, y, model, penalty, half):
    coef, intercept = _checked_model(model)
    xp, (x, y, coef, intercept) = on_device(x=x, y=y, model=coef, intercept=intercept)
    dtype = _checked_points(x)
    n, d = x.shape
    if y is None or y.dtype.kind not in "biuf":
        raise TypeError(f"y must be an array of real numbers (got {None if y is None else y.dtype})")
    if y.shape != (n,):
        raise ValueError(f"y must have shape ({n},) (got {y.shape})")
    for part in (coef, intercept):
        if part.dtype.kind not in "iuf":
            raise TypeError(f"model must hold real numbers (got {part.dtype})")
    if coef.size != d or coef.shape[-1:] != (d,) or intercept.size != 1:
        raise ValueError(f"model must hold {d} coefficients and one intercept (got shapes {coef.shape} and {intercept.shape})")
    penalty = checked_number("penalty", penalty, least=0)
    losses = xp.empty(n, dtype)
    with np.errstate(all="ignore"):
        w = xp.ascontiguousarray(coef.reshape(d).astype(dtype, copy=False))
        each = half * penalty * float(w @ w) / max(n, 1) if penalty else 0.0
        linear_losses(xp.ascontiguousarray(x), xp.ascontiguousarray(y.astype(dtype, copy=False)), w, float(intercept.reshape(())), each,
                      kind, losses)
    return losses


def _checked_model(model):
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        return model.coef_, model.intercept_
    if isinstance(model, (tuple, list)) and len(model) == 2 and not any(part is None for part in model):
        return model
    raise TypeError(f"model must be (w, b), or have coef_ and intercept_ (got {type(model).__name__})")


# --- kernel ------------------------------------------------------------------------------------------------------------------------


@kernel("in T x[n, d]; in T y[n]; in T w[d]; T b; T each; int64 kind; out T loss[n]", split="n", gpu="warp")
def linear_losses(x, y, w, b, each, kind, loss, start, stop):
    """The logistic (0), hinge (1) or squared (2) loss of every row, and `each` more."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(start, stop):
        margin = dot(x[i], w) + b
        if kind == 2:
            loss[i] = (margin - y[i]) * (margin - y[i]) + each
        else:
            margin = (-margin if y[i] > 0 else margin) + (y[i] - y[i])  # NaN for the label NaN
            if kind == 1:
                margin = one + margin
                margin = margin if not margin < 0 else zero  # NaN stays
            loss[i] = margin
    if kind == 0:
        for i in range(start, stop):
            loss[i] = softplus(loss[i]) + each
    elif kind == 1:
        for i in range(start, stop):
            loss[i] += each


def dot(x, w):
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = x.dtype.type(0)
    n = w.size // 8 * 8
    for c in range(0, n, 8):
        s0, s1, s2, s3 = s0 + x[c] * w[c], s1 + x[c + 1] * w[c + 1], s2 + x[c + 2] * w[c + 2], s3 + x[c + 3] * w[c + 3]
        s4, s5, s6, s7 = s4 + x[c + 4] * w[c + 4], s5 + x[c + 5] * w[c + 5], s6 + x[c + 6] * w[c + 6], s7 + x[c + 7] * w[c + 7]
    for c in range(n, w.size):
        s0 += x[c] * w[c]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
