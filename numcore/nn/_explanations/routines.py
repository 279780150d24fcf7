"""Linear models nearest to a black box, and how near they are."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Float, at_least, finite, nonnegative, positive
from ...dispatch import namespace_of, routine
from .fitting import fitted, gradient_at, occlusion, score
from .neighborhoods import BlackBox, Coalitions, Custom, Gaussian, Masks, Path, Problem

Function = Callable[[Array], Array]
Neighborhood = Literal["gaussian", "uniform_path", "binary", "one_hot"] | Callable[..., Any]
Loss = Literal["squared", "gradient_matching", "difference"]
Weights = Annotated[float, positive] | Function | Literal["shapley"]
Baseline = Float[Array, "... d", finite]
Count = Annotated[int, at_least(1)]
Scale = Annotated[float, positive]

WITH_GRADIENT = ("gradient", "gradient_times_input", "smooth_grad", "integrated_gradients")
ENUMERATED = 12  # features up to which all coalitions are evaluated unasked
MAX_ENUMERATED = 20


class Explanation(NamedTuple):
    """Linear models g(c) = attributions · c + intercept, one for each explained row.

    Attributes
    ----------
    attributions : (..., d) array
    intercept : (...) array
    loss : (...) array
        What was minimized, at its minimum.
    standard_error : (..., d) array
        Of the attributions, from sampling; 0 where nothing was sampled.
    n_evaluations : int
        Rows on which f or its gradient was evaluated, over all explained rows.
    coordinates : {"offset", "multiplier"}
        What c is: u - x, or the multiplier of x - baseline that gives u, which is 1 at x and 0 at
        the baseline.
    """

    attributions: Float[Array, "*batch d"]
    intercept: Float[Array, "*batch"]
    loss: Float[Array, "*batch"]
    standard_error: Float[Array, "*batch d"]
    n_evaluations: int
    coordinates: Literal["offset", "multiplier"] = "offset"


# --- routines -------------------------------------------------------------------------------------


@routine
def local_approximation(
    f: Function,
    x: Float[Array, "*batch d", finite],
    *,
    neighborhood: Neighborhood,
    loss: Loss = "squared",
    grad: Function | None = None,
    kernel: Weights | None = None,
    baseline: Baseline | None = None,
    n_samples: Count = 1000,
    scale: Scale = 0.1,
    intercept: bool = True,
    ridge: Annotated[float, nonnegative] = 0.0,
    batch_size: Count = 4096,
    rng: RNG = None,
) -> Explanation:
    """The linear model that is nearest to a black box in a neighborhood of x.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (..., d) array of float32 or float64, finite
        What is to be explained.
    neighborhood : {"gaussian", "uniform_path", "binary", "one_hot"} or callable
        Where f is approximated: x + ξ with ξ normal; baseline + a (x - baseline) with one a in [0,
        1] for all features; x with a random subset of features set to the baseline; x with one
        feature at a time set to the baseline. Or a function
        ``(rng, x, n_samples) -> (points (m, d), coordinates (m, d), weights (m,))`` of one row x,
        in whose coordinates 0 stands for x.
    loss : {"squared", "gradient_matching", "difference"}, default "squared"
        (f(u) - g(u))²; the squared distance of the gradients of f and g in the coordinates; ((f(x)
        - f(u)) - (g(x) - g(u)))².
    grad : callable, optional
        Gradients of f, points (m, d) to (m, d); needed for "gradient_matching".
    kernel : float > 0 or callable or {"shapley"}, optional
        Weights of the samples: 1; exp(-\\|u - x\\|² / kernel²); a function of the squared
        distances, of any shape; or those of :func:`shapley_kernel_weights` (for "binary"), with
        g(x) = f(x) and g(baseline) = f(baseline).
    baseline : (..., d) array of float32 or float64, finite, optional
        (d,) or of the shape of x: the values of absent features; 0 by default.
    n_samples : int >= 1, default 1000
        Points for each row of x. "one_hot" takes d + 1; "binary" takes all subsets once where they
        are no more than `n_samples`.
    scale : float > 0, default 0.1
        Standard deviation of ξ.
    intercept : bool, default True
        Whether g of the squared loss has a free intercept; else it is 0.
    ridge : float >= 0, default 0.0
        Adds ``ridge |attributions|²`` to the weighted sum of squares.
    batch_size : int >= 1, default 4096
        Rows for one call of f.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Makes the samples, which do not depend on `batch_size`.

    Returns
    -------
    Explanation
        With the leading axes of x. "gradient_matching" and "difference" leave the
        intercept open: it is such that g(x) = f(x). For "uniform_path" with "gradient_matching",
        that is integrated gradients, `loss` is the completeness residual \\|Σ attributions - (f(x)
        - f(baseline))\\|.

    Raises
    ------
    TypeError
        f, grad or kernel is not callable, other dtypes, arrays on different devices.
    ValueError
        x or baseline is not finite or has another shape, an unknown neighborhood or loss,
        n_samples < d + 2 for a squared loss without ridge, scale <= 0, f returns another shape, all
        weights are 0.

    Notes
    -----
    Squared loss: normal equations in float64, centered. Features whose attribution the samples
    leave open get the smallest one. n · n_samples evaluations of f and O(n · n_samples · d²)
    operations besides. Memory: less than three float64 arrays of batch_size × d, however many
    samples; a neighborhood that is a function holds what it returns for one row. "uniform_path"
    takes the midpoints of n_samples equal parts of [0, 1] and no random numbers: for smooth f the
    error of the mean gradient is O(n_samples⁻²). Standard errors are those of the sandwich
    estimate; they want a batch_size of several times d. Distances are in the units of x:
    standardize features before a kernel of theirs, or choose its width by them.

    References
    ----------
    T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A Function Approximation
    Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.

    Examples
    --------
    >>> f = lambda u: 2 * u[:, 0] + u[:, 1] ** 2
    >>> local_approximation(f, np.array([1.0, 3.0]), neighborhood="binary").attributions.round(6)
    array([2., 9.])
    """
    _check_gradient(grad, loss == "gradient_matching", "loss 'gradient_matching'")
    _check_kernel(kernel, neighborhood, loss, intercept)
    problem = _problem(x, baseline, BlackBox(f, grad, batch_size), n_samples, rng)
    zone = _zone(problem, neighborhood, n_samples, scale, kernel, loss)
    if (
        loss == "squared"
        and ridge == 0
        and zone.sampled
        and zone.n_samples * (2 if kernel == "shapley" else 1) < problem.d + 2
    ):
        raise ValueError(
            f"n_samples must be >= d + 2 for a squared loss without ridge with d = {problem.d} "
            f"(got {n_samples})"
        )
    model = fitted(problem, zone, loss, kernel, intercept, ridge)
    return _explanation(problem, zone.multiplicative, x.shape[:-1], *model)


@routine
def explain(
    f: Function,
    x: Float[Array, "*batch d", finite],
    *,
    method: Literal[
        "lime",
        "c_lime",
        "kernel_shap",
        "occlusion",
        "gradient",
        "gradient_times_input",
        "smooth_grad",
        "integrated_gradients",
    ],
    grad: Function | None = None,
    baseline: Baseline | None = None,
    n_samples: Count = 1000,
    scale: Scale = 0.1,
    kernel_width: Scale = 1.0,
    exact: bool | None = None,
    rng: RNG = None,
    batch_size: Count = 4096,
) -> Explanation:
    """Feature attributions of a black box by one of eight methods.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (..., d) array of float32 or float64, finite
        What is to be explained.
    method : {"lime", "c_lime", "kernel_shap", "occlusion", "gradient", "gradient_times_input", "smooth_grad", "integrated_gradients"}
        See Notes.
    grad : callable, optional
        Gradients of f, points (m, d) to (m, d); needed for the last four methods.
    baseline : (..., d) array of float32 or float64, finite, optional
        (d,) or of the shape of x: the values of absent features; 0 by default.
    n_samples : int >= 1, default 1000
        Points for each row of x, where a method samples.
    scale : float > 0, default 0.1
        Standard deviation of the noise of "c_lime" and "smooth_grad".
    kernel_width : float > 0, default 1.0
        Of LIME's weights exp(-\\|u - x\\|² / kernel_width²).
    exact : bool, optional
        Whether "lime" and "kernel_shap" take all 2^d coalitions of features instead of `n_samples`;
        by default where d <= 12.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Makes the samples, which do not depend on `batch_size`.
    batch_size : int >= 1, default 4096
        Rows for one call of f.

    Returns
    -------
    Explanation
        With the leading axes of x.

    Raises
    ------
    TypeError
        f is not callable, a method of gradients without `grad`, other dtypes, arrays on different
        devices.
    ValueError
        x or baseline is not finite or has another shape, an unknown method, n_samples < d + 2 for a
        squared loss, scale or kernel_width <= 0, exact=True with d > 20, f returns another shape.

    Notes
    -----
    Each method is a neighborhood and a loss of :func:`local_approximation`:

    - "c_lime": "gaussian", squared. "smooth_grad": "gaussian", gradient matching. "gradient": its
      limit for scale → 0. In all three the attributions are slopes: what f gains by a unit of a
      feature.
    - "lime": "binary" with exponential weights, squared. "kernel_shap": "binary" with Shapley
      weights, squared. "occlusion": "one_hot", difference. "integrated_gradients": "uniform_path",
      gradient matching. "gradient_times_input": its limit at x. The attributions are contributions:
      what f gains when a feature changes from the baseline to x.

    For f = w · x + b all of the first kind return w and all of the second w (x - baseline).
    KernelSHAP's attributions sum to f(x) - f(baseline) to rounding; with all coalitions they are
    the Shapley values. It draws pairs of a coalition and its complement, an even number of points,
    sizes of few coalitions completely, and the standard error goes to 0 as n_samples nears 2^d.

    References
    ----------
    T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A Function Approximation
    Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022. S. M. Lundberg, S.-I. Lee,
    "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.

    Examples
    --------
    >>> f = lambda u: np.sin(u[:, 0]) + u[:, 1] * u[:, 2]
    >>> explain(f, np.array([1.0, 2.0, -0.5]), method="kernel_shap").attributions.round(6)
    array([ 0.841471, -0.5     , -0.5     ])
    """  # noqa: E501
    _check_gradient(grad, method in WITH_GRADIENT, f"method {method!r}")
    problem = _problem(x, baseline, BlackBox(f, grad, batch_size), n_samples, rng)
    lead = x.shape[:-1]
    if exact and problem.d > MAX_ENUMERATED:
        raise ValueError(
            f"exact must be False for d > {MAX_ENUMERATED} features with d = {problem.d} (got True)"
        )
    exact = problem.d <= ENUMERATED if exact is None else exact
    sampled = method == "c_lime" or method in ("lime", "kernel_shap") and not exact
    if sampled and n_samples < problem.d + 2:
        raise ValueError(
            f"n_samples must be >= d + 2 for method {method!r} with d = {problem.d} (got "
            f"{n_samples})"
        )
    if method == "occlusion":
        masks = Masks(problem, "single", with_x=False)
        return _explanation(problem, True, lead, *occlusion(problem, masks))
    if method in ("gradient", "gradient_times_input"):
        times_x = method != "gradient"
        return _explanation(problem, times_x, lead, *gradient_at(problem, times_x))
    zone, loss, kernel = {
        "lime": lambda: (
            Masks(problem, "all" if exact else "random", n_samples),
            "squared",
            kernel_width,
        ),
        "kernel_shap": lambda: (
            Coalitions(problem, 2 ** (problem.d - 1) - 1 if exact else n_samples // 2),
            "squared",
            "shapley",
        ),
        "c_lime": lambda: (Gaussian(problem, n_samples, scale), "squared", None),
        "smooth_grad": lambda: (Gaussian(problem, n_samples, scale), "gradient_matching", None),
        "integrated_gradients": lambda: (Path(problem, n_samples), "gradient_matching", None),
    }[method]()
    return _explanation(problem, zone.multiplicative, lead, *fitted(problem, zone, loss, kernel))


@routine
def faithfulness(
    f: Function,
    x: Float[Array, "*batch d", finite],
    explanations: Sequence[Explanation],
    *,
    neighborhood: Neighborhood,
    loss: Loss = "squared",
    grad: Function | None = None,
    n_samples: Count = 2000,
    scale: Scale = 0.1,
    baseline: Baseline | None = None,
    rng: RNG = None,
    kernel: Annotated[float, positive] | Function | None = None,
    batch_size: Count = 4096,
) -> Array:
    """How far each of several explanations is from a black box in a neighborhood: the mean loss,
    less is better.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (..., d) array of float32 or float64, finite
        What was explained.
    explanations : sequence of Explanation
        Of the shapes and the dtype that belong to `x`. They are scored on the same samples.
    neighborhood : {"gaussian", "uniform_path", "binary", "one_hot"} or callable
    loss : {"squared", "gradient_matching", "difference"}, default "squared"
    grad : callable, optional
    n_samples : int >= 1, default 2000
    scale : float > 0, default 0.1
    baseline : (..., d) array of float32 or float64, finite, optional
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    kernel : float > 0 or callable, optional
    batch_size : int >= 1, default 4096
        As for :func:`local_approximation`; `kernel` is not "shapley". `n_samples` may be as small
        as 1.

    Returns
    -------
    (k, ...) array
        Mean losses, of the dtype of `x`.

    Raises
    ------
    TypeError
        f or grad is not callable, explanations is not a sequence of Explanation, other dtypes,
        arrays on different devices.
    ValueError
        As for :func:`local_approximation`, and explanations of other shapes.

    Notes
    -----
    An explanation whose coordinates are not those of the neighborhood is the same function g in
    other coordinates: a slope times x - baseline is a contribution. A contribution of a feature
    that is at its baseline says nothing about its slope, which is taken as 0. No explanation is
    best in all neighborhoods: a method is best, of all linear models, in its own.

    References
    ----------
    T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A Function Approximation
    Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.

    Examples
    --------
    >>> from numcore.nn import explain
    >>> f, grad, x = lambda u: u[:, 0] ** 3, lambda u: 3 * u**2, np.array([2.0])
    >>> explanations = [
    ...     explain(f, x, method=method, grad=grad) for method in ("gradient", "kernel_shap")
    ... ]
    >>> bool(np.argmin(faithfulness(f, x, explanations, neighborhood="gaussian", rng=0)) == 0)
    True
    >>> bool(np.argmin(faithfulness(f, x, explanations, neighborhood="binary", rng=0)) == 1)
    True
    """
    _check_gradient(grad, loss == "gradient_matching", "loss 'gradient_matching'")
    problem = _problem(x, baseline, BlackBox(f, grad, batch_size), n_samples, rng)
    zone = _zone(problem, neighborhood, n_samples, scale, kernel, loss)
    models = [
        (
            e.attributions.reshape(problem.x.shape).astype(np.float64),
            e.intercept.reshape(problem.n).astype(np.float64),
            e.coordinates == "multiplier",
        )
        for e in explanations
    ]
    scores = score(problem, zone, loss, kernel, models)
    return scores.reshape(len(models), *x.shape[:-1]).astype(x.dtype)


# --- relations of arguments -----------------------------------------------------------------------


def _problem(x, baseline, box, n_samples, rng):
    xp, d = namespace_of(x), x.shape[-1]
    if not d:
        raise ValueError(f"x must have d >= 1 features (got shape {x.shape})")
    rows = xp.ascontiguousarray(x.reshape(-1, d))
    if max(len(rows), 1) * n_samples >= 2**56:
        raise ValueError(
            f"n_samples must be < 2**56 / n with n = {len(rows)} rows (got {n_samples})"
        )
    if baseline is None:
        return Problem(xp, rows, xp.zeros(rows.shape, x.dtype), box, rng)
    if baseline.shape not in (x.shape[-1:], x.shape):
        raise ValueError(
            f"baseline must have shape ({d},) or that of x, {x.shape} (got {baseline.shape})"
        )
    baseline = xp.broadcast_to(baseline, x.shape).reshape(rows.shape)
    return Problem(xp, rows, xp.ascontiguousarray(baseline), box, rng)


def _check_gradient(grad, needed, why):
    if needed and grad is None:
        raise TypeError(f"grad must be callable for {why} (got None)")


def _check_kernel(kernel, neighborhood, loss, intercept):
    fits = isinstance(neighborhood, str) and (neighborhood, loss, intercept) == (
        "binary",
        "squared",
        True,
    )
    if isinstance(kernel, str) and not fits:
        raise ValueError(
            "kernel must not be 'shapley' but with neighborhood 'binary', loss 'squared' and an "
            f"intercept (got {neighborhood!r:.80}, {loss!r}, intercept={intercept})"
        )


def _zone(problem, neighborhood, n_samples, scale, kernel, loss):
    """The neighborhood of a problem."""
    if callable(neighborhood):
        return Custom(problem, n_samples, neighborhood)
    match neighborhood:
        case "gaussian":
            return Gaussian(problem, n_samples, scale)
        case "uniform_path":
            return Path(problem, n_samples)
        case "one_hot":
            return Masks(problem, "single", with_x=loss != "difference")
    if isinstance(kernel, str):
        return Coalitions(problem, n_samples // 2)
    every = problem.d < 56 and 2**problem.d <= n_samples
    return Masks(problem, "all" if every else "random", n_samples)


def _explanation(problem, multiplicative, lead, w, intercept, loss, error):
    """The result for rows whose leading axes were `lead`."""
    dtype, d = problem.x.dtype, problem.d
    w, error = (part.astype(dtype).reshape(*lead, d) for part in (w, error))
    intercept, loss = (part.astype(dtype).reshape(lead)[()] for part in (intercept, loss))
    coordinates = "multiplier" if multiplicative else "offset"
    return Explanation(w, intercept, loss, error, problem.box.n_evaluations, coordinates)
