"""Clarification questions: which of a fixed set of questions to ask about a short query that
failed.

Words and pairs of words are hashed to rows of a table; the mean of a query's rows, refined by a
small network, is compared with a vector of each question. The task is that of M. M. Imran, K.
Damevski, "Using clarification questions to improve software developers' Web search", Information
and Software Technology, 2022 (arXiv 2207.12768). The paper's own network is not published; this one
is a stand-in, trained by the losses of `ranking_loss`.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np

from ...arguments import (
    RNG,
    Array,
    Bool,
    Float,
    Integer,
    Real,
    at_least,
    finite,
    interval,
    positive,
    within,
)
from ...dispatch import check_one_device, namespace_of
from ...model import model
from ...nn import Adam
from ...progress import progress_bar
from ...random import generator_from_rng
from .._ranking_losses.lists import MAX_RELEVANCE, Lists, list_losses, lists_of
from .._ranking_losses.routines import LossName
from .._topk import topk_inner_product
from .hashing import MAX_BUCKETS
from .kernels import lazy_adam_rows
from .network import encode, encode_vjp, gathered, question_vectors

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's usual constants
CHUNK = 1024  # queries that are scored at once


class _Training(NamedTuple):
    """What all steps of a training run share."""

    xp: Any
    rng: np.random.Generator
    features: Array | None
    adam: Adam
    moments: list


@model(fitted="params_")
class ClarificationRanker:
    """Scores of a fixed set of questions for a query, learned from labeled queries.

    Parameters
    ----------
    dim, hidden : int >= 1, default 64
        Lengths of the vectors of queries and questions, and of the hidden layer.
    n_buckets : int in [1, 2147483647], default 16384
        Rows of the table: the `n_buckets` of :func:`hash_features`.
    loss : {"pointwise", "hinge", "ranknet", "listnet", "lambdarank"}, default "listnet"
        See :func:`ranking_loss`.
    n_epochs : int >= 1, default 30
    batch_size : int >= 1, default 64
    learning_rate : float > 0, default 0.005
    dropout : float in [0, 1), default 0.0
        Share of the entries of a query's mean that are left out in training.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the initial parameters, the order of the queries and the entries to leave out.

    Attributes
    ----------
    loss_curve_ : list of float
        Mean loss of every epoch.
    params_ : dict of str to array
        "table", "w1", "b1", "w2", "b2", "questions", and "features" if there were any. float32.

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
    >>> values, offsets = hash_features(np.array([1, 2, 1, 3]), np.array([0, 2, 4]))
    >>> ranker = ClarificationRanker(dim=8, hidden=8, rng=0).fit(
    ...     values, offsets, np.array([[1, 0, 0], [0, 0, 1]])
    ... )
    >>> ranker.recommend(values, offsets, n=1)[0]
    array([[0],
           [2]])
    """

    def __init__(
        self,
        dim: Annotated[int, at_least(1)] = 64,
        hidden: Annotated[int, at_least(1)] = 64,
        n_buckets: Annotated[int, within(1, MAX_BUCKETS)] = 2**14,
        loss: LossName = "listnet",
        n_epochs: Annotated[int, at_least(1)] = 30,
        batch_size: Annotated[int, at_least(1)] = 64,
        learning_rate: Annotated[float, positive] = 5e-3,
        dropout: Annotated[float, interval("[0, 1)")] = 0.0,
        rng: RNG = None,
    ) -> None:
        self.dim, self.hidden, self.n_buckets, self.loss = dim, hidden, n_buckets, loss
        self.n_epochs, self.batch_size, self.learning_rate = n_epochs, batch_size, learning_rate
        self.dropout, self.rng = dropout, rng

    def fit(
        self,
        query_values: Integer[Array, "n"],
        query_offsets: Integer[Array, "n_queries+1"],
        relevance: Real[Array, "n_queries n_questions"] | Bool[Array, "n_queries n_questions"],
        *,
        question_features: Float[Array, "n_questions n_features", finite] | None = None,
        callback: Callable[[int, float], bool | None] | None = None,
        progress: bool = False,
    ) -> "ClarificationRanker":
        """Learn from labeled queries.

        Parameters
        ----------
        query_values : (n,) array of integers
        query_offsets : (n_queries+1,) array of integers
            What :func:`hash_features` returns.
        relevance : (n_queries, n_questions) array of float32, float64 or integers or (n_queries, n_questions) array of bool
            Of each question for each query, at least 0. Queries without a relevant question are
            left out.
        question_features : (n_questions, n_features) array of float32 or float64, finite, optional
        callback : callable, optional
            ``callback(epoch, loss)`` after every epoch; training ends when it returns True.
        progress : bool, default False
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
            Values outside of the table, offsets that do not ascend within the values, shapes that
            do not fit, numbers that are not finite, no query with a relevant question.
        """  # noqa: E501
        xp = namespace_of(relevance)
        values, offsets = self._checked_queries(query_values, query_offsets)
        kept = self._answered(relevance)
        values, offsets = gathered(xp, values, offsets, kept)
        relevance, features = relevance[kept].astype(np.float32), question_features
        if features is not None:
            features = xp.ascontiguousarray(features.astype(np.float32))
        rng = generator_from_rng(self.rng)
        params = self._initial(xp, rng, relevance.shape[1], features)
        trained = [p for name, p in params.items() if name != "table"]
        state = _Training(
            xp,
            rng,
            features,
            Adam(trained, learning_rate=self.learning_rate),
            [xp.zeros(params["table"].shape, np.float32) for _ in range(2)],
        )
        curve, bar = [], progress_bar(self.n_epochs, "epochs") if progress else None
        try:
            for epoch in range(self.n_epochs):
                curve.append(self._epoch(params, state, values, offsets, relevance))
                if bar is not None:
                    bar.update(1)
                if callback is not None and callback(epoch, curve[-1]) is True:
                    break
        finally:
            if bar is not None:
                bar.close()
        self.params_, self.loss_curve_ = params, curve
        self._vectors = question_vectors(params, features)
        return self

    def decision_function(
        self, query_values: Integer[Array, "n"], query_offsets: Integer[Array, "n_queries+1"]
    ) -> Array:
        """Scores of all questions.

        Parameters
        ----------
        query_values : (n,) array of integers
        query_offsets : (n_queries+1,) array of integers
            As in `fit`.

        Returns
        -------
        (n_queries, n_questions) array of float32

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError, ValueError
            As in `fit`.
        """
        return self._encoded(query_values, query_offsets) @ self._vectors.T

    def recommend(
        self,
        query_values: Integer[Array, "n"],
        query_offsets: Integer[Array, "n_queries+1"],
        n: Annotated[int, at_least(1)] = 3,
    ) -> tuple[Array, Array]:
        """The n best questions, best first.

        Parameters
        ----------
        query_values : (n,) array of integers
        query_offsets : (n_queries+1,) array of integers
            As in `fit`.
        n : int >= 1, default 3
            At most the number of questions.

        Returns
        -------
        ids : (n_queries, n) array of int64
            Ties by the smaller number.
        scores : (n_queries, n) array of float32

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError, ValueError
            As in `fit`; n out of range.
        """
        if n > len(self._vectors):
            raise ValueError(f"n must be <= {len(self._vectors)}, the questions (got {n})")
        best = topk_inner_product(self._encoded(query_values, query_offsets), self._vectors, n)
        return best.indices, best.scores

    def _encoded(self, query_values, query_offsets):
        check_one_device(query_values=query_values, params_=self.params_["table"])
        values, offsets = self._checked_queries(query_values, query_offsets)
        xp = namespace_of(values)
        h = xp.empty((len(offsets) - 1, self.dim), np.float32)
        for first in range(0, len(h), CHUNK):
            part = xp.ascontiguousarray(offsets[first : first + CHUNK + 1])
            h[first : first + CHUNK] = encode(xp, self.params_, values, part)[0]
        return h

    # --- checks

    def _checked_queries(self, values, offsets):
        xp, n = namespace_of(values), len(values)
        for name, array, largest in (
            ("query_values", values, self.n_buckets - 1),
            ("query_offsets", offsets, n),
        ):
            low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
            if not 0 <= low <= high <= largest:
                raise ValueError(f"{name} must be in [0, {largest}] (got {low} … {high})")
        if not len(offsets) or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(
                f"query_offsets must ascend, and hold one more than there are queries (got "
                f"{len(offsets)} offsets)"
            )
        return tuple(xp.ascontiguousarray(a.astype(np.int64)) for a in (values, offsets))

    def _answered(self, relevance):
        """The queries that have a relevant question."""
        xp, relevance = namespace_of(relevance), relevance.astype(np.float32)
        lists_of(
            xp.zeros(relevance.shape, np.float32),
            relevance,
            max_relevance=MAX_RELEVANCE.get(self.loss),
        )
        kept = xp.nonzero((relevance > 0).any(1))[0]
        if not len(kept):
            raise ValueError(
                "relevance must be above 0 somewhere (got no query with a relevant question)"
            )
        return kept

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

    def _epoch(self, params, state, values, offsets, relevance):
        """One pass over the queries in random order; their mean loss."""
        xp, count, total = state.xp, len(relevance), 0.0
        order = xp.asarray(state.rng.permutation(count))
        values, offsets = gathered(xp, values, offsets, order)
        relevance = relevance[order]
        for first in range(0, count, self.batch_size):
            batch = slice(first, first + self.batch_size)
            total += self._step(
                params,
                state,
                values,
                xp.ascontiguousarray(offsets[first : first + self.batch_size + 1]),
                relevance[batch],
            )
        return total / count

    def _step(self, params, state, values, offsets, relevance):
        """Forward, backward and update on one batch; the sum of its losses."""
        xp, (count, questions) = state.xp, relevance.shape
        kept = None
        if self.dropout:
            kept = (state.rng.random((count, self.dim)) >= self.dropout) / (1 - self.dropout)
            kept = xp.asarray(kept.astype(np.float32))
        h, tape = encode(xp, params, values, offsets, kept)
        vectors = question_vectors(params, state.features)
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
        grad_vectors, grads, grad_mean = grad.T @ h, *encode_vjp(grad @ vectors, tape, kept)
        grads.append(grad_vectors)
        if state.features is not None:
            grads.append(state.features.T @ grad_vectors)
        state.adam.step(grads)
        self._update_rows(params["table"], state, values, offsets, grad_mean)
        return total

    def _update_rows(self, table, state, values, offsets, grad_mean):
        """A step of Adam on the rows that the batch touches; places of one row are summed in their
        order."""
        xp, first, last = state.xp, int(offsets[0]), int(offsets[-1])
        if first == last:
            return
        buckets = values[first:last]
        # NumPy sorts short integers by their digits
        short = buckets.astype(np.uint16) if len(table) <= 1 << 16 else buckets
        order = xp.argsort(short, kind="stable")
        buckets = buckets[order]
        bags = xp.searchsorted(offsets[1:], first + order, side="right").astype(np.int64)
        new = xp.ones(len(buckets), bool)
        new[1:] = buckets[1:] != buckets[:-1]
        starts = xp.nonzero(new)[0].astype(np.int64)
        ends = xp.concatenate([starts, xp.full(1, len(buckets), np.int64)])
        weights = (1 / xp.maximum(offsets[1:] - offsets[:-1], 1)).astype(np.float32)
        step = state.adam.n_steps
        root = math.sqrt(1 - BETA2**step)
        lazy_adam_rows(
            buckets[starts],
            ends,
            bags,
            weights,
            xp.ascontiguousarray(grad_mean),
            table,
            *state.moments,
            BETA1,
            BETA2,
            self.learning_rate / (1 - BETA1**step) * root,
            EPS * root,
        )
