"""Test queries whose labels are known from training, and a metric on both kinds of test queries.

J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval Models",
CIKM 2022.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Bool, Float, Integer, at_least, positive
from ...dispatch import namespace_of, routine
from ...linalg import CSRLike, Sparse
from .._metrics.judgments import sorted_judgments
from .buckets import BucketSplit


class LabelOverlap(NamedTuple):
    """Test queries whose relevant documents are known from training.

    Attributes
    ----------
    fraction : float
        Of the test queries; nan if there are none.
    overlapped : (nt,) array of bool
        By ascending number of the query.
    """

    fraction: float
    overlapped: Array


@routine
def label_overlap(
    train_qrels: Sparse[CSRLike, "_ _"] | Integer[Array, "n_train 3"],
    test_qrels: Sparse[CSRLike, "_ _"] | Integer[Array, "n_test 3"],
    *,
    min_relevance: Annotated[float, positive] = 1.0,
    min_shared: Annotated[int, at_least(1)] = 1,
) -> LabelOverlap:
    """Which test queries share relevant documents with training queries.

    Parameters
    ----------
    train_qrels : (_, _) CSR or sparse array or (n_train, 3) array of integers
    test_qrels : (_, _) CSR or sparse array or (n_test, 3) array of integers
        Judgments (query, document, relevance), or a matrix of relevance with queries as rows and
        documents as columns.
    min_relevance : float > 0, default 1.0
        From where a document is relevant.
    min_shared : int >= 1, default 1
        How many of a test query's relevant documents must be relevant for some training query. The
        published script of the authors counts a query from 2 on.

    Returns
    -------
    LabelOverlap
        ``fraction`` and ``overlapped``, for all queries of an array of judgments, those without
        relevant documents among them, or for all rows of a matrix.

    Raises
    ------
    ValueError
        Other shapes, a (query, document) that is judged twice, an option out of range.
    TypeError
        Other dtypes, mixed devices.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> label_overlap([[0, 7, 1]], [[0, 7, 1], [0, 8, 1], [1, 9, 1]])
    LabelOverlap(fraction=0.5, overlapped=array([ True, False]))
    """
    train = sorted_judgments("train_qrels", train_qrels)
    test = sorted_judgments("test_qrels", test_qrels)
    xp = namespace_of(train.queries)
    known = xp.unique(train.documents[train.relevance >= min_relevance])
    if test.n_queries is None:
        queries, row = xp.unique(test.queries, return_inverse=True)
        count = len(queries)
    else:
        row, count = test.queries, test.n_queries
    relevant = test.relevance >= min_relevance
    at = xp.minimum(xp.searchsorted(known, test.documents), max(len(known) - 1, 0))
    shared = (
        relevant & (known[at] == test.documents) if len(known) else xp.zeros(relevant.shape, bool)
    )
    rows = row.reshape(-1)[shared]
    overlapped = (
        xp.bincount(rows, minlength=count)[:count] if len(rows) else xp.zeros(count, np.int64)
    ) >= min_shared
    return LabelOverlap(float(overlapped.mean()) if count else math.nan, overlapped)


class SplitReport(NamedTuple):
    """A metric on both kinds of test queries.

    Attributes
    ----------
    interpolation, extrapolation : float
        Means; nan where there are no values.
    ratio : float
        extrapolation / interpolation.
    standard_error : (float, float)
        Of the two means.
    n_skipped : int
        Values that are nan.
    """

    interpolation: float
    extrapolation: float
    ratio: float
    standard_error: tuple[float, float]
    n_skipped: int


@routine
def split_report(
    metric_values: Float[Array, "*folds nt"], split: Bool[Array, "nt"] | BucketSplit
) -> SplitReport:
    """Means of a metric over the test queries of both kinds, their ratio, and how sure the means
    are.

    Parameters
    ----------
    metric_values : (..., nt) array of float32 or float64
        NaN is skipped, as for queries without relevant documents. (nt,); or (n_buckets, nt), row i
        being the metric of the model that was trained in fold i.
    split : (nt,) array of bool or BucketSplit
        True for interpolation; or the buckets, for a matrix.

    Returns
    -------
    SplitReport
        For buckets the means over the folds of the means over a fold's queries.

    Raises
    ------
    ValueError
        Shapes that do not fit, infinite values.
    TypeError
        Other dtypes or devices.

    Notes
    -----
    The standard error of a mean is s / sqrt(n), s being the standard deviation of n queries. With
    buckets a query's values of several folds are averaged first, as they depend on each other.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> report = split_report(np.array([1.0, 0.8, 0.5, 0.4]), np.array([True, True, False, False]))
    >>> round(report.interpolation, 6), round(report.extrapolation, 6), round(report.ratio, 6)
    (0.9, 0.45, 0.5)
    """
    buckets, values, xp = isinstance(split, BucketSplit), metric_values, namespace_of(metric_values)
    split = split.test_bucket if isinstance(split, BucketSplit) else split
    if values.ndim != 1 + buckets:
        raise ValueError(
            f"metric_values must have shape ({'n_buckets, ' if buckets else ''}nt) like split (got "
            f"{values.shape})"
        )
    if buckets and len(split) and int(split.max()) >= len(values):
        raise ValueError(f"metric_values must have a row for each bucket (got {len(values)})")
    if bool(xp.isinf(values).any()):
        raise ValueError("metric_values must be finite or nan (got inf)")
    inside = (split != xp.arange(len(values))[:, None]) if buckets else split[None]
    values = values.reshape(inside.shape).astype(np.float64)
    valid = ~xp.isnan(values)
    values = xp.where(valid, values, 0)
    near, near_error = _mean_of_folds(xp, values, valid & inside)
    far, far_error = _mean_of_folds(xp, values, valid & ~inside)
    return SplitReport(
        near, far, far / near if near else math.nan, (near_error, far_error), int((~valid).sum())
    )


def _mean_of_folds(xp, values, counted):
    """The mean over folds (rows) of means over queries, and its standard error."""
    sizes = counted.sum(axis=1)
    if not bool((sizes > 0).any()):
        return math.nan, math.nan
    means = ((values * counted).sum(axis=1))[sizes > 0] / sizes[sizes > 0]
    folds = counted.sum(axis=0)
    of_query = (values * counted).sum(axis=0)[folds > 0] / folds[folds > 0]
    n = len(of_query)
    return float(means.mean()), float(of_query.std()) / math.sqrt(n - 1) if n > 1 else math.nan
