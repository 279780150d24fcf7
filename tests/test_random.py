"""Philox4x32-10 by its known words, and the numbers made of them."""

import numpy as np
import pytest

import numcore
from numcore.random import key_from_rng, normal, philox_uint32, uniform
from numcore.testing import simulated_gpu

PI_COUNTER = 0x243F6A88 | 0x85A308D3 << 32 | 0x13198A2E << 64 | 0x03707344 << 96


@pytest.mark.parametrize(
    "key, offset, words",
    [
        ((0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1, 2**32 - 1), 2**128 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0xA4093822, 0x299F31D0), PI_COUNTER, "d16cfe09 94fdcceb 5001e420 24126ea1"),
        ((0, 0), 1, "f8e4cca4 5cb200db b1a574eb 097eff67"),
        ((42, 0), 0, "9ceaf053"),
    ],
)
def test_known_words(key, offset, words):
    expected = [int(w, 16) for w in words.split()]
    assert philox_uint32(len(expected), key=key, offset=offset).tolist() == expected


def test_offsets_continue_a_stream_across_64_bits():
    start = 2**64 - 3
    whole = philox_uint32(40, key=(1, 2), offset=start)
    parts = [philox_uint32(4, key=(1, 2), offset=start + i) for i in range(10)]
    assert (whole == np.concatenate(parts)).all() and len(set(whole.tolist())) == 40


@pytest.mark.parametrize("shape", [0, 1, 5, (3, 7), (2, 0, 4), ()])
def test_shapes_are_prefixes_of_one_stream(shape):
    words = philox_uint32(shape, key=(3, 4))
    assert (
        words.shape == (shape if isinstance(shape, tuple) else (shape,))
        and words.dtype == np.uint32
    )
    assert (words.reshape(-1) == philox_uint32(100, key=(3, 4))[: words.size]).all()


def test_first_uniforms_of_key_zero(monkeypatch):
    monkeypatch.setattr(numcore.random, "key_from_rng", lambda rng: (0, 0))
    assert uniform(1, dtype=np.float32)[0] == np.float32(0.3990464210510254)
    assert uniform(1)[0] == 0.39904647231489565


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distributions(dtype):
    n = 200_000  # mean and variance within five standard errors
    u, z = uniform(n, rng=7, dtype=dtype).astype(float), normal(n, rng=7, dtype=dtype).astype(float)
    assert 0 <= u.min() and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n) and abs(u.var() - 1 / 12) < 5 * np.sqrt(
        1 / 180 / n
    )
    assert (
        abs(z.mean()) < 5 / np.sqrt(n)
        and abs(z.var() - 1) < 5 * np.sqrt(2 / n)
        and abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
    )
    assert np.histogram(u, 64, (0, 1))[0].min() > n / 64 * 0.9
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 5 / np.sqrt(n / 2)


def test_normal_never_sees_log_of_zero(monkeypatch):
    for dtype, largest in (
        (np.float32, np.sqrt(2 * 24 * np.log(2))),
        (np.float64, np.sqrt(2 * 53 * np.log(2))),
    ):
        monkeypatch.setattr(
            numcore.random, "uniform", lambda shape, *, rng, dtype, xp: np.zeros(shape, dtype)
        )
        np.testing.assert_allclose(normal(2, dtype=dtype), [largest, 0], rtol=1e-6)


def test_seeds_generators_and_entropy():
    assert key_from_rng(42) == (3444837047, 2669555309) == key_from_rng(np.int64(42))
    generator = np.random.default_rng(0)
    first, second = key_from_rng(generator), key_from_rng(generator)
    assert first != second and first == key_from_rng(np.random.default_rng(0))
    assert key_from_rng(None) != key_from_rng(None)
    assert (uniform(5, rng=1) == uniform(5, rng=1)).all() and (
        uniform(5, rng=1) != uniform(5, rng=2)
    ).all()


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bits_do_not_depend_on_threads(threads):
    expected = philox_uint32(300_000, key=(5, 6))
    try:
        numcore.set_num_threads(threads)
        assert (philox_uint32(300_000, key=(5, 6)) == expected).all()
    finally:
        numcore.set_num_threads(None)


def test_gpu_makes_the_same_bits():
    with simulated_gpu() as xp:
        options = {"key": (8, 9), "offset": 2**64 - 1}
        assert (
            philox_uint32((5, 3), **options, xp=xp).get() == philox_uint32((5, 3), **options)
        ).all()
        for dtype in (np.float32, np.float64):
            assert (
                uniform(7, rng=3, dtype=dtype, xp=xp).get() == uniform(7, rng=3, dtype=dtype)
            ).all()
            assert normal(7, rng=3, dtype=dtype, xp=xp).dtype == dtype


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: philox_uint32(-1, key=(0, 0)),
            ValueError,
            "shape must be >= 0 (got (-1,))",
        ),
        (
            lambda: philox_uint32(1.5, key=(0, 0)),
            TypeError,
            "shape must be int or tuple of int (got 1.5)",
        ),
        (
            lambda: philox_uint32(1, key=(0, 2**32)),
            ValueError,
            "key[1] must be in [0, 2**32) (got",
        ),
        (lambda: philox_uint32(1, key=7), TypeError, "key must be a list or tuple (got 7)"),
        (lambda: philox_uint32(1, key=(1, "a")), TypeError, "key[1] must be an integer (got 'a')"),
        (
            lambda: philox_uint32(1, key=(0, 0), offset=-1),
            ValueError,
            "offset must be in [0, 2**128) (got -1)",
        ),
        (lambda: philox_uint32(1, key=(0, 0), offset=2**128), ValueError, "offset must be in"),
        (
            lambda: uniform(1, rng="seed"),
            TypeError,
            "rng must be None, int >= 0, SeedSequence, BitGenerator or Generator (got 'seed')",
        ),
        (lambda: uniform(1, rng=True), TypeError, "rng must be"),
        (lambda: uniform(1, rng=-1), ValueError, "rng must be a seed >= 0 (got -1)"),
        (
            lambda: uniform(1, dtype=np.int32),
            TypeError,
            "dtype must be float32 or float64 (got <class 'numpy.int32'>)",
        ),
        (
            lambda: normal(1, dtype="nope"),
            TypeError,
            "dtype must be float32 or float64 (got 'nope')",
        ),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as info:
        call()
    assert words in str(info.value)
