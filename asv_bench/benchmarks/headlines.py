"""The headlines of the dashboard: for each method one time, one time relative to the baseline's,
and one memory figure, on real data. Names begin with the subpackage, as in
``linalg.monarch_matmul.time_call``. Times are CPU time, which other programs hardly change.

A method is a module or folder of a subpackage. Its headline is the first routine in its source that
has a call on real data, with a baseline if there is a choice. The registry lists the routines, so
that a new method is included by itself.

Old commits are measured by this file too. NUMCORE_HEADLINES gives them the present list of names;
what they do not have is skipped.
"""

import functools
import importlib
import inspect
import itertools
import json
import math
import os
import time
import tracemalloc

import numpy as np

from numcore.dispatch import routines
from numcore.examples import example

SECONDS = 0.4  # for the two sides of one relative time, after which no round begins
ROUNDS = 3  # at least, besides the first, unless they take twenty times as long
SAMPLE = 2e-3  # seconds: shorter calls are repeated, since the clock takes up to a microsecond
SMALLEST = 2**16  # bytes: a call that needs less memory counts as one that needs this

# methods whose first routine is not the one that they are known for
KNOWN_FOR = {
    "linalg.matrix_completion": "alternating_step",
    "nn.contextual_sparsity": "sparse_gated_mlp",
    "nn.explanations": "explain",
    "nn.lipschitz": "local_lipschitz",
}
# imported once by the process that asv forks, not again for each figure
HEAVY = ("sklearn.datasets", "scipy.signal", "torch")


def _name(routine):
    return f"{routine.function.__module__.split('.')[1]}.{routine.name}"


def _method(routine):
    """``linalg.monarch`` for what is in numcore.linalg._monarch and below."""
    parts = routine.function.__module__.split(".")[1:3]
    return ".".join(part.lstrip("_") for part in parts)


def _example(routine):
    """The example on real data; None if there is none, or if the commit has no such routine."""
    try:
        case = example(routine) if routine else None
    except LookupError:
        return None
    return case if case and case.real else None


def _order(routine):
    return (
        routine.name != KNOWN_FOR.get(_method(routine)),
        _example(routine).peer is None,
        routine.function.__module__,
        inspect.unwrap(routine.function).__code__.co_firstlineno,
    )


def headlines():
    """The names of the headlines, one routine of each method."""
    real = sorted(filter(_example, routines()), key=_method)
    return sorted(_name(min(group, key=_order)) for _, group in itertools.groupby(real, _method))


def _ratios(ours, theirs):
    """Our CPU time divided by theirs, once for each round after the first; both run in turn."""
    ratios, start, number = [], time.perf_counter(), None
    for done in itertools.count():
        elapsed = time.perf_counter() - start
        if elapsed > SECONDS and done > ROUNDS or elapsed > 20 * SECONDS and done > 1:
            return ratios
        seconds = []
        for call, times in zip((ours, theirs), number or (1, 1), strict=True):
            began = time.process_time()
            for _ in range(times):
                call()
            seconds.append((time.process_time() - began) / times)
        if done:
            ratios.append(float(f"{seconds[0] / seconds[1]:.4g}"))
        number = [max(1, int(SAMPLE / max(taken, 1e-6))) for taken in seconds]


class _Headline:
    """One routine on its real data. Kernels are compiled by the call in `setup`."""

    version = "1"
    timeout = 170
    timer = time.process_time
    rounds, repeat, sample_time, warmup_time = 1, (3, 10, 0.4), 0.02, 0.05

    def setup(self):
        if (case := _example(self.routine)) is None:
            raise NotImplementedError("this commit has no such routine on real data")
        self.arguments = case.real(case.dtypes[0])
        self.baseline = case.peer and functools.partial(case.peer[1], **self.arguments)
        self.call = functools.partial(self.routine.function, **self.arguments)
        self.call()

    setup.pretty_source = ""


def _headline(name, routine):
    """The class that asv finds, with functions of its own, since asv takes names from functions."""

    def time_call(self):
        self.call()

    def track_relative_time(self):
        if self.baseline is None:
            return math.nan
        try:
            with np.errstate(all="ignore"):
                return {"samples": _ratios(self.call, self.baseline), "number": 1}
        except ImportError:
            return math.nan

    def track_memory(self):
        """The most that the call holds at any time, results and scratch, as NumPy and Python
        allocate it."""
        tracemalloc.start()
        try:
            self.call()
            return max(tracemalloc.get_traced_memory()[1], SMALLEST)
        finally:
            tracemalloc.stop()

    track_relative_time.unit = "× the baseline's time"
    track_memory.unit = "bytes"
    figures = {
        time_call: "time",
        track_relative_time: "time / baseline's",
        track_memory: "memory",
    }
    for function, figure in figures.items():
        function.benchmark_name = f"{name}.{function.__name__}"
        function.pretty_name = f"{name.partition('.')[2]}: {figure}"
        function.pretty_source = f"numcore.{name} on its real data: {figure}"
    functions = {function.__name__: function for function in figures}
    return type(name.replace(".", "_"), (_Headline,), {"routine": routine} | functions)


def _chosen():
    """The routine of each headline, None if this commit does not have it."""
    by_name = {_name(routine): routine for routine in routines()}
    given = os.environ.get("NUMCORE_HEADLINES")
    if not given:
        return {name: by_name[name] for name in headlines()}
    for module in HEAVY:
        try:
            importlib.import_module(module)
        except ImportError:
            continue
    return {name: by_name.get(name, by_name.get(old)) for name, old in json.loads(given).items()}


globals().update({name.replace(".", "_"): _headline(name, its) for name, its in _chosen().items()})
