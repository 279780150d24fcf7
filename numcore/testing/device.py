"""A GPU that is simulated on the CPU: arrays that behave like CuPy's, and kernels that run their
CUDA bodies.

Inside :func:`simulated_gpu` every routine can be called with :class:`SimulatedArray` arguments. The
arrays are as strict as CuPy's: they mix with no NumPy array, become none without being asked, and a
reduction of one gives a 0-dimensional array. Kernels are compiled by the host's C++ compiler and
run thread by thread, see :mod:`numcore.testing.host_cuda`.
"""

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .. import dispatch
from ..kernel import kernels
from .host_cuda import In, InOut, Out, compile_host, run_checked

# What NumPy has and CuPy (14) has not: a routine that needs one of these does not run on a GPU.
NOT_IN_CUPY = frozenset(
    """asmatrix block bmat busday_count busday_offset busdaycalendar char ctypeslib
    datetime_as_string datetime_data
datetime64 einsum_path emath errstate f2py float128 fromregex frompyfunc geomspace geterr geterrcall
getbufsize histogram_bin_edges info insert is_busday isnat longdouble ma matrix matvec memmap
nanpercentile nanquantile ndenumerate nditer nested_iters object_ polyder polydiv polyint rec
recarray record setbufsize seterr seterrcall spacing strings timedelta64 unstack vecdot vecmat void
linalg.svdvals linalg.multi_dot linalg.trace linalg.diagonal linalg.outer linalg.tensordot
linalg.matrix_norm linalg.vector_norm linalg.vecdot""".split()
)
# these take arrays of the host
_CREATE = frozenset({"array", "asarray", "ascontiguousarray", "asanyarray", "asfortranarray"})
_METHODS_NOT_IN_CUPY = frozenset(
    {"ctypes", "getfield", "resize", "setfield", "setflags", "to_device"}
)


class SimulatedArray(NDArrayOperatorsMixin):
    """An array of the simulated GPU. `get()` copies it to NumPy."""

    __slots__ = ("_data",)
    __array_priority__ = 100

    def __init__(self, data):
        self._data = data

    def get(self):
        return self._data.copy()

    def __array__(self, dtype=None, copy=None):
        raise TypeError("an array of the GPU does not become a NumPy array by itself; use .get()")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return _call(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, kinds, arguments, options):
        return _call(function, arguments, options)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._data.ctypes.data)

    @property
    def device(self):
        return types.SimpleNamespace(id=0)

    @property
    def T(self):
        return SimulatedArray(self._data.T)

    def __getattr__(self, name):
        if name.startswith("__") or name in _METHODS_NOT_IN_CUPY:
            raise AttributeError(f"arrays of the GPU have no attribute {name!r}")
        value = getattr(self._data, name)
        if not callable(value):
            return value
        return value if name in ("item", "tolist", "tobytes") else _on_gpu(value)

    def __getitem__(self, index):
        return _wrap(self._data[_unwrap(index)], scalars=True)

    def __setitem__(self, index, value):
        self._data[_unwrap(index)] = _unwrap(value)

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (SimulatedArray(np.asarray(row)) for row in self._data)

    def __bool__(self):
        return bool(self._data)

    def __int__(self):
        return int(self._data)

    def __float__(self):
        return float(self._data)

    def __index__(self):
        return self._data.__index__()

    def __repr__(self):
        return f"gpu {self._data!r}"


def _unwrap(value):
    """Arrays of the simulated GPU to NumPy, through lists, tuples and dicts; arrays of the host are
    refused."""
    if isinstance(value, SimulatedArray):
        return value._data
    if isinstance(value, np.ndarray):
        raise TypeError("arrays of the GPU do not mix with arrays of type numpy.ndarray")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unwrap, value))
    if isinstance(value, dict):
        return {k: _unwrap(v) for k, v in value.items()}
    return value


def _wrap(value, scalars=False):
    if isinstance(value, np.ndarray):
        return SimulatedArray(value)
    if scalars and isinstance(value, np.generic):
        return SimulatedArray(np.asarray(value))
    if type(value) in (list, tuple):
        return type(value)(_wrap(v, scalars) for v in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # the named results of linalg
        return type(value)(*(_wrap(v, scalars) for v in value))
    return value


def _call(function, arguments, options):
    """Call a NumPy function on arrays of the simulated GPU."""
    out = options.get("out")
    result = function(*_unwrap(arguments), **_unwrap(options))
    if out is not None:
        return out[0] if isinstance(out, tuple) and len(out) == 1 else out
    return _wrap(result, scalars=True)


def _on_gpu(function):
    """A NumPy function as a function of arrays of the simulated GPU."""
    return functools.wraps(function, updated=())(
        lambda *arguments, **options: _call(function, arguments, options)
    )


def _creating(function):
    """Like `_on_gpu`, for functions that copy arrays of the host to the GPU."""

    def create(value, *arguments, **options):
        if isinstance(value, np.ndarray):
            value = value.copy()
        elif isinstance(value, SimulatedArray):
            value = value._data
        return SimulatedArray(function(value, *arguments, **options))

    return functools.wraps(function, updated=())(create)


class _Namespace:
    """numpy as CuPy would be: its functions give and take arrays of the simulated GPU."""

    def __init__(self, module, prefix=""):
        self._module, self._prefix = module, prefix
        self.ndarray = SimulatedArray

    def asnumpy(self, array):
        return array.get()

    def __getattr__(self, name):
        if self._prefix + name in NOT_IN_CUPY:
            raise AttributeError(f"CuPy has no {self._prefix}{name}")
        value = getattr(self._module, name)
        if isinstance(value, types.ModuleType):
            value = _Namespace(value, f"{self._prefix}{name}.")
        elif callable(value) and not isinstance(value, type):
            value = _creating(value) if name in _CREATE else _on_gpu(value)
        setattr(self, name, value)
        return value


namespace = _Namespace(np)


# --- kernels --------------------------------------------------------------------------------------


@functools.cache
def compiled(kernel, variant):
    """The CUDA bodies of a kernel's file for a variant (its items), compiled together by the host's
    compiler. A kernel with fewer type variables than others of its file is compiled with theirs."""
    from numcore.gpu import runtime

    path = kernel.cuda_source
    file = [kernel, *(k for k in kernels() if k.cuda_source == path)]
    wider = [v.items() for k in file for v in k.variants if set(variant) <= v.items()]
    types = dict(min(map(sorted, wider), key=lambda items: (-len(items), items)))
    defines = tuple(o for o in runtime.options(kernel, types) if o.startswith("-D"))
    entries = {k.cuda_entry for k in file if any(v.items() <= types.items() for v in k.variants)}
    return compile_host(
        runtime.source(path), entries=sorted(entries), options=defines, name=path.name
    )


def run_cuda_body(kernel, variant, arguments, dims, *, checked, **tolerance):
    """Run the CUDA body of a kernel on NumPy arrays."""
    from numcore.gpu import runtime

    grid, block, shared = runtime.geometry(kernel, variant, dims)
    if not grid:
        return
    module, roles = compiled(kernel, tuple(variant.items())), {"in": In, "out": Out, "inout": InOut}
    passed = [
        roles[p.role](value) if p.extents else value
        for p, value in zip(
            kernel.passed, runtime.values(kernel, variant, arguments, dims), strict=False
        )
    ]
    passed += [np.int64(dims[d]) for d in kernel.dims]
    if checked:
        run_checked(module, kernel.cuda_entry, grid, block, passed, shared=shared, **tolerance)
    else:
        module.launch(kernel.cuda_entry, grid, block, passed, shared=shared)


_checked = False
launched = set()  # (module, name) of every kernel that was launched, for tests that ask


def _launch(kernel, variant, arguments, dims):
    launched.add((kernel.module, kernel.name))
    run_cuda_body(
        kernel,
        variant,
        [a._data if isinstance(a, SimulatedArray) else a for a in arguments],
        dims,
        checked=_checked,
    )


SIMULATED = dispatch.Device(
    "simulated GPU", lambda kind: kind is SimulatedArray, lambda: namespace, _launch
)


@contextlib.contextmanager
def simulated_gpu(*, checked: bool = False) -> Iterator[Any]:
    """Let routines take arrays of the simulated GPU; gives their namespace, the ``cupy`` of the
    simulation.

    Parameters
    ----------
    checked : bool
        Run every launch under several thread orders and poisons, and raise `KernelFault` where they
        disagree.

    Examples
    --------
    >>> from numcore.special import exp
    >>> with simulated_gpu() as xp:
    ...     exp(xp.zeros(3)).get()
    array([1., 1., 1.])
    """
    global _checked
    if SIMULATED not in dispatch._devices:
        dispatch.add_device(SIMULATED)
    before, _checked = _checked, checked
    try:
        yield namespace
    finally:
        _checked = before
