"""The search for approximations: batches of programs, fits of their constants, and the whole
search, beside an interpreter and gplearn."""

import importlib.util
import math
import time
import warnings

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.special import Program, certify_program, evolve
from numcore.special._fit import Problem, fit
from numcore.special._program import packed, program_errors

COUNT, N_OPS, N_CONSTANTS = 1000, 10, 4
SECONDS = 1.0
SEARCH_SECONDS = 10.0
SIZES = range(3, 9)


def random_programs():
    """A thousand programs of ten operations, each of which reads the one before."""
    rng, made = np.random.default_rng(0), []
    for _ in range(COUNT):
        code = [
            [
                int(rng.integers(4)),
                N_CONSTANTS + i if i else 0,
                int(rng.integers(1 + N_CONSTANTS + i)),
                0,
            ]
            for i in range(N_OPS)
        ]
        made.append(Program(code, rng.uniform(0.5, 2, N_CONSTANTS)))
    return made


def interpreted(program, x):
    """A program's values by one NumPy call for each instruction."""
    registers = [x, *program.constants]
    for opcode, a, b, _ in program.code.tolist():
        registers.append(
            (np.add, np.subtract, np.multiply, np.divide)[opcode](registers[a], registers[b])
        )
    return registers[-1]


class Batches:
    """The largest errors of 1000 programs of 10 operations, on one thread: at as many points as a
    fit has, and as the training has."""

    param_names, params = ["points"], [65, 1024]

    def setup(self, points):
        self.programs, self.x = random_programs(), np.linspace(0, 1, points)
        self.target = np.exp2(self.x)
        self.weight, self.errors, self.packed = (
            1 / self.target,
            np.empty(COUNT),
            packed(self.programs),
        )
        numcore.set_num_threads(1)
        self.evaluate()

    def teardown(self, points):
        numcore.set_num_threads(None)

    def evaluate(self):
        program_errors(*self.packed, self.x, self.target, self.weight, self.errors)

    def evaluate_by_numpy(self):
        with np.errstate(all="ignore"):
            for program in self.programs[: COUNT // 10]:
                np.abs((interpreted(program, self.x) - self.target) * self.weight).max()

    def time_errors(self, points):
        self.evaluate()

    def peakmem_errors(self, points):
        self.evaluate()

    def track_ratio_to_numpy_interpreter(self, points):
        ours, peer = median_seconds([self.evaluate, self.evaluate_by_numpy], SECONDS)
        return 10 * peer / ours

    track_ratio_to_numpy_interpreter.unit = "× (NumPy interpreter's time / ours)"


class Fits:
    """The four constants of (c1 + x (c2 + x c3)) / (x + c4) from 200 starts at 65 points, on one
    thread."""

    def setup(self):
        rational = Program(
            [[2, 0, 3, 0], [0, 5, 2, 0], [2, 6, 0, 0], [0, 7, 1, 0], [0, 0, 4, 0], [3, 8, 9, 0]],
            np.ones(4),
        )
        self.programs = [rational] * 200
        self.starts = np.random.default_rng(0).uniform(-2, 2, (200, 4))
        self.points = Problem(np.exp2, (0, 1)).points(65)
        numcore.set_num_threads(1)
        self.time_fits()

    def teardown(self):
        numcore.set_num_threads(None)

    def time_fits(self):
        fit(self.programs, self.starts, self.points, steps=30, rounds=20)


class Search:
    """2^x on [0, 1]."""

    timeout = 300

    def time_thousand_programs(self):
        evolve(np.exp2, (0, 1), max_ops=8, budget=1000, rng=0)

    def peakmem_thousand_programs(self):
        evolve(np.exp2, (0, 1), max_ops=8, budget=1000, rng=0)

    def time_certify_eight_million_floats(self):
        certify_program(
            Program([[4, 1, 0, 2], [4, 4, 0, 3]], [0.33718944, 0.65763629, 1.00172476]),
            np.exp2,
            (0.5, 1.0),
        )

    def track_ratio_to_gplearn(self):
        """The smallest ratio of gplearn's error to ours after equal times, over programs of at most
        3, 4, … 8 operations."""
        if importlib.util.find_spec("gplearn") is None:
            raise NotImplementedError("gplearn is not installed")
        front, peer = (
            evolve(np.exp2, (0, 1), max_ops=max(SIZES), time_limit=SEARCH_SECONDS, rng=0),
            gplearn_errors(SEARCH_SECONDS),
        )
        return min(
            min((e for n, e in peer.items() if n <= size), default=math.inf)
            / front.errors[front.n_ops <= size].min()
            for size in SIZES
        )

    track_ratio_to_gplearn.unit = "× (gplearn's error / ours)"


def gplearn_errors(seconds):
    """The smallest relative error that gplearn finds for 2^x on [0, 1], by number of operations."""
    from gplearn.genetic import SymbolicRegressor

    x, found, end, seed = np.linspace(0, 1, 512)[:, None], {}, time.perf_counter() + seconds, 0
    target = np.exp2(x[:, 0])
    while time.perf_counter() < end:
        model = SymbolicRegressor(
            population_size=500,
            generations=20,
            function_set=("add", "sub", "mul", "div"),
            const_range=(-4.0, 4.0),
            parsimony_coefficient=0.0,
            metric="rmse",
            random_state=seed,
        )
        seed += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x, target)
        for tree in (
            tree for generation in model._programs for tree in generation if tree is not None
        ):
            n_ops = sum(not isinstance(node, (int, float)) for node in tree.program)
            if n_ops <= max(SIZES):
                found[n_ops] = min(
                    found.get(n_ops, math.inf), float(np.abs(tree.execute(x) / target - 1).max())
                )
    return found
