"""Attention with the whole matrix of scores, in float64, one head after the other."""

import itertools

import numpy as np


def allowed(nq, nk, *, causal=False, window=None, block_mask=None, block_size=None):
    """(nq, nk) bool: which query may attend to which key, without `mask`."""
    result = np.ones((nq, nk), bool)
    for i, j in itertools.product(range(nq), range(nk)):
        distance = j - (i + nk - nq)
        if causal and distance > 0:
            result[i, j] = False
        if window is not None:
            left, right = window
            if left is not None and distance < -left or right is not None and distance > right:
                result[i, j] = False
        if block_mask is not None and not block_mask[i // block_size[0], j // block_size[1]]:
            result[i, j] = False
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


def attention(q, k, v, **options):
    """out, lse."""
    p, lse = weights(scores(q, k, **options))
    return p @ np.repeat(v.astype(float), q.shape[-3] // k.shape[-3], axis=-3), lse


def attention_vjp(grad_out, q, k, v, *, grad_lse=None, **options):
    """grad_q, grad_k, grad_v and, with a bias, grad_bias: through the Jacobian of the softmax, row
    by row."""
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
    q, k, v, ends_q, ends_k, *, bias=None, mask=None, block_mask=None, block_size=None, **options
):
    """out (total, heads, dv), lse (total, heads): sequence by sequence."""
    outs, lses = [np.zeros((0, q.shape[1], v.shape[2]))], [np.zeros((0, q.shape[1]))]
    for s in range(len(ends_q) - 1):
        (a, b), (c, d) = ends_q[s : s + 2], ends_k[s : s + 2]
        own = {}
        for name, array in (("bias", bias), ("mask", mask)):
            if array is not None:
                shape = (
                    len(ends_q) - 1,
                    q.shape[1],
                    int(np.diff(ends_q).max()),
                    int(np.diff(ends_k).max()),
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
