"""Every routine keeps every promise, and every check sees the promise broken."""

import os
import threading
import warnings

import numpy as np
import pytest

import numcore
from numcore import _pool
from numcore.arguments import Array, Float, checked
from numcore.examples import Example, example
from numcore.testing import CHECKS, NonConformance, check_routine


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("routine", numcore.routines(), ids=lambda r: f"{r.room}.{r.name}")
def test_routine_conforms(routine, check):
    check_routine(routine.function, example(routine), only=check)


# --- deliberately bad routines --------------------------------------------------------------------


@checked
def scale(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Array:
    """Twice a plus b.

    Parameters
    ----------
    a, b : (n, d) array of float32 or float64

    Returns
    -------
    (n, d) array

    Raises
    ------
    TypeError
        Another dtype.

    References
    ----------
    None.

    Examples
    --------
    >>> scale(np.ones((1, 1)), np.ones((1, 1)))
    array([[3.]])
    """
    return 2 * a + b


def _arguments(rng, dtype, n=5):
    return {
        "a": rng.standard_normal((n, 3)).astype(dtype),
        "b": rng.standard_normal((n, 3)).astype(dtype),
    }


EXAMPLE = Example(
    _arguments,
    ("a", "b"),
    lambda a, b: 2 * a.astype(np.longdouble) + b,
    {"float32": 1e-6, "float64": 1e-15},
    sizes=_arguments,
)


def broken(body):
    """A routine like `scale` but for its body."""
    body.__doc__, body.__name__ = scale.__doc__, "scale"
    return body


@broken
def inaccurate(a, b):
    return scale(a, b) * (1 + 1e-3)


@broken
def changes_dtype(a, b):
    return scale(a, b).astype(np.float64 if a.dtype == np.float32 else np.float32)


@broken
def fails_when_empty(a, b):
    return scale(a, b) + 0 * a.max()


@broken
def reads_memory_order(a, b):
    return scale(a, b) + (0 if a.flags.c_contiguous else 1)


@broken
def hides_nan(a, b):
    return np.nan_to_num(scale(a, b))


@broken
def takes_any_dtype(a, b):
    return 2 * np.asarray(a) + np.asarray(b)


@broken
def declares_nothing(a, b):
    return scale(a, b)


@broken
def declared_but_unchecked(a: Float[Array, "n d"], b: Float[Array, "n d"]):
    n = min(len(a), len(b))
    return scale(a[:n, :3], b[:n, :3])


@broken
def raises_value_error_for_text(a, b):
    if isinstance(a, str):
        raise ValueError("a")
    return scale(a, b)


@broken
def copies_between_devices(a, b):
    return scale(*(x.get() if hasattr(x, "get") else x for x in (a, b)))


@broken
def writes_to_input(a, b):
    if a.flags.writeable:
        a[...] = 0
    return scale(a, b)


@broken
def needs_writeable(a, b):
    a[...] = a
    return scale(a, b)


@broken
def prints(a, b):
    print("working")
    return scale(a, b)


@broken
def seeds_the_global_generator(a, b):
    np.random.seed(len(threading.enumerate()) + int(np.random.random() * 1e6))  # noqa: NPY002
    return scale(a, b)


@broken
def depends_on_threads(a, b):
    return scale(a, b) * (1 + 1e-7 * _pool.get_num_threads())


_shared = {}


@broken
def shares_state(a, b):
    _shared["n"] = _shared.get("n", 0) + 1
    return scale(a, b) if threading.current_thread() is threading.main_thread() else scale(a, b) + 1


_home = os.getpid()


@broken
def breaks_after_fork(a, b):
    return scale(a, b) if os.getpid() == _home else scale(a, b) + 1


@broken
def returns_host_array(a, b):
    result = scale(a, b)
    return result.get() if hasattr(result, "get") else result


def undocumented(a, b):
    """Twice a plus b."""
    return scale(a, b)


@broken
def warns(a, b):
    warnings.warn("careful", stacklevel=1)
    return scale(a, b)


@pytest.mark.parametrize(
    "check, bad",
    [
        ("accurate", inaccurate),
        ("preserves_dtype", changes_dtype),
        ("any_size", fails_when_empty),
        ("any_strides", reads_memory_order),
        ("nan_policy", hides_nan),
        ("declared", declares_nothing),
        ("sizes_agree", declared_but_unchecked),
        ("rejects_other_dtypes", takes_any_dtype),
        ("rejects_non_arrays", raises_value_error_for_text),
        ("rejects_mixed_devices", copies_between_devices),
        ("leaves_inputs_alone", writes_to_input),
        ("takes_read_only", needs_writeable),
        ("is_silent", prints),
        ("is_silent", warns),
        ("changes_no_state", seeds_the_global_generator),
        ("independent_of_threads", depends_on_threads),
        ("thread_safe", shares_state),
        ("fork_safe", breaks_after_fork),
        ("same_on_gpu", returns_host_array),
        ("documented", undocumented),
    ],
)
def test_every_check_sees_a_bad_routine(check, bad):
    with pytest.raises(NonConformance):
        check_routine(bad, EXAMPLE, only=check)


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_routine_passes(check):
    check_routine(scale, EXAMPLE, only=check)


def test_every_check_has_a_bad_routine():
    covered = {
        mark.args[1][i][0]
        for mark in test_every_check_sees_a_bad_routine.pytestmark
        for i in range(len(mark.args[1]))
    }
    assert covered == set(CHECKS)
