"""The cosine adapter."""

from .adapter import CosineAdapter
