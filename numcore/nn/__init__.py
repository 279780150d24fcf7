"""Neural networks: exact attention in tiles, recurrent layers, losses and optimisers."""

from ._attention import attention, attention_varlen, attention_vjp, merge_attention
from .contextual_sparsity import CorrectedDecode, NeuronCache, accept_prefix, corrected_decode, gated_mlp, select_neurons, sparse_gated_mlp

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention"]
__all__ += ["CorrectedDecode", "NeuronCache", "accept_prefix", "corrected_decode", "gated_mlp", "select_neurons", "sparse_gated_mlp"]
from ._convolution import conv2d, conv2d_vjp
from ._pooling import avg_pool2d, avg_pool2d_vjp, max_pool2d, max_pool2d_vjp
from ._spectral import spectral_conv1d, spectral_conv1d_vjp, spectral_conv2d, spectral_conv2d_vjp

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention", "avg_pool2d", "avg_pool2d_vjp", "conv2d", "conv2d_vjp",
           "max_pool2d", "max_pool2d_vjp", "spectral_conv1d", "spectral_conv1d_vjp", "spectral_conv2d", "spectral_conv2d_vjp"]
from ._embedding import embedding, embedding_vjp
from ._lstm import lstm, lstm_cell, lstm_cell_vjp, lstm_vjp
from .losses import binary_cross_entropy_with_logits, huber, mse, softmax_cross_entropy
from .optim import Adam, clip_grad_norm

__all__ = ["Adam", "attention", "attention_varlen", "attention_vjp", "binary_cross_entropy_with_logits", "clip_grad_norm", "embedding",
           "embedding_vjp", "huber", "lstm", "lstm_cell", "lstm_cell_vjp", "lstm_vjp", "merge_attention", "mse", "softmax_cross_entropy"]
