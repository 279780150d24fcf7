"""Two-dimensional convolution and its gradients, as products of matrices over blocks of the batch.

The pixels under each place of the kernel are gathered into the columns of a matrix (im2col), for a few images or rows at a time, so that
memory does not grow with the batch; weights times columns is the output. The gradient in the input is a convolution of the gradient in
the output with the flipped weights, one for each residue of the pixels modulo the stride: every pixel gathers, none is scattered to.
K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing", IWFHR 2006;
V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ._cache import checked_cache, checked_gradient
from ._windows import integer, output_sizes, pair

__all__ = ["conv2d", "conv2d_vjp"]

BLOCK = 1 << 19  # entries of a block's columns: they stay in the cache until the product reads them


class Conv2dCache(NamedTuple):
    """What the backward pass of :func:`conv2d` needs."""

    x: Any
    w: Any
    has_bias: bool
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int


class Axis(NamedTuple):
    """Which pixels one axis of a convolution reads: place i and tap t read ``first + i * step + t * tap``, if there is such a pixel."""

    places: int
    step: int
    first: int
    taps: int
    tap: int

    def part(self, start, stop):
        return self._replace(places=stop - start, first=self.first + start * self.step)


# --- routines ----------------------------------------------------------------------------------------------------------------------


@routine
def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Two-dimensional convolution of images with learned kernels, as neural networks have it: the kernel is not flipped.

    Parameters
    ----------
    x : (n, c, h, w) array, float32 or float64
        Images with c channels.
    w : (o, c / groups, kh, kw) array
        Kernels.
    b : (o,) array, optional
        Added to every pixel of an output channel.
    stride : int or (int, int), optional
        Step from one place of the kernel to the next, vertically and horizontally.
    padding : int or (int, int), optional
        Zeros on each side of the image.
    dilation : int or (int, int), optional
        Step from one pixel under the kernel to the next.
    groups : int, optional
        The channels fall into so many groups, and group g of the output sees only group g of the input.

    Returns
    -------
    y : (n, o, h', w') array
        h' = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and w' likewise.
    cache : named tuple
        For :func:`conv2d_vjp`; holds `x` and `w` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are no integers.
    ValueError
        Shapes that do not fit, `stride`, `dilation` or `groups` below 1, `padding` below 0, `groups` that does not divide c and o, a
        kernel larger than the padded image.

    Notes
    -----
    ``y[n, o, i, j] = b[o] + Σ w[o, c, k, l] x[n, c, stride i + dilation k - padding, stride j + dilation l - padding]``, pixels outside
    the image being 0. Sums are rounded as those of any product of matrices: errors are below K eps times the sum of the terms' absolute
    values, K = c / groups · kh · kw. 2 K operations for an entry of y. Memory beyond the result: about 2 MB in float32, at least that of
    the columns for one row of y.

    References
    ----------
    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing", IWFHR 2006.

    Examples
    --------
    >>> y, cache = conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)))
    >>> y
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    xp, (x, w, b) = on_device(x=x, w=w, b=b)
    if x is None or w is None:
        raise TypeError(f"{'x' if x is None else 'w'} must be a NumPy or CuPy array (got None)")
    dtype = float_dtype(x=x, w=w, b=b)
    stride, padding, dilation = pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
    groups = integer("groups", groups, 1)
    _check_shapes(x, w, b, groups)
    sizes = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = xp.empty((x.shape[0], w.shape[0], *sizes), dtype)
    with np.errstate(all="ignore"):
        _correlate(xp, x, w, b, _axes(sizes, w, stride, padding, dilation), groups, y)
    return y, Conv2dCache(x, w, b is not None, stride, padding, dilation, groups)


@routine
def conv2d_vjp(grad_y, cache):
    """Gradients of :func:`conv2d`.

    Parameters
    ----------
    grad_y : (n, o, h', w') array
        Gradient of a loss in the output.
    cache : named tuple
        What :func:`conv2d` returned beside it.

    Returns
    -------
    grad_x : (n, c, h, w) array
    grad_w : (o, c / groups, kh, kw) array
    grad_b : (o,) array or None
        None if there was no `b`.

    Raises
    ------
    TypeError
        `cache` is none of :func:`conv2d`, another dtype than that of the layer, arrays on different devices.
    ValueError
        `grad_y` has not the shape of the output.

    Notes
    -----
    ``grad_w[o, c, k, l] = Σ grad_y[n, o, i, j] x[n, c, stride i + dilation k - padding, ...]``; grad_x is the adjoint of the convolution
    in x alone (a transposed convolution of `grad_y`); ``grad_b[o] = Σ grad_y[n, o, i, j]``. 4 K operations for an entry of `grad_y`, K as
    for :func:`conv2d`, in the same memory, beyond the results. They do not depend on the number of threads.

    References
    ----------
    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> from numcore.nn import conv2d
    >>> y, cache = conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)))
    >>> grad_x, grad_w, grad_b = conv2d_vjp(np.ones_like(y), cache)
    >>> grad_x[0, 0], grad_w[0, 0], grad_b
    (array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]]), array([[ 8., 12.],
           [20., 24.]]), None)
    """
    checked_cache(cache, Conv2dCache)
    xp, (grad_y, x, w) = on_device(grad_y=grad_y, x=cache.x, w=cache.w)
    sizes = output_sizes(x.shape[2:], w.shape[2:], cache.stride, cache.padding, cache.dilation)
    checked_gradient(grad_y, (x.shape[0], w.shape[0], *sizes))
    float_dtype(grad_y=grad_y, x=x)
    with np.errstate(all="ignore"):
        grad_x = _input_gradient(xp, grad_y, cache)
        grad_w = _weight_gradient(xp, grad_y, x, w, _axes(sizes, w, cache.stride, cache.padding, cache.dilation), cache.groups)
        return grad_x, grad_w, grad_y.sum(axis=(0, 2, 3)) if cache.has_bias else None


def _check_shapes(x, w, b, groups):
    if x.ndim != 4:
        raise ValueError(f"x must have shape (n, c, h, w) (got {x.shape})")
    if w.ndim != 4 or 0 in w.shape[2:]:
        raise ValueError(f"w must have shape (o, c / groups, kh, kw) with kh, kw >= 1 (got {w.shape})")
    if x.shape[1] % groups or w.shape[0] % groups:
        raise ValueError(f"groups must divide the channels of x and of the output (got groups={groups}, x {x.shape}, w {w.shape})")
    if x.shape[1] != w.shape[1] * groups:
        raise ValueError(f"w must have c / groups = {x.shape[1] // groups} input channels (got w {w.shape}, x {x.shape}, groups={groups})")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b must have shape ({w.shape[0]},) (got {b.shape})")


# --- products over blocks ----------------------------------------------------------------------------------------------------------


def _axes(sizes, w, stride, padding, dilation):
    return tuple(Axis(*numbers) for numbers in zip(sizes, stride, (-p for p in padding), w.shape[2:], dilation, strict=True))


def _correlate(xp, x, w, b, axes, groups, out):
    """out[n, o, i, j] = b[o] + Σ w[o, c, k, l] x[n, c, at(i, k), at(j, l)], `axes` saying which pixel `at` is."""
    matrix = w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))
    for images, rows, columns in _blocks(xp, x, axes, groups):
        y = xp.matmul(matrix, columns).reshape(w.shape[0], images.stop - images.start, rows.stop - rows.start, axes[1].places)
        if b is not None:
            y += b[:, None, None, None]
        out[images, :, rows] = y.swapaxes(0, 1)


def _weight_gradient(xp, grad_y, x, w, axes, groups):
    grad_w = xp.zeros((groups, w.shape[0] // groups, math.prod(w.shape[1:])), x.dtype)
    for images, rows, columns in _blocks(xp, x, axes, groups):
        g = grad_y[images, :, rows].swapaxes(0, 1).reshape(*grad_w.shape[:2], columns.shape[-1])
        grad_w += xp.matmul(g, columns.swapaxes(1, 2))
    return grad_w.reshape(w.shape)


def _input_gradient(xp, grad_y, cache):
    """The pixels of one residue modulo the stride see the same taps: for them, a convolution of `grad_y` with these taps alone."""
    (x, w), groups = (cache.x, cache.w), cache.groups
    grad_x, outputs = xp.zeros(x.shape, x.dtype), w.shape[0] // groups
    transposed = w.reshape(groups, outputs, *w.shape[1:]).swapaxes(1, 2)
    phases = [_phases(*numbers) for numbers in zip(x.shape[2:], w.shape[2:], cache.stride, cache.padding, cache.dilation, strict=True)]
    for rows, row_taps, row_axis in phases[0]:
        for columns, column_taps, column_axis in phases[1]:
            taps = transposed[..., row_taps, column_taps].reshape(x.shape[1], outputs, row_axis.taps, column_axis.taps)
            _correlate(xp, grad_y, taps, None, (row_axis, column_axis), groups, grad_x[:, :, rows, columns])
    return grad_x


def _phases(n, kernel, stride, padding, dilation):
    """For each residue: the pixels, the taps that touch them, and from which places of the output."""
    step = stride // math.gcd(stride, dilation)  # from one such tap to the next
    phases = []
    for tap in range(min(step, kernel)):
        start = (tap * dilation - padding) % stride
        if start < n:
            axis = Axis(len(range(start, n, stride)), 1, (start + padding - tap * dilation) // stride, len(range(tap, kernel, step)),
                        -(step * dilation // stride))
            phases.append((slice(start, n, stride), slice(tap, kernel, step), axis))
    return phases


def _blocks(xp, x, axes, groups):
    """(images, rows, columns of these): slices of the batch and of the rows of the output, and the pixels that they read."""
    vertical, horizontal = axes
    depth = x.shape[1] * vertical.taps * horizontal.taps
    at_once = max(1, BLOCK // max(1, depth * horizontal.places))
    images, rows = max(1, at_once // max(1, vertical.places)), min(at_once, vertical.places)
    buffer = xp.empty(depth * min(images, x.shape[0]) * rows * horizontal.places, x.dtype)
    for n in range(0, x.shape[0], images):
        part = xp.ascontiguousarray(x[n:n + images])
        for r in range(0, vertical.places, max(1, rows)):
            stop = min(r + rows, vertical.places)
            planes = (depth * part.shape[0], stop - r, horizontal.places)
            columns = buffer[:math.prod(planes)].reshape(planes)
            geometry = xp.asarray(np.array([*vertical.part(r, stop), *horizontal], np.int64))
            unfold(part, geometry, columns)
            yield slice(n, n + len(part)), slice(r, stop), columns.reshape(groups, depth // groups, len(part) * (stop - r) * planes[2])


# --- kernels -----------------------------------------------------------------------------------------------------------------------


@kernel("in T x[n, c, h, w]; in int64 geometry[10]; out T columns[planes, rows, places]", split="planes", gpu="block", threads=128)
def unfold(x, geometry, columns, start, stop):
    """Plane p = ((channel * taps + row tap) * taps + column tap) * n + image: what this tap reads at all places, 0 outside the image.

    `geometry` holds the vertical and the horizontal Axis.
    """
    height, width, rows, places = x.shape[2], x.shape[3], columns.shape[1], columns.shape[2]
    down, top, down_taps, down_tap = geometry[1], geometry[2], geometry[3], geometry[4]
    right, left, right_taps, right_tap = geometry[6], geometry[7], geometry[8], geometry[9]
    for p in range(start, stop):
        image, tap = p % x.shape[0], p // x.shape[0]
        column = left + tap % right_taps * right_tap
        row = top + tap // right_taps % down_taps * down_tap
        channel = x[image, tap // right_taps // down_taps]
        low = min(max(0, (right - 1 - column) // right), places)  # the first place inside the image, and the one after the last
        high = max(low, min(places, (width - 1 - column) // right + 1))
        for i in range(rows):
            out = columns[p, i]
            if 0 <= row < height:
                source = channel[row]
                for j in range(low):
                    out[j] = 0
                if right == 1:
                    for j in range(low, high):
                        out[j] = source[column + j]
                else:
                    for j in range(low, high):
                        out[j] = source[column + j * right]
                for j in range(high, places):
                    out[j] = 0
            else:
                for j in range(places):
                    out[j] = 0
            row += down
