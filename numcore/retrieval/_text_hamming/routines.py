"""Distances of every window: exact, within a bound, or approximate; and what a choice rests on."""

import math
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import RNG, Array, Float64, Int32, Int64, Integer, between, nonnegative
from ...dispatch import routine
from ...random import generator_from_rng
from .costs import costs_of, counts_of, heavy_letters, sampled_counts
from .exact import distances_of, jobs_of
from .kernels import BLOCK, GPU_BLOCK, bounded_distances
from .symbols import as_symbols, code_dtype, with_dense_codes

Text: TypeAlias = Integer[Array, "n"] | Integer[Array, "b n"] | str | bytes
Pattern: TypeAlias = Integer[Array, "m"] | str | bytes
Method: TypeAlias = Literal["auto", "direct", "fft", "pairs", "mixed"]


class BoundedMatches(NamedTuple):
    """Windows within the bound: where they start, ascending, and their distances."""

    positions: Int64[Array, "n_found"]
    distances: Int32[Array, "n_found"]


class ApproximateDistances(NamedTuple):
    """Estimates of the distances, bounds from below, and how they were made; n_projections = 0 says
    that they are exact."""

    distances: Float64[Array, "*batch w"]
    lower: Int32[Array, "*batch w"]
    n_projections: int
    n_buckets: int
    relative_bound: float


class AlphabetProfile(NamedTuple):
    """The letters that text and pattern share, the equal pairs of them, the letters worth a
    convolution, and seconds by method."""

    n_letters: int
    n_pairs: int
    heavy: Integer[Array, "n_heavy"]
    costs: dict[str, float]


@routine
def hamming_distances(text: Text, pattern: Pattern, *, method: Method = "auto") -> Array:
    """Number of mismatches between a pattern and every window of a text.

    ``D[i]`` is the number of j with ``text[i + j] != pattern[j]``.

    Parameters
    ----------
    text : (n,) array of integers or (b, n) array of integers or str or bytes
        Integers of any width; a str is taken by its code points.
    pattern : (m,) array of integers or str or bytes
        Of the kind of `text`, 1 <= m <= n.
    method : {"auto", "direct", "fft", "pairs", "mixed"}, default "auto"
        "direct" compares every symbol with every symbol, many at a time; "fft" makes one
        convolution for each letter that both have; "pairs" visits every pair of equal letters;
        "mixed" takes for each letter the cheaper of the last two; "auto" takes what is cheapest,
        see `alphabet_profile`. All give the same.

    Returns
    -------
    (n - m + 1,) or (b, n - m + 1) array of int32
        Exact: convolutions are done in float32 only where a bound of their rounding error stays
        below 1/4, else in float64.

    Raises
    ------
    ValueError
        The pattern is empty or longer than the text, has two dimensions, or the method is unknown.
    TypeError
        The arrays are not of integers, or text and pattern are of different kinds.

    Notes
    -----
    O(n m / w) with w symbols in a vector register for "direct", O(n log m) for each letter for
    "fft", the number of equal pairs for "pairs", and at most O(n √(m log m)) for "mixed". Memory
    O(n). Threads share the text.

    References
    ----------
    T. M. Chan, C. Jin, V. Vassilevska Williams, Y. Xu, "Faster Algorithms for Text-to-Pattern
    Hamming Distances", FOCS 2023. K. Abrahamson, "Generalized String Matching", SIAM J. Comput. 16,
    1987.

    Examples
    --------
    >>> hamming_distances("abracadabra", "abr")
    array([0, 3, 3, 2, 3, 2, 3, 0, 3], dtype=int32)
    """
    symbols = as_symbols(text, pattern)
    return symbols.shaped(distances_of(symbols, method))


@routine
def hamming_within(
    text: Integer[Array, "n"] | str | bytes,
    pattern: Pattern,
    k: Annotated[int, nonnegative],
    *,
    method: Method | Literal["early_exit"] = "auto",
) -> BoundedMatches:
    """The windows of a text that differ from a pattern in at most k symbols.

    Parameters
    ----------
    text : (n,) array of integers or str or bytes
    pattern : (m,) array of integers or str or bytes
        Of the kind of `text`, 1 <= m <= n.
    k : int >= 0
        At least 0.
    method : {"auto", "direct", "fft", "pairs", "mixed"} or {"early_exit"}, default "auto"
        "early_exit" leaves a window as soon as it has more than k mismatches; the others compute
        all distances first. "auto" is the former where k < m / 8, else the cheapest of the latter.

    Returns
    -------
    BoundedMatches
        ``positions`` (int64, ascending) and ``distances`` (int32), exact.

    Raises
    ------
    ValueError
        The pattern is empty or longer than the text, `text` has two dimensions, k is negative, or
        the method is unknown.
    TypeError
        The arrays are not of integers, or text and pattern are of different kinds.

    Notes
    -----
    O(n m / w) as for `hamming_distances` at worst; on texts in which most windows differ much, O(n
    k / w).

    References
    ----------
    T. M. Chan, C. Jin, V. Vassilevska Williams, Y. Xu, "Faster Algorithms for Text-to-Pattern
    Hamming Distances", FOCS 2023.

    Examples
    --------
    >>> hamming_within("abracadabra", "abr", 2)
    BoundedMatches(positions=array([0, 3, 5, 7]), distances=array([0, 2, 2, 0], dtype=int32))
    """
    symbols = as_symbols(text, pattern)
    xp, m = symbols.xp, len(symbols.pattern)
    if method == "auto" and 8 * k < m:
        method = "early_exit"
    if method == "early_exit" and k < m:
        distances = xp.empty((1, symbols.windows), np.int32)
        bounded_distances(
            symbols.text, symbols.pattern, jobs_of(symbols, BLOCK // 2, GPU_BLOCK), distances, k
        )
    else:
        distances = distances_of(symbols, "auto" if method == "early_exit" else method)
    positions = xp.nonzero(distances[0] <= k)[0]
    return BoundedMatches(positions, distances[0][positions])


@routine
def alphabet_profile(text: Text, pattern: Pattern) -> AlphabetProfile:
    """What the choice of a method for `hamming_distances` rests on.

    Parameters
    ----------
    text : (n,) array of integers or (b, n) array of integers or str or bytes
    pattern : (m,) array of integers or str or bytes
        Of the kind of `text`, 1 <= m <= n.

    Returns
    -------
    AlphabetProfile
        ``n_letters`` that text and pattern share; the number ``n_pairs`` of pairs (i, j) with
        ``text[i] == pattern[j]``; ``heavy``, the letters that "mixed" does by convolution;
        ``costs``, the estimated seconds of each method on one thread. "auto" takes the least; it
        estimates the counts from 65536 symbols of a longer text.

    Raises
    ------
    ValueError
        The pattern is empty or longer than the text, or has two dimensions.
    TypeError
        The arrays are not of integers, or text and pattern are of different kinds.

    References
    ----------
    K. Abrahamson, "Generalized String Matching", SIAM J. Comput. 16, 1987.

    Examples
    --------
    >>> alphabet_profile("abracadabra", "abr")[:2]
    (3, 9)
    """
    symbols = as_symbols(text, pattern)
    n_counts, m_counts = counts_of(symbols, symbols.text)
    costs = costs_of(symbols, n_counts, m_counts)
    heavy = symbols.letters[
        symbols.xp.asarray(np.flatnonzero(heavy_letters(symbols, n_counts, m_counts)))
    ]
    return AlphabetProfile(
        int(((n_counts > 0) & (m_counts > 0)).sum()), int(n_counts @ m_counts), heavy, costs
    )


@routine
def hamming_distances_approx(
    text: Text,
    pattern: Pattern,
    eps: Annotated[float, between(0, 1)],
    *,
    failure: Annotated[float, between(0, 1)] | None = 1e-6,
    method: Literal["auto", "projection"] = "auto",
    rng: RNG = None,
) -> ApproximateDistances:
    """Distances of a pattern to every window of a text up to a factor, from random projections of
    the alphabet.

    Every letter falls at random into one of b = ⌈2 / eps⌉ buckets; letters of one bucket count as
    equal. A projected distance is never larger than the true one H, and smaller by H / b on
    average, so that it misses more than eps H with probability at most 1/2.

    Parameters
    ----------
    text : (n,) array of integers or (b, n) array of integers or str or bytes
    pattern : (m,) array of integers or str or bytes
        Of the kind of `text`, 1 <= m <= n.
    eps : float in (0, 1)
        0 < eps < 1.
    failure : float in (0, 1) or None, default 1e-06
        Probability with which a window may break the bound; there are ⌈log2(windows / failure)⌉
        projections. None takes two, which is enough for data without few, often repeated
        mismatching pairs of letters, but promises nothing.
    method : {"auto", "projection"}, default "auto"
        "auto" gives the exact distances where these cost less.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    ApproximateDistances
        ``distances`` (float64), unbiased estimates; ``lower`` (int32), at most the true distances H
        and, but for the failures, at least (1 - eps) H; ``n_projections``, 0 where the distances
        are exact: they are cheaper, or the letters are no more than the buckets; ``n_buckets``;
        ``relative_bound``, which is eps, or 0 for exact distances. The first two have shape (n - m
        + 1,) or (b, n - m + 1).

    Raises
    ------
    ValueError
        The pattern is empty or longer than the text, eps or failure is outside (0, 1), or the
        method is unknown.
    TypeError
        The arrays are not of integers, or text and pattern are of different kinds.

    Notes
    -----
    The cost is that of `hamming_distances` with b letters, times the projections. Symbols of the
    text that the pattern lacks never match; they are counted apart, exactly.

    References
    ----------
    H. Karloff, "Fast algorithms for approximately counting mismatches", Inf. Process. Lett. 48,
    1993. T. Kopelowitz, E. Porat, "A Simple Algorithm for Approximating the Text-To-Pattern Hamming
    Distance", SOSA 2018.

    Examples
    --------
    >>> hamming_distances_approx("abracadabra", "abr", 0.5).lower
    array([0, 3, 3, 2, 3, 2, 3, 0, 3], dtype=int32)
    """
    rng = generator_from_rng(rng)
    buckets = max(2, math.ceil(2 / eps))
    symbols = with_dense_codes(as_symbols(text, pattern))
    count = (
        2
        if failure is None
        else math.ceil(math.log2(max(len(symbols.text) * symbols.windows, 1) / failure))
    )
    n_letters = len(symbols.letters)
    if n_letters <= buckets or method == "auto" and not projections_pay(symbols, buckets, count):
        lower = symbols.shaped(distances_of(symbols, "auto"))
        return ApproximateDistances(lower.astype(np.float64), lower, 0, buckets, 0.0)
    xp = symbols.xp
    never = absent_in_window(symbols, n_letters)
    total, lower = xp.zeros(never.shape, np.int64), xp.zeros(never.shape, np.int32)
    for _ in range(count):
        # the last code is that of symbols that the pattern lacks
        table = np.append(rng.integers(0, buckets, n_letters), buckets)
        table = xp.asarray(table.astype(code_dtype(buckets)))
        projected = symbols._replace(
            text=table[symbols.text], pattern=table[symbols.pattern], letters=xp.arange(buckets + 1)
        )
        distances = distances_of(projected, "auto")
        total += distances
        lower = xp.maximum(lower, distances)
    estimate = never + (total / count - never) * (buckets / (buckets - 1))
    return ApproximateDistances(
        symbols.shaped(estimate), symbols.shaped(lower), count, buckets, eps
    )


def projections_pay(symbols, buckets, count):
    exact = min(costs_of(symbols, *sampled_counts(symbols)).values())
    b, m = symbols.text.size, len(symbols.pattern)
    even = np.full(buckets, 1 / buckets)
    projected = symbols._replace(letters=even)  # as if the buckets were equally full
    return count * min(costs_of(projected, b * even, m * even).values()) < exact


def absent_in_window(symbols, code):
    """How many symbols of each window have the code of those that the pattern lacks."""
    xp, m = symbols.xp, len(symbols.pattern)
    sums = xp.zeros((len(symbols.text), symbols.text.shape[1] + 1), np.int64)
    sums[:, 1:] = xp.cumsum(symbols.text == code, axis=1)
    return sums[:, m:] - sums[:, :-m]
