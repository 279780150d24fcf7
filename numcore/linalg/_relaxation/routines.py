"""The solvers, the preconditioner, and the best relaxation parameter."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import Array, Float, at_least, between, checked, finite, nonnegative
from ...dispatch import namespace_of, routine
from .._csr import CSR, CSRLike, Sparse
from .._sparse import Coloring, spmv
from .iterations import SORIteration, SSORCGIteration, run_iterations, target_of
from .kernels import ssor_rows
from .systems import OrderedMatrix, check_diagonal, ordered, parts_of, start_of

CHECK_INTERVAL = 8  # Lanczos steps between convergence tests
MAX_OMEGA = 1.999

Omega = Annotated[float, between(0, 2)]
Tolerance = Annotated[float, nonnegative]
MaxIter = Annotated[int, at_least(0)]
Callback = Callable[[int, float], bool | None]


class SolveResult(NamedTuple):
    """Result of an iterative solver.

    Attributes
    ----------
    x : (n,) array
    converged : bool
    n_iter : int
    reason : {"converged", "max_iter", "callback", "diverged", "breakdown", "stagnated"}
        Why it stopped. "diverged": the residual is no longer finite. "breakdown": a direction has
        nonpositive curvature, so the matrix is not positive definite. "stagnated": no further
        accuracy is attainable in this dtype.
    residual_norms : (n_iter + 1,) NumPy array of float64
        The norm of b - A x before the first and after every iteration.
    relative_residual : float
        The last norm divided by the one that the tolerance refers to.
    """

    x: Array
    converged: bool
    n_iter: int
    reason: Literal["converged", "max_iter", "callback", "diverged", "breakdown", "stagnated"]
    residual_norms: np.ndarray
    relative_residual: float


class OmegaEstimate(NamedTuple):
    """The best `omega`, the spectral radius ρ(I - D⁻¹ A) from which it is computed, and a bound on
    the error of the radius."""

    omega: float
    jacobi_radius: float
    error_bound: float


class _Options(NamedTuple):
    """Relaxation parameter, stopping criteria and reporting of a solve."""

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
        With a positive diagonal. If it is symmetric positive definite, the iteration converges for
        every `omega`.
    b : (n,) array of float32 or float64, finite
    omega : float in (0, 2), default 1.0
        1 is Gauss–Seidel.
    x0 : (n,) array of float32 or float64, finite, optional
        The starting point; zero by default.
    tol : float >= 0, default 1e-08
        Stop when ‖b - A x‖₂ < tol ‖b - A x0‖₂.
    max_iter : int >= 0, default 10000
        Maximum number of sweeps.
    coloring : Coloring, optional
        Process rows color by color; rows of one color are updated in parallel if the system is
        large. None: natural order on the CPU, the coloring of `color_graph` on a GPU.
    callback : callable, optional
        ``callback(n_iter, residual_norm)`` is called after every sweep; the solve stops when it
        returns True. Small systems are solved faster without a callback.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    SolveResult
        `residual_norms` are those of b - A x, summed in float64. In float32 a relative residual
        below about 1e-6 is not attainable, because x itself is rounded.

    Raises
    ------
    ValueError
        The diagonal is not positive, values are not finite, shapes do not match, or an option is
        out of range.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    n_iter + 1 reads of the matrix; five additional arrays of n numbers. A grid of s × s points
    needs O(s) sweeps with the best omega (see `optimal_omega`), and O(s²) with omega = 1.

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
        Its value matters less than in `sor`.
    tol : float >= 0, default 1e-08
        Stop when ‖b - A x‖₂ <= tol ‖b‖₂.

    Returns
    -------
    SolveResult
        `residual_norms` are computed by recurrence, except the last one, which is that of b - A x.
        If it exceeds the tolerance, the solve restarts from x, and stops with the reason
        "stagnated" if that does not help.

    Raises
    ------
    ValueError
        The diagonal is not positive, values are not finite, shapes do not match, or an option is
        out of range.
    TypeError
        `a` is not a sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    An iteration reads the matrix once, like one of plain conjugate gradients; five additional
    arrays of n numbers.

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
    """Reorder and scale the system, iterate, and undo both in the result."""
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
    iteration = kind(matrix, start, options.omega, target)
    reason = run_iterations(
        iteration, a.nnz + len(b), options.max_iter, options.callback, options.progress
    )
    if not iteration.last < math.inf:
        a.check_finite()
    x, norms = iteration.solution(), iteration.norms()
    if start.factor != 1:
        with np.errstate(over="ignore"):
            x, norms = x / start.factor, norms / start.factor
    relative = iteration.last / start.reference
    x = matrix.restored(x)
    return SolveResult(x, reason == "converged", iteration.count - 1, reason, norms, relative)


@routine
def ssor_preconditioner(
    a: Sparse[CSRLike, "n n"], *, omega: Omega = 1.0, coloring: Coloring | None = None
) -> "SSORPreconditioner":
    """Symmetric successive over-relaxation (SSOR) preconditioner, as a callable that applies M⁻¹.

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
        Returns M⁻¹ r for an (n,) or (n, k) array r of the dtype of `a`, with M⁻¹ = ω (2 - ω) (D + ω
        U)⁻¹ D (D + ω L)⁻¹. M⁻¹ is symmetric and positive definite if `a` is symmetric; the error is
        that of two triangular solves, which are stable row by row.

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
    """Optimal relaxation parameter of `sor`, from the spectral radius of the Jacobi iteration.

    Parameters
    ----------
    a : (n, n) CSR or sparse array
        Symmetric with a positive diagonal.
    tol : float >= 0, default 1e-06
        Target for the error bound of the radius.
    max_iter : int >= 1, default 500
        Maximum number of Lanczos steps, each a product with the matrix.

    Returns
    -------
    OmegaEstimate
        With β = ρ(I - D⁻¹ A), omega = 1 + (β / (1 + √(1 - β²)))². This is optimal for consistently
        ordered matrices, such as red–black colorings and five-point grids in natural order. If β >=
        1, which does not occur for these, the slowest mode β = 1 - λ_min(D⁻¹ A) is used instead,
        and omega = 1.999 if that is not below 1 either, as for a singular matrix.

    Raises
    ------
    ValueError
        The matrix is not square, its diagonal is not positive, or it is not finite.
    TypeError
        `a` is not a sparse matrix.

    Notes
    -----
    Uses the Lanczos method on D^(-1/2) A D^(-1/2) in float64 from a fixed random vector, which
    finds both ends of the spectrum. The bound is the residual of the extreme eigenvectors; the
    error is closer to its square.

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
    """The smallest and the largest eigenvalue of a symmetric matrix, and a bound on their
    errors."""
    n, diagonal, off = a.shape[0], [], []
    v = xp.asarray(np.random.default_rng(0).standard_normal(n))
    v, before, beta = v / float(xp.linalg.norm(v)), xp.zeros(n), 0.0
    while True:
        w = spmv(a, v) - beta * before
        diagonal.append(float(w @ v))
        w -= diagonal[-1] * v
        beta = float(xp.linalg.norm(w))
        ended = len(diagonal) >= min(max_iter, n) or beta <= 1e-14
        if ended or len(diagonal) % CHECK_INTERVAL == 0:
            values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
            bound = beta * float(np.abs(vectors[-1, [0, -1]]).max())
            if ended or bound <= tol:
                return float(values[0]), float(values[-1]), bound
        off.append(beta)
        before, v = v, w / beta
