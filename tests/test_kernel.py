"""Contracts, the checks before a raw pointer, and the bodies that are refused."""

import ctypes
import math
import re

import numpy as np
import pytest
import toys

import numcore
from numcore import _bitcode, _contract, _native, kernel
from numcore.testing import compare_bodies


def naive_row_statistic(a, scale):
    out = []
    for row in a.astype(float):
        inner = sum(x * x for x in np.repeat(row, 2)[1:-1])
        out.append(scale * inner + math.exp(row.min()) / (1 + row.max() ** 2))
    return np.array(out)


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 1), (31, 17), (1000, 3)])
def test_a_kernel_computes_in_chunks_with_scratch(dtype, rtol, shape):
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = np.full(len(a), np.nan, dtype)
    toys.row_statistic(a, y, 2.5)
    np.testing.assert_allclose(y, naive_row_statistic(a, 2.5), rtol=rtol)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(threads):
    a = np.random.default_rng(1).standard_normal((501, 9))
    expected, y = np.empty(501), np.empty(501)
    numcore.set_num_threads(1)
    toys.row_statistic(a, expected, 1.0)
    try:
        numcore.set_num_threads(threads)
        toys.row_statistic(a, y, 1.0)
    finally:
        numcore.set_num_threads(None)
    assert (y == expected).all()


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_other_type_variables(dtype):
    words = np.random.default_rng(2).integers(
        0, np.iinfo(dtype).max, 100, dtype=dtype, endpoint=True
    )
    ones = np.empty(100, np.int64)
    toys.count_ones(words, ones)
    assert ones.tolist() == [int(w).bit_count() for w in words]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementary_functions_in_a_body(dtype):
    x = np.linspace(-3, 3, 1001, dtype=dtype)
    y = np.empty_like(x)
    toys.scaled_tanh(x, y, 1.0)
    np.testing.assert_array_equal(y, numcore.special.tanh(x))


@pytest.mark.parametrize(
    "made",
    [toys.row_statistic, toys.count_ones, toys.scaled_tanh, toys.halve.kernel],
    ids=lambda k: k.name,
)
def test_toy_bodies_agree(made):
    for variant in made.variants:
        for size in (0, 1, 33, 300):
            compare_bodies(made, variant, np.random.default_rng(3), size)


A, Y = np.ones((4, 3)), np.zeros(4)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((A, Y), TypeError, "takes 3 arguments (got 2)"),
        ((A.astype("f4"), Y, 1.0), TypeError, "y must have dtype float32 (got float64)"),
        ((A.astype("i4"), Y, 1.0), TypeError, "a must have dtype"),
        ((A.astype(">f8"), Y, 1.0), TypeError, "a must have dtype"),
        ((A.tolist(), Y, 1.0), TypeError, "a must be an array"),
        ((A, None, 1.0), TypeError, "y must be an array"),
        (
            (A.astype("i8"), Y.astype("i8"), 1.0),
            TypeError,
            "a must have dtype float32 or float64 (got int64)",
        ),
        ((A[:, ::2], Y, 1.0), ValueError, "a must be C-contiguous"),
        ((A.T.copy().T, Y, 1.0), ValueError, "a must be C-contiguous"),
        ((A, Y[:3], 1.0), ValueError, "y must have shape (n) with {'n': 4, 'd': 3} (got (3,))"),
        ((A[0], Y, 1.0), ValueError, "a must have 2 dimensions (got shape (3,))"),
        (
            (A, np.broadcast_to(np.float64(0), (4,)).copy()[:0], 1.0),
            ValueError,
            "y must have shape",
        ),
    ],
)
def test_arguments_are_checked_before_a_pointer_is_taken(arguments, error, words):
    with pytest.raises(error) as info:
        toys.row_statistic(*arguments)
    assert words in str(info.value)


def test_arrays_must_be_aligned():
    a = np.empty(A.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(A.shape)
    with pytest.raises(ValueError, match="a must be aligned to its dtype"):
        toys.row_statistic(a, Y, 1.0)


def test_outputs_must_be_writeable():
    y = np.empty(4)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="y must be writeable"):
        toys.row_statistic(A, y, 1.0)


def test_a_scalar_that_does_not_fit_is_an_error():
    words = np.empty((1, 4), np.uint32)
    with pytest.raises(OverflowError):
        numcore.random.philox_fill(words, 2**32, 0, 0, 0)


@pytest.mark.parametrize(
    "made, what",
    [
        (toys.allocating, r"allocates memory \(NRT_"),
        (toys.raising, r"raises an exception or prints \("),
        (toys.printing, r"raises an exception or prints \("),
    ],
    ids=["allocating", "raising", "printing"],
)
def test_a_body_that_allocates_or_raises_is_refused_by_name(made, what):
    a = np.ones((2, 3)[: len(made.parameters[0].extents)])
    line = made.body.__code__.co_firstlineno
    for build in (
        lambda: made(a, np.empty(2)),
        lambda: _bitcode.host_code(made.unit({"T": "float64"})),
    ):
        with pytest.raises(ValueError, match="must neither allocate nor raise, but it") as info:
            build()
        assert re.search(
            rf"{made.name} \(tests/toys.py:{line}\) must .* but it {what}", str(info.value)
        )


def test_a_body_that_numba_refuses_is_named_with_its_file_and_line():
    line = toys.misspelled.body.__code__.co_firstlineno
    with pytest.raises(ValueError) as info:
        toys.misspelled(np.ones(2), np.empty(2))
    words = str(info.value)
    assert words.startswith(f"kernel toys.misspelled (tests/toys.py:{line}): ")
    assert "name 'row_sum' is not defined" in words
    assert "<string>" not in words


def test_the_address_of_an_elementwise_body_is_a_function_of_a_scalar():
    half = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(toys.halve.kernel.address(T="float32"))
    assert half(3.0) == 1.5
    with pytest.raises(ValueError, match="variant must be one of"):
        toys.halve.kernel.address(T="int8")


# --- constants ------------------------------------------------------------------------------------

ROWS, NOTHING = 8, 1e-60


def test_constants_are_written_once():
    def body(x, y, row, start, stop):
        for i in range(start, stop):
            for j in range(ROWS):
                row[j] = x[i] + j
            y[i] = row[ROWS - 1]

    contract = "in T x[n]; out T y[n]; scratch T row[ROWS*2+1]"
    made = kernel.Kernel(
        body,
        contract,
        split="n",
        constants=("ROWS", "NOTHING"),
        shared="ROWS*itemsize",
        grain="ROWS",
    )
    assert made.constants == {"ROWS": 8, "NOTHING": 1e-60} and made.dims == ("n",)
    assert made.extent("ROWS*2+1", {"n": 3}) == 17
    x, y = np.arange(20.0), np.empty(20)
    made(x, y)
    np.testing.assert_array_equal(y, x + 7)
    other = kernel.Kernel(body, contract, split="n", constants={"ROWS": 8})
    assert made.unit({"T": "float64"}).key != other.unit({"T": "float64"}).key


def test_constants_in_the_shape_of_an_argument():
    def body(x, y, start, stop):
        for i in range(start, stop):
            y[i] = x[i, ROWS - 1]

    made = kernel.Kernel(body, "in T x[n, ROWS]; out T y[n]", split="n", constants={"ROWS": 8})
    x, y = np.random.default_rng(0).random((3, 8)), np.empty(3)
    made(x, y)
    np.testing.assert_array_equal(y, x[:, 7])
    with pytest.raises(ValueError, match="x must have shape"):
        made(x[:, :7].copy(), y)


def test_the_cuda_body_gets_the_constants_of_all_kernels_of_its_file():
    from numcore.gpu import runtime

    options = runtime.options(toys.count_ones, {"I": "uint32"})
    assert "-DREPEATS=(2)" in options and "-DI=u32" in options


@pytest.mark.parametrize(
    "constants, words",
    [
        ({"ROWS": 9}, "constant ROWS of kernel body must be what its body reads, 8 (got 9)"),
        ({"SIZE": "8"}, "must be named integers or floats (got SIZE='8')"),
        (("SIZE",), "must be names of its module (got SIZE)"),
        ({"x": 8}, "constant x of kernel body is also an argument"),
        ({"NOTHING": 1e-60}, "extent of row must be made of n and integers (got 'ROWS')"),
    ],
)
def test_constants_are_checked(constants, words):
    def body(x, row, start, stop):
        pass

    with pytest.raises(ValueError) as info:
        kernel.Kernel(body, "inout T x[n]; scratch T row[ROWS]", split="n", constants=constants)
    assert words in str(info.value)


def test_kernels_of_one_file_agree_about_constants(monkeypatch):
    monkeypatch.setattr(kernel, "_kernels", dict(kernel._kernels))

    def body(x, start, stop):
        pass

    body.__module__ = "toys"
    with pytest.raises(ValueError) as info:
        kernel.kernel("inout T x[n]", split="n", constants={"REPEATS": 3})(body)
    assert "constant REPEATS must be the same for the kernels of one CUDA file" in str(info.value)
    assert "row_statistic (tests/toys.py:" in str(info.value)


# --- kernels without a CUDA body ------------------------------------------------------------------


def test_a_kernel_without_a_cuda_body_says_why():
    from numcore.testing import simulated_gpu

    def body(x, start, stop):
        for i in range(start, stop):
            x[i] += 1

    made = kernel.Kernel(body, "inout T x[n]", split="n", gpu=None, host_only="names are text")
    assert made.cuda_source is None
    with (
        simulated_gpu() as xp,
        pytest.raises(TypeError, match="body runs on the CPU only: names are text"),
    ):
        made(xp.ones(3))
    for options in ({"gpu": None}, {"host_only": "why"}):
        with pytest.raises(ValueError, match="host_only must say why"):
            kernel.Kernel(body, "inout T x[n]", split="n", **options)


@pytest.mark.parametrize(
    "contract, split, words",
    [
        ("in T x[n]; T", "n", "contract must consist"),
        ("in T x[n]; out Q y[n]", "n", "type of y"),
        ("in T x[n]; out T y[n]", "m", "split"),
        ("in T x[n]; out T y[k+1]", "n", "extent of y"),
        *(
            (
                f"in T x[n]; out T y[{e}]",
                "n",
                f"extent of y must be made of n and integers (got '{e}'",
            )
            for e in ("(n+1", "n+", "2(n)", "n**2", "n*(+1)", "")
        ),
        ("in T x[n]; out T z[n]", "n", "must have the parameters x, z, start, stop"),
    ],
)
def test_contracts_are_checked_when_a_kernel_is_defined(contract, split, words):
    def body(x, y, start, stop):
        pass

    with pytest.raises(ValueError, match=None) as info:
        kernel.kernel(contract, split=split)(body)
    assert words in str(info.value)


def test_extents():
    assert _contract.extent("2*n*d+n+3", {"n": 5, "d": 7}) == 78
    assert _contract.extent("(n+1)*(2*d+(n+3))", {"n": 5, "d": 7}) == 132


def test_the_address_of_a_body_is_a_c_function():
    function = ctypes.CFUNCTYPE(
        None, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_void_p, *[ctypes.c_int64] * 4
    )(toys.row_statistic.address(T="float64"))
    a, y, scratch = np.random.default_rng(0).random((3, 5)), np.empty(3), np.empty(10)
    function(a.ctypes.data, y.ctypes.data, 1.0, scratch.ctypes.data, 3, 5, 0, 3)
    np.testing.assert_allclose(y, naive_row_statistic(a, 1.0))
    with pytest.raises(ValueError, match="variant must be one of"):
        toys.row_statistic.address(T="int8")


def test_both_loaders_give_the_same_function():
    unit = toys.halve.kernel.unit({"T": "float32"})
    code = _native.object_code(unit.name, _bitcode.bitcode(unit), unit.entries)
    for load in (_native.load, _native.load_with_llvm):
        half = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(
            load(code, unit.entries)["numcore_halve"]
        )
        assert half(3.0) == 1.5


def test_bitcode_is_portable():
    unit = toys.row_statistic.unit({"T": "float32"})
    import llvmlite.binding as llvm

    text = str(llvm.parse_bitcode(_bitcode.compile_unit(unit)))
    assert "x float>" not in text  # no vectors of this machine's width
    assert "target-cpu" not in text and "target-features" not in text


@pytest.mark.parametrize(
    "module, path",
    [
        ("numcore.random", "random.cu"),
        ("numcore.nn._lstm", "nn/lstm.cu"),
        ("numcore.nn._attention.kernels", "nn/attention/kernels.cu"),
        ("numcore.nn._attention._backward", "nn/attention/backward.cu"),
    ],
)
def test_cuda_bodies_mirror_the_modules(module, path):
    def body(x, start, stop):
        pass

    body.__module__ = module
    made = kernel.Kernel(body, "out T x[n]", split="n")
    assert made.cuda_source.as_posix().endswith("/gpu/" + path)


def test_registries_name_every_kernel_and_routine():
    kernels, routines = numcore.kernels(), numcore.routines()
    assert {"philox_fill", "exp"} <= {k.name for k in kernels}
    assert {("special", "exp"), ("random", "uniform")} <= {(r.room, r.name) for r in routines}
    for k in kernels:
        assert k.host_only or k.cuda_source.is_file()
