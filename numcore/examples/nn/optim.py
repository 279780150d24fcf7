"""Example calls of what optimizers need, and Adam for one number."""

import math

import numpy as np

from .. import Example
from .attention import DATA, _tokens


def adam(
    w,
    gradients,
    *,
    learning_rate=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    decoupled=True,
    amsgrad=False,
):
    """Of one number, from the definition with its corrected means."""
    m = v = top = 0.0
    for t, g in enumerate(gradients, 1):
        if decoupled:
            w -= learning_rate * weight_decay * w
        else:
            g += weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        top = max(top, v)
        square = (top if amsgrad else v) / (1 - betas[1] ** t)
        w -= learning_rate * (m / (1 - betas[0] ** t)) / (math.sqrt(square) + eps)
    return w


def _clip_grad_norm(grads, max_norm):
    g = grads.astype(np.longdouble)
    norm = np.sqrt((g**2).sum())
    return g * min(np.longdouble(1), max_norm / norm if norm > 0 else 1), norm


def _call(rng, dtype, n):
    return {"grads": rng.standard_normal((n, 7)).astype(dtype), "max_norm": 2.0}


def _numpy(grads, max_norm):
    norm = np.linalg.norm(grads)
    return (grads * (max_norm / norm) if norm > max_norm else grads.copy()), norm


EXAMPLES = {
    "clip_grad_norm": Example(
        arguments=lambda rng, dtype: _call(rng, dtype, 900),
        arrays=("grads",),
        reference=_clip_grad_norm,
        bound={"float32": 3e-7, "float64": 5e-16},
        sizes=_call,
        data=DATA.replace(", each a token", ""),
        real=lambda dtype: {"grads": _tokens().astype(dtype), "max_norm": 1.0},
        peer=("numpy.linalg.norm and a product", _numpy),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _update(rng, variant, size, squares=1):
    """Gradient, weights, mean and `squares` arrays of squares; rates as in the third step."""
    dtype = variant["T"]
    arrays = [rng.standard_normal(size) for _ in range(3)] + [
        rng.standard_normal(size) ** 2 for _ in range(squares)
    ]
    return [a.astype(dtype) for a in arrays] + [0.9, 0.1, 0.999, 0.001, 2e-4, 1e-8, 0.99, 0.01]


def _blocks(rng, variant, size):
    """Only two blocks and a half have entries."""
    return [
        rng.standard_normal(min(10_000, 4096 * size)).astype(variant["T"]),
        np.full(size, np.nan),
    ]


KERNELS = {
    "adam_update": _update,
    "amsgrad_update": lambda rng, variant, size: _update(rng, variant, size, 2),
    "squares_in_blocks": _blocks,
}
