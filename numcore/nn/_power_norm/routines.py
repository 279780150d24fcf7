"""Power normalization by a given quadratic mean, and the scaling of groups of features: pairs of
functions."""

from typing import Annotated, Literal, NamedTuple

import numpy as np

from ...arguments import Array, Bool, Float, at_least, positive, within
from ...dispatch import namespace_of, routine
from .._normalization.kernels import norm_rows, norm_rows_backward
from .._normalization.rows import as_rows, blocks, check_eps, column
from .kernels import power_columns
from .statistics import backward, batch_of, quadratic_means, root


class PowerNormCache(NamedTuple):
    """What :func:`power_norm` keeps for its gradients: z, the normalized input, and its
    arguments."""

    z: Float[Array, "*batch d"]
    weight: Float[Array, "d"] | None
    bias: Float[Array, "d"] | None
    phi: Float[Array, "d"]
    gamma: Float[Array, "d"] | None
    mask: Bool[Array, "*batch"] | None
    eps: float
    alpha_bwd: float
    backward_scale: str


class PowerNormGrads(NamedTuple):
    """Approximate gradients of the arguments of :func:`power_norm`, None where an argument was
    None; `gamma` is the correction for the next step."""

    x: Array
    weight: Array | None
    bias: Array | None
    gamma: Array


class GroupScaleCache(NamedTuple):
    """What :func:`group_scale` keeps for its gradient: the input, and of every group 1/sqrt(mean
    square + eps)."""

    x: Float[Array, "*batch d"]
    scale: Float[Array, "*batch n_groups"]


# --- power normalization --------------------------------------------------------------------------


@routine
def power_norm(
    x: Float[Array, "*batch d"],
    weight: Float[Array, "d"] | None,
    bias: Float[Array, "d"] | None,
    phi: Float[Array, "d"],
    gamma: Float[Array, "d"] | None = None,
    *,
    mask: Bool[Array, "*batch"] | None = None,
    eps: Annotated[float, positive] = 1e-5,
    alpha_bwd: Annotated[float, within(0, 1)] = 0.9,
    backward_scale: Literal["used", "batch"] = "used",
) -> tuple[Array, PowerNormCache]:
    """Every feature divided by the root of a given quadratic mean, then multiplied by `weight`,
    plus `bias`.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
    weight : (d,) array of float32 or float64 or None
        None means ones.
    bias : (d,) array of float32 or float64 or None
        None means zeros.
    phi : (d,) array of float32 or float64
        Quadratic mean of every feature: that of this batch in a warm-up, later the running one of
        the batches before.
    gamma : (d,) array of float32 or float64, optional
        The correction of gradients accumulated in the steps before; by default zeros.
    mask : (...) array of bool, optional
        True for padding, which does not count for `gamma`.
    eps : float > 0, default 1e-05
        Added to `phi`.
    alpha_bwd : float in [0, 1], default 0.9
        1 - alpha_bwd of the correction is applied at each step; with 1 it is never applied.
    backward_scale : {"used", "batch"}, default "used"
        Divide the gradient by the root of `phi`, or by that of this batch's quadratic mean, as the
        authors' program does.

    Returns
    -------
    y : (..., d) array
    cache : PowerNormCache
        For :func:`power_norm_vjp`; ``cache.z`` is the normalized input.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are not numbers, a mask
        that is not bool.
    ValueError
        Shapes that do not fit, `eps` not positive, `alpha_bwd` outside [0, 1], all positions
        masked.

    Notes
    -----
    ``z = x / sqrt(phi + eps)``, ``y = weight z + bias``, within a few units of rounding. `gamma`,
    `mask`, `alpha_bwd` and `backward_scale` are for the gradients alone.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> y, cache = power_norm(
    ...     np.array([[1.0, 2], [3, -4]]), np.ones(2), np.ones(2), np.array([0.25, 4.0]), eps=1e-12
    ... )
    >>> y.round(6)
    array([[ 3.,  2.],
           [ 7., -1.]])
    """
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    check_eps(eps, dtype)
    if mask is not None and mask.size and bool(mask.all()):
        raise ValueError(f"mask must leave a position (got all {mask.size} masked)")
    with np.errstate(all="ignore"):
        scale = root(xp, phi, eps).astype(dtype)
    y, z = xp.empty(x.shape, dtype), xp.empty(x.shape, dtype)
    power_columns(
        as_rows(xp, x),
        scale,
        column(xp, weight, d, 1, dtype),
        column(xp, bias, d, 0, dtype),
        as_rows(xp, z),
        as_rows(xp, y),
    )
    return y, PowerNormCache(z, weight, bias, phi, gamma, mask, eps, alpha_bwd, backward_scale)


@routine
def power_norm_vjp(grad_y: Float[Array, "*batch d"], cache: PowerNormCache) -> PowerNormGrads:
    """Approximate gradients of :func:`power_norm` by the running quadratic mean, and the correction
    for the next step.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in y.
    cache : PowerNormCache
        What :func:`power_norm` returned with y.

    Returns
    -------
    PowerNormGrads
        x (..., d), weight and bias (d,), None where the argument was None, and the new gamma (d,).
        x is the gradient of no function, except for ``alpha_bwd=1`` and `phi` that does not depend
        on x.

    Raises
    ------
    TypeError
        Another dtype or device than that of the layer, another cache.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    With g = weight grad_y: ``t = g - (1 - alpha_bwd) gamma z``, ``grad_x = t / sqrt(phi + eps)``,
    ``gamma_new = gamma + mean(t z)``, the mean over all positions that are not padding.
    ``grad_weight = sum grad_y z`` and ``grad_bias = sum grad_y`` over all positions, in float64
    from blocks of 32. One pass over `grad_y` and z, for backward_scale="batch" one more over z.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> from numcore.nn import power_norm
    >>> x, one = np.array([[1.0, 2], [3, -4]]), np.ones(2)
    >>> y, cache = power_norm(x, one, None, one, np.array([0.5, -0.25]), eps=1e-12)
    >>> grads = power_norm_vjp(np.eye(2), cache)
    >>> grads.x.round(6), grads.gamma.round(6)
    (array([[ 0.95,  0.05],
           [-0.15,  0.9 ]]), array([ 0.75, -2.  ]))
    """
    z, weight, bias, phi, gamma, mask, eps, alpha_bwd, backward_scale = cache
    xp, dtype, d = namespace_of(z), z.dtype, z.shape[-1]
    batch = batch_of(xp, z, mask)
    gamma = xp.zeros(d, dtype) if gamma is None else gamma
    with np.errstate(all="ignore"):
        used, means = phi, None
        if backward_scale == "batch":
            means = quadratic_means(xp, batch, eps)
            used = means * (phi + eps)
        changes = backward(
            xp,
            grad_y,
            batch,
            weight=column(xp, weight, d, 1, dtype),
            scale=xp.ones(d, np.float64),
            correction=(1 - alpha_bwd) * gamma.astype(np.float64),
            grad_scale=root(xp, used, eps),
            means=means,
        )
        return PowerNormGrads(
            changes.grad_x,
            None if weight is None else changes.grad_weight,
            None if bias is None else changes.grad_bias,
            (gamma + changes.gamma).astype(dtype),
        )


# --- scaling of groups ----------------------------------------------------------------------------


@routine
def group_scale(
    x: Float[Array, "*batch d"],
    *,
    n_groups: Annotated[int, at_least(1)] = 1,
    eps: Annotated[float, positive] = 1e-5,
) -> tuple[Array, GroupScaleCache]:
    """Every group of features of every position divided by the root of its mean square.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
    n_groups : int >= 1, default 1
        Groups of d / n_groups neighboring features; divides d.
    eps : float > 0, default 1e-05
        Added to the mean square.

    Returns
    -------
    y : (..., d) array
    cache : GroupScaleCache
        For :func:`group_scale_vjp`; holds `x` by reference.

    Raises
    ------
    TypeError
        Another dtype, `n_groups` that is not an integer, `eps` that is not a number.
    ValueError
        `n_groups` does not divide d, `x` has no axis, `eps` is not positive.

    Notes
    -----
    ``y = x / sqrt(mean(x²) + eps)``, the mean over the group, within a few units of rounding.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> y, cache = group_scale(np.array([3.0, 3.0, 4.0, 0.0]), n_groups=2)
    >>> y.round(4)
    array([1.    , 1.    , 1.4142, 0.    ])
    """
    xp, dtype, d = namespace_of(x), x.dtype, x.shape[-1]
    check_eps(eps, dtype)
    check_groups(n_groups, d)
    y, scale = xp.empty(x.shape, dtype), xp.empty((*x.shape[:-1], n_groups), dtype)
    if x.size:
        size = d // n_groups
        norm_rows(
            xp.ascontiguousarray(x).reshape(-1, size),
            xp.ones(size, dtype),
            xp.zeros(size, dtype),
            eps,
            0,
            y.reshape(-1, size),
            xp.empty(scale.size, dtype),
            scale.reshape(-1),
        )
    return y, GroupScaleCache(x, scale)


@routine
def group_scale_vjp(grad_y: Float[Array, "*batch d"], cache: GroupScaleCache) -> Array:
    """Gradient of :func:`group_scale`.

    Parameters
    ----------
    grad_y : (..., d) array of float32 or float64
        Gradient of a loss in y.
    cache : GroupScaleCache
        Of the forward pass; it may be used again.

    Returns
    -------
    (..., d) array
        Gradient of the loss in x.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, another cache.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    With r = 1/sqrt(mean(x²) + eps) of a group: ``r (g - x r² mean(g x))``, means over the group.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> from numcore.nn import group_scale
    >>> y, cache = group_scale(np.array([3.0, 4.0]))
    >>> group_scale_vjp(np.array([1.0, 0.0]), cache).round(6)
    array([ 0.181019, -0.135764])
    """
    (x, scale), xp = cache, namespace_of(grad_y)
    dtype, grad_x = x.dtype, xp.empty(x.shape, x.dtype)
    if x.size:
        size = x.size // scale.size
        rows, scale = xp.ascontiguousarray(x).reshape(-1, size), scale.reshape(-1)
        norm_rows_backward(
            xp.ascontiguousarray(grad_y).reshape(-1, size),
            rows,
            xp.ones(size, dtype),
            scale,
            scale,
            0,
            grad_x.reshape(-1, size),
            xp.empty((blocks(len(rows)), 2, size), dtype),
        )
    return grad_x


def check_groups(n_groups, d):
    if d % n_groups:
        raise ValueError(f"n_groups must divide the number of features, {d} (got {n_groups})")
