"""Example calls of attention. The references hold the whole matrix of scores in float64."""

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np

from ..._pool import get_num_threads
from ...nn import _attention_kernels as kernels
from .. import Example

__all__ = ["EXAMPLES", "KERNELS"]

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = "digits images, each a token" if HAVE_SKLEARN else "Python's own source files, each a token"
FEATURES = 64


# --- references -----------------------------------------------------------------------------------


def _weights(q, k, causal):
    """Scores' softmax and log-sum-exp, and k with one head for each of q."""
    k = np.repeat(k.astype(float), q.shape[-3] // k.shape[-3], axis=-3)
    s = q.astype(float) @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if causal:
        s[..., ~np.tri(*s.shape[-2:], s.shape[-1] - s.shape[-2], dtype=bool)] = -np.inf
    top = s.max(axis=-1, keepdims=True, initial=-1e300)
    p = np.exp(s - top)
    total = p.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return (
            p / np.where(total == 0, 1, total),
            np.where(total == 0, -np.inf, top + np.log(total))[..., 0],
            k,
        )


def _attention(q, k, v, causal, return_lse):
    p, lse, _ = _weights(q, k, causal)
    return p @ np.repeat(v.astype(float), q.shape[-3] // v.shape[-3], axis=-3), lse


def _attention_vjp(grad_out, q, k, v, out, lse, causal):
    """From q, k and v alone."""
    p, _, keys = _weights(q, k, causal)
    group, grad_out, scale = (
        q.shape[-3] // k.shape[-3],
        grad_out.astype(float),
        1 / np.sqrt(q.shape[-1]),
    )
    grad_p = grad_out @ np.repeat(v.astype(float), group, axis=-3).swapaxes(-1, -2)
    grad_s = scale * p * (grad_p - (p * grad_p).sum(axis=-1, keepdims=True))

    def over_groups(x):
        return x.reshape(*k.shape[:-2], group, *x.shape[-2:]).sum(axis=-3)

    return (
        grad_s @ keys,
        over_groups(grad_s.swapaxes(-1, -2) @ q.astype(float)),
        over_groups(p.swapaxes(-1, -2) @ grad_out),
    )


def _attention_varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, causal, return_lse):
    out, lse = np.empty((*q.shape[:2], v.shape[2])), np.empty(q.shape[:2])
    for a, b, c, d in zip(
        cu_seqlens_q, cu_seqlens_q[1:], cu_seqlens_k, cu_seqlens_k[1:], strict=False
    ):
        part, part_lse = _attention(
            *(x.swapaxes(0, 1) for x in (q[a:b], k[c:d], v[c:d])), causal, return_lse
        )
        out[a:b], lse[a:b] = part.swapaxes(0, 1), part_lse.swapaxes(0, 1)
    return out, lse


def _merge_attention(outs, lses):
    lses = lses.astype(np.longdouble)
    lse = np.log(np.exp(lses).sum(axis=0))
    return (np.exp(lses - lse)[..., None] * outs).sum(axis=0), lse


# --- data -----------------------------------------------------------------------------------------


@functools.cache
def _tokens():
    """(tokens, 64), each of length 8: the digits images, else how often letters occur in files of
    source, as a layer norm leaves them."""
    if HAVE_SKLEARN:
        from sklearn.datasets import load_digits

        table = load_digits().data
    else:
        texts = (
            np.frombuffer(path.read_bytes(), np.uint8)
            for path in sorted(Path(os.__file__).parent.glob("*.py"))
        )
        table = np.log1p(
            [np.bincount(text, minlength=128)[64 : 64 + FEATURES] for text in texts if text.size]
        )
    table = table - table.mean(axis=0)
    return np.sqrt(FEATURES) * table / np.linalg.norm(table, axis=1, keepdims=True)


def _real(dtype):
    x = np.ascontiguousarray(_tokens()[None, None], dtype)
    return {"q": x, "k": x, "v": x, "causal": False, "return_lse": True}


def _real_vjp(dtype):
    call = _real(np.float64)
    out, lse = _attention(**call)
    names = {
        "grad_out": call["q"],
        "q": call["q"],
        "k": call["k"],
        "v": call["v"],
        "out": out,
        "lse": lse,
    }
    return {name: np.ascontiguousarray(array, dtype) for name, array in names.items()} | {
        "causal": False
    }


def _arrays(rng, dtype, **shapes):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def _call(rng, dtype, nq, nk, heads=4, kv_heads=2, d=24, dv=40):
    return _arrays(
        rng, dtype, q=(2, heads, nq, d), k=(2, kv_heads, nk, d), v=(2, kv_heads, nk, dv)
    ) | {"causal": True, "return_lse": True}


def _vjp_call(rng, dtype, nq, nk, **sizes):
    call = _call(rng, dtype, nq, nk, **sizes)
    out, lse = _attention(**call)
    grad_out = rng.standard_normal(out.shape).astype(dtype)
    return {
        "grad_out": grad_out,
        "q": call["q"],
        "k": call["k"],
        "v": call["v"],
        "out": out.astype(dtype),
        "lse": lse.astype(dtype),
        "causal": True,
    }


def _varlen_call(rng, dtype, lengths_q, lengths_k):
    ends = [np.cumsum([0, *lengths]) for lengths in (lengths_q, lengths_k)]
    arrays = _arrays(
        rng, dtype, q=(ends[0][-1], 4, 16), k=(ends[1][-1], 2, 16), v=(ends[1][-1], 2, 8)
    )
    return arrays | {
        "cu_seqlens_q": ends[0],
        "cu_seqlens_k": ends[1],
        "causal": True,
        "return_lse": True,
    }


def _merge_call(rng, dtype, n):
    return _arrays(rng, dtype, outs=(3, n, 5), lses=(3, n))


def _torch(q, k, v, causal, return_lse):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())  # as many as numcore has
    try:
        return torch.nn.functional.scaled_dot_product_attention(
            *map(torch.from_numpy, (q, k, v)), is_causal=causal
        )
    finally:
        torch.set_num_threads(before)


BOUND, VJP_BOUND = {"float32": 5e-6, "float64": 1e-14}, {"float32": 1e-5, "float64": 5e-14}

EXAMPLES = {
    "attention": Example(
        arguments=lambda rng, dtype: _call(rng, dtype, 37, 50),
        arrays=("q", "k", "v"),
        reference=_attention,
        bound=BOUND,
        data=DATA,
        real=_real,
        peer=("torch scaled_dot_product_attention", _torch),
        sizes=lambda rng, dtype, n: _call(rng, dtype, n, n, d=8, dv=8),
    ),
    "attention_vjp": Example(
        arguments=lambda rng, dtype: _vjp_call(rng, dtype, 37, 50),
        arrays=("grad_out", "q", "k", "v", "out", "lse"),
        reference=_attention_vjp,
        bound=VJP_BOUND,
        data=DATA,
        real=_real_vjp,
        sizes=lambda rng, dtype, n: _vjp_call(rng, dtype, n, n + 1, d=8, dv=8),
    ),
    "attention_varlen": Example(
        arguments=lambda rng, dtype: _varlen_call(rng, dtype, (5, 0, 31, 2), (9, 3, 30, 0)),
        arrays=("q", "k", "v"),
        reference=_attention_varlen,
        bound=BOUND,
        sizes=lambda rng, dtype, n: _varlen_call(rng, dtype, (n // 3, n - n // 3), (n, 2)),
    ),
    "merge_attention": Example(
        arguments=lambda rng, dtype: _merge_call(rng, dtype, 33),
        arrays=("outs", "lses"),
        reference=_merge_attention,
        bound=BOUND,
        sizes=_merge_call,
    ),
}


# --- arguments of kernels: tables of items --------------------------------------------------------


def _options(*, left=1 << 40, right=1 << 40, block_q=8, block_k=8, bias=(0, 0, 0), mask=(0, 0, 0)):
    return np.array([1, 1, left, right, block_q, block_k, *bias, *mask])


def _unwritten(dtype, *shapes):
    return [np.full(shape, np.nan, dtype) for shape in shapes]


def _shared(rng, dtype, nq, nk):
    """A bias for each query, a mask of keys, a block mask."""
    return (
        rng.standard_normal(nq).astype(dtype),
        rng.integers(0, 4, nk, dtype=np.uint8),
        rng.integers(0, 3, (-(-nq // 8), -(-nk // 8)), dtype=np.uint8),
    )


def _forward_arguments(rng, variant, size):
    """One head, cut into `size` items."""
    dtype, nk, d, dv = variant["T"], 21, 5, 9
    rows = rng.integers(1, 3, size) if size > 40 else rng.integers(1, 90, size)
    low, nq = np.cumsum(rows) - rows, int(rows.sum())
    zero = np.zeros_like(low)
    items = np.stack([low, rows, low, low + nk - nq, zero, zero + nk, low, zero], axis=1)
    x = _arrays(rng, dtype, q=(nq, d), k=nk * d, v=nk * dv)
    return [
        items,
        _options(left=nq - 5, right=30, bias=(0, 1, 0), mask=(0, 0, 1)),
        *x.values(),
        *_shared(rng, dtype, nq, nk),
        0.4,
        *_unwritten(dtype, (nq, dv), nq),
    ]


def _pairs(rng, dtype, kv_heads, small):
    """Inputs of a backward pass with two query heads to a head of the keys: their sizes, then
    arrays."""
    nq, nk, d, dv = (7, 9, 3, 5) if small else (75, 150, 10, 3)
    heads = 2 * kv_heads
    x = _arrays(
        rng,
        dtype,
        q=heads * nq * d,
        k=(kv_heads * nk, d),
        v=(kv_heads * nk, dv),
        grad_out=heads * nq * dv,
        lse=heads * nq,
        delta=heads * nq,
    )
    x["lse"] = np.abs(x["lse"]) + 5  # weights below 1
    return nq, nk, [*x.values(), *_shared(rng, dtype, nq, nk), 0.4]


def _backward_arguments(rng, variant, size):
    """Each item a head of the keys with its two query heads."""
    nq, nk, inputs = _pairs(rng, variant["T"], size, size > 10)
    item = [
        [2 * s * nq, 2, nq, 0, nq, nk - nq, s * nk, 0, nk, 0, 0, s * nk, 1] for s in range(size)
    ]
    outputs = _unwritten(
        variant["T"], (2 * size * nq, inputs[1].shape[1]), inputs[1].shape, inputs[2].shape
    )
    return [
        np.array(item, np.int64).reshape(size, 13),
        _options(left=nq, right=3, bias=(0, 1, 0), mask=(0, 0, 1)),
        *inputs,
        *outputs,
    ]


def _bias_arguments(rng, variant, size):
    """Each item a slice of the bias that two query heads share, with its axes broadcast or not."""
    nq, nk, inputs = _pairs(rng, variant["T"], size, size > 10)
    row, col = [(nk, 1), (1, 0), (0, 1), (0, 0)][rng.integers(4)]
    entries = (nq if row else 1) * (nk if col else 1)
    item = [[2 * s, 2 * s + 2, 0, nq, 0, nk, nk - nq, s * entries] for s in range(size)]
    head = [[h * nq, h // 2 * nk, 0, 0] for h in range(2 * size)]
    return [
        np.array(item, np.int64).reshape(size, 8),
        _options(left=nq, right=3, bias=(0, 1, 0), mask=(0, 0, 1)),
        np.array(head, np.int64).reshape(2 * size, 4),
        *inputs,
        row,
        col,
        np.ones(size * entries, variant["T"]),
    ]


KERNELS = {
    kernels.attention_forward.name: _forward_arguments,
    kernels.attention_backward.name: _backward_arguments,
    kernels.attention_bias_backward.name: _bias_arguments,
}
