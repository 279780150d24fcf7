"""Power normalisation: each feature divided by a running root mean square, with an approximate
gradient that stays bounded.

Batch statistics of sequences fluctuate from batch to batch. Power normalisation subtracts no mean,
divides by the quadratic mean over all batches so far instead of this one's, and in the backward
pass replaces the dependence of that running mean on the past by a correction that is accumulated
from step to step. S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking
Batch Normalization in Transformers", ICML 2020.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import checked_dtype, device_of, float_dtype, on_device, routine
from ..kernel import kernel
from ._cache import checked_cache, checked_gradient
from ._normalization import (
    ROWS,
    add,
    as_rows,
    blocks,
    checked_eps,
    checked_features,
    column,
    norm_rows,
    norm_rows_backward,
    scale_columns,
    summed,
)

__all__ = [
    "GroupScaleCache",
    "PowerNorm",
    "PowerNormCache",
    "group_scale",
    "group_scale_vjp",
    "power_norm_backward",
    "power_norm_forward",
]

PARAMETERS = ("weight_", "bias_")
STATE = (*PARAMETERS, "running_phi_", "ema_gz_")


class GroupScaleCache(NamedTuple):
    """What :func:`group_scale_vjp` needs: the input, and of every group 1/sqrt(mean square +
    eps)."""

    x: Any
    scale: Any


class PowerNormCache(NamedTuple):
    """What :meth:`PowerNorm.backward` needs, once.

    `scale` is what the scaled x was multiplied by, `psi` the quadratic means of the batch, None
    where it is not one of training; `ticket` holds the layer until it is used.
    """

    x: Any
    weight: Any
    bias: Any
    row_scale: Any
    live: Any
    count: int
    scale: Any
    psi: Any
    ticket: list


# --- routines -------------------------------------------------------------------------------------


@routine
def power_norm_forward(x, weight, bias, phi, *, eps=1e-5):
    """Every feature divided by the root of a given quadratic mean, then multiplied by `weight`,
    plus `bias`.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
    weight, bias : (d,) array or None
        None stands for ones and for zeros.
    phi : (d,) array
        Quadratic mean of every feature: that of this batch in a warm-up, later the running one of
        the batches before.
    eps : float
        Added to `phi`.

    Returns
    -------
    y : (..., d) array
    z : (..., d) array
        The normalised input, for :func:`power_norm_backward`.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, an `eps` that is no number.
    ValueError
        A parameter has not the length d, `x` has no axis, `eps` is not positive.

    Notes
    -----
    ``z = x / sqrt(phi + eps)``, ``y = weight z + bias``, within a few units of rounding.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> y, z = power_norm_forward(
    ...     np.array([[1.0, 2], [3, -4]]), np.ones(2), np.ones(2), np.array([0.25, 4.0]), eps=1e-12
    ... )
    >>> y.round(6)
    array([[ 3.,  2.],
           [ 7., -1.]])
    """
    xp, (x, weight, bias, phi) = on_device(x=x, weight=weight, bias=bias, phi=phi)
    _must_be_given(phi=phi)
    dtype, d = checked_features(x, weight=weight, bias=bias, phi=phi)
    eps = checked_eps(eps, dtype)
    with np.errstate(all="ignore"):
        scale = _root(xp, phi, eps).astype(dtype)
    y, z = xp.empty(x.shape, dtype), xp.empty(x.shape, dtype)
    power_columns(
        as_rows(xp, x),
        scale,
        column(xp, weight, d, 1, dtype),
        column(xp, bias, d, 0, dtype),
        as_rows(xp, z),
        as_rows(xp, y),
    )
    return y, z


@routine
def power_norm_backward(
    grad_y, z, weight, gamma, phi_used, *, eps=1e-5, alpha_bwd=0.9, backward_scale="used", mask=None
):
    """Approximate gradient of a power normalisation by the running quadratic mean, and the
    correction for the next step.

    Parameters
    ----------
    grad_y : (..., d) array, float32 or float64
        Gradient of a loss in y.
    z : (..., d) array
        The normalised input, of :func:`power_norm_forward`.
    weight : (d,) array or None
        As in the forward pass.
    gamma : (d,) array
        The correction accumulated in the steps before; zeros at first.
    phi_used : (d,) array
        The quadratic mean that the forward pass divided by.
    eps : float
        As in the forward pass.
    alpha_bwd : float
        1 - alpha_bwd of the correction is applied at each step, from 0 to 1; with 1 it is never
        applied.
    backward_scale : {"used", "batch"}
        Divide the gradient by the root of `phi_used`, or by that of this batch's quadratic mean, as
        the authors' program does.
    mask : (...) bool array, optional
        True for padding, which does not count for `gamma`.

    Returns
    -------
    grad_x : (..., d) array
        The gradient of no function, but for ``alpha_bwd=1`` and `phi_used` that does not depend on
        x.
    grad_weight, grad_bias : (d,) array
    gamma_new : (d,) array

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are no numbers, a mask that
        is not bool.
    ValueError
        Shapes that do not fit, `eps` not positive, `alpha_bwd` outside [0, 1], all positions
        masked.

    Notes
    -----
    With g = weight grad_y: ``t = g - (1 - alpha_bwd) gamma z``,
    ``grad_x = t / sqrt(phi_used + eps)``, ``gamma_new = gamma + mean(t z)``, the mean over all
    positions that are no padding. `grad_weight` = sum grad_y z and `grad_bias` = sum grad_y over
    all positions, in float64 from blocks of 32. One pass over `grad_y` and `z`, for "batch" one
    more over `z`.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> z, gamma = np.array([[1.0, 2], [3, -4]]), np.array([0.5, -0.25])
    >>> grad_x, grad_weight, grad_bias, gamma_new = power_norm_backward(
    ...     np.eye(2), z, np.ones(2), gamma, np.ones(2), eps=1e-12
    ... )
    >>> grad_x.round(6), gamma_new.round(6)
    (array([[ 0.95,  0.05],
           [-0.15,  0.9 ]]), array([ 0.75, -2.  ]))
    """
    xp, (grad_y, z, weight, gamma, phi_used, mask) = on_device(
        grad_y=grad_y, z=z, weight=weight, gamma=gamma, phi_used=phi_used, mask=mask
    )
    _must_be_given(grad_y=grad_y, z=z, gamma=gamma, phi_used=phi_used)
    float_dtype(grad_y=grad_y, z=z)
    dtype, d = checked_features(z, weight=weight, gamma=gamma, phi_used=phi_used)
    checked_gradient(grad_y, z.shape)
    eps, alpha_bwd = (
        checked_eps(eps, dtype),
        checked_number("alpha_bwd", alpha_bwd, least=0, most=1),
    )
    backward_scale = checked_choice("backward_scale", backward_scale, ("used", "batch"))
    live, count = _live(xp, mask, z.shape)
    one, none = xp.ones(d, np.float64), xp.empty((math.prod(z.shape[:-1]), 0), dtype)
    with np.errstate(all="ignore"):
        phi, means = phi_used, None
        if backward_scale == "batch":
            means = _quadratic_means(xp, as_rows(xp, z), live, max(count, 1), eps, none)
            phi = means * (phi_used + eps)
        *grads, change = _backward(
            xp,
            grad_y,
            z,
            none,
            live,
            count,
            column(xp, weight, d, 1, dtype),
            one,
            (1 - alpha_bwd) * gamma.astype(np.float64),
            _root(xp, phi, eps),
            means,
        )
        return *grads, (gamma + change).astype(dtype)


@routine
def group_scale(x, *, n_groups=1, eps=1e-5, return_cache=False):
    """Every group of features of every position divided by the root of its mean square.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
    n_groups : int
        Groups of d / n_groups neighbouring features; divides d.
    eps : float
        Added to the mean square.
    return_cache : bool
        Also return what :func:`group_scale_vjp` needs.

    Returns
    -------
    y : (..., d) array
    cache : GroupScaleCache, if `return_cache`

    Raises
    ------
    TypeError
        Another dtype, `n_groups` that is no integer, `eps` that is no number.
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
    >>> group_scale(np.array([3.0, 3.0, 4.0, 0.0]), n_groups=2).round(4)
    array([1.    , 1.    , 1.4142, 0.    ])
    """
    xp, (x,) = on_device(x=x)
    dtype, d = checked_features(x)
    groups, eps = _checked_groups(n_groups, d), checked_eps(eps, dtype)
    return_cache = checked_bool("return_cache", return_cache)
    y, scale = xp.empty(x.shape, dtype), xp.empty((*x.shape[:-1], groups), dtype)
    if x.size:
        size = d // groups
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
    return (y, GroupScaleCache(x, scale)) if return_cache else y


@routine
def group_scale_vjp(grad, cache):
    """Gradient of :func:`group_scale`.

    Parameters
    ----------
    grad : (..., d) array, float32 or float64
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
        Other or mixed dtypes, arrays on different devices, a cache of something else.
    ValueError
        `grad` has not the shape of y.

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
    >>> y, cache = group_scale(np.array([3.0, 4.0]), return_cache=True)
    >>> group_scale_vjp(np.array([1.0, 0.0]), cache).round(6)
    array([ 0.181019, -0.135764])
    """
    checked_cache(cache, GroupScaleCache)
    x, scale = cache
    xp, (grad, x) = on_device(grad=grad, x=x)
    checked_gradient(grad, x.shape, "grad")
    dtype, grad_x = float_dtype(grad=grad, x=x), xp.empty(x.shape, x.dtype)
    if x.size:
        size = x.size // scale.size
        rows, scale = xp.ascontiguousarray(x).reshape(-1, size), scale.reshape(-1)
        norm_rows_backward(
            xp.ascontiguousarray(grad).reshape(-1, size),
            rows,
            xp.ones(size, dtype),
            scale,
            scale,
            0,
            grad_x.reshape(-1, size),
            xp.empty((blocks(len(rows)), 2, size), dtype),
        )
    return grad_x


# --- the layer ------------------------------------------------------------------------------------


class PowerNorm:
    """Power normalisation with its running statistics: a layer that is trained by hand-written
    forward and backward passes.

    Parameters
    ----------
    n_features : int
        Features of a position, C.
    eps : float
        Added to quadratic means.
    alpha_fwd : float
        Share of the past in the running quadratic mean, from 0 to 1.
    alpha_bwd : float
        1 - alpha_bwd of the accumulated correction is applied to a gradient, from 0 to 1.
    affine : bool
        Whether there are a weight and a bias.
    warmup_iters : int
        So many batches are divided by their own quadratic mean, while the running one becomes the
        plain average of theirs.
    n_groups : int or None
        Every position is first divided by the root mean square of each of so many groups of its
        features; None leaves this out.
    dtype : float32 or float64
        Of the parameters and of all batches.
    backward_scale : {"used", "batch"}
        Divide gradients by the quadratic mean that the forward pass used, or by that of the batch,
        as the authors' program does.

    Attributes
    ----------
    weight_, bias_ : (C,) array or None
        Parameters; an optimiser may change them in place.
    running_phi_ : (C,) array
        Running quadratic mean of every feature, 1 at first.
    ema_gz_ : (C,) array
        The accumulated correction, 0 at first.
    n_iter_ : int
        Training batches seen.

    Raises
    ------
    TypeError
        An argument of another type.
    ValueError
        An argument out of its range, `n_groups` that does not divide `n_features`.

    Notes
    -----
    For the training batch number t from 1, with psi the mean of x² over its positions that are no
    padding (after the scaling of groups)::

        z = x / sqrt(psi + eps)  if t <= warmup_iters, else  x / sqrt(phi + eps)      y = weight z + bias
        phi <- phi (t - 1) / t + psi / t  if t < warmup_iters, then  phi <- alpha_fwd phi + (1 - alpha_fwd) psi

    and in the backward pass, with g = weight grad_y: ``t = g - (1 - alpha_bwd) gamma z``,
    ``gamma <- gamma + mean(t z)``, and t divided by what x was divided by is the gradient, which
    then goes through the scaling of groups. It is the gradient of no function: it stands for one
    that would reach through all batches before.

    The state lives on the CPU until the first batch: it then moves to where that batch lives, and
    batches on another device are a TypeError. So on a GPU, an optimiser that changes parameters in
    place must be given them after the first batch. A layer is not for several threads at once.
    Memory: a forward pass keeps `x` by reference and two numbers or fewer for each position and
    group.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> layer = PowerNorm(2, warmup_iters=0, n_groups=None, dtype=np.float64)
    >>> y, cache = layer.forward(np.array([[1.0, 2], [3, -4]]))
    >>> layer.running_phi_
    array([1.4, 1.9])
    >>> grad_x, grad_weight, grad_bias = layer.backward(np.eye(2), cache)
    >>> grad_bias
    array([1., 1.])
    """  # noqa: E501

    def __init__(
        self,
        n_features,
        *,
        eps=1e-5,
        alpha_fwd=0.9,
        alpha_bwd=0.9,
        affine=True,
        warmup_iters=10000,
        n_groups=1,
        dtype=np.float32,
        backward_scale="used",
    ):
        self.n_features = checked_count("n_features", n_features, least=1)
        self.dtype = checked_dtype(dtype)
        self.eps = checked_eps(eps, self.dtype)
        self.alpha_fwd = checked_number("alpha_fwd", alpha_fwd, least=0, most=1)
        self.alpha_bwd = checked_number("alpha_bwd", alpha_bwd, least=0, most=1)
        self.affine = checked_bool("affine", affine)
        self.warmup_iters = checked_count("warmup_iters", warmup_iters, least=0)
        self.n_groups = None if n_groups is None else _checked_groups(n_groups, self.n_features)
        self.backward_scale = checked_choice("backward_scale", backward_scale, ("used", "batch"))
        self.weight_ = np.ones(self.n_features, self.dtype) if self.affine else None
        self.bias_ = np.zeros(self.n_features, self.dtype) if self.affine else None
        self.running_phi_, self.ema_gz_ = (
            np.ones(self.n_features, self.dtype),
            np.zeros(self.n_features, self.dtype),
        )
        self.n_iter_, self._is_placed = 0, False

    def __repr__(self):
        return f"PowerNorm({self.n_features}, n_groups={self.n_groups}, n_iter_={self.n_iter_})"

    def forward(self, x, *, mask=None, training=True):
        """Normalise a batch, and take its statistics in.

        Parameters
        ----------
        x : (..., n_features) array of the layer's dtype
        mask : (...) bool array, optional
            True for padding: normalised like all else, but not counted in the statistics.
        training : bool
            Take the batch in; else divide by the running quadratic mean and leave the state alone.

        Returns
        -------
        y : (..., n_features) array
        cache : PowerNormCache
            For one call of :meth:`backward`.

        Raises
        ------
        TypeError
            Another dtype, a mask that is not bool, arrays on different devices.
        ValueError
            Shapes that do not fit; all positions masked in training.
        """
        if not self._is_placed:
            self._place(x)
        xp, (x, mask, phi) = on_device(x=x, mask=mask, running_phi_=self.running_phi_)
        _must_be_given(x=x)
        dtype = float_dtype(x=x, running_phi_=phi)
        if x.shape[-1:] != (self.n_features,):
            raise ValueError(
                f"x must have shape (..., n_features) with n_features={self.n_features} (got "
                f"{x.shape})"
            )
        training = checked_bool("training", training)
        live, count = _live(xp, mask, x.shape, some=training)
        rows, y, groups = as_rows(xp, x), xp.empty(x.shape, dtype), self.n_groups or 0
        row_scale, flat = xp.empty((len(rows), groups), dtype), as_rows(xp, y)
        weight, bias = (
            column(xp, p, self.n_features, default, dtype)
            for p, default in ((self.weight_, 1), (self.bias_, 0))
        )
        psi = None
        with np.errstate(all="ignore"):
            if training and count and self.n_iter_ < self.warmup_iters:
                psi = _quadratic_means(xp, rows, live, count, self.eps, row_scale)
                scale = _root(xp, psi, self.eps)
                scale_columns(
                    rows,
                    row_scale,
                    xp.zeros_like(weight),
                    (weight * scale).astype(dtype),
                    bias,
                    flat,
                )
            else:
                parts, scale = (
                    xp.empty((blocks(len(rows)), self.n_features), dtype),
                    _root(xp, phi, self.eps),
                )
                power_rows(
                    rows,
                    live,
                    (weight * scale).astype(dtype),
                    bias,
                    self.eps,
                    row_scale,
                    flat,
                    parts,
                )
                if training and count:
                    psi = summed(xp, parts) / count
            if psi is not None:
                self._take_in(psi)
        return y, PowerNormCache(
            x, self.weight_, self.bias_, row_scale, live, count, scale, psi, [self]
        )

    def backward(self, grad_y, cache):
        """Gradients of a batch, and the correction for the batches to come.

        Parameters
        ----------
        grad_y : (..., n_features) array
            Gradient of a loss in y.
        cache : PowerNormCache
            Of the forward pass of this layer; it is used up.

        Returns
        -------
        grad_x : (..., n_features) array
        grad_weight, grad_bias : (n_features,) array or None
            None without `affine`.

        Raises
        ------
        TypeError
            Another dtype, arrays on different devices, a cache of something else.
        ValueError
            `grad_y` has not the shape of y; the cache is of another layer, or was used before.

        Notes
        -----
        After a forward pass with ``training=False`` this is the exact gradient, and the state stays
        as it is.
        """
        checked_cache(cache, PowerNormCache)
        xp, (grad_y, x) = on_device(grad_y=grad_y, x=cache.x)
        checked_gradient(grad_y, x.shape)
        dtype, learns = float_dtype(grad_y=grad_y, x=x), cache.psi is not None
        owner = cache.ticket.pop() if cache.ticket else None
        if owner is not self:
            cache.ticket.extend([owner] if owner else [])
            raise ValueError(
                f"cache must be of this layer and used once (got one "
                f"{'of another layer' if owner else 'used before'})"
            )
        with np.errstate(all="ignore"):
            grad_scale = (
                _root(xp, cache.psi, self.eps)
                if learns and self.backward_scale == "batch"
                else cache.scale
            )
            correction = (
                (1 - self.alpha_bwd) * self.ema_gz_.astype(np.float64)
                if learns
                else xp.zeros(self.n_features, np.float64)
            )
            grad_x, grad_weight, grad_bias, change = _backward(
                xp,
                grad_y,
                x,
                cache.row_scale,
                cache.live,
                cache.count,
                column(xp, cache.weight, self.n_features, 1, dtype),
                cache.scale,
                correction,
                grad_scale,
                cache.psi if learns else 0,
            )
            if learns:
                self.ema_gz_ = (self.ema_gz_ + change).astype(dtype)
        return (
            grad_x,
            None if cache.weight is None else grad_weight,
            None if cache.bias is None else grad_bias,
        )

    def fold(self):
        """The layer at inference as one multiplication and addition: ``y = scale x + shift``, x
        after the scaling of groups, if any.

        Returns
        -------
        scale, shift : (n_features,) array
        """
        xp, (phi, weight, bias) = on_device(
            running_phi_=self.running_phi_, weight_=self.weight_, bias_=self.bias_
        )
        with np.errstate(all="ignore"):
            scale = (
                column(xp, weight, self.n_features, 1, self.dtype) * _root(xp, phi, self.eps)
            ).astype(self.dtype)
        return scale, column(xp, bias, self.n_features, 0, self.dtype).copy()

    def state_dict(self):
        """Copies of weight_, bias_, running_phi_, ema_gz_ and n_iter_ in a dict."""
        arrays = {name: getattr(self, name) for name in STATE}
        return {name: None if array is None else array.copy() for name, array in arrays.items()} | {
            "n_iter_": self.n_iter_
        }

    def load_state_dict(self, state):
        """Take over a state of :meth:`state_dict`; the layer then lives where the state's arrays
        live.

        Parameters
        ----------
        state : dict
            Its arrays are copied, parameters into the layer's own if these are on the same device,
            so that an optimiser keeps hold of them.

        Raises
        ------
        TypeError
            Not a dict; arrays of another dtype or on different devices; an `n_iter_` that is no
            integer.
        ValueError
            Names or shapes that are not those of this layer.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict (got {type(state).__name__})")
        if set(state) != {*STATE, "n_iter_"}:
            raise ValueError(
                f"state must have the entries {', '.join((*STATE, 'n_iter_'))} (got "
                f"{', '.join(map(str, state))})"
            )
        n_iter = checked_count("n_iter_", state["n_iter_"])
        _, arrays = on_device(**{name: state[name] for name in STATE})
        for name, array in zip(STATE, arrays, strict=True):
            mine = getattr(self, name)
            if (array is None) != (mine is None) or mine is not None and array.shape != mine.shape:
                wanted, got = (None if a is None else a.shape for a in (mine, array))
                raise ValueError(f"{name} must have the shape {wanted} (got {got})")
            if array is not None and float_dtype(**{name: array}) != self.dtype:
                raise TypeError(f"{name} must have dtype {self.dtype} (got {array.dtype})")
        for name, array in zip(STATE, arrays, strict=True):
            mine = getattr(self, name)
            if name in PARAMETERS and array is not None and device_of(array) is device_of(mine):
                mine[...] = array
            else:
                setattr(self, name, None if array is None else array.copy())
        self.n_iter_, self._is_placed = n_iter, False

    def _place(self, x):
        """Move a state that has not met a batch yet to the batch's device."""
        xp, (x,) = on_device(x=x)
        _must_be_given(x=x)
        float_dtype(x=x, running_phi_=self.running_phi_)
        if xp is not np:
            for name in STATE:
                array = getattr(self, name)
                setattr(self, name, None if array is None else xp.asarray(array))
        self._is_placed = True

    def _take_in(self, psi):
        """The running quadratic mean after a batch."""
        self.n_iter_ = t = self.n_iter_ + 1
        phi = self.running_phi_.astype(np.float64)
        if t < self.warmup_iters:
            phi = phi * ((t - 1) / t) + psi / t
        self.running_phi_ = (phi + (1 - self.alpha_fwd) * (psi - phi)).astype(self.dtype)


# --- what they share ------------------------------------------------------------------------------


def _must_be_given(**arrays):
    for name, array in arrays.items():
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")


def _checked_groups(n_groups, d):
    n_groups = checked_count("n_groups", n_groups, least=1)
    if d % n_groups:
        raise ValueError(
            f"n_groups must divide the number of features (got n_groups={n_groups}, {d} features)"
        )
    return n_groups


def _live(xp, mask, shape, some=True):
    """(positions,) uint8, 1 where there is no padding, and the number of these; ValueError if there
    must be some and are none."""
    n = math.prod(shape[:-1])
    if mask is None:
        return xp.ones(n, np.uint8), n
    if mask.dtype != np.bool_:
        raise TypeError(f"mask must have dtype bool (got {mask.dtype})")
    if mask.shape != shape[:-1]:
        raise ValueError(
            f"mask must have the shape of x but for its last axis, {shape[:-1]} (got {mask.shape})"
        )
    live = xp.logical_not(mask).reshape(n).astype(np.uint8)
    count = int(live.sum())
    if n and not count and some:
        raise ValueError(f"mask must leave a position (got all {n} masked)")
    return live, count


def _root(xp, phi, eps):
    """1/sqrt(phi + eps) in float64."""
    return 1 / xp.sqrt(phi.astype(np.float64) + eps)


def _quadratic_means(xp, rows, live, count, eps, row_scale):
    """The mean of squares of every column over the live rows, in float64; fills in the scales of
    groups."""
    parts = xp.empty((blocks(len(rows)), rows.shape[1]), rows.dtype)
    power_sums(rows, live, eps, row_scale, parts)
    return summed(xp, parts) / count


def _backward(xp, grad_y, x, row_scale, live, count, weight, scale, correction, grad_scale, means):
    """grad_x, grad_weight, grad_bias, and in float64 the mean over live positions of t z.

    `means` is that of the squares of the scaled x over live positions, None where it has to be
    computed.
    """
    dtype, grad_x, rows = x.dtype, xp.empty(x.shape, x.dtype), as_rows(xp, x)
    is_counted = means is None or count < len(rows)
    parts = xp.empty((blocks(len(rows)), 4 if is_counted else 2, x.shape[-1]), dtype)
    slope = correction * scale
    power_rows_backward(
        as_rows(xp, grad_y),
        rows,
        row_scale,
        live,
        (weight * grad_scale).astype(dtype),
        (slope * grad_scale).astype(dtype),
        as_rows(xp, grad_x),
        parts,
    )
    products, totals, *counted = summed(xp, parts)
    hidden, means = (counted[0], counted[1] / max(count, 1)) if is_counted else (0, means)
    change = weight * scale * (products - hidden) / max(count, 1) - slope * scale * means
    return grad_x, (products * scale).astype(dtype), totals.astype(dtype), change


# --- kernels --------------------------------------------------------------------------------------
#
# Columns come in k groups of equal size, each times its row_scale; k = 0 is one group that is left
# as it is.


def scale_of_group(row, eps):
    """1/sqrt(mean square + eps)."""
    squares = row.dtype.type(0)
    for j in range(row.size):
        squares = add(squares, row[j] * row[j])
    return row.dtype.type(1) / math.sqrt(squares / row.dtype.type(row.size) + eps)


@kernel(
    "in T x[n, d]; in T scale[d]; in T weight[d]; in T bias[d]; out T z[n, d]; out T y[n, d]",
    constants=("ROWS",),
    split="n",
    gpu="warp",
)
def power_columns(x, scale, weight, bias, z, y, start, stop):
    """z = scale x and y = weight z + bias for every column."""
    for i in range(start, stop):
        row, to_z, to_y = x[i], z[i], y[i]
        for j in range(row.size):
            to_z[j] = row[j] * scale[j]
        for j in range(row.size):
            to_y[j] = to_z[j] * weight[j] + bias[j]


@kernel(
    "in T x[n, d]; in uint8 live[n]; T eps; out T row_scale[n, k]; out T parts[m, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_sums(x, live, eps, row_scale, parts, start, stop):
    """The scales of groups of block b's rows, and the sums of squares of the scaled live ones."""
    k, one = row_scale.shape[1], x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                row, squares, s = x[i, low : low + size], parts[b, low : low + size], one
                if k:
                    row_scale[i, low // size] = s = scale_of_group(row, eps)
                if live[i]:
                    for j in range(size):
                        squares[j] += row[j] * s * (row[j] * s)


@kernel(
    "in T x[n, d]; in uint8 live[n]; in T factor[d]; in T bias[d]; T eps; out T row_scale[n, k]; "
    "out T y[n, d]; out T parts[m, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_rows(x, live, factor, bias, eps, row_scale, y, parts, start, stop):
    """`power_sums`, and y = factor x + bias with x scaled, in the same pass."""
    k, one = row_scale.shape[1], x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :] = 0
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                row, squares, s = x[i, low : low + size], parts[b, low : low + size], one
                to, f, t = y[i, low : low + size], factor[low : low + size], bias[low : low + size]
                if k:
                    row_scale[i, low // size] = s = scale_of_group(row, eps)
                for j in range(size):
                    to[j] = row[j] * s * f[j] + t[j]
                if live[i]:
                    for j in range(size):
                        squares[j] += row[j] * s * (row[j] * s)


@kernel(
    "in T grad_y[n, d]; in T x[n, d]; in T row_scale[n, k]; in uint8 live[n]; in T factor[d]; "
    "in T slope[d]; "
    "out T grad_x[n, d]; out T parts[m, sums, d]",
    constants=("ROWS",),
    split="m",
    gpu="block",
)
def power_rows_backward(grad_y, x, row_scale, live, factor, slope, grad_x, parts, start, stop):
    """With v the scaled x: grad_x = factor grad_y - slope v, through the scaling of groups.

    Of block b's rows the sums of grad_y v and of grad_y, and, if parts has room, of grad_y v over
    those that are not live and of v² over the others.
    """
    k, zero, one = row_scale.shape[1], x.dtype.type(0), x.dtype.type(1)
    size = x.shape[1] // max(k, 1)
    for b in range(start, stop):
        parts[b, :, :] = zero
        for i in range(b * ROWS, min(b * ROWS + ROWS, x.shape[0])):
            for low in range(0, max(k, 1) * size, max(size, 1)):
                high = low + size
                g, row, to, f, q = (
                    grad_y[i, low:high],
                    x[i, low:high],
                    grad_x[i, low:high],
                    factor[low:high],
                    slope[low:high],
                )
                products, totals = parts[b, 0, low:high], parts[b, 1, low:high]
                s = row_scale[i, low // size] if k else one
                for j in range(size):
                    to[j] = f[j] * g[j] - q[j] * (row[j] * s)
                for j in range(size):
                    products[j] += g[j] * (row[j] * s)
                    totals[j] += g[j]
                if parts.shape[1] > 2:
                    hidden, squares = parts[b, 2, low:high], parts[b, 3, low:high]
                    if live[i]:
                        for j in range(size):
                            squares[j] += row[j] * s * (row[j] * s)
                    else:
                        for j in range(size):
                            hidden[j] += g[j] * (row[j] * s)
                if k:
                    along = zero
                    for j in range(size):
                        along = add(along, to[j] * row[j])
                    along *= s * s / x.dtype.type(size)
                    for j in range(size):
                        to[j] = s * (to[j] - row[j] * along)
