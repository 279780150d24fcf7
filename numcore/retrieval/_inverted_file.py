"""Approximate search in a large database: its rows are grouped about centroids, and a query looks
into the nearest groups only.

The lists of rows ("inverted file") are found by k-means and lie one after the other in memory, so
that a list is read in one sweep.
"""

import numpy as np

from ..checks import checked_choice, checked_count
from ..dispatch import float_dtype, on_device
from ..kernel import kernel
from ..linalg import CSR, spmv
from ._topk import (
    TopK,
    best_first,
    checked_matrices,
    empty_heaps,
    raise_not_finite,
    replace_worst,
    topk_inner_product,
    unit,
    worse,
)

ITERATIONS = 10  # of k-means
SAMPLES = 256  # rows for each list that k-means sees


class InvertedFileIndex:
    """An index of the rows of a database for approximate search.

    Parameters
    ----------
    n_lists : int, optional
        Groups; by default 4 sqrt(nx), rounded, at most nx.
    metric : {"ip", "cosine", "l2"}
        As for :func:`topk_inner_product`.
    n_probe : int
        Lists that a query looks into, the nearest ones (all, if there are fewer).
    train_size : int, optional
        Rows, chosen at random, from which the centroids are found; by default 256 for each list.
    rng : None, int or numpy.random.Generator
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

    def __init__(self, n_lists=None, *, metric="ip", n_probe=8, train_size=None, rng=None):
        self.n_lists = None if n_lists is None else checked_count("n_lists", n_lists, least=1)
        self.metric = checked_choice("metric", metric, ("ip", "cosine", "l2"))
        self.n_probe = checked_count("n_probe", n_probe, least=1)
        self.train_size = (
            None if train_size is None else checked_count("train_size", train_size, least=1)
        )
        self.rng = np.random.default_rng(rng)

    def fit(self, database):
        """Group the rows of a database.

        Parameters
        ----------
        database : (nx, d) array of float32 or float64
            At least one row.

        Returns
        -------
        InvertedFileIndex
            Itself.
        """
        xp, (database,) = on_device(database=database)
        float_dtype(database=database)
        if database.ndim != 2 or not len(database):
            raise ValueError(
                f"database must have shape (nx, d) with nx >= 1 (got {database.shape})"
            )
        nx = len(database)
        n_lists = (
            min(nx, round(4 * nx**0.5))
            if self.n_lists is None
            else checked_count("n_lists", self.n_lists, least=1, most=nx)
        )
        if not bool(xp.isfinite(database).all()):
            raise ValueError("database must be finite (got nan or inf)")
        rows = unit(xp, database)[0] if self.metric == "cosine" else xp.ascontiguousarray(database)
        size = min(
            nx, max(n_lists, SAMPLES * n_lists if self.train_size is None else self.train_size)
        )
        sample = (
            rows
            if size == nx
            else rows[xp.asarray(np.sort(self.rng.choice(nx, size, replace=False)))]
        )
        centroids = sample[xp.asarray(self.rng.choice(size, n_lists, replace=False))]
        for _ in range(ITERATIONS):
            order, offsets = lists(xp, sample, centroids, self.metric)
            sums = spmv(CSR(offsets, order, xp.ones(size, rows.dtype), (n_lists, size)), sample)
            counts = xp.diff(offsets)[:, None]
            centroids = xp.where(
                counts > 0, sums / xp.maximum(counts, 1).astype(rows.dtype), centroids
            )
            if self.metric == "cosine":
                centroids = unit(xp, centroids)[0]
        self.centroids_ = centroids
        self.ids_, self.offsets_ = lists(xp, rows, centroids, self.metric)
        self._rows = rows[self.ids_]
        return self

    def search(self, queries, k, *, n_probe=None):
        """The k nearest rows of each query among the lists that it looks into.

        Parameters
        ----------
        queries : (nq, d) array of the dtype of the database
        k : int
            Between 1 and nx.
        n_probe : int, optional
            Instead of that of the index.

        Returns
        -------
        TopK
            As from :func:`topk_inner_product`. Where the lists hold fewer than k rows, the last
            indices are -1, and their scores are -inf, or inf with "l2".
        """
        self._require_fit()
        xp, (queries, _) = on_device(queries=queries, database=self._rows)
        float_dtype(queries=queries, database=self._rows)
        checked_matrices(queries, self._rows)
        k = checked_count("k", k, least=1, most=len(self._rows))
        n_probe = min(
            len(self.centroids_),
            self.n_probe if n_probe is None else checked_count("n_probe", n_probe, least=1),
        )
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

    def recall_at(self, queries, k, *, n_probe=None):
        """The part of the k nearest rows that a search finds, on average over queries.

        Parameters
        ----------
        queries, k, n_probe
            As for `search`; at least one query.

        Returns
        -------
        float
            Between 0 and 1. Of rows that are equally near, those of exact search count as right.
        """
        found = self.search(queries, k, n_probe=n_probe).indices
        if not len(found):
            raise ValueError("queries must have at least one row (got 0)")
        xp, _ = on_device(found=found)
        exact = topk_inner_product(queries, self._rows, k, metric=self.metric).indices
        return float(xp.mean((self.ids_[exact][:, :, None] == found[:, None]).any(axis=2)))

    def _require_fit(self):
        if not hasattr(self, "centroids_"):
            raise ValueError("index must be fitted before a search (got none): call fit")


def lists(xp, rows, centroids, metric):
    """Row numbers by list, ascending in each, and where the lists begin. Rows of any length go to
    the nearest centroid."""
    nearest = topk_inner_product(
        rows, centroids, 1, metric="ip" if metric == "cosine" else "l2"
    ).indices[:, 0]
    offsets = xp.zeros(len(centroids) + 1, np.int64)
    offsets[1:] = xp.cumsum(xp.bincount(nearest, minlength=len(centroids)))
    return xp.argsort(nearest, kind="stable").astype(np.int64), offsets


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
    for s in range(8):
        lanes[s] += lanes[s + 8]
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + (
        (lanes[1] + lanes[5]) + (lanes[3] + lanes[7])
    )


@kernel(
    "in T queries[n, d]; in T rows[m, d]; in int64 begins[l]; in int64 ends[l]; in int64 ids[m]; "
    "in int64 probes[n, p]; "
    "inout T best[n, k]; inout int64 at[n, k]; inout uint8 wrong[n]; int64 is_l2; "
    "scratch T lanes[16]",
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
