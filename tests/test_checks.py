"""Options that are right come back, others raise errors that say why."""

import numpy as np
import pytest

from numcore.checks import checked_bool, checked_choice, checked_count, checked_number


def test_what_is_right_comes_back():
    assert (
        checked_number("a", np.float32(0.5), above=0, most=1) == 0.5
        and type(checked_number("a", 3)) is float
    )
    assert (
        checked_count("k", np.int64(3), least=1, most=3) == 3
        and type(checked_count("k", np.int64(3))) is int
    )
    assert (
        checked_choice("kind", "b", ("a", "b")) == "b"
        and checked_choice("norm", None, (None, "ortho")) is None
    )


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: checked_number("a", 0, above=0, most=1),
            ValueError,
            r"a must satisfy 0 < a <= 1 \(got 0\)",
        ),
        (
            lambda: checked_number("a", np.nan),
            ValueError,
            r"a must satisfy -inf < a < inf \(got nan\)",
        ),
        (
            lambda: checked_number("a", np.inf, least=0),
            ValueError,
            r"a must satisfy a >= 0 \(got inf\)",
        ),
        (lambda: checked_number("a", 2, below=2), ValueError, r"a must satisfy a < 2 \(got 2\)"),
        *(
            (lambda value=value: checked_number("a", value), TypeError, "a must be a number")
            for value in ("1", True, 1j, [1.0])
        ),
        (
            lambda: checked_count("k", 4, least=1, most=3),
            ValueError,
            r"k must satisfy 1 <= k <= 3 \(got 4\)",
        ),
        (lambda: checked_count("k", -1), ValueError, r"k must satisfy k >= 0 \(got -1\)"),
        *(
            (lambda value=value: checked_count("k", value), TypeError, "k must be an integer")
            for value in (1.0, True)
        ),
        (
            lambda: checked_choice("kind", "c", ("a", "b")),
            ValueError,
            r"kind must be one of a, b \(got 'c'\)",
        ),
        (lambda: checked_choice("kind", ["a"], ("a", "b")), TypeError, "kind must be one of"),
        (lambda: checked_bool("flag", 1), TypeError, "flag must be True or False"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
