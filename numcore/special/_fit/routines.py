"""The best constants of a program, from several starts."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from ...arguments import RNG, DType, at_least, nonnegative
from ...dispatch import routine
from ...random import key_from_rng
from .._certify import CALLS_PYTHON
from .._program import Program, max_errors, packed, program_errors
from .evolution import polished_by_cma
from .float32 import Float32Points, rounded_to_float32
from .kernels import fit_programs
from .problem import Error, Problem

MAX_CONSTANTS = 32
N_POINTS, FLOAT32_POINTS = 513, 1 << 13

Method: TypeAlias = Literal["lm", "cma"]

GUESSES, RESTARTS, FINALISTS = 4096, 32, 4


@routine(host_only=CALLS_PYTHON)
def minimize_error(
    program: Program,
    target: Callable[..., Any],
    interval: tuple[float, float],
    *,
    method: Method = "lm",
    error: Error = "relative",
    eps: Annotated[float, nonnegative] = 0.0,
    max_iter: Annotated[int, at_least(1)] = 200,
    dtype: DType = np.float64,
    reach: Annotated[int, at_least(1)] = 2,
    rng: RNG = None,
) -> Program:
    """The program with the constants that minimize its largest error.

    Parameters
    ----------
    program : Program
        Its constants are where the search starts.
    target : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,), accurate to
        about one unit in the last place.
    interval : (float, float)
        Finite bounds, lo < hi.
    method : {"lm", "cma"}, default "lm"
        Levenberg–Marquardt steps with Lawson's reweighting, or the evolution strategy CMA-ES, which
        is slower and needs no derivatives (package `cma`, ``pip install numcore-kernels[evolve]``).
    error : {"relative", "absolute", "ulp32"}, default "relative"
        ``|p - f| / (eps + |f|)``, ``|p - f|``, or ``|p - f|`` in units in the last place of float32
        at f.
    eps : float >= 0, default 0.0
        For relative errors of functions with zeros.
    max_iter : int >= 1, default 200
        Rounds of reweighting, or generations of CMA-ES.
    dtype : dtype, float32 or float64, default float64
        float32 rounds the constants to it and goes on, one constant at a time, to neighbouring
        float32 numbers as long as that lowers the largest error of the program evaluated in
        float32.
    reach : int >= 1, default 2
        How many units in the last place that goes in one step.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the starting points: beside the program's constants, perturbed and random ones.

    Returns
    -------
    Program
        With the same code. It is no worse than the given program on the points of the search, 513
        Chebyshev points.

    Raises
    ------
    ValueError
        Bad bounds or options, a target that is not finite on the interval, relative error at a zero
        of the target with eps = 0, more than 32 constants.
    TypeError
        `program` is not a Program, `target` not a function from arrays to arrays of their shape, or
        `dtype` another type.
    ImportError
        CMA-ES is asked for and not installed.

    References
    ----------
    C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961. E. Real
    et al., arXiv 2312.08472.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import Program, minimize_error
    >>> line = Program([[2, 1, 0, 0], [0, 2, 3, 0]], [1.0, 1.0])
    >>> best = minimize_error(line, np.exp2, (0, 1), rng=0)
    >>> x = np.linspace(0, 1, 1000)
    >>> round(float(np.abs(best(x) / np.exp2(x) - 1).max()), 4)
    0.0298
    """
    problem = Problem(target, interval, error, eps)
    random = np.random.default_rng(key_from_rng(rng))
    own = len(program.constants)
    if own > MAX_CONSTANTS:
        raise ValueError(f"program must have at most {MAX_CONSTANTS} constants (got {own})")
    points = problem.points(N_POINTS)
    candidates = [program]
    if own and method == "cma":
        candidates.append(polished_by_cma(program, points, max_iter, random))
    elif own:
        few = problem.points(N_POINTS // 8 + 1)
        begun = fit(
            [program] * RESTARTS,
            starts(program, few, RESTARTS, GUESSES, random),
            few,
            steps=100,
            rounds=1,
        )
        begun = [q for q, _ in sorted(begun, key=lambda pair: pair[1])[:FINALISTS]]
        candidates += [
            q
            for q, _ in fit(
                begun, [q.constants for q in begun], points, steps=1000, rounds=max_iter
            )
        ]
    best = candidates[int(np.argmin(max_errors(candidates, *points)))]
    return (
        rounded_to_float32(best, Float32Points(problem, FLOAT32_POINTS), reach)[0]
        if dtype == np.float32
        else best
    )


def starts(program, points, count, guesses, random):
    """Where the search for constants begins: the given ones, and the best of many guesses, a
    quarter of them near the given ones."""
    given = program.constants
    near = given * (1 + 0.3 * random.standard_normal((guesses // 4, len(given))))
    constants = np.concatenate(
        [near, random_constants(random, (guesses - guesses // 4, len(given)))]
    )
    code, ends, _ = packed([program])
    errors = np.empty(guesses)
    program_errors(
        np.repeat(code, guesses, axis=0),
        np.repeat(ends, guesses, axis=0),
        constants,
        *points,
        errors,
    )
    return np.concatenate([given[None], constants[np.argsort(errors, kind="stable")[: count - 1]]])


def random_constants(random, shape):
    """±2^u with u uniform in (-4, 4)."""
    return np.exp2(random.uniform(-4, 4, shape)) * np.where(random.random(shape) < 0.5, -1, 1)


def fit(programs, starts, points, *, steps, rounds):
    """Programs with fitted constants.

    Parameters
    ----------
    programs : list of Program
    starts : sequence of array
        The constants that each program starts with.
    points : (x, target, weight)
    steps : int
        Levenberg–Marquardt steps before the first reweighting.
    rounds : int
        Rounds of reweighting.

    Returns
    -------
    list of (Program, float)
        Each with its largest error at the points.
    """
    code, ends, constants = packed(programs)
    counts = np.array([len(q.constants) for q in programs], np.int32)
    for row, start in zip(constants, starts, strict=True):
        row[: len(start)] = start
    errors = np.empty(len(programs))
    fit_programs(code, ends, counts, constants, *points, steps, rounds, errors)
    return [
        (q.with_constants(row[:n]) if np.isfinite(row[:n]).all() else q, float(e))
        for q, row, n, e in zip(programs, constants, counts, errors, strict=True)
    ]
