"""Example calls of pooling. The references look at all windows of padded images."""

import importlib.util

import numpy as np

from ..._pool import get_num_threads
from ...nn import _pooling, avg_pool2d, max_pool2d
from .. import Example
from .convolution import pair

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = "digits images, windows of 2 × 2" if HAVE_SKLEARN else "random images, windows of 2 × 2"
OPTIONS = {"size": (3, 2), "stride": (2, 1), "padding": (1, 1)}


# --- references -----------------------------------------------------------------------------------


def _windows(x, size, stride, padding, outside):
    """(n, c, h', w', height · width): the pixels of each window."""
    padded = np.pad(
        x.astype(np.longdouble),
        [(0, 0), (0, 0), *((p, p) for p in padding)],
        constant_values=outside,
    )
    view = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))[
        :, :, :: stride[0], :: stride[1]
    ]
    return view.reshape(*view.shape[:4], size[0] * size[1])


def _places(shape, size, stride, padding):
    """The place in the plane of each pixel of each window, -1 outside."""
    places = np.arange(shape[2] * shape[3]).reshape(1, 1, *shape[2:])
    return _windows(places, size, stride, padding, -1).astype(int)[0, 0]


def _handed_out(shares, places, shape):
    """The sum of all windows' shares of each pixel."""
    grad_x = np.zeros((*shape[:2], shape[2] * shape[3] + 1), np.longdouble)
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            for k, place in enumerate(places[i, j]):
                grad_x[:, :, place] += shares[:, :, i, j, k]
    return grad_x[:, :, :-1].reshape(shape)


def _window(size, stride, padding):
    size, padding = pair(size), pair(padding)
    return size, size if stride is None else pair(stride), padding


def pool2d(x, size, *, stride=None, padding=0, kind="max"):
    """The largest or the mean value of each window, and for the largest one its place in the plane:
    that of the first NaN, else of the first largest value."""
    size, stride, padding = _window(size, stride, padding)
    if kind == "mean":
        return _windows(x, size, stride, padding, 0).mean(axis=-1), None
    values = _windows(x, size, stride, padding, -np.inf)
    places = _places(x.shape, size, stride, padding)
    at = np.where(values.max(axis=-1) == -np.inf, (places >= 0).argmax(axis=-1), values.argmax(-1))
    y = np.take_along_axis(values, at[..., None], -1)[..., 0]
    where = np.take_along_axis(np.broadcast_to(places, values.shape), at[..., None], -1)[..., 0]
    return y, where


def pool2d_vjp(grad_y, where, shape, size, *, stride=None, padding=0):
    """The gradient in x of this shape, of the largest values at `where`, or of means where that is
    None."""
    places = _places(shape, *_window(size, stride, padding))
    grad_y = grad_y[..., None].astype(np.longdouble)
    if where is None:
        shares = np.repeat(grad_y, places.shape[-1], axis=-1) / places.shape[-1]
    else:
        shares = (places == where[..., None]) * grad_y
    return _handed_out(shares, places, shape)


def _max_pool2d_vjp(grad_y, cache):
    size, stride, padding = (cache.window[i : i + 2] for i in (0, 2, 4))
    return pool2d_vjp(grad_y, cache.where, cache.shape, size, stride=stride, padding=padding)


def _avg_pool2d_vjp(grad_y, cache):
    size, stride, padding = (cache.window[i : i + 2] for i in (0, 2, 4))
    return pool2d_vjp(grad_y, None, cache.shape, size, stride=stride, padding=padding)


# --- data -----------------------------------------------------------------------------------------


def _call(rng, dtype, n, c=3, h=9, w=11):
    return {"x": rng.standard_normal((n, c, h, w)).astype(dtype)} | OPTIONS


def _with_gradient(rng, routine, call):
    y, cache = routine(**call)
    return {"grad_y": rng.standard_normal(y.shape).astype(y.dtype), "cache": cache}


def _real(dtype):
    if HAVE_SKLEARN:
        from sklearn.datasets import load_digits

        images = load_digits().images[:, None]
    else:
        images = np.random.default_rng(0).standard_normal((1797, 1, 8, 8))
    return {
        "x": np.repeat(images, 16, axis=1).astype(dtype),
        "size": (2, 2),
        "stride": (2, 2),
        "padding": (0, 0),
    }


def _torch(name):
    def call(x, size, stride, padding):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(get_num_threads())  # as many as numcore has
        try:
            return getattr(torch.nn.functional, name)(torch.from_numpy(x), size, stride, padding)
        finally:
            torch.set_num_threads(before)

    return call


def _pair(name, routine, forward, backward, bound):
    """The examples of a routine and of its backward pass."""
    return {
        name: Example(
            arguments=lambda rng, dtype: _call(rng, dtype, 5),
            arrays=("x",),
            reference=forward,
            bound=bound,
            data=DATA,
            real=_real,
            peer=(f"torch {name}", _torch(name)),
            sizes=lambda rng, dtype, n: _call(rng, dtype, n, 2, 4, 5),
            result=lambda result: result[0],
        ),
        f"{name}_vjp": Example(
            arguments=lambda rng, dtype: _with_gradient(rng, routine, _call(rng, dtype, 5)),
            arrays=("grad_y",),
            reference=backward,
            bound={"float32": 5e-7, "float64": 1e-15},
            data=DATA,
            real=lambda dtype: _with_gradient(np.random.default_rng(1), routine, _real(dtype)),
            sizes=lambda rng, dtype, n: _with_gradient(rng, routine, _call(rng, dtype, n, 2, 4, 5)),
        ),
    }


EXAMPLES = _pair(
    "max_pool2d",
    max_pool2d,
    lambda **call: pool2d(**call)[0],
    _max_pool2d_vjp,
    {"float32": 0.0, "float64": 0.0},
) | _pair(
    "avg_pool2d",
    avg_pool2d,
    lambda **call: pool2d(**call, kind="mean")[0],
    _avg_pool2d_vjp,
    {"float32": 5e-7, "float64": 1e-15},
)


# --- arguments of kernels: windows that overlap and reach into the padding ------------------------


def _sizes(rng):
    h, w, height, width = (int(n) for n in rng.integers(4, 9, 4) - [0, 0, 3, 3])
    window = np.array(
        [
            height,
            width,
            *rng.integers(1, 4, 2),
            rng.integers(0, height // 2 + 1),
            rng.integers(0, width // 2 + 1),
        ]
    )
    rows, cols = (
        (n + 2 * p - k) // s + 1
        for n, k, s, p in zip((h, w), window[:2], window[2:4], window[4:], strict=True)
    )
    return h, w, window, int(rows), int(cols)


def _forward_arguments(with_places):
    def make(rng, variant, size):
        h, w, window, rows, cols = _sizes(rng)
        # of few values, so that some are equal
        x = rng.integers(-2, 3, (size, h, w)).astype(variant["T"])
        x[rng.random(x.shape) < (0.02 if with_places else 0)] = np.nan
        outputs = [np.full((size, rows, cols), np.nan, variant["T"])]
        return [
            x,
            window,
            *outputs,
            *([np.full((size, rows, cols), -1, np.int32)] if with_places else []),
        ]

    return make


def _backward_arguments(with_places):
    def make(rng, variant, size):
        h, w, window, rows, cols = _sizes(rng)
        x, grad_y = (
            rng.standard_normal(shape).astype(variant["T"])
            for shape in ((size, 1, h, w), (size, rows, cols))
        )
        where = [
            max_pool2d(
                x, window[:2].tolist(), stride=window[2:4].tolist(), padding=window[4:].tolist()
            )[1].where[:, 0]
        ]
        return [
            grad_y,
            *(where if with_places else []),
            window,
            np.full((size, h, w), np.nan, variant["T"]),
        ]

    return make


KERNELS = {
    _pooling.max_pool.name: _forward_arguments(True),
    _pooling.avg_pool.name: _forward_arguments(False),
    _pooling.max_pool_backward.name: _backward_arguments(True),
    _pooling.avg_pool_backward.name: _backward_arguments(False),
}
