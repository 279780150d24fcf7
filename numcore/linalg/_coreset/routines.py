"""Coresets for any model and for vector sums, and their losses."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

from ...arguments import RNG, Array, Float, Kind, at_least, at_most, finite, nonnegative, own_dtype
from ...dispatch import device_of, namespace_of, routine
from ...progress import progress_bar
from ...random import key_from_rng
from .._caratheodory import WeightedSubset, caratheodory, check_mass, group_sums, length
from .draws import best_sample, draw, lengths, wide
from .search import N_TRIALS, CoresetResult, Method, Search
from .strata import Strata, strata_of

GROUPS = 256  # of rows, summed separately


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
    """Find a small weighted subset of the points such that a model fitted to it has a low loss on
    all of them.

    Parameters
    ----------
    x : (n, ...) array of float32 or float64
        Points. They are only passed on to `fit` and `loss`.
    fit : callable
        ``fit(x, y, weights)`` trains a model (any object) on weighted points. If the model has a
        regularizer, `fit` should rescale it, because Σ weights equals that of all points only on
        average: use C Σ all weights / Σ weights for scikit-learn's C.
    loss : callable
        ``loss(x, y, model)`` returns the unweighted loss of each point, (n,), finite and not
        negative. It includes any regularizer, divided by n. See `logistic_loss`, `hinge_loss`,
        `squared_loss` and `kmeans_loss`.
    size : int >= 1 and <= n
        Number of draws, 1 <= size <= n; the subset is smaller if points are drawn more than once.
    y : (n, ...) array of any dtype, optional
        Labels or targets; passed to `fit` and `loss`, None if not given.
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        Not negative; 1 by default.
    method : {"norm", "mean_of_samples", "caratheodory", "uniform"}, default "norm"
        How rows of the matrix of losses are chosen, see `vector_sum_coreset`. "caratheodory" is
        exact for the models so far, and stops when there are as many models as draws in the
        smallest class.
    n_initial : int >= 1, default 3
        Models trained on uniform samples at the start.
    patience : int >= 1, default 5
        The search stops after this many rounds without a lower total loss.
    max_iter : int >= 0, default 100
        Maximum number of rounds after the initial models.
    stratify : {"auto", True, False}, default "auto"
        Whether each value of `y` is a stratum with its own draws, in proportion to its weight and
        at least one. "auto": if `y` holds integers or booleans with at most 50 values, or the
        numbers -1 and 1.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    callback : callable, optional
        ``callback(result)`` is called with the current `CoresetResult` after every model; the
        search stops when it returns True.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    CoresetResult
        The coreset with the smallest total loss, including the initial ones. `total_loss` is
        measured, not a bound: there is no guarantee for models other than those trained. A
        KeyboardInterrupt stops the search and returns the best coreset so far.

    Raises
    ------
    ValueError
        `x` is empty, `size` is not between 1 and n or is less than the number of classes, losses
        have another shape, are negative or not finite, weights are negative, all zero or all zero
        in a class, or an option is unknown.
    TypeError
        `fit`, `loss` or `callback` is not callable, a dtype is not supported, or arrays are on
        different devices.

    Notes
    -----
    A round costs one fit on `size` points, one loss of all points, and O(n) for "norm", O(n t) for
    the other methods with t models so far. All losses are stored: up to n (n_initial + max_iter)
    numbers. The patience is counted from the worst initial model, as in the paper.

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
    strata = strata_of(xp, y, weights, size, stratify, n)
    search = Search(
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
    """Select weighted rows of a matrix whose sum approximates the weighted sum of all rows.

    Parameters
    ----------
    f : (n, t) array of float32 or float64
        Finite.
    size : int >= 1 and <= n
        Number of draws, or the maximum number of rows for "caratheodory"; 1 <= size <= n.
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        Not negative, not all zero; 1 by default.
    method : {"norm", "mean_of_samples", "caratheodory", "uniform"}, default "norm"
        "norm" draws rows with probabilities q_i in proportion to weights_i ‖f_i‖ (to weights_i
        if all these are zero) and gives each draw the weight weights_i / (size q_i): unbiased, and
        exact for one column without negative entries. "uniform" draws in proportion to weights_i,
        "mean_of_samples" keeps the best of several such samples. "caratheodory" is exact and needs
        size > t.
    n_trials : int >= 1, default 100
        For "mean_of_samples".
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    WeightedSubset
        Rows drawn several times have the sum of the weights. `error` is the norm of the difference
        of the two sums. With q_i = weights_i ‖f_i‖ / Q, the mean of its square is (Q² - ‖Σ
        weights_i f_i‖²) / size for "norm", and (W Σ weights_i ‖f_i‖² - ‖Σ weights_i f_i‖²) / size
        with W = Σ weights for "uniform"; `error_bound` is the root, for "mean_of_samples" as for
        "uniform". For "caratheodory" it bounds the rounding.

    Raises
    ------
    ValueError
        `f` does not have two dimensions or has no rows, entries are not finite, their sums
        overflow, weights are negative or all zero, `size` is not between 1 and n or too small for
        "caratheodory", or an unknown option.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    O(n t) operations, and one random number per draw: a draw searches one block of 256 rows.

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
    w = wide(xp, weights)
    with np.errstate(all="ignore"):
        sums = xp.empty((min(n, GROUPS), 2 * f.shape[1] + 1))
        group_sums(xp.ascontiguousarray(f), w, sums)
        sums = sums.sum(axis=0)
        if not bool(xp.isfinite(sums).all()):
            raise ValueError("f and its weighted sums must be finite (got nan or inf)")
        total, norms = sums[: f.shape[1]], lengths(xp, f)
        everything = Strata(xp.zeros(1, np.int32), (size,))
        if method == "mean_of_samples":
            indices, drawn = best_sample(xp, f, w, None, size, n_trials, generator)
        else:
            drawn_by = norms if method == "norm" else None
            indices, drawn = draw(xp, n, drawn_by, w, everything, generator)
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
    """Weighted loss of a coreset, Σ w_i loss_i.

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
        `result` is not a coreset, `losses` has another dtype or is on another device.

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
