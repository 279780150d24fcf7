"""Regression in the ℓp norm, on all rows or on a sample."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, at_least, finite, nonnegative, positive
from ...dispatch import namespace_of, routine
from ...progress import progress_bar
from ...random import key_from_rng
from ...special import exp, log
from .bases import EPS, HIGHEST, basis_of, check_rows, gram_of, norm_of
from .kernels import (
    CLOSE,
    FIRST_POWER,
    LONGEST,
    MOST_TRIALS,
    RAISE,
    ROUNDING,
    SHARPEST,
    UNSMOOTHED,
    smoothing,
)
from .sampling import sample_rows
from .scores import sampling_scores

SMOOTHINGS = (1.0, 0.3, 0.1, 0.1)  # ε by the mean residual, in the steps for the lower bound


class LpResult(NamedTuple):
    """Coefficients, with bounds on the minimum of the norm.

    Attributes
    ----------
    x : (d,) array
    converged : bool
        Whether the bounds met within `tol`.
    n_iter : int
        Number of steps. reason : {"tol", "max_iter", "no_progress", "callback"} Why it stopped;
        "no_progress" if rounding errors prevent any further decrease.
    objective : float
        The norm of the residuals.
    lower_bound : float
        Lower bound on the norm for any coefficients, up to rounding errors.
    """

    x: Float[Array, "d"]
    converged: bool
    n_iter: int
    reason: Literal["tol", "max_iter", "no_progress", "callback"]
    objective: float
    lower_bound: float


@routine
def lp_regression(
    a: Float[Array, "n d", finite],
    b: Float[Array, "n", finite],
    p: Annotated[float, at_least(1)],
    *,
    weights: Float[Array, "n", finite, nonnegative] | None = None,
    sample_size: Annotated[int, at_least(1)] | None = None,
    tol: Annotated[float, positive] = 1e-8,
    max_iter: Annotated[int, at_least(1)] = 200,
    rng: RNG = None,
    callback: Callable[[int, float, float], bool | None] | None = None,
    progress: bool = False,
) -> LpResult:
    """Minimize the ℓp norm of A x - b: robust regression for p = 1, close to minimax regression for
    large p.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1; of any rank.
    b : (n,) array of float32 or float64, finite
    p : float >= 1
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        The norm is (Σ weights \\|A x - b\\|^p)^(1/p).
    sample_size : int >= 1, optional
        Solve on a weighted sample of about this many rows, drawn by ``sampling_scores([a, b], p)``.
    tol : float > 0, default 1e-08
        Stop when objective - lower_bound <= tol · objective.
    max_iter : int >= 1, default 200
        Maximum number of steps.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the sample.
    callback : callable, optional
        ``callback(n_iter, objective, lower_bound)`` is called after every step; the iteration stops
        when it returns True.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    LpResult
        ``x`` (d,) of the dtype of `a`, one of several solutions if the rank of `a` is below d;
        ``objective``, the norm over all rows; and ``lower_bound``, a bound on it for any x, up to
        rounding errors, from a y with Aᵀy = 0: bᵀy / ‖y‖_q. With `sample_size`, ``converged``
        refers to the sampled problem, while ``objective`` and ``lower_bound`` still refer to all
        rows. The bound is then loose for p near 1: by a few percent, and by far more if rows differ
        strongly.

    Raises
    ------
    ValueError
        Entries are not finite, there are no rows, shapes do not match, weights are negative, p < 1,
        or an option is out of range.
    TypeError
        Unsupported or mixed dtypes, arrays on different devices, or a callback that is not
        callable.

    Notes
    -----
    A step costs O(n d²) operations. It takes 3 to 10 steps for p >= 1.5, and 10 to 30 for p = 1. A
    residual at rounding level counts as zero. With `sample_size`, all rows are still read for the
    scores and the objective, and in one to four steps for the lower bound. Computations are in
    float64; memory: n d numbers and a few times n.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023.

    Examples
    --------
    >>> lp_regression(np.ones((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 100.0]), 1).x.round(6)
    array([3.])
    """
    check_rows(a)
    xp, dtype, key = namespace_of(a), a.dtype, key_from_rng(rng)
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if weights is not None:
        scale = weights.astype(np.float64) ** (1 / p)
        a, b = a * scale[:, None], b * scale
    q, t = basis_of(xp, a)
    size = float(xp.abs(b).max()) or 1.0
    bar = progress_bar(max_iter, "steps") if progress else None
    problem = _Problem(xp, q, b / size, p)
    until = _Until(tol, max_iter, size, callback, bar)
    try:
        if sample_size is None or sample_size >= len(b):
            fit = _fit(problem, until)
        else:
            fit = _fit_sample(problem, until, sample_size, np.random.default_rng(key))
    finally:
        if bar is not None:
            bar.close()
    with np.errstate(over="ignore", under="ignore"):
        return LpResult(
            (t @ fit.z * size).astype(dtype),
            fit.reason == "tol",
            fit.n_iter,
            fit.reason,
            size * fit.objective,
            size * fit.lower,
        )


class _Problem(NamedTuple):
    """min ‖Qz - b‖_p with orthonormal columns Q."""

    xp: Any
    q: Any
    b: Any
    p: float


class _Until(NamedTuple):
    """Stopping criteria; norms are multiplied by `size` for the callback."""

    tol: float
    max_iter: int
    size: float
    callback: Any
    bar: Any


class _Fit(NamedTuple):
    """Coefficients z, the norm of Qz - b, a lower bound on its minimum, and why the iteration
    stopped."""

    z: Any
    objective: float
    lower: float
    n_iter: int
    reason: str


def _fit_sample(problem, until, sample_size, rng):
    """Solve on rows drawn by the scores of [Q, b]; the bounds are for all rows."""
    xp, q, b, p = problem
    scores = sampling_scores(xp.concatenate([q, b[:, None]], axis=1), p)
    drawn = sample_rows(scores, sample_size, rng=rng)
    scale = drawn.weights ** (1 / p)
    few, t = basis_of(xp, q[drawn.indices] * scale[:, None])
    fit = _fit(_Problem(xp, few, b[drawn.indices] * scale, p), until)
    z = t @ fit.z
    r = q @ z - b
    objective, top = norm_of(xp, r, p), float(xp.abs(r).max())
    if top == 0:
        return fit._replace(z=z, objective=0.0, lower=0.0)
    lower, mean = 0.0, float(xp.abs(r).mean()) / top
    # steps toward the solution for all rows, where the bound is tightest
    for part in SMOOTHINGS if p < 2 else (0.0,):
        epsilon = max(part * mean, UNSMOOTHED)
        step = _newton(xp, q, r, p, p, epsilon)
        lower = max(lower, step.lower)
        r = r + _line_search(xp, r, step, p, epsilon) * step.r
    return fit._replace(z=z, objective=objective, lower=min(lower, objective))


def _fit(problem, until):
    """Newton's method on smoothed residuals, with the power raised to p from below."""
    xp, q, b, p = problem
    z = q.T @ b
    r, best, best_norm, lower = q @ z - b, z, math.inf, 0.0
    negligible = 8 * len(b) * EPS * norm_of(xp, b, p)
    epsilon, shrink = smoothing(p)
    power, reason, n_iter = min(p, FIRST_POWER), "max_iter", 0
    while n_iter < until.max_iter:
        n_iter += 1
        norm = norm_of(xp, r, p)
        if norm < best_norm:
            best, best_norm = z, norm
        if best_norm <= negligible:
            lower, reason = min(lower, best_norm), "tol"
            break
        step = _newton(xp, q, r, p, power, epsilon)
        lower = min(max(lower, step.lower), best_norm)
        if until.bar is not None:
            until.bar.update()
        stopped = until.callback is not None and (
            until.callback(n_iter, until.size * best_norm, until.size * lower) is True
        )
        if best_norm - lower <= until.tol * best_norm:
            reason = "tol"
            break
        if stopped:
            reason = "callback"
            break
        t = _line_search(xp, r, step, power, epsilon)
        if t == 0 or not math.isfinite(step.decrease):
            reason = "no_progress"
            break
        z, r = z + t * step.z, r + t * step.r
        if p < 2 and (t > 0.5 or step.decrease < 0.01 * epsilon * step.slope):
            epsilon = max(SHARPEST, shrink * epsilon)
        if step.decrease < CLOSE * step.slope:
            power = min(p, RAISE * power)
    return _Fit(best, best_norm, lower, n_iter, reason)


class _Step(NamedTuple):
    """The change of z and of r = Qz - b, the predicted decrease, Σ g r, and a lower bound on the
    norm."""

    z: Any
    r: Any
    decrease: float
    slope: float
    lower: float


@np.errstate(all="ignore")  # a step that goes too far is detected afterwards
def _newton(xp, q, r, p, power, epsilon):
    """A step of Newton's method for Σ (r² + ε²)^(power/2), residuals scaled to be at most 1; y = g
    + h step has Qᵀy = 0."""
    top = float(xp.abs(r).max())
    r = r / top
    g, h = _derivatives(r, power, epsilon)
    gram, slope = gram_of(xp, q, h), q.T @ g
    z = -xp.linalg.solve(
        gram + xp.eye(len(gram)) * (ROUNDING * float(xp.trace(gram)) + 1 / HIGHEST), slope
    )
    step = q @ z
    y = g + h * step
    y -= q @ (q.T @ y)
    norm = norm_of(xp, y, p / (p - 1) if p > 1 else math.inf)
    lower = top * float(y @ r) / norm if norm > 0 else 0.0
    return _Step(top * z, top * step, -float(slope @ z), float(g @ r), max(lower, 0.0))


def _derivatives(r, p, epsilon):
    square = r * r
    smooth = square + epsilon**2
    u = exp((p / 2 - 1) * log(smooth))
    return u * r, u * ((p - 1) * square + epsilon**2) / smooth


@np.errstate(all="ignore")
def _line_search(xp, r, step, p, epsilon):
    """The line search of the kernel: a step length at which the slope is at most half of that at
    0."""
    if step.decrease <= ROUNDING * step.slope:
        return 1.0
    top = float(xp.abs(r).max())
    r, move = r / top, step.r / top
    below, above, t = 0.0, math.inf, 1.0
    for _ in range(MOST_TRIALS):
        g, h = _derivatives(r + t * move, p, epsilon)
        slope, curvature = float(g @ move), float(h @ (move * move))
        if abs(slope) <= 0.5 * step.decrease or (slope < 0 and t >= LONGEST):
            return t
        below, above = (below, t) if slope > 0 else (t, above)
        t = min(t - slope / curvature, 10 * t) if curvature > 0 else 10 * t
        if not below < t < above:
            t = 0.5 * (below + above) if above < math.inf else 2 * below
    return below
