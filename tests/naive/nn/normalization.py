"""Layer, root-mean-square and batch normalisation with Python's own sums, one row or one column at
a time, in float64."""

import math

import numpy as np


def mean(values):
    return math.fsum(values) / len(values)


def normalised(values, eps, centred=True):
    """(z, scale) of one row or column."""
    middle = mean(values) if centred else 0.0
    scale = 1 / math.sqrt(mean([(v - middle) ** 2 for v in values]) + eps)
    return [(v - middle) * scale for v in values], scale


def rows(x):
    return x.astype(float).reshape(-1, x.shape[-1])


def layer_norm(x, weight, bias, eps, centred=True):
    z = [normalised(row.tolist(), eps, centred)[0] for row in rows(x)]
    return np.array(z).reshape(x.shape) * weight + bias


def layer_norm_vjp(grad_y, x, weight, eps, centred=True):
    """By the whole Jacobian matrix of each row."""
    d, grad_x, grad_weight = x.shape[-1], [], np.zeros(x.shape[-1])
    for row, g in zip(rows(x), rows(grad_y), strict=True):
        z, scale = normalised(row.tolist(), eps, centred)
        jacobian = [
            [scale * ((i == j) - (1 / d if centred else 0) - z[i] * z[j] / d) for j in range(d)]
            for i in range(d)
        ]
        grad_x.append(np.array(jacobian).T @ (weight * g))
        grad_weight += g * z
    return np.array(grad_x).reshape(x.shape), grad_weight, rows(grad_y).sum(axis=0)


def batch_norm(x, weight, bias, mean_so_far, var_so_far, momentum, eps):
    """(y, mean, var) in training: the new running statistics with the unbiased variance."""
    columns = [column.tolist() for column in rows(x).T]
    n = len(columns[0])
    y = (
        np.array([normalised(column, eps)[0] for column in columns]).T.reshape(x.shape) * weight
        + bias
    )
    means = np.array([mean(column) for column in columns])
    variances = np.array(
        [
            math.fsum((v - m) ** 2 for v in column) / (n - 1)
            for column, m in zip(columns, means, strict=True)
        ]
    )
    return (
        y,
        (1 - momentum) * mean_so_far + momentum * means,
        (1 - momentum) * var_so_far + momentum * variances,
    )


def batch_norm_vjp(grad_y, x, weight, eps):
    """By the whole Jacobian matrix of each column."""
    table, upstream = rows(x), rows(grad_y)
    n, grad_x, grad_weight = len(table), np.empty(table.shape), np.empty(table.shape[1])
    for c in range(table.shape[1]):
        z, scale = normalised(table[:, c].tolist(), eps)
        z = np.array(z)
        grad_x[:, c] = (
            scale * (np.eye(n) - 1 / n - np.outer(z, z) / n) @ (weight[c] * upstream[:, c])
        )
        grad_weight[c] = math.fsum(upstream[:, c] * z)
    return grad_x.reshape(x.shape), grad_weight, upstream.sum(axis=0)
