"""The rows of ``python -m numcore``: which routines are measured, in which dtypes and on which
devices."""

import importlib
import itertools
import os
from typing import Any, NamedTuple

from . import _bitcode
from .examples import example, has_example

PER_METHOD = 2
# Rows that are compiled and checked together before they are timed: few at first, so that a row is
# soon seen, then more, so that all CPUs are busy.
FIRST_BATCH, LARGEST_BATCH = 4, 24


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
