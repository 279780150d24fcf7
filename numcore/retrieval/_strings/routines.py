"""The distances and similarities of all pairs of strings."""

from typing import Annotated, Literal

import numpy as np

from ...arguments import Array, at_least, nonnegative, within
from ...dispatch import namespace_of, routine
from .._offsets import checked_offsets
from .edits import edit_distances
from .grams import gram_distances
from .kernels import jaro_similarity
from .packing import PackedStrings, Strings, packed


@routine
def string_similarity(
    left: Strings | PackedStrings,
    right: Strings | PackedStrings | None = None,
    *,
    measure: Literal["levenshtein", "osa", "jaro", "jaro_winkler", "qgram_jaccard", "qgram_cosine"],
    q: Annotated[int, at_least(1)] = 2,
    prefix_weight: Annotated[float, within(0, 0.25)] = 0.1,
    cutoff: Annotated[float, nonnegative] | None = None,
) -> Array:
    """Distances or similarities of all pairs of strings.

    Parameters
    ----------
    left : sequence of str or PackedStrings
        Or what `pack_strings` makes of it, also with its arrays on a GPU.
    right : sequence of str or PackedStrings, optional
        By default `left`.
    measure : {"levenshtein", "osa", "jaro", "jaro_winkler", "qgram_jaccard", "qgram_cosine"}
        Levenshtein's edit distance; with swaps of neighbors as one edit and no part edited twice
        ("optimal string alignment"); Jaro's similarity, m matches with t of them out of order
        giving (m / \\|a\\| + m / \\|b\\| + (m - t / 2) / m) / 3; Winkler's, which adds to a
        similarity J > 0.7 the length of the common prefix, at most 4, times `prefix_weight` (1 -
        J); one minus the quotient of common to all q-grams, as sets; one minus the cosine of the
        numbers of q-grams.
    q : int >= 1, default 2
        Characters of a q-gram. A string that is shorter has none: its q-gram distance to another
        such string is 0, to others 1.
    prefix_weight : float in [0, 0.25], default 0.1
        What a letter of the common prefix adds to Winkler's similarity.
    cutoff : float >= 0, optional
        What is worse becomes the worst: edit distances above it become the next integer above it,
        q-gram distances 1, similarities below it 0.

    Returns
    -------
    (nl, nr) array
        int32 for the edit distances, else float64, on the device of packed strings. Edit distances
        are exact, the others to a few units of rounding, 1e-15.

    Raises
    ------
    TypeError
        An item is not a string, or packed arrays have other dtypes or live on different devices.
    ValueError
        An option is outside of its range, or offsets do not ascend from 0 to the number of code
        points.

    Notes
    -----
    Characters are code points: combine them first (``unicodedata.normalize``) where composed and
    decomposed forms are mixed. Edit distances cost \\|b\\| ⌈\\|a\\| / 64⌉ word operations for a
    pair, many pairs at once; Jaro's \\|b\\| max(\\|a\\|, \\|b\\|); q-grams the number of pairs of
    equal ones. All pairs are computed: see `fuzzy_link` for lists too long for that.

    References
    ----------
    G. Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
    programming", Journal of the ACM, 1999. H. Hyyrö, "A bit-vector algorithm for computing
    Levenshtein and Damerau edit distances", Nordic Journal of Computing, 2003. W. E. Winkler,
    "String comparator metrics and enhanced decision rules in the Fellegi–Sunter model of record
    linkage", 1990.

    Examples
    --------
    >>> string_similarity(["kitten"], ["sitting", "mitten"], measure="levenshtein")
    array([[3, 1]], dtype=int32)
    """
    left = _packed("left", left)
    right = left if right is None else _packed("right", right)
    xp = namespace_of(left.codes)
    if namespace_of(right.codes) is not xp:
        raise TypeError("left and right must live on one device (got a GPU and the host)")
    if measure in ("levenshtein", "osa"):
        distance = edit_distances(xp, left, right, measure == "osa")
        return (
            distance
            if cutoff is None
            else xp.minimum(distance, np.int32(min(int(cutoff) + 1, 2**31 - 1)))
        )
    if measure in ("jaro", "jaro_winkler"):
        similarity = _jaro(xp, left, right, prefix_weight if measure == "jaro_winkler" else 0.0)
        return similarity if cutoff is None else xp.where(similarity < cutoff, 0.0, similarity)
    distance = gram_distances(xp, left, right, q, counted=measure == "qgram_cosine")
    return distance if cutoff is None else xp.where(distance > cutoff, 1.0, distance)


def _packed(name, strings):
    """Strings as contiguous code points; the offsets of packed ones must fit to their codes."""
    if not isinstance(strings, PackedStrings):
        return packed(strings)
    codes, offsets = map(namespace_of(strings.codes).ascontiguousarray, strings)
    return PackedStrings(codes, checked_offsets(f"{name}.offsets", offsets, len(codes)))


def _jaro(xp, left, right, prefix_weight):
    nl, nr = len(left.offsets) - 1, len(right.offsets) - 1
    similarity = xp.empty((nl, nr))
    if similarity.size:
        longest = int(xp.diff(left.offsets).max()) + int(xp.diff(right.offsets).max())
        jaro_similarity(*left, *right, xp.zeros((nl, longest), np.uint8), similarity, prefix_weight)
    return similarity
