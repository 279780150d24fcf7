"""Low-rank matrix completion: a rank-k approximation U Vᵀ of a matrix from a few known entries.

Alternating minimization solves least-squares problems for V with U fixed and for U with V fixed, in
turn. Each column j with known entries in the rows Ω_j gives a small problem min ‖U[Ω_j] v - M[Ω_j,
j]‖² + λ_j ‖v‖², solved only as accurately as the current change of the model warrants. From Y. Gu,
Z. Song, J. Yin, L. Zhang, "Low rank matrix completion via robust alternating minimization in nearly
linear time", ICLR 2024. The adaptive accuracy, conjugate gradients, the ridge, centering and the
held-out error are additions.
"""

from .routines import (
    CompletionResult,
    alternating_step,
    complete_masked,
    complete_matrix,
    predict_entries,
)
