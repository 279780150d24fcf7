"""How wrong a result is: errors in units in the last place, relative, absolute."""

import math
from dataclasses import fields, is_dataclass

import numpy as np

__all__ = ["largest_error", "leaves", "ulp_error"]


def leaves(result):
    """The arrays of a result, which may be an array, a scalar, a tuple, a list or a dataclass of these."""
    if is_dataclass(result):
        return [leaf for f in fields(result) for leaf in leaves(getattr(result, f.name))]
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def ulp_error(y, t):
    """Errors of floats `y` against exact values `t` of a wider type, in units in the last place of y's type.

    ``|y - t| / u(t)`` with ``u(t) = 2 ** (max(floor(log2 |t|), e_min) - p + 1)``. Where t is NaN, y must be; where t rounds to an infinity
    y must be that infinity: anything else counts as an infinite error.
    """
    y, t = np.asarray(y), np.asarray(t)
    info = np.finfo(y.dtype)
    wide = t.astype(np.longdouble) if y.dtype == np.float64 else t.astype(np.float64)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(wide)
        unit = np.ldexp(np.ones_like(wide), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = np.abs(y.astype(wide.dtype) - wide) / unit
        rounded = wide.astype(y.dtype)
    same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
    special = ~np.isfinite(rounded) | ~np.isfinite(y)
    return np.where(special, np.where(same, 0.0, np.inf), error).astype(np.float64)


def largest_error(result, reference, unit):
    """The largest error over all arrays of a result, in `unit`: "ulp", "relative", "absolute" or "equal" (0 or inf).

    "relative" and "absolute" measure against, or without, the largest finite entry of the reference. NaN and infinities must match.
    """
    results, references = leaves(result), leaves(reference)
    if len(results) != len(references):
        return math.inf
    return max((_error(np.asarray(y), np.asarray(t), unit) for y, t in zip(results, references, strict=True)), default=0.0)


def _error(y, t, unit):
    if y.shape != t.shape:
        return math.inf
    if not y.size:
        return 0.0
    if unit == "equal" or y.dtype.kind not in "fc":
        return 0.0 if np.array_equal(y, t) else math.inf
    if unit == "ulp":
        return float(ulp_error(y, t).max())
    finite = np.isfinite(t)
    same = np.array_equal(np.where(finite, 0, y), np.where(finite, 0, t).astype(y.dtype), equal_nan=True)
    if not same or not np.isfinite(y[finite]).all():
        return math.inf
    difference = float(np.abs(y[finite] - t[finite]).max(initial=0))
    scale = float(np.abs(t[finite]).max(initial=0)) if unit == "relative" else 1.0
    return difference / scale if difference else 0.0
