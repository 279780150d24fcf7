"""Structured, low-rank and sketched linear algebra, and the solvers around it."""

from .._lazy import attach

__getattr__, __dir__ = attach(__name__, globals())
