"""The solvers, their preconditioner, and the best parameter of both."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import Array, Float, at_least, between, checked, finite, nonnegative
from ...dispatch import namespace_of, routine
from .._csr import CSR, CSRLike, Sparse
from .._sparse import Coloring, spmv
from .iterations import SORIteration, SSORCGIteration, target_of, watched
from .kernels import ssor_rows
from .systems import OrderedMatrix, check_diagonal, ordered, parts_of, start_of

EVERY = 8  # steps of Lanczos' method between looks at its eigenvalues
MAX_OMEGA = 1.999

Omega = Annotated[float, between(0, 2)]
Tolerance = Annotated[float, nonnegative]
MaxIter = Annotated[int, at_least(0)]
Callback = Callable[[int, float], bool | None]


class SolveResult(NamedTuple):
    """What an iterative solver found.

    Attributes
    ----------
    x : (n,) array
    converged : bool
    n_iter : int
    reason : {"converged", "max_iter", "callback", "diverged", "breakdown", "stagnated"}
        Why it ended. "diverged": the residual is no longer finite. "breakdown": a direction had no
        positive energy, the matrix is not positive definite. "stagnated": no further accuracy is
        attainable in this dtype.
    residual_norms : (n_iter + 1,) NumPy array of float64
        The norm of b - A x before the first and after every iteration.
    relative_residual : float
        The last norm by the one that the tolerance refers to.
    """

    x: Array
    converged: bool
    n_iter: int
    reason: Literal["converged", "max_iter", "callback", "diverged", "breakdown", "stagnated"]
    residual_norms: np.ndarray
    relative_residual: float


class OmegaEstimate(NamedTuple):
    """The best `omega`, the spectral radius ρ(I - D⁻¹ A) that it follows from, and a bound on the
    error of the latter."""

    omega: float
    jacobi_radius: float
    error_bound: float


class _Options(NamedTuple):
    """When and how a solve ends."""

    omega: float
    tol: float
    max_iter: int
    callback: Any
    progress: bool


@routine
def sor(
    a: Sparse[CSRLike, "n n"],
    b: Float[Array, "n", finite],
    *,
    omega: Omega = 1.0,
    x0: Float[Array, "n", finite] | None = None,
    tol: Tolerance = 1e-8,
    max_iter: MaxIter = 10_000,
    coloring: Coloring | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> SolveResult:
    """Solve A x = b by successive over-relaxation.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        With a positive diagonal. For symmetric positive definite matrices every `omega`
        converges.
    b : (n,) array of float32 or float64, finite
    omega : float in (0, 2), default 1.0
        1 is Gauss–Seidel.
    x0 : (n,) array of float32 or float64, finite, optional
        Where to start; zero by default.
    tol : float >= 0, default 1e-08
        The solve ends when ‖b - A x‖₂ < tol ‖b - A x0‖₂.
    max_iter : int >= 0, default 10000
        The largest number of sweeps.
    coloring : Coloring, optional
        The order of the rows, color after color; rows of one color are taken at once where there
        are many. None: natural order on the CPU, the coloring of `color_graph` on a GPU.
    callback : callable, optional
        ``callback(n_iter, residual_norm)`` is called after every sweep; the solve ends when it
        returns True. Small systems are solved faster without.
    progress : bool, default False
        Show a bar of the sweeps.

    Returns
    -------
    SolveResult
        Its norms are those of true residuals, whose sums are taken in float64. In float32 a
        relative residual below about 1e-6 is not attainable, as x itself is rounded.

    Raises
    ------
    ValueError
        The diagonal is not positive, numbers are not finite, shapes do not fit, or an option is
        out of range.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    n_iter + 1 reads of the matrix; five arrays of n numbers in addition. With the best omega, see
    `optimal_omega`, a grid of s × s points takes O(s) sweeps, with omega = 1 O(s²).

    References
    ----------
    D. M. Young, "Iterative Solution of Large Linear Systems", Academic Press, 1971. M. Khodak, E.
    Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a
    sequence of linear system instances", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> a = CSR.from_dense(np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 4.0]]))
    >>> result = sor(a, np.array([3.0, 2.0, 3.0]), omega=1.05)
    >>> result.x.round(6), result.reason
    (array([1., 1., 1.]), 'converged')
    """
    options = _Options(omega, tol, max_iter, callback, progress)
    return _solve(SORIteration, a, b, x0, coloring, options)


@routine
def ssor_cg(
    a: Sparse[CSRLike, "n n"],
    b: Float[Array, "n", finite],
    *,
    omega: Omega = 1.0,
    x0: Float[Array, "n", finite] | None = None,
    tol: Tolerance = 1e-8,
    max_iter: MaxIter = 10_000,
    coloring: Coloring | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> SolveResult:
    """Solve A x = b by conjugate gradients, preconditioned by symmetric successive over-relaxation.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        Symmetric and positive definite.
    b : (n,) array of float32 or float64, finite
    x0 : (n,) array of float32 or float64, finite, optional
    max_iter : int >= 0, default 10000
    coloring : Coloring, optional
    callback : callable, optional
    progress : bool, default False
        As in `sor`.
    omega : float in (0, 2), default 1.0
        It matters less than in `sor`.
    tol : float >= 0, default 1e-08
        The solve ends when ‖b - A x‖₂ <= tol ‖b‖₂.

    Returns
    -------
    SolveResult
        Its norms are those of b - A x, followed by recurrence; the last one is computed from x.
        Where it is too large, the solve starts again from there, and ends with the reason
        "stagnated" if that does not help.

    Raises
    ------
    ValueError
        The diagonal is not positive, numbers are not finite, shapes do not fit, or an option is
        out of range.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    An iteration reads the matrix once, as one of plain conjugate gradients does; five arrays of n
    numbers in addition.

    References
    ----------
    S. C. Eisenstat, "Efficient implementation of a class of preconditioned conjugate gradient
    methods", SIAM Journal on Scientific and Statistical Computing, 1981. M. Khodak, E. Chow, M.-F.
    Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a sequence of linear
    system instances", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> a = CSR.from_dense(np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 4.0]]))
    >>> result = ssor_cg(a, np.array([3.0, 2.0, 3.0]))
    >>> result.x.round(6), result.n_iter
    (array([1., 1., 1.]), 3)
    """
    options = _Options(omega, tol, max_iter, callback, progress)
    return _solve(SSORCGIteration, a, b, x0, coloring, options)


def _solve(kind, a, b, x0, coloring, options):
    """Bring the system into order and scale, iterate, and bring the result back."""
    check_diagonal(a)
    matrix = ordered(a, coloring)
    start = start_of(matrix.a, matrix.arranged(b), matrix.arranged(x0), kind.relative_to_b)
    if start.reference == 0:
        x = (
            namespace_of(b).zeros(b.shape, b.dtype)
            if x0 is None or kind.relative_to_b
            else x0.copy()
        )
        return SolveResult(x, True, 0, "converged", np.zeros(1), 0.0)
    target = target_of(kind, options.tol, start.reference)
    work = kind(matrix, start, options.omega, target)
    reason = watched(work, a.nnz + len(b), options.max_iter, options.callback, options.progress)
    if not work.last < math.inf:
        a.check_finite()
    x, norms = work.solution(), work.norms()
    if start.factor != 1:
        with np.errstate(over="ignore"):
            x, norms = x / start.factor, norms / start.factor
    relative = work.last / start.reference
    x = matrix.restored(x)
    return SolveResult(x, reason == "converged", work.count - 1, reason, norms, relative)


@routine
def ssor_preconditioner(
    a: Sparse[CSRLike, "n n"], *, omega: Omega = 1.0, coloring: Coloring | None = None
) -> "SSORPreconditioner":
    """The preconditioner of symmetric successive over-relaxation, as a function.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        With a positive diagonal.
    omega : float in (0, 2), default 1.0
    coloring : Coloring, optional
        The order of the rows; None: natural order on the CPU, the coloring of `color_graph` on a
        GPU.

    Returns
    -------
    callable
        ``z = apply(r)`` for an (n,) or (n, k) array of the dtype of `a` is M⁻¹ r, of the same
        shape, with M⁻¹ = ω (2 - ω) (D + ω U)⁻¹ D (D + ω L)⁻¹. It is symmetric and positive definite
        where `a` is symmetric; the error is that of two triangular solves, which are stable row by
        row.

    Raises
    ------
    ValueError
        `omega` is out of range, or the matrix is not square or its diagonal not positive.
    TypeError
        `a` is not a sparse matrix.

    Notes
    -----
    A call reads the matrix once.

    References
    ----------
    O. Axelsson, "A generalized SSOR method", BIT, 1972.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> a = CSR.from_dense(np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 4.0]]))
    >>> ssor_preconditioner(a)(np.array([1.0, 0.0, 0.0]))
    array([0.26660156, 0.06640625, 0.015625  ])
    """
    check_diagonal(a)
    return SSORPreconditioner(a, omega, coloring)


class SSORPreconditioner:
    """See :func:`ssor_preconditioner`.

    Attributes
    ----------
    a : CSR
        The matrix, in its own order.
    omega : float
    """

    def __init__(self, a: CSR, omega: float, coloring: Coloring | None):
        self.a, self.omega = a, omega
        self.matrix = ordered(a, coloring)

    def __call__(self, r: Array) -> Array:
        return _preconditioned(self.a, r, self)


@checked
def _preconditioned(
    a: Sparse[CSRLike, "n n"],
    r: Float[Array, "n"] | Float[Array, "n k"],
    preconditioner: SSORPreconditioner,
) -> Array:
    matrix: OrderedMatrix = preconditioner.matrix
    xp, rows = namespace_of(r), matrix.arranged(r)
    rows = xp.ascontiguousarray(rows.T if r.ndim == 2 else rows[None])
    z = xp.empty(rows.shape, r.dtype)
    if z.size:
        ssor_rows(*parts_of(matrix.a), matrix.starts, rows, z, preconditioner.omega)
    z = z.T if r.ndim == 2 else z[0]
    return xp.ascontiguousarray(matrix.restored(z))


@routine
def optimal_omega(
    a: Sparse[CSRLike, "n n"], *, tol: Tolerance = 1e-6, max_iter: Annotated[int, at_least(1)] = 500
) -> OmegaEstimate:
    """The `omega` with which `sor` converges fastest, from the spectral radius of the Jacobi
    iteration.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        Symmetric with a positive diagonal.
    tol : float >= 0, default 1e-06
        Wanted bound on the error of the radius.
    max_iter : int >= 1, default 500
        The largest number of steps, each a product with the matrix.

    Returns
    -------
    OmegaEstimate
        With β = ρ(I - D⁻¹ A), omega = 1 + (β / (1 + √(1 - β²)))². That is the best one for
        consistently ordered matrices: red–black colorings, grids of five points in natural order.
        Where β >= 1, which these do not have, the slowest mode β = 1 - λ_min(D⁻¹ A) takes its
        place, and omega = 1.999 where this too is not below 1, as for a singular matrix.

    Raises
    ------
    ValueError
        The matrix is not square, its diagonal is not positive, or it is not finite.
    TypeError
        `a` is not a sparse matrix.

    Notes
    -----
    Lanczos' method on D^(-1/2) A D^(-1/2) in float64 from a fixed random vector, which finds both
    ends of the spectrum. The bound is the residual of the extreme eigenvectors; the error is rather
    its square.

    References
    ----------
    D. M. Young, "Iterative Solution of Large Linear Systems", Academic Press, 1971, chapter 6.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> path = CSR.from_dense(2 * np.eye(10) - np.eye(10, k=1) - np.eye(10, k=-1))
    >>> round(optimal_omega(path).omega, 6), float(round(2 / (1 + np.sin(np.pi / 11)), 6))
    (1.560388, 1.560388)
    """
    check_diagonal(a)
    if not a.shape[0]:
        return OmegaEstimate(1.0, 0.0, 0.0)
    a.check_finite()
    xp = namespace_of(a.data)
    root = xp.sqrt(a.inverse_diagonal.astype(np.float64))
    low, high, bound = _spectrum(
        xp, a.with_data(a.data.astype(np.float64) * root[a.rows] * root[a.indices]), tol, max_iter
    )
    radius = max(abs(1 - low), abs(high - 1))
    slowest = radius if radius < 1 else abs(1 - low)
    omega = 1 + (slowest / (1 + math.sqrt(1 - slowest**2))) ** 2 if slowest < 1 else 2.0
    return OmegaEstimate(min(omega, MAX_OMEGA), radius, bound)


def _spectrum(xp, a, tol, max_iter):
    """The least and the largest eigenvalue of a symmetric matrix, and a bound on their errors."""
    n, diagonal, off = a.shape[0], [], []
    v = xp.asarray(np.random.default_rng(0).standard_normal(n))
    v, before, beta = v / float(xp.linalg.norm(v)), xp.zeros(n), 0.0
    while True:
        w = spmv(a, v) - beta * before
        diagonal.append(float(w @ v))
        w -= diagonal[-1] * v
        beta = float(xp.linalg.norm(w))
        ended = len(diagonal) >= min(max_iter, n) or beta <= 1e-14
        if ended or len(diagonal) % EVERY == 0:
            values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
            bound = beta * float(np.abs(vectors[-1, [0, -1]]).max())
            if ended or bound <= tol:
                return float(values[0]), float(values[-1]), bound
        off.append(beta)
        before, v = v, w / beta
