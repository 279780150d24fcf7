"""
Local explanations: choose an attribution method
================================================

A network that distinguishes benign from malignant tumors is a black box: thirty
measurements go in, a probability comes out. An *attribution* states how much each
measurement contributes. :func:`~numcore.nn.explain` has eight popular methods, and they
give eight different answers. Yet all of them approximate the network near the given
case by a weighted sum of the measurements. They differ in what *near* means, and in
whether the sum matches the values or the slopes of the network.
:func:`~numcore.nn.faithfulness` measures how well each of them fits.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier

from numcore.nn import explain, faithfulness

data = load_breast_cancer()
table = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
train = np.arange(len(table)) % 3 > 0
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # training stops before it has converged
    network = MLPClassifier(
        (16,), activation="tanh", max_iter=300, alpha=1.0, random_state=0
    ).fit(table[train], data.target[train])
(inner, outer), (shift, bias) = network.coefs_, network.intercepts_


def probability(x):
    """Of a benign tumor: the network as it is, for a whole table of cases."""
    return 1 / (1 + np.exp(-(np.tanh(x @ inner + shift) @ outer[:, 0] + bias)))


def slope(x):
    """How fast that probability grows with each measurement."""
    hidden, p = np.tanh(x @ inner + shift), probability(x)
    return (p * (1 - p))[:, None] * (((1 - hidden**2) * outer[:, 0]) @ inner.T)


print(
    f"{network.score(table[~train], data.target[~train]):.1%} of the test cases are "
    f"classified correctly"
)

# %%
# Eight answers
# -------------
#
# The examples are the 24 cases about which the network is least certain. *Absent* means
# that a measurement is replaced by the average over all patients, which is 0 here. The
# slopes (the first three methods) are multiplied by the measurement, so that all
# attributions have the same unit: the contribution to the probability.

cases = table[~train][np.argsort(np.abs(probability(table[~train]) - 0.5))[:24]]
methods = {
    "gradient": "gradient",
    "smooth_grad": "SmoothGrad",
    "c_lime": "C-LIME",
    "gradient_times_input": "gradient × input",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    "lime": "LIME",
    "kernel_shap": "KernelSHAP",
}
explanations = [
    explain(
        probability,
        cases,
        method=method,
        grad=slope,
        n_samples=2000,
        scale=1.0,
        kernel_width=6.0,
        rng=0,
    )
    for method in methods
]

case = 3
contributions = np.array(
    [
        e.attributions[case] * (cases[case] if e.coordinates == "offset" else 1)
        for e in explanations
    ]
)
shown = np.argsort(-np.abs(contributions).mean(axis=0))[:8]
limit = np.abs(contributions[:, shown]).max()
figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
picture = axes.imshow(
    contributions[:, shown].T, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto"
)
axes.set_xticks(range(8), methods.values(), rotation=30, ha="right")
axes.set_yticks(range(8), data.feature_names[shown])
figure.colorbar(picture, label="contribution to the probability")
axes.set_title(
    f"the eight largest of thirty attributions for a case with probability "
    f"{probability(cases[case : case + 1])[0]:.2f}"
)

# %%
# Which one is right?
# -------------------
#
# That depends on the question. Here are five meanings of *near the case*. For each, the
# table shows how far every explanation is from the network: the mean squared difference
# between the probability and the weighted sum over the same two thousand points. In
# parentheses: this error divided by that of the best explanation.

questions = {
    "a little noise\n(0.1 of the spread)": ("gaussian", 0.1),
    "much noise\n(the whole spread)": ("gaussian", 1.0),
    "on the path to\nthe average patient": ("uniform_path", 1.0),
    "any measurements\nabsent": ("binary", 1.0),
    "one measurement\nabsent": ("one_hot", 1.0),
}
losses = np.array(
    [
        faithfulness(
            probability,
            cases,
            explanations,
            neighborhood=neighborhood,
            scale=scale,
            n_samples=2000,
            rng=1,
        ).mean(axis=1)
        for neighborhood, scale in questions.values()
    ]
)
losses[losses < 1e-20] = 0  # rounding errors
worse = losses / np.maximum(losses.min(axis=1, keepdims=True), 1e-7)

figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
axes.imshow(
    np.log10(np.clip(worse.T, 1, 1000)),
    cmap="Blues_r",
    vmin=-0.3,
    vmax=3.5,
    aspect="auto",
)
for question, scores in enumerate(losses):
    for method, loss in enumerate(scores):
        best, times = loss <= 1.001 * scores.min(), worse[question, method]
        text = (
            f"{loss:.1g}  best"
            if best
            else f"{loss:.1g}"
            + (f"  ({times:.{0 if times > 10 else 1}f} ×)" if scores.min() else "")
        )
        axes.text(
            question,
            method,
            text,
            ha="center",
            va="center",
            color="white" if times < 5 else "black",
            weight="bold" if best else None,
        )
axes.set_xticks(range(5), questions)
axes.set_yticks(range(8), methods.values())
axes.xaxis.tick_top()
axes.set_title("mean squared difference from the network (and its ratio to the best)")

# %%
# No method is best for every question, and each is good at its own. LIME and KernelSHAP
# ask what happens if measurements are absent; C-LIME, what happens under noise of its
# size; occlusion removes one measurement at a time and is exact there; the plain
# gradient describes small changes only. Integrated gradients and KernelSHAP agree with
# the network at both ends of the path to the average patient and coincide on the path.
# SmoothGrad matches slopes, so it loses where values are compared. Choose the question
# first, then the method that ``faithfulness`` finds best for it.

for name, row in zip(questions, losses, strict=True):
    order = np.argsort(row)
    names = list(methods.values())
    print(
        f"{' '.join(name.split()):42s} best: {names[order[0]]}, {names[order[1]]}; "
        f"worst: {names[order[-1]]}"
    )

# %%
# How precise are the attributions?
# ---------------------------------
#
# Methods that sample random points also return a standard error: the spread that other
# random points would cause. The plot shows it for the largest attribution of each case,
# in percent of that attribution.

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
samples = [100, 300, 1000, 3000]
for (method, name), color in zip(
    (
        ("lime", "LIME"),
        ("kernel_shap", "KernelSHAP"),
        ("c_lime", "C-LIME"),
        ("smooth_grad", "SmoothGrad"),
    ),
    ("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3"),
    strict=True,
):
    percent = []
    for n in samples:
        e = explain(
            probability,
            cases,
            method=method,
            grad=slope,
            n_samples=n,
            scale=1.0,
            kernel_width=6.0,
            rng=0,
        )
        largest = np.arange(len(cases)), np.abs(e.attributions).argmax(axis=1)
        percent.append(
            100 * np.median(e.standard_error[largest] / np.abs(e.attributions[largest]))
        )
    axes.loglog(samples, percent, "o-", color=color, label=name)
axes.set_xlabel("points per case")
axes.set_ylabel("standard error, %")
axes.grid(alpha=0.3)
axes.legend()
