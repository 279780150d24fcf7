"""Correlations of similarity matrices, with tests that respect that pairs share stimuli."""

from typing import Annotated, Literal, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, finite, within
from ...dispatch import namespace_of, routine
from ...random import generator_from_rng, key_from_rng
from .kernels import permuted_products
from .pairs import checked_pairs, correlation_of, percentiles, ranks, square, standardized

BLOCK = 1 << 20  # numbers of a temporary array
MAX_DRAWS = 10**7
TIE = 1e-12  # correlations of permutations that differ by rounding errors only are the same


class RSAResult(NamedTuple):
    """Agreement of two similarity matrices; `pvalue` and `interval` are None where they were not
    asked for."""

    correlation: float
    pvalue: float | None
    interval: tuple[float, float] | None


@routine
def representational_similarity(
    predicted: Float[Array, "n n", finite] | Float[Array, "_", finite],
    target: Float[Array, "n n", finite] | Float[Array, "_", finite],
    *,
    method: Literal["pearson", "spearman"] = "pearson",
    n_permutations: Annotated[int, within(0, MAX_DRAWS)] = 0,
    n_bootstrap: Annotated[int, within(0, MAX_DRAWS)] = 0,
    rng: RNG = None,
) -> RSAResult:
    """Correlation of two similarity matrices over the pairs i < j, with a test and an interval that
    take stimuli, not pairs, as the units.

    Parameters
    ----------
    predicted, target : (n, n) array of float32 or float64, finite or (_,) array of float32 or float64, finite
        Symmetric matrices or their pairs; one may be of either form. n >= 3; diagonals do not
        count. Not constant.
    method : {"pearson", "spearman"}, default "pearson"
    n_permutations : int in [0, 10000000], default 0
        B > 0 asks for Mantel's test: stimuli are permuted, rows and columns together, and p = (1 +
        #{|r_perm| >= |r|}) / (1 + B).
    n_bootstrap : int in [0, 10000000], default 0
        B > 0 asks for an interval: stimuli are drawn n times with replacement, pairs of a stimulus
        with itself are left out. Draws of which the correlation is undefined do not count.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    RSAResult
        `correlation`; `pvalue`, or None; `interval`, the 2.5 and 97.5 percentiles of the bootstrap,
        or None. Numbers of the dtype of the arrays, computed in float64.

    Raises
    ------
    ValueError
        n < 3, lengths that are not n (n - 1) / 2, matrices that are not symmetric to 1e-8 of the
        largest entry (1e-5 for float32), different n, entries that are constant or not finite,
        unknown options.
    TypeError
        Other or mixed dtypes.

    Notes
    -----
    A permutation takes n² / 2 multiplications and no temporary array, a resample five products of a
    vector with an n × n matrix, for "spearman" sums over the sorted pairs.

    References
    ----------
    N. Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
    Research, 1967; N. Kriegeskorte, M. Mur, P. Bandettini, "Representational similarity analysis",
    Frontiers in Systems Neuroscience, 2008.

    Examples
    --------
    >>> r = representational_similarity(
    ...     np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 4.0], [2.0, 4.0, 1.0]])
    ... )
    >>> round(float(r.correlation), 6)
    0.981981
    """  # noqa: E501
    xp, dtype = namespace_of(predicted), predicted.dtype
    rng = generator_from_rng(np.random.SeedSequence(key_from_rng(rng)))
    (x, n), (y, other) = checked_pairs("predicted", predicted), checked_pairs("target", target)
    if n != other:
        raise ValueError(f"predicted and target must have the same stimuli (got {n} and {other})")
    if method == "spearman":
        x, y = ranks(xp, x), ranks(xp, y)
    x, y = standardized(xp, "predicted", x), standardized(xp, "target", y)
    r = float(xp.clip((x * y).mean(), -1, 1))
    pvalue = dtype.type(_mantel(xp, x, y, n, r, n_permutations, rng)) if n_permutations else None
    interval = (
        percentiles(xp, _bootstrap(xp, x, y, n, method, n_bootstrap, rng), dtype)
        if n_bootstrap
        else None
    )
    return RSAResult(dtype.type(r), pvalue, interval)


def _mantel(xp, x, y, n, r, count, rng):
    x, y, extreme = square(xp, x, n), square(xp, y, n), 0
    step = max(1, BLOCK // n)
    for first in range(0, count, step):
        orders = np.tile(np.arange(n, dtype=np.int32), (min(step, count - first), 1))
        products = xp.empty(len(orders))
        permuted_products(x, y, xp.asarray(rng.permuted(orders, axis=1)), products)
        extreme += int((xp.abs(products) / (n * (n - 1) / 2) >= abs(r) - TIE).sum())
    return (1 + extreme) / (1 + count)


def _bootstrap(xp, x, y, n, method, count, rng):
    """Correlations of the resamples of which they are defined."""
    of_counts = (_resampled_pearson if method == "pearson" else _resampled_spearman)(xp, x, y, n)
    parts = []
    step = max(1, BLOCK // n)
    for first in range(0, count, step):
        size = min(step, count - first)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        parts.append(
            of_counts(
                xp.asarray(
                    np.bincount(drawn.reshape(-1), minlength=n * size)
                    .reshape(size, n)
                    .astype(np.float64)
                )
            )
        )
    r = xp.concatenate(parts)
    r = r[xp.isfinite(r)]
    if not len(r):
        raise ValueError(
            f"n_bootstrap must be large enough for a resample whose correlation is defined (got "
            f"{count})"
        )
    return r


def _weighted_correlation(xp, w, wx, wy, wxx, wyy, wxy):
    """Correlation from weighted sums of variables of variance near 1; NaN where one is constant."""
    w = xp.where(w > 0, w, np.nan)
    x, y = wx / w, wy / w
    xx, yy = wxx / w - x * x, wyy / w - y * y
    defined = (xx > TIE) & (yy > TIE)
    return xp.where(
        defined,
        correlation_of(xp, wxy / w - x * y, xp.where(defined, xx, 1), xp.where(defined, yy, 1)),
        np.nan,
    )


def _resampled_pearson(xp, x, y, n):
    """A pair of stimuli drawn a and b times counts a b times: sums over pairs are quadratic forms
    of the counts."""
    matrices = [square(xp, pairs, n) for pairs in (x, y, x * x, y * y, x * y)]

    def correlations(counts):
        w = (n * n - (counts * counts).sum(axis=1)) / 2
        return _weighted_correlation(
            xp, w, *(((counts @ m) * counts).sum(axis=1) / 2 for m in matrices)
        )

    return correlations


def _resampled_spearman(xp, x, y, n):
    """The pairs are sorted once; the ranks of a resample are cumulative sums of how often each pair
    comes in it."""
    i, j = xp.triu_indices(n, 1)
    groups = [xp.unique(pairs, return_inverse=True)[1] for pairs in (x, y)]

    def ranks_of(w, group):
        size = xp.bincount(group, weights=w)
        return (xp.cumsum(size) - size / 2)[group]

    def correlation(counts):
        w = counts[i] * counts[j]
        total = xp.maximum(w.sum(), 1)
        a, b = (ranks_of(w, group) / total - 0.5 for group in groups)
        a, b = a * 12**0.5, b * 12**0.5
        return _weighted_correlation(
            xp, w.sum(), *((w * v).sum() for v in (a, b, a * a, b * b, a * b))
        )

    return lambda counts: xp.stack([correlation(row) for row in counts])
