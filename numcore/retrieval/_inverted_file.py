"""Inverted file index: approximate search in a large database whose rows are grouped around
centroids; a query looks into the nearest groups only.

The lists of rows ("inverted file") are found by k-means and lie one after the other in memory, so
that a list is read in one sweep.
"""

from typing import Annotated, Any

import numpy as np

from ..arguments import RNG, Array, Float, at_least, finite
from ..dispatch import namespace_of
from ..kernel import kernel
from ..model import model
from ..random import generator_from_rng
from ._kmeans import by_label, kmeans
from ._topk import (
    Metric,
    TopK,
    best_first,
    empty_heaps,
    raise_not_finite,
    replace_worst,
    topk_inner_product,
    unit,
    worse,
)

SAMPLES = 256  # rows for each list that k-means sees


@model(fitted="centroids_", features="d")
class InvertedFileIndex:
    """An index of the rows of a database for approximate search.

    Parameters
    ----------
    n_lists : int >= 1, optional
        Groups; by default 4 sqrt(nx), rounded, at most nx.
    metric : {"ip", "cosine", "l2"}, default "ip"
        As for :func:`topk_inner_product`.
    n_probe : int >= 1, default 8
        Lists that a query looks into, the nearest ones (all, if there are fewer).
    train_size : int >= 1, optional
        Rows, chosen at random, from which the centroids are found; by default 256 for each list.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For this choice and the first centroids.

    Attributes
    ----------
    centroids_ : (n_lists, d) array
    offsets_ : (n_lists + 1,) array of int64
        List l holds the places offsets_[l] to offsets_[l + 1] of `ids_`.
    ids_ : (nx,) array of int64
        Row numbers of the database, ascending in each list.

    Raises
    ------
    ValueError
        A number is outside of its range, or the metric is unknown.
    TypeError
        Options of other types.

    Notes
    -----
    k-means takes 10 sweeps of 2 n_lists d train_size operations each; a search about 2 d (n_lists +
    nx n_probe / n_lists) for each query. A copy of the database is kept. It pays from some 10⁵ rows
    on; below, or for a few queries, :func:`topk_inner_product` is as quick, and exact.

    References
    ----------
    H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI,
    2011.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.retrieval import InvertedFileIndex
    >>> points = np.random.default_rng(0).standard_normal((1000, 8))
    >>> index = InvertedFileIndex(metric="l2", n_probe=5, rng=0).fit(points)
    >>> index.search(points[:3], 1).indices.ravel()
    array([0, 1, 2])
    """

    def __init__(
        self,
        n_lists: Annotated[int, at_least(1)] | None = None,
        *,
        metric: Metric = "ip",
        n_probe: Annotated[int, at_least(1)] = 8,
        train_size: Annotated[int, at_least(1)] | None = None,
        rng: RNG = None,
    ) -> None:
        self.n_lists, self.metric, self.n_probe = n_lists, metric, n_probe
        self.train_size, self.rng = train_size, rng

    def fit(self, X: Float[Array, "nx d", finite], y: Any = None) -> "InvertedFileIndex":
        """Group the rows of a database.

        Parameters
        ----------
        X : (nx, d) array of float32 or float64, finite
            The database, at least one row.
        y : anything, optional
            Is not used: the argument is scikit-learn's protocol.

        Returns
        -------
        InvertedFileIndex
            Itself.
        """
        xp, (nx, d) = namespace_of(X), X.shape
        if not nx:
            raise ValueError("X must have at least one row (got 0)")
        n_lists = min(nx, round(4 * nx**0.5)) if self.n_lists is None else self.n_lists
        if n_lists > nx:
            raise ValueError(f"n_lists must be <= nx with nx = {nx} (got {n_lists})")
        rng, spherical = generator_from_rng(self.rng), self.metric == "cosine"
        rows = unit(xp, X)[0] if spherical else xp.ascontiguousarray(X)
        size = SAMPLES * n_lists if self.train_size is None else self.train_size
        size = min(nx, max(n_lists, size))
        sample = (
            rows if size == nx else rows[xp.asarray(np.sort(rng.choice(nx, size, replace=False)))]
        )
        # near the mean little cancels in squared distances
        center = 0 if spherical else sample.mean(axis=0, dtype=np.float64).astype(rows.dtype)
        found = kmeans(xp, sample - center, n_lists, rng, spherical=spherical)
        self.centroids_ = found + center
        self.ids_, self.offsets_ = lists(xp, rows, self.centroids_, self.metric)
        self._rows = rows[self.ids_]
        self.n_features_in_ = d
        return self

    def search(
        self,
        queries: Float[Array, "nq d"],
        k: Annotated[int, at_least(1)],
        *,
        n_probe: Annotated[int, at_least(1)] | None = None,
    ) -> TopK:
        """The k nearest rows of each query among the lists that it looks into.

        Parameters
        ----------
        queries : (nq, d) array of float32 or float64
        k : int >= 1
            At most nx.
        n_probe : int >= 1, optional
            Instead of that of the index.

        Returns
        -------
        TopK
            As from :func:`topk_inner_product`. Where the lists hold fewer than k rows, the last
            indices are -1, and their scores are -inf, or inf with "l2".
        """
        xp, nx = namespace_of(queries), len(self._rows)
        if k > nx:
            raise ValueError(f"k must be <= nx with nx = {nx} (got {k})")
        n_probe = min(len(self.centroids_), n_probe or self.n_probe)
        probes = topk_inner_product(queries, self.centroids_, n_probe, metric=self.metric).indices
        nearest, at, wrong = empty_heaps(xp, len(queries), k, queries.dtype)
        left = unit(xp, queries)[0] if self.metric == "cosine" else xp.ascontiguousarray(queries)
        begins, ends = self.offsets_[:-1].copy(), self.offsets_[1:].copy()
        scan_lists(
            left,
            self._rows,
            begins,
            ends,
            self.ids_,
            probes,
            nearest,
            at,
            wrong,
            int(self.metric == "l2"),
        )
        if bool(wrong.any()):
            raise_not_finite(xp, queries, self._rows)
        scores, indices = best_first(xp, nearest, at)
        return TopK(-scores if self.metric == "l2" else scores, indices)

    def recall_at(
        self,
        queries: Float[Array, "nq d"],
        k: Annotated[int, at_least(1)],
        *,
        n_probe: Annotated[int, at_least(1)] | None = None,
    ) -> float:
        """The part of the k nearest rows that a search finds, on average over queries.

        Parameters
        ----------
        queries : (nq, d) array of float32 or float64
            At least one row.
        k : int >= 1
        n_probe : int >= 1, optional
            As for `search`.

        Returns
        -------
        float
            Between 0 and 1. Of rows that are equally near, those of exact search count as right.
        """
        found = self.search(queries, k, n_probe=n_probe).indices
        if not len(found):
            raise ValueError("queries must have at least one row (got 0)")
        xp = namespace_of(found)
        exact = topk_inner_product(queries, self._rows, k, metric=self.metric).indices
        return float(xp.mean((self.ids_[exact][:, :, None] == found[:, None]).any(axis=2)))


def lists(xp, rows, centroids, metric):
    """Row numbers by list, ascending in each, and where the lists begin. Rows of any length go to
    the nearest centroid."""
    nearest = topk_inner_product(
        rows, centroids, 1, metric="ip" if metric == "cosine" else "l2"
    ).indices[:, 0]
    return by_label(xp, nearest, len(centroids))


LANES = 16  # sums side by side


def closeness(query, row, lanes, is_l2):
    """q · x, or -|q - x|², in LANES sums so that they take vectors."""
    d = np.uintp(query.size)
    whole = d // np.uintp(LANES)
    for s in range(LANES):
        lanes[s] = 0
    if is_l2:
        for g in range(whole):
            for s in range(np.uintp(LANES)):
                difference = query[g * np.uintp(LANES) + s] - row[g * np.uintp(LANES) + s]
                lanes[s] -= difference * difference
        for j in range(whole * np.uintp(LANES), d):
            difference = query[j] - row[j]
            lanes[0] -= difference * difference
    else:
        for g in range(whole):
            for s in range(np.uintp(LANES)):
                lanes[s] += query[g * np.uintp(LANES) + s] * row[g * np.uintp(LANES) + s]
        for j in range(whole * np.uintp(LANES), d):
            lanes[0] += query[j] * row[j]
    for s in range(LANES // 2):
        lanes[s] += lanes[s + LANES // 2]
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + (
        (lanes[1] + lanes[5]) + (lanes[3] + lanes[7])
    )


@kernel(
    "in T queries[n, d]; in T rows[m, d]; in int64 begins[l]; in int64 ends[l]; in int64 ids[m]; "
    "in int64 probes[n, p]; "
    "inout T best[n, k]; inout int64 at[n, k]; inout uint8 wrong[n]; int64 is_l2; "
    "scratch T lanes[LANES]",
    constants=("LANES",),
    split="n",
    gpu="block",
    threads=128,
)
def scan_lists(
    queries, rows, begins, ends, ids, probes, best, at, wrong, is_l2, lanes, start, stop
):
    for i in range(start, stop):
        query, mine, mine_at = queries[i], best[i], at[i]
        for c in range(probes.shape[1]):
            chosen = np.uintp(probes[i, c])
            for r in range(np.uintp(begins[chosen]), np.uintp(ends[chosen])):
                score = closeness(query, rows[r], lanes, is_l2)
                if score >= mine[0]:
                    if worse(mine[0], mine_at[0], score, ids[r]):
                        replace_worst(mine, mine_at, score, ids[r])
                if not score - score == 0:
                    wrong[i] = 1
