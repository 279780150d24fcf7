"""CUDA kernels through CuPy: one source text for each method, compiled once for each device,
launched on the current stream.

This is the only module that touches CuPy's compiler. Headers are pasted into the source, so that
CuPy's own cache on disk sees every change of them; element types come in by compile options.
"""

import functools
import re
from pathlib import Path

import numpy as np

INCLUDE = Path(__file__).parent / "include"
MOST_BLOCKS = 2**31 - 1
THREADS_ENOUGH = (
    1 << 20
)  # where one thread takes one item: more than this many walk the grid in strides
_C_NAMES = {
    "float32": "float",
    "float64": "double",
    "int8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "int",
    "uint32": "u32",
    "int64": "i64",
    "uint64": "u64",
}  # one word each: typedefs of numcore.cuh


def launch(kernel, variant, arguments, dims):
    """Run the CUDA body of a kernel on CuPy arrays that were checked against its contract."""
    import cupy

    grid, block, shared = geometry(kernel, variant, dims)
    if not grid:
        return
    with arguments_device(cupy, kernel, arguments):
        function = _module(kernel.cuda_source, options(kernel, variant)).get_function(
            kernel.cuda_entry
        )
        if shared > 48 << 10:  # more than every card grants unasked
            function.max_dynamic_shared_size_bytes = shared
        function(
            (grid,), (block,), tuple(values(kernel, variant, arguments, dims)), shared_mem=shared
        )


def arguments_device(cupy, kernel, arguments):
    """The GPU that the arrays live on, as a context; several are a ValueError."""
    devices = {
        p.name: a.device.id for p, a in zip(kernel.passed, arguments, strict=True) if p.extents
    }
    if len(set(devices.values())) > 1:
        raise ValueError(
            f"arguments must live on one GPU (got "
            f"{', '.join(f'{n} on {d}' for n, d in devices.items())})"
        )
    return cupy.cuda.Device(next(iter(devices.values())))


@functools.cache
def _module(path, compile_options):
    import cupy

    return cupy.RawModule(code=source(path), options=compile_options, backend="nvrtc")


def geometry(kernel, variant, dims):
    """(blocks, threads in a block, bytes of dynamic shared memory) of a launch; no blocks where
    there is nothing to do."""
    items = dims[kernel.split]
    if kernel.gpu == "thread":
        blocks = -(-min(items, THREADS_ENOUGH) // kernel.threads)
    elif kernel.gpu == "warp":
        blocks = -(-items // (kernel.threads // 32))
    else:
        blocks = items
    itemsize = np.dtype(variant["T"]).itemsize if "T" in variant else 1
    return (
        min(blocks, MOST_BLOCKS),
        kernel.threads,
        kernel.extent(kernel.shared, dims | {"itemsize": itemsize}),
    )


def options(kernel, variant):
    """Compile options of a variant: T is REAL, other type variables and the constants of the file's
    kernels go by their names; no contraction but where fma is written."""
    return (
        "-std=c++17",
        "--fmad=false",
        *(f"-D{name}=({value!r})" for name, value in kernel.cuda_constants.items()),
        *(f"-D{'REAL' if v == 'T' else v}={_C_NAMES[dtype]}" for v, dtype in variant.items()),
    )


def values(kernel, variant, arguments, dims):
    """The arguments of the CUDA entry point: arrays and scalars in the contract's order, then the
    extents as 64-bit integers."""
    passed = [
        kernel.scalar_value(p, variant, a) if p.extents is None else a
        for p, a in zip(kernel.passed, arguments, strict=True)
    ]
    return passed + [np.int64(dims[d]) for d in kernel.dims]


_INCLUDED = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)


@functools.cache
def source(path):
    """The text of a ``.cu`` file with numcore's own headers pasted in, each once."""
    seen = set()

    def paste(text):
        def replace(match):
            name = match[1]
            if name in seen:
                return ""
            seen.add(name)
            return paste((INCLUDE / name).read_text().replace("#pragma once\n", ""))

        return _INCLUDED.sub(replace, text)

    return paste(Path(path).read_text())
