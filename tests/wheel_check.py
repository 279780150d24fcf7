"""Check an installed wheel from outside the checkout: its files, and that a fresh process starts at
once and without Numba.

``python wheel_check.py [--slack 1.3]`` exits with 1 if a check fails; `slack` widens the limits on
time for a noisy machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 9
START = "import time; start = time.perf_counter()\n"
STOP = """
seconds = time.perf_counter() - start
import json, sys
print(json.dumps([seconds, [m for m in ("numba", "llvmlite") if m in sys.modules], value]))"""
NUMPY = "import numpy; value = None"
NUMCORE = "import numcore; value = None"
FIRST_EXP = """import numpy, numcore
from numcore.special import exp
value = float(exp(numpy.ones(16, numpy.float32))[3])"""
FIRST_ATTENTION = """import numpy, numcore
from numcore.nn import attention
q = numpy.ones((1, 1, 8, 16), numpy.float32)
value = float(attention(q, q, q)[0, 0, 3, 5])"""
CODES = {
    "import numpy": NUMPY,
    "import numcore": NUMCORE,
    "first exp, empty cache": FIRST_EXP,
    "first attention, empty cache": FIRST_ATTENTION,
}
# of importing NumPy, how many times may it take
LIMITS = {
    "import numcore": 0.02,
    "first exp, empty cache": 1.35,
    "first attention, empty cache": 1.35,
}
FILES = (
    "py.typed",
    "compiled/versions.txt",
    "compiled/*.bc",
    "special/*.json",
    "testing/*.h",
    "gpu/*.cu",
    "gpu/include/*.cuh",
    "*.pyi",
    "linalg/*.pyi",
)


def run(code, cache):
    """Seconds from the first import on, the compilers that came in, and the result, in a fresh
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
    """The wheel's object code is used where it fits this CPU, its bitcode elsewhere."""
    from numcore import _cpu

    for code, expected in ((FIRST_EXP, 2.7182817), (FIRST_ATTENTION, 1.0)):
        _, compilers, value = run(code, cache)
        assert abs(value - expected) < 1e-6, f"the result must be {expected} (got {value})"
        assert "numba" not in compilers, "the first call imported numba"
        mapped = sys.platform == "linux" and platform.machine() == "x86_64" and _cpu.level()
        assert not (mapped and compilers), f"the first call imported {compilers}"
    assert not list(cache.glob("*.bc")), "nothing of the wheel was found: a kernel was compiled"
    assert _cpu.level() is None or not list(cache.glob("*.o")), "the wheel's code was not used"


def check_times(folder, slack):
    """Medians over fresh processes that take turns, compared with the limits."""
    times = {name: [] for name in CODES}
    for i in range(ROUNDS + 1):
        for name, code in CODES.items():
            seconds, _, _ = run(code, folder / f"cold{i}{name}")
            times[name] += [seconds] if i else []  # the first round reads files from disk
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    failed = []
    for name, seconds in medians.items():
        ratio, limit = seconds / medians["import numpy"], LIMITS.get(name)
        note = f" (limit {limit}, times {slack} on this machine)" if limit else ""
        print(f"{name:28} {1e3 * seconds:7.1f} ms, {ratio:.2f} of importing NumPy{note}")
        failed += [name] if limit and ratio > limit * slack else []
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
