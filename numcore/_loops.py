"""Templates of the compiled loops of elementwise kernels, with NumPy's calling convention for
ufuncs.

``body``, ``is_rare``, ``fast``, ``slow`` and the constants are filled in by :func:`filled` for each
kernel and dtype. The loops clear the floating-point flags that they raised: in vectorised code,
lanes whose result is not selected raise flags too, and NumPy would warn.
"""

import platform
import types

import numpy as np

from .simd._pointers import at_byte, same_address

BLOCK = 512  # elements that are looked at together for rare arguments
FE_ALL_EXCEPT = 0x3D if platform.machine() in ("x86_64", "AMD64") else 0x1F


def contiguous(x, y):
    for i in range(x.size):
        y[i] = body(x[i])


def in_place(y):
    for i in range(y.size):
        y[i] = body(y[i])


def contiguous_with_rare(x, y):
    for start in range(0, x.size, BLOCK):
        stop = min(start + BLOCK, x.size)
        rare = np.int32(0)
        for i in range(start, stop):
            rare |= np.int32(is_rare(x[i]))
        if rare:
            for i in range(start, stop):
                y[i] = body(x[i])
        else:
            for i in range(start, stop):
                y[i] = fast(x[i])


def in_place_with_rare(y):
    for start in range(0, y.size, BLOCK):
        stop = min(start + BLOCK, y.size)
        rare = np.int32(0)
        for i in range(start, stop):
            rare |= np.int32(is_rare(y[i]))
        if rare:
            for i in range(start, stop):
                y[i] = body(y[i])
        else:
            for i in range(start, stop):
                y[i] = fast(y[i])


def loop(arguments, dims, steps, data):
    n, x, y = dims[0], arguments[0], arguments[1]
    if steps[0] == ITEMSIZE and steps[1] == ITEMSIZE:
        # apart, or LLVM's check for overlap would send it to the scalar loop
        if same_address(x, y):
            run_in_place(carray(y, (n,)))
        else:
            run_contiguous(carray(x, (n,)), carray(y, (n,)))
    else:
        for i in range(n):
            at_byte(y, i * steps[1])[0] = body(at_byte(x, i * steps[0])[0])
    feclearexcept(FE_ALL_EXCEPT)


def scalar(x):
    return body(x)


def rare_or_fast(x):
    return slow(x) if is_rare(x) else fast(x)


def filled(template, **names):
    """A template with its names filled in."""
    return types.FunctionType(template.__code__, globals() | names, template.__name__)


def entries(symbol, dtype, body, rare):
    """``{C symbol: (function, Numba signature)}`` of the ufunc loop and the scalar function of an
    elementwise kernel."""
    from numba import carray, types as nb

    element = getattr(nb, dtype)
    names = {"body": body}
    if rare is None:
        run, run_in_place = filled(contiguous, **names), filled(in_place, **names)
    else:
        names |= {"is_rare": rare[0], "fast": rare[1]}
        run = filled(contiguous_with_rare, **names)
        run_in_place = filled(in_place_with_rare, **names)
    whole = filled(
        loop,
        **names,
        carray=carray,
        run_contiguous=run,
        run_in_place=run_in_place,
        ITEMSIZE=np.dtype(dtype).itemsize,
        feclearexcept=nb.ExternalFunction("feclearexcept", nb.int32(nb.int32)),
    )
    integers = nb.CPointer(nb.intp)
    return {
        f"{symbol}_loop": (
            whole,
            nb.void(nb.CPointer(nb.CPointer(element)), integers, integers, nb.voidptr),
        ),
        symbol: (filled(scalar, **names), element(element)),
    }
