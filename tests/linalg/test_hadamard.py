"""The Walsh–Hadamard transform against the matrix, its identities, and invalid input."""

import numpy as np
import pytest

from numcore.examples.linalg.hadamard import hadamard
from numcore.linalg import fwht, next_power_of_two
from numcore.testing import simulated_gpu


def test_known_answers():
    assert fwht([1.0, 2, 3, 4]).tolist() == [10, -2, -4, 0]
    x = np.array([1.0, -2, 3, 0, 5, 0, -1, 2])
    assert fwht(x).tolist() == (hadamard(8) @ x).tolist()
    assert fwht(np.eye(8)[0]).tolist() == [1] * 8
    assert fwht(np.array([[1.0, 0], [2, 1], [3, 0], [4, 0]]), axis=0).T.tolist() == [
        [10, -2, -4, 0],
        [1, -1, 1, -1],
    ]


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 9, 12, 13, 16, 17])
def test_twice_is_n_times(bits, dtype, rtol):
    x = np.random.default_rng(bits).standard_normal(1 << bits).astype(dtype)
    once = fwht(x, norm="ortho")
    assert once.dtype == dtype
    assert (
        abs(np.linalg.norm(once.astype(float)) / np.linalg.norm(x.astype(float)) - 1) < rtol
    )  # log2 N roundings in a random walk
    np.testing.assert_allclose(
        fwht(once, norm="ortho"), x, rtol=0, atol=10 * rtol * np.abs(x).max()
    )


@pytest.mark.parametrize(
    "shape, axis",
    [
        ((64,), 0),
        ((3, 512), -1),
        ((512, 3), 0),
        ((512, 70), 0),
        ((2, 1024, 5, 4), 1),
        ((1024, 17), 0),
        ((2, 0, 8), 2),
        ((8, 0), 0),
        ((1, 5), 0),
    ],
)
def test_any_axis(shape, axis):
    x = np.random.default_rng(0).standard_normal(shape)
    expected = np.moveaxis(np.tensordot(hadamard(shape[axis]), x, (1, axis)), 0, axis)
    np.testing.assert_allclose(fwht(x, axis=axis), expected, rtol=0, atol=1e-12)


def test_long_columns_are_split():
    x = np.random.default_rng(0).standard_normal((1 << 11, 40))
    np.testing.assert_allclose(fwht(x, axis=0), hadamard(1 << 11) @ x, rtol=0, atol=1e-11)


def test_complex_numbers():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 16)) + 1j * rng.standard_normal((3, 16))
    np.testing.assert_allclose(fwht(x), x @ hadamard(16), rtol=0, atol=1e-13)
    assert fwht(x.astype(np.complex64)).dtype == np.complex64
    with simulated_gpu() as xp:
        np.testing.assert_allclose(fwht(xp.asarray(x)).get(), fwht(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_sequency_counts_sign_changes(n):
    rows = fwht(np.eye(n), axis=0, order="sequency")
    assert (rows[:, 1:] != rows[:, :-1]).sum(axis=1).tolist() == list(range(n))


def test_next_power_of_two():
    assert [next_power_of_two(n) for n in (1, 2, 3, 4, 5, 1023, 1024, 1025)] == [
        1,
        2,
        4,
        4,
        8,
        1024,
        1024,
        2048,
    ]


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (dict(x=np.ones(6)), ValueError, r"power of two \(got 6; the next one is 8\)"),
        (dict(x=np.ones(0)), ValueError, "power of two"),
        (dict(x=np.ones(4, int)), TypeError, "float32 or float64"),
        (dict(x=np.float64(1)), ValueError, "at least one axis"),
        (dict(x=np.ones(4), axis=1), ValueError, r"axis must be in \[-1, 1\) \(got 1\)"),
    ],
)
def test_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        fwht(**arguments)
