"""Which names are compared: those that share trigrams or, for similar names, rare grams."""

import math
from typing import NamedTuple

import numpy as np

from .._strings.edits import edit_distances
from .._strings.grams import counted_grams, numbered_grams
from .._strings.packing import packed
from .kernels import (
    count_candidates,
    count_shared_grams,
    list_candidates,
    near_by_rare_grams,
    pair_common_grams,
    pair_jaro_winkler,
    pair_osa,
)

WORKSPACE = 1 << 24  # bytes for the counters of a batch of names
MAX_SHARED = 2**16 - 1  # to which trigrams are counted
LARGE_TABLE = 1 << 20  # cells of a table of edits from which many are filled at once
SELECTIVE = 0.4  # a similarity from which few pairs of names have a rare gram in common


class Candidates(NamedTuple):
    """How names are compared: which are candidates, and the distance of candidates."""

    measure: str
    q: int
    min_share: float

    def all_distances(self, left, right):
        """A matrix; distances of pairs that are no candidates are infinite."""
        rows, cols, distance = self.near(left, right, math.inf)
        result = np.full((len(left), len(right)), np.inf)
        result[rows, cols] = distance
        return result

    def near(self, left, right, max_distance):
        """The candidates whose distance is small enough: rows, columns, distances."""
        kept = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        if left and right:
            trigrams = Grams(*map(_padded, (left, right)), 3)
            need = np.clip(np.ceil(self.min_share * trigrams.sizes), 1, MAX_SHARED)
            grams = similarity = None
            if self.measure == "qgram_jaccard":
                grams = Grams(left, right, self.q, shared_lack=True)
                distances = grams.distances
                similarity = max(0.0, 1 - max_distance - 1e-9)  # with a margin for rounding
            else:
                distances = _by_letters(left, right, self.measure)
            sharing = _by_rare_grams if (similarity or 0) > SELECTIVE else _by_trigrams
            for rows, cols in sharing(trigrams, need.astype(np.uint16), grams, similarity or 0.0):
                distance = distances(rows, cols)
                near = distance <= max_distance
                kept.append((rows[near], cols[near], distance[near]))
        return tuple(map(np.concatenate, zip(*kept, strict=True)))


def _padded(names):
    """A name of one or two letters is its own trigram."""
    return [name.ljust(3, "\0") if name else name for name in names]


class Grams:
    """The sets of q-grams of two lists of strings as ascending numbers, the rarest first. If they
    share their lack, strings that are too short have one gram, the same for all."""

    def __init__(self, left, right, q, *, shared_lack=False):
        sides = numbered_grams(np, packed(left), packed(right), q)
        counts = np.bincount(np.concatenate([grams for _, grams in sides]))
        if shared_lack:
            lacking = [
                np.flatnonzero(np.bincount(strings, minlength=len(side)) == 0)
                for (strings, _), side in zip(sides, (left, right), strict=True)
            ]
            sides = [
                (
                    np.concatenate([strings, lack]),
                    np.concatenate([grams, np.full(len(lack), len(counts))]),
                )
                for (strings, grams), lack in zip(sides, lacking, strict=True)
            ]
            counts = np.append(counts, sum(map(len, lacking)))
        self.number = max(len(counts), 1)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        (self.offsets, self.grams), (self.right_offsets, self.right_grams) = (
            counted_grams(np, strings, rank[grams], len(side), self.number)[:2]
            for (strings, grams), side in zip(sides, (left, right), strict=True)
        )
        self.sizes, self.right_sizes = np.diff(self.offsets), np.diff(self.right_offsets)

    def postings(self, rare=None):
        """Right strings in the order of their grams, and where each gram's begin; of all or the
        first `rare` grams of each string."""
        strings = np.repeat(np.arange(len(self.right_sizes)), self.right_sizes)
        grams = self.right_grams
        if rare is not None:
            first = np.arange(len(grams)) - self.right_offsets[strings] < rare[strings]
            strings, grams = strings[first], grams[first]
        keys = np.sort(grams * len(self.right_sizes) + strings)
        return keys % len(self.right_sizes), np.concatenate(
            [[0], np.cumsum(np.bincount(grams, minlength=self.number))]
        )

    def signatures(self):
        """64 bits for each string of each side, of which its grams set some."""
        return [
            np.bitwise_or.reduceat(np.uint64(1) << (grams % 64).astype(np.uint64), offsets[:-1])
            for grams, offsets in (
                (self.grams, self.offsets),
                (self.right_grams, self.right_offsets),
            )
        ]

    def common(self, rows, cols):
        """How many grams the pairs have in common."""
        common = np.empty(len(rows), np.int64)
        pair_common_grams(
            self.offsets, self.grams, self.right_offsets, self.right_grams, rows, cols, common
        )
        return common

    def distances(self, rows, cols):
        common = self.common(rows, cols)
        return 1 - common / (self.sizes[rows] + self.right_sizes[cols] - common)


def _by_trigrams(trigrams, need, grams, similarity):
    """Pairs with enough common trigrams, in batches of left names; where a similarity > 0 is given,
    it bounds that of their grams."""
    n, nr = len(trigrams.sizes), len(trigrams.right_sizes)
    batch = max(1, WORKSPACE // (4 * nr))
    counted = [
        (sets, *sets.postings(), np.empty((min(batch, n), nr), np.uint16))
        for sets in (trigrams, grams)[: 1 + (similarity > 0)]
    ]
    sizes, right_sizes = (
        part.astype(np.float32) for part in (counted[-1][0].sizes, counted[-1][0].right_sizes)
    )
    shared, common = counted[0][-1], counted[-1][-1]
    for first in range(0, n, batch):
        these = slice(first, min(first + batch, n))
        size = these.stop - first
        for sets, strings, postings, out in counted:
            count_shared_grams(
                sets.offsets[first : these.stop + 1],
                sets.grams,
                postings,
                strings,
                out[:size],
                sets.sizes[these],
            )
        enough = np.empty(size, np.int64)
        count_candidates(
            shared[:size],
            need[these],
            common[:size],
            sizes[these],
            right_sizes,
            enough,
            0.999 * similarity,
        )
        starts = np.concatenate([[0], np.cumsum(enough)])
        found = np.empty(starts[-1], np.int64)
        list_candidates(shared[:size], need[these], starts, found)
        yield first + np.repeat(np.arange(size), enough), found


def _by_rare_grams(trigrams, need, grams, similarity):
    """Pairs that are similar and have enough common trigrams, in batches. Similar sets of n and m
    grams, common to all > s, have a gram in common among the n - ⌈s n⌉ + 1 rarest of the one and
    the m - ⌈s m⌉ + 1 rarest of the other: the rarest common one is there."""
    rare, right_rare = (
        sizes - np.ceil(similarity * sizes).astype(np.int64) + 1
        for sizes in (grams.sizes, grams.right_sizes)
    )
    strings, postings = grams.postings(right_rare)
    signatures, right_signatures = grams.signatures()
    posted = (
        strings.astype(np.int32),
        grams.right_sizes[strings].astype(np.int32),
        right_signatures[strings],
    )
    left = (grams.offsets, grams.grams.astype(np.int32))
    right = (grams.right_offsets, grams.right_grams.astype(np.int32))
    rows, room = np.arange(len(rare)), 8
    while len(rows):
        crowded = [np.zeros(0, np.int64)]  # rows with more pairs than there is room for
        batch = max(1, WORKSPACE // (4 * room))
        for first in range(0, len(rows), batch):
            these = rows[first : first + batch]
            found, counts = np.empty((len(these), room), np.int32), np.empty(len(these), np.int64)
            near_by_rare_grams(
                these, *left, rare, signatures, postings, *posted, *right, found, counts, similarity
            )
            complete = counts <= room
            crowded.append(these[~complete])
            i = np.repeat(these[complete], counts[complete])
            j = found[(np.arange(room) < counts[:, None]) & complete[:, None]].astype(np.int64)
            enough = trigrams.common(i, j) >= need[i]
            yield i[enough], j[enough]
        rows, room = np.concatenate(crowded), 8 * room


def _by_letters(left, right, measure):
    """A function of rows and columns that gives the distances of these pairs."""
    ours, theirs = packed(left), packed(right)
    sizes, right_sizes = np.diff(ours.offsets), np.diff(theirs.offsets)
    width = 3 * (1 + max(int(sizes.max()), int(right_sizes.max())))
    scored = pair_osa if measure == "osa" else pair_jaro_winkler

    def distances(rows, cols):
        distance, batch = np.empty(len(rows)), max(1, WORKSPACE // (4 * width))
        large = (sizes[rows] * right_sizes[cols] > LARGE_TABLE) & (measure == "osa")
        for k in np.flatnonzero(large):
            distance[k] = edit_distances(
                np, *(packed([name]) for name in (left[rows[k]], right[cols[k]])), swaps=True
            )[0, 0]
        small = np.flatnonzero(~large)
        work = np.empty((min(batch, len(small)), width), np.int32)
        for first in range(0, len(small), batch):
            these = small[first : first + batch]
            here = np.empty(len(these))
            scored(*ours, *theirs, rows[these], cols[these], work[: len(these)], here)
            distance[these] = here
        return distance

    return distances
