"""Pooling: the maximum or the mean under windows that slide over images, and the gradients.

The largest value's place is kept, and the gradient goes back there; windows that overlap add up,
always in the same order. Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning
Applied to Document Recognition", Proc. IEEE 86 (1998).
"""

from typing import Any, NamedTuple

import numpy as np

from ..arguments import Array, Float, Int32
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ._windows import MAX_SIZE, Padding, Size, output_sizes, pair


class MaxPool2dCache(NamedTuple):
    """What :func:`max_pool2d` keeps for its gradient: the place of each window's largest value, and
    the shape of the images."""

    where: Int32[Array, "n c out_height out_width"]
    shape: tuple
    window: tuple  # height, width, steps and padding
    dtype: Any


class AvgPool2dCache(NamedTuple):
    """What :func:`avg_pool2d` keeps for its gradient."""

    shape: tuple
    window: tuple
    dtype: Any


# --- routines -------------------------------------------------------------------------------------


@routine
def max_pool2d(
    x: Float[Array, "n c height width"],
    size: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
) -> tuple[Array, MaxPool2dCache]:
    """The largest value of each window.

    Parameters
    ----------
    x : (n, c, height, width) array of float32 or float64
        Images.
    size : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31))
        Height and width of a window.
    stride : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31)), optional
        Step from one window to the next; by default `size`, so that windows do not overlap.
    padding : int in [0, 2**31) or (int in [0, 2**31), int in [0, 2**31)), default 0
        Pixels of -inf on each side of the image, at most half of `size`.

    Returns
    -------
    y : (n, c, h', w') array
        h' = floor((h + 2 padding - size) / stride) + 1, and w' likewise. NaN where the window holds
        a NaN.
    cache : MaxPool2dCache
        For :func:`max_pool2d_vjp`.

    Raises
    ------
    TypeError
        Another dtype, sizes that are not integers.
    ValueError
        `x` does not have four axes, images without pixels, `size` or `stride` below 1, a window
        larger than the padded image, `padding` below 0 or above half of `size`.

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
    xp, (window, sizes) = namespace_of(x), _windows(x, size, stride, padding)
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
def max_pool2d_vjp(
    grad_y: Float[Array, "n c out_height out_width"], cache: MaxPool2dCache
) -> Array:
    """Gradient of :func:`max_pool2d`.

    Parameters
    ----------
    grad_y : (n, c, out_height, out_width) array of float32 or float64
        Gradient of a loss in the output.
    cache : MaxPool2dCache
        What :func:`max_pool2d` returned with it.

    Returns
    -------
    (n, c, h, w) array
        Each window's gradient goes to its largest value: to the first one in row-major order where
        several are equal, to the first NaN where there is one.

    Raises
    ------
    TypeError
        `cache` is not of :func:`max_pool2d`, another dtype than that of the layer, arrays on
        different devices.
    ValueError
        `grad_y` does not have the shape of the output.

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
    _check_dtype(grad_y, cache.dtype)
    xp, where = namespace_of(grad_y), cache.where
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
def avg_pool2d(
    x: Float[Array, "n c height width"],
    size: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
) -> tuple[Array, AvgPool2dCache]:
    """The mean of each window.

    Parameters
    ----------
    x : (n, c, height, width) array of float32 or float64
        Images.
    size : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31))
        Height and width of a window.
    stride : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31)), optional
        Step from one window to the next; by default `size`, so that windows do not overlap.
    padding : int in [0, 2**31) or (int in [0, 2**31), int in [0, 2**31)), default 0
        Zeros on each side of the image, at most half of `size`; they count in the mean.

    Returns
    -------
    y : (n, c, h', w') array
        h' = floor((h + 2 padding - size) / stride) + 1, and w' likewise.
    cache : AvgPool2dCache
        For :func:`avg_pool2d_vjp`.

    Raises
    ------
    TypeError
        Another dtype, sizes that are not integers.
    ValueError
        `x` does not have four axes, images without pixels, `size` or `stride` below 1, a window
        larger than the padded image, `padding` below 0 or above half of `size`.

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
    xp, (window, sizes) = namespace_of(x), _windows(x, size, stride, padding)
    y = xp.empty((*x.shape[:2], *sizes), x.dtype)
    if y.size:
        avg_pool(_planes(xp, x), xp.asarray(np.array(window, np.int64)), _planes(xp, y))
    return y, AvgPool2dCache(x.shape, window, x.dtype)


@routine
def avg_pool2d_vjp(
    grad_y: Float[Array, "n c out_height out_width"], cache: AvgPool2dCache
) -> Array:
    """Gradient of :func:`avg_pool2d`.

    Parameters
    ----------
    grad_y : (n, c, out_height, out_width) array of float32 or float64
        Gradient of a loss in the output.
    cache : AvgPool2dCache
        What :func:`avg_pool2d` returned with it.

    Returns
    -------
    (n, c, h, w) array
        Each window's gradient, shared equally by its pixels.

    Raises
    ------
    TypeError
        `cache` is not of :func:`avg_pool2d`, another dtype than that of the layer.
    ValueError
        `grad_y` does not have the shape of the output.

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
    sizes = output_sizes(cache.shape[2:], *(cache.window[i : i + 2] for i in (0, 2, 4)))
    if grad_y.shape != (shape := (*cache.shape[:2], *sizes)):
        raise ValueError(f"grad_y must have shape {shape} (got {grad_y.shape})")
    _check_dtype(grad_y, cache.dtype)
    xp = namespace_of(grad_y)
    grad_x = xp.empty(cache.shape, cache.dtype)
    if grad_x.size:
        avg_pool_backward(
            _planes(xp, grad_y), xp.asarray(np.array(cache.window, np.int64)), _planes(xp, grad_x)
        )
    return grad_x


def _windows(x, size, stride, padding):
    """The window as (height, width, steps, padding), and the sizes of the output."""
    size, padding = pair(size), pair(padding)
    stride = size if stride is None else pair(stride)
    height, width = x.shape[2:]
    if not height or not width or height * width >= MAX_SIZE:
        raise ValueError(
            f"x must have height, width >= 1 and height * width < 2**31 (got shape {x.shape})"
        )
    if any(2 * p > k for p, k in zip(padding, size, strict=True)):
        raise ValueError(f"padding must be <= size / 2 with size = {size} (got {padding})")
    return (*size, *stride, *padding), output_sizes(x.shape[2:], size, stride, padding)


def _check_dtype(grad_y, dtype):
    if grad_y.dtype != dtype:
        raise TypeError(f"grad_y must have dtype {dtype} like x (got {grad_y.dtype})")


def _planes(xp, x):
    return xp.ascontiguousarray(x).reshape(-1, *x.shape[2:])


# --- kernels --------------------------------------------------------------------------------------
#
# A plane is one channel of one image.

HEIGHT, WIDTH, DOWN, RIGHT, TOP, LEFT = range(6)  # of `window`: its sizes, steps, padding
WINDOW = 6
CONSTANTS = ("HEIGHT", "WIDTH", "DOWN", "RIGHT", "TOP", "LEFT", "WINDOW")


def entries(window):
    return window[HEIGHT], window[WIDTH], window[DOWN], window[RIGHT], window[TOP], window[LEFT]


def reach(tap, step, n, places):
    """The places [low, high) whose pixel ``place * step + tap`` is one of n."""
    low = min(max(0, (step - 1 - tap) // step), places)
    return low, max(low, min(places, (n - 1 - tap) // step + 1))


@kernel(
    "in T x[planes, h, w]; in int64 window[WINDOW]; out T y[planes, rows, cols]; "
    "out int32 where[planes, rows, cols]",
    constants=CONSTANTS,
    split="planes",
    gpu="block",
    threads=128,
)
def max_pool(x, window, y, where, start, stop):
    """y = the largest value of each window, `where` = its place in the plane; the first of equal
    ones, the first NaN before all."""
    height, width, down = window[0], window[1], window[2]
    right, top, left = window[3], window[4], window[5]
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
    "in T grad_y[planes, rows, cols]; in int32 where[planes, rows, cols]; in int64 window[WINDOW]; "
    "out T grad_x[planes, h, w]",
    constants=CONSTANTS,
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
    "in T x[planes, h, w]; in int64 window[WINDOW]; out T y[planes, rows, cols]",
    constants=CONSTANTS,
    split="planes",
    gpu="block",
    threads=128,
)
def avg_pool(x, window, y, start, stop):
    """y = the mean of each window, with zeros outside the plane."""
    height, width, down = window[0], window[1], window[2]
    right, top, left = window[3], window[4], window[5]
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
    "in T grad_y[planes, rows, cols]; in int64 window[WINDOW]; out T grad_x[planes, h, w]",
    constants=CONSTANTS,
    split="planes",
    gpu="block",
    threads=128,
)
def avg_pool_backward(grad_y, window, grad_x, start, stop):
    """grad_x = the gradients of all windows over a pixel, divided by the pixels of a window."""
    height, width, down = window[0], window[1], window[2]
    right, top, left = window[3], window[4], window[5]
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
