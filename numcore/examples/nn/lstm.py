"""Example calls of the long short-term memory. The references go gate by gate and step by step, in
more precision."""

import numpy as np

from ..._pool import get_num_threads
from ...nn import lstm as forward
from ...nn import lstm_cell as cell
from .. import Example
from .attention import DATA, _tokens

HIDDEN = 32


# --- references -----------------------------------------------------------------------------------


def _wide(*arrays):
    return [a.astype(np.longdouble if a.dtype == np.float64 else np.float64) for a in arrays]


def _gate(kind, which, x, h, w_x, w_h, b):
    part = slice(which * h.shape[1], (which + 1) * h.shape[1])
    a = x @ w_x[:, part] + h @ w_h[:, part] + b[part]
    return np.tanh(a) if kind == "tanh" else 1 / (1 + np.exp(-a))


def _lstm_cell(x, h, c, w_x, w_h, b):
    x, h, c, w_x, w_h, b = _wide(x, h, c, w_x, w_h, b)
    i, f, g, o = (
        _gate(kind, which, x, h, w_x, w_h, b)
        for which, kind in enumerate(("sigmoid", "sigmoid", "tanh", "sigmoid"))
    )
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm(x, h, c, w_x, w_h, b):
    h, c, w_x, w_h, b = _wide(h, c, w_x, w_h, b)
    outputs = np.empty((len(x), *h.shape), h.dtype)
    for t, row in enumerate(_wide(x)[0]):
        h, c = _lstm_cell(row, h, c, w_x, w_h, b)
        outputs[t] = h
    return outputs, h, c


def _lstm_vjp(grad_outputs, grad_h, grad_c, cache):
    """Each step's gates from the cache; the gradients of the weights added up step by step."""
    grad_outputs, dh, dc, x, w_h, w_x, gates, hs, cs = _wide(grad_outputs, grad_h, grad_c, *cache)
    dx, dw_x = np.empty_like(x), np.zeros_like(w_x)
    dw_h, db = np.zeros_like(w_h), np.zeros_like(w_x[0] if len(w_x) else gates.sum((0, 1)))
    for t in reversed(range(len(x))):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        dh = dh + grad_outputs[t]
        dc = dc + dh * o / np.cosh(cs[t + 1]) ** 2
        da = np.concatenate(
            [
                dc * g * (i - i**2),
                dc * cs[t] * (f - f**2),
                dc * i * (1 - g) * (1 + g),
                dh * np.tanh(cs[t + 1]) * (o - o**2),
            ],
            axis=1,
        )
        dx[t], dh, dc = da @ w_x.T, da @ w_h.T, dc * f
        dw_x, dw_h, db = dw_x + x[t].T @ da, dw_h + hs[t].T @ da, db + da.sum(axis=0)
    return dx, dh, dc, dw_x, dw_h, db


def _lstm_cell_vjp(grad_h, grad_c, cache):
    dx, *others = _lstm_vjp(np.zeros_like(cache.hs[1:]), grad_h, grad_c, cache)
    return dx[0], *others


# --- calls ----------------------------------------------------------------------------------------


def _arguments(rng, dtype, steps, batch, features=5, hidden=6, x=None):
    x = rng.standard_normal((steps, batch, features)) if x is None else x
    scale = 1 / np.sqrt(hidden)
    arrays = {
        "x": x,
        "h": rng.uniform(-1, 1, (x.shape[1], hidden)),
        "c": rng.standard_normal((x.shape[1], hidden)),
        "w_x": scale * rng.standard_normal((x.shape[2], 4 * hidden)),
        "w_h": scale * rng.standard_normal((hidden, 4 * hidden)),
        "b": rng.standard_normal(4 * hidden),
    }
    return {name: np.ascontiguousarray(a, dtype) for name, a in arrays.items()}


def _cell_arguments(rng, dtype, batch):
    call = _arguments(rng, dtype, 1, batch)
    return call | {"x": call["x"][0]}


def _vjp_arguments(rng, dtype, call):
    (outputs, h, c), cache = forward(**call)
    grads = {"grad_outputs": outputs.shape, "grad_h": h.shape, "grad_c": c.shape}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in grads.items()} | {
        "cache": cache
    }


def _cell_vjp_arguments(rng, dtype, batch):
    (h, c), cache = cell(**_cell_arguments(rng, dtype, batch))
    grads = {"grad_h": h.shape, "grad_c": c.shape}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in grads.items()} | {
        "cache": cache
    }


def _real(dtype):
    """An image's rows, from the top down, as steps."""
    rng, rows = np.random.default_rng(0), _tokens().reshape(-1, 8, 8).swapaxes(0, 1)
    return _arguments(rng, dtype, 8, rows.shape[1], hidden=HIDDEN, x=rows)


def _torch(x, h, c, w_x, w_h, b):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())
    try:
        x, h, c, w_x, w_h, b = map(torch.from_numpy, (x, h, c, w_x, w_h, b))
        weights = [w_x.T.contiguous(), w_h.T.contiguous(), b, torch.zeros_like(b)]
        return torch.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, False, False, False)
    finally:
        torch.set_num_threads(before)


BOUND, VJP_BOUND = {"float32": 2e-6, "float64": 4e-15}, {"float32": 4e-6, "float64": 8e-15}
ARRAYS = ("x", "h", "c", "w_x", "w_h", "b")
ROWS = DATA.replace("each a token", "a row of pixels a step")

EXAMPLES = {
    "lstm_cell": Example(
        arguments=lambda rng, dtype: _cell_arguments(rng, dtype, 7),
        arrays=ARRAYS,
        reference=_lstm_cell,
        bound=BOUND,
        result=lambda r: r[0],
        sizes=_cell_arguments,
    ),
    "lstm_cell_vjp": Example(
        arguments=lambda rng, dtype: _cell_vjp_arguments(rng, dtype, 7),
        arrays=("grad_h", "grad_c"),
        reference=_lstm_cell_vjp,
        bound=VJP_BOUND,
        sizes=_cell_vjp_arguments,
    ),
    "lstm": Example(
        arguments=lambda rng, dtype: _arguments(rng, dtype, 9, 7),
        arrays=ARRAYS,
        reference=lstm,
        bound=BOUND,
        result=lambda r: r[0],
        data=ROWS,
        real=_real,
        peer=("torch.lstm", _torch),
        sizes=lambda rng, dtype, n: _arguments(rng, dtype, min(n, 5), n),
    ),
    "lstm_vjp": Example(
        arguments=lambda rng, dtype: _vjp_arguments(rng, dtype, _arguments(rng, dtype, 9, 7)),
        arrays=("grad_outputs", "grad_h", "grad_c"),
        reference=_lstm_vjp,
        bound=VJP_BOUND,
        data=ROWS,
        real=lambda dtype: _vjp_arguments(np.random.default_rng(1), dtype, _real(dtype)),
        sizes=lambda rng, dtype, n: _vjp_arguments(
            rng, dtype, _arguments(rng, dtype, min(n, 5), n)
        ),
    ),
}


# --- arguments of kernels: weights as they are in use, since large ones make rounding errors grow fro  # noqa: E501


def _steps(rng, variant, size):
    call = _arguments(
        rng, variant["T"], int(rng.integers(1, 6)), size, hidden=int(rng.integers(1, 40))
    )
    hs, cs = (
        np.full((len(call["x"]) + 1, *call["h"].shape), np.nan, variant["T"]) for _ in range(2)
    )
    hs[0], cs[0] = call["h"], call["c"]
    return [call["w_h"], call["b"], call["x"] @ call["w_x"], hs, cs]


def _steps_vjp(rng, variant, size):
    call = _arguments(
        rng, variant["T"], int(rng.integers(1, 6)), size, hidden=int(rng.integers(1, 40))
    )
    (outputs, h, c), cache = forward(**call)
    grads = [
        rng.standard_normal(a.shape).astype(variant["T"])
        for a in (outputs[: rng.integers(2) * len(outputs)], h, c)
    ]
    return [
        np.ascontiguousarray(call["w_h"].T),
        cache.gates,
        cache.cs,
        *grads,
        np.full_like(cache.gates, np.nan),
    ]


KERNELS = {"lstm_steps": _steps, "lstm_steps_vjp": _steps_vjp}
