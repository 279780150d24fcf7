"""Example calls of contextual sparsity. The references go neuron by neuron in float64 and sort the
gates."""

import functools
import importlib.util
import math

import numpy as np

from ..._pool import get_num_threads
from .. import Example

HAVE_SKLEARN = importlib.util.find_spec("sklearn") is not None
DATA = (
    "a digits image" if HAVE_SKLEARN else "random states"
) + ", random weights of d = 1024, m = 4096"
VOCAB = 12


# --- references -----------------------------------------------------------------------------------


ACTIVATIONS = {
    "silu": lambda z: z / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * 0.5 * np.vectorize(math.erfc)(-z / math.sqrt(2)),
    "gelu_tanh": lambda z: z / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
}


def gates(x, w_gate, activation="silu"):
    """Of one token, in longdouble."""
    return ACTIVATIONS[activation](w_gate.astype(np.longdouble) @ x.astype(np.longdouble))


def gated_token(x, w_gate, w_up, w_down_t, kept=None, activation="silu"):
    """One token with the neurons `kept`, or all, in longdouble."""
    kept = slice(None) if kept is None else kept
    h = gates(x, w_gate[kept], activation) * (w_up[kept].astype(np.longdouble) @ x)
    return h @ w_down_t[kept].astype(np.longdouble)


def largest(values, k):
    """The indices of the k largest absolute values, of equal ones the lower, in increasing order;
    NaN is larger than all."""
    order = sorted(
        range(len(values)),
        key=lambda j: (
            not math.isnan(values[j]),
            -abs(values[j]) if values[j] == values[j] else 0,
            j,
        ),
    )
    return sorted(order[:k])


def statistic(h):
    """Lengths of columns of rows of length 1."""
    total = [0.0] * h.shape[1]
    for row in h.astype(float):
        length = math.sqrt(math.fsum(row**2))
        for j, value in enumerate(row):
            total[j] += (value / length) ** 2 if length else 0.0
    return np.sqrt(total)


def probability(logits, token, temperature):
    weights = [math.exp((float(z) - float(max(logits))) / temperature) for z in logits]
    return weights[token] / math.fsum(weights)


def greedy(table, prompt, count):
    """The favorite of each last token's row, `count` times."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(np.argmax(table[tokens[-1]])))
    return tokens[len(prompt) :]


def corrected(sparse, full, prompt, count, period, threshold, temperature, width=1):
    """Tokens and the lengths of the advances, from two tables (vocab, vocab) of logits."""
    tokens, lengths = [int(np.argmax(full[prompt[-1]]))], []
    while len(tokens) < count:
        beams = [(0.0, [tokens[-1]])]
        for _ in range(period - 1):
            longer = [
                (total + math.log(probability(sparse[path[-1]], t, 1.0)), [*path, t])
                for total, path in beams
                for t in range(len(full))
            ]
            beams = sorted(longer, key=lambda beam: -beam[0])[:width]
        best = None
        for _, path in beams:
            accepted = 0
            while (
                accepted < period - 1
                and probability(full[path[accepted]], path[accepted + 1], temperature) >= threshold
            ):
                accepted += 1
            if best is None or accepted > best[0]:
                best = accepted, path
        accepted, path = best
        tokens += [*path[1 : accepted + 1], int(np.argmax(full[path[accepted]]))]
        lengths.append(accepted + 1)
    return tokens[:count], lengths


def gated_mlp(x, w_gate, w_up, w_down):
    y = np.zeros(x.shape, np.longdouble)
    for t in np.ndindex(x.shape[:-1]):
        y[t] = gated_token(x[t], w_gate, w_up, w_down.T)
    return y


def sparse_gated_mlp(x, w_gate, w_up, w_down_t, density, return_indices):
    kept = np.zeros((*x.shape[:-1], int(density * len(w_gate))), np.int64)
    y = np.zeros(x.shape, np.longdouble)
    for t in np.ndindex(x.shape[:-1]):
        kept[t] = largest(gates(x[t], w_gate), kept.shape[-1])
        y[t] = gated_token(x[t], w_gate, w_up, w_down_t, kept[t])
    return y, kept


def select_neurons(h, density):
    return np.array(largest(statistic(h), int(density * h.shape[1])))


def accept_prefix(tokens, full_logits, threshold, temperature):
    result = np.zeros(tokens.shape[:-1], np.int64)
    for lead in np.ndindex(result.shape):
        for token, row in zip(
            tokens[lead], full_logits[lead].astype(np.longdouble) / temperature, strict=True
        ):
            weights = np.exp(row - row.max())
            if weights[token] / weights.sum() < threshold:
                break
            result[lead] += 1
    return result


def corrected_decode(
    sparse_step, full_score, prompt, max_new_tokens, period, threshold, temperature
):
    """Of models that are tables."""
    tokens = np.arange(VOCAB)
    sparse = np.stack([sparse_step(None, t)[0] for t in tokens])
    full = full_score(None, tokens)[0]
    if not max_new_tokens:
        return [np.array([]), np.array([])]
    found = corrected(sparse, full, prompt, max_new_tokens, period, threshold, temperature)
    return [np.array(part) for part in found]


# --- data -----------------------------------------------------------------------------------------


def _layer(rng, dtype, lead, m=150, d=24):
    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return {
        "x": normal(*lead, d),
        "w_gate": normal(m, d),
        "w_up": normal(m, d),
        "w_down": normal(d, m),
    }


def _sparse_layer(rng, dtype, lead, **sizes):
    layer = _layer(rng, dtype, lead, **sizes)
    return layer | {
        "w_down_t": np.ascontiguousarray(layer.pop("w_down").T),
        "density": 0.4,
        "return_indices": True,
    }


@functools.cache
def _state(d):
    """One token: an image, repeated with other signs, as a normalization leaves it."""
    if not HAVE_SKLEARN:
        return np.random.default_rng(0).standard_normal((1, d))
    from sklearn.datasets import load_digits

    pixels = load_digits().data[0]
    x = np.tile(pixels - pixels.mean(), d // 64) * np.random.default_rng(0).choice([-1, 1], d)
    return (x / x.std())[None]


def _real(dtype):
    rng = np.random.default_rng(2024)
    layer = _layer(rng, dtype, (), 4096, 1024)
    return {name: (w / 32).astype(dtype) for name, w in layer.items()} | {
        "x": _state(1024).astype(dtype)
    }


def _real_sparse(dtype):
    layer = _real(dtype)
    return layer | {
        "w_down_t": np.ascontiguousarray(layer.pop("w_down").T),
        "density": 0.5,
        "return_indices": True,
    }


def _real_select(dtype):
    layer, tokens = _real(np.float64), np.random.default_rng(1).standard_normal((200, 1024))
    z = (tokens + _state(1024)) @ layer["w_gate"].T
    return {"h": (z / (1 + np.exp(-z)) * (tokens @ layer["w_up"].T)).astype(dtype), "density": 0.5}


def _draft(rng, dtype, n, vocab=50):
    """Two drafts, each mostly of the tokens that are likely."""
    logits = 3 * rng.standard_normal((2, n, vocab))
    tokens = np.where(
        rng.random((2, n)) < 0.9, logits.argmax(axis=-1), rng.integers(0, vocab, (2, n))
    )
    return {
        "tokens": tokens,
        "full_logits": logits.astype(dtype),
        "threshold": 0.1,
        "temperature": 0.6,
    }


def _decoding(rng, dtype, n):
    """Two models that are tables of the logits after each token."""
    full = 2 * rng.standard_normal((VOCAB, VOCAB)).astype(dtype)
    sparse = full + rng.standard_normal((VOCAB, VOCAB)).astype(dtype)
    return {
        "sparse_step": lambda state, token: (sparse[token], state),
        "full_score": lambda state, tokens: (full[tokens], state),
        "prompt": np.array([3, 1]),
        "max_new_tokens": n,
        "period": 4,
        "threshold": 0.3,
        "temperature": 0.7,
    }


def _torch(x, w_gate, w_up, w_down):
    import torch

    x, w_gate, w_up, w_down = map(torch.from_numpy, (x, w_gate, w_up, w_down))
    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())  # as many as numcore has
    try:
        return torch.nn.functional.silu(x @ w_gate.T) * (x @ w_up.T) @ w_down.T
    finally:
        torch.set_num_threads(before)


def _torch_sparse(x, w_gate, w_up, w_down_t, density, return_indices):
    return _torch(x, w_gate, w_up, w_down_t.T)


def _numpy_select(h, density):
    s = np.linalg.norm(h / np.linalg.norm(h, axis=1, keepdims=True), axis=0)
    return np.sort(np.argsort(-s)[: int(density * h.shape[1])])


def _scipy_accepted(tokens, full_logits, threshold, temperature):
    from scipy.special import log_softmax

    log_q = np.take_along_axis(
        log_softmax(full_logits / temperature, axis=-1), tokens[..., None], axis=-1
    )[..., 0]
    return np.cumprod(log_q >= math.log(threshold), axis=-1).sum(axis=-1)


BOUND = {"float32": 2e-5, "float64": 4e-14}  # sums of a single column cancel

EXAMPLES = {
    "gated_mlp": Example(
        arguments=lambda rng, dtype: _layer(rng, dtype, (2, 3)),
        arrays=("x", "w_gate", "w_up", "w_down"),
        reference=gated_mlp,
        bound=BOUND,
        data=DATA,
        real=_real,
        peer=("torch", _torch),
        sizes=lambda rng, dtype, n: _layer(rng, dtype, (n,), n + 1, n),
    ),
    "sparse_gated_mlp": Example(
        arguments=lambda rng, dtype: _sparse_layer(rng, dtype, (3,)),
        arrays=("x", "w_gate", "w_up", "w_down_t"),
        reference=sparse_gated_mlp,
        bound=BOUND,
        data=DATA,
        real=_real_sparse,
        peer=("torch, all neurons", _torch_sparse),
        sizes=lambda rng, dtype, n: _sparse_layer(rng, dtype, (n,), m=40, d=n),
    ),
    "select_neurons": Example(
        arguments=lambda rng, dtype: {
            "h": rng.standard_normal((20, 90)).astype(dtype),
            "density": 0.3,
        },
        arrays=("h",),
        reference=select_neurons,
        bound={"float32": 0, "float64": 0},
        error="equal",
        data="200 tokens around " + DATA,
        real=_real_select,
        peer=("NumPy", _numpy_select),
        nan="raise",
        sizes=lambda rng, dtype, n: {
            "h": rng.standard_normal((n, n + 2)).astype(dtype),
            "density": 0.5,
        },
    ),
    "accept_prefix": Example(
        arguments=lambda rng, dtype: _draft(rng, dtype, 15),
        arrays=("full_logits",),
        reference=accept_prefix,
        bound={"float32": 0, "float64": 0},
        error="equal",
        data="random logits of 15 tokens out of 32,000",
        real=lambda dtype: _draft(np.random.default_rng(3), dtype, 15, 32000),
        peer=("scipy.special.log_softmax", _scipy_accepted),
        nan="raise",
        sizes=lambda rng, dtype, n: _draft(rng, dtype, n, 40),
    ),
    "corrected_decode": Example(
        arguments=lambda rng, dtype: _decoding(rng, dtype, 30),
        arrays=(),
        reference=corrected_decode,
        bound={"float32": 0, "float64": 0},
        error="equal",
        nan="ignore",
        sizes=_decoding,
        result=lambda result: [result.tokens, result.accepted_lengths],
    ),
}


# --- arguments of kernels: indices that exist -----------------------------------------------------


def _poisoned(shape, dtype):
    return np.full(shape, np.nan, dtype)


def _gate_arguments(rng, variant, size):
    dtype, d, b = variant["T"], int(rng.choice([3, 8, 132])), int(rng.integers(1, 5))
    return [
        rng.standard_normal((size, d)).astype(dtype),
        rng.standard_normal((b, d)).astype(dtype),
        _poisoned((b, size), dtype),
        int(rng.integers(4)),
    ]


def _largest_arguments(rng, variant, size):
    """Rows with ties, zeros of both signs and NaN."""
    m = int(rng.integers(1, 700))
    g = np.where(
        rng.random((size, m)) < 0.5, rng.integers(-3, 4, (size, m)), rng.standard_normal((size, m))
    )
    g[rng.random((size, m)) < 0.02] = np.nan
    return [g.astype(variant["T"]), np.full((size, int(rng.integers(1, m + 1))), -1)]


def _sum_arguments(rng, variant, size):
    dtype, d = variant["T"], int(rng.choice([3, 8, 300]))
    b, m = int(rng.integers(1, 4)), 2 * size + 150
    k = int(rng.integers(1, m + 1))
    kept = np.sort(rng.permuted(np.tile(np.arange(m), (b, 1)), axis=1)[:, :k], axis=1)
    return [
        rng.standard_normal((m, d)).astype(dtype),
        rng.standard_normal((m, d)).astype(dtype),
        rng.standard_normal((b, d)).astype(dtype),
        rng.standard_normal((b, m)).astype(dtype),
        np.ascontiguousarray(kept),
        _poisoned((size, b, d), dtype),
    ]


def _log_arguments(rng, variant, size):
    dtype, v = variant["T"], int(rng.integers(1, 600))
    logits = (5 * rng.standard_normal((size, v))).astype(dtype)
    logits[rng.random(logits.shape) < 0.001] = rng.choice([np.nan, np.inf, -np.inf])
    return [logits, rng.integers(0, v, size), _poisoned(size, dtype), 0.6]


KERNELS = {
    "gate_rows": _gate_arguments,
    "select_largest": _largest_arguments,
    "sum_kept_rows": _sum_arguments,
    "log_probabilities": _log_arguments,
}
