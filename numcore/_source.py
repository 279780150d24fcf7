"""What a compiled body depends on: its own source lines, those of every function that it calls, and
the constants that it reads."""

import functools
import types
from hashlib import sha256

import numpy as np

from .intrinsics import Intrinsic


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


def digest(functions, *facts):
    """SHA-256, as hex, of everything that the compiled form of `functions` depends on, and of
    `facts`."""
    parts, seen = [repr(fact) for fact in facts], set()

    def visit(function):
        if function in seen:
            return
        seen.add(function)
        parts.append(source(function))
        for name in global_names(function.__code__):
            if name in function.__globals__:
                value = function.__globals__[name]
                if isinstance(value, Intrinsic):
                    for part in (value.body, value.typing, value.emit):
                        visit(part)
                elif hasattr(value, "scalar_bodies"):
                    for body in value.scalar_bodies.values():
                        visit(body)
                elif isinstance(value, types.FunctionType) and value.__module__.partition(".")[
                    0
                ] not in ("numba", "numpy"):
                    visit(value)
                elif isinstance(value, (types.ModuleType, types.BuiltinFunctionType, type)):
                    parts.append(f"{name}={value.__name__}")
                elif isinstance(value, np.ndarray):
                    parts.append(f"{name}={value.dtype} {value.shape} {value.tobytes()}")
                elif isinstance(value, (int, float, complex, str, bytes, tuple, np.generic)):
                    parts.append(f"{name}={value!r}")

    for function in functions:
        visit(function)
    return sha256("\0".join(parts).encode()).hexdigest()
