"""Training and test queries in buckets of similar ones, by k-means: each bucket is left out of
training once.

J. Zhan et al., "Evaluating Interpolation and Extrapolation Performance of Neural Retrieval Models",
CIKM 2022.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ...arguments import (
    RNG,
    Array,
    Float,
    Integer,
    at_least,
    at_most,
    checked,
    finite,
    nonempty,
    nonnegative,
    own_dtype,
)
from ...dispatch import namespace_of, routine
from ...random import generator_from_rng
from .kernels import assign_evenly
from .resampling import check_rows

STALLED = 1e-6  # relative decrease of the distances below which k-means ends


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

    train_bucket: Integer[Array, "n"]
    test_bucket: Integer[Array, "nt"]
    centers: Float[Array, "n_buckets d", own_dtype]

    @checked
    def fold(self, i: Annotated[int, nonnegative]) -> tuple[Array, Array, Array]:
        """Leave bucket i out of training.

        Parameters
        ----------
        i : int >= 0
            Below the number of buckets.

        Returns
        -------
        train, interpolate, extrapolate : arrays of int64
            Indices of the training queries outside of bucket i, of the test queries outside of it,
            and of those in it.
        """
        if i >= len(self.centers):
            raise ValueError(f"i must be < {len(self.centers)}, the number of buckets (got {i})")
        xp, train, test = namespace_of(self.centers), self.train_bucket, self.test_bucket
        indices = (xp.flatnonzero(part) for part in (train != i, test != i, test == i))
        kept, near, far = (part.astype(np.int64) for part in indices)
        return kept, near, far


@routine
def resample_train_test(
    train_queries: Float[Array, "n d", finite, nonempty],
    test_queries: Float[Array, "nt d", finite, nonempty],
    *,
    n_buckets: Annotated[int, at_least(2), at_most("n"), at_most("nt")] = 5,
    balance: bool = True,
    max_iter: Annotated[int, at_least(1)] = 100,
    rng: RNG = None,
) -> BucketSplit:
    """Buckets of similar queries, each of which is left out of training once (ReSTTest): k-means
    over training and test queries.

    Parameters
    ----------
    train_queries : (n, d) array of float32 or float64, finite, without an axis of length zero
    test_queries : (nt, d) array of float32 or float64, finite, without an axis of length zero
        Embeddings.
    n_buckets : int >= 2 and <= n and <= nt, default 5
    balance : bool, default True
        Buckets get equal numbers of training queries and equal numbers of test queries, up to one:
        those that would lose most by another bucket choose first. Else each query goes to the
        nearest center, and a bucket may have no test queries.
    max_iter : int >= 1, default 100
        It ends earlier when no query moves, or when the squared distances decrease by less than a
        millionth.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the first centers (k-means++).

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
    check_rows(train_queries=train_queries, test_queries=test_queries)
    xp, train, test, k = namespace_of(train_queries), train_queries, test_queries, n_buckets
    x = xp.concatenate([train, test])
    with np.errstate(over="ignore", invalid="ignore"):
        middle = x.mean(axis=0)
        x = x - middle  # so that squared distances lose no digits to a common offset
        squares = (x * x).sum(axis=1)
    if not bool(xp.isfinite(squares).all()):
        raise ValueError(
            "train_queries and test_queries must have finite squared lengths (got an overflow)"
        )
    centers, bucket = _first_centers(xp, x, squares, k, generator_from_rng(rng)), None
    last = math.inf
    for _ in range(max_iter):
        # and squares, the same for all centers
        distances = (centers * centers).sum(axis=1) - 2 * (x @ centers.T)
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
    """Each next center is a query drawn with probability proportional to its squared distance to
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
