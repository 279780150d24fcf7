"""The dashboard as static pages that ask no other server for anything:
``python asv_bench/publish.py [CONFIG]``.

It shows the history in results/ and what was measured here. ``asv publish`` writes pages that load
their scripts from content delivery networks; here these are replaced by the copies in vendor/. A
summary page is added.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import summary
from asv import util
from asv.benchmarks import Benchmarks
from asv.config import Config
from checkouts import configuration, discovered

HERE = Path(__file__).resolve().parent
REMOTE = re.compile(
    r'<(?:script|link rel="stylesheet")[^>]*?(src|href)="https?://[^"]*/([^"/]+)"[^>]*>'
)
FIRST_LINK = '<li id="nav-li-" class="active">'
SUMMARY_LINK = '<li><a href="summary.html">Summary</a></li>\n\t'
# three graphs to a line, as the headlines have, or six
STYLE = """<style>.benchmark-group { max-width: 910px; margin: 0 auto; }
    @media (min-width: 1840px) { .benchmark-group { max-width: 1820px; } }</style>
  """


def localised(page, vendor):
    """The page with every script and style sheet of another server replaced by the file of that
    name in `vendor`."""

    def local(match):
        attribute, name = match[1], re.sub(r"-\d+[\d.]*(?=\.)", "", match[2])  # jquery-3.3.1.min.js
        copies = [copy for copy in (name, name.replace(".min.", ".")) if (vendor / copy).is_file()]
        if not copies:
            raise SystemExit(f"asv's pages load {name}, of which {vendor} has no copy")
        return (
            f'<script src="vendor/{copies[0]}">'
            if attribute == "src"
            else f'<link rel="stylesheet" href="vendor/{copies[0]}">'
        )

    return REMOTE.sub(local, page)


def with_summary_link(page):
    """asv's front page with a title and a style of its own, and a link to the summary."""
    if FIRST_LINK not in page:
        raise SystemExit("asv's front page has no header as expected: the summary has no link")
    page = page.replace("</head>", f"{STYLE}</head>", 1)
    page = page.replace("<title>airspeed velocity<", "<title>numcore: benchmarks by commit<")
    return page.replace(FIRST_LINK, SUMMARY_LINK + FIRST_LINK)


def collected(own, target):
    """Copy the history and the results of this computer into one folder of results; the names of
    all benchmarks that have one."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source in (HERE / "results", own):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
    files = [file for file in target.glob("*/*.json") if file.name != "machine.json"]
    return {name for file in files for name in util.load_json(str(file))["results"]}


def main(config=HERE / "asv.conf.json"):
    settings, place = Config.load(str(config)), Path(config).resolve().parent
    pages = (place / settings.html_dir).resolve()
    work = pages.parent / "published"
    measured = collected((place / settings.results_dir).resolve(), work / "results")
    # without the others, which would have empty graphs
    benchmarks = {name: about for name, about in discovered().items() if name in measured}
    listed = Benchmarks.get_benchmark_file_path(str(work / "results"))
    util.write_json(listed, benchmarks, Benchmarks.api_version)
    merged = configuration(work, html_dir=str(pages), repo=str(place / settings.repo))
    subprocess.check_call([sys.executable, "-m", "asv", "publish", "--config", str(merged)])

    shutil.copytree(HERE / "vendor", pages / "vendor", dirs_exist_ok=True)
    for page in pages.glob("*.html"):
        text = localised(page.read_text(encoding="utf-8"), pages / "vendor")
        text = with_summary_link(text) if page.name == "index.html" else text
        page.write_text(text, encoding="utf-8")
    machines = [util.load_json(str(file)) for file in (work / "results").glob("*/machine.json")]
    words = json.loads((HERE / "milestones.json").read_text(encoding="utf-8"))["commits"]
    (pages / "summary.html").write_text(
        summary.page(work / "results", pages, benchmarks, machines, words), encoding="utf-8"
    )
    print(
        f"the dashboard is in {pages}: python -m http.server --bind 127.0.0.1 --directory {pages}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
