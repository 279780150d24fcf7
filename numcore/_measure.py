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
from ._rows import method
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


def median_seconds(calls, seconds, synchronise=lambda: None, *, warm=False):
    """Median time of each call; all are called in turn, in changing order, until `seconds` are
    over.

    Parameters
    ----------
    calls : sequence of function
        Called without arguments, and once before to warm up.
    seconds : float
        After this time no round begins, but at least five rounds are made, or as many as begin
        within five times as long.
    synchronise : function, optional
        Waits for the device.
    warm : bool
        Whether the calls have been made before.

    Returns
    -------
    list of float
    """
    for call in () if warm else calls:
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


def check(routine, dtype, device):
    """The error of a routine on its example, and the shape of its input.

    Parameters
    ----------
    routine : Routine
        An entry of the registry.
    dtype : str
    device : Device

    Returns
    -------
    dict
        JSON values; `measured_error` is None if it is infinite.
    """
    return _checked(_Call(routine, dtype, device))


def _checked(call):
    case, xp, bound = call.case, call.xp, call.case.bound[call.dtype]
    result = [leaf if xp is np else xp.asnumpy(leaf) for leaf in leaves(case.caller(call)())]
    error = _error(case, result if len(result) > 1 else result[0], call.on_host)
    return {
        "shape": list(np.shape(call.on_host[case.arrays[0]] if case.arrays else result[0])),
        "measured_error": error if math.isfinite(error) else None,
        "ok": bool(error <= bound),
    }


def measure(routine, dtype, device, seconds, checked=None):
    """Time and error of a routine on its example.

    Parameters
    ----------
    routine : Routine
        An entry of the registry.
    dtype : str
    device : Device
    seconds : float
        Time for the timing.
    checked : dict, optional
        What :func:`check` returned.

    Returns
    -------
    dict
        JSON values; `baseline`, `baseline_seconds` and `speed` (the baseline's time by ours) are
        None without a baseline, `baseline_missing` says why one does not run here, `data` is
        "random" without real data.
    """
    call = _Call(routine, dtype, device)
    case, xp = call.case, call.xp
    if checked is None:
        checked = _checked(call)
    else:
        call()
    baseline, missing = _baseline(case, call.arguments, xp)
    with np.errstate(all="ignore"):
        times = median_seconds(
            [call, baseline] if baseline else [call],
            seconds,
            (lambda: None) if xp is np else xp.cuda.Device().synchronize,
            warm=True,
        )
    return {
        "subpackage": routine.room,
        "method": method(routine),
        "routine": routine.name,
        "data": case.data if case.real else "random",
        "shape": checked["shape"],
        "dtype": dtype,
        "device": device.name,
        "seconds": times[0],
        "baseline": case.peer[0] + " of CuPy arrays" * (xp is not np) if baseline else None,
        "baseline_missing": missing,
        "baseline_seconds": times[1] if baseline else None,
        "speed": times[1] / times[0] if baseline else None,
        "error_unit": case.error,
        "promised_error": case.bound[dtype],
        "measured_error": checked["measured_error"],
        "ok": checked["ok"],
    }


class _Call:
    """The call of an example on a device."""

    def __init__(self, routine, dtype, device):
        self.case, self.xp, self.dtype = example(routine), device.namespace(), dtype
        self.on_host = (
            self.case.real(dtype)
            if self.case.real
            else self.case.arguments(np.random.default_rng(0), dtype)
        )
        self.arguments = {k: moved(value, self.xp.asarray) for k, value in self.on_host.items()}
        self.function, self.place = routine.function, {}
        if self.xp is not np and "xp" in inspect.signature(routine.function).parameters:
            self.place = {"xp": self.xp}

    def __call__(self):
        return self.function(**self.arguments, **self.place)


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
