"""A target on an interval, and how errors are weighed."""

from typing import Literal, TypeAlias

import numpy as np

Error: TypeAlias = Literal["relative", "absolute", "ulp32"]


class Problem:
    """A target on an interval, and how errors are weighed."""

    def __init__(self, target, interval, error="relative", eps=0.0):
        self.lo, self.hi = check_interval(interval)
        self.target, self.error, self.eps = target, error, eps

    def points(self, n):
        """(x, f(x), weight) at n Chebyshev points, the ends of the interval among them."""
        middle, half = 0.5 * self.lo + 0.5 * self.hi, 0.5 * self.hi - 0.5 * self.lo
        x = middle - half * np.cos(np.pi * np.arange(n) / (n - 1))
        x[0], x[-1] = self.lo, self.hi
        return self.at(np.clip(x, self.lo, self.hi))

    def even_points(self, n):
        """(x, f(x), weight) at n evenly spaced points."""
        return self.at(np.linspace(self.lo, self.hi, n))

    def at(self, x):
        f = self.values(x)
        if self.error == "absolute":
            return x, f, np.ones_like(f)
        if self.error == "ulp32":
            return x, f, 1 / ulp_of(f, np.float32)
        size = self.eps + np.abs(f)
        zero = size == 0
        if self.eps == 0:
            zero[1:] |= np.signbit(f[1:]) != np.signbit(f[:-1])
        if zero.any():
            raise ValueError(
                f"eps must be > 0 where target has a zero (got f({x[zero][0]}) = {f[zero][0]})"
            )
        return x, f, 1 / size

    def values(self, x):
        with np.errstate(all="ignore"):
            f = np.asarray(self.target(x.copy()))
        if f.shape != x.shape or f.dtype.kind not in "iuf":
            raise TypeError(
                f"target must return an array of real numbers of shape {x.shape} (got {f.dtype} of "
                f"shape {f.shape})"
            )
        f = f.astype(np.float64)
        bad = ~np.isfinite(f)
        if bad.any():
            raise ValueError(
                f"target must be finite on the interval (got f({x[bad][0]}) = {f[bad][0]})"
            )
        return f


def ulp_of(t, dtype):
    """The unit in the last place of a dtype at the numbers t, as float64."""
    info = np.finfo(dtype)
    exponent = np.maximum(np.frexp(t)[1] - 1, info.minexp)
    return np.ldexp(1.0, np.where(t == 0, info.minexp, exponent) - info.nmant)


def check_interval(interval):
    """Its ends, which must ascend."""
    lo, hi = interval
    if not lo < hi:
        raise ValueError(f"interval must have lo < hi (got {lo}, {hi})")
    return lo, hi
