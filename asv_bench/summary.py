"""The summary page of the dashboard: speed relative to the baselines by subpackage and method, its
trend over the measured commits, and the regressions that asv found.

It is made from the results that asv publishes and from the registry, and it needs no other file.
"""

import datetime
import json
import math
from html import escape
from pathlib import Path
from statistics import geometric_mean
from string import Template
from urllib.parse import urlencode

from asv import util
from asv.results import iter_results_for_machine

from numcore.dispatch import routines
from numcore.examples import example, has_example

PAGE = Template((Path(__file__).parent / "summary.html").read_text(encoding="utf-8"))
TIME, RELATIVE, MEMORY = "time_call", "track_relative_time", "track_memory"
COLORS = ("#0b6e99", "#c4581a", "#5a7d2a", "#7b4fa3", "#a0324c", "#8a6d1d")


# --- figures --------------------------------------------------------------------------------------


def history(results, machine):
    """The commits measured on a machine, the oldest first: (hash, date, value by benchmark)."""
    found = {}
    for result in sorted(iter_results_for_machine(results, machine), key=lambda r: r.date):
        _, _, values = found.setdefault(result.commit_hash, (result.commit_hash, result.date, {}))
        for name in result.get_all_result_keys():
            value = result.get_result_value(name, result.get_result_params(name))[0]
            if value is not None and not math.isnan(value):
                values[name] = value
    return list(found.values())


def headlines(commits):
    """The routines that have a time, in order."""
    names = {name.removesuffix(f".{TIME}") for *_, values in commits for name in values}
    return sorted(
        name for name in names if any(f"{name}.{TIME}" in values for *_, values in commits)
    )


def series(commits, name, figure):
    return [values.get(f"{name}.{figure}") for *_, values in commits]


def speeds(commits, name):
    """The baseline's time divided by numcore's, for each commit; None where it is not known."""
    return [value and 1 / value for value in series(commits, name, RELATIVE)]


def trend(histories):
    """The geometric mean of the last speeds, and what it would have been before: from commit to
    commit it changes as the routines do that have a speed in both, so that new ones do not count
    as a change."""
    last = [values[-1] for values in histories if values[-1]]
    if not last:
        return [None] * len(histories[0]) if histories else []
    levels = [geometric_mean(last)]
    for i in range(len(histories[0]) - 1, 0, -1):
        steps = [values[i] / values[i - 1] for values in histories if values[i] and values[i - 1]]
        levels.append(levels[-1] / geometric_mean(steps) if steps and levels[-1] else None)
    return levels[::-1]


# --- drawings -------------------------------------------------------------------------------------


def sparkline(values, width=120, height=24):
    """A line over the commits, low values below; the last point is marked."""
    known = [(i, math.log(value)) for i, value in enumerate(values) if value]
    if not known:
        return ""
    low, high = min(y for _, y in known), max(y for _, y in known)
    middle, span = (low + high) / 2, max(high - low, math.log(2))  # small changes look small
    points = [
        (
            3 + i * (width - 6) / max(len(values) - 1, 1),
            height / 2 - (y - middle) / span * (height - 6),
        )
        for i, y in known
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (
        f'<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/></svg>'
    )


def chart(lines, labels):
    """Speeds of subpackages over the commits, logarithmic, with names at the ends of lines."""
    width, height, left, right, top, bottom = 860, 300, 48, 130, 12, 34
    known = [value for values in lines.values() for value in values if value]
    if not known:
        return ""
    low = 2 ** math.floor(math.log2(min(*known, 1)))
    high = 2 ** math.ceil(math.log2(max(*known, 1)))
    high = max(high, 2 * low)

    def x(i):
        return left + i * (width - left - right) / max(len(labels) - 1, 1)

    def y(value):
        share = math.log(value / low) / math.log(high / low)
        return height - bottom - share * (height - top - bottom)

    parts, value = [], low
    while value <= high:
        kind = "one" if value == 1 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{left - 8}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value:g}×</text>'
        )
        value *= 2
    parts += [
        f'<text x="{x(i):.1f}" y="{height - 10}" text-anchor="middle">{escape(label)}</text>'
        for i, label in enumerate(labels)
    ]
    ends = sorted((y(values[-1]), name) for name, values in lines.items() if values[-1])
    place = -math.inf
    for end, name in ends:
        place = max(place + 16, end)
        color = COLORS[list(lines).index(name) % len(COLORS)]
        points = [(x(i), y(value)) for i, value in enumerate(lines[name]) if value]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline style="stroke:{color}" points="{path}"/>')
        parts += [
            f'<circle style="fill:{color}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points
        ]
        parts.append(
            f'<text style="fill:{color}" class="name" x="{width - right + 10}" '
            f'y="{place + 4:.1f}">{escape(name)} {lines[name][-1]:.2g}×</text>'
        )
    return (
        f'<div class="wide"><svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Speed by subpackage">{"".join(parts)}</svg></div>'
    )


# --- sections -------------------------------------------------------------------------------------


def _table(head, rows, kind=""):
    head = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _graph(name, text, **query):
    address = f"index.html#{name}?{urlencode(query)}"
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _figure(value, unit):
    return util.human_value(value, unit) if unit in ("seconds", "bytes") else f"{value:.3g}"


def _speed(value):
    if value is None:
        return ""
    kind = "slower" if value < 0.95 else "faster" if value > 1.05 else "even"
    return f'<span class="{kind}">{value:.2f}×</span>'


def _last(values):
    return next((value for value in reversed(values) if value is not None), None)


def _about():
    """The example of each routine by its name."""
    return {
        f"{routine.function.__module__.split('.')[1]}.{routine.name}": example(routine)
        for routine in routines()
        if has_example(routine)
    }


def _baseline(case, ours):
    if case is None or case.peer is None:
        return ""
    return escape(case.peer[0]) + ("" if any(ours) else " (not installed)")


def _methods(commits, names, about, machine):
    rows = []
    for name in names:
        case, ours = about.get(name), speeds(commits, name)
        times = series(commits, name, TIME)
        time, memory = _last(times), _last(series(commits, name, MEMORY))
        graph = f"{name}.{RELATIVE if any(ours) else TIME}"
        rows.append(
            (
                f"<code>{_graph(graph, name.partition('.')[2], machine=machine)}</code>",
                _graph(f"{name}.{TIME}", _figure(time, "seconds"), machine=machine),
                _speed(_last(ours)),
                sparkline(ours if any(ours) else [value and 1 / value for value in times]),
                _graph(f"{name}.{MEMORY}", _figure(memory, "bytes"), machine=machine)
                if memory
                else "",
                _baseline(case, ours),
                escape(case.data) if case else "",
            )
        )
    return rows


def _machine(results, machine, about, whats):
    commits = history(results, machine["machine"])
    names = headlines(commits)
    if not names:
        return ""
    subpackages = {}
    for name in names:
        subpackages.setdefault(name.partition(".")[0], []).append(name)
    trends = {
        subpackage: trend([ours for name in members if any(ours := speeds(commits, name))])
        for subpackage, members in subpackages.items()
    }
    overview, tables = [], []
    for subpackage, members in subpackages.items():
        ours = [last for name in members if (last := _last(speeds(commits, name)))]
        overview.append(
            (
                f'<a href="#{machine["machine"]}-{subpackage}">numcore.{subpackage}</a>',
                str(len(members)),
                _speed(geometric_mean(ours)) if ours else "",
                f"{sum(value > 1 for value in ours)} of {len(ours)}",
                sparkline(trends[subpackage], 160, 28),
            )
        )
        tables.append(
            f'<h3 id="{machine["machine"]}-{subpackage}">numcore.{subpackage}</h3>'
            + _table(
                ("routine", "CPU time", "speed", "trend", "memory", "baseline", "input"),
                _methods(commits, members, about, machine["machine"]),
                "methods",
            )
        )
    dated = [
        (
            f"<code>{commit[:8]}</code>",
            datetime.datetime.fromtimestamp(date / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M"),
            escape(whats.get(commit, "")),
            str(len(headlines([(commit, date, values)]))),
        )
        for commit, date, values in commits
    ]
    notes = Path(results, machine["machine"], "notes.txt")
    drawn = chart(
        {name: values for name, values in trends.items() if any(values)},
        [commit[:7] for commit, *_ in commits],
    )
    return f"""<section><h2>{escape(machine["machine"])}</h2>
<p class="machine">{escape(machine["cpu"])}, {escape(machine["num_cpu"])} CPUs,
{escape(machine["ram"])}, {escape(machine["os"])} {escape(machine["arch"])}.
{escape(notes.read_text(encoding="utf-8")) if notes.exists() else ""}</p>
{
        _table(
            ("subpackage", "methods", "speed", "faster than the baseline", "trend"),
            overview,
            "overview",
        )
    }
<h3>Speed over the measured commits</h3>
{drawn}
{"".join(tables)}
<h3>Measured commits</h3>
{_table(("commit", "date (UTC)", "milestone", "methods measured"), dated)}</section>"""


def _regressions(pages, benchmarks):
    found = json.loads((pages / "regressions.json").read_text())["regressions"]
    hashes = json.loads((pages / "index.json").read_text())["revision_to_hash"]
    rows = []
    for name, _, parameters, _, latest, best, jumps in found:
        unit = benchmarks[name.partition("(")[0]].get("unit")
        for before, after, old, new in jumps:
            chosen = {"machine": parameters["machine"]} if "machine" in parameters else {}
            span = "-".join(hashes[str(r)] for r in (before, after) if r is not None)
            rows.append(
                (
                    new / old,
                    (
                        f"<code>{_graph(name, name, commits=span, **chosen)}</code>",
                        "…".join(f"<code>{commit[:8]}</code>" for commit in span.split("-")),
                        _figure(old, unit),
                        _figure(new, unit),
                        f"{new / old:.2f}×",
                        f"{latest / best:.2f}×",
                        escape(chosen.get("machine", "")),
                    ),
                )
            )
    if not rows:
        return "<p>asv found none.</p>"
    head = ("benchmark", "commits", "before", "after", "worse by", "latest to best", "")
    return _table(head, [row for _, row in sorted(rows, reverse=True)], "regressions")


def page(results, pages, benchmarks, machines, whats):
    """The page.

    Parameters
    ----------
    results : Path
        The folder of results that were published.
    pages : Path
        The folder of asv's pages.
    benchmarks : dict
        What asv knows of each benchmark, by name.
    machines : list of dict
        The contents of the machine.json files.
    whats : dict of str to str
        A few words for a commit's hash.
    """
    about = _about()
    longest = sorted(machines, key=lambda m: -len(history(results, m["machine"])))
    sections = "".join(_machine(results, machine, about, whats) for machine in longest)
    return PAGE.substitute(sections=sections, regressions=_regressions(pages, benchmarks))
