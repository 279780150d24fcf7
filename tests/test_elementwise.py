"""Elementwise routines: ufunc behaviour, devices, out=, rare arguments, compiled code, C
addresses."""

import warnings

import numpy as np
import pytest
import toys

import numcore
from numcore.testing import simulated_gpu


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (16384,), (16385,), (3, 50021), (2, 0, 3)])
def test_any_shape(dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = toys.halve(x)
    assert y.dtype == dtype and y.shape == shape and type(y) is np.ndarray
    assert (y == x / 2).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::3],
        lambda x: x[::-1],
        lambda x: x.reshape(20, -1).T,
        lambda x: x.reshape(20, -1)[:, 5:],
        lambda x: x.reshape(10, 2, -1)[:, ::-1, ::7],
        lambda x: np.broadcast_to(x[:1], (5, 4)),
        lambda x: np.asfortranarray(x.reshape(20, -1)),
    ],
)
def test_any_strides(dtype, view):
    x = view(np.arange(200_000, dtype=dtype))
    assert (toys.halve(x) == x / 2).all()
    out = np.empty_like(x)
    assert toys.halve(x, out=out) is out
    assert (out == x / 2).all()


def test_scalars_lists_and_zero_dimensional_arrays(dtype):
    assert toys.halve(3.0) == 1.5 and isinstance(toys.halve(3.0), np.float64)
    assert isinstance(toys.halve(dtype.type(3)), dtype.type)
    zero_d = toys.halve(np.array(3, dtype))
    assert type(zero_d) is np.ndarray and zero_d.shape == () and zero_d.dtype == dtype
    assert toys.halve([1.0, 2.0]).tolist() == [0.5, 1.0]


def test_other_byte_order(dtype):
    x = np.arange(5, dtype=dtype.newbyteorder())
    assert (toys.halve(x) == np.arange(5) / 2).all() and toys.halve(x).dtype == dtype


def test_in_place(dtype):
    for n in (5, 100_000):
        x = np.arange(n, dtype=dtype)
        assert toys.halve(x, out=x) is x
        assert (x == np.arange(n) / 2).all()
        x = np.arange(n, dtype=dtype)
        toys.halve(x[::-1], out=x[::-1])
        assert (x == np.arange(n) / 2).all()


@pytest.mark.parametrize(
    "x, out, error, words",
    [
        (np.arange(3), None, TypeError, "x must have dtype float32 or float64 (got int64)"),
        (np.ones(3, "f2"), None, TypeError, "x must have dtype float32 or float64 (got float16)"),
        (np.ones(3, bool), None, TypeError, "x must have dtype"),
        (np.ones(3, complex), None, TypeError, "x must have dtype"),
        ("text", None, TypeError, "x must be an array"),
        (None, None, TypeError, "x must be an array"),
        (3, None, TypeError, "x must have dtype"),
        (np.array(["a"]), None, TypeError, "x must have dtype"),
        (np.ones(3), np.ones(4), ValueError, "out must have the shape of x, (3,) (got (4,))"),
        (
            np.ones(3),
            np.ones(3, "f4"),
            TypeError,
            "out must have the dtype of x, float64 (got float32)",
        ),
        (np.ones(3), [0.0] * 3, TypeError, "out must be a ndarray"),
    ],
)
def test_errors(x, out, error, words):
    with pytest.raises(error) as info:
        toys.halve(x, out=out)
    assert words in str(info.value)


def test_partial_overlap_is_an_error(dtype):
    x = np.arange(100, dtype=dtype)
    for a, b in ((x[:-1], x[1:]), (x[::2], x[:50]), (x, x[::-1])):
        with pytest.raises(ValueError, match="out must be x itself or share no memory"):
            toys.halve(a, out=b)
    interleaved = toys.halve(x[::2], out=x[1::2])
    assert (interleaved == np.arange(0, 100, 2) / 2).all()


def test_read_only_out_is_an_error():
    out = np.empty(3)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        toys.halve(np.ones(3), out=out)


@pytest.mark.parametrize("n", [1, 511, 512, 513, 5000, 100_000])
def test_rare_arguments_take_the_slow_body(dtype, n):
    x = (200 * np.random.default_rng(n).standard_normal(n)).astype(dtype)
    expected = np.where(np.abs(x) > 100, np.sqrt(np.abs(x)), 2 * x)
    assert (toys.double_or_root(x) == expected).all()
    assert (toys.double_or_root(x[::-1]) == expected[::-1]).all()
    few = x / 1000
    few[n // 2] = 10_000
    assert (toys.double_or_root(few) == np.where(np.abs(few) > 100, 100, 2 * few)).all()
    toys.double_or_root(x, out=x)
    assert (x == expected).all()


def test_scaling_by_powers_of_two(dtype):
    x = np.array([0.5, 0.75, 1.5, -2], dtype)
    assert (toys.eightfold(x) == 8 * x).all()


def test_no_floating_point_flag_leaks():
    x = np.array([np.nan, np.inf, -np.inf, 1e38, 0], "f4")
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for f in (
            numcore.special.exp,
            numcore.special.log,
            numcore.special.tanh,
            numcore.special.sin,
        ):
            f(x), f(np.repeat(x, 9)), f(np.repeat(x, 9)[::2]), f(x.astype("f8"))


def test_simulated_gpu(dtype):
    x = np.random.default_rng(0).standard_normal((3, 7)).astype(dtype)
    with simulated_gpu(checked=True) as xp:
        on_gpu = xp.asarray(x)
        y = toys.halve(on_gpu)
        assert type(y) is xp.ndarray and (y.get() == x / 2).all()
        assert (toys.halve(on_gpu[::2, ::-1]).get() == x[::2, ::-1] / 2).all()
        out = xp.empty((3, 7), dtype)
        assert toys.halve(on_gpu, out=out) is out and (out.get() == x / 2).all()
        assert toys.halve(on_gpu, out=on_gpu) is on_gpu and (on_gpu.get() == x / 2).all()
        assert toys.halve(xp.asarray(dtype.type(4))).shape == ()
        with pytest.raises(TypeError, match="out must be a SimulatedArray"):
            toys.halve(on_gpu, out=np.empty((3, 7), dtype))


def test_compiled_code_calls_elementwise_routines(dtype):
    import numba

    @numba.njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = toys.double_or_root(toys.halve(x[i]))

    x = (300 * np.random.default_rng(0).standard_normal(100)).astype(dtype)
    out = np.empty_like(x)
    loop(x, out)
    assert (out == toys.double_or_root(toys.halve(x))).all()


def test_compiled_code_finds_rooms_by_attribute():
    import numba

    @numba.njit
    def f(x):
        return numcore.special.exp(x)

    assert f(0.0) == 1.0 and f(np.float32(0)) == 1.0


def test_compiled_code_refuses_integers():
    import numba

    @numba.njit
    def f(x):
        return toys.halve(x)

    with pytest.raises(numba.TypingError):
        f(1)


def test_low_level_callable():
    scipy = pytest.importorskip("scipy", reason="SciPy is not installed")
    from scipy import LowLevelCallable, integrate

    f = numcore.c_function(numcore.special.exp, np.float64)
    integral, error = integrate.quad(LowLevelCallable(f), 0, 1)
    assert abs(integral - (np.e - 1)) < 1e-14 and scipy
    with pytest.raises(TypeError, match="routine must be an elementwise routine"):
        numcore.c_function(np.exp, np.float64)
    with pytest.raises(TypeError, match="dtype must be one of float32, float64"):
        numcore.c_function(numcore.special.exp, np.int32)
