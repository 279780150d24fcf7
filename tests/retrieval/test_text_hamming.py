"""Hamming distances of a pattern to every window of a text.

The grid of long texts and large alphabets: ``pytest -m slow tests/retrieval/test_text_hamming.py``.
"""

import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval.text_hamming import distances as naive
from numcore.retrieval import (
    alphabet_profile,
    hamming_distances,
    hamming_distances_approx,
    hamming_within,
)
from numcore.retrieval._text_hamming import convolutions, costs
from numcore.retrieval._text_hamming.symbols import Symbols, as_symbols
from numcore.testing import simulated_gpu

METHODS = ("direct", "fft", "pairs", "mixed", "auto")


def random_call(n, m, sigma, seed=0, dtype=None):
    rng = np.random.default_rng([n, m, sigma, seed])
    dtype = dtype or (np.uint8 if sigma <= 256 else np.uint16)
    return rng.integers(0, sigma, n).astype(dtype), rng.integers(0, sigma, m).astype(dtype)


# --- exact distances ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_known_answer(method):
    result = hamming_distances("abracadabra", "abr", method=method)
    assert result.dtype == np.int32
    assert result.tolist() == [0, 3, 3, 2, 3, 2, 3, 0, 3]


@pytest.mark.parametrize("method", METHODS)
def test_equal_absent_and_periodic(method):
    text, _ = random_call(500, 1, 4)
    assert hamming_distances(text, text, method=method).tolist() == [0]
    assert hamming_distances(text, np.full(9, 77, np.uint8), method=method).tolist() == [9] * 492
    periodic = np.tile(text[:50], 10)
    assert (hamming_distances(periodic, periodic[:100], method=method)[::50] == 0).all()


GRID = [
    (n, m, sigma)
    for n in (100, 4097, 70000)
    for m in (1, 7, 252, 253, 255, 256, 1000)
    for sigma in (1, 2, 4, 255, 256, 5000)
    if m <= n
]


@pytest.mark.parametrize(
    "n, m, sigma",
    [
        pytest.param(*c, marks=pytest.mark.slow)
        if c[0] == 70000 and (c[2] > 4 or c[1] > 256)
        else c
        for c in GRID
    ],
)
def test_methods_agree(n, m, sigma):
    text, pattern = random_call(n, m, sigma)
    expected = naive(text, pattern)
    for method in METHODS:
        np.testing.assert_array_equal(
            hamming_distances(text, pattern, method=method), expected, err_msg=method
        )


def test_pattern_of_one_symbol_counts_a_letter():
    text, _ = random_call(1000, 1, 4)
    assert hamming_distances(text, text[:1]).sum() == 1000 - (text == text[0]).sum()


def test_reversing_both_reverses_the_distances():
    text, pattern = random_call(5000, 300, 4)
    np.testing.assert_array_equal(
        hamming_distances(text[::-1], pattern[::-1]), hamming_distances(text, pattern)[::-1]
    )


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_counters_do_not_overflow(method):
    text = np.zeros(70000, np.uint8)
    assert not hamming_distances(text, text[:66000], method=method).any()
    wide = text.astype(np.uint16)
    assert not hamming_distances(wide, wide[:66000], method=method).any()


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_a_batch(method):
    text, pattern = random_call(3 * 700, 40, 5)
    text = text.reshape(3, 700)
    np.testing.assert_array_equal(
        hamming_distances(text, pattern, method=method), [naive(row, pattern) for row in text]
    )
    assert hamming_distances(text[:0], pattern, method=method).shape == (0, 661)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint64, ">i4"])
def test_extreme_symbols(dtype):
    limits = np.iinfo(dtype)
    alphabet = np.array([limits.min, limits.min + 1, 3, limits.max - 1, limits.max], dtype)
    rng = np.random.default_rng(0)
    text, pattern = alphabet[rng.integers(0, 5, 400)], alphabet[rng.integers(0, 4, 20)]
    for method in METHODS:
        np.testing.assert_array_equal(
            hamming_distances(text, pattern, method=method), naive(text, pattern)
        )


def test_more_letters_than_two_bytes_number():
    rng = np.random.default_rng(0)
    text = rng.permutation(70000) * 1000
    pattern = text[5:69900].copy()
    pattern[::7] = -1
    for method in ("direct", "pairs", "mixed", "auto"):
        np.testing.assert_array_equal(
            hamming_distances(text, pattern, method=method)[3:8], naive(text[3:69902], pattern)[:5]
        )


def test_texts_of_any_alphabet():
    text, pattern = "πρᾶγμα μέγα 😀" * 20, "μέγα 😀"
    expected = naive(np.array(list(map(ord, text))), np.array(list(map(ord, pattern))))
    np.testing.assert_array_equal(hamming_distances(text, pattern), expected)
    assert hamming_distances("a\ud800b", "\ud800").tolist() == [1, 0, 1]
    assert (
        hamming_distances(b"abracadabra", b"abr").tolist()
        == hamming_distances("abracadabra", "abr").tolist()
    )


# --- convolutions ---------------------------------------------------------------------------------


def test_dtype_of_transforms_follows_the_bound():
    def dtype(n, m):
        symbols = Symbols(np, np.empty((1, n), np.uint8), np.empty(m, np.uint8), None, True)
        return convolutions.transform_plan(symbols)[2]

    assert dtype(1 << 20, 16384) is np.float32
    assert dtype(1 << 20, 65536) is np.float64


@pytest.mark.parametrize(
    "n, m",
    [(1, 1), (7, 3), (1 << 14, 5), (200_000, 3000), (1 << 20, 1 << 16), (1 << 20, (1 << 20) - 3)],
)
def test_blocks_of_transforms_cover_the_text(n, m):
    symbols = Symbols(np, np.empty((1, n), np.uint8), np.empty(m, np.uint8), None, True)
    length, step, _ = convolutions.transform_plan(symbols)
    assert step == length - m + 1 >= 1 and length >= min(n, 4 * m)


def test_worst_case_of_float32_stays_within_its_bound(monkeypatch):
    """Runs of one symbol give the largest counts."""
    errors = []

    def recorded(x, *rest, **options):
        result = np.fft.irfft(x, *rest, **options)
        errors.append(np.abs(result - np.rint(result)).max())
        return result

    monkeypatch.setattr(convolutions, "transforms", lambda xp: (np.fft.rfft, recorded))
    text = np.zeros(1 << 16, np.uint8)
    text[1 << 15 :] = 1
    pattern = text[20000:36384]
    np.testing.assert_array_equal(
        hamming_distances(text, pattern, method="fft"),
        hamming_distances(text, pattern, method="direct"),
    )
    assert 0 < max(errors) < 0.25


def test_without_scipy_numpy_transforms(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.fft", None)
    assert convolutions.transforms(np) == (np.fft.rfft, np.fft.irfft)
    text, pattern = random_call(40000, 500, 4)
    np.testing.assert_array_equal(
        hamming_distances(text, pattern, method="fft"), naive(text, pattern)
    )


def test_spans_and_groups_do_not_matter(monkeypatch):
    text, pattern = random_call(200000, 100, 40)
    expected = hamming_distances(text, pattern, method="direct")
    monkeypatch.setattr(convolutions, "SPAN", 1 << 16)
    np.testing.assert_array_equal(hamming_distances(text, pattern, method="fft"), expected)


# --- bounded distances ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["early_exit", "auto", "direct", "fft", "pairs", "mixed"])
@pytest.mark.parametrize("m", [1, 8, 300, 1000])
def test_within_is_the_filtered_answer(method, m):
    text, pattern = random_call(9000, m, 4)
    for at in (0, 4000, 9000 - m):  # planted copies, one with mismatches at both ends
        text[at : at + m] = pattern
    text[[4000, 4000 + m - 1]] ^= 1
    expected = naive(text, pattern)
    for k in (0, 1, 2, m // 9, max(m - 1, 0), m, m + 5):
        positions, distances = hamming_within(text, pattern, k, method=method)
        np.testing.assert_array_equal(positions, np.flatnonzero(expected <= k))
        np.testing.assert_array_equal(distances, expected[expected <= k])
        assert positions.dtype == np.int64 and distances.dtype == np.int32


def test_within_where_all_windows_survive():
    text = np.zeros(20000, np.uint16)
    text[::1000] = 1
    pattern = np.zeros(3000, np.uint16)
    positions, distances = hamming_within(text, pattern, 3, method="early_exit")
    np.testing.assert_array_equal(positions, np.arange(17001))
    np.testing.assert_array_equal(distances, naive(text, pattern))


def test_within_takes_bounds_of_any_size():
    assert hamming_within("abab", "ab", 10**30).positions.tolist() == [0, 1, 2]


# --- approximate distances ------------------------------------------------------------------------


def test_bounds_hold():
    text, pattern = random_call(20000, 400, 500)
    exact = naive(text, pattern)
    for eps in (0.1, 0.5, 0.9):
        found = hamming_distances_approx(text, pattern, eps, method="projection", rng=1)
        assert found.n_projections == int(np.ceil(np.log2(len(exact) / 1e-6)))
        assert found.relative_bound == eps and found.n_buckets == max(2, int(np.ceil(2 / eps)))
        assert (found.lower <= exact).all()
        assert (found.lower >= (1 - eps) * exact).all()


def test_estimates_are_unbiased():
    text, pattern = random_call(3000, 50, 20)
    text[::5] = 99  # never matches, and is counted apart
    runs = [
        hamming_distances_approx(text, pattern, 0.9, failure=None, method="projection", rng=seed)
        for seed in range(400)
    ]
    assert runs[0].n_projections == 2
    errors = np.stack([r.distances for r in runs]) - naive(text, pattern)
    standard_error = errors.std(axis=0) / np.sqrt(len(runs))
    assert (
        np.abs(errors.mean(axis=0)) < 5.5 * standard_error
    ).all()  # 2951 windows: 5.5 sigma happens by chance once in 10^4 runs


def test_deficit_of_projections_is_one_in_the_buckets():
    text, pattern = random_call(1 << 17, 16384, 1000)
    exact = hamming_distances(text, pattern, method="pairs")
    found = hamming_distances_approx(
        text, pattern, 2 / 16, failure=None, method="projection", rng=0
    )
    deficit = 1 - found.lower / exact
    assert (
        found.n_buckets == 16 and 0.055 < deficit.mean() < 0.0625
    )  # 1/16 on average; the larger of two projections misses less
    assert deficit.max() < 0.09


def test_few_letters_or_cheap_exact_ones_give_exact_distances():
    text, pattern = random_call(2000, 30, 4)
    for method in ("auto", "projection"):
        found = hamming_distances_approx(text, pattern, 0.5, method=method)
        assert found.n_projections == 0 and found.relative_bound == 0
        np.testing.assert_array_equal(found.lower, naive(text, pattern))
        np.testing.assert_array_equal(found.distances, found.lower)
    text, pattern = random_call(20000, 30, 1000)
    assert hamming_distances_approx(text, pattern, 0.5).n_projections == 0


def test_projections_are_chosen_where_they_pay():
    text, pattern = random_call(1 << 19, 1 << 16, 100)
    found = hamming_distances_approx(text, pattern, 0.25, failure=None, rng=0)
    assert found.n_projections == 2
    exact = hamming_distances(text, pattern)
    assert (found.lower <= exact).all() and (found.lower > 0.75 * exact).all()


def test_projections_repeat_with_a_seed_at_any_thread_count():
    text, pattern = random_call(30000, 100, 50)
    before, results = numcore.get_num_threads(), []
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(hamming_distances_approx(text, pattern, 0.5, method="projection", rng=7))
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(results[0].distances, results[1].distances)


# --- choice of a method ---------------------------------------------------------------------------


def test_profile_counts():
    profile = alphabet_profile("aaab", "ab")
    assert (profile.n_letters, profile.n_pairs, profile.heavy.tolist()) == (2, 4, [])
    assert set(profile.costs) == {"direct", "fft", "pairs", "mixed"}
    text, pattern = random_call(1 << 17, 1 << 14, 2)
    text[::100], pattern[::100] = 9, 9
    assert alphabet_profile(text, pattern).heavy.tolist() == [0, 1]
    assert alphabet_profile(
        text.astype(np.int64) - 5, pattern.astype(np.int64) - 5
    ).heavy.tolist() == [-5, -4]


def test_costs_follow_the_problem():
    def chosen(n, m, sigma):
        costs = alphabet_profile(*random_call(n, m, sigma)).costs
        return min(costs, key=costs.get)

    assert chosen(1 << 18, 64, 4) == "direct"
    assert chosen(1 << 18, 1 << 15, 4) in ("fft", "mixed")
    assert chosen(1 << 18, 1 << 13, 5000) in ("pairs", "mixed")


def test_sampled_counts_are_near_the_counts():
    symbols = as_symbols(*random_call(1 << 20, 100, 4))
    exact, sampled = (
        costs.counts_of(symbols, symbols.text)[0],
        costs.sampled_counts(symbols)[0],
    )
    np.testing.assert_allclose(
        sampled[:4], exact[:4], rtol=0.05
    )  # 65536 symbols: a standard deviation of 0.7 %


# --- manners --------------------------------------------------------------------------------------


def test_wide_blocks_and_options_on_the_simulated_gpu():
    text, pattern = random_call(2 * 3000, 300, 30)
    text = text.reshape(2, 3000)
    expected = np.stack([naive(row, pattern) for row in text])
    with simulated_gpu() as xp:
        for method in METHODS:
            np.testing.assert_array_equal(
                hamming_distances(xp.asarray(text), xp.asarray(pattern), method=method).get(),
                expected,
            )
        found = hamming_distances_approx(
            xp.asarray(text), xp.asarray(pattern), 0.5, failure=None, method="projection", rng=3
        )
        within = hamming_within(xp.asarray(text[0]), xp.asarray(pattern), 280)
    on_cpu = hamming_distances_approx(text, pattern, 0.5, failure=None, method="projection", rng=3)
    np.testing.assert_array_equal(found.lower.get(), on_cpu.lower)
    np.testing.assert_array_equal(
        within.positions.get(), hamming_within(text[0], pattern, 280).positions
    )


@pytest.mark.parametrize("method, most", [("direct", 6), ("pairs", 40), ("fft", 60)])
def test_memory_is_linear_in_the_text(method, most):
    """int32 distances are four bytes for each symbol, wide codes four, counting eight; transforms
    hold two spans of spectra and buffers."""
    text, pattern = random_call(1 << 20, 4096, 100 if method == "pairs" else 4)
    hamming_distances(text[:9000], pattern, method=method)
    tracemalloc.start()
    hamming_distances(text, pattern, method=method)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most * len(text)


BYTES = np.zeros(5, np.uint8)


@pytest.mark.parametrize(
    "error, message, call",
    [
        (
            ValueError,
            r"pattern must have 1 to n symbols with n = 5, < 2\^31 \(got 0\)",
            lambda: hamming_distances(BYTES, BYTES[:0]),
        ),
        (
            ValueError,
            r"pattern must have 1 to n symbols with n = 5, < 2\^31 \(got 6\)",
            lambda: hamming_distances("abcde", "abcdef"),
        ),
        (
            ValueError,
            r"text must have shape \(n,\) \(got \(1, 1, 5\)\)",
            lambda: hamming_distances(BYTES[None, None], BYTES),
        ),
        (
            ValueError,
            r"text must have shape \(n,\) \(got \(1, 5\)\)",
            lambda: hamming_within(BYTES[None], BYTES, 1),
        ),
        (
            TypeError,
            r"text must have dtype integers \(got float64\)",
            lambda: hamming_distances(BYTES * 1.0, BYTES),
        ),
        (
            TypeError,
            r"text and pattern must both be str, bytes or arrays \(got text str, pattern bytes\)",
            lambda: hamming_distances("a", b"a"),
        ),
        (
            TypeError,
            "text and pattern must be integers of a common dtype",
            lambda: hamming_distances(BYTES.astype("u8"), BYTES.astype("i8")),
        ),
    ],
)
def test_bad_input(error, message, call):
    with pytest.raises(error, match=message):
        call()
