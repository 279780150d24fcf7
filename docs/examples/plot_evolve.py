"""
Evolution of approximations: how few operations does exp2 need?
===============================================================

On [0, 1], 2\\ :sup:`x` can be approximated by a polynomial: each degree costs a
multiplication and an addition, and reduces the error by a factor of thirty. Other forms
are better, but which? :func:`~numcore.special.evolve` only sees values of the function.
It mutates programs of additions, subtractions, multiplications and divisions, fits
their constants, and keeps the most accurate program of each size.
"""

# %%
# A short search over 6000 programs, compared with textbook approximations: Taylor
# polynomials about the middle of the interval, minimax polynomials (with constants from
# :func:`~numcore.special.minimize_error`), and Padé approximants.

import math
import timeit

import matplotlib.pyplot as plt
import numpy as np

from numcore.special import Program, certify_program, evolve, exp2, minimize_error

# opcodes; an instruction is (opcode, register, register, register)
ADD, SUB, MUL, DIV, FMA = range(5)

front = evolve(np.exp2, (0, 1), max_ops=8, budget=6000, rng=1)
print(front)


def horner(coefficients):
    """c1 + x (c2 + x (c3 + …)): registers are x, coefficients, results."""
    degree = len(coefficients) - 1
    code, last = [], degree + 1
    for i in range(degree):
        code += [[MUL, last, 0, 0], [ADD, degree + 2 + 2 * i, degree - i, 0]]
        last = degree + 3 + 2 * i
    return Program(code, coefficients)


def largest_error(function):
    x = np.linspace(0, 1, 20_001)
    return np.abs(function(x) / np.exp2(x) - 1).max()


def taylor(degree):
    middle = math.sqrt(2) * np.polynomial.Polynomial(
        [math.log(2) ** i / math.factorial(i) for i in range(degree + 1)]
    )
    return middle(np.polynomial.Polynomial([-0.5, 1]))


def pade(degree):
    """The Padé approximant of exp((x - 1/2) ln 2). Divided by the leading coefficients,
    it takes 4 operations per degree."""
    terms = [
        math.comb(degree, i)
        * math.factorial(2 * degree - i)
        / math.factorial(2 * degree)
        for i in range(degree + 1)
    ]
    numerator = np.polynomial.Polynomial(terms)
    return lambda x: (
        math.sqrt(2)
        * numerator((x - 0.5) * math.log(2))
        / numerator((0.5 - x) * math.log(2))
    )


degrees = range(1, 5)
rows = {
    "Taylor polynomial": (
        [2 * d for d in degrees],
        [largest_error(taylor(d)) for d in degrees],
    ),
    "minimax polynomial": (
        [2 * d for d in degrees],
        [
            largest_error(
                minimize_error(horner(np.ones(d + 1)), np.exp2, (0, 1), rng=0)
            )
            for d in degrees
        ],
    ),
    "Padé approximant": (
        [4 * d for d in (1, 2)],
        [largest_error(pade(d)) for d in (1, 2)],
    ),
}
figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
for (name, (n_ops, errors)), marker, color in zip(
    rows.items(), "sD^", ("#9aa5b1", "#c4581a", "#7a5195"), strict=True
):
    axes.plot(
        n_ops,
        errors,
        marker=marker,
        linewidth=1,
        linestyle=":",
        color=color,
        label=name,
    )
axes.step(
    front.n_ops,
    front.errors,
    where="post",
    color="#0b6e99",
    linewidth=1.8,
    marker="o",
    label="found by evolve",
)
axes.set_yscale("log")
axes.set_xlabel("operations")
axes.set_ylabel("largest relative error on [0, 1] (logarithmic)")
axes.legend()

# %%
# The front improves during the search. Each point is a program that was better than all
# earlier programs of at most its size.

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
points = axes.scatter(
    front.history[:, 0],
    front.history[:, 2],
    c=front.history[:, 1],
    cmap="viridis",
    s=25,
)
axes.set_xscale("symlog", linthresh=10)
axes.set_yscale("log")
axes.set_xlabel("programs fitted so far")
axes.set_ylabel("largest relative error")
figure.colorbar(points, label="operations")

# %%
# **From a program to a kernel.** A longer search for fast float32 code found this
# program. It used fused multiply-adds and errors in units in the last place of
# float32::
#
#     settings = {"error": "ulp32", "dtype": np.float32}
#     front = evolve(
#         np.exp2, (0, 1), ops=("mul", "fma"), max_ops=7, population=(10, 20),
#         budget=32_000, rng=1, **settings
#     )
#     found = minimize_error(front.best(6), np.exp2, (0, 1), rng=0, **settings)
#
# It is a polynomial of degree 6, although the search knows nothing about polynomials.
# Its error over all 1 065 353 217 float32 numbers from 0 to 1 is at most 0.909 ulp. To
# save time, only the numbers from 1/2 to 1 are checked here.

found = Program(
    [
        [FMA, 1, 0, 2],
        [FMA, 8, 0, 3],
        [FMA, 9, 0, 4],
        [FMA, 0, 10, 5],
        [FMA, 11, 0, 6],
        [FMA, 0, 12, 7],
    ],
    [
        0.00021889089839532971,
        0.0012384344590827823,
        0.009684971533715725,
        0.0554802268743515,
        0.240230530500412,
        0.6931469440460205,
        1.0,
    ],
)
print(certify_program(found, np.exp2, (0.5, 1.0)))

# %%
# A compiled program works on arrays, and on scalars inside ``numba.njit`` code. Its
# source is available in Python and in CUDA C++.

f = found.compile(np.float32)
x = np.linspace(0, 1, 1_000_000, dtype=np.float32)
assert np.abs(f(x) - exp2(x)).max() <= 2**-22  # both are off by less than one ulp
print(found.to_source("exp2_between_0_and_1"))
print(found.to_cuda("exp2_between_0_and_1"))

# %%
# The error over the interval: NumPy's function is almost perfectly rounded, and
# numcore's accepts any argument. The program only has to work on [0, 1] and is the
# fastest of the three.

x = np.sort(np.random.default_rng(0).uniform(0, 1, 200_000).astype(np.float32))
x = x[x < 1]
exact = np.exp2(x.astype(np.float64))
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for name, function, color in (
    ("numpy.exp2", np.exp2, "#c4581a"),
    ("numcore.special.exp2", exp2, "#7a5195"),
    ("found", f, "#0b6e99"),
):
    seconds = min(
        timeit.repeat(lambda function=function: function(x), number=1, repeat=20)
    )
    print(f"{name}: {len(x) / seconds / 1e9:.2f} numbers per nanosecond")
    errors = np.abs(function(x) - exact) * 2.0**23
    edges = np.linspace(0, 1, 201)
    worst = np.maximum.reduceat(errors, np.searchsorted(x, edges[:-1]))
    axes.step(edges[:-1], worst, where="post", color=color, label=name)
axes.axhline(0.5, color="gray", linewidth=0.8, linestyle=":", label="perfect rounding")
axes.set_xlabel("x")
axes.set_ylabel("largest error, units in the last place")
axes.set_ylim(bottom=0)
axes.legend()
