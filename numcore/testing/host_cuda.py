"""Runs CUDA C++ kernels on the CPU and finds their memory and synchronisation faults.

A `.cu` source is compiled by the host's C++ compiler behind ``cuda_on_host.h``, which turns every
CUDA thread into a fiber. Every array of a launch lies in a region of its own between inaccessible
pages; what a kernel has not written is poison; `run_checked` repeats a launch under several thread
orders and poisons, whose results must agree bit for bit.

Linux on x86-64 and aarch64. Warp operations follow PTX: a lane that has exited is not waited for,
and a shuffle that reads from it, or from a lane outside the mask, gets poison. A mask without the
caller, lanes that meet at different operations, and a `__syncthreads()` not reached by every thread
are faults. Not found: a missing barrier whose absence changes no result, an index that leaves one
shared array through a pointer and lands in another, an endless loop; and by clang, unlike g++, a
misaligned vector load.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import math
import mmap
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

import numpy as np

__all__ = [
    "HostCompileError",
    "HostModule",
    "In",
    "InOut",
    "KernelFault",
    "Out",
    "compile_host",
    "host_compiler",
    "run_checked",
]

HEADER = pathlib.Path(__file__).with_name("cuda_on_host.h")
MOST_THREADS = 1024
MOST_SHARED = 227 * 1024
GUARD = 1 << 24  # inaccessible bytes on each side of an array
STACK = 1 << 17
POISONS = (0xFF, 0x5A, 0xDA)
# as floats: NaN, a large positive and a large negative number; as integers -1, positive, negative

# No fused, reordered or otherwise inexact arithmetic: results are compared with those of the CPU
# kernels bit for bit.
FLAGS = (
    *(
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-w",
        "-ffp-contract=off",
        "-fno-math-errno",
    ),
    *("-fno-strict-aliasing", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"),
    *("-fno-stack-protector", "-fstack-clash-protection", "-U_FORTIFY_SOURCE"),
)


class HostCompileError(RuntimeError):
    """The host's C++ compiler rejects a source; the message holds its diagnostics."""


class KernelFault(AssertionError):
    """A kernel did what it must not do.

    Attributes
    ----------
    kind : str
        "out of bounds", "writes input", "unwritten", "race", "barrier", "misaligned", "arithmetic",
        "stack overflow" or "trap".
    argument : int or None
        Index of the argument concerned.
    offset : int or None
        Index into the flattened array of the first element concerned; negative before its start.
        Bytes in dynamic shared memory.
    access : str or None
        "read" or "write".
    """

    def __init__(self, kind, message, argument=None, offset=None, access=None):
        super().__init__(f"{kind}: {message}")
        self.kind, self.argument, self.offset, self.access = kind, argument, offset, access


class _Array:
    def __init__(self, array):
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            raise TypeError(
                f"{type(self).__name__} takes a C-contiguous numpy.ndarray (got "
                f"{type(array).__name__})"
            )
        if array.dtype.hasobject:
            raise TypeError(f"{type(self).__name__} takes no array of Python objects")
        if self.written and not array.flags.writeable:
            raise ValueError(f"{type(self).__name__} takes a writeable array")
        self.array = array

    def __repr__(self):
        return f"{type(self).__name__} {self.array.dtype}{list(self.array.shape)}"


class In(_Array):
    """An array that the kernel only reads."""

    read, written = True, False


class Out(_Array):
    """An array of which the kernel writes every element and reads none that it has not written."""

    read, written = False, True


class InOut(_Array):
    """An array that the kernel reads and writes."""

    read, written = True, True


# -- Compiling


def host_compiler():
    """The host's C++ compiler: ``$CXX``, else g++, clang++ or c++ on the path, else the one in the
    ziglang package.

    Returns
    -------
    list of str
        The command.
    """
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [shutil.which(name)]
    if importlib.util.find_spec("ziglang"):
        # not "c++": it would build its C++ library first, for a minute
        return [sys.executable, "-m", "ziglang", "cc", "-x", "c++"]
    raise HostCompileError(
        "no C++ compiler: set $CXX, install g++ or clang++, or `pip install ziglang`"
    )


@functools.lru_cache
def _compiler_flags(command):
    """The compiler's version and the flags for it, which depend on its family."""
    try:
        version = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostCompileError(
            f"the C++ compiler {shlex.join(command)} does not run: {error}"
        ) from error
    flags = list(FLAGS)
    if "clang" in version:
        flags += ["-fno-sanitize=all", "-fsanitize=array-bounds,alignment"]
    else:  # the sanitizer's library is not needed, the header answers its calls
        flags += ["-fsanitize=bounds,alignment", "-nodefaultlibs"]
    if platform.machine() == "x86_64" and re.search(
        r"^flags.*\bfma\b", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE
    ):
        flags.append("-mfma")
    return version, tuple(flags)


def _cache_folder():
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    for folder in (
        base / "numcore" / "host_cuda",
        pathlib.Path(tempfile.gettempdir()) / f"numcore-host-cuda-{os.getuid()}",
    ):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        # libraries of others are not loaded
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    raise HostCompileError(
        f"no folder to keep compiled kernels in: neither {base} nor {tempfile.gettempdir()} is "
        f"writeable"
    )


def _included(folder):
    return [
        path
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix in (".cuh", ".h", ".cu")
    ]


def compile_host(source, *, entries, options=("-DREAL=float",), include_dirs=(), name="kernel.cu"):
    """Compile a CUDA C++ source for the host.

    Parameters
    ----------
    source : str
        The text of a `.cu` file. It includes no standard header, and takes dynamic shared memory by
        `DYNAMIC_SHARED`.
    entries : sequence of str
        The names of its ``extern "C" __global__`` functions that will be launched. None may be that
        of a C library function.
    options : sequence of str
        Options for the compiler, such as definitions.
    include_dirs : sequence of path
        Folders of its `#include` files.
    name : str
        What compiler messages and faults call the source.

    Returns
    -------
    HostModule

    Raises
    ------
    HostCompileError
        If the source does not compile; the message holds the compiler's.

    Notes
    -----
    The compiled library is kept in the user's cache folder under a hash of all it depends on.
    """
    if isinstance(entries, str) or not entries:
        raise TypeError(f"entries must be a non-empty sequence of names (got {entries!r})")
    for entry in entries:
        if not entry.isidentifier():
            raise ValueError(f"entries must be names of functions (got {entry!r})")
    command = tuple(host_compiler())
    version, flags = _compiler_flags(command)
    table = "".join(f'  host::Bind<{entry}>::entry("{entry}"),\n' for entry in entries)
    text = (
        f'#include "{HEADER.name}"\nnamespace {{\n#line 1 "{name}"\n{source}\n}}\n#line 1 '
        f'"entries"\n'
        'extern "C" __attribute__((visibility("default"), used)) const NumcoreEntry '
        "numcore_entries[] = {\n"
        f"{table}  {{}}}};\n"
    )
    includes = [
        option
        for folder in (HEADER.parent, *include_dirs)
        for option in ("-I", os.path.abspath(folder))
    ]
    arguments = [*flags, *options]
    parts = [version, platform.machine(), *command, *arguments, text, HEADER.read_text()]
    for path in (path for folder in include_dirs for path in _included(folder)):
        parts += [path.name, path.read_text()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return _load(key, text, (*command, *arguments, *includes), tuple(entries))


@functools.cache
def _load(key, text, command, entries):
    library = _cache_folder() / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            unit, product = pathlib.Path(folder, "kernel.cpp"), pathlib.Path(folder, "kernel.so")
            unit.write_text(text)
            libraries = ["-lm", "-lc", "-lgcc"] if "-nodefaultlibs" in command else ["-lm"]
            run = subprocess.run(
                [*command, "-o", product, unit, *libraries],
                capture_output=True,
                text=True,
                check=False,
            )
            if run.returncode:
                raise HostCompileError(f"{shlex.join(command)} failed:\n{run.stdout}{run.stderr}")
            os.replace(product, library)
    return HostModule(library, entries)


# -- Launching


class _Parameter(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char),
        ("pointee_kind", ctypes.c_char),
        ("pointee_const", ctypes.c_bool),
        ("size", ctypes.c_uint),
        ("pointee_size", ctypes.c_uint),
    ]


class _Entry(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("count", ctypes.c_uint),
        ("parameters", ctypes.POINTER(_Parameter)),
        ("call", ctypes.c_void_p),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("block_order", ctypes.c_void_p),
        ("thread_order", ctypes.c_void_p),
        ("shared", ctypes.c_void_p),
        ("shared_size", ctypes.c_ulong),
        ("stacks", ctypes.c_void_p),
        ("stack_size", ctypes.c_ulong),
        ("stack_stride", ctypes.c_ulong),
        ("poison", ctypes.c_ubyte),
    ]


class _Fault(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int),
        ("write", ctypes.c_int),
        ("address", ctypes.c_void_p),
        ("thread", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("message", ctypes.c_char * 400),
    ]


FAULT_KINDS = {
    1: "out of bounds",
    2: "out of bounds",
    3: "barrier",
    4: "misaligned",
    5: "arithmetic",
    6: "trap",
}
PROT_NONE = 0


@functools.lru_cache
def _libc():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def _protect(address, size, protection):
    if size and _libc().mprotect(address, size, protection):
        raise OSError(ctypes.get_errno(), "mprotect failed")


def _bytes(array):
    return array.reshape(-1).view(np.uint8)


class _Region:
    """Memory of `size` bytes between guards; `data` views it, `padding` what else is accessible
    before and behind it.

    It ends at a guard ("back": but for what keeps it aligned to 16 bytes; "exact": whatever its
    alignment) or starts at one ("front").
    """

    def __init__(self, size, place="back"):
        page = mmap.PAGESIZE
        inner = -(-size // page) * page
        self.mapped = inner + 2 * GUARD
        self.address = _libc().mmap(
            None, self.mapped, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0
        )  # MAP_NORESERVE
        if self.address == ctypes.c_void_p(-1).value:
            raise MemoryError(f"cannot map {self.mapped} bytes")
        self.inner, self.inner_size = self.address + GUARD, inner
        _protect(self.inner, inner, mmap.PROT_READ | mmap.PROT_WRITE)
        before = {"front": 0, "exact": inner - size, "back": (inner - size) // 16 * 16}[place]
        self.start, self.size = self.inner + before, size
        memory = np.frombuffer((ctypes.c_ubyte * inner).from_address(self.inner), np.uint8)
        self.data = memory[before : before + size]
        self.padding = memory[:before], memory[before + size :]

    def close(self):
        del self.data, self.padding
        _libc().munmap(self.address, self.mapped)

    def fill(self, poison):
        for part in (self.data, *self.padding):
            part.fill(poison)

    def make_readonly(self):
        _protect(self.inner, self.inner_size, mmap.PROT_READ)

    def first_change(self, poison):
        """Offset from the array's start of the written byte of the padding that is nearest to it,
        or None."""
        before, behind = (np.flatnonzero(part != poison) for part in self.padding)
        if len(before):
            return int(before[-1]) - len(self.padding[0])
        return self.size + int(behind[0]) if len(behind) else None

    def __contains__(self, address):
        return self.address <= address < self.address + self.mapped


@functools.lru_cache
def _stacks():
    """Memory for the stacks of all threads of a block, a guard page below each; used again by every
    launch."""
    page = mmap.PAGESIZE
    stride = STACK + page
    address = _libc().mmap(
        None,
        stride * MOST_THREADS,
        mmap.PROT_READ | mmap.PROT_WRITE,
        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000,
        -1,
        0,
    )
    if address == ctypes.c_void_p(-1).value:
        raise MemoryError(f"cannot map {stride * MOST_THREADS} bytes")
    for i in range(MOST_THREADS):
        _protect(address + i * stride, page, PROT_NONE)
    return address, stride


def _dimensions(what, value, limits):
    value = (value,) if isinstance(value, (int, np.integer)) else tuple(value)
    if not 1 <= len(value) <= 3:
        raise ValueError(f"{what} must have 1 to 3 dimensions (got {what}={value})")
    value = tuple(int(v) for v in value) + (1,) * (3 - len(value))
    for axis, v, limit in zip("xyz", value, limits, strict=True):
        if not 1 <= v <= limit:
            raise ValueError(
                f"{what}.{axis} must satisfy 1 <= {what}.{axis} <= {limit} (got {what}={value})"
            )
    return value


def _order(n, order, group=1):
    """The numbers below n in an order that keeps together those of each group of `group`."""
    if order < 2:
        return np.arange(n, dtype=np.uint32)[:: -1 if order else 1].copy()
    rng = np.random.default_rng(order)
    groups = rng.permutation(-(-n // group))[:, None] * group + rng.permutation(group)
    return groups[groups < n].astype(np.uint32)


_one_launch = threading.Lock()  # signal handlers and stacks are the process's


def _new_lock():
    global _one_launch
    _one_launch = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)  # the child has not the thread that may hold it


class HostModule:
    """A compiled source; made by `compile_host`."""

    def __init__(self, path, entries):
        self._library = ctypes.CDLL(os.fspath(path))
        table = (_Entry * len(entries)).in_dll(self._library, "numcore_entries")
        self._entries = {entry.name.decode(): entry for entry in table}

    def launch(
        self, entry, grid, block, args, *, shared=0, order=0, poison=POISONS[0], place="back"
    ):
        """Run a kernel once.

        Parameters
        ----------
        entry : str
            The kernel's name.
        grid, block : int or tuple of int
            Their sizes, x first.
        args : sequence of In, Out, InOut or numpy scalars
            One for each parameter. Every array is copied to guarded memory, and back if there was
            no fault; so two arguments never overlap, even if they are given the same array.
        shared : int
            Bytes of dynamic shared memory.
        order : int
            Order in which the blocks of the grid, the warps of a block and the lanes of a warp run:
            0 as numbered, 1 in reverse, above 1 a permutation with this seed.
        poison : int
            The byte that fills outputs and, before each block, shared memory.
        place : {"back", "front", "exact"}
            Whether arrays end at an inaccessible page, but for what keeps them aligned to 16 bytes;
            start behind one; or end at one whatever their alignment.

        Raises
        ------
        KernelFault
            If the kernel does what a device would not allow, or writes outside an array.
        TypeError
            If arguments do not fit the kernel's parameters.
        ValueError
            If the launch exceeds what a device can do.
        """
        grid = _dimensions("grid", grid, (2**31 - 1, 65535, 65535))
        block = _dimensions("block", block, (1024, 1024, 64))
        if math.prod(block) > MOST_THREADS:
            raise ValueError(f"block must have at most {MOST_THREADS} threads (got block={block})")
        if not 0 <= shared <= MOST_SHARED:
            raise ValueError(
                f"shared must satisfy 0 <= shared <= {MOST_SHARED} (got shared={shared})"
            )
        if order < 0:
            raise ValueError(f"order must satisfy order >= 0 (got order={order})")
        args = list(args)
        self._check_arguments(entry, args)

        with contextlib.ExitStack() as stack:

            def region(size):
                made = _Region(size, place)
                stack.callback(made.close)
                made.fill(poison)
                return made

            regions = {
                i: region(a.array.nbytes) for i, a in enumerate(args) if isinstance(a, _Array)
            }
            dynamic = region(shared)
            for i, held in regions.items():
                if args[i].read:
                    held.data[:] = _bytes(args[i].array)
                if not args[i].written:
                    held.make_readonly()
            values = [
                ctypes.c_void_p(regions[i].start) if i in regions else a for i, a in enumerate(args)
            ]
            fault = self._call(entry, grid, block, values, dynamic, order, poison)
            if fault is not None:
                raise _explain(entry, fault, args, regions, dynamic)
            for i, held in regions.items():
                if args[i].written and (offset := held.first_change(poison)) is not None:
                    raise _outside(entry, i, args[i], offset, "write")
            if (offset := dynamic.first_change(poison)) is not None:
                raise _outside_shared(entry, dynamic, offset, "write")
            for i, held in regions.items():
                if args[i].written:
                    _bytes(args[i].array)[:] = held.data

    def _call(self, entry, grid, block, values, dynamic, order, poison):
        blocks, threads = _order(math.prod(grid), order), _order(math.prod(block), order, 32)
        slots = [
            value
            if isinstance(value, ctypes.c_void_p)
            else ctypes.create_string_buffer(value.tobytes())
            for value in values
        ]
        addresses = (ctypes.c_void_p * (len(slots) + 1))(
            *[ctypes.addressof(slot) for slot in slots]
        )
        fault = _Fault()
        with _one_launch:
            stacks, stride = _stacks()
            launch = _Launch(
                grid,
                block,
                blocks.ctypes.data,
                threads.ctypes.data,
                dynamic.start,
                dynamic.size,
                stacks + mmap.PAGESIZE,
                STACK,
                stride,
                poison,
            )
            failed = self._library.numcore_launch(
                ctypes.byref(self._entries[entry]),
                addresses,
                ctypes.byref(launch),
                ctypes.byref(fault),
            )
        return fault if failed else None

    def _check_arguments(self, entry, args):
        if entry not in self._entries:
            raise ValueError(f"entry must be one of {sorted(self._entries)} (got {entry!r})")
        known = self._entries[entry]
        if len(args) != known.count:
            raise TypeError(f"{entry} takes {known.count} arguments (got {len(args)})")
        for i, arg in enumerate(args):
            parameter = known.parameters[i]
            problem = _mismatch(parameter, arg)
            if problem:
                raise TypeError(f"argument {i} of {entry}: {problem}")


KIND_NAMES = {
    b"f": "floating point",
    b"i": "signed integer",
    b"u": "unsigned integer",
    b"s": "struct",
    b"p": "pointer",
}
DTYPE_KINDS = {"f": b"f", "i": b"i", "u": b"u", "b": b"u"}


def _mismatch(parameter, arg):
    """Why a value cannot be given to a parameter, or None."""
    if isinstance(arg, _Array):
        if parameter.kind != b"p":
            return f"the parameter is a {KIND_NAMES[parameter.kind]} of {parameter.size} bytes (got {arg!r})"  # noqa: E501
        if parameter.pointee_const and arg.written:
            return f"the parameter points to const, the argument must be In (got {arg!r})"
        kind, size = parameter.pointee_kind, parameter.pointee_size
        if kind in (b"s", b"v") or (
            arg.array.dtype.kind == "c" and kind == b"f" and arg.array.itemsize == 2 * size
        ):
            return None
        integers = kind != b"f" and arg.array.dtype.kind in "iub"
        if arg.array.itemsize != size or not (
            integers or DTYPE_KINDS.get(arg.array.dtype.kind) == kind
        ):
            return f"the parameter points to {KIND_NAMES[kind]}s of {size} bytes (got {arg!r})"
        return None
    if not isinstance(arg, np.generic):
        return f"must be In, Out, InOut or a numpy scalar (got {type(arg).__name__})"
    if parameter.kind == b"p":
        return (
            f"the parameter is a pointer, the argument must be In, Out or InOut (got {arg.dtype})"
        )
    kind = DTYPE_KINDS.get(arg.dtype.kind, b"s")
    integers = kind in b"iu" and parameter.kind in b"iu"
    if arg.itemsize != parameter.size or not (integers or kind == parameter.kind):
        return f"the parameter is a {KIND_NAMES[parameter.kind]} of {parameter.size} bytes (got {arg.dtype})"  # noqa: E501
    return None


# -- Faults


def _outside(entry, i, arg, offset, access, where=""):
    element = offset // max(arg.array.itemsize, 1)
    message = f"{entry}: {access} at element {element} of argument {i} ({arg!r}, {arg.array.size} elements){where}"  # noqa: E501
    return KernelFault("out of bounds", message, i, element, access)


def _outside_shared(entry, dynamic, offset, access, where=""):
    message = (
        f"{entry}: {access} at byte {offset} of dynamic shared memory ({dynamic.size} bytes){where}"
    )
    return KernelFault("out of bounds", message, None, offset, access)


def _explain(entry, fault, args, regions, dynamic):
    kind, address = FAULT_KINDS[fault.kind], fault.address or 0
    access = {0: "read", 1: "write"}.get(fault.write, "access")
    where = f", thread {tuple(fault.thread)} of block {tuple(fault.block)}"
    argument = next((i for i, region in regions.items() if address in region), None)
    if fault.kind != 1:
        place = f", in argument {argument} ({args[argument]!r})" if argument is not None else ""
        return KernelFault(
            kind, f"{entry}: {fault.message.decode(errors='replace')}{place}{where}", argument
        )
    if argument is not None:
        arg, offset = args[argument], address - regions[argument].start
        if 0 <= offset < arg.array.nbytes:
            element = offset // arg.array.itemsize
            return KernelFault(
                "writes input",
                f"{entry}: write to element {element} of argument {argument} ({arg!r}){where}",
                argument,
                element,
                access,
            )
        return _outside(entry, argument, arg, offset, access, where)
    if address in dynamic:
        return _outside_shared(entry, dynamic, address - dynamic.start, access, where)
    stacks, stride = _stacks()
    if stacks <= address < stacks + stride * MOST_THREADS:
        return KernelFault(
            "stack overflow",
            f"{entry}: a thread's local variables take more than {STACK} bytes{where}",
        )
    return KernelFault(
        kind, f"{entry}: {access} at an address of no array ({address:#x}){where}", access=access
    )


def _real_view(array):
    """Flat view, complex numbers and structs seen as rows of their parts."""
    flat = array.reshape(-1)
    if array.dtype.kind == "c":
        return flat.view(flat.real.dtype).reshape(-1, 2)
    return (
        flat[:, None]
        if array.dtype.kind in "fiu"
        else flat.view(np.uint8).reshape(flat.size, array.dtype.itemsize)
    )


def _differing(a, b, rtol=0.0, atol=0.0):
    """Indices of the elements in which two arrays differ; NaN equals NaN."""
    a, b = _real_view(a), _real_view(b)
    differ = a != b
    if a.dtype.kind == "f":
        differ |= np.signbit(a) != np.signbit(b)
        differ &= ~(np.isnan(a) & np.isnan(b))
        if rtol or atol:
            differ &= ~np.isclose(a, b, rtol, atol)
    return np.flatnonzero(differ.any(axis=1))


def run_checked(
    module, entry, grid, block, args, *, shared=0, orders=(0, 1, 7), rtol=0.0, atol=0.0
):
    """Run a kernel under several thread orders and poisons, and compare the results.

    Parameters
    ----------
    module : HostModule
    entry, grid, block, args, shared
        As for `HostModule.launch`.
    orders : sequence of int
        The thread orders.
    rtol, atol : float
        How far results may differ between thread orders; 0 but for kernels that add floating point
        numbers atomically.

    Raises
    ------
    KernelFault
        As `HostModule.launch`, and with kind "race" if results depend on the order of threads,
        "unwritten" if an element of an Out array was not written or results depend on memory that
        nothing has written. Then the arrays hold what they held before.
    """
    orders, args = tuple(orders), list(args)
    if not orders:
        raise ValueError("orders must name at least one order (got ())")

    def results(order, poison, place):
        copies = [
            type(a)(a.array.copy()) if isinstance(a, _Array) and a.written else a for a in args
        ]
        module.launch(
            entry, grid, block, copies, shared=shared, order=order, poison=poison, place=place
        )
        return {
            i: copy.array
            for i, copy in enumerate(copies)
            if isinstance(copy, _Array) and copy.written
        }

    def compare_orders(one, other, order):
        for i in one:
            differing = _differing(one[i], other[i], rtol, atol)
            if len(differing):
                k = int(differing[0])
                raise KernelFault(
                    "race",
                    f"{entry}: element {k} of argument {i} ({args[i]!r}) depends on the order of "
                    f"threads: {one[i].flat[k]} in "
                    f"order {orders[0]}, {other[i].flat[k]} in order {order}; "
                    f"{len(differing)} elements differ",
                    i,
                    k,
                )

    first = results(orders[0], POISONS[0], "back")
    for number, order in enumerate(orders[1:]):
        compare_orders(first, results(order, POISONS[0], ("front", "back")[number % 2]), order)
    for poison, place in zip(POISONS[1:], ("front", "back"), strict=True):
        other = results(orders[0], poison, place)
        for i in first:
            differing = _differing(first[i], other[i])
            if not len(differing):
                continue
            for order in orders[
                1:
            ]:  # what is unwritten only because a thread came too early is a race
                compare_orders(other, results(order, poison, place), order)
            k = int(differing[0])
            never = all(
                np.all(run[i].reshape(-1)[k : k + 1].view(np.uint8) == p)
                for run, p in ((first, POISONS[0]), (other, poison))
            )
            what = "was never written" if never else "depends on memory that nothing has written"
            raise KernelFault(
                "unwritten",
                f"{entry}: element {k} of argument {i} ({args[i]!r}) {what}; "
                f"{len(differing)} elements differ",
                i,
                k,
            )
    if any(isinstance(a, _Array) and a.array.nbytes % 16 for a in args):
        _read_past_the_end(results, orders[0])
    for i, result in first.items():
        args[i].array[...] = result


def _read_past_the_end(results, order):
    """Find accesses to the few bytes behind an array that its alignment leaves accessible
    otherwise."""
    try:
        results(order, POISONS[0], "exact")
    except KernelFault as fault:
        # Vector accesses do not like this place; only a hit on a guard tells.
        if fault.kind == "out of bounds" and fault.argument is not None:
            raise
