"""Example calls of distances of strings, measured by tables, lists and sets, and arguments of the
kernels."""

import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np

from ...retrieval import pack_strings
from ...retrieval._strings import kernels
from ...retrieval._strings.grams import counted_grams, numbered_grams
from .. import Example


def random_strings(rng, count, longest, letters="abcd"):
    return ["".join(rng.choice(list(letters), rng.integers(0, longest + 1))) for _ in range(count)]


# --- references -----------------------------------------------------------------------------------


def edit_distance(a, b, swaps=False):
    d = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1) if not i or not j}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(
                d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            )
            if swaps and i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a), len(b)]


def jaro(a, b, prefix_weight=0.0):
    if not a and not b:
        return 1.0
    window, free, pairs = max(max(len(a), len(b)) // 2 - 1, 0), list(range(len(a))), []
    for j, letter in enumerate(b):
        near = [i for i in free if abs(i - j) <= window and a[i] == letter]
        if near:
            free.remove(near[0])
            pairs.append((near[0], j))
    if not pairs:
        return 0.0
    m = len(pairs)
    in_a, in_b = [a[i] for i in sorted(i for i, _ in pairs)], [b[j] for _, j in pairs]
    t = sum(x != y for x, y in zip(in_a, in_b, strict=True)) // 2
    result = (m / len(a) + m / len(b) + (m - t) / m) / 3
    prefix = next((i for i in range(4) if a[i : i + 1] != b[i : i + 1] or not a[i:]), 4)
    return result + prefix * prefix_weight * (1 - result) if result > 0.7 else result


def grams(a, q):
    return Counter(a[i : i + q] for i in range(len(a) - q + 1))


def gram_distance(a, b, q, cosine=False):
    a, b = grams(a, q), grams(b, q)
    if not a or not b:
        return float(bool(a) != bool(b))
    if cosine:
        return (
            1
            - sum(a[g] * b[g] for g in a)
            / (sum(v * v for v in a.values()) * sum(v * v for v in b.values())) ** 0.5
        )
    return 1 - len(set(a) & set(b)) / len(set(a) | set(b))


MEASURES = {
    "levenshtein": edit_distance,
    "osa": lambda a, b: edit_distance(a, b, swaps=True),
    "jaro": jaro,
    "jaro_winkler": lambda a, b: jaro(a, b, 0.1),
    "qgram_jaccard": lambda a, b: gram_distance(a, b, 2),
    "qgram_cosine": lambda a, b: gram_distance(a, b, 2, cosine=True),
}


def unpacked(strings):
    """Strings of code points."""
    ends = strings.offsets.tolist()
    return ["".join(map(chr, strings.codes[a:b].tolist())) for a, b in pairwise(ends)]


def all_pairs(left, right, measure):
    left, right = unpacked(left), unpacked(right)
    kind = np.int32 if measure in ("levenshtein", "osa") else np.float64
    found = [[MEASURES[measure](a, b) for b in right] for a in left]
    return np.array(found, kind).reshape(len(left), len(right))


# --- calls ----------------------------------------------------------------------------------------


def _packed(rng, dtype, n=20):
    left, right = random_strings(rng, n, 12), random_strings(rng, 17, 9)
    return {
        "left": pack_strings(left),
        "right": pack_strings(right),
        "measure": "jaro_winkler",
    }


def character_names(first, count):
    """The names that Unicode gives characters."""
    return [unicodedata.name(chr(c)).title() for c in range(first, first + count)]


def _real(dtype):
    return {
        "left": pack_strings(character_names(0x1F300, 400)),
        "right": pack_strings(character_names(0x2600, 400)),
        "measure": "levenshtein",
    }


def _first(result, left, right, measure):
    return result[:2], {
        "left": pack_strings(unpacked(left)[:2]),
        "right": right,
        "measure": measure,
    }


def _rapidfuzz(left, right, measure):
    from rapidfuzz import distance, process

    sides = unpacked(left), unpacked(right)
    return process.cdist(*sides, scorer=distance.Levenshtein.distance, dtype=np.int32)


def _encoded(strings):
    """Letter by letter."""
    codes = [ord(letter) for string in strings for letter in string]
    ends = [sum(len(string) for string in strings[:i]) for i in range(len(strings) + 1)]
    return np.array(codes, np.uint32), np.array(ends)


EXAMPLES = {
    "string_similarity": Example(
        _packed,
        (),
        all_pairs,
        {"float64": 4e-16},
        error="absolute",
        nan="ignore",
        dtypes=("float64",),
        sizes=_packed,
        data="names of characters",
        real=_real,
        sample=_first,
        peer=("rapidfuzz.process.cdist", _rapidfuzz),
    ),
    "pack_strings": Example(
        lambda rng, dtype: {"strings": random_strings(rng, 20, 12, "abé木")},
        (),
        _encoded,
        {"float64": 0.0},
        error="equal",
        nan="ignore",
        dtypes=("float64",),
        sizes=lambda rng, dtype, n: {"strings": random_strings(rng, n, 12, "abé木")},
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


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
    lanes, texts = kernels.LANES, pack_strings(random_strings(rng, 41, 9, "abcdé語"))
    patterns = pack_strings(random_strings(rng, lanes * size, rng.choice([9, 64]), "abcdé木"))
    alphabet, letters, distance, steps = _edit(rng, patterns, texts)
    columns = rng.permutation(lanes * size).reshape(size, lanes)
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
