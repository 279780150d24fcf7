"""Products of block-diagonal matrices with rows, and sums of outer products by blocks.

Panels hold vectors side by side, as many as the register tile has columns, so that blocks are read
as they lie. Interleaved blocks, neighbors in memory, go through the panels GROUP at a time.
"""

from ...kernel import kernel
from ...simd import WIDEST, gemm_rows, tile_cols

GROUP = 16  # blocks of a panel
ROWS = 128  # of y and x whose outer products are summed before the next are packed


@kernel(
    "in T x[b, n]; in T w[g, i, j]; out T y[b, m]; int64 interleaved; int64 transposed; "
    "scratch T inside[WIDEST*GROUP*(i+j)]; scratch T outside[WIDEST*GROUP*(i+j)]",
    constants={"GROUP": GROUP, "WIDEST": WIDEST},
    split="b",
    gpu="block",
    grain="24",
)
def block_product(x, w, y, interleaved, transposed, inside, outside, start, stop):
    """y = blockdiag(w) x for each row of x; see routines._blocks for the order of the entries."""
    count, rows, depth, width = w.shape[0], w.shape[1], w.shape[2], tile_cols(x[0, 0])
    w_row, w_depth = depth, 1
    if transposed:
        rows, depth, w_row, w_depth = depth, rows, 1, depth
    first = start
    while first < stop:
        vectors = min(width, stop - first)
        for low in range(0, count, GROUP):
            group = min(GROUP, count - low)
            _gather(x, first, vectors, inside, width, low, group, depth, count, interleaved)
            for g in range(group):
                at, panel, to = (low + g) * rows * depth, g * depth * width, g * rows * width
                gemm_rows(
                    rows, w, at, w_row, w_depth, inside, panel, width, outside, to, width, depth, 0
                )
            _scatter(outside, y, first, vectors, width, low, group, rows, count, interleaved)
        first += width


def _gather(x, first, vectors, panel, width, low, group, size, count, interleaved):
    """panel[g, j, v] = entry j of block low + g of row first + v of x, and 0 for rows that are not
    there."""
    for v in range(vectors, width):
        for e in range(group * size):
            panel[e * width + v] = 0
    for v in range(vectors):
        row = x[first + v]
        if interleaved:
            for j in range(size):
                part = row[j * count + low : j * count + low + group]
                for g in range(group):
                    panel[(g * size + j) * width + v] = part[g]
        else:
            part = row[low * size : (low + group) * size]
            for e in range(group * size):
                panel[e * width + v] = part[e]


def _scatter(panel, y, first, vectors, width, low, group, size, count, interleaved):
    """The reverse of _gather."""
    for v in range(vectors):
        row = y[first + v]
        if interleaved:
            for i in range(size):
                part = row[i * count + low : i * count + low + group]
                for g in range(group):
                    part[g] = panel[(g * size + i) * width + v]
        else:
            part = row[low * size : (low + group) * size]
            for e in range(group * size):
                part[e] = panel[e * width + v]


@kernel(
    "in T y[b, m]; in T x[b, n]; out T w[g, i, j]; int64 interleaved; "
    "scratch T rows[GROUP*ROWS*i]; scratch T cols[GROUP*ROWS*(j+WIDEST)]; "
    "scratch T sums[GROUP*i*(j+WIDEST)]",
    constants={"GROUP": GROUP, "ROWS": ROWS, "WIDEST": WIDEST},
    split="g",
    gpu="block",
    grain="1",
)
def block_outer(y, x, w, interleaved, rows, cols, sums, start, stop):
    """w[g] = Σ_b y[b, block g] x[b, block g]ᵀ, in the order of b; blocks are taken GROUP at a
    time, rows of y and x ROWS at a time."""
    batch, count, height, wide = x.shape[0], w.shape[0], w.shape[1], w.shape[2]
    width = tile_cols(x[0, 0])
    pitch = (wide + width - 1) // width * width
    for low in range(start, stop, GROUP):
        group = min(GROUP, stop - low)
        for first in range(0, batch, ROWS):
            depth = min(ROWS, batch - first)
            _pack(y, first, depth, rows, height, height, low, group, count, interleaved)
            _pack(x, first, depth, cols, wide, pitch, low, group, count, interleaved)
            for g in range(group):
                for strip in range(pitch // width):
                    at, b = g * ROWS * height, g * ROWS * pitch + strip * width
                    to = g * height * pitch + strip * width
                    gemm_rows(
                        height, rows, at, 1, height, cols, b, pitch, sums, to, pitch, depth, first
                    )
        for g in range(group):
            for i in range(height):
                for j in range(wide):
                    w[low + g, i, j] = sums[(g * height + i) * pitch + j]


def _pack(x, first, depth, panel, size, pitch, low, group, count, interleaved):
    """panel[g, v, j] = entry j of block low + g of row first + v of x, and 0 beyond the block."""
    for v in range(depth):
        row = x[first + v]
        for g in range(group):
            target = panel[(g * ROWS + v) * pitch : (g * ROWS + v + 1) * pitch]
            if not interleaved:
                part = row[(low + g) * size : (low + g + 1) * size]
                for j in range(size):
                    target[j] = part[j]
            for j in range(size, pitch):
                target[j] = 0
        if interleaved:
            for j in range(size):
                part = row[j * count + low : j * count + low + group]
                for g in range(group):
                    panel[(g * ROWS + v) * pitch + j] = part[g]
