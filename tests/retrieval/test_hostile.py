"""Degenerate or ill-meant input to all routines of the room: an error that names argument and
constraint, or the documented result.

Warnings are errors here. What single routines refuse is tested beside them.
"""

import time
import tracemalloc

import numpy as np
import pytest

from numcore.linalg import CSR
from numcore.retrieval import (
    CosineAdapter,
    InvertedFileIndex,
    LambdaMART,
    ProductQuantizer,
    align_documents,
    chamfer_similarity,
    choose_threshold,
    filter_by_score,
    filtering_curve,
    fuzzy_link,
    hamming_distances,
    hamming_within,
    isotonic_adapter,
    label_overlap,
    linkage_quality,
    margin_scores,
    mine_pairs,
    multi_vector_search,
    name_network,
    nearest_training_similarity,
    nested_terms,
    network_clusters,
    normalize_names,
    pack_strings,
    packed_hamming,
    personalized_pagerank,
    pivot_pairs,
    ranking_loss,
    ranking_metrics,
    rating_reliability,
    representational_similarity,
    rerank_terms,
    resample_train_test,
    resample_training,
    semantic_graph,
    semantic_importance,
    similarity_matrix,
    split_report,
    stack_features,
    string_similarity,
    tag_similarity,
    term_statistics,
    topk_inner_product,
)

pytestmark = pytest.mark.filterwarnings("error")

BIG, NAN, INF = 2**62, np.nan, np.inf
ONES, NONE, WORDS = np.ones((3, 2)), np.zeros((0, 2)), [[0, 1], [1, 2]]
LONG = "x" * 100_000


def ints(*values):
    return np.array(values, np.int64)


def trained(mapping="linear"):
    return CosineAdapter(mapping=mapping, hidden=(2,), n_epochs=1, rng=0).fit(
        ONES, np.array([[1.0, -1.0]] * 3), np.array([[1, 0]] * 3)
    )


# --- graphs without links -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dangling, expected", [("seeds", [1, 0, 0]), ("uniform", [13 / 30, 17 / 60, 17 / 60])]
)
def test_nodes_that_lead_nowhere(dangling, expected):
    """0.85 of the score goes to all three nodes alike, or back to the seed: 0.15 + 0.85 / 3 and
    0.85 / 3."""
    found = personalized_pagerank(
        CSR(ints(0, 0, 0, 0), ints(), np.zeros(0), (3, 3)),
        np.array([1.0, 0, 0]),
        dangling=dangling,
    )
    np.testing.assert_allclose(found.scores, expected, atol=1e-12)
    assert personalized_pagerank(
        CSR(ints(0), ints(), np.zeros(0), (0, 0)), np.zeros(0), dangling=dangling
    ).scores.shape == (0,)


@pytest.mark.parametrize("method", ["markov", "modularity"])
def test_clusters_of_nodes_without_links(method):
    for n in (3, 0):
        unlinked = CSR.from_dense(np.zeros((n, n)))
        assert network_clusters(unlinked, method=method).tolist() == list(range(n))


def test_names_and_words_without_links():
    assert name_network(ints(), ints()).shape == (0, 0)
    assert name_network(ints(0, 1), ints(0, 1), np.zeros(2)).data.tolist() == []
    graph = semantic_graph(np.zeros((3, 3)), WORDS)
    assert graph.indices.tolist() == [] and semantic_importance(graph, WORDS, ints(0)).tolist() == [
        0,
        0,
        0,
    ]
    assert (
        nested_terms([]).values.tolist() == []
        and rerank_terms(np.zeros(0), [], np.zeros(3)).order.tolist() == []
    )


# --- strings --------------------------------------------------------------------------------------


def peak_and_seconds(call):
    call()
    tracemalloc.start()
    began = time.process_time()
    result = call()
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak, seconds


@pytest.mark.parametrize(
    "measure, expected",
    [
        ("levenshtein", [[100_000, 99_950], [0, 50]]),
        ("osa", [[100_000, 99_950], [0, 50]]),
        ("qgram_jaccard", [[1, 0], [0, 1]]),
        ("qgram_cosine", [[1, 0], [0, 1]]),
        ("jaro", [[0, (1 + 50 / 100_000 + 1) / 3], [1, 0]]),
        ("jaro_winkler", [[0, 1 - 0.6 * (1 - (2 + 50 / 100_000) / 3)], [1, 0]]),
    ],
)
def test_one_long_string_beside_short_ones(measure, expected):
    """Its letters and their codes take less than a megabyte each, q-grams some; 20 MB and 5 s of a
    CPU are far from a table of all of the places."""
    left, right = [LONG, "ab"], ["ab", LONG[:50]]
    found, peak, seconds = peak_and_seconds(lambda: string_similarity(left, right, measure=measure))
    if measure == "jaro_winkler":
        plain = string_similarity(left, right, measure="jaro")
        assert (found >= plain).all() and found[1, 0] == 1 and found[0, 0] == 0
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert peak < 20e6 and seconds < 5


@pytest.mark.parametrize("measure", ["qgram_jaccard", "osa", "jaro_winkler"])
def test_one_long_name_beside_short_ones(measure):
    noise = "".join(map(chr, np.random.default_rng(0).integers(97, 123, 100_000)))
    found, peak, seconds = peak_and_seconds(
        lambda: fuzzy_link([noise, "abc def"], ["abd", "abc deg"], measure=measure)
    )
    assert (1, 1) in set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert peak < 40e6 and seconds < 5


@pytest.mark.parametrize(
    "measure, same",
    [
        ("levenshtein", 0),
        ("osa", 0),
        ("qgram_jaccard", 0),
        ("qgram_cosine", 0),
        ("jaro", 1),
        ("jaro_winkler", 1),
    ],
)
def test_equal_and_empty_strings_and_halves_of_letters(measure, same):
    assert (string_similarity(["aa"] * 30, measure=measure) == same).all()
    assert (string_similarity(["", ""], [""], measure=measure) == same).all()
    assert string_similarity([], measure=measure).size == 0
    assert string_similarity(["\ud800x"], ["\ud800x"], measure=measure)[0, 0] == same
    assert string_similarity(["\ud800x"], ["\udfffy"], measure=measure)[0, 0] != same


def test_names():
    pairs = fuzzy_link(["aa"] * 40, ["aa"] * 40)
    assert len(pairs.left) == 1600 and (pairs.distance == 0).all()
    for left, right in (([], []), ([], ["a"]), (["", "."], [""]), (["a\ud800b"], ["a\udfffb"])):
        assert fuzzy_link(left, right).left.tolist() == []
    assert normalize_names(["\ud800 A", "", LONG]) == ["\ud800 a", "", LONG]
    assert pack_strings(["\ud800"]).codes.tolist() == [0xD800]
    assert hamming_distances("a\ud800b", "\ud800").tolist() == [1, 0, 1]
    assert hamming_distances(LONG, LONG[1:]).tolist() == [0, 0]
    assert hamming_distances(ints(BIG, -BIG, 0), ints(BIG)).tolist() == [0, 1, 1]
    assert hamming_within("abc", "ab", BIG).distances.tolist() == [0, 2]


# --- vectors --------------------------------------------------------------------------------------


def test_equal_rows_and_zeros():
    assert topk_inner_product(np.ones((1, 2)), np.ones((5, 2)), 3).indices.tolist() == [[0, 1, 2]]
    assert topk_inner_product(
        np.zeros((1, 2)), np.ones((5, 2)), 3, metric="cosine"
    ).scores.tolist() == [[0, 0, 0]]
    assert topk_inner_product(NONE, ONES, 3).indices.shape == (0, 3)
    index = InvertedFileIndex(3, rng=0).fit(np.ones((9, 2)))
    assert index.search(np.ones((1, 2)), 4).indices.tolist() == [[0, 1, 2, 3]]
    assert multi_vector_search(ONES, ints(0, 3), ONES, ints(0, 1, 2, 3), 3).indices.tolist() == [
        [0, 1, 2]
    ]
    assert ProductQuantizer(2, n_codes=2, rng=0).fit(ONES).encode(ONES).tolist() == [[0, 0]] * 3
    assert chamfer_similarity(ONES, 0 * ONES, ints(0, 3), normalize=True).tolist() == [0]
    found = mine_pairs(ONES, ONES, k=BIG)
    assert (found.source_index.tolist(), found.target_index.tolist()) == ([0], [0])
    assert align_documents(
        ONES, ONES, ints(0, 3), ints(0, 3), threshold=0
    ).target_index.tolist() == [0]
    assert resample_training(np.ones((6, 2)), ONES, n_per_query=2, mode="extrapolate").tolist() == [
        2,
        3,
    ]
    split = resample_train_test(np.ones((6, 2)), ONES, n_buckets=3, rng=0)
    assert np.bincount(split.train_bucket).tolist() == [2, 2, 2] and np.bincount(
        split.test_bucket
    ).tolist() == [1, 1, 1]
    assert (similarity_matrix(np.zeros((3, 2))) == 0).all() and similarity_matrix(NONE).shape == (
        0,
        0,
    )
    assert (stack_features([np.zeros((3, 2))]) == 0).all() and stack_features([NONE]).shape[0] == 0
    assert (tag_similarity(ints(), ints(0, 0, 0), method="bm25") == 0).all()
    np.testing.assert_allclose(similarity_matrix(np.full((3, 2), 1e200)), 1, rtol=1e-15)


@pytest.mark.parametrize("mapping", ["linear", "sqrt", "power", "quadratic"])
def test_an_adapter_at_the_ends(mapping):
    adapter = trained(mapping)
    scores = adapter.transform(ONES, np.array([[1.0, -1.0]] * 3))
    assert (scores[:, 0] > 0.5).all() and (scores[:, 1] < 0.5).all()
    assert (
        adapter.cosine_cutoff(ONES, 0).tolist() == [-INF] * 3
        and adapter.cosine_cutoff(ONES, 1).tolist() == [INF] * 3
    )
    assert adapter.transform(NONE, NONE).shape == (0, 2) and adapter.transform(
        ONES, np.zeros((3, 0))
    ).shape == (3, 0)


# --- pairs and lists ------------------------------------------------------------------------------


def test_pivots_of_one_group_and_of_none():
    one = pivot_pairs(np.array([[3, 0]] * 200), np.array([[4, 0]] * 200), one_to_one=False)
    assert [part.tolist() for part in one] == [[3], [4], [0], [1]]
    none = np.zeros((0, 2), np.int64)
    assert (
        pivot_pairs(none, none).pivot.tolist() == []
        and pivot_pairs([[0, 0]], none, one_to_one=False).pivot.tolist() == []
    )
    assert pivot_pairs([[0, 0]], [[0, 0]], first_score=np.array([-INF])).score.tolist() == [-INF]


def test_documents_that_were_not_found_have_no_place():
    """More documents are judged than a list has, or the list is empty: none of them is found,
    however deep the cut."""
    judged = np.array([[0, 100 + i, 1] for i in range(50)])
    metrics = (
        "mrr",
        "mrr@10",
        "recall@10",
        "precision@10",
        "map",
        "map@10",
        "hit@10",
        "ndcg",
        "ndcg@10",
        "dcg@10",
    )
    for lists in (np.array([[5, 6, 7]]), np.zeros((1, 0), np.int64)):
        assert all(
            values.tolist() == [0]
            for values in ranking_metrics(lists, judged, metrics=metrics).values()
        )
    lists = np.array([[5, 100, 7]])
    found = ranking_metrics(lists, judged, metrics=("recall@10", "precision@10", "dcg@10"))
    assert {name: float(v[0]) for name, v in found.items()} == {
        "recall@10": 1 / 50,
        "precision@10": 1 / 10,
        "dcg@10": 1 / np.log2(3),
    }


def test_lists():
    found = ranking_metrics(np.array([[BIG, -BIG, 3]]), np.array([[0, BIG, 1], [0, -(2**63), 1]]))
    assert found["mrr@10"].tolist() == [1] and found["recall@100"].tolist() == [0.5]
    assert ranking_metrics(np.ones((1, 3)), np.array([[0, 1, 0]]), metrics=("mrr",))[
        "mrr"
    ].tolist() == [0.5]
    assert ranking_metrics(np.zeros((0, 5), int), np.zeros((0, 3), int))["mrr@10"].shape == (0,)
    assert ranking_metrics([[1, 2]], [[0, 2, 1]], metrics=("hit@999999999",))[
        "hit@999999999"
    ].tolist() == [1]
    assert label_overlap(np.array([[BIG, BIG, 1]]), np.array([[-BIG, BIG, 1]])).fraction == 1
    assert split_report(np.full(3, NAN), np.array([True, False, True])).n_skipped == 3
    assert choose_threshold(np.ones(4) / 2, np.array([1, 0, 1, 0]), min_recall=1)[:3] == (
        0.5,
        0.5,
        1,
    )
    assert filtering_curve(np.ones(3) / 2, np.ones(3)).precision.tolist() == [1]
    np.testing.assert_allclose(
        isotonic_adapter(np.zeros(3), np.array([0, 1, 1])).scores, [2 / 3], rtol=1e-15
    )
    assert filter_by_score(NONE, 0.5).n_kept.tolist() == []
    none = ranking_metrics(
        ints()[None], np.zeros((1, 0), bool), metrics=("precision",), cutoffs=(9,)
    )
    assert np.isnan(none["precision@9"]).tolist() == [True]
    assert ranking_loss(np.ones((1, 3)), np.ones((1, 3)), loss="ranknet").grad.tolist() == [
        [0, 0, 0]
    ]


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: topk_inner_product(ONES, ONES, BIG),
            ValueError,
            rf"k must be in \[1, nx\] with nx = 3 \(got {BIG}\)",
        ),
        (
            lambda: topk_inner_product(np.full((1, 2), INF), ONES, 1),
            ValueError,
            "queries must be finite",
        ),
        (
            lambda: topk_inner_product(np.full((1, 2), 1e308), np.full((1, 2), 1e308), 1),
            ValueError,
            "overflow",
        ),
        (
            lambda: InvertedFileIndex(5).fit(ONES),
            ValueError,
            r"n_lists must be <= nx with nx = 3 \(got 5\)",
        ),
        (lambda: InvertedFileIndex(2).fit(NONE), ValueError, "X must have at least one row"),
        (lambda: packed_hamming(ONES), TypeError, "a must have dtype uint64"),
        (
            lambda: nearest_training_similarity(ONES, ONES, k=BIG),
            ValueError,
            f"k must be <= n with n = 3 .got {BIG}",
        ),
        (
            lambda: nearest_training_similarity(NONE, ONES),
            ValueError,
            "train_queries must have no axis of length zero",
        ),
        (
            lambda: resample_train_test(np.outer(np.arange(6), [1e200, 0]) + 1, ONES, n_buckets=3),
            ValueError,
            "finite squared lengths",
        ),
        (lambda: mine_pairs(ONES, ONES, k=-BIG), ValueError, "k must be >= 1"),
        (
            lambda: margin_scores(ONES, ONES, ints(BIG, 0)[None], np.ones(3), np.ones(3)),
            ValueError,
            r"pairs\[:, 0\] must be in \[0, 3\) \(got 4611",
        ),
        (
            lambda: pivot_pairs([[BIG, 0]], [[0, 0]]),
            ValueError,
            r"first\[:, 0\] must be in \[0, 2147483648\) \(got 4611",
        ),
        (
            lambda: pivot_pairs([[0, 0]], [[0, -BIG]]),
            ValueError,
            r"second\[:, 1\] must be in \[0, 2147483648\) \(got -4611",
        ),
        (
            lambda: pivot_pairs(ONES, ONES),
            TypeError,
            r"first must have dtype int64 \(got float64\)",
        ),
        (
            lambda: chamfer_similarity(ONES, ONES, ints(0, BIG)),
            ValueError,
            r"document_offsets must ascend .* 3 \(got 0 … 4611",
        ),
        (
            lambda: chamfer_similarity(ONES * NAN, ONES, ints(0, 3)),
            ValueError,
            "query_vectors must be finite",
        ),
        (
            lambda: multi_vector_search(ONES, ints(0, 3), ONES, ints(0, 1, 3), BIG),
            ValueError,
            r"k must be in \[1, n_docs\] with n_docs = 2",
        ),
        (
            lambda: ProductQuantizer(2, n_codes=4).fit(ONES),
            ValueError,
            r"n_codes must be <= n with n = 3 \(got 4\)",
        ),
        (
            lambda: ranking_metrics([[1]], [[BIG, 1, 1]]),
            ValueError,
            r"queries in \[0, 1\) \(got 4611",
        ),
        (
            lambda: ranking_metrics(np.full((1, 3), NAN), [[0, 1, 0]]),
            ValueError,
            "scores_or_ranks must not be NaN",
        ),
        (
            lambda: ranking_metrics(np.ones(3), np.ones(3), groups=ints(BIG, BIG)),
            ValueError,
            "groups must be >= 1",
        ),
        (
            lambda: ranking_loss(np.array([[INF, 0]]), np.array([[0.0, 1]])),
            ValueError,
            "scores must be finite",
        ),
        (
            lambda: LambdaMART(n_estimators=2).fit(np.ones((4, 2)), np.ones(4), ints(BIG, BIG)),
            ValueError,
            "groups must be >= 1",
        ),
        (
            lambda: trained().transform(ONES, np.zeros(3), offsets=ints(0, 1, 2, BIG)),
            ValueError,
            "offsets must ascend",
        ),
        (
            lambda: trained().transform(ONES, np.zeros(3), offsets=ints(0, 2, 1, 3)),
            ValueError,
            "offsets must ascend",
        ),
        (
            lambda: trained().transform(ONES, np.full((3, 2), NAN)),
            ValueError,
            "cosines must be in .-1.001, 1.001.",
        ),
        (
            lambda: filter_by_score(np.zeros(2), 0.5, offsets=ints(0, -1, 2)),
            ValueError,
            "offsets must ascend",
        ),
        (
            lambda: choose_threshold(np.ones(2), np.zeros(2), min_recall=1),
            ValueError,
            "relevance must be above 0",
        ),
        (
            lambda: isotonic_adapter(np.zeros(0), np.zeros(0)),
            ValueError,
            "cosines must have no axis of length zero",
        ),
        (
            lambda: name_network(ints(-1), ints(0)),
            ValueError,
            r"alias_ids must be in \[0, 2147483647\) \(got -1",
        ),
        (
            lambda: linkage_quality((ints(BIG), ints(0)), (ints(0), ints(0)), n_left=2, n_right=2),
            ValueError,
            r"pairs must have rows in \[0, 2\)",
        ),
        (lambda: semantic_graph(np.eye(2), WORDS), ValueError, r"ids in \[0, 2\) \(got 0 … 2\)"),
        (
            lambda: semantic_importance(semantic_graph(np.eye(3), WORDS), WORDS, ints(BIG)),
            ValueError,
            r"seeds must be in \[0, n_words\) with n_words = 3 \(got 4611",
        ),
        (
            lambda: rerank_terms(np.ones(1), [[BIG]], np.ones(3)),
            ValueError,
            "term_words must have ids in",
        ),
        (lambda: nested_terms([[-1]]), ValueError, "term_words must have ids in"),
        (lambda: term_statistics([[-1]]), ValueError, "documents must have ids in"),
        (
            lambda: tag_similarity(ints(BIG), ints(0, 1), method="bm25"),
            ValueError,
            r"tag_values must be in \[0, 2\*\*62\)",
        ),
        (
            lambda: representational_similarity(np.ones((4, 4)), np.ones((4, 4))),
            ValueError,
            "predicted must not be constant",
        ),
        (lambda: rating_reliability(np.ones((5, 4)), rng=0), ValueError, "ratings must differ"),
        (lambda: hamming_distances("", "a"), ValueError, "pattern must have 1 to n symbols"),
        (lambda: pack_strings([1]), TypeError, r"strings\[0\] must be a string"),
    ],
)
def test_errors_name_argument_and_constraint(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
