"""The k nearest rows of a database, exactly: inner products, cosines or distances of all pairs, of which each query keeps the best."""

from typing import Any, NamedTuple

from ..checks import checked_choice, checked_count
from ..dispatch import float_dtype, on_device, routine


class TopK(NamedTuple):
    """The nearest rows of each query, best first: scores and row numbers, both (queries, k)."""

    scores: Any
    indices: Any


@routine
def topk_inner_product(queries, database, k, *, metric="ip"):
    """The k rows of a database that are nearest to each query.

    Parameters
    ----------
    queries : (nq, d) array of float32 or float64
    database : (nx, d) array
        Of the same dtype.
    k : int
        Between 1 and nx.
    metric : {"ip", "cosine", "l2"}
        Inner product, cosine (0 for a row of zeros), or squared Euclidean distance.

    Returns
    -------
    TopK
        Best first, ties by the smaller index.

    Raises
    ------
    ValueError
        k is outside its range, the widths differ, entries are not finite, or the metric is unknown.
    TypeError
        Arrays of other dtypes.

    References
    ----------
    H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI, 2011.

    Examples
    --------
    >>> topk_inner_product(np.eye(2), np.array([[1.0, 0.0], [0.5, 2.0]]), 1).indices
    array([[0],
           [1]])
    """
    xp, (queries, database) = on_device(queries=queries, database=database)
    float_dtype(queries=queries, database=database)
    checked_choice("metric", metric, ("ip", "cosine", "l2"))
    if queries.ndim != 2 or database.ndim != 2 or queries.shape[1] != database.shape[1]:
        raise ValueError(f"queries (nq, d) and database (nx, d) must have the same d (got shapes {queries.shape}, {database.shape})")
    k = checked_count("k", k, least=1, most=len(database))
    if not bool(xp.isfinite(queries).all()) or not bool(xp.isfinite(database).all()):
        raise ValueError("queries and database must be finite (got nan or inf)")
    scores = queries @ database.T
    if metric == "cosine":
        norms = xp.linalg.norm(queries, axis=1)[:, None] * xp.linalg.norm(database, axis=1)
        scores = scores / xp.where(norms > 0, norms, 1)
    if metric == "l2":
        scores = ((queries[:, None] - database) ** 2).sum(2)
    order = xp.argsort(scores if metric == "l2" else -scores, axis=1, kind="stable")[:, :k]
    return TopK(xp.take_along_axis(scores, order, 1), order.astype("int64"))
