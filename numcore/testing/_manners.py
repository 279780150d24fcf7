"""A good guest: inputs and the host's state stay as they are, in threads and after a fork too."""

import contextlib
import copy
import io
import os
import signal
import sys
import threading
import warnings

import numpy as np

from .. import _pool
from .promises import arguments_of, call, identical, promise, require


@promise("no input may be modified")
def leaves_inputs_alone(function, example, dtype):
    arguments = arguments_of(example, dtype)
    before = copy.deepcopy(arguments)
    function(**arguments)
    for name in example.arrays:
        require(
            np.array_equal(arguments[name], before[name], equal_nan=True), f"{name} was modified"
        )


@promise("read-only arrays must be accepted")
def takes_read_only(function, example, dtype):
    arguments = arguments_of(example, dtype)
    for name in example.arrays:
        arguments[name].flags.writeable = False
    function(**arguments)


@promise("nothing may be printed, no warning may leak")
def is_silent(function, example, dtype):
    output = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        warnings.simplefilter("error")
        call(function, arguments_of(example, dtype))
    require(not output.getvalue(), f"printed {output.getvalue()[:80]!r}")


@promise("the host's global state must stay as it is")
def changes_no_state(function, example, dtype):
    before = _global_state()
    call(function, arguments_of(example, dtype))
    for what, value in _global_state().items():
        require(value == before[what], f"{what} was changed")


def _global_state():
    legacy = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "the environment": dict(os.environ),
        "numpy's error handling": np.geterr(),
        "the warning filters": list(warnings.filters),
        "the signal handlers": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "the recursion limit": sys.getrecursionlimit(),
        "numpy's global random state": (legacy[0], legacy[1].tobytes(), *legacy[2:]),
        "the working directory": os.getcwd(),
        "the print options": repr(np.get_printoptions()),
    }


@promise("the same seed must give the same result at any number of threads")
def independent_of_threads(function, example, dtype):
    arguments, results, before = arguments_of(example, dtype), [], _pool._threads
    try:
        for n in (1, 2, 5):
            _pool.set_num_threads(n)
            results.append(call(function, arguments))
    finally:
        _pool.set_num_threads(before)
    require(
        all(identical(results[0], r) for r in results[1:]),
        "another result with another number of threads",
    )


@promise("16 threads at once must get what one gets")
def thread_safe(function, example, dtype):
    arguments = arguments_of(example, dtype)
    expected, wrong, barrier = call(function, arguments), [], threading.Barrier(16)

    def work():
        try:
            barrier.wait()
            for _ in range(3):
                if not identical(call(function, arguments), expected):
                    wrong.append("another result")
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    require(not wrong, f"in 16 threads: {wrong[:1]}")


@promise("the child of a fork must get what its parent gets")
def fork_safe(function, example, dtype):
    if not hasattr(os, "fork"):
        return
    arguments = arguments_of(example, dtype)
    expected = call(function, arguments)
    with warnings.catch_warnings():
        # Python 3.12 warns of threads at a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            status = 0 if identical(call(function, arguments), expected) else 1
        except BaseException:
            status = 2
        os._exit(status)
    _, status = os.waitpid(child, 0)
    require(
        status == 0,
        f"after a fork: "
        f"{'another result' if os.waitstatus_to_exitcode(status) == 1 else 'an error'}",
    )
