"""Similarity judgments against loops over pairs and explicit designs, a simulated experiment,
digits images, what must be refused.

The test of uniform p-values with 200 repetitions is slow:
``pytest -m slow tests/retrieval/test_similarity_judgments.py``.
"""

import pickle
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import similarity_judgments as naive
from numcore.model import NotFittedError
from numcore.retrieval import (
    SimilarityRegression,
    rating_reliability,
    representational_similarity,
    similarity_matrix,
    stack_features,
    tag_similarity,
)
from numcore.testing import simulated_gpu

DTYPES = ["float32", "float64"]
METRICS = ["cosine", "correlation", "dot", "neg_euclidean"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pairs(s):
    return s[np.triu_indices(len(s), 1)]


def correlation(x, y):
    return np.corrcoef(x, y)[0, 1]


# --- similarity matrices --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_similarities_of_all_pairs(rng, metric, dtype):
    for n, d in ((0, 3), (1, 1), (2, 5), (33, 7)):
        x = rng.standard_normal((n, d)).astype(dtype)
        s = similarity_matrix(x, metric=metric)
        expected = naive.similarity_matrix(x, metric)
        scale = max(1, np.abs(expected).max(initial=0))
        # d units of roundoff of the squared lengths; distances of near points lose some digits more
        # in float64 alone
        assert (
            s.dtype == dtype
            and np.abs(s - expected).max(initial=0)
            <= {"float32": 2e-6, "float64": 1e-13}[dtype] * scale
        )
        np.testing.assert_array_equal(similarity_matrix(x, metric=metric, condensed=True), pairs(s))


def test_scipy_pair_order(rng):
    distance = pytest.importorskip("scipy.spatial.distance")
    x = rng.standard_normal((9, 4))
    for metric in ("cosine", "correlation"):  # sums of four products: a few units of roundoff
        np.testing.assert_allclose(
            similarity_matrix(x, metric=metric, condensed=True),
            1 - distance.pdist(x, metric),
            atol=1e-14,
        )
    np.testing.assert_allclose(
        similarity_matrix(x, metric="neg_euclidean", condensed=True), -distance.pdist(x), rtol=1e-14
    )


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("float64", 1e-6)])
def test_distances_of_near_points_far_from_the_origin(rng, dtype, rtol):
    x = (
        rng.integers(0, 2, (20, 3)).astype(dtype) * dtype_step(dtype) + 4096
    )  # exact in either dtype; inner products lose all digits
    x = np.concatenate([x, x[:3], np.full((2, 3), -4096, dtype)])
    np.testing.assert_allclose(
        similarity_matrix(x, metric="neg_euclidean"),
        naive.similarity_matrix(x, "neg_euclidean").astype(float),
        rtol=rtol,
    )  # centring rounds at 1e-16 of 8192 in float64, 1e-6 of the smallest difference


def dtype_step(dtype):
    return np.dtype(dtype).type(2.0**-10 if dtype == "float32" else 2.0**-20)


def test_zero_and_constant_rows_resemble_nothing():
    x = np.array([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]])
    assert similarity_matrix(x)[0].tolist() == [0, 0, 0]
    assert similarity_matrix(x, metric="correlation")[:2].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert np.diag(similarity_matrix(x)).tolist() == [0, 1, 1]


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_cosines_of_extreme_sizes(rng, scale):
    x = rng.standard_normal((5, 4))
    for metric in ("cosine", "correlation"):
        np.testing.assert_allclose(
            similarity_matrix(x * scale, metric=metric),
            similarity_matrix(x, metric=metric),
            atol=1e-14,
        )
    np.testing.assert_allclose(
        similarity_matrix(x * scale, metric="neg_euclidean"),
        scale * similarity_matrix(x, metric="neg_euclidean"),
        rtol=1e-13,
    )


# --- tags -----------------------------------------------------------------------------------------


def test_rouge_and_jaccard_of_two_multisets():
    tags = [0, 0, 1, 0, 1, 2], [0, 3, 6]
    assert round(tag_similarity(*tags, method="rouge1")[0, 1], 6) == 0.666667
    assert tag_similarity(*tags, method="jaccard")[0, 1] == 2 / 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("idf", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("method", ["embedding", "jaccard", "cosine", "rouge1", "bm25"])
def test_tags_against_loops(rng, method, weighted, idf, dtype):
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, 25))])
    ids = rng.integers(0, 12, offsets[-1])
    weights = (rng.integers(0, 4, len(ids)) / 2).astype(dtype) if weighted else None
    embeddings = rng.standard_normal((12, 5)).astype(dtype) if method == "embedding" else None
    s = tag_similarity(
        ids, offsets, weights, method=method, tag_embeddings=embeddings, idf=idf, k1=1.5, b=0.6
    )
    expected = naive.tag_similarity(ids, offsets, weights, method, embeddings, idf, 1.5, 0.6)
    assert s.dtype == (dtype if weighted or method == "embedding" else "float64")
    np.testing.assert_allclose(
        s, expected, atol=1e-6 if s.dtype == "float32" else 1e-13
    )  # computed in float64, rounded once
    assert (s == s.T).all()


def test_stimuli_without_tags_and_names_with_gaps():
    s = tag_similarity([7, 10**15, 7, 10**15], [0, 0, 2, 4], method="jaccard")
    assert s.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert tag_similarity(np.zeros(0, int), [0], method="bm25").shape == (0, 0)
    np.testing.assert_array_equal(
        tag_similarity([3, 3], [0, 1, 2], np.array([0.0, 1.0]), method="rouge1"), [[0, 0], [0, 1]]
    )


def test_a_tag_of_all_has_no_weight_with_idf():
    assert tag_similarity([0, 0, 1], [0, 1, 3], method="cosine")[0].tolist() == [0, 0]
    assert round(
        tag_similarity([0, 0, 1], [0, 1, 3], method="cosine", idf=False)[0, 1], 12
    ) == round(0.5**0.5, 12)


# --- stacked features -----------------------------------------------------------------------------


def test_the_cosine_of_a_unit_stack_is_the_mean_cosine(rng):
    a, b = rng.standard_normal((20, 4)), 100 * rng.standard_normal((20, 9))
    mean = (similarity_matrix(a) + similarity_matrix(b)) / 2
    np.testing.assert_allclose(similarity_matrix(stack_features([a, b])), mean, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalings(rng, dtype):
    a, b = (
        rng.standard_normal((20, 4)).astype(dtype),
        (5 + rng.standard_normal((20, 3))).astype(dtype),
    )
    b[:, 1] = 0.1
    z = stack_features((a, b), scaling="zscore")
    assert z.dtype == dtype and not z[:, 5].any()
    np.testing.assert_allclose(
        np.delete(z, 5, 1).std(0), 1, rtol=1e-5 if dtype == "float32" else 1e-13
    )  # sums of 20 squares
    np.testing.assert_array_equal(stack_features([a, b], scaling="none"), np.hstack([a, b]))


# --- reliability ----------------------------------------------------------------------------------


def two_raters(r):
    """Ratings of two raters with correlation r: there is one way to split them."""
    x, y = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    return np.stack([x, r * x + np.sqrt(1 - r * r) * y], axis=1)


@pytest.mark.parametrize("r, expected", [(0.6, 0.75), (1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_spearman_brown(r, expected, dtype):
    result = rating_reliability(two_raters(r).astype(dtype), n_splits=20, rng=0)
    assert {type(v) for v in result[:2]} == {np.dtype(dtype).type}
    np.testing.assert_allclose(
        [result.split_half, result.spearman_brown, *result.interval], [r, expected, r, r], atol=1e-6
    )
    np.testing.assert_allclose(
        result.noise_ceiling, expected**0.5, atol=2e-4
    )  # the root of the roundoff of float32


def test_opposite_raters():
    result = rating_reliability(two_raters(-1.0), rng=0)
    assert result.split_half == -1 and result.noise_ceiling == 0


@pytest.mark.parametrize("raters", [6, 7])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_splits_have_the_distribution_of_the_loop(rng, raters, method):
    """All splits of few raters are seen often: means of 2000 splits agree to three standard errors
    of each."""
    from scipy.stats import rankdata

    x = rng.standard_normal((30, 1)) + rng.standard_normal((30, raters))
    if method == "pearson":
        expected = naive.split_half(x, 2000, rng)
    else:
        half, orders = raters // 2, [rng.permutation(raters) for _ in range(500)]
        expected = np.array(
            [
                correlation(
                    rankdata(x[:, o[:half]].mean(1)), rankdata(x[:, o[half : 2 * half]].mean(1))
                )
                for o in orders
            ]
        )
    result = rating_reliability(x, n_splits=2000, method=method, rng=1)
    assert abs(result.split_half - expected.mean()) < 6 * expected.std() / len(expected) ** 0.5
    assert np.abs(np.array(result.interval) - np.percentile(expected, [2.5, 97.5])).max() < 0.05


def test_missing_ratings_have_the_distribution_of_the_loop(rng):
    x = rng.standard_normal((20, 1)) + rng.standard_normal((20, 9))
    x[rng.random(x.shape) < 0.3] = np.nan
    expected = naive.split_half_missing(x, 500, rng)
    result = rating_reliability(x, n_splits=2000, rng=1)
    assert abs(result.split_half - expected.mean()) < 6 * expected.std() / len(expected) ** 0.5
    assert np.abs(np.array(result.interval) - np.percentile(expected, [2.5, 97.5])).max() < 0.05
    assert -1 < rating_reliability(x, n_splits=50, method="spearman", rng=1).split_half < 1


@pytest.mark.parametrize("count", [5, 40])
def test_halves_are_uniform(rng, count):
    """Every rating is as often in the one half as in the other; an odd one is left out as often as
    any. Words of bits run out at 40."""
    from numcore.retrieval._similarity_judgments.kernels import half_means

    seen = np.zeros((count, 2))
    splits, half = 20_000, count // 2
    for e in range(count):
        halves = np.empty((splits, 2, 1))
        half_means(np.eye(count)[e], np.array([0, count]), halves, 1, 2, 0)
        seen[e] = (halves[:, :, 0] > 0).mean(axis=0)
        assert ((halves > 0).sum(axis=1) <= 1).all()
    assert np.abs(seen - half / count).max() < 5 * 0.5 / splits**0.5  # five standard deviations


def test_pairs_with_too_few_ratings(rng):
    x = rng.standard_normal((10, 1)) + rng.standard_normal((10, 4))
    few = np.concatenate([x, [[1.0, np.nan, np.nan, np.nan]]])
    with pytest.raises(
        ValueError, match=r"ratings must have at least 2 for every pair \(got fewer in row 10\)"
    ):
        rating_reliability(few)
    assert rating_reliability(few, missing="drop", rng=3) == rating_reliability(x, rng=3)


@pytest.mark.parametrize(
    "ratings, message",
    [
        (np.ones((5, 4)), "undefined"),
        (np.ones((2, 4)), "at least 3 pairs"),
        (np.ones(4), "shape"),
        (np.full((4, 2), np.inf), "finite"),
        (np.tile([1.0, -1.0, 1.0, -1.0], (5, 1)), "undefined"),
    ],
)
def test_ratings_that_are_refused(ratings, message):
    with pytest.raises(ValueError, match=message):
        rating_reliability(ratings, rng=0)


# --- representational similarity ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_of_scipy(rng, method):
    stats = pytest.importorskip("scipy.stats")
    x, y = rng.integers(0, 5, (2, 45)).astype(float)  # with ties
    expected = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[method](x, y)[0]
    assert abs(representational_similarity(x, y, method=method).correlation - expected) < 1e-14


def test_the_diagonal_does_not_count(rng):
    s = similarity_matrix(rng.standard_normal((8, 3)))
    other = s.copy()
    np.fill_diagonal(other, rng.standard_normal(8))
    target = rng.standard_normal(28)
    assert (
        representational_similarity(s, target)
        == representational_similarity(other, target)
        == representational_similarity(pairs(s), target)
    )


def test_mantel_of_few_stimuli_finds_all_permutations():
    """Four stimuli have 24 orders: p-values near the exact one, counted by hand, with 20 000 draws:
    5 standard deviations."""
    from itertools import permutations

    rng = np.random.default_rng(5)
    x, y = (similarity_matrix(rng.standard_normal((4, 3))) for _ in range(2))
    r = abs(correlation(pairs(x), pairs(y)))
    exact = np.mean(
        [
            abs(correlation(pairs(x), pairs(y[np.ix_(p, p)]))) >= r - 1e-9
            for p in permutations(range(4))
        ]
    )
    p = representational_similarity(x, y, n_permutations=20_000, rng=0).pvalue
    assert 0 < exact < 1 and abs(p - exact) < 5 * 0.5 / 20_000**0.5


def test_mantel_permutes_stimuli_not_pairs(rng):
    """Shared stimuli make pairs dependent: permuted pairs would give a far smaller p-value than the
    loop over permuted stimuli."""
    x, y = rng.standard_normal((2, 15, 1))
    a, b = -np.abs(x - x.T), -np.abs(y - y.T)
    ours = representational_similarity(a, b, n_permutations=4000, rng=0)
    r, p = naive.mantel(a, b, 1000, rng)
    assert abs(ours.correlation - r) < 1e-13
    assert abs(ours.pvalue - p) < 5 * 0.5 * (1 / 1000 + 1 / 4000) ** 0.5  # five standard deviations


@pytest.mark.slow
def test_p_values_of_independent_matrices_are_uniform():
    from scipy.stats import kstest

    rng = np.random.default_rng(0)
    p = [
        float(
            representational_similarity(
                *(similarity_matrix(rng.standard_normal((12, 3))) for _ in range(2)),
                n_permutations=199,
                rng=rng,
            ).pvalue
        )
        for _ in range(200)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_bootstrap_against_the_loop(rng, method):
    stats = pytest.importorskip("scipy.stats")
    n = 12
    x = similarity_matrix(rng.standard_normal((n, 3)))
    y = x + 0.5 * similarity_matrix(rng.standard_normal((n, 3)))
    i, j = np.triu_indices(n, 1)
    found = []
    for _ in range(1500):
        drawn = rng.integers(0, n, n)
        a, b = drawn[i], drawn[j]
        a, b = a[a != b], b[a != b]
        found.append(
            {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[method](x[a, b], y[a, b])[0]
        )
    interval = representational_similarity(x, y, method=method, n_bootstrap=1500, rng=1).interval
    assert (
        np.abs(np.array(interval) - np.percentile(found, [2.5, 97.5])).max() < 0.06
    )  # percentiles of 1500 draws of deviation 0.1


def test_bootstrap_of_one_resample_is_exact():
    """The quadratic forms of the counts against the pairs themselves."""
    rng = np.random.default_rng(0)
    n = 9
    x, y = (similarity_matrix(rng.standard_normal((n, 3))) for _ in range(2))
    drawn = np.random.default_rng(numcore.random.key_from_rng(7)).integers(0, n, (1, n))[0]
    i, j = np.triu_indices(n, 1)
    a, b = drawn[i], drawn[j]
    a, b = a[a != b], b[a != b]
    low, high = representational_similarity(x, y, n_bootstrap=1, rng=7).interval
    assert low == high and abs(low - correlation(x[a, b], y[a, b])) < 1e-12


@pytest.mark.parametrize(
    "predicted, target, message",
    [
        (np.ones(3), np.arange(3.0), "predicted must not be constant .*undefined"),
        (np.arange(3.0), np.full(3, 0.1), "target must not be constant"),
        (
            np.arange(4.0),
            np.arange(3.0),
            r"predicted must have n \(n - 1\) / 2 entries for some n \(got 4\)",
        ),
        (np.arange(1.0), np.arange(1.0), "n >= 3"),
        (np.arange(3.0), np.arange(6.0), r"same stimuli \(got 3 and 4\)"),
        (np.arange(9.0).reshape(3, 3), np.arange(3.0), "symmetric"),
        (np.ones((3, 4)), np.arange(3.0), "shape"),
        (np.array([1.0, np.nan, 2.0]), np.arange(3.0), "predicted must be finite"),
    ],
)
def test_matrices_that_are_refused(predicted, target, message):
    with pytest.raises(ValueError, match=message):
        representational_similarity(predicted, target)


def test_symmetry_is_asked_to_a_tolerance(rng):
    s = similarity_matrix(rng.standard_normal((5, 3)))
    t = rng.standard_normal(10)
    s[0, 1] += 1e-9
    representational_similarity(s, t)
    s[0, 1] += 1e-7
    with pytest.raises(ValueError, match="symmetric"):
        representational_similarity(s, t)


# --- weights of features --------------------------------------------------------------------------


def problem(rng, n=40, d=6, dtype="float64"):
    f = rng.standard_normal((n, d)) + 0.5
    s = (f * rng.uniform(0, 2, d)) @ f.T + 2
    noise = rng.standard_normal((n, n))
    return f.astype(dtype), (s + noise + noise.T).astype(dtype)


@pytest.mark.parametrize("center", [True, False])
def test_the_gram_matrix_is_that_of_the_design(rng, center):
    from numcore.retrieval._similarity_judgments.regression import _normal_equations

    f = rng.standard_normal((7, 5))
    s = similarity_matrix(rng.standard_normal((7, 3)))
    np.fill_diagonal(s, 0)
    x, y = naive.design(f), pairs(s)
    if center:
        x, y = x - x.mean(0), y - y.mean()
    gram, right, _, _ = _normal_equations(np, f, s, center)
    np.testing.assert_allclose(gram, x.T @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(right, x.T @ y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("d", [5, 40])  # 40 features of 7 stimuli, 21 pairs
def test_ridge_of_scikit_learn(rng, alpha, center, d):
    linear_model = pytest.importorskip("sklearn.linear_model")
    f, s = problem(rng, 7, d)
    model = SimilarityRegression(alphas=[alpha], n_folds=2, center=center, rng=0).fit(f, s)
    peer = linear_model.Ridge(alpha=alpha, fit_intercept=center, solver="svd").fit(
        naive.design(f), pairs(s)
    )
    scale = np.abs(peer.coef_).max()
    # the Gram matrix squares the condition: roundoff times its norm of some hundreds by alpha
    assert (
        np.abs(model.weights_ - peer.coef_).max() < 1e-9 * scale
        and abs(model.intercept_ - peer.intercept_) < 1e-9
    )
    np.testing.assert_allclose(pairs(model.predict(f)), peer.predict(naive.design(f)), atol=1e-8)


def test_cross_validation_leaves_stimuli_out(rng):
    linear_model = pytest.importorskip("sklearn.linear_model")
    f, s = problem(rng, 30, 8)
    alphas = [0.1, 10.0, 1000.0]
    model = SimilarityRegression(alphas=alphas, n_folds=4, rng=5).fit(f, s)
    order = np.random.default_rng(numcore.random.key_from_rng(5)).permutation(30)
    expected = []
    for alpha in alphas:
        predicted, truth = [], []
        for fold in np.array_split(order, 4):
            rest = np.setdiff1d(order, fold)
            peer = linear_model.Ridge(alpha=alpha).fit(
                naive.design(f[rest]), pairs(s[np.ix_(rest, rest)])
            )
            predicted.append(peer.predict(naive.design(f[np.sort(fold)])))
            truth.append(pairs(s[np.ix_(np.sort(fold), np.sort(fold))]))
        expected.append(correlation(np.concatenate(predicted), np.concatenate(truth)))
    np.testing.assert_allclose(
        model.cv_correlations_, expected, atol=1e-10
    )  # conditions near 1e3, squared, of roundoff
    assert (
        model.alpha_ == alphas[int(np.argmax(expected))]
        and model.cv_correlation_ == model.cv_correlations_.max()
    )


def test_folds_of_stimuli_do_not_leak(rng):
    """Noise features of many stimuli fit pairs that share a stimulus: folds over pairs correlate by
    0.93, folds over stimuli not."""
    model_selection = pytest.importorskip("sklearn.model_selection")
    linear_model = pytest.importorskip("sklearn.linear_model")
    height = rng.standard_normal(40)
    s = height[:, None] + height  # some stimuli are more similar to all
    f = 2 + rng.standard_normal((40, 60))
    folds = model_selection.KFold(6, shuffle=True, random_state=0)
    x = naive.design(f)
    leaking = correlation(
        model_selection.cross_val_predict(linear_model.Ridge(10.0), x, pairs(s), cv=folds), pairs(s)
    )
    ours = SimilarityRegression(alphas=[10.0], rng=0).fit(f, s).cv_correlation_
    assert leaking > 0.9 and ours < 0.2


@pytest.mark.parametrize("dtype", DTYPES)
def test_nonnegative_weights(rng, dtype):
    optimize = pytest.importorskip("scipy.optimize")
    f, s = problem(rng, 20, 6, dtype)
    s = s - 2 * np.outer(f[:, 0], f[:, 0])  # wants a negative weight
    model = SimilarityRegression(alphas=[0.5], nonnegative=True, rng=0).fit(f, s)
    x, y = naive.design(f.astype(float)), pairs(s.astype(float))
    x, mean = x - x.mean(0), x.mean(0)
    expected = optimize.nnls(
        np.vstack([x, 0.5**0.5 * np.eye(6)]), np.concatenate([y - y.mean(), np.zeros(6)])
    )[0]
    assert (
        model.converged_
        and model.weights_.dtype == dtype
        and (model.weights_ >= 0).all()
        and model.weights_[0] == 0 == expected[0]
    )
    np.testing.assert_allclose(
        model.weights_, expected, atol=1e-6 if dtype == "float32" else 1e-8
    )  # descent stops at 1e-9
    assert abs(model.intercept_ - (y.mean() - mean @ expected)) < 1e-6


def test_float32_is_summed_in_float64(rng):
    f, s = problem(rng, 200, 5, "float32")
    f += 100  # a Gram matrix of products near 1e4, centerd by subtraction
    model, wide = (SimilarityRegression(rng=0).fit(f.astype(t), s.astype(t)) for t in DTYPES)
    assert model.weights_.dtype == np.float32
    np.testing.assert_allclose(model.weights_, wide.weights_, rtol=1e-6)
    assert model.predict(f).dtype == np.float32


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_regression_on_the_gpu(rng, dtype, nonnegative):
    f, s = problem(rng, 15, 4, dtype)
    model = SimilarityRegression(n_folds=3, nonnegative=nonnegative, rng=0).fit(f, s)
    with simulated_gpu() as xp:
        there = SimilarityRegression(n_folds=3, nonnegative=nonnegative, rng=0).fit(
            xp.asarray(f), xp.asarray(s)
        )
        predicted = there.predict(xp.asarray(f))
        with pytest.raises(TypeError, match="features"):
            there.predict(f)
        with pytest.raises(TypeError, match="one device"):
            SimilarityRegression(n_folds=3).fit(f, xp.asarray(s))
    assert there.alpha_ == model.alpha_ and predicted.dtype == dtype
    np.testing.assert_allclose(
        there.weights_.get(), model.weights_, atol=1e-6
    )  # descent stops at 1e-9, float32 is rounded
    np.testing.assert_allclose(predicted.get(), model.predict(f), rtol=1e-5)


def test_regression_takes_any_layout_and_leaves_inputs_alone(rng):
    f, s = problem(rng, 24, 5)
    expected = SimilarityRegression(rng=0).fit(f, s)
    wide = np.repeat(f, 2, axis=1)[:, ::2]
    f.flags.writeable = s.flags.writeable = False
    for features, target in (
        (f, s),
        (np.asfortranarray(f), pairs(s)),
        (wide, s[::-1, ::-1][::-1, ::-1]),
    ):
        model = SimilarityRegression(rng=0).fit(features, target)
        np.testing.assert_allclose(
            model.weights_, expected.weights_, rtol=1e-11
        )  # products of other layouts round otherwise


def test_results_do_not_depend_on_threads(rng):
    f, s = problem(rng, 40, 6)
    x = rng.standard_normal((50, 7))
    x[rng.random(x.shape) < 0.2] = np.nan
    before, found = numcore.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            found.append(
                (
                    rating_reliability(x, missing="drop", rng=0),
                    representational_similarity(
                        pairs(s), f @ f.T, n_permutations=500, n_bootstrap=50, rng=0
                    ),
                    SimilarityRegression(nonnegative=True, rng=0).fit(f, s).weights_.tolist(),
                )
            )
    finally:
        numcore.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_all_statistics_on_the_gpu(rng):
    x = rng.standard_normal((20, 5))
    x[rng.random(x.shape) < 0.2] = np.nan
    s, t = similarity_matrix(rng.standard_normal((6, 3))), rng.standard_normal(15)
    for method in ("pearson", "spearman"):
        options = {"method": method, "rng": 0}
        draws = {"n_permutations": 30, "n_bootstrap": 9}
        with simulated_gpu() as xp:
            there = (
                rating_reliability(xp.asarray(x), n_splits=5, missing="drop", **options),
                representational_similarity(xp.asarray(s), xp.asarray(t), **draws, **options),
            )
        here = (
            rating_reliability(x, n_splits=5, missing="drop", **options),
            representational_similarity(s, t, **draws, **options),
        )
        for a, b in zip(there, here, strict=True):
            np.testing.assert_allclose(
                np.hstack(a), np.hstack(b), rtol=1e-12
            )  # the same draws, sums in another order


def test_memory_without_a_design(rng):
    """The design of 400 stimuli and 200 features has 128 MB; the fit takes a tenth of it."""
    f, s = problem(rng, 400, 200)
    SimilarityRegression(rng=0).fit(f[:20], s[:20, :20])
    tracemalloc.start()
    SimilarityRegression(rng=0).fit(f, s)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 13e6


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"alphas": [0.0]}, ValueError, "alphas"),
        ({"alphas": [np.nan]}, ValueError, "alphas"),
        ({"alphas": "abc"}, TypeError, "alphas"),
        ({"alphas": None}, TypeError, "alphas"),
        ({"alphas": [1j]}, TypeError, "alphas"),
        ({"n_folds": 1}, ValueError, "n_folds"),
        ({"n_folds": 2.5}, TypeError, "n_folds"),
        ({"center": 1}, TypeError, "center"),
        ({"nonnegative": None}, TypeError, "nonnegative"),
        ({"rng": "x"}, TypeError, "rng"),
        ({"rng": -1}, ValueError, "rng"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SimilarityRegression(**options)


def test_fits_that_are_refused(rng):
    f, s = problem(rng, 20, 3)
    model = SimilarityRegression(rng=0)
    for features, target, message in (
        (f, s[:12, :12], r"target must have shape \(n, n\) with n = 20 \(got \(12, 12\)\)"),
        (f[0], s, "features must have shape"),
        (f * np.nan, s, "features must be finite"),
        (f, s * np.nan, "target must be finite"),
        (f, s * 0 + 1, "target must not be constant"),
        (
            f[:11],
            s[:11, :11],
            r"n_folds must be <= n / 2 with n = 11 \(got 6\)",
        ),
        (f[:, :0], s, r"features must have d in \[1, 8192\]"),
        (np.zeros((20, 8193)), s, "principal component analysis"),
        (f * 1e200, s, "small enough"),
        (f[:2], s[:2, :2], "n >= 3"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(features, target)
    for features, target in (
        (f.astype(np.float32), s),
        (f.astype(int), s),
        (f, s.astype(complex)),
        ("text", s),
        (f, None),
    ):
        with pytest.raises(TypeError):
            model.fit(features, target)
    with pytest.raises(NotFittedError, match="must be fitted first"):
        SimilarityRegression().predict(f)
    with pytest.raises(ValueError, match="alphas must have at least one"):
        SimilarityRegression(alphas=[]).fit(f, s)
    with pytest.raises(ValueError, match=r"features must have shape \(n, d\) with d = 3"):
        model.fit(f, s).predict(f[:, :2])


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: stack_features([]), ValueError, "at least one"),
        (lambda: stack_features(np.ones((3, 2))), TypeError, "list"),
        (
            lambda: stack_features([np.ones((3, 2)), np.ones((4, 2))]),
            ValueError,
            r"features_list\[1\] must have shape \(n, _\) with n = 3",
        ),
        (
            lambda: stack_features([np.ones((3, 2)), np.ones((3, 2), np.float32)]),
            TypeError,
            r"features_list\[1\] must have dtype float64 like",
        ),
        (lambda: stack_features([np.ones((3, 2)), None]), TypeError, "None"),
        (lambda: stack_features([np.ones(3)]), ValueError, "must have shape"),
        (
            lambda: stack_features([np.full((3, 2), np.nan)]),
            ValueError,
            r"features_list\[0\] must be finite",
        ),
        (
            lambda: similarity_matrix(np.ones((3, 2)), metric="manhattan"),
            ValueError,
            'metric must be one of "cosine"',
        ),
        (lambda: similarity_matrix(np.ones(3)), ValueError, "features must have shape"),
        (lambda: similarity_matrix(np.ones((3, 2), int)), TypeError, "features"),
        (
            lambda: tag_similarity([0], [0, 1], np.array([-1.0]), method="cosine"),
            ValueError,
            "tag_weights must be >= 0 .got -1.0",
        ),
        (
            lambda: tag_similarity([0], [0, 1], np.array([np.nan]), method="cosine"),
            ValueError,
            "tag_weights",
        ),
        (
            lambda: tag_similarity([0, 1], [0, 2], np.full(2, 1e308), method="cosine"),
            ValueError,
            "finite sum",
        ),
        (lambda: tag_similarity([0], [0, 1]), ValueError, "tag_embeddings must be given"),
        (
            lambda: tag_similarity([2], [0, 1], tag_embeddings=np.ones((2, 2))),
            ValueError,
            "tag_values must be < 2",
        ),
        (
            lambda: tag_similarity([-1], [0, 1], method="jaccard"),
            ValueError,
            "tag_values must be in",
        ),
        (
            lambda: tag_similarity([0], [0, 2, 1], method="jaccard"),
            ValueError,
            "tag_offsets must ascend",
        ),
        (lambda: tag_similarity([], [], method="jaccard"), ValueError, "tag_offsets must have"),
        (lambda: tag_similarity([0.5], [0, 1], method="jaccard"), TypeError, "tag_values"),
        (lambda: tag_similarity([0], [0, 1], method="dice"), ValueError, "method must be one of"),
        (
            lambda: tag_similarity([0], [0, 1], method="bm25", b=1.5),
            ValueError,
            r"b must be in \[0, 1\]",
        ),
        (
            lambda: rating_reliability(np.ones((4, 2)), n_splits=0),
            ValueError,
            "n_splits must be in",
        ),
    ],
)
def test_arguments_that_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- the paper's claim ----------------------------------------------------------------------------


def test_stacked_views_agree_best_with_simulated_raters():
    """Sixty stimuli of six hidden dimensions; ten raters of noise 1.5 on a scale from 0 to 6;
    either view sees four dimensions."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((60, 6))
        truth = similarity_matrix(z, condensed=True)
        ratings = np.clip(
            3 + 3 * truth[:, None] + 1.5 * rng.standard_normal((len(truth), 10)), 0, 6
        )
        reliability = rating_reliability(ratings, rng=0)
        assert (
            abs(reliability.split_half - 0.764) < 0.02
            and abs(reliability.spearman_brown - 0.866) < 0.015
        )  # another draw of the stimuli
        views = [
            z[:, :4] @ rng.standard_normal((4, 20)) + 0.3 * rng.standard_normal((60, 20)),
            z[:, 2:] @ rng.standard_normal((4, 30)) + 0.3 * rng.standard_normal((60, 30)),
        ]
        mean = ratings.mean(axis=1)
        single = max(
            representational_similarity(similarity_matrix(v, condensed=True), mean).correlation
            for v in views
        )
        for scaling in ("none", "unit", "zscore"):
            stacked = similarity_matrix(stack_features(views, scaling=scaling), condensed=True)
            assert (
                single + 0.02
                < representational_similarity(stacked, mean).correlation
                < reliability.noise_ceiling
            )


def test_digits_images_predict_their_labels():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.data[:200], digits.target[:200]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 200))
    target = (labels[:, None] == labels) + 0.2 * (noise + noise.T)
    plain = representational_similarity(
        similarity_matrix(images), target, n_permutations=200, rng=0
    )
    weighed = SimilarityRegression(rng=0).fit(images, target)
    assert plain.pvalue == 1 / 201 and weighed.cv_correlation_ > 0.5 * plain.correlation > 0.1


def test_copies_and_parameters(rng):
    base = pytest.importorskip("sklearn.base")
    f, s = problem(rng, 24, 5)
    model = SimilarityRegression(alphas=np.logspace(-2, 2, 5), rng=0).fit(f, s)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(f), model.predict(f))
    twin = base.clone(SimilarityRegression(alphas=(0.1, 1.0), center=False))
    assert twin.get_params()["alphas"] == (0.1, 1.0) and not twin.center
    assert repr(SimilarityRegression(n_folds=3)) == "SimilarityRegression(n_folds=3)"
