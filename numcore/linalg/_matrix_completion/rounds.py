"""The alternating minimization loop, from known entries to a model."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from ...progress import progress_bar
from ...random import key_from_rng
from .._randomized import randomized_svd
from .entries import entries_of, means_of, offset_at, rmse, sorted_once
from .half_steps import HalfStep

MIN_TOLERANCE = 8  # units of roundoff: smaller changes of the model are rounding errors


class Options(NamedTuple):
    """How a model is fitted; see :func:`complete_matrix`."""

    rank: int
    ridge: float
    center: bool | str
    init: str | Array
    clip: float | None
    solver: str
    inner_tol: str | float
    split_samples: bool
    holdout: float
    tol: float
    max_iter: int
    rng: Any
    callback: Callable[[int, float], bool | None] | None
    progress: bool

    def check(self, m, n):
        """Raise ValueError if options do not match the shape of the matrix."""
        if self.rank > min(m, n):
            raise ValueError(f"rank must be <= min(m, n) with (m, n) = {m, n} (got {self.rank})")
        if not isinstance(self.init, str) and self.init.shape != (m, self.rank):
            raise ValueError(f"init must have shape {m, self.rank} (got {self.init.shape})")


class Model(NamedTuple):
    """The model Q_u R Q_vᵀ with orthonormal Q_u and Q_v; None before the first round."""

    u: Array
    r: Array | None = None
    v: Array | None = None


class Fit(NamedTuple):
    """Outcome of the rounds: the model, its relative changes, why they stopped, and whether a
    least-squares problem was rank-deficient."""

    model: Model
    changes: tuple[float, ...]
    reason: str
    rank_deficient: bool


class Completion(NamedTuple):
    """A model u diag(s) vh + offset with its errors, and the fit that it came from."""

    u: Array
    s: Array
    vh: Array
    offset: Array
    observed_rmse: float
    holdout_rmse: float | None
    underdetermined: bool
    fit: Fit


def complete(entries, options):
    """The `Completion` of a matrix from these known entries."""
    rng = np.random.default_rng(key_from_rng(options.rng))
    half_step = HalfStep(options.solver, options.ridge, key_from_rng(rng))
    entries = sorted_once(entries)
    xp = namespace_of(entries.values)
    top = float(xp.abs(entries.values).max())
    # a power of two, so that dividing by it is exact
    scale = entries.values.dtype.type(2.0 ** (math.frexp(top)[1] - 1))
    entries = entries.with_values(entries.values / scale)
    count = len(entries.values)
    hidden = _sample(xp, rng, count, int(options.holdout * count))
    offset = means_of(entries.part(~hidden), options.center)
    entries = entries.with_values(entries.values - offset_at(offset, entries.rows, entries.cols))
    held_out, known = entries.part(hidden), entries.part(~hidden).as_csr()
    del entries, hidden
    fit = _rounds(known, half_step, options, rng)
    left, s, right = xp.linalg.svd(fit.model.r)
    u, vh = fit.model.u @ left, right @ fit.model.v.T
    observed, held_out_rmse = (rmse(u * s, vh.T, e) for e in (entries_of(known), held_out))
    with np.errstate(over="ignore"):
        s, offset = s * scale, offset * scale
    m, n = known.shape
    return Completion(
        u,
        s,
        vh,
        offset,
        observed * float(scale),
        None if held_out_rmse is None else held_out_rmse * float(scale),
        known.nnz < options.rank * (m + n - options.rank),
        fit,
    )


def _sample(xp, rng, count, size):
    """(count,) array of bool, True at `size` random places."""
    chosen = np.zeros(count, bool)
    if size:
        chosen[rng.choice(count, size, replace=False)] = True
    return xp.asarray(chosen)


def _repeated(known):
    """All entries by rows and by columns, endlessly."""
    while True:
        yield known, known.T


def _parts(rng, known, count):
    """A new part of the entries for the first U and for every half-step."""
    entries = entries_of(known)
    of_entry = namespace_of(known.data).asarray(rng.permutation(known.nnz) % count)
    for part in range(count):
        csr = entries.part(of_entry == part).as_csr()
        yield csr, csr.T


def _first(known, options, rng):
    """The first U, (m, k) with orthonormal columns."""
    xp, m = namespace_of(known.data), known.shape[0]
    if isinstance(options.init, str):
        u = randomized_svd(known, options.rank, n_iter=4, rng=rng).u
    else:
        u = xp.linalg.qr(options.init)[0]
    if options.clip is not None:
        longest = 2 * math.sqrt(options.clip * options.rank / m)
        lengths = xp.linalg.norm(u, axis=1, keepdims=True)
        u = xp.linalg.qr(xp.where(lengths > longest, 0, u))[0]
    return u


def _rounds(known, half_step, options, rng):
    """The `Fit` of known entries, without their means."""
    parts = 2 * options.max_iter + 1
    samples = _parts(rng, known, parts) if options.split_samples else _repeated(known)
    model = Model(_first(next(samples)[0], options, rng))
    tol, adaptive = options.tol, isinstance(options.inner_tol, str)
    if tol:
        tol = max(tol, MIN_TOLERANCE * float(np.finfo(known.dtype).eps))
    changes, reason, rank_deficient = [], "max_iter", False
    bar = progress_bar(options.max_iter, "rounds") if options.progress else None
    try:
        while len(changes) < options.max_iter and reason == "max_iter":
            accuracy = options.inner_tol
            if adaptive:
                accuracy = min(0.1, 0.1 * max(changes[-1], tol)) if changes else 0.1
            model, change, rank_deficient = _round(samples, model, half_step, accuracy)
            changes.append(change)
            if bar is not None:
                bar.update(1)
            exact = accuracy <= tol or not adaptive  # an inaccurate solution may seem unchanged
            if tol and change <= tol and exact:
                reason = "converged"
            elif options.callback is not None and options.callback(len(changes), change) is True:
                reason = "callback"
    except KeyboardInterrupt:
        if model.r is None:
            raise
        reason = "interrupt"
    finally:
        if bar is not None:
            bar.close()
    return Fit(model, tuple(changes), reason, rank_deficient)


def _round(samples, model, half_step, accuracy):
    """One round: the new model, its relative change, and whether a least-squares problem was
    rank-deficient.

    Before each half-step the model is expressed in the basis that stays fixed, as the start of
    conjugate gradients.
    """
    u, r, v = model
    x, few_columns = half_step(next(samples)[1], u, None if r is None else v @ r.T, accuracy)
    xp = namespace_of(x)
    new_v, r_v = xp.linalg.qr(x)
    x, few_rows = half_step(next(samples)[0], new_v, u @ r_v.T, accuracy)
    new_u, new_r = xp.linalg.qr(x)
    norm = change = float(xp.linalg.norm(x))
    if r is not None:
        # the change along the new Q_v and orthogonal to it, without cancellation in either
        along = new_v.T @ v
        change = math.hypot(
            float(xp.linalg.norm(x - u @ (r @ along.T))),
            float(xp.linalg.norm((v - new_v @ along) @ r.T)),
        )
    return Model(new_u, new_r, new_v), change / norm if norm else 0.0, few_columns or few_rows
