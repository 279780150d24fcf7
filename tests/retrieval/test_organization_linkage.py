"""Linking names: known answers, loops over all pairs, clusterings of small networks, bad input."""

import itertools
import tracemalloc

import networkx
import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import organization_linkage as naive
from numcore.examples.retrieval.strings import random_strings
from numcore.linalg import CSR
from numcore.retrieval import (
    MatchProbability,
    calibrate_distance,
    embedding_link,
    fuzzy_link,
    link_through_directory,
    linkage_quality,
    name_network,
    network_clusters,
    normalize_names,
)
from numcore.retrieval._organization_linkage.calibration import quantile_level

MEASURES = ("qgram_jaccard", "osa", "jaro_winkler")


def as_dict(pairs):
    found = dict(
        zip(
            zip(pairs.left.tolist(), pairs.right.tolist(), strict=True),
            pairs.distance.tolist(),
            strict=True,
        )
    )
    assert len(found) == len(pairs.left)
    return found


def csr(a):
    return CSR.from_dense(np.asarray(a, float))


# --- names ----------------------------------------------------------------------------------------


def test_names_are_normalized():
    assert normalize_names(["  Procter &  Gamble, Inc. "]) == ["procter gamble inc"]
    assert normalize_names(["ÉCOLE «Straße»\u2014\u3001Nº\u00a01", "", "...", "a\tb"]) == [
        "école straßenº 1",
        "",
        "",
        "a b",
    ]
    assert normalize_names(["A, b"], lower=False) == ["A b"] and normalize_names(
        ["A, b"], strip_punctuation=False
    ) == ["a, b"]
    assert (
        normalize_names([" a  b"], collapse_spaces=False) == [" a  b"] and normalize_names([]) == []
    )


@pytest.mark.parametrize(
    "names, message",
    [
        (["a", None], r"names\[1\] must be a string \(got None\)"),
        ("text", "names must be a sequence of strings"),
        ([float("nan")], r"names\[0\] must be a string \(got nan\)"),
        ([b"a"], r"names\[0\]"),
    ],
)
def test_names_must_be_strings(names, message):
    with pytest.raises(TypeError, match=message):
        normalize_names(names)


def test_names_may_come_from_any_iterable():
    names = ["A b", "c"]
    for given in (tuple(names), iter(names), np.array(names), np.array(names, object)):
        assert normalize_names(given) == ["a b", "c"]


# --- links by strings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b, value",
    [
        ("apple", "apple corp", 0.555556),
        ("oracle", "oracle inc", 0.444444),
        ("goldman sachs", "goldmn sachs", 0.230769),
    ],
)
def test_known_distances(a, b, value):
    assert fuzzy_link([a], [b], max_distance=1).distance[0] == pytest.approx(
        value, abs=5e-7
    )  # six digits are known


@pytest.mark.parametrize(
    "measure, most", [("qgram_jaccard", 0.6), ("osa", 4), ("jaro_winkler", 0.3)]
)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 1.0])
def test_links_are_those_of_all_pairs(measure, most, share):
    rng = np.random.default_rng(0)
    left, right = (
        [*dict.fromkeys(random_strings(rng, count, 12, "abc é")), "ab", "a", ""]
        for count in (60, 45)
    )
    left, right = (list(dict.fromkeys(normalize_names(side))) for side in (left, right))
    found = as_dict(
        fuzzy_link(left, right, measure=measure, max_distance=most, min_shared_trigrams=share)
    )
    expected = naive.links(left, right, measure, most, share)
    assert found.keys() == expected.keys() and len(found) > 5
    assert found == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("q", [1, 2, 3, 5])
@pytest.mark.parametrize("most", [0.0, 0.2, 0.5, 0.59, 0.6, 0.61, 0.75])
def test_links_by_rare_grams_are_those_of_all_pairs(q, most):
    rng = np.random.default_rng(q)
    left, right = (random_strings(rng, count, 14, "ab é木") for count in (80, 50))
    left += [name + "a" for name in right] + ["b"]
    left, right = (
        list(dict.fromkeys(normalize_names(side)))
        for side in (left, right + ["b", "ab", "é木", ""])
    )
    found = as_dict(fuzzy_link(left, right, q=q, max_distance=most))
    assert (
        found == pytest.approx(naive.links(left, right, "qgram_jaccard", most, 0.05, q), abs=1e-15)
        and found
    )


@pytest.mark.parametrize("crowd", [7, 8, 9, 64, 65, 600])
def test_many_names_near_one(crowd):
    names = [f"the same name but for {chr(0x4E00 + i)}" for i in range(crowd)]
    pairs = fuzzy_link([*names, "another one"], names, max_distance=0.3)
    assert (
        len(pairs.left) == crowd**2
        and (pairs.distance[:crowd] == 0).all()
        and (pairs.distance[crowd:] > 0).all()
    )


@pytest.mark.parametrize("most", [0.35, 0.9])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_longer_than_counters_count(most, share):
    """Names with more common grams than 16 bits hold, beside short ones."""
    long = "".join(map(chr, range(0x20000, 0x20000 + 70_000)))
    found = as_dict(
        fuzzy_link([long, "abc"], ["abcd", long[:-1]], max_distance=most, min_shared_trigrams=share)
    )
    assert found == pytest.approx({(0, 1): 1 / 69_999, (1, 0): 1 / 3}, abs=1e-15)


def test_without_blocking_only_pairs_without_a_common_trigram_are_lost():
    rng = np.random.default_rng(1)
    left, right = (
        list(dict.fromkeys(normalize_names(random_strings(rng, 50, 10, "abcd")))) for _ in range(2)
    )
    found = as_dict(fuzzy_link(left, right, max_distance=0.9, min_shared_trigrams=1e-9))
    for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)):
        near = naive.distance(a, b, "qgram_jaccard") <= 0.9 and naive.trigrams(a) & naive.trigrams(
            b
        )
        assert ((i, j) in found) == bool(near)


def test_pairs_are_sorted_and_repeated_names_expanded():
    pairs = fuzzy_link(
        ["x corp", "Acme", "acme!"], ["acme", "acme co", "ACME", "x corp"], max_distance=0.6
    )
    assert pairs.left.tolist() == [0, 1, 1, 2, 2, 1, 2] and pairs.right.tolist() == [
        3,
        0,
        2,
        0,
        2,
        1,
        1,
    ]
    assert (
        pairs.distance.tolist() == [0, 0, 0, 0, 0, 0.5, 0.5]
        and pairs.left.dtype == pairs.right.dtype == np.int64
    )


@pytest.mark.parametrize(
    "left, right",
    [([], []), ([], ["a"]), (["a"], []), (["", "..."], ["", "!"]), (["abc"], ["xyz"])],
)
@pytest.mark.parametrize("measure", MEASURES)
def test_no_links(left, right, measure):
    for most in (None, 1.0):
        pairs = fuzzy_link(left, right, measure=measure, max_distance=most)
        assert [part.dtype for part in pairs] == [np.int64, np.int64, np.float64] and all(
            part.shape == (0,) for part in pairs
        )


def test_long_names_and_batches(monkeypatch):
    rng = np.random.default_rng(2)
    left, right = random_strings(rng, 30, 200, "abcde"), random_strings(rng, 40, 200, "abcde")
    expected = [fuzzy_link(left, right, measure=m, max_distance=1000) for m in MEASURES]
    monkeypatch.setattr("numcore.retrieval._organization_linkage.candidates.WORKSPACE", 3000)
    for measure, before in zip(MEASURES, expected, strict=True):
        for one, other in zip(
            fuzzy_link(left, right, measure=measure, max_distance=1000), before, strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_edits_of_very_long_names():
    long = "".join(np.random.default_rng(6).choice(list("日本é\ud800a"), 50_000))
    pairs = fuzzy_link(
        [long, "shorten"],
        ["shroten", long[:100] + long[101:], long[1:]],
        measure="osa",
        max_distance=10,
    )
    assert as_dict(pairs) == {(0, 1): 1, (0, 2): 1, (1, 0): 1}


def test_threads_and_seeds():
    names, results, before = (
        random_strings(np.random.default_rng(3), 1500, 10, "abcdef"),
        [],
        numcore.get_num_threads(),
    )
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(fuzzy_link(names[:700], names[700:], rng=4))
    finally:
        numcore.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_is_that_of_a_batch():
    letters = [chr(0x4E00 + i) for i in range(3000)]
    names = ["".join(letters[(7 * i + k * k) % 3000] for k in range(5)) for i in range(3000)]
    fuzzy_link(names[:10], names[:10], max_distance=0.5)
    tracemalloc.start()
    fuzzy_link(names, [name + "x" for name in names], max_distance=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # 16 MB of counters and the grams; all pairs would take 72 MB as float64


# --- calibration ----------------------------------------------------------------------------------


def test_level_of_the_quantile():
    assert quantile_level(10_000, 10_000, 10) == pytest.approx(0.001, rel=1e-15)
    assert quantile_level(2, 2, 10) == 1 and quantile_level(10**9, 10**9, 1) == 1e-6


def test_calibrated_distance_is_a_quantile():
    x = np.arange(100.0)

    def apart(a, b):
        return np.where(np.abs(a[:, None] - b) < 50, np.abs(a[:, None] - b), np.inf)

    observed = np.sort([abs(i - j) for i in range(100) for j in range(100) if abs(i - j) < 50])
    assert (
        calibrate_distance(x, x, average_matches=20, distance=apart)
        == observed[int(np.ceil(0.2 * len(observed))) - 1]
    )
    everything = calibrate_distance(
        x,
        list(x),
        average_matches=20,
        observed_only=False,
        distance=lambda a, b: apart(a, np.array(b)),
    )
    assert everything == np.sort(np.abs(x[:, None] - x).ravel())[1999]
    assert (
        calibrate_distance(
            x, x, average_matches=1, distance=lambda a, b: np.full((len(a), len(b)), np.inf)
        )
        == 0.0
    )
    sampled = [
        calibrate_distance(x, x, average_matches=20, distance=apart, max_samples=30, rng=5)
        for _ in range(2)
    ]
    assert sampled[0] == sampled[1] == pytest.approx(9, abs=4)


def test_calibration_refuses_an_empty_side():
    with pytest.raises(ValueError, match="left must not be empty"):
        calibrate_distance([], [1.0], average_matches=1, distance=lambda a, b: np.zeros((1, 1)))


def test_seeds_that_are_none():
    with pytest.raises(TypeError, match=r"rng must be None, int >= 0.* \(got \[1, 2\]\)"):
        fuzzy_link(["a"], ["b"], rng=[1, 2])


# --- vectors and probabilities --------------------------------------------------------------------


def test_vectors_in_blocks_and_with_missing_rows():
    rng = np.random.default_rng(6)
    left, right = rng.standard_normal((40, 3)), rng.standard_normal((50, 3))
    one, other = (embedding_link(left, right, max_distance=1.0, block=block) for block in (None, 7))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.diff(one.distance) >= 0).all() and 0 < len(one.left) < 2000
    left[3] = np.nan
    filled = left.copy()
    filled[3] = np.nanmean(left, axis=0)
    assert as_dict(embedding_link(left, right, max_distance=1.0)) == pytest.approx(
        as_dict(embedding_link(filled, right, max_distance=1.0))
    )


def test_vectors_of_a_side_may_not_all_be_missing():
    with pytest.raises(ValueError, match="left_vectors must have a row without nan"):
        embedding_link(np.full((3, 2), np.nan), np.ones((3, 2)))


def test_near_vectors_far_from_the_origin():
    """The expansion of the squares loses all digits here; candidates are measured by their
    differences."""
    left = np.full((3, 2), 1e6, np.float32) + np.arange(3, dtype=np.float32)[:, None]
    found = as_dict(embedding_link(left, left, max_distance=1.0))
    assert found == {(i, i): 0.0 for i in range(3)}


def test_vectors_are_calibrated():
    x, y = np.random.default_rng(11).random((2, 200, 1))
    assert (
        len(embedding_link(x, y, average_matches=3).left) == 600
    )  # no ties, and the sample is everything
    assert embedding_link(x[:0], x).left.shape == (0,)


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"left_vectors": np.full((1, 2), np.inf)}, ValueError, "left_vectors must be"),
        (
            {"left_vectors": np.full((1, 2), 1e200)},
            ValueError,
            "left_vectors must be finite and at most",
        ),
    ],
)
def test_vectors_refused(change, kind, message):
    with pytest.raises(kind, match=message):
        embedding_link(
            **{"left_vectors": np.ones((1, 2)), "right_vectors": np.ones((3, 2))} | change
        )


def test_probability_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(7)
    d = rng.random((400, 2))
    match = rng.random(400) < 1 / (1 + np.exp(-3 + 8 * d[:, 0] + 2 * d[:, 1]))
    model = MatchProbability(l2=0.01).fit(d, match)
    peer = LogisticRegression(C=1 / (0.01 * 400), tol=1e-10).fit(
        d, match
    )  # its penalty stands beside the sum, not the mean
    np.testing.assert_allclose(model.predict(d), peer.predict_proba(d)[:, 1], rtol=0, atol=1e-5)


def test_probability_never_grows_with_distance():
    rng = np.random.default_rng(8)
    d = rng.random(300)
    against = MatchProbability().fit(d, d > 0.5)
    assert against.coef_ == [0] and against.predict(d) == pytest.approx(
        np.full(300, (d > 0.5).mean())
    )
    model = MatchProbability().fit(d, rng.random(300) > d)
    assert (np.diff(model.predict(np.linspace(0, 5, 50))) <= 0).all()
    separated = MatchProbability().fit(d, d < 0.5)
    assert (
        np.isfinite(separated.coef_).all()
        and ((separated.predict(d) > 0.5) == (d < 0.5)).mean() > 0.95
    )


def test_probability_at_a_base_rate():
    d = np.zeros(10)
    assert MatchProbability().fit(d, np.arange(10) < 5, base_rate=0.01).predict(d) == pytest.approx(
        np.full(10, 0.01)
    )


def test_probability_refuses():
    good = np.array([0.1, 0.9]), np.array([True, False])
    with pytest.raises(
        ValueError, match=r"y must have both matches and others \(got 2 matches of 2"
    ):
        MatchProbability().fit(good[0], np.array([True, True]))
    model = MatchProbability().fit(*good)
    for d in (np.ones((2, 2)), np.ones((2, 0))):
        with pytest.raises(ValueError, match=r"X must have shape \(n,\)"):
            model.predict(d)
    two = MatchProbability().fit(np.array([[0.1, 1], [0.9, 1]]), good[1])
    with pytest.raises(ValueError, match="X must have 2 columns"):
        two.predict(good[0])


class Above(MatchProbability):
    """Whether y is above its median: what the checks give as y are not matches."""

    def fit(self, X, y):
        return super().fit(X, np.asarray(y) > np.median(y))

    def score(self, X, y):
        return super().score(X, np.asarray(y) > np.median(y))


WORDS = "errors have numcore's words"
EXPECTED_FAILURES = {
    "check_do_not_raise_errors_in_init_or_set_params": "parameters are checked when they are set",
    "check_set_params": "parameters are checked when they are set",
    "check_dtype_object": "numbers are never converted silently",
    "check_requires_y_none": "the median is asked for first",
    "check_n_features_in_after_fitting": WORDS,
    "check_complex_data": WORDS,
    "check_estimators_empty_data_messages": "pairs without distances have one probability",
    "check_estimators_nan_inf": WORDS,
    "check_estimator_sparse_tag": WORDS,
    "check_estimator_sparse_array": WORDS,
    "check_estimator_sparse_matrix": WORDS,
    "check_fit2d_1sample": WORDS,
    "check_fit_check_is_fitted": "no y of the check is above the median",
    "check_fit1d": "distances of one kind may be a vector",
    "check_fit2d_predict1d": WORDS,
}


@pytest.mark.filterwarnings("ignore:Estimator Above does not inherit")
def test_estimator_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        Above(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None
    )
    failed = [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"]
    assert not failed, failed


def test_scikit_learn_takes_the_probability():
    base = pytest.importorskip("sklearn.base")
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GridSearchCV, cross_val_score

    rng = np.random.default_rng(12)
    d = rng.random((200, 2))
    match = d.sum(axis=1) + 0.2 * rng.standard_normal(200) < 1
    model = MatchProbability(l2=1e-2).fit(d, match)
    assert base.clone(model).get_params() == {"l2": 1e-2}
    assert model.score(d, match) == pytest.approx(-log_loss(match, model.predict(d)), rel=1e-9)
    assert cross_val_score(MatchProbability(), d, match, cv=4).min() > -0.5
    search = GridSearchCV(MatchProbability(), {"l2": [10.0, 1e-3]}, cv=4).fit(d, match)
    assert search.best_params_ == {"l2": 1e-3}


# --- networks -------------------------------------------------------------------------------------


def test_transition_probabilities():
    t = name_network([0, 1, 1, 2], [0, 0, 1, 1], [2, 2, 2, 4])
    np.testing.assert_allclose(
        t.toarray(), [[0.5, 0.5, 0], [0.25, 5 / 12, 1 / 3], [0, 1 / 3, 2 / 3]], rtol=1e-14
    )
    rng = np.random.default_rng(9)
    alias, profile, counts = rng.integers(0, 40, 300), rng.integers(0, 30, 300), rng.random(300)
    w = np.zeros((alias.max() + 1, profile.max() + 1))
    np.add.at(w, (alias, profile), counts)
    expected = (w / w.sum(axis=1, keepdims=True)) @ (w / w.sum(axis=0)).T
    result = name_network(alias, profile, counts)
    np.testing.assert_allclose(result.toarray(), expected, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(result.toarray().sum(axis=1), 1, rtol=1e-12)
    assert name_network([], []).shape == (0, 0) and name_network([2], [0]).toarray().sum() == 1


@pytest.mark.parametrize("ids", [([2**62], [0]), ([0], [2**62]), ([2**31 - 1], [0]), ([-1], [0])])
def test_network_refuses_ids_that_are_no_numbers_of_names(ids):
    with pytest.raises(ValueError, match=r"_ids must be in \[0, 2147483647\)"):
        name_network(*ids)


def test_network_of_profiles_with_large_numbers_and_counts():
    small = name_network([0, 0, 1], [0, 1, 1], [1.0, 1.0, 0.5])
    large = name_network([0, 0, 1], [5, 2**30, 2**30], [1.6e308, 1.6e308, 0.8e308])
    np.testing.assert_allclose(large.toarray(), small.toarray(), rtol=1e-15)


@pytest.mark.parametrize("method", ["markov", "modularity"])
@pytest.mark.filterwarnings("error")
def test_clusters_of_the_largest_weights(method):
    assert network_clusters(
        CSR(np.array([0, 1, 2, 2]), np.array([1, 0]), np.full(2, 1.7e308), (3, 3)), method=method
    ).tolist() == [0, 0, 1]


def test_rows_much_longer_than_most(monkeypatch):
    """300 names of one profile beside 500 with their own, and names of two profiles; also in small
    batches."""
    alias, profile = (
        np.r_[np.arange(300), np.arange(300, 800), [3, 700]],
        np.r_[np.zeros(300, int), np.arange(1, 501), [5, 0]],
    )
    uses = np.zeros((800, 501))
    uses[alias, profile] = counts = np.random.default_rng(0).integers(1, 5, len(alias))
    expected = (uses / uses.sum(axis=1, keepdims=True)) @ (uses / uses.sum(axis=0)).T
    for workspace in (1 << 24, 5000):
        monkeypatch.setattr("numcore.retrieval._organization_linkage.networks.WORKSPACE", workspace)
        np.testing.assert_allclose(
            name_network(alias, profile, counts).toarray(), expected, rtol=1e-13, atol=1e-16
        )


def test_network_refuses_texts_as_counts():
    with pytest.raises(TypeError, match="counts must be an array of numbers"):
        name_network([0], [0], ["a"])


TRIANGLES = np.array(
    [
        [0, 1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
)


@pytest.mark.parametrize("method", ["markov", "modularity"])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_two_triangles_and_a_node_alone(method, scale):
    assert network_clusters(csr(TRIANGLES * scale), method=method).tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
    ]


@pytest.mark.parametrize("expansion", [2, 3])
def test_expansions_keep_the_triangles(expansion):
    assert network_clusters(
        csr(TRIANGLES), inflation=2.0 if expansion == 2 else 3.0, expansion=expansion
    ).tolist() == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("inflation", [1.4, 2.0, 4.0])
def test_markov_agrees_with_dense_matrices(inflation):
    graph = networkx.planted_partition_graph(5, 12, 0.7, 0.02, seed=1)
    a = networkx.to_numpy_array(graph)
    labels = network_clusters(csr(a), inflation=inflation)
    expected = naive.markov(a, inflation)
    assert (
        len(set(zip(labels.tolist(), expected, strict=True)))
        == len(set(expected))
        == labels.max() + 1
    )


def test_modularity_agrees_with_networkx():
    for graph in (
        networkx.karate_club_graph(),
        networkx.les_miserables_graph(),
        networkx.planted_partition_graph(4, 20, 0.5, 0.03, seed=2),
    ):
        a = networkx.to_numpy_array(graph)
        labels = network_clusters(csr(a), method="modularity")
        theirs = networkx.community.greedy_modularity_communities(graph, weight="weight")
        # equal gains may be taken in another order, which leads a little elsewhere
        assert (
            naive.modularity(a, labels.tolist())
            >= networkx.community.modularity(graph, theirs, weight="weight") - 0.03
        )


def test_clusters_of_nothing():
    for method in ("markov", "modularity"):
        assert network_clusters(csr(np.zeros((0, 0))), method=method).shape == (0,)
        assert network_clusters(csr(np.zeros((2, 2))), method=method).tolist() == [0, 1]


def test_networks_of_other_libraries():
    sparse = pytest.importorskip("scipy.sparse")
    for made in (sparse.csr_array, sparse.coo_array):
        assert network_clusters(made(TRIANGLES * 1.0)).tolist() == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_clusters_refuse_weights(weight):
    with pytest.raises(ValueError, match="network must be finite and >= 0"):
        network_clusters(CSR([0, 1, 2], [1, 0], np.full(2, weight), (2, 2)))


# --- the directory and the quality ----------------------------------------------------------------


DIRECTORY = ["fannie mae", "federal national mortgage association", "freddie mac"]
SIDES = ["Fannie Mae"], ["Federal National Mortgage Assn."]


def test_linked_through_the_directory():
    links = link_through_directory(*SIDES, DIRECTORY, [1, 1, 2], max_distance=0.2)
    assert (links.left.tolist(), links.right.tolist(), links.via.tolist()) == ([0], [0], [1])
    assert links.distance[0] == pytest.approx(0.25, abs=1e-12)
    direct = fuzzy_link(*SIDES, max_distance=1)
    assert len(direct.left) == 0 or direct.distance[0] == pytest.approx(0.939394, abs=5e-7)
    assert naive.distance(
        "fannie mae", "federal national mortgage assn", "qgram_jaccard"
    ) == pytest.approx(0.939394, abs=5e-7)


def test_the_smaller_of_both_distances_wins():
    names = ["acme corp"], ["acme corp", "acme co"]
    links = link_through_directory(*names, ["acme corp", "acme co"], [7, 7], max_distance=0.6)
    direct = fuzzy_link(*names, max_distance=0.6)
    assert links.via.tolist() == [-1, 7] and links.distance.tolist() == [0, 0]
    assert direct.distance[1] > 0
    alone = link_through_directory(
        *names, ["acme corp", "acme co"], [7, 7], max_distance=0.6, direct=False
    )
    assert alone.via.tolist() == [7, 7] and alone.left.dtype == alone.via.dtype == np.int64


def test_directory_against_loops():
    rng = np.random.default_rng(10)
    left, right, names = (
        [*dict.fromkeys(normalize_names(random_strings(rng, n, 8, "abc")))] for n in (20, 25, 60)
    )
    ids, expected = rng.integers(0, 9, len(names)), {}
    legs = [naive.links(side, names, "qgram_jaccard", 0.6, 0.05) for side in (left, right)]
    for ((i, k), d), ((j, m), e) in itertools.product(legs[0].items(), legs[1].items()):
        if ids[k] == ids[m]:
            expected[i, j] = min(expected.get((i, j), 9), 1.5 * max(d, e))
    for pair, d in naive.links(left, right, "qgram_jaccard", 0.6, 0.05).items():
        expected[pair] = min(expected.get(pair, 9), d)
    assert as_dict(
        link_through_directory(left, right, names, ids, max_distance=0.6)
    ) == pytest.approx(expected, abs=1e-15)


def test_directory_without_names():
    for arguments in (([], [], [], []), (["a"], ["b"], [], []), ([], ["b"], ["b"], [0])):
        links = link_through_directory(*arguments)
        assert [part.dtype for part in links] == [np.int64, np.int64, np.float64, np.int64] and len(
            links.left
        ) == 0


def test_directory_refuses_other_numbers_of_ids():
    with pytest.raises(ValueError, match=r"canonical_ids must have shape \(3,\).*\(got \(1,\)\)"):
        link_through_directory(["a"], ["b"], DIRECTORY, [1])


def test_quality():
    pairs = fuzzy_link(["acme", "bolt"], ["acme", "bolt co", "acme"], max_distance=0.5)
    quality = linkage_quality(pairs, ([0, 1], [0, 1]), n_left=2, n_right=3)
    assert quality == (2, 1, 0, 3, 2 / 3, 1.0, pytest.approx(0.8))
    large = linkage_quality(([0, 0], [0, 0]), ([], []), n_left=10**5, n_right=10**5)
    assert large.tn == 10**10 - 1 and large.fp == 1 and large.recall == large.f_beta == 0
    assert linkage_quality(
        ([0], [0]), ([0, 1], [0, 1]), n_left=2, n_right=2, beta=2
    ).f_beta == pytest.approx(5 / 9)


@pytest.mark.parametrize(
    "pairs, kind, message",
    [
        (([2], [0]), ValueError, r"pairs must have rows in \[0, 2\) \(got 2\)"),
        (([-1], [0]), ValueError, r"rows in \[0, 2\) \(got -1\)"),
        (([0, 1], [0]), ValueError, r"pairs\[1\] must have shape"),
        (([0.5], [0]), TypeError, r"pairs\[0\] must have dtype integers"),
        (([0],), ValueError, r"pairs must have 2 items \(got 1\)"),
    ],
)
def test_quality_refuses(pairs, kind, message):
    with pytest.raises(kind, match=message):
        linkage_quality(pairs, ([], []), n_left=2, n_right=2)
