"""Kernels of wide networks compared with NumPy, ensembles with a torch loop, closed forms."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import PermutationEnsemble, ntk, permutation_mean, permutation_variance
from numcore.nn._permutation_learning.covariance import directions
from numcore.nn._permutation_learning.kernels import arc_cosine_gram

SECONDS = 2


def numpy_ntk(x1, x2):
    lengths = np.linalg.norm(x1, axis=1)[:, None] * np.linalg.norm(x2, axis=1)
    return numpy_elementwise(np.clip(x1 @ x2.T / lengths, -1, 1), lengths, x1.shape[1])


def numpy_elementwise(c, lengths, d):
    angle = np.arccos(c)
    k1 = (np.sqrt(1 - c * c) + c * (np.pi - angle)) / np.pi
    k0 = (np.pi - angle) / np.pi
    return lengths * (k1 + c * k0) / (2 * d)


class Kernels:
    """n1 = n2 = 4000, d = 784, as images of digits have: all of it, and what comes after the
    product of the two matrices."""

    param_names = ("dtype",)
    params = (["float32", "float64"],)
    unit = "× (NumPy's time / numcore's)"

    def setup(self, dtype):
        rng = np.random.default_rng(0)
        self.x1, self.x2 = (rng.random((4000, 784)).astype(dtype) for _ in range(2))

    def time_ntk(self, dtype):
        ntk(self.x1, self.x2)

    def peakmem_ntk(self, dtype):
        ntk(self.x1, self.x2)

    def track_ratio_numpy(self, dtype):
        ours, numpys = median_seconds(
            [lambda: ntk(self.x1, self.x2), lambda: numpy_ntk(self.x1, self.x2)], SECONDS
        )
        return numpys / ours

    def track_ratio_numpy_elementwise(self, dtype):
        u, left = directions("x1", self.x1)
        v, right = directions("x2", self.x2)
        c, lengths = u @ v.T, left[:, None] * right
        # is overwritten: that the numbers become others does not matter for the time, as long as
        # none is close to 1
        work = c.copy()

        def ours():
            np.copyto(work, c)
            arc_cosine_gram(u, v, left, right, 2, 1 / (2 * np.pi * 784), work)

        mine, numpys = median_seconds(
            [ours, lambda: numpy_elementwise(np.clip(c, -1, 1), lengths, 784)], SECONDS
        )
        return numpys / mine


class ClosedForms:
    """All numbers of ones of k = 10,000 at once."""

    def setup(self):
        self.n_ones = np.arange(1, 10_001)

    def time_mean(self):
        permutation_mean(self.n_ones, 10_000)

    def time_variance(self):
        permutation_variance(self.n_ones, 10_000)


class Ensemble:
    """Eight networks of 20,000 hidden units, 100 steps on the ten basis vectors, float32; as many
    threads for torch as for numcore."""

    unit = "× (torch's time / numcore's)"
    timeout = 600

    def setup(self):
        self.x = np.eye(10, dtype=np.float32)
        self.y = self.x[np.random.default_rng(0).permutation(10)]

    def ours(self):
        PermutationEnsemble(n_models=8, width=20_000, max_iter=100, tol=0.0, rng=0).fit(
            self.x, self.y
        )

    def time_fit(self):
        self.ours()

    def peakmem_fit(self):
        self.ours()

    def track_ratio_torch(self):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        x, y = torch.from_numpy(self.x), torch.from_numpy(self.y)

        def loop():
            for _ in range(8):
                network = torch.nn.Sequential(
                    torch.nn.Linear(10, 20_000, bias=False),
                    torch.nn.ReLU(),
                    torch.nn.Linear(20_000, 10, bias=False),
                )
                for weight in network.parameters():
                    torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
                descent = torch.optim.SGD(network.parameters(), lr=1e-3)
                for _ in range(100):
                    descent.zero_grad()
                    torch.nn.functional.mse_loss(network(x), y).backward()
                    descent.step()

        mine, torchs = median_seconds([self.ours, loop], SECONDS)
        return torchs / mine
