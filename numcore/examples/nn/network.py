"""Arguments of the kernels of multilayer perceptrons: the number of coefficients must fit the
order."""

import numpy as np

from ...nn import _network as network

__all__ = ["EXAMPLES", "KERNELS"]

EXAMPLES = {}  # a class is no routine


def _shapes(rng, size):
    """c, order, the shape of `more` and h: of a first layer in half of the cases."""
    order, directions, h = size % 3, int(rng.integers(4)), int(rng.integers(1, 9))
    more = (directions if order else 0, h) if rng.integers(2) else (order * directions, size)
    return 1 + order * directions, order, more, h


def _layer_arguments(rng, variant, size):
    (c, order, more, h), dtype = _shapes(rng, size), variant["T"]
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in (size, more, h)]
    return [*inputs, *(np.full(shape, np.nan, dtype) for shape in ((c, size), (order, size)))]


def _vjp_arguments(rng, variant, size):
    c, order, more, _ = _shapes(rng, size)
    return [
        rng.standard_normal(shape).astype(variant["T"])
        for shape in (size, more, (order, size), (c, size))
    ]


KERNELS = {made.name: _layer_arguments for made in network.FORWARD.values()} | {
    network.mlp_layer_vjp.name: _vjp_arguments
}
