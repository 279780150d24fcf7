"""Networks of names that profiles use, and which of their names belong together."""

import heapq
from typing import Annotated, Literal, TypeAlias

import numpy as np

from ...arguments import Array, Integer, Real, at_least, finite, interval, nonnegative, positive
from ...dispatch import routine
from ...linalg import CSR, CSRLike, Sparse
from .kernels import stochastic_product
from .pairs import places

WORKSPACE = 1 << 24  # bytes for the rows of a batch

Ids: TypeAlias = Integer[Array, "m", interval("[0, 2147483647)")]


@routine(host_only="a network is made on the host")
def name_network(
    alias_ids: Ids, profile_ids: Ids, counts: Real[Array, "m", finite, nonnegative] | None = None
) -> CSR:
    """How often a walk from a name through a profile that uses it ends at each name.

    ``T[i, j] = sum over profiles u of P(u | i) P(j | u)``, with P(u | i) the share of u among the
    uses of i, P(j | u) that of j among the names of u.

    Parameters
    ----------
    alias_ids, profile_ids : (m,) array of integers, in [0, 2147483647)
        Uses of a name by a profile, both numbered from 0.
    counts : (m,) array of float32, float64 or integers, >= 0, finite, optional
        How often, by default 1. Repeated uses are summed.

    Returns
    -------
    CSR
        (aliases, aliases), float64 in NumPy arrays; rows sum to 1, those of names that are never
        used to 0.

    Raises
    ------
    ValueError
        Lengths differ, an id is negative or too large, or a count negative or not finite.
    TypeError
        Ids are no integers, or counts no numbers.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> name_network([0, 1, 1, 2], [0, 0, 1, 1], [2, 2, 2, 4]).toarray().round(3)
    array([[0.5  , 0.5  , 0.   ],
           [0.25 , 0.417, 0.333],
           [0.   , 0.333, 0.667]])
    """
    names, profiles = alias_ids.astype(np.int64), np.unique(profile_ids, return_inverse=True)
    weights = np.ones(len(names)) if counts is None else counts.astype(np.float64)
    used = weights > 0
    shape = int(names.max(initial=-1)) + 1, len(profiles[0])
    weights = weights[used] / weights.max(initial=1)  # so that no sum overflows
    uses = CSR.from_coo(names[used], profiles[1][used], weights, shape)
    return CSR(
        *_product(_row_stochastic(uses), _row_stochastic(uses.T), 1.0, 0.0)[0], (shape[0], shape[0])
    )


def _row_stochastic(a):
    """indptr, indices and data of a matrix whose rows are divided by their sums."""
    sums = (
        np.bincount(a.rows, weights=a.data, minlength=a.shape[0]) if a.nnz else np.ones(a.shape[0])
    )
    return a.indptr.astype(np.int64), a.indices.astype(np.int64), a.data / sums[a.rows]


def _product(outer, inner, inflation, prune):
    """Rows of outer · inner, to a power, pruned, divided by their sums; and the largest max - sum
    of squares of a row. Matrices are indptr, indices, not in order within a row, and data; the
    product is square."""
    n, chaos, parts = len(outer[0]) - 1, 0.0, []
    sizes, rows = np.zeros(n + 1, np.int64), np.arange(n)
    room = 16 + 12 * len(outer[2]) // max(n, 1)
    while len(rows):
        # crowded are rows with more entries than there is room for
        crowded, batch = [rows[:0]], max(1, WORKSPACE // (16 * room))
        indices, data = (
            np.empty((min(batch, len(rows)), room), dtype) for dtype in (np.int64, np.float64)
        )
        for first in range(0, len(rows), batch):
            these = rows[first : first + batch]
            counts, spread = np.empty(len(these), np.int64), np.empty(len(these))
            stochastic_product(
                these,
                *outer,
                *inner,
                indices[: len(these)],
                data[: len(these)],
                counts,
                spread,
                inflation,
                prune,
            )
            complete = counts <= room
            crowded.append(these[~complete])
            sizes[these[complete] + 1] = counts[complete]
            at = places(room * np.flatnonzero(complete), counts[complete])
            parts.append((these[complete], indices.ravel()[at], data.ravel()[at]))
            chaos = max(chaos, float(spread.max()))
        rows, room = np.concatenate(crowded), 4 * room
    indptr = np.cumsum(sizes)
    cols, values = np.empty(indptr[-1], np.int64), np.empty(indptr[-1])
    for these, indices, data in parts:
        at = places(indptr[these], sizes[these + 1])
        cols[at], values[at] = indices, data
    return (indptr, cols, values), chaos


@routine(host_only="clusters are found on the host")
def network_clusters(
    network: Sparse[CSRLike, "n n"],
    *,
    method: Literal["markov", "modularity"] = "markov",
    inflation: Annotated[float, interval("(1, inf)")] = 2.0,
    expansion: Annotated[int, at_least(2)] = 2,
    prune: Annotated[float, interval("[0, 1)")] = 1e-4,
    max_iter: Annotated[int, at_least(1)] = 100,
    tol: Annotated[float, positive] = 1e-6,
) -> Array:
    """Which nodes of a network belong together.

    Parameters
    ----------
    network : (n, n) CSR or sparse array
        Weights >= 0. Both directions of an edge are averaged.
    method : {"markov", "modularity"}, default "markov"
        Markov clustering lets walks spread (the matrix to the power `expansion`) and favors what
        is likely (entries to the power `inflation`) until nothing changes. Greedy modularity joins,
        again and again, the two clusters that add most to it.
    inflation : float > 1, default 2.0
        Larger values give more, smaller clusters.
    expansion : int >= 2, default 2
        The power of the matrix.
    prune : float in [0, 1), default 0.0001
        Probabilities below it are dropped, except the largest of a column.
    max_iter : int >= 1, default 100
        Rounds of Markov clustering at most.
    tol : float > 0, default 1e-06
        A matrix has settled if max - sum of squares of every column is below it.

    Returns
    -------
    (n,) array of int64
        Labels from 0, in the order in which clusters first appear. A node without edges is a
        cluster.

    Raises
    ------
    ValueError
        A weight is negative or not finite, the matrix is not square, or an option is outside of its
        range.
    TypeError
        Arrays of other dtypes or on a GPU.

    Notes
    -----
    A round of Markov clustering costs the number of products of entries. Greedy modularity runs in
    plain Python, in O(nnz log n) for each level of merging.

    References
    ----------
    S. van Dongen, "Graph clustering by flow simulation", University of Utrecht, 2000. A. Clauset,
    M. E. J. Newman, C. Moore, "Finding community structure in very large networks", Physical Review
    E, 2004.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> two_pairs = CSR.from_dense(np.kron(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])))
    >>> network_clusters(two_pairs)
    array([0, 0, 1, 1])
    """
    weights = network.data
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"network must be finite and >= 0 (got {weights.min()} … {weights.max()})")
    n, a = network.shape[0], network.with_data(weights.astype(np.float64))
    used = a.data > 0
    rows, cols = a.rows[used], a.indices[used]
    weights = a.data[used] / a.data.max(initial=1e-300) / 2
    a = CSR.from_coo(
        np.concatenate([rows, cols]),
        np.concatenate([cols, rows]),
        np.concatenate([weights, weights]),
        (n, n),
    )
    return (
        _modularity(a)
        if method == "modularity"
        else _markov(a, inflation, expansion, prune, max_iter, tol)
    )


def _markov(a, inflation, expansion, prune, max_iter, tol):
    """Columns of the stochastic matrix are rows here, since the start is symmetric but for the
    scale of each."""
    n = a.shape[0]
    loops = np.zeros(n)  # as heavy as the heaviest edge of the node, so that walks can stay
    np.maximum.at(loops, a.rows, a.data)
    loops[loops == 0] = 1
    edges = a.rows != a.indices
    m = _row_stochastic(
        CSR.from_coo(
            np.concatenate([a.rows[edges], np.arange(n)]),
            np.concatenate([a.indices[edges], np.arange(n)]),
            np.concatenate([a.data[edges], loops]),
            (n, n),
        )
    )
    for _ in range(max_iter):
        power = m
        for _ in range(expansion - 2):
            power, _ = _product(power, m, 1.0, 0.0)
        m, chaos = _product(power, m, inflation, prune)
        if chaos < tol:
            break
    return _components(np.repeat(np.arange(n), np.diff(m[0])), m[1], n)


def _components(a, b, n):
    """Labels of connected components, in the order of their first nodes."""
    label = np.arange(n)
    while True:
        new = label.copy()
        np.minimum.at(new, a, label[b])
        np.minimum.at(new, b, label[a])
        new = new[new]
        if (new == label).all():
            return np.unique(label, return_inverse=True)[1].astype(np.int64)
        label = new


def _modularity(a):
    """The pair with the largest gain 2 (e_ij - a_i a_j) is merged until no gain is positive; e are
    shares of the edges' weight."""
    n, total = a.shape[0], float(a.data.sum())
    parent = np.arange(n)
    if total == 0:
        return parent
    share = (np.bincount(a.rows, weights=a.data, minlength=n) / total).tolist()
    joined = [{} for _ in range(n)]
    for i, j, weight in zip(
        a.rows.tolist(), a.indices.tolist(), (a.data / total).tolist(), strict=True
    ):
        if i != j:
            joined[i][j] = weight

    def entry(i, j):
        i, j = min(i, j), max(i, j)
        return -2 * (joined[i][j] - share[i] * share[j]), i, j

    heap = [entry(i, j) for i in range(n) for j in joined[i] if i < j]
    heapq.heapify(heap)
    while heap:
        found = heapq.heappop(heap)
        gain, i, j = found
        if gain >= -1e-15:  # what is left of exact ties is rounding
            break
        if j not in joined[i] or entry(i, j) != found:
            continue  # from before a merger
        keep, gone = (i, j) if len(joined[i]) >= len(joined[j]) else (j, i)
        parent[gone] = keep
        share[keep] += share[gone]
        for k, weight in joined[gone].items():
            del joined[k][gone]
            if k != keep:
                joined[keep][k] = joined[k][keep] = joined[keep].get(k, 0.0) + weight
        joined[gone] = {}
        for k in joined[keep]:
            heapq.heappush(heap, entry(keep, k))
    return _components(np.arange(n), parent, n)
