"""Randomized SVD: an approximate range of A from products with random vectors, and the singular
values in it.

A is used only through products, so it may be dense, sparse, or given by its products alone.
"""

import math
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..arguments import RNG, Array, Float, at_least, nonnegative, within
from ..dispatch import namespace_of, routine
from ..random import key_from_rng, normal
from ._csr import CSR, CSRLike, Sparse

MAX_STEPS = 1000
# random vectors that measure the error: the bound fails with probability 1e-10
N_PROBES = 10


class SVDResult(NamedTuple):
    """A ≈ u diag(s) vh, with `error_bound` on the spectral norm of the difference."""

    u: Array
    s: Array
    vh: Array
    error_bound: float


@runtime_checkable
class Products(Protocol):
    """A matrix given by its products A X and Aᵀ Y with NumPy arrays of its dtype, such as a SciPy
    LinearOperator."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def matmat(self, x: Array, /) -> Array: ...
    def rmatmat(self, y: Array, /) -> Array: ...


class _Dense:
    """The products of a dense matrix or a stack of matrices."""

    def __init__(self, a):
        self.a, self.shape, self.dtype = a, a.shape, a.dtype

    def matmat(self, x):
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # values that are not finite are rejected later
            return self.a @ x

    def rmatmat(self, y):
        with np.errstate(invalid="ignore", over="ignore"):
            return self.a.swapaxes(-1, -2) @ y


def _products(a):
    """The array namespace, and an object with the products of the matrix."""
    if isinstance(a, CSR):
        return namespace_of(a.data), a
    if not hasattr(a, "matmat"):
        return namespace_of(a), _Dense(a)
    if len(a.shape) != 2:
        raise ValueError(f"a must have shape (m, n) (got {tuple(a.shape)})")
    if a.dtype not in (np.float32, np.float64):
        raise TypeError(f"a must have dtype float32 or float64 (got {a.dtype})")
    return np, a


PowerSteps = Annotated[int, within(0, MAX_STEPS)]
Count = Annotated[int, nonnegative]


@routine
def range_finder(
    a: Float[Array, "*batch m n"] | Sparse[CSRLike, "m n"] | Products,
    size: Annotated[int, at_least(1)],
    *,
    n_iter: PowerSteps = 2,
    oversample: Count = 8,
    rng: RNG = None,
) -> Array:
    """Orthonormal basis of an approximate range of A, from products with random vectors.

    Parameters
    ----------
    a : (..., m, n) array of float32 or float64 or (m, n) CSR or sparse array or Products
    size : int >= 1
        Number of basis vectors, before oversampling.
    n_iter : int in [0, 1000], default 2
        Power iterations, each of two products; they help if the singular values decay slowly. The
        basis is orthonormalized after every product, since small singular values would be lost
        otherwise.
    oversample : int >= 0, default 8
        Number of additional basis vectors.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

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
        `a` is of another type.

    References
    ----------
    N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review, 2011.

    Examples
    --------
    >>> a = np.outer(np.arange(5.0), np.ones(3))
    >>> q = range_finder(a, 1, oversample=0, rng=0)
    >>> bool(np.allclose(q @ (q.T @ a), a))
    True
    """
    xp, products = _products(a)
    *lead, m, n = products.shape
    y = products.matmat(
        normal((*lead, n, min(size + oversample, m, n)), rng=rng, dtype=products.dtype, xp=xp)
    )
    if not bool(xp.isfinite(y).all()):
        raise ValueError("a must be finite (got nan or inf)")
    for _ in range(n_iter):
        y = products.matmat(xp.linalg.qr(products.rmatmat(xp.linalg.qr(y)[0]))[0])
    return xp.linalg.qr(y)[0]


@routine
def randomized_svd(
    a: Float[Array, "m n"] | Sparse[CSRLike, "m n"] | Products,
    rank: Annotated[int, at_least(1)],
    *,
    n_iter: PowerSteps = 2,
    oversample: Count = 8,
    rng: RNG = None,
) -> SVDResult:
    """Leading singular values and vectors from products with random vectors, and a bound on the
    error.

    Parameters
    ----------
    a : (m, n) array of float32 or float64 or (m, n) CSR or sparse array or Products
    rank : int >= 1
        k, at most min(m, n).
    n_iter : int in [0, 1000], default 2
    oversample : int >= 0, default 8
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        As in `range_finder`.

    Returns
    -------
    SVDResult
        ``u`` (m, k) and ``vh`` (k, n) orthonormal, ``s`` (k,) descending, and ``error_bound``: ‖A -
        u diag(s) vh‖₂ is at most `error_bound`, except with probability 1e-10. The bound is 10
        √(2/π) times the largest residual of ten new random vectors, plus the largest discarded
        singular value. A matrix of rank k is recovered up to rounding errors.

    Raises
    ------
    ValueError
        `rank` is out of range, another option is negative, or `a` does not have two dimensions or is
        not finite.
    TypeError
        `a` is of another type.

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
    xp, products = _products(a)
    m, n = products.shape
    if rank > min(m, n):
        raise ValueError(f"rank must be <= min(m, n) with (m, n) = {m, n} (got {rank})")
    rng = np.random.default_rng(key_from_rng(rng))
    q = range_finder(a, rank, n_iter=n_iter, oversample=oversample, rng=rng)
    u, s, vh = xp.linalg.svd(products.rmatmat(q).T, full_matrices=False)
    probes = products.matmat(normal((n, N_PROBES), rng=rng, dtype=products.dtype, xp=xp))
    residual = xp.linalg.norm(probes - q @ (q.T @ probes), axis=0).max()
    bound = 10 * math.sqrt(2 / math.pi) * float(residual) + (
        float(s[rank]) if rank < len(s) else 0.0
    )
    return SVDResult(q @ u[:, :rank], s[:rank], vh[:rank], bound)
