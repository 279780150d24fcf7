"""Any shape, stride, dtype and option, into every routine: a result or a clear error, never a
crash, a warning or a changed input."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import numcore
from numcore.examples import example

DTYPES = ["f4", "f8", ">f4", ">f8", "f2", "i1", "i8", "u4", "?", "c8", "O", "U3", "M8[s]"]
CLEAR = (TypeError, ValueError, OverflowError, MemoryError, IndexError)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 50),
    st.sampled_from([-(2**63), 2**63, 2**128, 10**30]),
    st.floats(allow_nan=True),
    st.text(max_size=3),
    st.complex_numbers(),
    st.just(()),
    st.just([1.0, 2.0]),
)


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 17, 64]), max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES[:2] if draw(st.booleans()) else DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    wide = tuple(2 * n for n in shape)
    low, high = draw(st.sampled_from([(0, 1), (-300, 0), (-300, 300), (0, 300)]))
    values = np.asarray(rng.standard_normal(wide) * 10.0 ** rng.integers(low, high, wide))
    values[rng.random(wide) < 0.1] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0]))
    with np.errstate(all="ignore"):
        array = (
            values.astype(dtype)
            if dtype.kind in "fc"
            else np.asarray(np.nan_to_num(100 * np.sign(values))).astype("i1").astype(dtype)
        )
    array = array[
        (
            ...,
            *(
                draw(st.sampled_from([np.s_[:n], np.s_[::2], np.s_[::-2], np.s_[n:]]))
                for n in shape
            ),
        )
    ]
    array = draw(
        st.sampled_from(
            [
                lambda a: a,
                lambda a: a.T,
                lambda a: np.broadcast_to(a, (2, *a.shape)),
                np.asfortranarray,
            ]
        )
    )(array)
    if draw(st.booleans()):
        array = array.view()
        array.flags.writeable = False
    return array


@pytest.mark.parametrize("routine", numcore.routines(), ids=lambda r: f"{r.room}.{r.name}")
def test_any_arguments(routine):
    sample = example(routine)

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def fuzz(data):
        dtype = np.dtype(data.draw(st.sampled_from(sample.dtypes)))
        arguments = sample.arguments(np.random.default_rng(0), dtype)
        for name in arguments:
            if data.draw(st.integers(0, 2), label=f"change {name}"):
                arguments[name] = data.draw(
                    arrays() if name in sample.arrays else st.one_of(SCALARS, arrays()), label=name
                )
        before = {k: v.copy() for k, v in arguments.items() if isinstance(v, np.ndarray)}
        try:
            routine.function(**arguments)
        except CLEAR as error:
            assert str(error)
        for name, array in before.items():
            np.testing.assert_array_equal(arguments[name], array)

    fuzz()
