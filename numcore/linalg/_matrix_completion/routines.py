"""Completion of a matrix from known entries, entries of its model, and half a round of it."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from ...arguments import (
    RNG,
    Array,
    Bool,
    Float,
    Integer,
    at_least,
    finite,
    infinite,
    interval,
    nonnegative,
)
from ...dispatch import namespace_of, routine
from ...random import key_from_rng
from .._csr import CSRLike, Sparse
from .entries import Entries, check_places, model_entries, offset_at
from .half_steps import HalfStep
from .rounds import Options, complete

Ridge = Annotated[float, nonnegative]
Fraction = Annotated[float, interval("[0, 1)")]
Extent = Annotated[int, nonnegative]
SolverName = Literal["auto", "cholesky", "cg", "sketch"]


class CompletionResult(NamedTuple):
    """The model ``offset + (u * s) @ vh``, and how it came about; see :func:`complete_matrix`.

    Attributes
    ----------
    u : (m, k) array
        Orthonormal columns.
    s : (k,) array
        Descending.
    vh : (k, n) array
        Orthonormal rows.
    offset : (1, 1), (m, 1) or (1, n) array
        What centering subtracted.
    converged : bool
    n_iter : int
        Rounds.
    reason : {"converged", "max_iter", "callback", "interrupt"}
        Why the search ended; "interrupt" is that of the keyboard.
    observed_rmse : float
        The root mean square error at the entries that were fitted, which is not an estimate of the
        error elsewhere.
    holdout_rmse : float or None
        That at those held out, which is one; None where there are none.
    relative_changes : tuple of float
        The relative change of the model in every round.
    underdetermined : bool
        Fewer entries are known than a matrix of rank k has degrees of freedom, k (m + n - k).
    rank_deficient : bool
        A row or column had too few entries and got the smallest of its solutions, zeros where it
        had none.
    """

    u: Float[Array, "m k"]
    s: Float[Array, "k"]
    vh: Float[Array, "k n"]
    offset: Float[Array, "_ _"]
    converged: bool
    n_iter: int
    reason: Literal["converged", "max_iter", "callback", "interrupt"]
    observed_rmse: Annotated[float, infinite]
    holdout_rmse: Annotated[float, infinite] | None
    relative_changes: tuple[float, ...]
    underdetermined: bool
    rank_deficient: bool


@routine
def complete_matrix(
    rows: Integer[Array, "z"],
    cols: Integer[Array, "z"],
    values: Float[Array, "z", finite],
    shape: tuple[Extent, Extent],
    *,
    rank: Annotated[int, at_least(1)],
    ridge: Ridge = 0.0,
    center: bool | Literal["rows", "columns"] = False,
    init: Literal["spectral"] | Float[Array, "m _", finite] = "spectral",
    clip: Annotated[float, nonnegative] | None = None,
    solver: SolverName = "auto",
    inner_tol: Literal["adaptive"] | Fraction = "adaptive",
    split_samples: bool = False,
    holdout: Fraction = 0.0,
    tol: Annotated[float, nonnegative] = 1e-8,
    max_iter: Annotated[int, at_least(1)] = 50,
    rng: RNG = None,
    callback: Callable[[int, float], bool | None] | None = None,
    progress: bool = False,
) -> CompletionResult:
    """A model of low rank of a matrix of which some entries are known.

    Parameters
    ----------
    rows, cols : (z,) array of integers
        Places of the known entries, in any order. A place that comes twice must have the same
        value.
    values : (z,) array of float32 or float64, finite
    shape : (int >= 0, int >= 0)
        m and n.
    rank : int >= 1
        k, at most min(m, n).
    ridge : float >= 0, default 0.0
        Weight of ‖v‖² relative to what the data weigh: λ_j = ridge |Ω_j| / m for a column, ridge
        |Ω_i| / n for a row. 0 is none at all. It shrinks the whole model, by about 1 / (1 + ridge)
        where most entries are known.
    center : bool or {"rows", "columns"}, default False
        Subtract the mean of the known entries, or that of every row or column; one without entries
        gets the mean of all. Without centering, one rank is spent on the mean, and columns with few
        entries are fitted badly: data that do not vary around zero should be centred.
    init : {"spectral"} or (m, _) array of float32 or float64, finite, default "spectral"
        The first U: the k largest left singular vectors of the matrix with zeros for what is not
        known, or a matrix of rank k.
    clip : float >= 0, optional
        μ: rows of the first U longer than 2 √(μ k / m) are set to zero, so that no row with many
        entries dominates. None: no clipping.
    solver : {"auto", "cholesky", "cg", "sketch"}, default "auto"
        For the least-squares problems: a factorization of U[Ω_j]ᵀ U[Ω_j]; conjugate gradients from
        the current model; these preconditioned by the factorization of a sketch of U[Ω_j]. "auto"
        takes the first for ranks up to 32, else the second, and the third for columns where it
        converges slowly. On a GPU, ranks above 48 always take conjugate gradients.
    inner_tol : {"adaptive"} or float in [0, 1), default "adaptive"
        Relative accuracy ε of conjugate gradients, ‖gradient‖ <= ε ‖U[Ω_j]ᵀ M[Ω_j, j]‖. "adaptive"
        is a tenth of the last relative change of the model, at most 0.1.
    split_samples : bool, default False
        Use every known entry once, in one of 2 `max_iter` + 1 parts, as the theory of convergence
        assumes. Otherwise all are used always.
    holdout : float in [0, 1), default 0.0
        The fraction of known entries that are hidden from the fit, to measure its
        error.
    tol : float >= 0, default 1e-08
        End when ‖new model - old model‖_F <= tol ‖new model‖_F; 0 never does. What is between 0 and
        eight units of roundoff is taken as these. With an adaptive `inner_tol`, the last round was
        solved to accuracy `tol` as well.
    max_iter : int >= 1, default 50
        The largest number of rounds, of two half-steps each.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the first U, the sketch, the parts and the entries that are held out.
    callback : callable, optional
        ``callback(n_iter, relative_change)`` is called after every round; the search ends when it
        returns True.
    progress : bool, default False
        Show a bar; needs tqdm.

    Returns
    -------
    CompletionResult

    Raises
    ------
    ValueError
        No entries, places outside of the matrix, values that are not finite or differ for one
        place, lengths that differ, a rank or another option out of range.
    TypeError
        Other dtypes, integer values for one, or dtypes or devices mixed.

    Notes
    -----
    For an incoherent matrix (μ) of condition κ and |Ω| of the order κ⁴ μ² n k^4.5 log n log(k ‖M‖ /
    ε) entries known at random, the error is below ε after O(log(‖M‖ / ε)) rounds. Relative errors
    ε_t of the half-steps add up to no more than a small multiple of the last one.

    A round takes O(|Ω| k² + (m + n) k³) operations by "cholesky", O(|Ω| k) for each step of "cg",
    and (m + n) k² for orthonormal factors. Memory: the known entries twice, by rows and by columns,
    and three copies of the factors. Least-squares problems are solved in float64.

    References
    ----------
    Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
    minimization in nearly linear time", ICLR 2024; P. Jain, P. Netrapalli, S. Sanghavi, "Low-rank
    matrix completion using alternating minimization", STOC 2013.

    Examples
    --------
    >>> result = complete_matrix(
    ...     [0, 0, 1], [0, 1, 0], np.array([1.0, 2.0, 3.0]), (2, 2), rank=1, rng=0
    ... )
    >>> (result.offset + (result.u * result.s) @ result.vh).round(6)
    array([[1., 2.],
           [3., 6.]])
    """
    options = Options(
        rank,
        ridge,
        center,
        init,
        clip,
        solver,
        inner_tol,
        split_samples,
        holdout,
        tol,
        max_iter,
        rng,
        callback,
        progress,
    )
    return _completed(Entries(rows, cols, values, shape), options)


@routine
def complete_masked(
    x: Float[Array, "m n"],
    mask: Bool[Array, "m n"],
    *,
    rank: Annotated[int, at_least(1)],
    ridge: Ridge = 0.0,
    center: bool | Literal["rows", "columns"] = False,
    init: Literal["spectral"] | Float[Array, "m _", finite] = "spectral",
    clip: Annotated[float, nonnegative] | None = None,
    solver: SolverName = "auto",
    inner_tol: Literal["adaptive"] | Fraction = "adaptive",
    split_samples: bool = False,
    holdout: Fraction = 0.0,
    tol: Annotated[float, nonnegative] = 1e-8,
    max_iter: Annotated[int, at_least(1)] = 50,
    rng: RNG = None,
    callback: Callable[[int, float], bool | None] | None = None,
    progress: bool = False,
) -> CompletionResult:
    """A model of low rank of a dense matrix of which some entries are valid: `complete_matrix` of
    these.

    Parameters
    ----------
    x : (m, n) array of float32 or float64
        Finite where the mask is True; other entries, NaN for example, are not used.
    mask : (m, n) array of bool
        True where an entry is known.
    rank : int >= 1
    ridge : float >= 0, default 0.0
    center : bool or {"rows", "columns"}, default False
    init : {"spectral"} or (m, _) array of float32 or float64, finite, default "spectral"
    clip : float >= 0, optional
    solver : {"auto", "cholesky", "cg", "sketch"}, default "auto"
    inner_tol : {"adaptive"} or float in [0, 1), default "adaptive"
    split_samples : bool, default False
    holdout : float in [0, 1), default 0.0
    tol : float >= 0, default 1e-08
    max_iter : int >= 1, default 50
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    callback : callable, optional
    progress : bool, default False
        As in `complete_matrix`.

    Returns
    -------
    CompletionResult
        As from `complete_matrix`.

    Raises
    ------
    ValueError
        No entry is known, a known one is not finite, shapes differ, or an option is out of range.
    TypeError
        `x` has another dtype, `mask` is not of bool, or devices are mixed.

    References
    ----------
    Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
    minimization in nearly linear time", ICLR 2024.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0], [3.0, np.nan]])
    >>> result = complete_masked(x, ~np.isnan(x), rank=1, rng=0)
    >>> round(float(((result.u * result.s) @ result.vh)[1, 1]), 6)
    6.0
    """
    options = Options(
        rank,
        ridge,
        center,
        init,
        clip,
        solver,
        inner_tol,
        split_samples,
        holdout,
        tol,
        max_iter,
        rng,
        callback,
        progress,
    )
    xp = namespace_of(x)
    rows, cols = xp.nonzero(mask)
    values = x[rows, cols]
    good = xp.isfinite(values)
    if not bool(good.all()):
        e = int((~good).argmax())
        place = [int(rows[e]), int(cols[e])]
        raise ValueError(f"x must be finite where mask is True (got {float(values[e])} at {place})")
    return _completed(Entries(rows, cols, values, x.shape), options)


def _completed(entries, options):
    """Check what declarations cannot say, then complete."""
    rows, cols, values, shape = entries
    options.check(*shape)
    if not len(values):
        raise ValueError("values must hold at least one known entry (got none)")
    check_places("rows", rows, shape[0])
    check_places("cols", cols, shape[1])
    *model, observed, holdout, underdetermined, fit = complete(entries, options)
    _, changes, reason, short = fit
    converged, n_iter = reason == "converged", len(changes)
    return CompletionResult(
        *model, converged, n_iter, reason, observed, holdout, changes, underdetermined, short
    )


@routine
def predict_entries(
    result: CompletionResult,
    rows: Integer[Array, "z", interval("[0, m)")],
    cols: Integer[Array, "z", interval("[0, n)")],
) -> Array:
    """Entries of a completed matrix, each from its row of u and its column of vh: the matrix is
    never formed.

    Parameters
    ----------
    result : CompletionResult
        From `complete_matrix` or `complete_masked`.
    rows : (z,) array of integers, in [0, m)
    cols : (z,) array of integers, in [0, n)

    Returns
    -------
    (z,) array of the dtype of the model
        Sums of k products in float64, rounded once, and the offset.

    Raises
    ------
    ValueError
        Places outside of the matrix, or lengths that differ.
    TypeError
        `result` is not a CompletionResult, places are not integers, or devices are mixed.

    References
    ----------
    Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
    minimization in nearly linear time", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import complete_matrix
    >>> result = complete_matrix(
    ...     [0, 0, 1], [0, 1, 0], np.array([1.0, 2.0, 3.0]), (2, 2), rank=1, rng=0
    ... )
    >>> predict_entries(result, [1, 0], [1, 1]).round(6)
    array([6., 2.])
    """
    u, s, vh, offset = result[:4]
    if offset.shape not in ((1, 1), (len(u), 1), (1, vh.shape[1])):
        raise ValueError(
            f"result.offset must have shape (1, 1), ({len(u)}, 1) or (1, {vh.shape[1]}) (got "
            f"{offset.shape})"
        )
    return model_entries(u * s, vh.T, rows, cols) + offset_at(offset, rows, cols)


@routine
def alternating_step(
    csr: Sparse[CSRLike, "m n"],
    factor: Float[Array, "n k", finite],
    *,
    ridge: Ridge = 0.0,
    x0: Float[Array, "m k", finite] | None = None,
    solver: SolverName = "auto",
    inner_tol: Fraction = 1e-10,
    rng: RNG = None,
) -> Array:
    """Half a round of alternating minimization: the best X for given V in P_Ω(X Vᵀ) ≈ P_Ω(M), row
    by row.

    Row i with its known entries in the columns Ω_i is the solution of min ‖V[Ω_i] x - M[i, Ω_i]‖² +
    λ_i ‖x‖², λ_i = ridge |Ω_i| / n. The other half of a round takes the transpose of `csr`.

    Parameters
    ----------
    csr : (m, n) CSR or sparse array
        (m, n): the known entries, those that are zero included.
    factor : (n, k) array of float32 or float64, finite
        V.
    ridge : float >= 0, default 0.0
    x0 : (m, k) array of float32 or float64, finite, optional
        Where "cg" and "sketch" start, zero by default. Rows with fewer than k entries always start
        at zero if `ridge` is 0.
    solver : {"auto", "cholesky", "cg", "sketch"}, default "auto"
        As in `complete_matrix`.
    inner_tol : float in [0, 1), default 1e-10
        For "cg" and "sketch": ‖gradient‖ <= inner_tol ‖V[Ω_i]ᵀ M[i, Ω_i]‖.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For "sketch", whose result depends on it by no more than `inner_tol` allows.

    Returns
    -------
    (m, k) array
        Where a row has several solutions, the smallest one; directions whose share of V[Ω_i]ᵀ
        V[Ω_i] is below 1e-12 count as missing. The error of "cholesky" is of the order of the
        roundoff of float64 times the condition of that matrix.

    Raises
    ------
    ValueError
        Shapes do not fit, `factor` or `x0` is not finite, or an option is out of range.
    TypeError
        `csr` is not a sparse matrix, or dtypes or devices are mixed.

    References
    ----------
    Y. Gu, Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating
    minimization in nearly linear time", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> known = CSR.from_dense(np.array([[1.0, 2.0, 0.0], [0.0, 4.0, 6.0]]))
    >>> alternating_step(known, np.array([[1.0], [2.0], [3.0]]))
    array([[1.],
           [2.]])
    """
    if not factor.shape[1]:
        raise ValueError(f"factor must have shape (n, k) with k > 0 (got {factor.shape})")
    csr.check_finite("csr")
    return HalfStep(solver, ridge, key_from_rng(rng))(csr, factor, x0, inner_tol)[0]
