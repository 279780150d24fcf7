"""A long short-term memory, one number at a time in Python floats."""

import math

import numpy as np


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def lstm(x, h, c, w_x, w_h, b):
    """(outputs, h, c)."""
    h, c = (np.array(a, float) for a in (h, c))
    hidden, outputs = h.shape[1], []
    for rows in np.asarray(x, float):
        before, h = h, np.empty_like(h)
        for s, row in enumerate(rows):
            for j in range(hidden):
                a = [
                    float(b[k])
                    + sum(row[p] * float(w_x[p, k]) for p in range(len(row)))
                    + sum(before[s, p] * float(w_h[p, k]) for p in range(hidden))
                    for k in (j, hidden + j, 2 * hidden + j, 3 * hidden + j)
                ]
                c[s, j] = sigmoid(a[1]) * c[s, j] + sigmoid(a[0]) * math.tanh(a[2])
                h[s, j] = sigmoid(a[3]) * math.tanh(c[s, j])
        outputs.append(h)
    return np.array(outputs).reshape(len(x), *h.shape), h, c
