"""A multilayer perceptron with one loop for each sum, in 40 digits; derivatives along a direction
by differences of many digits."""

import mpmath

from .activation import DIGITS, FUNCTIONS


def output(parameters, kind, x):
    """The outputs for one input, a list of numbers."""
    values, layers = list(x), len(parameters) // 2
    for layer in range(layers):
        w, b = parameters[2 * layer], parameters[2 * layer + 1]
        sums = []
        for j in range(w.shape[1]):
            total = mpmath.mpf(float(b[j]))
            for i in range(w.shape[0]):
                total += values[i] * mpmath.mpf(float(w[i, j]))
            sums.append(total)
        values = sums if layer == layers - 1 else [FUNCTIONS[kind](u) for u in sums]
    return values


def taylor(parameters, kind, x, direction, order):
    """d^k/dt^k of the outputs at x + t direction for k = 0 … order, as lists of Python floats."""
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
