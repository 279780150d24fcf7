"""Exact attention: softmax(Q Kᵀ scale + bias) V without the N × N matrix of scores, forward and
backward."""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import Array, Bool, Float, Integer, any_device, at_least, nonnegative
from ...dispatch import namespace_of, routine
from . import kernels
from .partition import GPU_TILE, Heads, Rows, Tile, backward_items, bias_items, forward_items
from .scores import Options, scores_of

BlockSize = tuple[Annotated[int, at_least(1)], Annotated[int, at_least(1)]]
Window = tuple[Annotated[int, nonnegative] | None, Annotated[int, nonnegative] | None]
CPU_TILES = {np.dtype(name): Tile(kernels.QUERIES, n) for name, n in (("f4", 48), ("f8", 24))}


class AttentionGrads(NamedTuple):
    """Gradients of the arguments of :func:`attention`; that of the bias is None if there is
    none."""

    q: Array
    k: Array
    v: Array
    bias: Array | None


# --- routines -------------------------------------------------------------------------------------


@routine
def attention(
    q: Float[Array, "*heads Nq d"],
    k: Float[Array, "*kv_heads Nk d"],
    v: Float[Array, "*kv_heads Nk dv"],
    *,
    scale: float | None = None,
    causal: bool = False,
    bias: Float[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    block_mask: Bool[Array, "Tr Tc"] | None = None,
    block_size: BlockSize | None = None,
    window: Window | None = None,
    return_lse: bool = False,
) -> Array | tuple[Array, Array]:
    """Attention softmax(q kᵀ · scale + bias) v, exact, in memory that grows with the sequence and
    not with its square.

    Parameters
    ----------
    q : (..., Nq, d) array of float32 or float64
        Queries, (..., Hq, Nq, d). Arrays of two dimensions are one head.
    k : (..., Nk, d) array of float32 or float64
        Keys, (..., Hkv, Nk, d). Hkv divides Hq: query head h attends to head h // (Hq / Hkv) of the
        keys.
    v : (..., Nk, dv) array of float32 or float64
        Values, (..., Hkv, Nk, dv).
    scale : float, optional
        Factor of the scores; by default 1/sqrt(d).
    causal : bool, default False
        A query attends to no later key; queries are aligned with the end of the keys: query i sees
        keys j <= i + Nk - Nq.
    bias : (...) array of float32 or float64, optional
        Added to the scaled scores; broadcasts to (..., Hq, Nq, Nk). -inf masks.
    mask : (...) array of bool, optional
        True where a query **may attend** to a key; broadcasts like `bias`.
    block_mask : (Tr, Tc) array of bool, optional
        (ceil(Nq / Br), ceil(Nk / Bc)): False where a whole block of queries and keys is left out,
        at no cost.
    block_size : (int >= 1, int >= 1), optional
        (Br, Bc) of `block_mask`.
    window : (int >= 0, int >= 0), optional
        (left, right): query i sees keys from i + Nk - Nq - left to i + Nk - Nq + right; None is no
        limit.
    return_lse : bool, default False
        Also return the log-sum-exp.

    Returns
    -------
    out : (..., Hq, Nq, dv) array
        0 where a query may attend to no key.
    lse : (..., Hq, Nq) array, if `return_lse`
        Natural logarithm of the sum of exp(scores) over the keys; -inf where there is none.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a mask that is not bool.
    ValueError
        Shapes that do not fit, `block_mask` without `block_size` or `block_size` without
        `block_mask`, a negative window, a scale that is not finite.

    Notes
    -----
    With S = scale · q kᵀ + bias, masked entries -inf, ``lse_i = log Σ_j exp S_ij`` and
    ``out_i = Σ_j exp(S_ij - lse_i) v_j``. Scores are rounded as any product is: errors relative to
    the largest value are below eps · (s + 10), s the largest score. 4 Nq Nk d operations for d =
    dv, half of it if causal. Keys are masked by weights that are exactly 0; values of masked keys
    must be finite.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact
    Attention with IO-Awareness", NeurIPS 2022.

    Examples
    --------
    >>> q, k = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [0, 1], [1, 1]])
    >>> v = np.array([[1.0, 2], [3, 4], [5, 6]])
    >>> out, lse = attention(q, k, v, return_lse=True)
    >>> out.round(4), lse.round(4)
    (array([[3.    , 4.    ],
           [3.4067, 4.4067]]), array([1.6206, 1.6206]))
    """
    heads = _even_heads(q, k)
    shape = (*q.shape[:-1], heads.nk)
    scores = scores_of(q, shape, Options(scale, causal, bias, mask, block_mask, block_size, window))
    if heads.group > 1 and scores.is_open:  # the query heads of a key head are queries of one head
        count, group, nq, nk = heads
        heads = Heads(count // group, 1, nq * group, nk)
    out, lse = _forward(heads, scores, q, k, v)
    return (out, lse) if return_lse else out


@routine
def attention_varlen(
    q: Float[Array, "total_q Hq d"],
    k: Float[Array, "total_k Hkv d"],
    v: Float[Array, "total_k Hkv dv"],
    cu_seqlens_q: Integer[Array, "batch+1", any_device],
    cu_seqlens_k: Integer[Array, "batch+1", any_device],
    *,
    scale: float | None = None,
    causal: bool = False,
    bias: Float[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    block_mask: Bool[Array, "Tr Tc"] | None = None,
    block_size: BlockSize | None = None,
    window: Window | None = None,
    return_lse: bool = False,
) -> Array | tuple[Array, Array]:
    """Attention within each of several sequences of any lengths that follow each other in one
    array, without padding.

    Parameters
    ----------
    q : (total_q, Hq, d) array of float32 or float64
        Queries of all sequences.
    k : (total_k, Hkv, d) array of float32 or float64
        Keys; Hkv divides Hq.
    v : (total_k, Hkv, dv) array of float32 or float64
        Values.
    cu_seqlens_q, cu_seqlens_k : (batch+1,) array of integers
        Where sequences begin and end: sequence s has the queries ``cu_seqlens_q[s]`` to
        ``cu_seqlens_q[s + 1]``. From 0 to the total, nowhere decreasing. They may be NumPy arrays
        where the others are arrays of a GPU.
    scale : float, optional
        Factor of the scores; by default 1/sqrt(d).
    causal : bool, default False
        As for :func:`attention`, for each sequence with its own lengths.
    bias : (...) array of float32 or float64, optional
    mask : (...) array of bool, optional
        Broadcast to (batch, Hq, longest Nq, longest Nk); a sequence uses its first Nq rows and Nk
        columns.
    block_mask : (Tr, Tc) array of bool, optional
        (ceil(longest Nq / Br), ceil(longest Nk / Bc)), for every sequence and head.
    block_size : (int >= 1, int >= 1), optional
        (Br, Bc) of `block_mask`.
    window : (int >= 0, int >= 0), optional
    return_lse : bool, default False
        As for :func:`attention`.

    Returns
    -------
    out : (total_q, Hq, dv) array
    lse : (total_q, Hq) array, if `return_lse`

    Raises
    ------
    TypeError
        As for :func:`attention`, and prefix sums that are not integers.
    ValueError
        As for :func:`attention`, and prefix sums that do not start at 0, decrease, do not end at
        the total or differ in length.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact
    Attention with IO-Awareness", NeurIPS 2022.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(3, 1, 2)
    >>> attention_varlen(0 * x, x, x, np.array([0, 1, 3]), np.array([0, 1, 3]))[:, 0]
    array([[0., 1.],
           [3., 4.],
           [3., 4.]])
    """
    n_heads, n_kv = q.shape[1], k.shape[1]
    group = _group(q.shape[2], n_heads, n_kv)
    ends_q = _ends("cu_seqlens_q", cu_seqlens_q, len(q))
    ends_k = _ends("cu_seqlens_k", cu_seqlens_k, len(k))
    lengths_q, lengths_k = np.diff(ends_q), np.diff(ends_k)
    shape = len(lengths_q), n_heads, int(lengths_q.max(initial=0)), int(lengths_k.max(initial=0))
    options = Options(scale, causal, bias, mask, block_mask, block_size, window)
    scores, head = scores_of(q, shape, options, (n_heads, n_kv)), np.arange(n_heads)
    rows = Rows(
        (ends_q[:-1, None] * n_heads + head).reshape(-1),
        np.repeat(lengths_q, n_heads),
        (ends_k[:-1, None] * n_kv + head // group).reshape(-1),
        np.repeat(lengths_k, n_heads),
    )
    out, lse = _forward(rows, scores, q, k, v, n_heads)
    return (out, lse) if return_lse else out


@routine
def attention_vjp(
    grad_out: Float[Array, "*heads Nq dv"],
    q: Float[Array, "*heads Nq d"],
    k: Float[Array, "*kv_heads Nk d"],
    v: Float[Array, "*kv_heads Nk dv"],
    out: Float[Array, "*heads Nq dv"],
    lse: Float[Array, "*heads Nq"],
    *,
    scale: float | None = None,
    causal: bool = False,
    bias: Float[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    block_mask: Bool[Array, "Tr Tc"] | None = None,
    block_size: BlockSize | None = None,
    window: Window | None = None,
    grad_lse: Float[Array, "*heads Nq"] | None = None,
) -> AttentionGrads:
    """Gradients of :func:`attention`: the vector-Jacobian product with `grad_out`, computed from
    `out` and `lse` tile by tile.

    Parameters
    ----------
    grad_out : (..., Nq, dv) array of float32 or float64
        Gradient of a loss in `out`.
    q : (..., Nq, d) array of float32 or float64
    k : (..., Nk, d) array of float32 or float64
    v : (..., Nk, dv) array of float32 or float64
        As for :func:`attention`.
    out : (..., Nq, dv) array of float32 or float64
    lse : (..., Nq) array of float32 or float64
        What ``attention(q, k, v, return_lse=True, ...)`` gave with the same options.
    scale : float, optional
    causal : bool, default False
    bias : (...) array of float32 or float64, optional
    mask : (...) array of bool, optional
    block_mask : (Tr, Tc) array of bool, optional
    block_size : (int >= 1, int >= 1), optional
    window : (int >= 0, int >= 0), optional
        As for :func:`attention`.
    grad_lse : (..., Nq) array of float32 or float64, optional
        Gradient of the loss in `lse`.

    Returns
    -------
    AttentionGrads
        Gradients of q, k, v and, if it is given, of the bias, of their shapes: summed over the axes
        that were broadcast.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a mask that is not bool.
    ValueError
        Shapes that do not fit, and what :func:`attention` refuses.

    Notes
    -----
    With P = exp(S - lse), D_i = Σ_e grad_out_ie out_ie - grad_lse_i and dS = P ∘ (grad_out vᵀ - D):
    grad_v = Pᵀ grad_out, grad_q = scale · dS k, grad_k = scale · dSᵀ q, grad_bias = dS. P is
    computed again from q and k; nothing of size Nq × Nk is stored but a `grad_bias` of that size.
    10 Nq Nk d operations for d = dv, 14 with `bias`. Results do not depend on the number of
    threads.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact
    Attention with IO-Awareness", NeurIPS 2022.

    Examples
    --------
    >>> from numcore.nn import attention
    >>> q, k = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [0, 1], [1, 1]])
    >>> v = np.array([[1.0, 2], [3, 4], [5, 6]])
    >>> out, lse = attention(q, k, v, return_lse=True)
    >>> attention_vjp(np.eye(2), q, k, v, out, lse).v.round(4)
    array([[0.4011, 0.1978],
           [0.1978, 0.4011],
           [0.4011, 0.4011]])
    """
    xp, heads = namespace_of(q), _even_heads(q, k)
    shape = (*q.shape[:-1], heads.nk)
    scores = scores_of(q, shape, Options(scale, causal, bias, mask, block_mask, block_size, window))
    if not math.prod(shape):
        none = None if bias is None else xp.zeros(bias.shape, q.dtype)
        return AttentionGrads(xp.zeros_like(q), xp.zeros_like(k), xp.zeros_like(v), none)
    with np.errstate(all="ignore"):
        delta = xp.einsum("ie,ie->i", _matrix(grad_out), _matrix(out))
        if grad_lse is not None:
            delta = delta - grad_lse.reshape(-1)
        inputs = (
            _matrix(q).reshape(-1),
            _matrix(k),
            _matrix(v),
            _matrix(grad_out).reshape(-1),
            xp.ascontiguousarray(lse).reshape(-1),
            delta,
            *(scores.bias.values, scores.mask.values, scores.blocks, scores.scale),
        )
        grads = _backward(heads, scores, q, k, v, inputs)
        grad_bias = None if bias is None else _bias_backward(heads, scores, q, bias, inputs)
    return AttentionGrads(*grads, grad_bias)


@routine
def merge_attention(
    outs: Sequence[Float[Array, "*batch N dv"]] | Float[Array, "S *batch N dv"],
    lses: Sequence[Float[Array, "*batch N"]] | Float[Array, "S *batch N"],
) -> tuple[Array, Array]:
    """Merge attention over disjoint sets of keys to attention over all of them, exactly.

    Parameters
    ----------
    outs : sequence of (..., N, dv) array of float32 or float64 or (S, ..., N, dv) array of float32 or float64
        What :func:`attention` gave for each set of keys, float32 or float64.
    lses : sequence of (..., N) array of float32 or float64 or (S, ..., N) array of float32 or float64
        Their log-sum-exps.

    Returns
    -------
    out : (..., N, dv) array
    lse : (..., N) array
        0 and -inf in rows without any key.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        No parts, or shapes that do not fit.

    Notes
    -----
    ``lse = log Σ_s exp lse_s`` and ``out = Σ_s exp(lse_s - lse) out_s``.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact
    Attention with IO-Awareness", NeurIPS 2022.

    Examples
    --------
    >>> out, lse = merge_attention(np.array([[[1.0]], [[3.0]]]), np.zeros((2, 1)))
    >>> out, lse.round(4)
    (array([[2.]]), array([0.6931]))
    """  # noqa: E501
    if len(outs) != len(lses):
        raise ValueError(f"lses must have as many parts as outs, {len(outs)} (got {len(lses)})")
    if not len(outs):
        raise ValueError("outs must have at least one part (got 0)")
    outs, lses = _stacked(outs), _stacked(lses)
    xp, real = namespace_of(outs), outs.dtype.type
    with np.errstate(all="ignore"):
        top = lses.max(axis=0)
        top = xp.where(top == -math.inf, real(0), top)
        weights = xp.exp(lses - top)
        total = weights.sum(axis=0)
        none = total == 0
        total = xp.where(none, real(1), total)
        out = (weights[..., None] * outs).sum(axis=0) / total[..., None]
        lse = xp.where(none, real(-math.inf), top + xp.log(total))
        return xp.where(none[..., None], real(0), out), lse


def _stacked(parts):
    return parts if hasattr(parts, "dtype") else namespace_of(*parts).stack(parts)


# --- relations of sizes ---------------------------------------------------------------------------


def _even_heads(q, k):
    q_shape, k_shape = q.shape, k.shape
    if len(q_shape) != len(k_shape) or q_shape[:-3] != k_shape[:-3]:
        raise ValueError(f"k must have the batch axes of q, {q_shape} (got shape {k_shape})")
    *_, nq, d = q_shape
    n_kv = 1 if len(q_shape) == 2 else k_shape[-3]
    group = _group(d, 1 if len(q_shape) == 2 else q_shape[-3], n_kv)
    return Heads(math.prod(q_shape[:-2]), group, nq, k_shape[-2])


def _group(d, n_heads, n_kv):
    """The number of query heads to a head of the keys."""
    if not d:
        raise ValueError(f"q must have d >= 1 columns (got {d})")
    if n_heads != n_kv and (not n_kv or n_heads % n_kv):
        raise ValueError(
            f"k must have a number of heads Hkv that divides Hq (got Hkv={n_kv}, Hq={n_heads})"
        )
    return n_heads // max(n_kv, 1) or 1


def _ends(name, ends, total):
    """Prefix sums as int64 on the host."""
    ends = ends.get() if hasattr(ends, "get") else ends
    if not len(ends) or ends[0] != 0 or ends[-1] != total or (ends[1:] < ends[:-1]).any():
        raise ValueError(f"{name} must rise from 0 to the total, {total} (got {ends})")
    return ends.astype(np.int64)


# --- launches of kernels --------------------------------------------------------------------------


def _forward(heads, scores, q, k, v, q_step=1):
    """out and lse; `heads` are Heads or Rows, whose queries are `q_step` rows apart."""
    xp, contiguous = namespace_of(q), namespace_of(q).ascontiguousarray
    out, lse = xp.empty((*q.shape[:-1], v.shape[-1]), q.dtype), xp.empty(q.shape[:-1], q.dtype)
    rows = lse.size
    if rows:
        tile = CPU_TILES[q.dtype] if xp is np else GPU_TILE
        kernels.attention_forward(
            xp.asarray(forward_items(heads, scores, tile, q_step)),
            scores.table,
            contiguous(q).reshape(rows, q.shape[-1]),
            contiguous(k).reshape(-1),
            contiguous(v).reshape(-1),
            scores.bias.values,
            scores.mask.values,
            scores.blocks,
            scores.scale,
            out.reshape(rows, v.shape[-1]),
            lse.reshape(-1),
        )
    return out, lse


def _matrix(x):
    """The rows of all heads, contiguous."""
    rows = math.prod(x.shape[:-1])
    return namespace_of(x).ascontiguousarray(x).reshape(rows, x.shape[-1])


def _backward(heads, scores, q, k, v, inputs):
    """The gradients of q, k and v."""
    xp = namespace_of(q)
    items, parts = backward_items(heads, scores, on_gpu=xp is not np)
    grad_q = xp.empty(q.shape, q.dtype)
    grad_k, grad_v = (xp.empty((parts, *x.shape), x.dtype) for x in (k, v))
    kernels.attention_backward(
        xp.asarray(items), scores.table, *inputs, *map(_matrix, (grad_q, grad_k, grad_v))
    )
    return grad_q, *(grad[0] if parts == 1 else grad.sum(axis=0) for grad in (grad_k, grad_v))


def _bias_backward(heads, scores, q, bias, inputs):
    """The gradient of the bias."""
    xp = namespace_of(q)
    items, table, strides = bias_items(heads, scores, bias.shape, q.shape[:-2], xp is not np)
    grad_bias = xp.zeros(bias.shape, q.dtype)
    kernels.attention_bias_backward(
        xp.asarray(items), scores.table, xp.asarray(table), *inputs, *strides, grad_bias.reshape(-1)
    )
    return grad_bias
