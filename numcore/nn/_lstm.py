"""Long short-term memory: one step of it and a whole sequence, forward and backward.

Each step makes four gates out of its input and of the last output, and with them changes a memory c
that gradients pass through almost undamped. Products of inputs and weights do not depend on the
recurrence: a sequence makes them for all steps at once, and the gradients of the weights too. The
small product that is left for each step is made by the kernel that makes the gates. S. Hochreiter,
J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997, with the forget gate of F. A.
Gers, J. Schmidhuber, F. Cummins, Neural Computation 12, 2000.
"""

from typing import NamedTuple

from ..arguments import Array, Float
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import WIDEST, gemm_rows, tile_cols
from ..special import sigmoid, tanh

ROWS = 32  # of the batch that are multiplied at once


class LSTMCache(NamedTuple):
    """What :func:`lstm` keeps for its gradients."""

    x: Float[Array, "time batch n_in"]
    w_h: Float[Array, "H 4*H"]
    w_x: Float[Array, "n_in 4*H"]
    gates: Float[Array, "time batch 4*H"]  # i, f, g, o
    hs: Float[Array, "time+1 batch H"]  # the given ones first
    cs: Float[Array, "time+1 batch H"]


class LSTMCellCache(NamedTuple):
    """What :func:`lstm_cell` keeps for its gradients: a sequence of one step."""

    x: Float[Array, "1 batch n_in"]
    w_h: Float[Array, "H 4*H"]
    w_x: Float[Array, "n_in 4*H"]
    gates: Float[Array, "1 batch 4*H"]
    hs: Float[Array, "2 batch H"]
    cs: Float[Array, "2 batch H"]


class LSTMGrads(NamedTuple):
    """Gradients of the arguments of :func:`lstm` or :func:`lstm_cell`."""

    x: Array
    h: Array
    c: Array
    w_x: Array
    w_h: Array
    b: Array


# --- routines -------------------------------------------------------------------------------------


@routine
def lstm_cell(
    x: Float[Array, "batch n_in"],
    h: Float[Array, "batch H"],
    c: Float[Array, "batch H"],
    w_x: Float[Array, "n_in 4*H"],
    w_h: Float[Array, "H 4*H"],
    b: Float[Array, "4*H"],
) -> tuple[tuple[Array, Array], LSTMCellCache]:
    """One step of a long short-term memory.

    Parameters
    ----------
    x : (batch, n_in) array of float32 or float64
        Input of the step.
    h, c : (batch, H) array of float32 or float64
        Output and memory of the last step.
    w_x : (n_in, 4*H) array of float32 or float64
        Weights of the input, for the gates i, f, g and o in this order.
    w_h : (H, 4*H) array of float32 or float64
        Weights of the last output.
    b : (4*H,) array of float32 or float64

    Returns
    -------
    (h, c) : (batch, H) arrays
        Output and memory after the step.
    cache : LSTMCellCache
        For :func:`lstm_cell_vjp`.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    With ``a = x w_x + h w_h + b`` in four parts: ``i, f, o = sigmoid(a_i, a_f, a_o)``,
    ``g = tanh(a_g)``, ``c' = f c + i g`` and ``h' = o tanh(c')``. A NaN in an array reaches the
    results. Errors are a few roundings of the products.

    References
    ----------
    F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with LSTM",
    Neural Computation 12, 2000.

    Examples
    --------
    >>> zero = np.zeros((1, 4))
    >>> (h, c), cache = lstm_cell(
    ...     np.ones((1, 1)), np.zeros((1, 1)), np.array([[2.0]]), zero, zero, zero[0]
    ... )
    >>> c, h.round(6)
    (array([[1.]]), array([[0.380797]]))
    """
    sequence = _forward(x[None], h, c, w_x, w_h, b)
    return (sequence.hs[1], sequence.cs[1]), LSTMCellCache(*sequence)


@routine
def lstm_cell_vjp(
    grad_h: Float[Array, "batch H"] | None,
    grad_c: Float[Array, "batch H"] | None,
    cache: LSTMCellCache,
) -> LSTMGrads:
    """Gradients of :func:`lstm_cell`.

    Parameters
    ----------
    grad_h, grad_c : (batch, H) array of float32 or float64 or None
        Gradients of a loss in the new h and c; None means zeros.
    cache : LSTMCellCache
        What :func:`lstm_cell` returned.

    Returns
    -------
    LSTMGrads
        x, h, c, w_x, w_h and b: gradients of all arguments of the cell.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of another layer.
    ValueError
        Shapes that do not fit.

    References
    ----------
    F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with LSTM",
    Neural Computation 12, 2000.

    Examples
    --------
    >>> from numcore.nn import lstm_cell
    >>> zero = np.zeros((1, 4))
    >>> _, cache = lstm_cell(
    ...     np.ones((1, 1)), np.zeros((1, 1)), np.array([[2.0]]), zero, zero, zero[0]
    ... )
    >>> lstm_cell_vjp(None, np.ones((1, 1)), cache).c
    array([[0.5]])
    """
    grads = _backward(None, grad_h, grad_c, LSTMCache(*cache))
    return grads._replace(x=grads.x[0])


@routine
def lstm(
    x: Float[Array, "time batch n_in"],
    h: Float[Array, "batch H"],
    c: Float[Array, "batch H"],
    w_x: Float[Array, "n_in 4*H"],
    w_h: Float[Array, "H 4*H"],
    b: Float[Array, "4*H"],
) -> tuple[tuple[Array, Array, Array], LSTMCache]:
    """A long short-term memory over a sequence.

    Parameters
    ----------
    x : (time, batch, n_in) array of float32 or float64
        Inputs, one step after the other.
    h, c : (batch, H) array of float32 or float64
        Output and memory before the first step.
    w_x : (n_in, 4*H) array of float32 or float64
        Weights of :func:`lstm_cell`, the same for all steps.
    w_h : (H, 4*H) array of float32 or float64
    b : (4*H,) array of float32 or float64

    Returns
    -------
    (outputs, h, c) : arrays
        Outputs of all steps (time, batch, H), output and memory after the last one.
    cache : LSTMCache
        For :func:`lstm_vjp`.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    8 (in + H) H operations for each step and row of the batch; threads share the batch, each with a
    copy of `w_h`. The cache holds six arrays of the size of the outputs; the outputs are one of
    them, so that writing into these spoils the gradients.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.

    Examples
    --------
    A memory that nothing changes: its forget gate is open, its input gate is shut.

    >>> keep = np.array([-50.0, 50, 0, 50])
    >>> x, zero = np.ones((100, 1, 1)), np.zeros((1, 1))
    >>> (outputs, h, c), cache = lstm(x, zero, zero + 2, np.zeros((1, 4)), np.zeros((1, 4)), keep)
    >>> c, h.round(6)
    (array([[2.]]), array([[0.964028]]))
    """
    cache = _forward(x, h, c, w_x, w_h, b)
    return (cache.hs[1:], cache.hs[-1].copy(), cache.cs[-1].copy()), cache


@routine
def lstm_vjp(
    grad_outputs: Float[Array, "time batch H"] | None,
    grad_h: Float[Array, "batch H"] | None,
    grad_c: Float[Array, "batch H"] | None,
    cache: LSTMCache,
) -> LSTMGrads:
    """Gradients of :func:`lstm`, through all of its steps.

    Parameters
    ----------
    grad_outputs : (time, batch, H) array of float32 or float64 or None
        Gradient of a loss in the outputs; None means zeros, here and below.
    grad_h, grad_c : (batch, H) array of float32 or float64 or None
        Gradients in the h and c that :func:`lstm` returned.
    cache : LSTMCache
        What :func:`lstm` returned.

    Returns
    -------
    LSTMGrads
        x, h, c, w_x, w_h and b: gradients of all arguments of :func:`lstm`.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a cache of another layer.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    With t = tanh(c'), the gradient dh in h' and dc in c': ``do = dh t o (1 - o)``,
    ``dc += dh o (1 - t²)``, ``di = dc g i (1 - i)``, ``df = dc c f (1 - f)``,
    ``dg = dc i (1 - g²)``, and f dc goes to the step before.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.

    Examples
    --------
    >>> from numcore.nn import lstm
    >>> keep = np.array([-50.0, 50, 0, 50])
    >>> x, zero = np.ones((100, 1, 1)), np.zeros((1, 1))
    >>> _, cache = lstm(x, zero, zero + 2, np.zeros((1, 4)), np.zeros((1, 4)), keep)
    >>> lstm_vjp(None, None, zero + 1, cache).c
    array([[1.]])
    """
    return _backward(grad_outputs, grad_h, grad_c, cache)


# --- the sequence ---------------------------------------------------------------------------------


def _forward(x, h, c, w_x, w_h, b):
    xp, (steps, batch, features) = namespace_of(x), x.shape
    hidden, dtype = h.shape[1], x.dtype
    gates = xp.matmul(x.reshape(steps * batch, features), w_x).reshape(steps, batch, 4 * hidden)
    hs, cs = (xp.empty((steps + 1, batch, hidden), dtype) for _ in range(2))
    hs[0], cs[0] = h, c
    lstm_steps(xp.ascontiguousarray(w_h), xp.ascontiguousarray(b), gates, hs, cs)
    return LSTMCache(x, w_h, w_x, gates, hs, cs)


def _backward(grad_outputs, grad_h, grad_c, cache):
    x, w_h, w_x, gates, hs, cs = cache
    xp, (steps, batch, features), hidden = namespace_of(x), x.shape, hs.shape[2]
    zero = xp.zeros((batch, hidden), x.dtype)
    grad_h, grad_c = (
        zero.copy() if grad is None else grad.copy(order="C") for grad in (grad_h, grad_c)
    )
    grad_ys = (
        xp.empty((0, batch, hidden), x.dtype)
        if grad_outputs is None
        else xp.ascontiguousarray(grad_outputs)
    )
    grad_a = xp.empty_like(gates)
    lstm_steps_vjp(xp.ascontiguousarray(w_h.T), gates, cs, grad_ys, grad_h, grad_c, grad_a)
    rows = grad_a.reshape(steps * batch, 4 * hidden)
    grad_x = xp.matmul(rows, w_x.T).reshape(x.shape)
    grad_w_x = xp.matmul(x.reshape(steps * batch, features).T, rows)
    grad_w_h = xp.matmul(hs[:-1].reshape(steps * batch, hidden).T, rows)
    return LSTMGrads(grad_x, grad_h, grad_c, grad_w_x, grad_w_h, rows.sum(axis=0))


# --- kernels --------------------------------------------------------------------------------------
#
# Rows of the batch do not depend on each other: a chunk of them goes through all steps at once, and
# the weights stay in its cache.


@kernel(
    "in T w_h[h, 4*h]; in T b[4*h]; inout T gates[steps, n, 4*h]; inout T hs[steps+1, n, h]; "
    "inout T cs[steps+1, n, h]; "
    "scratch T packed[h*(4*h+WIDEST)]; scratch T products[ROWS*(4*h+WIDEST)]",
    constants={"ROWS": ROWS, "WIDEST": WIDEST},
    split="n",
    gpu="block",
    threads=128,
    grain="16",
)
def lstm_steps(w_h, b, gates, hs, cs, packed, products, start, stop):
    """`gates` comes with the products of x and leaves with the gates. Loops are short so that each
    is made of vectors."""
    h, wide = hs.shape[2], pack_panels(w_h, packed)
    for first in range(start, stop, ROWS):
        rows = min(ROWS, stop - first)
        for t in range(gates.shape[0]):
            multiply_rows(hs[t, first], rows, h, packed, wide, products)
            for s in range(rows):
                a, r = gates[t, first + s], products[s * wide : (s + 1) * wide]
                old, new, out = cs[t, first + s], cs[t + 1, first + s], hs[t + 1, first + s]
                i, f, g, o = a[:h], a[h : 2 * h], a[2 * h : 3 * h], a[3 * h :]
                for j in range(4 * h):
                    a[j] += r[j] + b[j]
                for j in range(2 * h):
                    a[j] = sigmoid(a[j])
                for j in range(h):
                    g[j] = tanh(g[j])
                for j in range(h):
                    o[j] = sigmoid(o[j])
                for j in range(h):
                    new[j] = f[j] * old[j] + i[j] * g[j]
                for j in range(h):
                    out[j] = o[j] * tanh(new[j])


@kernel(
    "in T w_t[4*h, h]; in T gates[steps, n, 4*h]; in T cs[steps+1, n, h]; "
    "in T grad_ys[given, n, h]; inout T grad_h[n, h]; "
    "inout T grad_c[n, h]; out T grad_a[steps, n, 4*h]; scratch T packed[4*h*(h+WIDEST)]; "
    "scratch T products[ROWS*(h+WIDEST)]",
    constants={"ROWS": ROWS, "WIDEST": WIDEST},
    split="n",
    gpu="block",
    threads=128,
    grain="16",
)
def lstm_steps_vjp(w_t, gates, cs, grad_ys, grad_h, grad_c, grad_a, packed, products, start, stop):
    """`grad_h` and `grad_c` come as those of the last step and leave as those before the first;
    `grad_ys` may be empty."""
    h, one, wide = w_t.shape[1], w_t.dtype.type(1), pack_panels(w_t, packed)
    for first in range(start, stop, ROWS):
        rows = min(ROWS, stop - first)
        for t in range(gates.shape[0] - 1, -1, -1):
            for s in range(first, first + rows):
                a, da, old = gates[t, s], grad_a[t, s], cs[t, s]
                new, dh, dc = cs[t + 1, s], grad_h[s], grad_c[s]
                i, f, g, o = a[:h], a[h : 2 * h], a[2 * h : 3 * h], a[3 * h :]
                di, df, dg, do = da[:h], da[h : 2 * h], da[2 * h : 3 * h], da[3 * h :]
                if t < grad_ys.shape[0]:
                    dy = grad_ys[t, s]
                    for j in range(h):
                        dh[j] += dy[j]
                for j in range(h):
                    u = tanh(new[j])
                    do[j] = dh[j] * u * o[j] * (one - o[j])
                    dc[j] += dh[j] * o[j] * (one - u * u)
                for j in range(h):
                    di[j] = dc[j] * g[j] * i[j] * (one - i[j])
                for j in range(h):
                    df[j] = dc[j] * old[j] * f[j] * (one - f[j])
                for j in range(h):
                    dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
                for j in range(h):
                    dc[j] *= f[j]
            multiply_rows(grad_a[t, first], rows, 4 * h, packed, wide, products)
            for s in range(rows):
                dh, r = grad_h[first + s], products[s * wide : (s + 1) * wide]
                for j in range(h):
                    dh[j] = r[j]


def pack_panels(w, packed):
    """The columns of w in panels of the tile's width, each stored row by row, the last one padded
    with 0; how many columns that makes."""
    depth, cols = w.shape
    width = tile_cols(packed[0])
    wide = (cols + width - 1) // width * width
    for panel in range(0, wide, width):
        for p in range(depth):
            to = packed[panel * depth + p * width : panel * depth + (p + 1) * width]
            row = w[p, panel : min(cols, panel + width)]
            to[row.size :] = 0
            for j in range(row.size):
                to[j] = row[j]
    return wide


def multiply_rows(x, rows, depth, packed, wide, products):
    """products (rows, wide) = x w, x being the first of `rows` rows that lie behind each other."""
    width = tile_cols(products[0])
    for panel in range(0, wide, width):
        at = panel * depth
        gemm_rows(rows, x, 0, depth, 1, packed, at, width, products, panel, wide, depth, 0)
