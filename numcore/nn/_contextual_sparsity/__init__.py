"""Contextual sparsity with correction: gated networks that read only the neurons a token needs, and
a decoder that corrects the errors.

A gated layer computes y = W_down (act(W_gate x) * (W_up x)). Where one token is decoded at a time,
its time is the time to read the three matrices, and most neurons have gates near 0. Fine-grained
sparsity computes all gates of a token and reads the rows of W_up and W_down of the largest;
coarse-grained sparsity chooses once for a prompt. Both lose answers in reasoning, so a decoder lets
the whole network score every few tokens at once, keeps those it agrees with and replaces the first
other one. Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction
for Efficient LLMs", NeurIPS 2024.
"""

from .decoding import CorrectedDecode, accept_prefix, corrected_decode
from .layers import NeuronCache, gated_mlp, select_neurons, sparse_gated_mlp
