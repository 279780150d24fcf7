"""Scores of candidate terms from counts alone, and scores revised by the importance of words."""

import warnings
from typing import Annotated, Literal, NamedTuple

import numpy as np

from ...arguments import (
    Array,
    Float,
    Integer,
    Real,
    at_least,
    finite,
    interval,
    nonnegative,
    within,
)
from ...dispatch import namespace_of, routine
from .._offsets import checked_offsets, list_of_entry
from .counts import TermStatistics
from .lists import ListsOfTerms, check_ids, check_terms, expanded, moved_to, numbered, segment_sums

FREQUENT = 64  # frequent terms whose common documents are counted at once
Frequencies = Real[Array, "n_words", nonnegative, finite]


class RerankedTerms(NamedTuple):
    """Revised scores (n,), the terms from the highest score to the lowest (n,), and the semantic
    parts of the scores (n,)."""

    scores: Array
    order: Array
    semantic: Array


@routine
def base_scores(
    statistics: TermStatistics,
    method: Literal[
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
    ],
    *,
    term_lengths: Integer[Array, "n_terms", at_least(1)] | None = None,
    term_words: ListsOfTerms | None = None,
    nested: ListsOfTerms | None = None,
    word_frequency: Frequencies | None = None,
    reference_frequency: Frequencies | None = None,
    length_offset: Annotated[float, nonnegative] = 0.1,
    alpha: float = 0.72,
    beta: float = 0.1,
    frequent: Annotated[float, interval("(0, 1]")] = 0.3,
) -> Array:
    """Scores of candidate terms from counts alone.

    Below f is the frequency of a term, df the number of its documents, D that of all documents, and
    l its number of words.

    - ttf: f
    - attf: f / df
    - tfidf: f ln(D / df)
    - ridf: log2(1 - exp(-f / D)) - log2(df / D), the information in df beyond that of chance
    - cvalue: log2(l + length_offset) (f - mean f of the longer terms that contain it)
    - basic: l ln f + alpha (number of longer terms that contain it)
    - combo_basic: basic + beta (number of shorter terms in it)
    - weirdness: mean over its words of ln((w + 1) / (W + V)) - ln((r + 1) / (R + V)), w and r the
      frequencies of a word here and in the reference, W and R their sums, V the number of words
    - glossex: 0.9 weirdness + 0.1 l f log10(f) / (sum of w over its words)
    - rake: sum over its words of (sum of l over the terms at the word) / (number of terms at the
      word), counted as they occur
    - chi_square: sum over frequent terms g, less the largest addend, of (o - e)² / e; o documents
      have both, and e = n p, n the number of terms in documents with the term, p the share of terms
      that are in documents with g

    Parameters
    ----------
    statistics : TermStatistics
        From `term_statistics`.
    method : {"ttf", "attf", "tfidf", "ridf", "cvalue", "basic", "weirdness", "glossex", "rake", "chi_square", "combo_basic"}
        As above.
    term_lengths : (n_terms,) array of integers, >= 1, optional
        Numbers of words, for cvalue, basic and combo_basic; by default those of `term_words`.
    term_words : sequence of arrays of integers, or TermLists, optional
        The word ids of each term, for weirdness, glossex and rake.
    nested : sequence of arrays of integers, or TermLists, optional
        From `nested_terms`, for cvalue, basic and combo_basic.
    word_frequency : (n_words,) array of float32, float64 or integers, >= 0, finite, optional
        Frequencies of words here; by default the words are counted in the terms.
    reference_frequency : (n_words,) array of float32, float64 or integers, >= 0, finite, optional
        Frequencies of words in a general corpus, for weirdness and glossex.
    length_offset : float >= 0, default 0.1
        It lets single words have a C-value. 0 is Frantzi's original.
    alpha : float, default 0.72
    beta : float, default 0.1
    frequent : float in (0, 1], default 0.3
        The share of terms that are `g` for chi_square.

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
    """  # noqa: E501
    xp, statistics = namespace_of(statistics.term_frequency), _checked_statistics(statistics)
    n, f = len(statistics.term_frequency), statistics.term_frequency * 1.0
    df = statistics.document_frequency * 1.0
    documents = max(statistics.n_documents, 1)
    occurs = df > 0
    # so that no logarithm sees a zero
    f_least, df_least = xp.where(f > 0, f, 1), xp.where(occurs, df, 1)
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
        return _chi_square(xp, statistics, frequent)
    if method in ("cvalue", "basic", "combo_basic"):
        if nested is None:
            raise ValueError(f"nested must be given for {method}: see nested_terms (got None)")
        lengths = _term_lengths(xp, method, term_lengths, term_words)
        longer = moved_to(xp, nested)
        check_ids("nested", longer.values, n)
        containing = xp.diff(longer.offsets) * 1.0
        if method == "cvalue":
            outer = segment_sums(xp, f[longer.values], longer.offsets)
            return xp.log2(lengths + length_offset) * (
                f - outer / xp.where(containing > 0, containing, 1)
            )
        score = lengths * xp.log(f_least) + alpha * containing
        if method == "combo_basic" and n:
            score = score + beta * xp.bincount(longer.values, minlength=n)
        return xp.where(occurs, score, 0.0)
    if term_words is None:
        raise ValueError(f"term_words must be given for {method} (got None)")
    term_words = moved_to(xp, term_words)
    check_terms(*term_words)
    if method == "rake":
        return _rake(xp, f, term_words)
    if reference_frequency is None:
        raise ValueError(f"reference_frequency must be given for {method} (got None)")
    words = _word_frequencies(xp, f, term_words, word_frequency, reference_frequency)
    return _by_words(xp, method, f, term_words, words)


def _checked_statistics(statistics):
    fields = statistics._asdict()
    n_documents = fields.pop("n_documents")
    fields = {name: array.astype(np.int64) for name, array in fields.items()}
    for name in ("term_frequency", "document_frequency", "counts"):
        if fields[name].size and int(fields[name].min()) < 0:
            raise ValueError(f"statistics.{name} must be >= 0 (got {int(fields[name].min())})")
    f, df = fields["term_frequency"], fields["document_frequency"]
    if df.size and int(df.max()) > n_documents:
        raise ValueError(
            f"statistics.document_frequency must be <= n_documents with n_documents = "
            f"{n_documents} (got {int(df.max())})"
        )
    if bool((df > f).any()):
        raise ValueError("statistics.document_frequency must be <= term_frequency (got more)")
    offsets, values = fields["offsets"], fields["values"]
    if len(offsets) != n_documents + 1:
        raise ValueError(
            f"statistics.offsets must have shape ({n_documents + 1},), one more than documents "
            f"(got {offsets.shape})"
        )
    checked_offsets("statistics.offsets", offsets, len(values))
    check_ids("statistics.values", values, len(f))
    return TermStatistics(n_documents=n_documents, **fields)


def _term_lengths(xp, method, term_lengths, term_words):
    """Numbers of words as float64."""
    if term_lengths is not None:
        return term_lengths * 1.0
    if term_words is None:
        raise ValueError(f"term_lengths or term_words must be given for {method} (got None)")
    term_words = moved_to(xp, term_words)
    check_terms(*term_words)
    return xp.diff(term_words.offsets) * 1.0


def _rake(xp, f, term_words):
    words, offsets = term_words
    lengths, term = xp.diff(offsets) * 1.0, list_of_entry(xp, offsets)
    vocabulary, words = numbered(xp, words)
    if not len(words):
        return f
    at_word = xp.bincount(words, weights=f[term], minlength=len(vocabulary))
    degree = xp.bincount(words, weights=(f * lengths)[term], minlength=len(vocabulary))
    sums = segment_sums(xp, (degree / xp.where(at_word > 0, at_word, 1))[words], offsets)
    return xp.where(f > 0, sums, 0.0)


def _word_frequencies(xp, f, term_words, word_frequency, reference_frequency):
    """Frequencies of words here and in the reference, as float64."""
    reference = _frequencies("reference_frequency", reference_frequency)
    check_ids("term_words", term_words.values, len(reference))
    if word_frequency is not None:
        return _frequencies("word_frequency", word_frequency), reference
    if not len(term_words.values):
        return xp.zeros(len(reference)), reference
    term = list_of_entry(xp, term_words.offsets)
    here = xp.bincount(term_words.values, weights=f[term], minlength=len(reference))
    return here, reference


def _by_words(xp, method, f, term_words, frequencies):
    """weirdness and glossex."""
    (words, offsets), (here, reference) = term_words, frequencies
    lengths, v = xp.diff(offsets) * 1.0, len(reference)
    strange = (
        xp.log((here + 1) / (here.sum() + v)) - xp.log((reference + 1) / (reference.sum() + v))
        if v
        else here
    )
    weirdness = segment_sums(xp, strange[words], offsets) / lengths
    if method == "weirdness":
        return weirdness
    total = segment_sums(xp, here[words], offsets)
    cohesion = lengths * f * xp.log10(xp.where(f > 0, f, 1)) / xp.where(total > 0, total, 1)
    return xp.where(f > 0, 0.9 * weirdness + 0.1 * cohesion, 0.0)


def _frequencies(name, values):
    values = values.astype(np.float64)
    if values.size and float(values.max()) > 1e300 / values.size:
        raise ValueError(f"{name} must have a finite sum (got up to {float(values.max())})")
    return values


def _chi_square(xp, statistics, frequent):
    f, df, _, terms, offsets, counts = statistics
    n, document = len(f), list_of_entry(xp, offsets)
    chi, largest = xp.zeros(n), xp.zeros(n)
    total = float(counts.sum()) if counts.size else 0.0
    if not total:
        return chi
    size = segment_sums(xp, counts * 1.0, offsets)  # terms in each document
    around = xp.bincount(terms, weights=size[document], minlength=n)
    order = xp.argsort(-f, kind="stable")[: max(1, round(frequent * n))]
    by_term = xp.argsort(terms, kind="stable")
    bounds = xp.searchsorted(terms[by_term], xp.arange(n + 1))
    for first in range(0, len(order), FREQUENT):
        g = order[first : first + FREQUENT]
        column, place = expanded(xp, bounds[g + 1] - bounds[g])
        in_document = document[by_term[bounds[g][column] + place]]
        pair, place = expanded(xp, xp.diff(offsets)[in_document])
        other = terms[offsets[in_document][pair] + place]
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


@routine
def rerank_terms(
    base: Float[Array, "n_terms", finite],
    term_words: ListsOfTerms,
    importance: Float[Array, "n_words", within(0, 1)],
    *,
    combine: Literal["add", "multiply"] = "add",
) -> RerankedTerms:
    """Scores of terms revised by the importance of their words.

    The base scores are divided by their maximum; a term's semantic score is the sum of the
    importance of its words divided by the number of all its words.

    Parameters
    ----------
    base : (n_terms,) array of float32 or float64, finite
        From `base_scores` or any other method.
    term_words : sequence of arrays of integers, or TermLists
        The word ids of each term. Words without importance, such as stop words, count as words.
    importance : (n_words,) array of float32 or float64, in [0, 1]
        From `semantic_importance`.
    combine : {"add", "multiply"}, default "add"
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
    xp, dtype = namespace_of(base), base.dtype
    words, offsets = moved_to(xp, term_words)
    check_terms(words, offsets, len(importance))
    semantic = segment_sums(xp, importance.astype(np.float64)[words], offsets) / xp.diff(offsets)
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
