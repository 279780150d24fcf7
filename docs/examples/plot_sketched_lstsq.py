"""
Regression on a random summary of the rows
==========================================

A regression with many rows and few columns can be compressed first: a random matrix S mixes the n
rows of A and b into m new ones, and the small problem is solved instead. With many kinds of S its
solution predicts nearly as well as the exact one. That every single coefficient is right as well is
a stronger wish. A *dense* S, in which every row goes into every new row, grants it. A *sparse* S,
which puts every row into just one new row, does not.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import sketched_lstsq

DRAWS, ROWS = 200, 1024

# %%
# The rows are 8 × 8 patches of a photograph: 63 pixels are in A, the last one, in the lower right
# corner, is in b and is to be told from them. Most patches are of the smooth sky, where this is
# easy; eight patches of buildings, where it goes most wrong, have got among them. Further columns
# mark 32 patches of the sky, one each: such a coefficient says by how much this patch differs from
# what the others predict. Exactly solved, none of them differs by more than a few grey levels. The
# buildings matter: where no row goes far more wrong than the others, both kinds of S do about
# equally well.

image = load_sample_image("china.jpg").mean(axis=2) / 255
patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::2, ::2].reshape(-1, 64)
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
# Both kinds of S make 1024 rows of these, 200 times with other random numbers. In most draws the
# predictions lose about as little with either. But when the sparse S puts a patch of a building on
# one that is marked, this patch gets all of the other's error as its coefficient.

errors = {}
for name, sketch in (("dense", "srht"), ("sparse", "countsketch")):
    results = [
        sketched_lstsq(a, b, sketch=sketch, sketch_size=ROWS, rng=seed) for seed in range(DRAWS)
    ]
    errors[name] = np.array([np.abs(r.x - exact)[63:].max() for r in results])
    growth = (
        np.median([np.linalg.norm(a @ r.x - b) for r in results]) / np.linalg.norm(a @ exact - b)
        - 1
    )
    print(
        f"{name}: error of all predictions larger by {growth:.1%} (median); "
        f"largest error of a mark: median {np.median(errors[name]):.3f}, "
        f"worst {errors[name].max():.3f}, above 0.2 in {np.mean(errors[name] > 0.2):.0%} of the "
        f"draws"
    )

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
bins = np.linspace(0, 1.05 * max(e.max() for e in errors.values()), 50)
for (name, e), colour in zip(errors.items(), ("#0b6e99", "#c4581a"), strict=True):
    axes.hist(e, bins, color=colour, alpha=0.7, label=f"{name} S")
axes.set_xlabel("largest error of a marked patch's coefficient (1 is from black to white)")
axes.set_ylabel("draws")
axes.legend()

# %%
# For the dense S each coefficient comes with its error bar, the standard deviation of its error
# over the draws of S. Of the errors, 95 % should lie within 1.96 of it.

results = [sketched_lstsq(a, b, sketch_size=ROWS, rng=seed) for seed in range(DRAWS)]
within = np.mean([np.abs(r.x - exact) < 1.96 * r.stderr for r in results])
print(f"within 1.96 error bars: {within:.1%}")
