"""Ranges of numbers and of arrays' entries, and marks of declarations."""

import math
from typing import Any, NamedTuple


class Mark(str):
    """A property of an array or number that is not a range."""


finite = Mark("finite")  # no NaN, no infinity
nonempty = Mark("without an axis of length zero")
infinite = Mark("infinite")  # a number that may also be infinite
any_device = Mark("on any device")  # an array that may be a NumPy array next to GPU arrays
own_dtype = Mark("of its own dtype")  # a Float array that does not share the call's dtype
written = Mark("writeable")  # an array that the call writes into: never a copy of what was given


class Bound(NamedTuple):
    """The range of a number or of an array's entries; an end may be the name of a size."""

    low: Any = -math.inf
    high: Any = math.inf
    closed_low: bool = True
    closed_high: bool = True

    @property
    def is_finite(self):
        """Whether all numbers in the range are finite."""
        return self.low != -math.inf and self.high != math.inf

    @property
    def text(self):
        """``> 0``, ``in [0, 1)``, ``<= n``."""
        low, high = _power(self.low), _power(self.high)
        if self.high == math.inf:
            return f">{'=' * self.closed_low} {low}"
        if self.low == -math.inf:
            return f"<{'=' * self.closed_high} {high}"
        ends = "(["[self.closed_low], ")]"[self.closed_high]
        return f"in {ends[0]}{low}, {high}{ends[1]}"

    def condition(self, value):
        """The range as a Python condition on the expression `value`."""
        low, high = (f"_sizes[{e!r}]" if isinstance(e, str) else repr(e) for e in self[:2])
        above = f"{low} <{'=' * self.closed_low} " if self.low != -math.inf else ""
        under = f" <{'=' * self.closed_high} {high}" if self.high != math.inf else ""
        return f"{above}{value}{under}" if above or under else "True"

    def holds(self, value, sizes):
        """Whether a number, or each entry of an array, lies in the range: a bool, or an array."""
        low, high = (sizes[e] if isinstance(e, str) else e for e in self[:2])
        above = value >= low if self.closed_low else value > low
        return above & (value <= high if self.closed_high else value < high)

    def holds_all(self, value, sizes):
        """Whether all entries of an array lie in the range; there is at least one."""
        low, high = (sizes[e] if isinstance(e, str) else e for e in self[:2])
        good = True
        if low != -math.inf:
            least = value.min()
            good = least >= low if self.closed_low else least > low
        if high != math.inf:
            most = value.max()
            good = good & (most <= high if self.closed_high else most < high)
        return bool(good)

    def where(self, sizes):
        """``with n = 5`` for the sizes that are named, else nothing."""
        named = [f"{e} = {sizes[e]}" for e in self[:2] if isinstance(e, str)]
        return f" with {', '.join(named)}" if named else ""


def _power(number):
    """Large powers of two as such: ``2**32``."""
    large = isinstance(number, int) and number > 1 << 16 and number.bit_count() == 1
    return f"2**{number.bit_length() - 1}" if large else number
