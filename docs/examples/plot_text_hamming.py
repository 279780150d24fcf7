"""
Finding a phrase with errors
============================

The Hamming distance of two texts of one length is the number of places where they differ. Here a
passage, garbled in every fifth letter, is looked for in the descriptions of scikit-learn's data
sets: its distance to every stretch of the text is computed. Then four ways of computing exact
distances are timed, each of which is the best one somewhere.
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
    f"{len(text)} letters; within 30 errors: {found.positions.tolist()}, the passage is at {start}"
)

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(distances, linewidth=0.4, color="#0b6e99")
axes.plot(found.positions, found.distances, "o", color="#c4581a", label="within 30 errors")
axes.set_xlabel("where the stretch of 100 letters starts")
axes.set_ylabel("letters that differ")
axes.legend()

# %%
# The four ways differ in what they depend on: comparing all letters with all ("direct") on the
# length of the phrase; one convolution for each letter ("fft") on the size of the alphabet;
# visiting all pairs of equal letters ("pairs") on how rare letters are; "mixed" takes for each
# letter the better of the last two. The alphabets below are English text, the four letters of DNA,
# and numbers below 5000 as in quantized signals. ``alphabet_profile`` predicts the times, and the
# default takes the least.

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
# With a large alphabet, distances up to a factor are enough for many uses: letters fall at random
# into ⌈2 / ε⌉ buckets, and the few buckets take few convolutions. What is lost is about one
# mismatch in as many as there are buckets; the true distance is never exceeded.

symbols = rng.integers(0, 100, N).astype(np.uint8)
pattern = rng.integers(0, 100, 16384).astype(np.uint8)
exact = hamming_distances(symbols, pattern)
for eps in (0.5, 0.25, 0.125):
    near = hamming_distances_approx(symbols, pattern, eps, failure=None, method="projection", rng=0)
    print(
        f"eps = {eps}: {near.n_buckets} buckets, at most {(1 - near.lower / exact).max():.1%} "
        f"below the distance, "
        f"estimates wrong by {np.abs(near.distances / exact - 1).mean():.2%} on average"
    )
