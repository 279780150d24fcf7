"""Example calls of the elementary functions. The references are NumPy's functions and series in the
next wider floating-point type.

Where the compiler's long double is no wider than double (Windows, macOS on ARM), float64 is
compared with NumPy's own float64 functions, and one unit in the last place is added to the bound
for their errors.
"""

import functools
import importlib.util
import math
import os
from pathlib import Path

import numpy as np

from ...special import max_ulp_error
from .. import Example

WIDER = {"float32": np.float64, "float64": np.longdouble}
REFERENCE_ERROR = {
    "float32": 0.0,
    "float64": 0.0 if np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant else 1.0,
}
SAMPLED_MARGIN = 1.1  # the largest error of a sample of float64 is not the largest there is
REAL_SIZE = 1 << 20
SAMPLE = 1 << 16


# --- references -----------------------------------------------------------------------------------


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _erf(x):
    """2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3···(2n+1)), whose terms have one sign; x² is split so that
    exp(-x²) loses no digit."""
    inside = np.clip(x, -6.5, 6.5)
    high = inside.astype(np.float32).astype(x.dtype)
    gauss = np.exp(-high * high) * np.exp((high - inside) * (high + inside))
    term = total = inside.copy()
    for n in range(1, 170):
        term = term * inside * inside * 2 / (2 * n + 1)
        total = total + term
    return gauss * total / np.sqrt(np.arctan(x.dtype.type(1)))


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
    """The value at a finite float of the domain, by mpmath to 40 digits at least. Beyond |x| = 2000
    an exponential is as good as its limit."""
    import mpmath

    functions = {
        "exp2": lambda x: mpmath.mpf(2) ** x,
        "log2": lambda x: mpmath.log(x) / mpmath.log(2),
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    }
    value = mpmath.mpf(float(x))
    if abs(value) > 2000 and name not in ("log", "log2", "log1p", "sin", "cos"):
        value = mpmath.mpf(2000 if value > 0 else -2000)
        if name == "softplus" and x > 0:
            return mpmath.mpf(float(x))
    with mpmath.workprec(1300 if name in ("sin", "cos", "tanh", "sigmoid") else 200):
        return functions.get(name, getattr(mpmath, name, None))(value)


def error_in_ulp(y, t):
    """|y - t| in units of the last place of t, for a float32 or float64 y and an mpf t."""
    import mpmath

    info = np.finfo(y.dtype)
    # rounds to inf from here on
    largest = mpmath.mpf(float(info.max)) + mpmath.mpf(2) ** (info.maxexp - info.nmant - 2)
    if abs(t) >= largest or not np.isfinite(y):
        return 0.0 if abs(t) >= largest and y == (np.inf if t > 0 else -np.inf) else math.inf
    exponent = info.minexp if t == 0 else max(int(mpmath.floor(mpmath.log(abs(t), 2))), info.minexp)
    return float(abs(mpmath.mpf(float(y)) - t) / mpmath.mpf(2) ** (exponent - info.nmant))


# --- real data ------------------------------------------------------------------------------------

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DIGITS, TUMORS = (
    ("digits images", "breast tumors")
    if HAVE_SKLEARN
    else 2 * ("letters in Python's own source files",)
)


@functools.cache
def _counts():
    """Small counts, 0 to 16: the pixels of the digits images, else letter frequencies."""
    if HAVE_SKLEARN:
        from sklearn.datasets import load_digits

        return load_digits().data
    letters = _letters()
    return np.round(16 * letters / letters.max(axis=1, keepdims=True))


@functools.cache
def _measurements():
    """Non-negative quantities on many scales: the features of the breast tumors, else letter
    frequencies."""
    if HAVE_SKLEARN:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer().data
    return _letters()


@functools.cache
def _letters():
    """How often each printable ASCII character occurs in each module of the standard library."""
    texts = (
        np.frombuffer(path.read_bytes(), np.uint8)
        for path in sorted(Path(os.__file__).parent.glob("*.py"))
    )
    return np.stack(
        [np.bincount(text, minlength=256)[32:127] for text in texts if text.size]
    ).astype(np.float64)


def _standardized(table):
    table = table[:, table.std(axis=0) > 0]
    return (table - table.mean(axis=0)) / table.std(axis=0)


def _below_maximum():
    logits = _counts() @ _counts().T / 8
    return logits - logits.max(axis=1, keepdims=True)


def _logits():
    images = _standardized(_counts())
    return images @ images.T / 8


def _positive():
    values = np.concatenate([_measurements().ravel(), _counts().ravel()])
    return values[values > 0]


SCORES = (f"logits of the {DIGITS}, less the row's maximum", _below_maximum)
LOGITS = (f"logits of the standardized {DIGITS}", _logits)
FEATURES = (f"standardized features of the {TUMORS}", lambda: _standardized(_measurements()))
POSITIVE = (
    f"features of the {TUMORS} and pixels of the digits images"
    if HAVE_SKLEARN
    else f"counts of {DIGITS}",
    _positive,
)


@functools.cache
def _real(make, dtype):
    values = make().astype(dtype)
    if values.size < REAL_SIZE:
        values = np.resize(values, REAL_SIZE)
    values.flags.writeable = False
    return values


# --- examples -------------------------------------------------------------------------------------


def _interesting(rng, dtype, shape, low, high):
    """Numbers between low and high, half of them of every magnitude, and special values in
    front."""
    info = np.finfo(dtype)
    even = rng.uniform(low, high, shape)
    scaled = np.exp2(rng.uniform(-20, np.log2(high), shape)) * np.where(
        rng.random(shape) < 0.5 * (low < 0), -1, 1
    )
    x = np.where(rng.random(shape) < 0.5, even, scaled).astype(dtype)
    special = np.array(
        [
            0,
            -0.0,
            1,
            -1,
            0.5,
            info.tiny,
            info.smallest_subnormal,
            info.max,
            -info.max,
            np.inf,
            -np.inf,
        ],
        dtype,
    )
    return np.concatenate([special, x.ravel()])[: x.size].reshape(shape)


def _bound(name, dtype):
    contract = max_ulp_error(name, dtype)
    return (
        contract.max_ulp * (1 if contract.exhaustive else SAMPLED_MARGIN) + REFERENCE_ERROR[dtype]
    )


def _example(name, peer, real, reach, reference=None):
    """The example of one function.

    Parameters
    ----------
    name : str
    peer : (str, function)
    real : (str, function)
        What the real data is, and a function that makes it.
    reach : dict of str to (float, float), or one pair
        The range of the random arguments, by dtype if it differs.
    reference : function, optional
        Called with arrays of the wider dtype; by default NumPy's function of that name.
    """
    exact = reference or getattr(np, name)

    def wide(x):
        with np.errstate(all="ignore"):
            return exact(x.astype(WIDER[x.dtype.name]))

    def sizes(rng, dtype, n, rest=()):
        low, high = reach[np.dtype(dtype).name] if isinstance(reach, dict) else reach
        return {"x": _interesting(rng, dtype, (n, *rest), low, high)}

    def sample(result, x):
        picked = np.random.default_rng(0).choice(x.size, SAMPLE, replace=False)
        return result.reshape(-1)[picked], {"x": x.reshape(-1)[picked]}

    return Example(
        arguments=lambda rng, dtype: sizes(rng, dtype, 37, (41,)),
        arrays=("x",),
        reference=wide,
        bound={dtype: _bound(name, dtype) for dtype in WIDER},
        error="ulp",
        data=real[0],
        real=lambda dtype: {"x": _real(real[1], dtype)},
        sample=sample,
        peer=peer,
        sizes=sizes,
    )


def _numpy(name):
    return f"numpy.{name}", lambda x: getattr(np, name)(x)


def _scipy(name):
    def call(x):
        import scipy.special

        return getattr(scipy.special, name)(x)

    return f"scipy.special.{name}", call


OVERFLOW = {"float32": (-110, 92), "float64": (-750, 715)}
OVERFLOW_2 = {"float32": (-152, 130), "float64": (-1080, 1030)}
LARGE = {"float32": (0, 2.0**127), "float64": (0, 2.0**1023)}

EXAMPLES = {
    "exp": _example("exp", _numpy("exp"), SCORES, OVERFLOW),
    "exp2": _example("exp2", _numpy("exp2"), SCORES, OVERFLOW_2),
    "expm1": _example("expm1", _numpy("expm1"), SCORES, OVERFLOW),
    "log": _example("log", _numpy("log"), POSITIVE, LARGE),
    "log2": _example("log2", _numpy("log2"), POSITIVE, LARGE),
    "log1p": _example("log1p", _numpy("log1p"), POSITIVE, (-1, 1e6)),
    "sin": _example("sin", _numpy("sin"), FEATURES, (-1e7, 1e7)),
    "cos": _example("cos", _numpy("cos"), FEATURES, (-1e7, 1e7)),
    "tanh": _example("tanh", _numpy("tanh"), LOGITS, (-20, 20)),
    "sigmoid": _example("sigmoid", _scipy("expit"), LOGITS, OVERFLOW, _sigmoid),
    "softplus": _example(
        "softplus",
        ("numpy.logaddexp(0, x)", lambda x: np.logaddexp(x.dtype.type(0), x)),
        LOGITS,
        OVERFLOW,
        lambda x: np.logaddexp(x.dtype.type(0), x),
    ),
    "erf": _example("erf", _scipy("erf"), FEATURES, (-7, 7), _erf),
}
