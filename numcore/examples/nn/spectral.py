"""Example calls of spectral convolution. The references multiply by matrices of cosines and sines
in long double."""

import importlib.util

import numpy as np

from ..._pool import get_num_threads
from ...nn import spectral_conv1d, spectral_conv2d
from .. import Example

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = "digits images, 16 channels" if HAVE_SKLEARN else "random images, 16 channels"


# --- references -----------------------------------------------------------------------------------
#
# The map from x to y is real and linear: for each mode, the outer product of the waves that read
# the mode and of those that write it.


def _waves(frequencies, n):
    """exp(-2πi f j / n), (frequencies, n)."""
    turns = np.outer(frequencies, np.arange(n)) % n
    angle = 2 * np.arctan2(np.longdouble(0), np.longdouble(-1)) * turns / n
    return np.cos(angle) - 1j * np.sin(angle)


def _readers(n_modes, sizes):
    """(modes, samples): how a mode reads a signal; and (modes,), how often it counts when written
    back."""
    along = np.arange(n_modes[-1])
    counts = np.where((along == 0) | (2 * along == sizes[-1]), 1, 2)
    waves = _waves(along, sizes[-1])
    if len(n_modes) == 2:
        k = np.concatenate((np.arange(n_modes[0]), np.arange(-n_modes[0], 0)))
        waves = (_waves(k, sizes[0])[:, None, :, None] * waves[None, :, None, :]).reshape(
            len(k) * len(along), -1
        )
        counts = np.tile(counts, len(k))
    return waves, counts


def _complex(w):
    return (w[..., 0].astype(np.longdouble) + 1j * w[..., 1]).reshape(*w.shape[:2], -1)


def _flat(x):
    return x.reshape(*x.shape[:2], int(np.prod(x.shape[2:]))).astype(np.longdouble)


def spectral_conv(x, w, n_modes):
    sizes = x.shape[2:]
    waves, counts = _readers(n_modes if isinstance(n_modes, tuple) else (n_modes,), sizes)
    modes = np.einsum("bij,kj,iok->bok", _flat(x), waves, _complex(w), optimize=True)
    y = np.einsum("bok,k,kj->boj", modes, counts, waves.conj(), optimize=True).real / np.prod(sizes)
    return y.reshape(len(x), w.shape[1], *sizes)


def _backward(grad_y, cache):
    """Through the derivatives of y by real and imaginary parts of w, and by x."""
    sizes = cache.shape[2:]
    waves, counts = _readers(cache.n_modes, sizes)
    written = np.einsum("boj,k,kj->bok", _flat(grad_y), counts, waves, optimize=True) / np.prod(
        sizes
    )
    modes = cache.modes.reshape(*cache.modes.shape[:2], len(counts)).astype(np.clongdouble)
    by_w = np.einsum("bik,bok->iok", modes.conj(), written)
    by_x = np.einsum(
        "bok,iok,kj->bij", written, _complex(cache.w).conj(), waves.conj(), optimize=True
    ).real
    return by_x.reshape(cache.shape), np.stack((by_w.real, by_w.imag), axis=-1).reshape(
        cache.w.shape
    )


# --- data -----------------------------------------------------------------------------------------


def _call(rng, dtype, n, sizes, n_modes):
    rows = (2 * n_modes[0],) if len(sizes) == 2 else ()
    last = n_modes[-1] if rows else n_modes
    arrays = {"x": (n, 3, *sizes), "w": (3, 2, *rows, last, 2)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in arrays.items()} | {
        "n_modes": n_modes
    }


def _with_gradient(rng, routine, call):
    y, cache = routine(**call)
    return {"grad_y": rng.standard_normal(y.shape).astype(y.dtype), "cache": cache}


def _real(two):
    def make(dtype):
        rng = np.random.default_rng(0)
        if HAVE_SKLEARN:
            from sklearn.datasets import load_digits

            images = load_digits().images / 16
        else:
            images = rng.standard_normal((1797, 8, 8))
        x = images[:, None] * rng.standard_normal((16, 1, 1))
        x, n_modes, modes = (x, (3, 4), (6, 4)) if two else (x.reshape(len(x), 16, 64), 12, (12,))
        return {
            "x": x.astype(dtype),
            "w": (rng.standard_normal((16, 16, *modes, 2)) / 16).astype(dtype),
            "n_modes": n_modes,
        }

    return make


def _torch(x, w, n_modes):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())  # as many as numcore has
    try:
        x, w = torch.from_numpy(x), torch.view_as_complex(torch.from_numpy(w))
        if x.ndim == 3:
            modes = torch.zeros((x.shape[0], w.shape[1], x.shape[2] // 2 + 1), dtype=w.dtype)
            modes[..., :n_modes] = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[..., :n_modes], w)
            return torch.fft.irfft(modes, x.shape[2])
        k, m = n_modes
        modes, read = (
            torch.zeros((x.shape[0], w.shape[1], x.shape[2], x.shape[3] // 2 + 1), dtype=w.dtype),
            torch.fft.rfft2(x),
        )
        modes[..., :k, :m] = torch.einsum("bikm,iokm->bokm", read[..., :k, :m], w[:, :, :k])
        modes[..., -k:, :m] = torch.einsum("bikm,iokm->bokm", read[..., -k:, :m], w[:, :, k:])
        return torch.fft.irfft2(modes, x.shape[2:])
    finally:
        torch.set_num_threads(before)


def _pair(name, routine, sizes, n_modes, small, few):
    """The examples of a routine and of its backward pass."""
    return {
        name: Example(
            arguments=lambda rng, dtype: _call(rng, dtype, 4, sizes, n_modes),
            arrays=("x", "w"),
            reference=spectral_conv,
            bound={"float32": 2e-6, "float64": 4e-15},
            data=DATA,
            real=_real(len(sizes) == 2),
            peer=("torch.fft and einsum", _torch),
            sizes=lambda rng, dtype, n: _call(rng, dtype, n, small, few),
            result=lambda result: result[0],
        ),
        f"{name}_vjp": Example(
            arguments=lambda rng, dtype: _with_gradient(
                rng, routine, _call(rng, dtype, 4, sizes, n_modes)
            ),
            arrays=("grad_y",),
            reference=_backward,
            bound={"float32": 3e-6, "float64": 6e-15},
            data=DATA,
            real=lambda dtype: _with_gradient(
                np.random.default_rng(1), routine, _real(len(sizes) == 2)(dtype)
            ),
            sizes=lambda rng, dtype, n: _with_gradient(
                rng, routine, _call(rng, dtype, n, small, few)
            ),
        ),
    }


EXAMPLES = _pair("spectral_conv1d", spectral_conv1d, (21,), 8, (8,), 5) | _pair(
    "spectral_conv2d", spectral_conv2d, (10, 12), (3, 7), (5, 4), (2, 2)
)
