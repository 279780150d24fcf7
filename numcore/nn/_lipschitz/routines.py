"""How fast a ReLU network can change in a box: certified bounds of its outputs, its derivatives and
its Lipschitz constant.

Linear bounds of all nodes are substituted backward, through the network for its neurons, and
through the graph of its derivative for every entry of the Jacobian and for the sums of their
absolute values; branching on neurons that may be on or off makes the bounds exact in the end. Z.
Shi, Y. Wang, H. Zhang, J. Z. Kolter, C.-J. Hsieh, "Efficiently Computing Local Lipschitz Constants
of Neural Networks via Bound Propagation", NeurIPS 2022.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import RNG, Array, Float, Integer, any_device, finite, interval, nonnegative
from ...dispatch import routine
from ...progress import progress_bar
from ...random import generator_from_rng
from .crown import norms, region
from .operators import Conv2d, Count
from .sampling import sampled
from .search import Search
from .task import Task, host

Method: TypeAlias = Literal["linear", "recurjac", "interval"]
Reason: TypeAlias = Literal["tol", "max_domains", "callback", "interrupt", "exhausted", "not_split"]
Weights: TypeAlias = Sequence[Float[Array, "_ _", finite] | Conv2d]
Biases: TypeAlias = Sequence[Float[Array, "_", finite]]
Box: TypeAlias = Float[Array, "*boxes n_in", finite]
HalfWidths: TypeAlias = Annotated[float, nonnegative] | Float[Array, "...", finite, nonnegative]
Rows: TypeAlias = Float[Array, "q n_out", finite]


class LipschitzBound(NamedTuple):
    """What :func:`local_lipschitz` finds; arrays with one entry for each box where `x0` holds
    several.

    Attributes
    ----------
    upper : float
        No point of the box has a larger sum of absolute values in a row of the Jacobian.
    lower : float
        The largest such sum at the points that were tried.
    converged : bool
        Whether ``gap <= tol`` for all boxes.
    n_iter : int
        Batches of parts that were split.
    reason : {"tol", "max_domains", "callback", "interrupt", "exhausted", "not_split"}
        Why splitting ended, in the first box that has not converged: "exhausted" if all neurons
        are decided in the parts that are left, "not_split" without `branch_and_bound`.
    gap : float
        ``upper - lower``.
    n_domains : int
        Parts that the box was split into.
    jacobian_lower, jacobian_upper : (out, in) array
        Bounds of the entries of the Jacobian.
    """

    upper: Any
    lower: Any
    converged: bool
    n_iter: int
    reason: Reason
    gap: Any
    n_domains: Any
    jacobian_lower: Any
    jacobian_upper: Any


# --- routines -------------------------------------------------------------------------------------


@routine
def output_bounds(
    weights: Weights,
    biases: Biases,
    x0: Box,
    eps: HalfWidths,
    *,
    method: Literal["crown", "interval"] = "crown",
    return_layers: bool = False,
) -> tuple[Any, ...]:
    """Bounds of the outputs of a ReLU network on the box of all x with \\|x - x0\\| <= eps.

    Parameters
    ----------
    weights : sequence of (_, _) array of float32 or float64, finite or Conv2d
        The layers. A ReLU follows each but the last.
    biases : sequence of (_,) array of float32 or float64, finite
        For a convolution also one entry for each channel.
    x0 : (..., n_in) array of float32 or float64, finite
        The middle of the box, or of several boxes that do not depend on each other.
    eps : float >= 0 or (...) array of float32 or float64, >= 0, finite
        Half the widths of the box.
    method : {"crown", "interval"}, default "crown"
        Linear bounds substituted back to the input, or interval arithmetic, which costs as much as
        two evaluations and is far looser.
    return_layers : bool, default False
        Also return bounds of what enters the ReLUs.

    Returns
    -------
    lower, upper : (..., n_out) arrays
    layers : list of pairs of arrays, if `return_layers`
        Lower and upper bounds of the pre-activations, one pair for each layer but the last.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        No layers, shapes that do not fit, eps < 0, numbers that are not finite, an unknown method.

    Notes
    -----
    The bounds hold for exact arithmetic: they are computed in float64 and widened by a bound of all
    rounding errors, then rounded outward to the dtype. With L layers of n neurons CROWN takes O(L²
    n³) operations for each box, and O(n) memory for each neuron.

    References
    ----------
    H. Zhang, T.-W. Weng, P.-Y. Chen, C.-J. Hsieh, L. Daniel, "Efficient Neural Network Robustness
    Certification with General Activation Functions", NeurIPS 2018.

    Examples
    --------
    >>> weights = [np.array([[1.0, 1], [1, -1]]), np.array([[1.0, -1]])]
    >>> lower, upper = output_bounds(weights, [np.zeros(2), np.zeros(1)], np.zeros(2), 1.0)
    >>> lower.round(4), upper.round(4)
    (array([-2.]), array([2.]))
    """
    task = Task(weights, biases, x0, eps)
    with np.errstate(all="ignore"):
        parts = [
            region(task.network, *boxes, crown=method == "crown", depth=len(task.network)).layers
            for boxes in task.boxes(1)
        ]
        layers = [task.joined(layer) for layer in zip(*parts, strict=True)]
    return (*layers[-1], layers[:-1]) if return_layers else layers[-1]


@routine
def jacobian_bounds(
    weights: Weights,
    biases: Biases,
    x0: Box,
    eps: HalfWidths,
    *,
    c: Rows | None = None,
    method: Method = "linear",
) -> tuple[Array, Array]:
    """Bounds of every entry of a ReLU network's Jacobian on a box.

    Parameters
    ----------
    weights : sequence of (_, _) array of float32 or float64, finite or Conv2d
    biases : sequence of (_,) array of float32 or float64, finite
    x0 : (..., n_in) array of float32 or float64, finite
    eps : float >= 0 or (...) array of float32 or float64, >= 0, finite
        As for :func:`output_bounds`.
    c : (q, n_out) array of float32 or float64, finite, optional
        Rows of combinations of outputs, instead of the outputs.
    method : {"linear", "recurjac", "interval"}, default "linear"
        The tightest lines below and above each node; constants at nodes whose derivative may have
        both signs; interval arithmetic.

    Returns
    -------
    lower, upper : (..., q, n_in) arrays
        Of Clarke's Jacobian: where a ReLU's input is 0, its slope may be anything in [0, 1].

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        No layers, shapes that do not fit, eps < 0, numbers that are not finite, an unknown method.

    Notes
    -----
    Widened and rounded outward as in :func:`output_bounds`. O(q L² n³) operations for each box, in
    blocks of rows that need a few MB.

    References
    ----------
    Z. Shi, Y. Wang, H. Zhang, J. Z. Kolter, C.-J. Hsieh, "Efficiently Computing Local Lipschitz
    Constants of Neural Networks via Bound Propagation", NeurIPS 2022. For method="recurjac": H.
    Zhang, P. Zhang, C.-J. Hsieh, "RecurJac: An Efficient Recursive Algorithm for Bounding Jacobian
    Matrix of Neural Networks and Its Applications", AAAI 2019.

    Examples
    --------
    >>> weights = [np.array([[1.0, 1], [1, -1]]), np.array([[1.0, -1]])]
    >>> lower, upper = jacobian_bounds(weights, [np.zeros(2), np.zeros(1)], np.zeros(2), 1.0)
    >>> lower.round(4), upper.round(4)
    (array([[-1.,  0.]]), array([[1., 2.]]))
    """
    task = Task(weights, biases, x0, eps, c)
    with np.errstate(all="ignore"):
        found = [task.derivatives(boxes, method)[1] for boxes in task.boxes()]
        return task.joined([(part.lower, part.upper) for part in found])


@routine
def local_lipschitz(
    weights: Weights,
    biases: Biases,
    x0: Box,
    eps: HalfWidths,
    *,
    c: Rows | None = None,
    method: Method = "linear",
    branch_and_bound: bool = False,
    max_domains: Count = 1000,
    batch_size: Count = 64,
    tol: Annotated[float, nonnegative] = 1e-6,
    n_lower_samples: Annotated[int, interval("[0, 2147483648)")] = 1000,
    rng: RNG = None,
    callback: Callable[..., Any] | None = None,
    progress: bool = False,
) -> LipschitzBound:
    """Certified bound of the Lipschitz constant of a ReLU network on a box, in the maximum norm of
    inputs and outputs.

    That is the largest sum of the absolute values in a row of the Jacobian, over all rows and all
    points of the box: no output changes by more than this times the largest change of an input.

    Parameters
    ----------
    weights : sequence of (_, _) array of float32 or float64, finite or Conv2d
    biases : sequence of (_,) array of float32 or float64, finite
    x0 : (..., n_in) array of float32 or float64, finite
    eps : float >= 0 or (...) array of float32 or float64, >= 0, finite
        As for :func:`output_bounds`.
    c : (q, n_out) array of float32 or float64, finite, optional
        Rows of combinations of outputs, instead of the outputs.
    method : {"linear", "recurjac", "interval"}, default "linear"
        As for :func:`jacobian_bounds`. Only "linear" bounds the sums of absolute values jointly,
        which is tighter than summing bounds.
    branch_and_bound : bool, default False
        Split the box by which neurons are on, where that is worth most, until the bounds meet.
    max_domains : int in [1, 2**31), default 1000
        Parts that the box is split into at most.
    batch_size : int in [1, 2**31), default 64
        Parts that are split at once.
    tol : float >= 0, default 1e-06
        The gap between the bounds at which to stop.
    n_lower_samples : int in [0, 2**31), default 1000
        Random points for the lower bound; the best of them climb along the signs of their gradients
        to corners of the box.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Makes these points.
    callback : callable, optional
        ``callback(upper, lower, n_domains)`` is called after every batch; splitting ends when it
        returns True.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    LipschitzBound
        Ctrl-C ends the splitting early and returns what holds by then. The bounds of the Jacobian
        are those of the whole box.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options of another type.
    ValueError
        No layers, shapes that do not fit, eps < 0, numbers that are not finite, an unknown method,
        a count below its least value.
    ImportError
        The progress bar is asked for and tqdm is not installed.

    Notes
    -----
    Widened and rounded outward as in :func:`output_bounds`. The cost is that of
    :func:`jacobian_bounds`, again for each two parts.

    References
    ----------
    Z. Shi, Y. Wang, H. Zhang, J. Z. Kolter, C.-J. Hsieh, "Efficiently Computing Local Lipschitz
    Constants of Neural Networks via Bound Propagation", NeurIPS 2022.

    Examples
    --------
    >>> weights = [np.array([[1.0, 1], [1, -1]]), np.array([[1.0, -1]])]
    >>> network = weights, [np.zeros(2), np.zeros(1)]
    >>> bound = local_lipschitz(*network, np.zeros(2), 1.0, rng=0)
    >>> float(bound.lower), round(float(bound.upper), 4)
    (2.0, 3.0)
    >>> bound = local_lipschitz(*network, np.zeros(2), 1.0, branch_and_bound=True, rng=0)
    >>> round(float(bound.upper), 4), bool(bound.converged), bound.n_domains <= 4
    (2.0, True, True)
    """
    task = Task(weights, biases, x0, eps, c)
    rng = generator_from_rng(rng)
    limits = (max_domains, batch_size, tol)
    bar = (
        progress_bar(max_domains * task.n_boxes, "domains")
        if progress and branch_and_bound
        else None
    )
    with np.errstate(all="ignore"), bar or contextlib.nullcontext():
        parts = [
            _lipschitz(
                task, boxes, method, branch_and_bound, limits, n_lower_samples, rng, callback, bar
            )
            for boxes in task.boxes()
        ]
        upper, lower, domains = (task.xp.concatenate([part[i] for part in parts]) for i in range(3))
        lower, upper = (
            task.shaped(task.rounded(bound, side), ()) for bound, side in ((lower, -1), (upper, 1))
        )
        gap, domains = upper - lower, task.shaped(domains, ())
        met = host(gap <= tol).ravel().tolist()
        reasons = itertools.chain.from_iterable(part[5] for part in parts)
        reason = next((r for r, ok in zip(reasons, met, strict=False) if not ok), "tol")
        return LipschitzBound(
            upper,
            lower,
            all(met),
            sum(part[6] for part in parts),
            reason,
            gap,
            domains if gap.ndim else int(domains),
            *task.joined([part[3:5] for part in parts]),
        )


def _lipschitz(task, boxes, method, split, limits, samples, rng, callback, bar):
    """Of each box: upper and lower bound and the number of parts; bounds of the Jacobian; of each
    box why splitting ended; how many batches were split."""
    xp, (found, here) = task.xp, task.derivatives(boxes, method)
    upper = norms(here, joint=method == "linear")[0]
    lower = sampled(found.network, task.last(found.network)[0], *boxes, samples, rng)
    domains, reasons, n_iter = xp.ones(len(lower), np.int64), ["not_split"] * len(lower), 0
    for i in range(len(lower)) if split and upper.shape[1] else ():
        search = Search(task, boxes, i, method, upper[i], float(lower[i]))
        upper[i], domains[i] = search.run(*limits, callback, bar), search.n_domains
        reasons[i], n_iter = search.reason, n_iter + search.n_iter
    bounds = upper.max(axis=1, initial=0.0), lower, domains
    return *bounds, here.lower, here.upper, reasons, n_iter


@routine
def monotonicity(
    weights: Weights,
    biases: Biases,
    x0: Box,
    eps: HalfWidths,
    *,
    features: Integer[Array, "_", any_device, interval("[0, n_in)")] | None = None,
) -> Array:
    """In which inputs the outputs of a ReLU network are certain to rise or to fall, all over a box.

    Parameters
    ----------
    weights : sequence of (_, _) array of float32 or float64, finite or Conv2d
    biases : sequence of (_,) array of float32 or float64, finite
    x0 : (..., n_in) array of float32 or float64, finite
    eps : float >= 0 or (...) array of float32 or float64, >= 0, finite
        As for :func:`output_bounds`.
    features : (_,) array of integers, in [0, n_in), optional
        The inputs asked about, by default all.

    Returns
    -------
    (..., n_out, n_in) array of int8, or (..., n_out, len(features))
        1 where an output never falls as the input rises, -1 where it never rises, 0 where neither
        is certain and where the output does not depend on the input at all.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `features` that are not integers.
    ValueError
        No layers, shapes that do not fit, eps < 0, numbers that are not finite, `features` that do
        not exist.

    Notes
    -----
    The signs of the bounds of :func:`jacobian_bounds`, rounding errors allowed for.

    References
    ----------
    Z. Shi, Y. Wang, H. Zhang, J. Z. Kolter, C.-J. Hsieh, "Efficiently Computing Local Lipschitz
    Constants of Neural Networks via Bound Propagation", NeurIPS 2022.

    Examples
    --------
    >>> weights = [np.array([[1.0, 1], [1, -1]]), np.array([[1.0, -1]])]
    >>> monotonicity(weights, [np.zeros(2), np.zeros(1)], np.zeros(2), 1.0)
    array([[0, 1]], dtype=int8)
    """
    task = Task(weights, biases, x0, eps)
    inputs = None if features is None else task.xp.asarray(host(features).astype(np.int64))
    with np.errstate(all="ignore"):
        found = [task.derivatives(boxes, "linear", inputs)[1] for boxes in task.boxes()]
        signs = [
            ((part.lower >= 0) & (part.upper > 0)).astype(np.int8)
            - ((part.upper <= 0) & (part.lower < 0))
            for part in found
        ]
    return task.shaped(task.xp.concatenate(signs), signs[0].shape[1:]).astype(np.int8)
