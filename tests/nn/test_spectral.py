"""Spectral convolution against its definition, torch's gradients, finite differences, known
answers, bad input."""

import numpy as np
import pytest

from numcore.examples.nn import spectral as naive
from numcore.nn import spectral_conv1d, spectral_conv1d_vjp, spectral_conv2d, spectral_conv2d_vjp
from numcore.testing import check_vjp, simulated_gpu

TOLERANCE = {"float32": 3e-6, "float64": 1e-14}  # relative to the largest entry
ONE = [(8, 2), (8, 5), (9, 5), (9, 1), (1, 1), (2, 2), (31, 12)]
TWO = [
    ((8, 8), (2, 3)),
    ((8, 8), (4, 5)),
    ((9, 7), (4, 4)),
    ((2, 1), (1, 1)),
    ((6, 2), (1, 2)),
    ((5, 16), (2, 1)),
]
CASES = [pytest.param((n,), (m,), id=f"{n}-{m}") for n, m in ONE] + [
    pytest.param(n, m, id=f"{n}-{m}") for n, m in TWO
]


def call(sizes):
    return (
        (spectral_conv1d, spectral_conv1d_vjp)
        if len(sizes) == 1
        else (spectral_conv2d, spectral_conv2d_vjp)
    )


def option(n_modes):
    return {"n_modes": n_modes[0] if len(n_modes) == 1 else n_modes}


def arrays(sizes, n_modes, dtype, seed=0, batch=3):
    """x, and complex weights."""
    rng = np.random.default_rng(seed)
    modes = n_modes if len(n_modes) == 1 else (2 * n_modes[0], n_modes[1])
    x, re, im = (
        rng.standard_normal(s) for s in ((batch, 4, *sizes), (4, 2, *modes), (4, 2, *modes))
    )
    return x.astype(dtype), (re + 1j * im).astype(
        {"float32": np.complex64, "float64": np.complex128}[np.dtype(dtype).name]
    )


def as_pairs(w):
    return np.stack((w.real, w.imag), axis=-1)


def test_known_answer():
    """The constant and the first mode of three are kept."""
    j = np.arange(8)
    x = np.cos(2 * np.pi * j / 8) + np.cos(6 * np.pi * j / 8) + 0.5
    y, _ = spectral_conv1d(x[None, None], np.ones((1, 1, 2), complex), n_modes=2)
    np.testing.assert_allclose(y[0, 0, :4], [1.5, 1.20710678, 0.5, -0.20710678], atol=5e-9)
    np.testing.assert_allclose(y[0, 0], 0.5 + np.cos(2 * np.pi * j / 8), atol=1e-15)


def test_known_answer_in_two_dimensions():
    """exp(2πi (k i / h + l j / w)) with k in one corner, -k in the other: each weight acts on its
    own frequency."""
    i, j = np.mgrid[:8, :6]
    w = np.zeros((1, 1, 4, 2), complex)
    w[0, 0, 1, 1], w[0, 0, 3, 1] = 2, 3  # frequencies (1, 1) and (-1, 1)
    for k, factor in ((1, 2), (-1, 3), (2, 0)):
        x = np.cos(2 * np.pi * (k * i / 8 + j / 6))
        np.testing.assert_allclose(
            spectral_conv2d(x[None, None], w, n_modes=2)[0][0, 0], factor * x, atol=1e-14
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes, n_modes", CASES)
def test_like_the_definition(sizes, n_modes, dtype):
    x, w = arrays(sizes, n_modes, dtype)
    expected = naive.spectral_conv(x, as_pairs(w), n_modes)
    for weights in (w, as_pairs(w)):
        y, _ = call(sizes)[0](x, weights, **option(n_modes))
        assert y.dtype == dtype
        np.testing.assert_allclose(
            y, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max()
        )


def torchs(torch, x, w, n_modes):
    sizes = x.shape[2:]
    if len(sizes) == 1:
        modes = torch.zeros((len(x), w.shape[1], sizes[0] // 2 + 1), dtype=w.dtype)
        modes[..., : n_modes[0]] = torch.einsum(
            "bik,iok->bok", torch.fft.rfft(x)[..., : n_modes[0]], w
        )
        return torch.fft.irfft(modes, sizes[0])
    (k, m), read = n_modes, torch.fft.rfft2(x)
    modes = torch.zeros((len(x), w.shape[1], sizes[0], sizes[1] // 2 + 1), dtype=w.dtype)
    modes[..., :k, :m] = torch.einsum("bikm,iokm->bokm", read[..., :k, :m], w[:, :, :k])
    modes[..., -k:, :m] = torch.einsum("bikm,iokm->bokm", read[..., -k:, :m], w[:, :, k:])
    return torch.fft.irfft2(modes, sizes)


@pytest.mark.parametrize("sizes, n_modes", CASES)
def test_like_torch_autograd(sizes, n_modes):
    """Gradients by complex weights as torch has them, and the same as pairs."""
    torch = pytest.importorskip("torch")
    x, w = arrays(sizes, n_modes, np.float64)
    forward, vjp = call(sizes)
    y, cache = forward(x, w, **option(n_modes))
    grad_y = np.random.default_rng(1).standard_normal(y.shape)
    inputs = [torch.from_numpy(a).requires_grad_() for a in (x, w)]
    their_y = torchs(torch, *inputs, n_modes)
    their_grads = torch.autograd.grad(their_y, inputs, torch.from_numpy(grad_y))
    grads = vjp(grad_y, cache)
    for result, expected in zip((y, *grads), (their_y, *their_grads), strict=True):
        expected = expected.detach().numpy()
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)
    _, cache = forward(x, as_pairs(w), **option(n_modes))
    for result, expected in zip(vjp(grad_y, cache), (grads[0], as_pairs(grads[1])), strict=True):
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("sizes, n_modes", CASES)
def test_gradients_by_finite_differences(sizes, n_modes, batch):
    x, w = arrays(sizes, n_modes, np.float64, batch=batch)
    forward, vjp = call(sizes)
    assert (
        check_vjp(lambda x, w: forward(x, w, **option(n_modes)), vjp, (x, as_pairs(w)), rng=1)
        < 1e-7
    )
    assert (
        check_vjp(
            lambda x, w: forward(np.asfortranarray(x)[..., ::-1], w[::-1], **option(n_modes)),
            lambda g, cache: (vjp(g, cache)[0][..., ::-1], vjp(g, cache)[1][::-1]),
            (x, as_pairs(w)),
            rng=2,
        )
        < 1e-7
    )


@pytest.mark.parametrize("sizes, n_modes", CASES)
def test_single_precision_gradients(sizes, n_modes):
    x, w = arrays(sizes, n_modes, np.float32)
    forward, vjp = call(sizes)
    y, cache = forward(x, w, **option(n_modes))
    _, exact = forward(x.astype(float), w.astype(complex), **option(n_modes))
    for result, expected, dtype in zip(
        vjp(y, cache), vjp(y.astype(float), exact), (np.float32, np.complex64), strict=True
    ):
        assert result.dtype == dtype
        np.testing.assert_allclose(
            result, expected, rtol=0, atol=TOLERANCE["float32"] * np.abs(expected).max()
        )


def test_the_cache_holds_weights_by_reference_and_serves_again():
    x, w = arrays((8,), (3,), np.float32)
    y, cache = spectral_conv1d(x, w, n_modes=3)
    assert cache.w is w
    for a, b in zip(spectral_conv1d_vjp(y, cache), spectral_conv1d_vjp(y, cache), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shifts_commute():
    """A convolution does not know where the signal begins."""
    x, w = arrays((12, 10), (3, 4), np.float64)
    y, _ = spectral_conv2d(x, w, n_modes=(3, 4))
    moved, _ = spectral_conv2d(np.roll(x, (5, 3), axis=(2, 3)), w, n_modes=(3, 4))
    np.testing.assert_allclose(moved, np.roll(y, (5, 3), axis=(2, 3)), atol=1e-13)


def test_complex_weights_on_the_simulated_gpu():
    for sizes, n_modes in ((8,), (3,)), ((6, 7), (2, 3)):
        x, w = arrays(sizes, n_modes, np.float64)
        forward, vjp = call(sizes)
        y, cache = forward(x, w, **option(n_modes))
        with simulated_gpu() as xp:
            on_gpu, there = forward(xp.asarray(x), xp.asarray(w), **option(n_modes))
            grads = vjp(on_gpu, there)
        for result, expected in zip((on_gpu, *grads), (y, *vjp(y, cache)), strict=True):
            np.testing.assert_allclose(result.get(), expected, rtol=0, atol=1e-13)


X1, W1, X2, W2 = (
    np.ones((2, 3, 8)),
    np.ones((3, 4, 2), complex),
    np.ones((2, 3, 8, 6)),
    np.ones((3, 4, 4, 2), complex),
)


@pytest.mark.parametrize(
    "routine, x, w, n_modes, kind, message",
    [
        (
            spectral_conv1d,
            X1,
            W1,
            6,
            ValueError,
            r"n_modes must be <= n // 2 \+ 1 with n = 8 \(got 6\)",
        ),
        (
            spectral_conv1d,
            X1,
            W1,
            3,
            ValueError,
            r"w must have \(3,\) modes after \(n_in, n_out\) \(got shape \(3, 4, 2\)\)",
        ),
        (spectral_conv1d, X1[..., :0], W1[..., :1], 1, ValueError, r"x must have n >= 1 samples"),
        (
            spectral_conv1d,
            X1,
            W1.real[..., None],
            2,
            ValueError,
            r"w must have shape \(n_in, n_out, m, 2\)",
        ),
        (
            spectral_conv1d,
            X1,
            W1.astype(np.complex64),
            2,
            TypeError,
            r"w must have dtype complex128 or float64 \(got complex64\)",
        ),
        (spectral_conv1d, X1, W1.real, 2, ValueError, r"w must have shape \(n_in, n_out, m, 2\)"),
        (
            spectral_conv2d,
            X2,
            W2,
            (5, 2),
            ValueError,
            r"n_modes must be <= \(height // 2, width // 2 \+ 1\) with height = 8, width = 6 \(got "
            r"\(5, 2\)\)",
        ),
        (spectral_conv2d, X2, W2, (2, 5), ValueError, "n_modes must be <="),
        (
            spectral_conv2d,
            X2,
            W2,
            1,
            ValueError,
            r"w must have \(2, 1\) modes after \(n_in, n_out\) \(got shape \(3, 4, 4, 2\)\)",
        ),
        (spectral_conv2d, X2[..., :0], W2, 2, ValueError, "x must have height, width >= 1"),
    ],
)
def test_bad_input(routine, x, w, n_modes, kind, message):
    with pytest.raises(kind, match=message):
        routine(x, w, n_modes=n_modes)


def test_bad_gradients_and_caches():
    y, cache = spectral_conv1d(X1, W1, n_modes=2)
    with pytest.raises(TypeError, match="cache must be a SpectralConv1dCache"):
        spectral_conv1d_vjp(y, spectral_conv2d(X2, W2, n_modes=2)[1])
    with pytest.raises(ValueError, match=r"grad_y must have shape \(2, 4, 8\) \(got \(2, 4, 7\)\)"):
        spectral_conv1d_vjp(y[..., 1:], cache)
    with pytest.raises(TypeError, match="grad_y must have the dtype of x"):
        spectral_conv1d_vjp(y.astype("f4"), cache)
    with simulated_gpu() as xp, pytest.raises(TypeError, match="one device"):
        spectral_conv1d_vjp(xp.asarray(y), cache)
