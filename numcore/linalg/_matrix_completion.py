"""Low-rank matrix completion: a model U Vᵀ of rank k of a matrix of which few entries are known.

U and V are least-squares solutions of each other, by turns (alternating minimisation). For every
column j with known entries in the rows Ω_j this is a small problem min ‖U[Ω_j] v - M[Ω_j, j]‖² +
λ_j ‖v‖², solved only as exactly as the current change of the model deserves. From Y. Gu, Z. Song,
J. Yin, L. Zhang, "Low rank matrix completion via robust alternating minimization in nearly linear
time", ICLR 2024. The adaptive accuracy, conjugate gradients, the ridge, centring and the held-out
error are additions.
"""

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..progress import progress_bar
from ..random import key_from_rng, philox_uint32
from ..simd import dot, gemm_row, gemm_tile, tile_cols, tile_rows
from ._csr import CSR, as_csr
from ._randomized import randomized_svd
from ._sparse import INDICES

# ranks up to which factorising Gram matrices is as fast as conjugate gradients, all rounds together
MOST_DIRECT = 32
MOST_IN_BLOCK = 48  # ranks whose matrices fit the shared memory of any GPU
LANES = 16  # conjugate gradients take rows of a multiple of this length
STEPS, WORST_CONDITION = 100, 1e4  # "auto" gives up conjugate gradients beyond these
EXACT = 1e-15  # relative accuracy beyond which conjugate gradients do not get
SKETCHES = 4  # sketches of k rows each
LEAST_TOLERANCE = 8  # units of roundoff: a smaller change of the model cannot be seen


class CompletionResult(NamedTuple):
    """The model ``offset + u diag(s) vh``, and how it came about; see :func:`complete_matrix`."""

    u: Any
    s: Any
    vh: Any
    offset: Any
    observed_rmse: float
    holdout_rmse: float | None
    relative_changes: tuple
    num_iter: int
    converged: bool
    status: str


# --- routines -------------------------------------------------------------------------------------


@routine
def complete_matrix(
    rows,
    cols,
    values,
    shape,
    *,
    rank,
    ridge=0.0,
    center=False,
    init="spectral",
    clip=None,
    solver="auto",
    inner_tol="adaptive",
    split_samples=False,
    holdout=0.0,
    tol=1e-8,
    max_iter=50,
    rng=None,
    callback=None,
    progress=False,
):
    """A model of low rank of a matrix of which some entries are known.

    Parameters
    ----------
    rows, cols : (z,) array of int
        Places of the known entries, in any order. A place that comes twice must have the same
        value.
    values : (z,) array of float32 or float64
        Finite.
    shape : (int, int)
        m and n.
    rank : int
        k, with 1 <= k <= min(m, n).
    ridge : float
        Weight of ‖v‖² relative to what the data weigh: λ_j = ridge |Ω_j| / m for a column, ridge
        |Ω_i| / n for a row. 0 is none at all. It shrinks the whole model, by about 1 / (1 + ridge)
        where most entries are known.
    center : {False, True, "rows", "columns"}
        Subtract the mean of the known entries, or that of every row or column; one without entries
        gets the mean of all. Without centring, one rank is spent on the mean, and columns with few
        entries are fitted badly: data that do not vary around zero should be centred.
    init : "spectral" or (m, k) array
        The first U: the k largest left singular vectors of the matrix with zeros for what is not
        known, or a matrix of rank k.
    clip : float, optional
        μ: rows of the first U longer than 2 √(μ k / m) are set to zero, so that no row with many
        entries dominates. None: no clipping.
    solver : {"auto", "cholesky", "cg", "sketch"}
        For the least-squares problems: a factorisation of U[Ω_j]ᵀ U[Ω_j]; conjugate gradients from
        the current model; these preconditioned by the factorisation of a sketch of U[Ω_j]. "auto"
        takes the first for ranks up to 32, else the second, and the third for columns where it
        converges slowly. On a GPU, ranks above 48 always take conjugate gradients.
    inner_tol : "adaptive" or float
        Relative accuracy ε of conjugate gradients, ‖gradient‖ <= ε ‖U[Ω_j]ᵀ M[Ω_j, j]‖. "adaptive"
        is a tenth of the last relative change of the model, at most 0.1.
    split_samples : bool
        Use every known entry once, in one of 2 `max_iter` + 1 parts, as the theory of convergence
        assumes. Otherwise all are used always.
    holdout : float
        0 <= holdout < 1: the fraction of known entries that are hidden from the fit, to measure its
        error.
    tol : float
        End when ‖new model - old model‖_F <= tol ‖new model‖_F; 0 never does. What is between 0 and
        eight units of roundoff is taken as these. With an adaptive `inner_tol`, the last round was
        solved to accuracy `tol` as well.
    max_iter : int
        The most rounds, of two half-steps each.
    rng : None, int or numpy.random.Generator, optional
        For the first U, the sketch, the parts and the entries that are held out.
    callback : callable, optional
        ``callback(round, relative_change)`` is called after every round; the search ends when it
        returns True.
    progress : bool
        Show a bar; needs tqdm.

    Returns
    -------
    CompletionResult
        ``u`` (m, k) and ``vh`` (k, n) orthonormal, ``s`` (k,) descending, ``offset`` (1, 1), (m, 1)
        or (1, n), so that ``offset + (u * s) @ vh`` is the whole matrix. ``observed_rmse`` is the
        root mean square error at the entries that were fitted, no estimate of the error elsewhere;
        ``holdout_rmse``, that at those held out, is one (None where there are none).
        ``relative_changes`` has the change of every round, ``num_iter`` their number. ``status``
        says how the search ended: "converged", "max_iter", "callback" or "interrupt" (by the
        keyboard), followed by "; underdetermined" where fewer entries are known than a matrix of
        rank k has degrees of freedom, k (m + n - k), and by "; minimum-norm" where a row or column
        had too few of them and got the smallest of its solutions, zeros where it had none.

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
    xp, (rows, cols, values) = on_device(rows=rows, cols=cols, values=values)
    float_dtype(values=values)
    m, n = shape
    for name, places, limit in (("rows", rows, m), ("cols", cols, n)):
        _checked_places(name, places, limit, values)
    if not bool(xp.isfinite(values).all()):
        raise ValueError("values must be finite (got nan or inf)")
    return _complete(
        xp,
        rows,
        cols,
        values,
        (m, n),
        rank=rank,
        ridge=ridge,
        center=center,
        init=init,
        clip=clip,
        solver=solver,
        inner_tol=inner_tol,
        split_samples=split_samples,
        holdout=holdout,
        tol=tol,
        max_iter=max_iter,
        rng=rng,
        callback=callback,
        progress=progress,
    )


@routine
def complete_masked(
    x,
    mask,
    *,
    rank,
    ridge=0.0,
    center=False,
    init="spectral",
    clip=None,
    solver="auto",
    inner_tol="adaptive",
    split_samples=False,
    holdout=0.0,
    tol=1e-8,
    max_iter=50,
    rng=None,
    callback=None,
    progress=False,
):
    """A model of low rank of a dense matrix of which some entries are valid: `complete_matrix` of
    these.

    Parameters
    ----------
    x : (m, n) array of float32 or float64
        Finite where the mask is True; what is elsewhere, NaN for one, is not used.
    mask : (m, n) array of bool
        True where an entry is known.
    rank, ridge, center, init, clip, solver, inner_tol, split_samples, holdout, tol, max_iter, rng,
    callback, progress
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
    xp, (x, mask) = on_device(x=x, mask=mask)
    float_dtype(x=x)
    if mask is None or mask.dtype != np.bool_:
        raise TypeError(f"mask must have dtype bool (got {getattr(mask, 'dtype', None)})")
    if x.ndim != 2 or mask.shape != x.shape:
        raise ValueError(f"x and mask must have one shape (m, n) (got {x.shape} and {mask.shape})")
    rows, cols = xp.nonzero(mask)
    values = x[rows, cols]
    if not bool(xp.isfinite(values).all()):
        raise ValueError("x must be finite where mask is True (got nan or inf)")
    return _complete(
        xp,
        rows,
        cols,
        values,
        x.shape,
        rank=rank,
        ridge=ridge,
        center=center,
        init=init,
        clip=clip,
        solver=solver,
        inner_tol=inner_tol,
        split_samples=split_samples,
        holdout=holdout,
        tol=tol,
        max_iter=max_iter,
        rng=rng,
        callback=callback,
        progress=progress,
    )


@routine
def predict_entries(result, rows, cols):
    """Entries of a completed matrix, each from its row of u and its column of vh: the matrix is
    never formed.

    Parameters
    ----------
    result : CompletionResult
        From `complete_matrix` or `complete_masked`.
    rows, cols : (z,) array of int

    Returns
    -------
    (z,) array of the dtype of the model
        Sums of k products in float64, rounded once, and the offset.

    Raises
    ------
    ValueError
        Places outside of the matrix, or lengths that differ.
    TypeError
        `result` is no CompletionResult, places are not integers, or devices are mixed.

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
    if not isinstance(result, CompletionResult):
        raise TypeError(f"result must be a CompletionResult (got {type(result).__name__})")
    xp, (u, s, vh, offset, rows, cols) = on_device(
        u=result.u, s=result.s, vh=result.vh, offset=result.offset, rows=rows, cols=cols
    )
    float_dtype(u=u, s=s, vh=vh, offset=offset)
    if u.ndim != 2 or vh.ndim != 2 or s.shape != u.shape[1:] or s.shape != vh.shape[:1]:
        raise ValueError(
            f"result must have u (m, k), s (k,) and vh (k, n) (got {u.shape}, {s.shape} and "
            f"{vh.shape})"
        )
    if offset.shape not in ((1, 1), (len(u), 1), (1, vh.shape[1])):
        raise ValueError(
            f"result.offset must have shape (1, 1), ({len(u)}, 1) or (1, {vh.shape[1]}) (got "
            f"{offset.shape})"
        )
    for name, places, limit in (("rows", rows, len(u)), ("cols", cols, vh.shape[1])):
        _checked_places(name, places, limit, rows)
    return _entries(xp, u * s, vh.T, rows, cols) + _offset_at(offset, rows, cols)


@routine
def alternating_step(csr, factor, *, ridge=0.0, x0=None, solver="auto", inner_tol=1e-10, rng=None):
    """Half a round of alternating minimisation: the best X for given V in P_Ω(X Vᵀ) ≈ P_Ω(M), row
    by row.

    Row i with its known entries in the columns Ω_i is the solution of min ‖V[Ω_i] x - M[i, Ω_i]‖² +
    λ_i ‖x‖², λ_i = ridge |Ω_i| / n. The other half of a round takes the transpose of `csr`.

    Parameters
    ----------
    csr : CSR, or a sparse matrix of SciPy or CuPy
        (m, n): the known entries, those that are zero included.
    factor : (n, k) array of the dtype of `csr`
        V, finite.
    ridge : float
    x0 : (m, k) array, optional
        Where "cg" and "sketch" start, zero by default. Rows with fewer than k entries always start
        at zero if `ridge` is 0.
    solver : {"auto", "cholesky", "cg", "sketch"}
        As in `complete_matrix`.
    inner_tol : float
        0 <= inner_tol < 1, for "cg" and "sketch": ‖gradient‖ <= inner_tol ‖V[Ω_i]ᵀ M[i, Ω_i]‖.
    rng : None, int or numpy.random.Generator, optional
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
        `csr` is no sparse matrix, or dtypes or devices are mixed.

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
    csr = as_csr(csr, "csr")
    xp, (data, factor, x0) = on_device(csr=csr.data, factor=factor, x0=x0)
    float_dtype(csr=data, factor=factor, x0=x0)
    m, n = csr.shape
    if factor.ndim != 2 or len(factor) != n or not factor.shape[1]:
        raise ValueError(f"factor must have shape ({n}, k) with k > 0 (got {factor.shape})")
    if x0 is not None and x0.shape != (m, factor.shape[1]):
        raise ValueError(f"x0 must have shape ({m}, {factor.shape[1]}) (got {x0.shape})")
    for name, array in (("csr", data), ("factor", factor), ("x0", x0)):
        if array is not None and not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
    ridge, inner_tol = (
        _checked_number("ridge", ridge),
        _checked_number("inner_tol", inner_tol, below=1),
    )
    solve = _Solver(_checked_choice("solver", solver, SOLVERS), ridge, key_from_rng(rng))
    return solve(xp, csr, factor, x0, inner_tol)[0]


# --- checks ---------------------------------------------------------------------------------------

SOLVERS = ("auto", "cholesky", "cg", "sketch")


def _checked_number(name, value, below=math.inf):
    """`value` as a float with 0 <= value < below."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number (got {value!r})") from None
    if not 0 <= number < below:
        raise ValueError(f"{name} must satisfy 0 <= {name} < {below} (got {number})")
    return number


def _checked_choice(name, value, choices):
    if not any(
        value is choice or isinstance(choice, str) and isinstance(value, str) and value == choice
        for choice in choices
    ):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))} (got {value!r})")
    return value


def _checked_places(name, places, limit, beside):
    if (
        places is None
        or places.dtype.kind not in "iu"
        and (places.size or places.dtype.kind != "f")
    ):
        raise TypeError(
            f"{name} must be an array of integers (got {getattr(places, 'dtype', None)})"
        )
    if places.ndim != 1 or places.shape != beside.shape:
        raise ValueError(
            f"{name} must have one dimension and the length of the other arrays (got shapes "
            f"{places.shape}, {beside.shape})"
        )
    if places.size and not (0 <= int(places.min()) and int(places.max()) < limit):
        raise ValueError(
            f"{name} must satisfy 0 <= index < {limit} (got {int(places.min())} … "
            f"{int(places.max())})"
        )


# --- the rounds -----------------------------------------------------------------------------------


def _complete(
    xp,
    rows,
    cols,
    values,
    shape,
    *,
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
):
    rank, max_iter = operator.index(rank), operator.index(max_iter)
    if not 1 <= rank <= min(shape):
        raise ValueError(f"rank must satisfy 1 <= rank <= min(m, n) = {min(shape)} (got {rank})")
    if max_iter < 1:
        raise ValueError(f"max_iter must be >= 1 (got {max_iter})")
    ridge, holdout, tol = (
        _checked_number("ridge", ridge),
        _checked_number("holdout", holdout, below=1),
        _checked_number("tol", tol),
    )
    if not isinstance(inner_tol, str) or inner_tol != "adaptive":
        inner_tol = _checked_number("inner_tol", inner_tol, below=1)
    center = _checked_choice("center", center, (False, True, "rows", "columns"))
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable (got {type(callback).__name__})")
    if not len(values):
        raise ValueError("values must hold at least one known entry (got none)")
    rng = np.random.default_rng(key_from_rng(rng))
    solve = _Solver(_checked_choice("solver", solver, SOLVERS), ridge, key_from_rng(rng))

    rows, cols, values = _sorted_once(xp, rows, cols, values, shape)
    scale = values.dtype.type(
        2.0 ** (math.frexp(float(xp.abs(values).max()))[1] - 1)
    )  # a power of two: dividing by it rounds nothing
    values = values / scale
    hidden = _sample(xp, rng, len(values), int(holdout * len(values)))
    offset = _offset(xp, rows[~hidden], cols[~hidden], values[~hidden], shape, center)
    values = values - _offset_at(offset, rows, cols)
    held_out = rows[hidden], cols[hidden], values[hidden]
    known = _csr(xp, rows[~hidden], cols[~hidden], values[~hidden], shape)
    del rows, cols, values, hidden
    samples = _parts(xp, rng, known, 2 * max_iter + 1) if split_samples else _repeated(known)
    u = _first(xp, next(samples)[0], rank, init, clip, rng)
    u, s, vh, changes, ended, short = _rounds(
        xp, samples, u, solve, inner_tol, tol, max_iter, callback, progress
    )

    left, right = u * s, vh.T
    observed = _rmse(xp, left, right, known.rows, known.indices, known.data) * float(scale)
    hidden = _rmse(xp, left, right, *held_out) * float(scale) if len(held_out[0]) else None
    underdetermined = known.nnz < rank * (sum(shape) - rank)
    status = (
        ended
        + ("; underdetermined" if underdetermined else "")
        + ("; minimum-norm" if short else "")
    )
    with np.errstate(over="ignore"):
        s, offset = s * scale, offset * scale
    return CompletionResult(
        u,
        s,
        vh,
        offset,
        observed,
        hidden,
        tuple(changes),
        len(changes),
        ended == "converged",
        status,
    )


def _sorted_once(xp, rows, cols, values, shape):
    """The entries sorted by rows and columns, each place once; ValueError where a place has two
    values."""
    rows, cols = rows.astype(np.int64, copy=False), cols.astype(np.int64, copy=False)
    order = (
        xp.argsort(rows * shape[1] + cols)
        if shape[0] * shape[1] < 2**63
        else xp.lexsort(xp.stack([cols, rows]))
    )
    rows, cols, values = rows[order], cols[order], values[order]
    again = (rows[1:] == rows[:-1]) & (cols[1:] == cols[:-1])
    if not bool(again.any()):
        return rows, cols, values
    differ = again & (values[1:] != values[:-1])
    if bool(differ.any()):
        e = int(differ.argmax())
        raise ValueError(
            f"values must be the same where a place comes twice (got {float(values[e])} and "
            f"{float(values[e + 1])} at "
            f"({int(rows[e])}, {int(cols[e])}))"
        )
    first = xp.ones(len(values), bool)
    first[1:] = ~again
    return rows[first], cols[first], values[first]


def _sample(xp, rng, count, size):
    """(count,) array of bool, True at `size` random places."""
    chosen = np.zeros(count, bool)
    if size:
        chosen[rng.choice(count, size, replace=False)] = True
    return xp.asarray(chosen)


def _csr(xp, rows, cols, values, shape):
    """A CSR of entries that are sorted."""
    indptr = xp.zeros(shape[0] + 1, np.int64)
    indptr[1:] = xp.cumsum(xp.bincount(rows, minlength=shape[0]))
    return CSR(indptr, cols, values, shape)


def _offset(xp, rows, cols, values, shape, center):
    """The means that are subtracted: (1, 1), (m, 1) or (1, n)."""
    mean = values.mean(dtype=np.float64) if center else xp.zeros((), np.float64)
    if center not in ("rows", "columns"):
        return xp.full((1, 1), float(mean), values.dtype)
    groups, count = (rows, shape[0]) if center == "rows" else (cols, shape[1])
    sizes = xp.bincount(groups, minlength=count)
    means = xp.where(
        sizes > 0,
        xp.bincount(groups, weights=values, minlength=count) / xp.maximum(sizes, 1),
        float(mean),
    )
    return means.astype(values.dtype).reshape((-1, 1) if center == "rows" else (1, -1))


def _offset_at(offset, rows, cols):
    if offset.shape[0] > 1:
        return offset[rows, 0]
    return offset[0, cols] if offset.shape[1] > 1 else offset[0, 0]


def _repeated(known):
    """All entries by rows and by columns, for as many half-steps as there are."""
    while True:
        yield known, known._transposed


def _parts(xp, rng, known, count):
    """Another part of the entries for the first U and for every half-step."""
    of_entry = xp.asarray(rng.permutation(known.nnz) % count)
    for part in range(count):
        mine = of_entry == part
        csr = _csr(xp, known.rows[mine], known.indices[mine], known.data[mine], known.shape)
        yield csr, csr._transposed


def _first(xp, known, rank, init, clip, rng):
    """The first U, (m, k) with orthonormal columns."""
    m = known.shape[0]
    if isinstance(init, str):
        _checked_choice("init", init, ("spectral",))
        u = randomized_svd(known, rank, n_iter=4, rng=rng).u
    else:
        _, (_, u) = on_device(values=known.data, init=init)
        if u is None or u.shape != (m, rank):
            raise ValueError(
                f"init must be 'spectral' or have shape ({m}, {rank}) (got "
                f"{getattr(u, 'shape', None)})"
            )
        if float_dtype(values=known.data, init=u) and not bool(xp.isfinite(u).all()):
            raise ValueError("init must be finite (got nan or inf)")
        u = xp.linalg.qr(u)[0]
    if clip is not None:
        most = 2 * math.sqrt(_checked_number("clip", clip) * rank / m)
        u = xp.linalg.qr(xp.where(xp.linalg.norm(u, axis=1, keepdims=True) > most, 0, u))[0]
    return u


def _rounds(xp, samples, u, solve, inner_tol, tol, max_iter, callback, progress):
    """u, s and vh after the last round, all relative changes, what ended the rounds, and whether a
    solution was one of several.

    The model is Q_u R Q_vᵀ with orthonormal Q_u and Q_v. Before a half-step it is written in the
    basis that is kept, where conjugate gradients start.
    """
    if tol:
        tol = max(tol, LEAST_TOLERANCE * float(np.finfo(u.dtype).eps))
    changes, ended, short, model, adaptive = [], "max_iter", False, None, isinstance(inner_tol, str)
    bar = progress_bar(max_iter, "rounds") if progress else None
    try:
        while len(changes) < max_iter:
            accuracy = inner_tol
            if adaptive:
                accuracy = min(0.1, 0.1 * max(changes[-1], tol)) if changes else 0.1
            model, change, short = _round(xp, samples, model or (u, None, None), solve, accuracy)
            changes.append(change)
            if bar is not None:
                bar.update(1)
            if (
                change <= tol and tol and (accuracy <= tol or not adaptive)
            ):  # or else it may have been solved too coarsely to change
                ended = "converged"
            elif callback is not None and callback(len(changes), change) is True:
                ended = "callback"
            if ended != "max_iter":
                break
    except KeyboardInterrupt:
        if model is None:
            raise
        ended = "interrupt"
    finally:
        if bar is not None:
            bar.close()
    u, r, v = model
    left, s, right = xp.linalg.svd(r)
    return u @ left, s, right @ v.T, changes, ended, short


def _round(xp, samples, model, solve, accuracy):
    """One round: the new Q_u, R, Q_v, the relative change of the model, and whether a solution was
    one of several."""
    u, r, v = model
    x, few_columns = solve(xp, next(samples)[1], u, None if r is None else v @ r.T, accuracy)
    new_v, r_v = xp.linalg.qr(x)
    x, few_rows = solve(xp, next(samples)[0], new_v, u @ r_v.T, accuracy)
    new_u, new_r = xp.linalg.qr(x)
    norm = change = float(xp.linalg.norm(x))
    if r is not None:
        # the difference along the new Q_v and orthogonal to it, neither of which is a difference of
        # large numbers
        along = new_v.T @ v
        change = math.hypot(
            float(xp.linalg.norm(x - u @ (r @ along.T))),
            float(xp.linalg.norm((v - new_v @ along) @ r.T)),
        )
    return (new_u, new_r, new_v), change / norm if norm else 0.0, few_columns or few_rows


def _rmse(xp, left, right, rows, cols, values):
    return float(
        xp.sqrt(xp.mean((_entries(xp, left, right, rows, cols) - values) ** 2, dtype=np.float64))
    )


def _entries(xp, u, v, rows, cols):
    """Σ_c u[rows, c] v[cols, c]."""
    kind = np.int32 if rows.dtype == cols.dtype == np.int32 else np.int64
    rows, cols = (xp.ascontiguousarray(places.astype(kind, copy=False)) for places in (rows, cols))
    y = xp.empty(len(rows), u.dtype)
    entry_products(xp.ascontiguousarray(u), xp.ascontiguousarray(v), rows, cols, y)
    return y


# --- half-steps -----------------------------------------------------------------------------------


class _Solver:
    """One least-squares problem for every row of a sparse matrix, by a method that is chosen
    here."""

    def __init__(self, name, ridge, key):
        self.name, self.ridge, self.key = name, ridge, key

    def __call__(self, xp, csr, factor, x0, accuracy):
        """The solutions, (m, k), and whether one of them is the smallest of several."""
        (m, n), k = csr.shape, factor.shape[1]
        weight, factor = self.ridge / max(n, 1), xp.ascontiguousarray(factor)
        matrix, all_rows, found = (
            (csr.indptr, csr.indices, csr.data),
            _spread(xp, m),
            xp.zeros(m, np.int32),
        )
        exact = xp is np or k <= MOST_IN_BLOCK
        if exact and (self.name == "cholesky" or self.name == "auto" and k <= MOST_DIRECT):
            x = xp.zeros((m, k), factor.dtype)
            solve_directly(*matrix, factor, all_rows, x, found, weight)
            return x, bool((found < k).any())
        width = (
            -(-k // LANES) * LANES
        )  # rows that vectors divide: what is added is zero and stays so
        wide, x = (_widened(xp, a, width, factor.dtype, rows) for a, rows in ((factor, n), (x0, m)))
        if self.name != "sketch" or not exact:
            automatic = self.name == "auto" and exact
            limits = (STEPS, WORST_CONDITION) if automatic else (10 * k + STEPS, math.inf)
            reached = EXACT if self.name == "cholesky" else max(accuracy, EXACT)
            solve_by_gradients(*matrix, wide, all_rows, x, found, weight, reached, k, *limits)
            all_rows = xp.nonzero(found < 0)[0] if automatic else all_rows[:0]
        if len(all_rows):
            x = xp.ascontiguousarray(x[:, :k])
            solve_by_sketch(
                *matrix,
                factor,
                _signed_places(xp, n, k, self.key),
                all_rows,
                x,
                found,
                weight,
                max(accuracy, EXACT),
                10 * k + STEPS,
            )
        return x[:, :k], bool((found < k).any())


def _spread(xp, n):
    """0 … n - 1 in the order of multiples of about 0.618 n, so that every stretch of it has rows
    from everywhere, long and short ones."""
    step = int(0.618 * n) | 1
    while math.gcd(step, n) > 1:
        step += 1
    return xp.arange(n) * step % max(n, 1)


def _widened(xp, a, width, dtype, rows):
    wide = xp.zeros((rows, width), dtype)
    if a is not None:
        wide[:, : a.shape[1]] = a
    return wide


def _signed_places(xp, n, k, key):
    """(n, 4) array: the row, of k, to which a row of the factor is added in each sketch, twice,
    plus one for a negative sign."""
    return (philox_uint32((n, SKETCHES), key=key, xp=xp) % np.uint32(2 * k)).astype(np.int32)


# --- kernels --------------------------------------------------------------------------------------

SUSPICIOUS = 1e-8  # a pivot smaller than this, relative to its diagonal entry, asks for pivoting
# a pivot smaller than this, relative to the largest one, is a direction that the data do not
# determine
MISSING = 1e-12


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, k]; in int64 rows[r]; "
    "inout T x[m, k];"
    " inout int32 found[m]; float64 weight; scratch float64 gram[k*k+48*k+576]; "
    "scratch float64 panel[32*k+768];"
    " scratch float64 negative[8*k+192]; scratch float64 vectors[3*k]; "
    "scratch float64 basis[k*k+k]",
    constants=("MISSING", "SUSPICIOUS"),
    split="r",
    gpu="block",
    threads=128,
    shared="16*k*k+296*k+256",
    types=INDICES,
)
def solve_directly(
    indptr,
    indices,
    data,
    factor,
    rows,
    x,
    found,
    weight,
    gram,
    panel,
    negative,
    vectors,
    basis,
    start,
    stop,
):
    """Rows of the least-squares solution by L D Lᵀ of the Gram matrix, where it is singular by a
    factorisation that reveals its rank."""
    k = factor.shape[1]
    pitch = _pitch(k, panel)
    _clear(panel, 32 * pitch)
    _clear(negative, 8 * pitch)
    for at in range(start, stop):
        i = rows[at]
        first, last = np.int64(indptr[i]), np.int64(indptr[i + 1])
        rank = _direct(
            first,
            last,
            indices,
            data,
            factor,
            weight * (last - first),
            gram,
            panel,
            negative,
            vectors,
            basis,
            pitch,
        )
        found[i] = rank
        for c in range(k):
            x[i, c] = vectors[c]


def _pitch(k, panel):
    """The length of a row of a Gram matrix and its right-hand side, a multiple of the register
    tile's columns."""
    return (k + tile_cols(panel[0])) // tile_cols(panel[0]) * tile_cols(panel[0])


def _clear(x, n):
    for c in range(n):
        x[c] = 0


def _direct(
    first, last, indices, data, factor, ridge, gram, panel, negative, vectors, basis, pitch
):
    """The solution of one row into vectors[:k]; how many directions its entries determine."""
    k = factor.shape[1]
    if first == last:
        _clear(vectors, k)
        return 0
    if last - first >= k or ridge > 0:
        _gram(first, last, indices, data, factor, ridge, gram, panel, pitch)
        if _factorise(gram, negative, vectors, pitch, k, panel):
            _back_substitute(gram, vectors, pitch, k)
            return k
    _gram(first, last, indices, data, factor, ridge, gram, panel, pitch)
    return _smallest_solution(gram, basis, vectors, pitch, k)


def _gram(first, last, indices, data, factor, ridge, gram, panel, pitch):
    """The upper triangle of [A b]ᵀ [A b] + ridge I without its last row, A the rows of the factor
    that belong to the entries b."""
    k, begin = factor.shape[1], first
    while begin < last:
        depth = min(32, last - begin)
        for e in range(depth):
            source, target = (
                factor[np.uintp(indices[begin + e])],
                panel[e * pitch : (e + 1) * pitch],
            )
            for c in range(k):
                target[c] = source[c]
            target[k] = data[begin + e]
        _add_products(panel, panel, 0, gram, pitch, 0, k, depth, begin - first, panel)
        begin += depth
    for c in range(k):
        gram[c * pitch + c] += ridge


def _add_products(left, right, place, gram, pitch, low, k, depth, accumulate, panel):
    """The upper triangle of gram from row `low` on, (plus) leftᵀ right for `depth` rows of left,
    and of right from `place` on."""
    i = low
    while i < k:
        j = i // tile_cols(panel[0]) * tile_cols(panel[0])
        while j <= k:
            gemm_tile(
                left,
                i,
                1,
                pitch,
                right,
                place + j,
                pitch,
                gram,
                i * pitch + j,
                pitch,
                depth,
                accumulate,
            )
            j += tile_cols(panel[0])
        i += tile_rows(panel[0])


def _factorise(gram, negative, diagonal, pitch, k, panel):
    """G = L D Lᵀ in place: row i of the upper triangle becomes d_i times column i of L. False where
    a pivot is suspiciously small.

    Eight rows at a time, the others then lose what these explain; `negative` has these rows divided
    by -d.
    """
    width = tile_cols(panel[0])
    for i in range(k):
        diagonal[i] = gram[i * pitch + i]
    for low in range(0, k, 8):
        high = min(low + 8, k)
        for i in range(low, high):
            if i > low:
                j = i // width * width
                while j <= k:
                    gemm_row(
                        negative,
                        i,
                        1,
                        pitch,
                        gram,
                        low * pitch + j,
                        pitch,
                        gram,
                        i * pitch + j,
                        pitch,
                        i - low,
                        1,
                    )
                    j += width
            row, scaled = (
                gram[i * pitch : (i + 1) * pitch],
                negative[(i - low) * pitch : (i - low + 1) * pitch],
            )
            if not row[i] > SUSPICIOUS * diagonal[i]:
                return False
            inverse = -1 / row[i]
            for c in range(i, k + 1):
                scaled[c] = row[c] * inverse
        _add_products(negative, gram, low * pitch, gram, pitch, high, k, high - low, 1, panel)
    return True


def _back_substitute(gram, solution, pitch, k):
    """From the last unknown to the first, each taken out of all equations before it."""
    for i in range(k):
        solution[i] = gram[i * pitch + k]
    for step in range(k):
        i = k - 1 - step
        value = solution[i] / gram[i * pitch + i]
        solution[i] = value
        for j in range(i):
            solution[j] -= gram[j * pitch + i] * value


def _smallest_solution(gram, basis, vectors, pitch, k):
    """The smallest solution of G x = c by G ≈ Rᵀ R with R of full row rank: x = Rᵀ (R Rᵀ)⁻¹ y, c =
    Rᵀ y. The rank.

    Cholesky's factorisation by rows, each time for the largest diagonal entry that is left; G in
    the upper triangle, c behind it.
    """
    solution, left, order, wide = vectors[:k], vectors[k : 2 * k], vectors[2 * k : 3 * k], k + 1
    most = 0.0
    for c in range(k):
        left[c] = gram[c * pitch + c]
        most = max(most, left[c])
    rank = 0
    while rank < k:
        q = 0
        for c in range(k):
            if left[c] > left[q]:
                q = c
        if not left[q] > MISSING * most:
            break
        row, root = basis[rank * wide : (rank + 1) * wide], math.sqrt(left[q])
        for c in range(wide):
            row[c] = gram[min(q, c) * pitch + max(q, c)]
        for t in range(rank):
            above = basis[t * wide : (t + 1) * wide]
            share = above[q]
            for c in range(wide):
                row[c] -= share * above[c]
        for c in range(wide):
            row[c] /= root
        for t in range(rank):
            row[np.int64(order[t])] = 0
        for c in range(k):
            left[c] -= row[c] * row[c]
        row[q], left[q], order[rank] = root, -1, q
        rank += 1
    _from_basis(gram, basis, solution, left, pitch, k, rank)
    return rank


def _from_basis(gram, basis, solution, z, pitch, k, rank):
    """solution = Rᵀ (R Rᵀ)⁻¹ y for the rows of R, with y behind them; the factorisation of R Rᵀ
    takes the place of G."""
    wide = k + 1
    for s in range(rank):
        for t in range(s + 1):
            total = 0.0
            for c in range(k):
                total += basis[s * wide + c] * basis[t * wide + c]
            for c in range(t):
                total -= gram[s * pitch + c] * gram[t * pitch + c]
            gram[s * pitch + t] = (
                total / gram[t * pitch + t] if t < s else math.sqrt(max(total, 0.0))
            )
    for s in range(rank):
        total = basis[s * wide + k]
        for t in range(s):
            total -= gram[s * pitch + t] * z[t]
        z[s] = total / gram[s * pitch + s]
    for step in range(rank):
        s = rank - 1 - step
        for t in range(s + 1, rank):
            z[s] -= gram[t * pitch + s] * z[t]
        z[s] /= gram[s * pitch + s]
    _clear(solution, k)
    for s in range(rank):
        for c in range(k):
            solution[c] += z[s] * basis[s * wide + c]


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, w]; in int64 rows[r]; "
    "inout T x[m, w];"
    " inout int32 found[m]; float64 weight; float64 tolerance; int64 k; int64 most; float64 worst; "
    "scratch float64 vectors[5*w]",
    split="r",
    gpu="block",
    threads=128,
    shared="40*w+256",
    types=INDICES,
)
def solve_by_gradients(
    indptr,
    indices,
    data,
    factor,
    rows,
    x,
    found,
    weight,
    tolerance,
    k,
    most,
    worst,
    vectors,
    start,
    stop,
):
    """Rows of the least-squares solution by conjugate gradients from x, found = -1 where it takes
    too long; columns behind k are zero."""
    for at in range(start, stop):
        i = rows[at]
        first, last = np.int64(indptr[i]), np.int64(indptr[i + 1])
        ridge = weight * (last - first)
        row = x[i]
        if ridge == 0 and last - first < k:
            for c in range(len(row)):
                row[c] = 0
        good = _conjugate_gradients(
            first,
            last,
            indices,
            data,
            factor,
            ridge,
            tolerance,
            most,
            worst,
            row,
            vectors,
            vectors,
            0,
        )
        found[i] = -1 if not good else k if ridge > 0 else min(k, last - first)


@kernel(
    "in INDEX indptr[m+1]; in INDEX indices[z]; in T data[z]; in T factor[n, k]; "
    "in int32 places[n, 4]; in int64 rows[r];"
    " inout T x[m, k]; inout int32 found[m]; float64 weight; float64 tolerance; int64 most; "
    "scratch float64 gram[k*k+48*k+576];"
    " scratch float64 sketch[k*k+64*k+768]; scratch float64 negative[8*k+192]; "
    "scratch float64 vectors[5*k];"
    " scratch float64 basis[k*k+k]",
    constants=("MISSING", "SUSPICIOUS"),
    split="r",
    gpu="block",
    threads=128,
    shared="16*k*k+296*k+256",
    types=INDICES,
)
def solve_by_sketch(
    indptr,
    indices,
    data,
    factor,
    places,
    rows,
    x,
    found,
    weight,
    tolerance,
    most,
    gram,
    sketch,
    negative,
    vectors,
    basis,
    start,
    stop,
):
    """Conjugate gradients preconditioned by the Gram matrix of sketches: sums of rows with random
    signs, of 4 k entries or more."""
    k = factor.shape[1]
    pitch = _pitch(k, sketch)
    _clear(negative, 8 * pitch)
    for at in range(start, stop):
        i = rows[at]
        first, last = np.int64(indptr[i]), np.int64(indptr[i + 1])
        ridge = weight * (last - first)
        good = last - first >= k or ridge > 0 and last > first
        if good:
            _sketched_gram(first, last, indices, data, factor, places, ridge, gram, sketch, pitch)
            good = _factorise(gram, negative, vectors, pitch, k, sketch)
        if good:
            _conjugate_gradients(
                first,
                last,
                indices,
                data,
                factor,
                ridge,
                tolerance,
                most,
                math.inf,
                x[i],
                vectors,
                gram,
                pitch,
            )
            found[i] = k
        else:
            _clear(sketch, 32 * pitch)
            found[i] = _direct(
                first,
                last,
                indices,
                data,
                factor,
                ridge,
                gram,
                sketch,
                negative,
                vectors,
                basis,
                pitch,
            )
            for c in range(k):
                x[i, c] = vectors[c]


def _sketched_gram(first, last, indices, data, factor, places, ridge, gram, sketch, pitch):
    """(S A)ᵀ (S A) + ridge I for four sketches S of k rows; of A itself where that is not
    longer."""
    k = factor.shape[1]
    if last - first <= 4 * k:
        _clear(sketch, 32 * pitch)
        _gram(first, last, indices, data, factor, ridge, gram, sketch, pitch)
        return
    for part in range(4):
        _clear(sketch, k * pitch)
        for e in range(first, last):
            row, place = factor[np.uintp(indices[e])], np.int64(places[np.uintp(indices[e]), part])
            target = sketch[(place >> 1) * pitch : ((place >> 1) + 1) * pitch]
            sign = 1.0 - 2.0 * (place & 1)
            for c in range(k):
                target[c] += sign * row[c]
        _add_products(sketch, sketch, 0, gram, pitch, 0, k, k, part, sketch)
    for c in range(k):
        gram[c * pitch + c] += ridge


def _conjugate_gradients(
    first, last, indices, data, factor, ridge, tolerance, most, worst, x, vectors, gram, pitch
):
    """Conjugate gradients for (AᵀA + ridge I) x = Aᵀb from x, preconditioned by L D Lᵀ in gram
    unless pitch is 0.

    A row of A is read once in a step, for A p and for Aᵀ (A p). False where `most` steps are not
    enough, or where the Rayleigh quotients of the steps, which lie between the eigenvalues, show a
    condition above `worst`.
    """
    k = len(x)
    p, gradient, product, z, best = (
        vectors[:k],
        vectors[k : 2 * k],
        vectors[2 * k : 3 * k],
        vectors[3 * k : 4 * k],
        vectors[4 * k : 5 * k],
    )
    for c in range(k):
        best[c] = x[c]
    limit = tolerance * math.sqrt(
        _gradient(first, last, indices, data, factor, ridge, best, gradient, product)
    )
    for c in range(k):
        z[c] = gradient[c]
    if pitch:
        _precondition(gram, z, pitch, k)
    for c in range(k):
        p[c] = z[c]
    size, descent, step = math.sqrt(dot(gradient, gradient)), dot(gradient, z), 0
    largest, least, good = 0.0, math.inf, True
    while size > limit and descent > 0:
        if step == most or largest > worst * least:
            good = False
            break
        _normal_product(first, last, indices, factor, ridge, p, product)
        curvature = dot(p, product)
        if not curvature > 0:
            break
        length = descent / curvature
        quotient = curvature / dot(p, p)
        largest, least = max(largest, quotient), min(least, quotient)
        for c in range(k):
            best[c] += length * p[c]
            gradient[c] -= length * product[c]
            z[c] = gradient[c]
        if pitch:
            _precondition(gram, z, pitch, k)
        following = dot(gradient, z)
        for c in range(k):
            p[c] = z[c] + following / descent * p[c]
        size, descent = math.sqrt(dot(gradient, gradient)), following
        step += 1
    for c in range(k):
        x[c] = best[c]
    return good


def _gradient(first, last, indices, data, factor, ridge, x, gradient, right):
    """gradient = Aᵀ (b - A x) - ridge x, four rows of A at a time; the squared length of right = Aᵀ
    b."""
    k = len(x)
    for c in range(k):
        gradient[c], right[c] = -ridge * x[c], 0
    e = first
    while e + 4 <= last:
        r0, r1 = factor[np.uintp(indices[e])], factor[np.uintp(indices[e + 1])]
        r2, r3 = factor[np.uintp(indices[e + 2])], factor[np.uintp(indices[e + 3])]
        b0, b1, b2, b3 = float(data[e]), float(data[e + 1]), float(data[e + 2]), float(data[e + 3])
        t0, t1, t2, t3 = b0 - dot(r0, x), b1 - dot(r1, x), b2 - dot(r2, x), b3 - dot(r3, x)
        for c in range(k):
            gradient[c] += (t0 * r0[c] + t1 * r1[c]) + (t2 * r2[c] + t3 * r3[c])
            right[c] += (b0 * r0[c] + b1 * r1[c]) + (b2 * r2[c] + b3 * r3[c])
        e += 4
    while e < last:
        row, value = factor[np.uintp(indices[e])], float(data[e])
        residual = value - dot(row, x)
        for c in range(k):
            gradient[c] += residual * row[c]
            right[c] += value * row[c]
        e += 1
    return dot(right, right)


def _normal_product(first, last, indices, factor, ridge, p, product):
    """product = (AᵀA + ridge I) p, four rows of A at a time."""
    k = len(p)
    for c in range(k):
        product[c] = ridge * p[c]
    e = first
    while e + 4 <= last:
        r0, r1 = factor[np.uintp(indices[e])], factor[np.uintp(indices[e + 1])]
        r2, r3 = factor[np.uintp(indices[e + 2])], factor[np.uintp(indices[e + 3])]
        t0, t1, t2, t3 = dot(r0, p), dot(r1, p), dot(r2, p), dot(r3, p)
        for c in range(k):
            product[c] += (t0 * r0[c] + t1 * r1[c]) + (t2 * r2[c] + t3 * r3[c])
        e += 4
    while e < last:
        row = factor[np.uintp(indices[e])]
        t = dot(row, p)
        for c in range(k):
            product[c] += t * row[c]
        e += 1


def _precondition(gram, z, pitch, k):
    """z ← (L D Lᵀ)⁻¹ z."""
    for i in range(k):
        row = gram[i * pitch : (i + 1) * pitch]
        z[i] /= row[i]
        share = z[i]
        for c in range(i + 1, k):
            z[c] -= share * row[c]
    for step in range(k):
        i = k - 1 - step
        z[i] -= dot(gram[i * pitch + i + 1 : i * pitch + k], z[i + 1 : k]) / gram[i * pitch + i]


@kernel(
    "in T u[m, k]; in T v[n, k]; in INDEX rows[z]; in INDEX cols[z]; out T y[z]",
    split="z",
    types=INDICES,
)
def entry_products(u, v, rows, cols, y, start, stop):
    """Inner products of rows of u and v, in float64."""
    for e in range(start, stop):
        left, right = u[np.uintp(rows[e])], v[np.uintp(cols[e])]
        total = 0.0
        for c in range(len(left)):
            total += float(left[c]) * float(right[c])
        y[e] = total
