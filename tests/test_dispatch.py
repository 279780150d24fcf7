"""Where arrays live decides where the work is done."""

import subprocess
import sys
import types

import numpy as np
import pytest

from numcore import dispatch
from numcore.dispatch import check_one_device, float_dtype, on_device
from numcore.testing import simulated_gpu


def test_numpy_lists_and_scalars_go_to_the_cpu():
    a = np.ones(3)
    xp, (x, y, z, s, none) = on_device(a=a, b=[1, 2], c=(1.0, 2.0), d=np.float32(3), e=None)
    assert (
        xp is np
        and x is a
        and y.dtype == int
        and z.tolist() == [1, 2]
        and s.dtype == np.float32
        and none is None
    )


def test_subclasses_become_plain_arrays():
    class Mine(np.ndarray):
        pass

    _, (x,) = on_device(x=np.ones(3).view(Mine))
    assert type(x) is np.ndarray


@pytest.mark.parametrize(
    "value",
    [
        "text",
        object(),
        {},
        np.array(["a"]).tolist(),
        b"bytes",
        np.array([None]).tolist(),
        np.ma.masked_array([1.0], [True]),
    ],
)
def test_other_things_are_type_errors_that_name_the_argument(value):
    with pytest.raises(TypeError, match="weights must"):
        on_device(x=np.ones(3), weights=value)


def test_ragged_lists_are_errors():
    with pytest.raises(ValueError):
        on_device(x=[[1.0], [1.0, 2.0]])


def test_mixed_devices_name_the_arguments():
    with simulated_gpu() as xp:
        for other in (np.ones(3), [1.0, 2.0]):
            with pytest.raises(TypeError, match="a on cpu, b on simulated GPU"):
                on_device(a=other, b=xp.ones(3))
        namespace, (b, s, none) = on_device(b=xp.ones(3), s=2.0, none=None)
        assert namespace is xp and type(s) is xp.ndarray and none is None


def test_cupy_arrays_are_recognised_by_their_type_without_an_import(monkeypatch):
    launched = []
    ndarray = type("ndarray", (), {"__module__": "cupy"})
    monkeypatch.setitem(
        sys.modules, "cupy", types.SimpleNamespace(asarray=lambda x: launched.append(x))
    )
    array = ndarray()
    assert dispatch.device_of(array) is dispatch.CUDA
    xp, arrays = on_device(x=array)
    assert xp is sys.modules["cupy"] and arrays == [array]
    with pytest.raises(TypeError, match="x on cuda, y on cpu"):
        on_device(x=array, y=np.ones(1))


def test_float_dtype():
    assert float_dtype(a=np.ones(1, "f4"), b=None, c=np.ones(1, "f4")) == np.float32
    with pytest.raises(TypeError, match="b must have dtype float32 or float64 .got int64."):
        float_dtype(a=np.ones(1), b=np.ones(1, int))
    with pytest.raises(TypeError, match="one dtype .got a float32, b float64."):
        float_dtype(a=np.ones(1, "f4"), b=np.ones(1))
    with pytest.raises(TypeError, match="a or b must be an array"):
        float_dtype(a=None, b=None)


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
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    ours, numpys = (
        min(float(run(code.format(m))[0]) for _ in range(5)) for m in ("numcore", "numpy")
    )
    assert ours <= 0.35 * numpys


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
