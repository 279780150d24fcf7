"""The language in which routines and models declare their arguments, and the one checker of it.

A signature says what a function takes, in jaxtyping's notation for arrays and by
``typing.Annotated`` for options::

    @routine
    def weighted_scores(
        queries: Float[Array, "*batch n d"],
        keys: Float[Array, "*batch m d"],
        weights: Float[Array, "m", finite] | None = None,
        *,
        scale: Annotated[float, positive] | None = None,
        k: Annotated[int, at_least(1), at_most("m")] = 1,
        metric: Literal["dot", "cosine"] = "dot",
    ) -> Array: ...

Static checkers read these as plain types. When the function is first called, its declaration is
compiled to a checker that runs before the body: it converts lists to arrays, refuses what does not
fit with a TypeError or ValueError that names the argument, and passes what was seen before
(types, dtypes, shapes) by one look-up.

Sizes are names (equal names are equal sizes throughout a call), integers, ``_`` (any size), sums
and products of these such as ``n+1``; ``*batch`` and ``...`` stand for any number of leading axes.
Arrays of kind `Float` have one dtype per call, float32 or float64; those of kind `Inexact` have one
dtype too, which may be complex.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import numpy as np

from . import _checker
from ._kinds import (
    AnyKind,
    ArrayKind,
    BoolKind,
    ChoiceKind,
    InstanceKind,
    Kind,
    NumberKind,
    Parameter,
    SequenceKind,
    StructKind,
)
from ._option_kinds import DTypeKind, NamespaceKind, RNGKind, ShapeKind
from ._ranges import Bound, any_device, finite, infinite, nonempty, own_dtype, written

__all__ = [
    "RNG",
    "Array",
    "Bool",
    "Bound",
    "Complex",
    "ComplexDType",
    "DType",
    "Float",
    "Float32",
    "Float64",
    "Inexact",
    "Integer",
    "Kind",
    "Namespace",
    "Num",
    "Parameter",
    "Real",
    "ShapeLike",
    "any_device",
    "at_least",
    "at_most",
    "below",
    "between",
    "checked",
    "declaration",
    "finite",
    "infinite",
    "interval",
    "nonempty",
    "nonnegative",
    "own_dtype",
    "positive",
    "within",
    "written",
]
F = TypeVar("F", bound=Callable[..., Any])


# --- arrays ---------------------------------------------------------------------------------------


class _Family:
    """``Float[Array, "n d", finite]`` at run time: ``Annotated[Array, ArrayKind(...)]``."""

    def __init__(self, name, text, dtypes, shared=False):
        self.name, self.text, self.dtypes, self.shared = name, text, dtypes, shared

    def __getitem__(self, item):
        array, sizes, *notes = item
        return Annotated[array, ArrayKind(self, sizes, tuple(notes))]


if TYPE_CHECKING:  # to a static checker, Float[Array, "n d"] is Annotated[Array, "n d"]
    from typing import (
        Annotated as Bool,
        Annotated as Complex,
        Annotated as Float,
        Annotated as Float32,
        Annotated as Float64,
        Annotated as Inexact,
        Annotated as Int8,
        Annotated as Int32,
        Annotated as Int64,
        Annotated as Integer,
        Annotated as Num,
        Annotated as Real,
        Annotated as UInt8,
        Annotated as UInt32,
        Annotated as UInt64,
    )

    import numpy.typing as npt

    # CuPy ships no types, so that its arrays pass wherever NumPy's do.
    Array: TypeAlias = npt.NDArray[Any]
else:
    Array = np.ndarray
    Float = _Family("Float", "float32 or float64", ("float32", "float64"), shared=True)
    Float32, Float64 = (_Family(f"Float{n}", f"float{n}", (f"float{n}",)) for n in (32, 64))
    Complex = _Family("Complex", "complex64 or complex128", ("complex64", "complex128"))
    _INEXACT = ("float32", "float64", "complex64", "complex128")
    Inexact = _Family("Inexact", "float32, float64, complex64 or complex128", _INEXACT, shared=True)
    Bool = _Family("Bool", "bool", ("bool",))
    _INTEGERS = tuple(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64))
    Integer = _Family("Integer", "integers", _INTEGERS)
    Int8, Int32, Int64, UInt8, UInt32, UInt64 = (
        _Family(name, name.lower(), (name.lower(),))
        for name in ("Int8", "Int32", "Int64", "UInt8", "UInt32", "UInt64")
    )
    Real = _Family("Real", "float32, float64 or integers", ("float32", "float64", *_INTEGERS))
    Num = _Family("Num", "numbers", (*Real.dtypes, *Complex.dtypes, "bool"))


# --- ranges ---------------------------------------------------------------------------------------


def at_least(low):
    """value >= low, a number or the name of a size."""
    return Bound(low=low)


def at_most(high):
    """value <= high, a number or the name of a size."""
    return Bound(high=high)


def below(high):
    """value < high, a number or the name of a size."""
    return Bound(high=high, closed_high=False)


def between(low, high):
    """low < value < high."""
    return Bound(low, high, False, False)


def within(low, high):
    """low <= value <= high."""
    return Bound(low, high)


def interval(text):
    """A range in the notation of mathematics: ``interval("[0, 1)")``."""
    opening, low, high, closing = re.fullmatch(
        r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])", text
    ).groups()
    return Bound(_end(low), _end(high), opening == "[", closing == "]")


def _end(text):
    try:
        return int(text)
    except ValueError:
        return text if text.isidentifier() and text != "inf" else float(text)


positive = Bound(0, closed_low=False)
nonnegative = Bound(0)


# --- options that many functions have -------------------------------------------------------------

if TYPE_CHECKING:
    from numpy.random import BitGenerator, Generator, SeedSequence

    Seed: TypeAlias = int | np.integer | SeedSequence | BitGenerator | Generator | None
else:
    Seed = Any  # numpy.random takes a fifth of NumPy's own time to import
RNG: TypeAlias = Annotated[Seed, RNGKind()]  # as SPEC 7 says; numcore.random turns it into a key
DType: TypeAlias = Annotated[Any, DTypeKind()]
ComplexDType: TypeAlias = Annotated[Any, DTypeKind("complex64", "complex128")]
Namespace: TypeAlias = Annotated[Any, NamespaceKind()]
ShapeLike: TypeAlias = Annotated[int | Sequence[int], ShapeKind()]


# --- from a signature to a declaration ------------------------------------------------------------


def declaration(function):
    """The declared arguments of a function, a tuple of `Parameter` in their order."""
    function = inspect.unwrap(function)
    given = {k: v for k, v in function.__annotations__.items() if k != "return"}
    holder = type("Declaration", (), {"__annotations__": given})
    hints = typing.get_type_hints(holder, function.__globals__, include_extras=True)
    return tuple(
        _parameter(name, hints.get(name, Any), p.default)
        for name, p in inspect.signature(function).parameters.items()
    )


def _parameter(name, hint, default=inspect.Parameter.empty):
    alternatives = list(_alternatives(hint))
    kinds = tuple(kind for kind in alternatives if kind is not None)
    return Parameter(name, kinds, len(kinds) < len(alternatives), default)


def _fields(kind):
    """The declared fields of a named tuple or dataclass, if any of them is an array."""
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "_fields", None)
    if not names:
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = tuple(_parameter(name, hints.get(name, Any)) for name in names)
    return fields if any(k.sized for f in fields for k in f.kinds) else None


def _alternatives(hint, notes=()):
    """The kinds of a hint; None for None."""
    if hasattr(hint, "__metadata__"):
        notes = (*hint.__metadata__, *notes)
        own = [note for note in notes if isinstance(note, Kind)]
        if own:
            yield own[0]
            return
        hint = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint.__origin__
    origin = typing.get_origin(hint)
    if isinstance(hint, types.UnionType) or origin is typing.Union:
        for part in typing.get_args(hint):
            yield from _alternatives(part, notes)
    elif hint is None or hint is type(None):
        yield None
    elif origin is Literal:
        choices = typing.get_args(hint)
        yield ChoiceKind(tuple(c for c in choices if c is not None))
        if None in choices:
            yield None
    elif hint is bool:
        yield BoolKind()
    elif hint in (int, float):
        yield NumberKind(hint, notes)
    elif hint is Callable or origin is Callable:
        yield InstanceKind(Callable)
    elif origin is tuple and typing.get_args(hint)[-1] is not Ellipsis:
        yield SequenceKind([_parameter("item", part) for part in typing.get_args(hint)])
    elif origin in (Sequence, list, tuple):
        yield SequenceKind([], _parameter("item", typing.get_args(hint)[0]))
    elif hint is Any or hint is object:
        yield AnyKind()
    elif isinstance(hint, type) and (fields := _fields(hint)):
        yield StructKind(hint, fields)
    elif isinstance(hint, type):
        yield InstanceKind(hint)
    elif isinstance(origin, type):
        yield InstanceKind(origin)
    else:
        yield AnyKind()


def checked(
    function: F, *, host_only: str | None = None, fitted: str | None = None, keeps: str = ""
) -> F:
    """Check what a signature declares before the body runs.

    Parameters
    ----------
    function : callable
    host_only : str, optional
        Why arrays of a GPU are refused.
    fitted : str, optional
        For a method: an attribute without which ``self`` is not fitted.
    keeps : str, optional
        For a method: a size that ``self.n_features_in_`` holds from the last fit on.
    """
    return typing.cast(
        F, _checker.checker(function, declaration, host_only=host_only, fitted=fitted, keeps=keeps)
    )
