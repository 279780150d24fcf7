"""Example calls of layer, root-mean-square and batch normalization. The references work in
longdouble, gradients by the chain rule."""

import numpy as np

from ..._pool import get_num_threads
from ...nn import _normalization as layers
from ...nn._normalization import kernels
from .. import Example
from .attention import DATA, _tokens

ROWS = kernels.ROWS


def with_torch(function):
    """``function(torch, **arguments)`` as a function of the arguments, run with as many threads as
    numcore has."""

    def call(**arguments):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(get_num_threads())
        try:
            with torch.no_grad():
                return function(torch, **arguments)
        finally:
            torch.set_num_threads(before)

    return call


# --- references -----------------------------------------------------------------------------------


def _long(array):
    return None if array is None else array.astype(np.longdouble)


def _normal(x, eps, axis, centered=True):
    """z, its scale, and the number of entries that statistics are of."""
    x = _long(x)
    if centered:
        x = x - x.mean(axis=axis, keepdims=True)
    scale = 1 / np.sqrt((x * x).mean(axis=axis, keepdims=True) + eps)
    return x * scale, scale


def layer_norm(x, weight, bias, eps):
    return _normal(x, eps, -1)[0] * weight + bias


def rms_norm(x, weight, eps):
    return _normal(x, eps, -1, centered=False)[0] * weight


def batch_norm(x, weight, bias, running, momentum, eps, training):
    """y and the new running statistics."""
    rows, (mean, var) = _long(x).reshape(-1, x.shape[-1]), running
    if not training:
        y = (rows - mean) / np.sqrt(var + np.longdouble(eps)) * weight + bias
        return y.reshape(x.shape), running
    if not len(rows):
        return x.astype(float), running
    z = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + eps)
    batch = rows.mean(axis=0), rows.var(axis=0, ddof=1)
    new = tuple(
        (1 - momentum) * _long(old) + momentum * now
        for old, now in zip(running, batch, strict=True)
    )
    return (z * weight + bias).reshape(x.shape), new


def _through(grad_z, x, scale, axis, centered):
    """Back through z = (x - mean) scale, step by step: the scale as a function of the variance, the
    variance and the mean of x."""
    n, x, scale = x.shape[axis], _long(x), _long(scale)
    difference = x - x.mean(axis=axis, keepdims=True) if centered else x
    grad_variance = (grad_z * difference).sum(axis=axis, keepdims=True) * (-(scale**3) / 2)
    grad_difference = grad_z * scale + grad_variance * 2 * difference / n
    return (
        grad_difference - grad_difference.sum(axis=axis, keepdims=True) / n
        if centered
        else grad_difference
    )


def _sums(grad_y, z):
    """Over all axes but the last."""
    flat, z = (_long(a).reshape(-1, a.shape[-1]) for a in (grad_y, z))
    return (flat * z).sum(axis=0), flat.sum(axis=0)


def layer_norm_vjp(grad_y, x, weight, eps):
    z, scale = _normal(x, eps, -1)
    return _through(_long(grad_y) * weight, x, scale, -1, True), *_sums(grad_y, z)


def rms_norm_vjp(grad_y, x, weight, eps):
    z, scale = _normal(x, eps, -1, centered=False)
    return _through(_long(grad_y) * weight, x, scale, -1, False), _sums(grad_y, z)[0]


def batch_norm_vjp(grad_y, x, weight, eps):
    rows, flat = (a.reshape(-1, a.shape[-1]) for a in (x, grad_y))
    if not len(rows):
        return x, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    z, scale = _normal(rows, eps, 0)
    grad_x = _through(_long(flat) * weight, rows, scale, 0, True)
    return grad_x.reshape(x.shape), *_sums(grad_y, z)


def _of_cache(vjp, eps):
    """The gradients as a function of grad_y and the cache of a layer with this eps."""
    return lambda grad_y, cache: vjp(grad_y, cache.x, cache.weight, eps)


# --- calls ----------------------------------------------------------------------------------------


def _arrays(rng, dtype, **shapes):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def _row_call(rng, dtype, n=41):
    return _arrays(rng, dtype, x=(n, 3, 37), weight=37, bias=37) | {"eps": 1e-5}


def _rms_call(rng, dtype, n=41):
    return _arrays(rng, dtype, x=(n, 3, 37), weight=37) | {"eps": 1e-6}


def _batch_call(rng, dtype, n=41):
    running = layers.RunningStatistics(
        rng.standard_normal(37).astype(dtype), rng.random(37).astype(dtype)
    )
    return _arrays(rng, dtype, x=(n, 3, 37), weight=37, bias=37) | {
        "running": running,
        "momentum": 0.1,
        "eps": 1e-5,
        "training": True,
    }


def _real(call, layer=None):
    """The call with the tokens for x."""

    def make(dtype):
        rng, x = np.random.default_rng(0), np.ascontiguousarray(_tokens(), dtype)
        arguments = call(rng, np.dtype(dtype), 1)
        for name, value in arguments.items():
            if isinstance(value, np.ndarray):
                arguments[name] = (
                    x if name == "x" else rng.standard_normal(x.shape[1]).astype(dtype)
                )
            elif isinstance(value, tuple):
                arguments[name] = layers.RunningStatistics(
                    np.zeros(x.shape[1], dtype), np.ones(x.shape[1], dtype)
                )
        return arguments if layer is None else _gradient(rng, layer, arguments)

    return make


def _gradient(rng, layer, arguments):
    y, cache = layer(**arguments)
    return {"grad_y": rng.standard_normal(y.shape).astype(y.dtype), "cache": cache}


def _vjp_call(call, layer):
    return lambda rng, dtype, n=41: _gradient(rng, layer, call(rng, dtype, n))


# --- peers ----------------------------------------------------------------------------------------


@with_torch
def _torch_layer_norm(torch, x, weight, bias, eps):
    return torch.nn.functional.layer_norm(
        torch.from_numpy(x), x.shape[-1:], torch.from_numpy(weight), torch.from_numpy(bias), eps
    )


@with_torch
def _torch_layer_norm_vjp(torch, grad_y, cache):
    grad_y, x, weight, bias, mean, scale = map(torch.from_numpy, (grad_y, *cache))
    return torch.ops.aten.native_layer_norm_backward(
        grad_y, x, x.shape[-1:], mean, scale, weight, bias, [True] * 3
    )


@with_torch
def _torch_rms_norm(torch, x, weight, eps):
    return torch.nn.functional.rms_norm(
        torch.from_numpy(x), x.shape[-1:], torch.from_numpy(weight), eps
    )


def _numpy_rms_norm_vjp(grad_y, cache):
    x, weight, scale = cache
    scale = scale[..., None]
    along = (grad_y * weight * x).mean(axis=-1, keepdims=True)
    return scale * (grad_y * weight - x * scale**2 * along), (grad_y * x * scale).sum(axis=0)


@with_torch
def _torch_batch_norm(torch, x, weight, bias, running, momentum, eps, training):
    x, weight, bias, mean, var = map(
        torch.from_numpy, (x, weight, bias, *(a.copy() for a in running))
    )
    return torch.nn.functional.batch_norm(x, mean, var, weight, bias, training, momentum, eps)


@with_torch
def _torch_batch_norm_vjp(torch, grad_y, cache):
    grad_y, x, weight, mean, scale = map(
        torch.from_numpy,
        (grad_y, cache.x, cache.weight, *(a.astype(grad_y.dtype) for a in cache[3:5])),
    )
    return torch.ops.aten.native_batch_norm_backward(
        grad_y, x, weight, None, None, mean, scale, True, 1e-5, [True] * 3
    )


# Relative to the largest entry. Sums of blocks of 32 and rows of 37 or 64 in float32: a few units
# of 6e-8 times the root of these.
BOUND, VJP_BOUND = {"float32": 2e-6, "float64": 4e-15}, {"float32": 4e-6, "float64": 1e-14}


def _entries(name, call, layer, forward, backward, peer, peer_vjp, arrays, result):
    return {
        name: Example(
            arguments=call,
            arrays=arrays,
            reference=forward,
            bound=BOUND,
            data=DATA,
            real=_real(call),
            peer=peer,
            sizes=call,
            result=result,
        ),
        f"{name}_vjp": Example(
            arguments=_vjp_call(call, layer),
            arrays=("grad_y",),
            reference=backward,
            bound=VJP_BOUND,
            data=DATA,
            real=_real(call, layer),
            peer=peer_vjp,
            sizes=_vjp_call(call, layer),
        ),
    }


EXAMPLES = {
    **_entries(
        "layer_norm",
        _row_call,
        layers.layer_norm,
        layer_norm,
        _of_cache(layer_norm_vjp, 1e-5),
        ("torch layer_norm", _torch_layer_norm),
        ("torch native_layer_norm_backward", _torch_layer_norm_vjp),
        ("x", "weight", "bias"),
        lambda r: r[0],
    ),
    **_entries(
        "rms_norm",
        _rms_call,
        layers.rms_norm,
        rms_norm,
        _of_cache(rms_norm_vjp, 1e-6),
        ("torch rms_norm", _torch_rms_norm),
        ("NumPy's expression", _numpy_rms_norm_vjp),
        ("x", "weight"),
        lambda r: r[0],
    ),
    **_entries(
        "batch_norm",
        _batch_call,
        layers.batch_norm,
        batch_norm,
        _of_cache(batch_norm_vjp, 1e-5),
        ("torch batch_norm", _torch_batch_norm),
        ("torch native_batch_norm_backward", _torch_batch_norm_vjp),
        ("x", "weight", "bias"),
        lambda r: (r[0], r[1].running),
    ),
}


# --- arguments of kernels: n rows for `size` blocks, k groups that divide the columns -------------


def _unwritten(dtype, *shapes):
    return [np.full(shape, np.nan, dtype) for shape in shapes]


def rows_of(size):
    """Rows that need `size` blocks, but few where there are many blocks: these then have none."""
    return max(0, ROWS * min(size, 8) - 5)


def _norm_rows(rng, variant, size):
    dtype, d = variant["T"], int(rng.integers(1, 70))
    x = _arrays(rng, dtype, x=(size, d), weight=d, bias=d)
    return [*x.values(), 0.01, int(rng.integers(2)), *_unwritten(dtype, (size, d), size, size)]


def _norm_rows_backward(rng, variant, size):
    dtype, d, n = variant["T"], int(rng.integers(1, 300)), rows_of(size)
    x = _arrays(rng, dtype, grad_y=(n, d), x=(n, d), weight=d, mean=n, scale=n)
    return [*x.values(), int(rng.integers(2)), *_unwritten(dtype, (n, d), (size, 2, d))]


def _scale_columns(rng, variant, size):
    dtype, k = variant["T"], int(rng.integers(0, 5))
    d = max(k, 1) * int(rng.integers(1, 9))
    x = _arrays(rng, dtype, x=(size, d), row_scale=(size, k), centre=d, factor=d, shift=d)
    return [*x.values(), *_unwritten(dtype, (size, d))]


def _column_moments(rng, variant, size):
    dtype, d, n = variant["T"], int(rng.integers(1, 300)), rows_of(size)
    return [*_arrays(rng, dtype, x=(n, d)).values(), *_unwritten(dtype, (size, 3, d))]


def _column_products(rng, variant, size):
    dtype, d, n = variant["T"], int(rng.integers(1, 300)), rows_of(size)
    return [
        *_arrays(rng, dtype, grad_y=(n, d), x=(n, d), centre=d).values(),
        *_unwritten(dtype, (size, 2, d)),
    ]


def _join_moments(rng, variant, size):
    dtype, n = variant["T"], int(rng.integers(1, 200))
    parts = rng.standard_normal((-(-n // ROWS), 3, size)).astype(dtype)
    parts[:, 2] = 100 * parts[:, 2] ** 2
    return [parts, n, *_unwritten(np.float64, size, size)]


KERNELS = {
    kernels.norm_rows.name: _norm_rows,
    kernels.norm_rows_backward.name: _norm_rows_backward,
    kernels.scale_columns.name: _scale_columns,
    kernels.column_moments.name: _column_moments,
    kernels.column_products.name: _column_products,
    kernels.join_moments.name: _join_moments,
}
