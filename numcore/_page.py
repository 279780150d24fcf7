"""The HTML page of ``python -m numcore``: plots, a filter and a table in one file that loads
nothing from elsewhere."""

import math
import os
from html import escape
from pathlib import Path

import numpy as np

from ._report import NUMBERS, WORDS, baseline_of, cells, failed_text, machine, name_of, summary

# shapes of marks, one per dtype, around (0, 0)
SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4h8v8h-8z",
    "M0-5.5 5.5 4.5h-11z",
    "M0-6 6 0 0 6-6 0z",
    "M0 5.5 5.5-4.5h-11z",
)
N_COLORS = 4  # --s0 to --s3 of STYLE, one per dtype and device
LEAST_ERROR = 1e-3  # units in the last place, the left end of the axis of errors

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --faint: #59616e; --grid: #dde1e7;
  --broken: #fbe3dd; --link: #0b5c80; --s0: #0b6e99; --s1: #c4581a; --s2: #4c7a1d; --s3: #7b4fa3; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { DARK } }
:root[data-theme=dark] { color-scheme: dark; DARK }
:root[data-theme=light] { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { margin: 0; line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; }
header { display: flex; gap: 1rem; justify-content: space-between; align-items: start; }
button, input { font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--faint);
  border-radius: .4rem; padding: .3rem .7rem; }
button { cursor: pointer; white-space: nowrap; }
.summary { padding-left: 1.2rem; } .summary li { overflow-wrap: anywhere; }
.machine, .key, .axis { color: var(--faint); font-size: .9rem; }
.filter { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; margin: 1.5rem 0; }
.filter input { flex: 1 1 16rem; max-width: 32rem; min-width: 0; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0; padding: 0;
  list-style: none; }
.key svg { width: 14px; height: 14px; vertical-align: -2px; }
.line { display: grid; grid-template-columns: 19rem 1fr; align-items: center;
  padding-right: 1.5rem; }
.line .label { font-size: .85rem; text-align: right; padding-right: 1.2rem;
  overflow-wrap: anywhere; line-height: 1.3; }
.line:not(.axis):hover { background: color-mix(in srgb, var(--grid) 35%, transparent); }
.line svg { display: block; width: 100%; overflow: visible; }
.axis { position: sticky; top: 0; z-index: 1; background: var(--paper); font-size: .75rem; }
.axis.bottom { position: static; }
.axis text { fill: var(--faint); text-anchor: middle; }
.grid { stroke: var(--grid); } .one { stroke: var(--ink); }
.stem { opacity: .35; stroke-width: 1.5; }
.promise { stroke-width: 2.5; }
.s0 { fill: var(--s0); stroke: var(--s0); } .s1 { fill: var(--s1); stroke: var(--s1); }
.s2 { fill: var(--s2); stroke: var(--s2); } .s3 { fill: var(--s3); stroke: var(--s3); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; text-align: left; border-bottom: 1px solid var(--grid);
  white-space: nowrap; }
td:nth-last-child(-n+2) { white-space: normal; min-width: 10rem; }
th { border-bottom: 2px solid var(--ink); }
.number { text-align: right; }
.broken, .broken td { background: var(--broken); }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1.5rem; }
[hidden] { display: none !important; }
@media (max-width: 44rem) {
  .minor { display: none; }
  .line { grid-template-columns: 1fr; padding: 0 1rem; }
  .line .label { text-align: left; }
  dd { margin-left: .5rem; }
}
""".replace(
    "DARK",
    "--paper: #14181f; --ink: #e3e7ee; --faint: #9aa4b2; --grid: #2d3440; --broken: #55281d; "
    "--link: #6fc3ea; --s0: #4fb3e0; --s1: #f0924f; --s2: #94c95f; --s3: #bd93e6;",
)

SCRIPT = """
const root = document.documentElement, button = document.querySelector("button");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
const label = () => { button.textContent = isDark() ? "Light mode" : "Dark mode"; };
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  label();
});
const filter = document.querySelector("input"), shown = document.querySelector("output");
const rows = [...document.querySelectorAll("[data-text]")];
const apply = () => {
  const words = filter.value.toLowerCase().split(/\\s+/);
  for (const row of rows) row.hidden = !words.every(word => row.dataset.text.includes(word));
  const measured = rows.filter(row => row.tagName === "TR");
  shown.textContent = `${measured.filter(row => !row.hidden).length} of ${measured.length} rows`;
};
filter.addEventListener("input", apply);
prefersDark.addEventListener("change", label);
label(); apply();
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>numcore: speed and accuracy</title>
<style>{style}</style>
</head>
<body>
<header><h1>numcore: speed and accuracy</h1><button type="button">Dark mode</button></header>
<p>Routines of numcore, measured on this machine: their speed compared with the function that one
would use otherwise, and their error compared with the error that they promise.</p>
<ul class="summary">
{summary}
</ul>
<p class="machine">{machine}</p>
<div class="filter"><input type="search" aria-label="Filter rows by text"
placeholder="Filter: linalg, float64, random input …"><output></output></div>
{plots}
<h2>All measurements</h2>
<div class="wide"><table>
{table}
</table></div>
<h2>Words</h2>
<dl>
{words}
</dl>
<script>{script}</script>
</body>
</html>
"""


def page(found, docs=None):
    """The page of what was found, with links to the documentation at the URL `docs`."""
    results = found["results"]
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        summary="\n".join(
            [f"<li>{escape(sentence)}</li>" for sentence in summary(found)]
            + [f'<li class="broken">{escape(failed_text(row))}</li>' for row in found["errors"]]
        ),
        machine=escape(machine(found["environment"])),
        plots="\n".join(_plots(results, docs)),
        table="\n".join(_table(results, docs)),
        words="\n".join(
            f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in WORDS.items()
        ),
    )


def built_docs(page):
    """The documentation that ``make docs`` built in a source checkout, relative to the folder of
    the file `page`; None if it was not built."""
    folder = Path(__file__).parents[1] / "docs" / "_build" / "html"
    if not (folder / "index.html").exists():
        return None
    try:
        return Path(os.path.relpath(folder, page.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return folder.as_uri()


def _link(result, docs):
    name = escape(name_of(result))
    if not docs:
        return f"<span>{name}</span>"
    url = escape(f"{docs.rstrip('/')}/api/generated/numcore.{name_of(result)}.html")
    return f'<a href="{url}">{name}</a>'


def _text_of(results):
    """What the filter looks at."""
    words = []
    for result in results:
        words += [*cells(result).values(), result["method"]]
        words += ["random input" if result["data"] == "random" else "real data"]
        words += ["no baseline"] * (result["baseline"] is None)
        words += ["broken promise"] * (not result["ok"])
    return escape(" ".join(dict.fromkeys(words)).lower())


# --- table ----------------------------------------------------------------------------------------


def _table(results, docs):
    if not results:
        return
    yield _row("th", {name: escape(name) for name in cells(results[0])}, "")
    for result in results:
        texts = {name: escape(cell) for name, cell in cells(result).items()}
        texts |= {"routine": _link(result, docs), "baseline": escape(baseline_of(result))}
        kind = "" if result["ok"] else ' class="broken"'
        yield _row("td", texts, f'{kind} data-text="{_text_of([result])}"')


def _row(tag, texts, attributes):
    number = ' class="number"'
    cells = (f"<{tag}{number * (name in NUMBERS)}>{text}</{tag}>" for name, text in texts.items())
    return f"<tr{attributes}>{''.join(cells)}</tr>"


# --- plots ----------------------------------------------------------------------------------------


def _plots(results, docs):
    timed = [result for result in results if result["speed"] is not None]
    if timed:
        yield "<h2>Speed relative to the baseline</h2>"
        yield (
            "<p>Each mark is the baseline's time divided by numcore's on the same input, on a "
            "logarithmic axis: to the right of the line at 1× numcore is faster. The table names "
            "each baseline.</p>"
        )
        speeds = [result["speed"] for result in timed]
        axis = _Axis(min(0.5, *speeds) / 1.1, max(2, *speeds) * 1.1, "{}×")
        yield from _plot("speed", timed, axis, _draw_speed, docs)
    gauged = [result for result in results if _error_in_ulp(result) is not None]
    if gauged:
        exact = sorted({name_of(r) for r in results if r["error_unit"] == "equal" and r["ok"]})
        yield "<h2>Measured error against promised error</h2>"
        yield (
            "<p>The bar is the largest error that numcore promises for any input, the mark the "
            "largest error found on this input, on a logarithmic axis: a mark to the right of its "
            "bar is a broken promise. The unit is the unit in the last place (ulp), explained "
            "below; relative and absolute errors are drawn as multiples of the ulp of 1. A smaller "
            "error than the axis has is drawn at its left end."
            + f" Not drawn, since every digit is right: {escape(', '.join(exact))}." * bool(exact)
            + "</p>"
        )
        values = [value for result in gauged for value in _error_in_ulp(result)]
        axis = _Axis(max(LEAST_ERROR, min(values)), max(10, *values) * 1.2, "{}")
        yield from _plot("error", gauged, axis, _draw_error, docs)


def _error_in_ulp(result):
    """Measured and promised error in units in the last place, None if it has no such unit."""
    if result["error_unit"] == "equal" or result["measured_error"] is None:
        return None
    scale = 1.0
    if result["error_unit"] != "ulp":
        if not np.issubdtype(np.dtype(result["dtype"]), np.floating):
            return None
        scale = float(np.finfo(result["dtype"]).eps)
    return result["measured_error"] / scale, result["promised_error"] / scale


class _Axis:
    """A logarithmic axis from `low` to `high`: places in percent, and ticks."""

    def __init__(self, low, high, label):
        self.low, self.high, self.label = math.log10(low), math.log10(high), label

    def at(self, value):
        place = (math.log10(value) - self.low) / (self.high - self.low) if value > 0 else 0
        return f"{100 * max(0.0, place):.2f}%"

    def ticks(self):
        """Values, and whether each has a label on a narrow screen too."""
        steps = (1, 2, 5) if self.high - self.low < 5 else (1,)
        every = math.ceil((self.high - self.low) / 6)
        for exponent in range(math.floor(self.low), math.ceil(self.high) + 1):
            for step in steps:
                value = step * 10.0**exponent
                if self.low <= math.log10(value) <= self.high:
                    yield value, step == 1 and exponent % every == 0

    def grid(self):
        return "".join(
            f'<line class="{"one" if value == 1 else "grid"}" x1="{self.at(value)}" '
            f'x2="{self.at(value)}" y1="0" y2="100%"/>'
            for value, _ in self.ticks()
        )

    def labels(self):
        return "".join(
            f'<text x="{self.at(value)}" y="14"{"" if major else " class=minor"}>'
            f"{self.label.format(_power(value))}</text>"
            for value, major in self.ticks()
        )


def _power(value):
    exponent = math.log10(value)
    if -3 <= exponent < 4:
        return f"{value:g}"
    return "10" + str(round(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _plot(name, results, axis, draw, docs):
    """A line for each routine, and a mark in it for each dtype and device."""
    dtypes = list(dict.fromkeys(result["dtype"] for result in results))
    series = list(dict.fromkeys((result["dtype"], result["device"]) for result in results))

    def mark(result):
        shape = SHAPES[dtypes.index(result["dtype"]) % len(SHAPES)]
        return f'<path class="{color(result)}" d="{shape}"/>'

    def color(result):
        return f"s{series.index((result['dtype'], result['device'])) % N_COLORS}"

    yield f'<div class="plot {name}">'
    keys = (
        f'<li><svg viewBox="-7 -7 14 14" aria-hidden="true">'
        f"{mark({'dtype': dtype, 'device': device})}</svg> {dtype}, {device}</li>"
        for dtype, device in series
    )
    yield f'<ul class="key">{"".join(keys)}</ul>'
    ticks = f'<span></span><svg height="20" aria-hidden="true">{axis.labels()}</svg></div>'
    yield f'<div class="line axis">{ticks}'
    by_routine = {}
    for result in results:
        by_routine.setdefault(name_of(result), []).append(result)
    for group in by_routine.values():
        height = 14 + 9 * len(group)
        marks = "".join(
            draw(axis, result, 11.5 + 9 * i, color(result), mark(result))
            for i, result in enumerate(group)
        )
        yield (
            f'<div class="line" data-text="{_text_of(group)}">'
            f'<span class="label">{_link(group[0], docs)}</span>'
            f'<svg height="{height}" role="img">{axis.grid()}{marks}</svg></div>'
        )
    yield f'<div class="line axis bottom">{ticks}'
    yield "</div>"


def _placed(axis, value, y, mark, title):
    return f'<svg x="{axis.at(value)}" y="{y}"><title>{escape(title)}</title>{mark}</svg>'


def _stem(axis, start, end, y, color):
    return (
        f'<line class="stem {color}" x1="{axis.at(start)}" x2="{axis.at(end)}" y1="{y}" y2="{y}"/>'
    )


def _draw_speed(axis, result, y, color, mark):
    row = cells(result)
    title = f"{row['type']}, {row['device']}: {row['speed']} the speed of {row['baseline']}"
    return _stem(axis, 1, result["speed"], y, color) + _placed(
        axis, result["speed"], y, mark, title
    )


def _draw_error(axis, result, y, color, mark):
    row, (measured, promised) = cells(result), _error_in_ulp(result)
    place = axis.at(promised)
    title = (
        f"{row['type']}, {row['device']}: {row['measured error']}, promised {row['promised error']}"
    )
    return (
        _stem(axis, measured, promised, y, color)
        + f'<line class="promise {color}" x1="{place}" x2="{place}" y1="{y - 5}" y2="{y + 5}"/>'
        + _placed(axis, measured, y, mark, title)
    )
