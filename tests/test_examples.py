"""The calls on real data, which ``python -m numcore`` measures: their results are as exact as the
examples promise."""

import numpy as np
import pytest

import numcore
from numcore.examples import example, has_example
from numcore.examples.errors import largest_error, leaves

ON_REAL_DATA = [
    pytest.param(r, d, id=f"{r.room}.{r.name}-{d}")
    for r in numcore.routines()
    if has_example(r) and example(r).real  # conformance reports a routine without one
    for d in example(r).dtypes
]


@pytest.mark.parametrize("routine, dtype", ON_REAL_DATA)
def test_promises_hold_on_real_data(routine, dtype):
    pytest.importorskip("sklearn")
    case = example(routine)
    arguments = case.real(dtype)
    result = leaves(case.caller(routine.function)(**arguments))
    result = result if len(result) > 1 else result[0]
    if case.sample:
        result, arguments = case.sample(result, **arguments)
    with np.errstate(all="ignore"):
        assert largest_error(result, case.reference(**arguments), case.error) <= case.bound[dtype]
