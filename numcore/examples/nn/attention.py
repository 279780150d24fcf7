"""Example calls of attention. The references hold the whole matrix of scores in float64."""

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np

from ..._pool import get_num_threads
from ...nn._attention import kernels
from .. import Example

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = "digits images, each a token" if HAVE_SKLEARN else "Python's own source files, each a token"
FEATURES = 64


# --- references -----------------------------------------------------------------------------------


def allowed(nq, nk, *, causal=False, window=None, block_mask=None, block_size=None):
    """(nq, nk) bool: which query may attend to which key, without `mask`."""
    i, j = np.arange(nq)[:, None], np.arange(nk)
    distance = j - (i + nk - nq)
    result = np.ones((nq, nk), bool)
    if causal:
        result &= distance <= 0
    if window is not None:
        left, right = window
        result &= left is None or distance >= -left
        result &= right is None or distance <= right
    if block_mask is not None:
        result &= block_mask[i // block_size[0], j // block_size[1]]
    return result


def scores(q, k, *, scale=None, bias=None, mask=None, **options):
    """(..., Hq, Nq, Nk) scaled, biased scores, -inf where masked."""
    group = q.shape[-3] // k.shape[-3]
    k = np.repeat(k.astype(float), group, axis=-3)
    s = (1 / np.sqrt(q.shape[-1]) if scale is None else scale) * (
        q.astype(float) @ np.swapaxes(k, -1, -2)
    )
    if bias is not None:
        s = s + bias.astype(float)
    keep = allowed(*s.shape[-2:], **options)
    if mask is not None:
        keep = keep & mask
    return np.where(keep, s, -np.inf)


def weights(s):
    """Softmax over keys, 0 in rows without keys, and the log-sum-exp."""
    if not s.shape[-1]:
        return s.copy(), np.full(s.shape[:-1], -np.inf)
    top = s.max(axis=-1, keepdims=True)
    p = np.exp(s - np.where(np.isneginf(top), 0, top))
    total = p.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = np.where(np.isneginf(top), 0, top) + np.log(total)
    return p / np.where(total == 0, 1, total), lse[..., 0]


def attention(q, k, v, *, return_lse=True, **options):
    """out, lse."""
    p, lse = weights(scores(q, k, **options))
    return p @ np.repeat(v.astype(float), q.shape[-3] // k.shape[-3], axis=-3), lse


def attention_vjp(grad_out, q, k, v, out=None, lse=None, *, grad_lse=None, **options):
    """grad_q, grad_k, grad_v and, with a bias, grad_bias, from q, k and v alone: through the
    Jacobian of the softmax, row by row."""
    group = q.shape[-3] // k.shape[-3]
    scale = options.get("scale")
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    p, _ = weights(scores(q, k, **options))
    keys, values = (np.repeat(x.astype(float), group, axis=-3) for x in (k, v))
    grad_out, q = grad_out.astype(float), q.astype(float)
    grad_p = grad_out @ np.swapaxes(values, -1, -2)
    grad_s = p * grad_p - p * (p * grad_p).sum(axis=-1, keepdims=True)
    if grad_lse is not None:
        grad_s = grad_s + p * grad_lse[..., None]

    def summed(x):  # over the query heads of a key head
        return x.reshape(*k.shape[:-2], group, *x.shape[-2:]).sum(axis=-3)

    grads = [
        scale * grad_s @ keys,
        summed(scale * np.swapaxes(grad_s, -1, -2) @ q),
        summed(np.swapaxes(p, -1, -2) @ grad_out),
    ]
    if options.get("bias") is not None:
        bias = options["bias"]
        shape = (1,) * (grad_s.ndim - bias.ndim) + bias.shape
        broadcast = tuple(axis for axis, n in enumerate(shape) if n == 1)
        grads.append(grad_s.sum(axis=broadcast, keepdims=True).reshape(bias.shape))
    return tuple(grads)


def attention_varlen(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    *,
    bias=None,
    mask=None,
    block_mask=None,
    block_size=None,
    **options,
):
    """out (total, heads, dv), lse (total, heads): sequence by sequence."""
    outs, lses = [np.zeros((0, q.shape[1], v.shape[2]))], [np.zeros((0, q.shape[1]))]
    for s in range(len(cu_seqlens_q) - 1):
        (a, b), (c, d) = cu_seqlens_q[s : s + 2], cu_seqlens_k[s : s + 2]
        own = {}
        for name, array in (("bias", bias), ("mask", mask)):
            if array is not None:
                shape = (
                    len(cu_seqlens_q) - 1,
                    q.shape[1],
                    int(np.diff(cu_seqlens_q).max()),
                    int(np.diff(cu_seqlens_k).max()),
                )
                own[name] = np.broadcast_to(array, shape)[s, :, : b - a, : d - c]
        if block_mask is not None:
            own |= {"block_mask": block_mask, "block_size": block_size}
        out, lse = attention(
            q[a:b].swapaxes(0, 1), k[c:d].swapaxes(0, 1), v[c:d].swapaxes(0, 1), **own, **options
        )
        outs.append(out.swapaxes(0, 1))
        lses.append(lse.swapaxes(0, 1))
    return np.concatenate(outs), np.concatenate(lses)


def merge_attention(outs, lses):
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
    out, lse = attention(**call)
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
    bias = rng.standard_normal((call["q"].shape[1], 1, nk)).astype(dtype)
    out, lse = attention(**call, bias=bias)
    grad_out = rng.standard_normal(out.shape).astype(dtype)
    return {
        "grad_out": grad_out,
        "q": call["q"],
        "k": call["k"],
        "v": call["v"],
        "out": out.astype(dtype),
        "lse": lse.astype(dtype),
        "causal": True,
        "bias": bias,
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
        reference=attention,
        bound=BOUND,
        data=DATA,
        real=_real,
        peer=("torch scaled_dot_product_attention", _torch),
        sizes=lambda rng, dtype, n: _call(rng, dtype, n, n, d=8, dv=8),
    ),
    "attention_vjp": Example(
        arguments=lambda rng, dtype: _vjp_call(rng, dtype, 37, 50),
        arrays=("grad_out", "q", "k", "v", "out", "lse", "bias"),
        reference=attention_vjp,
        result=lambda grads: [grad for grad in grads if grad is not None],
        bound=VJP_BOUND,
        data=DATA,
        real=_real_vjp,
        sizes=lambda rng, dtype, n: _vjp_call(rng, dtype, n, n + 1, d=8, dv=8),
    ),
    "attention_varlen": Example(
        arguments=lambda rng, dtype: _varlen_call(rng, dtype, (5, 0, 31, 2), (9, 3, 30, 0)),
        arrays=("q", "k", "v"),
        reference=attention_varlen,
        bound=BOUND,
        sizes=lambda rng, dtype, n: _varlen_call(rng, dtype, (n // 3, n - n // 3), (n, 2)),
    ),
    "merge_attention": Example(
        arguments=lambda rng, dtype: _merge_call(rng, dtype, 33),
        arrays=("outs", "lses"),
        reference=merge_attention,
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
