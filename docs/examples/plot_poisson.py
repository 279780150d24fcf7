"""
Multilayer perceptrons: solve a differential equation
=====================================================

The Poisson problem ``u'' = -π² sin(π x)`` with ``u(0) = u(1) = 0`` has the solution ``u
= sin(π x)``. Here a small neural network, :class:`~numcore.nn.MLP`, is trained to be
that solution without seeing any of its values. The loss only measures how far the
second derivative of the network is from the right-hand side at 100 points, and how far
the network is from 0 at both ends. ``MLP.taylor`` and ``MLP.taylor_vjp`` compute the
second derivatives, and their gradients with respect to the weights, in closed form.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

from numcore.nn import MLP, Adam

x = np.linspace(0, 1, 100)[:, None]
ends = np.array([[0.0], [1.0]])
force, exact = -(np.pi**2) * np.sin(np.pi * x), np.sin(np.pi * x)
along_x = np.ones((1, 1))


def loss_and_gradients(network):
    """The mean square of u'' - force, and ten times that of u at the ends."""
    (_, _, (u_xx,)), cache = network.taylor(x, along_x)
    u_ends, ends_cache = network.forward(ends)
    miss = u_xx - force
    _, inside = network.taylor_vjp(None, None, 2 / len(x) * miss[None], cache)
    _, outside = network.vjp(10 * u_ends, ends_cache)
    return np.mean(miss**2) + 10 * np.mean(u_ends**2), [
        a + b for a, b in zip(inside, outside, strict=True)
    ]


# %%
# Training uses Adam: each weight moves by the running mean of its gradient, divided by
# the root of its running mean square. The steps become shorter in the last quarter.
# Every hundred steps, the network is compared with the exact solution.


def train(network, steps=2000, first_rate=3e-3):
    adam, errors = Adam(network.parameters), []
    for t in range(1, steps):
        _, gradients = loss_and_gradients(network)
        adam.learning_rate = first_rate * min(1, 4 * (1 - t / steps))
        adam.step(gradients)
        if t % 100 == 99:
            errors.append(
                np.linalg.norm(network.forward(x)[0] - exact) / np.linalg.norm(exact)
            )
    return errors


histories = {}
for seed in (0, 1, 2):
    network, start = (
        MLP((1, 20, 20, 1), activation="tanh", rng=seed, dtype=np.float64),
        time.perf_counter(),
    )
    histories[seed] = train(network)
    print(
        f"initialization {seed}: relative error {histories[seed][-1]:.1e} "
        f"after 2000 steps, {time.perf_counter() - start:.1f} s"
    )
worst = max(history[-1] for history in histories.values())
print(
    f"the largest of the three: {worst:.1e}, "
    f"{'below' if worst < 2e-4 else 'not below'} 2e-4"
)

# %%
# Left: the network (dots) and the exact solution, with the second derivative that was
# fitted. Right: the error during training, for three random initializations. It rises
# now and then while the steps are long.

(u, _, (u_xx,)), _ = network.taylor(x, along_x)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
left.plot(x, exact, color="#0b6e99", label="exact solution u")
left.plot(x[::4], u[::4], "o", color="#0b6e99", markersize=4, label="network")
left.plot(x, force / np.pi**2, color="#c4581a", label="right-hand side / π²")
left.plot(
    x[::4],
    u_xx[::4] / np.pi**2,
    "o",
    color="#c4581a",
    markersize=4,
    label="network's second derivative / π²",
)
left.set_xlabel("x")
left.legend(fontsize="small", loc="center")
for (seed, history), color in zip(
    histories.items(), ("#0b6e99", "#5a7d2a", "#7b4fa3"), strict=True
):
    right.semilogy(
        np.arange(100, 2001, 100), history, color=color, label=f"initialization {seed}"
    )
right.axhline(2e-4, color="gray", linestyle=":", label="2e-4")
right.set_xlabel("training steps")
right.set_ylabel("relative error of u (logarithmic)")
right.legend(fontsize="small")
