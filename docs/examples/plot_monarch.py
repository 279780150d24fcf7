"""
Monarch matrices: learn a fast transform
========================================

A Monarch matrix is a product of two block-diagonal matrices with permutations between
them. Multiplying it by a vector of length n takes about n^1.5 operations instead of n²
(:func:`~numcore.linalg.monarch_matmul`). Here a layer of this form learns the
Walsh–Hadamard transform, which no low-rank matrix with the same number of parameters
can approximate. Then :func:`~numcore.linalg.monarch_project` approximates a photograph
by the closest Monarch matrices.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from numcore.linalg import (
    fwht,
    monarch_matmul,
    monarch_matmul_vjp,
    monarch_project,
    monarch_to_dense,
)

# %%
# Both layers are trained on random vectors x and their Walsh–Hadamard transforms, y = H
# x with n = 256. The Monarch layer has two times 16 blocks of 16 × 16, that is 8192
# parameters; so does the product of a 256 × 16 and a 16 × 256 matrix. Both are trained
# by Adam.

N, STEPS = 256, 1000
rng = np.random.default_rng(0)
hadamard = fwht(np.eye(N), norm="ortho").astype(np.float32)


def low_rank(x, a, b):
    return x @ a @ b


def low_rank_gradients(x, a, b, g):
    return None, x.T @ (g @ b.T), (x @ a).T @ g


def train(product, gradients, factors):
    moments, errors = [[np.zeros_like(f), np.zeros_like(f)] for f in factors], []
    for t in range(1, STEPS + 1):
        x = rng.standard_normal((N, N)).astype(np.float32)
        wrong = product(x, *factors) - x @ hadamard
        errors.append(np.linalg.norm(wrong) / np.linalg.norm(x))
        for factor, g, (mean, square) in zip(
            factors, gradients(x, *factors, wrong / N)[1:], moments, strict=True
        ):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            rate = np.float32(1e-2 * (1 + np.cos(np.pi * t / STEPS)) / 2)
            factor -= (
                rate
                * mean
                / (1 - 0.9**t)
                / (np.sqrt(square / (1 - 0.999**t)) + np.float32(1e-8))
            )
    return errors


def random(*shape):
    return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


curves = {
    "Monarch": train(
        monarch_matmul, monarch_matmul_vjp, [random(16, 16, 16), random(16, 16, 16)]
    ),
    "low rank": train(low_rank, low_rank_gradients, [random(N, 16), random(16, N)]),
}
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, errors), color in zip(curves.items(), ("#0b6e99", "#c4581a"), strict=True):
    axes.semilogy(errors, color=color, label=f"{name}, 8192 parameters")
    print(f"{name}: relative error {errors[-1]:.1e} after {STEPS} steps")
axes.set_xlabel("step")
axes.set_ylabel("relative error of the output")
axes.legend()

# %%
# The Monarch matrix closest to a given matrix is known in closed form: each of its
# blocks is a low-rank matrix, found by a singular value decomposition. Blocks of higher
# rank give wider factors and smaller errors.

image = load_sample_image("china.jpg")[:400, :640].mean(axis=2)
figure, grid = plt.subplots(1, 4, figsize=(11, 2.3), layout="constrained")
grid[0].imshow(image, cmap="gray")
grid[0].set_title("a photograph, 400 × 640")
for axes, rank in zip(grid[1:], (1, 4, 8), strict=True):
    factors = monarch_project(image, n_blocks=(20, 20), rank=rank)
    axes.imshow(
        monarch_to_dense(factors.right, factors.left), cmap="gray", vmin=0, vmax=255
    )
    axes.set_title(f"rank {rank}: error {factors.relative_error:.1%}")
for axes in grid:
    axes.axis("off")
