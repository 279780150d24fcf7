"""Contextual sparsity: known answers, naive versions, selection, decoding with correction, bad
input, memory, threads, simulated GPU."""

import doctest
import itertools
import math
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.nn import contextual_sparsity as naive
from numcore.nn import (
    CorrectedDecode,
    NeuronCache,
    accept_prefix,
    corrected_decode,
    gated_mlp,
    select_neurons,
    sparse_gated_mlp,
)
from numcore.nn._contextual_sparsity import kernels
from numcore.testing import simulated_gpu

TOLERANCE = {
    "float32": 1e-5,
    "float64": 1e-13,
}  # of sums of a few hundred products, relative to the largest result


def layer(m, d, dtype=np.float64, seed=0, tokens=None):
    """w_gate, w_up, w_down, x"""
    rng = np.random.default_rng(seed)
    shapes = (m, d), (m, d), (d, m), (d,) if tokens is None else (tokens, d)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(result, expected, factor=1.0):
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=factor * TOLERANCE[result.dtype.name] * max(scale, 1e-30)
    )


# --- known answers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table_layer():
    """m = 256, d = 64: Wg, Wu ~ N(0, 1)/8, Wd ~ N(0, 1)/16, 100 rows of x ~ N(0, 1), in this order
    from seed 0."""
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((256, 64)) / 8,
        rng.standard_normal((256, 64)) / 8,
        rng.standard_normal((64, 256)) / 16,
        rng.standard_normal((100, 64)),
    )


def hidden(w_gate, w_up, x):
    z = x @ w_gate.T
    return z / (1 + np.exp(np.minimum(-z, 80))) * (x @ w_up.T)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "density, fine, coarse",
    [(0.25, 0.32396, 0.74053), (0.5, 0.19163, 0.54296), (0.75, 0.07425, 0.34883)],
)
def test_errors_on_unstructured_data(table_layer, dtype, density, fine, coarse):
    w_gate, w_up, w_down, x = (a.astype(dtype) for a in table_layer)
    exact = gated_mlp(table_layer[3], *table_layer[:3])

    def error(y):
        return float(np.linalg.norm(y - exact) / np.linalg.norm(exact))

    w_down_t = np.ascontiguousarray(w_down.T)
    together = sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=density)
    alone = np.stack([sparse_gated_mlp(row, w_gate, w_up, w_down_t, density=density) for row in x])
    cache = NeuronCache(w_gate, w_up, w_down)
    cache.select(hidden(w_gate, w_up, x), density=density)
    for y, expected in (
        (together, fine),
        (alone, fine),
        (cache.apply(x), coarse),
        (np.stack([cache.apply(row) for row in x]), coarse),
    ):
        assert y.dtype == dtype
        assert abs(error(y) - expected) < 6e-6  # the digits that are known


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tokens", [1, 4, 5, 40])
def test_density_one_is_the_whole_layer(dtype, tokens):
    w_gate, w_up, w_down, x = layer(300, 70, dtype, tokens=tokens)
    whole = gated_mlp(x, w_gate, w_up, w_down)
    y, kept = sparse_gated_mlp(
        x, w_gate, w_up, np.ascontiguousarray(w_down.T), density=1.0, return_indices=True
    )
    np.testing.assert_allclose(
        y,
        whole,
        rtol=0,
        atol={"float32": 1e-6, "float64": 1e-14}[dtype] * np.linalg.norm(whole, axis=1).max(),
    )
    np.testing.assert_array_equal(kept, np.broadcast_to(np.arange(300), (tokens, 300)))


@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_relu_is_exact_where_all_other_gates_are_zero(tokens):
    w_gate, w_up, w_down, x = layer(200, 16, tokens=tokens)
    active = (x @ w_gate.T > 0).sum(axis=1).max()
    assert active < 150
    y = sparse_gated_mlp(
        x,
        w_gate,
        w_up,
        np.ascontiguousarray(w_down.T),
        density=active / 200 + 1e-9,
        activation="relu",
    )
    assert_close(y, gated_mlp(x, w_gate, w_up, w_down, activation="relu"))


@pytest.mark.parametrize("threshold, accepted", [(0.1, 2), (0, 4), (1, 0), (0.6, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_known_prefixes(threshold, accepted, dtype):
    q = np.array([0.9, 0.5, 0.05, 0.99])
    logits = 0.6 * np.log(np.stack([q, 1 - q], axis=1)).astype(dtype) + 3
    result = accept_prefix(np.zeros(4, int), logits, threshold=threshold)
    assert result == accepted and type(result) is int


@pytest.mark.parametrize(
    "density, advance, effective, published",
    [
        (0.65, 15.22, 0.7063, 0.706),
        (0.76, 15.37, 0.8068, 0.807),
        (0.58, 14.76, 0.6572, 0.657),
        (0.72, 15.66, 0.7535, 0.753),
        (0.65, 14.67, 0.7328, 0.733),
    ],
)
def test_published_effective_densities(density, advance, effective, published):
    """A hundred checks with the mean advance of the table: the whole model rejects one token of
    each, where it is told to."""
    lengths = [int(advance) + (i < round(100 * (advance % 1))) for i in range(100)]
    script = iter(lengths)

    def full_score(state, tokens):
        logits = np.zeros((len(tokens), 2))
        logits[:, 0] = 50.0
        if state is not None and (length := next(script)) < 16:
            logits[length - 1 :] = 0.0, 50.0
        return logits, 0

    result = corrected_decode(
        lambda state, token: (np.array([1.0, 0.0]), state),
        full_score,
        [0],
        max_new_tokens=sum(lengths) + 1,
        sparse_density=density,
        rollback=lambda state, n: state,
    )
    assert (
        result.n_checks == 100
        and result.accepted_lengths.tolist() == lengths
        and result.n_corrections == sum(n < 16 for n in lengths)
    )
    assert abs(result.mean_accepted - advance) < 1e-12
    assert abs(result.effective_density - effective) < 5.1e-5
    assert abs(result.effective_density - published) < 0.52e-3  # 0.75351 is published as 0.753


# --- gated layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_against_neuron_by_neuron(activation, dtype):
    w_gate, w_up, w_down, x = layer(45, 11, dtype, seed=1, tokens=7)
    w_down_t = np.ascontiguousarray(w_down.T)
    expected = np.stack(
        [naive.gated_token(row, w_gate, w_up, w_down_t, activation=activation) for row in x]
    )
    assert_close(gated_mlp(x, w_gate, w_up, w_down, activation=activation), expected)
    cache = NeuronCache(w_gate, w_up, w_down)
    cache.select(hidden(w_gate, w_up, x), density=0.5)
    for rows in (x, x[:2]):
        y, kept = sparse_gated_mlp(
            rows, w_gate, w_up, w_down_t, density=0.5, activation=activation, return_indices=True
        )
        coarse = cache.apply(rows, activation=activation)
        for t, row in enumerate(rows):
            assert kept[t].tolist() == naive.largest(naive.gates(row, w_gate, activation), 22)
            assert_close(
                y[t], naive.gated_token(row, w_gate, w_up, w_down_t, kept[t], activation), 10
            )
            assert_close(
                coarse[t],
                naive.gated_token(row, w_gate, w_up, w_down_t, cache.indices, activation),
                10,
            )


@pytest.mark.parametrize("m, d", [(1, 1), (7, 3), (8, 8), (9, 2048), (129, 2049), (1031, 5)])
@pytest.mark.parametrize("tokens", [1, 4, 6])
def test_awkward_sizes(m, d, tokens):
    w_gate, w_up, w_down, x = layer(m, d, seed=m, tokens=tokens)
    w_down_t = np.ascontiguousarray(w_down.T)
    for k in sorted({1, (m + 1) // 2, m}):
        y, kept = sparse_gated_mlp(
            x, w_gate, w_up, w_down_t, density=(k + 0.5) / m if k < m else 1, return_indices=True
        )
        assert kept.shape == (tokens, k)
        for t in range(tokens):
            assert_close(
                y[t], naive.gated_token(x[t], w_gate, w_up, w_down_t, kept[t]), 100
            )  # single columns may cancel


def test_shapes():
    w_gate, w_up, w_down, _ = layer(12, 5)
    w_down_t = np.ascontiguousarray(w_down.T)
    cache = NeuronCache(w_gate, w_up, w_down)
    cache.select(
        np.ones((0, 12)), density=0.5
    )  # no token: all are equal, the lower indices are kept
    np.testing.assert_array_equal(cache.indices, np.arange(6))
    for shape in ((5,), (1, 5), (0, 5), (2, 3, 5), (2, 0, 5)):
        x = np.ones(shape)
        y, kept = sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.5, return_indices=True)
        assert gated_mlp(x, w_gate, w_up, w_down).shape == y.shape == cache.apply(x).shape == shape
        assert kept.shape == (*shape[:-1], 6) and kept.dtype == np.int64
    empty = np.ones((12, 0))
    assert sparse_gated_mlp(np.ones((2, 0)), empty, empty, empty, density=0.5).shape == (2, 0)


def test_out():
    w_gate, w_up, w_down, x = layer(12, 5, tokens=3)
    wide = np.full((3, 10), np.nan)
    out = wide[:, ::2]
    assert gated_mlp(x, w_gate, w_up, w_down, out=out) is out
    np.testing.assert_array_equal(out, gated_mlp(x, w_gate, w_up, w_down))
    assert np.isnan(wide[:, 1::2]).all()


def test_kept_neurons_do_not_depend_on_the_others():
    """Rows that are not kept are not read."""
    w_gate, w_up, w_down, x = layer(80, 6)
    w_down_t = np.ascontiguousarray(w_down.T)
    y, kept = sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.3, return_indices=True)
    others = np.setdiff1d(np.arange(80), kept)
    w_up[others] = w_down_t[others] = np.nan
    np.testing.assert_array_equal(sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.3), y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_are_found_without_sorting(dtype):
    rng = np.random.default_rng(5)
    big, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    rows = [
        rng.standard_normal(500),
        np.zeros(40),
        np.where(rng.random(300) < 0.5, -0.0, 0.0),
        rng.integers(-2, 3, 301),
        np.array([big, -big, np.inf, -np.inf, np.nan, -np.nan, 0.0, tiny, -tiny, 1.0]),
        np.full(33, 7.0),
        np.array([3.0]),
        1 + np.finfo(dtype).eps * rng.integers(0, 5, 200),
        rng.standard_normal(400) * 10.0 ** rng.integers(-37, 37, 400),
    ]
    for row in rows:
        with np.errstate(over="ignore"):
            row = row.astype(dtype)
        for k in sorted(
            {1, 2, len(row) // 2, len(row) - 1, len(row)} & set(range(1, len(row) + 1))
        ):
            kept = np.full((1, k), -1)
            kernels.select_largest(row[None], kept)
            assert kept[0].tolist() == naive.largest(row.tolist(), k)


def test_results_do_not_depend_on_the_number_of_threads():
    w_gate, w_up, w_down, x = layer(2500, 600, np.float32, tokens=2)
    w_down_t = np.ascontiguousarray(w_down.T)
    cache = NeuronCache(w_gate, w_up, w_down)
    cache.select(hidden(w_gate, w_up, x), density=0.7)
    rng, before, results = np.random.default_rng(0), numcore.get_num_threads(), []
    logits = rng.standard_normal((50, 7001)).astype(np.float32)
    log_q = np.empty(50, np.float32)
    try:
        for threads in (1, 2, 3, 7):
            numcore.set_num_threads(threads)
            kernels.log_probabilities(logits, np.arange(50), log_q, 0.6)
            results.append(
                (
                    sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.6),
                    cache.apply(x),
                    log_q.copy(),
                )
            )
    finally:
        numcore.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 7, 64, 203])
def test_gates_do_not_depend_on_where_a_thread_starts(dtype, d):
    rng = np.random.default_rng(d)
    w, x = rng.standard_normal((100, d)).astype(dtype), rng.standard_normal((2, d)).astype(dtype)

    def gates(rows, activation):
        g = np.empty((2, len(rows)), dtype)
        kernels.gate_rows(np.ascontiguousarray(rows), x, g, activation)
        return g

    for activation in range(4):
        whole = gates(w, activation)
        for start, stop in ((0, 3), (5, 13), (1, 100), (37, 38), (10, 79)):
            np.testing.assert_array_equal(gates(w[start:stop], activation), whole[:, start:stop])


def peak(function):
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_copy_of_the_weights():
    w_gate, w_up, w_down, x = layer(2000, 256)
    w_down_t = np.ascontiguousarray(w_down.T)
    assert (
        peak(lambda: sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.5))
        < 0.05 * w_gate.nbytes
    )


def test_one_compact_copy():
    w_gate, w_up, w_down, x = layer(2000, 256)
    cache, h = NeuronCache(w_gate, w_up, w_down), hidden(w_gate, w_up, x[None])
    tracemalloc.start()
    cache.select(h, density=0.25)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    whole = 3 * w_gate.nbytes
    assert 0.25 * whole <= held < 0.28 * whole
    assert peak(lambda: cache.apply(x)) < 0.02 * whole


# --- selection for a prompt -----------------------------------------------------------------------


def test_selection_by_the_statistic():
    rng = np.random.default_rng(2)
    h = rng.standard_normal((15, 41)) * 10.0 ** rng.integers(-3, 4, (15, 1))
    h[4] = 0
    for scale in (1.0, 1e160, 1e-160):  # squares of these overflow and underflow
        np.testing.assert_array_equal(
            select_neurons(scale * h, density=0.5), naive.largest(naive.statistic(h), 20)
        )


def test_equal_neurons_keep_the_lower_index():
    assert select_neurons(np.ones((3, 9)), density=0.5).tolist() == [0, 1, 2, 3]
    assert select_neurons(np.zeros((3, 9)), density=0.99).tolist() == list(range(8))


def test_sampling_keeps_the_best_half_and_draws_in_proportion():
    h = np.sqrt(
        np.array([[100.0, 90.0, 4.0, 1.0, 0.0]])
    )  # the statistic is in proportion to 10, 9.5, 2, 1, 0
    draws = np.array(
        [select_neurons(h, density=0.6, method="topk_sample", rng=seed) for seed in range(2000)]
    )
    assert (
        draws.shape == (2000, 3)
        and (draws[:, 0] == 0).all()
        and (np.diff(draws) > 0).all()
        and draws.max() == 3
    )
    # k = 3: neuron 0, and two of 1, 2, 3 without replacement
    q = np.array([math.sqrt(90), 2.0, 1.0])
    with_both = {
        (a, b): q[a] / q.sum() * q[b] / (q.sum() - q[a])
        for a, b in itertools.permutations(range(3), 2)
    }
    for j in range(3):
        expected = sum(p for pair, p in with_both.items() if j in pair)
        assert (
            abs((draws == j + 1).any(axis=1).mean() - expected)
            < 4 * math.sqrt(expected * (1 - expected) / 2000) + 1e-9
        )
    np.testing.assert_array_equal(
        select_neurons(h, density=0.6, method="topk_sample", rng=np.random.default_rng(3)),
        select_neurons(h, density=0.6, method="topk_sample", rng=3),
    )
    assert select_neurons(h, density=1.0, method="topk_sample", rng=0).tolist() == [0, 1, 2, 3, 4]
    assert select_neurons(np.zeros((1, 6)), density=0.5, method="topk_sample", rng=0).shape == (3,)


def test_refreshed_statistic():
    w_gate, w_up, w_down, x = layer(30, 8, tokens=12)
    cache, h = NeuronCache(w_gate, w_up, w_down), hidden(w_gate, w_up, x)
    cache.select(h[:7], density=0.4, refresh=True)  # nothing before
    np.testing.assert_allclose(cache.statistic, naive.statistic(h[:7]), rtol=1e-13)
    kept = cache.select(h[7:], density=0.4, refresh=True)
    joint = np.sqrt(naive.statistic(h[:7]) ** 2 + 8 * naive.statistic(h[7:]) ** 2)
    np.testing.assert_allclose(cache.statistic, joint, rtol=1e-13)
    np.testing.assert_array_equal(kept, naive.largest(joint, 12))
    kept[:] = 0  # the caller's own
    np.testing.assert_array_equal(cache.indices, naive.largest(joint, 12))
    cache.select(h[7:], density=0.4)
    np.testing.assert_allclose(cache.statistic, naive.statistic(h[7:]), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cache_on_the_simulated_gpu(dtype):
    w_gate, w_up, w_down, x = layer(90, 12, dtype, tokens=6)
    h = hidden(w_gate, w_up, x)
    here = NeuronCache(w_gate, w_up, w_down)
    for method in ("topk", "topk_sample"):
        here.select(h, density=0.4, method=method, rng=1)
        with simulated_gpu(checked=True) as xp:
            there = NeuronCache(*map(xp.asarray, (w_gate, w_up, w_down)))
            kept = there.select(xp.asarray(h), density=0.4, method=method, rng=1)
            np.testing.assert_array_equal(kept.get(), here.indices)
            for rows in (x[:3], x):
                assert_close(there.apply(xp.asarray(rows)).get(), here.apply(rows))
            with pytest.raises(TypeError, match="x"):
                there.apply(x)
            with pytest.raises(TypeError, match="h"):
                there.select(h, density=0.4)


def test_cache_takes_read_only_and_strided_arrays():
    w_gate, w_up, w_down, x = layer(40, 8, tokens=3)
    h = hidden(w_gate, w_up, x)
    expected = NeuronCache(w_gate, w_up, w_down)
    expected.select(h, density=0.5)
    arrays = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (w_gate, w_up, w_down, h, x)]
    for a in arrays:
        a.flags.writeable = False
    cache = NeuronCache(*arrays[:3])
    np.testing.assert_array_equal(cache.select(arrays[3], density=0.5), expected.indices)
    np.testing.assert_array_equal(cache.apply(arrays[4]), expected.apply(x))


# --- decoding by tables of next tokens ------------------------------------------------------------

VOCAB = 12


def tables(noise, seed=0):
    """A table of logits, and one that differs."""
    rng = np.random.default_rng(seed)
    full = 2 * rng.standard_normal((VOCAB, VOCAB))
    return full + noise * rng.standard_normal((VOCAB, VOCAB)), full


def step_of(table):
    return lambda state, token: (table[token], state)


def score_of(table):
    return lambda state, tokens: (table[tokens], state)


@pytest.mark.parametrize("period", [2, 3, 8, 16])
def test_equal_models_roll_nothing_back(period):
    _, full = tables(0)
    result = corrected_decode(
        step_of(full), score_of(full), [3], max_new_tokens=50, period=period, threshold=0.02
    )
    assert result.tokens.tolist() == naive.greedy(full, [3], 50)
    assert (
        result.n_corrections == 0
        and result.mean_accepted == period
        and (result.accepted_lengths == period).all()
    )
    assert result.n_checks == -(-49 // period) and result.effective_density is None


def test_threshold_one_is_the_whole_models_greedy_decoding():
    sparse, full = tables(2)
    result = corrected_decode(
        step_of(sparse), score_of(full), [1, 2], max_new_tokens=40, threshold=1.0
    )
    assert result.tokens.tolist() == naive.greedy(full, [1, 2], 40)
    assert result.n_checks == result.n_corrections == 39 and result.mean_accepted == 1


def test_threshold_zero_keeps_all_and_every_period_th_token_is_the_whole_models():
    sparse, full = tables(2)
    result = corrected_decode(
        step_of(sparse), score_of(full), [1], max_new_tokens=41, period=5, threshold=0
    )
    assert result.n_corrections == 0 and result.mean_accepted == 5
    before = [1, *result.tokens]
    for i, token in enumerate(result.tokens):
        assert token == np.argmax((full if i % 5 == 0 else sparse)[before[i]])
    assert result.tokens.tolist() != naive.greedy(full, [1], 41)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(
    "period, threshold, width",
    [(2, 0.1, 1), (8, 0.1, 1), (16, 0.05, 1), (8, 0.4, 1), (4, 0.3, 3), (6, 0.2, 8), (3, 0.3, 40)],
)
def test_against_the_naive_decoder(noise, period, threshold, width):
    sparse, full = tables(noise, seed=period)

    def full_score(state, tokens):
        return full[tokens], state

    result = corrected_decode(
        step_of(sparse),
        full_score,
        [4],
        max_new_tokens=60,
        period=period,
        threshold=threshold,
        temperature=0.8,
        tree_width=width,
        sparse_density=0.5,
    )
    tokens, lengths = naive.corrected(sparse, full, [4], 60, period, threshold, 0.8, width)
    assert result.tokens.tolist() == tokens and result.accepted_lengths.tolist() == lengths
    assert result.mean_accepted == np.mean(lengths) and result.n_checks == len(lengths)
    assert result.n_corrections == sum(n < period for n in lengths)
    assert abs(result.effective_density - ((period - 1) * 0.5 + 1) / np.mean(lengths)) < 1e-12


def test_a_wider_tree_advances_further():
    """On average: among few beams the greedy one may be missing."""

    def advance(width):
        return np.mean(
            [
                corrected_decode(
                    step_of(sparse),
                    score_of(full),
                    [0],
                    max_new_tokens=60,
                    period=8,
                    tree_width=width,
                ).mean_accepted
                for sparse, full in (tables(1.0, seed) for seed in range(15))
            ]
        )

    assert advance(1) + 0.3 < advance(4) < advance(8) - 0.3


class History:
    """A model whose logits depend on every token it has read, and which notes which model read it:
    "f" or "s"."""

    def __init__(self, seed=7, noise=1.0):
        self.rng_full, self.noise, self.scored = seed, noise, 0

    def logits(self, history, model):
        rng = np.random.default_rng([self.rng_full, *(token for token, _ in history[-3:])])
        full = 2 * rng.standard_normal(VOCAB)
        sparse_reads = sum(
            reader == "s" for _, reader in history[-3:]
        )  # what the sparse model has read misleads both
        other = np.random.default_rng([1, *(token for token, _ in history[-3:])]).standard_normal(
            VOCAB
        )
        return full + (self.noise * (model == "s") + 0.5 * sparse_reads) * other

    def sparse_step(self, state, token):
        state = (*state, (token, "s"))
        return self.logits(state, "s"), state

    def full_score(self, state, tokens):
        assert all(
            reader == "f" for _, reader in state or ()
        )  # the whole model never builds on what the sparse one has read
        self.scored += 1
        if tokens.ndim == 2:
            rows = [History.full_score(self, state, row) for row in tokens]
            self.scored -= len(rows)
            return np.stack([logits for logits, _ in rows]), [after for _, after in rows]
        state, logits = tuple(state or ()), []
        for token in tokens.tolist():
            state = (*state, (token, "f"))
            logits.append(self.logits(state, "f"))
        return np.array(logits), state


def check_states(states, result, prompt):
    """Every block started from the prompt and the tokens accepted so far, read by the whole
    model."""
    text = [*prompt, *result.tokens.tolist()]
    for state in states:
        assert [token for token, _ in state] == text[: len(state)]


@pytest.mark.parametrize("width", [1, 3])
def test_the_state_holds_what_the_whole_model_has_read(width):
    model, starts = History(), []

    def sparse_step(state, token):
        if all(reader == "f" for _, reader in state):
            starts.append(state)
        return model.sparse_step(state, token)

    result = corrected_decode(
        sparse_step, model.full_score, [1, 2, 3], max_new_tokens=40, period=6, tree_width=width
    )
    assert result.n_corrections > 3 and len(starts) == result.n_checks
    check_states(starts, result, [1, 2, 3])
    again = result.n_corrections if width == 1 else result.n_checks
    assert model.scored == 1 + result.n_checks + again

    def rollback(state, n, branch=None):
        state = state if branch is None else state[branch]
        return state[: len(state) - n]

    other = History()
    rolled = corrected_decode(
        other.sparse_step,
        other.full_score,
        [1, 2, 3],
        max_new_tokens=40,
        period=6,
        tree_width=width,
        rollback=rollback,
    )
    assert rolled.tokens.tolist() == result.tokens.tolist() and other.scored == 1 + rolled.n_checks


def test_states_that_change_in_place_with_rollback():
    model = History()

    def sparse_step(state, token):
        logits, after = model.sparse_step(tuple(state), token)
        state.append(after[-1])
        return logits, state

    def full_score(state, tokens):
        state = [] if state is None else state
        logits, after = model.full_score(tuple(state), tokens)
        state[:] = after
        return logits, state

    def rollback(state, n):
        assert 0 < n <= len(state)
        del state[-n:]
        return state

    expected = History()
    arguments = {"max_new_tokens": 50, "period": 7, "threshold": 0.1}
    pure = corrected_decode(expected.sparse_step, expected.full_score, [5], **arguments)
    assert pure.n_corrections > 2
    in_place = corrected_decode(sparse_step, full_score, (5,), rollback=rollback, **arguments)
    assert in_place.tokens.tolist() == pure.tokens.tolist()


def test_eos_ends_the_text():
    sparse, full = tables(1)
    whole = corrected_decode(
        step_of(sparse), score_of(full), [0], max_new_tokens=60
    ).tokens.tolist()
    for eos in set(whole):
        short = corrected_decode(
            step_of(sparse), score_of(full), [0], max_new_tokens=60, eos=eos
        ).tokens.tolist()
        assert short == whole[: whole.index(eos) + 1]
    absent = next(t for t in range(VOCAB) if t not in whole)
    assert (
        corrected_decode(
            step_of(sparse), score_of(full), [0], max_new_tokens=60, eos=absent
        ).tokens.tolist()
        == whole
    )


def test_few_tokens():
    sparse, full = tables(1)
    none = corrected_decode(
        step_of(sparse), score_of(full), [0], max_new_tokens=0, sparse_density=0.5
    )
    assert (
        none.tokens.shape == (0,)
        and none.tokens.dtype == np.int64
        and none.n_checks == 0
        and math.isnan(none.mean_accepted)
    )
    one = corrected_decode(step_of(sparse), score_of(full), [0], max_new_tokens=1)
    assert one.tokens.tolist() == naive.greedy(full, [0], 1) and one.n_checks == 0
    assert isinstance(one, CorrectedDecode)


def test_callback_sees_tokens_and_can_stop():
    sparse, full = tables(1)
    whole, seen = (
        corrected_decode(step_of(sparse), score_of(full), [0], max_new_tokens=40).tokens,
        [],
    )

    def callback(tokens):
        seen.append(tokens)
        return len(seen) == 3

    result = corrected_decode(
        step_of(sparse), score_of(full), [0], max_new_tokens=40, callback=callback
    )
    assert (
        result.n_checks == 3
        and result.tokens.tolist() == seen[-1].tolist() == whole[: len(result.tokens)].tolist()
    )


@pytest.mark.parametrize("width", [1, 4])
def test_decoding_with_logits_on_the_simulated_gpu(width):
    sparse, full = (t.astype(np.float32) for t in tables(1))
    arguments = {"max_new_tokens": 30, "period": 5, "threshold": 0.2, "tree_width": width}
    here = corrected_decode(step_of(sparse), score_of(full), [2], **arguments)
    with simulated_gpu() as xp:
        there = corrected_decode(
            lambda state, token: (xp.asarray(sparse[token]), state),
            lambda state, tokens: (xp.asarray(full[tokens]), state),
            [2],
            **arguments,
        )
    assert (
        there.tokens.tolist() == here.tokens.tolist()
        and there.accepted_lengths.tolist() == here.accepted_lengths.tolist()
    )


def test_progress_is_shown_when_asked_for(capsys):
    pytest.importorskip("tqdm")
    sparse, full = tables(1)
    arguments = {"max_new_tokens": 30, "period": 5}
    plain = corrected_decode(step_of(sparse), score_of(full), [2], **arguments)
    assert capsys.readouterr().err == ""
    shown = corrected_decode(step_of(sparse), score_of(full), [2], **arguments, progress=True)
    assert "tokens" in capsys.readouterr().err
    np.testing.assert_array_equal(plain.tokens, shown.tokens)


@pytest.mark.parametrize("subject", [NeuronCache])
def test_examples_of_the_documentation(subject):
    for sample in doctest.DocTestFinder(recurse=False).find(subject, subject.__name__):
        assert sample.examples and not doctest.DocTestRunner(verbose=False).run(sample).failed


# --- acceptance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("vocab", [1, 2, 15, 16, 17, 33, 1000])
def test_log_probabilities_against_float64(dtype, vocab):
    rng = np.random.default_rng(vocab)
    logits, tokens, log_q = (
        (8 * rng.standard_normal((9, vocab))).astype(dtype),
        rng.integers(0, vocab, 9),
        np.empty(9, dtype),
    )
    kernels.log_probabilities(logits, tokens, log_q, 0.6)
    expected = [
        math.log(naive.probability(row, token, 0.6))
        for row, token in zip(logits, tokens, strict=True)
    ]
    # the largest |logit| / temperature is about 60: so many units of rounding
    np.testing.assert_allclose(log_q, expected, rtol=0, atol=100 * np.finfo(dtype).eps)


def test_extreme_logits():
    logits = np.array([[1e38, -1e38], [-3e38, 3e38], [0.0, 0.0]], np.float32)
    assert accept_prefix([0, 1, 0], logits, threshold=0.5) == 3
    assert (
        accept_prefix([1, 1, 0], logits, threshold=0) == 3
    )  # probabilities that underflow to 0 are not below 0
    assert accept_prefix([1, 1, 0], logits, threshold=1e-300) == 0
    assert accept_prefix([0, 1, 0], logits, threshold=0.4, temperature=1e-300) == 3
    assert accept_prefix([0, 1, 0], logits, threshold=0.4, temperature=1e300) == 3


def test_batches():
    rng = np.random.default_rng(0)
    logits, tokens = (
        rng.standard_normal((4, 3, 6, 5)),
        rng.integers(0, 5, (4, 3, 6), dtype=np.int32),
    )
    result = accept_prefix(tokens, logits, threshold=0.1)
    assert result.shape == (4, 3) and result.dtype == np.int64
    for lead in np.ndindex(4, 3):
        assert result[lead] == accept_prefix(tokens[lead], logits[lead], threshold=0.1)
    assert (
        accept_prefix(tokens[:, :, :0], logits[:, :, :0], threshold=0.5).tolist() == [[0] * 3] * 4
    )
    assert accept_prefix(tokens[0, 0, :0], logits[0, 0, :0], threshold=0.5) == 0


# --- a network that adds modulo 97, decoding Fibonacci's sequence ---------------------------------


MODULUS = 97


def trained_adder(m=64, frequencies=4, steps=300, batch=512, seed=0):
    """(embedding, w_gate, w_up, w_down, head) that give the logits of (a + b) mod 97 from the
    embeddings of a and b, by Adam."""
    rng = np.random.default_rng(seed)
    angles = (
        2
        * np.pi
        / MODULUS
        * np.outer(np.arange(MODULUS), rng.choice(np.arange(1, 49), frequencies, replace=False))
    )
    embedding = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    d = 2 * embedding.shape[1]
    shapes = (m, d), (m, d), (d, m), (MODULUS, d)
    parameters = [
        (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32) for shape in shapes
    ]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    for step in range(steps):
        w_gate, w_up, w_down, head = parameters
        a, b = rng.integers(0, MODULUS, (2, batch))
        x = np.concatenate([embedding[a], embedding[b]], axis=1)
        z, u = x @ w_gate.T, x @ w_up.T
        s = 1 / (1 + np.exp(-z))
        h = z * s * u
        y = h @ w_down.T
        grad = y @ head.T
        grad = np.exp(grad - grad.max(axis=1, keepdims=True))
        grad /= grad.sum(axis=1, keepdims=True)
        grad[np.arange(batch), (a + b) % MODULUS] -= 1
        grad /= batch
        grad_y = grad @ head
        grad_h = grad_y @ w_down
        grad_z, grad_u = grad_h * u * (s + z * s * (1 - s)), grad_h * z * s
        grads = grad_z.T @ x, grad_u.T @ x, grad_y.T @ h, grad.T @ y
        for p, g, (first, second) in zip(parameters, grads, moments, strict=True):
            first += 0.1 * (g - first)
            second += 0.01 * (g * g - second)
            rate = 1e-2 * (1 - step / steps)
            p -= (
                rate
                * first
                / (1 - 0.9 ** (step + 1))
                / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-8)
            )
    return embedding, *parameters


@pytest.fixture(scope="module")
def adder():
    return trained_adder()


@pytest.mark.parametrize("kind, density", [("fine", 0.5), ("fine", 0.25), ("coarse", 0.5)])
def test_correction_recovers_the_accuracy(adder, kind, density):
    """The whole network continues f[n] = f[n - 1] + f[n - 2] mod 97 without an error; the sparse
    one fails, correction mends that."""
    embedding, w_gate, w_up, w_down, head = adder
    w_down_t, cache = np.ascontiguousarray(w_down.T), NeuronCache(w_gate, w_up, w_down)

    def states(before, tokens):
        return np.concatenate([embedding[before], embedding[tokens]], axis=-1)

    def full_score(before, tokens):
        previous = np.concatenate([[0 if before is None else before], tokens[:-1]])
        x = states(previous, tokens)
        if before is None:
            cache.select(hidden(w_gate, w_up, x[1:]), density=density)  # the prompt chooses
        return gated_mlp(x, w_gate, w_up, w_down) @ head.T, int(tokens[-1])

    def sparse_step(before, token):
        x = states(before, token)
        y = (
            cache.apply(x)
            if kind == "coarse"
            else sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=density)
        )
        return head @ y, token

    def right(threshold):
        """Of 60 texts of 24 tokens, how many are right to the end, and the mean advance."""
        count, advance = 0, []
        for a, b in np.random.default_rng(9).integers(0, MODULUS, (60, 2)):
            text = [int(a), int(b)]
            while len(text) < 32:
                text.append((text[-1] + text[-2]) % MODULUS)
            result = corrected_decode(
                sparse_step, full_score, text[:8], max_new_tokens=24, period=8, threshold=threshold
            )
            count, advance = (
                count + (result.tokens.tolist() == text[8:]),
                [*advance, result.mean_accepted],
            )
        return count, np.mean(advance)

    uncorrected, corrected, whole = right(0.0), right(0.1), right(1.0)
    assert whole[0] == 60
    assert uncorrected[0] < 60 and corrected[0] >= 60 - (60 - uncorrected[0]) // 10
    assert corrected[1] > 1.5


# --- bad input ------------------------------------------------------------------------------------


def good_layer():
    w_gate, w_up, w_down, x = layer(10, 4, tokens=2)
    return {
        "x": x,
        "w_gate": w_gate,
        "w_up": w_up,
        "w_down_t": np.ascontiguousarray(w_down.T),
        "density": 0.5,
    }


@pytest.mark.parametrize(
    "change, message",
    [
        ({"density": 0}, r"density must be in \(0, 1\] \(got 0.0\)"),
        ({"density": 0.09}, r"density must keep a neuron, be >= 1 / m with m = 10 \(got 0.09\)"),
        ({"x": np.float64(1)}, "x must have shape"),
        ({"w_down_t": np.ones((4, 10))}, r"w_down_t must have shape \(m, d\) with m = 10"),
    ],
)
def test_bad_layers(change, message):
    with pytest.raises(ValueError, match=message):
        sparse_gated_mlp(**good_layer() | change)


def test_bad_selections():
    w_gate, w_up, w_down, x = layer(10, 4, tokens=2)
    with pytest.raises(ValueError, match="w_up must have shape"):
        NeuronCache(w_gate, w_up[1:], w_down)
    cache, h = NeuronCache(w_gate, w_up, w_down), np.ones((2, 10))
    with pytest.raises(ValueError, match="select must be called before apply"):
        cache.apply(x)
    for error, message, h_bad, options in [
        (ValueError, r"h must have shape \(t, m\) with m = 10", np.ones((2, 9)), {}),
        (ValueError, r"h must have shape \(t, m\)", np.ones(10), {}),
        (ValueError, "h must be finite", np.full((2, 10), np.nan), {}),
        (ValueError, "h must be finite", np.full((2, 10), np.inf), {}),
        (TypeError, "h must have dtype", np.ones((2, 10), int), {}),
        (TypeError, "h must be an array", None, {}),
        (TypeError, "h must have dtype float64 like w_gate", h.astype(np.float32), {}),
        (ValueError, 'method must be one of "topk", "topk_sample"', h, {"method": "best"}),
        (ValueError, "density must keep a neuron", h, {"density": 0.05}),
        (TypeError, "rng must be", h, {"method": "topk_sample", "rng": "x"}),
    ]:
        with pytest.raises(error, match=message):
            cache.select(h_bad, **{"density": 0.5} | options)
    cache.select(h, density=0.5)
    with pytest.raises(ValueError, match=r"x must have shape \(..., d\) with d = 4"):
        cache.apply(x[:, :3])
    with pytest.raises(ValueError, match="activation must be one of"):
        cache.apply(x, activation="step")
    with pytest.raises(TypeError, match="x must have dtype float64 like w_gate"):
        cache.apply(x.astype(np.float32))


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"temperature": math.inf}, ValueError, "temperature must be finite"),
        ({"tokens": [0, 5]}, ValueError, r"in \[0, vocab\) with vocab = 5 \(got 5 at \[1\]\)"),
        ({"tokens": [-1, 0]}, ValueError, "tokens must be in"),
        ({"tokens": [0, 1, 2]}, ValueError, "full_logits must have shape"),
        ({"tokens": 3}, ValueError, "tokens must have shape"),
        ({"full_logits": np.zeros((2, 0))}, ValueError, "tokens must be in"),
        *(
            (
                {"full_logits": np.array([[0.0, bad, 0, 0, 0], [0] * 5])},
                ValueError,
                "full_logits must be finite",
            )
            for bad in (np.nan, np.inf, -np.inf)
        ),
    ],
)
def test_bad_drafts(change, error, message):
    with pytest.raises(error, match=message):
        accept_prefix(
            **{"tokens": [0, 1], "full_logits": np.zeros((2, 5)), "threshold": 0.1} | change
        )


def test_drafts_on_another_device():
    with simulated_gpu() as xp:
        with pytest.raises(TypeError, match="tokens must live on cpu like full_logits"):
            accept_prefix(xp.asarray([0]), np.zeros((1, 5)), threshold=0.1)
        for tokens in ([0], np.array([0]), xp.asarray([0])):
            assert accept_prefix(tokens, xp.asarray(np.zeros((1, 5))), threshold=0.1) == 1


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"prompt": []}, ValueError, "prompt must have no axis of length zero"),
        (
            {"sparse_step": lambda state, token: np.zeros(5)},
            TypeError,
            r"sparse_step must return \(logits, state\)",
        ),
        (
            {"sparse_step": lambda state, token: (np.zeros((1, 5)), state)},
            ValueError,
            r"logits_of_sparse_step must have shape \(vocab,\)",
        ),
        (
            {"sparse_step": lambda state, token: (np.zeros(0), state)},
            ValueError,
            "logits_of_sparse_step must have no axis of length zero",
        ),
        (
            {"sparse_step": lambda state, token: (np.full(5, np.nan), state)},
            ValueError,
            r"logits_of_sparse_step must be finite \(got nan at \[0\]\)",
        ),
        (
            {"sparse_step": lambda state, token: (np.zeros(5, int), state)},
            TypeError,
            "logits_of_sparse_step must have dtype",
        ),
        (
            {"sparse_step": lambda state, token: (None, state)},
            TypeError,
            "logits_of_sparse_step must be an array",
        ),
        (
            {"sparse_step": lambda state, token: (np.eye(9)[8], state)},
            ValueError,
            "tokens must be in",
        ),
        (
            {"full_score": lambda state, tokens: (np.zeros((1, 5)), state)},
            ValueError,
            r"logits_of_full_score must have shape \(2, vocab\)",
        ),
        (
            {"full_score": lambda state, tokens: (np.full((len(tokens), 5), np.inf), state)},
            ValueError,
            "logits_of_full_score must be finite",
        ),
        (
            {
                "full_score": lambda state, tokens: (np.zeros((len(tokens), 5)), state),
                "tree_width": 2,
            },
            ValueError,
            r"must have shape \(2, 16, vocab\)",
        ),
    ],
)
def test_bad_decodings(change, error, message):
    good = {
        "sparse_step": lambda state, token: (np.zeros(5), state),
        "full_score": lambda state, tokens: (np.zeros((*tokens.shape, 5)), state),
        "prompt": [1, 2],
        "max_new_tokens": 4,
    }
    corrected_decode(**good)
    with pytest.raises(error, match=message):
        corrected_decode(**good | change)
