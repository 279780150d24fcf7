"""Infinitely wide networks against integrals, linear systems and explicit training; known answers;
bad input.

The coefficients of the arc sine are fitted again by
``pytest tests/nn/test_permutation_learning.py -m slow``.
"""

import itertools
import math
import pickle
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import numcore
from numcore.examples.nn import permutation_learning as naive
from numcore.nn import (
    NTKRegressor,
    PermutationEnsemble,
    ensemble_size,
    nngp,
    ntk,
    permutation_mean,
    permutation_variance,
)
from numcore.simd import _scalars as scalars
from numcore.testing import simulated_gpu

DTYPES = [np.float32, np.float64]


def permutation_data(k, rng, dtype=np.float64):
    """The basis, its images, and a function of rows of bits that gives theirs."""
    order = rng.permutation(k)
    return (
        np.eye(k, dtype=dtype),
        np.eye(k, dtype=dtype)[order],
        lambda bits: bits[:, np.argsort(order)],
    )


def all_bits(k):
    return np.array([bits for bits in itertools.product((0, 1), repeat=k) if any(bits)], np.uint8)


# --- kernels --------------------------------------------------------------------------------------


def test_kernels_of_the_basis():
    theta, covariance = 7 * ntk(np.eye(7), np.eye(7)), 7 * nngp(np.eye(7), np.eye(7))
    off = ~np.eye(7, dtype=bool)
    np.testing.assert_allclose(np.diag(theta), 1, atol=1e-15)
    np.testing.assert_allclose(np.diag(covariance), 0.5, atol=1e-15)
    np.testing.assert_allclose(theta[off], 0.1591549431, atol=5e-11)
    np.testing.assert_allclose(covariance[off], 0.1591549431, atol=5e-11)


def integrals(u, v):
    """NNGP and NTK of two vectors in float64: E relu(a) relu(b) and E 1[a > 0] 1[b > 0] for the
    angle of u and v, by integration.

    In the plane of u and v a normal vector has the direction φ, uniform, and a squared length of
    mean 2.
    """
    lengths = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(x * x for x in v))
    cosine = max(-1.0, min(1.0, sum(x * y for x, y in zip(u, v, strict=True)) / lengths))
    angle = math.acos(cosine)
    low, high = angle - math.pi / 2, math.pi / 2  # both are positive between
    nodes, weights = np.polynomial.legendre.leggauss(60)
    phi = (low + high) / 2 + (high - low) / 2 * nodes
    both = (
        float(np.sum(weights * np.cos(phi) * np.cos(phi - angle)))
        * (high - low)
        / 2
        * 2
        / (2 * math.pi)
    )
    positive = (high - low) / (2 * math.pi)
    nngp = lengths * both / len(u)
    return nngp, nngp + lengths * cosine * positive / len(u)


@pytest.mark.parametrize("which, function", [(0, nngp), (1, ntk)])
def test_kernels_are_the_integrals(which, function):
    rng = np.random.default_rng(1)
    x1, x2 = (
        rng.standard_normal((9, 4)),
        rng.standard_normal((11, 4)) * 10.0 ** rng.integers(-3, 4, (11, 1)),
    )
    expected = 1.3**4 * np.array([[integrals(u, v)[which] for v in x2] for u in x1])
    result = function(x1, x2, sigma_w=1.3)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_angles(dtype):
    """Two unit vectors at every angle, close to 0 and π too, where the arc cosine of a product is
    useless."""
    small = np.concatenate([[0.0], np.geomspace(1e-12, 1, 300)])
    angle = np.unique(np.concatenate([small, np.pi - small, np.linspace(0, np.pi, 2001)])).astype(
        np.longdouble
    )
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(dtype)
    angle = np.arctan2(
        x[:, 1].astype(np.longdouble), x[:, 0].astype(np.longdouble)
    )  # of the rounded vectors
    length = np.hypot(*x.astype(np.longdouble).T)
    theta = length * (np.sin(angle) + 2 * (np.pi - angle) * np.cos(angle)) / (4 * np.pi)
    result = ntk(np.array([[1, 0]], dtype), x)[0]
    # Θ(u, u) is 1/2, of which a few roundings are left
    assert np.abs(result - theta).max() < (3e-7 if dtype == np.float32 else 5e-16)


def test_a_row_with_itself_is_exact_in_float32():
    """The product of a unit row with itself is 1 ± eps, whose arc cosine would be wrong by 3e-4."""
    x = np.random.default_rng(2).standard_normal((50, 784)).astype(np.float32)
    lengths = (x.astype(float) ** 2).sum(axis=1)
    for other in (x, x.copy(), 3 * x):
        np.testing.assert_allclose(
            np.diag(ntk(x, other)) * 784 / lengths,
            3 if other[0, 0] == 3 * x[0, 0] else 1,
            rtol=1e-6,
        )


def test_arc_cosine_polynomials():
    """|error| < 1e-7 with the coefficients of float32, full accuracy with those of float64; both in
    long double."""
    c = np.linspace(-1, 1, 100_001, dtype=np.longdouble)
    for dtype, bound in ((np.float32, 1e-7), (np.float64, 1e-16)):
        coefficients = np.array(
            scalars.ASIN_FLOAT32 if dtype is np.float32 else scalars.ASIN_FLOAT64, dtype
        ).astype(np.longdouble)
        z = np.where(abs(c) < 0.5, c * c, (1 - abs(c)) / 2)
        r = np.sqrt(z)
        asin = r + r * z * np.polyval(coefficients[::-1], z)
        half_pi = np.arccos(np.longdouble(0))
        near = np.where(abs(c) < 0.5, half_pi - asin, 2 * asin)
        assert np.abs(np.where(c < 0, 2 * half_pi - near, near) - np.arccos(c)).max() < bound


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, coefficients",
    [("asin_float32", scalars.ASIN_FLOAT32), ("asin_float64", scalars.ASIN_FLOAT64)],
)
def test_coefficients_are_those_of_the_fit(name, coefficients):
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "derivations" / "minimax.py"))
    fitted, _, _ = script["fit"](*script["FITS"][name])
    dtype = np.float32 if name.endswith("32") else np.float64
    assert [dtype(float(c)) for c in fitted] == [dtype(c) for c in coefficients]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e150])
def test_lengths_whose_squares_overflow(scale):
    x = np.random.default_rng(3).standard_normal((4, 5))
    np.testing.assert_allclose(ntk(scale * x, x), scale * ntk(x, x), rtol=1e-13)


def test_rows_of_zeros_have_no_covariance():
    x = np.array([[0.0, 0], [1, 2]])
    assert ntk(x, x)[0].tolist() == [0, 0] and nngp(x, x)[:, 0].tolist() == [0, 0]


def test_symmetric_to_the_bit():
    x = np.random.default_rng(4).standard_normal((60, 33)).astype(np.float32)
    assert np.array_equal(ntk(x, x), ntk(x, x).T)


def test_memory_is_the_result_and_the_directions():
    x1, x2 = (
        np.random.default_rng(i).standard_normal((1500, 50)).astype(np.float32) for i in range(2)
    )
    ntk(x1[:10], x2[:10])
    tracemalloc.start()
    result = ntk(x1, x2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.nbytes + 5 * (
        x1.nbytes + x2.nbytes
    )  # all of these together are a third of the result


@pytest.mark.parametrize("function", [ntk, nngp])
@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"x1": np.ones((2, 0)), "x2": np.ones((2, 0))}, ValueError, "x1 must have d >= 1"),
        ({"x2": np.array([[1, np.inf, 0]])}, ValueError, "x2 must have finite entries"),
        (
            {"x1": np.full((1, 3), 1.7e308)},
            ValueError,
            "x1 must have finite entries, and rows of finite length",
        ),
        ({"x2": np.ones((2, 3), np.float32)}, TypeError, "x2 must have dtype float64 like x1"),
    ],
)
def test_kernels_refuse(function, change, kind, message):
    with pytest.raises(kind, match=message):
        function(**({"x1": np.ones((2, 3)), "x2": np.ones((2, 3))} | change))


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, k, expected",
    [
        (2, 3, (0.557097, -0.018175)),
        (2, 8, (0.563939, -0.011333)),
        (3, 8, (0.418311, -0.024791)),
        (2, 10, (0.5654217643, -0.0098503127)),
        (5, 10, (0.2837301866, -0.0407121841)),
        (2, 30, (0.5710053377, -0.0042667393)),
    ],
)
def test_known_means(n, k, expected):
    digits = 6 if k < 10 else 10
    np.testing.assert_allclose(permutation_mean(n, k), expected, rtol=0, atol=0.51 * 10.0**-digits)


@pytest.mark.parametrize(
    "n, k, expected, digits", [(3, 3, 0.403346, 6), (8, 8, 0.173276, 6), (10, 10, 0.1403918751, 10)]
)
def test_known_means_of_all_ones(n, k, expected, digits):
    assert abs(permutation_mean(n, k)[0] - expected) < 0.51 * 10.0**-digits


@pytest.mark.parametrize(
    "n, k, expected", [(2, 10, 0.0065187311), (5, 10, 0.0125048456), (2, 30, 0.0021396904)]
)
def test_known_variances(n, k, expected):
    assert abs(permutation_variance(n, k) - expected) < 0.51e-10


def test_known_sizes():
    assert ensemble_size(10, delta=0.05, n_ones=2) == 712
    assert ensemble_size(10, delta=0.05, n_ones=5) == 80
    assert ensemble_size(30, delta=0.05, n_ones=2) == 1504


@pytest.mark.parametrize("k", [2, 3, 7])
def test_closed_forms_are_the_solutions(k):
    for n in range(1, k + 1):
        mu_one, mu_zero, variance = naive.permutation_moments(n, k)
        np.testing.assert_allclose(permutation_mean(n, k)[0], mu_one, rtol=0, atol=1e-13)
        if n < k:
            np.testing.assert_allclose(permutation_mean(n, k)[1], mu_zero, rtol=0, atol=1e-13)
        np.testing.assert_allclose(permutation_variance(n, k), variance, rtol=0, atol=1e-14)


def test_signs_are_those_of_the_theorem():
    for k in (2, 10, 1000, 10**6):
        n = np.unique(np.geomspace(1, k, 50).astype(int))
        mu_one, mu_zero = permutation_mean(n, k)
        assert mu_one[0] == 1 and mu_zero[0] == 0 and permutation_variance(n, k)[0] == 0
        assert (
            np.all(mu_one > 0)
            and np.all(mu_zero[1:] < 0)
            and np.all(permutation_variance(n[1:], k) > 0)
        )


def test_size_for_all_inputs_is_that_of_the_worst():
    k, delta = 12, 0.01
    worst = max(
        permutation_variance(n, k)
        / min(permutation_mean(n, k)[0], -permutation_mean(n, k)[1] if n < k else 1) ** 2
        for n in range(2, k + 1)
    )
    assert ensemble_size(k, delta=delta) == math.ceil(
        2 * worst * (math.log(k / delta) + k * math.log(2))
    )


def test_growth_of_sizes():
    """Exponents for one input with two ones, and for all inputs, between k = 8 and k = 64."""
    single, every = ([ensemble_size(k, delta=0.05, n_ones=n) for k in (8, 64)] for n in (2, None))
    assert math.log(single[1] / single[0]) / math.log(8) == pytest.approx(0.74, abs=0.01)
    assert math.log(every[1] / every[0]) / math.log(8) == pytest.approx(1.34, abs=0.01)


def test_the_midpoint_needs_hundreds_of_times_fewer():
    mu_one, mu_zero = permutation_mean(2, 10)
    factor = ((mu_one - mu_zero) / (-2 * mu_zero)) ** 2  # 853
    exact = 2 * permutation_variance(2, 10) / ((mu_one - mu_zero) / 2) ** 2 * math.log(10 / 0.05)
    assert ensemble_size(10, delta=0.05, n_ones=2, threshold="midpoint") == math.ceil(exact) == 1
    assert factor > 800


def test_sizes_grow_with_the_variance_of_weights():
    assert ensemble_size(10, delta=0.05, n_ones=2, sigma_w=2.0) == pytest.approx(16 * 712, abs=16)
    assert ensemble_size(10, delta=0.05, n_ones=1) == 1


def test_shapes_of_the_closed_forms():
    n = np.array([[1, 2], [3, 4]], np.int32)
    assert [x.shape for x in (*permutation_mean(n, 5), permutation_variance(n, 5))] == [(2, 2)] * 3
    assert all(
        isinstance(x, np.float64) for x in (*permutation_mean(3, 5), permutation_variance(3, 5))
    )
    assert permutation_mean(np.zeros(0, int), 5)[0].shape == (0,)
    with simulated_gpu() as xp:
        on_gpu = permutation_mean(xp.asarray(n), 5)
        np.testing.assert_array_equal(on_gpu[0].get(), permutation_mean(n, 5)[0])


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: permutation_mean(0, 5),
            ValueError,
            r"n_ones must be in \[1, k\] with k = 5 \(got 0\)",
        ),
        (lambda: permutation_mean(1, 5) and permutation_mean(6, 5), ValueError, "n_ones"),
        (lambda: permutation_mean(2.0, 5), TypeError, "n_ones must have dtype integers"),
        (lambda: permutation_mean(True, 5), TypeError, "n_ones must have dtype integers"),
        (lambda: ensemble_size(5, delta=0.1, n_ones=6), ValueError, r"n_ones must be in \[1, k\]"),
        (lambda: ensemble_size(5, delta=0.1, n_ones=[2]), TypeError, "n_ones"),
    ],
)
def test_closed_forms_refuse(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- regression -----------------------------------------------------------------------------------


def test_regression_equals_the_closed_form():
    rng = np.random.default_rng(5)
    X, Y, image = permutation_data(8, rng)
    bits = all_bits(8)
    model = NTKRegressor().fit(X, Y)
    mean, covariance = model.predict(
        bits / np.sqrt(bits.sum(axis=1, keepdims=True)), return_cov=True
    )
    n = bits.sum(axis=1)
    mu_one, mu_zero = (m[:, None] for m in permutation_mean(n.astype(int), 8))
    np.testing.assert_allclose(
        mean, np.where(image(bits) == 1, mu_one, mu_zero), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        np.diag(covariance), permutation_variance(n.astype(int), 8), rtol=0, atol=1e-12
    )
    several = n > 1
    assert np.array_equal(mean[several] > 0, image(bits)[several] == 1)
    assert np.abs(mean[~several][image(bits)[~several] == 0]).max() < 1e-15
    assert covariance[bits.sum(axis=1) > 1].any(axis=1).all() and np.array_equal(
        covariance, covariance.T
    )


def test_known_answer_of_regression():
    for order in ([0, 1, 2], [1, 2, 0]):
        model = NTKRegressor().fit(np.eye(3), np.eye(3)[order])
        mean = model.predict(np.array([[1.0, 1, 0], [1, 1, 1]]) / np.sqrt([[2], [3]]))
        np.testing.assert_allclose(np.sort(mean[0]), [-0.018175, 0.557097, 0.557097], atol=5e-7)
        np.testing.assert_allclose(mean[1], 0.403346, atol=5e-7)


@pytest.mark.parametrize("time, ridge", [(0.5, 0.0), (20.0, 0.0), (6.0, 0.05)])
def test_finite_time(time, ridge):
    rng = np.random.default_rng(6)
    X, Y, x = rng.standard_normal((5, 3)), rng.standard_normal((5, 2)), rng.standard_normal((4, 3))
    model = NTKRegressor(ridge=ridge).fit(X, Y)
    mean, covariance = naive.gradient_flow(x, X, Y, time, 4000, ridge)
    result = model.predict(x, return_cov=True, time=time)
    np.testing.assert_allclose(result[0], mean, atol=1e-6)  # of the reference's steps
    np.testing.assert_allclose(result[1], covariance, atol=1e-6)
    np.testing.assert_allclose(model.predict(x, time=time), result[0], rtol=1e-12)


def test_times_at_the_ends():
    rng = np.random.default_rng(7)
    X, Y, x = rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal((4, 3))
    model = NTKRegressor(sigma_w=0.7).fit(X, Y)
    mean, covariance = model.predict(x, return_cov=True, time=0)
    assert not mean.any() and mean.shape == (4,)
    np.testing.assert_allclose(covariance, nngp(x, x, sigma_w=0.7), atol=1e-15)
    for late, ever in zip(
        model.predict(x, return_cov=True, time=1e9), model.predict(x, return_cov=True), strict=True
    ):
        np.testing.assert_allclose(late, ever, atol=1e-11)
    np.testing.assert_allclose(model.predict(x, time=math.inf), model.predict(x), atol=1e-11)


def test_training_inputs_are_met_without_variance():
    rng = np.random.default_rng(8)
    X, Y = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    mean, covariance = NTKRegressor().fit(X, Y).predict(X, return_cov=True)
    np.testing.assert_allclose(mean, Y, atol=1e-11)
    np.testing.assert_allclose(covariance, 0, atol=1e-12)


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / 16, y[order]
    model = NTKRegressor().fit(x[:1000], 2 * np.eye(10)[y[:1000]] - 1)
    assert np.mean(model.predict(x[1000:]).argmax(axis=1) == y[1000:]) >= 0.985


@pytest.mark.parametrize("dtype", DTYPES)
def test_regression_keeps_dtype_and_device(dtype):
    rng = np.random.default_rng(9)
    X, Y, x = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 3), (6, 2), (4, 3)))
    for array in (X, Y, x):
        array.flags.writeable = False
    expected = NTKRegressor().fit(X, Y).predict(x, return_cov=True, time=3.0)
    assert [a.dtype for a in expected] == [dtype] * 2
    exact = (
        NTKRegressor()
        .fit(X.astype(float), Y.astype(float))
        .predict(x.astype(float), return_cov=True, time=3.0)
    )
    with simulated_gpu() as xp:
        model = NTKRegressor().fit(xp.asarray(X), xp.asarray(Y))
        on_gpu = [a.get() for a in model.predict(xp.asarray(x), return_cov=True, time=3.0)]
        with pytest.raises(TypeError, match="X must live on"):
            model.predict(x)
    for a, b, c in zip(expected, on_gpu, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(
            a, c, atol=2 * np.finfo(dtype).eps
        )  # computed in float64 in any case


X3 = np.eye(3)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: NTKRegressor(ridge=-1.0), ValueError, r"ridge must be >= 0 \(got -1.0\)"),
        (lambda: NTKRegressor().predict(X3), ValueError, "NTKRegressor must be fitted first"),
        (
            lambda: NTKRegressor().fit(np.array([[1.0, 0], [0, 0]]), X3[:2]),
            ValueError,
            "X must have no row of zeros",
        ),
        (
            lambda: NTKRegressor().fit(np.array([[1.0, 2], [2, 4]]), X3[:2]),
            ValueError,
            "ridge must be > 0 where two rows of X have one",
        ),
        (lambda: NTKRegressor().fit(X3, X3[:2]), ValueError, "y must have shape"),
        (lambda: NTKRegressor().fit(X3, X3[None]), ValueError, "y must have shape"),
        (lambda: NTKRegressor().fit(X3[0], X3), ValueError, "X must have shape"),
        (lambda: NTKRegressor().fit(X3[:0], X3[:0]), ValueError, "X must have no axis"),
        (
            lambda: NTKRegressor().fit(np.full((1, 2), np.nan), X3[:1]),
            ValueError,
            "X must be finite",
        ),
        (lambda: NTKRegressor().fit(X3, np.full((3, 1), np.inf)), ValueError, "y must be finite"),
        (lambda: NTKRegressor().fit(X3, X3.astype(complex)), TypeError, "y must have dtype"),
        (
            lambda: NTKRegressor().fit(X3, X3).predict(X3[:, :2]),
            ValueError,
            r"X must have shape \(t, [dk]\) with [dk] = 3",
        ),
        (
            lambda: NTKRegressor().fit(X3, X3).predict(X3.astype(np.float32)),
            TypeError,
            "X must have dtype float64 like the training inputs",
        ),
        (lambda: NTKRegressor().fit(X3, X3).predict(np.full((1, 3), np.nan)), ValueError, "finite"),
        (
            lambda: NTKRegressor().fit(X3, X3).predict(X3, time=-1.0),
            ValueError,
            r"time must be >= 0 \(got -1.0\)",
        ),
        (
            lambda: NTKRegressor().fit(X3, X3).predict(X3, time="1"),
            TypeError,
            "time must be a number",
        ),
    ],
)
def test_regression_refuses(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_ridge_bears_rows_of_one_direction():
    model = NTKRegressor(ridge=0.1).fit(np.array([[1.0, 2], [2, 4], [1, 0]]), X3)
    assert np.isfinite(model.predict(np.ones((1, 2)))).all()


# --- ensembles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [True, False])
@pytest.mark.parametrize("width", [1, 5, 192, 1000, 2001])
def test_training_is_gradient_descent(basis, width):
    """Against explicit gradients, from the same initial weights; widths that fill no block, one,
    and several parts."""
    rng = np.random.default_rng(10)
    X = np.eye(4) if basis else rng.standard_normal((5, 4))
    Y = rng.standard_normal((len(X), 3))
    options = {
        "n_models": 2,
        "width": width,
        "sigma_w": 1.2,
        "learning_rate": 0.2,
        "tol": 0.0,
        "rng": 3,
    }
    start = PermutationEnsemble(max_iter=0, **options).fit(X, Y)
    model = PermutationEnsemble(max_iter=6, **options).fit(X, Y)
    assert start.n_iter_ == 0 and model.n_iter_ == 6
    x = rng.standard_normal((3, 4))
    for i in range(2):
        hidden, output = naive.descend(
            start.members_.hidden[i], start.members_.output[i], X, Y, 0.2, 1.2, 6
        )
        np.testing.assert_allclose(model.members_.hidden[i], hidden, atol=1e-12)
        np.testing.assert_allclose(model.members_.output[i], output, atol=1e-12)
        np.testing.assert_allclose(
            model.member_outputs(x)[i], naive.outputs(hidden, output, x), atol=1e-12
        )
        np.testing.assert_allclose(
            model.loss_[i], np.mean((naive.outputs(hidden, output, X) - Y) ** 2), rtol=1e-10
        )
    np.testing.assert_allclose(
        model.decision_function(x), model.member_outputs(x).mean(axis=0), atol=1e-14
    )


def test_initial_weights():
    model = PermutationEnsemble(n_models=3, width=20_000, sigma_w=2.0, max_iter=0, rng=1).fit(
        np.eye(5), np.eye(5)
    )
    assert model.members_.hidden.shape == (3, 20_000, 5) and model.members_.output.shape == (
        3,
        5,
        20_000,
    )
    assert model.members_.hidden.std() == pytest.approx(2 / math.sqrt(5), rel=0.01)
    assert model.members_.output.std() == pytest.approx(2 / math.sqrt(20_000), rel=0.01)


def test_wide_networks_have_the_limit_s_moments():
    """64 networks of 2000 units: mean and variance of their outputs within five standard errors,
    and what 1/width adds."""
    X, Y, image = permutation_data(4, np.random.default_rng(11))
    model = PermutationEnsemble(n_models=64, width=2000, rng=2).fit(X, Y)
    assert model.n_iter_ < 200 and np.all(model.loss_ <= 1e-6)
    bits = np.array([[1, 1, 0, 0], [1, 0, 1, 1]])
    outputs = model.member_outputs(bits / np.sqrt(bits.sum(axis=1, keepdims=True)))
    for row, n in enumerate((2, 3)):
        mu_one, mu_zero = permutation_mean(n, 4)
        variance = permutation_variance(n, 4)
        mean = np.where(image(bits)[row] == 1, mu_one, mu_zero)
        np.testing.assert_allclose(
            outputs[:, row].mean(axis=0), mean, atol=5 * math.sqrt(variance / 64) + 0.01
        )
        assert outputs[:, row].var(axis=0).mean() == pytest.approx(
            variance, rel=0.5
        )  # 256 numbers: 5 standard errors are 0.44


def test_trained_networks_decide_a_permutation():
    X, Y, image = permutation_data(3, np.random.default_rng(12), np.float32)
    n_models = ensemble_size(3, delta=0.01, threshold="midpoint")
    model = PermutationEnsemble(n_models=n_models, width=3000, threshold="midpoint", rng=4).fit(
        X, Y
    )
    result = model.predict(all_bits(3))
    assert result.dtype == np.uint8 and np.array_equal(result, image(all_bits(3)))
    agreement = model.agreement(all_bits(3))
    assert agreement.shape == (7,) and np.all((0.5 < agreement) & (agreement <= 1))
    assert np.all(agreement[all_bits(3).sum(axis=1) == 1] == 1)


@pytest.mark.parametrize("threshold", ["zero", "midpoint"])
def test_sampled_networks_decide_every_input(threshold):
    X, Y, image = permutation_data(6, np.random.default_rng(13))
    n_models = ensemble_size(6, delta=0.01, threshold=threshold)
    model = PermutationEnsemble(
        n_models=n_models, width=1, mode="sample", threshold=threshold, rng=5
    ).fit(X, Y)
    assert np.array_equal(model.predict(all_bits(6)), image(all_bits(6)))
    assert model.members_ is None and model.loss_ is None and model.n_iter_ == 0


def test_too_few_networks_fail():
    """The bound is no empty one: with a hundredth of the networks some of the 255 inputs come out
    wrong."""
    X, Y, image = permutation_data(8, np.random.default_rng(14))
    n_models = ensemble_size(8, delta=0.05) // 100
    model = PermutationEnsemble(n_models=n_models, width=1, mode="sample", rng=6).fit(X, Y)
    assert not np.array_equal(model.predict(all_bits(8)), image(all_bits(8)))


def test_sampled_variance():
    X, Y, _ = permutation_data(10, np.random.default_rng(15))
    model = PermutationEnsemble(n_models=20_000, width=1, mode="sample", rng=7).fit(X, Y)
    for n in (2, 5):
        x = np.zeros((1, 10))
        x[0, :n] = 1 / math.sqrt(n)
        outputs = model.member_outputs(x)
        assert outputs.shape == (20_000, 1, 10)
        assert outputs[:, 0].var(axis=0).mean() == pytest.approx(
            permutation_variance(n, 10), rel=0.03
        )


def test_sampled_outputs_vary_together():
    X, Y, _ = permutation_data(4, np.random.default_rng(16))
    x = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]]) / np.sqrt(
        [[2], [3], [2], [1]]
    )
    model = PermutationEnsemble(n_models=40_000, width=1, mode="sample", rng=8).fit(X, Y)
    _, covariance = NTKRegressor().fit(X, Y).predict(x, return_cov=True)
    outputs = model.member_outputs(x)
    np.testing.assert_allclose(np.cov(outputs[:, :, 0].T), covariance, atol=0.03 * covariance.max())
    np.testing.assert_array_equal(outputs, model.member_outputs(x))


@pytest.mark.parametrize("mode", ["train", "sample"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ensembles_keep_dtype_device_and_results(mode, dtype):
    X, Y, _ = permutation_data(4, np.random.default_rng(17), dtype)
    for array in (X, Y):
        array.flags.writeable = False
    x = np.array([[1, 1, 0, 1], [1, 0, 0, 0]], dtype)

    def results(to=lambda a: a):
        model = PermutationEnsemble(n_models=3, width=1100, max_iter=4, mode=mode, rng=9).fit(
            to(X), to(Y)
        )
        return [
            model.member_outputs(to(x)),
            model.decision_function(to(x)),
            model.predict(to(x)),
            model.agreement(to(x)),
        ]

    expected = results()
    assert [a.dtype for a in expected] == [dtype, dtype, np.uint8, dtype]
    before = numcore.get_num_threads()
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            for a, b in zip(expected, results(), strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        numcore.set_num_threads(before)
    with simulated_gpu() as xp:
        on_gpu = results(xp.asarray)
    tolerance = (
        1e-5 if dtype == np.float32 else 1e-12
    )  # normal numbers differ by some roundings, and sums by their order
    for a, b in zip(expected[:2], on_gpu[:2], strict=True):
        np.testing.assert_allclose(a, b.get(), atol=tolerance)


def test_seeds():
    def weights(rng):
        return (
            PermutationEnsemble(n_models=1, width=3, max_iter=0, rng=rng)
            .fit(np.eye(2), np.eye(2))
            .members_.hidden
        )

    assert np.array_equal(weights(1), weights(1)) and not np.array_equal(weights(1), weights(2))
    rng = np.random.default_rng(1)
    assert not np.array_equal(weights(rng), weights(rng))
    assert not np.array_equal(weights(None), weights(None))


def test_callback_ends_training_and_an_interrupt_changes_nothing():
    seen = []

    def stop_at_three(step, losses):
        seen.append((step, losses.shape))
        return step == 3

    model = PermutationEnsemble(n_models=2, width=50, tol=0.0, rng=1)
    model.fit(np.eye(3), np.eye(3), callback=stop_at_three)
    assert seen == [(1, (2,)), (2, (2,)), (3, (2,))] and model.n_iter_ == 3
    before = model.decision_function(np.eye(3))

    def interrupt(step, losses):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(np.eye(4), np.eye(4), callback=interrupt)
    np.testing.assert_array_equal(model.decision_function(np.eye(3)), before)


def test_progress_is_shown_when_asked_for(capsys):
    pytest.importorskip("tqdm")
    PermutationEnsemble(n_models=1, width=10, max_iter=3, rng=1).fit(np.eye(2), np.eye(2))
    assert capsys.readouterr().err == ""
    PermutationEnsemble(n_models=1, width=10, max_iter=3, rng=1).fit(
        np.eye(2), np.eye(2), progress=True
    )
    assert "steps" in capsys.readouterr().err


def test_training_inputs_are_decided_at_one_half():
    """Their zeros are 0 but for rounding: at the threshold 0 they would be a coin's toss."""
    X, Y, image = permutation_data(5, np.random.default_rng(18))
    for mode in ("train", "sample"):
        model = PermutationEnsemble(n_models=2, width=500, mode=mode, rng=1).fit(X, Y)
        assert np.array_equal(
            model.predict(np.eye(5, dtype=bool)), image(np.eye(5)).astype(np.uint8)
        )


def test_no_inputs():
    for mode in ("train", "sample"):
        model = PermutationEnsemble(n_models=2, width=5, mode=mode, rng=1).fit(np.eye(3), np.eye(3))
        assert model.member_outputs(np.empty((0, 3))).shape == (2, 0, 3)
        assert (
            model.decision_function(np.empty((0, 3))).shape
            == model.predict(np.empty((0, 3))).shape
            == (0, 3)
        )


def ensemble(**options):
    return PermutationEnsemble(**({"n_models": 2, "width": 5, "rng": 1} | options))


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: ensemble().predict(X3), ValueError, "PermutationEnsemble must be fitted first"),
        (lambda: ensemble().fit(X3[:, :1][:1], X3[:1]), ValueError, "X must have k >= 2 columns"),
        (lambda: ensemble().fit(X3, X3[0]), ValueError, r"y must have shape \(n, q\)"),
        (lambda: ensemble().fit(0 * X3, X3), ValueError, "row of zeros"),
        (lambda: ensemble().fit(X3 * np.nan, X3), ValueError, "X must be finite"),
        (lambda: ensemble().fit(X3, X3, callback=3), TypeError, "callback must be callable"),
        (
            lambda: ensemble(threshold="midpoint").fit(2 * X3, X3),
            ValueError,
            "threshold must be 'zero'",
        ),
        (lambda: ensemble(mode="sample").fit(np.ones((2, 3)), X3[:2]), ValueError, "one direction"),
        (
            lambda: ensemble(learning_rate=3.0).fit(np.array([[5.0, 3, 1], [1, -7, 2]]), X3[:2]),
            ValueError,
            "learning_rate must be small",
        ),
        (
            lambda: ensemble().fit(X3, X3).predict(2 * X3),
            ValueError,
            "X must consist of zeros and ones",
        ),
        (
            lambda: ensemble().fit(X3, X3).predict(np.full((1, 3), np.nan)),
            ValueError,
            "zeros and ones",
        ),
        (lambda: ensemble().fit(X3, X3).predict(0 * X3), ValueError, "no row of zeros"),
        (
            lambda: ensemble().fit(X3, X3).predict(X3[:, :2]),
            ValueError,
            r"X must have shape \(t, [dk]\) with [dk] = 3",
        ),
        (lambda: ensemble().fit(X3, X3).predict("101"), TypeError, "X must be"),
        (
            lambda: ensemble().fit(X3, X3).decision_function(X3.astype(int)),
            TypeError,
            "X must have dtype",
        ),
        (lambda: ensemble().fit(X3, X3).member_outputs(X3[0]), ValueError, "X must have shape"),
    ],
)
def test_ensembles_refuse(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- scikit-learn ---------------------------------------------------------------------------------


CONVERTED = "arrays are float32 or float64 and never converted silently"
WORDS = "errors have numcore's words"
EXPECTED_FAILURES = {
    "check_do_not_raise_errors_in_init_or_set_params": "parameters are checked when they are set",
    "check_estimators_dtypes": CONVERTED,
    "check_dtype_object": CONVERTED,
    "check_regressors_train": CONVERTED,
    "check_regressor_data_not_an_array": CONVERTED,
    "check_supervised_y_2d": "several outputs are what y of two dimensions means",
    "check_n_features_in_after_fitting": WORDS,
    "check_complex_data": WORDS,
    "check_estimators_empty_data_messages": WORDS,
    "check_estimators_nan_inf": WORDS,
    "check_estimator_sparse_tag": WORDS,
    "check_estimator_sparse_array": WORDS,
    "check_estimator_sparse_matrix": WORDS,
    "check_fit2d_predict1d": WORDS,
    "check_requires_y_none": WORDS,
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what its checks recommend
def test_estimator_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        NTKRegressor(ridge=1e-3),
        expected_failed_checks=EXPECTED_FAILURES,
        on_skip=None,
        on_fail=None,
    )
    failed = [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"]
    assert not failed, failed


def test_scikit_learn_takes_the_regressor():
    base = pytest.importorskip("sklearn.base")
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GridSearchCV, cross_val_score

    rng = np.random.default_rng(20)
    X = rng.standard_normal((60, 3))
    Y = np.stack([X[:, 0] + X[:, 1], X[:, 2] - 1], axis=1)
    model = NTKRegressor(ridge=1e-3)
    assert base.clone(model).get_params() == model.get_params() and base.is_regressor(model)
    model.fit(X[:40], Y[:40])
    expected = r2_score(Y[40:], model.predict(X[40:]))
    assert model.score(X[40:], Y[40:]) == pytest.approx(expected, rel=1e-12)
    assert cross_val_score(NTKRegressor(), X, Y[:, 0], cv=3).min() > 0.8
    search = GridSearchCV(NTKRegressor(), {"ridge": [0.0, 100.0]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"ridge": 0.0}


def test_targets_may_be_integers():
    bits = np.eye(3, dtype=np.uint8)[[1, 2, 0]]
    for make in (NTKRegressor, ensemble):
        a, b = make().fit(X3, bits), make().fit(X3, bits.astype(float))
        np.testing.assert_array_equal(a.predict(X3), b.predict(X3))


def test_ensembles_are_cloned_and_pickled():
    base = pytest.importorskip("sklearn.base")
    model = ensemble().fit(X3, X3)
    assert base.clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.member_outputs(X3), model.member_outputs(X3))
