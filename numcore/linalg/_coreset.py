"""Coresets without analysis of the model: a few weighted points on which training gives nearly the
loss of training on all of them.

The user gives `fit` and a loss of each point. The losses of all points under a few models form a
matrix; weighted rows whose sum is near the sum of all rows are a summary for these models. The
model that is trained on the summary adds a column, the next summary sees it too, and the best of
all is kept. A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An Automatic Practical
Coreset Construction Framework", ICML 2023.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import (
    RNG,
    Array,
    Float,
    Int64,
    Kind,
    at_least,
    at_most,
    finite,
    nonnegative,
    own_dtype,
)
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ..progress import progress_bar
from ..random import key_from_rng
from ._caratheodory import (
    WeightedSubset,
    caratheodory,
    check_mass,
    group_sums,
    length,
    reduced,
)

__all__ = [
    "CoresetResult",
    "WeightedSubset",
    "auto_coreset",
    "caratheodory",
    "coreset_loss",
    "vector_sum_coreset",
]

Method: TypeAlias = Literal["norm", "mean_of_samples", "caratheodory", "uniform"]
Reason: TypeAlias = Literal[
    "patience", "max_iter", "queries_exceed_size", "callback", "interrupt", "running"
]
BLOCK = 256  # points whose masses are added up to one, so that a draw looks into one block only
GROUPS = 256  # of rows that are summed for themselves
ROWS = 1 << 14  # rows whose lengths are computed at once
MAX_VALUES = 1 << 16  # values of labels that are counted rather than sorted
MAX_CLASSES = 50  # more values of y than this are no classes, unless the caller says so
N_TRIALS = 100  # of "mean_of_samples"
N_CHUNKS = 8  # of `caratheodory`
FIRST_QUERIES = 32  # columns that the matrix of losses has room for at first


class CoresetResult(NamedTuple):
    """The best coreset that was found.

    Attributes
    ----------
    indices : (k,) array of int64
        Ascending, each once.
    weights : (k,) array
    model : object
        What `fit` returned for these points.
    converged : bool
        Whether the search ended by itself: by "patience" or "queries_exceed_size".
    n_iter : int
        Rounds after the initial models.
    reason : {"patience", "max_iter", "queries_exceed_size", "callback", "interrupt", "running"}
        Why the search ended; "running" in what the callback gets.
    total_loss : float
        Σ weights_i loss_i over all points, under this model.
    loss_history : (t,) NumPy array of float64
        The same for every model, the initial ones first.
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


class TargetsKind(Kind):
    """Labels or targets, one for each point."""

    text = "(n, ...) array of any dtype"

    def fits(self, value):
        return isinstance(value, (list, tuple)) or device_of(value) is not None

    def convert(self, name, value, call):
        value = np.asarray(value) if isinstance(value, (list, tuple)) else value
        if value.shape[:1] != (call.sizes["n"],):
            n = call.sizes["n"]
            raise ValueError(f"{name} must have shape (n, ...) with n = {n} (got {value.shape})")
        return value

    def unfit(self):
        return [(object(), TypeError), (3.0, TypeError)]


# --- routines -------------------------------------------------------------------------------------


@routine
def auto_coreset(
    x: Float[Array, "n ..."],
    fit: Callable[..., Any],
    loss: Callable[..., Any],
    *,
    size: Annotated[int, at_least(1), at_most("n")],
    y: Annotated[Any, TargetsKind()] | None = None,
    weights: Float[Array, "n", finite, nonnegative] | None = None,
    method: Method = "norm",
    n_initial: Annotated[int, at_least(1)] = 3,
    patience: Annotated[int, at_least(1)] = 5,
    max_iter: Annotated[int, nonnegative] = 100,
    stratify: Literal["auto", True, False] = "auto",
    rng: RNG = None,
    callback: Callable[[CoresetResult], bool | None] | None = None,
    progress: bool = False,
) -> CoresetResult:
    """A small weighted subset of the points on which `fit` makes a model that is good for all of
    them.

    Parameters
    ----------
    x : (n, ...) array of float32 or float64
        Points. They are only handed on to `fit` and `loss`.
    fit : callable
        ``fit(x, y, weights)`` trains a model, any object, on weighted points. Where the model has a
        regulariser, `fit` should make up for Σ weights, which is that of all points on average
        only: C Σ all weights / Σ weights for scikit-learn's C.
    loss : callable
        ``loss(x, y, model)`` is the loss of each point, (n,), finite and not negative, without
        weights. A regulariser belongs into it, divided by n. See `logistic_loss`, `hinge_loss`,
        `squared_loss` and `kmeans_loss`.
    size : int >= 1 and <= n
        Points that are drawn, 1 <= size <= n; as some are drawn again, the subset has fewer.
    y : (n, ...) array of any dtype, optional
        Labels or targets; `fit` and `loss` get None where there are none.
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        Not negative; 1 by default.
    method : {"norm", "mean_of_samples", "caratheodory", "uniform"}, default "norm"
        How rows of the matrix of losses are chosen, see `vector_sum_coreset`. "caratheodory" is
        exact for the models so far, and ends when there are as many of them as draws in the
        smallest class.
    n_initial : int >= 1, default 3
        Models trained on uniform samples at the start.
    patience : int >= 1, default 5
        Rounds without a better total loss after which the search ends.
    max_iter : int >= 0, default 100
        Most rounds after the initial models.
    stratify : {"auto", True, False}, default "auto"
        Whether the points of each value of `y` are drawn for themselves, in proportion to their
        weight, one at least. "auto": where `y` holds integers or booleans of 50 values at most, or
        the numbers -1 and 1.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    callback : callable, optional
        ``callback(result)`` is called with the `CoresetResult` so far after every model; the search
        ends when it returns True.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    CoresetResult
        The coreset with the smallest total loss, the initial ones included. Nothing is promised for
        models other than those that were trained: `total_loss` is measured, not a bound. A
        KeyboardInterrupt ends the search with what was found so far.

    Raises
    ------
    ValueError
        `x` is empty, `size` is not between 1 and n or less than the number of classes, losses have
        another shape, are not finite or negative, weights are negative, all zero or all zero in a
        class, or an unknown option.
    TypeError
        `fit`, `loss` or `callback` cannot be called, other dtypes, or arrays on different devices.

    Notes
    -----
    A round takes one fit on `size` points, one loss of all points, and O(n) for "norm", O(n t) for
    the others with t models so far. All losses are kept: up to n (n_initial + max_iter) numbers.
    The patience counts from the worst initial model, as in the paper.

    References
    ----------
    A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An Automatic Practical Coreset
    Construction Framework", ICML 2023.

    Examples
    --------
    The mean of many numbers, from ten of them:

    >>> x = np.arange(1000.0)[:, None]
    >>> result = auto_coreset(
    ...     x,
    ...     lambda x, y, weights: weights @ x / weights.sum(),
    ...     lambda x, y, mean: ((x - mean) ** 2).sum(axis=1),
    ...     size=10,
    ...     rng=0,
    ... )
    >>> bool(abs(result.model[0] - 499.5) < 50), bool(result.total_loss < 1.02 * 1000 * x.var())
    (True, True)
    """
    xp, n = namespace_of(x), len(x)
    if y is not None and device_of(y) is not device_of(x):
        where = f"x on {device_of(x)}, y on {device_of(y)}"
        raise TypeError(f"arguments must live on one device (got {where})")
    check_mass(weights)
    strata = _strata(xp, y, weights, size, stratify, n)
    search = _Search(
        xp,
        x,
        y,
        weights,
        fit,
        loss,
        method,
        strata,
        np.random.default_rng(key_from_rng(rng)),
        callback,
    )
    search.bar = progress_bar(n_initial + max_iter, "models") if progress else None
    try:
        reason = search.run(n_initial, patience, max_iter)
    except KeyboardInterrupt:
        if search.best is None:
            raise
        reason = "interrupt"
    finally:
        if search.bar is not None:
            search.bar.close()
    return search.result(reason)


@routine
def vector_sum_coreset(
    f: Float[Array, "n t"],
    size: Annotated[int, at_least(1), at_most("n")],
    *,
    weights: Float[Array, "n", finite, nonnegative] | None = None,
    method: Method = "norm",
    n_trials: Annotated[int, at_least(1)] = N_TRIALS,
    rng: RNG = None,
) -> WeightedSubset:
    """Weighted rows of a matrix whose sum is near the weighted sum of all rows.

    Parameters
    ----------
    f : (n, t) array of float32 or float64
        Finite.
    size : int >= 1 and <= n
        Rows that are drawn, or that are kept at most; 1 <= size <= n.
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        Not negative, not all zero; 1 by default.
    method : {"norm", "mean_of_samples", "caratheodory", "uniform"}, default "norm"
        "norm" draws rows with probabilities q_i in proportion to weights_i ‖f_i‖ (to weights_i
        where all these are zero) and gives each drawn one the weight weights_i / (size q_i): right
        on average, and exact for one column without negative entries. "uniform" draws in proportion
        to weights_i, "mean_of_samples" takes the best of several such draws. "caratheodory" is
        exact, and needs size > t.
    n_trials : int >= 1, default 100
        For "mean_of_samples".
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    WeightedSubset
        Rows that are drawn several times have the sum of the weights. `error` is the length of the
        difference of the two sums. With q_i = weights_i ‖f_i‖ / Q, the mean of its square is (Q² -
        ‖Σ weights_i f_i‖²) / size for "norm", and (W Σ weights_i ‖f_i‖² - ‖Σ weights_i f_i‖²) /
        size with W = Σ weights for "uniform"; `error_bound` is the root, for "mean_of_samples" as
        for "uniform". For "caratheodory" it bounds the rounding.

    Raises
    ------
    ValueError
        `f` has not two dimensions or no rows, entries are not finite, their sums overflow, weights
        are negative or all zero, `size` is not between 1 and n or too small for "caratheodory", or
        an unknown option.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    O(n t) operations, and one number for each draw: a draw looks into a block of 256 rows.

    References
    ----------
    A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An Automatic Practical Coreset
    Construction Framework", ICML 2023.

    Examples
    --------
    >>> f = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> indices, weights, *_ = vector_sum_coreset(f, 2, rng=0)
    >>> bool(np.isclose(weights @ f[indices, 0], 10))
    True
    """
    xp, dtype, (n, t) = namespace_of(f), f.dtype, f.shape
    check_mass(weights)
    if method == "caratheodory":
        if size <= t:
            raise ValueError(f"size must be > t with t = {t}, the columns of f (got {size})")
        return caratheodory(f, weights, size=size)
    generator = np.random.default_rng(key_from_rng(rng))
    w = _wide(xp, weights)
    with np.errstate(all="ignore"):
        sums = xp.empty((min(n, GROUPS), 2 * f.shape[1] + 1))
        group_sums(xp.ascontiguousarray(f), w, sums)
        sums = sums.sum(axis=0)
        if not bool(xp.isfinite(sums).all()):
            raise ValueError("f and its weighted sums must be finite (got nan or inf)")
        total, norms, everything = (
            sums[: f.shape[1]],
            _lengths(xp, f),
            _Strata(xp.zeros(1, np.int32), (size,)),
        )
        if method == "mean_of_samples":
            indices, drawn = _best_sample(xp, f, w, None, size, n_trials, generator)
        else:
            drawn_by = norms if method == "norm" else None
            indices, drawn = _draw(xp, n, drawn_by, w, everything, generator)
        drawn = drawn.astype(dtype, copy=False)
        error = length(xp, drawn.astype(np.float64) @ f[indices].astype(np.float64) - total)
        largest = float(norms.max()) or 1.0
        q = (
            float((w * norms).sum())
            if method == "norm"
            else largest * math.sqrt(float(sums[-1] * (w * (norms / largest) ** 2).sum()))
        )
        known = length(xp, total)
        return WeightedSubset(
            indices, drawn, error, math.sqrt(max(q - known, 0) / size) * math.sqrt(q + known)
        )


@routine
def coreset_loss(
    result: CoresetResult | WeightedSubset, losses: Float[Array, "m", own_dtype]
) -> float:
    """The loss of a coreset, Σ w_i loss_i.

    Parameters
    ----------
    result : CoresetResult or WeightedSubset
    losses : (m,) array of float32 or float64
        The losses of all points, or those of the k points of the coreset in the order of its
        indices.

    Returns
    -------
    float
        Summed in float64.

    Raises
    ------
    ValueError
        `losses` has another shape.
    TypeError
        `result` is no coreset, `losses` has another dtype or is on another device.

    References
    ----------
    A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An Automatic Practical Coreset
    Construction Framework", ICML 2023.

    Examples
    --------
    >>> from numcore.linalg import caratheodory
    >>> losses = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> round(coreset_loss(caratheodory(losses), losses[:, 0]), 12)
    10.0
    """
    indices, weights = result.indices, result.weights
    k, found = len(indices), len(losses)
    min_n = int(indices[-1]) + 1 if k else 0
    n = len(result.loss_matrix) if isinstance(result, CoresetResult) else None
    if found != k and (found < min_n if n is None else found != n):
        other = f"n >= {min_n}" if n is None else n
        raise ValueError(f"losses must have shape ({k},) or ({other},) (got {losses.shape})")
    with np.errstate(all="ignore"):
        chosen = losses if found == k else losses[indices]
        return float((weights.astype(np.float64) * chosen).sum())


# --- the search -----------------------------------------------------------------------------------


class _Search:
    """What one call of `auto_coreset` knows: the losses so far, their norms, and the best
    coreset."""

    def __init__(self, xp, x, y, weights, fit, loss, method, strata, rng, callback):
        self.xp, self.x, self.y, self.w, self.fit, self.loss = (
            xp,
            x,
            y,
            _wide(xp, weights),
            fit,
            loss,
        )
        self.method, self.strata, self.rng, self.callback, self.bar = (
            method,
            strata,
            rng,
            callback,
            None,
        )
        self.members = None if method in ("norm", "uniform") else strata.members(xp)
        self.history, self.n_iter, self.n_initial, self.best = [], 0, 0, None
        self.columns, self.norms = None, xp.zeros(len(x))
        self.parts = xp.empty((-(-len(x) // BLOCK), 2))

    def run(self, n_initial, patience, max_iter):
        """The reason for the end."""
        self.n_initial = n_initial
        self.columns = self.xp.empty(
            (min(FIRST_QUERIES, n_initial + max_iter), len(self.x)), self.x.dtype
        )
        for _ in range(n_initial):
            self.add(*_draw(self.xp, len(self.x), None, self.w, self.strata, self.rng))
            if self.told_to_stop():
                return "callback"
        reference, waited = max(self.history), 0
        while self.n_iter < max_iter:
            if self.method == "caratheodory" and len(self.history) >= min(self.strata.shares):
                return "queries_exceed_size"
            total = self.add(*self.summary())
            self.n_iter += 1
            reference, waited = (total, 0) if total < reference else (reference, waited + 1)
            if self.told_to_stop():
                return "callback"
            if waited == patience:
                return "patience"
        return "max_iter"

    def add(self, indices, weights):
        """Train on weighted points and add the losses under this model; the total loss."""
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
        """What `loss` returned as a contiguous array of the dtype of x."""
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
        """Indices and weights whose weighted losses are near those of all points, for each model so
        far."""
        n, xp = len(self.x), self.xp
        if self.method in ("norm", "uniform"):
            return _draw(
                xp, n, self.norms if self.method == "norm" else None, self.w, self.strata, self.rng
            )
        f, parts = self.columns[: len(self.history)].T, []
        for members, share in zip(self.members, self.strata.shares, strict=True):
            if self.method == "mean_of_samples":
                parts.append(_best_sample(xp, f, self.w, members, share, N_TRIALS, self.rng))
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

    def told_to_stop(self):
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


def _wide(xp, weights):
    """Weights in float64; a single 1 stands for all where there are none."""
    return (
        xp.ones(1)
        if weights is None
        else xp.ascontiguousarray(weights.astype(np.float64, copy=False))
    )


# --- strata ---------------------------------------------------------------------------------------


class _Strata(NamedTuple):
    """Classes that are drawn for themselves: the number of each point's class ((1,) if there is one
    class), and the draws of each."""

    labels: Any
    shares: tuple

    def members(self, xp):
        """The points of each class; None for all."""
        return (
            [None]
            if len(self.shares) == 1
            else [xp.nonzero(self.labels == c)[0] for c in range(len(self.shares))]
        )


def _strata(xp, y, weights, size, stratify, n):
    if stratify is True and (y is None or y.ndim != 1):
        got = None if y is None else y.shape
        raise ValueError(f"y must have shape (n,) with n = {n} where stratify=True (got {got})")
    one = _Strata(xp.zeros(1, np.int32), (size,))
    if (
        not stratify
        or y is None
        or y.ndim != 1
        or isinstance(stratify, str)
        and y.dtype.kind not in "biuf"
    ):
        return one
    if y.dtype.kind == "f" and bool((abs(y) == 1).all()):
        y = y.astype(np.int8)
    elif isinstance(stratify, str) and y.dtype.kind == "f":
        return one
    values, labels = _numbered(xp, y)
    count = len(values)
    if isinstance(stratify, str) and count > MAX_CLASSES or count == 1:
        return one
    if size < count:
        raise ValueError(f"size must be >= {count}, the number of classes (got {size})")
    mass = xp.bincount(
        labels, weights=None if weights is None else weights, minlength=count
    ).tolist()
    if not min(mass) > 0:
        raise ValueError(
            f"weights must not all be zero in a class (got class {values[mass.index(min(mass))]!r})"
        )
    return _Strata(labels.astype(np.int32), _shares(np.array(mass), size))


def _numbered(xp, y):
    """The different values of y as a list, and for each entry its place there."""
    if y.dtype.kind in "biu":
        least, most = int(y.min()), int(y.max())
        if most - least < MAX_VALUES and most < 2**63:  # no sorting
            places = y.astype(np.int64) - least
            found = xp.bincount(places) > 0
            values = (xp.nonzero(found)[0] + least).astype(y.dtype)
            return values.tolist(), (xp.cumsum(found) - 1)[places]
    values, labels = xp.unique(y, return_inverse=True)
    return values.tolist(), labels


def _shares(mass, size):
    """Draws of each class, in proportion to its weight, one at least."""
    quota = size * (mass / mass.sum())
    shares = np.maximum(quota.astype(np.int64), 1)
    while shares.sum() < size:
        shares[np.argmax(quota - shares)] += 1
    while shares.sum() > size:
        shares[np.argmax(np.where(shares > 1, shares - quota, -math.inf))] -= 1
    return tuple(shares.tolist())


# --- draws ----------------------------------------------------------------------------------------


def _draw(xp, n, norms, w, strata, rng):
    """Draw points in proportion to w ‖f‖, or to w where norms is None, in each class: indices and
    weights in float64."""
    shares = np.array(strata.shares)
    norms = xp.ones(1) if norms is None else norms
    masses = xp.empty((-(-n // BLOCK), len(shares)))
    block_masses(norms, w, strata.labels, n, masses)
    table = _on_host(masses)
    if not np.isfinite(table.sum()):
        raise ValueError("weights and losses must have finite sums (got inf)")
    empty = table.sum(axis=0) == 0
    if empty.any():  # all losses of a class are zero: its points are drawn by their weights
        flat = xp.asarray(empty)[strata.labels] & xp.ones(n, bool)
        norms = xp.where(flat, 1.0, norms)
        block_masses(norms, w, strata.labels, n, masses)
        table = _on_host(masses)
    chosen = xp.empty(int(shares.sum()), np.int64)
    thresholds, firsts, counts = _thresholds(table, shares, rng)
    draw_in_blocks(
        norms,
        w,
        strata.labels,
        n,
        xp.asarray(thresholds),
        xp.asarray(firsts),
        xp.asarray(counts),
        chosen,
    )
    indices, times = xp.unique(chosen, return_counts=True)
    each = xp.asarray(table.sum(axis=0) / shares)
    here = [array if len(array) == 1 else array[indices] for array in (strata.labels, norms)]
    return indices, times * each[here[0]] / here[1]


def _on_host(array):
    return array if isinstance(array, np.ndarray) else np.array(array.tolist())


def _thresholds(table, shares, rng):
    """Random numbers below the masses of blocks (b, c), block after block, class after class,
    ascending: with where each pair begins."""
    b, c = table.shape
    ends, keys, thresholds = np.cumsum(table, axis=0), [], []
    for column in range(c):
        u = np.sort(rng.random(shares[column])) * ends[-1, column]
        block = np.minimum(
            np.searchsorted(ends[:, column], u, side="right"), np.flatnonzero(table[:, column])[-1]
        )
        keys.append(block * c + column)
        thresholds.append(u - (ends[block, column] - table[block, column]))
    keys = np.concatenate(keys)
    counts = np.bincount(keys, minlength=b * c).reshape(b, c)
    firsts = (np.cumsum(counts) - counts.ravel()).reshape(b, c)
    return np.concatenate(thresholds)[np.argsort(keys, kind="stable")], firsts, counts


def _best_sample(xp, f, w, members, size, n_trials, rng):
    """Of several draws in proportion to w among the members the one whose mean of f is nearest to
    that of all members."""
    n = len(f)
    members = xp.arange(n) if members is None else members
    w = w[members] if len(w) == n else xp.ones(len(members)) * w
    ends = xp.cumsum(w)
    rows, mass = f[members], float(ends[-1])
    rows = rows / max(
        float(xp.abs(rows).max()) if rows.size else 1.0, np.finfo(f.dtype).tiny
    )  # no square overflows
    mean = (w / mass) @ rows
    best, least = None, math.inf
    for _ in range(n_trials):
        drawn = xp.searchsorted(ends, xp.asarray(rng.random(size) * mass), side="right")
        drawn = xp.minimum(drawn, xp.searchsorted(ends, ends[-1:]))
        distance = float(xp.linalg.norm(rows[drawn].mean(axis=0) - mean))
        if best is None or distance < least:
            best, least = drawn, distance
    indices, times = xp.unique(members[best], return_counts=True)
    return indices, times * (mass / size)


def _lengths(xp, f):
    """The lengths of the rows in float64, without overflow on the way."""
    lengths = xp.empty(len(f))
    for first in range(0, len(f), ROWS):
        rows = f[first : first + ROWS].astype(np.float64)
        largest = (float(xp.abs(rows).max()) if rows.size else 0.0) or 1.0
        rows = rows / largest
        lengths[first : first + ROWS] = largest * xp.sqrt(xp.einsum("ij,ij->i", rows, rows))
    return lengths


# --- kernels --------------------------------------------------------------------------------------
# Arrays of extents q, r, s have n entries, or one that stands for all.


@kernel(
    "in T losses[n]; in float64 w[q]; inout float64 norms[n]; out T column[n]; "
    "out float64 parts[b, 2]",
    split="b",
    gpu="block",
)
def add_losses(losses, w, norms, column, parts, start, stop):
    """norms ← √(norms² + losses²) and column ← losses; for each block Σ w loss, and how many losses
    are negative or not finite."""
    for b in range(start, stop):
        first, last = b * BLOCK, min((b + 1) * BLOCK, losses.size)
        new, norm, copy = losses[first:last], norms[first:last], column[first:last]
        for i in range(new.size):
            value = abs(float(new[i]))
            larger = max(value, norm[i])
            ratio = min(value, norm[i]) / max(larger, TINY)
            norm[i] = larger * math.sqrt(1 + ratio * ratio)
            copy[i] = new[i]
        parts[b, 0], parts[b, 1] = (
            weighted_sum(new, w[first:last] if w.size > 1 else w),
            bad_ones(new),
        )


def weighted_sum(values, w):
    """Σ w value; w may hold one number for all."""
    s0 = s1 = s2 = s3 = 0.0
    n, step = values.size // 4 * 4, 1 if w.size > 1 else 0
    for i in range(0, n, 4):
        at = i * step
        s0, s1 = s0 + w[at] * values[i], s1 + w[at + step] * values[i + 1]
        s2, s3 = s2 + w[at + 2 * step] * values[i + 2], s3 + w[at + 3 * step] * values[i + 3]
    for i in range(n, values.size):
        s0 += w[i * step] * values[i]
    return (s0 + s1) + (s2 + s3)


def bad_ones(values):
    bad = 0
    for i in range(values.size):
        bad += not 0 <= values[i] < math.inf
    return bad


TINY = 2.0**-1022


@kernel(
    "in float64 norms[q]; in float64 w[r]; in int32 labels[s]; int64 n; out float64 masses[b, c]; "
    "scratch float64 sums[4*c]",
    constants=("BLOCK",),
    split="b",
    gpu="block",
)
def block_masses(norms, w, labels, n, masses, sums, start, stop):
    """Σ w norm of each class in each block of n points; four sums in turn, as an addition waits for
    the one before it."""
    classes = np.uintp(masses.shape[1])
    per_norm, per_w, per_label = (
        np.uintp(norms.size > 1),
        np.uintp(w.size > 1),
        np.uintp(labels.size > 1),
    )
    for b in range(start, stop):
        sums[:] = 0
        for i in range(np.uintp(b * BLOCK), np.uintp(min((b + 1) * BLOCK, n))):
            sums[(i & np.uintp(3)) * classes + np.uintp(labels[i * per_label])] += (
                w[i * per_w] * norms[i * per_norm]
            )
        for c in range(masses.shape[1]):
            masses[b, c] = (sums[c] + sums[classes + c]) + (
                sums[2 * classes + c] + sums[3 * classes + c]
            )


@kernel(
    "in float64 norms[q]; in float64 w[r]; in int32 labels[s]; int64 n; in float64 thresholds[m]; "
    "in int64 firsts[b, c];"
    " in int64 counts[b, c]; out int64 chosen[m]; scratch float64 sums[c]; scratch int64 done[c];"
    " scratch int64 last[c]",
    constants=("BLOCK",),
    split="b",
    gpu="block",
)
def draw_in_blocks(
    norms, w, labels, n, thresholds, firsts, counts, chosen, sums, done, last, start, stop
):
    """For each threshold of a block and a class the point where the sum of the masses passes it, or
    the last with a mass."""
    classes = np.uintp(sums.size)
    per_norm, per_w, per_label = (
        np.uintp(norms.size > 1),
        np.uintp(w.size > 1),
        np.uintp(labels.size > 1),
    )
    for b in range(start, stop):
        missing = 0
        for c in range(classes):
            sums[c], done[c], last[c] = 0, firsts[b, c], b * BLOCK
            missing += counts[b, c]
        for i in range(np.uintp(b * BLOCK), np.uintp(min((b + 1) * BLOCK, n))):
            if missing == 0:
                break
            mass, c = w[i * per_w] * norms[i * per_norm], np.uintp(labels[i * per_label])
            if mass > 0:
                sums[c] += mass
                last[c] = i
                while done[c] < firsts[b, c] + counts[b, c] and thresholds[done[c]] < sums[c]:
                    chosen[done[c]] = i
                    done[c] += 1
                    missing -= 1
        for c in range(classes):
            for left in range(done[c], firsts[b, c] + counts[b, c]):
                chosen[left] = last[c]
