"""Which words are related: those whose embeddings have a large cosine."""

from collections.abc import Callable
from typing import Annotated

import numpy as np

from ...arguments import Array, Float, finite, positive, within
from ...dispatch import device_of, namespace_of, routine
from ...linalg import CSR
from .lists import IdLists, check_ids

SIMILARITIES = 1 << 22  # cosines that are held at once


@routine
def semantic_graph(
    embeddings: Float[Array, "n_words d", finite],
    document_words: IdLists | None,
    *,
    min_similarity: Annotated[float, within(-1, 1)] = 0.5,
    max_neighbors: Annotated[float, positive] = 0.15,
    search: Callable[[Array, int], tuple[Array, Array]] | None = None,
) -> CSR:
    """The related words of every word of the documents.

    Parameters
    ----------
    embeddings : (n_words, d) array of float32 or float64, finite
        One row for each word; a row of zeros for a word that has no embedding, or that is to be
        left out, such as a stop word.
    document_words : sequence of arrays of integers, or TermLists or None
        The words of each document's candidate terms. Words of no document take no part; with None
        all take part.
    min_similarity : float in [-1, 1], default 0.5
        Cosine from which words are neighbors.
    max_neighbors : float > 0, default 0.15
        The largest number of neighbors of a word: below 1 a share of the words that take part,
        rounded; else a count.
    search : callable, optional
        ``search(queries, k)`` → (scores, indices), both (nq, k): the k largest inner products of
        the rows `queries` with the rows of the words that take part, which are scaled to length 1,
        by an index of the caller's over ``rows``, which it is given first as ``search.fit(rows)``
        if it has `fit`. By default blocks of exact products.

    Returns
    -------
    CSR
        (n_words, n_words): row i has the cosines of word i with its neighbors. A word is not its
        own neighbor. Among equal cosines at the limit the smaller ids are kept. Cosines are in the
        dtype of `embeddings`, and rounded as products of matrices are.

    Raises
    ------
    ValueError
        `embeddings` are not finite or not 2-d, ids are out of range, or an option is outside of its
        range.
    TypeError
        Other dtypes, or arrays on different devices.

    Notes
    -----
    2 v² d operations for v words, in products of blocks; next to the result 16 MB for cosines in
    float32, never v² numbers.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank", ACM TKDD, 2018.

    Examples
    --------
    >>> semantic_graph(
    ...     np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), [[0, 1, 2]], max_neighbors=2
    ... ).indices.tolist()
    [1, 0, 2, 1]
    """
    xp = namespace_of(embeddings)
    n = len(embeddings)
    largest = abs(embeddings).max(axis=1) if embeddings.size else xp.zeros(n, embeddings.dtype)
    takes_part = largest > 0
    if document_words is not None:
        words = xp.asarray(document_words.values)
        check_ids("document_words", words, n)
        occurs = xp.zeros(n, bool)
        occurs[words] = True
        takes_part &= occurs
    words = xp.nonzero(takes_part)[0]
    most = _most_neighbors(max_neighbors, len(words))
    unit = embeddings[words] / largest[words][:, None]  # the squares cannot overflow then
    unit = unit / xp.sqrt((unit * unit).sum(axis=1, keepdims=True))
    find = _neighbors if search is None else _found_neighbors(search)
    rows, columns, weights = find(xp, unit, min_similarity, most)
    indptr = xp.searchsorted(words[rows], xp.arange(n + 1))
    return CSR(indptr, words[columns], weights, (n, n))


def _most_neighbors(max_neighbors, v):
    """The limit as a count."""
    limit = max_neighbors
    if limit >= 1 and limit != int(limit):
        raise ValueError(f"max_neighbors must be a share below 1 or a whole number (got {limit})")
    return min(v, int(limit) if limit >= 1 else round(limit * v))


def _neighbors(xp, unit, least, most):
    """Neighbors by blocks of products: rows ascending, columns ascending in each row, cosines."""
    v = len(unit)
    step = max(1, SIMILARITIES // max(v, 1))
    found = [(xp.zeros(0, np.int64), xp.zeros(0, np.int64), xp.zeros(0, unit.dtype))]
    block = xp.empty((min(step, v), v), unit.dtype)
    for first in range(0, v if most else 0, step):
        cosines = xp.matmul(unit[first : first + step], unit.T, out=block[: min(step, v - first)])
        own = xp.arange(len(cosines))
        cosines[own, own + first] = -np.inf
        kept = cosines >= least
        too_many = xp.nonzero(kept.sum(axis=1) > most)[0]
        if len(too_many):
            scores = cosines[too_many]
            last = xp.partition(scores, v - most, axis=1)[:, v - most, None]
            kept[too_many] = scores >= last
            # the first of the equal ones stay
            tied = xp.nonzero((scores >= last).sum(axis=1) > most)[0]
            above, level = scores[tied] > last[tied], scores[tied] == last[tied]
            kept[too_many[tied]] = above | level & (
                xp.cumsum(level, axis=1) <= most - above.sum(axis=1, keepdims=True)
            )
        places = xp.flatnonzero(kept)
        rows = places // v
        found.append((rows + first, places - rows * v, cosines.reshape(-1)[places]))
    return [xp.concatenate(parts) for parts in zip(*found, strict=True)]


def _found_neighbors(search):
    """The same by a function of the caller's."""

    def find(xp, unit, least, most):
        v = len(unit)
        if not v or not most:
            return _neighbors(xp, unit, least, 0)
        if hasattr(search, "fit"):
            search.fit(unit)
        k = min(most + 1, v)  # the word itself is among them
        found = search(unit, k)
        if not isinstance(found, tuple) or len(found) < 2:
            raise TypeError(f"search must return (scores, indices) (got {type(found).__name__})")
        scores, ids = found[:2]
        here = device_of(scores) is device_of(ids) is device_of(unit)
        if not here or ids.dtype.kind not in "iu" or scores.dtype.kind != "f":
            raise TypeError(
                "search must return scores of floats and indices of integers on the device of the "
                "embeddings"
            )
        if scores.shape != (v, k) or ids.shape != (v, k):
            raise ValueError(
                f"search must return two arrays of shape {(v, k)} (got {scores.shape} and "
                f"{ids.shape})"
            )
        check_ids("search", ids, v)
        scores = scores.astype(unit.dtype)
        kept = (scores >= least) & (ids != xp.arange(v)[:, None])
        kept &= xp.cumsum(kept, axis=1) <= most
        rows, places = xp.nonzero(kept)
        columns = ids[rows, places].astype(np.int64)
        order = xp.argsort(rows * v + columns, kind="stable")
        return rows[order], columns[order], scores[rows, places][order]

    return find
