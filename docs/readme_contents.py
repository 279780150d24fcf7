"""Write the table of methods between the markers of a Markdown file:
``python docs/readme_contents.py README.md``.

It has the methods that a gallery page is about, see docs/_ext/numcore_methods.py; what runs on the
GPU comes from docs/launched_kernels.json.
"""

import json
import re
import sys
from pathlib import Path

import numcore

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

from numcore_methods import gallery, methods  # noqa: E402

BEGIN, END = "<!-- contents: begin -->", "<!-- contents: end -->"
LAUNCHED = DOCS / "launched_kernels.json"
MAX_FUNCTIONS = 4


def row(method):
    page = method.pages()[0]
    papers = "; ".join(
        re.sub(r"arXiv[: ](\S+)", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)
        for paper in method.papers
    )
    shown = [name for name in method.functions if f"{method.subpackage}.{name}" in page.uses]
    names = (shown or list(method.functions))[:MAX_FUNCTIONS]
    functions = ", ".join(f"`{method.subpackage}.{name}`" for name in names)
    more = len(method.functions) - len(names)
    return (
        f"| [{method.name}]({method.source}) | {papers} | "
        f"{functions}{f' and {more} more' if more else ''} | "
        f"[{page.example}](docs/examples/{page.stem}.py) |"
    )


def contents():
    about = {name for page in gallery() for name in page.about}
    rows = [
        row(method)
        for method in methods()
        if any(f"{method.subpackage}.{name}" in about for name in method.functions)
    ]
    return "\n".join(
        ["| method | paper | functions | example |", "| --- | --- | --- | --- |", *rows]
    )


def devices():
    launched = json.loads(LAUNCHED.read_text(encoding="utf-8"))
    routines = {f"{r.room}.{r.name}": r for r in numcore.routines()}
    kernels = sum(bool(launched.get(name)) for name in routines)
    host = sum(routine.host_only is not None for routine in routines.values())
    return (
        f"Of {len(routines)} routines, {kernels} launch CUDA kernels for GPU arrays, "
        f"{len(routines) - kernels - host} evaluate array expressions of CuPy, and {host} run on "
        "the CPU only."
    )


def rewritten(text):
    """A page with its table of methods made again."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{contents()}\n\n{devices()}\n{END}{after}"


def main(target):
    target = Path(target)
    target.write_text(rewritten(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
