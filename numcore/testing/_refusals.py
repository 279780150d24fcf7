"""Bad input is refused, by name and before any work: what the declared arguments exclude, other
dtypes, what is not an array, arrays on different devices."""

import contextlib
import inspect

import numpy as np

from .._kinds import AnyKind, ArrayKind
from .._ranges import finite, nonempty
from ..arguments import declaration
from ..kernel import Kernel
from .device import simulated_gpu
from .promises import NonConformance, arguments_of, must_raise, promise, require


@promise("an array of another dtype must be a TypeError that names the argument")
def rejects_other_dtypes(function, example, dtype):
    alternatives = {p.name: len(p.kinds) for p in declaration(inspect.unwrap(function))}
    for name in example.arrays:
        good = arguments_of(example, dtype)
        # of several alternatives the one that may have the dtype may not have the shape
        kind = TypeError if alternatives.get(name, 1) == 1 else (TypeError, ValueError)
        for bad in (np.int64, np.bool_, np.complex128, np.float16, np.object_, np.str_):
            if np.dtype(bad).name in example.also:
                continue
            arguments = good | {name: np.zeros(np.shape(good[name]), bad)}
            must_raise(kind, function, arguments, name, f"{name} of dtype {np.dtype(bad)}")


@promise("what is no array must be a TypeError that names the argument")
def rejects_non_arrays(function, example, dtype):
    for name in example.arrays:
        for bad in ("text", object(), {1.0: 2.0}, np.ma.masked_array([1.0], [True])):
            must_raise(
                TypeError,
                function,
                arguments_of(example, dtype) | {name: bad},
                name,
                f"{name}={bad!r}",
            )


@promise("arrays on different devices must be a TypeError that names the arguments")
def rejects_mixed_devices(function, example, dtype):
    if len(example.arrays) < 2:
        return
    with simulated_gpu() as xp:
        for name in example.arrays:
            arguments = arguments_of(example, dtype)
            arguments[name] = xp.asarray(arguments[name])
            must_raise(
                TypeError, function, arguments, name, f"{name} on the GPU and the others not"
            )


@promise(
    "every argument must be declared, and what its declaration excludes must be refused by name"
)
def declared(function, example, dtype):
    for p in declaration(function):
        hinted = p.name in inspect.unwrap(function).__annotations__
        require(hinted, f"{p.name} has no declaration in the signature")
        good = arguments_of(example, dtype)
        for bad, kind in _unfit(p, good.get(p.name)):
            with _no_kernel_runs(p.name):
                must_raise(kind, function, good | {p.name: bad}, p.name, f"{p.name}={bad!r:.80}")


def _unfit(p, good):
    """Values that the declaration of an argument excludes, with the exception types allowed."""
    either = (TypeError, ValueError)
    if not p.optional and not any(isinstance(k, AnyKind) or k.fits(None) for k in p.kinds):
        yield None, TypeError
    for kind in p.kinds:
        for bad, error in kind.unfit():
            if not any(other is not kind and other.fits(bad) for other in p.kinds):
                yield bad, error if len(p.kinds) == 1 else either
    kind = p.kinds[0]
    if len(p.kinds) == 1 and isinstance(kind, ArrayKind) and isinstance(good, np.ndarray):
        if not kind.batch:
            yield good[None], ValueError
        if kind.sizes and good.ndim:
            yield good.reshape(-1)[0].reshape((1,) * (len(kind.sizes) - 1)), ValueError
        if nonempty in kind.notes:
            yield good[..., :0], ValueError
        if finite in kind.notes and good.size and good.dtype.kind == "f":
            yield _with_entry(good, np.nan), ValueError
            yield _with_entry(good, -np.inf), ValueError
        for bound in kind.bounds:
            for end, step in ((bound.low, -1), (bound.high, 1)):
                inside = isinstance(end, str) or not np.isfinite(end) or not good.size
                signed = good.dtype.kind != "u" or (not inside and end + step >= 0)
                if not inside and signed:
                    yield _with_entry(good, end + step), ValueError


def _with_entry(array, value):
    """A copy whose last entry is `value`."""
    changed = array.copy()
    changed.reshape(-1)[-1:] = value
    return changed


@contextlib.contextmanager
def _no_kernel_runs(name):
    """NonConformance if a kernel runs: what is refused must be refused before any work."""
    run = Kernel.__call__

    def refuse(kernel, *arguments):
        raise NonConformance(f"kernel {kernel.name} ran before {name} was refused")

    Kernel.__call__ = refuse
    try:
        yield
    finally:
        Kernel.__call__ = run


@promise("sizes of one name must be one size")
def sizes_agree(function, example, dtype):
    good = arguments_of(example, dtype)
    arrays = {
        p.name: p.kinds[0]
        for p in declaration(function)
        if len(p.kinds) == 1
        and isinstance(p.kinds[0], ArrayKind)
        and isinstance(good.get(p.name), np.ndarray)
    }
    names = [size for kind in arrays.values() for size in kind.sizes]
    for name, kind in arrays.items():
        for at, size in enumerate(kind.axes):
            leads = kind.batch in kind.axes[at:]  # the size stands before "...", if there is any
            axis = at if leads else at - len(kind.axes)
            if names.count(size) > 1 and size != "_" and kind.sizes.count(size) == 1:
                longer = np.concatenate([good[name], good[name]], axis=axis)
                if longer.shape == good[name].shape:
                    continue
                with _no_kernel_runs(name):
                    must_raise(ValueError, function, good | {name: longer}, "", f"another {size}")
