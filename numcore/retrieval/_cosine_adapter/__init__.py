"""Cosine adapter: maps the cosines of search results to relevance, with a map for each query."""

from .adapter import CosineAdapter
