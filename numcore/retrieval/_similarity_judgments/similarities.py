"""Similarities of all pairs of stimuli by their features."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...arguments import Array, Float, finite
from ...dispatch import namespace_of, routine
from .pairs import condensed_pairs, largest

BLOCK = 1 << 20  # numbers of a temporary array
# squared distances below this part of the squared lengths are computed again, from differences
NEAR = 1e-3


@routine
def similarity_matrix(
    features: Float[Array, "n d", finite],
    *,
    metric: Literal["cosine", "correlation", "dot", "neg_euclidean"] = "cosine",
    condensed: bool = False,
) -> Array:
    """Similarities of all pairs of stimuli.

    Parameters
    ----------
    features : (n, d) array of float32 or float64, finite
        One row for each stimulus.
    metric : {"cosine", "correlation", "dot", "neg_euclidean"}, default "cosine"
        Cosine; Pearson correlation of the rows; inner product; minus the Euclidean distance.
    condensed : bool, default False
        Give the pairs i < j as a vector.

    Returns
    -------
    (n, n) array, or (n (n - 1) / 2,) if `condensed`
        Of the same dtype. Cosines of a row of zeros, and correlations of a constant row, are 0.
        Cosines and correlations keep within [-1, 1]; their error is about d units of roundoff.
        Distances of near points are taken from differences, not from inner products.

    Raises
    ------
    ValueError
        Entries that are not finite, another shape, an unknown metric.
    TypeError
        Another dtype.

    Notes
    -----
    O(n² d) operations, nearly all of them in one matrix product.

    References
    ----------
    R. Marjieh et al., "Words are all you need? Language as an approximation for human similarity
    judgments", ICLR 2023.

    Examples
    --------
    >>> similarity_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), condensed=True).round(3)
    array([0.   , 0.707, 0.707])
    """
    xp = namespace_of(features)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        s = _similarities(xp, features, metric).astype(features.dtype, copy=False)
    return condensed_pairs(xp, s) if condensed else s


@routine
def stack_features(
    features_list: Sequence[Float[Array, "n _", finite]],
    *,
    scaling: Literal["unit", "zscore", "none"] = "unit",
) -> Array:
    """Several representations of the same stimuli side by side, scaled so that none dominates.

    Parameters
    ----------
    features_list : sequence of (n, _) array of float32 or float64, finite
        At least one.
    scaling : {"unit", "zscore", "none"}, default "unit"
        "unit": rows of length 1 in every block, so that the cosine of stacked rows is the mean of
        the blocks' cosines. "zscore": columns of mean 0 and variance 1. "none": as they are.

    Returns
    -------
    (n, Σ d_k) array
        Of the same dtype. Rows of zeros stay so under "unit"; constant columns become 0 under
        "zscore".

    Raises
    ------
    ValueError
        No array, different numbers of stimuli, entries that are not finite, an unknown scaling.
    TypeError
        `features_list` is not a list or tuple, other or mixed dtypes, arrays on different devices.

    References
    ----------
    R. Marjieh et al., "Words are all you need? Language as an approximation for human similarity
    judgments", ICLR 2023.

    Examples
    --------
    >>> stack_features([np.array([[3.0, 4.0]]), np.array([[100.0]])])
    array([[0.6, 0.8, 1. ]])
    """
    if not features_list:
        raise ValueError("features_list must have at least one array (got none)")
    xp, blocks = namespace_of(*features_list), features_list
    scale = {
        "unit": unit_rows,
        "zscore": lambda xp, x: (
            unit_rows(xp, centered_rows(xp, x.T)).T * x.dtype.type(len(x)) ** 0.5
        ),
        "none": lambda xp, x: x,
    }[scaling]
    with np.errstate(under="ignore"):
        return xp.concatenate([scale(xp, block) for block in blocks], axis=1)


def _similarities(xp, x, metric):
    if metric == "dot":
        return x @ x.T
    if metric == "neg_euclidean":
        return _negative_distances(xp, x)
    return cosines(xp, unit_rows(xp, centered_rows(xp, x) if metric == "correlation" else x))


def cosines(xp, unit):
    s = unit @ unit.T
    s = xp.clip(s, -1, 1)
    n = xp.arange(len(s))
    s[n, n] = unit.any(axis=1).astype(s.dtype)
    return s


def unit_rows(xp, x):
    """Rows of length 1; rows of zeros stay."""
    if not x.size:
        return x
    x = x / largest(xp, x, 1)
    norm = xp.sqrt(xp.einsum("ij,ij->i", x, x))[:, None]
    return x / xp.where(norm > 0, norm, norm.dtype.type(1))


def centered_rows(xp, x):
    """Rows minus their means, up to a factor; exactly zero where a row is constant but for
    rounding."""
    if not x.size:
        return x
    x = x / largest(xp, x, 1)
    x = x - x.mean(axis=1, keepdims=True)
    varies = xp.abs(x).max(axis=1, keepdims=True) > 8 * np.finfo(x.dtype).eps
    return xp.where(varies, x, x.dtype.type(0))


def _negative_distances(xp, x):
    n = len(x)
    if not x.size:
        return xp.zeros((n, n), x.dtype)
    top = largest(xp, x).astype(np.float64)
    x = x.astype(np.float64) / top
    x = x - x.mean(axis=0)
    g = x @ x.T
    lengths = xp.diagonal(g)[:, None] + xp.diagonal(g)
    squares = lengths - 2 * g
    rows, cols = xp.nonzero(xp.triu(squares < NEAR * lengths, 1))
    step = max(1, BLOCK // x.shape[1])
    for first in range(0, len(rows), step):
        i, j = rows[first : first + step], cols[first : first + step]
        difference = x[i] - x[j]
        squares[i, j] = squares[j, i] = xp.einsum("ij,ij->i", difference, difference)
    return 0 - top * xp.sqrt(xp.maximum(squares, 0))
