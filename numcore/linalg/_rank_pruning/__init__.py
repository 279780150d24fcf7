"""Trained rank pruning: training convolution kernels towards low rank, and factorizing them into
two cheaper convolutions.

A kernel w[n, c, i, j] (output channel, input channel, row, column) is unfolded to a matrix M, of
which the r largest singular values are kept. Each unfolding corresponds to a pair of cheaper
layers:

    channel    N × C kh kw            a convolution to r channels, then a 1 × 1 convolution
    spatial    C kh × N kw            a vertical kh × 1 convolution to r channels, then a horizontal
                                      1 × kw one
    decouple   for each n, C × kh kw  1 × 1 convolutions to r channels for each output, then one
                                      kernel on each of these

Every few training steps the kernels are truncated and the subgradient U_r V_rᵀ of their nuclear
norm is added to the gradient; in between, the rank may grow again. U is computed from the Gram
matrix of the shorter side of M, which is far smaller than M. From Y. Xu et al., "Trained Rank
Pruning for Efficient Deep Neural Networks", IJCAI 2020.
"""

from .decompositions import TruncatedKernel
from .layers import ConvFactors, apply_factors
from .pruner import RankPruner
from .routines import NuclearNorm, decompose_kernel, nuclear_norm, truncate_kernel
