"""Softmax cross entropy with its gradient, from few classes to a vocabulary."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import softmax_cross_entropy

SECONDS = 2


class CrossEntropy:
    """float32; loss and gradient, numcore and torch with one thread each, in turn in one
    process."""

    params = ([(16384, 10), (4096, 1000), (256, 50257)],)
    param_names = ("rows and classes",)
    unit = "× (torch's time / numcore's)"

    def setup(self, shape):
        rng = np.random.default_rng(0)
        self.logits, self.labels = (
            rng.standard_normal(shape, np.float32),
            rng.integers(0, shape[1], shape[0]),
        )
        numcore.set_num_threads(1)
        self.ours()

    def teardown(self, shape):
        numcore.set_num_threads(None)

    def ours(self):
        return softmax_cross_entropy(self.logits, self.labels)

    def track_ratio_to_torch(self, shape):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        logits, labels, before = (
            torch.from_numpy(self.logits).requires_grad_(),
            torch.from_numpy(self.labels),
            torch.get_num_threads(),
        )
        torch.set_num_threads(1)
        try:
            ours, theirs = median_seconds(
                [
                    self.ours,
                    lambda: torch.autograd.grad(
                        torch.nn.functional.cross_entropy(logits, labels), logits
                    ),
                ],
                SECONDS,
            )
        finally:
            torch.set_num_threads(before)
        return theirs / ours

    def time_cross_entropy(self, shape):
        self.ours()

    def peakmem_cross_entropy(self, shape):
        self.ours()
