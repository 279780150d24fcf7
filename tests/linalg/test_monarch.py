"""Monarch matrices against their definition: products, gradients, the best approximation,
transforms, the layer."""

import numpy as np
import pytest

import numcore
from numcore.examples.linalg.monarch import to_dense
from numcore.linalg import (
    MonarchLinear,
    fwht,
    monarch_dft,
    monarch_matmul,
    monarch_matmul_vjp,
    monarch_project,
    monarch_to_dense,
)
from numcore.linalg._monarch import kernels
from numcore.simd import WIDEST
from numcore.simd._tile import TILE_VECTORS, tile_shape
from numcore.testing.guards import guarded_runs

RIGHT = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])
LEFT = np.array([[[1.0, 0], [0, 1]], [[1, 1], [1, -1]]])
# k, q, p, l, s, r with l r = k q
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 2, 2, 2, 2, 2),
    (3, 4, 5, 2, 7, 6),
    (4, 6, 3, 3, 5, 8),
    (17, 3, 5, 17, 2, 3),
    (20, 9, 7, 6, 11, 30),
]


def factors(rng, shape, dtype=np.float64):
    k, q, p, count, s, r = shape
    right, left = rng.standard_normal((2, k, q, p)), rng.standard_normal((2, count, s, r))
    return [
        (f[0] + 1j * f[1] if np.dtype(dtype).kind == "c" else f[0]).astype(dtype)
        for f in (right, left)
    ]


def test_known_product():
    assert monarch_to_dense(RIGHT, LEFT).tolist() == [
        [1, 2, 0, 0],
        [3, 4, 7, 8],
        [0, 0, 5, 6],
        [3, 4, -7, -8],
    ]
    assert monarch_matmul(np.ones(4), RIGHT, LEFT).tolist() == [3, 22, 11, -8]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "dtype, rtol",
    [("float32", 1e-5), ("float64", 1e-13), ("complex64", 1e-5), ("complex128", 1e-13)],
)
def test_products_and_dense_form(shape, dtype, rtol):
    rng = np.random.default_rng(0)
    right, left = factors(rng, shape, dtype)
    dense = to_dense(right, left).astype(dtype)
    scale = np.abs(dense).max()
    np.testing.assert_allclose(monarch_to_dense(right, left), dense, rtol=0, atol=rtol * scale)
    for batch in (
        (),
        (0,),
        (5,),
        (3, 11),
        (130,),
    ):  # none, one row at a time, a tile that is not full, several
        x = rng.standard_normal((*batch, dense.shape[1])).astype(dtype)
        y = monarch_matmul(x, right, left)
        assert y.dtype == dtype and y.shape == (*batch, dense.shape[0])
        np.testing.assert_allclose(
            y, x @ dense.T, rtol=0, atol=10 * rtol * scale * np.sqrt(dense.shape[1])
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("b", [1, 9, 150])
def test_gradients_by_central_differences(shape, dtype, b):
    rng = np.random.default_rng(1)
    arguments = [
        rng.standard_normal((b, shape[0] * shape[2])).astype(dtype),
        *factors(rng, shape, dtype),
    ]
    g = rng.standard_normal((b, shape[3] * shape[4])).astype(dtype) * (
        1 if dtype == "float64" else 1 - 0.5j
    )
    grads = monarch_matmul_vjp(*arguments, g)
    h = 1e-4  # the product is a cubic in the step: a difference is exact up to h²
    for i, grad in enumerate(grads):
        v = rng.standard_normal(arguments[i].shape).astype(dtype) * (
            1 if dtype == "float64" else 1 + 1j
        )
        up, down = (
            [a + s * h * v if j == i else a for j, a in enumerate(arguments)] for s in (1, -1)
        )
        numeric = np.vdot(g, monarch_matmul(*up) - monarch_matmul(*down)).real / (2 * h)
        assert abs(numeric - np.vdot(grad, v).real) < 1e-7 * np.linalg.norm(grad) * np.linalg.norm(
            v
        )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("b", [2, 40])
def test_infinities_times_zero_are_nan_without_a_warning(dtype, b):
    left, x = LEFT.astype(dtype), np.ones((b, 4), dtype)
    left[0, 0, 0] = np.inf
    right = np.zeros_like(RIGHT, dtype=dtype)
    assert (
        np.isnan(monarch_to_dense(right, left)).any()
        and np.isnan(monarch_matmul(x, right, left)).any()
    )
    assert np.isnan(monarch_matmul_vjp(x, right, left, np.zeros((b, 4), dtype)).x).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("i, j", [(1, 19), (19, 1)])
def test_scratch_holds_flat_and_tall_blocks(i, j, transposed, dtype):
    """Sixteen blocks fill the scratch arrays on a CPU with the widest register tile."""
    variant, g, b = {"T": dtype}, 16, 3
    n, m = (g * i, g * j) if transposed else (g * j, g * i)
    x, w, y = np.ones((b, n), dtype), np.ones((g, i, j), dtype), np.full((b, m), np.nan, dtype)
    arguments = [x, w, y, 0, transposed]
    (found,) = guarded_runs(
        kernels.block_product, variant, [(arguments, kernels.block_product.bind(arguments)[1])]
    )
    np.testing.assert_array_equal(found["y"], i if transposed else j)


def test_the_widest_tile():
    assert max(tile_shape(bits, 4)[1] for bits in TILE_VECTORS) == WIDEST


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(2)
    right, left = factors(rng, (20, 9, 7, 6, 11, 30), np.float32)
    x, g = (
        rng.standard_normal((300, 140)).astype(np.float32),
        rng.standard_normal((300, 66)).astype(np.float32),
    )
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append((monarch_matmul(x, right, left), *monarch_matmul_vjp(x, right, left, g)))
    finally:
        numcore.set_num_threads(None)
    assert all(
        (a == b).all() for result in results[1:] for a, b in zip(results[0], result, strict=True)
    )


# --- projection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, blocks, residual, relative",
    [
        (np.arange(24.0).reshape(4, 6), (3, 2), 1.219421211793, None),
        (1 / (np.arange(16)[:, None] + np.arange(16) + 1), (4, 4), 0.163854904505, 0.085680804987),
        (np.eye(9), (3, 3), 0, 0),
        (np.eye(8), (4, 2), 0, 0),
        (np.eye(8), (2, 4), 0, 0),
    ],
)
def test_known_projections(a, blocks, residual, relative):
    result = monarch_project(a, n_blocks=blocks)
    assert abs(result.residual_norm - residual) < 1e-12
    assert relative is None or abs(result.relative_error - relative) < 1e-12


@pytest.mark.parametrize("n", [16, 32, 64])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_hadamard_matrices_are_monarch(n, k):
    assert monarch_project(fwht(np.eye(n)), n_blocks=(k, n // k)).residual_norm < 1e-13


@pytest.mark.parametrize(
    "m, n, blocks, rank",
    [
        (12, 20, (4, 3), 1),
        (12, 20, (4, 3), 2),
        (12, 20, (5, 2), 4),
        (7, 7, (1, 7), 1),
        (9, 9, (9, 1), 1),
        (64, 64, (8, 8), 1),
        (30, 6, (2, 5), 3),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("balance", [True, False])
def test_projection_is_what_it_says(m, n, blocks, rank, dtype, balance):
    rng = np.random.default_rng(3)
    a = rng.standard_normal((m, n)) + (
        1j * rng.standard_normal((m, n)) if dtype == "complex128" else 0
    )
    right, left, residual, relative = monarch_project(
        a, n_blocks=blocks, rank=rank, balance=balance
    )
    dense = to_dense(right, left).astype(dtype)
    assert abs(residual - np.linalg.norm(a - dense)) < 1e-12 * np.linalg.norm(a)
    assert abs(relative - residual / np.linalg.norm(a)) < 1e-14
    k, count = blocks
    missed = 0.0
    for kappa in range(k):
        for lam in range(count):
            sigma = np.linalg.svd(a[lam::count, kappa * (n // k) : (kappa + 1) * (n // k)])[1]
            missed += (sigma[rank:] ** 2).sum()
    assert abs(residual - np.sqrt(missed)) < 1e-12 * np.linalg.norm(
        a
    )  # Eckart and Young, block by block
    again = monarch_project(dense, n_blocks=blocks, rank=rank)
    assert again.residual_norm < 1e-12 * np.linalg.norm(a)
    if not balance:
        for block in left:
            for kappa in range(k):
                part = block[:, kappa * rank : (kappa + 1) * rank]
                np.testing.assert_allclose(part.conj().T @ part, np.eye(rank), atol=1e-12)


def test_equal_singular_values_go_to_the_svd():
    a = np.kron(np.ones((2, 2)), np.eye(3))  # every block is the identity: no gap at all
    assert (
        abs(
            monarch_project(a, n_blocks=(2, 2)).residual_norm ** 2
            - sum(
                (np.linalg.svd(a[lam::2, 3 * kappa : 3 * kappa + 3])[1][1:] ** 2).sum()
                for lam in range(2)
                for kappa in range(2)
            )
        )
        < 1e-12
    )
    assert monarch_project(np.zeros((4, 4)), n_blocks=(2, 2)).relative_error == 0


def test_no_perturbation_is_better():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((12, 12))
    right, left, residual, _ = monarch_project(a, n_blocks=(3, 4))
    for _ in range(100):
        moved = [f + 1e-3 * rng.standard_normal(f.shape) for f in (right, left)]
        assert np.linalg.norm(a - monarch_to_dense(*moved)) > residual


@pytest.mark.parametrize("n, expected", [(64, 0.79), (256, 0.89)])
def test_random_matrices_are_far(n, expected):
    a = np.random.default_rng(5).standard_normal((n, n))
    assert abs(monarch_project(a).relative_error - expected) < 0.01


def test_default_blocks_and_stacks():
    a = np.random.default_rng(6).standard_normal((2, 3, 12, 12))
    result = monarch_project(a)
    assert result.right.shape[-3] == 4 and result.residual_norm.shape == (2, 3)
    np.testing.assert_allclose(
        result.residual_norm[1, 2], monarch_project(a[1, 2]).residual_norm, rtol=1e-12
    )


@pytest.mark.parametrize(
    "n, k", [(1, None), (12, 4), (12, 3), (30, 6), (64, 8), (13, None), (360, None)]
)
def test_fourier(n, k):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3, n)) + 1j * rng.standard_normal((3, n))
    right, left, permutation = monarch_dft(n, n_blocks=k)
    np.testing.assert_allclose(
        monarch_matmul(x[:, permutation], right, left),
        np.fft.fft(x, norm="ortho"),
        atol=1e-14 * n**0.5,
    )
    right, left, permutation = monarch_dft(n, n_blocks=k, inverse=True)
    np.testing.assert_allclose(
        monarch_matmul(x[:, permutation], right, left),
        np.fft.ifft(x, norm="ortho"),
        atol=1e-14 * n**0.5,
    )


@pytest.mark.parametrize("n, k, expected", [(64, 8, 0.935414), (12, 4, 0.816497)])
def test_fourier_needs_its_permutation(n, k, expected):
    dft = np.fft.fft(np.eye(n), norm="ortho")
    assert abs(monarch_project(dft, n_blocks=(k, n // k)).relative_error - expected) < 1e-6
    permutation = monarch_dft(n, n_blocks=k).permutation
    assert monarch_project(dft[:, permutation], n_blocks=(k, n // k)).residual_norm < 1e-15 * n


# --- the layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_layer(bias):
    rng = np.random.default_rng(8)
    layer = MonarchLinear(10, 7, bias=bias, dtype=np.float64, rng=0)
    x, g = rng.standard_normal((2, 5, 10)), rng.standard_normal((2, 5, 7))
    y, cache = layer.forward(x)
    np.testing.assert_allclose(y, x @ layer.toarray().T + (layer.bias if bias else 0), atol=1e-13)
    grad_x, grads = layer.vjp(g, cache)
    np.testing.assert_allclose(grad_x, g @ layer.toarray(), atol=1e-13)
    assert [grad.shape for grad in grads] == [p.shape for p in layer.parameters]
    if bias:
        np.testing.assert_allclose(grads[2], g.sum(axis=(0, 1)), atol=1e-13)
    distance = layer.from_dense(np.ones((7, 10)))
    np.testing.assert_allclose(np.linalg.norm(layer.toarray() - 1), distance, atol=1e-12)


def test_a_monarch_layer_learns_a_transform_that_a_low_rank_layer_cannot():
    """y = H x, n = 256, 16 × 16 blocks, 1000 steps of Adam; a rank-16 product has as many
    parameters."""
    rng = np.random.default_rng(9)
    hadamard = fwht(np.eye(256), norm="ortho").astype(np.float32)
    right, left = (rng.standard_normal((16, 16, 16)).astype(np.float32) / 4 for _ in range(2))
    moments, test = (
        [[np.zeros_like(f), np.zeros_like(f)] for f in (right, left)],
        rng.standard_normal((512, 256)).astype(np.float32),
    )
    for t in range(1, 1001):
        x = rng.standard_normal((256, 256)).astype(np.float32)
        grads = monarch_matmul_vjp(
            x, right, left, (monarch_matmul(x, right, left) - x @ hadamard) / 256
        )
        for f, g, m in zip((right, left), grads[1:], moments, strict=True):
            m[0] += 0.1 * (g - m[0])
            m[1] += 0.001 * (g * g - m[1])
            step = 1e-2 * (1 + np.cos(np.pi * t / 1000)) / 2
            f -= (
                np.float32(step)
                * (m[0] / (1 - 0.9**t))
                / (np.sqrt(m[1] / (1 - 0.999**t)) + np.float32(1e-8))
            )
    error = np.linalg.norm(monarch_matmul(test, right, left) - test @ hadamard) / np.linalg.norm(
        test
    )
    assert error <= 1e-3
    sigma = np.ones(256)  # of the orthogonal matrix: the best product of rank 16 leaves the others
    assert np.sqrt((sigma[16:] ** 2).sum() / (sigma**2).sum()) >= 0.5


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (monarch_matmul, (np.ones(5), RIGHT, LEFT), "x must have .* n = k p = 4"),
        (
            monarch_matmul,
            (np.ones(4), RIGHT, LEFT[:1]),
            r"left must have l r = k q = 4 \(got l = 1",
        ),
        (monarch_matmul_vjp, (np.ones(4), RIGHT, LEFT, np.ones(5)), "grad_out must have .* = 4"),
        (monarch_to_dense, (RIGHT, LEFT[:1]), "left must have l r = k q = 4"),
        (MonarchLinear(5, 3).forward, (np.ones(4),), r"x must have shape \(..., 5\)"),
        (MonarchLinear(5, 3).vjp, (np.ones(4), np.ones(8)), r"grad_y must have shape \(..., 3\)"),
        (MonarchLinear(5, 3).from_dense, (np.ones((5, 3)),), r"a must have shape \(3, 5\)"),
    ],
)
def test_mismatched_sizes(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(n_blocks=(3, 2)), r"n_blocks must divide \(n, m\) = \(4, 4\) \(got \(3, 2\)\)"),
        (dict(n_blocks=(2, 0)), r"n_blocks\[1\] must be >= 1 \(got 0\)"),
        (dict(n_blocks=(2,)), "n_blocks must have 2 items"),
        (dict(rank=3), "rank must be <= 2"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        monarch_project(np.ones((4, 4)), **options)
    with pytest.raises(ValueError, match="n_blocks must divide n = 4"):
        monarch_dft(4, n_blocks=3)


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("interleaved", [0, 1])
def test_panels_hold_blocks_of_any_shape(shape, interleaved):
    rng, (i, j), groups, rows = np.random.default_rng(0), shape, kernels.GROUP, kernels.ROWS + 1
    y, x = (rng.standard_normal((rows, groups * size)).astype(np.float32) for size in (i, j))
    w = rng.standard_normal((groups, i, j)).astype(np.float32)
    for made, arguments in (
        (kernels.block_product, [x, w, np.empty_like(y), interleaved, 0]),
        (kernels.block_outer, [y, x, np.empty_like(w), interleaved]),
    ):
        variant, dims = made.bind(arguments)
        guarded_runs(made, variant, [(arguments, dims)])
