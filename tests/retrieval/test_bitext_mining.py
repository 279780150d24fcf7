"""Mining of pairs against its definition: known answers, invariances, the hub experiment,
documents, pivots, memory, errors."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import bitext_mining as naive
from numcore.retrieval import (
    InvertedFileIndex,
    align_documents,
    margin_scores,
    mine_pairs,
    neighbor_statistics,
    pivot_pairs,
    topk_inner_product,
)
from numcore.testing import simulated_gpu

SOURCE, TARGET = np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
MARGINS, RETRIEVALS = ("absolute", "ratio", "distance"), ("forward", "backward", "intersect", "max")
ALL = np.array([[i, j] for i in range(2) for j in range(3)])


def clouds(rng, n, m, d, dtype=np.float64):
    """The first rows of both belong together; lengths differ."""
    source, target = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    both = min(n, m) // 2
    target[:both] = source[:both] + 0.4 * target[:both]
    return (source * rng.uniform(0.1, 9, (n, 1))).astype(dtype), (
        target * rng.uniform(0.1, 9, (m, 1))
    ).astype(dtype)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype, atol", [("float32", 1e-6), ("float64", 1e-14)]
)  # a few roundings of numbers near 1
def test_known_margins(dtype, atol):
    source, target = SOURCE.astype(dtype), TARGET.astype(dtype)
    found = neighbor_statistics(source, target, k=2)
    np.testing.assert_allclose(found.source_mean, [0.7, 0.9], atol=atol)
    np.testing.assert_allclose(found.target_mean, [0.7, 0.7, 0.5], atol=atol)
    assert found.forward_ids.tolist() == [[0, 1], [2, 1]] and found.backward_ids.tolist() == [
        [0, 1],
        [1, 0],
        [1, 0],
    ]
    expected = {
        "absolute": [0.8, 0.6, 0, 0.6, 0.8, 1],
        "ratio": [8 / 7, 6 / 7, 0, 0.75, 1, 10 / 7],
        "distance": [0.1, -0.1, -0.6, -0.2, 0, 0.3],
    }
    for margin, scores in expected.items():
        result = margin_scores(
            source, target, ALL, found.source_mean, found.target_mean, margin=margin
        )
        np.testing.assert_allclose(result, scores, atol=3 * atol)
        assert result.dtype == dtype
    pairs = mine_pairs(source, target, k=2)
    assert (
        pairs.source_index.tolist() == [1, 0]
        and pairs.target_index.tolist() == [2, 0]
        and pairs.n_floored == 0
    )
    np.testing.assert_allclose(pairs.score, [1.428571, 1.142857], atol=1e-6)
    np.testing.assert_allclose(pairs.cosine, [1, 0.8], atol=atol)


def test_a_set_and_itself():
    points = np.random.default_rng(0).standard_normal((300, 12))
    for retrieval in RETRIEVALS:
        found = mine_pairs(points, points, margin="absolute", retrieval=retrieval)
        assert (
            sorted(found.source_index.tolist()) == list(range(300))
            and (found.source_index == found.target_index).all()
        )
        np.testing.assert_allclose(found.score, 1, rtol=1e-14)


def test_with_all_neighbors_means_are_those_of_rows_and_columns():
    source, target = clouds(np.random.default_rng(1), 5, 7, 3)
    cosines = naive.cosines(source, target).astype(float)
    for k in (7, 1000):
        found = neighbor_statistics(source, target, k=k)
        assert found.forward_ids.shape == (5, 7) and found.backward_ids.shape == (7, 5)
        np.testing.assert_allclose(found.source_mean, cosines.mean(axis=1), atol=1e-15)
        np.testing.assert_allclose(found.target_mean, cosines.mean(axis=0), atol=1e-15)


def test_hubs():
    """Targets that are near to everything and translate nothing: margins find more of the pairs
    than cosines do."""
    figures = {margin: [] for margin in MARGINS}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        common, x, others = (unit(rng.standard_normal((n, 32))) for n in (1, 800, 400))
        y = unit(x + 1.35 * rng.standard_normal((800, 32)) / np.sqrt(32))
        hubs = unit(common + 0.5 * rng.standard_normal((40, 32)) / np.sqrt(32))
        source, target = (
            unit(x + 0.8 * common),
            np.concatenate([unit(y + 0.8 * common), hubs, others]),
        )
        for margin, mine in figures.items():
            forward, found = (
                mine_pairs(source, target, margin=margin, retrieval="forward"),
                mine_pairs(source, target, margin=margin),
            )
            hits = np.cumsum(found.source_index == found.target_index)
            mine.append(
                [
                    (forward.source_index == forward.target_index).mean(),
                    (2 * hits / (np.arange(1, len(hits) + 1) + 800)).max(),
                ]
            )
    mean = {margin: np.mean(mine, axis=0) for margin, mine in figures.items()}
    for margin, expected in (
        ("absolute", [0.66, 0.757]),
        ("ratio", [0.75, 0.792]),
        ("distance", [0.75, 0.790]),
    ):
        np.testing.assert_allclose(
            mean[margin], expected, atol=0.03
        )  # a draw of 800 pairs differs from another by some 0.02
        assert margin == "absolute" or (mean[margin] > mean["absolute"] + [0.06, 0.02]).all()


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# --- the definition -------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("retrieval", RETRIEVALS)
@pytest.mark.parametrize("n, m, k", [(1, 1, 1), (1, 9, 4), (40, 1, 2), (30, 45, 4), (67, 20, 3)])
def test_pairs(margin, retrieval, n, m, k):
    source, target = clouds(np.random.default_rng(2), n, m, 6)
    expected = naive.mine(source, target, k, margin, retrieval)
    found = mine_pairs(source, target, k=k, margin=margin, retrieval=retrieval)
    np.testing.assert_array_equal(
        np.stack([found.source_index, found.target_index], axis=1).tolist(),
        [pair[1:] for pair in expected],
    )
    # a ratio divides by a mean that may be small
    np.testing.assert_allclose(found.score, [pair[0] for pair in expected], rtol=1e-11, atol=1e-14)
    some = mine_pairs(source, target, k=k, margin=margin, retrieval=retrieval, threshold=0.5)
    assert some.source_index.tolist() == [
        i for score, i, _ in naive.mine(source, target, k, margin, retrieval, 0.5)
    ]


@pytest.mark.parametrize("block", [1, 63, 64, 65, 500])
@pytest.mark.parametrize("n, m", [(300, 129), (70, 700)])
def test_blocks_do_not_matter_and_both_directions_are_searches(block, n, m):
    """Whole numbers that are sums of squares of one length, so that cosines are exact and many are
    equal."""
    rng = np.random.default_rng(3)
    source, target = (np.sign(rng.standard_normal((rows, 4))) for rows in (n, m))
    found = neighbor_statistics(source, target, k=5, block=block)
    for scores, ids, queries, database in (
        (found.forward_scores, found.forward_ids, source, target),
        (found.backward_scores, found.backward_ids, target, source),
    ):
        exact = topk_inner_product(queries, database, 5)
        np.testing.assert_array_equal(ids, exact.indices)
        np.testing.assert_array_equal(scores, exact.scores / 4)


@pytest.mark.parametrize("margin", MARGINS)
def test_invariances(margin):
    rng = np.random.default_rng(4)
    source, target = clouds(rng, 90, 110, 8)
    found = mine_pairs(source, target, margin=margin)
    order = rng.permutation(110)
    moved = mine_pairs(source, target[order], margin=margin)
    np.testing.assert_array_equal(order[moved.target_index], found.target_index)
    np.testing.assert_array_equal(moved.source_index, found.source_index)
    scaled = mine_pairs(
        source * 2.0 ** rng.integers(-900, 900, (90, 1)),
        target * rng.uniform(0.1, 7, (110, 1)),
        margin=margin,
    )
    np.testing.assert_array_equal(scaled.target_index, found.target_index)
    np.testing.assert_allclose(scaled.score, found.score, rtol=1e-10)
    assert (
        len(set(found.source_index.tolist()))
        == len(set(found.target_index.tolist()))
        == len(found.score)
    )
    both = mine_pairs(source, target, margin=margin, retrieval="intersect")
    pairs = [
        set(zip(p.source_index.tolist(), p.target_index.tolist(), strict=True))
        for p in (both, found)
    ]
    assert pairs[0] <= pairs[1] and (np.diff(found.score) <= 0).all()


def test_the_margin_may_prefer_the_second_neighbor():
    """The first target is the nearest one of all sources; only its margin is low."""
    source = np.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, 0.0, 0.1], [1.0, -0.1, -0.1]])
    target = np.array([[1.0, 0.0, 0.0], [1.0, 0.3, 0.0], [-1.0, 0.0, 5.0]])
    nearest = {
        margin: mine_pairs(source, target, k=2, margin=margin, retrieval="forward")
        for margin in ("absolute", "distance")
    }
    assert {
        m: dict(zip(p.source_index.tolist(), p.target_index.tolist(), strict=True))[1]
        for m, p in nearest.items()
    } == {"absolute": 0, "distance": 1}


def test_means_that_are_not_positive():
    found = mine_pairs(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.1]]))
    assert found.n_floored == 1 and found.score[0] < -1e5
    assert (
        mine_pairs(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.1]]), margin="distance").n_floored
        == 0
    )


def test_a_search_of_ones_own():
    rng = np.random.default_rng(5)
    source, target = clouds(rng, 200, 260, 8, np.float32)
    indexes = [InvertedFileIndex(10, metric="cosine", rng=0).fit(side) for side in (target, source)]
    exact = neighbor_statistics(source, target)
    found = neighbor_statistics(
        source,
        target,
        search=tuple(lambda q, k, index=index: index.search(q, k, n_probe=10) for index in indexes),
    )
    np.testing.assert_array_equal(found.forward_ids, exact.forward_ids)
    np.testing.assert_array_equal(found.backward_ids, exact.backward_ids)
    np.testing.assert_allclose(found.source_mean, exact.source_mean, rtol=1e-5)
    none = neighbor_statistics(
        source, target, search=(lambda q, k: (None, np.full((len(q), k), -1)),) * 2
    )
    assert (none.forward_scores == -np.inf).all() and (none.source_mean == 0).all()
    empty = mine_pairs(source, target, search=(lambda q, k: (None, np.full((len(q), k), -1)),) * 2)
    assert len(empty.score) == 0
    some = mine_pairs(
        source, target, search=(lambda q, k: (None, np.tile([-1, 3], (len(q), 1))),) * 2
    )
    assert (
        set(some.source_index.tolist()) | set(some.target_index.tolist()) <= set(range(260))
        and len(some.score) > 0
    )


def test_cosines_of_extreme_rows():
    pairs, mean = np.array([[0, 0]]), np.zeros(1)
    for scale in (1e-300, 1e-160, 1e160, 1e300):
        x, y = np.array([[3.0, 4.0]]) * scale, np.array([[4.0, 3.0]]) / scale
        np.testing.assert_allclose(
            margin_scores(x, y, pairs, mean, mean, margin="absolute"), 0.96, rtol=1e-15
        )


# --- documents and pivots -------------------------------------------------------------------------


def test_documents():
    rng = np.random.default_rng(6)
    source, target = clouds(rng, 60, 60, 16)
    a, b = (
        np.array([0, 10, 10, 35, 60]),
        np.array([0, 12, 20, 20, 60]),
    )  # the second document has no source, the third no target
    found = align_documents(source, target, a, b, threshold=0.3)
    expected, cosines = [], naive.cosines(source, target)
    for g in range(4):
        s = {(i, j): cosines[i, j] for i in range(a[g], a[g + 1]) for j in range(b[g], b[g + 1])}
        expected += [
            (-c, i, j)
            for (i, j), c in s.items()
            if c >= 0.3 and all(c >= other for (r, q), other in s.items() if r == i or q == j)
        ]
    expected.sort()
    assert [(i, j) for _, i, j in expected] == list(
        zip(found.source_index.tolist(), found.target_index.tolist(), strict=True)
    )
    np.testing.assert_allclose(found.score, [-c for c, *_ in expected], rtol=1e-13)
    assert len(expected) > 10


@pytest.mark.parametrize(
    "one_to_one, pairs", [(True, [[0, 7], [2, 8]]), (False, [[0, 7], [1, 7], [2, 8], [2, 9]])]
)
def test_known_pivots(one_to_one, pairs):
    found = pivot_pairs([[0, 5], [1, 5], [2, 6]], [[7, 5], [8, 6], [9, 6]], one_to_one=one_to_one)
    assert np.stack(found[:2]).T.tolist() == pairs and found.score.tolist() == [1.0] * len(pairs)


@pytest.mark.parametrize("one_to_one", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "p, q, pivots, sentences", [(0, 5, 3, 4), (1, 1, 1, 1), (60, 80, 20, 9), (300, 200, 50, 1000)]
)
def test_pivots(one_to_one, dtype, p, q, pivots, sentences):
    rng = np.random.default_rng(7)
    sides = [
        np.stack([rng.integers(0, sentences, n), rng.integers(0, pivots, n)], axis=1)
        for n in (p, q)
    ]
    scores = [(rng.integers(0, 9, n) / 8).astype(dtype) for n in (p, q)]  # many are equal
    found = pivot_pairs(
        *sides, one_to_one=one_to_one, first_score=scores[0], second_score=scores[1], n_pivot=pivots
    )
    expected = naive.join(
        *(side.tolist() for side in sides), *(s.tolist() for s in scores), one_to_one
    )
    assert list(
        zip(found.first_index.tolist(), found.second_index.tolist(), strict=True)
    ) == sorted(expected)
    assert list(zip(found.score.tolist(), found.pivot.tolist(), strict=True)) == [
        expected[pair] for pair in sorted(expected)
    ]
    assert found.score.dtype == dtype


def test_many_pivots_are_sorted_in_several_ranges():
    """More pairs than one range takes; the bits of the result do not depend on threads."""
    rng, n = np.random.default_rng(11), 70_000
    sides, scores = rng.integers(0, 3000, (2, n, 2)), rng.integers(0, 50, (2, n)) / 64
    sides[:, :, 1] = rng.integers(0, n, (2, n)) * 1000  # many bits
    results = []
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(
                pivot_pairs(*sides, one_to_one=False, first_score=scores[0], second_score=scores[1])
            )
    finally:
        numcore.set_num_threads(None)
    order = [np.argsort(side[:, 1], kind="stable") for side in sides]
    keys = [side[o, 1] for side, o in zip(sides, order, strict=True)]
    begins, ends = (np.searchsorted(keys[1], keys[0], side) for side in ("left", "right"))
    expected = {}
    for i, low, high in zip(order[0].tolist(), begins.tolist(), ends.tolist(), strict=True):
        for j in order[1][low:high].tolist():
            pair, score = (
                (int(sides[0, i, 0]), int(sides[1, j, 0])),
                min(scores[0, i], scores[1, j]),
            )
            if pair not in expected or score > expected[pair][0]:
                expected[pair] = score, int(sides[0, i, 1])
    for found in results:
        pairs = list(zip(found.first_index.tolist(), found.second_index.tolist(), strict=True))
        assert pairs == sorted(expected)
        assert list(zip(found.score.tolist(), found.pivot.tolist(), strict=True)) == [
            expected[pair] for pair in pairs
        ]


def test_pivots_with_scores_of_one_side_and_large_numbers():
    most = 2**31 - 1
    found = pivot_pairs(
        [[most, most], [0, most]],
        [[most, most]],
        first_score=np.array([0.25, 0.5]),
        one_to_one=False,
    )
    assert (
        found.first_index.tolist() == [0, most]
        and found.score.tolist() == [0.5, 0.25]
        and found.pivot.tolist() == [most, most]
    )


# --- guest manners --------------------------------------------------------------------------------


def test_on_the_simulated_gpu():
    rng = np.random.default_rng(8)
    source, target = clouds(rng, 150, 90, 6)
    a, b = np.array([0, 50, 150]), np.array([0, 60, 90])
    with simulated_gpu(checked=True) as xp:
        x, y = xp.asarray(source), xp.asarray(target)
        for retrieval in RETRIEVALS:
            found, expected = (
                mine_pairs(x, y, retrieval=retrieval, block=50),
                mine_pairs(source, target, retrieval=retrieval),
            )
            assert found.target_index.tolist() == expected.target_index.tolist()
            np.testing.assert_allclose(found.score.get(), expected.score, rtol=1e-10)
        found = align_documents(x, y, xp.asarray(a), xp.asarray(b), threshold=0.1)
        assert (
            found.target_index.tolist()
            == align_documents(source, target, a, b, threshold=0.1).target_index.tolist()
        )
        pairs = rng.integers(0, 20, (2, 70, 2))
        found = pivot_pairs(xp.asarray(pairs[0]), xp.asarray(pairs[1]), one_to_one=False)
        assert (
            found.second_index.tolist()
            == pivot_pairs(*pairs, one_to_one=False).second_index.tolist()
        )
        search = (lambda q, k: (None, xp.asarray(np.full((len(q), k), 3))),) * 2
        assert (neighbor_statistics(x, y, search=search).forward_ids.get() == 3).all()


def test_bits_do_not_depend_on_threads():
    source, target = clouds(np.random.default_rng(9), 700, 900, 16, np.float32)
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append(mine_pairs(source, target)[:4])
    finally:
        numcore.set_num_threads(None)
    assert all(
        (a == b).all() for result in results[1:] for a, b in zip(results[0], result, strict=True)
    )


def test_memory_is_that_of_a_block():
    """All cosines would take 144 MB; a block takes 4 MB, its rows and those of the other side less
    than 1 MB each."""
    rng = np.random.default_rng(10)
    source, target = clouds(rng, 6000, 6000, 16, np.float32)
    mine_pairs(source[:50], target[:50])
    tracemalloc.start()
    mine_pairs(source, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6 + 16 * 12000 * 4


def test_bad_input():
    x = np.ones((4, 2))
    for name, call in (
        ("source", lambda bad: mine_pairs(bad, x)),
        ("target", lambda bad: neighbor_statistics(x, bad)),
    ):
        for value in (0.0, np.nan, np.inf):
            bad = x.copy()
            bad[2:] = value
            with pytest.raises(
                ValueError, match=rf"{name} must have rows of finite length > 0 \(got .* in row 2\)"
            ):
                call(bad)
    with pytest.raises(TypeError, match="search must be a list or tuple"):
        mine_pairs(x, x, search=topk_inner_product)
    with pytest.raises(ValueError, match=r"search must have 2 items \(got 1\)"):
        mine_pairs(x, x, search=(topk_inner_product,))
    for indices, kind, text in (
        (np.full((4, 2), 4), ValueError, r"indices in \[-1, 4\) \(got 4"),
        (np.ones((4, 2)), TypeError, "integers"),
        (None, TypeError, r"integers on the device of source \(got NoneType\)"),
        (np.ones((3, 2), int), ValueError, r"shape \(4, k\)"),
    ):
        with pytest.raises(kind, match=text):
            mine_pairs(x, x, search=(lambda q, k, indices=indices: (None, indices),) * 2)
    mean = np.ones(4)
    for pairs, text in (
        ([[0, 4]], r"pairs\[:, 1\] must be in \[0, 4\) \(got 4\)"),
        ([[-1, 0]], r"pairs\[:, 0\] must be in \[0, 4\) \(got -1\)"),
    ):
        with pytest.raises(ValueError, match=text):
            margin_scores(x, x, np.array(pairs), mean, mean)
    good = np.array([0, 2, 4])
    for offsets in ([0, 5, 4], [1, 2, 4], [0, 2, 3]):
        with pytest.raises(ValueError, match="target_offsets must ascend from 0 to 4"):
            align_documents(x, x, good, np.array(offsets), threshold=0)
    for pairs, column in (([[-1, 0]], 0), ([[2**31, 0]], 0), ([[0, 7]], 1)):
        with pytest.raises(ValueError, match=rf"first\[:, {column}\] must be in \[0, "):
            pivot_pairs(np.array(pairs), np.zeros((1, 2), int), n_pivot=7)
    with pytest.raises(ValueError, match="second_score must not be nan"):
        pivot_pairs(np.zeros((1, 2), int), np.zeros((1, 2), int), second_score=np.array([np.nan]))
