"""ReLU networks point by point, exactly in fractions, and region by region."""

import itertools
from fractions import Fraction

import numpy as np


def evaluate(weights, biases, x):
    """Outputs and the Jacobian at one point, with slope 0 at 0."""
    a, jacobian = x, np.eye(len(x))
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        a, jacobian = w @ a + b, w @ jacobian
        if k < len(weights) - 1:
            on = a > 0
            a, jacobian = np.where(on, a, 0), jacobian * on[:, None]
    return a, jacobian


def exactly(weights, biases, x):
    """The same in fractions: lists."""

    def product(rows, columns):
        return [
            [
                sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0))
                for column in columns
            ]
            for row in rows
        ]

    a, columns = (
        [Fraction(v) for v in x],
        [[Fraction(int(i == j)) for j in range(len(x))] for i in range(len(x))],
    )
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        rows = [[Fraction(v) for v in row] for row in w.tolist()]
        a = [s[0] + Fraction(v) for s, v in zip(product(rows, [a]), b.tolist(), strict=True)]
        jacobian = product(rows, columns)
        if k < len(weights) - 1:
            jacobian = [
                row if v > 0 else [Fraction(0)] * len(x) for row, v in zip(jacobian, a, strict=True)
            ]
            a = [max(v, Fraction(0)) for v in a]
        columns = [list(column) for column in zip(*jacobian, strict=True)]
    return a, jacobian


def lipschitz(weights, biases, x0, eps):
    """The Lipschitz constant on a box: over all patterns of neurons that are on, if a linear
    program finds a point with that pattern."""
    from scipy.optimize import linprog

    n, widths, largest = len(x0), [len(w) for w in weights[:-1]], 0.0
    for pattern in itertools.product((0.0, 1.0), repeat=sum(widths)):
        constraints, limits, linear, offset, rest = [], [], np.eye(n), np.zeros(n), list(pattern)
        for w, b, width in zip(weights[:-1], biases[:-1], widths, strict=True):
            linear, offset = w @ linear, w @ offset + b
            on, rest = np.array(rest[:width]), rest[width:]
            sign = 2 * on - 1
            constraints.append(
                np.column_stack([-sign[:, None] * linear, np.ones(width)])
            )  # sign (linear x + offset) >= t
            limits.append(sign * offset)
            linear, offset = linear * on[:, None], offset * on
        found = linprog(
            [0.0] * n + [-1.0],
            np.vstack(constraints),
            np.concatenate(limits),
            bounds=[*zip(x0 - eps, x0 + eps, strict=True), (None, 1.0)],
        )
        if found.status == 0 and found.x[-1] > 1e-7:
            largest = max(largest, abs(weights[-1] @ linear).sum(axis=1).max())
    return largest


def conv2d(x, weight, stride, padding):
    """One image (C, H, W), pixel by pixel."""
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    o, _, h, w = weight.shape
    rows, cols = (x.shape[1] - h) // stride[0] + 1, (x.shape[2] - w) // stride[1] + 1
    y = np.zeros((o, rows, cols))
    for k, i, j in np.ndindex(*y.shape):
        y[k, i, j] = (
            weight[k] * x[:, i * stride[0] : i * stride[0] + h, j * stride[1] : j * stride[1] + w]
        ).sum()
    return y
