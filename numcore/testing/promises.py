"""The registry of promises, and what their checks share."""

import copy

import numpy as np

from ..examples.errors import largest_error, leaves

CHECKS = {}
SEED = 20260301


class NonConformance(AssertionError):
    """A routine breaks a promise; the message names the promise."""


def promise(text, *, plain=False):
    """Register a check under its function's name; `text` is what it says when it fails. A `plain`
    check takes the routine itself, not what the example compares."""

    def decorate(check):
        def checked(function, example):
            subject = function if plain else example.caller(function)
            for dtype in example.dtypes:
                try:
                    check(subject, example, dtype)
                except NonConformance:
                    raise
                except Exception as error:
                    raise NonConformance(
                        f"{function.__name__}, {dtype}: {text} ({type(error).__name__}: {error})"
                    ) from error

        CHECKS[check.__name__] = checked
        return check

    return decorate


def require(condition, text):
    if not condition:
        raise NonConformance(text)


def arguments_of(example, dtype):
    return example.arguments(np.random.default_rng(SEED), np.dtype(dtype))


def call(function, arguments):
    """Call with copies of the arguments, random generators included, so that calls do not depend on
    each other."""
    return function(**copy.deepcopy(arguments))


def identical(a, b):
    a, b = leaves(a), leaves(b)
    return len(a) == len(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind in "fc")
        for x, y in zip(a, b, strict=True)
    )


def close(a, b, example, dtype):
    """Whether two results agree as two results within the promised error of the exact one must."""
    return largest_error(a, b, example.error) <= 2 * example.bound[dtype] + (
        1 if example.error == "ulp" else 0
    )


def must_raise(kind, function, arguments, name, what):
    """A call must raise an error of a kind, or of one of several, whose message has `name`."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    must = f"{what} must be a {' or '.join(k.__name__ for k in kinds)}"
    try:
        function(**arguments)
    except NonConformance:
        raise
    except kinds as error:
        require(name in str(error), f"the error for {what} must name the argument (got: {error})")
    except Exception as error:
        raise NonConformance(f"{must} (got {type(error).__name__}: {error})") from error
    else:
        raise NonConformance(f"{must} (got a result)")
