"""SOR and SSOR-preconditioned conjugate gradients: solvers for sparse symmetric positive definite
systems, and the best relaxation parameter of both.

A x = b with a symmetric positive definite sparse matrix A = D + L + U, diagonal D, strict triangles
L and U. SOR iterates x ← x + δ with (D / ω + L) δ = b - A x. A sweep reads the matrix once and also
computes the residual norm of the previous x, because entries below the diagonal are multiplied by
both the old and the new x. Symmetric SOR (SSOR) preconditions conjugate gradients by M = (D / ω +
L) (D / ω)⁻¹ (D / ω + U) / (2 - ω); with Eisenstat's trick an iteration needs only the two
triangular solves and no product with A. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning
to relax", ICLR 2024; S. C. Eisenstat, SIAM J. Sci. Stat. Comput. 2, 1981.
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
