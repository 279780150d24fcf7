"""Approximate numerics that runs where your arrays live: NumPy arrays on the CPU, CuPy arrays on
the GPU.

Public functions are imported from their room: ``from numcore.special import exp``. Rooms are loaded
when first used.
"""

__version__ = "0.1.0"

_HOME = {
    "set_num_threads": "_pool",
    "get_num_threads": "_pool",
    "routines": "dispatch",
    "kernels": "kernel",
    "c_function": "elementwise",
}
_MODULES = (
    "dispatch",
    "elementwise",
    "kernel",
    "linalg",
    "nn",
    "random",
    "retrieval",
    "simd",
    "special",
    "testing",
)
__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name):
    import importlib

    if name in _HOME:
        value = getattr(importlib.import_module(f"numcore.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"numcore.{name}")
    else:
        raise AttributeError(f"module 'numcore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
