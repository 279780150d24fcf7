"""
Robust regression on a few hundred rows
=======================================

Least absolute deviations is the regression that outliers hardly move, but it takes far longer than
least squares. It can be solved on a small sample of the rows, if rows that matter are in it. How
much a row can matter is its *sensitivity*: the largest share it has in the sum of absolute values
of A x, for any x. Rows are kept with probabilities in proportion to a bound on it, and count the
more the less probable they were. Here each pixel of a photograph is predicted from its eight
neighbours.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import lp_regression, lp_sensitivities, sample_rows, sampling_scores

# %%
# The rows of A are the neighbours of a pixel, b is the pixel. Most of the picture is smooth, and
# nearly any weights predict it: edges decide. Every third column of pixels is taken.

image = load_sample_image("flower.jpg").mean(axis=2) / 255
height, width = image.shape[0] - 2, image.shape[1] - 2
shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
a = np.column_stack([image[i : i + height, j : j + width : 3].ravel() for i, j in shifts])
b = image[1:-1, 1:-1:3].ravel()
both = np.column_stack([a, b])

start = time.perf_counter()
best = lp_regression(a, b, 1)
print(
    f"all {len(a)} rows: {time.perf_counter() - start:.2f} s, sum of absolute errors "
    f"{best.objective:.2f}, "
    f"no other weights have less than {best.lower_bound:.2f}"
)

# %%
# Scores of three kinds: equal ones, the root of the leverage scores, which bounds the sensitivities
# for this norm, and Lewis weights, which bound them too. For each kind and size, twenty samples are
# drawn, and the error of their solution on all rows is put beside the best one.

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
# For small problems the sensitivities themselves can be had, with certain bounds: here those of 150
# pixels in a picture of every fifteenth.

few = both[::15]
rows = list(range(0, len(few), len(few) // 150))
start = time.perf_counter()
sigma = lp_sensitivities(few, 1, rows=rows, tol=1e-3)
bound = lp_sensitivities(few, 1, rows=rows, method="bound").upper
print(
    f"sensitivities of {len(rows)} of {len(few)} rows in {time.perf_counter() - start:.2f} s, "
    f"known to "
    f"{((sigma.upper - sigma.lower) / sigma.upper).max():.0e}; "
    f"the bound is {np.median(bound / sigma.upper):.0f} times as large"
)

# %%
# Samples by scores need a few hundred rows where uniform ones need many more. On the right, bright
# pixels are those with large scores: they trace the edges.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
)
for kind, colour in kinds.items():
    values = np.array([excess[kind, size] for size in SIZES])
    left.loglog(
        SIZES, values.mean(axis=1), "o-", color=colour, label=f"{kind.replace('_', ' ')}, mean"
    )
    left.loglog(SIZES, values.max(axis=1), ":", color=colour, label="worst of 20")
left.set_xticks(SIZES, map(str, SIZES))
left.minorticks_off()
left.set_xlabel("rows in the sample")
left.set_ylabel("error above the least one, relative")
left.legend(fontsize=8)
right.imshow(
    np.log(sampling_scores(both, 1, kind="lewis")).reshape(height, -1),
    cmap="gray",
    aspect="auto",
    vmin=np.log(1e-5),
)
right.set_title("logarithm of the Lewis weights")
right.axis("off")
plt.show()
