"""Monarch products compared with torch's batched products and dense ones, float32; projections
compared with NumPy's batched SVD."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.linalg import monarch_matmul, monarch_matmul_vjp, monarch_project

SECONDS = 2


def call(n, batch):
    rng, k = np.random.default_rng(0), round(n**0.5)
    return [
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((batch, n), (k, k, k), (k, k, k))
    ]


class Products:
    param_names, params = ("n", "batch"), ([1024, 4096], [256, 1024])

    def setup(self, n, batch):
        self.arguments = call(n, batch)
        monarch_matmul(*self.arguments)
        self.grad = self.arguments[0][::-1].copy()
        monarch_matmul_vjp(*self.arguments, self.grad)

    def time_product(self, n, batch):
        monarch_matmul(*self.arguments)

    def time_gradients(self, n, batch):
        monarch_matmul_vjp(*self.arguments, self.grad)

    def peakmem_product(self, n, batch):
        monarch_matmul(*self.arguments)

    def track_ratio_to_torch_bmm(self, n, batch):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        x, right, left = map(torch.from_numpy, self.arguments)
        k = len(right)

        def peer():
            o = (
                torch.bmm(x.reshape(batch, k, k).transpose(0, 1), right.transpose(1, 2))
                .transpose(0, 1)
                .reshape(batch, k, k)
            )
            o = o.transpose(1, 2).contiguous().transpose(0, 1)
            return torch.bmm(o, left.transpose(1, 2)).permute(1, 2, 0).reshape(batch, n)

        ours, theirs = median_seconds([lambda: monarch_matmul(*self.arguments), peer], SECONDS)
        return theirs / ours

    def track_ratio_to_dense(self, n, batch):
        w = np.random.default_rng(1).standard_normal((n, n)).astype(np.float32)
        ours, theirs = median_seconds(
            [lambda: monarch_matmul(*self.arguments), lambda: self.arguments[0] @ w], SECONDS
        )
        return theirs / ours

    def track_factor_of_forward_and_gradients(self, n, batch):
        forward, backward = median_seconds(
            [
                lambda: monarch_matmul(*self.arguments),
                lambda: monarch_matmul_vjp(*self.arguments, self.grad),
            ],
            SECONDS,
        )
        return (forward + backward) / forward


class Growth:
    """Ratio of the times at n = 16384 and 1024, divided by that of n^1.5: 1 if the cost is as
    predicted."""

    def track_scaling_with_n(self):
        small, large = call(1024, 256), call(16384, 256)
        first, last = median_seconds(
            [lambda: monarch_matmul(*small), lambda: monarch_matmul(*large)], SECONDS
        )
        return last / first / 16**1.5


class Projection:
    timeout = 300

    def setup(self):
        self.a = np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)

    def time_project(self):
        monarch_project(self.a, n_blocks=(64, 64))

    def peakmem_project(self):
        monarch_project(self.a, n_blocks=(64, 64))

    def track_ratio_to_batched_svd(self):
        blocks = np.ascontiguousarray(self.a.reshape(64, 64, 64, 64).transpose(1, 2, 0, 3))
        ours, theirs = median_seconds(
            [
                lambda: monarch_project(self.a, n_blocks=(64, 64)),
                lambda: np.linalg.svd(blocks, full_matrices=False),
            ],
            1,
        )
        return theirs / ours
