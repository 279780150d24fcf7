"""Randomized factorizations, leverage scores and the sketch: exact cases, error bounds, invalid
input."""

import numpy as np
import pytest

from numcore.linalg import CSR, fwht, leverage_scores, randomized_svd, range_finder, srht


def low_rank(rng, m, n, k):
    return rng.standard_normal((m, k)) @ rng.standard_normal((k, n))


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (30, 20, 3), (20, 30, 20), (50, 7, 7)])
def test_exact_rank_is_recovered(m, n, k):
    a = low_rank(np.random.default_rng(0), m, n, k)
    u, s, vh, bound = randomized_svd(a, k, rng=1)
    np.testing.assert_allclose((u * s) @ vh, a, rtol=0, atol=1e-12 * np.linalg.norm(a, 2))
    np.testing.assert_allclose(u.T @ u, np.eye(k), atol=1e-13)
    assert bound < 1e-10 * np.linalg.norm(a, 2)


@pytest.mark.parametrize("n_iter", [0, 2])
def test_the_bound_holds(n_iter):
    rng = np.random.default_rng(2)
    a = (rng.standard_normal((30, 24)) * 0.8 ** np.arange(24)) @ np.linalg.qr(
        rng.standard_normal((24, 24))
    )[0]
    for seed in range(1000):
        u, s, vh, bound = randomized_svd(a, 5, n_iter=n_iter, oversample=2, rng=seed)
        assert np.linalg.norm(a - (u * s) @ vh, 2) <= bound


def test_power_steps_keep_small_singular_values():
    rng = np.random.default_rng(3)
    u, v = (np.linalg.qr(rng.standard_normal((60, 20)))[0] for _ in range(2))
    a = (u * 10.0 ** -np.arange(20)) @ v.T
    q = range_finder(a, 12, n_iter=3, oversample=4, rng=4)
    assert (
        np.linalg.norm(a - q @ (q.T @ a), 2) < 1e-11
    )  # without the QR between products all below 1e-2 would be lost


class Operator:
    def __init__(self, a):
        self.a, self.shape, self.dtype = a, a.shape, a.dtype

    def matmat(self, x):
        return self.a @ x

    def rmatmat(self, x):
        return self.a.T @ x


def test_sparse_matrices_and_operators():
    a = low_rank(np.random.default_rng(5), 40, 30, 4) * (np.arange(30) % 3 == 0)
    expected = np.linalg.svd(a)[1][:4]
    for form in (a, CSR.from_dense(a), Operator(a)):
        np.testing.assert_allclose(randomized_svd(form, 4, rng=0).s, expected, rtol=1e-12)
    scipy_sparse = pytest.importorskip("scipy.sparse")
    np.testing.assert_allclose(
        randomized_svd(scipy_sparse.csr_array(a), 4, rng=0).s, expected, rtol=1e-12
    )


def test_a_stack_of_matrices():
    a = np.random.default_rng(6).standard_normal((3, 20, 10))
    q = range_finder(a, 10, oversample=5, rng=0)
    assert q.shape == (3, 20, 10)
    np.testing.assert_allclose(q @ (q.swapaxes(1, 2) @ a), a, atol=1e-13)


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (randomized_svd, (np.ones((3, 2)), 3), r"rank must be <= min\(m, n\)"),
        (randomized_svd, (np.ones((2, 3, 2)), 1), r"a must have shape \(m, n\)"),
        (randomized_svd, (Operator(np.ones((3, 2))), 3), r"rank must be <= min\(m, n\)"),
        (range_finder, (Operator(np.ones((2, 3, 2))), 1), r"a must have shape \(m, n\)"),
        (range_finder, (np.ones(3), 1), "a must have shape"),
        (range_finder, (np.full((3, 2), np.nan), 1), "finite"),
    ],
)
def test_errors_of_factorizations(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_products_must_have_a_dtype_of_floats():
    with pytest.raises(TypeError, match="a must have dtype float32 or float64"):
        range_finder(Operator(np.ones((3, 2), int)), 1)
    with pytest.raises(TypeError, match="a must be"):
        randomized_svd("matrix", 1)


# --- leverage scores ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["qr", "gram"])
def test_known_scores(method):
    np.testing.assert_allclose(
        leverage_scores([[1.0, 0], [1, 0], [0, 1], [1, 1]], method=method),
        [0.4, 0.4, 0.6, 0.6],
        rtol=1e-14,
    )
    np.testing.assert_allclose(leverage_scores(np.eye(5), method=method), 1, rtol=1e-14)


def test_scores_sum_up_to_the_rank_and_ignore_a_change_of_basis():
    rng = np.random.default_rng(7)
    a = rng.standard_normal((60, 4))
    a[5] = 0
    scores = leverage_scores(a)
    assert scores[5] == 0 and abs(scores.sum() - 4) < 1e-12
    np.testing.assert_allclose(leverage_scores(a @ rng.standard_normal((4, 4))), scores, atol=1e-12)
    np.testing.assert_allclose(leverage_scores(np.column_stack([a, a[:, 1]])), scores, atol=1e-12)
    assert abs(leverage_scores(low_rank(rng, 50, 9, 3)).sum() - 3) < 1e-10
    np.testing.assert_array_equal(leverage_scores(np.zeros((4, 2))), 0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (2, 5), (2, 4, 3)])
def test_any_shape(shape):
    a = np.random.default_rng(8).standard_normal(shape)
    scores = leverage_scores(a)
    assert scores.shape == shape[:-1]
    if a.size:
        np.testing.assert_allclose(scores.sum(axis=-1), min(shape[-2:]), rtol=1e-12)


def test_an_ill_conditioned_gram_matrix_is_not_used():
    a = np.random.default_rng(9).standard_normal((100, 3)) * [1, 1, 1e-9]
    np.testing.assert_allclose(leverage_scores(a, method="gram"), leverage_scores(a), rtol=1e-12)
    np.testing.assert_allclose(leverage_scores(np.ones((5, 2)), method="gram"), 0.2, rtol=1e-12)


def test_sketched_scores_are_within_their_factor():
    rng = np.random.default_rng(10)
    a = rng.standard_normal((1 << 14, 32)) * np.exp(rng.standard_normal((1 << 14, 1)))
    ratio = leverage_scores(a, method="sketch", rng=0) / leverage_scores(a)
    assert 0.4 < ratio.min() and ratio.max() < 2.5 and abs(ratio.mean() - 1) < 0.25
    few = a[:50]
    np.testing.assert_allclose(
        leverage_scores(few, method="sketch", rng=0), leverage_scores(few), rtol=1e-9
    )  # no sketch is smaller


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(a=np.ones((2, 3, 2)), method="gram"), 'method must be "qr" for several matrices'),
        (dict(method="sketch", sketch_size=1), "sketch_size must be >= d with d = 2"),
    ],
)
def test_score_errors(options, message):
    with pytest.raises(ValueError, match=message):
        leverage_scores(**{"a": np.ones((4, 2))} | options)


# --- the sketch -----------------------------------------------------------------------------------


def test_a_full_sketch_is_an_isometry():
    a = np.random.default_rng(11).standard_normal((50, 5))
    s = srht(a, 64, rng=0)
    np.testing.assert_allclose(s.T @ s, a.T @ a, atol=1e-12)


def test_the_sketch_is_unbiased():
    a = np.random.default_rng(12).standard_normal((24, 2))
    grams = [srht(a, 8, rng=seed).T @ srht(a, 8, rng=seed) for seed in range(4000)]
    error = np.std(grams, axis=0) / np.sqrt(len(grams))
    assert (np.abs(np.mean(grams, axis=0) - a.T @ a) < 4.5 * error).all()


def test_the_sketch_is_a_sample_of_the_transform():
    x = np.random.default_rng(13).standard_normal(16)
    s = srht(x, 5, rng=3)
    rng = np.random.default_rng(3)
    signs, rows = 2 * rng.integers(0, 2, 16) - 1, rng.choice(16, 5, replace=False)
    np.testing.assert_allclose(s, fwht(signs * x)[rows] / np.sqrt(5), atol=1e-14)
