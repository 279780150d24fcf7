"""Layer, RMS and batch normalisation against naive versions and torch, their properties, bad input
and memory."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.nn import (
    batch_norm,
    batch_norm_vjp,
    layer_norm,
    layer_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)
from numcore.testing import check_vjp, simulated_gpu
from tests.naive.nn import normalization as naive

# Relative to the largest entry: sums of 32 rows and of a row's lanes in float32, everything else in
# one rounding each.
TOLERANCE = {"float32": 4e-6, "float64": 1e-13}
SEED = 1607


def arrays(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(result, expected, factor=1.0):
    assert result.shape == expected.shape
    scale = np.abs(expected).max(initial=1e-3)
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=factor * TOLERANCE[result.dtype.name] * scale
    )


# --- known answers --------------------------------------------------------------------------------


def test_known_layer_norm():
    y, cache = layer_norm(np.array([1.0, 2, 4]), np.ones(3), np.zeros(3))
    np.testing.assert_allclose(y, [-1.06904153, -0.26726038, 1.33630191], rtol=0, atol=1e-8)
    grad_x, grad_weight, grad_bias = layer_norm_vjp(np.array([1.0, 0, 0]), cache)
    np.testing.assert_allclose(grad_x, [0.22908229, -0.34362, 0.11453771], rtol=0, atol=1e-8)
    np.testing.assert_allclose(grad_weight, [y[0], 0, 0])
    assert grad_bias.tolist() == [1, 0, 0]


def test_known_batch_norm():
    """Means 2 and -1, biased variances 1 and 9, unbiased ones 2 and 18."""
    y, cache = batch_norm(
        np.array([[1.0, 2], [3, -4]]),
        np.array([1.0, 2]),
        np.array([0.0, 5]),
        (np.zeros(2), np.ones(2)),
        eps=1e-300,
    )
    assert y.tolist() == [[-1, 7], [1, 3]]
    np.testing.assert_allclose(cache.running.mean, [0.2, -0.1])
    np.testing.assert_allclose(cache.running.var, [1.1, 2.7])


def test_known_rms_norm():
    y, _ = rms_norm(np.array([[3.0, 4], [0, 0]]), np.array([1.0, 10]), eps=1e-300)
    np.testing.assert_allclose(y, [[3 / np.sqrt(12.5), 40 / np.sqrt(12.5)], [0, 0]])


# --- naive versions -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "n, d", [(1, 1), (1, 31), (2, 64), (31, 7), (32, 33), (33, 65), (64, 1), (65, 3), (34, 130)]
)
def test_rows_against_naive(n, d, dtype):
    rng = np.random.default_rng(SEED)
    x, grad_y, weight, bias = arrays(rng, dtype, (n, d), (n, d), d, d)
    for eps in (1e-5, 0.3):
        y, cache = layer_norm(x, weight, bias, eps=eps)
        assert_close(y, naive.layer_norm(x, weight, bias, eps))
        for result, expected in zip(
            layer_norm_vjp(grad_y, cache), naive.layer_norm_vjp(grad_y, x, weight, eps), strict=True
        ):
            assert_close(
                result, expected, 1 if d > 1 else 400
            )  # d = 1: everything cancels but eps, whose root is 1/300
        y, cache = rms_norm(x, weight, eps=eps)
        assert_close(y, naive.layer_norm(x, weight, 0, eps, centred=False))
        expected = naive.layer_norm_vjp(grad_y, x, weight, eps, centred=False)[:2]
        for result, right in zip(rms_norm_vjp(grad_y, cache), expected, strict=True):
            assert_close(
                result, right, 1 if d > 1 else 1e4
            )  # d = 1: 1 - x²/(x² + eps), times up to 1/sqrt(eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, d", [(3, 1), (31, 7), (32, 33), (33, 65), (64, 1), (65, 3), (34, 130)])
def test_columns_against_naive(n, d, dtype):
    rng = np.random.default_rng(SEED)
    x, grad_y, weight, bias, mean = arrays(rng, dtype, (n, d), (n, d), d, d, d)
    var = mean**2
    y, cache = batch_norm(x, weight, bias, (mean, var), momentum=0.3, eps=0.01)
    for result, expected in zip(
        (y, *cache.running), naive.batch_norm(x, weight, bias, mean, var, 0.3, 0.01), strict=True
    ):
        assert_close(result, expected)
    for result, expected in zip(
        batch_norm_vjp(grad_y, cache), naive.batch_norm_vjp(grad_y, x, weight, 0.01), strict=True
    ):
        assert_close(result, expected, 3)
    y, cache = batch_norm(x, weight, bias, (mean, var), eps=0.01, training=False)
    assert_close(y, (x - mean.astype(float)) / np.sqrt(var.astype(float) + 0.01) * weight + bias)
    assert_close(
        batch_norm_vjp(grad_y, cache)[0], weight / np.sqrt(var.astype(float) + 0.01) * grad_y
    )


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(37,), (5, 37), (4, 11, 37), (2, 3, 40, 8)])
def test_autograd_agrees(shape):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(SEED)
    d = shape[-1]
    x, grad_y, weight, bias, mean = arrays(rng, "float64", shape, shape, d, d, d)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    functional = torch.nn.functional

    def check(y, grads, torch_y, used):
        np.testing.assert_allclose(y, torch_y.detach(), rtol=0, atol=1e-10)
        for grad, right in zip(
            grads, torch.autograd.grad(torch_y, used, torch.tensor(grad_y)), strict=True
        ):
            np.testing.assert_allclose(grad, right, rtol=0, atol=1e-10)

    y, cache = layer_norm(x, weight, bias)
    check(
        y,
        layer_norm_vjp(grad_y, cache),
        functional.layer_norm(tensors[0], (d,), *tensors[1:]),
        tensors,
    )
    y, cache = rms_norm(x, weight)
    check(
        y,
        rms_norm_vjp(grad_y, cache),
        functional.rms_norm(tensors[0], (d,), tensors[1], 1e-6),
        tensors[:2],
    )
    for training in (True, False) if len(shape) > 1 else (False,):
        running = [torch.tensor(mean), torch.tensor(mean**2)]
        y, cache = batch_norm(x, weight, bias, (mean, mean**2), momentum=0.2, training=training)
        torch_y = functional.batch_norm(
            tensors[0].reshape(-1, d), *running, *tensors[1:], training, 0.2
        ).reshape(shape)
        check(y, batch_norm_vjp(grad_y, cache), torch_y, tensors)
        for ours, theirs in zip(cache.running, running, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


# --- gradients by differences ---------------------------------------------------------------------

RUNNING = np.linspace(-1, 1, 6), np.linspace(0.5, 2, 6)
LAYERS = {
    "layer_norm": (layer_norm, layer_norm_vjp, 3),
    "rms_norm": (rms_norm, rms_norm_vjp, 2),
    "batch_norm": (lambda x, w, b: batch_norm(x, w, b, RUNNING), batch_norm_vjp, 3),
    "batch_norm without training": (
        lambda x, w, b: batch_norm(x, w, b, RUNNING, training=False),
        batch_norm_vjp,
        3,
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (40, 6), (3, 0, 6), (3, 5, 6)])
def test_gradients_by_differences(layer, shape):
    f, vjp, count = LAYERS[layer]
    arguments = arrays(np.random.default_rng(SEED), "float64", shape, 6, 6)[:count]
    assert check_vjp(f, vjp, arguments, rng=1) < 1e-7


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_of_strided_arrays(layer):
    f, vjp, count = LAYERS[layer]
    rng = np.random.default_rng(SEED)
    x, weight, bias = (
        rng.standard_normal((6, 7, 10)).transpose(1, 2, 0),
        rng.standard_normal(12)[::2],
        rng.standard_normal(6)[::-1],
    )
    arguments = (x, weight, bias)[:count]
    y, cache = f(*arguments)
    grad_y = rng.standard_normal((6, 10, 7)).transpose(2, 1, 0)
    same_y, same_cache = f(*(np.ascontiguousarray(a) for a in arguments))
    np.testing.assert_array_equal(y, same_y)
    for grad, same in zip(
        vjp(grad_y, cache), vjp(np.ascontiguousarray(grad_y), same_cache), strict=True
    ):
        np.testing.assert_array_equal(grad, same)
    assert check_vjp(f, vjp, arguments, rng=1) < 1e-7


@pytest.mark.parametrize("layer", LAYERS)
def test_a_cache_may_be_used_again(layer):
    f, vjp, count = LAYERS[layer]
    x, grad_y, *parameters = arrays(np.random.default_rng(SEED), "float64", (40, 6), (40, 6), 6, 6)
    _, cache = f(x, *parameters[: count - 1])
    assert cache.x is x
    for first, second in zip(vjp(grad_y, cache), vjp(grad_y, cache), strict=True):
        np.testing.assert_array_equal(first, second)


# --- properties -----------------------------------------------------------------------------------


def test_large_offsets_cost_no_more_than_rounding_x_does():
    """Moments about 0 would leave nothing of a variance of 1 beside a mean of 10000 in float32:
    10000² eps = 6."""
    rng = np.random.default_rng(SEED)
    x = (1e4 + rng.standard_normal((400, 96))).astype(np.float32)
    ones, zeros = np.ones(96, np.float32), np.zeros(96, np.float32)
    y, _ = layer_norm(x, ones, zeros)
    # the mean, of which a row has only one, may be off by half a unit of rounding: 1e4 * 2**-24 =
    # 6e-4
    np.testing.assert_allclose(y, naive.layer_norm(x, ones, zeros, 1e-5), rtol=0, atol=1.2e-3)
    y, cache = batch_norm(x, ones, zeros, (zeros, ones), momentum=1)
    exact, mean, var = naive.batch_norm(x, ones, zeros, zeros, ones, 1, 1e-5)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-5)
    np.testing.assert_allclose(cache.running.mean, mean, rtol=1e-7)
    np.testing.assert_allclose(cache.running.var, var, rtol=1e-5)
    grad_y = (1 + rng.standard_normal(x.shape)).astype(
        np.float32
    )  # a mean that is off would show in sums of grad_y (x - mean)
    for grad, right in zip(
        batch_norm_vjp(grad_y, cache), naive.batch_norm_vjp(grad_y, x, ones, 1e-5), strict=True
    ):
        np.testing.assert_allclose(grad, right, rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, -3e10, 7e18])
def test_constant_rows_and_columns_become_the_bias(value):
    x = np.full((70, 33), value, np.float32)
    ones, bias = np.ones(33, np.float32), np.linspace(-1, 1, 33, dtype=np.float32)
    np.testing.assert_array_equal(layer_norm(x, ones, bias)[0], np.broadcast_to(bias, x.shape))
    np.testing.assert_array_equal(
        batch_norm(x, ones, bias, None)[0], np.broadcast_to(bias, x.shape)
    )


@pytest.mark.parametrize("value", [11054749696.0, 3989209088.0])
def test_rounding_makes_no_variance_negative(value):
    """Found by trying: the corrected sum of squares of these rows comes out below 0, by more than
    eps."""
    y, cache = layer_norm(np.full((1, 10007), value, np.float32), None, None, eps=1e-12)
    assert not y.any() and cache.scale == np.float32(1e6)


def test_scale_and_shift_of_the_input_do_not_matter():
    rng = np.random.default_rng(SEED)
    x, ones, zeros = rng.standard_normal((50, 20)), np.ones(20), np.zeros(20)
    np.testing.assert_allclose(
        layer_norm(64 * x + 3, ones, zeros, eps=1e-300)[0],
        layer_norm(x, ones, zeros, eps=1e-300)[0],
        atol=1e-13,
    )
    np.testing.assert_allclose(
        rms_norm(64 * x, ones, eps=1e-300)[0], rms_norm(x, ones, eps=1e-300)[0], atol=1e-15
    )
    first, second = (batch_norm(s * x + s - 1, ones, zeros, None, eps=1e-300)[0] for s in (1, 64))
    np.testing.assert_allclose(second, first, atol=1e-13)


def test_gradients_are_orthogonal_to_what_the_layer_takes_away():
    rng = np.random.default_rng(SEED)
    x, grad_y, weight, bias = arrays(rng, "float64", (50, 20), (50, 20), 20, 20)
    grad_x = layer_norm_vjp(grad_y, layer_norm(x, weight, bias, eps=1e-300)[1])[0]
    np.testing.assert_allclose([grad_x.sum(axis=1), (grad_x * x).sum(axis=1)], 0, atol=1e-13)
    grad_x = batch_norm_vjp(grad_y, batch_norm(x, weight, bias, None, eps=1e-300)[1])[0]
    np.testing.assert_allclose([grad_x.sum(axis=0), (grad_x * x).sum(axis=0)], 0, atol=1e-13)


def test_none_stands_for_ones_and_zeros():
    x, grad_y = arrays(np.random.default_rng(SEED), "float64", (40, 6), (40, 6))
    ones, zeros = np.ones(6), np.zeros(6)
    for layer, vjp, full, none in (
        (layer_norm, layer_norm_vjp, (ones, zeros), (None, None)),
        (rms_norm, rms_norm_vjp, (ones,), (None,)),
        (batch_norm, batch_norm_vjp, (ones, zeros, None), (None, None, None)),
    ):
        (y, cache), (same, same_cache) = layer(x, *full), layer(x, *none)
        np.testing.assert_array_equal(y, same)
        grad_x, *rest = vjp(grad_y, same_cache)
        np.testing.assert_array_equal(grad_x, vjp(grad_y, cache)[0])
        assert rest == [None] * len(rest)


def test_many_rows_keep_the_precision_of_sums():
    """A sum of 200000 float32 numbers one after the other would be off by about 1e-3."""
    rng = np.random.default_rng(SEED)
    x, grad_y = (
        rng.standard_normal((200000, 2)).astype(np.float32),
        1 + rng.random((200000, 2)).astype(np.float32),
    )
    cache = layer_norm(x, None, np.zeros(2, np.float32))[1]
    np.testing.assert_allclose(
        layer_norm_vjp(grad_y, cache)[2], grad_y.sum(axis=0, dtype=np.float64), rtol=2e-7
    )


# --- running statistics ---------------------------------------------------------------------------


def test_running_statistics_are_not_modified_and_feed_the_next_call():
    rng = np.random.default_rng(SEED)
    mean, var = np.zeros(5), np.ones(5)
    running, weight, bias = (mean, var), np.ones(5), np.zeros(5)
    for array in running:
        array.flags.writeable = False
    batches = [3 + 2 * rng.standard_normal((64, 5)) for _ in range(60)]
    for x in batches:
        _, cache = batch_norm(x, weight, bias, running)
        running = cache.running
    assert mean.tolist() == [0] * 5 and var.tolist() == [1] * 5
    # averages over about 10 batches of 64: 2/sqrt(640) and 4 sqrt(2/640), times 4
    np.testing.assert_allclose(running.mean, 3, atol=0.32)
    np.testing.assert_allclose(running.var, 4, atol=0.9)
    _, cache = batch_norm(batches[0], weight, bias, running, training=False)
    assert cache.running.mean is running.mean and cache.running.var is running.var


def test_one_position_says_nothing_about_variance_and_none_nothing_at_all():
    running = np.full(3, 5.0), np.full(3, 7.0)
    y, cache = batch_norm(
        np.array([[1.0, 2, 3]]), np.full(3, 2.0), np.arange(3.0), running, momentum=0.5
    )
    assert y.tolist() == [[0, 1, 2]]
    assert cache.running.mean.tolist() == [3, 3.5, 4] and cache.running.var.tolist() == [7, 7, 7]
    assert batch_norm_vjp(np.ones((1, 3)), cache)[0].tolist() == [[0, 0, 0]]
    y, cache = batch_norm(np.ones((0, 3)), np.ones(3), np.ones(3), running)
    assert (
        y.shape == (0, 3)
        and cache.running.mean.tolist() == [5, 5, 5]
        and cache.running.var.tolist() == [7, 7, 7]
    )
    grad_x, grad_weight, grad_bias = batch_norm_vjp(np.ones((0, 3)), cache)
    assert grad_x.shape == (0, 3) and grad_weight.tolist() == grad_bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0), (2, 0, 3)])
def test_empty_arrays(shape):
    x, ones = np.ones(shape, np.float32), np.ones(shape[-1], np.float32)
    for (y, cache), vjp in (
        (layer_norm(x, ones, ones), layer_norm_vjp),
        (rms_norm(x, ones), rms_norm_vjp),
        (batch_norm(x, ones, ones, (ones, ones)), batch_norm_vjp),
    ):
        grad_x, *rest = vjp(x, cache)
        assert y.shape == grad_x.shape == shape and all(
            r.shape == ones.shape and not r.any() for r in rest
        )


def test_nan_stays_in_its_row_or_column():
    x = np.random.default_rng(SEED).standard_normal((40, 6))
    x[7, 2] = np.nan
    ones = np.ones(6)
    assert np.isnan(layer_norm(x, ones, ones)[0]).sum(axis=1).tolist() == [
        6 * (i == 7) for i in range(40)
    ]
    assert np.isnan(batch_norm(x, ones, ones, None)[0]).sum(axis=0).tolist() == [
        40 * (j == 2) for j in range(6)
    ]


# --- devices, threads, memory ---------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_the_number_of_threads_does_not_matter(layer):
    f, vjp, count = LAYERS[layer]
    x, grad_y, weight, bias = arrays(
        np.random.default_rng(SEED), "float64", (20011, 6), (20011, 6), 6, 6
    )
    results = []
    try:
        for threads in (1, 2, 3, 7):
            numcore.set_num_threads(threads)
            y, cache = f(x, *(weight, bias)[: count - 1])
            results.append((y, *vjp(grad_y, cache)))
    finally:
        numcore.set_num_threads(None)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_gradient_on_another_device_is_refused():
    x, ones = np.ones((3, 4)), np.ones(4)
    with simulated_gpu() as xp:
        for (_, cache), vjp in (
            (layer_norm(x, ones, ones), layer_norm_vjp),
            (rms_norm(x, ones), rms_norm_vjp),
            (batch_norm(x, ones, ones, None), batch_norm_vjp),
        ):
            with pytest.raises(TypeError, match=r"one device \(got cache.x on cpu.* grad_y on"):
                vjp(xp.asarray(x), cache)
        with pytest.raises(TypeError, match=r"running\[0\] on cpu"):
            batch_norm(xp.asarray(x), xp.asarray(ones), xp.asarray(ones), (ones, ones))


def peak(call):
    call()
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_of_the_size_of_x_is_made_but_the_result(layer):
    """Beside it: two numbers for each row, sums of each 32 rows, and the stack of Python; 15 % of x
    together."""
    f, vjp, count = LAYERS[layer]
    x, grad_y = arrays(np.random.default_rng(SEED), "float64", (4000, 60), (4000, 60))
    weight, bias = np.ones(60), np.zeros(60)
    if "batch" in layer:
        running = np.zeros(60), np.ones(60)

        def f(x, w, b):
            return batch_norm(x, w, b, running, training=layer == "batch_norm")

    memory, (_, cache) = peak(lambda: f(x, *(weight, bias)[: count - 1]))
    assert memory < 1.15 * x.nbytes
    assert peak(lambda: vjp(grad_y, cache))[0] < 1.15 * x.nbytes


# --- bad input ------------------------------------------------------------------------------------

X, W = np.ones((4, 3)), np.ones(3)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: layer_norm(X, np.ones(2), W),
            ValueError,
            r"weight must have shape \(d,\) with d = 3 \(got \(2,\)\)",
        ),
        (
            lambda: layer_norm(np.float64(1), W, W),
            ValueError,
            r"x must have shape \(..., d\) \(got \(\)\)",
        ),
        (
            lambda: layer_norm(X.astype("f4"), W.astype("f4"), None, eps=1e-60),
            ValueError,
            r"eps must be > 0 and finite in float32 \(got 1e-60\)",
        ),
        (
            lambda: rms_norm(X.astype("f4"), None, eps=1e60),
            ValueError,
            r"eps must be > 0 and finite in float32",
        ),
        (
            lambda: layer_norm(X.astype("f4"), W, W),
            TypeError,
            r"weight must have dtype float32 like x \(got float64\)",
        ),
        (
            lambda: layer_norm_vjp(X, rms_norm(X, W)[1]),
            TypeError,
            r"cache must be a LayerNormCache \(got RMSNormCache\)",
        ),
        (
            lambda: rms_norm_vjp(X, layer_norm(X, W, W)[1]),
            TypeError,
            r"cache must be an RMSNormCache",
        ),
        (
            lambda: layer_norm_vjp(X[:2], layer_norm(X, W, W)[1]),
            ValueError,
            r"grad_y must have shape \(4, d\) like cache.x \(got \(2, 3\)\)",
        ),
        (
            lambda: layer_norm_vjp(X.astype("f4"), layer_norm(X, W, W)[1]),
            TypeError,
            r"grad_y must have dtype float64 like cache.x \(got float32\)",
        ),
        (
            lambda: batch_norm(X, W, W, None, training=False),
            ValueError,
            r"running must be \(mean, var\) unless training \(got None\)",
        ),
        (lambda: batch_norm(X, W, W, (W,)), ValueError, r"running must have 2 items \(got 1\)"),
        (
            lambda: batch_norm(X, W, W, (W, None)),
            TypeError,
            r"running\[1\] must be an array \(got None\)",
        ),
        (
            lambda: batch_norm(X, W, W, (W, np.ones(4))),
            ValueError,
            r"running\[1\] must have shape \(d,\) with d = 3 \(got \(4,\)\)",
        ),
        (
            lambda: batch_norm(X, W, W, (W.astype("f4"), W)),
            TypeError,
            r"running\[0\] must have dtype float64 like x \(got float32\)",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
