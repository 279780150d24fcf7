"""The inverted file: exact with all lists, recall with few, its layout, metrics, short lists,
errors."""

import numpy as np
import pytest

import numcore
from numcore.model import NotFittedError
from numcore.retrieval import InvertedFileIndex, topk_inner_product
from numcore.testing import simulated_gpu

METRICS = ("ip", "cosine", "l2")


def clustered(rng, n, d, clusters, dtype=np.float32):
    return (
        3 * rng.standard_normal((clusters, d))[rng.integers(0, clusters, n)]
        + rng.standard_normal((n, d))
    ).astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 16, 37])
def test_with_all_lists_it_is_exact(metric, dtype, d):
    rng = np.random.default_rng(0)
    database, queries = (
        rng.integers(-4, 5, (300, d)).astype(dtype),
        rng.integers(-4, 5, (20, d)).astype(dtype),
    )
    if metric == "cosine":  # quotients are rounded: no ties
        database, queries = (
            rng.standard_normal((300, d)).astype(dtype),
            rng.standard_normal((20, d)).astype(dtype),
        )
    index = InvertedFileIndex(13, metric=metric, rng=0).fit(database)
    found, exact = (
        index.search(queries, 8, n_probe=13),
        topk_inner_product(queries, database, 8, metric=metric),
    )
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)
    assert found.scores.dtype == dtype and found.indices.dtype == np.int64
    if (
        metric == "ip" or metric == "cosine" and d > 1
    ):  # equal distances are rounded to differ, and all cosines of numbers are 1 or -1
        assert (found.indices == exact.indices).all()


@pytest.mark.parametrize("metric", METRICS)
def test_few_lists_find_most(metric):
    rng = np.random.default_rng(1)
    points = clustered(rng, 2500, 16, 40)
    index = InvertedFileIndex(metric=metric, n_probe=30, rng=0).fit(points[300:])
    assert len(index.centroids_) == round(4 * 2200**0.5)
    recalls = [index.recall_at(points[:300], 10, n_probe=n) for n in (1, 8, 30, 188)]
    assert recalls == sorted(recalls) and recalls[2] > 0.9 and recalls[3] > 0.9999
    assert index.recall_at(points[:300], 10) == recalls[2]


def test_the_layout():
    rng = np.random.default_rng(2)
    points = rng.standard_normal((500, 5))
    index = InvertedFileIndex(20, metric="l2", rng=3).fit(points)
    assert (
        index.centroids_.shape == (20, 5) and index.offsets_[0] == 0 and index.offsets_[-1] == 500
    )
    assert sorted(index.ids_.tolist()) == list(range(500))
    nearest = ((points[:, None] - index.centroids_) ** 2).sum(axis=2).argmin(axis=1)
    for i in range(20):
        mine = index.ids_[index.offsets_[i] : index.offsets_[i + 1]]
        assert mine.tolist() == np.nonzero(nearest == i)[0].tolist()
    again = InvertedFileIndex(20, metric="l2", rng=3).fit(points)
    assert (again.centroids_ == index.centroids_).all() and (again.ids_ == index.ids_).all()


def test_lists_with_less_than_k_rows():
    points = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]])
    index = InvertedFileIndex(2, metric="l2", n_probe=1, rng=0).fit(points)
    found = index.search(np.array([[0.0]]), 4)
    assert found.indices.tolist() == [[0, 1, -1, -1]] and found.scores[0, 2:].tolist() == [
        np.inf,
        np.inf,
    ]
    np.testing.assert_allclose(found.scores[0, :2], [0, 0.01])


def test_equal_rows_and_one_row():
    index = InvertedFileIndex(metric="cosine", rng=0).fit(np.ones((60, 3)))
    assert index.search(np.ones((2, 3)), 2, n_probe=60).indices.tolist() == [[0, 1], [0, 1]]
    assert InvertedFileIndex(rng=0).fit(np.ones((1, 3))).search(
        np.ones((0, 3)), 1
    ).indices.shape == (0, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_on_the_simulated_gpu(metric):
    rng = np.random.default_rng(4)
    points = rng.standard_normal((250, 7))
    index = InvertedFileIndex(12, metric=metric, rng=0).fit(points)
    with simulated_gpu(checked=True) as xp:
        there = InvertedFileIndex(12, metric=metric, rng=0).fit(xp.asarray(points))
        found = there.search(xp.asarray(points[:9]), 5, n_probe=3)
        assert there.recall_at(xp.asarray(points[:9]), 5, n_probe=3) == index.recall_at(
            points[:9], 5, n_probe=3
        )
        with pytest.raises(TypeError, match="one device"):
            there.search(points, 2)
    np.testing.assert_array_equal(
        found.indices.get(), index.search(points[:9], 5, n_probe=3).indices
    )


def test_guest_manners():
    rng = np.random.default_rng(5)
    points = np.asfortranarray(rng.standard_normal((400, 9)))
    points.flags.writeable = False
    before, results = points.copy(), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append(InvertedFileIndex(rng=1).fit(points).search(points[::-1], 3))
    finally:
        numcore.set_num_threads(None)
    assert (points == before).all()
    assert all(
        (a == b).all() for result in results[1:] for a, b in zip(results[0], result, strict=True)
    )


def test_bad_input():
    points = np.ones((10, 2))
    with pytest.raises(ValueError, match=r"n_lists must be <= nx with nx = 10 \(got 11\)"):
        InvertedFileIndex(11).fit(points)
    with pytest.raises(NotFittedError, match="InvertedFileIndex must be fitted first"):
        InvertedFileIndex().search(points, 1)
    with pytest.raises(ValueError, match=r"X must have at least one row \(got 0\)"):
        InvertedFileIndex().fit(points[:0])
    index = InvertedFileIndex(3, rng=0).fit(points)
    with pytest.raises(ValueError, match=r"k must be <= nx with nx = 10 \(got 11\)"):
        index.search(points, 11)
    with pytest.raises(ValueError, match=r"queries must have shape \(nq, d\) with d = 2"):
        index.search(points[:, :1], 1)
    with pytest.raises(ValueError, match="queries must be finite"):
        index.search(points * np.inf, 1)
    with pytest.raises(TypeError, match="must have dtype float32 like queries"):
        index.search(points.astype(np.float32), 1)
    with pytest.raises(ValueError, match="queries must have at least one row"):
        index.recall_at(points[:0], 1)


# --- scikit-learn ---------------------------------------------------------------------------------

CONVERTED = "arrays are float32 or float64 and never converted silently"
WORDS = "errors have numcore's words"
EXPECTED_FAILURES = {
    "check_do_not_raise_errors_in_init_or_set_params": "parameters are checked when they are set",
    "check_set_params": "parameters are checked when they are set",
    "check_estimators_dtypes": CONVERTED,
    "check_dtype_object": CONVERTED,
    "check_complex_data": WORDS,
    "check_estimators_empty_data_messages": "rows without columns are all alike",
    "check_estimators_nan_inf": WORDS,
    "check_estimator_sparse_tag": WORDS,
    "check_estimator_sparse_array": WORDS,
    "check_estimator_sparse_matrix": WORDS,
}


@pytest.mark.filterwarnings("ignore:Estimator InvertedFileIndex does not inherit")
def test_estimator_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        InvertedFileIndex(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None
    )
    failed = [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"]
    assert not failed, failed


def test_scikit_learn_clones_the_index():
    base = pytest.importorskip("sklearn.base")
    index = InvertedFileIndex(5, metric="l2", n_probe=2, rng=0)
    copy, points = base.clone(index), np.random.default_rng(6).standard_normal((50, 3))
    assert copy.get_params() == index.get_params()
    for a, b in zip(
        copy.fit(points).search(points, 3), index.fit(points).search(points, 3), strict=True
    ):
        np.testing.assert_array_equal(a, b)
