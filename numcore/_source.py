"""What a compiled body depends on: its own source lines, those of every function that it calls, and
the constants that it reads."""

import contextlib
import functools
import types

import numpy as np

from ._store import sha256
from .simd import Intrinsic


def global_names(code):
    """The global names that a code object and the code objects inside it may read, sorted."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(global_names(constant))
    return sorted(names)


@functools.cache
def _lines_of_file(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def _last_line(code):
    last = max((end for _, end, _, _ in code.co_positions() if end), default=code.co_firstlineno)
    return max([last] + [_last_line(c) for c in code.co_consts if isinstance(c, types.CodeType)])


def source(function):
    """The source lines of a function, decorators included; its bytecode where there is no source
    file."""
    code = function.__code__
    try:
        lines = _lines_of_file(code.co_filename)
    except OSError:
        return repr((code.co_code, code.co_names, code.co_consts))
    return "\n".join(lines[code.co_firstlineno - 1 : _last_line(code)])


def references(function):
    """(name, value) of every global and every enclosing variable that a function reads, as far as
    they exist.

    This is the one traversal of what a body calls: the key of its compiled form follows it, and so
    does Numba.
    """
    scope = function.__globals__
    found = [(name, scope[name]) for name in global_names(function.__code__) if name in scope]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            found.append((name, cell.cell_contents))
    return found


def is_plain(value):
    """Whether a value is a Python function that is compiled with its caller; those of numba and
    numpy are known to Numba."""
    return isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] not in (
        "numba",
        "numpy",
    )


def digest(functions, *facts):
    """SHA-256, as hex, of everything that the compiled form of `functions` depends on, and of
    `facts`."""
    parts, seen = [repr(fact) for fact in facts], set()

    def visit(function):
        if function in seen:
            return
        seen.add(function)
        parts.append(source(function))
        for name, value in references(function):
            add(name, value)

    def add(name, value):
        if isinstance(value, Intrinsic):
            for part in (value.body, value.typing, value.emit):
                visit(part)
        elif hasattr(value, "scalar_bodies"):
            for body in value.scalar_bodies.values():
                visit(body)
        elif is_plain(value):
            visit(value)
        elif isinstance(value, type) and hasattr(value, "_fields"):  # a named tuple
            parts.append(f"{name}={value._fields}")
        elif isinstance(value, type) and value.__module__.partition(".")[0] == "numcore":
            for part in vars(value).values():
                if is_plain(part):
                    visit(part)
        elif isinstance(value, (types.ModuleType, types.BuiltinFunctionType, type)):
            parts.append(f"{name}={value.__name__}")
        elif isinstance(value, np.ndarray):
            parts.append(f"{name}={value.dtype} {value.shape} {value.tobytes()}")
        elif isinstance(value, (int, float, complex, str, bytes, np.generic)):
            parts.append(f"{name}={value!r}")
        elif isinstance(value, dict):
            for key, item in value.items():
                add(f"{name}[{key!r}]", item)
        elif isinstance(value, (tuple, list)):
            for place, item in enumerate(value):
                add(f"{name}[{place}]", item)

    for function in functions:
        visit(function)
    return sha256("\0".join(parts).encode()).hexdigest()
