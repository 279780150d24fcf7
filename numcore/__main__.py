"""``python -m numcore``: the speed of routines compared with their baselines, and their errors
compared with what they promise, on every device of this machine.

The default report has a few rows for each method, on real data and with a baseline if the method's
examples have them.
"""

import argparse
import difflib
import json
import math
import shutil
import sys
from pathlib import Path

from . import __version__

BROKEN_PROMISE, BAD_ARGUMENT, ERROR, INTERRUPTED = 1, 2, 3, 130


def main(argv=None):
    """Run the command line; the exit code, or SystemExit for a bad argument."""
    try:
        return _run(_parser().parse_args(argv))
    except KeyboardInterrupt:
        print("python -m numcore: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options):
    from . import _measure, _page, _report

    rows, selection = _selected(options)
    found = {
        "environment": _measure.environment(),
        "selection": selection,
        "planned": len(rows),
        "results": [],
        "errors": [],
    }
    progress, interrupted = _Progress(len(rows), sys.stderr), False
    try:
        _measure_all(rows, options.seconds, found, progress)
    except KeyboardInterrupt:
        interrupted = True
    progress.end()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if options.html:
        page = _page.page(found, options.docs or _page.built_docs(options.html))
        options.html.write_text(page, encoding="utf-8")
    print(_report.text(found), flush=True)
    if interrupted:
        print("python -m numcore: interrupted", file=sys.stderr)
        return INTERRUPTED
    if found["errors"]:
        return ERROR
    return 0 if all(result["ok"] for result in found["results"]) else BROKEN_PROMISE


def _selected(options):
    """The rows to measure, and what they are in words."""
    from . import _measure, _rows
    from .dispatch import routines

    devices = _measure.devices()
    if options.routine:
        chosen = {r.function: r for matches in options.routine for r in matches}.values()
        return _rows.rows_of(chosen, devices, True), "the chosen routines in every dtype"
    chosen = [r for r in routines() if not options.subpackage or r.room in options.subpackage]
    where = f" of {', '.join(options.subpackage)}" if options.subpackage else ""
    if options.all:
        return _rows.rows_of(chosen, devices, True), f"every routine{where} in every dtype"
    few = _rows.few_of_each_method(chosen)
    return (
        _rows.rows_of(few, devices, False),
        f"{len(few)} of the {len(chosen)} routines{where}, at most {_rows.PER_METHOD} of each "
        "method, in one dtype; --all measures everything",
    )


def _measure_all(rows, seconds, found, progress):
    """Measure row by row into `found`, which keeps what was measured before an interrupt."""
    from . import _measure, _report, _rows, _workers

    progress.say(f"numcore {__version__}: measuring {len(rows)} rows")
    if _rows.compiled_by_numba():
        progress.say("in a source checkout kernels are compiled when first used, then cached")
    with _workers.checker() as check:
        for batch in _rows.batches(rows):
            progress.say(f"preparing the next {len(batch)} rows")
            checked = check(batch, lambda i, n: progress.show(f"preparing: {i} of {n} methods"))
            for row in batch:
                progress.show(f"measuring {row.routine.room}.{row.routine.name} {row.dtype}")
                try:
                    result = _measure.measure(*row, seconds, checked.get(row))
                except Exception as error:
                    found["errors"].append(_measure.failure(*row, error))
                    progress.row(_report.error_line(found["errors"][-1]))
                else:
                    found["results"].append(result)
                    progress.row(_report.line(result))


class _Progress:
    """What is being done: one line that rewrites itself on a terminal, elsewhere a line for each
    row, written at once."""

    def __init__(self, n_rows, stream):
        self.n_rows, self.stream, self.done, self.last = n_rows, stream, 0, ""
        self.is_terminal = stream.isatty()

    def say(self, text):
        """A step that takes longer than a row."""
        if self.is_terminal:
            self.show(text)
        else:
            print(text, file=self.stream, flush=True)

    def show(self, text):
        """What is done now, on a terminal only."""
        if self.is_terminal:
            width = shutil.get_terminal_size().columns - 1
            line = f"[{self.done}/{self.n_rows}] {text}"[:width]
            print(f"\r{line}\x1b[K", end="", file=self.stream, flush=True)

    def row(self, text):
        """A row that was measured."""
        self.done += 1
        if self.is_terminal:
            self.show(text)
        else:
            width = len(str(self.n_rows))
            print(f"[{self.done:{width}}/{self.n_rows}] {text}", file=self.stream, flush=True)

    def end(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=self.stream, flush=True)


# --- arguments ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(BAD_ARGUMENT, f"{self.prog}: error: {message}\n")


def _parser():
    parser = _Parser(
        prog="python -m numcore",
        allow_abbrev=False,
        description=(
            "Measure a few routines of each method: their time compared with that of a baseline, "
            "the function that one would use otherwise, and their error compared with the error "
            "that they promise. The input is real data if the routine's example has any, otherwise "
            "random; the report says which. Progress goes to stderr, the report to stdout."
        ),
        epilog=(
            "Exit code: 0 all is well, 1 an error exceeds its promise, 2 bad argument, 3 a routine "
            "or its baseline raised an exception, 130 interrupted (the report has the rows that "
            "were measured before)."
        ),
    )
    parser.add_argument(
        "--all", action="store_true", help="every routine, in every dtype of its example"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--subpackage",
        action="append",
        type=_subpackage,
        metavar="NAME",
        help="only this subpackage, such as special; may be given again",
    )
    which.add_argument(
        "--routine",
        action="append",
        type=_routines,
        metavar="NAME",
        help="only this routine, exp or special.exp, in every dtype; may be given again",
    )
    parser.add_argument(
        "--json", type=_writable, metavar="FILE", help="write the figures to FILE, for programs"
    )
    parser.add_argument(
        "--html", type=_writable, metavar="FILE", help="write a page with plots and table to FILE"
    )
    parser.add_argument(
        "--docs",
        metavar="URL",
        help="where the documentation is, for links in the page; by default what make docs built, "
        "if it was run",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=0.2,
        metavar="S",
        help="time to measure each row of the table (%(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"numcore {__version__}")
    return parser


def _subpackage(text):
    from .dispatch import ROOMS

    if text not in ROOMS:
        raise argparse.ArgumentTypeError(
            f"subpackage must be one of {', '.join(ROOMS)} (got {text!r})"
        )
    return text


def _routines(text):
    """The routines with this name; more than one if subpackages share it."""
    from .dispatch import routines

    names = {}
    for routine in routines():
        for name in (routine.name, f"{routine.room}.{routine.name}"):
            names.setdefault(name, []).append(routine)
    if text not in names:
        close = difflib.get_close_matches(text, names, n=5)
        hint = f"; close matches: {', '.join(close)}" if close else ""
        raise argparse.ArgumentTypeError(f"routine must be in the registry (got {text!r}{hint})")
    return names[text]


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"seconds must be a number > 0 (got {text!r})")
    return seconds


def _writable(text):
    """The path, after trying to open it: a long measurement should not end in an error."""
    path = Path(text)
    is_new = not path.exists()
    try:
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text!r} ({error.strerror})") from None
    return path


if __name__ == "__main__":
    sys.exit(main())
