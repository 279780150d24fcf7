"""Losses, one number at a time in Python floats: no row is shifted, and sums are exact."""

import math


def softmax_cross_entropy(z, target):
    """Loss of one row for a distribution `target`, for logits of moderate size."""
    total = math.fsum(math.exp(v) for v in z)
    return math.fsum(t * (math.log(total) - v) for v, t in zip(z, target, strict=True))


def smoothed(label, classes, smoothing):
    return [(1 - smoothing) * (k == label) + smoothing / classes for k in range(classes)]


def huber(y, t, delta):
    d = abs(y - t)
    return d * d / 2 if d <= delta else delta * (d - delta / 2)


def binary_cross_entropy(z, t):
    return t * math.log1p(math.exp(-z)) + (1 - t) * math.log1p(math.exp(z))
