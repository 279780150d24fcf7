"""The command line, its page, and the README's commands and examples."""

import dataclasses
import html.parser
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from numcore import _measure, _report
from numcore.__main__ import main
from numcore.dispatch import CPU, Device, routines
from numcore.examples import random as random_examples

ROOT = Path(__file__).parents[1]
QUICK = ["--room", "random", "--seconds", "0.001"]


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


def no_peer(**arguments):
    raise ModuleNotFoundError("No module named 'peer'")


# --- table and figures ----------------------------------------------------------------------------


def test_table_has_a_row_for_every_routine_and_dtype(capsys):
    assert main(QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["routine", "type", "device"]
    assert [line.split()[:3] for line in lines[2:7]] == [
        ["random.normal", "float32", "cpu"],
        ["random.normal", "float64", "cpu"],
        ["random.philox_uint32", "uint32", "cpu"],
        ["random.uniform", "float32", "cpu"],
        ["random.uniform", "float64", "cpu"],
    ]
    assert any(line.startswith("Speed: ") for line in lines)


def test_json_has_environment_and_figures(tmp_path):
    found = results_of(tmp_path)
    assert {"python", "system", "cpu", "cpus", "threads", "versions"} <= found["environment"].keys()
    assert {"numcore", "numpy", "numba"} <= found["environment"]["versions"].keys()
    first = found["results"][0]
    assert (first["routine"], first["dtype"], first["device"], first["shape"]) == (
        "normal",
        "float32",
        "cpu",
        [2**20],
    )
    assert first["speed"] == first["peer_seconds"] / first["seconds"] > 0
    assert 0 < first["measured_error"] <= first["promised_error"]
    assert all(result["ok"] for result in found["results"])


def test_missing_peer_leaves_its_columns_empty(tmp_path, monkeypatch, capsys):
    change_example(monkeypatch, "uniform", peer=("peer.uniform", no_peer))
    row = results_of(tmp_path)["results"][-1]
    assert (row["routine"], row["peer"], row["peer_seconds"], row["speed"]) == (
        "uniform",
        None,
        None,
        None,
    )
    assert "None" not in capsys.readouterr().out


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
    assert " NO " in capsys.readouterr().out


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
    assert (row["device"], row["ok"], row["peer"]) == ("cuda", True, "numpy.exp of CuPy arrays")
    assert Namespace.copies == [(1797, 1797)] * 2
    assert Namespace.waits >= 4 * _measure.LEAST_ROUNDS


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
    pytest.importorskip("matplotlib")
    file = tmp_path / "page.html"
    assert main([*QUICK, "--html", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [
        "numcore: speed and accuracy",
        "Speed relative to the peer",
        "Measured error against promised error",
        "All measurements",
        "Words",
    ]
    assert page.tags.count("svg") == 2 and page.tags.count("tr") == 6
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(
        reference.startswith("#") and reference[1:] in page.ids for reference in page.references
    )
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"url\((?!#)|@import", text)


def test_page_has_no_empty_plot(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    found = results_of(tmp_path)
    for result in found["results"]:
        result.update(peer=None, peer_seconds=None, speed=None, error_unit="equal")
    assert Page(_report.page(found["results"], found["environment"])).tags.count("svg") == 0


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        (["--room", "nope"], ["random, retrieval, special", "'nope'"]),
        (["--seconds", "0"], ["seconds", "> 0", "'0'"]),
        (["--seconds", "soon"], ["seconds", "'soon'"]),
        (["--json", "no/such/folder/file.json"], ["no/such/folder/file.json"]),
        (["--html", "."], ["'.'"]),
        (["--fast"], ["--fast"]),
    ],
)
def test_bad_argument_is_one_line_and_exit_code_2(options, words, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(SystemExit) as exit:
        main(options)
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and not out and err.count("\n") == 1
    assert all(word in err for word in words), err


def test_page_without_matplotlib_names_the_extra(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit:
        main(["--html", str(tmp_path / "page.html")])
    assert exit.value.code == 2
    assert "numcore-kernels[bench]" in capsys.readouterr().err


def test_checking_a_file_leaves_none_behind(tmp_path):
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "a.json"), "--room", "nope"])
    assert not list(tmp_path.iterdir())


def test_interrupt_is_one_line_and_exit_code_130(capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_measure, "measure", interrupt)
    assert main(QUICK) == 130
    assert capsys.readouterr().err == "python -m numcore: interrupted\n"


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "numcore", "--room", "nope"], capture_output=True, text=True
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
