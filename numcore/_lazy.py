"""Subpackages that import a module when one of its names is first used, so that a program pays for
what it calls.

What a subpackage exports is written once, in its ``__init__.pyi``: type checkers read it as it is,
and :func:`attach` reads its lines ``from ._module import name as name``.
"""


def homes(scope):
    """Where the exported names of a package are defined: a dict of name to module, which is empty
    for a name that is a module itself."""
    import re

    path = scope["__file__"].rpartition("__init__")[0] + "__init__.pyi"
    stub = scope["__loader__"].get_data(path).decode()
    imports = re.findall(r"^from \.([\w.]*) import (?:\(([^)]*)\)|(.*))$", stub, re.MULTILINE)
    return {
        entry.split()[0]: module
        for module, several, one in imports
        for entry in (several or one).replace("\n", " ").split(",")
        if entry.strip()
    }


def attach(package, scope):
    """``__getattr__`` and ``__dir__`` of a package whose globals are `scope`."""
    home = {}

    def known():
        if not home:
            home.update(homes(scope))
        return home

    def __getattr__(name):
        import importlib

        if name == "__all__":
            value = sorted(known())
        elif name.startswith("__") or name not in known():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        elif home[name]:
            value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        else:
            value = importlib.import_module(f"{package}.{name}")
        scope[name] = value
        return value

    return __getattr__, lambda: sorted({*known(), *(n for n in scope if n.startswith("__"))})
