"""Search as it is defined: every score in extended precision, then Python's own sort."""

import numpy as np


def scores(queries, database, metric):
    queries, database = queries.astype(np.longdouble), database.astype(np.longdouble)
    result = np.zeros((len(queries), len(database)), np.longdouble)
    for i, q in enumerate(queries):
        for j, x in enumerate(database):
            if metric == "l2":
                result[i, j] = sum((a - b) ** 2 for a, b in zip(q, x, strict=True))
                continue
            result[i, j] = sum(a * b for a, b in zip(q, x, strict=True))
            if metric == "cosine":
                length = np.sqrt((q * q).sum()) * np.sqrt((x * x).sum())
                result[i, j] = result[i, j] / length if length > 0 else 0
    return result


def topk(queries, database, k, metric):
    found = scores(queries, database, metric)
    sign = 1 if metric == "l2" else -1
    indices = np.array(
        [sorted(range(len(row)), key=lambda j: (sign * row[j], j))[:k] for row in found]
    ).reshape(len(queries), k)
    return np.take_along_axis(found, indices, 1), indices


def hamming(a, b):
    return [
        [sum((int(x) ^ int(y)).bit_count() for x, y in zip(row, other, strict=True)) for other in b]
        for row in a
    ]
