"""Hamming distances of 2^20 symbols beside one convolution per letter in SciPy, and the ways beside
each other."""

import numpy as np

from numcore._measure import median_seconds
from numcore.retrieval import (
    alphabet_profile,
    hamming_distances,
    hamming_distances_approx,
    hamming_within,
)

N, SECONDS = 1 << 20, 2
SIZES = ((64, 4), (256, 4), (1024, 4), (4096, 4), (16384, 4), (1024, 20), (16384, 20))
CHOICES = (
    (64, 4),
    (1024, 4),
    (4096, 4),
    (16384, 4),
    (1024, 200),
    (16384, 20),
    (16384, 1000),
    (4096, 10000),
)


def call(m, sigma):
    rng, dtype = np.random.default_rng(0), np.uint8 if sigma <= 256 else np.uint16
    return rng.integers(0, sigma, N).astype(dtype), rng.integers(0, sigma, m).astype(dtype)


def convolutions(convolve, dtype, text, pattern):
    matches = sum(
        convolve((text == c).astype(dtype), (pattern[::-1] == c).astype(dtype), "valid")
        for c in np.unique(pattern)
    )
    return (len(pattern) - np.rint(matches)).astype(np.int32)


def ratio(ours, theirs):
    ours, theirs = median_seconds([ours, theirs], SECONDS)
    return theirs / ours


class Exact:
    param_names, params = ["m, sigma"], [SIZES]
    timeout = 300

    def setup(self, size):
        self.arguments = call(*size)
        hamming_distances(*self.arguments)

    def time_auto(self, size):
        hamming_distances(*self.arguments)

    def peakmem_auto(self, size):
        hamming_distances(*self.arguments)

    def track_ratio_to_oaconvolve_float32(self, size):
        from scipy.signal import oaconvolve

        return ratio(
            lambda: hamming_distances(*self.arguments),
            lambda: convolutions(oaconvolve, np.float32, *self.arguments),
        )

    def track_ratio_to_fftconvolve(self, size):
        from scipy.signal import fftconvolve

        return ratio(
            lambda: hamming_distances(*self.arguments),
            lambda: convolutions(fftconvolve, np.float64, *self.arguments),
        )

    def track_compares_per_second_of_direct(self, size):
        (seconds,) = median_seconds(
            [lambda: hamming_distances(*self.arguments, method="direct")], SECONDS
        )
        return (N - size[0] + 1) * size[0] / seconds


class Choice:
    """Time of the choice by that of the best single way, among those expected to take at most ten
    times its own estimate."""

    param_names, params = ["m, sigma"], [CHOICES]
    timeout = 300

    def track_factor_of_the_best(self, size):
        arguments = call(*size)
        costs = alphabet_profile(*arguments).costs
        methods = [name for name, cost in costs.items() if cost < 10 * min(costs.values())]
        calls = [
            lambda name=name: hamming_distances(*arguments, method=name)
            for name in ("auto", *methods)
        ]
        auto, *single = median_seconds(calls, SECONDS)
        return auto / min(single)


class Within:
    param_names, params = ["k"], [[0, 8, 64]]

    def setup(self, k):
        self.text, self.pattern = call(1024, 4)
        for at in range(0, N - 1024, 1 << 16):
            self.text[at : at + 1024] = self.pattern
        hamming_within(self.text, self.pattern, k)

    def time_early_exit(self, k):
        hamming_within(self.text, self.pattern, k)

    def track_ratio_to_all_distances(self, k):
        return ratio(
            lambda: hamming_within(self.text, self.pattern, k),
            lambda: hamming_within(self.text, self.pattern, k, method="direct"),
        )


class Approximate:
    """Two projections onto 8 buckets beside the exact distances."""

    param_names, params = ["sigma"], [[64, 256, 1000]]
    timeout = 300

    def setup(self, sigma):
        self.arguments = call(1 << 16, sigma)

    def time_projection(self, sigma):
        hamming_distances_approx(*self.arguments, 0.25, failure=None, method="projection", rng=0)

    def track_ratio_to_exact(self, sigma):
        return ratio(
            lambda: hamming_distances_approx(*self.arguments, 0.25, failure=None, rng=0),
            lambda: hamming_distances(*self.arguments),
        )


class Growth:
    def track_growth_with_n(self):
        """Time for 2^20 symbols by that for 2^17, over 8."""
        text, pattern = call(1024, 4)
        calls = [
            lambda: hamming_distances(text[: N // 8], pattern),
            lambda: hamming_distances(text, pattern),
        ]
        small, large = median_seconds(calls, SECONDS)
        return large / small / 8
