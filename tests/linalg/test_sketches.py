"""Sketches against their matrices, entry by entry; memory, devices, what must be refused. More of
`srht` is in test_randomized.py."""

import tracemalloc

import numpy as np
import pytest

from numcore.examples.linalg.sketches import src_matrix, srht_matrix, tensor_srht_matrix
from numcore.linalg import fwht, src, srht, tensor_srht
from numcore.testing import simulated_gpu


@pytest.mark.parametrize(
    "dtype, tol", [("float32", 2e-5), ("float64", 1e-13)]
)  # log2 N + N / 1024 roundings of sums as large as ‖x‖₁
@pytest.mark.parametrize("n", [1, 2, 3, 64, 65, 200])
@pytest.mark.parametrize("d", [1, 3, 16, 17, 65])
def test_srht_is_its_matrix(n, d, dtype, tol):
    a = np.random.default_rng(n).standard_normal((n, d)).astype(dtype)
    for m in {1, n // 2 + 1, n}:
        s = srht(a, m, rng=5)
        assert s.dtype == dtype
        np.testing.assert_allclose(s, srht_matrix(n, m, 5) @ a, rtol=0, atol=tol * np.sqrt(n))


@pytest.mark.parametrize(
    "n, d, m", [(3000, 20, 700), (4096, 65, 30), (70000, 1, 50), (5000, 130, 8000)]
)
def test_blocks_and_groups_give_the_transform(n, d, m):
    a, size = np.random.default_rng(0).standard_normal((n, d)), 1 << (n - 1).bit_length()
    rng = np.random.default_rng(7)
    padded = np.zeros((size, d))
    signs = 2 * rng.integers(0, 2, n) - 1
    padded[
        np.sort(rng.choice(size, n, replace=False, shuffle=False)) if n < size else slice(None)
    ] = signs[:, None] * a
    expected = fwht(padded, axis=0)[rng.choice(size, m, replace=False)] / np.sqrt(m)
    for layout in (a, np.asfortranarray(a), np.repeat(a, 2, axis=0)[::2]):
        np.testing.assert_allclose(srht(layout, m, rng=7), expected, rtol=0, atol=1e-11)


def test_rank_is_kept_where_n_is_little_more_than_a_power_of_two():
    a = np.random.default_rng(0).standard_normal((530, 480))
    assert (
        np.linalg.matrix_rank(srht(a, 500, rng=0)) == 480
    )  # with all zeros at the end it would be about 400


@pytest.mark.parametrize("n", [1, 2, 31, 64, 101])
def test_src_is_its_matrix(n):
    a = np.random.default_rng(n).standard_normal((n, 70))
    for m in {1, n // 2 + 1, n}:
        np.testing.assert_allclose(src(a, m, rng=3), src_matrix(n, m, 3) @ a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        src(a[:, 0].astype(np.float32), 1, rng=3),
        src_matrix(n, 1, 3) @ a[:, 0],
        rtol=0,
        atol=1e-5 * n,
    )


def test_src_is_unbiased():
    a = np.random.default_rng(12).standard_normal((23, 2))
    grams = [src(a, 8, rng=seed).T @ src(a, 8, rng=seed) for seed in range(4000)]
    error = np.std(grams, axis=0) / np.sqrt(len(grams))
    assert (np.abs(np.mean(grams, axis=0) - a.T @ a) < 4.5 * error).all()


@pytest.mark.parametrize(
    "shapes, m",
    [
        ([(32, 3), (16, 2)], 40),
        ([(5, 2)], 9),
        ([(3, 2), (5, 1), (2, 2)], 100),
        ([(1, 1), (7, 3)], 1),
    ],
)
def test_tensor_srht_is_its_matrix(shapes, m):
    rng = np.random.default_rng(1)
    factors, product = [rng.standard_normal(shape) for shape in shapes], np.ones((1, 1))
    for a in factors:
        product = np.kron(product, a)
    expected = tensor_srht_matrix([n for n, _ in shapes], m, 2) @ product
    for given in (factors, tuple(factors)):
        np.testing.assert_allclose(
            tensor_srht(given, m, rng=2), expected, rtol=0, atol=1e-13 * np.abs(expected).max()
        )


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_that_of_a_panel(order):
    n, d, m = 1 << 16, 128, 1024
    a = np.asarray(np.random.default_rng(0).standard_normal((n, d)), order=order)
    srht(a[:100], 8, rng=0)
    tracemalloc.start()
    srht(a, m, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    panel = 8 * n * 64
    assert (
        peak < (2 if order == "F" else 1) * panel + 3 * 8 * m * d + 8 * 8 * n
    )  # F: a copy of 64 columns; the draws are vectors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_simulated_gpu_gives_the_same_sketches(dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1500, 19)).astype(
        dtype
    )  # more than one block of rows there, and three panels of 8 columns
    factors = [
        rng.standard_normal((40, 3)).astype(dtype),
        rng.standard_normal((9, 2)).astype(dtype),
    ]
    with simulated_gpu(checked=True) as xp:
        on_gpu = (
            srht(xp.asarray(a), 30, rng=1),
            src(xp.asarray(a), 30, rng=1),
            tensor_srht([xp.asarray(f) for f in factors], 30, rng=1),
        )
    on_cpu = srht(a, 30, rng=1), src(a, 30, rng=1), tensor_srht(factors, 30, rng=1)
    for gpu, cpu in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(
            gpu.get(), cpu, rtol=0, atol=(1e-4 if dtype == "float32" else 1e-12)
        )


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: srht(np.ones((5, 2)), 9), ValueError, r"sketch_size must be <= N with N = 8"),
        (lambda: src(np.ones((5, 2)), 6), ValueError, "sketch_size must be <= n with n = 5"),
        (lambda: src(np.ones((5, 0)), 1), ValueError, "axis of length zero"),
        (lambda: tensor_srht([], 2), ValueError, "at least one array"),
        (lambda: tensor_srht([np.ones(3)], 2), ValueError, r"factors\[0\] must have"),
        (
            lambda: tensor_srht([np.ones((3, 2)), None], 2),
            TypeError,
            r"factors\[1\] must be an array",
        ),
        (
            lambda: tensor_srht([np.ones((3, 2)), np.ones((3, 2), np.float32)], 2),
            TypeError,
            r"factors\[1\] must have dtype float64 like factors\[0\]",
        ),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
