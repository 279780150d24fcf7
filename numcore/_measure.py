"""Measuring a routine on its example: time against a baseline, error against the promise, on every
device of this machine."""

import importlib.metadata
import importlib.util
import inspect
import math
import os
import platform
import statistics
import time

import numpy as np

from ._pool import get_num_threads
from ._rows import arguments_of, method
from .dispatch import CPU, CUDA
from .examples import example, moved
from .examples.errors import largest_error, leaves

LEAST_ROUNDS = 5
PATIENCE = 4  # times the wanted seconds are spent on slow calls, then fewer rounds will do


def devices():
    """The devices of this machine: the CPU, and the GPU if CuPy is installed and sees one."""
    if importlib.util.find_spec("cupy"):
        try:
            import cupy

            if cupy.cuda.runtime.getDeviceCount():
                return (CPU, CUDA)
        except Exception:
            # a CuPy without its CUDA libraries or driver raises many kinds of error: no GPU to be
            # had
            pass
    return (CPU,)


def environment():
    """What the figures depend on: a dict of the machine and the versions."""
    found = {"numcore": importlib.import_module("numcore").__version__}
    for name in ("numpy", "numba", "llvmlite", "scipy", "cupy"):
        if importlib.util.find_spec(name):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:  # cupy-cuda12x and its like
                found[name] = importlib.import_module(name).__version__
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "threads": get_num_threads(),
        "versions": found,
    }


def _cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


# --- time -----------------------------------------------------------------------------------------


def median_seconds(calls, seconds, synchronise=lambda: None):
    """Median time of each call; all are called in turn, in changing order, until `seconds` are
    over.

    Parameters
    ----------
    calls : sequence of function
        Called without arguments, once more at first to warm up.
    seconds : float
        After this time no round begins, but at least five rounds are made, or as many as begin
        within five times as long.
    synchronise : function, optional
        Waits for the device.

    Returns
    -------
    list of float
    """
    for call in calls:
        call()
    times, end = [[] for _ in calls], time.perf_counter() + seconds
    turns = list(zip(calls, times, strict=True))
    while (
        not times[0]
        or (now := time.perf_counter()) < end
        or len(times[0]) < LEAST_ROUNDS
        and now < end + PATIENCE * seconds
    ):
        for call, taken in turns:
            synchronise()
            start = time.perf_counter()
            call()
            synchronise()
            taken.append(time.perf_counter() - start)
        turns.reverse()
    return [statistics.median(taken) for taken in times]


# --- one row --------------------------------------------------------------------------------------


def measure(routine, dtype, device, seconds):
    """Time and error of a routine on its example.

    Parameters
    ----------
    routine : Routine
        An entry of the registry.
    dtype : str
    device : Device
    seconds : float
        Time for the timing.

    Returns
    -------
    dict
        JSON values; `baseline`, `baseline_seconds` and `speed` (the baseline's time by ours) are
        None without a baseline, `baseline_missing` says why one does not run here,
        `measured_error` is None if it is infinite, `data` is "random" without real data.
    """
    case, xp = example(routine), device.namespace()
    on_host = arguments_of(case, dtype)
    arguments = {name: moved(value, xp.asarray) for name, value in on_host.items()}
    place = (
        {"xp": xp}
        if xp is not np and "xp" in inspect.signature(routine.function).parameters
        else {}
    )

    def ours():
        return routine.function(**arguments, **place)

    result = [leaf if xp is np else xp.asnumpy(leaf) for leaf in leaves(case.caller(ours)())]
    shape = list(np.shape(on_host[case.arrays[0]] if case.arrays else result[0]))
    error = _error(case, result if len(result) > 1 else result[0], on_host)
    baseline, missing = _baseline(case, arguments, xp)
    with np.errstate(all="ignore"):
        times = median_seconds(
            [ours, baseline] if baseline else [ours],
            seconds,
            (lambda: None) if xp is np else xp.cuda.Device().synchronize,
        )
    return {
        "subpackage": routine.room,
        "method": method(routine),
        "routine": routine.name,
        "data": case.data if case.real else "random",
        "shape": shape,
        "dtype": dtype,
        "device": device.name,
        "seconds": times[0],
        "baseline": case.peer[0] + (" of CuPy arrays" if xp is not np else "")
        if baseline
        else None,
        "baseline_missing": missing,
        "baseline_seconds": times[1] if baseline else None,
        "speed": times[1] / times[0] if baseline else None,
        "error_unit": case.error,
        "promised_error": case.bound[dtype],
        "measured_error": error if math.isfinite(error) else None,
        "ok": error <= case.bound[dtype],
    }


def failure(routine, dtype, device, error):
    """The row of a routine whose measurement raised `error`: a dict of JSON values."""
    return {
        "subpackage": routine.room,
        "method": method(routine),
        "routine": routine.name,
        "dtype": dtype,
        "device": device.name,
        "error": f"{type(error).__name__}: {error}",
    }


def _error(case, result, arguments):
    if case.sample and case.real:
        result, arguments = case.sample(result, **arguments)
    return largest_error(result, case.reference(**arguments), case.error)


def _baseline(case, arguments, xp):
    """The baseline's call and None, or None and why it does not run here: its library is missing,
    or does not take arrays of the device."""
    if case.peer is None:
        return None, None
    name, function = case.peer
    if xp is not np and not case.arrays:
        return None, f"{name} has no arrays to take from the device"

    def call():
        return function(**arguments)

    try:
        with np.errstate(all="ignore"):
            call()
    except ImportError as error:
        return None, f"{name}: {error}"
    except TypeError:
        if xp is np:
            raise
        return None, f"{name} does not take arrays of the device"
    return call, None
