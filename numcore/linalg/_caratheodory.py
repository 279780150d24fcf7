"""Carathéodory subsets: a few of the given points, with new weights, that have the same weighted
sum and the same total weight.

Carathéodory's theorem says that t + 1 points of R^t are enough. A vector v with Σ v_i p_i = 0 and Σ
v_i = 0 exists as soon as there are more: u ← u - α v with the largest α that leaves u >= 0 changes
no sum and makes one weight zero. The fast version replaces groups of points by their means, does
this with the means, keeps the groups whose weight is still positive and repeats with their points.
C. Carathéodory, 1907; A. Maalouf, I. Jubran, D. Feldman, "Fast and accurate least-mean-squares
solvers", NeurIPS 2019.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np

from ..arguments import Array, Float, Int64, at_least, at_most, finite, nonnegative
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import dot

# rows per partial sum: keeps the rounding error of long groups small
ROWS = 256
SUM_THREADS = 256  # of a block that sums a group
# squared length below which a column, with entries up to 1, counts as dependent on those before it
NOTHING = 1e-60
LEVEL = 1e-9  # a unit null vector whose sum is smaller counts as having sum zero
ROUNDING = 32  # the promised error, in units of roundoff times the sum of lengths


class WeightedSubset(NamedTuple):
    """Rows with weights, and how far their weighted sum is from that of all rows.

    Attributes
    ----------
    indices : (k,) array of int64
        Ascending, each once.
    weights : (k,) array
        Positive.
    error : float
        The length of the difference of the two weighted sums.
    error_bound : float
        An upper bound on `error` ("caratheodory"), or its root mean square (the methods that
        sample).
    """

    indices: Int64[Array, "k"]
    weights: Float[Array, "k"]
    error: float
    error_bound: float


@routine
def caratheodory(
    p: Float[Array, "n t"],
    weights: Float[Array, "n", finite, nonnegative] | None = None,
    *,
    size: Annotated[int, at_least(1), at_most("n")] | None = None,
    n_chunks: Annotated[int, at_least(2)] = 8,
) -> WeightedSubset:
    """Select a few of many weighted points, reweighted to keep the weighted sum and the total
    weight.

    Parameters
    ----------
    p : (n, t) array of float32 or float64
        Finite.
    weights : (n,) array of float32 or float64, >= 0, finite, optional
        Not negative, not all zero; 1 by default.
    size : int >= 1 and <= n, optional
        The largest number of points to return; t + 1 by default. Smaller values are raised to t +
        1.
    n_chunks : int >= 2, default 8
        Points are split into n_chunks · (t + 1) groups. More groups mean fewer reads of `p` but
        more elimination steps.

    Returns
    -------
    WeightedSubset
        At most max(size, t + 1) points with positive weights. Sums are computed in float64. `error`
        is ‖Σ w p over the result - Σ weights p over all points‖. Barring underflow, it is at most
        `error_bound`: 32 units of roundoff of the dtype times the length of the sums of |w p| and
        of the weights, over the result and over all points. The same bound holds for the difference
        of the total weights. If few enough points have a positive weight, they are returned
        unchanged.

    Raises
    ------
    ValueError
        `p` does not have two dimensions, entries are not finite, weights are negative or all zero,
        their sums overflow, `size` is less than 1 or more than n, or `n_chunks` less than 2.
    TypeError
        Other or mixed dtypes or devices.

    Notes
    -----
    O(n t + n_chunks t³ log n) operations; the points are read about 1 + 1 / n_chunks times. Null
    vectors come from a Householder factorization of 2 (t + 1) points and stay orthonormal while
    points are eliminated, so `p` need not be well conditioned or of full rank.

    References
    ----------
    A. Maalouf, I. Jubran, D. Feldman, "Fast and accurate least-mean-squares solvers", NeurIPS 2019.

    Examples
    --------
    >>> p = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> indices, weights, *_ = caratheodory(p)
    >>> len(indices), round(float(weights @ p[indices, 0]), 12), round(float(weights.sum()), 12)
    (2, 6.0, 4.0)
    """
    xp, dtype, (n, t) = namespace_of(p), p.dtype, p.shape
    check_mass(weights)
    size = max(size or 1, t + 1)
    if not n:
        return WeightedSubset(xp.zeros(0, np.int64), xp.zeros(0, dtype), 0.0, 0.0)
    with np.errstate(all="ignore"):
        indices, w, total, terms = reduced(xp, "p", p, weights, size, n_chunks)
        w = w.astype(dtype, copy=False)
        rows, heavy = p[indices].astype(np.float64), w.astype(np.float64)
        terms = (
            ROUNDING
            * float(np.finfo(dtype).eps)
            * (terms + xp.append(heavy @ xp.abs(rows), heavy.sum()))
        )
        return WeightedSubset(indices, w, length(xp, heavy @ rows - total[:-1]), length(xp, terms))


def length(xp, x):
    """The Euclidean norm as a float, scaled to avoid overflow."""
    largest = float(xp.abs(x).max()) if x.size else 0.0
    return largest * float(xp.linalg.norm(x / largest)) if 0 < largest < math.inf else largest


def check_mass(weights):
    if weights is not None and len(weights) and not float(weights.max()) > 0:
        raise ValueError("weights must not all be zero")


def reduced(xp, name, p, weights, size, n_chunks):
    """Indices and float64 weights of the selected rows of p; (Σ w p, Σ w) and (Σ w |p|, Σ w) over
    all rows."""
    n, t = p.shape
    indices, u = (
        None,
        xp.ones(1)
        if weights is None
        else xp.ascontiguousarray(weights.astype(np.float64, copy=False)),
    )
    if not bool((u > 0).all()):
        indices = xp.nonzero(u > 0)[0]
        p, u = p[indices], u[indices]
    p = xp.ascontiguousarray(p)
    sums = _group_sums(xp, p, u, n_chunks)
    total = xp.concatenate([sums[:, :t], sums[:, -1:]], axis=1).sum(axis=0)
    everything = sums[:, t:].sum(axis=0)
    if not bool(xp.isfinite(everything).all()):
        raise ValueError(f"{name} and its weighted sums must be finite (got nan or inf)")
    if len(p) <= size:
        return xp.arange(n) if indices is None else indices, u * xp.ones(len(p)), total, everything
    while True:
        least = max(t + 1, size // -(-len(p) // len(sums)))
        p, indices, u = _of_groups(xp, p, indices, u, *_eliminated(xp, sums, least))
        if len(p) <= size:
            return indices, _refined(xp, p, u, total), total, everything
        sums = _group_sums(xp, p, u, n_chunks)


def _group_sums(xp, p, u, n_chunks):
    n, t = p.shape
    sums = xp.empty((min(n_chunks * (t + 1), n), 2 * t + 1))
    group_sums(p, u, sums)
    return sums


def _eliminated(xp, sums, least):
    """Weights of the groups before and after elimination, which keeps Σ w p and Σ w and leaves at
    most `least` groups.

    Each group is a row (Σ w, Σ w (p - c) / scale), c the mean of all points, divided by its largest
    entry, which becomes its weight. The sum of these weights is comparable to Σ w |p| and never
    grows.
    """
    t = (sums.shape[1] - 1) // 2
    mass, sums = sums[:, -1] / sums[:, -1].sum(), sums[:, :t] / sums[:, -1].sum()
    sums = sums - mass[:, None] * sums.sum(axis=0)
    scale = xp.abs(sums).sum(axis=0)
    rows = xp.concatenate([mass[:, None], sums / xp.where(scale > 0, scale, 1)], axis=1)
    before = xp.abs(rows).max(axis=1)
    after, m = before[None].copy(), t + 1
    rows = xp.where(before[:, None] > 0, rows / before[:, None], 0)
    eliminate(rows[None], after, xp.zeros((1, 2 * m, 2 * m)), xp.zeros((1, 2 * m), np.int64), least)
    return before.tolist(), after[0].tolist()


def _of_groups(xp, p, indices, u, before, after):
    """The points of the remaining groups, their indices, and their weights, scaled like those of
    their groups."""
    n, k = len(p), len(before)
    remaining = [
        (slice(j * n // k, (j + 1) * n // k), before[j], after[j]) for j in range(k) if after[j] > 0
    ]
    points = xp.concatenate([p[rows] for rows, *_ in remaining])
    numbers = xp.concatenate(
        [
            xp.arange(rows.start, rows.stop) if indices is None else indices[rows]
            for rows, *_ in remaining
        ]
    )
    u = xp.broadcast_to(u, (n,))
    return points, numbers, xp.concatenate([u[rows] / old * new for rows, old, new in remaining])


def _refined(xp, p, u, total):
    """The weights corrected for rounding: the smallest relative change that reproduces the sums."""
    rows = xp.concatenate([p.astype(np.float64), xp.ones((len(p), 1))], axis=1) * u[:, None]
    scale = xp.maximum(xp.abs(rows).sum(axis=0), np.finfo(np.float64).tiny)
    if not bool(xp.isfinite(scale).all()):
        return u
    rows, residual = rows / scale, total / scale
    change = rows @ (xp.linalg.pinv(rows.T @ rows, 1e-13) @ (residual - rows.sum(axis=0)))
    refined = u * (1 + change)
    better = xp.linalg.norm(residual - (1 + change) @ rows) < xp.linalg.norm(
        residual - rows.sum(axis=0)
    )
    return refined if bool(better) and bool((refined > 0).all()) else u


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T p[n, t]; in float64 u[q]; out float64 sums[k, 2*t+1]; scratch float64 part[2*t+1]",
    constants=("SUM_THREADS",),
    split="k",
    gpu="block",
    threads=SUM_THREADS,
)
def group_sums(p, u, sums, part, start, stop):
    """Σ u p, Σ u |p|, Σ u over k groups of consecutive rows of nearly equal size. With q = 1, one
    weight applies to all rows."""
    n, t, k = p.shape[0], p.shape[1], sums.shape[0]
    for j in range(start, stop):
        first, last = j * n // k, (j + 1) * n // k
        sums[j, :] = 0
        for low in range(first, last, ROWS):
            part[:] = 0
            for i in range(low, min(low + ROWS, last)):
                weight = u[i] if u.size > 1 else u[0]
                row = p[i]
                for c in range(t):
                    value = weight * float(row[c])
                    part[c] += value
                    part[t + c] += abs(value)
                part[2 * t] += weight
            for c in range(2 * t + 1):
                sums[j, c] += part[c]


@kernel(
    "in float64 a[g, k, m]; inout float64 u[g, k]; inout float64 work[g, 2*m, 2*m]; "
    "inout int64 active[g, 2*m]; int64 least",
    constants=("NOTHING", "LEVEL"),
    split="g",
    gpu="block",
    threads=128,
    grain="1",
)
def eliminate(a, u, work, active, least, start, stop):
    """Change the weights u >= 0 of k points so that Σ u a is kept and at most `least` >= m of them
    are positive, for each of g problems.

    Entries of a are at most 1. Windows of 2 m points are eliminated at a time. `work` holds the
    Householder vectors in its first m rows and the null vectors in the rest.
    """
    k, m = a.shape[1], a.shape[2]
    for g in range(start, stop):
        weights, points, columns, null = u[g], active[g], work[g, :m], work[g, m:]
        left = taken = count = 0
        for i in range(k):
            left += weights[i] > 0
        for _ in range(k):  # every pass eliminates at least one point
            if left <= least:
                break
            while taken < k and count < 2 * m:
                if weights[taken] > 0:
                    points[count] = taken
                    count += 1
                taken += 1
            for i in range(count):
                for c in range(m):
                    columns[c, i] = a[g, points[i], c]
            factorize(columns, null, count)
            free = count - m
            while free > 0 and left > least:
                free -= 1
                left -= step(weights, points, null, free, count)
            remaining = 0
            for i in range(count):
                if weights[points[i]] > 0:
                    points[remaining] = points[i]
                    remaining += 1
            count = remaining


def factorize(columns, null, count):
    """Householder vectors w of the m columns, for reflections x - w (w·x), and an orthonormal basis
    of the orthogonal complement of the columns."""
    m = columns.shape[0]
    for c in range(m):
        w = columns[c, c:count]
        length = math.sqrt(dot(w, w))
        w[0] += length if w[0] >= 0 else -length
        square = dot(w, w)
        scale = math.sqrt(2 / square) if square > NOTHING else 0.0
        for i in range(count - c):
            w[i] *= scale
        for other in range(c + 1, m):
            reflect(w, columns[other, c:count])
    for f in range(count - m):
        v = null[f, :count]
        v[:] = 0
        v[m + f] = 1
        for c in range(m - 1, -1, -1):
            reflect(columns[c, c:count], v[c:])


def reflect(w, x):
    d = dot(w, x)
    for i in range(x.size):
        x[i] -= d * w[i]


def step(weights, points, null, free, count):
    """Move along null vector number `free` until a weight reaches zero, make the other null vectors
    zero there, and return how many weights became zero.

    Of the two directions, the sum of the weights does not grow in the one chosen, so that rounding
    stays small relative to it.
    """
    v, j, least, total = null[free], 0, math.inf, 0.0
    for i in range(count):
        total += v[i]
    sign = -1.0 if total < -LEVEL else 1.0
    for i in range(count):
        v[i] *= sign
        if v[i] > 0 and weights[points[i]] < least * v[i]:
            j, least = i, weights[points[i]] / v[i]
    zeros = 0
    for i in range(count):
        before = weights[points[i]]
        after = max(before - least * v[i], 0.0) if i != j else 0.0
        weights[points[i]] = after
        zeros += before > 0 and after == 0
    clear(null, free, j, count)
    return zeros


def clear(null, free, j, count):
    """Reflect null vectors 0 … free so that all but the last are zero at point j; the last is
    discarded."""
    square = 0.0
    for f in range(free + 1):
        square += null[f, j] * null[f, j]
    length = math.sqrt(square)
    if length == 0:
        return
    pivot = null[free, j] + (length if null[free, j] >= 0 else -length)
    scale = 2 / (square - null[free, j] * null[free, j] + pivot * pivot)
    total = null[free]
    for i in range(count):
        total[i] *= pivot
    for f in range(free):
        for i in range(count):
            total[i] += null[f, j] * null[f, i]
    for f in range(free):
        factor = scale * null[f, j]
        for i in range(count):
            null[f, i] -= factor * total[i]
        null[f, j] = 0
