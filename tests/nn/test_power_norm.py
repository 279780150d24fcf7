"""Power normalization: known answers, a naive version step by step, its state, its claims, bad
input and memory."""

import copy
import doctest
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.nn import power_norm as reference
from numcore.nn import (
    PowerNorm,
    batch_norm,
    batch_norm_vjp,
    group_scale,
    group_scale_vjp,
    layer_norm,
    power_norm,
    power_norm_vjp,
)
from numcore.testing import check_vjp, simulated_gpu
from numcore.testing.device import SimulatedArray

# Relative to the largest entry: a few roundings each, sums of 32 rows in float32; corrections add
# up over some steps.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
SEED = 2020
NOTHING = 1e-300  # an eps that adds nothing to any quadratic mean in float64
X, GAMMA = np.array([[1.0, 2], [3, -4]]), np.array([0.5, -0.25])


def layer_of(n_features, **options):
    return PowerNorm(
        n_features,
        **{"dtype": "float64", "eps": NOTHING, "n_groups": None, "n_warmup": 0} | options,
    )


def assert_close(result, expected, factor=1.0):
    assert result.shape == expected.shape
    atol = factor * TOLERANCE[result.dtype.name] * np.abs(expected).max(initial=1e-3)
    np.testing.assert_allclose(result, expected, rtol=0, atol=atol)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale, expected",
    [
        ("used", [[0.95, 0.05], [-0.15, 0.9]]),
        ("batch", [[0.424853, 0.015811], [-0.067082, 0.284605]]),
    ],
)
def test_known_step(scale, expected):
    """psi = (5, 10); phi from (1, 1)."""
    layer = layer_of(2, backward_scale=scale)
    y, cache = layer.forward(X)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_allclose(cache.psi, [5, 10], rtol=1e-15)
    np.testing.assert_allclose(layer.running_phi_, [1.4, 1.9], rtol=1e-15)
    layer.ema_gz_ = GAMMA.copy()
    grads = layer.backward(np.eye(2), cache)
    _, cache = power_norm(
        X, np.ones(2), np.zeros(2), np.ones(2), GAMMA, eps=NOTHING, backward_scale=scale
    )
    functional = power_norm_vjp(np.eye(2), cache)
    for grad_x, grad_weight, grad_bias, gamma in ((*grads, layer.ema_gz_), functional):
        np.testing.assert_allclose(grad_x, expected, rtol=0, atol=6e-7)
        np.testing.assert_array_equal([grad_weight, grad_bias], [[1, -4], [1, 1]])
        np.testing.assert_allclose(gamma, [0.75, -2.0], rtol=1e-14)
        np.testing.assert_allclose(
            gamma, GAMMA * (1 - 0.1 * np.array([5, 10])) + [0.5, -2], rtol=1e-14
        )


def test_phi_of_a_warm_up_is_the_plain_average():
    rng, layer, psis = np.random.default_rng(SEED), layer_of(3, alpha_fwd=1.0, n_warmup=100), []
    for _ in range(20):
        x = rng.standard_normal((8, 3)) * rng.lognormal()
        layer.forward(x)
        psis.append((x**2).mean(axis=0))
        np.testing.assert_allclose(layer.running_phi_, np.mean(psis, axis=0), rtol=1e-14)


def test_first_step_of_a_warm_up_forgets_where_phi_began():
    layer = layer_of(2, n_warmup=10)
    layer.forward(X)
    assert layer.running_phi_.tolist() == [5, 10]


def test_z_changes_after_the_warm_up_and_averaging_one_step_before():
    """With n_warmup=2: steps 1 and 2 divide by psi, step 1 averages, step 3 divides by phi."""
    layer, x = layer_of(1, n_warmup=2, alpha_fwd=0.5), np.array([[1.0]])
    assert layer.forward(x)[0].item() == 1 and layer.running_phi_ == 1
    assert layer.forward(3 * x)[0].item() == pytest.approx(1, rel=1e-15) and layer.running_phi_ == 5
    assert (
        layer.forward(3 * x)[0].item() == pytest.approx(3 / np.sqrt(5), rel=1e-15)
        and layer.running_phi_ == 7
    )
    assert layer.n_iter_ == 3


def test_without_correction_the_gradient_is_that_of_a_fixed_phi():
    rng = np.random.default_rng(SEED)
    x, grad_y, weight, bias, phi = (rng.standard_normal(s) for s in ((9, 4), (9, 4), 4, 4, 4))
    phi = phi**2

    def forward(x):
        return power_norm(x, weight, bias, phi, rng.standard_normal(4), alpha_bwd=1.0)

    def backward(grad_y, cache):
        return power_norm_vjp(grad_y, cache).x

    np.testing.assert_allclose(
        backward(grad_y, forward(x)[1]), weight * grad_y / np.sqrt(phi + 1e-5), rtol=1e-13
    )
    assert check_vjp(forward, backward, (x,), rng=1) < 1e-7


def test_stationary_gamma_makes_gradients_orthogonal_to_z():
    """For mean z² = 1 and a constant c = mean(g z), gamma tends to 10 c."""
    rng = np.random.default_rng(SEED)
    z, grad_y, gamma = rng.standard_normal((40, 3)), rng.standard_normal((40, 3)), np.zeros(3)
    z /= np.sqrt((z**2).mean(axis=0))
    for _ in range(400):
        _, cache = power_norm(z, None, None, np.ones(3), gamma, eps=NOTHING)
        grad_x, _, _, gamma = power_norm_vjp(grad_y, cache)
    np.testing.assert_allclose(gamma, 10 * (grad_y * z).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose((grad_x * z).mean(axis=0), 0, atol=1e-14)


def test_the_scale_of_the_input_does_not_matter():
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((5, 7, 6))
    for options in ({"n_warmup": 10}, {"n_groups": 1}, {"n_groups": 3, "n_warmup": 10}):
        first, second = (layer_of(6, **options).forward(s * x)[0] for s in (1, 37.5))
        np.testing.assert_allclose(second, first, rtol=1e-13)


@pytest.mark.parametrize("n_groups", [1, 2, 5, 10])
def test_gradient_of_group_scale_by_differences(n_groups):
    x = np.random.default_rng(SEED).standard_normal((3, 7, 10))
    assert (
        check_vjp(
            lambda x: group_scale(x, n_groups=n_groups, eps=1e-3),
            group_scale_vjp,
            (x,),
            rng=1,
        )
        < 1e-7
    )
    assert (
        check_vjp(
            lambda x: group_scale(x, n_groups=n_groups),
            group_scale_vjp,
            (x[:0],),
            rng=1,
        )
        == 0
    )


def test_gradients_of_the_parameters_by_differences_and_that_of_x_is_of_no_function():
    rng = np.random.default_rng(SEED)
    x, weight, bias = rng.standard_normal((20, 4)), rng.standard_normal(4), rng.standard_normal(4)
    layer = layer_of(4, n_warmup=100)
    layer.ema_gz_ = rng.standard_normal(4)

    def forward(x, w, b):
        fresh = copy.deepcopy(layer)
        fresh.weight_, fresh.bias_ = w, b
        y, cache = fresh.forward(x)
        return y, (fresh, cache)

    def backward(grad_y, cache):
        return cache[0].backward(grad_y, cache[1])

    def of_parameters(w, b):
        return forward(x, w, b)

    assert check_vjp(of_parameters, lambda g, c: backward(g, c)[1:], (weight, bias), rng=1) < 1e-7
    assert (
        check_vjp(lambda x: forward(x, weight, bias), lambda g, c: backward(g, c)[0], (x,), rng=1)
        > 1e-2
    )


# --- the naive version ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape, options",
    [
        ((1, 1, 4), {"n_groups": None}),
        ((5, 7, 6), {"n_groups": 3}),
        ((4, 8, 33), {"n_groups": 1, "alpha_fwd": 0.5}),
        ((33, 6), {"n_groups": 6, "alpha_bwd": 0.2}),
        ((67, 12), {"n_groups": None, "backward_scale": "batch"}),
        ((3, 11, 8), {"n_groups": 2, "backward_scale": "batch", "n_warmup": 0}),
        ((64, 65), {"n_groups": 5, "n_warmup": 0}),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_ten_steps_against_naive(dtype, shape, options, masked):
    rng = np.random.default_rng(SEED)
    options = {"n_warmup": 4, "eps": 0.01} | options
    weight, bias = (rng.standard_normal(shape[-1]).astype(dtype) for _ in range(2))
    layer, right = (
        PowerNorm(shape[-1], dtype=dtype, **options),
        reference.StepByStep(shape[-1], weight=weight, bias=bias, **options),
    )
    layer.weight_, layer.bias_ = weight, bias
    for _ in range(10):
        x, grad_y = ((rng.lognormal() * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
        mask = None
        if masked:
            mask = rng.random(shape[:-1]) < 0.5
            mask.flat[rng.integers(mask.size)] = False
        y, cache = layer.forward(x, mask=mask)
        for result, expected in zip(
            (y, *layer.backward(grad_y, cache)), right.step(x, grad_y, mask), strict=True
        ):
            assert_close(result, expected)
        assert_close(layer.running_phi_, right.phi)
        assert_close(layer.ema_gz_, right.gamma, 3)
    assert layer.n_iter_ == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups_against_naive(dtype):
    rng = np.random.default_rng(SEED)
    for n, d, groups in ((1, 1, 1), (3, 12, 4), (40, 66, 2), (7, 5, 5)):
        x, grad = (rng.standard_normal((n, d)).astype(dtype) for _ in range(2))
        y, cache = group_scale(x, n_groups=groups, eps=0.1)
        assert_close(y, reference.group_scale_by_groups(x, groups, 0.1))
        right = reference.group_scale_vjp_by_groups(grad, x, groups, 0.1)
        assert_close(group_scale_vjp(grad, cache), right)


def test_functions_and_layer_take_the_same_steps():
    rng = np.random.default_rng(SEED)
    layer = layer_of(5, eps=1e-3)
    weight, bias = rng.standard_normal(5), rng.standard_normal(5)
    layer.weight_, layer.bias_ = weight, bias
    phi, gamma = np.ones(5), np.zeros(5)
    for _ in range(5):
        x, grad_y, mask = (
            rng.standard_normal((8, 6, 5)),
            rng.standard_normal((8, 6, 5)),
            rng.random((8, 6)) < 0.3,
        )
        y, cache = layer.forward(x, mask=mask)
        same_y, same_cache = power_norm(x, weight, bias, phi, gamma, eps=1e-3, mask=mask)
        *same, gamma = power_norm_vjp(grad_y, same_cache)
        phi = 0.9 * phi + 0.1 * (x[~mask] ** 2).mean(axis=0)
        for a, b in zip(
            (y, *layer.backward(grad_y, cache), layer.running_phi_, layer.ema_gz_),
            (same_y, *same, phi, gamma),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


# --- claims ---------------------------------------------------------------------------------------


def log_variance_ratio(alpha_fwd, seed):
    """var(log psi) / var(log phi) over 500 steps, batches of 32 scaled by a log-normal factor, phi
    being no longer where it began."""
    rng, layer = np.random.default_rng(seed), layer_of(4, alpha_fwd=alpha_fwd)
    psis, phis = [], []
    for _ in range(1500):
        _, cache = layer.forward(rng.lognormal() * rng.standard_normal((32, 4)))
        psis.append(cache.psi)
        phis.append(layer.running_phi_)
    return np.mean(np.log(psis[1000:]).var(axis=0) / np.log(phis[1000:]).var(axis=0))


def test_running_statistics_fluctuate_less():
    """Medians of many sequences are 9 and 87; over 500 steps one sequence gives half to twice
    that."""
    assert 5 < np.median([log_variance_ratio(0.9, seed) for seed in range(5)]) < 14
    assert 50 < np.median([log_variance_ratio(0.99, seed) for seed in range(5)]) < 150


def test_gradients_stay_bounded_where_those_of_batch_norm_do_not():
    """A batch of small numbers among many of the usual size: batch norm divides its gradient by
    their spread."""
    rng = np.random.default_rng(SEED)
    layer, largest = layer_of(8, eps=1e-12), {}
    for t in range(300):
        spread = 1e-4 if t % 50 == 49 else 1.0
        x, grad_y = spread * rng.standard_normal((32, 8)), rng.standard_normal((32, 8))
        _, cache = layer.forward(x)
        grad_power = layer.backward(grad_y, cache)[0]
        grad_batch = batch_norm_vjp(
            grad_y, batch_norm(x, np.ones(8), np.zeros(8), None, eps=1e-12)[1]
        )[0]
        for name, grad in (("power", grad_power), ("batch", grad_batch)):
            largest[name] = max(largest.get(name, 0), np.linalg.norm(grad) / np.linalg.norm(grad_y))
    assert largest["power"] < 3 and largest["batch"] > 5e3


# --- the layer's state ----------------------------------------------------------------------------


def test_inference_leaves_the_state_alone_and_folds_into_one_scale():
    rng = np.random.default_rng(SEED)
    layer = layer_of(6, n_groups=2, eps=1e-5)
    layer.weight_[:], layer.bias_[:] = rng.standard_normal((2, 6))
    for _ in range(5):
        layer.forward(rng.standard_normal((16, 6)))
    before, x, grad_y = layer.state_dict(), rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    y, cache = layer.forward(x, training=False)
    scale, shift = layer.fold()
    np.testing.assert_allclose(y, scale * group_scale(x, n_groups=2)[0] + shift, rtol=1e-13)
    np.testing.assert_allclose(
        scale, layer.weight_ / np.sqrt(layer.running_phi_ + 1e-5), rtol=1e-15
    )

    def inference(x):
        y, cache = layer.forward(x, training=False)
        return y, cache

    assert check_vjp(inference, lambda g, c: layer.backward(g, c)[0], (x,), rng=1) < 1e-7
    layer.backward(grad_y, cache)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_state_can_be_saved_and_taken_over():
    rng = np.random.default_rng(SEED)
    first, second = layer_of(3), layer_of(3)
    x, grad_y = rng.standard_normal((2, 10, 3))
    first.backward(grad_y, first.forward(x)[1])
    state, weight = first.state_dict(), second.weight_
    state["weight_"] += 1
    second.load_state_dict(state)
    assert (
        second.weight_ is weight
        and weight.tolist() == [2, 2, 2]
        and first.weight_.tolist() == [1, 1, 1]
    )
    second.weight_ -= 1
    for one, other in (
        (first.forward(x)[0], second.forward(x)[0]),
        (first.ema_gz_, second.ema_gz_),
        (first.n_iter_, second.n_iter_),
    ):
        np.testing.assert_array_equal(one, other)
    assert state["n_iter_"] == 1


def test_loading_a_state_leaves_caches_and_old_statistics_as_they_are():
    layer = layer_of(2)
    state = layer.state_dict()
    _, cache = layer.forward(X)
    phi = layer.running_phi_
    layer.load_state_dict(state | {"running_phi_": np.full(2, 9.0)})
    np.testing.assert_allclose(phi, [1.4, 1.9], rtol=1e-15)
    np.testing.assert_array_equal(layer.backward(np.eye(2), cache)[0], np.eye(2))


def test_a_cache_is_used_once():
    layer, other = layer_of(2), layer_of(2)
    _, cache = layer.forward(X)
    with pytest.raises(
        ValueError, match=r"cache must be of this layer and used once \(got one of another layer\)"
    ):
        other.backward(X, cache)
    with pytest.raises(ValueError, match=r"grad_y must have shape \(2, n_features\) like cache.x"):
        layer.backward(X[:1], cache)
    layer.backward(X, cache)
    gamma = layer.ema_gz_.copy()
    with pytest.raises(
        ValueError, match=r"cache must be of this layer and used once \(got one used before\)"
    ):
        layer.backward(X, cache)
    np.testing.assert_array_equal(layer.ema_gz_, gamma)


def test_without_affine_there_are_no_parameters():
    layer = layer_of(2, affine=False)
    y, cache = layer.forward(X)
    np.testing.assert_array_equal(y, X)
    grad_x, grad_weight, grad_bias = layer.backward(np.eye(2), cache)
    assert grad_weight is grad_bias is layer.weight_ is layer.bias_ is None
    np.testing.assert_array_equal(grad_x, np.eye(2))
    scale, shift = layer.fold()
    np.testing.assert_allclose(scale, 1 / np.sqrt([1.4, 1.9]), rtol=1e-15)
    assert shift.tolist() == [0, 0]
    layer.load_state_dict(layer.state_dict())


def test_padding_is_not_counted_but_normalized():
    rng = np.random.default_rng(SEED)
    x, grad_y, mask = (
        rng.standard_normal((6, 5, 3)),
        rng.standard_normal((6, 5, 3)),
        np.zeros((6, 5), bool),
    )
    mask[:, 3:] = True
    x[mask] = np.inf
    whole, part = layer_of(3), layer_of(3)
    y, cache = whole.forward(x, mask=mask)
    y_part, cache_part = part.forward(x[:, :3])
    np.testing.assert_array_equal(y[:, :3], y_part)
    assert np.isinf(y[:, 3:]).all()
    np.testing.assert_array_equal(whole.running_phi_, part.running_phi_)
    x[mask] = 7
    y, cache = whole.forward(x, mask=mask)
    y_part, cache_part = part.forward(x[:, :3])
    grad_x, grad_weight, grad_bias = whole.backward(grad_y, cache)
    grad_part = part.backward(grad_y[:, :3], cache_part)
    np.testing.assert_array_equal(grad_x[:, :3], grad_part[0])
    np.testing.assert_allclose(whole.ema_gz_, part.ema_gz_, rtol=1e-13)
    np.testing.assert_allclose(grad_bias, grad_y.sum(axis=(0, 1)), rtol=1e-13)


def test_an_empty_batch_changes_nothing():
    layer = layer_of(3)
    y, cache = layer.forward(np.ones((0, 5, 3)))
    grad_x, grad_weight, grad_bias = layer.backward(np.ones((0, 5, 3)), cache)
    assert y.shape == grad_x.shape == (0, 5, 3) and grad_weight.tolist() == grad_bias.tolist() == [
        0,
        0,
        0,
    ]
    assert (
        layer.n_iter_ == 0
        and layer.running_phi_.tolist() == [1, 1, 1]
        and layer.ema_gz_.tolist() == [0, 0, 0]
    )


# --- manners --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_groups", [None, 2])
def test_a_simulated_gpu_gives_the_same(dtype, n_groups):
    rng = np.random.default_rng(SEED)
    cpu, gpu = (PowerNorm(6, dtype=dtype, n_groups=n_groups, n_warmup=2) for _ in range(2))
    with simulated_gpu() as xp:
        for t in range(4):
            x, grad_y = (rng.standard_normal((5, 9, 6)).astype(dtype) for _ in range(2))
            mask = rng.random((5, 9)) < 0.3 if t % 2 else None
            y, cache = cpu.forward(x, mask=mask)
            on_cpu = (y, *cpu.backward(grad_y, cache), *cpu.fold(), cpu.running_phi_, cpu.ema_gz_)
            y, cache = gpu.forward(xp.asarray(x), mask=None if mask is None else xp.asarray(mask))
            on_gpu = (
                y,
                *gpu.backward(xp.asarray(grad_y), cache),
                *gpu.fold(),
                gpu.running_phi_,
                gpu.ema_gz_,
            )
            for a, b in zip(on_gpu, on_cpu, strict=True):
                assert isinstance(a, SimulatedArray)
                assert_close(a.get(), b)
        with pytest.raises(TypeError, match=r"one device \(got x on cpu, running_phi_ on"):
            gpu.forward(x)
        y, cache = gpu.forward(xp.asarray(x))
        with pytest.raises(TypeError, match=r"one device \(got .*grad_y on cpu"):
            gpu.backward(grad_y, cache)
        saved = gpu.state_dict()
        assert isinstance(saved["weight_"], SimulatedArray)
        fresh = PowerNorm(6, dtype=dtype, n_groups=n_groups)
        fresh.load_state_dict(saved)
        assert isinstance(fresh.forward(xp.asarray(x))[0], SimulatedArray)
        gpu.load_state_dict(cpu.state_dict())
        assert isinstance(gpu.forward(x)[0], np.ndarray)


def test_results_do_not_depend_on_threads_strides_or_writeability():
    rng, results = np.random.default_rng(SEED), []
    x, grad_y = rng.standard_normal((2, 20011, 6))
    x.flags.writeable = grad_y.flags.writeable = False
    mask = rng.random(20011) < 0.1
    try:
        for threads, of in (
            (1, np.asarray),
            (2, np.asarray),
            (5, np.asfortranarray),
            (3, lambda a: np.repeat(a, 2, axis=0)[::2]),
        ):
            numcore.set_num_threads(threads)
            layer = layer_of(6, n_groups=2, n_warmup=1)
            for _ in range(2):
                y, cache = layer.forward(of(x), mask=mask)
                grads = layer.backward(of(grad_y), cache)
            results.append((y, *grads, layer.running_phi_, layer.ema_gz_))
    finally:
        numcore.set_num_threads(None)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_layer_keeps_the_dtype():
    layer = PowerNorm(4, n_groups=2)
    y, cache = layer.forward(np.ones((3, 4), np.float32))
    for array in (
        y,
        *layer.backward(y, cache),
        *layer.fold(),
        layer.weight_,
        layer.bias_,
        layer.running_phi_,
        layer.ema_gz_,
    ):
        assert array.dtype == np.float32


def test_the_example_of_the_layer_runs():
    test, *_ = doctest.DocTestFinder().find(
        PowerNorm, "PowerNorm", module=False, globs={"PowerNorm": PowerNorm, "np": np}
    )
    assert test.examples and not doctest.DocTestRunner(verbose=False).run(test).failed


@pytest.mark.parametrize(
    "options", [{"n_groups": None}, {"n_groups": 1}, {"n_groups": None, "n_warmup": 100}]
)
def test_memory_is_the_result_and_little_else(options):
    """One array of x's size may be made beside the results; none is: sums of each 32 rows and a
    number for each position are 10 %."""
    layer, x = layer_of(64, **options), np.random.default_rng(SEED).standard_normal((4000, 64))
    layer.backward(x, layer.forward(x)[1])
    tracemalloc.start()
    try:
        y, cache = layer.forward(x)
        forward = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        layer.backward(x, cache)
        backward = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert forward < 1.15 * x.nbytes and backward < 1.15 * x.nbytes
    assert cache.x is x


# --- bad input ------------------------------------------------------------------------------------

ONES = np.ones(2)


def forward(x=X, *, options=None, **arguments):
    return layer_of(2, **options or {}).forward(x, **arguments)


def loaded(**changes):
    layer = layer_of(2)
    layer.load_state_dict(layer.state_dict() | changes)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: forward(np.ones((4, 3))),
            ValueError,
            r"x must have shape \(..., n_features\) with n_features = 2 \(got \(4, 3\)\)",
        ),
        (
            lambda: forward(np.float64(1)),
            ValueError,
            r"x must have shape \(..., n_features\) \(got \(\)\)",
        ),
        (
            lambda: forward(X.astype(int)),
            TypeError,
            r"x must have dtype float32 or float64 \(got int64\)",
        ),
        (
            lambda: forward(X.astype("f4")),
            TypeError,
            r"x must have dtype float64 like the layer \(got float32\)",
        ),
        (lambda: forward(None), TypeError, r"x must be an array \(got None\)"),
        (
            lambda: forward(mask=np.ones(2, bool)),
            ValueError,
            r"mask must leave a position \(got all 2 masked\)",
        ),
        (
            lambda: forward(mask=np.zeros((2, 2), bool)),
            ValueError,
            r"mask must have shape \(2,\) like x \(got \(2, 2\)\)",
        ),
        (lambda: forward(mask=np.zeros(2)), TypeError, r"mask must have dtype bool"),
        (lambda: forward(training=None), TypeError, r"training must be True or False \(got None\)"),
        (
            lambda: PowerNorm(6, n_groups=4),
            ValueError,
            r"n_groups must divide the number of features, 6 \(got 4\)",
        ),
        (lambda: PowerNorm(6, n_groups=0), ValueError, r"n_groups must be >= 1 \(got 0\)"),
        (lambda: PowerNorm(0), ValueError, r"n_features must be >= 1 \(got 0\)"),
        (lambda: PowerNorm(True), TypeError, r"n_features must be an integer \(got True\)"),
        (
            lambda: PowerNorm(2, alpha_fwd=1.1),
            ValueError,
            r"alpha_fwd must be in \[0, 1\] \(got 1.1\)",
        ),
        (lambda: PowerNorm(2, alpha_bwd=np.nan), ValueError, r"alpha_bwd must be finite"),
        (lambda: PowerNorm(2, eps=0.0), ValueError, r"eps must be > 0 \(got 0.0\)"),
        (
            lambda: PowerNorm(2, eps=1e-60),
            ValueError,
            r"eps must be > 0 and finite in float32 \(got 1e-60\)",
        ),
        (lambda: PowerNorm(2, n_warmup=-1), ValueError, r"n_warmup must be >= 0 \(got -1\)"),
        (lambda: PowerNorm(2, dtype="float16"), TypeError, r"dtype must be float32 or float64"),
        (lambda: PowerNorm(2, affine="yes"), TypeError, r"affine must be True or False"),
        (
            lambda: PowerNorm(2, backward_scale="paper"),
            ValueError,
            r"backward_scale must be one of \"used\", \"batch\" \(got 'paper'\)",
        ),
        (
            lambda: layer_of(2).backward(X, layer_norm(X, ONES, ONES)[1]),
            TypeError,
            r"cache must be a PowerNormLayerCache .*LayerNormCache",
        ),
        (
            lambda: loaded(weight_=np.ones(3)),
            ValueError,
            r"weight_ must have shape \(2,\) \(got \(3,\)\)",
        ),
        (lambda: loaded(bias_=None), ValueError, r"bias_ must have shape \(2,\) \(got None\)"),
        (lambda: loaded(bias_=[1.0, 1.0]), TypeError, r"bias_ must be an array \(got list\)"),
        (
            lambda: loaded(bias_=np.ones(2, "f4")),
            TypeError,
            r"bias_ must have dtype float64 \(got float32\)",
        ),
        (lambda: loaded(n_iter_=-1), ValueError, r"n_iter_ must be >= 0 \(got -1\)"),
        (lambda: loaded(n_iter_=1.5), TypeError, r"n_iter_ must be an integer \(got 1.5\)"),
        (
            lambda: loaded(extra=1),
            ValueError,
            r"state must have the entries weight_, bias_, running_phi_, ema_gz_, n_iter_ \(got "
            r".*extra\)",
        ),
        (lambda: layer_of(2).load_state_dict([]), TypeError, r"state must be a dict"),
        (
            lambda: power_norm(X, ONES, ONES, ONES, mask=np.ones(2, bool)),
            ValueError,
            r"mask must leave a position \(got all 2 masked\)",
        ),
        (
            lambda: power_norm(X.astype("f4"), None, None, np.ones(2, "f4"), eps=1e-60),
            ValueError,
            r"eps must be > 0 and finite in float32",
        ),
        (
            lambda: group_scale(X, n_groups=3),
            ValueError,
            r"n_groups must divide the number of features, 2 \(got 3\)",
        ),
        (
            lambda: group_scale_vjp(X[:1], group_scale(X)[1]),
            ValueError,
            r"grad_y must have shape \(2, d\) like cache.x",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
