"""q-grams as numbers, and distances by the q-grams that strings have in common."""

import numpy as np

from .kernels import gram_overlap

TABLE = 1 << 17  # numbers that may be counted in a table rather than sorted, however few they are


def numbered_grams(xp, left, right, q):
    """For each side the strings' numbers and the grams' numbers, equal for equal grams of both
    sides."""
    sizes = [len(side.codes) for side in (left, right)]
    codes = xp.concatenate([left.codes, right.codes])
    ends = xp.concatenate([left.offsets[1:], right.offsets[1:] + sizes[0]])
    # how many end before
    string = xp.cumsum(xp.bincount(ends, minlength=len(codes) + 1)[: len(codes)])
    at = xp.arange(len(codes))
    at = at[ends[string] - at >= q] if len(at) else at
    letters, alphabet = _numbered(xp, codes.astype(np.int64))
    grams = letters[at]
    # as a pair of the gram so far and the next letter: numbers never collide
    for step in range(1, q if len(at) else 1):
        grams, _ = _numbered(xp, grams * alphabet + letters[at + step])
    string, n = string[at], len(left.offsets) - 1
    ours = string < n
    return (string[ours], grams[ours]), (string[~ours] - n, grams[~ours])


def _numbered(xp, keys):
    """The keys' places among the different ones in ascending order, and how many these are."""
    span = int(keys.max()) + 1 if len(keys) else 0
    if span > TABLE + 4 * len(keys):
        different, places = xp.unique(keys, return_inverse=True)
        return places, len(different)
    table = xp.zeros(span, np.int64)
    table[keys] = 1
    return xp.cumsum(table)[keys] - 1, int(table.sum())


def counted_grams(xp, strings, grams, n, number):
    """Offsets (n + 1,) of each string's grams, these in ascending order without repetition, and how
    often each is there."""
    keys, counts = xp.unique(strings * number + grams, return_counts=True)
    offsets = xp.searchsorted(keys // max(number, 1), xp.arange(n + 1), side="left").astype(
        np.int64
    )
    return offsets, keys % max(number, 1), counts.astype(np.int64)


def gram_distances(xp, left, right, q, counted):
    nl, nr = len(left.offsets) - 1, len(right.offsets) - 1
    if not nl or not nr:
        return xp.zeros((nl, nr))
    ours, theirs = numbered_grams(xp, left, right, q)
    number = 1 + max((int(grams.max()) for _, grams in (ours, theirs) if len(grams)), default=0)
    offsets, grams, counts = counted_grams(xp, *ours, nl, number)
    right_offsets, right_grams, right_counts = counted_grams(xp, *theirs, nr, number)
    if not counted:
        counts, right_counts = xp.ones(len(counts), np.int64), xp.ones(len(right_counts), np.int64)
    right_strings = xp.searchsorted(right_offsets, xp.arange(len(right_grams)), side="right") - 1
    order = xp.argsort(right_grams * nr + right_strings)
    postings = xp.searchsorted(right_grams[order], xp.arange(number + 1), side="left").astype(
        np.int64
    )
    overlap = xp.empty((nl, nr), np.int64)
    gram_overlap(
        offsets,
        grams,
        counts,
        postings,
        right_strings[order].astype(np.int64),
        right_counts[order],
        overlap,
    )
    size = _sums(xp, counts**2, offsets)[:, None]
    right_size = _sums(xp, right_counts**2, right_offsets)
    all_of_them = (
        xp.sqrt(size * right_size.astype(np.float64)) if counted else size + right_size - overlap
    )
    distance = 1 - overlap / xp.maximum(all_of_them, 1)
    return xp.where((size == 0) & (right_size == 0), 0.0, xp.maximum(distance, 0.0))


def _sums(xp, values, offsets):
    total = xp.zeros(len(values) + 1, np.int64)
    total[1:] = xp.cumsum(values)
    return total[offsets[1:]] - total[offsets[:-1]]
