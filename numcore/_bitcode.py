"""The store of compiled kernels: object code and bitcode from the wheel, both from the user's
cache, Numba only where all of them lack.

A unit is looked up in this order: object code that the wheel has for CPUs of this level; object
code for this CPU in the user's cache; bitcode in the wheel; bitcode in the user's cache;
compilation by Numba. What is compiled here is kept in the user's cache.
"""

import functools
import os
import platform
import sys
import threading

from . import _cpu, _native, _source, _store

HERE = os.path.dirname(__file__)
WHEEL_STORE = os.path.join(HERE, "compiled")
VERSIONS = "versions.txt"
NATIVE = "NUMCORE_NATIVE"  # set to 1, code is made for exactly this CPU when it is first needed
_MACHINERY = ("_cpu.py", "_entry.py", "_loops.py", "_native.py", "_numba.py")

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
        facts = repr((self.key, *versions)).encode()
        return f"{self.name}-{_store.sha256(facts).hexdigest()[:32]}.{suffix}"


@functools.cache
def _machinery():
    """Hash of the modules that generate code."""
    digest = _store.sha256()
    for name in _MACHINERY:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


@functools.cache
def versions():
    return (
        f"numba {_store.installed_version('numba')} llvmlite {_store.installed_version('llvmlite')}"
    )


def load(unit):
    """Addresses of the unit's entry points, ready to be called on this machine: a dict of str to
    int."""
    with _lock:
        shipped = _cpu.level() and os.environ.get(NATIVE, "0") == "0"
        code = _from_wheel(unit, f"{_cpu.level()}.o") if shipped else None
        return _native.load(code or host_code(unit), unit.entries)


def host_code(unit):
    """Object code of a unit for the CPU of this machine."""
    name, folder = unit.file_name("o", versions(), _cpu.identity()), _store.cache_folder()
    code = _store.read(folder, name)
    if code is None:
        portable = _stored_bitcode(unit)
        is_new = portable is None
        if is_new:
            portable = compile_unit(unit)
        code = _native.object_code(unit.where, portable, unit.entries)
        if is_new:  # and keeps its contract, or there were no object code
            _store.write(folder, unit.file_name("bc", versions()), portable)
        _store.write(folder, name, code)
    return code


def bitcode(unit):
    """Portable bitcode of a unit."""
    with _lock:
        return _stored_bitcode(unit) or compile_unit(unit)


def _stored_bitcode(unit):
    code = _from_wheel(unit, "bc") if _wheel_fits() else None
    return code or _store.read(_store.cache_folder(), unit.file_name("bc", versions()))


def compile_unit(unit):
    """Bitcode by Numba; a body that does not compile is a ValueError that names it, its file and
    its line. One that allocates or raises is found when object code is made of it."""
    from . import _numba

    return _native.simplified(_numba.compile_bitcode(unit.build(), unit.where), unit.entries)


def _from_wheel(unit, suffix):
    return _store.read_checked(os.path.join(WHEEL_STORE, unit.file_name(suffix)))


@functools.cache
def _wheel_fits():
    """Whether this LLVM can read the wheel's bitcode: it reads that of its own and older
    versions."""
    try:
        with open(os.path.join(WHEEL_STORE, VERSIONS)) as file:
            built = file.read().split()[3]
    except (OSError, IndexError):
        return False
    return _numbers(built) <= _numbers(versions().split()[3])


def _numbers(version):
    return [int(part) for part in version.split(".")[:2] if part.isdecimal()]
