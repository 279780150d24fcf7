"""Elementwise kernels y[i] = f(x[i]): genuine ufuncs on the CPU, scalar functions in compiled code
and for C, CUDA on the GPU.

An author writes plain Python functions of a scalar, one for each dtype, and a signature with a
docstring::

    @elementwise(float32=exp_float32, float64=exp_float64)
    def exp(x: Float[Array, "..."], *, out: Float[Array, "..."] | None = None) -> Array:
        \"\"\"Exponential function ...\"\"\"
"""

import ctypes
import functools
import sys

import numpy as np

from . import _bitcode, _loops, _native, _pool, _ufunc
from .arguments import Array, Float, checked
from .dispatch import Routine, _routines, device_of, namespace_of
from .kernel import C_TYPES, Kernel, enter, pointer

__all__ = ["Elementwise", "c_function", "elementwise"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    A = TypeVar("A")

    class ElementwiseFunction(Protocol):
        """What the decorator makes, for type checkers: an array of the GPU for an array of the
        GPU, a number for a number."""

        __name__: str

        def __call__(self, x: A, *, out: A | None = None) -> A: ...


SMALL = 1 << 14  # elements up to which one thread is as fast as two
ALONE = 1 << 18  # elements that one thread computes in one piece, in a millisecond


class Elementwise(Kernel):
    """A kernel ``y[i] = f(x[i])`` and the routine around it. Made by the decorator
    :func:`elementwise`."""

    takes_arrays = True

    def __init__(self, function, bodies, rare):
        self.rare = {dtype: pair for dtype, pair in rare.items() if pair is not None}
        self.bodies = {dtype: self._with_rare(dtype, body) for dtype, body in bodies.items()}
        self.fast = bodies
        self.loops = {}  # dtype → ufunc
        self.scalars = {}  # dtype → C function
        super().__init__(function, "in T x[n]; out T y[n]", split="n", types={"T": tuple(bodies)})

    def _check_contract(self, types):
        if self.body.__code__.co_varnames[:2] != ("x", "out"):
            raise ValueError(f"{self.name} must have the parameters x, *, out=None")

    def _with_rare(self, dtype, fast):
        if dtype not in self.rare:
            return fast
        is_rare, slow = self.rare[dtype]
        return _loops.filled(_loops.rare_or_fast, is_rare=is_rare, slow=slow, fast=fast)

    def unit(self, variant):
        dtype, symbol = variant["T"], f"numcore_{self.name}"
        rare = (self.rare[dtype][0], self.fast[dtype]) if dtype in self.rare else None
        return _bitcode.Unit(
            f"{self.room}.{self.name}",
            [self.bodies[dtype], self.fast[dtype]],
            ("elementwise", variant),
            (f"{symbol}_loop", symbol),
            lambda: _loops.entries(symbol, dtype, self.bodies[dtype], rare),
        )

    def loop(self, dtype):
        """The ufunc for a dtype, loaded when first asked for."""
        dtype = np.dtype(dtype)
        if dtype not in self.loops:
            addresses = _bitcode.load(self.unit({"T": dtype.name}))
            real = C_TYPES[dtype.name]
            self.scalars[dtype] = _native.c_function(addresses[f"numcore_{self.name}"], real, real)
            self.loops[dtype] = _ufunc.ufunc(
                self.name, addresses[f"numcore_{self.name}_loop"], dtype, self.__doc__ or ""
            )
        return self.loops[dtype]

    def _prepare(self, variant, arguments, dims):
        loop = self.loop(variant["T"])
        return lambda x, y: self._fill(loop, x, y)

    def address(self, **variant):
        """The address of the compiled scalar function, for C, Cython or Numba callers."""
        if variant not in self.variants:
            raise ValueError(f"variant must be one of {list(self.variants)} (got {variant})")
        self.loop(variant["T"])
        return ctypes.cast(self.scalars[np.dtype(variant["T"])], ctypes.c_void_p).value

    def apply(self, x, out):
        """The routine's general case: any input, checks, threads, devices."""
        as_array = device_of(x) is not None
        x = _checked_input(x)
        xp = namespace_of(x)
        if x.dtype.name not in self.bodies:
            raise TypeError(f"x must have dtype {' or '.join(self.bodies)} (got {x.dtype})")
        if out is not None:
            self._check_out(xp, x, out)
        if xp is np:
            loop = self.loop(x.dtype.name)
            y = np.empty_like(x, subok=False) if out is None else out
            self._fill(loop, x, y)
        else:
            y = xp.empty(x.shape, x.dtype) if out is None or not out.flags.c_contiguous else out
            self(xp.ascontiguousarray(x).reshape(-1), y.reshape(-1))
            if out is not None and y is not out:
                out[...] = y
                y = out
        return y if as_array or out is not None else y[()]

    def _check_out(self, xp, x, out):
        if type(out) is not type(x):
            raise TypeError(f"out must be a {type(x).__name__} like x (got {type(out).__name__})")
        if out.dtype != x.dtype or not out.dtype.isnative:
            raise TypeError(f"out must have the dtype of x, {x.dtype.name} (got {out.dtype})")
        if out.shape != x.shape:
            raise ValueError(f"out must have the shape of x, {x.shape} (got {out.shape})")
        if xp is np and not out.flags.writeable:
            raise ValueError("out must be writeable (got a read-only array)")
        if _overlap(xp, x, out):
            raise ValueError(
                "out must be x itself or share no memory with it (got a partial overlap)"
            )

    def _fill(self, loop, x, y):
        """y = f(x), on threads if that pays."""
        if x.size <= (SMALL if _pool.get_num_threads() > 1 else ALONE):
            loop(x, out=y)
            return
        if x.flags.c_contiguous and y.flags.c_contiguous:
            x, y = x.reshape(-1), y.reshape(-1)
        elif x.flags.f_contiguous and y.flags.f_contiguous:
            x, y = x.T.reshape(-1), y.T.reshape(-1)
        else:
            longest = max(range(x.ndim), key=x.shape.__getitem__)
            x, y = np.moveaxis(x, longest, 0), np.moveaxis(y, longest, 0)
        _pool.run_chunks(
            lambda start, stop: loop(x[start:stop], out=y[start:stop]),
            len(x),
            max(1, SMALL // 2 * len(x) // x.size),
        )


@checked
def _checked_input(x: Float[Array, "..."]) -> Array:
    return x


def _overlap(xp, x, out):
    """Whether out shares memory with x without being x."""
    if x.shape == out.shape and x.strides == out.strides and _place(xp, x) == _place(xp, out):
        return False
    try:
        return (
            xp.shares_memory(x, out, max_work=10_000) if xp is np else xp.may_share_memory(x, out)
        )
    except np.exceptions.TooHardError:
        return True


def _place(xp, array):
    return pointer(array) if xp is np else array.data.ptr


def elementwise(
    *, rare_float32=None, rare_float64=None, **bodies
) -> "Callable[[Callable[..., Any]], ElementwiseFunction]":
    """Decorator: scalar bodies by dtype become an array routine, a ufunc loop, and a function for
    compiled code.

    Parameters
    ----------
    float32, float64 : function
        Plain Python functions of one scalar, which Numba compiles. They should be free of branches,
        so that loops vectorise.
    rare_float32, rare_float64 : (function, function), optional
        ``is_rare(x)`` and ``slow(x)``: arguments that need another, slower body. The loop looks at
        blocks of elements and stays vectorised where none is rare.

    The decorated function gives the name, the signature ``(x, *, out=None)`` and the docstring.
    """

    def decorate(function):
        made = Elementwise(function, bodies, {"float32": rare_float32, "float64": rare_float64})
        loops, ndarray, apply = made.loops, np.ndarray, made.apply

        def public(x, *, out=None):
            if out is None and type(x) is ndarray and x.size <= SMALL and x.ndim:
                loop = loops.get(x.dtype)
                if loop is not None:
                    return loop(x)
            return apply(x, out)

        functools.update_wrapper(public, function)  # its signature is what is declared
        public.kernel, public.scalar_bodies, public.host_only = made, made.bodies, None
        enter(made)
        # entered without a checker around it: the fast path stays one call of a ufunc
        _routines[function.__module__, function.__name__] = Routine(public)
        scalars.append(public)
        numba_side = sys.modules.get(f"{__package__}._numba")
        if numba_side is not None and numba_side.is_up:
            numba_side.register_scalar(public)
        return public

    return decorate


# the routines that compiled code may call: Numba learns of them when it starts, or when they are
# imported later
scalars = []


def c_function(routine, dtype):
    """The compiled scalar function of an elementwise routine, for C, Cython and
    ``scipy.LowLevelCallable``.

    Parameters
    ----------
    routine : function
        An elementwise routine such as ``numcore.special.exp``.
    dtype : {"float32", "float64"} or dtype

    Returns
    -------
    ctypes function
        ``float f(float)`` or ``double f(double)``; ``ctypes.cast(f, ctypes.c_void_p).value`` is its
        address.

    Raises
    ------
    TypeError
        `routine` is no elementwise routine, or has no variant for `dtype`.

    Examples
    --------
    >>> import numcore
    >>> f = numcore.c_function(numcore.special.exp, "float64")
    >>> f(0.0)
    1.0
    """
    made = getattr(routine, "kernel", None)
    if not isinstance(made, Elementwise):
        raise TypeError(f"routine must be an elementwise routine of numcore (got {routine!r})")
    dtype = np.dtype(dtype)
    if dtype.name not in made.bodies:
        raise TypeError(f"dtype must be one of {', '.join(made.bodies)} (got {dtype})")
    made.loop(dtype)
    return made.scalars[dtype]
