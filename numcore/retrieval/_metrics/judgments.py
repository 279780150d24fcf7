"""Which documents are relevant for which query: judgments in any form, sorted."""

from typing import NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from ...linalg import CSR


class Judgments(NamedTuple):
    """Sorted by query, then document; `n_queries` is the number of rows of a matrix."""

    queries: Array
    documents: Array
    relevance: Array
    n_queries: int | None


def sorted_judgments(name, qrels):
    """The judgments of an (r, 3) array of integers, a CSR, or a bool matrix of relevant documents.

    Raises
    ------
    ValueError
        A document is judged twice for a query, a number is too large or not finite.
    """
    if isinstance(qrels, CSR):
        if not bool(namespace_of(qrels.data).isfinite(qrels.data).all()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
        return Judgments(
            qrels.rows.astype(np.int64),
            qrels.indices.astype(np.int64),
            qrels.data.astype(np.float64),
            qrels.shape[0],
        )
    xp = namespace_of(qrels)
    if qrels.dtype == bool:
        queries, documents = xp.nonzero(qrels)
        ones = xp.ones(len(queries), np.int64)
        return Judgments(queries.astype(np.int64), documents.astype(np.int64), ones, len(qrels))
    if qrels.dtype == np.uint64 and qrels.size and int(qrels.max()) >= 2**63:
        raise ValueError(f"{name} must be below 2**63 (got {int(qrels.max())})")
    return _sorted_columns(xp, name, qrels)


def _sorted_columns(xp, name, qrels):
    queries, documents, relevance = (
        xp.ascontiguousarray(qrels[:, c], dtype=np.int64) for c in range(3)
    )
    after = (queries[1:] > queries[:-1]) | (
        (queries[1:] == queries[:-1]) & (documents[1:] > documents[:-1])
    )
    if not bool(after.all()):
        order = order_by_query(xp, queries, documents)
        queries, documents, relevance = queries[order], documents[order], relevance[order]
        twice = (queries[1:] == queries[:-1]) & (documents[1:] == documents[:-1])
        if bool(twice.any()):
            i = int(twice.argmax())
            raise ValueError(
                f"{name} must judge a document once for a query (got query {int(queries[i])}, "
                f"document {int(documents[i])} twice)"
            )
    return Judgments(queries, documents, relevance, None)


def order_by_query(xp, queries, values):
    """The order by query, then value: where both fit into one integer, by that, as it is far
    quicker."""
    whole = values if values.dtype.kind == "i" else values.astype(np.int64)
    if len(whole) and (whole is values or bool((whole == values).all())):
        low, first = int(whole.min()), int(queries.min())
        span = int(whole.max()) - low + 1
        keys, bits = (int(queries.max()) - first + 1) * span, len(whole).bit_length()
        # and the place besides: sorting numbers is quicker than sorting places
        if keys < 1 << (63 - bits):
            both = queries - first
            both *= span << bits
            both += (whole - low) << bits
            both += xp.arange(len(whole), dtype=np.int64)
            both.sort()
            both &= (1 << bits) - 1
            return both
        if keys < 2**63:
            return xp.argsort((queries - first) * span + (whole - low))
    return xp.lexsort(xp.stack([values, queries.astype(values.dtype)]))
