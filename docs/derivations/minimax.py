"""Refit the polynomials of numcore.special, and those of GELU and of the arc sine in numcore.nn,
and print coefficients and errors.

    python docs/derivations/minimax.py [NAME ...]

Each fit minimizes max |w(x) (g(x) - p(x))| over an interval by the Remez exchange on a Chebyshev
grid, in 50-digit arithmetic. The printed error is that of the polynomial with its coefficients
rounded to the type that the functions use.
"""

import argparse

import mpmath
import numpy as np

mpmath.mp.dps = 50
GRID = 1500


def exchange(basis, target, weight):
    """Coefficients c that minimize max |weight * (target - basis @ c)| over the rows, by multiple
    exchange."""
    rows, n = basis.shape
    reference = np.unique(np.round(np.linspace(0, rows - 1, n + 1)).astype(int))
    best = mpmath.inf
    for _ in range(40):
        system = mpmath.matrix(n + 1, n + 1)
        right = mpmath.matrix(n + 1, 1)
        for i, row in enumerate(reference):
            for j in range(n):
                system[i, j] = basis[row, j]
            system[i, n] = (-1) ** i / weight[row]
            right[i] = target[row]
        solution = mpmath.lu_solve(system, right)
        coefficients = np.array([solution[j] for j in range(n)])
        error = weight * (target - basis @ coefficients)
        largest = np.max(np.abs(error))
        if largest < best:
            best, best_coefficients = largest, coefficients
        if largest < abs(solution[n]) * mpmath.mpf("1.0001"):
            break
        reference = alternating_extrema(error, n + 1)
        if reference is None:
            break
    return best_coefficients, best


def alternating_extrema(error, count):
    """Rows of `count` consecutive extrema of alternating sign that contain the largest, or None if
    there are fewer."""
    signs = np.array([1 if e > 0 else -1 for e in error])
    runs = np.split(np.arange(len(error)), np.flatnonzero(np.diff(signs)) + 1)
    peaks = [int(run[np.argmax(np.abs(error[run]))]) for run in runs]
    while len(peaks) > count:
        peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
    return np.array(peaks) if len(peaks) == count else None


def fit(function, weight, lo, hi, degree, dtype, variable=lambda x: x):
    """Fit function(x) by a polynomial in variable(x) of that degree with coefficients of a dtype.

    Returns the rounded coefficients, the error of the real polynomial, and the error of the rounded
    one.
    """
    nodes = [
        (lo + hi) / 2 - (hi - lo) / 2 * mpmath.cos(mpmath.pi * (i + 0.5) / GRID)
        for i in range(GRID)
    ]
    nodes = [x for x in nodes if x != 0]
    powers = np.array([[variable(x) ** j for j in range(degree + 1)] for x in nodes])
    target = np.array([function(x) for x in nodes])
    weights = np.array([abs(weight(x)) for x in nodes])
    coefficients, real_error = exchange(powers, target, weights)
    rounded = [round_to(c, dtype) for c in coefficients]
    error = np.max(np.abs(weights * (target - powers @ np.array(rounded))))
    return rounded, real_error, error


def round_to(x, dtype):
    """The nearest number of a dtype, as an mpf."""
    with mpmath.workprec(24 if dtype is np.float32 else 53):
        return +x


exp, log, log1p, erf, erfc = mpmath.exp, mpmath.log, mpmath.log1p, mpmath.erf, mpmath.erfc
sin, cos, tanh, atanh, asin, pi = (
    mpmath.sin,
    mpmath.cos,
    mpmath.tanh,
    mpmath.atanh,
    mpmath.asin,
    mpmath.pi,
)
half_ln2 = mpmath.mpf("0.3473")  # ln(2) / 2 and what the rounding of n may add


def square(x):
    return x * x


mills_step = mpmath.mpf("0.21")


def mills(t):
    """Phi(-a) exp(a**2 / 2) / t at t = 1 / (1 + 0.21 a), Phi the distribution function of the
    normal distribution."""
    a = (1 / t - 1) / mills_step
    return exp(a * a / 2) * erfc(a / mpmath.sqrt(2)) / 2 / t


def atanh_tail(s):
    """log((1 + s) / (1 - s)) / s - 2, a function of s**2."""
    return 2 * atanh(s) / s - 2


zero = mpmath.mpf("1e-6")  # where quotients that vanish at 0 are still precise
number = mpmath.mpf

FITS = {
    # name: (function, weight, lo, hi, degree, dtype, variable)
    "exp_float32": (
        lambda r: (exp(r) - 1 - r) / r**2,
        lambda r: r**2 / exp(r),
        -half_ln2,
        half_ln2,
        5,
        np.float32,
    ),
    "exp_float64": (
        lambda r: (exp(r) - 1 - r) / r**2,
        lambda r: r**2 / exp(r),
        -half_ln2,
        half_ln2,
        10,
        np.float64,
    ),
    "log_float32": (
        lambda f: (log1p(f) - f + f**2 / 2) / f**3,
        lambda f: f**3 / log1p(f),
        -number(1) / 3,
        number(1) / 3,
        7,
        np.float32,
    ),
    "log_float64": (
        lambda s: atanh_tail(s) / s**2,
        lambda s: s**3 / atanh(s) / 2,
        zero,
        number("0.17158"),
        6,
        np.float64,
        square,
    ),
    "sin_turns": (
        lambda f: sin(pi / 2 * f) / f,
        lambda f: f / sin(pi / 2 * f),
        zero,
        number("0.51"),
        4,
        np.float64,
        square,
    ),
    "cos_turns": (
        lambda f: cos(pi / 2 * f),
        lambda f: 1 / cos(pi / 2 * f),
        zero,
        number("0.51"),
        4,
        np.float64,
        square,
    ),
    "sin_float64": (
        lambda r: (sin(r) - r) / r**3,
        lambda r: r**3 / sin(r),
        zero,
        number("0.7855"),
        6,
        np.float64,
        square,
    ),
    "cos_float64": (
        lambda r: (cos(r) - 1 + r**2 / 2) / r**4,
        lambda r: r**4 / cos(r),
        zero,
        number("0.7855"),
        5,
        np.float64,
        square,
    ),
    "tanh_float32": (
        lambda x: (tanh(x) - x) / x**3,
        lambda x: x**3 / tanh(x),
        zero,
        number("0.7"),
        5,
        np.float32,
        square,
    ),
    "tanh_float64": (
        lambda x: (tanh(x) - x) / x**3,
        lambda x: x**3 / tanh(x),
        zero,
        number("0.6"),
        11,
        np.float64,
        square,
    ),
    "erf_float32": (
        lambda x: erf(x) / x - 1,
        lambda x: x / erf(x),
        zero,
        number(1),
        6,
        np.float32,
        square,
    ),
    "erf_float64": (
        lambda x: erf(x) / x - 1,
        lambda x: x / erf(x),
        zero,
        number(1),
        12,
        np.float64,
        square,
    ),
    "log_erfc_float32": (
        lambda x: log(erfc(x)) / x,
        lambda x: x * erfc(x) / erf(x),
        number(1),
        number(4),
        7,
        np.float32,
    ),
    "bell_float32": (
        lambda r: (exp(r) - 1 - r) / r**2,
        lambda r: r**2 / exp(r),
        -half_ln2,
        half_ln2,
        4,
        np.float32,
    ),
    "mills_float32": (
        mills,
        lambda t: 1 / mills(t),
        1 / (1 + mills_step * number("14.2")),
        number(1),
        8,
        np.float32,
    ),
    "log_erfc_float64": (
        lambda x: log(erfc(x)) / x,
        lambda x: x * erfc(x) / erf(x),
        number(1),
        number(6),
        17,
        np.float64,
    ),
    "asin_float32": (
        lambda x: (asin(x) - x) / x**3,
        lambda x: x**3 / asin(x),
        zero,
        number("0.5"),
        4,
        np.float32,
        square,
    ),
    "asin_float64": (
        lambda x: (asin(x) - x) / x**3,
        lambda x: x**3 / asin(x),
        zero,
        number("0.5"),
        11,
        np.float64,
        square,
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which fits (default: all): {', '.join(FITS)}"
    )
    for name in parser.parse_args().names or FITS:
        coefficients, real, error = fit(*FITS[name])
        print(
            f"{name}: minimax error {mpmath.nstr(real, 3)}, with rounded coefficients "
            f"{mpmath.nstr(error, 3)}"
        )
        for j, c in enumerate(coefficients):
            print(f"    [{j}] {np.float32(c) if FITS[name][5] is np.float32 else float(c)!r}")


if __name__ == "__main__":
    main()
