"""Rank pruning as its definition reads: unfolding by loops, full singular value decompositions,
rank by adding up; a network to train."""

import numpy as np

from numcore.nn import conv2d, conv2d_vjp, max_pool2d, max_pool2d_vjp, softmax_cross_entropy


def matrices(w, scheme):
    """The unfolded matrices of w[n, c, i, j], as a list."""
    n, c, kh, kw = w.shape
    if scheme == "channel":
        return [
            np.array(
                [
                    [w[o, ch, i, j] for ch in range(c) for i in range(kh) for j in range(kw)]
                    for o in range(n)
                ]
            )
        ]
    if scheme == "spatial":
        return [
            np.array(
                [
                    [w[o, ch, i, j] for o in range(n) for j in range(kw)]
                    for ch in range(c)
                    for i in range(kh)
                ]
            )
        ]
    return [
        np.array([[w[o, ch, i, j] for i in range(kh) for j in range(kw)] for ch in range(c)])
        for o in range(n)
    ]


def kernel(stack, shape, scheme):
    """The inverse of `matrices`."""
    n, c, kh, kw = shape
    w = np.empty(shape)
    for o, ch, i, j in np.ndindex(*shape):
        if scheme == "channel":
            w[o, ch, i, j] = stack[0][o, (ch * kh + i) * kw + j]
        elif scheme == "spatial":
            w[o, ch, i, j] = stack[0][ch * kh + i, o * kw + j]
        else:
            w[o, ch, i, j] = stack[o][ch, i * kw + j]
    return w


def rank_of(sigma, energy):
    kept = 0.0
    for r, s in enumerate(sigma, 1):
        kept += s * s
        if kept >= energy * sum(v * v for v in sigma):
            return r
    return len(sigma)


def truncate(w, scheme, rank=None, energy=None):
    """Kernel of low rank, rank, singular values, subgradient, relative error."""
    parts = [np.linalg.svd(m, full_matrices=False) for m in matrices(w, scheme)]
    r = rank or max(rank_of(s, energy) for _, s, _ in parts)
    best = kernel([u[:, :r] * s[:r] @ vh[:r] for u, s, vh in parts], w.shape, scheme)
    direction = kernel([u[:, :r] @ vh[:r] for u, _, vh in parts], w.shape, scheme)
    sigma = np.array([s for _, s, _ in parts])
    return (
        best,
        r,
        sigma if scheme == "decouple" else sigma[0],
        direction,
        np.linalg.norm(w - best) / np.linalg.norm(w),
    )


class DigitsNetwork:
    """Convolutions 1 → 16 → 32, pooling, 32 → 32, pooling, and a matrix to ten scores; `max(x, 0)`
    after each convolution."""

    def __init__(self, rng):
        shapes, inputs = (
            [(16, 1, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (128, 10)],
            [9, 144, 288, 128],
        )
        self.weights = [
            (rng.standard_normal(s) * np.sqrt(1 / (3 * n))).astype(np.float32)
            for s, n in zip(shapes, inputs, strict=True)
        ]
        self.biases = [np.zeros(n, np.float32) for n in (16, 32, 32, 10)]

    def forward(self, x):
        saved = []
        for w, b, pool in zip(self.weights[:3], self.biases[:3], (False, True, True), strict=True):
            y, cache = conv2d(x, w, b, padding=1)
            x, pooled = max_pool2d(np.maximum(y, 0), 2) if pool else (np.maximum(y, 0), None)
            saved.append((cache, y, pooled))
        flat = x.reshape(len(x), -1)
        return flat @ self.weights[3] + self.biases[3], (saved, flat, x.shape)

    def gradients(self, x, labels):
        """By the weights and by the biases."""
        scores, (saved, flat, shape) = self.forward(x)
        _, grad = softmax_cross_entropy(scores, labels)
        by_weights, by_biases = [flat.T @ grad], [grad.sum(axis=0)]
        grad = (grad @ self.weights[3].T).reshape(shape)
        for cache, y, pooled in reversed(saved):
            grad = (grad if pooled is None else max_pool2d_vjp(grad, pooled)) * (y > 0)
            grad, w, b = conv2d_vjp(grad, cache)
            by_weights.insert(0, w)
            by_biases.insert(0, b)
        return by_weights, by_biases

    def accuracy(self, x, labels):
        return (self.forward(x)[0].argmax(axis=1) == labels).mean()


def train(network, x, labels, rng, pruner=None, epochs=25, rate=0.05, momentum=0.9, batch=64):
    """Stochastic gradient descent; the second and third kernel are pruned."""
    speeds = [np.zeros_like(p) for p in network.weights + network.biases]
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            part = order[start : start + batch]
            if pruner and (pruned := pruner.step(network.weights[1:3])):
                network.weights[1:3] = [kernel.weight for kernel in pruned]
            by_weights, by_biases = network.gradients(x[part], labels[part])
            if pruner:
                by_weights[1:3] = pruner.add_subgradient(by_weights[1:3])
            for p, v, g in zip(
                network.weights + network.biases, speeds, by_weights + by_biases, strict=True
            ):
                v *= momentum
                v += g
                p -= np.float32(rate) * v
