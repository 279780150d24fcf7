"""Example calls of the Walsh–Hadamard transform. The reference multiplies by the matrix, in parts
of at most 2^12."""

import numpy as np

from .. import Example

MATRIX = 1 << 12


def _matrix(n):
    """The signs (-1)^(number of ones that i and j share), as float64."""
    i = np.arange(n)
    return 1.0 - 2.0 * (np.bitwise_count(i[:, None] & i) & 1)


def _fwht(x, axis=-1, norm=None):
    y = np.moveaxis(x.astype(np.longdouble), axis, -1)
    n = y.shape[-1]
    low = min(n, MATRIX)
    y = y.reshape(*y.shape[:-1], n // low, low).astype(np.float64) @ _matrix(low)
    y = np.moveaxis(np.moveaxis(y, -2, -1) @ _matrix(n // low), -1, -2).reshape(*y.shape[:-2], n)
    return np.moveaxis(y * (n**-0.5 if norm == "ortho" else 1), -1, axis)


def hadamard(n):
    """H_2N = [[H, H], [H, -H]]."""
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h


def _call(rng, dtype, n):
    return {"x": rng.standard_normal((n, 64)).astype(dtype)}


def butterflies(x):
    """Butterflies in NumPy, a level at a time."""
    n, h = x.shape[-1], 1
    x = x.copy()
    while h < n:
        y = x.reshape(*x.shape[:-1], n // (2 * h), 2, h)
        x = np.stack([y[..., 0, :] + y[..., 1, :], y[..., 0, :] - y[..., 1, :]], axis=-2).reshape(
            x.shape
        )
        h *= 2
    return x


def _real(dtype):
    """Pixels of the digits images, one after the other."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data.ravel()[: 1 << 16]
    return {"x": np.tile(pixels, (4, 1)).astype(dtype)}


EXAMPLES = {
    "fwht": Example(
        lambda rng, dtype: {
            "x": rng.standard_normal((3, 128, 5)).astype(dtype),
            "axis": 1,
            "norm": "ortho",
        },
        ("x",),
        _fwht,
        {"float32": 2e-6, "float64": 4e-15},
        also=("complex64", "complex128"),
        sizes=_call,
        data="pixels of the digits images",
        real=_real,
        peer=("butterflies in NumPy", butterflies),
    ),
    "next_power_of_two": Example(
        lambda rng, dtype: {"n": int(rng.integers(1, 1 << 20))},
        (),
        lambda n: next(1 << k for k in range(64) if 1 << k >= n),
        {"float64": 0.0},
        error="equal",
        dtypes=("float64",),
    ),
}


def _rows(rng, variant, size):
    return [rng.standard_normal((size, 2 ** int(rng.integers(0, 9)))).astype(variant["T"]), 0.5]


def _columns(rng, variant, size):
    return [rng.standard_normal((2, 2 ** int(rng.integers(0, 6)), size)).astype(variant["T"]), 0.5]


KERNELS = {"hadamard_rows": _rows, "hadamard_columns": _columns}
