"""Kernels of sets of vectors: cells and sums of codes, exact similarities, looked-up products."""

import numpy as np

from ...kernel import kernel
from ...simd import (
    LANES,
    WIDE,
    WIDEST_PANEL,
    add_scaled,
    float_bits,
    gemm_tile,
    max_tile,
    panel_cols,
    panel_rows,
    popcount,
    signed_sums,
    tile_cols,
    tile_rows,
    transpose8,
)

PANEL = 48  # vectors that lie side by side for products with hyperplanes: columns of register tiles
KEPT = 1024  # vectors of a set whose coordinates stay packed from one repetition to the next
ROWS = 128  # codes that pass by the tables together


# --- codes ----------------------------------------------------------------------------------------


@kernel(
    "in T points[m, d]; in T normals[h, d]; out int32 cells[r, m]; int64 bits; "
    "scratch T columns[PANEL*d]; scratch T products[PANEL*h]",
    constants=("PANEL",),
    split="m",
)
def gray_cells(points, normals, cells, bits, columns, products, start, stop):
    """The cell of each vector in each repetition: the place in Gray's order of the bits [product
    with a normal > 0], the first being the highest; -1 for vectors that are not finite. Repetition
    r has the normals r bits to (r + 1) bits; those that fill up h are zero."""
    rows, cols, d, p = tile_rows(products[0]), tile_cols(products[0]), points.shape[1], start
    while p < stop:
        count = min(PANEL, stop - p)
        pack_points(points, p, count, PANEL, columns, 0)
        column = 0
        while column < count:
            h = 0
            while h < len(normals):
                to = h * PANEL + column
                gemm_tile(normals, h * d, d, 1, columns, column, PANEL, products, to, PANEL, d, 0)
                h += rows
            column += cols
        for r in range(cells.shape[0]):
            read_gray(products, r * bits, bits, cells[r, p : p + count])
        for i in range(count):
            if not all_finite(points[p + i]):
                cells[:, p + i] = -1
        p += PANEL


def read_gray(products, first, bits, cells):
    cells[:] = 0
    for b in range(first, first + bits):
        at = np.uintp(PANEL * b)
        for i in range(np.uintp(len(cells))):
            cells[i] = np.int32(2 * cells[i] + (np.int32(products[at + i] > 0) ^ (cells[i] & 1)))


def all_finite(row):
    """By the bits of the numbers: the largest of integers is found in vectors."""
    largest, exponent = float_bits(row[0] * 0), float_bits(row.dtype.type(np.inf))
    for e in range(len(row)):
        largest = max(largest, float_bits(abs(row[e])))
    return largest < exponent


def pack_points(points, p, count, width, columns, begin):
    """The coordinates of points p to p + count side by side, those of one place in a row of `width`
    numbers; the last are zeros."""
    d, i = points.shape[1], 0
    while i < count:
        e = 0
        while i + 8 <= count and e + 8 <= d:
            transpose8(points, (p + i) * d + e, d, columns, begin + e * width + i, width)
            e += 8
        while e < d:
            at = np.uintp(begin + e * width + i)
            for j in range(8):
                columns[at + np.uintp(j)] = (
                    points[np.uintp(p + i + j), np.uintp(e)] if i + j < count else 0
                )
            e += 1
        i += 8
    for e in range(d):
        columns[begin + e * width + i : begin + (e + 1) * width] = 0


@kernel(
    "in T points[m, d]; in int64 offsets[o]; in int32 cells[r, m]; in int32 starts[r, v]; "
    "in int32 order[r, d]; in T signs[r, d];"
    " out T codes[t, b, w]; int64 sketched; int64 mean; int64 fill; scratch int64 firsts[b]; "
    "scratch int64 counts[b]; scratch T columns[KEPT*d]; scratch T sums[WIDE*w]; "
    "scratch T short[m+WIDE, w]",
    constants=("KEPT", "WIDE"),
    split="t",
    gpu="block",
)
def encode_cells(
    points,
    offsets,
    cells,
    starts,
    order,
    signs,
    codes,
    sketched,
    mean,
    fill,
    firsts,
    counts,
    columns,
    sums,
    short,
    start,
    stop,
):
    """codes[s R + r] of set s in repetition r: for each cell the sum or mean of the set's points in
    it, shortened where `sketched`: number j of a short one is the sum of signs[r, e] point[order[r,
    e]] for e from starts[r, j] to starts[r, j + 1]."""
    current = -1
    for t in range(start, stop):
        s, r = t // cells.shape[0], t % cells.shape[0]
        first, count = offsets[s], offsets[s + 1] - offsets[s]
        mine = cells[r, first : first + count]
        if sketched:
            shorten_points(
                points,
                first,
                count,
                starts[r],
                order,
                signs,
                r,
                s != current or count > KEPT,
                columns,
                sums,
                short,
            )
            sum_cells(short, 0, mine, codes[t], mean, fill, firsts, counts)
            current = s
        else:
            sum_cells(points, first, mine, codes[t], mean, fill, firsts, counts)


def shorten_points(points, first, count, starts, order, signs, r, fresh, columns, sums, short):
    """short[i] = the count sketch of point first + i, WIDE points at once; their coordinates lie in
    `columns`, old or `fresh`."""
    d, w, i = points.shape[1], short.shape[1], 0
    while i < count:
        begin, some = i % KEPT * d, min(WIDE, count - i)
        if fresh:
            pack_points(points, first + i, some, WIDE, columns, begin)
        for j in range(w):
            place = r * d + starts[j]
            signed_sums(
                sums,
                WIDE * j,
                columns,
                begin,
                order,
                place,
                signs,
                place,
                starts[j + 1] - starts[j],
            )
        unpack_sums(sums, some, short, i)
        i += WIDE


def unpack_sums(sums, some, short, first):
    """Rows of short from columns of WIDE sums; those behind the last point, up to eight, are of no
    use."""
    i, w = 0, short.shape[1]
    while i < some:
        j = 0
        while j + 8 <= w:
            transpose8(sums, WIDE * j + i, WIDE, short, (first + i) * w + j, w)
            j += 8
        while j < w:
            for k in range(8):
                short[np.uintp(first + i + k), np.uintp(j)] = sums[np.uintp(WIDE * j + i + k)]
            j += 1
        i += 8


def sum_cells(rows, at, cells, code, mean, fill, firsts, counts):
    """code[c] = the sum or the mean of the rows of cell c; those of all points lie one after the
    other in rows, from `at` on."""
    w = np.uintp(code.shape[1])
    code[:] = 0
    firsts[:] = len(cells)
    counts[:] = 0
    for p in range(np.uintp(len(cells))):
        cell, row = np.uintp(cells[p]), np.uintp(at) + p
        counts[cell] += 1
        bits = cell ^ (cell >> np.uintp(1))
        firsts[bits] = min(firsts[bits], np.int64(p))
        if w == LANES:
            add_scaled(code, cell * w, code.dtype.type(1), rows, row * w)
        else:
            for j in range(w):
                code[cell, j] += rows[row, j]
    for c in range(np.uintp(len(code))):
        count = counts[c]
        if count == 0 and fill:
            row = np.uintp(at + nearest_point(cells, np.int64(c), firsts))
            for j in range(w):
                code[c, j] = rows[row, j]
        elif mean and count > 1:
            for j in range(w):
                code[c, j] /= count


def nearest_point(cells, cell, firsts):
    """The first point whose cell differs by the fewest bits from an empty one: among those of one
    bit, firsts knows it."""
    bits, best, flipped = cell ^ (cell >> 1), len(cells), 1
    while flipped < len(firsts):
        best = min(best, firsts[bits ^ flipped])
        flipped *= 2
    if best < len(cells):
        return best
    least = np.int32(32)
    for p in range(np.uintp(len(cells))):
        distance = popcount(np.int32(bits ^ (cells[p] ^ (cells[p] >> 1))))
        if distance < least:
            least, best = distance, np.int64(p)
    return best


# --- exact similarities ---------------------------------------------------------------------------


@kernel(
    "in T queries[a, d]; in int64 query_offsets[o]; in T documents[p, d]; "
    "in int64 document_offsets[f]; in int64 candidates[l, c];"
    " out T scores[t]; scratch T packed[d*(a+WIDEST_PANEL)]; "
    "scratch T best[2*WIDEST_PANEL]",
    constants={"WIDEST_PANEL": WIDEST_PANEL},
    split="t",
    gpu="block",
)
def max_sim(
    queries,
    query_offsets,
    documents,
    document_offsets,
    candidates,
    scores,
    packed,
    best,
    start,
    stop,
):
    """scores[q c + i] of query q and document candidates[q % l, i], NaN where a product is not
    finite. The query's vectors are the columns of register tiles."""
    width, current = panel_cols(packed), -1
    for t in range(start, stop):
        q = t // candidates.shape[1]
        first, count = query_offsets[q], query_offsets[q + 1] - query_offsets[q]
        if q != current:
            pack_columns(queries, first, count, packed)
            current = q
        document = candidates[q % candidates.shape[0], t % candidates.shape[1]]
        total, column = 0.0, 0
        while column < count:
            column_maxima(
                documents,
                document_offsets[document],
                document_offsets[document + 1],
                packed,
                column,
                best,
            )
            for j in range(min(width, count - column)):
                total += best[j] + best[width + j]
            column += width
        scores[t] = total


def pack_columns(queries, first, count, packed):
    """Panels (d, width) of the transposed vectors, filled up with zeros."""
    d, width, column = queries.shape[1], panel_cols(packed), 0
    while column < count:
        for e in range(d):
            for j in range(width):
                packed[(column * d) + e * width + j] = (
                    queries[first + column + j, e] if column + j < count else 0
                )
        column += width


def column_maxima(documents, first, last, packed, column, best):
    """best[j] = max over vectors first to last of their product with column + j; the last tile
    overlaps the one before."""
    d, width, height, row = documents.shape[1], panel_cols(packed), panel_rows(), first
    for j in range(width):
        best[j], best[width + j] = -np.inf, 0
    while row < last:
        at = max(min(row, last - height), first)
        max_tile(documents, at * d, d, last - at, packed, column * d, best, 0, d)
        row = at + height


# --- products with quantized vectors --------------------------------------------------------------


@kernel("in T tables[m, c, q]; in uint8 codes[n, m]; out T sums[n, q]", split="n", gpu="warp")
def look_up_sums(tables, codes, sums, start, stop):
    """sums[i, q] = Σ over m of tables[m, codes[i, m], q]. Some rows pass by the table of one m
    after the other: all stays in the cache."""
    groups, size, lanes = tables.shape
    first = start
    while first < stop:
        last = min(first + ROWS, stop)
        for i in range(first, last):
            for q in range(lanes):
                sums[i, q] = 0
        for m in range(groups):
            for i in range(np.uintp(first), np.uintp(last)):
                at = (m * size + codes[i, m]) * lanes
                if lanes == LANES:
                    add_scaled(sums, i * np.uintp(LANES), sums.dtype.type(1), tables, at)
                else:
                    for q in range(lanes):
                        sums[i, q] += tables[m, np.uintp(codes[i, m]), q]
        first = last
