"""Special functions: certified elementary functions of float32 and float64."""

from .._lazy import attach

__getattr__, __dir__ = attach(__name__, globals())
