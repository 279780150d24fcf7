"""Type checkers see what users see: right calls pass, wrong calls are found, and the programs of
the README and of the documentation pass too."""

import doctest
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "public_api.py", HERE / "wrong.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.rst"))]
# What the boxes of a page may rely on, see the scope of tests/test_docs.py.
PRELUDE = "import numpy as np\nfrom numcore.special import sigmoid\n"


# --- the programs of a page -----------------------------------------------------------------------


MARKDOWN = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BOX = re.compile(
    r"^( *)\.\. code-block:: (\w+)\n((?:\1 +:\w+:.*\n)*)\n((?:\1 +.*\n|\s*\n)+)", re.MULTILINE
)


def programs(page):
    """The Python boxes of a page, then its doctests as one program. Boxes that are headed by a
    file's name are parts of that file, not programs."""
    text = page.read_text(encoding="utf-8")
    yield from MARKDOWN.findall(text)
    for _, language, options, code in BOX.findall(text):
        if language == "python" and not re.search(r":caption: \S+\.py\b", options):
            yield textwrap.dedent(code)
    doctests = doctest.DocTestParser().get_examples(BOX.sub("", text))
    if doctests:
        yield "".join(example.source for example in doctests)


PROGRAMS = {
    f"{page.stem}_{i}": PRELUDE + code
    for page in PAGES
    if page.exists()
    for i, code in enumerate(programs(page))
}


# --- the checkers ---------------------------------------------------------------------------------


def run(module, *options):
    environment = os.environ | {
        "MYPYPATH": str(ROOT),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    command = [sys.executable, "-m", module, *map(str, options)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def pyright(files):
    """(file, line, message) of every error. Packages that are not installed are no error."""
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, *files)
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        missing = found.get("rule") in ("reportMissingImports", "reportMissingModuleSource")
        if found["severity"] == "error" and not (missing and '"numcore' not in found["message"]):
            yield found["file"], found["range"]["start"]["line"] + 1, found["message"]


def mypy(files):
    """(file, line, message) of every error."""
    options = ("--follow-imports=silent", "--ignore-missing-imports", "--output=json")
    done = run("mypy", *options, *files)
    assert done.returncode in (0, 1), done.stderr + done.stdout
    for found in map(json.loads, done.stdout.splitlines()):
        if found["severity"] == "error":
            yield found["file"], found["line"], found["message"]


@pytest.fixture(scope="module", params=[pyright, mypy], ids=lambda checker: checker.__name__)
def errors(request, tmp_path_factory):
    """The errors in all files, found in one run: a dict from a file's stem to {line: message}."""
    checker, folder = request.param, tmp_path_factory.mktemp("programs")
    name = checker.__name__
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install {name}")
    if run(name, "--version").returncode:
        pytest.skip(f"{name} does not run here; pyright needs node, or a network to get it")
    files = [RIGHT, WRONG]
    for program, code in PROGRAMS.items():
        files.append(folder / f"{program}.py")
        files[-1].write_text(code, encoding="utf-8")
    found = {file.stem: {} for file in files}
    for file, line, message in checker(files):
        found[Path(file).stem][line] = message
    return found


# --- what must hold -------------------------------------------------------------------------------


def test_right_calls_pass(errors):
    assert errors["public_api"] == {}


def test_right_calls_run():
    runpy.run_path(str(RIGHT))


def test_wrong_calls_are_found(errors):
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    marked = {n for n, line in enumerate(lines, 1) if line.endswith("# error")}
    assert len(marked) > 20
    assert set(errors["wrong"]) == marked, errors["wrong"]


def test_pages_have_programs():
    assert len(PROGRAMS) > 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_of_pages_pass(errors, program):
    code = PROGRAMS[program].splitlines()
    lines = [f"{m}\n  {code[n - 1]}" for n, m in sorted(errors[program].items())]
    assert not lines, "\n".join(lines)
