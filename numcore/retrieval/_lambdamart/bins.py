"""Bins of features, and an order of rows that depends on what they hold alone."""

import numpy as np

from .kernels import MISSING


def bin_edges(xp, column, most):
    """Upper ends of all bins but the last, between the quantiles of a column, or between all its
    values where they are few."""
    values = xp.sort(column[~xp.isnan(column)])
    starts = xp.nonzero(values[1:] > values[:-1])[0] + 1  # where a new value begins
    if len(starts) >= most:
        wanted = values[xp.arange(1, most) * len(values) // most]
        starts = xp.unique(xp.searchsorted(values, wanted, side="left"))
        starts = starts[starts > 0]
    low, high = values[starts - 1], values[starts]
    middle = low / 2 + high / 2
    return xp.where((low <= middle) & (middle < high), middle, low)


def binned(xp, x, edges):
    """Bins of all entries, (F, n)."""
    codes = xp.empty((x.shape[1], len(x)), np.uint8)
    for f, ends in enumerate(edges):
        codes[f] = xp.where(
            xp.isnan(x[:, f]), MISSING, xp.searchsorted(ends, x[:, f], side="left")
        ).astype(np.uint8)
    return codes


def row_order(xp, codes, lists):
    """Rows of each list in an order that depends on what they hold, not on where they stand: that
    of a hash of their bins."""
    hashed = xp.full(codes.shape[1], 0xCBF29CE484222325, np.uint64)
    for row in codes:
        hashed = (hashed ^ row.astype(np.uint64)) * np.uint64(0x100000001B3)
        hashed ^= hashed >> np.uint64(29)
    query = xp.searchsorted(lists.offsets[1:], xp.arange(codes.shape[1]), side="right")
    order = xp.argsort(lists.relevance, kind="stable")
    order = order[xp.argsort(hashed[order], kind="stable")]
    return order[xp.argsort(query[order], kind="stable")]
