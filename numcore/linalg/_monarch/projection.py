"""The closest Monarch matrix to a dense one, block by block."""

import math
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Inexact, at_least, finite, nonempty
from ...dispatch import namespace_of, routine

# of a block's Gram matrix; a block that has not converged after these is decomposed by SVD
SQUARINGS = 12

Blocks: TypeAlias = Annotated[int, at_least(1)]


class MonarchFactors(NamedTuple):
    """Factors of a projection, its Frobenius distance to the matrix, and that distance divided by
    the norm of the matrix."""

    right: Array
    left: Array
    residual_norm: Array
    relative_error: Array


@routine
def monarch_project(
    a: Inexact[Array, "*batch m n", finite, nonempty],
    *,
    n_blocks: tuple[Blocks, Blocks] | None = None,
    rank: Annotated[int, at_least(1)] = 1,
    balance: bool = True,
) -> MonarchFactors:
    """Monarch matrix closest to a dense one in the Frobenius norm.

    The entries ``A[λ::l, κ p:(κ + 1) p]`` are, for each pair (κ, λ), approximated by the best
    matrix of rank `rank`, independently of all others, so that the result is the global minimum.

    Parameters
    ----------
    a : (..., m, n) array of float32, float64, complex64 or complex128, finite, without an axis of length zero
    n_blocks : (int >= 1, int >= 1), optional
        k and l, divisors of n and m. By default the divisors nearest to the square roots; of two
        equally near, the larger.
    rank : int >= 1, default 1
        1 <= rank <= min(m / l, n / k).
    balance : bool, default True
        Scale both factors by the square roots of the singular values; otherwise the columns of
        `left` are orthonormal.

    Returns
    -------
    MonarchFactors
        ``right`` (..., k, rank l, p) and ``left`` (..., l, s, k rank); ``residual_norm`` ‖A - M‖ in
        the Frobenius norm, and ``relative_error``, the same divided by ‖A‖ (0 if A is zero), arrays
        of shape (...). Signs or phases of the factors are arbitrary, the matrix is not.

    Raises
    ------
    ValueError
        `n_blocks` does not divide, `rank` is out of range, `a` is empty, not finite or has fewer
        than two dimensions.
    TypeError
        Another dtype.

    Notes
    -----
    One singular value decomposition of each of k l blocks. For rank 1 and real numbers, the leading
    pair is computed by repeated squaring of the blocks' Gram matrices, if the gap between the two
    largest singular values is large enough for convergence.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022, section 3.3; C. Eckart, G. Young, Psychometrika, 1936.

    Examples
    --------
    >>> factors = monarch_project(np.arange(24.0).reshape(4, 6), n_blocks=(3, 2))
    >>> round(float(factors.residual_norm), 9)
    1.219421212
    """  # noqa: E501
    xp, (*lead, m, n) = namespace_of(a), a.shape
    k, count = default_blocks(m, n) if n_blocks is None else n_blocks
    if n % k or m % count:
        raise ValueError(f"n_blocks must divide (n, m) = {(n, m)} (got {(k, count)})")
    s, p = m // count, n // k
    if rank > min(s, p):
        raise ValueError(f"rank must be <= {min(s, p)}, the smaller side of a block (got {rank})")
    # (..., k, l, s, p)
    blocks = xp.ascontiguousarray(xp.moveaxis(a.reshape(*lead, s, count, k, p), (-2, -3), (-4, -3)))
    u, sigma, vh = _leading(xp, blocks, rank)
    inside = (-4, -3, -2, -1)
    residual = xp.sqrt(
        (xp.abs(blocks - (u * sigma[..., None, :]) @ vh) ** 2).sum(axis=inside, dtype=np.float64)
    )
    norm = xp.sqrt((xp.abs(blocks) ** 2).sum(axis=inside, dtype=np.float64))
    relative = residual / xp.where(norm == 0, 1, norm)
    mine, other = (xp.sqrt(sigma),) * 2 if balance else (xp.ones_like(sigma), sigma)
    u, vh = u * mine[..., None, :], vh * other[..., :, None]
    left = xp.moveaxis(u, (-4, -3, -2, -1), (-2, -4, -3, -1)).reshape(*lead, count, s, k * rank)
    right = xp.moveaxis(vh, (-4, -3, -2, -1), (-4, -2, -3, -1)).reshape(*lead, k, rank * count, p)
    real = sigma.dtype
    return MonarchFactors(
        xp.ascontiguousarray(right),
        xp.ascontiguousarray(left),
        residual.astype(real),
        relative.astype(real),
    )


def default_blocks(m, n):
    def nearest(size, target):
        """The divisor of size nearest to target on a logarithmic scale; of two, the larger."""
        small = [d for d in range(1, math.isqrt(size) + 1) if size % d == 0]
        return min(
            {*small, *(size // d for d in small)},
            key=lambda d: (round(abs(math.log(d / target)), 12), -d),
        )

    k = nearest(n, math.sqrt(n))
    return k, nearest(m, m * k / n)  # s and p nearly equal


def _leading(xp, blocks, rank):
    """The `rank` largest singular values and vectors of a stack of blocks: (…, s, rank), (…, rank),
    (…, rank, p)."""
    if rank == 1 and blocks.dtype.kind == "f" and min(blocks.shape[-2:]) > 1:
        return _leading_pair(xp, blocks)
    u, sigma, vh = xp.linalg.svd(blocks, full_matrices=False)
    return u[..., :rank], sigma[..., :rank], vh[..., :rank, :]


def _leading_pair(xp, blocks):
    """The leading singular triplet: the Gram matrix is squared until it has rank one, in
    float64."""
    shape, dtype = blocks.shape, blocks.dtype
    blocks = blocks.reshape(-1, *shape[-2:]).astype(np.float64)
    thin = blocks if shape[-2] >= shape[-1] else blocks.swapaxes(1, 2)
    scale = xp.sqrt((thin * thin).sum(axis=(1, 2)))
    thin = thin / xp.where(scale == 0, 1, scale)[:, None, None]
    gram = thin.swapaxes(1, 2) @ thin
    defect = xp.ones(len(gram))
    for _ in range(SQUARINGS):
        gram = gram @ gram
        trace = xp.einsum("bii->b", gram)
        gram = gram / xp.where(trace == 0, 1, trace)[:, None, None]
        defect = 1 - (gram * gram).sum(axis=(1, 2))  # 0 for a projector on one direction
        if float(defect.max()) < 1e-15:
            break
    column = xp.einsum("bii->bi", gram).argmax(axis=1)
    v = xp.take_along_axis(gram, column[:, None, None], axis=2)
    v = v / xp.maximum(xp.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    u = thin @ v
    sigma = xp.linalg.norm(u, axis=1, keepdims=True)
    u = u / xp.where(sigma == 0, 1, sigma)
    sigma = sigma[:, 0, 0] * scale
    if shape[-2] < shape[-1]:
        u, v = v, u
    unconverged = (defect > 1e-12) & (scale > 0)
    if bool(unconverged.any()):
        full_u, full_sigma, full_vh = xp.linalg.svd(blocks[unconverged], full_matrices=False)
        u[unconverged], sigma[unconverged] = full_u[:, :, :1], full_sigma[:, 0]
        v[unconverged] = full_vh[:, :1].swapaxes(1, 2)
    lead = shape[:-2]
    return tuple(
        part.reshape(*lead, *size).astype(dtype)
        for part, size in ((u, (shape[-2], 1)), (sigma, (1,)), (v, (1, shape[-1])))
    )
