"""The matches of some letters by convolutions: blocks of the text and the pattern, by
overlap-save."""

import math

import numpy as np

from ... import _pool

SPAN = 1 << 22  # symbols whose spectra are held at a time
CACHED = 1 << 17  # symbols that are transformed together
LETTERS_AT_ONCE = 16  # spectra of the pattern that are held at a time


def subtract_convolutions(symbols, letters, distances):
    """Subtract the matches of some letters: correlations of blocks of the text with the pattern, by
    overlap-save."""
    xp = symbols.xp
    length, step, dtype = transform_plan(symbols)
    in_row = -(-symbols.windows // step)
    blocks = len(symbols.text) * in_row
    rows = rows_of(xp, dtype)
    at_once = max(rows, (CACHED if xp is np else SPAN) // length // rows * rows)
    span = max(1, SPAN // length // at_once) * at_once
    for first in range(0, blocks, span):
        groups = [
            range(b, min(b + at_once, first + span, blocks))
            for b in range(first, min(first + span, blocks), at_once)
        ]
        Convolution(symbols, letters, distances, groups, length, step, in_row, dtype).run()


class Convolution:
    """The correlations of groups of blocks with the pattern, for all letters."""

    def __init__(self, symbols, letters, distances, groups, length, step, in_row, dtype):
        self.symbols, self.letters = symbols, letters
        self.distances, self.groups = distances, groups
        self.length, self.step, self.in_row, self.dtype = length, step, in_row, dtype
        self.rfft, self.irfft = transforms(symbols.xp)
        self.spectra = [0] * len(groups)

    def run(self):
        rows = rows_of(self.symbols.xp, self.dtype)
        for at in range(0, len(self.letters), LETTERS_AT_ONCE):
            some = self.letters[at : at + LETTERS_AT_ONCE]
            parts = [some[k : k + rows] for k in range(0, len(some), rows)]
            patterns = [None] * len(parts)
            self.each(
                len(parts),
                lambda k, parts=parts, patterns=patterns: self.transform_pattern(
                    k, parts[k], patterns
                ),
            )
            spectra = [row for part in patterns for row in part]
            self.each(
                len(self.groups),
                lambda g, some=some, spectra=spectra: self.add_letters(g, some, spectra),
            )
        self.each(len(self.groups), self.finish)

    def each(self, count, task):
        if self.symbols.xp is np:
            _pool.run(task, count)
        else:
            for k in range(count):
                task(k)

    def transform_pattern(self, k, letters, patterns):
        codes = self.symbols.pattern
        indicators = self.symbols.xp.stack([codes == int(c) for c in letters]).astype(self.dtype)
        patterns[k] = self.rfft(indicators, self.length, axis=1).conj()

    def segments(self, group):
        """The text of each block; what lies behind its end takes part in no window."""
        text = self.symbols.text
        codes = self.symbols.xp.zeros((len(group), self.length), text.dtype)
        for i, block in enumerate(group):
            row, first = block // self.in_row, block % self.in_row * self.step
            part = text[row, first : first + self.length]
            codes[i, : len(part)] = part
        return codes

    def add_letters(self, g, letters, patterns):
        codes = self.segments(self.groups[g])
        for c, pattern in zip(letters, patterns, strict=True):
            spectra = self.rfft((codes == int(c)).astype(self.dtype), axis=1)
            spectra *= pattern
            self.spectra[g] += spectra

    def finish(self, g):
        xp = self.symbols.xp
        matches = xp.rint(self.irfft(self.spectra[g], self.length, axis=1)).astype(
            self.distances.dtype
        )
        self.spectra[g] = 0
        for i, block in enumerate(self.groups[g]):
            row, first = block // self.in_row, block % self.in_row * self.step
            part = self.distances[row, first : first + self.step]
            part -= matches[i, : len(part)]


def transform_plan(symbols):
    """Length of the transforms, windows that each gives, and the dtype in which their error stays
    below 1/4.

    Spectra of all letters are summed before one inverse transform. By Cauchy and Schwarz the norms
    of the indicators of all letters together are √length for a block and √m for the pattern; the
    error is within 4 u log2(length) times their product. Of some lengths the one that transforms
    the fewest bytes is taken.
    """
    n, m = symbols.text.shape[1], len(symbols.pattern)
    least = min(max(4 * m, 1 << 14), n)
    power = 1 << max(least - 1, 1).bit_length()
    plans = []
    for length in (
        size
        for p in (power, 2 * power)
        for size in (5 * p // 8, 3 * p // 4, p)
        if least <= size <= 2 * power
    ):
        error = 4 * 2.0**-24 * math.log2(length) * math.sqrt(length * m)
        dtype = np.float32 if error < 0.25 else np.float64
        blocks = len(symbols.text) * -(-symbols.windows // (length - m + 1))
        rows = rows_of(symbols.xp, dtype)
        plans.append((-(-blocks // rows) * rows * length * np.dtype(dtype).itemsize, length, dtype))
    _, length, dtype = min(plans, key=lambda plan: plan[0])
    return length, length - m + 1, dtype


def rows_of(xp, dtype):
    """Rows that pocketfft transforms at once, in a vector of 16 bytes."""
    return 16 // np.dtype(dtype).itemsize if xp is np else 1


def transforms(xp):
    """rfft and irfft; SciPy's are three times as fast as NumPy's in float32, and give the same
    counts."""
    if xp is np:
        try:
            from scipy.fft import irfft, rfft

            return rfft, irfft
        except ImportError:
            pass
    return xp.fft.rfft, xp.fft.irfft
