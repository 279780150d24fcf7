"""Measure this machine for the page on speed: ``python docs/measure.py`` writes
docs/measured/<CPU>.json, which is then committed.

Run it when nothing else runs. It takes the routines' examples through numcore's own measurement (as
``python -m numcore`` does), and times fresh processes for the start-up.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "measured"
EXP = "import numpy; from numcore.special import exp; exp(numpy.ones(16, numpy.float32))"
NUMBA = "import numba, numpy; numba.njit(lambda x: numpy.exp(x))(numpy.ones(16, numpy.float32))"


def seconds(code, cache):
    """From the first import to the end of `code`, in a fresh process."""
    timed = f"from time import perf_counter as now; start = now(); {code}; print(now() - start)"
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    return float(
        subprocess.check_output(
            [sys.executable, "-c", timed], env=environment | {"NUMCORE_CACHE_DIR": str(cache)}
        )
    )


def start_up(processes):
    """Medians over fresh processes that take turns; "first time" finds the bitcode that a wheel
    ships, and no code for this CPU."""
    with tempfile.TemporaryDirectory() as folder:
        warm, times = Path(folder, "warm"), {}
        seconds(EXP, warm)
        for i in range(processes + 1):
            cold = Path(folder, f"cold{i}")
            cold.mkdir(mode=0o700)
            for file in warm.glob(
                "*.bc"
            ):  # only in a source checkout: an installed wheel has its own
                shutil.copy(file, cold)
            for what, code, cache in (
                ("import numpy", "import numpy", warm),
                ("import numcore", "import numcore", warm),
                ("import numpy, numcore.exp of 16 numbers, not the first time", EXP, warm),
                ("import numpy, numcore.exp of 16 numbers, for the first time", EXP, cold),
                ("import numpy, exp of 16 numbers compiled by numba.njit", NUMBA, warm),
            ):
                times.setdefault(what, []).append(seconds(code, cache))
    return [
        {"what": what, "seconds": statistics.median(taken[1:])} for what, taken in times.items()
    ]  # the first reads files from disk


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="time for each row of the table (%(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=9, help="fresh processes of each kind (%(default)s)"
    )
    options = parser.parse_args()
    from numcore import _measure
    from numcore.dispatch import routines
    from numcore.examples import example

    environment = _measure.environment()
    found = {
        "environment": environment,
        "date": datetime.date.today().isoformat(),
        "start_up": start_up(options.processes),
        "results": [],
    }
    for routine in routines():
        for dtype in example(routine).dtypes:
            for device in _measure.devices():
                print(f"{routine.room}.{routine.name}", dtype, device.name, flush=True)
                found["results"].append(_measure.measure(routine, dtype, device, options.seconds))
    FOLDER.mkdir(exist_ok=True)
    name = re.sub(r"\W+", "-", environment["cpu"]).strip("-").lower()
    (FOLDER / f"{name}.json").write_text(
        json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
