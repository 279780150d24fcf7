"""Optimizers: Adam, and gradients clipped to a largest norm.

Adam divides a running mean of every parameter's gradient by the root of a running mean of its
square, both corrected for their start at zero. D. P. Kingma, J. Ba, "Adam: a method for stochastic
optimization", ICLR 2015; weight decay apart from the gradient: I. Loshchilov, F. Hutter, ICLR 2019;
AMSGrad: S. J. Reddi, S. Kale, S. Kumar, ICLR 2018; clipping: R. Pascanu, T. Mikolov, Y. Bengio,
ICML 2013.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from ..arguments import Array, Float, checked, interval, nonnegative, positive, written
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ..simd import from_ordered, ordered

BLOCK = 4096  # entries whose squares are summed in one piece
PIECE = 1024  # entries that one loop after the other updates
LANES = 32  # sums that run side by side


class Adam:
    """Adam for a list of arrays, which it changes in place.

    Parameters
    ----------
    params : sequence of (...) array of float32 or float64, writeable
        All of one dtype and on one device. They belong to the optimizer as long as it is used: each
        step writes into them.
    learning_rate : float > 0, default 0.001
        Length of a step. May be set between steps: ``adam.learning_rate = ...``.
    betas : (float in [0, 1), float in [0, 1)), default (0.9, 0.999)
        How much of the running means of gradients and of their squares stays at each step.
    eps : float > 0, default 1e-08
        Added to the root.
    weight_decay : float >= 0, default 0.0
        How fast weights shrink.
    decoupled : bool, default True
        Weights shrink by the factor ``1 - learning_rate weight_decay`` before each step (AdamW), or
        ``weight_decay w`` is added to the gradients.
    amsgrad : bool, default False
        Divide by the root of the largest running mean so far.

    Attributes
    ----------
    params : list of arrays
        The arrays that were given, not copies.
    learning_rate : float
    n_steps : int
        How many were taken.

    Raises
    ------
    TypeError
        `params` is not a list of arrays, other or mixed dtypes or devices, options of another type.
    ValueError
        A read-only array, the same array twice, an option outside of its range.

    Notes
    -----
    Step t, with gradient g: ``m = β₁ m + (1 - β₁) g``, ``v = β₂ v + (1 - β₂) g²``,
    ``w -= learning_rate m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + eps)``, in one pass over memory; m
    and v need as much of it as the parameters, and the maximum of `amsgrad` once more. A NaN in a
    gradient stays in its entry's m, v and w for ever.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import Adam
    >>> w = np.array([1.0, 1.0])
    >>> adam = Adam([w], learning_rate=0.1)
    >>> adam.step([np.array([0.1, -20.0])])
    >>> w.round(6)
    array([0.9, 1.1])
    """

    @checked
    def __init__(
        self,
        params: Sequence[Float[Array, "...", written]],
        *,
        learning_rate: Annotated[float, positive] = 1e-3,
        betas: tuple[Annotated[float, interval("[0, 1)")], Annotated[float, interval("[0, 1)")]] = (
            0.9,
            0.999,
        ),
        eps: Annotated[float, positive] = 1e-8,
        weight_decay: Annotated[float, nonnegative] = 0.0,
        decoupled: bool = True,
        amsgrad: bool = False,
    ):
        self.params, self.n_steps = list(params), 0
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("params must be different arrays (got one twice)")
        if not self.params:
            raise TypeError("params must hold at least one array (got none)")
        self.learning_rate, self._betas, self._eps = learning_rate, betas, eps
        self._weight_decay, self._decoupled, self._amsgrad = weight_decay, decoupled, amsgrad
        xp = namespace_of(self.params[0])
        self._means, self._squares = (
            [xp.zeros(p.size, p.dtype) for p in self.params] for _ in range(2)
        )
        self._largest = [xp.zeros(p.size, p.dtype) for p in self.params] if amsgrad else None

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    @checked
    def learning_rate(self, learning_rate: Annotated[float, positive]):
        self._learning_rate = learning_rate

    @checked
    def step(self, grads: Sequence[Float[Array, "..."] | None]) -> None:
        """Change the parameters by one step.

        Parameters
        ----------
        grads : sequence of (...) array of float32 or float64
            The gradient of each parameter, of its shape, dtype and device; None leaves a parameter,
            and its m and v, as they are.

        Raises
        ------
        TypeError
            `grads` is not a list of arrays, other dtypes, another device.
        ValueError
            Another number of gradients, another shape. Nothing has been changed then.
        """
        if len(grads) != len(self.params):
            raise ValueError(
                f"grads must hold one array for each of the {len(self.params)} params (got "
                f"{len(grads)})"
            )
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            if g is not None:
                _check_like(f"grads[{i}]", g, f"params[{i}]", p)
        self.n_steps += 1
        for i, g in enumerate(grads):
            if g is not None:
                self._update(i, g)

    def _update(self, i, g):
        beta1, beta2 = self._betas
        start1, root = 1 - beta1**self.n_steps, math.sqrt(1 - beta2**self.n_steps)
        shrink = 1 - self.learning_rate * self._weight_decay if self._decoupled else 1.0
        added = 0.0 if self._decoupled else self._weight_decay
        numbers = (
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            self.learning_rate / start1 * root,
            self._eps * root,
            shrink,
            added,
        )
        p, moments = self.params[i], (self._means[i], self._squares[i])
        xp = namespace_of(p)
        g, w = (xp.ascontiguousarray(a).reshape(-1) for a in (g, p))
        if self._amsgrad:
            amsgrad_update(g, w, *moments, self._largest[i], *numbers)
        else:
            adam_update(g, w, *moments, *numbers)
        if not p.flags.c_contiguous:
            p[...] = w.reshape(p.shape)


@routine
def clip_grad_norm(
    grads: Sequence[Float[Array, "..."] | None] | Float[Array, "..."],
    max_norm: Annotated[float, positive],
) -> tuple[Any, Any]:
    """Gradients scaled down to a largest norm, that of all their entries together.

    Parameters
    ----------
    grads : sequence of (...) array of float32 or float64 or (...) array of float32 or float64
        All of one dtype. None counts as zero and stays None.
    max_norm : float > 0

    Returns
    -------
    clipped : array, or list of arrays or None
        The gradients, times ``max_norm / norm`` if the norm is larger. If it is not, they are the
        arrays that were given.
    norm : scalar
        Euclidean norm of all entries before clipping, of the dtype of the gradients.

    Raises
    ------
    TypeError
        `grads` is not a list of arrays, other or mixed dtypes or devices, a `max_norm` that is not
        a number.
    ValueError
        ``max_norm <= 0``, or no array at all.

    Notes
    -----
    No array is modified. Squares are summed in float64, in an order that does not depend on the
    number of threads; norms above 1e154 overflow. A NaN makes all gradients NaN; if there
    is an infinity, it becomes NaN and other entries become 0.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013.

    Examples
    --------
    >>> clipped, norm = clip_grad_norm([np.array([3.0, 0.0]), np.array([4.0])], 1.0)
    >>> [g.round(6).tolist() for g in clipped], norm
    ([[0.6, 0.0], [0.8]], np.float64(5.0))
    """
    single = not isinstance(grads, (list, tuple))
    given = [grads] if single else list(grads)
    if all(g is None for g in given):
        raise ValueError("grads must hold at least one array (got none)")
    xp = namespace_of(*given)
    parts = []
    for g in given:
        if g is not None:
            part = xp.empty(-(-g.size // BLOCK), np.float64)
            squares_in_blocks(xp.ascontiguousarray(g).reshape(-1), part)
            parts.append(part.sum())
    norm = math.sqrt(sum(map(float, parts)))
    dtype = next(g.dtype for g in given if g is not None)
    with np.errstate(all="ignore"):
        if not norm <= max_norm:
            factor = dtype.type(max_norm / norm)
            given = [None if g is None else g * factor for g in given]
        return (given[0] if single else given), dtype.type(norm)


def _check_like(name, array, other_name, other):
    if array.shape != other.shape:
        raise ValueError(f"{name} must have shape {other.shape} (got {array.shape})")
    if array.dtype != other.dtype:
        raise TypeError(
            f"{name} must have dtype {other.dtype} like {other_name} (got {array.dtype})"
        )
    here, there = device_of(array), device_of(other)
    if here is not there:
        raise TypeError(
            f"arguments must live on one device (got {name} on {here.name}, {other_name} on "
            f"{there.name})"
        )


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T g[n]; inout T w[n]; inout T m[n]; inout T v[n]; T beta1; T rest1; T beta2; T rest2; "
    "T lr; T eps; T shrink; T added",
    split="n",
)
def adam_update(g, w, m, v, beta1, rest1, beta2, rest2, lr, eps, shrink, added, start, stop):
    g, w, m, v = g[start:stop], w[start:stop], m[start:stop], v[start:stop]
    for i in range(g.size):
        slope = g[i] + added * w[i]
        m[i] = beta1 * m[i] + rest1 * slope
        v[i] = beta2 * v[i] + rest2 * (slope * slope)
        w[i] = shrink * w[i] - lr * m[i] / (math.sqrt(v[i]) + eps)


@kernel(
    "in T g[n]; inout T w[n]; inout T m[n]; inout T v[n]; inout T largest[n]; T beta1; T rest1; "
    "T beta2; T rest2; T lr; T eps; "
    "T shrink; T added",
    split="n",
)
def amsgrad_update(
    g, w, m, v, largest, beta1, rest1, beta2, rest2, lr, eps, shrink, added, start, stop
):
    """In pieces that stay in the cache: a loop that writes four arrays would not be made of
    vectors."""
    for first in range(start, stop, PIECE):
        last = min(stop, first + PIECE)
        slopes, weights, means = g[first:last], w[first:last], m[first:last]
        squares, tops = v[first:last], largest[first:last]
        for i in range(slopes.size):
            slope = slopes[i] + added * weights[i]
            means[i] = beta1 * means[i] + rest1 * slope
            squares[i] = beta2 * squares[i] + rest2 * (slope * slope)
        for i in range(slopes.size):
            tops[i] = from_ordered(max(ordered(tops[i]), ordered(squares[i])))
            weights[i] = shrink * weights[i] - lr * means[i] / (math.sqrt(tops[i]) + eps)


@kernel(
    "in T x[n]; out float64 part[blocks]; scratch float64 lanes[LANES]",
    constants=("BLOCK", "LANES"),
    split="blocks",
    gpu="block",
    threads=256,
)
def squares_in_blocks(x, part, lanes, start, stop):
    """Sums of squares of BLOCK entries each."""
    for b in range(start, stop):
        block = x[b * BLOCK : min(x.size, (b + 1) * BLOCK)]
        whole = block.size // LANES * LANES
        lanes[:] = 0
        for i in range(0, whole, LANES):
            piece = block[i : i + LANES]
            for lane in range(LANES):
                y = np.float64(piece[lane])
                lanes[lane] += y * y
        for i in range(whole, block.size):
            y = np.float64(block[i])
            lanes[i - whole] += y * y
        total = 0.0
        for lane in range(LANES):
            total += lanes[lane]
        part[b] = total
