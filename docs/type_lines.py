"""Write the type lines of docstrings from the declared arguments.

``python docs/type_lines.py FILE...`` changes the section Parameters of every declared function and
model in the given modules of numcore, so that each argument's line says what its signature says.
"""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

from numcore.arguments import declaration

SECTION = re.compile(r"^( *)Parameters\n *-+\n", re.MULTILINE)
NEXT = re.compile(r"^ *[A-Z][\w ]*\n *-{3,}$", re.MULTILINE)
ENTRY = re.compile(r"^(\S[^:\n]*?)(?: : .*)?$")


def rewritten(text, lines):
    """A docstring's source text with the type lines of `lines`, a dict by argument."""
    start = SECTION.search(text)
    if start is None:
        return text
    indent = start[1]
    end = NEXT.search(text, start.end())
    stop = end.start() if end else len(text)
    out = []
    for line in text[start.end() : stop].split("\n"):
        entry = ENTRY.match(line[len(indent) :]) if line.startswith(indent) else None
        names = [n.strip() for n in entry[1].split(",")] if entry else []
        if names and all(n in lines for n in names):
            if len({lines[n] for n in names}) == 1:
                names = [", ".join(names)]
            out += [f"{indent}{n} : {lines[n.split(',')[0]]}" for n in names]
        else:
            out.append(line)
    return text[: start.end()] + "\n".join(out) + text[stop:]


def functions(module, tree):
    """(node of the docstring, function) of every declared function, method and model."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            made = getattr(module, node.name, None)
            if hasattr(made, "__wrapped__"):
                yield node, made
        elif isinstance(node, ast.ClassDef):
            kind = getattr(module, node.name, None)
            if hasattr(getattr(kind, "__init__", None), "__wrapped__"):
                yield node, kind.__init__
            for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
                made = getattr(kind, method.name, None)
                if hasattr(made, "__wrapped__") and method.name != "__init__":
                    yield method, made


def main(paths):
    for path in map(Path, paths):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        module, source = importlib.import_module(name), path.read_text(encoding="utf-8")
        lines = source.split("\n")
        found = functions(module, ast.parse(source))
        for node, made in sorted(found, key=lambda pair: -pair[0].lineno):
            first = node.body[0]
            if not ast.get_docstring(node):
                continue
            text = "\n".join(lines[first.lineno - 1 : first.end_lineno])
            types = {p.name: p.type_line for p in declaration(inspect.unwrap(made))}
            lines[first.lineno - 1 : first.end_lineno] = rewritten(text, types).split("\n")
        path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
