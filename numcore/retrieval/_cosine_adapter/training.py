"""Training of the cosine adapter: the network, its loss on batches of queries, and where it
starts."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from ...arguments import Array
from ...nn import Adam, dense, dense_vjp
from .kernels import LEAST_POWER, POWER, QUADRATIC, adapter_loss, logistic_moments

LEAST_SLOPE = 1e-3  # of the map that training starts from
NEWTON_STEPS, HALVINGS = 20, 10
CONVERGED = 1e-8  # twice the relative decrease of the loss that is to be expected


class Results(NamedTuple):
    """Embeddings (nq, d), cosines and relevance (n,), and offsets (nq + 1,)."""

    xp: Any
    x: Array
    cosines: Array
    relevance: Array
    offsets: Array


class Options(NamedTuple):
    """What every step needs to know."""

    code: int
    pos_weight: float
    batch_size: int
    dropout: float


def network(xp, weights, x, dropout=0.0, rng=None):
    """The raw parameters of each query, and for each layer its cache and what its output was
    multiplied by."""
    caches, last = [], len(weights) // 2 - 1
    for layer, (w, b) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        x, cache = dense(x, w, b)
        mask = None
        if layer < last:
            mask = (x > 0).astype(x.dtype)
            if dropout:
                kept = (rng.random(x.shape) >= dropout).astype(x.dtype)
                mask *= xp.asarray(kept / x.dtype.type(1 - dropout))
            x = x * mask
        caches.append((cache, mask))
    return x, caches


class Training:
    """Weights and how they change."""

    def __init__(self, data, weights, options, rng):
        self.data, self.weights, self.options, self.rng = data, weights, options, rng

    def epoch(self, order, adam: Adam):
        """Steps over the queries in this order; their mean loss."""
        total, data, size = 0.0, self.data, self.options.batch_size
        for first in range(0, len(order), size):
            batch = data.xp.asarray(order[first : first + size])
            raw, caches = network(
                data.xp, self.weights, data.x[batch], self.options.dropout, self.rng
            )
            losses, grad = self.losses(batch, raw)
            total += float(losses.astype(np.float64).sum())
            adam.step(_gradients(grad, caches))
        return total / max(len(order), 1)

    def losses(self, batch, raw):
        """(b,) losses of queries, and the gradient of their mean by the raw parameters."""
        data = self.data
        losses, grad = (data.xp.empty(shape, raw.dtype) for shape in (len(batch), raw.shape))
        adapter_loss(
            data.xp.ascontiguousarray(raw),
            data.offsets[batch],
            data.offsets[batch + 1],
            data.cosines,
            data.relevance,
            losses,
            grad,
            self.options.code,
            self.options.pos_weight,
        )
        return losses, grad / raw.dtype.type(len(batch))

    def mean_loss(self, queries):
        total, data, size = 0.0, self.data, self.options.batch_size
        for first in range(0, len(queries), size):
            batch = data.xp.asarray(queries[first : first + size])
            losses, _ = self.losses(batch, network(data.xp, self.weights, data.x[batch])[0])
            total += float(losses.astype(np.float64).sum())
        return total / len(queries)


def _gradients(grad, caches):
    grads = []
    for layer, (cache, mask) in reversed([*enumerate(caches)]):
        grad = grad if mask is None else grad * mask
        if layer:
            grad, *more = dense_vjp(grad, cache)
        else:
            # the gradient by the embeddings is not needed, and would cost as much as that by the
            # weights
            more = cache.x.T @ grad, grad.sum(axis=0)
        grads = [*more, *grads]
    return grads


def first_weights(data, hidden, options, rng):
    """Hidden layers as Kaiming He et al. start them; the last one gives all queries the map of
    `_common_map`."""
    sizes, weights, xp = (data.x.shape[1], *hidden), [], data.xp
    for n_in, n_out in itertools.pairwise(sizes):
        w = rng.standard_normal((n_in, n_out)) * math.sqrt(2 / max(n_in, 1))
        weights += [xp.asarray(w.astype(data.x.dtype)), xp.zeros(n_out, data.x.dtype)]
    start = np.asarray(_common_map(data, options.code, options.pos_weight), data.x.dtype)
    return [*weights, xp.zeros((sizes[-1], len(start)), data.x.dtype), xp.asarray(start)]


def _common_map(data, code, pos_weight):
    """Raw parameters of the best σ(slope f + b) with slope >= LEAST_SLOPE, by Newton steps that are
    halved until the loss decreases."""

    def moments(slope, b):
        result = data.xp.empty((len(data.offsets) - 1, 6), data.x.dtype)
        logistic_moments(
            data.offsets[:-1],
            data.offsets[1:],
            data.cosines,
            data.relevance,
            result,
            code,
            slope,
            b,
            pos_weight,
        )
        return result.astype(np.float64).sum(axis=0).tolist()

    slope, b = 1.0, 0.0
    loss, *rest = moments(slope, b)
    for _ in range(NEWTON_STEPS):
        by_slope, by_b, h_ss, h_sb, h_bb = rest
        determinant = h_ss * h_bb - h_sb * h_sb
        if slope <= LEAST_SLOPE and by_slope > 0 or determinant <= 1e-14 * h_ss * h_bb:
            steps = 0.0, by_b / h_bb if h_bb > 0 else 0.0
        else:
            steps = (
                (h_bb * by_slope - h_sb * by_b) / determinant,
                (h_ss * by_b - h_sb * by_slope) / determinant,
            )
        if by_slope * steps[0] + by_b * steps[1] <= CONVERGED * loss:
            break
        for halving in range(HALVINGS):
            new = max(slope - steps[0] / 2**halving, LEAST_SLOPE), b - steps[1] / 2**halving
            new_loss, *new_rest = moments(*new)
            if new_loss <= loss:
                break
        else:
            break
        (slope, b), loss, rest = new, new_loss, new_rest
    raw = slope + math.log(-math.expm1(-slope))  # whose softplus is the slope
    if code == POWER:
        return raw, b, math.log(math.expm1(1 - LEAST_POWER))
    return (-6.0, b, raw) if code == QUADRATIC else (raw, b)
