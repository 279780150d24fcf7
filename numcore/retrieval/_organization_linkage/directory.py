"""Links through a directory of names that are known to mean the same, and the quality of links."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, Int64, Integer, at_least, nonnegative, positive
from ...dispatch import routine
from ...random import generator_from_rng
from .._strings.packing import Strings
from .joins import fuzzy_link
from .names import HOST_ONLY
from .pairs import Distance, LinkedPairs, Matches, Measure, Share, places


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
    average_matches: Matches = 2.0,
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
    average_matches : float > 0, default 2.0
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
    theirs = places(starts, repeats)
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
    found = _pair_set("pairs", pairs, n_left, n_right)
    true = _pair_set("true_pairs", true_pairs, n_left, n_right)
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
