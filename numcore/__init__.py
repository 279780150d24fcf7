"""Approximate numerics that runs where your arrays live: NumPy arrays on the CPU, CuPy arrays on
the GPU.

Public functions are imported from their subpackage: ``from numcore.special import exp``. What is
not used is not imported.
"""

from ._lazy import attach

__version__ = "0.1.0"
__getattr__, __dir__ = attach(__name__, globals())
