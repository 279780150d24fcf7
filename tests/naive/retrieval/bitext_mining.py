"""Mining of pairs as it is defined, pair by pair, over all pairs."""

import math


def cosine(x, y):
    return (
        sum(a * b for a, b in zip(x, y, strict=True))
        / math.sqrt(sum(a * a for a in x))
        / math.sqrt(sum(b * b for b in y))
    )


def margins(s, k, margin):
    """The margins of all pairs, and the neighbours of both sides."""
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
    s = [[cosine(x, y) for y in target] for x in source]
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
