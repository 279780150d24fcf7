"""Sensitivities of rows in the ℓp norm, Lewis weights, and regression on a few rows that are chosen
by such scores.

The ℓp sensitivity of row i of A is the largest share σ_i = max_x |a_iᵀx|^p / ‖Ax‖_p^p that the row
has in any Ax. Rows that are kept with probabilities in proportion to scores of this kind, and
weighted by the inverse probabilities, keep ‖Ax‖_p of every x. 1/σ_i is the minimum of ‖Ax‖_p^p
where a_iᵀx = 1. Reweighted least squares finds it, with the weights of Newton's method on smoothed
residuals, and any step gives a feasible x and a y with Aᵀy = a_i, so that by Hölder's inequality
1/‖Ax‖_p^p <= σ_i <= ‖y‖_q^p with 1/p + 1/q = 1. Scores and sample sizes: D. P. Woodruff, T. Yasuda,
"Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023. Lewis weights: M. B. Cohen, R. Peng, "ℓp
Row Sampling by Lewis Weights", STOC 2015.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .._pool import get_num_threads
from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..progress import progress_bar
from ..random import key_from_rng, uniform
from ..simd import tile_cols
from ..special import exp, log
from ._leverage import leverage_scores
from ._sensitivity_kernels import (
    CLOSE,
    FIRST_POWER,
    LANES,
    LONGEST,
    MOST_TRIALS,
    RAISE,
    ROUNDING,
    SHARPEST,
    UNSMOOTHED,
    constrained_norms,
    quadratic_forms,
    smoothing,
    weighted_grams,
)

__all__ = [
    "LpResult",
    "RowSample",
    "Sensitivities",
    "lewis_weights",
    "lp_regression",
    "lp_sensitivities",
    "sample_rows",
    "sampling_scores",
]

KINDS = (
    "auto",
    "leverage",
    "root_leverage",
    "sensitivity",
    "lewis",
    "leverage+sensitivity",
    "uniform",
)
ROWS = 1 << 13
# rows whose Gram matrix is summed by one thread: the sum does not depend on the number of threads
FEW_ROWS = 5000  # up to so many, scores by sensitivities are computed and not only bounded
WORK, WORK_ON_GPU = 1 << 26, 1 << 34  # of one kernel call, so that a long loop can be interrupted
MOST_GPU_RANK = 64  # a Gram matrix must fit the shared memory of a block
WORST_SQUARED_CONDITION = 1e6  # of a Gram matrix that is used instead of singular values
UNEVEN = 1e3  # columns whose sizes differ by more are scaled
LEAST, MOST = 1e-100, 1e100  # numbers whose squares are far from the ends of their range
SMOOTHINGS = (1.0, 0.3, 0.1, 0.1)  # of the mean residual, in steps to a lower bound for all rows
EPS = float(np.finfo(np.float64).eps)
SCORE_TOL = 1e-3  # of sensitivities that are only used as scores


class Sensitivities(NamedTuple):
    """``lower <= σ <= upper``, arrays (k,), and the steps taken for each row, int64 (k,)."""

    lower: Any
    upper: Any
    num_iter: Any


class RowSample(NamedTuple):
    """Rows ``indices`` (m,), ascending, with ``weights`` (m,), and the ``probabilities`` (n,) of
    all rows."""

    indices: Any
    weights: Any
    probabilities: Any


class LpResult(NamedTuple):
    """Coefficients ``x``, the norm ``objective`` of their residuals, a ``lower_bound`` on that of
    any others, steps, and success."""

    x: Any
    objective: float
    lower_bound: float
    num_iter: int
    converged: bool


# --- scores ---------------------------------------------------------------------------------------


@routine
def lp_sensitivities(
    a, p, *, method="exact", rows=None, sketch_size=None, tol=1e-6, max_iter=200, rng=None
):
    """ℓp sensitivities of the rows of A, with bounds: σ_i = max_x \\|a_iᵀx\\|^p / ‖Ax‖_p^p.

    Parameters
    ----------
    a : (n, d) array of float32 or float64
        Finite, n >= 1; of any rank.
    p : float
        1 <= p < ∞.
    method : {"exact", "sketch", "bound"}
        "exact" solves a problem for each row. "sketch" solves it on a weighted sample of the rows:
        an estimate, whose bounds are those of the sampled problem. "bound" only takes what follows
        from leverage scores τ and Lewis weights w: τ^(p/2) is an upper bound for p <= 2, and the
        least of 1, n^(p/2-1) τ^(p/2) and d^(p/2-1) w is one for p > 2; with the roles of the norms
        exchanged, lower ones.
    rows : (k,) array of int, optional
        The rows wanted; all by default.
    sketch_size : int, optional
        Rows of the sample for "sketch", ⌈8 d ln(d + 1) max(1, d^(p/2-1))⌉ by default.
    tol : float
        Steps end where upper - lower <= tol · upper.
    max_iter : int
        Most steps for a row.
    rng : None, int or numpy.random.Generator, optional
        For "sketch".

    Returns
    -------
    Sensitivities
        ``lower`` and ``upper`` (k,) of the dtype of `a`, and ``num_iter`` (k,). With "exact", lower
        <= σ <= upper to rounding, however the steps ended: upper - lower is the error's bound. It
        does not change when A is multiplied from the right by an invertible matrix. A row of zeros
        has 0. For p = 2 these are the leverage scores. Σσ is at most d for p <= 2, at most d^(p/2)
        for p > 2.

    Raises
    ------
    ValueError
        Entries that are not finite, no row, p < 1, rows out of range, a sample that loses the rank,
        another option out of range. On a GPU, also a rank above 64.
    TypeError
        `a` has another dtype, `rows` are no integers.

    Notes
    -----
    A step takes O(n d²) operations, so that all rows take O(n² d²) times the steps, of which there
    are about 3 to 8 for p >= 1.5 and 10 to 30 for p = 1, and "sketch" takes O(n m d²) with a sample
    of m rows. For p > 6 and rows of very different size, and for p = 1 with a tolerance below 1e-7,
    steps may end with a gap that is wider than `tol`. The work is done in float64, in memory for 4
    n d numbers.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023; S.
    Padmanabhan, D. P. Woodruff, Q. R. Zhang, "Computing Approximate ℓp Sensitivities", NeurIPS
    2023.

    Examples
    --------
    >>> a = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> lower, upper, _ = lp_sensitivities(a, 1.5)
    >>> upper.round(5)
    array([0.3694 , 0.3694 , 0.52786, 0.52786])
    """
    xp, a, p = _checked_matrix(a, p)
    checked_choice("method", method, ("exact", "sketch", "bound"))
    tol, max_iter = (
        checked_number("tol", tol, above=0),
        checked_count("max_iter", max_iter, least=1),
    )
    n, d = a.shape
    sketch_size = (
        None if sketch_size is None else checked_count("sketch_size", sketch_size, least=1)
    )
    key = key_from_rng(rng) if method == "sketch" else None
    at = xp.arange(n) if rows is None else xp.asarray(_checked_rows(rows, n), np.int64)
    if p == 2 or method == "bound" or not d:
        lower, upper = _closed_bounds(xp, a, p)
        return Sensitivities(
            lower[at].astype(a.dtype), upper[at].astype(a.dtype), xp.zeros(len(at), np.int64)
        )
    q, _ = _basis(xp, a)
    c = q[at]
    if method == "sketch":
        rank = max(q.shape[1], 1)
        size = (
            math.ceil(8 * rank * math.log(rank + 1) * max(1.0, rank ** min(p / 2 - 1, 99)))
            if sketch_size is None
            else sketch_size
        )
        if size < n:
            q, c = _sketched(xp, q, c, p, size, np.random.default_rng(key))
    if xp is not np and q.shape[1] > MOST_GPU_RANK:
        raise ValueError(
            f"a must have a rank of at most {MOST_GPU_RANK} on a GPU (got {q.shape[1]})"
        )
    lower, upper, num_iter = _solve_rows(xp, q, c, p, tol, max_iter)
    return Sensitivities(lower.astype(a.dtype), upper.astype(a.dtype), num_iter)


def _closed_bounds(xp, a, p):
    """Bounds by the leverage scores: x = (AᵀA)⁺ a_i gives the lower one; both norms of Ax are
    compared."""
    n, d = a.shape
    tau = leverage_scores(_basis(xp, a)[0])
    root, spread = tau ** (p / 2), float(n) ** min(abs(p / 2 - 1), 60)
    if p <= 2:
        return root / spread, root
    upper = xp.minimum(
        xp.minimum(spread * root, 1),
        float(max(d, 1)) ** min(p / 2 - 1, 60) * lewis_weights(a, p).astype(np.float64),
    )
    return root, xp.maximum(upper, root)


def _sketched(xp, q, c, p, size, rng):
    """Weighted rows of Q in an orthonormal basis, and c in that basis."""
    sample = sample_rows(lewis_weights(q, p, tol=1e-3), size, rng=rng)
    sketch, t = _basis(xp, q[sample.indices] * (sample.weights ** (1 / p))[:, None])
    if sketch.shape[1] < q.shape[1]:
        raise ValueError(
            f"sketch_size must keep the rank {q.shape[1]} of a (got {size} rows of rank "
            f"{sketch.shape[1]})"
        )
    return sketch, c @ t


def _solve_rows(xp, q, c, p, tol, max_iter):
    """Run the kernel over parts of the problems, so that a long loop can be interrupted; zeros are
    added as it needs."""
    (n, d), k = q.shape, len(c)
    lower, upper, num_iter = xp.zeros(k), xp.zeros(k), xp.zeros(k, np.int64)
    rows, cols = -(-n // LANES) * LANES, _padded(xp, d)
    padded = xp.zeros((rows, cols))
    padded[:n, :d] = q
    vectors = xp.zeros((k, cols))
    vectors[:, :d] = c
    columns = xp.ascontiguousarray(padded.T)
    part = max(
        get_num_threads(), (WORK if xp is np else WORK_ON_GPU) // (rows * cols * (cols + 32))
    )
    for first in range(0, k, part):
        last = min(first + part, k)
        constrained_norms(
            padded,
            columns,
            vectors[first:last],
            lower[first:last],
            upper[first:last],
            num_iter[first:last],
            d,
            p,
            tol,
            max_iter,
        )
    return lower, upper, num_iter


@routine
def lewis_weights(a, p, *, tol=1e-10, max_iter=100):
    """ℓp Lewis weights of the rows of A: the w with w_i = τ_i(W^(1/2-1/p) A), the leverage scores
    of the rows that they weight.

    Parameters
    ----------
    a : (n, d) array of float32 or float64
        Finite, n >= 1; of any rank.
    p : float
        0 < p < ∞.
    tol : float
        Steps end where no logarithm of a weight changes by more.
    max_iter : int
        Most steps, each one pass over the rows.

    Returns
    -------
    (n,) array
        Between 0 and 1; they sum up to the rank of A, bound the sensitivities for p <= 2, and
        d^(p/2-1) times as much does for p >= 2. A row of zeros has 0. For p = 2 they are the
        leverage scores. Where the steps converge, the relative error of a weight is at most tol /
        (1 - ρ), with ρ the factor by which a step shortens the distance.

    Raises
    ------
    ValueError
        Entries that are not finite, no row, or an option out of range.
    TypeError
        `a` has another dtype.

    Notes
    -----
    For p <= 2, w_i ← (a_iᵀ (Aᵀ W^(1-2/p) A)⁻¹ a_i)^(p/2), then scaled to the sum that they must
    have; ρ is at most 1 - p/2, and far below it where many rows share the weight. For p > 2 the
    logarithms go 4 / (p + 2) of the way, so that ρ = (p - 2) / (p + 2) near the solution. A step
    takes O(n d²) operations. The work is done in float64, in memory for n d numbers and a few times
    n.

    References
    ----------
    M. B. Cohen, R. Peng, "ℓp Row Sampling by Lewis Weights", STOC 2015.

    Examples
    --------
    >>> lewis_weights(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), 1).round(8)
    array([0.42264973, 0.42264973, 0.57735027, 0.57735027])
    """
    xp, a, p = _checked_matrix(a, p, above=0)
    tol, max_iter = (
        checked_number("tol", tol, above=0),
        checked_count("max_iter", max_iter, least=1),
    )
    q, _ = _basis(xp, a)
    w = xp.zeros(len(a))
    used = xp.einsum("ij,ij->i", q, q) > 1 / MOST
    if q.shape[1] and bool(used.any()):
        w[used] = _lewis_fixed_point(xp, q if bool(used.all()) else q[used], p, tol, max_iter)
    return w.astype(a.dtype)


def _lewis_fixed_point(xp, q, p, tol, max_iter):
    n, d = q.shape
    power, way = 1 - 2 / p, min(1.0, 4 / (p + 2))
    logs, gram, factor = (
        xp.full(n, math.log(d / n)),
        xp.eye(d),
        power * math.log(d / n),
    )  # Qᵀ W^power Q is exp(factor) times gram
    for _ in range(max_iter):
        values, vectors = xp.linalg.eigh(gram)
        forms = _quadratic_forms(
            xp, q, vectors / xp.sqrt(xp.maximum(values, float(values[-1]) * EPS))
        )
        new = (1 - way) * logs + way * p / 2 * (log(forms) - factor)
        shift = math.log(d / float(exp(new).sum()))
        new += shift
        change = float(xp.abs(new - logs).max())
        logs, top = new, power * float(new.max() if power > 0 else new.min())
        if change <= tol:
            break
        gram, factor = _gram(xp, q, exp(power * logs - top)), top
    return xp.minimum(exp(logs), 1)


@routine
def sampling_scores(a, p, *, kind="auto"):
    """Scores of the rows of A, in proportion to which rows are sampled that shall keep ‖Ax‖_p of
    every x.

    Parameters
    ----------
    a : (n, d) array of float32 or float64
        Finite, n >= 1. For a regression these are the rows of [A, b].
    p : float
        1 <= p < ∞.
    kind : {"auto", "leverage", "root_leverage", "sensitivity", "lewis", "leverage+sensitivity", "uniform"}
        Leverage scores τ, their powers τ^(p/2), upper bounds of the sensitivities within a factor
        1.001 (those of "bound" for more than 5000 rows), Lewis weights, the sum of the first and
        the third, or ones. "auto" is "root_leverage" for p < 2, "leverage" for p = 2,
        "leverage+sensitivity" for p > 2.

    Returns
    -------
    (n,) array
        Not negative.

    Raises
    ------
    ValueError
        Entries that are not finite, no row, p < 1, or an unknown kind.
    TypeError
        `a` has another dtype.

    Notes
    -----
    Up to logarithms and a factor ε⁻², these many rows keep all norms within 1 ± ε, with S the sum
    of the sensitivities: by sensitivities S^(2/p) for p < 2, or d^(1-p/2) S by comparison with
    Lewis weights, and S^(2-2/p) for p > 2; by root leverage scores d for p < 2, when applied again
    and again, a round leaving n^(1-p/2) d^(p/2) of n rows; by "leverage+sensitivity" d^(2/p)
    S^(2-4/p) for p > 2.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023; X. Chen, M.
    Dereziński, "Query Complexity of Least Absolute Deviation Regression via Robust Uniform
    Convergence", COLT 2021.

    Examples
    --------
    >>> sampling_scores(
    ...     np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), 1, kind="root_leverage"
    ... ).round(4)
    array([0.6325, 0.6325, 0.7746, 0.7746])
    """  # noqa: E501
    xp, a, p = _checked_matrix(a, p)
    kind = checked_choice("kind", kind, KINDS)
    if kind == "auto":
        kind = "root_leverage" if p < 2 else "leverage" if p == 2 else "leverage+sensitivity"
    if kind == "uniform":
        return xp.ones(len(a), a.dtype)
    if kind == "lewis":
        return lewis_weights(a, p)
    scores = (
        leverage_scores(_basis(xp, a)[0], method="gram").astype(a.dtype)
        if "leverage" in kind
        else xp.zeros(len(a), a.dtype)
    )
    if kind == "root_leverage":
        scores = scores ** (p / 2)
    if "sensitivity" in kind:
        scores = (
            scores
            + lp_sensitivities(
                a, p, method="exact" if len(a) <= FEW_ROWS else "bound", tol=SCORE_TOL
            ).upper
        )
    return scores


# --- sampling and regression ----------------------------------------------------------------------


@routine
def sample_rows(scores, size, *, replace=False, rng=None):
    """Rows drawn by their scores, with weights that keep sums over all rows in the mean.

    Parameters
    ----------
    scores : (n,) array of float32 or float64
        Not negative, not all zero, n >= 1.
    size : int
        Rows wanted, at least 1. From n on, all rows are taken with weight 1.
    replace : bool
        False: row i is kept, independently of others, with probability q_i = min(1, c s_i), where c
        makes them sum up to `size` (or to the number of positive scores, if that is less), and gets
        the weight 1 / q_i; the number of rows varies. True: `size` draws with probabilities s_i /
        Σs; a row that was drawn k times gets the weight k / (size q_i).
    rng : None, int or numpy.random.Generator, optional

    Returns
    -------
    RowSample
        ``indices`` int64 (m,), ``weights`` (m,) of the dtype of `scores`, ``probabilities`` (n,),
        the q_i. The mean of Σ weights f(indices) is Σ_i f(i) over rows with positive scores, for
        any f. Weights belong to \\|a_iᵀx\\|^p: rows are scaled by weights^(1/p).

    Raises
    ------
    ValueError
        No score, one that is negative or not finite, all of them zero, or size < 1.
    TypeError
        `scores` have another dtype, `size` is no integer, `replace` no bool.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023, algorithm 1.

    Examples
    --------
    >>> sample = sample_rows(np.array([8.0, 1.0, 1.0, 1.0, 1.0]), 3, rng=0)
    >>> sample.probabilities
    array([1. , 0.5, 0.5, 0.5, 0.5])
    """
    xp, (scores,) = on_device(scores=scores)
    dtype = float_dtype(scores=scores)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores must have shape (n,) with n >= 1 (got {scores.shape})")
    if not bool((xp.isfinite(scores) & (scores >= 0)).all()):
        raise ValueError("scores must be finite and >= 0 (got others)")
    top = float(scores.max())
    if top == 0:
        raise ValueError("scores must not all be zero")
    size = checked_count("size", size, least=1)
    if not isinstance(replace, (bool, np.bool_)):
        raise TypeError(f"replace must be True or False (got {replace!r})")
    n, key = len(scores), key_from_rng(rng)
    if size >= n:
        return RowSample(xp.arange(n), xp.ones(n, dtype), xp.ones(n, dtype))
    s = scores.astype(np.float64) / top
    rng = np.random.default_rng(key)
    if replace:
        total = xp.cumsum(s)
        drawn = xp.searchsorted(total, uniform(size, rng=rng, xp=xp) * total[-1], side="right")
        counts = xp.bincount(xp.minimum(drawn, xp.nonzero(s)[0][-1]), minlength=n)
        q, indices = s / total[-1], xp.nonzero(counts)[0]
        return RowSample(
            indices, (counts[indices] / (size * q[indices])).astype(dtype), q.astype(dtype)
        )
    q = _capped(xp, s, size)
    indices = xp.nonzero(uniform(n, rng=rng, xp=xp) < q)[0]
    return RowSample(indices, (1 / q[indices]).astype(dtype), q.astype(dtype))


def _capped(xp, s, size):
    """min(1, c s) with c such that it sums up to `size`: the largest scores are capped, the others
    share what is left."""
    ordered = xp.sort(s)[::-1]
    rest = xp.cumsum(ordered[::-1])[::-1]  # of the scores from here on
    left = size - xp.arange(len(s), dtype=np.float64)
    fits = (left > 0) & (left * ordered <= rest)
    if not bool(fits.any()):  # fewer positive scores than rows wanted
        return (s > 0).astype(np.float64)
    first = int(fits.argmax())
    total = float(rest[first])
    return (
        xp.where(s > 0, xp.minimum(s * (float(left[first]) / total), 1), 0.0)
        if total > 0
        else (s > 0).astype(np.float64)
    )


@routine
def lp_regression(
    a,
    b,
    p,
    *,
    weights=None,
    sample=None,
    tol=1e-8,
    max_iter=200,
    rng=None,
    callback=None,
    progress=False,
):
    """The x that makes the ℓp norm of A x - b least: robust for p = 1, by largest residuals for
    large p.

    Parameters
    ----------
    a : (n, d) array of float32 or float64
        Finite, n >= 1; of any rank.
    b : (n,) array
        Finite.
    p : float
        1 <= p < ∞.
    weights : (n,) array, optional
        Not negative: the norm is (Σ weights \\|A x - b\\|^p)^(1/p).
    sample : int, optional
        Solve for about so many rows, which are drawn by ``sampling_scores([a, b], p)`` and
        weighted.
    tol : float
        Steps end where objective - lower_bound <= tol · objective.
    max_iter : int
        Most steps.
    rng : None, int or numpy.random.Generator, optional
        For the sample.
    callback : callable, optional
        ``callback(num_iter, objective, lower_bound)`` is called after every step; the steps end
        when it returns True.
    progress : bool
        Show a bar, which needs tqdm.

    Returns
    -------
    LpResult
        ``x`` (d,) of the dtype of `a`, one of several if its rank is below d; ``objective``, the
        norm for all rows, and ``lower_bound`` on it for any x, to rounding, from a y with Aᵀy = 0:
        bᵀy / ‖y‖_q. Both are floats. ``converged``: whether the bounds met within `tol`; with
        `sample` the sampled problem's, while objective and lower_bound are still of all rows. The
        latter is then loose for p near 1: some percent, and far more where rows differ very much.

    Raises
    ------
    ValueError
        Entries that are not finite, no row, shapes that do not fit, negative weights, p < 1, or an
        option out of range.
    TypeError
        Other or mixed dtypes, arrays on different devices, a callback that cannot be called.

    Notes
    -----
    A step takes O(n d²) operations. There are 3 to 10 for p >= 1.5, and 10 to 30 for p = 1. A
    residual of rounding errors counts as zero. With `sample`, passes over all rows remain for the
    scores and the objective, and one to four steps for the lower bound. The work is done in
    float64, in memory for n d numbers and a few times n.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023.

    Examples
    --------
    >>> lp_regression(np.ones((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 100.0]), 1).x.round(6)
    array([3.])
    """
    xp, (a, b, weights) = on_device(a=a, b=b, weights=weights)
    dtype = float_dtype(a=a, b=b, weights=weights)
    xp, a, p = _checked_matrix(a, p)
    for name, vector in (("b", b), ("weights", weights)):
        if vector is not None and vector.shape != a.shape[:1]:
            raise ValueError(f"{name} must have shape ({len(a)},) (got {vector.shape})")
        if vector is not None and not bool(xp.isfinite(vector).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
    if weights is not None and bool((weights < 0).any()):
        raise ValueError("weights must be >= 0 (got negative ones)")
    tol, max_iter = (
        checked_number("tol", tol, above=0),
        checked_count("max_iter", max_iter, least=1),
    )
    sample = None if sample is None else checked_count("sample", sample, least=1)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable (got {type(callback).__name__})")
    if not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress must be True or False (got {progress!r})")
    key = key_from_rng(rng)
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if weights is not None:
        scale = weights.astype(np.float64) ** (1 / p)
        a, b = a * scale[:, None], b * scale
    q, t = _basis(xp, a)
    size = float(xp.abs(b).max()) or 1.0
    b = b / size
    bar = progress_bar(max_iter, "steps") if progress else None
    try:
        if sample is None or sample >= len(b):
            fit = _fit(xp, q, b, p, tol, max_iter, size, callback, bar)
        else:
            fit = _fit_sample(
                xp, q, b, p, sample, np.random.default_rng(key), tol, max_iter, size, callback, bar
            )
    finally:
        if bar is not None:
            bar.close()
    z, objective, lower, num_iter, converged = fit
    with np.errstate(over="ignore", under="ignore"):
        return LpResult(
            (t @ z * size).astype(dtype), size * objective, size * lower, num_iter, converged
        )


def _fit_sample(xp, q, b, p, sample, rng, tol, max_iter, size, callback, bar):
    """Solve on rows drawn by the scores of [Q, b]; the bounds are those of all rows."""
    scores = sampling_scores(xp.concatenate([q, b[:, None]], axis=1), p)
    drawn = sample_rows(scores, sample, rng=rng)
    scale = drawn.weights ** (1 / p)
    few, t = _basis(xp, q[drawn.indices] * scale[:, None])
    z, _, _, num_iter, converged = _fit(
        xp, few, b[drawn.indices] * scale, p, tol, max_iter, size, callback, bar
    )
    z = t @ z
    r = q @ z - b
    objective, top = _norm(xp, r, p), float(xp.abs(r).max())
    if top == 0:
        return z, 0.0, 0.0, num_iter, converged
    lower, mean = 0.0, float(xp.abs(r).mean()) / top
    for part in (
        SMOOTHINGS if p < 2 else (0.0,)
    ):  # toward the solution for all rows, where the bound is the best
        epsilon = max(part * mean, UNSMOOTHED)
        step = _newton(xp, q, r, p, p, epsilon)
        lower = max(lower, step.lower)
        r = r + _line_search(xp, r, step, p, epsilon) * step.r
    return z, objective, min(lower, objective), num_iter, converged


def _fit(xp, q, b, p, tol, max_iter, size, callback, bar):
    """Coefficients z that make ‖Qz - b‖_p least, the norm, a lower bound, the steps, and whether
    the bounds met."""
    z = q.T @ b
    r, best, least, lower = q @ z - b, z, math.inf, 0.0
    nothing = 8 * len(b) * EPS * _norm(xp, b, p)
    epsilon, shrink = smoothing(p)
    power, converged, num_iter = min(p, FIRST_POWER), False, 0
    while not converged and num_iter < max_iter:
        num_iter += 1
        norm = _norm(xp, r, p)
        if norm < least:
            best, least = z, norm
        if least <= nothing:
            lower, converged = min(lower, least), True
            break
        step = _newton(xp, q, r, p, power, epsilon)
        lower = min(max(lower, step.lower), least)
        converged = least - lower <= tol * least
        if bar is not None:
            bar.update()
        if callback is not None and callback(num_iter, size * least, size * lower) is True:
            break
        t = _line_search(xp, r, step, power, epsilon)
        if t == 0 or not math.isfinite(step.fall):
            break
        z, r = z + t * step.z, r + t * step.r
        if p < 2 and (t > 0.5 or step.fall < 0.01 * epsilon * step.slope):
            epsilon = max(SHARPEST, shrink * epsilon)
        if step.fall < CLOSE * step.slope:
            power = min(p, RAISE * power)
    return best, least, lower, num_iter, converged


class _Step(NamedTuple):
    """The change of z and of r = Qz - b, the fall of the objective's slope along it, Σ g r, and a
    lower bound on the norm."""

    z: Any
    r: Any
    fall: float
    slope: float
    lower: float


@np.errstate(all="ignore")  # a step may go too far, which is then seen
def _newton(xp, q, r, p, power, epsilon):
    """A step of Newton's method for Σ (r² + ε²)^(power/2), residuals scaled to be at most 1; y = g
    + h step has Qᵀy = 0."""
    top = float(xp.abs(r).max())
    r = r / top
    g, h = _derivatives(r, power, epsilon)
    gram, slope = _gram(xp, q, h), q.T @ g
    z = -xp.linalg.solve(
        gram + xp.eye(len(gram)) * (ROUNDING * float(xp.trace(gram)) + 1 / MOST), slope
    )
    step = q @ z
    y = g + h * step
    y -= q @ (q.T @ y)
    norm = _norm(xp, y, p / (p - 1) if p > 1 else math.inf)
    lower = top * float(y @ r) / norm if norm > 0 else 0.0
    return _Step(top * z, top * step, -float(slope @ z), float(g @ r), max(lower, 0.0))


def _derivatives(r, p, epsilon):
    square = r * r
    smooth = square + epsilon**2
    u = exp((p / 2 - 1) * log(smooth))
    return u * r, u * ((p - 1) * square + epsilon**2) / smooth


@np.errstate(all="ignore")
def _line_search(xp, r, step, p, epsilon):
    """As in the kernel: where the slope is at most half of what it was."""
    if step.fall <= ROUNDING * step.slope:
        return 1.0
    top = float(xp.abs(r).max())
    r, move = r / top, step.r / top
    below, above, t = 0.0, math.inf, 1.0
    for _ in range(MOST_TRIALS):
        g, h = _derivatives(r + t * move, p, epsilon)
        slope, curvature = float(g @ move), float(h @ (move * move))
        if abs(slope) <= 0.5 * step.fall or (slope < 0 and t >= LONGEST):
            return t
        below, above = (below, t) if slope > 0 else (t, above)
        t = min(t - slope / curvature, 10 * t) if curvature > 0 else 10 * t
        if not below < t < above:
            t = 0.5 * (below + above) if above < math.inf else 2 * below
    return below


# --- shared ---------------------------------------------------------------------------------------


def _checked_matrix(a, p, **limits):
    xp, (a,) = on_device(a=a)
    float_dtype(a=a)
    if a.ndim != 2 or not len(a):
        raise ValueError(f"a must have shape (n, d) with n >= 1 (got {a.shape})")
    p = checked_number("p", p, **(limits or {"least": 1}))
    if not bool(xp.isfinite(a).all()):
        raise ValueError("a must be finite (got nan or inf)")
    return xp, a, p


def _checked_rows(rows, n):
    _, (rows,) = on_device(rows=rows)
    if rows.dtype.kind not in "iu" and rows.size:
        raise TypeError(f"rows must be integers (got dtype {rows.dtype})")
    if rows.ndim != 1:
        raise ValueError(f"rows must have shape (k,) (got {rows.shape})")
    if rows.size and not (0 <= int(rows.min()) and int(rows.max()) < n):
        raise ValueError(
            f"rows must satisfy 0 <= row < {n} (got {int(rows.min())} … {int(rows.max())})"
        )
    return rows.tolist()


def _basis(xp, a):
    """Q = A t with orthonormal columns that span those of A, and t, in float64."""
    (n, d), eps = a.shape, np.finfo(a.dtype).eps
    scale = xp.abs(a).max(axis=0).astype(np.float64) if a.size else xp.zeros(1)
    top, low = float(scale.max()), float(scale.min())
    if top == 0:
        return xp.zeros((n, 0)), xp.zeros((d, 0))
    a = xp.ascontiguousarray(a.astype(np.float64, copy=False))
    if LEAST < low and top < MOST and top < UNEVEN * low:
        scale = xp.ones(d)
    else:  # rank is judged for columns of one size
        scale = xp.where(scale > 0, scale, 1.0)
        a = a / scale
    values, vectors = xp.linalg.eigh(_gram(xp, a))
    if float(values[-1]) < WORST_SQUARED_CONDITION * float(values[0]):
        t = vectors / xp.sqrt(values)
        return a @ t, t / scale[:, None]
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    rank = int((s > max(n, d) * eps * s[0]).sum())
    return u[:, :rank], vh[:rank].T / s[:rank] / scale[:, None]


def _padded(xp, d):
    """Columns that a kernel takes for d of them: whole register tiles on the CPU."""
    tile = tile_cols(np.float64(0)) if xp is np else 1
    return max(-(-d // tile), 1) * tile


def _gram(xp, q, h=None):
    """Qᵀ diag(h) Q."""
    (n, d), size = q.shape, _padded(xp, q.shape[1])
    parts = xp.zeros((max(-(-n // ROWS), 1), size, size))
    weighted_grams(xp.ascontiguousarray(q), xp.ones(n) if h is None else h, parts)
    lower = xp.tril(parts.sum(axis=0)[:d, :d])
    return lower + xp.tril(lower, -1).T


def _quadratic_forms(xp, q, t):
    """‖tᵀ q_i‖² of every row."""
    wide, y = xp.zeros((t.shape[0], _padded(xp, t.shape[1]))), xp.empty(len(q))
    wide[:, : t.shape[1]] = t
    quadratic_forms(xp.ascontiguousarray(q), wide, y)
    return y


def _norm(xp, x, p):
    """‖x‖_p, also for p = ∞."""
    top = float(xp.abs(x).max()) if x.size else 0.0
    if top == 0 or p == math.inf:
        return top
    return top * float(exp(p * log(xp.maximum(xp.abs(x) / top, LEAST))).sum()) ** (1 / p)
