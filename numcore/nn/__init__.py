"""Neural networks: exact attention in tiles."""

from ._attention import attention, attention_varlen, attention_vjp, merge_attention
from .contextual_sparsity import CorrectedDecode, NeuronCache, accept_prefix, corrected_decode, gated_mlp, select_neurons, sparse_gated_mlp

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention"]
__all__ += ["CorrectedDecode", "NeuronCache", "accept_prefix", "corrected_decode", "gated_mlp", "select_neurons", "sparse_gated_mlp"]
from ._convolution import conv2d, conv2d_vjp
from ._pooling import avg_pool2d, avg_pool2d_vjp, max_pool2d, max_pool2d_vjp
from ._spectral import spectral_conv1d, spectral_conv1d_vjp, spectral_conv2d, spectral_conv2d_vjp

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention", "avg_pool2d", "avg_pool2d_vjp", "conv2d", "conv2d_vjp",
           "max_pool2d", "max_pool2d_vjp", "spectral_conv1d", "spectral_conv1d_vjp", "spectral_conv2d", "spectral_conv2d_vjp"]
