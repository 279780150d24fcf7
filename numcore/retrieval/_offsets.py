"""Ragged lists: values one after the other, and the offsets where each list begins."""

import numpy as np


def check_offsets(name, offsets, n):
    """Offsets must ascend from 0 to n."""
    low, high = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (-1, -1)
    if low != 0 or high != n or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"{name} must ascend from 0 to {n} (got {low} … {high})")


def checked_offsets(name, offsets, n):
    """Offsets as int64, which must ascend from 0 to n."""
    check_offsets(name, offsets, n)
    return offsets.astype(np.int64)


def list_of_entry(xp, offsets):
    """The list of each value."""
    return xp.searchsorted(offsets, xp.arange(int(offsets[-1])), side="right") - 1
