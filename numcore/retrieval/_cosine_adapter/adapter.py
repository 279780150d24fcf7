"""From the cosines of search results to relevance, by a map that each query has of its own: then
one threshold cuts all lists.

How large the cosine of a relevant result is differs from query to query. A small network reads the
query's embedding and gives the two or three parameters of a non-decreasing map from cosine to
relevance, so that the order of a query's results stays and only the place changes where its list
ends. The network runs once for each query; map, loss and gradients of its results are one pass over
them. N. Rossi, J. Lin, F. Liu, Z. Yang, T. Lee, A. Magnani, C. Liao, "Relevance Filtering for
Embedding-based Retrieval", CIKM 2024.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

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
    nonnegative,
    positive,
    within,
)
from ...dispatch import check_one_device, namespace_of
from ...model import model
from ...nn import Adam
from ...progress import progress_bar
from ...random import generator_from_rng
from ...special import softplus
from .._threshold import COSINES, checked_cosines, dense_offsets
from .kernels import LEAST_POWER, LINEAR, MAPPINGS, POWER, SQRT, adapter_scores
from .training import Options, Results, Training, first_weights, network


@model(fitted="weights_", features="d")
class CosineAdapter:
    """A map from cosine to relevance whose parameters depend on the query.

    Parameters
    ----------
    mapping : {"linear", "sqrt", "power", "quadratic"}, default "power"
        With u = (1 + x) / 2 for a cosine x: σ(a x + b), σ(a √u + b), σ(a u^c + b), or σ(a u² + e u
        + b), a, e >= 0, c > 0.05.
    hidden : sequence of int >= 1, default (64,)
        Sizes of the hidden layers.
    dropout : float in [0, 1), default 0.0
        Share of the hidden units that are left out in each step.
    learning_rate : float > 0, default 0.001
    n_epochs : int >= 0, default 50
    batch_size : int >= 1, default 256
        Queries of a step.
    weight_decay : float >= 0, default 0.0
        See :class:`numcore.nn.Adam`.
    validation_fraction : float in [0, 1), default 0.1
        Share of the queries whose loss says which weights are kept, and when to stop; with 0 the
        last ones are kept.
    patience : int >= 1, default 5
        Training stops after this many epochs without a better loss.
    pos_weight : float > 0, optional
        How much a relevant result counts; 1 by default.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the first weights, the queries held out, the order of queries and dropout.

    Attributes
    ----------
    weights_ : list of arrays
        w, b of each layer.
    loss_curve_, validation_curve_ : lists of float
        The mean loss in each epoch, and of the queries held out after it.

    Notes
    -----
    The loss is the binary cross-entropy of a query's results, averaged over them, then over the
    queries. The last layer starts with weights of zero and biases that give the best map that is
    the same for all queries (for "power" with c = 1, for "quadratic" with a near 0), found by 20
    Newton steps. An epoch costs O(nq d h + n) operations for n results; besides the arrays given
    and relevance as floats, memory is that of a batch of queries.

    References
    ----------
    N. Rossi et al., "Relevance Filtering for Embedding-based Retrieval", CIKM 2024; J. Platt,
    "Probabilistic outputs for support vector machines", 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.retrieval import CosineAdapter
    >>> queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> cosines, relevance = (
    ...     np.array([[0.9, 0.8, 0.7], [0.5, 0.4, 0.3]]),
    ...     np.array([[1, 1, 0], [1, 0, 0]]),
    ... )
    >>> adapter = CosineAdapter(
    ...     mapping="linear", learning_rate=0.1, n_epochs=200, validation_fraction=0, rng=0
    ... )
    >>> adapter.fit(queries, cosines, relevance).transform(queries, cosines) > 0.5
    array([[ True,  True, False],
           [ True, False, False]])
    """

    def __init__(
        self,
        *,
        mapping: Literal["linear", "sqrt", "power", "quadratic"] = "power",
        hidden: Sequence[Annotated[int, at_least(1)]] = (64,),
        dropout: Annotated[float, interval("[0, 1)")] = 0.0,
        learning_rate: Annotated[float, positive] = 1e-3,
        n_epochs: Annotated[int, nonnegative] = 50,
        batch_size: Annotated[int, at_least(1)] = 256,
        weight_decay: Annotated[float, nonnegative] = 0.0,
        validation_fraction: Annotated[float, interval("[0, 1)")] = 0.1,
        patience: Annotated[int, at_least(1)] = 5,
        pos_weight: Annotated[float, positive] | None = None,
        rng: RNG = None,
    ) -> None:
        self.mapping, self.hidden, self.dropout = mapping, hidden, dropout
        self.learning_rate, self.n_epochs, self.batch_size = learning_rate, n_epochs, batch_size
        self.weight_decay, self.validation_fraction = weight_decay, validation_fraction
        self.patience, self.pos_weight, self.rng = patience, pos_weight, rng

    # --- training

    def fit(
        self,
        query_embeddings: Float[Array, "nq d", finite],
        cosines: Float[Array, "*shape", COSINES],
        relevance: Real[Array, "*shape", within(0, 1)] | Bool[Array, "*shape"],
        *,
        offsets: Integer[Array, "nq+1"] | None = None,
        callback: Callable[[int, float], bool | None] | None = None,
        progress: bool = False,
    ) -> "CosineAdapter":
        """Learn from the results of queries that are known to be relevant or not.

        Parameters
        ----------
        query_embeddings : (nq, d) array of float32 or float64, finite
        cosines : (...) array of float32 or float64, in [-1.001, 1.001]
            (nq, c), or (n,) with `offsets`.
        relevance : (...) array of float32, float64 or integers, in [0, 1] or (...) array of bool
        offsets : (nq+1,) array of integers, optional
            The results of query i are ``cosines[offsets[i]:offsets[i + 1]]``.
        callback : callable, optional
            ``callback(epoch, loss)`` after each epoch; training ends when it returns True.
        progress : bool, default False
            Show a progress bar (needs tqdm).

        Returns
        -------
        CosineAdapter
            Itself. If training is interrupted it is as it was before.

        Raises
        ------
        ValueError
            Shapes that do not fit, numbers out of range or not finite, relevance that is 0
            everywhere or 1 everywhere.
        TypeError
            Other or mixed dtypes or devices.
        """
        data = self._results(query_embeddings, cosines, relevance, offsets)
        xp, rng, options = data.xp, generator_from_rng(self.rng), self._options()
        weights = first_weights(data, self.hidden, options, rng)
        training = Training(data, weights, options, rng)
        order = rng.permutation(xp.flatnonzero(xp.diff(data.offsets) > 0).tolist())
        order = order.astype(np.int64)
        held = round(self.validation_fraction * len(order))
        curves = self._train(training, order[:held], order[held:], callback, progress)
        self.n_features_in_, self.weights_ = data.x.shape[1], training.weights
        self.loss_curve_, self.validation_curve_ = curves
        return self

    def _train(self, training, validation, train, callback, progress):
        """Epochs until one of them is the last; losses in training and in validation."""
        curve, validation_curve, waited, best = [], [], 0, (math.inf, None)
        if len(validation):
            best = training.mean_loss(validation), [w.copy() for w in training.weights]
        adam = Adam(
            training.weights, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
        shown = progress_bar(self.n_epochs, "epochs") if progress else contextlib.nullcontext()
        with shown as bar:
            for epoch in range(self.n_epochs):
                curve.append(training.epoch(training.rng.permutation(train), adam))
                if progress:
                    bar.update(1)
                if len(validation):
                    validation_curve.append(training.mean_loss(validation))
                    better = validation_curve[-1] < best[0]
                    waited = 0 if better else waited + 1
                    if better:
                        best = validation_curve[-1], [w.copy() for w in training.weights]
                ended = callback is not None and callback(epoch, curve[-1]) is True
                if ended or waited >= self.patience:
                    break
        if len(validation):
            training.weights = best[1]
        return curve, validation_curve

    def _options(self):
        pos_weight = 1.0 if self.pos_weight is None else self.pos_weight
        code = MAPPINGS.index(self.mapping)
        return Options(code, pos_weight, self.batch_size, self.dropout)

    def _results(self, x, cosines, relevance, offsets):
        offsets = dense_offsets("cosines", cosines, offsets)
        if len(x) != len(offsets) - 1:
            raise ValueError(
                f"query_embeddings must have shape ({len(offsets) - 1}, d), as cosines say (got "
                f"{x.shape})"
            )
        if not relevance.size or float(relevance.max()) == 0 or float(relevance.min()) == 1:
            raise ValueError("relevance must not be 0 everywhere or 1 everywhere")
        xp, relevance = namespace_of(x), relevance.reshape(-1).astype(x.dtype)
        cosines, relevance = (xp.ascontiguousarray(a.reshape(-1)) for a in (cosines, relevance))
        return Results(xp, x, cosines, relevance, offsets)

    # --- use

    def parameters(self, query_embeddings: Float[Array, "nq d", finite]) -> Array:
        """The map of each query.

        Parameters
        ----------
        query_embeddings : (nq, d) array of float32 or float64, finite
            Of the dtype and width of training.

        Returns
        -------
        (nq, 2) or (nq, 3) array
            a, b, and for "power" c, for "quadratic" e.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Another width, or embeddings that are not finite.
        TypeError
            Another dtype or device.
        """
        x, xp, dtype = query_embeddings, namespace_of(query_embeddings), self.weights_[0].dtype
        check_one_device(query_embeddings=x, weights_=self.weights_[0])
        if x.dtype != dtype:
            raise TypeError(f"query_embeddings must have dtype {dtype} as in fit (got {x.dtype})")
        raw = network(xp, self.weights_, x)[0]
        result = xp.empty(raw.shape, raw.dtype)
        result[:, 0], result[:, 1] = softplus(xp.ascontiguousarray(raw[:, 0])), raw[:, 1]
        if raw.shape[1] > 2:
            smallest = LEAST_POWER if self.mapping == "power" else 0
            result[:, 2] = softplus(xp.ascontiguousarray(raw[:, 2])) + smallest
        return result

    def transform(
        self,
        query_embeddings: Float[Array, "nq d", finite],
        cosines: Float[Array, "..."],
        *,
        offsets: Integer[Array, "nq+1"] | None = None,
    ) -> Array:
        """The relevance of results.

        Parameters
        ----------
        query_embeddings : (nq, d) array of float32 or float64, finite
        cosines : (...) array of float32 or float64
            (nq, c), or (n,) with `offsets`, in [-1, 1] up to 1e-3.
        offsets : (nq+1,) array of integers, optional
            The results of query i are ``cosines[offsets[i]:offsets[i + 1]]``.

        Returns
        -------
        array of the shape and dtype of `cosines`
            Between 0 and 1; not decreasing with the cosine for one query.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Shapes that do not fit, numbers out of range or not finite.
        TypeError
            Other or mixed dtypes or devices.
        """
        xp, nq = namespace_of(cosines), len(query_embeddings)
        offsets = dense_offsets("cosines", cosines, offsets)
        if nq != len(offsets) - 1:
            raise ValueError(
                f"query_embeddings must have shape ({len(offsets) - 1}, d), as cosines say (got "
                f"{nq} rows)"
            )
        parameters = self.parameters(query_embeddings)
        scores, wrong = xp.empty(cosines.shape, cosines.dtype), xp.zeros(nq, np.int64)
        if nq:
            adapter_scores(
                parameters,
                offsets[:-1],
                offsets[1:],
                xp.ascontiguousarray(cosines).reshape(-1),
                scores.reshape(-1),
                wrong,
                MAPPINGS.index(self.mapping),
                COSINES.high,
            )
        if bool(wrong.any()):
            checked_cosines(cosines)
        return scores

    def cosine_cutoff(
        self,
        query_embeddings: Float[Array, "nq d", finite],
        threshold: Annotated[float, within(0, 1)],
    ) -> Array:
        """The cosine from which on a query's results have at least a relevance: a limit for the
        search engine.

        Parameters
        ----------
        query_embeddings : (nq, d) array of float32 or float64, finite
        threshold : float in [0, 1]

        Returns
        -------
        (nq,) array
            -inf where all cosines from -1 on suffice, inf where none up to 1 does.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            `threshold` outside [0, 1], another width, or embeddings that are not finite.
        TypeError
            Another dtype or device.
        """
        parameters = self.parameters(query_embeddings)
        xp, code = namespace_of(parameters), MAPPINGS.index(self.mapping)
        p = parameters.astype(np.float64)
        a, b = p[:, 0], p[:, 1]
        logit = (
            math.log(threshold) - math.log1p(-threshold)
            if 0 < threshold < 1
            else math.copysign(math.inf, threshold - 0.5)
        )
        with np.errstate(all="ignore"):
            rest = logit - b
            if code == LINEAR:
                cosine = rest / a
            elif code == SQRT:
                cosine = 2 * xp.maximum(rest / a, 0) ** 2 - 1
            elif code == POWER:
                cosine = 2 * xp.maximum(rest / a, 0) ** (1 / p[:, 2]) - 1
            else:
                e = p[:, 2]
                cosine = (
                    4 * xp.maximum(rest, 0) / (e + xp.sqrt(e * e + 4 * a * xp.maximum(rest, 0))) - 1
                )
        reachable = rest if code != LINEAR else cosine + 1
        cosine = xp.where(reachable <= 0, -math.inf, xp.where(cosine <= 1, cosine, math.inf))
        return cosine.astype(parameters.dtype)
