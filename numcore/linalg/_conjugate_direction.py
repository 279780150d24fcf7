"""Conjugate directions from any source: a solver of A x = b for symmetric positive definite A, and
a small network that learns directions.

A cheap map d = f(r / ‖r‖) that points roughly along A⁻¹ r, a smoother, a coarse solve, a trained
network, need be neither linear nor symmetric. Made A-orthogonal to the last few directions and
followed by an exact line search, it gives a solver whose error, measured by A, never grows; with f
the identity it is the conjugate gradient method. A. Kaneda, O. Akar, J. Chen, V. A. Trevino Kala,
D. Hyde, J. Teran, "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems", ICML
2023.
"""

import contextlib
import math

import numpy as np

from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import device_of, float_dtype, on_device, routine
from ..kernel import kernel
from ..progress import progress_bar
from ..random import key_from_rng
from ._csr import CSR, as_csr
from ._relaxation import SolveResult
from ._sparse import INDICES, row_product, spmv

BLOCK = 2048  # rows whose sums are added up to one
SMALLEST_RITZ = 1e-8  # below it an eigenvalue is taken for 0


# --- the solver -----------------------------------------------------------------------------------


@routine
def conjugate_direction_solve(
    a,
    b,
    direction,
    *,
    x0=None,
    tol=1e-4,
    max_iter=100,
    num_orthogonal=2,
    callback=None,
    progress=False,
):
    """Solve A x = b with directions from a callable, made A-orthogonal to the last ones.

    Parameters
    ----------
    a : (n, n) array, CSR, sparse matrix of SciPy or CuPy, or callable
        Symmetric and positive definite; a callable maps v (n,) to A v, a new array each time.
    b : (n,) array, float32 or float64
    direction : callable
        Maps the residual, scaled to length 1, to a direction (n,). It must not change its argument.
    x0 : (n,) array, optional
        Where to start; 0 by default.
    tol : float
        Ends when ‖b - A x‖ <= tol ‖b - A x0‖.
    max_iter : int
    num_orthogonal : int
        How many of the last directions a new one is made A-orthogonal to; 0 is steepest descent
        along `direction`.
    callback : callable, optional
        ``callback(iteration, x, residual_norm)`` after every iteration; the solver ends when it
        returns True.
    progress : bool
        Show a progress bar (needs tqdm).

    Returns
    -------
    SolveResult
        ``x``; ``converged``; ``num_iter``; ``residual_norms``, of true residuals, before the first
        and after every iteration; ``relative_residual``; ``status``: "converged", "max_iter",
        "callback", or "indefinite" where a direction with d·A d < 0 shows that A is not positive
        definite, with ": k fallbacks" behind it if k directions were useless and the residual was
        taken instead.

    Raises
    ------
    ValueError
        Shapes that do not fit, `b` or `x0` not finite, an option out of range, or `direction`
        returns another shape or what is not finite; the message names the iteration.
    TypeError
        Other or mixed dtypes or devices, `direction` or `callback` not callable.

    Notes
    -----
    With p the last directions: ``d ← d - p (d·A p) / (p·A p)``, one after the other,
    ``α = (r·d) / (d·A d)``, ``x ← x + α d``, ``r ← b - A x``. The step minimises the error along d,
    so that ‖x - x*‖_A never grows, whatever d is, and neither scaling d nor changing its sign has
    an effect. Each iteration takes two products with A, one direction, and O(n num_orthogonal)
    operations; memory: 2 num_orthogonal + 6 vectors.

    References
    ----------
    A. Kaneda, O. Akar, J. Chen, V. A. Trevino Kala, D. Hyde, J. Teran, "A Deep Conjugate Direction
    Method for Iteratively Solving Linear Systems", ICML 2023, algorithm 1.

    Examples
    --------
    >>> a = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> result = conjugate_direction_solve(a, np.array([3.0, 4.0]), lambda r: r, tol=1e-12)
    >>> result.x.round(12), result.num_iter
    (array([1., 1.]), 2)
    """
    xp, (b, x0) = on_device(b=b, x0=x0)
    dtype = float_dtype(b=b, x0=x0)
    if b is None or b.ndim != 1:
        raise ValueError(f"b must have shape (n,) (got {None if b is None else b.shape})")
    operator = _Operator(xp, a, b)
    for name, function in (("direction", direction), ("callback", callback)):
        if not callable(function) and (function is not None or name == "direction"):
            raise TypeError(f"{name} must be callable (got {type(function).__name__})")
    tol, max_iter = (
        checked_number("tol", tol, above=0),
        checked_count("max_iter", max_iter, least=1),
    )
    kept = checked_count("num_orthogonal", num_orthogonal)
    if x0 is not None and x0.shape != b.shape:
        raise ValueError(f"x0 must have the shape of b, {b.shape} (got {x0.shape})")
    for name, array in (("b", b), ("x0", x0)):
        if array is not None and not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
    x = xp.zeros(b.shape, dtype) if x0 is None else xp.ascontiguousarray(x0).copy()
    r, norm = (
        (b.copy(), math.sqrt(_sums(xp, operator.b, operator.b)[0]))
        if x0 is None
        else operator.residual(x)
    )
    norms, last, fallbacks, status = [norm], [], 0, "max_iter"
    goal, eps = tol * norms[0], float(np.finfo(dtype).eps)
    with progress_bar(max_iter, "iterations") if progress else contextlib.nullcontext() as bar:
        while len(norms) <= max_iter:
            if norms[-1] <= goal:
                status = "converged"
                break
            unit = r / dtype.type(norms[-1])
            d = direction(unit)
            if type(d) is not type(b) or d.shape != b.shape or d.dtype.kind != "f":
                raise _bad_direction(d, b, len(norms))
            p, w, curvature, length = _orthogonal(xp, operator, d.astype(dtype, copy=False), last)
            if not math.isfinite(curvature):
                raise _bad_direction(d, b, len(norms))
            if abs(curvature) <= eps * length:  # a useless direction: steepest descent instead
                fallbacks += 1
                p, w, curvature, _ = _orthogonal(xp, operator, unit, last)
            if not curvature > 0:
                status = "indefinite"
                break
            add_multiple(p, x, _sums(xp, r, p)[1] / curvature)
            r, norm = operator.residual(x)
            norms.append(norm)
            last = [*last, (p, w, curvature)][-kept:] if kept else []
            if progress:
                bar.update(1)
            if callback is not None and callback(len(norms) - 1, x, norms[-1]) is True:
                status = "callback"
                break
        if norms[-1] <= goal:
            status = "converged"
    relative = norms[-1] / norms[0] if norms[0] else 0.0
    return SolveResult(
        x,
        status == "converged",
        len(norms) - 1,
        np.array(norms),
        relative,
        status + (f": {fallbacks} fallbacks" if fallbacks else ""),
    )


def _orthogonal(xp, operator, d, last):
    """A copy of d made A-orthogonal to the last directions, with A d, d·A d and ‖d‖ ‖A d‖."""
    d = d.copy()
    for p, w, curvature in last:
        add_multiple(p, d, -_sums(xp, d, w)[1] / curvature)
    return d, *operator.product(d)


class _Operator:
    """A and b: products with A and residuals, with the sums that come with them; by one kernel for
    a CSR matrix."""

    def __init__(self, xp, a, b):
        self.xp, self.b, self.multiply = xp, xp.ascontiguousarray(b), _product(a, b)
        self.matrix = (
            None
            if callable(a) or device_of(a) is not None or isinstance(a, (list, tuple))
            else as_csr(a)
        )

    def product(self, x):
        """A x, x·A x, and ‖x‖ ‖A x‖."""
        if self.matrix is not None:
            y, (own, both, squares) = self._rows(x, self.b[:0], 1.0)
        else:
            y = self.xp.ascontiguousarray(self.multiply(x))
            own, both, squares = _sums(self.xp, x, y)
        return y, both, math.sqrt(own) * math.sqrt(squares)

    def residual(self, x):
        """b - A x and its norm."""
        if self.matrix is not None:
            r, sums = self._rows(x, self.b, -1.0)
        else:
            r = self.b - self.multiply(x)
            sums = _sums(self.xp, r, r)
        return r, math.sqrt(sums[2])

    def _rows(self, x, b, sign):
        a, y, parts = self.matrix, self.xp.empty_like(x), self.xp.empty((-(-len(x) // BLOCK), 3))
        rows_and_sums(a.indptr, a.indices, a.data, x, b, sign, y, parts)
        return y, parts.sum(axis=0).tolist()


def _sums(xp, x, y):
    """x·x, x·y and y·y in float64."""
    parts = xp.empty((-(-len(x) // BLOCK), 3))
    sums_of_products(x, y, parts)
    return parts.sum(axis=0).tolist()


def _bad_direction(d, b, iteration):
    got = f"{type(d).__name__} of shape {getattr(d, 'shape', None)}, dtype {getattr(d, 'dtype', None)}"  # noqa: E501
    return ValueError(
        f"direction must return a finite {type(b).__name__} of shape {b.shape} (got {got} in "
        f"iteration {iteration})"
    )


def _product(a, b=None):
    """v → A v for (n,) arrays; for matrices, (n, k) arrays too. `b` is what the shape must fit."""
    if callable(a) and not isinstance(a, CSR):

        def product(v):
            w = a(v)
            if type(w) is not type(v) or w.shape != v.shape:
                raise ValueError(
                    f"a must return an array like its argument, {v.shape} (got "
                    f"{getattr(w, 'shape', type(w).__name__)})"
                )
            return w

        return product
    if device_of(a) is not None or isinstance(a, (list, tuple)):
        _, (a,) = on_device(a=a)
        matrix, product = a, lambda v: a @ v
    else:
        a = as_csr(a)
        matrix, product = a.data, lambda v: spmv(a, v)
    if len(a.shape) != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"a must be square (got shape {a.shape})")
    if b is not None:
        on_device(a=matrix, b=b)
        float_dtype(a=matrix, b=b)
        if b.shape != a.shape[:1]:
            raise ValueError(f"b must have shape ({a.shape[0]},) (got {b.shape})")
    return product


# --- what a network learns from -------------------------------------------------------------------


@routine
def ritz_training_set(a, num_vectors, size, *, amplify=9.0, low_fraction=0.5, theta=0, rng=None):
    """Right-hand sides of length 1 that are rich in the low eigenvectors of A, which iterations
    find hard.

    Parameters
    ----------
    a : (n, n) array of float64, CSR, or sparse matrix of SciPy or CuPy
        Symmetric.
    num_vectors : int
        Lanczos steps m, 1 <= m <= n.
    size : int
        How many right-hand sides.
    amplify : float
        Factor of the coefficients of the lower Ritz vectors.
    low_fraction : float
        Share of the Ritz vectors, from the lowest, that are amplified; in [0, 1].
    theta : int
        How many more.
    rng : None, int or numpy.random.Generator, optional

    Returns
    -------
    (size, n) array of float32
        Rows of length 1: random combinations of approximate eigenvectors (Ritz vectors) of A, those
        of eigenvalue 0 left out.

    Raises
    ------
    ValueError
        `a` is not square, an option is out of range, or A is zero.
    TypeError
        `a` is no matrix of float64.

    Notes
    -----
    m products with A and O(m² n) operations, as the vectors are made orthogonal to all before;
    memory m n numbers.

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
    n, xp = _matrix_size(a)
    m, size = (
        checked_count("num_vectors", num_vectors, least=1, most=max(n, 1)),
        checked_count("size", size),
    )
    amplify, low_fraction = (
        checked_number("amplify", amplify),
        checked_number("low_fraction", low_fraction, least=0, most=1),
    )
    theta, rng = checked_count("theta", theta), np.random.default_rng(key_from_rng(rng))
    product = _product(a)
    q, t = _lanczos(xp, product, product(xp.asarray(rng.standard_normal(n))), m)
    values, vectors = np.linalg.eigh(t)
    vectors = vectors[:, values > SMALLEST_RITZ * max(abs(values).max(initial=0), 1e-300)]
    if not vectors.size:
        raise ValueError("a must not be zero (got no eigenvalue above 0)")
    coefficients = rng.standard_normal((size, vectors.shape[1]))
    coefficients[:, : math.floor(vectors.shape[1] * low_fraction) + theta] *= amplify
    samples = xp.asarray(coefficients @ vectors.T) @ q
    return (
        samples
        / xp.maximum(xp.linalg.norm(samples, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    ).astype(np.float32)


def _matrix_size(a):
    if device_of(a) is None:
        a = as_csr(a)
        data = a.data
    else:
        data = a
    xp, (data,) = on_device(a=data)
    if data.dtype != np.float64:
        raise TypeError(f"a must have dtype float64 (got {data.dtype})")
    if len(a.shape) != 2 or a.shape[0] != a.shape[1] or not a.shape[0]:
        raise ValueError(f"a must be square and not empty (got shape {a.shape})")
    return a.shape[0], xp


def _lanczos(xp, product, v, m):
    """Q (k, n) with orthonormal rows and the tridiagonal T = Q A Qᵀ, k <= m: fewer where an
    invariant subspace was found."""
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
def direction_loss(a, prediction, target):
    """How much of the residual b is left after the best step along z: ‖b - α A z‖², and its
    gradient by z.

    Parameters
    ----------
    a : (n, n) array, CSR, sparse matrix of SciPy or CuPy, or callable
        Symmetric; a callable maps v (n,) to A v.
    prediction : (B, n) array, float32 or float64
        Directions z.
    target : (B, n) array
        Residuals b, of length 1.

    Returns
    -------
    loss : scalar
        Mean over the batch, of the dtype of the arrays; 0 where A z is parallel to b. It may exceed
        ‖b‖²: the step is best for the error measured by A, not for the residual.
    grad : (B, n) array
        By `prediction`; orthogonal to it, row by row, as the loss does not depend on its length.

    Raises
    ------
    ValueError
        Shapes that do not fit.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    With w = A z, s = z·b, t = z·w, α = s / t and e = b - α w:
    ``∂‖e‖²/∂z = -2 α A e - 2 (e·w) (b / t - 2 (s / t²) w)``. A row with t = 0, for which there is
    no best step, counts with α = 0 and the gradient 0. Two products with A.

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
    xp, (z, b) = on_device(prediction=prediction, target=target)
    dtype = float_dtype(prediction=z, target=b)
    if z.ndim != 2 or z.shape != b.shape:
        raise ValueError(
            f"prediction and target must have one shape (B, n) (got {z.shape} and {b.shape})"
        )
    product = _product(a, b[0] if len(b) else xp.zeros(b.shape[1], dtype))
    rows = _by_rows(xp, product, callable(a) and not isinstance(a, CSR))
    w = rows(z)
    s, t = (xp.einsum("ij,ij->i", z, other)[:, None] for other in (b, w))
    usable = t != 0
    inverse = usable / xp.where(usable, t, 1)
    alpha = s * inverse
    e = b - alpha * w
    slope = xp.einsum("ij,ij->i", e, w)[:, None]
    grad = -2 * (alpha * rows(e) + slope * (b * inverse - 2 * alpha * inverse * w))
    count = dtype.type(max(len(z), 1))
    return (e * e).sum() / count, (grad / count).astype(dtype)


def _by_rows(xp, product, one_by_one):
    """v (B, n) → rows A v."""
    if one_by_one:
        return lambda v: xp.stack([product(row) for row in v]) if len(v) else v
    return lambda v: xp.ascontiguousarray(product(xp.ascontiguousarray(v.T)).T)


# --- the network ----------------------------------------------------------------------------------


class DirectionNetwork:
    """A small convolutional network on a grid, from a unit residual to a direction; trained without
    solutions.

    Parameters
    ----------
    shape : (int, int) or (int, int, int)
        The grid that it is trained on, of sides that are multiples of 2**num_levels.
    num_filters : int
        Channels of all hidden layers.
    num_levels : int
        1 or 2: how often the grid is halved.
    rng : None, int or numpy.random.Generator, optional
        Makes the weights.

    Attributes
    ----------
    parameters : list of arrays
        float32; changed in place by training.
    loss_history_ : list of float
        The loss of every training step so far.

    Raises
    ------
    ValueError
        A shape of other dimensions, sides that are no such multiples, options out of range.

    Notes
    -----
    Convolutions are three wide, with zeros around. Residual pairs ``a + relu(conv(relu(conv(a))))``
    work on the halved grid, and on one halved again, whose result is interpolated linearly and
    added; the whole grid's features are added at last. A residual goes in scaled to a root mean
    square of 1, so that the network sees numbers of one size on every grid: it may be used on other
    grids than its own, of sides that are such multiples. A three-dimensional convolution is three
    two-dimensional ones of shifted planes, added.

    References
    ----------
    A. Kaneda et al., "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems",
    ICML 2023, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.linalg import DirectionNetwork
    >>> network = DirectionNetwork((8, 8), num_filters=4, rng=0)
    >>> network(np.ones(64) / 8).shape
    (64,)
    """

    def __init__(self, shape, *, num_filters=16, num_levels=2, rng=None):
        try:
            self.shape = tuple(checked_count("shape", side, least=1) for side in shape)
        except TypeError as error:
            raise TypeError(f"shape must be a sequence of integers ({error})") from None
        if len(self.shape) not in (2, 3):
            raise ValueError(f"shape must have 2 or 3 sides (got {self.shape})")
        self.num_filters = checked_count("num_filters", num_filters, least=1)
        self.num_levels = checked_count("num_levels", num_levels, least=1, most=2)
        self._check_sides(self.shape)
        rng, f, dims = np.random.default_rng(key_from_rng(rng)), self.num_filters, len(self.shape)
        self.parameters, self.loss_history_ = [], []
        pairs = 6 if self.num_levels == 2 else 4
        for out, into, size in [(f, 1, 3), *[(f, f, 3)] * (4 + 2 * pairs), (1, f, 1)]:
            scale = 1 / math.sqrt(3 * into * size**dims)  # small, since residual pairs add up
            self.parameters.append(
                (scale * rng.standard_normal((out, into, *[size] * dims))).astype(np.float32)
            )
            self.parameters.append(np.zeros(out, np.float32))

    def _check_sides(self, sides):
        step = 2**self.num_levels
        if any(side % step for side in sides):
            raise ValueError(
                f"shape must have sides that are multiples of {step} (got {tuple(sides)})"
            )

    # --- forward and backward: a tape of functions from the gradient of an output to that of its input  # noqa: E501

    def _forward(self, x):
        """x (B, 1, *grid) → (B, 1, *grid), and a function from its gradient to the gradients of the
        parameters."""
        from ..nn import avg_pool2d, avg_pool2d_vjp, conv2d, conv2d_vjp

        ops = _Operations(x.ndim - 2, conv2d, conv2d_vjp, avg_pool2d, avg_pool2d_vjp)
        weights = iter(zip(self.parameters[::2], self.parameters[1::2], strict=True))
        tape = _Tape(ops)
        a = tape.conv(tape.leaf(x), *next(weights))
        a = tape.relu(tape.conv(a, *next(weights)))
        b = tape.relu(tape.conv(a, *next(weights)))
        a = tape.add(tape.relu(tape.conv(b, *next(weights))), a)
        b = tape.relu(tape.conv(a, *next(weights)))
        a = self._pairs(tape, tape.pool(b), weights, 2)
        if self.num_levels == 2:
            a = tape.add(tape.double(self._pairs(tape, tape.pool(a), weights, 2)), a)
        a = self._pairs(tape, tape.add(tape.double(a), b), weights, 2)
        return tape, tape.conv(a, *next(weights))

    @staticmethod
    def _pairs(tape, a, weights, count):
        for _ in range(count):
            inner = tape.relu(tape.conv(a, *next(weights)))
            a = tape.add(tape.relu(tape.conv(inner, *next(weights))), a)
        return a

    def predict(self, r):
        """Directions (..., n) for residuals (..., n) of length 1, n being the points of a grid of
        the network's proportions."""
        _, (r,) = on_device(r=r)
        float_dtype(r=r)
        grid = self._grid(r.shape[-1])
        x = (r.reshape(-1, 1, *grid) * math.sqrt(r.shape[-1])).astype(np.float32)
        tape, out = self._forward(x)
        return tape.values[out].reshape(r.shape).astype(r.dtype)

    __call__ = predict

    def _grid(self, n):
        """The grid of n points with the proportions of `shape`."""
        scale = (n / math.prod(self.shape)) ** (1 / len(self.shape))
        sides = tuple(round(side * scale) for side in self.shape)
        if math.prod(sides) != n or not n:
            raise ValueError(
                f"r must have the points of a grid of the proportions of {self.shape} (got {n})"
            )
        self._check_sides(sides)
        return sides

    def fit(
        self,
        a,
        samples,
        *,
        max_iter,
        batch_size=16,
        learning_rate=1e-3,
        schedule="cosine",
        rng=None,
        callback=None,
        progress=False,
    ):
        """Train on right-hand sides, by Adam on `direction_loss`.

        Parameters
        ----------
        a : (n, n) matrix or callable
            As for `direction_loss`; a matrix is converted to float32.
        samples : (size, n) array
            Right-hand sides of length 1, as from `ritz_training_set`.
        max_iter : int
            Steps.
        batch_size : int
        learning_rate : float
        schedule : {"cosine", "constant"}
            The rate falls to 0 along half a cosine, or stays.
        rng : None, int or numpy.random.Generator, optional
            Chooses the batches.
        callback : callable, optional
            ``callback(step, loss)``; training ends when it returns True.
        progress : bool

        Returns
        -------
        DirectionNetwork
            Itself.
        """
        from ..nn import Adam

        xp, (samples,) = on_device(samples=samples)
        float_dtype(samples=samples)
        if samples.ndim != 2 or samples.shape[1] != math.prod(self.shape) or not len(samples):
            raise ValueError(
                f"samples must have shape (size, {math.prod(self.shape)}) with size >= 1 (got "
                f"{samples.shape})"
            )
        steps, batch_size = (
            checked_count("max_iter", max_iter, least=1),
            checked_count("batch_size", batch_size, least=1),
        )
        rate = checked_number("learning_rate", learning_rate, above=0)
        checked_choice("schedule", schedule, ("cosine", "constant"))
        rng, a = np.random.default_rng(key_from_rng(rng)), _single(a)
        samples, adam = samples.astype(np.float32), Adam(self.parameters, learning_rate=rate)
        with progress_bar(steps, "steps") if progress else contextlib.nullcontext() as bar:
            for step in range(steps):
                batch = samples[rng.integers(len(samples), size=batch_size)]
                tape, out = self._forward(
                    batch.reshape(batch_size, 1, *self.shape)
                    * np.float32(math.sqrt(batch.shape[1]))
                )
                z = tape.values[out]
                loss, grad = direction_loss(a, z.reshape(batch.shape), batch)
                if schedule == "cosine":
                    adam.learning_rate = rate * max(
                        (1 + math.cos(math.pi * step / steps)) / 2, 1e-9
                    )
                adam.step(tape.gradients(out, grad.reshape(z.shape)))
                self.loss_history_.append(float(loss))
                if progress:
                    bar.update(1)
                if callback is not None and callback(step, self.loss_history_[-1]) is True:
                    break
        return self


def _single(a):
    """A matrix in float32; callables as they are."""
    if callable(a) and not isinstance(a, CSR):
        return a
    if device_of(a) is not None:
        return a.astype(np.float32)
    a = as_csr(a)
    return CSR(a.indptr, a.indices, a.data.astype(np.float32), a.shape)


class _Tape:
    """Values in the order of their making, and how to go back from each to those that it was made
    of."""

    def __init__(self, ops):
        self.ops, self.values, self.back, self.n_parameters = ops, [], [], 0

    def _new(self, value, back):
        self.values.append(value)
        self.back.append(back)
        return len(self.values) - 1

    def leaf(self, x):
        return self._new(x, None)

    def conv(self, i, w, b):
        y, cache = self.ops.conv(self.values[i], w, b)
        first, self.n_parameters = self.n_parameters, self.n_parameters + 2

        def back(g, grads, parameters):
            grad_x, parameters[first], parameters[first + 1] = self.ops.conv_vjp(g, cache)
            _accumulate(grads, i, grad_x)

        return self._new(y, back)

    def relu(self, i):
        y = self.values[i] * (self.values[i] > 0)
        return self._new(y, lambda g, grads, parameters: _accumulate(grads, i, g * (y > 0)))

    def add(self, i, j):
        def back(g, grads, parameters):
            _accumulate(grads, i, g)
            _accumulate(grads, j, g)

        return self._new(self.values[i] + self.values[j], back)

    def pool(self, i):
        y, cache = self.ops.pool(self.values[i])
        return self._new(
            y, lambda g, grads, parameters: _accumulate(grads, i, self.ops.pool_vjp(g, cache))
        )

    def double(self, i):
        return self._new(
            self.ops.double(self.values[i]),
            lambda g, grads, parameters: _accumulate(grads, i, self.ops.double_vjp(g)),
        )

    def gradients(self, i, grad):
        """Of all parameters, in the order of the convolutions."""
        grads, parameters = {i: grad}, [None] * self.n_parameters
        for node in range(i, -1, -1):
            if self.back[node] is not None and node in grads:
                self.back[node](grads.pop(node), grads, parameters)
        return parameters


def _accumulate(grads, i, g):
    grads[i] = grads[i] + g if i in grads else g


class _Operations:
    """Convolution, pooling and interpolation on two- and three-dimensional grids, made of
    two-dimensional ones."""

    def __init__(self, dims, conv2d, conv2d_vjp, avg_pool2d, avg_pool2d_vjp):
        self.dims, self.conv2d, self.conv2d_vjp, self.pool2d, self.pool2d_vjp = (
            dims,
            conv2d,
            conv2d_vjp,
            avg_pool2d,
            avg_pool2d_vjp,
        )

    def conv(self, x, w, b):
        padding = w.shape[-1] // 2
        if self.dims == 2:
            return self.conv2d(x, w, b, padding=padding)
        y, caches, depth = None, [], x.shape[2]
        for tap in range(w.shape[2]):  # plane z sees plane z + tap - padding
            to, of = _shifted(depth, tap - padding)
            part, cache = self.conv2d(
                _planes(x[:, :, of]), w[:, :, tap], b if tap == padding else None, padding=padding
            )
            caches.append((to, of, cache))
            if y is None:
                y = part.dtype.type(0) * _zeros_like(x, (len(x), len(w), *x.shape[2:]))
            y[:, :, to] += _volumes(part, len(x))
        return y, (x, caches)

    def conv_vjp(self, g, cache):
        if self.dims == 2:
            return self.conv2d_vjp(g, cache)
        x, caches = cache
        grad_x, grads_w, grad_b = _zeros_like(x, x.shape), [], None
        for to, of, inner in caches:
            part, grad_w, bias = self.conv2d_vjp(_planes(g[:, :, to]), inner)
            grad_x[:, :, of] += _volumes(part, len(x))
            grads_w.append(grad_w[:, :, None])
            grad_b = bias if bias is not None else grad_b
        xp, _ = on_device(x=x)
        return grad_x, xp.concatenate(grads_w, axis=2), grad_b

    def pool(self, x):
        if self.dims == 2:
            return self.pool2d(x, 2)
        y, cache = self.pool2d(_planes(x), 2)
        y = _volumes(y, len(x))
        return (y[:, :, ::2] + y[:, :, 1::2]) / 2, (cache, len(x))

    def pool_vjp(self, g, cache):
        if self.dims == 2:
            return self.pool2d_vjp(g, cache)
        xp, _ = on_device(g=g)
        inner, count = cache
        return _volumes(self.pool2d_vjp(_planes(xp.repeat(g / 2, 2, axis=2)), inner), count)

    def double(self, x):
        for axis in range(2, 2 + self.dims):
            x = _interpolated(x, axis)
        return x

    def double_vjp(self, g):
        for axis in range(1 + self.dims, 1, -1):
            g = _interpolated_vjp(g, axis)
        return g


def _zeros_like(x, shape):
    xp, _ = on_device(x=x)
    return xp.zeros(shape, x.dtype)


def _planes(x):
    """(B, c, depth, h, w) → (B depth, c, h, w)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], *x.shape[3:])


def _volumes(x, count):
    """The reverse of _planes."""
    return x.reshape(count, -1, *x.shape[1:]).swapaxes(1, 2)


def _shifted(depth, shift):
    """Which planes are written and which are read when plane z reads z + shift."""
    return slice(max(0, -shift), depth - max(0, shift)), slice(
        max(0, shift), depth - max(0, -shift)
    )


def _interpolated(x, axis):
    """Twice as many points along an axis: each a quarter of the way to its old neighbour, the
    outermost ones as they were."""
    xp, _ = on_device(x=x)
    x = xp.moveaxis(x, axis, -1)
    before = xp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    after = xp.concatenate([x[..., 1:], x[..., -1:]], axis=-1)
    y = xp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=-1)
    return xp.ascontiguousarray(xp.moveaxis(y.reshape(*x.shape[:-1], 2 * x.shape[-1]), -1, axis))


def _interpolated_vjp(g, axis):
    xp, _ = on_device(g=g)
    g = xp.moveaxis(g, axis, -1)
    even, odd = g[..., ::2], g[..., 1::2]
    x = 0.75 * (even + odd)
    x[..., :-1] += 0.25 * even[..., 1:]
    x[..., :1] += 0.25 * even[..., :1]
    x[..., 1:] += 0.25 * odd[..., :-1]
    x[..., -1:] += 0.25 * odd[..., -1:]
    return xp.moveaxis(x, -1, axis)


# --- kernels --------------------------------------------------------------------------------------


@kernel("in T x[n]; inout T y[n]; float64 factor", split="n")
def add_multiple(x, y, factor, start, stop):
    """y ← y + factor x."""
    source, target, factor = x[start:stop], y[start:stop], x.dtype.type(factor)
    for i in range(len(source)):
        target[i] += factor * source[i]


@kernel("in T x[n]; in T y[n]; out float64 parts[g, 3]", split="g", gpu="block")
def sums_of_products(x, y, parts, start, stop):
    """For each block of numbers Σ x², Σ x y and Σ y²."""
    for g in range(start, stop):
        own, both, squares = 0.0, 0.0, 0.0
        for i in range(np.uintp(g * BLOCK), np.uintp(min((g + 1) * BLOCK, x.size))):
            one, other = np.float64(x[i]), np.float64(y[i])
            own, both, squares = own + one * one, both + one * other, squares + other * other
        parts[g, 0], parts[g, 1], parts[g, 2] = own, both, squares


@kernel(
    "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in T x[n]; in T b[q]; float64 sign; "
    "out T y[n]; out float64 parts[g, 3]",
    split="g",
    gpu="block",
    types=INDICES,
)
def rows_and_sums(indptr, indices, data, x, b, sign, y, parts, start, stop):
    """y = b + sign A x, with b = 0 where it is empty; for each block of rows Σ x², Σ x y and Σ
    y²."""
    for g in range(start, stop):
        own, both, squares = 0.0, 0.0, 0.0
        for i in range(np.uintp(g * BLOCK), np.uintp(min((g + 1) * BLOCK, x.size))):
            total = sign * row_product(indptr[i], indptr[i + np.uintp(1)], indices, data, x)
            if b.size > 0:
                total += b[i]
            y[i] = total
            one, other = np.float64(x[i]), np.float64(y[i])
            own, both, squares = own + one * one, both + one * other, squares + other * other
        parts[g, 0], parts[g, 1], parts[g, 2] = own, both, squares
