"""SemRe-Rank: known answers, networkx, dense and counted references; what must not matter; bad
input."""

import tracemalloc
import warnings

import numpy as np
import pytest

import numcore
from numcore.arguments import declaration
from numcore.examples.retrieval import semantic_reranking as naive
from numcore.linalg import CSR
from numcore.retrieval import (
    TermLists,
    TermStatistics,
    base_scores,
    nested_terms,
    personalized_pagerank,
    rerank_terms,
    semantic_graph,
    semantic_importance,
    term_statistics,
)
from numcore.retrieval._semantic_reranking import importance as graphs, scores as scoring
from numcore.testing import simulated_gpu

PATH = CSR([0, 1, 3, 5, 6], [1, 0, 2, 1, 3, 2], np.ones(6), (4, 4))
ONE = term_statistics([[0, 0, 1], [1]])


def lists_of(rows):
    rows = [sorted(row) for row in rows]
    flat = np.array([j for row in rows for j in row], int)
    ends = np.cumsum([0, *map(len, rows)])
    return CSR(ends, flat, np.ones(len(flat)), (len(rows), len(rows)))


def statistics_of(f, df, documents):
    """Statistics with given counts; the lists of the documents play no part."""
    return TermStatistics(
        np.array(f),
        np.array(df),
        documents,
        np.zeros(0, int),
        np.zeros(documents + 1, int),
        np.zeros(0, int),
    )


METHODS = declaration(base_scores)[1].kinds[0].choices


def random_rows(rng, count, ids, longest, least=0):
    return [rng.integers(0, ids, rng.integers(least, longest + 1)).tolist() for _ in range(count)]


# --- known answers --------------------------------------------------------------------------------


def test_path_of_four():
    result = semantic_importance(PATH, [[0, 1, 2, 3]], [0], tol=1e-15, max_iter=400)
    np.testing.assert_allclose(
        result, [0.843790, 1, 0.665362, 0.282779], rtol=0, atol=5e-7
    )  # six digits are known
    scores = np.array([0.302224, 0.358175, 0.238316, 0.101284])
    np.testing.assert_allclose(result, scores / scores.max(), rtol=0, atol=4e-6)


def test_c_value():
    none = TermLists(np.zeros(0, int), np.zeros(2, int))
    value = base_scores(
        statistics_of([984], [1], 1), "cvalue", term_lengths=[3], nested=none, length_offset=0
    )
    np.testing.assert_allclose(value, [1559.603101], rtol=0, atol=5e-7)
    nested = TermLists(np.array([1, 2]), np.array([0, 2, 2, 2]))
    counts = statistics_of([400, 100, 50], [1, 1, 1], 1)
    assert (
        base_scores(counts, "cvalue", term_lengths=[2, 3, 3], nested=nested, length_offset=0)[0]
        == 325
    )
    single = base_scores(statistics_of([10], [1], 1), "cvalue", term_lengths=[1], nested=none)
    np.testing.assert_allclose(single, 10 * np.log2(1.1), rtol=1e-15)


def test_scores_of_counts():
    np.testing.assert_allclose(
        base_scores(statistics_of([10], [2], 8), "tfidf"), [13.862944], rtol=0, atol=5e-7
    )
    np.testing.assert_allclose(
        base_scores(statistics_of([10], [1], 100), "ridf"), [3.250394], rtol=0, atol=5e-7
    )
    # of order log2(e) / (2 D)
    np.testing.assert_allclose(
        base_scores(statistics_of([1], [1], 10**6), "ridf"), [0], rtol=0, atol=1e-6
    )
    assert base_scores(statistics_of([10, 0], [4, 0], 8), "ttf").tolist() == [10, 0]
    assert base_scores(statistics_of([10, 0], [4, 0], 8), "attf").tolist() == [2.5, 0]


def test_three_words_one_without_importance():
    for combine, score in (("add", 1.3), ("multiply", 1.2)):
        result = rerank_terms(
            np.array([0.8, 1.0]), [[0, 1, 2], [2]], np.array([1, 0.5, 0]), combine=combine
        )
        assert result.semantic[0] == 0.5 and result.scores[0] == pytest.approx(score, rel=1e-15)
        assert result.order.tolist() == [0, 1]


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_without_importance_the_order_is_that_of_the_base(combine):
    base = np.random.default_rng(0).integers(0, 20, 100) * 1.0  # with ties
    result = rerank_terms(base, [[i % 7] for i in range(100)], np.zeros(7), combine=combine)
    np.testing.assert_array_equal(result.order, np.argsort(-base, kind="stable"))


@pytest.mark.parametrize("seeds", [[], list(range(9))])
def test_complete_graph_is_uniform(seeds):
    complete = lists_of([[j for j in range(9) if j != i] for i in range(9)])
    np.testing.assert_allclose(
        semantic_importance(complete, [np.arange(9)], np.array(seeds, int)), 1, rtol=1e-12
    )


def importance(lists, documents, seeds, n):
    """Sums over documents of networkx's PageRank divided by its maximum, divided by their
    maximum."""
    networkx, total = pytest.importorskip("networkx"), [0.0] * n
    for document in documents:
        graph = networkx.Graph()
        for w in document:
            graph.add_edges_from((w, v) for v in lists[w])
        if not len(graph):
            continue
        known = {s: 1 for s in seeds if s in graph}
        scores = networkx.pagerank(
            graph, alpha=0.85, personalization=known or None, tol=1e-12 / len(graph), max_iter=2000
        )
        most = max(scores.values())
        for w, score in scores.items():
            total[w] += score / most
    most = max(total, default=0)
    return [t / most for t in total] if most else total


# --- importance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n, documents", [(5, 3), (64, 30), (65, 20), (200, 40)])
def test_importance_agrees_with_networkx(n, documents):
    pytest.importorskip("networkx")
    rng = np.random.default_rng(n)
    rows = [
        sorted({int(j) for j in row} - {i}) for i, row in enumerate(random_rows(rng, n, n, 8))
    ]  # one-sided lists too
    texts, seeds = random_rows(rng, documents, n, 15), rng.integers(0, n, max(n // 10, 1)).tolist()
    ours = semantic_importance(lists_of(rows), texts, seeds, tol=1e-13, max_iter=500)
    # theirs stops at steps of 1e-12; its error is six times that, more after the division by maxima
    # of about 1 / nodes
    np.testing.assert_allclose(ours, importance(rows, texts, seeds, n), rtol=0, atol=1e-9)


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85, 0.95])
@pytest.mark.parametrize("n, documents", [(2, 2), (65, 20), (300, 30)])
def test_importance_is_personalized_pagerank(n, documents, damping):
    """Of the graph of each document, from its seeds or else from all of its nodes."""
    rng = np.random.default_rng(n)
    rows = [
        sorted({int(j) for j in row} - {i}) for i, row in enumerate(random_rows(rng, n, n, 8, 1))
    ]
    texts, seeds = random_rows(rng, documents, n, 15, 1), rng.integers(0, n, 3)
    total = np.zeros(n)
    for text in texts:
        a = np.zeros((n, n))
        for word in text:
            a[word, rows[word]] = a[rows[word], word] = 1
        nodes = a.any(axis=0)
        if nodes.any():
            known = nodes & np.isin(np.arange(n), seeds)
            walk = personalized_pagerank(
                CSR.from_dense(a),
                1.0 * (known if known.any() else nodes),
                damping=damping,
                tol=1e-15,
                max_iter=1000,
            )
            total += walk.scores / walk.scores.max()
    ours = semantic_importance(
        lists_of(rows), texts, seeds, damping=damping, tol=1e-15, max_iter=1000
    )
    np.testing.assert_allclose(ours, total / total.max(), rtol=0, atol=1e-12)


def test_one_graph_of_novel_characters():
    networkx = pytest.importorskip("networkx")
    graph = networkx.convert_node_labels_to_integers(networkx.les_miserables_graph())
    n = len(graph)
    theirs = networkx.pagerank(
        graph, personalization={5: 1, 11: 1}, weight=None, tol=1e-13 / n, max_iter=2000
    )
    rows = [list(graph[i]) for i in range(n)]
    half = [
        [j for j in row if j > i] for i, row in enumerate(rows)
    ]  # an edge that is listed once counts as one listed twice
    for lists in (rows, half):
        ours = semantic_importance(
            lists_of(lists), [np.arange(n)], [5, 11], tol=1e-14, max_iter=300
        )
        np.testing.assert_allclose(
            ours, np.array([theirs[i] for i in range(n)]) / max(theirs.values()), rtol=0, atol=1e-10
        )


def test_batches_change_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(1)
    rows = [
        sorted({int(j) for j in row} - {i}) for i, row in enumerate(random_rows(rng, 90, 90, 6))
    ]
    texts, seeds = random_rows(rng, 25, 90, 10), [1, 2, 3]
    together = semantic_importance(lists_of(rows), texts, seeds)
    monkeypatch.setattr(graphs, "EDGES", 40)
    np.testing.assert_allclose(
        semantic_importance(lists_of(rows), texts, seeds), together, rtol=1e-13
    )


@pytest.mark.parametrize("damping, tol", [(0.0, 1e-9), (0.5, 1e-4), (0.85, 1e-6), (0.99, 1e-9)])
def test_error_keeps_its_bound(damping, tol):
    rng = np.random.default_rng(2)
    rows = [
        sorted({int(j) for j in row} - {i})
        for i, row in enumerate(random_rows(rng, 40, 40, 5, least=1))
    ]
    a = np.zeros((40, 40))
    for i, row in enumerate(rows):
        a[i, row] = a[row, i] = 1
    v = np.where(np.arange(40) < 4, 0.25, 0)
    exact = np.linalg.solve(
        np.eye(40) - damping * (a / a.sum(axis=1)[:, None]).T, (1 - damping) * v
    )
    ours = semantic_importance(
        lists_of(rows), [np.arange(40)], np.arange(4), damping=damping, tol=tol, max_iter=2000
    )
    allowed = damping / (1 - damping) * tol + 1e-14
    # both the scores and their maximum are wrong by at most so much
    assert np.abs(ours - exact / exact.max()).max() <= 2 * allowed / (exact.max() - allowed)


def test_few_steps_suffice():
    """Chebyshev's steps shrink the error by 0.557 each at a damping of 0.85, plain ones by 0.85."""
    exact = semantic_importance(PATH, [[0, 1, 2, 3]], [0], tol=0, max_iter=300)
    assert (
        np.abs(semantic_importance(PATH, [[0, 1, 2, 3]], [0], tol=0, max_iter=40) - exact).max()
        < 1e-8
    )
    assert (
        np.abs(semantic_importance(PATH, [[0, 1, 2, 3]], [0], tol=0, max_iter=3) - exact).max()
        > 1e-4
    )


def test_only_words_with_neighbors_enter_a_graph():
    lists = lists_of([[1], [], [], []])  # 1 is named by 0 alone, 2 and 3 by none
    assert semantic_importance(lists, [[0, 2, 3]], [3]).tolist() == [
        1,
        1,
        0,
        0,
    ]  # the seed is in no graph: uniform
    assert semantic_importance(lists, [[1, 2], []], [3]).tolist() == [0, 0, 0, 0]
    assert semantic_importance(lists, [], []).tolist() == [0, 0, 0, 0]


def test_repetition_order_and_weights_do_not_matter():
    rng = np.random.default_rng(3)
    expected = semantic_importance(PATH, [[0, 1], [2, 3]], [0])
    other = PATH.with_data(rng.random(6))
    np.testing.assert_array_equal(
        semantic_importance(other, [[1, 0, 1], [3, 2, 2]], [0, 0]), expected
    )
    shuffled = CSR(
        PATH.indptr, PATH.indices[[0, 2, 1, 4, 3, 5]], PATH.data.astype(np.float32), (4, 4)
    )
    np.testing.assert_array_equal(
        semantic_importance(shuffled, [[0, 1], [2, 3]], [0]), expected.astype(np.float32)
    )


def test_threads_do_not_matter():
    rng = np.random.default_rng(4)
    graph = semantic_graph(rng.standard_normal((500, 5)), None, min_similarity=0.7)
    texts, before, results = random_rows(rng, 100, 500, 40), numcore.get_num_threads(), []
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(semantic_importance(graph, texts, [1, 5, 7]))
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(*results)


# --- related words --------------------------------------------------------------------------------


def test_limits_of_neighbors():
    rng = np.random.default_rng(5)
    e = rng.standard_normal((60, 4)) * 10.0 ** rng.integers(
        -200, 200, (60, 1)
    )  # lengths do not matter, however large
    unit = e / np.abs(e).max(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    graph = semantic_graph(e, None, max_neighbors=0.15)
    for i in range(60):
        cosines = unit @ unit[i]
        cosines[i] = -2
        best = [j for j in np.argsort(-cosines)[:9] if cosines[j] >= 0.5]  # round(0.15 * 60)
        these = slice(graph.indptr[i], graph.indptr[i + 1])
        assert graph.indices[these].tolist() == sorted(best)
        np.testing.assert_allclose(graph.data[these], cosines[sorted(best)], rtol=1e-14)
    assert (
        np.diff(semantic_graph(e, None, max_neighbors=3, min_similarity=-1).indptr).tolist()
        == [3] * 60
    )
    assert len(semantic_graph(e, None, max_neighbors=0.001).indices) == 0  # rounds to none


def test_words_of_no_document_and_without_embedding_take_no_part():
    e = np.array([[1.0, 0], [1, 0.1], [0, 0], [1, 0.2], [1, 0.3]])
    graph = semantic_graph(e, [[0, 2], [1, 3]], max_neighbors=10)
    rows = [
        graph.indices[a:b].tolist()
        for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True)
    ]
    assert rows == [[1, 3], [0, 3], [], [0, 1], []]


def test_ties_at_the_limit_go_to_the_smaller_index():
    graph = semantic_graph(np.ones((6, 1)), None, max_neighbors=2)
    assert graph.indices.reshape(6, 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_a_search_of_the_caller():
    rng = np.random.default_rng(6)
    e = rng.standard_normal((50, 4))

    class Search:
        def fit(self, rows):
            self.rows = rows

        def __call__(self, queries, k):
            return tuple(numcore.retrieval.topk_inner_product(queries, self.rows, k))

    ours, theirs = (
        semantic_graph(e, None, max_neighbors=6, search=search) for search in (None, Search())
    )
    np.testing.assert_array_equal(ours.indptr, theirs.indptr)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-13)


def test_related_words_take_no_square_of_memory():
    e = np.random.default_rng(7).standard_normal((6000, 40)).astype(np.float32)
    semantic_graph(e[:10], None)
    tracemalloc.start()
    graph = semantic_graph(e, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # cosines of one block, twice while they are compared, and the rows; all would be 144 MB
    assert peak < 60e6 and len(graph.indices) < 1e6


# --- counts and base scores -----------------------------------------------------------------------


def test_statistics_of_lists_and_of_a_sparse_matrix():
    texts = [[2, 0, 2], [], [0]]
    from_lists = term_statistics(texts, n_terms=4)
    assert from_lists.term_frequency.tolist() == [
        2,
        0,
        2,
        0,
    ] and from_lists.document_frequency.tolist() == [2, 0, 1, 0]
    assert from_lists.n_documents == 3 and from_lists.counts.tolist() == [1, 2, 1]
    matrix = CSR.from_dense(np.array([[1.0, 0, 2, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))
    for a, b in zip(from_lists, term_statistics(matrix, n_terms=4), strict=True):
        np.testing.assert_array_equal(a, b)
    assert term_statistics([]).term_frequency.shape == (0,) and base_scores(
        term_statistics([]), "chi_square"
    ).shape == (0,)


def test_nested_terms_of_random_lists():
    rng = np.random.default_rng(8)
    for ids, longest in ((2, 7), (3, 5), (10**9, 3)):
        terms = random_rows(rng, 120, ids, longest, least=1)
        ours = nested_terms(terms)
        rows = [
            ours.values[a:b].tolist()
            for a, b in zip(ours.offsets[:-1], ours.offsets[1:], strict=True)
        ]
        assert rows == naive.containing(terms)
    assert nested_terms([[5, 5], [5, 5, 5, 5], [5], [5]]).values.tolist() == [1, 0, 1, 0, 1]


def test_scores_of_words():
    rng = np.random.default_rng(9)
    terms, texts = (
        random_rows(rng, 30, 12, 4, least=1),
        random_rows(rng, 20, 29, 20),
    )  # the last term does not occur
    counts = term_statistics(texts, n_terms=30)
    f = counts.term_frequency.tolist()
    nested = nested_terms(terms)
    longer = naive.containing(terms)
    reference = rng.integers(0, 50, 12)
    np.testing.assert_allclose(
        base_scores(counts, "rake", term_words=terms), naive.rake(terms, f), rtol=1e-13
    )
    expected = [
        len(t) * np.log(max(k, 1)) + 0.72 * len(b) if k else 0
        for t, k, b in zip(terms, f, longer, strict=True)
    ]
    np.testing.assert_allclose(
        base_scores(counts, "basic", term_words=terms, nested=nested), expected, rtol=1e-13
    )
    inside = [sum(i in row for row in longer) for i in range(30)]
    expected = [e + 0.1 * i if k else 0 for e, i, k in zip(expected, inside, f, strict=True)]
    lengths = np.array([len(t) for t in terms])
    np.testing.assert_allclose(
        base_scores(counts, "combo_basic", term_lengths=lengths, nested=nested),
        expected,
        rtol=1e-13,
    )
    strange, here = naive.weirdness(terms, f, reference.tolist())
    options = {"term_words": terms, "reference_frequency": reference}
    np.testing.assert_allclose(
        base_scores(counts, "weirdness", **options), strange, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        base_scores(counts, "weirdness", word_frequency=here, **options),
        strange,
        rtol=1e-12,
        atol=1e-14,
    )
    cohesion = [
        len(t) * k * np.log10(k) / sum(here[w] for w in t) if k else 0
        for t, k in zip(terms, f, strict=True)
    ]
    expected = [0.9 * w + 0.1 * c if k else 0 for w, c, k in zip(strange, cohesion, f, strict=True)]
    np.testing.assert_allclose(
        base_scores(counts, "glossex", **options), expected, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("share", [0.3, 1.0, 1e-9])
def test_chi_square(monkeypatch, share):
    monkeypatch.setattr(scoring, "FREQUENT", 4)
    texts = random_rows(np.random.default_rng(10), 15, 24, 12)
    ours = base_scores(term_statistics(texts, n_terms=25), "chi_square", frequent=share)
    expected = naive.chi_square(texts, 25, share)
    # of differences of sums of up to 25 addends
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * max(1, *expected))


# --- the whole way, devices, bad input ------------------------------------------------------------


def test_the_whole_way_on_the_gpu():
    rng = np.random.default_rng(11)
    terms, texts, e = (
        random_rows(rng, 40, 30, 3, least=1),
        random_rows(rng, 10, 40, 8),
        rng.standard_normal((30, 4)),
    )

    def scores(xp):
        words = [xp.asarray(np.array([w for t in text for w in terms[t]], int)) for text in texts]
        term_words = [xp.asarray(np.array(t)) for t in terms]
        counts = term_statistics([xp.asarray(np.array(t, int)) for t in texts], n_terms=40)
        nested = nested_terms(term_words)
        total = 0
        for method in METHODS:
            total = total + base_scores(
                counts,
                method,
                term_words=term_words,
                nested=nested,
                reference_frequency=xp.asarray(np.ones(30)),
            )
        importance = semantic_importance(
            semantic_graph(xp.asarray(e), words), words, xp.asarray(np.array([0, 1]))
        )
        return rerank_terms(total, term_words, importance).scores

    with simulated_gpu() as xp:
        there = scores(xp).get()
    np.testing.assert_allclose(
        there, scores(np), rtol=1e-10
    )  # sums in another order, then a division by a maximum


def test_base_without_positive_score_warns():
    with pytest.warns(UserWarning, match="no base score is positive"):
        result = rerank_terms(np.array([-2.0, 0.0]), [[0], [0]], np.array([0.5]))
    assert result.scores.tolist() == [-1.5, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rerank_terms(np.zeros(0), [], np.zeros(0)).scores.shape == (0,)
        assert rerank_terms(np.array([-1.0, 2.0]), [[0], [0]], np.array([0.5])).scores.tolist() == [
            0,
            1.5,
        ]


V, T = ValueError, TypeError
EYE = np.ones((3, 1))
REFUSED = [
    (rerank_terms, ([1.0], [[]], [0.5]), V, r"words for every term \(got none for term 0\)"),
    (rerank_terms, ([1.0], [[1]], [0.5]), V, r"term_words must have ids in \[0, 1\) \(got 1 … 1\)"),
    (rerank_terms, ([1.0, 2.0], [[0]], [0.5]), V, r"term_words must have 2 lists \(got 1\)"),
    (rerank_terms, ([1.0], [[0]], [1.5]), V, r"importance must be in \[0, 1\] \(got 1.5 at"),
    (rerank_terms, ([1.0], [[0]], [np.nan]), V, r"importance must be in \[0, 1\]"),
    (rerank_terms, ([1.0], [[0.5]], [0.5]), T, r"term_words\[0\] must be a 1-d array of integers"),
    (rerank_terms, ([1.0], "text", [0.5]), T, "term_words must be a list of integer arrays"),
    (term_statistics, ([[-1]],), V, r"documents must have ids in \[0, 0\) \(got -1"),
    (term_statistics, (TermLists([0], [0, 2, 1]),), V, "documents.offsets must ascend from 0 to 1"),
    (term_statistics, (CSR([0, 1], [0], [-1.0], (1, 1)),), V, "documents must have counts >= 0"),
    (term_statistics, (CSR([0, 1], [0], [0.5], (1, 1)),), V, "whole numbers"),
    (base_scores, (ONE, "bm25"), V, "method must be one of .* .got 'bm25'"),
    (base_scores, (ONE, "cvalue"), V, "nested must be given for cvalue"),
    (base_scores, (ONE, "rake"), V, "term_words must be given for rake"),
    (base_scores, (None, "ttf"), T, "statistics must be a TermStatistics"),
    (base_scores, (statistics_of([9], [3], 2), "ttf"), V, "with n_documents = 2 .got 3"),
    (base_scores, (statistics_of([1], [2], 2), "ttf"), V, "document_frequency must be <= term_f"),
    (base_scores, (statistics_of([-1], [0], 2), "ttf"), V, "term_frequency must be >= 0 .got -1"),
    (nested_terms, ([[1], []],), V, "words for every term .got none for term 1"),
    (nested_terms, ([[-1]],), V, "term_words must have ids in"),
    (semantic_importance, (PATH, [[4]], [0]), V, r"document_words must have ids in \[0, 4\)"),
    (
        semantic_importance,
        (PATH, [[0]], [-1]),
        V,
        r"in \[0, n_words\) with n_words = 4",
    ),
    (semantic_importance, (PATH, [[0]], [0.5]), T, "seeds must have dtype integers"),
    (semantic_importance, (PATH, [[0]], [[0]]), V, r"seeds must have shape \(k,\)"),
    (semantic_importance, (None, [[0]], [0]), T, "similarity must be a CSR"),
    (semantic_importance, (lists_of([[0]]), [[0]], [0]), V, "a word as its own neighbor"),
    (semantic_graph, (np.ones(3), None), V, r"embeddings must have shape \(n_words, d\)"),
    (semantic_graph, (np.full((2, 2), np.nan), None), V, "embeddings must be finite"),
    (semantic_graph, (np.ones((2, 2)), [[2]]), V, r"document_words must have ids in \[0, 2\)"),
]


@pytest.mark.parametrize("function, arguments, kind, message", REFUSED)
def test_bad_input(function, arguments, kind, message):
    arguments = [
        np.array(a) if function is rerank_terms and i != 1 else a for i, a in enumerate(arguments)
    ]
    with pytest.raises(kind, match=message):
        function(*arguments)


def search_of(result):
    return {"search": lambda q, k: result(q), "max_neighbors": 1}


TWO, NESTED = [[0], [1]], nested_terms([[0], [1]])
OPTIONS = [
    (semantic_importance, (PATH, [[0]], [0]), {"damping": 1.0}, r"damping must be in \[0, 1\)"),
    (semantic_graph, (np.ones((2, 2)), None), {"min_similarity": 1.5}, r"must be in \[-1, 1\]"),
    (semantic_graph, (np.ones((2, 2)), None), {"max_neighbors": 0}, "max_neighbors must be > 0"),
    (semantic_graph, (np.ones((2, 2)), None), {"max_neighbors": 1.5}, r"whole number \(got 1.5\)"),
    (semantic_graph, (EYE, None), {"search": "faiss"}, "search must be callable"),
    (semantic_graph, (EYE, None), search_of(lambda q: q), r"must return \(scores, indices\)"),
    (semantic_graph, (EYE, None), search_of(lambda q: (q, q > 0)), "indices of integers"),
    (semantic_graph, (EYE, None), search_of(lambda q: (q, q.astype(int))), r"of shape \(3, 2\)"),
    (
        semantic_graph,
        (np.ones((3, 2)), None),
        search_of(lambda q: (q, q.astype(int) + 5)),
        "search must have ids in",
    ),
    (base_scores, (ONE, "weirdness"), {"term_words": TWO}, "reference_frequency must be given for"),
    (base_scores, (ONE, "cvalue"), {"nested": NESTED}, "term_lengths or term_words must be given"),
    (base_scores, (ONE, "cvalue"), {"nested": NESTED, "term_lengths": [1, 0]}, "must be >= 1"),
    (base_scores, (ONE, "rake"), {"term_words": [[0]]}, "term_words must have 2 lists"),
    (
        base_scores,
        (ONE, "glossex"),
        {"term_words": TWO, "reference_frequency": [1, -1]},
        r"reference_frequency must be >= 0 \(got -1 at",
    ),
    (
        term_statistics,
        ([[3]],),
        {"n_terms": 3},
        r"ids in \[0, 3\) \(got 3 … 3\)",
    ),
]


@pytest.mark.parametrize("function, arguments, options, message", OPTIONS)
def test_bad_options(function, arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        function(*arguments, **options)
