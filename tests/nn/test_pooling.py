"""Pooling against its definition, torch's gradients, finite differences, ties and NaN, known
answers, bad input."""

import numpy as np
import pytest

import numcore
from numcore.examples.nn import pooling as naive
from numcore.nn import avg_pool2d, avg_pool2d_vjp, max_pool2d, max_pool2d_vjp
from numcore.testing import check_vjp, simulated_gpu

BOTH = [
    pytest.param(max_pool2d, max_pool2d_vjp, "max", id="max"),
    pytest.param(avg_pool2d, avg_pool2d_vjp, "mean", id="avg"),
]
GEOMETRIES = [  # shape, size, options
    ((2, 3, 6, 8), 2, {}),
    ((2, 3, 7, 9), 2, {}),
    ((1, 1, 1, 1), 1, {}),
    ((2, 2, 7, 9), 3, {"stride": 1, "padding": 1}),
    ((2, 2, 7, 9), (3, 2), {"stride": (2, 1), "padding": (1, 1)}),
    ((2, 2, 9, 7), (2, 5), {"stride": (3, 4), "padding": (0, 2)}),
    ((1, 2, 4, 5), (4, 5), {}),
    ((1, 2, 3, 4), 6, {"padding": 3, "stride": 1}),
    ((3, 1, 5, 40), (1, 4), {"stride": (1, 2)}),
    ((1, 1, 5, 6), 2, {"stride": 100}),
]
# avg sums up to 36 terms; max pooling is exact, its gradient adds up to nine
TOLERANCE = {"float32": 4e-6, "float64": 1e-14}


def images(shape, dtype, seed=0):
    """Of few values, so that many windows hold equal ones."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)


def test_known_answers():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert max_pool2d(x, 2)[0].tolist() == [[[[5, 7], [13, 15]]]]
    assert avg_pool2d(x, 2)[0].tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert max_pool2d(-1 - x, 2, padding=1)[0].tolist() == [
        [[[-1, -2, -4], [-5, -6, -8], [-13, -14, -16]]]
    ]  # padding never wins
    assert avg_pool2d(np.ones((1, 1, 2, 2)), 2, padding=1)[0].tolist() == [
        [[[0.25, 0.25], [0.25, 0.25]]]
    ]  # and counts in the mean


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape, size, options", GEOMETRIES)
@pytest.mark.parametrize("routine, vjp, kind", BOTH)
def test_like_the_definition(routine, vjp, kind, shape, size, options, dtype):
    x = images(shape, dtype)
    y, cache = routine(x, size, **options)
    expected, where = naive.pool2d(x, size, **options, kind=kind)
    assert y.dtype == dtype and y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=0 if kind == "max" else TOLERANCE[dtype])
    grad_y = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    grad_x = vjp(grad_y, cache)
    assert grad_x.dtype == dtype
    np.testing.assert_allclose(
        grad_x,
        naive.pool2d_vjp(grad_y, where, x.shape, size, **options),
        rtol=0,
        atol=TOLERANCE[dtype],
    )
    np.testing.assert_array_equal(vjp(grad_y, cache), grad_x)


@pytest.mark.parametrize("shape, size, options", GEOMETRIES)
@pytest.mark.parametrize("routine, vjp, kind", BOTH)
def test_like_torch_autograd(routine, vjp, kind, shape, size, options):
    torch = pytest.importorskip("torch")
    x = images(shape, np.float64)
    y, cache = routine(x, size, **options)
    grad_y = np.random.default_rng(1).standard_normal(y.shape)
    their_x = torch.from_numpy(x).requires_grad_()
    their_y = getattr(torch.nn.functional, routine.__name__)(their_x, size, **options)
    (their_grad,) = torch.autograd.grad(their_y, their_x, torch.from_numpy(grad_y))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(vjp(grad_y, cache), their_grad.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape, size, options", [*GEOMETRIES, ((0, 2, 4, 4), 2, {})])
@pytest.mark.parametrize("routine, vjp, kind", BOTH)
def test_gradients_by_finite_differences(routine, vjp, kind, shape, size, options):
    x = (
        np.random.default_rng(2).permutation(np.prod(shape)).reshape(shape) / 7.0
    )  # no two values are close to each other
    assert check_vjp(lambda x: routine(x, size, **options), vjp, (x,), rng=3) < 1e-7
    assert (
        check_vjp(
            lambda x: routine(np.asfortranarray(x)[..., ::-1], size, **options),
            lambda g, cache: vjp(g, cache)[..., ::-1],
            (x,),
            rng=4,
        )
        < 1e-7
    )


def test_the_first_of_equal_values_takes_the_gradient():
    y, cache = max_pool2d(np.zeros((1, 1, 3, 3)), 2, stride=1)
    assert max_pool2d_vjp(np.array([[[[1.0, 2], [3, 4]]]]), cache).tolist() == [
        [[[1, 2, 0], [3, 4, 0], [0, 0, 0]]]
    ]
    x = np.full((1, 1, 2, 2), -np.inf)
    y, cache = max_pool2d(x, 2)
    assert y.item() == -np.inf and max_pool2d_vjp(np.ones_like(y), cache).tolist() == [
        [[[1, 0], [0, 0]]]
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_wins(dtype):
    x = images((2, 3, 9, 10), dtype)
    x[np.random.default_rng(5).random(x.shape) < 0.1] = np.nan
    for size, options in ((2, {}), (3, {"stride": 2, "padding": 1}), ((1, 4), {"stride": 1})):
        y, cache = max_pool2d(x, size, **options)
        expected, where = naive.pool2d(x, size, **options)
        np.testing.assert_array_equal(y, expected)
        grad_y = np.random.default_rng(6).standard_normal(y.shape).astype(dtype)
        np.testing.assert_allclose(
            max_pool2d_vjp(grad_y, cache),
            naive.pool2d_vjp(grad_y, where, x.shape, size, **options),
            rtol=0,
            atol=TOLERANCE[dtype],
        )


def test_same_bits_at_any_number_of_threads_and_on_the_gpu():
    x = images((5, 7, 33, 34), np.float32)
    grad_y, before = (
        np.random.default_rng(1).standard_normal((5, 7, 31, 32)).astype(np.float32),
        numcore.get_num_threads(),
    )
    for routine, vjp, exact in (
        (max_pool2d, max_pool2d_vjp, True),
        (avg_pool2d, avg_pool2d_vjp, False),
    ):
        results = []
        try:
            for threads in (1, 2, 5):
                numcore.set_num_threads(threads)
                y, cache = routine(x, 3, stride=1)
                results.append((y, vjp(grad_y, cache)))
        finally:
            numcore.set_num_threads(before)
        with simulated_gpu() as xp:
            y, cache = routine(xp.asarray(x), 3, stride=1)
            on_gpu = y.get(), vjp(xp.asarray(grad_y), cache).get()
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(results[0], on_gpu, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=0 if exact else TOLERANCE["float32"])


def test_on_the_simulated_gpu_with_all_checks():
    for routine, vjp, _ in (p.values for p in BOTH):
        for shape, size, options in GEOMETRIES[3:6]:
            x = images(shape, np.float64)
            y, cache = routine(x, size, **options)
            with simulated_gpu(checked=True) as xp:
                on_gpu, there = routine(xp.asarray(x), size, **options)
                grad = vjp(on_gpu, there)
            np.testing.assert_allclose(on_gpu.get(), y, rtol=0, atol=1e-14)
            np.testing.assert_allclose(grad.get(), vjp(y, cache), rtol=0, atol=1e-14)


def test_empty_inputs():
    for routine, vjp, _ in (p.values for p in BOTH):
        for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
            y, cache = routine(np.ones(shape), 2)
            assert y.shape == (*shape[:2], 2, 2) and vjp(y, cache).shape == shape


X = np.ones((2, 3, 5, 6))


@pytest.mark.parametrize(
    "x, size, options, message",
    [
        (X[:, :, :0], 1, {}, r"x must have height, width >= 1 and .* \(got shape \(2, 3, 0, 6\)\)"),
        (
            X,
            2,
            {"padding": 2},
            r"padding must be <= size / 2 with size = \(2, 2\) \(got \(2, 2\)\)",
        ),
        (X, (2, 7), {}, r"kernel must not be larger than the padded image, 6 pixels .* \(got 7\)"),
        (X, (2, 2, 2), {}, r"size must have 2 items \(got 3\)"),
        (X, (2, 0), {}, r"size\[1\] must be in \[1, 2\*\*31\) \(got 0\)"),
    ],
)
@pytest.mark.parametrize("routine", [max_pool2d, avg_pool2d])
def test_bad_input(routine, x, size, options, message):
    with pytest.raises(ValueError, match=message):
        routine(x, size, **options)


def test_bad_gradients_and_caches():
    for routine, vjp, other in (
        (max_pool2d, max_pool2d_vjp, avg_pool2d),
        (avg_pool2d, avg_pool2d_vjp, max_pool2d),
    ):
        y, cache = routine(X, 2)
        with pytest.raises(TypeError, match="cache must be a"):
            vjp(y, other(X, 2)[1])
        with pytest.raises(ValueError, match=r"grad_y must have shape .* \(got \(1, 3, 2, 3\)\)"):
            vjp(y[:1], cache)
        with pytest.raises(TypeError, match="grad_y must have dtype float64 like x"):
            vjp(y.astype("f4"), cache)
    with simulated_gpu() as xp, pytest.raises(TypeError, match="one device"):
        max_pool2d_vjp(xp.asarray(y), max_pool2d(X, 2)[1])
