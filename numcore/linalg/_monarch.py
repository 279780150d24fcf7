"""Monarch matrices: products of two block-diagonal matrices with permutations between them, n × n
maps in O(n^1.5) operations.

M = P_l L P R with R = blockdiag(right) and L = blockdiag(left). With ``right`` of k blocks q × p
and ``left`` of l blocks s × r, l r = k q,

    o[κ q + i] = Σ_j right[κ, i, j] x[κ p + j],        y[σ l + λ] = Σ_ρ left[λ, σ, ρ] o[ρ l + λ].

Every matrix has a best approximation of this form, found block by block, since the entries (σ l +
λ, κ p + j) of M for one pair (κ, λ) make a matrix of rank q / l. Fourier, Hadamard and circulant
matrices are of this form. From T. Dao et al., "Monarch: expressive structured matrices for
efficient and accurate training", ICML 2022.
"""

import math
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from ..arguments import (
    RNG,
    Array,
    ComplexDType,
    DType,
    Float,
    Inexact,
    Namespace,
    at_least,
    at_most,
    checked,
    finite,
    nonempty,
)
from ..dispatch import namespace_of, routine
from ..intrinsics import gemm_row, gemm_tile, tile_cols, tile_rows
from ..kernel import kernel
from ..random import generator_from_rng

FEW = 8  # rows of x up to which products of matrices and vectors are as fast
MAX_DFT = 2**40  # a transform that fits no memory
# of a block's Gram matrix; a block whose two largest singular values are closer goes to the SVD
SQUARINGS = 12


Blocks: TypeAlias = Annotated[int, at_least(1)]


class MonarchGrads(NamedTuple):
    """Gradients of a loss by x, right and left."""

    x: Array
    right: Array
    left: Array


class MonarchFactors(NamedTuple):
    """The factors of a projection, its distance to the matrix in the Frobenius norm, and that
    distance by the norm of the matrix."""

    right: Array
    left: Array
    residual_norm: Array
    relative_error: Array


class MonarchTransform(NamedTuple):
    """``monarch_matmul(x[..., permutation], right, left)`` is the transform of x."""

    right: Array
    left: Array
    permutation: Array


# --- products -------------------------------------------------------------------------------------


@routine
def monarch_matmul(
    x: Inexact[Array, "*batch n"], right: Inexact[Array, "k q p"], left: Inexact[Array, "l s r"]
) -> Array:
    """Product of a Monarch matrix with vectors.

    Parameters
    ----------
    x : (..., n) array of float32, float64, complex64 or complex128
        n = k p.
    right : (k, q, p) array of float32, float64, complex64 or complex128
    left : (l, s, r) array of float32, float64, complex64 or complex128
        l r = k q.

    Returns
    -------
    (..., m) array, m = l s
        Sums of p and r products: the error is at most (p + r) units of roundoff times the same
        product of absolute values.

    Raises
    ------
    ValueError
        The shapes do not fit.
    TypeError
        Other dtypes, or dtypes or devices mixed.

    Notes
    -----
    2 (k q p + l s r) operations for each vector, 4 n^1.5 where all blocks are √n × √n. Memory: the
    result, and n numbers a vector.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> right = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    >>> left = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, -1.0]]])
    >>> monarch_matmul(np.ones(4), right, left)
    array([ 3., 22., 11., -8.])
    """
    _check_sizes(x, right, left)
    xp = namespace_of(x)
    rows = xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    right, left = xp.ascontiguousarray(right), xp.ascontiguousarray(left)
    y = _blocks(xp, _blocks(xp, rows, right, False, False), left, True, False)
    return y.reshape(*x.shape[:-1], y.shape[-1])


@routine
def monarch_matmul_vjp(
    x: Inexact[Array, "*batch n"],
    right: Inexact[Array, "k q p"],
    left: Inexact[Array, "l s r"],
    grad_out: Inexact[Array, "*batch m"],
) -> MonarchGrads:
    """Gradients of a loss by the arguments of `monarch_matmul`, from its gradient by the result.

    Parameters
    ----------
    x : (..., n) array of float32, float64, complex64 or complex128
    right : (k, q, p) array of float32, float64, complex64 or complex128
    left : (l, s, r) array of float32, float64, complex64 or complex128
        As for `monarch_matmul`.
    grad_out : (..., m) array of float32, float64, complex64 or complex128
        m = l s. Complex gradients are those of the real inner product Re ⟨g, y⟩.

    Returns
    -------
    MonarchGrads
        Of the shapes of `x`, `right` and `left`.

    Raises
    ------
    ValueError
        The shapes do not fit.
    TypeError
        Other dtypes, or dtypes or devices mixed.

    Notes
    -----
    Five products of the size of the two that the forward pass takes: what lies between its blocks
    is computed again.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> grads = monarch_matmul_vjp(
    ...     np.ones(2), np.ones((1, 1, 2)), np.ones((1, 2, 1)), np.array([1.0, 2.0])
    ... )
    >>> grads.x, grads.left.ravel()
    (array([3., 3.]), array([2., 4.]))
    """
    m = _check_sizes(x, right, left)
    if grad_out.shape[-1] != m:
        raise ValueError(
            f"grad_out must have shape (..., m) with m = l s = {m} (got {grad_out.shape})"
        )
    xp = namespace_of(x)
    rows = xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    grad = xp.ascontiguousarray(grad_out).reshape(len(rows), m)
    right, left = (
        xp.ascontiguousarray(factor.conj() if factor.dtype.kind == "c" else factor)
        for factor in (right, left)
    )
    o = _blocks(xp, rows, right.conj(), False, False)
    grad_left = _outer_blocks(xp, grad, o, left.shape, True)
    grad_o = _blocks(xp, grad, left, True, True)
    grad_right = _outer_blocks(xp, grad_o, rows, right.shape, False)
    return MonarchGrads(
        _blocks(xp, grad_o, right, False, True).reshape(x.shape), grad_right, grad_left
    )


@routine
def monarch_to_dense(
    right: Inexact[Array, "*batch k q p"], left: Inexact[Array, "*batch l s r"]
) -> Array:
    """The dense matrix of Monarch factors.

    Parameters
    ----------
    right : (..., k, q, p) array of float32, float64, complex64 or complex128
    left : (..., l, s, r) array of float32, float64, complex64 or complex128
        l r = k q.

    Returns
    -------
    (..., l s, k p) array

    Raises
    ------
    ValueError
        The shapes do not fit.
    TypeError
        Other dtypes, or dtypes or devices mixed.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022.

    Examples
    --------
    >>> monarch_to_dense(np.array([[[1.0, 2.0]]]), np.array([[[3.0], [4.0]]]))
    array([[3., 6.],
           [4., 8.]])
    """
    _check_inner(right, left)
    xp = namespace_of(right)
    lead, (k, q, p), (count, s, _) = right.shape[:-3], right.shape[-3:], left.shape[-3:]
    result = xp.empty((*lead, s, count, k, p), right.dtype)
    f = np.arange(k * q)
    for kappa in range(k):
        for lam in range(count):  # the rows i of block κ whose outputs ρ l + λ go to block λ
            i = [int(g) - kappa * q for g in f[kappa * q : (kappa + 1) * q] if g % count == lam]
            rho = [(kappa * q + g) // count for g in i]
            with np.errstate(all="ignore"):
                result[..., lam, kappa, :] = (
                    left[..., lam, :, :][..., rho] @ right[..., kappa, :, :][..., i, :]
                )
    return result.reshape(*lead, s * count, k * p)


def _check_sizes(x, right, left):
    """Hold the sizes of arguments against each other; the length m of a result."""
    n = right.shape[0] * right.shape[2]
    if x.shape[-1] != n:
        raise ValueError(f"x must have shape (..., n) with n = k p = {n} (got {x.shape})")
    _check_inner(right, left)
    return left.shape[0] * left.shape[1]


def _check_inner(right, left):
    k, q, _ = right.shape[-3:]
    count, _, r = left.shape[-3:]
    if count * r != k * q:
        raise ValueError(f"left must have l r = k q = {k * q} (got l = {count}, r = {r})")


def _blocks(xp, x, w, interleaved, transposed):
    """y = blockdiag(w) x for every row of x, or with the transposed blocks.

    Block g takes the entries g J + j of a row and gives g I + i, or, interleaved, takes j G + g and
    gives i G + g.
    """
    (count, i, j), b = w.shape, len(x)
    i, j = (j, i) if transposed else (i, j)
    y = xp.empty((b, count * i), x.dtype)
    if not y.size or not j:
        y[...] = 0
    elif x.dtype.kind == "c" or xp is np and b <= FEW:
        with np.errstate(all="ignore"):
            _by_block(y, count, interleaved)[...] = xp.matmul(
                w.swapaxes(1, 2) if transposed else w, _by_block(x, count, interleaved)
            )
    else:
        block_product(x, w, y, interleaved, transposed)
    return y


def _outer_blocks(xp, y, x, shape, interleaved):
    """w[g] = Σ over rows of (block g of y) (block g of x)ᴴ."""
    w = xp.zeros(shape, x.dtype)
    if not w.size or not len(x):
        return w
    if x.dtype.kind == "c":
        with np.errstate(all="ignore"):
            return xp.matmul(
                _by_block(y, shape[0], interleaved),
                _by_block(x, shape[0], interleaved).conj().swapaxes(1, 2),
            )
    block_outer(y, x, w, interleaved)
    return w


def _by_block(x, count, interleaved):
    """(count, size, b) view of the rows of x."""
    return (
        x.reshape(len(x), -1, count).transpose(2, 1, 0)
        if interleaved
        else x.reshape(len(x), count, -1).transpose(1, 2, 0)
    )


# --- projection -----------------------------------------------------------------------------------


@routine
def monarch_project(
    a: Inexact[Array, "*batch m n", finite, nonempty],
    *,
    n_blocks: tuple[Blocks, Blocks] | None = None,
    rank: Annotated[int, at_least(1)] = 1,
    balance: bool = True,
) -> MonarchFactors:
    """The Monarch matrix that is closest to a dense one in the Frobenius norm.

    The entries ``A[λ::l, κ p:(κ + 1) p]`` are, for each pair (κ, λ), approximated by the best
    matrix of rank `rank`, independently of all others, so that the result is the global minimum.

    Parameters
    ----------
    a : (..., m, n) array of float32, float64, complex64 or complex128, finite, without an axis of length zero
    n_blocks : (int >= 1, int >= 1), optional
        k and l, divisors of n and m. By default the divisors nearest to the square roots, the
        larger one of two.
    rank : int >= 1, default 1
        1 <= rank <= min(m / l, n / k).
    balance : bool, default True
        Give both factors the square roots of the singular values, else leave the columns of `left`
        orthonormal.

    Returns
    -------
    MonarchFactors
        ``right`` (..., k, rank l, p) and ``left`` (..., l, s, k rank); ``residual_norm`` ‖A - M‖ in
        the Frobenius norm, of the products that the factors give, and ``relative_error``, it
        divided by ‖A‖ (0 where A is zero), arrays of shape (...). Signs or phases of the factors
        are arbitrary, the matrix is not.

    Raises
    ------
    ValueError
        `n_blocks` does not divide, `rank` is out of range, `a` is empty, not finite or has fewer
        than two dimensions.
    TypeError
        Another dtype.

    Notes
    -----
    One singular value decomposition of each of k l blocks. For rank 1 and real numbers the leading
    pair comes from repeated squaring of the blocks' Gram matrices, where a gap between the two
    largest singular values lets it converge.

    References
    ----------
    T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training",
    ICML 2022, section 3.3; C. Eckart, G. Young, Psychometrika, 1936.

    Examples
    --------
    >>> factors = monarch_project(np.arange(24.0).reshape(4, 6), n_blocks=(3, 2))
    >>> round(float(factors.residual_norm), 9)
    1.219421212
    """  # noqa: E501
    xp, (*lead, m, n) = namespace_of(a), a.shape
    k, count = _default_blocks(m, n) if n_blocks is None else n_blocks
    if n % k or m % count:
        raise ValueError(f"n_blocks must divide (n, m) = {(n, m)} (got {(k, count)})")
    s, p = m // count, n // k
    if rank > min(s, p):
        raise ValueError(f"rank must be <= {min(s, p)}, the smaller side of a block (got {rank})")
    blocks = xp.ascontiguousarray(
        xp.moveaxis(a.reshape(*lead, s, count, k, p), (-2, -3), (-4, -3))
    )  # (..., k, l, s, p)
    u, sigma, vh = _leading(xp, blocks, rank)
    inside = (-4, -3, -2, -1)
    residual = xp.sqrt(
        (xp.abs(blocks - (u * sigma[..., None, :]) @ vh) ** 2).sum(axis=inside, dtype=np.float64)
    )
    norm = xp.sqrt((xp.abs(blocks) ** 2).sum(axis=inside, dtype=np.float64))
    relative = residual / xp.where(norm == 0, 1, norm)
    mine, other = (xp.sqrt(sigma),) * 2 if balance else (xp.ones_like(sigma), sigma)
    u, vh = u * mine[..., None, :], vh * other[..., :, None]
    left = xp.moveaxis(u, (-4, -3, -2, -1), (-2, -4, -3, -1)).reshape(*lead, count, s, k * rank)
    right = xp.moveaxis(vh, (-4, -3, -2, -1), (-4, -2, -3, -1)).reshape(*lead, k, rank * count, p)
    real = sigma.dtype
    return MonarchFactors(
        xp.ascontiguousarray(right),
        xp.ascontiguousarray(left),
        residual.astype(real),
        relative.astype(real),
    )


def _default_blocks(m, n):
    def nearest(size, target):
        """The divisor of size nearest to target on a logarithmic scale, the larger of two."""
        small = [d for d in range(1, math.isqrt(size) + 1) if size % d == 0]
        return min(
            {*small, *(size // d for d in small)},
            key=lambda d: (round(abs(math.log(d / target)), 12), -d),
        )

    k = nearest(n, math.sqrt(n))
    return k, nearest(m, m * k / n)  # s and p nearly equal


def _leading(xp, blocks, rank):
    """The `rank` largest singular values and vectors of a stack of blocks: (…, s, rank), (…, rank),
    (…, rank, p)."""
    if rank == 1 and blocks.dtype.kind == "f" and min(blocks.shape[-2:]) > 1:
        return _leading_pair(xp, blocks)
    u, sigma, vh = xp.linalg.svd(blocks, full_matrices=False)
    return u[..., :rank], sigma[..., :rank], vh[..., :rank, :]


def _leading_pair(xp, blocks):
    """Rank one: a power of the Gram matrix, squared until all its columns are one vector, in
    float64."""
    shape, dtype = blocks.shape, blocks.dtype
    blocks = blocks.reshape(-1, *shape[-2:]).astype(np.float64)
    thin = blocks if shape[-2] >= shape[-1] else blocks.swapaxes(1, 2)
    scale = xp.sqrt((thin * thin).sum(axis=(1, 2)))
    thin = thin / xp.where(scale == 0, 1, scale)[:, None, None]
    gram = thin.swapaxes(1, 2) @ thin
    defect = xp.ones(len(gram))
    for _ in range(SQUARINGS):
        gram = gram @ gram
        trace = xp.einsum("bii->b", gram)
        gram = gram / xp.where(trace == 0, 1, trace)[:, None, None]
        defect = 1 - (gram * gram).sum(axis=(1, 2))  # 0 for a projector on one direction
        if float(defect.max()) < 1e-15:
            break
    column = xp.einsum("bii->bi", gram).argmax(axis=1)
    v = xp.take_along_axis(gram, column[:, None, None], axis=2)
    v = v / xp.maximum(xp.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    u = thin @ v
    sigma = xp.linalg.norm(u, axis=1, keepdims=True)
    u = u / xp.where(sigma == 0, 1, sigma)
    sigma = sigma[:, 0, 0] * scale
    if shape[-2] < shape[-1]:
        u, v = v, u
    hard = (defect > 1e-12) & (scale > 0)
    if bool(hard.any()):
        full_u, full_sigma, full_vh = xp.linalg.svd(blocks[hard], full_matrices=False)
        u[hard], sigma[hard], v[hard] = (
            full_u[:, :, :1],
            full_sigma[:, 0],
            full_vh[:, :1].swapaxes(1, 2),
        )
    lead = shape[:-2]
    return tuple(
        part.reshape(*lead, *size).astype(dtype)
        for part, size in ((u, (shape[-2], 1)), (sigma, (1,)), (v, (1, shape[-1])))
    )


# --- the Fourier transform ------------------------------------------------------------------------


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
        `n` is less than 1 or beyond any memory, or `n_blocks` does not divide it.
    TypeError
        Another dtype.

    Notes
    -----
    The factors of Cooley and Tukey: for one pair (κ, λ) the entry exp(-2πi (σ l + λ)(i k + κ) / n)
    is exp(-2πi σ κ / k) times exp(-2πi λ (i k + κ) / n), since σ l i k is a multiple of n: a matrix
    of rank one.

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
    k = _default_blocks(n, n)[0] if n_blocks is None else n_blocks
    if n % k:
        raise ValueError(f"n_blocks must divide n = {n} (got {k})")
    count, sign = n // k, 2j * np.pi / n * (1 if inverse else -1)
    kappa, lam, i, sigma = (
        np.arange(k)[:, None, None],
        np.arange(count)[:, None],
        np.arange(count),
        np.arange(k)[:, None],
    )
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


# --- a layer --------------------------------------------------------------------------------------


class MonarchLinear:
    """A linear layer y = M x + b whose matrix is a Monarch matrix; sizes that blocks do not divide
    are padded with zeros.

    Parameters
    ----------
    n_in, n_out : int >= 1
    n_blocks : int >= 1, default 4
        Blocks of each factor; k = l.
    bias : bool, default True
    dtype : dtype, float32 or float64, default float32
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    right, left, bias : array
        Parameters, changed in place by optimizers; ``bias`` may be None.
    parameters : list of array

    Raises
    ------
    ValueError
        A size that is not positive.

    Examples
    --------
    >>> layer = MonarchLinear(6, 5, rng=0)
    >>> y, cache = layer.forward(np.ones((2, 6), np.float32))
    >>> y.shape, layer.vjp(y, cache)[0].shape
    ((2, 5), (2, 6))
    """

    @checked
    def __init__(
        self,
        n_in: Annotated[int, at_least(1)],
        n_out: Annotated[int, at_least(1)],
        *,
        n_blocks: Blocks = 4,
        bias: bool = True,
        dtype: DType = np.float32,
        rng: RNG = None,
    ):
        self.n_in, self.n_out, self.n_blocks = n_in, n_out, n_blocks
        normal = generator_from_rng(rng).standard_normal
        p, s = -(-n_in // n_blocks), -(-n_out // n_blocks)
        q = min(p, s)
        # keeps the variance of its input
        self.right = (normal((n_blocks, q, p)) / math.sqrt(p)).astype(dtype)
        self.left = (normal((n_blocks, s, q)) / math.sqrt(q)).astype(dtype)
        self.bias = np.zeros(n_out, dtype) if bias else None

    @property
    def parameters(self) -> list[Array]:
        return [self.right, self.left] + ([] if self.bias is None else [self.bias])

    @checked
    def forward(self, x: Float[Array, "*batch n_in"]) -> tuple[Array, Array]:
        """(..., n_in) → (..., n_out), and what `vjp` needs."""
        if x.shape[-1] != self.n_in:
            raise ValueError(f"x must have shape (..., {self.n_in}) (got {x.shape})")
        wide = _padded(x, self.right.shape[0] * self.right.shape[2])
        y = monarch_matmul(wide, self.right, self.left)[..., : self.n_out]
        return (y if self.bias is None else y + self.bias), wide

    @checked
    def vjp(
        self, grad_y: Float[Array, "*batch n_out"], cache: Float[Array, "*batch n_padded"]
    ) -> tuple[Array, list[Array]]:
        """The gradient by x, and a list of those by the parameters."""
        if grad_y.shape[-1] != self.n_out:
            raise ValueError(f"grad_y must have shape (..., {self.n_out}) (got {grad_y.shape})")
        wide = _padded(grad_y, self.left.shape[0] * self.left.shape[1])
        grads = monarch_matmul_vjp(cache, self.right, self.left, wide)
        by_bias = [] if self.bias is None else [grad_y.reshape(-1, self.n_out).sum(axis=0)]
        return grads.x[..., : self.n_in], [grads.right, grads.left, *by_bias]

    def toarray(self) -> Array:
        """The (n_out, n_in) matrix."""
        return monarch_to_dense(self.right, self.left)[: self.n_out, : self.n_in]

    @checked
    def from_dense(self, a: Float[Array, "n_out n_in"]) -> Array:
        """Set the factors to the closest ones to `a`, (n_out, n_in), and return the distance."""
        if a.shape != (self.n_out, self.n_in):
            raise ValueError(f"a must have shape {(self.n_out, self.n_in)} (got {a.shape})")
        k, q, p = self.right.shape
        count, s, _ = self.left.shape
        wide = namespace_of(a).zeros((count * s, k * p), a.dtype)
        wide[: self.n_out, : self.n_in] = a
        factors = monarch_project(wide, n_blocks=(k, count), rank=max(1, q // count))
        self.right, self.left = (factor.astype(self.right.dtype) for factor in factors[:2])
        return factors.residual_norm


def _padded(x, size):
    """x with zeros to the length `size` of its last axis."""
    wide = namespace_of(x).zeros((*x.shape[:-1], size), x.dtype)
    wide[..., : x.shape[-1]] = x
    return wide


# --- kernels --------------------------------------------------------------------------------------
# Panels hold vectors side by side, as many as the register tile has columns, so that blocks are
# read as they lie. Interleaved blocks go through the panels sixteen at a time: these are neighbours
# in memory.


@kernel(
    "in T x[b, n]; in T w[g, i, j]; out T y[b, m]; int64 interleaved; int64 transposed; "
    "scratch T inside[32*16*j+32*16*i];"
    " scratch T outside[32*16*j+32*16*i]",
    split="b",
    gpu="block",
    grain="24",
)
def block_product(x, w, y, interleaved, transposed, inside, outside, start, stop):
    """y = blockdiag(w) x for each row of x; see _blocks for the order of the entries."""
    count, rows, depth, width = w.shape[0], w.shape[1], w.shape[2], tile_cols(x[0, 0])
    row_step, depth_step = depth, 1
    if transposed:
        rows, depth, row_step, depth_step = depth, rows, 1, depth
    first = start
    while first < stop:
        vectors = min(width, stop - first)
        for low in range(0, count, 16):
            group = min(16, count - low)
            _gather(x, first, vectors, inside, width, low, group, depth, count, interleaved)
            for g in range(group):
                at, panel, result = (low + g) * rows * depth, g * depth * width, g * rows * width
                i = 0
                while i + tile_rows(x[0, 0]) <= rows:
                    gemm_tile(
                        w,
                        at + i * row_step,
                        row_step,
                        depth_step,
                        inside,
                        panel,
                        width,
                        outside,
                        result + i * width,
                        width,
                        depth,
                        0,
                    )
                    i += tile_rows(x[0, 0])
                while i < rows:
                    gemm_row(
                        w,
                        at + i * row_step,
                        row_step,
                        depth_step,
                        inside,
                        panel,
                        width,
                        outside,
                        result + i * width,
                        width,
                        depth,
                        0,
                    )
                    i += 1
            _scatter(outside, y, first, vectors, width, low, group, rows, count, interleaved)
        first += width


def _gather(x, first, vectors, panel, width, low, group, size, count, interleaved):
    """panel[g, j, v] = entry j of block low + g of row first + v of x, and 0 for rows that are not
    there."""
    for v in range(vectors, width):
        for e in range(group * size):
            panel[e * width + v] = 0
    for v in range(vectors):
        row = x[first + v]
        if interleaved:
            for j in range(size):
                part = row[j * count + low : j * count + low + group]
                for g in range(group):
                    panel[(g * size + j) * width + v] = part[g]
        else:
            part = row[low * size : (low + group) * size]
            for e in range(group * size):
                panel[e * width + v] = part[e]


def _scatter(panel, y, first, vectors, width, low, group, size, count, interleaved):
    """The reverse of _gather."""
    for v in range(vectors):
        row = y[first + v]
        if interleaved:
            for i in range(size):
                part = row[i * count + low : i * count + low + group]
                for g in range(group):
                    part[g] = panel[(g * size + i) * width + v]
        else:
            part = row[low * size : (low + group) * size]
            for e in range(group * size):
                part[e] = panel[e * width + v]


@kernel(
    "in T y[b, m]; in T x[b, n]; out T w[g, i, j]; int64 interleaved; scratch T rows[16*128*i]; "
    "scratch T cols[16*128*j+16*128*32];"
    " scratch T sums[16*i*j+16*i*32]",
    split="g",
    gpu="block",
    grain="1",
)
def block_outer(y, x, w, interleaved, rows, cols, sums, start, stop):
    """w[g] = Σ_b y[b, block g] x[b, block g]ᵀ, in the order of b; blocks are taken sixteen at a
    time, rows of y and x 128 at a time."""
    b, count, height, wide = x.shape[0], w.shape[0], w.shape[1], w.shape[2]
    width = tile_cols(x[0, 0])
    pitch = (wide + width - 1) // width * width
    for low in range(start, stop, 16):
        group = min(16, stop - low)
        for first in range(0, b, 128):
            depth = min(128, b - first)
            _pack(y, first, depth, rows, height, height, low, group, count, interleaved)
            _pack(x, first, depth, cols, wide, pitch, low, group, count, interleaved)
            for g in range(group):
                for strip in range(pitch // width):
                    column, i = strip * width, 0
                    while i < height:
                        place, left, right = (
                            (g * height + i) * pitch + column,
                            g * 128 * height + i,
                            g * 128 * pitch + column,
                        )
                        if i + tile_rows(x[0, 0]) <= height:
                            gemm_tile(
                                rows,
                                left,
                                1,
                                height,
                                cols,
                                right,
                                pitch,
                                sums,
                                place,
                                pitch,
                                depth,
                                first,
                            )
                            i += tile_rows(x[0, 0])
                        else:
                            gemm_row(
                                rows,
                                left,
                                1,
                                height,
                                cols,
                                right,
                                pitch,
                                sums,
                                place,
                                pitch,
                                depth,
                                first,
                            )
                            i += 1
        for g in range(group):
            for i in range(height):
                for j in range(wide):
                    w[low + g, i, j] = sums[(g * height + i) * pitch + j]


def _pack(x, first, depth, panel, size, pitch, low, group, count, interleaved):
    """panel[g, v, j] = entry j of block low + g of row first + v of x, and 0 beyond the block."""
    for v in range(depth):
        row = x[first + v]
        for g in range(group):
            target = panel[(g * 128 + v) * pitch : (g * 128 + v + 1) * pitch]
            if not interleaved:
                part = row[(low + g) * size : (low + g + 1) * size]
                for j in range(size):
                    target[j] = part[j]
            for j in range(size, pitch):
                target[j] = 0
        if interleaved:
            for j in range(size):
                part = row[j * count + low : j * count + low + group]
                for g in range(group):
                    panel[(g * 128 + v) * pitch + j] = part[g]
