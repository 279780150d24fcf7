"""A regression tree that grows leaf by leaf on histograms of binned features."""

import math
from typing import NamedTuple

import numpy as np

from ...arguments import Array
from .kernels import CELLS, LEAST_HESSIAN, MISSING, add_tree, best_splits, gradient_histograms


class Tree(NamedTuple):
    """Node i goes left where ``x[feature[i]] <= threshold[i]``, or where that is NaN and
    nan_left[i]; a leaf has left[i] = -1."""

    feature: Array
    threshold: Array
    nan_left: Array
    left: Array
    right: Array
    value: Array


class Leaf(NamedTuple):
    node: int
    rows: Array
    histogram: Array | None
    gain: float
    feature: int
    cut: int
    nan_left: int


class Growth:
    """A tree while it grows; the split with the largest gain comes first."""

    def __init__(self, ranker, fit, slopes, bends):
        self.ranker, self.fit, self.xp = ranker, fit, fit.xp
        (self.slopes, self.slope_unit), (self.bends, self.bend_unit) = slopes, bends
        self.nodes = []  # [feature, threshold, nan_left, left, right, value]

    def tree(self):
        xp, rows = self.xp, self.xp.arange(self.fit.codes.shape[1])
        leaves = [self._leaf(rows, self._histogram(rows) if self.ranker.max_leaves > 1 else None)]
        while len(leaves) < self.ranker.max_leaves:
            best = max(range(len(leaves)), key=lambda i: leaves[i].gain)
            if leaves[best].gain <= 0:
                break
            leaves[best : best + 1] = self._split(
                leaves[best], last=len(leaves) + 1 == self.ranker.max_leaves
            )
        for leaf in leaves:
            bend = int(self.bends[leaf.rows].sum()) * self.bend_unit + self.ranker.l2
            slope = int(self.slopes[leaf.rows].sum()) * self.slope_unit
            value = (
                -self.ranker.learning_rate * slope / bend
                if bend > LEAST_HESSIAN and len(leaves) > 1
                else 0.0
            )
            self.nodes[leaf.node][5] = value
            self.fit.lists.scores[leaf.rows] += value
        kinds = np.int32, self.fit.dtype, np.int32, np.int32, np.int32, np.float64
        return Tree(
            *(
                xp.asarray(np.array(column, kind))
                for column, kind in zip(zip(*self.nodes, strict=True), kinds, strict=True)
            )
        )

    def _histogram(self, rows):
        histogram = self.xp.empty((len(self.fit.codes), CELLS), np.int64)
        gradient_histograms(self.fit.codes, rows, self.slopes[rows], self.bends[rows], histogram)
        return histogram

    def _leaf(self, rows, histogram):
        """A new leaf, with the best split of it if it has a histogram."""
        self.nodes.append([0, 0.0, 0, -1, -1, 0.0])
        node, features = len(self.nodes) - 1, len(self.fit.codes)
        if histogram is None or len(rows) < 2 * self.ranker.min_child_samples or not features:
            return Leaf(node, rows, None, 0.0, 0, 0, 0)
        xp = self.xp
        gains, cuts = xp.empty(features, np.float64), xp.empty(features, np.int32)
        nan_left = xp.empty(features, np.int32)
        best_splits(
            histogram,
            self.slope_unit,
            self.bend_unit,
            self.ranker.l2,
            self.ranker.min_child_samples,
            gains,
            cuts,
            nan_left,
        )
        f = int(gains.argmax())
        return Leaf(node, rows, histogram, float(gains[f]), f, int(cuts[f]), int(nan_left[f]))

    def _split(self, leaf, last):
        """The two leaves that a leaf becomes."""
        codes = self.fit.codes[leaf.feature][leaf.rows]
        goes_left = codes <= leaf.cut
        if leaf.nan_left:
            goes_left |= codes == MISSING
        left, right = leaf.rows[goes_left], leaf.rows[~goes_left]
        histograms = [None, None]
        if not last and max(len(left), len(right)) >= 2 * self.ranker.min_child_samples:
            small = 0 if len(left) <= len(right) else 1
            histograms[small] = self._histogram((left, right)[small])
            histograms[1 - small] = leaf.histogram - histograms[small]
        first, second = self._leaf(left, histograms[0]), self._leaf(right, histograms[1])
        ends = self.fit.edges[leaf.feature]
        # all that is not missing goes left
        threshold = float(ends[leaf.cut]) if leaf.cut < len(ends) else math.inf
        self.nodes[leaf.node][:5] = leaf.feature, threshold, leaf.nan_left, first.node, second.node
        self.fit.importances[leaf.feature] += leaf.gain
        return first, second


def sum_of_trees(xp, x, trees):
    """The sum of all trees' values, in float64."""
    total = xp.zeros(len(x), np.float64)
    for tree in trees:
        add_tree(x, *tree, total)
    return total
