"""Text and pattern as codes."""

from typing import Any, NamedTuple

import numpy as np

from ...dispatch import namespace_of

MAX_SYMBOLS = 2**31 - 1  # of a pattern: distances are int32


class Symbols(NamedTuple):
    """Text (b, n) and pattern (m,) as codes of one unsigned dtype, and the letters, ascending, that
    the codes stand for."""

    xp: Any
    text: Any
    pattern: Any
    letters: Any
    flat: bool

    @property
    def windows(self):
        return self.text.shape[1] - len(self.pattern) + 1

    def shaped(self, result):
        return result[0] if self.flat else result


def as_symbols(text, pattern):
    """Text and pattern, checked, as codes: bytes stay what they are, wider symbols are numbered."""
    kinds = [
        str if isinstance(s, str) else bytes if isinstance(s, bytes) else "array"
        for s in (text, pattern)
    ]
    if kinds[0] is not kinds[1]:
        raise TypeError(
            f"text and pattern must both be str, bytes or arrays (got text {type(text).__name__}, "
            f"pattern {type(pattern).__name__})"
        )
    if kinds[0] is str:
        text, pattern = of_texts(text, pattern)
    elif kinds[0] is bytes:
        text, pattern = np.frombuffer(text, np.uint8), np.frombuffer(pattern, np.uint8)
    xp = namespace_of(text)
    n, m = text.shape[-1], len(pattern)
    if not 1 <= m <= min(n, MAX_SYMBOLS):
        raise ValueError(f"pattern must have 1 to n symbols with n = {n}, < 2^31 (got {m})")
    common = np.result_type(text.dtype, pattern.dtype)
    if common.kind not in "iu":
        raise TypeError(
            f"text and pattern must be integers of a common dtype (got text {text.dtype}, "
            f"pattern {pattern.dtype})"
        )
    flat = text.ndim == 1
    text, pattern = (xp.ascontiguousarray(a.astype(common, copy=False)) for a in (text, pattern))
    symbols = Symbols(xp, text[None] if flat else text, pattern, None, flat)
    if common.itemsize > 1:
        return with_dense_codes(symbols)
    return symbols._replace(
        text=symbols.text.view(np.uint8),
        pattern=pattern.view(np.uint8),
        letters=xp.arange(256).astype(np.uint8).view(common),
    )


def of_texts(text, pattern):
    """The code points of two strings, as bytes if they are that small."""
    encoding, dtype = (
        ("ascii", np.uint8)
        if text.isascii() and pattern.isascii()
        else ("utf-32-le", np.dtype("<u4"))
    )
    return (np.frombuffer(s.encode(encoding, "surrogatepass"), dtype) for s in (text, pattern))


def code_dtype(most):
    return np.uint8 if most <= 255 else np.uint16 if most <= 65535 else np.uint32


def with_dense_codes(symbols):
    """The letters of the pattern numbered from 0, ascending; symbols that the pattern lacks get the
    next number."""
    xp = symbols.xp
    letters = xp.unique(symbols.pattern)
    count, low, high = len(letters), int(letters[0]), int(letters[-1])
    dtype = code_dtype(count)
    if high - low < max(1 << 16, symbols.text.size):
        codes = [
            by_table(xp, a, letters, low, high, dtype) for a in (symbols.text, symbols.pattern)
        ]
    else:
        codes = [by_search(xp, a, letters, dtype) for a in (symbols.text, symbols.pattern)]
    kept = letters if symbols.letters is None else symbols.letters[letters]
    return symbols._replace(text=codes[0], pattern=codes[1], letters=kept)


def by_table(xp, array, letters, low, high, dtype):
    table = xp.full(high - low + 2, len(letters), dtype)
    # differences of narrow symbols may not fit into their dtype
    wide = np.int64 if array.dtype.itemsize < 8 else array.dtype
    table[(letters.astype(wide) - low).astype(np.int64)] = xp.arange(len(letters)).astype(dtype)
    inside = (array >= low) & (array <= high)
    return table[xp.where(inside, array.astype(wide) - low, high - low + 1).astype(np.int64)]


def by_search(xp, array, letters, dtype):
    at = xp.minimum(xp.searchsorted(letters, array), len(letters) - 1)
    return xp.where(letters[at] == array, at, len(letters)).astype(dtype)
