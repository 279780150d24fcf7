"""Example calls of power normalisation. The references work in longdouble and sum position by
position."""

import numpy as np

from ...nn import _power_norm as layers
from .. import Example
from .attention import DATA, _tokens
from .normalization import _arrays, _long, _unwritten, rows_of, with_torch

__all__ = ["EXAMPLES", "KERNELS"]


# --- references -----------------------------------------------------------------------------------


def _power_norm_forward(x, weight, bias, phi, eps):
    z = np.empty(x.shape, np.longdouble)
    for c, mean in enumerate(_long(phi)):
        z[..., c] = _long(x[..., c]) / np.sqrt(mean + eps)
    return z * weight + bias, z


def _power_norm_backward(grad_y, z, weight, gamma, phi_used, eps, alpha_bwd, backward_scale, mask):
    grad_x, d = np.empty(z.shape, np.longdouble), z.shape[-1]
    grad_weight, grad_bias, change = np.zeros((3, d), np.longdouble)
    positions = [at for at in np.ndindex(z.shape[:-1]) if mask is None or not mask[at]]
    for at in np.ndindex(z.shape[:-1]):
        upstream, here = _long(grad_y[at]), _long(z[at])
        corrected = weight * upstream - (1 - np.longdouble(alpha_bwd)) * gamma * here
        grad_x[at] = corrected / np.sqrt(_long(phi_used) + eps)
        grad_weight += upstream * here
        grad_bias += upstream
        change += corrected * here if mask is None or not mask[at] else 0
    if backward_scale == "batch" and positions:
        used = _long(phi_used) + eps
        psi = sum(_long(z[at]) ** 2 for at in positions) / len(positions) * used
        grad_x *= np.sqrt(used / (psi + eps))
    return grad_x, grad_weight, grad_bias, gamma + change / max(len(positions), 1)


def _group_scale(x, n_groups, eps, return_cache):
    parts = [_long(part) for part in np.split(x, n_groups, axis=-1)]
    y = np.concatenate(
        [part / np.sqrt((part**2).mean(axis=-1, keepdims=True) + eps) for part in parts], axis=-1
    )
    return (y,)


def _group_scale_vjp(grad, cache):
    """By the Jacobian matrix of each group."""
    x, groups = cache.x, cache.scale.shape[-1]
    result, size = np.empty(x.shape, np.longdouble), x.shape[-1] // groups
    for *at, group in np.ndindex(*x.shape[:-1], groups):
        columns = (*at, slice(group * size, (group + 1) * size))
        v = _long(x[columns])
        root = np.sqrt(v @ v / size + np.longdouble(1e-5))
        result[columns] = (np.eye(size) / root - np.outer(v, v) / (size * root**3)) @ _long(
            grad[columns]
        )
    return result


# --- calls ----------------------------------------------------------------------------------------


def _forward_call(rng, dtype, n=41):
    call = _arrays(rng, dtype, x=(n, 3, 37), weight=37, bias=37, phi=37)
    return call | {"phi": call["phi"] ** 2 + dtype.type(0.1), "eps": 1e-5}


def _backward_call(rng, dtype, n=41):
    call = _arrays(rng, dtype, grad_y=(n, 3, 37), z=(n, 3, 37), weight=37, gamma=37, phi_used=37)
    call["phi_used"] = call["phi_used"] ** 2 + dtype.type(0.1)
    return call | {"eps": 1e-5, "alpha_bwd": 0.9, "backward_scale": "batch", "mask": None}


def _scale_call(rng, dtype, n=41):
    return _arrays(rng, dtype, x=(n, 3, 36)) | {"n_groups": 4, "eps": 1e-5, "return_cache": True}


def _scale_vjp_call(rng, dtype, n=41):
    y, cache = layers.group_scale(**_scale_call(rng, dtype, n))
    return {"grad": rng.standard_normal(y.shape).astype(dtype), "cache": cache}


def _of_tokens(call):
    """The call with the tokens for all that has a value for each position."""

    def make(dtype):
        rng, x = np.random.default_rng(0), np.ascontiguousarray(_tokens(), dtype)
        arguments = call(rng, np.dtype(dtype), 1)
        shapes = {37: x.shape[1], (1, 3, 37): x.shape, (1, 3, 36): x.shape}
        for name, value in arguments.items():
            if isinstance(value, np.ndarray):
                shape = shapes[value.shape[0] if value.ndim == 1 else value.shape]
                arguments[name] = (
                    x if name in ("x", "z") else np.abs(rng.standard_normal(shape)).astype(dtype)
                )
        return arguments

    return make


def _real_scale_vjp(dtype):
    x = np.ascontiguousarray(_tokens(), dtype)
    y, cache = layers.group_scale(x, n_groups=4, return_cache=True)
    return {"grad": np.random.default_rng(0).standard_normal(y.shape).astype(dtype), "cache": cache}


def _some_rows(result, grad, cache):
    """Every 50th position."""
    return result[::50], {
        "grad": grad[::50],
        "cache": cache._replace(x=cache.x[::50], scale=cache.scale[::50]),
    }


# --- peers ----------------------------------------------------------------------------------------


def _numpy_forward(x, weight, bias, phi, eps):
    z = x / np.sqrt(phi + x.dtype.type(eps))
    return weight * z + bias, z


def _numpy_backward(grad_y, z, weight, gamma, phi_used, eps, alpha_bwd, backward_scale, mask):
    eps, part = z.dtype.type(eps), z.dtype.type(1 - alpha_bwd)
    corrected = grad_y * weight - part * gamma * z
    psi = (z * z).mean(axis=0) * (phi_used + eps)
    return (
        corrected / np.sqrt(psi + eps),
        (grad_y * z).sum(axis=0),
        grad_y.sum(axis=0),
        gamma + (corrected * z).mean(axis=0),
    )


@with_torch
def _torch_group_scale(torch, x, n_groups, eps, return_cache):
    x = torch.from_numpy(x).reshape(*x.shape[:-1], n_groups, -1)
    return torch.nn.functional.rms_norm(x, x.shape[-1:], None, eps)


BOUND, VJP_BOUND = {"float32": 2e-6, "float64": 4e-15}, {"float32": 4e-6, "float64": 1e-14}

EXAMPLES = {
    "power_norm_forward": Example(
        arguments=_forward_call,
        arrays=("x", "weight", "bias", "phi"),
        reference=_power_norm_forward,
        bound=BOUND,
        data=DATA,
        real=_of_tokens(_forward_call),
        peer=("NumPy's expression", _numpy_forward),
        sizes=_forward_call,
    ),
    "power_norm_backward": Example(
        arguments=_backward_call,
        arrays=("grad_y", "z", "weight", "gamma", "phi_used"),
        reference=_power_norm_backward,
        bound=VJP_BOUND,
        data=DATA,
        real=_of_tokens(_backward_call),
        peer=("NumPy's expression", _numpy_backward),
        sizes=_backward_call,
    ),
    "group_scale": Example(
        arguments=_scale_call,
        arrays=("x",),
        reference=_group_scale,
        bound=BOUND,
        data=DATA,
        real=_of_tokens(_scale_call),
        peer=("torch rms_norm of groups", _torch_group_scale),
        sizes=_scale_call,
        result=lambda r: r[:1],
    ),
    "group_scale_vjp": Example(
        arguments=_scale_vjp_call,
        arrays=("grad",),
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
    layers.power_sums.name: _sums_arguments,
    layers.power_rows.name: _rows_arguments,
    layers.power_rows_backward.name: _rows_backward_arguments,
}
