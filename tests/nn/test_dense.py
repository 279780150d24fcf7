"""The affine layer: known answers, torch, differences, shapes, bad input."""

import tracemalloc

import numpy as np
import pytest

from numcore.nn import dense, dense_vjp
from numcore.testing import check_vjp, simulated_gpu


def arrays(shape, n_out=4, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in (shape, (shape[-1], n_out), n_out)]


def test_known_answer():
    y, cache = dense(
        np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.5, 3.0]]), np.array([10.0, 20.0])
    )
    assert y.tolist() == [[12, 26]]
    grad_x, grad_w, grad_b = dense_vjp(np.array([[1.0, -1.0]]), cache)
    assert (
        grad_x.tolist() == [[1, -2.5]]
        and grad_w.tolist() == [[1, -1], [2, -2]]
        and grad_b.tolist() == [1, -1]
    )


@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 3), (0, 3), (2, 0, 3), (7, 0), (1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_shapes_and_gradients(shape, bias):
    x, w, b = arrays(shape)
    b = b if bias else None
    y, cache = dense(x, w, b)
    np.testing.assert_allclose(
        y, np.einsum("...i,io->...o", x, w) + (b if bias else 0), rtol=0, atol=1e-14
    )
    grads = dense_vjp(np.ones_like(y), cache)
    assert [g.shape for g in grads if g is not None] == [
        a.shape for a in (x, w, b) if a is not None
    ]
    assert (grads[2] is None) is not bias
    assert (
        check_vjp(dense, dense_vjp, (x, w, b), rng=1) < 1e-9
    )  # linear in each argument: differences are exact but for rounding


@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 3)])
def test_against_torch(shape):
    torch = pytest.importorskip("torch")
    x, w, b = arrays(shape)
    there = [torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
    expected = torch.nn.functional.linear(there[0], there[1].T, there[2])
    y, cache = dense(x, w, b)
    g = np.random.default_rng(1).standard_normal(y.shape)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-10)
    for grad, t in zip(dense_vjp(g, cache), there, strict=True):
        np.testing.assert_allclose(grad, t.grad.numpy(), rtol=0, atol=1e-10)


def test_strides_and_read_only():
    x, w, b = arrays((6, 5, 3))
    expected = dense(x, w, b)[0]
    for a in (x, w, b):
        a.flags.writeable = False
    strided = dense(x[::-1], np.asfortranarray(w), np.repeat(b, 2)[::2])
    np.testing.assert_allclose(strided[0], expected[::-1], rtol=0, atol=1e-14)
    grads, wanted = dense_vjp(expected[::-1], strided[1]), dense_vjp(expected, dense(x, w, b)[1])
    np.testing.assert_allclose(grads[0][::-1], wanted[0], rtol=0, atol=1e-13)
    for grad, want in zip(grads[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(grad, want, rtol=0, atol=1e-12)


def test_cache_is_pure_and_holds_no_copy():
    x, w, b = arrays((4096, 64), 32)
    tracemalloc.start()
    y, cache = dense(x, w, b)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        cache.x is x and cache.w is w and most < y.nbytes + 100_000
    )  # NumPy buffers what it broadcasts
    for first, second in zip(dense_vjp(y, cache), dense_vjp(y, cache), strict=True):
        np.testing.assert_array_equal(first, second)


def test_bias_gradient_of_many_rows_is_accurate_in_float32():
    x, w, b = arrays((200_000, 1), 3, "float32")
    g = np.random.default_rng(2).random((200_000, 3), dtype="f4")
    grad_b = dense_vjp(g, dense(x, w, b)[1])[2]
    exact = g.sum(axis=0, dtype="f8")
    assert np.abs(grad_b / exact - 1).max() < 1e-5  # a sum term after term may lose 1e-2 here


def test_simulated_gpu():
    x, w, b = arrays((2, 5, 3))
    y, cache = dense(x, w, b)
    with simulated_gpu() as xp:
        there, cache_there = dense(*map(xp.asarray, (x, w, b)))
        np.testing.assert_allclose(there.get(), y, rtol=0, atol=1e-14)
        for grad, want in zip(dense_vjp(there, cache_there), dense_vjp(y, cache), strict=True):
            np.testing.assert_allclose(grad.get(), want, rtol=0, atol=1e-13)
        with pytest.raises(TypeError, match="one device"):
            dense_vjp(y, cache_there)


def test_a_gradient_must_fit_its_cache():
    x, w, b = arrays((5, 3))
    y, cache = dense(x, w, b)
    with pytest.raises(ValueError, match=r"grad_y must have shape \(..., n_out\) with n_out = 4"):
        dense_vjp(x, cache)
    with pytest.raises(ValueError, match=r"grad_y must have shape \(5, n_out\) like cache.x"):
        dense_vjp(y[:4], cache)
    with pytest.raises(TypeError, match="grad_y must have dtype float64 like cache.x"):
        dense_vjp(y.astype("f4"), cache)
    with pytest.raises(TypeError, match="cache must be a DenseCache"):
        dense_vjp(x, None)
    with pytest.raises(TypeError, match=r"cache.x must be an array \(got None\)"):
        dense_vjp(y, cache._replace(x=None))
