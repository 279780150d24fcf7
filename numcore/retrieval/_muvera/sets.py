"""Checks of sets of vectors, given one after the other."""

from ...dispatch import namespace_of
from .._offsets import checked_offsets


def checked_finite(xp, name, array):
    if not bool(xp.isfinite(array).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")


def host_offsets(name, offsets, total, *, filled):
    """Offsets of sets as int64 of the host, with no empty set where the sets must be `filled`."""
    offsets = checked_offsets(name, offsets.get() if hasattr(offsets, "get") else offsets, total)
    empty = offsets[1:] == offsets[:-1]
    if filled and empty.any():
        raise ValueError(
            f"{name} must give every document a vector (got none for document {empty.argmax()})"
        )
    return offsets


def checked_sets(query_vectors, query_offsets, document_vectors, document_offsets):
    """The array namespace; queries and documents, contiguous, each with the offsets of its sets on
    the host."""
    xp = namespace_of(query_vectors)
    query_offsets = host_offsets("query_offsets", query_offsets, len(query_vectors), filled=False)
    document_offsets = host_offsets(
        "document_offsets", document_offsets, len(document_vectors), filled=True
    )
    queries, documents = map(xp.ascontiguousarray, (query_vectors, document_vectors))
    if not len(queries):
        checked_finite(xp, "document_vectors", documents)
    return xp, queries, query_offsets, documents, document_offsets
