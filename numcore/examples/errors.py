"""How wrong a result is, in units in the last place, relative or absolute."""

import math
from dataclasses import fields, is_dataclass

import numpy as np

from ..special import ulp_error

__all__ = ["largest_error", "leaves"]


def leaves(result):
    """The arrays of a result, which may be an array, a scalar, a tuple, a list or a dataclass of
    these."""
    if is_dataclass(result):
        return [leaf for f in fields(result) for leaf in leaves(getattr(result, f.name))]
    if hasattr(result, "indptr"):  # a sparse matrix
        return [result.indptr, result.indices, result.data, *result.shape]
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def largest_error(result, reference, unit):
    """The largest error over all arrays of a result, in `unit`: "ulp", "relative", "absolute" or
    "equal" (0 or inf).

    "relative" and "absolute" measure against, or without, the largest finite entry of the
    reference. NaN and infinities must match.
    """
    results, references = leaves(result), leaves(reference)
    if len(results) != len(references):
        return math.inf
    return max(
        (
            _error(np.asarray(y), np.asarray(t), unit)
            for y, t in zip(results, references, strict=True)
        ),
        default=0.0,
    )


def _error(y, t, unit):
    if y.shape != t.shape:
        return math.inf
    if not y.size:
        return 0.0
    if unit == "equal" or y.dtype.kind not in "fc":
        return 0.0 if np.array_equal(y, t) else math.inf
    if unit == "ulp":
        return float(
            ulp_error(
                y.reshape(-1),
                t.reshape(-1).astype(np.longdouble if y.dtype == np.float64 else np.float64),
            ).max()
        )
    finite = np.isfinite(t)
    same = np.array_equal(
        np.where(finite, 0, y), np.where(finite, 0, t).astype(y.dtype), equal_nan=True
    )
    if not same or not np.isfinite(y[finite]).all():
        return math.inf
    difference = float(np.abs(y[finite] - t[finite]).max(initial=0))
    scale = float(np.abs(t[finite]).max(initial=0)) if unit == "relative" else 1.0
    return difference / scale if difference else 0.0
