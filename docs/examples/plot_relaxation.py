"""
Learning to relax: choose omega for a sequence of linear systems
================================================================

Successive over-relaxation (SOR, :func:`~numcore.linalg.sor`) solves a linear system by
updating one unknown after the other, each time by omega times the correction that would
satisfy its equation. The number of sweeps depends strongly on omega, and the best omega
differs from system to system. Here thousands of related systems are solved one after
the other by :func:`~numcore.linalg.solve_sequence`. A bandit algorithm,
:class:`~numcore.linalg.TsallisINF` or :class:`~numcore.linalg.ChebCB`, chooses omega
for each of them and only sees how many iterations the previous systems took.
"""

import functools

import matplotlib.pyplot as plt
import numpy as np

from numcore.linalg import CSR, ChebCB, TsallisINF, solve_sequence, spmv

COLORS = {
    "Tsallis-INF": "#0b6e99",
    "ChebCB": "#c4581a",
    "best fixed": "#5a7d2a",
    "at random": "#7b4fa3",
}


def laplacian(side):
    """Each point of a grid is coupled to its four neighbors."""
    line = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    return CSR.from_dense(np.kron(np.eye(side), line) + np.kron(line, np.eye(side)))


class AtRandom:
    """A policy is any object with these two methods."""

    def __init__(self, grid):
        self.grid, self.rng = grid, np.random.default_rng(0)

    def sample(self, context=None):
        return self.rng.choice(self.grid)

    def update(self, cost):
        pass


# %%
# The first sequence is diffusion on a grid of 10 × 10 points with a random shift of the
# diagonal. Some systems are nearly singular and need a large omega, but a smaller one
# is better for most. Both policies choose among twenty values. ``TsallisINF`` learns
# the best one for all systems together. ``ChebCB`` also sees the shift, and learns how
# the cost of each omega depends on it.

ROUNDS = 2000
grid = np.linspace(1, 1.95, 20)
rng = np.random.default_rng(0)
shifts = -0.15 + 0.6 * rng.beta(2, 6, ROUNDS)
a, systems = laplacian(10), []
diagonal = a.rows == a.indices
for shift in shifts:
    systems.append((a.with_data(a.data + shift * diagonal), rng.standard_normal(100)))

fixed = {
    omega: solve_sequence(systems, omega)
    for omega in (1.0, 1.2, 1.4, 1.5, 1.6, 1.7, 1.8)
}
best = min(fixed, key=lambda omega: fixed[omega].n_iter_total)
runs = {
    "Tsallis-INF": solve_sequence(systems, TsallisINF(grid, rng=1)),
    "ChebCB": solve_sequence(
        systems, ChebCB(grid, interval=(-0.15, 0.45), rng=1), contexts=shifts
    ),
    "best fixed": fixed[best],
    "at random": solve_sequence(systems, AtRandom(grid)),
}
for omega, run in fixed.items():
    print(f"omega = {omega}: {run.n_iter_total / ROUNDS:.0f} iterations per system")
for name, run in runs.items():
    print(f"{name}: {run.n_iter_total / ROUNDS:.0f} iterations per system")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for name, run in runs.items():
    label = f"{name}, {best}" if name == "best fixed" else name
    left.plot(np.cumsum(run.n_iter) / 1000, color=COLORS[name], label=label)
left.plot(
    np.cumsum(fixed[1.2].n_iter) / 1000,
    color="gray",
    linestyle="dotted",
    label="fixed, 1.2",
)
left.set(
    xlabel="systems solved",
    ylabel="iterations so far, in thousands",
    title="10 × 10 points, SOR",
)
left.legend()
late = slice(ROUNDS // 2, None)
right.plot(
    shifts[late],
    runs["ChebCB"].omegas[late],
    ".",
    markersize=3,
    alpha=0.4,
    color=COLORS["ChebCB"],
)
right.axhline(best, color=COLORS["best fixed"])
right.set(
    xlabel="shift of the diagonal",
    ylabel="omega",
    title="Choices of ChebCB, second half",
)

# %%
# The second sequence is a simulation: heat on a square with a moving source and a
# conductivity between 0 and 10. Each time step solves a system by conjugate gradients
# with SSOR preconditioning (:func:`~numcore.linalg.ssor_cg`), starting from the
# temperatures of the previous step. The conductivity is the context of ``ChebCB``.

SIDE, STEPS = 25, 1000
heat = laplacian(SIDE - 1)
heat, ones, dt = (
    heat.with_data(SIDE**2 * heat.data),
    1.0 * (heat.rows == heat.indices),
    1 / STEPS,
)
points = np.stack(np.meshgrid(*2 * [np.arange(1, SIDE) / SIDE]), axis=-1).reshape(-1, 2)


def conductivity(t):
    return max(0.1 * np.sin(2 * np.pi * t), -10 * np.sin(2 * np.pi * t))


def source(t):
    middle = 0.5 + np.array([np.cos(16 * np.pi * t), np.sin(16 * np.pi * t)]) / 4
    r = np.minimum(64 * ((points - middle) ** 2).sum(axis=1), 1 - 1e-9)
    return 32 * np.exp(1 - 1 / (1 - r))


def simulate(policy, contexts=None):
    state = {"u": np.zeros(len(points))}

    def system(k):
        t, after, u = k * dt, (k + 1) * dt, state["u"]
        b = (
            u
            - dt / 2 * conductivity(t) * spmv(heat, u)
            + dt / 2 * (source(t) + source(after))
        )
        return heat.with_data(ones + dt / 2 * conductivity(after) * heat.data), b

    def keep(k, omega, result):
        state["u"] = result.x

    steps = [functools.partial(system, k) for k in range(STEPS)]
    return solve_sequence(
        steps,
        policy,
        method="ssor_cg",
        contexts=contexts,
        warm_start=True,
        keep_solutions=False,
        callback=keep,
    ).n_iter_total


grid = np.linspace(0.83, 1.9, 20)
contexts = [conductivity((k + 1) * dt) for k in range(STEPS)]
totals = {f"fixed, {omega}": simulate(omega) for omega in (1.0, 1.3, 1.5, 1.75, 1.95)}
totals["at random"] = simulate(AtRandom(grid))
totals["Tsallis-INF"] = simulate(TsallisINF(grid, rng=1))
totals["ChebCB"] = simulate(ChebCB(grid, interval=(0, 10), rng=1), contexts)
for name, total in totals.items():
    print(f"heat, {name}: {total} iterations")
lowest = min(total for name, total in totals.items() if name.startswith("fixed"))
colors = [
    COLORS.get(name, COLORS["best fixed"] if total == lowest else "gray")
    for name, total in totals.items()
]
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.barh(list(totals), list(totals.values()), color=colors)
axes.invert_yaxis()
axes.set(
    xlabel="iterations of 1000 steps", title="Heat on a square, conjugate gradients"
)
