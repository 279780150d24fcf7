"""What does not depend on the routine: start-up, the cost of a call, threads, random words.

Start-up is measured in fresh processes that take turns with ``import numpy``. A cold start finds no
object code in its cache folder, only the bitcode that a wheel ships, a warm start finds what an
earlier process left there.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore._pool import available_cpus
from numcore.dispatch import ROOMS
from numcore.random import philox_uint32
from numcore.special import exp

PROCESSES = 7
SECONDS = 0.5
FIRST_EXP = "import numpy; from numcore.special import exp; exp(numpy.ones(16, numpy.float32))"


def _seconds(code, cache):
    """Seconds from the first import on, in a fresh process."""
    timed = f"from time import perf_counter as now; start = now(); {code}; print(now() - start)"
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    return float(
        subprocess.check_output(
            [sys.executable, "-c", timed], env=environment | {"NUMCORE_CACHE_DIR": str(cache)}
        )
    )


class _FreshProcesses:
    """In multiples of the time that ``import numpy`` takes."""

    unit = "× (time / import numpy's)"
    timeout = 300

    def setup(self, *parameters):
        self.folder = Path(tempfile.mkdtemp(prefix="numcore-asv-"))
        self.folder.chmod(0o700)
        _seconds(FIRST_EXP, self.folder / "warm")

    def teardown(self, *parameters):
        shutil.rmtree(self.folder)

    def _cold(self, i):
        """A cache folder of its own; in a source checkout, which has no wheel, with the bitcode
        that a wheel would hold."""
        cold = self.folder / f"cold{i}"
        cold.mkdir(mode=0o700)
        for file in (self.folder / "warm").glob("*.bc"):
            shutil.copy(file, cold)
        return cold

    def _ratio(self, code, cache):
        times = [
            (_seconds(code, cache(i)), _seconds("import numpy", self.folder / "warm"))
            for i in range(PROCESSES + 1)
        ]
        ours, numpys = (
            statistics.median(taken) for taken in zip(*times[1:], strict=True)
        )  # the first reads files from disk
        return ours / numpys


class Import(_FreshProcesses):
    """numcore imports nothing by itself; a subpackage brings numpy with it."""

    param_names, params = ("module",), (["numcore", *(f"numcore.{room}" for room in ROOMS)],)

    def track_import_time(self, module):
        return self._ratio(f"import {module}", lambda i: self.folder / "warm")


class FirstCall(_FreshProcesses):
    """The imports of numpy and numcore, and exp of 16 numbers."""

    def track_cold_start(self):
        return self._ratio(FIRST_EXP, self._cold)

    def track_warm_start(self):
        return self._ratio(FIRST_EXP, lambda i: self.folder / "warm")


class Calls:
    def track_call_overhead(self):
        """A call on 16 elements: numcore's time by numpy's. Each side makes 1000 calls at a time,
        beside which a loop costs nothing."""
        x = np.linspace(0, 1, 16, dtype=np.float32)

        def many(function):
            def call():
                for _ in range(1000):
                    function(x)

            return call

        ours, numpys = median_seconds([many(exp), many(np.exp)], SECONDS)
        return ours / numpys

    track_call_overhead.unit = "× (numcore's time / numpy's)"


class Threads:
    def setup(self):
        if available_cpus() < 2:
            raise NotImplementedError("one CPU has no second thread to scale to")

    def teardown(self):
        numcore.set_num_threads(None)

    def track_scaling_to_two(self):
        """exp of 2^22 numbers: the time of one thread by the time of two."""
        x = np.linspace(-5, 5, 2**22, dtype=np.float32)
        y = np.empty_like(x)

        def with_threads(n):
            def call():
                numcore.set_num_threads(n)
                exp(x, out=y)

            return call

        one, two = median_seconds([with_threads(1), with_threads(2)], SECONDS)
        return one / two

    track_scaling_to_two.unit = "× (1 thread's time / 2 threads')"


class Philox:
    def track_throughput(self):
        words = 2**22
        (seconds,) = median_seconds([lambda: philox_uint32(words, key=(1, 2))], SECONDS)
        return 4e-9 * words / seconds

    track_throughput.unit = "GB/s"
