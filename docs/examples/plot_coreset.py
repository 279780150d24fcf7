"""
Training on sixty points instead of all
=======================================

A coreset is a small set of points with weights on which a model can be trained nearly as well as on
all points. ``auto_coreset`` needs to know nothing about the model: it trains on a few points, looks
how large the loss of every point is under that model, draws points again, those with large losses
more often, and keeps the best set. Here it picks points from 569 samples of breast tissue, and a
logistic regression learns from them which are malignant.
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
# A model is trained with weights by ``fit``. Its regulariser, which keeps the coefficients small,
# must weigh as much beside a few points as it does beside all of them; that is what the factor of C
# is for. ``loss`` is the loss of every single point. The regulariser is a part of it: the penalty
# of 1 is shared out among the points.


def fit(x, y, weights):
    return LogisticRegression(C=n / weights.sum(), solver="newton-cholesky").fit(
        x, y, sample_weight=weights
    )


loss = partial(logistic_loss, penalty=1.0)
least = loss(x, y, fit(x, y, np.ones(n))).sum()

# %%
# The measure is the excess: by how much the loss of all 569 points is above the least possible one,
# which training on all of them gives. ``auto_coreset`` trains about a dozen models, so that a fair
# rival may also choose the best of eleven samples that are drawn blindly.


def blind_sample(rng, size):
    while True:
        rows, times = np.unique(rng.integers(0, n, size), return_counts=True)
        if len(np.unique(y[rows])) == 2:
            return loss(x, y, fit(x[rows], y[rows], times * (n / size))).sum()


SIZES, SEEDS = (30, 45, 60, 90, 130, 200), 4
excess = {"one blind sample": [], "best of 11 blind samples": [], "auto_coreset": []}
with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # few points can be separated exactly, of which the solver warns
    for size in SIZES:
        losses = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            blind = [blind_sample(rng, size) for _ in range(11)]
            losses.append(
                (
                    np.mean(blind),
                    min(blind),
                    auto_coreset(x, fit, loss, size=size, y=y, rng=seed).total_loss,
                )
            )
        for name, values in zip(excess, np.transpose(losses) / least - 1, strict=True):
            excess[name].append(values)

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for (name, values), colour in zip(excess.items(), ("#c4581a", "#5a7d2a", "#0b6e99"), strict=True):
    values = np.array(values)
    axes.loglog(SIZES, values.mean(axis=1), "o-", color=colour, label=name)
    axes.fill_between(SIZES, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
    print(f"{name}: excess " + ", ".join(f"{v:.3f}" for v in values.mean(axis=1)))
axes.set_xticks(SIZES, SIZES)
axes.minorticks_off()
axes.set_xlabel("points that are drawn, of 569")
axes.set_ylabel("excess loss on all points")
axes.legend()

# %%
# Which points are these? Their size below is their weight. The two axes are the directions in which
# the data vary most. Most of the coreset lies between the two classes, where the loss is large; the
# few points from the middle of a class stand for many others.

directions = np.linalg.svd(x, full_matrices=False)[2][:2]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    result = auto_coreset(x, fit, loss, size=60, y=y, rng=0)
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for label, name, colour in ((1, "benign", "#0b6e99"), (-1, "malignant", "#c4581a")):
    axes.scatter(*(directions @ x[y == label].T), s=5, color=colour, alpha=0.3, lw=0)
    mine = result.indices[y[result.indices] == label]
    axes.scatter(
        *(directions @ x[mine].T),
        s=4 * result.weights[y[result.indices] == label],
        color=colour,
        alpha=0.6,
        edgecolor="white",
        label=f"{name}: {len(mine)} points stand for {result.weights[y[result.indices] == label].sum():.0f}",  # noqa: E501
    )
axes.set_xlabel("first principal component")
axes.set_ylabel("second principal component")
axes.legend(markerscale=0.5)
