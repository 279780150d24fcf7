"""
Learning permutations: how many networks are needed?
====================================================

A network is trained on the k inputs in which a single bit is one; the target is the
same bit moved to another position. Can it then permute the bits of *every* input, all
2ᵏ - 1 of them? A single network cannot, but the mean of many wide networks can, and
:func:`~numcore.nn.ensemble_size` tells in advance how many are needed. The outputs of
wide networks with random initial weights, trained by small steps, are normally
distributed. Their mean is known in closed form: it is positive for each one of the
permuted input and negative for each zero.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from numcore.nn import (
    PermutationEnsemble,
    ensemble_size,
    permutation_mean,
    permutation_variance,
)

K, SEED = 8, 0
rng = np.random.default_rng(SEED)
order = rng.permutation(K)
basis = np.eye(K)
images = basis[order]  # the basis vector with bit i becomes the one with bit order[i]
inputs = np.array(
    [bits for bits in itertools.product((0, 1), repeat=K) if any(bits)], np.uint8
)
answers = inputs[:, np.argsort(order)]
n_ones = inputs.sum(axis=1).astype(int)

# %%
# First, real networks: 40 of them with 4000 hidden units each, trained by gradient
# descent on the eight examples. For inputs with three ones, their outputs at positions
# of ones and zeros are compared with the theory of infinitely wide networks.

trained = PermutationEnsemble(n_models=40, width=4000, rng=SEED).fit(basis, images)
three = n_ones == 3
outputs = trained.member_outputs(inputs[three] / np.sqrt(3))
ones = outputs[:, answers[three] == 1].ravel()
zeros = outputs[:, answers[three] == 0].ravel()
mu_one, mu_zero = permutation_mean(3, K)
sigma = np.sqrt(permutation_variance(3, K))
print(
    f"trained in {trained.n_iter_} steps; "
    f"where a one belongs: mean {ones.mean():.4f}, theory {mu_one:.4f}; "
    f"where a zero belongs: mean {zeros.mean():.4f}, theory {mu_zero:.4f}; "
    f"standard deviation {np.sqrt((ones.var() + zeros.var()) / 2):.4f}, "
    f"theory {sigma:.4f}"
)

# %%
# The mean for zeros is only slightly negative, and a single network deviates much from
# it. That is why many networks must be averaged. With outputs drawn from the
# theoretical distribution, ensembles of increasing size answer all 255 inputs; an
# ensemble succeeds if all 255 × 8 bits are correct. The theorem uses a threshold of 0;
# a threshold at the midpoint of the two known means needs far fewer networks.

sizes = {
    "zero": np.array([10, 30, 100, 200, 300, 500, 1000]),
    "midpoint": np.array([1, 2, 3, 5, 10, 30]),
}
success = {}
for threshold, numbers in sizes.items():
    runs = [
        [
            PermutationEnsemble(
                n_models=int(n), width=1, mode="sample", threshold=threshold, rng=seed
            )
            .fit(basis, images)
            .predict(inputs)
            for seed in range(10)
        ]
        for n in numbers
    ]
    success[threshold] = [
        np.mean([np.array_equal(result, answers) for result in results])
        for results in runs
    ]
enough = {
    threshold: ensemble_size(K, delta=0.05, threshold=threshold) for threshold in sizes
}
for threshold, numbers in sizes.items():
    print(
        f"threshold {threshold}: all 255 answers correct in "
        f"{dict(zip(numbers.tolist(), success[threshold], strict=True))} of 10 runs; "
        f"{enough[threshold]} networks suffice for 95 %"
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
bins = np.linspace(-0.5, 1, 120)
grid = np.linspace(-0.5, 1, 400)
for values, mean, name, color in (
    (zeros, mu_zero, "a zero belongs", "#c4581a"),
    (ones, mu_one, "a one belongs", "#0b6e99"),
):
    left.hist(
        values,
        bins,
        density=True,
        color=color,
        alpha=0.4,
        label=f"40 networks, where {name}",
    )
    left.plot(
        grid,
        np.exp(-(((grid - mean) / sigma) ** 2) / 2) / sigma / np.sqrt(2 * np.pi),
        color=color,
        label="theory",
    )
left.axvline(0, color="gray", linestyle=":")
left.set_xlabel("output of a single network, inputs with three ones")
left.set_ylabel("density")
left.set_ylim(0, 5.5)
left.legend(fontsize=8, loc="upper center")
for (threshold, numbers), color in zip(
    sizes.items(), ("#0b6e99", "#5a7d2a"), strict=True
):
    right.plot(
        numbers, success[threshold], "o-", color=color, label=f"threshold: {threshold}"
    )
    right.axvline(
        enough[threshold],
        color=color,
        linestyle=":",
        label=f"{enough[threshold]} suffice by the bound",
    )
right.set_xscale("log")
right.set_ylim(-0.05, 1.6)
right.set_xlabel("networks in the ensemble")
right.set_ylabel("share of runs with all 255 answers correct")
right.legend(fontsize=8, loc="upper left")

# %%
# The number of networks as a function of the number of bits: it grows slowly for one
# input, and faster for all inputs at once, but much more slowly than the number of
# inputs.

bits = np.array([8, 16, 32, 64, 128])
for_one = [ensemble_size(int(k), delta=0.05, n_ones=2) for k in bits]
for_all = [ensemble_size(int(k), delta=0.05) for k in bits]
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.loglog(bits, for_one, "o-", color="#7b4fa3", label="one input with two ones")
axes.loglog(bits, for_all, "o-", color="#0b6e99", label="all inputs at once")
axes.set_xlabel("bits")
axes.set_ylabel("networks for a probability of 95 %")
axes.legend()
print("bits:", bits.tolist(), "networks for one input:", for_one, "for all:", for_all)
