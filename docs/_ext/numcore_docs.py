"""What the documentation takes from the code when it is built: a page for each subpackage, the list
of methods, the tables of errors and times, See Also and the gallery pages of each function.

Pages of the subpackages are written to docs/api/ from the list of methods, so that a new subpackage
or routine needs no line here. The directives ``subpackages``, ``methods``, ``devices``,
``accuracy-contracts``, ``accuracy-promises`` and ``speed`` become tables.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
from docutils.statemachine import StringList
from numcore_methods import method_of, methods, pages_with
from sphinx.util.docutils import SphinxDirective

import numcore
from numcore._report import _duration, _error, cells, machine
from numcore.dispatch import ROOMS, routines
from numcore.examples import example
from numcore.special import max_ulp_error

# --- a page for each subpackage -------------------------------------------------------------------


def subpackage_page(subpackage):
    """The text of the page of a subpackage: its docstring, and its public names by method."""
    title = f"numcore.{subpackage}"
    parts = [f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n"]
    for method in methods():
        if method.subpackage == subpackage:
            parts.append(f".. _{method.label}:\n")
            if method.module != title:
                parts.append(f"{method.name}\n{'-' * len(method.name)}\n")
            names = sorted(method.functions + method.results, key=str.lower)
            parts.append(
                ".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n"
                + "".join(f"   {name}\n" for name in names)
            )
    return "\n".join(parts)


def write_subpackages(folder):
    for old in folder.glob("numcore.*.rst"):
        if old.stem.removeprefix("numcore.") not in ROOMS:
            old.unlink()
    for subpackage in ROOMS:
        page, text = folder / f"numcore.{subpackage}.rst", subpackage_page(subpackage)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def give_gallery_to_templates(app, config):
    """Tell autosummary's templates the gallery pages of each public name: a dict from the full
    name to the files."""
    config.autosummary_context["gallery"] = {
        f"numcore.{method.subpackage}.{name}": [
            f"examples/{page.stem}.py" for page in pages_with(method.subpackage, name)
        ]
        for method in methods()
        for name in method.functions + method.results
    }


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


def summary(value):
    """The first sentence of a docstring."""
    return re.split(r"(?<=\.)\s", " ".join(inspect.getdoc(value).split("\n\n")[0].split()))[0]


def see_also(app, what, name, obj, options, lines):
    """Add the other functions of the method to a docstring without a section See Also."""
    package, _, short = name.rpartition(".")
    subpackage = package.removeprefix("numcore.")
    if subpackage not in ROOMS or any(line.strip() == "See Also" for line in lines):
        return
    others = [other for other in method_of(subpackage, short).functions if other != short]
    module = importlib.import_module(package)
    if others:
        lines += ["", "See Also", "--------"]
        lines += [f"{other} : {summary(getattr(module, other))}" for other in others]


# --- tables ---------------------------------------------------------------------------------------


def table(header, rows, kind="figures"):
    lines = [".. list-table::", "   :header-rows: 1", f"   :class: {kind}", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return lines + [""]


class _Generated(SphinxDirective):
    def run(self):
        lines = [line for block in self.blocks() for line in block]
        self.content = StringList(lines, source=f"generated for {self.env.docname}")
        return self.parse_content_to_nodes(allow_section_headings=True)


class Subpackages(_Generated):
    def blocks(self):
        rows = [
            (f":doc:`{name}`", summary(importlib.import_module(name)))
            for name in (f"numcore.{subpackage}" for subpackage in ROOMS)
        ]
        core = "Threads, the registry, declared arguments, kernels, tools for tests."
        yield table(("subpackage", "contents"), [*rows, (":doc:`core`", core)], "methods")


class Methods(_Generated):
    """A table for each subpackage: method, paper, functions, gallery page."""

    def blocks(self):
        for subpackage in ROOMS:
            package = importlib.import_module(f"numcore.{subpackage}")
            yield [f"**numcore.{subpackage}**: {summary(package)}", ""]
            rows = [
                self.row(method)
                for method in methods()
                if method.subpackage == subpackage and method.functions
            ]
            yield table(("method", "paper", "functions", "example"), rows, "methods")

    @staticmethod
    def row(method):
        pages = method.pages()
        return (
            f":ref:`{method.name} <{method.label}>`",
            "; ".join(map(linked, method.papers)) or "—",
            ", ".join(f":obj:`~numcore.{method.subpackage}.{name}`" for name in method.functions),
            f":doc:`{pages[0].example} <gallery/{pages[0].stem}>`" if pages else "—",
        )


def linked(paper):
    """A citation with its arXiv number as a link."""
    return re.sub(r"arXiv[: ](\S+)", r"`arXiv \1 <https://arxiv.org/abs/\1>`__", paper)


class Devices(_Generated):
    """What each routine does with GPU arrays, from docs/launched_kernels.json."""

    def blocks(self):
        file = Path(self.env.srcdir) / "launched_kernels.json"
        self.env.note_dependency(str(file))
        launched, rows = json.loads(file.read_text(encoding="utf-8")), []
        for routine in numcore.routines():
            name = f"{routine.room}.{routine.name}"
            if routine.host_only:
                where = f"CPU only: {routine.host_only}"
            elif launched[name]:
                where = "CUDA kernels: " + ", ".join(launched[name])
            else:
                where = "array expressions of CuPy"
            rows.append((f":obj:`{name} <numcore.{name}>`", where))
        yield table(("routine", "with GPU arrays"), rows)


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
    app.connect("config-inited", give_gallery_to_templates)
    app.connect("autodoc-process-docstring", see_also, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", escape, priority=900)  # after numpydoc
    write_subpackages(Path(app.srcdir) / "api")  # now, before Sphinx looks for pages
    for name, directive in (
        ("subpackages", Subpackages),
        ("methods", Methods),
        ("devices", Devices),
        ("accuracy-contracts", AccuracyContracts),
        ("accuracy-promises", AccuracyPromises),
        ("speed", Speed),
    ):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
