"""What the documentation takes from the code when it is built: a page for each room, and the tables
of errors and times.

Pages of the rooms are written to docs/api/ from `numcore.dispatch.ROOMS` and each room's
``__all__``, so that a new room or routine needs no line here. The directives
``accuracy-contracts``, ``accuracy-promises`` and ``speed`` become tables.
"""

import importlib
import json
import re
from pathlib import Path

import numpy as np
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from numcore._report import _duration, _error, cells, machine
from numcore.dispatch import ROOMS, routines
from numcore.examples import example
from numcore.special import max_ulp_error

# --- a page for each room -------------------------------------------------------------------------


def room_page(room):
    """The text of the page of a room: what its module says of itself, and its public names, by the
    method that they belong to."""
    module, title, files = importlib.import_module(f"numcore.{room}"), f"numcore.{room}", {}
    for name in sorted(module.__all__, key=str.lower):
        home = ".".join(getattr(module, name).__module__.split(".")[:3])
        if home.startswith("numcore."):  # not the aliases of types
            files.setdefault(home, []).append(name)
    parts = [f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n"]
    for file, names in sorted(files.items(), key=lambda item: item[0].replace("._", ".")):
        if len(files) > 1:
            heading = " ".join(
                re.match(r"[^:.]+", importlib.import_module(file).__doc__)[0].split()
            )
            parts.append(f"{heading}\n{'-' * len(heading)}\n")
        parts.append(
            ".. autosummary::\n   :toctree: generated\n\n"
            + "".join(f"   {name}\n" for name in names)
        )
    return "\n".join(parts)


def write_rooms(folder):
    for old in folder.glob("room_*.rst"):
        if old.stem.removeprefix("room_") not in ROOMS:
            old.unlink()
    for room in ROOMS:
        page, text = folder / f"room_{room}.rst", room_page(room)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


# --- docstrings -----------------------------------------------------------------------------------


def escape(app, what, name, obj, options, lines):
    """Let docstrings be written as they are read: a magnitude between bars, a name that ends with
    an underscore, a reference that begins with an author's initial.

    In reStructuredText these are the name of a substitution, a link, and the first item of a list.
    Code stays as it is.
    """
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or in_example and bool(line.strip())
        if not in_example:
            parts = re.split(
                r"(``.*?``)", re.sub(r"^(\s*(?:\.\. \[\S+\] )?[A-Z])\. ", r"\1\\. ", line)
            )
            lines[i] = "".join(
                part
                if part.startswith("``")
                else re.sub(r"(?<!\\)\||(?<=[a-z])_(?=[\s,;.)]|$)", r"\\\g<0>", part)
                for part in parts
            )


# --- tables ---------------------------------------------------------------------------------------


def table(header, rows):
    lines = [".. list-table::", "   :header-rows: 1", "   :class: figures", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return lines + [""]


class _Generated(SphinxDirective):
    def run(self):
        lines = [line for block in self.blocks() for line in block]
        self.content = StringList(lines, source=f"generated for {self.env.docname}")
        return self.parse_content_to_nodes(allow_section_headings=True)


def elementary_functions():
    """The names that have a measured contract, in the registry's order."""
    for routine in routines():
        if routine.room == "special":
            try:
                max_ulp_error(routine.name, "float32")
            except ValueError:
                continue
            yield routine.name


class AccuracyContracts(_Generated):
    def blocks(self):
        rows = []
        for name in elementary_functions():
            for dtype in ("float32", "float64"):
                contract = max_ulp_error(name, dtype)
                checked = (
                    f"{'all' if contract.exhaustive else 'a sample of'} {contract.inputs_checked:,}"
                )
                rows.append(
                    (
                        name,
                        dtype,
                        f"{contract.max_ulp:.4f}",
                        str(np.dtype(dtype).type(contract.worst_input)),
                        checked,
                    )
                )
        yield table(
            ("function", "type", "largest error (ulp)", "found at x =", "inputs checked"), rows
        )


class AccuracyPromises(_Generated):
    def blocks(self):
        rows = [
            (f"{routine.room}.{routine.name}", dtype, _error(bound, example(routine).error))
            for routine in routines()
            for dtype, bound in example(routine).bound.items()
        ]
        yield table(("routine", "type", "promised largest error"), rows)


class Speed(_Generated):
    """A section for each file of docs/measured."""

    def blocks(self):
        for file in sorted((Path(self.env.srcdir) / "measured").glob("*.json")):
            self.env.note_dependency(str(file))
            found = json.loads(file.read_text(encoding="utf-8"))
            title = found["environment"]["cpu"]
            yield [
                title,
                "-" * len(title),
                "",
                f"{machine(found['environment'])}. Measured on {found['date']}.",
                "",
            ]
            yield from self.routines(found["results"])
            yield from self.start_up(found["start_up"])

    def routines(self, results):
        yield ["**Routines on real data, or on random input where the last column says so**", ""]
        wanted = (
            "routine",
            "type",
            "device",
            "time",
            "baseline's time",
            "speed",
            "baseline",
            "input",
        )
        yield table(wanted, ([row[name] for name in wanted] for row in map(cells, results)))

    def start_up(self, rows):
        yield ["**Start-up**, from the first import to the end, medians over fresh processes", ""]
        base = rows[0]["seconds"]
        yield table(
            ("what the process does", "time", f"by the time of {rows[0]['what']}"),
            (
                (row["what"], _duration(row["seconds"]), f"{row['seconds'] / base:.2f}×")
                for row in rows
            ),
        )


def setup(app):
    app.connect("autodoc-process-docstring", escape, priority=900)  # after numpydoc
    write_rooms(Path(app.srcdir) / "api")  # now, before Sphinx looks for pages
    for name, directive in (
        ("accuracy-contracts", AccuracyContracts),
        ("accuracy-promises", AccuracyPromises),
        ("speed", Speed),
    ):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
