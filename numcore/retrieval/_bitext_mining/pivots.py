"""Pairs of two languages through sentences of a third: both sides sorted by pivot, and joined."""

from typing import Annotated, Any, NamedTuple

import numpy as np

from ...arguments import Array, Float, Int64, within
from ...dispatch import namespace_of, routine
from .kernels import best_of_equal, count_digits, join_sides, move_by_digit, partners

NUMBERS = 31  # bits of a sentence's number: two of them make one key
# of keys that are sorted: the ends of three times 256 streams stay in the caches, of pages too
DIGIT_BITS = 8
RECORDS, MAX_BLOCKS = 1 << 15, 64  # fewest records of a range moved on its own, most ranges


class PivotPairs(NamedTuple):
    """Pairs through a third language, by first and then second index; the sentence they go through,
    and their scores."""

    first_index: Int64[Array, "n_pairs"]
    second_index: Int64[Array, "n_pairs"]
    pivot: Int64[Array, "n_pairs"]
    score: Float[Array, "n_pairs"]


@routine
def pivot_pairs(
    first: Int64[Array, "p 2"],
    second: Int64[Array, "q 2"],
    *,
    n_pivot: Annotated[int, within(0, 1 << NUMBERS)] | None = None,
    one_to_one: bool = True,
    first_score: Float[Array, "p"] | None = None,
    second_score: Float[Array, "q"] | None = None,
) -> PivotPairs:
    """Pairs of two languages, through sentences of a third that are paired with both.

    Parameters
    ----------
    first : (p, 2) array of int64
        Numbers of a sentence of the first language and of one of the third, the pivot, from 0 to
        below 2³¹.
    second : (q, 2) array of int64
        Likewise for the second language.
    n_pivot : int in [0, 2**31], optional
        How many sentences the third language has; the pivots must be less.
    one_to_one : bool, default True
        For each pivot only the best pair of each side (the first one of equal ones), else all of
        them with each other.
    first_score : (p,) array of float32 or float64, optional
        The scores of the pairs.
    second_score : (q,) array of float32 or float64, optional

    Returns
    -------
    PivotPairs
        Each pair of sentences once, with the best score that a pivot gives it, the smallest pivot
        of equal ones; the score is the smaller one of both pairs, that of one if only one side has
        scores, and 1 if none has.

    Raises
    ------
    ValueError
        A number is outside of its range, shapes do not fit, or a score is NaN.
    TypeError
        Other dtypes or mixed devices.

    Notes
    -----
    The work is that of sorting the pairs and the result, whose number without `one_to_one` is the
    sum of products of the groups' sizes.

    References
    ----------
    G. Ramesh et al., "Samanantar: the largest publicly available parallel corpora collection for 11
    Indic languages", TACL 10, 2022.

    Examples
    --------
    >>> found = pivot_pairs([[0, 5], [1, 5], [2, 6]], [[7, 5], [8, 6], [9, 6]], one_to_one=False)
    >>> np.stack(found[:3]).T.tolist()
    [[0, 7, 5], [1, 7, 5], [2, 8, 6], [2, 9, 6]]
    """
    xp, scores = namespace_of(first), [first_score, second_score]
    max_pivot = 1 << NUMBERS if n_pivot is None else n_pivot
    check_pairs("first", first, 1 << NUMBERS, max_pivot)
    check_pairs("second", second, 1 << NUMBERS, max_pivot)
    dtype = next((s.dtype for s in scores if s is not None), np.dtype(np.float64))
    for i, (name, pairs) in enumerate((("first_score", first), ("second_score", second))):
        if scores[i] is None:
            scores[i] = xp.full(len(pairs), 1.0 if scores[1 - i] is None else np.inf, dtype)
        elif bool(xp.isnan(scores[i]).any()):
            raise ValueError(f"{name} must not be nan")
        scores[i] = xp.ascontiguousarray(scores[i])
    left, right = (
        by_key(
            xp, xp.ascontiguousarray(pairs[:, 1]), xp.ascontiguousarray(pairs[:, 0]), side_scores
        )
        for pairs, side_scores in zip((first, second), scores, strict=True)
    )
    if one_to_one:
        left, right = best_of_each(xp, *left), best_of_each(xp, *right)
    begins, counts = xp.empty(len(left.keys), np.int64), xp.empty(len(left.keys), np.int64)
    partners(left.keys, right.keys, begins, counts)
    ends = xp.cumsum(counts)
    size = int(ends[-1]) if len(ends) else 0
    bits = int(right.values.max()).bit_length() if len(right.values) else 0
    both = Sorted(xp.empty(size, np.int64), xp.empty(size, np.int64), xp.empty(size, dtype))
    join_sides(*left, begins, counts, ends, *right[1:], *both, bits)
    pairs, pivot, score = best_of_each(xp, *by_key(xp, *both))
    return PivotPairs(pairs >> bits, pairs & ((1 << bits) - 1), pivot, score)


def check_pairs(name, pairs, *limits):
    """Each column of pairs must be from 0 to below its limit."""
    for column, limit in enumerate(limits if len(pairs) else ()):
        low, high = int(pairs[:, column].min()), int(pairs[:, column].max())
        if low < 0 or high >= limit:
            got = low if low < 0 else high
            raise ValueError(f"{name}[:, {column}] must be in [0, {limit}) (got {got})")


class Sorted(NamedTuple):
    """By ascending key; equal keys in the order in which they came."""

    keys: Any
    values: Any
    scores: Any


def by_key(xp, keys, values, scores):
    """Keys that are not negative in ascending order, and with each its value and score.

    A few bits at a time, the lowest first. All three move together, in a few streams: to fetch
    values and scores from the places of sorted keys would take several times as long, as each lies
    elsewhere in memory.
    """
    n = len(keys)
    bits = int(keys.max()).bit_length() if n else 0
    passes = -(-bits // DIGIT_BITS)
    digits = 1 << -(-bits // max(passes, 1))
    blocks = min(-(-n // RECORDS), MAX_BLOCKS)
    here, spare = Sorted(keys, values, scores), None
    for step in range(passes):
        counts = xp.zeros((blocks, digits), np.int64)
        shift = step * (digits.bit_length() - 1)
        count_digits(here.keys, counts, shift)
        places = xp.cumsum(counts.T.reshape(-1)).reshape(digits, blocks).T - counts
        moved = spare or Sorted(*map(xp.empty_like, here))
        move_by_digit(*here, xp.ascontiguousarray(places), *moved, shift)
        here, spare = moved, here if step else None  # what was passed in is not written to
    return here


def best_of_each(xp, keys, values, scores):
    """Each key once, with the value of its best score, the first one of equal ones."""
    best = xp.empty(len(keys), np.int64)
    best_of_equal(keys, scores, best)
    best = best[best >= 0]
    return Sorted(keys[best], values[best], scores[best])
