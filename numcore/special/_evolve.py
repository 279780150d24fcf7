"""Evolution of approximations: programs of few operations with small errors, found without any
mathematics of the function.

A population of programs is mutated; the constants of every new program are fitted to the function;
parents are chosen by NSGA-II for two aims at once, few operations and a small error. Whatever is
the best of its size so far is kept apart, polished, and measured on points that no fit has seen:
this is the front that the search returns.

E. Real, Y. Chen, M. Rossini, et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art
Mathematical Functions", arXiv 2312.08472; K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and
elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

import json
import math
import random as python_random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from ..arguments import RNG, Array, DType, at_least, at_most, checked, nonnegative, positive
from ..dispatch import routine
from ..progress import progress_bar
from ..random import key_from_rng
from ._certify import CALLS_PYTHON
from ._fit import (
    MAX_CONSTANTS,
    Error,
    Float32Points,
    Method,
    Problem,
    fit,
    polished_by_cma,
    random_constants,
    rounded_to_float32,
)
from ._mutation import PROBES, fingerprint, mutated
from ._program import MAX_REGISTERS, OPERATIONS, Program, max_errors, packed, program_errors

IDENTITY = 0.5  # chance that a child is its parent unchanged
FROM_SHELF, SHELF = (
    0.3,
    8,
)  # chance that a parent is one of the best of a random size, and how many of a size those are
FIT_POINTS, VALIDATION_POINTS = 65, 10_000
GUESSES, STARTS = (
    64,
    3,
)
# random constants that are looked at for a program, and how many are fitted, with the inherited
# ones
MAX_TRIES = (
    8  # how often a program that is met again is fitted again: a fit may end in a local minimum
)
QUICK_STEPS, STEPS, ROUNDS = 12, 30, 20
POLISH_STEPS, POLISH_ROUNDS = 300, 100
PROMISING = 4.0  # a quick fit worse than the front by this factor is not continued
DEFAULT_BUDGET = 20_000
MAX_IDLE = 50  # generations without a program to fit after which there is nothing left to find
FORMAT = "numcore front 1"
MAX_OPS = (MAX_REGISTERS - 1) // 4
Operation: TypeAlias = Literal["add", "sub", "mul", "div", "fma"]
Reason: TypeAlias = Literal["budget", "time", "callback", "interrupt", "exhausted", "running"]
Count: TypeAlias = Annotated[int, at_least(1)]
FLOAT32_MAX = float(np.finfo(np.float32).max)


# --- fronts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Front:
    """The best programs of a search, by number of operations.

    Attributes
    ----------
    programs : tuple of Program
        Sorted by `n_ops`; each has a smaller error than all before it.
    errors : float64 array of shape (n,)
        Largest errors on validation points, none of which was used in fitting but the ends of the
        interval.
    n_ops : int64 array of shape (n,)
    evaluations : int
        Programs whose constants were fitted.
    history : float64 array of shape (h, 3)
        A row (evaluations, n_ops, error) for each time the front improved.
    reason : {"budget", "time", "callback", "interrupt", "exhausted", "running"}
        Why the search ended; "exhausted" where no mutation gives a program that has not been fitted
        often enough, "running" in what the callback gets.
    arithmetic : str
        What the programs were run in for `errors`: "float64", in which no relative error below
        about 1e-15 can be seen; "long double", where the target has a method `exact`; or "float32",
        where that was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import Front, evolve
    >>> front = evolve(np.exp2, (0, 1), max_ops=4, budget=300, rng=0)
    >>> again = Front.from_json(front.to_json())
    >>> again.programs == front.programs
    True
    """

    programs: tuple[Program, ...]
    errors: Array
    n_ops: Array
    evaluations: int
    history: Array
    reason: Reason = "budget"
    arithmetic: Literal["float64", "long double", "float32"] = "float64"

    def __len__(self) -> int:
        return len(self.programs)

    def __str__(self) -> str:
        rows = [
            f"{n:4d}  {e:.3e}  {p.simplify()!r}"
            for n, e, p in zip(self.n_ops, self.errors, self.programs, strict=True)
        ]
        return "\n".join([" ops  error", *rows])

    @checked
    def best(self, max_ops: Annotated[int, nonnegative]) -> Program:
        """The program with the smallest error among those of at most `max_ops` operations;
        ValueError if there is none."""
        fitting = np.flatnonzero(self.n_ops <= max_ops)
        if not fitting.size:
            smallest = self.n_ops.min(initial=MAX_OPS)
            raise ValueError(f"max_ops must be >= {smallest}, the smallest program (got {max_ops})")
        return self.programs[fitting[-1]]

    def to_json(self) -> str:
        """The front as text, exact to the last bit."""
        return json.dumps(
            {
                "format": FORMAT,
                "evaluations": self.evaluations,
                "reason": self.reason,
                "arithmetic": self.arithmetic,
                "programs": [
                    {"code": p.code.tolist(), "constants": p.constants.tolist()}
                    for p in self.programs
                ],
                "errors": self.errors.tolist(),
                "history": self.history.tolist(),
            }
        )

    @classmethod
    @checked
    def from_json(cls, text: str) -> "Front":
        """The front that `to_json` wrote; ValueError for any other text."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"format must be {FORMAT!r} (got {data['format']!r})")
            programs = tuple(Program(p["code"], p["constants"]) for p in data["programs"])
            errors, history = (
                np.array(data["errors"], np.float64),
                np.array(data["history"], np.float64).reshape(-1, 3),
            )
            if errors.shape != (len(programs),):
                raise ValueError("a front must have one error for each program")
            return cls(
                programs,
                errors,
                np.array([p.n_ops for p in programs], np.int64),
                int(data["evaluations"]),
                history,
                str(data["reason"]),
                str(data["arithmetic"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"text must be the JSON of a Front ({error})") from None


# --- the search -----------------------------------------------------------------------------------


@routine(host_only=CALLS_PYTHON)
def evolve(
    target: Callable[..., Any],
    interval: tuple[float, float],
    *,
    ops: Sequence[Operation] = ("add", "sub", "mul", "div"),
    max_ops: Annotated[int, at_least(1), at_most(MAX_OPS)] = 10,
    constants: Literal["free"] | Annotated[int, nonnegative] = "free",
    error: Error = "relative",
    eps: Annotated[float, nonnegative] = 0.0,
    n_points: Annotated[int, at_least(16)] = 512,
    population: tuple[Count, Count] = (5, 10),
    elitism: bool = True,
    coefficient_search: Method = "lm",
    dtype: DType = np.float64,
    budget: Count | None = None,
    time_limit: Annotated[float, positive] | None = None,
    init: Front | Sequence[Program] | None = None,
    rng: RNG = None,
    callback: Callable[[Front], bool | None] | None = None,
    progress: bool = False,
) -> Front:
    """Search for programs that approximate a function with few operations.

    Parameters
    ----------
    target : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,), accurate to
        about one unit in the last place. If it has a method ``exact(x)``, which returns
        numpy.longdouble numbers or strings of them, errors are measured against that in long
        double.
    interval : (float, float)
        Finite bounds, lo < hi.
    ops : sequence of {"add", "sub", "mul", "div", "fma"}, default ('add', 'sub', 'mul', 'div')
        Out of "add", "sub", "mul", "div", "fma".
    max_ops : int >= 1 and <= 63, default 10
        Operations in a program. An fma counts as one; operations on constants alone are free.
    constants : {"free"} or int >= 0, default "free"
        "free": any number of them; an int: at most so many.
    error : {"relative", "absolute", "ulp32"}, default "relative"
        ``|p - f| / (eps + |f|)``, ``|p - f|``, or ``|p - f|`` in units in the last place of float32
        at f; the largest one counts.
    eps : float >= 0, default 0.0
        For relative errors of functions with zeros.
    n_points : int >= 16, default 512
        Chebyshev points for training, at least 16. The front is measured on 10 000 evenly spaced
        ones.
    population : (int >= 1, int >= 1), default (5, 10)
        Parents and children of a generation.
    elitism : bool, default True
        Whether parents compete with their children.
    coefficient_search : {"lm", "cma"}, default "lm"
        How constants are fitted: see `minimize_error`. "cma" is some hundred times slower.
    dtype : dtype, float32 or float64, default float64
        float32: the front is measured as its programs run in float32, on 10 000 float32 numbers,
        with constants that are float32 numbers (see `minimize_error`); where `error` is "ulp32"
        that is the error that `certify_program` measures on all of them.
    budget : int >= 1, optional
        Programs to fit; by default 20 000 if there is no `time_limit` either.
    time_limit : float > 0, optional
        Seconds.
    init : Front or sequence of Program, optional
        Where to go on; the evaluations and the history of a Front are continued, the budget counts
        from there.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        With the same seed and no `time_limit` a search gives the same front, at any number of
        threads.
    callback : callable, optional
        ``callback(front)`` is called whenever the front has improved; the search ends when it
        returns True.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    Front
        Ctrl-C ends a search early and returns what has been found, with ``reason == "interrupt"``.

    Raises
    ------
    ValueError
        Bad bounds, an unknown operation or option, a count below its minimum, a target that is not
        finite on the interval, relative error at a zero of the target with eps = 0.
    TypeError
        `target` is not callable or returns another shape; `init` has other items than programs.
    ImportError
        CMA-ES or the progress bar is asked for and not installed.

    Notes
    -----
    A child is its parent with mutations piled up until it computes another function; half of all
    children are unchanged copies. Programs that compute a function that was met before are fitted
    again a few times only. A program with a divisor that changes its sign between points has a pole
    and is rejected; only `certify_program`, over all floats, proves that there is none.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472. K. Deb et al., "A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import evolve
    >>> front = evolve(np.exp2, (0, 1), max_ops=4, budget=500, rng=1)
    >>> bool(
    ...     front.errors[front.n_ops <= 4].min() < 1.8e-3
    ... )  # the quadratic polynomial, 4 operations, has 1.7e-3
    True
    """
    search = _Search(
        Problem(target, interval, error, eps),
        ops=_opcodes(ops),
        max_ops=max_ops,
        max_constants=MAX_CONSTANTS if constants == "free" else min(constants, MAX_CONSTANTS),
        n_points=n_points,
        population=population,
        elitism=elitism,
        method=coefficient_search,
        dtype=dtype,
        rng=rng,
    )
    if budget is None and time_limit is None:
        budget = DEFAULT_BUDGET
    bar = progress_bar(budget, "programs") if progress else None
    try:
        reason = search.run(init, budget, time_limit, callback, bar)
    except KeyboardInterrupt:
        reason = "interrupt"
    finally:
        if bar is not None:
            bar.close()
    return search.front(reason)


class _Individual:
    """A program with its fingerprint and its error on the training points."""

    __slots__ = ("error", "key", "n_ops", "polished", "program", "tries")

    def __init__(self, program, key):
        self.program, self.key, self.n_ops = program, key, program.n_ops
        self.error, self.tries, self.polished = math.inf, 0, False

    def offer(self, program, error):
        """Take other constants if they are better."""
        self.tries += 1
        if error < self.error:
            self.program, self.error, self.polished = program, error, False


class _Search:
    def __init__(
        self,
        problem,
        *,
        ops,
        max_ops,
        max_constants,
        n_points,
        population,
        elitism,
        method,
        dtype,
        rng,
    ):
        self.problem, self.ops, self.max_ops, self.max_constants = (
            problem,
            ops,
            max_ops,
            max_constants,
        )
        (self.n_parents, self.n_children), self.elitism, self.method = population, elitism, method
        words = key_from_rng(rng)
        self.random, self.generator = (
            python_random.Random(words[0] << 32 | words[1]),
            np.random.default_rng(words),
        )
        self.few, self.training = problem.points(FIT_POINTS), problem.points(n_points)
        self.validation = problem.even_points(VALIDATION_POINTS)
        self.float32 = Float32Points(problem, VALIDATION_POINTS) if dtype == np.float32 else None
        self.places = [problem.lo + (problem.hi - problem.lo) * u for u in PROBES]
        self.known, self.shelf = (
            {},
            {},
        )  # individuals by fingerprint; the best by number of operations
        self.champions = {}  # the front: (error, program) by number of operations
        self.evaluations, self.history = 0, []

    def run(self, init, budget, time_limit, callback, bar):
        """Generation after generation; the reason for the end."""
        end = math.inf if time_limit is None else time.monotonic() + time_limit
        last = (
            math.inf
            if budget is None
            else budget + (init.evaluations if isinstance(init, Front) else 0)
        )
        parents, turn, idle = self.first_parents(init), 0, 0
        while True:
            before, improvements = self.evaluations, len(self.history)
            children = self.offspring(parents, turn, min(self.n_children, last - self.evaluations))
            turn += len(children)
            pool = {ind.key: ind for ind in (parents + children if self.elitism else children)}
            parents = (
                survivors([ind for ind in pool.values() if ind.error < math.inf], self.n_parents)
                or parents
            )
            if bar is not None:
                bar.update(self.evaluations - before)
            if (
                len(self.history) > improvements
                and callback is not None
                and callback(self.front("running")) is True
            ):
                return "callback"
            if self.evaluations >= last:
                return "budget"
            if time.monotonic() >= end:
                return "time"
            idle = 0 if self.evaluations > before else idle + 1
            if idle == MAX_IDLE:
                return "exhausted"

    def first_parents(self, init):
        """The given programs, and the smallest ones there are: one operation on x."""
        programs = list(init.programs if isinstance(init, Front) else init or ())
        if isinstance(init, Front):
            self.evaluations, self.history = init.evaluations, init.history.tolist()
            self.champions = {
                p.n_ops: (float(e), p) for p, e in zip(programs, init.errors, strict=True)
            }
        identity = Program(np.empty((0, 4), np.int32), [])
        seeds = [p.simplify() for p in programs]
        while len(seeds) < max(self.n_parents, len(programs) + 1):
            seeds.append(mutated(identity, self.ops, 1, self.places, self.random)[0])
        usable = [
            p
            for p in seeds
            if 1 <= p.n_ops <= self.max_ops and len(p.constants) <= self.max_constants
        ]
        usable = usable or [Program([[self.ops[0], 0, 0, 0]], [])]
        return self.evaluated([(p, fingerprint(p, self.places) or p) for p in usable])

    def offspring(self, parents, turn, count):
        """`count` children, the new ones among them with fitted constants."""
        old, new = [], []
        for i in range(count):
            parent = parents[(turn + i) % len(parents)]
            if self.random.random() < FROM_SHELF:
                parent = self.random.choice(self.shelf[self.random.choice(sorted(self.shelf))])
            elif self.random.random() < IDENTITY:
                old.append(parent)
                continue
            program, key, fresh = mutated(
                parent.program, self.ops, self.max_ops, self.places, self.random
            )
            if len(program.constants) > self.max_constants:
                old.append(parent)
            elif key in self.known and not fresh and self.known[key].tries >= MAX_TRIES:
                old.append(self.known[key])
            else:
                new.append((program, key))
        return old + self.evaluated(new)

    def evaluated(self, new):
        """Individuals of new programs, or of known ones with new constants."""
        fitted = self.fitted([program for program, _ in new])
        errors = max_errors(fitted, *self.training)
        self.evaluations += len(new)
        individuals = []
        for (_, key), program, error in zip(new, fitted, errors.tolist(), strict=True):
            individual = self.known.setdefault(key, _Individual(program, key))
            individual.offer(program, error)
            self.put_on_shelf(individual)
            self.consider(individual)
            individuals.append(individual)
        return individuals

    def put_on_shelf(self, individual):
        """Keep the best of every size, dominated or not: a way to a better program may lead through
        larger ones that are worse."""
        shelf = self.shelf.setdefault(individual.n_ops, [])
        if individual not in shelf:
            shelf.append(individual)
        shelf.sort(key=lambda ind: ind.error)
        del shelf[SHELF:]

    # --- constants

    def fitted(self, programs):
        """Programs with fitted constants: a quick fit from several starts, and a longer one for
        those that promise something."""
        if self.method == "cma":
            return [
                polished_by_cma(p, self.training, 200, self.generator) if len(p.constants) else p
                for p in programs
            ]
        fitted = list(programs)
        adjustable = [i for i, p in enumerate(programs) if len(p.constants)]
        starts = self.starts([programs[i] for i in adjustable])
        repeated = [programs[i] for i in adjustable for _ in range(STARTS)]
        quick = fit(repeated, starts, self.few, steps=QUICK_STEPS, rounds=0)
        longer = []
        for place, i in enumerate(adjustable):
            fitted[i], error = min(
                quick[place * STARTS : (place + 1) * STARTS], key=lambda pair: pair[1]
            )
            if error < PROMISING * self.champion_error(programs[i].n_ops):
                longer.append(i)
        for i, (program, _) in zip(
            longer,
            fit(
                [fitted[i] for i in longer],
                [fitted[i].constants for i in longer],
                self.few,
                steps=STEPS,
                rounds=ROUNDS,
            ),
            strict=True,
        ):
            fitted[i] = program
        return fitted

    def starts(self, programs):
        """The inherited constants of each program, and the best of some random ones."""
        if not programs:
            return []
        code, ends, inherited = packed(programs)
        guesses = random_constants(self.generator, (len(programs), GUESSES, inherited.shape[1]))
        errors = np.empty(len(programs) * GUESSES)
        program_errors(
            np.repeat(code, GUESSES, axis=0),
            np.repeat(ends, GUESSES, axis=0),
            guesses.reshape(len(errors), -1),
            *self.few,
            errors,
        )
        order = np.argsort(errors.reshape(-1, GUESSES), axis=1, kind="stable")[:, : STARTS - 1]
        chosen = np.take_along_axis(guesses, order[:, :, None], axis=1)
        return [
            row[: len(p.constants)]
            for p, first, rows in zip(programs, inherited, chosen, strict=True)
            for row in (first, *rows)
        ]

    # --- the front

    def champion_error(self, n_ops):
        """The smallest error of the front with at most so many operations."""
        return min((e for n, (e, _) in self.champions.items() if n <= n_ops), default=math.inf)

    def consider(self, individual):
        """Take a program into the front if, polished and on new points, it is better than all that
        are no larger."""
        n_ops, limit = individual.n_ops, self.champion_error(individual.n_ops)
        if individual.polished or not individual.error < 1.05 * limit:
            return
        individual.polished = True
        program, error = self.validated(individual)
        if error < 0.99 * limit:
            individual.program = program
            self.champions = {
                n: pair for n, pair in self.champions.items() if n < n_ops or pair[0] < error
            }
            self.champions[n_ops] = error, program
            self.history.append([self.evaluations, n_ops, error])

    def validated(self, individual):
        """The program with polished constants, and its error on the validation points."""
        program = individual.program
        if len(program.constants):
            ((program, _),) = fit(
                [program],
                [program.constants],
                self.training,
                steps=POLISH_STEPS,
                rounds=POLISH_ROUNDS,
            )
        if self.float32 is not None and (np.abs(program.constants) < FLOAT32_MAX).all():
            program, error = rounded_to_float32(program, self.float32)
            return program, error if max_errors([program], *self.validation)[
                0
            ] < math.inf else math.inf
        candidates = [program, individual.program]
        errors = max_errors(candidates, *self.validation)
        best = int(np.argmin(errors))
        return candidates[best], float(errors[best])

    def front(self, reason):
        pairs = sorted((n, e, p) for n, (e, p) in self.champions.items())
        errors, arithmetic = (
            [e for _, e, _ in pairs],
            "float64" if self.float32 is None else "float32",
        )
        if hasattr(self.problem.target, "exact") and self.float32 is None and reason != "running":
            errors, arithmetic = [self.exact_error(p) for _, _, p in pairs], "long double"
        return Front(
            tuple(p for _, _, p in pairs),
            np.array(errors, np.float64),
            np.array([n for n, _, _ in pairs], np.int64),
            self.evaluations,
            np.array(self.history, np.float64).reshape(-1, 3),
            reason,
            arithmetic,
        )

    def exact_error(self, program):
        """The largest error on the validation points, in long double."""
        x, _, weight = self.validation
        exact = np.array([np.longdouble(v) for v in self.problem.target.exact(x)], np.longdouble)
        with np.errstate(all="ignore"):
            return float(np.abs((in_long_double(program, x) - exact) * weight).max())


def in_long_double(program, x):
    """The program's values in numpy.longdouble; a fused operation is rounded twice there."""
    registers = [x.astype(np.longdouble), *map(np.longdouble, program.constants)]
    for opcode, a, b, c in program.code.tolist():
        u, v = registers[a], registers[b]
        registers.append((u + v, u - v, u * v, np.divide(u, v), u * v + registers[c])[opcode])
    return registers[-1]


# --- selection: NSGA-II ---------------------------------------------------------------------------


def survivors(pool, count):
    """The best `count` individuals: by non-dominated fronts of (n_ops, error), and within the last
    front by crowding distance."""
    chosen, rest = [], sorted(pool, key=lambda ind: (ind.n_ops, ind.error))
    while rest and len(chosen) < count:
        layer, others, least = [], [], math.inf
        for (
            individual
        ) in rest:  # sorted: one is dominated exactly if an earlier one has no larger error
            (layer if individual.error < least else others).append(individual)
            least = min(least, individual.error)
        room = count - len(chosen)
        chosen += layer if len(layer) <= room else least_crowded(layer, room)
        rest = others
    return chosen


def least_crowded(layer, count):
    """Of a non-dominated front sorted by n_ops, the `count` individuals whose neighbors are
    farthest; its ends first."""
    n_ops = np.array([ind.n_ops for ind in layer], np.float64)
    quality = np.array([math.log10(max(ind.error, 1e-300)) for ind in layer])
    distance = np.full(len(layer), np.inf)
    for values in (n_ops, quality):
        spread = abs(values[-1] - values[0]) or 1.0
        distance[1:-1] = (
            np.where(np.isinf(distance[1:-1]), 0, distance[1:-1])
            + np.abs(values[2:] - values[:-2]) / spread
        )
    return [layer[i] for i in np.argsort(-distance, kind="stable")[:count]]


def _opcodes(ops):
    if not ops:
        raise ValueError("ops must have at least one operation (got none)")
    return [OPERATIONS.index(op) for op in dict.fromkeys(ops)]
