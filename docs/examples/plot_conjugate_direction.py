"""
Deep conjugate directions: a network proposes search directions
===============================================================

Simulations solve similar linear systems again and again. Here it is the Poisson
equation on a grid, A u = b, where A multiplies each point by four and subtracts its
four neighbors. The conjugate gradient method needs more iterations on finer grids,
since each iteration moves information by one grid point only. A small convolutional
network, trained on right-hand sides without any solutions, proposes better search
directions. :func:`~numcore.linalg.conjugate_direction_solve` makes them conjugate to
the previous ones and follows each by an exact line search, so that a bad proposal slows
the solver down but never increases the error.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

from numcore.linalg import (
    CSR,
    DirectionNetwork,
    conjugate_direction_solve,
    ritz_training_set,
)


def poisson(side):
    at = np.arange(side * side).reshape(side, side)
    pairs = np.concatenate(
        [
            np.stack([at[1:].ravel(), at[:-1].ravel()]),
            np.stack([at[:, 1:].ravel(), at[:, :-1].ravel()]),
        ],
        axis=1,
    )
    rows, cols = (
        np.concatenate([pairs[0], pairs[1], at.ravel()]),
        np.concatenate([pairs[1], pairs[0], at.ravel()]),
    )
    return CSR.from_coo(
        rows,
        cols,
        np.repeat([-1.0, 4.0], [2 * pairs.shape[1], side * side]),
        (side * side, side * side),
    )


# %%
# Training uses right-hand sides that are rich in the slow, smooth modes of the system,
# on a grid of 16 × 16 points. The loss is the residual that remains after the best step
# along the proposed direction.

a, start = poisson(16), time.perf_counter()
network = DirectionNetwork((16, 16), n_filters=8, max_iter=500, rng=0)
network.fit(a, ritz_training_set(a, 100, 1000, theta=10, rng=0))
print(
    f"{sum(p.size for p in network.parameters_)} weights trained in "
    f"{time.perf_counter() - start:.1f} s, "
    f"loss {network.loss_history_[0]:.2f} before, "
    f"{np.mean(network.loss_history_[-20:]):.3f} after"
)

# %%
# The same network solves systems on its own grid and on grids that it has never seen,
# for a random and a smooth right-hand side. Iterations stop when the residual is 10⁻⁴
# of its initial value.

curves, rng = {}, np.random.default_rng(1)
for side in (16, 32, 64):
    a, points = poisson(side), np.arange(side) / side
    smooth = np.exp(-50 * ((points[:, None] - 0.4) ** 2 + (points - 0.6) ** 2)).ravel()
    for name, b in (("random", rng.standard_normal(side * side)), ("smooth", smooth)):
        ours = conjugate_direction_solve(a, b, network, max_iter=400)
        plain = conjugate_direction_solve(
            a, b, lambda r: r, max_iter=1000, n_orthogonal=1
        )
        print(
            f"{side} × {side}, {name} right-hand side: {ours.n_iter} iterations, "
            f"conjugate gradients {plain.n_iter}"
        )
        if name == "random":
            curves[side] = ours.residual_norms, plain.residual_norms

figure, grid = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
for axes, (side, (ours, plain)) in zip(grid, curves.items(), strict=True):
    axes.semilogy(plain / plain[0], color="#c4581a", label="conjugate gradients")
    axes.semilogy(ours / ours[0], color="#0b6e99", label="learned directions")
    axes.set_title(
        f"{side} × {side} points" + (", as in training" if side == 16 else "")
    )
    axes.set_xlabel("iteration")
grid[0].set_ylabel("relative residual")
grid[0].legend()
