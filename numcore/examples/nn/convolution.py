"""Example calls of convolution. The references add up shifted images, tap by tap, in long
double."""

import importlib.util

import numpy as np

from ..._pool import get_num_threads
from ...nn import _convolution
from .. import Example

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = (
    "digits images, 16 kernels of 3 × 3" if HAVE_SKLEARN else "random images, 16 kernels of 3 × 3"
)
OPTIONS = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}


# --- references -----------------------------------------------------------------------------------


def _views(x, kernel, sizes, stride, dilation):
    """(tap row, tap column, what it sees of the padded images)."""
    for k in range(kernel[0]):
        for m in range(kernel[1]):
            top, left = k * dilation[0], m * dilation[1]
            yield (
                k,
                m,
                x[
                    :,
                    :,
                    top : top + stride[0] * sizes[0] : stride[0],
                    left : left + stride[1] * sizes[1] : stride[1],
                ],
            )


def _padded(x, padding, stride, dtype=np.longdouble):
    """With further zeros below and to the right, so that every slice has its full length."""
    more = [(0, 0), (0, 0), *((p, p + s) for p, s in zip(padding, stride, strict=True))]
    return np.pad(x.astype(dtype), more)


def _sizes(x, w, stride, padding, dilation):
    return [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    ]


def pair(value):
    """An option for both axes."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    sizes = _sizes(x, w, stride, padding, dilation)
    images = np.split(_padded(x, padding, stride), groups, axis=1)
    parts = []
    for image, kernels in zip(images, np.split(w.astype(np.longdouble), groups), strict=True):
        y = np.zeros((len(x), len(kernels), *sizes), np.longdouble)
        for k, m, seen in _views(image, w.shape[2:], sizes, stride, dilation):
            y += np.einsum("ncij,oc->noij", seen, kernels[:, :, k, m])
        parts.append(y)
    y = np.concatenate(parts, axis=1)
    return y if b is None else y + b.astype(np.longdouble)[:, None, None]


def conv2d_vjp(grad_y, x, w, *, stride=1, padding=0, dilation=1, groups=1):
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    sizes, grad_y = grad_y.shape[2:], grad_y.astype(np.longdouble)
    grads_x, grads_w = [], []
    for image, kernels, grad in zip(
        np.split(_padded(x, padding, stride), groups, axis=1),
        np.split(w.astype(np.longdouble), groups),
        np.split(grad_y, groups, axis=1),
        strict=True,
    ):
        grad_image, grad_kernels = np.zeros_like(image), np.zeros_like(kernels)
        seen_grads = _views(grad_image, w.shape[2:], sizes, stride, dilation)
        for (k, m, seen), (_, _, to) in zip(
            _views(image, w.shape[2:], sizes, stride, dilation), seen_grads, strict=True
        ):
            grad_kernels[:, :, k, m] = np.einsum("noij,ncij->oc", grad, seen)
            to += np.einsum("noij,oc->ncij", grad, kernels[:, :, k, m])
        grads_x.append(
            grad_image[
                :, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]
            ]
        )
        grads_w.append(grad_kernels)
    return np.concatenate(grads_x, axis=1), np.concatenate(grads_w), grad_y.sum(axis=(0, 2, 3))


def _conv2d_vjp_of_cache(grad_y, cache):
    x, w, _, stride, padding, dilation, groups = cache
    return conv2d_vjp(
        grad_y, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


# --- data -----------------------------------------------------------------------------------------


def _call(rng, dtype, n, h=9, w=11):
    shapes = {"x": (n, 4, h, w), "w": (6, 2, 3, 2), "b": (6,)}
    return {
        name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()
    } | OPTIONS


def _with_gradient(rng, call):
    y, cache = _convolution.conv2d(**call)
    return {"grad_y": rng.standard_normal(y.shape).astype(y.dtype), "cache": cache}


def _real(dtype):
    rng = np.random.default_rng(0)
    if HAVE_SKLEARN:
        from sklearn.datasets import load_digits

        images = load_digits().images[:, None] / 16
    else:
        images = rng.standard_normal((1797, 1, 8, 8))
    w, b = rng.standard_normal((16, 1, 3, 3)) / 3, rng.standard_normal(16)
    return {
        "x": images.astype(dtype),
        "w": w.astype(dtype),
        "b": b.astype(dtype),
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
    }


def _torch(x, w, b, **options):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())  # as many as numcore has
    try:
        return torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, b)), **options)
    finally:
        torch.set_num_threads(before)


EXAMPLES = {
    "conv2d": Example(
        arguments=lambda rng, dtype: _call(rng, dtype, 3),
        arrays=("x", "w", "b"),
        reference=conv2d,
        bound={"float32": 2e-6, "float64": 4e-15},
        data=DATA,
        real=_real,
        peer=("torch conv2d", _torch),
        sizes=lambda rng, dtype, n: _call(rng, dtype, n, 4, 5),
        result=lambda result: result[0],
    ),
    "conv2d_vjp": Example(
        arguments=lambda rng, dtype: _with_gradient(rng, _call(rng, dtype, 3)),
        arrays=("grad_y",),
        reference=_conv2d_vjp_of_cache,
        bound={"float32": 3e-6, "float64": 6e-15},
        data=DATA,
        real=lambda dtype: _with_gradient(np.random.default_rng(1), _real(dtype)),
        sizes=lambda rng, dtype, n: _with_gradient(rng, _call(rng, dtype, n, 4, 5)),
    ),
}


# --- arguments of kernels: each item a strip of two rows, perhaps of two images -------------------


def _geometry(rng, size):
    """The two axes, and the shape of images in two groups of channels that give 2 size rows of
    output."""
    step, taps, padding = (int(n) for n in rng.integers([1, 1, 0], [3, 4, 3]))
    high = next(n for n in (7, 3, 2) if size % n == 0 or n == 2)
    vertical = _convolution.Axis(high, step, -padding, 2, int(rng.integers(1, 3)))
    horizontal = _convolution.Axis(
        int(rng.integers(1, 9)), int(rng.integers(1, 3)), -1, taps, int(rng.integers(1, 3))
    )
    return vertical, horizontal, (2 * size // high, 6, 5, 6)


def _convolve_arguments(rng, variant, size):
    """Two groups of three channels each to five outputs each."""
    vertical, horizontal, shape = _geometry(rng, size)
    items = [
        (2 * i, 2 * i + 2, g, 5 * g, 5 * g + 5, 0, 3, 0) for i in range(size) for g in range(2)
    ]
    tables = _convolution._tables(np, np.reshape(items, (-1, 8)), vertical, horizontal, 3, 2, 2)
    x, weights, bias = (
        rng.standard_normal(s).astype(variant["T"])
        for s in (shape, (10 + 7) * 3 * 2 * horizontal.taps, 10)
    )
    return [
        x,
        weights,
        bias,
        *tables,
        np.full((shape[0], 10, vertical.places, horizontal.places), np.nan, variant["T"]),
    ]


def _convolve_weights_arguments(rng, variant, size):
    """Each item all channels of a group for some rows, which are a part of their own."""
    vertical, horizontal, shape = _geometry(rng, size)
    items = [
        (2 * i, 2 * i + 2, g, 5 * g, 5 * g + 5, 0, 3, i) for i in range(size) for g in range(2)
    ]
    tables = _convolution._tables(np, np.reshape(items, (-1, 8)), vertical, horizontal, 3, 3, 2)
    x, grad_y = (
        rng.standard_normal(s).astype(variant["T"])
        for s in (shape, (shape[0], 10, vertical.places, horizontal.places))
    )
    return [x, grad_y, *tables, np.full((size, 10, 3, 2 * horizontal.taps), np.nan, variant["T"])]


KERNELS = {
    _convolution.convolve.name: _convolve_arguments,
    _convolution.convolve_weights.name: _convolve_weights_arguments,
}
