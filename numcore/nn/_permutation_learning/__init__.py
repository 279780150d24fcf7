"""Learning permutations: infinitely wide two-layer ReLU networks, and how many finite ones are
needed to learn a permutation exactly.

A network f(x) = W2 relu(W1 x), W1 and W2 normal with variances sigma_w²/d and sigma_w²/m for d
inputs and m hidden units, is for m → ∞ a Gaussian process with the arc-cosine covariance K;
gradient descent then moves it as its tangent kernel Θ says, to a Gaussian process whose mean and
covariance are known. Trained on the k basis vectors and their images under a permutation, the mean
has the sign of the permuted image of any other nonzero binary vector, so that enough networks
together answer without an error. G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning
of Permutations for Nonzero Binary Inputs with Logarithmic Training Size and Quadratic Ensemble
Complexity", arXiv 2502.16763, 2025.
"""

from .closed_forms import ensemble_size, permutation_mean, permutation_variance
from .covariance import nngp, ntk
from .ensemble import Members, PermutationEnsemble
from .regression import NTKRegressor
