"""Linear layers as operators: y = x Wᵀ and its adjoint x W for rows x, by matrices and by
convolutions.

Both kinds can say what bounds need: the operator of the absolute, positive and negative entries of
W, and single rows and columns of W.
"""

import math

import numpy as np

from ..checks import checked_count
from ..dispatch import float_dtype, on_device

__all__ = ["Conv2d"]

MOST = 2**31 - 1  # of counts and sizes


class _Operator:
    """What follows from `apply`, `adjoint`, `shape` and `like`; rows and columns through unit
    vectors."""

    def absolute(self):
        return self.like(abs(self.weight))

    def positive(self):
        return self.like(self._xp.maximum(self.weight, 0))

    def negative(self):
        return self.like(self._xp.minimum(self.weight, 0))

    def rows(self, index):
        return self.adjoint(self._units(index, self.shape[0]))

    def columns(self, index):
        return self.apply(self._units(index, self.shape[1]))

    def _units(self, index, n):
        return (index[:, None] == self._xp.arange(n)).astype(self.weight.dtype)


class Dense(_Operator):
    """The matrix `weight` of shape (n_out, n_in)."""

    prunable = True

    def __init__(self, xp, weight):
        self._xp, self.weight, self.shape, self.terms = xp, weight, weight.shape, max(weight.shape)

    def like(self, weight):
        return Dense(self._xp, weight)

    def apply(self, x, out=None):
        return self._xp.matmul(x, self.weight.T, out=out)

    def adjoint(self, y):
        return self._xp.matmul(y, self.weight)

    def rows(self, index):
        return self.weight[index]

    def columns(self, index):
        return self._xp.ascontiguousarray(self.weight.T[index])

    def restrict(self, rows=None, columns=None):
        """The block of these rows or columns."""
        return self.like(
            self.weight[rows]
            if columns is None
            else self._xp.ascontiguousarray(self.weight[:, columns])
        )


class Conv2d(_Operator):
    """A convolution of images that lie flat in vectors, as one layer of a network for bounds.

    Parameters
    ----------
    weight : (out, in, row, column) array of float32 or float64
    stride : int or (int, int)
        Step in rows and columns.
    padding : int or (int, int)
        Zeros added on each side, above and below, left and right.
    input_shape : (int, int, int)
        Channels, rows and columns of an image.

    Attributes
    ----------
    shape : (int, int)
        Entries of an output and of an input vector.
    output_shape : (int, int, int)
        Channels, rows and columns of the output.

    Raises
    ------
    TypeError
        `weight` is no array of such a dtype; the other arguments are no integers.
    ValueError
        Shapes that do not fit, a stride below 1, a negative padding, a kernel larger than the
        padded image.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning", MIT Press 2016, section 9.1: what is called a
    convolution is a correlation.

    Examples
    --------
    >>> from numcore.nn import Conv2d
    >>> blur = Conv2d(np.ones((1, 1, 2, 2)), stride=1, padding=0, input_shape=(1, 2, 3))
    >>> blur.shape, blur.apply(np.arange(6.0)[None])
    ((2, 6), array([[ 8., 12.]]))
    """

    prunable = False

    def __init__(self, weight, stride=1, padding=0, input_shape=None):
        self._xp, (weight,) = on_device(weight=weight)
        if weight is None:
            raise TypeError("weight must be a NumPy or CuPy array (got None)")
        float_dtype(weight=weight)
        if weight.ndim != 4 or not weight.size:
            raise ValueError(
                f"weight must have shape (out, in, row, column) without zeros (got {weight.shape})"
            )
        self.weight, self.stride, self.padding = (
            weight,
            _pair("stride", stride, 1),
            _pair("padding", padding, 0),
        )
        self.input_shape = _integers("input_shape", input_shape, 3, 1)
        if self.input_shape[0] != weight.shape[1]:
            raise ValueError(
                f"input_shape must have the {weight.shape[1]} channels of weight (got "
                f"{self.input_shape})"
            )
        self._padded = tuple(
            n + 2 * p for n, p in zip(self.input_shape[1:], self.padding, strict=True)
        )
        self._places = tuple(
            (n - k) // s + 1
            for n, k, s in zip(self._padded, weight.shape[2:], self.stride, strict=True)
        )
        if any(n < k for n, k in zip(self._padded, weight.shape[2:], strict=True)):
            raise ValueError(
                f"weight must be no larger than the padded image, {self._padded} (got shape "
                f"{weight.shape})"
            )
        self.output_shape = (weight.shape[0], *self._places)
        self.shape = math.prod(self.output_shape), math.prod(self.input_shape)
        self.terms = max(weight.shape[:2]) * math.prod(weight.shape[2:])

    def like(self, weight):
        return Conv2d(weight, self.stride, self.padding, self.input_shape)

    def apply(self, x, out=None):
        """x Wᵀ: (m, n_in) → (m, n_out), into `out` if it is given."""
        xp, m, (above, left) = self._xp, x.shape[0], self.padding
        image = xp.pad(
            x.reshape(m, *self.input_shape), ((0, 0), (0, 0), (above, above), (left, left))
        )
        y = xp.zeros((m, self.weight.shape[0], math.prod(self._places)), x.dtype)
        for tap, part in self._taps():
            y += xp.matmul(tap, image[:, :, part[0], part[1]].reshape(m, tap.shape[1], y.shape[2]))
        y = y.reshape(m, self.shape[0])
        if out is None:
            return y
        out[...] = y
        return out

    def adjoint(self, y):
        """y W: (m, n_out) → (m, n_in)."""
        xp, m, (above, left), (_, rows, cols) = self._xp, y.shape[0], self.padding, self.input_shape
        image = xp.zeros((m, self.input_shape[0], *self._padded), y.dtype)
        y = y.reshape(m, self.weight.shape[0], math.prod(self._places))
        for tap, part in self._taps():
            image[:, :, part[0], part[1]] += xp.matmul(tap.T, y).reshape(
                m, tap.shape[1], *self._places
            )
        return image[:, :, above : above + rows, left : left + cols].reshape(m, self.shape[1])

    def _taps(self):
        """Every entry of the kernel, an (out, in) matrix, with the pixels of the padded image that
        it meets."""
        for place in np.ndindex(*self.weight.shape[2:]):
            yield (
                self.weight[(slice(None), slice(None), *place)],
                [
                    slice(first, first + s * (n - 1) + 1, s)
                    for first, s, n in zip(place, self.stride, self._places, strict=True)
                ],
            )


def _pair(name, value, least):
    return _integers(name, value if isinstance(value, (tuple, list)) else (value, value), 2, least)


def _integers(name, values, count, least):
    if not isinstance(values, (tuple, list)) or len(values) != count:
        raise TypeError(f"{name} must be {count} integers (got {values!r})")
    return tuple(checked_count(name, value, least=least, most=MOST) for value in values)
