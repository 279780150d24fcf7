"""The search itself: individuals, their constants, the front that they reach."""

import math
import random as python_random
import time

import numpy as np

from ...random import key_from_rng
from .._fit import Float32Points, fit, polished_by_cma, random_constants, rounded_to_float32
from .._program import Program, max_errors, packed, program_errors
from .front import Front
from .mutation import PROBES, fingerprint, mutated
from .selection import survivors

IDENTITY = 0.5  # chance that a child is its parent unchanged
# chance that a parent is one of the best of a random size, and how many of a size those are
FROM_SHELF, SHELF = 0.3, 8
FIT_POINTS, VALIDATION_POINTS = 65, 10_000
GUESSES, STARTS = 64, 3

# random constants that are looked at for a program, and how many are fitted, with the inherited
# ones
MAX_TRIES = (
    8  # how often a program that is met again is fitted again: a fit may end in a local minimum
)

QUICK_STEPS, STEPS, ROUNDS = 12, 30, 20
POLISH_STEPS, POLISH_ROUNDS = 300, 100
PROMISING = 4.0  # a quick fit worse than the front by this factor is not continued
MAX_IDLE = 50  # generations without a program to fit after which there is nothing left to find
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Individual:
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


class Search:
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
        self.problem, self.ops = problem, ops
        self.max_ops, self.max_constants = max_ops, max_constants
        (self.n_parents, self.n_children), self.elitism, self.method = population, elitism, method
        words = key_from_rng(rng)
        self.random = python_random.Random(words[0] << 32 | words[1])
        self.generator = np.random.default_rng(words)
        self.few, self.training = problem.points(FIT_POINTS), problem.points(n_points)
        self.validation = problem.even_points(VALIDATION_POINTS)
        self.float32 = Float32Points(problem, VALIDATION_POINTS) if dtype == np.float32 else None
        self.places = [problem.lo + (problem.hi - problem.lo) * u for u in PROBES]
        # individuals by fingerprint; the best by number of operations
        self.known, self.shelf = {}, {}
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
            individual = self.known.setdefault(key, Individual(program, key))
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
        errors = [e for _, e, _ in pairs]
        arithmetic = "float64" if self.float32 is None else "float32"
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
