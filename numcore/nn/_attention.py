"""Exact attention in tiles: softmax(Q Kᵀ scale + bias) V without the N × N matrix of scores,
forward and backward.

Blocks of keys stream past blocks of queries; each query keeps the largest score m so far, the sum l
of weights and the weighted sum of values, both relative to m and rescaled when m grows. The
log-sum-exp m + log l of every row is all that the backward pass needs to compute the weights again,
tile by tile. T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and
Memory-Efficient Exact Attention with IO-Awareness", NeurIPS 2022.
"""

import math

import numpy as np

from ..checks import checked_bool
from ..dispatch import device_of, float_dtype, on_device, routine
from ._attention_work import Task

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention"]


# --- routines -------------------------------------------------------------------------------------


@routine
def attention(
    q,
    k,
    v,
    *,
    scale=None,
    causal=False,
    bias=None,
    mask=None,
    block_mask=None,
    block_size=None,
    window=None,
    return_lse=False,
):
    """Attention softmax(q kᵀ · scale + bias) v, exact, in memory that grows with the sequence and
    not with its square.

    Parameters
    ----------
    q : (..., Hq, Nq, d) array, float32 or float64
        Queries. Arrays of two dimensions are one head.
    k : (..., Hkv, Nk, d) array
        Keys. Hkv divides Hq: query head h attends to head h // (Hq / Hkv) of the keys.
    v : (..., Hkv, Nk, dv) array
        Values.
    scale : float, optional
        Factor of the scores; by default 1/sqrt(d).
    causal : bool, optional
        A query attends to no later key, the last query standing beside the last key: query i sees
        keys j <= i + Nk - Nq.
    bias : array, optional
        Added to the scaled scores; broadcasts to (..., Hq, Nq, Nk). -inf masks.
    mask : bool array, optional
        True where a query **may attend** to a key; broadcasts like `bias`.
    block_mask : (ceil(Nq / Br), ceil(Nk / Bc)) bool array, optional
        False where a whole block of queries and keys is left out, at no cost.
    block_size : (int, int), optional
        (Br, Bc) of `block_mask`.
    window : (int or None, int or None), optional
        (left, right): query i sees keys from i + Nk - Nq - left to i + Nk - Nq + right; None is no
        limit.
    return_lse : bool, optional
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
        Shapes that do not fit, `block_mask` without `block_size`, a negative window, a scale that
        is not finite.

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
    xp, (q, k, v, bias, mask, block_mask) = on_device(
        q=q, k=k, v=v, bias=bias, mask=mask, block_mask=block_mask
    )
    lead, group = _checked_arrays(q, k, v)
    nq, nk = q.shape[-2], k.shape[-2]
    task = Task(xp, q, scale, causal, window, bias, mask, block_mask, block_size, (*lead, nq, nk))
    out, lse = xp.empty((*q.shape[:-1], v.shape[-1]), q.dtype), xp.empty(q.shape[:-1], q.dtype)
    heads = math.prod(lead)
    if group > 1 and task.is_open:  # the query heads of one key head are queries of one head
        heads, nq, group = heads // group, nq * group, 1
    if lse.size:
        task.forward(heads, nq, group, nk, q, k, v, out, lse)
    return (out, lse) if checked_bool("return_lse", return_lse) else out


@routine
def attention_varlen(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    *,
    scale=None,
    causal=False,
    bias=None,
    mask=None,
    block_mask=None,
    block_size=None,
    window=None,
    return_lse=False,
):
    """Attention within each of several sequences that lie behind each other in one array, of any
    lengths, without padding.

    Parameters
    ----------
    q : (total_q, Hq, d) array, float32 or float64
        Queries of all sequences.
    k : (total_k, Hkv, d) array
        Keys; Hkv divides Hq.
    v : (total_k, Hkv, dv) array
        Values.
    cu_seqlens_q, cu_seqlens_k : (batch + 1,) array, int32 or int64
        Where sequences begin and end: sequence s has the queries ``cu_seqlens_q[s]`` to
        ``cu_seqlens_q[s + 1]``. From 0 to the total, nowhere decreasing. They may be NumPy arrays
        beside arrays of a GPU.
    scale, causal, window, return_lse
        As for :func:`attention`, for each sequence with its own lengths.
    bias, mask : array, optional
        Broadcast to (batch, Hq, longest Nq, longest Nk); a sequence uses its first Nq rows and Nk
        columns.
    block_mask : (ceil(longest Nq / Br), ceil(longest Nk / Bc)) bool array, optional
        Likewise, for every sequence and head.
    block_size : (int, int), optional
        (Br, Bc) of `block_mask`.

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
    xp, (q, k, v, bias, mask, block_mask) = on_device(
        q=q, k=k, v=v, bias=bias, mask=mask, block_mask=block_mask
    )
    for name, array in (("q", q), ("k", k), ("v", v)):
        if array is not None and array.ndim != 3:
            raise ValueError(
                f"{name} must have 3 dimensions, (total, heads, d) (got shape {array.shape})"
            )
    group = _checked_arrays(
        q.swapaxes(0, 1) if q is not None else q,
        k.swapaxes(0, 1) if k is not None else k,
        v.swapaxes(0, 1) if v is not None else v,
    )[1]
    ends_q, ends_k = (
        _checked_ends("cu_seqlens_q", cu_seqlens_q, len(q)),
        _checked_ends("cu_seqlens_k", cu_seqlens_k, len(k)),
    )
    if len(ends_q) != len(ends_k):
        raise ValueError(
            f"cu_seqlens_k must have the length of cu_seqlens_q, {len(ends_q)} (got {len(ends_k)})"
        )
    lengths_q, lengths_k = np.diff(ends_q), np.diff(ends_k)
    nq, nk, heads, batch = (
        int(lengths_q.max(initial=0)),
        int(lengths_k.max(initial=0)),
        q.shape[1],
        len(lengths_q),
    )
    task = Task(
        xp,
        q,
        scale,
        causal,
        window,
        bias,
        mask,
        block_mask,
        block_size,
        (batch, heads, nq, nk),
        heads,
        k.shape[1],
    )
    out, lse = xp.empty((*q.shape[:-1], v.shape[-1]), q.dtype), xp.empty(q.shape[:-1], q.dtype)
    if lse.size:
        head = np.arange(heads)
        task.forward(
            (ends_q[:-1, None] * heads + head).reshape(-1),
            np.repeat(lengths_q, heads),
            (ends_k[:-1, None] * k.shape[1] + head // group).reshape(-1),
            np.repeat(lengths_k, heads),
            q,
            k,
            v,
            out,
            lse,
        )
    return (out, lse) if checked_bool("return_lse", return_lse) else out


@routine
def attention_vjp(
    grad_out,
    q,
    k,
    v,
    out,
    lse,
    *,
    scale=None,
    causal=False,
    bias=None,
    mask=None,
    block_mask=None,
    block_size=None,
    window=None,
    grad_lse=None,
):
    """Gradients of :func:`attention`: the vector-Jacobian product with `grad_out`, computed from
    `out` and `lse` tile by tile.

    Parameters
    ----------
    grad_out : (..., Hq, Nq, dv) array, float32 or float64
        Gradient of a loss in `out`.
    q, k, v : arrays
        As for :func:`attention`.
    out : (..., Hq, Nq, dv) array
    lse : (..., Hq, Nq) array
        What ``attention(q, k, v, return_lse=True, ...)`` gave with the same options.
    scale, causal, bias, mask, block_mask, block_size, window
        As for :func:`attention`.
    grad_lse : (..., Hq, Nq) array, optional
        Gradient of the loss in `lse`.

    Returns
    -------
    grad_q, grad_k, grad_v : arrays
        Of the shapes of q, k, v.
    grad_bias : array, if `bias` is given
        Of its shape: summed over the axes that were broadcast.

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
    >>> grad_q, grad_k, grad_v = attention_vjp(np.eye(2), q, k, v, out, lse)
    >>> grad_v.round(4)
    array([[0.4011, 0.1978],
           [0.1978, 0.4011],
           [0.4011, 0.4011]])
    """
    xp, (grad_out, q, k, v, out, lse, bias, mask, block_mask, grad_lse) = on_device(
        grad_out=grad_out,
        q=q,
        k=k,
        v=v,
        out=out,
        lse=lse,
        bias=bias,
        mask=mask,
        block_mask=block_mask,
        grad_lse=grad_lse,
    )
    lead, group = _checked_arrays(q, k, v)
    nq, nk, dv = q.shape[-2], k.shape[-2], v.shape[-1]
    given = {
        "grad_out": (grad_out, (*q.shape[:-1], dv)),
        "out": (out, (*q.shape[:-1], dv)),
        "lse": (lse, q.shape[:-1]),
    }
    if grad_lse is not None:
        given["grad_lse"] = (grad_lse, q.shape[:-1])
    for name, (array, shape) in given.items():
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
        float_dtype(q=q, **{name: array})
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape} (got {array.shape})")
    task = Task(xp, q, scale, causal, window, bias, mask, block_mask, block_size, (*lead, nq, nk))
    with np.errstate(all="ignore"):
        return task.backward(math.prod(lead), group, q, k, v, grad_out, out, lse, grad_lse)


@routine
def merge_attention(outs, lses):
    """Merge attention over disjoint sets of keys to attention over all of them, exactly.

    Parameters
    ----------
    outs : (S, ..., N, dv) array, or a sequence of S arrays (..., N, dv)
        What :func:`attention` gave for each set of keys, float32 or float64.
    lses : (S, ..., N) array, or a sequence of S arrays (..., N)
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
    """
    outs, lses = _stacked("outs", outs), _stacked("lses", lses)
    xp, (outs, lses) = on_device(outs=outs, lses=lses)
    for name, array in (("outs", outs), ("lses", lses)):
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    dtype = float_dtype(outs=outs, lses=lses)
    if outs.ndim < 2 or lses.shape != outs.shape[:-1]:
        raise ValueError(
            f"lses must have the shape of outs but for its last axis (got {lses.shape}, outs has "
            f"{outs.shape})"
        )
    if not len(outs):
        raise ValueError("outs must hold at least one part (got 0)")
    with np.errstate(all="ignore"):
        top = lses.max(axis=0)
        top = xp.where(top == -math.inf, dtype.type(0), top)
        weights = xp.exp(lses - top)
        total = weights.sum(axis=0)
        none = total == 0
        total = xp.where(none, dtype.type(1), total)
        out = (weights[..., None] * outs).sum(axis=0) / total[..., None]
        return xp.where(none[..., None], dtype.type(0), out), xp.where(
            none, dtype.type(-math.inf), top + xp.log(total)
        )


# --- checks ---------------------------------------------------------------------------------------


def _checked_arrays(q, k, v):
    """The leading shape (heads last) and the number of query heads to a head of the keys."""
    if q is None or k is None or v is None:
        name = "q" if q is None else "k" if k is None else "v"
        raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    float_dtype(q=q, k=k, v=v)
    q_shape, k_shape, v_shape = q.shape, k.shape, v.shape
    ndim = len(q_shape)
    if ndim < 2 or len(k_shape) != ndim or len(v_shape) != ndim:
        name = "k" if ndim > 1 and len(k_shape) != ndim else "v" if ndim > 1 else "q"
        raise ValueError(
            f"{name} must have at least 2 dimensions, as many as q (got shapes {q_shape}, "
            f"{k_shape}, {v_shape})"
        )
    if k_shape[-1] != q_shape[-1] or not q_shape[-1]:
        raise ValueError(
            f"k must have d >= 1 columns like q (got shape {k_shape}, q has {q_shape})"
        )
    if v_shape[:-1] != k_shape[:-1]:
        raise ValueError(
            f"v must have the heads and the Nk rows of k (got shape {v_shape}, k has {k_shape})"
        )
    if k_shape[:-3] != q_shape[:-3]:
        raise ValueError(f"k must have the batch axes of q (got shape {k_shape}, q has {q_shape})")
    if ndim == 2:
        return (), 1
    heads, kv_heads = q_shape[-3], k_shape[-3]
    if heads != kv_heads and (not kv_heads or heads % kv_heads):
        raise ValueError(
            f"k must have a number of heads Hkv that divides Hq (got Hkv={kv_heads}, Hq={heads})"
        )
    return q_shape[:-2], heads // max(kv_heads, 1) or 1


def _checked_ends(name, ends, total):
    if device_of(ends) is None and not isinstance(ends, (list, tuple)):
        raise TypeError(f"{name} must be an array of integers (got {type(ends).__name__})")
    ends = ends.get() if hasattr(ends, "get") else np.asarray(ends)
    if ends.dtype not in (np.int32, np.int64):
        raise TypeError(f"{name} must have dtype int32 or int64 (got {ends.dtype})")
    if ends.ndim != 1 or not len(ends):
        raise ValueError(f"{name} must have shape (batch + 1,) (got {ends.shape})")
    if ends[0] != 0 or ends[-1] != total or (ends[1:] < ends[:-1]).any():
        raise ValueError(f"{name} must rise from 0 to the total, {total} (got {ends})")
    return ends.astype(np.int64)


def _stacked(name, parts):
    """A sequence of arrays as one array on their device."""
    if not isinstance(parts, (list, tuple)) or not any(device_of(part) for part in parts):
        return parts
    for i, part in enumerate(parts):
        if part is None:
            raise TypeError(f"{name}[{i}] must be a NumPy or CuPy array (got None)")
    xp, parts = on_device(**{f"{name}[{i}]": part for i, part in enumerate(parts)})
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"{name} must hold arrays of one shape (got {sorted(shapes)})")
    return xp.stack(parts)
