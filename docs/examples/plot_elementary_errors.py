"""
Measured error bounds: how accurate are elementary functions?
=============================================================

The exact value of a function lies between two float32 numbers. The distance between
these is called a *unit in the last place* (ulp): a perfectly rounded result is off by
at most half an ulp. This page evaluates the functions of numcore, and those of NumPy or
SciPy, at random float32 numbers of every magnitude and both signs, compares them with a
float64 computation, and checks the bounds of :func:`~numcore.special.max_ulp_error`.
"""

# %%
# There is one plot per function. The magnitude of an input is its exponent, the k in
# 1.5 × 2\ :sup:`k`. Each point is the largest error over the inputs with that exponent.

import matplotlib.pyplot as plt
import numpy as np

import numcore
from numcore.examples import example
from numcore.special import max_ulp_error, ulp_error

MANTISSAS = 600  # random inputs for each exponent and sign

NAMES = [
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log1p",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "softplus",
    "erf",
]
exponents = np.arange(-126, 128)
mantissas = np.random.default_rng(0).uniform(1, 2, (len(exponents), MANTISSAS))
positive = np.ldexp(mantissas, exponents[:, None]).astype(np.float32)
inputs = np.concatenate([positive, -positive], axis=1)


def largest_errors(function, exact):
    """The largest error at each exponent, without inputs whose exact result is NaN
    or exceeds float32."""
    with np.errstate(all="ignore"):
        errors = ulp_error(function(inputs), exact)
        errors[~np.isfinite(exact.astype(np.float32))] = 0
    return errors.max(axis=1)


figure, grid = plt.subplots(4, 3, figsize=(11, 11), sharex=True, layout="constrained")
worst = {}
for name, axes in zip(NAMES, grid.flat, strict=True):
    ours = getattr(numcore.special, name)
    case = example(
        next(routine for routine in numcore.routines() if routine.name == name)
    )
    baseline_name, baseline = case.peer
    exact = case.reference(inputs)
    worst[name] = (
        largest_errors(ours, exact),
        largest_errors(lambda x, baseline=baseline: baseline(x=x), exact),
    )
    axes.plot(
        exponents,
        worst[name][1],
        color="#c4581a",
        linewidth=1,
        label="SciPy" if "scipy" in baseline_name else "NumPy",
    )
    axes.plot(
        exponents, worst[name][0], color="#0b6e99", linewidth=1.5, label="numcore"
    )
    axes.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    axes.set_title(name)
    highest = max(map(np.max, worst[name]))
    axes.set_ylim(0, 1.4 * max(1, min(3, highest)))  # room for the legend
    if highest > axes.get_ylim()[1]:
        axes.set_title(f"{name} (orange: up to {highest:.1g})")
    axes.legend(loc="upper left", fontsize="small", ncols=2)
figure.supxlabel(
    "exponent k of the input (the input is between 2$^k$ and 2$^{k+1}$, of either sign)"
)
figure.supylabel(
    "largest error, units in the last place (dotted: 0.5, perfect rounding)"
)

# %%
# The same in numbers. Where the promised bound of
# :func:`~numcore.special.max_ulp_error` was measured over every float32 number, no
# sample can exceed it. The huge error of SciPy's sigmoid is a zero where the exact
# result is tiny but still a float32 number.

print(f"{'function':10} {'numcore':>8} {'promised':>9} {'NumPy or SciPy':>15}")
for name, (ours, others) in worst.items():
    contract = max_ulp_error(name, "float32")
    assert ours.max() <= contract.max_ulp or not contract.exhaustive, name
    print(f"{name:10} {ours.max():8.3f} {contract.max_ulp:9.3f} {others.max():15.3f}")
