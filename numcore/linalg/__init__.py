"""Structured, low-rank and sketched linear algebra, and the solvers around it."""

from .conjugate_direction import DirectionNetwork, SolveResult, conjugate_direction_solve, direction_loss, ritz_training_set
from .hadamard import fwht, next_power_of_two
from .leverage import leverage_scores
from .matrix_completion import CompletionResult, alternating_step, complete_masked, complete_matrix, predict_entries
from .coreset import CoresetResult, WeightedSubset, auto_coreset, caratheodory, coreset_loss, vector_sum_coreset
from .hadamard import fwht, next_power_of_two
from .leverage import leverage_scores
from .losses import hinge_loss, kmeans_loss, logistic_loss, squared_loss
from .monarch import (
    MonarchFactors,
    MonarchGrads,
    MonarchLinear,
    MonarchTransform,
    monarch_dft,
    monarch_matmul,
    monarch_matmul_vjp,
    monarch_project,
    monarch_to_dense,
)
from .randomized import SVDResult, randomized_svd, range_finder
from .rank_pruning import (
                      ConvFactors,
                      NuclearNorm,
                      RankPruner,
                      TruncatedKernel,
                      apply_factors,
                      decompose_kernel,
                      nuclear_norm,
                      truncate_kernel,
)
from .sketches import srht
from .sparse import CSR, Coloring, color_graph, spmv, triangular_sweep

__all__ = ["CSR", "Coloring", "CompletionResult", "DirectionNetwork", "MonarchFactors", "MonarchGrads", "MonarchLinear",
           "MonarchTransform", "SVDResult", "SolveResult", "alternating_step", "color_graph", "complete_masked", "complete_matrix",
           "conjugate_direction_solve", "direction_loss", "fwht", "leverage_scores", "monarch_dft", "monarch_matmul",
           "monarch_matmul_vjp", "monarch_project", "monarch_to_dense", "next_power_of_two", "predict_entries", "randomized_svd",
           "range_finder", "ritz_training_set", "spmv", "srht", "triangular_sweep"]
__all__ = ["CSR", "Coloring", "CoresetResult", "MonarchFactors", "MonarchGrads", "MonarchLinear", "MonarchTransform", "SVDResult",
           "WeightedSubset", "auto_coreset", "caratheodory", "color_graph", "coreset_loss", "fwht", "hinge_loss", "kmeans_loss",
           "leverage_scores", "logistic_loss", "monarch_dft", "monarch_matmul", "monarch_matmul_vjp", "monarch_project",
           "monarch_to_dense", "next_power_of_two", "randomized_svd", "range_finder", "spmv", "squared_loss", "srht", "triangular_sweep",
           "vector_sum_coreset"]
__all__ = ["CSR", "Coloring", "ConvFactors", "MonarchFactors", "MonarchGrads", "MonarchLinear", "MonarchTransform", "NuclearNorm",
           "RankPruner", "SVDResult", "TruncatedKernel", "apply_factors", "color_graph", "decompose_kernel", "fwht", "leverage_scores",
           "monarch_dft", "monarch_matmul", "monarch_matmul_vjp", "monarch_project", "monarch_to_dense", "next_power_of_two",
           "nuclear_norm", "randomized_svd", "range_finder", "spmv", "srht", "triangular_sweep", "truncate_kernel"]
