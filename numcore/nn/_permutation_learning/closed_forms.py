"""Networks that have learned a permutation of bits, in closed form, and how many are enough."""

import math
from typing import Annotated, Literal

import numpy as np

from ...arguments import Array, Integer, at_least, between, positive
from ...dispatch import namespace_of, routine

Bits = Annotated[int, at_least(2)]
Threshold = Literal["zero", "midpoint"]


@routine
def permutation_mean(n_ones: int | Integer[Array, "..."], k: Bits) -> tuple[Array, Array]:
    """Mean output of infinitely wide networks that have learned a permutation of k bits from the k
    basis vectors.

    Parameters
    ----------
    n_ones : int or (...) array of integers
        Ones in the input, 1 <= n_ones <= k; the input is scaled to length 1.
    k : int >= 2
        Bits, >= 2.

    Returns
    -------
    mu_one, mu_zero : float64, of the shape of `n_ones`
        Mean of the outputs that should be 1, and of those that should be 0. mu_one > 0 > mu_zero
        for 2 <= n_ones; 1 and 0 for n_ones = 1.

    Raises
    ------
    TypeError
        Numbers that are not integers.
    ValueError
        k < 2, or n_ones outside [1, k].

    Notes
    -----
    Θ of the basis is a 1 + b 11ᵀ, whose inverse is known: with c = 1/sqrt(n_ones), t = k (c) the
    kernel of a one and b that of a zero, mu = (t - b S/(a + b k))/a with S the sum of all kernels.
    O(1) for each entry of `n_ones`; no difference of nearly equal numbers is taken, the relative
    error is below 1e-13.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning of Permutations for Nonzero
    Binary Inputs with Logarithmic Training Size and Quadratic Ensemble Complexity", arXiv
    2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import permutation_mean
    >>> mu_one, mu_zero = permutation_mean(2, 10)
    >>> round(float(mu_one), 6), round(float(mu_zero), 6)
    (0.565422, -0.00985)
    """
    return moments(*_bits(n_ones, k))[:2]


@routine
def permutation_variance(n_ones: int | Integer[Array, "..."], k: Bits) -> Array:
    """Variance of one output of infinitely wide networks that have learned a permutation of k bits,
    over their initial weights.

    Parameters
    ----------
    n_ones : int or (...) array of integers
        Ones in the input, 1 <= n_ones <= k; the input is scaled to length 1.
    k : int >= 2
        Bits, >= 2.

    Returns
    -------
    float64, of the shape of `n_ones`
        The same for every output; for sigma_w = 1, it grows as sigma_w**4. 0 for n_ones = 1, the
        training inputs.

    Raises
    ------
    TypeError
        Numbers that are not integers.
    ValueError
        k < 2, or n_ones outside [1, k].

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning of Permutations for Nonzero
    Binary Inputs with Logarithmic Training Size and Quadratic Ensemble Complexity", arXiv
    2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import permutation_variance
    >>> round(float(permutation_variance(2, 10)), 8)
    0.00651873
    """
    return moments(*_bits(n_ones, k))[2]


@routine(host_only="it works on a few numbers")
def ensemble_size(
    k: Bits,
    *,
    delta: Annotated[float, between(0, 1)],
    n_ones: Annotated[int, at_least(1)] | None = None,
    sigma_w: Annotated[float, positive] = 1.0,
    threshold: Threshold = "zero",
) -> int:
    """How many networks are enough for their rounded mean to be right in all k bits.

    Parameters
    ----------
    k : int >= 2
        Bits, >= 2.
    delta : float in (0, 1)
        Accepted probability of any error, in (0, 1).
    n_ones : int >= 1, optional
        For one input with so many ones; None is for all 2**k - 1 inputs at once.
    sigma_w : float > 0, default 1.0
        As for :func:`ntk`.
    threshold : {"zero", "midpoint"}, default "zero"
        Outputs above this are 1: 0, or the middle between the two means of
        :func:`permutation_mean`, for which far fewer networks are enough.

    Returns
    -------
    int
        N = ceil(2 s²/g² log(k/delta)), with s² the variance of an output and g the distance of the
        threshold from the nearer mean; for all inputs the largest s²/g², and 2**k k in place of k.
        Training inputs (one 1) are left out: networks agree on them, their threshold is 1/2.

    Raises
    ------
    TypeError
        `k` or `n_ones` is not an integer, `delta` or `sigma_w` is not a number.
    ValueError
        k < 2, n_ones outside [1, k], delta outside (0, 1), another threshold.

    Notes
    -----
    A Gaussian tail with a union bound over the bits, or over bits and inputs.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning of Permutations for Nonzero
    Binary Inputs with Logarithmic Training Size and Quadratic Ensemble Complexity", arXiv
    2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import ensemble_size
    >>> (
    ...     ensemble_size(10, delta=0.05, n_ones=2),
    ...     ensemble_size(10, delta=0.05, n_ones=2, threshold="midpoint"),
    ... )
    (712, 1)
    """
    _, n, bits = _bits(np.arange(2, k + 1) if n_ones is None else n_ones, k)
    mu_one, mu_zero, variance = moments(np, n, bits)
    if threshold == "midpoint":
        gap = (mu_one - mu_zero) / 2
    else:  # without zeros only the ones can go wrong
        gap = np.where(n == k, mu_one, np.minimum(mu_one, -mu_zero))
    gap = np.where(n == 1, 0.5, gap)
    log_cases = math.log(k) - math.log(delta) + (k * math.log(2) if n_ones is None else 0)
    return max(1, math.ceil(2 * sigma_w**4 * float(np.max(variance / gap**2)) * log_cases))


def moments(xp, n, k):
    """mu_one, mu_zero and the variance, kernels in units of 1/(2k): α and β stand for a and b, f
    for the kernel of a one less β."""
    alpha, beta = 2 - 1 / math.pi, 1 / math.pi
    c = 1 / xp.sqrt(n)
    half_turn = c * (math.pi + 2 * xp.arcsin(c))
    bend = c * c / (1 + xp.sqrt(xp.maximum(1 - c * c, 0)))  # 1 - sin θ
    f = (half_turn - bend) * beta
    trained = n == 1
    mu_zero = xp.where(trained, 0.0, -(n * f - alpha) * beta / ((alpha + beta * k) * alpha))
    mu_one = xp.where(trained, 1.0, mu_zero + f / alpha)
    # K of the basis is (1 - β) 1 + β 11ᵀ, K of input and basis vector β + g for a one and β for a
    # zero; A is mu itself
    g = (half_turn / 2 - bend) * beta
    total = n * mu_one + (k - n) * mu_zero
    squares = n * mu_one * mu_one + (k - n) * mu_zero * mu_zero
    variance = (
        1 + (1 - beta) * squares + beta * total * total - 2 * (n * mu_one * g + beta * total)
    ) / (2 * k)
    return mu_one[()], mu_zero[()], xp.where(trained, 0.0, variance)[()]


def _bits(n_ones, k):
    """The namespace of n_ones, and n_ones and k as floats."""
    xp, n = (np, np.float64(n_ones)) if isinstance(n_ones, int) else (namespace_of(n_ones), n_ones)
    if not bool(((n >= 1) & (n <= k)).all()):
        raise ValueError(f"n_ones must be in [1, k] with k = {k} (got {n_ones})")
    return xp, n.astype(np.float64), float(k)
