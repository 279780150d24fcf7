"""The dashboard as static pages that ask no other server for anything:
``python asv_bench/publish.py [CONFIG]``.

``asv publish`` writes pages that load their scripts from content delivery networks; here these are
replaced by the copies in vendor/.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from asv.config import Config

HERE = Path(__file__).parent
REMOTE = re.compile(
    r'<(?:script|link rel="stylesheet")[^>]*?(src|href)="https?://[^"]*/([^"/]+)"[^>]*>'
)


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


def main(config=HERE / "asv.conf.json"):
    subprocess.check_call([sys.executable, "-m", "asv", "publish", "--config", str(config)])
    pages = (Path(config).parent / Config.load(str(config)).html_dir).resolve()
    shutil.copytree(HERE / "vendor", pages / "vendor", dirs_exist_ok=True)
    for page in pages.glob("*.html"):
        page.write_text(
            localised(page.read_text(encoding="utf-8"), pages / "vendor"), encoding="utf-8"
        )
    print(
        f"the dashboard is in {pages}: python -m http.server --bind 127.0.0.1 --directory {pages}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
