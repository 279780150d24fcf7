"""Write a table of a few routines between the markers of a Markdown file:
``python docs/readme_table.py FILE README.md``. FILE is one of docs/measured, or what
``python -m numcore --json FILE`` wrote."""

import json
import sys
from pathlib import Path

from numcore._report import NUMBERS, cells, machine

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
ROUTINES = (
    "linalg.monarch_matmul",
    "linalg.preconditioned_lstsq",
    "linalg.ssor_cg",
    "linalg.spmv",
    "nn.attention",
    "nn.conv2d",
    "retrieval.ranking_metrics",
    "retrieval.topk_inner_product",
    "special.erf",
    "special.exp",
)
HIDDEN = ("device", "ok")


def table(results, environment):
    """One type of each routine, the first."""
    rows = {}
    for row in map(cells, results):
        if row["routine"] in ROUTINES and row["device"] == "cpu":
            rows.setdefault(row["routine"], {k: v for k, v in row.items() if k not in HIDDEN})
    header = list(rows[ROUTINES[0]])
    lines = [
        header,
        ["---:" if name in NUMBERS else "---" for name in header],
        *(row.values() for row in rows.values()),
    ]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        + f"\n\nMeasured on: {machine(environment)}."
    )


def main(source, target):
    found, target = json.loads(Path(source).read_text(encoding="utf-8")), Path(target)
    before, _, rest = target.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = table(found["results"], found["environment"])
    target.write_text(f"{before}{BEGIN}\n{rows}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
