"""Gated layers neuron by neuron, decoding by tables of next tokens, and a gated network trained by
plain NumPy."""

import math

import numpy as np

ACTIVATIONS = {
    "silu": lambda z: z / (1 + math.exp(-z)) if z > -700 else 0.0,
    "relu": lambda z: max(z, 0.0),
    "gelu": lambda z: z * 0.5 * math.erfc(-z / math.sqrt(2)),
    "gelu_tanh": lambda z: z / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
}


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


def gated_token(x, w_gate, w_up, w_down_t, kept=None, activation="silu"):
    """One token, the neurons `kept` or all, one after the other in float64."""
    y = np.zeros(len(x))
    for j in range(len(w_gate)) if kept is None else kept:
        gate = ACTIVATIONS[activation](math.fsum(w_gate[j].astype(float) * x))
        y += gate * math.fsum(w_up[j].astype(float) * x) * w_down_t[j]
    return y


def gates(x, w_gate, activation="silu"):
    return [ACTIVATIONS[activation](math.fsum(row.astype(float) * x)) for row in w_gate]


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
    """The favourite of each last token's row, `count` times."""
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


# --- a network that adds modulo 97 ----------------------------------------------------------------

MODULUS = 97


def trained_adder(m=64, frequencies=4, steps=300, batch=512, seed=0):
    """(embedding, w_gate, w_up, w_down, head) that give the logits of (a + b) mod 97 from the
    embeddings of a and b, by Adam."""
    rng = np.random.default_rng(seed)
    angles = (
        2
        * np.pi
        / MODULUS
        * np.outer(np.arange(MODULUS), rng.choice(np.arange(1, 49), frequencies, replace=False))
    )
    embedding = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    d = 2 * embedding.shape[1]
    shapes = (m, d), (m, d), (d, m), (MODULUS, d)
    parameters = [
        (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32) for shape in shapes
    ]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    for step in range(steps):
        w_gate, w_up, w_down, head = parameters
        a, b = rng.integers(0, MODULUS, (2, batch))
        x = np.concatenate([embedding[a], embedding[b]], axis=1)
        z, u = x @ w_gate.T, x @ w_up.T
        s = 1 / (1 + np.exp(-z))
        h = z * s * u
        y = h @ w_down.T
        grad = y @ head.T
        grad = np.exp(grad - grad.max(axis=1, keepdims=True))
        grad /= grad.sum(axis=1, keepdims=True)
        grad[np.arange(batch), (a + b) % MODULUS] -= 1
        grad /= batch
        grad_y = grad @ head
        grad_h = grad_y @ w_down
        grad_z, grad_u = grad_h * u * (s + z * s * (1 - s)), grad_h * z * s
        grads = grad_z.T @ x, grad_u.T @ x, grad_y.T @ h, grad.T @ y
        for p, g, (first, second) in zip(parameters, grads, moments, strict=True):
            first += 0.1 * (g - first)
            second += 0.01 * (g * g - second)
            rate = 1e-2 * (1 - step / steps)
            p -= (
                rate
                * first
                / (1 - 0.9 ** (step + 1))
                / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-8)
            )
    return embedding, *parameters
