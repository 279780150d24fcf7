"""Example calls of the nonlinearities, on GELU. The references are their definitions, in 40 digits
or in double precision."""

import math
from types import SimpleNamespace

import numpy as np

from ...nn import activation
from .. import Example
from .attention import DATA, _tokens

DIGITS = 40


def _gelu_tanh(m, x):
    return x / 2 * (1 + m.tanh(m.sqrt(2 / m.pi) * (x + x**3 * 44715 / 1000000)))


# of numbers x, by the functions of a module m: mpmath, or DOUBLE
FUNCTIONS = {
    "relu": lambda m, x: max(x, 0 * x),
    "tanh": lambda m, x: m.tanh(x),
    "gelu": lambda m, x: x * m.erfc(-x / m.sqrt(2)) / 2,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda m, x: x / (1 + m.exp(-x)),
    "sigmoid": lambda m, x: 1 / (1 + m.exp(-x)),
    "sin": lambda m, x: m.sin(x),
    "softplus": lambda m, x: m.log(1 + m.exp(x)),
}


def derivatives(kind, x, order):
    """The nonlinearity and its derivatives up to `order` at x in 40 digits, by finite differences,
    as Python floats."""
    import mpmath

    with mpmath.workdps(DIGITS):
        return [
            float(
                mpmath.diff(
                    lambda v: FUNCTIONS[kind](mpmath, v),
                    mpmath.mpf(float(x)),
                    k,
                    h=mpmath.mpf(10) ** -8,
                )
            )
            for k in range(order + 1)
        ]


_erfc = np.vectorize(math.erfc, otypes=[float])
DOUBLE = SimpleNamespace(erfc=_erfc, sqrt=math.sqrt)


def _activation(x, kind):
    return FUNCTIONS[kind](DOUBLE, x.astype(float))


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
