"""
Long short-term memory: read digits row by row
==============================================

A recurrent network reads its input step by step and keeps what it needs. Here a long
short-term memory (:func:`~numcore.nn.lstm`) reads an 8 × 8 image of a handwritten digit
one row at a time, from the top, and predicts the digit after every row. Its *gates*,
numbers between 0 and 1, control what enters the memory, what stays in it and what is
output. The memory is only multiplied by a gate close to 1 in each step. Therefore
gradients survive many steps, where they vanish in a plain recurrent network; the last
section shows this.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.nn import Adam, clip_grad_norm, lstm, lstm_vjp, softmax_cross_entropy

digits, hidden, rng = load_digits(), 48, np.random.default_rng(0)
# (step, image, pixel)
rows = np.ascontiguousarray((digits.images / 16).swapaxes(0, 1), np.float32)
train, test = np.split(rng.permutation(len(digits.target)), [1200])

w_x, w_h, w = (
    rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(hidden))
    for shape in ((8, 4 * hidden), (hidden, 4 * hidden), (hidden, 10))
)
b = np.repeat(np.array([0, 1, 0, 0], np.float32), hidden)  # the forget gates start open


def read(x):
    """Scores of the ten digits after every row, (step, image, digit)."""
    start = np.zeros((x.shape[1], hidden), np.float32)
    (outputs, _, _), cache = lstm(x, start, start, w_x, w_h, b)
    return outputs @ w, outputs, cache


# %%
# The loss is computed after every row, and its gradient propagates back through all
# earlier rows. ``lstm_vjp`` computes the gradients of the weights, ``clip_grad_norm``
# shortens the rare large ones, and Adam updates the weights in place.

adam, losses = Adam([w_x, w_h, b, w], learning_rate=5e-3), []
for _ in range(25):
    for batch in np.array_split(rng.permutation(train), len(train) // 60):
        scores, outputs, cache = read(rows[:, batch])
        loss, grad = softmax_cross_entropy(
            scores, np.tile(digits.target[batch], (8, 1))
        )
        _, _, _, *grads = lstm_vjp(grad @ w.T, None, None, cache)
        clipped, _ = clip_grad_norm(
            [*grads, np.tensordot(outputs, grad, axes=((0, 1), (0, 1)))], 1.0
        )
        adam.step(clipped)
        losses.append(loss)

scores, _, _ = read(rows[:, test])
accuracy = (scores.argmax(axis=2) == digits.target[test]).mean(axis=1)
for row in (1, 4, 8):
    print(
        f"after row {row} of 8, {accuracy[row - 1]:.1%} of {len(test)} test images are "
        f"classified correctly"
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(losses, color="#0b6e99", linewidth=0.8)
left.set_xlabel("steps of Adam")
left.set_ylabel("loss, mean over all rows")
right.plot(np.arange(1, 9), 100 * accuracy, "o-", color="#c4581a")
right.set_xlabel("rows read")
right.set_ylabel("test images correct, %")
right.set_ylim(0, 100)

# %%
# The predictions while reading: four new images, and the probability of each digit
# after every row.

chosen = test[:4]
scores, _, _ = read(rows[:, chosen])
probabilities = np.exp(scores - scores.max(axis=2, keepdims=True))
probabilities /= probabilities.sum(axis=2, keepdims=True)
figure, grid = plt.subplots(2, 4, figsize=(10, 5), layout="constrained")
for k, (above, below) in enumerate(grid.T):
    above.imshow(digits.images[chosen[k]], cmap="gray_r")
    above.set_title(f"written as a {digits.target[chosen[k]]}")
    above.axis("off")
    below.imshow(probabilities[:, k], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    below.set_xticks(range(10))
    below.set_yticks(range(8), range(1, 9))
    below.set_xlabel("digit")
grid[1, 0].set_ylabel("rows read")

# %%
# How far do gradients reach back before any training? Two networks read images,
# followed by blank rows, and the gradient of their state at the end is propagated back
# over the blank rows to the end of the image. All weights start between -1/√48 and
# 1/√48, as usual; the forget gates of the LSTM start open, at sigmoid(3) = 0.95. The
# plain network is ``h = tanh(x w_x + h w_h)``.

lags, images, start = (
    np.array([0, 1, 2, 5, 10, 20, 40, 80]),
    rows[:, test[:50]].astype(float),
    np.zeros((50, hidden)),
)
first_x, first_h = (
    rng.uniform(-1, 1, shape) / np.sqrt(hidden)
    for shape in ((8, 4 * hidden), (hidden, 4 * hidden))
)
forget = np.repeat([0.0, 3, 0, 0], hidden)

through_memory, through_output = [], []
for lag in lags:
    (_, h, c), _ = lstm(images, start, start, first_x, first_h, forget)
    _, cache = lstm(np.zeros((lag, 50, 8)), h, c, first_x, first_h, forget)
    _, _, gradient, *_ = lstm_vjp(None, None, np.ones((50, hidden)), cache)
    through_memory.append(np.linalg.norm(gradient))
    plain_x, plain_h, shown = first_x[:, :hidden], first_h[:, :hidden], [start]
    for row in (*images, *np.zeros((lag, 50, 8))):
        shown.append(np.tanh(row @ plain_x + shown[-1] @ plain_h))
    gradient = np.ones((50, hidden))
    for h in shown[:8:-1]:
        gradient = (gradient * (1 - h**2)) @ plain_h.T
    through_output.append(np.linalg.norm(gradient))
through_memory, through_output = (
    np.array(norms) / norms[0] for norms in (through_memory, through_output)
)
for k in (4, 7):
    print(
        f"norm of the gradient after {lags[k]} blank rows, relative to none: LSTM "
        f"{through_memory[k]:.2g}, plain {through_output[k]:.2g}"
    )

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.semilogy(
    lags, through_memory, "o-", color="#0b6e99", label="LSTM, through its memory"
)
axes.semilogy(
    lags, through_output, "o-", color="#c4581a", label="plain recurrent network"
)
axes.set_xlabel("blank rows after the image")
axes.set_ylabel("norm of the gradient\n(1 without blank rows)")
axes.legend(loc="lower left")
