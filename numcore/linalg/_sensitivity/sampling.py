"""Sampling rows in proportion to scores."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, Int64, at_least, finite, nonempty, nonnegative
from ...dispatch import namespace_of, routine
from ...random import key_from_rng, uniform


class RowSample(NamedTuple):
    """Sampled rows: ascending ``indices`` (m,) with ``weights`` (m,), and the ``probabilities``
    (n,) of all rows."""

    indices: Int64[Array, "m"]
    weights: Float[Array, "m"]
    probabilities: Float[Array, "n"]


@routine
def sample_rows(
    scores: Float[Array, "n", finite, nonnegative, nonempty],
    size: Annotated[int, at_least(1)],
    *,
    replace: bool = False,
    rng: RNG = None,
) -> RowSample:
    """Sample rows in proportion to their scores, with weights that make sums over the sample
    unbiased.

    Parameters
    ----------
    scores : (n,) array of float32 or float64, >= 0, finite, without an axis of length zero
        Not all zero.
    size : int >= 1
        Number of rows to sample. If it is at least n, all rows are returned with weight 1.
    replace : bool, default False
        False: row i is kept, independently of the others, with probability q_i = min(1, c s_i) and
        weight 1 / q_i, where c is such that the probabilities sum to `size` (or to the number of
        positive scores, if that is smaller); the number of rows varies. True: `size` draws with
        probabilities q_i = s_i / Σs; a row drawn k times has weight k / (size q_i).
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    RowSample
        ``indices`` int64 (m,), ``weights`` (m,) of the dtype of `scores`, ``probabilities`` (n,),
        the q_i. The expectation of Σ weights f(indices) is Σ_i f(i) over rows with positive scores,
        for any f. The weights apply to \\|a_iᵀx\\|^p, so scale the rows by weights^(1/p).

    Raises
    ------
    ValueError
        `scores` is empty, negative, not finite or all zero, or size < 1.
    TypeError
        `scores` has another dtype, `size` is not an integer, or `replace` is not a bool.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023, algorithm 1.

    Examples
    --------
    >>> sample = sample_rows(np.array([8.0, 1.0, 1.0, 1.0, 1.0]), 3, rng=0)
    >>> sample.probabilities
    array([1. , 0.5, 0.5, 0.5, 0.5])
    """
    xp, dtype, top = namespace_of(scores), scores.dtype, float(scores.max())
    if top == 0:
        raise ValueError("scores must not all be zero")
    n, key = len(scores), key_from_rng(rng)
    if size >= n:
        return RowSample(xp.arange(n), xp.ones(n, dtype), xp.ones(n, dtype))
    s = scores.astype(np.float64) / top
    generator = np.random.default_rng(key)
    if replace:
        total = xp.cumsum(s)
        u = uniform(size, rng=generator, xp=xp)
        drawn = xp.searchsorted(total, u * total[-1], side="right")
        counts = xp.bincount(xp.minimum(drawn, xp.nonzero(s)[0][-1]), minlength=n)
        q, indices = s / total[-1], xp.nonzero(counts)[0]
        return RowSample(
            indices, (counts[indices] / (size * q[indices])).astype(dtype), q.astype(dtype)
        )
    q = _capped(xp, s, size)
    indices = xp.nonzero(uniform(n, rng=generator, xp=xp) < q)[0]
    return RowSample(indices, (1 / q[indices]).astype(dtype), q.astype(dtype))


def _capped(xp, s, size):
    """min(1, c s) with c such that the sum is `size`: the largest scores are capped, the others
    share the rest."""
    ordered = xp.sort(s)[::-1]
    rest = xp.cumsum(ordered[::-1])[::-1]  # sum of this score and all smaller ones
    left = size - xp.arange(len(s), dtype=np.float64)
    fits = (left > 0) & (left * ordered <= rest)
    if not bool(fits.any()):  # fewer positive scores than requested rows
        return (s > 0).astype(np.float64)
    first = int(fits.argmax())
    total = float(rest[first])
    return (
        xp.where(s > 0, xp.minimum(s * (float(left[first]) / total), 1), 0.0)
        if total > 0
        else (s > 0).astype(np.float64)
    )
