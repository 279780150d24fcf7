"""Hamming distances by their definition."""

import numpy as np


def distances(text, pattern):
    """Mismatches of every window: one comparison of the whole text for each symbol of the
    pattern."""
    windows = len(text) - len(pattern) + 1
    result = np.zeros(windows, np.int64)
    for j, symbol in enumerate(pattern):
        result += text[j : j + windows] != symbol
    return result
