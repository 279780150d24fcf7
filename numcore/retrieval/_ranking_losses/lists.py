"""Lists of scores and relevance one after the other, and their losses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from .._metrics.places import checked_groups
from .kernels import HINGE, LAMBDARANK, LISTNET, POINTWISE, RANKNET, item_losses, pair_losses

MAX_RELEVANCE = {"lambdarank": 31, "pointwise": 1}  # gains are 2^relevance - 1


class Lists(NamedTuple):
    """List q is ``scores[offsets[q]:offsets[q + 1]]``; `place` puts flat results where scores came
    from."""

    xp: Any
    scores: Array
    relevance: Array
    offsets: Array
    longest: int
    place: Callable | None


def lists_of(scores, relevance, groups=None, mask=None, max_relevance=None):
    """Scores and relevance in one of three forms as :class:`Lists`."""
    xp, shape = namespace_of(scores), scores.shape
    relevance = xp.asarray(relevance)
    relevance = relevance if relevance.dtype.kind == "f" else relevance.astype(scores.dtype)
    if scores.ndim != (2 if groups is None else 1):
        raise ValueError(f"scores must have shape (Q, D), or (n,) with groups (got {shape})")
    for name, array in (("relevance", relevance), ("mask", mask)):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} must have the shape of scores, {shape} (got {array.shape})")
    if mask is not None and groups is not None:
        raise ValueError(f"mask must be None with groups (got shape {mask.shape})")
    if mask is not None:
        scores, relevance, lengths = scores[mask], relevance[mask], mask.sum(1)
    elif groups is not None:
        lengths = xp.asarray(checked_groups(groups, len(scores)))
    else:
        lengths = xp.full(shape[0], shape[1], np.int64)
    scores, relevance = (xp.ascontiguousarray(a).reshape(-1) for a in (scores, relevance))
    _check_values(xp, scores, relevance, max_relevance)
    offsets = xp.zeros(len(lengths) + 1, np.int64)
    offsets[1:] = xp.cumsum(lengths)

    def place(flat):
        if mask is None:
            return flat.reshape(shape)
        full = xp.zeros(shape, flat.dtype)
        full[mask] = flat
        return full

    return Lists(xp, scores, relevance, offsets, int(lengths.max()) if len(lengths) else 0, place)


def _check_values(xp, scores, relevance, max_relevance):
    if not bool(xp.isfinite(scores).all()):
        raise ValueError("scores must be finite (got nan or inf)")
    if not bool(xp.isfinite(relevance).all()):
        raise ValueError("relevance must be finite (got nan or inf)")
    if relevance.size and float(relevance.min()) < 0:
        raise ValueError(f"relevance must be >= 0 (got {float(relevance.min())})")
    if max_relevance is not None and relevance.size and float(relevance.max()) > max_relevance:
        raise ValueError(f"relevance must be <= {max_relevance} (got {float(relevance.max())})")


def count_relevant(lists):
    """How many lists have a relevant candidate."""
    kind = np.int32 if len(lists.relevance) < 2**31 else np.int64
    seen = lists.xp.zeros(len(lists.relevance) + 1, kind)
    seen[1:] = lists.xp.cumsum(lists.relevance > 0, dtype=kind)
    return int((seen[lists.offsets[1:]] > seen[lists.offsets[:-1]]).sum())


def discounts(longest, k=None):
    """1 / log2(rank + 2) in float64, 0 from rank k on; computed by NumPy, the same for all
    devices."""
    discount = 1 / np.log2(np.arange(longest) + 2.0)
    if k is not None:
        discount[k:] = 0
    return discount


def list_losses(lists, loss, scale, *, sigma=1.0, margin=1.0, k=None):
    """The sum of the lists' losses; `scale` times their gradients and second derivatives, flat, the
    latter None where there are none."""
    xp, (n, queries) = lists.xp, (len(lists.scores), len(lists.offsets) - 1)
    losses, grad = xp.empty(queries, np.float64), xp.empty(n, lists.scores.dtype)
    table = xp.asarray(discounts(lists.longest, k))
    if loss in ("pointwise", "listnet"):
        item_losses(
            lists.scores,
            lists.relevance,
            lists.offsets,
            table,
            scale,
            LISTNET if loss == "listnet" else POINTWISE,
            losses,
            grad,
        )
        return float(losses.sum()), grad, None
    kind = {"hinge": HINGE, "ranknet": RANKNET, "lambdarank": LAMBDARANK}[loss]
    hess = xp.empty(n, lists.scores.dtype)
    pair_losses(
        lists.scores,
        lists.relevance,
        lists.offsets,
        table,
        margin if kind == HINGE else sigma,
        scale,
        kind,
        losses,
        grad,
        hess,
        xp.empty(n, np.int32),
    )
    return float(losses.sum()), grad, None if kind == HINGE else hess
