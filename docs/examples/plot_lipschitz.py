"""
Certified Lipschitz bounds: how much can the output of a network change?
========================================================================

A *Lipschitz constant* limits how fast the outputs of a network change near an image: if
no pixel changes by more than some amount, no output changes by more than the constant
times that amount. Evaluating many points gives only a lower bound, since the worst
point may be missed. A *certified* bound is an upper bound that holds at every point;
:func:`~numcore.nn.local_lipschitz` computes both. Here they are computed for a ReLU
network that classifies handwritten digits, on boxes of increasing size around an image.
The four upper bounds come from interval arithmetic, RecurJac, and the linear bounds of
Shi, Wang, Zhang, Kolter and Hsieh (NeurIPS 2022), either for each entry of the Jacobian
(the matrix of derivatives of outputs by pixels) or jointly for its norm.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.neural_network import MLPClassifier, MLPRegressor

from numcore.nn import jacobian_bounds, local_lipschitz, monotonicity, output_bounds

COLORS = "#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3"
images, labels = load_digits(return_X_y=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # training stops before it has converged
    model = MLPClassifier((64, 64), max_iter=30, random_state=0).fit(
        images[::2] / 16, labels[::2]
    )
weights, biases = [np.ascontiguousarray(w.T) for w in model.coefs_], model.intercepts_
x0, label = images[1] / 16, labels[1]
print(
    f"{model.score(images[1::2] / 16, labels[1::2]):.1%} of the test images are "
    f"classified correctly"
)

# %%
# All upper bounds meet the lower bound if the box is so small that no ReLU changes its
# sign. For larger boxes, interval arithmetic becomes loose first, and the joint linear
# bound last.

sizes = np.geomspace(1e-4, 0.1, 16)
start, found = (
    time.perf_counter(),
    {
        "interval": [],
        "RecurJac": [],
        "linear, entry by entry": [],
        "linear, jointly": [],
    },
)
lower = []
for eps in sizes:
    for name, method in zip(found, ("interval", "recurjac", "linear"), strict=False):
        low, high = jacobian_bounds(weights, biases, x0, eps, method=method)
        found[name].append(np.maximum(-low, high).sum(axis=1).max())
    bound = local_lipschitz(weights, biases, x0, eps, n_lower_samples=2000, rng=0)
    found["linear, jointly"].append(bound.upper)
    lower.append(bound.lower)
print(f"{len(sizes)} boxes, four bounds each, took {time.perf_counter() - start:.1f} s")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for (name, uppers), color in zip(found.items(), COLORS, strict=True):
    left.loglog(sizes, uppers, color=color, label=f"certified: {name}")
left.loglog(sizes, lower, "k.", label="largest at 2000 points")
left.set_xlabel("half the width of the box (black to white is 1)")
left.set_ylabel("Lipschitz constant")
left.legend(fontsize=8)
for i in (5, 10, 15):
    print(
        f"eps = {sizes[i]:.4f}: sampled {lower[i]:.2f} <= "
        + " <= ".join(f"{found[name][i]:.2f} ({name})" for name in reversed(found))
    )

# %%
# An application: the classification cannot change as long as the score of the right
# digit certainly exceeds all others. The differences of scores are the outputs of the
# same network with another last layer.

others = np.delete(np.arange(10), label)
differences = (
    [*weights[:-1], weights[-1][label] - weights[-1][others]],
    [*biases[:-1], biases[-1][label] - biases[-1][others]],
)
margins = np.array(
    [
        [output_bounds(*differences, x0, eps, method=method)[0].min() for eps in sizes]
        for method in ("interval", "crown")
    ]
)
for margin, name, color in zip(
    margins,
    ("interval arithmetic", "linear bounds (CROWN)"),
    (COLORS[0], COLORS[3]),
    strict=True,
):
    right.semilogx(sizes, margin, color=color, label=name)
    print(
        f"{name}: the image is certainly classified as {label} up to eps = "
        f"{sizes[margin > 0].max():.4f}"
    )
right.axhline(0, color="gray", linewidth=0.8)
right.set_ylim(-3 * margins.max(), 1.2 * margins.max())
right.set_xlabel("half the width of the box (black to white is 1)")
right.set_ylabel("certified margin of the right digit's score")
right.legend(fontsize=8)

# %%
# Splitting the box by the signs of ReLUs tightens the bound; more parts take more time
# and give a tighter bound.

eps, steps = sizes[11], []
local_lipschitz(
    weights,
    biases,
    x0,
    eps,
    branch_and_bound=True,
    max_domains=300,
    n_lower_samples=2000,
    rng=0,
    callback=lambda upper, lower, parts: steps.append((parts, upper, lower)),
)
parts, uppers, lowers = zip(*steps, strict=True)
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(parts, uppers, color=COLORS[3], label="certified")
axes.plot(parts, lowers, "k:", label="largest at 2000 points")
axes.set_xlabel("parts of the box")
axes.set_ylabel(f"Lipschitz constant, eps = {eps:.4f}")
axes.legend()
print(
    f"eps = {eps:.4f}: {uppers[0]:.3f} with {parts[0]} parts, "
    f"{uppers[-1]:.3f} with {parts[-1]}, sampled {lowers[-1]:.3f}"
)

# %%
# If the sign of a derivative is certain, the prediction can only rise, or only fall,
# with that input. Here the network predicts the progress of diabetes from ten
# measurements, on boxes around each of 100 patients.

data = load_diabetes()
x, y = (
    data.data / data.data.std(axis=0),
    (data.target - data.target.mean()) / data.target.std(),
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model = MLPRegressor(
        hidden_layer_sizes=(32, 32), alpha=1.0, max_iter=200, random_state=0
    ).fit(x[100:], y[100:])
weights, biases = [np.ascontiguousarray(w.T) for w in model.coefs_], model.intercepts_
signs = np.array(
    [monotonicity(weights, biases, x[:100], eps)[:, 0] for eps in (0.02, 0.1, 0.3)]
)
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
place = np.arange(len(data.feature_names))
for k, (eps, color) in enumerate(zip((0.02, 0.1, 0.3), COLORS, strict=False)):
    axes.bar(
        place + 0.27 * (k - 1),
        (signs[k] > 0).sum(axis=0),
        0.25,
        color=color,
        label=f"half width {eps} standard deviations",
    )
    axes.bar(place + 0.27 * (k - 1), -(signs[k] < 0).sum(axis=0), 0.25, color=color)
axes.axhline(0, color="gray", linewidth=0.8)
axes.set_xticks(place, data.feature_names)
axes.set_ylabel("patients: can only rise (up)\nor only fall (down)")
axes.legend(fontsize=8)
bmi = data.feature_names.index("bmi")
print(
    f"for {np.sum(signs[1][:, bmi] > 0)} of 100 patients, the prediction cannot fall "
    f"with the body mass index within 0.1 standard deviations"
)
