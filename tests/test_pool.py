"""Threads: how many, many at once, after forks, in many processes, interrupted, failing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import toys

import numcore
from numcore import _pool

DEADLINE = 300  # seconds, after which something hangs


@pytest.fixture(autouse=True)
def default_threads():
    yield
    numcore.set_num_threads(None)


@pytest.fixture
def interrupts():
    """SIGINT raises KeyboardInterrupt, even if the tests run in the background, where shells let
    programs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def big(n=200_000):
    return np.random.default_rng(0).standard_normal(n)


@pytest.mark.parametrize(
    "bad, error",
    [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_set_num_threads_errors(bad, error):
    with pytest.raises(error, match="n must"):
        numcore.set_num_threads(bad)


def test_number_of_threads(monkeypatch):
    assert 1 <= numcore.get_num_threads() <= (os.cpu_count() or 1)
    monkeypatch.setenv("NUMCORE_NUM_THREADS", "3")
    numcore.set_num_threads(None)
    assert numcore.get_num_threads() == 3
    monkeypatch.setenv("NUMCORE_NUM_THREADS", "many")
    numcore.set_num_threads(None)
    with pytest.raises(
        ValueError, match="NUMCORE_NUM_THREADS must be an integer >= 1 .got 'many'."
    ):
        numcore.get_num_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity is Linux's")
def test_affinity_is_respected():
    code = "import os, numcore; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(numcore.get_num_threads())"  # noqa: E501
    environment = {k: v for k, v in os.environ.items() if k != "NUMCORE_NUM_THREADS"}
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        ).stdout.strip()
        == "1"
    )


@pytest.mark.parametrize(
    "content, cpus", [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64)]
)
def test_control_group_quota_is_respected(monkeypatch, content, cpus):
    monkeypatch.setattr(
        _pool, "_words_of", lambda path: content.split() if path.endswith("cpu.max") else []
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert _pool.available_cpus() == cpus


def test_small_inputs_never_touch_the_pool():
    code = (
        f"import sys, threading; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import numpy as np, toys\n"
        "toys.halve(np.ones(1000)); toys.row_statistic(np.ones((1, 3)), np.ones(1), 1.0)\n"
        "import numcore; numcore.random.uniform(100)\n"
        "print(threading.active_count())"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "1"
    )


def test_64_threads_at_once():
    x = big()
    expected, wrong = x / 2, []

    def work():
        for _ in range(5):
            if not (toys.halve(x) == expected).all():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_with_a_running_pool():
    numcore.set_num_threads(4)
    x = big()
    toys.halve(x)
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0 if (toys.halve(x) == x / 2).all() else 1)
        assert os.waitpid(child, 0)[1] == 0


def _in_child(n):
    x = np.arange(n, dtype=float)
    return float(toys.halve(x).sum())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(method):
    toys.halve(big())
    with multiprocessing.get_context(method).Pool(3) as workers:
        assert workers.map(_in_child, [100_000] * 6) == [_in_child(100_000)] * 6


def test_an_error_in_a_chunk_reaches_the_caller_and_stops_the_others():
    numcore.set_num_threads(4)
    seen = []

    def task(i):
        seen.append(i)
        if i == 3:
            raise RuntimeError("chunk 3")
        time.sleep(0.01)  # half a minute for all of them

    with pytest.raises(RuntimeError, match="chunk 3"):
        _pool.run(task, 10_000)
    assert len(seen) < 10_000
    assert (toys.halve(big()) == big() / 2).all()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_long_call_can_be_interrupted(interrupts):
    """The signal comes while both threads have a chunk: the caller's ends at once, the other one is
    waited for, and hardly any chunk starts any more."""
    numcore.set_num_threads(2)
    both, caught = threading.Barrier(2), threading.Event()
    started, finished = [], []

    def task(i):
        started.append(i)
        if threading.current_thread() is threading.main_thread():
            try:
                both.wait(DEADLINE)
                caught.wait(DEADLINE)
            except KeyboardInterrupt:
                caught.set()
                raise
        elif not caught.is_set():
            both.wait(DEADLINE)
            os.kill(os.getpid(), signal.SIGINT)
            assert caught.wait(DEADLINE)
        time.sleep(0.01)  # 100 s for all of them
        finished.append(i)

    with pytest.raises(KeyboardInterrupt):
        _pool.run(task, 10_000)
    count = len(started)
    assert len(finished) == count - 1 < 9_999
    assert (toys.halve(big()) == big() / 2).all()
    assert len(started) == count  # nothing writes to the caller's arrays any more


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_interrupt_does_not_leave_workers_behind(interrupts):
    """It comes while the call waits for the other thread's chunk, and the call goes on waiting."""
    numcore.set_num_threads(2)
    both, release = threading.Barrier(2), threading.Event()
    started, finished = [], []

    def interrupt_twice():
        both.wait(DEADLINE)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            while not caught:
                time.sleep(0.001)
            time.sleep(0.05)  # the main thread goes on to wait for this chunk
        release.set()

    caught = []

    def task(i):
        started.append(i)
        if threading.current_thread() is threading.main_thread():
            try:
                both.wait(DEADLINE)
                release.wait(DEADLINE)
            except KeyboardInterrupt:
                caught.append(i)
                raise
        elif not caught:
            interrupt_twice()
        finished.append(i)

    with pytest.raises(KeyboardInterrupt):
        _pool.run(task, 1000)
    assert len(finished) == len(started) - 1


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_shrink_while_they_take_long(threads):
    numcore.set_num_threads(threads)
    chunks = []

    def task(start, stop):
        chunks.append((start, stop))
        time.sleep(0.011)

    _pool.run_chunks(task, 64, 1)
    assert sorted(i for a, b in chunks for i in range(a, b)) == list(range(64))
    assert chunks[0] == (0, 4) and (63, 64) in chunks


def test_nothing_of_the_caller_stays_queued(monkeypatch):
    """Workers that come late hold no arrays, and without workers nothing is queued."""
    numcore.set_num_threads(4)
    pool = _pool._Pool()
    monkeypatch.setattr(_pool, "_pool", pool)
    monkeypatch.setattr(pool, "ensure", lambda workers: 2)
    _pool.run(lambda i: None, 100)
    left = [pool.jobs.get() for _ in range(pool.jobs.qsize())]
    assert len(left) == 2 and all(job.task is None for job in left)
    monkeypatch.setattr(pool, "ensure", lambda workers: 0)
    _pool.run(lambda i: None, 100)
    assert pool.jobs.empty()


def test_nested_calls_do_not_deadlock():
    numcore.set_num_threads(3)
    x = big()
    _pool.run(lambda i: toys.halve(x), 20)


def test_more_threads_when_none_can_be_started(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_pool, "_pool", _pool._Pool())
    numcore.set_num_threads(4)
    assert (toys.halve(big()) == big() / 2).all()


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc"
)
def test_memory_stays_flat_over_many_calls():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    x, small, a, y = big(20_000), np.ones(16, "f4"), np.ones((64, 8)), np.empty(64)
    numcore.set_num_threads(2)

    def calls(n):
        for _ in range(n):
            toys.halve(small)
            numcore.special.exp(small)
        for _ in range(n // 50):
            toys.halve(x)
            toys.row_statistic(a, y, 1.0)
            numcore.random.uniform(100, rng=1)

    calls(2000)
    before = resident()
    calls(100_000)
    assert resident() - before < 4 << 20
