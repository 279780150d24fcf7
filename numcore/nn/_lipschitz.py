"""How fast a ReLU network can change in a box: certified bounds of its outputs, its derivatives and
its Lipschitz constant.

Linear bounds of all nodes are substituted backward, through the network for its neurons, and
through the graph of its derivative for every entry of the Jacobian and for the sums of their
absolute values; branching on neurons that may be on or off makes the bounds exact in the end. Z.
Shi, Y. Wang, H. Zhang, J. Z. Kolter, C.-J. Hsieh, "Efficiently Computing Local Lipschitz Constants
of Neural Networks via Bound Propagation", NeurIPS 2022.
"""

import contextlib
import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import (
    RNG,
    Array,
    Float,
    Integer,
    any_device,
    finite,
    interval,
    nonnegative,
)
from ..dispatch import device_of, namespace_of, routine
from ..progress import progress_bar
from ..random import generator_from_rng
from ._crown import derivatives, network_of, norms, region
from ._operators import Conv2d, Count, Dense

__all__ = [
    "Conv2d",
    "LipschitzBound",
    "jacobian_bounds",
    "local_lipschitz",
    "monotonicity",
    "output_bounds",
]

Method: TypeAlias = Literal["linear", "recurjac", "interval"]
Reason: TypeAlias = Literal["tol", "max_domains", "callback", "interrupt", "exhausted", "not_split"]
Weights: TypeAlias = Sequence[Float[Array, "_ _", finite] | Conv2d]
Biases: TypeAlias = Sequence[Float[Array, "_", finite]]
Box: TypeAlias = Float[Array, "*boxes n_in", finite]
HalfWidths: TypeAlias = Annotated[float, nonnegative] | Float[Array, "...", finite, nonnegative]
Rows: TypeAlias = Float[Array, "q n_out", finite]
ENTRIES = 1 << 21  # of an array over boxes: 16 MB; more boxes are taken in turn
CLIMBS, CLIMBERS = 4, 4  # steps from a sampled point to a corner of the box, and points that climb


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
    task = _Task(weights, biases, x0, eps)
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
    task = _Task(weights, biases, x0, eps, c)
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
    task = _Task(weights, biases, x0, eps, c)
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
        met = _host(gap <= tol).ravel().tolist()
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
    lower = _sampled(found.network, task.last(found.network)[0], *boxes, samples, rng)
    domains, reasons, n_iter = xp.ones(len(lower), np.int64), ["not_split"] * len(lower), 0
    for i in range(len(lower)) if split and upper.shape[1] else ():
        search = _Search(task, boxes, i, method, upper[i], float(lower[i]))
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
    task = _Task(weights, biases, x0, eps)
    inputs = None if features is None else task.xp.asarray(_host(features).astype(np.int64))
    with np.errstate(all="ignore"):
        found = [task.derivatives(boxes, "linear", inputs)[1] for boxes in task.boxes()]
        signs = [
            ((part.lower >= 0) & (part.upper > 0)).astype(np.int8)
            - ((part.upper <= 0) & (part.lower < 0))
            for part in found
        ]
    return task.shaped(task.xp.concatenate(signs), signs[0].shape[1:]).astype(np.int8)


# --- arguments ------------------------------------------------------------------------------------


class _Task:
    """Checked arguments: the network, boxes as (boxes, n_in) arrays, and how results go back to the
    caller's shape and dtype."""

    def __init__(self, weights, biases, x0, eps, c=None):
        if not weights:
            raise ValueError("weights must hold at least 1 layer (got 0)")
        if len(biases) != len(weights):
            raise ValueError(
                f"biases must hold {len(weights)} arrays, as many as weights (got {len(biases)})"
            )
        self.xp, self.dtype = namespace_of(x0), x0.dtype
        for i, w in enumerate(weights):
            if isinstance(w, Conv2d):
                _check_like(f"weights[{i}]", w.weight, x0)
        operators = [w if isinstance(w, Conv2d) else Dense(self.xp, w) for w in weights]
        biases = [
            _bias(self.xp, f"biases[{i}]", b, op)
            for i, (b, op) in enumerate(zip(biases, operators, strict=True))
        ]
        for i in range(1, len(operators)):
            if operators[i].shape[1] != operators[i - 1].shape[0]:
                raise ValueError(
                    f"weights[{i}] must take the {operators[i - 1].shape[0]} outputs of the layer "
                    f"before it (got shape {operators[i].shape})"
                )
        n_in, n_out = operators[0].shape[1], operators[-1].shape[0]
        if x0.shape[-1] != n_in:
            raise ValueError(f"x0 must have shape (..., n_in) with n_in = {n_in} (got {x0.shape})")
        if c is not None and c.shape[1] != n_out:
            raise ValueError(f"c must have shape (q, n_out) with n_out = {n_out} (got {c.shape})")
        self.network = network_of(self.xp, operators, biases)
        self.lead, self.n_boxes = x0.shape[:-1], math.prod(x0.shape[:-1])
        eps = self._widths(eps, x0.shape).reshape(self.n_boxes, n_in)
        self.x0, self.eps = x0.astype(np.float64).reshape(self.n_boxes, n_in), eps
        self.c = None if c is None else c.astype(np.float64)

    def _widths(self, eps, shape):
        """Half the widths in float64, for each entry of x0."""
        if isinstance(eps, float):
            return self.xp.full(shape, eps)
        if eps.ndim > len(shape) or any(
            a not in (1, b) for a, b in zip(eps.shape[::-1], shape[::-1], strict=False)
        ):
            raise ValueError(f"eps must broadcast to the shape {shape} of x0 (got {eps.shape})")
        return self.xp.broadcast_to(eps.astype(np.float64), shape)

    # --- work

    def boxes(self, q=None):
        """Parts (x0, eps) of the boxes for which arrays over boxes, rows of outputs and neurons are
        not too large."""
        q = q or (self.network.operators[-1].shape[0] if self.c is None else len(self.c))
        step = max(1, ENTRIES // max(1, q * max(max(op.shape) for op in self.network.operators)))
        for first in range(0, max(self.n_boxes, 1), step):
            yield self.x0[first : first + step], self.eps[first : first + step]

    def derivatives(self, boxes, method, inputs=None):
        found = region(self.network, *boxes, crown=method != "interval")
        last, magnitude = self.last(found.network)
        return found, derivatives(
            found,
            last[None],
            None if magnitude is None else magnitude[None],
            method=method,
            inputs=inputs,
        )

    def last(self, network):
        """The last layer's weights or the combinations of them, and of these the sums of absolute
        values."""
        operator = network.operators[-1]
        if self.c is None:
            return operator.rows(self.xp.arange(operator.shape[0])), None
        return operator.adjoint(self.c), operator.absolute().adjoint(abs(self.c))

    # --- results

    def joined(self, parts):
        """Lower and upper bounds, each given in parts of the boxes."""
        bounds = (self.xp.concatenate(bound) for bound in zip(*parts, strict=True))
        return tuple(
            self.shaped(self.rounded(bound, side), bound.shape[1:])
            for bound, side in zip(bounds, (-1, 1), strict=True)
        )

    def rounded(self, bound, side):
        """In the caller's dtype, never inward."""
        result = bound.astype(self.dtype)
        inward = result > bound if side < 0 else result < bound
        return self.xp.where(
            inward, self.xp.nextafter(result, self.xp.full_like(result, side * math.inf)), result
        )

    def shaped(self, array, tail):
        return array.reshape((*self.lead, *tail))[()]


def _check_like(name, array, x0):
    if array.dtype != x0.dtype:
        raise TypeError(f"{name} must have dtype {x0.dtype} like x0 (got {array.dtype})")
    here, there = device_of(array), device_of(x0)
    if here is not there:
        raise TypeError(
            f"arguments must live on one device (got {name} on {here.name}, x0 on {there.name})"
        )


def _bias(xp, name, bias, operator):
    n, channels = (
        operator.shape[0],
        operator.output_shape[0] if isinstance(operator, Conv2d) else operator.shape[0],
    )
    if bias.shape not in ((n,), (channels,)):
        raise ValueError(f"{name} must have shape ({n},) (got {bias.shape})")
    return bias if len(bias) == n else xp.repeat(bias, n // channels)


# --- lower bounds ---------------------------------------------------------------------------------


def _sampled(network, last, x0, eps, samples, rng):
    """(boxes,): the largest row sum of |J| at the middle, at random points, and at corners that the
    best of these climb to."""
    xp, (boxes, n) = network.xp, x0.shape
    widest = max([len(last) * max(op.shape[1], 1) for op in network.operators]) * max(boxes, 1)
    step = max(1, ENTRIES // max(widest, 1))
    points = x0[:, None]
    best, _ = _steepest(network, last, points)
    for first in range(0, samples, step):
        more = (
            xp.asarray(rng.uniform(-1.0, 1.0, (min(step, samples - first), boxes, n))).swapaxes(
                0, 1
            )
            * eps[:, None]
            + x0[:, None]
        )
        points, best = (
            xp.concatenate([points, more], axis=1),
            xp.concatenate([best, _steepest(network, last, more)[0]], axis=1),
        )
        order = xp.argsort(-best, axis=1)[:, :CLIMBERS]
        points, best = (
            xp.take_along_axis(points, order[..., None], axis=1),
            xp.take_along_axis(best, order, axis=1),
        )
    for _ in range(CLIMBS if samples else 0):
        _, row = _steepest(network, last, points)
        points = x0[:, None] + xp.sign(row) * eps[:, None]
        best = xp.maximum(best, _steepest(network, last, points)[0])
    return best.max(axis=1, initial=0.0)


def _steepest(network, last, points):
    """The largest row sum of |J| at (boxes, m, n) points, and that row of J."""
    xp, shape = network.xp, points.shape
    jacobians = network.gradients(last, points.reshape(shape[0] * shape[1], shape[2])).reshape(
        *shape[:2], len(last), shape[2]
    )
    sums = abs(jacobians).sum(axis=-1)
    sums = xp.where(xp.isfinite(sums), sums, 0.0)  # what overflowed is no bound
    if not len(last):
        return xp.zeros(shape[:2]), points
    row = xp.take_along_axis(jacobians, sums.argmax(axis=2)[..., None, None], axis=2)[:, :, 0]
    return sums.max(axis=2), row


# --- branch and bound -----------------------------------------------------------------------------


class _Search:
    """Parts of one box and one row of outputs each, in order of their upper bounds.

    A part is given by the phases of neurons: 1 on, -1 off, 0 open; those of all layers lie behind
    each other in one int8 array.
    """

    def __init__(self, task, boxes, i, method, uppers, lower):
        self.task, self.method, self.lower, self.n_domains = task, method, lower, 1
        self.n_iter, self.reason = 0, "interrupt"
        self.box = boxes[0][i : i + 1], boxes[1][i : i + 1]
        root = region(task.network, *self.box, crown=method != "interval")
        self.network, self.known = root.network, root.live
        self.last, self.magnitude = task.last(self.network)
        self.ends = np.cumsum([0] + [op.shape[0] for op in self.network.operators[:-1]]).tolist()
        self.order, self.closed = itertools.count(), np.full(len(self.last), -math.inf)
        rows = np.arange(len(self.last))
        self.heap = []
        self._push(rows, np.zeros((len(rows), self.ends[-1]), np.int8), _host(uppers))

    def run(self, max_domains, batch_size, tol, callback, bar):
        """Split until the bounds meet; the upper bound of every row."""
        with contextlib.suppress(KeyboardInterrupt):
            while (reason := self._done(max_domains, tol)) is None:
                before = self.n_domains
                self._split(min(batch_size, max_domains - self.n_domains), self._enough(tol))
                self.n_iter += 1
                if bar is not None:
                    bar.update(self.n_domains - before)
                if callback is not None and callback(
                    max(-self.heap[0][0] if self.heap else 0.0, self.closed.max()),
                    self.lower,
                    self.n_domains,
                ):
                    reason = "callback"
                    break
            self.reason = reason
        uppers = self.closed.copy()
        for upper, _, row, *_ in self.heap:
            uppers[row] = max(uppers[row], -upper)
        return self.task.xp.asarray(np.maximum(uppers, 0.0))

    def _done(self, max_domains, tol):
        """Why there is nothing to split, if so."""
        if not self.heap:
            return "exhausted"
        if -self.heap[0][0] <= self._enough(tol):
            return "tol" if -self.heap[0][0] <= self.lower + tol else "exhausted"
        return "max_domains" if self.n_domains >= max_domains else None

    def _enough(self, tol):
        """Upper bounds that need not get better: the lower bound, and those of parts that cannot be
        split."""
        return max(self.lower + tol, self.closed.max())

    def _split(self, count, enough):
        parents = []
        while self.heap and len(parents) < count and -self.heap[0][0] > enough:
            parents.append(heapq.heappop(self.heap))
        try:
            rows = np.repeat([row for _, _, row, _, _ in parents], 2)
            uppers = np.repeat([-upper for upper, *_ in parents], 2)
            phases = np.repeat(np.stack([phases for *_, phases, _ in parents]), 2, axis=0)
            at = np.repeat([neuron for *_, neuron in parents], 2)
            phases[np.arange(len(at)), at] = np.tile(np.array([1, -1], np.int8), len(parents))
            self._push(rows, phases, uppers)
            self.n_domains += len(parents)
        except BaseException:
            for parent in parents:  # so that an interruption loses no part
                heapq.heappush(self.heap, parent)
            raise

    def _push(self, rows, phases, uppers):
        """Bound parts and put them into the heap, or among the closed ones if all their neurons are
        decided."""
        xp, parts = self.task.xp, _by_layer(self.task.xp, phases, self.ends)
        boxes = [xp.broadcast_to(side, (len(rows), side.shape[1])) for side in self.box]
        found = region(
            self.network,
            *boxes,
            crown=self.method != "interval",
            phases=parts,
            known=self.known,
            prune=False,
        )
        last, magnitude = (
            None if side is None else side[xp.asarray(rows)][:, None]
            for side in (self.last, self.magnitude)
        )
        here = derivatives(found, last, magnitude, method=self.method)
        bounds, worth = norms(here, joint=self.method == "linear", scores=True)
        bounds, empty = _host(bounds[:, 0]), _host(found.empty)
        worth = (
            _host(xp.concatenate([part[:, 0] for part in worth], axis=1))
            if worth
            else np.full((len(rows), 1), -1.0)
        )
        entries = []
        for row, part, old, new, none, values in zip(
            rows.tolist(), phases, uppers.tolist(), bounds.tolist(), empty, worth, strict=True
        ):
            if none:
                continue
            entries.append(
                (
                    -min(old, new),
                    next(self.order),
                    row,
                    part,
                    int(values.argmax()) if values.max(initial=-1.0) >= 0 else None,
                )
            )
        for entry in entries:
            if entry[-1] is None:
                self.closed[entry[2]] = max(self.closed[entry[2]], -entry[0])
            else:
                heapq.heappush(self.heap, entry)


def _by_layer(xp, phases, ends):
    """Phases of all layers as one array for each layer."""
    return [xp.asarray(phases[:, a:b]) for a, b in itertools.pairwise(ends)]


def _host(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)
