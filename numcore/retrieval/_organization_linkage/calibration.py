"""The distance that yields a number of matches."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from ...arguments import RNG, Array, at_least
from ...dispatch import routine
from ...random import generator_from_rng
from .pairs import Matches

MIN_LEVEL = 1e-6  # of a calibrating quantile


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


def calibrated(left, right, average_matches, rng, distance):
    """What `calibrate_distance` finds, 0 for an empty side."""
    if not len(left) or not len(right):
        return 0.0
    return calibrate_distance(
        left, right, average_matches=average_matches, distance=distance, rng=rng
    )


def quantile_level(nl, nr, average_matches):
    """The share of all pairs that are matches, if a row has so many on average."""
    return min(1.0, max(MIN_LEVEL, average_matches / math.sqrt(nl * nr)))
