"""Sketched least squares: min ‖A x - b‖ with n ≫ d, compressed by a random map S to few rows, then
solved approximately or to full precision.

`sketched_lstsq` solves min ‖S A x - S b‖. With a dense S not only the residual but every
coefficient is accurate: with m = O(ε⁻² d log³(n/δ)) rows, |x'_j - x*_j| ≤ (ε / √d) ‖A x* - b‖ ‖A†‖
for all j (Z. Song, M. Ye, J. Yin, L. Zhang, ICML 2023). `preconditioned_lstsq` computes R of S A =
Q R, for which A R⁻¹ has a condition number of about 3, and solves with LSQR.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import RNG, Array, Float, at_least, between, nonempty, nonnegative, positive
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..progress import progress_bar
from ..random import generator_from_rng
from ..simd import fma
from ._hadamard import next_power_of_two
from ._sketches import (
    TensorSketch,
    circulant_sketch,
    count_sketch,
    gaussian_sketch,
    hadamard_sketch,
)

SKETCHES = {
    "srht": hadamard_sketch,
    "src": circulant_sketch,
    "gaussian": gaussian_sketch,
    "countsketch": count_sketch,
}
SOLVES = 2  # LSQR, and LSQR restarted from the true residual
GROUPS = 64  # of rows, with one partial sum each
BLOCK_BYTES = 1 << 20  # block of rows of A that is multiplied twice while in the cache


Targets: TypeAlias = Float[Array, "n"] | Float[Array, "n c", nonempty]


class SketchedLstsqResult(NamedTuple):
    """Coefficients `x` with standard errors relative to the exact solution, and a bound on the
    largest error; see `sketched_lstsq`."""

    x: Array
    stderr: Array
    linf_bound: Array | float
    residual_norm: Array | float
    sketch_size: int
    rank: int


class LstsqResult(NamedTuple):
    """The solution `x` and convergence information; see `preconditioned_lstsq`.

    Attributes
    ----------
    x : (d,) or (d, c) array
    converged : bool
    n_iter : int
    reason : {"tol", "max_iter", "callback"}
    residual_norm : float or (c,) array
    gradient_norms : tuple of float
    """

    x: Array
    converged: bool
    n_iter: int
    reason: Literal["tol", "max_iter", "callback"]
    residual_norm: Array | float
    gradient_norms: tuple[float, ...]


@routine
def sketched_lstsq(
    a: tuple[Float[Array, "_ _", nonempty], ...] | Float[Array, "n d", nonempty],
    b: Targets,
    *,
    sketch: Literal["srht", "src", "gaussian", "countsketch"] = "srht",
    sketch_size: Annotated[int, at_least(1)] | None = None,
    epsilon: Annotated[float, positive] | None = None,
    delta: Annotated[float, between(0, 1)] = 0.05,
    rng: RNG = None,
) -> SketchedLstsqResult:
    """Approximate least-squares solution from a random sketch, with an error bar for every
    coefficient.

    Parameters
    ----------
    a : sequence of (_, _) array of float32 or float64, without an axis of length zero or (n, d) array of float32 or float64, without an axis of length zero
        n >= d. A tuple (A1, A2, …) represents the Kronecker product A1 ⊗ A2 ⊗ …, which is not
        formed; see `tensor_srht`.
    b : (n,) array of float32 or float64 or (n, c) array of float32 or float64, without an axis of length zero
    sketch : {"srht", "src", "gaussian", "countsketch"}, default "srht"
        The distribution of S, see `srht` and `src`. "gaussian" has independent normal entries and
        costs m n d operations. "countsketch" adds every row with a random sign to a random row of
        the sketch. It is meant for comparison: it *lacks* the guarantee for single coefficients,
        and its error bars may be far too small.
    sketch_size : int >= 1, optional
        m, with d <= m <= N; N is the next power of two of n for "srht", n for the others, and for
        factors the product of their powers of two. By default 8 d or ⌈d ln(n / δ)⌉, whichever is
        larger, at most N. If m = N, "srht" gives the exact solution.
    epsilon : float > 0, optional
        Alternative to `sketch_size`: m = ⌈d ln(n / δ) / ε²⌉, at most N.
    delta : float in (0, 1), default 0.05
        Probability that an error may exceed `linf_bound`.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    SketchedLstsqResult
        ``x`` (d,) or (d, c), the minimum-norm solution of the sketched problem; ``stderr`` of its
        shape, an estimate of the standard deviation of x - x* over the draws of S, with x* the
        exact solution, conservative by a factor √(m / (m - d)); ``linf_bound``, the quantile 1 - δ
        / (2 d) of the normal distribution times the largest stderr, a float or (c,);
        ``residual_norm``, an estimate of ‖A x* - b‖ with a relative error of about 1 / √(2 (m -
        d)), a float or (c,); ``sketch_size`` m; ``rank`` of S A. `stderr` and `linf_bound` are NaN
        if the rank is less than d. They and `residual_norm` are NaN if m = d < N, when no rows are
        left to measure the residual.

    Raises
    ------
    ValueError
        n < d, sizes do not match, entries or their sums are not finite, or an option is out of
        range or unknown.
    TypeError
        Other or mixed dtypes, or arrays on several devices.

    Notes
    -----
    The errors are those of the sketch relative to x*, not relative to a ground truth behind noisy
    data. The error bars model S b - S A x* as noise independent of S A. They are valid if the
    random signs and the transform spread rows evenly and, for factors, if the residual has no
    product structure. The factor √(m / (m - d)) is 1.07 for m = 8 d. Close to m = d few rows are
    left to measure the noise, and errors of many standard deviations are common; the factor
    compensates for that.

    O(n d log m) additions for "srht" and O(m d²) operations on the sketch. If A is well conditioned
    and has up to about 64 columns, ``numpy.linalg.solve(a.T @ a, a.T @ b)`` is as fast or faster.
    Memory: the sketch, and at most 64 N numbers.

    References
    ----------
    Z. Song, M. Ye, J. Yin, L. Zhang, "A nearly-optimal bound for fast regression with ℓ∞
    guarantee", ICML 2023. E. Price, Z. Song, D. P. Woodruff, "Fast regression with an ℓ∞
    guarantee", ICALP 2017.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a = rng.standard_normal((5000, 3))
    >>> b = a @ [1.0, 2.0, 3.0] + rng.standard_normal(5000)
    >>> result = sketched_lstsq(a, b, sketch_size=500, rng=1)
    >>> bool(abs(result.x - np.linalg.lstsq(a, b)[0]).max() < result.linf_bound < 0.2)
    True
    """  # noqa: E501
    factors = a if isinstance(a, (tuple, list)) else (a,)
    n, d = _check_sizes(factors, b)
    if len(factors) > 1 and sketch != "srht":
        raise ValueError(f'sketch must be "srht" for a Kronecker product (got "{sketch}")')
    xp, dtype, lengths = namespace_of(b), b.dtype, [len(part) for part in factors]
    limit = math.prod(map(next_power_of_two, lengths)) if sketch == "srht" else n
    m = _sketch_size(d, n, limit, sketch_size, epsilon, delta)
    generator = generator_from_rng(rng)
    with np.errstate(all="ignore"):
        if len(factors) == 1:
            sa, sb = SKETCHES[sketch](xp, n, m, dtype, generator)(factors[0], b.reshape(n, -1))
        else:
            s = TensorSketch(xp, lengths, m, generator)
            sa, sb = s.product(factors), s.vector(b.reshape(n, -1))
        # a full sample of the Hadamard transform is an isometry; other sketches have a variance of
        # 1 / m at any size
        left = 1 - m / limit if sketch == "srht" and len(factors) == 1 else 1.0
        x, inverse, residual = _solved(xp, sa, sb, m * np.finfo(dtype).eps)
        rank = inverse.shape[1]
        scale, stderr_scale = _calibration(m, rank, d, left)
        residual = scale * residual
        stderr = stderr_scale * residual * _norms(xp, inverse.T)[:, None]
        bound = _normal_quantile(delta / (2 * d)) * stderr.max(axis=0)
    x, stderr = (y.astype(dtype).reshape(d, *b.shape[1:]) for y in (x, stderr))
    return SketchedLstsqResult(x, stderr, _by_column(bound, b), _by_column(residual, b), m, rank)


@routine
def preconditioned_lstsq(
    a: Float[Array, "n d", nonempty],
    b: Targets,
    *,
    sketch_size: Annotated[int, at_least(1)] | None = None,
    tol: Annotated[float, nonnegative] = 1e-12,
    max_iter: Annotated[int, nonnegative] = 60,
    rng: RNG = None,
    callback: Callable[[int, float], bool | None] | None = None,
    progress: bool = False,
) -> LstsqResult:
    """Least-squares solution to full precision by LSQR, preconditioned by the R factor of a sketch
    of A.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, without an axis of length zero
        n >= d.
    b : (n,) array of float32 or float64 or (n, c) array of float32 or float64, without an axis of length zero
    sketch_size : int >= 1, optional
        m, with d <= m <= N, the next power of two of n; max(4 d, 2 d + 32) by default, at most N.
        An iteration reduces the error by a factor of about √(d / m), independent of the condition
        of A.
    tol : float >= 0, default 1e-12
        Stop when the gradient is small, ‖(A R⁻¹)ᵀ r‖ <= tol ‖r‖ with r = b - A x, by the recurrence
        of LSQR, or when r is at rounding level. A tolerance below the unit roundoff is raised to
        it.
    max_iter : int >= 0, default 60
        Maximum total number of iterations. LSQR is run twice: the second run, from the true
        residual of the first, corrects rounding errors that grow with the condition of A. It needs
        few iterations, and none if A is well conditioned.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    callback : callable, optional
        ``callback(n_iter, gradient_norm)`` is called after every iteration; when it returns True,
        the current solution is returned.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    LstsqResult
        ``x`` (d,) or (d, c), the minimum-norm solution if A is rank-deficient; ``converged``,
        whether the tolerance was reached; ``n_iter``; ``reason``; ``residual_norm`` ‖A x - b‖, a
        float or (c,); ``gradient_norms``, a tuple of ‖(A R⁻¹)ᵀ r‖ / ‖r‖ after every iteration, the
        largest of the columns. The first gradient of each run, on which the error of x depends, is
        summed in twice the precision of float64: on ill-conditioned float64 problems the error is
        below that of a QR factorization or a singular value decomposition.

    Raises
    ------
    ValueError
        n < d, sizes do not match, entries or their sums are not finite, or an option is out of
        range.
    TypeError
        Unsupported or mixed dtypes, arrays on several devices, or a callback that is not callable.
    ImportError
        If `progress` is True and tqdm is not installed.

    Notes
    -----
    O(n d log m + m d²) operations, and one read of A and 4 n d operations per iteration. Memory: as
    `sketched_lstsq`, and n c.

    References
    ----------
    H. Avron, P. Maymounkov, S. Toledo, "Blendenpik: supercharging LAPACK's least-squares solver",
    SIAM J. Sci. Comput., 2010. C. C. Paige, M. A. Saunders, "LSQR: an algorithm for sparse linear
    equations and sparse least squares", ACM TOMS, 1982.

    Examples
    --------
    >>> a = np.vander(np.linspace(0, 1, 1000), 8)
    >>> result = preconditioned_lstsq(a, a @ np.arange(8.0), rng=0)
    >>> result.converged, bool(abs(result.x - np.arange(8.0)).max() < 1e-7)
    (True, True)
    """  # noqa: E501
    n, d = _check_sizes((a,), b)
    xp, eps, limit = namespace_of(a), float(np.finfo(b.dtype).eps), next_power_of_two(n)
    m = min(limit, max(4 * d, 2 * d + 32))
    if sketch_size is not None:
        m = _in_range(sketch_size, d, limit)
    tol = max(eps, tol)
    bar = progress_bar(max_iter, "iterations") if progress else None
    columns, gradients, stopped = b.reshape(n, -1), [], False
    with np.errstate(all="ignore"):
        sa, sb = hadamard_sketch(xp, n, m, b.dtype, generator_from_rng(rng))(a, columns)
        x, inverse, _ = (y.astype(b.dtype) for y in _solved(xp, sa, sb, m * eps))
        floor = eps * _norms(xp, columns)
        try:
            for _ in range(SOLVES):
                steps = _Lsqr(xp, a, inverse, columns - a @ x)
                while not (converged := steps.converged(tol, floor)) and len(gradients) < max_iter:
                    steps.step()
                    gradients.append(float(steps.gradient.max()))
                    if bar is not None:
                        bar.update()
                    stopped = (
                        callback is not None and callback(len(gradients), gradients[-1]) is True
                    )
                    if stopped:
                        break
                x = x + inverse @ steps.y
                if not converged:
                    break
        finally:
            if bar is not None:
                bar.close()
        residual = _norms(xp, columns - a @ x)
    return LstsqResult(
        x.reshape(d, *b.shape[1:]),
        converged,
        len(gradients),
        "tol" if converged else "callback" if stopped else "max_iter",
        _by_column(residual, b),
        tuple(gradients),
    )


def _check_sizes(factors, b):
    """The shape of the Kronecker product of the factors, which must match b."""
    if not factors:
        raise ValueError("a must have at least one factor (got ())")
    n, d = (math.prod(part.shape[axis] for part in factors) for axis in (0, 1))
    if len(b) != n:
        raise ValueError(f"b must have shape (n,) or (n, c) with n = {n} (got {b.shape})")
    if n < d:
        raise ValueError(f"a must have n >= d, else it is underdetermined (got n = {n}, d = {d})")
    return n, d


def _sketch_size(d, n, limit, sketch_size, epsilon, delta):
    if sketch_size is not None and epsilon is not None:
        got = f"got {sketch_size} and {epsilon}"
        raise ValueError(f"sketch_size and epsilon must not both be given ({got})")
    if sketch_size is not None:
        return _in_range(sketch_size, d, limit)
    rows = d * math.log(n / delta)
    if epsilon is None:
        rows = max(8 * d, rows)
    else:
        rows = max(d, rows * min(1 / epsilon, 1e100) ** 2)
    return math.ceil(min(limit, rows))


def _in_range(sketch_size, d, limit):
    if not d <= sketch_size <= limit:
        raise ValueError(f"sketch_size must be in [{d}, {limit}] (got {sketch_size})")
    return sketch_size


def _by_column(values, b):
    """One value per column of b: a float if b is a vector."""
    return float(values[0]) if b.ndim == 1 else values.astype(b.dtype)


def _normal_quantile(p):
    """The z that a standard normal number exceeds with probability p."""
    from statistics import NormalDist  # imports slowly

    return -NormalDist().inv_cdf(p)


def _calibration(m, rank, d, left):
    """Factors from the residual of the sketched problem to that of the full problem, and from this
    to stderr.

    The projection on S A removes a share rank / m of the noise in S b from the residual. `left`
    scales that share: a full sample of the Hadamard transform adds no noise (left = 0).
    """
    if m == rank and left:
        return math.nan, math.nan
    return (1 - left * rank / m) ** -0.5, math.nan if rank < d else math.sqrt(left / max(m - d, 1))


def _solved(xp, sa, sb, rcond):
    """(x, P, residuals) of min ‖S A x - S b‖, with P such that S A P has orthonormal columns: P =
    R⁻¹, or V / σ from R = U σ Vᵀ if R is singular."""
    d = sa.shape[1]
    r = xp.linalg.qr(xp.concatenate([sa, sb], axis=1).astype(np.float64), "r")
    for name, part in (("a", r[:, :d]), ("b", r[:, d:])):
        if not bool(xp.isfinite(part).all()):
            raise ValueError(
                f"{name} must be finite, and so must sums of its entries (got nan or inf)"
            )
    r, qtb, residuals = r[:d, :d], r[:d, d:], _norms(xp, r[d:, d:])
    diagonal = xp.abs(xp.diagonal(r))
    if float(diagonal.min()) > rcond * float(diagonal.max()):
        return xp.linalg.solve(r, qtb), xp.linalg.inv(r), residuals
    u, sigma, vh = xp.linalg.svd(r)
    rank = int((sigma > rcond * sigma[0]).sum())
    u, inverse = u[:, :rank], vh[:rank].T / sigma[:rank]
    x = u.T @ qtb
    return inverse @ x, inverse, xp.hypot(residuals, _norms(xp, qtb - u @ x))


def _norms(xp, columns):
    """Euclidean norms of the columns, scaled so that squares neither overflow nor underflow."""
    if not len(columns):
        return xp.zeros(columns.shape[1], columns.dtype)
    largest = xp.abs(columns).max(axis=0)
    scale = xp.where(largest > 0, largest, 1)
    return scale * xp.sqrt(((columns / scale) ** 2).sum(axis=0))


class _Lsqr:
    """LSQR for min ‖A P y - r‖, all columns of r at once, in the notation of the paper; `gradient`
    is ‖(A P)ᵀ r‖ / ‖r‖ for each column."""

    def __init__(self, xp, a, p, r):
        self.xp, self.a, self.p = xp, a, p
        self.rows = len(a) if xp is not np else max(1, BLOCK_BYTES // (a.shape[1] * a.itemsize))
        self.phi_bar = _norms(xp, r)
        self.u = r / self._divisor(self.phi_bar)
        self.v = p.T @ _exact_product(xp, a, self.u)
        self.gradient = self.alpha = self.rho_bar = _norms(xp, self.v)
        self.v /= self._divisor(self.alpha)
        self.w, self.y = self.v, xp.zeros_like(self.v)

    def converged(self, tol, floor):
        return bool(((self.gradient <= tol) | (self.phi_bar <= floor)).all())

    def step(self):
        xp = self.xp
        v = self.p.T @ self._both_products(self.p @ self.v)
        beta = _norms(xp, self.u)
        self.u /= self._divisor(beta)
        self.v = v / self._divisor(beta) - beta * self.v
        self.alpha = _norms(xp, self.v)
        self.v /= self._divisor(self.alpha)
        rho = xp.hypot(self.rho_bar, beta)
        c, s = self.rho_bar / self._divisor(rho), beta / self._divisor(rho)
        self.y = self.y + c * self.phi_bar / self._divisor(rho) * self.w
        self.w = self.v - s * self.alpha / self._divisor(rho) * self.w
        self.gradient = self.alpha * xp.abs(c)
        self.rho_bar, self.phi_bar = -c * self.alpha, s * self.phi_bar

    def _both_products(self, z):
        """u ← A z - α u, and Aᵀ u of the new u, in one read of A."""
        self.u *= -self.alpha
        result = self.xp.zeros((self.a.shape[1], self.u.shape[1]), self.u.dtype)
        for first in range(0, len(self.a), self.rows):
            part, u = self.a[first : first + self.rows], self.u[first : first + self.rows]
            u += part @ z
            result += part.T @ u
        return result

    def _divisor(self, x):
        return self.xp.where(x > 0, x, 1)


def _exact_product(xp, a, u):
    """Aᵀ u, with sums in twice the precision of float64."""
    n, d = a.shape
    step = n if a.flags.c_contiguous else max(1, 64 * n // d)  # rows copied at once
    columns = xp.ascontiguousarray(u.T)
    total, rest = xp.zeros((2, len(columns), d), np.float64)
    groups = max(
        1, min(GROUPS, step // (16 * len(columns)))
    )  # keeps the partial sums small compared with A
    for first in range(0, n, step):
        part = xp.ascontiguousarray(a[first : first + step])
        numbers = xp.ascontiguousarray(columns[:, first : first + step])
        high, low = xp.empty((2, groups, len(columns), d), np.float64)
        compensated_product(part, numbers, high, low)
        for term, error in zip(high, low, strict=True):
            sum_ = total + term
            rest += error + ((total - (sum_ - (sum_ - total))) + (term - (sum_ - total)))
            total = sum_
    return (total + rest).T.astype(a.dtype)


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T a[n, d]; in T u[c, n]; out float64 high[g, c, d]; out float64 low[g, c, d]",
    split="g",
    gpu="block",
    grain="4",
)
def compensated_product(a, u, high, low, start, stop):
    """high + low = u a over the rows of each group, by compensated summation with the errors of all
    products and sums (Ogita, Rump, Oishi, 2005)."""
    n, d = a.shape
    groups = high.shape[0]
    for g in range(start, stop):
        for k in range(u.shape[0]):
            sums, errors = high[g, k], low[g, k]
            sums[:] = 0
            errors[:] = 0
            for i in range(g * n // groups, (g + 1) * n // groups):
                row, x = a[i], np.float64(u[k, i])
                for j in range(d):
                    y = np.float64(row[j])
                    product = y * x
                    total = sums[j] + product
                    part = total - sums[j]
                    errors[j] += fma(y, x, -product) + (
                        (sums[j] - (total - part)) + (product - part)
                    )
                    sums[j] = total
