"""Work partitioning of attention: the tables of items that its kernels run over.

An item is a piece of the queries of a head with the keys that they meet.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from . import tiles
from .scores import Entries, offsets
from .tables import PairItem
from .tiles import GPU_ROWS

DEAL = 8  # chunks that a few threads share evenly
MIN_PART = 256  # queries that make up for a part's own sums of key gradients


class Heads(NamedTuple):
    """Heads of equal sizes, one after the other; `group` heads of q share a head of k."""

    count: int
    group: int
    nq: int
    nk: int

    def rows(self):
        head = np.arange(self.count)
        return Rows(
            head * self.nq,
            np.full(self.count, self.nq),
            head // self.group * self.nk,
            np.full(self.count, self.nk),
        )


class Rows(NamedTuple):
    """Heads of any sizes: the first row of each in q and in k, and how many there are."""

    q_first: np.ndarray
    q_length: np.ndarray
    k_first: np.ndarray
    k_length: np.ndarray


class Tile(NamedTuple):
    """Queries of an item: at most `most`, in multiples of `unit`."""

    most: int
    unit: int


GPU_TILE = Tile(GPU_ROWS, GPU_ROWS)


# --- forward --------------------------------------------------------------------------------------


def forward_items(heads, scores, tile, q_step=1):
    """The items of the forward pass, the longest ones first; `heads` are Heads or Rows."""
    few = 48 // scores.block_q if scores.block_q < 16 else 1  # rows of a block mask in an item
    window = scores.left, scores.right, scores.block_q * few
    if isinstance(heads, Heads):
        if not scores.has_entries:
            return _even_items(heads, window, tile)
        heads = heads.rows()
    return _items(heads, _pieces(heads, window, tile), scores.bias, scores.mask, q_step)


@functools.lru_cache(maxsize=64)
def _even_items(heads, window, tile):
    rows = heads.rows()
    items = _items(rows, _pieces(rows, window, tile), Entries(None), Entries(None))
    items.flags.writeable = False
    return items


def _pieces(rows, window, tile):
    """(head, low, high) of pieces of the queries of each head; none goes across a multiple of the
    window's third entry, the queries whose row of the block mask is the same."""
    left, right, period = window
    period = np.maximum(np.minimum(period, rows.q_length), 1)
    units, pieces = -(-period // tile.unit), -(-period // tile.most)
    even = DEAL // math.gcd(DEAL, len(rows.q_first))  # pieces that threads can share evenly
    shared = np.minimum(-(-pieces // even) * even, units)
    pieces = np.where(period < rows.q_length, pieces, shared)
    counts = pieces * -(-rows.q_length // period)
    head = np.repeat(np.arange(len(rows.q_first)), counts)
    piece = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    start, piece = piece // pieces[head] * period[head], piece % pieces[head]
    low, high = (
        start + np.minimum(p * units[head] // pieces[head] * tile.unit, period[head])
        for p in (piece, piece + 1)
    )
    high = np.minimum(high, rows.q_length[head])
    position, keys = low + rows.k_length[head] - rows.q_length[head], rows.k_length[head]
    size = high - low
    cost = size * (np.minimum(position + size + right, keys) - np.maximum(position - left, 0))
    order = np.argsort(-cost, kind="stable")
    order = order[size[order] > 0]
    return head[order], low[order], high[order]


def _items(rows, pieces, bias, mask, q_step=1):
    """The table of pieces, whose rows are those of `tables.Item`."""
    head, low, high = pieces
    zero = np.zeros_like(low)
    columns = (
        rows.q_first[head] + low * q_step,
        high - low,
        low,
        low + rows.k_length[head] - rows.q_length[head],
        rows.k_first[head],
        rows.k_length[head],
        *(zero if e.first is None else e.first[head] + low * e.row for e in (bias, mask)),
    )
    return np.stack(columns, axis=1)


# --- backward -------------------------------------------------------------------------------------


def backward_items(heads, scores, on_gpu):
    """The items of the backward pass, and how many partial sums of grad_k and grad_v they leave."""
    bias_at, mask_at = (e.first_of(heads.count) for e in (scores.bias, scores.mask))
    if on_gpu:
        return _gpu_pairs(heads, bias_at, mask_at), 1
    n_kv, cuts = heads.count // heads.group, _even_cuts(heads, scores)
    parts, s = np.arange(len(cuts) - 1), np.arange(n_kv)[:, None]
    queries, grad_at = (cuts[:-1], cuts[1:]), (parts * n_kv + s) * heads.nk
    keys = 0, heads.nk
    items = _pairs(heads, bias_at, mask_at, heads.group, queries, keys, grad_at, 1)
    return items, len(parts)


def _pairs(heads, bias_at, mask_at, each, queries, keys, grad_at, owns):
    """The table of `tables.PairItem`, `each` heads of q at a time; `owns` where they write the
    gradients of their queries."""
    nq, nk, first = heads.nq, heads.nk, np.arange(0, heads.count, each)[:, None]
    key, bias, mask = first // heads.group * nk, bias_at[::each, None], mask_at[::each, None]
    (low, high), (key_low, key_high) = queries, keys
    columns = PairItem(
        first * nq, each, nq, low, high, nk - nq, key, key_low, key_high, bias, mask, grad_at, owns
    )
    return _table(*columns)


def _table(*columns):
    """Columns of the kernels' tables, broadcast, as an array with a row for each item."""
    return np.stack([column.reshape(-1) for column in np.broadcast_arrays(*columns)], axis=1)


def _even_cuts(heads, scores):
    """Ends of parts of the queries that see about equally many keys."""
    n_kv, nq, nk = heads.count // heads.group, heads.nq, heads.nk
    parts = DEAL // math.gcd(DEAL, n_kv) if n_kv < DEAL else 1
    parts = min(parts, -(-nq // MIN_PART))
    position = np.arange(nq) + nk - nq
    last = np.minimum(position + min(scores.right, nk) + 1, nk)
    seen = np.maximum(last - np.maximum(position - scores.left, 0), 0)
    shares = np.cumsum(seen + 1)
    inner = np.searchsorted(shares, shares[-1] * np.arange(1, parts) / parts)
    return np.concatenate(([0], inner, [nq]))


def _gpu_pairs(heads, bias_at, mask_at):
    """Tiles of keys and tiles of queries, each a block of threads."""
    n_heads, group, nq, nk = heads
    grad_at = np.arange(n_heads // group)[:, None] * nk
    by_key, by_query = _tiles_of(nk), _tiles_of(nq)
    keys = _pairs(heads, bias_at, mask_at, group, (0, nq), by_key, grad_at, 0)
    queries = _pairs(heads, bias_at, mask_at, 1, by_query, (0, nk), -1, 1)
    return np.concatenate((keys, queries))


def _tiles_of(n):
    low = np.arange(0, n, GPU_ROWS)
    return low, np.minimum(low + GPU_ROWS, n)


def bias_items(heads, scores, shape, lead, on_gpu):
    """Rectangles of grad_bias, a table of the heads of each of its slices, which share it, and the
    strides of query and key in a slice.

    `shape` is that of the bias, `lead` that of all heads, (..., Hq).
    """
    n_heads, group, nq, nk = heads
    *slices, row, col = (1,) * (len(lead) + 2 - len(shape)) + shape
    strides = col if row > 1 else 0, 1 if col > 1 else 0
    slice_of = offsets(slices, lead)
    order = np.argsort(slice_of, kind="stable")
    bias_at, mask_at = (e.first_of(n_heads) for e in (scores.bias, scores.mask))
    table = np.stack([order * nq, order // group * nk, bias_at[order], mask_at[order]], axis=1)
    n_slices = math.prod(slices)
    ends = np.searchsorted(slice_of[order], np.arange(n_slices + 1))
    most_q, most_k = (
        (GPU_ROWS, 4 * GPU_ROWS) if on_gpu else (8 * tiles.PAIR_QUERIES, 4 * tiles.PAIR_KEYS)
    )
    most_q, most_k = most_q if strides[0] else nq, most_k if strides[1] else nk
    u = np.arange(n_slices)[:, None, None]
    i, j = np.arange(0, nq, most_q)[:, None], np.arange(0, nk, most_k)
    high_q, high_k = np.minimum(i + most_q, nq), np.minimum(j + most_k, nk)
    items = _table(ends[u], ends[u + 1], i, high_q, j, high_k, nk - nq, u * row * col)
    return items, table, strides
