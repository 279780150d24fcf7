"""Splitting a supernet, round by round, where the gradients of its operations agree least."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from ...arguments import RNG, Array, Bool, at_least, nonempty, nonnegative
from ...dispatch import routine
from ...random import generator_from_rng
from .distances import Metric, gradient_distance_matrix
from .partitions import Criterion, best_of, min_cut_partition


@routine(host_only="masks and the functions that it calls live on the host")
def split_supernet(
    gradient_fn: Callable[..., Any],
    masks: Bool[Array, "n_edges n_ops", nonempty],
    n_splits: Annotated[int, nonnegative],
    *,
    n_groups: Annotated[int, at_least(2)] = 2,
    n_repeats: Annotated[int, at_least(1)] = 100,
    metric: Metric = "per_filter_cosine",
    balanced: bool = True,
    criterion: Criterion = "within",
    train_fn: Callable[..., Any] | None = None,
    rng: RNG = None,
    callback: Callable[..., Any] | None = None,
) -> list[Array]:
    """Split a supernet into smaller ones, each time along the edge whose operations' gradients
    agree least across groups.

    Parameters
    ----------
    gradient_fn : callable
        ``gradient_fn(mask, edge, op, rng)`` → list of arrays: the gradient of the training loss at
        the weights that the edge's operations share, with `op` alone on `edge`, a random batch, and
        random operations allowed by `mask` on all other edges. `rng` is a numpy.random.Generator,
        in the same state for all operations of an edge: equal draws give all of them the same batch
        and the same rest of the network, without which noise would hide the differences.
    masks : (n_edges, n_ops) array of bool, without an axis of length zero
        The operations that the supernet allows.
    n_splits : int >= 0
        How often each supernet is split: n_groups ** n_splits supernets come out.
    n_groups : int >= 2, default 2
        Parts of each split.
    n_repeats : int >= 1, default 100
        Distances are means over so many gradients of each operation; >= 1.
    metric : {"per_filter_cosine", "cosine", "mse"}, default "per_filter_cosine"
        As for :func:`gradient_distance`.
    balanced : bool, default True
        As for :func:`min_cut_partition`.
    criterion : {"within", "between"}, default "within"
        As for :func:`select_split`; sums are compared also where edges differ in the number of
        operations they allow.
    train_fn : callable, optional
        ``train_fn(mask, parent)`` is called once for each supernet, before its gradients are asked
        for: to train it, from its parent's weights on. `parent` is the mask that it was split off,
        None for the first. Weights stay with the caller.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
    callback : callable, optional
        ``callback(n_done, masks)`` after every round of splits, with the supernets so far; no more
        are made when it returns True.

    Returns
    -------
    list of (n_edges, n_ops) bool arrays
        What each supernet allows. Supernets of one split differ on one edge only, where they share
        nothing.

    Raises
    ------
    TypeError
        `masks` is not a bool array, a function is not callable, counts are not integers.
    ValueError
        Shapes that do not fit, an edge without operations, n_repeats < 1, n_splits < 0, fewer than
        n_splits edges with n_groups operations, or what :func:`gradient_distance_matrix` refuses.

    Notes
    -----
    Edges are split once at most. Each split costs n_repeats gradients for each allowed operation of
    the edges left.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import split_supernet
    >>> directions = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    >>> masks = split_supernet(
    ...     lambda mask, edge, op, rng: [directions[[op]]], np.ones((1, 4), bool), 1, n_repeats=1
    ... )
    >>> [mask.astype(int).tolist() for mask in masks]
    [[[1, 1, 0, 0]], [[0, 0, 1, 1]]]
    """
    mask = masks.copy()
    if not mask.any(axis=1).all():
        at = int(np.argmin(mask.any(axis=1)))
        raise ValueError(f"masks must allow an operation on every edge (got none on edge {at})")
    splittable = tuple(int(e) for e in np.flatnonzero(mask.sum(axis=1) >= n_groups))
    if n_splits > len(splittable):
        raise ValueError(
            f"n_splits must be at most the number of edges with {n_groups} operations or more, "
            f"{len(splittable)} (got {n_splits})"
        )
    rng = generator_from_rng(rng)
    if train_fn is not None:
        train_fn(mask.copy(), None)
    supernets = [(mask, splittable)]
    for done in range(1, n_splits + 1):
        following = []
        for mask, edges in supernets:
            parts = []
            for edge in edges:
                distances = _mean_distances(gradient_fn, mask, edge, n_repeats, metric, rng)
                k = len(distances)
                parts.append(
                    min_cut_partition(
                        distances,
                        n_groups=n_groups,
                        balanced=balanced,
                        min_size=min(2, k // n_groups),
                    )
                )
            best = best_of(parts, criterion)
            for group in parts[best].groups:
                child = mask.copy()
                child[edges[best]] = False
                child[edges[best], np.flatnonzero(mask[edges[best]])[list(group)]] = True
                if train_fn is not None:
                    train_fn(child.copy(), mask.copy())
                following.append((child, tuple(e for e in edges if e != edges[best])))
        supernets = following
        if callback is not None and callback(done, [mask.copy() for mask, _ in supernets]) is True:
            break
    return [mask for mask, _ in supernets]


def _mean_distances(gradient_fn, mask, edge, n_repeats, metric, rng):
    total = None
    for seed in rng.integers(2**63, size=n_repeats):
        grads = [
            gradient_fn(mask.copy(), edge, int(op), np.random.default_rng(seed))
            for op in np.flatnonzero(mask[edge])
        ]
        distances = gradient_distance_matrix(grads, metric=metric)
        total = distances if total is None else total + distances
    return total / n_repeats
