"""Low-rank matrix completion: a model U Vᵀ of rank k of a matrix of which few entries are known.

U and V are least-squares solutions of each other, by turns (alternating minimization). For every
column j with known entries in the rows Ω_j this is a small problem min ‖U[Ω_j] v - M[Ω_j, j]‖² +
λ_j ‖v‖², solved only as exactly as the current change of the model deserves. From Y. Gu, Z. Song,
J. Yin, L. Zhang, "Low rank matrix completion via robust alternating minimization in nearly linear
time", ICLR 2024. The adaptive accuracy, conjugate gradients, the ridge, centering and the held-out
error are additions.
"""

from .routines import (
    CompletionResult,
    alternating_step,
    complete_masked,
    complete_matrix,
    predict_entries,
)
