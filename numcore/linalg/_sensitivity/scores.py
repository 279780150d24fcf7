"""Sensitivities, Lewis weights, and sampling scores."""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from ..._pool import get_num_threads
from ...arguments import (
    RNG,
    Array,
    Float,
    Int64,
    Integer,
    any_device,
    at_least,
    below,
    finite,
    nonnegative,
    positive,
    within,
)
from ...dispatch import namespace_of, routine
from ...random import key_from_rng
from ...special import exp, log
from .._leverage import leverage_scores
from .bases import EPS, HIGHEST, basis_of, check_rows, gram_of, padded_columns, quadratic_forms_of
from .kernels import LANES, constrained_norms
from .sampling import sample_rows

FEW_ROWS = 5000  # with more rows, scores use bounds on the sensitivities
CALL_SIZE, GPU_CALL_SIZE = 1 << 26, 1 << 34  # operations per kernel call: keeps loops interruptible
MAX_GPU_RANK = 64  # a Gram matrix must fit in the shared memory of a block
SCORE_TOL = 1e-3  # for sensitivities that are only used as scores


class Sensitivities(NamedTuple):
    """Bounds ``lower <= σ <= upper``, arrays (k,), and the number of steps for each row, int64
    (k,)."""

    lower: Float[Array, "k"]
    upper: Float[Array, "k"]
    n_iter: Int64[Array, "k"]


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
        "exact" solves an optimization problem for each row. "sketch" solves it on a weighted sample
        of the rows: an estimate, with bounds that are those of the sampled problem. "bound" only
        computes bounds from leverage scores τ and Lewis weights w: the upper bound is τ^(p/2) for p
        <= 2, and the smallest of 1, n^(p/2-1) τ^(p/2) and d^(p/2-1) w for p > 2; exchanging the
        roles of the norms gives the lower bounds.
    rows : (k,) array of integers, >= 0, < n, optional
        Rows for which to compute sensitivities; all by default.
    sketch_size : int >= 1, optional
        Rows of the sample for "sketch", ⌈8 d ln(d + 1) max(1, d^(p/2-1))⌉ by default.
    tol : float > 0, default 1e-06
        Stop when upper - lower <= tol · upper.
    max_iter : int >= 1, default 200
        Maximum number of steps per row.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For "sketch".

    Returns
    -------
    Sensitivities
        ``lower`` and ``upper`` (k,) of the dtype of `a`, and ``n_iter`` (k,). With "exact", lower
        <= σ <= upper up to rounding errors, even without convergence: upper - lower bounds the
        error. σ does not change when A is multiplied from the right by an invertible matrix. A row
        of zeros has σ = 0. For p = 2 these are the leverage scores. Σσ is at most d for p <= 2, at
        most d^(p/2) for p > 2.

    Raises
    ------
    ValueError
        Entries are not finite, there are no rows, p < 1, `rows` or an option is out of range, or
        the sample has a lower rank than `a`. On a GPU, also if the rank is above 64.
    TypeError
        `a` has another dtype, or `rows` are not integers.

    Notes
    -----
    A step costs O(n d²) operations, so that all rows cost O(n² d²) times the number of steps, which
    is about 3 to 8 for p >= 1.5 and 10 to 30 for p = 1. "sketch" costs O(n m d²) with a sample of m
    rows. For p > 6 and rows of very different magnitude, and for p = 1 with a tolerance below 1e-7,
    the final gap may exceed `tol`. Computations are in float64; memory: 4 n d numbers.

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
    check_rows(a)
    xp, (n, d) = namespace_of(a), a.shape
    key = key_from_rng(rng) if method == "sketch" else None
    at = xp.arange(n) if rows is None else xp.asarray(rows.tolist(), np.int64)
    if p == 2 or method == "bound" or not d:
        lower, upper = _closed_bounds(xp, a, p)
        return Sensitivities(
            lower[at].astype(a.dtype), upper[at].astype(a.dtype), xp.zeros(len(at), np.int64)
        )
    q, _ = basis_of(xp, a)
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
    """Bounds from leverage scores: x = (AᵀA)⁺ a_i gives the lower one; the 2-norm and p-norm of Ax
    are compared."""
    n, d = a.shape
    tau = leverage_scores(basis_of(xp, a)[0])
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
    sketch, t = basis_of(xp, q[sample.indices] * (sample.weights ** (1 / p))[:, None])
    if sketch.shape[1] < q.shape[1]:
        raise ValueError(
            f"sketch_size must keep the rank {q.shape[1]} of a (got {size} rows of rank "
            f"{sketch.shape[1]})"
        )
    return sketch, c @ t


def _solve_rows(xp, q, c, p, tol, max_iter):
    """Run the kernel over zero-padded parts of the problems, so that a long loop can be
    interrupted."""
    (n, d), k = q.shape, len(c)
    lower, upper, n_iter = xp.zeros(k), xp.zeros(k), xp.zeros(k, np.int64)
    rows, cols = -(-n // LANES) * LANES, padded_columns(xp, d)
    padded = xp.zeros((rows, cols))
    padded[:n, :d] = q
    vectors = xp.zeros((k, cols))
    vectors[:, :d] = c
    columns = xp.ascontiguousarray(padded.T)
    part = max(
        get_num_threads(), (CALL_SIZE if xp is np else GPU_CALL_SIZE) // (rows * cols * (cols + 32))
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
    p: Annotated[float, within(1e-3, 1e3)],
    *,
    tol: Annotated[float, positive] = 1e-10,
    max_iter: Annotated[int, at_least(1)] = 100,
) -> Array:
    """ℓp Lewis weights of the rows of A: the w with w_i = τ_i(W^(1/2-1/p) A), where τ are leverage
    scores.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1; of any rank.
    p : float in [0.001, 1000.0]
    tol : float > 0, default 1e-10
        Stop when the logarithm of no weight changes by more.
    max_iter : int >= 1, default 100
        Maximum number of steps, each one pass over the rows.

    Returns
    -------
    (n,) array
        Between 0 and 1; they sum to the rank of A. They bound the sensitivities for p <= 2; for p
        >= 2, d^(p/2-1) times the weights does. A row of zeros has weight 0. For p = 2 they are the
        leverage scores. On convergence, the relative error of a weight is at most tol / (1 - ρ),
        with ρ the factor by which a step reduces the distance to the solution.

    Raises
    ------
    ValueError
        Entries are not finite, there are no rows, or an option is out of range.
    TypeError
        `a` has another dtype.

    Notes
    -----
    For p <= 2, w_i ← (a_iᵀ (Aᵀ W^(1-2/p) A)⁻¹ a_i)^(p/2), then rescaled to the known sum; ρ is at
    most 1 - p/2, and far smaller if many rows share the weight. For p > 2 the update of the
    logarithms is damped by the factor 4 / (p + 2), so that ρ = (p - 2) / (p + 2) near the solution.
    A step costs O(n d²) operations. Computations are in float64; memory: n d numbers and a few
    times n.

    References
    ----------
    M. B. Cohen, R. Peng, "ℓp Row Sampling by Lewis Weights", STOC 2015.

    Examples
    --------
    >>> lewis_weights(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), 1).round(8)
    array([0.42264973, 0.42264973, 0.57735027, 0.57735027])
    """
    check_rows(a)
    xp = namespace_of(a)
    q, _ = basis_of(xp, a)
    w = xp.zeros(len(a))
    used = xp.einsum("ij,ij->i", q, q) > 1 / HIGHEST
    if q.shape[1] and bool(used.any()):
        w[used] = _lewis_fixed_point(xp, q if bool(used.all()) else q[used], p, tol, max_iter)
    return w.astype(a.dtype)


def _lewis_fixed_point(xp, q, p, tol, max_iter):
    n, d = q.shape
    power, damping = 1 - 2 / p, min(1.0, 4 / (p + 2))
    # Qᵀ W^power Q is exp(factor) times gram
    logs, gram, factor = xp.full(n, math.log(d / n)), xp.eye(d), power * math.log(d / n)
    for _ in range(max_iter):
        values, vectors = xp.linalg.eigh(gram)
        forms = quadratic_forms_of(
            xp, q, vectors / xp.sqrt(xp.maximum(values, float(values[-1]) * EPS))
        )
        new = (1 - damping) * logs + damping * p / 2 * (log(forms) - factor)
        shift = math.log(d / float(exp(new).sum()))
        new += shift
        change = float(xp.abs(new - logs).max())
        logs, top = new, power * float(new.max() if power > 0 else new.min())
        if change <= tol:
            break
        gram, factor = gram_of(xp, q, exp(power * logs - top)), top
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
    """Scores for sampling rows of A such that ‖Ax‖_p is approximately preserved for every x.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, finite
        n >= 1. For a regression, pass the rows of [A, b].
    p : float >= 1
    kind : {"auto", "leverage", "root_leverage", "sensitivity", "lewis", "leverage+sensitivity", "uniform"}, default "auto"
        "leverage": leverage scores τ; "root_leverage": τ^(p/2); "sensitivity": upper bounds of the
        sensitivities within a factor 1.001 (those of "bound" for more than 5000 rows); "lewis":
        Lewis weights; "leverage+sensitivity": the sum of both; "uniform": ones. "auto" is
        "root_leverage" for p < 2, "leverage" for p = 2, "leverage+sensitivity" for p > 2.

    Returns
    -------
    (n,) array
        Not negative.

    Raises
    ------
    ValueError
        Entries are not finite, there are no rows, p < 1, or `kind` is unknown.
    TypeError
        `a` has another dtype.

    Notes
    -----
    Sample sizes that preserve all norms within 1 ± ε, up to logarithms and a factor ε⁻², with S the
    sum of the sensitivities: for "sensitivity" S^(2/p) if p < 2, or d^(1-p/2) S by comparison with
    Lewis weights, and S^(2-2/p) if p > 2; for "root_leverage" d if p < 2, when applied recursively,
    each round reducing n rows to n^(1-p/2) d^(p/2); for "leverage+sensitivity" d^(2/p) S^(2-4/p) if
    p > 2.

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
    check_rows(a)
    xp = namespace_of(a)
    if kind == "auto":
        kind = "root_leverage" if p < 2 else "leverage" if p == 2 else "leverage+sensitivity"
    if kind == "uniform":
        return xp.ones(len(a), a.dtype)
    if kind == "lewis":
        return lewis_weights(a, p)
    scores = (
        leverage_scores(basis_of(xp, a)[0], method="gram").astype(a.dtype)
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
