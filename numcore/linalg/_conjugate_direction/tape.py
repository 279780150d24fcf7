"""Reverse-mode differentiation of small convolutional networks on two- and three-dimensional
grids."""

from ...dispatch import namespace_of


class Tape:
    """Values in the order of computation, each with the function that backpropagates its
    gradient."""

    def __init__(self, ops):
        self.ops, self.values, self.back, self.n_parameters = ops, [], [], 0

    def _new(self, value, back):
        self.values.append(value)
        self.back.append(back)
        return len(self.values) - 1

    def leaf(self, x):
        return self._new(x, None)

    def conv(self, i, w, b):
        y, cache = self.ops.conv(self.values[i], w, b)
        first, self.n_parameters = self.n_parameters, self.n_parameters + 2

        def back(g, grads, parameters):
            grad_x, parameters[first], parameters[first + 1] = self.ops.conv_vjp(g, cache)
            _accumulate(grads, i, grad_x)

        return self._new(y, back)

    def relu(self, i):
        y = self.values[i] * (self.values[i] > 0)
        return self._new(y, lambda g, grads, parameters: _accumulate(grads, i, g * (y > 0)))

    def add(self, i, j):
        def back(g, grads, parameters):
            _accumulate(grads, i, g)
            _accumulate(grads, j, g)

        return self._new(self.values[i] + self.values[j], back)

    def pool(self, i):
        y, cache = self.ops.pool(self.values[i])
        return self._new(
            y, lambda g, grads, parameters: _accumulate(grads, i, self.ops.pool_vjp(g, cache))
        )

    def double(self, i):
        return self._new(
            self.ops.double(self.values[i]),
            lambda g, grads, parameters: _accumulate(grads, i, self.ops.double_vjp(g)),
        )

    def gradients(self, i, grad):
        """Gradients of all parameters, in the order of the convolutions."""
        grads, parameters = {i: grad}, [None] * self.n_parameters
        for node in range(i, -1, -1):
            if self.back[node] is not None and node in grads:
                self.back[node](grads.pop(node), grads, parameters)
        return parameters


def _accumulate(grads, i, g):
    grads[i] = grads[i] + g if i in grads else g


class GridOperations:
    """Convolution, pooling and interpolation on two- and three-dimensional grids, built from
    two-dimensional operations."""

    def __init__(self, dims):
        from ... import nn  # imported late: the subpackage is large

        self.dims, self.conv2d, self.conv2d_vjp = dims, nn.conv2d, nn.conv2d_vjp
        self.pool2d, self.pool2d_vjp = nn.avg_pool2d, nn.avg_pool2d_vjp

    def conv(self, x, w, b):
        padding = w.shape[-1] // 2
        if self.dims == 2:
            return self.conv2d(x, w, b, padding=padding)
        y, caches, depth = None, [], x.shape[2]
        for tap in range(w.shape[2]):  # plane z sees plane z + tap - padding
            to, of = _shifted(depth, tap - padding)
            part, cache = self.conv2d(
                _planes(x[:, :, of]), w[:, :, tap], b if tap == padding else None, padding=padding
            )
            caches.append((to, of, cache))
            if y is None:
                y = part.dtype.type(0) * _zeros_like(x, (len(x), len(w), *x.shape[2:]))
            y[:, :, to] += _volumes(part, len(x))
        return y, (x, caches)

    def conv_vjp(self, g, cache):
        if self.dims == 2:
            return self.conv2d_vjp(g, cache)
        x, caches = cache
        grad_x, grads_w, grad_b = _zeros_like(x, x.shape), [], None
        for to, of, inner in caches:
            part, grad_w, bias = self.conv2d_vjp(_planes(g[:, :, to]), inner)
            grad_x[:, :, of] += _volumes(part, len(x))
            grads_w.append(grad_w[:, :, None])
            grad_b = bias if bias is not None else grad_b
        return grad_x, namespace_of(x).concatenate(grads_w, axis=2), grad_b

    def pool(self, x):
        if self.dims == 2:
            return self.pool2d(x, 2)
        y, cache = self.pool2d(_planes(x), 2)
        y = _volumes(y, len(x))
        return (y[:, :, ::2] + y[:, :, 1::2]) / 2, (cache, len(x))

    def pool_vjp(self, g, cache):
        if self.dims == 2:
            return self.pool2d_vjp(g, cache)
        inner, count = cache
        return _volumes(
            self.pool2d_vjp(_planes(namespace_of(g).repeat(g / 2, 2, axis=2)), inner), count
        )

    def double(self, x):
        for axis in range(2, 2 + self.dims):
            x = _interpolated(x, axis)
        return x

    def double_vjp(self, g):
        for axis in range(1 + self.dims, 1, -1):
            g = _interpolated_vjp(g, axis)
        return g


def _zeros_like(x, shape):
    return namespace_of(x).zeros(shape, x.dtype)


def _planes(x):
    """(B, c, depth, h, w) → (B depth, c, h, w)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], *x.shape[3:])


def _volumes(x, count):
    """The inverse of _planes."""
    return x.reshape(count, -1, *x.shape[1:]).swapaxes(1, 2)


def _shifted(depth, shift):
    """Slices of the planes written and of the planes read when plane z reads z + shift."""
    return slice(max(0, -shift), depth - max(0, shift)), slice(
        max(0, shift), depth - max(0, -shift)
    )


def _interpolated(x, axis):
    """Double the points along an axis, each a quarter of the way to the neighbor of its source
    point; the outermost values are kept."""
    xp = namespace_of(x)
    x = xp.moveaxis(x, axis, -1)
    before = xp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    after = xp.concatenate([x[..., 1:], x[..., -1:]], axis=-1)
    y = xp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=-1)
    return xp.ascontiguousarray(xp.moveaxis(y.reshape(*x.shape[:-1], 2 * x.shape[-1]), -1, axis))


def _interpolated_vjp(g, axis):
    xp = namespace_of(g)
    g = xp.moveaxis(g, axis, -1)
    even, odd = g[..., ::2], g[..., 1::2]
    x = 0.75 * (even + odd)
    x[..., :-1] += 0.25 * even[..., 1:]
    x[..., :1] += 0.25 * even[..., :1]
    x[..., 1:] += 0.25 * odd[..., :-1]
    x[..., -1:] += 0.25 * odd[..., -1:]
    return xp.moveaxis(x, -1, axis)
