"""Kernels of linking: grams that names share, distances of candidates, and products of stochastic
matrices."""

import numpy as np

from ...kernel import kernel
from ...simd import popcount
from .._strings.kernels import jaro_pair
from .names import HOST_ONLY


@kernel(
    "in int64 offsets[c+1]; in int64 grams[x]; in int64 postings[u]; in int64 strings[y]; "
    "out uint16 shared[c, nr]; in int64 sizes[c]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def count_shared_grams(offsets, grams, postings, strings, shared, sizes, start, stop):
    """How many grams of each left string each right string has, 65535 at most; the sizes are the
    numbers of its grams."""
    for i in range(start, stop):
        row = shared[i]
        row[:] = 0
        for e in range(np.uintp(offsets[i]), np.uintp(offsets[i] + sizes[i])):
            for at in range(np.uintp(postings[grams[e]]), np.uintp(postings[grams[e] + 1])):
                j = np.uintp(strings[at])
                row[j] += np.uint16(row[j] < np.uint16(65535))


@kernel(
    "inout uint16 shared[c, nr]; in uint16 need[c]; in uint16 common[c, nr]; in float32 sizes[c]; "
    "in float32 right_sizes[nr]; "
    "out int64 enough[c]; float32 similarity",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def count_candidates(shared, need, common, sizes, right_sizes, enough, similarity, start, stop):
    """How many right strings have enough shared grams; those with fewer than similarity / (1 +
    similarity) common ones lose them."""
    one, most = np.float32(1), np.uint16(65535)  # to which they are counted
    for i in range(start, stop):
        least, count = need[i], np.int64(0)
        for j in range(shared.shape[1]):
            near = (
                np.float32(common[i, j]) * (one + similarity)
                >= similarity * (sizes[i] + right_sizes[j])
            ) | (common[i, j] == most)
            shared[i, j] = shared[i, j] if near else np.uint16(0)
            count += shared[i, j] >= least
        enough[i] = count


@kernel(
    "in uint16 shared[c, nr]; in uint16 need[c]; in int64 starts[c+1]; inout int64 found[f]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def list_candidates(shared, need, starts, found, start, stop):
    for i in range(start, stop):
        row, at, base = shared[i], starts[i], 0
        while base < len(row):  # most stretches of 64 have none
            end, largest = min(base + 64, len(row)), np.uint16(0)
            for j in range(base, end):
                largest = max(largest, row[j])
            if largest >= need[i]:
                for j in range(base, end):
                    if row[j] >= need[i]:
                        found[at] = j
                        at += 1
            base = end


@kernel(
    "in int64 rows[c]; in int64 offsets[nl]; in int32 grams[x]; in int64 rare[n]; "
    "in uint64 signatures[n]; in int64 postings[u]; "
    "in int32 strings[z]; in int32 posted_sizes[z]; in uint64 posted_signatures[z]; "
    "in int64 right_offsets[nr]; "
    "in int32 right_grams[y]; inout int32 found[c, room]; out int64 counts[c]; float64 similarity; "
    "scratch uint8 mine[u]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def near_by_rare_grams(
    rows,
    offsets,
    grams,
    rare,
    signatures,
    postings,
    strings,
    posted_sizes,
    posted_signatures,
    right_offsets,
    right_grams,
    found,
    counts,
    similarity,
    mine,
    start,
    stop,
):
    """Right strings whose sets of grams are similar enough: as many as there is room for, and how
    many there are. Sets that differ in d grams have signatures that differ in d bits at most. A
    pair counts where its rarest common gram finds it."""
    mine[:] = 0
    share, spread = similarity / (1 + similarity), (1 - similarity) / (1 + similarity)
    for k in range(start, stop):
        i, count = rows[k], np.int64(0)
        first, last = np.uintp(offsets[i]), np.uintp(offsets[i + 1])
        size, signature = np.int64(last - first), signatures[i]
        for e in range(first, last):
            mine[np.uintp(grams[e])] = 1
        for e in range(first, first + np.uintp(rare[i])):
            gram = grams[e]
            for at in range(np.uintp(postings[gram]), np.uintp(postings[gram + 1])):
                both = np.float64(size + posted_sizes[at])
                if (
                    np.float64(np.int64(popcount(signature ^ posted_signatures[at])))
                    <= spread * both
                ):
                    j = strings[at]
                    f, end = np.uintp(right_offsets[j]), np.uintp(right_offsets[j + 1])
                    while mine[np.uintp(right_grams[f])] == 0:
                        f += np.uintp(1)
                    if right_grams[f] == gram:
                        common = np.int64(0)
                        while f < end:
                            common += mine[np.uintp(right_grams[f])]
                            f += np.uintp(1)
                        if np.float64(common) >= share * both:
                            if count < found.shape[1]:
                                found[k, count] = j
                            count += 1
        for e in range(first, last):
            mine[np.uintp(grams[e])] = 0
        counts[k] = count


@kernel(
    "in int64 offsets[nl]; in int64 grams[x]; in int64 right_offsets[nr]; in int64 right_grams[y]; "
    "in int64 rows[c]; in int64 cols[c]; "
    "out int64 common[c]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
)
def pair_common_grams(offsets, grams, right_offsets, right_grams, rows, cols, common, start, stop):
    for k in range(start, stop):
        a, a_end = np.uintp(offsets[rows[k]]), np.uintp(offsets[rows[k] + 1])
        b, b_end = np.uintp(right_offsets[cols[k]]), np.uintp(right_offsets[cols[k] + 1])
        count = np.int64(0)
        while a < a_end and b < b_end:
            x, y = grams[a], right_grams[b]
            count += x == y
            a += np.uintp(x <= y)
            b += np.uintp(y <= x)
        common[k] = count


LETTERS = (
    "in uint32 left[t]; in int64 left_offsets[nl]; in uint32 right[r]; in int64 right_offsets[nr]; "
    "in int64 rows[c]; "
    "in int64 cols[c]; inout int32 work[c, w]; out float64 distance[c]"
)


@kernel(LETTERS, split="c", gpu=None, host_only=HOST_ONLY, grain="16")
def pair_osa(left, left_offsets, right, right_offsets, rows, cols, work, distance, start, stop):
    """The edit distance with swaps of neighbors by its table, of which three rows are kept."""
    for k in range(start, stop):
        a, b = left_offsets[rows[k]], right_offsets[cols[k]]
        m, n = left_offsets[rows[k] + 1] - a, right_offsets[cols[k] + 1] - b
        row = work[k]
        for j in range(n + 1):
            row[j] = j
        for i in range(1, m + 1):
            now, above, before = (i % 3) * (n + 1), ((i + 2) % 3) * (n + 1), ((i + 1) % 3) * (n + 1)
            row[now] = i
            for j in range(1, n + 1):
                differ = left[a + i - 1] != right[b + j - 1]
                best = min(min(row[above + j], row[now + j - 1]) + 1, row[above + j - 1] + differ)
                if (
                    i > 1
                    and j > 1
                    and left[a + i - 1] == right[b + j - 2]
                    and left[a + i - 2] == right[b + j - 1]
                ):
                    best = min(best, row[before + j - 2] + 1)
                row[now + j] = best
        distance[k] = row[(m % 3) * (n + 1) + n]


@kernel(LETTERS, split="c", gpu=None, host_only=HOST_ONLY, grain="16")
def pair_jaro_winkler(
    left, left_offsets, right, right_offsets, rows, cols, work, distance, start, stop
):
    for k in range(start, stop):
        i, j = rows[k], cols[k]
        distance[k] = 1 - jaro_pair(
            left,
            left_offsets[i],
            left_offsets[i + 1] - left_offsets[i],
            right,
            right_offsets[j],
            right_offsets[j + 1] - right_offsets[j],
            work[k],
            0.1,
        )


@kernel(
    "in int64 rows[c]; in int64 outer_indptr[m]; in int64 outer_indices[x]; "
    "in float64 outer_data[x]; in int64 inner_indptr[p]; "
    "in int64 inner_indices[y]; in float64 inner_data[y]; inout int64 indices[c, room]; "
    "inout float64 data[c, room]; "
    "out int64 counts[c]; out float64 chaos[c]; float64 inflation; float64 prune; "
    "scratch float64 sums[m]; scratch int64 found[m]",
    split="c",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def stochastic_product(
    rows,
    outer_indptr,
    outer_indices,
    outer_data,
    inner_indptr,
    inner_indices,
    inner_data,
    indices,
    data,
    counts,
    chaos,
    inflation,
    prune,
    sums,
    found,
    start,
    stop,
):
    """Rows of a square product of sparse matrices without negative entries, to a power, pruned,
    divided by their sums. A row with more entries than there is room for is zero, and its count
    room + 1."""
    room = np.uintp(data.shape[1])
    sums[:] = 0
    for k in range(start, stop):
        count = np.uintp(0)
        for e in range(np.uintp(outer_indptr[rows[k]]), np.uintp(outer_indptr[rows[k] + 1])):
            middle, weight = outer_indices[e], outer_data[e]
            for f in range(np.uintp(inner_indptr[middle]), np.uintp(inner_indptr[middle + 1])):
                j, value = np.uintp(inner_indices[f]), weight * inner_data[f]
                if value > 0:
                    so_far = sums[j]
                    if so_far == 0:
                        found[count] = j
                        count += np.uintp(1)
                    sums[j] = so_far + value
        if count > room:
            for at in range(count):
                sums[np.uintp(found[at])] = 0
            indices[k], data[k], counts[k], chaos[k] = 0, 0.0, room + np.uintp(1), 0.0
            continue
        total, largest = 0.0, 0.0
        for at in range(count):
            j = np.uintp(found[at])
            value = sums[j] * sums[j] if inflation == 2 else sums[j] ** inflation
            sums[j] = 0
            indices[k, at], data[k, at] = j, value
            total += value
            largest = max(largest, value)
        kept, kept_total = np.uintp(0), 0.0
        for at in range(count):
            value = data[k, at]
            if value > 0 and (value >= prune * total or value == largest):
                indices[k, kept], data[k, kept] = indices[k, at], value
                kept_total += value
                kept += np.uintp(1)
        squares = 0.0
        for at in range(kept):
            data[k, at] /= kept_total
            squares += data[k, at] * data[k, at]
        counts[k] = kept
        chaos[k] = largest / kept_total - squares if kept else 0.0
