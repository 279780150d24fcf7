"""Nearest vectors, strings, texts and links."""

from .bits import packed_hamming
from .inverted_file import InvertedFileIndex
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

__all__ = ["InvertedFileIndex", "RSAResult", "Reliability", "SimilarityRegression", "TopK", "packed_hamming", "rating_reliability",
           "representational_similarity", "similarity_matrix", "stack_features", "tag_similarity", "topk_inner_product"]
