"""What layers that normalize share: arrays as rows, parameters as columns, sums over blocks of
rows."""

import math
from typing import NamedTuple

import numpy as np

from ...arguments import Array
from .kernels import ROWS, sum_blocks

LIMITS = {
    np.dtype(t): (float(np.finfo(t).smallest_subnormal), float(np.finfo(t).max)) for t in "fd"
}


class NormGrads(NamedTuple):
    """Gradients of the arguments of :func:`layer_norm` or :func:`batch_norm`; None where the
    argument was None."""

    x: Array
    weight: Array | None
    bias: Array | None


def check_eps(eps, dtype):
    """ValueError if a positive eps is 0 or infinite in the arrays' dtype."""
    low, high = LIMITS[dtype]
    if not low <= eps <= high:
        raise ValueError(f"eps must be > 0 and finite in {dtype} (got {eps})")


def as_rows(xp, x):
    """x as a C-contiguous matrix: a view where it is contiguous."""
    return xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def column(xp, parameter, d, default, dtype):
    """A parameter as a contiguous array, `default` everywhere where it is None."""
    return xp.full(d, default, dtype) if parameter is None else xp.ascontiguousarray(parameter)


def blocks(n):
    return -(-n // ROWS)


def summed(xp, parts):
    """The sum over blocks, in float64."""
    sums = xp.empty(parts.shape[1:], np.float64)
    sum_blocks(parts.reshape(len(parts), sums.size), sums.reshape(-1))
    return sums
