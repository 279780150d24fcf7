"""Normalizations beside torch's and NumPy's, forward and backward together, on the sizes that
models have."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import (
    PowerNorm,
    batch_norm,
    batch_norm_vjp,
    layer_norm,
    layer_norm_vjp,
    power_norm,
    power_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)

SECONDS = 2


def ratio(ours, peers):
    mine, theirs = median_seconds([ours, peers], SECONDS)
    return theirs / mine


class _Inputs:
    """float32; numcore and torch with the same number of threads, both in turn in one process,
    medians compared."""

    param_names = ("shape",)
    params = ([(4096, 512), (4096, 1024), (16384, 1024)],)
    timeout = 300

    def setup(self, shape):
        rng, d = np.random.default_rng(0), shape[1]
        self.x, self.grad_y, self.weight, self.bias = (
            rng.standard_normal(s).astype(np.float32) for s in (shape, shape, d, d)
        )
        self.running = np.zeros(d, np.float32), np.ones(d, np.float32)
        self.gamma = rng.standard_normal(d).astype(np.float32)
        self.power_norm = PowerNorm(d, n_groups=None, n_warmup=0)
        self.scaled_power_norm = PowerNorm(d, n_groups=1, n_warmup=0)

    def _layer_norm(self):
        y, cache = layer_norm(self.x, self.weight, self.bias)
        return y, layer_norm_vjp(self.grad_y, cache)

    def _rms_norm(self):
        y, cache = rms_norm(self.x, self.weight)
        return y, rms_norm_vjp(self.grad_y, cache)

    def _batch_norm(self):
        y, cache = batch_norm(self.x, self.weight, self.bias, self.running)
        return y, batch_norm_vjp(self.grad_y, cache)

    def _power_norm(self):
        y, cache = self.power_norm.forward(self.x)
        return y, self.power_norm.backward(self.grad_y, cache)

    def _scaled_power_norm(self):
        y, cache = self.scaled_power_norm.forward(self.x)
        return y, self.scaled_power_norm.backward(self.grad_y, cache)

    def _power_norm_functions(self):
        y, cache = power_norm(self.x, self.weight, self.bias, self.running[1], self.gamma)
        return y, power_norm_vjp(self.grad_y, cache)


class ToTorch(_Inputs):
    unit = "× (torch's time / numcore's)"

    def setup(self, shape):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        super().setup(shape)
        torch.set_num_threads(numcore.get_num_threads())
        functional, d = torch.nn.functional, shape[1]
        x, weight, bias = (
            torch.from_numpy(a).requires_grad_() for a in (self.x, self.weight, self.bias)
        )
        grad_y, mean, var = map(torch.from_numpy, (self.grad_y, *(a.copy() for a in self.running)))

        def both_ways(forward, inputs):
            def call():
                y = forward()
                return y, torch.autograd.grad(y, inputs, grad_y)

            return call

        self.torch_layer_norm = both_ways(
            lambda: functional.layer_norm(x, (d,), weight, bias), (x, weight, bias)
        )
        self.torch_rms_norm = both_ways(
            lambda: functional.rms_norm(x, (d,), weight, 1e-6), (x, weight)
        )
        self.torch_batch_norm = both_ways(
            lambda: functional.batch_norm(x, mean, var, weight, bias, True), (x, weight, bias)
        )

    def track_ratio_layer_norm(self, shape):
        return ratio(self._layer_norm, self.torch_layer_norm)

    def track_ratio_rms_norm(self, shape):
        return ratio(self._rms_norm, self.torch_rms_norm)

    def track_ratio_batch_norm(self, shape):
        return ratio(self._batch_norm, self.torch_batch_norm)

    def track_ratio_power_norm_to_layer_norm(self, shape):
        return ratio(self._power_norm, self.torch_layer_norm)

    def track_ratio_power_norm_functions_to_layer_norm(self, shape):
        return ratio(self._power_norm_functions, self.torch_layer_norm)

    def track_ratio_power_norm_to_batch_norm(self, shape):
        return ratio(self._power_norm, self.torch_batch_norm)


class ToNumpy(_Inputs):
    unit = "× (NumPy's time / numcore's)"

    def _numpy_layer_norm(self):
        x, weight, d = self.x, self.weight, np.float32(self.x.shape[1])
        difference = x - x.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt(
            (difference * difference).sum(axis=1, keepdims=True) / d + np.float32(1e-5)
        )
        z = difference * scale
        g = weight * self.grad_y
        grad_x = scale * (
            g - g.mean(axis=1, keepdims=True) - z * (g * z).mean(axis=1, keepdims=True)
        )
        return (
            z * weight + self.bias,
            grad_x,
            (self.grad_y * z).sum(axis=0),
            self.grad_y.sum(axis=0),
        )

    def _numpy_power_norm(self):
        """A step after the warm-up."""
        root = np.sqrt(self.running[1] + np.float32(1e-5))
        z = self.x / root
        y = z * self.weight + self.bias
        phi = np.float32(0.9) * self.running[1] + np.float32(0.1) * (self.x * self.x).mean(axis=0)
        t = self.grad_y * self.weight - np.float32(0.1) * self.gamma * z
        gamma = self.gamma + (t * z).mean(axis=0)
        return y, t / root, (self.grad_y * z).sum(axis=0), self.grad_y.sum(axis=0), phi, gamma

    def track_ratio_layer_norm(self, shape):
        return ratio(self._layer_norm, self._numpy_layer_norm)

    def track_ratio_power_norm(self, shape):
        return ratio(self._power_norm, self._numpy_power_norm)

    def track_ratio_power_norm_functions(self, shape):
        return ratio(self._power_norm_functions, self._numpy_power_norm)


class Alone(_Inputs):
    def time_layer_norm(self, shape):
        self._layer_norm()

    def time_batch_norm(self, shape):
        self._batch_norm()

    def time_power_norm(self, shape):
        self._power_norm()

    def time_power_norm_with_group_scaling(self, shape):
        self._scaled_power_norm()

    def peakmem_layer_norm(self, shape):
        self._layer_norm()

    def peakmem_power_norm(self, shape):
        self._power_norm()

    def peakmem_power_norm_with_group_scaling(self, shape):
        self._scaled_power_norm()
