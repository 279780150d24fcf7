"""Similarities of stimuli that are described by tags, or by the words of captions."""

import math
from typing import Annotated, Literal

import numpy as np

from ...arguments import Array, Bound, Float, Integer, finite, nonnegative, within
from ...dispatch import namespace_of, routine
from ...linalg import CSR
from .._offsets import checked_offsets, list_of_entry
from .kernels import tag_overlaps
from .pairs import largest
from .similarities import cosines, unit_rows


@routine
def tag_similarity(
    tag_values: Integer[Array, "z", Bound(0, 1 << 62, closed_high=False)],
    tag_offsets: Integer[Array, "n+1"],
    tag_weights: Float[Array, "z", finite, nonnegative] | None = None,
    *,
    method: Literal["embedding", "jaccard", "cosine", "rouge1", "bm25"] = "embedding",
    tag_embeddings: Float[Array, "m d", finite] | None = None,
    idf: bool = True,
    k1: Annotated[float, nonnegative] = 1.2,
    b: Annotated[float, within(0, 1)] = 0.75,
) -> Array:
    """Similarities of all pairs of stimuli that are described by tags, or by the words of captions.

    Parameters
    ----------
    tag_values : (z,) array of integers, in [0, 2**62)
        Names of tags. A tag may come several times; its weights are then added up.
    tag_offsets : (n+1,) array of integers
        Stimulus i has the tags ``tag_values[tag_offsets[i]:tag_offsets[i + 1]]``.
    tag_weights : (z,) array of float32 or float64, >= 0, finite, optional
        How much each tag counts: the rating of a tag, or how often a word occurs. 0 is as if the
        tag were not there. 1 each by default.
    method : {"embedding", "jaccard", "cosine", "rouge1", "bm25"}, default "embedding"
        "embedding": cosine of the weighted means of the tags' embeddings. "jaccard": common tags by
        all tags of both. "cosine": of the vectors of weights. "rouge1": 2 Σ_t min(c_it, c_jt) /
        (Σ_t c_it + Σ_t c_jt). "bm25": the mean over both directions of Σ_{t in i} idf_t c_jt (k1 +
        1) / (c_jt + k1 (1 - b + b L_j / L)), the sum being over distinct tags, L_j the sum of the
        weights of j and L its mean.
    tag_embeddings : (m, d) array of float32 or float64, finite, optional
        For "embedding", which needs it.
    idf : bool, default True
        Let rare tags weigh more, for "embedding" and "cosine" by ln(n / n_t), where n_t stimuli
        have the tag t, and for "bm25" by ln(1 + (n - n_t + 1/2) / (n_t + 1/2)). A tag of all
        stimuli then has no weight in the first two.
    k1 : float >= 0, default 1.2
    b : float in [0, 1], default 0.75
        Of "bm25": k1 says how soon repetitions saturate, b how much long texts are held back.

    Returns
    -------
    (n, n) array
        Of the dtype of the weights and embeddings, float64 if there are none. A stimulus without
        tags has similarity 0 to all.

    Raises
    ------
    ValueError
        Offsets that do not ascend from 0 to z, ids out of range, weights or embeddings that are
        negative or not finite, an unknown method, options out of range.
    TypeError
        Other dtypes.

    Notes
    -----
    Common tags are found by lists of the stimuli of each tag: O(Σ_t n_t² + n²). Sums are taken in
    float64.

    References
    ----------
    R. Marjieh et al., "Words are all you need? Language as an approximation for human similarity
    judgments", ICLR 2023; S. Robertson, H. Zaragoza, "The probabilistic relevance framework: BM25
    and beyond", Foundations and Trends in IR, 2009.

    Examples
    --------
    Tags a a b and a b c:

    >>> tag_similarity([0, 0, 1, 0, 1, 2], [0, 3, 6], method="rouge1").round(6)
    array([[1.      , 0.666667],
           [0.666667, 1.      ]])
    """
    xp = namespace_of(tag_values)
    offsets = checked_offsets("tag_offsets", tag_offsets, len(tag_values))
    if tag_weights is not None:
        _check_sum(tag_weights)
    if method == "embedding" and tag_embeddings is None:
        raise ValueError("tag_embeddings must be given for method='embedding' (got None)")
    m = None if tag_embeddings is None else len(tag_embeddings)
    if m is not None and len(tag_values) and int(tag_values.max()) >= m:
        raise ValueError(
            f"tag_values must be < {m}, the rows of tag_embeddings (got {int(tag_values.max())})"
        )
    given = [a.dtype for a in (tag_weights, tag_embeddings) if a is not None]
    dtype = given[0] if given else np.dtype(np.float64)
    tags = _merged_tags(xp, tag_values, offsets, tag_weights, m if method == "embedding" else None)
    with np.errstate(under="ignore"):
        if method == "embedding":
            s = _embedded(xp, tags, tag_embeddings, idf)
        elif method == "bm25":
            s = _bm25(xp, tags, idf, k1, b)
        else:
            s = {"jaccard": _jaccard, "cosine": _tag_cosine, "rouge1": _rouge1}[method](
                xp, tags, idf
            )
        return s.astype(dtype, copy=False)


def _check_sum(weights):
    with np.errstate(over="ignore"):
        total = float(weights.astype(np.float64).sum())
    if not math.isfinite(total):
        raise ValueError(f"tag_weights must have a finite sum (got {total})")


def _merged_tags(xp, ids, offsets, weights, m):
    """A CSR of the summed positive weights, float64; without `m`, tags are numbered anew by their
    ids' order."""
    ids = ids.astype(np.int64)
    rows = list_of_entry(xp, offsets)
    weights = xp.ones(len(ids)) if weights is None else weights.astype(np.float64)
    there = weights > 0
    rows, ids, weights = rows[there], ids[there], weights[there]
    if m is None:
        names, ids = xp.unique(ids, return_inverse=True)
        m = len(names)
    return CSR.from_coo(rows, ids, weights, (len(offsets) - 1, m))


def _counts(xp, tags):
    """(m,) the number of stimuli of each tag."""
    return (
        xp.bincount(tags.indices, minlength=tags.shape[1])
        if tags.nnz
        else xp.zeros(tags.shape[1], np.int64)
    )


def _row_sums(xp, tags, values):
    return (
        xp.bincount(tags.rows, weights=values, minlength=tags.shape[0])
        if tags.nnz
        else xp.zeros(tags.shape[0])
    )


def _log_rarity(xp, tags):
    """(z,) ln(n / n_t) for every entry."""
    return xp.log(tags.shape[0] / _counts(xp, tags)[tags.indices])


def _embedded(xp, tags, embeddings, idf):
    weights = tags.data / largest(xp, tags.data) if tags.nnz else tags.data
    if idf:
        weights = weights * _log_rarity(xp, tags)
    e = embeddings.astype(np.float64)
    e = e / largest(xp, e) if e.size else e
    # the sum is as good as the mean
    return cosines(xp, unit_rows(xp, CSR(tags.indptr, tags.indices, weights, tags.shape) @ e))


def _overlaps(xp, tags, a, b, least=False):
    """(n, n) Σ_t a_it b_jt over common tags, or Σ_t min(a_it, b_jt)."""
    n = tags.shape[0]
    s = xp.empty((n, n))
    lists = CSR(tags.indptr, tags.indices, b, tags.shape).T
    tag_overlaps(
        tags.indptr.astype(np.int64),
        tags.indices.astype(np.int64),
        a,
        lists.indptr.astype(np.int64),
        lists.indices.astype(np.int64),
        lists.data,
        s,
        int(least),
    )
    return s


def _ratio(xp, above, below):
    return above / xp.where(below > 0, below, 1)


def _jaccard(xp, tags, idf):
    ones = xp.ones(tags.nnz)
    common, sizes = _overlaps(xp, tags, ones, ones), _row_sums(xp, tags, ones)
    return _ratio(xp, common, sizes[:, None] + sizes - common)


def _rouge1(xp, tags, idf):
    weights = tags.data / (2 * largest(xp, tags.data)) if tags.nnz else tags.data
    sizes = _row_sums(xp, tags, weights)
    return _ratio(xp, 2 * _overlaps(xp, tags, weights, weights, least=True), sizes[:, None] + sizes)


def _tag_cosine(xp, tags, idf):
    weights = tags.data / largest(xp, tags.data) if tags.nnz else tags.data
    if idf:
        weights = weights * _log_rarity(xp, tags)
    norms = xp.sqrt(_row_sums(xp, tags, weights**2))
    unit = _ratio(xp, weights, norms[tags.rows])
    s = xp.clip(_overlaps(xp, tags, unit, unit), 0, 1)
    n = xp.arange(len(s))
    s[n, n] = (norms > 0).astype(np.float64)
    return s


def _bm25(xp, tags, idf, k1, b):
    n, counts, sizes = tags.shape[0], _counts(xp, tags), _row_sums(xp, tags, tags.data)
    rarity = xp.log1p((n - counts + 0.5) / (counts + 0.5)) if idf else xp.ones(len(counts))
    length = _ratio(xp, sizes, sizes.mean() if n else xp.zeros(()))
    saturated = tags.data * (k1 + 1) / (tags.data + k1 * (1 - b + b * length[tags.rows]))
    s = _overlaps(xp, tags, rarity[tags.indices], saturated)
    return (s + s.T) / 2
