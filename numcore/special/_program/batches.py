"""Programs as the arrays that the kernels take."""

import numpy as np

from .kernels import program_errors


def packed(programs, dtype=np.float64):
    """Programs as the arrays that the kernels take.

    Returns
    -------
    code : int32 array of shape (p, m, 4)
        Padded with rows that are not run; registers are numbered as if every program had as many
        constants as the one with most.
    ends : int32 array of shape (p, 2)
        How many instructions each program has, and the register of its result.
    constants : array of `dtype`, shape (p, k)
    """
    k = max((len(q.constants) for q in programs), default=0)
    m = max((len(q.code) for q in programs), default=0)
    code, ends = np.zeros((len(programs), m, 4), np.int32), np.zeros((len(programs), 2), np.int32)
    constants = np.zeros((len(programs), k), dtype)
    with np.errstate(over="ignore"):
        for i, q in enumerate(programs):
            own, rows = len(q.constants), len(q.code)
            code[i, :rows] = q.code
            registers = code[i, :rows, 1:]
            registers[registers > own] += k - own
            constants[i, :own] = q.constants
            ends[i] = rows, k + rows if rows else own
    return code, ends, constants


def max_errors(programs, x, target, weight):
    """The largest ``|program(x) - target| * weight`` of each program; inf where a value is not
    finite, or a denominator changes sign."""
    errors = np.empty(len(programs), x.dtype)
    program_errors(*packed(programs, x.dtype), x, target, weight, errors)
    return errors
