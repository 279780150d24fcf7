"""
Exact attention in tiles: long sequences in little memory
=========================================================

Attention computes softmax(Q Kᵀ / √d) V: every token looks at all others. The textbook
formula stores a score for each pair of tokens, so its memory grows with the square of
the sequence length. :func:`~numcore.nn.attention` computes the same function tile by
tile and never stores all scores. Here the tokens are 8 × 8 patches of a photograph.
"""

import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.nn import attention, merge_attention

image = load_sample_image("china.jpg").mean(axis=2) / 255
patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::8, ::8]
tokens = patches.reshape(-1, 64)
tokens = ((tokens - tokens.mean(axis=0)) / tokens.std(axis=0)).astype(np.float32)
print(f"{len(tokens)} tokens of dimension {tokens.shape[1]}")


def textbook(q, k, v):
    scores = q @ k.T / np.sqrt(np.float32(q.shape[1]))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v / weights.sum(axis=1, keepdims=True)


def measured(function, x):
    """Seconds and mebibytes of one call; the first one may compile."""
    function(x, x, x)
    start = time.perf_counter()
    function(x, x, x)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    function(x, x, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 2**20


# %%
# Time and peak memory for sequences of increasing length, and the largest error
# compared with float64.

lengths = [256, 512, 1024, 2048, 3072, 4096]
functions = {"textbook formula": textbook, "numcore.nn.attention": attention}
figures = {
    name: np.array([measured(function, tokens[:n]) for n in lengths]).T
    for name, function in functions.items()
}
exact = textbook(*3 * [tokens[:4096].astype(np.float64)])
for name, function in functions.items():
    error = np.abs(function(*3 * [tokens[:4096]]) - exact).max()
    seconds, memory = figures[name][:, -1]
    print(
        f"{name}, {lengths[-1]} tokens: {1e3 * seconds:.0f} ms, {memory:.1f} MiB, "
        f"largest error {error:.1e}"
    )

figure, grid = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for i, (axes, label) in enumerate(zip(grid, ("seconds", "peak MiB"), strict=True)):
    for (name, values), color in zip(
        figures.items(), ("#c4581a", "#0b6e99"), strict=True
    ):
        axes.loglog(lengths, values[i], "o-", color=color, label=name)
    axes.set_xticks(lengths, lengths)
    axes.minorticks_off()
    axes.set_xlabel("tokens")
    axes.set_ylabel(label)
grid[0].legend()

# %%
# Attention over a long list of keys can also be computed in parts, for example on
# several machines: :func:`~numcore.nn.merge_attention` combines the results, using the
# log-sum-exp of the scores of each part.

queries, half = tokens[:8], len(tokens) // 2
parts = [
    attention(queries, part, part, return_lse=True)
    for part in (tokens[:half], tokens[half:])
]
merged, _ = merge_attention(*map(np.stack, zip(*parts, strict=True)))
difference = np.abs(merged - attention(queries, tokens, tokens)).max()
print(f"two parts merged and one call differ by {difference:.1e}")

# %%
# Which patches does one patch attend to? Its weights over the image are the attention
# output when the values are the rows of the identity matrix.

row, column = 20, 40
query = tokens[[row * patches.shape[1] + column]]
weights = attention(query, tokens, np.eye(len(tokens), dtype=np.float32))[0]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.imshow(image, cmap="gray")
left.plot(8 * column + 4, 8 * row + 4, "s", color="#c4581a", markersize=8)
left.set_title("a patch")
right.imshow(np.log10(weights.reshape(patches.shape[:2]) + 1e-6), cmap="viridis")
right.set_title("the patches that it attends to (log scale)")
for axes in (left, right):
    axes.axis("off")
