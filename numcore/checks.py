"""Checks of options that many routines share: each returns the option, or raises an error that
names it, the constraint and the value."""

import math
import operator

import numpy as np

__all__ = ["checked_bool", "checked_choice", "checked_count", "checked_number"]


def checked_number(name, value, *, above=None, least=None, below=None, most=None):
    """A real number as a float; NaN and infinities are refused.

    Parameters
    ----------
    name : str
        Of the option, for the message.
    value : object
    above, least, below, most : float, optional
        above < value, least <= value, value < below, value <= most.

    Raises
    ------
    TypeError
        `value` is no real number.
    ValueError
        It does not keep the constraint.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} must be a number (got {value!r:.80})")
    number = float(value)
    kept = (
        math.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not kept:
        raise ValueError(
            f"{name} must satisfy {_constraint(name, above, least, below, most)} (got {value})"
        )
    return number


def checked_count(name, value, *, least=0, most=None):
    """An integer as an int, at least `least` and at most `most`; errors as for `checked_number`."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer (got {value!r:.80})")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer (got {value!r:.80})") from None
    if value < least or most is not None and value > most:
        raise ValueError(
            f"{name} must satisfy {_constraint(name, None, least, None, most)} (got {value})"
        )
    return value


def checked_bool(name, value):
    """True or False, else a TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False (got {value!r:.80})")
    return bool(value)


def checked_choice(name, value, choices):
    """One of `choices`, which are texts or None; else an error that lists them, a TypeError for
    what is no text."""
    if not isinstance(value, (str, type(None))) or value not in choices:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{name} must be one of {', '.join(map(str, choices))} (got {value!r:.80})")
    return value


def _constraint(name, above, least, below, most):
    """``0 < name <= 1``, ``name >= 2``, or that it is finite where there is no bound."""
    right = f" < {below}" if below is not None else f" <= {most}" if most is not None else ""
    if not right and (above is not None or least is not None):
        return f"{name} > {above}" if above is not None else f"{name} >= {least}"
    left = f"{above} < " if above is not None else f"{least} <= " if least is not None else ""
    return f"{left}{name}{right}" if right else f"-inf < {name} < inf"
