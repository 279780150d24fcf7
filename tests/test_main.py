"""The command line, its page, and the README's commands and examples."""

import dataclasses
import html.parser
import io
import itertools
import json
import multiprocessing
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import numcore
from numcore import __main__ as command, _measure, _page, _report, _rows, _workers
from numcore.__main__ import main
from numcore.dispatch import CPU, CUDA, Device, routines
from numcore.examples import example, random as random_examples

ROOT = Path(__file__).parents[1]
QUICK = ["--subpackage", "random", "--all", "--seconds", "0.001"]
NORMAL = ["--routine", "normal", "--seconds", "0.001"]


def change_example(monkeypatch, name, **changes):
    monkeypatch.setitem(
        random_examples.EXAMPLES,
        name,
        dataclasses.replace(random_examples.EXAMPLES[name], **changes),
    )


def results_of(tmp_path, *options, code=0):
    file = tmp_path / "results.json"
    assert main([*QUICK, "--json", str(file), *options]) == code
    return json.loads(file.read_text())


def no_baseline(**arguments):
    raise ModuleNotFoundError("No module named 'some_library'")


def rows_of_text(text):
    """The first three words of each row of the table."""
    table = text.partition("───\n")[2].partition("\n\n")[0].splitlines()
    return [line.split()[:3] for line in table if not line.startswith(" ")]


def result(routine, dtype, device, **changes):
    """A result that was not measured, with figures as wide as they come."""
    case = example(routine)
    return {
        "subpackage": routine.room,
        "method": _rows.method(routine),
        "routine": routine.name,
        "data": case.data if case.real else "random",
        "shape": [100_000, 64],
        "dtype": dtype,
        "device": device.name,
        "seconds": 0.123,
        "baseline": case.peer and case.peer[0],
        "baseline_missing": None,
        "baseline_seconds": 123.0 if case.peer else None,
        "speed": 1000.0 if case.peer else None,
        "error_unit": case.error,
        "promised_error": case.bound[dtype],
        "measured_error": case.bound[dtype],
        "ok": True,
    } | changes


def found_of(results, errors=()):
    return {
        "environment": _measure.environment(),
        "selection": "chosen by a test",
        "planned": len(results) + len(errors),
        "results": results,
        "errors": list(errors),
    }


@pytest.fixture(scope="module")
def everything():
    """Unmeasured results of every routine, in every dtype, on a CPU and a GPU."""
    return found_of([result(*row) for row in _rows.rows_of(routines(), (CPU, CUDA), True)])


# --- which rows -----------------------------------------------------------------------------------


def test_default_has_a_few_rows_of_each_method():
    few = _rows.few_of_each_method(routines())
    methods = [_rows.method(routine) for routine in few]
    assert set(methods) == {_rows.method(routine) for routine in routines()}
    assert max(map(methods.count, methods)) == _rows.PER_METHOD
    rows = _rows.rows_of(few, (CPU, CUDA), False)
    assert len(rows) == 2 * len(few)
    assert {row.device for row in rows} == {CPU, CUDA}


def test_real_data_with_a_baseline_goes_first():
    few = _rows.few_of_each_method(routines())
    both = [r for r in routines() if example(r).real and example(r).peer]
    methods_with_both = {_rows.method(routine) for routine in both}
    assert len(methods_with_both) > 20
    for routine in few:
        if _rows.method(routine) in methods_with_both:
            assert example(routine).real and example(routine).peer, routine


def test_a_routine_without_example_has_a_row_that_is_an_error(monkeypatch, capsys):
    monkeypatch.delitem(random_examples.EXAMPLES, "normal")
    assert main(NORMAL) == 3
    assert "random.normal must have an example" in capsys.readouterr().out


@pytest.mark.parametrize(
    "module, method",
    [
        ("numcore.linalg._coreset.routines", "linalg.coreset"),
        ("numcore.linalg._sparse", "linalg.sparse"),
        ("numcore.random", "random"),
    ],
)
def test_method_is_a_module_or_folder_of_a_subpackage(module, method):
    function = type("function", (), {"__module__": module})
    assert _rows.method(type("routine", (), {"function": function})) == method


def test_batches_keep_methods_together_and_start_small():
    rows = _rows.rows_of(routines(), (CPU,), True)
    batches = list(_rows.batches(rows))
    assert [row for batch in batches for row in batch] == rows
    methods = [{_rows.method(row.routine) for row in batch} for batch in batches]
    assert sum(map(len, methods)) == len(set().union(*methods))
    largest = max(
        sum(_rows.method(row.routine) == method for row in rows) for method in set().union(*methods)
    )
    assert len(batches[0]) < _rows.FIRST_BATCH + largest


def test_rows_are_compiled_and_checked_by_other_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMCORE_CACHE_DIR", str(tmp_path))
    names = ("philox_uint32", "packed_hamming", "max_ulp_error")
    rows = _rows.rows_of([r for r in routines() if r.name in names], (CPU, CUDA), False)
    finished = []
    with _workers.checker() as check:
        found = check(rows, lambda *progress: finished.append(progress))
    assert finished == [(1, 3), (2, 3), (3, 3)]
    assert set(found) == set(rows[::2]) and {row.device for row in rows[::2]} == {CPU}
    assert all(checked["ok"] for checked in found.values())
    code = " ".join(file.name for file in tmp_path.rglob("*.o"))
    assert all(name in code for name in ("random.philox_fill", "retrieval.differing_bits"))
    assert multiprocessing.active_children() == []


def test_an_interrupt_ends_the_processes():
    with pytest.raises(KeyboardInterrupt), _workers.checker() as check:
        rows = _rows.rows_of([r for r in routines() if r.room == "special"], (CPU,), True)
        check(rows, lambda *_: raising(KeyboardInterrupt())())
    assert multiprocessing.active_children() == []


def test_workers_end_with_a_parent_that_was_killed():
    code = """
import os, signal, multiprocessing
from numcore import _rows, _workers
from numcore.dispatch import CPU, routines

def kill(*progress):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    names = ("max_ulp_error", "next_power_of_two", "ensemble_size")
    rows = _rows.rows_of([r for r in routines() if r.name in names], (CPU,), False)
    with _workers.checker() as check:
        check(rows, kill)
"""
    # workers inherit the pipe: run returns, without TimeoutExpired, when the last of them has ended
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=120)
    assert done.returncode == -signal.SIGKILL and done.stdout.split()


def test_what_was_checked_is_not_checked_again(monkeypatch):
    normal = next(routine for routine in routines() if routine.name == "normal")
    checked = _measure.check(normal, "float32", CPU)
    change_example(monkeypatch, "normal", reference=raising(AssertionError()))
    row = _measure.measure(normal, "float32", CPU, 0.001, checked)
    assert {name: row[name] for name in checked} == checked


# --- table and figures ----------------------------------------------------------------------------


def test_all_has_a_row_for_every_routine_and_dtype(capsys):
    assert main(QUICK) == 0
    out, err = capsys.readouterr()
    assert sorted(rows_of_text(out)) == [
        ["random.normal", "float32", "cpu"],
        ["random.normal", "float64", "cpu"],
        ["random.philox_uint32", "uint32", "cpu"],
        ["random.uniform", "float32", "cpu"],
        ["random.uniform", "float64", "cpu"],
    ]
    assert "\nSpeed: " in out


def test_routine_is_chosen_by_either_name(capsys):
    assert main([*NORMAL, "--routine", "random.normal", "--routine", "random.philox_uint32"]) == 0
    assert rows_of_text(capsys.readouterr().out) == [
        ["random.philox_uint32", "uint32", "cpu"],
        ["random.normal", "float32", "cpu"],
        ["random.normal", "float64", "cpu"],
    ]


def test_summary_goes_first_and_says_what_is_random_and_what_has_no_baseline(monkeypatch, capsys):
    change_example(monkeypatch, "normal", real=None)
    change_example(monkeypatch, "philox_uint32", peer=None)
    change_example(monkeypatch, "uniform", peer=("some function", no_baseline))
    assert main(QUICK) == 0
    first, _, rest = capsys.readouterr().out.partition("\n\n")
    assert first.startswith("5 rows: every routine of random in every dtype.\n")
    assert "Error above the promise: none." in first
    assert "On random input: 2 of 5 rows (random.normal)." in first
    assert "No baseline: 1 of 5 rows (random.philox_uint32)." in first
    assert "Baseline not available here: 2 of 5 rows (random.uniform)." in first
    table = rest.partition("\n\n")[0]
    assert "    random, 601 × 2; baseline: " in table
    assert table.count("; baseline: none\n") == 1
    missing = "none here (some function: No module named 'some_library')"
    assert f"; baseline: {missing}\n" in table + "\n"


def test_lines_fit_120_columns(everything):
    failed = _measure.failure(*_rows.rows_of(routines(), (CPU,), True)[0], ValueError("x " * 200))
    found = everything | {"errors": [failed]}
    assert max(map(len, _report.text(found).splitlines())) <= 120
    lines = [_report.line(row | {"ok": False}) for row in everything["results"]]
    assert max(map(len, [*lines, _report.error_line(failed)])) + len("[1000/1000] ") <= 120


def test_words_of_the_design_are_not_shown(everything, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = [capsys.readouterr().out, _report.text(everything), _page.page(everything, "docs")]
    shown += map(_report.line, everything["results"])
    assert not re.search(r"\b(peer|room)s?\b", " ".join(shown), re.IGNORECASE)


def test_json_has_environment_and_figures(tmp_path):
    found = results_of(tmp_path)
    assert found.keys() == {"environment", "selection", "planned", "results", "errors"}
    assert {"python", "system", "cpu", "cpus", "threads", "versions"} <= found["environment"].keys()
    assert {"numcore", "numpy", "numba"} <= found["environment"]["versions"].keys()
    assert (found["planned"], found["errors"]) == (5, [])
    first = next(r for r in found["results"] if r["routine"] == "normal")
    assert not {"room", "peer", "peer_seconds"} & first.keys()
    assert (first["subpackage"], first["method"]) == ("random", "random")
    assert (first["dtype"], first["device"], first["shape"]) == ("float32", "cpu", [2**20])
    assert first["speed"] == first["baseline_seconds"] / first["seconds"] > 0
    assert 0 < first["measured_error"] <= first["promised_error"]
    assert all(result["ok"] for result in found["results"])


def test_broken_promise_is_exit_code_1(tmp_path, monkeypatch, capsys):
    change_example(monkeypatch, "normal", bound={"float32": 1e-9, "float64": 1.0})
    change_example(
        monkeypatch, "uniform", reference=lambda shape, rng, dtype: np.full(shape, np.nan)
    )
    ok = {
        (row["routine"], row["dtype"]): row["ok"] for row in results_of(tmp_path, code=1)["results"]
    }
    assert ok == {
        ("normal", "float32"): False,
        ("normal", "float64"): True,
        ("philox_uint32", "uint32"): True,
        ("uniform", "float32"): False,
        ("uniform", "float64"): False,
    }
    out, err = capsys.readouterr()
    assert "Error above the promise: 3 of 5 rows (random.uniform, random.normal)." in out
    assert len(re.findall(" NO$", out, re.MULTILINE)) == err.count("BROKEN PROMISE") == 3


def test_a_gpu_has_its_own_rows_and_gets_its_own_arrays(monkeypatch):
    class Namespace:
        """NumPy under CuPy's further names; counts what is copied to and from the device, and
        waits."""

        copies, waits = [], 0
        asarray = asnumpy = staticmethod(
            lambda array: Namespace.copies.append(array.shape) or np.array(array)
        )

        class cuda:
            class Device:
                def synchronize(self):
                    Namespace.waits += 1

        def __getattr__(self, name):
            return getattr(np, name)

    gpu = Device("cuda", lambda kind: False, Namespace)
    monkeypatch.setattr(_measure, "devices", lambda: (CPU, gpu))
    exp = next(routine for routine in routines() if routine.name == "exp")
    row = _measure.measure(exp, "float32", gpu, 0.5)
    assert (row["device"], row["ok"], row["baseline"]) == ("cuda", True, "numpy.exp of CuPy arrays")
    assert Namespace.copies == [(1797, 1797)] * 2
    assert Namespace.waits >= 4 * _measure.LEAST_ROUNDS


# --- each row by itself ---------------------------------------------------------------------------


def raising(error):
    def reference(**arguments):
        raise error

    return reference


def test_an_error_is_a_row_and_exit_code_3(tmp_path, monkeypatch, capsys):
    change_example(monkeypatch, "normal", reference=raising(ArithmeticError("no such\nnumber")))
    change_example(
        monkeypatch, "uniform", reference=lambda shape, rng, dtype: np.full(shape, np.nan)
    )
    found = results_of(tmp_path, "--html", str(tmp_path / "page.html"), code=3)
    assert [row["routine"] for row in found["results"]] == ["philox_uint32"] + ["uniform"] * 2
    assert [row["ok"] for row in found["results"]] == [True, False, False]
    assert [(row["routine"], row["dtype"], row["error"]) for row in found["errors"]] == [
        ("normal", dtype, "ArithmeticError: no such\nnumber") for dtype in ("float32", "float64")
    ]
    out, err = capsys.readouterr()
    assert "Raised an exception: 2 of 5 rows (random.normal).\n" in out
    assert "  random.normal float32 cpu: ArithmeticError: no such number\n" in out
    assert len(re.findall(r"random.normal .* ERROR ArithmeticError: no such number\n", err)) == 2
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "random.normal float64 cpu: ArithmeticError: no such" in page


def test_an_interrupt_reports_what_was_measured(tmp_path, monkeypatch, capsys):
    change_example(monkeypatch, "normal", reference=raising(KeyboardInterrupt()))
    file = tmp_path / "page.html"
    found = results_of(tmp_path, "--html", str(file), code=130)
    measured = [result["routine"] for result in found["results"]]
    assert measured and "normal" not in measured and len(measured) < found["planned"] == 5
    out, err = capsys.readouterr()
    assert f"Interrupted: {len(measured)} of 5 rows were measured." in out
    assert len(rows_of_text(out)) == len(measured)
    assert err.endswith("python -m numcore: interrupted\n")
    assert Page(file.read_text(encoding="utf-8")).tags.count("tr") == 1 + len(measured)


def test_an_interrupt_before_the_first_row_is_exit_code_130(capsys, monkeypatch):
    monkeypatch.setattr(_measure, "measure", lambda *_: raising(KeyboardInterrupt())())
    assert main(QUICK) == 130
    assert "Interrupted: 0 of 5 rows were measured." in capsys.readouterr().out


# --- progress -------------------------------------------------------------------------------------


def test_a_pipe_gets_a_line_for_each_row_when_it_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(_rows, "compiled_by_numba", lambda: False)
    seen, measure = [], _measure.measure

    def seeing(*arguments):
        seen.append(capsys.readouterr())
        return measure(*arguments)

    monkeypatch.setattr(_measure, "measure", seeing)
    assert main(NORMAL) == 0
    assert [output.out for output in seen] == ["", ""]
    assert seen[0].err.startswith(f"numcore {numcore.__version__}: measuring 2 rows")
    assert re.fullmatch(
        r"\[1/2\] random\.normal +float32 +cpu +[\d.]+ .?s +[\d.]+× baseline\n", seen[1].err
    )


def test_each_line_is_flushed():
    class Stream(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    stream = Stream()
    progress = command._Progress(2, stream)
    for write in (progress.say, progress.row):
        write("something")
        assert stream.flushed == stream.getvalue() and stream.flushed.endswith("something\n")


@pytest.mark.parametrize("by_numba", [True, False])
def test_a_source_checkout_says_that_it_compiles(by_numba, monkeypatch, capsys):
    monkeypatch.setattr(_rows, "compiled_by_numba", lambda: by_numba)
    assert main(NORMAL) == 0
    second = capsys.readouterr().err.splitlines()[1]
    assert ("source checkout kernels are compiled" in second) == by_numba


def test_a_terminal_gets_one_line_that_is_taken_away(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    progress = command._Progress(2, terminal)
    progress.say("compiling")
    progress.row("random.normal " + "x" * 500)
    progress.end()
    written = terminal.getvalue()
    assert "\n" not in written and written.endswith("\r\x1b[K")
    assert "[0/2] compiling" in written and "[1/2] random.normal" in written
    assert max(map(len, written.split("\r"))) < 500


# --- times ----------------------------------------------------------------------------------------


def test_calls_take_turns():
    order = []
    times = _measure.median_seconds([lambda: order.append("a"), lambda: order.append("b")], 0.01)
    assert "".join(order).startswith("ab" + "ab" + "ba" + "ab" + "ba" + "ab")
    assert len(times) == 2 and all(seconds >= 0 for seconds in times)


def test_slow_calls_are_made_less_often():
    order = []
    _measure.median_seconds([lambda: order.append(time.sleep(0.05))], 0.01)
    assert 2 <= len(order) < 1 + _measure.LEAST_ROUNDS


# --- the page -------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Tags, identifiers, references and headings of a page; fails on tags that do not nest."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.headings = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open += [] if tag in self.VOID else [tag]
        for name, value in attributes:
            self.ids += [value] if name == "id" else []
            self.references += (
                [value] if name in ("src", "href", "xlink:href", "data", "action") else []
            )

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open = self.open if tag in self.VOID else self.open[:-1]

    def handle_data(self, data):
        self.headings += [data] if self.open and self.open[-1] in ("h1", "h2") else []


def test_page_stands_alone(tmp_path):
    file = tmp_path / "page.html"
    assert main([*QUICK, "--html", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [
        "numcore: speed and accuracy",
        "Speed relative to the baseline",
        "Measured error against promised error",
        "All measurements",
        "Words",
    ]
    assert page.tags.count("tr") == 6
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    built = _page.built_docs(file)
    assert all(built and reference.startswith(f"{built}/") for reference in page.references)
    assert not re.search(r"url\(|@import|fetch\(|https?://", text)


def test_page_has_the_axis_above_and_below_and_a_mark_for_each_dtype():
    few = _rows.rows_of([r for r in routines() if r.room == "special"], (CPU,), True)
    text = _page.page(found_of([result(*row) for row in few]))
    speed, error = re.findall(r'<div class="plot \w+">.*?\n</div>', text, re.DOTALL)
    for plot in (speed, error):
        assert plot.count('class="line axis"') == plot.count('class="line axis bottom"') == 1
        key = re.search('<ul class="key">.*?</ul>', plot, re.DOTALL)[0]
        shapes = dict(re.findall(r' d="([^"]+)"/></svg> (\w+), cpu', key))
        assert sorted(shapes.values()) == ["float32", "float64"]
    assert error.count('class="promise ') == error.count("<title>") > 20
    assert 'class="grid"' in error


def test_labels_of_an_axis_do_not_collide():
    for low, high in ((0.4, 2.5), (0.01, 300), (1e-3, 1e13)):
        axis = _page._Axis(low, high, "{}×")
        for narrow, pixels in ((False, 700), (True, 340)):
            places = [
                (float(axis.at(value)[:-1]) * pixels / 100, len(_page._power(value)) + 1)
                for value, major in axis.ticks()
                if major or not narrow
            ]
            assert len(places) > 1 or narrow
            for (left, n), (right, m) in itertools.pairwise(places):
                assert right - left > 7 * (n + m) / 2, (low, high, narrow)


def test_page_can_be_dark_and_filtered(everything):
    text = _page.page(everything)
    page = Page(text)
    assert "@media (prefers-color-scheme: dark)" in text and "[data-theme=dark]" in text
    assert page.tags.count("button") == 1 and page.tags.count("input") == 1
    texts = re.findall(r'<tr[^>]* data-text="([^"]*)"', text)
    assert len(texts) == len(everything["results"])
    for words in ("random input", "no baseline", "linalg.coreset", "float64"):
        assert 0 < sum(words in row for row in texts) < len(texts), words


def test_page_links_each_routine_to_its_documentation(tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    assert main([*NORMAL, "--html", str(file), "--docs", "https://example.org/docs/"]) == 0
    links = set(Page(file.read_text(encoding="utf-8")).references)
    assert links == {"https://example.org/docs/api/generated/numcore.random.normal.html"}


def test_page_finds_documentation_that_was_built(tmp_path, monkeypatch):
    monkeypatch.setattr(_page, "__file__", str(tmp_path / "numcore" / "_page.py"))
    assert _page.built_docs(tmp_path / "page.html") is None
    folder = tmp_path / "docs" / "_build" / "html"
    folder.mkdir(parents=True)
    (folder / "index.html").touch()
    assert _page.built_docs(tmp_path / "page.html") == "docs/_build/html"
    assert _page.built_docs(tmp_path / "elsewhere" / "page.html") == "../docs/_build/html"


def test_page_has_no_empty_plot(tmp_path):
    found = results_of(tmp_path)
    for row in found["results"]:
        row.update(baseline=None, baseline_seconds=None, speed=None, error_unit="equal")
    assert Page(_page.page(found)).tags.count("svg") == 0


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        (["--subpackage", "nope"], ["subpackage", "random, retrieval, special", "'nope'"]),
        (["--routine", "expp"], ["routine", "'expp'", "close matches: exp, "]),
        (["--routine", "special.sinn"], ["'special.sinn'", "special.sin"]),
        (["--routine", "linalg.exp"], ["'linalg.exp'"]),
        (["--routine", "exp", "--subpackage", "special"], ["not allowed with"]),
        (["--seconds", "0"], ["seconds", "> 0", "'0'"]),
        (["--seconds", "soon"], ["seconds", "'soon'"]),
        (["--json", "no/such/folder/file.json"], ["no/such/folder/file.json"]),
        (["--html", "."], ["'.'"]),
        (["--fast"], ["--fast"]),
    ],
)
def test_bad_argument_is_one_line_and_exit_code_2(options, words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(options)
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and not out and err.count("\n") == 1
    assert all(word in err for word in words), err


def test_page_needs_no_matplotlib():
    code = "import sys; import numcore._page; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"numcore {numcore.__version__}\n"


def test_checking_a_file_leaves_none_behind(tmp_path):
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "a.json"), "--subpackage", "nope"])
    assert not list(tmp_path.iterdir())


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "numcore", "--subpackage", "nope"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# --- the README -----------------------------------------------------------------------------------


def blocks(language):
    return re.findall(
        rf"^```{language}\n(.*?)^```$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


def test_readme_starts_with_its_two_commands():
    assert blocks("sh")[:2] == ["make run\n", "make test\n"]


@pytest.mark.parametrize("code", blocks("python"))
def test_readme_example_runs(code, capsys):
    if "import cupy" in code:
        cupy = pytest.importorskip("cupy")
        if not cupy.is_available():
            pytest.skip("no GPU")
    exec(code, {})
    assert capsys.readouterr().out
