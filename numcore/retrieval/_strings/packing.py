"""Strings as arrays of code points, and how routines declare strings."""

from collections.abc import Iterable
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Int64, Kind, UInt32
from ...dispatch import routine


class PackedStrings(NamedTuple):
    """Strings as arrays: string i has the code points ``codes[offsets[i]:offsets[i + 1]]``."""

    codes: UInt32[Array, "_"]
    offsets: Int64[Array, "_"]


class StringsKind(Kind):
    """A list, a tuple, an array or another iterable of strings; bodies get a list."""

    text, noun = "sequence of str", "a sequence of strings"

    def fits(self, value):
        return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, PackedStrings))

    def convert(self, name, value, call):
        strings = value if isinstance(value, list) else list(value)
        if not {str}.issuperset(map(type, strings)):
            for i, string in enumerate(strings):
                if not isinstance(string, str):
                    raise TypeError(f"{name}[{i}] must be a string (got {string!r:.80})")
        return strings

    def unfit(self):
        return [("text", TypeError), (b"text", TypeError), (3, TypeError), (["a", 1], TypeError)]


Strings: TypeAlias = Annotated[Iterable[str], StringsKind()]


@routine(host_only="strings live on the host")
def pack_strings(strings: Strings) -> PackedStrings:
    """Strings as NumPy arrays of code points.

    Parameters
    ----------
    strings : sequence of str

    Returns
    -------
    PackedStrings

    Raises
    ------
    TypeError
        `strings` is not a sequence of str; the message names the first item that is not a string.

    References
    ----------
    The Unicode Consortium, "The Unicode Standard", section 3.9: encoding form UTF-32.

    Examples
    --------
    >>> pack_strings(["ab", "c"])
    PackedStrings(codes=array([97, 98, 99], dtype=uint32), offsets=array([0, 2, 3]))
    """
    return packed(strings)


def packed(strings):
    """A list of strings as arrays."""
    codes = np.frombuffer(
        "".join(strings).encode("utf-32-le", "surrogatepass"), np.dtype("<u4")
    ).astype(np.uint32)
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return PackedStrings(codes, offsets)
