"""Linear layers as operators: y = x Wᵀ and its adjoint x W for rows x, by matrices and by
convolutions.

Both kinds can say what bounds need: the operator of the absolute, positive and negative entries of
W, and single rows and columns of W.
"""

import math
from typing import Annotated, Any, TypeAlias

import numpy as np

from ...arguments import Array, Float, checked, finite, interval, nonempty
from ...dispatch import namespace_of
from .._windows import Padding, Size, pair

Count: TypeAlias = Annotated[int, interval("[1, 2147483648)")]


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
    weight : (n_out, n_in, rows, columns) array of float32 or float64, finite, without an axis of length zero
    stride : int in [1, 2**31) or (int in [1, 2**31), int in [1, 2**31)), default 1
        Step in rows and columns.
    padding : int in [0, 2**31) or (int in [0, 2**31), int in [0, 2**31)), default 0
        Zeros added on each side, above and below, left and right.
    input_shape : (int in [1, 2**31), int in [1, 2**31), int in [1, 2**31)), optional
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
        `weight` is not an array of such a dtype; the other arguments are not integers.
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
    """  # noqa: E501

    prunable = False

    @checked
    def __init__(
        self,
        weight: Float[Array, "n_out n_in rows columns", finite, nonempty],
        stride: Size = 1,
        padding: Padding = 0,
        input_shape: tuple[Count, Count, Count] | None = None,
    ):
        if input_shape is None:
            raise TypeError("input_shape must be (channels, rows, columns) (got None)")
        self._xp, self.weight, self.input_shape = namespace_of(weight), weight, tuple(input_shape)
        self.stride, self.padding = pair(stride), pair(padding)
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
                f"weight must not be larger than the padded image, {self._padded} (got shape "
                f"{weight.shape})"
            )
        self.output_shape = (weight.shape[0], *self._places)
        self.shape = math.prod(self.output_shape), math.prod(self.input_shape)
        self.terms = max(weight.shape[:2]) * math.prod(weight.shape[2:])

    def like(self, weight: Any) -> "Conv2d":
        """The same convolution with another weight."""
        other = object.__new__(Conv2d)
        other.__dict__ = self.__dict__ | {"weight": weight, "_xp": namespace_of(weight)}
        return other

    @checked
    def apply(self, x: Float[Array, "m n_in"], out: Float[Array, "m n_out"] | None = None) -> Array:
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

    @checked
    def adjoint(self, y: Float[Array, "m n_out"]) -> Array:
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
