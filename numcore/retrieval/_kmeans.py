"""Lloyd's k-means by array expressions: the centroids of quantizers and inverted files, and the
nearest centroid of each row.

S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.
"""

import numpy as np

from ._topk import unit

# products with centroids that are held at once: in the cache, and not new pages each time
SCORES = 1 << 17
NUMBERS = 1 << 20  # coordinates that are summed at once


def nearest_centroid(xp, x, centroids):
    """The nearest centroid of every row, the first of equals, and twice its score ⟨x, c⟩ - ‖c‖²/2,
    which is ‖x‖² less the distance.

    Parameters
    ----------
    x : (n, d) array
    centroids : (k, d) array of the same dtype

    Returns
    -------
    labels : (n,) array of int64
    scores : (n,) array
    """
    half = (centroids * centroids).sum(axis=1) / 2
    labels, scores = xp.empty(len(x), np.int64), xp.empty(len(x), x.dtype)
    step = max(1, SCORES // len(centroids))
    for first in range(0, len(x), step):
        near = x[first : first + step] @ centroids.T
        near -= half
        best = near.argmax(axis=1)
        labels[first : first + step] = best
        scores[first : first + step] = 2 * xp.take_along_axis(near, best[:, None], axis=1)[:, 0]
    return labels, scores


def kmeans(xp, x, k, rng, *, max_iter=10, spherical=False):
    """Centroids after some steps of Lloyd's method from k random rows, 1 <= k <= n.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
    k : int
    rng : numpy.random.Generator
    spherical : bool
        Centroids have length 1, as the rows do: the nearest is that of the largest cosine.

    Returns
    -------
    (k, d) array
        A centroid that lost all its rows goes to one of the rows that are farthest from theirs.
        Sums are taken in float64.
    """
    centroids = x[xp.asarray(np.sort(rng.choice(len(x), k, replace=False)))]
    for _ in range(max_iter):
        labels, scores = nearest_centroid(xp, x, centroids)
        counts = xp.bincount(labels, minlength=k)
        sums = sums_by_label(xp, x, labels, k)
        centroids = (sums / xp.maximum(counts, 1)[:, None]).astype(x.dtype)
        lost = xp.nonzero(counts == 0)[0]
        if len(lost):
            distances = (x * x).sum(axis=1) - scores
            centroids[lost] = x[xp.argsort(-distances, kind="stable")[: len(lost)]]
        if spherical:
            centroids = unit(xp, centroids)[0]
    return centroids


def sums_by_label(xp, x, labels, k):
    """(k, d) sums of the rows of each label in float64, some rows at a time."""
    d, sums = x.shape[1], 0
    step = max(1, NUMBERS // max(d, 1))
    for first in range(0, len(x), step):
        places = labels[first : first + step, None] * d + xp.arange(d)
        weights = x[first : first + step].reshape(-1)
        sums += xp.bincount(places.reshape(-1), weights=weights, minlength=k * d)
    return sums.reshape(k, d)


def by_label(xp, labels, k):
    """Row numbers in the order of their labels, ascending in each, and where each label's begin."""
    offsets = xp.zeros(k + 1, np.int64)
    offsets[1:] = xp.cumsum(xp.bincount(labels, minlength=k))
    return xp.argsort(labels, kind="stable").astype(np.int64), offsets
