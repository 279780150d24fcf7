"""LambdaMART: boosted regression trees that rank.

Every round fits a tree to the gradient of LambdaRank at the current scores and takes a Newton step
in each leaf. Trees grow leaf by leaf on histograms of binned features; a sibling's histogram is its
parent's less the other child's. C. Burges, "From RankNet to LambdaRank to LambdaMART: an overview",
MSR-TR-2010-82; histograms: G. Ke et al., "LightGBM: a highly efficient gradient boosting decision
tree", NIPS 2017.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_count, checked_number
from ..dispatch import float_dtype, on_device
from ..kernel import kernel
from ..progress import progress_bar
from ._ranking_losses import (
    MOST_RELEVANT,
    checked_lists,
    count_relevant,
    discounts,
    list_losses,
    list_metrics_of,
)

__all__ = ["LambdaMART", "Tree"]

MISSING = 255  # the bin of NaN
BINS = 256
CELLS = 3 * BINS  # sums of gradients, of second derivatives, and counts
LEAST_HESSIAN = 1e-12  # of a child; below, a Newton step means nothing
LEAST_GAIN = 1e-12  # of a split, as a share of what it compares: below, it is rounding


class Tree(NamedTuple):
    """Node i goes left where ``x[feature[i]] <= threshold[i]``, or where that is NaN and
    nan_left[i]; a leaf has left[i] = -1."""

    feature: Any
    threshold: Any
    nan_left: Any
    left: Any
    right: Any
    value: Any


class LambdaMART:
    """Gradient-boosted trees for ranking.

    Parameters
    ----------
    n_estimators : int, optional
        Trees.
    max_leaves : int, optional
        Of a tree.
    learning_rate : float, optional
        Above 0.
    min_child_samples : int, optional
        Rows that a leaf must have.
    l2 : float, optional
        Added to the second derivatives of a leaf.
    max_bins : int, optional
        Of a feature, from 2 to 255; NaN has one more.
    k : int, optional
        Ranks that NDCG counts, all by default.
    early_stopping : int, optional
        Rounds without a better NDCG of `eval_set` after which training ends; trees after the best
        are dropped.
    rng : None, int or numpy.random.Generator, optional
        Accepted like everywhere; training draws no random numbers.

    Attributes
    ----------
    trees_ : list of Tree
    feature_importances_ : (F,) array of float64
        Sum of the gains of a feature's splits.
    train_ndcg_, eval_ndcg_ : list of float
        Mean NDCG after every round; the latter empty without an `eval_set`.

    Raises
    ------
    TypeError, ValueError
        An option of another type or outside of its range.

    Notes
    -----
    A split's gain is ``G_L² / (H_L + l2) + G_R² / (H_R + l2) - G² / (H + l2)``, a leaf's value
    ``-G / (H + l2)``; a tree without a split adds 0. Gradients are rounded to multiples of one
    power of two, at least 2³⁰ times smaller than the largest for up to 2³⁰ rows, and summed as
    integers: histograms and their differences are exact, and every device and number of threads
    grows the same tree from the same gradients. Rows of a query are put into an order of their own
    first, so that ties, as in the first round, do not depend on the order in which rows were given.
    O(n F) for the root of a tree, at most half as much for each further level; pairs cost O(sum D²)
    in each round.

    References
    ----------
    C. Burges, "From RankNet to LambdaRank to LambdaMART: an overview", Microsoft Research
    MSR-TR-2010-82, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.retrieval import LambdaMART
    >>> x, relevance = np.array([[3.0], [1.0], [2.0], [1.0]]), np.array([2, 0, 1, 0])
    >>> ranker = LambdaMART(n_estimators=1, min_child_samples=1).fit(x, relevance, np.array([2, 2]))
    >>> np.argsort(-ranker.predict(x[:2]))
    array([0, 1])
    """

    def __init__(
        self,
        n_estimators=100,
        max_leaves=31,
        learning_rate=0.1,
        min_child_samples=20,
        l2=0.0,
        max_bins=255,
        k=None,
        early_stopping=None,
        rng=None,
    ):
        self.n_estimators = checked_count("n_estimators", n_estimators, least=1)
        self.max_leaves = checked_count("max_leaves", max_leaves, least=1)
        self.learning_rate = checked_number("learning_rate", learning_rate, above=0)
        self.min_child_samples = checked_count("min_child_samples", min_child_samples, least=1)
        self.l2, self.max_bins = (
            checked_number("l2", l2, least=0),
            checked_count("max_bins", max_bins, least=2, most=255),
        )
        self.k = None if k is None else checked_count("k", k, least=1)
        self.early_stopping = (
            None
            if early_stopping is None
            else checked_count("early_stopping", early_stopping, least=1)
        )
        self.rng = rng

    def fit(self, X, relevance, groups, *, eval_set=None, callback=None, progress=False):
        """Learn from lists of rows.

        Parameters
        ----------
        X : (n, F) array, float32 or float64
            Features; NaN is missing.
        relevance : (n,) array of integers, or of the dtype of `X`
            From 0 to 31.
        groups : (Q,) array of integers
            Lengths of the queries' lists, which follow each other.
        eval_set : (X, relevance, groups), optional
            Held out, for `eval_ndcg_` and `early_stopping`.
        callback : callable, optional
            ``callback(round, ndcg)`` with the NDCG of the training lists after every round;
            training ends when it returns True.
        progress : bool, optional
            Show a bar; needs tqdm.

        Returns
        -------
        LambdaMART
            The ranker itself. If training is interrupted it is as it was before.

        Raises
        ------
        TypeError
            Arrays of other dtypes or on different devices.
        ValueError
            Shapes that do not fit, infinities, relevance out of range, groups that hold 0 or do not
            sum to n, no query with a relevant row, `early_stopping` without an `eval_set`.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable (got {callback!r:.80})")
        progress = checked_bool("progress", progress)
        xp, x, lists = _checked(X, relevance, groups)
        held_out = None
        if eval_set is not None:
            if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 3:
                raise TypeError(
                    f"eval_set must be a tuple (X, relevance, groups) (got "
                    f"{type(eval_set).__name__})"
                )
            held_out = _checked(*eval_set)[1:]
            on_device(X=x, eval_set=held_out[0])
            float_dtype(X=x, eval_set=held_out[0])
            if held_out[0].shape[1] != x.shape[1]:
                raise ValueError(
                    f"eval_set must have as many features as X, {x.shape[1]} (got "
                    f"{held_out[0].shape[1]})"
                )
        elif self.early_stopping is not None:
            raise ValueError("eval_set must be given where early_stopping is (got None)")
        edges = [_edges(xp, x[:, f], self.max_bins) for f in range(x.shape[1])]
        codes = _binned(xp, x, edges)
        fitted = _Fit(xp, codes, edges, lists, held_out, x.dtype)
        bar = progress_bar(self.n_estimators, "trees") if progress else None
        try:
            for done in range(self.n_estimators):
                self._round(fitted)
                if bar is not None:
                    bar.update(1)
                if (
                    callback is not None
                    and callback(done, fitted.train[-1]) is True
                    or self._stopped(fitted)
                ):
                    break
        finally:
            if bar is not None:
                bar.close()
        self.trees_, self.train_ndcg_, self.eval_ndcg_ = (
            fitted.trees,
            fitted.train,
            fitted.evaluated,
        )
        self.feature_importances_ = fitted.importances
        self._dtype = x.dtype
        return self

    def predict(self, X):
        """Scores of rows.

        Parameters
        ----------
        X : (n, F) array of the dtype that `fit` saw

        Returns
        -------
        (n,) array of the same dtype

        Raises
        ------
        AttributeError
            `fit` was not called.
        TypeError, ValueError
            Another dtype or number of features, infinities.
        """
        if not hasattr(self, "trees_"):
            raise AttributeError("LambdaMART has no trees yet: call fit first")
        xp, x = _checked_rows(X)
        on_device(X=x, trees_=self.trees_[0].value)
        if x.shape[1] != len(self.feature_importances_):
            raise ValueError(
                f"X must have {len(self.feature_importances_)} features, as in fit (got "
                f"{x.shape[1]})"
            )
        if x.dtype != self._dtype:
            raise TypeError(f"X must have dtype {self._dtype}, as in fit (got {x.dtype})")
        return _sum_of_trees(xp, x, self.trees_).astype(x.dtype)

    def _round(self, fit):
        """One more tree."""
        xp, lists = fit.xp, fit.lists
        _, slopes, bends = list_losses(lists, "lambdarank", 1.0, k=self.k)
        tree = _Growth(self, fit, _fixed_point(xp, slopes), _fixed_point(xp, bends)).tree()
        fit.trees.append(tree)
        fit.train.append(_mean_ndcg(fit.as_given(), self.k))
        if fit.held_out is not None:
            x, held_out = fit.held_out
            fit.held_out = (
                x,
                held_out._replace(scores=held_out.scores + _sum_of_trees(xp, x, [tree])),
            )
            fit.evaluated.append(_mean_ndcg(fit.held_out[1], self.k))

    def _stopped(self, fit):
        """Whether there was no better round for long; the trees after the best are then dropped."""
        if self.early_stopping is None:
            return False
        best = int(np.argmax(fit.evaluated))
        if len(fit.trees) - 1 - best < self.early_stopping:
            return False
        del fit.trees[best + 1 :]
        return True


# --- rows, bins and their order -------------------------------------------------------------------


def _checked_rows(X):
    if X is None:
        raise TypeError("X must be a NumPy or CuPy array (got None)")
    xp, (x,) = on_device(X=X)
    float_dtype(X=x)
    if x.ndim != 2:
        raise ValueError(f"X must have shape (n, F) (got {x.shape})")
    if bool(xp.isinf(x).any()):
        raise ValueError("X must not hold infinities (got one); NaN stands for missing")
    return xp, xp.ascontiguousarray(x)


def _checked(X, relevance, groups):
    """The rows, and the lists with scores of 0 in float64."""
    xp, x = _checked_rows(X)
    if groups is None:
        raise TypeError("groups must be an array of integers (got None)")
    lists = checked_lists(xp.zeros(len(x), x.dtype), relevance, groups, None, MOST_RELEVANT)
    if not count_relevant(lists):
        raise ValueError("relevance must be above 0 somewhere (got no query with a relevant row)")
    return (
        xp,
        x,
        lists._replace(
            scores=xp.zeros(len(x), np.float64), relevance=lists.relevance.astype(np.float64)
        ),
    )


def _edges(xp, column, most):
    """Upper ends of all bins but the last, between the quantiles of a column, or between all its
    values where they are few."""
    values = xp.sort(column[~xp.isnan(column)])
    starts = xp.nonzero(values[1:] > values[:-1])[0] + 1  # where a new value begins
    if len(starts) >= most:
        wanted = values[xp.arange(1, most) * len(values) // most]
        starts = xp.unique(xp.searchsorted(values, wanted, side="left"))
        starts = starts[starts > 0]
    low, high = values[starts - 1], values[starts]
    middle = low / 2 + high / 2
    return xp.where((low <= middle) & (middle < high), middle, low)


def _binned(xp, x, edges):
    """Bins of all entries, (F, n)."""
    codes = xp.empty((x.shape[1], len(x)), np.uint8)
    for f, ends in enumerate(edges):
        codes[f] = xp.where(
            xp.isnan(x[:, f]), MISSING, xp.searchsorted(ends, x[:, f], side="left")
        ).astype(np.uint8)
    return codes


def _order(xp, codes, lists):
    """Rows of each list in an order that depends on what they hold, not on where they stand: that
    of a hash of their bins."""
    hashed = xp.full(codes.shape[1], 0xCBF29CE484222325, np.uint64)
    for row in codes:
        hashed = (hashed ^ row.astype(np.uint64)) * np.uint64(0x100000001B3)
        hashed ^= hashed >> np.uint64(29)
    query = xp.searchsorted(lists.offsets[1:], xp.arange(codes.shape[1]), side="right")
    order = xp.argsort(lists.relevance, kind="stable")
    order = order[xp.argsort(hashed[order], kind="stable")]
    return order[xp.argsort(query[order], kind="stable")]


def _fixed_point(xp, values):
    """Integers whose sums cannot overflow, and the unit that they count."""
    largest = float(abs(values).max())
    power = min(61 - math.frexp(largest)[1] - math.frexp(len(values))[1], 1000)
    return xp.rint(values * 2.0**power).astype(np.int64), 2.0**-power


def _mean_ndcg(lists, k):
    """Over the queries with a relevant row."""
    xp, queries = lists.xp, len(lists.offsets) - 1
    ndcg, precision, hit, reciprocal, average = (
        xp.empty(shape, np.float64) for shape in [(queries, 1)] * 3 + [queries] * 2
    )
    list_metrics_of(
        lists.scores,
        lists.relevance,
        lists.offsets,
        xp.asarray(discounts(lists.longest)),
        xp.full(1, lists.longest if k is None else min(k, lists.longest), np.int64),
        ndcg,
        precision,
        hit,
        reciprocal,
        average,
    )
    return float(ndcg[~xp.isnan(ndcg)].mean())


# --- growing --------------------------------------------------------------------------------------


class _Fit:
    """What a training run carries from tree to tree."""

    def __init__(self, xp, codes, edges, lists, held_out, dtype):
        self.xp, self.edges, self.held_out, self.dtype = xp, edges, held_out, dtype
        self.given, self.order = lists, _order(xp, codes, lists)
        self.codes = xp.ascontiguousarray(codes[:, self.order])
        self.lists = lists._replace(
            relevance=lists.relevance[self.order], scores=xp.zeros(len(self.order), np.float64)
        )
        self.trees, self.train, self.evaluated, self.importances = [], [], [], np.zeros(len(edges))

    def as_given(self):
        """The lists with their rows in the order that the user gave."""
        scores = self.xp.empty(len(self.order), np.float64)
        scores[self.order] = self.lists.scores
        return self.given._replace(scores=scores)


class _Leaf(NamedTuple):
    node: int
    rows: Any
    histogram: Any
    gain: float
    feature: int
    cut: int
    nan_left: int


class _Growth:
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
            return _Leaf(node, rows, None, 0.0, 0, 0, 0)
        xp = self.xp
        gains, cuts, nan_left = (
            xp.empty(features, np.float64),
            xp.empty(features, np.int32),
            xp.empty(features, np.int32),
        )
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
        return _Leaf(node, rows, histogram, float(gains[f]), f, int(cuts[f]), int(nan_left[f]))

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
        threshold = (
            float(ends[leaf.cut]) if leaf.cut < len(ends) else math.inf
        )  # all that is not missing goes left
        self.nodes[leaf.node][:5] = leaf.feature, threshold, leaf.nan_left, first.node, second.node
        self.fit.importances[leaf.feature] += leaf.gain
        return first, second


def _sum_of_trees(xp, x, trees):
    """The sum of all trees' values, in float64."""
    total = xp.zeros(len(x), np.float64)
    for tree in trees:
        add_tree(x, *tree, total)
    return total


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in uint8 codes[f, n]; in int64 rows[r]; in int64 slopes[r]; in int64 bends[r]; "
    "out int64 histogram[f, 768]",
    constants=("BINS", "CELLS", "MISSING"),
    split="f",
    gpu="block",
)
def gradient_histograms(codes, rows, slopes, bends, histogram, start, stop):
    """Sums over rows for each bin of each feature: of gradients, of second derivatives, and
    counts."""
    for f in range(start, stop):
        code, cells = codes[f], histogram[f]
        cells[:] = 0
        for i in range(rows.size):
            at = np.uintp(3) * np.uintp(code[np.uintp(rows[i])])
            cells[at] += slopes[i]
            cells[at + np.uintp(1)] += bends[i]
            cells[at + np.uintp(2)] += 1


@kernel(
    "in int64 histogram[f, 768]; float64 slope_unit; float64 bend_unit; float64 l2; int64 least; "
    "out float64 gain[f]; "
    "out int32 cut[f]; out int32 nan_left[f]",
    constants=("BINS", "CELLS", "MISSING"),
    split="f",
)
def best_splits(histogram, slope_unit, bend_unit, l2, least, gain, cut, nan_left, start, stop):
    """The best cut of each feature, NaN tried on both sides; gain 0 where there is none."""
    for f in range(start, stop):
        cells = histogram[f]
        g = h = n = np.int64(0)
        for b in range(256):
            g += cells[3 * b]
            h += cells[3 * b + 1]
            n += cells[3 * b + 2]
        whole = score(g * slope_unit, h * bend_unit + l2)
        gain[f], cut[f], nan_left[f] = 0, 0, 0
        for side in range(2 if cells[3 * MISSING + 2] > 0 else 1):
            gl = cells[3 * MISSING] if side else np.int64(0)
            hl = cells[3 * MISSING + 1] if side else np.int64(0)
            nl = cells[3 * MISSING + 2] if side else np.int64(0)
            for b in range(MISSING):
                gl += cells[3 * b]
                hl += cells[3 * b + 1]
                nl += cells[3 * b + 2]
                left, right = hl * bend_unit + l2, (h - hl) * bend_unit + l2
                if (
                    nl >= least
                    and n - nl >= least
                    and left > LEAST_HESSIAN
                    and right > LEAST_HESSIAN
                ):
                    parts = score(gl * slope_unit, left) + score((g - gl) * slope_unit, right)
                    if parts - whole > gain[f] and parts - whole > LEAST_GAIN * parts:
                        gain[f], cut[f], nan_left[f] = parts - whole, b, side


def score(g, h):
    return g * g / h if h > 0 else 0.0


@kernel(
    "in T x[n, f]; in int32 feature[m]; in T threshold[m]; in int32 nan_left[m]; in int32 left[m]; "
    "in int32 right[m]; "
    "in float64 value[m]; inout float64 total[n]",
    split="n",
)
def add_tree(x, feature, threshold, nan_left, left, right, value, total, start, stop):
    """Rows walk down a tree; children have larger numbers than their parents."""
    for i in range(start, stop):
        node = np.int64(0)
        while left[node] >= 0:
            entry = x[i, feature[node]]
            goes_left = entry <= threshold[node] or entry != entry and nan_left[node] != 0
            node = np.int64(left[node] if goes_left else right[node])
        total[i] += value[node]
