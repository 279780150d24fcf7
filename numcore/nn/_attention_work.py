"""The work of attention as tables for its kernels: which queries meet which keys, under which
options."""

import functools
import math
import operator

import numpy as np

from ..checks import checked_bool
from ..dispatch import float_dtype
from . import _attention_kernels as kernels

__all__ = ["Task"]

EVERYTHING = 1 << 40  # a window without end
DEAL = 8  # chunks that a few threads share evenly
LEAST_PART = 256  # queries that make up for a part's own sums of key gradients
GPU_ROWS = 64  # queries of a block of threads


class Task:
    """Checked options, and the tables that tell the kernels which queries meet which keys."""

    def __init__(
        self,
        xp,
        q,
        scale,
        causal,
        window,
        bias,
        mask,
        block_mask,
        block_size,
        full,
        q_step=1,
        k_step=1,
    ):
        self.xp, self.dtype, self.scale = xp, q.dtype, _checked_scale(scale, q.shape[-1])
        self.left, self.right = (
            (EVERYTHING, EVERYTHING)
            if window is None
            else _checked_pair("window", window, 0, EVERYTHING)
        )
        if checked_bool("causal", causal):
            self.right = 0
        if full[-2] == 1:  # the only query stands beside the last key
            self.right = EVERYTHING
        self.block_q, block_k = _checked_blocks(block_mask, block_size, *full[-2:])
        self.bias, self.mask, self.blocks = _nothing(xp, self.dtype)
        self.bias_at = self.mask_at = None
        self.q_step, self.full, self.bias_shape = q_step, full, None if bias is None else bias.shape
        bias_strides = mask_strides = (0, 0, 0)
        if bias is not None:
            float_dtype(q=q, bias=bias)
            self.bias, self.bias_at, bias_strides = _broadcast("bias", xp, bias, full)
        if mask is not None:
            if mask.dtype != np.bool_:
                raise TypeError(f"mask must have dtype bool (got {mask.dtype})")
            self.mask, self.mask_at, mask_strides = _broadcast(
                "mask", xp, mask.view(np.uint8), full
            )
        if block_mask is not None:
            self.blocks = xp.ascontiguousarray(block_mask).view(np.uint8)
        self.bias_row, self.mask_row = bias_strides[1], mask_strides[1]
        options = (
            q_step,
            k_step,
            self.left,
            self.right,
            self.block_q,
            block_k,
            *bias_strides,
            *mask_strides,
        )
        self.options = xp.asarray(_options(options))

    @property
    def is_open(self):
        """Whether every query attends to every key, without a bias."""
        return (
            self.left == self.right == EVERYTHING
            and self.bias_at is None
            and self.mask_at is None
            and not self.blocks.size
        )

    def forward(self, q_first, lengths_q, k_first, lengths_k, q, k, v, out, lse):
        """Fill out and lse; the first four name the rows of every head, as arrays, or as integers
        where heads are all alike."""
        most, unit = (
            (kernels.QUERIES, 48 if self.dtype == np.float32 else 24)
            if self.xp is np
            else (GPU_ROWS, GPU_ROWS)
        )
        period = self.block_q if self.block_q >= 16 else self.block_q * (48 // self.block_q)
        fixed = most, unit, period, self.left, self.right
        if isinstance(q_first, int) and self.bias_at is None and self.mask_at is None:
            items = _even_items(q_first, lengths_q, k_first, lengths_k, *fixed)
        else:
            if isinstance(q_first, int):
                q_first, lengths_q, k_first, lengths_k = _even_heads(
                    q_first, lengths_q, k_first, lengths_k
                )
            items = _items(
                q_first,
                lengths_q,
                k_first,
                lengths_k,
                *fixed,
                self.bias_at,
                self.bias_row,
                self.mask_at,
                self.mask_row,
                self.q_step,
            )
        contiguous, rows = self.xp.ascontiguousarray, lse.size
        kernels.attention_forward(
            self.xp.asarray(items),
            self.options,
            contiguous(q).reshape(rows, q.shape[-1]),
            contiguous(k).reshape(-1),
            contiguous(v).reshape(-1),
            self.bias,
            self.mask,
            self.blocks,
            self.scale,
            out.reshape(rows, v.shape[-1]),
            lse.reshape(-1),
        )

    def backward(self, heads, group, q, k, v, grad_out, out, lse, grad_lse):
        """The gradients of q, k, v and, if there is one, of the bias."""
        xp, contiguous = self.xp, self.xp.ascontiguousarray
        nq, nk, d, dv, kv_heads = q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], heads // group
        if not heads * nq * nk:
            grads = xp.zeros_like(q), xp.zeros_like(k), xp.zeros_like(v)
            return (
                grads
                if self.bias_shape is None
                else (*grads, xp.zeros(self.bias_shape, self.dtype))
            )
        rows = heads * nq
        grad_out, lse = contiguous(grad_out).reshape(rows, dv), contiguous(lse).reshape(rows)
        delta = xp.einsum("ie,ie->i", grad_out, out.reshape(rows, dv))
        if grad_lse is not None:
            delta = delta - grad_lse.reshape(rows)
        q, k, v = contiguous(q), contiguous(k), contiguous(v)
        inputs = (
            q.reshape(-1),
            k.reshape(kv_heads * nk, d),
            v.reshape(kv_heads * nk, dv),
            grad_out.reshape(-1),
            lse,
            delta,
            self.bias,
            self.mask,
            self.blocks,
            self.scale,
        )
        items, parts = self._pairs(heads, group, nq, nk)
        grad_q = xp.empty(q.shape, self.dtype)
        grad_k, grad_v = (
            xp.empty((parts, *k.shape), self.dtype),
            xp.empty((parts, *v.shape), self.dtype),
        )
        kernels.attention_backward(
            xp.asarray(items),
            self.options,
            *inputs,
            grad_q.reshape(rows, d),
            grad_k.reshape(parts * kv_heads * nk, d),
            grad_v.reshape(parts * kv_heads * nk, dv),
        )
        grads = grad_q, *(grad[0] if parts == 1 else grad.sum(axis=0) for grad in (grad_k, grad_v))
        if self.bias_shape is None:
            return grads
        grad_bias = xp.zeros(self.bias_shape, self.dtype)
        row, col = (1,) * (2 - grad_bias.ndim) + self.bias_shape[-2:]
        strides = col if row > 1 else 0, 1 if col > 1 else 0
        items, table = self._bias_items(heads, group, nq, nk, row * col, *strides)
        kernels.attention_bias_backward(
            xp.asarray(items),
            self.options,
            xp.asarray(table),
            *inputs,
            *strides,
            grad_bias.reshape(-1),
        )
        return *grads, grad_bias

    def _pairs(self, heads, group, nq, nk):
        """The items of the backward pass, and how many partial sums of grad_k and grad_v they
        leave."""
        bias_at, mask_at = (
            np.zeros(heads, np.int64) if at is None else at for at in (self.bias_at, self.mask_at)
        )
        key_head, head = np.arange(heads // group), np.arange(heads)

        def table(*columns):
            return np.stack(
                [column.reshape(-1) for column in np.broadcast_arrays(*columns)], axis=1
            )

        if self.xp is not np:  # tiles of keys and tiles of queries, each a block of threads
            s, low = key_head[:, None], np.arange(0, nk, GPU_ROWS)
            keys = table(
                s * group * nq,
                group,
                nq,
                0,
                nq,
                nk - nq,
                s * nk,
                low,
                np.minimum(low + GPU_ROWS, nk),
                bias_at[::group, None],
                mask_at[::group, None],
                s * nk,
                0,
            )
            h, low = head[:, None], np.arange(0, nq, GPU_ROWS)
            queries = table(
                h * nq,
                1,
                nq,
                low,
                np.minimum(low + GPU_ROWS, nq),
                nk - nq,
                h // group * nk,
                0,
                nk,
                bias_at[:, None],
                mask_at[:, None],
                -1,
                1,
            )
            return np.concatenate((keys, queries)), 1
        parts = min(
            DEAL // math.gcd(DEAL, len(key_head)) if len(key_head) < DEAL else 1,
            -(-nq // LEAST_PART),
        )
        position = np.arange(nq) + nk - nq
        seen = np.maximum(
            np.minimum(position + min(self.right, nk) + 1, nk)
            - np.maximum(position - self.left, 0),
            0,
        )
        shares = np.cumsum(seen + 1)
        cuts = np.concatenate(
            ([0], np.searchsorted(shares, shares[-1] * np.arange(1, parts) / parts), [nq])
        )
        s, p = key_head[:, None], np.arange(parts)
        return table(
            s * group * nq,
            group,
            nq,
            cuts[:-1],
            cuts[1:],
            nk - nq,
            s * nk,
            0,
            nk,
            bias_at[::group, None],
            mask_at[::group, None],
            (p * len(key_head) + s) * nk,
            1,
        ), parts

    def _bias_items(self, heads, group, nq, nk, size, row, col):
        """Rectangles of grad_bias, and a table of the heads of each of its slices, which share
        it."""
        shape = (1,) * (len(self.full) - len(self.bias_shape)) + self.bias_shape
        slice_of = _offsets(shape[:-2], self.full[:-2])[0]
        order = np.argsort(slice_of, kind="stable")
        mask_at = np.zeros(heads, np.int64) if self.mask_at is None else self.mask_at
        table = np.stack(
            [order * nq, order // group * nk, self.bias_at[order], mask_at[order]], axis=1
        )
        ends = np.searchsorted(slice_of[order], np.arange(math.prod(shape[:-2]) + 1))
        most = (
            (GPU_ROWS, 4 * GPU_ROWS)
            if self.xp is not np
            else (8 * kernels.PAIR_QUERIES, 4 * kernels.PAIR_KEYS)
        )
        low_q, low_k = (
            np.arange(0, nq, most[0] if row else nq),
            np.arange(0, nk, most[1] if col else nk),
        )
        u, i, j = np.arange(math.prod(shape[:-2]))[:, None, None], low_q[:, None], low_k
        high_q, high_k = (
            np.minimum(i + most[0], nq) if row else nq,
            np.minimum(j + most[1], nk) if col else nk,
        )
        columns = np.broadcast_arrays(ends[u], ends[u + 1], i, high_q, j, high_k, nk - nq, u * size)
        return np.stack([column.reshape(-1) for column in columns], axis=1), table


def _nothing(xp, dtype):
    """No bias, no mask, no block mask."""
    return (
        _NOTHING[dtype]
        if xp is np
        else (xp.empty(0, dtype), xp.empty(0, np.uint8), xp.empty((0, 0), np.uint8))
    )


_NOTHING = {
    np.dtype(name): (np.empty(0, name), np.empty(0, np.uint8), np.empty((0, 0), np.uint8))
    for name in ("float32", "float64")
}


@functools.lru_cache(maxsize=64)
def _options(values):
    options = np.array(values)
    options.flags.writeable = False
    return options


def _offsets(shape, full):
    """Offsets, in elements, into a C-contiguous array of `shape` broadcast to `full`, flattened;
    and its strides, 0 where broadcast."""
    strides = [0 if n == 1 else math.prod(shape[axis + 1 :]) for axis, n in enumerate(shape)]
    at = np.zeros((), np.int64)
    for stride, n in zip(strides, full, strict=True):
        at = at[..., None] + stride * np.arange(n)
    return at.reshape(-1), strides


def _broadcast(name, xp, array, full):
    """An array that broadcasts to `full` as a flat one: it, where each head begins in it, and the
    strides of head, query and key."""
    shape = (1,) * (len(full) - array.ndim) + array.shape
    if len(shape) != len(full) or any(n not in (1, m) for n, m in zip(shape, full, strict=True)):
        raise ValueError(f"{name} must broadcast to {full} (got shape {array.shape})")
    # What was broadcast before it came here is not written out.
    array = array[
        tuple(
            slice(0, 1) if n > 1 and stride == 0 else slice(None)
            for n, stride in zip(array.shape, array.strides, strict=True)
        )
    ]
    shape = (1,) * (len(full) - array.ndim) + array.shape
    at, _ = _offsets((*shape[:-2], 1, 1), (*full[:-2], 1, 1))
    strides = [0 if n == 1 else math.prod(shape[axis + 1 :]) for axis, n in enumerate(shape)]
    return xp.ascontiguousarray(array).reshape(-1), at * math.prod(shape[-2:]), ([0, *strides])[-3:]


def _even_heads(heads, nq, group, nk):
    """The rows of heads that lie behind each other."""
    head = np.arange(heads)
    return head * nq, np.full(heads, nq), head // group * nk, np.full(heads, nk)


@functools.lru_cache(maxsize=64)
def _even_items(heads, nq, group, nk, most, unit, period, left, right):
    items = _items(*_even_heads(heads, nq, group, nk), most, unit, period, left, right)
    items.flags.writeable = False
    return items


def _items(
    q_first,
    lengths_q,
    k_first,
    lengths_k,
    most,
    unit,
    period,
    left,
    right,
    bias_at=None,
    bias_row=0,
    mask_at=None,
    mask_row=0,
    q_step=1,
):
    """The items of the forward pass: pieces of at most `most` queries that straddle no period, the
    longest ones first."""
    period = np.maximum(np.minimum(period, lengths_q), 1)
    units, pieces = -(-period // unit), -(-period // most)
    even = DEAL // math.gcd(DEAL, len(q_first))  # a number of pieces that threads can share evenly
    pieces = np.where(period < lengths_q, pieces, np.minimum(-(-pieces // even) * even, units))
    counts = pieces * -(-lengths_q // period)
    head = np.repeat(np.arange(len(q_first)), counts)
    piece = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    start, piece = piece // pieces[head] * period[head], piece % pieces[head]
    low, high = (
        start + np.minimum(p * units[head] // pieces[head] * unit, period[head])
        for p in (piece, piece + 1)
    )
    high = np.minimum(high, lengths_q[head])
    position = low + lengths_k[head] - lengths_q[head]
    rows = high - low
    work = rows * (
        np.minimum(position + rows + right, lengths_k[head]) - np.maximum(position - left, 0)
    )
    zero = np.zeros_like(low)
    items = np.stack(
        [
            q_first[head] + low * q_step,
            rows,
            low,
            position,
            k_first[head],
            lengths_k[head],
            zero if bias_at is None else bias_at[head] + low * bias_row,
            zero if mask_at is None else mask_at[head] + low * mask_row,
        ],
        axis=1,
    )
    order = np.argsort(-work, kind="stable")
    return items[order[rows[order] > 0]]


# --- checks of options ----------------------------------------------------------------------------


def _checked_scale(scale, d):
    if scale is None:
        return 1 / math.sqrt(d)
    if isinstance(scale, (bool, np.bool_)) or not isinstance(
        scale, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"scale must be a number (got {scale!r})")
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite (got scale={scale})")
    return float(scale)


def _checked_pair(name, pair, least, nothing):
    """Two integers >= least, or None where `nothing` stands for it."""
    try:
        first, second = pair
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair of integers (got {pair!r})") from None
    numbers = []
    for value in (first, second):
        if value is None and nothing is not None:
            numbers.append(nothing)
            continue
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be a pair of integers (got {pair!r})") from None
        if value < least:
            raise ValueError(f"{name} must have entries >= {least} (got {name}={pair!r})")
        numbers.append(min(value, EVERYTHING))
    return numbers


def _checked_blocks(block_mask, block_size, nq, nk):
    if block_mask is None:
        if block_size is not None:
            raise ValueError(
                f"block_size must be given with block_mask (got block_size={block_size!r} alone)"
            )
        return EVERYTHING, EVERYTHING
    if block_size is None:
        raise ValueError("block_mask must be given with block_size (got block_size=None)")
    block_q, block_k = _checked_pair("block_size", block_size, 1, None)
    if block_mask.dtype != np.bool_:
        raise TypeError(f"block_mask must have dtype bool (got {block_mask.dtype})")
    shape = -(-nq // block_q), -(-nk // block_k)
    if block_mask.shape != shape:
        raise ValueError(
            f"block_mask must have shape {shape} for block_size={(block_q, block_k)} (got "
            f"{block_mask.shape})"
        )
    return block_q, block_k
