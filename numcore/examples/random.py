"""Example calls of the random numbers. The reference is Philox in Python's own integers; everything
else follows from its words."""

import math

import numpy as np

from . import Example

REAL_SIZE = 1 << 20
SAMPLE = 1 << 14


def _size(shape):
    return int(np.prod(shape))


def _philox_words(count, key, offset=0):
    words, mask = [], 2**32 - 1
    for counter in range(offset, offset + -(-count // 4)):
        c0, c1, c2, c3 = (counter >> shift & mask for shift in (0, 32, 64, 96))
        k0, k1 = key
        for _ in range(10):
            p0, p2 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
            c0, c1, c2, c3 = p2 >> 32 ^ c1 ^ k0, p2 & mask, p0 >> 32 ^ c3 ^ k1, p0 & mask
            k0, k1 = k0 + 0x9E3779B9 & mask, k1 + 0xBB67AE85 & mask
        words += c0, c1, c2, c3
    return words[:count]


def _philox_uint32(shape, key, offset=0):
    return np.array(_philox_words(_size(shape), key, offset), np.uint32).reshape(shape)


def _fractions(count, rng, dtype):
    """Numerators and the power of two that they are divided by."""
    key = tuple(map(int, np.random.SeedSequence(rng).generate_state(2)))
    if dtype == np.float32:
        return [word >> 8 for word in _philox_words(count, key)], 24
    words = _philox_words(2 * count, key)
    return [(a >> 5) << 26 | b >> 6 for a, b in zip(words[::2], words[1::2], strict=True)], 53


def _uniform(shape, rng, dtype):
    numerators, bits = _fractions(_size(shape), rng, dtype)
    return np.array([math.ldexp(n, -bits) for n in numerators], dtype).reshape(shape)


def _normal(shape, rng, dtype):
    count = _size(shape)
    numerators, bits = _fractions(count + count % 2, rng, dtype)
    u, v = np.ldexp(np.array(numerators, np.longdouble).reshape(-1, 2), -bits).T
    radius = np.sqrt(-2 * np.log(u + np.ldexp(np.longdouble(1), -bits)))
    angle = 8 * np.arctan(np.longdouble(1)) * v
    return (
        np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        .reshape(-1)[:count]
        .reshape(shape)
    )


def _normal_bound(dtype, bits):
    """The angle is 2πv with two roundings, so off by at most 2π·eps; log, sqrt, cos and the
    products add less than 5 eps·radius."""
    return math.sqrt(2 * bits * math.log(2)) * (2 * math.pi + 5) * float(np.finfo(dtype).eps)


def _first_numbers(result, shape, **rest):
    return result.reshape(-1)[:SAMPLE], {"shape": SAMPLE, **rest}


def _sized(rng, dtype, n):
    return {"shape": (n, 2), "rng": int(rng.integers(2**32)), "dtype": np.dtype(dtype)}


def _example(reference, bound, error, peer, method):
    def numpy_generator(shape, rng, dtype):
        return getattr(np.random.default_rng(rng), method)(shape, dtype)

    return Example(
        arguments=lambda rng, dtype: _sized(rng, dtype, 601),
        arrays=(),
        reference=reference,
        bound=bound,
        error=error,
        data="a stream of numbers",
        real=lambda dtype: {"shape": REAL_SIZE, "rng": 2011, "dtype": np.dtype(dtype)},
        sample=_first_numbers,
        peer=(peer, numpy_generator),
        sizes=_sized,
    )


def _words_sized(rng, dtype, n):
    return {
        "shape": (n, 2),
        "key": tuple(map(int, rng.integers(2**32, size=2))),
        "offset": 2**64 - 100,
    }


def _numpy_integers(shape, key, offset):
    return np.random.default_rng(key).integers(2**32, size=shape, dtype=np.uint32)


EXAMPLES = {
    "philox_uint32": Example(
        arguments=lambda rng, dtype: _words_sized(rng, dtype, 601),
        arrays=(),
        reference=_philox_uint32,
        bound={"uint32": 0.0},
        error="equal",
        data="a stream of numbers",
        real=lambda dtype: {"shape": REAL_SIZE, "key": (2011, 5), "offset": 0},
        sample=_first_numbers,
        peer=("numpy Generator.integers", _numpy_integers),
        dtypes=("uint32",),
        sizes=_words_sized,
    ),
    "uniform": _example(
        _uniform, {"float32": 0.0, "float64": 0.0}, "equal", "numpy Generator.random", "random"
    ),
    "normal": _example(
        _normal,
        {"float32": _normal_bound(np.float32, 24), "float64": _normal_bound(np.float64, 53)},
        "absolute",
        "numpy Generator.standard_normal",
        "standard_normal",
    ),
}


def _uniform_fill(rng, variant, size):
    dtype = np.dtype(variant["T"])
    return [
        np.full((size, 16 // dtype.itemsize), np.nan, dtype),
        *(int(word) for word in rng.integers(2**32, size=2)),
    ]


KERNELS = {"uniform_fill": _uniform_fill}
