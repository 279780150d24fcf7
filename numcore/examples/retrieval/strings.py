"""Arguments of the kernels of string distances."""

import numpy as np

from ...retrieval._strings import counted_grams, numbered_grams, pack_strings

__all__ = ["EXAMPLES", "KERNELS"]

EXAMPLES = {}


def random_strings(rng, count, longest, letters="abcd"):
    return ["".join(rng.choice(list(letters), rng.integers(0, longest + 1))) for _ in range(count)]


def _sides(rng, size, left_longest):
    return pack_strings(random_strings(rng, size, left_longest, "abcdé木")), pack_strings(
        random_strings(rng, 41, 9, "abcdé語")
    )


def _edit(rng, patterns, texts):
    """Distances are laid out by patterns or by texts."""
    alphabet, letters = np.unique(texts.codes, return_inverse=True)
    n, m = len(patterns.offsets) - 1, len(texts.offsets) - 1
    return (
        alphabet,
        letters.astype(np.uint32),
        np.full(n * m, -7, np.int32),
        (m, 1) if rng.integers(2) else (1, n),
    )


def _lanes(rng, variant, size):
    texts = pack_strings(random_strings(rng, 41, 9, "abcdé語"))
    patterns = pack_strings(random_strings(rng, 32 * size, rng.choice([9, 64]), "abcdé木"))
    alphabet, letters, distance, steps = _edit(rng, patterns, texts)
    columns = rng.permutation(32 * size).reshape(size, 32)
    columns[rng.random(columns.shape) < 0.1] = -1
    return [
        alphabet,
        *patterns,
        columns,
        letters,
        texts.offsets,
        distance,
        *steps,
        int(rng.integers(2)),
    ]


def _blocks(rng, variant, size):
    texts = pack_strings(random_strings(rng, 41, 9, "abcdé語"))
    patterns = pack_strings(random_strings(rng, size, 140, "abcdé木"))
    alphabet, letters, distance, steps = _edit(rng, patterns, texts)
    return [
        alphabet,
        *patterns,
        rng.permutation(size),
        letters,
        texts.offsets,
        np.zeros((size, len(letters)), np.uint8),
        distance,
        *steps,
        int(rng.integers(2)),
    ]


def _jaro(rng, variant, size):
    left, right = _sides(rng, size, 45)
    return [
        *left,
        *right,
        np.zeros((size, 60), np.uint8),
        np.full((size, len(right.offsets) - 1), np.nan),
        0.1,
    ]


def _overlap(rng, variant, size):
    left, right = _sides(rng, size, 12)
    nr = len(right.offsets) - 1
    ours, theirs = numbered_grams(np, left, right, 2)
    number = 1 + max(int(grams.max(initial=0)) for _, grams in (ours, theirs))
    starts, grams, counts = counted_grams(np, *theirs, nr, number)
    strings = np.repeat(np.arange(nr), np.diff(starts))
    order = np.argsort(grams, kind="stable")
    return [
        *counted_grams(np, *ours, size, number),
        np.searchsorted(grams[order], np.arange(number + 1)),
        strings[order],
        counts[order],
        np.full((size, nr), -7, np.int64),
    ]


KERNELS = {
    "edit_distance_lanes": _lanes,
    "edit_distance_blocks": _blocks,
    "jaro_similarity": _jaro,
    "gram_overlap": _overlap,
}
