"""Quadratic means over the positions of a batch, and the backward pass that corrects for them."""

from typing import Any, NamedTuple

import numpy as np

from .._normalization.rows import as_rows, blocks, summed
from .kernels import power_rows_backward, power_sums


class Batch(NamedTuple):
    """The positions of a batch as rows."""

    rows: Any  # (n, d)
    live: Any  # (n,) uint8, 0 for padding
    count: int  # of live rows
    row_scale: Any  # (n, groups): what each group of columns of a row is multiplied by


class Changes(NamedTuple):
    """What a backward pass yields."""

    grad_x: Any
    grad_weight: Any
    grad_bias: Any
    gamma: Any  # float64, to be added to the correction: the mean over live positions of t z


def batch_of(xp, x, mask, n_groups=0):
    """The batch of an array of positions, with unknown scales of its groups."""
    rows = as_rows(xp, x)
    live, count = live_rows(xp, mask, len(rows))
    return Batch(rows, live, count, xp.empty((len(rows), n_groups), x.dtype))


def live_rows(xp, mask, n):
    """(n,) uint8, 1 where there is no padding, and the number of these."""
    if mask is None:
        return xp.ones(n, np.uint8), n
    live = xp.logical_not(mask).reshape(n).astype(np.uint8)
    return live, int(live.sum())


def root(xp, phi, eps):
    """1/sqrt(phi + eps) in float64."""
    return 1 / xp.sqrt(phi.astype(np.float64) + eps)


def quadratic_means(xp, batch, eps):
    """The mean of squares of every column over the live rows, in float64; fills in the scales of
    groups."""
    rows, live, count, row_scale = batch
    parts = xp.empty((blocks(len(rows)), rows.shape[1]), rows.dtype)
    power_sums(rows, live, eps, row_scale, parts)
    return summed(xp, parts) / max(count, 1)


def backward(xp, grad_y, batch, *, weight, scale, correction, grad_scale, means):
    """The `Changes` of a batch whose scaled rows v were normalized to z = scale v.

    Parameters
    ----------
    weight : array of the dtype
        What z was multiplied by.
    scale, correction, grad_scale : float64 arrays
        t = weight grad_y - correction z, and t grad_scale is the gradient by v.
    means : float64 array, 0 or None
        The mean of v² over live positions; None where it has to be computed.
    """
    (rows, live, count, row_scale), dtype = batch, grad_y.dtype
    grad_x, is_counted = xp.empty(grad_y.shape, dtype), means is None or count < len(rows)
    parts = xp.empty((blocks(len(rows)), 4 if is_counted else 2, rows.shape[1]), dtype)
    slope = correction * scale
    power_rows_backward(
        as_rows(xp, grad_y),
        rows,
        row_scale,
        live,
        (weight * grad_scale).astype(dtype),
        (slope * grad_scale).astype(dtype),
        as_rows(xp, grad_x),
        parts,
    )
    products, totals, *counted = summed(xp, parts)
    hidden, means = (counted[0], counted[1] / max(count, 1)) if is_counted else (0, means)
    gamma = weight * scale * (products - hidden) / max(count, 1) - slope * scale * means
    return Changes(grad_x, (products * scale).astype(dtype), totals.astype(dtype), gamma)
