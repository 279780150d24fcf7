"""Contracts, the checks before a raw pointer, and the bodies that are refused."""

import ctypes
import math

import numpy as np
import pytest
import toys

import numcore
from numcore import _bitcode, _native, kernel
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


A, Y = np.ones((4, 3)), np.empty(4)


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
    "made, a",
    [(toys.allocating, np.ones((2, 3))), (toys.raising, np.ones(2))],
    ids=["allocating", "raising"],
)
def test_a_body_that_allocates_or_raises_is_refused_by_name(made, a):
    for build in (
        lambda: made(a, np.empty(2)),
        lambda: _bitcode.compile_unit(made.unit({"T": "float64"})),
    ):
        with pytest.raises(ValueError, match=f"{made.name} must neither allocate nor raise"):
            build()


@pytest.mark.parametrize(
    "contract, split, words",
    [
        ("in T x[n]; T", "n", "contract must consist"),
        ("in T x[n]; out Q y[n]", "n", "type of y"),
        ("in T x[n]; out T y[n]", "m", "split"),
        ("in T x[n]; out T y[k+1]", "n", "extent of y"),
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
    assert kernel.extent("2*n*d+n+3", {"n": 5, "d": 7}) == 78


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
        assert k.cuda_source.is_file()
