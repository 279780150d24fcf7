"""Exact search and Hamming distances against their definitions: ties, blocks, ranges of numbers,
memory, errors."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import topk as naive
from numcore.retrieval import packed_hamming, topk_inner_product
from numcore.retrieval._topk import unit
from numcore.testing import simulated_gpu

METRICS = ("ip", "cosine", "l2")


def whole_numbers(rng, *shape):
    """Their products are exact in any order, and many are equal."""
    return rng.integers(-3, 4, shape).astype(np.float64)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "nq, nx, d, k",
    [
        (1, 1, 1, 1),
        (5, 40, 3, 5),
        (3, 64, 2, 8),
        (9, 65, 4, 3),
        (4, 30, 3, 30),
        (7, 200, 1, 25),
        (300, 129, 2, 4),
    ],
)
def test_equals_a_sort_of_all_scores_with_ties_by_the_smaller_index(metric, dtype, nq, nx, d, k):
    rng = np.random.default_rng(0)
    queries, database = (
        whole_numbers(rng, nq, d).astype(dtype),
        whole_numbers(rng, nx, d).astype(dtype),
    )
    scores, indices = naive.topk(queries, database, k, metric)
    for block in (None, 1, 7, 64, 1000):
        found = topk_inner_product(queries, database, k, metric=metric, block=block)
        if metric == "ip":
            np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_array_equal(found.scores, scores.astype(dtype))
        assert found.scores.dtype == dtype and found.indices.dtype == np.int64


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "dtype, rtol", [("float32", 1e-5), ("float64", 1e-13)]
)  # some 40 roundings of products of length 23
@pytest.mark.parametrize("k", [1, 9, 60])
def test_random_vectors(metric, dtype, rtol, k):
    rng = np.random.default_rng(1)
    queries, database = (
        rng.standard_normal((11, 23)).astype(dtype),
        rng.standard_normal((150, 23)).astype(dtype),
    )
    scores, indices = naive.topk(queries, database, k, metric)
    found = topk_inner_product(queries, database, k, metric=metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(
        found.scores, scores.astype(float), rtol=rtol, atol=rtol * float(np.abs(scores).max())
    )


def test_equal_rows_come_in_the_order_of_their_indices():
    database = np.tile([[1.0, 2.0], [3.0, 1.0]], (50, 1))
    assert topk_inner_product(np.array([[1.0, 0.0]]), database, 6).indices.tolist() == [
        [1, 3, 5, 7, 9, 11]
    ]
    assert topk_inner_product(
        np.array([[1.0, 0.0]]), database, 6, metric="l2"
    ).indices.tolist() == [[0, 2, 4, 6, 8, 10]]


def test_scores_that_rise_and_that_fall():
    """Every score, or none after the first, enters the heap."""
    database = np.arange(5000.0)[:, None]
    assert topk_inner_product(np.array([[1.0], [-1.0]]), database, 3).indices.tolist() == [
        [4999, 4998, 4997],
        [0, 1, 2],
    ]


def test_the_cosine_of_a_row_of_zeros_is_zero():
    found = topk_inner_product(
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        np.array([[-1.0, 0.0], [0.0, 0.0], [3.0, 4.0]]),
        3,
        metric="cosine",
    )
    assert found.indices.tolist() == [[2, 1, 0], [0, 1, 2]]
    np.testing.assert_allclose(found.scores, [[0.6, 0, -1], [0, 0, 0]], atol=1e-15)


@pytest.mark.parametrize(
    "dtype, exponents", [("float32", (-40, -30, 30, 38)), ("float64", (-310, -200, 200, 307))]
)
def test_cosines_at_the_ends_of_the_range(dtype, exponents):
    rng = np.random.default_rng(2)
    queries, database = rng.uniform(0.1, 0.9, (2, 30, 5))
    expected = topk_inner_product(queries, database, 3, metric="cosine")
    for exponent in exponents:
        found = topk_inner_product(
            (queries * 10.0**exponent).astype(dtype),
            (database * 10.0**exponent).astype(dtype),
            3,
            metric="cosine",
        )
        # subnormal numbers keep few digits
        np.testing.assert_allclose(
            found.scores, expected.scores, rtol=1e-3 if exponent in (-40, -310) else 1e-5
        )


def test_distances_far_from_the_origin_do_not_cancel():
    rng = np.random.default_rng(3)
    points = (rng.standard_normal((500, 6)) + 1e4).astype(np.float32)
    queries = (rng.standard_normal((20, 6)) + 1e4).astype(np.float32)
    scores, indices = naive.topk(queries, points, 5, "l2")
    found = topk_inner_product(queries, points, 5, metric="l2")
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(
        found.scores, scores.astype(float), rtol=1e-6
    )  # differences are exact, their sum is in float64
    assert (topk_inner_product(points, points, 1, metric="l2").scores == 0).all()


def test_lengths_and_distances_of_float32_are_summed_in_float64():
    rng = np.random.default_rng(9)
    x = rng.standard_normal((40, 1000)).astype(np.float32)
    y, norms = unit(np, x)
    exact = np.sqrt((x.astype(np.longdouble) ** 2).sum(axis=1))
    np.testing.assert_allclose(
        norms, exact.astype(float), rtol=1e-14
    )  # a product rounded to float32 would leave 1e-9
    np.testing.assert_allclose(
        y, (x / exact[:, None]).astype(float), rtol=6e-8
    )  # one rounding to float32
    scores = topk_inner_product(x[:5], x, 40, metric="l2").scores
    expected = np.sort(((x[:5, None].astype(np.longdouble) - x) ** 2).sum(axis=2), axis=1)
    np.testing.assert_allclose(scores, expected.astype(float), rtol=6e-8)


def test_without_columns_or_queries():
    assert topk_inner_product(np.ones((2, 0)), np.ones((30, 0)), 2).indices.tolist() == [
        [0, 1],
        [0, 1],
    ]
    for metric in METRICS:
        found = topk_inner_product(np.ones((0, 3)), np.ones((30, 3)), 2, metric=metric)
        assert found.scores.shape == found.indices.shape == (0, 2)


def test_scores_may_be_left_out():
    found = topk_inner_product(np.eye(3), np.eye(3), 1, return_scores=False)
    assert found.scores is None and found.indices.ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", [2, 90])
def test_what_is_not_finite_is_found(metric, bad, k):
    good = np.random.default_rng(4).standard_normal((100, 20))
    for place in ((0, 0), (63, 7), (99, 19)):
        wrong = good.copy()
        wrong[place] = bad
        with pytest.raises(ValueError, match=r"database must be finite \(got nan or inf\)"):
            topk_inner_product(good[:30], wrong, k, metric=metric)
        with pytest.raises(ValueError, match=r"database must be finite"):
            topk_inner_product(good[:0], wrong, k, metric=metric)
        with pytest.raises(ValueError, match=r"queries must be finite"):
            topk_inner_product(wrong, good, k, metric=metric)


def test_bad_input():
    a = np.ones((3, 2))
    for database, k in ((a, 4), (a, 0), (a[:0], 1)):
        nx = len(database)
        with pytest.raises(ValueError, match=rf"k must be in \[1, nx\] with nx = {nx} \(got {k}\)"):
            topk_inner_product(a, database, k)
    for metric in ("ip", "l2"):
        with pytest.raises(ValueError, match="products that float64 can hold"):
            topk_inner_product(a * 1e300, a * [[1e300], [-1e300], [2e300]], 1, metric=metric)


@pytest.mark.parametrize("metric", METRICS)
def test_on_the_simulated_gpu(metric):
    rng = np.random.default_rng(5)
    queries, database = (
        rng.standard_normal((5, 12)).astype(np.float32),
        rng.standard_normal((700, 12)).astype(np.float32),
    )
    for k in (3, 100):
        expected = topk_inner_product(queries, database, k, metric=metric)
        with simulated_gpu(checked=True) as xp:
            found = topk_inner_product(
                xp.asarray(queries), xp.asarray(database), k, metric=metric, block=300
            )
        np.testing.assert_array_equal(found.indices.get(), expected.indices)
        np.testing.assert_allclose(found.scores.get(), expected.scores, rtol=1e-5, atol=1e-5)


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(6)
    queries, database = (
        rng.standard_normal((300, 16)).astype(np.float32),
        rng.standard_normal((9000, 16)).astype(np.float32),
    )
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results += [
                topk_inner_product(queries, database, 10, metric=metric) for metric in METRICS
            ]
    finally:
        numcore.set_num_threads(None)
    for i, result in enumerate(results):
        assert all((a == b).all() for a, b in zip(result, results[i % 3], strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_memory_is_that_of_a_block(metric):
    """The matrix of all scores would take 80 MB; a block takes 256 × 4032 × 4 bytes, about 4 MB."""
    rng = np.random.default_rng(7)
    queries, database = (
        rng.standard_normal((500, 8)).astype(np.float32),
        rng.standard_normal((40000, 8)).astype(np.float32),
    )
    topk_inner_product(queries[:9], database[:99], 2, metric=metric)
    tracemalloc.start()
    topk_inner_product(queries, database, 5, metric=metric)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


# --- packed bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, m, w", [(1, 1, 1), (5, 7, 1), (9, 4, 3), (3, 2, 17), (2, 3, 0), (0, 3, 2), (4, 0, 2)]
)
def test_hamming_distances(n, m, w):
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 2**64, (n, w), np.uint64), rng.integers(0, 2**64, (m, w), np.uint64)
    found = packed_hamming(a, b)
    assert (
        found.dtype == np.int32
        and found.shape == (n, m)
        and found.tolist() == np.reshape(naive.hamming(a, b), (n, m)).tolist()
    )
    assert packed_hamming(a).tolist() == packed_hamming(a, a).tolist()
    with simulated_gpu(checked=True) as xp:
        assert packed_hamming(xp.asarray(a), xp.asarray(b)).tolist() == found.tolist()


def test_all_bits_and_none():
    words = np.array([[0, 0], [2**64 - 1, 2**64 - 1]], np.uint64)
    assert packed_hamming(words).tolist() == [[0, 128], [128, 0]]
    assert packed_hamming(words[:, ::-1].astype(">u8").astype(np.uint64)).tolist() == [
        [0, 128],
        [128, 0],
    ]


def test_rows_of_too_many_words():
    with pytest.raises(ValueError, match=r"a must have less than 2\^25 words"):
        packed_hamming(np.broadcast_to(np.uint64(0), (1, 1 << 25)))
