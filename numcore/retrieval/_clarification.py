"""Clarification questions: which of a fixed set of questions to ask about a short query that
failed.

Words and pairs of words are hashed to rows of a table; the mean of a query's rows, refined by a
small network, is compared with a vector of each question. The task is that of M. M. Imran, K.
Damevski, "Using clarification questions to improve software developers' Web search", Information
and Software Technology, 2022 (arXiv 2207.12768); hashing: K. Weinberger et al., "Feature hashing
for large scale multitask learning", ICML 2009. The paper's own network is not published; this one
is a stand-in, trained by the losses of `ranking_loss`.
"""

import math

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..nn import dense, dense_vjp
from ..nn._optim import Adam
from ..progress import progress_bar
from ._ranking_losses import LOSSES, Lists, checked_lists, list_losses
from ._topk import topk_inner_product

__all__ = ["ClarificationRanker", "hash_features"]

MOST_IDS, MOST_BUCKETS = 2**32 - 1, 2**31 - 1
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's usual constants
CHUNK = 1024  # queries that are scored at once


# --- hashing --------------------------------------------------------------------------------------


@routine
def hash_features(token_ids, lengths, *, n_buckets=2**14, ngrams=(1, 2), seed=0):
    """Sequences of neighbouring words, hashed to buckets.

    Parameters
    ----------
    token_ids : (n,) array of integers
        The words of all texts, one text after the other, as numbers from 0 to 2³² - 1.
    lengths : (Q,) array of integers
        How many words each text has; 0 is allowed.
    n_buckets : int, optional
        From 1 to 2³¹ - 1.
    ngrams : tuple of ints, optional
        How many words a sequence has: (1, 2) takes single words and pairs.
    seed : int, optional
        From 0 to 2³² - 1; another seed gives other collisions.

    Returns
    -------
    indices : (z,) array of int64
        Buckets: of each text first the sequences of the first length in `ngrams`, then those of the
        next.
    offsets : (Q + 1,) array of int64
        Text q has ``indices[offsets[q]:offsets[q + 1]]``.

    Raises
    ------
    TypeError
        Arrays that are no integers, or on different devices; options of another type.
    ValueError
        Arrays of other dimensions, negative numbers or too large ones, lengths that do not sum to
        n, options out of range.

    Notes
    -----
    ``h = mix(h xor (id + 1) 0x9e3779b9 mod 2³²)`` for one word after the other, with the finaliser
    of MurmurHash3 as `mix`: the same on all devices. O(n) for each length.

    References
    ----------
    K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg, "Feature hashing for large
    scale multitask learning", ICML 2009.

    Examples
    --------
    >>> indices, offsets = hash_features(np.array([7, 8, 7]), np.array([2, 1]), n_buckets=1000)
    >>> offsets, bool(indices[0] == indices[3])
    (array([0, 3, 4]), True)
    """
    if not isinstance(ngrams, (tuple, list)):
        raise TypeError(f"ngrams must be a tuple of integers (got {ngrams!r:.80})")
    ngrams = [checked_count("ngrams", n, least=1) for n in ngrams]
    n_buckets = checked_count("n_buckets", n_buckets, least=1, most=MOST_BUCKETS)
    seed = checked_count("seed", seed, most=MOST_IDS)
    for name, array in (("token_ids", token_ids), ("lengths", lengths)):
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    xp, (ids, lengths) = on_device(token_ids=token_ids, lengths=lengths)
    ids = _checked_integers(xp, "token_ids", ids, MOST_IDS).astype(np.uint32)
    lengths = _checked_integers(xp, "lengths", lengths, len(ids))
    if float(lengths.astype(np.float64).sum()) != len(ids):
        raise ValueError(
            f"lengths must sum to {len(ids)}, the number of token_ids (got another sum)"
        )
    ends = xp.cumsum(lengths)
    place = xp.arange(len(ids))
    text = xp.searchsorted(ends, place, side="right")
    counts = [xp.maximum(lengths - (n - 1), 0) for n in ngrams]
    offsets = xp.zeros(len(lengths) + 1, np.int64)
    offsets[1:] = xp.cumsum(sum(counts, xp.zeros(len(lengths), np.int64)))
    indices = xp.empty(int(offsets[-1]), np.int64)
    first = offsets[:-1].copy()
    for n, count in zip(ngrams, counts, strict=True):
        here = place[place + n <= ends[text]]
        hashes = xp.full(len(here), seed, np.uint32)
        for step in range(n if len(here) else 0):
            hashes = _mixed(hashes ^ (ids[here + step] + np.uint32(1)) * np.uint32(0x9E3779B9))
        where = text[here]
        indices[first[where] + here - (ends - lengths)[where]] = (
            hashes % np.uint32(n_buckets)
        ).astype(np.int64)
        first += count
    return indices, offsets


def _mixed(h):
    h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return h ^ h >> np.uint32(16)


def _checked_integers(xp, name, array, most):
    """A vector of integers in 0 ... most, as int64."""
    if array.dtype.kind not in "iu" and (array.size or array.dtype.kind != "f"):
        raise TypeError(f"{name} must be integers (got dtype {array.dtype})")
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension (got shape {array.shape})")
    if bool((array < 0).any()) or bool((array > most).any()):
        raise ValueError(
            f"{name} must satisfy 0 <= value <= {most} (got {int(array.min())} ... "
            f"{int(array.max())})"
        )
    return xp.ascontiguousarray(array.astype(np.int64))


# --- the ranker -----------------------------------------------------------------------------------


class ClarificationRanker:
    """Scores of a fixed set of questions for a query, learned from labelled queries.

    Parameters
    ----------
    dim, hidden : int, optional
        Lengths of the vectors of queries and questions, and of the hidden layer.
    n_buckets : int, optional
        Rows of the table: the `n_buckets` of :func:`hash_features`.
    loss : {"pointwise", "hinge", "ranknet", "listnet", "lambdarank"}, optional
        See :func:`ranking_loss`.
    n_epochs, batch_size : int, optional
    learning_rate : float, optional
        Above 0.
    dropout : float, optional
        Share of the entries of a query's mean that are left out in training, in [0, 1).
    rng : None, int or numpy.random.Generator, optional
        Makes the initial parameters, the order of the queries and the entries to leave out.

    Attributes
    ----------
    loss_curve_ : list of float
        Mean loss of every epoch.
    params_ : dict of str to array
        "table", "w1", "b1", "w2", "b2", "questions", and "features" if there were any. float32.

    Raises
    ------
    TypeError, ValueError
        An option of another type or outside of its range.

    Notes
    -----
    A query's vector is ``h = r + relu(r w1 + b1) w2 + b2``, r being the mean of its rows, 0 if it
    has none; question j scores ``h · u_j``, its vector u_j being free, plus ``features_j W`` if
    features are given. Only the rows that a batch touches are changed, and the running means that
    Adam keeps of other rows are not made smaller meanwhile; both are corrected for their start by
    the number of all steps. This gives other numbers than an Adam on the whole table. Runs on NumPy
    and CuPy arrays; random numbers always come from NumPy.

    References
    ----------
    M. M. Imran, K. Damevski, "Using clarification questions to improve software developers' Web
    search", Information and Software Technology, 2022 (arXiv 2207.12768).

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.retrieval import ClarificationRanker, hash_features
    >>> indices, offsets = hash_features(np.array([1, 2, 1, 3]), np.array([2, 2]))
    >>> ranker = ClarificationRanker(dim=8, hidden=8, rng=0).fit(
    ...     indices, offsets, np.array([[1, 0, 0], [0, 0, 1]])
    ... )
    >>> ranker.recommend(indices, offsets, n=1)[0]
    array([[0],
           [2]])
    """

    def __init__(
        self,
        dim=64,
        hidden=64,
        n_buckets=2**14,
        loss="listnet",
        n_epochs=30,
        batch_size=64,
        learning_rate=5e-3,
        dropout=0.0,
        rng=None,
    ):
        self.dim, self.hidden = (
            checked_count("dim", dim, least=1),
            checked_count("hidden", hidden, least=1),
        )
        self.n_buckets = checked_count("n_buckets", n_buckets, least=1, most=MOST_BUCKETS)
        self.loss = checked_choice("loss", loss, LOSSES)
        self.n_epochs, self.batch_size = (
            checked_count("n_epochs", n_epochs, least=1),
            checked_count("batch_size", batch_size, least=1),
        )
        self.learning_rate = checked_number("learning_rate", learning_rate, above=0)
        self.dropout = checked_number("dropout", dropout, least=0, below=1)
        self.rng = rng

    def fit(
        self,
        query_indices,
        query_offsets,
        relevance,
        *,
        question_features=None,
        callback=None,
        progress=False,
    ):
        """Learn from labelled queries.

        Parameters
        ----------
        query_indices, query_offsets : arrays of integers
            What :func:`hash_features` returns, of Q queries.
        relevance : (Q, C) array of integers or floats
            Of each question for each query, at least 0. Queries without a relevant question are
            left out.
        question_features : (C, F) array of float32 or float64, optional
        callback : callable, optional
            ``callback(epoch, loss)`` after every epoch; training ends when it returns True.
        progress : bool, optional
            Show a bar; needs tqdm.

        Returns
        -------
        ClarificationRanker
            The ranker itself. If training is interrupted it is as it was before.

        Raises
        ------
        TypeError
            Arrays of other dtypes or on different devices.
        ValueError
            Indices outside of the table, offsets that do not ascend within the indices, shapes that
            do not fit, values that are not finite, no query with a relevant question.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable (got {callback!r:.80})")
        progress = checked_bool("progress", progress)
        xp, indices, offsets, relevance, features = self._checked(
            query_indices, query_offsets, relevance, question_features
        )
        rng = np.random.default_rng(self.rng)
        params = self._initial(xp, rng, relevance.shape[1], features)
        trained = [p for name, p in params.items() if name != "table"]
        state = {
            "xp": xp,
            "rng": rng,
            "features": features,
            "adam": Adam(trained, learning_rate=self.learning_rate),
            "moments": [xp.zeros(params["table"].shape, np.float32) for _ in range(2)],
        }
        curve, bar = [], progress_bar(self.n_epochs, "epochs") if progress else None
        try:
            for epoch in range(self.n_epochs):
                curve.append(self._epoch(params, state, indices, offsets, relevance))
                if bar is not None:
                    bar.update(1)
                if callback is not None and callback(epoch, curve[-1]) is True:
                    break
        finally:
            if bar is not None:
                bar.close()
        self.params_, self.loss_curve_, self._vectors = params, curve, _questions(params, features)
        return self

    def decision_function(self, query_indices, query_offsets):
        """Scores of all questions.

        Parameters
        ----------
        query_indices, query_offsets : arrays of integers
            As in `fit`.

        Returns
        -------
        (Q, C) array of float32

        Raises
        ------
        AttributeError
            `fit` was not called.
        TypeError, ValueError
            As in `fit`.
        """
        return self._encoded(query_indices, query_offsets) @ self._vectors.T

    def recommend(self, query_indices, query_offsets, n=3):
        """The n best questions, best first.

        Parameters
        ----------
        query_indices, query_offsets : arrays of integers
            As in `fit`.
        n : int, optional
            From 1 to the number of questions.

        Returns
        -------
        ids : (Q, n) array of int64
            Ties by the smaller number.
        scores : (Q, n) array of float32

        Raises
        ------
        AttributeError
            `fit` was not called.
        TypeError, ValueError
            As in `fit`; n out of range.
        """
        encoded = self._encoded(query_indices, query_offsets)
        n = checked_count("n", n, least=1, most=len(self._vectors))
        best = topk_inner_product(encoded, self._vectors, n)
        return best.indices, best.scores

    def _encoded(self, query_indices, query_offsets):
        if not hasattr(self, "params_"):
            raise AttributeError("ClarificationRanker has no parameters yet: call fit first")
        xp, indices, offsets = self._checked_queries(query_indices, query_offsets)
        on_device(query_indices=indices, params_=self.params_["table"])
        h = xp.empty((len(offsets) - 1, self.dim), np.float32)
        for first in range(0, len(h), CHUNK):
            h[first : first + CHUNK] = _encode(
                xp, self.params_, indices, xp.ascontiguousarray(offsets[first : first + CHUNK + 1])
            )[0]
        return h

    # --- checks

    def _checked_queries(self, query_indices, query_offsets):
        for name, array in (("query_indices", query_indices), ("query_offsets", query_offsets)):
            if array is None:
                raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
        xp, (indices, offsets) = on_device(query_indices=query_indices, query_offsets=query_offsets)
        indices = _checked_integers(xp, "query_indices", indices, self.n_buckets - 1)
        offsets = _checked_integers(xp, "query_offsets", offsets, len(indices))
        if not len(offsets) or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(
                f"query_offsets must ascend, and hold one more than there are queries (got "
                f"{len(offsets)} offsets)"
            )
        return xp, indices, offsets

    def _checked(self, query_indices, query_offsets, relevance, features):
        xp, indices, offsets = self._checked_queries(query_indices, query_offsets)
        if relevance is None:
            raise TypeError("relevance must be a NumPy or CuPy array (got None)")
        _, (_, relevance, features) = on_device(
            query_indices=indices, relevance=relevance, question_features=features
        )
        if relevance.dtype.kind not in "iubf":
            raise TypeError(f"relevance must hold numbers (got dtype {relevance.dtype})")
        if relevance.ndim != 2 or len(relevance) != len(offsets) - 1:
            raise ValueError(
                f"relevance must have shape (Q, C) with Q={len(offsets) - 1} (got "
                f"{relevance.shape})"
            )
        most = 31 if self.loss == "lambdarank" else 1 if self.loss == "pointwise" else None
        relevance = relevance.astype(np.float32)
        checked_lists(xp.zeros(relevance.shape, np.float32), relevance, None, None, most)
        if features is not None:
            float_dtype(question_features=features)
            if features.ndim != 2 or len(features) != relevance.shape[1]:
                raise ValueError(
                    f"question_features must have shape (C, F) with C={relevance.shape[1]} (got "
                    f"{features.shape})"
                )
            if not bool(xp.isfinite(features).all()):
                raise ValueError("question_features must be finite (got nan or inf)")
            features = xp.ascontiguousarray(features.astype(np.float32))
        kept = xp.nonzero((relevance > 0).any(1))[0]
        if not len(kept):
            raise ValueError(
                "relevance must be above 0 somewhere (got no query with a relevant question)"
            )
        indices, offsets = _gathered(xp, indices, offsets, kept)
        return xp, indices, offsets, relevance[kept], features

    # --- training

    def _initial(self, xp, rng, n_questions, features):
        def normal(*shape, scale):
            return xp.asarray((scale * rng.standard_normal(shape)).astype(np.float32))

        params = {
            "table": normal(self.n_buckets, self.dim, scale=0.1),
            "w1": normal(self.dim, self.hidden, scale=math.sqrt(2 / self.dim)),
            "b1": xp.zeros(self.hidden, np.float32),
            "w2": normal(self.hidden, self.dim, scale=math.sqrt(1 / self.hidden)),
            "b2": xp.zeros(self.dim, np.float32),
            "questions": normal(n_questions, self.dim, scale=0.1),
        }
        if features is not None:
            params["features"] = normal(
                features.shape[1], self.dim, scale=0.1 / math.sqrt(max(features.shape[1], 1))
            )
        return params

    def _epoch(self, params, state, indices, offsets, relevance):
        """One pass over the queries in random order; their mean loss."""
        xp, count, total = state["xp"], len(relevance), 0.0
        order = xp.asarray(state["rng"].permutation(count))
        indices, offsets = _gathered(xp, indices, offsets, order)
        relevance = relevance[order]
        for first in range(0, count, self.batch_size):
            batch = slice(first, first + self.batch_size)
            total += self._step(
                params,
                state,
                indices,
                xp.ascontiguousarray(offsets[first : first + self.batch_size + 1]),
                relevance[batch],
            )
        return total / count

    def _step(self, params, state, indices, offsets, relevance):
        """Forward, backward and update on one batch; the sum of its losses."""
        xp, (count, questions) = state["xp"], relevance.shape
        kept = None
        if self.dropout:
            kept = (state["rng"].random((count, self.dim)) >= self.dropout) / (1 - self.dropout)
            kept = xp.asarray(kept.astype(np.float32))
        h, tape = _encode(xp, params, indices, offsets, kept)
        vectors = _questions(params, state["features"])
        lists = Lists(
            xp,
            (h @ vectors.T).reshape(-1),
            relevance.reshape(-1),
            xp.arange(count + 1) * questions,
            questions,
            None,
        )
        total, grad, _ = list_losses(lists, self.loss, 1 / count)
        grad = grad.reshape(count, questions)
        grad_vectors, grads, grad_mean = grad.T @ h, *_encode_vjp(grad @ vectors, tape, kept)
        grads.append(grad_vectors)
        if state["features"] is not None:
            grads.append(state["features"].T @ grad_vectors)
        state["adam"].step(grads)
        self._update_rows(params["table"], state, indices, offsets, grad_mean)
        return total

    def _update_rows(self, table, state, indices, offsets, grad_mean):
        """A step of Adam on the rows that the batch touches; places of one row are summed in their
        order."""
        xp, first, last = state["xp"], int(offsets[0]), int(offsets[-1])
        if first == last:
            return
        buckets = indices[first:last]
        short = (
            buckets.astype(np.uint16) if len(table) <= 1 << 16 else buckets
        )  # NumPy sorts short integers by their digits
        order = xp.argsort(short, kind="stable")
        buckets = buckets[order]
        bags = xp.searchsorted(offsets[1:], first + order, side="right").astype(np.int64)
        new = xp.ones(len(buckets), bool)
        new[1:] = buckets[1:] != buckets[:-1]
        starts = xp.nonzero(new)[0].astype(np.int64)
        ends = xp.concatenate([starts, xp.full(1, len(buckets), np.int64)])
        weights = (1 / xp.maximum(offsets[1:] - offsets[:-1], 1)).astype(np.float32)
        step = state["adam"].n_steps
        root = math.sqrt(1 - BETA2**step)
        lazy_adam_rows(
            buckets[starts],
            ends,
            bags,
            weights,
            xp.ascontiguousarray(grad_mean),
            table,
            *state["moments"],
            BETA1,
            BETA2,
            self.learning_rate / (1 - BETA1**step) * root,
            EPS * root,
        )


def _gathered(xp, indices, offsets, order):
    """The queries `order`, packed."""
    lengths = (offsets[1:] - offsets[:-1])[order]
    packed = xp.zeros(len(order) + 1, np.int64)
    packed[1:] = xp.cumsum(lengths)
    place = xp.arange(int(packed[-1]))
    query = xp.searchsorted(packed[1:], place, side="right")
    return indices[offsets[:-1][order][query] + place - packed[:-1][query]], packed


def _questions(params, features):
    return (
        params["questions"]
        if features is None
        else params["questions"] + features @ params["features"]
    )


def _encode(xp, params, indices, offsets, kept=None):
    """Vectors of queries, and what their gradient needs."""
    mean = xp.empty((len(offsets) - 1, params["table"].shape[1]), np.float32)
    bag_means(params["table"], indices, offsets, mean)
    if kept is not None:
        mean = mean * kept
    inner, first = dense(mean, params["w1"], params["b1"])
    outer, second = dense(xp.maximum(inner, 0), params["w2"], params["b2"])
    return mean + outer, (inner, first, second)


def _encode_vjp(grad, tape, kept):
    """Gradients of w1, b1, w2, b2, as a list, and of the means."""
    inner, first, second = tape
    grad_inner, grad_w2, grad_b2 = dense_vjp(grad, second)
    grad_mean, grad_w1, grad_b1 = dense_vjp(grad_inner * (inner > 0), first)
    grad_mean = grad + grad_mean
    return [grad_w1, grad_b1, grad_w2, grad_b2], grad_mean if kept is None else grad_mean * kept


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T table[v, d]; in int64 indices[z]; in int64 offsets[b+1]; out T mean[b, d]",
    split="b",
    gpu="warp",
)
def bag_means(table, indices, offsets, mean, start, stop):
    """Means of rows of a table, 0 of none."""
    for i in range(start, stop):
        row = mean[i]
        row[:] = 0
        for p in range(np.uintp(offsets[i]), np.uintp(offsets[i + 1])):
            source = table[np.uintp(indices[p])]
            for j in range(row.size):
                row[j] += source[j]
        scale = table.dtype.type(1 / max(offsets[i + 1] - offsets[i], 1))
        for j in range(row.size):
            row[j] *= scale


@kernel(
    "in int64 rows[r]; in int64 ends[r+1]; in int64 bags[z]; in T weights[b]; in T grad[b, d]; "
    "inout T table[v, d]; inout T m[v, d]; "
    "inout T s[v, d]; T beta1; T beta2; T lr; T eps; scratch T slope[d]",
    split="r",
    gpu="warp",
)
def lazy_adam_rows(
    rows, ends, bags, weights, grad, table, m, s, beta1, beta2, lr, eps, slope, start, stop
):
    """A step of Adam on different rows, from the gradients of the bags' means; place p of row i
    lies in ``bags[p]``."""
    one = table.dtype.type(1)
    for i in range(start, stop):
        slope[:] = 0
        for p in range(np.uintp(ends[i]), np.uintp(ends[i + 1])):
            bag = np.uintp(bags[p])
            source, weight = grad[bag], weights[bag]
            for j in range(slope.size):
                slope[j] += weight * source[j]
        w, mean, square = table[np.uintp(rows[i])], m[np.uintp(rows[i])], s[np.uintp(rows[i])]
        for j in range(slope.size):
            mean[j] = beta1 * mean[j] + (one - beta1) * slope[j]
        for j in range(slope.size):
            square[j] = beta2 * square[j] + (one - beta2) * (slope[j] * slope[j])
        for j in range(slope.size):
            w[j] -= lr * mean[j] / (math.sqrt(square[j]) + eps)
