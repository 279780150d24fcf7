"""The solver, its training set, and the loss of a direction."""

import contextlib
import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import (
    RNG,
    Array,
    Float,
    Float64,
    at_least,
    at_most,
    finite,
    nonnegative,
    positive,
    within,
)
from ...dispatch import namespace_of, routine
from ...progress import progress_bar
from ...random import key_from_rng
from .._csr import CSR, CSRLike, Sparse
from .kernels import add_multiple
from .operators import Operator, product_of, products_of_rows, sums

SMALLEST_RITZ = 1e-8  # relative to the largest: a smaller eigenvalue counts as 0

Function: TypeAlias = Callable[[Array], Array]


class ConjugateDirectionResult(NamedTuple):
    """Result of :func:`conjugate_direction_solve`.

    Attributes
    ----------
    x : (n,) array
    converged : bool
    n_iter : int
    reason : {"converged", "max_iter", "callback", "indefinite"}
        Why it stopped. "indefinite": a direction d with d·A d < 0 shows that A is not positive
        definite.
    residual_norms : (n_iter + 1,) NumPy array of float64
        Norms of b - A x, before the first and after every iteration.
    relative_residual : float
        The last norm divided by the first.
    n_fallbacks : int
        Number of iterations in which the direction was unusable and replaced by the residual.
    """

    x: Array
    converged: bool
    n_iter: int
    reason: Literal["converged", "max_iter", "callback", "indefinite"]
    residual_norms: np.ndarray
    relative_residual: float
    n_fallbacks: int


# --- the solver -----------------------------------------------------------------------------------


@routine
def conjugate_direction_solve(
    a: Float[Array, "n n"] | Sparse[CSRLike, "n n"] | Function,
    b: Float[Array, "n", finite],
    direction: Function,
    *,
    x0: Float[Array, "n", finite] | None = None,
    tol: Annotated[float, positive] = 1e-4,
    max_iter: Annotated[int, at_least(1)] = 100,
    n_orthogonal: Annotated[int, nonnegative] = 2,
    callback: Callable[[int, Array, float], bool | None] | None = None,
    progress: bool = False,
) -> ConjugateDirectionResult:
    """Solve A x = b for symmetric positive definite A with search directions from a callable.

    Parameters
    ----------
    a : (n, n) array of float32 or float64 or (n, n) CSR or sparse array or callable
        Symmetric and positive definite; a callable maps v (n,) to A v, a new array each time.
    b : (n,) array of float32 or float64, finite
    direction : callable
        Maps the residual, scaled to length 1, to a direction (n,). It must not change its argument.
    x0 : (n,) array of float32 or float64, finite, optional
        The starting point; 0 by default.
    tol : float > 0, default 0.0001
        Stop when ‖b - A x‖ <= tol ‖b - A x0‖.
    max_iter : int >= 1, default 100
    n_orthogonal : int >= 0, default 2
        Number of previous directions that a new one is made A-orthogonal to; 0 is steepest descent
        along `direction`.
    callback : callable, optional
        ``callback(n_iter, x, residual_norm)`` is called after every iteration; the solver stops
        when it returns True.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    ConjugateDirectionResult

    Raises
    ------
    ValueError
        Shapes do not match, `b` or `x0` is not finite, an option is out of range, or `direction`
        returns another shape or values that are not finite; the message names the iteration.
    TypeError
        Other or mixed dtypes or devices, `direction` or `callback` not callable.

    Notes
    -----
    For each previous direction p in turn, ``d ← d - p (d·A p) / (p·A p)``; then ``α = (r·d) / (d·A
    d)``, ``x ← x + α d``, ``r ← b - A x``. The step minimizes the error along d, so ‖x - x*‖_A
    never grows for any d, and the scale and sign of d have no effect. Each iteration costs two
    products with A, one direction, and O(n n_orthogonal) operations; memory: 2 n_orthogonal + 6
    vectors.

    References
    ----------
    A. Kaneda, O. Akar, J. Chen, V. A. Trevino Kala, D. Hyde, J. Teran, "A Deep Conjugate Direction
    Method for Iteratively Solving Linear Systems", ICML 2023, algorithm 1.

    Examples
    --------
    >>> a = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> result = conjugate_direction_solve(a, np.array([3.0, 4.0]), lambda r: r, tol=1e-12)
    >>> result.x.round(12), result.n_iter
    (array([1., 1.]), 2)
    """
    search, reason = _Search(Operator(a, b), direction, x0, n_orthogonal), "max_iter"
    goal = tol * search.norms[0]
    with progress_bar(max_iter, "iterations") if progress else contextlib.nullcontext() as bar:
        while search.n_iter < max_iter and search.norms[-1] > goal:
            if not search.advance():
                reason = "indefinite"
                break
            if bar is not None:
                bar.update(1)
            if callback is not None and callback(search.n_iter, search.x, search.norms[-1]) is True:
                reason = "callback"
                break
    first, last = search.norms[0], search.norms[-1]
    converged = last <= goal
    return ConjugateDirectionResult(
        search.x,
        converged,
        search.n_iter,
        "converged" if converged else reason,
        np.array(search.norms),
        last / first if first else 0.0,
        search.n_fallbacks,
    )


class _Search:
    """The current x, its residual, and the previous directions."""

    def __init__(self, operator, direction, x0, n_orthogonal):
        self.operator, self.direction, self.n_orthogonal = operator, direction, n_orthogonal
        xp = operator.xp
        start = None if x0 is None else xp.ascontiguousarray(x0).copy()
        self.x = xp.zeros(operator.b.shape, operator.b.dtype) if start is None else start
        self.r, norm = operator.residual(start)
        self.norms, self.last, self.n_fallbacks = [norm], [], 0

    @property
    def n_iter(self):
        return len(self.norms) - 1

    def advance(self):
        """Do one iteration; False if A turns out not to be positive definite."""
        b, dtype = self.operator.b, self.x.dtype
        unit = self.r / dtype.type(self.norms[-1])
        d = self.direction(unit)
        if type(d) is not type(b) or d.shape != b.shape or d.dtype.kind != "f":
            raise self._bad_direction(d)
        p, w, curvature, length = self._orthogonal(d.astype(dtype, copy=False))
        if not math.isfinite(curvature):
            raise self._bad_direction(d)
        if abs(curvature) <= float(np.finfo(dtype).eps) * length:  # unusable: steepest descent
            self.n_fallbacks += 1
            p, w, curvature, _ = self._orthogonal(unit)
        if not curvature > 0:
            return False
        add_multiple(p, self.x, sums(self.r, p)[1] / curvature)
        self.r, norm = self.operator.residual(self.x)
        self.norms.append(norm)
        if self.n_orthogonal:
            self.last = [*self.last, (p, w, curvature)][-self.n_orthogonal :]
        return True

    def _orthogonal(self, d):
        """A copy of d, A-orthogonal to the previous directions, with A d, d·A d and ‖d‖ ‖A d‖."""
        d = d.copy()
        for p, w, curvature in self.last:
            add_multiple(p, d, -sums(d, w)[1] / curvature)
        return d, *self.operator.product(d)

    def _bad_direction(self, d):
        b = self.operator.b
        shape, dtype = getattr(d, "shape", None), getattr(d, "dtype", None)
        return ValueError(
            f"direction must return a finite {type(b).__name__} of shape {b.shape} (got "
            f"{type(d).__name__} of shape {shape}, dtype {dtype} in iteration {len(self.norms)})"
        )


# --- training -------------------------------------------------------------------------------------


@routine
def ritz_training_set(
    a: Float64[Array, "n n"] | Sparse[CSRLike, "n n"],
    n_vectors: Annotated[int, at_least(1), at_most("n")],
    n_samples: Annotated[int, nonnegative],
    *,
    amplify: float = 9.0,
    low_fraction: Annotated[float, within(0, 1)] = 0.5,
    theta: Annotated[int, nonnegative] = 0,
    rng: RNG = None,
) -> Array:
    """Sample unit right-hand sides rich in the low eigenvectors of A, where iterative solvers are
    slow.

    Parameters
    ----------
    a : (n, n) array of float64 or (n, n) CSR or sparse array
        Symmetric.
    n_vectors : int >= 1 and <= n
        Lanczos steps m.
    n_samples : int >= 0
        Number of right-hand sides.
    amplify : float, default 9.0
        Factor that multiplies the coefficients of the lower Ritz vectors.
    low_fraction : float in [0, 1], default 0.5
        Fraction of the Ritz vectors, counted from the lowest, that are amplified.
    theta : int >= 0, default 0
        Number of further Ritz vectors that are amplified.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    (n_samples, n) array of float32
        Rows of length 1: random combinations of approximate eigenvectors (Ritz vectors) of A,
        excluding those of eigenvalue 0.

    Raises
    ------
    ValueError
        `a` is not square, an option is out of range, or A is zero.
    TypeError
        `a` is not a matrix of float64.

    Notes
    -----
    m products with A and O(m² n) operations for full reorthogonalization; memory m n numbers.

    References
    ----------
    A. Kaneda et al., "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems",
    ICML 2023, section 4.

    Examples
    --------
    >>> a = np.diag(np.arange(1.0, 9.0))
    >>> samples = ritz_training_set(a, 8, 3, rng=0)
    >>> samples.shape, samples.dtype, bool(np.allclose(np.linalg.norm(samples, axis=1), 1))
    ((3, 8), dtype('float32'), True)
    """
    if a.dtype != np.float64:
        raise TypeError(f"a must have dtype float64 (got {a.dtype})")
    xp, product = namespace_of(a.data if isinstance(a, CSR) else a), product_of(a)
    rng = np.random.default_rng(key_from_rng(rng))
    q, t = _lanczos(xp, product, product(xp.asarray(rng.standard_normal(a.shape[0]))), n_vectors)
    values, vectors = np.linalg.eigh(t)
    vectors = vectors[:, values > SMALLEST_RITZ * max(abs(values).max(initial=0), 1e-300)]
    if not vectors.size:
        raise ValueError("a must not be zero (got no eigenvalue above 0)")
    coefficients = rng.standard_normal((n_samples, vectors.shape[1]))
    coefficients[:, : math.floor(vectors.shape[1] * low_fraction) + theta] *= amplify
    samples = xp.asarray(coefficients @ vectors.T) @ q
    return (
        samples
        / xp.maximum(xp.linalg.norm(samples, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    ).astype(np.float32)


def _lanczos(xp, product, v, m):
    """Q (k, n) with orthonormal rows and the tridiagonal T = Q A Qᵀ; k < m if an invariant subspace
    is found."""
    norm = float(xp.linalg.norm(v))
    q, alpha, beta = [v / norm] if norm else [], [], []
    while q and len(alpha) < m:
        w = product(q[-1])
        alpha.append(float(xp.dot(w, q[-1])))
        basis = xp.stack(q)
        for _ in range(2):  # twice is enough for full orthogonality
            w = w - basis.T @ (basis @ w)
        size = float(xp.linalg.norm(w))
        if size <= 1e-12 * max(map(abs, alpha)) or len(alpha) == m:
            break
        beta.append(size)
        q.append(w / size)
    k = len(alpha)
    return (xp.stack(q[:k]) if k else xp.zeros((0, len(v)))), np.diag(alpha) + np.diag(
        beta[: k - 1], 1
    ) + np.diag(beta[: k - 1], -1)


@routine
def direction_loss(
    a: Float[Array, "n n"] | Sparse[CSRLike, "n n"] | Function,
    prediction: Float[Array, "batch n"],
    target: Float[Array, "batch n"],
) -> tuple[Array, Array]:
    """Squared residual ‖b - α A z‖² after the optimal step along z, and its gradient with respect
    to z.

    Parameters
    ----------
    a : (n, n) array of float32 or float64 or (n, n) CSR or sparse array or callable
        Symmetric; a callable maps v (n,) to A v.
    prediction : (batch, n) array of float32 or float64
        Directions z.
    target : (batch, n) array of float32 or float64
        Residuals b, of length 1.

    Returns
    -------
    loss : scalar
        Mean over the batch, of the dtype of the arrays; 0 if A z is parallel to b. It may exceed
        ‖b‖²: the step minimizes the A-norm of the error, not the residual.
    grad : (B, n) array
        With respect to `prediction`. Each row is orthogonal to that of `prediction`, since the loss
        does not depend on its length.

    Raises
    ------
    ValueError
        Shapes do not match.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    With w = A z, s = z·b, t = z·w, α = s / t and e = b - α w:
    ``∂‖e‖²/∂z = -2 α A e - 2 (e·w) (b / t - 2 (s / t²) w)``. A row with t = 0 has no optimal step
    and counts with α = 0 and gradient 0. Costs two products with A.

    References
    ----------
    A. Kaneda et al., "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems",
    ICML 2023, section 4.

    Examples
    --------
    >>> a, b = np.diag([1.0, 2.0]), np.array([[0.6, 0.8]])
    >>> loss, grad = direction_loss(a, np.array([[0.6, 0.4]]), b)
    >>> bool(abs(loss) < 1e-15)
    True
    """
    xp, z, b = namespace_of(target), prediction, target
    w = products_of_rows(a, z)
    s, t = (xp.einsum("ij,ij->i", z, other)[:, None] for other in (b, w))
    usable = t != 0
    inverse = usable / xp.where(usable, t, 1)
    alpha = s * inverse
    e = b - alpha * w
    slope = xp.einsum("ij,ij->i", e, w)[:, None]
    grad = -2 * (alpha * products_of_rows(a, e) + slope * (b * inverse - 2 * alpha * inverse * w))
    count = z.dtype.type(max(len(z), 1))
    return (e * e).sum() / count, (grad / count).astype(z.dtype)
