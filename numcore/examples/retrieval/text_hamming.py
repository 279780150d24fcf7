"""Example calls of Hamming distances: DNA-like texts, and the pixels of the digits. The references
compare every window as it is."""

import numpy as np

from .. import Example

M = 5


def _call(rng, dtype, n=300, letters=4):
    text = rng.integers(0, letters, n + M).astype(dtype)
    return {"text": text, "pattern": rng.integers(0, letters, M).astype(dtype)}


def _bounded(rng, dtype, n=300):
    return _call(rng, dtype, n) | {"k": 2}


def _approximate(rng, dtype, n=300):
    return _call(rng, dtype, n) | {"eps": 0.5, "rng": 0}


def _digits(dtype):
    """The pixels of all digits, 17 gray levels, and those of one of them and its neighbors."""
    from sklearn.datasets import load_digits

    text = load_digits().data.ravel().astype(dtype)
    return {"text": text, "pattern": text[6400 : 6400 + 256].copy()}


def distances(text, pattern):
    """Mismatches of every window: one comparison of the whole text for each symbol of the
    pattern."""
    windows = len(text) - len(pattern) + 1
    result = np.zeros(windows, np.int32)
    for j, symbol in enumerate(pattern):
        result += text[j : j + windows] != symbol
    return result


def _strided(text, pattern):
    windows = np.lib.stride_tricks.sliding_window_view(text, len(pattern))
    return (windows != pattern).sum(axis=1).astype(np.int32)


def _within(text, pattern, k):
    found = distances(text, pattern)
    return np.flatnonzero(found <= k), found[found <= k]


def _strided_within(text, pattern, k):
    found = _strided(text, pattern)
    return np.flatnonzero(found <= k), found[found <= k]


def _profile(text, pattern):
    equal = text[:, None] == pattern
    return (
        len(set(text.tolist()) & set(pattern.tolist())),
        int(equal.sum()),
        np.zeros(0, text.dtype),
    )


def _one_convolution_per_letter(text, pattern):
    from scipy.signal import fftconvolve

    matches = sum(
        fftconvolve((text == c).astype(float), (pattern[::-1] == c).astype(float), "valid")
        for c in np.unique(pattern)
    )
    return (len(pattern) - np.rint(matches)).astype(np.int32)


def _approximate_peer(text, pattern, eps, rng):
    return _one_convolution_per_letter(text, pattern)


OPTIONS = {
    "arrays": ("text", "pattern"),
    "bound": {"uint8": 0, "int64": 0},
    "error": "equal",
    "data": "pixels of the digits images",
    "nan": "ignore",
    "dtypes": ("uint8", "int64"),
    "also": ("int64",),
}

EXAMPLES = {
    "hamming_distances": Example(
        _call,
        reference=distances,
        real=_digits,
        sizes=_call,
        peer=("scipy.signal.fftconvolve for each letter", _one_convolution_per_letter),
        **OPTIONS,
    ),
    "hamming_within": Example(
        _bounded,
        reference=_within,
        real=lambda dtype: _digits(dtype) | {"k": 20},
        sizes=_bounded,
        peer=("numpy.lib.stride_tricks.sliding_window_view", _strided_within),
        **OPTIONS,
    ),
    "hamming_distances_approx": Example(
        _approximate,
        reference=lambda text, pattern, eps, rng: distances(text, pattern),
        sizes=_approximate,
        real=lambda dtype: _digits(dtype) | {"eps": 0.25, "rng": 0},
        result=lambda r: r.lower,
        peer=("scipy.signal.fftconvolve for each letter", _approximate_peer),
        **OPTIONS,
    ),
    "alphabet_profile": Example(
        _call, reference=_profile, sizes=_call, result=lambda r: r[:3], **OPTIONS
    ),
}


def _windowed(rng, variant, size, width=5):
    """`size` jobs of five windows each in one row; a pattern of more than one chunk where that is
    cheap."""
    m = 300 if size <= 7 else 9
    dtype, w = variant.get("CODE", "uint32"), width * size
    text = rng.integers(0, 3, (1, w + m - 1)).astype(dtype)
    first = np.arange(size) * width
    jobs = np.stack([np.zeros(size, np.int64), first, first + width], axis=1)
    return text, rng.integers(0, 3, m).astype(dtype), jobs, np.full((1, w), m, np.int32)


def _bounded_kernel(rng, variant, size):
    text, pattern, jobs, distances = _windowed(rng, variant, size)
    return [text, pattern, jobs, distances, 3 * len(pattern) // 5]


def _pairs_kernel(rng, variant, size):
    text, pattern, jobs, distances = _windowed(rng, variant, size)
    ends = np.cumsum(np.bincount(pattern, minlength=3))
    bounds = np.stack([np.append(0, ends[:-1]), ends], axis=1)
    return [text, bounds, np.argsort(pattern, kind="stable"), jobs, distances]


KERNELS = {
    "direct_distances": lambda rng, variant, size: list(_windowed(rng, variant, size)),
    "bounded_distances": _bounded_kernel,
    "distances_by_pairs": _pairs_kernel,
}
