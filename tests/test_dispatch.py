"""Where arrays live decides where the work is done."""

import subprocess
import sys
import types

import numpy as np
import pytest

from numcore import dispatch
from numcore.arguments import Array, Float, checked
from numcore.dispatch import check_one_device, namespace_of
from numcore.testing import simulated_gpu


@checked
def pair(x: Float[Array, "..."], y: Float[Array, "..."] | None = None):
    return x, y


def test_subclasses_become_plain_arrays():
    class Mine(np.ndarray):
        pass

    assert type(pair(np.ones(3).view(Mine))[0]) is np.ndarray


def test_cupy_arrays_are_recognised_by_their_type_without_an_import(monkeypatch):
    launched = []
    ndarray = type("ndarray", (), {"__module__": "cupy"})
    monkeypatch.setitem(
        sys.modules, "cupy", types.SimpleNamespace(asarray=lambda x: launched.append(x))
    )
    ndarray.flags = types.SimpleNamespace(aligned=True)
    ndarray.dtype, ndarray.shape = np.dtype("f4"), (2,)
    array = ndarray()
    assert dispatch.device_of(array) is dispatch.CUDA
    assert namespace_of(array) is sys.modules["cupy"] and pair(array)[0] is array
    with pytest.raises(TypeError, match="x on cuda, y on cpu"):
        pair(array, np.ones(1, "f4"))
    assert not launched


class FakeCupy:
    """Records what the launcher asks of CuPy."""

    def __init__(self):
        self.modules, self.launches, fake = [], [], self

        class RawModule:
            def __init__(self, code, options, backend):
                fake.modules.append((code, options, backend))

            def get_function(self, name):
                function = lambda grid, block, args, shared_mem: fake.launches.append(  # noqa: E731
                    (name, grid, block, args, shared_mem)
                )
                fake.function = types.SimpleNamespace()
                return function

        class Device:
            def __init__(self, number):
                self.number = number

            def __enter__(self):
                fake.device = self.number

            def __exit__(self, *_):
                pass

        self.RawModule, self.cuda = RawModule, types.SimpleNamespace(Device=Device)


class FakeArray:
    def __init__(self, shape, device=0):
        self.shape, self.device = shape, types.SimpleNamespace(id=device)


@pytest.fixture
def cupy(monkeypatch):
    from numcore.gpu import runtime

    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    runtime._module.cache_clear()
    yield fake
    runtime._module.cache_clear()


def test_launch_through_cupy(cupy):
    import toys
    from numcore.gpu import runtime

    made, arrays = toys.row_statistic, (FakeArray((1000, 7), 1), FakeArray((1000,), 1))
    for _ in range(2):
        runtime.launch(made, {"T": "float32"}, (*arrays, 2.5), {"n": 1000, "d": 7})
    ((code, options, backend),) = cupy.modules  # compiled once
    assert "numcore_row_statistic" in code and "thread_index()" in code and "#include" not in code
    assert backend == "nvrtc" and "-DREAL=float" in options and "--fmad=false" in options
    name, grid, block, args, shared = cupy.launches[1]
    assert (name, grid, block, shared, cupy.device) == ("numcore_row_statistic", (4,), (256,), 0, 1)
    assert args[:2] == arrays and [(type(a), a) for a in args[2:]] == [
        (np.float32, 2.5),
        (np.int64, 1000),
        (np.int64, 7),
    ]


def test_nothing_is_launched_for_nothing_and_devices_must_agree(cupy):
    import toys
    from numcore.gpu import runtime

    runtime.launch(
        toys.row_statistic,
        {"T": "float32"},
        (FakeArray((0, 7)), FakeArray((0,)), 1.0),
        {"n": 0, "d": 7},
    )
    assert not cupy.launches
    with pytest.raises(ValueError, match="one GPU .got a on 0, y on 1."):
        runtime.launch(
            toys.row_statistic,
            {"T": "float32"},
            (FakeArray((1, 7), 0), FakeArray((1,), 1), 1.0),
            {"n": 1, "d": 7},
        )


@pytest.mark.parametrize(
    "gpu, items, blocks",
    [
        ("thread", 1, 1),
        ("thread", 256, 1),
        ("thread", 257, 2),
        ("thread", 10**9, 4096),
        ("warp", 8, 1),
        ("warp", 9, 2),
        ("block", 5, 5),
        ("block", 2**40, 2**31 - 1),
    ],
)
def test_geometry(gpu, items, blocks):
    from numcore.gpu import runtime

    from numcore.kernel import Kernel

    def body(x, start, stop):
        pass

    made = Kernel(body, "inout T x[n]", split="n", gpu=gpu, shared="4*itemsize+16")
    assert runtime.geometry(made, {"T": "float64"}, {"n": items}) == (blocks, 256, 48)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_pulls_in_nothing_heavy():
    heavy = (
        "print(*(m for m in ('numba', 'llvmlite', 'cupy', 'scipy', 'numpy') if m in sys.modules))"
    )
    assert run(f"import sys, numcore; {heavy}") == []
    assert run(f"import sys, numcore.random, numcore.special, numcore.gpu.runtime; {heavy}") == [
        "numpy"
    ]


def test_import_numcore_costs_little_beside_numpy():
    """In modules that are run, which no busy machine changes; asv watches the time."""
    code = "import sys; before = len(sys.modules); import {}; print(len(sys.modules) - before)"
    ours, numpys = (int(run(code.format(m))[0]) for m in ("numcore", "numpy"))
    assert ours <= 0.1 * numpys


def test_unknown_attributes():
    import numcore

    with pytest.raises(AttributeError, match="module 'numcore' has no attribute 'nope'"):
        numcore.nope  # noqa: B018
    assert set(numcore.__all__) <= set(dir(numcore))
    for name in numcore.__all__:
        getattr(numcore, name)


def test_arrays_of_one_device():
    check_one_device(a=np.ones(1), b=None, c=np.ones(2))
    with simulated_gpu() as xp, pytest.raises(TypeError, match="one device .got a on cpu, b on "):
        check_one_device(a=np.ones(1), b=xp.ones(1))
