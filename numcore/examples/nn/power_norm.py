"""Example calls of power normalization. The references sum position by position, in longdouble or
exactly."""

import math

import numpy as np

from ...nn import group_scale, power_norm
from ...nn._power_norm import kernels
from .. import Example
from .attention import DATA, _tokens
from .normalization import _arrays, _long, _unwritten, rows_of, with_torch

# --- references -----------------------------------------------------------------------------------


def _power_norm(x, weight, bias, phi, eps):
    z = np.empty(x.shape, np.longdouble)
    for c, mean in enumerate(_long(phi)):
        z[..., c] = _long(x[..., c]) / np.sqrt(mean + eps)
    return z * weight + bias, z


def _power_norm_vjp(grad_y, cache):
    z, weight, _, phi, gamma, mask, eps, alpha_bwd, backward_scale = cache
    grad_x, d = np.empty(z.shape, np.longdouble), z.shape[-1]
    grad_weight, grad_bias, change = np.zeros((3, d), np.longdouble)
    positions = [at for at in np.ndindex(z.shape[:-1]) if mask is None or not mask[at]]
    for at in np.ndindex(z.shape[:-1]):
        upstream, here = _long(grad_y[at]), _long(z[at])
        corrected = weight * upstream - (1 - np.longdouble(alpha_bwd)) * gamma * here
        grad_x[at] = corrected / np.sqrt(_long(phi) + eps)
        grad_weight += upstream * here
        grad_bias += upstream
        change += corrected * here if mask is None or not mask[at] else 0
    if backward_scale == "batch" and positions:
        used = _long(phi) + eps
        psi = sum(_long(z[at]) ** 2 for at in positions) / len(positions) * used
        grad_x *= np.sqrt(used / (psi + eps))
    return grad_x, grad_weight, grad_bias, gamma + change / max(len(positions), 1)


def _group_scale(x, n_groups, eps):
    return group_scale_by_groups(x, n_groups, eps)


def _group_scale_vjp(grad_y, cache):
    return group_scale_vjp_by_groups(grad_y, cache.x, cache.scale.shape[-1], 1e-5)


def group_scale_by_groups(x, n_groups, eps):
    y = np.empty(x.shape)
    size = x.shape[-1] // n_groups
    for at in np.ndindex(x.shape[:-1]):
        for low in range(0, x.shape[-1], size):
            group = [float(v) for v in x[at][low : low + size]]
            root = math.sqrt(math.fsum(v * v for v in group) / size + eps)
            y[at][low : low + size] = [v / root for v in group]
    return y


def group_scale_vjp_by_groups(grad, x, n_groups, eps):
    """By the whole Jacobian matrix of each group: derivative of v_i / root is [i = j] / root - v_i
    v_j / (size root³)."""
    result, size = np.empty(x.shape), x.shape[-1] // n_groups
    for at in np.ndindex(x.shape[:-1]):
        for low in range(0, x.shape[-1], size):
            group = x[at][low : low + size].astype(float)
            upstream = grad[at][low : low + size].astype(float)
            root = math.sqrt(math.fsum(group * group) / size + eps)
            for j in range(size):
                result[at][low + j] = math.fsum(
                    upstream[i] * ((i == j) / root - group[i] * group[j] / (size * root**3))
                    for i in range(size)
                )
    return result


class StepByStep:
    """The layer, one step at a time, with lists of positions."""

    def __init__(
        self,
        n_features,
        *,
        eps=1e-5,
        alpha_fwd=0.9,
        alpha_bwd=0.9,
        n_warmup=10000,
        n_groups=1,
        backward_scale="used",
        weight=None,
        bias=None,
    ):
        self.eps, self.alpha_fwd = eps, alpha_fwd
        self.alpha_bwd, self.n_warmup = alpha_bwd, n_warmup
        self.n_groups, self.backward_scale = n_groups, backward_scale
        self.weight = np.ones(n_features) if weight is None else weight.astype(float)
        self.bias = np.zeros(n_features) if bias is None else bias.astype(float)
        self.phi, self.gamma, self.t = np.ones(n_features), np.zeros(n_features), 0

    def step(self, x, grad_y, mask=None):
        """y, grad_x, grad_weight, grad_bias of one training step."""
        shape, d = x.shape, x.shape[-1]
        raw, grad_y = x.astype(float), grad_y.astype(float).reshape(-1, d)
        scaled = (
            raw if self.n_groups is None else group_scale_by_groups(raw, self.n_groups, self.eps)
        ).reshape(-1, d)
        live = (
            range(len(scaled))
            if mask is None
            else [i for i, hidden in enumerate(mask.ravel()) if not hidden]
        )
        psi = np.array([math.fsum(scaled[i, c] ** 2 for i in live) / len(live) for c in range(d)])
        self.t += 1
        used = psi if self.t <= self.n_warmup else self.phi
        z = scaled / np.sqrt(used + self.eps)
        if self.t < self.n_warmup:
            self.phi = self.phi * (self.t - 1) / self.t + psi / self.t
        self.phi = self.alpha_fwd * self.phi + (1 - self.alpha_fwd) * psi
        corrected = grad_y * self.weight - (1 - self.alpha_bwd) * self.gamma * z
        self.gamma = self.gamma + np.array(
            [math.fsum(corrected[i, c] * z[i, c] for i in live) / len(live) for c in range(d)]
        )
        grad = corrected / np.sqrt((psi if self.backward_scale == "batch" else used) + self.eps)
        if self.n_groups is not None:
            grad = group_scale_vjp_by_groups(grad, raw.reshape(-1, d), self.n_groups, self.eps)
        return (
            (z * self.weight + self.bias).reshape(shape),
            grad.reshape(shape),
            (grad_y * z).sum(axis=0),
            grad_y.sum(axis=0),
        )


# --- calls ----------------------------------------------------------------------------------------


def _call(rng, dtype, n=41):
    call = _arrays(rng, dtype, x=(n, 3, 37), weight=37, bias=37, phi=37)
    return call | {"phi": call["phi"] ** 2 + dtype.type(0.1), "eps": 1e-5}


def _vjp_call(rng, dtype, n=41):
    call = _call(rng, dtype, n) | _arrays(rng, dtype, gamma=37)
    return _with_gradient(rng, power_norm, call | {"backward_scale": "batch"})


def _scale_call(rng, dtype, n=41):
    return _arrays(rng, dtype, x=(n, 3, 36)) | {"n_groups": 4, "eps": 1e-5}


def _scale_vjp_call(rng, dtype, n=41):
    return _with_gradient(rng, group_scale, _scale_call(rng, dtype, n))


def _with_gradient(rng, layer, call):
    y, cache = layer(**call)
    return {"grad_y": rng.standard_normal(y.shape).astype(y.dtype), "cache": cache}


def _of_tokens(call):
    """The call with the tokens for x."""
    x = np.ascontiguousarray(_tokens(), call["x"].dtype)
    for name, value in call.items():
        if isinstance(value, np.ndarray) and name != "x":
            call[name] = np.resize(value, x.shape[1])
    return call | {"x": x}


def _real(dtype):
    return _of_tokens(_call(np.random.default_rng(0), np.dtype(dtype), 1))


def _real_vjp(dtype):
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    call = _of_tokens(_call(rng, dtype, 1) | _arrays(rng, dtype, gamma=37))
    return _with_gradient(rng, power_norm, call | {"backward_scale": "batch"})


def _real_scale(dtype):
    return _of_tokens(_scale_call(np.random.default_rng(0), np.dtype(dtype), 1))


def _real_scale_vjp(dtype):
    return _with_gradient(np.random.default_rng(0), group_scale, _real_scale(dtype))


def _some_rows(result, grad_y, cache):
    """Every 50th position."""
    return result[::50], {
        "grad_y": grad_y[::50],
        "cache": cache._replace(x=cache.x[::50], scale=cache.scale[::50]),
    }


# --- peers ----------------------------------------------------------------------------------------


def _numpy_forward(x, weight, bias, phi, eps):
    z = x / np.sqrt(phi + x.dtype.type(eps))
    return weight * z + bias, z


def _numpy_vjp(grad_y, cache):
    z, weight, _, phi, gamma, _, eps, alpha_bwd, _ = cache
    eps, part = z.dtype.type(eps), z.dtype.type(1 - alpha_bwd)
    corrected = grad_y * weight - part * gamma * z
    psi = (z * z).mean(axis=0) * (phi + eps)
    return (
        corrected / np.sqrt(psi + eps),
        (grad_y * z).sum(axis=0),
        grad_y.sum(axis=0),
        gamma + (corrected * z).mean(axis=0),
    )


@with_torch
def _torch_group_scale(torch, x, n_groups, eps):
    x = torch.from_numpy(x).reshape(*x.shape[:-1], n_groups, -1)
    return torch.nn.functional.rms_norm(x, x.shape[-1:], None, eps)


BOUND, VJP_BOUND = {"float32": 2e-6, "float64": 4e-15}, {"float32": 4e-6, "float64": 1e-14}

EXAMPLES = {
    "power_norm": Example(
        arguments=_call,
        arrays=("x", "weight", "bias", "phi"),
        reference=_power_norm,
        bound=BOUND,
        data=DATA,
        real=_real,
        peer=("NumPy's expression", _numpy_forward),
        sizes=_call,
        result=lambda r: (r[0], r[1].z),
    ),
    "power_norm_vjp": Example(
        arguments=_vjp_call,
        arrays=("grad_y",),
        reference=_power_norm_vjp,
        bound=VJP_BOUND,
        data=DATA,
        real=_real_vjp,
        peer=("NumPy's expression", _numpy_vjp),
        sizes=_vjp_call,
    ),
    "group_scale": Example(
        arguments=_scale_call,
        arrays=("x",),
        reference=_group_scale,
        bound=BOUND,
        data=DATA,
        real=_real_scale,
        peer=("torch rms_norm of groups", _torch_group_scale),
        sizes=_scale_call,
        result=lambda r: r[0],
    ),
    "group_scale_vjp": Example(
        arguments=_scale_vjp_call,
        arrays=("grad_y",),
        reference=_group_scale_vjp,
        bound=VJP_BOUND,
        data=DATA,
        real=_real_scale_vjp,
        sample=_some_rows,
        sizes=_scale_vjp_call,
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _rows_and_groups(rng, size):
    """n rows for `size` blocks, d columns in k groups, and which rows are live."""
    n, k = rows_of(size), int(rng.integers(0, 5))
    return n, max(k, 1) * int(rng.integers(1, 70)), k, rng.integers(0, 2, n, dtype=np.uint8)


def _sums_arguments(rng, variant, size):
    dtype, (n, d, k, live) = variant["T"], _rows_and_groups(rng, size)
    return [
        rng.standard_normal((n, d)).astype(dtype),
        live,
        0.01,
        *_unwritten(dtype, (n, k), (size, d)),
    ]


def _rows_arguments(rng, variant, size):
    dtype, (n, d, k, live) = variant["T"], _rows_and_groups(rng, size)
    x, factor, bias = _arrays(rng, dtype, x=(n, d), factor=d, bias=d).values()
    return [x, live, factor, bias, 0.01, *_unwritten(dtype, (n, k), (n, d), (size, d))]


def _rows_backward_arguments(rng, variant, size):
    dtype, (n, d, k, live) = variant["T"], _rows_and_groups(rng, size)
    grad_y, x, row_scale, factor, slope = _arrays(
        rng, dtype, grad_y=(n, d), x=(n, d), row_scale=(n, k), factor=d, slope=d
    ).values()
    return [
        grad_y,
        x,
        row_scale,
        live,
        factor,
        slope,
        *_unwritten(dtype, (n, d), (size, 2 * int(rng.integers(1, 3)), d)),
    ]


KERNELS = {
    kernels.power_sums.name: _sums_arguments,
    kernels.power_rows.name: _rows_arguments,
    kernels.power_rows_backward.name: _rows_backward_arguments,
}
