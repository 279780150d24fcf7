"""Losses: known answers, one number at a time, torch, extremes, vectors in the machine code, bad
input."""

import math
import re
import tracemalloc

import numba
import numpy as np
import pytest

import numcore
from numcore import _numba
from numcore.examples.nn import losses as naive
from numcore.kernel import kernel
from numcore.nn import binary_cross_entropy_with_logits, huber, mse, softmax_cross_entropy
from numcore.nn._losses import (
    binary_pointwise,
    distribution_cross_entropy,
    huber_pointwise,
    label_cross_entropy,
    mse_pointwise,
    shift_row,
    sum_row,
)
from numcore.simd import from_ordered, map_in_place, ordered
from numcore.special import exp
from numcore.testing import simulated_gpu
from tests.nn.assembly import assembly, vector_instructions

PAIRS = {
    "mse": mse,
    "huber": huber,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
}
EPS = {np.float32: 1.2e-7, np.float64: 2.3e-16}


# --- known answers --------------------------------------------------------------------------------


def test_known_cross_entropy():
    loss, grad = softmax_cross_entropy(np.array([1.0, 2.0, 3.0]), 2)
    assert abs(loss - 0.4076059644) < 5e-11
    np.testing.assert_allclose(grad, [0.09003057, 0.24472847, -0.33475904], rtol=0, atol=5e-9)


def test_known_pairs():
    assert mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))[0] == 2
    assert huber(np.array([3.0]), np.array([0.0]), delta=2.0) == (4.0, np.array([2.0]))
    assert (
        abs(binary_cross_entropy_with_logits(np.array([0.0]), np.array([1.0]))[0] - math.log(2))
        < 1e-16
    )


# --- softmax cross entropy ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "classes",
    [1, 2, 3, 10, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 100, 300, 1000, 4096, 4097, 9000],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_every_length_of_a_row(dtype, classes, smoothing):
    rng = np.random.default_rng(classes)
    z, labels = (3 * rng.standard_normal((3, classes))).astype(dtype), rng.integers(0, classes, 3)
    losses, grad = softmax_cross_entropy(z, labels, label_smoothing=smoothing, reduction="none")
    soft = np.eye(classes, dtype=dtype)[labels]
    soft_losses, soft_grad = softmax_cross_entropy(
        z, soft, label_smoothing=smoothing, reduction="none"
    )
    expected_losses, expected_grad = naive.softmax_cross_entropy(z, labels, smoothing, "none")
    for i, expected in enumerate(expected_losses):
        for loss, g in ((losses[i], grad[i]), (soft_losses[i], soft_grad[i])):
            # roundings of the largest |z - max z|, about 20, and of sums of 32 parts whose errors
            # grow like a root
            assert abs(loss - expected) < 60 * EPS[dtype] * max(1, expected)
            np.testing.assert_allclose(g, expected_grad[i], rtol=0, atol=10 * EPS[dtype])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.2},
        {"ignore_index": 3},
        {"ignore_index": -100, "label_smoothing": 0.1},
        {"ignore_index": -100, "reduction": "none"},
    ],
)
def test_torch_agrees_on_labels(options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((50, 11)), rng.integers(0, 11, 50)
    labels[::7] = options.get("ignore_index", 0)
    z = torch.from_numpy(logits).requires_grad_()
    there = torch.nn.functional.cross_entropy(z, torch.from_numpy(labels), **options)
    (expected,) = torch.autograd.grad(there.sum(), z)
    loss, grad = softmax_cross_entropy(logits, labels, **options)
    np.testing.assert_allclose(loss, there.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(grad, expected.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_torch_agrees_on_distributions(smoothing):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    logits, targets = (
        3 * rng.standard_normal((20, 37)),
        rng.random((20, 37)),
    )  # they need not sum to 1
    z = torch.from_numpy(logits).requires_grad_()
    there = torch.nn.functional.cross_entropy(
        z, torch.from_numpy(targets), label_smoothing=smoothing
    )
    (expected,) = torch.autograd.grad(there, z)
    loss, grad = softmax_cross_entropy(logits, targets, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, there.item(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(grad, expected.numpy(), rtol=0, atol=1e-10)


def test_more_than_one_leading_axis():
    rng = np.random.default_rng(2)
    logits, labels = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    losses, grad = softmax_cross_entropy(logits, labels, reduction="none")
    flat, flat_grad = softmax_cross_entropy(
        logits.reshape(12, 5), labels.reshape(12), reduction="none"
    )
    np.testing.assert_array_equal(losses.reshape(12), flat)
    np.testing.assert_array_equal(grad.reshape(12, 5), flat_grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(dtype):
    big = dtype(1e30)
    logits = np.array([[big, 0, -big], [-big, -big, -big], [0, -np.inf, 0], [1e-30, 0, 0]], dtype)
    losses, grad = softmax_cross_entropy(logits, np.array([0, 1, 0, 2]), reduction="none")
    np.testing.assert_allclose(
        losses, [0, math.log(3), math.log(2), math.log(3)], rtol=3 * EPS[dtype]
    )
    np.testing.assert_allclose(
        grad,
        [[0, 0, 0], [1 / 3, -2 / 3, 1 / 3], [-0.5, 0, 0.5], [1 / 3, 1 / 3, -2 / 3]],
        atol=3 * EPS[dtype],
    )
    assert softmax_cross_entropy(logits[2], 1)[0] == np.inf
    np.testing.assert_allclose(
        softmax_cross_entropy(np.array([0, 40], dtype), 1)[0],
        math.log1p(math.exp(-40)),
        atol=EPS[dtype],
    )  # the loss is a logarithm of a number near 1
    for k in range(3):
        row = np.array([1, 2, 3], dtype)
        row[k] = np.nan
        loss, grad = softmax_cross_entropy(
            np.stack([row, logits[3]]), np.array([0, 2]), reduction="none"
        )
        assert (
            np.isnan(loss[0])
            and np.isnan(grad[0]).all()
            and np.isfinite(loss[1])
            and np.isfinite(grad[1]).all()
        )


def test_ignored_rows_count_for_nothing():
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal((6, 4)), np.array([0, 9, 2, 9, 9, 3])
    kept = labels != 9
    loss, grad = softmax_cross_entropy(logits, labels, ignore_index=9)
    expected, expected_grad = softmax_cross_entropy(logits[kept], labels[kept])
    np.testing.assert_allclose(loss, expected, rtol=1e-15)
    np.testing.assert_array_equal(grad[kept], expected_grad)
    assert not grad[~kept].any()
    loss, grad = softmax_cross_entropy(logits, np.full(6, 9), ignore_index=9)
    assert np.isnan(loss) and not grad.any()
    assert np.isnan(softmax_cross_entropy(logits[:0], labels[:0])[0])
    assert softmax_cross_entropy(logits[:0], labels[:0], reduction="sum")[0] == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64, np.int64])
def test_labels_of_any_integers(dtype):
    logits = np.random.default_rng(4).standard_normal((5, 7))
    labels = np.array([6, 0, 3, 2, 1])
    assert (
        softmax_cross_entropy(logits, labels.astype(dtype))[0]
        == softmax_cross_entropy(logits, labels.tolist())[0]
    )


def test_labels_beside_logits_on_a_gpu():
    rng = np.random.default_rng(5)
    logits, labels = rng.standard_normal((40, 300)), rng.integers(0, 300, 40)
    labels[3] = -1
    options = {"ignore_index": -1, "label_smoothing": 0.1}
    loss, grad = softmax_cross_entropy(logits, labels, **options)
    with simulated_gpu(checked=True) as xp:
        for here in (labels, xp.asarray(labels)):
            there = softmax_cross_entropy(xp.asarray(logits), here, **options)
            np.testing.assert_allclose(float(there[0]), loss, rtol=1e-14)
            np.testing.assert_allclose(there[1].get(), grad, rtol=0, atol=1e-15)
        with pytest.raises(TypeError, match="labels must live on the device of logits"):
            softmax_cross_entropy(logits, xp.asarray(labels))
        with pytest.raises(
            ValueError, match=r"labels must be in \[0, K\) with K = 300 \(got 300\)"
        ):
            softmax_cross_entropy(xp.asarray(logits), xp.full(40, 300))


def test_threads_change_no_bit():
    rng = np.random.default_rng(6)
    logits, labels = rng.standard_normal((2000, 130)).astype(np.float32), rng.integers(0, 130, 2000)
    y, t = rng.standard_normal((2, 300_000)).astype(np.float32)
    results = []
    try:
        for n in (1, 2, 7):
            numcore.set_num_threads(n)
            results.append(
                [
                    *softmax_cross_entropy(logits, labels, label_smoothing=0.1),
                    *mse(y, t),
                    *huber(y, t),
                    *binary_cross_entropy_with_logits(y, t),
                ]
            )
    finally:
        numcore.set_num_threads(None)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_memory_is_the_results():
    logits, labels = np.ones((2000, 500), np.float32), np.zeros(2000, np.int64)
    softmax_cross_entropy(logits, labels)
    tracemalloc.start()
    softmax_cross_entropy(logits, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * logits.nbytes  # the gradient


@kernel("inout T x[n]; in T z[n]; out T y[m]", split="m")
def only_maxima(x, z, y, start, stop):
    shift_row(z, x)


@kernel("inout T x[n]; out T y[m]; scratch T lanes[32]", split="m")
def only_sums(x, y, lanes, start, stop):
    y[0] = sum_row(x, lanes)


@kernel("inout T x[n]; out T y[m]", split="m")
def only_exponentials(x, y, start, stop):
    map_in_place(exp, x, x.size)


@pytest.mark.parametrize("dtype, suffix", [("float32", "ps"), ("float64", "pd")])
def test_maxima_sums_and_exponentials_are_made_of_vectors(dtype, suffix):
    largest = (
        "pmaxsd" if suffix == "ps" else "p(cmpgt|maxs)q"
    )  # of integers that are ordered like the floats
    assert vector_instructions(assembly(only_maxima, dtype), largest) >= 1
    assert vector_instructions(assembly(only_sums, dtype), f"add{suffix}") >= 1
    assert (
        vector_instructions(assembly(only_exponentials, dtype), rf"fn?m\w+{suffix}") >= 5
    )  # the polynomial
    for made in (label_cross_entropy, distribution_cross_entropy):
        code = assembly(made, dtype)
        assert (
            vector_instructions(code, largest) >= 1
            and vector_instructions(code, rf"fn?m\w+{suffix}") >= 5
        )
        assert not re.search(r"\bexpf?\b", code)


@pytest.mark.parametrize("dtype, suffix", [("float32", "ps"), ("float64", "pd")])
@pytest.mark.parametrize("kernel", [mse_pointwise, huber_pointwise, binary_pointwise])
def test_pointwise_kernels_are_made_of_vectors(kernel, dtype, suffix):
    code = assembly(kernel, dtype)
    assert (
        vector_instructions(code, f"sub{suffix}") >= 1
        and vector_instructions(code, f"mul{suffix}") >= 2
    )
    assert "call" not in code


# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_are_their_definitions(dtype):
    rng = np.random.default_rng(7)
    y, t = (5 * rng.standard_normal(300)).astype(dtype), rng.random(300).astype(dtype)
    for losses, expected in (
        (
            mse(y, t, reduction="none")[0],
            naive.mse(y, t, "none")[0],
        ),
        (
            huber(y, t, delta=1.5, reduction="none")[0],
            naive.huber(y, t, 1.5, "none")[0],
        ),
        (
            binary_cross_entropy_with_logits(y, t, reduction="none")[0],
            naive.binary_cross_entropy_with_logits(y, t, "none")[0],
        ),
    ):
        np.testing.assert_allclose(
            losses, expected, rtol=5 * EPS[dtype], atol=30 * EPS[dtype]
        )  # y - t is rounded, and that squared


@pytest.mark.parametrize(
    "name, peer",
    [("mse", "mse_loss"), ("huber", "huber_loss"), ("binary_cross_entropy_with_logits",) * 2],
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torch_agrees_on_pairs(name, peer, reduction):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    y, t = 3 * rng.standard_normal((9, 5)), rng.random((9, 5))
    options = {"delta": 0.7} if name == "huber" else {}
    there = torch.from_numpy(y).requires_grad_()
    expected = getattr(torch.nn.functional, peer)(
        there, torch.from_numpy(t), reduction=reduction, **options
    )
    (grad,) = torch.autograd.grad(expected.sum(), there)
    loss, mine = PAIRS[name](y, t, reduction=reduction, **options)
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(mine, grad.numpy(), rtol=0, atol=1e-10)


def test_binary_loss_of_sure_predictions():
    """Nothing cancels where p is next to 1, nothing overflows where it is next to 0."""
    for dtype in EPS:
        logits, targets = np.array([20, -20, 1e30, -1e30], dtype), np.array([1, 0, 0, 1], dtype)
        loss, grad = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        np.testing.assert_allclose(
            loss, [math.log1p(math.exp(-20))] * 2 + [1e30] * 2, rtol=4 * EPS[dtype]
        )
        np.testing.assert_allclose(
            grad,
            [-2.061153618190204e-09, 2.061153618190204e-09, 1, -1],
            rtol=4 * EPS[dtype],
            atol=EPS[dtype],
        )


def test_empty_pairs():
    for function in PAIRS.values():
        loss, grad = function(np.empty((0, 3)), np.empty((0, 3)))
        assert np.isnan(loss) and grad.shape == (0, 3)
        assert function(np.empty(0), np.empty(0), reduction="sum")[0] == 0


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels, options, error, message",
    [
        ([0, 3], {}, ValueError, r"labels must be in \[0, K\) with K = 3 \(got 3\)"),
        ([0, -1], {}, ValueError, r"labels must be in \[0, K\) with K = 3 \(got -1\)"),
        ([0, -1], {"ignore_index": -2}, ValueError, r"got -1"),
        ([0, 1, 2], {}, ValueError, r"labels must have shape \(2,\) like logits \(got \(3,\)\)"),
        ([True, False], {}, TypeError, "labels must have dtype integers"),
        ([[0, 0, 1], [0, 1, 0]], {}, ValueError, r"labels must have shape \(2,\) like logits"),
        (
            np.array([0.5, 0.5]),
            {},
            ValueError,
            r"labels must have shape \(\.\.\., K\) with K = 3|\(2, K\) like logits",
        ),
        (
            np.array([[0.0, 0, 1], [0, 1, 0]]),
            {"ignore_index": 1},
            ValueError,
            r"ignore_index must be None if labels are distributions \(got 1\)",
        ),
        ([0, 1], {"ignore_index": 1.0}, TypeError, "ignore_index must be an integer"),
    ],
)
def test_bad_labels_and_options(labels, options, error, message):
    with pytest.raises(error, match=message):
        softmax_cross_entropy(np.zeros((2, 3)), labels, **options)


def test_bad_logits():
    with pytest.raises(ValueError, match=r"logits must have K >= 1 classes \(got shape \(2, 0\)\)"):
        softmax_cross_entropy(np.zeros((2, 0)), [0, 0])
    with pytest.raises(ValueError, match=r"logits must have shape \(..., K\) \(got \(\)\)"):
        softmax_cross_entropy(np.array(1.0), [0, 0])
    with pytest.raises(TypeError, match="labels must have dtype float64 like logits"):
        softmax_cross_entropy(np.zeros((2, 3)), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("name", PAIRS)
def test_bad_pairs(name):
    function, y, t = PAIRS[name], *(("logits", "targets") if "binary" in name else ("y", "t"))
    with pytest.raises(ValueError, match=rf"{t} must have shape \(2,\) like {y} \(got \(1,\)\)"):
        function(np.zeros(2), np.zeros(1))
    with pytest.raises(TypeError, match=f"{t} must have dtype float64 like {y}"):
        function(np.zeros(2), np.zeros(2, np.float32))


# --- integers in the order of floats --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integers_in_the_order_of_floats(dtype):
    there, back = (
        numba.njit(_numba.jittable(f, numba.njit))
        for f in (lambda x: ordered(x), lambda i: from_ordered(i))
    )
    x = np.array(
        [-np.inf, -1e30, -1, -1e-40, -0.0, 0.0, 1e-40, 0.5, 3, 1e30, np.inf, np.nan], dtype
    )
    places = [ordered(v) for v in x]
    assert places == sorted(places) and len(set(places)) == len(x)
    for v, place in zip(x, places, strict=True):
        assert there(v) == place
        for result in (from_ordered(place), dtype(back(place))):
            assert result.tobytes() == v.tobytes() or np.isnan(v) and np.isnan(result)
