"""The network that reads a query: the mean of its rows of a table, refined by two layers."""

import numpy as np

from ...nn import dense, dense_vjp
from .kernels import bag_means


def gathered(xp, indices, offsets, order):
    """The queries `order`, packed."""
    lengths = (offsets[1:] - offsets[:-1])[order]
    packed = xp.zeros(len(order) + 1, np.int64)
    packed[1:] = xp.cumsum(lengths)
    place = xp.arange(int(packed[-1]))
    query = xp.searchsorted(packed[1:], place, side="right")
    return indices[offsets[:-1][order][query] + place - packed[:-1][query]], packed


def question_vectors(params, features):
    return (
        params["questions"]
        if features is None
        else params["questions"] + features @ params["features"]
    )


def encode(xp, params, indices, offsets, kept=None):
    """Vectors of queries, and what their gradient needs."""
    mean = xp.empty((len(offsets) - 1, params["table"].shape[1]), np.float32)
    bag_means(params["table"], indices, offsets, mean)
    if kept is not None:
        mean = mean * kept
    inner, first = dense(mean, params["w1"], params["b1"])
    outer, second = dense(xp.maximum(inner, 0), params["w2"], params["b2"])
    return mean + outer, (inner, first, second)


def encode_vjp(grad, tape, kept):
    """Gradients of w1, b1, w2, b2, as a list, and of the means."""
    inner, first, second = tape
    grad_inner, grad_w2, grad_b2 = dense_vjp(grad, second)
    grad_mean, grad_w1, grad_b1 = dense_vjp(grad_inner * (inner > 0), first)
    grad_mean = grad + grad_mean
    return [grad_w1, grad_b1, grad_w2, grad_b2], grad_mean if kept is None else grad_mean * kept
