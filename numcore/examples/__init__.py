"""Example calls of every routine: what the conformance tests, the benchmarks and ``python -m numcore`` run.

``numcore/examples/<room>.py`` holds a dict ``EXAMPLES`` from the routine's name to its :class:`Example`, and, for kernels whose
arguments cannot be any random numbers (indices, say), a dict ``KERNELS`` from the kernel's name to ``make(rng, variant, size)``.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Example", "example", "kernel_arguments"]


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
        ``reference(**arguments)`` → the exact result, or one far more accurate, computed independently (slowly, in float64 or more).
    bound : dict of str to float
        The error that the routine promises, by dtype, in the unit `error`.
    error : {"ulp", "relative", "absolute", "equal"}
        How the largest error is measured, see :func:`numcore.examples.errors.largest_error`: in units in the last place of the exact
        result; divided by the largest entry of the reference; as it is; "equal" for results that are right or wrong.
    data : str
        What `real` is, for a reader: "logits of the digits images".
    real : function or None
        ``real(dtype)`` → dict: a call on real data of a size worth timing.
    sample : function or None
        ``sample(result, **arguments)`` → (part, arguments): a part of the result of a `real` call and the arguments that give just this
        part, where the reference of all of it would take too long.
    peer : tuple of (str, function) or None
        The name of what users call today, and ``function(**arguments)`` doing so; it imports its library itself.
    nan : {"propagate", "raise", "ignore"}
        What a NaN in an array argument does.
    dtypes : tuple of str
        The dtypes that are accepted.
    sizes : function or None
        ``sizes(rng, dtype, n)`` → dict: the call with the leading array extents set to n, for the adversarial sizes 0, 1, prime.
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
    sizes: Callable[..., dict] | None = None


def example(routine):
    """The :class:`Example` of a registered routine; KeyError if its author wrote none."""
    return importlib.import_module(f"numcore.examples.{routine.room}").EXAMPLES[routine.name]


def kernel_arguments(kernel):
    """``make(rng, variant, size)`` of a kernel if its room has one, else None."""
    if not kernel.module.startswith("numcore."):
        return None
    return getattr(importlib.import_module(f"numcore.examples.{kernel.room}"), "KERNELS", {}).get(kernel.name)
