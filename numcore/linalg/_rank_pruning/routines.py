"""Truncation of kernels, their decomposition into two layers, and the nuclear norm."""

from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, at_least, finite, interval, nonempty, nonnegative
from ...dispatch import namespace_of, routine
from .decompositions import (
    SUBGRADIENT,
    Decomposition,
    Scheme,
    TruncatedKernel,
    decomposed,
    scaled,
    solve,
)
from .layers import ConvFactors

KernelArray: TypeAlias = (
    Float[Array, "n c kh kw", finite, nonempty] | Float[Array, "n c", finite, nonempty]
)

Share: TypeAlias = Annotated[float, interval("(0, 1]")]


class NuclearNorm(NamedTuple):
    """Sum of the singular values, and its subgradient."""

    value: float
    subgradient: Array


@routine
def truncate_kernel(
    w: KernelArray,
    *,
    scheme: Scheme = "channel",
    energy: Share | None = None,
    rank: Annotated[int, at_least(1)] | None = None,
    threshold: Annotated[float, nonnegative] | None = None,
    ratio: Share | None = None,
) -> TruncatedKernel:
    """Closest low-rank kernel in the Frobenius norm.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
        Output channels first. A matrix is treated as 1 × 1 kernels.
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        Which unfolding has low rank: n × (c kh kw) with an output channel per row, (c kh) × (n kw)
        with row c kh + i and column n kw + j, or one c × (kh kw) matrix per output channel.
    energy : float in (0, 1], optional
        The smallest rank that keeps this share of the sum of squares; 1 keeps everything above
        rounding errors. Exactly one of `energy`, `rank`, `threshold` and `ratio` must be given.
    rank : int >= 1, optional
        At most the smaller side of the unfolding.
    threshold : float >= 0, optional
        Singular values that are at least this large are kept, and always one.
    ratio : float in (0, 1], optional
        The rank as a share of the smaller side, rounded down but at least 1.

    Returns
    -------
    TruncatedKernel
        ``weight`` and ``subgradient`` U_r V_rᵀ of the shape of `w`; ``rank``, for "decouple" the
        largest that any channel needs, used for all; ``singular_values`` (k,), for "decouple" (n,
        k), descending, where k is the smaller side; ``relative_error`` ‖w - weight‖ / ‖w‖ from the
        singular values, 0 for w = 0. Pairs with σ below the roundoff of σ₁ are omitted from
        ``subgradient``.

    Raises
    ------
    ValueError
        `w` is empty, not finite or does not have 2 or 4 dimensions; no rule or several are given,
        or one is out of range; or the scheme is unknown.
    TypeError
        `w` has another dtype, or an option another type.

    Notes
    -----
    m² p operations for an m × p unfolding M, m <= p, and O(m³) for the decomposition of M Mᵀ, in
    float64. Singular values have absolute errors of about 1e-16 m σ₁² / σ, so those below 1e-8 σ₁
    are unreliable. If a kept singular value is too small for this (below 1e-5 σ₁ in float32, 1e-3
    σ₁ in float64), or a float64 kernel loses less than 1e-8 of its energy, M itself is decomposed,
    which is slower but accurate to roundoff. Memory: the two results, a few MB, and M Mᵀ with its
    eigenvectors in float64; for nearly square unfoldings, such as those of "spatial", each of these
    is as large as w.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020; C. Eckart,
    G. Young, Psychometrika, 1936.

    Examples
    --------
    >>> result = truncate_kernel(np.diag([3.0, 2.0, 1.0, 0.5]), energy=0.9)
    >>> result.rank, result.weight.diagonal().round(12)
    (2, array([3., 2., 0., 0.]))
    """  # noqa: E501
    rule = {"energy": energy, "rank": rank, "threshold": threshold, "ratio": ratio}
    decomposition, rule, exponent = decomposed(w, scheme, rule)
    return decomposition.truncated(*rule, exponent)


@routine
def decompose_kernel(
    w: KernelArray,
    *,
    scheme: Scheme = "channel",
    energy: Share | None = None,
    rank: Annotated[int, at_least(1)] | None = None,
    threshold: Annotated[float, nonnegative] | None = None,
    ratio: Share | None = None,
) -> ConvFactors:
    """Factorize a convolution into two layers that together apply the truncated kernel.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
    scheme : {"channel", "spatial", "decouple"}, default "channel"
    energy : float in (0, 1], optional
    rank : int >= 1, optional
    threshold : float >= 0, optional
    ratio : float in (0, 1], optional
        As for `truncate_kernel`.

    Returns
    -------
    ConvFactors
        For "channel", ``first`` (r, c, kh, kw) and ``second`` (n, r, 1, 1); for "spatial", (r, c,
        kh, 1) and (n, r, 1, kw); for "decouple", (r, n, c) and (r, n, kh, kw): r parallel paths,
        each a 1 × 1 convolution followed by one kernel per channel, whose results are added. Both
        factors contain the square roots of the singular values, except for "spatial", where the
        second contains the singular values. Signs of the factors are arbitrary, but their product
        is not.

    Raises
    ------
    ValueError, TypeError
        As for `truncate_kernel`.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020.

    Examples
    --------
    >>> w = np.random.default_rng(0).standard_normal((64, 32, 3, 3))
    >>> factors = decompose_kernel(w, rank=8)
    >>> factors.first.shape, factors.second.shape, factors.n_params, w.size
    ((8, 32, 3, 3), (64, 8, 1, 1), 2816, 18432)
    """  # noqa: E501
    rule = {"energy": energy, "rank": rank, "threshold": threshold, "ratio": ratio}
    decomposition, rule, exponent = decomposed(w, scheme, rule)
    xp = decomposition.xp
    r, error = decomposition.decide(*rule, exponent)
    rows, sigma, columns = decomposition.factors(r)
    in_first, half = (sigma**0, 0) if scheme == "spatial" else (xp.sqrt(sigma), exponent // 2)
    first = xp.where(sigma > 0, in_first, 0)[:, None, :] * rows
    second = (sigma / xp.where(sigma > 0, in_first, 1))[:, :, None] * columns
    with np.errstate(over="ignore", under="ignore"):
        first = xp.ldexp(first, half).astype(w.dtype)
        second = xp.ldexp(second, exponent - half).astype(w.dtype)
    n, c, kh, kw = decomposition.shape
    if scheme == "channel":
        first, second = second[0].reshape(r, c, kh, kw), first[0].reshape(n, r, 1, 1)
    elif scheme == "spatial":
        first = first[0].T.reshape(r, c, kh, 1)
        second = second[0].reshape(r, n, 1, kw).swapaxes(0, 1)
    else:
        first, second = xp.moveaxis(first, 2, 0), second.swapaxes(0, 1).reshape(r, n, kh, kw)
    return ConvFactors(
        xp.ascontiguousarray(first),
        xp.ascontiguousarray(second),
        r,
        scheme,
        error,
        first.size + second.size,
    )


@routine
def nuclear_norm(w: KernelArray, *, scheme: Scheme = "channel") -> NuclearNorm:
    """Nuclear norm of an unfolded kernel, and a subgradient.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        See `truncate_kernel`. For "decouple", the norms of all output channels are added.

    Returns
    -------
    NuclearNorm
        ``value`` Σ σ and ``subgradient`` U Vᵀ of the shape of `w`, over the pairs with σ above the
        roundoff of σ₁. It is the gradient if no σ is 0, and ⟨subgradient, w⟩ = value always holds.

    Raises
    ------
    ValueError
        `w` is empty, not finite or does not have 2 or 4 dimensions, or the scheme is unknown.
    TypeError
        Another dtype.

    References
    ----------
    G. A. Watson, "Characterization of the subdifferential of some matrix norms", Linear Algebra and
    its Applications, 1992.

    Examples
    --------
    >>> value, subgradient = nuclear_norm(np.array([[3.0, 0.0], [0.0, -2.0]]))
    >>> round(value, 12), subgradient.round(12) + 0.0
    (5.0, array([[ 1.,  0.],
           [ 0., -1.]]))
    """  # noqa: E501
    xp = namespace_of(w)
    w, exponent = scaled(xp, w)
    decomposition = Decomposition(xp, w, scheme)
    solve([decomposition])
    r, _ = decomposition.decide("rank", decomposition.smaller_side)
    with np.errstate(over="ignore"):
        value = float(xp.ldexp(decomposition.sigma.sum(), exponent))
    return NuclearNorm(value, *decomposition.folded(r, (SUBGRADIENT,)))
