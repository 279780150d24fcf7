"""Example calls of every routine: what the conformance tests, the benchmarks and
``python -m numcore`` run.

``numcore/examples/<room>.py`` holds a dict ``EXAMPLES`` from the routine's name to its
:class:`Example`, and, for kernels whose arguments cannot be any random numbers (indices, say), a
dict ``KERNELS`` from the kernel's name to ``make(rng, variant, size)``. A room of many methods has
a folder of such files, one for each method.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Example", "example", "gathered", "has_example", "kernel_arguments", "moved"]


@dataclass(frozen=True)
class Example:
    """How to call one routine.

    Attributes
    ----------
    arguments : function
        ``arguments(rng, dtype)`` → dict: a small, valid call with random arrays of `dtype`.
    arrays : tuple of str
        The names of the arguments that are arrays of `dtype`.
    reference : function
        ``reference(**arguments)`` → the exact result, or one far more accurate, computed
        independently (slowly, in float64 or more).
    bound : dict of str to float
        The error that the routine promises, by dtype, in the unit `error`.
    error : {"ulp", "relative", "absolute", "equal"}
        How the largest error is measured, see :func:`numcore.examples.errors.largest_error`: in
        units in the last place of the exact result; divided by the largest entry of the reference;
        as it is; "equal" for results that are right or wrong.
    data : str
        What `real` is, for a reader: "logits of the digits images".
    real : function or None
        ``real(dtype)`` → dict: a call on real data of a size worth timing.
    sample : function or None
        ``sample(result, **arguments)`` → (part, arguments): a part of the result of a `real` call
        and the arguments that give just this part, where the reference of all of it would take too
        long.
    peer : tuple of (str, function) or None
        The name of what users call today, and ``function(**arguments)`` doing so; it imports its
        library itself.
    nan : {"propagate", "raise", "ignore"}
        What a NaN in an array argument does.
    dtypes : tuple of str
        The dtypes of the example's calls.
    also : tuple of str
        Further dtypes that are accepted.
    sizes : function or None
        ``sizes(rng, dtype, n)`` → dict: the call with the leading array extents set to n, for the
        adversarial sizes 0, 1, prime.
    result : function or None
        ``result(what the routine returns)`` → what is compared with the reference, where that is
        not all of it: a layer returns ``(y, cache)``.
    """

    arguments: Callable[..., dict]
    arrays: tuple[str, ...]
    reference: Callable[..., Any]
    bound: dict[str, float]
    error: str = "relative"
    data: str = ""
    real: Callable[..., dict] | None = None
    sample: Callable[..., tuple] | None = None
    peer: tuple[str, Callable[..., Any]] | None = None
    nan: str = "propagate"
    dtypes: tuple[str, ...] = field(default=("float32", "float64"))
    also: tuple[str, ...] = ()
    sizes: Callable[..., dict] | None = None
    result: Callable[[Any], Any] | None = None

    def caller(self, function):
        """`function` as a function of the arguments by name that gives what is compared with the
        reference."""
        if self.result is None:
            return function
        return functools.wraps(function)(lambda **arguments: self.result(function(**arguments)))


def gathered(package, path):
    """The EXAMPLES and the KERNELS of all modules of a package, for the ``__init__.py`` of a room's
    folder."""
    examples, kernels = {}, {}
    for _, name, _ in pkgutil.iter_modules(path):
        module = importlib.import_module(f"{package}.{name}")
        examples |= module.EXAMPLES
        kernels |= getattr(module, "KERNELS", {})
    return examples, kernels


def moved(value, to):
    """A value with `to` applied to it if it is a NumPy array, or to the arrays in it: a list, a
    named tuple or a dataclass of arrays."""
    if isinstance(value, np.ndarray):
        return to(value)
    if hasattr(value, "map"):
        return value.map(to)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(part, to) for part in value))
    if isinstance(value, list):
        return [moved(part, to) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), to) for f in fields(value)})
    return value


def example(routine):
    """The :class:`Example` of a registered routine; LookupError if its author wrote none."""
    examples = importlib.import_module(f"numcore.examples.{routine.room}").EXAMPLES
    if routine.name not in examples:
        raise LookupError(
            f"{routine.room}.{routine.name} must have an example: an entry of EXAMPLES in "
            f"numcore/examples/{routine.room} (found none)"
        )
    return examples[routine.name]


def has_example(routine):
    """Whether a registered routine has an example."""
    try:
        return example(routine) is not None
    except LookupError:
        return False


def kernel_arguments(kernel):
    """``make(rng, variant, size)`` of a kernel if its room has one, else None."""
    if not kernel.module.startswith("numcore."):
        return None
    return getattr(importlib.import_module(f"numcore.examples.{kernel.room}"), "KERNELS", {}).get(
        kernel.name
    )
