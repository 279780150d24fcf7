"""Distances of packed bits: in how many bits two rows of 64-bit words differ, for all pairs of
rows, by the CPU's own counting of ones."""

import numpy as np

from ..dispatch import on_device, routine
from ..kernel import kernel
from ..simd import popcount


@routine
def packed_hamming(a, b=None):
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
        An array has another dtype, or the two live on different devices.
    ValueError
        An array is no matrix, the numbers of words differ, or w is 2²⁵ or more, so that int32 could
        overflow.

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
    xp, (a, b) = on_device(a=a, b=a if b is None else b)
    for name, array in (("a", a), ("b", b)):
        if array is None or array.dtype != np.uint64:
            raise TypeError(f"{name} must have dtype uint64 (got {getattr(array, 'dtype', None)})")
        if array.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions (got shape {array.shape})")
    if a.shape[1] != b.shape[1] or a.shape[1] >= 1 << 25:
        raise ValueError(
            f"a and b must have the same number of words, below 2^25 (got shapes {a.shape}, "
            f"{b.shape})"
        )
    distances = xp.empty((len(a), len(b)), np.int32)
    differing_bits(
        xp.ascontiguousarray(a.astype(np.uint64, copy=False)),
        xp.ascontiguousarray(b.astype(np.uint64, copy=False)),
        distances,
    )
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
