"""Nearest vectors, strings, texts and links."""

from ._metrics import ranking_metrics
from ._threshold import (
    FilteringCurve,
    FilterResult,
    IsotonicMap,
    ThresholdChoice,
    choose_threshold,
    filter_by_score,
    filtering_curve,
    isotonic_adapter,
)
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
from .clarification import ClarificationRanker, hash_features
from .cosine_adapter import CosineAdapter
from .interpolation_extrapolation import (
    BucketSplit,
    LabelOverlap,
    SplitReport,
    label_overlap,
    nearest_training_similarity,
    resample_train_test,
    resample_training,
    split_report,
)
from .inverted_file import InvertedFileIndex
from .lambdamart import LambdaMART
from .muvera import FixedDimensionalEncoder, MultiVectorResult, ProductQuantizer, chamfer_similarity, multi_vector_search
from .organization_linkage import (
    DirectoryLinks,
    LinkageQuality,
    LinkedPairs,
    MatchProbability,
    calibrate_distance,
    embedding_link,
    fuzzy_link,
    link_through_directory,
    linkage_quality,
    name_network,
    network_clusters,
    normalize_names,
)
from .pagerank import PageRankResult, personalized_pagerank
from .ranking_losses import ListMetrics, RankingLoss, list_metrics, ranking_loss
from .semantic_reranking import (
    RankingQuality,
    RerankedTerms,
    SimilarityLists,
    TermLists,
    TermStatistics,
    base_scores,
    nested_terms,
    ranking_quality,
    rerank_terms,
    semantic_graph,
    semantic_importance,
    term_statistics,
)
from .similarity_judgments import (
    Reliability,
    RSAResult,
    SimilarityRegression,
    rating_reliability,
    representational_similarity,
    similarity_matrix,
    stack_features,
    tag_similarity,
)
from .strings import PackedStrings, pack_strings, string_similarity
from .text_hamming import (
    AlphabetProfile,
    ApproximateDistances,
    BoundedMatches,
    alphabet_profile,
    hamming_distances,
    hamming_distances_approx,
    hamming_within,
)
from .topk import TopK, topk_inner_product

__all__ = ["AlphabetProfile", "ApproximateDistances", "BoundedMatches", "BucketSplit", "ClarificationRanker", "CosineAdapter",
           "DirectoryLinks", "FilterResult", "FilteringCurve", "FixedDimensionalEncoder", "InvertedFileIndex", "IsotonicMap",
           "LabelOverlap", "LambdaMART", "LinkageQuality", "LinkedPairs", "ListMetrics", "MatchProbability", "MinedPairs",
           "MultiVectorResult", "NeighborStatistics", "PackedStrings", "PageRankResult", "PivotPairs", "ProductQuantizer", "RSAResult",
           "RankingLoss", "RankingQuality", "Reliability", "RerankedTerms", "SimilarityLists", "SimilarityRegression", "SplitReport",
           "TermLists", "TermStatistics", "ThresholdChoice", "TopK", "align_documents", "alphabet_profile", "base_scores",
           "calibrate_distance", "chamfer_similarity", "choose_threshold", "embedding_link", "filter_by_score", "filtering_curve",
           "fuzzy_link", "hamming_distances", "hamming_distances_approx", "hamming_within", "hash_features", "isotonic_adapter",
           "label_overlap", "link_through_directory", "linkage_quality", "list_metrics", "margin_scores", "mine_pairs",
           "multi_vector_search", "name_network", "nearest_training_similarity", "neighbor_statistics", "nested_terms",
           "network_clusters", "normalize_names", "pack_strings", "packed_hamming", "personalized_pagerank", "pivot_pairs",
           "ranking_loss", "ranking_metrics", "ranking_quality", "rating_reliability", "representational_similarity", "rerank_terms",
           "resample_train_test", "resample_training", "semantic_graph", "semantic_importance", "similarity_matrix", "split_report",
           "stack_features", "string_similarity", "tag_similarity", "term_statistics", "topk_inner_product"]
