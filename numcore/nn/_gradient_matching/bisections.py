"""Groupings of operations: all of them by trial, or cut after cut, improved by exchanges."""

import numpy as np

from .kernels import SEGMENT, all_bisections, smallest_cut

MOST_EXHAUSTIVE = 16  # operations up to which all groupings in two are tried


def best_labels(xp, d, n_groups, low, high):
    """Labels of every edge's operations, (edges, k, k) → list of (k,) arrays, that make distances
    within groups small; each group has `low` to `high` operations."""
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
    within = xp.empty((edges * segments,), np.float64)
    code = xp.empty((edges * segments,), np.int64)
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
        # of the pairs of the first s, twice
        of_first = d[direction][:, direction].cumsum(axis=0).cumsum(axis=1).diagonal()[last]
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
