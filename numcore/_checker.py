"""From a declaration to a checker: the function that runs before a routine's body.

It is compiled when the routine is first called. What was seen before (dtypes, shapes, layouts of
all arrays) passes by one look-up, and options pass by one condition each; everything else goes to
the slow side, which converts or raises.
"""

import functools
import inspect
import math
import re
import types

import numpy as np

from . import dispatch
from ._kinds import (
    AnyKind,
    ArrayKind,
    BoolKind,
    ChoiceKind,
    InstanceKind,
    NumberKind,
    SequenceKind,
    StructKind,
)
from ._option_kinds import NamespaceKind, RNGKind

MAX_SEEN = 1024  # combinations of dtypes and shapes that a checker remembers


def checker(function, declaration, *, host_only=None, fitted=None, keeps=""):
    """A function like `function` that checks first; see :func:`numcore.arguments.checked`."""
    scope = {}
    # The function that stands in until the first call; its code is then replaced by the checker's,
    # so that no call pays for the detour.
    checking = types.FunctionType(_first_call.__code__, scope, function.__name__)
    scope["compiled"] = functools.partial(
        _compile, function, declaration, checking, host_only, fitted, keeps
    )
    return functools.update_wrapper(checking, function)


def _first_call(*arguments, **options):
    return compiled()(*arguments, **options)


def _compile(function, declaration, checking, host_only, fitted, keeps):
    """Turn `checking` into the checker of a function; returns it."""
    parameters, scope = declaration(function), checking.__globals__
    signature = inspect.signature(function)
    slow = _Slow(parameters, host_only, keeps)
    scope |= {"_body": function, "_slow": slow, "_known": slow.known, "_inf": math.inf}
    scope |= {"_numpy": np, "_ndarray": np.ndarray, "_hasattr": hasattr, "_isinstance": isinstance}
    lines = [f"def call({_heading(signature, scope)}):"]
    if fitted:
        lines.append(f"    if not _hasattr(self, {fitted!r}): _slow.not_fitted(self)")
    sized = [p for p in parameters if any(k.sized for k in p.kinds)]
    if sized:
        for p in sized:
            for kind in p.kinds:
                if kind.stand_in is not None:
                    scope[f"_stand_in_{p.name}"] = kind.stand_in
                    lines.append(f"    {p.name} = _stand_in_{p.name}({p.name})")
        keys = "".join(f"{_key(p, scope)}, " for p in sized)
        kept = "self.n_features_in_" if keeps else "None"
        names = "".join(f"{p.name}, " for p in sized)
        lines += [
            f"    _seen = ({keys}{kept if keeps else ''})",
            "    _sizes = _known.get(_seen)",
            "    if _sizes is None:",
            f"        _sizes, ({names}) = _slow.check(_seen, ({names}), {kept})",
        ]
    else:
        lines.append("    _sizes = None")
    for p in parameters:
        lines += _entry_lines(p, scope) if p in sized else _option_lines(p, scope, slow)
    lines.append(f"    return _body({_passed(signature)})")
    exec("\n".join(lines), scope)  # made of the names and numbers of the declaration alone
    made = scope["call"]
    # a call of the old code has no use for defaults, so that threads see old or new, never a mix
    checking.__defaults__, checking.__kwdefaults__ = made.__defaults__, made.__kwdefaults__
    checking.__code__ = made.__code__
    return made


def _heading(signature, scope):
    """The parameters of a signature as source text, their defaults as names in `scope`."""
    text, last = [], None
    for name, p in signature.parameters.items():
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            text.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        if p.default is p.empty:
            text.append(f"{star}{name}")
        else:
            scope[f"_default_{name}"] = p.default
            text.append(f"{name}=_default_{name}")
        last = p.kind
    return ", ".join(text)


def _passed(signature):
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        f"{name}={name}" if p.kind is p.KEYWORD_ONLY else f"{stars.get(p.kind, '')}{name}"
        for name, p in signature.parameters.items()
    )


def _key(p, scope):
    """What a sized argument is remembered by, as source text."""
    name = p.name
    own = [k for k in p.kinds if k.sized and not isinstance(k, ArrayKind)]
    if own:
        scope[f"_key_{name}"] = _first(list(dict.fromkeys(kind.key() for kind in own)))
    # what is not an array may be converted or have a value to check: it is not remembered
    other = f"_key_{name}({name})" if own else f"({name}.__class__ if {name} is None else None)"
    if not any(isinstance(k, ArrayKind) for k in p.kinds):
        return other
    layout = f"({name}.dtype, {name}.shape, {name}.flags.num)"
    return f"{layout} if {name}.__class__ is _ndarray else {other}"


def _first(keys):
    """The key of the first alternative that has one."""
    if len(keys) == 1:
        return keys[0]
    return lambda value: next((k for key in keys if (k := key(value)) is not None), None)


def _entry_lines(p, scope):
    """Checks of the entries of arrays, which no look-up can save."""
    lines = []
    for at, kind in enumerate(p.kinds):
        if kind.judges:
            scope[f"_entries_{p.name}_{at}"] = kind.entries
            check = f"_entries_{p.name}_{at}({p.name!r}, {p.name}, _sizes)"
            lines.append(f"    if {p.name} is not None: {check}")
    return lines


def _option_lines(p, scope, slow):
    """Checks of an option: a condition that costs little, and the slow side where it fails."""
    name, conditions = p.name, [f"{p.name} is None"] if p.optional else []
    for at, kind in enumerate(p.kinds):
        if isinstance(kind, AnyKind):
            return []
        if isinstance(kind, BoolKind):
            conditions.append(f"{name} is True or {name} is False")
        elif isinstance(kind, NumberKind):
            conditions.append(kind.condition(name))
        elif isinstance(kind, ChoiceKind) and all(isinstance(c, str) for c in kind.choices):
            scope[f"_choices_{name}"] = kind.choices
            conditions.append(f"{name}.__class__ is str and {name} in _choices_{name}")
        elif isinstance(kind, InstanceKind):
            scope[f"_class_{name}_{at}"] = kind.kind
            conditions.append(f"_isinstance({name}, _class_{name}_{at})")
        elif isinstance(kind, SequenceKind) and not kind.by_size:
            scope |= {"_tuples": slow.tuples, "_id": id}
            conditions.append(f"_tuples.get(({name!r}, _id({name})), _tuples) is {name}")
        elif isinstance(kind, RNGKind):
            conditions.append(f"{name} is None")
        elif isinstance(kind, NamespaceKind):
            conditions.append(f"{name} is _numpy")
    condition = " or ".join(f"({c})" for c in conditions) or "False"
    return [f"    if not ({condition}): {name} = _slow.option({name!r}, {name}, _sizes)"]


def _leads(p):
    return not p.optional and any(isinstance(k, StructKind) for k in p.kinds)


class _Slow:
    """What runs for combinations of arrays not seen before, to convert options, and to raise."""

    def __init__(self, parameters, host_only, keeps):
        self.known, self.host_only, self.keeps = {}, host_only, keeps
        self.tuples = {}  # tuples that passed, by name and id; kept, so that no other gets the id
        self.by_name = {p.name: p for p in parameters}
        self.sized = [p for p in parameters if any(k.sized for k in p.kinds)]
        # required structures first: what does not fit to a cache is at fault, not the cache
        self.order = sorted(range(len(self.sized)), key=lambda i: not _leads(self.sized[i]))

    def check(self, seen, values, kept):
        """The sizes of a call and its converted arrays; remembered where nothing was converted."""
        call = Call(self.host_only)
        if kept is not None:
            call.sizes[self.keeps] = kept
        converted = list(values)
        for i in self.order:
            converted[i] = self.sized[i].convert(values[i], call)
        call.finish()
        converted = [call.moved.get(id(v), v) for v in converted]
        same = all(a is b for a, b in zip(values, converted, strict=True)) and None not in seen
        if same and all(d is dispatch.CPU for d in call.devices.values()):
            if len(self.known) >= MAX_SEEN:
                self.known.clear()
            self.known[seen] = call.sizes
        return call.sizes, converted

    def option(self, name, value, sizes):
        """An option that is not what the declaration says at first sight: converted, or refused."""
        call = Call(self.host_only)
        call.sizes = sizes
        converted = self.by_name[name].convert(value, call)
        if converted is value and _is_constant(value):
            if len(self.tuples) >= MAX_SEEN:
                self.tuples.clear()
            self.tuples[name, id(value)] = value
        return converted

    def not_fitted(self, model):
        from .model import not_fitted

        raise not_fitted(model)


def _is_constant(value):
    """Whether a value is a tuple of numbers and strings, which nobody can change."""
    return value.__class__ is tuple and all(
        item is None or item.__class__ in (int, float, str, bool) or _is_constant(item)
        for item in value
    )


class Sizes(dict):
    """Sizes by name; what no array has said is without limit."""

    def __missing__(self, name):
        return math.inf


class Call:
    """What the sized arguments of one call have in common: device, dtype, sizes."""

    def __init__(self, host_only=None):
        self.host_only = host_only
        self.devices, self.sizes, self.batches = {}, Sizes(), {}
        self.dtype, self.dtype_of = None, None
        self.scalars, self.moved = {}, {}

    def as_array(self, name, value, anywhere=False):
        """The value as an array of a known device, aligned in memory."""
        device = dispatch.device_of(value)
        if device is None:
            scalar = isinstance(value, (int, float, complex, np.generic))
            value, device = _as_numpy(name, value), dispatch.CPU
            if scalar:
                self.scalars[name] = value
                return value
        if self.host_only and device is not dispatch.CPU:
            raise TypeError(
                f"{name} must be a NumPy array, as this runs on the host only: {self.host_only} "
                f"(got {type(value).__name__})"
            )
        if device is dispatch.CPU and not (value.flags.aligned and value.dtype.isnative):
            # a field of packed records, or numbers of a file of another machine's byte order
            value = value.astype(value.dtype.newbyteorder("="))
        if not anywhere:
            self.devices[name] = device
        return value

    def match(self, name, kind, shape):
        """Hold a shape against the sizes that are known by name."""
        extra = len(shape) - len(kind.sizes)
        if extra < 0 or (extra and not kind.batch):
            raise ValueError(f"{name} must have shape {kind.form} (got {shape})")
        sizes = shape
        if kind.batch:
            at = kind.axes.index(kind.batch)
            sizes = shape[:at] + shape[at + extra :]
            self.match_batch(name, kind, shape, shape[at : at + extra])
        for size, found in zip(kind.sizes, sizes, strict=True):
            if size == "_":
                continue
            wanted = self.size(size, found)
            if wanted != found:
                where = f" with {size} = {wanted}" if not size.isdecimal() else ""
                raise ValueError(f"{name} must have shape {kind.form}{where} (got {shape})")

    def match_batch(self, name, kind, shape, found):
        if kind.batch == "...":
            return
        first, wanted = self.batches.setdefault(kind.batch, (name, found))
        if found != wanted:
            axes = [str(n) for a in kind.axes for n in (wanted if a == kind.batch else (a,))]
            form = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
            raise ValueError(f"{name} must have shape {form} like {first} (got {shape})")

    def size(self, expression, found):
        """The value of a size; a name of which nothing is known yet is `found`, ``n+1`` tells n."""
        if expression.isidentifier():  # nearly all are
            return self.sizes.setdefault(expression, found)
        single = re.fullmatch(r"([^\W\d]\w*)([+-]\d+)?", expression)
        if single and single[1] not in self.sizes:
            self.sizes[single[1]] = max(found - int(single[2] or 0), 0)
        total = 0
        for sign, term in re.findall(r"([+-]?)([^+-]+)", expression):
            factors = [int(f) if f.isdecimal() else self.sizes[f] for f in term.split("*")]
            total += -math.prod(factors) if sign == "-" else math.prod(factors)
        return total

    def finish(self):
        """All arrays must live on one device; scalars move there."""
        found = set(self.devices.values())
        if len(found) > 1:
            where = ", ".join(f"{name} on {device.name}" for name, device in self.devices.items())
            raise TypeError(f"arguments must live on one device (got {where})")
        if self.scalars and found and found != {dispatch.CPU}:
            xp = found.pop().namespace()
            self.moved = {id(value): xp.asarray(value) for value in self.scalars.values()}


def _as_numpy(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask (got {type(value).__name__})")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} must be an array of numbers (got a ragged sequence)") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must be an array of numbers (got dtype {array.dtype})")
    return array
