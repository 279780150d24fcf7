"""Texts as buckets of hashed words and runs of words. K. Weinberger et al., "Feature hashing for
large scale multitask learning", ICML 2009."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Integer, at_least, within
from ...dispatch import namespace_of, routine
from .._offsets import checked_offsets

MAX_BUCKETS = 2**31 - 1


class HashedTexts(NamedTuple):
    """Buckets of texts, text q having ``values[offsets[q]:offsets[q + 1]]``."""

    values: Array
    offsets: Array


@routine
def hash_features(
    values: Integer[Array, "n", within(0, 2**32 - 1)],
    offsets: Integer[Array, "n_texts+1"],
    *,
    n_buckets: Annotated[int, within(1, MAX_BUCKETS)] = 2**14,
    ngrams: Sequence[Annotated[int, at_least(1)]] = (1, 2),
    salt: Annotated[int, within(0, 2**32 - 1)] = 0,
) -> HashedTexts:
    """Runs of neighboring words, hashed to buckets.

    Parameters
    ----------
    values : (n,) array of integers, in [0, 4294967295]
        The words of all texts, one text after the other, as numbers.
    offsets : (n_texts+1,) array of integers
        Text q has the words ``values[offsets[q]:offsets[q + 1]]``; ascending from 0 to n.
    n_buckets : int in [1, 2147483647], default 16384
    ngrams : sequence of int >= 1, default (1, 2)
        Lengths of the runs: (1, 2) takes single words and pairs.
    salt : int in [0, 4294967295], default 0
        Another number gives other collisions.

    Returns
    -------
    HashedTexts
        ``values``, (z,) buckets: of each text first the runs of the first length in `ngrams`, then
        those of the next; ``offsets``, where each text's buckets begin.

    Raises
    ------
    TypeError
        Arrays that are not integers, or on different devices; options of another type.
    ValueError
        Arrays of other dimensions, negative numbers or too large ones, offsets that do not ascend
        from 0 to n, options out of range.

    Notes
    -----
    ``h = mix(h xor (id + 1) 0x9e3779b9 mod 2³²)`` for one word after the other, with the finalizer
    of MurmurHash3 as `mix`: the same on all devices. O(n) for each length.

    References
    ----------
    K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg, "Feature hashing for large
    scale multitask learning", ICML 2009.

    Examples
    --------
    >>> values, offsets = hash_features(np.array([7, 8, 7]), np.array([0, 2, 3]), n_buckets=1000)
    >>> offsets, bool(values[0] == values[3])
    (array([0, 3, 4]), True)
    """
    xp, offsets = namespace_of(values), checked_offsets("offsets", offsets, len(values))
    ids, ends, lengths = values.astype(np.uint32), offsets[1:], xp.diff(offsets)
    place = xp.arange(len(ids))
    text = xp.searchsorted(ends, place, side="right")
    counts = [xp.maximum(lengths - (n - 1), 0) for n in ngrams]
    buckets_at = xp.zeros(len(lengths) + 1, np.int64)
    buckets_at[1:] = xp.cumsum(sum(counts, xp.zeros(len(lengths), np.int64)))
    buckets = xp.empty(int(buckets_at[-1]), np.int64)
    first = buckets_at[:-1].copy()
    for n, count in zip(ngrams, counts, strict=True):
        here = place[place + n <= ends[text]]
        hashes = xp.full(len(here), salt, np.uint32)
        for step in range(n if len(here) else 0):
            hashes = _mixed(hashes ^ (ids[here + step] + np.uint32(1)) * np.uint32(0x9E3779B9))
        where = text[here]
        buckets[first[where] + here - (ends - lengths)[where]] = (
            hashes % np.uint32(n_buckets)
        ).astype(np.int64)
        first += count
    return HashedTexts(buckets, buckets_at)


def _mixed(h):
    h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return h ^ h >> np.uint32(16)
