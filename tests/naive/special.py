"""Elementary functions by mpmath, one value at a time, and the distance of a float from an exact
value."""

import math

import mpmath
import numpy as np

EXACT = {
    "exp": mpmath.exp,
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "log1p": mpmath.log1p,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "erf": mpmath.erf,
}

# Values at -inf, -0, +0, inf and below the domain, after C99 (Annex F) or the limit.
INF, NAN = math.inf, math.nan
LIMITS = {
    # name: f(-inf), f(-0), f(+0), f(inf)
    "exp": (0.0, 1.0, 1.0, INF),
    "exp2": (0.0, 1.0, 1.0, INF),
    "expm1": (-1.0, -0.0, 0.0, INF),
    "log": (NAN, -INF, -INF, INF),
    "log2": (NAN, -INF, -INF, INF),
    "log1p": (NAN, -0.0, 0.0, INF),
    "sin": (NAN, -0.0, 0.0, NAN),
    "cos": (NAN, 1.0, 1.0, NAN),
    "tanh": (-1.0, -0.0, 0.0, 1.0),
    "sigmoid": (0.0, 0.5, 0.5, 1.0),
    "softplus": (0.0, math.log(2), math.log(2), INF),
    "erf": (-1.0, -0.0, 0.0, 1.0),
}


def exact(name, x):
    """The value at a finite float of the domain, to 40 digits at least. Beyond |x| = 2000 an
    exponential stands for its limit."""
    value = mpmath.mpf(float(x))
    if abs(value) > 2000 and name not in ("log", "log2", "log1p", "sin", "cos"):
        value = mpmath.mpf(2000 if value > 0 else -2000)
        if name == "softplus" and x > 0:
            return mpmath.mpf(float(x))
    with mpmath.workprec(1300 if name in ("sin", "cos", "tanh", "sigmoid") else 200):
        return EXACT[name](value)


def error_in_ulp(y, t):
    """|y - t| in units of the last place of t, for a float32 or float64 y and an mpf t."""
    info = np.finfo(y.dtype)
    largest = mpmath.mpf(float(info.max)) + mpmath.mpf(2) ** (
        info.maxexp - info.nmant - 2
    )  # rounds to inf from here on
    if abs(t) >= largest or not np.isfinite(y):
        return 0.0 if abs(t) >= largest and y == (np.inf if t > 0 else -np.inf) else math.inf
    exponent = info.minexp if t == 0 else max(int(mpmath.floor(mpmath.log(abs(t), 2))), info.minexp)
    return float(abs(mpmath.mpf(float(y)) - t) / mpmath.mpf(2) ** (exponent - info.nmant))
