"""Example calls of SemRe-Rank. References count in dicts and solve dense linear systems."""

import itertools
import math
from collections import Counter

import numpy as np

from ...retrieval import TermLists, semantic_graph, term_statistics
from .. import Example

EXACT, ROUNDED = {"float64": 0}, {"float32": 1e-6, "float64": 1e-12}


def random_lists(rng, count, ids, longest, least=0):
    lengths = rng.integers(least, longest + 1, count) if ids else np.zeros(count, int)
    values = rng.integers(0, max(ids, 1), int(lengths.sum()))
    return TermLists(values, np.concatenate([[0], np.cumsum(lengths)]))


def split(lists):
    return [lists.values[a:b].tolist() for a, b in itertools.pairwise(lists.offsets.tolist())]


def _statistics(documents, n_terms):
    counted = [Counter(d) for d in split(documents)]
    pairs = [sorted(c.items()) for c in counted]
    return (
        np.array([sum(c[t] for c in counted) for t in range(n_terms)], int),
        np.array([sum(t in c for c in counted) for t in range(n_terms)], int),
        len(counted),
        np.array([t for p in pairs for t, _ in p], int),
        np.cumsum([0, *map(len, pairs)]),
        np.array([c for p in pairs for _, c in p], int),
    )


def _tfidf(statistics, method):
    f, df = statistics.term_frequency.tolist(), statistics.document_frequency.tolist()
    n = statistics.n_documents
    return np.array([a * math.log(n / b) if b else 0.0 for a, b in zip(f, df, strict=True)])


def containing(terms):
    """The longer terms that contain each term, by comparing all windows."""

    def windows(b, size):
        return [b[i : i + size] for i in range(len(b) - size + 1)]

    found = [[] for _ in terms]
    for (i, a), (j, b) in itertools.product(enumerate(terms), repeat=2):
        if len(a) < len(b) and a in windows(b, len(a)):
            found[i].append(j)
    return found


def _containing(term_words):
    rows = containing(split(term_words))
    return np.array([j for row in rows for j in row], int), np.cumsum([0, *map(len, rows)])


def _graph(embeddings, document_words, min_similarity, max_neighbors):
    e = embeddings.astype(np.float64)
    has_one = e.any(axis=1)
    named = np.arange(len(e)) if document_words is None else np.unique(document_words.values)
    words = named[has_one[named]]
    rows = [[] for _ in e]
    for i in words:
        cosines = e[words] @ e[i] / np.linalg.norm(e[words], axis=1) / np.linalg.norm(e[i])
        close = [
            (-c, j)
            for c, j in zip(cosines.tolist(), words.tolist(), strict=True)
            if c >= min_similarity and j != i
        ]
        rows[i] = sorted((j, -c) for c, j in sorted(close)[:max_neighbors])
    return (
        np.cumsum([0, *map(len, rows)]),
        np.array([j for row in rows for j, _ in row], int),
        np.array([c for row in rows for _, c in row]),
    )


def _parts(graph):
    return graph.indptr, graph.indices, graph.data


def _importance(similarity, document_words, seeds, tol, max_iter):
    n = similarity.shape[0]
    lists = split(TermLists(similarity.indices, similarity.indptr))
    total = np.zeros(n)
    for document in split(document_words):
        a = np.zeros((n, n))
        for w in document:
            a[w, lists[w]] = a[lists[w], w] = 1
        nodes = np.flatnonzero(a.sum(axis=1))
        if not len(nodes):
            continue
        a = a[np.ix_(nodes, nodes)]
        v = np.isin(nodes, seeds).astype(float)
        v = v / v.sum() if v.any() else np.full(len(nodes), 1 / len(nodes))
        x = np.linalg.solve(np.eye(len(nodes)) - 0.85 * (a / a.sum(axis=1)[:, None]).T, 0.15 * v)
        total[nodes] += x / x.max()
    return total / total.max() if total.any() else total


def rake(terms, frequency):
    """Degrees of words and their frequencies, over all occurrences of the candidates."""
    degree, at = {}, {}
    for term, f in zip(terms, frequency, strict=True):
        for w in term:
            at[w] = at.get(w, 0) + f
            degree[w] = degree.get(w, 0) + f * len(term)
    return [
        sum(degree[w] / at[w] if at[w] else 0 for w in term) if f else 0
        for term, f in zip(terms, frequency, strict=True)
    ]


def chi_square(documents, n, share):
    """Of the co-occurrence of each term with the frequent ones in documents."""
    f = [sum(d.count(t) for d in documents) for t in range(n)]
    frequent = sorted(range(n), key=lambda t: (-f[t], t))[: max(1, round(share * n))]
    total, result = sum(f), []
    for t in range(n):
        addends = [0.0]
        around = sum(len(d) for d in documents if t in d)
        for g in frequent:
            expected = around * sum(len(d) for d in documents if g in d) / total
            both = sum(t in d and g in d for d in documents)
            if g != t and expected:
                addends.append((both - expected) ** 2 / expected)
        result.append(sum(addends) - max(addends))
    return result


def weirdness(terms, frequency, reference):
    here = [0] * len(reference)
    for term, f in zip(terms, frequency, strict=True):
        for w in term:
            here[w] += f
    v, w_all, r_all = len(reference), sum(here), sum(reference)
    logs = [
        math.log((w + 1) / (w_all + v)) - math.log((r + 1) / (r_all + v))
        for w, r in zip(here, reference, strict=True)
    ]
    return [sum(logs[w] for w in term) / len(term) for term in terms], here


def _revised(base, term_words, importance):
    semantic = np.array([sum(float(importance[w]) for w in t) / len(t) for t in split(term_words)])
    scores = base.astype(np.float64) / (float(base.max()) if base.size else 1) + semantic
    return scores, np.argsort(-scores.astype(base.dtype), kind="stable"), semantic


def _spread(rng, dtype, n):
    """Embeddings whose cosines are mostly small; one word has none."""
    e = (
        rng.standard_normal((n, 6)) + 2 * rng.standard_normal((5, 6))[rng.integers(0, 5, n)]
    ).astype(dtype)
    e[n // 2 : n // 2 + 1] = 0
    return e


def _graph_sizes(rng, dtype, n):
    return {
        "embeddings": _spread(rng, dtype, n),
        "document_words": random_lists(rng, 6, n, n),
        "min_similarity": 0.4,
        "max_neighbors": max(1, n // 8),
    }


def _graph_call(rng, dtype):
    return _graph_sizes(rng, dtype, 150)


def _importance_call(rng, dtype, n=120, documents=40):
    e = _spread(rng, np.float64, n)
    graph = semantic_graph(e, None, max_neighbors=10)
    return {
        "similarity": graph.with_data(graph.data.astype(dtype)),
        "document_words": random_lists(rng, documents, n, 12),
        "seeds": rng.integers(0, max(n, 1), n // 4),
        "tol": 1e-14,
        "max_iter": 500,
    }


def _rerank_call(rng, dtype, n=300):
    return {
        "base": rng.random(n).astype(dtype) + np.dtype(dtype).type(0.1),
        "term_words": random_lists(rng, n, 200, 4, least=1),
        "importance": rng.random(200).astype(dtype),
    }


def _digits(dtype):
    from sklearn.datasets import load_digits

    return {
        "embeddings": load_digits().data.astype(dtype),
        "document_words": None,
        "min_similarity": 0.8,
        "max_neighbors": 30,
    }


def _image_by_image(embeddings, document_words, min_similarity, max_neighbors):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = []
    for i, row in enumerate(unit):
        cosines = unit @ row
        best = np.argpartition(-cosines, max_neighbors + 1)[: max_neighbors + 1]
        best = best[np.argsort(-cosines[best])]
        rows.append(
            [(j, cosines[j]) for j in best.tolist() if j != i and cosines[j] >= min_similarity]
        )
    return rows


def _chapters(dtype):
    """Images as words, 60 of them in a document."""
    graph = semantic_graph(**_digits(np.float64))
    n = graph.shape[0]
    chapters = TermLists(np.random.default_rng(0).permutation(n), np.append(np.arange(0, n, 60), n))
    return {
        "similarity": graph.with_data(graph.data.astype(dtype)),
        "document_words": chapters,
        "seeds": np.arange(0, n, 40),
        "tol": 1e-13,
        "max_iter": 500,
    }


def _networkx(similarity, document_words, seeds, tol, max_iter):
    import networkx

    rows, total = split(TermLists(similarity.indices, similarity.indptr)), {}
    for document in split(document_words):
        graph = networkx.Graph()
        for w in document:
            graph.add_edges_from((w, v) for v in rows[w])
        known = {s: 1 for s in seeds.tolist() if s in graph}
        scores = networkx.pagerank(
            graph, personalization=known or None, tol=tol / max(len(graph), 1), max_iter=max_iter
        )
        most = max(scores.values(), default=1)
        for w, score in scores.items():
            total[w] = total.get(w, 0) + score / most
    return total


def _marks(rng, variant, size):
    n, documents = 40 * size + 3, size
    lists = [np.unique(rng.integers(0, n, int(rng.integers(0, 50)))) for _ in range(n)]
    words = [np.unique(rng.integers(0, n, 9)) for _ in range(documents)]
    b = -(-n // 64)
    arrays = [
        np.cumsum([0, *map(len, lists)]),
        np.concatenate(lists).astype(np.int32),
        np.concatenate([np.zeros(0), *words]).astype(np.int32),
        np.cumsum([0, *map(len, words)]),
    ]
    return [
        *arrays,
        np.zeros((documents, b), np.uint64),
        np.zeros((documents, b), np.uint64),
        np.zeros((documents, b + 1), np.int32),
    ]


def _ranks(rng, variant, size):
    """A fixed number of steps, as rounding decides where a tolerance is met; the graphs come from
    plain sets."""
    indptr, neighbors, words, word_at, present, started, before = _marks(rng, variant, size)
    n = len(indptr) - 1
    own = [i for i in range(n) if indptr[i + 1] > indptr[i]]
    words = [np.unique(rng.choice(own, 9)) for _ in range(size)]
    word_at = np.cumsum([0, *map(len, words)])
    for g, mine in enumerate(words):
        others = [neighbors[indptr[w] : indptr[w + 1]] for w in mine]
        for bits, marked in ((started, mine), (present, np.concatenate([mine, *others]))):
            flags = np.zeros(64 * present.shape[1], np.uint8)
            flags[marked] = 1
            bits[g] = np.packbits(flags, bitorder="little").view("<u8")
        before[g, 1:] = np.cumsum([int(row).bit_count() for row in present[g]])
    words = np.concatenate([np.zeros(0), *words]).astype(np.int32)
    node_at = np.concatenate([[0], np.cumsum(before[:, -1])]).astype(np.int64)
    edge_at = np.concatenate([[0], np.cumsum(np.diff(indptr)[words])]).astype(np.int64)
    m, e, w = int(node_at[-1]), int(edge_at[-1]), len(words)
    return [
        indptr,
        neighbors,
        (rng.random(n) < 0.1).astype(np.uint8),
        words,
        word_at,
        edge_at,
        node_at,
        present,
        started,
        before,
        *(np.zeros(k, np.int32) for k in (m, m, w, e)),
        np.zeros(m),
        np.zeros((4, m)),
        0.85,
        0.0,
        20,
    ]


def _documents(rng, dtype, n=60):
    return {"documents": random_lists(rng, n, n, 30), "n_terms": n}


EXAMPLES = {
    "term_statistics": Example(
        _documents,
        (),
        _statistics,
        EXACT,
        error="equal",
        nan="ignore",
        dtypes=("float64",),
        sizes=_documents,
    ),
    "base_scores": Example(
        lambda rng, dtype: {
            "statistics": term_statistics(random_lists(rng, 60, 40, 30), n_terms=40),
            "method": "tfidf",
        },
        (),
        _tfidf,
        {"float64": 1e-14},
        nan="ignore",
        dtypes=("float64",),
        sizes=lambda rng, dtype, n: {
            "statistics": term_statistics(random_lists(rng, n, n, 9), n_terms=n),
            "method": "tfidf",
        },
    ),
    "nested_terms": Example(
        lambda rng, dtype: {"term_words": random_lists(rng, 150, 4, 5, least=1)},
        (),
        _containing,
        EXACT,
        error="equal",
        nan="ignore",
        dtypes=("float64",),
        sizes=lambda rng, dtype, n: {"term_words": random_lists(rng, n, 3, 4, least=1)},
    ),
    "semantic_graph": Example(
        _graph_call,
        ("embeddings",),
        _graph,
        ROUNDED,
        nan="raise",
        result=_parts,
        sizes=_graph_sizes,
        real=_digits,
        data="digits images",
        peer=("one numpy product for each row", _image_by_image),
    ),
    "semantic_importance": Example(
        _importance_call,
        ("seeds",),
        _importance,
        ROUNDED,
        nan="ignore",
        also=("int64",),
        sizes=lambda rng, dtype, n: _importance_call(rng, dtype, n, min(n, 40)),
        real=_chapters,
        data="similar digits images",
        peer=("networkx.pagerank for each document", _networkx),
    ),
    "rerank_terms": Example(
        _rerank_call, ("base", "importance"), _revised, ROUNDED, nan="raise", sizes=_rerank_call
    ),
}

KERNELS = {"mark_nodes": _marks, "rank_nodes": _ranks}
