"""Kernels of metrics: places of documents in lists, and what follows from them."""

import math

import numpy as np

from ...kernel import kernel

KINDS = ("mrr", "recall", "precision", "hit", "map", "r_precision", "dcg", "ndcg")
MRR, RECALL, PRECISION, HIT, MAP, R_PRECISION, DCG, NDCG = range(len(KINDS))
HASH_BITS = 12
WORDS = (1 << HASH_BITS) // 64  # of a table with a bit for each hash


@kernel(
    "in int64 lists[q, k]; in int64 offsets[q+1]; in int64 documents[z]; inout int64 places[z]; "
    "scratch uint64 seen[WORDS]",
    constants=("WORDS",),
    split="q",
    gpu="warp",
)
def places_in_lists(lists, offsets, documents, places, seen, start, stop):
    """Where each query's documents, ascending, stand in its list; k stays elsewhere. A table of
    bits turns away most of the others."""
    one = np.uint64(1)
    for q in range(start, stop):
        first, last = np.uintp(offsets[q]), np.uintp(offsets[q + 1])
        if first == last:
            continue
        for w in range(WORDS):
            seen[w] = 0
        for e in range(first, last):
            h = hashed(documents[e])
            seen[h >> np.uint64(6)] |= one << (h & np.uint64(63))
        row = lists[q]
        for j in range(row.size):
            document = row[j]
            h = hashed(document)
            if seen[h >> np.uint64(6)] >> (h & np.uint64(63)) & one:
                low, high = first, last
                while low < high:
                    middle = (low + high) // np.uintp(2)
                    if documents[middle] < document:
                        low = middle + np.uintp(1)
                    else:
                        high = middle
                if low < last and documents[low] == document and places[low] > j and document >= 0:
                    places[low] = j


def hashed(document):
    """HASH_BITS bits."""
    return np.uint64(document) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - HASH_BITS)


@kernel(
    "in T scores[n]; in int64 begins[q]; in int64 ends[q]; in int64 offsets[q+1]; "
    "in int64 entries[z]; out int64 places[z]; "
    "int64 later_first",
    split="q",
    gpu="warp",
)
def places_by_counting(scores, begins, ends, offsets, entries, places, later_first, start, stop):
    """How many scores of its query come before each entry: the higher ones, and the equal ones on
    one side of it."""
    for q in range(start, stop):
        for e in range(np.uintp(offsets[q]), np.uintp(offsets[q + 1])):
            score, count = scores[np.uintp(entries[e])], 0
            before, after = scores[begins[q] : entries[e]], scores[entries[e] + 1 : ends[q]]
            if later_first:
                before, after = after, before
            for x in before:
                count += x >= score
            for x in after:
                count += x > score
            places[e] = count


@kernel(
    "in int64 places[z]; in uint8 relevant[z]; in float64 gains[z]; in float64 ideal[z]; "
    "in int64 offsets[q+1]; in int64 lengths[q]; "
    "in float64 discounts[c]; in int64 kinds[m]; in int64 cuts[m]; in int64 size[m]; "
    "out float64 values[q, m]; int64 by_cut",
    constants=("MRR", "RECALL", "PRECISION", "HIT", "MAP", "R_PRECISION", "DCG", "NDCG"),
    split="q",
    gpu="thread",
    threads=64,
)
def metrics_of_lists(
    places,
    relevant,
    gains,
    ideal,
    offsets,
    lengths,
    discounts,
    kinds,
    cuts,
    size,
    values,
    by_cut,
    start,
    stop,
):
    """`cuts` are at most the longest list, for places; `size` are those asked for, by which
    precision divides, 0 for all of a list."""
    for q in range(start, stop):
        first, last = np.uintp(offsets[q]), np.uintp(offsets[q + 1])
        total = 0
        for e in range(first, last):
            total += np.int64(relevant[e])
        for i in range(kinds.size):
            kind, best, hits = kinds[i], lengths[q], 0
            cut = min(total, cuts[i]) if kind == R_PRECISION else cuts[i]
            precisions, gained, most = 0.0, 0.0, 0.0
            for e in range(first, last):
                inside = places[e] < cut
                if inside and relevant[e]:
                    hits += 1
                    best = min(best, places[e])
                    precisions += hits / (places[e] + 1)
                if inside and kind >= DCG:
                    gained += gains[e] * discounts[np.uintp(places[e])]
                if kind >= DCG and np.int64(e - first) < cut_of(size[i], discounts.size):
                    most += ideal[e] * discounts[e - first]
            asked = size[i] if size[i] else lengths[q]
            values[q, i] = value_of(
                kind, hits, best, precisions, gained, most, total, asked, by_cut
            )


def value_of(kind, hits, top, precisions, gained, most, total, asked, by_cut):
    """A metric from what was summed up to its cut: the relevant documents and the place of the
    first one, their precisions, their gains and those of the ideal list."""
    if kind >= DCG:
        return np.nan if most == 0 else gained if kind == DCG else gained / most
    if total == 0:
        return np.nan
    if kind == MRR:
        return 1.0 / (top + 1) if hits else 0.0
    if kind == RECALL or kind == R_PRECISION:
        return hits / total
    if kind == PRECISION:
        return hits / max(asked, 1)
    if kind == HIT:
        return 1.0 if hits else 0.0
    return precisions / max(min(total, asked) if by_cut else total, 1)


def cut_of(size, most):
    """The cut for the ideal list, which may be longer than the ranked one."""
    return min(size, most) if size else most


@kernel(
    "in T scores[n]; in float64 relevance[n]; in int64 offsets[q+1]; in float64 discounts[d]; "
    "in int64 kinds[m]; in int64 size[m]; float64 min_relevance; int64 later_first; "
    "int64 exponential; int64 by_cut; out float64 values[q, m]; out int64 places[n]; "
    "out int64 ideal[n]; scratch int64 orders[3*d]",
    split="q",
    gpu="block",
    threads=128,
    constants=("MRR", "RECALL", "PRECISION", "HIT", "MAP", "R_PRECISION", "DCG", "NDCG"),
)
def metrics_of_scores(
    scores,
    relevance,
    offsets,
    discounts,
    kinds,
    size,
    min_relevance,
    later_first,
    exponential,
    by_cut,
    values,
    places,
    ideal,
    orders,
    start,
    stop,
):
    """All metrics of each list at once, by sorting it; `places` and `ideal` are the places of each
    candidate by score and by relevance. `size` is 0 for all of a list."""
    d = discounts.size
    order, best, spare = orders[:d], orders[d : 2 * d], orders[2 * d :]
    for q in range(start, stop):
        first = offsets[q]
        s, y = scores[first : offsets[q + 1]], relevance[first : offsets[q + 1]]
        m, total = s.size, 0
        for i in range(m):
            order[i] = m - 1 - i if later_first else i
            total += y[i] >= min_relevance
        merge_descending(s, order, spare)
        sort_descending(y, best, spare)
        for r in range(m):
            places[first + order[r]], ideal[first + best[r]] = r, r
        kind, reached = np.int64(-1), 0
        hits, top, precisions, gained, most = 0, 0, 0.0, 0.0, 0.0
        for i in range(kinds.size):
            asked = size[i] if size[i] else m
            cut = min(total if kinds[i] == R_PRECISION else asked, m)
            if kinds[i] != kind or cut < reached:  # else the next cut goes on from the last
                kind, reached = kinds[i], 0
                hits, top, precisions, gained, most = 0, 0, 0.0, 0.0, 0.0
            for r in range(reached, cut):
                if kind >= DCG:
                    gained += gain_of(y[order[r]], exponential) * discounts[r]
                    most += gain_of(y[best[r]], exponential) * discounts[r]
                elif y[order[r]] >= min_relevance:
                    top = top if hits else r
                    hits += 1
                    if kind == MAP:
                        precisions += hits / (r + 1)
                    elif kind == MRR or kind == HIT:  # the first one decides
                        break
            reached = cut
            values[q, i] = value_of(kind, hits, top, precisions, gained, most, total, asked, by_cut)


def gain_of(relevance, exponential):
    if relevance <= 0:
        return 0.0
    return math.exp2(relevance) - 1 if exponential else relevance


def sort_descending(key, order, spare):
    """The first entries of `order` become those of a stable descending order."""
    for i in range(key.size):
        order[i] = i
    merge_descending(key, order, spare)


def merge_descending(key, order, spare):
    """Stable descending order of the places in `order`, by merging runs."""
    m, run = key.size, 1
    source, target, swapped = order, spare, False
    while run < m:
        low = 0
        while low < m:
            middle, high = min(low + run, m), min(low + 2 * run, m)
            left, right = low, middle
            for k in range(low, high):
                if right >= high or left < middle and key[source[left]] >= key[source[right]]:
                    target[k] = source[left]
                    left += 1
                else:
                    target[k] = source[right]
                    right += 1
            low = high
        source, target, swapped, run = target, source, not swapped, 2 * run
    if swapped:
        for i in range(m):
            order[i] = spare[i]
