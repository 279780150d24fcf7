"""Write the list of contents between the markers of a Markdown file:
``python docs/readme_contents.py README.md``.

Names are those of the subpackages, what runs where comes from the registry and from
docs/launched_kernels.json.
"""

import importlib
import json
import re
import sys
import textwrap
from dataclasses import is_dataclass
from pathlib import Path

import numcore
from numcore.dispatch import ROOMS

BEGIN, END = "<!-- contents: begin -->", "<!-- contents: end -->"
LAUNCHED = Path(__file__).parent / "launched_kernels.json"


def first_paragraph(module):
    return " ".join(module.__doc__.split("\n\n")[0].split())


def by_method(room):
    """The public functions and models of a room: a dict from a method's module to their names."""
    found, module = {}, importlib.import_module(f"numcore.{room}")
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        home = ".".join(getattr(value, "__module__", "").split(".")[:3])
        if home.startswith("numcore.") and callable(value) and not is_result(value):
            found.setdefault(home, []).append(name)
    return dict(sorted(found.items()))


def is_result(value):
    """Whether a name is a kind of result, not something that one calls."""
    return isinstance(value, type) and (issubclass(value, tuple) or is_dataclass(value))


def heading(module):
    """What a module is about: its docstring up to the first colon or full stop."""
    return " ".join(re.match(r"[^:.]+", importlib.import_module(module).__doc__)[0].split())


def code(names):
    return ", ".join(f"`{name}`" for name in names)


def contents():
    parts = []
    for room in ROOMS:
        title, methods = f"numcore.{room}", by_method(room)
        parts.append(f"**`{title}`** {first_paragraph(importlib.import_module(title))}")
        rows = [f"| {heading(module)} | {code(n)} |" for module, n in methods.items()]
        parts.append("\n".join(["| | |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def what_runs_where():
    launched = json.loads(LAUNCHED.read_text(encoding="utf-8"))
    routines = {f"{r.room}.{r.name}": r for r in numcore.routines()}
    kernels = [name for name in routines if launched.get(name)]
    expressions = [name for name in routines if launched.get(name) == []]
    host = {name: r.host_only for name, r in routines.items() if r.host_only}
    parts = [
        f"With GPU arrays, {len(kernels)} of {len(routines)} routines launch kernels of numcore "
        f"(recorded by `docs/launched_kernels.py`, on their examples)."
    ]
    if expressions:
        names = code(expressions)
        parts.append(f"{len(expressions)} consist of array expressions, which CuPy runs: {names}.")
    if host:
        reasons = "; ".join(f"`{name}` ({reason})" for name, reason in host.items())
        parts.append(f"{len(host)} run on the host only and refuse GPU arrays: {reasons}.")
    return "\n\n".join(textwrap.fill(p, 130, break_on_hyphens=False) for p in parts)


def rewritten(text):
    """A page with its list of contents made again."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{contents()}\n\n{what_runs_where()}\n{END}{after}"


def main(target):
    target = Path(target)
    target.write_text(rewritten(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
