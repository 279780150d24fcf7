"""``python -m numcore``: every routine on real data, on every device here, its speed beside a
peer's, its error beside its promise."""

import argparse
import importlib.util
import json
import math
import sys
from pathlib import Path

BROKEN_PROMISE, BAD_ARGUMENT, INTERRUPTED = 1, 2, 130


def main(argv=None):
    """Run the command line; the exit code, or SystemExit where an argument is bad."""
    try:
        return _run(_parser().parse_args(argv))
    except KeyboardInterrupt:
        print("python -m numcore: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options):
    from . import _measure, _report
    from .dispatch import routines
    from .examples import example

    chosen = [routine for routine in routines() if not options.room or routine.room in options.room]
    jobs = [
        (routine, dtype, device)
        for routine in chosen
        for dtype in example(routine).dtypes
        for device in _measure.devices()
    ]
    results = [_measure.measure(*job, options.seconds) for job in _progress(jobs)]
    environment = _measure.environment()
    if options.json:
        options.json.write_text(
            json.dumps({"environment": environment, "results": results}, indent=1, allow_nan=False)
            + "\n"
        )
    if options.html:
        options.html.write_text(_report.page(results, environment), encoding="utf-8")
    print(_report.text(results, environment))
    return 0 if all(result["ok"] for result in results) else BROKEN_PROMISE


def _progress(jobs):
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        return tqdm(jobs, desc="measuring", unit="row", leave=False)
    return jobs


# --- arguments ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(BAD_ARGUMENT, f"{self.prog}: error: {message}\n")


def _parser():
    parser = _Parser(
        prog="python -m numcore",
        allow_abbrev=False,
        description=(
            "Measure every routine on real data, on every device of this machine: its time beside "
            "that of the function that one would "
            "use otherwise, and its error beside the error that it promises. Exit code 1 if a "
            "promise is broken."
        ),
    )
    parser.add_argument(
        "--room",
        action="append",
        type=_room,
        help="only this subpackage, such as special; may be given again",
    )
    parser.add_argument(
        "--json", type=_writable, metavar="FILE", help="write the figures to FILE, for programs"
    )
    parser.add_argument(
        "--html", type=_page, metavar="FILE", help="write a page with plots and the table to FILE"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=0.5,
        metavar="S",
        help="time to measure each row of the table (0.5)",
    )
    return parser


def _room(text):
    from .dispatch import ROOMS

    if text not in ROOMS:
        raise argparse.ArgumentTypeError(f"room must be one of {', '.join(ROOMS)} (got {text!r})")
    return text


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


def _page(text):
    if not importlib.util.find_spec("matplotlib"):
        raise argparse.ArgumentTypeError(
            "the page needs matplotlib: pip install 'numcore-kernels[bench]'"
        )
    return _writable(text)


if __name__ == "__main__":
    sys.exit(main())
