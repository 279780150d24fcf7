"""Constants that are float32 numbers."""

import numpy as np

from .._program import packed, program_values


class Float32Points:
    """Float32 numbers of an interval, at which programs are measured as they run in float32."""

    def __init__(self, problem, n):
        x = np.unique(np.linspace(problem.lo, problem.hi, n).astype(np.float32))
        self.x = x[(x >= problem.lo) & (x <= problem.hi)]
        if not self.x.size:
            raise ValueError(f"interval must hold a float32 (got {problem.lo}, {problem.hi})")
        _, self.target, self.weight = problem.at(self.x.astype(np.float64))

    def errors(self, program, rows):
        """The largest error of the program with each row of constants, shape (r, n_const)."""
        code, ends, constants = packed([program] * len(rows), np.float32)
        constants[:] = rows
        y = np.empty((len(rows), self.x.size), np.float32)
        program_values(code, ends, constants, self.x, y)
        with np.errstate(all="ignore"):
            worst = (np.abs(y - self.target) * self.weight).max(axis=1)
        return np.where(np.isnan(worst), np.inf, worst)


def rounded_to_float32(program, points, reach=2):
    """The program with float32 constants, and its error in float32, after a search of their
    neighbours for the smallest one."""
    with np.errstate(over="ignore"):
        constants = program.constants.astype(np.float32)
    if not np.isfinite(constants).all():
        raise ValueError("constants must fit float32 (got one that is too large)")
    best, improved = points.errors(program, constants[None])[0], True
    while improved:
        improved = False
        for i in range(constants.size):
            rows = np.repeat(constants[None], 2 * reach, axis=0)
            for half, end in ((rows[:reach], -np.inf), (rows[reach:], np.inf)):
                for step, row in enumerate(half):
                    row[i] = np.nextafter(
                        half[step - 1, i] if step else constants[i], np.float32(end)
                    )
            rows = rows[np.isfinite(rows).all(axis=1)]
            errors = points.errors(program, rows)
            if errors.min() < best:
                best, constants, improved = errors.min(), rows[np.argmin(errors)].copy(), True
    return program.with_constants(constants.astype(np.float64)), float(best)
