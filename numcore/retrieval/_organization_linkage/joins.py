"""Links between two sides: by names that look alike, and by vectors that are near."""

import math
from typing import Annotated

import numpy as np

from ...arguments import RNG, Array, Float, at_least
from ...dispatch import namespace_of, routine
from ...random import generator_from_rng
from .._strings.packing import Strings
from .calibration import calibrated
from .candidates import Candidates
from .names import HOST_ONLY, unique_names
from .pairs import Distance, LinkedPairs, Matches, Measure, Share, expanded, sorted_pairs


@routine(host_only=HOST_ONLY)
def fuzzy_link(
    left: Strings,
    right: Strings,
    *,
    measure: Measure = "qgram_jaccard",
    q: Annotated[int, at_least(1)] = 2,
    max_distance: Distance | None = None,
    average_matches: Matches = 10.0,
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
    average_matches : float > 0, default 10.0
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
    options = Candidates(measure, q, min_shared_trigrams)
    rng = generator_from_rng(rng)
    (left, left_at), (right, right_at) = unique_names(left), unique_names(right)
    if max_distance is None:
        max_distance = calibrated(left, right, average_matches, rng, options.all_distances)
    rows, cols, distance = options.near(left, right, max_distance)
    return sorted_pairs(np, *expanded(rows, cols, distance, left_at, right_at))


@routine
def embedding_link(
    left_vectors: Float[Array, "nl d"],
    right_vectors: Float[Array, "nr d"],
    *,
    max_distance: Distance | None = None,
    average_matches: Matches = 10.0,
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
    average_matches : float > 0, default 10.0
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
        max_distance = calibrated(
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
    return sorted_pairs(xp, *(xp.concatenate(part) for part in zip(*kept, strict=True)))


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
