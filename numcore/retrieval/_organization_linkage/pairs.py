"""Pairs of rows of two sides, and the declarations that linking routines share."""

from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, Int64, nonnegative, positive, within

Distance: TypeAlias = Annotated[float, nonnegative]
Matches: TypeAlias = Annotated[float, positive]
Share: TypeAlias = Annotated[float, within(0, 1)]
Measure: TypeAlias = Literal["qgram_jaccard", "osa", "jaro_winkler"]


class LinkedPairs(NamedTuple):
    """Pairs of rows, nearest first: ``left`` and ``right`` are row numbers, ``distance`` their
    distance."""

    left: Int64[Array, "n_pairs"]
    right: Int64[Array, "n_pairs"]
    distance: Float[Array, "n_pairs"]


def sorted_pairs(xp, left, right, distance):
    order = xp.lexsort(
        xp.stack([right.astype(np.float64), left.astype(np.float64), distance.astype(np.float64)])
    )
    return LinkedPairs(left[order].astype(np.int64), right[order].astype(np.int64), distance[order])


def expanded(rows, cols, distance, left_at, right_at):
    """Pairs of different names as pairs of all their occurrences."""
    members = [
        (np.argsort(at, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(at))]))
        for at in (left_at, right_at)
    ]
    for which in (0, 1):
        order, starts = members[which]
        these = (rows, cols)[which]
        repeats = starts[these + 1] - starts[these] if len(these) else np.zeros(0, np.int64)
        expanded = order[places(starts[these], repeats)] if len(these) else these
        rows, cols, distance = (np.repeat(part, repeats) for part in (rows, cols, distance))
        rows, cols = (expanded, cols) if which == 0 else (rows, expanded)
    return rows, cols, distance


def places(starts, counts):
    """start, start + 1, …, start + count - 1 of each start in turn."""
    return np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
