"""Subpackages that import a module when one of its names is first used, so that a program pays for
what it calls.

What a subpackage exports is written once, in its ``__init__.pyi``: type checkers read it as it is,
and :func:`attach` reads its lines ``from ._module import name as name``.
"""

import importlib
import pkgutil
import re

_IMPORT = re.compile(r"^from \.([\w.]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)


def homes(package):
    """Where the exported names of a package are defined: a dict of name to module, None for a
    name that is a module itself."""
    stub = pkgutil.get_data(package, "__init__.pyi").decode()
    return {
        entry.split()[0]: module or None
        for module, several, one in _IMPORT.findall(stub)
        for entry in (several or one).replace("\n", " ").split(",")
        if entry.strip()
    }


def attach(package, scope):
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose globals are `scope`."""
    home = homes(package)

    def __getattr__(name):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home[name] is None:
            value = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        scope[name] = value
        return value

    return __getattr__, lambda: sorted({*scope, *home}), sorted(home)
