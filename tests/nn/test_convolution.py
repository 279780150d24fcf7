"""Convolution against its definition, torch's gradients, finite differences, known answers, bad
input, memory; a small network."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.nn import convolution as naive
from numcore.nn import conv2d, conv2d_vjp, max_pool2d, max_pool2d_vjp
from numcore.testing import check_vjp, simulated_gpu

SEED = 1989
TOLERANCE = {
    "float32": 5e-6,
    "float64": 1e-14,
}  # relative to the largest entry: sums of up to a hundred terms

GEOMETRIES = [  # (n, c, h, w), (o, kh, kw), options
    ((2, 3, 7, 9), (4, 3, 3), {}),
    ((2, 3, 7, 9), (4, 3, 3), {"padding": 1}),
    ((1, 1, 5, 5), (1, 1, 1), {}),
    ((3, 2, 6, 6), (5, 1, 1), {"stride": 2}),
    ((2, 4, 11, 8), (6, 3, 2), {"stride": (2, 3), "padding": (2, 1)}),
    (
        (2, 4, 11, 8),
        (6, 3, 2),
        {"stride": (3, 2), "padding": (0, 3), "dilation": (2, 3), "groups": 2},
    ),
    ((2, 6, 9, 9), (6, 3, 3), {"padding": 1, "groups": 6}),
    ((2, 2, 10, 10), (3, 3, 3), {"stride": 4, "dilation": 2, "padding": 2}),
    ((2, 2, 10, 10), (3, 2, 3), {"stride": (6, 9), "dilation": (4, 3), "padding": 1}),
    ((1, 2, 3, 3), (2, 3, 3), {"padding": 5}),
    ((2, 1, 4, 4), (2, 4, 4), {}),
    ((2, 1, 1, 30), (2, 1, 7), {"padding": (0, 3)}),
    ((2, 1, 30, 1), (2, 7, 1), {"stride": (7, 1)}),
    ((1, 2, 9, 130), (9, 3, 5), {"padding": (1, 2)}),
    ((4, 3, 2, 2), (50, 2, 2), {"padding": 1}),
    ((1, 70, 6, 6), (13, 3, 3), {"padding": 1}),
    ((1, 1, 40, 40), (1, 23, 29), {"padding": 11}),
    ((2, 3, 5, 6), (2, 2, 2), {"stride": 100}),
]


def arrays(dtype, shape, kernels, options, seed=SEED):
    rng, (o, *size) = np.random.default_rng(seed), kernels
    shapes = shape, (o, shape[1] // options.get("groups", 1), *size), (o,)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def assert_close(result, expected, factor=1.0):
    assert result.shape == expected.shape
    np.testing.assert_allclose(
        result,
        expected,
        rtol=0,
        atol=factor * TOLERANCE[result.dtype.name] * max(1, np.abs(expected).max(initial=0)),
    )


# --- known answers and definitions ----------------------------------------------------------------


def test_known_answer():
    y, _ = conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)))
    assert y.tolist() == [[[[8, 12], [20, 24]]]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape, kernels, options", GEOMETRIES)
def test_like_the_definition(shape, kernels, options, dtype):
    x, w, b = arrays(dtype, shape, kernels, options)
    y, cache = conv2d(x, w, b, **options)
    assert y.dtype == dtype
    assert_close(y, naive.conv2d(x, w, b, **options))
    assert_close(conv2d(x, w, **options)[0], naive.conv2d(x, w, **options))
    grad_y = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    for result, expected in zip(
        conv2d_vjp(grad_y, cache), naive.conv2d_vjp(grad_y, x, w, **options), strict=True
    ):
        assert result.dtype == dtype
        assert_close(result, expected, 2)


@pytest.mark.parametrize("shape, kernels, options", GEOMETRIES)
def test_like_torch_autograd(shape, kernels, options):
    torch = pytest.importorskip("torch")
    inputs = arrays(np.float64, shape, kernels, options)
    y, cache = conv2d(*inputs, **options)
    grad_y = np.random.default_rng(2).standard_normal(y.shape)
    theirs = [torch.from_numpy(a).requires_grad_() for a in inputs]
    their_y = torch.nn.functional.conv2d(*theirs, **options)
    their_grads = torch.autograd.grad(their_y, theirs, torch.from_numpy(grad_y))
    for result, expected in zip(
        (y, *conv2d_vjp(grad_y, cache)), (their_y, *their_grads), strict=True
    ):
        np.testing.assert_allclose(result, expected.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "shape, kernels, options", [*GEOMETRIES[:11], ((0, 2, 5, 5), (3, 3, 3), {"padding": 1})]
)
def test_gradients_by_finite_differences(shape, kernels, options):
    x, w, b = arrays(np.float64, shape, kernels, options)

    def forward(x, w, b):
        return conv2d(x, w, b, **options)

    assert check_vjp(forward, conv2d_vjp, (x, w, b), rng=1) < 1e-7
    assert check_vjp(forward, conv2d_vjp, (x, w, None), rng=2) < 1e-7
    assert (
        check_vjp(
            lambda x, w, b: forward(np.asfortranarray(x)[:, ::-1], w[..., ::-1], b),
            lambda g, cache: (lambda gx, gw, gb: (gx[:, ::-1], gw[..., ::-1], gb))(
                *conv2d_vjp(g, cache)
            ),
            (x, w, b),
            rng=3,
        )
        < 1e-7
    )


def test_the_gradient_in_x_is_the_adjoint():
    """<conv(x), g> = <x, grad_x(g)> without any difference quotient, at several sizes of blocks."""
    rng = np.random.default_rng(SEED)
    for shape, o in (((40, 3, 28, 28), 8), ((2, 5, 150, 170), 3), ((300, 2, 5, 5), 4)):
        x, w = rng.standard_normal(shape), rng.standard_normal((o, shape[1], 3, 3))
        y, cache = conv2d(x, w, stride=(1, 2), padding=1)
        g = rng.standard_normal(y.shape)
        grad_x, grad_w, _ = conv2d_vjp(g, cache)
        exact = np.vdot(y, g)
        assert abs(np.vdot(x, grad_x) - exact) < 1e-11 * np.abs(y * g).sum()
        assert abs(np.vdot(w, grad_w) - exact) < 1e-11 * np.abs(y * g).sum()


def test_a_batch_is_its_images():
    """Blocks of images and of rows leave no seam."""
    rng = np.random.default_rng(SEED)
    for shape, o in (((70, 16, 20, 30), 5), ((3, 40, 90, 90), 8)):
        x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, (o, shape[1], 3, 3)))
        y, _ = conv2d(x, w, padding=1)
        for i in (0, shape[0] // 2, shape[0] - 1):
            assert_close(
                y[i : i + 1], conv2d(x[i : i + 1].astype(float), w.astype(float), padding=1)[0]
            )


def test_empty_inputs():
    w = np.ones((4, 2, 3, 3))
    y, cache = conv2d(np.ones((0, 2, 5, 5)), w)
    grads = conv2d_vjp(y, cache)
    assert (
        y.shape == (0, 4, 3, 3)
        and grads[0].shape == (0, 2, 5, 5)
        and not grads[1].any()
        and grads[1].shape == w.shape
    )
    y, cache = conv2d(np.ones((2, 0, 5, 5)), np.ones((3, 0, 2, 2)), np.arange(3.0))
    assert (y == np.arange(3.0)[:, None, None]).all() and y.shape == (2, 3, 4, 4)
    assert [g.shape for g in conv2d_vjp(y, cache)] == [(2, 0, 5, 5), (3, 0, 2, 2), (3,)]
    y, cache = conv2d(np.ones((2, 3, 5, 5)), np.ones((0, 3, 2, 2)))
    assert y.shape == (2, 0, 4, 4) and not conv2d_vjp(y, cache)[0].any()
    y, _ = conv2d(
        np.ones((1, 1, 0, 3)), np.ones((1, 1, 1, 1)), np.ones(1), padding=1
    )  # nothing but padding
    assert y.shape == (1, 1, 2, 5) and (y == 1).all()


def test_nan_reaches_only_what_sees_it():
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 2, 3] = np.nan
    y, cache = conv2d(x, np.ones((1, 1, 3, 3)), padding=1)
    expected = np.zeros((6, 6), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0, 0]), expected)


# --- promises -------------------------------------------------------------------------------------


def test_the_cache_holds_inputs_by_reference_and_serves_again():
    x, w, b = arrays(np.float32, (2, 3, 8, 8), (4, 3, 3), {})
    y, cache = conv2d(x, w, b, padding=1)
    assert cache.x is x and cache.w is w
    first, second = conv2d_vjp(y, cache), conv2d_vjp(y, cache)
    for a, c in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, c)
    assert conv2d_vjp(y, conv2d(x, w, padding=1)[1])[2] is None


def test_same_bits_at_any_number_of_threads():
    x, w, b = arrays(np.float32, (9, 17, 24, 26), (21, 3, 3), {})
    results, before = [], numcore.get_num_threads()
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            y, cache = conv2d(x, w, b, padding=1, stride=(1, 2))
            results.append((y, *conv2d_vjp(y, cache)))
    finally:
        numcore.set_num_threads(before)
    for other in results[1:]:
        for a, c in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, c)


def traced(function, *arguments, **options):
    """The result, and the most bytes that were in use."""
    tracemalloc.start()
    try:
        return function(*arguments, **options), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_batch():
    """All columns of this batch would take 300 MB; beyond the results there is room for a block of
    them."""
    x, w, b = arrays(np.float32, (32, 64, 64, 64), (8, 3, 3), {})
    y, cache = conv2d(x[:1], w, b, padding=1)
    conv2d_vjp(y, cache)
    (y, cache), peak = traced(conv2d, x, w, b, padding=1)
    assert peak < y.nbytes + 8e6
    _, peak = traced(conv2d_vjp, y, cache)
    assert peak < x.nbytes + 8e6


def test_on_the_simulated_gpu_with_all_checks():
    for shape, kernels, options in GEOMETRIES[1:6]:
        inputs = arrays(np.float32, shape, kernels, options)
        y, cache = conv2d(*inputs, **options)
        with simulated_gpu(checked=True) as xp:
            on_gpu, there = conv2d(*map(xp.asarray, inputs), **options)
            grads = conv2d_vjp(on_gpu, there)
        assert_close(on_gpu.get(), y)
        for a, c in zip(grads, conv2d_vjp(y, cache), strict=True):
            assert_close(a.get(), c, 2)


X, W, B = np.ones((2, 4, 5, 6)), np.ones((6, 4, 3, 3)), np.ones(6)


@pytest.mark.parametrize(
    "arguments, options, kind, message",
    [
        ((X, W[:, :, :0]), {}, ValueError, r"w must have kh, kw >= 1 \(got shape \(6, 4, 0, 3\)\)"),
        (
            (X, W[:, :3]),
            {},
            ValueError,
            r"w must have c / groups = 4 input channels \(got shape \(6, 3, 3, 3\)\)",
        ),
        ((X, W, B[:5]), {}, ValueError, r"b must have shape \(o,\) with o = 6 \(got \(5,\)\)"),
        (
            (X, W),
            {"groups": 3},
            ValueError,
            r"groups must divide c and o with c = 4, o = 6 \(got 3\)",
        ),
        ((X, W[:5, :2]), {"groups": 2}, ValueError, "groups must divide"),
        (
            (X, W),
            {"stride": (1, -1)},
            ValueError,
            r"stride\[1\] must be in \[1, 2\*\*31\) \(got -1\)",
        ),
        ((X, W), {"stride": 2**31}, ValueError, r"stride must be in .* \(got 2147483648\)"),
        ((X, W), {"padding": -1}, ValueError, r"padding must be in \[0, 2\*\*31\) \(got -1\)"),
        ((X, W), {"stride": (1, 2, 3)}, ValueError, r"stride must have 2 items \(got 3\)"),
        (
            (X, W),
            {"dilation": (1, 3)},
            ValueError,
            r"kernel must not be larger than the padded image, 6 pixels along an axis \(got 7\)",
        ),
        ((X, np.ones((6, 4, 6, 3))), {}, ValueError, "kernel must not be larger"),
        ((X, W), {"padding": True}, TypeError, "padding must be an integer"),
        ((X, W.astype("f4")), {}, TypeError, "w must have dtype float64 like x"),
    ],
)
def test_bad_input(arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        conv2d(*arguments, **options)


def test_bad_gradients_and_caches():
    y, cache = conv2d(X, W, B)
    with pytest.raises(TypeError, match="cache must be a Conv2dCache"):
        conv2d_vjp(y, max_pool2d(X, 2)[1])
    with pytest.raises(
        ValueError, match=r"grad_y must have shape \(2, 6, 3, 4\) \(got \(2, 6, 3, 3\)\)"
    ):
        conv2d_vjp(y[..., 1:], cache)
    with pytest.raises(TypeError, match="grad_y must have dtype float64 like cache.x"):
        conv2d_vjp(y.astype("f4"), cache)
    with simulated_gpu() as xp, pytest.raises(TypeError, match="grad_y"):
        conv2d_vjp(xp.asarray(y), cache)


# --- a network ------------------------------------------------------------------------------------


def forward(parameters, x):
    """Two convolutions with relu and pooling, and a matrix: the scores, and what the backward pass
    needs."""
    w1, b1, w2, b2, w3, b3 = parameters
    y1, cache1 = conv2d(x, w1, b1, padding=1)
    p1, pool1 = max_pool2d(np.maximum(y1, 0), 2)
    y2, cache2 = conv2d(p1, w2, b2, padding=1)
    p2, pool2 = max_pool2d(np.maximum(y2, 0), 2)
    flat = p2.reshape(len(x), -1)
    return flat @ w3 + b3, (cache1, y1, pool1, cache2, y2, pool2, flat)


def backward(parameters, saved, grad):
    cache1, y1, pool1, cache2, y2, pool2, flat = saved
    grad_p2 = (grad @ parameters[4].T).reshape(pool2.where.shape)
    grad_p1, *grads2 = conv2d_vjp(max_pool2d_vjp(grad_p2, pool2) * (y2 > 0), cache2)
    _, *grads1 = conv2d_vjp(max_pool2d_vjp(grad_p1, pool1) * (y1 > 0), cache1)
    return [*grads1, *grads2, flat.T @ grad, grad.sum(axis=0)]


def cross_entropy_gradient(scores, labels):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


def test_a_network_learns_to_read_digits():
    """Two convolutions reach 98 to 99 % on images not seen; a wrong gradient anywhere leaves them
    far below. Takes a few seconds."""
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    train, test = order[:1400], order[1400:]
    shapes = (16, 1, 3, 3), (16,), (32, 16, 3, 3), (32,), (128, 10), (10,)
    fans = 9, 0, 144, 0, 128, 0
    parameters = [
        (rng.standard_normal(s) * np.sqrt(2 / fan if fan else 0)).astype(np.float32)
        for s, fan in zip(shapes, fans, strict=True)
    ]
    m, v = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    step = 0
    for _ in range(15):
        for batch in np.array_split(rng.permutation(train), 22):
            scores, saved = forward(parameters, images[batch])
            step += 1
            for i, g in enumerate(
                backward(parameters, saved, cross_entropy_gradient(scores, labels[batch]))
            ):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                parameters[i] -= (
                    3e-3 * (m[i] / (1 - 0.9**step)) / (np.sqrt(v[i] / (1 - 0.999**step)) + 1e-8)
                )
    accuracy = np.mean(forward(parameters, images[test])[0].argmax(axis=1) == labels[test])
    assert accuracy > 0.97
