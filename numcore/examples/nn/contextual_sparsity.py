"""Example calls of contextual sparsity. The references go neuron by neuron in float64 and sort the
gates."""

import functools
import importlib.util
import math

import numpy as np

from ..._pool import get_num_threads
from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = (
    "a digits image" if HAVE_SKLEARN else "random states"
) + ", random weights of d = 1024, m = 4096"


# --- references -----------------------------------------------------------------------------------


def _gated(x, w_gate, w_up, w_down):
    """Longdouble, with silu(z) = z / (1 + e^-z)."""
    x, w_gate, w_up, w_down = (a.astype(np.longdouble) for a in (x, w_gate, w_up, w_down))
    z = np.einsum("...d,md->...m", x, w_gate)
    return np.einsum(
        "...m,dm->...d", z / (1 + np.exp(-z)) * np.einsum("...d,md->...m", x, w_up), w_down
    )


def _sparse(x, w_gate, w_up, w_down_t, density, return_indices):
    m = len(w_gate)
    k, z = int(density * m), x.astype(float) @ w_gate.T.astype(float)
    gates = z / (1 + np.exp(-z))
    kept = np.sort(np.argsort(-np.abs(gates), axis=-1, kind="stable")[..., :k], axis=-1)
    y = np.zeros(x.shape)
    for t in np.ndindex(x.shape[:-1]):
        for j in kept[t]:
            y[t] += gates[t][j] * np.dot(w_up[j].astype(float), x[t].astype(float)) * w_down_t[j]
    return y, kept


def _select(h, density):
    h = h.astype(np.longdouble)
    lengths = np.linalg.norm(h, axis=1)
    total = (
        sum((row / length) ** 2 for row, length in zip(h, lengths, strict=True) if length)
        if len(h)
        else np.zeros(h.shape[1])
    )
    return np.sort(np.argsort(-total, kind="stable")[: int(density * h.shape[1])])


def _accepted(tokens, full_logits, threshold, temperature):
    result = np.zeros(tokens.shape[:-1], np.int64)
    for lead in np.ndindex(result.shape):
        for token, row in zip(
            tokens[lead], full_logits[lead].astype(np.longdouble) / temperature, strict=True
        ):
            weights = np.exp(row - row.max())
            if weights[token] / weights.sum() < threshold:
                break
            result[lead] += 1
    return result


# --- data -----------------------------------------------------------------------------------------


def _layer(rng, dtype, lead, m=150, d=24):
    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return {
        "x": normal(*lead, d),
        "w_gate": normal(m, d),
        "w_up": normal(m, d),
        "w_down": normal(d, m),
    }


def _sparse_layer(rng, dtype, lead, **sizes):
    layer = _layer(rng, dtype, lead, **sizes)
    return layer | {
        "w_down_t": np.ascontiguousarray(layer.pop("w_down").T),
        "density": 0.4,
        "return_indices": True,
    }


@functools.cache
def _state(d):
    """One token: an image, repeated with other signs, as a normalisation leaves it."""
    if not HAVE_SKLEARN:
        return np.random.default_rng(0).standard_normal((1, d))
    from sklearn.datasets import load_digits

    pixels = load_digits().data[0]
    x = np.tile(pixels - pixels.mean(), d // 64) * np.random.default_rng(0).choice([-1, 1], d)
    return (x / x.std())[None]


def _real(dtype):
    rng = np.random.default_rng(2024)
    layer = _layer(rng, dtype, (), 4096, 1024)
    return {name: (w / 32).astype(dtype) for name, w in layer.items()} | {
        "x": _state(1024).astype(dtype)
    }


def _real_sparse(dtype):
    layer = _real(dtype)
    return layer | {
        "w_down_t": np.ascontiguousarray(layer.pop("w_down").T),
        "density": 0.5,
        "return_indices": True,
    }


def _real_select(dtype):
    layer, tokens = _real(np.float64), np.random.default_rng(1).standard_normal((200, 1024))
    z = (tokens + _state(1024)) @ layer["w_gate"].T
    return {"h": (z / (1 + np.exp(-z)) * (tokens @ layer["w_up"].T)).astype(dtype), "density": 0.5}


def _draft(rng, dtype, n, vocab=50):
    """Two drafts, each mostly of the tokens that are likely."""
    logits = 3 * rng.standard_normal((2, n, vocab))
    tokens = np.where(
        rng.random((2, n)) < 0.9, logits.argmax(axis=-1), rng.integers(0, vocab, (2, n))
    )
    return {
        "tokens": tokens,
        "full_logits": logits.astype(dtype),
        "threshold": 0.1,
        "temperature": 0.6,
    }


def _torch(x, w_gate, w_up, w_down):
    import torch

    x, w_gate, w_up, w_down = map(torch.from_numpy, (x, w_gate, w_up, w_down))
    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())  # as many as numcore has
    try:
        return torch.nn.functional.silu(x @ w_gate.T) * (x @ w_up.T) @ w_down.T
    finally:
        torch.set_num_threads(before)


def _torch_sparse(x, w_gate, w_up, w_down_t, density, return_indices):
    return _torch(x, w_gate, w_up, w_down_t.T)


def _numpy_select(h, density):
    s = np.linalg.norm(h / np.linalg.norm(h, axis=1, keepdims=True), axis=0)
    return np.sort(np.argsort(-s)[: int(density * h.shape[1])])


def _scipy_accepted(tokens, full_logits, threshold, temperature):
    from scipy.special import log_softmax

    log_q = np.take_along_axis(
        log_softmax(full_logits / temperature, axis=-1), tokens[..., None], axis=-1
    )[..., 0]
    return np.cumprod(log_q >= math.log(threshold), axis=-1).sum(axis=-1)


BOUND = {"float32": 2e-5, "float64": 4e-14}  # sums of a single column cancel

EXAMPLES = {
    "gated_mlp": Example(
        arguments=lambda rng, dtype: _layer(rng, dtype, (2, 3)),
        arrays=("x", "w_gate", "w_up", "w_down"),
        reference=_gated,
        bound=BOUND,
        data=DATA,
        real=_real,
        peer=("torch", _torch),
        sizes=lambda rng, dtype, n: _layer(rng, dtype, (n,), n + 1, n),
    ),
    "sparse_gated_mlp": Example(
        arguments=lambda rng, dtype: _sparse_layer(rng, dtype, (3,)),
        arrays=("x", "w_gate", "w_up", "w_down_t"),
        reference=_sparse,
        bound=BOUND,
        data=DATA,
        real=_real_sparse,
        peer=("torch, all neurons", _torch_sparse),
        sizes=lambda rng, dtype, n: _sparse_layer(rng, dtype, (n,), m=40, d=n),
    ),
    "select_neurons": Example(
        arguments=lambda rng, dtype: {
            "h": rng.standard_normal((20, 90)).astype(dtype),
            "density": 0.3,
        },
        arrays=("h",),
        reference=_select,
        bound={"float32": 0, "float64": 0},
        error="equal",
        data="200 tokens around " + DATA,
        real=_real_select,
        peer=("NumPy", _numpy_select),
        nan="raise",
        sizes=lambda rng, dtype, n: {
            "h": rng.standard_normal((n, n + 2)).astype(dtype),
            "density": 0.5,
        },
    ),
    "accept_prefix": Example(
        arguments=lambda rng, dtype: _draft(rng, dtype, 15),
        arrays=("full_logits",),
        reference=_accepted,
        bound={"float32": 0, "float64": 0},
        error="equal",
        data="random logits of 15 tokens out of 32,000",
        real=lambda dtype: _draft(np.random.default_rng(3), dtype, 15, 32000),
        peer=("scipy.special.log_softmax", _scipy_accepted),
        nan="raise",
        sizes=lambda rng, dtype, n: _draft(rng, dtype, n, 40),
    ),
}


# --- arguments of kernels: indices that exist -----------------------------------------------------


def _poisoned(shape, dtype):
    return np.full(shape, np.nan, dtype)


def _gate_arguments(rng, variant, size):
    dtype, d, b = variant["T"], int(rng.choice([3, 8, 132])), int(rng.integers(1, 5))
    return [
        rng.standard_normal((size, d)).astype(dtype),
        rng.standard_normal((b, d)).astype(dtype),
        _poisoned((b, size), dtype),
        int(rng.integers(4)),
    ]


def _largest_arguments(rng, variant, size):
    """Rows with ties, zeros of both signs and NaN."""
    m = int(rng.integers(1, 700))
    g = np.where(
        rng.random((size, m)) < 0.5, rng.integers(-3, 4, (size, m)), rng.standard_normal((size, m))
    )
    g[rng.random((size, m)) < 0.02] = np.nan
    return [g.astype(variant["T"]), np.full((size, int(rng.integers(1, m + 1))), -1)]


def _sum_arguments(rng, variant, size):
    dtype, d, b, m = (
        variant["T"],
        int(rng.choice([3, 8, 300])),
        int(rng.integers(1, 4)),
        2 * size + 150,
    )
    k = int(rng.integers(1, m + 1))
    kept = np.sort(rng.permuted(np.tile(np.arange(m), (b, 1)), axis=1)[:, :k], axis=1)
    return [
        rng.standard_normal((m, d)).astype(dtype),
        rng.standard_normal((m, d)).astype(dtype),
        rng.standard_normal((b, d)).astype(dtype),
        rng.standard_normal((b, m)).astype(dtype),
        np.ascontiguousarray(kept),
        _poisoned((size, b, d), dtype),
    ]


def _log_arguments(rng, variant, size):
    dtype, v = variant["T"], int(rng.integers(1, 600))
    logits = (5 * rng.standard_normal((size, v))).astype(dtype)
    logits[rng.random(logits.shape) < 0.001] = rng.choice([np.nan, np.inf, -np.inf])
    return [logits, rng.integers(0, v, size), _poisoned(size, dtype), 0.6]


KERNELS = {
    "gate_rows": _gate_arguments,
    "select_largest": _largest_arguments,
    "sum_kept_rows": _sum_arguments,
    "log_probabilities": _log_arguments,
}
