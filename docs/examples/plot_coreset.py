"""
AutoCoreset: train on sixty points instead of all
=================================================

A coreset is a small set of weighted points on which a model can be trained nearly as
well as on all points. :func:`~numcore.linalg.auto_coreset` needs to know nothing about
the model. It trains on a few points, evaluates the loss of every point under that
model, draws new points, preferring those with large losses, and keeps the best set.
Here it selects points from 569 samples of breast tissue for a logistic regression that
detects malignant ones.
"""

import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from numcore.linalg import auto_coreset, logistic_loss

x, y = load_breast_cancer(return_X_y=True)
x, y = (x - x.mean(axis=0)) / x.std(axis=0), 2 * y - 1
n = len(x)

# %%
# ``fit`` trains a model with weights. The regularizer, which keeps the coefficients
# small, must have the same strength for a few points as for all of them; the factor of
# C takes care of that. ``loss`` is the loss of each point and includes the regularizer:
# the penalty of 1 is divided equally among the points.


def fit(x, y, weights):
    return LogisticRegression(C=n / weights.sum(), solver="newton-cholesky").fit(
        x, y, sample_weight=weights
    )


loss = partial(logistic_loss, penalty=1.0)
minimum = loss(x, y, fit(x, y, np.ones(n))).sum()

# %%
# The figure of merit is the excess loss: the relative difference between the loss of
# all 569 points and its minimum, which training on all points attains. ``auto_coreset``
# trains about a dozen models. For a fair comparison, uniform sampling also gets the
# best of eleven samples.


def uniform_sample(rng, size):
    while True:
        rows, times = np.unique(rng.integers(0, n, size), return_counts=True)
        if len(np.unique(y[rows])) == 2:
            return loss(x, y, fit(x[rows], y[rows], times * (n / size))).sum()


SIZES, SEEDS = (30, 45, 60, 90, 130, 200), 4
excess = {
    "one uniform sample": [],
    "best of 11 uniform samples": [],
    "auto_coreset": [],
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the solver warns if few points are separable
    for size in SIZES:
        losses = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            uniform = [uniform_sample(rng, size) for _ in range(11)]
            losses.append(
                (
                    np.mean(uniform),
                    min(uniform),
                    auto_coreset(x, fit, loss, size=size, y=y, rng=seed).total_loss,
                )
            )
        for name, values in zip(
            excess, np.transpose(losses) / minimum - 1, strict=True
        ):
            excess[name].append(values)

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for (name, values), color in zip(
    excess.items(), ("#c4581a", "#5a7d2a", "#0b6e99"), strict=True
):
    values = np.array(values)
    axes.loglog(SIZES, values.mean(axis=1), "o-", color=color, label=name)
    axes.fill_between(
        SIZES, values.min(axis=1), values.max(axis=1), color=color, alpha=0.15, lw=0
    )
    print(f"{name}: excess " + ", ".join(f"{v:.3f}" for v in values.mean(axis=1)))
axes.set_xticks(SIZES, SIZES)
axes.minorticks_off()
axes.set_xlabel("points in the coreset, of 569")
axes.set_ylabel("excess loss on all points")
axes.legend()

# %%
# Which points are selected? The size of a point below is its weight, and the axes are
# the two directions in which the data vary most. Most of the coreset lies between the
# classes, where the loss is large; the few points in the middle of a class represent
# many others.

directions = np.linalg.svd(x, full_matrices=False)[2][:2]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    result = auto_coreset(x, fit, loss, size=60, y=y, rng=0)
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for label, name, color in ((1, "benign", "#0b6e99"), (-1, "malignant", "#c4581a")):
    axes.scatter(*(directions @ x[y == label].T), s=5, color=color, alpha=0.3, lw=0)
    mine = result.indices[y[result.indices] == label]
    weights = result.weights[y[result.indices] == label]
    axes.scatter(
        *(directions @ x[mine].T),
        s=4 * weights,
        color=color,
        alpha=0.6,
        edgecolor="white",
        label=f"{name}: {len(mine)} points represent {weights.sum():.0f}",
    )
axes.set_xlabel("first principal component")
axes.set_ylabel("second principal component")
axes.legend(markerscale=0.5)
