"""
Softmax of a classifier's scores
================================

A classifier gives every class a score, also called a logit; softmax turns the scores of one image
into probabilities, ``exp(score) / sum of exp(scores)``. Here a linear classifier has learned to
read 8 × 8 images of handwritten digits. Its scores go through softmax in float32, once with
numcore's ``exp`` and once with NumPy's, and both are compared with float64.
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
    warnings.simplefilter("ignore")  # a classifier that could be trained longer is good enough here
    classifier = LogisticRegression(max_iter=100).fit(digits.data[train] / 16, digits.target[train])
scores = classifier.decision_function(digits.data[~train] / 16)


def softmax(scores, exp):
    weights = exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


exact = softmax(scores, np.exp)
ours, numpys = (softmax(scores.astype(np.float32), function) for function in (exp, np.exp))
print(
    f"{len(scores)} images that the classifier has not seen, "
    f"{np.mean(exact.argmax(axis=1) == digits.target[~train]):.1%} read correctly"
)

# %%
# Four images and what the classifier makes of them: one that it reads with confidence, and the
# three about which it is least sure.

unsure = np.argsort(exact.max(axis=1))[:3]
chosen = [int(np.argmax(exact.max(axis=1))), *map(int, unsure)]
figure, grid = plt.subplots(2, 4, figsize=(10, 4.6), layout="constrained", height_ratios=(1, 1.2))
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
# What float32 costs: the largest error of each image's ten probabilities. Rounding the scores to
# float32 is an error of its own, even where everything after it is computed in float64.

rounded = softmax(scores.astype(np.float32).astype(np.float64), np.exp)
errors = {
    "numcore's exp": np.abs(ours - exact).max(axis=1),
    "NumPy's exp": np.abs(numpys - exact).max(axis=1),
    "float64 after rounding": np.abs(rounded - exact).max(axis=1),
}
least = min(error[error > 0].min() for error in errors.values())
bins = np.geomspace(least, max(map(np.max, errors.values())), 40)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, error), colour in zip(errors.items(), ("#0b6e99", "#c4581a", "#9aa5b1"), strict=True):
    axes.hist(
        np.maximum(error, least),
        bins,
        histtype="step",
        linewidth=1.8,
        color=colour,
        label=f"softmax with {name}",
    )
axes.axvline(
    np.finfo(np.float32).eps,
    color="grey",
    linestyle=":",
    label="step between float32 numbers above 1",
)
axes.set_xscale("log")
axes.set_xlabel("largest error of an image's probabilities (logarithmic)")
axes.set_ylabel("number of images")
axes.legend(loc="upper left")

for name, error in errors.items():
    print(
        f"{name}: largest error of any probability {error.max():.2e}, half of the images below "
        f"{np.median(error):.2e}"
    )
