"""
Start-up: time until the first result
=====================================

A short program, or a worker process that is started many times, should not wait for a
compiler. Each bar is the time of a fresh Python process from its first import to its
first result (the median of several). "For the first time" is the slowest case: numcore
has never run on this machine, and its wheel has no object code for this kind of CPU. It
then finds portable bitcode, translates it for this CPU, and caches the result for all
later processes.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

PROCESSES = 5

NUMCORE = (
    "import numpy; from numcore.special import exp; exp(numpy.ones(16, numpy.float32))"
)
NUMBA = (
    "import numba, numpy; "
    "numba.njit(lambda x: numpy.exp(x))(numpy.ones(16, numpy.float32))"
)


def seconds(code, cache):
    clock = "from time import perf_counter as now"
    timed = f"{clock}; start = now(); {code}; print(now() - start)"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return float(
        subprocess.check_output(
            [sys.executable, "-c", timed],
            env=environment | {"NUMCORE_CACHE_DIR": str(cache)},
        )
    )


# %%
# The processes take turns, so that other load on this machine affects all of them
# equally.

times = {}
with tempfile.TemporaryDirectory() as folder:
    used = Path(folder, "used")
    seconds(NUMCORE, used)
    for i in range(PROCESSES):
        new = Path(folder, f"new{i}")
        new.mkdir(mode=0o700)
        for bitcode in used.glob("*.bc"):  # in a source checkout; a wheel ships it
            shutil.copy(bitcode, new)
        for what, code, cache in (
            ("import numpy, nothing else", "import numpy", used),
            ("numcore: exp of 16 numbers", NUMCORE, used),
            ("numcore: the same,\nfor the first time on this machine", NUMCORE, new),
            ("Numba: exp of 16 numbers,\ncompiled by @njit", NUMBA, used),
        ):
            times.setdefault(what, []).append(seconds(code, cache))

medians = {what: statistics.median(taken) for what, taken in times.items()}
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
bars = axes.barh(
    list(medians), medians.values(), color=["#9aa5b1", "#0b6e99", "#0b6e99", "#c4581a"]
)
axes.bar_label(bars, [f"{1e3 * taken:.0f} ms" for taken in medians.values()], padding=4)
axes.invert_yaxis()
axes.set_xlim(0, 1.15 * max(medians.values()))
axes.set_xlabel(
    "seconds from the first import to the first result, including NumPy's import"
)
axes.spines[["top", "right"]].set_visible(False)

base = medians["import numpy, nothing else"]
for what, taken in medians.items():
    print(
        f"{' '.join(what.split()):62} {1e3 * taken:6.0f} ms, "
        f"{taken / base:5.2f} × import numpy"
    )
