"""Contextual sparsity with correction: gated networks that read only the neurons a token needs, and
a decoder that mends the errors.

A gated layer computes y = W_down (act(W_gate x) * (W_up x)). Where one token is decoded at a time,
its time is the time to read the three matrices, and most neurons have gates near 0. Fine-grained
sparsity computes all gates of a token and reads the rows of W_up and W_down of the largest;
coarse-grained sparsity chooses once for a prompt. Both lose answers in reasoning, so a decoder lets
the whole network score every few tokens at once, keeps those it agrees with and replaces the first
other one. Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction
for Efficient LLMs", NeurIPS 2024.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import CPU, device_of, float_dtype, on_device, routine
from ..special import erf, sigmoid, tanh
from ._contextual_sparsity_kernels import (
    ACTIVATIONS,
    gate_rows,
    log_probabilities,
    select_largest,
    sum_kept_rows,
)

__all__ = [
    "CorrectedDecode",
    "NeuronCache",
    "accept_prefix",
    "corrected_decode",
    "gated_mlp",
    "select_neurons",
    "sparse_gated_mlp",
]

METHODS = ("topk", "topk_sample")
# up to so many tokens read their own rows; more of them need nearly all rows, and share them in
# matrix products
FEW_TOKENS = 4
# kept rows that are summed by one thread at a stretch: the sums do not depend on the number of
# threads
ROWS = 64
BLOCK = 1 << 17  # numbers of a prompt's states that are worked on in the cache
REFRESH = 8  # weight of a new statistic's square


# --- gated layers ---------------------------------------------------------------------------------


@routine
def gated_mlp(x, w_gate, w_up, w_down, *, activation="silu", out=None):
    """Gated layer act(x W_gateᵀ) * (x W_upᵀ) W_downᵀ with all its neurons.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
        Hidden states.
    w_gate, w_up : (m, d) array
        A row for each neuron.
    w_down : (d, m) array
    activation : {"silu", "relu", "gelu", "gelu_tanh"}
        z σ(z), max(z, 0), z Φ(z), or z Φ(z) with Φ by a tanh.
    out : (..., d) array, optional
        Where to write the result; it shares no memory with the other arguments.

    Returns
    -------
    (..., d) array
        `out` if it is given.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit, an unknown activation, `out` of another shape.

    Notes
    -----
    6 m d operations and 3 m d weights read. Errors relative to the largest result are below about
    (d + m) eps, and far smaller usually.

    References
    ----------
    N. Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.

    Examples
    --------
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> gated_mlp(np.array([1.0, -2.0]), w, w, w.T, activation="relu")
    array([1., 0.])
    """
    xp, (x, w_gate, w_up, w_down, out) = on_device(
        x=x, w_gate=w_gate, w_up=w_up, w_down=w_down, out=out
    )
    _check_layer(x, w_gate, w_up, w_down=w_down)
    activate = _activation(activation)
    if out is not None:
        float_dtype(x=x, out=out)
        if out.shape != x.shape:
            raise ValueError(f"out must have the shape of x, {x.shape} (got {out.shape})")
    y = _dense(xp, x, w_gate, w_up, w_down.T, activate)
    if out is None:
        return y
    out[...] = y
    return out


@routine
def sparse_gated_mlp(
    x, w_gate, w_up, w_down_t, *, density, activation="silu", return_indices=False
):
    """Gated layer in which every token uses only the neurons with the largest gates: fine-grained
    contextual sparsity.

    Parameters
    ----------
    x : (..., d) array, float32 or float64
        Hidden states.
    w_gate, w_up : (m, d) array
        A row for each neuron.
    w_down_t : (m, d) array
        The transpose of W_down, contiguous, so that a neuron is a row of it too.
    density : float
        Share of the neurons that is kept, in (0, 1]: k = floor(density · m) of them, at least 1.
    activation : {"silu", "relu", "gelu", "gelu_tanh"}
        As for :func:`gated_mlp`.
    return_indices : bool, optional
        Also return which neurons were kept.

    Returns
    -------
    y : (..., d) array
    indices : (..., k) array of int64, if `return_indices`
        The kept neurons of each token, in increasing order.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, a density that is no number.
    ValueError
        Shapes that do not fit, a density outside of (0, 1] or too small to keep a neuron, an
        unknown activation.

    Notes
    -----
    With g = act(W_gate x), y = Σ g_j (w_up[j]·x) w_down_t[j] over the k neurons of the largest
    \\|g_j\\|; of equal ones the lower index is kept. NaN counts as larger than any number. One
    token reads (1 + 2 density) m d weights, against 3 m d of the whole layer, and takes 2 m d + 4 k
    d operations. Up to 4 tokens read only the rows that they keep; more use dense products with the
    other gates set to 0. With density 1 the result is that of :func:`gated_mlp`, to rounding.
    Rounding may also decide between gates that are almost equal.

    References
    ----------
    Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction for
    Efficient LLMs", NeurIPS 2024.

    Examples
    --------
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> sparse_gated_mlp(
    ...     np.array([1.0, 2.0]), w, w, w, density=0.4, activation="relu", return_indices=True
    ... )
    (array([9., 9.]), array([2]))
    """
    xp, (x, w_gate, w_up, w_down_t) = on_device(x=x, w_gate=w_gate, w_up=w_up, w_down_t=w_down_t)
    _check_layer(x, w_gate, w_up, w_down_t=w_down_t)
    m, d = w_gate.shape
    k, activate = _kept_count(density, m), _activation(activation)
    return_indices = checked_bool("return_indices", return_indices)
    tokens = xp.ascontiguousarray(x.reshape(math.prod(x.shape[:-1]), d))
    if len(tokens) <= FEW_TOKENS:
        g = xp.empty((len(tokens), m), x.dtype)
        gate_rows(xp.ascontiguousarray(w_gate), tokens, g, ACTIVATIONS[activation])
        kept = _largest(xp, g, k)
        y = _sum_kept(xp, tokens, w_up, w_down_t, g, kept)
    else:
        with np.errstate(all="ignore"):
            g = activate(xp, tokens @ w_gate.T)
            kept = _largest(xp, g, k)
            if k < m:
                token, largest = xp.arange(len(tokens))[:, None], xp.zeros_like(g)
                largest[token, kept] = g[token, kept]
                g = largest
            y = (g * (tokens @ w_up.T)) @ w_down_t
    y = y.reshape(x.shape)
    return (y, kept.reshape(*x.shape[:-1], k)) if return_indices else y


@routine
def select_neurons(h, *, density, method="topk", rng=None):
    """Choose the neurons that a prompt uses most, for all tokens that follow it: coarse-grained
    contextual sparsity.

    Parameters
    ----------
    h : (t, m) array, float32 or float64
        act(W_gate x) * (W_up x) of the prompt's t tokens.
    density : float
        Share of the neurons that is kept, in (0, 1]: k = floor(density · m) of them, at least 1.
    method : {"topk", "topk_sample"}
        The k neurons of the largest statistic; or k // 2 of these, and the others drawn from the
        rest without replacement, with probabilities in proportion to the statistic.
    rng : None, int or numpy.random.Generator, optional
        For "topk_sample".

    Returns
    -------
    (k,) array of int64
        The neurons in increasing order.

    Raises
    ------
    TypeError
        Another dtype, a density that is no number.
    ValueError
        Another number of dimensions, numbers that are not finite, a density outside of (0, 1] or
        too small to keep a neuron, an unknown method.

    Notes
    -----
    Every token's row is scaled to length 1, and the statistic of a neuron is the length of its
    column. Of equal neurons the lower index is kept. Rows of zeros count for nothing. O(t m)
    operations.

    References
    ----------
    H. Dong, B. Chen, Y. Chi, "Prompt-prompted Adaptive Structured Pruning for Efficient LLM
    Generation", COLM 2024.

    Examples
    --------
    >>> select_neurons(np.array([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 1.0, 0.5]]), density=0.5)
    array([0, 2])
    """
    xp, (h,) = on_device(h=h)
    k = _kept_count(density, _check_states(h))
    return _choose(xp, _statistic(xp, h), k, method, rng)


class NeuronCache:
    """A gated layer that keeps compact copies of the neurons chosen for a prompt.

    Parameters
    ----------
    w_gate, w_up : (m, d) array, float32 or float64
        A row for each neuron; NumPy or CuPy.
    w_down : (d, m) array
        They are held by reference and never modified.

    Attributes
    ----------
    indices : (k,) array of int64 or None
        The neurons of the last selection.
    statistic : (m,) array or None
        How much the prompt used each neuron.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    Memory: `density` times the three matrices. A token reads just these.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import NeuronCache
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> cache = NeuronCache(w, w, w.T)
    >>> cache.select(np.array([[1.0, 4.0, 9.0]]), density=0.7)
    array([1, 2])
    >>> cache.apply(np.array([1.0, 2.0]), activation="relu")
    array([ 9., 13.])
    """

    def __init__(self, w_gate, w_up, w_down):
        self._xp, (self._gate, self._up, self._down) = on_device(
            w_gate=w_gate, w_up=w_up, w_down=w_down
        )
        _check_weights(self._gate, self._up, w_down=self._down)
        self.indices = self.statistic = self._kept = None

    def select(self, h, *, density, method="topk", refresh=False, rng=None):
        """Choose neurons by a prompt's states and copy them.

        Parameters
        ----------
        h, density, method, rng
            As for :func:`select_neurons`; `h` lives where the weights do and has their dtype.
        refresh : bool, optional
            Join the statistic s of the selections before with the new one: √(s² + 8 s_new²).

        Returns
        -------
        (k,) array of int64
            The neurons in increasing order.
        """
        xp, (h, _) = on_device(h=h, w_gate=self._gate)
        m = _check_states(h)
        float_dtype(w_gate=self._gate, h=h)
        if m != len(self._gate):
            raise ValueError(
                f"h must have a column for each of the {len(self._gate)} neurons (got shape "
                f"{h.shape})"
            )
        k, statistic = _kept_count(density, m), _statistic(xp, h)
        if refresh and self.statistic is not None:
            statistic = xp.sqrt(self.statistic**2 + REFRESH * statistic**2)
        indices = _choose(xp, statistic, k, method, rng)
        self._kept = None  # the memory of the copies before
        self._kept = (
            self._gate[indices],
            self._up[indices],
            xp.ascontiguousarray(self._down[:, indices].T),
        )
        self.indices, self.statistic = indices, statistic
        return indices.copy()

    def apply(self, x, *, activation="silu"):
        """The layer with the chosen neurons alone.

        Parameters
        ----------
        x : (..., d) array
            Hidden states, of the dtype of the weights.
        activation : {"silu", "relu", "gelu", "gelu_tanh"}
            As for :func:`gated_mlp`.

        Returns
        -------
        (..., d) array
        """
        xp, (x, _) = on_device(x=x, w_gate=self._gate)
        if self._kept is None:
            raise ValueError("select must be called before apply (got no selection)")
        gate, up, down_t = self._kept
        _check_layer(x, gate, up, w_down_t=down_t)
        k, d = gate.shape
        activate = _activation(activation)
        tokens = xp.ascontiguousarray(x.reshape(math.prod(x.shape[:-1]), d))
        if len(tokens) > FEW_TOKENS:
            return _dense(xp, x, gate, up, down_t, activate)
        g = xp.empty((len(tokens), k), x.dtype)
        gate_rows(gate, tokens, g, ACTIVATIONS[activation])
        return _sum_kept(xp, tokens, up, down_t, g, _all(xp, len(tokens), k)).reshape(x.shape)


def _dense(xp, x, w_gate, w_up, w_down_t, activate):
    with np.errstate(all="ignore"):
        return (activate(xp, x @ w_gate.T) * (x @ w_up.T)) @ w_down_t


def _largest(xp, g, k):
    """(b, k) int64: the indices of the k largest \\|g\\| of each row, increasing; of equal ones the
    lower."""
    b, m = g.shape
    if k == m:
        return _all(xp, b, m)
    kept = xp.empty((b, k), np.int64)
    select_largest(xp.ascontiguousarray(g), kept)
    return kept


def _all(xp, b, m):
    return xp.ascontiguousarray(xp.broadcast_to(xp.arange(m, dtype=np.int64), (b, m)))


def _sum_kept(xp, x, w_up, w_down_t, g, kept):
    """(b, d): the sums over the kept neurons of each token, of partial sums of `ROWS` neurons
    each."""
    parts = xp.empty((-(-kept.shape[1] // ROWS), *x.shape), x.dtype)
    sum_kept_rows(xp.ascontiguousarray(w_up), xp.ascontiguousarray(w_down_t), x, g, kept, parts)
    with np.errstate(all="ignore"):
        return parts.sum(axis=0)


def _statistic(xp, h):
    """Lengths of the columns of h, whose rows are scaled to length 1; in float64, some rows at a
    time."""
    t, m = h.shape
    total, step = xp.zeros(m), max(1, (BLOCK if xp is np else t * m) // max(m, 1))
    for first in range(0, t, step):
        rows = h[first : first + step].astype(np.float64)
        with np.errstate(all="ignore"):
            if h.dtype == np.float64:  # so that no square overflows
                largest = xp.maximum(rows.max(axis=1), -rows.min(axis=1))
                rows /= xp.where(largest == 0, 1.0, largest)[:, None]
            rows *= rows
            lengths = rows.sum(axis=1)
        if not bool(xp.isfinite(lengths).all()):
            raise ValueError("h must be finite (got NaN or infinity)")
        total += (1 / xp.where(lengths == 0, 1.0, lengths)) @ rows
    return xp.sqrt(total)


def _choose(xp, statistic, k, method, rng):
    checked_choice("method", method, METHODS)
    rng = np.random.default_rng(rng)
    first = k if method == "topk" else k // 2
    chosen = _largest(xp, statistic[None], first)[0] if first else xp.empty(0, np.int64)
    if first == k:
        return chosen
    # the largest of s_j / (exponentially distributed numbers) are a sample without replacement
    rest = xp.ones(len(statistic), bool)
    rest[chosen] = False
    rest = xp.nonzero(rest)[0]
    waits = np.maximum(rng.standard_exponential(len(rest)), np.finfo(float).tiny)
    with np.errstate(all="ignore"):
        sampled = _largest(xp, (statistic[rest] / xp.asarray(waits))[None], k - first)[0]
    return xp.sort(xp.concatenate([chosen, rest[sampled]]))


# --- correction -----------------------------------------------------------------------------------


class CorrectedDecode(NamedTuple):
    """What :func:`corrected_decode` returns.

    Attributes
    ----------
    tokens : (n,) array of int64
        The tokens after the prompt.
    n_corrections : int
        Checks that rejected a token.
    n_checks : int
        Blocks that the whole model scored.
    mean_accepted : float
        Mean of `accepted_lengths`, the average advance length; NaN without a check.
    effective_density : float or None
        Weights read for each token, relative to the whole model: ((period - 1) `sparse_density` +
        1) / `mean_accepted`.
    accepted_lengths : (n_checks,) array of int64
        Tokens by which each check advanced: the accepted ones and the one that the whole model
        adds.
    """

    tokens: np.ndarray
    n_corrections: int
    n_checks: int
    mean_accepted: float
    effective_density: float | None
    accepted_lengths: np.ndarray


def corrected_decode(
    sparse_step,
    full_score,
    prompt,
    *,
    max_new_tokens,
    period=16,
    threshold=0.1,
    temperature=0.6,
    tree_width=1,
    eos=None,
    sparse_density=None,
    rollback=None,
    callback=None,
):
    """Decode with a sparse model, and let the whole model check and mend every block of tokens.

    A block is the last token, which is the whole model's, and period - 1 tokens that the sparse
    model adds greedily. The whole model scores the block in one call, which also rewrites the
    block's part of the state. The longest prefix of tokens to which it gives at least the
    probability `threshold` is kept, and the whole model's favourite follows it.

    Parameters
    ----------
    sparse_step : callable
        ``sparse_step(state, token)`` → ``(logits, state)``: the (vocab,) scores of the token after
        `token`, and the state that has read `token`, an int.
    full_score : callable
        ``full_score(state, tokens)`` → ``(logits, state)``: row i of the (len(tokens), vocab)
        logits scores the token after ``tokens[i]``, an int64 array. The first call is
        ``full_score(None, prompt)``.
    prompt : (n,) array or sequence of int
    max_new_tokens : int
        How many tokens to make.
    period : int
        Tokens in a block, at least 2.
    threshold : float
        Least probability of a token that is kept, in [0, 1]; 0 keeps every token, 1 leaves the
        whole model's greedy decoding.
    temperature : float
        Of the softmax that gives these probabilities.
    tree_width : int
        Continuations of a block that the sparse model carries along, those of the largest product
        of probabilities. Above 1, `full_score` gets a (branches, period) array of tokens, rows that
        start with the same token and do not see each other, and returns (branches, period, vocab)
        logits; the row of which most is accepted wins, of equal ones that of the larger product.
    eos : int, optional
        Token that ends the text; it is the last of the result.
    sparse_density : float, optional
        Share of all weights that the sparse model reads, for the effective density. A whole model,
        of which gated layers are the part p, has 1 - p (1 - density) with coarse-grained and 1 - 2
        p (1 - density) / 3 with fine-grained sparsity.
    rollback : callable, optional
        ``rollback(state, n)`` → the state without the last n tokens it has read. It lets models
        whose states change in place take part, and saves scoring accepted tokens again. For trees
        ``rollback(state, n, branch)`` makes the state of one branch from that of all, and states
        must be values.
    callback : callable, optional
        ``callback(tokens)`` is called with the tokens so far after every check; the decoding ends
        when it returns True.

    Returns
    -------
    CorrectedDecode
        The tokens, and how many were accepted.

    Raises
    ------
    TypeError
        Arguments that are not callable, tokens that are not integers, logits that are no arrays of
        floats.
    ValueError
        An empty prompt, a period below 2, a threshold outside of [0, 1], a temperature or
        `sparse_density` that is not positive, a tree width below 1, logits of another shape or not
        finite.

    Notes
    -----
    Without `rollback`, states are values: a state may be used again after later ones were made from
    it. A check that rejects tokens then calls `full_score` once more, with the accepted ones, so
    that the state holds them as the whole model reads them; the effective density leaves this call
    out. Blocks are always whole, also at the end: the models may be asked for up to period tokens
    beyond `max_new_tokens` or `eos`.

    References
    ----------
    Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction for
    Efficient LLMs", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import corrected_decode
    >>> full, sparse = (
    ...     np.roll(9 * np.eye(5), 1, axis=1),
    ...     np.roll(9 * np.eye(5), 1, axis=1),
    ... )  # after token i comes i + 1
    >>> sparse[2] = [9, 0, 0, 0, 0]  # the sparse model errs after a 2
    >>> result = corrected_decode(
    ...     lambda state, token: (sparse[token], None),
    ...     lambda state, tokens: (full[tokens], None),
    ...     [0],
    ...     max_new_tokens=8,
    ...     period=4,
    ... )
    >>> result.tokens, result.accepted_lengths
    (array([1, 2, 3, 4, 0, 1, 2, 3]), array([2, 4, 1]))
    """
    for name, value in (
        ("sparse_step", sparse_step),
        ("full_score", full_score),
        ("rollback", rollback),
        ("callback", callback),
    ):
        if not callable(value) and (value is not None or name in ("sparse_step", "full_score")):
            raise TypeError(f"{name} must be callable (got {type(value).__name__})")
    prompt, max_new_tokens = (
        _checked_tokens("prompt", prompt),
        checked_count("max_new_tokens", max_new_tokens, least=0),
    )
    period, tree_width = (
        checked_count("period", period, least=2),
        checked_count("tree_width", tree_width, least=1),
    )
    threshold, temperature = (
        checked_number("threshold", threshold, least=0, most=1),
        checked_number("temperature", temperature, above=0),
    )
    eos = None if eos is None else checked_count("eos", eos, least=0)
    density = (
        None
        if sparse_density is None
        else checked_number("sparse_density", sparse_density, above=0)
    )
    models = _Models(sparse_step, full_score, rollback, period, tree_width)
    tokens, lengths, state = [], [], None
    if max_new_tokens:
        logits, state = models.score(None, prompt)
        tokens = [int(logits[-1].argmax())]
    while len(tokens) < max_new_tokens and (eos is None or eos not in tokens):
        block, drafted = models.draft(state, tokens[-1])
        logits, scored = models.score(
            models.before(state, drafted), block if tree_width > 1 else block[0]
        )
        rows = logits.reshape(*block.shape, -1)
        accepted = accept_prefix(
            block[:, 1:], rows[:, :-1], threshold=threshold, temperature=temperature
        )
        branch = int(accepted.argmax())
        kept = int(accepted[branch]) + 1
        state = models.after(state, scored, block, branch, kept)
        tokens += [*map(int, block[branch, 1:kept]), int(rows[branch, kept - 1].argmax())]
        lengths.append(kept)
        if callback is not None and callback(_cut(tokens, max_new_tokens, eos)) is True:
            break
    lengths = np.array(lengths, np.int64)
    mean = float(lengths.mean()) if lengths.size else math.nan
    return CorrectedDecode(
        _cut(tokens, max_new_tokens, eos),
        int((lengths < period).sum()),
        lengths.size,
        mean,
        None if density is None else ((period - 1) * density + 1) / mean,
        lengths,
    )


def _cut(tokens, most, eos):
    """The first tokens, as an array: at most `most`, and none after the first `eos`."""
    tokens = tokens[:most]
    return np.array(tokens[: tokens.index(eos) + 1] if eos in tokens else tokens, np.int64)


class _Models:
    """The two models of a decoding with its block, and what becomes of their state."""

    def __init__(self, sparse_step, full_score, rollback, period, width):
        self.sparse_step, self.full_score, self.rollback, self.period, self.width = (
            sparse_step,
            full_score,
            rollback,
            period,
            width,
        )

    def score(self, state, tokens):
        """Logits of tokens by the whole model, checked, and its state."""
        logits, state = _pair("full_score", self.full_score(state, tokens.copy()))
        return _checked_logits("full_score", logits, tokens.shape), state

    def draft(self, state, token):
        """(branches, period) tokens that start with `token`, and the state after the last step of
        the only branch."""
        branches = [(0.0, [token], state)]
        for _ in range(self.period - 1):
            longer = []
            for total, tokens, before in branches:
                logits, after = _pair("sparse_step", self.sparse_step(before, tokens[-1]))
                logits = _checked_logits("sparse_step", logits, ())
                longer += [
                    (total + gain, [*tokens, following], after)
                    for gain, following in self._best(logits)
                ]
            branches = sorted(longer, key=lambda branch: -branch[0])[
                : self.width
            ]  # stable: of equal ones the first stay
        return np.array([tokens for _, tokens, _ in branches], np.int64), branches[0][2]

    def _best(self, logits):
        """(log-probability, token) of the `width` tokens that the logits favour; of the only one
        the probability does not matter."""
        if self.width == 1:
            return [(0.0, int(logits.argmax()))]
        xp, (logits,) = on_device(logits=logits)
        with np.errstate(all="ignore"):
            relative = (logits - logits.max()).astype(np.float64)
            best = _largest(xp, xp.exp(relative)[None], min(self.width, len(logits)))[0]
            gains = relative[best] - xp.log(xp.exp(relative).sum())
        return list(zip(gains.tolist(), best.tolist(), strict=True))

    def before(self, state, drafted):
        """The state from before the block."""
        return (
            self.rollback(drafted, self.period - 1) if self.rollback and self.width == 1 else state
        )

    def after(self, state, scored, block, branch, kept):
        """The state that has read the first `kept` tokens of a branch, as the whole model reads
        them."""
        rejected = self.period - kept
        if self.width > 1 and self.rollback:
            return self.rollback(scored, rejected, branch)
        if self.width == 1 and not rejected:
            return scored
        if self.rollback:
            return self.rollback(scored, rejected)
        return self.score(state, block[branch, :kept])[1]


@routine
def accept_prefix(tokens, full_logits, *, threshold, temperature=0.6):
    """How many tokens at the beginning of a draft have at least the probability `threshold`.

    Parameters
    ----------
    tokens : (..., n) array of integers
        The draft; it may be a NumPy array beside logits on a GPU.
    full_logits : (..., n, vocab) array, float32 or float64
        Row i scores the candidates for token i.
    threshold : float
        In [0, 1].
    temperature : float
        The probabilities are softmax(full_logits / temperature).

    Returns
    -------
    int, or (...) array of int64 where tokens have leading axes
        The number of tokens before the first whose probability is below the threshold, n if there
        is none.

    Raises
    ------
    TypeError
        Other dtypes, arrays on different devices.
    ValueError
        Shapes that do not fit, tokens outside of [0, vocab), a threshold outside of [0, 1], a
        temperature that is not positive, logits that are not finite.

    Notes
    -----
    Logarithms of probabilities are compared, which are off by a few eps · (1 + \\|log q\\| +
    \\|logit\\| / temperature). Memory: a number for each row; the softmax is not stored.

    References
    ----------
    Y. Zhou, Z. Chen, Z. Xu, V. Lin, B. Chen, "Sirius: Contextual Sparsity with Correction for
    Efficient LLMs", NeurIPS 2024.

    Examples
    --------
    >>> q = np.array([[0.9, 0.1], [0.5, 0.5], [0.95, 0.05], [0.01, 0.99]])
    >>> accept_prefix(np.array([0, 0, 1, 1]), np.log(q), threshold=0.1, temperature=1.0)
    2
    """
    _, (tokens,) = on_device(tokens=tokens)
    xp, (full_logits,) = on_device(full_logits=full_logits)
    if tokens is None or full_logits is None:
        raise TypeError(
            f"{'tokens' if tokens is None else 'full_logits'} must be a NumPy or CuPy array (got "
            f"None)"
        )
    dtype = float_dtype(full_logits=full_logits)
    threshold, temperature = (
        checked_number("threshold", threshold, least=0, most=1),
        checked_number("temperature", temperature, above=0),
    )
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"tokens must have a dtype of integers (got {tokens.dtype})")
    if (
        not tokens.ndim
        or full_logits.ndim != tokens.ndim + 1
        or full_logits.shape[:-1] != tokens.shape
    ):
        raise ValueError(
            f"full_logits must have shape (..., n, vocab) for tokens of shape (..., n) (got "
            f"{full_logits.shape}, tokens have "
            f"{tokens.shape})"
        )
    vocab = full_logits.shape[-1]
    if tokens.size and not (0 <= int(tokens.min()) and int(tokens.max()) < vocab):
        raise ValueError(
            f"tokens must lie in [0, {vocab}) (got {int(tokens.min())} to {int(tokens.max())})"
        )
    if device_of(tokens) is CPU:
        tokens = xp.asarray(tokens)
    on_device(tokens=tokens, full_logits=full_logits)
    log_q, limits = xp.empty(tokens.size, dtype), np.finfo(dtype)
    if tokens.size:
        log_probabilities(
            xp.ascontiguousarray(full_logits.reshape(tokens.size, vocab)),
            xp.ascontiguousarray(tokens.reshape(-1).astype(np.int64)),
            log_q,
            min(max(temperature, float(limits.tiny)), float(limits.max) / 4),
        )
    if bool(xp.isnan(log_q).any()):
        raise ValueError("full_logits must be finite (got NaN or infinity)")
    fits = log_q.reshape(tokens.shape) >= (math.log(threshold) if threshold else -math.inf)
    accepted = xp.cumprod(fits.astype(np.int64), axis=-1).sum(axis=-1)
    return int(accepted) if tokens.ndim == 1 else accepted


# --- checks ---------------------------------------------------------------------------------------


def _check_layer(x, w_gate, w_up, **w_down):
    """The dtypes and shapes of a layer and of x."""
    _check_weights(w_gate, w_up, **w_down)
    if x is None:
        raise TypeError("x must be a NumPy or CuPy array (got None)")
    float_dtype(x=x, w_gate=w_gate)
    if not x.ndim or x.shape[-1] != w_gate.shape[1]:
        raise ValueError(f"x must have shape (..., {w_gate.shape[1]}) (got {x.shape})")


def _check_weights(w_gate, w_up, **w_down):
    """The dtypes and shapes of a layer, the last of which is `w_down` or `w_down_t`."""
    arrays = {"w_gate": w_gate, "w_up": w_up} | w_down
    for name, array in arrays.items():
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    float_dtype(**arrays)
    if w_gate.ndim != 2:
        raise ValueError(f"w_gate must have shape (m, d) (got {w_gate.shape})")
    if w_up.shape != w_gate.shape:
        raise ValueError(f"w_up must have the shape of w_gate, {w_gate.shape} (got {w_up.shape})")
    shape = w_gate.shape[::-1] if name == "w_down" else w_gate.shape
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} (got {array.shape})")


def _check_states(h):
    """The number of neurons."""
    if h is None:
        raise TypeError("h must be a NumPy or CuPy array (got None)")
    float_dtype(h=h)
    if h.ndim != 2:
        raise ValueError(f"h must have shape (t, m) (got {h.shape})")
    return h.shape[1]


def _kept_count(density, m):
    density = checked_number("density", density, above=0, most=1)
    k = math.floor(density * m)
    if not k:
        raise ValueError(
            f"density must keep at least one neuron, floor(density * m) >= 1 (got "
            f"density={density}, m={m})"
        )
    return k


def _checked_tokens(name, tokens):
    if not isinstance(tokens, (list, tuple, np.ndarray)):
        raise TypeError(f"{name} must be a sequence of integers (got {type(tokens).__name__})")
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or not tokens.size:
        raise ValueError(
            f"{name} must hold at least one token, in one dimension (got shape {tokens.shape})"
        )
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers (got dtype {tokens.dtype})")
    return tokens.astype(np.int64)


def _pair(name, result) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name} must return (logits, state) (got {type(result).__name__})")
    return result


def _checked_logits(name, logits, lead):
    xp, (logits,) = on_device(**{f"logits of {name}": logits})
    if logits is None:
        raise TypeError(f"{name} must return logits (got None)")
    float_dtype(**{f"logits of {name}": logits})
    if logits.ndim != len(lead) + 1 or logits.shape[:-1] != lead or not logits.shape[-1]:
        raise ValueError(
            f"{name} must return logits of shape ({', '.join(map(str, (*lead, 'vocab')))}) (got "
            f"{logits.shape})"
        )
    if not bool(xp.isfinite(logits).all()):
        raise ValueError(f"{name} must return finite logits (got NaN or infinity)")
    return logits


# --- activations ----------------------------------------------------------------------------------


def _silu(xp, z):
    return z * sigmoid(z)


def _relu(xp, z):
    return xp.maximum(z, 0)


def _gelu(xp, z):
    return 0.5 * z * (1 + erf(z * math.sqrt(0.5)))


def _gelu_tanh(xp, z):
    return 0.5 * z * (1 + tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)))


_FUNCTIONS = {"silu": _silu, "relu": _relu, "gelu": _gelu, "gelu_tanh": _gelu_tanh}


def _activation(name):
    return _FUNCTIONS[checked_choice("activation", name, _FUNCTIONS)]
