"""The gradient of an embedding's table, beside NumPy's and torch's."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import embedding, embedding_vjp

SECONDS = 2


class EmbeddingGradient:
    """float32, 65,536 words of a vocabulary of 10,000 with the frequencies of a text, 64 columns;
    one thread."""

    unit = "× (baseline's time / numcore's)"

    def setup(self):
        rng = np.random.default_rng(0)
        self.table, self.idx = (
            rng.standard_normal((10_000, 64), np.float32),
            rng.zipf(1.2, 65_536) % 10_000,
        )
        y, self.cache = embedding(self.idx, self.table)
        self.grad = rng.standard_normal(y.shape, np.float32)
        numcore.set_num_threads(1)
        self.ours()

    def teardown(self):
        numcore.set_num_threads(None)

    def ours(self):
        return embedding_vjp(self.grad, self.cache)

    def track_ratio_to_add_at(self):
        def numpys():
            np.add.at(np.zeros_like(self.table), self.idx, self.grad)

        ours, theirs = median_seconds([self.ours, numpys], SECONDS)
        return theirs / ours

    def track_ratio_to_torch(self):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        table, before = torch.from_numpy(self.table).requires_grad_(), torch.get_num_threads()
        torch.set_num_threads(1)
        y, grad = (
            torch.nn.functional.embedding(torch.from_numpy(self.idx), table),
            torch.from_numpy(self.grad),
        )
        try:
            ours, theirs = median_seconds(
                [self.ours, lambda: torch.autograd.grad(y, table, grad, retain_graph=True)], SECONDS
            )
        finally:
            torch.set_num_threads(before)
        return theirs / ours

    def time_gradient(self):
        self.ours()

    def peakmem_gradient(self):
        self.ours()
