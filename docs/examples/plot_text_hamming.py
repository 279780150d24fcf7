"""
Text-to-pattern Hamming distances: find a phrase with errors
============================================================

The Hamming distance of two texts of equal length is the number of positions where they
differ. :func:`~numcore.retrieval.hamming_distances` computes the distance of a pattern
to every window of a text. Here it finds a passage in which every fifth letter is
garbled, in the descriptions of scikit-learn's data sets. Then its four exact algorithms
are timed; each of them is the fastest for some inputs.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from numcore.retrieval import (
    alphabet_profile,
    hamming_distances,
    hamming_distances_approx,
    hamming_within,
)

text = "".join(
    load().DESCR for load in (load_iris, load_wine, load_breast_cancer, load_diabetes)
).encode()
start = len(text) // 3
garbled = bytearray(text[start : start + 100])
garbled[::5] = b"#" * 20
distances = hamming_distances(text, bytes(garbled))
found = hamming_within(text, bytes(garbled), 30)
print(
    f"{len(text)} letters; within 30 errors: {found.positions.tolist()}, "
    f"the passage is at {start}"
)

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(distances, linewidth=0.4, color="#0b6e99")
axes.plot(
    found.positions, found.distances, "o", color="#c4581a", label="within 30 errors"
)
axes.set_xlabel("start of the window of 100 letters")
axes.set_ylabel("mismatches")
axes.legend()

# %%
# The cost of the algorithms depends on different properties: comparing all letters with
# all ("direct") on the length of the pattern; one convolution per letter ("fft") on the
# size of the alphabet; visiting all pairs of equal letters ("pairs") on the rarity of
# letters; "mixed" chooses the better of the last two for each letter. The alphabets are
# English text, the four letters of DNA, and numbers below 5000, as in quantized
# signals. ``alphabet_profile`` predicts the times, and the default is the algorithm
# with the lowest prediction.

rng = np.random.default_rng(0)
N, LENGTHS = 1 << 18, [64, 512, 4096, 32768]
english = np.tile(np.frombuffer(text, np.uint8), N // len(text) + 1)[:N]
texts = {
    "English": english,
    "4 letters": rng.integers(0, 4, N).astype(np.uint8),
    "5000 letters": rng.integers(0, 5000, N).astype(np.uint16),
}
figure, grid = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
for axes, (name, symbols) in zip(grid, texts.items(), strict=True):
    curves = {"direct": [], "fft": [], "pairs": [], "mixed": []}
    for m in LENGTHS:
        pattern = symbols[1000 : 1000 + m].copy()
        pattern[::3] = rng.permutation(pattern[::3])
        costs = alphabet_profile(symbols, pattern).costs
        for method, times in curves.items():
            if costs[method] > 0.5:
                times.append(np.nan)
                continue
            hamming_distances(symbols[:m], pattern, method=method)
            began = time.perf_counter()
            hamming_distances(symbols, pattern, method=method)
            times.append(time.perf_counter() - began)
    for (method, times), color in zip(
        curves.items(), ("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3"), strict=True
    ):
        axes.loglog(LENGTHS, times, "o-", color=color, label=method)
    axes.set_title(name)
    axes.set_xlabel("length of the pattern")
grid[0].set_ylabel(f"seconds for {N} symbols")
grid[0].legend()

# %%
# For large alphabets, approximate distances are often enough: letters are assigned at
# random to ⌈2 / ε⌉ buckets, and few buckets need few convolutions. The share of
# mismatches that is missed is about one divided by the number of buckets; the true
# distance is never exceeded.

symbols = rng.integers(0, 100, N).astype(np.uint8)
pattern = rng.integers(0, 100, 16384).astype(np.uint8)
exact = hamming_distances(symbols, pattern)
for eps in (0.5, 0.25, 0.125):
    near = hamming_distances_approx(
        symbols, pattern, eps, failure=None, method="projection", rng=0
    )
    print(
        f"eps = {eps}: {near.n_buckets} buckets, lower bounds at most "
        f"{(1 - near.lower / exact).max():.1%} below the distance, mean error of the "
        f"estimates {np.abs(near.distances / exact - 1).mean():.2%}"
    )
