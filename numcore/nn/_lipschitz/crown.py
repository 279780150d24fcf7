"""Bounds of a ReLU network's neurons and of its derivatives on boxes, by substituting linear bounds
backward.

Every nonlinear node lies between two lines. A linear function of a layer, A (rows) times the values
there, is bounded from above by taking the upper line where A > 0 and the lower line where A < 0,
which gives a linear function of the layer before (`relax`), and so on down to what is known.
Forward, the nodes are ReLUs and what is known is the box: CROWN (Zhang, Weng, Chen, Hsieh, Daniel,
NeurIPS 2018). For derivatives the nodes are products of a derivative with a ReLU's slope in [0, 1]
and what is known is the last layer: Shi, Wang, Zhang, Kolter, Hsieh, NeurIPS 2022. All of it is
done in float64, and bounds are widened by what rounding may have changed.
"""

import itertools
import math

import numpy as np

from .kernels import relax, relax_rows

# entries of A at a time: 4 MB, which stay in the cache between a product and the relaxation
ROWS = 1 << 19


# --- networks -------------------------------------------------------------------------------------


class Network:
    """Operators and biases in float64.

    `gamma` times a sum of absolute values bounds what rounding does to the sum, through all layers
    of it and of what it is made of.
    """

    def __init__(self, xp, operators, biases, gamma):
        self.xp, self.operators, self.biases, self.gamma = xp, operators, biases, gamma

    def __len__(self):
        return len(self.operators)

    def restricted(self, layer, live):
        """Without the neurons of a layer that are not in `live`; they are 0, and so is their
        derivative."""
        operators, biases = list(self.operators), list(self.biases)
        operators[layer], biases[layer] = operators[layer].restrict(rows=live), biases[layer][live]
        operators[layer + 1] = operators[layer + 1].restrict(columns=live)
        return Network(self.xp, operators, biases, self.gamma)

    def gradients(self, last, x):
        """(m, q, n_in): the derivatives of the outputs `last` at the points x, (m, n_in)."""
        a, on = x, []
        for operator, b in zip(self.operators[:-1], self.biases, strict=False):
            z = operator.apply(a) + b
            on.append(z > 0)
            a = self.xp.maximum(z, 0)
        rows = self.xp.broadcast_to(last, (len(x), *last.shape))
        for operator, live in zip(self.operators[-2::-1], on[::-1], strict=True):
            rows = (rows * live[:, None]).reshape(len(x) * len(last), live.shape[1])
            rows = operator.adjoint(rows).reshape(len(x), len(last), operator.shape[1])
        return rows


def network_of(xp, operators, biases):
    """A network of operators of any dtype."""
    operators = [op.like(op.weight.astype(np.float64)) for op in operators]
    terms = sum(op.terms + 8 for op in operators)
    return Network(
        xp,
        operators,
        [b.astype(np.float64) for b in biases],
        2 * np.finfo(np.float64).eps * len(operators) * terms,
    )


# --- forward --------------------------------------------------------------------------------------


class Region:
    """Bounds of the pre-activations on B boxes.

    Attributes
    ----------
    network : Network
        Without the neurons that are off on all boxes.
    layers : list of pairs of (B, n) arrays
        Lower and upper bounds, of all neurons of the network that came in.
    on, free : lists of (B, n) bool arrays
        The neurons of `network` that are on, and that may be on or off. At exactly 0 both slopes
        count.
    live : list of (B, n) arrays of lower and upper bounds, for the neurons of `network`
    empty : (B,) bool array
        Boxes in which no point has the phases that were asked for.
    """

    def __init__(self, network, batch):
        self.network, self.layers, self.on, self.free, self.live = network, [], [], [], []
        self.empty = network.xp.zeros(batch, bool)


def region(network, x0, eps, *, crown=True, depth=None, phases=None, known=None, prune=True):
    """Bounds of the first `depth` layers, by default of those before ReLUs, on boxes.

    Parameters
    ----------
    x0, eps : (B, n_in) arrays
    crown : bool
        Else by interval arithmetic, which is used in any case, and the tighter bound taken.
    phases : list of (B, n) int8 arrays, optional
        1 for neurons that are on, -1 for those that are off.
    known : list of pairs of arrays, optional
        Bounds that hold already.
    """
    xp, found, lines = network.xp, Region(network, len(x0)), []
    middle, radius, size = x0, eps, abs(x0) + eps
    for k in range(len(network) - 1 if depth is None else depth):
        operator, b = found.network.operators[k], found.network.biases[k]
        absolute = operator.absolute()
        center, width = operator.apply(middle) + b, absolute.apply(radius)
        size = absolute.apply(size) + abs(b)
        lower, upper = widened(xp, center - width, center + width, network.gamma * size)
        if crown and k:
            tighter = widened(
                xp, *_substituted(found.network, k, lines, x0, eps), network.gamma * size
            )
            lower, upper = xp.maximum(lower, tighter[0]), xp.minimum(upper, tighter[1])
        if known is not None:
            lower, upper = xp.maximum(lower, known[k][0]), xp.minimum(upper, known[k][1])
        on, off = lower > 0, upper < 0
        if phases is not None:
            on, off = on | (phases[k] > 0), off | (phases[k] < 0)
            lower = xp.where(phases[k] > 0, xp.maximum(lower, 0), lower)
            upper = xp.where(phases[k] < 0, xp.minimum(upper, 0), upper)
            found.empty |= (lower > upper).any(axis=1)
        found.layers.append((lower, upper))
        if k == len(network) - 1:
            break
        if prune and operator.prunable and found.network.operators[k + 1].prunable:
            live = xp.flatnonzero(~off.all(axis=0))
            if live.size < off.shape[1]:
                found.network, b = found.network.restricted(k, live), b[live]
                lower, upper, on, off, size = (
                    part[:, live] for part in (lower, upper, on, off, size)
                )
        found.on.append(on)
        found.free.append(~on & ~off)
        found.live.append((lower, upper))
        lines.append(
            [
                xp.ascontiguousarray(line)
                for line in relu_lines(xp, lower, upper, on, found.free[-1], b)
            ]
        )
        low = xp.where(off, 0.0, xp.maximum(lower, 0))
        high = xp.where(off, 0.0, xp.maximum(upper, 0))
        middle, radius = (low + high) / 2, (high - low) / 2
    return found


def widened(xp, lower, upper, margin):
    """Bounds widened by a margin; what overflow made no number says nothing."""
    lower, upper = lower - margin, upper + margin
    return xp.where(xp.isnan(lower), -np.inf, lower), xp.where(xp.isnan(upper), np.inf, upper)


def relu_lines(xp, lower, upper, on, free, b):
    """Slopes and intercepts of lines above and below relu(v + b) as functions of v, lower <= v + b
    <= upper: su, sl, tu, tl."""
    chord = xp.where(free & (upper > lower), upper / (upper - lower), 0.0)
    su = xp.where(on, 1.0, chord)
    sl = xp.where(on | (free & (upper > -lower)), 1.0, 0.0)
    return su, sl, xp.where(chord > 0, -chord * lower, 0.0) + su * b, sl * b


def _substituted(network, k, lines, x0, eps):
    """Bounds of layer k by CROWN: its weights are taken back through the lines of all layers before
    it to the box."""
    xp, operators, boxes, n = network.xp, network.operators, len(x0), network.operators[k].shape[0]
    lower, upper = xp.empty((boxes, n)), xp.empty((boxes, n))
    one = xp.ones(x0.shape)
    # max(a, 0) (x0 + eps) + min(a, 0) (x0 - eps) = a x0 + |a| eps
    box = (one, one, *map(xp.ascontiguousarray, (x0 + eps, x0 - eps)))
    for rows in _chunks(xp, n, 2 * boxes * max(op.shape[1] for op in operators[: k + 1])):
        a, c = relaxed_rows(xp, operators[k].rows(rows), lines[k - 1])
        for operator, line in zip(
            operators[k - 1 :: -1], [*lines[k - 2 :: -1], box] if k > 1 else [box], strict=True
        ):
            a = xp.ascontiguousarray(operator.adjoint(a))
            relax(a, c, a[:0], *line, 0)
        c = c.reshape(boxes, 2, len(rows))
        upper[:, rows], lower[:, rows] = c[:, 0], -c[:, 1]
    return lower + network.biases[k], upper + network.biases[k]


def _chunks(xp, n, entries):
    """Ranges of n rows that have `entries` entries each."""
    step = max(1, ROWS // max(entries, 1))
    for first in range(0, n, step):
        yield xp.arange(first, min(first + step, n))


# --- backward -------------------------------------------------------------------------------------


class Derivatives:
    """Bounds of derivatives of q outputs on B boxes.

    Attributes
    ----------
    lower, upper : (B, q, n_in) arrays, or of the chosen inputs
    magnitude : (B, q, n_in) array
        Sums of the absolute values of all that an entry is a sum of, which bound its rounding
        errors.
    """

    def __init__(self, found, last, magnitude):
        self.region, self.last, self.lines, self.entering = found, last, {}, {}
        self.lower, self.upper, self.magnitude = last, last, magnitude


def derivatives(found, last, magnitude=None, *, method="linear", inputs=None):
    """Bounds of the derivatives J_1 of outputs by inputs, layer by layer from the last one.

    Parameters
    ----------
    found : Region
    last : (B or 1, q, n) array
        The weights of the last layer.
    magnitude : array like last, optional
        If `last` has rounding errors: sums of the absolute values of what its entries are sums of.
    method : {"interval", "recurjac", "linear"}
    inputs : array of int, optional
        The inputs whose derivatives are wanted.
    """
    network, boxes = found.network, len(found.empty)
    xp, last = network.xp, network.xp.broadcast_to(last, (boxes, *last.shape[1:]))
    here = Derivatives(found, last, abs(last))
    if magnitude is not None:
        here.magnitude = xp.broadcast_to(magnitude, last.shape)
        here.lower, here.upper = widened(xp, last, last, network.gamma * here.magnitude)
    skeleton = Skeleton(found, last) if method != "interval" and len(network) > 1 else None
    for i in range(len(network) - 2, -1, -1):
        operator, on, free = network.operators[i], found.on[i][:, None], found.free[i][:, None]
        here.entering[i] = here.lower, here.upper
        lines = gradient_lines(xp, here.lower, here.upper, on, free, method)
        here.lines[i] = [
            xp.ascontiguousarray(line.reshape(boxes * last.shape[1], on.shape[-1]))
            for line in lines
        ]
        lower = xp.where(on, here.lower, xp.where(free, xp.minimum(here.lower, 0), 0.0))
        upper = xp.where(on, here.upper, xp.where(free, xp.maximum(here.upper, 0), 0.0))
        magnitude = xp.where(on | free, here.magnitude, 0.0)
        here.lower, here.upper, here.magnitude = _interval_product(
            xp, operator, lower, upper, magnitude, network.gamma
        )
        if method == "interval":
            continue
        # the bounds of a neuron are used only where a ReLU before it may be on or off
        wanted = (
            xp.flatnonzero(found.free[i - 1].any(axis=0))
            if i
            else xp.arange(operator.shape[1])
            if inputs is None
            else inputs
        )
        tighter = _pulled_back(here, skeleton, i, wanted)
        tighter = widened(xp, *tighter, network.gamma * here.magnitude[..., wanted])
        here.lower[..., wanted] = xp.maximum(here.lower[..., wanted], tighter[0])
        here.upper[..., wanted] = xp.minimum(here.upper[..., wanted], tighter[1])
    if inputs is not None:
        here.lower, here.upper, here.magnitude = (
            part[..., inputs] for part in (here.lower, here.upper, here.magnitude)
        )
    return here


def gradient_lines(xp, lower, upper, on, free, method="linear"):
    """Slopes and intercepts of lines above and below y = d g, lower <= g <= upper, the slope d
    being 1, 0, or anything between.

    In the last case y lies between 0 and g: the lines are the hull of the points (g, 0) and (g, g)
    for the extreme g. For method="recurjac" they are constants where g may have both signs.
    """
    low, high = xp.minimum(lower, 0), xp.maximum(upper, 0)
    width = high - low
    su, sl = (
        xp.where(free & (width > 0), part / xp.where(width > 0, width, 1.0), 0.0)
        for part in (high, -low)
    )
    tu, tl = xp.where(su > 0, -su * low, 0.0), xp.where(sl > 0, -sl * high, 0.0)
    if method != "linear":
        both = free & (low < 0) & (high > 0)
        su, sl, tu, tl = (
            xp.where(both, part, line)
            for part, line in zip((0.0, 0.0, high, low), (su, sl, tu, tl), strict=True)
        )
    return xp.where(on, 1.0, su), xp.where(on, 1.0, sl), tu, tl


def _interval_product(xp, operator, lower, upper, magnitude, gamma):
    """Bounds of y W for lower <= y <= upper, and magnitude |W|. A sum of terms of one sign keeps
    it, whatever is rounded."""
    parts = [
        xp.maximum(upper, 0),
        xp.minimum(upper, 0),
        xp.maximum(lower, 0),
        xp.minimum(lower, 0),
        magnitude,
    ]
    rows = xp.stack(parts).reshape(5 * upper.shape[0] * upper.shape[1], upper.shape[2])
    plus, minus = (
        side.adjoint(rows).reshape(5, *upper.shape[:2], operator.shape[1])
        for side in (operator.positive(), operator.negative())
    )
    up, down = 1 + gamma, 1 - gamma
    high = up * (plus[0] + minus[3]) + down * (plus[1] + minus[2])
    low = down * (plus[2] + minus[1]) + up * (plus[3] + minus[0])
    return *widened(xp, low, high, 0.0), plus[4] - minus[4]


def _pulled_back(here, skeleton, i, wanted):
    """Bounds of derivatives by the inputs `wanted` of layer i: columns of its weights are taken
    through all later layers' lines."""
    network, last, ends = here.region.network, here.last, skeleton.ends[..., skeleton.places[i] :]
    xp, (boxes, q, width), rest = network.xp, ends.shape, range(i + 1, len(network) - 1)
    lines = {
        k: [xp.ascontiguousarray(line[:, skeleton.open[k]]) for line in here.lines[k]]
        for k in (i, *rest)
    }
    lower, upper = xp.empty((boxes, q, len(wanted))), xp.empty((boxes, q, len(wanted)))
    a = None
    for rows in _chunks(xp, len(wanted), 2 * boxes * q * width):
        m = 2 * boxes * q * len(rows)
        # the first part is the largest
        a, c = xp.empty((m, width)) if a is None else a[:m], xp.empty(m)
        starts, straight = skeleton.carried(network.operators[i].columns(wanted[rows]), i)
        relax_rows(xp.ascontiguousarray(starts[i]), *lines[i], 0, a, c)
        for k in rest:
            place = skeleton.enter(a, i, k)
            relax(a, c, xp.ascontiguousarray(starts.get(k, lines[k][0][:0])), *lines[k], place)
        total = (
            c + xp.matmul(a.reshape(boxes, q, 2 * len(rows), width), ends[..., None]).reshape(m)
        ).reshape(boxes, q, 2, len(rows))
        if straight is not None:
            straight = xp.matmul(last, straight.T)
            total += xp.stack([straight, -straight], axis=2)
        upper[..., rows], lower[..., rows] = total[:, :, 0], -total[:, :, 1]
    return lower, upper


class Skeleton:
    """A network as seen by the neurons that may be off: what the others pass on, being on in all
    boxes, is multiplied out.

    Layers that are multiplied out see all later ones, so this pays unless many neurons of many
    layers may be off; then, and with convolutions, all neurons count as such that may be off.

    Attributes
    ----------
    open : list of arrays of int
        The neurons of each layer that may be off.
    places : list of int
        Where each layer's stand in a row over all of them.
    links : dict of arrays
        ``links[k]``, (open of all earlier layers, open of k): what derivatives by these add to
        those by layer k, others passing it on.
    ends : (B, q, open of all layers) array
        What they add to the outputs likewise.
    """

    def __init__(self, found, last):
        self.network, xp = found.network, found.network.xp
        on = [layer.all(axis=0) for layer in found.on]
        sizes = [len(layer) for layer in on]
        opened = [len(layer) - int(layer.sum()) for layer in on]
        dense = all(operator.prunable for operator in self.network.operators[1:-1])
        self.whole = not dense or sum(map(math.prod, itertools.combinations(opened, 2))) > sum(
            a * b for a, b in itertools.pairwise(sizes)
        )
        self.on = [xp.zeros_like(layer) for layer in on] if self.whole else on
        self.open = [xp.flatnonzero(~layer) for layer in self.on]
        self.passes = [not self.whole and n > m for n, m in zip(sizes, opened, strict=True)]
        self.places = [0, *itertools.accumulate(len(layer) for layer in self.open)]
        self.ends = xp.zeros((*last.shape[:2], self.places[-1]))
        self.ends[..., self.places[-2] :] = last[..., self.open[-1]]
        self.links = (
            {}
            if self.whole
            else {k: xp.zeros((self.places[k], len(self.open[k]))) for k in range(1, len(on))}
        )
        for j in range(len(self.links)):
            parts, tail = self.carried(self.network.operators[j + 1].columns(self.open[j]), j + 1)
            mine = slice(self.places[j], self.places[j + 1])
            for k, part in parts.items():
                self.links[k][mine] = part
            if tail is not None:
                self.ends[..., mine] = xp.matmul(last, tail.T)

    def carried(self, rows, first):
        """Rows over layer `first` as rows over its open neurons and those of later layers, and over
        the rest of the last layer."""
        parts = {}
        for k in range(first, len(self.on)):
            parts[k] = rows[:, self.open[k]]
            if not self.passes[k]:
                return parts, None
            rows = rows * self.on[k]
            if k + 1 < len(self.on):
                rows = self.network.operators[k + 1].apply(rows)
        return parts, rows

    def enter(self, a, i, k):
        """Put what enters the open neurons of layer k into rows that begin with layer i; where it
        stands in them."""
        xp = self.network.xp
        start, before, here, end = (self.places[at] for at in (i, k - 1, k, k + 1))
        into = a[:, here - start : end - start]
        if self.whole:
            self.network.operators[k].apply(a[:, before - start : here - start], out=into)
        else:
            xp.matmul(a[:, : here - start], self.links[k][start:], out=into)
        return here - start


def norms(here, *, joint=True, scores=False):
    """Upper bounds, (B, q), of the sums of the absolute values of the derivatives; with `scores`,
    the worth of splitting neurons.

    Jointly: a chord above each absolute value makes the sum one linear function of J_1, which is
    taken through all layers' lines at once. The sum of bounds of the single entries may be smaller
    and is taken where it is.
    """
    network, lower, upper = here.region.network, here.lower, here.upper
    xp, last, gamma = network.xp, here.last, network.gamma
    bound = xp.maximum(-lower, upper).sum(axis=-1) * (1 + gamma)
    if len(network) == 1 or not (joint or scores):
        return bound, []
    both = (lower < 0) & (upper > 0)
    width = xp.where(both, upper - lower, 1.0)
    slope = xp.where(both, (upper + lower) / width, xp.where(upper > 0, 1.0, -1.0))
    c = xp.where(both, -2 * upper * (lower / width), 0.0).sum(axis=-1).reshape(bound.size)
    a, entering = slope.reshape(bound.size, slope.shape[2]), []
    for k in range(len(network) - 1):
        a = xp.ascontiguousarray(network.operators[k].apply(a))
        if scores:
            entering.append(_worth(xp, here, k, a.reshape(*bound.shape, a.shape[1])))
        relax(a, c, a[:0], *here.lines[k], 0)
    together = (c + (a * last.reshape(a.shape)).sum(axis=-1)).reshape(
        bound.shape
    ) + gamma * here.magnitude.sum(axis=-1)
    return xp.where(together < bound, together, bound) if joint else bound, entering


def _worth(xp, here, k, a):
    """The area between the lines of a node times the coefficient it enters with; -1 where a neuron
    is decided."""
    lower, upper = here.entering[k]
    return xp.where(
        here.region.free[k][:, None], abs(a) * (upper * abs(upper) - lower * abs(lower)), -1.0
    )


def relaxed_rows(xp, w, lines):
    """Upper bounds of w y and of -w y for y between each of g pairs of lines: coefficients (g 2 r,
    n) and constants (g 2 r,)."""
    m = 2 * len(lines[0]) * len(w)
    a, c = xp.empty((m, w.shape[1])), xp.empty(m)
    relax_rows(xp.ascontiguousarray(w), *lines, 0, a, c)
    return a, c
