"""Any shape, stride, dtype and option, into every routine: a result or a clear error, never a
crash, a warning or a changed input."""

import numpy as np
import pytest

import numcore
from numcore.examples import example

CALLS = 250  # of each routine
DTYPES = ["f4", "f8", ">f4", ">f8", "f2", "i1", "i8", "u4", "?", "c8", "O", "U3", "M8[s]"]
LENGTHS = [0, 1, 2, 3, 5, 17, 64]
WORK = ("budget", "n_samples")  # a call takes as long as these say, or as their default
CLEAR = (TypeError, ValueError, OverflowError, MemoryError, IndexError)
SCALARS = [
    lambda rng: None,
    lambda rng: bool(rng.integers(2)),
    lambda rng: int(rng.integers(-3, 51)),
    lambda rng: pick(rng, [-(2**63), 2**63, 2**128, 10**30]),
    lambda rng: pick(rng, [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -1e308, 1e308, 0.5, 1.0]),
    lambda rng: float(rng.standard_normal() * 10.0 ** rng.integers(-5, 5)),
    lambda rng: pick(rng, ["", "x", "é\0", "\U0001f600ab"]),
    lambda rng: complex(*rng.standard_normal(2)),
    lambda rng: (),
    lambda rng: [1.0, 2.0],
]
ARRANGED = [
    lambda array: array,
    lambda array: array.T,
    lambda array: np.broadcast_to(array, (2, *array.shape)),
    np.asfortranarray,
]


def pick(rng, values):
    return values[rng.integers(len(values))]


def array(rng):
    shape = tuple(pick(rng, LENGTHS) for _ in range(rng.integers(4)))
    dtype = np.dtype(pick(rng, DTYPES[:2] if rng.integers(2) else DTYPES))
    wide = tuple(2 * n for n in shape)
    low, high = pick(rng, [(0, 1), (-300, 0), (-300, 300), (0, 300)])
    values = np.asarray(rng.standard_normal(wide) * 10.0 ** rng.integers(low, high, wide))
    values[rng.random(wide) < 0.1] = pick(rng, [np.nan, np.inf, -np.inf, 0.0, -0.0])
    with np.errstate(all="ignore"):
        made = (
            values.astype(dtype)
            if dtype.kind in "fc"
            else np.asarray(np.nan_to_num(100 * np.sign(values))).astype("i1").astype(dtype)
        )
    parts = [pick(rng, [np.s_[:n], np.s_[::2], np.s_[::-2], np.s_[n:]]) for n in shape]
    made = pick(rng, ARRANGED)(made[(..., *parts)])
    if rng.integers(2):
        made = made.view()
        made.flags.writeable = False
    return made


def arguments_of(sample, seed):
    """The arguments of an example, two of three replaced by anything."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(pick(rng, sample.dtypes))
    arguments = sample.arguments(np.random.default_rng(0), dtype)
    for name in arguments:
        if rng.integers(3):
            is_array = name in sample.arrays or rng.integers(len(SCALARS) + 1) == 0
            value = array(rng) if is_array else pick(rng, SCALARS)(rng)
            if name not in WORK or not is_much(value):
                arguments[name] = value
    return arguments


def is_much(value):
    return value is None or (isinstance(value, int) and value > 1000)


@pytest.mark.parametrize("routine", numcore.routines(), ids=lambda r: f"{r.room}.{r.name}")
def test_any_arguments(routine):
    for seed in range(CALLS):
        arguments = arguments_of(example(routine), seed)
        before = {k: v.copy() for k, v in arguments.items() if isinstance(v, np.ndarray)}
        try:
            call(routine.function, arguments)
            for name, value in before.items():
                np.testing.assert_array_equal(arguments[name], value)
        except Exception as error:
            error.add_note(f"seed {seed}: {arguments}")
            raise


def call(function, arguments):
    try:
        function(**arguments)
    except CLEAR as error:
        assert str(error)
