"""Leverage scores τ_i = a_iᵀ (AᵀA)⁺ a_i: the influence of each row of A on a least-squares fit."""

import math
from typing import Annotated, Literal

import numpy as np

from ..arguments import RNG, Array, Float, at_least, finite, interval
from ..dispatch import namespace_of, routine
from ..random import key_from_rng, normal
from ._hadamard import next_power_of_two
from ._sketches import srht

ROWS = 1 << 14  # rows processed at once, which bounds the memory
WORST_SQUARED_CONDITION = 1e-3  # times the roundoff: worse conditioned Gram matrices are not used


@routine
def leverage_scores(
    a: Float[Array, "*batch n d", finite],
    *,
    method: Literal["qr", "gram", "sketch"] = "qr",
    sketch_size: Annotated[int, at_least("d")] | None = None,
    rcond: Annotated[float, interval("[0, 1)")] | None = None,
    rng: RNG = None,
) -> Array:
    """Leverage scores of the rows of A: the squared norms of the rows of an orthonormal basis of
    its column space.

    Parameters
    ----------
    a : (..., n, d) array of float32 or float64, finite
    method : {"qr", "gram", "sketch"}, default "qr"
        "qr" is exact and also handles rank-deficient matrices. "gram" uses the Cholesky factor of
        AᵀA and is three to five times as fast; its error grows with the square of the condition
        number, and if that is too large, "qr" is used instead. "sketch" estimates the scores from a
        random sketch of A: except in rare cases, each is within a factor between 0.4 and 2.5.
        "gram" and "sketch" accept a single matrix only.
    sketch_size : int >= d, optional
        Rows of the sketch, 4 d log2(d) + 64 by default.
    rcond : float in [0, 1), optional
        Singular values below rcond times the largest count as zero; max(n, d) times the roundoff by
        default.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For "sketch".

    Returns
    -------
    (..., n) array
        Between 0 and 1; they sum to the rank of A and do not change when A is multiplied from the
        right by an invertible matrix. A row of zeros has score 0.

    Raises
    ------
    ValueError
        Entries that are not finite, fewer than two dimensions, or an unknown option.
    TypeError
        `a` has another dtype.

    Notes
    -----
    "qr" and "gram" cost O(n d²) operations, "sketch" O(n d log n). Computations on d × d matrices
    are in float64.

    References
    ----------
    P. Drineas, M. Magdon-Ismail, M. W. Mahoney, D. P. Woodruff, "Fast approximation of matrix
    coherence and statistical leverage", JMLR, 2012.

    Examples
    --------
    >>> leverage_scores(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).round(12)
    array([0.4, 0.4, 0.6, 0.6])
    """
    xp, dtype = namespace_of(a), a.dtype
    if method != "qr" and a.ndim != 2:
        raise ValueError(f'method must be "qr" for several matrices (got "{method}")')
    if not a.size:
        return xp.zeros(a.shape[:-1], dtype)
    factor = {"gram": _from_gram, "sketch": _from_sketch}.get(method)
    w = factor(xp, a, sketch_size, rng) if factor else None
    return _by_svd(xp, a, rcond) if w is None else _squared_rows(xp, a, w.astype(dtype, copy=False))


def _by_svd(xp, a, rcond):
    q, r = xp.linalg.qr(a)
    u, s, _ = xp.linalg.svd(r, full_matrices=False)
    if rcond is None:
        rcond = max(a.shape[-2:]) * np.finfo(a.dtype).eps
    above_cutoff = s > rcond * s[..., :1]
    return xp.minimum(((q @ u) ** 2 * above_cutoff[..., None, :]).sum(axis=-1), 1)


def _from_gram(xp, a, sketch_size, rng):
    """W with τ_i = ‖a_iᵀ W‖², the inverse of the Cholesky factor of AᵀA; None if AᵀA is too
    ill-conditioned."""
    gram = a.T.astype(np.float64) @ a if a.dtype == np.float64 else (a.T @ a).astype(np.float64)
    values = xp.linalg.eigvalsh(gram)
    if not float(values[-1]) * np.finfo(a.dtype).eps < WORST_SQUARED_CONDITION * float(values[0]):
        return None
    return xp.linalg.inv(xp.linalg.cholesky(gram)).T


def _from_sketch(xp, a, sketch_size, rng):
    """W with τ_i ≈ ‖a_iᵀ W‖²: R⁻¹ from the QR factorization of a sketch times a random projection;
    None if the sketch does not have full rank."""
    n, d = a.shape
    m = 4 * d * math.ceil(math.log2(max(d, 2))) + 64 if sketch_size is None else sketch_size
    if m >= next_power_of_two(n):
        return None
    rng = np.random.default_rng(key_from_rng(rng))
    r = xp.linalg.qr(srht(a, m, rng=rng).astype(np.float64), "r")
    diagonal = xp.abs(xp.diagonal(r))
    if not float(diagonal.min()) > max(m, d) * np.finfo(a.dtype).eps * float(diagonal.max()):
        return None
    g = math.ceil(8 * math.log(n))
    return xp.linalg.inv(r) @ (normal((d, g), rng=rng, xp=xp) * g**-0.5)


def _squared_rows(xp, a, w):
    result = xp.empty(len(a), a.dtype)
    for first in range(0, len(a), ROWS):
        product = a[first : first + ROWS] @ w
        result[first : first + ROWS] = xp.einsum("ij,ij->i", product, product)
    return xp.minimum(result, 1)
