"""LambdaMART."""

from .growth import Tree
from .model import LambdaMART
