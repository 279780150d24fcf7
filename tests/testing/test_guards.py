"""Guard zones find every fault that is planted into a CPU body, and name the kernel and the
argument."""

import sys

import numpy as np
import pytest

from numcore.elementwise import Elementwise
from numcore.kernel import Kernel
from numcore.special import exp
from numcore.testing import KernelFault, guards
from numcore.testing.guards import guarded_runs
from numcore.testing.twins import compare_bodies

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mprotect and fork are POSIX's")

CONTRACT = "in T x[n, d]; inout T z[n]; out T y[n]; scratch T row[d]"


def sums(x, z, y, row, start, stop):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            row[j] = x[i, j]
        total = x[i, 0]
        for j in range(1, x.shape[1]):
            total += row[j]
        y[i] = total
        z[i] += total


def reads_past_the_end(x, z, y, row, start, stop):
    sums(x, z, y, row, start, stop)
    for i in range(start, stop):
        y[i] += y[y.shape[0]] * 0


def reads_another_row_past_the_end(x, z, y, row, start, stop):
    sums(x, z, y, row, start, stop)
    for i in range(start, stop):
        y[i] += x[x.shape[0], 0] * 0


def writes_past_the_end(x, z, y, row, start, stop):
    sums(x, z, y, row, start, stop)
    z[z.shape[0]] = 1


def overruns_scratch(x, z, y, row, start, stop):
    sums(x, z, y, row, start, stop)
    row[row.shape[0]] = 1


def writes_input(x, z, y, row, start, stop):
    sums(x, z, y, row, start, stop)
    x[start, 0] = y[start]


def leaves_one_out(x, z, y, row, start, stop):
    for i in range(start, stop):
        if i != 2:
            y[i] = x[i, 0]


def reads_its_output(x, z, y, row, start, stop):
    for i in range(start, stop):
        y[i] = y[i] / 2 + x[i, 0]


def reads_fresh_scratch(x, z, y, row, start, stop):
    for i in range(start, stop):
        y[i] = row[0] / 2


def depends_on_chunks(x, z, y, row, start, stop):
    for i in range(start, stop):
        y[i] = x[start, 0]


def never_ends(x, z, y, row, start, stop):
    while y[start] != 7 or x[start, 0] > 1e300:
        y[start] = x[start, 0] * 0


CASES = [
    (reads_past_the_end, "out of bounds", "past the end of out y", 2),
    (reads_another_row_past_the_end, "out of bounds", "past the end of in x", 0),
    (writes_past_the_end, "out of bounds", "past the end of inout z", 1),
    (overruns_scratch, "out of bounds", "past the end of scratch row", None),
    (writes_input, "writes input", "writes to its input x", 0),
    (leaves_one_out, "unwritten", "y undefined: element 2 was never written", 2),
    (reads_its_output, "unwritten", "y undefined: element 0 depends on memory", 2),
    (reads_fresh_scratch, "unwritten", "y undefined: element 0 depends on memory", 2),
    (depends_on_chunks, "unwritten", "how the items are split", 2),
]


def run(body, n=5, d=3, dtype="float64", contract=CONTRACT):
    made = Kernel(body, contract, split="n", gpu=None, host_only="a test of guards")
    rng = np.random.default_rng(0)
    arguments = [rng.random((n, d)).astype(dtype), np.ones(n, dtype), np.empty(n, dtype)]
    return arguments, guarded_runs(made, {"T": dtype}, [(arguments, {"n": n, "d": d})])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, d", [(0, 3), (1, 1), (5, 3), (600, 7)])
def test_a_good_body_passes_and_its_results_come_back(n, d, dtype):
    (x, z, _), (written,) = run(sums, n, d, dtype)
    np.testing.assert_allclose(written["y"], x.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(written["z"], z + x.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "body, kind, words, argument", CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_planted_fault_is_found(body, kind, words, argument):
    with pytest.raises(KernelFault) as info:
        run(body)
    assert (info.value.kind, info.value.argument) == (kind, argument)
    message = str(info.value)
    line = body.__code__.co_firstlineno
    assert f"kernel {body.__name__} (tests/testing/test_guards.py:{line})" in message
    assert words in message


def test_an_access_before_the_start_is_found():
    def body(x, y, start, stop):
        for i in range(start, stop):
            y[i] = x[i] + x[i - 2 * x.shape[0]] * 0  # Numba counts from the end only once

    made = Kernel(body, "in T x[n]; out T y[n]", split="n", gpu=None, host_only="a test of guards")
    with pytest.raises(KernelFault, match="before the start of in x"):
        guarded_runs(made, {"T": "float64"}, [([np.ones(3), np.empty(3)], {"n": 3})])


def test_an_endless_loop_is_found(monkeypatch):
    monkeypatch.setattr(guards, "MOST_SECONDS", 0.2)
    with pytest.raises(KernelFault, match="does not end"):
        run(never_ends)


def test_a_small_overrun_into_the_rest_of_a_page_is_found():
    def body(x, y, start, stop):
        for i in range(start, stop):
            y[i] = x[i]
        y[y.shape[0] + 3] = 1

    made = Kernel(body, "in T x[n]; out T y[n]", split="n", gpu=None, host_only="a test")
    # flush with the start only: the margin behind the array is compared, no page is missed
    x, y = np.ones(3), np.empty(3)
    one = guards._Run(made, {"T": "float64"}, [x, y], {"n": 3}, 1, lambda p: (True, False))
    assert guards._survives([one]) is None
    with pytest.raises(KernelFault, match="writes outside out y, at element 6"):
        guards._check_margins(one)


def test_elementwise_bodies_are_guarded():
    made = exp.kernel
    assert isinstance(made, Elementwise)
    x = np.linspace(-5, 5, 1000)
    (written,) = guarded_runs(made, {"T": "float64"}, [([x, np.empty(1000)], {"n": 1000})])
    np.testing.assert_array_equal(written["y"], exp(x))


def test_twins_run_between_guard_zones():
    made = Kernel(reads_past_the_end, CONTRACT, split="n", gpu=None, host_only="a test of guards")
    with pytest.raises(KernelFault, match="past the end of out y"):
        compare_bodies(made, {"T": "float32"}, np.random.default_rng(0), (0, 1, 7))
