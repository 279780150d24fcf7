"""The rows of ``python -m numcore``: which routines are measured in which dtypes and on which
devices, and the compilation of their kernels by all CPUs beforehand."""

import contextlib
import gc
import importlib
import itertools
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np

from . import _bitcode
from ._pool import available_cpus
from .dispatch import CPU, routines
from .examples import example, has_example

PER_METHOD = 2
# Rows whose kernels are compiled together before they are measured: few at first, so that a row is
# soon seen, then more, so that all CPUs are busy.
FIRST_BATCH, LARGEST_BATCH = 4, 16


class Row(NamedTuple):
    """What is measured together."""

    routine: Any
    dtype: str
    device: Any


def method(routine):
    """``numcore.linalg._coreset.routines`` → ``linalg.coreset``: the module or folder of a
    subpackage, or a subpackage that is one module."""
    parts = routine.function.__module__.split(".")[1:3]
    return ".".join(part.lstrip("_") for part in parts)


def rows_of(routines, devices, every_dtype):
    """The rows of some routines, in every dtype of their examples or in the first."""
    return [
        Row(routine, dtype, device)
        for routine in sorted(routines, key=_place)
        for dtype in _dtypes(routine)[: None if every_dtype else 1]
        for device in devices
    ]


def _dtypes(routine):
    return example(routine).dtypes if has_example(routine) else ("",)  # measuring it is an error


def _place(routine):
    """Methods by name, and in each the routines in the order of the examples."""
    names = list(importlib.import_module(f"numcore.examples.{routine.room}").EXAMPLES)
    return method(routine), names.index(routine.name) if routine.name in names else len(names)


def few_of_each_method(routines):
    """At most `PER_METHOD` routines of each method, the first of its examples: those that have a
    call on real data and a baseline, or else real data, or else a baseline, or else any."""
    found = []
    for _, group in itertools.groupby(sorted(routines, key=_place), key=method):
        group = [(_merit(routine), routine) for routine in group]
        best = max(merit for merit, _ in group)
        found += [routine for merit, routine in group if merit == best][:PER_METHOD]
    return found


def _merit(routine):
    if not has_example(routine):
        return -1
    case = example(routine)
    return 2 * (case.real is not None) + (case.peer is not None)


def arguments_of(case, dtype):
    """The arguments of the call that is measured: real data if the example has any."""
    return case.real(dtype) if case.real else case.arguments(np.random.default_rng(0), dtype)


# --- compiling beforehand -------------------------------------------------------------------------


def batches(rows):
    """The rows in lists of whole methods."""
    batch, size = [], FIRST_BATCH
    for _, group in itertools.groupby(rows, key=lambda row: method(row.routine)):
        batch += group
        if len(batch) >= size:
            yield batch
            batch, size = [], min(2 * size, LARGEST_BATCH)
    if batch:
        yield batch


def compiled_by_numba():
    """Whether kernels are compiled when they are first used, since no wheel brought them."""
    return not os.path.isdir(_bitcode.WHEEL_STORE)


@contextlib.contextmanager
def compiler():
    """A function ``compile(rows)`` that fills the user's cache with the kernels that the rows need:
    processes on all CPUs make the rows' calls. Errors are left to the measurement."""
    # fresh processes: libraries with threads of their own do not survive a fork
    pool = ProcessPoolExecutor(
        available_cpus(), multiprocessing.get_context("spawn"), initializer=_start
    )

    def compile(rows):
        on_cpu = [row for row in rows if row.device is CPU]
        tasks = [
            [(row.routine.room, row.routine.name, row.dtype) for row in group]
            for _, group in itertools.groupby(on_cpu, key=lambda row: method(row.routine))
        ]
        if len(tasks) < 2:  # the measurement compiles them as fast
            return
        with contextlib.suppress(BrokenProcessPool):
            wait([pool.submit(_call, task) for task in tasks])

    try:
        yield compile
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    # Numba makes millions of small objects: looking for cycles among them takes a seventh
    gc.set_threshold(200_000, 100, 100)
    with contextlib.suppress(Exception):
        routines()


def _call(names):
    """Call routines on what they are measured on, given (subpackage, name, dtype)."""
    found = {(routine.room, routine.name): routine for routine in routines()}
    for subpackage, name, dtype in names:
        with contextlib.suppress(Exception):
            routine = found[subpackage, name]
            routine.function(**arguments_of(example(routine), dtype))
