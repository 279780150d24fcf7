"""Losses of every point under a model, for `auto_coreset`: logistic, hinge and squared ones of
linear models, and that of k-means.

Those of linear models are a matrix product, and one pass over its result.
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
        λ: each point also carries λ ‖w‖² / (2 n), so that the sum over all points is the
        regularised loss. It is 1 / C in scikit-learn.

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
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd edition,
    Springer 2009, section 4.4.

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
        λ: each point also carries λ ‖w‖² / (2 n), so that the sum over all points is the
        regularised loss. It is 1 / C in scikit-learn.

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
        λ: each point also carries λ ‖w‖² / n, so that the sum over all points is the loss of ridge
        regression with alpha = λ.

    Returns
    -------
    (n,) array of the dtype of `x`
        The residual's error is at most about d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|
        + \\|y_i\\|.

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
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd edition,
    Springer 2009, section 3.4.

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
        Absolute error at most about 4 d units of roundoff times the largest squared distance of the
        point and of a centre from the mean of the centres.

    Raises
    ------
    ValueError
        Shapes do not fit, or there is no centre.
    TypeError
        Other dtypes or mixed devices, or a model of another form.

    Notes
    -----
    O(n k d): ‖x‖² - 2 x·c + ‖c‖² by matrix products, after the mean of the centres has been taken
    off.

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
        raise TypeError(
            f"model must be an array of centres, or have cluster_centers_ (got "
            f"{type(model).__name__})"
        )
    if centers.ndim != 2 or centers.shape[1] != x.shape[1] or not len(centers):
        raise ValueError(
            f"model must hold centres of shape (k, {x.shape[1]}) with k > 0 (got {centers.shape})"
        )
    centers, losses = centers.astype(dtype, copy=False), xp.empty(len(x), dtype)
    with np.errstate(all="ignore"):
        middle = centers.mean(axis=0)
        centers = centers - middle
        squares = xp.einsum("kd,kd->k", centers, centers)
        for first in range(0, len(x), ROWS):
            points = x[first : first + ROWS] - middle
            nearest = (squares - 2 * (points @ centers.T)).min(axis=1)
            losses[first : first + ROWS] = xp.maximum(
                nearest + xp.einsum("nd,nd->n", points, points), 0
            )
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
        raise TypeError(
            f"y must be an array of real numbers (got {None if y is None else y.dtype})"
        )
    if y.shape != (n,):
        raise ValueError(f"y must have shape ({n},) (got {y.shape})")
    for part in (coef, intercept):
        if part.dtype.kind not in "iuf":
            raise TypeError(f"model must hold real numbers (got {part.dtype})")
    if coef.size != d or coef.shape[-1:] != (d,) or intercept.size != 1:
        raise ValueError(
            f"model must hold {d} coefficients and one intercept (got shapes {coef.shape} and "
            f"{intercept.shape})"
        )
    penalty = checked_number("penalty", penalty, least=0)
    with np.errstate(all="ignore"):
        w = coef.reshape(d).astype(dtype, copy=False)
        each = half * penalty * float(w @ w) / max(n, 1) if penalty else 0.0
        losses = x @ w
        margin_losses(
            losses,
            xp.ascontiguousarray(y.astype(dtype, copy=False)),
            float(intercept.reshape(())),
            each,
            kind,
        )
    return losses


def _checked_model(model):
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        return model.coef_, model.intercept_
    if (
        isinstance(model, (tuple, list))
        and len(model) == 2
        and not any(part is None for part in model)
    ):
        return model
    raise TypeError(
        f"model must be (w, b), or have coef_ and intercept_ (got {type(model).__name__})"
    )


# --- kernel ---------------------------------------------------------------------------------------


@kernel(
    "inout T loss[n]; in T y[n]; T b; T each; int64 kind",
    constants=("LOGISTIC", "HINGE", "SQUARED"),
    split="n",
)
def margin_losses(loss, y, b, each, kind, start, stop):
    """Products x·w to the logistic (0), hinge (1) or squared (2) losses, and `each` more."""
    one, zero = loss.dtype.type(1), loss.dtype.type(0)
    z, label = loss[start:stop], y[start:stop]
    if kind == 2:
        for i in range(z.size):
            z[i] = (z[i] + b - label[i]) * (z[i] + b - label[i]) + each
        return
    for i in range(z.size):
        margin = z[i] + b
        z[i] = (-margin if label[i] > 0 else margin) + (
            label[i] - label[i]
        )  # NaN for the label NaN
    if kind == 1:
        for i in range(z.size):
            z[i] = (zero if one + z[i] < 0 else one + z[i]) + each  # NaN stays
    else:
        for i in range(z.size):
            z[i] = softplus(z[i]) + each
