"""Kernels of convolution: products on the register tile, whose operands are gathered from the
images panel by panel.

Rows of the output are counted through the batch; a strip is a few rows with all their places. Of
every pixel row that a strip reads, a line is kept in scratch memory, padded with zeros, its columns
sorted by their residues modulo the step, so that what one tap reads at successive places lies side
by side. Panels are copied from lines in pieces as wide as the tile; what a piece writes too much,
the next one overwrites. The tables of the geometry are made in :mod:`numcore.nn._convolution`;
`channels` and `rows` say by their lengths how many channels and rows are gathered at once.
"""

from ..kernel import kernel
from ..simd import WIDEST, copy_tile_row, gemm_rows, tile_cols, tile_rows

ITEM_ROW, ITEM_ROW_END, ITEM_GROUP, ITEM_OUT, ITEM_OUT_END, ITEM_IN, ITEM_IN_END, ITEM_PART = range(
    8
)
ITEM_COLUMNS = 8
TOP, STEP, COLUMN_STEP, GROUP_CHANNELS = range(4)
GEOMETRY = 4
OUTPUTS, WEIGHT_OUTPUTS = 128, 64  # output channels of an item at most
CONSTANTS = {name: value for name, value in globals().items() if name.startswith("ITEM_")} | {
    "TOP": TOP,
    "STEP": STEP,
    "COLUMN_STEP": COLUMN_STEP,
    "GROUP_CHANNELS": GROUP_CHANNELS,
    "GEOMETRY": GEOMETRY,
    "OUTPUTS": OUTPUTS,
    "WEIGHT_OUTPUTS": WEIGHT_OUTPUTS,
    "WIDEST": WIDEST,
}

TABLES = (
    "in int64 items[count, ITEM_COLUMNS]; in int64 geometry[GEOMETRY]; in int64 channels[chunk]; "
    "in int64 rows[strip]; in int64 lines[down]; "
    "in int64 reads[right]; in int64 columns[wide]; "
)
SCRATCH = (
    "scratch T planes[chunk*strip*down*wide+WIDEST]; scratch int64 slots[strip*down]; "
    "scratch int64 piece_at[WIDEST]; "
    "scratch int64 piece_row[WIDEST]; scratch int64 piece_from[WIDEST]; scratch int64 bases[WIDEST]"
)


@kernel(
    "in T x[n, c, h, w]; in T weights[size]; in T bias[biases]; "
    + TABLES
    + "out T y[n, o, high, broad]; "
    "scratch T panel[WIDEST*(chunk*down*right+1)]; "
    "scratch T sums[OUTPUTS*(strip*broad+WIDEST)]; " + SCRATCH,
    constants=CONSTANTS,
    split="count",
    gpu="block",
    threads=256,
    grain="1",
    twin_tolerance={"float32": 1e-5, "float64": 1e-13},
)
def convolve(
    x,
    weights,
    bias,
    items,
    geometry,
    channels,
    rows,
    lines,
    reads,
    columns,
    y,
    panel,
    sums,
    planes,
    slots,
    piece_at,
    piece_row,
    piece_from,
    bases,
    start,
    stop,
):
    """y[n, o, i, j] = bias[o] + Σ weights[o, c, tap] x[n, c, pixel (i, j, tap)] for the rows and
    output channels of every item."""
    width, height, down, right = tile_cols(panel[0]), tile_rows(panel[0]), lines.size, reads.size
    high, broad, wide = y.shape[2], y.shape[3], columns.size
    taps, inputs = down * right, geometry[GROUP_CHANNELS]
    for n in range(start, stop):
        first, end = items[n, ITEM_ROW], items[n, ITEM_ROW_END]
        out, outputs = items[n, ITEM_OUT], items[n, ITEM_OUT_END] - items[n, ITEM_OUT]
        places = (end - first) * broad
        pitch, computed = (places + width - 1) // width * width, in_tiles(outputs, height)
        count = assign_slots(geometry, lines, first, end, high, slots)
        for channel in range(0, inputs, max(channels.size, 1)):
            held = min(channels.size, inputs - channel)
            source, step = items[n, ITEM_GROUP] * inputs + channel, count * wide
            pack_lines(
                x, source, held, geometry, lines, columns, first, end, high, slots, planes, step, 1
            )
            a, a_row, depth = (out * inputs + channel) * taps, inputs * taps, held * taps
            for p in range(0, places, width):
                pieces = cut_places(
                    p, min(p + width, places), broad, piece_at, piece_row, piece_from
                )
                target = 0
                for c in range(held):
                    for t in range(down):
                        for q in range(pieces):
                            slot = c * count + slots[piece_row[q] * down + t]
                            bases[q] = slot * wide + piece_from[q]
                        for s in range(right):
                            for q in range(pieces):
                                copy_tile_row(
                                    planes, bases[q] + reads[s], panel, target + piece_at[q]
                                )
                            target += width
                gemm_rows(
                    computed, weights, a, a_row, 1, panel, 0, width, sums, p, pitch, depth, channel
                )
        for i in range(first, end):
            image, row = i // high, i % high
            for e in range(outputs):
                added = bias[out + e] if bias.size else y.dtype.type(0)
                target, source = y[image, out + e, row], e * pitch + (i - first) * broad
                for j in range(broad):
                    target[j] = sums[source + j] + added


@kernel(
    "in T x[n, c, h, w]; in T grad_y[n, o, high, broad]; "
    + TABLES
    + "out T grads[parts, o, inputs, taps]; "
    "scratch T panel[WIDEST*(strip*broad+1)]; scratch T packed[WEIGHT_OUTPUTS*strip*broad]; "
    "scratch T sums[WEIGHT_OUTPUTS*(chunk*down*right+WIDEST)]; " + SCRATCH,
    constants=CONSTANTS,
    split="count",
    gpu="block",
    threads=256,
    grain="1",
    twin_tolerance={"float32": 2e-5, "float64": 1e-13},
)
def convolve_weights(
    x,
    grad_y,
    items,
    geometry,
    channels,
    rows,
    lines,
    reads,
    columns,
    grads,
    panel,
    packed,
    sums,
    planes,
    slots,
    piece_at,
    piece_row,
    piece_from,
    bases,
    start,
    stop,
):
    """grads[part, o, c, tap] = Σ grad_y[n, o, i, j] x[n, c, pixel (i, j, tap)] over the rows of
    every item, strip by strip.

    Lines hold their channels side by side, and the columns of a panel are pairs (tap, channel).
    """
    width, height, down, right = tile_cols(panel[0]), tile_rows(panel[0]), lines.size, reads.size
    taps, high, broad, wide = down * right, grad_y.shape[2], grad_y.shape[3], columns.size
    for n in range(start, stop):
        out, outputs = items[n, ITEM_OUT], items[n, ITEM_OUT_END] - items[n, ITEM_OUT]
        channel, held = items[n, ITEM_IN], items[n, ITEM_IN_END] - items[n, ITEM_IN]
        entries, computed = taps * held, in_tiles(outputs, height)
        pitch = (entries + width - 1) // width * width
        source = items[n, ITEM_GROUP] * grads.shape[2] + channel
        for j in range(outputs * pitch):
            sums[j] = 0
        for first in range(items[n, ITEM_ROW], items[n, ITEM_ROW_END], max(rows.size, 1)):
            end = min(first + rows.size, items[n, ITEM_ROW_END])
            places = (end - first) * broad
            assign_slots(geometry, lines, first, end, high, slots)
            pack_lines(
                x, source, held, geometry, lines, columns, first, end, high, slots, planes, 1, held
            )
            for i in range(first, end):
                image, row = i // high, i % high
                for e in range(outputs):
                    at = e * places + (i - first) * broad
                    copy(grad_y[image, out + e, row], 0, packed, at, broad)
            for p in range(0, entries, width):
                pieces = cut_entries(
                    p, min(p + width, entries), held, reads, piece_at, piece_row, piece_from
                )
                target = 0
                for i in range(end - first):
                    for q in range(pieces):
                        bases[q] = slots[i * down + piece_row[q]] * wide * held + piece_from[q]
                    for j in range(broad):
                        for q in range(pieces):
                            copy_tile_row(planes, bases[q] + j * held, panel, target + piece_at[q])
                        target += width
                gemm_rows(
                    computed, packed, 0, places, 1, panel, 0, width, sums, p, pitch, places, 1
                )
        for e in range(outputs):
            target = grads[items[n, ITEM_PART], out + e]
            for c in range(held):
                for t in range(taps):
                    target[channel + c, t] = sums[e * pitch + t * held + c]


def in_tiles(count, height):
    """Rows of a product that are computed: the last tile reaches beyond the end, unless one row is
    left over."""
    return count if count % height == 1 else (count + height - 1) // height * height


def copy(source, at, target, to, count):
    for j in range(count):
        target[to + j] = source[at + j]


def assign_slots(geometry, lines, first, end, high, slots):
    """slots[row, tap] = the line that holds the pixel row which this tap reads; how many lines
    there are."""
    count, down = 0, lines.size
    for i in range(end - first):
        for t in range(down):
            slot = -1
            if i > 0 and (first + i) % high > 0:  # a row before it in the same image
                for s in range(down):
                    if lines[s] == lines[t] + geometry[STEP]:
                        slot = slots[(i - 1) * down + s]
            if slot < 0:
                slot, count = count, count + 1
            slots[i * down + t] = slot
    return count


def pack_lines(
    x, channel, held, geometry, lines, columns, first, end, high, slots, planes, step, column_step
):
    """planes[c * step + (slot * wide + q) * column_step] = column columns[q] of the slot's
    pixel row, 0 outside the image."""
    packed, wide, height = -1, columns.size, x.shape[2]
    for i in range(first, end):
        image, top = i // high, geometry[TOP] + i % high * geometry[STEP]
        for t in range(lines.size):
            slot = slots[(i - first) * lines.size + t]
            if slot > packed:
                packed, row = slot, top + lines[t]
                for c in range(held):
                    target = c * step + slot * wide * column_step
                    if 0 <= row < height:
                        source, stride = x[image, channel + c, row], geometry[COLUMN_STEP]
                        pack_line(source, stride, columns, planes, target, column_step)
                    else:
                        fill_zeros(planes, target, column_step, 0, wide)


def pack_line(source, step, columns, planes, target, column_step):
    if step == 1:  # the columns follow each other
        low = min(max(0, -columns[0]), columns.size)
        stop = max(low, min(columns.size, source.size - columns[0]))
        fill_zeros(planes, target, column_step, 0, low)
        if column_step == 1:
            copy(source, columns[0] + low, planes, target + low, stop - low)
        else:
            for q in range(low, stop):
                planes[target + q * column_step] = source[columns[0] + q]
        fill_zeros(planes, target, column_step, stop, columns.size)
    else:
        for q in range(columns.size):
            inside = 0 <= columns[q] < source.size
            planes[target + q * column_step] = (
                source[columns[q]] if inside else source.dtype.type(0)
            )


def fill_zeros(planes, target, column_step, low, high):
    for q in range(low, high):
        planes[target + q * column_step] = 0


def cut_places(low, high, broad, piece_at, piece_row, piece_from):
    """Places [low, high) of a strip as pieces of single rows: where in the panel, which row, from
    which place on; how many."""
    count, at = 0, low
    while at < high:
        piece_at[count], piece_row[count], piece_from[count] = at - low, at // broad, at % broad
        at, count = (at // broad + 1) * broad, count + 1
    return count


def cut_entries(low, high, held, reads, piece_at, piece_row, piece_from):
    """Entries [low, high) of (tap, channel) as pieces that lie side by side in a line: where in the
    panel, which row tap, from where on."""
    count, at, right = 0, low, reads.size
    while at < high:
        tap = at // held
        column = tap % right
        piece_at[count], piece_row[count] = at - low, tap // right
        piece_from[count] = reads[column] * held + at % held
        while column + 1 < right and reads[column + 1] == reads[column] + 1:
            tap, column = tap + 1, column + 1
        at, count = (tap + 1) * held, count + 1
    return count
