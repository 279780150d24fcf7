"""
ℓp sensitivity sampling: robust regression on a few hundred rows
================================================================

Least absolute deviations is a regression that outliers hardly affect, but it takes much
longer than least squares. It can be solved on a small sample of the rows if the sample
contains the important ones. The importance of a row is its *sensitivity*: its largest
share in the sum of absolute values of A x, for any x. Rows are sampled with
probabilities proportional to a bound on it and weighted by the inverse probabilities
(:func:`~numcore.linalg.sampling_scores`, :func:`~numcore.linalg.sample_rows`). Here
each pixel of a photograph is predicted from its eight neighbors.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import lp_regression, lp_sensitivities, sample_rows, sampling_scores

# %%
# The rows of A are the neighbors of a pixel, and b is the pixel, for every third column
# of pixels. Most of the image is smooth and almost any weights predict it; only edges
# determine the weights.

image = load_sample_image("flower.jpg").mean(axis=2) / 255
height, width = image.shape[0] - 2, image.shape[1] - 2
shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
a = np.column_stack(
    [image[i : i + height, j : j + width : 3].ravel() for i, j in shifts]
)
b = image[1:-1, 1:-1:3].ravel()
both = np.column_stack([a, b])

start = time.perf_counter()
best = lp_regression(a, b, 1)
print(
    f"all {len(a)} rows: {time.perf_counter() - start:.2f} s, sum of absolute errors "
    f"{best.objective:.2f}, "
    f"lower bound {best.lower_bound:.2f}"
)

# %%
# There are three kinds of scores: uniform, square roots of leverage scores, and Lewis
# weights. The last two bound the sensitivities in this norm. For each kind and sample
# size, twenty samples are drawn, and the error of their solution on all rows is
# compared with the minimum.

SIZES, DRAWS = (100, 200, 400, 800), 20
kinds = {"uniform": "#c4581a", "root_leverage": "#0b6e99", "lewis": "#5a7d2a"}
excess = {}
for kind in kinds:
    scores = sampling_scores(both, 1, kind=kind)
    for size in SIZES:
        for draw in range(DRAWS):
            indices, weights, _ = sample_rows(scores, size, rng=draw)
            fit = lp_regression(a[indices], b[indices], 1, weights=weights, tol=1e-4)
            excess.setdefault((kind, size), []).append(
                np.abs(a @ fit.x - b).sum() / best.objective - 1
            )
    print(
        f"{kind}: mean excess on 400 rows {np.mean(excess[kind, 400]):.1%}, worst "
        f"{np.max(excess[kind, 400]):.1%}"
    )

# %%
# For small problems the sensitivities themselves can be computed, with guaranteed
# bounds: here for 150 of the pixels, with every fifteenth row of the data.

few = both[::15]
rows = list(range(0, len(few), len(few) // 150))
start = time.perf_counter()
sigma = lp_sensitivities(few, 1, rows=rows, tol=1e-3)
bound = lp_sensitivities(few, 1, rows=rows, method="bound").upper
print(
    f"sensitivities of {len(rows)} of {len(few)} rows in "
    f"{time.perf_counter() - start:.2f} s, with a relative uncertainty of "
    f"{((sigma.upper - sigma.lower) / sigma.upper).max():.0e}; "
    f"the quick bound is {np.median(bound / sigma.upper):.0f} times as large"
)

# %%
# Sampling by scores needs a few hundred rows where uniform sampling needs many more. On
# the right, bright pixels have large scores: they trace the edges.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
)
for kind, color in kinds.items():
    values = np.array([excess[kind, size] for size in SIZES])
    left.loglog(
        SIZES,
        values.mean(axis=1),
        "o-",
        color=color,
        label=f"{kind.replace('_', ' ')}, mean",
    )
    left.loglog(SIZES, values.max(axis=1), ":", color=color, label="worst of 20")
left.set_xticks(SIZES, map(str, SIZES))
left.minorticks_off()
left.set_xlabel("rows in the sample")
left.set_ylabel("relative error above the minimum")
left.legend(fontsize=8)
right.imshow(
    np.log(sampling_scores(both, 1, kind="lewis")).reshape(height, -1),
    cmap="gray",
    aspect="auto",
    vmin=np.log(1e-5),
)
right.set_title("logarithm of the Lewis weights")
right.axis("off")
