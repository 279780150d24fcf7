"""The network: its parameters, its passes forward and backward, and what they keep."""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ...arguments import RNG, Array, DType, Float, Namespace, at_least, checked
from ...dispatch import device_of, namespace_of
from ...random import generator_from_rng
from .._activation import Nonlinearity
from .kernels import FORWARD, mlp_layer_vjp


class MLPCache(NamedTuple):
    """One pass: for each layer the weights and the rows that came in; for each hidden layer s'(u),
    the u_k and u_kk, s''(u) and s'''(u)."""

    shape: tuple  # of x
    order: int
    directions: Any
    weights: list
    inputs: list
    u: list
    more: list
    higher: list


class MLPTaylorCache(NamedTuple):
    """A pass of Taylor coefficients."""

    layers: MLPCache


class MLPGrads(NamedTuple):
    """Gradients of a network's input and of its parameters, in the order of ``MLP.parameters``."""

    x: Array
    parameters: list


class MLP:
    """Multilayer perceptron: affine layers with a nonlinearity between them, none after the last.

    Parameters
    ----------
    sizes : sequence of int >= 1
        How many numbers go into the first layer and come out of each: (64, 32, 10) is one hidden
        layer of 32.
    activation : {"relu", "tanh", "gelu", "silu", "sigmoid", "sin", "softplus"}, default "tanh"
        The nonlinearity, see :func:`numcore.nn.activation`.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Makes the weights.
    dtype : dtype, float32 or float64, default float32
        Of the parameters, and so of all inputs and outputs.
    xp : module, numpy or cupy, default numpy
        numpy, or cupy to have the parameters on the GPU.

    Attributes
    ----------
    parameters : list of arrays
        w (in, out) and b (out,) of each layer, the first layer first: w, b, w, b, … Optimizers
        update them in place.
    activation : str

    Raises
    ------
    TypeError
        `sizes` is not a sequence of integers, or `rng` or `dtype` are not of the above.
    ValueError
        Fewer than two sizes, a size below 1, or an unknown activation.

    Notes
    -----
    Weights start uniform in ±√(6 / (in + out)), biases at 0 (X. Glorot, Y. Bengio, AISTATS 2010). A
    cache holds inputs and weights by reference: compute gradients before the weights are updated.
    Besides, it keeps 2 c + order numbers for each row and hidden unit, c being 1 for
    :meth:`forward`, of order 0, and 1 + order D for :meth:`taylor` in D directions.

    References
    ----------
    A. Griewank, A. Walther, "Evaluating Derivatives", SIAM 2008.

    Examples
    --------
    >>> import numpy as np
    >>> network = MLP((1, 1), rng=0, dtype=np.float64)
    >>> network.parameters[0][:], network.parameters[1][:] = 1.5, -0.1
    >>> y, cache = network.forward(np.array([[0.4]]))
    >>> y.round(4)
    array([[0.5]])
    >>> grad_x, grads = network.vjp(np.ones((1, 1)), cache)
    >>> grad_x, [g.tolist() for g in grads]
    (array([[1.5]]), [[[0.4]], [1.0]])
    """

    @checked
    def __init__(
        self,
        sizes: Sequence[Annotated[int, at_least(1)]],
        *,
        activation: Nonlinearity = "tanh",
        rng: RNG = None,
        dtype: DType = np.float32,
        xp: Namespace = np,
    ):
        if len(sizes) < 2:
            raise ValueError(f"sizes must hold at least two numbers (got {len(sizes)})")
        self.activation, rng = activation, generator_from_rng(rng)
        self.parameters = []
        for n_in, n_out in itertools.pairwise(sizes):
            bound = math.sqrt(6 / (n_in + n_out))
            self.parameters.append(
                xp.asarray(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
            )
            self.parameters.append(xp.zeros(n_out, dtype))

    @checked
    def forward(self, x: Float[Array, "*batch n_in"]) -> tuple[Array, MLPCache]:
        """The network's output.

        Parameters
        ----------
        x : (..., n_in) array of float32 or float64

        Returns
        -------
        y : (..., n_out) array
        cache : MLPCache
            For :meth:`vjp`.

        Raises
        ------
        TypeError
            x has another dtype or device than the parameters.
        ValueError
            The last extent of x is not n_in.
        """
        self._check_input("x", x)
        z, cache = self._forward(x, x.reshape(-1, x.shape[-1])[:0], 0)
        return z[0], cache

    @checked
    def vjp(self, grad_y: Float[Array, "*batch n_out"], cache: MLPCache) -> MLPGrads:
        """Gradients of a loss from its gradient in the output.

        Parameters
        ----------
        grad_y : (..., n_out) array of float32 or float64
        cache : MLPCache
            What :meth:`forward` returned with y.

        Returns
        -------
        MLPGrads
            x (..., n_in), and parameters, a list in the order of `parameters`.

        Raises
        ------
        TypeError
            `cache` is another object, or `grad_y` has another dtype or device.
        ValueError
            `grad_y` does not have the shape of y.
        """
        w = cache.weights[-1]
        shape = (*cache.shape[:-1], w.shape[1])
        _check_gradient("grad_y", grad_y, shape, w)
        return _backward(grad_y.reshape(1, math.prod(shape[:-1]), shape[-1]), cache)

    @checked
    def taylor(
        self,
        x: Float[Array, "*batch n_in"],
        directions: Float[Array, "D n_in"],
        *,
        order: Literal[1, 2] = 2,
    ) -> tuple[tuple[Array, ...], MLPTaylorCache]:
        """The output and its first and second derivatives along directions of the input.

        Parameters
        ----------
        x : (..., n_in) array of float32 or float64
        directions : (D, n_in) array of float32 or float64
            The unit vectors give partial derivatives.
        order : {1, 2}, default 2
            Derivatives up to this one.

        Returns
        -------
        outputs : tuple (y, first) or (y, first, second)
            y (..., n_out); first (D, ..., n_out), of which first[k] is the derivative d/dt y(x + t
            directions[k]) at t = 0; second likewise d²/dt², if `order` is 2.
        cache : MLPTaylorCache
            For :meth:`taylor_vjp`.

        Raises
        ------
        TypeError
            Another dtype or device than that of the parameters.
        ValueError
            Shapes that do not fit, another order, or order 2 of a network with relu, whose second
            derivative is 0 but for kinks.

        Notes
        -----
        One matrix product of (1 + order D) n rows in each layer but the first, for n rows of x. A
        mixed derivative is (∂_{v+w}² - ∂_{v-w}²) / 4, by the directions v + w and v - w.

        Examples
        --------
        >>> import numpy as np
        >>> network = MLP((1, 1, 1), rng=0, dtype=np.float64)
        >>> for parameter, value in zip(network.parameters, (1.5, -0.1, 1.0, 0.0)):
        ...     parameter[:] = value
        >>> (y, first, second), cache = network.taylor(np.array([[0.4]]), np.array([[1.0]]))
        >>> [round(float(part.item()), 10) for part in (y, first, second)]  # of tanh(1.5 x - 0.1)
        [0.4621171573, 1.1796715994, -1.6354394581]
        """
        if order == 2 and self.activation == "relu":
            raise ValueError(
                'order must be 1 for activation="relu", which has no second derivative (got 2)'
            )
        self._check_input("x", x)
        d = len(directions)
        z, cache = self._forward(x, directions, order)
        outputs = (z[0], z[1 : 1 + d]) if order == 1 else (z[0], z[1 : 1 + d], z[1 + d :])
        return outputs, MLPTaylorCache(cache)

    @checked
    def taylor_vjp(
        self,
        grad_y: Float[Array, "*batch n_out"] | None,
        grad_first: Float[Array, "D *batch n_out"] | None,
        grad_second: Float[Array, "D *batch n_out"] | None,
        cache: MLPTaylorCache,
    ) -> MLPGrads:
        """Gradients of a loss from its gradients in what :meth:`taylor` returned.

        None means zeros.

        Parameters
        ----------
        grad_y : (..., n_out) array of float32 or float64 or None
        grad_first : (D, ..., n_out) array of float32 or float64 or None
        grad_second : (D, ..., n_out) array of float32 or float64 or None
            None after order 1.
        cache : MLPTaylorCache
            What :meth:`taylor` returned with its outputs.

        Returns
        -------
        MLPGrads
            x (..., n_in), and parameters, a list in the order of `parameters`.

        Raises
        ------
        TypeError
            `cache` is another object, or a gradient has another dtype or device.
        ValueError
            A gradient does not have the shape of its output.

        Notes
        -----
        With cotangents g, g_k, g_kk of s, s_k, s_kk in a nonlinear layer, those of u, u_k, u_kk are
        s' g + Σ_k (s'' u_k g_k + (s''' u_k² + s'' u_kk) g_kk), s' g_k + 2 s'' u_k g_kk and s' g_kk.
        `directions` is taken as constant.
        """
        (layers,) = cache
        order, d, w = layers.order, len(layers.directions), layers.weights[-1]
        if order == 1 and grad_second is not None:
            raise ValueError("grad_second must be None after order=1 (got an array)")
        shape, xp = (*layers.shape[:-1], w.shape[1]), namespace_of(w)
        g = xp.zeros((1 + order * d, *shape), w.dtype)
        given = {"grad_y": grad_y, "grad_first": grad_first, "grad_second": grad_second}
        for part, (name, gradient) in zip(
            (g[0], g[1 : 1 + d], g[1 + d :]), given.items(), strict=False
        ):
            if gradient is not None:
                _check_gradient(name, gradient, part.shape, w)
                part[...] = gradient
        return _backward(g.reshape(len(g), math.prod(shape[:-1]), shape[-1]), layers)

    def _check_input(self, name, x):
        """An input must have n_in as its last extent, and live where the parameters do."""
        w = self.parameters[0]
        if x.shape[-1] != w.shape[0]:
            raise ValueError(
                f"{name} must have shape (..., n_in) with n_in = {w.shape[0]} (got {x.shape})"
            )
        _check_like(name, x, w)

    def _forward(self, x, directions, order):
        """The coefficients (c, n, n_out) of the output, one matrix product and one kernel in each
        hidden layer after the first."""
        xp, n_in, n_out = namespace_of(x), x.shape[-1], self.parameters[-1].shape[0]
        rows, weights, d = x.reshape(-1, n_in), self.parameters[::2], len(directions)
        n, c, inputs, us, mores, higher = len(rows), 1 + order * d, [], [], [], []
        nonlinear, z = FORWARD[self.activation], rows
        for w, b in zip(weights[:-1], self.parameters[1::2], strict=False):
            inputs.append(z)
            u, h, size = z @ w, w.shape[1], n * w.shape[1]
            if z is rows:
                u, more = u.reshape(size), directions @ w
            else:
                u = u.reshape(c, size)
                u, more = u[0], u[1:]
            z, s = xp.empty((c * n, h), u.dtype), xp.empty((order, size), u.dtype)
            nonlinear(u, more, xp.ascontiguousarray(b), z.reshape(c, size), s)
            us.append(u)
            mores.append(more)
            higher.append(s)
        inputs.append(z)
        if us:
            z = (z @ weights[-1]).reshape(c, n, n_out)
        else:
            z = xp.zeros((c, n, n_out), x.dtype)
            z[0], z[1 : 1 + d] = rows @ weights[0], (directions @ weights[0])[:, None]
        z[0] += self.parameters[-1]
        return z.reshape(c, *x.shape[:-1], n_out), MLPCache(
            x.shape, order, directions, weights, inputs, us, mores, higher
        )


def _check_gradient(name, gradient, shape, w):
    if gradient.shape != shape:
        raise ValueError(f"{name} must have shape {shape} (got {gradient.shape})")
    _check_like(name, gradient, w)


def _check_like(name, array, w):
    """TypeError unless an array has the dtype and the device of the parameters."""
    if array.dtype != w.dtype:
        raise TypeError(f"{name} must have dtype {w.dtype} like the parameters (got {array.dtype})")
    here, there = device_of(array), device_of(w)
    if here is not there:
        raise TypeError(
            f"arguments must live on one device (got {name} on {here.name}, parameters on "
            f"{there.name})"
        )


def _backward(g, cache):
    """Gradients from those of the outputs, (c, n, n_out)."""
    xp, (c, n, n_out) = namespace_of(g), g.shape
    g, grads, ones = g.reshape(c * n, n_out), [], xp.ones(n, g.dtype)
    for w, rows, u, more, higher in zip(
        *(part[::-1] for part in (cache.weights[1:], cache.inputs[1:], *cache[5:])), strict=True
    ):
        grads += ones @ g[:n], rows.T @ g
        g = xp.dot(g, w.T)  # quicker than matmul where there is one output
        mlp_layer_vjp(u, more, higher, g.reshape(c, u.size))
    w, directions = cache.weights[0], cache.directions
    g = g.reshape(c, n, w.shape[1])
    sums, grad_w = ones @ g[: 1 + len(directions)], cache.inputs[0].T @ g[0]
    if len(directions):
        grad_w += directions.T @ sums[1:]
    grads += sums[0], grad_w
    return MLPGrads((g[0] @ w.T).reshape(cache.shape), grads[::-1])
