"""Convolution, pooling and spectral convolution by their definitions, in loops over the output."""

import itertools

import numpy as np


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def padded(x, padding, value=0.0):
    return np.pad(
        x.astype(float), [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=value
    )


def places(shape, size, stride, padding, dilation=(1, 1)):
    """(place, slices of the padded image under the kernel) for each place."""
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, size, stride, padding, dilation, strict=True)
    ]
    for i, j in itertools.product(*map(range, counts)):
        yield (
            (i, j),
            tuple(
                slice(at * s, at * s + d * (k - 1) + 1, d)
                for at, k, s, d in zip((i, j), size, stride, dilation, strict=True)
            ),
            counts,
        )


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Output pixel by output pixel."""
    return _conv2d(x, w, b, pair(stride), pair(padding), pair(dilation), groups)


def _conv2d(x, w, b, stride, padding, dilation, groups):
    image, out = padded(x, padding), None
    for (i, j), (rows, cols), counts in places(x.shape[2:], w.shape[2:], stride, padding, dilation):
        if out is None:
            out = np.zeros((x.shape[0], w.shape[0], *counts))
        for o in range(w.shape[0]):
            first = o // (w.shape[0] // groups) * w.shape[1]
            out[:, o, i, j] = (image[:, first : first + w.shape[1], rows, cols] * w[o]).sum(
                axis=(1, 2, 3)
            )
    return out if b is None else out + b[:, None, None]


def conv2d_vjp(grad_y, x, w, *, stride=1, padding=0, dilation=1, groups=1):
    """Every output pixel hands its gradient to what it has read."""
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    image = padded(x, padding)
    grad_image, grad_w = np.zeros_like(image), np.zeros(w.shape)
    for (i, j), (rows, cols), _ in places(x.shape[2:], w.shape[2:], stride, padding, dilation):
        for n, o in itertools.product(range(x.shape[0]), range(w.shape[0])):
            first = o // (w.shape[0] // groups) * w.shape[1]
            grad_w[o] += grad_y[n, o, i, j] * image[n, first : first + w.shape[1], rows, cols]
            grad_image[n, first : first + w.shape[1], rows, cols] += grad_y[n, o, i, j] * w[o]
    grad_x = grad_image[
        :, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]
    ]
    return grad_x, grad_w, grad_y.astype(float).sum(axis=(0, 2, 3))


def pool2d(x, size, *, stride=None, padding=0, kind="max"):
    """The largest or the mean value, and for the largest one its row and column."""
    size, stride, padding = pair(size), pair(size if stride is None else stride), pair(padding)
    image, y, where = padded(x, padding, -np.inf if kind == "max" else 0.0), None, {}
    for (i, j), (rows, cols), counts in places(x.shape[2:], size, stride, padding):
        if y is None:
            y = np.zeros((*x.shape[:2], *counts))
        for n, c in np.ndindex(*x.shape[:2]):
            window = image[n, c, rows, cols]
            if kind == "mean":
                y[n, c, i, j] = window.mean()
                continue
            r, m = first_largest(
                window, max(0, padding[0] - rows.start), max(0, padding[1] - cols.start)
            )
            y[n, c, i, j] = window[r, m]
            where[n, c, i, j] = rows.start + r - padding[0], cols.start + m - padding[1]
    return y, where


def first_largest(window, top, left):
    """Row and column of the first NaN, else of the first largest value, of the pixels from (top,
    left) on."""
    best = (top, left)
    for r, m in itertools.product(range(top, window.shape[0]), range(left, window.shape[1])):
        if np.isnan(window[best]):
            break
        if np.isnan(window[r, m]) or window[r, m] > window[best]:
            best = (r, m)
    return best


def pool2d_vjp(grad_y, x, size, *, stride=None, padding=0, kind="max"):
    size, stride, padding = pair(size), pair(size if stride is None else stride), pair(padding)
    grad_image = np.zeros_like(padded(x, padding))
    _, where = pool2d(x, size, stride=stride, padding=padding, kind=kind)
    for (i, j), (rows, cols), _ in places(x.shape[2:], size, stride, padding):
        for n, c in np.ndindex(*x.shape[:2]):
            if kind == "mean":
                grad_image[n, c, rows, cols] += grad_y[n, c, i, j] / (size[0] * size[1])
            else:
                r, m = where[n, c, i, j]
                grad_image[n, c, r + padding[0], m + padding[1]] += grad_y[n, c, i, j]
    return grad_image[
        :, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]
    ]


def spectral_conv(x, w, n_modes):
    """By complete transforms and a loop over modes; w complex."""
    axes = tuple(range(2, x.ndim))
    modes = np.fft.rfftn(x.astype(float), axes=axes)
    out = np.zeros((x.shape[0], w.shape[1], *modes.shape[2:]), complex)
    for k in np.ndindex(*w.shape[2:]):
        at = k if len(k) == 1 or k[0] < n_modes[0] else (k[0] - 2 * n_modes[0], k[1])
        out[(..., *at)] = modes[(..., *at)] @ w[(..., *k)]
    return np.fft.irfftn(out, x.shape[2:], axes=axes)
