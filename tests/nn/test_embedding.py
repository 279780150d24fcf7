"""Embedding: rows and their gradients, exact sums, bad indices."""

import math
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.nn import embedding, embedding_vjp
from numcore.nn._embedding import sum_places
from numcore.testing import check_vjp, simulated_gpu
from tests.nn.assembly import assembly, vector_instructions

TABLE = np.array([[1.0, 2], [3, 4], [5, 6]])


def test_known_rows_and_gradient():
    y, cache = embedding([[2, 0], [2, 2]], TABLE)
    np.testing.assert_array_equal(y, [[[5, 6], [1, 2]], [[5, 6], [5, 6]]])
    np.testing.assert_array_equal(
        embedding_vjp(np.ones((2, 2, 2)), cache), [[1, 1], [0, 0], [3, 3]]
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_indices_of_any_integers(dtype):
    y, cache = embedding(np.array([2, 1, 2], dtype), TABLE)
    np.testing.assert_array_equal(y, TABLE[[2, 1, 2]])
    np.testing.assert_array_equal(embedding_vjp(y, cache), [[0, 0], [3, 4], [10, 12]])


def test_one_index():
    y, cache = embedding(1, TABLE)
    np.testing.assert_array_equal(y, [3, 4])
    np.testing.assert_array_equal(embedding_vjp(y, cache), [[0, 0], [3, 4], [0, 0]])


@pytest.mark.parametrize("shape", [(0,), (1,), (4, 5), (3, 0, 2)])
def test_gradient_is_a_difference(shape):
    idx = np.random.default_rng(0).integers(0, 3, shape)
    assert check_vjp(embedding, embedding_vjp, (idx, TABLE), rng=1) < 1e-7


def test_torch_agrees():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    idx, table = rng.integers(0, 50, (20, 30)), rng.standard_normal((50, 16))
    there = torch.from_numpy(table).requires_grad_()
    y = torch.nn.functional.embedding(torch.from_numpy(idx), there)
    grad = rng.standard_normal((20, 30, 16))
    mine, cache = embedding(idx, table)
    np.testing.assert_array_equal(mine, y.detach().numpy())
    (expected,) = torch.autograd.grad(y, there, torch.from_numpy(grad))
    np.testing.assert_allclose(embedding_vjp(grad, cache), expected.numpy(), rtol=0, atol=1e-10)


def test_long_sums_are_rounded_once():
    """A row that occurs 100,000 times; a sum in float32 would be wrong in the fifth digit."""
    rng = np.random.default_rng(3)
    grad = rng.random((100_000, 2)).astype(np.float32)
    _, cache = embedding(np.zeros(100_000, int), np.zeros((2, 2), np.float32))
    exact = [np.float32(math.fsum(column)) for column in grad.T.astype(float)]
    np.testing.assert_array_equal(embedding_vjp(grad, cache), [exact, [0, 0]])


def test_same_bits_at_any_number_of_threads_and_on_the_gpu():
    rng = np.random.default_rng(4)
    idx, table, grad = (
        rng.zipf(1.3, 3000) % 500,
        rng.standard_normal((500, 40)).astype(np.float32),
        rng.standard_normal((3000, 40)),
    )
    grad = grad.astype(np.float32)
    results = []
    try:
        for n in (1, 2, 7):
            numcore.set_num_threads(n)
            results.append(embedding_vjp(grad, embedding(idx, table)[1]))
    finally:
        numcore.set_num_threads(None)
    with simulated_gpu() as xp:
        for there in (idx, xp.asarray(idx)):
            _, cache = embedding(there, xp.asarray(table))
            results.append(embedding_vjp(xp.asarray(grad), cache).get())
        with pytest.raises(TypeError, match="idx must live on the device of table"):
            embedding(xp.asarray(idx), table)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_memory_is_the_table_s_and_the_places():
    idx, table = np.random.default_rng(5).integers(0, 1000, 20_000), np.zeros((1000, 64))
    y, cache = embedding(idx, table)
    assert cache.table is table
    embedding_vjp(y, cache)
    tracemalloc.start()
    embedding_vjp(y, cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < table.nbytes + 4 * idx.nbytes
    )  # less than one copy of grad_y, which is 16 times as large


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_are_made_of_vectors(dtype):
    assert vector_instructions(assembly(sum_places, dtype), "addpd") >= 1


@pytest.mark.parametrize(
    "idx, table, error, message",
    [
        ([0, 3], TABLE, ValueError, r"idx must be in \[0, n\) with n = 3 \(got 3 at \[1\]\)"),
        ([0, -1], TABLE, ValueError, r"got -1"),
        (np.array([2**63], np.uint64), TABLE, ValueError, r"idx must be in"),
        ([0.0], TABLE, TypeError, r"idx must have dtype integers \(got float64\)"),
        ([0], TABLE[:0], ValueError, r"with n = 0"),
    ],
)
def test_bad_input(idx, table, error, message):
    with pytest.raises(error, match=message):
        embedding(idx, table)


def test_bad_gradient():
    y, cache = embedding([0, 1], TABLE)
    with pytest.raises(ValueError, match=r"grad_y must have shape \(2, d\) like cache.idx"):
        embedding_vjp(y[:1], cache)
    with pytest.raises(TypeError, match="grad_y must have dtype float64 like cache.table"):
        embedding_vjp(y.astype(np.float32), cache)
    with pytest.raises(TypeError, match="cache must be an EmbeddingCache"):
        embedding_vjp(y, tuple(cache))
