"""Successive over-relaxation (SOR), conjugate gradients preconditioned by symmetric SOR, and the
best parameter of both.

A x = b with a symmetric positive definite sparse matrix A = D + L + U, diagonal D, strict triangles
L and U. SOR repeats x ← x + δ with (D / ω + L) δ = b - A x. A sweep reads the matrix once and finds
the residual norm of the x that it began with on the way, as the rows below the diagonal are
multiplied by the old and the new x together. Symmetric SOR (SSOR) preconditions conjugate gradients
by M = (D / ω + L) (D / ω)⁻¹ (D / ω + U) / (2 - ω); by Eisenstat's trick an iteration needs the two
triangular solves alone, no product with A. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar,
"Learning to relax", ICLR 2024; S. C. Eisenstat, SIAM J. Sci. Stat. Comput. 2, 1981.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..progress import progress_bar
from ._csr import CSR, as_csr
from ._sparse import (
    INDICES,
    _checked_coloring,
    color_graph,
    left_neighbour,
    right_neighbour,
    row_product,
    spmv,
)

CALL = (
    1 << 24
)  # entries of the matrix that a call of a kernel may read, some 30 ms: it cannot be interrupted
MOST_SWEEPS = 4096  # in a call
# up to which one block of a GPU solves the system, in 64 KiB of its memory, and one thread of a CPU
# a coloured one
FEW_ROWS = 4000
SAFE_NORMS = (1e-140, 1e140)  # whose squares neither vanish nor overflow
RUNNING, CONVERGED, NOT_FINITE, BREAKDOWN, STAGNATED, FRESH = range(6)
STATUS = ("max_iter", "converged", "diverged", "breakdown", "stagnated")
EVERY = 8  # steps of Lanczos' method between looks at its eigenvalues


class SolveResult(NamedTuple):
    """What an iterative solver found.

    Attributes
    ----------
    x : (n,) array
    converged : bool
    num_iter : int
    residual_norms : (num_iter + 1,) NumPy array of float64
        The norm of b - A x before the first and after every iteration.
    relative_residual : float
        The last norm by the one that the tolerance refers to.
    status : str
        "converged", "max_iter", "callback", or why there is no going on: "diverged", "breakdown",
        "stagnated".
    """

    x: Any
    converged: bool
    num_iter: int
    residual_norms: np.ndarray
    relative_residual: float
    status: str


class OmegaEstimate(NamedTuple):
    """The best `omega`, the spectral radius ρ(I - D⁻¹ A) that it follows from, and a bound on the
    error of the latter."""

    omega: float
    jacobi_radius: float
    error_bound: float


# --- solvers --------------------------------------------------------------------------------------


@routine
def sor(
    a,
    b,
    *,
    omega=1.0,
    x0=None,
    tol=1e-8,
    max_iter=10_000,
    coloring=None,
    callback=None,
    progress=False,
):
    """Solve A x = b by successive over-relaxation.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n) with a positive diagonal. For symmetric positive definite matrices every `omega`
        converges.
    b : (n,) array of the dtype of `a`
    omega : float
        0 < omega < 2; 1 is Gauss–Seidel.
    x0 : (n,) array, optional
        Where to start; zero by default.
    tol : float
        The solve ends when ‖b - A x‖₂ < tol ‖b - A x0‖₂.
    max_iter : int
        Most sweeps.
    coloring : Coloring, optional
        The order of the rows, colour after colour; rows of one colour are taken at once where there
        are many. None: natural order on the CPU, the colouring of `color_graph` on a GPU.
    callback : callable, optional
        ``callback(num_iter, residual_norm)`` is called after every sweep; the solve ends when it
        returns True. Small systems are solved faster without.
    progress : bool
        Show a bar of the sweeps.

    Returns
    -------
    SolveResult
        Its norms are those of true residuals, whose sums are taken in float64. In float32 a
        relative residual below some 1e-6 cannot be had, as x itself is rounded.

    Raises
    ------
    ValueError
        `omega` is not between 0 and 2, the matrix is not square or its diagonal not positive,
        shapes do not fit, or numbers are not finite.
    TypeError
        `a` is no sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    num_iter + 1 reads of the matrix; five arrays of n numbers besides it. With the best omega, see
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
    >>> result.x.round(6), result.status
    (array([1., 1., 1.]), 'converged')
    """
    return _solve(
        _Sor,
        False,
        *_checked_system(a, b, x0, omega, tol, max_iter, coloring, callback),
        callback,
        progress,
    )


@routine
def ssor_cg(
    a,
    b,
    *,
    omega=1.0,
    x0=None,
    tol=1e-8,
    max_iter=10_000,
    coloring=None,
    callback=None,
    progress=False,
):
    """Solve A x = b by conjugate gradients, preconditioned by symmetric successive over-relaxation.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n), symmetric positive definite.
    b, x0, max_iter, coloring, callback, progress
        As in `sor`.
    omega : float
        0 < omega < 2. It matters less than in `sor`.
    tol : float
        The solve ends when ‖b - A x‖₂ <= tol ‖b‖₂.

    Returns
    -------
    SolveResult
        Its norms are those of b - A x, followed by recurrence; the last one is computed from x.
        Where it is too large, the solve starts again from there, and ends with the status
        "stagnated" if that does not help: x cannot be had more accurately in its dtype. "breakdown"
        says that a direction had no positive energy: A is not positive definite.

    Raises
    ------
    ValueError
        `omega` is not between 0 and 2, the matrix is not square or its diagonal not positive,
        shapes do not fit, or numbers are not finite.
    TypeError
        `a` is no sparse matrix, or dtypes or devices are mixed.

    Notes
    -----
    An iteration reads the matrix once, as one of plain conjugate gradients does; five arrays of n
    numbers besides it.

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
    >>> result.x.round(6), result.num_iter
    (array([1., 1., 1.]), 3)
    """
    return _solve(
        _SsorCG,
        True,
        *_checked_system(a, b, x0, omega, tol, max_iter, coloring, callback),
        callback,
        progress,
    )


@routine
def ssor_preconditioner(a, *, omega=1.0, coloring=None):
    """The preconditioner of symmetric successive over-relaxation, as a function.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n) with a positive diagonal.
    omega : float
        0 < omega < 2.
    coloring : Coloring, optional
        The order of the rows; None: natural order on the CPU, the colouring of `color_graph` on a
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
        `omega` is not between 0 and 2, or the matrix is not square or its diagonal not positive.
    TypeError
        `a` is no sparse matrix.

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
    return SSORPreconditioner(a, omega, coloring)


class SSORPreconditioner:
    """See :func:`ssor_preconditioner`."""

    def __init__(self, a, omega, coloring):
        a, self.omega = _checked_matrix(a), checked_number("omega", omega, above=0, below=2)
        self.xp, _ = on_device(a=a.data)
        self.a, self.order, self.starts = _in_order(
            self.xp, a, _checked_order(self.xp, a, coloring)
        )

    def __call__(self, r):
        a, xp, n = self.a, self.xp, self.a.shape[0]
        _, (_, r) = on_device(a=a.data, r=r)
        float_dtype(a=a.data, r=r)
        if r.ndim not in (1, 2) or r.shape[0] != n:
            raise ValueError(f"r must have shape ({n},) or ({n}, k) (got {r.shape})")
        rows = r if self.order is None else r[self.order]
        rows = xp.ascontiguousarray(rows.T if r.ndim == 2 else rows[None])
        z = xp.empty(rows.shape, a.dtype)
        if z.size:
            ssor_rows(*_matrix(a), self.starts, rows, z, self.omega)
        z = z.T if r.ndim == 2 else z[0]
        return xp.ascontiguousarray(z) if self.order is None else _scattered(xp, z, self.order)


@routine
def optimal_omega(a, *, tol=1e-6, max_iter=500):
    """The `omega` with which `sor` converges fastest, from the spectral radius of the Jacobi
    iteration.

    Parameters
    ----------
    a : CSR, or a sparse matrix of SciPy or CuPy
        (n, n), symmetric with a positive diagonal.
    tol : float
        Wanted bound on the error of the radius.
    max_iter : int
        Most steps, each a product with the matrix.

    Returns
    -------
    OmegaEstimate
        With β = ρ(I - D⁻¹ A), omega = 1 + (β / (1 + √(1 - β²)))². That is the best one for
        consistently ordered matrices: red–black colourings, grids of five points in natural order.
        Where β >= 1, which these do not have, the slowest mode β = 1 - λ_min(D⁻¹ A) takes its
        place, and omega = 1.999 where this too is not below 1, as for a singular matrix.

    Raises
    ------
    ValueError
        The matrix is not square, its diagonal is not positive, or it is not finite.
    TypeError
        `a` is no sparse matrix.

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
    a = _checked_matrix(a)
    tol, max_iter = (
        checked_number("tol", tol, least=0),
        checked_count("max_iter", max_iter, least=1),
    )
    xp, _ = on_device(a=a.data)
    if not a.shape[0]:
        return OmegaEstimate(1.0, 0.0, 0.0)
    _checked_finite(xp, a=a.data)
    root = xp.sqrt(a.inverse_diagonal.astype(np.float64))
    low, high, bound = _spectrum(
        xp, a.with_data(a.data.astype(np.float64) * root[a.rows] * root[a.indices]), tol, max_iter
    )
    radius = max(abs(1 - low), abs(high - 1))
    slowest = radius if radius < 1 else abs(1 - low)
    omega = 1 + (slowest / (1 + math.sqrt(1 - slowest**2))) ** 2 if slowest < 1 else 2.0
    return OmegaEstimate(min(omega, 1.999), radius, bound)


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


# --- what the solvers share -----------------------------------------------------------------------


def _checked_matrix(a):
    a = as_csr(a)
    if not a.has_positive_diagonal:
        diagonal = a.diagonal()
        i = int((~(diagonal > 0)).argmax())
        raise ValueError(f"a must have a positive diagonal (got {float(diagonal[i])} in row {i})")
    return a


def _checked_order(xp, a, coloring):
    if coloring is not None:
        _checked_coloring(coloring, a.shape[0])
        on_device(a=a.data, coloring=coloring.order)
        return coloring
    return None if xp is np else color_graph(a)


def _checked_system(a, b, x0, omega, tol, max_iter, coloring, callback):
    a = _checked_matrix(a)
    n = a.shape[0]
    xp, (_, b, x0) = on_device(a=a.data, b=b, x0=x0)
    float_dtype(a=a.data, b=b, x0=x0)
    if b.shape != (n,):
        raise ValueError(f"b must have shape ({n},) (got {b.shape})")
    if x0 is not None and x0.shape != (n,):
        raise ValueError(f"x0 must have shape ({n},) (got {x0.shape})")
    omega = checked_number("omega", omega, above=0, below=2)
    tol, max_iter = checked_number("tol", tol, least=0), checked_count("max_iter", max_iter)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable (got {type(callback).__name__})")
    return xp, a, b, x0, omega, tol, max_iter, _checked_order(xp, a, coloring)


def _matrix(a):
    return a.indptr, a.indices, a.data, a.diagonal_at, a.inverse_diagonal


NATURAL = np.array([0, 0])  # the CPU takes rows one after the other and never looks at this


def _in_order(xp, a, coloring):
    """The matrix with its rows and columns in the order of the colours, that order, and where
    colours start."""
    if coloring is None:
        return a, None, NATURAL
    order = coloring.order
    place = xp.empty(a.shape[0], a.indices.dtype)
    place[order] = xp.arange(a.shape[0], dtype=place.dtype)
    return (
        CSR.from_coo(place[a.rows], place[a.indices], a.data, a.shape),
        order,
        xp.asarray(np.array(coloring.starts, np.int64)),
    )


def _scattered(xp, x, order):
    result = xp.empty(x.shape, x.dtype)
    result[order] = x
    return result


def _solve(method, relative_to_b, xp, a, b, x0, omega, tol, max_iter, coloring, callback, progress):
    """Bring the system into order and scale, run the method on it, and bring the result back."""
    a, order, starts = _in_order(xp, a, coloring)
    if order is not None:
        b, x0 = b[order], None if x0 is None else x0[order]
    b = xp.ascontiguousarray(b)
    r = b if x0 is None else _difference(b, spmv(a, x0))
    whole, factor = b if relative_to_b else r, 1.0
    reference = _norm(whole)
    if not SAFE_NORMS[0] < reference < SAFE_NORMS[1]:
        factor = _safe_factor(xp, whole, a=a.data, b=b, x0=x0)
        if factor is None:  # zero
            x = xp.zeros(b.shape, a.dtype) if x0 is None or relative_to_b else xp.array(x0)
            return SolveResult(
                x if order is None else _scattered(xp, x, order),
                True,
                0,
                np.zeros(1),
                0.0,
                "converged",
            )
        b, r, x0 = b * factor, r * factor, x0 if x0 is None else x0 * factor
        reference = _norm(whole * factor)
    target = (
        tol * reference if relative_to_b else math.nextafter(tol * reference, 0.0)
    )  # at most the one, less than the other
    work = method(
        xp,
        a,
        b,
        r,
        x0,
        omega,
        target,
        reference,
        starts,
        None if coloring is None else coloring.starts,
    )
    stopped = _watched(work, a.nnz + len(b), max_iter, callback, progress)
    if not work.last < math.inf:
        _checked_finite(xp, a=a.data, b=b, x0=x0)
    x, norms = work.solution(), work.norms()
    if factor != 1:
        with np.errstate(over="ignore"):
            x, norms = x / factor, norms / factor
    status = stopped or STATUS[work.status]
    return SolveResult(
        x if order is None else _scattered(xp, x, order),
        status == "converged",
        work.count - 1,
        norms,
        work.last / reference,
        status,
    )


def _norm(v):
    v = v.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(float(v @ v))


def _difference(a, b):
    with np.errstate(over="ignore", invalid="ignore"):
        return a - b


def _checked_finite(xp, **arrays):
    for name, array in arrays.items():
        if array is not None and not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")


def _safe_factor(xp, whole, **arrays):
    """A power of two that brings numbers near 1, None for zeros."""
    _checked_finite(xp, **arrays)
    top = float(xp.abs(whole).max()) if len(whole) else 0.0
    if not math.isfinite(top):
        raise ValueError("x0 must have a finite residual b - a x0 (got inf)")
    return 2.0 ** -max(-1000, min(1000, math.frexp(top)[1])) if top else None


def _watched(work, entries, max_iter, callback, progress):
    """Iterate in calls of bounded length, which a callback or an interrupt comes between;
    "callback" where that ended it."""
    bar = progress_bar(None, "iterations") if progress else None
    most = 1 if callback else max(1, min(CALL // max(entries, 1), MOST_SWEEPS))
    try:
        while work.status == RUNNING and work.count <= max_iter:
            before = work.count
            work.advance(min(most, max_iter + 1 - before))
            if work.status != RUNNING:
                work.confirm()
            if bar is not None:
                bar.update(work.count - before)
            if (
                callback
                and 0 < before < work.count
                and callback(before, work.last) is True
                and work.status == RUNNING
            ):
                return "callback"
    finally:
        if bar is not None:
            bar.close()


class _Work:
    """A method at work on one system: `advance` goes on, and finds the norms of the residuals of
    every x, the last that of the present x.

    `count` is the number of norms, `last` the last of them.
    """

    def __init__(self, xp, a, b, r, x, omega, target, reference, starts, colors):
        self.xp, self.a, self.b, self.omega, self.target = xp, a, b, omega, target
        self.reached = max(target, self.least_norm * float(np.finfo(a.dtype).eps) * reference)
        self.colors = colors if len(b) > FEW_ROWS else None  # None: one kernel does it all
        self.batch = (
            a.indptr,
            a.indices,
            a.data[None],
            a.diagonal_at,
            a.inverse_diagonal[None],
            starts,
        )
        self.limits = xp.asarray(np.array([[omega, self.reached]]))
        self.parts, self.count, self.last, self.status = [], 0, math.nan, RUNNING
        self.begin(r, x)

    def norms(self):
        return np.concatenate(self.parts)

    def advance(self, most):
        if self.colors is None:
            norms = self.xp.empty((1, most))
            self.kernel(norms)
            ((made, self.status, *_),) = self.state.tolist()
            norms = norms[0, :made] if self.xp is np else self.xp.asnumpy(norms[0, :made])
        else:
            norms = []
            with np.errstate(all="ignore"):
                while len(norms) < most and self.status == RUNNING:
                    norms.append(self.by_colors())
            norms = np.array(norms)
        self.parts.append(norms)
        self.count, self.last = self.count + len(norms), float(norms[-1])

    def judge(self, norm):
        if norm <= self.reached:
            self.status = CONVERGED
        elif not norm < math.inf:
            self.status = NOT_FINITE


class _Sor(_Work):
    """Passes over the rows, each of which makes one x out of another one, and finds the residual of
    the latter."""

    least_norm = 0.0

    def begin(self, r, x):
        self.pair = self.xp.empty((1, 2, len(self.b)), self.b.dtype)
        self.pair[0, 0] = 0 if x is None else x
        self.state = self.xp.zeros((1, 3), np.int64)
        self.turn = 0

    def kernel(self, norms):
        sor_rows(*self.batch, self.b[None], self.pair, self.limits, norms, self.state)

    def by_colors(self):
        old, new = self.pair[0, self.turn], self.pair[0, 1 - self.turn]
        self.turn = 1 - self.turn
        new[...] = old
        residual = self.xp.empty_like(old)
        for first, last in itertools.pairwise(self.colors):
            sor_color(
                *_matrix(self.a),
                self.b[first:last],
                residual[first:last],
                old,
                new,
                self.omega,
                first,
            )
        norm = _norm(residual)
        self.judge(norm)
        return norm

    def confirm(self):
        """Norms of SOR are those of b - A x."""

    def solution(self):
        return self.pair[0, (self.count - 1) % 2].copy()


class _SsorCG(_Work):
    """Conjugate gradients for (D' + L)⁻¹ A (D' + U)⁻¹ with D' = D / ω, preconditioned by D', in
    Eisenstat's way; x itself is kept."""

    least_norm = (
        1 / 64
    )  # in units of roundoff of the reference: below, the recurrence has lost touch with b - A x
    restarted = math.inf  # the norm at the last restart

    def begin(self, r, x):
        # r: at first b - A x, then (D' + L)⁻¹ times it
        self.vectors = self.xp.zeros((1, 5, len(self.b)), self.b.dtype)
        self.x, self.r, self.p, self.t, self.w = self.vectors[0]
        self.x[...], self.r[...] = 0 if x is None else x, r
        self.energies = self.xp.zeros((1, 3))
        self.state = self.xp.asarray(np.array([[0, FRESH]]))
        if self.colors is not None:
            self.diagonal = 1 / (self.omega * self.a.inverse_diagonal)
            self.forward(self.r)
            self.r, self.w = self.w, self.r
            self.energy, self.change, self.curvature = (
                self.sum(self.diagonal * self.r * self.r),
                0.0,
                0.0,
            )

    def kernel(self, norms):
        ssor_cg_rows(*self.batch, self.vectors, self.limits, self.energies, norms, self.state)

    def by_colors(self):
        if self.curvature > 0:
            self.step()
        for first, last in reversed(list(itertools.pairwise(self.colors))):
            backward_color(
                *_matrix(self.a),
                self.r[first:last],
                self.p[first:last],
                self.t,
                self.omega,
                self.change,
                first,
            )
        norm = _norm(self.forward(self.p))
        self.curvature = self.sum(self.p * (self.t + self.w))
        self.judge(norm)
        if self.status == RUNNING and not (self.curvature > 0 and self.energy > 0):
            self.status = BREAKDOWN
        return norm

    def step(self):
        alpha = np.asarray(self.energy / self.curvature, self.x.dtype)[()]
        self.x += alpha * self.t
        self.r -= alpha * (self.t + self.w)
        before, self.energy = self.energy, self.sum(self.diagonal * self.r * self.r)
        self.change = self.energy / before

    def forward(self, p):
        """w = (D' + L)⁻¹ (p - (2 D' - D) t), and the residual (D' + L) r."""
        residual = self.xp.empty_like(p)
        for first, last in itertools.pairwise(self.colors):
            forward_color(
                *_matrix(self.a),
                self.r,
                p[first:last],
                self.t[first:last],
                self.w,
                residual[first:last],
                self.omega,
                first,
            )
        return residual

    def sum(self, products):
        return float(self.xp.sum(products, dtype=np.float64))

    def confirm(self):
        """Put the norm of b - A x in the place of that by recurrence; start again from x where it
        is too large."""
        r = _difference(self.b, spmv(self.a, self.x))
        self.parts[-1][-1] = self.last = norm = _norm(r)
        if self.status == CONVERGED and norm > self.target:
            self.status = RUNNING if norm < self.restarted / 2 else STAGNATED
            if self.status == RUNNING:
                self.restarted = norm
                self.parts[-1], self.count = (
                    self.parts[-1][:-1],
                    self.count - 1,
                )  # the first iteration finds it again
                self.begin(r, self.x)

    def solution(self):
        return self.x.copy()


# --- kernels: whole solves ------------------------------------------------------------------------

TWINS = {"float32": 1e-5, "float64": 1e-6}  # sums of float32 vectors are kept in float64
SYSTEMS = "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[s, z]; in INDEX at[n]; in T inverse[s, n]; in int64 starts[c];"  # noqa: E501


@kernel(
    f"{SYSTEMS} in T b[s, n]; inout T x[s, 2, n]; in float64 limits[s, 2]; "
    f"inout float64 norms[s, q];"
    " inout int64 state[s, 3]",
    split="s",
    gpu="block",
    threads=128,
    shared="2*n*itemsize",
    grain="1",
    types=INDICES,
    twin_tolerance=TWINS,
)
def sor_rows(indptr, indices, data, at, inverse, starts, b, x, limits, norms, state, start, stop):
    """Up to q passes for each of s systems of one pattern, from one of the two x to the other; the
    norms of the x that they began with.

    limits: omega, norm to reach. state: passes made, status, which x comes next; only running
    systems are taken. Rows of one colour, from starts[c] on, are independent: the GPU's way.
    """
    for s in range(start, stop):
        made, turn = 0, state[s, 2]
        while made < norms.shape[1] and state[s, 1] == RUNNING:
            norm = math.sqrt(
                _sor_pass(
                    indptr,
                    indices,
                    data[s],
                    at,
                    inverse[s],
                    b[s],
                    x[s, turn],
                    x[s, 1 - turn],
                    limits[s, 0],
                )
            )
            norms[s, made] = norm
            made += 1
            turn = 1 - turn
            if norm <= limits[s, 1]:
                state[s, 1] = CONVERGED
            elif not norm < math.inf:
                state[s, 1] = NOT_FINITE
        state[s, 0], state[s, 2] = made, turn


def _sor_pass(indptr, indices, data, at, inverse, b, old, new, omega):
    """One sweep from `old` to `new`; the squared norm of b - A old. The last x is kept at hand: the
    next row waits for nothing else."""
    squares, last, last_old = 0.0, 0.0, 0.0
    for i in range(len(b)):
        middle = at[i]
        beside, end = left_neighbour(i, indptr[i], middle, indices, data)
        below, below_old = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(end)):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            below += value * new[j]
            below_old += value * old[j]
        x = np.float64(old[i])
        rest = (
            b[i]
            - row_product(middle + 1, indptr[i + 1], indices, data, old)
            - data[np.uintp(middle)] * x
        )
        residual = rest - below_old - beside * last_old
        squares += residual * residual
        scale = omega * inverse[i]
        new[i] = (x + scale * (rest - below)) - (scale * beside) * last
        last, last_old = np.float64(new[i]), x
    return squares


@kernel(
    f"{SYSTEMS} inout T vectors[s, 5, n]; in float64 limits[s, 2];"
    " inout float64 energies[s, 3]; inout float64 norms[s, q]; inout int64 state[s, 2]",
    split="s",
    gpu="block",
    threads=128,
    grain="1",
    types=INDICES,
    twin_tolerance=TWINS,
)
def ssor_cg_rows(
    indptr, indices, data, at, inverse, starts, vectors, limits, energies, norms, state, start, stop
):
    """Up to q iterations for each of s systems of one pattern, and the norms of the residuals after
    them. See _SsorCG.

    vectors: x, r, p, t, w. limits: omega, norm to reach. energies: rᵀ D' r, its change, and pᵀ Ã p,
    0 before there is a direction. state: norms found, status. An iteration finds the norm and the
    next direction; the step along that one is left to the next iteration.
    """
    for s in range(start, stop):
        made, omega = 0, limits[s, 0]
        x, r, p, t, w = vectors[s, 0], vectors[s, 1], vectors[s, 2], vectors[s, 3], vectors[s, 4]
        if state[s, 1] == FRESH:
            _first_residual(indptr, indices, data[s], at, inverse[s], r, omega, energies[s])
            state[s, 1] = RUNNING
        while made < norms.shape[1] and state[s, 1] == RUNNING:
            if energies[s, 2] > 0:
                _step(inverse[s], x, r, t, w, omega, energies[s])
            _backward(indptr, indices, data[s], at, inverse[s], r, p, t, omega, energies[s, 1])
            squares, energies[s, 2] = _forward(
                indptr, indices, data[s], at, inverse[s], r, p, t, w, omega
            )
            norm = math.sqrt(squares)
            norms[s, made] = norm
            made += 1
            if norm <= limits[s, 1]:
                state[s, 1] = CONVERGED
            elif not norm < math.inf:
                state[s, 1] = NOT_FINITE
            elif not (energies[s, 2] > 0 and energies[s, 0] > 0):
                state[s, 1] = BREAKDOWN
        state[s, 0] = made


def _first_residual(indptr, indices, data, at, inverse, r, omega, energies):
    """r ← (D' + L)⁻¹ r, and its energy."""
    energy = 0.0
    for i in range(len(r)):
        value = omega * inverse[i] * (r[i] - row_product(indptr[i], at[i], indices, data, r))
        energy += value * value / (omega * inverse[i])
        r[i] = value
    energies[0], energies[1], energies[2] = energy, 0.0, 0.0


def _backward(indptr, indices, data, at, inverse, r, p, t, omega, change):
    """p ← D' r + change p,  t = (D' + U)⁻¹ p."""
    n, last, shrink = len(p), 0.0, 1 / omega
    for step in range(n):
        i = np.uintp(n - 1 - step)
        scale, end = omega * inverse[i], indptr[i + np.uintp(1)]
        p[i] = data[np.uintp(at[i])] * shrink * r[i] + change * p[i]
        beside, first = right_neighbour(n - 1 - step, at[i], end, indices, data)
        t[i] = scale * (p[i] - row_product(first, end, indices, data, t)) - (scale * beside) * last
        last = np.float64(t[i])


def _forward(indptr, indices, data, at, inverse, r, p, t, w, omega):
    """w = (D' + L)⁻¹ (p - (2 D' - D) t);  ‖(D' + L) r‖² and pᵀ (t + w)."""
    squares, curvature, last, last_r, shrink = 0.0, 0.0, 0.0, 0.0, 1 / omega
    for i in range(len(p)):
        beside, end = left_neighbour(i, indptr[i], at[i], indices, data)
        below, residual = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(end)):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            below += value * w[j]
            residual += value * r[j]
        scale, diagonal = omega * inverse[i], np.float64(data[np.uintp(at[i])])
        residual += beside * last_r + diagonal * shrink * r[i]
        squares += residual * residual
        w[i] = scale * (p[i] - (2 * shrink - 1) * diagonal * t[i] - below) - (scale * beside) * last
        last, last_r = np.float64(w[i]), np.float64(r[i])
        curvature += p[i] * (np.float64(t[i]) + w[i])
    return squares, curvature


def _step(inverse, x, r, t, w, omega, energies):
    """x ← x + α t,  r ← r - α (t + w),  and the energy rᵀ D' r with its change."""
    alpha, n = energies[0] / energies[2], len(x)
    for i in range(n):
        x[i] += alpha * t[i]
        r[i] -= alpha * (np.float64(t[i]) + w[i])
    a, b, c, d = 0.0, 0.0, 0.0, 0.0  # four sums, so that additions do not wait for each other
    for i in range(0, n - n % 4, 4):
        a += np.float64(r[i]) * r[i] / inverse[i]
        b += np.float64(r[i + 1]) * r[i + 1] / inverse[i + 1]
        c += np.float64(r[i + 2]) * r[i + 2] / inverse[i + 2]
        d += np.float64(r[i + 3]) * r[i + 3] / inverse[i + 3]
    for i in range(n - n % 4, n):
        a += np.float64(r[i]) * r[i] / inverse[i]
    energy = ((a + b) + (c + d)) / omega
    energies[1], energies[0] = energy / energies[0], energy


MATRIX = "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in INDEX at[n]; in T inverse[n];"


@kernel(
    f"{MATRIX} in int64 starts[c]; in T r[k, n]; inout T y[k, n]; float64 omega",
    split="k",
    gpu="block",
    threads=128,
    grain="1",
    types=INDICES,
)
def ssor_rows(indptr, indices, data, at, inverse, starts, r, y, omega, start, stop):
    """y = (2 - ω) (D' + U)⁻¹ D' (D' + L)⁻¹ r for each of k vectors."""
    n = r.shape[1]
    for c in range(start, stop):
        for i in range(n):
            y[c, i] = (
                omega * inverse[i] * (r[c, i] - row_product(indptr[i], at[i], indices, data, y[c]))
            )
        for step in range(n):
            i = n - 1 - step
            y[c, i] = (2 - omega) * y[c, i] - omega * inverse[i] * row_product(
                at[i] + 1, indptr[i + 1], indices, data, y[c]
            )


# --- kernels: the rows of one colour, from `first` on, of large systems ---------------------------


@kernel(
    f"{MATRIX} in T b[k]; out T residual[k]; in T old[n]; inout T x[n]; float64 omega; int64 first",
    split="k",
    types=INDICES,
)
def sor_color(indptr, indices, data, at, inverse, b, residual, old, x, omega, first, start, stop):
    """A sweep's change of x, which was `old` before the sweep, and the residual b - A old."""
    for k in range(start, stop):
        i = first + k
        sum_old, change = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            sum_old += value * old[j]
            change += value * (np.float64(x[j]) - old[j])
        residual[k] = b[k] - sum_old
        x[i] = old[i] + omega * inverse[i] * (b[k] - sum_old - change)


@kernel(
    f"{MATRIX} in T r[k]; inout T p[k]; inout T t[n]; float64 omega; float64 change; int64 first",
    split="k",
    types=INDICES,
)
def backward_color(indptr, indices, data, at, inverse, r, p, t, omega, change, first, start, stop):
    """p ← D' r + change p,  t = (D' + U)⁻¹ p."""
    for k in range(start, stop):
        i = first + k
        p[k] = data[at[i]] / omega * r[k] + change * p[k]
        t[i] = omega * inverse[i] * (p[k] - row_product(at[i] + 1, indptr[i + 1], indices, data, t))


@kernel(
    f"{MATRIX} in T r[n]; in T p[k]; in T t[k]; inout T w[n]; out T residual[k]; float64 omega; "
    f"int64 first",
    split="k",
    types=INDICES,
)
def forward_color(
    indptr, indices, data, at, inverse, r, p, t, w, residual, omega, first, start, stop
):
    """w = (D' + L)⁻¹ (p - (2 D' - D) t) and (D' + L) r."""
    for k in range(start, stop):
        i = first + k
        diagonal = np.float64(data[at[i]])
        residual[k] = diagonal / omega * r[i] + row_product(indptr[i], at[i], indices, data, r)
        w[i] = (
            omega
            * inverse[i]
            * (
                p[k]
                - (2 / omega - 1) * diagonal * t[k]
                - row_product(indptr[i], at[i], indices, data, w)
            )
        )
