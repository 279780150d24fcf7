"""
Trained rank pruning: replace a convolution by two cheaper ones
===============================================================

A convolution whose kernel, written as a matrix, has low rank can be replaced by two
cheap convolutions with the same result. In ordinary training, kernels have nearly full
rank. :class:`~numcore.linalg.RankPruner` truncates the kernels every fifth step *of the
training*; between these steps the rank may grow again. The network learns to use few
directions, so that the final truncation changes nothing.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.linalg import RankPruner, apply_factors, decompose_kernel, truncate_kernel
from numcore.nn import (
    conv2d,
    conv2d_vjp,
    max_pool2d,
    max_pool2d_vjp,
    softmax_cross_entropy,
)

images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))
train, test = order[:1300], order[1300:]

# %%
# The network classifies 8 × 8 images of handwritten digits: convolutions from 1 to 16,
# to 32 and again to 32 channels, each followed by ``max(x, 0)``; the last two are
# followed by 2 × 2 max pooling. A matrix maps the result to ten scores. The second and
# the third kernel (32 × 16 × 3 × 3 and 32 × 32 × 3 × 3) are pruned.

POOLED = (False, True, True)


def forward(weights, biases, x):
    saved = []
    for w, b, pool in zip(weights[:3], biases[:3], POOLED, strict=True):
        y, cache = conv2d(x, w, b, padding=1)
        x, pooled = (
            max_pool2d(np.maximum(y, 0), 2) if pool else (np.maximum(y, 0), None)
        )
        saved.append((cache, y, pooled))
    flat = x.reshape(len(x), -1)
    return flat @ weights[3] + biases[3], saved, flat


def gradients(weights, biases, x, right):
    scores, saved, flat = forward(weights, biases, x)
    _, grad = softmax_cross_entropy(scores, right)
    by_weights, by_biases = [flat.T @ grad], [grad.sum(axis=0)]
    grad = (grad @ weights[3].T).reshape(len(x), 32, 2, 2)
    for cache, y, pooled in reversed(saved):
        grad, w, b = conv2d_vjp(
            (grad if pooled is None else max_pool2d_vjp(grad, pooled)) * (y > 0), cache
        )
        by_weights.insert(0, w)
        by_biases.insert(0, b)
    return by_weights, by_biases


# %%
# ``pruner.step`` is called before the forward pass. It truncates each kernel to the
# smallest rank that keeps 98 % of its energy, the sum of squares of its entries. After
# the backward pass, ``add_subgradient`` adds the subgradient of the nuclear norm, which
# pulls the singular values of the kernel toward zero. Everything else is gradient
# descent with momentum.


def fit(pruner, epochs=25):
    rng = np.random.default_rng(0)
    shapes, inputs = (
        [(16, 1, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (128, 10)],
        (9, 144, 288, 128),
    )
    weights = [
        (rng.standard_normal(s) / np.sqrt(3 * n)).astype(np.float32)
        for s, n in zip(shapes, inputs, strict=True)
    ]
    biases = [np.zeros(n, np.float32) for n in (16, 32, 32, 10)]
    speeds = [np.zeros_like(p) for p in weights + biases]
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(train), len(train) // 64):
            if pruner and (pruned := pruner.step(weights[1:3])):
                weights[1:3] = [kernel.weight for kernel in pruned]
            by_weights, by_biases = gradients(
                weights, biases, images[batch], labels[batch]
            )
            if pruner:
                by_weights[1:3] = pruner.add_subgradient(by_weights[1:3])
            for p, v, g in zip(
                weights + biases, speeds, by_weights + by_biases, strict=True
            ):
                v *= np.float32(0.9)
                v += g
                p -= np.float32(0.05) * v
    return weights, biases


def accuracy(weights, biases, kernels):
    scores, *_ = forward([weights[0], *kernels, weights[3]], biases, images[test])
    return (scores.argmax(axis=1) == labels[test]).mean()


networks = {
    "ordinary training": fit(None),
    "trained rank pruning": fit(RankPruner(energy=0.98, period=5, nuclear_weight=3e-3)),
}

# %%
# Left: the share of the energy in the largest singular values. Right: the share of test
# images that are classified correctly if both kernels are truncated to a given rank.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
ranks = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32])
for (name, (weights, biases)), color in zip(
    networks.items(), ("#c4581a", "#0b6e99"), strict=True
):
    whole = accuracy(weights, biases, weights[1:3])
    cut = [truncate_kernel(w, energy=0.98) for w in weights[1:3]]
    after = accuracy(weights, biases, [kernel.weight for kernel in cut])
    numbers = sum(
        min(decompose_kernel(w, energy=0.98).n_params, w.size) for w in weights[1:3]
    )
    print(
        f"{name}: ranks {cut[0].rank} and {cut[1].rank} of 32 hold 98 % of the energy; "
        f"accuracy {whole:.1%} before and {after:.1%} after truncation to "
        f"{numbers} of {sum(w.size for w in weights[1:3])} parameters"
    )
    strengths = cut[1].singular_values
    left.plot(
        np.arange(1, 33),
        np.cumsum(strengths**2) / np.sum(strengths**2),
        color=color,
        label=name,
    )
    kept = [
        accuracy(
            weights,
            biases,
            [truncate_kernel(w, rank=int(r)).weight for w in weights[1:3]],
        )
        for r in ranks
    ]
    right.plot(ranks, kept, color=color, label=name)
left.axhline(0.98, color="#5a7d2a", linewidth=1, linestyle=":", label="98 %")
left.set_xlabel("singular values of the third kernel")
left.set_ylabel("share of the energy")
right.set_xlabel("rank of both kernels")
right.set_ylabel("share of digits classified correctly")
for axes in (left, right):
    axes.legend()

# %%
# Two layers replace the third convolution: a convolution to few channels, then a matrix
# for each pixel. They give the same result as the truncated kernel with fewer
# operations. Finally, the times of a layer of common size, as one convolution and as
# two with a quarter of the rank.

weights, _ = networks["trained rank pruning"]
factors, cut = (
    decompose_kernel(weights[2], energy=0.98),
    truncate_kernel(weights[2], energy=0.98),
)
x = np.random.default_rng(1).standard_normal((32, 32, 8, 8)).astype(np.float32)
difference = np.abs(
    apply_factors(x, factors, padding=1) - conv2d(x, cut.weight, padding=1)[0]
).max()
print(f"two layers and one differ by {difference:.0e}")

w = np.random.default_rng(2).standard_normal((64, 64, 3, 3)).astype(np.float32)
x = np.random.default_rng(3).standard_normal((8, 64, 32, 32)).astype(np.float32)
factors = decompose_kernel(w, rank=16)
for name, call in (
    ("one convolution", lambda: conv2d(x, w, padding=1)),
    ("two layers", lambda: apply_factors(x, factors, padding=1)),
):
    call()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(f"{name}: {1e3 * sorted(times)[3]:.0f} ms")
