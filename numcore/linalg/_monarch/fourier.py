"""The discrete Fourier transform as a Monarch matrix."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, ComplexDType, Namespace, at_least, at_most
from ...dispatch import routine
from .projection import Blocks, default_blocks

MAX_DFT = 2**40  # larger transforms exceed any memory


class MonarchTransform(NamedTuple):
    """``monarch_matmul(x[..., permutation], right, left)`` is the transform of x."""

    right: Array
    left: Array
    permutation: Array


@routine
def monarch_dft(
    n: Annotated[int, at_least(1), at_most(MAX_DFT)],
    *,
    n_blocks: Blocks | None = None,
    inverse: bool = False,
    dtype: ComplexDType = np.complex128,
    xp: Namespace = np,
) -> MonarchTransform:
    """The discrete Fourier transform as a Monarch matrix.

    Parameters
    ----------
    n : int >= 1 and <= 2**40
    n_blocks : int >= 1, optional
        k, a divisor of n; the one nearest to √n by default.
    inverse : bool, default False
    dtype : dtype, complex64 or complex128, default complex128
    xp : module, numpy or cupy, default numpy
        numpy or cupy.

    Returns
    -------
    MonarchTransform
        ``monarch_matmul(x[..., permutation], right, left)`` is ``fft(x, norm="ortho")``, or
        ``ifft``: right (k, l, l) and left (l, k, k) with l = n / k, and
        ``permutation[κ l + i] = i k + κ``.

    Raises
    ------
    ValueError
        `n` is less than 1 or larger than 2**40, or `n_blocks` does not divide it.
    TypeError
        Another dtype.

    Notes
    -----
    These are the factors of Cooley and Tukey: for one pair (κ, λ) the entry exp(-2πi (σ l + λ)(i k
    + κ) / n) is exp(-2πi σ κ / k) times exp(-2πi λ (i k + κ) / n), since σ l i k is a multiple of
    n: a matrix of rank one.

    References
    ----------
    J. W. Cooley, J. W. Tukey, "An algorithm for the machine calculation of complex Fourier series",
    1965.

    Examples
    --------
    >>> from numcore.linalg import monarch_matmul
    >>> right, left, permutation = monarch_dft(6)
    >>> x = np.arange(6) + 0j
    >>> bool(np.allclose(monarch_matmul(x[permutation], right, left), np.fft.fft(x, norm="ortho")))
    True
    """
    k = default_blocks(n, n)[0] if n_blocks is None else n_blocks
    if n % k:
        raise ValueError(f"n_blocks must divide n = {n} (got {k})")
    count, sign = n // k, 2j * np.pi / n * (1 if inverse else -1)
    kappa, lam = np.arange(k)[:, None, None], np.arange(count)[:, None]
    i, sigma = np.arange(count), np.arange(k)[:, None]
    right = np.exp(sign * (lam * (i * k + kappa) % n)) / np.sqrt(count)
    left = np.broadcast_to(
        np.exp(sign * (sigma * count * np.arange(k) % n)) / np.sqrt(k), (count, k, k)
    )
    permutation = (i * k + np.arange(k)[:, None]).reshape(-1)
    return MonarchTransform(
        xp.asarray(right.astype(dtype)),
        xp.asarray(np.ascontiguousarray(left, dtype)),
        xp.asarray(permutation),
    )
