"""The cosine adapter, thresholds and isotonic maps against loops, scikit-learn, a simulation, and
what must be refused."""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import cosine_adapter as naive
from numcore.model import NotFittedError
from numcore.retrieval import (
    CosineAdapter,
    choose_threshold,
    filter_by_score,
    filtering_curve,
    isotonic_adapter,
    ranking_metrics,
)
from numcore.retrieval._cosine_adapter.kernels import MAPPINGS, adapter_loss
from numcore.retrieval._cosine_adapter.training import Results, Training, network
from numcore.testing import simulated_gpu


def simulated(rng, nq, constant=False, w=None):
    """Queries whose relevant results have cosines around 0.12 above a level of their own, the
    others 0.12 below."""
    q = rng.standard_normal((nq, 16))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    tau = np.full(nq, 0.5) if constant else 0.5 + 0.25 * np.tanh(4 * q @ w)
    relevance = rng.random((nq, 50)) < 0.2
    cosines = tau[:, None] + np.where(relevance, 0.12, -0.12) + 0.06 * rng.standard_normal((nq, 50))
    return q, np.minimum(cosines, 1), relevance.astype(float), tau


def small(rng, dtype=np.float64, nq=40, c=9):
    q = rng.standard_normal((nq, 4)).astype(dtype)
    relevance = (rng.random((nq, c)) < 0.4).astype(dtype)
    x = np.clip(
        0.2 * q[:, :1] + 0.4 * relevance + 0.2 * rng.standard_normal((nq, c)), -1, 1
    ).astype(dtype)
    return q, x, relevance


def trained(mapping, dtype=np.float64, **options):
    data = small(np.random.default_rng(0), dtype)
    return CosineAdapter(
        mapping=mapping,
        hidden=(8,),
        n_epochs=4,
        learning_rate=0.02,
        batch_size=16,
        rng=0,
        **options,
    ).fit(*data), data


# --- the map and its gradients --------------------------------------------------------------------


def losses(raw, x, y, mapping, pos_weight=1.0):
    value, grad = np.empty(len(raw)), np.empty_like(raw)
    at = np.arange(len(raw) + 1) * x.shape[1]
    adapter_loss(
        raw,
        at[:-1].copy(),
        at[1:].copy(),
        x.ravel(),
        y.ravel(),
        value,
        grad,
        MAPPINGS.index(mapping),
        pos_weight,
    )
    return value, grad


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("pos_weight", [1.0, 2.5])
def test_losses_and_gradients(mapping, pos_weight):
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((5, 3 if mapping in ("power", "quadratic") else 2))
    x, y = rng.uniform(-1, 1, (5, 300)), rng.random((5, 300))
    x[:, 0], x[:, 1], y[:, 2], y[:, 3] = -1, 1, 0, 1
    value, grad = losses(raw, x, y, mapping, pos_weight)
    np.testing.assert_allclose(
        value,
        [naive.loss(mapping, *row, pos_weight) for row in zip(raw, x, y, strict=True)],
        rtol=1e-12,
    )
    for p in range(raw.shape[1]):
        step = np.zeros_like(raw)
        step[:, p] = 1e-5
        difference = (
            losses(raw + step, x, y, mapping, pos_weight)[0]
            - losses(raw - step, x, y, mapping, pos_weight)[0]
        ) / 2e-5
        np.testing.assert_allclose(
            grad[:, p], difference, atol=1e-9
        )  # of the order of step² and of eps / step


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("edge", [-1.0, 1.0])
def test_gradients_at_the_ends(mapping, edge):
    raw = np.array([[0.3, -0.4, 0.2]])[:, : 3 if mapping in ("power", "quadratic") else 2].copy()
    x, y = np.full((1, 3), edge), np.array([[0.0, 1.0, 1.0]])
    grad = losses(raw, x, y, mapping)[1]
    for p in range(raw.shape[1]):
        step = np.zeros_like(raw)
        step[:, p] = 1e-5
        difference = (
            losses(raw + step, x, y, mapping)[0] - losses(raw - step, x, y, mapping)[0]
        ) / 2e-5
        np.testing.assert_allclose(grad[:, p], difference, atol=1e-9)


def test_large_logits_do_not_overflow():
    value, grad = losses(
        np.array([[800.0, -3.0], [800.0, -2000.0]]),
        np.array([[-1.0, 1.0]] * 2),
        np.array([[1.0, 0.0]] * 2),
        "linear",
    )
    np.testing.assert_allclose(value, [(803 + 797) / 2, (2800 + 0) / 2])
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_after_training_against_a_loop(mapping, dtype):
    adapter, (q, x, y) = trained(mapping, dtype, validation_fraction=0)
    assert adapter.weights_[0].dtype == dtype
    scores = adapter.transform(q, x)
    assert scores.dtype == dtype
    raw = network(np, adapter.weights_, q)[0].astype(float)
    expected = [
        [naive.score(mapping, r, v) for v in row]
        for r, row in zip(raw, x.astype(float), strict=True)
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert adapter.loss_curve_[-1] < adapter.loss_curve_[0]


def test_the_whole_gradient_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    q, x, y = small(rng)
    adapter = CosineAdapter(hidden=(6, 5), n_epochs=0, rng=0).fit(q, x, y)
    adapter.weights_[-2][:] = rng.standard_normal(adapter.weights_[-2].shape)
    before = [w.copy() for w in adapter.weights_]
    weights = [torch.tensor(w, requires_grad=True) for w in before]
    optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1)
    h = torch.tensor(q)
    for layer in range(3):
        h = h @ weights[2 * layer] + weights[2 * layer + 1]
        h = torch.relu(h) if layer < 2 else h
    softplus = torch.nn.functional.softplus
    z = softplus(h[:, :1]) * ((1 + torch.tensor(x)) / 2) ** (softplus(h[:, 2:]) + 0.05) + h[:, 1:2]
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(y)).backward()
    optimizer.step()
    from numcore.nn import Adam

    at = np.arange(len(q) + 1) * x.shape[1]
    adapter.set_params(batch_size=len(q))
    data = Results(np, q, x.ravel(), y.ravel(), at)
    Training(data, adapter.weights_, adapter._options(), None).epoch(
        np.arange(len(q)),
        Adam(adapter.weights_, learning_rate=0.01, weight_decay=0.1),
    )
    for ours, theirs in zip(adapter.weights_, weights, strict=True):
        np.testing.assert_allclose(
            ours, theirs.detach().numpy(), atol=1e-8
        )  # a step of Adam divides by gradients that may be tiny


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_ranking_of_a_query_never_changes(mapping):
    adapter, (q, x, y) = trained(mapping)
    x = np.sort(np.random.default_rng(5).uniform(-1.0009, 1.0009, (40, 200)), axis=1)
    x[:, 0], x[:, -1] = -1, 1
    x.sort(axis=1)
    scores = adapter.transform(q, x)
    assert (np.diff(scores, axis=1) >= 0).all()
    assert ((scores > 0) & (scores < 1)).all()
    relevance = np.random.default_rng(6).integers(0, 2, x.shape)
    before, after = (
        ranking_metrics(s[:, 20:-20], relevance[:, 20:-20], metrics=("ndcg", "mrr"))
        for s in (x, scores)
    )
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize("mapping", ["linear", "power", "quadratic"])
def test_equal_queries_get_platt_scaling(mapping):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    _, x, y = small(np.random.default_rng(7), nq=300)
    adapter = CosineAdapter(mapping=mapping, n_epochs=0, rng=0).fit(np.ones((300, 3)), x, y)
    u = (1 + x.reshape(-1, 1)) / 2
    expected = log_loss(
        y.ravel(),
        LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(u, y.ravel()).predict_proba(u),
    )
    assert abs(log_loss(y.ravel(), adapter.transform(np.ones((300, 3)), x).ravel()) - expected) < (
        1e-4 if mapping != "quadratic" else 1e-3
    )


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_cutoff_inverts_the_map(mapping):
    adapter, (q, *_) = trained(mapping)
    for threshold in (0.1, 0.35, 0.6, 0.9):
        cutoff = adapter.cosine_cutoff(q, threshold)
        inside = np.isfinite(cutoff)
        assert ((cutoff[inside] >= -1) & (cutoff[inside] <= 1)).all()
        at = adapter.transform(q, np.where(inside, cutoff, 0)[:, None])[:, 0]
        assert np.abs(at - threshold)[inside].max(initial=0) < 1e-6
        least, most = (
            adapter.transform(q, np.full((len(q), 1), edge))[:, 0] for edge in (-1.0, 1.0)
        )
        assert (least[cutoff == -np.inf] >= threshold).all()
        assert (most[cutoff == np.inf] < threshold).all()
    assert np.isfinite(adapter.cosine_cutoff(q, 0.35)).any()
    assert (adapter.cosine_cutoff(q, 0.0) == -np.inf).all()
    assert (adapter.cosine_cutoff(q, 1.0) == np.inf).all()


@pytest.fixture(scope="module")
def simulation():
    rng = np.random.default_rng(0)
    w = rng.standard_normal(16)
    return simulated(rng, 1500, w=w), simulated(rng, 500, w=w)


def test_precision_at_recall_in_a_simulation(simulation):
    (q, x, y, _), (q_test, x_test, y_test, tau) = simulation
    adapter = CosineAdapter(
        mapping="linear",
        hidden=(32,),
        n_epochs=400,
        batch_size=1500,
        learning_rate=1e-2,
        validation_fraction=0,
        rng=0,
    )
    scores = adapter.fit(q, x, y).transform(q_test, x_test)
    for recall, raw, adapted in ((0.8, 0.336, 0.994), (0.9, 0.318, 0.982), (0.95, 0.303, 0.951)):
        found, before, oracle = (
            choose_threshold(s, y_test, min_recall=recall).precision
            for s in (scores, x_test, x_test - tau[:, None])
        )
        assert found > adapted - 0.03, recall  # other random queries
        assert found > oracle - 0.04
        assert abs(before - raw) < 0.1


def test_nothing_is_gained_where_all_queries_are_alike():
    rng = np.random.default_rng(1)
    (q, x, y, _), (q_test, x_test, y_test, _) = (
        simulated(rng, 800, constant=True),
        simulated(rng, 300, constant=True),
    )
    scores = (
        CosineAdapter(mapping="linear", hidden=(16,), n_epochs=30, rng=0)
        .fit(q, x, y)
        .transform(q_test, x_test)
    )
    for recall in (0.8, 0.9, 0.95):
        raw, adapted = (
            choose_threshold(s, y_test, min_recall=recall).precision for s in (x_test, scores)
        )
        assert abs(raw - adapted) < 0.01


# --- training -------------------------------------------------------------------------------------


def test_ragged_lists_are_dense_ones():
    q, x, y = small(np.random.default_rng(8))
    at = np.arange(41) * 9
    options = {"mapping": "power", "hidden": (8,), "n_epochs": 3, "dropout": 0.2, "rng": 4}
    dense, ragged = (
        CosineAdapter(**options).fit(q, x, y),
        CosineAdapter(**options).fit(q, x.ravel(), y.ravel(), offsets=at),
    )
    assert dense.loss_curve_ == ragged.loss_curve_
    np.testing.assert_array_equal(
        dense.transform(q, x).ravel(), ragged.transform(q, x.ravel(), offsets=at)
    )
    empty = ragged.transform(q[:3], x[0, :4], offsets=[0, 4, 4, 4])
    np.testing.assert_array_equal(empty, dense.transform(q[:1], x[:1, :4])[0])
    assert dense.transform(q[:0], x[:0]).shape == (0, 9)


def test_the_best_weights_are_kept_and_training_stops():
    q, x, y = small(np.random.default_rng(9), nq=60)
    seen = []
    adapter = CosineAdapter(
        hidden=(32, 16),
        learning_rate=0.3,
        n_epochs=300,
        patience=3,
        validation_fraction=0.3,
        rng=0,
    )
    adapter.fit(q, x, y, callback=lambda epoch, loss: seen.append((epoch, loss)))
    assert len(adapter.loss_curve_) == len(adapter.validation_curve_) == len(seen) < 300
    assert (
        min(adapter.validation_curve_[-3:]) >= min(adapter.validation_curve_[:-3], default=np.inf)
        or len(seen) == 3
    )
    stopped = CosineAdapter(n_epochs=50, rng=0).fit(
        q, x, y, callback=lambda epoch, loss: epoch == 1
    )
    assert len(stopped.loss_curve_) == 2


def test_the_same_seed_and_any_number_of_threads_give_the_same_bits():
    q, x, y = small(np.random.default_rng(10), nq=100, c=40)
    before, results = numcore.get_num_threads(), []
    try:
        for threads in (1, 4):
            numcore.set_num_threads(threads)
            results.append(
                CosineAdapter(n_epochs=2, dropout=0.1, rng=3).fit(q, x, y).transform(q, x)
            )
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("mapping", ["power", "quadratic"])
def test_on_the_gpu(mapping):
    q, x, y = small(np.random.default_rng(11), nq=20)
    options = {"mapping": mapping, "hidden": (4,), "n_epochs": 2, "rng": 0}
    cpu = CosineAdapter(**options).fit(q, x, y)
    with simulated_gpu() as xp:
        gpu = CosineAdapter(**options).fit(xp.asarray(q), xp.asarray(x), xp.asarray(y))
        np.testing.assert_allclose(
            gpu.transform(xp.asarray(q), xp.asarray(x)).get(), cpu.transform(q, x), rtol=1e-8
        )
        np.testing.assert_allclose(
            gpu.cosine_cutoff(xp.asarray(q), 0.4).get(), cpu.cosine_cutoff(q, 0.4), rtol=1e-8
        )
        with pytest.raises(TypeError, match="one device"):
            gpu.transform(q, x)


def test_inputs_stay_as_they_are_and_may_be_read_only():
    arrays = small(np.random.default_rng(12))
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    strided = [np.repeat(a, 2, axis=1)[:, ::2] for a in arrays]
    a, b = (
        CosineAdapter(n_epochs=1, rng=0).fit(*data).transform(*data[:2])
        for data in (arrays, strided)
    )
    np.testing.assert_array_equal(a, b)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_scores_take_no_memory_beside_the_result():
    rng = np.random.default_rng(13)
    adapter, _ = trained("power", np.float32)
    q, x = (
        rng.standard_normal((2000, 4)).astype(np.float32),
        rng.uniform(-1, 1, (2000, 1000)).astype(np.float32),
    )
    adapter.transform(q, x)
    tracemalloc.start()
    adapter.transform(q, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * x.nbytes  # the network's rows are few beside 1000 results


def test_digits_of_raised_precision():
    from sklearn.datasets import load_digits

    digits = load_digits()
    z = digits.data / np.linalg.norm(digits.data, axis=1, keepdims=True)
    documents, train, test = np.arange(0, 1797, 3), np.arange(1, 1797, 3), np.arange(2, 1797, 3)
    x, y = (
        np.minimum(z @ z[documents].T, 1),
        (digits.target[:, None] == digits.target[documents]).astype(float),
    )
    adapter = CosineAdapter(n_epochs=40, learning_rate=1e-2, rng=0).fit(
        z[train], x[train], y[train]
    )
    scores = adapter.transform(z[test], x[test])
    for recall in (0.8, 0.9):
        raw, adapted = (
            choose_threshold(s, y[test], min_recall=recall).precision for s in (x[test], scores)
        )
        assert adapted > raw + 0.03


# --- thresholds -----------------------------------------------------------------------------------


def test_chosen_thresholds_against_a_loop():
    rng = np.random.default_rng(0)
    scores, relevance = rng.random(200), rng.integers(0, 2, 200)
    for recall in (0.2, 0.5, 0.99, 1.0):
        choice = choose_threshold(scores, relevance, min_recall=recall)
        assert choice.precision == naive.choice(scores, relevance, recall)[1]
        assert choice.recall >= recall
    choice = choose_threshold(
        np.array([0.9, 0.8, 0.8, 0.3, 0.2]), [1, 1, 0, 1, 0], min_precision=0.7
    )
    assert choice[:3] == (0.3, 0.75, 1.0)
    assert (
        choose_threshold(np.array([0.9, 0.8, 0.8]), [1, 1, 0], min_recall=0.6).threshold == 0.8
    )  # ties are one step


def test_curves_over_queries_against_a_loop():
    rng = np.random.default_rng(1)
    offsets = np.array([0, 3, 3, 10, 16, 30])
    scores, relevance = rng.integers(0, 9, 30) / 9, rng.integers(0, 2, 30)
    relevance[10:16] = 0
    curve = filtering_curve(scores, relevance, offsets=offsets)
    for i, t in enumerate(curve.thresholds):
        lists = [(scores[a:b] >= t, relevance[a:b]) for a, b in itertools.pairwise(offsets)]
        np.testing.assert_allclose(
            curve.precision[i], np.mean([r[k].mean() for k, r in lists if k.any()]), rtol=1e-13
        )
        np.testing.assert_allclose(
            curve.recall[i],
            np.mean([r[k].sum() / r.sum() for k, r in lists if r.sum()]),
            rtol=1e-13,
        )
        np.testing.assert_allclose(
            curve.mean_kept[i], np.mean([k.sum() for k, _ in lists]), rtol=1e-13
        )
    assert filter_by_score(scores, 0.5, offsets=offsets).n_kept.tolist() == [
        int((scores[a:b] >= 0.5).sum()) for a, b in itertools.pairwise(offsets)
    ]


def test_isotonic_maps_are_those_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(2)
    x, y = rng.integers(-50, 51, 500) / 50, rng.random(500)
    y[x > 0.3] += 0.2
    y = np.minimum(y, 1)
    ours, theirs = isotonic_adapter(x, y), IsotonicRegression(out_of_bounds="clip").fit(x, y)
    at = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(ours.transform(at), theirs.predict(at), atol=1e-12)


# --- bad input ------------------------------------------------------------------------------------

Q, X, Y = np.eye(2), np.array([[0.5, 0.1], [0.2, 0.3]]), np.array([[1, 0], [0, 1]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: CosineAdapter().fit(Q, X + 1, Y), r"cosines must be in \[-1.001, 1.001\]"),
        (lambda: CosineAdapter().fit(Q, X * np.nan, Y), r"cosines must be in .* .got nan at"),
        (lambda: CosineAdapter().fit(Q, X, Y + 1), r"relevance must be in \[0, 1\]"),
        (
            lambda: CosineAdapter().fit(Q, X, 0 * Y),
            "relevance must not be 0 everywhere or 1 everywhere",
        ),
        (
            lambda: CosineAdapter().fit(Q, X, 0 * Y + 1),
            "relevance must not be 0 everywhere or 1 everywhere",
        ),
        (lambda: CosineAdapter().fit(Q, X, Y[:1]), "relevance must have shape .2, 2. like cosines"),
        (
            lambda: CosineAdapter().fit(np.eye(3), X, Y),
            r"query_embeddings must have shape \(2, d\)",
        ),
        (
            lambda: CosineAdapter().fit(np.inf * np.ones((2, 2)), X, Y),
            "query_embeddings must be finite",
        ),
        (lambda: CosineAdapter().fit(Q, X.ravel(), Y.ravel()), "cosines must have shape"),
        (
            lambda: CosineAdapter().fit(Q, X.ravel(), Y.ravel(), offsets=[0, 3, 2]),
            "offsets must ascend",
        ),
        (
            lambda: CosineAdapter(n_epochs=0).fit(Q, X, Y).transform(np.eye(3), np.zeros((3, 1))),
            r"query_embeddings must have shape \(nq, d\) with d = 2",
        ),
        (
            lambda: CosineAdapter(n_epochs=0).fit(Q, X, Y).cosine_cutoff(Q, 1.5),
            r"threshold must be in \[0, 1\]",
        ),
        (
            lambda: CosineAdapter(n_epochs=0).fit(Q, X, Y).transform(Q, X + 1),
            "cosines must be in",
        ),
        (
            lambda: CosineAdapter(n_epochs=0).fit(Q, X, Y).transform(Q, X * np.nan),
            "cosines must be in",
        ),
        (
            lambda: CosineAdapter(n_epochs=0).fit(Q, X, Y).transform(Q[:1], X),
            "query_embeddings must have shape",
        ),
        (lambda: CosineAdapter(mapping="cubic"), 'mapping must be one of "linear", "sqrt"'),
        (lambda: CosineAdapter(hidden=(0,)), r"hidden\[0\] must be >= 1"),
        (lambda: CosineAdapter(dropout=1.0), r"dropout must be in \[0, 1\)"),
        (lambda: CosineAdapter(pos_weight=0), "pos_weight must be > 0"),
        (lambda: filter_by_score(X, 1.1), r"threshold must be in \[0, 1\]"),
        (lambda: choose_threshold(X, Y), "one of min_recall and min_precision"),
        (
            lambda: choose_threshold(X, Y, min_recall=0.5, min_precision=0.5),
            "one of min_recall and min_precision",
        ),
        (
            lambda: choose_threshold(X, [[0, 1], [1, 1]], min_precision=1.0),
            "min_precision must be reached",
        ),
        (lambda: choose_threshold(X, 0 * Y, min_recall=0.5), "relevance must be above 0"),
        (lambda: filtering_curve(X, 0 * Y), "relevance must be above 0"),
        (
            lambda: isotonic_adapter(np.zeros(0), np.zeros(0)),
            "cosines must have no axis of",
        ),
        (lambda: isotonic_adapter(X, Y).transform(X + 3), "cosines must be in"),
    ],
)
def test_errors_of_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: CosineAdapter().fit(Q.astype(np.float32), X, Y),
            "cosines must have dtype float32 like",
        ),
        (lambda: CosineAdapter().fit(Q.astype(int), X, Y), "query_embeddings must have dtype"),
        (lambda: CosineAdapter().fit(None, X, Y), "query_embeddings must be"),
        (lambda: CosineAdapter(hidden=64), "hidden must be a list or tuple"),
        (lambda: CosineAdapter().fit(Q, X, Y, callback=3), "callback must be callable"),
        (lambda: CosineAdapter().fit(Q, X, Y, progress=1), "progress must be True or False"),
    ],
)
def test_errors_of_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "use",
    [lambda a: a.transform(Q, X), lambda a: a.parameters(Q), lambda a: a.cosine_cutoff(Q, 0.5)],
)
def test_use_before_training(use):
    with pytest.raises(NotFittedError, match="CosineAdapter must be fitted first"):
        use(CosineAdapter())


def test_an_interruption_leaves_the_adapter_as_it_was():
    adapter, data = trained("power")
    before = adapter.weights_

    def interrupt(epoch, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapter.fit(*data, callback=interrupt)
    assert adapter.weights_ is before


def test_copies_and_parameters():
    base = pytest.importorskip("sklearn.base")
    adapter, (q, x, y) = trained("quadratic")
    again = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(again.transform(q, x), adapter.transform(q, x))
    twin = base.clone(adapter)
    assert twin.get_params() == adapter.get_params()
    np.testing.assert_array_equal(twin.fit(q, x, y).transform(q, x), adapter.transform(q, x))
    assert repr(CosineAdapter(mapping="sqrt")) == "CosineAdapter(mapping='sqrt')"
