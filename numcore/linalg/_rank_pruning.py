"""Trained rank pruning: convolution kernels that fall apart into two cheap convolutions, and a
training that leads there.

A kernel w[n, c, i, j] (output channel, input channel, row, column) is unfolded to a matrix M, of
which the r largest singular values are kept. Each unfolding stands for one pair of cheaper layers:

    channel    N × C kh kw            a convolution to r channels, then a 1 × 1 convolution spatial
    C kh × N kw            a vertical kh × 1 convolution to r channels, then a horizontal 1 × kw one
    decouple   for each n, C × kh kw  1 × 1 convolutions to r channels for each output, then one
    kernel on each of these

Every few steps of a training the kernels are truncated, and the subgradient U_r V_rᵀ of their
nuclear norm joins the gradient; between, the rank grows again as it likes. M Mᵀ of the shorter side
gives U: it is far smaller than M. From Y. Xu et al., "Trained Rank Pruning for Efficient Deep
Neural Networks", IJCAI 2020.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import (
    Array,
    Float,
    at_least,
    checked,
    finite,
    interval,
    nonempty,
    nonnegative,
    own_dtype,
)
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ..simd import LANES, gemm_row, gemm_tile, rotate, tile_cols, tile_rows

SLAB = 1 << 16  # entries of an unfolding that are in work at once
SAFE_EXPONENT = 50  # kernels whose largest entry is beyond 2**±50 are scaled
# Of σ_r² / σ_1², and of the energy that is cut off. Squaring M loses digits: below these the
# decomposition is that of M itself.
MIN_KEPT, MIN_CUT = {"float32": 1e-10, "float64": 1e-6}, {"float32": 0.0, "float64": 1e-8}
FLAT = 1 / 64  # σ_r / σ_1 above which V = Mᵀ U / σ loses no more than two digits in float32
# Of the axes (b, n, c, i, j), those of the rows and of the columns of each unfolding. Decoupled, n
# is b and has the size 1.
UNFOLDINGS = {
    "channel": ((1,), (2, 3, 4)),
    "spatial": ((2, 3), (1, 4)),
    "decouple": ((1, 2), (3, 4)),
}
SMALL = 32  # Gram matrices up to this size are decomposed many at a time
MAX_SWEEPS = 40  # five or six are usual
WEIGHT, SUBGRADIENT = range(2)

Scheme: TypeAlias = Literal["channel", "spatial", "decouple"]
KernelArray: TypeAlias = (
    Float[Array, "n c kh kw", finite, nonempty] | Float[Array, "n c", finite, nonempty]
)
AnyKernel: TypeAlias = Float[Array, "_ _ _ _", own_dtype] | Float[Array, "_ _", own_dtype]
Share: TypeAlias = Annotated[float, interval("(0, 1]")]
Step: TypeAlias = Annotated[int, at_least(1)]
Margin: TypeAlias = Annotated[int, nonnegative]


class TruncatedKernel(NamedTuple):
    """A kernel of low rank: `weight`, its `rank`, all `singular_values` there were, the
    `subgradient` of the nuclear norm at `weight`, and the distance to the kernel by the norm of the
    kernel, `relative_error`."""

    weight: Array
    rank: int
    singular_values: Array
    subgradient: Array
    relative_error: float


class ConvFactors(NamedTuple):
    """Two layers in place of one, for `apply_factors`; `n_params` counts the numbers of both."""

    first: Float[Array, "..."]
    second: Float[Array, "..."]
    rank: int
    scheme: Scheme
    relative_error: float
    n_params: int


class NuclearNorm(NamedTuple):
    """The sum of the singular values, and its subgradient."""

    value: float
    subgradient: Array


# --- one kernel -----------------------------------------------------------------------------------


@routine
def truncate_kernel(
    w: KernelArray,
    *,
    scheme: Scheme = "channel",
    energy: Share | None = None,
    rank: Annotated[int, at_least(1)] | None = None,
    threshold: Annotated[float, nonnegative] | None = None,
    ratio: Share | None = None,
) -> TruncatedKernel:
    """The closest kernel of low rank in the Frobenius norm.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
        Output channels first. A matrix counts as kernels of 1 × 1.
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        Which matrix has low rank: the n × (c kh kw) one with an output channel in each row, the (c
        kh) × (n kw) one with row c kh + i and column n kw + j, or for each output channel the c ×
        (kh kw) one.
    energy : float in (0, 1], optional
        Exactly one of these four decides the rank. This one: the smallest rank that keeps this
        share of the sum of squares; 1 keeps all that is not lost in rounding.
    rank : int >= 1, optional
        At most the smaller side.
    threshold : float >= 0, optional
        Singular values that are not smaller are kept, but at least one.
    ratio : float in (0, 1], optional
        This share of the smaller side, rounded down to at least 1.

    Returns
    -------
    TruncatedKernel
        ``weight`` and ``subgradient`` U_r V_rᵀ of the shape of `w`; ``rank``, for "decouple" the
        largest that a channel needs, used for all; ``singular_values`` (k,), for "decouple" (n, k),
        descending, k the smaller side; ``relative_error`` ‖w - weight‖ / ‖w‖ from the singular
        values, 0 for w = 0. Pairs with σ below the roundoff of σ₁ are left out of ``subgradient``.

    Raises
    ------
    ValueError
        `w` is empty, not finite or has other than 2 or 4 dimensions; none or several of the rules,
        or one out of range; an unknown scheme.
    TypeError
        Another dtype, or an option of another type.

    Notes
    -----
    m² p operations for the m × p unfolding, m <= p, and O(m³) for the decomposition of M Mᵀ, in
    float64. Singular values have absolute errors of about 1e-16 m σ₁² / σ, so that those below 1e-8
    σ₁ may be off by so much. Where one that is kept is too small for this (below 1e-5 σ₁ in
    float32, 1e-3 σ₁ in float64), or float64 kernels lose less than a share of 1e-8 of their energy,
    the decomposition is the slower one of M itself, which is exact to roundoff. Memory: the two
    results, some MB, and M Mᵀ with its eigenvectors in float64, which for square unfoldings, as
    those of "spatial" nearly are, are as large as w each.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020; C. Eckart,
    G. Young, Psychometrika, 1936.

    Examples
    --------
    >>> result = truncate_kernel(np.diag([3.0, 2.0, 1.0, 0.5]), energy=0.9)
    >>> result.rank, result.weight.diagonal().round(12)
    (2, array([3., 2., 0., 0.]))
    """  # noqa: E501
    rule = {"energy": energy, "rank": rank, "threshold": threshold, "ratio": ratio}
    decomposition, rule, exponent = _decomposed(w, scheme, rule)
    return decomposition.truncated(*rule, exponent)


@routine
def decompose_kernel(
    w: KernelArray,
    *,
    scheme: Scheme = "channel",
    energy: Share | None = None,
    rank: Annotated[int, at_least(1)] | None = None,
    threshold: Annotated[float, nonnegative] | None = None,
    ratio: Share | None = None,
) -> ConvFactors:
    """Two layers in place of a convolution: together they are the convolution with the truncated
    kernel.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
    scheme : {"channel", "spatial", "decouple"}, default "channel"
    energy : float in (0, 1], optional
    rank : int >= 1, optional
    threshold : float >= 0, optional
    ratio : float in (0, 1], optional
        As for `truncate_kernel`.

    Returns
    -------
    ConvFactors
        For "channel", ``first`` (r, c, kh, kw) and ``second`` (n, r, 1, 1); for "spatial", (r, c,
        kh, 1) and (n, r, 1, kw); for "decouple", (r, n, c) and (r, n, kh, kw): r parallel paths,
        each a 1 × 1 convolution and then one kernel for each channel, whose results are added. The
        roots of the singular values are in both factors, but for "spatial", where they are all in
        the second. Signs of the factors are arbitrary, their product is not.

    Raises
    ------
    ValueError, TypeError
        As for `truncate_kernel`.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020.

    Examples
    --------
    >>> w = np.random.default_rng(0).standard_normal((64, 32, 3, 3))
    >>> factors = decompose_kernel(w, rank=8)
    >>> factors.first.shape, factors.second.shape, factors.n_params, w.size
    ((8, 32, 3, 3), (64, 8, 1, 1), 2816, 18432)
    """  # noqa: E501
    rule = {"energy": energy, "rank": rank, "threshold": threshold, "ratio": ratio}
    decomposition, rule, exponent = _decomposed(w, scheme, rule)
    xp = decomposition.xp
    r, error = decomposition.decide(*rule, exponent)
    rows, sigma, columns = decomposition.factors(r)
    in_first, half = (sigma**0, 0) if scheme == "spatial" else (xp.sqrt(sigma), exponent // 2)
    first = xp.where(sigma > 0, in_first, 0)[:, None, :] * rows
    second = (sigma / xp.where(sigma > 0, in_first, 1))[:, :, None] * columns
    with np.errstate(over="ignore", under="ignore"):
        first, second = (
            xp.ldexp(first, half).astype(w.dtype),
            xp.ldexp(second, exponent - half).astype(w.dtype),
        )
    n, c, kh, kw = decomposition.shape
    if scheme == "channel":
        first, second = second[0].reshape(r, c, kh, kw), first[0].reshape(n, r, 1, 1)
    elif scheme == "spatial":
        first, second = (
            first[0].T.reshape(r, c, kh, 1),
            second[0].reshape(r, n, 1, kw).swapaxes(0, 1),
        )
    else:
        first, second = xp.moveaxis(first, 2, 0), second.swapaxes(0, 1).reshape(r, n, kh, kw)
    return ConvFactors(
        xp.ascontiguousarray(first),
        xp.ascontiguousarray(second),
        r,
        scheme,
        error,
        first.size + second.size,
    )


@routine
def apply_factors(
    x: Float[Array, "b c h w"] | Float[Array, "b c"],
    factors: ConvFactors,
    *,
    stride: Step | tuple[Step, Step] = 1,
    padding: Margin | tuple[Margin, Margin] = 0,
) -> Array:
    """The convolution by its two layers.

    Parameters
    ----------
    x : (b, c, h, w) array of float32 or float64 or (b, c) array of float32 or float64
        Images, or vectors, which count as images of one pixel.
    factors : ConvFactors
        From `decompose_kernel`, of the dtype of `x`.
    stride : int >= 1 or (int >= 1, int >= 1), default 1
    padding : int >= 0 or (int >= 0, int >= 0), default 0
        Those of the convolution that is replaced, see :func:`numcore.nn.conv2d`.

    Returns
    -------
    (b, n, h', w') or (b, n) array
        What the convolution with the truncated kernel gives, to rounding: at full rank the
        convolution itself.

    Raises
    ------
    ValueError
        Shapes that do not fit, `stride` below 1, `padding` below 0, a kernel larger than the padded
        image.
    TypeError
        `factors` are other objects, other or mixed dtypes or devices, options that are not
        integers.

    Notes
    -----
    For every pixel of the output r (c kh kw + n) products by "channel", about r (c kh + n kw) by
    "spatial", r n (c + kh kw) by "decouple", in place of n c kh kw.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020.

    Examples
    --------
    >>> from numcore.linalg import decompose_kernel
    >>> factors = decompose_kernel(np.array([[1.0, 2.0], [2.0, 4.0]]), rank=1)
    >>> apply_factors(np.array([[1.0, 1.0]]), factors).round(12)
    array([[3., 6.]])
    """
    from ..nn import conv2d  # here, as only this function needs the room

    xp, first, second, padding = namespace_of(x), factors.first, factors.second, _pair(padding)
    kernel_size = _check_layers(x, first, second, factors.scheme)
    images = x if x.ndim == 4 else x[:, :, None, None]
    size = tuple(n + 2 * zeros for n, zeros in zip(images.shape[2:], padding, strict=True))
    if size[0] < kernel_size[0] or size[1] < kernel_size[1]:
        raise ValueError(f"x must be >= {kernel_size}, the kernel, with its padding (got {size})")
    y = _LAYERS[factors.scheme](xp, conv2d, images, first, second, _pair(stride), padding)
    return y if x.ndim == 4 else y[:, :, 0, 0]


@routine
def nuclear_norm(w: KernelArray, *, scheme: Scheme = "channel") -> NuclearNorm:
    """The nuclear norm of an unfolded kernel, and a subgradient.

    Parameters
    ----------
    w : (n, c, kh, kw) array of float32 or float64, finite, without an axis of length zero or (n, c) array of float32 or float64, finite, without an axis of length zero
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        See `truncate_kernel`. Decoupled, the norms of all output channels are added.

    Returns
    -------
    NuclearNorm
        ``value`` Σ σ and ``subgradient`` U Vᵀ of the shape of `w`, over the pairs with σ above the
        roundoff of σ₁. It is the gradient where no σ is 0, and ⟨subgradient, w⟩ = value everywhere.

    Raises
    ------
    ValueError
        `w` is empty, not finite or has other than 2 or 4 dimensions, or an unknown scheme.
    TypeError
        Another dtype.

    References
    ----------
    G. A. Watson, "Characterization of the subdifferential of some matrix norms", Linear Algebra and
    its Applications, 1992.

    Examples
    --------
    >>> value, subgradient = nuclear_norm(np.array([[3.0, 0.0], [0.0, -2.0]]))
    >>> round(value, 12), subgradient.round(12) + 0.0
    (5.0, array([[ 1.,  0.],
           [ 0., -1.]]))
    """  # noqa: E501
    xp = namespace_of(w)
    w, exponent = _scaled(xp, w)
    decomposition = _Decomposition(xp, w, scheme)
    _solve([decomposition])
    r, _ = decomposition.decide("rank", decomposition.smaller_side)
    with np.errstate(over="ignore"):
        value = float(xp.ldexp(decomposition.sigma.sum(), exponent))
    return NuclearNorm(value, *decomposition.folded(r, (SUBGRADIENT,)))


# --- training -------------------------------------------------------------------------------------


class RankPruner:
    """Training towards low rank: kernels are truncated every few steps, and pulled by the nuclear
    norm.

    Parameters
    ----------
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        See `truncate_kernel`.
    energy : float in (0, 1], default 0.98
        That a truncation keeps.
    period : int >= 1, default 5
        Steps from one truncation to the next.
    nuclear_weight : float >= 0, default 0.0003
        λ, of the nuclear norm in the loss.
    truncate : bool, default True
        False leaves the weights, so that only the subgradient acts: then that of the sum of the
        largest singular values.

    Attributes
    ----------
    n_iter_ : int
        Steps so far.
    ranks_ : list of int or None
        Of the kernels at the last truncation.

    Raises
    ------
    ValueError
        An option out of range, or an unknown scheme.
    TypeError
        An option of another type.

    Notes
    -----
    A training step::

        pruned = pruner.step(weights)
        if pruned is not None:
            weights = [kernel.weight for kernel in pruned]
        ...  # forward and backward pass with these weights
        grads = pruner.add_subgradient(grads)
        ...  # the optimizer's step

    Gradients are taken at the truncated weights. Momentum and weight decay stay as they are. The
    first layer and the last one are better left alone.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, algorithm
    1.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.linalg import RankPruner
    >>> pruner, w = (
    ...     RankPruner(energy=0.9, period=2, nuclear_weight=0.5),
    ...     np.diag([3.0, 2.0, 1.0, 0.5]),
    ... )
    >>> [kernel.rank for kernel in pruner.step([w])], pruner.step([w])
    ([2], None)
    """

    @checked
    def __init__(
        self,
        *,
        scheme: Scheme = "channel",
        energy: Share = 0.98,
        period: Annotated[int, at_least(1)] = 5,
        nuclear_weight: Annotated[float, nonnegative] = 3e-4,
        truncate: bool = True,
    ):
        self.scheme, self.energy, self.period = scheme, energy, period
        self.nuclear_weight, self.truncate = nuclear_weight, truncate
        self.n_iter_, self.ranks_, self._subgradients = 0, None, None

    @checked
    def step(
        self,
        weights: Sequence[AnyKernel],
        grads: Sequence[Float[Array, "...", own_dtype]] | None = None,
    ) -> list[TruncatedKernel] | tuple[list[TruncatedKernel] | None, list[Array]] | None:
        """Begin a training step: truncate, on the first one and every `period` steps.

        Parameters
        ----------
        weights : sequence of (_, _, _, _) array of float32 or float64 or (_, _) array of float32 or float64
            (n, c, kh, kw) or (n, c); not changed.
        grads : sequence of (...) array of float32 or float64, optional
            Gradients, where they are known already and taken as those at the truncated weights.

        Returns
        -------
        list of TruncatedKernel, or None on the steps between; with `grads`, a pair of this and the
        list of new gradients.

        Raises
        ------
        TypeError
            `weights` is not a list of arrays of floats, or as for `add_subgradient`.
        ValueError
            As for `truncate_kernel` and `add_subgradient`; the step does not count then.
        """  # noqa: E501
        pruned = None if self.n_iter_ % self.period else self._truncated(weights)
        subgradients = None if pruned is None else [kernel.subgradient for kernel in pruned]
        new_grads = None if grads is None else self._added(grads, subgradients)
        self.n_iter_, self._subgradients = self.n_iter_ + 1, subgradients
        if pruned is not None:
            self.ranks_ = [kernel.rank for kernel in pruned]
        return pruned if grads is None else (pruned, new_grads)

    @checked
    def add_subgradient(self, grads: Sequence[Float[Array, "...", own_dtype]]) -> list[Array]:
        """New gradients g + λ U_r V_rᵀ in a step that truncated, and in other steps the gradients
        as they are.

        Parameters
        ----------
        grads : sequence of (...) array of float32 or float64
            The gradients by the weights of the last `step`, in their order.

        Returns
        -------
        list of arrays

        Raises
        ------
        TypeError
            `grads` is not a list of arrays, other dtypes, another device.
        ValueError
            Another number of gradients than of weights, or other shapes.
        """
        return self._added(grads, self._subgradients)

    def _truncated(self, weights):
        for i, w in enumerate(weights):
            _check_entries(f"weights[{i}]", w)
        xp = namespace_of(*weights)
        scaled = [_scaled(xp, w) for w in weights]
        decompositions = [_Decomposition(xp, w, self.scheme) for w, _ in scaled]
        _solve(decompositions)
        pruned = [
            d.truncated("energy", self.energy, exponent)
            for d, (_, exponent) in zip(decompositions, scaled, strict=True)
        ]
        if self.truncate:
            return pruned
        return [k._replace(weight=w.copy()) for k, w in zip(pruned, weights, strict=True)]

    def _added(self, grads, subgradients):
        if subgradients is None:
            return list(grads)
        if len(grads) != len(subgradients):
            n = len(subgradients)
            raise ValueError(f"grads must have {n} arrays, one for each weight (got {len(grads)})")
        for i, (g, subgradient) in enumerate(zip(grads, subgradients, strict=True)):
            _check_gradient(f"grads[{i}]", g, subgradient)
        with np.errstate(over="ignore"):
            return [
                g + self.nuclear_weight * subgradient
                for g, subgradient in zip(grads, subgradients, strict=True)
            ]


# --- checks ---------------------------------------------------------------------------------------


def _check_entries(name, w):
    if not w.size:
        raise ValueError(f"{name} must have no axis of length zero (got shape {w.shape})")
    if not bool(namespace_of(w).isfinite(w).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")


def _check_gradient(name, g, subgradient):
    if device_of(g) is not device_of(subgradient):
        where = f"{name} on {device_of(g)}, its weight on {device_of(subgradient)}"
        raise TypeError(f"arguments must live on one device (got {where})")
    if g.dtype != subgradient.dtype:
        like = f"{subgradient.dtype} like its weight"
        raise TypeError(f"{name} must have dtype {like} (got {g.dtype})")
    if g.shape != subgradient.shape:
        raise ValueError(f"{name} must have shape {subgradient.shape} (got {g.shape})")


def _scaled(xp, w):
    """w and 0, or, where squares might overflow or vanish, w 2**-e and e."""
    largest = max(abs(float(w.max())), abs(float(w.min())))
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= SAFE_EXPONENT or not largest:
        return w, 0
    return xp.ldexp(w, -exponent), exponent


def _decomposed(w, scheme, rules):
    """The decomposition of a kernel, the rule that says its rank, and the exponent of its scale."""
    xp = namespace_of(w)
    rule = _rule(_Decomposition(xp, w, scheme).smaller_side, rules)
    w, exponent = _scaled(xp, w)
    decomposition = _Decomposition(xp, w, scheme)
    _solve([decomposition])
    return decomposition, rule, exponent


def _rule(smaller_side, rules):
    """The name and the value of the one rule that is given."""
    given = [name for name, value in rules.items() if value is not None]
    if len(given) != 1:
        got = ", ".join(given) or "none"
        raise ValueError(f"exactly one of {', '.join(rules)} must be given (got {got})")
    name, value = given[0], rules[given[0]]
    if name == "rank" and value > smaller_side:
        raise ValueError(f"rank must be <= {smaller_side}, the smaller side (got {value})")
    if name == "ratio":  # 0.29 · 100 is 28.999999999999996
        return "rank", max(1, int(value * smaller_side * (1 + 1e-12)))
    return name, value


def _check_layers(x, first, second, scheme):
    """Hold the shapes of two layers and of images against each other; the size of the kernel that
    they make."""
    a, b = first.shape, second.shape
    if scheme == "decouple":
        fits, channels = len(a) == 3 and len(b) == 4 and a[:2] == b[:2], a[-1:]
    else:
        fits, channels = len(a) == len(b) == 4 and a[0] == b[1], a[1:2]
        fits = fits and (b[2:] == (1, 1) if scheme == "channel" else a[3] == b[2] == 1)
    if not fits:
        raise ValueError(f"factors must be two layers of the scheme {scheme} (got {a} and {b})")
    if x.shape[1:2] != channels:
        c = channels[0]
        raise ValueError(f"x must have c = {c} channels like the factors (got shape {x.shape})")
    return {"channel": a[2:], "spatial": (a[2], b[3]), "decouple": b[2:]}[scheme]


# --- decompositions -------------------------------------------------------------------------------


class _Decomposition:
    """The singular values of an unfolded kernel, or of a stack of b of them, and the vectors U of
    the shorter side.

    `mine` are the axes of the shorter side of w[b, n, c, i, j], `other` those of the longer one,
    along whose first axis M is worked on slab by slab, so that no unfolded copy of w is made.
    """

    def __init__(self, xp, w, scheme):
        self.xp, self.w, self.scheme = xp, w, scheme
        self.shape = w.shape if w.ndim == 4 else (*w.shape, 1, 1)
        n, *rest = self.shape
        self.stack = (n, 1, *rest) if scheme == "decouple" else (1, n, *rest)
        rows, columns = UNFOLDINGS[scheme]
        self.flipped = self._size(rows) > self._size(columns)
        self.mine, self.other = (columns, rows) if self.flipped else (rows, columns)
        self.smaller_side, self.larger_side = self._size(self.mine), self._size(self.other)
        self.exact = {}  # Vᵀ of those matrices that needed a decomposition of their own

    def _size(self, axes):
        return math.prod(self.stack[axis] for axis in axes)

    def slabs(self):
        """(index of w[b, n, c, i, j], columns of M)."""
        axis, whole = self.other[0], math.prod(self.stack)
        length, tail = self.stack[axis], self._size(self.other[1:])
        step = max(1, SLAB * length // whole)
        for first in range(0, length, step):
            end = min(first + step, length)
            yield (slice(None),) * axis + (slice(first, end),), slice(first * tail, end * tail)

    def _unfolded(self, index, dtype=np.float64):
        """(b, m, p) matrices of a part of w."""
        part = (
            self.w.reshape(self.stack)[index]
            .transpose(0, *self.mine, *self.other)
            .astype(dtype, order="C", copy=False)
        )
        return part.reshape(len(part), self.smaller_side, -1)

    def gram(self):
        total = 0
        for index, _ in self.slabs():
            m = self._unfolded(index)
            total = m @ m.swapaxes(1, 2) + total
        return total

    def solve_stack(self):
        """Both in one pass for many small matrices."""
        xp, (b, m) = self.xp, (self.stack[0], self.smaller_side)
        energies, vectors = xp.empty((b, m)), xp.empty((b, m, m))
        matrices = self._stacked()
        gram_eigh(
            xp.ascontiguousarray(matrices if self.flipped else matrices.swapaxes(1, 2)),
            energies,
            vectors,
        )
        self.take(energies, vectors)

    def _stacked(self):
        """The matrices of "decouple", (n, c, kh kw)."""
        return self.w.reshape(self.stack[0], self.stack[2], -1)

    def take(self, energies, vectors):
        """Eigenvalues and eigenvectors of the Gram matrices, descending."""
        self.sigma, self.u = self.xp.sqrt(self.xp.maximum(energies, 0)), vectors

    def decide(self, rule, value, exponent=0):
        """The rank that a rule wants and the relative error, after what squaring harms has been
        decomposed by itself."""
        if rule == "threshold":
            with np.errstate(over="ignore", under="ignore"):
                value = float(np.ldexp(value, -exponent))
        hard = True
        while hard:
            r = self._rank(rule, value)
            hard = [
                i
                for i in self.xp.nonzero(self._harmed(r, rule, value))[0].tolist()
                if i not in self.exact
            ]
            self._decompose(hard)
        squares = self.sigma**2
        total = float(squares.sum())
        return (r, math.sqrt(float(squares[:, r:].sum()) / total)) if total else (1, 0.0)

    def _rank(self, rule, value):
        xp, sigma = self.xp, self.sigma
        if rule == "rank":
            return value
        if rule == "threshold":
            kept = (sigma >= value).sum(axis=1)
        elif value == 1:
            kept = (sigma > self._noise()).sum(axis=1)
        else:
            energy = xp.cumsum(sigma**2, axis=1)
            kept = 1 + (energy < value * energy[:, -1:]).sum(axis=1)
        return max(1, int(kept.max()))

    def _harmed(self, r, rule, value):
        """Which matrices have results that M Mᵀ does not give accurately."""
        squares, dtype = self.sigma**2, self.w.dtype.name
        largest = squares[:, 0]
        least = squares[:, r - 1]
        if rule == "threshold":
            least = self.xp.minimum(least, min(value, 1.0) ** 2)
        harmed = least < MIN_KEPT[dtype] * largest
        if rule == "energy" and value > 1 - 1e-12:
            harmed = largest > 0
        if r < self.smaller_side:
            harmed = harmed | (squares[:, r:].sum(axis=1) < MIN_CUT[dtype] * squares.sum(axis=1))
        return harmed & (largest > 0)

    def _noise(self):
        """What is 0 to roundoff."""
        return np.finfo(np.float64).eps * self.larger_side * self.sigma[:, :1]

    def _decompose(self, hard):
        """Singular values and vectors of the matrices of these numbers, from themselves."""
        if hard:
            u, sigma, vh = self.xp.linalg.svd(self._unfolded(hard), full_matrices=False)
            self.u = self.u.copy()
            self.u[hard], self.sigma[hard] = u, sigma
            self.exact.update(zip(hard, vh, strict=True))

    def _kept(self, r):
        """U (b, m, r), σ and 1 / σ (b, 1, r), in the dtype in which w may be multiplied by them; 0
        in place of 1 / σ where σ is 0."""
        xp, sigma = self.xp, self.sigma[:, None, :r]
        flat = bool((self.sigma[:, r - 1] > FLAT * self.sigma[:, 0]).all())
        inverse = (sigma > self._noise()[:, None]) / xp.where(sigma > 0, sigma, 1)
        return self.u[:, :, :r], sigma, inverse, self.w.dtype if flat else np.dtype(np.float64)

    def projected(self, r):
        """For each slab, its index and columns, and its r rows of UᵀM = Σ Vᵀ and of Vᵀ without what
        belongs to σ = 0."""
        dtype, (u, sigma, inverse, work) = self.w.dtype, self._kept(r)
        ut, inverse = (part.swapaxes(1, 2).astype(work, order="C") for part in (u, inverse))
        for index, columns in self.slabs():
            p = ut @ self._unfolded(index, work)
            for i, vh in self.exact.items():
                p[i] = sigma[i].T * vh[:r, columns]
            yield (
                index,
                columns,
                p.astype(dtype, copy=False),
                (inverse * p).astype(dtype, copy=False),
            )

    def folded(self, r, which=(WEIGHT, SUBGRADIENT)):
        """The truncated kernel and the subgradient U_r V_rᵀ."""
        if self.scheme == "decouple":
            return self._folded_stack(r, which)
        xp, dtype = self.xp, self.w.dtype
        u, results = self.u[:, :, :r].astype(dtype), [xp.empty(self.stack, dtype) for _ in which]
        for index, _, *parts in self.projected(r):
            for k, result in zip(which, results, strict=True):
                view = result[index].transpose(0, *self.mine, *self.other)
                view[...] = (u @ parts[k]).reshape(view.shape)
        return [result.reshape(self.w.shape) for result in results]

    def _folded_stack(self, r, which):
        """U_r U_rᵀ M and U_r Σ_r⁻¹ U_rᵀ M: one product for each small matrix."""
        xp, (u, sigma, inverse, work), matrices, results = (
            self.xp,
            self._kept(r),
            self._stacked(),
            [],
        )
        step = len(matrices) if work == matrices.dtype else max(1, SLAB // matrices[0].size)
        for k in which:
            small = (((u * inverse) if k == SUBGRADIENT else u) @ u.swapaxes(1, 2)).astype(
                work, copy=False
            )
            result = xp.empty(matrices.shape, matrices.dtype)
            for first in range(0, len(small), step):
                factors = (
                    small[first : first + step],
                    matrices[first : first + step].astype(work, copy=False),
                )
                xp.matmul(
                    *(factors[::-1] if self.flipped else factors), out=result[first : first + step]
                )
            for i, vh in self.exact.items():
                product = (u[i] * ((inverse[i] > 0) if k == SUBGRADIENT else sigma[i])) @ vh[:r]
                result[i] = product.T if self.flipped else product
            results.append(result.reshape(self.w.shape))
        return results

    def factors(self, r):
        """U (b, rows, r), σ (b, r) and Vᵀ (b, r, columns) of M ≈ U diag(σ) Vᵀ."""
        xp, u = self.xp, self.u[:, :, :r]
        vh = xp.empty((self.stack[0], r, self.larger_side), self.w.dtype)
        for _, columns, _, part in self.projected(r):
            vh[:, :, columns] = part
        sigma = xp.where(self.sigma[:, :r] > self._noise(), self.sigma[:, :r], 0)
        return (vh.swapaxes(1, 2), sigma, u.swapaxes(1, 2)) if self.flipped else (u, sigma, vh)

    def truncated(self, rule, value, exponent):
        r, error = self.decide(rule, value, exponent)
        weight, subgradient = self.folded(r)
        with np.errstate(over="ignore", under="ignore"):
            sigma = self.xp.ldexp(self.sigma, exponent).astype(weight.dtype)
            weight = self.xp.ldexp(weight, exponent) if exponent else weight
        return TruncatedKernel(
            weight, r, sigma if self.scheme == "decouple" else sigma[0], subgradient, error
        )


def _solve(decompositions):
    """Gram matrices of one size are decomposed in one call."""
    sizes = {}
    for d in decompositions:
        if d.scheme == "decouple" and d.smaller_side <= SMALL:
            d.solve_stack()
        else:
            sizes.setdefault(d.smaller_side, []).append(d)
    for group in sizes.values():
        grams = [d.gram() for d in group]
        energies, vectors = group[0].xp.linalg.eigh(
            group[0].xp.concatenate(grams) if len(grams) > 1 else grams.pop()
        )
        end = 0
        for d in group:
            first, end = end, end + d.stack[0]
            d.take(energies[first:end, ::-1], vectors[first:end, :, ::-1])


# --- the two layers -------------------------------------------------------------------------------


def _channel(xp, conv2d, x, first, second, stride, padding):
    y, _ = conv2d(x, first, stride=stride, padding=padding)
    return _mixed(xp, second[:, :, 0, 0], y)


def _spatial(xp, conv2d, x, first, second, stride, padding):
    (down, right), (above, left) = stride, padding
    y, _ = conv2d(x, first, stride=(down, 1), padding=(above, 0))
    return conv2d(y, second, stride=(1, right), padding=(0, left))[0]


def _pair(value):
    """(vertical, horizontal)"""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _decouple(xp, conv2d, x, first, second, stride, padding):
    """All paths at once: output channel n sees the group of its r channels."""
    r, n, c = first.shape
    paths = _mixed(xp, first.swapaxes(0, 1).reshape(n * r, c), x)
    return conv2d(paths, second.swapaxes(0, 1), stride=stride, padding=padding, groups=n)[0]


def _mixed(xp, w, x):
    """A 1 × 1 convolution. BLAS would be called for each image, which costs more than it saves."""
    b, c, *size = x.shape
    y = xp.empty((b, len(w), math.prod(size)), x.dtype)
    mix_channels(xp.ascontiguousarray(w), xp.ascontiguousarray(x).reshape(b, c, math.prod(size)), y)
    return y.reshape(b, len(w), *size)


_LAYERS = {"channel": _channel, "spatial": _spatial, "decouple": _decouple}


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T w[n, c]; in T x[b, c, p]; out T y[b, n, p]; scratch T panel[48*c]; scratch T sums[8*48]",
    split="b",
    gpu="block",
    grain="1",
)
def mix_channels(w, x, y, panel, sums, start, stop):
    """y[b] = w x[b], for images of p pixels with c channels."""
    (n, c), p, width, height = w.shape, x.shape[2], tile_cols(w[0, 0]), tile_rows(w[0, 0])
    whole = p // width * width
    for b in range(start, stop):
        image, result = x[b], y[b]
        for column in range(0, whole, width):
            i = 0
            while i + height <= n:
                gemm_tile(w, i * c, c, 1, image, column, p, result, i * p + column, p, c, 0)
                i += height
            while i < n:
                gemm_row(w, i * c, c, 1, image, column, p, result, i * p + column, p, c, 0)
                i += 1
        if whole < p:
            for k in range(c):
                for j in range(width):
                    panel[k * width + j] = image[k, whole + j] if whole + j < p else 0
            for i in range(n):
                gemm_row(w, i * c, c, 1, panel, 0, width, sums, 0, width, c, 0)
                for j in range(whole, p):
                    result[i, j] = sums[j - whole]


@kernel(
    "in T a[n, p, m]; out float64 energies[n, m]; out float64 vectors[n, m, m]; "
    "scratch float64 columns[m*p+8*m]; "
    "scratch float64 g[LANES*m*m]; scratch float64 v[LANES*m*m]; scratch float64 turn[2*LANES]; "
    "scratch float64 noise[LANES]",
    constants=("MAX_SWEEPS", "LANES"),
    split="n",
    gpu="block",
    threads=32,
    shared="16*m*m",
    grain="16",
    twin_tolerance={"float32": 1e-9, "float64": 1e-9},
)
def gram_eigh(a, energies, vectors, columns, g, v, turn, noise, start, stop):
    """Eigenvalues, descending, and eigenvectors, in columns, of aᵀa of small matrices by Jacobi's
    rotations, LANES matrices at a time.

    A rotation that one of them does not need is the identity to the last bit, so that its result
    does not depend on its neighbours.
    """
    m = a.shape[2]
    for first in range(start, stop, LANES):
        count = min(LANES, stop - first)
        for e in range(m * m * LANES):
            g[e] = v[e] = 0
        for lane in range(LANES):
            if lane < count:
                gram(a[first + lane], columns, g, lane)
            noise[lane] = 0
            for i in range(m):
                noise[lane] += 1e-17 * g[place(m, i, i) + lane]
                v[place(m, i, i) + lane] = 1
        for _ in range(MAX_SWEEPS):
            turned = 0.0
            for p in range(m - 1):
                for q in range(p + 1, m):
                    turns = choose_turns(
                        g, place(m, p, p), place(m, p, q), place(m, q, q), noise, turn
                    )
                    if turns == 0:
                        continue
                    turned += turns
                    for k in range(p):
                        rotate(g, place(m, k, p), g, place(m, k, q), turn, 0)
                    for k in range(p + 1, q):
                        rotate(g, place(m, p, k), g, place(m, k, q), turn, 0)
                    for k in range(q + 1, m):
                        rotate(g, place(m, p, k), g, place(m, q, k), turn, 0)
                    for k in range(m):
                        rotate(v, place(m, k, p), v, place(m, k, q), turn, 0)
            if turned == 0:
                break
        for lane in range(count):
            put_sorted(g, v, lane, energies[first + lane], vectors[first + lane])


def place(m, i, j):
    """Where the entries i, j of all matrices begin."""
    return (i * m + j) * LANES


def gram(a, columns, g, lane):
    """The upper triangle of aᵀa."""
    p, m = a.shape
    size = (p + 7) // 8 * 8
    for j in range(m):
        column = columns[j * size : (j + 1) * size]
        for i in range(p):
            column[i] = a[i, j]
        for i in range(p, size):
            column[i] = 0
    for i in range(m):
        for j in range(i, m):
            g[place(m, i, j) + lane] = dot(
                columns[i * size : (i + 1) * size], columns[j * size : (j + 1) * size]
            )


def dot(x, y):
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for k in range(0, x.size, 8):
        s0 += x[k] * y[k]
        s1 += x[k + 1] * y[k + 1]
        s2 += x[k + 2] * y[k + 2]
        s3 += x[k + 3] * y[k + 3]
        s4 += x[k + 4] * y[k + 4]
        s5 += x[k + 5] * y[k + 5]
        s6 += x[k + 6] * y[k + 6]
        s7 += x[k + 7] * y[k + 7]
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))


def choose_turns(g, pp, pq, qq, noise, turn):
    """Cosines and sines that make the entries pq zero, and how many matrices need that."""
    first, middle, last = g[pp : pp + LANES], g[pq : pq + LANES], g[qq : qq + LANES]
    cosine, sine, needed = turn[:LANES], turn[LANES:], 0.0
    for lane in range(LANES):
        x, y, z = first[lane], middle[lane], last[lane]
        needs = abs(y) > noise[lane]
        theta = (z - x) / (2 * (y if needs else 1.0))
        t = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1))
        t = t if needs else 0.0
        c = 1 / math.sqrt(t * t + 1)
        cosine[lane], sine[lane] = c, t * c
        first[lane], middle[lane], last[lane] = x - t * y, (0.0 if needs else y), z + t * y
        needed += 1.0 if needs else 0.0
    return needed


def put_sorted(g, v, lane, energies, vectors):
    m = energies.size
    for k in range(m):
        best = 0
        for i in range(1, m):
            if g[place(m, i, i) + lane] > g[place(m, best, best) + lane]:
                best = i
        energies[k] = g[place(m, best, best) + lane]
        g[place(m, best, best) + lane] = -math.inf
        for i in range(m):
            vectors[i, k] = v[place(m, i, best) + lane]
