from ._conjugate_direction import (
    ConjugateDirectionResult as ConjugateDirectionResult,
    DirectionNetwork as DirectionNetwork,
    conjugate_direction_solve as conjugate_direction_solve,
    direction_loss as direction_loss,
    ritz_training_set as ritz_training_set,
)
from ._coreset import (
    CoresetResult as CoresetResult,
    WeightedSubset as WeightedSubset,
    auto_coreset as auto_coreset,
    caratheodory as caratheodory,
    coreset_loss as coreset_loss,
    vector_sum_coreset as vector_sum_coreset,
)
from ._csr import CSR as CSR, CSRLike as CSRLike, Sparse as Sparse
from ._hadamard import fwht as fwht, next_power_of_two as next_power_of_two
from ._leverage import leverage_scores as leverage_scores
from ._losses import (
    hinge_loss as hinge_loss,
    kmeans_loss as kmeans_loss,
    logistic_loss as logistic_loss,
    squared_loss as squared_loss,
)
from ._matrix_completion import (
    CompletionResult as CompletionResult,
    alternating_step as alternating_step,
    complete_masked as complete_masked,
    complete_matrix as complete_matrix,
    predict_entries as predict_entries,
)
from ._monarch import (
    MonarchFactors as MonarchFactors,
    MonarchGrads as MonarchGrads,
    MonarchLinear as MonarchLinear,
    MonarchTransform as MonarchTransform,
    monarch_dft as monarch_dft,
    monarch_matmul as monarch_matmul,
    monarch_matmul_vjp as monarch_matmul_vjp,
    monarch_project as monarch_project,
    monarch_to_dense as monarch_to_dense,
)
from ._omega_policies import (
    ChebCB as ChebCB,
    SequenceResult as SequenceResult,
    TsallisINF as TsallisINF,
    solve_sequence as solve_sequence,
)
from ._randomized import (
    SVDResult as SVDResult,
    randomized_svd as randomized_svd,
    range_finder as range_finder,
)
from ._rank_pruning import (
    ConvFactors as ConvFactors,
    NuclearNorm as NuclearNorm,
    RankPruner as RankPruner,
    TruncatedKernel as TruncatedKernel,
    apply_factors as apply_factors,
    decompose_kernel as decompose_kernel,
    nuclear_norm as nuclear_norm,
    truncate_kernel as truncate_kernel,
)
from ._relaxation import (
    OmegaEstimate as OmegaEstimate,
    SolveResult as SolveResult,
    SSORPreconditioner as SSORPreconditioner,
    optimal_omega as optimal_omega,
    sor as sor,
    ssor_cg as ssor_cg,
    ssor_preconditioner as ssor_preconditioner,
)
from ._sensitivity import (
    LpResult as LpResult,
    RowSample as RowSample,
    Sensitivities as Sensitivities,
    lewis_weights as lewis_weights,
    lp_regression as lp_regression,
    lp_sensitivities as lp_sensitivities,
    sample_rows as sample_rows,
    sampling_scores as sampling_scores,
)
from ._sketched_lstsq import (
    LstsqResult as LstsqResult,
    SketchedLstsqResult as SketchedLstsqResult,
    preconditioned_lstsq as preconditioned_lstsq,
    sketched_lstsq as sketched_lstsq,
)
from ._sketches import src as src, srht as srht, tensor_srht as tensor_srht
from ._sparse import (
    Coloring as Coloring,
    color_graph as color_graph,
    spmv as spmv,
    triangular_sweep as triangular_sweep,
)
