"""Nearest vectors, strings, texts and links."""

from .._lazy import attach

__getattr__, __dir__ = attach(__name__, globals())
