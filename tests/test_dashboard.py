"""The benchmarks run, are published, and the dashboard draws their graphs in a browser."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from numcore._store import cache_folder

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "asv_bench"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
QUICK = r"Calls|Philox|routines\.Time\.time_call\('special\.exp'"

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The published pages of a quick run for the present commit, in this environment."""
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
@pytest.mark.parametrize("benchmark", ["core.Calls.track_call_overhead", "routines.Time.time_call"])
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
