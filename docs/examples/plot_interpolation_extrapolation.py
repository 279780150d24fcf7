"""
Interpolation and extrapolation splits: test on familiar and on new queries
===========================================================================

Test queries that resemble training queries measure how well a search engine
interpolates; queries unlike any of them measure how well it extrapolates.
:func:`~numcore.retrieval.resample_train_test` separates the two. Here the queries are
images of handwritten digits, and the answer is the digit. The images are divided into
five buckets of similar images. Each bucket is left out of training once: its test
queries measure extrapolation, all others interpolation. Two models are compared:
*memory* answers with the digits of the most similar training images, and the other is a
linear map.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.retrieval import (
    nearest_training_similarity,
    ranking_metrics,
    resample_train_test,
    split_report,
    topk_inner_product,
)

digits = load_digits()
queries, answers = digits.data / 16, digits.target
train, test = np.arange(0, len(queries), 2), np.arange(1, len(queries), 2)
split = resample_train_test(queries[train], queries[test], rng=0)
judgments = np.stack(
    [np.arange(len(test)), answers[test], np.ones(len(test), int)], axis=1
)


def memory(kept):
    """The digits of the ten most similar training images, the most similar first."""
    return answers[kept][
        topk_inner_product(queries[test], queries[kept], 10, metric="cosine").indices
    ]


def linear(kept):
    """A score for each digit, by least squares with a small penalty."""
    x = queries[kept]
    w = np.linalg.solve(x.T @ x + np.eye(64), x.T @ np.eye(10)[answers[kept]])
    return np.argsort(-queries[test] @ w, axis=1)


values = {"memory": [], "linear map": []}
for i in range(5):
    kept = train[split.fold(i)[0]]
    for name, model in (("memory", memory), ("linear map", linear)):
        values[name].append(
            ranking_metrics(model(kept), judgments, metrics=("mrr@10",))["mrr@10"]
        )
reports = {name: split_report(np.array(folds), split) for name, folds in values.items()}
for name, report in reports.items():
    print(
        f"{name}: interpolation {report.interpolation:.3f}, "
        f"extrapolation {report.extrapolation:.3f}, ratio {report.ratio:.3f}"
    )

# %%
# The mean reciprocal rank is 1 if the right digit always comes first, and 1/2 if it
# comes second. Error bars are two standard errors. A mixed test set would hide how much
# both models lose on images unlike those in training. Memory loses least here, since
# some images of each digit stay in training even without one bucket; it would fail for
# queries whose answers never occurred in training.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for at, report in enumerate(reports.values()):
    for shift, kind, mean, color in (
        (-0.2, "interpolation", report.interpolation, "#0b6e99"),
        (0.2, "extrapolation", report.extrapolation, "#c4581a"),
    ):
        axes.bar(
            at + shift,
            mean,
            0.38,
            color=color,
            label=kind if not at else None,
            yerr=2 * report.standard_error[shift > 0],
        )
axes.set_xticks(range(2), list(reports))
axes.set_ylabel("mean reciprocal rank")
axes.set_ylim(0, 1)
axes.legend(loc="lower left")

# %%
# The similarity of a test image to its nearest training image, with its own bucket in
# training and without.

kept, _, far = split.fold(0)
bins = np.linspace(0.75, 1, 40)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for label, chosen, color in (
    ("bucket 0 left out", train[kept], "#c4581a"),
    ("all in training", train, "#0b6e99"),
):
    similarity = nearest_training_similarity(queries[chosen], queries[test[far]])
    axes.hist(similarity, bins, histtype="step", linewidth=2, color=color, label=label)
    print(
        f"{label}: test images of bucket 0 have a mean cosine of "
        f"{similarity.mean():.3f} with the nearest training image"
    )
axes.set_xlabel("cosine with the nearest training image")
axes.set_ylabel("test images of bucket 0")
axes.legend(loc="upper left")
