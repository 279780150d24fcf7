"""Structured, low-rank and sketched linear algebra, and the solvers around it."""

from ._sketched_lstsq import LstsqResult, SketchedLstsqResult, preconditioned_lstsq, sketched_lstsq
from .conjugate_direction import DirectionNetwork, conjugate_direction_solve, direction_loss, ritz_training_set
from .coreset import CoresetResult, WeightedSubset, auto_coreset, caratheodory, coreset_loss, vector_sum_coreset
from .hadamard import fwht, next_power_of_two
from .leverage import leverage_scores
from .losses import hinge_loss, kmeans_loss, logistic_loss, squared_loss
from .matrix_completion import CompletionResult, alternating_step, complete_masked, complete_matrix, predict_entries
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
from .omega_policies import ChebCB, SequenceResult, TsallisINF, solve_sequence
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
from .relaxation import OmegaEstimate, SolveResult, optimal_omega, sor, ssor_cg, ssor_preconditioner
from .sensitivity import LpResult, RowSample, Sensitivities, lewis_weights, lp_regression, lp_sensitivities, sample_rows, sampling_scores
from .sketches import src, srht, tensor_srht
from .sparse import CSR, Coloring, color_graph, spmv, triangular_sweep

__all__ = ["CSR", "ChebCB", "Coloring", "CompletionResult", "ConvFactors", "CoresetResult", "DirectionNetwork", "LpResult", "LstsqResult",
           "MonarchFactors", "MonarchGrads", "MonarchLinear", "MonarchTransform", "NuclearNorm", "OmegaEstimate", "RankPruner",
           "RowSample", "SVDResult", "Sensitivities", "SequenceResult", "SketchedLstsqResult", "SolveResult", "TruncatedKernel",
           "TsallisINF", "WeightedSubset", "alternating_step", "apply_factors", "auto_coreset", "caratheodory", "color_graph",
           "complete_masked", "complete_matrix", "conjugate_direction_solve", "coreset_loss", "decompose_kernel", "direction_loss",
           "fwht", "hinge_loss", "kmeans_loss", "leverage_scores", "lewis_weights", "logistic_loss", "lp_regression", "lp_sensitivities",
           "monarch_dft", "monarch_matmul", "monarch_matmul_vjp", "monarch_project", "monarch_to_dense", "next_power_of_two",
           "nuclear_norm", "optimal_omega", "preconditioned_lstsq", "predict_entries", "randomized_svd", "range_finder",
           "ritz_training_set", "sample_rows", "sampling_scores", "sketched_lstsq", "solve_sequence", "sor", "spmv", "squared_loss",
           "src", "srht", "ssor_cg", "ssor_preconditioner", "tensor_srht", "triangular_sweep", "truncate_kernel", "vector_sum_coreset"]
