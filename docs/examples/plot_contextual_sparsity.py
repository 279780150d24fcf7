"""
Contextual sparsity with correction: read fewer weights, fix the errors
=======================================================================

A language model needs all its weights for each new word (*token*), and reading them
from memory takes nearly all the time. Most weights are in *gated layers*: each neuron
has a gate, a number computed from the token, and contributes in proportion to it. Many
gates are close to zero, so the weights of their neurons need not be read.
:func:`~numcore.nn.sparse_gated_mlp` keeps the neurons with the largest gates for every
token; :class:`~numcore.nn.NeuronCache` chooses once for a whole text. This is
*contextual sparsity*.

A single answer suffers little. In reasoning, however, each step depends on the steps
before, and one error spoils the rest. This page shows both cases, and the correction by
`Zhou et al. <https://arxiv.org/abs/2409.03856>`_: the full network checks what the
sparse network wrote every few tokens, keeps what it agrees with, and replaces the first
error.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.nn import NeuronCache, corrected_decode, gated_mlp, sparse_gated_mlp

FINE, COARSE, WHOLE = "#0b6e99", "#c4581a", "#5a7d2a"


def hidden(x, w_gate, w_up):
    """What each neuron contributes: its gate z sigmoid(z), times its input."""
    z = x @ w_gate.T
    return z / (1 + np.exp(-z)) * (x @ w_up.T)


def train(x, labels, m, steps, rng):
    """A gated layer of m neurons and a linear classifier, trained by Adam with batches
    of 512 examples."""
    n, d = x.shape
    shapes = (m, d), (m, d), (d, m), (labels.max() + 1, d)
    weights = [
        (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
        for shape in shapes
    ]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    for step in range(steps):
        w_gate, w_up, w_down, head = weights
        batch = rng.integers(0, n, 512)
        inputs = x[batch]
        z, u = inputs @ w_gate.T, inputs @ w_up.T
        s = 1 / (1 + np.exp(-z))
        h = z * s * u
        y = h @ w_down.T
        error = np.exp(
            scores := y @ head.T - (y @ head.T).max(axis=1, keepdims=True)
        ) / np.exp(scores).sum(axis=1, keepdims=True)
        error[np.arange(512), labels[batch]] -= 1
        grad_h = error @ head @ w_down / 512
        grad_z, grad_u = grad_h * u * (s + z * s * (1 - s)), grad_h * z * s
        gradients = (
            grad_z.T @ inputs,
            grad_u.T @ inputs,
            (error @ head).T @ h / 512,
            error.T @ y / 512,
        )
        rate = 0.01 * (1 - step / steps)
        for w, gradient, (mean, square) in zip(
            weights, gradients, moments, strict=True
        ):
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient**2 - square)
            w -= (
                rate
                * mean
                / (1 - 0.9 ** (step + 1))
                / (np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-8)
            )
    return weights


# %%
# One answer: classifying digits
# ------------------------------
#
# A gated layer of 256 neurons learns to classify 8 × 8 images of handwritten digits.
# Then it classifies new images with fewer neurons. The *density* is the share of
# neurons that are kept.

digits = load_digits()
images, rng = ((digits.data - 8) / 8).astype(np.float32), np.random.default_rng(0)
seen = np.arange(len(images)) % 2 == 0
w_gate, w_up, w_down, head = train(images[seen], digits.target[seen], 256, 150, rng)
w_down_t = np.ascontiguousarray(w_down.T)
densities = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1])


def read_correctly(y):
    return np.mean((y @ head.T).argmax(axis=1) == digits.target[~seen])


fine = [
    read_correctly(
        sparse_gated_mlp(images[~seen], w_gate, w_up, w_down_t, density=density)
    )
    for density in densities
]
cache, coarse = NeuronCache(w_gate, w_up, w_down), []
for density in densities:
    cache.select(hidden(images[seen], w_gate, w_up), density=density)
    coarse.append(read_correctly(cache.apply(images[~seen])))
whole = read_correctly(gated_mlp(images[~seen], w_gate, w_up, w_down))
for density, a, b in zip(densities, fine, coarse, strict=True):
    print(
        f"{density:4.0%} of the neurons: {a:.1%} correct if chosen by each image, "
        f"{b:.1%} with one choice; {whole:.1%} with all neurons"
    )

# %%
# Many steps: a sequence in which errors add up
# ---------------------------------------------
#
# A second network of this type learns addition modulo 97 from all pairs of numbers. It
# then generates the Fibonacci sequence modulo 97: every number is the sum of the two
# before, so one error spoils all later numbers. A text counts as correct if all of its
# 24 numbers are.
#
# :func:`~numcore.nn.corrected_decode` takes two functions: ``sparse_step`` scores the
# next number with few neurons, ``full_score`` scores a block of numbers at once with
# all neurons. Blocks have eight numbers here. A number is accepted if the full network
# gives it a probability of at least 0.1. With a threshold of 0 nothing is corrected,
# and only every eighth number comes from the full network.

angles = 2 * np.pi / 97 * np.outer(np.arange(97), [3, 7, 19, 40])
embedding = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
pairs = np.stack(np.divmod(np.arange(97 * 97), 97), axis=1)
w_gate, w_up, w_down, head = train(
    embedding[pairs].reshape(-1, 16), pairs.sum(axis=1) % 97, 64, 300, rng
)
w_down_t, cache = np.ascontiguousarray(w_down.T), NeuronCache(w_gate, w_up, w_down)


def states(before, numbers):
    return np.concatenate([embedding[before], embedding[numbers]], axis=-1)


def texts(kind, density, threshold):
    """The share of 40 texts without an error, and the mean advance per check."""

    def full_score(before, numbers):
        x = states(np.concatenate([[before or 0], numbers[:-1]]), numbers)
        if (
            before is None and kind == "coarse"
        ):  # the eight numbers of the prompt choose the neurons
            cache.select(hidden(x[1:], w_gate, w_up), density=density)
        return gated_mlp(x, w_gate, w_up, w_down) @ head.T, int(numbers[-1])

    def sparse_step(before, number):
        x = states(before, number)
        y = (
            cache.apply(x)
            if kind == "coarse"
            else sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=density)
        )
        return head @ y, number

    right, advances = 0, []
    for a, b in np.random.default_rng(1).integers(0, 97, (40, 2)):
        text = [int(a), int(b)]
        while len(text) < 32:
            text.append((text[-1] + text[-2]) % 97)
        result = corrected_decode(
            sparse_step,
            full_score,
            text[:8],
            max_new_tokens=24,
            period=8,
            threshold=threshold,
        )
        right, advances = (
            right + (result.tokens.tolist() == text[8:]),
            [*advances, result.mean_accepted],
        )
    return right / 40, np.mean(advances)


few = densities[densities >= 0.2]
outcome = {
    kind: np.array(
        [
            [*texts(kind, density, 0.0)[:1], *texts(kind, density, 0.1)]
            for density in few
        ]
    )
    for kind in ("fine", "coarse")
}

# %%
# Left: for single answers, a fifth of the neurons, chosen for each image, is almost as
# accurate as all neurons. Middle: without correction (dashed), texts fail at densities
# that did not affect single answers; with correction (solid), all or nearly all are
# correct. Right: the weights of the layer that are read per number, relative to the
# full network. Correction pays off below 1; if the sparse network is rarely right,
# checking is wasted effort.

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(13, 4.2), layout="constrained"
)
left.plot(densities, fine, "o-", color=FINE, label="neurons chosen by each image")
left.plot(densities, coarse, "s-", color=COARSE, label="one choice for all images")
left.axhline(whole, color=WHOLE, linestyle=":", label="all neurons")
left.set_title("digits classified correctly")
for kind, color, name in (
    ("fine", FINE, "chosen by each number"),
    ("coarse", COARSE, "chosen by the prompt"),
):
    alone, corrected, advance = outcome[kind].T
    share = (
        (1 + 2 * few) / 3 if kind == "fine" else few
    )  # of the weights, that a step of the sparse network reads
    cost = (7 * share + 1) / advance
    middle.plot(few, alone, "--", color=color, label=f"{name}, not corrected")
    middle.plot(few, corrected, "o-", color=color, label=f"{name}, corrected")
    right.plot(few, cost, "o-", color=color, label=name)
    for density, a, b, steps, c in zip(
        few, alone, corrected, advance, cost, strict=True
    ):
        print(
            f"{kind}, {density:3.0%} of the neurons: {a:.0%} of the texts are correct "
            f"without, {b:.0%} with correction; {steps:.1f} numbers per check, "
            f"{c:.2f} of the weights read per number"
        )
middle.set_title("texts of 24 numbers without an error")
right.axhline(1, color=WHOLE, linestyle=":", label="whole network")
right.set_title("weights read per number, relative to all")
for axes in (left, middle, right):
    axes.set_xlabel("density (share of neurons kept)")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.6 if axes is middle else None)
    axes.legend(loc="lower right" if axes is left else "upper right", fontsize=8)

# %%
# With 64 neurons the savings are tiny; in a language model they are gigabytes. There,
# time is proportional to the bytes read: when the weights exceed the cache, a layer
# that keeps half of its neurons takes about two thirds of the time of the full layer,
# and about half with compact copies of one choice of neurons. The benchmarks of numcore
# measure this against PyTorch.
