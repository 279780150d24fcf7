"""The kernel of balanced buckets."""

import numpy as np

from ...kernel import kernel


@kernel(
    "in T distances[g, n, b]; in int64 order[g, n]; out int64 bucket[g, n]; "
    "inout int64 counts[g, b]",
    split="g",
    gpu="warp",
    threads=32,
    grain="1",
)
def assign_evenly(distances, order, bucket, counts, start, stop):
    """In the given order each item takes the nearest bucket that is not full; n % b buckets get one
    item more than the others."""
    n, b = distances.shape[1], distances.shape[2]
    for g in range(start, stop):
        larger = n % b
        for step in range(n):
            i, best = np.uintp(order[g, step]), np.uintp(b)
            for c in range(np.uintp(b)):
                full = counts[g, c] > n // b or (counts[g, c] == n // b and larger == 0)
                if not full and (best == b or distances[g, i, c] < distances[g, i, best]):
                    best = c
            if counts[g, best] == n // b:
                larger -= 1
            counts[g, best] += 1
            bucket[g, i] = best
