"""Kinds of options that many functions have: array namespaces, dtypes, shapes, random states."""

import operator

import numpy as np

from . import dispatch
from ._kinds import Kind, short


class NamespaceKind(Kind):
    text = "module, numpy or cupy"

    def fits(self, value):
        return dispatch.is_namespace(value)

    def unfit(self):
        return [("numpy", TypeError), (3, TypeError), (None, TypeError)]


class DTypeKind(Kind):
    """One of two dtypes."""

    def __init__(self, *names):
        self.names = names or ("float32", "float64")
        self.dtypes = tuple(np.dtype(name) for name in self.names)
        self.text = f"dtype, {' or '.join(self.names)}"

    def convert(self, name, value, call):
        try:
            dtype = np.dtype(value)
        except TypeError:
            dtype = None
        if value is None or dtype is None or dtype not in self.dtypes:
            must = " or ".join(self.names)
            raise TypeError(f"{name} must be {must} (got {short(value)})")
        return dtype

    def unfit(self):
        return [(np.int64, TypeError), ("no dtype", TypeError), (object(), TypeError)]


class ShapeKind(Kind):
    text = "int or tuple of int"

    def fits(self, value):
        return isinstance(value, (int, np.integer, list, tuple)) and not isinstance(value, bool)

    def convert(self, name, value, call):
        value = value if isinstance(value, (list, tuple)) else (value,)
        try:
            shape = tuple(operator.index(n) for n in value)
        except TypeError:
            raise TypeError(f"{name} must consist of integers (got {short(value)})") from None
        if any(n < 0 for n in shape):
            raise ValueError(f"{name} must be >= 0 (got {shape})")
        return shape

    def unfit(self):
        return [("text", TypeError), ([1.5], TypeError), (-1, ValueError), (object(), TypeError)]


class RNGKind(Kind):
    text = "None, int >= 0, SeedSequence, BitGenerator or Generator"

    def fits(self, value):
        kinds = (int, np.integer, np.random.SeedSequence, np.random.BitGenerator)
        return value is None or (
            isinstance(value, (*kinds, np.random.Generator))
            and not isinstance(value, (bool, np.bool_))
        )

    def convert(self, name, value, call):
        if isinstance(value, (int, np.integer)) and value < 0:
            raise ValueError(f"{name} must be a seed >= 0 (got {value})")
        return value

    def unfit(self):
        return [("seed", TypeError), (1.5, TypeError), ([1, 2], TypeError), (-1, ValueError)]
