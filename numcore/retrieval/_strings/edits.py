"""Edit distances of all pairs: short patterns side by side, long ones in blocks of 64 letters."""

import numpy as np

from .kernels import LANES, edit_distance_blocks, edit_distance_lanes

MAX_LETTERS = 1 << 14  # of an alphabet for this: LANES masks for each letter
WORD = 64
WORKSPACE = 1 << 26  # bytes for the carries of long strings


def edit_distances(xp, left, right, swaps):
    distance = xp.empty((len(left.offsets) - 1, len(right.offsets) - 1), np.int32)
    if not distance.size:
        return distance
    # many short patterns advance side by side along one text
    short = [int((xp.diff(side.offsets) <= WORD).sum()) for side in (left, right)]
    patterns, texts, steps = (
        (left, right, (distance.shape[1], 1))
        if short[0] > short[1]
        else (right, left, (1, distance.shape[1]))
    )
    lengths = xp.diff(patterns.offsets)
    alphabet, letters = xp.unique(texts.codes, return_inverse=True)
    letters = letters.astype(np.uint32)
    lanes = (lengths <= WORD) & (len(alphabet) <= MAX_LETTERS)
    columns = _grouped(xp, lengths, xp.nonzero(lanes)[0])
    if len(columns):
        edit_distance_lanes(
            alphabet,
            *patterns,
            columns,
            letters,
            texts.offsets,
            distance.reshape(-1),
            *steps,
            int(swaps),
        )
    others = xp.nonzero(~lanes)[0]
    batch = max(1, WORKSPACE // max(len(letters), 1))
    for first in range(0, len(others), batch):
        these = others[first : first + batch]
        carry = xp.empty((len(these), len(letters)), np.uint8)
        edit_distance_blocks(
            alphabet,
            *patterns,
            these,
            letters,
            texts.offsets,
            carry,
            distance.reshape(-1),
            *steps,
            int(swaps),
        )
    return distance


def _grouped(xp, lengths, chosen):
    """(g, LANES) array of the chosen strings' numbers by length, and -1 for what is missing in the
    last row."""
    columns = xp.full(-(-len(chosen) // LANES) * LANES, -1, np.int64)
    columns[: len(chosen)] = chosen[xp.argsort(lengths[chosen], kind="stable")]
    return columns.reshape(-1, LANES)
