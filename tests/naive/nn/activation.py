"""Nonlinearities as their definitions say, in 40 digits, and their derivatives by finite
differences of many digits."""

import mpmath

DIGITS = 40


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def gelu_tanh(x):
    return (
        x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
    )


FUNCTIONS = {
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "tanh": mpmath.tanh,
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "sin": mpmath.sin,
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
}


def derivatives(kind, x, order):
    """s(x) and its derivatives up to `order`, as Python floats."""
    with mpmath.workdps(DIGITS):
        return [
            float(mpmath.diff(FUNCTIONS[kind], mpmath.mpf(float(x)), k, h=mpmath.mpf(10) ** -8))
            for k in range(order + 1)
        ]
