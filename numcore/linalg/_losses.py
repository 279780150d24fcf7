"""Losses per point: logistic, hinge and squared losses of linear models and the loss of k-means,
for `auto_coreset`.

The losses of linear models cost a matrix–vector product and one pass over its result.
"""

from typing import Annotated, Any, TypeAlias

import numpy as np

from ..arguments import Array, Bool, Float, Kind, Real, nonnegative
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..special import softplus

LOGISTIC, HINGE, SQUARED = range(3)
ROWS = 1 << 12  # points processed at once, which bounds the memory for distances to all centers


# --- models ---------------------------------------------------------------------------------------


class LinearModelKind(Kind):
    """Coefficients and an intercept for points x with d columns."""

    text = "(w, b) or an object with coef_ and intercept_"
    sized = True

    def fits(self, value):
        return _parts(value) is not None

    def convert(self, name, value, call):
        names = (f"{name}[0]", f"{name}[1]")
        if hasattr(value, "coef_"):
            names = (f"{name}.coef_", f"{name}.intercept_")
        given = _parts(value)
        parts = tuple(call.as_array(n, part) for n, part in zip(names, given, strict=True))
        for n, part in zip(names, parts, strict=True):
            if part.dtype.kind not in "iuf":
                raise TypeError(f"{n} must have real numbers (got dtype {part.dtype})")
        (coef, intercept), d = parts, call.sizes["d"]
        if coef.size != d or coef.shape[-1:] != (d,) or intercept.size != 1:
            got = f"got shapes {coef.shape} and {intercept.shape}"
            raise ValueError(f"{name} must have d = {d} coefficients and one intercept ({got})")
        same = coef is given[0] and (intercept is given[1] or given[1].__class__ is float)
        return value if same else parts

    def key(self):
        return lambda value: _key(*(_parts(value) or (None,)))

    def unfit(self):
        return [(object(), TypeError), ("text", TypeError), ((None, 0.0), TypeError)]


class CentersKind(Kind):
    """A fitted k-means."""

    text = "an object with cluster_centers_"
    sized = True
    centers = Real[Array, "k d"].__metadata__[0]

    def fits(self, value):
        return hasattr(value, "cluster_centers_")

    def convert(self, name, value, call):
        given = value.cluster_centers_
        centers = self.centers.convert(f"{name}.cluster_centers_", given, call)
        return value if centers is given else centers

    def key(self):
        return lambda value: _key(getattr(value, "cluster_centers_", None))

    def unfit(self):
        return [(object(), TypeError)]


LinearModel: TypeAlias = Annotated[Any, LinearModelKind()]
Centers: TypeAlias = Annotated[Any, CentersKind()]


def _parts(model):
    """Coefficients and intercept, or None for any other object."""
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        return model.coef_, model.intercept_
    pair = isinstance(model, (tuple, list)) and len(model) == 2
    return model if pair and not any(part is None for part in model) else None


def _key(*parts):
    """Cache key of arrays and floats; None if there is any other object."""
    keys = [
        (p.dtype, p.shape, p.flags.num) if p.__class__ is np.ndarray else p.__class__ for p in parts
    ]
    known = all(k.__class__ is tuple or k is float for k in keys)
    return tuple(keys) if known else None


# --- routines -------------------------------------------------------------------------------------


@routine
def logistic_loss(
    x: Float[Array, "n d"],
    y: Real[Array, "n"] | Bool[Array, "n"],
    model: LinearModel,
    *,
    penalty: Annotated[float, nonnegative] = 0.0,
) -> Array:
    """Logistic loss log(1 + exp(-s_i (x_i·w + b))) of every point, with the sign s_i of its label.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array of float32, float64 or integers or (n,) array of bool
        Labels; those above 0 are of the positive class, all others of the negative one.
    model : (w, b) or an object with coef_ and intercept_
        w has d numbers, b is one.
    penalty : float >= 0, default 0.0
        λ: λ ‖w‖² / (2 n) is added to the loss of each point, so that the sum over all points is the
        regularized loss. λ is 1 / C in scikit-learn.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 2 d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|.

    Raises
    ------
    ValueError
        Shapes do not match, or `penalty` is negative.
    TypeError
        Unsupported dtypes, mixed devices, or a model of another form.

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
def hinge_loss(
    x: Float[Array, "n d"],
    y: Real[Array, "n"] | Bool[Array, "n"],
    model: LinearModel,
    *,
    penalty: Annotated[float, nonnegative] = 0.0,
) -> Array:
    """Hinge loss max(0, 1 - s_i (x_i·w + b)) of every point, with the sign s_i of its label.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array of float32, float64 or integers or (n,) array of bool
        Labels; those above 0 are of the positive class, all others of the negative one.
    model : (w, b) or an object with coef_ and intercept_
        w has d numbers, b is one.
    penalty : float >= 0, default 0.0
        λ: λ ‖w‖² / (2 n) is added to the loss of each point, so that the sum over all points is the
        regularized loss. λ is 1 / C in scikit-learn.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 2 d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|.

    Raises
    ------
    ValueError
        Shapes do not match, or `penalty` is negative.
    TypeError
        Unsupported dtypes, mixed devices, or a model of another form.

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
def squared_loss(
    x: Float[Array, "n d"],
    y: Real[Array, "n"] | Bool[Array, "n"],
    model: LinearModel,
    *,
    penalty: Annotated[float, nonnegative] = 0.0,
) -> Array:
    """Squared residual (x_i·w + b - y_i)² of every point.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : (n,) array of float32, float64 or integers or (n,) array of bool
        Targets.
    model : (w, b) or an object with coef_ and intercept_
        w has d numbers, b is one.
    penalty : float >= 0, default 0.0
        λ: λ ‖w‖² / n is added to the loss of each point, so that the sum over all points is the
        loss of ridge regression with alpha = λ.

    Returns
    -------
    (n,) array of the dtype of `x`
        The residual's error is at most about d units of roundoff times Σ_j \\|x_ij w_j\\| + \\|b\\|
        + \\|y_i\\|.

    Raises
    ------
    ValueError
        Shapes do not match, or `penalty` is negative.
    TypeError
        Unsupported dtypes, mixed devices, or a model of another form.

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
def kmeans_loss(x: Float[Array, "n d"], y: Any, model: Real[Array, "k d"] | Centers) -> Array:
    """Squared distance of every point to its nearest center.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
        Points.
    y : anything
        Ignored; all losses have the same signature.
    model : (k, d) array of float32, float64 or integers or an object with cluster_centers_
        The centers.

    Returns
    -------
    (n,) array of the dtype of `x`
        Absolute error at most about 4 d units of roundoff times the largest squared distance of the
        point and of a center from the mean of the centers.

    Raises
    ------
    ValueError
        Shapes do not match, or there are no centers.
    TypeError
        Unsupported dtypes, mixed devices, or a model of another form.

    Notes
    -----
    O(n k d): ‖x‖² - 2 x·c + ‖c‖² by matrix products, after the mean of the centers has been
    subtracted.

    References
    ----------
    S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.

    Examples
    --------
    >>> kmeans_loss(np.array([[0.0, 0.0], [3.0, 4.0]]), None, np.array([[0.0, 1.0], [3.0, 5.0]]))
    array([1., 1.])
    """
    xp, dtype = namespace_of(x), x.dtype
    centers = getattr(model, "cluster_centers_", model)
    if not len(centers):
        raise ValueError(f"model must have at least one center (got shape {centers.shape})")
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


def _linear_loss(kind, x, y, model, penalty, half):
    xp, dtype, (n, d) = namespace_of(x), x.dtype, x.shape
    coef, intercept = _parts(model)
    with np.errstate(all="ignore"):
        w = coef.reshape(d).astype(dtype, copy=False)
        each = half * penalty * float(w @ w) / max(n, 1) if penalty else 0.0
        losses = x @ w
        labels = xp.ascontiguousarray(y.astype(dtype, copy=False))
        b = float(intercept if intercept.__class__ is float else intercept.reshape(()))
        margin_losses(losses, labels, b, each, kind)
    return losses


# --- kernel ---------------------------------------------------------------------------------------


@kernel(
    "inout T loss[n]; in T y[n]; T b; T each; int64 kind",
    constants=("LOGISTIC", "HINGE", "SQUARED"),
    split="n",
)
def margin_losses(loss, y, b, each, kind, start, stop):
    """Turn products x·w in place into logistic (0), hinge (1) or squared (2) losses, and add
    `each`."""
    one, zero = loss.dtype.type(1), loss.dtype.type(0)
    z, label = loss[start:stop], y[start:stop]
    if kind == 2:
        for i in range(z.size):
            z[i] = (z[i] + b - label[i]) * (z[i] + b - label[i]) + each
        return
    for i in range(z.size):
        margin = z[i] + b
        # NaN for the label NaN
        z[i] = (-margin if label[i] > 0 else margin) + (label[i] - label[i])
    if kind == 1:
        for i in range(z.size):
            z[i] = (zero if one + z[i] < 0 else one + z[i]) + each  # NaN stays
    else:
        for i in range(z.size):
            z[i] = softplus(z[i]) + each
