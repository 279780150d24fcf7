"""Personalized PageRank: the share of time that a random walk with restart at the seeds spends in
each node. The walk's equation is iterated over the transposed graph, so that every node collects
what flows in; the source is Page et al. (1998)."""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from ..arguments import Array, Float, at_least, finite, interval, nonnegative
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..linalg import CSRLike, Sparse
from ._random_walk import is_last, next_score

BLOCK = 256  # nodes whose sums are taken together, so that no sum depends on the number of threads
COLUMNS = 8  # seed vectors that walk at once


class PageRankResult(NamedTuple):
    """What `personalized_pagerank` returns.

    Attributes
    ----------
    scores : (n,) or (b, n) array
        The share of time in each node; rows sum to 1.
    converged : bool
        Whether all seed vectors reached `tol`.
    n_iter : int, or (b,) array of int64 on the host
    reason : {"tol", "max_iter"}
        Why the last of the iterations stopped.
    residual : float, or (b,) array of float64 on the host
        The change of the last step, the sum of absolute values.
    error_bound : float, or (b,) array of float64 on the host
        The largest possible sum of absolute errors of the scores.
    """

    scores: Array
    converged: bool
    n_iter: int | Array
    reason: Literal["tol", "max_iter"]
    residual: float | Array
    error_bound: float | Array


@routine
def personalized_pagerank(
    graph: Sparse[CSRLike, "n n"],
    seeds: Float[Array, "*b n", finite, nonnegative],
    *,
    damping: Annotated[float, interval("[0, 1)")] = 0.85,
    tol: Annotated[float, nonnegative] = 1e-9,
    max_iter: Annotated[int, at_least(1)] = 200,
    dangling: Literal["seeds", "uniform"] = "seeds",
) -> PageRankResult:
    """PageRank of a weighted directed graph from one or many seed vectors.

    The scores x solve ``x = damping (P^T x + m w) + (1 - damping) v``. P is the matrix of weights
    with rows divided by their sums, v a seed vector divided by its sum, m the score of the nodes
    without outgoing weight, and w says where a walk continues from these.

    Parameters
    ----------
    graph : (n, n) CSR or sparse array
        Entry (i, j) is the weight of the edge from node i to node j, >= 0. Repeated edges are
        summed.
    seeds : (..., n) array of float32 or float64, >= 0, finite
        Where walks start: weights, not all zero in a row.
    damping : float in [0, 1), default 0.85
        The probability of following an edge.
    tol : float >= 0, default 1e-09
        A walk is iterated until a step changes the scores by at most this, as sum of absolute
        values.
    max_iter : int >= 1, default 200
        Maximum number of steps; `residual` and `error_bound` of the result say how far they led.
    dangling : {"seeds", "uniform"}, default "seeds"
        Where a walk continues from a node without outgoing edges: at the seeds, or at any node.

    Returns
    -------
    PageRankResult
        Scores in the dtype of `graph`, iterated in float64, with an error bound:
        ``damping / (1 - damping)`` times the residual, and the rounding. A row of `seeds` gives
        what it gives alone, but for rounding.

    Raises
    ------
    ValueError
        Weights or seeds are negative or not finite, a seed vector is all zero, shapes do not fit,
        or an option is out of its range.
    TypeError
        Other dtypes, or arrays on different devices.

    Notes
    -----
    O(nnz log(tol) / log(damping)) for one seed vector: about 128 steps for 1e-9 at 0.85. Each edge
    is read once for eight seed vectors. Memory of two times nnz and of 50 n numbers for eight seed
    vectors, beyond the result. Where all weights are equal, edges are read without their
    probabilities.

    References
    ----------
    L. Page, S. Brin, R. Motwani, T. Winograd, "The PageRank citation ranking: bringing order to the
    web", Stanford, 1998. D. F. Gleich, "PageRank beyond the web", SIAM Review, 2015.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> path = CSR([0, 1, 3, 4], [1, 0, 2, 1], np.ones(4), (3, 3))
    >>> personalized_pagerank(path, np.array([1.0, 0.0, 0.0])).scores.round(4)
    array([0.3453, 0.4595, 0.1953])
    """
    xp, n, dtype = namespace_of(seeds), graph.shape[0], graph.dtype
    starts = _normalized_seeds(xp, seeds.reshape(math.prod(seeds.shape[:-1]), n).astype(np.float64))
    if graph.nnz and not float(graph.data.min()) >= 0:  # NaN too
        raise ValueError(f"graph must have weights >= 0 (got {float(graph.data.min())})")
    walk = _Walk(xp, graph, damping, dangling)
    scores = xp.empty(starts.shape, dtype)
    n_iter, residual = np.zeros(len(starts), np.int64), np.zeros(len(starts))
    for first in range(0, len(starts) if n else 0, COLUMNS):
        these = slice(first, first + COLUMNS)
        scores[these], n_iter[these], residual[these] = walk.run(starts[these], tol, max_iter)
    rounding = float(np.finfo(dtype).eps) / 2
    bound = (damping * residual + walk.rounding) / (1 - damping) + rounding
    converged = bool((residual <= tol).all())
    reason: Literal["tol", "max_iter"] = "tol" if converged else "max_iter"
    scores, batch = scores.reshape(seeds.shape), seeds.shape[:-1]
    if not batch:
        return PageRankResult(
            scores, converged, int(n_iter[0]), reason, float(residual[0]), float(bound[0])
        )
    n_iter, residual, bound = (a.reshape(batch) for a in (n_iter, residual, bound))
    return PageRankResult(scores, converged, n_iter, reason, residual, bound)


def _normalized_seeds(xp, seeds):
    """Rows divided by their sums, in float64."""
    largest = seeds.max(axis=1, keepdims=True) if seeds.size else seeds[:, :0]
    if bool((largest == 0).any()):
        raise ValueError(
            f"seeds must not be all zero (got zeros in row {int((largest[:, 0] == 0).argmax())})"
        )
    if not seeds.size:
        return seeds
    seeds = seeds / largest  # the sum cannot overflow then
    return seeds / seeds.sum(axis=1, keepdims=True)


class _Walk:
    """The transposed graph with the probabilities of its edges."""

    def __init__(self, xp, graph, damping, dangling):
        n = graph.shape[0]
        self.xp, self.damping, self.uniform = xp, damping, dangling == "uniform"
        weights = graph.data.astype(np.float64)
        # then probabilities belong to nodes, and no edge needs its own
        alike = graph.nnz > 0 and bool((weights == weights[0]).all())
        degrees = xp.diff(graph.indptr)
        with np.errstate(all="ignore"):
            out = (
                degrees * weights[0]
                if alike
                else xp.bincount(graph.rows, weights=weights, minlength=n)
                if graph.nnz
                else xp.zeros(n)
            )
        if not bool(xp.isfinite(out).all()):
            raise ValueError(
                f"graph must have finite weights, also summed over every node (got "
                f"{float(out.max())})"
            )
        order = _stable_order(xp, graph.indices, n)
        self.sources = graph.rows[order]
        if alike:
            self.probabilities, self.share = xp.empty(0), (out > 0) / xp.maximum(degrees, 1)
        else:
            self.probabilities = (weights / xp.where(out > 0, out, 1)[graph.rows])[order]
            self.share = xp.ones(n)
        inward = xp.bincount(graph.indices, minlength=n) if graph.nnz else xp.zeros(n, np.int64)
        self.indptr = xp.zeros(n + 1, graph.indptr.dtype)
        self.indptr[1:] = xp.cumsum(inward)
        self.stuck = (out == 0).astype(np.uint8)
        # one step's: products and sums of a node, and the sum over dangling nodes
        self.rounding = (float(inward.max() if n else 0) + n / BLOCK + BLOCK + 8) * 2.0**-53

    def run(self, seeds, tol, max_iter):
        """Scores (b, n) from at most `COLUMNS` rows of seeds, with n_iter and residuals
        (b,)."""
        xp, (b, n), d = self.xp, seeds.shape, self.damping
        k = 1 if b == 1 else COLUMNS  # columns beyond b are zero and stay so
        v = xp.zeros((n, k))
        v[:, :b] = seeds.T
        target = xp.full((n, k), 1 / n) if self.uniform else v
        x, y = v.copy(), xp.empty((n, k))
        flow, onward = x * self.share[:, None], xp.empty((n, k))
        sums = xp.empty((-(-n // BLOCK), 2, k))
        mass = (x * self.stuck[:, None]).sum(axis=0)
        scores, n_iter, residual = xp.empty((b, n)), np.zeros(b, np.int64), np.full(b, np.inf)
        walk = self.indptr, self.sources, self.probabilities, self.share, self.stuck
        for t in range(1, max_iter + 1):
            pagerank_step(*walk, flow, x, v, target, mass, y, onward, sums, d)
            x, y, flow, onward = y, x, onward, flow
            change, mass = sums.sum(axis=0)
            change = np.array(change[:b].tolist())
            ready = (n_iter == 0) & is_last(t, change, tol, max_iter)
            n_iter[ready], residual[ready] = t, change[ready]
            for column in np.flatnonzero(ready).tolist():
                scores[column] = x[:, column]
            if n_iter.all():
                break
        return scores, n_iter, residual


def _stable_order(xp, keys, n):
    """The stable argsort of keys < n, by 16 bits at a time, which are sorted by counting."""
    order = xp.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, max(n - 1, 1).bit_length(), 16):
        digit = ((keys >> shift) & 0xFFFF).astype(np.uint16)
        order = order[xp.argsort(digit[order], kind="stable")]
    return order


@kernel(
    "in INDEX indptr[n+1]; in INDEX sources[z]; in float64 probabilities[q]; in float64 share[n]; "
    "in uint8 stuck[n];"
    " in float64 flow[n, k]; in float64 x[n, k]; in float64 v[n, k]; in float64 target[n, k]; "
    "in float64 mass[k];"
    " out float64 y[n, k]; out float64 onward[n, k]; out float64 sums[g, 2, k]; float64 damping",
    constants=("BLOCK",),
    split="g",
    gpu="block",
    types={"INDEX": ("int32", "int64")},
)
def pagerank_step(
    indptr,
    sources,
    probabilities,
    share,
    stuck,
    flow,
    x,
    v,
    target,
    mass,
    y,
    onward,
    sums,
    damping,
    start,
    stop,
):
    """One step for the nodes of each block, with the sums of its changes and of its scores that are
    stuck; k is 1 or 8.

    An edge carries the flow x share of its source, times its probability unless there are none (q =
    0); onward is the next flow."""
    n, k = x.shape
    plain = len(probabilities) == 0
    for g in range(start, stop):
        for c in range(k):
            sums[g, 0, c] = 0
            sums[g, 1, c] = 0
        changed = remaining = 0.0
        for i in range(np.uintp(BLOCK * g), np.uintp(min(n, BLOCK * (g + 1)))):
            first, last = np.uintp(indptr[i]), np.uintp(indptr[i + 1])
            if k == 1:  # the sums stay in registers
                total = (
                    plain_inflow(first, last, sources, flow)
                    if plain
                    else inflow(first, last, sources, probabilities, flow)
                )
                new = next_score(damping, total, mass[0], target[i, 0], v[i, 0])
                y[i, 0], onward[i, 0] = new, new * share[i]
                changed += abs(new - x[i, 0])
                remaining += new * stuck[i]
            else:
                s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
                for e in range(first, last):
                    p, row = 1.0 if plain else probabilities[e], flow[np.uintp(sources[e])]
                    s0 += p * row[0]
                    s1 += p * row[1]
                    s2 += p * row[2]
                    s3 += p * row[3]
                    s4 += p * row[4]
                    s5 += p * row[5]
                    s6 += p * row[6]
                    s7 += p * row[7]
                y[i, 0], y[i, 1], y[i, 2], y[i, 3] = s0, s1, s2, s3
                y[i, 4], y[i, 5], y[i, 6], y[i, 7] = s4, s5, s6, s7
                for c in range(k):
                    new = next_score(damping, y[i, c], mass[c], target[i, c], v[i, c])
                    y[i, c], onward[i, c] = new, new * share[i]
                    sums[g, 0, c] += abs(new - x[i, c])
                    sums[g, 1, c] += new * stuck[i]
        if k == 1:
            sums[g, 0, 0], sums[g, 1, 0] = changed, remaining


def plain_inflow(first, last, sources, flow):
    """The sum over edges of their sources' flow, four at a time, so that no addition waits for the
    one before."""
    s0 = s1 = s2 = s3 = 0.0
    e, one = first, np.uintp(1)
    while e + np.uintp(4) <= last:
        s0 += flow[np.uintp(sources[e]), 0]
        s1 += flow[np.uintp(sources[e + one]), 0]
        s2 += flow[np.uintp(sources[e + np.uintp(2)]), 0]
        s3 += flow[np.uintp(sources[e + np.uintp(3)]), 0]
        e += np.uintp(4)
    while e < last:
        s0 += flow[np.uintp(sources[e]), 0]
        e += one
    return (s0 + s1) + (s2 + s3)


def inflow(first, last, sources, probabilities, flow):
    total = 0.0
    for e in range(first, last):
        total += probabilities[e] * flow[np.uintp(sources[e]), 0]
    return total
