"""Multilayer perceptrons, with derivatives in their inputs: what a loss on a differential equation
needs, without autodiff.

A Taylor expansion x + t v goes through the layers as the rows u, u_v and u_vv of its coefficients
(times 1, 1 and 2): an affine layer maps each by its weights, a nonlinearity s to s(u), s'(u) u_v
and s''(u) u_v² + s'(u) u_vv. All rows of a layer are one matrix product; in the first layer u_v is
the same for all x, and u_vv is 0. A loss in these outputs is then differentiated by reverse mode
through the same formulas. A. Griewank, A. Walther, "Evaluating Derivatives", SIAM 2008, chapter 13.
"""

import itertools
import math
import operator
from typing import NamedTuple

import numpy as np

from ..checks import checked_choice
from ..dispatch import checked_dtype, float_dtype, on_device
from ..kernel import kernel
from ._activation import KINDS, for_kind
from ._cache import checked_cache, checked_gradient

__all__ = ["MLP"]


class MLPCache(NamedTuple):
    """One pass: for each layer the weights and the rows that came in; for each hidden layer s'(u),
    the u_k and u_kk, s''(u) and s'''(u)."""

    shape: tuple  # of x
    order: int
    directions: object
    weights: list
    inputs: list
    u: list
    more: list
    higher: list


class MLPTaylorCache(NamedTuple):
    """A pass of Taylor coefficients."""

    layers: MLPCache


class MLP:
    """Multilayer perceptron: affine layers with a nonlinearity between them, none after the last.

    Parameters
    ----------
    sizes : sequence of int
        How many numbers go into the first layer and come out of each: (64, 32, 10) is one hidden
        layer of 32.
    activation : {"tanh", "relu", "gelu", "silu", "sigmoid", "sin", "softplus"}
        The nonlinearity, see :func:`numcore.nn.layers.activation`.
    rng : None, int or numpy.random.Generator, optional
        Makes the weights.
    dtype : {float32, float64}, optional
        Of the parameters, and so of all inputs and outputs.
    xp : module, optional
        numpy, or cupy to have the parameters on the GPU.

    Attributes
    ----------
    parameters : list of arrays
        w (in, out) and b (out,) of each layer, the first layer first: w, b, w, b, … Optimisers
        update them in place.
    activation : str

    Raises
    ------
    TypeError
        `sizes` is no sequence of integers, or `rng` or `dtype` are none of the above.
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

    def __init__(self, sizes, *, activation="tanh", rng=None, dtype=np.float32, xp=np):
        sizes, dtype = _checked_sizes(sizes), checked_dtype(dtype)
        self.activation = checked_choice("activation", activation, KINDS)
        rng = np.random.default_rng(rng)
        self.parameters = []
        for n_in, n_out in itertools.pairwise(sizes):
            bound = math.sqrt(6 / (n_in + n_out))
            self.parameters.append(
                xp.asarray(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
            )
            self.parameters.append(xp.zeros(n_out, dtype))

    def forward(self, x):
        """The network's output.

        Parameters
        ----------
        x : (..., n_in) array of the dtype of the parameters

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
        xp, x = self._checked(x=x)
        z, cache = self._forward(xp, x, x.reshape(-1, x.shape[-1])[:0], 0)
        return z[0], cache

    def vjp(self, grad_y, cache):
        """Gradients of a loss from its gradient in the output.

        Parameters
        ----------
        grad_y : (..., n_out) array
        cache : MLPCache
            What :meth:`forward` returned beside y.

        Returns
        -------
        grad_x : (..., n_in) array
        grads : list of arrays
            In the order and of the shapes of `parameters`.

        Raises
        ------
        TypeError
            `cache` is another object, or `grad_y` has another dtype or device.
        ValueError
            `grad_y` has not the shape of y.
        """
        checked_cache(cache, MLPCache)
        n_out = cache.weights[-1].shape[1]
        xp, (grad_y, w) = on_device(grad_y=grad_y, parameters=cache.weights[-1])
        checked_gradient(grad_y, (*cache.shape[:-1], n_out))
        float_dtype(grad_y=grad_y, parameters=w)
        return _backward(xp, grad_y.reshape(1, math.prod(cache.shape[:-1]), n_out), cache)

    def taylor(self, x, directions, *, order=2):
        """The output and its first and second derivatives along directions of the input.

        Parameters
        ----------
        x : (..., n_in) array of the dtype of the parameters
        directions : (D, n_in) array
            The unit vectors give partial derivatives.
        order : {1, 2}, optional
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
        if (
            isinstance(order, bool)
            or not isinstance(order, (int, np.integer))
            or order not in (1, 2)
        ):
            raise ValueError(f"order must be 1 or 2 (got {order!r})")
        if order == 2 and self.activation == "relu":
            raise ValueError(
                "order must be 1 for activation='relu', which has no second derivative (got "
                "order=2)"
            )
        xp, x, directions = self._checked(x=x, directions=directions)
        if directions.ndim != 2:
            raise ValueError(
                f"directions must have shape (D, {x.shape[-1]}) (got {directions.shape})"
            )
        d = len(directions)
        z, cache = self._forward(xp, x, directions, int(order))
        outputs = (z[0], z[1 : 1 + d]) if order == 1 else (z[0], z[1 : 1 + d], z[1 + d :])
        return outputs, MLPTaylorCache(cache)

    def taylor_vjp(self, grad_y, grad_first, *grad_second_and_cache):
        """Gradients of a loss from its gradients in what :meth:`taylor` returned.

        Called as ``taylor_vjp(grad_y, grad_first, grad_second, cache)``, without `grad_second`
        after order 1. None stands for zeros.

        Parameters
        ----------
        grad_y : (..., n_out) array or None
        grad_first : (D, ..., n_out) array or None
        grad_second : (D, ..., n_out) array or None
            If `order` was 2.
        cache : MLPTaylorCache
            What :meth:`taylor` returned beside its outputs.

        Returns
        -------
        grad_x : (..., n_in) array
        grads : list of arrays
            In the order and of the shapes of `parameters`.

        Raises
        ------
        TypeError
            `cache` is another object, or a gradient has another dtype or device; too few or too
            many gradients.
        ValueError
            A gradient has not the shape of its output.

        Notes
        -----
        With cotangents g, g_k, g_kk of s, s_k, s_kk in a nonlinear layer, those of u, u_k, u_kk are
        s' g + Σ_k (s'' u_k g_k + (s''' u_k² + s'' u_kk) g_kk), s' g_k + 2 s'' u_k g_kk and s' g_kk.
        `directions` is taken as constant.
        """
        *grad_second, cache = grad_second_and_cache or (None,)
        checked_cache(cache, MLPTaylorCache)
        (layers,) = cache
        order, d = layers.order, len(layers.directions)
        if len(grad_second) != order - 1:
            raise TypeError(
                f"taylor_vjp takes {order + 1} gradients and the cache after order={order} (got "
                f"{2 + len(grad_second)})"
            )
        w, names = layers.weights[-1], ("grad_y", "grad_first", "grad_second")[: order + 1]
        given = dict(zip(names, (grad_y, grad_first, *grad_second), strict=True))
        xp, (w, *gradients) = on_device(parameters=w, **given)
        given = dict(zip(names, gradients, strict=True))
        float_dtype(parameters=w, **given)
        shape = (*layers.shape[:-1], w.shape[1])
        g = xp.zeros((1 + order * d, *shape), w.dtype)
        for part, (name, gradient) in zip(
            (g[0], g[1 : 1 + d], g[1 + d :]), given.items(), strict=False
        ):
            if gradient is not None:
                checked_gradient(gradient, part.shape, name)
                part[...] = gradient
        return _backward(xp, g.reshape(len(g), math.prod(shape[:-1]), shape[-1]), layers)

    def _checked(self, **arrays):
        """The namespace and the arrays, whose last extent must be n_in."""
        w = self.parameters[0]
        xp, (_, *checked) = on_device(parameters=w, **arrays)
        arrays = dict(zip(arrays, checked, strict=True))
        float_dtype(**arrays, parameters=w)
        for name, array in arrays.items():
            if array is None:
                raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
            if array.ndim < 1 or array.shape[-1] != w.shape[0]:
                raise ValueError(
                    f"{name} must have {w.shape[0]} as its last extent, as the network has (got "
                    f"shape {array.shape})"
                )
        return xp, *checked

    def _forward(self, xp, x, directions, order):
        """The coefficients (c, n, n_out) of the output, one matrix product and one kernel in each
        hidden layer after the first."""
        n_in, n_out = x.shape[-1], self.parameters[-1].shape[0]
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


def _backward(xp, g, cache):
    """grad_x and the gradients of the parameters from those of the outputs (c, n, n_out)."""
    c, n, n_out = g.shape
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
    return (g[0] @ w.T).reshape(cache.shape), grads[::-1]


def _checked_sizes(sizes):
    try:
        sizes = [operator.index(size) for size in sizes]
    except TypeError:
        raise TypeError(f"sizes must be a sequence of integers (got {sizes!r})") from None
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two numbers, each at least 1 (got {sizes})")
    return sizes


# --- kernels --------------------------------------------------------------------------------------
# m is the order: 0, 1 or 2. Elements of a layer are rows of h numbers behind each other. u holds
# the values; the rows of `more` the u_k, then the u_kk. These repeat after p elements: in the first
# layer, where x + t v moves all inputs alike, u_k is the same for all, p = h, and there is no u_kk;
# else p is the size. y and g have all coefficients: 1, D, and D of order 2.

BLOCK = 1024  # elements whose coefficients stay in the cache


def layer(u, more, b, y, higher, work, start, stop):
    """The coefficients y of s(u + b); u becomes s', and `higher` s'' and s''' as far as a backward
    pass of this order needs them."""
    m, size = higher.shape[0], u.size
    d = (y.shape[0] - 1) // max(m, 1)
    tile, zeros = work[2 * BLOCK : 3 * BLOCK], cleared(work[3 * BLOCK :])
    for low in range(start, stop, BLOCK):
        high = min(low + BLOCK, stop)
        add_bias(u, b, low, high)
        s1, s2, s3 = u[low:high], work[: high - low], work[BLOCK : BLOCK + high - low]
        if m > 0:
            s2 = higher[0, low:high]
        if m > 1:
            s3 = higher[1, low:high]
        expand(s1, y[0, low:high], s2, s3)
        for k in range(d):
            u_k = coefficient(more, k, size, low, high, tile)
            if m == 1:
                chain_1(s1, u_k, y[1 + k, low:high])
            elif m == 2:
                u_kk = zeros[: high - low]
                if more.shape[0] > d:
                    u_kk = more[d + k, low:high]
                chain_2(s1, s2, u_k, u_kk, y[1 + k, low:high], y[1 + d + k, low:high])


def cleared(x):
    for i in range(x.size):
        x[i] = x.dtype.type(0)
    return x


def coefficient(more, k, size, low, high, tile):
    """more[k, i % p] for i from low to high."""
    p = more.shape[1]
    if p == size:
        return more[k, low:high]
    i = low
    while i < high:
        column = i % p
        end = min(high, i + p - column)
        part, row = tile[i - low : end - low], more[k, column : column + end - i]
        for j in range(part.size):
            part[j] = row[j]
        i = end
    return tile[: high - low]


def add_bias(u, b, start, stop):
    """u[i] += b[i % h], row by row"""
    while start < stop:
        column = start % b.size
        end = min(stop, start + b.size - column)
        row, bias = u[start:end], b[column : column + end - start]
        for j in range(row.size):
            row[j] += bias[j]
        start = end


def expand(u, s, s2, s3):
    """s, s'' and s''' of u; u becomes s'(u)."""
    real = u.dtype.type
    for i in range(u.size):
        s[i], u[i], s2[i], s3[i] = derivatives(u[i], real)


def chain_1(s1, u_k, y_k):
    for i in range(s1.size):
        y_k[i] = s1[i] * u_k[i]


def chain_2(s1, s2, u_k, u_kk, y_k, y_kk):
    for i in range(s1.size):
        y_k[i] = s1[i] * u_k[i]
        y_kk[i] = s2[i] * u_k[i] * u_k[i] + s1[i] * u_kk[i]


FORWARD = {
    kind: kernel(
        "inout T u[size]; in T more[e, p]; in T b[h]; out T y[c, size]; out T higher[m, size]; "
        "scratch T work[4096]",
        split="size",
        grain="8192",
    )(for_kind(layer, "mlp_layer", kind, (expand,)))
    for kind in KINDS
}


@kernel(
    "in T u[size]; in T more[e, p]; in T higher[m, size]; inout T g[c, size]; scratch T work[2048]",
    split="size",
    grain="8192",
)
def mlp_layer_vjp(u, more, higher, g, work, start, stop):
    """Cotangents g of the coefficients of s(u) become those of u; u holds s', `higher` s'' and
    s'''."""
    m, size = higher.shape[0], u.size
    d = (g.shape[0] - 1) // max(m, 1)
    tile, zeros = work[:BLOCK], cleared(work[BLOCK:])
    for low in range(start, stop, BLOCK):
        high = min(low + BLOCK, stop)
        s1, g0 = u[low:high], g[0, low:high]
        scale(s1, g0)
        for k in range(d):
            u_k = coefficient(more, k, size, low, high, tile)
            if m == 1:
                pull_1(s1, higher[0, low:high], u_k, g0, g[1 + k, low:high])
            elif m == 2:
                u_kk = zeros[: high - low]
                if more.shape[0] > d:
                    u_kk = more[d + k, low:high]
                pull_2(
                    s1,
                    higher[0, low:high],
                    higher[1, low:high],
                    u_k,
                    u_kk,
                    g0,
                    g[1 + k, low:high],
                    g[1 + d + k, low:high],
                )


def scale(s1, g):
    for i in range(g.size):
        g[i] *= s1[i]


def pull_1(s1, s2, u_k, g, g_k):
    for i in range(g.size):
        g[i] += s2[i] * u_k[i] * g_k[i]
        g_k[i] *= s1[i]


def pull_2(s1, s2, s3, u_k, u_kk, g, g_k, g_kk):
    for i in range(g.size):
        second, bend = g_kk[i], s2[i] * u_k[i]
        g[i] += bend * g_k[i] + (s3[i] * u_k[i] * u_k[i] + s2[i] * u_kk[i]) * second
        g_k[i] = s1[i] * g_k[i] + (bend + bend) * second
        g_kk[i] = s1[i] * second
