"""Neural networks: exact attention in tiles."""

from ._attention import attention, attention_varlen, attention_vjp, merge_attention

__all__ = ["attention", "attention_varlen", "attention_vjp", "merge_attention"]
