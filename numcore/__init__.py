"""Approximate numerics that runs where your arrays live: NumPy arrays on the CPU, CuPy arrays on
the GPU.

Public functions are imported from their room: ``from numcore.special import exp``. Rooms are loaded
when first used.
"""

TYPE_CHECKING = False  # as typing has it, whose import would take longer than all of this module
if TYPE_CHECKING:  # what __getattr__ finds, for editors and type checkers
    from . import (
        arguments,
        dispatch,
        elementwise,
        kernel,
        linalg,
        model,
        nn,
        random,
        retrieval,
        simd,
        special,
        testing,
    )
    from ._pool import get_num_threads, set_num_threads
    from .dispatch import models, routines
    from .elementwise import c_function
    from .kernel import kernels

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "arguments",
    "c_function",
    "dispatch",
    "elementwise",
    "get_num_threads",
    "kernel",
    "kernels",
    "linalg",
    "model",
    "models",
    "nn",
    "random",
    "retrieval",
    "routines",
    "set_num_threads",
    "simd",
    "special",
    "testing",
]
_HOME = {
    "set_num_threads": "_pool",
    "get_num_threads": "_pool",
    "models": "dispatch",
    "routines": "dispatch",
    "kernels": "kernel",
    "c_function": "elementwise",
}


if not TYPE_CHECKING:  # with this, checkers would believe in every name

    def __getattr__(name):
        import importlib

        if name in _HOME:
            value = getattr(importlib.import_module(f"numcore.{_HOME[name]}"), name)
        elif name in __all__:
            value = importlib.import_module(f"numcore.{name}")
        else:
            raise AttributeError(f"module 'numcore' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__():
    return sorted(__all__)
