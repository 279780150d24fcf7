"""The headlines of the milestones in milestones.json, kept in results/ under this machine's name:
``python asv_bench/milestones.py [COMMIT ...] [--only REGEX]``.

Without arguments it measures the milestones that have no results for this machine yet, at two to
five minutes each. Results of input that was changed later are left out.
"""

import argparse
import json
import re
import subprocess

from asv.console import log
from benchmarks.headlines import headlines
from checkouts import BENCH, ROOT, WORK, commit_hash, keep, machine, measure

RESULTS = BENCH / "results"


def milestones():
    return json.loads((BENCH / "milestones.json").read_text(encoding="utf-8"))


def contains(commit, earlier):
    """Whether a commit has an earlier one in its history."""
    command = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor", earlier, commit]
    return subprocess.run(command, check=False).returncode == 0


def names_at(commit, only=""):
    """The present headlines that can be compared with those of a commit, and their names there."""
    known = milestones()
    since, former = known["same_input_since"], known["former_names"]
    return {
        name: former.get(name, name)
        for name in headlines()
        if re.search(only, name) and (name not in since or contains(commit, since[name]))
    }


def missing():
    kept = {file.name[:8] for file in (RESULTS / machine()["machine"]).glob("*-checkout.json")}
    return [commit for commit in milestones()["commits"] if commit[:8] not in kept]


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Measure milestones of the history.")
    parser.add_argument("commit", nargs="*", help="by default those without results")
    parser.add_argument("--only", default="", metavar="REGEX", help="headlines to measure")
    options = parser.parse_args(arguments)
    log.enable()
    for commit in map(commit_hash, options.commit or missing()):
        measure(commit, WORK / "measured", names=names_at(commit, options.only))
        keep(commit, WORK / "measured" / "results", RESULTS)


if __name__ == "__main__":
    main()
