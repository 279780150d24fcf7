"""Randomised low-rank factorisation: the range of A from its product with a few random vectors, and
the singular values there.

A is only ever multiplied, so that it may be dense, sparse, or known by its products alone.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_count
from ..dispatch import device_of, float_dtype, on_device, routine
from ..random import key_from_rng, normal
from ._csr import CSR, as_csr

MOST_STEPS = 1000
# vectors that measure the error: their largest residual bounds it but with probability 1e-10
N_PROBES = 10


class SVDResult(NamedTuple):
    """A ≈ u diag(s) vh, with `error_bound` on the spectral norm of the difference."""

    u: Any
    s: Any
    vh: Any
    error_bound: float


class _Products:
    """A as its products: dense, `CSR`, sparse of SciPy or CuPy, or any object with matmat, rmatmat,
    shape and dtype."""

    def __init__(self, a):
        if isinstance(a, CSR) or hasattr(a, "tocsr"):
            a = as_csr(a)
            self.matmat, self.rmatmat = a.matmat, a.rmatmat
            self.xp, _ = on_device(a=a.data)
        elif device_of(a) is None and all(
            hasattr(a, name) for name in ("matmat", "rmatmat", "shape", "dtype")
        ):
            self.matmat, self.rmatmat, self.xp = a.matmat, a.rmatmat, np
        else:
            self.xp, (a,) = on_device(a=a)
            float_dtype(a=a)
            self.matmat, self.rmatmat = lambda x: a @ x, lambda y: a.swapaxes(-1, -2) @ y
        if len(a.shape) < 2:
            raise ValueError(f"a must have 2 dimensions (got shape {a.shape})")
        self.shape, self.dtype = tuple(a.shape), np.dtype(a.dtype)


@routine
def range_finder(a, size, *, n_iter=2, oversample=8, rng=None):
    """An orthonormal basis of nearly the range of A, by products with random vectors.

    Parameters
    ----------
    a : (..., m, n) array of float32 or float64, CSR, sparse matrix of SciPy or CuPy, or an object with matmat, rmatmat, shape and dtype
    size : int
        Directions that are wanted.
    n_iter : int
        Power steps, each two products; they help where singular values fall slowly. Q is made
        orthonormal between all products, as small singular values are lost otherwise.
    oversample : int
        Directions more than wanted.
    rng : None, int or numpy.random.Generator, optional

    Returns
    -------
    (..., m, k) array
        Orthonormal columns, k = min(size + oversample, m, n). The expected spectral error ‖A - Q Qᵀ
        A‖ is below ``(1 + 4 √(2 min(m, n) / (oversample - 1)))**(1 / (2 n_iter + 1))`` times the
        singular value number size + 1.

    Raises
    ------
    ValueError
        `size` is not positive, another option is negative, or `a` has fewer than two dimensions or
        is not finite.
    TypeError
        `a` is none of the above.

    References
    ----------
    N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review, 2011.

    Examples
    --------
    >>> a = np.outer(np.arange(5.0), np.ones(3))
    >>> q = range_finder(a, 1, oversample=0, rng=0)
    >>> bool(np.allclose(q @ (q.T @ a), a))
    True
    """  # noqa: E501
    products = _Products(a)
    *lead, m, n = products.shape
    size = checked_count("size", size, least=1)
    n_iter, oversample = (
        checked_count("n_iter", n_iter, most=MOST_STEPS),
        checked_count("oversample", oversample),
    )
    xp = products.xp
    y = products.matmat(
        normal((*lead, n, min(size + oversample, m, n)), rng=rng, dtype=products.dtype, xp=xp)
    )
    if not bool(xp.isfinite(y).all()):
        raise ValueError("a must be finite (got nan or inf)")
    for _ in range(n_iter):
        y = products.matmat(xp.linalg.qr(products.rmatmat(xp.linalg.qr(y)[0]))[0])
    return xp.linalg.qr(y)[0]


@routine
def randomized_svd(a, rank, *, n_iter=2, oversample=8, rng=None):
    """The largest singular values and vectors, by products with random vectors, and a bound on the
    error.

    Parameters
    ----------
    a : (m, n) array of float32 or float64, CSR, sparse matrix of SciPy or CuPy, or an object with matmat, rmatmat, shape and dtype
    rank : int
        k, with 1 <= k <= min(m, n).
    n_iter, oversample, rng
        As in `range_finder`.

    Returns
    -------
    SVDResult
        ``u`` (m, k) and ``vh`` (k, n) orthonormal, ``s`` (k,) descending, and ``error_bound``: ‖A -
        u diag(s) vh‖₂ is not larger, but with probability 1e-10. It is the largest residual of ten
        fresh random vectors times 10 √(2/π), and the largest singular value that was cut off. A
        matrix of rank k is recovered to rounding.

    Raises
    ------
    ValueError
        `rank` is out of range, another option is negative, or `a` has not two dimensions or is not
        finite.
    TypeError
        `a` is none of the above.

    References
    ----------
    N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review, 2011,
    sections 4.3 and 5.1.

    Examples
    --------
    >>> a = np.outer(np.arange(5.0), np.ones(3))
    >>> result = randomized_svd(a, 1, rng=0)
    >>> bool(np.isclose(result.s[0], np.linalg.norm(a))), result.error_bound < 1e-12
    (True, True)
    """  # noqa: E501
    products = _Products(a)
    if len(products.shape) != 2:
        raise ValueError(f"a must have 2 dimensions (got shape {products.shape})")
    m, n = products.shape
    rank = checked_count("rank", rank, least=1, most=min(m, n))
    xp, rng = products.xp, np.random.default_rng(key_from_rng(rng))
    q = range_finder(a, rank, n_iter=n_iter, oversample=oversample, rng=rng)
    u, s, vh = xp.linalg.svd(products.rmatmat(q).T, full_matrices=False)
    probes = products.matmat(normal((n, N_PROBES), rng=rng, dtype=products.dtype, xp=xp))
    residual = xp.linalg.norm(probes - q @ (q.T @ probes), axis=0).max()
    bound = 10 * math.sqrt(2 / math.pi) * float(residual) + (
        float(s[rank]) if rank < len(s) else 0.0
    )
    return SVDResult(q @ u[:, :rank], s[:rank], vh[:rank], bound)
