"""The contract of a kernel: its arguments with their extents, the constants that its two bodies
share, and the checks that stand between any input and a raw pointer."""

import ctypes
import fnmatch
import functools
import itertools
import re

import numpy as np

from .dispatch import CPU, device_of

C_TYPES = {
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
    "int8": ctypes.c_int8,
    "uint8": ctypes.c_uint8,
    "int16": ctypes.c_int16,
    "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
}
_NAMES = {np.dtype(name): name for name in C_TYPES}
_ARRAY = re.compile(r"(in|out|inout|scratch)\s+(\w+)\s+(\w+)\s*\[([\w\s,*+()]*)\]")
_SCALAR = re.compile(r"(\w+)\s+(\w+)")
_EXTENT = re.compile(r"\(*\w+\)*([*+]\(*\w+\)*)*")


class Parameter:
    """One argument of a kernel: `role` is in, out, inout, scratch or scalar; `extents` is None for
    a scalar."""

    def __init__(self, role, type_name, name, extents):
        self.role, self.type_name, self.name, self.extents = role, type_name, name, extents
        self.derived = False  # whether an extent must be computed from names


def parse_contract(text):
    """The parameters of a contract such as
    ``"in T x[n, d]; out T y[n]; T scale; scratch T row[2*d]"``."""
    parameters = []
    for item in filter(None, map(str.strip, text.split(";"))):
        if array := _ARRAY.fullmatch(item):
            role, type_name, name, extents = array.groups()
            parameters.append(
                Parameter(
                    role, type_name, name, tuple(e.replace(" ", "") for e in extents.split(","))
                )
            )
        elif scalar := _SCALAR.fullmatch(item):
            parameters.append(Parameter("scalar", *scalar.groups(), None))
        else:
            raise ValueError(
                f"contract must consist of 'in T x[n, d]' and 'T scale' separated by ';' (got "
                f"{item!r})"
            )
    return tuple(parameters)


def extent(expression, dims):
    """The value of an extent: integers and names of `dims` with +, * and parentheses."""
    if expression in dims:
        return dims[expression]
    return eval(_compiled(expression), {"__builtins__": {}}, dims)


@functools.cache
def _compiled(expression):
    return compile(expression, f"<extent {expression}>", "eval")


class Contract:
    """What a kernel is, apart from how it runs; see :func:`numcore.kernel.kernel` for the
    arguments."""

    def __init__(
        self,
        body,
        contract,
        *,
        split,
        gpu="thread",
        threads=256,
        shared="0",
        grain=None,
        types=None,
        constants=(),
        host_only=None,
        twin_tolerance=None,
    ):
        self.body, self.name = body, body.__name__
        self.contract, self.parameters = contract, parse_contract(contract)
        self.split, self.gpu, self.threads = split, gpu, threads
        self.shared, self.grain = shared, grain
        self.host_only = host_only
        self.twin_tolerance = twin_tolerance or {"float32": 1e-5, "float64": 1e-13}
        self.constants = self._named_constants(constants)
        self.dims = tuple(
            dict.fromkeys(
                e
                for p in self.parameters
                if p.extents and p.role != "scratch"
                for e in p.extents
                if e.isidentifier() and e not in self.constants
            )
        )
        for p in self.parameters:
            p.derived = bool(p.extents) and not set(p.extents) <= set(self.dims)
        types = {"T": ("float32", "float64")} | (types or {})
        self._allowed = {
            p.type_name: types[p.type_name] for p in self.parameters if p.type_name in types
        }
        self.variants = tuple(
            dict(zip(self._allowed, choice, strict=True))
            for choice in itertools.product(*self._allowed.values())
        )
        self.passed = tuple(p for p in self.parameters if p.role != "scratch")
        self._check_contract(types)

    def _named_constants(self, constants):
        """The constants as a dict; names alone stand for what the body reads under them."""
        known = self.body.__globals__
        if not isinstance(constants, dict):
            named = {}
            for pattern in constants:
                found = fnmatch.filter(known, pattern) if "*" in pattern else [pattern]
                if not found or pattern not in known and "*" not in pattern:
                    raise ValueError(
                        f"constants of kernel {self.name} must be names of its module (got "
                        f"{pattern})"
                    )
                named |= {name: known[name] for name in sorted(found)}
            constants = named
        for name, value in constants.items():
            if isinstance(value, np.generic):
                constants = constants | {name: value.item()}
                value = value.item()
            if type(value) not in (int, float) or not name.isidentifier():
                raise ValueError(
                    f"constants of kernel {self.name} must be named integers or floats (got "
                    f"{name}={value!r})"
                )
            if name in known and known[name] != value:
                raise ValueError(
                    f"constant {name} of kernel {self.name} must be what its body reads, "
                    f"{known[name]!r} (got {value!r})"
                )
        return dict(constants)

    def _check_contract(self, types):
        names = [p.name for p in self.parameters] + ["start", "stop"]
        given = self.body.__code__.co_varnames[: self.body.__code__.co_argcount]
        if list(given) != names:
            raise ValueError(
                f"kernel {self.name} must have the parameters {', '.join(names)} (got "
                f"{', '.join(given)})"
            )
        if self.split not in self.dims:
            raise ValueError(
                f"split must be one of the extents {', '.join(self.dims)} (got {self.split!r})"
            )
        if self.gpu not in ("thread", "warp", "block", None):
            raise ValueError(f"gpu must be 'thread', 'warp', 'block' or None (got {self.gpu!r})")
        if (self.gpu is None) != bool(self.host_only):
            raise ValueError(
                f"host_only must say why there is no CUDA body where gpu is None, and only there "
                f"(got gpu={self.gpu!r}, host_only={self.host_only!r})"
            )
        for name in self.constants:
            if name in names:
                raise ValueError(f"constant {name} of kernel {self.name} is also an argument")
        for p in self.parameters:
            if p.type_name not in types and p.type_name not in C_TYPES:
                raise ValueError(
                    f"type of {p.name} must be a type variable or one of {', '.join(C_TYPES)} (got "
                    f"{p.type_name!r})"
                )
            for e in p.extents or ():
                self._check_extent(f"extent of {p.name}", e, self.dims)
        self._check_extent("shared", self.shared, (*self.dims, "itemsize"))
        if self.grain is not None:
            self._check_extent("grain", self.grain, self.dims)

    def _check_extent(self, what, expression, dims):
        integers = [name for name, value in self.constants.items() if type(value) is int]
        known = (*dims, *integers)
        names = {f for f in re.findall(r"\w+", expression) if not f.isdecimal()}
        paired = expression.count("(") == expression.count(")")
        if not (paired and _EXTENT.fullmatch(expression) and names <= {*known}):
            raise ValueError(
                f"{what} must be made of {', '.join(known)} and integers (got {expression!r})"
            )

    def extent(self, expression, dims):
        """The value of an extent, in which names are those of `dims` and of the constants."""
        return extent(expression, self.constants | dims)

    def bind(self, arguments):
        """Check arguments against the contract; the variant (a dict of dtypes) and the extents (a
        dict of ints)."""
        if len(arguments) != len(self.passed):
            raise TypeError(
                f"kernel {self.name} takes {len(self.passed)} arguments (got {len(arguments)})"
            )
        variant, dims, device = {}, {}, None
        for p, a in zip(self.passed, arguments, strict=True):
            if p.extents is None:
                continue
            here = device_of(a)
            device = device or here
            if here is None or here is not device:
                raise TypeError(
                    f"{p.name} must be an array, and on the device of the other arguments (got "
                    f"{type(a).__name__})"
                )
            dtype = _NAMES.get(a.dtype)
            allowed = (
                (variant[p.type_name],)
                if p.type_name in variant
                else self._allowed.get(p.type_name, (p.type_name,))
            )
            if dtype not in allowed:
                raise TypeError(f"{p.name} must have dtype {' or '.join(allowed)} (got {a.dtype})")
            if p.type_name in self._allowed:
                variant[p.type_name] = dtype
            flags, shape = a.flags, a.shape
            if not flags.c_contiguous:
                raise ValueError(
                    f"{p.name} must be C-contiguous (got strides {a.strides} for shape {shape})"
                )
            if device is CPU and not flags.aligned:
                raise ValueError(f"{p.name} must be aligned to its dtype")
            if p.role != "in" and device is CPU and not flags.writeable:
                raise ValueError(f"{p.name} must be writeable")
            if len(shape) != len(p.extents):
                raise ValueError(
                    f"{p.name} must have {len(p.extents)} dimensions (got shape {shape})"
                )
            for e, size in zip(p.extents, shape, strict=True):
                if e in self.dims and dims.setdefault(e, size) != size:
                    raise ValueError(
                        f"{p.name} must have shape ({', '.join(p.extents)}) with {dims} (got "
                        f"{shape})"
                    )
        for p, a in zip(self.passed, arguments, strict=True):
            if p.derived and tuple(self.extent(e, dims) for e in p.extents) != a.shape:
                raise ValueError(
                    f"{p.name} must have shape ({', '.join(p.extents)}) with {dims} (got {a.shape})"
                )
        return variant, dims

    def scalar_value(self, p, variant, value):
        """The NumPy scalar that is passed for a scalar parameter; OverflowError where an integer
        does not fit."""
        return np.dtype(variant.get(p.type_name, p.type_name)).type(value)
