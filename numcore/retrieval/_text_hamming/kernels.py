"""Kernels of Hamming distances: all symbols compared, windows left early, equal pairs visited."""

import numpy as np

from ...kernel import kernel

BLOCK = 8192  # windows whose counters stay in the first cache, or in shared memory
GPU_BLOCK = 1024  # windows whose counters stay in the registers of a block, 4 to a thread


@kernel(
    "in CODE text[b, n]; in CODE pattern[m]; in int64 jobs[q, 3]; inout int32 distances[b, w]; "
    "scratch CODE matches[BLOCK]",
    constants=("BLOCK", "GPU_BLOCK"),
    split="q",
    gpu="block",
    threads=GPU_BLOCK // 4,
    types={"CODE": ("uint8", "uint16", "uint32")},
    grain="1",
)
def direct_distances(text, pattern, jobs, distances, matches, start, stop):
    """Subtracts from `distances`; matches are counted in the text's own type, so that a vector of
    symbols gives a vector of counters."""
    m = len(pattern)
    most = 248 if text.itemsize == 1 else 65528  # symbols until a counter may overflow
    for q in range(start, stop):
        first, width = jobs[q, 1], jobs[q, 2] - jobs[q, 1]
        symbols = text[jobs[q, 0], first : first + width + m - 1]
        out = distances[jobs[q, 0], first : first + width]
        begin = np.int64(0)
        while begin < m:
            end = min(begin + most, m)
            count_matches(symbols, pattern, begin, end, matches, width)
            for i in range(width):
                out[i] -= np.int32(matches[i])
            begin = end


def count_matches(symbols, pattern, begin, end, matches, width):
    """matches[i] = how many of pattern[begin:end] stand at symbols[i + begin:], eight at a time."""
    for i in range(width):
        matches[i] = 0
    j = begin
    while j + 8 <= end:
        s = symbols[j : j + width + 7]
        p0, p1, p2, p3 = pattern[j], pattern[j + 1], pattern[j + 2], pattern[j + 3]
        p4, p5, p6, p7 = pattern[j + 4], pattern[j + 5], pattern[j + 6], pattern[j + 7]
        for i in range(np.uintp(width)):
            matches[i] += (
                (s[i] == p0)
                + (s[i + np.uintp(1)] == p1)
                + (s[i + np.uintp(2)] == p2)
                + (s[i + np.uintp(3)] == p3)
                + (s[i + np.uintp(4)] == p4)
                + (s[i + np.uintp(5)] == p5)
                + (s[i + np.uintp(6)] == p6)
                + (s[i + np.uintp(7)] == p7)
            )
        j += 8
    while j < end:
        s = symbols[j : j + width]
        for i in range(np.uintp(width)):
            matches[i] += s[i] == pattern[j]
        j += 1


@kernel(
    "in CODE text[b, n]; in CODE pattern[m]; in int64 jobs[q, 3]; out int32 distances[b, w]; "
    "int64 k; scratch CODE matches[BLOCK]",
    constants=("BLOCK", "GPU_BLOCK"),
    split="q",
    gpu="block",
    threads=GPU_BLOCK // 4,
    types={"CODE": ("uint8", "uint16", "uint32")},
    grain="1",
)
def bounded_distances(text, pattern, jobs, distances, k, matches, start, stop):
    """Distances up to k; k + 1 stands for all larger ones."""
    m = len(pattern)
    for q in range(start, stop):
        first, width = jobs[q, 1], jobs[q, 2] - jobs[q, 1]
        symbols = text[jobs[q, 0], first : first + width + m - 1]
        out = distances[jobs[q, 0], first : first + width]
        for i in range(width):
            out[i] = 0
        begin, left = np.int64(0), width
        while begin < m and 16 * left >= width:  # all windows together while many are left
            end = min(begin + min(2 * k + 16, np.int64(248)), m)
            count_matches(symbols, pattern, begin, end, matches, width)
            left = 0
            for i in range(width):
                out[i] += np.int32(end - begin) - np.int32(matches[i])
                left += out[i] <= k
            begin = end
        for i in range(width):
            if out[i] <= k:
                out[i] += mismatches_of_window(symbols[i : i + m], pattern, begin, k - out[i])
            out[i] = min(np.int64(out[i]), k + 1)


def mismatches_of_window(symbols, pattern, begin, most):
    """Mismatches from symbol `begin` on, 64 symbols at a time, until there are more than `most`."""
    total, m = np.int64(0), len(pattern)
    while begin < m and total <= most:
        end = min(begin + 64, m)
        s, p, unequal = symbols[begin:end], pattern[begin:end], np.int32(0)
        for j in range(len(p)):
            unequal += s[j] != p[j]
        total += unequal
        begin = end
    return total


@kernel(
    "in uint32 text[b, n]; in int64 bounds[s, 2]; in int64 places[m]; in int64 jobs[q, 3]; "
    "inout int32 distances[b, w]",
    split="q",
    gpu="block",
    grain="1",
)
def distances_by_pairs(text, bounds, places, jobs, distances, start, stop):
    """places[bounds[c, 0]:bounds[c, 1]] are the places j of letter c, ascending; every equal pair
    (i, j) takes 1 from window i - j."""
    m = len(places)
    for q in range(start, stop):
        row, first, last = jobs[q, 0], jobs[q, 1], jobs[q, 2]
        out, symbols = distances[row], text[row]
        for i in range(first, last + m - 1):
            low, high = bounds[symbols[i], 0], bounds[symbols[i], 1]
            while low < high and places[low] <= i - last:  # windows behind the job's
                low += 1
            while low < high and places[low] <= i - first:
                out[i - places[low]] -= 1
                low += 1
