"""Certified bounds beside the same algorithm in NumPy, in whole arrays and entry by entry, and
beside auto_LiRPA."""

import itertools

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import jacobian_bounds, local_lipschitz, output_bounds

SECONDS = 6
WIDE, SMALL = (784, 256, 256, 256, 10), (4, 10, 10, 2)


def network(sizes):
    """A network with random weights, and a point."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(o, i)) / np.sqrt(i) for i, o in itertools.pairwise(sizes)]
    return weights, [rng.normal(size=o) * 0.1 for o in sizes[1:]], rng.random(sizes[0])


# --- the algorithm in NumPy -----------------------------------------------------------------------


def relaxed(a, su, sl, tu, tl):
    positive, negative = np.maximum(a, 0), np.minimum(a, 0)
    return positive * su + negative * sl, positive @ tu + negative @ tl


def relu_lines(lower, upper):
    chord = np.where(lower > 0, 1, np.where(upper < 0, 0, upper / (upper - lower)))
    below = np.where((lower > 0) | ((upper > 0) & (upper > -lower)), 1.0, 0.0)
    return (
        chord,
        below,
        np.where((lower <= 0) & (upper >= 0), -chord * lower, 0),
        np.zeros_like(chord),
    )


def gradient_lines(lower, upper, on, off):
    low, high = np.minimum(lower, 0), np.maximum(upper, 0)
    su, sl = high / (high - low), -low / (high - low)
    decided, keep = on | off, np.where(on, 1.0, 0.0)
    return (
        np.where(decided, keep, su),
        np.where(decided, keep, sl),
        np.where(decided, 0, -su * low),
        np.where(decided, 0, -sl * high),
    )


def crown(weights, biases, x0, eps):
    """Bounds of what enters the ReLUs."""
    found, lines = [], []
    for k in range(len(weights) - 1):
        ends = []
        for sign in (1, -1):
            a, c = sign * weights[k], sign * biases[k]
            for j in range(k - 1, -1, -1):
                a, constant = relaxed(a, *lines[j])
                c = c + constant + a @ biases[j]
                a = a @ weights[j]
            ends.append(sign * (c + a @ x0 + abs(a).sum(axis=1) * eps))
        found.append((ends[1], ends[0]))
        lines.append(relu_lines(ends[1], ends[0]))
    return found


def back(weights, lines, row, a, first):
    """Rows over layer `first` taken through the lines of this layer and of all later ones, to one
    row of outputs."""
    c = 0
    for k in range(first, len(lines)):
        a, constant = relaxed(a, *lines[k])
        c = c + constant
        a = a @ (row if k + 1 == len(lines) else weights[k + 1].T)
    return a + c


def jacobian_row(weights, states, row, back=back):
    """Bounds of the derivatives of one combination of the last layer's inputs, and the lines of its
    nodes."""
    lower, upper, lines = row, row, [None] * len(states)
    for i in range(len(states) - 1, -1, -1):
        lines[i] = gradient_lines(lower, upper, *states[i])
        lower, upper = (
            -back(weights, lines, row, -weights[i].T, i),
            back(weights, lines, row, weights[i].T, i),
        )
    return lower, upper, lines


def lipschitz_row(weights, lines, row, lower, upper):
    """Bound of the sum of absolute values: the joint one or the sum of bounds, whichever is
    smaller."""
    both = (lower < 0) & (upper > 0)
    slope = np.where(both, (upper + lower) / (upper - lower), np.sign(upper + lower))
    shift = np.where(both, -2 * upper * lower / (upper - lower), 0).sum()
    return min(
        back(weights, lines, row, slope[None] @ weights[0].T, 0)[0] + shift,
        np.maximum(-lower, upper).sum(),
    )


def in_arrays(weights, biases, x0, eps):
    """All inputs of one output at a time."""
    states = [(lower > 0, upper < 0) for lower, upper in crown(weights, biases, x0, eps)]
    found = []
    for row in weights[-1]:
        lower, upper, lines = jacobian_row(weights, states, row)
        found.append(lipschitz_row(weights, lines, row, lower, upper))
    return max(found)


def entry_by_entry(weights, states, row):
    """A loop over the entries of every layer's derivatives."""

    def one_by_one(weights, lines, row, a, first):
        return np.array([back(weights, lines, row, entry[None], first)[0] for entry in a])

    return jacobian_row(weights, states, row, one_by_one)


# --- benchmarks -----------------------------------------------------------------------------------


class Wide:
    """An MLP 784-256-256-256-10, eps = 0.01, all ten outputs, float64."""

    unit = "× (the baseline's time / numcore's)"
    timeout = 300

    def setup(self):
        self.weights, self.biases, self.x0 = network(WIDE)
        self._ours()

    def _ours(self):
        return local_lipschitz(self.weights, self.biases, self.x0, 0.01, n_lower_samples=0)

    def time_lipschitz(self):
        self._ours()

    def time_crown(self):
        output_bounds(self.weights, self.biases, self.x0, 0.01)

    def time_lipschitz_with_lower_bound(self):
        local_lipschitz(self.weights, self.biases, self.x0, 0.01, rng=0)

    def peakmem_lipschitz(self):
        self._ours()

    def track_ratio_to_numpy(self):
        ours, numpys = median_seconds(
            [self._ours, lambda: in_arrays(self.weights, self.biases, self.x0, 0.01)], SECONDS
        )
        return numpys / ours

    def track_ratio_to_loop_over_entries(self):
        """The loop bounds the derivatives of one output, and ten times its time is compared; the
        neurons' bounds are given to it."""
        states = [
            (lower > 0, upper < 0)
            for lower, upper in crown(self.weights, self.biases, self.x0, 0.01)
        ]
        ours, loops = median_seconds(
            [
                lambda: jacobian_bounds(self.weights, self.biases, self.x0, 0.01),
                lambda: entry_by_entry(self.weights, states, self.weights[-1][0]),
            ],
            SECONDS,
        )
        return len(self.weights[-1]) * loops / ours

    def track_ratio_to_auto_lirpa(self):
        """Its Jacobian bounds of all ten outputs, float32 as its users have it, by the same
        relaxation."""
        ours, theirs = median_seconds(
            [self._ours, _auto_lirpa(self.weights, self.biases, self.x0, 0.01)], SECONDS
        )
        return theirs / ours

    track_ratio_to_numpy.unit = track_ratio_to_loop_over_entries.unit = (
        track_ratio_to_auto_lirpa.unit
    ) = unit


class BranchAndBound:
    """4-10-10-2, eps = 0.5: parts that are bounded in a second."""

    unit = "parts / s"

    def setup(self):
        self.weights, self.biases, _ = network(SMALL)
        self._ours()

    def _ours(self):
        return local_lipschitz(
            self.weights,
            self.biases,
            np.linspace(-1, 1, 4),
            0.5,
            branch_and_bound=True,
            max_domains=200,
            tol=0,
            rng=0,
        )

    def time_search(self):
        self._ours()

    def track_domains_per_second(self):
        (seconds,) = median_seconds([self._ours], 2)
        return self._ours().n_domains / seconds

    track_domains_per_second.unit = unit


def _auto_lirpa(weights, biases, x0, eps):
    """A call that bounds the derivatives' norm of every output; NotImplementedError where it or its
    Jacobian bounds are missing."""
    try:
        import torch
        from auto_LiRPA import BoundedModule, BoundedTensor
        from auto_LiRPA.jacobian import GradNorm, JacobianOP
        from auto_LiRPA.perturbations import PerturbationLpNorm
    except ImportError as error:
        raise NotImplementedError(
            "auto_LiRPA with Jacobian bounds is not installed (it is on GitHub, not on PyPI)"
        ) from error
    torch.set_num_threads(numcore.get_num_threads())
    layers = []
    for w, b in zip(weights, biases, strict=True):
        layers += [torch.nn.Linear(*w.shape[::-1]), torch.nn.ReLU()]
        layers[-2].weight.data, layers[-2].bias.data = (
            torch.tensor(w, dtype=torch.float32),
            torch.tensor(b, dtype=torch.float32),
        )

    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.norm = torch.nn.Sequential(*layers[:-1]), GradNorm(norm=1)

        def forward(self, x, mask):
            return self.norm(JacobianOP.apply(self.model(x).matmul(mask), x))

    point, mask = torch.tensor(x0[None], dtype=torch.float32), torch.zeros(len(weights[-1]), 1)
    model = BoundedModule(Norm(), (BoundedTensor(point), mask))
    box = BoundedTensor(point, PerturbationLpNorm(norm=np.inf, eps=eps))

    def call():
        uppers = []
        for i in range(len(mask)):
            mask.zero_()
            mask[i] = 1
            uppers.append(
                float(model.compute_jacobian_bounds((box, mask), bound_lower=False)[1].detach())
            )
        return max(uppers)

    call()
    return call
