"""The elementary functions against mpmath, long double and the identities that they keep
exactly."""

import math
import re
import runpy
import warnings
from pathlib import Path

import llvmlite.binding as llvm
import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given, strategies as st

from numcore import special
from numcore._numba import jittable
from numcore.examples.special.elementary import LIMITS, error_in_ulp, exact
from numcore.special import _certify, _elementary_float32, _elementary_float64, max_ulp_error

NAMES = sorted(LIMITS)
DTYPES = (np.float32, np.float64)
ODD = ("expm1", "sin", "tanh", "erf", "log1p")  # odd, or like x at zero


def call(name, x):
    return getattr(special, name)(x)


def bound(name, dtype):
    return max_ulp_error(name, dtype).max_ulp


# --- known answers --------------------------------------------------------------------------------


def test_exp_float32_known_answers():
    x = np.array([0, -0.0, 89, 88.7228, -87.4, -100, -103.9, -104], np.float32)
    want = np.array(
        [1, 1, np.inf, 3.4026947e38, 1.1032187e-38, 3.7835059e-44, 1.4012985e-45, 0], np.float32
    )
    np.testing.assert_array_equal(special.exp(x), want)


def test_exp_float64_known_answers():
    x = np.array([-740, -745.1, -746, 709.78, 710])
    np.testing.assert_allclose(
        special.exp(x), [4.19955799e-322, 4.94065646e-324, 0, 1.79282279e308, np.inf], rtol=1e-8
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_and_signed_zeros(name, dtype):
    y = call(name, np.array([-np.inf, -0.0, 0.0, np.inf], dtype))
    want = np.array(LIMITS[name], dtype)
    np.testing.assert_allclose(y, want, rtol=np.finfo(dtype).eps)
    assert y.dtype == dtype
    numbers = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(y[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_gives_nan_and_nothing_warns(name, dtype):
    info = np.finfo(dtype)
    x = np.array(
        [
            np.nan,
            -np.nan,
            np.inf,
            -np.inf,
            info.max,
            -info.max,
            info.smallest_subnormal,
            -1,
            0,
            100,
            -100,
        ]
        * 9,
        dtype,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = call(name, x)
    assert np.isnan(y[:2]).all()


@pytest.mark.parametrize("name", ["log", "log2", "log1p"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_outside_their_domain(name, dtype):
    edge = dtype(-1 if name == "log1p" else 0)
    below = np.array([np.nextafter(edge, dtype(-np.inf)), -2, -1e30, -np.inf], dtype)
    assert np.isnan(call(name, below)).all()
    assert call(name, np.array([edge]))[0] == -np.inf


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_arguments_come_back(name, dtype):
    info = np.finfo(dtype)
    x = info.smallest_subnormal * np.array([1, 2, 3, 1001], dtype)
    scale = 2 / math.sqrt(math.pi) if name == "erf" else 1
    np.testing.assert_array_equal(
        call(name, x),
        np.round(x / info.smallest_subnormal * scale).astype(dtype) * info.smallest_subnormal,
    )


# --- contracts ------------------------------------------------------------------------------------


def stratified_float32(count, seed=0):
    """Every sign and exponent with extreme mantissas, then random bit patterns."""
    exponents = np.arange(512, dtype=np.uint32) << np.uint32(23)
    extremes = exponents[:, None] | np.array(
        [0, 1, 2, 2**22 - 1, 2**22, 2**22 + 1, 2**23 - 2, 2**23 - 1], np.uint32
    )
    random = np.random.default_rng(seed).integers(0, 2**32, count - extremes.size, dtype=np.uint32)
    return np.concatenate([extremes.reshape(-1), random]).view(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_float32_contract_on_a_sample(name):
    x = stratified_float32(2**20)
    with np.errstate(all="ignore"):
        t = _certify.references()[name](x.astype(np.float64))
        errors = _certify.ulp_error(call(name, x), t)
    assert errors.max() <= bound(name, "float32") + 1e-6, x[errors.argmax()]


@pytest.mark.parametrize("name", NAMES)
def test_float32_worst_input_has_its_error(name):
    contract = max_ulp_error(name, "float32")
    assert (
        contract.exhaustive
        and contract.inputs_checked == 2**32
        and contract.domain == (-np.inf, np.inf)
    )
    y = call(name, np.array([contract.worst_input], np.float32))
    assert error_in_ulp(y[0], exact(name, contract.worst_input)) == pytest.approx(
        contract.max_ulp, abs=1e-6
    )


def interesting_float64(name, rng, count):
    x = np.concatenate([
        rng.uniform(-1, 1, count),
        rng.uniform(-12, 12, count),
        rng.uniform(-760, 720, count),
        np.exp2(rng.uniform(-1074, 1024, count)) * rng.choice([-1, 1], count),
        1 + rng.uniform(-0.4, 0.5, count),
    ])  # fmt: skip
    return np.abs(x) if name in ("log", "log2") else x[x > -1] if name == "log1p" else x


@pytest.mark.parametrize("name", NAMES)
def test_float64_against_mpmath(name):
    x = interesting_float64(name, np.random.default_rng(3), 500)
    y = call(name, x)
    errors = [error_in_ulp(v, exact(name, u)) for u, v in zip(x, y, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound(name, "float64") + 0.1, x[worst]  # the table is a sample too


@pytest.mark.parametrize("name", NAMES)
def test_float64_worst_input_has_its_error(name):
    contract = max_ulp_error(name, "float64")
    assert not contract.exhaustive and contract.inputs_checked >= 2**18
    y = call(name, np.array([contract.worst_input]))
    assert error_in_ulp(y[0], exact(name, contract.worst_input)) == pytest.approx(
        contract.max_ulp, abs=2e-3
    )


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n != "erf"]
)  # long double has no erf: it is compared with mpmath above
def test_float64_at_every_exponent(name):
    contract = _certify.certify_float64(
        getattr(special, name), _certify.references()[name], n_samples=2**16, rng=9
    )
    assert contract.max_ulp <= bound(name, "float64") + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_the_contract(name):
    stated = re.findall(r"(\d\.\d{3})\s+ULP", getattr(special, name).__doc__)
    assert stated == [f"{math.ceil(1000 * bound(name, dtype)) / 1000:.3f}" for dtype in DTYPES]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float32_contract_over_all_inputs(name):
    contract = _certify.certify(
        getattr(special, name), _certify.references()[name], chunk=_certify.CACHED
    )
    assert contract.max_ulp == pytest.approx(bound(name, "float32"), abs=1e-9)


# --- identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_are_exact(dtype):
    info = np.finfo(dtype)
    n = np.arange(info.minexp - info.nmant, info.maxexp)
    powers = np.ldexp(dtype(1), n)
    np.testing.assert_array_equal(special.exp2(n.astype(dtype)), powers)
    np.testing.assert_array_equal(special.log2(powers), n)


@pytest.mark.parametrize("name", ["sin", "tanh", "erf"])
def test_odd_functions_are_odd_bit_by_bit(name):
    x = stratified_float32(2**18, seed=1)
    x = x[~np.isnan(x)]
    for u in (x, x.astype(np.float64) * 1.1):
        np.testing.assert_array_equal(call(name, -u), -call(name, u))


@pytest.mark.parametrize(
    "name", ["tanh", "erf", "sigmoid", "exp", "expm1", "softplus", "log", "log1p"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_monotone_across_seams(name, dtype):
    seams = {
        "tanh": (0.6, 0.7),
        "erf": (0.9, 1.0),
        "log": (4 / 3, 2 / 3, math.sqrt(2)),
        "log1p": (1 / 3, math.sqrt(2) - 1),
    }
    for seam in seams.get(name, tuple(math.log(2) * (k + 0.5) for k in range(4))):
        steps = np.arange(-(2**10), 2**10)
        middle = np.array(seam, dtype)
        integer = f"i{middle.itemsize}"
        x = (middle.view(integer) + steps.astype(integer)).view(dtype)
        rises = np.diff(call(name, x))
        unit = np.spacing(np.abs(call(name, x)).max())
        if name == "tanh" or (dtype is np.float32 and name == "erf"):
            assert (rises >= 0).all()
        assert (rises >= -unit).all()
        # neighbours may be one unit out of order where the function is flatter than its rounding


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoids_of_opposite_arguments_sum_to_one(dtype):
    x = np.linspace(-120, 120, 2**18).astype(dtype)
    total = special.sigmoid(x).astype(np.longdouble) + special.sigmoid(-x)
    assert np.abs(total - 1).max() <= np.finfo(dtype).eps


@given(st.floats(-745, 709))
def test_log_inverts_exp(x):
    y = special.exp(np.array([x]))[0]
    if y >= np.finfo(float).tiny:
        assert special.log(np.array([y]))[0] == pytest.approx(x, rel=4e-16, abs=4e-16)


# --- reduction of large arguments -----------------------------------------------------------------


def near_multiples(dtype, largest):
    """Arguments close to multiples of pi/2, of every magnitude, and the float64 that is closest to
    one of all."""
    with mpmath.workprec(1300):
        multiples = [
            mpmath.pi / 2 * int(mpmath.mpf(1.7) ** k + 1)
            for k in range(int(math.log(largest) / math.log(1.7)))
        ]
        x = np.array([float(m) for m in multiples])
    hardest = 6381956970095103.0 * 2.0**797
    return np.array([*x, hardest] if dtype is np.float64 else x, dtype)


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_angles_of_every_magnitude(name, dtype):
    rng = np.random.default_rng(4)
    largest = 3e38 if dtype is np.float32 else 1e300
    random = np.exp(rng.uniform(0, math.log(largest), 500)) * rng.choice([-1, 1], 500)
    seams = np.array([3e38, 2**44, 2**47, 2**47 * (1 + 2**-20), 2**65, 2**86, 2**107], dtype)
    x = np.concatenate(
        [random.astype(dtype), near_multiples(dtype, largest), seams, np.nextafter(seams, dtype(0))]
    )
    y = call(name, x)
    errors = [error_in_ulp(v, exact(name, u)) for u, v in zip(x, y, strict=True)]
    assert max(errors) <= bound(name, dtype) + (0.1 if dtype is np.float64 else 1e-6), x[
        int(np.argmax(errors))
    ]


def test_a_large_angle_among_small_ones_changes_nothing():
    x = np.random.default_rng(5).uniform(-10, 10, 3000)
    alone = special.sin(x)
    x[1234] = 1e200
    among = special.sin(x)
    alone[1234] = among[1234]
    np.testing.assert_array_equal(alone, among)
    assert error_in_ulp(among[1234], exact("sin", 1e200)) < 1


# --- compiled code --------------------------------------------------------------------------------


def compiled_loop(function, dtype):
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    element = numba.from_dtype(np.dtype(dtype))
    return numba.njit(numba.void(element[::1], element[::1]), error_model="numpy")(loop)


def assert_vectorised(loop, packed):
    features = llvm.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        pytest.skip("the CPU has no AVX2")
    (assembly,) = loop.inspect_asm().values()
    assert re.search(rf"vfn?m\w+{packed}\s.*%[yz]mm", assembly)
    assert not called_functions(assembly) & {
        f"{name}{suffix}" for name in (*NAMES, "fma", "ldexp") for suffix in ("", "f")
    }


def called_functions(assembly):
    return set(re.findall(r"(?:call|jmp|movabs)q?\s+\$?(\w+)", assembly))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loops_in_compiled_code(name, dtype):
    loop = compiled_loop(getattr(special, name), dtype)
    x = np.abs(np.random.default_rng(6).standard_normal(1001)).astype(dtype)
    y = np.empty_like(x)
    loop(x, y)
    np.testing.assert_array_equal(y, call(name, x))
    if not (
        dtype is np.float64 and name in ("sin", "cos")
    ):  # these branch to an exact reduction, which ends vectorisation
        assert_vectorised(loop, "pd" if dtype is np.float64 or name in ("sin", "cos") else "ps")


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_usual_float64_angles_vectorise(name):
    fast = getattr(special, name).kernel.fast["float64"]
    assert_vectorised(
        compiled_loop(
            numba.njit(error_model="numpy")(jittable(fast, numba.njit(error_model="numpy"))),
            np.float64,
        ),
        "pd",
    )


# --- where the numbers come from ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "fit, prefix",
    [
        *[
            ("exp_float32", "E"),
            ("exp_float64", "E"),
            ("log_float32", "L"),
            ("log_float64", "L"),
            ("sin_turns", "S"),
            ("cos_turns", "K"),
        ],
        *[
            ("sin_float64", "S"),
            ("cos_float64", "K"),
            ("tanh_float32", "TANH"),
            ("tanh_float64", "TANH"),
            ("erf_float32", "ERF"),
        ],
        *[("erf_float64", "ERF"), ("log_erfc_float32", "C"), ("log_erfc_float64", "C")],
    ],
)
def test_coefficients_are_those_of_the_fit(fit, prefix):
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "derivations" / "minimax.py"))
    coefficients, _, _ = script["fit"](*script["FITS"][fit])
    module = _elementary_float64 if fit.endswith("64") else _elementary_float32
    for i, c in enumerate(coefficients):
        assert float(getattr(module, f"{prefix}{i}")) == pytest.approx(
            float(c), rel=2e-7 if fit == "exp_float32" else 0, abs=0
        )
