"""The options of attention as its kernels know them: which keys a query may attend to, and what is
added to their scores."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...dispatch import namespace_of

EVERYTHING = 1 << 40  # a window or a block without end


class Options(NamedTuple):
    """What all routines of attention share, as their callers gave it."""

    scale: Any
    causal: Any
    bias: Any
    mask: Any
    block_mask: Any
    block_size: Any
    window: Any


class Entries(NamedTuple):
    """A bias or a mask that broadcasts to the scores of all heads.

    Attributes
    ----------
    values : array
        All entries, flat; empty if there are none.
    first : array of int64 or None
        Where the entries of each head begin.
    head, row, col : int
        The strides of head, query and key, 0 where broadcast.
    """

    values: Any
    first: Any = None
    head: int = 0
    row: int = 0
    col: int = 0

    def first_of(self, n_heads):
        """Where the entries of each of the heads begin; zeros if there are none."""
        return np.zeros(n_heads, np.int64) if self.first is None else self.first


class Scores(NamedTuple):
    """How scores come from queries and keys: scale · q kᵀ + bias, -inf where masked.

    Attributes
    ----------
    scale : float
    left, right : int
        Query i attends to the keys from i + Nk - Nq - left to i + Nk - Nq + right.
    block_q : int
        Queries of a row of `blocks`.
    bias, mask : Entries
    blocks : array of uint8
        The block mask; empty if there is none.
    table : (12,) array of int64
        The argument `options` of the kernels.
    """

    scale: float
    left: int
    right: int
    block_q: int
    bias: Entries
    mask: Entries
    blocks: Any
    table: Any

    @property
    def has_entries(self):
        """Whether there is a bias or a mask."""
        return self.bias.first is not None or self.mask.first is not None

    @property
    def is_open(self):
        """Whether every query attends to every key, without a bias."""
        return (
            self.left == self.right == EVERYTHING and not self.has_entries and not self.blocks.size
        )


def scores_of(q, shape, options, steps=(1, 1)):
    """The `Scores` of queries q; all scores would have `shape`, (..., Hq, Nq, Nk), and `steps` are
    the rows of q and of k from one query and one key of a head to the next."""
    xp, nq, nk = namespace_of(q), *shape[-2:]
    scale = 1 / math.sqrt(q.shape[-1]) if options.scale is None else options.scale
    left, right = _window(options, nq)
    blocks = _block_size(options, nq, nk)
    if xp is np and options.bias is None and options.mask is None and blocks is None:
        return _plain(q.dtype, scale, left, right, steps)
    nothing = xp.empty(0, np.uint8)
    bias, mask, block_mask = Entries(xp.empty(0, q.dtype)), Entries(nothing), nothing.reshape(0, 0)
    if options.bias is not None:
        bias = _entries("bias", xp, options.bias, shape)
    if options.mask is not None:
        mask = _entries("mask", xp, options.mask.view(np.uint8), shape)
    if options.block_mask is not None:
        block_mask = xp.ascontiguousarray(options.block_mask).view(np.uint8)
    block_q, block_k = blocks or (EVERYTHING, EVERYTHING)
    table = _table((*steps, left, right, block_q, block_k, *bias[2:], *mask[2:]))
    return Scores(scale, left, right, block_q, bias, mask, block_mask, xp.asarray(table))


@functools.lru_cache(maxsize=64)
def _plain(dtype, scale, left, right, steps):
    """Scores of NumPy arrays without a bias and masks."""
    bias, mask, blocks = np.empty(0, dtype), np.empty(0, np.uint8), np.empty((0, 0), np.uint8)
    table = _table((*steps, left, right, EVERYTHING, EVERYTHING, *(0,) * 6))
    return Scores(scale, left, right, EVERYTHING, Entries(bias), Entries(mask), blocks, table)


@functools.lru_cache(maxsize=64)
def _table(numbers):
    table = np.array(numbers)
    table.flags.writeable = False
    return table


def _window(options, nq):
    """How many keys a query sees to either side of its own."""
    left = right = EVERYTHING
    if options.window is not None:
        left, right = (EVERYTHING if n is None else min(n, EVERYTHING) for n in options.window)
    if options.causal:
        right = 0
    return left, EVERYTHING if nq == 1 else right  # the only query is aligned with the last key


def _block_size(options, nq, nk):
    """(Br, Bc) of the block mask, None if there is none."""
    block_mask, block_size = options.block_mask, options.block_size
    if block_mask is None:
        if block_size is not None:
            raise ValueError(
                f"block_size must be given with block_mask (got block_size={block_size!r} alone)"
            )
        return None
    if block_size is None:
        raise ValueError("block_mask must be given with block_size (got block_size=None)")
    block_q, block_k = block_size
    shape = -(-nq // block_q), -(-nk // block_k)
    if block_mask.shape != shape:
        raise ValueError(
            f"block_mask must have shape {shape} with block_size = {(block_q, block_k)} (got "
            f"{block_mask.shape})"
        )
    return min(block_q, EVERYTHING), min(block_k, EVERYTHING)


def _entries(name, xp, array, full):
    """The `Entries` of an array that broadcasts to `full`."""
    shape = (1,) * (len(full) - array.ndim) + array.shape
    if len(shape) != len(full) or any(n not in (1, m) for n, m in zip(shape, full, strict=True)):
        raise ValueError(f"{name} must broadcast to {full} (got shape {array.shape})")
    # What was broadcast before it came here is not written out.
    kept = (
        slice(0, 1) if n > 1 and stride == 0 else slice(None)
        for n, stride in zip(array.shape, array.strides, strict=True)
    )
    array = array[tuple(kept)]
    shape = (1,) * (len(full) - array.ndim) + array.shape
    first = offsets(shape[:-2], full[:-2]) * math.prod(shape[-2:])
    flat = xp.ascontiguousarray(array).reshape(-1)
    return Entries(flat, first, *[0, *_strides(shape)][-3:])


def offsets(shape, full):
    """Offsets, in elements, into a C-contiguous array of `shape` broadcast to `full`, flattened."""
    at = np.zeros((), np.int64)
    for stride, n in zip(_strides(shape), full, strict=True):
        at = at[..., None] + stride * np.arange(n)
    return at.reshape(-1)


def _strides(shape):
    """Those of a C-contiguous array, in elements; 0 where broadcast."""
    return [0 if n == 1 else math.prod(shape[axis + 1 :]) for axis, n in enumerate(shape)]
