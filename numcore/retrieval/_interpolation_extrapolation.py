"""Test queries that resemble the training queries, and those that do not: splits of both kinds,
overlap of labels, metrics and reports.

A retrieval model is trained on queries and tested on others. Test queries close to a training query
ask for interpolation, distant ones for extrapolation, and a benchmark that mixes them says little
about either. Training sets are resampled by the similarity of the embeddings of queries, or both
sets are cut into buckets by k-means, of which each is left out of training once. J. Zhan, X. Xie,
J. Mao, Y. Liu, J. Guo, M. Zhang, S. Ma, "Evaluating Interpolation and Extrapolation Performance of
Neural Retrieval Models", CIKM 2022.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ._metrics import judgements
from ._topk import topk_inner_product

STALLED = 1e-6  # relative decrease of the distances below which k-means ends


# --- resampled sets -------------------------------------------------------------------------------


@routine
def resample_training(
    train_queries, test_queries, *, n_per_query, mode, metric="cosine", search=None, rng=None
):
    """Training queries near to the test queries, or as many that are far from them (ReSTrain).

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64
        Embeddings.
    test_queries : (nt, d) array
        Of the same dtype.
    n_per_query : int
        How many of the nearest training queries each test query has, between 1 and n.
    mode : {"interpolate", "extrapolate"}
        The union of the nearest ones, or as many others.
    metric : {"cosine", "ip", "l2"}
        Cosine, inner product, or Euclidean distance.
    search : callable, optional
        ``search(train_queries, test_queries, n_per_query)`` → (nt, n_per_query) int array of
        training indices, in place of the exact search.
    rng : None, int or numpy.random.Generator, optional
        Extrapolation takes the training queries whose nearest test query is farthest (ties by the
        smaller index), or, with `rng`, a uniform sample of those outside of the union.

    Returns
    -------
    (m,) array of int64
        Ascending training indices. m is the same for both modes, and the two sets share none, so
        that size is no cause of a difference.

    Raises
    ------
    ValueError
        `n_per_query` exceeds n, fewer training queries are outside of the union than in it, no test
        queries, shapes that do not fit, embeddings that are not finite or of length 0, or indices
        of `search` out of range.
    TypeError
        Other or mixed dtypes or devices, `search` not callable.

    Notes
    -----
    One exact search of cost nt n d, for extrapolation without `rng` a second one.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> train = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> test = np.array([[1.0, 0.05]])
    >>> (
    ...     resample_training(train, test, n_per_query=1, mode="interpolate"),
    ...     resample_training(train, test, n_per_query=1, mode="extrapolate"),
    ... )
    (array([0]), array([3]))
    """
    xp, train, test = _checked_queries(train_queries, test_queries)
    checked_choice("mode", mode, ("interpolate", "extrapolate"))
    checked_choice("metric", metric, ("cosine", "ip", "l2"))
    n = len(train)
    k = checked_count("n_per_query", n_per_query, least=1, most=n)
    if search is not None and not callable(search):
        raise TypeError(f"search must be callable (got {type(search).__name__})")
    near = xp.zeros(n, bool)
    if search:
        near[_checked_indices(xp, search(train, test, k), (len(test), k), n)] = True
    else:
        near[topk_inner_product(test, train, k, metric=metric).indices] = True
    m = int(near.sum())
    if 2 * m > n:
        raise ValueError(
            f"n_per_query must leave as many training queries outside of the union as in it (got "
            f"{m} of {n} in it)"
        )
    if mode == "interpolate":
        return xp.flatnonzero(near).astype(np.int64)
    if rng is not None:
        others = xp.flatnonzero(~near)
        return xp.sort(
            others[xp.asarray(np.random.default_rng(rng).choice(n - m, m, replace=False))]
        ).astype(np.int64)
    closest = topk_inner_product(train, test, 1, metric=metric).scores[:, 0]
    order = xp.argsort(-closest if metric == "l2" else closest, kind="stable")
    return xp.sort(order[~near[order]][:m]).astype(np.int64)


@routine
def nearest_training_similarity(train_queries, test_queries, *, k=1):
    """How similar each test query is to the training queries: the mean cosine of the k nearest.

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64
    test_queries : (nt, d) array
        Of the same dtype.
    k : int
        Between 1 and n.

    Returns
    -------
    (nt,) array of the same dtype

    Raises
    ------
    ValueError
        `k` is outside of its range, shapes do not fit, embeddings are not finite or of length 0.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    An exact search of cost nt n d.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> nearest_training_similarity(np.eye(2), np.array([[3.0, 4.0]]), k=2)
    array([0.7])
    """
    _, train, test = _checked_queries(train_queries, test_queries, least_test=0)
    k = checked_count("k", k, least=1, most=len(train))
    return topk_inner_product(test, train, k, metric="cosine").scores.mean(axis=1)


def _checked_queries(train, test, least_test=1):
    xp, (train, test) = on_device(train_queries=train, test_queries=test)
    for name, array in (("train_queries", train), ("test_queries", test)):
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    float_dtype(train_queries=train, test_queries=test)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(
            f"train_queries (n, d) and test_queries (nt, d) must have the same d (got shapes "
            f"{train.shape}, {test.shape})"
        )
    for name, array, least in (("train_queries", train, 1), ("test_queries", test, least_test)):
        if len(array) < least:
            raise ValueError(f"{name} must hold at least one query (got shape {array.shape})")
        if not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
        zero = ~(array != 0).any(axis=1)
        if bool(zero.any()):
            raise ValueError(
                f"{name} must have no row of zeros (got one in row {int(zero.argmax())})"
            )
    return xp, train, test


def _checked_indices(xp, indices, shape, n):
    indices = xp.asarray(indices)
    whole = indices.shape == shape and indices.dtype.kind in "iu"
    if not whole or indices.size and not (0 <= int(indices.min()) and int(indices.max()) < n):
        raise ValueError(
            f"search must return integers of shape {shape} in [0, {n}) (got shape {indices.shape}, "
            f"dtype {indices.dtype})"
        )
    return indices


# --- buckets --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BucketSplit:
    """Training and test queries in buckets of similar ones.

    Attributes
    ----------
    train_bucket : (n,) array of int64
    test_bucket : (nt,) array of int64
    centers : (n_buckets, d) array
        The means of the buckets' queries.
    """

    train_bucket: Any
    test_bucket: Any
    centers: Any

    def fold(self, i):
        """Leave bucket i out of training.

        Parameters
        ----------
        i : int
            0 <= i < n_buckets.

        Returns
        -------
        train, interpolate, extrapolate : arrays of int64
            Indices of the training queries outside of bucket i, of the test queries outside of it,
            and of those in it.
        """
        i = checked_count("i", i, most=len(self.centers) - 1)
        xp, (train, test) = on_device(train_bucket=self.train_bucket, test_bucket=self.test_bucket)
        return tuple(
            xp.flatnonzero(part).astype(np.int64) for part in (train != i, test != i, test == i)
        )


@routine
def resample_train_test(
    train_queries, test_queries, *, n_buckets=5, balance=True, max_iter=100, rng=None
):
    """Buckets of similar queries, each of which is left out of training once (ReSTTest): k-means
    over training and test queries.

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64
        Embeddings.
    test_queries : (nt, d) array
        Of the same dtype.
    n_buckets : int
        At least 2, at most n and at most nt.
    balance : bool
        Buckets get equal numbers of training queries and equal numbers of test queries, up to one:
        those that would lose most by another bucket choose first. Else each query goes to the
        nearest centre, and a bucket may have no test queries.
    max_iter : int
        It ends earlier when no query moves, or when the squared distances decrease by less than a
        millionth.
    rng : None, int or numpy.random.Generator, optional
        For the first centres (k-means++).

    Returns
    -------
    BucketSplit
        ``train_bucket``, ``test_bucket``, ``centers``, and ``fold(i)``. Each test query asks for
        extrapolation in exactly one fold.

    Raises
    ------
    ValueError
        `n_buckets` is outside of its range, shapes do not fit, embeddings are not finite or of
        length 0.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    (n + nt) n_buckets d operations in every iteration, as a matrix product.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022; D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding",
    SODA 2007.

    Examples
    --------
    >>> train, test = np.array([[1.0], [1.1], [5.0], [5.1]]), np.array([[5.2], [1.2]])
    >>> split = resample_train_test(train, test, n_buckets=2, rng=0)
    >>> [part.tolist() for part in split.fold(int(split.test_bucket[0]))]
    [[0, 1], [1], [0]]
    """
    xp, train, test = _checked_queries(train_queries, test_queries)
    k = checked_count("n_buckets", n_buckets, least=2, most=min(len(train), len(test)))
    balance, max_iter = (
        checked_bool("balance", balance),
        checked_count("max_iter", max_iter, least=1),
    )
    x = xp.concatenate([train, test])
    with np.errstate(over="ignore", invalid="ignore"):
        middle = x.mean(axis=0)
        x = x - middle  # so that squared distances lose no digits to a common offset
        squares = (x * x).sum(axis=1)
    if not bool(xp.isfinite(squares).all()):
        raise ValueError(
            "train_queries and test_queries must have finite squared lengths (got an overflow)"
        )
    centers, bucket, last = (
        _first_centers(xp, x, squares, k, np.random.default_rng(rng)),
        None,
        math.inf,
    )
    for _ in range(max_iter):
        distances = (centers * centers).sum(axis=1) - 2 * (
            x @ centers.T
        )  # and squares, the same for all centres
        if balance:
            moved = xp.concatenate(
                [_balanced(xp, distances[: len(train)]), _balanced(xp, distances[len(train) :])]
            )
        else:
            moved = distances.argmin(axis=1)
        cost = float(
            (xp.take_along_axis(distances, moved[:, None], 1)[:, 0] + squares)
            .astype(np.float64)
            .sum()
        )
        if bucket is not None and (cost >= last * (1 - STALLED) or bool((moved == bucket).all())):
            break
        bucket, last = moved, cost
        member = (bucket == xp.arange(k)[:, None]).astype(x.dtype)
        counts = member.sum(axis=1)[:, None]
        centers = xp.where(counts > 0, (member @ x) / xp.maximum(counts, 1), centers)
    bucket = bucket.astype(np.int64)
    return BucketSplit(bucket[: len(train)], bucket[len(train) :], centers + middle)


def _first_centers(xp, x, squares, k, rng):
    """Each next centre is a query drawn with probability proportional to its squared distance to
    the nearest one so far."""
    chosen = [int(rng.integers(len(x)))]
    nearest = xp.full(len(x), np.inf)
    for _ in range(1, k):
        c = x[chosen[-1]]
        nearest = xp.minimum(
            nearest, xp.maximum((squares - 2 * (x @ c) + c @ c).astype(np.float64), 0)
        )
        nearest[chosen[-1]] = 0
        total = xp.cumsum(nearest)
        at = float(total[-1]) * rng.random()
        chosen.append(min(int((total <= at).sum()), len(x) - 1))
    return x[xp.asarray(chosen)]


def _balanced(xp, distances):
    nearest_two = xp.sort(distances, axis=1)[:, :2]
    order = xp.argsort(nearest_two[:, 0] - nearest_two[:, 1], kind="stable")
    bucket = xp.empty((1, len(distances)), np.int64)
    counts = xp.zeros((1, distances.shape[1]), np.int64)
    assign_evenly(
        xp.ascontiguousarray(distances)[None], order.astype(np.int64)[None], bucket, counts
    )
    return bucket[0]


@kernel(
    "in T distances[g, n, b]; in int64 order[g, n]; out int64 bucket[g, n]; "
    "inout int64 counts[g, b]",
    split="g",
    gpu="warp",
    threads=32,
    grain="1",
)
def assign_evenly(distances, order, bucket, counts, start, stop):
    """In the given order each item takes the nearest bucket that is not full; n % b buckets get one
    item more than the others."""
    n, b = distances.shape[1], distances.shape[2]
    for g in range(start, stop):
        larger = n % b
        for step in range(n):
            i, best = np.uintp(order[g, step]), np.uintp(b)
            for c in range(np.uintp(b)):
                full = counts[g, c] > n // b or (counts[g, c] == n // b and larger == 0)
                if not full and (best == b or distances[g, i, c] < distances[g, i, best]):
                    best = c
            if counts[g, best] == n // b:
                larger -= 1
            counts[g, best] += 1
            bucket[g, i] = best


# --- judgements -----------------------------------------------------------------------------------


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
    overlapped: Any


@routine
def label_overlap(train_qrels, test_qrels, *, min_relevance=1, min_shared=1):
    """Which test queries share relevant documents with training queries.

    Parameters
    ----------
    train_qrels, test_qrels : (r, 3) array of int, CSR, or sparse matrix of SciPy or CuPy
        Judgements (query, document, relevance), or a matrix of relevance with queries as rows and
        documents as columns.
    min_relevance : float
        From where a document is relevant, above 0.
    min_shared : int
        How many of a test query's relevant documents must be relevant for some training query, at
        least 1. The published script of the authors counts a query from 2 on.

    Returns
    -------
    LabelOverlap
        ``fraction`` and ``overlapped``, for all queries of an array of judgements, those without
        relevant documents among them, or for all rows of a matrix.

    Raises
    ------
    ValueError
        Other shapes, a (query, document) that is judged twice, an option out of range.
    TypeError
        No integers, no sparse matrix, mixed devices.

    References
    ----------
    J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval
    Models", CIKM 2022.

    Examples
    --------
    >>> label_overlap([[0, 7, 1]], [[0, 7, 1], [0, 8, 1], [1, 9, 1]])
    LabelOverlap(fraction=0.5, overlapped=array([ True, False]))
    """
    min_relevance = checked_number("min_relevance", min_relevance, above=0)
    min_shared = checked_count("min_shared", min_shared, least=1)
    xp, train = judgements("train_qrels", train_qrels)
    xp_test, test = judgements("test_qrels", test_qrels)
    if xp is not xp_test:
        raise TypeError(
            "arguments must live on one device (got train_qrels and test_qrels on different ones)"
        )
    known = xp.unique(train.documents[train.relevance >= min_relevance])
    if test.count is None:
        queries, row = xp.unique(test.queries, return_inverse=True)
        count = len(queries)
    else:
        row, count = test.queries, test.count
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


# --- reports --------------------------------------------------------------------------------------


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
    num_skipped : int
        Values that are nan.
    """

    interpolation: float
    extrapolation: float
    ratio: float
    standard_error: tuple
    num_skipped: int


@routine
def split_report(metric_values, split):
    """Means of a metric over the test queries of both kinds, their ratio, and how sure the means
    are.

    Parameters
    ----------
    metric_values : (nt,) or (n_buckets, nt) array of float32 or float64
        NaN is skipped, as for queries without relevant documents. Row i of a matrix is the metric
        of the model that was trained in fold i.
    split : (nt,) array of bool, or BucketSplit
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
    buckets = isinstance(split, BucketSplit)
    xp, (values, split) = on_device(
        metric_values=metric_values, split=split.test_bucket if buckets else split
    )
    if values is None or split is None:
        raise TypeError("metric_values and split must be arrays (got None)")
    float_dtype(metric_values=values)
    if not buckets and split.dtype != bool:
        raise TypeError(f"split must be a BucketSplit or hold bool (got dtype {split.dtype})")
    if split.ndim != 1 or values.ndim != 1 + buckets or values.shape[-1] != len(split):
        raise ValueError(
            f"metric_values must have shape ({'n_buckets, ' if buckets else ''}nt), split being "
            f"{split.shape} "
            f"(got {values.shape})"
        )
    if bool(xp.isinf(values).any()):
        raise ValueError("metric_values must be finite or nan (got inf)")
    if buckets and len(split) and int(split.max()) >= len(values):
        raise ValueError(f"metric_values must have a row for each bucket (got {len(values)})")
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
