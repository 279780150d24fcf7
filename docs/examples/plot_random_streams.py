"""
One random stream, cut into pieces
==================================

numcore's random numbers come from a counter: the i-th word is a function of i and of a key, and
nothing has to be remembered between calls. So several workers can each make their own part of one
stream, in any order and on any device, and together they have exactly what one worker would have
made. Whoever needs streams that have nothing to do with each other gives each its own key.
"""

import matplotlib.pyplot as plt
import numpy as np

from numcore.random import key_from_rng, philox_uint32

STEPS, WORKERS = 4000, 4


def steps(count, key, first=0):
    """Steps of -1 or +1, by the highest bit of each word. A counter stands for four words."""
    words = philox_uint32(count, key=key, offset=first // 4)
    return np.where(words >> 31, 1, -1)


# %%
# A walk of 4000 steps, made at once; then the same walk by four workers that make 1000 steps each,
# the last worker first.

key = key_from_rng(2026)
whole = np.cumsum(steps(STEPS, key))
share = STEPS // WORKERS
pieces = {worker: steps(share, key, first=worker * share) for worker in reversed(range(WORKERS))}
joined = np.cumsum(np.concatenate([pieces[worker] for worker in range(WORKERS)]))
assert np.array_equal(joined, whole)

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
axes.plot(
    np.arange(1, STEPS + 1), whole, color="#d5dae1", linewidth=7, label="one worker, all at once"
)
for worker, colour in enumerate(("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3")):
    here = slice(worker * share, (worker + 1) * share)
    axes.plot(
        np.arange(1, STEPS + 1)[here],
        joined[here],
        color=colour,
        linewidth=1.2,
        label=f"worker {worker + 1} of {WORKERS}",
    )
axes.set_xlabel("number of steps taken")
axes.set_ylabel("position after these steps")
axes.legend(ncols=2)

# %%
# Eight keys, eight streams of 100,000 numbers. Their correlations are as small as chance makes
# them: for unrelated streams of this length they are of the size 1/√100000, about 0.003, and more
# than four times that, where the colours end, would be a surprise.

LENGTH, STREAMS = 100_000, 8
streams = [philox_uint32(LENGTH, key=key_from_rng(seed)) for seed in range(STREAMS)]
correlation = np.corrcoef(np.array(streams, float))
np.fill_diagonal(correlation, np.nan)  # a stream with itself

limit = 4 / np.sqrt(LENGTH)
figure, axes = plt.subplots(figsize=(6, 4.8), layout="constrained")
image = axes.imshow(correlation, cmap="RdBu", vmin=-limit, vmax=limit)
axes.set_xticks(range(STREAMS))
axes.set_yticks(range(STREAMS))
axes.set_xlabel("seed of one stream")
axes.set_ylabel("seed of the other stream")
figure.colorbar(image, label="correlation of the two streams")
print(
    f"largest correlation of two different streams: {np.nanmax(np.abs(correlation)):.4f}, the "
    f"surprise would be {limit:.4f}"
)
assert np.nanmax(np.abs(correlation)) < limit
