"""The benchmarks run, are published with the history, and a browser draws their graphs; two commits
are compared, and a slower kernel is found."""

import functools
import http.server
import inspect
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from numcore._store import cache_folder
from numcore.dispatch import routines
from numcore.examples import example, has_example

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "asv_bench"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
QUICK = r"Calls|Philox|routines\.Time\.time_call\('special\.exp'"

pytestmark = pytest.mark.slow


ONE_LINE = "routines.Time.time_call?p-routine='special.exp'&p-dtype='float32'"
SLOWER = "linalg.spmv.time_call"  # in a made-up history, from the eighth commit on


def run(*command, code=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == code, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# --- headlines ------------------------------------------------------------------------------------


@pytest.fixture
def headlines(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    for name in ("benchmarks.headlines", "benchmarks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import benchmarks.headlines

    return benchmarks.headlines


def test_each_method_with_real_data_has_one_headline(headlines):
    methods = {}
    for routine in routines():
        if has_example(routine) and example(routine).real:
            file = Path(inspect.getfile(inspect.unwrap(routine.function)))
            file = file.relative_to(ROOT / "numcore").with_suffix("")
            method = file.parts[:2]
            methods.setdefault(method, set()).add(f"{routine.room}.{routine.name}")
    chosen = headlines.headlines()
    for method, names in methods.items():
        assert len(names & set(chosen)) == 1, f"{method} must have one headline"
    assert len(chosen) == len(methods) > 40


def test_methods_are_known_for_routines_that_exist(headlines):
    names = {f"{routine.room}.{routine.name}" for routine in routines()}
    for method, routine in headlines.KNOWN_FOR.items():
        assert f"{method.partition('.')[0]}.{routine}" in names


def test_old_commits_skip_what_they_do_not_have(headlines, monkeypatch):
    names = {"special.exp": "special.exp", "special.new": "special.new"}
    monkeypatch.setattr(headlines, "HEAVY", ())
    monkeypatch.setenv("NUMCORE_HEADLINES", json.dumps(names | {"nn.now": "random.philox_uint32"}))
    chosen = headlines._chosen()
    assert chosen["special.exp"].name == "exp" and chosen["nn.now"].name == "philox_uint32"
    with pytest.raises(NotImplementedError):
        headlines._headline("special.new", chosen["special.new"])().setup()


def test_memory_holds_at_least_the_result(headlines):
    figure = headlines.random_philox_uint32()
    figure.setup()
    result = figure.call()
    assert result.nbytes <= figure.track_memory() < 2 * result.nbytes


def test_relative_time_is_ours_by_the_baselines(headlines, monkeypatch):
    clock, calls = [0.0], []

    def takes(seconds, name):
        def call():
            calls.append(name)
            clock[0] += seconds

        return call

    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    ratios = headlines._ratios(takes(0.06, "ours"), takes(0.03, "theirs"))
    assert len(ratios) >= headlines.ROUNDS and np.allclose(ratios, 2)
    assert calls[:4] == ["ours", "theirs", "ours", "theirs"]
    calls.clear()
    headlines._ratios(takes(1e-5, "ours"), takes(0.03, "theirs"))
    assert calls.count("ours") > 50 * calls.count("theirs"), "a short call must be repeated"


# --- the published pages --------------------------------------------------------------------------


def made_up(folder):
    """Results of a machine on which one routine takes 1.5 times as long from some commit on."""
    commits = list(json.loads((BENCH / "milestones.json").read_text())["commits"])
    place = folder / "results" / "made-up"
    place.mkdir(parents=True)
    about = {"machine": "made-up", "cpu": "none", "num_cpu": "1", "os": "", "arch": "", "ram": ""}
    (place / "machine.json").write_text(json.dumps(about | {"version": 1}))
    for i, commit in enumerate(commits):
        seconds = 1.5e-3 if i >= 7 else 1e-3
        result = {
            "commit_hash": commit,
            "env_name": "checkout",
            "date": 1000 * int(run("git", "-C", ROOT, "show", "-s", "--format=%ct", commit)),
            "params": about | {"python": "3"},
            "python": "3",
            "requirements": {},
            "env_vars": {},
            "result_columns": ["result", "params", "version"],
            "results": {
                SLOWER: [[seconds], [], "1"],
                "linalg.spmv.track_relative_time": [[0.25], [], "1"],
                "linalg.srht.track_relative_time": [[1.0], [], "1"],
                "linalg.srht.time_call": [[1.0], [], "1"],
            },
            "durations": {},
            "version": 2,
        }
        (place / f"{commit[:8]}-checkout.json").write_text(json.dumps(result))
    return commits


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The published pages of the history, of a history with a regression, and of a quick run for
    the present commit in this environment."""
    pytest.importorskip("asv")
    if not (ROOT / ".git").exists():
        pytest.skip("asv needs the git repository")
    folder = tmp_path_factory.mktemp("asv")
    places = {
        "repo": str(ROOT),
        "benchmark_dir": str(BENCH / "benchmarks"),
        "env_dir": str(folder / "env"),
        "results_dir": str(folder / "results"),
        "html_dir": str(folder / "html"),
    }
    config = folder / "asv.conf.json"
    text = re.sub(r"^\s*//.*$", "", (BENCH / "asv.conf.json").read_text(), flags=re.MULTILINE)
    config.write_text(json.dumps(json.loads(text) | places))
    made_up(folder)
    commit = run("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    environment = os.environ | {
        "HOME": str(folder),
        "NUMCORE_CACHE_DIR": cache_folder(),
    }  # asv keeps the machine's name at home
    asv = functools.partial(run, sys.executable, "-m", "asv", cwd=folder, env=environment)
    asv("machine", "--yes")
    asv(
        "run",
        "--config",
        config,
        "--environment",
        f"existing:{sys.executable}",
        "--set-commit-hash",
        commit,
        "--quick",
        "--bench",
        QUICK,
    )
    run(sys.executable, BENCH / "publish.py", config, cwd=folder, env=environment)
    return folder / "html"


def test_pages_are_published_with_results(site):
    index = json.loads((site / "index.json").read_text())
    assert {
        "core.Calls.track_call_overhead",
        "core.Philox.track_throughput",
        "routines.Time.time_call",
    } <= index["benchmarks"].keys()
    graphs = [
        json.loads(file.read_text())
        for file in (site / "graphs").rglob("core.Calls.track_call_overhead.json")
    ]
    assert any(value for graph in graphs for _, value in graph)


def test_pages_load_nothing_from_elsewhere(site):
    loaded = re.findall(
        r'<(?:script|link|img)[^>]*?(?:src|href)="([^"]+)"', (site / "index.html").read_text()
    )
    assert len(loaded) > 10
    for name in loaded:
        assert (site / name).is_file(), name
    assert not re.search(
        r"https?:|<script|<link|@import|url\(", (site / "summary.html").read_text()
    )


def kept():
    """The results of the history, by machine, from the oldest commit to the newest."""
    machines = {}
    for file in (BENCH / "results").glob("*/*-checkout.json"):
        machines.setdefault(file.parent.name, []).append(json.loads(file.read_text()))
    return {name: sorted(found, key=lambda r: r["date"]) for name, found in machines.items()}


def test_history_has_the_milestones(site):
    milestones = json.loads((BENCH / "milestones.json").read_text())["commits"]
    histories = kept()
    assert any(len(commits) >= 8 for commits in histories.values())
    for name, commits in histories.items():
        for result in commits:
            assert result["commit_hash"] in milestones and result["env_name"] == "checkout"
            assert result["params"]["machine"] == name
    graph = next((site / "graphs").rglob("special.exp.time_call.json"))
    assert len(json.loads(graph.read_text())) >= 8, "the graph must show the history"


def test_benchmarks_without_results_have_no_graph(site):
    shown = json.loads((site / "index.json").read_text())["benchmarks"]
    assert "linalg.spmv.time_call" in shown and "core.Threads.track_scaling_to_two" not in shown


def test_the_summary_can_be_reached_and_shows_speeds(site):
    assert '<a href="summary.html">' in (site / "index.html").read_text()
    page = (site / "summary.html").read_text()
    for name, commits in kept().items():
        section = re.search(rf"<section><h2>{name}</h2>.*?</section>", page, re.DOTALL)[0]
        latest = {}
        for result in commits:
            latest |= {key: row[0][0] for key, row in result["results"].items()}
        for subpackage in {key.partition(".")[0] for key in latest}:
            ours = [
                -math.log(value)
                for key, value in latest.items()
                if re.fullmatch(rf"{subpackage}\.\w+\.track_relative_time", key)
            ]
            speed = math.exp(sum(ours) / len(ours))
            row = re.search(rf">numcore\.{subpackage}</a></td>.*?</tr>", section)[0]
            assert f"{speed:.2f}×" in row
    assert "made-up" in page and page.count('class="spark"') > 50


def test_the_summary_lists_the_regression_with_its_graph(site):
    page = (site / "summary.html").read_text()
    commits = list(json.loads((BENCH / "milestones.json").read_text())["commits"])
    row = re.search(rf"<tr><td><code><a[^>]*>{SLOWER}</a>.*?made-up</td></tr>", page)[0]
    assert f"index.html#{SLOWER}?commits={commits[6]}-{commits[7]}&amp;machine=made-up" in row
    assert "1.50×" in row and "1ms" in row.replace(".00", "")


def test_trends_compare_only_what_both_commits_have(monkeypatch):
    pytest.importorskip("asv")
    monkeypatch.syspath_prepend(str(BENCH))
    import summary

    old, new = [1.0, 2.0, 2.0, 4.0], [None, None, 9.0, 4.5]
    # from 2 to 3 one doubles and one halves; the second has no part in what was before
    assert np.allclose(summary.trend([old, new]), np.sqrt(18) * np.array([0.5, 1, 1, 1]))
    assert summary.trend([[None, None, 2.0]]) == [None, None, 2.0]
    assert summary.trend([]) == []


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def browse(address, folder, *options):
    return run(
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={folder}",
        "--window-size=1300,900",
        "--virtual-time-budget=20000",
        *options,
        address,
        timeout=120,
    )


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize(
    "benchmark", ["core.Calls.track_call_overhead", ONE_LINE, f"{SLOWER}?machine=made-up"]
)
def test_a_browser_draws_the_graph(address, benchmark, tmp_path):
    page = browse(f"{address}#{benchmark}", tmp_path / "profile", "--dump-dom")
    assert re.search(r'<canvas class="flot-base"[^>]*width="\d{3}', page), "no plot was made"
    assert page.count("flot-tick-label") > 2, "the axes have no labels"
    picture = tmp_path / "page.png"
    browse(f"{address}#{benchmark}", tmp_path / "profile", f"--screenshot={picture}")
    pixels = pytest.importorskip("matplotlib.image").imread(picture)[..., :3]
    height, width = pixels.shape[:2]
    plot = pixels[height // 8 :, width // 4 :].reshape(-1, 3)  # beside the navigation
    colourful = np.ptp(plot, axis=1) > 0.2  # a graph's line or mark; axes and text are grey
    assert colourful.sum() > 20, "the plot is blank"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_draws_the_overview(address, tmp_path):
    page = browse(address, tmp_path / "profile", "--dump-dom")
    assert page.count("benchmark-plot") >= 3 and "track_call_overhead" in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_draws_the_summary(address, tmp_path):
    picture = tmp_path / "page.png"
    browse(f"{address}summary.html", tmp_path / "profile", f"--screenshot={picture}")
    pixels = pytest.importorskip("matplotlib.image").imread(picture)[..., :3]
    assert (np.ptp(pixels.reshape(-1, 3), axis=1) > 0.2).sum() > 500, "nothing is drawn"


# --- comparisons ----------------------------------------------------------------------------------

FIRST_PASS = """    for i in range(start, stop):
        first = low + np.uint64(i)
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = philox4x32(
            first, high + np.uint64(first < low), k0, k1
        )
"""


def test_a_kernel_that_takes_half_as_long_again_is_found(tmp_path):
    """In a clone, whose last commit lets a kernel compute half of its results twice."""
    pytest.importorskip("asv")
    if not (ROOT / ".git").exists():
        pytest.skip("asv needs the git repository")
    clone = tmp_path / "clone"
    run("git", "clone", "--quiet", ROOT, clone)
    shutil.copytree(BENCH, clone / "asv_bench", dirs_exist_ok=True)
    commit = ("git", "-C", clone, "-c", "user.name=test", "-c", "user.email=test@localhost")
    run(*commit, "add", "--all")
    run(*commit, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    source = clone / "numcore" / "random.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(FIRST_PASS) == 1
    half = FIRST_PASS.replace("range(start, stop)", "range(start, (start + stop) // 2)")
    source.write_text(text.replace(FIRST_PASS, FIRST_PASS + half), encoding="utf-8")
    run(*commit, "commit", "--quiet", "--all", "--message", "half of the words twice")
    report = run(
        sys.executable,
        clone / "asv_bench" / "compare.py",
        "HEAD~1",
        "--bench",
        "philox_uint32",
        code=1,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(clone), "NUMCORE_CACHE_DIR": cache_folder()},
    )
    for figure in ("time_call", "track_relative_time"):
        row = re.search(rf"^\| \+ .*random\.philox_uint32\.{figure} .*$", report, re.MULTILINE)
        assert row and 1.3 < float(row[0].split("|")[4]) < 1.8, report
    assert not re.search(r"^\| .*track_memory", report, re.MULTILINE), report
    assert "HEAD is WORSE than HEAD~1." in report
