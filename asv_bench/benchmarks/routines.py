"""What is measured of every routine: time, memory, and the baseline's time divided by numcore's, on
the example calls of numcore.examples.

The parameters are the routines that the registry lists, so that a new routine is measured without a
new line. asv ignores names with a leading underscore.
"""

import functools

import numpy as np

from numcore import dispatch
from numcore._measure import median_seconds
from numcore.examples import example

SMALL = 16  # leading extent of a small input
SECONDS = 0.3  # for the two sides of one ratio together

_ROUTINES = {f"{routine.room}.{routine.name}": routine for routine in dispatch.routines()}
_DTYPES = sorted({dtype for routine in _ROUTINES.values() for dtype in example(routine).dtypes})


class _OfRoutines:
    """Parameters and calls of all routines."""

    param_names = ("routine", "dtype", "input")
    params = (list(_ROUTINES), _DTYPES, ["real data", "small"])

    def setup_cache(self):
        """Once, in a process of its own: all kernels get their code for this CPU, so that no
        compiler's time or memory is measured."""
        for routine in _ROUTINES.values():
            for dtype in example(routine).dtypes:
                routine.function(
                    **example(routine).arguments(np.random.default_rng(0), np.dtype(dtype))
                )

    setup_cache.timeout = 900

    def setup(self, name, dtype, kind):
        function, self.example = _ROUTINES[name].function, example(_ROUTINES[name])
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


class Time(_OfRoutines):
    rounds, repeat, sample_time, warmup_time = 1, (5, 20, 0.5), 0.01, 0.05

    def time_call(self, name, dtype, kind):
        self.call()


class Memory(_OfRoutines):
    """Of the whole process, with its data."""

    params = (list(_ROUTINES), _DTYPES, ["real data"])

    def peakmem_call(self, name, dtype, kind):
        self.call()


class Ratio(_OfRoutines):
    """Above 1, numcore is faster than the baseline; both run in turn in one process, and medians
    are compared."""

    unit = "× (baseline's time / numcore's)"

    def setup(self, name, dtype, kind):
        super().setup(name, dtype, kind)
        if self.example.peer is None:
            raise NotImplementedError(f"{name} has no baseline")
        self.baseline = functools.partial(self.example.peer[1], **self.arguments)
        try:
            with np.errstate(all="ignore"):
                self.baseline()
        except ImportError as error:
            raise NotImplementedError(f"the baseline of {name} is not installed") from error

    def track_ratio_to_baseline(self, name, dtype, kind):
        with np.errstate(all="ignore"):
            ours, theirs = median_seconds([self.call, self.baseline], SECONDS)
        return theirs / ours
