"""The results of :mod:`numcore._measure` for people: a table of text, and a page of plots that
needs no other file."""

import io
import re
from html import escape

WORDS = {
    "Routine": "a public function of numcore, named with the subpackage that it is in.",
    "Peer": "the function that one would call today for the same purpose, timed in turn with ours on the same input.",  # noqa: E501
    "Speed": "the peer's time divided by ours: 2× means that numcore takes half the time, below 1× it is slower.",  # noqa: E501
    "Promised error": "the largest error that numcore promises for any input.",
    "Measured error": "the largest error found on the input shown, against a slow and far more accurate computation.",  # noqa: E501
    "ulp": "unit in the last place: the distance from the exact result to the next number that its type can hold. A perfectly rounded "  # noqa: E501
    "result is off by at most half of one.",
    "relative, absolute": "the largest error of an entry, divided by the largest entry of the exact result, or as it is.",  # noqa: E501
    "exact": "every entry must be equal to that of the slow computation.",
}
COLOURS, MARKERS = ("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3"), "osD^"


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


def cells(result):
    """The row of a result: a dict of column headings to texts."""
    has_peer, unit = result["peer"] is not None, result["error_unit"]
    return {
        "routine": f"{result['room']}.{result['routine']}",
        "type": result["dtype"],
        "device": result["device"],
        "time": _duration(result["seconds"]),
        "peer's time": _duration(result["peer_seconds"]) if has_peer else "",
        "speed": f"{result['speed']:.2f}×" if has_peer else "",
        "promised error": _error(result["promised_error"], unit),
        "measured error": _error(result["measured_error"], unit),
        "ok": "yes" if result["ok"] else "NO",
        "peer": result["peer"] or "",
        "input": f"{result['data']}, {' × '.join(map(str, result['shape']))}",
    }


NUMBERS = ("time", "peer's time", "speed", "promised error", "measured error")


def machine(environment):
    """The machine and the versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['cpu']}, numcore on {environment['threads']} of {environment['cpus']} CPUs, "
        f"{environment['system']}, "
        f"Python {environment['python']}, {versions}"
    )


# --- text -----------------------------------------------------------------------------------------


def text(results, environment):
    """The table for a terminal, with the machine and the words explained below."""
    rows = [cells(result) for result in results]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}

    def line(row):
        return "  ".join(
            row[name].rjust(width) if name in NUMBERS else row[name].ljust(width)
            for name, width in widths.items()
        ).rstrip()

    table = [
        line({name: name for name in widths}),
        line({name: "─" * width for name, width in widths.items()}),
        *map(line, rows),
    ]
    return "\n".join(
        [
            *table,
            "",
            machine(environment),
            f"Speed: {WORDS['Speed']}",
            f"Promised error: {WORDS['Promised error']}",
            f"Measured error: {WORDS['Measured error']}",
        ]
    )


# --- page -----------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>numcore: speed and accuracy</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c2330; background: #fff; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin-top: 2.5rem; }}
svg {{ width: 100%; height: auto; }}
.machine {{ color: #59616e; font-size: .9rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .4rem; text-align: left; border-bottom: 1px solid #dde1e7; white-space: nowrap; }}
td:nth-last-child(-n+2) {{ white-space: normal; }} td:last-child {{ min-width: 9rem; }}
th {{ border-bottom: 2px solid #1c2330; }}
.number {{ text-align: right; }}
.broken td {{ background: #fbe3dd; }}
dt {{ font-weight: 600; }} dd {{ margin: 0 0 .5rem 1.5rem; }}
</style>
</head>
<body>
<h1>numcore: speed and accuracy</h1>
<p>Every routine of numcore, measured on real data on this machine: how fast it is beside the function that one would use otherwise,
and how large its error is beside the error that it promises. {summary}</p>
<p class="machine">{machine}</p>
{plots}
<h2>All measurements</h2>
<div class="wide"><table>
{table}
</table></div>
<h2>Words</h2>
<dl>
{words}
</dl>
</body>
</html>
"""  # noqa: E501


def page(results, environment):
    """The HTML page: plots, table and words in one text without references to anything outside."""
    rows = [cells(result) for result in results]

    def row(tag, texts, kind=""):
        opening = {
            name: f'<{tag} class="number">' if name in NUMBERS else f"<{tag}>" for name in texts
        }
        return (
            f"<tr{kind}>"
            + "".join(f"{opening[name]}{escape(cell)}</{tag}>" for name, cell in texts.items())
            + "</tr>"
        )

    table = [
        row("th", {name: name for name in rows[0]}),
        *(
            row("td", texts, "" if result["ok"] else ' class="broken"')
            for texts, result in zip(rows, results, strict=True)
        ),
    ]
    return PAGE.format(
        summary=escape(_summary(results)),
        machine=escape(machine(environment)),
        plots="\n".join(_plots(results)),
        table="\n".join(table),
        words="\n".join(
            f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in WORDS.items()
        ),
    )


def _summary(results):
    speeds = [result["speed"] for result in results if result["speed"] is not None]
    faster, broken = sum(speed > 1 for speed in speeds), sum(not result["ok"] for result in results)
    kept = (
        f"{broken} of {len(results)} break their promise"
        if broken
        else f"all {len(results)} keep their promise"
    )
    return (
        (f"{faster} of {len(speeds)} measurements are faster than the peer; " if speeds else "")
        + kept
        + "."
    )


def _plots(results):
    timed = [result for result in results if result["speed"] is not None]
    if timed:
        yield "<h2>Speed relative to the peer</h2>"
        yield (
            "<p>Each mark is the peer's time divided by numcore's, on the same input: to the right "
            "of the line numcore is faster. "
            "The peer of each routine is named in the table.</p>"
        )
        yield _svg("speed", timed, "peer's time / numcore's time", _draw_speed)
    gauged = [
        result
        for result in results
        if result["error_unit"] != "equal" and result["measured_error"] is not None
    ]
    if gauged:
        exact = sorted(
            {
                result["routine"]
                for result in results
                if result["error_unit"] == "equal" and result["ok"]
            }
        )
        yield "<h2>Measured error against promised error</h2>"
        drawn = f" Not drawn, since every digit is right: {', '.join(exact)}." if exact else ""
        yield (
            "<p>The bar is the largest error that numcore promises for any input, the mark the "
            "largest error found on this input: "
            "a mark to the right of its bar is a broken promise. The unit is the unit in the last "
            "place (ulp), explained below; "
            f"relative and absolute errors are drawn as multiples of the ulp of 1.{drawn}</p>"
        )
        yield _svg("error", gauged, "largest error, units in the last place", _draw_errors)


def _draw_speed(axes, results, heights, style):
    axes.axvline(1, color="#1c2330", linewidth=1)
    for result, height in zip(results, heights, strict=True):
        axes.plot([1, result["speed"]], [height, height], color=style(result)["color"], alpha=0.4)
        axes.plot(result["speed"], height, **style(result))
    speeds = [result["speed"] for result in results]
    axes.set_xlim(min(0.5, *speeds) / 1.2, max(2, *speeds) * 1.2)


def _draw_errors(axes, results, heights, style):
    import numpy as np

    for result, height in zip(results, heights, strict=True):
        scale = 1 if result["error_unit"] == "ulp" else float(np.finfo(result["dtype"]).eps)
        least = result["promised_error"] / scale / 100
        axes.plot(max(result["measured_error"] / scale, least), height, **style(result))
        axes.plot(
            result["promised_error"] / scale,
            height,
            marker="|",
            markersize=11,
            markeredgewidth=2.5,
            color=style(result)["color"],
        )


def _svg(name, results, label, draw):
    """A plot with one line for each routine, and a mark in it for each type and device, on a
    logarithmic axis."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    routines = list(dict.fromkeys(f"{result['room']}.{result['routine']}" for result in results))
    series = list(dict.fromkeys((result["dtype"], result["device"]) for result in results))

    def style(result):
        i = series.index((result["dtype"], result["device"]))
        return {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 6,
            "linestyle": "none",
        }

    heights = [
        routines.index(f"{result['room']}.{result['routine']}")
        + 0.4 * ((series.index((result["dtype"], result["device"])) + 0.5) / len(series) - 0.5)
        for result in results
    ]
    figure = Figure(figsize=(9, 1.2 + 0.38 * len(routines)), layout="constrained")
    axes = figure.subplots()
    draw(axes, results, heights, style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(routines)), routines)
    axes.set_ylim(len(routines) - 0.5, -0.5)
    axes.set_xlabel(f"{label} (logarithmic)")
    axes.grid(axis="x", color="#dde1e7")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for dtype, device in series:
        axes.plot([], [], label=f"{dtype}, {device}", **style({"dtype": dtype, "device": device}))
    figure.legend(loc="outside upper right", ncols=len(series), frameon=False)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(
        "<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1
    )
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
