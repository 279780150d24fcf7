"""The problem that bounds are computed for: a network, and boxes of its inputs."""

import math

import numpy as np

from ...dispatch import device_of, namespace_of
from .crown import derivatives, network_of, region
from .operators import Conv2d, Dense

ENTRIES = 1 << 21  # of an array over boxes: 16 MB; more boxes are taken in turn


class Task:
    """Checked arguments: the network, boxes as (boxes, n_in) arrays, and how results go back to the
    caller's shape and dtype."""

    def __init__(self, weights, biases, x0, eps, c=None):
        if not weights:
            raise ValueError("weights must hold at least 1 layer (got 0)")
        if len(biases) != len(weights):
            raise ValueError(
                f"biases must hold {len(weights)} arrays, as many as weights (got {len(biases)})"
            )
        self.xp, self.dtype = namespace_of(x0), x0.dtype
        for i, w in enumerate(weights):
            if isinstance(w, Conv2d):
                _check_like(f"weights[{i}]", w.weight, x0)
        operators = [w if isinstance(w, Conv2d) else Dense(self.xp, w) for w in weights]
        biases = [
            _bias(self.xp, f"biases[{i}]", b, op)
            for i, (b, op) in enumerate(zip(biases, operators, strict=True))
        ]
        for i in range(1, len(operators)):
            if operators[i].shape[1] != operators[i - 1].shape[0]:
                raise ValueError(
                    f"weights[{i}] must take the {operators[i - 1].shape[0]} outputs of the layer "
                    f"before it (got shape {operators[i].shape})"
                )
        n_in, n_out = operators[0].shape[1], operators[-1].shape[0]
        if x0.shape[-1] != n_in:
            raise ValueError(f"x0 must have shape (..., n_in) with n_in = {n_in} (got {x0.shape})")
        if c is not None and c.shape[1] != n_out:
            raise ValueError(f"c must have shape (q, n_out) with n_out = {n_out} (got {c.shape})")
        self.network = network_of(self.xp, operators, biases)
        self.lead, self.n_boxes = x0.shape[:-1], math.prod(x0.shape[:-1])
        eps = self._widths(eps, x0.shape).reshape(self.n_boxes, n_in)
        self.x0, self.eps = x0.astype(np.float64).reshape(self.n_boxes, n_in), eps
        self.c = None if c is None else c.astype(np.float64)

    def _widths(self, eps, shape):
        """Half the widths in float64, for each entry of x0."""
        if isinstance(eps, float):
            return self.xp.full(shape, eps)
        if eps.ndim > len(shape) or any(
            a not in (1, b) for a, b in zip(eps.shape[::-1], shape[::-1], strict=False)
        ):
            raise ValueError(f"eps must broadcast to the shape {shape} of x0 (got {eps.shape})")
        return self.xp.broadcast_to(eps.astype(np.float64), shape)

    # --- work

    def boxes(self, q=None):
        """Parts (x0, eps) of the boxes for which arrays over boxes, rows of outputs and neurons are
        not too large."""
        q = q or (self.network.operators[-1].shape[0] if self.c is None else len(self.c))
        step = max(1, ENTRIES // max(1, q * max(max(op.shape) for op in self.network.operators)))
        for first in range(0, max(self.n_boxes, 1), step):
            yield self.x0[first : first + step], self.eps[first : first + step]

    def derivatives(self, boxes, method, inputs=None):
        found = region(self.network, *boxes, crown=method != "interval")
        last, magnitude = self.last(found.network)
        return found, derivatives(
            found,
            last[None],
            None if magnitude is None else magnitude[None],
            method=method,
            inputs=inputs,
        )

    def last(self, network):
        """The last layer's weights or the combinations of them, and of these the sums of absolute
        values."""
        operator = network.operators[-1]
        if self.c is None:
            return operator.rows(self.xp.arange(operator.shape[0])), None
        return operator.adjoint(self.c), operator.absolute().adjoint(abs(self.c))

    # --- results

    def joined(self, parts):
        """Lower and upper bounds, each given in parts of the boxes."""
        bounds = (self.xp.concatenate(bound) for bound in zip(*parts, strict=True))
        return tuple(
            self.shaped(self.rounded(bound, side), bound.shape[1:])
            for bound, side in zip(bounds, (-1, 1), strict=True)
        )

    def rounded(self, bound, side):
        """In the caller's dtype, never inward."""
        result = bound.astype(self.dtype)
        inward = result > bound if side < 0 else result < bound
        return self.xp.where(
            inward, self.xp.nextafter(result, self.xp.full_like(result, side * math.inf)), result
        )

    def shaped(self, array, tail):
        return array.reshape((*self.lead, *tail))[()]


def _check_like(name, array, x0):
    if array.dtype != x0.dtype:
        raise TypeError(f"{name} must have dtype {x0.dtype} like x0 (got {array.dtype})")
    here, there = device_of(array), device_of(x0)
    if here is not there:
        raise TypeError(
            f"arguments must live on one device (got {name} on {here.name}, x0 on {there.name})"
        )


def _bias(xp, name, bias, operator):
    n = operator.shape[0]
    channels = operator.output_shape[0] if isinstance(operator, Conv2d) else operator.shape[0]
    if bias.shape not in ((n,), (channels,)):
        raise ValueError(f"{name} must have shape ({n},) (got {bias.shape})")
    return bias if len(bias) == n else xp.repeat(bias, n // channels)


def host(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)
