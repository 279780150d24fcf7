"""Gated layers that read only the neurons that a token or a prompt needs."""

import math
from typing import Annotated, Literal

import numpy as np

from ...arguments import RNG, Array, Float, checked, interval
from ...dispatch import CPU, device_of, namespace_of, routine
from ...random import generator_from_rng
from .._activation import activation as activated
from .kernels import ACTIVATIONS, gate_rows, select_largest, sum_kept_rows

Activation = Literal["silu", "relu", "gelu", "gelu_tanh"]
Density = Annotated[float, interval("(0, 1]")]
Method = Literal["topk", "topk_sample"]

# up to so many tokens read their own rows; more of them need nearly all rows, and share them in
# matrix products
FEW_TOKENS = 4
# kept rows that are summed by one thread at a stretch: the sums do not depend on the number of
# threads
ROWS = 64
BLOCK = 1 << 17  # numbers of a prompt's states that are worked on in the cache
REFRESH = 8  # weight of a new statistic's square


# --- routines -------------------------------------------------------------------------------------


@routine
def gated_mlp(
    x: Float[Array, "*batch d"],
    w_gate: Float[Array, "m d"],
    w_up: Float[Array, "m d"],
    w_down: Float[Array, "d m"],
    *,
    activation: Activation = "silu",
    out: Float[Array, "*batch d"] | None = None,
) -> Array:
    """Gated layer act(x W_gateᵀ) * (x W_upᵀ) W_downᵀ with all its neurons.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
        Hidden states.
    w_gate, w_up : (m, d) array of float32 or float64
        A row for each neuron.
    w_down : (d, m) array of float32 or float64
    activation : {"silu", "relu", "gelu", "gelu_tanh"}, default "silu"
        z σ(z), max(z, 0), z Φ(z), or z Φ(z) with Φ by a tanh.
    out : (..., d) array of float32 or float64, optional
        Where to write the result; it shares no memory with the other arguments.

    Returns
    -------
    (..., d) array
        `out` if it is given.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit, an unknown activation, `out` of another shape.

    Notes
    -----
    6 m d operations and 3 m d weights read. Errors relative to the largest result are below about
    (d + m) eps, and far smaller usually.

    References
    ----------
    N. Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.

    Examples
    --------
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> gated_mlp(np.array([1.0, -2.0]), w, w, w.T, activation="relu")
    array([1., 0.])
    """
    y = _dense(x, w_gate, w_up, w_down.T, activation)
    if out is None:
        return y
    out[...] = y
    return out


@routine
def sparse_gated_mlp(
    x: Float[Array, "*batch d"],
    w_gate: Float[Array, "m d"],
    w_up: Float[Array, "m d"],
    w_down_t: Float[Array, "m d"],
    *,
    density: Density,
    activation: Activation = "silu",
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Gated layer in which every token uses only the neurons with the largest gates: fine-grained
    contextual sparsity.

    Parameters
    ----------
    x : (..., d) array of float32 or float64
        Hidden states.
    w_gate, w_up : (m, d) array of float32 or float64
        A row for each neuron.
    w_down_t : (m, d) array of float32 or float64
        The transpose of W_down, contiguous, so that a neuron is a row of it too.
    density : float in (0, 1]
        Share of the neurons that is kept: k = floor(density · m) of them, at least 1.
    activation : {"silu", "relu", "gelu", "gelu_tanh"}, default "silu"
        As for :func:`gated_mlp`.
    return_indices : bool, default False
        Also return which neurons were kept.

    Returns
    -------
    y : (..., d) array
    indices : (..., k) array of int64, if `return_indices`
        The kept neurons of each token, in increasing order.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a density that is not a number.
    ValueError
        Shapes that do not fit, a density outside of (0, 1] or too small to keep a neuron, an
        unknown activation.

    Notes
    -----
    With g = act(W_gate x), y = Σ g_j (w_up[j]·x) w_down_t[j] over the k neurons of the largest
    \\|g_j\\|; of equal ones the lower index is kept. NaN counts as larger than any number. One
    token reads (1 + 2 density) m d weights, against 3 m d of the whole layer, and takes 2 m d + 4 k
    d operations. Up to 4 tokens read only the rows that they keep; more use dense products with the
    other gates set to 0. With density 1 the result is that of :func:`gated_mlp`, to rounding.
    Rounding may also decide between gates that are almost equal.

    References
    ----------
    Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction for
    Efficient LLMs", NeurIPS 2024.

    Examples
    --------
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> sparse_gated_mlp(
    ...     np.array([1.0, 2.0]), w, w, w, density=0.4, activation="relu", return_indices=True
    ... )
    (array([9., 9.]), array([2]))
    """
    xp, (m, d) = namespace_of(x), w_gate.shape
    k = _kept_count(density, m)
    tokens = xp.ascontiguousarray(x.reshape(math.prod(x.shape[:-1]), d))
    if len(tokens) <= FEW_TOKENS:
        g = xp.empty((len(tokens), m), x.dtype)
        gate_rows(xp.ascontiguousarray(w_gate), tokens, g, ACTIVATIONS[activation])
        kept = largest(g, k)
        y = _sum_kept(tokens, w_up, w_down_t, g, kept)
    else:
        with np.errstate(all="ignore"):
            g = _activated(tokens @ w_gate.T, activation)
            kept = largest(g, k)
            if k < m:
                token, others = xp.arange(len(tokens))[:, None], g
                g = xp.zeros_like(g)
                g[token, kept] = others[token, kept]
            y = (g * (tokens @ w_up.T)) @ w_down_t
    y = y.reshape(x.shape)
    return (y, kept.reshape(*x.shape[:-1], k)) if return_indices else y


@routine
def select_neurons(
    h: Float[Array, "t m"], *, density: Density, method: Method = "topk", rng: RNG = None
) -> Array:
    """Choose the neurons that a prompt uses most, for all tokens that follow it: coarse-grained
    contextual sparsity.

    Parameters
    ----------
    h : (t, m) array of float32 or float64
        act(W_gate x) * (W_up x) of the prompt's t tokens.
    density : float in (0, 1]
        Share of the neurons that is kept: k = floor(density · m) of them, at least 1.
    method : {"topk", "topk_sample"}, default "topk"
        The k neurons of the largest statistic; or k // 2 of these, and the others drawn from the
        rest without replacement, with probabilities in proportion to the statistic.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For "topk_sample".

    Returns
    -------
    (k,) array of int64
        The neurons in increasing order.

    Raises
    ------
    TypeError
        Another dtype, a density that is not a number.
    ValueError
        Another number of dimensions, numbers that are not finite, a density outside of (0, 1] or
        too small to keep a neuron, an unknown method.

    Notes
    -----
    Every token's row is scaled to length 1, and the statistic of a neuron is the length of its
    column. Of equal neurons the lower index is kept. Rows of zeros count for nothing. O(t m)
    operations.

    References
    ----------
    H. Dong, B. Chen, Y. Chi, "Prompt-prompted Adaptive Structured Pruning for Efficient LLM
    Generation", COLM 2024.

    Examples
    --------
    >>> select_neurons(np.array([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 1.0, 0.5]]), density=0.5)
    array([0, 2])
    """
    k = _kept_count(density, h.shape[1])
    return _choose(_statistic(h), k, method, rng)


class NeuronCache:
    """A gated layer that keeps compact copies of the neurons chosen for a prompt.

    Parameters
    ----------
    w_gate, w_up : (m, d) array of float32 or float64
        A row for each neuron; NumPy or CuPy.
    w_down : (d, m) array of float32 or float64
        They are held by reference and never modified.

    Attributes
    ----------
    indices : (k,) array of int64 or None
        The neurons of the last selection.
    statistic : (m,) array or None
        How much the prompt used each neuron.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    Memory: `density` times the three matrices. A token reads just these.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import NeuronCache
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> cache = NeuronCache(w, w, w.T)
    >>> cache.select(np.array([[1.0, 4.0, 9.0]]), density=0.7)
    array([1, 2])
    >>> cache.apply(np.array([1.0, 2.0]), activation="relu")
    array([ 9., 13.])
    """

    @checked
    def __init__(
        self, w_gate: Float[Array, "m d"], w_up: Float[Array, "m d"], w_down: Float[Array, "d m"]
    ):
        self._gate, self._up, self._down = w_gate, w_up, w_down
        self.indices = self.statistic = self._kept = None

    @checked
    def select(
        self,
        h: Float[Array, "t m"],
        *,
        density: Density,
        method: Method = "topk",
        refresh: bool = False,
        rng: RNG = None,
    ) -> Array:
        """Choose neurons by a prompt's states and copy them.

        Parameters
        ----------
        h : (t, m) array of float32 or float64
        density : float in (0, 1]
        method : {"topk", "topk_sample"}, default "topk"
        rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
            As for :func:`select_neurons`; `h` lives where the weights do and has their dtype.
        refresh : bool, default False
            Join the statistic s of the selections before with the new one: √(s² + 8 s_new²).

        Returns
        -------
        (k,) array of int64
            The neurons in increasing order.
        """
        m = len(self._gate)
        self._check("h", h, "(t, m)", m)
        xp, k = namespace_of(h), _kept_count(density, m)
        statistic = _statistic(h)
        if refresh and self.statistic is not None:
            statistic = xp.sqrt(self.statistic**2 + REFRESH * statistic**2)
        indices = _choose(statistic, k, method, rng)
        self._kept = None  # the memory of the copies before
        self._kept = (
            self._gate[indices],
            self._up[indices],
            xp.ascontiguousarray(self._down[:, indices].T),
        )
        self.indices, self.statistic = indices, statistic
        return indices.copy()

    @checked
    def apply(self, x: Float[Array, "*batch d"], *, activation: Activation = "silu") -> Array:
        """The layer with the chosen neurons alone.

        Parameters
        ----------
        x : (..., d) array of float32 or float64
            Hidden states, of the dtype of the weights.
        activation : {"silu", "relu", "gelu", "gelu_tanh"}, default "silu"
            As for :func:`gated_mlp`.

        Returns
        -------
        (..., d) array
        """
        self._check("x", x, "(..., d)", self._gate.shape[1])
        if self._kept is None:
            raise ValueError("select must be called before apply (got no selection)")
        gate, up, down_t = self._kept
        (k, d), xp = gate.shape, namespace_of(x)
        tokens = xp.ascontiguousarray(x.reshape(math.prod(x.shape[:-1]), d))
        if len(tokens) > FEW_TOKENS:
            return _dense(x, gate, up, down_t, activation)
        g = xp.empty((len(tokens), k), x.dtype)
        gate_rows(gate, tokens, g, ACTIVATIONS[activation])
        return _sum_kept(tokens, up, down_t, g, _all(xp, len(tokens), k)).reshape(x.shape)

    def _check(self, name, array, form, size):
        """Hold an array against the weights: device, dtype, and the size of its last axis."""
        here, there = device_of(self._gate) or CPU, device_of(array) or CPU
        if here is not there:
            raise TypeError(f"{name} must live on {here.name} like w_gate (got {there.name})")
        if array.dtype != self._gate.dtype:
            like = f"{self._gate.dtype} like w_gate"
            raise TypeError(f"{name} must have dtype {like} (got {array.dtype})")
        if array.shape[-1] != size:
            last = form.strip("()").split(", ")[-1]
            raise ValueError(
                f"{name} must have shape {form} with {last} = {size} (got {array.shape})"
            )


# --- gates and sums -------------------------------------------------------------------------------


def _dense(x, w_gate, w_up, w_down_t, activation):
    with np.errstate(all="ignore"):
        return (_activated(x @ w_gate.T, activation) * (x @ w_up.T)) @ w_down_t


def _activated(z, activation):
    if activation == "gelu_tanh":
        return activated(z, kind="gelu", approximate="tanh")[0]
    return activated(z, kind=activation)[0]


def largest(g, k):
    """(b, k) int64: the indices of the k largest \\|g\\| of each row, increasing; of equal ones the
    lower."""
    xp, (b, m) = namespace_of(g), g.shape
    if k == m:
        return _all(xp, b, m)
    kept = xp.empty((b, k), np.int64)
    select_largest(xp.ascontiguousarray(g), kept)
    return kept


def _all(xp, b, m):
    return xp.ascontiguousarray(xp.broadcast_to(xp.arange(m, dtype=np.int64), (b, m)))


def _sum_kept(x, w_up, w_down_t, g, kept):
    """(b, d): the sums over the kept neurons of each token, of partial sums of `ROWS` neurons
    each."""
    xp = namespace_of(x)
    parts = xp.empty((-(-kept.shape[1] // ROWS), *x.shape), x.dtype)
    sum_kept_rows(xp.ascontiguousarray(w_up), xp.ascontiguousarray(w_down_t), x, g, kept, parts)
    with np.errstate(all="ignore"):
        return parts.sum(axis=0)


def _statistic(h):
    """Lengths of the columns of h, whose rows are scaled to length 1; in float64, some rows at a
    time."""
    xp, (t, m) = namespace_of(h), h.shape
    total, step = xp.zeros(m), max(1, (BLOCK if xp is np else t * m) // max(m, 1))
    for first in range(0, t, step):
        rows = h[first : first + step].astype(np.float64)
        with np.errstate(all="ignore"):
            if h.dtype == np.float64:  # so that no square overflows
                largest = xp.maximum(rows.max(axis=1), -rows.min(axis=1))
                rows /= xp.where(largest == 0, 1.0, largest)[:, None]
            rows *= rows
            lengths = rows.sum(axis=1)
        if not bool(xp.isfinite(lengths).all()):
            raise ValueError("h must be finite (got NaN or infinity)")
        total += (1 / xp.where(lengths == 0, 1.0, lengths)) @ rows
    return xp.sqrt(total)


def _choose(statistic, k, method, rng):
    xp, first = namespace_of(statistic), k if method == "topk" else k // 2
    chosen = largest(statistic[None], first)[0] if first else xp.empty(0, np.int64)
    if first == k:
        return chosen
    # the largest of s_j / (exponentially distributed numbers) are a sample without replacement
    rest = xp.ones(len(statistic), bool)
    rest[chosen] = False
    rest = xp.nonzero(rest)[0]
    waits = generator_from_rng(rng).standard_exponential(len(rest))
    waits = xp.asarray(np.maximum(waits, np.finfo(float).tiny))
    with np.errstate(all="ignore"):
        sampled = largest((statistic[rest] / waits)[None], k - first)[0]
    return xp.sort(xp.concatenate([chosen, rest[sampled]]))


def _kept_count(density, m):
    k = math.floor(density * m)
    if not k:
        raise ValueError(f"density must keep a neuron, be >= 1 / m with m = {m} (got {density})")
    return k
