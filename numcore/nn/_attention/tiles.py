"""Tiles of scores and of their gradients: the functions that the kernels of attention call."""

import math
from typing import Any, NamedTuple

import numpy as np

from ...simd import exp2, gemm_rows, panel_exp2, panel_max, tile_cols, tile_rows

QUERIES = 192  # of an item of the forward pass at most: a multiple of the columns of every tile
KEYS = 256  # in a block of keys
# in a tile of the backward pass; the keys are a multiple of the columns of every tile
PAIR_QUERIES, PAIR_KEYS = 64, 144

# On a GPU a block of threads has a tile of scores, 16 rows to a warp, and tiles of the rows of its
# factors, a chunk of their columns at a time.
GPU_ROWS, GPU_COL_BYTES = 64, 128  # a row of scores is 32 numbers, or 16 of float64
GPU_THREADS = 32 * GPU_ROWS // 16
GPU_CHUNK = 64
GPU_PAD = 4  # numbers behind each row, which keep the lanes of a fragment in different banks

LOWEST = -3e38  # where maxima start: -inf minus -inf is NaN
LOG2E, LN2 = math.log2(math.e), math.log(2)


class Rules(NamedTuple):
    """What makes scores of products, for one head: `settings`, the bias and the mask with the
    entries where those of the head begin, the block mask, and the position of query 0."""

    settings: Any
    bias: Any
    bias_at: Any
    mask: Any
    mask_at: Any
    blocks: Any
    shift: Any


class Given(NamedTuple):
    """What the backward pass reads of queries: rows of all heads."""

    q: Any
    grad_out: Any
    lse: Any
    delta: Any


class Packed(NamedTuple):
    """Panels of a tile of keys and values, of d and dv numbers each."""

    k: Any
    v: Any
    d: Any
    dv: Any


class Pair(NamedTuple):
    """A tile of queries and a tile of keys of a head, whose query 0 is row `head`."""

    head: Any
    low: Any
    high: Any
    key_low: Any
    key_high: Any


class Tile(NamedTuple):
    """`rows` queries from `position` on, counted from the first of `count` keys."""

    position: Any
    rows: Any
    count: Any


# --- forward --------------------------------------------------------------------------------------


def fill(x, start, stop, value):
    for i in range(start, stop):
        x[i] = x.dtype.type(value)


def pack_panels(x, first, step, rows, width, factor, panels):
    """panels[p][e][c] = factor * x[first + (p * width + c) * step, e]; zero beyond the last row."""
    d = x.shape[1]
    if rows % width:
        fill(panels, rows // width * d * width, (rows // width + 1) * d * width, 0.0)
    for i in range(rows):
        row, at = x[first + i * step], i // width * d * width + i % width
        for e in range(d):
            panels[at + e * width] = row[e] * factor


def unpack_panels(panels, rows, width, factor, x, first):
    """x[first + p * width + c, e] = factor * panels[p][e][c]"""
    d = x.shape[1]
    for i in range(rows):
        at = i // width * d * width + i % width
        for e in range(d):
            x[first + i, e] = panels[at + e * width] * factor


def pad_rows(x, first, rows, padded_rows, wide, factor, out):
    """out[j][e] = factor * x[first + j, e], zero beyond the rows and columns of x."""
    fill(out, 0, padded_rows * wide, 0.0)
    for j in range(rows):
        row, line = x[first + j], out[j * wide : j * wide + x.shape[1]]
        for e in range(line.size):
            line[e] = row[e] * factor


def reach(settings, position, rows, low, high):
    """The keys of [low, high) that the window leaves to any of `rows` queries from `position`
    on."""
    return max(low, position - settings.left), min(high, position + rows + settings.right)


def next_block(blocks, settings, index, rows, low, high):
    """(end, live, partial) of the next block of keys: it ends where the block mask changes between
    live and dead."""
    if blocks.size == 0:
        return min(low + KEYS, high), True, False
    size, end, is_live, is_partial = settings.block_k, low, False, False
    first, last = index // settings.block_q, (index + rows - 1) // settings.block_q
    while end < high and end - low < KEYS:
        live, dead = look_up(blocks, first, last, end // size)
        if end == low:
            is_live = live
        elif live != is_live:
            break
        is_partial |= dead
        end = min((end // size + 1) * size, high)
    return (min(end, low + KEYS) if is_live else end), is_live, is_partial


def look_up(blocks, row, last, column):
    """Whether any, and whether not all, of the rows of the block mask are live in a column."""
    live = dead = False
    for r in range(row, last + 1):
        live, dead = live or blocks[r, column] != 0, dead or blocks[r, column] == 0
    return live, dead


def score_panel(rules, item, k, partial, p, here, there, d, queries, scores):
    """scores[j][c] of keys [here, there) and the queries of panel p, -inf where masked."""
    real, width, settings = queries.dtype.type, tile_cols(queries[0]), rules.settings
    stride = d * settings.k_step
    at, count = item.key * d + here * stride, there - here
    packed = p * d * width
    gemm_rows(count, k, at, stride, 1, queries, packed, width, scores, 0, width, d, 0)
    index, cols = p * width, min(width, item.rows - p * width)
    if rules.bias.size:
        factor, row, col = real(LOG2E), settings.bias_row, settings.bias_col
        for c in range(cols):
            start = rules.bias_at + (index + c) * row + here * col
            for j in range(count):
                scores[j * width + c] += factor * rules.bias[start + j * col]
    if rules.mask.size:
        row, col = settings.mask_row, settings.mask_col
        for c in range(cols):
            start = rules.mask_at + (index + c) * row + here * col
            for j in range(count):  # infinities to compare with, as a branch would be mispredicted
                cap = (real(rules.mask[start + j * col]) - real(0.5)) * real(np.inf)
                scores[j * width + c] = (
                    cap if cap < scores[j * width + c] else scores[j * width + c]
                )
    if partial:
        for c in range(cols):
            block_row = (item.index + index + c) // settings.block_q
            for j in range(count):
                if rules.blocks[block_row, (here + j) // settings.block_k] == 0:
                    scores[j * width + c] = real(-np.inf)
    diagonal = item.position + index - here  # of the first query among these keys
    for j in range(max(0, diagonal + settings.right + 1), count):
        for c in range(min(width, j - settings.right - diagonal)):
            scores[j * width + c] = real(-np.inf)
    for j in range(min(count, diagonal + cols - 1 - settings.left)):
        for c in range(max(0, j + settings.left - diagonal + 1), cols):
            scores[j * width + c] = real(-np.inf)


def absorb_panel(item, settings, v, p, here, there, dv, scores, sums, tops, totals, older):
    """Turn scores to weights, and add them to the state of panel p: its maxima, its totals, its
    sums of weighted values."""
    width = tile_cols(scores[0])
    columns, acc = p * width, p * width * dv
    for c in range(width):
        older[c] = tops[columns + c]
    panel_max(scores, 0, there - here, tops, columns)
    grew = False
    for c in range(width):
        grew |= tops[columns + c] != older[c]
    if grew:
        for c in range(width):
            older[c] = exp2(older[c] - tops[columns + c])
            totals[columns + c] *= older[c]
        for e in range(dv):
            for c in range(width):
                sums[acc + e * width + c] *= older[c]
    panel_exp2(scores, 0, there - here, tops, columns, totals, columns)
    stride = dv * settings.k_step
    at, depth = item.key * dv + here * stride, there - here
    gemm_rows(dv, v, at, 1, stride, scores, 0, width, sums, acc, width, depth, 1)


# --- backward -------------------------------------------------------------------------------------


def cut(low, high, most, block):
    """Where a tile from `low` on ends: after `most`, and with a block of the mask unless these are
    tiny."""
    end = min(low + most, high)
    return min(end, (low // block + 1) * block) if block >= 32 else end


def reached_by(settings, shift, key_low, key_high, low, high):
    """The queries of [low, high) whose windows hold any of the keys."""
    first, last = key_low - shift - settings.right, key_high - shift + settings.left
    return max(low, first), min(high, last)


def live_panels(settings, tile, r, height, width):
    """The panels [first, last) of keys that the window leaves to any of `height` queries from r
    on."""
    rows = min(height, tile.rows - r)
    low, high = reach(settings, tile.position + r, rows, 0, tile.count)
    return low // width, max((high + width - 1) // width, low // width)


def rows_of_panel(settings, tile, x, p):
    """The rows [first, last) that see panel p: whole groups of rows, as tiles of products of
    numbers like those of x come."""
    width, height = tile_cols(x[0]), tile_rows(x[0])
    low, high = p * width, min((p + 1) * width, tile.count)
    first, last = reached_by(settings, tile.position, low, high, 0, tile.rows)
    first, last = first // height * height, (last + height - 1) // height * height
    return (first, min(last, tile.rows)) if first < last else (0, 0)


def pair_slopes(rules, given, packed, pair, weights, slopes):
    """Fill weights = P and slopes = dS, (queries, PAIR_KEYS), for a pair of tiles; False if the
    block mask leaves it out."""
    is_live, is_partial = live_blocks(rules, pair)
    if not is_live:
        return False
    real, width, height = weights.dtype.type, tile_cols(given.q[0]), tile_rows(given.q[0])
    rows, count, head = pair.high - pair.low, pair.key_high - pair.key_low, pair.head + pair.low
    settings, position = rules.settings, pair.low + rules.shift - pair.key_low
    tile = Tile(position, rows, count)
    for p in range((count + width - 1) // width):
        first, last = rows_of_panel(settings, tile, weights, p)
        multiply_panel(given.q, head, packed.d, packed.k, p, first, last, weights)
        multiply_panel(given.grad_out, head, packed.dv, packed.v, p, first, last, slopes)
    for r in range(rows):
        first, last = live_panels(settings, tile, r // height * height, height, width)
        begin, start = first * width, r * PAIR_KEYS + first * width
        stop = r * PAIR_KEYS + last * width
        row, end = weights[start:stop], min(last * width, count) - begin
        apply_rules(rules, pair.low + r, pair.key_low + begin, row, end, is_partial)
        left, right = reach(settings, position + r, 1, begin, begin + end)
        fill(row, 0, left - begin, -np.inf)
        fill(row, max(right - begin, 0), row.size, -np.inf)
        lse = given.lse[head + r]
        top = lse * real(LOG2E) if lse != real(-np.inf) else real(np.inf)
        weigh(row, slopes[start:stop], top, given.delta[head + r])
    return True


def live_blocks(rules, pair):
    """Whether any, and whether not all, of the blocks of the block mask are live in a pair of
    tiles."""
    is_live, is_partial, settings = rules.blocks.size == 0, False, rules.settings
    if not is_live:
        block_q, block_k = settings.block_q, settings.block_k
        first, last = pair.low // block_q, (pair.high - 1) // block_q
        for column in range(pair.key_low // block_k, (pair.key_high - 1) // block_k + 1):
            live, dead = look_up(rules.blocks, first, last, column)
            is_live, is_partial = is_live or live, is_partial or dead
    return is_live, is_partial


def apply_rules(rules, query, key, row, count, is_partial):
    """Add the bias to scores of a query with `count` keys, -inf where the masks say so."""
    real, settings = row.dtype.type, rules.settings
    if rules.bias.size:
        at = rules.bias_at + query * settings.bias_row
        add_bias(row, count, rules.bias, at, key, settings.bias_col)
    if rules.mask.size:
        col = settings.mask_col
        base = rules.mask_at + query * settings.mask_row + key * col
        for c in range(count):
            row[c] = row[c] if rules.mask[base + c * col] != 0 else real(-np.inf)
    if is_partial:
        block_row = query // settings.block_q
        for c in range(count):
            if rules.blocks[block_row, (key + c) // settings.block_k] == 0:
                row[c] = real(-np.inf)


def weigh(weights, slopes, top, mean):
    """From scores and dP = dO·V of a row to P and dS."""
    for c in range(weights.size):
        weights[c] = exp2(weights[c] - top)
        slopes[c] = weights[c] * (slopes[c] - mean)


def add_bias(row, count, bias, at, key, col):
    factor = row.dtype.type(LOG2E)
    if col == 1:
        part = bias[at + key : at + key + count]
        for c in range(count):
            row[c] += factor * part[c]
    else:
        for c in range(count):
            row[c] += factor * bias[at + (key + c) * col]


def multiply_panel(x, row, d, packed, p, first, last, out):
    """out[r, panel p] = x[row + r] · packed panel p, for rows first to last."""
    width = tile_cols(x[0])
    at, to = (row + first) * d, first * PAIR_KEYS + p * width
    gemm_rows(last - first, x, at, d, 1, packed, p * d * width, width, out, to, PAIR_KEYS, d, 0)


def add_transposed(x, row, d, factors, tile, settings, sums):
    """sums[p][e][c] += sum over r of x[row + r][e] * factors[r, p * width + c]."""
    width = tile_cols(x[0])
    for p in range((tile.count + width - 1) // width):
        first, last = rows_of_panel(settings, tile, x, p)
        if first < last:
            at, b, to = (row + first) * d, first * PAIR_KEYS + p * width, p * d * width
            depth = last - first
            gemm_rows(d, x, at, 1, d, factors, b, PAIR_KEYS, sums, to, width, depth, 1)


def multiply_rows(factors, x, wide, tile, settings, out):
    """out[r] = sum over keys of factors[r, key] * x[key], rows of `wide` numbers."""
    width, height = tile_cols(x[0]), tile_rows(x[0])
    for e in range(0, wide, width):
        for r in range(0, tile.rows, height):
            first, last = live_panels(settings, tile, r, height, width)
            a, b = r * PAIR_KEYS + first * width, first * width * wide + e
            depth = (last - first) * width
            here, to = min(height, tile.rows - r), r * wide + e
            gemm_rows(here, factors, a, PAIR_KEYS, 1, x, b, wide, out, to, wide, depth, 0)


def add_slopes(slopes, settings, tile, grad_bias, at, row, col):
    """grad_bias[at + r * row + c * col] += slopes[r, c], sums over keys taken first."""
    for r in range(tile.rows):
        begin, end = reach(settings, tile.position + r, 1, 0, tile.count)
        if col == 0:
            total = slopes.dtype.type(0)
            for c in range(begin, end):
                total += slopes[r * PAIR_KEYS + c]
            grad_bias[at + r * row] += total
        else:
            for c in range(begin, end):
                grad_bias[at + r * row + c * col] += slopes[r * PAIR_KEYS + c]
