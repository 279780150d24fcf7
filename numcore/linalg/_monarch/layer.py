"""A linear layer whose matrix is a Monarch matrix."""

import math
from typing import Annotated

import numpy as np

from ...arguments import RNG, Array, DType, Float, at_least, checked
from ...dispatch import namespace_of
from ...random import key_from_rng
from .projection import Blocks, monarch_project
from .routines import monarch_matmul, monarch_matmul_vjp, monarch_to_dense


class MonarchLinear:
    """Linear layer y = M x + b with a Monarch matrix M; sizes not divisible by the number of blocks
    are zero-padded.

    Parameters
    ----------
    n_in, n_out : int >= 1
    n_blocks : int >= 1, default 4
        Blocks of each factor; k = l.
    bias : bool, default True
    dtype : dtype, float32 or float64, default float32
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    right, left, bias : array
        Parameters, changed in place by optimizers; ``bias`` may be None.
    parameters : list of array

    Raises
    ------
    ValueError
        A size that is not positive.

    Examples
    --------
    >>> layer = MonarchLinear(6, 5, rng=0)
    >>> y, cache = layer.forward(np.ones((2, 6), np.float32))
    >>> y.shape, layer.vjp(y, cache)[0].shape
    ((2, 5), (2, 6))
    """

    @checked
    def __init__(
        self,
        n_in: Annotated[int, at_least(1)],
        n_out: Annotated[int, at_least(1)],
        *,
        n_blocks: Blocks = 4,
        bias: bool = True,
        dtype: DType = np.float32,
        rng: RNG = None,
    ):
        self.n_in, self.n_out, self.n_blocks = n_in, n_out, n_blocks
        normal = np.random.default_rng(key_from_rng(rng)).standard_normal
        p, s = -(-n_in // n_blocks), -(-n_out // n_blocks)
        q = min(p, s)
        # the product keeps the variance of its input
        self.right = (normal((n_blocks, q, p)) / math.sqrt(p)).astype(dtype)
        self.left = (normal((n_blocks, s, q)) / math.sqrt(q)).astype(dtype)
        self.bias = np.zeros(n_out, dtype) if bias else None

    @property
    def parameters(self) -> list[Array]:
        return [self.right, self.left] + ([] if self.bias is None else [self.bias])

    @checked
    def forward(self, x: Float[Array, "*batch n_in"]) -> tuple[Array, Array]:
        """The output (..., n_out) for an input (..., n_in), and the cache for `vjp`."""
        if x.shape[-1] != self.n_in:
            raise ValueError(f"x must have shape (..., {self.n_in}) (got {x.shape})")
        wide = _padded(x, self.right.shape[0] * self.right.shape[2])
        y = monarch_matmul(wide, self.right, self.left)[..., : self.n_out]
        return (y if self.bias is None else y + self.bias), wide

    @checked
    def vjp(
        self, grad_y: Float[Array, "*batch n_out"], cache: Float[Array, "*batch n_padded"]
    ) -> tuple[Array, list[Array]]:
        """The gradient with respect to x, and a list of those with respect to the parameters."""
        if grad_y.shape[-1] != self.n_out:
            raise ValueError(f"grad_y must have shape (..., {self.n_out}) (got {grad_y.shape})")
        wide = _padded(grad_y, self.left.shape[0] * self.left.shape[1])
        grads = monarch_matmul_vjp(cache, self.right, self.left, wide)
        by_bias = [] if self.bias is None else [grad_y.reshape(-1, self.n_out).sum(axis=0)]
        return grads.x[..., : self.n_in], [grads.right, grads.left, *by_bias]

    def toarray(self) -> Array:
        """The (n_out, n_in) matrix."""
        return monarch_to_dense(self.right, self.left)[: self.n_out, : self.n_in]

    @checked
    def from_dense(self, a: Float[Array, "n_out n_in"]) -> Array:
        """Set the matrix to the Monarch matrix closest to `a`, (n_out, n_in), and return the
        distance."""
        if a.shape != (self.n_out, self.n_in):
            raise ValueError(f"a must have shape {(self.n_out, self.n_in)} (got {a.shape})")
        k, q, p = self.right.shape
        count, s, _ = self.left.shape
        wide = namespace_of(a).zeros((count * s, k * p), a.dtype)
        wide[: self.n_out, : self.n_in] = a
        factors = monarch_project(wide, n_blocks=(k, count), rank=max(1, q // count))
        self.right, self.left = (factor.astype(self.right.dtype) for factor in factors[:2])
        return factors.residual_norm


def _padded(x, size):
    """x with its last axis zero-padded to length `size`."""
    wide = namespace_of(x).zeros((*x.shape[:-1], size), x.dtype)
    wide[..., : x.shape[-1]] = x
    return wide
