"""The long short-term memory against one number at a time, finite differences and torch; a
classifier that learns; bad input, memory."""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.nn import lstm as naive
from numcore.nn import lstm, lstm_cell, lstm_cell_vjp, lstm_vjp
from numcore.nn._lstm import lstm_steps, lstm_steps_vjp
from numcore.testing import check_vjp, simulated_gpu
from tests.nn.assembly import assembly, vector_instructions

NAMES = ("x", "h", "c", "w_x", "w_h", "b")


def arguments(rng, steps=5, batch=3, features=4, hidden=6, dtype=np.float64):
    shapes = (
        (steps, batch, features),
        (batch, hidden),
        (batch, hidden),
        (features, 4 * hidden),
        (hidden, 4 * hidden),
        4 * hidden,
    )
    return [
        (rng.standard_normal(shape) / (np.sqrt(hidden) if i > 2 else 1)).astype(dtype)
        for i, shape in enumerate(shapes)
    ]


# --- known answers --------------------------------------------------------------------------------


def test_known_answer_with_zero_weights():
    zero = np.zeros((1, 4))
    (h, c), cache = lstm_cell(
        np.array([[0.7]]), np.array([[0.3]]), np.array([[2.0]]), zero, zero, zero[0]
    )
    assert c == 1.0 and abs(h.item() - 0.3807970780) < 5e-11
    # h' = 0.5 tanh(c'), c' = 0.5 c: dh'/dc = 0.5 · (1 - tanh(1)²) · 0.5
    assert (
        abs(lstm_cell_vjp(np.ones((1, 1)), None, cache)[2].item() - 0.25 / np.cosh(1) ** 2) < 1e-16
    )


def test_a_memory_that_is_kept():
    keep = np.repeat([-50.0, 50, 0, 50], 3)
    (outputs, h, c), cache = lstm(
        np.ones((1000, 2, 1)),
        np.zeros((2, 3)),
        np.full((2, 3), 1.5),
        np.zeros((1, 12)),
        np.zeros((3, 12)),
        keep,
    )
    np.testing.assert_array_equal(c, 1.5)
    np.testing.assert_allclose(outputs, np.tanh(1.5), rtol=1e-15)
    np.testing.assert_array_equal(
        lstm_vjp(None, None, np.ones((2, 3)), cache)[2], 1
    )  # nothing is lost on the way back


# --- references -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, batch, features, hidden", [(1, 1, 1, 1), (5, 3, 4, 6), (3, 2, 1, 17), (2, 70, 3, 2)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_is_the_definition(dtype, steps, batch, features, hidden):
    args = arguments(np.random.default_rng(1), steps, batch, features, hidden, dtype)
    for result, expected in zip(lstm(*args)[0], naive.lstm(*args), strict=True):
        assert result.dtype == dtype
        # a few roundings of sums of size 3
        np.testing.assert_allclose(
            result, expected, rtol=0, atol=2e-6 if dtype == np.float32 else 4e-15
        )


def test_a_sequence_is_its_cells():
    x, h, c, *weights = arguments(np.random.default_rng(2))
    (outputs, last_h, last_c), _ = lstm(x, h, c, *weights)
    for row, output in zip(x, outputs, strict=True):
        (h, c), _ = lstm_cell(row, h, c, *weights)
        np.testing.assert_allclose(output, h, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(last_h, outputs[-1])
    np.testing.assert_allclose(last_c, c, rtol=0, atol=1e-15)


@pytest.mark.parametrize("steps, batch", [(5, 3), (1, 1), (3, 0), (0, 3)])
def test_gradients_are_differences(steps, batch):
    args = arguments(np.random.default_rng(3), steps, batch)
    assert check_vjp(lstm, lstm_vjp, tuple(args), rng=4) < 1e-7
    if steps:
        assert check_vjp(lstm_cell, lstm_cell_vjp, (args[0][0], *args[1:]), rng=5) < 1e-7


def test_gradients_of_strided_arrays():
    args = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arguments(np.random.default_rng(6))]
    assert check_vjp(lstm, lstm_vjp, tuple(args), rng=7) < 1e-7


@pytest.mark.parametrize(
    "steps, batch, features, hidden", [(7, 4, 5, 9), (1, 1, 3, 2), (20, 3, 8, 33)]
)
def test_torch_agrees(steps, batch, features, hidden):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    args = arguments(rng, steps, batch, features, hidden)
    grads = [
        rng.standard_normal(shape)
        for shape in ((steps, batch, hidden), (batch, hidden), (batch, hidden))
    ]
    x, h, c, w_x, w_h, b = (torch.from_numpy(a).requires_grad_() for a in args)
    module = torch.nn.LSTM(features, hidden, dtype=torch.float64)
    named = {
        "weight_ih_l0": w_x.T,
        "weight_hh_l0": w_h.T,
        "bias_ih_l0": b,
        "bias_hh_l0": torch.zeros_like(b),
    }
    outputs, (last_h, last_c) = torch.func.functional_call(module, named, (x, (h[None], c[None])))
    expected = torch.autograd.grad(
        [outputs, last_h[0], last_c[0]],
        [x, h, c, w_x, w_h, b],
        [torch.from_numpy(g) for g in grads],
    )
    results, cache = lstm(*args)
    for result, there in zip(results, (outputs, last_h[0], last_c[0]), strict=True):
        np.testing.assert_allclose(result, there.detach().numpy(), rtol=0, atol=1e-10)
    for result, there in zip(lstm_vjp(*grads, cache), expected, strict=True):
        np.testing.assert_allclose(
            result, there.numpy(), rtol=0, atol=1e-10 * max(1, np.abs(there.numpy()).max())
        )


def test_torch_cell_agrees():
    torch = pytest.importorskip("torch")
    x, h, c, w_x, w_h, b = args = (lambda a: (a[0][0], *a[1:]))(arguments(np.random.default_rng(9)))
    cell = torch.nn.LSTMCell(x.shape[1], h.shape[1], dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(cell.parameters(), (w_x.T, w_h.T, b, 0 * b), strict=True):
            parameter.copy_(torch.from_numpy(value.copy()))
    inputs = [torch.from_numpy(a).requires_grad_() for a in args[:3]]
    there = cell(inputs[0], tuple(inputs[1:]))
    grads = [np.cos(np.arange(h.size)).reshape(h.shape), np.sin(np.arange(h.size)).reshape(h.shape)]
    (new_h, new_c), cache = lstm_cell(*args)
    np.testing.assert_allclose(new_h, there[0].detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(new_c, there[1].detach().numpy(), rtol=0, atol=1e-10)
    expected = torch.autograd.grad(there, inputs, [torch.from_numpy(g) for g in grads])
    for mine, its in zip(lstm_cell_vjp(*grads, cache), expected, strict=False):
        np.testing.assert_allclose(mine, its.numpy(), rtol=0, atol=1e-10)


def test_no_gradient_is_a_gradient_of_zeros():
    args = arguments(np.random.default_rng(10))
    (outputs, h, c), cache = lstm(*args)
    rng = np.random.default_rng(11)
    g = (
        rng.standard_normal(outputs.shape),
        rng.standard_normal(h.shape),
        rng.standard_normal(c.shape),
    )
    for which in range(3):
        with_none = lstm_vjp(*(a if i == which else None for i, a in enumerate(g)), cache)
        with_zeros = lstm_vjp(*(a if i == which else 0 * a for i, a in enumerate(g)), cache)
        for a, b in zip(with_none, with_zeros, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not any(np.any(a) for a in lstm_vjp(None, None, None, cache))


def test_the_cache_may_be_used_again():
    args = arguments(np.random.default_rng(12))
    (outputs, h, c), cache = lstm(*args)
    first, second = (lstm_vjp(outputs, h, c, cache) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_saturated_gates():
    """Products of any size give gates of 0 and 1, without a warning, and no gradient."""
    for dtype, size in ((np.float32, 1e30), (np.float64, 1e300)):
        args = [a * dtype(1) for a in arguments(np.random.default_rng(13), dtype=dtype)]
        args[3] = args[3] * dtype(size)
        with np.errstate(all="raise", over="ignore"):
            (outputs, h, c), cache = lstm(*args)
        assert np.isfinite(outputs).all() and np.abs(outputs).max() <= 1
        assert not np.any(
            lstm_vjp(np.ones_like(outputs), None, None, cache)[5][np.r_[0:6, 18:24]] > 1
        )


def test_same_on_gpu_at_a_size_past_a_block():
    args = arguments(np.random.default_rng(14), 3, 2, 3, 150, np.float32)
    (outputs, *_), cache = lstm(*args)
    grads = lstm_vjp(outputs, None, None, cache)
    with simulated_gpu(checked=True) as xp:
        (there, *_), cache = lstm(*map(xp.asarray, args))
        np.testing.assert_allclose(there.get(), outputs, rtol=0, atol=1e-6)
        for mine, its in zip(grads, lstm_vjp(there, None, None, cache), strict=True):
            np.testing.assert_allclose(its.get(), mine, rtol=0, atol=1e-6 * np.abs(mine).max())


def test_threads_change_no_bit():
    args = arguments(np.random.default_rng(15), 4, 300, 8, 40, np.float32)
    results = []
    try:
        for n in (1, 2, 7):
            numcore.set_num_threads(n)
            (outputs, h, c), cache = lstm(*args)
            results.append((outputs, c, *lstm_vjp(outputs, h, c, cache)))
    finally:
        numcore.set_num_threads(None)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# --- learning -------------------------------------------------------------------------------------


def test_a_classifier_of_digits_by_rows():
    """Images are read row by row; what is known after the last row names the digit. The seeds 0 to
    4 give 0.960 to 0.970."""
    datasets = pytest.importorskip("sklearn.datasets")
    from numcore.nn import Adam, clip_grad_norm, softmax_cross_entropy

    rng, digits, hidden = np.random.default_rng(0), datasets.load_digits(), 48
    x, labels = (digits.images / 16).astype(np.float32).swapaxes(0, 1).copy(), digits.target
    train, test = np.split(rng.permutation(len(labels)), [1200])
    w_x, w_h, b, w = (
        (rng.standard_normal(s) / np.sqrt(hidden)).astype(np.float32)
        for s in ((8, 4 * hidden), (hidden, 4 * hidden), 4 * hidden, (hidden, 10))
    )
    adam = Adam([w_x, w_h, b, w], learning_rate=5e-3)

    def forward(x):
        zero = np.zeros((x.shape[1], hidden), np.float32)
        (_, h, _), cache = lstm(x, zero, zero, w_x, w_h, b)
        return h @ w, h, cache

    for _ in range(20):
        for batch in np.array_split(rng.permutation(train), len(train) // 64):
            scores, h, cache = forward(x[:, batch])
            _, grad = softmax_cross_entropy(scores, labels[batch])
            _, _, _, *grads = lstm_vjp(None, grad @ w.T, None, cache)
            adam.step(clip_grad_norm([*grads, h.T @ grad], 5.0)[0])
    assert np.mean(forward(x[:, test])[0].argmax(axis=1) == labels[test]) > 0.94


# --- promises -------------------------------------------------------------------------------------


def test_memory_is_what_the_cache_holds():
    """Gates, outputs and memories, six arrays of the outputs' size; on the way back the gates'
    gradients and those of x."""
    args = arguments(np.random.default_rng(16), 200, 16, 64, 64, np.float32)
    size = args[0].nbytes
    (outputs, *_), cache = lstm(*args)
    lstm_vjp(outputs, None, None, cache)  # compiles both kernels
    tracemalloc.start()
    (outputs, *_), cache = lstm(*args)
    assert tracemalloc.get_traced_memory()[1] < 6.3 * size
    assert cache.x is args[0] and cache.w_x is args[3] and np.shares_memory(outputs, cache.hs)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    lstm_vjp(outputs, None, None, cache)
    assert tracemalloc.get_traced_memory()[1] - before < 5.5 * size
    tracemalloc.stop()


@pytest.mark.parametrize("kernel", [lstm_steps, lstm_steps_vjp])
@pytest.mark.parametrize("dtype, suffix", [("float32", "ps"), ("float64", "pd")])
def test_kernels_are_made_of_vectors(kernel, dtype, suffix):
    code = assembly(kernel, dtype)
    gates = (
        4 if kernel is lstm_steps else 1
    )  # loops with a quotient: three kinds of gates and tanh(c)
    assert vector_instructions(code, f"div{suffix}") >= gates
    assert (
        vector_instructions(code, f"fmadd\\w+{suffix}") >= 8
    )  # a register tile of the recurrent product


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("x", (5, 3), r"x must have shape \(time, batch, n_in\) \(got \(5, 3\)\)"),
        ("h", (4, 6), r"h must have shape \(batch, H\) with batch = 3 \(got \(4, 6\)\)"),
        ("c", (3, 5), r"c must have shape \(batch, H\) with H = 6 \(got \(3, 5\)\)"),
        ("w_x", (3, 24), r"w_x must have shape \(n_in, 4\*H\) with n_in = 4"),
        ("w_x", (4, 23), r"w_x must have shape \(n_in, 4\*H\) with 4\*H = 24"),
        ("w_h", (24, 6), r"w_h must have shape \(H, 4\*H\) with H = 6"),
        ("b", (1, 24), r"b must have shape \(4\*H,\)"),
    ],
)
def test_shapes_that_do_not_fit(name, shape, message):
    args = dict(zip(NAMES, arguments(np.random.default_rng(17)), strict=True)) | {
        name: np.zeros(shape)
    }
    with pytest.raises(ValueError, match=message):
        lstm(**args)
    if name != "x":
        with pytest.raises(ValueError, match=f"{name} must have shape"):
            lstm_cell(**args | {"x": args["x"][0]})


def test_other_bad_input():
    args = dict(zip(NAMES, arguments(np.random.default_rng(18)), strict=True))
    (outputs, h, c), cache = lstm(**args)
    _, cell_cache = lstm_cell(**args | {"x": args["x"][0]})
    with pytest.raises(ValueError, match=r"grad_outputs must have shape .* with time = 5"):
        lstm_vjp(outputs[1:], h, c, cache)
    with pytest.raises(ValueError, match="grad_h must have shape"):
        lstm_vjp(outputs, h[1:], c, cache)
    with pytest.raises(ValueError, match="grad_c must have shape"):
        lstm_cell_vjp(h, c[1:], cell_cache)
    with pytest.raises(TypeError, match="grad_outputs must have dtype float64 like cache.x"):
        lstm_vjp(outputs.astype(np.float32), h, c, cache)
    for wrong in (None, cell_cache, tuple(cache)):
        with pytest.raises(TypeError, match="cache must be an LSTMCache"):
            lstm_vjp(outputs, h, c, wrong)
    with pytest.raises(TypeError, match="cache must be an LSTMCellCache"):
        lstm_cell_vjp(h, c, cache)
