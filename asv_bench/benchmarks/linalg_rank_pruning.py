"""Rank pruning compared with NumPy's singular value decompositions, layers of a quarter of the rank
compared with the convolution, training steps."""

import numpy as np

from numcore._measure import median_seconds
from numcore.linalg import (
    RankPruner,
    apply_factors,
    decompose_kernel,
    nuclear_norm,
    truncate_kernel,
)
from numcore.nn import conv2d, conv2d_vjp, max_pool2d, max_pool2d_vjp, softmax_cross_entropy

SECONDS = 3


def kernels(n, c, k=3):
    return np.random.default_rng(0).standard_normal((n, c, k, k)).astype(np.float32)


def truncated_by_svd(m, rank):
    """Low-rank matrix and subgradient, for one matrix or a stack."""
    u, s, vh = np.linalg.svd(m, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vh[:rank], u[:, :rank] @ vh[:rank]


class Truncation:
    """A quarter of the rank of n × n × 3 × 3 kernels, float32."""

    param_names, params, timeout = ("n",), [64, 256, 512], 300

    def setup(self, n):
        self.w = kernels(n, n)
        truncate_kernel(self.w, ratio=0.25)

    def time_truncate(self, n):
        truncate_kernel(self.w, ratio=0.25)

    def peakmem_truncate(self, n):
        truncate_kernel(self.w, ratio=0.25)

    def time_nuclear_norm(self, n):
        nuclear_norm(self.w)

    def track_ratio_to_numpy_svd(self, n):
        ours, theirs = median_seconds(
            [
                lambda: truncate_kernel(self.w, ratio=0.25),
                lambda: truncated_by_svd(self.w.reshape(n, -1), n // 4),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_to_numpy_svd_at_high_energy(self, n):
        """Nearly all of a random kernel is kept, the worst case."""
        rank = truncate_kernel(self.w, energy=0.98).rank
        ours, theirs = median_seconds(
            [
                lambda: truncate_kernel(self.w, energy=0.98),
                lambda: truncated_by_svd(self.w.reshape(n, -1), rank),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_to_tucker(self, n):
        """Post-hoc compression of both channel axes to a quarter, by another method."""
        try:
            from tensorly.decomposition import partial_tucker
        except ImportError as error:
            raise NotImplementedError("tensorly is not installed") from error
        ours, theirs = median_seconds(
            [
                lambda: decompose_kernel(self.w, ratio=0.25),
                lambda: partial_tucker(self.w, rank=[n // 4, n // 4], modes=[0, 1], n_iter_max=1),
            ],
            SECONDS,
        )
        return theirs / ours


class Decoupled:
    """Rank 3 of 256 matrices 256 × 9, float32."""

    def setup(self):
        self.w = kernels(256, 256)
        truncate_kernel(self.w, scheme="decouple", rank=3)

    def time_truncate(self):
        truncate_kernel(self.w, scheme="decouple", rank=3)

    def peakmem_truncate(self):
        truncate_kernel(self.w, scheme="decouple", rank=3)

    def track_ratio_to_a_loop_of_svds(self):
        matrices = self.w.reshape(256, 256, 9)
        ours, theirs = median_seconds(
            [
                lambda: truncate_kernel(self.w, scheme="decouple", rank=3),
                lambda: [truncated_by_svd(m, 3) for m in matrices],
            ],
            SECONDS,
        )
        return theirs / ours


class Layers:
    """64 × 64 × 3 × 3 kernels on 32 images of 64 channels, 32 × 32 pixels, at a quarter of the
    rank; float32."""

    param_names, params = ("scheme",), ["channel", "spatial", "decouple"]

    def setup(self, scheme):
        self.w = kernels(64, 64)
        self.x = np.random.default_rng(1).standard_normal((32, 64, 32, 32)).astype(np.float32)
        self.factors = decompose_kernel(self.w, scheme=scheme, ratio=0.25)
        apply_factors(self.x, self.factors, padding=1)

    def time_apply(self, scheme):
        apply_factors(self.x, self.factors, padding=1)

    def track_ratio_to_conv2d(self, scheme):
        ours, theirs = median_seconds(
            [
                lambda: apply_factors(self.x, self.factors, padding=1),
                lambda: conv2d(self.x, self.w, padding=1),
            ],
            SECONDS,
        )
        return theirs / ours


class Training:
    """A step of a network for the digits images, batch 64: convolutions 1 → 16 → 32, pooling, 32 →
    32, pooling, ten scores."""

    def setup(self):
        from sklearn.datasets import load_digits

        images, self.labels = load_digits(return_X_y=True)
        self.x, self.labels = (
            (images[:64].reshape(-1, 1, 8, 8) / 16).astype(np.float32),
            self.labels[:64],
        )
        rng = np.random.default_rng(0)
        shapes = [(16, 1, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (128, 10)]
        self.weights = [
            (rng.standard_normal(s) / np.sqrt(3 * np.prod(s[1:]))).astype(np.float32)
            for s in shapes
        ]
        self.speeds = [np.zeros_like(w) for w in self.weights]
        self.step(None)

    def step(self, pruner):
        weights = list(self.weights)
        if pruner and (pruned := pruner.step(weights[1:3])):
            weights[1:3] = [kernel.weight for kernel in pruned]
        x, saved = self.x, []
        for w, pool in zip(weights[:3], (False, True, True), strict=True):
            y, cache = conv2d(x, w, padding=1)
            x, pooled = max_pool2d(np.maximum(y, 0), 2) if pool else (np.maximum(y, 0), None)
            saved.append((cache, y, pooled))
        flat = x.reshape(64, 128)
        _, grad = softmax_cross_entropy(flat @ weights[3], self.labels)
        grads, grad = [flat.T @ grad], (grad @ weights[3].T).reshape(x.shape)
        for cache, y, pooled in reversed(saved):
            grad, grad_w, _ = conv2d_vjp(
                (grad if pooled is None else max_pool2d_vjp(grad, pooled)) * (y > 0), cache
            )
            grads.insert(0, grad_w)
        if pruner:
            grads[1:3] = pruner.add_subgradient(grads[1:3])
        for w, v, g in zip(weights, self.speeds, grads, strict=True):
            v *= 0.9
            v += g
            (
                w - np.float32(0.05) * v
            )  # costs as much as a step, which here must not change the weights

    def time_pruned_step(self):
        self.step(RankPruner(period=1))

    def track_share_of_pruning_with_period_5(self):
        """Average overhead of pruning per step."""
        always = RankPruner(period=1)
        plain, pruned = median_seconds(
            [lambda: self.step(None), lambda: self.step(always)], SECONDS
        )
        return (pruned - plain) / plain / 5
