"""
Elementary functions: softmax of a classifier's scores
======================================================

A classifier computes a score, also called a logit, for every class. Softmax turns the
scores of one image into probabilities, ``exp(score) / sum of exp(scores)``. Here a
linear classifier has learned to read 8 × 8 images of handwritten digits. Softmax is
computed in float32 with numcore's :func:`~numcore.special.exp` and with NumPy's, and
both are compared with float64.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from numcore.special import exp

digits = load_digits()
train = np.arange(len(digits.data)) % 2 == 0
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # training stops before it has converged
    classifier = LogisticRegression(max_iter=100).fit(
        digits.data[train] / 16, digits.target[train]
    )
scores = classifier.decision_function(digits.data[~train] / 16)


def softmax(scores, exp):
    weights = exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


exact = softmax(scores, np.exp)
ours, numpys = (
    softmax(scores.astype(np.float32), function) for function in (exp, np.exp)
)
print(
    f"{len(scores)} test images, "
    f"{np.mean(exact.argmax(axis=1) == digits.target[~train]):.1%} classified correctly"
)

# %%
# Four images and their probabilities: the one about which the classifier is most
# certain, and the three about which it is least certain.

unsure = np.argsort(exact.max(axis=1))[:3]
chosen = [int(np.argmax(exact.max(axis=1))), *map(int, unsure)]
figure, grid = plt.subplots(
    2, 4, figsize=(10, 4.6), layout="constrained", height_ratios=(1, 1.2)
)
for image, (above, below) in zip(chosen, grid.T, strict=True):
    above.imshow(digits.images[~train][image], cmap="gray_r")
    above.set_title(f"written as a {digits.target[~train][image]}")
    above.axis("off")
    below.bar(range(10), ours[image], color="#0b6e99")
    below.set_xticks(range(10))
    below.set_ylim(0, 1)
    below.set_xlabel("digit")
grid[1, 0].set_ylabel("probability by softmax")

# %%
# The cost of float32: the largest error of each image's ten probabilities. Rounding the
# scores to float32 causes an error of its own, even if everything after it is computed
# in float64.

rounded = softmax(scores.astype(np.float32).astype(np.float64), np.exp)
errors = {
    "numcore's exp": np.abs(ours - exact).max(axis=1),
    "NumPy's exp": np.abs(numpys - exact).max(axis=1),
    "float64 after rounding": np.abs(rounded - exact).max(axis=1),
}
smallest = min(error[error > 0].min() for error in errors.values())
bins = np.geomspace(smallest, max(map(np.max, errors.values())), 40)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, error), color in zip(
    errors.items(), ("#0b6e99", "#c4581a", "#9aa5b1"), strict=True
):
    axes.hist(
        np.maximum(error, smallest),
        bins,
        histtype="step",
        linewidth=1.8,
        color=color,
        label=f"softmax with {name}",
    )
axes.axvline(
    np.finfo(np.float32).eps,
    color="gray",
    linestyle=":",
    label="spacing of float32 numbers above 1",
)
axes.set_xscale("log")
axes.set_xlabel("largest error of an image's probabilities (logarithmic)")
axes.set_ylabel("number of images")
axes.legend(loc="upper left")

for name, error in errors.items():
    print(
        f"{name}: largest error of any probability {error.max():.2e}, "
        f"median over the images {np.median(error):.2e}"
    )
