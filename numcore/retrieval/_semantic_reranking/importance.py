"""How central words are among related words, by PageRank on one graph for each document."""

from typing import Annotated

import numpy as np

from ...arguments import Array, Integer, interval, nonnegative, within
from ...dispatch import namespace_of, routine
from ...linalg import CSRLike, Sparse
from .._offsets import list_of_entry
from .kernels import mark_nodes, rank_nodes
from .lists import IdLists, check_ids, moved_to

EDGES = 1 << 23  # edges and bits of the graphs that are held at once


@routine
def semantic_importance(
    similarity: Sparse[CSRLike, "n_words n_words"],
    document_words: IdLists,
    seeds: Integer[Array, "k", interval("[0, n_words)")],
    *,
    damping: Annotated[float, interval("[0, 1)")] = 0.85,
    tol: Annotated[float, nonnegative] = 1e-9,
    max_iter: Annotated[int, within(1, 2**31 - 1)] = 200,
) -> Array:
    """How central words are among related words, over all documents.

    In the graph of a document each of its words is joined with its related words, be these in the
    document or not; edges have no direction and no weight. The PageRank of the nodes, from the
    seeds among them or else from all of them, is divided by its maximum, these are summed over
    documents, and the sums are divided by their maximum.

    Parameters
    ----------
    similarity : (n_words, n_words) CSR or sparse array
        From `semantic_graph`; its entries do not count.
    document_words : sequence of arrays of integers, or TermLists
        The words of each document's candidate terms, in any order; repetitions do not count.
    seeds : (k,) array of integers, in [0, n_words)
        Words of terms that are known or trusted; may be empty.
    damping : float in [0, 1), default 0.85
        The probability of following an edge.
    tol : float >= 0, default 1e-09
        A document's scores x are iterated until ``|damping P^T x + (1 - damping) v - x|`` is at
        most this, as sum of absolute values. Their error is then at most
        ``damping / (1 - damping)`` times that, before they are divided by their maximum.
    max_iter : int in [1, 2147483647], default 200
        Maximum number of steps for a document.

    Returns
    -------
    (n_words,) array of float32 or float64
        In [0, 1] and of the dtype of `similarity`; 0 for words that are in no graph.

    Raises
    ------
    ValueError
        Ids are out of range, a word is its own neighbor, lists are malformed, or an option is
        outside of its range.
    TypeError
        Other types or dtypes, or arrays on different devices.

    Notes
    -----
    The steps are those of Chebyshev's semi-iteration: the eigenvalues of a walk without direction
    are real, in [-1, 1], and 36 steps then do what 128 plain ones do for 1e-9 at 0.85. O(edges) for
    a step, documents next to each other.

    References
    ----------
    Z. Zhang, J. Gao, F. Ciravegna, "SemRe-Rank: improving automatic term extraction by
    incorporating semantic relatedness with personalised PageRank", ACM TKDD, 2018. G. H. Golub, R.
    S. Varga, "Chebyshev semi-iterative methods", 1961.

    Examples
    --------
    >>> from numcore.linalg import CSR
    >>> path = CSR([0, 1, 3, 5, 6], [1, 0, 2, 1, 3, 2], np.ones(6), (4, 4))
    >>> semantic_importance(path, [[0, 1, 2, 3]], [0]).round(4)
    array([0.8438, 1.    , 0.6654, 0.2828])
    """
    xp, n = namespace_of(similarity.data), similarity.shape[0]
    if n >= 2**31:
        raise ValueError(f"similarity must have less than 2**31 words (got {n})")
    if len(similarity.diagonal_at):
        raise ValueError("similarity must not list a word as its own neighbor")
    starts = moved_to(xp, document_words)
    check_ids("document_words", starts.values, n)
    is_seed = xp.zeros(n, np.uint8)
    is_seed[seeds.astype(np.int64)] = 1
    total = _Graphs(xp, similarity, starts, is_seed).importance((damping, tol, max_iter))
    largest = float(total.max()) if n else 0.0
    return (total / largest if largest else total).astype(similarity.dtype)


class _Graphs:
    """One graph for each document, a batch of documents at a time."""

    def __init__(self, xp, lists, starts, is_seed):
        n = lists.shape[0]
        self.xp, self.n, self.is_seed = xp, n, is_seed
        self.indptr, self.neighbors = lists.indptr.astype(np.int64), lists.indices.astype(np.int32)
        # each word once, ascending
        keys = xp.unique(list_of_entry(xp, starts.offsets) * n + starts.values)
        words = keys % max(n, 1)
        # a word without neighbors is in no graph
        joined = self.indptr[words + 1] > self.indptr[words]
        keys, words = keys[joined], words[joined]
        self.first_word = xp.searchsorted(keys, xp.arange(len(starts.offsets)) * n)
        self.words = words.astype(np.int32)
        self.first_edge = xp.concatenate(
            [xp.zeros(1, np.int64), xp.cumsum(self.indptr[words + 1] - self.indptr[words])]
        )

    def importance(self, options):
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
            nodes, scores = self.batch(first, last, bits, options)
            if len(nodes):
                total = total + xp.bincount(nodes, weights=scores, minlength=n)
            first = last
        return total

    def batch(self, first, last, bits, options):
        """The nodes of the graphs of documents first to last, one graph after the other, and their
        scores; `options` are damping, tol and max_iter."""
        xp, g = self.xp, last - first
        word_at = self.first_word[first : last + 1]
        these = slice(int(word_at[0]), int(word_at[-1]))
        word_at, words = word_at - word_at[0], self.words[these]
        edge_at = self.first_edge[these.start : these.stop + 1]
        edge_at = edge_at - edge_at[0]
        present, started = xp.empty((g, bits), np.uint64), xp.empty((g, bits), np.uint64)
        before = xp.empty((g, bits + 1), np.int32)
        marks = present, started, before
        mark_nodes(self.indptr, self.neighbors, words, word_at, *marks)
        node_at = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(before[:, -1].astype(np.int64))])
        z = int(node_at[-1])
        found = [xp.empty(size, np.int32) for size in (z, z, len(words), int(edge_at[-1]))]
        scores, work = xp.empty(z), xp.empty((4, z))
        graph = self.indptr, self.neighbors, self.is_seed
        places = words, word_at, edge_at, node_at
        rank_nodes(*graph, *places, *marks, *found, scores, work, *options)
        return found[0], scores
