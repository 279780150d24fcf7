"""Nearest vectors, strings, texts and links."""

from .bitext_mining import (
    MinedPairs,
    NeighborStatistics,
    PivotPairs,
    align_documents,
    margin_scores,
    mine_pairs,
    neighbor_statistics,
    pivot_pairs,
)
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

__all__ = ["InvertedFileIndex", "MinedPairs", "NeighborStatistics", "PivotPairs", "RSAResult", "Reliability", "SimilarityRegression",
           "TopK", "align_documents", "margin_scores", "mine_pairs", "neighbor_statistics", "packed_hamming", "pivot_pairs",
           "rating_reliability", "representational_similarity", "similarity_matrix", "stack_features", "tag_similarity",
           "topk_inner_product"]
