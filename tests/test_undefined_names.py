"""Undefined names are found although sizes in declarations look like names.

Lint leaves F821 out, since ruff takes the string in ``Float[Array, "n d"]`` for code. Here all that
it finds outside of strings counts.
"""

import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

pytest.importorskip("ruff")
ROOT = Path(__file__).resolve().parents[1]
# names that are filled in for each kernel or checker, and a planted mistake
TEMPLATES = ("_loops.py", "_activation.py", "_network/kernels.py", "_checker.py", "toys.py")


def strings(path):
    """(line, first column, last column) of every string on one line."""
    with open(path, encoding="utf-8") as file:
        tokens = list(tokenize.generate_tokens(io.StringIO(file.read()).readline))
    return {
        (t.start[0], column)
        for t in tokens
        if t.type == tokenize.STRING and t.start[0] == t.end[0]
        for column in range(t.start[1] + 1, t.end[1] + 1)
    }


def test_no_name_is_undefined():
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--select", "F821"]
        + ["--output-format", "json", "numcore", "gpu", "asv_bench", "docs", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    undefined = []
    for entry in json.loads(found):
        path, at = Path(entry["filename"]), entry["location"]
        if not str(path).endswith(TEMPLATES) and (at["row"], at["column"]) not in strings(path):
            undefined.append(f"{path.name}:{at['row']}: {entry['message']}")
    assert not undefined
