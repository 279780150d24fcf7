"""Multilayer perceptrons with one loop for each sum, in 40 digits, derivatives along a direction by
differences of many digits; and arguments of their kernels: the number of coefficients must fit the
order."""

import numpy as np

from ...nn._network import kernels
from .activation import DIGITS, FUNCTIONS

EXAMPLES = {}  # a class is no routine


# --- references -----------------------------------------------------------------------------------


def output(parameters, kind, x):
    """The outputs for one input, a list of numbers."""
    import mpmath

    values, layers = list(x), len(parameters) // 2
    for layer in range(layers):
        w, b = parameters[2 * layer], parameters[2 * layer + 1]
        sums = []
        for j in range(w.shape[1]):
            total = mpmath.mpf(float(b[j]))
            for i in range(w.shape[0]):
                total += values[i] * mpmath.mpf(float(w[i, j]))
            sums.append(total)
        values = sums if layer == layers - 1 else [FUNCTIONS[kind](mpmath, u) for u in sums]
    return values


def taylor(parameters, kind, x, direction, order):
    """d^k/dt^k of the outputs at x + t direction for k = 0 … order, as lists of Python floats."""
    import mpmath

    with mpmath.workdps(DIGITS):
        start, step = [mpmath.mpf(float(v)) for v in x], [mpmath.mpf(float(v)) for v in direction]

        def along(j):
            return lambda t: output(
                parameters, kind, [a + t * b for a, b in zip(start, step, strict=True)]
            )[j]

        outputs = parameters[-1].shape[0]
        return [
            [float(mpmath.diff(along(j), 0, k, h=mpmath.mpf(10) ** -8)) for j in range(outputs)]
            for k in range(order + 1)
        ]


# --- arguments of kernels -------------------------------------------------------------------------


def _shapes(rng, size):
    """c, order, the shape of `more` and h: of a first layer in half of the cases."""
    order, directions, h = size % 3, int(rng.integers(4)), int(rng.integers(1, 9))
    more = (directions if order else 0, h) if rng.integers(2) else (order * directions, size)
    return 1 + order * directions, order, more, h


def _layer_arguments(rng, variant, size):
    (c, order, more, h), dtype = _shapes(rng, size), variant["T"]
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in (size, more, h)]
    return [*inputs, *(np.full(shape, np.nan, dtype) for shape in ((c, size), (order, size)))]


def _vjp_arguments(rng, variant, size):
    c, order, more, _ = _shapes(rng, size)
    return [
        rng.standard_normal(shape).astype(variant["T"])
        for shape in (size, more, (order, size), (c, size))
    ]


KERNELS = {made.name: _layer_arguments for made in kernels.FORWARD.values()} | {
    kernels.mlp_layer_vjp.name: _vjp_arguments
}
