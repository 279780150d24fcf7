"""Check an installed wheel from outside the checkout: its files, and that a fresh process starts at
once and without Numba.

``python wheel_check.py [--slack 1.3]`` exits with 1 if a check fails; `slack` widens the limits on
time for a noisy machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 9
START = "import time; start = time.perf_counter()\n"
STOP = "\nseconds = time.perf_counter() - start; import json, sys; print(json.dumps([seconds, 'numba' in sys.modules, numcore_value]))"  # noqa: E501
NUMPY = "import numpy; numcore_value = None"
NUMCORE = "import numcore; numcore_value = None"
FIRST_EXP = """import numpy, numcore
from numcore.special import exp
numcore_value = float(exp(numpy.ones(16, numpy.float32))[3])"""
# what is timed, what it is compared with, the largest ratio allowed
LIMITS = (
    ("first exp, empty cache", "import numpy", 3.0),
    ("first exp, again", "import numpy", 1.3),
    ("import numcore", "import numpy", 0.35),
)
FILES = (
    "py.typed",
    "bitcode/versions.txt",
    "bitcode/*.bc",
    "special/*.json",
    "testing/*.h",
    "gpu/*.cu",
    "gpu/include/*.cuh",
)


def run(code, cache):
    """Seconds from the first import on, whether Numba came in, and the result, in a fresh
    process."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    output = subprocess.check_output(
        [sys.executable, "-c", START + code + STOP],
        env=environment | {"NUMCORE_CACHE_DIR": str(cache)},
    )
    return json.loads(output)


def check_files():
    import numcore

    root = Path(numcore.__file__).parent
    assert "site-packages" in root.parts, f"numcore must come from an installed wheel (got {root})"
    for pattern in FILES:
        assert list(root.glob(pattern)), f"the wheel lacks {pattern}"


def check_first_call(cache):
    _, has_numba, value = run(FIRST_EXP, cache)
    assert not has_numba, "the first call imported numba"
    assert abs(value - 2.7182817) < 1e-6, f"exp(1) must be e (got {value})"
    assert list(cache.glob("*.o")), "no object code was kept in the cache"
    assert not list(cache.glob("*.bc")), "the wheel's bitcode was not found: a kernel was compiled"


def check_times(folder, slack):
    """Medians over fresh processes that take turns, compared with the limits."""
    warm = folder / "warm"
    run(FIRST_EXP, warm)
    times = {
        "import numpy": [],
        "import numcore": [],
        "first exp, empty cache": [],
        "first exp, again": [],
    }
    for i in range(ROUNDS + 1):
        found = {
            "import numpy": run(NUMPY, warm),
            "import numcore": run(NUMCORE, warm),
            "first exp, empty cache": run(FIRST_EXP, folder / f"cold{i}"),
            "first exp, again": run(FIRST_EXP, warm),
        }
        for name, (seconds, _, _) in found.items():
            times[name] += [seconds] if i else []  # the first round reads files from disk
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, seconds in medians.items():
        print(f"{name:24} {1e3 * seconds:7.1f} ms")
    failed = []
    for name, base, limit in LIMITS:
        ratio = medians[name] / medians[base]
        print(f"{name} / {base}: {ratio:.2f} (limit {limit}, times {slack} on this machine)")
        failed += [name] if ratio > limit * slack else []
    assert not failed, f"too slow: {', '.join(failed)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slack", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_files()
        check_first_call(Path(folder, "first"))
        check_times(Path(folder), options.slack)
    print("the wheel is good")


if __name__ == "__main__":
    main()
