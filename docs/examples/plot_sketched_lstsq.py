"""
Sketched least squares: regression on a random summary of the rows
==================================================================

A regression with many rows and few columns can be compressed first: a random matrix S
mixes the n rows of A and b into m new ones, and the small problem is solved instead
(:func:`~numcore.linalg.sketched_lstsq`). For many kinds of S its solution predicts
nearly as well as the exact one. Accuracy of every single coefficient is a stronger
requirement. A *dense* S, which adds every row to every new row, satisfies it. A
*sparse* S, which adds every row to only one new row, does not.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import sketched_lstsq

DRAWS, ROWS = 200, 1024

# %%
# The rows are 8 × 8 patches of a photograph: A has 63 of the pixels, and b the last
# one, in the lower right corner. Most patches show the smooth sky, where the prediction
# is easy; eight patches of buildings, where it is worst, are added. Additional columns
# mark one patch of the sky each, 32 in total: their coefficients state how much a patch
# differs from the prediction of all others. In the exact solution none differs by more
# than a few gray levels. The buildings matter: without rows of exceptionally large
# error, both kinds of S are about equally accurate.

image = load_sample_image("china.jpg").mean(axis=2) / 255
patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::2, ::2].reshape(
    -1, 64
)
prediction = patches[:, :63] @ np.linalg.lstsq(patches[:, :63], patches[:, 63])[0]
surprise = np.abs(patches[:, 63] - prediction)
sky = np.flatnonzero(patches.std(axis=1) < 0.02)[::4]
rows = patches[np.concatenate([sky, np.argsort(surprise)[-8:]])]
marks = np.eye(len(rows))[:, np.linspace(0, len(sky) - 1, 32).astype(int)]
a, b = np.column_stack([rows[:, :63], marks]), rows[:, 63].copy()
exact = np.linalg.lstsq(a, b)[0]
print(
    f"{len(a)} rows, {a.shape[1]} columns, largest of the 32 coefficients "
    f"{np.abs(exact[63:]).max():.3f}"
)

# %%
# Both kinds of S reduce the data to 1024 rows, 200 times with different random numbers.
# In most draws both increase the prediction error equally little. But if the sparse S
# adds the patch of a building to a marked patch, the coefficient of the marked patch
# absorbs the whole error of the other.

errors = {}
for name, sketch in (("dense", "srht"), ("sparse", "countsketch")):
    results = [
        sketched_lstsq(a, b, sketch=sketch, sketch_size=ROWS, rng=seed)
        for seed in range(DRAWS)
    ]
    errors[name] = np.array([np.abs(r.x - exact)[63:].max() for r in results])
    growth = (
        np.median([np.linalg.norm(a @ r.x - b) for r in results])
        / np.linalg.norm(a @ exact - b)
        - 1
    )
    print(
        f"{name}: prediction error increases by {growth:.1%} (median); "
        f"largest error of a mark: median {np.median(errors[name]):.3f}, "
        f"worst {errors[name].max():.3f}, "
        f"above 0.2 in {np.mean(errors[name] > 0.2):.0%} of the draws"
    )

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
bins = np.linspace(0, 1.05 * max(e.max() for e in errors.values()), 50)
for (name, e), color in zip(errors.items(), ("#0b6e99", "#c4581a"), strict=True):
    axes.hist(e, bins, color=color, alpha=0.7, label=f"{name} S")
axes.set_xlabel("largest error of a marked patch's coefficient (black to white is 1)")
axes.set_ylabel("draws")
axes.legend()

# %%
# With the dense S, each coefficient comes with an error bar: the standard deviation of
# its error over the draws of S. About 95 % of the errors should be below 1.96 error
# bars.

results = [sketched_lstsq(a, b, sketch_size=ROWS, rng=seed) for seed in range(DRAWS)]
within = np.mean([np.abs(r.x - exact) < 1.96 * r.stderr for r in results])
print(f"within 1.96 error bars: {within:.1%}")
