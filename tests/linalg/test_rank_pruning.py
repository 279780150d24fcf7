"""Rank pruning: known ranks and singular values, factors against convolutions, subgradients,
training.

The training of three seeds takes half a minute:
``pytest -m slow tests/linalg/test_rank_pruning.py``.
"""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.linalg.rank_pruning import folded, truncated, unfolded
from numcore.linalg import (
    ConvFactors,
    RankPruner,
    apply_factors,
    decompose_kernel,
    nuclear_norm,
    truncate_kernel,
)
from numcore.nn import conv2d
from numcore.testing import simulated_gpu
from tests.linalg.digits_network import DigitsNetwork, train

SCHEMES = ["channel", "spatial", "decouple"]
SHAPES = [
    (1, 1, 1, 1),
    (1, 5, 3, 3),
    (5, 1, 3, 3),
    (6, 4, 3, 2),
    (16, 8, 3, 3),
    (40, 2, 1, 3),
    (3, 20, 2, 5),
    (2, 31, 5, 5),
]
DIAGONAL = np.diag([3.0, 2.0, 1.0, 0.5])
MODULO = np.arange(36.0).reshape(2, 2, 3, 3) % 7


def random_kernel(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def full_rank(shape, scheme):
    n, c, kh, kw = shape
    return {
        "channel": min(n, c * kh * kw),
        "spatial": min(c * kh, n * kw),
        "decouple": min(c, kh * kw),
    }[scheme]


def spectral(*sigma, shape=(6, 5, 3, 2), scheme="channel", seed=1):
    """A kernel whose unfolding has these singular values."""
    rng = np.random.default_rng(seed)
    stack = []
    for m in unfolded(np.zeros(shape), scheme):
        u, v = (np.linalg.qr(rng.standard_normal((size, len(sigma))))[0] for size in m.shape)
        stack.append(u * sigma @ v.T)
    return folded(np.stack(stack), shape, scheme)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "energy, rank", [(0.6, 1), (0.9, 2), (0.93, 3), (0.98, 3), (0.99, 4), (1, 4), (1e-9, 1)]
)
def test_rank_by_energy(energy, rank):
    result = truncate_kernel(DIAGONAL, energy=energy)
    assert result.rank == rank
    kept = [0.63157895, 0.9122807, 0.98245614, 1][rank - 1]
    assert abs(1 - result.relative_error**2 - kept) < 5e-9  # the digits that are known


@pytest.mark.parametrize(
    "rule, rank",
    [
        (dict(threshold=0.4), 4),
        (dict(threshold=1.5), 2),
        (dict(threshold=100), 1),
        (dict(threshold=0), 4),
        (dict(threshold=1e-30), 4),
        (dict(ratio=0.5), 2),
        (dict(ratio=0.74), 2),
        (dict(ratio=0.1), 1),
        (dict(ratio=1), 4),
        (dict(rank=3), 3),
    ],
)
def test_other_rules(rule, rank):
    assert truncate_kernel(DIAGONAL, **rule).rank == rank
    assert decompose_kernel(DIAGONAL, **rule).rank == rank


def test_a_ratio_is_not_rounded_down_by_roundoff():
    assert 0.29 * 100 < 29
    assert truncate_kernel(random_kernel(100, 120), ratio=0.29).rank == 29


@pytest.mark.parametrize(
    "scheme, sigma",
    [
        ("channel", [18.62085149, 10.4049935]),
        ("spatial", [17.72516263, 7.0205604, 6.86328385, 4.04353223, 3.99558321, 3.48006294]),
    ],
)
def test_known_singular_values(scheme, sigma):
    np.testing.assert_allclose(
        truncate_kernel(MODULO, scheme=scheme, rank=1).singular_values, sigma, rtol=0, atol=5e-9
    )


@pytest.mark.parametrize("scheme, ranks", [("channel", [5, 12, 15]), ("spatial", [6, 16, 21])])
def test_known_ranks(scheme, ranks):
    w = random_kernel(16, 8, 3, 3)
    assert [truncate_kernel(w, scheme=scheme, energy=e).rank for e in (0.5, 0.9, 0.98)] == ranks
    assert truncate_kernel(w, scheme="decouple", energy=0.9).rank == 5


@pytest.mark.parametrize(
    "scheme, rank, numbers",
    [("channel", 8, 2816), ("channel", 16, 5632), ("spatial", 8, 2304), ("spatial", 16, 4608)],
)
def test_known_parameters(scheme, rank, numbers):
    assert (
        decompose_kernel(random_kernel(64, 32, 3, 3), scheme=scheme, rank=rank).n_params == numbers
    )


# --- truncation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "dtype, tolerance", [("float64", 1e-11), ("float32", 2e-5)]
)  # conditions up to 100, times the roundoff
def test_against_the_definition(shape, scheme, dtype, tolerance):
    w, most = random_kernel(*shape).astype(dtype), full_rank(shape, scheme)
    for rule in [dict(rank=r) for r in {1, (most + 1) // 2, most}] + [dict(energy=0.8)]:
        result = truncate_kernel(w, scheme=scheme, **rule)
        weight, r, sigma, subgradient, error = truncated(w, scheme, **rule)
        assert (
            result.rank == r
            and result.weight.dtype
            == result.subgradient.dtype
            == result.singular_values.dtype
            == dtype
        )
        np.testing.assert_allclose(
            result.singular_values, sigma, rtol=0, atol=tolerance * sigma.max()
        )
        np.testing.assert_allclose(result.weight, weight, rtol=0, atol=tolerance * np.abs(w).max())
        np.testing.assert_allclose(result.subgradient, subgradient, rtol=0, atol=tolerance)
        assert abs(result.relative_error - error) < (1e-12 if dtype == "float64" else 1e-6)
        if dtype == "float64":
            assert (
                abs(result.relative_error - np.linalg.norm(w - result.weight) / np.linalg.norm(w))
                < 1e-12
            )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_truncated_stays(scheme):
    once = truncate_kernel(random_kernel(16, 8, 3, 3), scheme=scheme, rank=3)
    again = truncate_kernel(once.weight, scheme=scheme, rank=3)
    np.testing.assert_allclose(again.weight, once.weight, rtol=0, atol=1e-13)
    np.testing.assert_allclose(again.subgradient, once.subgradient, rtol=0, atol=1e-12)
    assert again.relative_error < 1e-14 < once.relative_error
    assert truncate_kernel(once.weight, scheme=scheme, energy=1).rank == 3


@pytest.mark.parametrize("small", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-13])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_small_singular_values(small, scheme, dtype):
    """Kept ones are exact though M Mᵀ cannot hold them; U and V of a value σ are known to roundoff
    / σ."""
    w, roundoff = spectral(1.0, 0.5, small, scheme=scheme).astype(dtype), np.finfo(dtype).eps
    for rule in (dict(rank=3), dict(threshold=small / 2), dict(energy=1)):
        if dtype == "float32" and (rule != dict(rank=3) or small < 1e-6):
            continue  # such a value is less than the roundoff of w
        result = truncate_kernel(w, scheme=scheme, **rule)
        assert result.rank == 3
        sigma = result.singular_values if scheme == "decouple" else result.singular_values[None]
        np.testing.assert_allclose(
            sigma[:, :3] / [1, 0.5, small], 1, rtol=0, atol=20 * roundoff / small
        )
        np.testing.assert_allclose(result.weight, w, rtol=0, atol=20 * roundoff)
        for m in unfolded(result.subgradient.astype(np.float64), scheme):
            assert np.abs(np.linalg.svd(m)[1][:3] - 1).max() < 50 * roundoff + (
                20 * roundoff / small if dtype == "float32" else 0
            )
    cut = truncate_kernel(w, scheme=scheme, rank=2)
    exact = small / np.sqrt(1.25 + small**2)
    assert abs(cut.relative_error - exact) < (1e-12 if dtype == "float64" else 1e-7)
    assert truncate_kernel(w, scheme=scheme, energy=1 - 1e-11).rank == (3 if small > 4e-6 else 2)


def test_decoupled_channels_of_different_rank():
    w = np.concatenate(
        (
            spectral(1.0, shape=(1, 6, 3, 3), scheme="decouple"),
            random_kernel(1, 6, 3, 3),
            np.zeros((1, 6, 3, 3)),
        )
    )
    result = truncate_kernel(w, scheme="decouple", energy=1)
    assert result.rank == 6 and result.singular_values.shape == (3, 6)
    np.testing.assert_allclose(result.weight, w, rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.subgradient[0], w[0], rtol=0, atol=1e-13)
    assert not result.subgradient[2].any()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "rule",
    [
        dict(energy=0.9),
        dict(energy=1),
        dict(rank=2),
        dict(threshold=0),
        dict(threshold=3),
        dict(ratio=1),
    ],
)
def test_zero_kernel(scheme, rule):
    w = np.zeros((4, 3, 3, 3))
    result, factors = (
        truncate_kernel(w, scheme=scheme, **rule),
        decompose_kernel(w, scheme=scheme, **rule),
    )
    assert result.rank == factors.rank == 1 and result.relative_error == factors.relative_error == 0
    assert not any(
        a.any()
        for a in (
            result.weight,
            result.subgradient,
            result.singular_values,
            factors.first,
            factors.second,
        )
    )
    assert nuclear_norm(w, scheme=scheme).value == 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-20, 1e20, 1e200, 1e300])
def test_scales(scheme, scale):
    w, r = random_kernel(6, 4, 3, 3), 3
    plain, scaled = (
        truncate_kernel(w, scheme=scheme, rank=r),
        truncate_kernel(w * scale, scheme=scheme, rank=r),
    )
    np.testing.assert_allclose(scaled.weight / scale, plain.weight, rtol=0, atol=1e-13)
    np.testing.assert_allclose(scaled.singular_values / scale, plain.singular_values, rtol=1e-12)
    np.testing.assert_allclose(scaled.subgradient, plain.subgradient, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        nuclear_norm(w * scale, scheme=scheme).value / scale,
        nuclear_norm(w, scheme=scheme).value,
        rtol=1e-12,
    )
    factors, x = decompose_kernel(w * scale, scheme=scheme, rank=r), random_kernel(1, 4, 5, 5)
    np.testing.assert_allclose(
        apply_factors(x, factors) / scale, conv2d(x, plain.weight)[0], rtol=0, atol=1e-12
    )
    middle = np.sort(plain.singular_values, axis=None)[1:3].mean()  # between two of them
    ranks = [
        truncate_kernel(kernel, scheme=scheme, threshold=t).rank
        for kernel, t in ((w, middle), (w * scale, middle * scale))
    ]
    assert ranks[0] == ranks[1]


@pytest.mark.parametrize("threshold", [0, 1e-308, 1.0, 1e308])
@pytest.mark.parametrize("largest", [5e-324, 1e-310, 1.7e308])
def test_the_ends_of_the_range(threshold, largest):
    result = truncate_kernel(np.full((3, 2), largest), threshold=threshold)
    assert result.rank >= 1 and not np.isnan(result.weight).any()


# --- factors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("stride", [1, 2, (2, 1), (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (3, 4, 1, 1), (5, 4, 2, 4)])
def test_full_rank_is_the_convolution(scheme, stride, padding, shape):
    w, x = random_kernel(*shape), random_kernel(2, 4, 9, 9, seed=1)
    factors = decompose_kernel(w, scheme=scheme, rank=full_rank(shape, scheme))
    y = apply_factors(x, factors, stride=stride, padding=padding)
    np.testing.assert_allclose(
        y, conv2d(x, w, stride=stride, padding=padding)[0], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_factors_are_the_truncated_kernel(shape, scheme):
    w, x, r = (
        random_kernel(*shape),
        random_kernel(2, shape[1], 6, 7, seed=1),
        (full_rank(shape, scheme) + 1) // 2,
    )
    factors, kernel = (
        decompose_kernel(w, scheme=scheme, rank=r),
        truncate_kernel(w, scheme=scheme, rank=r),
    )
    n, c, kh, kw = shape
    first, second = {
        "channel": ((r, c, kh, kw), (n, r, 1, 1)),
        "spatial": ((r, c, kh, 1), (n, r, 1, kw)),
        "decouple": ((r, n, c), (r, n, kh, kw)),
    }[scheme]
    assert factors.first.shape == first and factors.second.shape == second
    assert (
        factors.n_params == factors.first.size + factors.second.size
        and factors.relative_error == kernel.relative_error
    )
    np.testing.assert_allclose(
        apply_factors(x, factors, padding=2),
        conv2d(x, kernel.weight, padding=2)[0],
        rtol=0,
        atol=1e-11,
    )
    lengths = np.linalg.norm(factors.second.reshape(n, r, -1).swapaxes(0, 1).reshape(r, -1), axis=1)
    sigma = kernel.singular_values
    if scheme != "decouple":  # where the singular values are
        np.testing.assert_allclose(
            lengths, sigma[:r] if scheme == "spatial" else np.sqrt(sigma[:r]), rtol=1e-10
        )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_dense_layers(scheme):
    w, x = random_kernel(7, 5), random_kernel(11, 5, seed=1)
    r = 1 if scheme == "decouple" else 5
    factors = decompose_kernel(w, scheme=scheme, rank=r)
    np.testing.assert_allclose(apply_factors(x, factors), x @ w.T, rtol=0, atol=1e-13)
    assert truncate_kernel(w, scheme=scheme, rank=1).weight.shape == w.shape


def test_a_matrix_is_the_same_by_channel_and_by_space():
    w = random_kernel(7, 5)
    for one, other in zip(
        truncate_kernel(w, scheme="channel", rank=2),
        truncate_kernel(w, scheme="spatial", rank=2),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_no_images():
    factors = decompose_kernel(random_kernel(6, 4, 3, 3), rank=2)
    assert apply_factors(np.zeros((0, 4, 5, 5)), factors).shape == (0, 6, 3, 3)


# --- the nuclear norm -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nuclear_norm(shape, scheme):
    w = random_kernel(*shape)
    value, subgradient = nuclear_norm(w, scheme=scheme)
    _, _, sigma, expected, _ = truncated(w, scheme, rank=full_rank(shape, scheme))
    assert abs(value - sigma.sum()) < 1e-12 * value
    np.testing.assert_allclose(subgradient, expected, rtol=0, atol=1e-10)
    assert abs((subgradient * w).sum() - value) < 1e-12 * value
    assert all(abs(np.linalg.norm(m, 2) - 1) < 1e-11 for m in unfolded(subgradient, scheme))
    direction, h = random_kernel(*shape, seed=2), 1e-5
    numeric = (
        nuclear_norm(w + h * direction, scheme=scheme).value
        - nuclear_norm(w - h * direction, scheme=scheme).value
    ) / (2 * h)
    if (
        sigma.min() > 0.05
    ):  # a square unfolding may come near to losing rank, where second derivatives are large
        assert abs(numeric - (subgradient * direction).sum()) < 1e-6 * max(1, abs(numeric))


def test_subgradient_of_low_rank_is_a_subgradient():
    w, other = spectral(2.0, 1.0), random_kernel(6, 5, 3, 2)
    value, g = nuclear_norm(w)
    assert abs(value - 3) < 1e-12
    for t in (-1, 1e-3, 1):
        assert nuclear_norm(w + t * other).value >= value + t * (g * other).sum() - 1e-12


# --- training -------------------------------------------------------------------------------------


def test_steps():
    rng = np.random.default_rng(3)
    weights = [
        rng.standard_normal(s) for s in ((16, 8, 3, 3), (16, 8, 3, 3), (5, 7), (16, 8, 3, 3))
    ]
    weights[3] = weights[3].astype(np.float32)
    grads, before = (
        [rng.standard_normal(w.shape).astype(w.dtype) for w in weights],
        [w.copy() for w in weights],
    )
    pruner = RankPruner(energy=0.9, period=3, nuclear_weight=0.25)
    assert pruner.n_iter_ == 0 and pruner.ranks_ is None
    for t in range(7):
        pruned = pruner.step(weights)
        assert pruner.n_iter_ == t + 1 and (pruned is None) == (t % 3 > 0)
        new = pruner.add_subgradient(grads)
        for i, (w, g) in enumerate(zip(weights, grads, strict=True)):
            single = truncate_kernel(w, energy=0.9)
            if pruned is None:
                assert new[i] is g
                continue
            for one, other in zip(pruned[i], single, strict=True):  # stacked or alone
                np.testing.assert_allclose(
                    one, other, rtol=1e-13 if w.dtype == np.float64 else 1e-5, atol=1e-13
                )
            assert new[i].dtype == w.dtype
            np.testing.assert_allclose(
                new[i],
                g + 0.25 * single.subgradient,
                rtol=0,
                atol=1e-12 if w.dtype == np.float64 else 1e-6,
            )
        if pruned is not None:
            assert pruner.ranks_ == [k.rank for k in pruned]
    assert all((w == b).all() for w, b in zip(weights, before, strict=True))


def test_gradients_in_one_call():
    w, g = random_kernel(6, 4, 3, 3), random_kernel(6, 4, 3, 3, seed=1)
    pruned, (new,) = RankPruner(nuclear_weight=2.0).step([w], [g])
    np.testing.assert_allclose(new, g + 2 * pruned[0].subgradient, rtol=1e-15)
    pruner = RankPruner(period=2)
    pruner.step([w])
    assert pruner.step([w], [g]) == (None, [g])


def test_weights_may_be_left_alone():
    w = random_kernel(6, 4, 3, 3)
    (pruned,) = RankPruner(truncate=False, energy=0.5).step([w])
    assert (pruned.weight == w).all() and pruned.weight is not w
    np.testing.assert_array_equal(pruned.subgradient, truncate_kernel(w, energy=0.5).subgradient)


def test_a_step_that_fails_does_not_count():
    pruner = RankPruner()
    for bad in (
        [np.full((2, 2), np.nan)],
        [np.ones((2, 2), int)],
        np.ones((2, 2)),
        [None],
        [np.ones(3)],
    ):
        with pytest.raises((TypeError, ValueError), match="weights"):
            pruner.step(bad)
    with pytest.raises(ValueError, match=r"grads\[0\] must have shape \(2, 2\)"):
        pruner.step([np.ones((2, 2))], [np.ones(2)])
    assert pruner.n_iter_ == 0 and pruner.ranks_ is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_read_only_and_unaligned_weights(scheme):
    w = random_kernel(6, 4, 3, 3)
    unaligned = np.empty(w.nbytes + 1, np.uint8)[1:].view(w.dtype).reshape(w.shape)
    unaligned[...] = w
    unaligned.flags.writeable = False
    for one, other in zip(
        RankPruner(scheme=scheme).step([unaligned])[0],
        RankPruner(scheme=scheme).step([w])[0],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_pruner_on_the_gpu():
    weights = [random_kernel(6, 4, 3, 3, seed=i) for i in range(2)]
    expected = RankPruner(energy=0.8, nuclear_weight=0.5).step(weights, weights)
    with simulated_gpu() as xp:
        pruner, on_gpu = (
            RankPruner(energy=0.8, nuclear_weight=0.5),
            [xp.asarray(w) for w in weights],
        )
        pruned, grads = pruner.step(on_gpu, on_gpu)
        for kernel, other in zip(pruned, expected[0], strict=True):
            np.testing.assert_allclose(kernel.weight.get(), other.weight, rtol=0, atol=1e-13)
        np.testing.assert_allclose(grads[1].get(), expected[1][1], rtol=0, atol=1e-12)
        with pytest.raises(TypeError, match="one device"):
            pruner.add_subgradient(weights)
        with pytest.raises(TypeError, match="one device"):
            RankPruner().step([weights[0], on_gpu[0]])


def digits(seed):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits(return_X_y=True)
    images, order = (
        (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32),
        np.random.default_rng(seed).permutation(len(images)),
    )
    return images[order[:1300]], labels[order[:1300]], images[order[1300:]], labels[order[1300:]]


def trained(seed, epochs):
    """Ranks of the second and third kernel for energy 0.98, accuracies before and after truncation
    to them, and at half of the pruned network's ranks: of ordinary training, and of pruned
    training."""
    x, labels, test_x, test_labels = digits(seed)
    networks, results = [], []
    for pruner in (None, RankPruner(energy=0.98, period=5, nuclear_weight=3e-3)):
        rng = np.random.default_rng(seed)
        networks.append(DigitsNetwork(rng))
        train(networks[-1], x, labels, rng, pruner, epochs=epochs)
    for network in networks:
        before = network.accuracy(test_x, test_labels)
        kernels = network.weights[1:3]
        cut = [truncate_kernel(w, energy=0.98) for w in kernels]
        network.weights[1:3] = [k.weight for k in cut]
        results.append([[k.rank for k in cut], before, network.accuracy(test_x, test_labels)])
        network.weights[1:3] = kernels
    for network, result in zip(networks, results, strict=True):
        network.weights[1:3] = [
            truncate_kernel(w, rank=r // 2).weight
            for w, r in zip(network.weights[1:3], results[1][0], strict=True)
        ]
        result.append(network.accuracy(test_x, test_labels))
    return results


def check_training(ordinary, pruned):
    (ranks, accuracy, _, _), (few, before, after, _) = ordinary, pruned
    assert accuracy >= 0.975 and before >= 0.975 and abs(before - after) <= 0.005
    assert sum(few) <= sum(ranks) / 2, (few, ranks)


def test_training_digits():
    ordinary, pruned = trained(0, epochs=15)
    check_training(ordinary, pruned)


@pytest.mark.slow
def test_training_digits_with_three_seeds():
    results = [trained(seed, epochs=25) for seed in range(3)]
    for ordinary, pruned in results:
        check_training(ordinary, pruned)
        assert all(few <= rank / 2 for few, rank in zip(pruned[0], ordinary[0], strict=True))
    assert np.mean([pruned[3] for _, pruned in results]) >= np.mean(
        [ordinary[3] for ordinary, _ in results]
    )


# --- guest manners --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["channel", "decouple"])
def test_memory(scheme):
    """The unfolding itself is never made: M Mᵀ, its eigenvectors and slabs come to less than one
    copy beside the two results."""
    w = random_kernel(512, 256, 3, 3).astype(np.float32)
    truncate_kernel(w, scheme=scheme, ratio=0.25)
    tracemalloc.start()
    try:
        truncate_kernel(w, scheme=scheme, ratio=0.25)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 3 * w.nbytes


def test_bits_do_not_depend_on_threads():
    w, results = random_kernel(40, 30, 3, 3).astype(np.float32), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append([truncate_kernel(w, scheme=s, ratio=0.4) for s in SCHEMES])
    finally:
        numcore.set_num_threads(None)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [truncate_kernel, decompose_kernel])
@pytest.mark.parametrize(
    "w, options, message",
    [
        (np.ones((2, 2, 2)), dict(rank=1), r"w must have shape \(n, c, kh, kw\)"),
        (np.ones((0, 2)), dict(rank=1), "w must have"),
        (np.array([[1, -np.inf]]), dict(rank=1), "w must be finite"),
        (DIAGONAL, {}, "exactly one of energy, rank, threshold, ratio must be given .got none"),
        (DIAGONAL, dict(rank=1, energy=0.5), "got energy, rank"),
        (DIAGONAL, dict(energy=1.01), r"energy must be in \(0, 1\]"),
        (DIAGONAL, dict(rank=5), "rank must be <= 4, the smaller side"),
    ],
)
def test_errors(function, w, options, message):
    with pytest.raises(ValueError, match=message):
        function(w, **options)


def test_gradient_errors():
    pruner = RankPruner()
    pruner.step([np.ones((2, 2))])
    for bad, kind, message in [
        (np.ones((2, 2)), TypeError, "grads must be a list or tuple"),
        ([], ValueError, "grads must have 1 arrays, one for each weight"),
        ([np.ones((2, 2), np.float32)], TypeError, "dtype float64 like its weight"),
        (["text"], TypeError, r"grads\[0\]"),
        ([None], TypeError, r"grads\[0\]"),
    ]:
        with pytest.raises(kind, match=message):
            pruner.add_subgradient(bad)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(stride=0), "stride must be >= 1"),
        (dict(padding=(1, 2, 3)), "padding must have 2 items"),
        (dict(x=np.ones((1, 3, 5, 5))), "x must have c = 4 channels like the factors"),
        (dict(x=np.ones((1, 4, 2, 2))), r"x must be >= \(3, 3\), the kernel, with its padding"),
        (dict(x=np.ones(4)), "x must have shape"),
    ],
)
def test_apply_errors(scheme, options, message):
    arguments = {
        "x": np.ones((1, 4, 5, 5)),
        "factors": decompose_kernel(random_kernel(6, 4, 3, 3), scheme=scheme, rank=2),
    }
    with pytest.raises(ValueError, match=message):
        apply_factors(**(arguments | options))


def test_factors_that_do_not_fit():
    factors = decompose_kernel(random_kernel(6, 4, 3, 3), rank=2)
    with pytest.raises(ValueError, match="scheme"):
        apply_factors(np.ones((1, 4, 5, 5)), factors._replace(scheme="other"))
    with pytest.raises(ValueError, match="two layers"):
        apply_factors(
            np.ones((1, 4, 5, 5)),
            ConvFactors(factors.first, factors.second[:, :1], 2, "channel", 0.0, 0),
        )
    with pytest.raises(ValueError, match="factors"):
        apply_factors(np.ones((1, 4, 5, 5)), factors._replace(first=np.ones(3)))
