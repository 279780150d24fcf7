"""Hamming distances of a pattern to every window of a text: exact ones by whichever of four ways is
cheapest for the alphabet at hand (comparing bytes, visiting equal pairs, one convolution for each
letter, or a mix of the two), only those within a bound, or approximate ones from random projections
of the alphabet. The ways are those of Fischer and Paterson (1974), Abrahamson (1987) and Karloff
(1993); that O(n √m) is reached in theory was shown by Chan, Jin, Vassilevska Williams and Xu
(2023), whose survey of the problem this module follows.
"""

import functools
import math
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import _pool
from ..arguments import RNG, Array, Float64, Int32, Int64, Integer, between, nonnegative
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..random import generator_from_rng
from ..simd import host_vector_bits

# windows whose counters stay in the first cache, or in the registers of a block
BLOCK, GPU_BLOCK = 8192, 1024
SAMPLE_RUNS, SAMPLE_RUN = 64, 1024  # symbols of a long text that the choice of a method looks at
MAX_SYMBOLS = 2**31 - 1  # of a pattern: distances are int32
SPAN = 1 << 22  # symbols whose spectra are held at a time
CACHED = 1 << 17  # symbols that are transformed together
LETTERS_AT_ONCE = 16  # spectra of the pattern that are held at a time
COMPARES_PER_SECOND = {
    512: 1.6e11,
    256: 1e11,
    128: 5e10,
}  # by the bits of a vector; costs are seconds on one thread
PAIR, SCAN, TRANSFORM = (
    2e-9,
    2e-8,
    3.3e-9,
)  # for an equal pair, a symbol read, a symbol transformed in float32
CALL = 3e-5  # of the functions that a transform takes
GPU_COMPARES_PER_SECOND, GPU_PAIR, GPU_SCAN, GPU_TRANSFORM = 1e12, 2e-11, 1e-11, 1e-10

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


class Symbols(NamedTuple):
    """Text (b, n) and pattern (m,) as codes of one unsigned dtype, and the letters, ascending, that
    the codes stand for."""

    xp: Any
    text: Any
    pattern: Any
    letters: Any
    flat: bool

    @property
    def windows(self):
        return self.text.shape[1] - len(self.pattern) + 1

    def shaped(self, result):
        return result[0] if self.flat else result


# --- exact distances ------------------------------------------------------------------------------


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


def distances_of(symbols, method):
    if method == "auto":
        method = cheapest(symbols)
    distances = symbols.xp.full(
        (len(symbols.text), symbols.windows), len(symbols.pattern), np.int32
    )
    if not distances.size:
        return distances
    if method == "direct":
        direct_distances(
            symbols.text, symbols.pattern, jobs_of(symbols, BLOCK, GPU_BLOCK), distances
        )
        return distances
    n_counts, m_counts = counts_of(symbols, symbols.text)
    shared = (n_counts > 0) & (m_counts > 0)
    heavy = {"fft": shared, "pairs": shared & False}.get(method)
    if heavy is None:
        heavy = shared & heavy_letters(symbols, n_counts, m_counts)
    if heavy.any():
        subtract_convolutions(symbols, np.flatnonzero(heavy), distances)
    if (shared & ~heavy).any():
        subtract_pairs(symbols, shared & ~heavy, m_counts, distances)
    return distances


def cheapest(symbols):
    """The method of the least estimated cost; counting letters is spared where nothing can be
    cheaper than comparing all symbols."""
    none = np.zeros(len(symbols.letters))
    least = costs_of(symbols, none, none)
    if least["direct"] <= min(least["pairs"], 2 * convolution_cost(symbols)):
        return "direct"
    costs = costs_of(symbols, *sampled_counts(symbols))
    return min(costs, key=costs.get)


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


# --- approximate distances ------------------------------------------------------------------------


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
        table = np.append(
            rng.integers(0, buckets, n_letters), buckets
        )  # the last code is that of symbols that the pattern lacks
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


# --- symbols --------------------------------------------------------------------------------------


def as_symbols(text, pattern):
    """Text and pattern, checked, as codes: bytes stay what they are, wider symbols are numbered."""
    kinds = [
        str if isinstance(s, str) else bytes if isinstance(s, bytes) else "array"
        for s in (text, pattern)
    ]
    if kinds[0] is not kinds[1]:
        raise TypeError(
            f"text and pattern must both be str, bytes or arrays (got text {type(text).__name__}, "
            f"pattern {type(pattern).__name__})"
        )
    if kinds[0] is str:
        text, pattern = of_texts(text, pattern)
    elif kinds[0] is bytes:
        text, pattern = np.frombuffer(text, np.uint8), np.frombuffer(pattern, np.uint8)
    xp = namespace_of(text)
    n, m = text.shape[-1], len(pattern)
    if not 1 <= m <= min(n, MAX_SYMBOLS):
        raise ValueError(f"pattern must have 1 to n symbols with n = {n}, < 2^31 (got {m})")
    common = np.result_type(text.dtype, pattern.dtype)
    if common.kind not in "iu":
        raise TypeError(
            f"text and pattern must be integers of a common dtype (got text {text.dtype}, "
            f"pattern {pattern.dtype})"
        )
    flat = text.ndim == 1
    text, pattern = (xp.ascontiguousarray(a.astype(common, copy=False)) for a in (text, pattern))
    symbols = Symbols(xp, text[None] if flat else text, pattern, None, flat)
    if common.itemsize > 1:
        return with_dense_codes(symbols)
    return symbols._replace(
        text=symbols.text.view(np.uint8),
        pattern=pattern.view(np.uint8),
        letters=xp.arange(256).astype(np.uint8).view(common),
    )


def of_texts(text, pattern):
    """The code points of two strings, as bytes if they are that small."""
    encoding, dtype = (
        ("ascii", np.uint8)
        if text.isascii() and pattern.isascii()
        else ("utf-32-le", np.dtype("<u4"))
    )
    return (np.frombuffer(s.encode(encoding, "surrogatepass"), dtype) for s in (text, pattern))


def code_dtype(most):
    return np.uint8 if most <= 255 else np.uint16 if most <= 65535 else np.uint32


def with_dense_codes(symbols):
    """The letters of the pattern numbered from 0, ascending; symbols that the pattern lacks get the
    next number."""
    xp = symbols.xp
    letters = xp.unique(symbols.pattern)
    count, low, high = len(letters), int(letters[0]), int(letters[-1])
    dtype = code_dtype(count)
    if high - low < max(1 << 16, symbols.text.size):
        codes = [
            by_table(xp, a, letters, low, high, dtype) for a in (symbols.text, symbols.pattern)
        ]
    else:
        codes = [by_search(xp, a, letters, dtype) for a in (symbols.text, symbols.pattern)]
    kept = letters if symbols.letters is None else symbols.letters[letters]
    return symbols._replace(text=codes[0], pattern=codes[1], letters=kept)


def by_table(xp, array, letters, low, high, dtype):
    table = xp.full(high - low + 2, len(letters), dtype)
    wide = (
        np.int64 if array.dtype.itemsize < 8 else array.dtype
    )  # differences of narrow symbols may not fit into their dtype
    table[(letters.astype(wide) - low).astype(np.int64)] = xp.arange(len(letters)).astype(dtype)
    inside = (array >= low) & (array <= high)
    return table[xp.where(inside, array.astype(wide) - low, high - low + 1).astype(np.int64)]


def by_search(xp, array, letters, dtype):
    at = xp.minimum(xp.searchsorted(letters, array), len(letters) - 1)
    return xp.where(letters[at] == array, at, len(letters)).astype(dtype)


def counts_of(symbols, text):
    """How often each letter occurs in `text` and in the pattern, on the host."""
    size = len(symbols.letters) + 1
    counts = (
        symbols.xp.bincount(a.reshape(-1).astype(np.intp), minlength=size)[: len(symbols.letters)]
        for a in (text, symbols.pattern)
    )
    return tuple(c if symbols.xp is np else symbols.xp.asnumpy(c) for c in counts)


def sampled_counts(symbols):
    """`counts_of`, for a long text estimated from runs of symbols all over it."""
    flat = symbols.text.reshape(-1)
    if flat.size <= 2 * SAMPLE_RUNS * SAMPLE_RUN:
        return counts_of(symbols, flat)
    apart = flat.size // SAMPLE_RUNS
    n_counts, m_counts = counts_of(
        symbols, flat[: SAMPLE_RUNS * apart].reshape(SAMPLE_RUNS, apart)[:, :SAMPLE_RUN]
    )
    return n_counts * (flat.size / (SAMPLE_RUNS * SAMPLE_RUN)), m_counts


# --- costs ----------------------------------------------------------------------------------------


def costs_of(symbols, n_counts, m_counts):
    """Estimated seconds of each method on one thread, or on the GPU."""
    if symbols.xp is np:
        compares, pair, scan = COMPARES_PER_SECOND[vector_bits()], PAIR, SCAN
    else:
        compares, pair, scan = GPU_COMPARES_PER_SECOND, GPU_PAIR, GPU_SCAN
    n, m, width = symbols.text.size, len(symbols.pattern), symbols.text.dtype.itemsize
    by_pairs, letter = pair * n_counts * m_counts, convolution_cost(symbols)
    shared = (n_counts > 0) & (m_counts > 0)
    heavy = shared & (by_pairs > letter)
    mixed = (
        by_pairs[shared & ~heavy].sum()
        + letter * (heavy.sum() + heavy.any())
        + scan * n * (shared & ~heavy).any()
    )
    return {
        "direct": len(symbols.text) * symbols.windows * m * width / compares,
        "fft": letter * (int(shared.sum()) + 1),
        "pairs": scan * n + float(by_pairs.sum()),
        "mixed": float(mixed),
    }


@functools.cache
def vector_bits():
    return host_vector_bits()


def convolution_cost(symbols):
    """Seconds for the transform of all blocks of the text."""
    length, step, dtype = transform_plan(symbols)
    blocks = len(symbols.text) * -(-symbols.windows // step)
    return CALL + (TRANSFORM if symbols.xp is np else GPU_TRANSFORM) * blocks * length * (
        1 if dtype == np.float32 else 3.5
    )


def heavy_letters(symbols, n_counts, m_counts):
    """Letters with more equal pairs than a convolution is worth."""
    pair = PAIR if symbols.xp is np else GPU_PAIR
    return pair * n_counts * m_counts > convolution_cost(symbols)


# --- convolutions ---------------------------------------------------------------------------------


def transform_plan(symbols):
    """Length of the transforms, windows that each gives, and the dtype in which their error stays
    below 1/4.

    Spectra of all letters are summed before one inverse transform. By Cauchy and Schwarz the norms
    of the indicators of all letters together are √length for a block and √m for the pattern; the
    error is within 4 u log2(length) times their product. Of some lengths the one that transforms
    the fewest bytes is taken.
    """
    n, m = symbols.text.shape[1], len(symbols.pattern)
    least = min(max(4 * m, 1 << 14), n)
    power = 1 << max(least - 1, 1).bit_length()
    plans = []
    for length in (
        size
        for p in (power, 2 * power)
        for size in (5 * p // 8, 3 * p // 4, p)
        if least <= size <= 2 * power
    ):
        error = 4 * 2.0**-24 * math.log2(length) * math.sqrt(length * m)
        dtype = np.float32 if error < 0.25 else np.float64
        blocks = len(symbols.text) * -(-symbols.windows // (length - m + 1))
        rows = rows_of(symbols.xp, dtype)
        plans.append((-(-blocks // rows) * rows * length * np.dtype(dtype).itemsize, length, dtype))
    _, length, dtype = min(plans, key=lambda plan: plan[0])
    return length, length - m + 1, dtype


def rows_of(xp, dtype):
    """Rows that pocketfft transforms at once, in a vector of 16 bytes."""
    return 16 // np.dtype(dtype).itemsize if xp is np else 1


def transforms(xp):
    """rfft and irfft; SciPy's are three times as fast as NumPy's in float32, and give the same
    counts."""
    if xp is np:
        try:
            from scipy.fft import irfft, rfft

            return rfft, irfft
        except ImportError:
            pass
    return xp.fft.rfft, xp.fft.irfft


def subtract_convolutions(symbols, letters, distances):
    """Subtract the matches of some letters: correlations of blocks of the text with the pattern, by
    overlap-save."""
    xp = symbols.xp
    length, step, dtype = transform_plan(symbols)
    in_row = -(-symbols.windows // step)
    blocks = len(symbols.text) * in_row
    rows = rows_of(xp, dtype)
    at_once = max(rows, (CACHED if xp is np else SPAN) // length // rows * rows)
    span = max(1, SPAN // length // at_once) * at_once
    for first in range(0, blocks, span):
        groups = [
            range(b, min(b + at_once, first + span, blocks))
            for b in range(first, min(first + span, blocks), at_once)
        ]
        Convolution(symbols, letters, distances, groups, length, step, in_row, dtype).run()


class Convolution:
    """The correlations of groups of blocks with the pattern, for all letters."""

    def __init__(self, symbols, letters, distances, groups, length, step, in_row, dtype):
        self.symbols, self.letters, self.distances, self.groups = (
            symbols,
            letters,
            distances,
            groups,
        )
        self.length, self.step, self.in_row, self.dtype = length, step, in_row, dtype
        self.rfft, self.irfft = transforms(symbols.xp)
        self.spectra = [0] * len(groups)

    def run(self):
        rows = rows_of(self.symbols.xp, self.dtype)
        for at in range(0, len(self.letters), LETTERS_AT_ONCE):
            some = self.letters[at : at + LETTERS_AT_ONCE]
            parts = [some[k : k + rows] for k in range(0, len(some), rows)]
            patterns = [None] * len(parts)
            self.each(
                len(parts),
                lambda k, parts=parts, patterns=patterns: self.transform_pattern(
                    k, parts[k], patterns
                ),
            )
            spectra = [row for part in patterns for row in part]
            self.each(
                len(self.groups),
                lambda g, some=some, spectra=spectra: self.add_letters(g, some, spectra),
            )
        self.each(len(self.groups), self.finish)

    def each(self, count, task):
        if self.symbols.xp is np:
            _pool.run(task, count)
        else:
            for k in range(count):
                task(k)

    def transform_pattern(self, k, letters, patterns):
        codes = self.symbols.pattern
        indicators = self.symbols.xp.stack([codes == int(c) for c in letters]).astype(self.dtype)
        patterns[k] = self.rfft(indicators, self.length, axis=1).conj()

    def segments(self, group):
        """The text of each block; what lies behind its end takes part in no window."""
        text = self.symbols.text
        codes = self.symbols.xp.zeros((len(group), self.length), text.dtype)
        for i, block in enumerate(group):
            row, first = block // self.in_row, block % self.in_row * self.step
            part = text[row, first : first + self.length]
            codes[i, : len(part)] = part
        return codes

    def add_letters(self, g, letters, patterns):
        codes = self.segments(self.groups[g])
        for c, pattern in zip(letters, patterns, strict=True):
            spectra = self.rfft((codes == int(c)).astype(self.dtype), axis=1)
            spectra *= pattern
            self.spectra[g] += spectra

    def finish(self, g):
        xp = self.symbols.xp
        matches = xp.rint(self.irfft(self.spectra[g], self.length, axis=1)).astype(
            self.distances.dtype
        )
        self.spectra[g] = 0
        for i, block in enumerate(self.groups[g]):
            row, first = block // self.in_row, block % self.in_row * self.step
            part = self.distances[row, first : first + self.step]
            part -= matches[i, : len(part)]


# --- kernels --------------------------------------------------------------------------------------


def jobs_of(symbols, block, gpu_block):
    """(jobs, 3) array: row, first window and the one behind the last, at most `block` windows in a
    job."""
    xp, rows, windows = symbols.xp, len(symbols.text), symbols.windows
    block = block if xp is np else gpu_block
    in_row = -(-windows // block)
    job = xp.arange(rows * in_row)
    first = job % in_row * block
    return xp.ascontiguousarray(
        xp.stack([job // in_row, first, xp.minimum(first + block, windows)], axis=1).astype(
            np.int64
        )
    )


@kernel(
    "in CODE text[b, n]; in CODE pattern[m]; in int64 jobs[q, 3]; inout int32 distances[b, w]; "
    "scratch CODE matches[BLOCK]",
    constants=("BLOCK",),
    split="q",
    gpu="block",
    types={"CODE": ("uint8", "uint16", "uint32")},
    grain="1",
)
def direct_distances(text, pattern, jobs, distances, matches, start, stop):
    """Subtracts from `distances`; matches are counted in the text's own type, so that a vector of
    symbols gives a vector of counters."""
    m = len(pattern)
    most = 248 if text.itemsize == 1 else 65528  # symbols until a counter may overflow
    for q in range(start, stop):
        first, width = jobs[q, 1], jobs[q, 2] - jobs[q, 1]
        symbols, out = (
            text[jobs[q, 0], first : first + width + m - 1],
            distances[jobs[q, 0], first : first + width],
        )
        begin = np.int64(0)
        while begin < m:
            end = min(begin + most, m)
            count_matches(symbols, pattern, begin, end, matches, width)
            for i in range(width):
                out[i] -= np.int32(matches[i])
            begin = end


def count_matches(symbols, pattern, begin, end, matches, width):
    """matches[i] = how many of pattern[begin:end] stand at symbols[i + begin:], eight at a time."""
    for i in range(width):
        matches[i] = 0
    j = begin
    while j + 8 <= end:
        s = symbols[j : j + width + 7]
        p0, p1, p2, p3 = pattern[j], pattern[j + 1], pattern[j + 2], pattern[j + 3]
        p4, p5, p6, p7 = pattern[j + 4], pattern[j + 5], pattern[j + 6], pattern[j + 7]
        for i in range(np.uintp(width)):
            matches[i] += (
                (s[i] == p0)
                + (s[i + np.uintp(1)] == p1)
                + (s[i + np.uintp(2)] == p2)
                + (s[i + np.uintp(3)] == p3)
                + (s[i + np.uintp(4)] == p4)
                + (s[i + np.uintp(5)] == p5)
                + (s[i + np.uintp(6)] == p6)
                + (s[i + np.uintp(7)] == p7)
            )
        j += 8
    while j < end:
        s = symbols[j : j + width]
        for i in range(np.uintp(width)):
            matches[i] += s[i] == pattern[j]
        j += 1


@kernel(
    "in CODE text[b, n]; in CODE pattern[m]; in int64 jobs[q, 3]; out int32 distances[b, w]; "
    "int64 k; scratch CODE matches[BLOCK]",
    constants=("BLOCK",),
    split="q",
    gpu="block",
    types={"CODE": ("uint8", "uint16", "uint32")},
    grain="1",
)
def bounded_distances(text, pattern, jobs, distances, k, matches, start, stop):
    """Distances up to k; k + 1 stands for all larger ones."""
    m = len(pattern)
    for q in range(start, stop):
        first, width = jobs[q, 1], jobs[q, 2] - jobs[q, 1]
        symbols, out = (
            text[jobs[q, 0], first : first + width + m - 1],
            distances[jobs[q, 0], first : first + width],
        )
        for i in range(width):
            out[i] = 0
        begin, left = np.int64(0), width
        while begin < m and 16 * left >= width:  # all windows together while many are left
            end = min(begin + min(2 * k + 16, np.int64(248)), m)
            count_matches(symbols, pattern, begin, end, matches, width)
            left = 0
            for i in range(width):
                out[i] += np.int32(end - begin) - np.int32(matches[i])
                left += out[i] <= k
            begin = end
        for i in range(width):
            if out[i] <= k:
                out[i] += mismatches_of_window(symbols[i : i + m], pattern, begin, k - out[i])
            out[i] = min(np.int64(out[i]), k + 1)


def mismatches_of_window(symbols, pattern, begin, most):
    """Mismatches from symbol `begin` on, 64 symbols at a time, until there are more than `most`."""
    total, m = np.int64(0), len(pattern)
    while begin < m and total <= most:
        end = min(begin + 64, m)
        s, p, unequal = symbols[begin:end], pattern[begin:end], np.int32(0)
        for j in range(len(p)):
            unequal += s[j] != p[j]
        total += unequal
        begin = end
    return total


def subtract_pairs(symbols, chosen, m_counts, distances):
    """Subtract the matches of the chosen letters, pair by pair: the places of each letter in the
    pattern are listed."""
    xp, m = symbols.xp, len(symbols.pattern)
    ends = np.cumsum(m_counts)
    bounds = np.zeros(
        (len(chosen) + 1, 2), np.int64
    )  # the last code may be that of symbols that the pattern lacks
    bounds[:-1, 0], bounds[:-1, 1] = np.where(chosen, ends - m_counts, 0), np.where(chosen, ends, 0)
    places = xp.argsort(symbols.pattern, kind="stable").astype(np.int64)
    block = max(BLOCK, m)
    distances_by_pairs(
        symbols.text.astype(np.uint32),
        xp.asarray(bounds),
        places,
        jobs_of(symbols, block, BLOCK),
        distances,
    )


@kernel(
    "in uint32 text[b, n]; in int64 bounds[s, 2]; in int64 places[m]; in int64 jobs[q, 3]; "
    "inout int32 distances[b, w]",
    split="q",
    gpu="block",
    grain="1",
)
def distances_by_pairs(text, bounds, places, jobs, distances, start, stop):
    """places[bounds[c, 0]:bounds[c, 1]] are the places j of letter c, ascending; every equal pair
    (i, j) takes 1 from window i - j."""
    m = len(places)
    for q in range(start, stop):
        row, first, last = jobs[q, 0], jobs[q, 1], jobs[q, 2]
        out, symbols = distances[row], text[row]
        for i in range(first, last + m - 1):
            low, high = bounds[symbols[i], 0], bounds[symbols[i], 1]
            while low < high and places[low] <= i - last:  # windows behind the job's
                low += 1
            while low < high and places[low] <= i - first:
                out[i - places[low]] -= 1
                low += 1
