"""The store of compiled kernels: bitcode from the wheel or the user's cache, object code for this
CPU, Numba only where both lack.

A unit is looked up in this order: object code for this machine in the user's cache; bitcode shipped
with the wheel; bitcode in the user's cache; compilation by Numba. What is found late is written to
the places that come earlier.
"""

import functools
import os
import platform
import sys
import threading
from hashlib import sha256

from . import _native, _source, _store

HERE = os.path.dirname(__file__)
WHEEL_STORE = os.path.join(HERE, "bitcode")
VERSIONS = "versions.txt"
_MACHINERY = ("_entry.py", "_loops.py", "_native.py", "_numba.py")

# Held while anything is compiled or loaded. A fork waits for it, so that no child inherits a
# compiler stopped half-way.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


def place(name, function):
    """``name (file:line)`` of a body, for messages."""
    code = function.__code__
    path = os.path.abspath(code.co_filename)
    for root in (os.path.dirname(HERE), os.getcwd()):
        if path.startswith(root + os.sep):
            path = os.path.relpath(path, root)
            break
    return f"{name} ({path}:{code.co_firstlineno})"


class Unit:
    """What is compiled together: a kernel's entry points for one choice of dtypes.

    Parameters
    ----------
    name : str
        For file names and messages.
    functions : list of function
        The Python bodies, whose source is part of the key.
    facts : object
        Whatever else the code depends on, told by its repr.
    entries : tuple of str
        The C symbols.
    build : function
        Returns ``{symbol: (function, Numba signature)}``; called only if Numba must compile.
    """

    def __init__(self, name, functions, facts, entries, build):
        self.name, self.functions, self.facts, self.entries, self.build = (
            name,
            functions,
            facts,
            entries,
            build,
        )

    @property
    def where(self):
        """Name, file and first line of the body, for messages."""
        return place(self.name, self.functions[0])

    @functools.cached_property
    def key(self):
        """Hash of the source, the contract, the machinery and the platform."""
        return _source.digest(
            self.functions, self.facts, _machinery(), sys.platform, platform.machine()
        )

    def file_name(self, suffix, *versions):
        return (
            f"{self.name}-{sha256(repr((self.key, *versions)).encode()).hexdigest()[:32]}.{suffix}"
        )


@functools.cache
def _machinery():
    """Hash of the modules that generate code."""
    digest = sha256()
    for name in _MACHINERY:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


@functools.cache
def _versions():
    return (
        f"numba {_store.installed_version('numba')} llvmlite {_store.installed_version('llvmlite')}"
    )


def load(unit):
    """Addresses of the unit's entry points, ready to be called on this machine: a dict of str to
    int."""
    with _lock:
        name = unit.file_name("o", _versions(), _host())
        code = _store.read(_store.cache_folder(), name)
        if code is None:
            code = _native.object_code(unit.where, bitcode(unit), unit.entries)
            _store.write(_store.cache_folder(), name, code)
        return _native.load(code, unit.entries)


@functools.cache
def _host():
    return _native.host_identity()


def bitcode(unit):
    """Portable bitcode of a unit."""
    with _lock:
        code = _from_wheel(unit)
        if code is None:
            name = unit.file_name("bc", _versions())
            code = _store.read(_store.cache_folder(), name)
        if code is None:
            code = compile_unit(unit)
            _store.write(_store.cache_folder(), name, code)
        return code


def compile_unit(unit):
    """Bitcode by Numba, checked: a body that does not compile, allocates or raises is a ValueError
    that names it, its file and its line."""
    from . import _numba

    code = _native.simplified(_numba.compile_bitcode(unit.build(), unit.where), unit.entries)
    _native.object_code(unit.where, code, unit.entries)
    return code


def _from_wheel(unit):
    return (
        _store.read_checked(os.path.join(WHEEL_STORE, unit.file_name("bc")))
        if _wheel_fits()
        else None
    )


@functools.cache
def _wheel_fits():
    """Whether this LLVM can read the wheel's bitcode: it reads that of its own and older
    versions."""
    try:
        with open(os.path.join(WHEEL_STORE, VERSIONS)) as file:
            built = file.read().split()[3]
    except (OSError, IndexError):
        return False
    return _numbers(built) <= _numbers(_versions().split()[3])


def _numbers(version):
    return [int(part) for part in version.split(".")[:2] if part.isdecimal()]


def fill_wheel_store(folder):
    """Compile every kernel into `folder`, for the build of a wheel."""
    from .kernel import kernels

    os.makedirs(folder, exist_ok=True)
    for made in kernels():
        for variant in made.variants:
            unit = made.unit(variant)
            _store.write_checked(os.path.join(folder, unit.file_name("bc")), compile_unit(unit))
    with open(os.path.join(folder, VERSIONS), "w") as file:
        file.write(_versions() + "\n")
