"""Convolution, pooling and spectral convolution beside torch, forward and backward, on the sizes
that networks have."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import (
    avg_pool2d,
    avg_pool2d_vjp,
    conv2d,
    conv2d_vjp,
    max_pool2d,
    max_pool2d_vjp,
    spectral_conv1d,
    spectral_conv1d_vjp,
    spectral_conv2d,
    spectral_conv2d_vjp,
)

SECONDS = 3

CONVOLUTIONS = {  # shapes of images and kernels, options
    "3 x 3": ((16, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}),
    "3 x 3, stride 2": ((16, 64, 32, 32), (128, 64, 3, 3), {"padding": 1, "stride": 2}),
    "1 x 1": ((16, 64, 32, 32), (64, 64, 1, 1), {}),
    "first layer, 7 x 7": ((16, 3, 64, 64), (64, 3, 7, 7), {"padding": 3, "stride": 2}),
    "each channel alone": ((16, 64, 32, 32), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
    "many channels": ((16, 256, 8, 8), (256, 256, 3, 3), {"padding": 1}),
}


def import_torch():
    try:
        import torch
    except ImportError as error:
        raise NotImplementedError("torch is not installed") from error
    torch.set_num_threads(numcore.get_num_threads())
    return torch


class _Layer:
    """`self.ours` and `self.torchs` are forward functions, `self.vjp` our backward one; both sides
    run in turn in one process."""

    unit = "× (torch's time / numcore's)"

    def _take(self, torch, ours, vjp, torchs, *arrays):
        self.torch, self.ours, self.vjp, self.torchs, self.arrays = torch, ours, vjp, torchs, arrays
        self.inputs = [torch.from_numpy(a).requires_grad_() for a in arrays]
        self.grad_y = (
            np.random.default_rng(1).standard_normal(ours(*arrays)[0].shape).astype(np.float32)
        )

    def _backward(self):
        return self.vjp(self.grad_y, self.ours(*self.arrays)[1])

    def _ratio_forward(self):
        detached = [x.detach() for x in self.inputs]
        mine, theirs = median_seconds(
            [lambda: self.ours(*self.arrays), lambda: self.torchs(*detached)], SECONDS
        )
        return theirs / mine

    def _ratio_backward(self):
        grad_y, torch = self.torch.from_numpy(self.grad_y), self.torch
        peer = lambda: torch.autograd.grad(self.torchs(*self.inputs), self.inputs, grad_y)  # noqa: E731
        mine, theirs = median_seconds([self._backward, peer], SECONDS)
        return theirs / mine


class Convolution(_Layer):
    """float32, with a bias."""

    param_names, params = ("layer",), list(CONVOLUTIONS)

    def setup(self, layer):
        torch, rng = import_torch(), np.random.default_rng(0)
        shape, kernels, options = CONVOLUTIONS[layer]
        x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (shape, kernels, kernels[:1]))
        self._take(
            torch,
            lambda x, w, b: conv2d(x, w, b, **options),
            conv2d_vjp,
            lambda x, w, b: torch.nn.functional.conv2d(x, w, b, **options),
            x,
            w,
            b,
        )

    def track_ratio_forward(self, layer):
        return self._ratio_forward()

    def track_ratio_forward_and_backward(self, layer):
        return self._ratio_backward()

    def time_forward_and_backward(self, layer):
        self._backward()

    def peakmem_forward_and_backward(self, layer):
        self._backward()


class Pooling(_Layer):
    """Windows of 2 × 2 on (16, 64, 32, 32), float32."""

    param_names, params = ("kind",), ["max", "avg"]

    def setup(self, kind):
        torch = import_torch()
        forward, vjp = (
            (max_pool2d, max_pool2d_vjp) if kind == "max" else (avg_pool2d, avg_pool2d_vjp)
        )
        torchs = getattr(torch.nn.functional, f"{kind}_pool2d")
        x = np.random.default_rng(0).standard_normal((16, 64, 32, 32)).astype(np.float32)
        self._take(torch, lambda x: forward(x, 2), vjp, lambda x: torchs(x, 2), x)

    def track_ratio_forward_and_backward(self, kind):
        return self._ratio_backward()

    def time_forward_and_backward(self, kind):
        self._backward()


class Spectral(_Layer):
    """32 channels, batch 16: 16 of 129 modes of 256 samples, 2 · 12 × 12 modes of 64 × 64 pixels;
    float32."""

    param_names, params = ("axes",), [1, 2]

    def setup(self, axes):
        torch, rng = import_torch(), np.random.default_rng(0)
        sizes, modes, n_modes = ((256,), (16,), 16) if axes == 1 else ((64, 64), (24, 12), 12)
        x, re, im = (
            rng.standard_normal(s).astype(np.float32)
            for s in ((16, 32, *sizes), (32, 32, *modes), (32, 32, *modes))
        )
        forward, vjp = (
            (spectral_conv1d, spectral_conv1d_vjp)
            if axes == 1
            else (spectral_conv2d, spectral_conv2d_vjp)
        )

        def torchs(x, w):
            if axes == 1:
                y = torch.zeros((16, 32, 129), dtype=w.dtype)
                y[..., :16] = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[..., :16], w)
                return torch.fft.irfft(y, 256)
            y, read = torch.zeros((16, 32, 64, 33), dtype=w.dtype), torch.fft.rfft2(x)
            y[..., :12, :12] = torch.einsum("bikm,iokm->bokm", read[..., :12, :12], w[:, :, :12])
            y[..., -12:, :12] = torch.einsum("bikm,iokm->bokm", read[..., -12:, :12], w[:, :, 12:])
            return torch.fft.irfft2(y, (64, 64))

        self._take(torch, lambda x, w: forward(x, w, n_modes=n_modes), vjp, torchs, x, re + 1j * im)

    def track_ratio_forward_and_backward(self, axes):
        return self._ratio_backward()

    def time_forward_and_backward(self, axes):
        self._backward()
