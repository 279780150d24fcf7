"""Arguments of the kernels of string distances."""

import numpy as np

from ...retrieval.strings import _in_lanes, counted_grams, numbered_grams, pack_strings

__all__ = ["EXAMPLES", "KERNELS"]

EXAMPLES = {}


def random_strings(rng, count, longest, letters="abcd"):
    return ["".join(rng.choice(list(letters), rng.integers(0, longest + 1))) for _ in range(count)]


def _sides(rng, size, left_longest):
    return pack_strings(random_strings(rng, size, left_longest, "abcdé木")), pack_strings(random_strings(rng, 41, 9, "abcdé語"))


def _edit(rng, left, right):
    alphabet, ids = np.unique(right.codes, return_inverse=True)
    n = len(left.offsets) - 1
    distance = np.full((n, len(right.offsets) - 1), -7, np.int32)
    return alphabet, ids.astype(np.uint32), rng.permutation(n).astype(np.int64), distance


def _lanes(rng, variant, size):
    left, right = _sides(rng, size, 64)
    alphabet, ids, chosen, distance = _edit(rng, left, right)
    return [alphabet, *left, chosen, *_in_lanes(np, ids, right.offsets, len(alphabet)), distance, int(rng.integers(2))]


def _blocks(rng, variant, size):
    left, right = _sides(rng, size, 140)
    left = pack_strings(random_strings(rng, size, 140, "abcdé木"))
    alphabet, ids, chosen, distance = _edit(rng, left, right)
    distance[:] = 0  # stays where a left string is empty
    return [alphabet, *left, chosen, ids, right.offsets, np.zeros((size, len(ids)), np.uint8), distance, int(rng.integers(2))]


def _jaro(rng, variant, size):
    left, right = _sides(rng, size, 45)
    return [*left, *right, np.zeros((size, 60), np.uint8), np.full((size, len(right.offsets) - 1), np.nan), 0.1]


def _overlap(rng, variant, size):
    left, right = _sides(rng, size, 12)
    nr = len(right.offsets) - 1
    ours, theirs = numbered_grams(np, left, right, 2)
    number = 1 + max(int(grams.max(initial=0)) for _, grams in (ours, theirs))
    starts, grams, counts = counted_grams(np, *theirs, nr, number)
    strings = np.repeat(np.arange(nr), np.diff(starts))
    order = np.argsort(grams, kind="stable")
    return [*counted_grams(np, *ours, size, number), np.searchsorted(grams[order], np.arange(number + 1)), strings[order], counts[order],
            np.full((size, nr), -7, np.int64)]


KERNELS = {"edit_distance_lanes": _lanes, "edit_distance_blocks": _blocks, "jaro_similarity": _jaro, "gram_overlap": _overlap}
