"""What one declared argument may be: kinds of values, their ranges, and what their errors say.

The language that authors write these in is :mod:`numcore.arguments`.
"""

import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import dispatch
from ._ranges import Bound, any_device, finite, infinite, nonempty, own_dtype, written


def short(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Kind:
    """One alternative of a declaration. Packages may add their own: ``Annotated[Any, MyKind()]``.

    Attributes
    ----------
    text : str
        What the argument must be, in docstrings.
    noun : str, optional
        The same after "must be" in messages, where it is another.
    sized : bool
        Whether values have sizes, a dtype or a device, which a call's other arguments share.
    stand_in : function, optional
        For sized kinds: what a value is converted to if that is known already, else the value.
        Calls with values that were seen before then pass by one look-up.
    judges : bool
        Whether `entries` has to look at the value in every call.
    by_size : bool
        Whether sizes of a call limit what a value may be.
    """

    text = "anything"
    noun: str | None = None
    sized = judges = by_size = False
    stand_in: Callable[[Any], Any] | None = None

    def fits(self, value):
        """Whether the type of `value` is one of this kind; its range is judged by `convert`."""
        return True

    def convert(self, name, value, call):
        """The value as the body gets it; ValueError or TypeError with `name` if it is unfit."""
        return value

    def entries(self, name, value, sizes):
        """Raise for the first entry of a converted value that is not finite or out of range; for
        sized kinds, whose other checks may be remembered."""

    def key(self):
        """For sized kinds: a function of a value that gives a hashable key under which a checked
        value may be remembered, or None if it must be checked each time."""
        return lambda value: None

    def unfit(self):
        """Values that must be refused, for tests: pairs of a value and its exception type."""
        return [(object(), TypeError)]


class AnyKind(Kind):
    def unfit(self):
        return []


class ArrayKind(Kind):
    """Arrays of a family of dtypes, with named sizes and properties of their entries."""

    sized, noun = True, "an array"

    def __init__(self, family, sizes, notes):
        self.family, self.notes = family, notes
        self.axes = tuple(sizes.split())
        self.batch = next((a for a in self.axes if a.startswith("*") or a == "..."), None)
        self.sizes = tuple(a for a in self.axes if a != self.batch)
        self.bounds = tuple(n for n in notes if isinstance(n, Bound))
        self.shared = family.shared and own_dtype not in notes
        self.judges = bool(self.bounds) or finite in notes
        self.bounded = any(b.is_finite for b in self.bounds)
        self.dtypes = tuple(np.dtype(d) for d in family.dtypes)

    @property
    def form(self):
        """``(..., n, d)``"""
        parts = ["..." if axis == self.batch else axis for axis in self.axes]
        return f"({', '.join(parts)}{',' * (len(parts) == 1 and not self.batch)})"

    @property
    def text(self):
        marks = [b.text for b in self.bounds]
        marks += [m for m in self.notes if m in (finite, nonempty, written)]
        of = "" if self.family.name == "Num" else f" of {self.family.text}"
        return ", ".join([f"{self.form} array{of}", *marks])

    def fits(self, value):
        return dispatch.device_of(value) is not None or isinstance(
            value, (np.ndarray, np.generic, list, tuple, int, float, complex)
        )

    def convert(self, name, value, call):
        if written in self.notes:
            _check_written(name, value)
        value = call.as_array(name, value, any_device in self.notes)
        if value.dtype not in self.dtypes:
            if not value.size and value.dtype == np.float64 and not self.shared:
                value = value.astype(self.dtypes[0] if len(self.dtypes) == 1 else np.int64)
            else:
                raise TypeError(f"{name} must have dtype {self.family.text} (got {value.dtype})")
        if self.shared:
            if call.dtype is not None and call.dtype != value.dtype:
                like = f"{call.dtype} like {call.dtype_of}"
                raise TypeError(f"{name} must have dtype {like} (got {value.dtype})")
            call.dtype, call.dtype_of = value.dtype, call.dtype_of or name
        call.match(name, self, value.shape)
        if nonempty in self.notes and 0 in value.shape:
            raise ValueError(f"{name} must have no axis of length zero (got shape {value.shape})")
        return value

    def entries(self, name, value, sizes):
        if not (
            self.judges and hasattr(value, "dtype") and value.dtype in self.dtypes and value.size
        ):
            return
        hold = all(bound.holds_all(value, sizes) for bound in self.bounds)
        must_be_finite = finite in self.notes and value.dtype.kind in "fc"
        if must_be_finite and not (hold and self.bounded) and not bool(np.isfinite(value).all()):
            _bad_entry(name, value, np.isfinite(value), "finite")
        for bound in () if hold else self.bounds:
            good = bound.holds(value, sizes)
            if not bool(good.all()):
                _bad_entry(name, value, good, f"{bound.text}{bound.where(sizes)}")

    def unfit(self):
        wrong = [(v, TypeError) for v in ("text", object(), {1.0: 2.0}, ["a"])]
        return wrong + [(np.ma.masked_array([1.0], [True]), TypeError)]


def _check_written(name, value):
    if dispatch.device_of(value) is None:
        raise TypeError(
            f"{name} must be an array, which is written to (got {type(value).__name__})"
        )
    flags = value.flags
    if isinstance(value, np.ndarray) and not (flags.writeable and flags.aligned):
        raise ValueError(f"{name} must be writeable and aligned (got flags {flags.num})")


def _bad_entry(name, value, good, must):
    good, value = (a.get() if hasattr(a, "get") else a for a in (good, value))
    at = tuple(int(i) for i in np.argwhere(~np.asarray(good))[0])
    where = f" at {list(at)}" if at else ""
    raise ValueError(f"{name} must be {must} (got {value[at]}{where})")


class NumberKind(Kind):
    """An int or a float in a range; floats are finite unless declared `infinite`."""

    def __init__(self, kind, notes):
        self.kind, self.infinite = kind, infinite in notes
        self.noun = "an integer" if kind is int else "a number"
        self.bounds = tuple(n for n in notes if isinstance(n, Bound))
        self.by_size = any(isinstance(end, str) for bound in self.bounds for end in bound[:2])
        self.text = " and ".join([kind.__name__, *(b.text for b in self.bounds)])
        self.text = self.text.replace(" and ", " ", 1)

    def fits(self, value):
        kinds = (int, np.integer) if self.kind is int else (int, float, np.integer, np.floating)
        return isinstance(value, kinds) and not isinstance(value, (bool, np.bool_))

    def convert(self, name, value, call):
        try:
            value = operator.index(value) if self.kind is int else float(value)
        except OverflowError:
            value = math.inf
        if (
            self.kind is float
            and not (self.infinite and value == value)
            and not math.isfinite(value)
        ):
            raise ValueError(f"{name} must be finite (got {value})")
        for bound in self.bounds:
            if not bound.holds(value, call.sizes):
                got = f"got {value}"
                raise ValueError(f"{name} must be {bound.text}{bound.where(call.sizes)} ({got})")
        return value

    def condition(self, name):
        """A Python condition under which the value needs no conversion."""
        parts = [f"{name}.__class__ is {self.kind.__name__}"]
        parts += [b.condition(name) for b in self.bounds]
        if self.kind is float:
            parts.append(f"{name} == {name}" if self.infinite else f"-_inf < {name} < _inf")
        return " and ".join(parts)

    def unfit(self):
        wrong = [("1", TypeError), (True, TypeError), (object(), TypeError), ([1, 2], TypeError)]
        if self.kind is int:
            wrong.append((1.5, TypeError))
        else:
            wrong.append((math.nan, ValueError))
            wrong += [] if self.infinite else [(math.inf, ValueError)]
        for bound in self.bounds:
            for end, closed, step in ((bound[0], bound[2], -1), (bound[1], bound[3], 1)):
                if not isinstance(end, str) and math.isfinite(end):
                    wrong.append((end + step if closed else end, ValueError))
        return wrong


class BoolKind(Kind):
    text, noun = "bool", "True or False"

    def fits(self, value):
        return isinstance(value, (bool, np.bool_))

    def convert(self, name, value, call):
        return bool(value)

    def unfit(self):
        return [("yes", TypeError), (1, TypeError), (object(), TypeError)]


class ChoiceKind(Kind):
    """One of a few values, nearly always strings."""

    def __init__(self, choices):
        self.choices = choices
        self.text = f"{{{', '.join(map(quoted, choices))}}}"
        self.noun = f"one of {', '.join(map(quoted, choices))}"

    def fits(self, value):
        kinds = tuple({type(choice) for choice in self.choices})
        return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

    def convert(self, name, value, call):
        if value not in self.choices:
            choices = ", ".join(map(quoted, self.choices))
            raise ValueError(f"{name} must be one of {choices} (got {short(value)})")
        return value

    def unfit(self):
        return [("no such choice", ValueError), (object(), TypeError), (["a"], TypeError)]


def quoted(value):
    return f'"{value}"' if isinstance(value, str) else repr(value)


class InstanceKind(Kind):
    """An instance of a class, a callable, a string."""

    NAMES = {str: ("str", "a string"), Callable: ("callable", "callable")}  # noqa: RUF012

    def __init__(self, kind):
        named = (kind.__name__, _with_article(kind.__name__))
        self.kind, (self.text, self.noun) = kind, self.NAMES.get(kind, named)

    def fits(self, value):
        return isinstance(value, self.kind)

    def unfit(self):
        return [] if self.kind is object else [(object(), TypeError)]


class SequenceKind(Kind):
    """A list or tuple whose items are of one kind, or a tuple of given kinds."""

    noun = "a list or tuple"

    def __init__(self, items, each=None):
        self.items, self.each = items, each
        kinds = [kind for item in ([each] if each else items) for kind in item.kinds]
        self.sized, self.judges = any(k.sized for k in kinds), any(k.judges for k in kinds)
        self.by_size = any(k.by_size for k in kinds)
        self.text = f"sequence of {each.text}" if each else f"({', '.join(i.text for i in items)})"

    def fits(self, value):
        return isinstance(value, (list, tuple))

    def convert(self, name, value, call):
        if self.each is None and len(value) != len(self.items):
            raise ValueError(f"{name} must have {len(self.items)} items (got {len(value)})")
        items = [self.each] * len(value) if self.each else self.items
        converted = [
            Parameter(f"{name}[{at}]", *item[1:]).convert(v, call)
            for at, (item, v) in enumerate(zip(items, value, strict=True))
        ]
        if all(a is b for a, b in zip(value, converted, strict=True)):
            return value
        return converted if isinstance(value, list) else tuple(converted)

    def entries(self, name, value, sizes):
        if isinstance(value, (list, tuple)):
            items = [self.each] * len(value) if self.each else self.items
            for at, (item, v) in enumerate(zip(items, value, strict=True)):
                for kind in item.kinds:
                    kind.entries(f"{name}[{at}]", v, sizes)

    def key(self):
        return _layout

    def unfit(self):
        return [(object(), TypeError)]


def _layout(value):
    """What the checks of a value depend on, as a key: the layout of its arrays, through lists,
    tuples and structures, and plain values themselves; None if it must be checked each time."""
    kind = value.__class__
    if kind is np.ndarray:
        return value.dtype, value.shape, value.flags.num
    if value is None or kind in (bool, int, float, str):
        return kind, value
    if isinstance(value, (list, tuple)):
        items = value
    elif is_dataclass(value):
        items = [getattr(value, f.name) for f in fields(value)]
    else:
        return None
    parts = [  # arrays, which they mostly are, without a call
        (x.dtype, x.shape, x.flags.num) if x.__class__ is np.ndarray else _layout(x) for x in items
    ]
    return None if None in parts else (kind, *parts)


class StructKind(Kind):
    """An instance of a named tuple or dataclass whose fields are declared like arguments: the cache
    of a layer, say, whose arrays share sizes, dtype and device with the arguments of a call."""

    sized = True

    def __init__(self, kind, fields):
        self.kind, self.fields, self.text = kind, fields, kind.__name__
        self.judges = any(k.judges for field in fields for k in field.kinds)
        self.noun = _with_article(self.text)

    def fits(self, value):
        return isinstance(value, self.kind)

    def convert(self, name, value, call):
        changed = {}
        for field in self.fields:
            given = getattr(value, field.name)
            converted = Parameter(f"{name}.{field.name}", *field[1:]).convert(given, call)
            if converted is not given:
                changed[field.name] = converted
        if not changed:
            return value
        return value._replace(**changed) if isinstance(value, tuple) else replace(value, **changed)

    def entries(self, name, value, sizes):
        if isinstance(value, self.kind):
            for field in self.fields:
                for kind in field.kinds:
                    kind.entries(f"{name}.{field.name}", getattr(value, field.name), sizes)

    def key(self):
        return _layout

    def unfit(self):
        return [(object(), TypeError), ((), TypeError)]


# --- parameters -----------------------------------------------------------------------------------


class Parameter(NamedTuple):
    """One declared argument.

    Attributes
    ----------
    name : str
    kinds : tuple of Kind
        Its alternatives.
    optional : bool
        Whether None is one of them.
    default : object
        ``inspect.Parameter.empty`` if the argument is required.
    """

    name: str
    kinds: tuple
    optional: bool = False
    default: Any = inspect.Parameter.empty

    @property
    def text(self):
        """The alternatives in words: ``int >= 1 or {"auto"}``."""
        return " or ".join(k.text for k in self.kinds)

    @property
    def type_line(self):
        """What the docstring says after ``name :``."""
        if self.default is inspect.Parameter.empty:
            return self.text + (" or None" if self.optional else "")
        if self.default is None:
            return f"{self.text}, optional"
        default = getattr(self.default, "__name__", None) or quoted(self.default)
        return f"{self.text}{' or None' if self.optional else ''}, default {default}"

    def convert(self, value, call):
        """The value as the body gets it, or the error that says what is wrong with it."""
        if value is None and self.optional:
            return None
        error = None
        try:
            for kind in self._likely(value) or self.kinds:
                if kind.fits(value):
                    try:
                        return kind.convert(self.name, value, call)
                    except (TypeError, ValueError) as caught:
                        error = error or caught
            if error is None:
                got = _got(value, self)
                error = TypeError(f"{self.name} must be {_expected(self.kinds)} (got {got})")
            raise error
        finally:
            error = None  # its traceback holds this frame, and this frame the arrays of the call

    def _likely(self, value):
        """The kinds to try, if not all: of several kinds of arrays those that may have the dtype of
        `value`, so that an error is about its shape; for a list no arrays, which it would be made
        into, where it may be a sequence."""
        if len(self.kinds) == 1:
            return ()
        if isinstance(value, (list, tuple)):
            if any(isinstance(k, SequenceKind) for k in self.kinds):
                return [k for k in self.kinds if not isinstance(k, ArrayKind)]
        elif dispatch.device_of(value) is not None:
            return [k for k in self.kinds if isinstance(k, ArrayKind) and value.dtype in k.dtypes]
        return ()


def _expected(kinds):
    """``an array``, ``True or False``, ``an integer or one of "auto"``."""
    return " or ".join(dict.fromkeys(kind.noun or kind.text for kind in kinds))


def _with_article(name):
    """``a CSR``, ``an Explanation``, ``an LSTMCache``."""
    spelled = name[:2].isupper()  # its first letter is read by its name
    return f"{'an' if name[0] in ('AEFHILMNORSX' if spelled else 'AEIOU') else 'a'} {name}"


def _got(value, parameter):
    if value is None:
        return "None"
    if any(k.sized for k in parameter.kinds):
        return type(value).__name__
    return short(value)
