"""LambdaMART: boosted regression trees that rank.

Every round fits a tree to the gradient of LambdaRank at the current scores and takes a Newton step
in each leaf. Trees grow leaf by leaf on histograms of binned features; a sibling's histogram is its
parent's less the other child's. C. Burges, "From RankNet to LambdaRank to LambdaMART: an overview",
MSR-TR-2010-82; histograms: G. Ke et al., "LightGBM: a highly efficient gradient boosting decision
tree", NIPS 2017.
"""

import math
from collections.abc import Callable
from typing import Annotated, TypeAlias

import numpy as np

from ...arguments import (
    RNG,
    Array,
    Bool,
    Float,
    Integer,
    any_device,
    at_least,
    nonnegative,
    positive,
    within,
)
from ...dispatch import check_one_device, namespace_of
from ...model import model
from ...progress import progress_bar
from .._metrics.kernels import NDCG
from .._metrics.places import Scored
from .._metrics.routines import values_of_scores
from .._ranking_losses.lists import MAX_RELEVANCE, count_relevant, list_losses, lists_of
from .bins import bin_edges, binned, row_order
from .growth import Growth, sum_of_trees

HeldOut: TypeAlias = tuple[
    Float[Array, "n_held n_features"],
    Integer[Array, "n_held", any_device] | Float[Array, "n_held"] | Bool[Array, "n_held"],
    Integer[Array, "n_held_lists", any_device],
]


@model(fitted="trees_", features="n_features")
class LambdaMART:
    """Gradient-boosted trees for ranking.

    Parameters
    ----------
    n_estimators : int >= 1, default 100
        Number of trees.
    max_leaves : int >= 1, default 31
        Of a tree.
    learning_rate : float > 0, default 0.1
    min_child_samples : int >= 1, default 20
        Rows that a leaf must have.
    l2 : float >= 0, default 0.0
        Added to the second derivatives of a leaf.
    max_bins : int in [2, 255], default 255
        Of a feature; NaN has one more.
    k : int >= 1, optional
        Ranks that NDCG counts, all by default.
    early_stopping : int >= 1, optional
        Rounds without a better NDCG of `eval_set` after which training ends; trees after the best
        are dropped.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Accepted like everywhere; training draws no random numbers.

    Attributes
    ----------
    trees_ : list of Tree
    n_features_in_ : int
    dtype_ : numpy.dtype
        Of the features.
    feature_importances_ : (F,) array of float64
        Sum of the gains of a feature's splits.
    train_ndcg_, eval_ndcg_ : list of float
        Mean NDCG after every round; the latter empty without an `eval_set`.

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
        n_estimators: Annotated[int, at_least(1)] = 100,
        max_leaves: Annotated[int, at_least(1)] = 31,
        learning_rate: Annotated[float, positive] = 0.1,
        min_child_samples: Annotated[int, at_least(1)] = 20,
        l2: Annotated[float, nonnegative] = 0.0,
        max_bins: Annotated[int, within(2, 255)] = 255,
        k: Annotated[int, at_least(1)] | None = None,
        early_stopping: Annotated[int, at_least(1)] | None = None,
        rng: RNG = None,
    ) -> None:
        self.n_estimators, self.max_leaves = n_estimators, max_leaves
        self.learning_rate, self.min_child_samples = learning_rate, min_child_samples
        self.l2, self.max_bins, self.k = l2, max_bins, k
        self.early_stopping, self.rng = early_stopping, rng

    def fit(
        self,
        X: Float[Array, "n n_features"],
        relevance: Integer[Array, "n", any_device] | Float[Array, "n"] | Bool[Array, "n"],
        groups: Integer[Array, "n_lists", any_device],
        *,
        eval_set: HeldOut | None = None,
        callback: Callable[[int, float], bool | None] | None = None,
        progress: bool = False,
    ) -> "LambdaMART":
        """Learn from lists of rows.

        Parameters
        ----------
        X : (n, n_features) array of float32 or float64
            Features; NaN is missing.
        relevance : (n,) array of integers or (n,) array of float32 or float64 or (n,) array of bool
            From 0 to 31.
        groups : (n_lists,) array of integers
            Lengths of the queries' lists, which follow each other.
        eval_set : ((n_held, n_features) array of float32 or float64, (n_held,) array of integers or (n_held,) array of float32 or float64 or (n_held,) array of bool, (n_held_lists,) array of integers), optional
            (X, relevance, groups), held out for `eval_ndcg_` and `early_stopping`.
        callback : callable, optional
            ``callback(round, ndcg)`` with the NDCG of the training lists after every round;
            training ends when it returns True.
        progress : bool, default False
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
        """  # noqa: E501
        if eval_set is None and self.early_stopping is not None:
            raise ValueError("eval_set must be given where early_stopping is (got None)")
        xp, x, lists = namespace_of(X), *_rows_and_lists("X", X, relevance, groups)
        held_out = None if eval_set is None else _rows_and_lists("eval_set[0]", *eval_set)
        edges = [bin_edges(xp, x[:, f], self.max_bins) for f in range(x.shape[1])]
        fitted = _Fit(xp, binned(xp, x, edges), edges, lists, held_out, x.dtype)
        bar = progress_bar(self.n_estimators, "trees") if progress else None
        try:
            for done in range(self.n_estimators):
                self._round(fitted)
                if bar is not None:
                    bar.update(1)
                ended = callback is not None and callback(done, fitted.train[-1]) is True
                if ended or self._stopped(fitted):
                    break
        finally:
            if bar is not None:
                bar.close()
        self.n_features_in_, self.dtype_ = x.shape[1], x.dtype
        self.train_ndcg_, self.eval_ndcg_ = fitted.train, fitted.evaluated
        self.feature_importances_, self.trees_ = fitted.importances, fitted.trees
        return self

    def predict(self, X: Float[Array, "n n_features"]) -> Array:
        """Scores of rows.

        Parameters
        ----------
        X : (n, n_features) array of float32 or float64
            Of the dtype that `fit` was given.

        Returns
        -------
        (n,) array of the same dtype

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError, ValueError
            Another dtype or number of features, infinities.
        """
        check_one_device(X=X, trees_=self.trees_[0].value)
        if X.dtype != self.dtype_:
            raise TypeError(f"X must have dtype {self.dtype_} as in fit (got {X.dtype})")
        x = _checked_rows("X", X)
        return sum_of_trees(namespace_of(x), x, self.trees_).astype(x.dtype)

    def _round(self, fit):
        """One more tree."""
        xp, lists = fit.xp, fit.lists
        _, slopes, bends = list_losses(lists, "lambdarank", 1.0, k=self.k)
        tree = Growth(self, fit, _fixed_point(xp, slopes), _fixed_point(xp, bends)).tree()
        fit.trees.append(tree)
        fit.train.append(_mean_ndcg(fit.as_given(), self.k))
        if fit.held_out is not None:
            x, held_out = fit.held_out
            fit.held_out = (
                x,
                held_out._replace(scores=held_out.scores + sum_of_trees(xp, x, [tree])),
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


class _Fit:
    """What a training run carries from tree to tree."""

    def __init__(self, xp, codes, edges, lists, held_out, dtype):
        self.xp, self.edges, self.held_out, self.dtype = xp, edges, held_out, dtype
        self.given, self.order = lists, row_order(xp, codes, lists)
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


def _checked_rows(name, x):
    xp = namespace_of(x)
    if bool(xp.isinf(x).any()):
        raise ValueError(f"{name} must be finite, or NaN where missing (got inf)")
    return xp.ascontiguousarray(x)


def _rows_and_lists(name, x, relevance, groups):
    """The rows, and the lists with scores of 0 in float64."""
    x, xp = _checked_rows(name, x), namespace_of(x)
    scores = xp.zeros(len(x), x.dtype)
    lists = lists_of(scores, relevance, groups, max_relevance=MAX_RELEVANCE["lambdarank"])
    if not count_relevant(lists):
        raise ValueError("relevance must be above 0 somewhere (got no query with a relevant row)")
    relevance = lists.relevance.astype(np.float64)
    return x, lists._replace(scores=xp.zeros(len(x), np.float64), relevance=relevance)


def _fixed_point(xp, values):
    """Integers whose sums cannot overflow, and the unit that they count."""
    largest = float(abs(values).max())
    power = min(61 - math.frexp(largest)[1] - math.frexp(len(values))[1], 1000)
    return xp.rint(values * 2.0**power).astype(np.int64), 2.0**-power


def _mean_ndcg(lists, k):
    """Over the queries with a relevant row."""
    scored = Scored(lists.scores, None, None, lists.offsets, lists.relevance)
    xp, options = lists.xp, ("exponential", 1, "relevant", "stable")
    ndcg = values_of_scores(scored, [NDCG], [k], *options)[:, 0]
    return float(ndcg[~xp.isnan(ndcg)].mean())
