"""Exact attention in tiles: softmax(Q Kᵀ scale + bias) V without the N × N matrix of scores,
forward and backward.

Blocks of keys stream past blocks of queries; each query keeps the largest score m so far, the sum l
of weights and the weighted sum of values, both relative to m and rescaled when m grows. The
log-sum-exp m + log l of every row is all that the backward pass needs to compute the weights again,
tile by tile. T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and
Memory-Efficient Exact Attention with IO-Awareness", NeurIPS 2022.
"""

from .routines import AttentionGrads, attention, attention_varlen, attention_vjp, merge_attention
