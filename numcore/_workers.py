"""Processes on all CPUs that compile and check rows of ``python -m numcore``, before these are
timed one after the other while nothing else runs.

Which kernels a row needs is known by making its call.
"""

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool


@contextlib.contextmanager
def checker():
    """A function ``check(rows, progress)`` that returns a dict from rows to what
    :func:`numcore._measure.check` found, and fills the user's cache with the rows' kernels.

    Rows that raised an exception are left out, as are rows of other devices and rows of a single
    method: the measurement checks them as fast. ``progress(i, n)`` hears of i of n finished
    methods.
    """
    from ._pool import available_cpus
    from ._rows import method
    from .dispatch import CPU

    # fresh processes: libraries with threads of their own do not survive a fork
    pool = ProcessPoolExecutor(
        available_cpus(), multiprocessing.get_context("spawn"), initializer=_start
    )

    def check(rows, progress):
        on_cpu = [row for row in rows if row.device is CPU]
        groups = [list(group) for _, group in itertools.groupby(on_cpu, lambda row: method(row[0]))]
        if len(groups) < 2:
            return {}
        found = {}
        with contextlib.suppress(BrokenProcessPool):
            futures = {
                pool.submit(_check, [(r.room, r.name, dtype) for r, dtype, _ in group]): group
                for group in groups
            }
            for i, future in enumerate(as_completed(futures)):
                found |= zip(futures[future], future.result(), strict=True)
                progress(i + 1, len(groups))
        return {row: checked for row, checked in found.items() if checked is not None}

    try:
        yield check
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # one CPU each; read when these libraries are loaded, which is why this module loads none
    for name in ("OMP", "OPENBLAS", "MKL", "NUMCORE"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    # Numba makes millions of small objects: looking for cycles among them takes a seventh
    gc.set_threshold(200_000, 100, 100)


def _end_with_parent():
    """A parent that was killed leaves no workers behind."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _check(names):
    """What :func:`numcore._measure.check` finds for each (subpackage, name, dtype), None if it
    raises an exception."""
    from . import _measure
    from .dispatch import CPU, routines

    by_name = {(routine.room, routine.name): routine for routine in routines()}
    found = []
    for subpackage, name, dtype in names:
        try:
            found.append(_measure.check(by_name[subpackage, name], dtype, CPU))
        except Exception:
            found.append(None)
    return found
