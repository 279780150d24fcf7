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
import itertools
import math

import numpy as np

from ..checks import checked_bool, checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device
from ..kernel import kernel
from ..progress import progress_bar
from ..special import exp, log, log1p, softplus
from ._threshold import TOLERANCE, checked_cosines, checked_lists, checked_relevance

MAPPINGS = ("linear", "sqrt", "power", "quadratic")
LINEAR, SQRT, POWER, QUADRATIC = range(len(MAPPINGS))
LEAST_POWER = 0.05
LEAST_SLOPE = 1e-3  # of the map that training starts from
NEWTON_STEPS, HALVINGS = 20, 10
CONVERGED = 1e-8  # twice the relative decrease of the loss that is to be expected
BLOCK, LANES = (
    256,
    16,
)  # results that one loop after the other goes over, and sums that run side by side


class CosineAdapter:
    """A map from cosine to relevance whose parameters depend on the query.

    Parameters
    ----------
    mapping : {"linear", "sqrt", "power", "quadratic"}
        With u = (1 + x) / 2 for a cosine x: σ(a x + b), σ(a √u + b), σ(a u^c + b), or σ(a u² + e u
        + b), a, e >= 0, c > 0.05.
    hidden : sequence of int
        Sizes of the hidden layers.
    dropout : float
        Share of the hidden units that are left out in each step, in [0, 1).
    learning_rate : float
    n_epochs : int
    batch_size : int
        Queries of a step.
    weight_decay : float
        See :class:`numcore.nn.Adam`.
    validation_fraction : float
        Share of the queries, in [0, 1), whose loss says which weights are kept, and when to stop;
        with 0 the last ones are kept.
    patience : int
        Training stops after so many epochs without a better loss.
    pos_weight : float, optional
        How often a relevant result counts; 1 by default.
    rng : None, int or numpy.random.Generator, optional
        For the first weights, the queries held out, the order of queries and dropout.
    callback : callable, optional
        ``callback(epoch, loss)`` after each epoch; training ends when it returns True.
    progress : bool
        Show a progress bar (needs tqdm).

    Attributes
    ----------
    weights_ : list of arrays
        w, b of each layer.
    loss_curve_, validation_curve_ : lists of float
        The mean loss in each epoch, and of the queries held out after it.

    Raises
    ------
    ValueError, TypeError
        An option out of range or of another type.

    Notes
    -----
    The loss is the binary cross-entropy of a query's results, averaged over them, then over the
    queries. The last layer starts with weights of zero and biases that give the best map that is
    the same for all queries (for "power" with c = 1, for "quadratic" with a near 0), found by 20
    Newton steps. An epoch costs O(nq d h + n) operations for n results; beside the arrays given and
    relevance as floats, memory is that of a batch of queries.

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
        mapping="power",
        hidden=(64,),
        dropout=0.0,
        learning_rate=1e-3,
        n_epochs=50,
        batch_size=256,
        weight_decay=0.0,
        validation_fraction=0.1,
        patience=5,
        pos_weight=None,
        rng=None,
        callback=None,
        progress=False,
    ):
        self.mapping = checked_choice("mapping", mapping, MAPPINGS)
        if not isinstance(hidden, (tuple, list)):
            raise TypeError(f"hidden must be a sequence of integers (got {hidden!r:.80})")
        self.hidden = tuple(checked_count("hidden", size, least=1) for size in hidden)
        self.dropout = checked_number("dropout", dropout, least=0, below=1)
        self.learning_rate = checked_number("learning_rate", learning_rate, above=0)
        self.n_epochs, self.batch_size = (
            checked_count("n_epochs", n_epochs),
            checked_count("batch_size", batch_size, least=1),
        )
        self.weight_decay = checked_number("weight_decay", weight_decay, least=0)
        self.validation_fraction = checked_number(
            "validation_fraction", validation_fraction, least=0, below=1
        )
        self.patience = checked_count("patience", patience, least=1)
        self.pos_weight = (
            1.0 if pos_weight is None else checked_number("pos_weight", pos_weight, above=0)
        )
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable (got {type(callback).__name__})")
        self.rng, self.callback, self.progress = (
            np.random.default_rng(rng),
            callback,
            checked_bool("progress", progress),
        )
        self._code, self.weights_ = MAPPINGS.index(mapping), None

    # --- training

    def fit(self, query_embeddings, cosines, relevance, *, offsets=None):
        """Learn from the results of queries that are known to be relevant or not.

        Parameters
        ----------
        query_embeddings : (nq, d) array of float32 or float64
        cosines : (nq, c) array of the same dtype, or (n,) with `offsets`
            In [-1, 1] up to 1e-3.
        relevance : array of the shape of `cosines`, bool, int or float
            In [0, 1].
        offsets : (nq + 1,) array of int, optional
            The results of query i are ``cosines[offsets[i]:offsets[i + 1]]``.

        Returns
        -------
        CosineAdapter
            Itself.

        Raises
        ------
        ValueError
            Shapes that do not fit, numbers out of range or not finite, relevance that is 0
            everywhere or 1 everywhere.
        TypeError
            Other or mixed dtypes or devices.
        """
        from ..nn import Adam  # here, so that the room is imported quickly

        xp, x, cosines, offsets = self._checked(query_embeddings, cosines, offsets)
        relevance = checked_relevance(xp, cosines, relevance, "cosines")
        if not relevance.size or float(relevance.max()) == 0 or float(relevance.min()) == 1:
            raise ValueError("relevance must not be 0 everywhere or 1 everywhere")
        data = _Results(xp, x, cosines.reshape(-1), relevance.reshape(-1).astype(x.dtype), offsets)
        self.weights_ = self._first_weights(data)
        self.loss_curve_, self.validation_curve_ = [], []
        order = self.rng.permutation(xp.flatnonzero(xp.diff(offsets) > 0).tolist()).astype(np.int64)
        held = round(self.validation_fraction * len(order))
        validation, train = order[:held], order[held:]
        best, waited = (math.inf, None), 0
        if held:
            best = self._mean_loss(data, validation), [w.copy() for w in self.weights_]
        adam = Adam(self.weights_, learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        with (
            progress_bar(self.n_epochs, "epochs")
            if self.progress
            else contextlib.nullcontext() as bar
        ):
            for epoch in range(self.n_epochs):
                self.loss_curve_.append(self._epoch(data, self.rng.permutation(train), adam))
                if self.progress:
                    bar.update(1)
                if held:
                    self.validation_curve_.append(self._mean_loss(data, validation))
                    better = self.validation_curve_[-1] < best[0]
                    waited = 0 if better else waited + 1
                    if better:
                        best = self.validation_curve_[-1], [w.copy() for w in self.weights_]
                ended = (
                    self.callback is not None and self.callback(epoch, self.loss_curve_[-1]) is True
                )
                if ended or waited >= self.patience:
                    break
        if held:
            self.weights_ = best[1]
        return self

    def _first_weights(self, data):
        """Hidden layers as Kaiming He et al. start them; the last one gives all queries the map of
        `_common_map`."""
        sizes, weights = (data.x.shape[1], *self.hidden), []
        for n_in, n_out in itertools.pairwise(sizes):
            w = self.rng.standard_normal((n_in, n_out)) * math.sqrt(2 / max(n_in, 1))
            weights += [data.xp.asarray(w.astype(data.x.dtype)), data.xp.zeros(n_out, data.x.dtype)]
        start = np.asarray(_common_map(data, self._code, self.pos_weight), data.x.dtype)
        return [
            *weights,
            data.xp.zeros((sizes[-1], len(start)), data.x.dtype),
            data.xp.asarray(start),
        ]

    def _epoch(self, data, order, adam):
        from ..nn import dense_vjp

        total = 0.0
        for first in range(0, len(order), self.batch_size):
            batch = data.xp.asarray(order[first : first + self.batch_size])
            raw, caches = self._network(data.xp, data.x[batch], self.dropout)
            losses, grad = self._losses(data, batch, raw)
            total += float(losses.astype(np.float64).sum())
            grads = []
            for layer, (cache, mask) in reversed([*enumerate(caches)]):
                grad = grad if mask is None else grad * mask
                if layer:
                    grad, *more = dense_vjp(grad, cache)
                else:
                    # nobody asks for the gradient by the embeddings, which would be as dear as that
                    # by the weights
                    more = cache.x.T @ grad, grad.sum(axis=0)
                grads = [*more, *grads]
            adam.step(grads)
        return total / max(len(order), 1)

    def _network(self, xp, x, dropout=0.0):
        """The raw parameters of each query, and for each layer its cache and what its output was
        multiplied by."""
        from ..nn import dense

        caches, last = [], len(self.weights_) // 2 - 1
        for layer, (w, b) in enumerate(zip(self.weights_[::2], self.weights_[1::2], strict=True)):
            x, cache = dense(x, w, b)
            mask = None
            if layer < last:
                mask = (x > 0).astype(x.dtype)
                if dropout:
                    mask *= xp.asarray(
                        (self.rng.random(x.shape) >= dropout).astype(x.dtype)
                        / x.dtype.type(1 - dropout)
                    )
                x = x * mask
            caches.append((cache, mask))
        return x, caches

    def _losses(self, data, batch, raw):
        """(b,) losses of queries, and the gradient of their mean by the raw parameters."""
        losses, grad = (data.xp.empty(shape, raw.dtype) for shape in (len(batch), raw.shape))
        adapter_loss(
            data.xp.ascontiguousarray(raw),
            data.offsets[batch],
            data.offsets[batch + 1],
            data.cosines,
            data.relevance,
            losses,
            grad,
            self._code,
            self.pos_weight,
        )
        return losses, grad / raw.dtype.type(len(batch))

    def _mean_loss(self, data, queries):
        total = 0.0
        for first in range(0, len(queries), self.batch_size):
            batch = data.xp.asarray(queries[first : first + self.batch_size])
            losses, _ = self._losses(data, batch, self._network(data.xp, data.x[batch])[0])
            total += float(losses.astype(np.float64).sum())
        return total / len(queries)

    # --- use

    def parameters(self, query_embeddings):
        """The map of each query.

        Parameters
        ----------
        query_embeddings : (nq, d) array
            Of the dtype and width of training.

        Returns
        -------
        (nq, 2) or (nq, 3) array
            a, b, and for "power" c, for "quadratic" e.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            Another width, or embeddings that are not finite.
        TypeError
            Another dtype or device.
        """
        xp, x = self._checked_queries(query_embeddings)
        raw = self._network(xp, x)[0]
        result = xp.empty(raw.shape, raw.dtype)
        result[:, 0], result[:, 1] = softplus(xp.ascontiguousarray(raw[:, 0])), raw[:, 1]
        if raw.shape[1] > 2:
            result[:, 2] = softplus(xp.ascontiguousarray(raw[:, 2])) + (
                LEAST_POWER if self._code == POWER else 0
            )
        return result

    def transform(self, query_embeddings, cosines, *, offsets=None):
        """The relevance of results.

        Parameters
        ----------
        query_embeddings : (nq, d) array
        cosines : (nq, c) array, or (n,) with `offsets`
        offsets : (nq + 1,) array of int, optional

        Returns
        -------
        array of the shape and dtype of `cosines`
            Between 0 and 1; not decreasing with the cosine for one query.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            Shapes that do not fit, numbers out of range or not finite.
        TypeError
            Other or mixed dtypes or devices.
        """
        parameters = self.parameters(query_embeddings)
        xp, (_, cosines) = on_device(query_embeddings=parameters, cosines=cosines)
        xp, cosines, offsets = checked_lists("cosines", cosines, offsets, nan=True)
        float_dtype(query_embeddings=parameters, cosines=cosines)
        if len(parameters) != len(offsets) - 1:
            raise ValueError(
                f"query_embeddings must have shape ({len(offsets) - 1}, d), as cosines say (got "
                f"{len(parameters)} rows)"
            )
        scores, wrong = xp.empty(cosines.shape, cosines.dtype), xp.zeros(len(parameters), np.int64)
        if len(parameters):
            flat = xp.ascontiguousarray(cosines).reshape(-1)
            adapter_scores(
                parameters,
                offsets[:-1],
                offsets[1:],
                flat,
                scores.reshape(-1),
                wrong,
                self._code,
                1 + TOLERANCE,
            )
        if bool(wrong.any()):
            checked_cosines(xp, cosines)
        return scores

    def cosine_cutoff(self, query_embeddings, threshold):
        """The cosine from which on a query's results have at least a relevance: a limit for the
        search engine.

        Parameters
        ----------
        query_embeddings : (nq, d) array
        threshold : float
            In [0, 1].

        Returns
        -------
        (nq,) array
            -inf where all cosines from -1 on suffice, inf where none up to 1 does.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            `threshold` outside [0, 1], another width, or embeddings that are not finite.
        TypeError
            Another dtype or device.
        """
        threshold = checked_number("threshold", threshold, least=0, most=1)
        parameters = self.parameters(query_embeddings)
        xp, (parameters,) = on_device(parameters=parameters)
        p = parameters.astype(np.float64)
        a, b = p[:, 0], p[:, 1]
        logit = (
            math.log(threshold) - math.log1p(-threshold)
            if 0 < threshold < 1
            else math.copysign(math.inf, threshold - 0.5)
        )
        with np.errstate(all="ignore"):
            rest = logit - b
            if self._code == LINEAR:
                cosine = rest / a
            elif self._code == SQRT:
                cosine = 2 * xp.maximum(rest / a, 0) ** 2 - 1
            elif self._code == POWER:
                cosine = 2 * xp.maximum(rest / a, 0) ** (1 / p[:, 2]) - 1
            else:
                e = p[:, 2]
                cosine = (
                    4 * xp.maximum(rest, 0) / (e + xp.sqrt(e * e + 4 * a * xp.maximum(rest, 0))) - 1
                )
        reachable = rest if self._code != LINEAR else cosine + 1
        cosine = xp.where(reachable <= 0, -math.inf, xp.where(cosine <= 1, cosine, math.inf))
        return cosine.astype(parameters.dtype)

    # --- checks

    def _checked(self, query_embeddings, cosines, offsets):
        xp, (x, cosines) = on_device(query_embeddings=query_embeddings, cosines=cosines)
        xp, cosines, offsets = checked_lists("cosines", cosines, offsets)
        checked_cosines(xp, cosines)
        if x is None:
            raise TypeError("query_embeddings must be a NumPy or CuPy array (got None)")
        float_dtype(query_embeddings=x, cosines=cosines)
        if x.ndim != 2 or len(x) != len(offsets) - 1:
            raise ValueError(
                f"query_embeddings must have shape ({len(offsets) - 1}, d), as cosines say (got "
                f"{x.shape})"
            )
        if not bool(xp.isfinite(x).all()):
            raise ValueError("query_embeddings must be finite (got nan or inf)")
        return xp, x, cosines, offsets

    def _checked_queries(self, query_embeddings):
        if self.weights_ is None:
            raise RuntimeError("CosineAdapter must be trained first: call fit")
        w = self.weights_[0]
        xp, (x, _) = on_device(query_embeddings=query_embeddings, weights_=w)
        if x is None:
            raise TypeError("query_embeddings must be a NumPy or CuPy array (got None)")
        float_dtype(query_embeddings=x, weights_=w)
        if x.ndim != 2 or x.shape[1] != len(w):
            raise ValueError(
                f"query_embeddings must have shape (nq, {len(w)}), as in training (got {x.shape})"
            )
        if not bool(xp.isfinite(x).all()):
            raise ValueError("query_embeddings must be finite (got nan or inf)")
        return xp, x


class _Results:
    """What training goes over: embeddings (nq, d), cosines and relevance (n,), offsets (nq +
    1,)."""

    def __init__(self, xp, x, cosines, relevance, offsets):
        self.xp, self.x, self.offsets = xp, x, offsets
        self.cosines, self.relevance = (
            xp.ascontiguousarray(cosines),
            xp.ascontiguousarray(relevance),
        )


def _common_map(data, code, pos_weight):
    """Raw parameters of the best σ(slope f + b) with slope >= LEAST_SLOPE, by Newton steps that are
    halved until the loss decreases."""

    def moments(slope, b):
        result = data.xp.empty((len(data.offsets) - 1, 6), data.x.dtype)
        logistic_moments(
            data.offsets[:-1],
            data.offsets[1:],
            data.cosines,
            data.relevance,
            result,
            code,
            slope,
            b,
            pos_weight,
        )
        return result.astype(np.float64).sum(axis=0).tolist()

    slope, b = 1.0, 0.0
    loss, *rest = moments(slope, b)
    for _ in range(NEWTON_STEPS):
        by_slope, by_b, h_ss, h_sb, h_bb = rest
        determinant = h_ss * h_bb - h_sb * h_sb
        if slope <= LEAST_SLOPE and by_slope > 0 or determinant <= 1e-14 * h_ss * h_bb:
            steps = 0.0, by_b / h_bb if h_bb > 0 else 0.0
        else:
            steps = (
                (h_bb * by_slope - h_sb * by_b) / determinant,
                (h_ss * by_b - h_sb * by_slope) / determinant,
            )
        if by_slope * steps[0] + by_b * steps[1] <= CONVERGED * loss:
            break
        for halving in range(HALVINGS):
            new = max(slope - steps[0] / 2**halving, LEAST_SLOPE), b - steps[1] / 2**halving
            new_loss, *new_rest = moments(*new)
            if new_loss <= loss:
                break
        else:
            break
        (slope, b), loss, rest = new, new_loss, new_rest
    raw = slope + math.log(-math.expm1(-slope))  # whose softplus is the slope
    if code == POWER:
        return raw, b, math.log(math.expm1(1 - LEAST_POWER))
    return (-6.0, b, raw) if code == QUADRATIC else (raw, b)


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T raw[q, p]; in int64 begins[q]; in int64 ends[q]; in T cosines[n]; in T relevance[n]; "
    "out T losses[q]; out T grad[q, p]; "
    "int64 code; T pos_weight; scratch T f[256]; scratch T h[256]; scratch T dz[256]; "
    "scratch T loss[256]; scratch float64 sums[64]",
    split="q",
    gpu="warp",
)
def adapter_loss(
    raw,
    begins,
    ends,
    cosines,
    relevance,
    losses,
    grad,
    code,
    pos_weight,
    f,
    h,
    dz,
    loss,
    sums,
    start,
    stop,
):
    """Mean loss of each query and its gradient by the raw parameters."""
    zero = raw.dtype.type(0)
    for q in range(start, stop):
        a, b, third = softplus(raw[q, 0]), raw[q, 1], zero
        if code >= POWER:
            third = softplus(raw[q, 2])
        c = third + raw.dtype.type(LEAST_POWER)
        for s in range(4 * LANES):
            sums[s] = 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            size = last - first
            blocks = in_lanes(cosines, first, last, f)
            in_lanes(relevance, first, last, loss)
            features(blocks, code, c, f, h)
            slopes(blocks, a, b, third if code == QUADRATIC else zero, pos_weight, f, h, dz, loss)
            for j in range(size, blocks * LANES):
                dz[j] = loss[j] = f[j] = h[j] = 0
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    sums[lane] += float(loss[j])
                    sums[LANES + lane] += float(dz[j]) * float(f[j])
                    sums[2 * LANES + lane] += float(dz[j])
                    sums[3 * LANES + lane] += float(dz[j]) * float(h[j])
        for s in range(4):
            for lane in range(1, LANES):
                sums[s * LANES] += sums[s * LANES + lane]
        count = max(ends[q] - begins[q], 1)
        losses[q] = sums[0] / count
        grad[q, 0] = sums[LANES] / count * -math.expm1(-float(a))  # softplus' = 1 - exp(-softplus)
        grad[q, 1] = sums[2 * LANES] / count
        if code >= POWER:
            grad[q, 2] = (
                sums[3 * LANES]
                / count
                * (float(a) if code == POWER else 1.0)
                * -math.expm1(-float(third))
            )


def in_lanes(x, first, last, copy):
    """How many times `LANES` the numbers x[first:last] fill, here with zeros behind: loops over so
    many are vector instructions alone."""
    first, size = np.uintp(first), np.uintp(last - first)
    blocks = (size + np.uintp(LANES - 1)) // np.uintp(LANES)
    for j in range(size):
        copy[j] = x[first + j]
    for j in range(size, np.uintp(LANES) * blocks):
        copy[j] = 0
    return blocks


def features(blocks, code, c, f, h):
    """z = a f + b, and e h more for "quadratic"; for "power" a h is the derivative of z by c. f are
    cosines first, clipped to [-1, 1]."""
    zero, half, one = f.dtype.type(0), f.dtype.type(0.5), f.dtype.type(1)
    for block in range(blocks):
        for lane in range(LANES):
            j = block * np.uintp(LANES) + np.uintp(lane)
            x = min(max(f[j], -one), one)
            f[j], h[j] = x if code == LINEAR else half + half * x, zero
    if code == SQRT:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                f[j] = math.sqrt(f[j])
    elif code == QUADRATIC:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                h[j] = f[j]
                f[j] = f[j] * f[j]
    elif code == POWER:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                logarithm = log(f[j] if f[j] > zero else one)
                f[j] = exp(c * logarithm) if f[j] > zero else zero
                h[j] = f[j] * logarithm


def slopes(blocks, a, b, e, pos_weight, f, h, dz, loss):
    """The loss of each result, in place of its relevance, and its derivative by z."""
    zero, one = f.dtype.type(0), f.dtype.type(1)
    for block in range(blocks):
        for lane in range(LANES):
            j = block * np.uintp(LANES) + np.uintp(lane)
            y, z = loss[j], a * f[j] + e * h[j] + b
            tail = exp(-abs(z))
            weight = one + (pos_weight - one) * y
            loss[j] = (one - y) * z + weight * (max(-z, zero) + log1p(tail))
            dz[j] = one - y - weight * ((tail if z >= zero else one) / (one + tail))


@kernel(
    "in T parameters[q, p]; in int64 begins[q]; in int64 ends[q]; in T cosines[n]; "
    "out T scores[n]; out int64 wrong[q]; "
    "int64 code; T limit; scratch T f[256]; scratch T h[256]",
    split="q",
    gpu="warp",
)
def adapter_scores(
    parameters, begins, ends, cosines, scores, wrong, code, limit, f, h, start, stop
):
    """`wrong` counts the cosines that are none, which is quicker here than in a pass of its own."""
    zero, one = scores.dtype.type(0), scores.dtype.type(1)
    for q in range(start, stop):
        a, b, third = parameters[q, 0], parameters[q, 1], parameters[q, parameters.shape[1] - 1]
        e, count = third if code == QUADRATIC else zero, 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            blocks = in_lanes(cosines, first, last, f)
            for block in range(blocks):
                for lane in range(LANES):
                    count += not abs(f[block * np.uintp(LANES) + np.uintp(lane)]) <= limit
            features(blocks, code, third, f, h)
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    z = a * f[j] + e * h[j] + b
                    tail = exp(-abs(z))
                    h[j] = (one if z >= zero else tail) / (one + tail)
            for j in range(np.uintp(last - first)):
                scores[np.uintp(first) + j] = h[j]
        wrong[q] = count


@kernel(
    "in int64 begins[q]; in int64 ends[q]; in T cosines[n]; in T relevance[n]; "
    "out T moments[q, 6]; int64 code; T slope; "
    "T b; T pos_weight; scratch T f[256]; scratch T h[256]; scratch T dz[256]; "
    "scratch T loss[256]; scratch float64 sums[96]",
    split="q",
    gpu="warp",
)
def logistic_moments(
    begins,
    ends,
    cosines,
    relevance,
    moments,
    code,
    slope,
    b,
    pos_weight,
    f,
    h,
    dz,
    loss,
    sums,
    start,
    stop,
):
    """Loss, gradient and Hessian in (slope, b) of σ(slope f + b), f being the cosine, √u, or u:
    means over each query's results."""
    zero, half, one = f.dtype.type(0), f.dtype.type(0.5), f.dtype.type(1)
    for q in range(start, stop):
        for s in range(6 * LANES):
            sums[s] = 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            size, blocks = last - first, in_lanes(cosines, first, last, f)
            in_lanes(relevance, first, last, loss)
            features(blocks, min(code, SQRT), one, f, h)
            if code > SQRT:
                for j in range(size):
                    f[j] = half + half * min(max(cosines[first + j], -one), one)
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    y, z = loss[j], slope * f[j] + b
                    tail = exp(-abs(z))
                    weight, miss = (
                        one + (pos_weight - one) * y,
                        (tail if z >= zero else one) / (one + tail),
                    )
                    loss[j] = (one - y) * z + weight * (max(-z, zero) + log1p(tail))
                    dz[j] = one - y - weight * miss
                    h[j] = weight * miss * (one - miss)
            for j in range(size, blocks * LANES):
                dz[j] = loss[j] = f[j] = h[j] = 0
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    value, slope_of, curvature = float(f[j]), float(dz[j]), float(h[j])
                    sums[lane] += float(loss[j])
                    sums[LANES + lane] += slope_of * value
                    sums[2 * LANES + lane] += slope_of
                    sums[3 * LANES + lane] += curvature * value * value
                    sums[4 * LANES + lane] += curvature * value
                    sums[5 * LANES + lane] += curvature
        for s in range(6):
            for lane in range(1, LANES):
                sums[s * LANES] += sums[s * LANES + lane]
            moments[q, s] = sums[s * LANES] / max(ends[q] - begins[q], 1)
