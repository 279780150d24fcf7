"""PageRank: known answers, the linear system, networkx; the error bound; bad input."""

import itertools

import networkx
import numpy as np
import pytest

import numcore
from numcore.examples.retrieval.pagerank import pagerank
from numcore.linalg import CSR
from numcore.retrieval import PageRankResult, personalized_pagerank
from numcore.retrieval._pagerank import _stable_order
from numcore.testing import simulated_gpu

PATH = CSR([0, 1, 3, 5, 6], [1, 0, 2, 1, 3, 2], np.ones(6), (4, 4))
END = np.array([1.0, 0, 0, 0])


def random_weights(rng, n, density=0.1):
    a = np.where(rng.random((n, n)) < density, rng.random((n, n)), 0)
    a[rng.random(n) < 0.2] = 0
    return a


def test_path_from_its_end():
    result = personalized_pagerank(PATH, END, tol=1e-15, max_iter=400)
    np.testing.assert_allclose(
        result.scores, [0.302224, 0.358175, 0.238316, 0.101284], rtol=0, atol=5e-7
    )  # six digits are known
    p = np.array([[0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])
    exact = np.linalg.solve(np.eye(4) - 0.85 * p.T, [0.15, 0, 0, 0])
    np.testing.assert_allclose(result.scores, exact, rtol=1e-14)


def test_dangling_node_leads_to_the_seeds():
    result = personalized_pagerank(
        CSR([0, 1, 2, 2], [1, 2], np.ones(2), (3, 3)), np.array([1.0, 1, 0])
    )
    np.testing.assert_allclose(result.scores, [0.226116, 0.418315, 0.355568], rtol=0, atol=1e-6)
    weightless = personalized_pagerank(
        CSR([0, 1, 2, 3], [1, 2, 0], np.array([1.0, 1, 0]), (3, 3)), np.array([1.0, 1, 0])
    )
    np.testing.assert_array_equal(weightless.scores, result.scores)


@pytest.mark.parametrize("dangling", ["seeds", "uniform"])
@pytest.mark.parametrize(
    "n, density", [(1, 1), (2, 0.5), (40, 0.1), (255, 0.02), (256, 0.1), (300, 0.2)]
)
def test_solves_the_linear_system(n, density, dangling):
    rng = np.random.default_rng(n)
    a, seeds = random_weights(rng, n, density), rng.random((11, n))
    result = personalized_pagerank(
        CSR.from_dense(a), seeds, damping=0.7, tol=1e-15, max_iter=300, dangling=dangling
    )
    for row, seed in zip(result.scores, seeds, strict=True):
        np.testing.assert_allclose(
            row, pagerank(a, seed, 0.7, dangling == "uniform"), rtol=1e-12, atol=1e-16
        )


@pytest.mark.parametrize("graph", ["karate_club_graph", "les_miserables_graph"])
def test_agrees_with_networkx(graph):
    g = getattr(networkx, graph)()
    a = networkx.to_numpy_array(g)
    seeds = np.zeros(len(a))
    seeds[3] = 2.0
    theirs = networkx.pagerank(
        g, personalization={list(g)[3]: 1}, tol=1e-13 / len(a), max_iter=1000
    )
    ours = personalized_pagerank(CSR.from_dense(a), seeds, tol=1e-13, max_iter=400).scores
    np.testing.assert_allclose(
        ours, [theirs[node] for node in g], rtol=0, atol=2e-12
    )  # both stop at steps of 1e-13


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("damping", [0.0, 0.3, 0.85, 0.99])
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-13])
def test_error_stays_within_its_bound(damping, tol, dtype):
    rng = np.random.default_rng(5)
    a, seeds = random_weights(rng, 60), rng.random((3, 60)).astype(dtype)
    graph = CSR.from_dense(a.astype(dtype))
    result = personalized_pagerank(graph, seeds, damping=damping, tol=tol, max_iter=5000)
    assert result.scores.dtype == dtype and (result.residual <= tol).all()
    assert result.converged and result.reason == "tol"
    a = graph.toarray().astype(float)
    for row, seed, bound in zip(result.scores, seeds, result.error_bound, strict=True):
        assert (
            np.abs(row - pagerank(a, seed.astype(float), damping)).sum()
            <= bound
            <= (damping * tol + 1e-13) / (1 - damping) + 1e-7
        )
    np.testing.assert_allclose(
        result.scores.sum(axis=1, dtype=float), 1, rtol=0, atol=result.error_bound.max()
    )


def test_steps_are_counted_and_limited():
    # the path has the eigenvalue -1: a step from its end shrinks the change by just the damping
    result = personalized_pagerank(PATH, END)
    assert (
        result.n_iter == pytest.approx(np.log(1e-9) / np.log(0.85), abs=5)
        and result.residual <= 1e-9
        and (result.converged, result.reason) == (True, "tol")
    )
    short = personalized_pagerank(PATH, END, max_iter=3)
    assert (
        short.n_iter == 3
        and short.residual > 1e-9
        and (short.converged, short.reason) == (False, "max_iter")
        and short.error_bound >= 0.85 / 0.15 * short.residual
    )
    still = personalized_pagerank(PATH, END, damping=0)
    assert still.n_iter == 1 and still.scores.tolist() == [1, 0, 0, 0]


def test_a_seed_vector_gives_what_it_gives_alone():
    rng = np.random.default_rng(6)
    a, seeds = random_weights(rng, 600, 0.02), rng.random((19, 600))
    together = personalized_pagerank(CSR.from_dense(a), seeds, tol=1e-6)
    for i in (0, 7, 8, 18):
        alone = personalized_pagerank(CSR.from_dense(a), seeds[i], tol=1e-6)
        assert isinstance(alone, PageRankResult) and isinstance(alone.n_iter, int)
        np.testing.assert_allclose(
            alone.scores, together.scores[i], rtol=1e-13
        )  # sums over nodes are rounded in another order
        assert alone.n_iter == together.n_iter[i]
        np.testing.assert_allclose(
            [alone.residual, alone.error_bound],
            [together.residual[i], together.error_bound[i]],
            rtol=1e-6,
        )


def test_scale_order_and_repetition_do_not_matter():
    rng = np.random.default_rng(7)
    a, seed = random_weights(rng, 50), rng.random(50)
    expected = personalized_pagerank(CSR.from_dense(a), seed).scores
    np.testing.assert_allclose(
        personalized_pagerank(CSR.from_dense(a * 1e200), seed * 1e-300).scores, expected, rtol=1e-12
    )
    graph = CSR.from_dense(a)
    indptr, indices, data = graph.indptr, graph.indices, graph.data
    halves = np.repeat(data / 2, 2)
    shuffled = [np.repeat(indices[s:e], 2)[::-1] for s, e in itertools.pairwise(indptr)]
    values = [halves[2 * s : 2 * e][::-1] for s, e in itertools.pairwise(indptr)]
    twice = personalized_pagerank(
        CSR(2 * indptr, np.concatenate(shuffled), np.concatenate(values), a.shape), seed
    ).scores
    np.testing.assert_allclose(twice, expected, rtol=1e-12)


def test_many_nodes_are_ordered_by_both_digits():
    rng = np.random.default_rng(8)
    keys = rng.integers(0, 200_000, 5000).astype(np.int32)
    np.testing.assert_array_equal(_stable_order(np, keys, 200_000), np.argsort(keys, kind="stable"))


def test_ring_larger_than_16_bits():
    n = 70_000
    seed = np.zeros(n)
    seed[n - 1] = 1
    scores = personalized_pagerank(
        CSR(np.arange(n + 1), (np.arange(n) + 1) % n, np.ones(n), (n, n)), seed
    ).scores
    np.testing.assert_allclose(scores[:3], 0.15 * 0.85 ** np.arange(1, 4), rtol=0, atol=1e-9)
    assert scores[n - 1] == pytest.approx(0.15, abs=1e-9)


def test_empty_graphs_and_seeds():
    empty = personalized_pagerank(CSR([0], [], np.zeros(0), (0, 0)), np.zeros((2, 0)))
    assert empty.scores.shape == (2, 0)
    none = personalized_pagerank(PATH, np.zeros((0, 4)))
    assert none.scores.shape == (0, 4) and none.n_iter.shape == none.residual.shape == (0,)
    alone = personalized_pagerank(CSR([0, 0, 0], [], np.zeros(0), (2, 2)), np.array([1.0, 3.0]))
    np.testing.assert_allclose(alone.scores, [0.25, 0.75])


def test_threads_do_not_matter():
    rng = np.random.default_rng(9)
    n, count = 3000, 30_000
    graph = CSR.from_coo(
        rng.integers(0, n, count), rng.integers(0, n, count), rng.random(count), (n, n)
    )
    arguments, results, before = (
        (graph, rng.random((2, n))),
        [],
        numcore.get_num_threads(),
    )
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(personalized_pagerank(*arguments).scores)
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_gpu_keeps_scores_there():
    with simulated_gpu() as xp:
        result = personalized_pagerank(PATH.map(xp.asarray), xp.asarray(END))
        assert type(result.scores) is type(xp.ones(1)) and isinstance(result.error_bound, float)


def test_seeds_of_several_axes():
    seeds = np.random.default_rng(10).random((2, 3, 4))
    result = personalized_pagerank(PATH, seeds)
    flat = personalized_pagerank(PATH, seeds.reshape(6, 4))
    np.testing.assert_array_equal(result.scores, flat.scores.reshape(2, 3, 4))
    assert result.n_iter.shape == result.residual.shape == (2, 3)


def test_scipy_array():
    sparse = pytest.importorskip("scipy.sparse")
    expected = personalized_pagerank(PATH, END).scores
    theirs = personalized_pagerank(sparse.csr_array(PATH.toarray()), END).scores
    np.testing.assert_array_equal(theirs, expected)


@pytest.mark.parametrize(
    "data, seeds, message",
    [
        (None, [[1.0, 0, 0, 0], [0, 0, 0, 0]], r"seeds must not be all zero \(got zeros in row 1"),
        (None, [1.0, -1, 0, 0], r"seeds must be >= 0 \(got -1.0 at \[1\]\)"),
        (None, [1.0, np.nan, 0, 0], "seeds must be finite"),
        (-np.ones(6), END, r"graph must have weights >= 0 \(got -1.0\)"),
        (np.full(6, np.nan), END, r"graph must have weights >= 0 \(got nan\)"),
        (np.full(6, np.inf), END, "graph must have finite weights"),
        (np.full(6, 1e308), END, "summed over every node"),
    ],
)
def test_bad_values(data, seeds, message):
    graph = PATH if data is None else PATH.with_data(data)
    with pytest.raises(ValueError, match=message):
        personalized_pagerank(graph, np.array(seeds))


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"seeds": np.ones(3)}, ValueError, "seeds must have shape"),
        ({"seeds": np.ones(4, np.float32)}, TypeError, "seeds must have dtype float64 like graph"),
        ({"damping": 1.0}, ValueError, r"damping must be in \[0, 1\) \(got 1.0\)"),
        ({"dangling": "self"}, ValueError, 'dangling must be one of "seeds", "uniform"'),
        ({"graph": CSR([0, 0], [], np.ones(0), (1, 2))}, ValueError, "graph must have shape"),
    ],
)
def test_bad_input(change, kind, message):
    with pytest.raises(kind, match=message):
        personalized_pagerank(**{"graph": PATH, "seeds": END} | change)
