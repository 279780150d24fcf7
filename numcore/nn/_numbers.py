"""Checks of arguments that are numbers or words."""

import math
import operator

import numpy as np


def checked_number(name, value):
    """A float; TypeError for what is no real number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number (got {value!r})")
    return float(value)


def checked_positive(name, value):
    """A float in (0, inf)."""
    number = checked_number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must satisfy 0 < {name} < inf (got {name}={value})")
    return number


def checked_count(name, value, least):
    """An int of at least `least`."""
    try:
        count = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"{name} must be an integer (got {value!r})")
    if count < least:
        raise ValueError(f"{name} must satisfy {name} >= {least} (got {name}={count})")
    return count


def checked_choice(name, value, choices):
    """One of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))} (got {value!r})")
    return value
