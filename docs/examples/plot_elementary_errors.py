"""
How wrong are elementary functions?
===================================

A float32 result is one of some four thousand million numbers, and the exact result lies between two
of them. The distance between these two is called a *unit in the last place*, or ulp: a perfectly
rounded result is off by at most half an ulp. This program takes random float32 numbers of every
magnitude, negative ones too, and compares numcore's functions and those that one would use
otherwise (NumPy's, or SciPy's where NumPy has none) with the same function in float64.
"""

# %%
# One plot for each function. An input's magnitude is its exponent: the k in 1.5 × 2\ :sup:`k`. Each
# point is the largest error among the inputs of that exponent.

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
    """The largest error at each exponent. Inputs whose exact result is NaN or too large for float32
    are left out."""
    with np.errstate(all="ignore"):
        errors = ulp_error(function(inputs), exact)
        errors[~np.isfinite(exact.astype(np.float32))] = 0
    return errors.max(axis=1)


figure, grid = plt.subplots(4, 3, figsize=(11, 11), sharex=True, layout="constrained")
worst = {}
for name, axes in zip(NAMES, grid.flat, strict=True):
    ours = getattr(numcore.special, name)
    case = example(next(routine for routine in numcore.routines() if routine.name == name))
    peer_name, peer = case.peer
    exact = case.reference(inputs)
    worst[name] = largest_errors(ours, exact), largest_errors(lambda x, peer=peer: peer(x=x), exact)
    axes.plot(
        exponents,
        worst[name][1],
        color="#c4581a",
        linewidth=1,
        label="SciPy" if "scipy" in peer_name else "NumPy",
    )
    axes.plot(exponents, worst[name][0], color="#0b6e99", linewidth=1.5, label="numcore")
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_title(name)
    highest = max(map(np.max, worst[name]))
    axes.set_ylim(0, 1.4 * max(1, min(3, highest)))  # room for the legend
    if highest > axes.get_ylim()[1]:
        axes.set_title(f"{name} (orange: up to {highest:.1g})")
    axes.legend(loc="upper left", fontsize="small", ncols=2)
figure.supxlabel(
    "exponent k of the input (the input is between 2$^k$ and 2$^{k+1}$, of either sign)"
)
figure.supylabel("largest error, units in the last place (dotted: 0.5, perfect rounding)")

# %%
# The same in numbers. Where the promise, :func:`~numcore.special.max_ulp_error`, comes from every
# float32 there is, no sample can find a larger error. The huge error of SciPy's sigmoid is a zero
# where the exact result is very small, but still a float32 number.

print(f"{'function':10} {'numcore':>8} {'promised':>9} {'NumPy or SciPy':>15}")
for name, (ours, peers) in worst.items():
    contract = max_ulp_error(name, "float32")
    assert ours.max() <= contract.max_ulp or not contract.exhaustive, name
    print(f"{name:10} {ours.max():8.3f} {contract.max_ulp:9.3f} {peers.max():15.3f}")
