"""
Low-rank matrix completion: a photograph from two fifths of its pixels
======================================================================

A matrix of low rank is a sum of a few products of one column and one row. If a matrix
is nearly of low rank, most of its entries can be computed from the others. Here
:func:`~numcore.linalg.complete_masked` computes three fifths of a photograph's pixels
from the rest. A random matrix then shows how fast the iteration converges, even if its
steps are inexact.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import CSR, alternating_step, complete_masked, predict_entries

# %%
# The image is every second pixel of a gray photograph, and 40 % of these are known. The
# model is fitted to the known pixels, but the error that matters is at the hidden ones.
# With increasing rank, the error at the known pixels keeps falling, while the model
# begins to overfit. Holding out a tenth of the known pixels, ``holdout=0.1``, detects
# this without access to the hidden ones.

image = load_sample_image("china.jpg").mean(axis=2)[::2, ::2]
known = np.random.default_rng(0).random(image.shape) < 0.4
ranks, errors = (
    (1, 2, 3, 5, 8, 12, 16, 20),
    {"known pixels": [], "held-out pixels": [], "hidden pixels": []},
)
rows, cols = np.nonzero(~known)
for rank in ranks:
    result = complete_masked(
        image,
        known,
        rank=rank,
        ridge=0.05,
        center=True,
        holdout=0.1,
        max_iter=30,
        tol=1e-4,
        rng=0,
    )
    hidden = np.sqrt(
        np.mean((predict_entries(result, rows, cols) - image[~known]) ** 2)
    )
    for name, error in zip(
        errors, (result.observed_rmse, result.holdout_rmse, hidden), strict=True
    ):
        errors[name].append(error)
best = ranks[int(np.argmin(errors["held-out pixels"]))]
print(
    f"standard deviation of the pixels {image.std():.1f}; "
    f"the held-out error is smallest at rank {best}: "
    f"{min(errors['held-out pixels']):.1f}, at the hidden pixels "
    f"{errors['hidden pixels'][ranks.index(best)]:.1f}"
)

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, values), color in zip(
    errors.items(), ("#0b6e99", "#c4581a", "#5a7d2a"), strict=True
):
    axes.plot(
        ranks,
        values,
        "o--" if name == "hidden pixels" else "o-",
        color=color,
        label=name,
    )
axes.set_xticks(ranks)
axes.set_xlabel("rank of the model")
axes.set_ylabel("root mean square error")
axes.set_ylim(0, None)
axes.legend()

# %%
# The known pixels, and the completed image with the best rank.

result = complete_masked(
    image, known, rank=best, ridge=0.05, center=True, max_iter=30, rng=0
)
completed = result.offset + (result.u * result.s) @ result.vh
figure, grid = plt.subplots(1, 3, figsize=(11, 2.7), layout="constrained")
for axes, picture, title in zip(
    grid,
    (image, np.where(known, image, np.nan), np.where(known, image, completed)),
    ("the photograph", "40 % of its pixels", f"completed by a model of rank {best}"),
    strict=True,
):
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title)
    axes.axis("off")

# %%
# The model is a product U Vᵀ of two thin matrices. Alternating minimization solves for
# one of them while the other is fixed: a small least-squares problem for every row or
# column. For a random matrix of rank 3 with a fifth of its entries known, the error
# decreases by a constant factor per round. Perturbing each step by a relative error of
# 10⁻³ or 10⁻⁶ does no harm until the model is equally accurate: errors of the steps do
# not add up. So each step needs only the current accuracy of the model, which is cheap.

rng = np.random.default_rng(0)
truth = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 200))
known = rng.random(truth.shape) < 0.2
rows, cols = np.nonzero(known)
by_rows = CSR.from_coo(rows, cols, truth[known], truth.shape)
by_columns = by_rows.T
start = complete_masked(truth, known, rank=3, max_iter=1, tol=0, rng=0).u

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for noise, color in ((0, "#0b6e99"), (1e-6, "#5a7d2a"), (1e-3, "#c4581a")):
    u, curve = start, []
    for _ in range(30):
        v = alternating_step(by_columns, u)
        v = np.linalg.qr(v + noise * v.std() * rng.standard_normal(v.shape))[0]
        u = alternating_step(by_rows, v)
        u += noise * u.std() * rng.standard_normal(u.shape)
        curve.append(np.linalg.norm(u @ v.T - truth) / np.linalg.norm(truth))
        u = np.linalg.qr(u)[0]
    axes.semilogy(
        range(2, 32),
        curve,
        color=color,
        label=f"steps with error {noise:g}" if noise else "exact steps",
    )
    print(f"steps with error {noise:g}: relative error {curve[-1]:.1e} after 31 rounds")
axes.set_xlabel("round")
axes.set_ylabel("relative error of the whole matrix")
axes.legend()
