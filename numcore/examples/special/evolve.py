"""Example calls of searches whose best program is known; arguments for the kernels of programs:
codes whose registers exist, and constants that a fit finds its way from."""

import numpy as np

from ...special import Program
from .. import Example

MAX_ROWS, MAX_CONSTANTS = 7, 3
LINE = Program([[2, 1, 0, 0], [0, 2, 3, 0]], [1.0, 1.0])


def best_line(**_):
    """The constants (slope, value at 0) of the line whose largest relative error for 2^x is the
    smallest, by linear programming on a grid."""
    from scipy.optimize import linprog

    x = np.linspace(0, 1, 4001)
    relative = np.stack([x, np.ones_like(x)], axis=1) / np.exp2(x)[:, None]
    ones = np.ones((len(x), 1))
    a = np.block([[relative, -ones], [-relative, -ones]])
    b = np.concatenate([np.ones_like(x), -np.ones_like(x)])
    free = [(None, None)] * 3
    return linprog([0, 0, 1], A_ub=a, b_ub=b, bounds=free, method="highs").x[:2]


def best_single_operation(**_):
    """The error of x + c for 2^x at the best c, by bisection of a dense grid: no other operation
    on x and a constant comes close."""
    x = np.linspace(0, 1, 100_001)
    f = np.exp2(x)
    c = np.linspace(0.9, 1.1, 2001)[:, None]
    coarse = x[::50], f[::50]
    middle = c[np.abs((coarse[0] + c) / coarse[1] - 1).max(axis=1).argmin(), 0]
    fine = np.linspace(middle - 2e-4, middle + 2e-4, 401)
    return min(float(np.abs((x + v) / f - 1).max()) for v in fine)


EXAMPLES = {
    "minimize_error": Example(
        lambda rng, dtype: {"program": LINE, "target": np.exp2, "interval": (0, 1), "rng": 0},
        (),
        best_line,
        {"float64": 1e-4},
        dtypes=("float64",),
        result=lambda program: program.constants,
    ),
    "evolve": Example(
        lambda rng, dtype: {
            "target": np.exp2,
            "interval": (0, 1),
            "max_ops": 1,
            "budget": 40,
            "rng": 0,
        },
        (),
        best_single_operation,
        {"float64": 1e-3},
        dtypes=("float64",),
        result=lambda front: float(front.errors[-1]),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _programs(rng, count):
    """Random programs with their padding: code, ends, constants (all of float64)."""
    rows, own = int(rng.integers(1, MAX_ROWS)), int(rng.integers(1, MAX_CONSTANTS))
    code = np.zeros((count, rows, 4), np.int32)
    ends = np.zeros((count, 2), np.int32)
    for i in range(count):
        length = int(rng.integers(0, rows + 1))
        for s in range(length):
            earlier = 1 + own + s
            code[i, s] = rng.integers(5), earlier - 1, rng.integers(earlier), rng.integers(earlier)
        ends[i] = length, own + length
    return code, ends, rng.uniform(0.5, 2, (count, own))


def _poisoned(shape, dtype):
    return np.full(shape, np.nan, dtype)


def _values(rng, variant, size):
    code, ends, constants = _programs(rng, 5)
    dtype = np.dtype(variant["T"])
    return [
        code,
        ends,
        constants.astype(dtype),
        rng.uniform(0.5, 2, size).astype(dtype),
        _poisoned((5, size), dtype),
    ]


def _errors(rng, variant, size):
    code, ends, constants = _programs(rng, size)
    dtype = np.dtype(variant["T"])
    x = np.sort(rng.uniform(-2, 2, 300)).astype(dtype)
    return [code, ends, constants.astype(dtype), x, np.exp2(x), np.exp2(-x), _poisoned(size, dtype)]


def _fit(rng, variant, size):
    """(c1 + c2 x)², or c1 + c2 / (x + c3), from near 2^x; few enough steps that rounding errors do
    not choose another way."""
    square = np.array([[2, 2, 0, 0], [0, 1, 4, 0], [2, 5, 5, 0]], np.int32)
    ratio = np.array([[0, 0, 3, 0], [3, 2, 4, 0], [0, 1, 5, 0]], np.int32)
    kinds = rng.integers(0, 2, size)
    code = np.where(kinds[:, None, None] == 0, square, ratio).astype(np.int32)
    ends = np.tile(np.array([3, 6], np.int32), (size, 1))
    counts = np.where(kinds == 0, 2, 3).astype(np.int32)
    center = np.where(kinds[:, None] == 0, [1.0, 0.41, 0.0], [-1.4, -8.2, -3.4])
    constants = center * rng.uniform(0.98, 1.02, (size, 3))
    x = np.linspace(0, 1, 65)
    return [
        code,
        ends,
        counts,
        constants,
        x,
        np.exp2(x),
        np.exp2(-x),
        2,
        1,
        _poisoned(size, np.float64),
    ]


KERNELS = {"program_values": _values, "program_errors": _errors, "fit_programs": _fit}
