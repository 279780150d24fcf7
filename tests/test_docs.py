"""The documentation builds without a warning, its programs run, and it lists every method and
routine."""

import contextlib
import importlib
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
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
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


# --- the list of methods --------------------------------------------------------------------------


def module_of_docs(name):
    """A module of docs/ or docs/_ext."""
    if not DOCS.exists():
        pytest.skip("this copy of the source has no documentation")
    for folder in (DOCS, DOCS / "_ext"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def methods():
    return module_of_docs("numcore_methods")


def test_readme_lists_what_there_is():
    readme_contents = module_of_docs("readme_contents")
    recorded = json.loads(readme_contents.LAUNCHED.read_text(encoding="utf-8"))
    on_gpu = {f"{r.room}.{r.name}" for r in numcore.routines() if r.host_only is None}
    assert on_gpu == set(recorded), "python docs/launched_kernels.py records them"
    assert README == readme_contents.rewritten(README), "make readme writes the table"


def test_readme_table_of_speeds_has_known_routines():
    named = set(module_of_docs("readme_table").ROUTINES)
    assert named <= {f"{r.room}.{r.name}" for r in numcore.routines()}
    assert all(f"\n| {name} |" in README for name in named), "make table writes the table"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_links_of_the_readme_exist(target):
    if not DOCS.exists():
        pytest.skip("this copy of the source has no documentation")
    assert (DOCS.parent / target).exists()


def test_every_routine_and_model_belongs_to_a_method(methods):
    for known in (*numcore.routines(), *numcore.models()):
        method = methods.method_of(known.room, known.name)
        assert method in methods.methods() and known.name in method.functions


def test_every_method_of_routines_names_its_paper(methods):
    without = [m.name for m in methods.methods() if m.functions and not m.papers]
    assert without == ["Sparse matrices in CSR format"]


def test_front_page_lists_every_method(methods):
    pytest.importorskip("sphinx")
    pages = module_of_docs("numcore_docs")
    for method in methods.methods():
        row = " ".join(pages.Methods.row(method))
        assert f".. _{method.label}:" in pages.subpackage_page(method.subpackage)
        assert f"<{method.label}>" in row
        assert all(f"numcore.{method.subpackage}.{name}`" in row for name in method.functions)
        for stem in re.findall(r"<gallery/(\w+)>", row):
            assert (DOCS / "examples" / f"{stem}.py").exists()


def test_titles_of_gallery_pages_name_the_method(methods):
    for page in methods.gallery():
        about = {methods.method_of(*name.split(".")).name for name in page.about}
        assert page.title.partition(": ")[0] in about or page.stem == "plot_start_up", page


@pytest.mark.parametrize(
    "reference, expected",
    [
        ('T. Dao, D. Fu, S. Ermon, "A: b", ICML 2022, section 3.', 'Dao et al., "A: b", ICML 2022'),
        ('J. Ba and D. P. Kingma, "A", arXiv 1412.6980.', 'Ba and Kingma, "A", arXiv 1412.6980'),
        ('C. Burges, "A", MSR-TR-2010-82, 2010. B', 'Burges, "A", MSR-TR-2010-82, 2010'),
        ('.. [1] E. Real et al., "A", TACL 10, 2022.', 'Real et al., "A", TACL 10, 2022'),
    ],
)
def test_a_reference_is_shortened(methods, reference, expected):
    def function():
        pass

    function.__doc__ = f"Text.\n\nReferences\n----------\n{reference}\n\nExamples\n--------\n>>> 1"
    assert methods.papers([function]) == (expected,)


# --- the pages ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_builds_without_a_warning(tmp_path, methods):
    if not DOCS.exists():
        pytest.skip("this copy of the source has no documentation")
    for module in (
        "sphinx",
        "numpydoc",
        "pydata_sphinx_theme",
        "sphinx_gallery",
        "matplotlib",
        "myst_parser",
    ):
        pytest.importorskip(module)
    source, built = tmp_path / "docs", tmp_path / "html"
    shutil.copytree(
        DOCS,
        source,
        ignore=shutil.ignore_patterns(
            "_build", "gallery", "generated", "numcore.*.rst", "sg_execution_times.rst"
        ),
    )
    shutil.copy(DOCS.parent / "CHANGELOG.md", tmp_path)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def page(name):
        return (built / f"{name}.html").read_text(encoding="utf-8")

    for subpackage in ROOMS:
        text = page(f"api/numcore.{subpackage}")
        for routine in numcore.routines():
            assert routine.room != subpackage or f"{subpackage}.{routine.name}.html" in text
    for example in (source / "examples").glob("plot_*.py"):
        assert list((built / "_images").glob(f"sphx_glr_{example.stem}_001*.png")), (
            f"{example.name} drew nothing"
        )
        shown = re.findall(r"script-out.*?<pre>(.*?)</pre>", page(f"gallery/{example.stem}"), re.S)
        assert not re.search(r"&lt;\w+\.|\barray\(", "".join(shown)), f"{example.name}: a repr"
    for method in methods.methods():
        for name in method.functions:
            text = page(f"api/generated/numcore.{method.subpackage}.{name}")
            assert "See also" in text or len(method.functions) == 1
            for shown in methods.pages_with(method.subpackage, name):
                assert f"gallery/{shown.stem}.html" in text
    for name in ("speed", "accuracy", "devices"):
        assert page(name).count("<tr") > len(numcore.routines())
    assert f">{numcore.__version__}</a>" in page("index") and "Changelog" in page("changelog")
    header = page("index").partition("</header>")[0]
    assert header.index("Reference") < header.index("More")
