"""Neural networks without a framework: layers with their gradients, exact attention, and methods
that work on trained networks.

Layers are pairs of plain functions on arrays. The conventions, which every layer of this subpackage
keeps and users' own layers fit into:

- ``y, cache = layer(x, parameters..., options)`` computes the output;
  ``grads = layer_vjp(grad_y, cache)`` the gradients of a loss from the gradient of the loss by y.
  Both are pure: a cache may be used any number of times, and nothing is kept between calls.
- A cache is a named tuple that holds inputs by reference and what is expensive to compute twice.
  Its fields may change between versions.
- Gradients are a named tuple whose fields are named like the layer's array arguments, or a single
  array where the layer has one such argument. A field is None where an optional argument was None.
  A layer of several outputs has one gradient for each, then the cache.
- Arrays are float32 or float64, all of one dtype, which is also that of the results.
- Batches come first and features last, ``x[..., features]``; images are
  ``x[batch, channel, row, column]``. A weight maps from its first axis to its last, ``w[in, out]``,
  except in convolutions, where it is ``w[out, in, row, column]``.
- Normalizations add `eps` inside the root.

A training loop in ten lines::

    network = MLP((64, 32, 10), activation="relu", rng=0)
    adam = Adam(network.parameters, learning_rate=1e-3)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            y, cache = network.forward(x[batch])
            loss, grad_y = softmax_cross_entropy(y, labels[batch])
            adam.step(network.vjp(grad_y, cache).parameters)

:func:`numcore.testing.check_vjp` checks the gradients of a layer by finite differences.
"""

from ._activation import ActivationCache, activation, activation_vjp
from ._attention import AttentionGrads, attention, attention_varlen, attention_vjp, merge_attention
from ._contextual_sparsity import (
    CorrectedDecode,
    NeuronCache,
    accept_prefix,
    corrected_decode,
    gated_mlp,
    select_neurons,
    sparse_gated_mlp,
)
from ._convolution import Conv2dCache, Conv2dGrads, conv2d, conv2d_vjp
from ._dense import DenseCache, DenseGrads, dense, dense_vjp
from ._embedding import EmbeddingCache, embedding, embedding_vjp
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
from ._lstm import LSTMCache, LSTMCellCache, LSTMGrads, lstm, lstm_cell, lstm_cell_vjp, lstm_vjp
from ._network import MLP, MLPCache, MLPGrads, MLPTaylorCache
from ._normalization import (
    BatchNormCache,
    LayerNormCache,
    NormGrads,
    RMSNormCache,
    RMSNormGrads,
    RunningStatistics,
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
from ._pooling import (
    AvgPool2dCache,
    MaxPool2dCache,
    avg_pool2d,
    avg_pool2d_vjp,
    max_pool2d,
    max_pool2d_vjp,
)
from ._power_norm import (
    GroupScaleCache,
    PowerNorm,
    PowerNormCache,
    PowerNormGrads,
    PowerNormLayerCache,
    PowerNormLayerGrads,
    group_scale,
    group_scale_vjp,
    power_norm,
    power_norm_vjp,
)
from ._spectral import (
    SpectralConv1dCache,
    SpectralConv2dCache,
    SpectralConvGrads,
    spectral_conv1d,
    spectral_conv1d_vjp,
    spectral_conv2d,
    spectral_conv2d_vjp,
)

__all__ = [
    "ActivationCache",
    "Adam",
    "AttentionGrads",
    "AvgPool2dCache",
    "BatchNormCache",
    "Conv2d",
    "Conv2dCache",
    "Conv2dGrads",
    "CorrectedDecode",
    "DenseCache",
    "DenseGrads",
    "EmbeddingCache",
    "Explanation",
    "GroupScaleCache",
    "LSTMCache",
    "LSTMCellCache",
    "LSTMGrads",
    "LayerNormCache",
    "LipschitzBound",
    "MLP",
    "MLPCache",
    "MLPGrads",
    "MLPTaylorCache",
    "MaxPool2dCache",
    "NTKRegressor",
    "NeuronCache",
    "NormGrads",
    "Partition",
    "PermutationEnsemble",
    "PowerNorm",
    "PowerNormCache",
    "PowerNormGrads",
    "PowerNormLayerCache",
    "PowerNormLayerGrads",
    "RMSNormCache",
    "RMSNormGrads",
    "RunningStatistics",
    "SpectralConv1dCache",
    "SpectralConv2dCache",
    "SpectralConvGrads",
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
    "power_norm",
    "power_norm_vjp",
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
