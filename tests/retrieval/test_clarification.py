"""Clarification questions: hashing word by word, gradients and lazy steps by hand, learning,
devices, interruptions, bad input."""

import itertools
import pickle
import re

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval.clarification import hashed
from numcore.model import NotFittedError
from numcore.retrieval import (
    ClarificationRanker,
    hash_features,
    ranking_loss,
    ranking_metrics,
)
from numcore.retrieval._clarification.kernels import lazy_adam_rows
from numcore.retrieval._clarification.ranker import BETA1, BETA2, EPS
from numcore.testing import simulated_gpu


def texts(rng, count=60, classes=4):
    """Queries whose words depend on the question that would help, two words out of five of them."""
    labels = rng.integers(0, classes, count)
    words = [
        np.concatenate(
            [10 * c + rng.integers(0, 5, 2), 100 + rng.integers(0, 50, rng.integers(0, 4))]
        )
        for c in labels
    ]
    relevance = np.zeros((count, classes), int)
    relevance[np.arange(count), labels] = 1
    return *hash_features(
        np.concatenate(words), np.cumsum([0, *map(len, words)]), n_buckets=512
    ), relevance


def small(**options):
    return ClarificationRanker(
        **{"dim": 8, "hidden": 6, "n_buckets": 512, "batch_size": 16, "n_epochs": 20, "rng": 0}
        | options
    )


# --- hashing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ngrams", [(1, 2), (2,), (3, 1), (1, 1)])
def test_hashing_word_by_word(ngrams):
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 2**32, n).tolist() for n in (3, 0, 1, 7, 2, 0)]
    flat, starts = (
        np.array([word for text in words for word in text]),
        np.cumsum([0, *map(len, words)]),
    )
    indices, offsets = hash_features(flat, starts, n_buckets=97, ngrams=ngrams, salt=2**32 - 1)
    expected = hashed(words, 97, ngrams, 2**32 - 1)
    assert [indices[a:b].tolist() for a, b in itertools.pairwise(offsets)] == expected
    assert indices.dtype == offsets.dtype == np.int64


def test_hashes_are_spread():
    indices, _ = hash_features(np.arange(20000), np.array([0, 20000]), n_buckets=100, ngrams=(1,))
    counts = np.bincount(indices, minlength=100)
    assert (
        (counts - 200) ** 2 / 200
    ).sum() < 160  # chi square of 99 degrees of freedom: more has a probability of 1e-4


def test_the_salt_counts():
    a, b = (hash_features(np.arange(100), np.array([0, 100]), salt=salt)[0] for salt in (0, 1))
    assert (a == b).mean() < 0.1


@pytest.mark.parametrize(
    "options, kind, message",
    [
        ({"values": np.array([-1, 0, 0])}, ValueError, "values must be in [0, 4294967295]"),
        (
            {"offsets": np.array([0, 2, 2])},
            ValueError,
            "ascend from 0 to 3 (got 0 … 2)",
        ),
        ({"offsets": np.array([0, 3, 2, 3])}, ValueError, "offsets must ascend"),
        ({"offsets": np.array([], int)}, ValueError, "offsets must have shape (n_texts+1,)"),
        ({"n_buckets": 0}, ValueError, "n_buckets must be in [1, 2147483647]"),
        ({"ngrams": (0,)}, ValueError, "ngrams[0] must be >= 1"),
        ({"ngrams": 2}, TypeError, "ngrams must be a list or tuple"),
        ({"salt": -1}, ValueError, "salt must be in"),
    ],
)
def test_bad_input_of_hashing(options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        hash_features(**{"values": np.array([1, 2, 3]), "offsets": np.array([0, 2, 3])} | options)


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", ["listnet", "ranknet", "hinge", "pointwise"]
)  # LambdaRank is the gradient of no loss
def test_one_step_is_that_of_the_gradient(loss):
    """The first step of Adam goes by the learning rate against the sign of every gradient, taken
    here by finite differences."""
    indices, offsets, relevance = texts(np.random.default_rng(1), 12)
    ranker = small(loss=loss, n_epochs=1, batch_size=12, learning_rate=1e-12).fit(
        indices, offsets, relevance
    )
    start = {name: p.astype(np.float64) for name, p in ranker.params_.items()}
    stepped = (
        small(loss=loss, n_epochs=1, batch_size=12, learning_rate=1e-2)
        .fit(indices, offsets, relevance)
        .params_
    )

    def value(params):
        mean = np.array(
            [params["table"][indices[a:b]].mean(0) for a, b in itertools.pairwise(offsets)]
        )
        h = mean + np.maximum(mean @ params["w1"] + params["b1"], 0) @ params["w2"] + params["b2"]
        return ranking_loss(h @ params["questions"].T, relevance, loss=loss).loss

    rng = np.random.default_rng(2)
    for name, p in start.items():
        moved = stepped[name] - p
        for _ in range(12):
            at = tuple(rng.integers(0, n) for n in p.shape)
            if name == "table":
                at = (int(rng.choice(indices)), at[1])
            high, low = ({k: v.copy() for k, v in start.items()} for _ in range(2))
            high[name][at] += 1e-6
            low[name][at] -= 1e-6
            slope = (value(high) - value(low)) / 2e-6
            if abs(slope) > 1e-4:  # below, eps and float32 count
                assert abs(moved[at] + 1e-2 * np.sign(slope)) < 1e-4, (name, at)


def test_rows_that_no_batch_touches_stay():
    indices, offsets, relevance = texts(np.random.default_rng(3))
    before = (
        small(n_epochs=1, learning_rate=1e-30).fit(indices, offsets, relevance).params_["table"]
    )
    after = small(n_epochs=3).fit(indices, offsets, relevance).params_["table"]
    touched = np.zeros(512, bool)
    touched[indices] = True
    np.testing.assert_array_equal(after[~touched], before[~touched])
    assert (after[touched] != before[touched]).any(1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lazy_steps_by_hand(dtype):
    rng = np.random.default_rng(4)
    table, m, s = rng.standard_normal((3, 9, 5)).astype(dtype)
    s = abs(s)
    weights, grad = rng.random(4).astype(dtype), rng.standard_normal((4, 5)).astype(dtype)
    places = {2: [0, 3, 3], 7: [1]}  # bags of every row's places
    expected = table.astype(np.float64), m.astype(np.float64), s.astype(np.float64)
    for row, bags in places.items():
        g = sum(weights[b] * grad[b].astype(np.float64) for b in bags)
        expected[1][row] = BETA1 * expected[1][row] + (1 - BETA1) * g
        expected[2][row] = BETA2 * expected[2][row] + (1 - BETA2) * g**2
        expected[0][row] -= 0.01 * expected[1][row] / (np.sqrt(expected[2][row]) + EPS)
    lazy_adam_rows(
        np.array([2, 7]),
        np.array([0, 3, 4]),
        np.array([0, 3, 3, 1]),
        weights,
        grad,
        table,
        m,
        s,
        BETA1,
        BETA2,
        0.01,
        EPS,
    )
    for got, want in zip((table, m, s), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 if dtype == np.float32 else 1e-14)


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["listnet", "ranknet", "lambdarank", "hinge", "pointwise"])
def test_it_learns(loss):
    rng = np.random.default_rng(5)
    train, held_out = texts(rng, 200), texts(rng, 100)
    ranker = small(loss=loss).fit(*train)
    assert ranker.loss_curve_[-1] < 0.3 * ranker.loss_curve_[0]
    scores = ranker.decision_function(*held_out[:2])
    assert scores.dtype == np.float32
    assert (
        ranking_metrics(scores, held_out[2], metrics=("hit@1",))["hit@1"].mean() > 0.9
    )  # one in four by chance
    ids, best = ranker.recommend(*held_out[:2], n=2)
    np.testing.assert_array_equal(ids, np.argsort(-scores, axis=1, kind="stable")[:, :2])
    np.testing.assert_allclose(best, np.take_along_axis(scores, ids, 1), rtol=1e-5, atol=1e-5)


def test_features_of_questions_and_dropout():
    data = texts(np.random.default_rng(6), 200)
    ranker = small(dropout=0.2).fit(*data, question_features=np.eye(4, 3))
    assert ranker.params_["features"].shape == (3, 8)
    assert ranker.loss_curve_[-1] < 0.3 * ranker.loss_curve_[0]


def test_queries_without_words_or_questions():
    indices, offsets, relevance = texts(np.random.default_rng(7))
    ranker = small().fit(indices, offsets, relevance)
    scores = ranker.decision_function(np.zeros(0, int), np.array([0, 0]))
    params = ranker.params_
    prior = (np.maximum(params["b1"], 0) @ params["w2"] + params["b2"]) @ params["questions"].T
    np.testing.assert_allclose(scores[0], prior, rtol=1e-5, atol=1e-6)
    assert ranker.decision_function(np.zeros(0, int), np.array([0])).shape == (0, 4)
    more = np.vstack([relevance, np.zeros((1, 4), int)])
    longer = small().fit(indices, np.append(offsets, offsets[-1]), more)
    assert longer.loss_curve_ == ranker.loss_curve_  # a query without a question to ask is left out


def test_the_same_at_any_number_of_threads():
    data, before, results = texts(np.random.default_rng(8)), numcore.get_num_threads(), []
    try:
        for n in (1, 3):
            numcore.set_num_threads(n)
            results.append(small(dropout=0.1).fit(*data).params_)
    finally:
        numcore.set_num_threads(before)
    for name, p in results[0].items():
        np.testing.assert_array_equal(p, results[1][name])


def test_on_the_simulated_gpu():
    indices, offsets, relevance = texts(np.random.default_rng(9), 20)
    expected = small(n_epochs=2).fit(indices, offsets, relevance)
    with simulated_gpu() as xp:
        on_gpu = [xp.asarray(a) for a in (indices, offsets, relevance)]
        ranker = small(n_epochs=2).fit(*on_gpu)
        np.testing.assert_allclose(ranker.loss_curve_, expected.loss_curve_, rtol=1e-5)
        scores = ranker.decision_function(*on_gpu[:2]).get()
        with pytest.raises(TypeError, match="one device"):
            ranker.decision_function(indices, offsets)
    np.testing.assert_allclose(scores, expected.decision_function(indices, offsets), atol=1e-4)


def test_read_only_arrays_stay_as_they_are():
    data = texts(np.random.default_rng(10))
    for array in data:
        array.flags.writeable = False
    small(n_epochs=1).fit(*data).recommend(*data[:2])


def test_callbacks_end_training_and_interruptions_leave_it():
    data, seen = texts(np.random.default_rng(11)), []
    ranker = small().fit(
        *data, callback=lambda epoch, loss: seen.append((epoch, loss)) or epoch == 2
    )
    assert [loss for _, loss in seen] == ranker.loss_curve_
    assert len(seen) == 3

    def interrupt(epoch, loss):
        raise KeyboardInterrupt

    params = ranker.params_
    with pytest.raises(KeyboardInterrupt):
        ranker.fit(*data, callback=interrupt)
    assert ranker.params_ is params


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (
            {"query_values": np.array([512])},
            ValueError,
            "query_values must be in [0, 511] (got 512 … 512)",
        ),
        ({"query_values": np.array([0.5])}, TypeError, "query_values must have dtype integers"),
        ({"query_offsets": np.array([0, 2])}, ValueError, "query_offsets must be in [0, 1]"),
        ({"query_offsets": np.array([1, 0])}, ValueError, "query_offsets must ascend"),
        ({"relevance": np.array([[0, 0]])}, ValueError, "relevance must be above 0 somewhere"),
        ({"relevance": np.array([[-1, 1]])}, ValueError, "relevance must be >= 0 (got -1.0)"),
        ({"relevance": np.array([[np.nan, 1]])}, ValueError, "relevance must be finite"),
        (
            {"relevance": np.array([[1, 0], [0, 1]])},
            ValueError,
            "relevance must have shape (n_queries, n_questions) with n_queries = 1",
        ),
        (
            {"question_features": np.ones((3, 2))},
            ValueError,
            "question_features must have shape (n_questions, n_features) with n_questions = 2",
        ),
        (
            {"question_features": np.full((2, 2), np.inf)},
            ValueError,
            "question_features must be finite",
        ),
        ({"callback": 3}, TypeError, "callback must be callable"),
        ({"progress": 3}, TypeError, "progress must be True or False"),
    ],
)
def test_bad_data(change, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        small().fit(
            **{
                "query_values": np.array([3]),
                "query_offsets": np.array([0, 1]),
                "relevance": np.array([[1, 0]]),
            }
            | change
        )


def test_fit_comes_first():
    with pytest.raises(NotFittedError, match="ClarificationRanker must be fitted"):
        small().recommend(np.array([1]), np.array([0, 1]))


def test_as_many_recommendations_as_questions():
    ranker = small(n_epochs=1).fit(np.array([3]), np.array([0, 1]), np.array([[1, 0]]))
    with pytest.raises(ValueError, match="n must be <= 2"):
        ranker.recommend(np.array([3]), np.array([0, 1]), n=3)


def test_copies_and_parameters():
    base = pytest.importorskip("sklearn.base")
    train = texts(np.random.default_rng(12))
    ranker = small().fit(*train)
    again = pickle.loads(pickle.dumps(ranker))
    scores = ranker.decision_function(*train[:2])
    np.testing.assert_array_equal(again.decision_function(*train[:2]), scores)
    twin = base.clone(ranker).set_params(loss="ranknet")
    assert twin.get_params()["loss"] == "ranknet" and ranker.loss == "listnet"
    np.testing.assert_array_equal(
        base.clone(ranker).fit(*train).decision_function(*train[:2]), scores
    )
