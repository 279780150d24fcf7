"""Classes of points that are sampled separately."""

import math
from typing import Any, NamedTuple

import numpy as np

MAX_VALUES = 1 << 16  # labels in a smaller range are counted rather than sorted
MAX_CLASSES = 50  # if y has more values, they are not classes unless the caller says so


class Strata(NamedTuple):
    """Classes that are sampled separately: the class index of each point ((1,) if there is one
    class), and the draws of each class."""

    labels: Any
    shares: tuple

    def members(self, xp):
        """The points of each class; None stands for all points."""
        return (
            [None]
            if len(self.shares) == 1
            else [xp.nonzero(self.labels == c)[0] for c in range(len(self.shares))]
        )


def strata_of(xp, y, weights, size, stratify, n):
    if stratify is True and (y is None or y.ndim != 1):
        got = None if y is None else y.shape
        raise ValueError(f"y must have shape (n,) with n = {n} where stratify=True (got {got})")
    one = Strata(xp.zeros(1, np.int32), (size,))
    if (
        not stratify
        or y is None
        or y.ndim != 1
        or isinstance(stratify, str)
        and y.dtype.kind not in "biuf"
    ):
        return one
    if y.dtype.kind == "f" and bool((abs(y) == 1).all()):
        y = y.astype(np.int8)
    elif isinstance(stratify, str) and y.dtype.kind == "f":
        return one
    values, labels = numbered(xp, y)
    count = len(values)
    if isinstance(stratify, str) and count > MAX_CLASSES or count == 1:
        return one
    if size < count:
        raise ValueError(f"size must be >= {count}, the number of classes (got {size})")
    mass = xp.bincount(
        labels, weights=None if weights is None else weights, minlength=count
    ).tolist()
    if not min(mass) > 0:
        raise ValueError(
            f"weights must not all be zero in a class (got class {values[mass.index(min(mass))]!r})"
        )
    return Strata(labels.astype(np.int32), shares_of(np.array(mass), size))


def numbered(xp, y):
    """The distinct values of y as a list, and the index of each entry in it."""
    if y.dtype.kind in "biu":
        low, high = int(y.min()), int(y.max())
        if high - low < MAX_VALUES and high < 2**63:  # no sorting
            places = y.astype(np.int64) - low
            present = xp.bincount(places) > 0
            values = (xp.nonzero(present)[0] + low).astype(y.dtype)
            return values.tolist(), (xp.cumsum(present) - 1)[places]
    values, labels = xp.unique(y, return_inverse=True)
    return values.tolist(), labels


def shares_of(mass, size):
    """Draws of each class, in proportion to its weight and at least one."""
    quota = size * (mass / mass.sum())
    shares = np.maximum(quota.astype(np.int64), 1)
    while shares.sum() < size:
        shares[np.argmax(quota - shares)] += 1
    while shares.sum() > size:
        shares[np.argmax(np.where(shares > 1, shares - quota, -math.inf))] -= 1
    return tuple(shares.tolist())
