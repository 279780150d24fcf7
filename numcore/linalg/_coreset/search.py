"""The search: models trained on weighted points, and the losses of all points under them."""

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, Int64
from ...dispatch import device_of
from .._caratheodory import reduced
from .draws import best_sample, draw, wide
from .kernels import BLOCK, add_losses

Method: TypeAlias = Literal["norm", "mean_of_samples", "caratheodory", "uniform"]

Reason: TypeAlias = Literal[
    "patience", "max_iter", "queries_exceed_size", "callback", "interrupt", "running"
]

N_TRIALS = 100  # of "mean_of_samples"
N_CHUNKS = 8  # of `caratheodory`
FIRST_QUERIES = 32  # initial capacity of the loss matrix, in columns


class CoresetResult(NamedTuple):
    """The best coreset found by :func:`auto_coreset`.

    Attributes
    ----------
    indices : (k,) array of int64
        Ascending, each once.
    weights : (k,) array
    model : object
        The model that `fit` returned for these points.
    converged : bool
        Whether the search stopped by itself: by "patience" or "queries_exceed_size".
    n_iter : int
        Rounds after the initial models.
    reason : {"patience", "max_iter", "queries_exceed_size", "callback", "interrupt", "running"}
        Why the search stopped; "running" in results passed to the callback.
    total_loss : float
        Σ weights_i loss_i over all points, under this model.
    loss_history : (t,) NumPy array of float64
        The total loss of every model, the initial ones first.
    loss_matrix : (n, t) array
        The losses of all points under every model, a column each.
    """

    indices: Int64[Array, "k"]
    weights: Float[Array, "k"]
    model: Any
    converged: bool
    n_iter: int
    reason: Reason
    total_loss: float
    loss_history: Array
    loss_matrix: Float[Array, "n t"]


class Search:
    """State of one call of `auto_coreset`: the losses so far, their norms, and the best coreset."""

    def __init__(self, xp, x, y, weights, fit, loss, method, strata, rng, callback):
        self.xp, self.x, self.y = xp, x, y
        self.w, self.fit, self.loss = wide(xp, weights), fit, loss
        self.method, self.strata, self.rng = method, strata, rng
        self.callback, self.bar = callback, None
        self.members = None if method in ("norm", "uniform") else strata.members(xp)
        self.history, self.n_iter, self.n_initial, self.best = [], 0, 0, None
        self.columns, self.norms = None, xp.zeros(len(x))
        self.parts = xp.empty((-(-len(x) // BLOCK), 2))

    def run(self, n_initial, patience, max_iter):
        """Search, and return why it stopped."""
        self.n_initial = n_initial
        self.columns = self.xp.empty(
            (min(FIRST_QUERIES, n_initial + max_iter), len(self.x)), self.x.dtype
        )
        for _ in range(n_initial):
            self.add(*draw(self.xp, len(self.x), None, self.w, self.strata, self.rng))
            if self.callback_stops():
                return "callback"
        reference, waited = max(self.history), 0
        while self.n_iter < max_iter:
            if self.method == "caratheodory" and len(self.history) >= min(self.strata.shares):
                return "queries_exceed_size"
            total = self.add(*self.summary())
            self.n_iter += 1
            reference, waited = (total, 0) if total < reference else (reference, waited + 1)
            if self.callback_stops():
                return "callback"
            if waited == patience:
                return "patience"
        return "max_iter"

    def add(self, indices, weights):
        """Train on weighted points, add the losses under this model, and return the total loss."""
        weights = weights.astype(self.x.dtype, copy=False)
        model = self.fit(self.x[indices], None if self.y is None else self.y[indices], weights)
        t, columns = len(self.history), self.columns
        losses = self.checked(self.loss(self.x, self.y, model))
        if t == len(columns):
            columns = self.xp.empty((2 * t, len(self.x)), self.x.dtype)
            columns[:t] = self.columns
        add_losses(losses, self.w, self.norms, columns[t], self.parts)
        self.columns = columns
        total, bad = self.parts.sum(axis=0).tolist()
        if bad or not total < math.inf:
            raise ValueError(f"loss must be finite and >= 0 (got another value in {self.round()})")
        self.history.append(total)
        if self.best is None or total < self.best[-1]:
            self.best = indices, weights, model, total
        if self.bar is not None:
            self.bar.update(1)
        return total

    def checked(self, losses):
        """The result of `loss` as a contiguous array of the dtype of x."""
        losses = np.asarray(losses) if isinstance(losses, (list, tuple)) else losses
        where, device = self.round(), device_of(losses)
        if device is None or losses.dtype.kind not in "biuf":
            got = getattr(losses, "dtype", type(losses).__name__)
            raise TypeError(f"loss must return an array of real numbers (got {got} in {where})")
        if device is not device_of(self.x):
            raise TypeError(f"loss must return an array on the device of x (got {device})")
        if losses.shape != self.x.shape[:1]:
            n = len(self.x)
            raise ValueError(f"loss must return shape ({n},) (got {losses.shape} in {where})")
        unaligned = not getattr(losses.flags, "aligned", True)
        with np.errstate(over="ignore"):
            return self.xp.ascontiguousarray(losses.astype(self.x.dtype, copy=unaligned))

    def round(self):
        t = len(self.history)
        return f"initial model {t + 1}" if t < self.n_initial else f"round {self.n_iter + 1}"

    def summary(self):
        """Indices and weights of points whose weighted losses approximate those of all points, for
        each model so far."""
        n, xp = len(self.x), self.xp
        if self.method in ("norm", "uniform"):
            return draw(
                xp, n, self.norms if self.method == "norm" else None, self.w, self.strata, self.rng
            )
        f, parts = self.columns[: len(self.history)].T, []
        for members, share in zip(self.members, self.strata.shares, strict=True):
            if self.method == "mean_of_samples":
                parts.append(best_sample(xp, f, self.w, members, share, N_TRIALS, self.rng))
            else:
                rows, w = (
                    (f, self.w)
                    if members is None
                    else (f[members], self.w[members] if len(self.w) == n else self.w)
                )
                with np.errstate(all="ignore"):
                    indices, w, *_ = reduced(
                        xp, "loss", rows, w if len(w) == len(rows) else None, share, N_CHUNKS
                    )
                parts.append((indices if members is None else members[indices], w))
        indices, weights = (xp.concatenate(part) for part in zip(*parts, strict=True))
        order = xp.argsort(indices)
        return indices[order], weights[order]

    def callback_stops(self):
        return self.callback is not None and self.callback(self.result("running")) is True

    def result(self, reason):
        return CoresetResult(
            *self.best[:3],
            reason in ("patience", "queries_exceed_size"),
            self.n_iter,
            reason,
            self.best[3],
            np.array(self.history),
            self.columns[: len(self.history)].T,
        )
