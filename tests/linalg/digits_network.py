"""A network to train on images of digits, with and without rank pruning."""

import numpy as np

from numcore.nn import conv2d, conv2d_vjp, max_pool2d, max_pool2d_vjp, softmax_cross_entropy


class DigitsNetwork:
    """Convolutions 1 → 16 → 32, pooling, 32 → 32, pooling, and a linear layer to ten scores;
    `max(x, 0)` after each convolution."""

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
        """Gradients with respect to the weights and the biases."""
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


def train(
    network, x, labels, rng, pruner=None, epochs=25, learning_rate=0.05, momentum=0.9, batch=64
):
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
                p -= np.float32(learning_rate) * v
