"""docs/adding_a_method.rst taken at its word: its boxes, typed into a copy of the source, add a
method with everything around it."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "adding_a_method.rst"
MAX_LINES, MAX_FILES = 60, 5  # of code: the gallery page and the changelog come on top
DOCUMENTATION = ("docs/", "CHANGELOG.md")


def boxes(text):
    """(file, where in it, content) of every box; `where` is empty for a new file."""
    pattern = (
        r"^\.\. code-block:: \w+\n   :caption: ([^\n,]+)(?:, ([^\n]+))?\n\n((?:   [^\n]*\n|\n)+)"
    )
    return [
        (file, where, textwrap.dedent(content).rstrip() + "\n")
        for file, where, content in re.findall(pattern, text, re.MULTILINE)
    ]


def insert(old, where, content):
    if where == "at the end":
        return old + content
    assert where == 'below "### Added"', where
    return old.replace("### Added\n\n", f"### Added\n\n{content}", 1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the source with the page's boxes typed in."""
    if not PAGE.exists():
        pytest.skip("this copy of the source has no documentation")
    root = tmp_path_factory.mktemp("tree")
    for name in ("numcore", "gpu", "tests", "asv_bench", "docs"):
        shutil.copytree(
            ROOT / name,
            root / name,
            ignore=shutil.ignore_patterns("__pycache__", "_build", "gallery", "generated"),
        )
    for file in filter(Path.is_file, ROOT.iterdir()):
        shutil.copy(file, root)
    (root / "numcore" / "gpu").symlink_to(root / "gpu")  # as setup.cfg maps it
    for file, where, content in boxes(PAGE.read_text(encoding="utf-8")):
        target = root / file
        assert target.exists() == bool(where), f"{file} must {'exist' if where else 'be new'}"
        target.write_text(
            insert(target.read_text(encoding="utf-8"), where, content) if where else content,
            encoding="utf-8",
        )
    return root


def run(tree, *command):
    environment = os.environ | {
        "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'asv_bench'}{os.pathsep}{tree / 'docs' / '_ext'}",
        "NUMCORE_CACHE_DIR": str(tree / "cache"),
    }
    (tree / "cache").mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        [sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_it_takes_at_most_sixty_lines_in_five_files():
    code = {}
    for file, _, content in boxes(PAGE.read_text(encoding="utf-8")):
        if not file.startswith(DOCUMENTATION):
            code[file] = code.get(file, "") + content
    lines = sum(bool(line.strip()) for text in code.values() for line in text.splitlines())
    assert 0 < lines <= MAX_LINES, f"the boxes have {lines} lines of code that are not blank"
    assert len(code) <= MAX_FILES


def test_the_method_keeps_every_promise_and_its_bodies_agree(tree):
    where = run(
        tree, "-c", "import numcore, numcore.gpu; print(numcore.__file__, numcore.gpu.__file__)"
    )
    assert where.count(str(tree)) == 2, f"the copy must be tested (got {where})"
    report = run(
        tree,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "row_norm",
        "-rA",
        "tests/test_conformance.py",
        "tests/test_conventions.py",
        "tests/test_twins.py",
        "tests/linalg/test_row_norm.py",
    )
    for test in (
        "linalg.row_norm-accurate",
        "linalg.row_norm-same_on_gpu",
        "linalg.row_norm-fork_safe",
        "test_bodies_agree[linalg.row_norm_kernel-float32]",
        "test_bodies_agree[linalg.row_norm_kernel-float64]",
        "test_a_row_without_columns_has_norm_zero",
    ):
        assert re.search(rf"^PASSED .*{re.escape(test)}", report, re.MULTILINE), (
            f"{test} did not run\n{report}"
        )


def test_the_method_has_a_benchmark(tree):
    run(
        tree,
        "-c",
        "from benchmarks.routines import Time, Ratio\n"
        "assert 'linalg.row_norm' in Time.params[0]\n"
        "for kind in Ratio.params[2]:\n"
        "    made = Ratio()\n"
        "    made.setup('linalg.row_norm', 'float32', kind)\n"
        "    assert made.track_ratio_to_baseline('linalg.row_norm', 'float32', kind) > 0",
    )


def test_the_method_has_a_page(tree):
    pytest.importorskip("sphinx")
    assert "   row_norm\n" in run(
        tree, "-c", "import numcore_docs; print(numcore_docs.subpackage_page('linalg'))"
    )


def test_the_gallery_page_runs(tree, monkeypatch):
    for module in ("matplotlib", "sklearn"):
        pytest.importorskip(module)
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert "1797 images" in run(tree, "docs/examples/plot_row_norm.py")


def test_its_commands_write_the_rest(tree):
    """The types in the docstring are right already; the README gets a row."""
    module = tree / "numcore" / "linalg" / "_row_norm.py"
    typed = module.read_text(encoding="utf-8")
    (commands,) = re.findall(
        r"^\.\. code-block:: sh\n\n((?:   python .*\n)+)", PAGE.read_text(encoding="utf-8"), re.M
    )
    for command in textwrap.dedent(commands).splitlines():
        run(tree, *command.split()[1:])
    assert module.read_text(encoding="utf-8") == typed
    before = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    after = (tree / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in after if line not in before and line.startswith("|"))
    for part in ("[Row norms](", "Golub and Van Loan", "`linalg.row_norm`", "plot_row_norm.py"):
        assert part in row
    assert "row_norm" in (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    tests = ("-k", "readme or method or gallery", "tests/test_docs.py")
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_what_was_typed_is_in_style(tree):
    pytest.importorskip("ruff")
    files = [file for file, _, _ in boxes(PAGE.read_text(encoding="utf-8"))]
    python = [file for file in files if file.endswith((".py", ".pyi"))]
    run(tree, "-m", "ruff", "check", "--no-cache", "--fix", *python)
    run(tree, "-m", "ruff", "format", "--no-cache", "--check", *python)


def test_the_cuda_body_is_in_style(tree):
    program = shutil.which("clang-format", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no clang-format")
    subprocess.run(
        [program, "--dry-run", "-Werror", "gpu/linalg/row_norm.cu"], cwd=tree, check=True
    )
