"""Checks of options that several modules of the room share."""

import math

import numpy as np


def checked_number(name, value, low, high, *, open_below=False, open_above=False):
    """A real number within [low, high] as a float; an end that is open, or infinite, is left out."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number (got {value!r})")
    above = value > low if open_below else value >= low
    below = value < high if open_above or math.isinf(high) else value <= high
    if not (above and below):
        text = f"{low} {'<' if open_below else '<='} {name}"
        if math.isfinite(high):
            text += f" {'<' if open_above else '<='} {high}"
        raise ValueError(f"{name} must satisfy {text} and be finite (got {name}={value!r})")
    return float(value)
