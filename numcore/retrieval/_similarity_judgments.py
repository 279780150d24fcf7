"""Models of human similarity judgments: similarity matrices of stimuli, how well they agree with
people, how to weigh features.

People rate how similar pairs of n stimuli are; embeddings or tags of the stimuli predict it. Here
are the model's similarities, the reliability of the ratings, which bounds what a model can reach,
correlations of similarity matrices with tests that respect that pairs share stimuli, stacked
features, and weights of features by ridge regression whose design, one row for each pair, is never
formed. After R. Marjieh, P. van Rijn, I. Sucholutsky, T. R. Sumers, H. Lee, T. L. Griffiths, N.
Jacoby, "Words are all you need? Language as an approximation for human similarity judgments", ICLR
2023, and J. C. Peterson, J. T. Abbott, T. L. Griffiths, "Evaluating (and improving) the
correspondence between deep neural networks and human representations", Cognitive Science, 2018.

The P = n (n - 1) / 2 pairs of stimuli are in the order of ``numpy.triu_indices(n, 1)`` wherever
they are in a vector.
"""

import math
from typing import NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..linalg import CSR
from ..random import key_from_rng, philox4x32

METRICS = ("cosine", "correlation", "dot", "neg_euclidean")
TAG_METHODS = ("embedding", "jaccard", "cosine", "rouge1", "bm25")
CORRELATIONS = ("pearson", "spearman")
BLOCK = 1 << 20  # numbers of a temporary array
MOST_DRAWS = 10**7  # splits, permutations, resamples
MOST_FEATURES = 8192  # whose Gram matrix takes 512 MB
ALPHAS = tuple(10.0**e for e in range(-3, 6))
# squared distances below this part of the squared lengths are computed again, from differences
NEAR = 1e-3
ASYMMETRY = {"float32": 1e-5, "float64": 1e-8}
TIE = 1e-12  # correlations of permutations that differ by rounding errors only are the same
CONSTANT = 1e-14  # relative deviations that are rounding errors


class Reliability(NamedTuple):
    """How far halves of the raters agree: their mean correlation, that expected of all raters, and
    95 % of the splits' correlations."""

    split_half: float
    spearman_brown: float
    interval: tuple

    @property
    def noise_ceiling(self):
        """√reliability: the correlation with the ratings that a perfect model is expected to have;
        0 for a negative reliability."""
        return max(self.spearman_brown, type(self.spearman_brown)(0)) ** 0.5


class RSAResult(NamedTuple):
    """Agreement of two similarity matrices; `pvalue` and `interval` are None where they were not
    asked for."""

    correlation: float
    pvalue: float | None
    interval: tuple | None


# --- similarities of features and of tags ---------------------------------------------------------


@routine
def similarity_matrix(features, *, metric="cosine", condensed=False):
    """Similarities of all pairs of stimuli.

    Parameters
    ----------
    features : (n, d) array of float32 or float64
        One row for each stimulus; finite.
    metric : {"cosine", "correlation", "dot", "neg_euclidean"}
        Cosine; Pearson correlation of the rows; inner product; minus the Euclidean distance.
    condensed : bool
        Give the pairs i < j as a vector.

    Returns
    -------
    (n, n) array, or (n (n - 1) / 2,) if `condensed`
        Of the same dtype. Cosines of a row of zeros, and correlations of a constant row, are 0.
        Cosines and correlations keep within [-1, 1]; their error is about d units of roundoff.
        Distances of near points are taken from differences, not from inner products.

    Raises
    ------
    ValueError
        Entries that are not finite, another shape, an unknown metric.
    TypeError
        Another dtype.

    Notes
    -----
    O(n² d) operations, nearly all of them in one matrix product.

    References
    ----------
    R. Marjieh et al., "Words are all you need? Language as an approximation for human similarity
    judgments", ICLR 2023.

    Examples
    --------
    >>> similarity_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), condensed=True).round(3)
    array([0.   , 0.707, 0.707])
    """
    xp, (features,) = _arrays(features=features)
    dtype = _checked_features(xp, "features", features)
    checked_choice("metric", metric, METRICS)
    checked_bool("condensed", condensed)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        s = _similarities(xp, features, metric).astype(dtype, copy=False)
    return _condensed(xp, s) if condensed else s


def _similarities(xp, x, metric):
    if metric == "dot":
        return x @ x.T
    if metric == "neg_euclidean":
        return _negative_distances(xp, x)
    return _cosines(xp, _unit_rows(xp, _centred_rows(xp, x) if metric == "correlation" else x))


def _cosines(xp, unit):
    s = unit @ unit.T
    s = xp.clip(s, -1, 1)
    n = xp.arange(len(s))
    s[n, n] = unit.any(axis=1).astype(s.dtype)
    return s


def _largest(xp, x, axis=None):
    """The largest absolute value, 1 where all are zero: a divisor that keeps squares within
    range."""
    top = xp.abs(x).max(axis=axis, keepdims=axis is not None)
    return xp.where(top > 0, top, top.dtype.type(1))


def _unit_rows(xp, x):
    """Rows of length 1; rows of zeros stay."""
    if not x.size:
        return x
    x = x / _largest(xp, x, 1)
    norm = xp.sqrt(xp.einsum("ij,ij->i", x, x))[:, None]
    return x / xp.where(norm > 0, norm, norm.dtype.type(1))


def _centred_rows(xp, x):
    """Rows minus their means, up to a factor; exactly zero where a row is constant but for
    rounding."""
    if not x.size:
        return x
    x = x / _largest(xp, x, 1)
    x = x - x.mean(axis=1, keepdims=True)
    varies = xp.abs(x).max(axis=1, keepdims=True) > 8 * np.finfo(x.dtype).eps
    return xp.where(varies, x, x.dtype.type(0))


def _negative_distances(xp, x):
    n = len(x)
    if not x.size:
        return xp.zeros((n, n), x.dtype)
    top = _largest(xp, x).astype(np.float64)
    x = x.astype(np.float64) / top
    x = x - x.mean(axis=0)
    g = x @ x.T
    lengths = xp.diagonal(g)[:, None] + xp.diagonal(g)
    squares = lengths - 2 * g
    rows, cols = xp.nonzero(xp.triu(squares < NEAR * lengths, 1))
    step = max(1, BLOCK // x.shape[1])
    for first in range(0, len(rows), step):
        i, j = rows[first : first + step], cols[first : first + step]
        difference = x[i] - x[j]
        squares[i, j] = squares[j, i] = xp.einsum("ij,ij->i", difference, difference)
    return 0 - top * xp.sqrt(xp.maximum(squares, 0))


@routine
def tag_similarity(
    tag_indptr,
    tag_ids,
    tag_weights=None,
    *,
    method="embedding",
    tag_embeddings=None,
    idf=True,
    k1=1.2,
    b=0.75,
):
    """Similarities of all pairs of stimuli that are described by tags, or by the words of captions.

    Parameters
    ----------
    tag_indptr : (n + 1,) array of int
        Stimulus i has the tags ``tag_ids[tag_indptr[i]:tag_indptr[i + 1]]``.
    tag_ids : (z,) array of int
        Names of tags, from 0. A tag may come several times; its weights are then added up.
    tag_weights : (z,) array of float32 or float64, optional
        How much each tag counts: the rating of a tag, or how often a word comes. Not negative; 0 is
        as if the tag were not there. 1 each by default.
    method : {"embedding", "jaccard", "cosine", "rouge1", "bm25"}
        "embedding": cosine of the weighted means of the tags' embeddings. "jaccard": common tags by
        all tags of both. "cosine": of the vectors of weights. "rouge1": 2 Σ_t min(c_it, c_jt) /
        (Σ_t c_it + Σ_t c_jt). "bm25": the mean over both directions of Σ_{t in i} idf_t c_jt (k1 +
        1) / (c_jt + k1 (1 - b + b L_j / L)), the sum being over distinct tags, L_j the sum of the
        weights of j and L its mean.
    tag_embeddings : (m, d) array of the same dtype
        For "embedding", which needs it.
    idf : bool
        Let rare tags weigh more, for "embedding" and "cosine" by ln(n / n_t), where n_t stimuli
        have the tag t, and for "bm25" by ln(1 + (n - n_t + 1/2) / (n_t + 1/2)). A tag of all
        stimuli then has no weight in the first two.
    k1, b : float
        Of "bm25": k1 >= 0 says how soon repetitions saturate, 0 <= b <= 1 how much long texts are
        held back.

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

    >>> tag_similarity([0, 3, 6], [0, 0, 1, 0, 1, 2], method="rouge1").round(6)
    array([[1.      , 0.666667],
           [0.666667, 1.      ]])
    """
    xp, (tag_indptr, tag_ids, tag_weights, tag_embeddings) = on_device(
        tag_indptr=tag_indptr,
        tag_ids=tag_ids,
        tag_weights=tag_weights,
        tag_embeddings=tag_embeddings,
    )
    given = {
        name: a
        for name, a in (("tag_weights", tag_weights), ("tag_embeddings", tag_embeddings))
        if a is not None
    }
    dtype = float_dtype(**given) if given else np.dtype(np.float64)
    checked_choice("method", method, TAG_METHODS)
    checked_bool("idf", idf)
    k1, b = checked_number("k1", k1, least=0), checked_number("b", b, least=0, most=1)
    _check_offsets(xp, tag_indptr, tag_ids)
    _check_weights(xp, tag_weights, tag_ids)
    if method == "embedding" or tag_embeddings is not None:
        _check_embeddings(xp, tag_embeddings, tag_ids)
    tags = _merged_tags(
        xp, tag_indptr, tag_ids, tag_weights, None if method != "embedding" else len(tag_embeddings)
    )
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


def _check_offsets(xp, indptr, ids):
    for name, array in (("tag_indptr", indptr), ("tag_ids", ids)):
        if (
            array is None
            or array.dtype.kind not in "iu"
            and (array.size or array.dtype != np.float64)
        ):
            raise TypeError(
                f"{name} must be an array of integers (got {getattr(array, 'dtype', None)})"
            )
        if array.ndim != 1:
            raise ValueError(f"{name} must have 1 dimension (got shape {array.shape})")
    if (
        not len(indptr)
        or int(indptr[0]) != 0
        or int(indptr[-1]) != len(ids)
        or bool((indptr[1:] < indptr[:-1]).any())
    ):
        raise ValueError(
            f"tag_indptr must ascend from 0 to the number of tag_ids (got {len(indptr)} offsets "
            f"for {len(ids)} ids)"
        )
    if len(ids) and not (0 <= int(ids.min()) and int(ids.max()) < 2**62):
        raise ValueError(
            f"tag_ids must satisfy 0 <= id < 2**62 (got {int(ids.min())} … {int(ids.max())})"
        )


def _check_weights(xp, weights, ids):
    if weights is None:
        return
    if weights.shape != ids.shape:
        raise ValueError(
            f"tag_weights must have the shape of tag_ids, {ids.shape} (got {weights.shape})"
        )
    if not bool(xp.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("tag_weights must be finite and >= 0 (got others)")
    with np.errstate(over="ignore"):
        if not math.isfinite(float(weights.astype(np.float64).sum())):
            raise ValueError("tag_weights must have a finite sum (got inf)")


def _check_embeddings(xp, embeddings, ids):
    if embeddings is None:
        raise ValueError("tag_embeddings must be given for method='embedding' (got None)")
    _checked_features(xp, "tag_embeddings", embeddings)
    if len(ids) and int(ids.max()) >= len(embeddings):
        raise ValueError(
            f"tag_ids must satisfy 0 <= id < {len(embeddings)}, the rows of tag_embeddings (got "
            f"{int(ids.max())})"
        )


def _merged_tags(xp, indptr, ids, weights, m):
    """A CSR of the summed positive weights, float64; without `m`, tags are numbered anew by their
    ids' order."""
    ids = ids.astype(np.int64)
    rows = xp.searchsorted(indptr.astype(np.int64), xp.arange(len(ids)), side="right") - 1
    weights = xp.ones(len(ids)) if weights is None else weights.astype(np.float64)
    there = weights > 0
    rows, ids, weights = rows[there], ids[there], weights[there]
    if m is None:
        names, ids = xp.unique(ids, return_inverse=True)
        m = len(names)
    return CSR.from_coo(rows, ids, weights, (len(indptr) - 1, m))


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
    weights = tags.data / _largest(xp, tags.data) if tags.nnz else tags.data
    if idf:
        weights = weights * _log_rarity(xp, tags)
    e = embeddings.astype(np.float64)
    e = e / _largest(xp, e) if e.size else e
    return _cosines(
        xp, _unit_rows(xp, CSR(tags.indptr, tags.indices, weights, tags.shape).matmat(e))
    )  # the sum is as good as the mean


def _overlaps(xp, tags, a, b, least=False):
    """(n, n) Σ_t a_it b_jt over common tags, or Σ_t min(a_it, b_jt)."""
    n = tags.shape[0]
    s = xp.empty((n, n))
    lists = CSR(tags.indptr, tags.indices, b, tags.shape).transpose()
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
    weights = tags.data / (2 * _largest(xp, tags.data)) if tags.nnz else tags.data
    sizes = _row_sums(xp, tags, weights)
    return _ratio(xp, 2 * _overlaps(xp, tags, weights, weights, least=True), sizes[:, None] + sizes)


def _tag_cosine(xp, tags, idf):
    weights = tags.data / _largest(xp, tags.data) if tags.nnz else tags.data
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


@routine
def stack_features(features_list, *, scaling="unit"):
    """Several representations of the same stimuli side by side, scaled so that none dominates.

    Parameters
    ----------
    features_list : list of (n, d_k) arrays, all float32 or all float64
        Finite; at least one.
    scaling : {"unit", "zscore", "none"}
        "unit": rows of length 1 in every block, so that the cosine of stacked rows is the mean of
        the blocks' cosines. "zscore": columns of mean 0 and variance 1. "none": as they are.

    Returns
    -------
    (n, Σ d_k) array
        Of the same dtype. Rows of zeros stay so under "unit"; constant columns become 0 under
        "zscore".

    Raises
    ------
    ValueError
        No array, different numbers of stimuli, entries that are not finite, an unknown scaling.
    TypeError
        `features_list` is no list or tuple, other or mixed dtypes, arrays on different devices.

    References
    ----------
    R. Marjieh et al., "Words are all you need? Language as an approximation for human similarity
    judgments", ICLR 2023.

    Examples
    --------
    >>> stack_features([np.array([[3.0, 4.0]]), np.array([[100.0]])])
    array([[0.6, 0.8, 1. ]])
    """
    if not isinstance(features_list, (list, tuple)):
        raise TypeError(
            f"features_list must be a list of arrays (got {type(features_list).__name__})"
        )
    if not features_list:
        raise ValueError("features_list must have at least one array (got none)")
    checked_choice("scaling", scaling, ("unit", "zscore", "none"))
    named = {f"features_list[{k}]": block for k, block in enumerate(features_list)}
    xp, blocks = _arrays(**named)
    float_dtype(**dict(zip(named, blocks, strict=True)))
    for name, block in zip(named, blocks, strict=True):
        _checked_features(xp, name, block)
        if len(block) != len(blocks[0]):
            raise ValueError(
                f"features_list must have the same stimuli in all arrays (got {len(blocks[0])} and "
                f"{len(block)})"
            )
    scale = {
        "unit": _unit_rows,
        "zscore": lambda xp, x: (
            _unit_rows(xp, _centred_rows(xp, x.T)).T * x.dtype.type(len(x)) ** 0.5
        ),
        "none": lambda xp, x: x,
    }[scaling]
    with np.errstate(under="ignore"):
        return xp.concatenate([scale(xp, block) for block in blocks], axis=1)


# --- agreement ------------------------------------------------------------------------------------


@routine
def rating_reliability(ratings, *, n_splits=1000, method="pearson", missing="raise", rng=None):
    """How reliable ratings of pairs are: correlations of the means of one half of the raters with
    those of the other half.

    Parameters
    ----------
    ratings : (P, r) array of float32 or float64
        The ratings of P >= 3 pairs by r raters, NaN where there is none. If none is missing, a
        split divides the raters; otherwise it divides the ratings of each pair. An odd one is left
        out at random.
    n_splits : int
        Random splits.
    method : {"pearson", "spearman"}
    missing : {"raise", "drop"}
        What to do with pairs that have fewer than two ratings: an error, or leave them out.
    rng : None, int or numpy.random.Generator, optional

    Returns
    -------
    Reliability
        `split_half`, the mean correlation r over the splits; `spearman_brown`, 2 r / (1 + r), the
        reliability of the mean of all raters; `interval`, the 2.5 and 97.5 percentiles of the
        splits' correlations, which x → 2 x / (1 + x) makes an interval of the reliability;
        `noise_ceiling`, the root of the reliability, which a model's correlation with the ratings
        is not expected to exceed. Numbers of the dtype of `ratings`, computed in float64.

    Raises
    ------
    ValueError
        A pair with fewer than two ratings, fewer than 3 pairs, infinite ratings, all means of a
        half the same, or unknown options.
    TypeError
        Another dtype.

    Notes
    -----
    Without missing ratings a Pearson correlation follows from the covariances of the raters: O(P r²
    + n_splits r²) operations. Else O(n_splits P r), for "spearman" with a sort of the means.

    References
    ----------
    W. Brown, "Some experimental results in the correlation of mental abilities", British Journal of
    Psychology, 1910; R. Marjieh et al., "Words are all you need? Language as an approximation for
    human similarity judgments", ICLR 2023.

    Examples
    --------
    Two raters can be split in one way only.

    >>> r = rating_reliability(
    ...     np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [4.0, 3.0]]), n_splits=10, rng=0
    ... )
    >>> (
    ...     round(float(r.split_half), 6),
    ...     round(float(r.spearman_brown), 6),
    ...     round(float(r.noise_ceiling), 6),
    ... )
    (0.6, 0.75, 0.866025)
    """
    xp, (ratings,) = _arrays(ratings=ratings)
    dtype = float_dtype(ratings=ratings)
    if ratings.ndim != 2:
        raise ValueError(f"ratings must have shape (pairs, raters) (got {ratings.shape})")
    n_splits = checked_count("n_splits", n_splits, least=1, most=MOST_DRAWS)
    checked_choice("method", method, CORRELATIONS)
    checked_choice("missing", missing, ("raise", "drop"))
    key = key_from_rng(rng)
    x, known = _checked_ratings(xp, ratings, missing)
    if bool(known.all()):
        r = _rater_splits(xp, x, n_splits, method, np.random.default_rng(key))
    else:
        r = _pairwise_splits(xp, x, known, n_splits, method, key)
    if not bool(xp.isfinite(r).all()):
        raise ValueError(
            "ratings must differ between pairs (got a half of the raters with the same mean for "
            "all: correlation undefined)"
        )
    mean = float(r.mean())
    full = 2 * mean / (1 + mean) if mean > -1 else -math.inf
    return Reliability(dtype.type(mean), dtype.type(full), _percentiles(xp, r, dtype))


def _checked_ratings(xp, ratings, missing):
    """Ratings as float64, scaled and centred as a whole, of the pairs that have two; and where they
    are known."""
    if bool(xp.isinf(ratings).any()):
        raise ValueError("ratings must be finite, or NaN where missing (got inf)")
    x, known = ratings.astype(np.float64), ~xp.isnan(ratings)
    enough = known.sum(axis=1) >= 2
    if not bool(enough.all()):
        if missing == "raise":
            raise ValueError(
                f"ratings must have at least 2 for every pair (got fewer in row "
                f"{int(enough.argmin())}); "
                "missing='drop' leaves such pairs out"
            )
        x, known = x[enough], known[enough]
    if len(x) < 3:
        raise ValueError(f"ratings must have at least 3 pairs (got {len(x)})")
    filled = xp.where(known, x, 0)
    filled = filled / _largest(xp, filled)
    return xp.where(known, filled - filled.sum() / known.sum(), 0), known


def _rater_splits(xp, x, n_splits, method, rng):
    """(n_splits,) correlations of the halves of the raters."""
    raters = x.shape[1]
    x = x - x.mean(axis=0)
    covariance, parts = x.T @ x, []
    step = max(1, min(BLOCK // max(raters, 1 if method == "pearson" else len(x)), n_splits))
    for first in range(0, n_splits, step):
        a, b = (xp.asarray(half) for half in _halves(rng, min(step, n_splits - first), raters))
        if method == "spearman":
            parts.append(_row_correlations(xp, _row_ranks(xp, a @ x.T), _row_ranks(xp, b @ x.T)))
            continue
        aa, bb, ab = (
            ((left @ covariance) * right).sum(axis=1) for left, right in ((a, a), (b, b), (a, b))
        )
        least = CONSTANT * xp.trace(covariance)
        parts.append(xp.where((aa > least) & (bb > least), _correlation(xp, ab, aa, bb), np.nan))
    return xp.concatenate(parts)


def _halves(rng, count, raters):
    """Two (count, raters) arrays: the weights of the raters in the means of either half, in random
    splits."""
    half = raters // 2
    order = rng.permuted(np.tile(np.arange(raters), (count, 1)), axis=1)
    weights = np.zeros((2, count, raters))
    for part in (0, 1):
        np.put_along_axis(
            weights[part], order[:, part * half : (part + 1) * half], 1 / half, axis=1
        )
    return weights


def _pairwise_splits(xp, x, known, n_splits, method, key):
    """(n_splits,) correlations of the halves of each pair's ratings."""
    values, ends = x[known], xp.cumsum(known.sum(axis=1))
    indptr = xp.concatenate([xp.zeros(1, np.int64), ends.astype(np.int64)])
    step, parts = max(1, min(BLOCK // len(x), n_splits)), []
    for first in range(0, n_splits, step):
        halves = xp.empty((min(step, n_splits - first), 2, len(x)))
        half_means(values, indptr, halves, *key, first)
        a, b = halves[:, 0], halves[:, 1]
        if method == "spearman":
            a, b = _row_ranks(xp, a), _row_ranks(xp, b)
        parts.append(_row_correlations(xp, a, b))
    return xp.concatenate(parts)


def _correlation(xp, ab, aa, bb):
    with np.errstate(divide="ignore", invalid="ignore"):
        return xp.clip(ab / (xp.sqrt(aa) * xp.sqrt(bb)), -1, 1)


def _row_correlations(xp, a, b):
    """Correlations of the rows of a with those of b; NaN where one is constant but for rounding."""

    def centred(x):
        least = (CONSTANT * _largest(xp, x, 1)[:, 0]) ** 2 * x.shape[1]
        x = x - x.mean(axis=1, keepdims=True)
        square = xp.einsum("ij,ij->i", x, x)
        return x, xp.where(square > least, square, np.nan)

    (a, aa), (b, bb) = centred(a), centred(b)
    return _correlation(xp, xp.einsum("ij,ij->i", a, b), aa, bb)


def _ranks(xp, x):
    """Ranks from 1 of a vector, ties by their mean."""
    _, which, counts = xp.unique(x, return_inverse=True, return_counts=True)
    return (xp.cumsum(counts) - (counts - 1) / 2)[which]


def _row_ranks(xp, x):
    return xp.stack([_ranks(xp, row) for row in x])


def _percentiles(xp, x, dtype):
    return tuple(dtype.type(value) for value in xp.percentile(x, (2.5, 97.5)).tolist())


@routine
def representational_similarity(
    predicted, target, *, method="pearson", n_permutations=0, n_bootstrap=0, rng=None
):
    """Correlation of two similarity matrices over the pairs i < j, with a test and an interval that
    take stimuli, not pairs, as the units.

    Parameters
    ----------
    predicted, target : (n, n) or (n (n - 1) / 2,) arrays of float32 or float64
        Symmetric matrices or their pairs; one may be of either form. n >= 3; diagonals do not
        count. Finite, not constant.
    method : {"pearson", "spearman"}
    n_permutations : int
        B > 0 asks for Mantel's test: stimuli are permuted, rows and columns together, and p = (1 +
        #{|r_perm| >= |r|}) / (1 + B).
    n_bootstrap : int
        B > 0 asks for an interval: stimuli are drawn n times with replacement, pairs of a stimulus
        with itself are left out. Draws of which the correlation is undefined do not count.
    rng : None, int or numpy.random.Generator, optional

    Returns
    -------
    RSAResult
        `correlation`; `pvalue`, or None; `interval`, the 2.5 and 97.5 percentiles of the bootstrap,
        or None. Numbers of the dtype of the arrays, computed in float64.

    Raises
    ------
    ValueError
        n < 3, lengths that are no n (n - 1) / 2, matrices that are not symmetric to 1e-8 of the
        largest entry (1e-5 for float32), different n, entries that are constant or not finite,
        unknown options.
    TypeError
        Other or mixed dtypes.

    Notes
    -----
    A permutation takes n² / 2 multiplications and no temporary array, a resample five products of a
    vector with an n × n matrix, for "spearman" sums over the sorted pairs.

    References
    ----------
    N. Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
    Research, 1967; N. Kriegeskorte, M. Mur, P. Bandettini, "Representational similarity analysis",
    Frontiers in Systems Neuroscience, 2008.

    Examples
    --------
    >>> r = representational_similarity(
    ...     np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 4.0], [2.0, 4.0, 1.0]])
    ... )
    >>> round(float(r.correlation), 6)
    0.981981
    """
    xp, (predicted, target) = _arrays(predicted=predicted, target=target)
    dtype = float_dtype(predicted=predicted, target=target)
    checked_choice("method", method, CORRELATIONS)
    n_permutations = checked_count("n_permutations", n_permutations, most=MOST_DRAWS)
    n_bootstrap = checked_count("n_bootstrap", n_bootstrap, most=MOST_DRAWS)
    rng = np.random.default_rng(key_from_rng(rng))
    (x, n), (y, other) = (
        _checked_pairs(xp, "predicted", predicted),
        _checked_pairs(xp, "target", target),
    )
    if n != other:
        raise ValueError(f"predicted and target must have the same stimuli (got {n} and {other})")
    if method == "spearman":
        x, y = _ranks(xp, x), _ranks(xp, y)
    x, y = _standardised(xp, "predicted", x), _standardised(xp, "target", y)
    r = float(xp.clip((x * y).mean(), -1, 1))
    pvalue = dtype.type(_mantel(xp, x, y, n, r, n_permutations, rng)) if n_permutations else None
    interval = (
        _percentiles(xp, _bootstrap(xp, x, y, n, method, n_bootstrap, rng), dtype)
        if n_bootstrap
        else None
    )
    return RSAResult(dtype.type(r), pvalue, interval)


def _arrays(**arguments):
    """As `on_device`, without None."""
    for name, value in arguments.items():
        if value is None:
            raise TypeError(f"{name} must be an array (got None)")
    return on_device(**arguments)


def _checked_features(xp, name, features):
    dtype = float_dtype(**{name: features})
    if features.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (got shape {features.shape})")
    if not bool(xp.isfinite(features).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")
    return dtype


def _checked_pairs(xp, name, s):
    """The pairs of a similarity matrix of either form as a vector of float64, and the number of
    stimuli."""
    if s.ndim not in (1, 2) or s.ndim == 2 and s.shape[0] != s.shape[1]:
        raise ValueError(f"{name} must have shape (n, n) or (n (n - 1) / 2,) (got {s.shape})")
    n = len(s) if s.ndim == 2 else (1 + math.isqrt(1 + 8 * len(s))) // 2
    if s.ndim == 1 and n * (n - 1) // 2 != len(s):
        raise ValueError(f"{name} must have n (n - 1) / 2 entries for some n (got {len(s)})")
    if n < 3:
        raise ValueError(f"{name} must have n >= 3 stimuli (got {n})")
    if not bool(xp.isfinite(s).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")
    if s.ndim == 1:
        return s.astype(np.float64), n
    with np.errstate(over="ignore"):
        wrong = float(xp.abs(s - s.T).max())
    if wrong > ASYMMETRY[s.dtype.name] * float(xp.abs(s).max()):
        raise ValueError(f"{name} must be symmetric (got entries that differ by {wrong:.3g})")
    return _condensed(xp, s).astype(np.float64), n


def _condensed(xp, s):
    return s[xp.triu_indices(len(s), 1)]


def _square(xp, pairs, n):
    """The symmetric matrix of the pairs, with zeros on its diagonal."""
    s = xp.zeros((n, n))
    i, j = xp.triu_indices(n, 1)
    s[i, j] = s[j, i] = pairs
    return s


def _standardised(xp, name, x):
    """x with mean 0 and variance 1."""
    x = x / _largest(xp, x)
    x = x - x.mean()
    deviation = float(xp.sqrt((x * x).mean()))
    if deviation <= CONSTANT:
        raise ValueError(
            f"{name} must not be constant (got a vector whose correlation is undefined)"
        )
    return x / deviation


def _mantel(xp, x, y, n, r, count, rng):
    x, y, extreme = _square(xp, x, n), _square(xp, y, n), 0
    step = max(1, BLOCK // n)
    for first in range(0, count, step):
        orders = np.tile(np.arange(n, dtype=np.int32), (min(step, count - first), 1))
        products = xp.empty(len(orders))
        permuted_products(x, y, xp.asarray(rng.permuted(orders, axis=1)), products)
        extreme += int((xp.abs(products) / (n * (n - 1) / 2) >= abs(r) - TIE).sum())
    return (1 + extreme) / (1 + count)


def _bootstrap(xp, x, y, n, method, count, rng):
    """Correlations of the resamples of which they are defined."""
    of_counts, parts = (
        (_resampled_pearson if method == "pearson" else _resampled_spearman)(xp, x, y, n),
        [],
    )
    step = max(1, BLOCK // n)
    for first in range(0, count, step):
        size = min(step, count - first)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        parts.append(
            of_counts(
                xp.asarray(
                    np.bincount(drawn.reshape(-1), minlength=n * size)
                    .reshape(size, n)
                    .astype(np.float64)
                )
            )
        )
    r = xp.concatenate(parts)
    r = r[xp.isfinite(r)]
    if not len(r):
        raise ValueError(
            f"n_bootstrap must be large enough for a resample whose correlation is defined (got "
            f"{count})"
        )
    return r


def _weighted_correlation(xp, w, wx, wy, wxx, wyy, wxy):
    """Correlation from weighted sums of variables of variance near 1; NaN where one is constant."""
    w = xp.where(w > 0, w, np.nan)
    x, y = wx / w, wy / w
    xx, yy = wxx / w - x * x, wyy / w - y * y
    defined = (xx > TIE) & (yy > TIE)
    return xp.where(
        defined,
        _correlation(xp, wxy / w - x * y, xp.where(defined, xx, 1), xp.where(defined, yy, 1)),
        np.nan,
    )


def _resampled_pearson(xp, x, y, n):
    """A pair of stimuli drawn a and b times counts a b times: sums over pairs are quadratic forms
    of the counts."""
    matrices = [_square(xp, pairs, n) for pairs in (x, y, x * x, y * y, x * y)]

    def correlations(counts):
        w = (n * n - (counts * counts).sum(axis=1)) / 2
        return _weighted_correlation(
            xp, w, *(((counts @ m) * counts).sum(axis=1) / 2 for m in matrices)
        )

    return correlations


def _resampled_spearman(xp, x, y, n):
    """The pairs are sorted once; the ranks of a resample are cumulative sums of how often each pair
    comes in it."""
    i, j = xp.triu_indices(n, 1)
    groups = [xp.unique(pairs, return_inverse=True)[1] for pairs in (x, y)]

    def ranks(w, group):
        size = xp.bincount(group, weights=w)
        return (xp.cumsum(size) - size / 2)[group]

    def correlation(counts):
        w = counts[i] * counts[j]
        total = xp.maximum(w.sum(), 1)
        a, b = (ranks(w, group) / total - 0.5 for group in groups)
        a, b = a * 12**0.5, b * 12**0.5
        return _weighted_correlation(
            xp, w.sum(), *((w * v).sum() for v in (a, b, a * a, b * b, a * b))
        )

    return lambda counts: xp.stack([correlation(row) for row in counts])


# --- weights of features --------------------------------------------------------------------------


class SimilarityRegression:
    """Weights of features that make inner products fit similarities: s_ij ≈ Σ_k w_k f_ik f_jk + c,
    by ridge regression.

    The weight of the penalty is chosen by cross-validation over stimuli: a fold's test pairs lie
    within it, training pairs have no end in it. With one row for each pair and one column for each
    feature, f_ik f_jk, the design would have n (n - 1) d / 2 entries. Its Gram matrix ½ [(FᵀF)² -
    (F²)ᵀ(F²)], squares being by elements, and the right-hand sides ½ diag(Fᵀ S F) need no design.

    Parameters
    ----------
    alphas : sequence of float
        Weights α > 0 of the penalty α |w|² to choose from, 10⁻³ … 10⁵ by default.
    n_folds : int
        At least 2, at most half the number of stimuli.
    centre : bool
        Fit the constant c, else it is 0.
    nonnegative : bool
        Allow no negative weights: similarities of rescaled features. By coordinate descent, to a
        relative change of 1e-9.
    rng : None, int or numpy.random.Generator, optional
        For the folds.

    Attributes
    ----------
    weights_ : (d,) array
        w, of the dtype of the features.
    intercept_ : float
        c
    alpha_ : float
        The α of the largest cross-validated correlation, with which all pairs were fitted in the
        end.
    cv_correlation_ : float
        That correlation, over the test pairs of all folds together. As the largest of several it is
        a little too good.
    cv_correlations_ : (number of alphas,) numpy array
        Those of all α; 0 where the predictions are constant.
    converged_ : bool
        Whether all coordinate descents ended before 1000 sweeps; True without `nonnegative`.

    Raises
    ------
    ValueError
        Options out of range.
    TypeError
        Options of other types.

    Notes
    -----
    O(n d² + n² d + d³) operations for each fold, however many alphas there are, by one
    eigendecomposition of the Gram matrix; O(d² + n² + n d) memory. All is computed in float64.
    Directions in which the Gram matrix is zero to rounding get no weight.

    References
    ----------
    J. C. Peterson, J. T. Abbott, T. L. Griffiths, "Evaluating (and improving) the correspondence
    between deep neural networks and human representations", Cognitive Science, 2018.

    Examples
    --------
    >>> from numcore.retrieval import SimilarityRegression, similarity_matrix
    >>> f = np.random.default_rng(0).standard_normal((30, 3))
    >>> model = SimilarityRegression(rng=0).fit(f, similarity_matrix(f * [1, 2, 0], metric="dot"))
    >>> (model.weights_.round(3) + 0).tolist(), model.predict(f).shape
    ([1.0, 4.0, 0.0], (30, 30))
    """

    def __init__(self, *, alphas=ALPHAS, n_folds=6, centre=True, nonnegative=False, rng=None):
        _, (alphas,) = _arrays(alphas=alphas)
        if not isinstance(alphas, np.ndarray) or alphas.dtype.kind not in "iuf":
            raise TypeError(f"alphas must be a sequence of numbers (got {type(alphas).__name__})")
        if (
            alphas.ndim != 1
            or not alphas.size
            or not (np.isfinite(alphas).all() and (alphas > 0).all())
        ):
            raise ValueError(
                f"alphas must be one or more numbers with 0 < alpha < inf (got "
                f"{alphas.tolist()!r:.80})"
            )
        self.alphas, self.n_folds = (
            alphas.astype(np.float64),
            checked_count("n_folds", n_folds, least=2),
        )
        self.centre, self.nonnegative = (
            checked_bool("centre", centre),
            checked_bool("nonnegative", nonnegative),
        )
        key_from_rng(
            0 if isinstance(rng, np.random.Generator) else rng
        )  # refuse other types now, not in fit
        self.rng = rng

    def fit(self, features, target):
        """Fit the weights.

        Parameters
        ----------
        features : (n, d) array of float32 or float64
            Finite, d <= 8192.
        target : (n, n) or (n (n - 1) / 2,) array of the same dtype
            Similarities of the stimuli; a diagonal does not count.

        Returns
        -------
        SimilarityRegression
            The same object.

        Raises
        ------
        ValueError
            Shapes that do not fit, n < 3, more folds than n / 2, entries that are not finite, a
            constant target, too many features, a target that is not symmetric.
        TypeError
            Other or mixed dtypes.
        """
        xp, (features, target) = _arrays(features=features, target=target)
        dtype = float_dtype(features=features, target=target)
        _checked_features(xp, "features", features)
        pairs, n = _checked_pairs(xp, "target", target)
        self._check_sizes(features, n)
        _standardised(xp, "target", pairs)
        f, s = features.astype(np.float64), _square(xp, pairs, n)
        order = np.random.default_rng(key_from_rng(self.rng)).permutation(n)
        self.converged_, predictions, truths = True, [], []
        for fold in np.array_split(order, self.n_folds):
            train, test = xp.asarray(np.setdiff1d(order, fold)), xp.asarray(np.sort(fold))
            weights, intercepts = self._solve(xp, f[train], s[train[:, None], train], self.alphas)
            i, j = xp.triu_indices(len(test), 1)
            held = f[test]
            predictions.append(
                xp.stack(
                    [
                        ((held * w) @ held.T)[i, j] + c
                        for w, c in zip(weights, intercepts, strict=True)
                    ]
                )
            )
            truths.append(s[test[:, None], test][i, j])
        self._choose(xp, xp.concatenate(predictions, axis=1), xp.concatenate(truths))
        weights, intercepts = self._solve(xp, f, s, np.array([self.alpha_]))
        self.weights_, self.intercept_ = weights[0].astype(dtype), float(intercepts[0])
        return self

    def predict(self, features):
        """Similarities of stimuli, those that were fitted or others.

        Parameters
        ----------
        features : (n, d) array of float32 or float64
            Finite.

        Returns
        -------
        (n, n) array
            Of the same dtype, with f_i · (w ∘ f_i) + c on its diagonal.

        Raises
        ------
        ValueError
            `fit` was not called, another number of features, entries that are not finite.
        TypeError
            Another dtype, or the weights live on another device.
        """
        if not hasattr(self, "weights_"):
            raise ValueError("fit must be called before predict (got no weights)")
        xp, (features, weights) = _arrays(features=features, weights=self.weights_)
        dtype = _checked_features(xp, "features", features)
        if features.shape[1] != len(weights):
            raise ValueError(f"features must have {len(weights)} columns (got {features.shape[1]})")
        f = features.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return ((f * weights) @ f.T + self.intercept_).astype(dtype)

    def _check_sizes(self, features, n):
        if len(features) != n:
            raise ValueError(
                f"features and target must have the same stimuli (got {len(features)} and {n})"
            )
        if not 0 < features.shape[1] <= MOST_FEATURES:
            raise ValueError(
                f"features must have 0 < d <= {MOST_FEATURES} columns (got {features.shape[1]}); "
                "reduce them by a principal component analysis first"
            )
        if 2 * self.n_folds > n:
            raise ValueError(
                f"n_folds must satisfy 2 <= n_folds <= n / 2 (got n_folds={self.n_folds}, n={n})"
            )

    def _choose(self, xp, predictions, truths):
        _standardised(xp, "target", truths)
        r = _row_correlations(xp, predictions, xp.broadcast_to(truths, predictions.shape))
        self.cv_correlations_ = np.array(xp.where(xp.isfinite(r), r, 0).tolist())
        best = int(self.cv_correlations_.argmax())
        self.alpha_, self.cv_correlation_ = (
            float(self.alphas[best]),
            float(self.cv_correlations_[best]),
        )

    def _solve(self, xp, f, s, alphas):
        """The (a, d) weights and (a,) intercepts for all alphas."""
        gram, right, means, mean = _normal_equations(xp, f, s, self.centre)
        if self.nonnegative:
            weights = self._descend(xp, gram, right, xp.asarray(alphas))
        else:
            values, vectors = xp.linalg.eigh(gram)
            least = 4 * np.finfo(np.float64).eps * xp.trace(gram)
            parts = xp.where(values > least, vectors.T @ right, 0) / (
                xp.maximum(values, 0) + xp.asarray(alphas)[:, None]
            )
            weights = parts @ vectors.T
        return weights, mean - weights @ means

    def _descend(self, xp, gram, right, alphas):
        shape = (len(alphas), len(right))
        weights, gradient, converged = (
            xp.empty(shape),
            xp.empty(shape),
            xp.empty(len(alphas), np.int64),
        )
        nonnegative_descent(
            xp.ascontiguousarray(gram), right, alphas, weights, gradient, converged, 1e-9, 1000
        )
        self.converged_ = self.converged_ and bool(converged.all())
        return weights


def _normal_equations(xp, f, s, centre):
    """Of the design with the rows f_ik f_jk for i < j: its Gram matrix, right-hand side, and the
    means of its columns and of the target."""
    pairs = len(f) * (len(f) - 1) / 2
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = f * f
        gram = f.T @ f
        gram *= gram
        gram -= squares.T @ squares
        gram /= 2
        right = (f * (s @ f)).sum(axis=0) / 2
        means = (f.sum(axis=0) ** 2 - squares.sum(axis=0)) / (2 * pairs)
        mean = s.sum() / (2 * pairs)
        if not centre:
            means, mean = xp.zeros_like(means), 0.0
        gram -= pairs * means[:, None] * means
        right -= pairs * mean * means
    if not bool(xp.isfinite(gram).all()) or not bool(xp.isfinite(right).all()):
        raise ValueError(
            "features must be small enough for products of four of them (got an overflow)"
        )
    return gram, right, means, mean


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in int64 indptr[n+1]; in int64 ids[z]; in float64 a[z]; in int64 list_indptr[q]; "
    "in int64 list_rows[z]; in float64 list_b[z]; "
    "out float64 s[n, n]; int64 least",
    split="n",
    gpu="block",
    threads=128,
)
def tag_overlaps(indptr, ids, a, list_indptr, list_rows, list_b, s, least, start, stop):
    """s_ij = Σ_t a_it b_jt, or Σ_t min(a_it, b_jt), over the tags t of both i and j; b is listed by
    tags."""
    for i in range(start, stop):
        row = s[i]
        for j in range(row.size):
            row[j] = 0
        for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
            value, t = a[e], np.uintp(ids[e])
            for p in range(np.uintp(list_indptr[t]), np.uintp(list_indptr[t + np.uintp(1)])):
                row[np.uintp(list_rows[p])] += min(value, list_b[p]) if least else value * list_b[p]


WORD, HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)


def _below(word, count):
    """Two results: the integer part of count times the fraction word / 2⁶⁴, and the fractional part
    that is left for the next draw."""
    high = (word >> HIGH) * count + (((word & WORD) * count) >> HIGH)
    return high >> HIGH, word * count


@kernel(
    "in float64 values[z]; in int64 indptr[p+1]; out float64 halves[s, 2, p]; uint32 k0; "
    "uint32 k1; int64 first",
    split="s",
    gpu="block",
    threads=128,
)
def half_means(values, indptr, halves, k0, k1, first, start, stop):
    """halves[s, :, p]: means of two random halves of values[indptr[p]:indptr[p + 1]], which has two
    or more; an odd one is left out.

    Ratings are gone through once; one is taken for the first half if a draw below the number of
    those left is below the number still wanted. Draws share a word of 64 bits while the product of
    their bounds is below 2³²: their bias is below 2⁻³².
    """
    for s in range(start, stop):
        split = np.uint64(first + s)
        for p in range(halves.shape[2]):
            begin, end = np.uintp(indptr[p]), np.uintp(indptr[p + 1])
            count = np.uint64(end - begin)
            half = count >> np.uint64(1)
            out, spent, used = count, count, np.uint64(0)
            a, b, c, d = philox4x32(np.uint64(p), split, k0, k1)
            word, spare = np.uint64(a) | np.uint64(b) << HIGH, np.uint64(c) | np.uint64(d) << HIGH
            if count & np.uint64(1):
                out, word = _below(word, count)
            wanted, left, one, two = half, half + half, 0.0, 0.0
            for e in range(begin, end):
                if np.uint64(e - begin) == out:
                    continue
                if spent * left > WORD:  # few bits are left in the word
                    used += np.uint64(1)
                    if used & np.uint64(1):
                        word = spare
                    else:
                        a, b, c, d = philox4x32(np.uint64(p), split | (used << HIGH), k0, k1)
                        word, spare = (
                            np.uint64(a) | np.uint64(b) << HIGH,
                            np.uint64(c) | np.uint64(d) << HIGH,
                        )
                    spent = np.uint64(1)
                spent *= left
                draw, word = _below(word, left)
                if draw < wanted:
                    one += values[e]
                    wanted -= np.uint64(1)
                else:
                    two += values[e]
                left -= np.uint64(1)
            halves[s, 0, p], halves[s, 1, p] = one / half, two / half


@kernel(
    "in float64 x[n, n]; in float64 y[n, n]; in int32 orders[b, n]; out float64 products[b]",
    split="b",
    gpu="block",
    threads=256,
)
def permuted_products(x, y, orders, products, start, stop):
    """products_b = Σ_{i < j} x_ij y[o_i, o_j] with the permutation o = orders[b]."""
    n = np.uintp(x.shape[0])
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for b in range(start, stop):
        products[b] = 0
    i = np.uintp(0)
    while i + four <= n:
        # rows of x stay in the cache for all permutations; four at once share the reading of the
        # order
        x0, x1, x2, x3 = x[i], x[i + one], x[i + two], x[i + three]
        for b in range(start, stop):
            order = orders[b]
            o1, o2, o3 = (
                np.uintp(order[i + one]),
                np.uintp(order[i + two]),
                np.uintp(order[i + three]),
            )
            y0, y1, y2, y3 = y[np.uintp(order[i])], y[o1], y[o2], y[o3]
            s0 = x0[i + one] * y0[o1] + x0[i + two] * y0[o2] + x0[i + three] * y0[o3]
            s1 = x1[i + two] * y1[o2] + x1[i + three] * y1[o3]
            s2, s3 = x2[i + three] * y2[o3], 0.0
            for j in range(i + four, n):
                o = np.uintp(order[j])
                s0 += x0[j] * y0[o]
                s1 += x1[j] * y1[o]
                s2 += x2[j] * y2[o]
                s3 += x3[j] * y3[o]
            products[b] += (s0 + s1) + (s2 + s3)
        i += four
    while i < n:
        for b in range(start, stop):
            other = y[np.uintp(orders[b, i])]
            for j in range(i + one, n):
                products[b] += x[i, j] * other[np.uintp(orders[b, j])]
        i += one


@kernel(
    "in float64 gram[d, d]; in float64 right[d]; in float64 alphas[a]; out float64 w[a, d]; "
    "out float64 gradient[a, d]; "
    "out int64 converged[a]; float64 tol; int64 max_sweeps",
    split="a",
    gpu="block",
    threads=128,
    grain="1",
    twin_tolerance={"float32": 1e-5, "float64": 1e-7},
)
def nonnegative_descent(gram, right, alphas, w, gradient, converged, tol, max_sweeps, start, stop):
    """w[a] >= 0 minimises ½ w (G + α I) w - h w, one coordinate after the other; gradient = G w -
    h.

    A sweep ends the descent when no step exceeds tol times the largest weight, both in units in
    which the curvature is 1.
    """
    d = gram.shape[0]
    for a in range(start, stop):
        alpha, weights, slope = alphas[a], w[a], gradient[a]
        for k in range(d):
            weights[k], slope[k] = 0, -right[k]
        converged[a] = 0
        for _ in range(max_sweeps):
            moved = largest = 0.0
            for k in range(d):
                curvature = gram[k, k] + alpha
                if curvature <= 0:
                    continue
                new = max(weights[k] - (slope[k] + alpha * weights[k]) / curvature, 0.0)
                step = new - weights[k]
                if step != 0:
                    row = gram[k]
                    for m in range(d):
                        slope[m] += step * row[m]
                    weights[k] = new
                scale = math.sqrt(curvature)
                moved, largest = max(moved, abs(step) * scale), max(largest, new * scale)
            if moved <= tol * largest:
                converged[a] = 1
                break
