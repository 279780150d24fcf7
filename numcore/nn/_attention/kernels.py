"""Kernels of attention: tiles of scores that stay in the cache, forward and backward.

Work comes as a table of items (see :mod:`.tables`), so that batches, grouped heads, ragged
sequences and block masks are one case. Arrays are rows of all heads: query i of a head is row
``first + i * step``. `options` holds what all items share. Scores are kept in units of log2:
``scale * log2(e) * q·k + log2(e) * bias``, so that weights are powers of two.
"""

import math

import numpy as np

from ...kernel import kernel
from ...simd import WIDEST, tile_cols
from . import tiles
from .tables import COLUMNS, bias_item_of, head_of, item_of, pair_item_of, settings_of
from .tiles import (
    GPU_THREADS,
    KEYS,
    LN2,
    LOG2E,
    LOWEST,
    PAIR_KEYS,
    PAIR_QUERIES,
    QUERIES,
    Given,
    Packed,
    Pair,
    Rules,
    Tile,
    absorb_panel,
    add_slopes,
    add_transposed,
    cut,
    fill,
    multiply_rows,
    next_block,
    pack_panels,
    pad_rows,
    pair_slopes,
    reach,
    reached_by,
    score_panel,
    unpack_panels,
)

# shared with gpu/nn/attention/kernels.cu
GPU_SIZES = {name: value for name, value in vars(tiles).items() if name.startswith("GPU_")}
CONSTANTS = (
    COLUMNS
    | GPU_SIZES
    | {
        "QUERIES": QUERIES,
        "KEYS": KEYS,
        "PAIR_QUERIES": PAIR_QUERIES,
        "PAIR_KEYS": PAIR_KEYS,
        "WIDEST": WIDEST,
        "LOWEST": LOWEST,
        "LOG2E": LOG2E,
        "LN2": LN2,
    }
)
# Shared memory: the tiles of two factors, and each tile of scores that is kept.
FACTORS = "(itemsize*GPU_ROWS+GPU_COL_BYTES)*(GPU_CHUNK+GPU_PAD)"
SCORES = "GPU_ROWS*(GPU_COL_BYTES+itemsize*GPU_PAD)"


@kernel(
    "in int64 items[n, ITEM_COLUMNS]; in int64 options[OPTIONS]; in T q[q_rows, d]; "
    "in T k[k_size]; "
    "in T v[v_size]; in T bias[bias_size]; "
    "in uint8 mask[mask_size]; in uint8 blocks[block_rows, block_cols]; T scale; "
    "out T out[q_rows, dv]; out T lse[q_rows]; "
    "scratch T work[QUERIES*(d+dv+2)+WIDEST*(KEYS+1)]",
    constants=CONSTANTS,
    split="n",
    gpu="block",
    threads=GPU_THREADS,
    shared=f"{FACTORS}+{SCORES}",
    grain="1",
    twin_tolerance={"float32": 1e-5, "float64": 1e-12},
)
def attention_forward(
    items, options, q, k, v, bias, mask, blocks, scale, out, lse, work, start, stop
):
    """out = softmax(scores) v and lse = log sum exp(scores) for the queries of every item,
    streaming blocks of keys.

    Each panel of queries keeps a running maximum m, the sum l of weights 2**(s - m) and acc = sum
    of weights times values, all relative to m: a block of keys that raises m first scales l and acc
    by 2**(m_old - m).
    """
    real, settings = q.dtype.type, settings_of(options)
    width, d, dv = tile_cols(scale), q.shape[1], out.shape[1]
    scores, work = work[: KEYS * WIDEST], work[KEYS * WIDEST :]
    tops, totals = work[:QUERIES], work[QUERIES : 2 * QUERIES]
    older = work[2 * QUERIES : 2 * QUERIES + WIDEST]
    queries = work[2 * QUERIES + WIDEST : 2 * QUERIES + WIDEST + QUERIES * d]
    sums = work[2 * QUERIES + WIDEST + QUERIES * d :]
    for n in range(start, stop):
        item = item_of(items[n])
        shift = item.position - item.index
        rules = Rules(settings, bias, item.bias, mask, item.mask, blocks, shift)
        first, rows, step = item.query, item.rows, settings.q_step
        panels = (rows + width - 1) // width
        pack_panels(q, first, step, rows, width, scale * real(LOG2E), queries)
        fill(tops, 0, panels * width, LOWEST)
        fill(totals, 0, panels * width, 0.0)
        fill(sums, 0, panels * width * dv, 0.0)
        low, high = reach(settings, item.position, rows, 0, item.keys)
        while low < high:
            end, live, partial = next_block(blocks, settings, item.index, rows, low, high)
            if live:
                for p in range(panels):
                    count, position = min(width, rows - p * width), item.position + p * width
                    here, there = reach(settings, position, count, low, end)
                    if here < there:
                        score_panel(rules, item, k, partial, p, here, there, d, queries, scores)
                        absorb_panel(
                            item, settings, v, p, here, there, dv, scores, sums, tops, totals, older
                        )
            low = end
        for i in range(rows):
            at, total = first + i * step, totals[i]
            if total == real(0):  # no key may be attended
                fill(out[at], 0, dv, 0.0)
                lse[at] = real(-np.inf)
            else:
                row, column, inverse = out[at], i // width * dv * width + i % width, real(1) / total
                for e in range(dv):
                    row[e] = sums[column + e * width] * inverse
                lse[at] = tops[i] * real(LN2) + math.log(total)


@kernel(
    "in int64 items[n, PAIR_COLUMNS]; in int64 options[OPTIONS]; in T q[q_size]; "
    "in T k[k_rows, d]; "
    "in T v[k_rows, dv]; "
    "in T grad_out[o_size]; in T lse[q_rows]; in T delta[q_rows]; in T bias[bias_size]; "
    "in uint8 mask[mask_size]; in uint8 blocks[block_rows, block_cols]; T scale; "
    "out T grad_q[q_rows, d]; out T grad_k[g_rows, d]; out T grad_v[g_rows, dv]; "
    "scratch T weights[PAIR_QUERIES*PAIR_KEYS]; scratch T slopes[PAIR_QUERIES*PAIR_KEYS]; "
    "scratch T packed_k[PAIR_KEYS*d]; scratch T packed_v[PAIR_KEYS*dv]; "
    "scratch T rows_k[PAIR_KEYS*(d+WIDEST)]; "
    "scratch T part_q[PAIR_QUERIES*(d+WIDEST)]; "
    "scratch T sums_k[PAIR_KEYS*d]; scratch T sums_v[PAIR_KEYS*dv]",
    constants=CONSTANTS,
    split="n",
    gpu="block",
    threads=GPU_THREADS,
    shared=f"{FACTORS}+2*{SCORES}",
    grain="1",
    twin_tolerance={"float32": 2e-5, "float64": 1e-12},
)
def attention_backward(
    items,
    options,
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    bias,
    mask,
    blocks,
    scale,
    grad_q,
    grad_k,
    grad_v,
    weights,
    slopes,
    packed_k,
    packed_v,
    rows_k,
    part_q,
    sums_k,
    sums_v,
    start,
    stop,
):
    """The gradients of the queries and keys of every item, which no other item writes, from the
    pairs of both.

    With P = exp(scores - lse) and dS = P (dO·V - delta): dV = Pᵀ dO, dK = scale · dSᵀ Q, dQ = scale
    · dS K. An item owns keys (`grad` is the row of its key 0 in grad_k, -1 if it owns none),
    queries (`owns_queries`), or both; then each pair is visited once.
    """
    real, settings = q.dtype.type, settings_of(options)
    width, d, dv = tile_cols(scale), grad_q.shape[1], grad_v.shape[1]
    wide = (d + width - 1) // width * width
    given, packed = Given(q, grad_out, lse, delta), Packed(packed_k, packed_v, d, dv)
    for n in range(start, stop):
        item = pair_item_of(items[n])
        grad_at, owns_queries = item.grad, item.owns_queries != 0
        if owns_queries:
            for h in range(item.heads):
                for i in range(item.low, item.high):
                    fill(grad_q[item.query + h * item.head_rows + i], 0, d, 0.0)
        low = item.key_low
        while low < item.key_high:
            end = cut(low, item.key_high, PAIR_KEYS, settings.block_k)
            count, first = end - low, item.key + low
            panels = (count + width - 1) // width
            pack_panels(k, first, 1, count, width, scale * real(LOG2E), packed_k)
            pack_panels(v, first, 1, count, width, real(1), packed_v)
            pad_rows(k, first, count, panels * width, wide, scale, rows_k)
            fill(sums_k, 0, panels * width * d, 0.0)
            fill(sums_v, 0, panels * width * dv, 0.0)
            begin, finish = reached_by(settings, item.shift, low, end, item.low, item.high)
            for h in range(item.heads):
                i = begin
                while i < finish:
                    until = cut(i, finish, PAIR_QUERIES, settings.block_q)
                    head = item.query + h * item.head_rows
                    bias_at = item.bias + h * settings.bias_head
                    mask_at = item.mask + h * settings.mask_head
                    pair = Pair(head, i, until, low, end)
                    rules = Rules(settings, bias, bias_at, mask, mask_at, blocks, item.shift)
                    if pair_slopes(rules, given, packed, pair, weights, slopes):
                        at, rows = head + i, until - i
                        tile = Tile(i + item.shift - low, rows, count)
                        if grad_at >= 0:
                            add_transposed(grad_out, at, dv, weights, tile, settings, sums_v)
                            add_transposed(q, at, d, slopes, tile, settings, sums_k)
                        if owns_queries:
                            multiply_rows(slopes, rows_k, wide, tile, settings, part_q)
                            for r in range(rows):
                                line, part = grad_q[at + r], part_q[r * wide : r * wide + d]
                                for e in range(line.size):
                                    line[e] += part[e]
                    i = until
            if grad_at >= 0:
                unpack_panels(sums_k, count, width, scale, grad_k, grad_at + low)
                unpack_panels(sums_v, count, width, real(1), grad_v, grad_at + low)
            low = end


@kernel(
    "in int64 items[n, BIAS_COLUMNS]; in int64 options[OPTIONS]; "
    "in int64 heads[h, HEAD_COLUMNS]; in T q[q_size]; "
    "in T k[k_rows, d]; in T v[k_rows, dv]; "
    "in T grad_out[o_size]; in T lse[q_rows]; in T delta[q_rows]; in T bias[bias_size]; "
    "in uint8 mask[mask_size]; "
    "in uint8 blocks[block_rows, block_cols]; T scale; int64 row; int64 col; "
    "inout T grad_bias[grad_size]; "
    "scratch T weights[PAIR_QUERIES*PAIR_KEYS]; scratch T slopes[PAIR_QUERIES*PAIR_KEYS]; "
    "scratch T packed_k[PAIR_KEYS*d]; scratch T packed_v[PAIR_KEYS*dv]",
    constants=CONSTANTS,
    split="n",
    gpu="block",
    threads=GPU_THREADS,
    shared=f"{FACTORS}+{SCORES}",
    grain="1",
    twin_tolerance={"float32": 2e-5, "float64": 1e-12},
)
def attention_bias_backward(
    items,
    options,
    heads,
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    bias,
    mask,
    blocks,
    scale,
    row,
    col,
    grad_bias,
    weights,
    slopes,
    packed_k,
    packed_v,
    start,
    stop,
):
    """grad_bias += dS over the heads, queries and keys of every item, whose entries of grad_bias no
    other item touches."""
    real, settings = lse.dtype.type, settings_of(options)
    width, d, dv = tile_cols(scale), k.shape[1], v.shape[1]
    given, packed = Given(q, grad_out, lse, delta), Packed(packed_k, packed_v, d, dv)
    for n in range(start, stop):
        item = bias_item_of(items[n])
        for h in range(item.head, item.head_end):
            head = head_of(heads[h])
            rules = Rules(settings, bias, head.bias, mask, head.mask, blocks, item.shift)
            low = item.key_low
            while low < item.key_high:
                end = cut(low, item.key_high, PAIR_KEYS, settings.block_k)
                first, count = head.key + low, end - low
                pack_panels(k, first, 1, count, width, scale * real(LOG2E), packed_k)
                pack_panels(v, first, 1, count, width, real(1), packed_v)
                i, finish = reached_by(settings, item.shift, low, end, item.low, item.high)
                while i < finish:
                    until = cut(i, finish, PAIR_QUERIES, settings.block_q)
                    pair = Pair(head.query, i, until, low, end)
                    if pair_slopes(rules, given, packed, pair, weights, slopes):
                        at = item.grad + i * row + low * col
                        tile = Tile(i + item.shift - low, until - i, count)
                        add_slopes(slopes, settings, tile, grad_bias, at, row, col)
                    i = until
                low = end
