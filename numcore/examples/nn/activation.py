"""Example calls of the nonlinearities, on GELU. The references take the normal distribution from
the complementary error function."""

import math

import numpy as np

from ...nn import activation
from .. import Example
from .attention import DATA, _tokens

__all__ = ["EXAMPLES"]

_erfc = np.vectorize(math.erfc, otypes=[float])


def _activation(x, kind):
    x = x.astype(float)
    return x * _erfc(-x / math.sqrt(2)) / 2


def _activation_vjp(grad_y, cache):
    x = cache.x.astype(float)
    return grad_y.astype(float) * (
        _erfc(-x / math.sqrt(2)) / 2 + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    )


def _call(rng, dtype, n=300):
    return {"x": (3 * rng.standard_normal((n, 7))).astype(dtype), "kind": "gelu"}


def _vjp_call(rng, dtype, n=300):
    call = _call(rng, dtype, n)
    return {"grad_y": rng.standard_normal((n, 7)).astype(dtype), "cache": activation(**call)[1]}


def _real(dtype):
    return {"x": np.ascontiguousarray(_tokens(), dtype), "kind": "gelu"}


def _real_vjp(dtype):
    call = _real(dtype)
    return {"grad_y": np.ascontiguousarray(call["x"][::-1]), "cache": activation(**call)[1]}


def _torch(x, kind):
    import torch

    return torch.nn.functional.gelu(torch.from_numpy(x))


def _torch_vjp(grad_y, cache):
    import torch

    return torch.ops.aten.gelu_backward(torch.from_numpy(grad_y), torch.from_numpy(cache.x))


BOUND = {"float32": 3e-7, "float64": 1e-15}

EXAMPLES = {
    "activation": Example(
        _call,
        ("x",),
        _activation,
        BOUND,
        data=DATA,
        real=_real,
        sizes=_call,
        peer=("torch gelu", _torch),
        result=lambda result: result[0],
    ),
    "activation_vjp": Example(
        _vjp_call,
        ("grad_y",),
        _activation_vjp,
        BOUND,
        data=DATA,
        real=_real_vjp,
        sizes=_vjp_call,
        peer=("torch gelu_backward", _torch_vjp),
    ),
}
