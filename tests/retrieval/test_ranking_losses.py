"""Losses of rankings: known answers, pair by pair, finite differences, extremes, masks
and groups, memory, bad input."""

import re
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import ranking_losses as naive
from numcore.retrieval import ranking_loss
from numcore.testing import simulated_gpu

LOSSES = ("pointwise", "hinge", "ranknet", "listnet", "lambdarank")
S, Y = np.array([[2.0, 1.0, 0.0, 0.5]]), np.array([[0, 2, 1, 0]])


def lists(rng, queries=9, size=17, most=4, dtype=np.float64):
    """Scores with ties."""
    relevance = rng.integers(0, most, (queries, size))
    relevance[2] = 0
    return np.round(2 * rng.standard_normal((queries, size)), 1).astype(dtype), relevance


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss, value, grad",
    [
        ("ranknet", 1.0403211, [0.3223711, -0.2755081, -0.2468630, 0.2]),
        ("hinge", 1.4, [0.4, -0.4, -0.4, 0.4]),
        ("listnet", 1.8793397, [0.5792585, -0.4535694, -0.2549392, 0.1292501]),
        ("lambdarank", 0.8383994, [0.3610354, -0.2934352, -0.1203264, 0.0527262]),
    ],
)
def test_known_losses(loss, value, grad):
    result = ranking_loss(S, Y, loss=loss)
    assert abs(result.loss - value) < 6e-8  # the last digit that is known
    np.testing.assert_allclose(result.grad, [grad], rtol=0, atol=1.1e-7)
    if loss == "lambdarank":
        np.testing.assert_allclose(
            result.hess, [[0.0764174, 0.1070641, 0.0426367, 0.0299092]], rtol=0, atol=6e-8
        )
    assert (result.hess is None) == (loss in ("hinge", "listnet"))


def test_perfect_order():
    y = np.arange(6)[None]
    assert ranking_loss(50.0 * y, y, loss="ranknet").loss < 1e-20


# --- against pairs and terms, one by one ----------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_term_by_term(loss, dtype):
    scores, relevance = lists(
        np.random.default_rng(0), most=2 if loss == "pointwise" else 4, dtype=dtype
    )
    options = {"sigma": 1.7, "margin": 0.6, "k": 5 if loss == "lambdarank" else None}
    result = ranking_loss(scores, relevance, loss=loss, **options)
    kept = [q for q in range(len(scores)) if relevance[q].any()]
    rows = [(scores[q].tolist(), relevance[q].tolist()) for q in kept]
    expected = sum(naive.list_loss(s, y, loss, **options) for s, y in rows) / len(rows)
    tolerance = 2e-7 if dtype == np.float32 else 1e-14  # one rounding; sums of a few hundred terms
    assert abs(result.loss - expected) < tolerance * expected
    assert not result.grad[2].any()
    for q, (s, y) in zip(kept, rows, strict=True):
        g, h = (np.array(a) / len(rows) for a in naive.list_gradient(s, y, loss, **options))
        np.testing.assert_allclose(result.grad[q], g, rtol=0, atol=tolerance)
        if result.hess is not None:
            np.testing.assert_allclose(result.hess[q], h, rtol=0, atol=tolerance)


@pytest.mark.parametrize("loss", LOSSES)
def test_finite_differences(loss):
    rng = np.random.default_rng(1)
    s, y, step = rng.standard_normal(8), rng.integers(0, 2 if loss == "pointwise" else 3, 8), 1e-5
    y[0] = 1
    weights = naive.changes_of_ndcg(s.tolist(), y.tolist())
    grad = ranking_loss(s[None], y[None], loss=loss).grad[0]
    for i in range(8):
        high, low = (
            naive.list_loss(
                (s + sign * step * np.eye(8)[i]).tolist(), y.tolist(), loss, weights=weights
            )
            for sign in (1, -1)
        )
        assert abs((high - low) / (2 * step) - grad[i]) < 1e-6


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_shifts_change_nothing_and_gradients_sum_to_zero(loss):
    scores, relevance = lists(np.random.default_rng(2))
    scores = np.round(4 * scores) / 4  # shifts are then exact
    a, b = (
        ranking_loss(scores, relevance, loss=loss),
        ranking_loss(scores + 1024, relevance, loss=loss),
    )
    assert a.loss == b.loss
    np.testing.assert_array_equal(a.grad, b.grad)
    np.testing.assert_allclose(a.grad.sum(1), 0, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_large_scores(loss):
    result = ranking_loss(np.array([[-1e30, 1e30, 0.0]]), np.array([[1, 0, 0]]), loss=loss)
    assert np.isfinite(result.loss)
    assert np.isfinite(result.grad).all()


# --- lists in three forms -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_masks_and_groups_say_the_same(loss):
    rng = np.random.default_rng(5)
    scores, relevance = lists(rng, most=2)
    lengths = rng.integers(1, 18, len(scores))
    mask = np.arange(17) < lengths[:, None]
    masked = ranking_loss(scores, relevance, loss=loss, mask=mask)
    grouped = ranking_loss(scores[mask], relevance[mask], lengths, loss=loss)
    assert masked.loss == grouped.loss
    np.testing.assert_array_equal(masked.grad[mask], grouped.grad)
    assert not masked.grad[~mask].any()


def test_list_without_candidates():
    mask = np.array([[True, True], [False, False]])
    scores, relevance = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0], [1, 1]])
    for loss in LOSSES:
        assert (
            ranking_loss(scores, relevance, loss=loss, mask=mask).loss
            == ranking_loss(scores[:1], relevance[:1], loss=loss).loss
        )


def test_float_relevance_and_no_gradient():
    a, b = ranking_loss(S, Y.astype(float)), ranking_loss(S, Y, return_grad=False)
    assert a.loss == b.loss
    assert b.grad is None


@pytest.mark.parametrize("loss", LOSSES)
def test_on_the_simulated_gpu(loss):
    scores, relevance = lists(np.random.default_rng(6), most=2)
    mask = np.arange(17) < np.arange(5, 14)[:, None]
    expected = ranking_loss(scores, relevance, loss=loss, mask=mask)
    with simulated_gpu() as xp:
        result = ranking_loss(
            xp.asarray(scores), xp.asarray(relevance), loss=loss, mask=xp.asarray(mask)
        )
        np.testing.assert_allclose(result.grad.get(), expected.grad, rtol=0, atol=1e-14)
        flat = ranking_loss(
            xp.asarray(scores[mask]), xp.asarray(relevance[mask]), mask.sum(1), loss=loss
        )
        np.testing.assert_allclose(flat.grad.get(), expected.grad[mask], rtol=0, atol=1e-14)


def test_any_number_of_threads():
    rng, before, results = np.random.default_rng(7), numcore.get_num_threads(), []
    scores, relevance = lists(rng, 200, 30)
    try:
        for n in (1, 3):
            numcore.set_num_threads(n)
            results.append(ranking_loss(scores, relevance, loss="lambdarank"))
    finally:
        numcore.set_num_threads(before)
    assert results[0].loss == results[1].loss
    np.testing.assert_array_equal(results[0].grad, results[1].grad)


def test_memory_is_that_of_the_lists():
    rng = np.random.default_rng(8)
    scores, relevance = (
        rng.standard_normal((2000, 200)).astype(np.float32),
        rng.integers(0, 2, (2000, 200)).astype(np.float32),
    )
    ranking_loss(scores[:2], relevance[:2], loss="lambdarank")
    tracemalloc.start()
    ranking_loss(scores, relevance, loss="lambdarank")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < 4 * scores.nbytes
    )  # gradient, second derivatives, ranks, and less than as much again for the checks


# --- bad input ------------------------------------------------------------------------------------


BAD = [
    ({"relevance": -Y}, ValueError, "relevance must be >= 0 (got -2.0)"),
    ({"relevance": np.full((1, 4), np.nan)}, ValueError, "relevance must be finite"),
    (
        {"relevance": np.full((1, 4), 32), "loss": "lambdarank"},
        ValueError,
        "relevance must be <= 31 (got 32.0)",
    ),
    ({"relevance": Y, "loss": "pointwise"}, ValueError, "relevance must be <= 1 (got 2.0)"),
    ({"relevance": 0 * Y}, ValueError, "relevance must be above 0 somewhere"),
    ({"relevance": Y.astype(np.float32)}, TypeError, "relevance must have dtype"),
    ({"scores": np.full((1, 4), np.nan)}, ValueError, "scores must be finite"),
    ({"scores": np.full((1, 4), np.inf)}, ValueError, "scores must be finite"),
    ({"scores": np.zeros((1, 3))}, ValueError, "relevance must have the shape of scores"),
    ({"k": 0}, ValueError, "k must be >= 1 (got 0)"),
    ({"sigma": 0.0}, ValueError, "sigma must be > 0 (got 0.0)"),
    ({"mask": np.ones((1, 4))}, TypeError, "mask must have dtype bool"),
    ({"mask": np.ones((1, 3), bool)}, ValueError, "mask must have the shape of scores"),
    ({"groups": np.array([4])}, ValueError, "scores must have shape (Q, D), or (n,) with groups"),
]
FLAT = {"scores": S[0], "relevance": Y[0]}
BAD += [
    (FLAT | {"groups": np.array(groups)}, kind, message)
    for groups, kind, message in (
        ([2, 1], ValueError, "groups must be >= 1 and sum to the number of scores, 4"),
        ([4, 0], ValueError, "groups must be >= 1 and sum to the number of scores, 4"),
        ([4.0], TypeError, "groups must have dtype integers"),
    )
]


@pytest.mark.parametrize("options, kind, message", BAD)
def test_bad_input(options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        ranking_loss(**{"scores": S, "relevance": Y} | options)
