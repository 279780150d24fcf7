"""Constants found by the evolution strategy CMA-ES."""

import math

import numpy as np

from .._program import max_errors, packed, program_errors


def polished_by_cma(program, points, max_iter, random):
    """The program with constants found by CMA-ES: 128 candidates in a generation, stopped when half
    of all have brought nothing."""
    try:
        import cma
    except ImportError:
        raise ImportError(
            "CMA-ES needs the package cma: pip install numcore-kernels[evolve]"
        ) from None
    if len(program.constants) < 2:  # it needs two dimensions
        return program
    code, ends, constants = packed([program] * 128)
    errors = np.empty(128)
    scale = np.maximum(np.abs(program.constants), 1.0)
    best, best_error = program.constants, max_errors([program], *points)[0]

    # `randn` and a seed of NaN keep it from touching NumPy's global random state.
    search = cma.CMAEvolutionStrategy(
        program.constants / scale,
        0.1,
        {
            "popsize": 128,
            "verbose": -9,
            "seed": math.nan,
            "randn": lambda *shape: random.standard_normal(shape),
            "maxiter": max_iter,
        },
    )
    since = 0
    for generation in range(max_iter):
        candidates = np.array(search.ask())
        constants[:] = candidates * scale
        program_errors(code, ends, constants, *points, errors)
        least = int(np.argmin(errors))
        if errors[least] < best_error:
            best, best_error, since = constants[least].copy(), errors[least], generation
        search.tell(list(candidates), np.log(np.clip(errors, 1e-300, 1e300)).tolist())
        if generation - since > max(100, generation / 2) or search.stop():
            break
    return program.with_constants(best)
