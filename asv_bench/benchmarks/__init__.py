"""What is measured of every routine: time, memory, and the peer's time by ours, on the example
calls of numcore.examples.

A room's benchmarks are three classes derived from those below; their parameters are the routines
that the registry lists, so that a new routine is measured without a new line. asv takes names with
a leading underscore for no benchmarks.
"""

import functools
import os

# Threads of torch and of OpenBLAS would go on spinning on the CPUs while numcore is timed. They
# read this when they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np

from numcore._measure import median_seconds
from numcore.dispatch import routines
from numcore.examples import example

SMALL = 16  # leading extent of a small input
SECONDS = 0.3  # for the two sides of one ratio together


class _OfRoutines:
    """Parameters and calls of all routines of one room: ``class Time(_Time, room="special")``."""

    param_names = ("routine", "dtype", "input")
    inputs = ("real data", "small")

    def __init_subclass__(cls, room=None):
        if room is not None:
            cls.routines = {routine.name: routine for routine in routines() if routine.room == room}
            dtypes = sorted(
                {dtype for routine in cls.routines.values() for dtype in example(routine).dtypes}
            )
            cls.params = (list(cls.routines), dtypes, list(cls.inputs))

    def setup_cache(self):
        """Once, in a process of its own: all kernels get their code for this CPU, so that no
        compiler's time or memory is measured.

        asv runs it for the first room only, since it knows it by this place in the source: so it
        loads every room.
        """
        for routine in routines():
            for dtype in example(routine).dtypes:
                routine.function(
                    **example(routine).arguments(np.random.default_rng(0), np.dtype(dtype))
                )

    setup_cache.timeout = 900

    def setup(self, name, dtype, kind):
        function, self.example = self.routines[name].function, example(self.routines[name])
        if dtype not in self.example.dtypes:
            raise NotImplementedError(f"{name} has no {dtype}")
        self.arguments = self._arguments(dtype, kind)
        self.call = functools.partial(function, **self.arguments)
        self.call()  # loads what is loaded once

    def _arguments(self, dtype, kind):
        if kind == "real data" and self.example.real:
            return self.example.real(dtype)
        rng, dtype = np.random.default_rng(0), np.dtype(dtype)
        if kind == "small" and self.example.sizes:
            return self.example.sizes(rng, dtype, SMALL)
        return self.example.arguments(rng, dtype)


class _Time(_OfRoutines):
    rounds, repeat, sample_time, warmup_time = 1, (5, 20, 0.5), 0.01, 0.05

    def time_call(self, name, dtype, kind):
        self.call()


class _Memory(_OfRoutines):
    """Of the whole process, with its data."""

    inputs = ("real data",)

    def peakmem_call(self, name, dtype, kind):
        self.call()


class _Ratio(_OfRoutines):
    """Above 1, numcore takes less time than its peer; both run in turn in one process, and medians
    are compared."""

    unit = "× (peer's time / numcore's)"

    def setup(self, name, dtype, kind):
        super().setup(name, dtype, kind)
        if self.example.peer is None:
            raise NotImplementedError(f"{name} has no peer")
        self.peer = functools.partial(self.example.peer[1], **self.arguments)
        try:
            with np.errstate(all="ignore"):
                self.peer()
        except ImportError as error:
            raise NotImplementedError(f"the peer of {name} is not installed") from error

    def track_ratio_to_peer(self, name, dtype, kind):
        with np.errstate(all="ignore"):
            ours, peers = median_seconds([self.call, self.peer], SECONDS)
        return peers / ours
