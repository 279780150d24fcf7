"""Counter-based random numbers: Philox4x32-10, the same words on CPU and GPU, at any thread count.

Word i of a stream is word ``i % 4`` of the Philox4x32-10 bijection applied to the counter
``offset + i // 4`` under a key of two 32-bit words. There is no state: whoever needs several
streams gives each its own range of counters by `offset`. Ten rounds of

    (h0, l0) = 0xD2511F53 · c0,   (h1, l1) = 0xCD9E8D57 · c2,   c ← (h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1,
    l0)

with the key raised by (0x9E3779B9, 0xBB67AE85) between rounds. J. K. Salmon, M. A. Moraes, R. O.
Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import math
from typing import Annotated

import numpy as np

from .arguments import RNG, Array, DType, Namespace, ShapeLike, checked, interval
from .dispatch import routine
from .kernel import kernel

__all__ = ["generator_from_rng", "key_from_rng", "normal", "philox_uint32", "uniform"]


Word = Annotated[int, interval(f"[0, {2**32})")]


# --- routines -------------------------------------------------------------------------------------


@routine
def philox_uint32(
    shape: ShapeLike,
    *,
    key: tuple[Word, Word],
    offset: Annotated[int, interval(f"[0, {2**128})")] = 0,
    xp: Namespace = np,
) -> Array:
    """Random 32-bit words.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the result.
    key : (int in [0, 2**32), int in [0, 2**32))
        Two 32-bit words that name the stream.
    offset : int in [0, 2**128), default 0
        Counter of the first four words, in [0, 2**128).
    xp : module, numpy or cupy, default numpy
        numpy, or cupy to have the numbers made on the GPU.

    Returns
    -------
    uint32 array of shape `shape`
        Uniform over all 32-bit words; bit-identical on CPU and GPU.

    Raises
    ------
    TypeError
        `shape`, `key` or `offset` do not consist of integers.
    ValueError
        A negative extent, a key word outside [0, 2**32), an offset outside [0, 2**128).

    References
    ----------
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> [hex(word) for word in philox_uint32(4, key=(0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    count = math.prod(shape)
    words = xp.empty((-(-count // 4), 4), np.uint32)
    low, high = offset % 2**64, offset >> 64
    philox_fill(words, *key, low, high)
    return words.reshape(-1)[:count].reshape(shape)


@routine
def uniform(
    shape: ShapeLike, *, rng: RNG = None, dtype: DType = np.float64, xp: Namespace = np
) -> Array:
    """Random numbers uniform in [0, 1).

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the result.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Where the key of the stream comes from, see `key_from_rng`.
    dtype : dtype, float32 or float64, default float64
        float32 takes the upper 24 bits of a word, float64 takes 27 and 26 bits of two consecutive
        words.
    xp : module, numpy or cupy, default numpy
        numpy, or cupy to have the numbers made on the GPU.

    Returns
    -------
    array of shape `shape` and dtype `dtype`
        Bit-identical on CPU and GPU.

    Raises
    ------
    TypeError
        `rng` or `dtype` are none of the above.
    ValueError
        A negative extent or seed.

    References
    ----------
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> uniform(2, rng=42)
    array([0.15743012, 0.05726242])
    """
    count, in_counter = math.prod(shape), 16 // dtype.itemsize
    numbers = xp.empty((-(-count // in_counter), in_counter), dtype)
    uniform_fill(numbers, *key_from_rng(rng))
    return numbers.reshape(-1)[:count].reshape(shape)


@routine
def normal(
    shape: ShapeLike, *, rng: RNG = None, dtype: DType = np.float64, xp: Namespace = np
) -> Array:
    """Random numbers of the standard normal distribution, by the Box–Muller transform.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the result.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Where the key of the stream comes from, see `key_from_rng`.
    dtype : dtype, float32 or float64, default float64
        Of the result.
    xp : module, numpy or cupy, default numpy
        numpy, or cupy to have the numbers made on the GPU.

    Returns
    -------
    array of shape `shape` and dtype `dtype`
        Consecutive numbers come in pairs ``r cos 2πv, r sin 2πv`` with ``r = sqrt(-2 log u)``, u in
        (0, 1]. CPU and GPU use the same words; their results differ by a few units in the last
        place, as their log, sin and cos do.

    Raises
    ------
    TypeError
        `rng` or `dtype` are none of the above.
    ValueError
        A negative extent or seed.

    References
    ----------
    G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", 1958.

    Examples
    --------
    >>> normal(3, rng=42).shape
    (3,)
    """
    count = math.prod(shape)
    pairs = uniform((-(-count // 2), 2), rng=rng, dtype=dtype, xp=xp)
    step = dtype.type(2**-24 if dtype == np.float32 else 2**-53)
    # one step up: the logarithm never sees 0
    radius = xp.sqrt(dtype.type(-2) * xp.log(pairs[:, 0] + step))
    angle = dtype.type(2 * np.pi) * pairs[:, 1]
    return (
        xp.stack((radius * xp.cos(angle), radius * xp.sin(angle)), axis=1)
        .reshape(-1)[:count]
        .reshape(shape)
    )


@checked
def key_from_rng(rng: RNG) -> tuple[int, int]:
    """The Philox key that stands for a random state: the one meaning of `rng` in all of numcore.

    Parameters
    ----------
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator
        None takes fresh entropy; an int is a seed, ``SeedSequence(rng).generate_state(2)``; a
        Generator gives two words and advances.

    Returns
    -------
    (int, int)

    Raises
    ------
    TypeError
        `rng` is none of these.
    ValueError
        A negative seed.

    Examples
    --------
    >>> key_from_rng(42)
    (3444837047, 2669555309)
    """
    if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
        words = np.random.default_rng(rng).integers(0, 2**32, 2, dtype=np.uint32)
    else:
        seeds = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
        words = seeds.generate_state(2)
    return int(words[0]), int(words[1])


@checked
def generator_from_rng(rng: RNG) -> np.random.Generator:
    """The NumPy generator that stands for a random state, for draws on the host.

    Parameters
    ----------
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator
        As in SPEC 7: a Generator is used and advances, anything else seeds a new one.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError, ValueError
        `rng` is none of these, or a negative seed.

    Examples
    --------
    >>> int(generator_from_rng(42).integers(10))
    0
    """
    return np.random.default_rng(rng)


# --- kernels --------------------------------------------------------------------------------------

MULTIPLIER_0, MULTIPLIER_2 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
LOW, HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(first, second, k0, k1):
    """The four words of the counter (second, first) under the key (k0, k1)."""
    c0, c1 = np.uint32(first & LOW), np.uint32(first >> HIGH)
    c2, c3 = np.uint32(second & LOW), np.uint32(second >> HIGH)
    for _ in range(10):
        p0, p2 = MULTIPLIER_0 * np.uint64(c0), MULTIPLIER_2 * np.uint64(c2)
        c0, c1 = np.uint32(p2 >> HIGH) ^ c1 ^ k0, np.uint32(p2 & LOW)
        c2, c3 = np.uint32(p0 >> HIGH) ^ c3 ^ k1, np.uint32(p0 & LOW)
        k0, k1 = np.uint32(k0 + WEYL_0), np.uint32(k1 + WEYL_1)
    return c0, c1, c2, c3


@kernel("out uint32 words[n, 4]; uint32 k0; uint32 k1; uint64 low; uint64 high", split="n")
def philox_fill(words, k0, k1, low, high, start, stop):
    """words[i] = Philox4x32-10 of the 128-bit counter (high, low) + i under the key (k0, k1)."""
    for i in range(start, stop):
        first = low + np.uint64(i)
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = philox4x32(
            first, high + np.uint64(first < low), k0, k1
        )


@kernel("out T u[n, m]; uint32 k0; uint32 k1", split="n")
def uniform_fill(u, k0, k1, start, stop):
    """u[i] = the words of counter i as numbers in [0, 1): four of 24 bits where m is 4, two of 53
    bits where m is 2."""
    for i in range(start, stop):
        a, b, c, d = philox4x32(np.uint64(i), np.uint64(0), k0, k1)
        if u.shape[1] == 4:
            u[i, 0], u[i, 1] = (a >> EIGHT) * TO_24, (b >> EIGHT) * TO_24
            u[i, 2], u[i, 3] = (c >> EIGHT) * TO_24, (d >> EIGHT) * TO_24
        elif u.shape[1] == 2:
            u[i, 0] = ((a >> FIVE) * TWO_26 + (b >> SIX)) * TO_53
            u[i, 1] = ((c >> FIVE) * TWO_26 + (d >> SIX)) * TO_53


EIGHT, FIVE, SIX = np.uint32(8), np.uint32(5), np.uint32(6)
TO_24, TO_53, TWO_26 = 2.0**-24, 2.0**-53, 2.0**26
