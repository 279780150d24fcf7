"""numcore's own threads: chunks of one kernel call run with the GIL released, the caller working
along."""

import math
import operator
import os
import threading
import time
from _queue import SimpleQueue


def available_cpus():
    """CPUs that this process may use: its affinity, and the quota of its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota in (_quota_v2(), _quota_v1()):
        if quota is not None:
            cpus = min(cpus, max(1, math.ceil(quota)))
    return cpus


def _words_of(path):
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def _quota_v2():
    words = _words_of("/sys/fs/cgroup/cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1():
    quota, period = (
        _words_of(f"/sys/fs/cgroup/cpu/cpu.cfs_{what}_us") for what in ("quota", "period")
    )
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


CHUNKS_PER_THREAD = 4  # so that a thread that comes late or is slow keeps none waiting
ALONE = 32  # times the smallest chunk is what one thread does in one piece
FIRST = 4  # times the smallest chunk is the first one: how long an item takes is not known yet
# Seconds between which chunks grow and shrink to lie, since a signal waits for the end of one.
QUICK, SLOW = 0.002, 0.01


class _Job:
    """One kernel call: whoever has time takes the next chunk of the items."""

    def __init__(self, task, count, least, most):
        self.task, self.count, self.least, self.most = task, count, least, most
        self.next, self.running, self.error, self.step = 0, 0, None, min(FIRST * least, most)
        self.condition = threading.Condition()

    def work(self):
        while True:
            start = self.count
            try:
                with self.condition:
                    if self.next < self.count:
                        start, self.running = self.next, self.running + 1
                        self.next = stop = min(start + self.step, self.count)
                if start == self.count:
                    return
                self.run(start, stop)
            except BaseException as error:
                with self.condition:
                    self.error, self.next = self.error or error, self.count
            finally:
                if start != self.count:
                    with self.condition:
                        self.running -= 1
                        self.condition.notify_all()

    def run(self, start, stop):
        """Run a chunk, and choose the length of the next one by the time that it takes."""
        began = time.perf_counter()
        self.task(start, stop)
        seconds = time.perf_counter() - began
        if seconds > SLOW:
            self.step = max(self.least, (stop - start) // 2)
        elif seconds < QUICK:
            self.step = min(2 * (stop - start), self.most)

    def cancel_and_wait(self):
        """Let no chunk start any more, and wait for those that run: they write to the caller's
        arrays. An interrupt meanwhile is an error of the job."""
        while True:
            try:
                with self.condition:
                    self.next = self.count
                    while self.running:
                        self.condition.wait()
                self.task = None  # a worker that comes later holds nothing of the caller's
                return
            except BaseException as error:
                self.error = error


class _Pool:
    def __init__(self):
        self.lock, self.jobs, self.workers = threading.Lock(), SimpleQueue(), 0

    def ensure(self, workers):
        """Start threads until there are `workers`, if the system lets us; how many there are."""
        with self.lock:
            while self.workers < workers:
                try:
                    threading.Thread(
                        target=self._serve, args=(self.jobs,), name="numcore", daemon=True
                    ).start()
                except RuntimeError:  # no more threads to be had: the caller does the work
                    break
                self.workers += 1
            return self.workers

    @staticmethod
    def _serve(jobs):
        while True:
            jobs.get().work()


_pool = _Pool()
_threads = None


def _forget_threads():
    """In the child of a fork no worker exists: start with a new pool."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def set_num_threads(n):
    """Set how many threads one numcore call may use.

    Parameters
    ----------
    n : int or None
        At least 1; None goes back to the default: ``NUMCORE_NUM_THREADS``, else the CPUs that this
        process may use.

    Raises
    ------
    TypeError
        `n` is no integer.
    ValueError
        `n` is less than 1.

    Examples
    --------
    >>> import numcore
    >>> numcore.set_num_threads(1)
    >>> numcore.get_num_threads()
    1
    >>> numcore.set_num_threads(None)
    """
    global _threads
    if n is not None:
        if isinstance(n, bool):
            raise TypeError(f"n must be an integer or None (got {n!r})")
        try:
            n = operator.index(n)
        except TypeError:
            raise TypeError(f"n must be an integer or None (got {n!r})") from None
        if n < 1:
            raise ValueError(f"n must satisfy n >= 1 (got n={n})")
    _threads = n


def get_num_threads():
    """How many threads one numcore call may use, an int."""
    global _threads
    if _threads is None:
        wanted = os.environ.get("NUMCORE_NUM_THREADS", "")
        if wanted and not (wanted.isdecimal() and int(wanted) >= 1):
            raise ValueError(f"NUMCORE_NUM_THREADS must be an integer >= 1 (got {wanted!r})")
        _threads = int(wanted) if wanted else available_cpus()
    return _threads


def run(task, count):
    """Call ``task(i)`` for every i in range(count), on up to `get_num_threads()` threads; an error
    of any is raised here."""
    threads = min(get_num_threads(), count)
    if threads <= 1:
        for chunk in range(count):
            task(chunk)
    else:
        _share(_Job(lambda start, stop: task(start), count, 1, 1), threads)


def run_chunks(task, count, least):
    """Call ``task(start, stop)`` for chunks of range(count) of at least `least` items, on up to
    `get_num_threads()` threads; an error of any is raised here."""
    threads = get_num_threads()
    if threads == 1 and count <= ALONE * least:
        task(0, count)
    elif threads == 1:
        job, start = _Job(task, count, least, count), 0
        while start < count:
            stop = min(start + job.step, count)
            job.run(start, stop)
            start = stop
    else:
        job = _Job(task, count, least, max(least, -(-count // (CHUNKS_PER_THREAD * threads))))
        _share(job, min(threads, -(-count // job.step)))


def _share(job, threads):
    """Let the caller and workers, `threads` together, do a job."""
    pool = _pool
    try:  # from here on, as an interrupt may come as soon as a worker has the job
        for _ in range(min(threads - 1, pool.ensure(threads - 1))):
            pool.jobs.put(job)
        job.work()
    finally:
        job.cancel_and_wait()
    if job.error is not None:
        raise job.error
