"""
Two-dimensional convolution: classify handwritten digits
========================================================

A convolution slides a small kernel over an image; its output is large where the image
looks like the kernel. A network learns the kernels. Here two convolutions
(:func:`~numcore.nn.conv2d`), each followed by pooling (:func:`~numcore.nn.max_pool2d`,
the maximum of every 2 × 2 pixels), learn to classify 8 × 8 images of handwritten
digits. The forward and backward passes are plain functions on arrays, so the network
takes only a few lines.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from numcore.nn import (
    Adam,
    conv2d,
    conv2d_vjp,
    max_pool2d,
    max_pool2d_vjp,
    softmax_cross_entropy,
)

images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
rng = np.random.default_rng(0)
order = rng.permutation(len(images))
train, test = order[:1300], order[1300:]


# %%
# The network: convolution, ``max(x, 0)`` and pooling, twice, then a matrix that maps
# the result to ten scores.


def forward(parameters, x):
    w1, b1, w2, b2, w3, b3 = parameters
    y1, cache1 = conv2d(x, w1, b1, padding=1)
    p1, pool1 = max_pool2d(np.maximum(y1, 0), 2)
    y2, cache2 = conv2d(p1, w2, b2, padding=1)
    p2, pool2 = max_pool2d(np.maximum(y2, 0), 2)
    flat = p2.reshape(len(x), -1)
    return flat @ w3 + b3, (cache1, y1, pool1, cache2, y2, pool2, flat)


def backward(parameters, saved, grad):
    cache1, y1, pool1, cache2, y2, pool2, flat = saved
    grad_p2 = (grad @ parameters[4].T).reshape(len(flat), 32, 2, 2)
    grad_p1, *grads2 = conv2d_vjp(max_pool2d_vjp(grad_p2, pool2) * (y2 > 0), cache2)
    _, *grads1 = conv2d_vjp(max_pool2d_vjp(grad_p1, pool1) * (y1 > 0), cache1)
    return [*grads1, *grads2, flat.T @ grad, grad.sum(axis=0)]


# %%
# The loss is the cross entropy: minus the logarithm of the probability that softmax
# assigns to the correct digit. Adam divides the running mean of each gradient by its
# typical size. The learning rate decreases to zero.


def train_network(epochs=20, rate=1e-2):
    shapes, inputs = (
        [(12, 1, 3, 3), (12,), (32, 12, 3, 3), (32,), (128, 10), (10,)],
        [9, None, 108, None, 128, None],
    )
    parameters = [
        (rng.standard_normal(s) * (np.sqrt(2 / n) if n else 0)).astype(np.float32)
        for s, n in zip(shapes, inputs, strict=True)
    ]
    adam, steps, history = Adam(parameters, learning_rate=rate), 26 * epochs, []
    for _ in range(epochs):
        losses = []
        for batch in np.array_split(rng.permutation(train), 26):
            scores, saved = forward(parameters, images[batch])
            loss, grad = softmax_cross_entropy(scores, labels[batch])
            losses.append(loss)
            adam.learning_rate = rate * (1 - adam.n_steps / steps)
            adam.step(backward(parameters, saved, grad))
        history.append(
            (np.mean(losses), accuracy(parameters, train), accuracy(parameters, test))
        )
    return parameters, np.array(history)


def accuracy(parameters, which):
    return np.mean(
        forward(parameters, images[which])[0].argmax(axis=1) == labels[which]
    )


start = time.perf_counter()
parameters, history = train_network()
seconds = time.perf_counter() - start
linear = LogisticRegression(max_iter=1000).fit(
    images[train].reshape(-1, 64), labels[train]
)
shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
by_network, by_linear = np.empty(5), np.empty(5)
for i, shift in enumerate(shifts):
    moved = np.roll(images[test], shift, axis=(2, 3))
    by_network[i] = np.mean(
        forward(parameters, moved)[0].argmax(axis=1) == labels[test]
    )
    by_linear[i] = linear.score(moved.reshape(-1, 64), labels[test])
print(
    f"{len(test)} test images: {by_network[0]:.1%} correct by the network, "
    f"{by_linear[0]:.1%} by a linear classifier"
)
print(
    f"the same images moved by one pixel: {by_network[1:].mean():.1%} and "
    f"{by_linear[1:].mean():.1%}"
)
print(f"{len(history)} passes over {len(train)} images in {seconds:.1f} s")

# %%
# Many kernels of the first layer become detectors of edges or strokes in one direction.
# Below each kernel is its output for one image before pooling: dark where the image
# looks like the kernel.

kernels, image = parameters[0][:, 0], images[test[:1]]
answers = np.maximum(conv2d(image, parameters[0], parameters[1], padding=1)[0][0], 0)
figure = plt.figure(figsize=(10, 5.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1, 1.4))
grid = above.subplots(2, 13)
grid[0, 0].imshow(image[0, 0], cmap="gray_r")
grid[0, 0].set_title("image", fontsize=9)
for i, (kernel, answer) in enumerate(zip(kernels, answers, strict=True), start=1):
    grid[0, i].imshow(
        kernel, cmap="PuOr", vmin=-np.abs(kernels).max(), vmax=np.abs(kernels).max()
    )
    grid[1, i].imshow(answer, cmap="gray_r", vmin=0, vmax=answers.max())
for axes in grid.flat:
    axes.axis("off")
above.suptitle(
    "the 12 kernels of the first layer (orange: negative, violet: positive) and their "
    "outputs for one image",
    fontsize=11,
)

# %%
# Left and middle: the training curves. Right: the purpose of convolutions. A kernel
# responds to a stroke wherever it is, and pooling discards the exact position. If all
# images move by one pixel, which never happened in training, the network still
# classifies about two thirds of them correctly; a linear classifier, which has one
# weight per pixel, fails for more than half.

loss, share, bars = below.subplots(1, 3)
epochs = np.arange(1, len(history) + 1)
loss.plot(epochs, history[:, 0], color="#0b6e99")
loss.set_yscale("log")
loss.set_xlabel("passes over the training images")
loss.set_ylabel("loss (cross entropy)")
share.plot(epochs, 100 * history[:, 1], color="#0b6e99", label="training images")
share.plot(epochs, 100 * history[:, 2], color="#c4581a", label="test images")
share.set_ylim(90, 100.3)
share.set_xlabel("passes over the training images")
share.set_ylabel("correct (%)")
share.legend(loc="lower right")
for offset, values, label, color in (
    (-0.2, by_network, "network", "#0b6e99"),
    (0.2, by_linear, "linear classifier", "#5a7d2a"),
):
    bars.bar(np.arange(5) + offset, 100 * values, 0.4, color=color, label=label)
bars.set_xticks(range(5), ["none", "down", "up", "right", "left"])
bars.set_xlabel("test images, moved by one pixel")
bars.set_ylabel("correct (%)")
bars.set_ylim(0, 125)
bars.set_yticks(range(0, 101, 20))
bars.legend(loc="upper right")
