"""Example calls of certification, with functions whose largest error is known."""

import json

import numpy as np

from ...special import Program
from ...special._certify import TABLE
from .. import Example

FIRST, COUNT = 0x3F800000, 2000  # bit patterns from 1 on


def _floats(first, count):
    return np.arange(first, first + count, dtype=np.uint32).view(np.float32)


def _ulps(y, t):
    """|y - t| by the spacing of the floats at t, for values without zeros and infinities."""
    info = np.finfo(y.dtype)
    unit = np.exp2(np.maximum(np.floor(np.log2(np.abs(t))), info.minexp) - info.nmant)
    return np.abs(y.astype(np.longdouble) - t) / unit


def _roots(**_):
    x = _floats(FIRST, COUNT)
    errors = _ulps(np.sqrt(x), np.sqrt(x.astype(np.float64)))
    return float(errors.max()), COUNT


def _one_wrong(x):
    """The identity, but for one float."""
    return np.where(x == 1.5, np.nextafter(1.5, 2), x)


def _same(x):
    return x


def _pair(rng, dtype):
    t = (rng.standard_normal(300) * np.exp2(rng.integers(-30, 30, 300))).astype(np.longdouble)
    return {"y": (t * (1 + 4 * np.finfo(dtype).eps * rng.random(300))).astype(dtype), "t": t}


def _square_error(**_):
    x = _floats(FIRST, 839)
    return float(_ulps(x * x, x.astype(np.float64) ** 2).max()), 839


def _listed(name, dtype):
    return float(json.loads(TABLE.read_text())[name][np.dtype(dtype).name]["max_ulp"])


ONE = {"float64": 1e-12}

EXAMPLES = {
    "certify": Example(
        lambda rng, dtype: {
            "func": np.sqrt,
            "reference": np.sqrt,
            "lo_bits": FIRST,
            "hi_bits": FIRST + COUNT,
        },
        (),
        _roots,
        ONE,
        dtypes=("float64",),
        result=lambda contract: (contract.max_ulp, contract.inputs_checked),
    ),
    "certify_float64": Example(
        lambda rng, dtype: {"func": _one_wrong, "reference": _same, "n_samples": 1000},
        (),
        lambda **_: (1.0, 1.5),
        ONE,
        dtypes=("float64",),
        result=lambda contract: (contract.max_ulp, contract.worst_input),
    ),
    "certify_program": Example(
        lambda rng, dtype: {
            "program": Program([[2, 0, 0, 0]], []),
            "target": np.square,
            "interval": (1.0, 1.0001),
        },
        (),
        _square_error,
        ONE,
        dtypes=("float64",),
        result=lambda contract: (contract.max_ulp, contract.inputs_checked),
    ),
    "max_ulp_error": Example(
        lambda rng, dtype: {"name": "exp", "dtype": dtype},
        (),
        _listed,
        ONE,
        dtypes=("float64",),
        result=lambda contract: contract.max_ulp,
    ),
    "ulp_error": Example(
        _pair,
        ("y",),
        _ulps,
        ONE,
        dtypes=("float64",),
        also=("float32",),
        nan="ignore",
    ),
}
