"""Attention compared with torch on the sizes that models have, and its memory on long sequences."""

import functools

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import attention, attention_vjp

SECONDS = 2


class Attention:
    """float32, 4 heads, numcore and torch with the same number of threads; both in turn in one
    process, medians compared."""

    param_names = ("d", "n", "causal")
    params = ([64, 128], [1024, 2048, 4096], [False, True])
    unit = "× (torch's time / numcore's)"

    def setup(self, d, n, causal):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        rng = np.random.default_rng(0)
        self.q, self.k, self.v, self.grad_out = (
            rng.standard_normal((1, 4, n, d)).astype(np.float32) for _ in range(4)
        )
        self.out, self.lse = attention(self.q, self.k, self.v, causal=causal, return_lse=True)
        self.torch_inputs = [torch.from_numpy(x).requires_grad_() for x in (self.q, self.k, self.v)]
        self.torch_attention = functools.partial(
            torch.nn.functional.scaled_dot_product_attention, is_causal=causal
        )
        self.torch_grad = functools.partial(
            torch.autograd.grad,
            self.torch_attention(*self.torch_inputs),
            self.torch_inputs,
            torch.from_numpy(self.grad_out),
            retain_graph=True,
        )

    def track_ratio_forward(self, d, n, causal):
        inputs = [x.detach() for x in self.torch_inputs]
        return self._ratio(
            lambda: attention(self.q, self.k, self.v, causal=causal),
            lambda: self.torch_attention(*inputs),
        )

    def track_ratio_backward(self, d, n, causal):
        return self._ratio(
            lambda: attention_vjp(
                self.grad_out, self.q, self.k, self.v, self.out, self.lse, causal=causal
            ),
            self.torch_grad,
        )

    @staticmethod
    def _ratio(ours, torchs):
        mine, theirs = median_seconds([ours, torchs], SECONDS)
        return theirs / mine


class LongSequences:
    """Memory does not grow with the square of the length."""

    param_names = ("n",)
    params = ([4096, 16384],)

    def setup(self, n):
        self.x = np.random.default_rng(0).standard_normal((1, n, 64)).astype(np.float32)

    def time_window(self, n):
        attention(self.x, self.x, self.x, window=(256, 0))

    def peakmem_window(self, n):
        attention(self.x, self.x, self.x, window=(256, 0))
