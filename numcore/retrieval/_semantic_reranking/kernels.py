"""Kernels of graphs of related words, one for each document.

`rank_nodes` is a PageRank of its own because its graphs are many and small and have no direction:
each stays in the cache for all of its steps and ends at its own, and Chebyshev's acceleration needs
real eigenvalues, which the weighted directed graphs of `personalized_pagerank` do not have.
"""

import numpy as np

from ...kernel import kernel
from ...simd import popcount
from .._random_walk import is_last, next_score


@kernel(
    "in int64 indptr[n]; in int32 neighbors[z]; in int32 words[w]; in int64 word_at[g+1]; "
    "out uint64 present[g, b]; "
    "out uint64 started[g, b]; out int32 before[g, b+1]",
    split="g",
    gpu="block",
)
def mark_nodes(indptr, neighbors, words, word_at, present, started, before, start, stop):
    """Which words are nodes of a document's graph and which of them its own words, as bits, and the
    nodes before each 64 words."""
    one = np.uint64(1)
    b = np.uintp(present.shape[1])
    for g in range(start, stop):
        for i in range(b):
            present[g, i] = 0
            started[g, i] = 0
        for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
            word = np.uint64(words[p])
            started[g, word >> np.uint64(6)] |= one << (word & np.uint64(63))
            present[g, word >> np.uint64(6)] |= one << (word & np.uint64(63))
            for q in range(np.uintp(indptr[word]), np.uintp(indptr[word + one])):
                other = np.uint64(neighbors[q])
                present[g, other >> np.uint64(6)] |= one << (other & np.uint64(63))
        total = 0
        for i in range(b):
            before[g, i] = total
            total += np.int64(popcount(present[g, i]))
        before[g, b] = total


@kernel(
    "in int64 indptr[n+1]; in int32 neighbors[z]; in uint8 is_seed[n]; in int32 words[w]; "
    "in int64 word_at[g+1]; "
    "in int64 edge_at[w+1]; in int64 node_at[g+1]; in uint64 present[g, b]; "
    "in uint64 started[g, b]; in int32 before[g, b+1]; "
    "out int32 nodes[m]; out int32 degree[m]; out int32 source[w]; out int32 target[e]; "
    "out float64 scores[m]; "
    "out float64 work[4, m]; float64 damping; float64 tol; int64 max_iter",
    split="g",
    gpu="block",
    grain="4",
    twin_tolerance={"float64": 1e-12},
)
def rank_nodes(
    indptr,
    neighbors,
    is_seed,
    words,
    word_at,
    edge_at,
    node_at,
    present,
    started,
    before,
    nodes,
    degree,
    source,
    target,
    scores,
    work,
    damping,
    tol,
    max_iter,
    start,
    stop,
):
    """Each document's edges with its nodes counted from 0, and PageRank divided by its maximum."""
    one, six, low = np.uint64(1), np.uint64(6), np.uint64(63)
    for g in range(start, stop):
        first = np.uintp(node_at[g])
        m = np.uintp(node_at[g + 1]) - first
        x, previous, inverse = work[0, first:], work[1, first:], work[2, first:]
        share, y = work[3, first:], scores[first:]
        count = np.uintp(0)
        seeds = 0.0
        for i in range(np.uintp(present.shape[1])):
            left = present[g, i]
            while left:
                bit = left & (~left + one)
                word = (np.uint64(i) << six) + np.uint64(popcount(bit - one))
                nodes[first + count] = np.int32(word)
                degree[first + count] = 0
                seeds += is_seed[word]
                count += np.uintp(1)
                left ^= bit
        for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
            word = np.uint64(words[p])
            i = word >> six
            own = np.uintp(before[g, i]) + np.uintp(
                popcount(present[g, i] & ((one << (word & low)) - one))
            )
            source[p] = np.int32(own)
            begin = np.uintp(indptr[word])
            for q in range(begin, np.uintp(indptr[word + one])):
                other = np.uint64(neighbors[q])
                i = other >> six
                e = np.uintp(edge_at[p]) + q - begin
                # the edge may be there from the other end
                if other < word and (started[g, i] >> (other & low)) & one:
                    bottom, top = np.uintp(indptr[other]), np.uintp(indptr[other + one])
                    while bottom < top:
                        middle = (bottom + top) >> np.uintp(1)
                        if np.uint64(neighbors[middle]) < word:
                            bottom = middle + np.uintp(1)
                        else:
                            top = middle
                    if (
                        bottom < np.uintp(indptr[other + one])
                        and np.uint64(neighbors[bottom]) == word
                    ):
                        target[e] = -1
                        continue
                j = np.uintp(before[g, i]) + np.uintp(
                    popcount(present[g, i] & ((one << (other & low)) - one))
                )
                target[e] = np.int32(j)
                degree[first + own] += 1
                degree[first + j] += 1
        for i in range(m):
            weight = is_seed[np.uintp(nodes[first + i])] / seeds if seeds else 1.0 / m
            x[i] = weight
            previous[i] = 0
            inverse[i] = 1.0 / degree[first + i]
        omega = 1.0
        for t in range(max_iter):
            for i in range(m):
                share[i] = x[i] * inverse[i]
                y[i] = 0
            for p in range(np.uintp(word_at[g]), np.uintp(word_at[g + 1])):
                own = np.uintp(source[p])
                mine, total = share[own], 0.0
                for e in range(np.uintp(edge_at[p]), np.uintp(edge_at[p + np.uintp(1)])):
                    if target[e] >= 0:
                        j = np.uintp(target[e])
                        total += share[j]
                        y[j] += mine
                y[own] += total
            change = 0.0
            for i in range(m):
                weight = is_seed[np.uintp(nodes[first + i])] / seeds if seeds else 1.0 / m
                y[i] = next_score(damping, y[i], 0.0, 0.0, weight)  # no node is dangling
                change += abs(y[i] - x[i])
            if is_last(t + 1, change, tol, max_iter):
                break
            for i in range(m):
                new = omega * (y[i] - previous[i]) + previous[i]
                previous[i] = x[i]
                x[i] = new
            omega = (
                1 / (1 - damping * damping / 4 * omega) if t else 1 / (1 - damping * damping / 2)
            )
        largest = 0.0
        for i in range(m):
            largest = max(largest, y[i])
        for i in range(m):
            y[i] = max(y[i], 0.0) / largest
