"""Nonlinearities: known answers, 40-digit references, torch, limits, bad input, memory, vectorized
code.

``pytest -m slow tests/nn/test_activation.py`` fits the coefficients of GELU again.
"""

import re
import runpy
import tracemalloc
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import numcore
from numcore import _bitcode, _native
from numcore.examples.nn import activation as naive
from numcore.nn import _activation, activation, activation_vjp
from numcore.nn._network import kernels as network
from numcore.testing import check_vjp, simulated_gpu

KINDS = ("relu", "tanh", "gelu", "silu", "sigmoid", "sin", "softplus")
ALL = (*KINDS, "gelu_tanh")
# Of s, s', s'', s''': a few roundings each, and products with x up to 8.
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}


def options(kind):
    return {"kind": "gelu", "approximate": "tanh"} if kind == "gelu_tanh" else {"kind": kind}


def points(dtype):
    return np.array(
        [-30, -8, -3.3, -1.5, -0.7, -0.1, -1e-5, 1e-5, 0.3, 0.69, 0.71, 1, 2.5, 5, 8, 30], dtype
    )


@pytest.mark.parametrize("kind, value", [("gelu", 0.8413447461), ("silu", 0.7310585786)])
def test_known_answers(kind, value):
    assert activation(np.ones(1), kind=kind)[0].item() == pytest.approx(
        value, abs=5e-11
    )  # ten digits are known
    assert activation(np.ones(1, "f4"), kind=kind)[0].item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ALL)
def test_value_and_slope(kind, dtype):
    x = points(dtype)
    want = np.array([naive.derivatives(kind, v, 1) for v in x])
    y, cache = activation(x, **options(kind))
    assert (np.abs(y - want[:, 0]) <= 3 * np.finfo(dtype).eps * np.maximum(np.abs(x), 1)).all()
    assert (np.abs(activation_vjp(np.ones_like(x), cache) - want[:, 1]) <= TOLERANCE[dtype]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_three_derivatives(kind, dtype):
    x = points(dtype)
    want = np.array([naive.derivatives(kind, v, 3) for v in x]).T
    u, y, higher = x.copy(), np.empty((1, x.size), dtype), np.empty((2, x.size), dtype)
    network.FORWARD[kind](u, np.empty((0, x.size), dtype), np.zeros(1, dtype), y, higher)
    for got, exact in zip((u, *higher), want[1:], strict=True):
        assert (np.abs(got - exact) <= TOLERANCE[dtype]).all()


def test_lower_tail_of_gelu_keeps_its_digits_in_float32():
    x = np.linspace(-12, -1, 500, dtype="f4")
    want = np.array([naive.derivatives("gelu", v, 0)[0] for v in x])
    error = np.abs(activation(x, kind="gelu")[0] / want - 1)
    assert (error <= (x**2 + 4) * np.finfo("f4").eps).all()  # x^2 / 2 in the exponent is rounded


@pytest.mark.parametrize("kind", ALL)
def test_documented_error_of_float32_on_many_numbers(kind):
    x = np.random.default_rng(6).uniform(-15, 15, 200_000).astype("f4")
    exact = activation(x.astype("f8"), **options(kind))[0]
    assert (
        np.abs(activation(x, **options(kind))[0] - exact)
        <= 3 * np.finfo("f4").eps * np.maximum(np.abs(x), 1)
    ).all()


@pytest.mark.slow
@pytest.mark.parametrize("fit, prefix", [("mills_float32", "M"), ("bell_float32", "B")])
def test_coefficients_are_those_of_the_fit(fit, prefix):
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "derivations" / "minimax.py"))
    for i, c in enumerate(script["fit"](*script["FITS"][fit])[0]):
        assert float(getattr(_activation, f"{prefix}{i}")) == float(c)


def test_tanh_in_layers_is_within_three_units_in_the_last_place():
    rng = np.random.default_rng(7)
    x = np.concatenate(
        [
            rng.uniform(-12, 12, 100_000),
            np.exp2(rng.uniform(-100, 0, 100_000)) * rng.choice([-1, 1], 100_000),
        ]
    ).astype("f4")
    y, none = np.empty((1, x.size), "f4"), np.empty((0, x.size), "f4")
    network.FORWARD["tanh"](x.copy(), none, np.zeros(1, "f4"), y, none)
    exact = np.tanh(x.astype("f8"))
    assert (np.abs(y[0] - exact) <= 3 * np.spacing(np.abs(exact).astype("f4"))).all() and np.abs(
        y
    ).max() <= 1


def test_approximation_of_gelu_is_close_to_it():
    x = np.linspace(-6, 6, 4001)
    difference = np.abs(
        activation(x, kind="gelu", approximate="tanh")[0] - activation(x, kind="gelu")[0]
    ).max()
    assert 4e-4 < difference < 5e-4


@pytest.mark.parametrize("kind", ALL)
def test_against_torch(kind):
    torch = pytest.importorskip("torch")
    functions = torch.nn.functional
    theirs = {
        "relu": functions.relu,
        "tanh": torch.tanh,
        "gelu": functions.gelu,
        "silu": functions.silu,
        "sigmoid": torch.sigmoid,
        "sin": torch.sin,
        "softplus": functions.softplus,
        "gelu_tanh": lambda x: functions.gelu(x, approximate="tanh"),
    }[kind]
    rng = np.random.default_rng(0)
    x, g = 3 * rng.standard_normal((50, 31)), rng.standard_normal((50, 31))
    y, cache = activation(x, **options(kind))
    on_torch = torch.from_numpy(x).requires_grad_()
    expected = theirs(on_torch)
    expected.backward(torch.from_numpy(g))
    tolerance = 3e-9 if kind == "softplus" else 1e-10  # torch's softplus is x itself above 20
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        activation_vjp(g, cache), on_torch.grad.numpy(), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("shape", [(0,), (1,), (7, 3), (2, 0, 3)])
def test_gradient_by_differences(kind, shape):
    x = np.random.default_rng(1).standard_normal(shape)
    x += np.sign(x) * 0.01  # away from the kink of relu
    assert check_vjp(lambda x: activation(x, **options(kind)), activation_vjp, (x,), rng=2) < 1e-7
    assert (
        check_vjp(
            lambda x: activation(x[..., ::-1], **options(kind)),
            lambda g, c: activation_vjp(g, c)[..., ::-1],
            (x,),
            rng=2,
        )
        < 1e-7
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ALL)
def test_limits(kind, dtype):
    huge = np.finfo(dtype).max
    x = np.array([-np.inf, -huge, huge, np.inf, np.nan], dtype)
    y, cache = activation(x, **options(kind))
    slope = activation_vjp(np.ones_like(x), cache)
    assert np.isnan(y[-1])
    low, high, flat = {"tanh": (-1, 1, 0), "sigmoid": (0, 1, 0)}.get(kind, (0, None, 1))
    if kind != "sin":
        assert y[:2].tolist() == [low, low] and y[2:4].tolist() == [
            huge if high is None else high,
            np.inf if high is None else high,
        ]
        assert np.abs(slope[:2]).max() < 1e-30 and slope[2:4].tolist() == [flat, flat]
    else:
        assert np.isnan(y[[0, 3]]).all() and (np.abs(y[1:3]) <= 1).all()


def test_relu_at_zero():
    y, cache = activation(np.array([-0.0, 0.0]))
    assert y.tolist() == [0, 0] and activation_vjp(np.ones(2), cache).tolist() == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_zero_dimensional_and_scalar(kind):
    y, cache = activation(np.array(0.5), kind=kind)
    assert type(y) is np.ndarray and y.shape == ()
    assert activation_vjp(np.array(2.0), cache).shape == ()
    assert activation(0.5, kind=kind)[0] == y


@pytest.mark.parametrize("kind", ALL)
def test_simulated_gpu(kind):
    x = np.random.default_rng(3).standard_normal((5, 9)).astype("f4")
    y, cache = activation(x, **options(kind))
    with simulated_gpu(checked=True) as xp:
        there, cache_there = activation(xp.asarray(x), **options(kind))
        slope = activation_vjp(xp.asarray(x[::-1].copy()), cache_there)
        np.testing.assert_allclose(there.get(), y, rtol=0, atol=1e-6)
        np.testing.assert_allclose(slope.get(), activation_vjp(x[::-1], cache), rtol=0, atol=2e-6)
        with pytest.raises(TypeError, match="one device"):
            activation_vjp(x, cache_there)


def test_results_do_not_depend_on_threads():
    x = np.random.default_rng(4).standard_normal(100_003).astype("f4")
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            y, cache = activation(x, kind="gelu")
            results.append((y, activation_vjp(x[::-1], cache)))
    finally:
        numcore.set_num_threads(None)
    for y, grad in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(grad, results[0][1])


def test_cache_is_pure_and_holds_no_copy():
    x = np.random.default_rng(5).standard_normal(1 << 18)
    before = x.copy()
    for kind in ALL:
        activation(x, **options(kind))
        tracemalloc.start()
        y, cache = activation(x, **options(kind))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert cache.x is x and most < x.nbytes + 50_000  # the output, and small objects
        first, second = activation_vjp(x, cache), activation_vjp(x, cache)
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda x: activation(x, kind="tanh", approximate="tanh"),
            ValueError,
            'approximate must be "none" for kind="tanh" (got "tanh")',
        ),
        (
            lambda x: activation_vjp(x[:2], activation(x)[1]),
            ValueError,
            "grad_y must have shape (3,) like cache.x (got (2,))",
        ),
        (
            lambda x: activation_vjp(x.astype("f4"), activation(x)[1]),
            TypeError,
            "grad_y must have dtype float64 like cache.x",
        ),
        (lambda x: activation_vjp(x, (x, "relu")), TypeError, "cache must be an ActivationCache"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as info:
        call(np.ones(3))
    assert words in str(info.value)


# --- compiled code --------------------------------------------------------------------------------

KERNELS = [
    *_activation.FORWARD.values(),
    *_activation.BACKWARD.values(),
    *network.FORWARD.values(),
    network.mlp_layer_vjp,
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_loops_are_vectorized(kernel, dtype):
    """Packed arithmetic, and no call of a function that works on one number; an angle in float64
    may need the exact reduction."""
    features = llvm.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        pytest.skip("the CPU has no AVX2")
    unit = kernel.unit({"T": dtype})
    assembly = _native.assembly(unit.name, _bitcode.bitcode(unit), unit.entries)
    called = set(re.findall(r"(?:call|jmp|movabs)q?\s+\$?(\w+)", assembly))
    assert not called & {
        "expf",
        "exp",
        "tanhf",
        "tanh",
        "erff",
        "erf",
        "fmaf",
        "fma",
        "sinf",
        "sin",
        "cosf",
        "cos",
    }
    if dtype == "float32" or not kernel.name.endswith("_sin"):
        packed, single = arithmetic(assembly, "p", "%[yz]mm"), arithmetic(assembly, "s", "%xmm")
        assert packed and single <= packed


def arithmetic(assembly, kind, registers):
    """Which operations there are, however often: a CPU's tuning may unroll the loop over what is
    left, which works on one number."""
    found = re.findall(
        rf"^\s+v(mul|add|sub|max|cmp|fn?m[a-z]+)\w*{kind}[sd]\s.*{registers}",
        assembly,
        re.MULTILINE,
    )
    return set(found)
