"""Nearest vectors, strings, texts and links."""

from .topk import TopK, topk_inner_product

__all__ = ["TopK", "topk_inner_product"]
