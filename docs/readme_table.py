"""Write the table of ``python -m numcore --json FILE`` between the markers of a Markdown file: ``readme_table.py FILE README.md``."""

import json
import sys
from pathlib import Path

from numcore._report import NUMBERS, cells, machine

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def table(results, environment):
    rows = [cells(result) for result in results]
    lines = [list(rows[0]), ["---:" if name in NUMBERS else "---" for name in rows[0]], *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nMeasured on: {machine(environment)}."


def main(source, target):
    found, target = json.loads(Path(source).read_text()), Path(target)
    before, _, rest = target.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    target.write_text(f"{before}{BEGIN}\n{table(**found)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
