"""Lloyd's k-means by array expressions: the centroids of quantizers and inverted files, and the
nearest centroid of each row.

S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.
"""

import numpy as np

SCORES = (
    1 << 17
)  # products with centroids that are held at once: in the cache, and not new pages each time


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


def kmeans(xp, x, k, rng, iterations=10):
    """Centroids after some steps of Lloyd's method from k random rows, 1 <= k <= n.

    Parameters
    ----------
    x : (n, d) array of float32 or float64
    k : int
    rng : numpy.random.Generator

    Returns
    -------
    (k, d) array
        A centroid that lost all its rows goes to one of the rows that are farthest from theirs.
        Sums are taken in float64.
    """
    d = x.shape[1]
    centroids = x[xp.asarray(np.sort(rng.choice(len(x), k, replace=False)))]
    for _ in range(iterations):
        labels, scores = nearest_centroid(xp, x, centroids)
        places = (labels[:, None] * d + xp.arange(d)).reshape(-1)
        sums = xp.bincount(places, weights=x.reshape(-1), minlength=k * d).reshape(k, d)
        counts = xp.bincount(labels, minlength=k)
        centroids = (sums / xp.maximum(counts, 1)[:, None]).astype(x.dtype)
        lost = xp.nonzero(counts == 0)[0]
        if len(lost):
            distances = (x * x).sum(axis=1) - scores
            centroids[lost] = x[xp.argsort(-distances, kind="stable")[: len(lost)]]
    return centroids
