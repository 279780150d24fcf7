"""LambdaMART."""

from .growth import Tree
from .model import LambdaMART

__all__ = ["LambdaMART", "Tree"]
