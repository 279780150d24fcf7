"""LambdaMART: boosted regression trees that rank."""

from .growth import Tree
from .model import LambdaMART
