"""Compiled loops as genuine NumPy ufuncs, through the one function of NumPy's C API that makes
them."""

import ctypes
import functools

import numpy as np

PyUFunc_FromFuncAndData_INDEX = 1  # its place in the table of the C API, fixed by NumPy's ABI
PyUFunc_None = -1

_kept = []  # NumPy keeps pointers to these


@functools.cache
def _from_func_and_data():
    from numpy._core import _multiarray_umath

    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api = ctypes.cast(
        get_pointer(_multiarray_umath._UFUNC_API, None), ctypes.POINTER(ctypes.c_void_p)
    )
    return ctypes.PYFUNCTYPE(
        ctypes.py_object,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        *[ctypes.c_int] * 4,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
    )(api[PyUFunc_FromFuncAndData_INDEX])


def ufunc(name, address, dtype, doc=""):
    """A ufunc of one input and one output, both of `dtype`, around a compiled loop with NumPy's
    calling convention."""
    functions, data = (ctypes.c_void_p * 1)(address), (ctypes.c_void_p * 1)(None)
    types = ctypes.create_string_buffer(bytes([np.dtype(dtype).num] * 2), 2)
    title = ctypes.create_string_buffer(name.encode())
    text = ctypes.create_string_buffer(doc.encode())
    _kept.append((functions, data, types, title, text))
    return _from_func_and_data()(functions, data, types, 1, 1, 1, PyUFunc_None, title, text, 0)
