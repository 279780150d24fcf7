"""Decoding with a sparse model whose tokens the whole model checks and mends, block by block."""

import math
from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import Annotated, Any, NamedTuple

import numpy as np

from ...arguments import (
    Array,
    Float,
    Integer,
    any_device,
    at_least,
    checked,
    finite,
    interval,
    nonempty,
    nonnegative,
    positive,
    within,
)
from ...dispatch import CPU, device_of, namespace_of, routine
from ...progress import progress_bar
from .kernels import log_probabilities
from .layers import largest


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


@routine(host_only="it calls two models, whose logits may live anywhere")
def corrected_decode(
    sparse_step: Callable[[Any, int], tuple[Array, Any]],
    full_score: Callable[[Any, Array], tuple[Array, Any]],
    prompt: Integer[Array, "n", nonempty],
    *,
    max_new_tokens: Annotated[int, nonnegative],
    period: Annotated[int, at_least(2)] = 16,
    threshold: Annotated[float, within(0, 1)] = 0.1,
    temperature: Annotated[float, positive] = 0.6,
    tree_width: Annotated[int, at_least(1)] = 1,
    eos: Annotated[int, nonnegative] | None = None,
    sparse_density: Annotated[float, positive] | None = None,
    rollback: Callable[..., Any] | None = None,
    callback: Callable[[Array], bool | None] | None = None,
    progress: bool = False,
) -> CorrectedDecode:
    """Decode with a sparse model, and let the whole model check and mend every block of tokens.

    A block is the last token, which is the whole model's, and period - 1 tokens that the sparse
    model adds greedily. The whole model scores the block in one call, which also rewrites the
    block's part of the state. The longest prefix of tokens to which it gives at least the
    probability `threshold` is kept, and the whole model's favorite follows it.

    Parameters
    ----------
    sparse_step : callable
        ``sparse_step(state, token)`` → ``(logits, state)``: the (vocab,) scores of the token after
        `token`, and the state that has read `token`, an int.
    full_score : callable
        ``full_score(state, tokens)`` → ``(logits, state)``: row i of the (len(tokens), vocab)
        logits scores the token after ``tokens[i]``, an int64 array. The first call is
        ``full_score(None, prompt)``.
    prompt : (n,) array of integers, without an axis of length zero
    max_new_tokens : int >= 0
        How many tokens to make.
    period : int >= 2, default 16
        Tokens in a block, at least 2.
    threshold : float in [0, 1], default 0.1
        Smallest probability of a token that is kept; 0 keeps every token, 1 leaves the
        whole model's greedy decoding.
    temperature : float > 0, default 0.6
        Of the softmax that gives these probabilities.
    tree_width : int >= 1, default 1
        Continuations of a block that the sparse model carries along, those of the largest product
        of probabilities. Above 1, `full_score` gets a (branches, period) array of tokens, rows that
        start with the same token and do not see each other, and returns (branches, period, vocab)
        logits; the row of which most is accepted wins, of equal ones that of the larger product.
    eos : int >= 0, optional
        Token that ends the text; it is the last of the result.
    sparse_density : float > 0, optional
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
    progress : bool, default False
        Show the tokens; needs tqdm.

    Returns
    -------
    CorrectedDecode
        The tokens, and how many were accepted.

    Raises
    ------
    TypeError
        Arguments that are not callable, tokens that are not integers, logits that are not arrays of
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
    models = _Models(sparse_step, full_score, rollback, period, tree_width)
    tokens, lengths, state = [], [], None
    if max_new_tokens:
        logits, state = models.score(None, prompt.astype(np.int64))
        tokens = [int(logits[-1].argmax())]
    with closing(progress_bar(max_new_tokens, "tokens")) if progress else nullcontext() as bar:
        while len(tokens) < max_new_tokens and (eos is None or eos not in tokens):
            block, drafted = models.draft(state, tokens[-1])
            before = models.before(state, drafted)
            logits, scored = models.score(before, block if tree_width > 1 else block[0])
            rows = logits.reshape(*block.shape, -1)
            accepted = accept_prefix(
                block[:, 1:], rows[:, :-1], threshold=threshold, temperature=temperature
            )
            branch = int(accepted.argmax())
            kept = int(accepted[branch]) + 1
            state = models.after(state, scored, block, branch, kept)
            tokens += [*map(int, block[branch, 1:kept]), int(rows[branch, kept - 1].argmax())]
            lengths.append(kept)
            if bar is not None:
                bar.update(kept)
            if callback is not None and callback(_cut(tokens, max_new_tokens, eos)) is True:
                break
    return _decoded(_cut(tokens, max_new_tokens, eos), lengths, period, sparse_density)


def _decoded(tokens, lengths, period, sparse_density):
    """The result, from the lengths of the advances."""
    lengths = np.array(lengths, np.int64)
    mean = float(lengths.mean()) if lengths.size else math.nan
    density = None if sparse_density is None else ((period - 1) * sparse_density + 1) / mean
    n_corrections = int((lengths < period).sum())
    return CorrectedDecode(tokens, n_corrections, lengths.size, mean, density, lengths)


def _cut(tokens, most, eos):
    """The first tokens, as an array: at most `most`, and none after the first `eos`."""
    tokens = tokens[:most]
    return np.array(tokens[: tokens.index(eos) + 1] if eos in tokens else tokens, np.int64)


class _Models:
    """The two models of a decoding with its block, and what becomes of their state."""

    def __init__(self, sparse_step, full_score, rollback, period, width):
        self.sparse_step, self.full_score, self.rollback = sparse_step, full_score, rollback
        self.period, self.width = period, width

    def score(self, state, tokens):
        """Logits of tokens by the whole model, checked, and its state."""
        logits, state = _pair("full_score", self.full_score(state, tokens.copy()))
        logits = _checked_score(logits)
        if logits.shape[:-1] != tokens.shape:
            form = f"({', '.join(map(str, tokens.shape))}, vocab)"
            raise ValueError(f"logits_of_full_score must have shape {form} (got {logits.shape})")
        return logits, state

    def draft(self, state, token):
        """(branches, period) tokens that start with `token`, and the state after the last step of
        the only branch."""
        branches = [(0.0, [token], state)]
        for _ in range(self.period - 1):
            longer = []
            for total, tokens, before in branches:
                logits, after = _pair("sparse_step", self.sparse_step(before, tokens[-1]))
                logits = _checked_step(logits)
                longer += [
                    (total + gain, [*tokens, following], after)
                    for gain, following in self._best(logits)
                ]
            # stable: of equal ones the first stay
            branches = sorted(longer, key=lambda branch: -branch[0])[: self.width]
        return np.array([tokens for _, tokens, _ in branches], np.int64), branches[0][2]

    def _best(self, logits):
        """(log-probability, token) of the `width` tokens that the logits favor; of the only one
        the probability does not matter."""
        if self.width == 1:
            return [(0.0, int(logits.argmax()))]
        xp = namespace_of(logits)
        with np.errstate(all="ignore"):
            relative = (logits - logits.max()).astype(np.float64)
            best = largest(xp.exp(relative)[None], min(self.width, len(logits)))[0]
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
def accept_prefix(
    tokens: Integer[Array, "*batch n", any_device, interval("[0, vocab)")],
    full_logits: Float[Array, "*batch n vocab"],
    *,
    threshold: Annotated[float, within(0, 1)],
    temperature: Annotated[float, positive] = 0.6,
) -> int | Array:
    """How many tokens at the beginning of a draft have at least the probability `threshold`.

    Parameters
    ----------
    tokens : (..., n) array of integers, in [0, vocab)
        The draft; it may be a NumPy array where the logits are on a GPU.
    full_logits : (..., n, vocab) array of float32 or float64
        Row i scores the candidates for token i.
    threshold : float in [0, 1]
        The smallest probability of an accepted token.
    temperature : float > 0, default 0.6
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
    xp, dtype = namespace_of(full_logits), full_logits.dtype
    here, there = device_of(full_logits), device_of(tokens)
    if there is not CPU and there is not here:
        raise TypeError(f"tokens must live on {here.name} like full_logits (got {there.name})")
    tokens, vocab = xp.asarray(tokens), full_logits.shape[-1]
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


# --- what the models return -----------------------------------------------------------------------


@checked
def _checked_step(logits_of_sparse_step: Float[Array, "vocab", nonempty, finite]):
    return logits_of_sparse_step


@checked
def _checked_score(logits_of_full_score: Float[Array, "*batch vocab", nonempty, finite]):
    return logits_of_full_score


def _pair(name, result) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name} must return (logits, state) (got {type(result).__name__})")
    return result
