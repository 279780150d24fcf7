"""Names in one spelling."""

import unicodedata

import numpy as np

from ...dispatch import routine
from .._strings.packing import Strings

HOST_ONLY = "names live on the host"


@routine(host_only=HOST_ONLY)
def normalize_names(
    names: Strings,
    *,
    lower: bool = True,
    strip_punctuation: bool = True,
    collapse_spaces: bool = True,
) -> list[str]:
    """Names in one spelling: lower case, without punctuation, single blanks.

    Parameters
    ----------
    names : sequence of str
    lower : bool, default True
    strip_punctuation : bool, default True
        Remove every character of the Unicode categories P*.
    collapse_spaces : bool, default True
        Make every run of white space one blank, and none at the ends. This is done last, so that "a
        & b" has one blank.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        An item is not a string; the message says which.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> normalize_names(["  Procter &  Gamble, Inc. "])
    ['procter gamble inc']
    """
    return normalized(names, lower, strip_punctuation, collapse_spaces)


def normalized(names, lower=True, strip_punctuation=True, collapse_spaces=True):
    """As `normalize_names`, of a list of strings."""
    if lower:
        names = [name.lower() for name in names]
    if strip_punctuation:
        marks = {
            ord(c): None for c in set().union(*names) if unicodedata.category(c).startswith("P")
        }
        names = [name.translate(marks) for name in names] if marks else names
    return [" ".join(name.split()) for name in names] if collapse_spaces else list(names)


def unique_names(names):
    """The different normalized names, and for each name its place among them."""
    place, at = {}, []
    for item in normalized(names):
        at.append(place.setdefault(item, len(place)))
    return list(place), np.array(at, np.int64)
