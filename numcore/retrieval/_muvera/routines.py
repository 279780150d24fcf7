"""Exact Chamfer similarity, and search by codes."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np

from ...arguments import Array, Float, Int64, Integer, any_device, finite, interval
from ...dispatch import device_of, routine
from .._topk import topk_inner_product
from .encoder import FixedDimensionalEncoder
from .kernels import max_sim
from .sets import checked_finite, checked_sets


class MultiVectorResult(NamedTuple):
    """The best documents of each query, best first: exact scores and document numbers; and the
    candidates of the search by codes."""

    scores: Float[Array, "n_queries k"]
    indices: Int64[Array, "n_queries k"]
    candidates: Int64[Array, "n_queries n_candidates"]


@routine
def chamfer_similarity(
    query_vectors: Float[Array, "nq d", finite],
    document_vectors: Float[Array, "total d"],
    document_offsets: Integer[Array, "n_docs+1", any_device],
    *,
    query_offsets: Integer[Array, "n_queries+1", any_device] | None = None,
    normalize: bool = False,
) -> Array:
    """Chamfer similarity (MaxSim) of queries and documents: Σ over q in Q of max over p in D of ⟨q,
    p⟩.

    Parameters
    ----------
    query_vectors : (nq, d) array of float32 or float64, finite
        The vectors of one query, or, with `query_offsets`, those of several, one query after the
        other. Finite.
    document_vectors : (total, d) array of float32 or float64
        Of the same dtype, finite.
    document_offsets : (n_docs+1,) array of integers
        Document i has the vectors ``document_offsets[i]`` to ``document_offsets[i + 1]``, at least
        one. Offsets may be NumPy arrays beside vectors of a GPU.
    query_offsets : (n_queries+1,) array of integers, optional
        The same for queries, which may be empty.
    normalize : bool, default False
        Divide by the number of the query's vectors.

    Returns
    -------
    (n_docs,) array, or (n_queries, n_docs) with `query_offsets`
        0 for an empty query, NaN where a product exceeds the range of the dtype. Products are sums
        of d terms in the dtype of the vectors, their error at most d roundoffs times the same sum
        of absolute values.

    Raises
    ------
    ValueError
        The widths differ, offsets do not ascend or do not cover the vectors, a document is empty,
        or entries are not finite.
    TypeError
        Other dtypes, or arguments on different devices.

    Notes
    -----
    2 \\|Q\\| \\|D\\| d operations for a pair; products are not kept, so that the memory beyond the
    result does not grow with the vectors.

    References
    ----------
    O. Khattab, M. Zaharia, "ColBERT: efficient and effective passage search via contextualized late
    interaction over BERT", SIGIR 2020.

    Examples
    --------
    >>> chamfer_similarity(np.eye(2), np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]), [0, 2, 3])
    array([4., 4.])
    """
    one = query_offsets is None
    if one:
        query_offsets = np.array([0, len(query_vectors)])
    xp, queries, query_offsets, documents, document_offsets = checked_sets(
        query_vectors, query_offsets, document_vectors, document_offsets
    )
    scores = _chamfer(
        xp,
        queries,
        query_offsets,
        documents,
        document_offsets,
        xp.arange(len(document_offsets) - 1)[None],
    )
    if normalize:
        scores = scores / xp.asarray(
            np.maximum(np.diff(query_offsets), 1)[:, None].astype(scores.dtype)
        )
    return scores[0] if one else scores


def _chamfer(xp, queries, query_offsets, documents, document_offsets, candidates):
    """(n_queries, c) similarities of each query and its row of candidates, or the one row of
    all."""
    scores = xp.empty((len(query_offsets) - 1) * candidates.shape[1], queries.dtype)
    max_sim(
        queries,
        xp.asarray(query_offsets),
        documents,
        xp.asarray(document_offsets),
        xp.ascontiguousarray(candidates),
        scores,
    )
    if bool(xp.isnan(scores).any()):  # as the products of documents that are not finite are
        checked_finite(xp, "document_vectors", documents)
    return scores.reshape(len(query_offsets) - 1, candidates.shape[1])


@routine
def multi_vector_search(
    query_vectors: Float[Array, "total_q d", finite],
    query_offsets: Integer[Array, "n_queries+1", any_device],
    document_vectors: Float[Array, "total d"],
    document_offsets: Integer[Array, "n_docs+1", any_device],
    k: Annotated[int, interval("[1, n_docs]")],
    *,
    encoder: FixedDimensionalEncoder | None = None,
    n_candidates: Annotated[int, interval("[1, n_docs]")] | None = None,
    search: Callable[[Array, int], tuple[Any, Array]] | None = None,
) -> MultiVectorResult:
    """The k documents of the largest Chamfer similarity: candidates by inner products of codes,
    ranked by exact similarities.

    Parameters
    ----------
    query_vectors : (total_q, d) array of float32 or float64, finite
        The vectors of all queries, one query after the other. Finite.
    query_offsets : (n_queries+1,) array of integers
        Query i has the vectors ``query_offsets[i]`` to ``query_offsets[i + 1]``.
    document_vectors : (total, d) array of float32 or float64
        Of the same dtype, finite.
    document_offsets : (n_docs+1,) array of integers
        The same for documents, each with one vector at least.
    k : int in [1, n_docs]
        1 <= k <= n_docs.
    encoder : FixedDimensionalEncoder, optional
        By default one of 20 repetitions, 16 cells and at most 16 numbers a cell, from a fixed seed.
    n_candidates : int in [1, n_docs], optional
        k <= n_candidates <= n_docs; by default 10 k or 3 % of the documents, whichever is more, or
        all where there are fewer.
    search : callable, optional
        ``search(codes, n_candidates)`` → (scores, indices), both (n_queries, n_candidates): an
        index of the documents' codes, made by ``encoder.encode_documents`` beforehand. By default
        documents are encoded in the call, and searched exactly.

    Returns
    -------
    MultiVectorResult
        Best first, ties by the smaller index. Scores are exact similarities, those of
        `chamfer_similarity`; a document is missed where it is no candidate, so that more candidates
        give a higher recall, and n_candidates = n_docs the exact result.

    Raises
    ------
    ValueError
        k or n_candidates is outside its range, widths differ, offsets do not ascend or do not cover
        the vectors, a document is empty, entries are not finite, or `search` gives other shapes or
        indices of no document.
    TypeError
        Other dtypes, arguments on different devices, or an `encoder` or a `search` that is none.

    Notes
    -----
    The codes of all documents, n_docs × output_dim numbers, are held during the call; give `search`
    to keep them between calls. Then only candidates are read, and only their vectors are checked.

    References
    ----------
    L. Dhulipala et al., "MUVERA: multi-vector retrieval via fixed dimensional encodings", NeurIPS
    2024.

    Examples
    --------
    >>> documents = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [2.0, 2.0]])
    >>> multi_vector_search(np.eye(2), [0, 1, 2], documents, [0, 2, 3, 4], 2).indices
    array([[2, 0],
           [1, 2]])
    """
    xp, queries, query_offsets, documents, document_offsets = checked_sets(
        query_vectors, query_offsets, document_vectors, document_offsets
    )
    n = len(document_offsets) - 1
    n_candidates = min(max(10 * k, -(-3 * n // 100)), n) if n_candidates is None else n_candidates
    if n_candidates < k:
        raise ValueError(f"n_candidates must be >= k with k = {k} (got {n_candidates})")
    if encoder is None:
        dim = queries.shape[1]
        encoder = FixedDimensionalEncoder(
            max(dim, 1), n_bits=4, projection_dim=max(min(dim, 16), 1), rng=0
        )
    codes = encoder._encode("query_vectors", queries, query_offsets, documents=False)
    if search is None:
        found = topk_inner_product(
            codes,
            encoder._encode("document_vectors", documents, document_offsets, documents=True),
            n_candidates,
        )
    else:
        found = search(codes, n_candidates)
    candidates = _checked_candidates(found, queries, n_candidates, len(query_offsets) - 1, n)
    ascending = xp.sort(candidates, axis=1)
    scores = _chamfer(xp, queries, query_offsets, documents, document_offsets, ascending)
    order = xp.argsort(-scores, axis=1, kind="stable")[:, :k]
    return MultiVectorResult(
        xp.take_along_axis(scores, order, 1), xp.take_along_axis(ascending, order, 1), candidates
    )


def _checked_candidates(found, queries, n_candidates, n_queries, n):
    """The indices that a search gave, as int64."""
    try:
        _, indices = found
    except (TypeError, ValueError):
        raise TypeError(
            f"search must return (scores, indices) (got {type(found).__name__})"
        ) from None
    if device_of(indices) is not device_of(queries) or indices.dtype.kind not in "iu":
        got = getattr(indices, "dtype", type(indices).__name__)
        raise TypeError(
            f"search must return indices of integers on the device of the queries (got {got})"
        )
    if indices.shape != (n_queries, n_candidates):
        raise ValueError(
            f"search must return indices of shape {(n_queries, n_candidates)} (got {indices.shape})"
        )
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < n:
        low, high = int(indices.min()), int(indices.max())
        raise ValueError(f"search must return indices in [0, {n}) (got {low} … {high})")
    return indices.astype(np.int64, copy=False)
