"""The best constants of a program: Levenberg–Marquardt steps inside Lawson's reweighting, or
CMA-ES.

Wanted are constants c that minimise max_j w_j |p(x_j; c) - f(x_j)|. Lawson's iteration replaces the
maximum by weighted sums of squares, sum_j l_j w_j² (p(x_j; c) - f(x_j))², and multiplies each l_j
by its error after every round, so that the weight gathers where the error is largest. Each sum is
minimised by Levenberg–Marquardt steps. The derivatives by all constants come from one sweep back
through the program, at the cost of about three evaluations whatever their number.

C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961; J. J. Moré,
"The Levenberg–Marquardt algorithm: implementation and theory", 1978; N. Hansen, "The CMA evolution
strategy: a tutorial", arXiv 1604.00772.
"""

import math
import operator

import numpy as np

from ..dispatch import checked_dtype
from ..kernel import kernel
from ..random import key_from_rng
from ..simd import dot
from ._program import (
    DIV,
    Program,
    max_errors,
    packed,
    program_errors,
    program_values,
    run_instruction,
    within,
)

HOST_ONLY = "programs are fitted within a search that runs on the host"
MAX_CONSTANTS = 32
N_POINTS, FLOAT32_POINTS = 513, 1 << 13
ERRORS = ("relative", "absolute", "ulp32")
GUESSES, RESTARTS, FINALISTS = 4096, 32, 4


def minimize_error(
    program,
    target,
    interval,
    *,
    method="lm",
    error="relative",
    eps=0.0,
    max_iter=200,
    dtype=np.float64,
    reach=2,
    rng=None,
):
    """The program with the constants that minimise its largest error.

    Parameters
    ----------
    program : Program
        Its constants are where the search starts.
    target : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,), accurate to
        about one unit in the last place.
    interval : (float, float)
        Finite bounds, lo < hi.
    method : {"lm", "cma"}
        Levenberg–Marquardt steps with Lawson's reweighting, or the evolution strategy CMA-ES, which
        is slower and needs no derivatives (package `cma`, ``pip install numcore-kernels[evolve]``).
    error : {"relative", "absolute", "ulp32"}
        ``|p - f| / (eps + |f|)``, ``|p - f|``, or ``|p - f|`` in units in the last place of float32
        at f.
    eps : float
        For relative errors of functions with zeros.
    max_iter : int
        Rounds of reweighting, or generations of CMA-ES.
    dtype : float64 or float32
        float32 rounds the constants to it and goes on, one constant at a time, to neighbouring
        float32 numbers as long as that lowers the largest error of the program evaluated in
        float32.
    reach : int
        How many units in the last place that goes in one step.
    rng : None, int or numpy.random.Generator
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
        `program` is no Program, `target` no function from arrays to arrays of their shape, or
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
    if not isinstance(program, Program):
        raise TypeError(f"program must be a Program (got {type(program).__name__})")
    if method not in ("lm", "cma"):
        raise ValueError(f"method must be 'lm' or 'cma' (got {method!r})")
    max_iter, reach = checked_count("max_iter", max_iter), checked_count("reach", reach)
    dtype = checked_dtype(dtype)
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


# --- the problem ----------------------------------------------------------------------------------


class Problem:
    """A target on an interval, and how errors are weighed."""

    def __init__(self, target, interval, error="relative", eps=0.0):
        if not callable(target):
            raise TypeError(f"target must be callable (got {type(target).__name__})")
        if error not in ERRORS:
            raise ValueError(f"error must be one of {', '.join(ERRORS)} (got {error!r})")
        self.lo, self.hi = checked_interval(interval)
        try:
            eps = float(eps)
        except (TypeError, ValueError):
            raise TypeError(f"eps must be a number (got {eps!r})") from None
        if not 0 <= eps < math.inf:
            raise ValueError(f"eps must satisfy 0 <= eps < inf (got {eps})")
        self.target, self.error, self.eps = target, error, eps

    def points(self, n):
        """(x, f(x), weight) at n Chebyshev points, the ends of the interval among them."""
        middle, half = 0.5 * self.lo + 0.5 * self.hi, 0.5 * self.hi - 0.5 * self.lo
        x = middle - half * np.cos(np.pi * np.arange(n) / (n - 1))
        x[0], x[-1] = self.lo, self.hi
        return self.at(np.clip(x, self.lo, self.hi))

    def even_points(self, n):
        """(x, f(x), weight) at n evenly spaced points."""
        return self.at(np.linspace(self.lo, self.hi, n))

    def at(self, x):
        f = self.values(x)
        if self.error == "absolute":
            return x, f, np.ones_like(f)
        if self.error == "ulp32":
            return x, f, 1 / ulp_of(f, np.float32)
        size = self.eps + np.abs(f)
        zero = size == 0
        if self.eps == 0:
            zero[1:] |= np.signbit(f[1:]) != np.signbit(f[:-1])
        if zero.any():
            raise ValueError(
                f"relative error needs eps > 0 where target has a zero (got f({x[zero][0]}) = "
                f"{f[zero][0]})"
            )
        return x, f, 1 / size

    def values(self, x):
        with np.errstate(all="ignore"):
            f = np.asarray(self.target(x.copy()))
        if f.shape != x.shape or f.dtype.kind not in "iuf":
            raise TypeError(
                f"target must return an array of real numbers of shape {x.shape} (got {f.dtype} of "
                f"shape {f.shape})"
            )
        f = f.astype(np.float64)
        bad = ~np.isfinite(f)
        if bad.any():
            raise ValueError(
                f"target must be finite on the interval (got f({x[bad][0]}) = {f[bad][0]})"
            )
        return f


def ulp_of(t, dtype):
    """The unit in the last place of a dtype at the numbers t, as float64."""
    info = np.finfo(dtype)
    exponent = np.maximum(np.frexp(t)[1] - 1, info.minexp)
    return np.ldexp(1.0, np.where(t == 0, info.minexp, exponent) - info.nmant)


def checked_interval(interval):
    try:
        lo, hi = map(float, interval)
    except (TypeError, ValueError):
        raise TypeError(f"interval must be a pair of numbers (got {interval!r})") from None
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise ValueError(f"interval must satisfy -inf < lo < hi < inf (got {lo}, {hi})")
    return lo, hi


def checked_count(name, value, least=1):
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer (got {value!r})") from None
    if value < least:
        raise ValueError(f"{name} must satisfy {name} >= {least} (got {value})")
    return value


# --- Levenberg–Marquardt with Lawson's reweighting ------------------------------------------------


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


# --- CMA-ES ---------------------------------------------------------------------------------------


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


# --- constants in float32 -------------------------------------------------------------------------


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


# --- kernel ---------------------------------------------------------------------------------------

BOLD_STEPS = 8
ENOUGH = 1.005  # largest error over its lower bound, where reweighting ends
LEAST_DAMPING, MOST_DAMPING = 1e-22, 1e12  # good programs have Jacobians of condition 1e9 and more
PROBE = 0.1  # part of a step after which its curvature is measured
TINY = 1e-300


def square(x):
    return x * x


def run_forward(registers, code, i, rows, k, constants):
    """Evaluate program i at all points with these constants."""
    n = registers.shape[1]
    for r in range(k):
        for j in range(n):
            registers[1 + r, j] = constants[r]
    for s in range(rows):
        last = k + s
        run_instruction(
            registers,
            last + 1,
            code[i, s, 0],
            within(code[i, s, 1], last),
            within(code[i, s, 2], last),
            within(code[i, s, 3], last),
            n,
        )


def run_backward(registers, adjoints, code, i, rows, k, result, weight):
    """adjoints[r, j] = derivative of weight[j] * result at x[j] by register r."""
    n = registers.shape[1]
    for r in range(k + rows + 1):
        for j in range(n):
            adjoints[r, j] = 0.0
    for j in range(n):
        adjoints[result, j] = weight[j]
    for s in range(rows - 1, -1, -1):
        opcode, to, last = code[i, s, 0], k + s + 1, k + s
        a, b, c = (
            within(code[i, s, 1], last),
            within(code[i, s, 2], last),
            within(code[i, s, 3], last),
        )
        if opcode < 2:
            sign = 1.0 if opcode == 0 else -1.0
            for j in range(n):
                adjoints[a, j] += adjoints[to, j]
            for j in range(n):
                adjoints[b, j] += sign * adjoints[to, j]
        elif opcode == DIV:
            for j in range(n):
                adjoints[a, j] += adjoints[to, j] / registers[b, j]
            for j in range(n):
                adjoints[b, j] -= adjoints[to, j] * registers[to, j] / registers[b, j]
        else:
            for j in range(n):
                adjoints[a, j] += adjoints[to, j] * registers[b, j]
            for j in range(n):
                adjoints[b, j] += adjoints[to, j] * registers[a, j]
            if opcode > DIV:
                for j in range(n):
                    adjoints[c, j] += adjoints[to, j]


def orthogonalise(rows, size, right, triangle, projection, scale):
    """Modified Gram–Schmidt: the derivatives J, a column in each row from 1 to size, become QR, and
    `right` loses its part Q Qᵀ right.

    Normal equations would square the condition of J, and good programs have constants that nearly
    make up for one another.
    """
    n = rows.shape[1]
    for r in range(size):
        scale[r] = math.sqrt(dot(rows[1 + r], rows[1 + r])) + TINY
    for r in range(size):
        norm = math.sqrt(dot(rows[1 + r], rows[1 + r])) + TINY
        triangle[r, r] = norm
        for j in range(n):
            rows[1 + r, j] /= norm
        for c in range(r + 1, size):
            triangle[r, c] = dot(rows[1 + r], rows[1 + c])
            for j in range(n):
                rows[1 + c, j] -= triangle[r, c] * rows[1 + r, j]
        projection[r] = dot(rows[1 + r], right[0])
        for j in range(n):
            right[0, j] -= projection[r] * rows[1 + r, j]


def damped_step(triangle, projection, scale, damping, size, work, step):
    """The step that minimises |triangle step - projection|² + damping |scale step|², and the
    decrease that it promises.

    The rows of sqrt(damping) scale are rotated into a copy of the triangle, one after the other;
    work[:, size] is the right side.
    """
    for r in range(size):
        for c in range(r, size):
            work[r, c] = triangle[r, c]
        work[r, size] = projection[r]
    root = math.sqrt(damping)
    extra = size  # the row of `work` that holds what is rotated in
    for first in range(size):
        for c in range(size + 1):
            work[extra, c] = 0.0
        work[extra, first] = root * scale[first]
        for r in range(first, size):
            length = math.hypot(work[r, r], work[extra, r])
            cosine, sine = work[r, r] / length, work[extra, r] / length
            for c in range(r, size + 1):
                u, v = work[r, c], work[extra, c]
                work[r, c], work[extra, c] = cosine * u + sine * v, cosine * v - sine * u
    for r in range(size - 1, -1, -1):
        total = work[r, size]
        for c in range(r + 1, size):
            total -= work[r, c] * step[c]
        step[r] = total / work[r, r]
    promised = TINY
    for r in range(size):
        gradient = 0.0
        for t in range(r + 1):
            gradient += triangle[t, r] * projection[t]
        promised += step[r] * (damping * scale[r] * scale[r] * step[r] + gradient)
    return promised


def curvature_step(
    registers,
    basis,
    result,
    target,
    sensitivity,
    lawson,
    residual,
    triangle,
    scale,
    damping,
    size,
    work,
    step,
    second,
    bend,
    curvature,
):
    """second = the correction of `step` for the curvature along it; whether it is smaller than the
    step, so that it can be trusted.

    The registers are those after PROBE of the step. What the residual has there beyond its linear
    part is half its second derivative.
    """
    n = registers.shape[1]
    for r in range(size):
        bend[r] = 0.0
        for c in range(r, size):
            bend[r] += triangle[r, c] * step[c]
    for j in range(n):
        e = (
            sensitivity[j] * (registers[result, j] - target[j])
            - math.sqrt(lawson[j]) * residual[0, j]
        )
        slope = 0.0
        for r in range(size):
            slope += basis[1 + r, j] * bend[r]
        curvature[0, j] = (e / PROBE + slope) / PROBE
    for r in range(size):
        bend[r] = dot(basis[1 + r], curvature[0])
    damped_step(triangle, bend, scale, damping, size, work, second)
    straight = turned = TINY
    for r in range(size):
        straight += square(scale[r] * step[r])
        turned += square(scale[r] * second[r])
    return turned < straight


def measure(registers, result, target, weight, residual):
    """residual = weight (result - target); its largest magnitude, inf where a value is NaN."""
    largest = 0.0
    for j in range(registers.shape[1]):
        residual[0, j] = weight[j] * (registers[result, j] - target[j])
        largest = max(largest, abs(residual[0, j])) if residual[0, j] == residual[0, j] else np.inf
    return largest


def reweight(lawson, residual, largest):
    """Lawson's step; the sum of weights stays that of ones."""
    n, total = lawson.shape[0], 0.0
    for j in range(n):
        lawson[j] *= abs(residual[0, j]) / largest
        total += lawson[j]
    for j in range(n):
        lawson[j] *= n / total


@kernel(
    "in int32 code[p, m, 4]; in int32 ends[p, 2]; in int32 counts[p]; "
    "inout float64 constants[p, k]; in float64 x[n]; "
    "in float64 target[n]; in float64 weight[n]; int32 steps; int32 rounds; out float64 error[p]; "
    "scratch float64 registers[k+m+1, n]; scratch float64 adjoints[k+m+1, n]; "
    "scratch float64 residual[1, n]; "
    "scratch float64 lawson[n]; scratch float64 sensitivity[n]; scratch float64 right[1, n]; "
    "scratch float64 triangle[k, k]; "
    "scratch float64 work[k+1, k+1]; scratch float64 projection[k]; scratch float64 scale[k]; "
    "scratch float64 step[k]; "
    "scratch float64 second[k]; scratch float64 bend[k]; scratch float64 curvature[1, n]; "
    "scratch float64 trial[k]; "
    "scratch float64 best[k]",
    split="p",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
    twin_tolerance={"float64": 1e-6},
)
def fit_programs(
    code,
    ends,
    counts,
    constants,
    x,
    target,
    weight,
    steps,
    rounds,
    error,
    registers,
    adjoints,
    residual,
    lawson,
    sensitivity,
    right,
    triangle,
    work,
    projection,
    scale,
    step,
    second,
    bend,
    curvature,
    trial,
    best,
    start,
    stop,
):
    """constants[i] ← those that minimise error[i] = max over j of weight[j] |program i at x[j] -
    target[j]|, begun at constants[i].

    `steps` Levenberg–Marquardt steps with the second-order correction of Transtrum and Sethna,
    which follows bent valleys; then, if there are to be rounds, a few undamped steps whatever the
    error does in between, since a valley can be too narrow and bent to be walked along; then
    `rounds` times: lawson *= |residual|, and two more steps. The best constants seen are kept. The
    weighted mean square is a lower bound of the squared minimax error, exactly so where constants
    enter linearly: rounds end where the largest error comes near it.
    """
    k, n = constants.shape[1], x.shape[0]
    for j in range(n):
        registers[0, j] = x[j]
    for i in range(start, stop):
        rows, size = int(within(ends[i, 0], code.shape[1])), int(within(counts[i], k))
        result = within(ends[i, 1], k + rows)
        for j in range(n):
            lawson[j] = 1.0
        for r in range(k):
            best[r] = trial[r] = constants[i, r]
        least, cost, damping, growth = np.inf, np.inf, 1e-2, 2.0
        for lap in range(rounds + 2 if rounds > 0 else 1):
            bold = lap == 1
            if lap == 2:
                for r in range(size):
                    constants[i, r] = best[r]
            run_forward(registers, code, i, rows, k, constants[i])
            largest = measure(registers, result, target, weight, residual)
            if lap > 1:
                reweight(lawson, residual, largest)
            cost = 0.0
            for j in range(n):
                cost += lawson[j] * residual[0, j] * residual[0, j]
            if largest < least:
                least = largest
            # whether residual and registers are those of constants[i], and derivatives are not
            current = True
            for _ in range(steps if lap == 0 else BOLD_STEPS if bold else 2):
                if current:
                    for j in range(n):
                        root = math.sqrt(lawson[j])
                        right[0, j] = root * residual[0, j]
                        sensitivity[j] = root * weight[j]
                    run_backward(registers, adjoints, code, i, rows, k, result, sensitivity)
                    orthogonalise(adjoints, size, right, triangle, projection, scale)
                promised = damped_step(triangle, projection, scale, damping, size, work, step)
                for r in range(size):
                    trial[r] = constants[i, r] - PROBE * step[r]
                run_forward(registers, code, i, rows, k, trial)
                if curvature_step(
                    registers,
                    adjoints,
                    result,
                    target,
                    sensitivity,
                    lawson,
                    residual,
                    triangle,
                    scale,
                    damping,
                    size,
                    work,
                    step,
                    second,
                    bend,
                    curvature,
                ):
                    for r in range(size):
                        trial[r] = constants[i, r] - step[r] - second[r]
                else:
                    for r in range(size):
                        trial[r] = constants[i, r] - step[r]
                run_forward(registers, code, i, rows, k, trial)
                trial_cost = 0.0
                for j in range(n):
                    e = weight[j] * (registers[result, j] - target[j])
                    trial_cost += lawson[j] * e * e
                current = trial_cost < cost or (trial_cost < np.inf and (bold or not cost < np.inf))
                if not current:
                    damping *= growth
                    growth *= 2.0
                    if damping > MOST_DAMPING:
                        break
                    continue
                trust = 2.0 * min((cost - trial_cost) / promised, 1.0) - 1.0
                damping, growth = (
                    max(damping * max(0.1, 1.0 - trust * trust * trust), LEAST_DAMPING),
                    2.0,
                )
                converged = trial_cost > (1.0 - 1e-6) * cost and damping < 1e-15
                cost = trial_cost
                for r in range(size):
                    constants[i, r] = trial[r]
                largest = measure(registers, result, target, weight, residual)
                if largest < least:
                    least = largest
                    for r in range(size):
                        best[r] = trial[r]
                if converged and not bold:
                    break
                if bold:
                    damping = LEAST_DAMPING
            damping, growth = LEAST_DAMPING if lap == 0 else min(damping, 1.0), 2.0
            if not bold and (
                not cost < np.inf or cost == 0.0 or least * least * n < ENOUGH * ENOUGH * cost
            ):
                break
        for r in range(size):
            constants[i, r] = best[r]
        error[i] = least
