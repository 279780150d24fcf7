"""The cosine adapter."""

from .adapter import CosineAdapter

__all__ = ["CosineAdapter"]
