"""Groups of operations whose distances are small, and the edge where they separate best."""

import math
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Float, at_least, at_most, finite
from ...dispatch import namespace_of, routine
from .bisections import best_labels

Criterion: TypeAlias = Literal["within", "between"]
TOLERANCE = 1e-6  # of symmetry and sign of distances, relative to the largest


class Partition(NamedTuple):
    """A grouping of k operations.

    Attributes
    ----------
    labels : (k,) int64 array
        The group of each operation; groups are numbered in the order of their first operations.
    within, between : floats of the dtype of the distances
        Sums of the distances of all pairs in one group, and of all others.
    groups : tuple of tuples of int
        The operations of each group.
    """

    labels: Any
    within: float
    between: float
    groups: tuple


@routine
def min_cut_partition(
    distances: Float[Array, "k k", finite],
    *,
    n_groups: Annotated[int, at_least(2), at_most("k")] = 2,
    balanced: bool = True,
    min_size: Annotated[int, at_least(1)] = 2,
) -> Partition:
    """Group operations so that the distances within groups are least, those between groups
    greatest.

    Parameters
    ----------
    distances : (k, k) array of float32 or float64, finite
        Symmetric, >= 0, k >= 2; the diagonal does not matter.
    n_groups : int >= 2 and <= k, default 2
        2 <= n_groups <= k.
    balanced : bool, default True
        Groups of floor(k / n_groups) and ceil(k / n_groups) operations; else of `min_size` or more.
    min_size : int >= 1, default 2
        Operations of the smallest group allowed.

    Returns
    -------
    Partition
        (labels, within, between, groups).

    Raises
    ------
    TypeError
        Another dtype, `n_groups` or `min_size` not integers, `balanced` not a bool.
    ValueError
        Distances not square, not symmetric, negative or not finite; k < 2; n_groups > k; min_size *
        n_groups > k.

    Notes
    -----
    Two groups of at most 16 operations are the best there are, by trial of all 2**(k - 1)
    groupings. Beyond that the grouping is a local optimum: cut at a place of the Fiedler vector of
    the similarities max(D) - D, or where unbalanced the smallest cut of these by Stoer and Wagner's
    algorithm, whichever is better; more groups come from groups cut again; then operations change
    places, two at a time, as long as that helps. O(k³) operations.

    References
    ----------
    S. Hu et al., "Generalizing Few-Shot NAS with Gradient Matching", ICLR 2022; M. Stoer, F.
    Wagner, "A simple min-cut algorithm", 1997; B. W. Kernighan, S. Lin, "An efficient heuristic
    procedure for partitioning graphs", 1970.

    Examples
    --------
    >>> distances = np.array([[0, 1, 9, 9], [1, 0, 9, 9], [9, 9, 0, 2], [9, 9, 2, 0.0]])
    >>> labels, within, between, groups = min_cut_partition(distances)
    >>> labels, float(within), float(between), groups
    (array([0, 0, 1, 1]), 3.0, 36.0, ((0, 1), (2, 3)))
    """
    low, high = _sizes(len(distances), n_groups, balanced, min_size)
    xp, d = namespace_of(distances), _symmetric(distances)
    labels = best_labels(xp, d[None], n_groups, low, high)[0]
    return _partition(xp, d, labels, n_groups, distances.dtype)


@routine
def select_split(
    distances: Float[Array, "n_edges k k", finite],
    *,
    n_groups: Annotated[int, at_least(2), at_most("k")] = 2,
    criterion: Criterion = "within",
    balanced: bool = True,
) -> tuple[int, Partition]:
    """The edge of a supernet that should be split, and how.

    Parameters
    ----------
    distances : (n_edges, k, k) array of float32 or float64, finite
        For each edge that may be split the distances of its operations, as for
        :func:`min_cut_partition`.
    n_groups : int >= 2 and <= k, default 2
    balanced : bool, default True
        As for :func:`min_cut_partition`; groups have at least two operations where k allows it.
    criterion : {"within", "between"}, default "within"
        Choose the smallest sum of distances within groups, or the largest between groups.

    Returns
    -------
    edge : int
        The first of the best ones.
    partition : Partition
        Of its operations.

    Raises
    ------
    TypeError, ValueError
        As for :func:`min_cut_partition`; no edges; another criterion.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> apart = np.array([[0, 1, 9, 9], [1, 0, 9, 9], [9, 9, 0, 2], [9, 9, 2, 0.0]])
    >>> edge, partition = select_split(np.stack([apart.clip(max=5), apart]), criterion="between")
    >>> edge, partition.groups
    (1, ((0, 1), (2, 3)))
    """
    k = distances.shape[-1]
    if not len(distances):
        raise ValueError(f"distances must have n_edges >= 1 (got shape {distances.shape})")
    low, high = _sizes(k, n_groups, balanced, min(2, k // n_groups))
    xp, d, dtype = namespace_of(distances), _symmetric(distances), distances.dtype
    partitions = [
        _partition(xp, d[e], labels, n_groups, dtype)
        for e, labels in enumerate(best_labels(xp, d, n_groups, low, high))
    ]
    edge = best_of(partitions, criterion)
    return edge, partitions[edge]


def best_of(partitions, criterion):
    """Index of the first best partition."""
    score = {"within": lambda p: float(p.within), "between": lambda p: -float(p.between)}[criterion]
    return min(range(len(partitions)), key=lambda e: score(partitions[e]))


def _partition(xp, d, labels, n_groups, dtype):
    """Groups in the order of their first members."""
    host = [int(label) for label in labels]
    order = list(dict.fromkeys(host))
    labels = xp.asarray(np.array([order.index(label) for label in host], np.int64))
    same = labels[:, None] == labels
    groups = tuple(tuple(i for i, label in enumerate(host) if label == group) for group in order)
    within, between = (
        dtype.type(float(xp.where(pairs, d, 0.0).sum()) / 2) for pairs in (same, ~same)
    )
    return Partition(labels, within, between, groups)


# --- checks ---------------------------------------------------------------------------------------


def _symmetric(distances):
    """Distances in float64, made exactly symmetric and with a diagonal of zeros."""
    xp, k = namespace_of(distances), distances.shape[-1]
    d = distances.astype(np.float64)
    d[..., xp.arange(k), xp.arange(k)] = 0
    scale = max(1.0, float(xp.abs(d).max()))
    with np.errstate(all="ignore"):
        if float(xp.abs(d / scale - d.swapaxes(-1, -2) / scale).max()) > TOLERANCE:
            raise ValueError("distances must be symmetric (got a pair that differs)")
        if float(d.min()) < -TOLERANCE * scale:
            raise ValueError(f"distances must be >= 0 (got {float(d.min())})")
        d = d / 2 + d.swapaxes(-1, -2) / 2
    if not math.isfinite(scale * k * k):
        raise ValueError(f"distances must have a finite sum (got {scale})")
    return xp.maximum(d, 0.0)


def _sizes(k, n_groups, balanced, min_size):
    """The smallest and the largest size of a group."""
    if min_size * n_groups > k:
        raise ValueError(
            f"min_size must be <= k / n_groups with k = {k}, n_groups = {n_groups} (got {min_size})"
        )
    return (k // n_groups, -(-k // n_groups)) if balanced else (min_size, k)
