from ._bitext_mining import (
    MinedPairs as MinedPairs,
    NeighborStatistics as NeighborStatistics,
    PivotPairs as PivotPairs,
    align_documents as align_documents,
    margin_scores as margin_scores,
    mine_pairs as mine_pairs,
    neighbor_statistics as neighbor_statistics,
    pivot_pairs as pivot_pairs,
)
from ._bits import packed_hamming as packed_hamming
from ._clarification import (
    ClarificationRanker as ClarificationRanker,
    HashedTexts as HashedTexts,
    hash_features as hash_features,
)
from ._cosine_adapter import CosineAdapter as CosineAdapter
from ._interpolation_extrapolation import (
    BucketSplit as BucketSplit,
    LabelOverlap as LabelOverlap,
    SplitReport as SplitReport,
    label_overlap as label_overlap,
    nearest_training_similarity as nearest_training_similarity,
    resample_train_test as resample_train_test,
    resample_training as resample_training,
    split_report as split_report,
)
from ._inverted_file import InvertedFileIndex as InvertedFileIndex
from ._lambdamart import LambdaMART as LambdaMART
from ._metrics import ranking_metrics as ranking_metrics
from ._muvera import (
    FixedDimensionalEncoder as FixedDimensionalEncoder,
    MultiVectorResult as MultiVectorResult,
    ProductQuantizer as ProductQuantizer,
    chamfer_similarity as chamfer_similarity,
    multi_vector_search as multi_vector_search,
)
from ._organization_linkage import (
    DirectoryLinks as DirectoryLinks,
    LinkageQuality as LinkageQuality,
    LinkedPairs as LinkedPairs,
    MatchProbability as MatchProbability,
    calibrate_distance as calibrate_distance,
    embedding_link as embedding_link,
    fuzzy_link as fuzzy_link,
    link_through_directory as link_through_directory,
    linkage_quality as linkage_quality,
    name_network as name_network,
    network_clusters as network_clusters,
    normalize_names as normalize_names,
)
from ._pagerank import (
    PageRankResult as PageRankResult,
    personalized_pagerank as personalized_pagerank,
)
from ._ranking_losses import RankingLoss as RankingLoss, ranking_loss as ranking_loss
from ._semantic_reranking import (
    RerankedTerms as RerankedTerms,
    TermLists as TermLists,
    TermStatistics as TermStatistics,
    base_scores as base_scores,
    nested_terms as nested_terms,
    rerank_terms as rerank_terms,
    semantic_graph as semantic_graph,
    semantic_importance as semantic_importance,
    term_statistics as term_statistics,
)
from ._similarity_judgments import (
    Reliability as Reliability,
    RSAResult as RSAResult,
    SimilarityRegression as SimilarityRegression,
    rating_reliability as rating_reliability,
    representational_similarity as representational_similarity,
    similarity_matrix as similarity_matrix,
    stack_features as stack_features,
    tag_similarity as tag_similarity,
)
from ._strings import (
    PackedStrings as PackedStrings,
    pack_strings as pack_strings,
    string_similarity as string_similarity,
)
from ._text_hamming import (
    AlphabetProfile as AlphabetProfile,
    ApproximateDistances as ApproximateDistances,
    BoundedMatches as BoundedMatches,
    alphabet_profile as alphabet_profile,
    hamming_distances as hamming_distances,
    hamming_distances_approx as hamming_distances_approx,
    hamming_within as hamming_within,
)
from ._threshold import (
    FilteringCurve as FilteringCurve,
    FilterResult as FilterResult,
    IsotonicMap as IsotonicMap,
    ThresholdChoice as ThresholdChoice,
    choose_threshold as choose_threshold,
    filter_by_score as filter_by_score,
    filtering_curve as filtering_curve,
    isotonic_adapter as isotonic_adapter,
)
from ._topk import TopK as TopK, topk_inner_product as topk_inner_product
