"""A long short-term memory, forward and backward, beside torch's."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import lstm, lstm_vjp

SECONDS = 3


class LSTM:
    """float32, 128 units, 100 steps, a batch of 32; numcore and torch with the same number of
    threads, in turn in one process."""

    param_names = ("threads",)
    params = ([1, 2],)
    unit = "× (torch's time / numcore's)"

    def setup(self, threads):
        rng = np.random.default_rng(0)
        steps, batch, features, hidden = 100, 32, 128, 128
        self.x, self.grad = (
            rng.standard_normal((steps, batch, n)).astype(np.float32) for n in (features, hidden)
        )
        self.weights = [
            rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(hidden))
            for shape in ((features, 4 * hidden), (hidden, 4 * hidden), 4 * hidden)
        ]
        self.zero = np.zeros((batch, hidden), np.float32)
        numcore.set_num_threads(threads)

    def teardown(self, threads):
        numcore.set_num_threads(None)

    def ours(self):
        _, cache = lstm(self.x, self.zero, self.zero, *self.weights)
        return lstm_vjp(self.grad, None, None, cache)

    def track_ratio_forward_and_backward(self, threads):
        try:
            import threadpoolctl
            import torch
        except ImportError as error:
            raise NotImplementedError("torch or threadpoolctl is not installed") from error
        w_x, w_h, b = self.weights
        module = torch.nn.LSTM(w_x.shape[0], w_h.shape[0])
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), (w_x.T, w_h.T, b, 0 * b), strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        x, grad = torch.from_numpy(self.x).requires_grad_(), torch.from_numpy(self.grad)

        def torchs():
            return torch.autograd.grad(module(x)[0], [x, *module.parameters()], grad)

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with threadpoolctl.threadpool_limits(threads, "blas"):
                ours, theirs = median_seconds([self.ours, torchs], SECONDS)
        finally:
            torch.set_num_threads(before)
        return theirs / ours

    def time_forward_and_backward(self, threads):
        self.ours()

    def peakmem_forward_and_backward(self, threads):
        self.ours()
