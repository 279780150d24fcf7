"""Which operations of a weight-sharing network should go on sharing, by how well their gradients
agree.

A supernet has several operations on every edge, one of which is active at a time, and weights that
all of them share. For each operation of an edge the gradient at the shared weights is taken with
that operation alone; operations whose gradients point apart hinder each other. Each edge's
operations are parted into groups of small distances; the edge where this separates best is split:
each group gets a copy of the supernet. The same functions tell which tasks should share weights. S.
Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
Matching", ICLR 2022.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from ..arguments import RNG, Array, Bool, Float, at_least, at_most, finite, nonempty, nonnegative
from ..dispatch import CPU, device_of, namespace_of, routine
from ..kernel import kernel, pointer
from ..random import generator_from_rng
from ..simd import dots_2_by_4, squares_2_by_4

__all__ = [
    "Partition",
    "gradient_distance",
    "gradient_distance_matrix",
    "min_cut_partition",
    "select_split",
    "split_supernet",
]

Metric: TypeAlias = Literal["per_filter_cosine", "cosine", "mse"]
METRICS = get_args(Metric)
Criterion: TypeAlias = Literal["within", "between"]
Gradient: TypeAlias = Sequence[Float[Array, "..."]] | Float[Array, "..."]
ITEM = 1 << 15  # elements of a gradient that are worth an item of work
MOST_EXHAUSTIVE = 16  # operations up to which all groupings in two are tried
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


# --- distances ------------------------------------------------------------------------------------


@routine
def gradient_distance(
    grads_a: Gradient,
    grads_b: Gradient,
    *,
    metric: Metric = "per_filter_cosine",
    eps: Annotated[float, nonnegative] = 1e-6,
) -> Any:
    """How far two gradients point apart.

    Parameters
    ----------
    grads_a : sequence of (...) array of float32 or float64 or (...) array of float32 or float64
        A gradient, one array for each tensor of weights. Convolutions are (out, in, ...), dense
        weights (out, in): the first axis counts filters. One array by itself stands for a list of
        it, but a flat one is then a single filter.
    grads_b : sequence of (...) array of float32 or float64 or (...) array of float32 or float64
        Another gradient of the same shapes and dtype.
    metric : {"per_filter_cosine", "cosine", "mse"}, default "per_filter_cosine"
        Sum over all filters of 1 - cosine, where tensors with fewer than two axes add nothing; 1 -
        cosine of all entries together; or the sum of all squared differences.
    eps : float >= 0, default 1e-06
        Added to the product of lengths under a cosine; >= 0. With 0, too, a filter of zeros has the
        cosine 0.

    Returns
    -------
    scalar of the dtype

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a list that holds something else than
        arrays.
    ValueError
        Shapes that differ, another metric, `eps` negative or not finite.

    Notes
    -----
    ``D = sum over filters r of 1 - <a_r, b_r> / (|a_r| |b_r| + eps)``. Products are summed in
    pieces of at most 1024 entries in the arrays' dtype, the rest in float64: the error is below
    2e-6 (float32) and 1e-14 (float64) for each filter. A filter without entries adds nothing.
    Squares must not overflow.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> round(float(gradient_distance([np.eye(2)], [np.array([[1.0, 1], [0, 2]])])), 6)
    0.292894
    """
    gradients = {"grads_a": _tensors(grads_a), "grads_b": _tensors(grads_b)}
    distances = _distances(gradients, metric, eps)
    return distances.dtype.type(float(distances[0, 1]))


@routine
def gradient_distance_matrix(
    grads: Sequence[Gradient] | Float[Array, "k ..."],
    *,
    metric: Metric = "per_filter_cosine",
    eps: Annotated[float, nonnegative] = 1e-6,
) -> Array:
    """Distances of all pairs of k gradients, each of which is read once from memory and never
    copied.

    Parameters
    ----------
    grads : sequence of sequence of (...) array of float32 or float64 or (...) array of float32 or float64 or (k, ...) array of float32 or float64
        Gradients as for :func:`gradient_distance`, k >= 2.
    metric : {"per_filter_cosine", "cosine", "mse"}, default "per_filter_cosine"
    eps : float >= 0, default 1e-06
        As for :func:`gradient_distance`.

    Returns
    -------
    (k, k) array
        Symmetric, >= 0; the diagonal is 0 but for what `eps` adds.

    Raises
    ------
    TypeError, ValueError
        As for :func:`gradient_distance`; fewer than two gradients.

    Notes
    -----
    k (k + 1) P operations for P weights. Arrays that are not C-contiguous are copied.

    References
    ----------
    S. Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
    Matching", ICLR 2022.

    Examples
    --------
    >>> gradient_distance_matrix([[np.eye(2)], [np.array([[1.0, 1], [0, 2]])], [-np.eye(2)]]).round(
    ...     4
    ... )
    array([[0.    , 0.2929, 4.    ],
           [0.2929, 0.    , 3.7071],
           [4.    , 3.7071, 0.    ]])
    """  # noqa: E501
    if len(grads) < 2:
        raise ValueError(f"grads must hold k >= 2 gradients (got {len(grads)})")
    gradients = {f"grads[{i}]": _tensors(gradient) for i, gradient in enumerate(grads)}
    return _distances(gradients, metric, eps)


def _tensors(gradient):
    """A gradient as a list of arrays. A single flat array becomes one filter."""
    if isinstance(gradient, (list, tuple)):
        return gradient
    return [gradient if gradient.ndim > 1 else gradient.reshape(1, -1)]


def _distances(gradients, metric, eps):
    name, first = next(iter(gradients.items()))
    if not first:
        raise ValueError(f"{name} must hold at least one array (got 0)")
    xp, dtype, shapes = namespace_of(*first), first[0].dtype, [array.shape for array in first]
    for name, gradient in gradients.items():
        if (found := [array.shape for array in gradient]) != shapes:
            raise ValueError(
                f"{name} must have the shapes of the first gradient, {shapes} (got {found})"
            )
    kept = [
        [_plain(xp, array) for array in gradient] for gradient in gradients.values()
    ]  # alive while addresses are used
    k = len(kept)
    items = np.array(
        [item for t, shape in enumerate(shapes) for item in _items(t, shape, metric)], np.int64
    ).reshape(-1, 4)
    addresses = np.array(
        [[_address(tensors[t]) for tensors in kept] for t in range(len(shapes))], np.uint64
    )
    parts = xp.empty((len(items), k, k), np.float64)
    with np.errstate(all="ignore"):
        gradient_pairs(
            xp.asarray(addresses),
            xp.asarray(items),
            xp.empty((1,), dtype),
            eps,
            METRICS.index(metric),
            parts,
        )
        total = parts.sum(axis=0)
        if metric == "cosine":
            lengths = xp.sqrt(total.diagonal())
            total = _one_less_cosine(xp, total, lengths[:, None] * lengths, eps)
        return total.astype(dtype)


def _plain(xp, array):
    array = xp.ascontiguousarray(array)
    return array if xp is not np or array.flags.aligned else array.copy()


def _address(array):
    return pointer(array) if device_of(array) is CPU else array.data.ptr


def _items(tensor, shape, metric):
    """(tensor, first element, rows, elements of a row): rows are filters, or any pieces where
    filters do not matter."""
    size = math.prod(shape)
    if metric != "per_filter_cosine":
        return [(tensor, first, 1, min(ITEM, size - first)) for first in range(0, size, ITEM)]
    if len(shape) < 2 or not size:
        return []
    length = size // shape[0]
    step = max(1, ITEM // length)
    return [
        (tensor, first * length, min(step, shape[0] - first), length)
        for first in range(0, shape[0], step)
    ]


def _one_less_cosine(xp, products, lengths, eps):
    below = lengths + eps
    distance = 1 - products / xp.where(below == 0, 1.0, below)
    return xp.where(distance < 0, 0.0, distance)  # rounding; NaN stays


# --- groupings ------------------------------------------------------------------------------------


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
    labels = _labels(xp, d[None], n_groups, low, high)[0]
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
        for e, labels in enumerate(_labels(xp, d, n_groups, low, high))
    ]
    edge = _best(partitions, criterion)
    return edge, partitions[edge]


def _best(partitions, criterion):
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


def _labels(xp, d, n_groups, low, high):
    """Labels of every edge's operations (edges, k, k) → list of (k,) arrays; each group has `low`
    to `high` of them."""
    k = d.shape[-1]
    if n_groups == 2 and k <= MOST_EXHAUSTIVE:
        return _best_bisections(xp, d, _left_sizes(k, 1, 1, low, high))
    return [
        _refined(xp, one, _recursive_bisection(xp, one, n_groups, low, high), n_groups, low, high)
        for one in d
    ]


def _left_sizes(k, left, right, low, high):
    """How many of k operations may go to the first `left` of `left + right` groups."""
    return [
        s
        for s in range(k + 1)
        if left * low <= s <= left * high and right * low <= k - s <= right * high
    ]


def _recursive_bisection(xp, d, n_groups, low, high):
    if n_groups == 1:
        return xp.zeros(len(d), np.int64)
    left = -(-n_groups // 2)
    sizes = _left_sizes(len(d), left, n_groups - left, low, high)
    first = (
        _best_bisections(xp, d[None], sizes)[0] == 0
        if len(d) <= MOST_EXHAUSTIVE
        else _spectral_bisection(xp, d, sizes)
    )
    labels = xp.empty(len(d), np.int64)
    for part, count, start in ((first, left, 0), (~first, n_groups - left, left)):
        labels[part] = start + _recursive_bisection(xp, d[part][:, part], count, low, high)
    return labels


def _best_bisections(xp, d, sizes):
    """The best of all groupings in two, group 0 having one of the sizes: a list of (k,) labels."""
    edges, k = d.shape[:2]
    codes = 1 << (k - 1)
    segments = -(-codes // SEGMENT)
    allowed = np.array([s in sizes or k - s in sizes for s in range(k + 1)], np.uint8)
    within, code = (
        xp.empty((edges * segments,), np.float64),
        xp.empty((edges * segments,), np.int64),
    )
    all_bisections(xp.ascontiguousarray(d), xp.asarray(allowed), within, code)
    found = []
    for e in range(edges):
        at = e * segments + int(within[e * segments : (e + 1) * segments].argmin())
        bits = [int(code[at]) >> i & 1 for i in range(k)]
        found.append(
            xp.asarray(np.array([1 - b for b in bits] if sum(bits) in sizes else bits, np.int64))
        )
    return found


def _spectral_bisection(xp, d, sizes):
    """Which operations belong to the first part, of one of the sizes: the best cut of the Fiedler
    vector, or Stoer and Wagner's."""
    k = len(d)
    similarity = d.max() - d
    similarity[xp.arange(k), xp.arange(k)] = 0
    _, vectors = xp.linalg.eigh(xp.diag(similarity.sum(axis=1)) - similarity)
    order = xp.argsort(vectors[:, 1])
    candidates, last = [], xp.asarray(np.array(sizes) - 1)
    for direction in (order, order[::-1]):
        of_first = (
            d[direction][:, direction].cumsum(axis=0).cumsum(axis=1).diagonal()[last]
        )  # of the pairs of the first s, twice
        from_first = d.sum(axis=1)[direction].cumsum()[last]
        costs = d.sum() - 2 * (from_first - of_first)
        best = int(costs.argmin())
        part = xp.zeros(k, bool)
        part[direction[: sizes[best]]] = True
        candidates.append((float(costs[best]), part))
    if len(sizes) > 2:  # not balanced
        part = stoer_wagner(xp, similarity)[1]
        for side in (part, ~part):
            if int(side.sum()) in sizes:
                candidates.append((float(d[side][:, side].sum() + d[~side][:, ~side].sum()), side))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _refined(xp, d, labels, n_groups, low, high):
    """Exchange two operations of different groups, or move one where sizes allow it, the best
    first, until nothing helps."""
    groups = xp.arange(n_groups)
    least = -1e-12 * float(d.sum())
    rows = xp.arange(len(d))
    while True:
        member = labels[:, None] == groups
        to_group = d @ member.astype(d.dtype)  # sums of distances to each group
        change = to_group - to_group[rows, labels][:, None]
        sizes = member.sum(axis=0)
        can_move = (sizes > low)[labels][:, None] & (sizes < high) & ~member
        moves = xp.where(can_move, change, 0.0)
        across = change[:, labels]
        swaps = xp.where(labels[:, None] != labels, across + across.T - 2 * d, 0.0)
        move, swap = int(moves.argmin()), int(swaps.argmin())
        best_move, best_swap = float(moves.reshape(-1)[move]), float(swaps.reshape(-1)[swap])
        if min(best_move, best_swap) >= least:
            return labels
        if best_move <= best_swap:
            labels[move // n_groups] = move % n_groups
        else:
            i, j = divmod(swap, len(d))
            labels[i], labels[j] = int(labels[j]), int(labels[i])


def stoer_wagner(xp, weights):
    """The smallest cut of a complete graph with weights (k, k) >= 0, and a mask of one of its
    sides: O(k³)."""
    k = len(weights)
    w = xp.array(weights, np.float64, order="C")[None]
    cut, side = xp.empty((1,), np.float64), xp.empty((1, k), np.uint8)
    smallest_cut(
        w,
        xp.empty((1, k), np.float64),
        xp.empty((1, k), np.uint8),
        xp.empty((1, k), np.int64),
        cut,
        side,
    )
    return float(cut[0]), side[0] == 1


# --- splitting a supernet -------------------------------------------------------------------------


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
            best = _best(parts, criterion)
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


# --- kernels --------------------------------------------------------------------------------------

PIECE = 1024  # elements that are summed in the gradients' own type
PER_FILTER, COSINE, SQUARES = range(3)  # as in METRICS


@kernel(
    "in uint64 at[t, k]; in int64 items[b, 4]; in T like[one]; float64 eps; int64 metric; "
    "out float64 parts[b, k, k]; "
    "scratch T sums[8]; scratch float64 gram[k, k]",
    constants=("PER_FILTER", "COSINE", "SQUARES"),
    split="b",
    gpu="warp",
    threads=128,
    grain="1",
    twin_tolerance={"float64": 1e-6},
)  # parts are float64, but sums of what may be float32
def gradient_pairs(at, items, like, eps, metric, parts, sums, gram, start, stop):
    """What each item's rows add to the distances (or scalar products, or squared differences) of k
    gradients of type T.

    at[t] are the addresses of tensor t of all gradients; an item is (tensor, first element, rows,
    elements of a row).
    """
    k = at.shape[1]
    for b in range(start, stop):
        tensor, first, rows, length = items[b]
        for i in range(k):
            for j in range(k):
                parts[b, i, j] = 0
        for r in range(rows):
            for i in range(k):
                for j in range(k):
                    gram[i, j] = 0
            for e in range(0, length, PIECE):
                add_piece(
                    at[tensor],
                    (first + r * length + e) * like.itemsize,
                    min(PIECE, length - e),
                    metric == SQUARES,
                    sums,
                    gram,
                )
            for i in range(k):
                for j in range(i, k):
                    value = gram[i, j]
                    if metric == PER_FILTER:
                        below = math.sqrt(gram[i, i]) * math.sqrt(gram[j, j]) + eps
                        value = 1.0 if below == 0 else 1.0 - value / below
                        if value < 0:  # rounding
                            value = 0.0
                    parts[b, i, j] += value
        for i in range(k):
            for j in range(i):
                parts[b, i, j] = parts[b, j, i]


def add_piece(at, offset, size, squares, sums, gram):
    """Add the sums over a piece of a row to the upper triangle of gram, two rows with four at once;
    a missing row is another one again."""
    k = at.size
    shift = np.uint64(offset)
    for i in range(0, k, 2):
        for j in range(i // 4 * 4, k, 4):
            a0, a1 = at[i] + shift, at[min(i + 1, k - 1)] + shift
            b0, b1, b2, b3 = (
                at[j] + shift,
                at[min(j + 1, k - 1)] + shift,
                at[min(j + 2, k - 1)] + shift,
                at[min(j + 3, k - 1)] + shift,
            )
            if squares:
                squares_2_by_4(a0, a1, b0, b1, b2, b3, size, sums)
            else:
                dots_2_by_4(a0, a1, b0, b1, b2, b3, size, sums)
            for s in range(8):
                if i + s // 4 < k and j + s % 4 < k:
                    gram[i + s // 4, j + s % 4] += sums[s]


# groupings that are walked through by one change each; every segment starts afresh, so that no
# error builds up
SEGMENT = 256


@kernel(
    "in float64 d[e, k, k]; in uint8 allowed[k+1]; out float64 within[b]; out int64 code[b]",
    constants=("SEGMENT",),
    split="b",
    grain="16",
)
def all_bisections(d, allowed, within, code, start, stop):
    """The least sum of distances within two groups, and its grouping, in each segment of the Gray
    code of all groupings.

    Bit i of a code is the group of operation i; the last one's is 0. allowed[s] tells whether group
    1 may have s operations.
    """
    k = d.shape[1]
    codes = 1 << (k - 1)
    segments = (codes + SEGMENT - 1) // SEGMENT
    for b in range(start, stop):
        edge, first = b // segments, b % segments * SEGMENT
        gray = first ^ (first >> 1)
        total, size = 0.0, 0
        for i in range(k):
            size += gray >> i & 1
            for j in range(i):
                if (gray >> i & 1) == (gray >> j & 1):
                    total += d[edge, i, j]
        within[b], code[b] = math.inf, -1
        for step in range(first, min(first + SEGMENT, codes)):
            if step > first:
                moved = 0
                while not step >> moved & 1:
                    moved += 1
                gray ^= 1 << moved
                size += 2 * (gray >> moved & 1) - 1
                for j in range(k):
                    if j != moved:
                        total += (
                            d[edge, moved, j]
                            if (gray >> moved & 1) == (gray >> j & 1)
                            else -d[edge, moved, j]
                        )
            if allowed[size] and total < within[b]:
                within[b], code[b] = total, gray


FREE, ADDED, MERGED = 0, 1, 2


@kernel(
    "inout float64 w[g, k, k]; out float64 tied[g, k]; out uint8 state[g, k]; "
    "out int64 merged_into[g, k]; out float64 cut[g]; "
    "out uint8 side[g, k]",
    constants=("FREE", "ADDED", "MERGED"),
    split="g",
    gpu="block",
    threads=128,
)
def smallest_cut(w, tied, state, merged_into, cut, side, start, stop):
    """Stoer and Wagner: add the vertex most tied to those added, again and again; the last one's
    ties are a cut; merge the last two."""
    k = w.shape[1]
    for g in range(start, stop):
        cut[g] = math.inf
        for v in range(k):
            state[g, v], merged_into[g, v], side[g, v], tied[g, v] = FREE, v, 0, 0
        for left in range(k, 1, -1):
            before, last = 0, 0
            for v in range(k):
                if state[g, v] != MERGED:
                    state[g, v], tied[g, v] = FREE, 0
            for _ in range(left):
                before, most = last, -1.0
                for v in range(k):
                    if state[g, v] == FREE and tied[g, v] > most:
                        last, most = v, tied[g, v]
                state[g, last] = ADDED
                for v in range(k):
                    tied[g, v] += w[g, last, v] if v != last else 0.0
            if tied[g, last] < cut[g]:
                cut[g] = tied[g, last]
                for v in range(k):
                    side[g, v] = merged_into[g, v] == last
            state[g, last] = MERGED
            for v in range(k):
                if merged_into[g, v] == last:
                    merged_into[g, v] = before
                w[g, before, v] += w[g, last, v]
                w[g, v, before] = w[g, before, v]
            w[g, before, before] = 0
