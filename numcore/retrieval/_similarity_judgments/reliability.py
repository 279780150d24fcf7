"""How reliable human ratings are, which bounds what a model of them can reach."""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, within
from ...dispatch import namespace_of, routine
from ...random import generator_from_rng, key_from_rng
from .kernels import half_means
from .pairs import CONSTANT, correlation_of, largest, percentiles, row_correlations, row_ranks

BLOCK = 1 << 20  # numbers of a temporary array
MAX_DRAWS = 10**7


class Reliability(NamedTuple):
    """How far halves of the raters agree: their mean correlation, that expected of all raters, and
    95 % of the splits' correlations."""

    split_half: float
    spearman_brown: float
    interval: tuple[float, float]

    @property
    def noise_ceiling(self) -> float:
        """√reliability: the correlation with the ratings that a perfect model is expected to have;
        0 for a negative reliability."""
        return max(self.spearman_brown, type(self.spearman_brown)(0)) ** 0.5


@routine
def rating_reliability(
    ratings: Float[Array, "n_pairs n_raters"],
    *,
    n_splits: Annotated[int, within(1, MAX_DRAWS)] = 1000,
    method: Literal["pearson", "spearman"] = "pearson",
    missing: Literal["raise", "drop"] = "raise",
    rng: RNG = None,
) -> Reliability:
    """How reliable ratings of pairs are: correlations of the means of one half of the raters with
    those of the other half.

    Parameters
    ----------
    ratings : (n_pairs, n_raters) array of float32 or float64
        The ratings of at least 3 pairs by all raters, NaN where there is none. If none is missing,
        a split divides the raters; otherwise it divides the ratings of each pair. An odd one is
        left out at random.
    n_splits : int in [1, 10000000], default 1000
        Random splits.
    method : {"pearson", "spearman"}, default "pearson"
    missing : {"raise", "drop"}, default "raise"
        What to do with pairs that have fewer than two ratings: an error, or leave them out.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    Reliability
        `split_half`, the mean correlation r over the splits; `spearman_brown`, 2 r / (1 + r), the
        reliability of the mean of all raters; `interval`, the 2.5 and 97.5 percentiles of the
        splits' correlations, which x → 2 x / (1 + x) makes an interval of the reliability;
        `noise_ceiling`, the root of the reliability, which a model's correlation with the ratings
        is not expected to exceed. Numbers of the dtype of `ratings`, computed in float64.

    Raises
    ------
    ValueError
        A pair with fewer than two ratings, fewer than 3 pairs, infinite ratings, all means of a
        half the same, or unknown options.
    TypeError
        Another dtype.

    Notes
    -----
    Without missing ratings a Pearson correlation follows from the covariances of the raters: O(P r²
    + n_splits r²) operations. Else O(n_splits P r), for "spearman" with a sort of the means.

    References
    ----------
    W. Brown, "Some experimental results in the correlation of mental abilities", British Journal of
    Psychology, 1910; R. Marjieh et al., "Words are all you need? Language as an approximation for
    human similarity judgments", ICLR 2023.

    Examples
    --------
    Two raters can be split in one way only.

    >>> r = rating_reliability(
    ...     np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [4.0, 3.0]]), n_splits=10, rng=0
    ... )
    >>> (
    ...     round(float(r.split_half), 6),
    ...     round(float(r.spearman_brown), 6),
    ...     round(float(r.noise_ceiling), 6),
    ... )
    (0.6, 0.75, 0.866025)
    """
    xp, dtype = namespace_of(ratings), ratings.dtype
    key = key_from_rng(rng)
    x, known = _checked_ratings(xp, ratings, missing)
    if bool(known.all()):
        r = _rater_splits(xp, x, n_splits, method, generator_from_rng(np.random.SeedSequence(key)))
    else:
        r = _pairwise_splits(xp, x, known, n_splits, method, key)
    if not bool(xp.isfinite(r).all()):
        raise ValueError(
            "ratings must differ between pairs (got a half of the raters with the same mean for "
            "all: correlation undefined)"
        )
    mean = float(r.mean())
    full = 2 * mean / (1 + mean) if mean > -1 else -math.inf
    return Reliability(dtype.type(mean), dtype.type(full), percentiles(xp, r, dtype))


def _checked_ratings(xp, ratings, missing):
    """Ratings as float64, scaled and centered as a whole, of the pairs that have two; and where
    they are known."""
    if bool(xp.isinf(ratings).any()):
        raise ValueError("ratings must be finite, or NaN where missing (got inf)")
    x, known = ratings.astype(np.float64), ~xp.isnan(ratings)
    enough = known.sum(axis=1) >= 2
    if not bool(enough.all()):
        if missing == "raise":
            raise ValueError(
                f"ratings must have at least 2 for every pair (got fewer in row "
                f"{int(enough.argmin())}); "
                "missing='drop' leaves such pairs out"
            )
        x, known = x[enough], known[enough]
    if len(x) < 3:
        raise ValueError(f"ratings must have at least 3 pairs (got {len(x)})")
    filled = xp.where(known, x, 0)
    filled = filled / largest(xp, filled)
    return xp.where(known, filled - filled.sum() / known.sum(), 0), known


def _rater_splits(xp, x, n_splits, method, rng):
    """(n_splits,) correlations of the halves of the raters."""
    raters = x.shape[1]
    x = x - x.mean(axis=0)
    covariance, parts = x.T @ x, []
    step = max(1, min(BLOCK // max(raters, 1 if method == "pearson" else len(x)), n_splits))
    for first in range(0, n_splits, step):
        a, b = (xp.asarray(half) for half in _halves(rng, min(step, n_splits - first), raters))
        if method == "spearman":
            parts.append(row_correlations(xp, row_ranks(xp, a @ x.T), row_ranks(xp, b @ x.T)))
            continue
        aa, bb, ab = (
            ((left @ covariance) * right).sum(axis=1) for left, right in ((a, a), (b, b), (a, b))
        )
        least = CONSTANT * xp.trace(covariance)
        parts.append(xp.where((aa > least) & (bb > least), correlation_of(xp, ab, aa, bb), np.nan))
    return xp.concatenate(parts)


def _halves(rng, count, raters):
    """Two (count, raters) arrays: the weights of the raters in the means of either half, in random
    splits."""
    half = raters // 2
    order = rng.permuted(np.tile(np.arange(raters), (count, 1)), axis=1)
    weights = np.zeros((2, count, raters))
    for part in (0, 1):
        np.put_along_axis(
            weights[part], order[:, part * half : (part + 1) * half], 1 / half, axis=1
        )
    return weights


def _pairwise_splits(xp, x, known, n_splits, method, key):
    """(n_splits,) correlations of the halves of each pair's ratings."""
    values, ends = x[known], xp.cumsum(known.sum(axis=1))
    indptr = xp.concatenate([xp.zeros(1, np.int64), ends.astype(np.int64)])
    step, parts = max(1, min(BLOCK // len(x), n_splits)), []
    for first in range(0, n_splits, step):
        halves = xp.empty((min(step, n_splits - first), 2, len(x)))
        half_means(values, indptr, halves, *key, first)
        a, b = halves[:, 0], halves[:, 1]
        if method == "spearman":
            a, b = row_ranks(xp, a), row_ranks(xp, b)
        parts.append(row_correlations(xp, a, b))
    return xp.concatenate(parts)
