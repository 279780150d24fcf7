"""Example calls of the affine layer. The references take no matrix product of the whole."""

import numpy as np

from ...nn import dense
from .. import Example
from .attention import DATA, _tokens


def _dense(x, w, b):
    """Row by row in long double."""
    x, w, b = (a.astype(np.longdouble) for a in (x, w, b))
    return np.array([(row[:, None] * w).sum(axis=0) + b for row in x]).reshape(
        *x.shape[:-1], w.shape[1]
    )


def _dense_vjp(grad_y, cache):
    """An outer product for each row."""
    x, w, grad_y = (a.astype(np.longdouble) for a in (cache.x, cache.w, grad_y))
    grad_w = np.zeros(w.shape, np.longdouble)
    for row, g in zip(x, grad_y, strict=True):
        grad_w += row[:, None] * g
    return (
        np.array([(w * g).sum(axis=1) for g in grad_y]).reshape(x.shape),
        grad_w,
        grad_y.sum(axis=0),
    )


def _call(rng, dtype, n=100):
    return {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in {"x": (n, 20), "w": (20, 30), "b": (30,)}.items()
    }


def _vjp_call(rng, dtype, n=100):
    return {
        "grad_y": rng.standard_normal((n, 30)).astype(dtype),
        "cache": dense(**_call(rng, dtype, n))[1],
    }


def _real(dtype):
    rng = np.random.default_rng(0)
    return {
        "x": np.ascontiguousarray(_tokens(), dtype),
        "w": rng.standard_normal((64, 128)).astype(dtype),
        "b": rng.standard_normal(128).astype(dtype),
    }


def _real_vjp(dtype):
    call = _real(dtype)
    return {
        "grad_y": np.random.default_rng(1).standard_normal((len(call["x"]), 128)).astype(dtype),
        "cache": dense(**call)[1],
    }


def _torch(x, w, b):
    import torch

    return torch.addmm(torch.from_numpy(b), torch.from_numpy(x), torch.from_numpy(w))


def _torch_vjp(grad_y, cache):
    import torch

    g, x, w = map(torch.from_numpy, (grad_y, cache.x, cache.w))
    return g @ w.T, x.T @ g, g.sum(dim=0)


EXAMPLES = {
    "dense": Example(
        _call,
        ("x", "w", "b"),
        _dense,
        {"float32": 1e-6, "float64": 2e-15},
        data=DATA,
        real=_real,
        sizes=_call,
        peer=("torch.addmm", _torch),
        result=lambda result: result[0],
    ),
    "dense_vjp": Example(
        _vjp_call,
        ("grad_y",),
        _dense_vjp,
        {"float32": 3e-6, "float64": 5e-15},
        data=DATA,
        real=_real_vjp,
        sizes=_vjp_call,
        peer=("torch", _torch_vjp),
    ),
}
