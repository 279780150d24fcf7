"""Bounds of ReLU networks against known answers, sampled points, fractions and linear programs;
order, batches, errors, memory.

The long search for unsound bounds: ``pytest tests/nn/test_lipschitz.py -m slow``.
"""

import itertools
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.nn import (
    Conv2d,
    LipschitzBound,
    jacobian_bounds,
    local_lipschitz,
    monotonicity,
    output_bounds,
)
from numcore.nn._lipschitz.kernels import relax, relax_rows
from numcore.testing import simulated_gpu
from tests.naive.nn import lipschitz as naive

METHODS = ("interval", "recurjac", "linear")
ROUNDED = (
    1e-11  # bounds are widened by some hundred units in the last place of what they are sums of
)


def network(rng, sizes, bias=0.1):
    weights = [rng.normal(size=(o, i)) / np.sqrt(max(i, 1)) for i, o in itertools.pairwise(sizes)]
    return weights, [rng.normal(size=o) * bias for o in sizes[1:]]


def entrywise(lower, upper):
    return np.maximum(-lower, upper).sum(axis=-1).max(axis=-1, initial=0.0)


# --- known answers --------------------------------------------------------------------------------

KINK = (
    [np.array([[1.0, 1], [1, -1]]), np.array([[1.0, -1]])],
    [np.zeros(2), np.zeros(1)],
)  # relu(x1 + x2) - relu(x1 - x2)

TABLE = [  # sizes, eps, interval, recurjac, linear entrywise, linear joint, sampled
    ((4, 10, 10, 2), 0.01, 1.2677, 1.2677, 1.2677, 1.2677, 1.2677),
    ((4, 10, 10, 2), 0.1, 1.7658, 1.4267, 1.4267, 1.2677, 1.2677),
    ((4, 10, 10, 2), 0.5, 3.6758, 2.4258, 2.2103, 1.8566, 1.4593),
    ((8, 20, 20, 20, 3), 0.01, 1.9462, 0.2774, 0.2774, 0.2654, 0.2654),
    ((8, 20, 20, 20, 3), 0.1, 24.5853, 3.3693, 1.9019, 1.7804, 0.4650),
    ((8, 20, 20, 20, 3), 0.5, 49.4299, 49.4299, 20.5886, 20.3389, 1.3435),
]


@pytest.mark.parametrize("sizes, eps, interval, recurjac, linear, joint, sampled", TABLE)
def test_table(sizes, eps, interval, recurjac, linear, joint, sampled):
    weights, biases = network(np.random.default_rng(0), sizes)
    x0 = np.linspace(-1, 1, sizes[0])
    found = [
        entrywise(*jacobian_bounds(weights, biases, x0, eps, method=method)) for method in METHODS
    ]
    bound = local_lipschitz(weights, biases, x0, eps, n_lower_samples=20_000, rng=0)
    np.testing.assert_allclose(
        [*found, bound.upper], [interval, recurjac, linear, joint], rtol=0, atol=5.1e-5
    )  # four digits
    assert 0.97 * sampled <= bound.lower <= bound.upper  # other points were sampled


@pytest.mark.parametrize(
    "sizes, product", [((4, 10, 10, 2), 19.6117), ((8, 20, 20, 20, 3), 277.094)]
)
def test_far_below_the_product_of_norms(sizes, product):
    weights, biases = network(np.random.default_rng(0), sizes)
    assert np.prod([abs(w).sum(axis=1).max() for w in weights]) == pytest.approx(product, rel=1e-5)
    assert local_lipschitz(weights, biases, np.linspace(-1, 1, sizes[0]), 0.5).upper < product / 10


def test_kink():
    lower, upper = jacobian_bounds(*KINK, np.zeros(2), 1.0)
    np.testing.assert_allclose([lower[0], upper[0]], [[-1, 0], [1, 2]], atol=ROUNDED)
    bound = local_lipschitz(*KINK, np.zeros(2), 1.0, rng=0)
    assert isinstance(bound, LipschitzBound) and not bound.converged and bound.n_domains == 1
    np.testing.assert_allclose(
        [bound.upper, bound.lower, bound.gap, entrywise(lower, upper)], [3, 2, 1, 3], atol=ROUNDED
    )
    bound = local_lipschitz(*KINK, np.zeros(2), 1.0, branch_and_bound=True, rng=0)
    np.testing.assert_allclose([bound.upper, bound.lower], 2, atol=ROUNDED)
    assert bound.n_domains <= 4 and bound.converged is True


def test_away_from_the_kink():
    for method in METHODS:
        bound = local_lipschitz(*KINK, np.array([2.0, 0]), 0.5, method=method)
        np.testing.assert_allclose([bound.upper, bound.lower], 2, atol=ROUNDED)
        np.testing.assert_allclose(
            [bound.jacobian_lower[0], bound.jacobian_upper[0]], [[0, 2], [0, 2]], atol=ROUNDED
        )


@pytest.mark.parametrize("method", METHODS)
def test_at_a_point_the_gradient(method):
    rng = np.random.default_rng(1)
    for sizes in ((3, 2), (5, 7, 3), (4, 9, 9, 2), (6, 8, 8, 8, 1)):
        weights, biases = network(rng, sizes)
        x0 = rng.normal(size=sizes[0])
        y, jacobian = naive.evaluate(weights, biases, x0)
        bound = local_lipschitz(weights, biases, x0, 0.0, method=method)
        np.testing.assert_allclose(
            [bound.upper, bound.lower], abs(jacobian).sum(axis=1).max(), rtol=1e-10
        )
        np.testing.assert_allclose(bound.jacobian_upper, jacobian, atol=1e-10)
        np.testing.assert_allclose(output_bounds(weights, biases, x0, 0.0), [y, y], atol=1e-10)


def test_one_layer():
    weights, biases = network(np.random.default_rng(2), (5, 3))
    bound = local_lipschitz(weights, biases, np.ones(5), 2.0)
    assert (
        bound.upper == pytest.approx(abs(weights[0]).sum(axis=1).max(), rel=1e-12)
        and bound.converged
    )
    np.testing.assert_allclose(bound.jacobian_lower, weights[0], rtol=1e-12)


def test_slopes_at_exactly_zero():
    """Both slopes of |x| and everything between, at x = 0."""
    weights, biases = (
        [np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])],
        [np.zeros(2), np.zeros(1)],
    )
    for method in METHODS:
        lower, upper = jacobian_bounds(weights, biases, np.zeros(1), 0.0, method=method)
        assert lower[0, 0] <= -1 and upper[0, 0] >= 1
    assert monotonicity(weights, biases, np.zeros(1), 0.0)[0, 0] == 0
    for shift, slope in ((1e-3, 1), (-1e-3, -1)):
        np.testing.assert_allclose(
            jacobian_bounds(weights, biases, np.array([shift]), 0.0), slope, atol=ROUNDED
        )


def test_a_sum_of_one_is_bounded_by_its_entries_where_that_is_better():
    """Chords above absolute values may be looser than the sum of bounds."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        weights, biases = network(rng, (3, 6, 6, 1))
        bound = local_lipschitz(weights, biases, rng.normal(size=3), 0.5, n_lower_samples=0)
        assert bound.upper <= entrywise(bound.jacobian_lower, bound.jacobian_upper) * (1 + 1e-12)


# --- soundness ------------------------------------------------------------------------------------


def check_sound(rng, networks):
    """Random small networks, three boxes each: bounds hold at sampled points and corners, and are
    ordered."""
    for _ in range(networks):
        sizes = rng.integers(1, 7, rng.integers(2, 6))
        weights, biases = network(rng, sizes, bias=rng.choice([0, 0.1, 1]))
        x0 = rng.normal(size=(3, sizes[0])) * rng.choice([0, 1])
        eps = rng.choice([0, 0.01, 0.3, 2]) * rng.choice([np.ones(sizes[0]), rng.random(sizes[0])])
        points = [
            x0,
            *(x0 + eps * rng.uniform(-1, 1, x0.shape) for _ in range(12)),
            *(x0 + eps * rng.choice([-1, 1], x0.shape) for _ in range(6)),
        ]
        seen = [
            [naive.evaluate(weights, biases, x) for x in box] for box in np.swapaxes(points, 0, 1)
        ]
        y, jacobian = (
            np.array([[point[part] for point in box] for box in seen]) for part in (0, 1)
        )
        for method in ("interval", "crown"):
            lower, upper = output_bounds(weights, biases, x0, eps, method=method)
            assert (lower[:, None] <= y).all() and (y <= upper[:, None]).all()
        largest, looser = abs(jacobian).sum(axis=-1).max(axis=(1, 2)), np.inf
        for method in METHODS:
            lower, upper = jacobian_bounds(weights, biases, x0, eps, method=method)
            assert (lower[:, None] <= jacobian).all() and (jacobian <= upper[:, None]).all()
            assert (entrywise(lower, upper) <= looser + ROUNDED).all()
            looser = entrywise(lower, upper)
        bound = local_lipschitz(weights, biases, x0, eps, n_lower_samples=10, rng=rng)
        assert (
            (largest <= bound.upper).all()
            and (bound.lower <= bound.upper).all()
            and (bound.upper <= looser + ROUNDED).all()
        )
        yield weights, biases, x0, eps, largest, bound


def test_bounds_contain_what_is_sampled():
    assert sum(1 for _ in check_sound(np.random.default_rng(4), 1000)) == 1000


@pytest.mark.slow
def test_bounds_contain_what_is_sampled_for_long():
    assert sum(1 for _ in check_sound(np.random.default_rng(5), 20_000)) == 20_000


@pytest.mark.parametrize("method", METHODS)
def test_splitting_is_sound_and_never_looser(method):
    for weights, biases, x0, eps, largest, bound in check_sound(np.random.default_rng(6), 30):
        split = local_lipschitz(
            weights,
            biases,
            x0,
            eps,
            method=method,
            branch_and_bound=True,
            max_domains=20,
            n_lower_samples=10,
            rng=0,
        )
        assert (largest <= split.upper).all()
        if method == "linear":
            assert (split.upper <= bound.upper + ROUNDED).all()


def test_against_linear_programs():
    """The constant over all patterns of neurons that some point of the box has."""
    rng, met = np.random.default_rng(7), 0
    for _ in range(12):
        weights, biases = network(rng, (2, 3, 3, 2), bias=0.5)
        x0, eps = rng.normal(size=2) / 2, 0.5
        exact = naive.lipschitz(weights, biases, x0, eps)
        bound = local_lipschitz(weights, biases, x0, eps, branch_and_bound=True, rng=0)
        assert bound.lower <= exact * (1 + 1e-12) and exact <= bound.upper
        met += bound.upper <= exact * (1 + 1e-9)
    assert met >= 8  # the others have patterns that no point has but that bounds do not exclude


def test_rounding_errors_are_allowed_for():
    """Exact values in fractions lie within bounds whose terms cancel."""
    rng = np.random.default_rng(8)
    for dtype in (np.float32, np.float64):
        for _ in range(60):
            weights, biases = network(rng, rng.integers(1, 6, 4))
            weights = [
                np.concatenate([w, -w * (1 + 1e-15)]).astype(dtype) for w in weights[:-1]
            ] + [weights[-1]]
            weights = [
                weights[0],
                *(np.concatenate([w, w * (1 - 1e-14)], axis=1).astype(dtype) for w in weights[1:]),
            ]
            biases = [*(np.tile(b, 2).astype(dtype) for b in biases[:-1]), biases[-1].astype(dtype)]
            x0 = rng.normal(size=weights[0].shape[1]).astype(dtype)
            y, jacobian = naive.exactly(weights, biases, x0.tolist())
            for (lower, upper), exact in (
                (output_bounds(weights, biases, x0, 0.0), y),
                *zip(
                    zip(*jacobian_bounds(weights, biases, x0, 0.0), strict=True),
                    jacobian,
                    strict=True,
                ),
            ):
                assert lower.dtype == dtype
                assert all(
                    a <= e <= b
                    for a, e, b in zip(lower.tolist(), exact, upper.tolist(), strict=True)
                )


def test_float32_bounds_enclose_those_of_float64():
    weights, biases = network(np.random.default_rng(9), (6, 12, 12, 3))
    narrow = (
        [w.astype(np.float32) for w in weights],
        [b.astype(np.float32) for b in biases],
        np.ones(6, np.float32),
        0.25,
    )
    wide = (
        [w.astype(float) for w in narrow[0]],
        [b.astype(float) for b in narrow[1]],
        np.ones(6),
        0.25,
    )
    for routine in (output_bounds, jacobian_bounds):
        (lower, upper), (low, high) = routine(*narrow), routine(*wide)
        assert (lower <= low).all() and (upper >= high).all() and lower.dtype == np.float32
    bound, other = local_lipschitz(*narrow, rng=0), local_lipschitz(*wide, rng=0)
    assert (
        bound.upper.dtype == np.float32
        and bound.upper >= other.upper
        and bound.lower <= other.lower
    )
    assert bound.upper == pytest.approx(other.upper, rel=1e-6)


# --- properties -----------------------------------------------------------------------------------


def test_scaling_the_last_layer_scales_the_bound():
    weights, biases = network(np.random.default_rng(10), (4, 9, 9, 2))
    once = local_lipschitz(weights, biases, np.zeros(4), 0.2, rng=0)
    for s in (-3.0, 0.25, 0.0):
        other = local_lipschitz([*weights[:-1], s * weights[-1]], biases, np.zeros(4), 0.2, rng=0)
        np.testing.assert_allclose(
            [other.upper, other.lower], [abs(s) * once.upper, abs(s) * once.lower], rtol=1e-11
        )


def test_larger_boxes_have_larger_bounds():
    rng = np.random.default_rng(11)
    for _ in range(30):
        weights, biases = network(rng, (4, 8, 8, 2))
        x0 = rng.normal(size=4)
        for method in METHODS:
            bounds = [
                local_lipschitz(weights, biases, x0, eps, method=method, n_lower_samples=0).upper
                for eps in (0, 0.02, 0.1, 0.5, 1, 3)
            ]
            assert all(b >= a * (1 - 1e-6) for a, b in itertools.pairwise(bounds))


def test_boxes_do_not_depend_on_each_other():
    rng = np.random.default_rng(12)
    weights, biases = network(rng, (4, 8, 8, 2))
    x0, eps = rng.normal(size=(2, 3, 4)), rng.random((3, 1))
    bound = local_lipschitz(
        weights, biases, x0, eps, branch_and_bound=True, max_domains=10, n_lower_samples=50, rng=0
    )
    assert bound.converged is False and bound.reason in ("max_domains", "exhausted")
    assert bound.upper.shape == bound.gap.shape == bound.n_domains.shape == (
        2,
        3,
    ) and bound.jacobian_lower.shape == (2, 3, 2, 4)
    layers = output_bounds(weights, biases, x0, eps, return_layers=True)[2]
    for i, j in np.ndindex(2, 3):
        lower, upper = output_bounds(weights, biases, x0[i, j], eps[j])
        alone = local_lipschitz(
            weights,
            biases,
            x0[i, j],
            eps[j],
            branch_and_bound=True,
            max_domains=10,
            n_lower_samples=0,
        )
        np.testing.assert_allclose(
            [lower, upper],
            [part[i, j] for part in output_bounds(weights, biases, x0, eps)],
            rtol=1e-10,
        )
        np.testing.assert_allclose(bound.jacobian_upper[i, j], alone.jacobian_upper, atol=ROUNDED)
        assert (
            bound.upper[i, j]
            <= local_lipschitz(weights, biases, x0[i, j], eps[j], n_lower_samples=0).upper + ROUNDED
        )
        assert layers[0][0].shape == (2, 3, 8)
    assert len(layers) == 2


def test_layers_bound_what_enters_the_relus():
    weights, biases = network(np.random.default_rng(13), (3, 5, 4, 2))
    lower, upper, layers = output_bounds(weights, biases, np.zeros(3), 0.3, return_layers=True)
    first = abs(weights[0]).sum(axis=1) * 0.3
    np.testing.assert_allclose(layers[0], [biases[0] - first, biases[0] + first], rtol=1e-12)
    np.testing.assert_allclose(
        layers[1], output_bounds(weights[:2], biases[:2], np.zeros(3), 0.3), rtol=1e-12
    )


def test_combinations_of_outputs():
    rng = np.random.default_rng(14)
    weights, biases = network(rng, (4, 8, 3))
    c = rng.normal(size=(2, 3))
    combined = [weights[0], c @ weights[1]], [biases[0], c @ biases[1]]
    for method in METHODS:
        np.testing.assert_allclose(
            jacobian_bounds(weights, biases, np.ones(4), 0.5, c=c, method=method),
            jacobian_bounds(*combined, np.ones(4), 0.5, method=method),
            atol=ROUNDED,
        )
    options = {"branch_and_bound": True, "rng": 0}
    assert local_lipschitz(weights, biases, np.ones(4), 0.5, c=c, **options).upper == pytest.approx(
        local_lipschitz(*combined, np.ones(4), 0.5, **options).upper, rel=1e-10
    )


def test_monotone_network():
    """Positive weights give outputs that rise in every input, whatever is rounded; turning an input
    turns its sign."""
    weights, biases = network(np.random.default_rng(15), (5, 20, 20, 3))
    weights = [abs(w) for w in weights]
    assert (monotonicity(weights, biases, np.zeros(5), 1.0) == 1).all()
    weights[0] = weights[0] * np.array([1, -1, 1, -1, 0])
    signs = monotonicity(weights, biases, np.zeros((2, 5)), 1.0)
    assert signs.dtype == np.int8 and (signs == [1, -1, 1, -1, 0]).all()
    np.testing.assert_array_equal(
        monotonicity(weights, biases, np.zeros(5), 1.0, features=[3, 0]), signs[0][:, [3, 0]]
    )
    assert monotonicity(weights, biases, np.zeros(5), 1.0, features=[]).shape == (3, 0)


def test_certified_signs_agree_with_sampled_ones():
    rng, certain = np.random.default_rng(16), 0
    for _ in range(50):
        weights, biases = network(rng, (4, 6, 6, 2))
        x0, eps = rng.normal(size=4), 0.1
        signs = monotonicity(weights, biases, x0, eps)
        certain += (signs != 0).sum()
        for _ in range(20):
            jacobian = naive.evaluate(weights, biases, x0 + eps * rng.uniform(-1, 1, 4))[1]
            assert (signs * jacobian >= 0).all()
    assert certain > 100


# --- splitting ------------------------------------------------------------------------------------


def test_more_parts_give_tighter_bounds():
    weights, biases = network(np.random.default_rng(0), (8, 20, 20, 20, 3))
    x0, calls = np.linspace(-1, 1, 8), []
    bounds = [
        local_lipschitz(
            weights,
            biases,
            x0,
            0.1,
            branch_and_bound=True,
            max_domains=n,
            batch_size=7,
            n_lower_samples=100,
            rng=0,
        )
        for n in (1, 2, 20, 100)
    ]
    uppers = [bound.upper for bound in bounds]
    assert [bound.n_domains for bound in bounds] == [1, 2, 20, 100]
    assert uppers[0] >= uppers[1] >= uppers[2] > uppers[3]
    assert uppers[0] == pytest.approx(1.7804, abs=1e-4)
    stopped = local_lipschitz(
        weights,
        biases,
        x0,
        0.1,
        branch_and_bound=True,
        n_lower_samples=100,
        rng=0,
        batch_size=5,
        callback=lambda *state: calls.append(state) or len(calls) == 3,
    )
    assert stopped.reason == "callback" and stopped.n_iter == 3
    assert (
        len(calls) == 3 and stopped.n_domains == calls[-1][2] == 14
    )  # 3 outputs first, then 5 and 5
    uppers, lowers, _ = zip(*calls, strict=True)
    assert (
        list(uppers) == sorted(uppers, reverse=True)
        and stopped.upper == uppers[-1]
        and set(lowers) == {stopped.lower}
    )


def test_interruption_returns_what_holds():
    def interrupt(*_):
        raise KeyboardInterrupt

    weights, biases = network(np.random.default_rng(0), (4, 10, 10, 2))
    bound = local_lipschitz(
        weights,
        biases,
        np.linspace(-1, 1, 4),
        0.5,
        branch_and_bound=True,
        rng=0,
        callback=interrupt,
    )
    assert 1.4 < bound.lower <= bound.upper <= 1.8567 and not bound.converged
    assert bound.reason == "interrupt" and bound.n_iter == 1


def test_progress(capsys):
    pytest.importorskip("tqdm")
    local_lipschitz(*KINK, np.zeros(2), 1.0, branch_and_bound=True, progress=True)
    assert "domains" in capsys.readouterr().err


def test_tolerance_ends_the_search():
    bound = local_lipschitz(*KINK, np.zeros(2), 1.0, branch_and_bound=True, tol=1.5, rng=0)
    assert bound.n_domains == 1 and bound.converged and bound.reason == "tol" and bound.n_iter == 0


# --- convolutions ---------------------------------------------------------------------------------

CONVOLUTIONS = [
    ((3, 2, 3, 3), 1, 1, (2, 5, 4)),
    ((2, 3, 2, 3), (2, 1), (0, 2), (3, 6, 5)),
    ((1, 1, 1, 1), 3, 0, (1, 4, 4)),
    ((2, 1, 3, 2), 2, (1, 0), (1, 6, 7)),
]


@pytest.mark.parametrize("shape, stride, padding, image", CONVOLUTIONS)
def test_convolution_and_its_adjoint(shape, stride, padding, image):
    rng = np.random.default_rng(17)
    operator = Conv2d(rng.normal(size=shape), stride, padding, image)
    pair = [value if isinstance(value, tuple) else (value, value) for value in (stride, padding)]
    x, y = rng.normal(size=(3, operator.shape[1])), rng.normal(size=(3, operator.shape[0]))
    expected = np.array([naive.conv2d(row.reshape(image), operator.weight, *pair) for row in x])
    assert expected.shape[1:] == operator.output_shape
    np.testing.assert_allclose(operator.apply(x), expected.reshape(3, -1), atol=1e-13)
    np.testing.assert_allclose(
        np.vdot(operator.apply(x), y), np.vdot(x, operator.adjoint(y)), rtol=1e-12
    )


def _convolutional(rng, dtype=np.float64):
    first = Conv2d(rng.normal(size=(3, 2, 3, 3)).astype(dtype) / 4, 2, 1, (2, 6, 5))
    second = Conv2d(rng.normal(size=(2, 3, 2, 2)).astype(dtype) / 3, 1, 0, first.output_shape)
    last = rng.normal(size=(3, second.shape[0])).astype(dtype)
    return [first, second, last], [
        rng.normal(size=n).astype(dtype) / 4 for n in (3, second.shape[0], 3)
    ]


def test_a_convolution_is_its_matrix():
    rng = np.random.default_rng(18)
    weights, biases = _convolutional(rng)
    dense = [
        w if isinstance(w, np.ndarray) else w.apply(np.eye(w.shape[1])).T.copy() for w in weights
    ]
    flat = [np.repeat(biases[0], dense[0].shape[0] // 3), *biases[1:]]
    x0 = rng.normal(size=60)
    for method in METHODS:
        np.testing.assert_allclose(
            jacobian_bounds(weights, biases, x0, 0.05, method=method),
            jacobian_bounds(dense, flat, x0, 0.05, method=method),
            atol=ROUNDED,
        )
    np.testing.assert_allclose(
        output_bounds(weights, biases, x0, 0.05), output_bounds(dense, flat, x0, 0.05), atol=ROUNDED
    )
    options = {"branch_and_bound": True, "max_domains": 8, "n_lower_samples": 50, "rng": 0}
    ours, theirs = (
        local_lipschitz(weights, biases, x0, 0.05, **options),
        local_lipschitz(dense, flat, x0, 0.05, **options),
    )
    np.testing.assert_allclose([ours.upper, ours.lower], [theirs.upper, theirs.lower], rtol=1e-9)
    np.testing.assert_array_equal(
        monotonicity(weights, biases, x0, 0.01), monotonicity(dense, flat, x0, 0.01)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_on_the_simulated_gpu(dtype):
    weights, biases = _convolutional(np.random.default_rng(19), dtype)
    x0 = np.linspace(-1, 1, 120, dtype=dtype).reshape(2, 60)
    options = {"branch_and_bound": True, "max_domains": 6, "n_lower_samples": 9, "rng": 0}
    tolerance = 1e-6 if dtype == np.float32 else ROUNDED
    expected = local_lipschitz(weights, biases, x0, 0.05, **options)
    with simulated_gpu() as xp:
        there = [
            xp.asarray(w) if isinstance(w, np.ndarray) else w.like(xp.asarray(w.weight))
            for w in weights
        ]
        found = local_lipschitz(
            there, [xp.asarray(b) for b in biases], xp.asarray(x0), 0.05, **options
        )
        one = there[0].apply(xp.asarray(x0)).get()
        with pytest.raises(TypeError, match="one device"):
            local_lipschitz(there, biases, x0, 0.05)
    np.testing.assert_array_equal(one, weights[0].apply(x0))
    assert expected[2:5] == found[2:5]
    for ours, theirs in zip(expected[:2] + expected[5:], found[:2] + found[5:], strict=True):
        np.testing.assert_allclose(theirs.get(), ours, rtol=tolerance, atol=tolerance)


def test_read_only_weights_stay_as_they_are():
    weights, biases = _convolutional(np.random.default_rng(20))
    arrays = [weights[0].weight, weights[1].weight, weights[2], *biases]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    local_lipschitz(weights, biases, np.zeros(60), 0.1, branch_and_bound=True, max_domains=4)
    assert all((a == b).all() for a, b in zip(arrays, before, strict=True))


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 40])
def test_relaxation_is_the_largest_value_between_the_lines(n):
    rng = np.random.default_rng(21)
    w, lines = rng.normal(size=(3, n)), [rng.normal(size=(2, n)) for _ in range(4)]
    a, c = np.empty((12, n)), np.empty(12)
    relax_rows(w, *lines, 0, a, c)
    rows = np.stack([np.concatenate([w, -w])] * 2)
    su, sl, tu, tl = (line[:, None] for line in lines)
    np.testing.assert_allclose(
        a.reshape(2, 6, n), np.where(rows > 0, rows * su, rows * sl), rtol=1e-14
    )
    np.testing.assert_allclose(
        c.reshape(2, 6), np.where(rows > 0, rows * tu, rows * tl).sum(axis=-1), atol=1e-13
    )
    again, constant = rows.reshape(12, n).copy(), np.ones(12)
    relax(again, constant, w[:0], *lines, 0)
    np.testing.assert_array_equal(again, a)
    np.testing.assert_allclose(constant, c + 1, atol=1e-13)
    again, constant = np.zeros((12, n)), np.zeros(12)
    relax(again, constant, w, *lines, 0)
    np.testing.assert_array_equal(again, a)
    np.testing.assert_array_equal(constant, c)


def test_relaxation_keeps_nan():
    a, c = np.array([[np.nan, 1.0]]), np.zeros(1)
    relax(a, c, a[:0], *[np.ones((1, 2))] * 4, 0)
    assert np.isnan(a[0, 0]) and np.isnan(c[0])


# --- limits ---------------------------------------------------------------------------------------


def test_overflow_says_nothing_false():
    weights, biases = (
        [np.full((2, 2), 1e200), np.full((2, 2), 1e200), np.ones((1, 2))],
        [np.zeros(2), np.zeros(2), np.zeros(1)],
    )
    lower, upper = output_bounds(weights, biases, np.ones(2), 0.5)
    assert lower[0] <= np.finfo(float).max and upper[0] == np.inf
    lower, upper = jacobian_bounds(weights, biases, np.ones(2), 2.0)
    assert (lower <= 0).all() and (upper == np.inf).all()
    assert local_lipschitz(weights, biases, np.ones(2), 2.0).upper == np.inf


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (2, 0, 3), (0, 4, 2), (3, 4, 0)])
def test_layers_without_neurons(sizes):
    weights, biases = network(np.random.default_rng(22), sizes)
    x0 = np.ones((2, sizes[0]))
    lower, upper = output_bounds(weights, biases, x0, 0.5)
    assert lower.shape == (2, sizes[-1])
    if 0 in sizes[:2]:
        np.testing.assert_allclose(lower, upper, atol=ROUNDED)
    for method in METHODS:
        bound = local_lipschitz(weights, biases, x0, 0.5, method=method, branch_and_bound=True)
        assert (
            bound.jacobian_lower.shape == (2, sizes[-1], sizes[0])
            and (bound.upper == 0).all()
            and bound.converged
        )


def test_memory():
    """All rows of the last relaxation at once would be 15,680 × 256 numbers, twice: 64 MB; more
    outputs need no more."""
    weights, biases = network(np.random.default_rng(0), (784, 256, 256, 256, 10))
    tracemalloc.start()
    try:
        for c in (None, np.eye(10)[np.arange(40) % 10]):
            local_lipschitz(
                weights,
                biases,
                np.random.default_rng(1).random(784),
                0.01,
                c=c,
                n_lower_samples=100,
            )
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


def test_many_boxes_take_memory_for_their_results_only():
    weights, biases = network(np.random.default_rng(0), (50, 40, 40, 2))
    x0 = np.random.default_rng(1).random((3000, 50))
    tracemalloc.start()
    try:
        lower, _ = jacobian_bounds(weights, biases, x0, 0.01)
        assert tracemalloc.get_traced_memory()[1] < 16 * lower.nbytes + 128e6
    finally:
        tracemalloc.stop()


def test_same_bits_at_any_number_of_threads():
    weights, biases = network(np.random.default_rng(0), (60, 50, 50, 10))
    before, found = numcore.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            numcore.set_num_threads(n)
            found.append(
                local_lipschitz(
                    weights,
                    biases,
                    np.linspace(0, 1, 60),
                    0.05,
                    branch_and_bound=True,
                    max_domains=30,
                    rng=0,
                )
            )
    finally:
        numcore.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


# --- bad input ------------------------------------------------------------------------------------

W, B, X = [np.ones((3, 2)), np.ones((1, 3))], [np.zeros(3), np.zeros(1)], np.zeros(2)


@pytest.mark.parametrize(
    "error, match, call",
    [
        (
            ValueError,
            r"weights\[1\] must take the 3 outputs of the layer before it",
            lambda: output_bounds([W[0], np.ones((1, 4))], B, X, 1),
        ),
        (ValueError, "weights must hold at least 1 layer", lambda: output_bounds([], [], X, 1)),
        (
            ValueError,
            "biases must hold 2 arrays, as many as weights",
            lambda: output_bounds(W, B[:1], X, 1),
        ),
        (
            ValueError,
            r"biases\[0\] must have shape \(3,\)",
            lambda: output_bounds(W, [np.zeros(2), B[1]], X, 1),
        ),
        (
            ValueError,
            r"weights\[0\] must have shape \(_, _\)",
            lambda: output_bounds([np.ones(3)], B[:1], X, 1),
        ),
        (
            ValueError,
            r"x0 must have shape .* n_in = 2",
            lambda: output_bounds(W, B, np.zeros(3), 1),
        ),
        (ValueError, r"x0 must have shape", lambda: output_bounds(W, B, np.float64(0), 1)),
        (ValueError, "eps must be >= 0", lambda: jacobian_bounds(W, B, X, -1)),
        (ValueError, "eps must be finite", lambda: jacobian_bounds(W, B, X, np.nan)),
        (ValueError, "eps must be >= 0", lambda: jacobian_bounds(W, B, X, np.array([1.0, -1]))),
        (
            ValueError,
            r"eps must broadcast to the shape \(2,\)",
            lambda: jacobian_bounds(W, B, X, np.ones(3)),
        ),
        (
            ValueError,
            r"eps must broadcast to the shape \(2,\)",
            lambda: jacobian_bounds(W, B, X, np.ones((1, 2))),
        ),
        (
            ValueError,
            "eps must be finite",
            lambda: jacobian_bounds(W, B, X, np.array([1.0, np.inf])),
        ),
        (
            ValueError,
            r"weights\[1\] must be finite",
            lambda: jacobian_bounds([W[0], np.full((1, 3), np.inf)], B, X, 1),
        ),
        (
            ValueError,
            r"biases\[1\] must be finite",
            lambda: jacobian_bounds(W, [B[0], np.array([np.nan])], X, 1),
        ),
        (ValueError, "x0 must be finite", lambda: jacobian_bounds(W, B, X + np.nan, 1)),
        (
            ValueError,
            r"c must have shape \(q, n_out\) with n_out = 1",
            lambda: jacobian_bounds(W, B, X, 1, c=np.ones((1, 2))),
        ),
        (
            ValueError,
            'method must be one of "linear", "recurjac", "interval"',
            lambda: jacobian_bounds(W, B, X, 1, method="crown"),
        ),
        (
            ValueError,
            'method must be one of "crown", "interval"',
            lambda: output_bounds(W, B, X, 1, method="linear"),
        ),
        (ValueError, "max_domains must be in", lambda: local_lipschitz(W, B, X, 1, max_domains=0)),
        (ValueError, "batch_size must be in", lambda: local_lipschitz(W, B, X, 1, batch_size=0)),
        (
            ValueError,
            "n_lower_samples must be in",
            lambda: local_lipschitz(W, B, X, 1, n_lower_samples=-1),
        ),
        (ValueError, "tol must be >= 0", lambda: local_lipschitz(W, B, X, 1, tol=-1.0)),
        (
            ValueError,
            r"features must be in \[0, n_in\) with n_in = 2 \(got 2",
            lambda: monotonicity(W, B, X, 1, features=[2]),
        ),
        (
            ValueError,
            "features must have shape",
            lambda: monotonicity(W, B, X, 1, features=[[0]]),
        ),
        (
            TypeError,
            "features must have dtype integers",
            lambda: monotonicity(W, B, X, 1, features=[0.5]),
        ),
        (ValueError, "features must have shape", lambda: monotonicity(W, B, X, 1, features=1)),
        (
            TypeError,
            "weights must be a list or tuple",
            lambda: output_bounds(np.ones((2, 2, 2)), B, X, 1),
        ),
        (TypeError, "biases must be a list or tuple", lambda: output_bounds(W, None, X, 1)),
        (TypeError, r"weights\[0\] must be an array", lambda: output_bounds([None, W[1]], B, X, 1)),
        (
            TypeError,
            r"weights\[0\] must have dtype float32 or float64",
            lambda: output_bounds([W[0].astype(int), W[1]], B, X, 1),
        ),
        (
            TypeError,
            r"weights\[1\] must have dtype float32 like weights\[0\]",
            lambda: output_bounds([W[0].astype(np.float32), W[1]], B, X, 1),
        ),
        (TypeError, "x0 must have dtype", lambda: output_bounds(W, B, [0, 0], 1)),
        (TypeError, "eps must be", lambda: output_bounds(W, B, X, None)),
        (TypeError, "eps must be", lambda: output_bounds(W, B, X, "wide")),
        (
            TypeError,
            "max_domains must be an integer",
            lambda: local_lipschitz(W, B, X, 1, max_domains=2.5),
        ),
        (TypeError, "tol must be a number", lambda: local_lipschitz(W, B, X, 1, tol="small")),
        (
            TypeError,
            "branch_and_bound must be True or False",
            lambda: local_lipschitz(W, B, X, 1, branch_and_bound=1),
        ),
        (TypeError, "callback must be", lambda: local_lipschitz(W, B, X, 1, callback=3)),
        (ValueError, "weight must have shape", lambda: Conv2d(np.ones((3, 3)), 1, 0, (1, 3, 3))),
        (
            ValueError,
            "input_shape must have the 2 channels",
            lambda: Conv2d(np.ones((1, 2, 3, 3)), 1, 0, (1, 3, 3)),
        ),
        (
            ValueError,
            "weight must not be larger than the padded image",
            lambda: Conv2d(np.ones((1, 1, 5, 3)), 1, 0, (1, 4, 4)),
        ),
        (ValueError, "stride must be in", lambda: Conv2d(np.ones((1, 1, 1, 1)), 0, 0, (1, 4, 4))),
        (ValueError, "padding must be in", lambda: Conv2d(np.ones((1, 1, 1, 1)), 1, -1, (1, 4, 4))),
        (
            TypeError,
            "input_shape must be a list or tuple",
            lambda: Conv2d(np.ones((1, 1, 1, 1)), 1, 0, 5),
        ),
        (
            TypeError,
            "stride must be an integer",
            lambda: Conv2d(np.ones((1, 1, 1, 1)), 1.5, 0, (1, 4, 4)),
        ),
        (
            TypeError,
            "weight must have dtype",
            lambda: Conv2d(np.ones((1, 1, 1, 1), int), 1, 0, (1, 4, 4)),
        ),
    ],
)
def test_errors(error, match, call):
    with pytest.raises(error, match=match):
        call()
