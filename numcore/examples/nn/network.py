"""Arguments of the kernels of multilayer perceptrons: the number of coefficients must fit the order."""

import numpy as np

from ...nn import network

__all__ = ["EXAMPLES", "KERNELS"]

EXAMPLES = {}  # a class is no routine


def _shapes(rng, size):
    order, directions = size % 3, int(rng.integers(4))
    return 1 + order * directions, order, size, int(rng.integers(1, 9))


def _layer_arguments(rng, variant, size):
    c, order, size, h = _shapes(rng, size)
    dtype = variant["T"]
    unwritten = [np.full(shape, np.nan, dtype) for shape in ((c, size), (order, size))]
    return [rng.standard_normal((c, size)).astype(dtype), rng.standard_normal(h).astype(dtype), *unwritten]


def _vjp_arguments(rng, variant, size):
    c, order, size, _ = _shapes(rng, size)
    return [rng.standard_normal(shape).astype(variant["T"]) for shape in ((c, size), (order, size), (c, size))]


KERNELS = {made.name: _layer_arguments for made in network.FORWARD.values()} | {network.mlp_layer_vjp.name: _vjp_arguments}
