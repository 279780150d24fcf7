"""Pooling: the largest or the mean value under windows that slide over images, and the gradients.

The largest value's place is kept, and the gradient goes back there; windows that overlap add up,
always in the same order. Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning
Applied to Document Recognition", Proc. IEEE 86 (1998).
"""

from typing import Any, NamedTuple

import numpy as np

from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ._cache import checked_cache, checked_gradient
from ._windows import MOST, output_sizes, pair

__all__ = ["avg_pool2d", "avg_pool2d_vjp", "max_pool2d", "max_pool2d_vjp"]


class MaxPool2dCache(NamedTuple):
    """What the backward pass of :func:`max_pool2d` needs: the place of each window's largest value,
    and the shape of the images."""

    where: Any
    shape: tuple
    window: tuple
    dtype: Any


class AvgPool2dCache(NamedTuple):
    """What the backward pass of :func:`avg_pool2d` needs."""

    shape: tuple
    window: tuple
    dtype: Any


# --- routines -------------------------------------------------------------------------------------


@routine
def max_pool2d(x, size, *, stride=None, padding=0):
    """The largest value of each window.

    Parameters
    ----------
    x : (n, c, h, w) array, float32 or float64
        Images.
    size : int or (int, int)
        Height and width of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default `size`, so that windows do not overlap.
    padding : int or (int, int), optional
        Pixels of -inf on each side of the image, at most half of `size`.

    Returns
    -------
    y : (n, c, h', w') array
        h' = floor((h + 2 padding - size) / stride) + 1, and w' likewise. NaN where the window holds
        a NaN.
    cache : named tuple
        For :func:`max_pool2d_vjp`.

    Raises
    ------
    TypeError
        Another dtype, sizes that are no integers.
    ValueError
        `x` has not four axes or images without pixels, `size` or `stride` below 1, a window larger
        than the padded image, `padding` below 0 or above half of `size`.

    Notes
    -----
    The result is exact. The cache holds one int32 for each entry of y, and no reference to `x`.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proc. IEEE 86 (1998).

    Examples
    --------
    >>> y, cache = max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    >>> y
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    xp, x, window, sizes = _checked(x, size, stride, padding)
    y, where = xp.empty((*x.shape[:2], *sizes), x.dtype), xp.empty((*x.shape[:2], *sizes), np.int32)
    if y.size:
        max_pool(
            _planes(xp, x),
            xp.asarray(np.array(window, np.int64)),
            _planes(xp, y),
            _planes(xp, where),
        )
    return y, MaxPool2dCache(where, x.shape, window, x.dtype)


@routine
def max_pool2d_vjp(grad_y, cache):
    """Gradient of :func:`max_pool2d`.

    Parameters
    ----------
    grad_y : (n, c, h', w') array
        Gradient of a loss in the output.
    cache : named tuple
        What :func:`max_pool2d` returned beside it.

    Returns
    -------
    (n, c, h, w) array
        Each window's gradient goes to its largest value: to the first one in row-major order where
        several are equal, to the first NaN where there is one.

    Raises
    ------
    TypeError
        `cache` is none of :func:`max_pool2d`, another dtype than that of the layer, arrays on
        different devices.
    ValueError
        `grad_y` has not the shape of the output.

    Notes
    -----
    Windows that overlap are added in row-major order, at any number of threads.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proc. IEEE 86 (1998).

    Examples
    --------
    >>> from numcore.nn import max_pool2d
    >>> y, cache = max_pool2d(np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)
    >>> max_pool2d_vjp(np.ones_like(y), cache)
    array([[[[0., 1.],
             [0., 0.]]]])
    """
    checked_cache(cache, MaxPool2dCache)
    xp, (grad_y, where) = on_device(grad_y=grad_y, where=cache.where)
    checked_gradient(grad_y, where.shape)
    _check_dtype(grad_y, cache.dtype)
    grad_x = xp.empty(cache.shape, cache.dtype)
    if grad_x.size:
        max_pool_backward(
            _planes(xp, grad_y),
            _planes(xp, where),
            xp.asarray(np.array(cache.window, np.int64)),
            _planes(xp, grad_x),
        )
    return grad_x


@routine
def avg_pool2d(x, size, *, stride=None, padding=0):
    """The mean of each window.

    Parameters
    ----------
    x : (n, c, h, w) array, float32 or float64
        Images.
    size : int or (int, int)
        Height and width of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default `size`, so that windows do not overlap.
    padding : int or (int, int), optional
        Zeros on each side of the image, at most half of `size`; they count in the mean.

    Returns
    -------
    y : (n, c, h', w') array
        h' = floor((h + 2 padding - size) / stride) + 1, and w' likewise.
    cache : named tuple
        For :func:`avg_pool2d_vjp`.

    Raises
    ------
    TypeError
        Another dtype, sizes that are no integers.
    ValueError
        `x` has not four axes or images without pixels, `size` or `stride` below 1, a window larger
        than the padded image, `padding` below 0 or above half of `size`.

    Notes
    -----
    Sums run along the window's rows: errors are below k eps times the mean of the absolute values,
    k the pixels of a window. The cache holds no array.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proc. IEEE 86 (1998).

    Examples
    --------
    >>> y, cache = avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    >>> y
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    xp, x, window, sizes = _checked(x, size, stride, padding)
    y = xp.empty((*x.shape[:2], *sizes), x.dtype)
    if y.size:
        avg_pool(_planes(xp, x), xp.asarray(np.array(window, np.int64)), _planes(xp, y))
    return y, AvgPool2dCache(x.shape, window, x.dtype)


@routine
def avg_pool2d_vjp(grad_y, cache):
    """Gradient of :func:`avg_pool2d`.

    Parameters
    ----------
    grad_y : (n, c, h', w') array
        Gradient of a loss in the output.
    cache : named tuple
        What :func:`avg_pool2d` returned beside it.

    Returns
    -------
    (n, c, h, w) array
        Each window's gradient, shared equally by its pixels.

    Raises
    ------
    TypeError
        `cache` is none of :func:`avg_pool2d`, another dtype than that of the layer.
    ValueError
        `grad_y` has not the shape of the output.

    Notes
    -----
    The result does not depend on the number of threads.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proc. IEEE 86 (1998).

    Examples
    --------
    >>> from numcore.nn import avg_pool2d
    >>> y, cache = avg_pool2d(np.ones((1, 1, 2, 4)), 2)
    >>> avg_pool2d_vjp(np.array([[[[4.0, 8.0]]]]), cache)
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """
    checked_cache(cache, AvgPool2dCache)
    xp, (grad_y,) = on_device(grad_y=grad_y)
    sizes = output_sizes(cache.shape[2:], *(cache.window[i : i + 2] for i in (0, 2, 4)))
    checked_gradient(grad_y, (*cache.shape[:2], *sizes))
    _check_dtype(grad_y, cache.dtype)
    grad_x = xp.empty(cache.shape, cache.dtype)
    if grad_x.size:
        avg_pool_backward(
            _planes(xp, grad_y), xp.asarray(np.array(cache.window, np.int64)), _planes(xp, grad_x)
        )
    return grad_x


def _checked(x, size, stride, padding):
    """The namespace, x, the window as (height, width, steps, padding) and the sizes of the
    output."""
    xp, (x,) = on_device(x=x)
    if x is None:
        raise TypeError("x must be a NumPy or CuPy array (got None)")
    float_dtype(x=x)
    size = pair("size", size, 1)
    stride, padding = (
        pair("stride", size if stride is None else stride, 1),
        pair("padding", padding, 0),
    )
    if x.ndim != 4 or 0 in x.shape[2:] or x.shape[2] * x.shape[3] >= MOST:
        raise ValueError(
            f"x must have shape (n, c, h, w) with h, w >= 1 and h w < 2**31 (got {x.shape})"
        )
    if any(2 * p > k for p, k in zip(padding, size, strict=True)):
        raise ValueError(
            f"padding must be at most half of size (got padding={padding}, size={size})"
        )
    return xp, x, (*size, *stride, *padding), output_sizes(x.shape[2:], size, stride, padding)


def _check_dtype(grad_y, dtype):
    if float_dtype(grad_y=grad_y) != dtype:
        raise TypeError(f"grad_y must have the dtype of the output, {dtype} (got {grad_y.dtype})")


def _planes(xp, x):
    return xp.ascontiguousarray(x).reshape(-1, *x.shape[2:])


# --- kernels --------------------------------------------------------------------------------------
#
# `window` holds height, width, vertical and horizontal step, vertical and horizontal padding. A
# plane is one channel of one image.


def reach(tap, step, n, places):
    """The places [low, high) whose pixel ``place * step + tap`` is one of n."""
    low = min(max(0, (step - 1 - tap) // step), places)
    return low, max(low, min(places, (n - 1 - tap) // step + 1))


@kernel(
    "in T x[planes, h, w]; in int64 window[6]; out T y[planes, rows, cols]; "
    "out int32 where[planes, rows, cols]",
    split="planes",
    gpu="block",
    threads=128,
)
def max_pool(x, window, y, where, start, stop):
    """y = the largest value of each window, `where` = its place in the plane; the first of equal
    ones, the first NaN before all."""
    height, width, down, right, top, left = (
        window[0],
        window[1],
        window[2],
        window[3],
        window[4],
        window[5],
    )
    for p in range(start, stop):
        for i in range(y.shape[1]):
            row = i * down - top
            first = max(row, 0)
            best, at = y[p, i], where[p, i]
            for j in range(y.shape[2]):
                best[j] = -np.inf
                at[j] = first * x.shape[2] + max(j * right - left, 0)
            for r in range(first, min(row + height, x.shape[1])):
                source = x[p, r]
                for t in range(width):
                    low, high = reach(t - left, right, x.shape[2], y.shape[2])
                    for j in range(low, high):
                        column = j * right + (t - left)
                        value = source[column]
                        takes = (best[j] == best[j]) & ~(value <= best[j])
                        best[j] = value if takes else best[j]
                        at[j] = np.int32(r * x.shape[2] + column) if takes else at[j]


@kernel(
    "in T grad_y[planes, rows, cols]; in int32 where[planes, rows, cols]; in int64 window[6]; "
    "out T grad_x[planes, h, w]",
    split="planes",
    gpu="block",
    threads=128,
)
def max_pool_backward(grad_y, where, window, grad_x, start, stop):
    """A plane's windows hand out their gradients in row-major order, the order in which a pixel on
    the GPU collects them."""
    width = grad_x.shape[2]
    for p in range(start, stop):
        for r in range(grad_x.shape[1]):
            for c in range(width):
                grad_x[p, r, c] = 0
        for i in range(grad_y.shape[1]):
            for j in range(grad_y.shape[2]):
                at = np.int64(where[p, i, j])
                grad_x[p, at // width, at % width] += grad_y[p, i, j]


@kernel(
    "in T x[planes, h, w]; in int64 window[6]; out T y[planes, rows, cols]",
    split="planes",
    gpu="block",
    threads=128,
)
def avg_pool(x, window, y, start, stop):
    """y = the mean of each window, with zeros outside the plane."""
    height, width, down, right, top, left = (
        window[0],
        window[1],
        window[2],
        window[3],
        window[4],
        window[5],
    )
    pixels = x.dtype.type(height * width)
    for p in range(start, stop):
        for i in range(y.shape[1]):
            row, total = i * down - top, y[p, i]
            for j in range(total.size):
                total[j] = 0
            for r in range(max(row, 0), min(row + height, x.shape[1])):
                source = x[p, r]
                for t in range(width):
                    low, high = reach(t - left, right, x.shape[2], y.shape[2])
                    for j in range(low, high):
                        total[j] += source[j * right + (t - left)]
            for j in range(total.size):
                total[j] /= pixels


@kernel(
    "in T grad_y[planes, rows, cols]; in int64 window[6]; out T grad_x[planes, h, w]",
    split="planes",
    gpu="block",
    threads=128,
)
def avg_pool_backward(grad_y, window, grad_x, start, stop):
    """grad_x = the gradients of all windows over a pixel, divided by the pixels of a window."""
    height, width, down, right, top, left = (
        window[0],
        window[1],
        window[2],
        window[3],
        window[4],
        window[5],
    )
    pixels = grad_y.dtype.type(height * width)
    for p in range(start, stop):
        for r in range(grad_x.shape[1]):
            for c in range(grad_x.shape[2]):
                grad_x[p, r, c] = 0
        for i in range(grad_y.shape[1]):
            row, source = i * down - top, grad_y[p, i]
            for r in range(max(row, 0), min(row + height, grad_x.shape[1])):
                total = grad_x[p, r]
                for t in range(width):
                    low, high = reach(t - left, right, grad_x.shape[2], grad_y.shape[2])
                    for j in range(low, high):
                        total[j * right + (t - left)] += source[j] / pixels
