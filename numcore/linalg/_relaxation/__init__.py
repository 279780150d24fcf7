"""SOR and SSOR-preconditioned conjugate gradients: solvers for sparse symmetric positive definite
systems, and the best relaxation parameter of both.

A x = b with a symmetric positive definite sparse matrix A = D + L + U, diagonal D, strict triangles
L and U. SOR repeats x ← x + δ with (D / ω + L) δ = b - A x. A sweep reads the matrix once and finds
the residual norm of the x that it began with on the way, as the rows below the diagonal are
multiplied by the old and the new x together. Symmetric SOR (SSOR) preconditions conjugate gradients
by M = (D / ω + L) (D / ω)⁻¹ (D / ω + U) / (2 - ω); by Eisenstat's trick an iteration needs the two
triangular solves alone, no product with A. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar,
"Learning to relax", ICLR 2024; S. C. Eisenstat, SIAM J. Sci. Stat. Comput. 2, 1981.
"""

from .routines import (
    OmegaEstimate,
    SolveResult,
    SSORPreconditioner,
    optimal_omega,
    sor,
    ssor_cg,
    ssor_preconditioner,
)
