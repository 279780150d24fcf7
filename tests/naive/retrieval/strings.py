"""Distances of two strings, by tables, lists and sets."""

from collections import Counter


def edit_distance(a, b, swaps=False):
    d = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1) if not i or not j}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(
                d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            )
            if swaps and i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a), len(b)]


def jaro(a, b, prefix_weight=0.0):
    if not a and not b:
        return 1.0
    window, free, pairs = max(max(len(a), len(b)) // 2 - 1, 0), list(range(len(a))), []
    for j, letter in enumerate(b):
        near = [i for i in free if abs(i - j) <= window and a[i] == letter]
        if near:
            free.remove(near[0])
            pairs.append((near[0], j))
    if not pairs:
        return 0.0
    m = len(pairs)
    in_a, in_b = [a[i] for i in sorted(i for i, _ in pairs)], [b[j] for _, j in pairs]
    t = sum(x != y for x, y in zip(in_a, in_b, strict=True)) // 2
    result = (m / len(a) + m / len(b) + (m - t) / m) / 3
    prefix = next((i for i in range(4) if a[i : i + 1] != b[i : i + 1] or not a[i:]), 4)
    return result + prefix * prefix_weight * (1 - result) if result > 0.7 else result


def grams(a, q):
    return Counter(a[i : i + q] for i in range(len(a) - q + 1))


def gram_distance(a, b, q, cosine=False):
    a, b = grams(a, q), grams(b, q)
    if not a or not b:
        return float(bool(a) != bool(b))
    if cosine:
        return (
            1
            - sum(a[g] * b[g] for g in a)
            / (sum(v * v for v in a.values()) * sum(v * v for v in b.values())) ** 0.5
        )
    return 1 - len(set(a) & set(b)) / len(set(a) | set(b))
