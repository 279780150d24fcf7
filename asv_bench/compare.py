"""Compare two commits: ``python asv_bench/compare.py BASE [HEAD] [--bench REGEX] [--factor F]``.

Both are measured from their sources, in turn, and asv reports what changed. The exit code is 1 if a
figure has become worse by more than the factor.
"""

import argparse
import shutil
import sys

from asv.commands.compare import Compare
from asv.config import Config
from asv.console import log
from checkouts import WORK, commit_hash, configuration, keep, machine, measure

# better when they grow, which asv does not know
GROWING = "track_(ratio|throughput|scaling)"
ROUNDS = 2  # processes for each figure and commit: one alone may have unlucky addresses


def compare(base, head, *, bench=None, factor=1.2):
    """Print asv's table of the figures that changed by more than `factor`; whether any is worse."""
    commits = {commit_hash(name): name for name in (base, head)}
    if len(commits) < 2:
        raise SystemExit(f"{base} and {head} are the same commit")
    if bench:
        bench = f"^(?!.*{GROWING})(?=.*?({bench}))"
    folder = WORK / "compared"
    shutil.rmtree(folder, ignore_errors=True)
    for turn in range(ROUNDS):
        for commit in sorted(commits, reverse=turn % 2):
            measure(commit, folder, bench=bench, append=True)
    config = configuration(folder / "both")
    for commit in commits:
        keep(commit, folder / "results", folder / "both" / "results", whole=True)
    shutil.copy(folder / "results" / "benchmarks.json", folder / "both" / "results")
    print()
    worse, _ = Compare.print_table(
        Config.load(str(config)),
        *commits,
        factor=factor,
        split=False,
        machine=machine()["machine"],
        only_changed=True,
        sort="ratio",
        commit_names=commits,
    )
    return worse


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Compare the speed and memory of two commits.")
    parser.add_argument("base")
    parser.add_argument("head", nargs="?", default="HEAD")
    parser.add_argument("--bench", help="a regular expression; by default all headlines")
    parser.add_argument("--factor", type=float, default=1.2, help="changes below it are noise")
    options = parser.parse_args(arguments)
    log.enable()
    worse = compare(options.base, options.head, bench=options.bench, factor=options.factor)
    print(f"\n{options.head} is {'WORSE' if worse else 'not worse'} than {options.base}.")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
