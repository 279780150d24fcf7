"""Nearest vectors, strings, texts and links."""

from .similarity_judgments import (
    RSAResult,
    Reliability,
    SimilarityRegression,
    rating_reliability,
    representational_similarity,
    similarity_matrix,
    stack_features,
    tag_similarity,
)
from .topk import TopK, topk_inner_product

__all__ = ["RSAResult", "Reliability", "SimilarityRegression", "TopK", "rating_reliability", "representational_similarity",
           "similarity_matrix", "stack_features", "tag_similarity", "topk_inner_product"]
