"""What every routine of numcore keeps, whatever it computes: one function for each promise, run
over the registry.

`check_routine` takes a routine and its :class:`~numcore.examples.Example` through all of `CHECKS`;
a broken promise is a `NonConformance` that says which. Other libraries can check their own routines
with it.
"""

import contextlib
import copy
import doctest
import inspect
import io
import os
import re
import signal
import sys
import threading
import warnings

import numpy as np

from .. import _pool
from .._kinds import AnyKind, ArrayKind, finite, nonempty
from ..arguments import declaration
from ..examples import moved
from ..examples.errors import largest_error, leaves
from ..kernel import Kernel
from .device import SimulatedArray, simulated_gpu

__all__ = ["CHECKS", "NonConformance", "check_routine"]

CHECKS = {}
SEED = 20260301


class NonConformance(AssertionError):
    """A routine breaks a promise; the message names the promise."""


def check_routine(function, example, *, only=None):
    """Run every check, or the one named `only`, on a routine."""
    for name, check in CHECKS.items():
        if only in (None, name):
            check(function, example)


def promise(text):
    """Register a check under its function's name; `text` is what it says when it fails."""

    def decorate(check):
        def checked(function, example):
            plain = check in (documented, declared)
            subject = function if plain else example.caller(function)
            for dtype in example.dtypes:
                try:
                    check(subject, example, dtype)
                except NonConformance:
                    raise
                except Exception as error:
                    raise NonConformance(
                        f"{function.__name__}, {dtype}: {text} ({type(error).__name__}: {error})"
                    ) from error

        CHECKS[check.__name__] = checked
        return check

    return decorate


def require(condition, text):
    if not condition:
        raise NonConformance(text)


def arguments_of(example, dtype):
    return example.arguments(np.random.default_rng(SEED), np.dtype(dtype))


def call(function, arguments):
    """Call with copies of the arguments, random generators included, so that calls do not depend on
    each other."""
    return function(**copy.deepcopy(arguments))


def identical(a, b):
    a, b = leaves(a), leaves(b)
    return len(a) == len(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind in "fc")
        for x, y in zip(a, b, strict=True)
    )


def close(a, b, example, dtype):
    """Whether two results agree as two results within the promised error of the exact one must."""
    return largest_error(a, b, example.error) <= 2 * example.bound[dtype] + (
        1 if example.error == "ulp" else 0
    )


# --- what a result is -----------------------------------------------------------------------------


@promise("the error must stay within the promised bound")
def accurate(function, example, dtype):
    arguments = arguments_of(example, dtype)
    error = largest_error(
        call(function, arguments), example.reference(**copy.deepcopy(arguments)), example.error
    )
    require(
        error <= example.bound[dtype],
        f"error {error:.3g} exceeds the promised {example.bound[dtype]:.3g} ({example.error}, "
        f"{dtype})",
    )


@promise("float results must have the dtype of the input")
def preserves_dtype(function, example, dtype):
    for leaf in leaves(call(function, arguments_of(example, dtype))):
        kind = np.asarray(leaf).dtype
        require(kind.kind != "f" or kind == dtype, f"dtype {dtype} in, {kind} out")


@promise("the sizes 0, 1, a prime and one past a tile must work")
def any_size(function, example, dtype):
    for n in (0, 1, 2, 31, 257) if example.sizes else ():
        arguments = example.sizes(np.random.default_rng(SEED), np.dtype(dtype), n)
        error = largest_error(
            call(function, arguments), example.reference(**copy.deepcopy(arguments)), example.error
        )
        require(
            error <= example.bound[dtype],
            f"error {error:.3g} exceeds the promised {example.bound[dtype]:.3g} at size {n}",
        )


@promise(
    "strided, reversed, Fortran-ordered and unaligned arrays must give what contiguous ones give"
)
def any_strides(function, example, dtype):
    arguments = arguments_of(example, dtype)
    expected = call(function, arguments)
    for layout in (_every_other, _reversed, np.asfortranarray, _unaligned):
        result = function(
            **{
                k: layout(v) if k in example.arrays else v
                for k, v in copy.deepcopy(arguments).items()
            }
        )
        require(
            close(result, expected, example, dtype),
            f"another result for the memory layout {layout.__name__.strip('_')}",
        )


def _every_other(array):
    wide = np.repeat(array, 2, axis=-1) if array.ndim else array
    return wide[..., ::2] if array.ndim else wide


def _reversed(array):
    return array[::-1].copy()[::-1] if array.ndim else array


def _unaligned(array):
    moved = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


@promise("NaN must do what the documentation says")
def nan_policy(function, example, dtype):
    for name in example.arrays if example.nan != "ignore" else ():
        arguments = arguments_of(example, dtype)
        arguments[name] = np.full_like(arguments[name], np.nan)
        try:
            result = call(function, arguments)
        except ValueError as error:
            require(example.nan == "raise" and name in str(error), f"NaN in {name} raised {error}")
        else:
            require(example.nan == "propagate", f"NaN in {name} must raise a ValueError")
            require(
                any(
                    np.isnan(np.asarray(leaf)).any()
                    for leaf in leaves(result)
                    if np.asarray(leaf).dtype.kind == "f"
                ),
                f"NaN in {name} must reach the result",
            )


# --- bad input ------------------------------------------------------------------------------------


@promise("an array of another dtype must be a TypeError that names the argument")
def rejects_other_dtypes(function, example, dtype):
    for name in example.arrays:
        good = arguments_of(example, dtype)
        for bad in (np.int64, np.bool_, np.complex128, np.float16, np.object_, np.str_):
            if np.dtype(bad).name in example.also:
                continue
            arguments = good | {name: np.zeros(np.shape(good[name]), bad)}
            _must_raise(TypeError, function, arguments, name, f"{name} of dtype {np.dtype(bad)}")


@promise("what is no array must be a TypeError that names the argument")
def rejects_non_arrays(function, example, dtype):
    for name in example.arrays:
        for bad in ("text", object(), {1.0: 2.0}, np.ma.masked_array([1.0], [True])):
            _must_raise(
                TypeError,
                function,
                arguments_of(example, dtype) | {name: bad},
                name,
                f"{name}={bad!r}",
            )


@promise("arrays on different devices must be a TypeError that names the arguments")
def rejects_mixed_devices(function, example, dtype):
    if len(example.arrays) < 2:
        return
    with simulated_gpu() as xp:
        for name in example.arrays:
            arguments = arguments_of(example, dtype)
            arguments[name] = xp.asarray(arguments[name])
            _must_raise(
                TypeError, function, arguments, name, f"{name} on the GPU and the others not"
            )


@promise(
    "every argument must be declared, and what its declaration excludes must be refused by name"
)
def declared(function, example, dtype):
    for p in declaration(function):
        hinted = p.name in inspect.unwrap(function).__annotations__
        require(hinted, f"{p.name} has no declaration in the signature")
        good = arguments_of(example, dtype)
        for bad, kind in _unfit(p, good.get(p.name)):
            with _no_kernel_runs(p.name):
                _must_raise(kind, function, good | {p.name: bad}, p.name, f"{p.name}={bad!r:.80}")


def _unfit(p, good):
    """Values that the declaration of an argument excludes, with the exception types allowed."""
    either = (TypeError, ValueError)
    if not p.optional and not any(isinstance(k, AnyKind) or k.fits(None) for k in p.kinds):
        yield None, TypeError
    for kind in p.kinds:
        for bad, error in kind.unfit():
            if not any(other is not kind and other.fits(bad) for other in p.kinds):
                yield bad, error if len(p.kinds) == 1 else either
    kind = p.kinds[0]
    if len(p.kinds) == 1 and isinstance(kind, ArrayKind) and isinstance(good, np.ndarray):
        if not kind.batch:
            yield good[None], ValueError
        if kind.sizes and good.ndim:
            yield good.reshape(-1)[0].reshape((1,) * (len(kind.sizes) - 1)), ValueError
        if nonempty in kind.notes:
            yield good[..., :0], ValueError
        if finite in kind.notes and good.size and good.dtype.kind == "f":
            yield _with_entry(good, np.nan), ValueError
            yield _with_entry(good, -np.inf), ValueError
        for bound in kind.bounds:
            for end, step in ((bound.low, -1), (bound.high, 1)):
                inside = isinstance(end, str) or not np.isfinite(end) or not good.size
                signed = good.dtype.kind != "u" or (not inside and end + step >= 0)
                if not inside and signed:
                    yield _with_entry(good, end + step), ValueError


def _with_entry(array, value):
    """A copy whose last entry is `value`."""
    changed = array.copy()
    changed.reshape(-1)[-1:] = value
    return changed


@contextlib.contextmanager
def _no_kernel_runs(name):
    """NonConformance if a kernel runs: what is refused must be refused before any work."""
    run = Kernel.__call__

    def refuse(kernel, *arguments):
        raise NonConformance(f"kernel {kernel.name} ran before {name} was refused")

    Kernel.__call__ = refuse
    try:
        yield
    finally:
        Kernel.__call__ = run


@promise("sizes of one name must be one size")
def sizes_agree(function, example, dtype):
    good = arguments_of(example, dtype)
    arrays = {
        p.name: p.kinds[0]
        for p in declaration(function)
        if len(p.kinds) == 1
        and isinstance(p.kinds[0], ArrayKind)
        and isinstance(good.get(p.name), np.ndarray)
    }
    names = [size for kind in arrays.values() for size in kind.sizes]
    for name, kind in arrays.items():
        for at, size in enumerate(kind.axes):
            leads = kind.batch in kind.axes[at:]  # the size stands before "...", if there is any
            axis = at if leads else at - len(kind.axes)
            if names.count(size) > 1 and size != "_" and kind.sizes.count(size) == 1:
                longer = np.concatenate([good[name], good[name]], axis=axis)
                if longer.shape == good[name].shape:
                    continue
                with _no_kernel_runs(name):
                    _must_raise(ValueError, function, good | {name: longer}, "", f"another {size}")


def _must_raise(kind, function, arguments, name, what):
    try:
        function(**arguments)
    except NonConformance:
        raise
    except kind as error:
        require(name in str(error), f"the error for {what} must name the argument (got: {error})")
    except Exception as error:
        raise NonConformance(
            f"{what} must be a {kind.__name__} (got {type(error).__name__}: {error})"
        ) from error
    else:
        raise NonConformance(f"{what} must be a {kind.__name__} (got a result)")


# --- guest manners --------------------------------------------------------------------------------


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
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of threads at a fork
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


# --- the GPU and the documentation ----------------------------------------------------------------


@promise("the simulated GPU must give an array of the GPU, with the result of the CPU")
def same_on_gpu(function, example, dtype):
    arguments = arguments_of(example, dtype)
    if reason := getattr(function, "host_only", None):
        _refuses_gpu(function, example, arguments, reason)
        return
    expected = call(function, arguments)
    with simulated_gpu() as xp:
        on_gpu = copy.deepcopy(arguments)
        for name, value in on_gpu.items():
            if name in example.arrays or not isinstance(value, np.ndarray):
                on_gpu[name] = moved(value, xp.asarray)
        if "xp" in inspect.signature(function).parameters:
            on_gpu["xp"] = xp
        result = leaves(function(**on_gpu))
    arrays = [
        leaf
        for leaf, there in zip(result, leaves(expected), strict=True)
        if np.ndim(there) and not isinstance(leaf, SimulatedArray)
    ]
    require(not arrays, "a result is no array of the GPU")
    result = [leaf.get() if isinstance(leaf, SimulatedArray) else leaf for leaf in result]
    require(close(result, leaves(expected), example, dtype), "another result on the simulated GPU")


def _refuses_gpu(function, example, arguments, reason):
    """A routine that runs on the host only says why when it is given an array of a GPU."""
    with simulated_gpu() as xp:
        for name in example.arrays:
            moved_one = arguments | {name: moved(arguments[name], xp.asarray)}
            _must_raise(TypeError, function, moved_one, reason, f"{name} on the GPU")


@promise("the docstring must say shapes, errors and source, and its example must run")
def documented(function, example, dtype):
    text = function.__doc__ or ""
    for section in ("Parameters", "Returns", "Raises", "References", "Examples"):
        require(
            f"{section}\n" in text and f"{'-' * len(section)}\n" in text,
            f"the docstring has no section {section}",
        )
    said = _type_lines(inspect.cleandoc(text))
    for p in declaration(function):
        require(
            said.get(p.name) == p.type_line,
            f"the docstring must say `{p.name} : {p.type_line}` (got {said.get(p.name)!r})",
        )
    scope = {function.__name__: function, "np": np}
    tests = doctest.DocTestFinder(recurse=False).find(
        function, function.__name__, module=False, globs=scope
    )
    require(any(t.examples for t in tests), "the docstring's example has no code")
    report = io.StringIO()
    for t in tests:
        failed = doctest.DocTestRunner(verbose=False).run(t, out=report.write).failed
        require(not failed, f"the docstring's example fails: {report.getvalue()[:500]}")


def _type_lines(text):
    """What the section Parameters of a docstring says after the name of each argument."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", text, re.DOTALL | re.MULTILINE
    )
    entries = re.findall(r"^(\S.*?) : (.*)$", section[1] if section else "", re.MULTILINE)
    return {name.strip(): line for names, line in entries for name in names.split(",")}
