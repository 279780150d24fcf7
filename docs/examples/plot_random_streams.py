"""
Counter-based random numbers: one stream, cut into pieces
=========================================================

The random numbers of numcore are functions of a counter and a key
(:func:`~numcore.random.philox_uint32`); there is no state between calls. Several
workers can therefore compute their own parts of one stream, in any order and on any
device, and together they have exactly the numbers that one worker would have computed.
Different keys give independent streams.
"""

import matplotlib.pyplot as plt
import numpy as np

from numcore.random import key_from_rng, philox_uint32

STEPS, WORKERS = 4000, 4


def steps(count, key, first=0):
    """Steps of -1 or +1 from the highest bit of each word; a counter has four words."""
    words = philox_uint32(count, key=key, offset=first // 4)
    return np.where(words >> 31, 1, -1)


# %%
# A random walk of 4000 steps, computed in one call, and the same walk by four workers
# with 1000 steps each, the last worker first.

key = key_from_rng(2026)
whole = np.cumsum(steps(STEPS, key))
share = STEPS // WORKERS
pieces = {
    worker: steps(share, key, first=worker * share)
    for worker in reversed(range(WORKERS))
}
joined = np.cumsum(np.concatenate([pieces[worker] for worker in range(WORKERS)]))
assert np.array_equal(joined, whole)

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
axes.plot(
    np.arange(1, STEPS + 1),
    whole,
    color="#d5dae1",
    linewidth=7,
    label="one worker, all at once",
)
for worker, color in enumerate(("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3")):
    here = slice(worker * share, (worker + 1) * share)
    axes.plot(
        np.arange(1, STEPS + 1)[here],
        joined[here],
        color=color,
        linewidth=1.2,
        label=f"worker {worker + 1} of {WORKERS}",
    )
axes.set_xlabel("number of steps taken")
axes.set_ylabel("position after these steps")
axes.legend(ncols=2)

# %%
# Eight keys give eight streams of 100,000 numbers. Their correlations are as small as
# expected by chance: for independent streams of this length they are of the order of
# 1/√100000, about 0.003. The color scale ends at four times this value, which would be
# a surprise.

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
    f"largest correlation of two different streams: "
    f"{np.nanmax(np.abs(correlation)):.4f} (limit: {limit:.4f})"
)
assert np.nanmax(np.abs(correlation)) < limit
