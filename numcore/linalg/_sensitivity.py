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
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from .._pool import get_num_threads
from ..arguments import (
    RNG,
    Array,
    Float,
    Int64,
    Integer,
    any_device,
    at_least,
    below,
    finite,
    nonempty,
    nonnegative,
    positive,
)
from ..dispatch import namespace_of, routine
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

ROWS = 1 << 13
# rows whose Gram matrix is summed by one thread: the sum does not depend on the number of threads
FEW_ROWS = 5000  # up to so many, scores by sensitivities are computed and not only bounded
WORK, WORK_ON_GPU = 1 << 26, 1 << 34  # of one kernel call, so that a long loop can be interrupted
MAX_GPU_RANK = 64  # a Gram matrix must fit the shared memory of a block
WORST_SQUARED_CONDITION = 1e6  # of a Gram matrix that is used instead of singular values
UNEVEN = 1e3  # columns whose sizes differ by more are scaled
LEAST, MOST = 1e-100, 1e100  # numbers whose squares are far from the ends of their range
SMOOTHINGS = (1.0, 0.3, 0.1, 0.1)  # of the mean residual, in steps to a lower bound for all rows
EPS = float(np.finfo(np.float64).eps)
SCORE_TOL = 1e-3  # of sensitivities that are only used as scores


class Sensitivities(NamedTuple):
    """``lower <= σ <= upper``, arrays (k,), and the steps taken for each row, int64 (k,)."""

    lower: Float[Array, "k"]
    upper: Float[Array, "k"]
    n_iter: Int64[Array, "k"]


class RowSample(NamedTuple):
    """Rows ``indices`` (m,), ascending, with ``weights`` (m,), and the ``probabilities`` (n,) of
    all rows."""

    indices: Int64[Array, "m"]
    weights: Float[Array, "m"]
    probabilities: Float[Array, "n"]


class LpResult(NamedTuple):
    """Coefficients with bounds on the least norm.

    Attributes
    ----------
    x : (d,) array
    converged : bool
        Whether the bounds met within `tol`.
    n_iter : int
        Steps.
    reason : {"tol", "max_iter", "no_progress", "callback"}
        Why the steps ended; "no_progress" where rounding errors leave no step that helps.
    objective : float
        The norm of the residuals.
    lower_bound : float
        No coefficients have a smaller norm, to rounding.
    """

    x: Float[Array, "d"]
    converged: bool
    n_iter: int
    reason: Literal["tol", "max_iter", "no_progress", "callback"]
    objective: float
    lower_bound: float


# --- scores ---------------------------------------------------------------------------------------


@routine
def lp_sensitivities(
    a: Float[Array, "n d", finite],
    p: Annotated[float, at_least(1)],
    *,
    method: Literal["exact", "sketch", "bound"] = "exact",
    rows: Integer[Array, "k", nonnegative, below("n"), any_device] | None = None,
    sketch_size: Annotated[int, at_least(1)] | None = None,
    tol: Annotated[float, positive] = 1e-6,
    max_iter: Annotated[int, at_least(1)] = 200,
    rng: RNG = None,
) -> Sensitivities:
    """ℓp sensitivities of the rows of A, with bounds: σ_i = max_x \\|a_iᵀx\\|^p / ‖Ax‖_p^p.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1; of any rank.
    p : float >= 1
    method : {"exact", "sketch", "bound"}, default "exact"
        "exact" solves a problem for each row. "sketch" solves it on a weighted sample of the rows:
        an estimate, whose bounds are those of the sampled problem. "bound" only takes what follows
        from leverage scores τ and Lewis weights w: τ^(p/2) is an upper bound for p <= 2, and the
        least of 1, n^(p/2-1) τ^(p/2) and d^(p/2-1) w is one for p > 2; with the roles of the norms
        exchanged, lower ones.
    rows : (k,) array of integers, >= 0, < n, optional
        The rows wanted; all by default.
    sketch_size : int >= 1, optional
        Rows of the sample for "sketch", ⌈8 d ln(d + 1) max(1, d^(p/2-1))⌉ by default.
    tol : float > 0, default 1e-06
        Steps end where upper - lower <= tol · upper.
    max_iter : int >= 1, default 200
        Most steps for a row.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For "sketch".

    Returns
    -------
    Sensitivities
        ``lower`` and ``upper`` (k,) of the dtype of `a`, and ``n_iter`` (k,). With "exact", lower
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
    _check_rows(a)
    xp, (n, d) = namespace_of(a), a.shape
    key = key_from_rng(rng) if method == "sketch" else None
    at = xp.arange(n) if rows is None else xp.asarray(rows.tolist(), np.int64)
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
    if xp is not np and q.shape[1] > MAX_GPU_RANK:
        raise ValueError(f"a must have a rank <= {MAX_GPU_RANK} on a GPU (got {q.shape[1]})")
    lower, upper, n_iter = _solve_rows(xp, q, c, p, tol, max_iter)
    return Sensitivities(lower.astype(a.dtype), upper.astype(a.dtype), n_iter)


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
    lower, upper, n_iter = xp.zeros(k), xp.zeros(k), xp.zeros(k, np.int64)
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
            n_iter[first:last],
            d,
            p,
            tol,
            max_iter,
        )
    return lower, upper, n_iter


@routine
def lewis_weights(
    a: Float[Array, "n d", finite],
    p: Annotated[float, positive],
    *,
    tol: Annotated[float, positive] = 1e-10,
    max_iter: Annotated[int, at_least(1)] = 100,
) -> Array:
    """ℓp Lewis weights of the rows of A: the w with w_i = τ_i(W^(1/2-1/p) A), the leverage scores
    of the rows that they weight.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1; of any rank.
    p : float > 0
    tol : float > 0, default 1e-10
        Steps end where no logarithm of a weight changes by more.
    max_iter : int >= 1, default 100
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
    _check_rows(a)
    xp = namespace_of(a)
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
def sampling_scores(
    a: Float[Array, "n d", finite],
    p: Annotated[float, at_least(1)],
    *,
    kind: Literal[
        "auto",
        "leverage",
        "root_leverage",
        "sensitivity",
        "lewis",
        "leverage+sensitivity",
        "uniform",
    ] = "auto",
) -> Array:
    """Scores of the rows of A, in proportion to which rows are sampled that shall keep ‖Ax‖_p of
    every x.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1. For a regression these are the rows of [A, b].
    p : float >= 1
    kind : {"auto", "leverage", "root_leverage", "sensitivity", "lewis", "leverage+sensitivity", "uniform"}, default "auto"
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
    _check_rows(a)
    xp = namespace_of(a)
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
def sample_rows(
    scores: Float[Array, "n", finite, nonnegative, nonempty],
    size: Annotated[int, at_least(1)],
    *,
    replace: bool = False,
    rng: RNG = None,
) -> RowSample:
    """Rows drawn by their scores, with weights that keep sums over all rows in the mean.

    Parameters
    ----------
    scores : (n,) array of float32 or float64, >= 0, finite, without an axis of length zero
        Not all zero.
    size : int >= 1
        Rows wanted. From n on, all rows are taken with weight 1.
    replace : bool, default False
        False: row i is kept, independently of others, with probability q_i = min(1, c s_i), where c
        makes them sum up to `size` (or to the number of positive scores, if that is less), and gets
        the weight 1 / q_i; the number of rows varies. True: `size` draws with probabilities s_i /
        Σs; a row that was drawn k times gets the weight k / (size q_i).
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

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
    xp, dtype, top = namespace_of(scores), scores.dtype, float(scores.max())
    if top == 0:
        raise ValueError("scores must not all be zero")
    n, key = len(scores), key_from_rng(rng)
    if size >= n:
        return RowSample(xp.arange(n), xp.ones(n, dtype), xp.ones(n, dtype))
    s = scores.astype(np.float64) / top
    generator = np.random.default_rng(key)
    if replace:
        total = xp.cumsum(s)
        u = uniform(size, rng=generator, xp=xp)
        drawn = xp.searchsorted(total, u * total[-1], side="right")
        counts = xp.bincount(xp.minimum(drawn, xp.nonzero(s)[0][-1]), minlength=n)
        q, indices = s / total[-1], xp.nonzero(counts)[0]
        return RowSample(
            indices, (counts[indices] / (size * q[indices])).astype(dtype), q.astype(dtype)
        )
    q = _capped(xp, s, size)
    indices = xp.nonzero(uniform(n, rng=generator, xp=xp) < q)[0]
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
    """The x that minimizes the ℓp norm of A x - b: robust for p = 1, by largest residuals for
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
        Solve for about this many rows, which are drawn by ``sampling_scores([a, b], p)`` and
        weighted.
    tol : float > 0, default 1e-08
        Steps end where objective - lower_bound <= tol · objective.
    max_iter : int >= 1, default 200
        Most steps.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the sample.
    callback : callable, optional
        ``callback(n_iter, objective, lower_bound)`` is called after every step; the steps end
        when it returns True.
    progress : bool, default False
        Show a bar, which needs tqdm.

    Returns
    -------
    LpResult
        ``x`` (d,) of the dtype of `a`, one of several if its rank is below d; ``objective``, the
        norm for all rows, and ``lower_bound`` on it for any x, to rounding, from a y with Aᵀy = 0:
        bᵀy / ‖y‖_q. Both are floats. With `sample_size`, ``converged`` says whether the bounds of
        the sampled problem met, while objective and lower_bound are still of all rows. The latter
        is then loose for p near 1: some percent, and far more where rows differ very much.

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
    residual of rounding errors counts as zero. With `sample_size`, passes over all rows remain for
    the scores and the objective, and one to four steps for the lower bound. The work is done in
    float64, in memory for n d numbers and a few times n.

    References
    ----------
    D. P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023.

    Examples
    --------
    >>> lp_regression(np.ones((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 100.0]), 1).x.round(6)
    array([3.])
    """
    _check_rows(a)
    xp, dtype, key = namespace_of(a), a.dtype, key_from_rng(rng)
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if weights is not None:
        scale = weights.astype(np.float64) ** (1 / p)
        a, b = a * scale[:, None], b * scale
    q, t = _basis(xp, a)
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
    """When the steps end; what a callback gets is in units of `size`."""

    tol: float
    max_iter: int
    size: float
    callback: Any
    bar: Any


class _Fit(NamedTuple):
    """Coefficients z, the norm of Qz - b, a lower bound on the least one, and how the steps
    ended."""

    z: Any
    objective: float
    lower: float
    n_iter: int
    reason: str


def _fit_sample(problem, until, sample_size, rng):
    """Solve on rows drawn by the scores of [Q, b]; the bounds are those of all rows."""
    xp, q, b, p = problem
    scores = sampling_scores(xp.concatenate([q, b[:, None]], axis=1), p)
    drawn = sample_rows(scores, sample_size, rng=rng)
    scale = drawn.weights ** (1 / p)
    few, t = _basis(xp, q[drawn.indices] * scale[:, None])
    fit = _fit(_Problem(xp, few, b[drawn.indices] * scale, p), until)
    z = t @ fit.z
    r = q @ z - b
    objective, top = _norm(xp, r, p), float(xp.abs(r).max())
    if top == 0:
        return fit._replace(z=z, objective=0.0, lower=0.0)
    lower, mean = 0.0, float(xp.abs(r).mean()) / top
    for part in (
        SMOOTHINGS if p < 2 else (0.0,)
    ):  # toward the solution for all rows, where the bound is the best
        epsilon = max(part * mean, UNSMOOTHED)
        step = _newton(xp, q, r, p, p, epsilon)
        lower = max(lower, step.lower)
        r = r + _line_search(xp, r, step, p, epsilon) * step.r
    return fit._replace(z=z, objective=objective, lower=min(lower, objective))


def _fit(problem, until):
    """Newton's method on smoothed residuals, with p approached from below."""
    xp, q, b, p = problem
    z = q.T @ b
    r, best, least, lower = q @ z - b, z, math.inf, 0.0
    nothing = 8 * len(b) * EPS * _norm(xp, b, p)
    epsilon, shrink = smoothing(p)
    power, reason, n_iter = min(p, FIRST_POWER), "max_iter", 0
    while n_iter < until.max_iter:
        n_iter += 1
        norm = _norm(xp, r, p)
        if norm < least:
            best, least = z, norm
        if least <= nothing:
            lower, reason = min(lower, least), "tol"
            break
        step = _newton(xp, q, r, p, power, epsilon)
        lower = min(max(lower, step.lower), least)
        if until.bar is not None:
            until.bar.update()
        told = until.callback is not None and (
            until.callback(n_iter, until.size * least, until.size * lower) is True
        )
        if least - lower <= until.tol * least:
            reason = "tol"
            break
        if told:
            reason = "callback"
            break
        t = _line_search(xp, r, step, power, epsilon)
        if t == 0 or not math.isfinite(step.fall):
            reason = "no_progress"
            break
        z, r = z + t * step.z, r + t * step.r
        if p < 2 and (t > 0.5 or step.fall < 0.01 * epsilon * step.slope):
            epsilon = max(SHARPEST, shrink * epsilon)
        if step.fall < CLOSE * step.slope:
            power = min(p, RAISE * power)
    return _Fit(best, least, lower, n_iter, reason)


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


def _check_rows(a):
    if not len(a):
        raise ValueError(f"a must have shape (n, d) with n >= 1 (got {a.shape})")


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
