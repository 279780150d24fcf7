"""Write a table between the markers of a Markdown file: ``readme_table.py FILE README.md``. FILE is
one of docs/measured, or what ``python -m numcore --json FILE`` wrote; of each routine that has a
baseline the table shows one type, the first."""

import json
import sys
from pathlib import Path

from numcore._report import NUMBERS, cells, machine

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def table(results, environment):
    first = {}
    for result in results:
        if result["baseline"] is not None:
            first.setdefault((result["subpackage"], result["routine"], result["device"]), result)
    rows = [cells(result) for result in first.values()]
    lines = [
        list(rows[0]),
        ["---:" if name in NUMBERS else "---" for name in rows[0]],
        *(row.values() for row in rows),
    ]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        + f"\n\nMeasured on: {machine(environment)}."
    )


def main(source, target):
    found, target = json.loads(Path(source).read_text()), Path(target)
    before, _, rest = target.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = table(found["results"], found["environment"])
    target.write_text(f"{before}{BEGIN}\n{rows}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
