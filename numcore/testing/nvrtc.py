"""Compiles CUDA C++ with NVRTC from its PyPI wheel; neither a GPU nor a driver is needed.

The wheels are nvidia-cuda-nvrtc-cu12 (CUDA 12) and nvidia-cuda-nvrtc (CUDA 13).
"""

import ctypes
import dataclasses
import functools
import importlib.util
import os
import pathlib
import re

__all__ = [
    "ARCHITECTURES",
    "Cubin",
    "KernelUsage",
    "NvrtcError",
    "compile_nvrtc",
    "nvrtc_available",
]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")


class NvrtcError(RuntimeError):
    """NVRTC is missing or rejects a source.

    Attributes
    ----------
    log : str
        What the compiler said.
    """

    def __init__(self, message, log=""):
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


@dataclasses.dataclass(frozen=True)
class KernelUsage:
    """What one kernel takes of a device: registers of a thread, and bytes of everything else."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    constant: int


@dataclasses.dataclass(frozen=True)
class Cubin:
    """A compiled source: the machine code, the compiler's log, and the usage of each kernel by its
    name."""

    code: bytes
    log: str
    kernels: dict[str, KernelUsage]


@functools.lru_cache
def _library():
    names = re.compile(r"libnvrtc\.so\.(\d+)$|nvrtc64_(\d+)_\d+\.dll$")
    spec = importlib.util.find_spec("nvidia")
    found = []
    for folder in spec.submodule_search_locations if spec else ():
        for pattern in ("*/lib/*", "*/bin/*", "*/bin/*/*"):
            for path in pathlib.Path(folder).glob(pattern):
                if match := names.match(path.name):
                    found.append((int(match[1] or match[2]), path))
    if not found:
        raise NvrtcError(
            "no NVRTC: `pip install nvidia-cuda-nvrtc-cu12`, or nvidia-cuda-nvrtc for CUDA 13"
        )
    path = max(found)[1]
    try:
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(os.fspath(builtins))  # CUDA 13's NVRTC looks for them in the system only
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise NvrtcError(f"NVRTC cannot be loaded: {error}") from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def nvrtc_available():
    """Whether NVRTC can be loaded.

    Returns
    -------
    bool
    """
    try:
        _library()
    except NvrtcError:
        return False
    return True


def _call(function, *args, log=""):
    library = _library()
    status = getattr(library, function)(*args)
    if status:
        raise NvrtcError(f"{function}: {library.nvrtcGetErrorString(status).decode()}", log)


def _read(program, what):
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def _strings(values):
    return (ctypes.c_char_p * len(values))(*[os.fsencode(value) for value in values])


def compile_nvrtc(
    source, arch="sm_80", *, options=(), include_dirs=(), headers=None, name="kernel.cu"
):
    """Compile a CUDA C++ source to machine code.

    Parameters
    ----------
    source : str
        The text of a `.cu` file.
    arch : str
        A real architecture, such as "sm_80".
    options : sequence of str
        Options for NVRTC, such as definitions.
    include_dirs : sequence of path
        Folders of its `#include` files.
    headers : dict of str to str, optional
        Texts of further `#include` files by name.
    name : str
        What the compiler's messages call the source.

    Returns
    -------
    Cubin

    Raises
    ------
    NvrtcError
        If the source does not compile, or NVRTC is not installed.
    """
    if not re.fullmatch(r"sm_\d+[af]?", arch):
        raise ValueError(f"arch must be a real architecture such as 'sm_80' (got {arch!r})")
    headers = headers or {}
    arguments = [f"--gpu-architecture={arch}", "--std=c++17", "--ptxas-options=-v", *options]
    arguments += [f"--include-path={os.path.abspath(folder)}" for folder in include_dirs]
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(headers),
          _strings(headers.values()), _strings(headers.keys()))  # fmt: skip
    try:
        status = _library().nvrtcCompileProgram(program, len(arguments), _strings(arguments))
        log = _read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace").strip()
        if status:
            raise NvrtcError(
                f"{name} does not compile for {arch}: "
                f"{_library().nvrtcGetErrorString(status).decode()}",
                log,
            )
        return Cubin(_read(program, "CUBIN"), log, _usages(log))
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))


def _usages(log):
    """The usage of every kernel, from what the assembler says about it."""
    usages = {}
    for part in log.split("Compiling entry function '")[1:]:
        entry = part.split("'", 1)[0]
        # Device functions that were not inlined have properties of their own: take the entry's.
        own = part.split(f"Function properties for {entry}\n", 1)[-1]

        def number(pattern, text=own):
            found = re.search(pattern, text)
            return int(found[1]) if found else 0

        usages[entry] = KernelUsage(
            registers=number(r"Used (\d+) registers", part),
            stack=number(r"(\d+) bytes stack frame"),
            spill_stores=number(r"(\d+) bytes spill stores"),
            spill_loads=number(r"(\d+) bytes spill loads"),
            shared=number(r"(\d+) bytes smem", part),
            constant=sum(int(size) for size in re.findall(r"(\d+) bytes cmem", part)),
        )
    return usages
