"""Power normalisation, position by position and feature by feature, in float64."""

import math

import numpy as np


def group_scale(x, n_groups, eps):
    y = np.empty(x.shape)
    size = x.shape[-1] // n_groups
    for at in np.ndindex(x.shape[:-1]):
        for low in range(0, x.shape[-1], size):
            group = [float(v) for v in x[at][low : low + size]]
            root = math.sqrt(math.fsum(v * v for v in group) / size + eps)
            y[at][low : low + size] = [v / root for v in group]
    return y


def group_scale_vjp(grad, x, n_groups, eps):
    """By the whole Jacobian matrix of each group: derivative of v_i / root is [i = j] / root - v_i
    v_j / (size root³)."""
    result, size = np.empty(x.shape), x.shape[-1] // n_groups
    for at in np.ndindex(x.shape[:-1]):
        for low in range(0, x.shape[-1], size):
            group, upstream = (
                x[at][low : low + size].astype(float),
                grad[at][low : low + size].astype(float),
            )
            root = math.sqrt(math.fsum(group * group) / size + eps)
            for j in range(size):
                result[at][low + j] = math.fsum(
                    upstream[i] * ((i == j) / root - group[i] * group[j] / (size * root**3))
                    for i in range(size)
                )
    return result


class PowerNorm:
    """One step at a time, with lists of positions."""

    def __init__(
        self,
        n_features,
        *,
        eps=1e-5,
        alpha_fwd=0.9,
        alpha_bwd=0.9,
        warmup_iters=10000,
        n_groups=1,
        backward_scale="used",
        weight=None,
        bias=None,
    ):
        self.eps, self.alpha_fwd, self.alpha_bwd, self.warmup_iters = (
            eps,
            alpha_fwd,
            alpha_bwd,
            warmup_iters,
        )
        self.n_groups, self.backward_scale = n_groups, backward_scale
        self.weight = np.ones(n_features) if weight is None else weight.astype(float)
        self.bias = np.zeros(n_features) if bias is None else bias.astype(float)
        self.phi, self.gamma, self.t = np.ones(n_features), np.zeros(n_features), 0

    def step(self, x, grad_y, mask=None):
        """y, grad_x, grad_weight, grad_bias of one training step."""
        shape, d = x.shape, x.shape[-1]
        raw, grad_y = x.astype(float), grad_y.astype(float).reshape(-1, d)
        scaled = (
            raw if self.n_groups is None else group_scale(raw, self.n_groups, self.eps)
        ).reshape(-1, d)
        live = (
            range(len(scaled))
            if mask is None
            else [i for i, hidden in enumerate(mask.ravel()) if not hidden]
        )
        psi = np.array([math.fsum(scaled[i, c] ** 2 for i in live) / len(live) for c in range(d)])
        self.t += 1
        used = psi if self.t <= self.warmup_iters else self.phi
        z = scaled / np.sqrt(used + self.eps)
        if self.t < self.warmup_iters:
            self.phi = self.phi * (self.t - 1) / self.t + psi / self.t
        self.phi = self.alpha_fwd * self.phi + (1 - self.alpha_fwd) * psi
        corrected = grad_y * self.weight - (1 - self.alpha_bwd) * self.gamma * z
        self.gamma = self.gamma + np.array(
            [math.fsum(corrected[i, c] * z[i, c] for i in live) / len(live) for c in range(d)]
        )
        grad = corrected / np.sqrt((psi if self.backward_scale == "batch" else used) + self.eps)
        if self.n_groups is not None:
            grad = group_scale_vjp(grad, raw.reshape(-1, d), self.n_groups, self.eps)
        return (
            (z * self.weight + self.bias).reshape(shape),
            grad.reshape(shape),
            (grad_y * z).sum(axis=0),
            grad_y.sum(axis=0),
        )
