"""The results of :mod:`numcore._measure` as text: cells, a summary, a table for a terminal.

:func:`summary` and :func:`text` take what ``python -m numcore --json`` writes, a dict with the
`environment`, the `selection` in words, the number of rows `planned`, the `results`, and the
`errors` of rows that raised an exception.
"""

import statistics
import textwrap

WIDTH = 120  # of the text
LINE = 108  # of a row while it is measured: a counter stands before it
MOST_NAMES = 8  # in a sentence of the summary

WORDS = {
    "Routine": "a public function of numcore, named with its subpackage.",
    "Baseline": "the function that one would call otherwise for the same purpose, timed in turn with numcore's on the same input.",  # noqa: E501
    "Speed": "the baseline's time divided by numcore's: 2× means that numcore takes half the time, below 1× it is slower.",  # noqa: E501
    "Promised error": "the largest error that numcore promises for any input.",
    "Measured error": "the largest error found on the input shown, compared with a slow and far more accurate computation.",  # noqa: E501
    "ulp": "unit in the last place: the distance from the exact result to the next number that its type can hold. A perfectly rounded "  # noqa: E501
    "result is off by at most half of one.",
    "relative, absolute": "the largest error of an entry, divided by the largest entry of the exact result, or as it is.",  # noqa: E501
    "exact": "every entry must be equal to that of the slow computation.",
}


# --- cells ----------------------------------------------------------------------------------------


def _duration(seconds):
    unit, size = next(
        (unit, size) for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 0)) if seconds >= size
    )
    return f"{seconds / (size or 1e-6):.3g} {unit}"


def _error(value, unit):
    if value is None:
        return "wrong" if unit == "equal" else "infinite"
    if unit == "equal":
        return "exact"
    return f"{value:.3f} ulp" if unit == "ulp" else f"{value:.1e} {unit}"


def name_of(result):
    return f"{result['subpackage']}.{result['routine']}"


def cells(result):
    """The row of a result: a dict of column headings to texts."""
    has_baseline, unit = result["baseline"] is not None, result["error_unit"]
    return {
        "routine": name_of(result),
        "type": result["dtype"],
        "device": result["device"],
        "time": _duration(result["seconds"]),
        "baseline's time": _duration(result["baseline_seconds"]) if has_baseline else "",
        "speed": f"{result['speed']:.2f}×" if has_baseline else "",
        "promised error": _error(result["promised_error"], unit),
        "measured error": _error(result["measured_error"], unit),
        "ok": "yes" if result["ok"] else "NO",
        "baseline": result["baseline"] or "",
        "input": f"{result['data']}, {' × '.join(map(str, result['shape']))}",
    }


NUMBERS = ("time", "baseline's time", "speed", "promised error", "measured error")


def baseline_of(result):
    """The baseline's name, or why there is none."""
    if result["baseline"] is not None:
        return result["baseline"]
    missing = result["baseline_missing"]
    return f"none here ({missing})" if missing else "none"


def machine(environment):
    """The machine and the versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['cpu']}, numcore on {environment['threads']} of {environment['cpus']} CPUs, "
        f"{environment['system']}, "
        f"Python {environment['python']}, {versions}"
    )


# --- one line for each row, while it is measured --------------------------------------------------


def _start_of_line(row):
    return f"{name_of(row):38} {row['dtype']:8} {row['device']:4}"


def line(result):
    """A result in one line."""
    row = cells(result)
    speed = f"{row['speed']:>8} baseline" if row["speed"] else " " * 5 + "no baseline"
    broken = ", BROKEN PROMISE" * (not result["ok"])
    return f"{_start_of_line(result)} {row['time']:>8} {speed}{broken}"


def error_line(failed):
    """A row whose measurement raised an exception, in one line."""
    text = " ".join(f"ERROR {failed['error']}".split())
    return f"{_start_of_line(failed)} {textwrap.shorten(text, LINE - 53, placeholder='…')}"


# --- summary --------------------------------------------------------------------------------------


def summary(found):
    """What the report says, in a list of sentences."""
    results, errors, planned = found["results"], found["errors"], found["planned"]
    n, measured = len(results), len(results) + len(errors)
    yield f"{planned} row{'s' * (planned != 1)}: {found['selection']}."
    if measured < planned:
        yield f"Interrupted: {measured} of {planned} rows were measured."
    if errors:
        yield f"Raised an exception: {_rows(errors, measured)}."
    if not results:
        return
    broken = [row for row in results if not row["ok"]]
    yield (
        f"Error above the promise: {_rows(broken, n)}."
        if broken
        else "Error above the promise: none."
    )
    speeds = [row["speed"] for row in results if row["speed"] is not None]
    if speeds:
        yield (
            f"Faster than the baseline: {sum(speed > 1 for speed in speeds)} of {len(speeds)} "
            f"rows; the median speed is {statistics.median(speeds):.2f}×."
        )
    for what, chosen in (
        ("On random input", [row for row in results if row["data"] == "random"]),
        ("No baseline", [row for row in results if _lacks_baseline(row)]),
        ("Baseline not available here", [row for row in results if row["baseline_missing"]]),
    ):
        if chosen:
            yield f"{what}: {_rows(chosen, n)}."
    if all(row["data"] != "random" for row in results):
        yield "On real data: all rows."


def _lacks_baseline(result):
    return result["baseline"] is None and not result["baseline_missing"]


def _rows(rows, n):
    return f"{len(rows)} of {n} rows ({_names(rows)})"


def _names(rows):
    names = list(dict.fromkeys(map(name_of, rows)))
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more, marked below" if more > 0 else "")


# --- text -----------------------------------------------------------------------------------------

COLUMNS = ("routine", "type", "device", "time", "baseline", "speed", "measured", "promised", "ok")


def _short(result):
    """The row of the text: narrower than that of the page, with baseline and input below it."""
    row = cells(result)
    measured, _, _ = row["measured error"].rpartition(f" {result['error_unit']}")
    return dict(
        zip(
            COLUMNS,
            (
                row["routine"],
                row["type"],
                row["device"],
                row["time"],
                row["baseline's time"] or "–",
                row["speed"] or "–",
                measured or row["measured error"],
                row["promised error"].replace("relative", "rel.").replace("absolute", "abs."),
                row["ok"],
            ),
            strict=True,
        )
    )


def text(found):
    """The report for a terminal: what it says, then the table, then the words explained."""
    lines = [part for sentence in summary(found) for part in _wrapped(sentence)]
    lines += [part for failed in found["errors"] for part in _wrapped(failed_text(failed), "  ")]
    lines += _wrapped(f"Measured on: {machine(found['environment'])}.")
    if found["results"]:
        lines += ["", *_table(found["results"]), ""]
        for word in ("Speed", "Measured error", "Promised error"):
            lines += _wrapped(f"{word}: {WORDS[word]}")
    return "\n".join(lines)


def failed_text(failed):
    return f"{name_of(failed)} {failed['dtype']} {failed['device']}: {failed['error']}"


def _wrapped(sentence, indent=""):
    return textwrap.wrap(sentence, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")


def _table(results):
    rows = [_short(result) for result in results]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}

    def line(row):
        return "  ".join(
            row[name].ljust(width)
            if name in ("routine", "type", "device")
            else row[name].rjust(width)
            for name, width in widths.items()
        ).rstrip()

    yield line({name: name for name in COLUMNS})
    yield line({name: "─" * width for name, width in widths.items()})
    for i, (row, result) in enumerate(zip(rows, results, strict=True)):
        yield line(row)
        detail = _detail(result)
        if i + 1 == len(rows) or detail != _detail(results[i + 1]):
            yield from _wrapped(detail[1], "    ")


def _detail(result):
    return name_of(result), f"{cells(result)['input']}; baseline: {baseline_of(result)}"
