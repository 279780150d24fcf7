"""Optimisers: Adam, and gradients cut to a largest norm.

Adam divides a running mean of every parameter's gradient by the root of a running mean of its
square, both corrected for their start at zero. D. P. Kingma, J. Ba, "Adam: a method for stochastic
optimization", ICLR 2015; weight decay beside the gradient: I. Loshchilov, F. Hutter, ICLR 2019;
AMSGrad: S. J. Reddi, S. Kale, S. Kumar, ICLR 2018; clipping: R. Pascanu, T. Mikolov, Y. Bengio,
ICML 2013.
"""

import math

import numpy as np

from ..checks import checked_bool, checked_number
from ..dispatch import device_of, float_dtype, on_device, routine
from ..kernel import kernel
from ..simd import from_ordered, ordered

__all__ = ["Adam", "clip_grad_norm"]

BLOCK = 4096  # entries whose squares are summed in one piece
PIECE = 1024  # entries that one loop after the other updates
LANES = 32  # sums that run side by side


class Adam:
    """Adam for a list of arrays, which it changes in place.

    Parameters
    ----------
    params : list or tuple of arrays
        float32 or float64, all of one dtype and on one device, writeable. They belong to the
        optimiser as long as it is used: each step writes into them.
    lr : float, optional
        Length of a step, above 0. May be set between steps: ``adam.lr = ...``.
    betas : (float, float), optional
        How much of the running means of gradients and of their squares stays at each step; in [0,
        1).
    eps : float, optional
        Added to the root, above 0.
    weight_decay : float, optional
        At least 0.
    decoupled : bool, optional
        Weights shrink by the factor ``1 - lr weight_decay`` before each step (AdamW), or
        ``weight_decay w`` is added to the gradients.
    amsgrad : bool, optional
        Divide by the root of the largest running mean so far.

    Attributes
    ----------
    params : list of arrays
        The very arrays that were given.
    lr : float
    steps : int
        How many were made.

    Raises
    ------
    TypeError
        `params` is no list of arrays, other or mixed dtypes or devices, options of another type.
    ValueError
        A read-only array, the same array twice, an option outside of its range.

    Notes
    -----
    Step t, with gradient g: ``m = β₁ m + (1 - β₁) g``, ``v = β₂ v + (1 - β₂) g²``,
    ``w -= lr m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + eps)``, in one pass over memory; m and v take
    as much of it as the parameters, and the maximum of `amsgrad` once more. A NaN in a gradient
    stays in its entry's m, v and w for ever.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import Adam
    >>> w = np.array([1.0, 1.0])
    >>> adam = Adam([w], lr=0.1)
    >>> adam.step([np.array([0.1, -20.0])])
    >>> w.round(6)
    array([0.9, 1.1])
    """

    def __init__(
        self,
        params,
        *,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        decoupled=True,
        amsgrad=False,
    ):
        self.params = _checked_list("params", params)
        xp = _namespace("params", self.params)
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("params must be different arrays (got one twice)")
        for i, p in enumerate(self.params):
            if isinstance(p, np.ndarray) and not (p.flags.writeable and p.flags.aligned):
                raise ValueError(
                    f"params[{i}] must be writeable and aligned (got flags {p.flags.num})"
                )
        self.lr, self.steps = lr, 0
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers (got {betas!r})")
        self._betas = tuple(checked_number("betas", beta, least=0, below=1) for beta in betas)
        self._eps = checked_number("eps", eps, above=0)
        self._weight_decay = checked_number("weight_decay", weight_decay, least=0)
        self._decoupled, self._amsgrad = (
            checked_bool("decoupled", decoupled),
            checked_bool("amsgrad", amsgrad),
        )
        self._means, self._squares = (
            [xp.zeros(p.size, p.dtype) for p in self.params] for _ in range(2)
        )
        self._largest = [xp.zeros(p.size, p.dtype) for p in self.params] if self._amsgrad else None

    @property
    def lr(self):
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = checked_number("lr", value, above=0)

    def step(self, grads):
        """Change the parameters by one step.

        Parameters
        ----------
        grads : list or tuple of arrays or None
            The gradient of each parameter, of its shape, dtype and device; None leaves a parameter,
            and its m and v, as they are.

        Raises
        ------
        TypeError
            `grads` is no list of arrays, other dtypes, another device.
        ValueError
            Another number of gradients, another shape. Nothing has been changed then.
        """
        grads = _checked_list("grads", grads, none=True)
        if len(grads) != len(self.params):
            raise ValueError(
                f"grads must hold one array for each of the {len(self.params)} params (got "
                f"{len(grads)})"
            )
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            _, (_, grads[i]) = on_device(**{f"params[{i}]": p, f"grads[{i}]": g})
            float_dtype(**{f"params[{i}]": p, f"grads[{i}]": grads[i]})
            if g is not None and grads[i].shape != p.shape:
                raise ValueError(
                    f"grads[{i}] must have the shape of its parameter, {p.shape} (got "
                    f"{grads[i].shape})"
                )
        self.steps += 1
        for i, g in enumerate(grads):
            if g is not None:
                self._update(i, g)

    def _update(self, i, g):
        beta1, beta2 = self._betas
        start1, root = 1 - beta1**self.steps, math.sqrt(1 - beta2**self.steps)
        shrink = 1 - self._lr * self._weight_decay if self._decoupled else 1.0
        added = 0.0 if self._decoupled else self._weight_decay
        numbers = (
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            self._lr / start1 * root,
            self._eps * root,
            shrink,
            added,
        )
        p, moments = self.params[i], (self._means[i], self._squares[i])
        xp, _ = on_device(p=p)
        g, w = (xp.ascontiguousarray(a).reshape(-1) for a in (g, p))
        if self._amsgrad:
            amsgrad_update(g, w, *moments, self._largest[i], *numbers)
        else:
            adam_update(g, w, *moments, *numbers)
        if not p.flags.c_contiguous:
            p[...] = w.reshape(p.shape)


@routine
def clip_grad_norm(grads, max_norm):
    """Gradients scaled down to a largest norm, that of all their entries together.

    Parameters
    ----------
    grads : array, or list or tuple of arrays or None
        float32 or float64, all of one dtype. None counts as zero and stays None.
    max_norm : float
        Above 0.

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
        `grads` is no list of arrays, other or mixed dtypes or devices, a `max_norm` that is no
        number.
    ValueError
        ``max_norm <= 0``, or no array at all.

    Notes
    -----
    No array is modified. Squares are summed in float64, in an order that does not depend on the
    number of threads; norms above 1e154 overflow. A NaN makes all gradients NaN; beside an
    infinity, which becomes NaN, other entries become 0.

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
    given = [on_device(grads=grads)[1][0]] if single else _checked_list("grads", grads, none=True)
    if all(g is None for g in given):
        raise ValueError("grads must hold at least one array (got none)")
    xp, max_norm = _namespace("grads", given), checked_number("max_norm", max_norm, above=0)
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


# --- checks ---------------------------------------------------------------------------------------


def _checked_list(name, arrays, none=False):
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{name} must be a list of arrays (got {type(arrays).__name__})")
    for i, array in enumerate(arrays):
        if device_of(array) is None and not (none and array is None):
            raise TypeError(
                f"{name}[{i}] must be a NumPy or CuPy array (got {type(array).__name__})"
            )
    return list(arrays)


def _namespace(name, arrays):
    """The namespace of arrays that must have one device and one dtype of floats."""
    named = {f"{name}[{i}]": array for i, array in enumerate(arrays)}
    xp, _ = on_device(**named)
    float_dtype(**named)
    return xp


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
        slopes, weights, means, squares, tops = (
            g[first:last],
            w[first:last],
            m[first:last],
            v[first:last],
            largest[first:last],
        )
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
