"""Hamming distances of packed bits: in how many bits two rows of 64-bit words differ, for all pairs
of rows, by the CPU's population count."""

import numpy as np

from ..arguments import Array, UInt64
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import popcount


@routine
def packed_hamming(a: UInt64[Array, "na w"], b: UInt64[Array, "nb w"] | None = None) -> Array:
    """The number of bits in which rows of words differ, for all pairs of rows.

    Parameters
    ----------
    a : (na, w) array of uint64
        Rows of 64 w bits, packed into words in any order that both arrays share.
    b : (nb, w) array of uint64, optional
        By default `a`.

    Returns
    -------
    (na, nb) array of int32
        Exact.

    Raises
    ------
    TypeError
        Another dtype, or arrays on different devices.
    ValueError
        Shapes do not fit, or w is 2²⁵ or more, so that int32 could overflow.

    Notes
    -----
    na nb w steps.

    References
    ----------
    R. W. Hamming, "Error detecting and error correcting codes", Bell System Technical Journal 29,
    1950.

    Examples
    --------
    >>> packed_hamming(np.array([[0b1011]], np.uint64), np.array([[0b1000], [0b1011]], np.uint64))
    array([[2, 0]], dtype=int32)
    """
    if a.shape[1] >= 1 << 25:
        raise ValueError(f"a must have less than 2^25 words in a row (got {a.shape[1]})")
    xp, b = namespace_of(a), a if b is None else b
    distances = xp.empty((len(a), len(b)), np.int32)
    differing_bits(xp.ascontiguousarray(a), xp.ascontiguousarray(b), distances)
    return distances


@kernel(
    "in uint64 a[n, w]; in uint64 b[m, w]; out int32 distances[n, m]",
    split="n",
    gpu="block",
    threads=256,
)
def differing_bits(a, b, distances, start, stop):
    words = np.uintp(a.shape[1])
    for i in range(start, stop):
        row = a[i]
        for j in range(np.uintp(b.shape[0])):
            other, ones = b[j], np.uint64(0)
            for p in range(words):
                ones += popcount(row[p] ^ other[p])
            distances[i, j] = ones
