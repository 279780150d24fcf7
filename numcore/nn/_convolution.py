"""Two-dimensional convolution: forward pass and gradients as products with matrices whose columns
are gathered from the images on the fly.

The pixels under each place of the kernel are the columns of a matrix (im2col); weights times
columns is the output. Here no such matrix is made: panels of it, small enough for the cache, are
gathered as the product goes along. The gradient in the input is a convolution of the gradient in
the output with the weights of each residue of the pixels modulo the stride: every pixel gathers,
none is scattered to. K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural
Networks for Document Processing", IWFHR 2006; V. Dumoulin, F. Visin, "A guide to convolution
arithmetic for deep learning", arXiv:1603.07285.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np

from ..arguments import Array, Float, interval
from ..dispatch import namespace_of, routine
from ..simd import TALLEST
from ._convolution_kernels import (
    ITEM_GROUP,
    ITEM_IN,
    ITEM_IN_END,
    ITEM_OUT,
    ITEM_OUT_END,
    ITEM_PART,
    ITEM_ROW,
    ITEM_ROW_END,
    OUTPUTS,
    WEIGHT_OUTPUTS,
    convolve,
    convolve_weights,
)
from ._windows import Padding, Size, output_sizes, pair

PLACES = 192  # of the output, gathered at once
DEPTH = 192  # of a product: channels times taps
ENTRIES = 640  # of the gradient of the weights for one output channel: channels times taps
MOST_PARTS = 16  # of the batch, whose gradients of the weights are added at last


class Conv2dCache(NamedTuple):
    """What :func:`conv2d` keeps for its gradients."""

    x: Float[Array, "n c height width"]
    w: Float[Array, "o c_group kh kw"]
    has_bias: bool
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class Conv2dGrads(NamedTuple):
    """Gradients of the arguments of :func:`conv2d`."""

    x: Array
    w: Array
    b: Array | None


class Axis(NamedTuple):
    """Which pixels one axis of a convolution reads: place i and tap t read
    ``first + i * step + t * tap``, if there is such a pixel."""

    places: int
    step: int
    first: int
    taps: int
    tap: int


# --- routines -------------------------------------------------------------------------------------


@routine
def conv2d(
    x: Float[Array, "n c height width"],
    w: Float[Array, "o c_group kh kw"],
    b: Float[Array, "o"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: Annotated[int, interval("[1, 2147483648)")] = 1,
) -> tuple[Array, Conv2dCache]:
    """Two-dimensional convolution of images with learned kernels, as neural networks have it: the
    kernel is not flipped.

    Parameters
    ----------
    x : (n, c, height, width) array of float32 or float64
        Images with c channels.
    w : (o, c_group, kh, kw) array of float32 or float64
        Kernels.
    b : (o,) array of float32 or float64, optional
        Added to every pixel of an output channel.
    stride : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31)), default 1
        Step from one place of the kernel to the next, vertically and horizontally.
    padding : int in [0, 2**31) or (int in [0, 2**31), int in [0, 2**31)), default 0
        Zeros on each side of the image.
    dilation : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31)), default 1
        Step from one pixel under the kernel to the next.
    groups : int in [1, 2**31), default 1
        Groups of channels: group g of the output sees only group g of the input.

    Returns
    -------
    y : (n, o, h', w') array
        h' = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and w' likewise.
    cache : Conv2dCache
        For :func:`conv2d_vjp`; holds `x` and `w` by reference.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, options that are not integers.
    ValueError
        Shapes that do not fit, `stride`, `dilation` or `groups` below 1, `padding` below 0,
        `groups` that does not divide c and o, a kernel larger than the padded image.

    Notes
    -----
    ``y[n, o, i, j] = b[o] + Σ w[o, c, k, l] x[n, c, stride i + dilation k - padding, stride j + dilation l - padding]``,
    pixels outside the image being 0. Sums are rounded as those of any product of matrices: errors
    are below K eps times the sum of the terms' absolute values, K = c / groups · kh · kw. 2 K
    operations for an entry of y. Memory beyond the result: less than 1 MB for each thread, unless
    rows of y have more than some thousand entries.

    References
    ----------
    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document
    Processing", IWFHR 2006.

    Examples
    --------
    >>> y, cache = conv2d(np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)))
    >>> y
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """  # noqa: E501
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    _check_groups(x, w, groups)
    sizes = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    xp = namespace_of(x)
    y = xp.empty((x.shape[0], w.shape[0], *sizes), x.dtype)
    with np.errstate(all="ignore"):
        _correlate(xp, x, w, b, *_axes(sizes, w, stride, padding, dilation), groups, y)
    return y, Conv2dCache(x, w, b is not None, stride, padding, dilation, groups)


@routine
def conv2d_vjp(grad_y: Float[Array, "n o out_height out_width"], cache: Conv2dCache) -> Conv2dGrads:
    """Gradients of :func:`conv2d`.

    Parameters
    ----------
    grad_y : (n, o, out_height, out_width) array of float32 or float64
        Gradient of a loss in the output.
    cache : Conv2dCache
        What :func:`conv2d` returned with it.

    Returns
    -------
    Conv2dGrads
        x (n, c, height, width), w (o, c / groups, kh, kw) and b (o,), None if there was no `b`.

    Raises
    ------
    TypeError
        `cache` is not of :func:`conv2d`, another dtype than that of the layer, arrays on different
        devices.
    ValueError
        `grad_y` does not have the shape of the output.

    Notes
    -----
    ``grad_w[o, c, k, l] = Σ grad_y[n, o, i, j] x[n, c, stride i + dilation k - padding, ...]``;
    grad_x is the adjoint of the convolution in x alone (a transposed convolution of `grad_y`);
    ``grad_b[o] = Σ grad_y[n, o, i, j]``. 4 K operations for an entry of `grad_y`, K as for
    :func:`conv2d`. Memory beyond the results: some copies of grad_w, up to 16 if these are no
    larger than `x` or `grad_y`, and as for :func:`conv2d`. The result does not depend on the number
    of threads.

    References
    ----------
    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285,
    chapter 4.

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
    x, w = cache.x, cache.w
    sizes = output_sizes(x.shape[2:], w.shape[2:], cache.stride, cache.padding, cache.dilation)
    if grad_y.shape[2:] != sizes:
        wanted = (x.shape[0], w.shape[0], *sizes)
        raise ValueError(f"grad_y must have shape {wanted} (got {grad_y.shape})")
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        grad_x = _input_gradient(xp, grad_y, cache)
        axes = _axes(sizes, w, cache.stride, cache.padding, cache.dilation)
        grad_w = _weight_gradient(xp, grad_y, x, w, *axes, cache.groups)
        grad_b = grad_y.sum(axis=(0, 2, 3)) if cache.has_bias else None
    return Conv2dGrads(grad_x, grad_w, grad_b)


def _check_groups(x, w, groups):
    (_, channels, *_), (outputs, inputs, *kernel) = x.shape, w.shape
    if 0 in kernel:
        raise ValueError(f"w must have kh, kw >= 1 (got shape {w.shape})")
    if channels % groups or outputs % groups:
        raise ValueError(
            f"groups must divide c and o with c = {channels}, o = {outputs} (got {groups})"
        )
    if channels != inputs * groups:
        raise ValueError(
            f"w must have c / groups = {channels // groups} input channels (got shape {w.shape})"
        )


# --- from layers to kernels -----------------------------------------------------------------------


def _axes(sizes, w, stride, padding, dilation):
    return tuple(
        Axis(*numbers)
        for numbers in zip(sizes, stride, (-p for p in padding), w.shape[2:], dilation, strict=True)
    )


def _correlate(xp, x, w, b, vertical, horizontal, groups, out):
    """out[n, o, i, j] = b[o] + Σ w[o, c, k, l] x[n, c, at(i, k), at(j, l)], the axes saying which
    pixel `at` is."""
    if not w.size or not x.size:
        out[...] = 0 if b is None else b[:, None, None]
    elif out.size:
        chunk = _shares(w.shape[1], DEPTH // (w.shape[2] * w.shape[3]))
        strip = max(1, PLACES // horizontal.places)
        items = _items(
            _cuts(len(out) * vertical.places, strip),
            groups,
            w.shape[0] // groups,
            OUTPUTS,
            _cuts(w.shape[1], w.shape[1]),
        )
        bias = xp.empty(0, x.dtype) if b is None else xp.ascontiguousarray(b)
        weights = xp.concatenate(
            (w.reshape(-1), xp.zeros((TALLEST - 1) * math.prod(w.shape[1:]), x.dtype))
        )
        convolve(
            xp.ascontiguousarray(x),
            weights,
            bias,
            *_tables(xp, items, vertical, horizontal, w.shape[1], chunk, strip),
            out,
        )


def _weight_gradient(xp, grad_y, x, w, vertical, horizontal, groups):
    if not grad_y.size or not w.size:
        return xp.zeros(w.shape, x.dtype)
    chunk = _shares(w.shape[1], ENTRIES // (w.shape[2] * w.shape[3]))
    strip = max(1, PLACES // horizontal.places)
    lines = len(x) * vertical.places
    parts = max(1, min(MOST_PARTS, -(-lines // (4 * strip)), max(x.size, grad_y.size) // w.size))
    rows = _cuts(lines, -(-lines // parts))
    items = _items(rows, groups, w.shape[0] // groups, WEIGHT_OUTPUTS, _cuts(w.shape[1], chunk))
    grads = xp.empty((len(rows), *w.shape[:2], w.shape[2] * w.shape[3]), x.dtype)
    convolve_weights(
        xp.ascontiguousarray(x),
        xp.ascontiguousarray(grad_y),
        *_tables(xp, items, vertical, horizontal, w.shape[1], chunk, strip),
        grads,
    )
    return grads.sum(axis=0).reshape(w.shape)


def _input_gradient(xp, grad_y, cache):
    """The pixels of one residue modulo the stride see the same taps: for them, a convolution of
    `grad_y` with these taps alone."""
    (x, w), groups = (cache.x, cache.w), cache.groups
    outputs = w.shape[0] // groups
    transposed = w.reshape(groups, outputs, *w.shape[1:]).swapaxes(1, 2)
    phases = [
        _phases(*numbers)
        for numbers in zip(
            x.shape[2:], w.shape[2:], cache.stride, cache.padding, cache.dilation, strict=True
        )
    ]
    whole = cache.stride == (1, 1)
    grad_x = xp.empty(x.shape, x.dtype) if whole else xp.zeros(x.shape, x.dtype)
    for rows, row_taps, vertical in phases[0]:
        for columns, column_taps, horizontal in phases[1]:
            taps = transposed[..., row_taps, column_taps].reshape(
                x.shape[1], outputs, vertical.taps, horizontal.taps
            )
            part = (
                grad_x
                if whole
                else xp.empty((*x.shape[:2], vertical.places, horizontal.places), x.dtype)
            )
            _correlate(xp, grad_y, taps, None, vertical, horizontal, groups, part)
            if not whole:
                grad_x[:, :, rows, columns] = part
    return grad_x


def _phases(n, kernel, stride, padding, dilation):
    """For each residue: the pixels, the taps that touch them, and from which places of the
    output."""
    step = stride // math.gcd(stride, dilation)  # from one such tap to the next
    phases = []
    for tap in range(min(step, kernel)):
        start = (tap * dilation - padding) % stride
        if start < n:
            axis = Axis(
                len(range(start, n, stride)),
                1,
                (start + padding - tap * dilation) // stride,
                len(range(tap, kernel, step)),
                -(step * dilation // stride),
            )
            phases.append((slice(start, n, stride), slice(tap, kernel, step), axis))
    return phases


def _shares(count, most):
    """The size of equal shares of `count` that are at most `most`, or 1."""
    return -(-count // -(-count // max(1, most)))


def _cuts(count, step):
    """[0, count) in pieces of `step`: (pieces, 2)."""
    starts = np.arange(0, count, step)
    return np.stack((starts, np.minimum(starts + step, count)), axis=1)


def _items(rows, groups, outputs, most, inputs):
    """The work table: all pieces of rows with all output channels of all groups, at most `most` at
    once, and pieces of their inputs."""
    outputs = _cuts(outputs, most) + outputs * np.arange(groups)[:, None, None]
    group = np.arange(groups)
    items = np.empty((len(rows), groups, outputs.shape[1], len(inputs), 8), np.int64)
    items[..., ITEM_ROW : ITEM_ROW_END + 1] = rows[:, None, None, None]
    items[..., ITEM_GROUP] = group[:, None, None]
    items[..., ITEM_OUT : ITEM_OUT_END + 1] = outputs[:, :, None]
    items[..., ITEM_IN : ITEM_IN_END + 1] = inputs
    items[..., ITEM_PART] = np.arange(len(rows))[:, None, None, None]
    return items.reshape(-1, 8)


def _tables(xp, items, vertical, horizontal, inputs, chunk, strip):
    """The tables of the kernels: `lines` holds where each tap reads vertically, `reads` where a
    tap's places begin in a line, and `columns` which column lies where in a line: those of one
    residue modulo the step side by side, as far as taps reach."""
    offsets = [t * horizontal.tap for t in range(horizontal.taps)]
    residues, reads, columns = {}, [], []
    for offset in offsets:
        residues.setdefault(offset % horizontal.step, []).append(offset // horizontal.step)
    begin = {}
    for residue, quotients in residues.items():
        begin[residue] = len(columns) - min(quotients)
        span = range(min(quotients), max(quotients) + horizontal.places)
        columns += [horizontal.first + residue + q * horizontal.step for q in span]
    reads = [begin[offset % horizontal.step] + offset // horizontal.step for offset in offsets]
    geometry = [vertical.first, vertical.step, horizontal.step, inputs]
    lines = [t * vertical.tap for t in range(vertical.taps)]
    return [
        xp.asarray(np.asarray(table, np.int64))
        for table in (items, geometry, range(chunk), range(strip), lines, reads, columns)
    ]
