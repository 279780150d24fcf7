"""Power normalization as a layer that keeps its running statistics."""

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import Array, Bool, DType, Float, at_least, checked, nonnegative, positive, within
from ...dispatch import device_of, namespace_of
from .._normalization.kernels import scale_columns
from .._normalization.rows import as_rows, blocks, check_eps, column, summed
from .kernels import power_rows
from .routines import check_groups
from .statistics import backward, batch_of, quadratic_means, root

PARAMETERS = ("weight_", "bias_")
STATE = (*PARAMETERS, "running_phi_", "ema_gz_")


class PowerNormLayerCache(NamedTuple):
    """What :meth:`PowerNorm.backward` needs, once.

    `scale` is what the scaled x was multiplied by, `psi` the quadratic means of the batch, None
    if it was not one of training; `ticket` holds the layer until it is used.
    """

    x: Float[Array, "*batch n_features"]
    weight: Float[Array, "n_features"] | None
    bias: Float[Array, "n_features"] | None
    batch: Any  # without its rows, which are those of x
    scale: Any
    psi: Any
    ticket: list


class PowerNormLayerGrads(NamedTuple):
    """What :meth:`PowerNorm.backward` passes on; None where the layer has no parameter."""

    x: Array
    weight: Array | None
    bias: Array | None


class PowerNorm:
    """Power normalization with its running statistics: a layer that is trained by hand-written
    forward and backward passes.

    Parameters
    ----------
    n_features : int >= 1
        Features of a position, C.
    eps : float > 0, default 1e-05
        Added to quadratic means.
    alpha_fwd : float in [0, 1], default 0.9
        Share of the past in the running quadratic mean, from 0 to 1.
    alpha_bwd : float in [0, 1], default 0.9
        1 - alpha_bwd of the accumulated correction is applied to a gradient, from 0 to 1.
    affine : bool, default True
        Whether there are a weight and a bias.
    n_warmup : int >= 0, default 10000
        Batches at the start that are divided by their own quadratic mean, while the running one
        becomes the plain average of theirs.
    n_groups : int >= 1 or None, default 1
        Every position is first divided by the root mean square of each of `n_groups` groups of its
        features; None leaves this out.
    dtype : dtype, float32 or float64, default float32
        Of the parameters and of all batches.
    backward_scale : {"used", "batch"}, default "used"
        Divide gradients by the quadratic mean that the forward pass used, or by that of the batch,
        as the authors' program does.

    Attributes
    ----------
    weight_, bias_ : (C,) array or None
        Parameters; an optimizer may change them in place.
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

        z = x / sqrt(psi + eps)  if t <= n_warmup, else  x / sqrt(phi + eps)      y = weight z + bias
        phi <- phi (t - 1) / t + psi / t  if t < n_warmup, then  phi <- alpha_fwd phi + (1 - alpha_fwd) psi

    and in the backward pass, with g = weight grad_y: ``t = g - (1 - alpha_bwd) gamma z``,
    ``gamma <- gamma + mean(t z)``, and t divided by what x was divided by is the gradient, which
    then goes through the scaling of groups. It is the gradient of no function: it stands for one
    that would reach through all batches before.

    The state lives on the CPU until the first batch: it then moves to where that batch lives, and
    batches on another device are a TypeError. So on a GPU, an optimizer that changes parameters in
    place must be given them after the first batch. A layer is not for several threads at once.
    Memory: a forward pass keeps `x` by reference and two numbers or fewer for each position and
    group.

    References
    ----------
    S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking Batch
    Normalization in Transformers", ICML 2020.

    Examples
    --------
    >>> layer = PowerNorm(2, n_warmup=0, n_groups=None, dtype=np.float64)
    >>> y, cache = layer.forward(np.array([[1.0, 2], [3, -4]]))
    >>> layer.running_phi_
    array([1.4, 1.9])
    >>> grad_x, grad_weight, grad_bias = layer.backward(np.eye(2), cache)
    >>> grad_bias
    array([1., 1.])
    """  # noqa: E501

    @checked
    def __init__(
        self,
        n_features: Annotated[int, at_least(1)],
        *,
        eps: Annotated[float, positive] = 1e-5,
        alpha_fwd: Annotated[float, within(0, 1)] = 0.9,
        alpha_bwd: Annotated[float, within(0, 1)] = 0.9,
        affine: bool = True,
        n_warmup: Annotated[int, nonnegative] = 10000,
        n_groups: Annotated[int, at_least(1)] | None = 1,
        dtype: DType = np.float32,
        backward_scale: Literal["used", "batch"] = "used",
    ):
        check_eps(eps, dtype)
        if n_groups is not None:
            check_groups(n_groups, n_features)
        self.n_features, self.dtype, self.eps = n_features, dtype, eps
        self.alpha_fwd, self.alpha_bwd, self.affine = alpha_fwd, alpha_bwd, affine
        self.n_warmup, self.n_groups, self.backward_scale = n_warmup, n_groups, backward_scale
        self.weight_ = np.ones(n_features, dtype) if affine else None
        self.bias_ = np.zeros(n_features, dtype) if affine else None
        self.running_phi_, self.ema_gz_ = np.ones(n_features, dtype), np.zeros(n_features, dtype)
        self.n_iter_, self._is_placed = 0, False

    def __repr__(self):
        return f"PowerNorm({self.n_features}, n_groups={self.n_groups}, n_iter_={self.n_iter_})"

    @checked
    def forward(
        self,
        x: Float[Array, "*batch n_features"],
        *,
        mask: Bool[Array, "*batch"] | None = None,
        training: bool = True,
    ) -> tuple[Array, PowerNormLayerCache]:
        """Normalize a batch, and update the running statistics with it.

        Parameters
        ----------
        x : (..., n_features) array of float32 or float64
        mask : (...) array of bool, optional
            True for padding: normalized like all else, but not counted in the statistics.
        training : bool, default True
            Update the statistics with the batch; else divide by the running quadratic mean and
            leave the state alone.

        Returns
        -------
        y : (..., n_features) array
        cache : PowerNormLayerCache
            For one call of :meth:`backward`.

        Raises
        ------
        TypeError
            Another dtype, a mask that is not bool, arrays on different devices.
        ValueError
            Shapes that do not fit; all positions masked in training.
        """
        self._check_features(x)
        if mask is not None and training and mask.size and bool(mask.all()):
            raise ValueError(f"mask must leave a position (got all {mask.size} masked)")
        if not self._is_placed:
            self._place(x)
        self._check_like(x=x)
        xp, dtype = namespace_of(x), self.dtype
        batch = batch_of(xp, x, mask, self.n_groups or 0)
        y = xp.empty(x.shape, dtype)
        weight, bias = (
            column(xp, p, self.n_features, default, dtype)
            for p, default in ((self.weight_, 1), (self.bias_, 0))
        )
        with np.errstate(all="ignore"):
            if training and batch.count and self.n_iter_ < self.n_warmup:
                psi = quadratic_means(xp, batch, self.eps)
                scale = root(xp, psi, self.eps)
                factor = (weight * scale).astype(dtype)
                zero = xp.zeros_like(weight)
                scale_columns(batch.rows, batch.row_scale, zero, factor, bias, as_rows(xp, y))
            else:
                scale = root(xp, self.running_phi_, self.eps)
                factor = (weight * scale).astype(dtype)
                parts = xp.empty((blocks(len(batch.rows)), self.n_features), dtype)
                rows, live, count, row_scale = batch
                power_rows(rows, live, factor, bias, self.eps, row_scale, as_rows(xp, y), parts)
                psi = summed(xp, parts) / count if training and count else None
            if psi is not None:
                self._update(psi)
        return y, PowerNormLayerCache(
            x, self.weight_, self.bias_, batch._replace(rows=None), scale, psi, [self]
        )

    @checked
    def backward(
        self, grad_y: Float[Array, "*batch n_features"], cache: PowerNormLayerCache
    ) -> PowerNormLayerGrads:
        """Gradients of a batch, and the correction for the batches to come.

        Parameters
        ----------
        grad_y : (..., n_features) array of float32 or float64
            Gradient of a loss in y.
        cache : PowerNormLayerCache
            Of the forward pass of this layer; it is used up.

        Returns
        -------
        PowerNormLayerGrads
            x (..., n_features), weight and bias (n_features,), None without `affine`.

        Raises
        ------
        TypeError
            Another dtype, arrays on different devices, another cache.
        ValueError
            `grad_y` does not have the shape of y; the cache is of another layer, or was used
            before.

        Notes
        -----
        After a forward pass with ``training=False`` this is the exact gradient, and the state stays
        as it is.
        """
        x, weight, bias, batch, scale, psi, ticket = cache
        owner = ticket.pop() if ticket else None
        if owner is not self:
            ticket.extend([owner] if owner else [])
            got = "one of another layer" if owner else "one used before"
            raise ValueError(f"cache must be of this layer and used once (got {got})")
        xp, learns = namespace_of(x), psi is not None
        with np.errstate(all="ignore"):
            by_batch = learns and self.backward_scale == "batch"
            change = (1 - self.alpha_bwd) * self.ema_gz_.astype(np.float64)
            changes = backward(
                xp,
                grad_y,
                batch._replace(rows=as_rows(xp, x)),
                weight=column(xp, weight, self.n_features, 1, self.dtype),
                scale=scale,
                correction=change if learns else xp.zeros(self.n_features, np.float64),
                grad_scale=root(xp, psi, self.eps) if by_batch else scale,
                means=psi if learns else 0,
            )
            if learns:
                self.ema_gz_ = (self.ema_gz_ + changes.gamma).astype(self.dtype)
        return PowerNormLayerGrads(
            changes.grad_x,
            None if weight is None else changes.grad_weight,
            None if bias is None else changes.grad_bias,
        )

    def fold(self) -> tuple[Array, Array]:
        """The layer at inference as one multiplication and addition: ``y = scale x + shift``, x
        after the scaling of groups, if any.

        Returns
        -------
        scale, shift : (n_features,) array
        """
        xp, d, dtype = namespace_of(self.running_phi_), self.n_features, self.dtype
        with np.errstate(all="ignore"):
            scale = column(xp, self.weight_, d, 1, dtype) * root(xp, self.running_phi_, self.eps)
        return scale.astype(dtype), column(xp, self.bias_, d, 0, dtype).copy()

    def state_dict(self) -> dict[str, Any]:
        """Copies of weight_, bias_, running_phi_, ema_gz_ and n_iter_ in a dict."""
        arrays = {name: getattr(self, name) for name in STATE}
        return {name: None if array is None else array.copy() for name, array in arrays.items()} | {
            "n_iter_": self.n_iter_
        }

    @checked
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of :meth:`state_dict`; the layer then lives where the state's arrays
        live.

        Parameters
        ----------
        state : dict
            Its arrays are copied, parameters into the layer's own if these are on the same device,
            so that an optimizer keeps hold of them.

        Raises
        ------
        TypeError
            Not a dict; arrays of another dtype or on different devices; an `n_iter_` that is not an
            integer.
        ValueError
            Names or shapes that are not those of this layer.
        """
        if set(state) != {*STATE, "n_iter_"}:
            raise ValueError(
                f"state must have the entries {', '.join((*STATE, 'n_iter_'))} (got "
                f"{', '.join(map(str, state))})"
            )
        _check_n_iter(state["n_iter_"])
        arrays = [state[name] for name in STATE]
        self._check_state(dict(zip(STATE, arrays, strict=True)))
        for name, array in zip(STATE, arrays, strict=True):
            mine = getattr(self, name)
            if name in PARAMETERS and array is not None and device_of(array) is device_of(mine):
                mine[...] = array
            else:
                setattr(self, name, None if array is None else array.copy())
        self.n_iter_, self._is_placed = int(state["n_iter_"]), False

    def _check_features(self, x):
        if x.shape[-1] != self.n_features:
            raise ValueError(
                f"x must have shape (..., n_features) with n_features = {self.n_features} (got "
                f"{x.shape})"
            )
        if x.dtype != self.dtype:
            raise TypeError(f"x must have dtype {self.dtype} like the layer (got {x.dtype})")

    def _check_like(self, **arrays):
        """TypeError for arrays that do not live where the layer's state does."""
        device = device_of(self.running_phi_)
        for name, array in arrays.items():
            if device_of(array) is not device:
                raise TypeError(
                    f"arguments must live on one device (got {name} on {device_of(array).name}, "
                    f"running_phi_ on {device.name})"
                )

    def _check_state(self, arrays):
        devices = {}
        for name, array in arrays.items():
            mine = getattr(self, name)
            if array is not None and device_of(array) is None:
                raise TypeError(f"{name} must be an array (got {type(array).__name__})")
            if (array is None) != (mine is None) or mine is not None and array.shape != mine.shape:
                wanted, got = (None if a is None else a.shape for a in (mine, array))
                raise ValueError(f"{name} must have shape {wanted} (got {got})")
            if array is not None:
                devices[name] = device_of(array)
                if array.dtype != self.dtype:
                    raise TypeError(f"{name} must have dtype {self.dtype} (got {array.dtype})")
        if len(set(devices.values())) > 1:
            where = ", ".join(f"{name} on {device.name}" for name, device in devices.items())
            raise TypeError(f"the arrays of state must live on one device (got {where})")

    def _place(self, x):
        """Move a state that has not met a batch yet to the batch's device."""
        xp = namespace_of(x)
        if xp is not np:
            for name in STATE:
                array = getattr(self, name)
                setattr(self, name, None if array is None else xp.asarray(array))
        self._is_placed = True

    def _update(self, psi):
        """The running quadratic mean after a batch."""
        self.n_iter_ = t = self.n_iter_ + 1
        phi = self.running_phi_.astype(np.float64)
        if t < self.n_warmup:
            phi = phi * ((t - 1) / t) + psi / t
        self.running_phi_ = (phi + (1 - self.alpha_fwd) * (psi - phi)).astype(self.dtype)


def _check_n_iter(n_iter):
    if not isinstance(n_iter, (int, np.integer)) or isinstance(n_iter, bool):
        raise TypeError(f"n_iter_ must be an integer (got {n_iter!r:.80})")
    if n_iter < 0:
        raise ValueError(f"n_iter_ must be >= 0 (got {n_iter})")
