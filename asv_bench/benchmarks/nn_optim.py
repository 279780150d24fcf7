"""Adam on five million parameters, beside NumPy expressions and torch's fused kernel."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import Adam

SECONDS = 3
SIZE = 5_000_000


class AdamStep:
    """float32, one array; all in turn in one process, numcore and torch with the same number of
    threads."""

    param_names = ("threads",)
    params = ([1, 2],)
    unit = "× (baseline's time / numcore's)"

    def setup(self, threads):
        rng = np.random.default_rng(0)
        self.w, self.g = (rng.standard_normal(SIZE, np.float32) for _ in range(2))
        self.adam = Adam([self.w])
        numcore.set_num_threads(threads)
        self.adam.step([self.g])

    def teardown(self, threads):
        numcore.set_num_threads(None)

    def ours(self):
        self.adam.step([self.g])

    def track_ratio_to_numpy(self, threads):
        w, g, m, v, step = self.w.copy(), self.g, np.zeros_like(self.g), np.zeros_like(self.g), 0

        def numpys():
            nonlocal step
            step += 1
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.999 * v + 0.001 * g**2
            w[...] -= 1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)

        ours, theirs = median_seconds([self.ours, numpys], SECONDS)
        return theirs / ours

    def track_ratio_to_torch_fused(self, threads):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        w = torch.from_numpy(self.w.copy()).requires_grad_()
        w.grad = torch.from_numpy(self.g)
        peer, before = torch.optim.Adam([w], fused=True), torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            ours, theirs = median_seconds([self.ours, peer.step], SECONDS)
        finally:
            torch.set_num_threads(before)
        return theirs / ours

    def time_step(self, threads):
        self.ours()

    def peakmem_step(self, threads):
        self.ours()
