"""Metrics of ranked lists: known answers, loops over documents, scikit-learn, masks and groups, bad
input."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval.metrics import lists_and_judgments, run_metrics
from numcore.linalg import CSR
from numcore.retrieval import ranking_metrics
from numcore.testing import simulated_gpu

METRICS = (
    "mrr@10",
    "mrr",
    "recall@2",
    "recall@100",
    "precision@5",
    "precision",
    "hit@1",
    "map",
    "map@6",
    "r_precision",
    "dcg@4",
    "dcg",
    "ndcg@10",
    "ndcg",
)
JUDGED = [[0, 7, 3], [0, 2, 2], [0, 9, 0], [0, 4, 1]]


def run(rng, nq=40, k=30, judged=12):
    """Lists of documents with repetitions and padding, and judgments of some of them."""
    lists = rng.integers(-1, 50, (nq, k))
    documents = rng.permuted(np.tile(np.arange(60), (nq, 1)), axis=1)[:, :judged]
    qrels = np.stack(
        [np.repeat(np.arange(nq), judged), documents.ravel(), rng.integers(-1, 4, nq * judged)],
        axis=1,
    )
    return lists, rng.permutation(qrels)


# --- metrics: known answers -----------------------------------------------------------------------


def test_known_metrics_of_a_list():
    names = ("ndcg", "mrr", "recall@2", "map")
    found = ranking_metrics([[7, 2, 9, 4]], JUDGED, metrics=names)
    assert [round(float(found[name][0]), 6) for name in names] == [
        0.985442,
        1,
        round(2 / 3, 6),
        0.916667,
    ]
    assert (
        round(
            float(
                ranking_metrics([[7, 2, 9, 4]], JUDGED, metrics=("ndcg",), gain="exponential")[
                    "ndcg"
                ][0]
            ),
            6,
        )
        == 0.992620
    )


def test_known_metrics_of_scores():
    scores, relevance = np.array([[2.0, 1, 0, 0.5]]), [[0, 2, 1, 0]]
    found = ranking_metrics(scores, relevance, metrics=("ndcg", "mrr"), gain="exponential")
    assert abs(found["ndcg"][0] - 0.6399093) < 5e-8  # the figure has seven digits
    assert found["mrr"][0] == 0.5
    assert (
        abs(
            ranking_metrics(np.array([[0.0, 1.0]]), [[1, 0]], metrics=("ndcg",))["ndcg"][0]
            - 0.6309298
        )
        < 5e-8
    )


# --- metrics: against loops -----------------------------------------------------------------------


@pytest.mark.parametrize("by_cut", [False, True])
def test_lists_of_documents_against_a_dict_loop(by_cut):
    lists, qrels = run(np.random.default_rng(0))
    found = ranking_metrics(
        lists, qrels, metrics=METRICS, normalize_map="cut" if by_cut else "relevant"
    )
    for name in METRICS:
        np.testing.assert_allclose(
            found[name],
            run_metrics(lists.tolist(), qrels.tolist(), name, by_cut=by_cut),
            rtol=1e-14,
        )
        assert found[name].dtype == np.float64


def test_exponential_gains_against_a_dict_loop():
    lists, qrels = run(np.random.default_rng(1))
    qrels[:, 2] = np.maximum(qrels[:, 2], 0)
    found = ranking_metrics(lists, qrels, metrics=METRICS, gain="exponential")
    for name in METRICS:
        np.testing.assert_allclose(
            found[name],
            run_metrics(lists.tolist(), qrels.tolist(), name, exponential=True),
            rtol=1e-14,
        )


@pytest.mark.parametrize(
    "k", [20, 400]
)  # by counting, and by sorting where many documents are relevant
@pytest.mark.parametrize("tie", ["stable", "trec"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_lists_in_their_order(k, tie, dtype):
    rng = np.random.default_rng(2)
    scores, relevance = (
        rng.integers(0, 5, (7, k)).astype(dtype),
        rng.integers(-1, 4, (7, k)) if k < 100 else rng.integers(1, 4, (7, k)),
    )
    lists = np.array(
        [sorted(range(k), key=lambda j: (-row[j], -j if tie == "trec" else j)) for row in scores]
    )
    qrels = np.array([[q, j, relevance[q, j]] for q in range(7) for j in range(k)])
    expected = ranking_metrics(lists, qrels, metrics=METRICS)
    for found in (
        ranking_metrics(scores, relevance, metrics=METRICS, tie=tie),
        ranking_metrics(
            scores, CSR.from_dense(relevance.astype(np.float64)), metrics=METRICS, tie=tie
        ),
        ranking_metrics(scores.ravel(), relevance.ravel(), [k] * 7, metrics=METRICS, tie=tie),
    ):
        for name in METRICS:
            assert found[name].dtype == dtype
            np.testing.assert_allclose(
                found[name],
                expected[name].astype(dtype),
                rtol=1e-6 if dtype == np.float32 else 1e-14,
            )


def test_a_mask_and_groups_leave_out_what_is_not_there():
    rng = np.random.default_rng(3)
    scores, relevance, lengths = (
        rng.integers(0, 4, (9, 12)).astype(float),
        rng.integers(0, 3, (9, 12)),
        rng.integers(1, 13, 9),
    )
    mask = np.arange(12) < lengths[:, None]
    hidden = np.where(mask, scores, np.nan)
    by_mask, by_groups = (
        ranking_metrics(*call, metrics=METRICS, **options)
        for call, options in (
            ((hidden, relevance), {"mask": mask}),
            ((scores[mask], relevance[mask], lengths), {}),
        )
    )
    alone = [
        ranking_metrics(s[m][None], r[m][None], metrics=METRICS)
        for s, r, m in zip(scores, relevance, mask, strict=True)
    ]
    for name in METRICS:
        np.testing.assert_array_equal(by_mask[name], by_groups[name])
        np.testing.assert_array_equal(by_mask[name], [a[name][0] for a in alone])


def test_a_matrix_of_judgments_is_an_array_of_them():
    lists, qrels = run(np.random.default_rng(4))
    qrels[:, 2] = np.maximum(qrels[:, 2], 0)
    matrix = CSR.from_coo(qrels[:, 0], qrels[:, 1], qrels[:, 2].astype(np.float32), (40, 60))
    a, b = (ranking_metrics(lists, r, metrics=METRICS) for r in (qrels, matrix))
    assert all(np.array_equal(a[name], b[name], equal_nan=True) for name in METRICS)


def test_the_same_as_scikit_learn_where_no_scores_are_equal():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(5)
    scores, relevance = rng.standard_normal((30, 50)), rng.integers(0, 4, (30, 50))
    assert (
        abs(
            ranking_metrics(scores, relevance, metrics=("ndcg@7",))["ndcg@7"].mean()
            - ndcg_score(relevance, scores, k=7)
        )
        < 1e-13
    )


def test_queries_without_relevant_documents_are_nan():
    found = ranking_metrics(
        [[1, 2], [1, 2], [1, 2]],
        [[0, 1, 1], [1, 1, 0], [2, 1, -3]],
        metrics=("mrr", "ndcg@5", "dcg", "recall"),
    )
    for values in found.values():
        assert np.isnan(values).tolist() == [False, True, True]
    assert ranking_metrics(np.zeros((0, 3)), np.zeros((0, 3), int))["mrr@10"].shape == (0,)
    assert np.isnan(
        ranking_metrics(np.zeros((2, 0)), np.zeros((2, 0), int), metrics=("map",))["map"]
    ).all()
    assert (
        ranking_metrics(np.zeros((2, 0), int), [[0, 3, 1]], metrics=("recall", "ndcg"))["recall"][0]
        == 0
    )


def test_large_numbers_of_documents_and_a_higher_threshold():
    big = 2**62
    found = ranking_metrics(
        [[big, -big, 5]], [[0, big, 2], [0, 5, 1]], metrics=("mrr", "recall"), min_relevance=2
    )
    assert found["mrr"][0] == found["recall"][0] == 1


def test_metrics_on_the_gpu_and_at_any_number_of_threads():
    lists, qrels = run(np.random.default_rng(6))
    expected, before = ranking_metrics(lists, qrels, metrics=METRICS), numcore.get_num_threads()
    try:
        numcore.set_num_threads(3)
        again = ranking_metrics(lists, qrels, metrics=METRICS)
    finally:
        numcore.set_num_threads(before)
    with simulated_gpu() as xp:
        on_gpu = ranking_metrics(xp.asarray(lists), xp.asarray(qrels), metrics=METRICS)
        for name in METRICS:
            np.testing.assert_array_equal(again[name], expected[name])
            np.testing.assert_allclose(on_gpu[name].get(), expected[name], rtol=1e-14)
        with pytest.raises(TypeError, match="relevance"):
            ranking_metrics(xp.asarray(lists), qrels)


def test_memory_is_that_of_the_judgments_not_of_the_lists():
    rng = np.random.default_rng(7)
    lists = rng.permuted(np.tile(np.arange(2000), (500, 1)), axis=1)
    qrels = np.stack(
        [np.repeat(np.arange(500), 3), np.tile([1, 5, 9], 500), np.ones(1500, int)], axis=1
    )
    ranking_metrics(lists, qrels)
    tracemalloc.start()
    ranking_metrics(lists, qrels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < lists.nbytes / 10


# --- scores of a model ----------------------------------------------------------------------------

S, Y = np.array([[2.0, 1.0, 0.0, 0.5]]), np.array([[0, 2, 1, 0]])


def list_metrics(scores, relevance, groups=None, *, k=(1, 3, 5), mask=None):
    """Exponential gains at several cuts, (nq, cuts), or (nq,) at one; metrics of whole lists."""
    cuts = k if isinstance(k, tuple) else (k,)
    options = {"gain": "exponential", "mask": mask}
    at_cuts = ranking_metrics(
        scores, relevance, groups, metrics=("ndcg", "precision", "hit"), cutoffs=cuts, **options
    )
    whole = ranking_metrics(scores, relevance, groups, metrics=("mrr", "map"), **options)
    columns = {
        name: np.stack([at_cuts[f"{name}@{cut}"] for cut in cuts], axis=1)
        for name in ("ndcg", "precision", "hit")
    }
    if not isinstance(k, tuple):
        columns = {name: column[:, 0] for name, column in columns.items()}
    return SimpleNamespace(**columns, reciprocal_rank=whole["mrr"], average_precision=whole["map"])


def lists(rng, queries=9, size=17, most=4, dtype=np.float64):
    """Scores with ties."""
    relevance = rng.integers(0, most, (queries, size))
    relevance[2] = 0
    return np.round(2 * rng.standard_normal((queries, size)), 1).astype(dtype), relevance


def test_known_metrics():
    metrics = list_metrics(S, Y, k=4)
    assert abs(metrics.ndcg[0] - 0.6399093) < 6e-8
    assert metrics.reciprocal_rank[0] == 0.5
    assert (
        abs(list_metrics(np.array([[0.0, 1.0]]), np.array([[1, 0]]), k=2).ndcg[0] - 0.6309298)
        < 6e-8
    )


def test_perfect_order_of_scores():
    y = np.arange(6)[None]
    assert list_metrics(50.0 * y, y, k=(1, 3, 6)).ndcg.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metrics_one_by_one(dtype):
    scores, relevance = lists(np.random.default_rng(3), dtype=dtype)
    metrics = list_metrics(scores, relevance, k=(1, 3, 30))
    ranked, qrels = lists_and_judgments(scores, relevance)

    def expected(metric):
        return run_metrics(ranked, qrels, metric, exponential=True)

    for name in ("ndcg", "precision", "hit"):
        columns = np.stack([expected(f"{name}@{cut}") for cut in (1, 3, 30)], axis=1)
        np.testing.assert_allclose(
            getattr(metrics, name), columns, rtol=1e-7 if dtype == np.float32 else 1e-14
        )
        assert np.isnan(columns[2]).all()
    np.testing.assert_allclose(metrics.reciprocal_rank, expected("mrr"), rtol=1e-7)
    np.testing.assert_allclose(metrics.average_precision, expected("map"), rtol=1e-7)


def test_scikit_learn_agrees():
    from sklearn.metrics import average_precision_score, ndcg_score

    rng = np.random.default_rng(4)
    scores, relevance = rng.standard_normal((6, 40)), rng.integers(0, 2, (6, 40))
    metrics = list_metrics(scores, relevance, k=7)
    for q in range(6):
        assert (
            abs(metrics.ndcg[q] - ndcg_score(relevance[q : q + 1], scores[q : q + 1], k=7)) < 1e-14
        )  # gains of 0 and 1 are the same there
        assert (
            abs(metrics.average_precision[q] - average_precision_score(relevance[q], scores[q]))
            < 1e-14
        )


def test_masks_and_groups_say_the_same_for_gains():
    rng = np.random.default_rng(5)
    scores, relevance = lists(rng, most=2)
    lengths = rng.integers(1, 18, len(scores))
    mask = np.arange(17) < lengths[:, None]
    a = list_metrics(scores, relevance, mask=mask)
    b = list_metrics(scores[mask], relevance[mask], lengths)
    for name, part in vars(a).items():
        np.testing.assert_array_equal(part, getattr(b, name))


def test_list_without_candidates():
    mask = np.array([[True, True], [False, False]])
    scores, relevance = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0], [1, 1]])
    assert np.isnan(list_metrics(scores, relevance, mask=mask).ndcg[1]).all()


def test_infinite_scores_are_places():
    scores = np.array([[-np.inf, 1.0, np.inf, -np.inf]])
    mask = np.array([[True, False, True, True]])
    relevance = np.array([[1, 0, 0, 1]])
    found = ranking_metrics(scores, relevance, metrics=("mrr", "map"), mask=mask)
    assert found["mrr"].tolist() == [0.5]
    np.testing.assert_allclose(found["map"], [(1 / 2 + 2 / 3) / 2])


# --- candidates of which some are true ------------------------------------------------------------


def ranking_quality(
    order, is_term, cutoffs=(50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
):
    """Precision and average precision of one ranking at several cuts, and F1 at the number of true
    candidates."""
    found = ranking_metrics(
        order[None],
        is_term[None],
        metrics=("precision", "map", "r_precision"),
        cutoffs=cutoffs,
        normalize_map="cut",
    )
    at = {
        name: np.nan_to_num(np.array([found[f"{name}@{cut}"][0] for cut in cutoffs]))
        for name in ("precision", "map")
    }
    return SimpleNamespace(
        precision_at=at["precision"],
        average_precision_at=at["map"],
        f1_at_n_terms=float(np.nan_to_num(found["r_precision"][0])),
    )


def test_ranking_quality_of_a_known_ranking():
    result = ranking_quality(
        np.array([3, 0, 1, 2]), np.array([True, False, True, True]), cutoffs=(1, 2, 4, 8)
    )
    assert result.precision_at.tolist() == [1, 1, 0.75, 0.375]
    np.testing.assert_allclose(
        result.average_precision_at, [1, 1, (1 + 1 + 3 / 4) / 3, (1 + 1 + 3 / 4) / 3]
    )
    assert result.f1_at_n_terms == pytest.approx(2 / 3)
    none = ranking_quality(np.arange(3), np.zeros(3, bool), cutoffs=[2])
    assert (
        none.precision_at.tolist() == none.average_precision_at.tolist() == [0]
        and none.f1_at_n_terms == 0
    )
    assert len(ranking_quality(np.arange(3), np.ones(3, bool)).precision_at) == 11


def test_candidates_that_are_missing_come_last():
    result = ranking_quality(np.array([3, 0]), np.array([True, False, True, True]), (1, 2, 4))
    assert result.precision_at.tolist() == [1, 1, 0.5]
    assert result.f1_at_n_terms == pytest.approx(2 / 3)


# --- names and depth ------------------------------------------------------------------------------


def test_cutoffs_cut_the_metrics_without_one():
    found = ranking_metrics(S, Y, metrics=("ndcg", "hit@2", "r_precision"), cutoffs=(1, 4))
    assert list(found) == ["ndcg@1", "ndcg@4", "hit@2", "r_precision"]
    assert found["r_precision"].tolist() == [0.5]


def test_lists_are_looked_up_no_deeper_than_the_deepest_cut():
    """Metrics with cuts are the same beside one that needs whole lists, and where judgments come
    in any order with huge numbers."""
    rng = np.random.default_rng(12)
    lists = np.argsort(rng.random((40, 300)), axis=1) * 2**50
    qrels = np.array(
        [
            (q, document, r)
            for q in range(40)
            for document, r in zip(
                rng.choice(lists[q], 30, replace=False), rng.integers(0, 4, 30), strict=True
            )
        ]
    )
    cut = ("mrr@3", "ndcg@10", "recall@100", "map@50", "precision@20", "hit@1", "dcg@7")
    some, whole = (
        ranking_metrics(lists, qrels, metrics=cut),
        ranking_metrics(lists, rng.permutation(qrels), metrics=(*cut, "map")),
    )
    for name in cut:
        np.testing.assert_array_equal(some[name], whole[name])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: ranking_metrics([[1]], [[0, 1, 1]], metrics=("mrr@0",)),
            "metrics must be mrr, recall",
        ),
        (
            lambda: ranking_metrics([[1]], [[0, 1, 1]], metrics=("r_precision@5",)),
            "metrics must be mrr, recall",
        ),
        (
            lambda: ranking_metrics([[1]], [[0, 1, 1]], metrics=("bpref",)),
            "metrics must be mrr, recall",
        ),
        (
            lambda: ranking_metrics([[1]], [[0, 1, -1]], gain="exponential"),
            r"relevance must be in \[0, 31\] with exponential gain \(got -1.0",
        ),
        (
            lambda: ranking_metrics([[1]], [[0, 1, 32]], gain="exponential"),
            r"relevance must be in \[0, 31\] with exponential gain",
        ),
        (lambda: ranking_metrics(S, 32 * Y, gain="exponential"), r"relevance must be in \[0, 31\]"),
        (lambda: ranking_metrics([[1]], [[1, 1, 1]]), r"relevance must have queries in \[0, 1\)"),
        (lambda: ranking_metrics([[1]], [[0, 1]]), r"relevance must have shape \(r, 3\)"),
        (
            lambda: ranking_metrics([[1]], [[0, 1, 1], [0, 1, 1]]),
            "relevance must judge a document once",
        ),
        (
            lambda: ranking_metrics([[1]], np.ones((2, 4), bool)),
            "relevance must have a row for each of the 1 lists",
        ),
        (lambda: ranking_metrics(np.array([[np.nan]]), [[1]]), "scores_or_ranks must not be NaN"),
        (lambda: ranking_metrics(np.array([[1.0]]), [[np.nan]]), "relevance must be finite"),
        (
            lambda: ranking_metrics(np.array([[1.0]]), [[1, 2]]),
            "relevance must have the shape of the scores",
        ),
        (
            lambda: ranking_metrics(np.array([1.0, 2.0]), [1, 2], [1, 2]),
            "groups must be >= 1 and sum to the number of scores, 2",
        ),
        (
            lambda: ranking_metrics(np.array([1.0, 2.0]), [1, 2], [0, 2]),
            "groups must be >= 1 and sum to",
        ),
        (
            lambda: ranking_metrics(np.array([[1.0]]), [[1]], mask=np.ones((1, 2), bool)),
            "mask must have the shape of the scores",
        ),
        (
            lambda: ranking_metrics([[1]], [[0, 1, 1]], mask=np.ones((1, 1), bool)),
            "mask must be None",
        ),
    ],
)
def test_errors_of_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ranking_metrics([[1]], [[0, 1, 1]], metrics="mrr"), "metrics must be a list"),
        (lambda: ranking_metrics([[1]], [[0.5, 1, 1]]), "relevance must have dtype integers"),
        (lambda: ranking_metrics(np.array([1.0]), [1], np.array([1.0])), "groups must have dtype"),
        (lambda: ranking_metrics(np.array([[True]]), [[1]]), "scores_or_ranks must have dtype"),
        (lambda: ranking_metrics(np.array([[1]], "u8"), [[0, 1, 1]]), "scores_or_ranks must have"),
    ],
)
def test_errors_of_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
