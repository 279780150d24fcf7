"""Exact nearest neighbors: inner products, cosines or distances of all pairs, of which each query
keeps the k best.

Products are made in blocks by the BLAS into one buffer. A kernel then reads each row of scores in
groups and looks closer only where a group holds one that beats the k-th best so far, which a heap
keeps; so the work is that of the products and one read of them.
"""

import math
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import Array, Float, Int64, at_least, finite, interval, own_dtype
from ..dispatch import namespace_of, routine
from ..kernel import kernel

QUERY_ROWS = 256  # of a block
BLOCK_ROWS = 4032  # no power of two: a column of scores then spreads over the cache's sets
BUFFER = 1 << 20  # scores in the buffer, about
MAX_HEAP = 2048  # larger k are sorted out
SUMS = 16  # of a row's squares, side by side, so that they take a vector
GROUP = 64  # scores that are compared at once
LEAST_SQUARE, LARGEST_SQUARE = 1e-280, 1e280  # squared lengths beyond are computed by scaled rows

Metric: TypeAlias = Literal["ip", "cosine", "l2"]


class TopK(NamedTuple):
    """The nearest rows of each query, best first: scores and row numbers."""

    scores: Float[Array, "nq k", own_dtype] | None
    indices: Int64[Array, "nq k"]


@routine
def topk_inner_product(
    queries: Float[Array, "nq d", finite],
    database: Float[Array, "nx d"],
    k: Annotated[int, interval("[1, nx]")],
    *,
    metric: Metric = "ip",
    block: Annotated[int, at_least(1)] | None = None,
    return_scores: bool = True,
) -> TopK:
    """The k rows of a database that are nearest to each query.

    Parameters
    ----------
    queries : (nq, d) array of float32 or float64, finite
    database : (nx, d) array of float32 or float64
        Finite.
    k : int in [1, nx]
        How many rows.
    metric : {"ip", "cosine", "l2"}, default "ip"
        Inner product, cosine (0 for a row of zeros), or squared Euclidean distance.
    block : int >= 1, optional
        Rows of the database in a block; by default chosen so that the scores of a block stay in the
        cache.
    return_scores : bool, default True
        Whether the scores are wanted; else they are None.

    Returns
    -------
    TopK
        (nq, k) scores and (nq, k) int64 indices, best first, ties by the smaller index.

    Raises
    ------
    ValueError
        An option is outside its range, shapes do not fit, or entries are not finite or so large
        that products overflow.
    TypeError
        Arrays of other dtypes (integers: convert them first) or on different devices.

    Notes
    -----
    2 nq nx d operations and one read of nq nx scores, in memory of one block and O(nq k), or of a
    whole row of scores where k exceeds nx / 8 or 2048 and rows are sorted. Scores carry the
    rounding of the BLAS, at most d units roundoff times the norms. With "l2" rows are ranked by
    products, taken about a mean of the database, so that candidates closer together than this
    rounding may change places at rank k; the distances of those returned are summed from
    differences in float64 and sorted anew.

    References
    ----------
    H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI,
    2011.

    Examples
    --------
    >>> topk_inner_product(np.eye(2), np.array([[1.0, 0.0], [0.5, 2.0]]), 1).indices
    array([[0],
           [1]])
    """
    xp, dtype, nq, nx = namespace_of(queries), queries.dtype, len(queries), len(database)
    if not nq and not bool(xp.isfinite(database).all()):
        raise_not_finite(xp, queries, database)
    queries = xp.ascontiguousarray(queries)
    with np.errstate(all="ignore"):  # what overflows is found in the scores
        left, prepared = operands(xp, queries, database, metric)
        rows = default_block(nq, metric) if block is None else block
        search = heaps if k <= min(nx // 8, MAX_HEAP) else sorted_rows
        scores, indices, wrong = search(xp, left, database, prepared, k, min(rows, nx))
    if wrong:
        raise_not_finite(xp, queries, database)
    if metric == "l2":
        distances_of(queries, xp.ascontiguousarray(database), indices, scores)
        scores, indices = best_first(xp, scores, indices, largest=False)
    return TopK(scores.astype(dtype, copy=False) if return_scores else None, indices)


def raise_not_finite(xp, queries, database):
    for name, array in (("queries", queries), ("database", database)):
        if not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
    raise ValueError(
        f"queries and database must have products that {queries.dtype} can hold (got an overflow): "
        f"scale them"
    )


def default_block(nq, metric):
    """Few queries take long rows of scores; where blocks of the database are copied, these copies
    stay small."""
    return max(BLOCK_ROWS, BUFFER // max(1, min(nq, QUERY_ROWS))) if metric == "ip" else BLOCK_ROWS


def operands(xp, queries, database, metric):
    """The queries, and a function of some rows of the database, whose inner products rank as the
    metric does."""
    if metric == "ip":
        return queries, lambda rows: rows
    if metric == "cosine":
        return unit(xp, queries)[0], lambda rows: unit(xp, rows)[0]
    # |q - x|² = |q - c|² - 2 ((q - c) · (x - c) - |x - c|² / 2) for any c: one near the data leaves
    # little to cancel
    center = (
        database[:: max(1, len(database) // BLOCK_ROWS)]
        .mean(axis=0, dtype=np.float64)
        .astype(queries.dtype)
    )

    def shifted(rows):
        return rows - center

    def with_square(rows):
        rows = shifted(rows)
        return xp.concatenate([rows, xp.einsum("ij,ij->i", rows, rows)[:, None] / -2], axis=1)

    return xp.concatenate(
        [shifted(queries), xp.ones((len(queries), 1), queries.dtype)], axis=1
    ), with_square


def unit(xp, x):
    """The rows of x divided by their lengths, zeros left as they are, and the lengths."""
    y, norms = xp.empty(x.shape, x.dtype), xp.empty(len(x), np.float64)
    unit_rows(xp.ascontiguousarray(x), y, norms)
    return y, norms


def products(xp, left, database, prepared, rows):
    """(first row, last row, first column, scores of this block) of all blocks; the scores lie in
    one buffer."""
    buffer = xp.empty(min(len(left), QUERY_ROWS) * rows, left.dtype)
    for first in range(0, len(database) if len(left) else 0, rows):
        right = prepared(database[first : first + rows]).T
        for start in range(0, len(left), QUERY_ROWS):
            part = left[start : start + QUERY_ROWS]
            scores = buffer[: len(part) * right.shape[1]].reshape(len(part), right.shape[1])
            xp.matmul(part, right, out=scores)
            yield start, start + len(part), first, scores


def heaps(xp, left, database, prepared, k, rows):
    """Scores and indices of the best k, and whether a score was not finite."""
    best, at, wrong = empty_heaps(xp, len(left), k, left.dtype)
    for start, stop, first, scores in products(xp, left, database, prepared, rows):
        scan_rows(scores, best[start:stop], at[start:stop], wrong[start:stop], -np.inf, first)
    return *best_first(xp, best, at), bool(wrong.any())


def empty_heaps(xp, n, k, dtype):
    return xp.full((n, k), -np.inf, dtype), xp.full((n, k), -1, np.int64), xp.zeros(n, np.uint8)


def sorted_rows(xp, left, database, prepared, k, rows):
    """As `heaps`, with whole rows of scores."""
    nq, nx = len(left), len(database)
    best, at, wrong = empty_heaps(xp, nq, k, left.dtype)
    step = max(1, 4 * BUFFER // nx)
    for start in range(0, nq, step):
        part = left[start : start + step]
        scores = xp.empty((len(part), nx), left.dtype)
        for top, bottom, first, some in products(xp, part, database, prepared, rows):
            scores[top:bottom, first : first + some.shape[1]] = some
        order = xp.argsort(-scores, axis=1, kind="stable")[:, :k]
        best[start : start + step] = xp.take_along_axis(scores, order, 1)
        at[start : start + step] = order
        wrong[start : start + step] = ~xp.isfinite(scores).all(axis=1)
    return best, at, bool(wrong.any())


def best_first(xp, scores, indices, largest=True):
    """Rows sorted by score, ties by the smaller index."""
    order = xp.argsort(indices, axis=1)
    scores, indices = xp.take_along_axis(scores, order, 1), xp.take_along_axis(indices, order, 1)
    order = xp.argsort(-scores if largest else scores, axis=1, kind="stable")
    return xp.take_along_axis(scores, order, 1), xp.take_along_axis(indices, order, 1)


# --- heaps of the best so far ---------------------------------------------------------------------


def worse(score, i, other, j):
    return score < other or (score == other and i > j)


def replace_worst(best, at, score, i):
    """Put a score in the place of the worst, which is first in the heap."""
    k, place = np.uintp(best.size), np.uintp(0)
    while True:
        child = np.uintp(2) * place + np.uintp(1)
        if child >= k:
            break
        other = child + np.uintp(1)
        if other < k and worse(best[other], at[other], best[child], at[child]):
            child = other
        if not worse(best[child], at[child], score, i):
            break
        best[place], at[place] = best[child], at[child]
        place = child
    best[place], at[place] = score, i


def any_to_see(scores, first, last, least, lowest):
    """Whether one of some scores exceeds `least`, or is not finite."""
    found = False
    for j in range(first, last):
        found |= (not scores[j] <= least) | (scores[j] == lowest)
    return found


@kernel(
    "in T scores[n, b]; inout T best[n, k]; inout int64 at[n, k]; inout uint8 wrong[n]; T lowest; "
    "int64 first",
    split="n",
    gpu="block",
    threads=128,
    shared="k*(itemsize+8)",
)
def scan_rows(scores, best, at, wrong, lowest, first, start, stop):
    """Scores of the rows first, first + 1, … of the database; `lowest` is minus infinity."""
    b = scores.shape[1]
    whole = b // GROUP
    for i in range(start, stop):
        row, mine, mine_at = scores[i], best[i], at[i]
        for g in range(whole + 1):
            low = np.uintp(GROUP * g)
            if g < whole:
                seen = any_to_see(row, low, low + np.uintp(GROUP), mine[0], lowest)
                high = low + np.uintp(GROUP)
            else:
                seen, high = True, np.uintp(b)
            if seen:
                for j in range(low, high):
                    score = row[j]
                    if score > mine[0]:
                        replace_worst(mine, mine_at, score, first + np.int64(j))
                    if not score - score == 0:
                        wrong[i] = 1


# --- rows -----------------------------------------------------------------------------------------


def sum_of_squares(row, sums):
    """In float64."""
    d = np.uintp(row.size)
    groups = d // np.uintp(SUMS)
    for s in range(SUMS):
        sums[s] = 0
    for g in range(groups):
        for s in range(np.uintp(SUMS)):
            x = np.float64(row[g * np.uintp(SUMS) + s])
            sums[s] += x * x
    total = 0.0
    for j in range(groups * np.uintp(SUMS), d):
        total += np.float64(row[j]) * np.float64(row[j])
    for s in range(SUMS):
        total += sums[s]
    return total


@kernel(
    "in T x[n, d]; out T y[n, d]; out float64 norms[n]; scratch float64 sums[SUMS]",
    constants=("SUMS", "LEAST_SQUARE", "LARGEST_SQUARE"),
    split="n",
    gpu="warp",
)
def unit_rows(x, y, norms, sums, start, stop):
    for i in range(start, stop):
        row, square = x[i], sum_of_squares(x[i], sums)
        if LEAST_SQUARE < square < LARGEST_SQUARE:
            norms[i] = math.sqrt(square)
            inverse = 1 / norms[i]
            for j in range(np.uintp(row.size)):
                y[i, j] = np.float64(row[j]) * inverse
        else:
            norms[i] = scaled_unit(row, y[i])


def scaled_unit(row, unit):
    """The same where squares leave the range of float64, though lengths do not; the length."""
    scale, square = 0.0, 0.0
    for j in range(row.size):
        scale = max(scale, abs(np.float64(row[j])))
    scale = scale if scale > 0 else 1.0
    for j in range(row.size):
        square += (np.float64(row[j]) / scale) * (np.float64(row[j]) / scale)
    inverse = 1 / math.sqrt(square) if square > 0 else 0.0
    for j in range(row.size):
        unit[j] = np.float64(row[j]) / scale * inverse
    return scale * math.sqrt(square)


@kernel(
    "in T queries[n, d]; in T database[m, d]; in int64 at[n, k]; out T scores[n, k]",
    split="n",
    gpu="warp",
)
def distances_of(queries, database, at, scores, start, stop):
    """Squared distances to the rows `at`, which must be rows of the database."""
    for i in range(start, stop):
        for c in range(at.shape[1]):
            row, total = database[np.uintp(at[i, c])], 0.0
            for j in range(np.uintp(row.size)):
                difference = np.float64(queries[i, j]) - np.float64(row[j])
                total += difference * difference
            scores[i, c] = total
