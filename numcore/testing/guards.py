"""Guard zones for the CPU bodies of kernels: an access outside an array, an element that is not
written and a written input are failures with a name, and no crash.

Every array lies in a mapping of its own between inaccessible pages: once it ends where its mapping
ends, once it starts where it starts. Inputs cannot be written to. What is left of the mapping, and
what the kernel is to write, is filled with a poison, another one each time. The kernel runs in a
forked child on shared memory; where the child dies, it runs again with one array guarded at a time,
which tells the array.
"""

import ctypes
import itertools
import math
import mmap
import os
import signal
import warnings

import numpy as np

from .host_cuda import KernelFault

__all__ = ["guarded_runs"]

GUARD = 1 << 20  # inaccessible bytes on each side of an array
# As floats: NaN, and a large positive number; as integers -1, and a positive one.
POISONS = (0xFF, 0x5A)
MOST_SECONDS = 60  # of CPU time of a child: what takes longer is an endless loop
_PROT_NONE, _PROT_READ, _PROT_WRITE = 0, 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class _Region:
    """Memory for one array, shared with a child, at one end of its pages."""

    def __init__(self, array, poison, *, at_end, guarded=True, read_only=False):
        page = mmap.PAGESIZE
        self.size, self.poison = -(-max(array.nbytes, 1) // page) * page, poison
        if array.nbytes == 0:
            self.size = page  # all of it margin
        self._map = mmap.mmap(-1, self.size + 2 * GUARD)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.start = (self.size - array.nbytes) if at_end else 0
        self._bytes = np.frombuffer(self._map, np.uint8, self.size, GUARD)
        self._bytes[:] = poison
        self.array = np.frombuffer(self._map, array.dtype, array.size, GUARD + self.start).reshape(
            array.shape
        )
        self.array[...] = array
        self.address = self._base + GUARD + self.start
        self._protected = []
        if guarded:
            self._protect(0, GUARD, _PROT_NONE)
            self._protect(GUARD + self.size, GUARD, _PROT_NONE)
        if read_only:
            self._protect(GUARD, self.size, _PROT_READ)

    def _protect(self, offset, size, access):
        if _libc.mprotect(self._base + offset, size, access):
            raise OSError(ctypes.get_errno(), "mprotect failed")

    def changed(self):
        """Element, relative to the array, of the nearest margin byte that changed, if one did."""
        margin = np.concatenate(
            [self._bytes[: self.start], self._bytes[self.start + self.array.nbytes :]]
        )
        found = np.flatnonzero(margin != self.poison)
        if not found.size:
            return None
        at = int(found[-1 if found[-1] < self.start else 0])
        byte = at - self.start if at < self.start else at - self.start + self.array.nbytes
        return byte // self.array.itemsize


class _Run:
    """One call of a kernel's CPU body on guarded arrays.

    Parameters
    ----------
    kernel, variant, arguments, dims
        `arguments` are those that the caller passes.
    number : int
        The poison, the ends of the mappings and the chunks are chosen by it.
    guard : function
        ``guard(parameter)`` → (guarded, read_only) of its array.
    """

    def __init__(self, kernel, variant, arguments, dims, number, guard):
        self.kernel, self.dims, self.variant = kernel, dims, variant
        given = dict(zip((p.name for p in kernel.passed), arguments, strict=True))
        self.poison, at_end = POISONS[number % 2], number % 2 == 0
        self.regions, self.values = {}, []
        count = dims[kernel.split]
        # one chunk, or three: what a kernel gives must not depend on them
        cuts = (0, count) if number % 2 == 0 else (0, count // 3, count - count // 3, count)
        self.chunks = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
        for p in kernel.parameters:
            if p.extents is None:
                self.values.append(kernel.scalar_value(p, variant, given[p.name]).item())
                continue
            if p.role == "scratch":
                shape = tuple(kernel.extent(e, dims) for e in p.extents)
                array = self._poisoned(shape, np.dtype(variant.get(p.type_name, p.type_name)))
            else:
                array = given[p.name]
                if p.role == "out":
                    array = self._poisoned(array.shape, array.dtype)
            guarded, read_only = guard(p)
            region = _Region(
                array, self.poison, at_end=at_end, guarded=guarded, read_only=read_only
            )
            self.regions[p.name] = region
            self.values.append(region.array if kernel.takes_arrays else region.address)

    def _poisoned(self, shape, dtype):
        size = math.prod(shape) * dtype.itemsize
        return np.frombuffer(bytes([self.poison]) * size, dtype).reshape(shape)

    def go(self):
        """Run the body, chunk by chunk; nothing is caught."""
        scratch = [self.regions[p.name] for p in self.kernel.parameters if p.role == "scratch"]
        for start, stop in self.chunks:
            for region in scratch:
                region.array.reshape(-1).view(np.uint8)[:] = self.poison
            if self.kernel.takes_arrays:
                x, y = self.values
                self.kernel.loop(self.variant["T"])(x[start:stop], out=y[start:stop])
            else:
                tail = [self.dims[d] for d in self.kernel.dims]
                self.kernel._function(self.variant)(*self.values, *tail, start, stop)


def _survives(runs):
    """Whether a forked child comes through all runs, and if not, the number of the run and the name
    of the signal that ended it."""
    progress = mmap.mmap(-1, mmap.PAGESIZE)
    with warnings.catch_warnings():
        # Python 3.12 warns of threads at a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            for name in ("SIGSEGV", "SIGBUS", "SIGPROF", "SIGFPE", "SIGILL"):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            for number, run in enumerate(runs):
                progress[0] = number
                run.go()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return None
    if os.WIFSIGNALED(status):
        return progress[0], signal.Signals(os.WTERMSIG(status)).name
    return progress[0], "an exception"


def guarded_runs(kernel, variant, cases):
    """Run a kernel's CPU body between guard zones, twice for each case.

    Parameters
    ----------
    kernel : Kernel
    variant : dict
    cases : list of (arguments, dims)
        What the caller passes, and the extents that follow from it.

    Returns
    -------
    list of dict
        What the kernel wrote, by the names of its arguments, for each case.

    Raises
    ------
    KernelFault
        It reads or writes outside an array, writes to an input, leaves an element unwritten, or its
        result depends on memory that nothing has written or on how its items are split.
    """
    if kernel.takes_arrays:
        kernel.loop(variant["T"])  # compiled here, not in a child
    else:
        kernel._function(variant)

    def made(case, number, guard):
        return _Run(kernel, variant, *cases[case], number, guard)

    numbers = [(case, number) for case in range(len(cases)) for number in (0, 1)]
    runs = [made(*n, lambda p: (True, p.role == "in")) for n in numbers]
    died = _survives(runs)
    if died is not None:
        raise _explained(kernel, made, numbers[died[0]], died[1], runs[died[0]])
    results = []
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        for run in (first, second):
            _check_margins(run)
        _compare(first, second)
        results.append(
            {
                p.name: first.regions[p.name].array.copy()
                for p in kernel.passed
                if p.role in ("out", "inout")
            }
        )
    return results


def _fault(run, kind, name, what, offset=None):
    at = f" with {run.dims}, variant {'-'.join(run.variant.values())}"
    place = next((i for i, p in enumerate(run.kernel.passed) if p.name == name), None)
    return KernelFault(kind, f"kernel {run.kernel.where} {what}{at}", place, offset)


def _explained(kernel, made, number, ended, run):
    """The fault of a run that ended its process: run again, with one array guarded at a time."""
    for p in kernel.parameters:
        if p.role == "in" and _dies(made, number, lambda q, p=p: (False, q is p)):
            return _fault(run, "writes input", p.name, f"writes to its input {p.name}")
        if p.extents and _dies(made, number, lambda q, p=p: (q is p, False)):
            side = "past the end of" if number[1] % 2 == 0 else "before the start of"
            return _fault(run, "out of bounds", p.name, f"reads or writes {side} {p.role} {p.name}")
    why = "does not end" if ended == "SIGPROF" else f"ends the process by {ended}"
    return _fault(run, "trap", None, why)


def _dies(made, number, guard):
    died = _survives([made(*number, guard)])
    return died is not None and died[1] in ("SIGSEGV", "SIGBUS")


def _check_margins(run):
    for p in run.kernel.parameters:
        if p.extents and (offset := run.regions[p.name].changed()) is not None:
            raise _fault(
                run,
                "out of bounds",
                p.name,
                f"writes outside {p.role} {p.name}, at element {offset},",
                offset,
            )


def _compare(first, second):
    """Both runs must give the same bits: outputs were filled with another poison in each."""
    for p in first.kernel.passed:
        if p.role not in ("out", "inout"):
            continue
        a, b = (run.regions[p.name].array.reshape(-1) for run in (first, second))
        same = a == b
        if a.dtype.kind == "f":
            same |= np.isnan(a) & np.isnan(b)
        different = np.flatnonzero(~same)
        if not different.size:
            continue
        at = int(different[0])
        never = _holds(a[at : at + 1], first.poison) & _holds(b[at : at + 1], second.poison)
        what = (
            "was never written"
            if p.role == "out" and never.all()
            else "depends on memory that nothing has written, or on how the items are split: "
            f"{a[at]} and {b[at]}"
        )
        raise _fault(
            first,
            "unwritten",
            p.name,
            f"leaves {p.name} undefined: element {at} {what} ({different.size} elements)",
            at,
        )


def _holds(array, poison):
    """Which elements hold nothing but the poison."""
    if not array.size:
        return np.zeros(0, bool)
    return (array.view(np.uint8).reshape(array.size, array.itemsize) == poison).all(axis=1)
