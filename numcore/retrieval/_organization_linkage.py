"""Links between two lists of names of organizations: by strings that look alike among those that
share letters, by vectors, and through a directory of names that are known to mean the same. After
Libgober and Jerzak (2024), with Markov clustering (van Dongen 2000) and greedy modularity (Clauset,
Newman, Moore 2004) to find which names of a network belong together."""

import heapq
import math
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import (
    RNG,
    Array,
    Bool,
    Float,
    Int64,
    Integer,
    Real,
    at_least,
    between,
    finite,
    interval,
    nonnegative,
    positive,
    within,
)
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..linalg import CSR, CSRLike, Sparse
from ..model import model
from ..random import generator_from_rng
from ..simd import popcount
from ._strings import (
    Strings,
    counted_grams,
    edit_distances,
    jaro_pair,
    numbered_grams,
    pack_strings,
)

HOST_ONLY = "names live on the host"
WORKSPACE = 1 << 24  # bytes for the counters of a batch of names
MAX_SHARED = 2**16 - 1  # to which trigrams are counted
LARGE_TABLE = 1 << 20  # cells of a table of edits from which many are filled at once
SELECTIVE = 0.4  # a similarity from which few pairs of names have a rare gram in common
MIN_LEVEL = 1e-6  # of a calibrating quantile


Ids: TypeAlias = Integer[Array, "m", interval("[0, 2147483647)")]
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


class DirectoryLinks(NamedTuple):
    """`LinkedPairs` with ``via``, the canonical id that a pair was linked through, or -1 where its
    own names are nearer."""

    left: Int64[Array, "n_pairs"]
    right: Int64[Array, "n_pairs"]
    distance: Float[Array, "n_pairs"]
    via: Int64[Array, "n_pairs"]


class LinkageQuality(NamedTuple):
    """Numbers of pairs by what was found and what is true, as Python integers, with precision,
    recall and the F measure."""

    tp: int
    fp: int
    fn: int
    tn: int
    precision: float
    recall: float
    f_beta: float


# --- names ----------------------------------------------------------------------------------------


@routine(host_only=HOST_ONLY)
def normalize_names(
    names: Strings,
    *,
    lower: bool = True,
    strip_punctuation: bool = True,
    collapse_spaces: bool = True,
) -> list[str]:
    """Names in one spelling: lower case, without punctuation, single blanks.

    Parameters
    ----------
    names : sequence of str
    lower : bool, default True
    strip_punctuation : bool, default True
        Remove every character of the Unicode categories P*.
    collapse_spaces : bool, default True
        Make every run of white space one blank, and none at the ends. This is done last, so that "a
        & b" has one blank.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        An item is not a string; the message says which.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> normalize_names(["  Procter &  Gamble, Inc. "])
    ['procter gamble inc']
    """
    if lower:
        names = [name.lower() for name in names]
    if strip_punctuation:
        marks = {
            ord(c): None for c in set().union(*names) if unicodedata.category(c).startswith("P")
        }
        names = [name.translate(marks) for name in names] if marks else names
    return [" ".join(name.split()) for name in names] if collapse_spaces else list(names)


def _unique_names(names):
    """The different normalized names, and for each name its place among them."""
    place, at = {}, []
    for item in normalize_names(names):
        at.append(place.setdefault(item, len(place)))
    return list(place), np.array(at, np.int64)


# --- links by strings -----------------------------------------------------------------------------


@routine(host_only=HOST_ONLY)
def fuzzy_link(
    left: Strings,
    right: Strings,
    *,
    measure: Measure = "qgram_jaccard",
    q: Annotated[int, at_least(1)] = 2,
    max_distance: Distance | None = None,
    average_matches: Matches = 10,
    min_shared_trigrams: Share = 0.05,
    rng: RNG = None,
) -> LinkedPairs:
    """Pairs of names that look alike.

    Names are normalized. Those that share too few trigrams are no candidates and are never
    compared.

    Parameters
    ----------
    left, right : sequence of str
    measure : {"qgram_jaccard", "osa", "jaro_winkler"}, default "qgram_jaccard"
        The distance of candidates: see `string_similarity`; Winkler's similarity is subtracted from
        1.
    q : int >= 1, default 2
        Letters of a q-gram.
    max_distance : float >= 0, optional
        The largest distance of a link; by default the quantile that `calibrate_distance` finds for
        `average_matches`.
    average_matches : float > 0, default 10
        How many links a name should have, roughly.
    min_shared_trigrams : float in [0, 1], default 0.05
        A candidate has at least this share of the trigrams of the left name, and at least one. A
        shorter name is its own trigram.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the sample that calibrates.

    Returns
    -------
    LinkedPairs
        NumPy arrays, by ascending distance, then left, then right. Distances are exact but for
        rounding. Repeated names are compared once, all their pairs are in the result; empty names
        are linked to none.

    Raises
    ------
    TypeError
        A name is no string, or an option has a wrong type.
    ValueError
        An option is outside of its range.

    Notes
    -----
    Where `max_distance` of the q-gram distance is below 0.6, two names are compared only if they
    have one of their rare q-grams in common; else the work is the number of pairs of equal trigrams
    and, for the q-gram distance, of equal q-grams, and four bytes looked at for each pair of names.
    The memory is 16 MB, the grams, and the candidates of as many left names as share these 16 MB.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024. R. J. Bayardo, Y. Ma,
    R. Srikant, "Scaling up all pairs similarity search", WWW 2007: rare grams first.

    Examples
    --------
    >>> fuzzy_link(["Apple", "Oracle"], ["ORACLE, Inc.", "Apple Corp."], max_distance=0.6)
    LinkedPairs(left=array([1, 0]), right=array([0, 1]), distance=array([0.44444444, 0.55555556]))
    """
    options = _Candidates(measure, q, min_shared_trigrams)
    rng = generator_from_rng(rng)
    (left, left_at), (right, right_at) = _unique_names(left), _unique_names(right)
    if max_distance is None:
        max_distance = _calibrated(left, right, average_matches, rng, options.all_distances)
    rows, cols, distance = options.near(left, right, max_distance)
    return _sorted_pairs(np, *_expanded(rows, cols, distance, left_at, right_at))


class _Candidates(NamedTuple):
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
            trigrams = _Grams(*map(_padded, (left, right)), 3)
            need = np.clip(np.ceil(self.min_share * trigrams.sizes), 1, MAX_SHARED)
            grams = similarity = None
            if self.measure == "qgram_jaccard":
                grams = _Grams(left, right, self.q, shared_lack=True)
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


class _Grams:
    """The sets of q-grams of two lists of strings as ascending numbers, the rarest first. If they
    share their lack, strings that are too short have one gram, the same for all."""

    def __init__(self, left, right, q, *, shared_lack=False):
        sides = numbered_grams(np, pack_strings(left), pack_strings(right), q)
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
        strings, grams = (
            np.repeat(np.arange(len(self.right_sizes)), self.right_sizes),
            self.right_grams,
        )
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
    left, right = (
        (grams.offsets, grams.grams.astype(np.int32)),
        (grams.right_offsets, grams.right_grams.astype(np.int32)),
    )
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
    ours, theirs = pack_strings(left), pack_strings(right)
    sizes, right_sizes = np.diff(ours.offsets), np.diff(theirs.offsets)
    width = 3 * (1 + max(int(sizes.max()), int(right_sizes.max())))
    scored = pair_osa if measure == "osa" else pair_jaro_winkler

    def distances(rows, cols):
        distance, batch = np.empty(len(rows)), max(1, WORKSPACE // (4 * width))
        large = (sizes[rows] * right_sizes[cols] > LARGE_TABLE) & (measure == "osa")
        for k in np.flatnonzero(large):
            distance[k] = edit_distances(
                np, *(pack_strings([name]) for name in (left[rows[k]], right[cols[k]])), swaps=True
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


def _expanded(rows, cols, distance, left_at, right_at):
    """Pairs of different names as pairs of all their occurrences."""
    members = [
        (np.argsort(at, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(at))]))
        for at in (left_at, right_at)
    ]
    for which in (0, 1):
        order, starts = members[which]
        these = (rows, cols)[which]
        repeats = starts[these + 1] - starts[these] if len(these) else np.zeros(0, np.int64)
        expanded = order[_places(starts[these], repeats)] if len(these) else these
        rows, cols, distance = (np.repeat(part, repeats) for part in (rows, cols, distance))
        rows, cols = (expanded, cols) if which == 0 else (rows, expanded)
    return rows, cols, distance


def _sorted_pairs(xp, left, right, distance):
    order = xp.lexsort(
        xp.stack([right.astype(np.float64), left.astype(np.float64), distance.astype(np.float64)])
    )
    return LinkedPairs(left[order].astype(np.int64), right[order].astype(np.int64), distance[order])


# --- links by vectors -----------------------------------------------------------------------------


@routine
def embedding_link(
    left_vectors: Float[Array, "nl d"],
    right_vectors: Float[Array, "nr d"],
    *,
    max_distance: Distance | None = None,
    average_matches: Matches = 10,
    block: Annotated[int, at_least(1)] | None = None,
    rng: RNG = None,
) -> LinkedPairs:
    """Pairs of rows whose Euclidean distance is small.

    Parameters
    ----------
    left_vectors : (nl, d) array of float32 or float64
        Rows with a NaN are missing and become the mean of the others of their side.
    right_vectors : (nr, d) array of float32 or float64
        Likewise.
    max_distance : float >= 0, optional
        The largest distance of a link; by default the quantile that `calibrate_distance` finds for
        `average_matches`.
    average_matches : float > 0, default 10
        How many links a row should have, roughly.
    block : int >= 1, optional
        Left rows that are compared at once, by default as many as 4 million distances allow.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the sample that calibrates.

    Returns
    -------
    LinkedPairs
        By ascending distance, then left, then right. A matrix product finds candidates, their
        distances are those of the differences of rows: to a few units of rounding, times d.

    Raises
    ------
    ValueError
        The widths differ, an entry is infinite or too large for its square, all rows of a side are
        missing, or an option is outside of its range.
    TypeError
        Arrays of other dtypes or on different devices.

    Notes
    -----
    2 nl nr d operations, memory of 4 million numbers and the links.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> embedding_link(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [9.0, 9.0]]), max_distance=6)
    LinkedPairs(left=array([0]), right=array([0]), distance=array([5.]))
    """
    xp, dtype = namespace_of(left_vectors), left_vectors.dtype
    left = _without_missing(xp, "left_vectors", left_vectors)
    right = _without_missing(xp, "right_vectors", right_vectors)
    block = max(1, 2**22 // max(len(right), 1)) if block is None else block
    if max_distance is None:
        max_distance = _calibrated(
            left, right, average_matches, rng, lambda a, b: xp.sqrt(_squares(xp, a, b))
        )
    empty = xp.zeros(0, np.int64)
    kept = [(empty, empty, xp.zeros(0, dtype))]
    # what rounding may add to a squared distance, with a margin
    largest = sum(float((a * a).sum(axis=1).max()) if len(a) else 0.0 for a in (left, right))
    slack = 8 * (left.shape[1] + 2) * float(np.finfo(dtype).eps) * largest
    for first in range(0, len(left), block) if len(right) else ():
        rows, cols = xp.nonzero(
            _squares(xp, left[first : first + block], right) <= max_distance**2 * (1 + 1e-6) + slack
        )
        rows = rows + first
        distance = xp.concatenate(
            [
                empty.astype(dtype),
                *(
                    xp.sqrt(
                        ((left[rows[at : at + 2**16]] - right[cols[at : at + 2**16]]) ** 2).sum(
                            axis=1
                        )
                    )
                    for at in range(0, len(rows), 2**16)
                ),
            ]
        )
        near = distance <= max_distance
        kept.append((rows[near], cols[near], distance[near]))
    return _sorted_pairs(xp, *(xp.concatenate(part) for part in zip(*kept, strict=True)))


def _without_missing(xp, name, vectors):
    missing = xp.isnan(vectors).any(axis=1)
    filled = xp.where(missing[:, None], 0, vectors).astype(vectors.dtype)
    largest = float(xp.abs(filled).max()) if filled.size else 0.0
    most = math.sqrt(float(np.finfo(vectors.dtype).max) / (8 * max(filled.shape[1], 1)))
    if largest > most:
        raise ValueError(
            f"{name} must be finite and at most {most:.3g} in absolute value (got {largest})"
        )
    present = len(vectors) - int(missing.sum())
    if len(vectors) and not present:
        raise ValueError(f"{name} must have a row without nan (got none of {len(vectors)})")
    mean = (filled.sum(axis=0, dtype=np.float64) / max(present, 1)).astype(vectors.dtype)
    return xp.where(missing[:, None], mean, filled)


def _squares(xp, a, b):
    return xp.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T), 0)


def _calibrated(left, right, average_matches, rng, distance):
    """What `calibrate_distance` finds, 0 for an empty side."""
    if not len(left) or not len(right):
        return 0.0
    return calibrate_distance(
        left, right, average_matches=average_matches, distance=distance, rng=rng
    )


@routine
def calibrate_distance(
    left: Any,
    right: Any,
    *,
    average_matches: Matches,
    distance: Callable[[Any, Any], Array],
    max_samples: Annotated[int, at_least(1)] = 1000,
    observed_only: bool = True,
    rng: RNG = None,
) -> float:
    """The distance that yields about `average_matches` matches for each row.

    It is the quantile of the distances between two samples at the level average_matches / sqrt(nl
    nr), between 1e-6 and 1.

    Parameters
    ----------
    left, right : anything
        Sequences or arrays of length nl and nr.
    average_matches : float > 0
    distance : callable
        ``distance(some of left, some of right)`` → matrix of distances, infinite where a pair is
        not compared.
    max_samples : int >= 1, default 1000
        Rows of each side at most.
    observed_only : bool, default True
        Whether the quantile is over the finite distances alone, or over all pairs.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    float
        0 where no distance is finite; infinite where the quantile of all pairs is.

    Raises
    ------
    ValueError
        A side is empty, or an option is outside of its range.
    TypeError
        An option has a wrong type.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> calibrate_distance(x, x, average_matches=1, distance=lambda a, b: abs(a[:, None] - b))
    0.0
    """
    rng, parts = generator_from_rng(rng), []
    for name, side in (("left", left), ("right", right)):
        if not len(side):
            raise ValueError(f"{name} must not be empty (got length 0)")
        chosen = np.sort(rng.choice(len(side), min(max_samples, len(side)), replace=False)).tolist()
        parts.append([side[i] for i in chosen] if isinstance(side, (list, tuple)) else side[chosen])
    found = distance(*parts).reshape(-1)
    found = found[found < math.inf] if observed_only else found
    if not len(found):
        return 0.0
    found.sort()  # the quantile that is a distance itself: a link at it is kept
    level = quantile_level(len(left), len(right), average_matches)
    return float(found[max(0, math.ceil(level * len(found)) - 1)])


def quantile_level(nl, nr, average_matches):
    """The share of all pairs that are matches, if a row has so many on average."""
    return min(1.0, max(MIN_LEVEL, average_matches / math.sqrt(nl * nr)))


# --- the probability of a match -------------------------------------------------------------------


@model(fitted="coef_", features="f", host_only="a few numbers are fitted")
class MatchProbability:
    """The probability that a pair is a match, from its distances: p = 1 / (1 + exp(b0 + b1 d)), b1
    >= 0.

    Parameters
    ----------
    l2 : float > 0, default 0.001
        Weight of the penalty ``l2 / 2 * sum(b1**2)`` beside the mean loss of a pair, so that
        coefficients stay finite.

    Attributes
    ----------
    intercept_ : float
        b0.
    coef_ : (f,) array of float64
        b1, none below zero: more distance never makes a match likelier.

    Raises
    ------
    ValueError, TypeError
        An option is outside of its range or has a wrong type.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> model = MatchProbability().fit(
    ...     np.array([0.1, 0.2, 0.5, 0.9]), np.array([True, True, False, False])
    ... )
    >>> model.predict(np.array([0.0, 1.0])).round(1)
    array([1., 0.])
    """

    def __init__(self, *, l2: Annotated[float, positive] = 1e-3) -> None:
        self.l2 = l2

    def fit(
        self,
        X: Real[Array, "n", finite] | Real[Array, "n f", finite],
        y: Bool[Array, "n"],
        *,
        base_rate: Annotated[float, between(0, 1)] | None = None,
    ) -> "MatchProbability":
        """Maximize the likelihood by Newton's method.

        Parameters
        ----------
        X : (n,) array of float32, float64 or integers, finite or (n, f) array of float32, float64 or integers, finite
            Distances of pairs, of one or of several kinds.
        y : (n,) array of bool
            Which pairs are matches.
        base_rate : float in (0, 1), optional
            The share of matches among all pairs: matches and others are weighted to it where they
            were not sampled so.

        Returns
        -------
        MatchProbability
            Itself.
        """  # noqa: E501
        d = _columns(X)
        share = y.mean() if len(y) else 0.0
        if not 0 < share < 1:
            raise ValueError(
                f"y must have both matches and others (got {int(y.sum())} matches of {len(y)})"
            )
        rate = share if base_rate is None else base_rate
        weights = np.where(y, rate / share, (1 - rate) / (1 - share)) / len(y)
        free = np.ones(d.shape[1], bool)
        while True:  # a coefficient that would be negative is held at zero
            b = self._newton(d[:, free], y, weights)
            if (b[1:] >= 0).all():
                break
            free[np.flatnonzero(free)[b[1:] < 0]] = False
        self.intercept_, self.coef_ = float(b[0]), np.zeros(d.shape[1])
        self.coef_[free] = b[1:]
        self.n_features_in_ = d.shape[1]
        return self

    def _newton(self, d, match, weights):
        x = np.column_stack([np.ones(len(d)), d])
        ridge = np.r_[0.0, np.full(d.shape[1], self.l2)]
        b, sign = np.zeros(x.shape[1]), np.where(match, 1.0, -1.0)

        def loss(b):
            return weights @ np.logaddexp(0, sign * (x @ b)) + ridge @ b**2 / 2

        for _ in range(100):
            p = 0.5 * (1 - np.tanh(x @ b / 2))
            gradient = x.T @ (weights * (match - p)) + ridge * b
            curvature = (x * (weights * np.maximum(p * (1 - p), 1e-12))[:, None]).T @ x + np.diag(
                ridge
            )
            step, size, now = np.linalg.solve(curvature, gradient), 1.0, loss(b)
            while loss(b - size * step) > now and size > 1e-10:
                size /= 2
            b = b - size * step
            if np.abs(size * step).max() <= 1e-12 * max(1.0, np.abs(b).max()):
                break
        return b

    def predict(self, X: Real[Array, "n", finite] | Real[Array, "n f", finite]) -> Array:
        """The probability of a match.

        Parameters
        ----------
        X : (n,) array of float32, float64 or integers, finite or (n, f) array of float32, float64 or integers, finite

        Returns
        -------
        (n,) array of float64
        """  # noqa: E501
        d = _columns(X)
        if d.shape[1] != len(self.coef_):
            raise ValueError(f"X must have {len(self.coef_)} columns (got shape {X.shape})")
        return 0.5 * (1 - np.tanh((self.intercept_ + d @ self.coef_) / 2))


def _columns(x):
    """Distances of one kind are one column."""
    return (x[:, None] if x.ndim == 1 else x).astype(np.float64)


# --- networks of names ----------------------------------------------------------------------------


@routine(host_only="a network is made on the host")
def name_network(
    alias_ids: Ids, profile_ids: Ids, counts: Real[Array, "m", finite, nonnegative] | None = None
) -> CSR:
    """How often a walk from a name through a profile that uses it ends at each name.

    ``T[i, j] = sum over profiles u of P(u | i) P(j | u)``, with P(u | i) the share of u among the
    uses of i, P(j | u) that of j among the names of u.

    Parameters
    ----------
    alias_ids, profile_ids : (m,) array of integers, in [0, 2147483647)
        Uses of a name by a profile, both numbered from 0.
    counts : (m,) array of float32, float64 or integers, >= 0, finite, optional
        How often, by default 1. Repeated uses are summed.

    Returns
    -------
    CSR
        (aliases, aliases), float64 in NumPy arrays; rows sum to 1, those of names that are never
        used to 0.

    Raises
    ------
    ValueError
        Lengths differ, an id is negative or too large, or a count negative or not finite.
    TypeError
        Ids are no integers, or counts no numbers.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> name_network([0, 1, 1, 2], [0, 0, 1, 1], [2, 2, 2, 4]).toarray().round(3)
    array([[0.5  , 0.5  , 0.   ],
           [0.25 , 0.417, 0.333],
           [0.   , 0.333, 0.667]])
    """
    names, profiles = alias_ids.astype(np.int64), np.unique(profile_ids, return_inverse=True)
    weights = np.ones(len(names)) if counts is None else counts.astype(np.float64)
    used = weights > 0
    shape = int(names.max(initial=-1)) + 1, len(profiles[0])
    weights = weights[used] / weights.max(initial=1)  # so that no sum overflows
    uses = CSR.from_coo(names[used], profiles[1][used], weights, shape)
    return CSR(
        *_product(_row_stochastic(uses), _row_stochastic(uses.T), 1.0, 0.0)[0],
        (shape[0], shape[0]),
    )


def _row_stochastic(a):
    """indptr, indices and data of a matrix whose rows are divided by their sums."""
    sums = (
        np.bincount(a.rows, weights=a.data, minlength=a.shape[0]) if a.nnz else np.ones(a.shape[0])
    )
    return a.indptr.astype(np.int64), a.indices.astype(np.int64), a.data / sums[a.rows]


def _product(outer, inner, inflation, prune):
    """Rows of outer · inner, to a power, pruned, divided by their sums; and the largest max - sum
    of squares of a row. Matrices are indptr, indices, not in order within a row, and data; the
    product is square."""
    n, chaos, parts = len(outer[0]) - 1, 0.0, []
    sizes, rows, room = (
        np.zeros(n + 1, np.int64),
        np.arange(n),
        16 + 12 * len(outer[2]) // max(n, 1),
    )
    while len(rows):
        crowded, batch = (
            [rows[:0]],
            max(1, WORKSPACE // (16 * room)),
        )  # crowded are rows with more entries than there is room for
        indices, data = (
            np.empty((min(batch, len(rows)), room), dtype) for dtype in (np.int64, np.float64)
        )
        for first in range(0, len(rows), batch):
            these = rows[first : first + batch]
            counts, spread = np.empty(len(these), np.int64), np.empty(len(these))
            stochastic_product(
                these,
                *outer,
                *inner,
                indices[: len(these)],
                data[: len(these)],
                counts,
                spread,
                inflation,
                prune,
            )
            complete = counts <= room
            crowded.append(these[~complete])
            sizes[these[complete] + 1] = counts[complete]
            at = _places(room * np.flatnonzero(complete), counts[complete])
            parts.append((these[complete], indices.ravel()[at], data.ravel()[at]))
            chaos = max(chaos, float(spread.max()))
        rows, room = np.concatenate(crowded), 4 * room
    indptr = np.cumsum(sizes)
    cols, values = np.empty(indptr[-1], np.int64), np.empty(indptr[-1])
    for these, indices, data in parts:
        at = _places(indptr[these], sizes[these + 1])
        cols[at], values[at] = indices, data
    return (indptr, cols, values), chaos


def _places(starts, counts):
    """start, start + 1, …, start + count - 1 of each start in turn."""
    return np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


@routine(host_only="clusters are found on the host")
def network_clusters(
    network: Sparse[CSRLike, "n n"],
    *,
    method: Literal["markov", "modularity"] = "markov",
    inflation: Annotated[float, interval("(1, inf)")] = 2.0,
    expansion: Annotated[int, at_least(2)] = 2,
    prune: Annotated[float, interval("[0, 1)")] = 1e-4,
    max_iter: Annotated[int, at_least(1)] = 100,
    tol: Annotated[float, positive] = 1e-6,
) -> Array:
    """Which nodes of a network belong together.

    Parameters
    ----------
    network : (n, n) CSR or sparse array
        Weights >= 0. Both directions of an edge are averaged.
    method : {"markov", "modularity"}, default "markov"
        Markov clustering lets walks spread (the matrix to the power `expansion`) and favours what
        is likely (entries to the power `inflation`) until nothing changes. Greedy modularity joins,
        again and again, the two clusters that add most to it.
    inflation : float > 1, default 2.0
        Larger values give more, smaller clusters.
    expansion : int >= 2, default 2
        The power of the matrix.
    prune : float in [0, 1), default 0.0001
        Probabilities below it are dropped, except the largest of a column.
    max_iter : int >= 1, default 100
        Rounds of Markov clustering at most.
    tol : float > 0, default 1e-06
        A matrix has settled if max - sum of squares of every column is below it.

    Returns
    -------
    (n,) array of int64
        Labels from 0, in the order in which clusters first appear. A node without edges is a
        cluster.

    Raises
    ------
    ValueError
        A weight is negative or not finite, the matrix is not square, or an option is outside of its
        range.
    TypeError
        Arrays of other dtypes or on a GPU.

    Notes
    -----
    A round of Markov clustering costs the number of products of entries. Greedy modularity runs in
    plain Python, in O(nnz log n) for each level of merging.

    References
    ----------
    S. van Dongen, "Graph clustering by flow simulation", University of Utrecht, 2000. A. Clauset,
    M. E. J. Newman, C. Moore, "Finding community structure in very large networks", Physical Review
    E, 2004.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> two_pairs = CSR.from_dense(np.kron(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])))
    >>> network_clusters(two_pairs)
    array([0, 0, 1, 1])
    """
    weights = network.data
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"network must be finite and >= 0 (got {weights.min()} … {weights.max()})")
    n, a = network.shape[0], network.with_data(weights.astype(np.float64))
    used = a.data > 0
    rows, cols, weights = (
        a.rows[used],
        a.indices[used],
        a.data[used] / a.data.max(initial=1e-300) / 2,
    )
    a = CSR.from_coo(
        np.concatenate([rows, cols]),
        np.concatenate([cols, rows]),
        np.concatenate([weights, weights]),
        (n, n),
    )
    return (
        _modularity(a)
        if method == "modularity"
        else _markov(a, inflation, expansion, prune, max_iter, tol)
    )


def _markov(a, inflation, expansion, prune, max_iter, tol):
    """Columns of the stochastic matrix are rows here, since the start is symmetric but for the
    scale of each."""
    n = a.shape[0]
    loops = np.zeros(n)  # as heavy as the heaviest edge of the node, so that walks can stay
    np.maximum.at(loops, a.rows, a.data)
    loops[loops == 0] = 1
    edges = a.rows != a.indices
    m = _row_stochastic(
        CSR.from_coo(
            np.concatenate([a.rows[edges], np.arange(n)]),
            np.concatenate([a.indices[edges], np.arange(n)]),
            np.concatenate([a.data[edges], loops]),
            (n, n),
        )
    )
    for _ in range(max_iter):
        power = m
        for _ in range(expansion - 2):
            power, _ = _product(power, m, 1.0, 0.0)
        m, chaos = _product(power, m, inflation, prune)
        if chaos < tol:
            break
    return _components(np.repeat(np.arange(n), np.diff(m[0])), m[1], n)


def _components(a, b, n):
    """Labels of connected components, in the order of their first nodes."""
    label = np.arange(n)
    while True:
        new = label.copy()
        np.minimum.at(new, a, label[b])
        np.minimum.at(new, b, label[a])
        new = new[new]
        if (new == label).all():
            return np.unique(label, return_inverse=True)[1].astype(np.int64)
        label = new


def _modularity(a):
    """The pair with the largest gain 2 (e_ij - a_i a_j) is merged until no gain is positive; e are
    shares of the edges' weight."""
    n, total = a.shape[0], float(a.data.sum())
    parent = np.arange(n)
    if total == 0:
        return parent
    share = (np.bincount(a.rows, weights=a.data, minlength=n) / total).tolist()
    joined = [{} for _ in range(n)]
    for i, j, weight in zip(
        a.rows.tolist(), a.indices.tolist(), (a.data / total).tolist(), strict=True
    ):
        if i != j:
            joined[i][j] = weight

    def entry(i, j):
        i, j = min(i, j), max(i, j)
        return -2 * (joined[i][j] - share[i] * share[j]), i, j

    heap = [entry(i, j) for i in range(n) for j in joined[i] if i < j]
    heapq.heapify(heap)
    while heap:
        found = heapq.heappop(heap)
        gain, i, j = found
        if gain >= -1e-15:  # what is left of exact ties is rounding
            break
        if j not in joined[i] or entry(i, j) != found:
            continue  # from before a merger
        keep, gone = (i, j) if len(joined[i]) >= len(joined[j]) else (j, i)
        parent[gone] = keep
        share[keep] += share[gone]
        for k, weight in joined[gone].items():
            del joined[k][gone]
            if k != keep:
                joined[keep][k] = joined[k][keep] = joined[keep].get(k, 0.0) + weight
        joined[gone] = {}
        for k in joined[keep]:
            heapq.heappush(heap, entry(keep, k))
    return _components(np.arange(n), parent, n)


# --- through a directory --------------------------------------------------------------------------


@routine(host_only=HOST_ONLY)
def link_through_directory(
    left: Strings,
    right: Strings,
    directory_names: Strings,
    canonical_ids: Integer[Array, "m", nonnegative],
    *,
    measure: Measure = "qgram_jaccard",
    q: Annotated[int, at_least(1)] = 2,
    max_distance: Distance | None = None,
    average_matches: Matches = 2,
    min_shared_trigrams: Share = 0.05,
    relative_weight: Annotated[float, positive] = 1.5,
    direct: bool = True,
    rng: RNG = None,
) -> DirectoryLinks:
    """Links between names that are near to names of one organization in a directory.

    Both sides are linked to the directory by `fuzzy_link`. Two names that reach the same canonical
    id have the distance ``relative_weight`` times the larger of their distances to it.

    Parameters
    ----------
    left, right : sequence of str
    directory_names : sequence of str
    canonical_ids : (m,) array of integers, >= 0
        What each name of the directory stands for: labels of `network_clusters`, say.
    measure : {"qgram_jaccard", "osa", "jaro_winkler"}, default "qgram_jaccard"
        As for `fuzzy_link`.
    q : int >= 1, default 2
        As for `fuzzy_link`.
    max_distance : float >= 0, optional
        Of the steps into the directory and of the direct links.
    average_matches : float > 0, default 2
        How many names of the directory a name should reach, if no `max_distance` is given.
    min_shared_trigrams : float in [0, 1], default 0.05
        As for `fuzzy_link`.
    relative_weight : float > 0, default 1.5
        The weight of a detour.
    direct : bool, default True
        Whether the names themselves are compared too, and the smaller distance is taken.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the samples that calibrate.

    Returns
    -------
    DirectoryLinks
        By ascending distance, then left, then right, each pair once.

    Raises
    ------
    ValueError
        There is not one canonical id for each name of the directory, an id is negative, or an
        option is outside of its range.
    TypeError
        A name is no string, or ids are no integers.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> links = link_through_directory(
    ...     ["Fannie Mae"],
    ...     ["Federal National Mortgage Assn."],
    ...     ["fannie mae", "federal national mortgage association", "freddie mac"],
    ...     [1, 1, 2],
    ...     max_distance=0.2,
    ... )
    >>> links.via, links.distance
    (array([1]), array([0.25]))
    """
    if len(canonical_ids) != len(directory_names):
        raise ValueError(
            f"canonical_ids must have shape ({len(directory_names)},), one id for each name of the "
            f"directory (got {canonical_ids.shape})"
        )
    fuzzy = {
        "measure": measure,
        "q": q,
        "max_distance": max_distance,
        "average_matches": average_matches,
        "min_shared_trigrams": min_shared_trigrams,
        "rng": generator_from_rng(rng),
    }
    legs = []
    for side in (left, right):
        pairs = fuzzy_link(side, directory_names, **fuzzy)
        legs.append(
            _nearest(pairs.left, canonical_ids[pairs.right].astype(np.int64), pairs.distance)
        )
    rows, cols, distance, via = _joined(*legs)
    distance = relative_weight * distance
    if direct:
        pairs = fuzzy_link(left, right, **fuzzy)
        rows, cols = np.concatenate([pairs.left, rows]), np.concatenate([pairs.right, cols])
        via = np.concatenate([np.full(len(pairs.left), -1), via])
        distance = np.concatenate([pairs.distance, distance])
    order = np.lexsort([via, distance, cols, rows])
    order = order[_firsts(rows[order], cols[order])]
    order = order[np.lexsort([cols[order], rows[order], distance[order]])]
    return DirectoryLinks(rows[order], cols[order], distance[order], via[order])


def _firsts(a, b):
    """Where a pair differs from the one before it."""
    return np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])])[: len(a)]


def _nearest(names, ids, distance):
    """For each name and id the smallest distance, by ascending id."""
    order = np.lexsort([distance, names, ids])
    order = order[_firsts(names[order], ids[order])]
    return names[order], ids[order], distance[order]


def _joined(one, other):
    """Pairs of names with a common id: rows, columns, the larger distance, the id."""
    starts, ends = (np.searchsorted(other[1], one[1], side=side) for side in ("left", "right"))
    repeats = ends - starts
    mine = np.repeat(np.arange(len(starts)), repeats)
    theirs = _places(starts, repeats)
    return one[0][mine], other[0][theirs], np.maximum(one[2][mine], other[2][theirs]), one[1][mine]


@routine(host_only="a few numbers are counted")
def linkage_quality(
    pairs: LinkedPairs
    | DirectoryLinks
    | tuple[Integer[Array, "n_pairs"], Integer[Array, "n_pairs"]],
    true_pairs: tuple[Integer[Array, "n_true"], Integer[Array, "n_true"]],
    *,
    n_left: Annotated[int, nonnegative],
    n_right: Annotated[int, nonnegative],
    beta: Annotated[float, positive] = 1.0,
) -> LinkageQuality:
    """How many of the found pairs are true, and how many of the true ones are found.

    Parameters
    ----------
    pairs : LinkedPairs or DirectoryLinks or ((n_pairs,) array of integers, (n_pairs,) array of integers)
        Or their row numbers, left and right.
    true_pairs : ((n_true,) array of integers, (n_true,) array of integers)
        Row numbers; repeated pairs count once.
    n_left, n_right : int >= 0
        Rows of each side.
    beta : float > 0, default 1.0
        How many times more recall counts than precision in ``f_beta``.

    Returns
    -------
    LinkageQuality
        A quotient without denominator is 0.

    Raises
    ------
    ValueError
        A row number is outside of its side, or lengths differ.
    TypeError
        Row numbers are no integers.

    References
    ----------
    C. J. van Rijsbergen, "Information Retrieval", 1979, chapter 7.

    Examples
    --------
    >>> linkage_quality(([0, 1], [0, 0]), ([0], [0]), n_left=2, n_right=2)
    LinkageQuality(tp=1, fp=1, fn=0, tn=2, precision=0.5, recall=1.0, f_beta=0.6666666666666666)
    """  # noqa: E501
    found, true = (
        _pair_set("pairs", pairs, n_left, n_right),
        _pair_set("true_pairs", true_pairs, n_left, n_right),
    )
    tp = len(found & true)
    fp, fn = len(found) - tp, len(true) - tp
    weighted = (1 + beta**2) * tp
    return LinkageQuality(
        tp,
        fp,
        fn,
        n_left * n_right - tp - fp - fn,
        tp / (tp + fp) if found else 0.0,
        tp / (tp + fn) if true else 0.0,
        weighted / (weighted + beta**2 * fn + fp) if found or true else 0.0,
    )


def _pair_set(name, pairs, n_left, n_right):
    for side, limit in zip(pairs[:2], (n_left, n_right), strict=True):
        if side.size and not 0 <= int(side.min()) <= int(side.max()) < limit:
            low, high = int(side.min()), int(side.max())
            raise ValueError(
                f"{name} must have rows in [0, {limit}) (got {low if low < 0 else high})"
            )
    return set(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in int64 offsets[c+1]; in int64 grams[x]; in int64 postings[u]; in int64 strings[y]; "
    "out uint16 shared[c, nr]; in int64 sizes[c]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def count_shared_grams(offsets, grams, postings, strings, shared, sizes, start, stop):
    """How many grams of each left string each right string has, 65535 at most; the sizes are the
    numbers of its grams."""
    for i in range(start, stop):
        row = shared[i]
        row[:] = 0
        for e in range(np.uintp(offsets[i]), np.uintp(offsets[i] + sizes[i])):
            for at in range(np.uintp(postings[grams[e]]), np.uintp(postings[grams[e] + 1])):
                j = np.uintp(strings[at])
                row[j] += np.uint16(row[j] < np.uint16(65535))


@kernel(
    "inout uint16 shared[c, nr]; in uint16 need[c]; in uint16 common[c, nr]; in float32 sizes[c]; "
    "in float32 right_sizes[nr]; "
    "out int64 enough[c]; float32 similarity",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def count_candidates(shared, need, common, sizes, right_sizes, enough, similarity, start, stop):
    """How many right strings have enough shared grams; those with fewer than similarity / (1 +
    similarity) common ones lose them."""
    one, most = np.float32(1), np.uint16(65535)  # to which they are counted
    for i in range(start, stop):
        least, count = need[i], np.int64(0)
        for j in range(shared.shape[1]):
            near = (
                np.float32(common[i, j]) * (one + similarity)
                >= similarity * (sizes[i] + right_sizes[j])
            ) | (common[i, j] == most)
            shared[i, j] = shared[i, j] if near else np.uint16(0)
            count += shared[i, j] >= least
        enough[i] = count


@kernel(
    "in uint16 shared[c, nr]; in uint16 need[c]; in int64 starts[c+1]; inout int64 found[f]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def list_candidates(shared, need, starts, found, start, stop):
    for i in range(start, stop):
        row, at, base = shared[i], starts[i], 0
        while base < len(row):  # most stretches of 64 have none
            end, largest = min(base + 64, len(row)), np.uint16(0)
            for j in range(base, end):
                largest = max(largest, row[j])
            if largest >= need[i]:
                for j in range(base, end):
                    if row[j] >= need[i]:
                        found[at] = j
                        at += 1
            base = end


@kernel(
    "in int64 rows[c]; in int64 offsets[nl]; in int32 grams[x]; in int64 rare[n]; "
    "in uint64 signatures[n]; in int64 postings[u]; "
    "in int32 strings[z]; in int32 posted_sizes[z]; in uint64 posted_signatures[z]; "
    "in int64 right_offsets[nr]; "
    "in int32 right_grams[y]; inout int32 found[c, room]; out int64 counts[c]; float64 similarity; "
    "scratch uint8 mine[u]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def near_by_rare_grams(
    rows,
    offsets,
    grams,
    rare,
    signatures,
    postings,
    strings,
    posted_sizes,
    posted_signatures,
    right_offsets,
    right_grams,
    found,
    counts,
    similarity,
    mine,
    start,
    stop,
):
    """Right strings whose sets of grams are similar enough: as many as there is room for, and how
    many there are. Sets that differ in d grams have signatures that differ in d bits at most. A
    pair counts where its rarest common gram finds it."""
    mine[:] = 0
    share, spread = similarity / (1 + similarity), (1 - similarity) / (1 + similarity)
    for k in range(start, stop):
        i, count = rows[k], np.int64(0)
        first, last = np.uintp(offsets[i]), np.uintp(offsets[i + 1])
        size, signature = np.int64(last - first), signatures[i]
        for e in range(first, last):
            mine[np.uintp(grams[e])] = 1
        for e in range(first, first + np.uintp(rare[i])):
            gram = grams[e]
            for at in range(np.uintp(postings[gram]), np.uintp(postings[gram + 1])):
                both = np.float64(size + posted_sizes[at])
                if (
                    np.float64(np.int64(popcount(signature ^ posted_signatures[at])))
                    <= spread * both
                ):
                    j = strings[at]
                    f, end = np.uintp(right_offsets[j]), np.uintp(right_offsets[j + 1])
                    while mine[np.uintp(right_grams[f])] == 0:
                        f += np.uintp(1)
                    if right_grams[f] == gram:
                        common = np.int64(0)
                        while f < end:
                            common += mine[np.uintp(right_grams[f])]
                            f += np.uintp(1)
                        if np.float64(common) >= share * both:
                            if count < found.shape[1]:
                                found[k, count] = j
                            count += 1
        for e in range(first, last):
            mine[np.uintp(grams[e])] = 0
        counts[k] = count


@kernel(
    "in int64 offsets[nl]; in int64 grams[x]; in int64 right_offsets[nr]; in int64 right_grams[y]; "
    "in int64 rows[c]; in int64 cols[c]; "
    "out int64 common[c]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
)
def pair_common_grams(offsets, grams, right_offsets, right_grams, rows, cols, common, start, stop):
    for k in range(start, stop):
        a, a_end = np.uintp(offsets[rows[k]]), np.uintp(offsets[rows[k] + 1])
        b, b_end = np.uintp(right_offsets[cols[k]]), np.uintp(right_offsets[cols[k] + 1])
        count = np.int64(0)
        while a < a_end and b < b_end:
            x, y = grams[a], right_grams[b]
            count += x == y
            a += np.uintp(x <= y)
            b += np.uintp(y <= x)
        common[k] = count


LETTERS = (
    "in uint32 left[t]; in int64 left_offsets[nl]; in uint32 right[r]; in int64 right_offsets[nr]; "
    "in int64 rows[c]; "
    "in int64 cols[c]; inout int32 work[c, w]; out float64 distance[c]"
)


@kernel(LETTERS, split="c", gpu=None, host_only=HOST_ONLY, grain="16")
def pair_osa(left, left_offsets, right, right_offsets, rows, cols, work, distance, start, stop):
    """The edit distance with swaps of neighbours by its table, of which three rows are kept."""
    for k in range(start, stop):
        a, b = left_offsets[rows[k]], right_offsets[cols[k]]
        m, n = left_offsets[rows[k] + 1] - a, right_offsets[cols[k] + 1] - b
        row = work[k]
        for j in range(n + 1):
            row[j] = j
        for i in range(1, m + 1):
            now, above, before = (i % 3) * (n + 1), ((i + 2) % 3) * (n + 1), ((i + 1) % 3) * (n + 1)
            row[now] = i
            for j in range(1, n + 1):
                differ = left[a + i - 1] != right[b + j - 1]
                best = min(min(row[above + j], row[now + j - 1]) + 1, row[above + j - 1] + differ)
                if (
                    i > 1
                    and j > 1
                    and left[a + i - 1] == right[b + j - 2]
                    and left[a + i - 2] == right[b + j - 1]
                ):
                    best = min(best, row[before + j - 2] + 1)
                row[now + j] = best
        distance[k] = row[(m % 3) * (n + 1) + n]


@kernel(LETTERS, split="c", gpu=None, host_only=HOST_ONLY, grain="16")
def pair_jaro_winkler(
    left, left_offsets, right, right_offsets, rows, cols, work, distance, start, stop
):
    for k in range(start, stop):
        i, j = rows[k], cols[k]
        distance[k] = 1 - jaro_pair(
            left,
            left_offsets[i],
            left_offsets[i + 1] - left_offsets[i],
            right,
            right_offsets[j],
            right_offsets[j + 1] - right_offsets[j],
            work[k],
            0.1,
        )


@kernel(
    "in int64 rows[c]; in int64 outer_indptr[m]; in int64 outer_indices[x]; "
    "in float64 outer_data[x]; in int64 inner_indptr[p]; "
    "in int64 inner_indices[y]; in float64 inner_data[y]; inout int64 indices[c, room]; "
    "inout float64 data[c, room]; "
    "out int64 counts[c]; out float64 chaos[c]; float64 inflation; float64 prune; "
    "scratch float64 sums[m]; scratch int64 found[m]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def stochastic_product(
    rows,
    outer_indptr,
    outer_indices,
    outer_data,
    inner_indptr,
    inner_indices,
    inner_data,
    indices,
    data,
    counts,
    chaos,
    inflation,
    prune,
    sums,
    found,
    start,
    stop,
):
    """Rows of a square product of sparse matrices without negative entries, to a power, pruned,
    divided by their sums. A row with more entries than there is room for is zero, and its count
    room + 1."""
    room = np.uintp(data.shape[1])
    sums[:] = 0
    for k in range(start, stop):
        count = np.uintp(0)
        for e in range(np.uintp(outer_indptr[rows[k]]), np.uintp(outer_indptr[rows[k] + 1])):
            middle, weight = outer_indices[e], outer_data[e]
            for f in range(np.uintp(inner_indptr[middle]), np.uintp(inner_indptr[middle + 1])):
                j, value = np.uintp(inner_indices[f]), weight * inner_data[f]
                if value > 0:
                    so_far = sums[j]
                    if so_far == 0:
                        found[count] = j
                        count += np.uintp(1)
                    sums[j] = so_far + value
        if count > room:
            for at in range(count):
                sums[np.uintp(found[at])] = 0
            indices[k], data[k], counts[k], chaos[k] = 0, 0.0, room + np.uintp(1), 0.0
            continue
        total, largest = 0.0, 0.0
        for at in range(count):
            j = np.uintp(found[at])
            value = sums[j] * sums[j] if inflation == 2 else sums[j] ** inflation
            sums[j] = 0
            indices[k, at], data[k, at] = j, value
            total += value
            largest = max(largest, value)
        kept, kept_total = np.uintp(0), 0.0
        for at in range(count):
            value = data[k, at]
            if value > 0 and (value >= prune * total or value == largest):
                indices[k, kept], data[k, kept] = indices[k, at], value
                kept_total += value
                kept += np.uintp(1)
        squares = 0.0
        for at in range(kept):
            data[k, at] /= kept_total
            squares += data[k, at] * data[k, at]
        counts[k] = kept
        chaos[k] = largest / kept_total - squares if kept else 0.0
