"""The cache of compiled kernels: altered, truncated, read-only, foreign and shared folders."""

import os
import platform
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import toys

from numcore import _bitcode, _cpu, _native, _store

RUN = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
import toys
x = np.arange(-50, 50, dtype="f4")
print(toys.halve(x).sum(), toys.halve(x.astype("f8")).sum(), "numba" in sys.modules)
"""
EXPECTED = "-25.0 -25.0"


def run(folder, **environment):
    code = RUN.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"NUMCORE_CACHE_DIR": str(folder)} | environment,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A cache that one process has filled."""
    folder = tmp_path_factory.mktemp("cache") / "numcore"
    assert run(folder) == f"{EXPECTED} True"
    return folder


@pytest.fixture
def cache(full, tmp_path):
    folder = tmp_path / "numcore"
    folder.mkdir(mode=0o700)
    for file in full.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_cold_process_fills_the_cache_and_a_warm_one_needs_no_numba(full):
    assert full.stat().st_mode & 0o777 == 0o700
    files = sorted(full.iterdir())
    assert {f.suffix for f in files} == {".bc", ".o"} and len(files) == 4
    assert all(f.stat().st_mode & 0o077 == 0 for f in files)
    assert run(full) == f"{EXPECTED} False"


DAMAGES = {
    "half": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "one byte short": lambda b: b[:-1],
    "one byte long": lambda b: b + b"\0",
    "one bit": lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:],
    "noise": lambda b: os.urandom(len(b)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_not_read(cache, damage):
    for file in cache.iterdir():
        file.write_bytes(damage(file.read_bytes()))
        assert _store.read(str(cache), file.name) is None


@pytest.mark.parametrize("suffix", [".o", ".bc"])
def test_damaged_files_are_rebuilt(cache, suffix):
    for file, damage in zip(sorted(cache.iterdir()), DAMAGES.values(), strict=False):
        if suffix == ".bc" or file.suffix == ".o":  # bitcode is only read without object code
            file.write_bytes(damage(file.read_bytes()))
    assert run(cache).startswith(EXPECTED)
    for file in cache.iterdir():
        assert _store.read_checked(file) is not None, f"{file.name} was not rebuilt"


def test_object_code_is_rebuilt_from_bitcode_without_numba(cache):
    for file in cache.glob("*.o"):
        file.unlink()
    assert run(cache) == f"{EXPECTED} False"
    assert len(list(cache.glob("*.o"))) == 2


def test_a_read_only_cache_serves_and_an_unusable_one_is_no_error(cache, tmp_path):
    cache.chmod(0o500)
    try:
        assert run(cache) == f"{EXPECTED} False"
    finally:
        cache.chmod(0o700)
    blocked = tmp_path / "a file"
    blocked.write_text("no folder")
    assert run(blocked / "numcore") == f"{EXPECTED} True"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX access rights")
def test_a_folder_that_others_can_write_to_is_ignored(cache):
    cache.chmod(0o777)
    assert run(cache) == f"{EXPECTED} True"
    for file in cache.iterdir():
        file.unlink()
    run(cache)
    assert not list(cache.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX symbolic links")
def test_a_symbolic_link_is_not_followed(cache, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(cache)
    assert run(link) == f"{EXPECTED} True"


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX access rights")


@posix
@pytest.mark.parametrize("mode, used", [(0o777, False), (0o770, False), (0o755, True)])
def test_every_folder_above_must_be_safe_too(cache, tmp_path, mode, used):
    above = tmp_path / "above"
    (above / "between").mkdir(parents=True)
    cache.rename(above / "between" / "numcore")
    above.chmod(mode)
    assert run(above / "between" / "numcore") == f"{EXPECTED} {not used}"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a folder away")
def test_a_sticky_folder_is_safe_only_if_root_owns_it(tmp_path):
    shared = tmp_path / "shared"
    (shared / "numcore").mkdir(parents=True)
    shared.chmod(0o1777)
    assert _store.fault(str(shared / "numcore")) is None
    os.chown(shared, 12345, -1)
    assert "others can write to" in _store.fault(str(shared / "numcore"))


@posix
def test_a_file_that_others_can_write_to_is_not_loaded(cache):
    for file in cache.iterdir():
        file.chmod(0o666)
    assert run(cache) == f"{EXPECTED} True"


def test_a_file_under_another_name_is_not_loaded(tmp_path):
    _store.write_checked(tmp_path / "log.o", b"code of log")
    (tmp_path / "log.o").rename(tmp_path / "exp.o")
    assert _store.read_checked(tmp_path / "exp.o") is None
    (tmp_path / "exp.o").rename(tmp_path / "log.o")
    assert _store.read_checked(tmp_path / "log.o") == b"code of log"


@posix
@pytest.mark.parametrize(
    "environment",
    [{"HOME": "", "XDG_CACHE_HOME": "cache"}, {"HOME": "relative"}, {"NUMCORE_CACHE_DIR": "here"}],
)
def test_a_relative_folder_means_no_cache(environment, tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "NUMCORE_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert _store.cache_folder() is None
    assert _store.read(_store.cache_folder(), "x") is None
    _store.write(_store.cache_folder(), "x", b"payload")
    assert not list(tmp_path.iterdir())


@posix
def test_a_user_without_a_home_has_no_cache(tmp_path):
    """As in ``docker run --user``: no HOME, no entry in the password file."""
    code = """
import os, pwd
pwd.getpwuid = lambda uid: {}[uid]
from numcore import _store
print(_store.cache_folder())
"""
    bare = {k: v for k, v in os.environ.items() if k not in ("HOME", "NUMCORE_CACHE_DIR")}
    bare.pop("XDG_CACHE_HOME", None)
    out = subprocess.check_output(
        [sys.executable, "-c", f"import numcore._store{code}"], env=bare, text=True, cwd=tmp_path
    )
    assert out.strip() == "None"


@posix
def test_an_ignored_folder_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(_store, "_told", set())
    folder = tmp_path / "numcore"
    folder.mkdir()
    folder.chmod(0o777)
    for _ in range(3):
        assert _store.read(str(folder), "x") is None
    (record,) = caplog.records
    assert record.name == "numcore" and "others can write to" in record.getMessage()


def test_leftovers_of_killed_writers_are_removed_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "_swept", set())
    folder = tmp_path / "numcore"
    folder.mkdir(mode=0o700)
    old, young = folder / "exp-0.o.77.0123abcd", folder / "exp-1.o.78.0123abcd"
    for file in (old, young, folder / "exp-2.o"):
        file.write_bytes(b"half")
    for file in (old, folder / "exp-2.o"):
        os.utime(file, (0, 0))
    _store.write(str(folder), "new", b"payload")
    assert {f.name for f in folder.iterdir()} == {young.name, "exp-2.o", "new"}


def test_six_processes_start_on_one_cold_cache(tmp_path):
    code = RUN.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"NUMCORE_CACHE_DIR": str(tmp_path / "numcore")}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(6)
    ]
    for process in running:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0 and out.startswith(EXPECTED) and not errors
    names = [f.name for f in (tmp_path / "numcore").iterdir()]
    assert len(names) == 4 and all(_store.read_checked(tmp_path / "numcore" / n) for n in names)


def test_the_key_follows_the_source_of_everything_that_is_called(tmp_path):
    def keys(text):
        scope = {"np": np, "__name__": "numcore_test"}
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        exec(compile(text, str(path), "exec"), scope)
        from numcore import _source

        return _source.digest([scope["f"]])

    text = "C = 1.5\ndef g(x):\n    return x + C\ndef f(x):\n    return g(x)\ndef h(x):\n    return 1\n"  # noqa: E501
    same, changed = (
        keys(text),
        [
            keys(text.replace(*r))
            for r in (("C = 1.5", "C = 1.25"), ("x + C", "x - C"), ("return g", "return -g"))
        ],
    )
    assert same == keys(text.replace("return 1\n", "return 2\n"))
    assert len({same, *changed}) == 4


def test_the_key_follows_what_an_intrinsic_emits(tmp_path):
    from numcore import _source

    text = """
from numcore.simd import intrinsic
TABLE = {1: (2.5, 3)}
class Loop:
    def step(self):
        return TABLE
def emitting(rows):
    def emit(context, builder, signature, arguments):
        return Loop, rows
    return emit
@intrinsic(lambda x: x, emitting(4))
def twice(x):
    return 2 * x
def f(x):
    return twice(x)
"""

    def key(text):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        scope = {"__name__": "numcore.test"}
        exec(compile(text, str(path), "exec"), scope)
        return _source.digest([scope["f"]])

    changes = [("emitting(4)", "emitting(8)"), ("2.5", "2.25"), ("return TABLE", "return 0, TABLE")]
    assert key(text) == key(text + "\ndef other():\n    pass\n")
    assert len({key(text), *(key(text.replace(*change)) for change in changes)}) == 4


def test_the_key_follows_the_fields_of_a_named_tuple(monkeypatch):
    """And nothing else of it: its methods are Python's, and other versions have other ones."""
    from numcore import _source

    read, source = [], _source.source
    monkeypatch.setattr(_source, "source", lambda f: read.append(f.__name__) or source(f))

    def key(fields):
        scope = {"Pair": namedtuple("Pair", fields, module="numcore.test")}
        exec("def f(x):\n    return Pair(x[0], x[1]).low", scope)
        return _source.digest([scope["f"]])

    assert key("low high") == key("low high") != key("high low")
    assert read == ["f"] * 3


def test_the_key_follows_the_variant():
    assert len({toys.count_ones.unit(v).key for v in toys.count_ones.variants}) == 2


def test_atomic_writes_leave_nothing_behind(tmp_path):
    _store.write_checked(tmp_path / "x", b"payload")
    _store.write_checked(tmp_path / "x", b"other")
    assert [f.name for f in tmp_path.iterdir()] == ["x"] and _store.read_checked(
        tmp_path / "x"
    ) == b"other"
    with pytest.raises(OSError):
        _store.write_checked(tmp_path / "missing" / "x", b"payload")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The unit of a toy, and the folder of a wheel that holds nothing yet."""
    folder = tmp_path / "compiled"
    folder.mkdir()
    monkeypatch.setattr(_bitcode, "WHEEL_STORE", str(folder))
    return toys.halve.kernel.unit({"T": "float64"}), folder


def test_wheel_bitcode_is_used_where_llvm_is_new_enough(wheel, monkeypatch):
    unit, folder = wheel
    monkeypatch.setenv("NUMCORE_CACHE_DIR", str(folder / "empty"))
    _store.write_checked(folder / unit.file_name("bc"), _bitcode.bitcode(unit))
    for version, used in (
        ("0.1.0", True),
        (_bitcode.versions().split()[3], True),
        ("99.0.0", False),
    ):
        (folder / _bitcode.VERSIONS).write_text(f"numba 0.1 llvmlite {version}\n")
        _bitcode._wheel_fits.cache_clear()
        assert (_bitcode._stored_bitcode(unit) is not None) == used
    _bitcode._wheel_fits.cache_clear()


def fill_with_toys(folder):
    """What the build of a wheel writes for the toys that RUN calls."""
    for dtype in ("float32", "float64"):
        unit = toys.halve.kernel.unit({"T": dtype})
        code = _bitcode.compile_unit(unit)
        _store.write_checked(folder / unit.file_name("bc"), code)
        for level in _cpu.LEVELS:
            made = _native.object_code(unit.where, code, unit.entries, level)
            _store.write_checked(folder / unit.file_name(f"{level}.o"), made)
    (folder / _bitcode.VERSIONS).write_text(_bitcode.versions())


AS_INSTALLED = """
import sys
from numcore import _bitcode, _cpu
_bitcode.WHEEL_STORE = {folder!r}
{change}
{run}
print("llvmlite" in sys.modules, len(_bitcode.os.listdir({cache!r})))
"""


@pytest.mark.skipif(_cpu.level() is None, reason="wheels have no object code for this CPU")
def test_shipped_object_code_needs_neither_llvm_nor_a_cache(wheel, tmp_path):
    _, folder = wheel
    fill_with_toys(folder)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)

    def installed(change=""):
        code = AS_INSTALLED.format(
            folder=str(folder),
            change=change,
            run=RUN.format(tests=str(Path(__file__).parent)),
            cache=str(cache),
        )
        return subprocess.check_output(
            [sys.executable, "-c", code],
            text=True,
            env=os.environ | {"NUMCORE_CACHE_DIR": str(cache)},
        ).split()

    needs_llvm = str(sys.platform != "linux" or platform.machine() != "x86_64")
    assert installed() == [*EXPECTED.split(), "False", needs_llvm, "0"]
    # asked for, or for a CPU of no level: code for exactly this CPU from the wheel's bitcode
    for change in (
        "_cpu.level = lambda: None",
        "_bitcode.os.environ['NUMCORE_NATIVE'] = '1'; _bitcode._store.read = lambda *a: None",
    ):
        assert installed(change) == [*EXPECTED.split(), "False", "True", "2"]
    for file in folder.glob(f"*{_cpu.level()}.o"):
        file.write_bytes(file.read_bytes()[:-1])
    assert installed()[:2] == EXPECTED.split()  # damaged code is never loaded


def test_every_level_makes_code_for_its_vectors():
    unit = toys.halve.kernel.unit({"T": "float32"})
    code = _bitcode.bitcode(unit)
    made = {
        level: _native.object_code(unit.where, code, unit.entries, level) for level in _cpu.LEVELS
    }
    assert len(set(made.values())) == len(_cpu.LEVELS)
    assert set(_cpu.LEVELS.values()) <= {128, 256, 512}


def test_the_system_and_llvm_agree_about_this_cpu():
    import llvmlite.binding as llvm

    found = llvm.get_host_cpu_features()
    names = {"bmi1": "bmi", "abm": "lzcnt"}
    for name in sorted(set().union(*_cpu._NEEDED.values())):
        assert (name in _cpu.features()) == bool(found.get(names.get(name, name))), name
