"""The documentation builds without a warning, its programs run, and it names every room and
routine."""

import contextlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numcore
from numcore.dispatch import ROOMS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [page for page in sorted(DOCS.glob("*.rst")) if page.stem != "adding_a_method"]


def programs():
    """(page and number, caption, code) of every Python box."""
    pattern = r"^\.\. code-block:: python\n(?:   :caption: ([^\n]+)\n)?\n((?:   [^\n]*\n|\n)+)"
    for page in PAGES:
        for i, (caption, code) in enumerate(
            re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE)
        ):
            yield pytest.param(caption, code, id=f"{page.stem}-{i}")


@pytest.fixture
def scope():
    """The names that boxes of one page hand on: embedding.rst imports sigmoid in its first box."""
    from numcore.special import sigmoid

    return {"sigmoid": sigmoid, "np": pytest.importorskip("numpy")}


@pytest.mark.parametrize("caption, code", list(programs()))
def test_programs_run(caption, code, scope):
    if "C++" in caption:
        from numcore.testing.host_cuda import HostCompileError, host_compiler

        try:
            host_compiler()
        except HostCompileError:
            pytest.skip("no C++ compiler")
    if "scipy" in code:
        pytest.importorskip("scipy")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec("\n".join(line.removeprefix("   ") for line in code.splitlines()), scope)
    assert "print" not in code or output.getvalue()
    for expected in re.findall(r"print\(\w+\)\s+# (.*)", code):
        if "error of" not in expected:
            assert expected in output.getvalue()


def test_readme_lists_what_there_is():
    if not DOCS.exists():
        pytest.skip("this copy of the source has no documentation")
    script = DOCS / "readme_contents.py"
    spec = importlib.util.spec_from_file_location("readme_contents", script)
    readme_contents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme_contents)
    recorded = json.loads(readme_contents.LAUNCHED.read_text(encoding="utf-8"))
    on_gpu = {f"{r.room}.{r.name}" for r in numcore.routines() if r.host_only is None}
    assert on_gpu == set(recorded), "python docs/launched_kernels.py records them"
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert text == readme_contents.rewritten(text), "make readme writes the list"


@pytest.mark.slow
def test_builds_without_a_warning(tmp_path):
    if not DOCS.exists():
        pytest.skip("this copy of the source has no documentation")
    for module in ("sphinx", "numpydoc", "pydata_sphinx_theme", "sphinx_gallery", "matplotlib"):
        pytest.importorskip(module)
    source, built = tmp_path / "docs", tmp_path / "html"
    shutil.copytree(
        DOCS,
        source,
        ignore=shutil.ignore_patterns(
            "_build", "gallery", "generated", "room_*", "sg_execution_times.rst"
        ),
    )
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for room in ROOMS:
        page = (built / "api" / f"room_{room}.html").read_text(encoding="utf-8")
        for routine in numcore.routines():
            assert routine.room != room or f"{room}.{routine.name}.html" in page, routine
    for example in (source / "examples").glob("plot_*.py"):
        assert list((built / "_images").glob(f"sphx_glr_{example.stem}_001*.png")), (
            f"{example.name} drew nothing"
        )
    assert (built / "speed.html").read_text(encoding="utf-8").count("<tr") > len(numcore.routines())
    assert (built / "accuracy.html").read_text(encoding="utf-8").count("<tr") > len(
        numcore.routines()
    )
