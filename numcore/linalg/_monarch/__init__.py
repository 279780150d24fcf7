"""Monarch matrices: products of two block-diagonal matrices with permutations between them, n × n
maps in O(n^1.5) operations.

M = P_l L P R with R = blockdiag(right) and L = blockdiag(left). With ``right`` of k blocks q × p
and ``left`` of l blocks s × r, l r = k q,

    o[κ q + i] = Σ_j right[κ, i, j] x[κ p + j],        y[σ l + λ] = Σ_ρ left[λ, σ, ρ] o[ρ l + λ].

The best approximation of any matrix in this form can be found block by block, since the entries (σ
l + λ, κ p + j) of M for one pair (κ, λ) form a matrix of rank q / l. Fourier, Hadamard and
circulant matrices are of this form. From T. Dao et al., "Monarch: expressive structured matrices
for efficient and accurate training", ICML 2022.
"""

from .fourier import MonarchTransform, monarch_dft
from .layer import MonarchLinear
from .projection import MonarchFactors, monarch_project
from .routines import MonarchGrads, monarch_matmul, monarch_matmul_vjp, monarch_to_dense
