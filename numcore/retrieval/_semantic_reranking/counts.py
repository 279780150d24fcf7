"""How often terms occur, and which terms lie in longer ones."""

from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Integer, nonnegative
from ...dispatch import namespace_of, routine
from .._offsets import list_of_entry
from .lists import Documents, IdLists, TermLists, check_ids, check_terms, expanded, numbered


class TermStatistics(NamedTuple):
    """What `term_statistics` returns.

    Attributes
    ----------
    term_frequency, document_frequency : (n_terms,) arrays of int64
        How often a term occurs, and in how many documents.
    n_documents : int
    values, offsets, counts : arrays of int64
        Document i has the distinct terms ``values[offsets[i]:offsets[i + 1]]``, ascending, and
        `counts` says there how often.
    """

    term_frequency: Integer[Array, "n_terms"]
    document_frequency: Integer[Array, "n_terms"]
    n_documents: Annotated[int, nonnegative]
    values: Integer[Array, "nnz"]
    offsets: Integer[Array, "_"]
    counts: Integer[Array, "nnz"]


@routine
def term_statistics(
    documents: Documents, *, n_terms: Annotated[int, nonnegative] | None = None
) -> TermStatistics:
    """How often terms occur, in all and by document.

    Parameters
    ----------
    documents : sequence of arrays of integers, or TermLists, or CSR or sparse array
        The ids of the candidate terms in each document, repeated as they occur; or a sparse matrix
        of documents by terms whose entries are counts, whole numbers >= 0.
    n_terms : int >= 0, optional
        By default the largest id and one.

    Returns
    -------
    TermStatistics
        Arrays (n_terms,) and those of the counts by document.

    Raises
    ------
    ValueError
        An id is not in [0, n_terms), a count is negative or not a whole number, or the lists are
        malformed.
    TypeError
        Not lists of integers, or arrays on different devices.

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
    values, offsets = documents[:2]
    xp = namespace_of(values)
    counts = documents.counts if len(documents) > 2 else xp.ones(len(values), np.int64)
    if n_terms is None:
        n_terms = int(values.max()) + 1 if values.size else 0
    limit = (1 << 62) // len(offsets)
    if n_terms > limit:
        raise ValueError(f"n_terms must be <= {limit} for {len(offsets) - 1} documents")
    check_ids("documents", values, n_terms)
    keys = list_of_entry(xp, offsets) * n_terms + values
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
        len(offsets) - 1,
        terms,
        xp.searchsorted(documents, xp.arange(len(offsets))),
        counts,
    )


@routine
def nested_terms(term_words: IdLists) -> TermLists:
    """For each term the longer terms that contain it as a run of words.

    Parameters
    ----------
    term_words : sequence of arrays of integers, or TermLists
        The word ids of each of n terms, in their order.

    Returns
    -------
    TermLists
        List i has the terms that are longer than term i and contain it, ascending; arrays of
        int64.

    Raises
    ------
    ValueError
        A term has no words, or an id is negative or too large.
    TypeError
        Not lists of integers.

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
    TermLists(values=array([1, 1]), offsets=array([0, 1, 1, 2]))
    """
    words, offsets = term_words
    xp = namespace_of(words)
    check_terms(words, offsets)
    n, lengths, none = len(offsets) - 1, xp.diff(offsets), xp.zeros(0, np.int64)
    _, words = numbered(xp, words)
    start, term = xp.arange(len(words)), list_of_entry(xp, offsets)
    run, inner, outer = words, [none], [none]
    for length in range(1, int(lengths.max()) if n else 0):
        # terms of just this length
        whole = xp.nonzero((offsets[term] == start) & (lengths[term] == length))[0]
        by_run = whole[xp.argsort(run[whole], kind="stable")]
        longer = xp.nonzero(lengths[term] > length)[0]
        low = xp.searchsorted(run[by_run], run[longer])
        found = xp.searchsorted(run[by_run], run[longer], side="right") - low
        row, place = expanded(xp, found)
        inner.append(term[by_run[low[row] + place]])
        outer.append(term[longer[row]])
        room = xp.nonzero(start + length < offsets[term + 1])[0]  # runs that can take one word more
        start, term, run = start[room], term[room], run[room]
        _, run = numbered(xp, run * (int(words.max()) + 1) + words[start + length])
    keys, _ = numbered(xp, xp.concatenate(inner) * n + xp.concatenate(outer))
    return TermLists(keys % max(n, 1), xp.searchsorted(keys, xp.arange(n + 1) * n))
