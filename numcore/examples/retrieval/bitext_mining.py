"""Example calls of the mining of pairs. The references make whole matrices of cosines in extended
precision, and choose in Python loops."""

import numpy as np

from .. import Example


def _sides(rng, dtype, n):
    """Two clouds of which the first halves belong together."""
    n = max(n, 1)
    source, noise = rng.standard_normal((2, n, 24))
    target = np.where(np.arange(n)[:, None] < (n + 1) // 2, source + 0.4 * noise, noise)
    return {"source": (3 * source).astype(dtype), "target": target[::-1].astype(dtype)}


def _real(dtype):
    """Left against right halves of the images of digits, mirrored."""
    from sklearn.datasets import load_digits

    images = load_digits().images[:400] / 16
    # no row is zero, no two cosines are equal
    images = images + 1e-3 * np.random.default_rng(0).standard_normal(images.shape)
    return {
        "source": images[:, :, :4].reshape(-1, 32).astype(dtype),
        "target": images[:, :, :3:-1].reshape(-1, 32).astype(dtype),
    }


def cosines(source, target):
    source, target = (x.astype(np.longdouble) for x in (source, target))
    return (source / np.sqrt((source**2).sum(1))[:, None]) @ (
        target / np.sqrt((target**2).sum(1))[:, None]
    ).T


def _lists(s, k):
    order = np.array([sorted(range(s.shape[1]), key=lambda j: (-row[j], j))[:k] for row in s])
    return np.take_along_axis(s, order, 1), order


def _statistics(source, target, k=4):
    s = cosines(source, target)
    forward, backward = _lists(s, k), _lists(s.T, k)
    return (*forward, *backward, forward[0].mean(axis=1), backward[0].mean(axis=1))


def margins(s, k, margin):
    """The margins of all pairs, and the neighbors of both sides."""
    rows, columns = range(len(s)), range(len(s[0]))
    forward = [sorted(columns, key=lambda j: (-s[i][j], j))[:k] for i in rows]
    backward = [sorted(rows, key=lambda i: (-s[i][j], i))[:k] for j in columns]
    a = [sum(s[i][j] for j in forward[i]) / len(forward[i]) for i in rows]
    b = [sum(s[i][j] for i in backward[j]) / len(backward[j]) for j in columns]
    value = {
        "absolute": lambda c, mean: c,
        "ratio": lambda c, mean: c / max(mean, 1e-6),
        "distance": lambda c, mean: c - mean,
    }[margin]
    return [[value(s[i][j], (a[i] + b[j]) / 2) for j in columns] for i in rows], forward, backward


def mine(source, target, k, margin, retrieval, threshold=None):
    """[(score, source, target)], best first."""
    s = [list(row) for row in cosines(source, target)]
    score, forward, backward = margins(s, k, margin)
    ahead = {(i, max(near, key=lambda j: score[i][j])) for i, near in enumerate(forward)}
    back = {(max(near, key=lambda i: score[i][j]), j) for j, near in enumerate(backward)}
    pairs = {"forward": ahead, "backward": back, "intersect": ahead & back, "max": ahead | back}[
        retrieval
    ]
    found = sorted(((score[i][j], i, j) for i, j in pairs), key=lambda pair: (-pair[0], pair[1:]))
    found = [pair for pair in found if threshold is None or pair[0] >= threshold]
    if retrieval != "max":
        return found
    taken, rows, columns = [], set(), set()
    for pair in found:
        if pair[1] not in rows and pair[2] not in columns:
            rows.add(pair[1])
            columns.add(pair[2])
            taken.append(pair)
    return taken


def _mined(source, target, k=4):
    found = mine(source, target, k, "ratio", "max")
    x, y = np.array([pair[1:] for pair in found], np.int64).T
    s, (*_, a, b) = cosines(source, target), _statistics(source, target, k)
    score = np.array([pair[0] for pair in found], np.longdouble)
    return x, y, score, s[x, y], int(((a[x] + b[y]) / 2 <= 1e-6).sum())


def _numpy_mine(source, target, k=4):
    """Both searches, and scores, from the whole matrix of cosines."""
    s = (source / np.linalg.norm(source, axis=1)[:, None]) @ (
        target / np.linalg.norm(target, axis=1)[:, None]
    ).T
    forward, backward = np.argpartition(-s, k, axis=1)[:, :k], np.argpartition(-s, k, axis=0)[:k]
    a = np.take_along_axis(s, forward, 1).mean(axis=1)
    b = np.take_along_axis(s, backward, 0).mean(axis=0)
    ratio = s / ((a[:, None] + b) / 2)
    y = np.take_along_axis(
        forward, np.take_along_axis(ratio, forward, 1).argmax(axis=1)[:, None], 1
    )[:, 0]
    x = np.take_along_axis(
        backward, np.take_along_axis(ratio, backward, 0).argmax(axis=0)[None], 0
    )[0]
    x, y = np.concatenate([np.arange(len(y)), x]), np.concatenate([y, np.arange(len(x))])
    used_x, used_y, taken = set(), set(), []
    for e in np.argsort(-ratio[x, y]).tolist():
        if x[e] not in used_x and y[e] not in used_y:
            used_x.add(x[e])
            used_y.add(y[e])
            taken.append(e)
    return x[taken], y[taken]


def _scored(rng, dtype, n):
    sides = _sides(rng, dtype, n)
    a, b = rng.uniform(0.1, 0.5, (2, len(sides["source"]))).astype(dtype)
    return sides | {
        "pairs": rng.integers(0, len(a), (n, 2)),
        "source_neighbor_mean": a,
        "target_neighbor_mean": b,
    }


def _scores(source, target, pairs, source_neighbor_mean, target_neighbor_mean):
    s = cosines(source, target)
    return np.array(
        [
            s[i, j]
            / ((source_neighbor_mean[i].astype(np.longdouble) + target_neighbor_mean[j]) / 2)
            for i, j in pairs
        ],
        np.longdouble,
    )


def _documents(rng, dtype, n):
    sides = _sides(rng, dtype, n)
    n = len(sides["source"])
    offsets = [np.sort(np.concatenate([[0, n], rng.integers(0, n + 1, n // 4)])) for _ in range(2)]
    return sides | {"source_offsets": offsets[0], "target_offsets": offsets[1], "threshold": -1.0}


def _aligned(source, target, source_offsets, target_offsets, threshold):
    s, pairs = cosines(source, target), []
    for g in range(len(source_offsets) - 1):
        rows, columns = (
            range(offsets[g], offsets[g + 1]) for offsets in (source_offsets, target_offsets)
        )
        pairs += [
            (i, j)
            for i in rows
            for j in columns
            if s[i, j] >= threshold
            and all(s[i, j] >= s[i, c] for c in columns)
            and all(s[i, j] >= s[r, j] for r in rows)
        ]
    pairs.sort(key=lambda pair: (-s[pair], pair))
    x, y = np.array(pairs, np.int64).reshape(-1, 2).T
    return x, y, s[x, y], s[x, y], 0


def _pivots(rng, dtype, n):
    first, second = (
        np.stack([rng.permutation(n), rng.integers(0, max(1, n // 2), n)], axis=1).reshape(n, 2)
        for _ in range(2)
    )
    return {
        "first": first,
        "second": second,
        "first_score": rng.random(n).astype(dtype),
        "second_score": rng.random(n).astype(dtype),
    }


def join(first, second, first_score, second_score, one_to_one):
    """{(first sentence, second sentence): (score, pivot)}."""
    found = {}
    for pivot in sorted({p for _, p in first} & {p for _, p in second}):
        left = [(score, x) for (x, p), score in zip(first, first_score, strict=True) if p == pivot]
        right = [
            (score, y) for (y, p), score in zip(second, second_score, strict=True) if p == pivot
        ]
        if one_to_one:
            left, right = ([max(side, key=lambda pair: pair[0])] for side in (left, right))
        for s, x in left:
            for t, y in right:
                if (x, y) not in found or min(s, t) > found[x, y][0]:
                    found[x, y] = min(s, t), pivot
    return found


def _through_pivots(first, second, first_score, second_score):
    """The best pair of each side for each pivot."""
    lists = (a.tolist() for a in (first, second, first_score, second_score))
    found = join(*lists, one_to_one=True)
    rows = sorted((x, y, pivot, score) for (x, y), (score, pivot) in found.items())
    x, y, pivot = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3).T
    return x, y, pivot, np.array([row[3] for row in rows], first_score.dtype)


def _pandas(first, second, first_score, second_score):
    import pandas

    sides = [
        pandas.DataFrame({name: pairs[:, 0], "pivot": pairs[:, 1], f"{name}_score": score})
        .sort_values(f"{name}_score", ascending=False, kind="stable")
        .drop_duplicates("pivot")
        for name, pairs, score in (("first", first, first_score), ("second", second, second_score))
    ]
    joined = sides[0].merge(sides[1], on="pivot")
    joined["score"] = joined[["first_score", "second_score"]].min(axis=1)
    return joined.sort_values("score", ascending=False).drop_duplicates(["first", "second"])


BOUND = {"float32": 1e-5, "float64": 1e-13}
EQUAL = {"float32": 0.0, "float64": 0.0}

EXAMPLES = {
    "neighbor_statistics": Example(
        lambda rng, dtype: _sides(rng, dtype, 60),
        ("source", "target"),
        _statistics,
        BOUND,
        nan="raise",
        sizes=_sides,
    ),
    "mine_pairs": Example(
        lambda rng, dtype: _sides(rng, dtype, 60),
        ("source", "target"),
        _mined,
        BOUND,
        nan="raise",
        sizes=_sides,
        data="left against mirrored right halves of images of digits",
        real=_real,
        peer=("the whole matrix in NumPy", _numpy_mine),
    ),
    "margin_scores": Example(
        lambda rng, dtype: _scored(rng, dtype, 60),
        ("source", "target", "pairs", "source_neighbor_mean", "target_neighbor_mean"),
        _scores,
        BOUND,
        nan="ignore",
        also=("int64",),
        sizes=_scored,
    ),
    "align_documents": Example(
        lambda rng, dtype: _documents(rng, dtype, 60),
        ("source", "target", "source_offsets", "target_offsets"),
        _aligned,
        BOUND,
        nan="ignore",
        also=("int64",),
        sizes=_documents,
    ),
    "pivot_pairs": Example(
        lambda rng, dtype: _pivots(rng, dtype, 90),
        ("first", "second", "first_score", "second_score"),
        _through_pivots,
        EQUAL,
        error="equal",
        nan="ignore",
        also=("int64",),
        sizes=_pivots,
        peer=("pandas merge", _pandas),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _scan_columns(rng, variant, size):
    k = int(rng.integers(1, 9))
    return [
        rng.integers(-30, 30, (int(rng.integers(1, 50)), size)).astype(variant["T"]),
        np.full((size, k), -np.inf, variant["T"]),
        np.full((size, k), -1, np.int64),
        500,
    ]


def _cosines_of(rng, variant, size):
    source, target = rng.standard_normal((2, 20, int(rng.integers(1, 70)))).astype(variant["T"])
    source[3] *= 1e30
    return [source, target, *rng.integers(0, 20, (2, size)), np.full(size, np.nan, variant["T"])]


def _take_greedily(rng, variant, size):
    free = np.iinfo(np.int64).max
    return [
        *rng.integers(0, 9, (2, size, 40)),
        np.full((size, 9), free),
        np.full((size, 9), free),
        np.full((size, 40), 7, np.uint8),
    ]


def _nearest_of_range(rng, variant, size):
    """Whole numbers, whose products are exact in any order."""
    rows, others = (rng.integers(-9, 9, (n, 21)).astype(variant["T"]) for n in (size, 30))
    ranges = np.sort(rng.integers(0, 31, (2, size)), axis=0)
    return [rows, others, *ranges, np.full(size, -7), np.full(size, np.nan, variant["T"])]


def _count_digits(rng, variant, size):
    return [rng.integers(0, 1 << 40, 70), np.zeros((size, 16), np.int64), 7]


def _move_by_digit(rng, variant, size):
    n, shift, keys = 70, 7, rng.integers(0, 1 << 40, 70)
    counts = np.zeros((size, 16), np.int64)
    np.add.at(counts, (np.arange(n) // -(-n // size), keys >> shift & 15) if size else (), 1)
    places = np.cumsum(counts.T.reshape(-1)).reshape(16, size).T - counts
    return [
        keys,
        rng.integers(0, 99, n),
        rng.random(n).astype(variant["T"]),
        places.copy(),
        *np.full((2, n), -7),
        np.full(n, np.nan, variant["T"]),
        shift,
    ]


def _best_of_equal(rng, variant, size):
    return [
        np.sort(rng.integers(0, size // 2 + 1, size)),
        rng.integers(0, 3, size).astype(variant["T"]),
        np.full(size, -7),
    ]


def _partners(rng, variant, size):
    return [
        *(np.sort(rng.integers(0, size // 2 + 1, n)) for n in (size, 50)),
        *np.full((2, size), -7),
    ]


def _join_sides(rng, variant, size):
    counts = rng.integers(0, 4, size)
    begins, ends = rng.integers(0, 27, size), np.cumsum(counts)
    first, second = (rng.integers(0, 1 << 31, n) for n in (size, 30))
    scores, results = rng.random(30 + size).astype(variant["T"]), np.full(int(counts.sum()), -7)
    return [
        np.arange(size),
        first,
        scores[30:],
        begins,
        counts,
        ends,
        second,
        scores[:30],
        results,
        results.copy(),
        results.astype(variant["T"]),
        31,
    ]


KERNELS = {
    "scan_columns": _scan_columns,
    "cosines_of": _cosines_of,
    "take_greedily": _take_greedily,
    "nearest_of_range": _nearest_of_range,
    "count_digits": _count_digits,
    "move_by_digit": _move_by_digit,
    "best_of_equal": _best_of_equal,
    "partners": _partners,
    "join_sides": _join_sides,
}
