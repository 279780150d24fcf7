"""Explanations of a black box: linear models fitted to it near the inputs that are to be explained.

Eight popular methods of feature attribution are one procedure: draw points from a neighbourhood Z
of x and choose the linear model g that minimises the mean of a loss between f and g there. They
differ in Z and in the loss alone, so that one can say how well each fits, and which to take for a
neighbourhood of interest. T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A
Function Approximation Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.
"""

from typing import NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ._explanations_fit import fitted, gradient_at, occlusion, score
from ._explanations_neighbourhoods import (
    BlackBox,
    Coalitions,
    Custom,
    Gaussian,
    Masks,
    Path,
    Problem,
)

__all__ = [
    "Explanation",
    "explain",
    "faithfulness",
    "local_approximation",
    "shapley_kernel_weights",
]

NEIGHBOURHOODS = ("gaussian", "uniform_path", "binary", "one_hot")
LOSSES = ("squared", "gradient_matching", "difference")
METHODS = (
    "lime",
    "c_lime",
    "kernel_shap",
    "occlusion",
    "gradient",
    "gradient_times_input",
    "smooth_grad",
    "integrated_gradients",
)
WITH_GRADIENT = ("gradient", "gradient_times_input", "smooth_grad", "integrated_gradients")
ENUMERATED = 12  # features up to which all coalitions are evaluated unasked
MOST_ENUMERATED = 20


class Explanation(NamedTuple):
    """Linear models g(c) = attributions · c + intercept, one for each explained row.

    Attributes
    ----------
    attributions : (n, d) array
    intercept : (n,) array
    loss : (n,) array
        What was minimised, at its minimum.
    standard_error : (n, d) array
        Of the attributions, from sampling; 0 where nothing was sampled.
    n_evaluations : int
        Rows on which f or its gradient was evaluated, over all explained rows.
    coordinates : {"offset", "multiplier"}
        What c is: u - x, or the multiplier of x - baseline that gives u, which is 1 at x and 0 at
        the baseline.
    """

    attributions: object
    intercept: object
    loss: object
    standard_error: object
    n_evaluations: int
    coordinates: str = "offset"


# --- routines -------------------------------------------------------------------------------------


@routine
def local_approximation(
    f,
    x,
    *,
    neighbourhood,
    loss="squared",
    grad=None,
    kernel=None,
    baseline=None,
    n_samples=1000,
    scale=0.1,
    intercept=True,
    ridge=0.0,
    batch_size=4096,
    rng=None,
):
    """The linear model that is nearest to a black box in a neighbourhood of x.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (d,) or (n, d) array, float32 or float64
        What is to be explained.
    neighbourhood : {"gaussian", "uniform_path", "binary", "one_hot"} or callable
        Where f is approximated: x + ξ with ξ normal; baseline + a (x - baseline) with one a in [0,
        1] for all features; x with a random subset of features set to the baseline; x with one
        feature at a time set to the baseline. Or a function
        ``(rng, x, n_samples) -> (points (m, d), coordinates (m, d), weights (m,))`` of one row x,
        in whose coordinates 0 stands for x.
    loss : {"squared", "gradient_matching", "difference"}, optional
        (f(u) - g(u))²; the squared distance of the gradients of f and g in the coordinates; ((f(x)
        - f(u)) - (g(x) - g(u)))².
    grad : callable, optional
        Gradients of f, points (m, d) to (m, d); needed for "gradient_matching".
    kernel : None, float, callable or "shapley", optional
        Weights of the samples: 1; exp(-\\|u - x\\|² / kernel²); a function of the squared
        distances, of any shape; or those of :func:`shapley_kernel_weights` (for "binary"), with
        g(x) = f(x) and g(baseline) = f(baseline).
    baseline : (d,) or (n, d) array, optional
        What stands for an absent feature; 0 by default.
    n_samples : int, optional
        Points for each row of x. "one_hot" takes d + 1; "binary" takes all subsets once where they
        are no more than `n_samples`.
    scale : float, optional
        Standard deviation of ξ.
    intercept : bool, optional
        Whether g of the squared loss has a free intercept; else it is 0.
    ridge : float, optional
        Adds ``ridge |attributions|²`` to the weighted sum of squares.
    batch_size : int, optional
        Rows for one call of f.
    rng : None, int or numpy.random.Generator, optional
        Makes the samples, which do not depend on `batch_size`.

    Returns
    -------
    Explanation
        For a 1-D x without the axis of rows. "gradient_matching" and "difference" leave the
        intercept open: it is such that g(x) = f(x). For "uniform_path" with "gradient_matching",
        that is integrated gradients, `loss` is the completeness residual \\|Σ attributions - (f(x)
        - f(baseline))\\|.

    Raises
    ------
    TypeError
        f, grad or kernel is not callable, other dtypes, arrays on different devices.
    ValueError
        x or baseline is not finite or has another shape, an unknown neighbourhood or loss,
        n_samples < d + 2 for a squared loss without ridge, scale <= 0, f returns another shape, all
        weights are 0.

    Notes
    -----
    Squared loss: normal equations in float64, centred. Features whose attribution the samples leave
    open get the smallest one. n · n_samples evaluations of f and O(n · n_samples · d²) operations
    besides. Memory: less than three float64 arrays of batch_size × d, however many samples; a
    neighbourhood that is a function holds what it returns for one row. "uniform_path" takes the
    midpoints of n_samples equal parts of [0, 1] and no random numbers: for smooth f the error of
    the mean gradient is O(n_samples⁻²). Standard errors are those of the sandwich estimate; they
    want a batch_size of several times d. Distances are in the units of x: standardise features
    before a kernel of theirs, or choose its width by them.

    References
    ----------
    T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A Function Approximation
    Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.

    Examples
    --------
    >>> f = lambda u: 2 * u[:, 0] + u[:, 1] ** 2
    >>> local_approximation(f, np.array([1.0, 3.0]), neighbourhood="binary").attributions.round(6)
    array([2., 9.])
    """
    xp, x, baseline, single = _checked_rows(x, baseline)
    loss = checked_choice("loss", loss, LOSSES)
    box = _checked_box(f, grad, batch_size, loss == "gradient_matching")
    problem = Problem(xp, x, baseline, box, rng)
    ridge = checked_number("ridge", ridge, least=0)
    intercept = checked_bool("intercept", intercept)
    kernel = _checked_kernel(kernel, neighbourhood, loss, intercept)
    zone = _neighbourhood(problem, neighbourhood, n_samples, scale, kernel, loss)
    if (
        loss == "squared"
        and ridge == 0
        and zone.sampled
        and zone.n_samples * (2 if kernel == "shapley" else 1) < problem.d + 2
    ):
        raise ValueError(
            f"n_samples must be >= d + 2 for a squared loss without ridge (got "
            f"n_samples={n_samples}, d={problem.d})"
        )
    return _explanation(
        problem, zone.multiplicative, single, *fitted(problem, zone, loss, kernel, intercept, ridge)
    )


@routine
def explain(
    f,
    x,
    *,
    method,
    grad=None,
    baseline=None,
    n_samples=1000,
    scale=0.1,
    kernel_width=1.0,
    exact=None,
    rng=None,
    batch_size=4096,
):
    """Feature attributions of a black box by one of eight methods.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (d,) or (n, d) array, float32 or float64
        What is to be explained.
    method : {"lime", "c_lime", "kernel_shap", "occlusion", "gradient", "gradient_times_input", "smooth_grad", "integrated_gradients"}
        See Notes.
    grad : callable, optional
        Gradients of f, points (m, d) to (m, d); needed for the last four methods.
    baseline : (d,) or (n, d) array, optional
        What stands for an absent feature; 0 by default.
    n_samples : int, optional
        Points for each row of x, where a method samples.
    scale : float, optional
        Standard deviation of the noise of "c_lime" and "smooth_grad".
    kernel_width : float, optional
        Of LIME's weights exp(-\\|u - x\\|² / kernel_width²).
    exact : bool, optional
        Whether "lime" and "kernel_shap" take all 2^d coalitions of features instead of `n_samples`;
        by default where d <= 12.
    rng : None, int or numpy.random.Generator, optional
        Makes the samples, which do not depend on `batch_size`.
    batch_size : int, optional
        Rows for one call of f.

    Returns
    -------
    Explanation
        For a 1-D x without the axis of rows.

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
    Each method is a neighbourhood and a loss of :func:`local_approximation`:

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
    xp, x, baseline, single = _checked_rows(x, baseline)
    method = checked_choice("method", method, METHODS)
    box = _checked_box(f, grad, batch_size, method in WITH_GRADIENT, f"method {method!r}")
    problem = Problem(xp, x, baseline, box, rng)
    n_samples, scale = _checked_samples(n_samples, problem), checked_number("scale", scale, above=0)
    width = checked_number("kernel_width", kernel_width, above=0)
    if exact and problem.d > MOST_ENUMERATED:
        raise ValueError(
            f"exact must not be True for d > {MOST_ENUMERATED} features (got d={problem.d})"
        )
    exact = problem.d <= ENUMERATED if exact is None else checked_bool("exact", exact)
    sampled = method == "c_lime" or method in ("lime", "kernel_shap") and not exact
    if sampled and n_samples < problem.d + 2:
        raise ValueError(
            f"n_samples must be >= d + 2 for method {method!r} (got n_samples={n_samples}, "
            f"d={problem.d})"
        )
    if method == "occlusion":
        return _explanation(
            problem, True, single, *occlusion(problem, Masks(problem, "single", with_x=False))
        )
    if method in ("gradient", "gradient_times_input"):
        return _explanation(
            problem, method != "gradient", single, *gradient_at(problem, method != "gradient")
        )
    zone, loss, kernel = {
        "lime": lambda: (Masks(problem, "all" if exact else "random", n_samples), "squared", width),
        "kernel_shap": lambda: (
            Coalitions(problem, 2 ** (problem.d - 1) - 1 if exact else n_samples // 2),
            "squared",
            "shapley",
        ),
        "c_lime": lambda: (Gaussian(problem, n_samples, scale), "squared", None),
        "smooth_grad": lambda: (Gaussian(problem, n_samples, scale), "gradient_matching", None),
        "integrated_gradients": lambda: (Path(problem, n_samples), "gradient_matching", None),
    }[method]()
    return _explanation(problem, zone.multiplicative, single, *fitted(problem, zone, loss, kernel))


@routine
def faithfulness(
    f,
    x,
    explanations,
    *,
    neighbourhood,
    loss="squared",
    grad=None,
    n_samples=2000,
    scale=0.1,
    baseline=None,
    rng=None,
    kernel=None,
    batch_size=4096,
):
    """How far each of several explanations is from a black box in a neighbourhood: the mean loss,
    less is better.

    Parameters
    ----------
    f : callable
        Points (m, d) to values (m,), on the device of `x`. Must not change the points.
    x : (d,) or (n, d) array, float32 or float64
        What was explained.
    explanations : sequence of k Explanation
        Of the shapes and the dtype that belong to `x`. They are scored on the same samples.
    neighbourhood, loss, grad, n_samples, scale, baseline, rng, kernel, batch_size
        As for :func:`local_approximation`; `kernel` is not "shapley". `n_samples` may be as small
        as 1.

    Returns
    -------
    (k, n) array, or (k,) for a 1-D x
        Mean losses, of the dtype of `x`.

    Raises
    ------
    TypeError
        f or grad is not callable, explanations is no sequence of Explanation, other dtypes, arrays
        on different devices.
    ValueError
        As for :func:`local_approximation`, and explanations of other shapes.

    Notes
    -----
    An explanation whose coordinates are not those of the neighbourhood is the same function g in
    other coordinates: a slope times x - baseline is a contribution. A contribution of a feature
    that is at its baseline says nothing about its slope, which is taken as 0. No explanation is
    best in all neighbourhoods: a method is best, of all linear models, in its own.

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
    >>> bool(np.argmin(faithfulness(f, x, explanations, neighbourhood="gaussian", rng=0)) == 0)
    True
    >>> bool(np.argmin(faithfulness(f, x, explanations, neighbourhood="binary", rng=0)) == 1)
    True
    """
    xp, x, baseline, single = _checked_rows(x, baseline)
    loss = checked_choice("loss", loss, LOSSES)
    box = _checked_box(f, grad, batch_size, loss == "gradient_matching")
    problem = Problem(xp, x, baseline, box, rng)
    kernel = _checked_kernel(kernel, neighbourhood, loss, True)
    if kernel == "shapley":
        raise ValueError("kernel must not be 'shapley' for faithfulness")
    zone = _neighbourhood(problem, neighbourhood, n_samples, scale, kernel, loss)
    scores = score(problem, zone, loss, kernel, _checked_explanations(explanations, x, single))
    return (scores[:, 0] if single else scores).astype(x.dtype)


@routine
def shapley_kernel_weights(n_features, *, xp=np):
    """Weights of coalitions of features by their size, as in KernelSHAP.

    Parameters
    ----------
    n_features : int
        At least 1.
    xp : module, optional
        numpy, or cupy to have the weights on the GPU.

    Returns
    -------
    (n_features + 1,) array of float64
        Entry s is (d - 1) / (C(d, s) s (d - s)), the weight of each coalition of s features, with a
        relative error below 1e-13 where it is no less than 1e-300; the first and the last are
        infinite.

    Raises
    ------
    TypeError
        n_features is no integer.
    ValueError
        n_features is not in [1, 2**20].

    References
    ----------
    S. M. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.

    Examples
    --------
    >>> shapley_kernel_weights(4)
    array([  inf, 0.25 , 0.125, 0.25 ,   inf])
    """
    d = checked_count("n_features", n_features, least=1)
    if d > 2**20:
        raise ValueError(f"n_features must be in [1, 2**20] (got {d})")
    weights = np.full(d + 1, np.inf)
    choose = 1.0
    for s in range(1, d // 2 + 1):
        choose = choose * (d - s + 1) / s
        weights[s] = weights[d - s] = (d - 1) / (choose * s * (d - s))
    return xp.asarray(weights)


# --- checks ---------------------------------------------------------------------------------------


def _neighbourhood(problem, neighbourhood, n_samples, scale, kernel, loss):
    n_samples, scale = _checked_samples(n_samples, problem), checked_number("scale", scale, above=0)
    if callable(neighbourhood):
        return Custom(problem, n_samples, neighbourhood)
    match checked_choice("neighbourhood", neighbourhood, NEIGHBOURHOODS):
        case "gaussian":
            return Gaussian(problem, n_samples, scale)
        case "uniform_path":
            return Path(problem, n_samples)
        case "one_hot":
            return Masks(problem, "single", with_x=loss != "difference")
    if kernel == "shapley":
        return Coalitions(problem, n_samples // 2)
    return Masks(
        problem, "all" if problem.d < 56 and 2**problem.d <= n_samples else "random", n_samples
    )


def _explanation(problem, multiplicative, single, w, intercept, loss, error):
    parts = [part.astype(problem.x.dtype) for part in (w, intercept, loss, error)]
    if single:
        parts = [part[0] for part in parts]
    return Explanation(
        *parts, problem.box.n_evaluations, "multiplier" if multiplicative else "offset"
    )


def _checked_rows(x, baseline):
    """x and the baseline as (n, d) arrays, and whether x has no axis of rows."""
    xp, (x, baseline) = on_device(x=x, baseline=baseline)
    if x is None:
        raise TypeError("x must be a NumPy or CuPy array (got None)")
    float_dtype(x=x, baseline=baseline)
    if x.ndim not in (1, 2) or not x.shape[-1]:
        raise ValueError(f"x must have shape (d,) or (n, d) with d >= 1 (got {x.shape})")
    if not bool(xp.isfinite(x).all()):
        raise ValueError("x must be finite (got NaN or infinity)")
    rows = xp.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    if baseline is None:
        baseline = xp.zeros(rows.shape, x.dtype)
    elif baseline.shape not in (x.shape[-1:], x.shape):
        raise ValueError(
            f"baseline must have shape {x.shape[-1:]} or that of x, {x.shape} (got "
            f"{baseline.shape})"
        )
    elif not bool(xp.isfinite(baseline).all()):
        raise ValueError("baseline must be finite (got NaN or infinity)")
    return xp, rows, xp.ascontiguousarray(xp.broadcast_to(baseline, rows.shape)), x.ndim == 1


def _checked_box(f, grad, batch_size, needs_grad, why="gradient_matching"):
    if not callable(f):
        raise TypeError(f"f must be callable (got {type(f).__name__})")
    if needs_grad and not callable(grad):
        raise TypeError(f"grad must be callable for {why} (got {type(grad).__name__})")
    return BlackBox(f, grad, checked_count("batch_size", batch_size, least=1))


def _checked_samples(n_samples, problem):
    n_samples = checked_count("n_samples", n_samples, least=1)
    if max(problem.n, 1) * n_samples >= 2**56:
        raise ValueError(
            f"n_samples must be below 2**56 / n (got n_samples={n_samples}, n={problem.n})"
        )
    return n_samples


def _checked_kernel(kernel, neighbourhood, loss, intercept):
    if isinstance(kernel, str) and kernel == "shapley":
        if not isinstance(neighbourhood, str) or (neighbourhood, loss, intercept) != (
            "binary",
            "squared",
            True,
        ):
            raise ValueError(
                "kernel must not be 'shapley' but with neighbourhood 'binary', loss 'squared' and "
                "an intercept "
                f"(got {neighbourhood!r:.80}, {loss!r}, intercept={intercept})"
            )
        return kernel
    if isinstance(kernel, str):
        raise ValueError(f"kernel must be None, a width, a callable or 'shapley' (got {kernel!r})")
    return (
        kernel if kernel is None or callable(kernel) else checked_number("kernel", kernel, above=0)
    )


def _checked_explanations(explanations, x, single):
    """(attributions (n, d), intercept (n,), whether they multiply x - baseline) of each, in
    float64."""
    if isinstance(explanations, Explanation) or not isinstance(explanations, (list, tuple)):
        raise TypeError(
            f"explanations must be a sequence of Explanation (got {type(explanations).__name__})"
        )
    shapes = (x.shape[1:], ()) if single else (x.shape, x.shape[:1])
    checked = []
    for i, e in enumerate(explanations):
        if not isinstance(e, Explanation):
            raise TypeError(f"explanations[{i}] must be an Explanation (got {type(e).__name__})")
        checked_choice(f"explanations[{i}].coordinates", e.coordinates, ("offset", "multiplier"))
        names = [f"explanations[{i}].{name}" for name in ("attributions", "intercept")]
        _, (w, b, _) = on_device(
            **dict(zip(names, (e.attributions, e.intercept), strict=True)), x=x
        )
        for name, array, shape in zip(names, (w, b), shapes, strict=True):
            if array is None:
                raise TypeError(f"{name} must be an array (got None)")
            float_dtype(x=x, **{name: array})
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape} (got {array.shape})")
        checked.append(
            (
                w.reshape(x.shape).astype(np.float64),
                b.reshape(len(x)).astype(np.float64),
                e.coordinates == "multiplier",
            )
        )
    return checked
