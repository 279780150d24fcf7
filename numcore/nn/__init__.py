"""Neural networks without a framework: layers with their gradients, exact attention, and methods
that work on trained networks.

Layers are pairs of plain functions on arrays; :mod:`numcore.nn.layers` says how they fit together,
and shows a training loop.
"""

from ._activation import activation, activation_vjp
from ._attention import (
    AttentionGrads,
    attention,
    attention_varlen,
    attention_vjp,
    merge_attention,
)
from ._contextual_sparsity import (
    CorrectedDecode,
    NeuronCache,
    accept_prefix,
    corrected_decode,
    gated_mlp,
    select_neurons,
    sparse_gated_mlp,
)
from ._convolution import conv2d, conv2d_vjp
from ._dense import DenseCache, DenseGrads, dense, dense_vjp
from ._embedding import embedding, embedding_vjp
from ._explanations import (
    Explanation,
    explain,
    faithfulness,
    local_approximation,
    shapley_kernel_weights,
)
from ._gradient_matching import (
    Partition,
    gradient_distance,
    gradient_distance_matrix,
    min_cut_partition,
    select_split,
    split_supernet,
)
from ._lipschitz import (
    Conv2d,
    LipschitzBound,
    jacobian_bounds,
    local_lipschitz,
    monotonicity,
    output_bounds,
)
from ._losses import binary_cross_entropy_with_logits, huber, mse, softmax_cross_entropy
from ._lstm import lstm, lstm_cell, lstm_cell_vjp, lstm_vjp
from ._network import MLP
from ._normalization import (
    batch_norm,
    batch_norm_vjp,
    layer_norm,
    layer_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)
from ._optim import Adam, clip_grad_norm
from ._permutation_learning import (
    NTKRegressor,
    PermutationEnsemble,
    ensemble_size,
    nngp,
    ntk,
    permutation_mean,
    permutation_variance,
)
from ._pooling import avg_pool2d, avg_pool2d_vjp, max_pool2d, max_pool2d_vjp
from ._power_norm import (
    PowerNorm,
    group_scale,
    group_scale_vjp,
    power_norm_backward,
    power_norm_forward,
)
from ._spectral import spectral_conv1d, spectral_conv1d_vjp, spectral_conv2d, spectral_conv2d_vjp

__all__ = [
    "DenseCache",
    "DenseGrads",
    "MLP",
    "Adam",
    "AttentionGrads",
    "Conv2d",
    "CorrectedDecode",
    "Explanation",
    "LipschitzBound",
    "NTKRegressor",
    "NeuronCache",
    "Partition",
    "PermutationEnsemble",
    "PowerNorm",
    "accept_prefix",
    "activation",
    "activation_vjp",
    "attention",
    "attention_varlen",
    "attention_vjp",
    "avg_pool2d",
    "avg_pool2d_vjp",
    "batch_norm",
    "batch_norm_vjp",
    "binary_cross_entropy_with_logits",
    "clip_grad_norm",
    "conv2d",
    "conv2d_vjp",
    "corrected_decode",
    "dense",
    "dense_vjp",
    "embedding",
    "embedding_vjp",
    "ensemble_size",
    "explain",
    "faithfulness",
    "gated_mlp",
    "gradient_distance",
    "gradient_distance_matrix",
    "group_scale",
    "group_scale_vjp",
    "huber",
    "jacobian_bounds",
    "layer_norm",
    "layer_norm_vjp",
    "local_approximation",
    "local_lipschitz",
    "lstm",
    "lstm_cell",
    "lstm_cell_vjp",
    "lstm_vjp",
    "max_pool2d",
    "max_pool2d_vjp",
    "merge_attention",
    "min_cut_partition",
    "monotonicity",
    "mse",
    "nngp",
    "ntk",
    "output_bounds",
    "permutation_mean",
    "permutation_variance",
    "power_norm_backward",
    "power_norm_forward",
    "rms_norm",
    "rms_norm_vjp",
    "select_neurons",
    "select_split",
    "shapley_kernel_weights",
    "softmax_cross_entropy",
    "sparse_gated_mlp",
    "spectral_conv1d",
    "spectral_conv1d_vjp",
    "spectral_conv2d",
    "spectral_conv2d_vjp",
    "split_supernet",
]
