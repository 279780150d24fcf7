"""
Power normalization: stable statistics and bounded gradients
============================================================

Batch normalization divides every feature by its standard deviation in the current
batch. For sequences, this deviation varies much between batches: the layer then
computes something different in every training step, and its gradient, which is divided
by the deviation, can become arbitrarily large. Power normalization
(:class:`~numcore.nn.PowerNorm`) divides by a running mean over the previous batches
instead. Here the sequences are images of handwritten digits: 8 steps, the rows of an
image, with 8 features each. Every batch of 32 images is multiplied by a random
brightness, as if photographed under different lamps.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.nn import PowerNorm, batch_norm, batch_norm_vjp, layer_norm, layer_norm_vjp

BLUE, ORANGE, GREEN, VIOLET = "#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3"
digits = load_digits()
images, labels = digits.images / digits.images.std(), digits.target  # (1797, 8, 8)
rng = np.random.default_rng(0)


def batches(n, images, labels):
    """n batches of 32 images, each with a random brightness; half of the factors are
    between 0.5 and 2."""
    for _ in range(n):
        chosen = rng.integers(len(images), size=32)
        yield images[chosen] * rng.lognormal(), labels[chosen]


# %%
# For each feature, psi is the mean square in one batch, and phi the running mean of psi
# with decay alpha. How much do they fluctuate? The first 1000 batches let phi settle;
# the next 500 are evaluated. Only columns 2 to 6 of the images are used, since they are
# never empty.

columns, alphas = slice(2, 6), (0.9, 0.99)
layers = [
    PowerNorm(8, alpha_fwd=alpha, n_warmup=0, n_groups=None, dtype=np.float64)
    for alpha in alphas
]
history = []
for x, _ in batches(1500, images, labels):
    psi = layers[0].forward(x)[1].psi
    layers[1].forward(x)
    history.append((psi, *(layer.running_phi_ for layer in layers)))
psi, *phis = np.swapaxes(history[1000:], 0, 1)[..., columns]
for alpha, phi in zip(alphas, phis, strict=True):
    ratio = np.mean(np.log(psi).var(axis=0) / np.log(phi).var(axis=0))
    print(
        f"alpha = {alpha}: the variance of log psi is {ratio:.0f} times that of log phi"
    )

# %%
# Gradients: both layers receive the same batches and the same random gradient of length
# 1. Batch normalization multiplies it by up to the inverse deviation of a dark batch,
# power normalization by about the inverse of the running statistic.

layer = PowerNorm(4, n_warmup=0, n_groups=None, dtype=np.float64)
lengths = {"batch norm": [], "power norm": []}
for x, _ in batches(500, images[:, :, columns], labels):
    grad_y = rng.standard_normal(x.shape)
    grad_y /= np.linalg.norm(grad_y)
    _, cache = batch_norm(x, np.ones(4), np.zeros(4), None)
    lengths["batch norm"].append(np.linalg.norm(batch_norm_vjp(grad_y, cache)[0]))
    _, cache = layer.forward(x)
    lengths["power norm"].append(np.linalg.norm(layer.backward(grad_y, cache)[0]))
for name, values in lengths.items():
    print(
        f"{name}: the norm of the gradient is {np.median(values):.2f} (median), "
        f"at most {max(values):.2f}"
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
steps = np.arange(500)
left.semilogy(
    steps, psi[:, 0], color="#9aa5b1", linewidth=0.7, label="psi, of each batch"
)
for alpha, phi, color in zip(alphas, phis, (BLUE, GREEN), strict=True):
    left.semilogy(
        steps, phi[:, 0], color=color, linewidth=1.5, label=f"phi, alpha = {alpha}"
    )
left.set_ylabel("mean square of one feature")
right.semilogy(
    steps, lengths["batch norm"], color=ORANGE, linewidth=0.8, label="batch norm"
)
right.semilogy(
    steps, lengths["power norm"], color=BLUE, linewidth=1.2, label="power norm"
)
right.set_ylabel("norm of the gradient")
for axes in (left, right):
    axes.set_xlabel("batch")
    axes.legend(loc="upper right")

# %%
# A small network classifies the digits: every row of an image becomes 32 features,
# which are normalized and passed through a ReLU, and a linear layer computes ten scores
# from all of them. It is trained by Adam with power, batch and layer normalization.
# Then it classifies new images under lamps of different brightness. Batch normalization
# now uses a running mean that it was not trained with. Layer normalization does not
# depend on batches. Power normalization is tested twice: with its default scaling,
# where each row of 32 features is first divided by its own root mean square, and alone.


class Network:
    """(batch, 8, 8) → scores (batch, 10)."""

    def __init__(self, kind):
        rng = np.random.default_rng(1)
        self.kind, self.running = kind, (np.zeros(32), np.ones(32))
        self.power = PowerNorm(
            32, n_warmup=200, n_groups=None if "alone" in kind else 1, dtype=np.float64
        )
        self.parameters = [
            rng.standard_normal((8, 32)) / 8**0.5,
            self.power.weight_,
            self.power.bias_,
            rng.standard_normal((256, 10)) / 16,
            np.zeros(10),
        ]
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]

    def normalize(self, h, training):
        _, weight, bias, _, _ = self.parameters
        if "power norm" in self.kind:
            return self.power.forward(h, training=training)
        if self.kind == "layer norm":
            return layer_norm(h, weight, bias)
        y, cache = batch_norm(h, weight, bias, self.running, training=training)
        self.running = cache.running
        return y, cache

    def normalize_vjp(self, grad, cache):
        return {"layer norm": layer_norm_vjp, "batch norm": batch_norm_vjp}.get(
            self.kind, self.power.backward
        )(grad, cache)

    def scores(self, x, training=False):
        w1, _, _, w2, b2 = self.parameters
        y, cache = self.normalize(x @ w1, training)
        a = np.maximum(y, 0).reshape(len(x), -1)
        return a @ w2 + b2, (a, cache)

    def train(self, x, labels, t):
        """One step; the loss before it."""
        scores, (a, cache) = self.scores(x, training=True)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(x)), labels]).mean()
        p[np.arange(len(x)), labels] -= 1
        p /= len(x)
        grad_h, grad_weight, grad_bias = self.normalize_vjp(
            (p @ self.parameters[3].T * (a > 0)).reshape(len(x), 8, 32), cache
        )
        grads = (
            np.tensordot(x, grad_h, axes=((0, 1), (0, 1))),
            grad_weight,
            grad_bias,
            a.T @ p,
            p.sum(axis=0),
        )
        for w, g, (m, v) in zip(self.parameters, grads, self.moments, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= 0.003 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return loss


train = np.arange(len(images)) % 3 > 0
lamps = np.geomspace(1 / 8, 8, 13)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for kind, color, marker in (
    ("batch norm", ORANGE, "o-"),
    ("power norm alone", VIOLET, "^-"),
    ("layer norm", GREEN, "s-"),
    ("power norm", BLUE, ".--"),
):
    rng, network = np.random.default_rng(2), Network(kind)  # the same batches for all
    losses = [
        network.train(x, y, t)
        for t, (x, y) in enumerate(batches(1000, images[train], labels[train]), 1)
    ]
    right_share = [
        np.mean(
            network.scores(lamp * images[~train])[0].argmax(axis=1) == labels[~train]
        )
        for lamp in lamps
    ]
    left.semilogy(
        np.convolve(losses, np.ones(25) / 25, "valid"), color=color, label=kind
    )
    right.semilogx(lamps, 100 * np.array(right_share), marker, color=color, label=kind)
    print(
        f"{kind}: loss of the last 100 batches {np.mean(losses[-100:]):.4f}; "
        f"test images correct: {min(right_share):.1%} under the worst lamp, "
        f"{max(right_share):.1%} under the best"
    )
left.set_xlabel("step of the training")
left.set_ylabel("loss, mean of 25 batches")
right.set_xticks([1 / 8, 1 / 2, 1, 2, 8], ["1/8", "1/2", "1", "2", "8"])
right.minorticks_off()
right.set_xlabel("brightness of the lamp")
right.set_ylabel("test images correct, %")
left.legend()
right.legend()

# %%
# Batch normalization is best under lamps for which its running mean is right, and poor
# under darker ones. Power normalization alone uses the running statistic in training as
# well, so it degrades less; but a bright batch now looks bright in training, which
# makes the loss jump. With the scaling of rows, the brightness is removed before any
# statistic is computed.
