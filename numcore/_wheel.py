"""What a wheel carries of the kernels: bitcode for any CPU and object code for the usual ones,
compiled by several processes when the wheel is built."""

import functools
import gc
import os
from concurrent.futures import ProcessPoolExecutor

from . import _bitcode, _cpu, _native, _store
from ._pool import available_cpus


@functools.cache
def _units():
    from .kernel import kernels

    return [made.unit(variant) for made in kernels() for variant in made.variants]


def _start():
    gc.disable()  # Numba makes millions of small objects: looking for cycles takes a seventh
    _units()


def _compile(i, folder):
    """Compile one unit into `folder`."""
    unit = _units()[i]
    bitcode = _bitcode.compile_unit(unit)
    codes = {"bc": bitcode}
    for level in _cpu.LEVELS:
        codes[f"{level}.o"] = _native.object_code(unit.where, bitcode, unit.entries, level)
    for suffix, code in codes.items():
        _store.write_checked(os.path.join(folder, unit.file_name(suffix)), code)
    if i % 32 == 0:
        gc.collect()


def fill(folder):
    """Compile every kernel into `folder`, on all CPUs."""
    os.makedirs(folder, exist_ok=True)
    with ProcessPoolExecutor(available_cpus(), initializer=_start) as pool:
        for done in [pool.submit(_compile, i, folder) for i in range(len(_units()))]:
            done.result()
    with open(os.path.join(folder, _bitcode.VERSIONS), "w") as file:
        file.write(_bitcode.versions() + "\n")
