"""Contextual sparsity beside torch's dense layer, on weights far larger than the caches, and the
test of a draft."""

import functools

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import NeuronCache, accept_prefix, gated_mlp, sparse_gated_mlp

SECONDS = 3
SHAPES = {"d2048_m8192": (2048, 8192), "d4096_m14336": (4096, 14336)}


@functools.cache
def weights(shape):
    """w_gate, w_up, w_down, w_down_t and one token, float32."""
    d, m = SHAPES[shape]
    rng = np.random.default_rng(0)
    w_gate, w_up, w_down = (
        rng.standard_normal(s, dtype=np.float32) / 32 for s in ((m, d), (m, d), (d, m))
    )
    return (
        w_gate,
        w_up,
        w_down,
        np.ascontiguousarray(w_down.T),
        rng.standard_normal((1, d), dtype=np.float32),
    )


def torch_with_our_threads():
    try:
        import torch
    except ImportError as error:
        raise NotImplementedError("torch is not installed") from error
    torch.set_num_threads(numcore.get_num_threads())
    return torch


class Layer:
    """One token. A ratio is torch's time for the dense layer by ours; reading the weights alone
    bounds it by 3 / (1 + 2 density)."""

    param_names = ("shape", "density")
    params = (list(SHAPES), [0.25, 0.5, 1.0])
    unit = "× (torch's time / numcore's)"

    def setup(self, shape, density):
        torch = torch_with_our_threads()
        w_gate, w_up, w_down, w_down_t, x = weights(shape)
        gate, up, down, token = map(torch.from_numpy, (w_gate, w_up, w_down, x))
        self.dense = lambda: torch.nn.functional.silu(token @ gate.T) * (token @ up.T) @ down.T
        self.sparse = lambda: sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=density)
        cache = NeuronCache(w_gate, w_up, w_down)
        cache.select(
            np.random.default_rng(1).standard_normal((100, len(w_gate)), dtype=np.float32),
            density=density,
        )
        self.compact = lambda: cache.apply(x)

    def track_ratio_fine(self, shape, density):
        return self._ratio(self.sparse)

    def track_ratio_coarse(self, shape, density):
        return self._ratio(self.compact)

    def track_share_of_the_bound_fine(self, shape, density):
        """1 where the time is in proportion to the bytes that are read, torch's speed being that of
        the memory."""
        return self._ratio(self.sparse) * (1 + 2 * density) / 3

    track_share_of_the_bound_fine.unit = "× (of the ratio of bytes)"

    def time_fine(self, shape, density):
        self.sparse()

    def time_coarse(self, shape, density):
        self.compact()

    def peakmem_fine(self, shape, density):
        self.sparse()

    def _ratio(self, ours):
        mine, torchs = median_seconds([ours, self.dense], SECONDS)
        return torchs / mine


class Tokens:
    """Where a batch of tokens ends the gain: density 0.5, against the dense layer of the same
    tokens by NumPy's products."""

    param_names = ("tokens",)
    params = ([1, 2, 4, 8],)
    unit = "× (dense / sparse)"

    def setup(self, tokens):
        w_gate, w_up, w_down, w_down_t, _ = weights("d2048_m8192")
        x = np.random.default_rng(2).standard_normal((tokens, 2048), dtype=np.float32)
        self.calls = [
            lambda: sparse_gated_mlp(x, w_gate, w_up, w_down_t, density=0.5),
            lambda: gated_mlp(x, w_gate, w_up, w_down),
        ]

    def track_ratio_to_dense(self, tokens):
        sparse, dense = median_seconds(self.calls, SECONDS)
        return dense / sparse


class Draft:
    """The probabilities of 15 drafted tokens, against torch's log-softmax."""

    param_names = ("vocab",)
    params = ([32000, 128256],)
    unit = "× (torch's time / numcore's)"

    def setup(self, vocab):
        torch = torch_with_our_threads()
        rng = np.random.default_rng(0)
        self.logits, self.tokens = (
            3 * rng.standard_normal((15, vocab), dtype=np.float32),
            rng.integers(0, vocab, 15),
        )
        self.torch, self.theirs = (
            torch,
            tuple(map(torch.from_numpy, (self.logits, self.tokens[:, None]))),
        )

    def track_ratio_accept_prefix(self, vocab):
        logits, tokens = self.theirs
        ours, torchs = median_seconds(
            [
                lambda: accept_prefix(self.tokens, self.logits, threshold=0.1),
                lambda: int(
                    (
                        self.torch.log_softmax(logits / 0.6, -1).gather(-1, tokens)[:, 0]
                        >= np.log(0.1)
                    )
                    .long()
                    .cumprod(0)
                    .sum()
                ),
            ],
            1,
        )
        return torchs / ours

    def time_accept_prefix(self, vocab):
        accept_prefix(self.tokens, self.logits, threshold=0.1)

    def peakmem_accept_prefix(self, vocab):
        accept_prefix(self.tokens, self.logits, threshold=0.1)
