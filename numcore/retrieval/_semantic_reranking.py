"""The terms of a field out of its texts: candidates are scored by how often they occur, then those
are raised whose words are central among words of related meaning, by PageRank on one graph of
related words for each document. The source is Zhang, Gao & Ciravegna (2018)."""

import warnings
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..linalg import CSR
from ..simd import popcount

METHODS = (
    "ttf",
    "attf",
    "tfidf",
    "ridf",
    "cvalue",
    "basic",
    "weirdness",
    "glossex",
    "rake",
    "chi_square",
    "combo_basic",
)
SIMILARITIES = 1 << 22  # cosines that are held at once
EDGES = 1 << 23  # edges and bits of the graphs that are held at once
FREQUENT = 64  # frequent terms whose common documents are counted at once


class TermLists(NamedTuple):
    """Lists of ids, one after the other: list i is ``indices[indptr[i]:indptr[i + 1]]``."""

    indptr: Any
    indices: Any


class TermStatistics(NamedTuple):
    """What `term_statistics` returns.

    Attributes
    ----------
    term_frequency, document_frequency : (n_terms,) arrays of int64
        How often a term occurs, and in how many documents.
    n_documents : int
    indptr, indices, counts : arrays of int64
        Document i has the distinct terms ``indices[indptr[i]:indptr[i + 1]]``, ascending, so many
        times as `counts` says there.
    """

    term_frequency: Any
    document_frequency: Any
    n_documents: int
    indptr: Any
    indices: Any
    counts: Any


class SimilarityLists(NamedTuple):
    """Related words: word i has the neighbours ``indices[indptr[i]:indptr[i + 1]]``, ascending,
    with the cosines `weights` there."""

    indptr: Any
    indices: Any
    weights: Any


class RerankedTerms(NamedTuple):
    """Revised scores (n,), the terms from the highest score to the lowest (n,), and the semantic
    parts of the scores (n,)."""

    scores: Any
    order: Any
    semantic: Any


# --- counts ---------------------------------------------------------------------------------------


@routine
def term_statistics(documents, *, n_terms=None):
    """How often terms occur, in all and by document.

    Parameters
    ----------
    documents : list of int arrays, or anything with `indptr` and `indices`
        The ids of the candidate terms in each document, repeated as they occur. If there is `data`
        beside `indptr` and `indices`, as in a sparse matrix of documents by terms, these are the
        counts: whole numbers >= 0.
    n_terms : int, optional
        By default the largest id and one.

    Returns
    -------
    TermStatistics
        Arrays (n_terms,) and those of the counts by document.

    Raises
    ------
    ValueError
        An id is not in 0 <= id < n_terms, a count is negative or no whole number, or the lists are
        malformed.
    TypeError
        No lists of integers, or arrays on different devices.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank: improving automatic term extraction by
    incorporating semantic relatedness with personalised PageRank", ACM TKDD, 2018.

    Examples
    --------
    >>> statistics = term_statistics([[0, 1, 0], [1]])
    >>> statistics.term_frequency, statistics.document_frequency
    (array([2, 2]), array([1, 2]))
    """
    xp, (indptr, indices) = _lists("documents", documents)
    if n_terms is None:
        n_terms = int(indices.max()) + 1 if indices.size else 0
    n_terms = checked_count("n_terms", n_terms, most=(1 << 62) // len(indptr))
    _check_ids("documents", indices, n_terms)
    data = getattr(documents, "data", None) if hasattr(documents, "indptr") else None
    counts = xp.ones(indices.shape, np.int64) if data is None else _counts(xp, data, indices)
    keys = _rows(xp, indptr) * n_terms + indices
    order = xp.argsort(keys, kind="stable")
    order = order[counts[order] > 0]
    keys, counts = keys[order], counts[order]
    first = xp.nonzero(xp.concatenate([xp.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))[0]
    ends = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(counts)])
    counts = (
        ends[xp.concatenate([first[1:], xp.full(min(len(keys), 1), len(keys), np.int64)])]
        - ends[first]
    )
    keys = keys[first]
    terms, documents = keys % max(n_terms, 1), keys // max(n_terms, 1)
    frequency = (
        xp.bincount(terms, weights=counts * 1.0, minlength=n_terms)
        if terms.size
        else xp.zeros(n_terms)
    )  # whole numbers, exact
    in_documents = xp.bincount(terms, minlength=n_terms) if terms.size else xp.zeros(n_terms)
    return TermStatistics(
        frequency.astype(np.int64),
        in_documents.astype(np.int64),
        len(indptr) - 1,
        xp.searchsorted(documents, xp.arange(len(indptr))),
        terms,
        counts,
    )


def _counts(xp, data, indices):
    """The counts of a sparse matrix as int64."""
    xp_too, (data,) = on_device(**{"documents.data": data})
    if xp_too is not xp:
        raise TypeError("documents.data must be an array on the device of the indices")
    if data.shape != indices.shape:
        raise ValueError(
            f"documents.data must have the shape {indices.shape} of the indices (got {data.shape})"
        )
    if data.dtype.kind not in "iuf":
        raise TypeError(f"documents.data must hold numbers (got dtype {data.dtype})")
    if (
        data.size and not 0 <= float(data.min()) <= float(data.max()) < 2**53 / data.size
    ):  # so that sums in float64 are exact
        raise ValueError(
            f"counts of documents must be >= 0, and their sum below 2**53 (got {float(data.min())} "
            f"… {float(data.max())})"
        )
    counts = data.astype(np.int64)
    if bool((counts != data).any()):
        raise ValueError("counts of documents must be whole numbers")
    return counts


@routine
def nested_terms(term_words):
    """For each term the longer terms that contain it as a run of words.

    Parameters
    ----------
    term_words : list of int arrays, or anything with `indptr` and `indices`
        The word ids of each of n terms, in their order.

    Returns
    -------
    TermLists
        List i has the terms that are longer than term i and contain it, ascending; arrays of int64,
        (n + 1,) and (total,).

    Raises
    ------
    ValueError
        A term has no words, or an id is negative or too large.
    TypeError
        No lists of integers.

    Notes
    -----
    All runs of one length get numbers, from the numbers of the runs that are a word shorter: O(s
    log s) by sorting, where s, the number of all runs, is at most the sum of squared lengths.
    Memory of O(words) and of the result.

    References
    ----------
    K. Frantzi, S. Ananiadou, H. Mima, "Automatic recognition of multi-word terms: the
    C-value/NC-value method", Int. J. Digital Libraries, 2000.

    Examples
    --------
    >>> nested_terms([[1, 2], [1, 2, 3], [3]])  # the first and the last lie in the second
    TermLists(indptr=array([0, 1, 1, 2]), indices=array([1, 1]))
    """
    xp, (indptr, words) = _lists("term_words", term_words)
    _check_terms(indptr, words)
    n, lengths, none = len(indptr) - 1, xp.diff(indptr), xp.zeros(0, np.int64)
    _, words = _numbered(xp, words)
    start, term = xp.arange(len(words)), _rows(xp, indptr)
    run, inner, outer = words, [none], [none]
    for length in range(1, int(lengths.max()) if n else 0):
        whole = xp.nonzero((indptr[term] == start) & (lengths[term] == length))[
            0
        ]  # terms of just this length
        by_run = whole[xp.argsort(run[whole], kind="stable")]
        longer = xp.nonzero(lengths[term] > length)[0]
        low = xp.searchsorted(run[by_run], run[longer])
        found = xp.searchsorted(run[by_run], run[longer], side="right") - low
        row, place = _expanded(xp, found)
        inner.append(term[by_run[low[row] + place]])
        outer.append(term[longer[row]])
        room = xp.nonzero(start + length < indptr[term + 1])[0]  # runs that can take one word more
        start, term, run = start[room], term[room], run[room]
        _, run = _numbered(xp, run * (int(words.max()) + 1) + words[start + length])
    keys, _ = _numbered(xp, xp.concatenate(inner) * n + xp.concatenate(outer))
    return TermLists(xp.searchsorted(keys, xp.arange(n + 1) * n), keys % max(n, 1))


def _numbered(xp, keys):
    """The distinct keys, ascending, and the number of each key among them."""
    distinct = xp.unique(keys)
    return distinct, xp.searchsorted(distinct, keys)


def _expanded(xp, counts):
    """0 ... counts[i] - 1 for each i: the i and the places."""
    ends = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(counts)])
    row = _rows(xp, ends)
    return row, xp.arange(len(row)) - ends[row]


# --- base scores ----------------------------------------------------------------------------------


@routine
def base_scores(
    statistics,
    method,
    *,
    term_lengths=None,
    term_words=None,
    nested=None,
    word_frequency=None,
    reference_frequency=None,
    length_offset=0.1,
    alpha=0.72,
    beta=0.1,
    frequent=0.3,
):
    """Scores of candidate terms from counts alone.

    Below f is the frequency of a term, df the number of its documents, D that of all documents, and
    l its number of words.

    ============
    =====================================================================================================================
    method        score ============
    =====================================================================================================================
    ttf           f attf          f / df tfidf         f ln(D / df) ridf          log2(1 - exp(-f /
    D)) - log2(df / D), the information in df beyond that of chance cvalue        log2(l +
    length_offset) (f - mean f of the longer terms that contain it) basic         l ln f + alpha
    (number of longer terms that contain it) combo_basic   basic + beta (number of shorter terms in
    it) weirdness     mean over its words of ln((w + 1) / (W + V)) - ln((r + 1) / (R + V)), w and r
    the frequencies of a word here and in the
                  reference, W and R their sums, V the number of words
    glossex       0.9 weirdness + 0.1 l f log10(f) / (sum of w over its words) rake          sum
    over its words of (sum of l over the terms at the word) / (number of terms at the word), counted
    as they occur chi_square    sum over frequent terms g, less the largest addend, of (o - e)² / e;
    o documents have both, and e = n p, n the number
                  of terms in documents with the term, p the share of terms that are in documents
                  with g
    ============
    =====================================================================================================================

    Parameters
    ----------
    statistics : TermStatistics
        From `term_statistics`.
    method : str
        As above.
    term_lengths : (n_terms,) array of int, optional
        Numbers of words, for cvalue, basic and combo_basic; by default those of `term_words`.
    term_words : list of int arrays, or anything with `indptr` and `indices`, optional
        The word ids of each term, for weirdness, glossex and rake.
    nested : TermLists, optional
        From `nested_terms`, for cvalue, basic and combo_basic.
    word_frequency : (n_words,) array of int or float, optional
        Frequencies of words here; by default the words are counted in the terms.
    reference_frequency : (n_words,) array of int or float, optional
        Frequencies of words in a general corpus, for weirdness and glossex.
    length_offset : float
        >= 0; it lets single words have a C-value. 0 is Frantzi's original.
    alpha, beta : float
    frequent : float
        The share of terms that are `g` for chi_square, 0 < frequent <= 1.

    Returns
    -------
    (n_terms,) array of float64
        0 for a term that does not occur, but for weirdness and cvalue, which do not need it to.

    Raises
    ------
    ValueError
        `method` is unknown, it needs an argument that is missing, counts are negative, df > D, or
        shapes do not fit.
    TypeError
        Arguments of other types.

    Notes
    -----
    weirdness and glossex add one to all counts, and chi_square takes whole documents as the places
    where terms meet: where authors leave these open or differ, this is one reading.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank", ACM TKDD, 2018; K. Frantzi et al., Int. J. Digital
    Libraries, 2000; K. Church, W. Gale, "Inverse document frequency (IDF)", 1995; S. Rose et al.,
    "Automatic keyword extraction from individual documents", 2010; Y. Park et al., "Automatic
    glossary extraction", COLING, 2002; Y. Matsuo, M. Ishizuka, "Keyword extraction from a single
    document using word co-occurrence statistical information", 2004.

    Examples
    --------
    >>> from numcore.retrieval import term_statistics
    >>> base_scores(term_statistics([[0, 0, 1], [1], [], []]), "tfidf").round(3)
    array([2.773, 1.386])
    """
    checked_choice("method", method, METHODS)
    options = {
        "length_offset": checked_number("length_offset", length_offset, least=0),
        "alpha": checked_number("alpha", alpha),
        "beta": checked_number("beta", beta),
        "frequent": checked_number("frequent", frequent, above=0, most=1),
    }
    xp, statistics = _checked_statistics(statistics)
    n, f, df = (
        len(statistics.term_frequency),
        statistics.term_frequency * 1.0,
        statistics.document_frequency * 1.0,
    )
    documents = max(statistics.n_documents, 1)
    occurs = df > 0
    f_least, df_least = (
        xp.where(f > 0, f, 1),
        xp.where(occurs, df, 1),
    )  # so that no logarithm sees a zero
    if method == "ttf":
        return f
    if method == "attf":
        return f / df_least
    if method == "tfidf":
        return f * xp.log(documents / df_least)
    if method == "ridf":
        return xp.where(
            occurs, xp.log2(-xp.expm1(-f_least / documents)) - xp.log2(df_least / documents), 0.0
        )
    if method == "chi_square":
        return _chi_square(xp, statistics, options["frequent"])
    if method in ("cvalue", "basic", "combo_basic"):
        if nested is None:
            raise ValueError(f"nested must be given for {method}: see nested_terms (got None)")
        lengths = _term_lengths(xp, method, term_lengths, term_words, n)
        longer = _beside(xp, "nested", nested, n)
        _check_ids("nested", longer.indices, n)
        containing = xp.diff(longer.indptr) * 1.0
        if method == "cvalue":
            outer = _segment_sums(xp, f[longer.indices], longer.indptr)
            return xp.log2(lengths + options["length_offset"]) * (
                f - outer / xp.where(containing > 0, containing, 1)
            )
        score = lengths * xp.log(f_least) + options["alpha"] * containing
        if method == "combo_basic" and n:
            score = score + options["beta"] * xp.bincount(longer.indices, minlength=n)
        return xp.where(occurs, score, 0.0)
    return _by_words(xp, method, f, f_least, term_words, word_frequency, reference_frequency)


def _checked_statistics(statistics):
    if not isinstance(statistics, TermStatistics):
        raise TypeError(
            f"statistics must be TermStatistics, see term_statistics (got "
            f"{type(statistics).__name__})"
        )
    fields = statistics._asdict()
    documents = checked_count("n_documents", fields.pop("n_documents"))
    xp, arrays = on_device(**fields)
    for name, array in zip(fields, arrays, strict=True):
        if array is None or array.dtype.kind not in "iu" and array.size or array.ndim != 1:
            raise TypeError(f"{name} of statistics must be a 1-d array of integers")
    f, df, indptr, indices, counts = (array.astype(np.int64) for array in arrays)
    for name, array in (("term_frequency", f), ("document_frequency", df), ("counts", counts)):
        if array.size and int(array.min()) < 0:
            raise ValueError(f"{name} must be >= 0 (got {int(array.min())})")
    if f.shape != df.shape or counts.shape != indices.shape:
        raise ValueError(
            f"term_frequency and document_frequency, indices and counts must have one length each "
            f"(got {f.shape}, {df.shape}, "
            f"{indices.shape}, {counts.shape})"
        )
    if df.size and int(df.max()) > documents:
        raise ValueError(
            f"document_frequency must be <= n_documents={documents} (got {int(df.max())})"
        )
    if bool((df > f).any()):
        raise ValueError("document_frequency must be <= term_frequency")
    _check_indptr("statistics", indptr, indices)
    if len(indptr) != documents + 1:
        raise ValueError(
            f"indptr of statistics must have n_documents + 1 = {documents + 1} entries (got "
            f"{len(indptr)})"
        )
    _check_ids("statistics", indices, len(f))
    return xp, TermStatistics(f, df, documents, indptr, indices, counts)


def _term_lengths(xp, method, term_lengths, term_words, n):
    """Numbers of words as float64."""
    if term_lengths is None:
        if term_words is None:
            raise ValueError(f"term_lengths or term_words must be given for {method} (got None)")
        words = _beside(xp, "term_words", term_words, n)
        _check_terms(*words)
        return xp.diff(words.indptr) * 1.0
    xp_too, (lengths,) = on_device(term_lengths=term_lengths)
    if xp_too is not xp or lengths.dtype.kind not in "iu" and lengths.size:
        raise TypeError("term_lengths must be an array of integers on the device of the statistics")
    if lengths.shape != (n,) or n and int(lengths.min()) < 1:
        raise ValueError(
            f"term_lengths must have shape ({n},) and be >= 1 (got shape {lengths.shape})"
        )
    return lengths * 1.0


def _by_words(xp, method, f, f_least, term_words, word_frequency, reference_frequency):
    """weirdness, glossex and rake."""
    if term_words is None:
        raise ValueError(f"term_words must be given for {method} (got None)")
    if method != "rake" and reference_frequency is None:
        raise ValueError(f"reference_frequency must be given for {method} (got None)")
    indptr, words = _beside(xp, "term_words", term_words, len(f))
    _check_terms(indptr, words)
    lengths, term = xp.diff(indptr) * 1.0, _rows(xp, indptr)
    if method == "rake":
        vocabulary, words = _numbered(xp, words)
        if not len(words):
            return f
        at_word = xp.bincount(words, weights=f[term], minlength=len(vocabulary))
        degree = xp.bincount(words, weights=(f * lengths)[term], minlength=len(vocabulary))
        return xp.where(
            f > 0,
            _segment_sums(xp, (degree / xp.where(at_word > 0, at_word, 1))[words], indptr),
            0.0,
        )
    reference = _frequencies(xp, "reference_frequency", reference_frequency)
    _check_ids("term_words", words, len(reference))
    if word_frequency is not None:
        here = _frequencies(xp, "word_frequency", word_frequency)
        if here.shape != reference.shape:
            raise ValueError(
                f"word_frequency must have the shape {reference.shape} of reference_frequency (got "
                f"{here.shape})"
            )
    elif not len(words):
        return f
    else:
        here = xp.bincount(words, weights=f[term], minlength=len(reference))
    v = len(reference)
    strange = (
        xp.log((here + 1) / (here.sum() + v)) - xp.log((reference + 1) / (reference.sum() + v))
        if v
        else here
    )
    weirdness = _segment_sums(xp, strange[words], indptr) / lengths
    if method == "weirdness":
        return weirdness
    total = _segment_sums(xp, here[words], indptr)
    return xp.where(
        f > 0,
        0.9 * weirdness + 0.1 * lengths * f * xp.log10(f_least) / xp.where(total > 0, total, 1),
        0.0,
    )


def _frequencies(xp, name, values):
    """Frequencies >= 0 as float64."""
    xp_too, (values,) = on_device(**{name: values})
    if xp_too is not xp or values.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of numbers on the device of the statistics")
    values = values.astype(np.float64)
    if (
        values.ndim != 1
        or values.size
        and not 0 <= float(values.min()) <= float(values.max()) <= 1e300 / values.size
    ):
        raise ValueError(
            f"{name} must have shape (n_words,) and be finite and >= 0 (got shape {values.shape})"
        )
    return values


def _chi_square(xp, statistics, frequent):
    f, df, _, indptr, terms, counts = statistics
    n, document = len(f), _rows(xp, indptr)
    chi, largest = xp.zeros(n), xp.zeros(n)
    total = float(counts.sum()) if counts.size else 0.0
    if not total:
        return chi
    size = _segment_sums(xp, counts * 1.0, indptr)  # terms in each document
    around = xp.bincount(terms, weights=size[document], minlength=n)
    order = xp.argsort(-f, kind="stable")[: max(1, round(frequent * n))]
    by_term = xp.argsort(terms, kind="stable")
    bounds = xp.searchsorted(terms[by_term], xp.arange(n + 1))
    for first in range(0, len(order), FREQUENT):
        g = order[first : first + FREQUENT]
        column, place = _expanded(xp, bounds[g + 1] - bounds[g])
        in_document = document[by_term[bounds[g][column] + place]]
        pair, place = _expanded(xp, xp.diff(indptr)[in_document])
        other = terms[indptr[in_document][pair] + place]
        both = (
            xp.bincount(other * len(g) + column[pair], minlength=n * len(g))
            if len(other)
            else xp.zeros(n * len(g))
        )
        both = both.reshape(n, len(g)) * 1.0
        expected = around[:, None] * (around[g] / total)
        addend = (both - expected) ** 2 / xp.where(expected > 0, expected, 1)
        addend[g, xp.arange(len(g))] = 0  # a term is not beside itself
        chi += addend.sum(axis=1)
        largest = xp.maximum(largest, addend.max(axis=1))
    return chi - largest


# --- related words --------------------------------------------------------------------------------


@routine
def semantic_graph(
    embeddings, document_words, *, min_similarity=0.5, max_neighbors=0.15, search=None
):
    """The related words of every word of the documents.

    Parameters
    ----------
    embeddings : (n_words, d) array of float32 or float64
        One row for each word; a row of zeros for a word that has no embedding, or that is to be
        left out, such as a stop word.
    document_words : list of int arrays, or anything with `indptr` and `indices`, or None
        The words of each document's candidate terms. Words of no document take no part; with None
        all take part.
    min_similarity : float
        Cosine from which words are neighbours, in [-1, 1].
    max_neighbors : float or int
        Neighbours of a word at most: below 1 a share of the words that take part, rounded; else a
        count.
    search : function, optional
        ``search(queries, k)`` → (scores, indices), both (nq, k): the k largest inner products of
        the rows `queries` with the rows of the words that take part, which are scaled to length 1,
        by an index of the caller's over ``rows``, which it is given first as ``search.fit(rows)``
        if it has `fit`. By default blocks of exact products.

    Returns
    -------
    SimilarityLists
        indptr (n_words + 1,), and (nnz,) neighbours and cosines. A word is not its own neighbour.
        Among equal cosines at the limit the smaller ids are kept. Cosines are in the dtype of
        `embeddings`, and rounded as products of matrices are.

    Raises
    ------
    ValueError
        `embeddings` are not finite or not 2-d, ids are out of range, or an option is outside of its
        range.
    TypeError
        Other dtypes, or arrays on different devices.

    Notes
    -----
    2 v² d operations for v words, in products of blocks; beside the result 16 MB for cosines in
    float32, never v² numbers.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank", ACM TKDD, 2018.

    Examples
    --------
    >>> semantic_graph(
    ...     np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), [[0, 1, 2]], max_neighbors=2
    ... ).indices
    array([1, 0, 2, 1])
    """
    xp, (embeddings,) = on_device(embeddings=embeddings)
    if embeddings is None:
        raise TypeError("embeddings must be an array (got None)")
    dtype = float_dtype(embeddings=embeddings)
    least = checked_number("min_similarity", min_similarity, least=-1, most=1)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (n_words, d) (got {embeddings.shape})")
    if not bool(xp.isfinite(embeddings).all()):
        raise ValueError("embeddings must be finite (got nan or inf)")
    if search is not None and not callable(search):
        raise TypeError(f"search must be a function (got {type(search).__name__})")
    n = len(embeddings)
    largest = abs(embeddings).max(axis=1) if embeddings.size else xp.zeros(n, dtype)
    takes_part = largest > 0
    if document_words is not None:
        words = _beside(xp, "document_words", document_words).indices
        _check_ids("document_words", words, n)
        occurs = xp.zeros(n, bool)
        occurs[words] = True
        takes_part &= occurs
    words = xp.nonzero(takes_part)[0]
    most = _most_neighbors(max_neighbors, len(words))
    unit = embeddings[words] / largest[words][:, None]  # the squares cannot overflow then
    unit = unit / xp.sqrt((unit * unit).sum(axis=1, keepdims=True))
    find = _neighbors if search is None else _found_neighbors(search)
    rows, columns, weights = find(xp, unit, least, most)
    indptr = xp.searchsorted(words[rows], xp.arange(n + 1))
    return SimilarityLists(indptr.astype(np.int64), words[columns].astype(np.int64), weights)


def _most_neighbors(max_neighbors, v):
    """The limit as a count."""
    limit = checked_number("max_neighbors", max_neighbors, above=0)
    if limit >= 1 and limit != int(limit):
        raise ValueError(
            f"max_neighbors must be a share below 1 or a whole number (got {max_neighbors})"
        )
    return min(v, int(limit) if limit >= 1 else round(limit * v))


def _neighbors(xp, unit, least, most):
    """Neighbours by blocks of products: rows ascending, columns ascending in each row, cosines."""
    v = len(unit)
    step = max(1, SIMILARITIES // max(v, 1))
    found = [(xp.zeros(0, np.int64), xp.zeros(0, np.int64), xp.zeros(0, unit.dtype))]
    block = xp.empty((min(step, v), v), unit.dtype)
    for first in range(0, v if most else 0, step):
        cosines = xp.matmul(unit[first : first + step], unit.T, out=block[: min(step, v - first)])
        own = xp.arange(len(cosines))
        cosines[own, own + first] = -np.inf
        kept = cosines >= least
        crowded = xp.nonzero(kept.sum(axis=1) > most)[0]
        if len(crowded):
            scores = cosines[crowded]
            last = xp.partition(scores, v - most, axis=1)[:, v - most, None]
            kept[crowded] = scores >= last
            tied = xp.nonzero((scores >= last).sum(axis=1) > most)[
                0
            ]  # the first of the equal ones stay
            above, level = scores[tied] > last[tied], scores[tied] == last[tied]
            kept[crowded[tied]] = above | level & (
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
        xp_too, (scores, ids) = on_device(scores=found[0], indices=found[1])
        if xp_too is not xp or ids.dtype.kind not in "iu" or scores.dtype.kind != "f":
            raise TypeError(
                "search must return scores of floats and indices of integers on the device of the "
                "embeddings"
            )
        if scores.shape != (v, k) or ids.shape != (v, k):
            raise ValueError(
                f"search must return two arrays of shape {(v, k)} (got {scores.shape} and "
                f"{ids.shape})"
            )
        _check_ids("search", ids, v)
        scores = scores.astype(unit.dtype)
        kept = (scores >= least) & (ids != xp.arange(v)[:, None])
        kept &= xp.cumsum(kept, axis=1) <= most
        rows, places = xp.nonzero(kept)
        columns = ids[rows, places].astype(np.int64)
        order = xp.argsort(rows * v + columns, kind="stable")
        return rows[order], columns[order], scores[rows, places][order]

    return find


# --- importance -----------------------------------------------------------------------------------


@routine
def semantic_importance(similarity, document_words, seeds, *, damping=0.85, tol=1e-9, max_iter=200):
    """How central words are among related words, over all documents.

    In the graph of a document each of its words is joined with its related words, be these in the
    document or not; edges have no direction and no weight. The PageRank of the nodes, from the
    seeds among them or else from all of them, is divided by its maximum, these are summed over
    documents, and the sums are divided by their maximum.

    Parameters
    ----------
    similarity : SimilarityLists
        From `semantic_graph`.
    document_words : list of int arrays, or anything with `indptr` and `indices`
        The words of each document's candidate terms, in any order; repetitions do not count.
    seeds : (k,) array of int
        Words of terms that are known or trusted; may be empty.
    damping : float
        The probability of following an edge, 0 <= damping < 1.
    tol : float
        A document's scores x are iterated until ``|damping P^T x + (1 - damping) v - x|`` is at
        most this, as sum of absolute values. Their error is then at most
        ``damping / (1 - damping)`` times that, before they are divided by their maximum.
    max_iter : int
        Steps at most for a document.

    Returns
    -------
    (n_words,) array of float32 or float64
        In [0, 1] and of the dtype of the weights; 0 for words that are in no graph.

    Raises
    ------
    ValueError
        Ids are out of range, a word is its own neighbour, lists are malformed, or an option is
        outside of its range.
    TypeError
        Other types or dtypes, or arrays on different devices.

    Notes
    -----
    The steps are those of Chebyshev's semi-iteration: the eigenvalues of a walk without direction
    are real, in [-1, 1], and 36 steps then do what 128 plain ones do for 1e-9 at 0.85. O(edges) for
    a step, documents beside each other.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank", ACM TKDD, 2018. G. H. Golub, R. S. Varga,
    "Chebyshev semi-iterative methods", 1961.

    Examples
    --------
    >>> from numcore.retrieval import SimilarityLists
    >>> path = SimilarityLists(np.array([0, 1, 3, 5, 6]), np.array([1, 0, 2, 1, 3, 2]), np.ones(6))
    >>> semantic_importance(path, [[0, 1, 2, 3]], [0]).round(4)
    array([0.8438, 1.    , 0.6654, 0.2828])
    """
    d = checked_number("damping", damping, least=0, below=1)
    tol = checked_number("tol", tol, least=0)
    max_iter = checked_count("max_iter", max_iter, least=1, most=2**31 - 1)
    if not all(hasattr(similarity, name) for name in SimilarityLists._fields):
        raise TypeError(
            f"similarity must be SimilarityLists, see semantic_graph (got "
            f"{type(similarity).__name__})"
        )
    xp, (indptr, indices, weights, seeds) = on_device(
        indptr=similarity.indptr,
        indices=similarity.indices,
        weights=similarity.weights,
        seeds=seeds,
    )
    if indptr is None or indptr.ndim != 1 or not len(indptr) or weights is None:
        raise ValueError("similarity must have indptr of shape (n_words + 1,) and weights")
    if seeds is None or seeds.dtype.kind not in "iu" and seeds.size:
        raise TypeError(f"seeds must be an array of integers (got {getattr(seeds, 'dtype', None)})")
    if seeds.ndim != 1:
        raise ValueError(f"seeds must have shape (k,) (got {seeds.shape})")
    n = len(indptr) - 1
    if n >= 2**31:
        raise ValueError(f"similarity must have less than 2**31 words (got {n})")
    lists = CSR(indptr, indices, weights, (n, n))
    if bool((lists.indices == lists.rows).any()):
        raise ValueError("similarity must not list a word as its own neighbour")
    _check_ids("seeds", seeds, n)
    is_seed = xp.zeros(n, np.uint8)
    is_seed[seeds.astype(np.int64)] = 1
    starts = _beside(xp, "document_words", document_words)
    _check_ids("document_words", starts.indices, n)
    total = _Graphs(xp, lists, starts, is_seed).importance(d, tol, max_iter)
    largest = float(total.max()) if n else 0.0
    return (total / largest if largest else total).astype(weights.dtype)


class _Graphs:
    """One graph for each document, a batch of documents at a time."""

    def __init__(self, xp, lists, starts, is_seed):
        n = lists.shape[0]
        self.xp, self.n, self.is_seed = xp, n, is_seed
        self.indptr, self.neighbors = lists.indptr.astype(np.int64), lists.indices.astype(np.int32)
        keys = xp.unique(_rows(xp, starts.indptr) * n + starts.indices)  # each word once, ascending
        words = keys % max(n, 1)
        joined = (
            self.indptr[words + 1] > self.indptr[words]
        )  # a word without neighbours is in no graph
        keys, words = keys[joined], words[joined]
        self.first_word = xp.searchsorted(keys, xp.arange(len(starts.indptr)) * n)
        self.words = words.astype(np.int32)
        self.first_edge = xp.concatenate(
            [xp.zeros(1, np.int64), xp.cumsum(self.indptr[words + 1] - self.indptr[words])]
        )

    def importance(self, damping, tol, max_iter):
        """Sums over documents of PageRank divided by its maximum, (n_words,)."""
        xp, n = self.xp, self.n
        total = xp.zeros(n)
        bits = -(-n // 64)
        edges = self.first_edge[self.first_word]
        load = (edges + xp.arange(len(edges)) * bits).tolist()
        first = 0
        while first < len(load) - 1:
            last = first + 1
            while last < len(load) - 1 and load[last + 1] - load[first] <= EDGES:
                last += 1
            nodes, scores = self.batch(first, last, bits, damping, tol, max_iter)
            if len(nodes):
                total = total + xp.bincount(nodes, weights=scores, minlength=n)
            first = last
        return total

    def batch(self, first, last, bits, damping, tol, max_iter):
        """The nodes of the graphs of documents first to last, one graph after the other, and their
        scores."""
        xp, g = self.xp, last - first
        word_at = self.first_word[first : last + 1]
        these = slice(int(word_at[0]), int(word_at[-1]))
        word_at, words = word_at - word_at[0], self.words[these]
        edge_at = self.first_edge[these.start : these.stop + 1]
        edge_at = edge_at - edge_at[0]
        present, started = xp.empty((g, bits), np.uint64), xp.empty((g, bits), np.uint64)
        before = xp.empty((g, bits + 1), np.int32)
        mark_nodes(self.indptr, self.neighbors, words, word_at, present, started, before)
        node_at = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(before[:, -1].astype(np.int64))])
        z = int(node_at[-1])
        nodes, degree, source, target = (
            xp.empty(size, np.int32) for size in (z, z, len(words), int(edge_at[-1]))
        )
        scores, work = xp.empty(z), xp.empty((4, z))
        rank_nodes(
            self.indptr,
            self.neighbors,
            self.is_seed,
            words,
            word_at,
            edge_at,
            node_at,
            present,
            started,
            before,
            nodes,
            degree,
            source,
            target,
            scores,
            work,
            damping,
            tol,
            max_iter,
        )
        return nodes, scores


@kernel(
    "in int64 indptr[n]; in int32 neighbors[z]; in int32 words[w]; in int64 word_at[g+1]; "
    "out uint64 present[g, b]; "
    "out uint64 started[g, b]; out int32 before[g, b+1]",
    split="g",
    gpu="block",
)
def mark_nodes(indptr, neighbors, words, word_at, present, started, before, start, stop):
    """Which words are nodes of a document's graph and which of them its own words, as bits, and the
    nodes before each 64 words."""
    one = np.uint64(1)
    b = np.uintp(present.shape[1])
    for g in range(start, stop):
        for i in range(b):
            present[g, i] = 0
            started[g, i] = 0
        for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
            word = np.uint64(words[p])
            started[g, word >> np.uint64(6)] |= one << (word & np.uint64(63))
            present[g, word >> np.uint64(6)] |= one << (word & np.uint64(63))
            for q in range(np.uintp(indptr[word]), np.uintp(indptr[word + one])):
                other = np.uint64(neighbors[q])
                present[g, other >> np.uint64(6)] |= one << (other & np.uint64(63))
        total = 0
        for i in range(b):
            before[g, i] = total
            total += np.int64(popcount(present[g, i]))
        before[g, b] = total


@kernel(
    "in int64 indptr[n+1]; in int32 neighbors[z]; in uint8 is_seed[n]; in int32 words[w]; "
    "in int64 word_at[g+1]; "
    "in int64 edge_at[w+1]; in int64 node_at[g+1]; in uint64 present[g, b]; "
    "in uint64 started[g, b]; in int32 before[g, b+1]; "
    "out int32 nodes[m]; out int32 degree[m]; out int32 source[w]; out int32 target[e]; "
    "out float64 scores[m]; "
    "out float64 work[4, m]; float64 damping; float64 tol; int64 max_iter",
    split="g",
    gpu="block",
    grain="4",
    twin_tolerance={"float64": 1e-12},
)
def rank_nodes(
    indptr,
    neighbors,
    is_seed,
    words,
    word_at,
    edge_at,
    node_at,
    present,
    started,
    before,
    nodes,
    degree,
    source,
    target,
    scores,
    work,
    damping,
    tol,
    max_iter,
    start,
    stop,
):
    """Each document's edges with its nodes counted from 0, and PageRank divided by its maximum."""
    one, six, low = np.uint64(1), np.uint64(6), np.uint64(63)
    for g in range(start, stop):
        first = np.uintp(node_at[g])
        m = np.uintp(node_at[g + 1]) - first
        x, previous, inverse, share, y = (
            work[0, first:],
            work[1, first:],
            work[2, first:],
            work[3, first:],
            scores[first:],
        )
        count = np.uintp(0)
        seeds = 0.0
        for i in range(np.uintp(present.shape[1])):
            left = present[g, i]
            while left:
                bit = left & (~left + one)
                word = (np.uint64(i) << six) + np.uint64(popcount(bit - one))
                nodes[first + count] = np.int32(word)
                degree[first + count] = 0
                seeds += is_seed[word]
                count += np.uintp(1)
                left ^= bit
        for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
            word = np.uint64(words[p])
            i = word >> six
            own = np.uintp(before[g, i]) + np.uintp(
                popcount(present[g, i] & ((one << (word & low)) - one))
            )
            source[p] = np.int32(own)
            begin = np.uintp(indptr[word])
            for q in range(begin, np.uintp(indptr[word + one])):
                other = np.uint64(neighbors[q])
                i = other >> six
                e = np.uintp(edge_at[p]) + q - begin
                if (
                    other < word and (started[g, i] >> (other & low)) & one
                ):  # the edge may be there from the other end
                    bottom, top = np.uintp(indptr[other]), np.uintp(indptr[other + one])
                    while bottom < top:
                        middle = (bottom + top) >> np.uintp(1)
                        if np.uint64(neighbors[middle]) < word:
                            bottom = middle + np.uintp(1)
                        else:
                            top = middle
                    if (
                        bottom < np.uintp(indptr[other + one])
                        and np.uint64(neighbors[bottom]) == word
                    ):
                        target[e] = -1
                        continue
                j = np.uintp(before[g, i]) + np.uintp(
                    popcount(present[g, i] & ((one << (other & low)) - one))
                )
                target[e] = np.int32(j)
                degree[first + own] += 1
                degree[first + j] += 1
        for i in range(m):
            weight = is_seed[np.uintp(nodes[first + i])] / seeds if seeds else 1.0 / m
            x[i] = weight
            previous[i] = 0
            inverse[i] = 1.0 / degree[first + i]
        omega = 1.0
        for t in range(max_iter):
            for i in range(m):
                share[i] = x[i] * inverse[i]
                y[i] = 0
            for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
                own = np.uintp(source[p])
                mine, total = share[own], 0.0
                for e in range(np.uintp(edge_at[p]), np.uintp(edge_at[p + np.uintp(1)])):
                    if target[e] >= 0:
                        j = np.uintp(target[e])
                        total += share[j]
                        y[j] += mine
                y[own] += total
            change = 0.0
            for i in range(m):
                weight = is_seed[np.uintp(nodes[first + i])] / seeds if seeds else 1.0 / m
                y[i] = damping * y[i] + (1 - damping) * weight
                change += abs(y[i] - x[i])
            if change <= tol or t + 1 == max_iter:
                break
            for i in range(m):
                new = omega * (y[i] - previous[i]) + previous[i]
                previous[i] = x[i]
                x[i] = new
            omega = (
                1 / (1 - damping * damping / 4 * omega) if t else 1 / (1 - damping * damping / 2)
            )
        largest = 0.0
        for i in range(m):
            largest = max(largest, y[i])
        for i in range(m):
            y[i] = max(y[i], 0.0) / largest


# --- revised scores -------------------------------------------------------------------------------


@routine
def rerank_terms(base, term_words, importance, *, combine="add"):
    """Scores of terms revised by the importance of their words.

    The base scores are divided by their maximum; a term's semantic score is the sum of the
    importance of its words divided by the number of all its words.

    Parameters
    ----------
    base : (n_terms,) array of float32 or float64
        From `base_scores` or any other method.
    term_words : list of int arrays, or anything with `indptr` and `indices`
        The word ids of each term. Words without importance, such as stop words, count as words.
    importance : (n_words,) array of the same dtype
        From `semantic_importance`, in [0, 1].
    combine : {"add", "multiply"}
        ``semantic + base`` or ``(semantic + 1) base``.

    Returns
    -------
    RerankedTerms
        Three arrays (n_terms,): scores, terms from the highest score to the lowest, ties by the
        smaller index, and semantic scores.

    Raises
    ------
    ValueError
        A term has no words, ids are out of range, numbers are not finite, importance is outside of
        [0, 1], or shapes do not fit.
    TypeError
        Other dtypes, or arrays on different devices.

    Warns
    -----
    UserWarning
        No base score is positive; they are left as they are.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank", ACM TKDD, 2018.

    Examples
    --------
    >>> rerank_terms(np.array([4.0, 5.0]), [[0, 1, 2], [2]], np.array([1.0, 0.5, 0.0])).scores
    array([1.3, 1. ])
    """
    xp, (base, importance) = on_device(base=base, importance=importance)
    for name, array in (("base", base), ("importance", importance)):
        if array is None:
            raise TypeError(f"{name} must be an array (got None)")
    dtype = float_dtype(base=base, importance=importance)
    checked_choice("combine", combine, ("add", "multiply"))
    if base.ndim != 1 or importance.ndim != 1:
        raise ValueError(
            f"base and importance must have shapes (n_terms,) and (n_words,) (got {base.shape} and "
            f"{importance.shape})"
        )
    if not bool(xp.isfinite(base).all()):
        raise ValueError("base must be finite (got nan or inf)")
    if importance.size and not 0 <= float(importance.min()) <= float(importance.max()) <= 1:
        raise ValueError(
            f"importance must satisfy 0 <= importance <= 1 (got {float(importance.min())} … "
            f"{float(importance.max())})"
        )
    indptr, words = _beside(xp, "term_words", term_words, len(base))
    _check_terms(indptr, words)
    _check_ids("term_words", words, len(importance))
    semantic = _segment_sums(xp, importance.astype(np.float64)[words], indptr) / xp.diff(indptr)
    revised = base.astype(np.float64)
    largest = float(base.max()) if base.size else 1.0
    if largest <= 0:
        warnings.warn(
            "no base score is positive: they are not divided by their maximum",
            UserWarning,
            stacklevel=2,
        )
    with np.errstate(over="ignore"):  # a score far below zero may become -inf
        revised = revised / largest if largest > 0 else revised
        revised = semantic + revised if combine == "add" else (semantic + 1) * revised
        scores = revised.astype(dtype)
    return RerankedTerms(
        scores, xp.argsort(-scores, kind="stable").astype(np.int64), semantic.astype(dtype)
    )


# --- lists ----------------------------------------------------------------------------------------


def _lists(name, lists):
    """The array namespace, and lists of ids as TermLists of int64."""
    if hasattr(lists, "indptr") and hasattr(lists, "indices"):
        xp, arrays = on_device(**{f"{name}.indptr": lists.indptr, f"{name}.indices": lists.indices})
        for array in arrays:
            if array is None or array.dtype.kind not in "iu" and array.size:
                raise TypeError(
                    f"indptr and indices of {name} must be arrays of integers (got "
                    f"{getattr(array, 'dtype', None)})"
                )
        indptr, indices = (array.astype(np.int64) for array in arrays)
        _check_indptr(name, indptr, indices)
        return xp, TermLists(indptr, indices)
    if not isinstance(lists, (list, tuple)):
        raise TypeError(
            f"{name} must be a list of integer arrays, or have indptr and indices (got "
            f"{type(lists).__name__})"
        )
    xp, rows = on_device(**{f"{name}[{i}]": row for i, row in enumerate(lists)})
    for i, row in enumerate(rows):
        if row is None or row.ndim != 1 or row.dtype.kind not in "iu" and row.size:
            raise TypeError(f"{name}[{i}] must be a 1-d array of integers (got {lists[i]!r:.80})")
    indices = (
        xp.concatenate([row.astype(np.int64) for row in rows]) if rows else xp.zeros(0, np.int64)
    )
    return xp, TermLists(xp.asarray(np.cumsum([0, *map(len, rows)], dtype=np.int64)), indices)


def _beside(xp, name, lists, n=None):
    """Lists on the device of other arguments, n of them if it is given."""
    where, lists = _lists(name, lists)
    if where is not xp and len(lists.indices):
        raise TypeError(f"{name} must live on the device of the other arguments")
    if n is not None and len(lists.indptr) != n + 1:
        raise ValueError(f"{name} must have {n} lists (got {len(lists.indptr) - 1})")
    return lists if where is xp else TermLists(*(xp.asarray(array) for array in lists))


def _check_indptr(name, indptr, indices):
    if indptr.ndim != 1 or indices.ndim != 1 or not len(indptr):
        raise ValueError(
            f"indptr and indices of {name} must be 1-d, indptr not empty (got shapes "
            f"{indptr.shape} and {indices.shape})"
        )
    if int(indptr[0]) or int(indptr[-1]) != len(indices) or bool((indptr[1:] < indptr[:-1]).any()):
        raise ValueError(f"indptr of {name} must ascend from 0 to {len(indices)}")


def _check_ids(name, ids, n):
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < n:
        raise ValueError(
            f"ids of {name} must satisfy 0 <= id < {n} (got {int(ids.min())} … {int(ids.max())})"
        )


def _check_terms(indptr, words):
    empty = indptr[1:] == indptr[:-1]
    if bool(empty.any()):
        raise ValueError(
            f"every term of term_words must have words (got none for term {int(empty.argmax())})"
        )
    _check_ids("term_words", words, 2**31)


def _rows(xp, indptr):
    """The list of each entry."""
    return xp.searchsorted(indptr, xp.arange(int(indptr[-1])), side="right") - 1


def _segment_sums(xp, values, indptr):
    """Sums of the values of each list, in float64."""
    n = len(indptr) - 1
    return (
        xp.bincount(_rows(xp, indptr), weights=values, minlength=n) if len(values) else xp.zeros(n)
    )
