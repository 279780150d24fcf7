"""Commits measured from their sources: ``python asv_bench/checkouts.py [COMMIT] [--bench REGEX]``.

A commit is unpacked below .asv with an environment that finds it before all that is installed here;
baselines are those of this environment. No wheel is built: kernels are compiled on first use into
the cache that all commits share, so that only those whose source changed are compiled again.
Everything has one thread.
"""

import argparse
import functools
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path
from unittest import mock

from asv import util
from asv.benchmarks import Benchmarks
from asv.commands.run import Run
from asv.config import Config
from asv.console import log
from asv.environment import get_environments
from asv.machine import MachineCollection
from asv.repo import get_repo
from benchmarks.headlines import headlines

from numcore._measure import environment
from numcore._store import cache_folder

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
WORK = ROOT / ".asv"
KEPT = ("result", "params", "version")  # of asv's columns, and the statistics
THREADS = ("NUMCORE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# --- commits --------------------------------------------------------------------------------------


def git(*arguments):
    return subprocess.check_output(["git", "-C", str(ROOT), *arguments])


def commit_hash(name):
    """The full hash of a commit; ends the program if there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError:
        raise SystemExit(f"{name!r} names no commit of this repository") from None


def checkout(commit):
    """The Python of an environment in which ``import numcore`` finds a commit, and all else is as
    it is here."""
    folder = WORK / "checkouts" / commit
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(unfinished, filter="data")
        (unfinished / "numcore" / "gpu").symlink_to("../gpu")  # as setup.cfg maps the package
        unfinished.rename(folder)
    place = str(folder / ".venv")
    venv.create(place, symlinks=os.name != "nt")
    packages = sysconfig.get_path("purelib", "venv", {"base": place, "platbase": place})
    path = [folder, *(entry for entry in sys.path if entry and Path(entry).resolve() != BENCH)]
    Path(packages, "numcore_checkout.pth").write_text("\n".join(map(str, path)))
    return Path(sysconfig.get_path("scripts", "venv", {"base": place})) / "python"


# --- asv ------------------------------------------------------------------------------------------


def machine():
    """This machine in asv's words, named after its processor, not after its name in a network."""
    found = environment()
    words = re.sub(r"\((R|TM)\)|@.*|\d+-Core|Processor|CPU", " ", found["cpu"]).lower()
    name = "-".join(re.findall(r"[a-z0-9]+", words)) or "unknown"
    system, arch = found["system"].split()
    return {
        "machine": f"{name}-{found['cpus']}-cores",
        "os": system,
        "arch": arch,
        "cpu": found["cpu"],
        "num_cpu": str(found["cpus"]),
        "ram": f"{round(util.get_memsize() / 2**30)} GiB",
    }


def configuration(folder, **changes):
    """The file of a copy of asv.conf.json with its places in `folder`, and with `changes`."""
    places = {
        "repo": str(ROOT),
        "benchmark_dir": str(BENCH / "benchmarks"),
        "env_dir": str(folder / "env"),
        "results_dir": str(folder / "results"),
        "html_dir": str(folder / "html"),
    }
    settings = util.load_json(str(BENCH / "asv.conf.json"), js_comments=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(settings | places | changes, indent=1))
    return path


@functools.cache
def discovered(bench=None):
    """The present benchmarks whose names match `bench`, as asv knows them, by name."""
    settings = Config.load(str(configuration(WORK / "discovered")))
    here = list(get_environments(settings, [f"existing:{sys.executable}"]))
    return Benchmarks.discover(settings, get_repo(settings), here, ["HEAD"], regex=bench)


def _files(bench):
    """The benchmark files to import: an old commit may lack what others need."""
    names = {name.partition(".")[0] for name in discovered(bench)} if bench else set()
    known = {file.stem for file in (BENCH / "benchmarks").glob("*.py")}
    return names & known | ({"headlines"} if names - known or not names else set())


def _benchmark_folder(folder, files):
    target = folder / "benchmarks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("__init__", *files):
        shutil.copy(BENCH / "benchmarks" / f"{name}.py", target)
    return target


def measure(commit, folder, *, bench=None, names=None, append=False):
    """Run benchmarks of a commit; asv adds its results to those in `folder`/results.

    Parameters
    ----------
    commit : str
        A full hash.
    folder : Path
    bench : str, optional
        A regular expression; by default all headlines.
    names : dict of str to str, optional
        The headlines, and other names under which the commit may have them; by default the present
        headlines.
    append : bool
        Whether to add samples to earlier ones.
    """
    about, files = machine(), _files(bench)
    only_headlines = files == {"headlines"}
    machine_file = folder / "machine.json"
    config = configuration(
        folder, benchmark_dir=str(_benchmark_folder(folder, files)), branches=[commit]
    )
    MachineCollection.save(about["machine"], about, _path=str(machine_file))
    variables = dict.fromkeys(THREADS, "1") | {
        "NUMCORE_CACHE_DIR": cache_folder(),
    }
    if only_headlines:
        variables["NUMCORE_HEADLINES"] = json.dumps(names or {name: name for name in headlines()})
    with mock.patch.dict(os.environ, variables):
        os.environ.pop("PYTHONPATH", None)  # asv would remove its folders, which `checkout` added
        Run.run(
            Config.load(str(config)),
            bench=bench and [bench],
            env_spec=[f"existing:{checkout(commit)}"],
            set_commit_hash=commit,
            machine=about["machine"],
            append_samples=append,
            # imports once for all headlines; others measure the memory of whole processes
            launch_method="forkserver" if only_headlines else "spawn",
            _machine_file=str(machine_file),
        )


# --- results that are kept ------------------------------------------------------------------------


def keep(commit, source, target, *, whole=False):
    """Copy a commit's results to another folder, under an environment's name that all commits
    share. Unless the `whole` is wanted, without samples, times of day and what was not measured."""
    name = machine()["machine"]
    (found,) = (source / name).glob(f"{commit[:8]}-*.json")
    kept = util.load_json(str(found))
    python = "{}.{}".format(*sys.version_info)
    kept["params"]["python"] = python
    kept |= {"env_name": "checkout", "python": python}
    if not whole:
        columns = list(enumerate(kept["result_columns"]))
        stay = [i for i, column in columns if column in KEPT or column.startswith("stats_")]
        kept["result_columns"] = [column for i, column in columns if i in stay]
        kept["results"] = {
            name: [row[i] for i in stay if i < len(row)]
            for name, row in kept["results"].items()
            if any(value is not None and value == value for value in row[0] or ())
        }
        rounded = json.dumps(kept["results"])
        kept["results"] = json.loads(rounded, parse_float=lambda text: float(f"{float(text):.5g}"))
        kept["durations"] = {}
    target = target / name
    util.write_json(str(target / f"{commit[:8]}-checkout.json"), kept, compact=True)
    shutil.copy(source / name / "machine.json", target)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Measure a commit from its sources.")
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--bench", help="a regular expression; by default all headlines")
    options = parser.parse_args(arguments)
    log.enable()
    commit = commit_hash(options.commit)
    measure(commit, WORK / "measured", bench=options.bench)
    keep(commit, WORK / "measured" / "results", WORK / "results")


if __name__ == "__main__":
    main()
