"""Kernels of mining: neighbors down columns, cosines of pairs, a greedy choice, records by key."""

import math

import numpy as np

from ...kernel import kernel
from .._inverted_file import LANES, closeness
from .._topk import GROUP, LARGEST_SQUARE, LEAST_SQUARE, replace_worst

FREE = 2**63 - 1  # no pair has taken a row


# --- neighbors and pairs --------------------------------------------------------------------------


@kernel(
    "in T scores[n, b]; inout T best[b, k]; inout int64 at[b, k]; int64 first; "
    "scratch T least[GROUP]",
    constants=("GROUP",),
    split="b",
)
def scan_columns(scores, best, at, first, least, start, stop):
    """As `scan_rows` down the columns; the rows of scores are those of the other side from `first`
    on."""
    for g in range((stop - start + GROUP - 1) // GROUP):
        low = np.uintp(start + GROUP * g)
        width = min(np.uintp(GROUP), np.uintp(stop) - low)
        for c in range(width):
            least[c] = best[low + c, 0]
        for i in range(scores.shape[0]):
            row = scores[i]
            found = False
            if width == np.uintp(GROUP):
                for c in range(np.uintp(GROUP)):
                    found |= row[low + c] > least[c]
            else:
                for c in range(width):
                    found |= row[low + c] > least[c]
            if found:
                for c in range(width):
                    if row[low + c] > least[c]:
                        replace_worst(best[low + c], at[low + c], row[low + c], first + i)
                        least[c] = best[low + c, 0]


def cosine(x, y, scale_x, scale_y):
    """Of the rows divided by their scales; NaN where squares leave the range of float64."""
    xx, yy, xy = 0.0, 0.0, 0.0
    for j in range(np.uintp(x.size)):
        a, b = np.float64(x[j]) / scale_x, np.float64(y[j]) / scale_y
        xx += a * a
        yy += b * b
        xy += a * b
    inside = LEAST_SQUARE < xx < LARGEST_SQUARE and LEAST_SQUARE < yy < LARGEST_SQUARE
    return xy / (math.sqrt(xx) * math.sqrt(yy)) if inside else math.nan


def largest(row):
    most = 0.0
    for j in range(row.size):
        most = max(most, abs(np.float64(row[j])))
    return most


@kernel(
    "in T source[n, d]; in T target[m, d]; in int64 rows[p]; in int64 columns[p]; out T result[p]",
    constants=("LEAST_SQUARE", "LARGEST_SQUARE"),
    split="p",
    gpu="warp",
)
def cosines_of(source, target, rows, columns, result, start, stop):
    """Of pairs of rows that are not zero."""
    for p in range(start, stop):
        x, y = source[np.uintp(rows[p])], target[np.uintp(columns[p])]
        value = cosine(x, y, 1.0, 1.0)
        if value != value:
            value = cosine(x, y, largest(x), largest(y))
        result[p] = value


@kernel(
    "in int64 rows[g, p]; in int64 columns[g, p]; inout int64 row_taken[g, n]; "
    "inout int64 column_taken[g, m]; out uint8 taken[g, p]",
    constants=("FREE",),
    split="g",
    gpu="block",
    threads=1024,
)
def take_greedily(rows, columns, row_taken, column_taken, taken, start, stop):
    """Pairs in their order, each whose ends are still FREE; these then hold its place."""
    for g in range(start, stop):
        for p in range(rows.shape[1]):
            i, j = np.uintp(rows[g, p]), np.uintp(columns[g, p])
            taken[g, p] = row_taken[g, i] == FREE and column_taken[g, j] == FREE
            if taken[g, p]:
                row_taken[g, i] = column_taken[g, j] = p


@kernel(
    "in T rows[n, d]; in T others[m, d]; in int64 begins[n]; in int64 ends[n]; "
    "out int64 nearest[n]; out T score[n]; "
    "scratch T lanes[LANES]",
    constants={"LANES": LANES},
    split="n",
    gpu="warp",
)
def nearest_of_range(rows, others, begins, ends, nearest, score, lanes, start, stop):
    """The largest product with one of the rows begins[i] to ends[i] of the others; -1 and minus
    infinity if there are none."""
    for i in range(start, stop):
        nearest[i], score[i] = -1, -np.inf
        for j in range(np.uintp(begins[i]), np.uintp(ends[i])):
            product = closeness(rows[i], others[j], lanes, 0)
            if product > score[i]:
                nearest[i], score[i] = j, product


# --- records by key -------------------------------------------------------------------------------


@kernel("in int64 keys[n]; inout int64 counts[g, d]; int64 shift", split="g", gpu="warp")
def count_digits(keys, counts, shift, start, stop):
    """How often each digit, of d = 2^bits, occurs in each of g ranges of the keys."""
    size, mask = -(-keys.size // counts.shape[0]), np.int64(counts.shape[1] - 1)
    for g in range(start, stop):
        for i in range(np.uintp(g * size), np.uintp(min((g + 1) * size, keys.size))):
            counts[g, np.uintp(keys[i] >> shift & mask)] += 1


@kernel(
    "in int64 keys[n]; in int64 values[n]; in T scores[n]; inout int64 places[g, d]; "
    "inout int64 new_keys[n]; "
    "inout int64 new_values[n]; inout T new_scores[n]; int64 shift",
    split="g",
    gpu="warp",
)
def move_by_digit(
    keys, values, scores, places, new_keys, new_values, new_scores, shift, start, stop
):
    """Each to the next place of its digit and range, in the order of the keys."""
    size, mask = -(-keys.size // places.shape[0]), np.int64(places.shape[1] - 1)
    for g in range(start, stop):
        for i in range(np.uintp(g * size), np.uintp(min((g + 1) * size, keys.size))):
            digit = np.uintp(keys[i] >> shift & mask)
            at = np.uintp(places[g, digit])
            places[g, digit] += 1
            new_keys[at], new_values[at], new_scores[at] = keys[i], values[i], scores[i]


@kernel("in int64 keys[n]; in T scores[n]; out int64 best[n]", split="n")
def best_of_equal(keys, scores, best, start, stop):
    """At the first of equal keys, which stand together, the place of the best score, the first one
    of equal ones; -1 elsewhere."""
    for i in range(start, stop):
        mine = i
        if i and keys[i] == keys[i - 1]:
            mine = -1
        else:
            for e in range(i + 1, keys.size):
                if keys[e] != keys[i]:
                    break
                mine = e if scores[e] > scores[mine] else mine
        best[i] = mine


@kernel("in int64 keys[p]; in int64 others[q]; out int64 begins[p]; out int64 counts[p]", split="p")
def partners(keys, others, begins, counts, start, stop):
    """Where the other side has each key, and how often; both sides ascend."""
    low, high = np.uintp(0), np.uintp(others.size)
    while low < high:
        middle = (low + high) // np.uintp(2)
        if others[middle] < keys[start]:
            low = middle + np.uintp(1)
        else:
            high = middle
    for i in range(start, stop):
        if i > start and keys[i] == keys[i - 1]:
            begins[i], counts[i] = begins[i - 1], counts[i - 1]
            continue
        while low < others.size and others[low] < keys[i]:
            low += np.uintp(1)
        begins[i] = low
        while low < others.size and others[low] == keys[i]:
            low += np.uintp(1)
        counts[i] = np.int64(low) - begins[i]


@kernel(
    "in int64 keys[p]; in int64 first[p]; in T first_score[p]; in int64 begins[p]; "
    "in int64 counts[p]; in int64 ends[p]; "
    "in int64 second[q]; in T second_score[q]; inout int64 pairs[z]; inout int64 pivot[z]; "
    "inout T score[z]; int64 bits",
    split="p",
)
def join_sides(
    keys,
    first,
    first_score,
    begins,
    counts,
    ends,
    second,
    second_score,
    pairs,
    pivot,
    score,
    bits,
    start,
    stop,
):
    """Each sentence of the first side with its partners, up to place ends[i]; both become one
    number."""
    for i in range(start, stop):
        if counts[i]:
            at = np.uintp(ends[i] - counts[i])
            for e in range(np.uintp(begins[i]), np.uintp(begins[i] + counts[i])):
                pairs[at], pivot[at] = first[i] << bits | second[e], keys[i]
                score[at] = min(first_score[i], second_score[e])
                at += np.uintp(1)
